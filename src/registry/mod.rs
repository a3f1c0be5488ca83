//! What exists right now: the sessions, and the services, servers and
//! listeners they belong to.
//!
//! The relay (or another data plane, see the crate's front page) opens and
//! closes sessions here and counts their bytes; the admin server reads. There
//! are no sockets here and no JSON, and nothing here reads a clock: whoever
//! changes something says what time it is.

mod activity;
mod change;
mod client;
mod ending;
mod history;
mod session;
mod table;
mod topology;
mod traffic;

use std::time::SystemTime;

use crate::config::Config;

pub use change::{Change, Changes};
pub use client::{BackendConnection, Client, Encryption, Login};
pub use ending::{CloseReason, Ending};
pub use session::{Session, SessionId, SessionState};
pub use table::SessionTable;
pub use topology::{Admission, Lease, Listener, Server, Service, Topology};
pub use traffic::{Passed, Traffic};

/// Everything that the relay and the admin server share.
#[derive(Debug)]
pub struct Registry {
    /// What the configuration made.
    pub topology: Topology,
    /// What is going on.
    pub sessions: SessionTable,
    /// When it began, which is the last change of what never changes.
    pub started: SystemTime,
}

impl Registry {
    /// The registry of a configuration, with no session yet.
    #[must_use]
    pub fn new(config: &Config, now: SystemTime) -> Self {
        Self {
            topology: Topology::new(config, now),
            sessions: SessionTable::new(config.admin.history, now),
            started: now,
        }
    }
}
