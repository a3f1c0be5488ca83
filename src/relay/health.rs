//! Which servers are up: what connects say of them, and probes of those that are down.
//!
//! A server is up until a connect to it fails, and up again once one succeeds.
//! Clients are not sent to a server that is down, so a probe of our own has to
//! find out: a bare connect, every [`PROBE_INTERVAL`], closed at once. A
//! server that is up is left alone, and while all are up nothing here wakes
//! the loop.

use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use mio::event::Event;
use mio::unix::SourceFd;
use mio::{Interest, Token};

use super::source::Source;
use crate::registry::Server;
use crate::socket;

/// How often a server that is down is tried; also how long such a try may take.
const PROBE_INTERVAL: Duration = Duration::from_secs(2);

/// The probes of all servers.
pub(super) struct Health {
    watched: Vec<Watched>,
    /// When the next probes begin; `None` while every server is up.
    due: Option<Instant>,
}

struct Watched {
    server: Arc<Server>,
    probe: Option<(OwnedFd, SocketAddr)>,
    /// Counts the tries, which take the server's addresses in turn.
    tries: usize,
}

/// How a connect went, by the words that the log has for it.
pub(super) enum Connected {
    Yes,
    No(String),
}

impl Health {
    pub(super) fn new(servers: &[Arc<Server>]) -> Self {
        let watched = |server: &Arc<Server>| Watched {
            server: Arc::clone(server),
            probe: None,
            tries: 0,
        };
        Self {
            watched: servers.iter().map(watched).collect(),
            due: None,
        }
    }

    /// Notes how a connect to a server went.
    pub(super) fn note(&mut self, server: &Server, connected: Connected, now: Instant) {
        match connected {
            Connected::Yes => {
                if server.set_up(true, SystemTime::now()) {
                    log::info!("server {} is up", server.name());
                }
            }
            Connected::No(cause) => {
                if server.set_up(false, SystemTime::now()) {
                    log::warn!("server {} is down: {cause}", server.name());
                }
                self.due.get_or_insert(now + PROBE_INTERVAL);
            }
        }
    }

    /// When [`Self::turn`] has something to do.
    pub(super) fn next(&self) -> Option<Instant> {
        self.due
    }

    /// Begins the probes that are due, in place of those that got no answer.
    pub(super) fn turn(&mut self, events: &mio::Registry, now: Instant) {
        if self.due.is_none_or(|due| due > now) {
            return;
        }
        let mut any_down = false;
        for (index, watched) in self.watched.iter_mut().enumerate() {
            watched.probe = None;
            if watched.server.is_up() {
                continue;
            }
            any_down = true;
            watched.probe = watched.begin(events, Source::Probe(index).token());
        }
        self.due = any_down.then(|| now + PROBE_INTERVAL);
    }

    /// Ends a probe that has its answer.
    pub(super) fn event(&mut self, index: usize, event: &Event, now: Instant) {
        let watched = &mut self.watched[index];
        let Some((probe, address)) = watched.probe.take() else {
            return;
        };
        let server = Arc::clone(&watched.server);
        if event.is_writable() && socket::connect_result(&probe, address).is_ok() {
            server.prefer(address);
            self.note(&server, Connected::Yes, now);
        }
    }
}

impl Watched {
    /// Begins to connect. What goes wrong leaves the server down.
    fn begin(&mut self, events: &mio::Registry, token: Token) -> Option<(OwnedFd, SocketAddr)> {
        self.tries = self.tries.wrapping_add(1);
        let addresses = self.server.addresses();
        let address = *addresses.get(self.tries.checked_rem(addresses.len())?)?;
        let probe = socket::begin_connect(address).ok()?;
        events
            .register(&mut SourceFd(&probe.as_raw_fd()), token, Interest::WRITABLE)
            .ok()?;
        Some((probe, address))
    }
}
