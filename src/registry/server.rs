//! A backend: what the configuration says of it, and how it fares.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
use std::sync::{Arc, Mutex};
use std::time::{Instant, SystemTime};

use super::change::{Change, Changes};
use super::departures::Departures;
use super::health::{DownCause, Health, LastProbe, ServerHealth, SetDown};
use super::traffic::Traffic;
use crate::config::{self, Host};
use crate::lock::lock;

/// A backend, and how it fares.
///
/// Another one takes its place when the configuration is read again and says
/// something else of it. How it fares they have in common.
#[derive(Debug)]
pub struct Server {
    /// What the configuration says of it.
    pub parameters: config::Server,
    addresses: Mutex<Arc<[SocketAddr]>>,
    health: Arc<Health>,
    fate: Arc<Fate>,
}

/// How a server fares, whatever the configuration says of it.
#[derive(Debug)]
struct Fate {
    drained: AtomicBool,
    in_maintenance: AtomicBool,
    removed: AtomicBool,
    connections: AtomicUsize,
    /// The most that there were of them at a time.
    most_connections: AtomicUsize,
    total_connections: AtomicU64,
    probe_failures: AtomicU64,
    traffic: Traffic,
    changes: Changes,
    departures: Arc<Departures>,
}

/// Something that an operator sets on a server, to keep sessions away from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// It takes no new session.
    Drain,
    /// It takes no new session, and those that it has are closed.
    Maintenance,
}

impl Server {
    pub(super) fn new(
        parameters: config::Server,
        all_changes: &Arc<Changes>,
        departures: &Arc<Departures>,
        now: SystemTime,
    ) -> Self {
        let fate = Fate {
            drained: AtomicBool::new(false),
            in_maintenance: AtomicBool::new(false),
            removed: AtomicBool::new(false),
            connections: AtomicUsize::new(0),
            most_connections: AtomicUsize::new(0),
            total_connections: AtomicU64::new(0),
            probe_failures: AtomicU64::new(0),
            traffic: Traffic::default(),
            changes: Changes::of_one(all_changes, now),
            departures: Arc::clone(departures),
        };
        Self {
            addresses: Mutex::new(written_addresses(&parameters)),
            parameters,
            health: Arc::new(Health::unknown(now)),
            fate: Arc::new(fate),
        }
    }

    /// The same server with other parameters. Where it is somewhere else now,
    /// nothing is known of whoever answers there.
    pub(super) fn renewed(&self, parameters: config::Server, now: SystemTime) -> Self {
        let place = |parameters: &config::Server| (parameters.address.clone(), parameters.port);
        let (addresses, health) = if place(&parameters) == place(&self.parameters) {
            (self.addresses(), Arc::clone(&self.health))
        } else {
            let health = Health::unknown(now);
            (written_addresses(&parameters), Arc::new(health))
        };
        Self {
            parameters,
            addresses: Mutex::new(addresses),
            health,
            fate: Arc::clone(&self.fate),
        }
    }

