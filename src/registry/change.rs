//! When something last changed, and how often it has: what `ETag` and
//! `Last-Modified` are made of.
//!
//! Clocks and counters are no changes; they move all the time.

use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use crate::lock::lock;

/// The state of a thing that changes now and then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// It grows with every change.
    pub version: u64,
    /// When it did so last, or began.
    pub time: SystemTime,
}

/// Keeps count of changes.
#[derive(Debug)]
pub struct Changes {
    last: Mutex<Change>,
    /// The count for all things of its kind, which its own versions come from.
    of_all: Option<Arc<Changes>>,
}

impl Changes {
    /// Nothing has changed since then.
    #[must_use]
    pub fn begin(time: SystemTime) -> Self {
        Self {
            last: Mutex::new(Change { version: 0, time }),
            of_all: None,
        }
    }

    /// One thing of a kind, as it is since then. Its versions are those of the
    /// kind, so that one that comes under the name of another that has gone is
    /// never taken for it.
    pub(super) fn of_one(of_all: &Arc<Self>, time: SystemTime) -> Self {
        let version = of_all.last().version;
        Self {
            last: Mutex::new(Change { version, time }),
            of_all: Some(Arc::clone(of_all)),
        }
    }

    /// The last change.
    #[must_use]
    pub fn last(&self) -> Change {
        *lock(&self.last)
    }

    /// Something has changed.
    pub fn note(&self, time: SystemTime) {
        let _ = self.advance(time);
    }

    /// Counts a change, and returns its version.
    fn advance(&self, time: SystemTime) -> u64 {
        let of_all = self.of_all.as_ref().map(|of_all| of_all.advance(time));
        let mut last = lock(&self.last);
        // Of two that change it at once, the later one's number stays.
        last.version = of_all.map_or(last.version + 1, |version| version.max(last.version));
        last.time = time;
        last.version
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_a_kind_never_has_a_version_that_another_one_had() {
        let now = SystemTime::UNIX_EPOCH;
        let all = Arc::new(Changes::begin(now));
        let (one, other) = (Changes::of_one(&all, now), Changes::of_one(&all, now));
        one.note(now);
        other.note(now);
        one.note(now);
        assert_eq!((one.last().version, other.last().version), (3, 2));
        let successor = Changes::of_one(&all, now);
        successor.note(now);
        assert_eq!((successor.last().version, all.last().version), (4, 4));
    }
}
