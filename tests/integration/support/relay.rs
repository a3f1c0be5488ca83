//! The relay in this process, where its registry can be asked.

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Instant, SystemTime};

use sessiond::config::Config;
use sessiond::registry::{Client, CloseReason, Registry, Service};
use sessiond::relay::{Handle, Relay};

use super::until;

/// A relay on a thread of this process.
pub struct Running {
    pub registry: Arc<Registry>,
    handle: Handle,
    thread: JoinHandle<std::io::Result<()>>,
    pub address: SocketAddr,
}

impl Running {
    pub fn start(config: &str) -> Self {
        let config = Config::parse("test", config.as_bytes()).unwrap();
        let registry = Arc::new(Registry::new(&config, SystemTime::now()));
        Self::run(registry)
    }

    pub fn run(registry: Arc<Registry>) -> Self {
        let relay = Relay::bind(Arc::clone(&registry), 100).unwrap();
        let (handle, address) = (relay.handle(), relay.address("listener").unwrap());
        Self {
            registry,
            handle,
            thread: thread::spawn(|| relay.run()),
            address,
        }
    }

    /// What another thread needs to change it.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    pub fn service(&self) -> Arc<Service> {
        Arc::clone(&self.registry.topology().services[0])
    }

    /// The ports of its connections to servers.
    pub fn local_ports(&self) -> Vec<u16> {
        let sessions = self.registry.sessions.snapshot().into_iter();
        let snapshot = |client: &Client| client.snapshot(Instant::now());
        let seen = sessions.filter_map(|session| session.client().map(snapshot));
        let connections = seen.flat_map(|seen| seen.connections.to_vec());
        connections
            .map(|connection| connection.local_port)
            .collect()
    }

    /// Waits for the end of the only session, whose reason must be that one.
    pub fn ended(&self, reason: CloseReason) {
        let count = || CloseReason::ALL.map(|reason| self.service().closed(reason));
        until("the end of the session", || {
            (count().iter().sum::<u64>() > 0).then_some(())
        });
        let expected = CloseReason::ALL.map(|other| u64::from(other == reason));
        assert_eq!(count(), expected, "{}", reason.as_str());
        // The listener's own session is there still.
        assert_eq!(self.registry.sessions.len(), 1);
        assert_eq!(self.registry.topology().servers[0].connections(), 0);
    }

    pub fn stop(self) {
        self.handle.stop();
        self.thread.join().unwrap().unwrap();
        assert!(self.registry.sessions.is_empty());
    }
}