    /// Whether it is the same server, perhaps with other parameters.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.fate, &other.fate)
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.parameters.name
    }

    /// Whether nothing has failed since it last proved to be up.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.health.is_up()
    }

    /// Whether it is up, since when, why not, and how the last probe went.
    #[must_use]
    pub fn health(&self) -> ServerHealth {
        self.health.snapshot()
    }

    /// Notes that it serves clients. True where it was down.
    pub fn set_up(&self, now: SystemTime) -> bool {
        let is_news = self.health.set_up(now);
        if is_news {
            self.fate.changes.note(now);
        }
        is_news
    }

    /// Notes that it does not, and why. True where it was up.
    pub fn set_down(&self, cause: DownCause, reason: &str, now: SystemTime) -> bool {
        let result = self.health.set_down(cause, reason, now);
        if result != SetDown::Same {
            self.fate.changes.note(now);
        }
        result == SetDown::Fell
    }

    /// Notes how a probe has ended. Like a clock, it is no change of the server.
    pub fn note_probe(&self, probe: LastProbe) {
        if probe.failure.is_some() {
            self.fate.probe_failures.fetch_add(1, Relaxed);
        }
        self.health.set_last_probe(probe);
    }

    /// How many probes it has not passed, since the start.
    #[must_use]
    pub fn probe_failures(&self) -> u64 {
        self.fate.probe_failures.load(Relaxed)
    }

    /// Notes that a client has logged in.
    pub fn note_login(&self, now: Instant) {
        self.health.set_last_login(now);
    }

    /// When a client last logged in, if nothing has failed since.
    #[must_use]
    pub fn last_login(&self) -> Option<Instant> {
        self.health.last_login()
    }

    /// Whether a condition is set.
    #[must_use]
    pub fn has(&self, condition: Condition) -> bool {
        self.fate.condition(condition).load(Relaxed)
    }

    /// Sets a condition or clears it. True where that is news.
    pub fn set_condition(&self, condition: Condition, set: bool, now: SystemTime) -> bool {
        let is_news = self.fate.condition(condition).swap(set, Relaxed) != set;
        if is_news {
            self.fate.changes.note(now);
        }
        is_news
    }

    /// Says whether the configuration has it no more.
    pub fn set_removed(&self, removed: bool) {
        self.fate.removed.store(removed, Relaxed);
    }

    /// Whether new sessions may come to it, as far as operators have a say.
    #[must_use]
    pub fn takes_sessions(&self) -> bool {
        !self.has(Condition::Drain)
            && !self.has(Condition::Maintenance)
            && !self.fate.removed.load(Relaxed)
    }

    /// When it last went down, came up, told another version, or was changed by an operator.
    #[must_use]
    pub fn last_change(&self) -> Change {
        self.fate.changes.last()
    }

    pub(super) fn note_change(&self, now: SystemTime) {
        self.fate.changes.note(now);
    }

    /// The bytes that have passed between it and clients.
    #[must_use]
    pub fn traffic(&self) -> &Traffic {
        &self.fate.traffic
    }

    /// How many sessions were sent to it, ever.
    #[must_use]
    pub fn total_connections(&self) -> u64 {
        self.fate.total_connections.load(Relaxed)
    }

    /// How many sessions are connected to it, or about to be.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.fate.connections.load(Relaxed)
    }

    /// The most sessions that it had at a time, since the start.
    #[must_use]
    pub fn most_connections(&self) -> usize {
        self.fate.most_connections.load(Relaxed)
    }

    /// Whether its `max_connections` leave room for one more.
    #[must_use]
    pub fn has_room(&self) -> bool {
        let limit = self.parameters.max_connections;
        limit == 0 || self.connections() < limit
    }

    /// The version that it has told of itself.
    #[must_use]
    pub fn version(&self) -> Option<Arc<str>> {
        self.health.version()
    }

    /// Notes the version that it tells of itself.
    pub fn set_version(&self, version: &str, now: SystemTime) {
        if self.health.set_version(version) {
            self.fate.changes.note(now);
        }
    }

    /// Counts a session as connected to it, for as long as the lease lives.
    #[must_use]
    pub fn lease(self: &Arc<Self>) -> Lease {
        let connections = self.fate.connections.fetch_add(1, Relaxed) + 1;
        let most = &self.fate.most_connections;
        most.fetch_max(connections, Relaxed);
        self.fate.total_connections.fetch_add(1, Relaxed);
        Lease {
            server: Arc::clone(self),
        }
    }

    /// Where it can be reached, the likeliest first. None while its name has not been found.
    #[must_use]
    pub fn addresses(&self) -> Arc<[SocketAddr]> {
        Arc::clone(&lock(&self.addresses))
    }

    /// Notes what its name stands for now. True where that is news.
    pub fn set_addresses(&self, addresses: &[IpAddr]) -> bool {
        let found: Arc<[SocketAddr]> = addresses
            .iter()
            .map(|address| SocketAddr::new(*address, self.parameters.port))
            .collect();
        let mut known = lock(&self.addresses);
        // The order is ours: what answered last stands first.
        let news =
            known.len() != found.len() || !found.iter().all(|address| known.contains(address));
        if news {
            *known = found;
        }
        news
    }

    /// Puts the address that answered in front.
    pub fn prefer(&self, address: SocketAddr) {
        let mut known = lock(&self.addresses);
        if known.first() == Some(&address) {
            return;
        }
        let is_preferred = |candidate: &SocketAddr| *candidate == address;
        let (mut reordered, others): (Vec<_>, Vec<_>) =
            known.iter().copied().partition(is_preferred);
        reordered.extend(others);
        *known = reordered.into();
    }
}

