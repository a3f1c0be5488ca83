//! When sessions run out of time.

use std::collections::BTreeSet;
use std::time::Instant;

/// The deadlines of sessions, by slot; at most one each, which its session knows.
#[derive(Default)]
pub(super) struct Deadlines {
    by_time: BTreeSet<(Instant, usize)>,
}

impl Deadlines {
    /// Gives a session another deadline, or none.
    pub(super) fn change(&mut self, slot: usize, from: Option<Instant>, to: Option<Instant>) {
        if let Some(from) = from {
            self.by_time.remove(&(from, slot));
        }
        if let Some(to) = to {
            self.by_time.insert((to, slot));
        }
    }

    /// When the next one is.
    pub(super) fn next(&self) -> Option<Instant> {
        self.by_time.first().map(|(time, _)| *time)
    }

    /// A session whose time has come. It stays until its deadline is changed.
    pub(super) fn expired(&self, now: Instant) -> Option<usize> {
        self.by_time
            .first()
            .filter(|(time, _)| *time <= now)
            .map(|(_, slot)| *slot)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_earliest_expires_first_and_a_changed_one_not_at_all() {
        let mut deadlines = Deadlines::default();
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        deadlines.change(1, None, Some(after(2)));
        deadlines.change(2, None, Some(after(1)));
        assert_eq!(deadlines.next(), Some(after(1)));
        assert_eq!(deadlines.expired(start), None);
        assert_eq!(deadlines.expired(after(1)), Some(2));
        deadlines.change(2, Some(after(1)), None);
        assert_eq!(deadlines.expired(after(1)), None);
        assert_eq!(deadlines.expired(after(3)), Some(1));
    }
}
