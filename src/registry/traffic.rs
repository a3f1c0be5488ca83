//! Bytes that have passed, each way.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

/// What has passed through a session since the last time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Passed {
    /// Bytes that were sent on to servers.
    pub from_client: u64,
    /// Bytes that were sent on to the client.
    pub to_client: u64,
    /// How many reads and writes that took.
    pub operations: u16,
}

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

    pub(super) fn add(&self, passed: Passed) {
        self.from_clients.fetch_add(passed.from_client, Relaxed);
        self.to_clients.fetch_add(passed.to_client, Relaxed);
    }
}
