//! A place where clients arrive.

use std::net::SocketAddr;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use super::change::{Change, Changes};
use super::service::Service;
use crate::config;

/// A place where clients arrive.
///
/// Another one takes its place when the configuration is read again and says
/// something else of it or of its service.
#[derive(Debug)]
pub struct Listener {
    /// What the configuration says of it.
    pub parameters: config::Listener,
    service: Arc<Service>,
    address: OnceLock<SocketAddr>,
    fate: Arc<Fate>,
}

/// How a listener fares, whatever the configuration says of it.
#[derive(Debug)]
struct Fate {
    stopped: AtomicBool,
    changes: Changes,
}

impl Listener {
    pub(super) fn new(
        parameters: config::Listener,
        service: Arc<Service>,
        all_changes: &Arc<Changes>,
        now: SystemTime,
    ) -> Self {
        let fate = Fate {
            stopped: AtomicBool::new(false),
            changes: Changes::of_one(all_changes, now),
        };
        Self {
            parameters,
            service,
            address: OnceLock::new(),
            fate: Arc::new(fate),
        }
    }

    /// The same listener with other parameters, or another service. Where it
    /// listens somewhere else now, its address is open again.
    pub(super) fn renewed(&self, parameters: config::Listener, service: Arc<Service>) -> Self {
        let address = if parameters.endpoint == self.parameters.endpoint {
            self.address.clone()
        } else {
            OnceLock::new()
        };
        Self {
            parameters,
            service,
            address,
            fate: Arc::clone(&self.fate),
        }
    }

    /// Whether it is the same listener, perhaps with other parameters.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.fate, &other.fate)
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.parameters.name
    }

    /// Where it listens, as far as that is known: the address and port that
    /// the system has chosen where the configuration leaves that open.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        self.address.get().copied()
    }

    /// Says where it listens; the first word counts, and holds while it is stopped.
    pub fn set_address(&self, address: SocketAddr) {
        let _ = self.address.set(address);
    }

    /// Whether an operator has stopped it.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.fate.stopped.load(Relaxed)
    }

    /// Says whether it is stopped.
    pub fn set_stopped(&self, stopped: bool, now: SystemTime) {
        if self.fate.stopped.swap(stopped, Relaxed) != stopped {
            self.note_change(now);
            self.service.note_change(now);
        }
    }

    /// When it, or where its clients get, was last changed by an operator.
    #[must_use]
    pub fn last_change(&self) -> Change {
        self.fate.changes.last()
    }

    pub(super) fn note_change(&self, now: SystemTime) {
        self.fate.changes.note(now);
    }

    /// The service that its clients get.
    #[must_use]
    pub fn service(&self) -> &Arc<Service> {
        &self.service
    }
}