impl Fate {
    fn condition(&self, condition: Condition) -> &AtomicBool {
        match condition {
            Condition::Drain => &self.drained,
            Condition::Maintenance => &self.in_maintenance,
        }
    }
}

/// What is known of a server's addresses before its name is looked up.
fn written_addresses(parameters: &config::Server) -> Arc<[SocketAddr]> {
    match parameters.address {
        Host::Address(address) => Arc::from([SocketAddr::new(address, parameters.port)]),
        Host::Name(_) => Arc::from([]),
    }
}

/// One session's place at a server; dropping it gives the place back.
#[derive(Debug)]
pub struct Lease {
    server: Arc<Server>,
}

impl Lease {
    /// The server it is a place at.
    #[must_use]
    pub fn server(&self) -> &Arc<Server> {
        &self.server
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let fate = &self.server.fate;
        if fate.connections.fetch_sub(1, Relaxed) == 1 {
            fate.departures.note();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::registry::Topology;

    #[test]
    fn a_lease_counts_for_as_long_as_it_lives() {
        let topology = Topology::new(&Config::example(), SystemTime::now());
        let server = &topology.servers[0];
        let lease = server.lease();
        assert_eq!(server.connections(), 1);
        drop((server.lease(), server.lease(), lease));
        assert_eq!(server.connections(), 0);
        assert_eq!(
            (server.most_connections(), server.total_connections()),
            (3, 3)
        );
    }

    #[test]
    fn a_change_is_what_the_state_and_its_reason_do_and_not_what_a_probe_finds() {
        let now = SystemTime::now();
        let topology = Topology::new(&Config::example(), now);
        let server = &topology.servers[0];
        let version = || server.last_change().version;
        let probe = |failure: Option<&str>| LastProbe {
            time: now,
            duration: std::time::Duration::from_millis(3),
            failure: failure.map(Into::into),
        };
        server.note_probe(probe(None));
        server.note_login(Instant::now());
        assert!(!server.set_up(now));
        assert_eq!((version(), server.probe_failures()), (0, 0));
        for (reason, is_news, versions) in [("a", true, 1), ("a", false, 1), ("b", false, 2)] {
            server.note_probe(probe(Some(reason)));
            assert_eq!(server.set_down(DownCause::Refusing, reason, now), is_news);
            assert_eq!(version(), versions);
        }
        assert!(server.set_up(now));
        assert_eq!((version(), server.probe_failures()), (3, 3));
    }

    #[test]
    fn an_operator_keeps_sessions_away_until_everything_is_cleared() {
        let now = SystemTime::now();
        let topology = Topology::new(&Config::example(), now);
        let server = &topology.servers[0];
        assert!(server.takes_sessions());
        assert!(server.set_condition(Condition::Drain, true, now));
        assert!(!server.set_condition(Condition::Drain, true, now));
        assert!(server.set_condition(Condition::Maintenance, true, now));
        assert!(server.set_condition(Condition::Drain, false, now));
        assert!(!server.takes_sessions());
        assert!(server.set_condition(Condition::Maintenance, false, now));
        assert!(server.takes_sessions());
        assert_eq!(topology.server_changes.last().version, 4);
    }

    #[test]
    fn the_address_that_answered_stays_in_front_when_the_name_is_found_again() {
        let topology = Topology::new(&Config::example(), SystemTime::now());
        let server = &topology.servers[0];
        let [six, four]: [IpAddr; 2] = ["::1".parse().unwrap(), "127.0.0.1".parse().unwrap()];
        assert!(server.set_addresses(&[six, four]));
        server.prefer(SocketAddr::new(four, 3306));
        assert!(!server.set_addresses(&[six, four]));
        assert_eq!(server.addresses()[0].ip(), four);
        assert!(server.set_addresses(&[six]));
    }
}
