//! What the data plane says of itself: how far it is used, and how far it may be.
//!
//! The data plane says it as it goes, and who wants to know reads it here, so
//! that nobody has to ask its thread.

use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

/// The limits of a data plane as a whole. What it has not said is unknown.
#[derive(Debug, Default)]
pub struct DataPlane {
    sessions_at_most: Known,
    kept: AtomicUsize,
    kept_at_most: Known,
}

/// A number that is not zero once it has been said.
#[derive(Debug, Default)]
struct Known(AtomicUsize);

impl Known {
    fn set(&self, number: usize) {
        self.0.store(number, Relaxed);
    }

    fn get(&self) -> Option<usize> {
        Some(self.0.load(Relaxed)).filter(|number| *number > 0)
    }
}

impl DataPlane {
    /// How many clients' sessions there may be, of all services together.
    #[must_use]
    pub fn sessions_at_most(&self) -> Option<usize> {
        self.sessions_at_most.get()
    }

    /// Says how many clients' sessions there may be.
    pub fn set_sessions_at_most(&self, sessions: usize) {
        self.sessions_at_most.set(sessions);
    }

    /// Bytes that are kept for slow readers, and how many may be.
    #[must_use]
    pub fn kept(&self) -> Option<(usize, usize)> {
        let at_most = self.kept_at_most.get()?;
        Some((self.kept.load(Relaxed), at_most))
    }

    /// Says how many bytes are kept for slow readers, and how many may be.
    pub fn set_kept(&self, bytes: usize, at_most: usize) {
        self.kept.store(bytes, Relaxed);
        self.kept_at_most.set(at_most);
    }
}
