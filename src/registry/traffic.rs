//! Bytes that have passed, each way.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

/// Counts bytes, as seen from the clients.
#[derive(Debug, Default)]
pub struct Traffic {
    from_clients: AtomicU64,
    to_clients: AtomicU64,
}

impl Traffic {
    /// Bytes that were sent on to servers.
    #[must_use]
    pub fn from_clients(&self) -> u64 {
        self.from_clients.load(Relaxed)
    }

    /// Bytes that were sent on to clients.
    #[must_use]
    pub fn to_clients(&self) -> u64 {
        self.to_clients.load(Relaxed)
    }

    pub(super) fn add(&self, from_clients: u64, to_clients: u64) {
        self.from_clients.fetch_add(from_clients, Relaxed);
        self.to_clients.fetch_add(to_clients, Relaxed);
    }
}
