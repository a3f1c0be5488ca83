//! How much a session has done lately: its reads and writes of the last 30 seconds.
//!
//! One data plane counts, others read at the same time. A reader that comes
//! while a second begins may miss that second's first counts, no more.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicU16, AtomicU64};

/// For how many seconds reads and writes count.
const SECONDS: usize = 30;

/// Counts by the second, in a ring.
#[derive(Debug, Default)]
pub(super) struct Activity {
    /// The last second that something was counted in.
    last: AtomicU64,
    counts: [AtomicU16; SECONDS],
}

impl Activity {
    /// Counts reads and writes in a second, which is not before those counted so far.
    pub(super) fn count(&self, second: u64, operations: u16) {
        let last = self.last.load(Relaxed);
        // What stands in the ring from its round before is forgotten.
        for passed in (last + 1..=second).take(self.counts.len()) {
            self.place(passed).store(0, Relaxed);
        }
        self.last.store(second.max(last), Relaxed);
        let count = self.place(second);
        count.store(count.load(Relaxed).saturating_add(operations), Relaxed);
    }

    /// The sum of the 30 seconds that end with this one.
    pub(super) fn sum(&self, second: u64) -> u64 {
        let last = self.last.load(Relaxed);
        let first = (second + 1).saturating_sub(SECONDS as u64);
        let counted = (last + 1).saturating_sub(SECONDS as u64);
        (first.max(counted)..=last)
            .map(|second| u64::from(self.place(second).load(Relaxed)))
            .sum()
    }

    fn place(&self, second: u64) -> &AtomicU16 {
        let place = usize::try_from(second % SECONDS as u64).unwrap_or(0);
        &self.counts[place]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_older_than_30_seconds_does_not_count() {
        let activity = Activity::default();
        activity.count(0, 2);
        activity.count(0, 1);
        activity.count(10, 4);
        assert_eq!(activity.sum(10), 7);
        assert_eq!(activity.sum(29), 7);
        assert_eq!(activity.sum(30), 4);
        assert_eq!(activity.sum(39), 4);
        assert_eq!(activity.sum(40), 0);
        activity.count(41, 1);
        assert_eq!(activity.sum(41), 1);
        activity.count(1_000_000, 5);
        assert_eq!(activity.sum(1_000_000), 5);
        assert_eq!(activity.sum(1_000_029), 5);
        assert_eq!(activity.sum(1_000_030), 0);
    }

    #[test]
    fn it_agrees_with_a_list_of_all_counts() {
        let activity = Activity::default();
        let mut all: Vec<(u64, u16)> = Vec::new();
        let mut second = 0;
        for step in 0..2000_u64 {
            second += step * step % 7;
            let operations = u16::try_from(step % 5).unwrap();
            activity.count(second, operations);
            all.push((second, operations));
            let expected: u64 = all
                .iter()
                .filter(|(at, _)| at + SECONDS as u64 > second)
                .map(|(_, count)| u64::from(*count))
                .sum();
            assert_eq!(activity.sum(second), expected, "at {second}");
        }
    }

    #[test]
    fn a_second_holds_as_much_as_fits() {
        let activity = Activity::default();
        activity.count(5, u16::MAX);
        activity.count(5, 9);
        assert_eq!(activity.sum(5), u64::from(u16::MAX));
    }
}
