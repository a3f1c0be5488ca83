//! What clients connect to, and how its sessions went.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::time::SystemTime;

use super::change::{Change, Changes};
use super::ending::CloseReason;
use super::server::Server;
use super::session::SessionState;
use super::traffic::Traffic;
use crate::config;

/// What clients connect to, and how its sessions went.
///
/// Another one takes its place when the configuration is read again and says
/// something else of it or of its servers. Sessions keep the one that they came
/// to; what is counted they have in common.
#[derive(Debug)]
pub struct Service {
    /// What the configuration says of it.
    pub parameters: config::Service,
    servers: Vec<Arc<Server>>,
    fate: Arc<Fate>,
}

/// How a service fares, whatever the configuration says of it.
#[derive(Debug)]
struct Fate {
    traffic: Traffic,
    opened: AtomicU64,
    closed: [AtomicU64; CloseReason::ALL.len()],
    admitted: AtomicUsize,
    /// How many sessions are in each state, listeners' own included.
    in_state: [AtomicUsize; SessionState::ALL.len()],
    changes: Changes,
}

impl Service {
    pub(super) fn new(
        parameters: config::Service,
        servers: Vec<Arc<Server>>,
        all_changes: &Arc<Changes>,
        now: SystemTime,
    ) -> Self {
        let fate = Fate {
            traffic: Traffic::default(),
            opened: AtomicU64::new(0),
            closed: Default::default(),
            admitted: AtomicUsize::new(0),
            in_state: Default::default(),
            changes: Changes::of_one(all_changes, now),
        };
        Self {
            parameters,
            servers,
            fate: Arc::new(fate),
        }
    }

    /// The same service with other parameters, or other servers.
    pub(super) fn renewed(&self, parameters: config::Service, servers: Vec<Arc<Server>>) -> Self {
        Self {
            parameters,
            servers,
            fate: Arc::clone(&self.fate),
        }
    }

    /// Whether it is the same service, perhaps with other parameters.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.fate, &other.fate)
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.parameters.name
    }

    /// Its servers, in the order of the configuration.
    #[must_use]
    pub fn servers(&self) -> &[Arc<Server>] {
        &self.servers
    }

    /// The bytes that have passed between its clients and servers.
    #[must_use]
    pub fn traffic(&self) -> &Traffic {
        &self.fate.traffic
    }

    /// How many clients it has now.
    #[must_use]
    pub fn connections(&self) -> u64 {
        // Closed ones are read first, so that a session that closes in between does not count below zero.
        let closed = self.fate.closed.iter();
        let closed: u64 = closed.map(|count| count.load(Relaxed)).sum();
        self.opened().saturating_sub(closed)
    }

    /// How many clients it had, ever.
    #[must_use]
    pub fn opened(&self) -> u64 {
        self.fate.opened.load(Relaxed)
    }

    /// How many of its clients' sessions ended for this reason, ever.
    #[must_use]
    pub fn closed(&self, reason: CloseReason) -> u64 {
        self.fate.closed[reason as usize].load(Relaxed)
    }

    /// How many of its sessions are in a state: of those that are freed, how
    /// many there were ever.
    #[must_use]
    pub fn sessions_in(&self, state: SessionState) -> usize {
        self.fate.in_state[state as usize].load(Relaxed)
    }

    /// When it, or what it leads to, was last changed by an operator.
    #[must_use]
    pub fn last_change(&self) -> Change {
        self.fate.changes.last()
    }

    pub(super) fn note_change(&self, now: SystemTime) {
        self.fate.changes.note(now);
    }

    /// Lets a session in, for as long as the admission lives; `None` where there
    /// are `max_connections` already.
    #[must_use]
    pub fn admit(self: &Arc<Self>) -> Option<Admission> {
        let limit = self.parameters.max_connections;
        let more = |admitted| (limit == 0 || admitted < limit).then_some(admitted + 1);
        let admitted = &self.fate.admitted;
        admitted.fetch_update(Relaxed, Relaxed, more).ok()?;
        Some(Admission {
            service: Arc::clone(self),
        })
    }

    /// A session is in another state now; a new one comes from none.
    pub(super) fn count_state(&self, from: Option<SessionState>, to: SessionState) {
        let count = |state: SessionState| &self.fate.in_state[state as usize];
        count(to).fetch_add(1, Relaxed);
        if let Some(from) = from {
            count(from).fetch_sub(1, Relaxed);
        }
    }

    pub(super) fn count_opened(&self) {
        self.fate.opened.fetch_add(1, Relaxed);
    }

    pub(super) fn count_closed(&self, reason: CloseReason) {
        self.fate.closed[reason as usize].fetch_add(1, Relaxed);
    }
}

/// One session's place at a service; dropping it gives the place back.
#[derive(Debug)]
pub struct Admission {
    service: Arc<Service>,
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.service.fate.admitted.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::registry::Topology;

    #[test]
    fn a_service_lets_in_no_more_than_it_may_have_and_again_when_one_has_left() {
        let text = b"[a]\ntype=server\naddress=192.0.2.1\nport=1\nmax_connections=1\n\
            [s]\ntype=service\nservers=a\nmax_connections=2\n";
        let topology = Topology::new(&Config::parse("test", text).unwrap(), SystemTime::now());
        let (service, server) = (&topology.services[0], &topology.servers[0]);
        let one = service.admit();
        let _two = service.admit().unwrap();
        assert!(service.admit().is_none());
        drop(one);
        assert!(service.admit().is_some());

        let lease = server.lease();
        assert!(!server.has_room());
        drop(lease);
        assert!(server.has_room());
    }
}
