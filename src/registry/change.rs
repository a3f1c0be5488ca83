//! When something last changed, and how often it has: what `ETag` and
//! `Last-Modified` are made of.
//!
//! Clocks and counters are no changes; they move all the time.

use std::sync::Mutex;
use std::time::SystemTime;

use crate::lock::lock;

/// The state of a thing that changes now and then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// How often it has changed.
    pub version: u64,
    /// When it did so last, or began.
    pub time: SystemTime,
}

/// Keeps count of changes.
#[derive(Debug)]
pub struct Changes {
    last: Mutex<Change>,
}

impl Changes {
    /// Nothing has changed since then.
    #[must_use]
    pub fn begin(time: SystemTime) -> Self {
        Self {
            last: Mutex::new(Change { version: 0, time }),
        }
    }

    /// The last change.
    #[must_use]
    pub fn last(&self) -> Change {
        *lock(&self.last)
    }

    /// Something has changed.
    pub fn note(&self, time: SystemTime) {
        let mut last = lock(&self.last);
        last.version += 1;
        last.time = time;
    }
}
