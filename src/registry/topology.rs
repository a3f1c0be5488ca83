//! Services, servers and listeners: what the configuration made, and how it fares.
//!
//! Each holds its part of the configuration as it was written, and the counters
//! that the relay keeps.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::SystemTime;

use super::change::{Change, Changes};
use super::ending::CloseReason;
use super::traffic::Traffic;
use crate::config::{self, Config, Host};
use crate::lock::lock;

/// All services, servers and listeners, in the order of the configuration.
#[derive(Debug)]
pub struct Topology {
    /// The backends.
    pub servers: Vec<Arc<Server>>,
    /// What clients connect to.
    pub services: Vec<Arc<Service>>,
    /// Where clients arrive.
    pub listeners: Vec<Arc<Listener>>,
    /// When a server last changed in anything but counters.
    pub server_changes: Arc<Changes>,
}

impl Topology {
    /// What a configuration describes.
    ///
    /// # Panics
    ///
    /// Where a name leads nowhere, which [`Config::parse`] rules out.
    #[must_use]
    pub fn new(config: &Config, now: SystemTime) -> Self {
        let server_changes = Arc::new(Changes::begin(now));
        let make = |server: &config::Server| {
            Arc::new(Server::new(
                server.clone(),
                Arc::clone(&server_changes),
                now,
            ))
        };
        let servers: Vec<_> = config.servers.iter().map(make).collect();
        let server = |name: &String| {
            let found = servers
                .iter()
                .find(|server| server.parameters.name == *name);
            Arc::clone(found.expect("a configuration refers to servers that it has"))
        };
        let services: Vec<_> = config
            .services
            .iter()
            .map(|service| {
                Arc::new(Service::new(
                    service.clone(),
                    service.servers.iter().map(server).collect(),
                ))
            })
            .collect();
        let service = |name: &String| {
            let found = services
                .iter()
                .find(|service| service.parameters.name == *name);
            Arc::clone(found.expect("a configuration refers to services that it has"))
        };
        let listeners = config
            .listeners
            .iter()
            .map(|listener| {
                let service = service(&listener.service);
                Arc::new(Listener {
                    parameters: listener.clone(),
                    service,
                    address: OnceLock::new(),
                })
            })
            .collect();
        Self {
            servers,
            services,
            listeners,
            server_changes,
        }
    }
}

/// A backend, and how it fares.
#[derive(Debug)]
pub struct Server {
    /// What the configuration says of it.
    pub parameters: config::Server,
    up: AtomicBool,
    connections: AtomicUsize,
    total_connections: AtomicU64,
    pub(super) traffic: Traffic,
    addresses: Mutex<Arc<[SocketAddr]>>,
    version: Mutex<Option<Arc<str>>>,
    changes: Changes,
    /// Those of all servers.
    all_changes: Arc<Changes>,
}

impl Server {
    fn new(parameters: config::Server, all_changes: Arc<Changes>, now: SystemTime) -> Self {
        let addresses = match parameters.address {
            Host::Address(address) => Arc::from([SocketAddr::new(address, parameters.port)]),
            Host::Name(_) => Arc::from([]),
        };
        // It counts as up until a connect has failed.
        Self {
            parameters,
            up: AtomicBool::new(true),
            connections: AtomicUsize::new(0),
            total_connections: AtomicU64::new(0),
            traffic: Traffic::default(),
            addresses: Mutex::new(addresses),
            version: Mutex::new(None),
            changes: Changes::begin(now),
            all_changes,
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.parameters.name
    }

    /// Whether the last connect succeeded.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.up.load(Relaxed)
    }

    /// Notes how a connect went. True where that is news.
    pub fn set_up(&self, up: bool, now: SystemTime) -> bool {
        let is_news = self.up.swap(up, Relaxed) != up;
        if is_news {
            self.changes.note(now);
            self.all_changes.note(now);
        }
        is_news
    }

    /// When it last went down, came up or told another version.
    #[must_use]
    pub fn last_change(&self) -> Change {
        self.changes.last()
    }

    /// The bytes that have passed between it and clients.
    #[must_use]
    pub fn traffic(&self) -> &Traffic {
        &self.traffic
    }

    /// How many sessions were sent to it, ever.
    #[must_use]
    pub fn total_connections(&self) -> u64 {
        self.total_connections.load(Relaxed)
    }

    /// How many sessions are connected to it, or about to be.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.connections.load(Relaxed)
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
        lock(&self.version).clone()
    }

    /// Notes the version that it tells of itself.
    pub fn set_version(&self, version: &str, now: SystemTime) {
        let mut known = lock(&self.version);
        if known.as_deref() != Some(version) {
            *known = Some(version.into());
            self.changes.note(now);
            self.all_changes.note(now);
        }
    }

    /// Counts a session as connected to it, for as long as the lease lives.
    #[must_use]
    pub fn lease(self: &Arc<Self>) -> Lease {
        self.connections.fetch_add(1, Relaxed);
        self.total_connections.fetch_add(1, Relaxed);
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
        let mut reordered = known.to_vec();
        reordered.sort_by_key(|candidate| *candidate != address);
        *known = reordered.into();
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
        self.server.connections.fetch_sub(1, Relaxed);
    }
}

/// What clients connect to, and how its sessions went.
#[derive(Debug)]
pub struct Service {
    /// What the configuration says of it.
    pub parameters: config::Service,
    servers: Vec<Arc<Server>>,
    pub(super) traffic: Traffic,
    opened: AtomicU64,
    closed: [AtomicU64; CloseReason::ALL.len()],
    admitted: AtomicUsize,
}

impl Service {
    fn new(parameters: config::Service, servers: Vec<Arc<Server>>) -> Self {
        Self {
            parameters,
            servers,
            traffic: Traffic::default(),
            opened: AtomicU64::new(0),
            closed: Default::default(),
            admitted: AtomicUsize::new(0),
        }
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
        &self.traffic
    }

    /// How many clients it has now.
    #[must_use]
    pub fn connections(&self) -> u64 {
        // Closed ones are read first, so that a session that closes in between does not count below zero.
        let closed: u64 = self.closed.iter().map(|count| count.load(Relaxed)).sum();
        self.opened().saturating_sub(closed)
    }

    /// How many clients it had, ever.
    #[must_use]
    pub fn opened(&self) -> u64 {
        self.opened.load(Relaxed)
    }

    /// How many of its clients' sessions ended for this reason, ever.
    #[must_use]
    pub fn closed(&self, reason: CloseReason) -> u64 {
        self.closed[reason as usize].load(Relaxed)
    }

    /// Lets a session in, for as long as the admission lives; `None` where there
    /// are `max_connections` already.
    #[must_use]
    pub fn admit(self: &Arc<Self>) -> Option<Admission> {
        let limit = self.parameters.max_connections;
        let more = |admitted| (limit == 0 || admitted < limit).then_some(admitted + 1);
        self.admitted.fetch_update(Relaxed, Relaxed, more).ok()?;
        Some(Admission {
            service: Arc::clone(self),
        })
    }

    pub(super) fn count_opened(&self) {
        self.opened.fetch_add(1, Relaxed);
    }

    pub(super) fn count_closed(&self, reason: CloseReason) {
        self.closed[reason as usize].fetch_add(1, Relaxed);
    }
}

/// One session's place at a service; dropping it gives the place back.
#[derive(Debug)]
pub struct Admission {
    service: Arc<Service>,
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.service.admitted.fetch_sub(1, Relaxed);
    }
}

/// A place where clients arrive.
#[derive(Debug)]
pub struct Listener {
    /// What the configuration says of it.
    pub parameters: config::Listener,
    service: Arc<Service>,
    address: OnceLock<SocketAddr>,
}

impl Listener {
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

    /// Says where it listens; the first word counts.
    pub fn set_address(&self, address: SocketAddr) {
        let _ = self.address.set(address);
    }

    /// The service that its clients get.
    #[must_use]
    pub fn service(&self) -> &Arc<Service> {
        &self.service
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_counts_for_as_long_as_it_lives() {
        let topology = Topology::new(&Config::example(), SystemTime::now());
        let server = &topology.servers[0];
        let lease = server.lease();
        assert_eq!(server.connections(), 1);
        drop(lease);
        assert_eq!(server.connections(), 0);
    }

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
