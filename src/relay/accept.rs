//! Where clients come in.
//!
//! The hard thing is running out of descriptors. A listener that cannot accept
//! gets no new event for the clients that wait, so it has to try again by
//! itself; and a client that was accepted with the last descriptor could not
//! be given a server. So the relay counts: it stops accepting while another
//! session would not fit, and lets the kernel keep the clients.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use mio::Interest;
use mio::unix::SourceFd;
use rustix::io::Errno;

use super::Relay;
use super::pipe::Kind;
use super::session::Session;
use super::source::Source;
use crate::config::Endpoint;
use crate::registry::{CloseReason, Listener, Registry, SessionId};
use crate::socket::{self, Accepted, Listening, Permissions};

/// How many clients a listener accepts before the sessions have their turn.
const BURST: usize = 64;

/// How long accepting rests when nothing is left to accept with, unless a
/// session ends earlier.
const PAUSE: Duration = Duration::from_millis(100);

/// All listeners, and whether they may accept.
pub(super) struct Acceptor {
    open: Vec<Open>,
    sessions_at_most: usize,
    /// Until when accepting rests.
    paused: Option<Instant>,
    /// Whether the log has been told since the last time all clients were accepted.
    told: bool,
}

/// A listener while it listens.
struct Open {
    listening: Listening,
    listener: Arc<Listener>,
    /// The listener's own session.
    session: SessionId,
    /// Clients may be waiting.
    ready: bool,
}

/// Why the relay cannot start.
#[derive(Debug)]
pub enum ListenError {
    /// The system has no event queue for us.
    Poll(io::Error),
    /// An address or a path cannot be listened on.
    Listen {
        /// The listener's name.
        listener: String,
        /// Where, in words.
        endpoint: String,
        /// Why not.
        cause: io::Error,
    },
}

impl fmt::Display for ListenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Poll(cause) => write!(f, "cannot wait for events: {cause}"),
            Self::Listen {
                listener,
                endpoint,
                cause,
            } => {
                write!(
                    f,
                    "listener {listener}: cannot listen for clients on {endpoint}: {cause}"
                )
            }
        }
    }
}

impl std::error::Error for ListenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Poll(cause) | Self::Listen { cause, .. } => Some(cause),
        }
    }
}

impl Acceptor {
    /// Listens everywhere before any session is opened: all or nothing.
    pub(super) fn bind(
        registry: &Registry,
        events: &mio::Registry,
        sessions_at_most: usize,
    ) -> Result<Self, ListenError> {
        let topology = registry.topology();
        let listeners = &topology.listeners;
        let sockets = listeners.iter().enumerate().map(|(index, listener)| {
            let register = |listening: Listening| {
                let fd = listening.as_raw_fd();
                events.register(
                    &mut SourceFd(&fd),
                    Source::Listener(index).token(),
                    Interest::READABLE,
                )?;
                Ok(listening)
            };
            listen(listener)
                .and_then(register)
                .map_err(|cause| ListenError::Listen {
                    listener: listener.name().to_owned(),
                    endpoint: endpoint_in_words(&listener.parameters.endpoint),
                    cause,
                })
        });
        let sockets: Vec<Listening> = sockets.collect::<Result<_, _>>()?;
        let connected = SystemTime::now();
        let open = sockets
            .into_iter()
            .zip(listeners)
            .map(|(listening, listener)| {
                if let Some(address) = listening.address() {
                    listener.set_address(address);
                }
                let session = registry.sessions.open_listener(listener, connected).id();
                Open {
                    listening,
                    listener: Arc::clone(listener),
                    session,
                    ready: false,
                }
            });
        Ok(Self {
            open: open.collect(),
            sessions_at_most,
            paused: None,
            told: false,
        })
    }

    /// Where a listener listens; `None` for a unix socket.
    pub(super) fn address(&self, listener: &str) -> Option<SocketAddr> {
        self.open
            .iter()
            .find(|open| open.listener.name() == listener)?
            .listening
            .address()
    }

    /// Tells the log where it listens.
    pub(super) fn announce(&self) {
        for open in &self.open {
            let place = open.listening.address().map(|address| address.to_string());
            let place =
                place.unwrap_or_else(|| endpoint_in_words(&open.listener.parameters.endpoint));
            log::info!("listener {}: listening on {place}", open.listener.name());
        }
    }

    /// How many sessions there may be.
    pub(super) fn sessions_at_most(&self) -> usize {
        self.sessions_at_most
    }

    /// Clients have arrived.
    pub(super) fn event(&mut self, index: usize) {
        self.open[index].ready = true;
    }

    /// Whether clients can be accepted right now.
    pub(super) fn has_more(&self) -> bool {
        self.paused.is_none() && self.open.iter().any(|open| open.ready)
    }

    /// When a pause ends.
    pub(super) fn next(&self) -> Option<Instant> {
        self.paused
    }

    /// Stops listening, and ends the listeners' sessions.
    pub(super) fn close(&mut self, registry: &Registry, now: Instant) {
        for open in self.open.drain(..) {
            let closed = SystemTime::now();
            registry
                .sessions
                .close(open.session, CloseReason::Shutdown, closed, now);
        }
    }

    fn pause(&mut self, now: Instant, sessions: usize, cause: &str) {
        self.paused = Some(now + PAUSE);
        if !std::mem::replace(&mut self.told, true) {
            log::warn!(
                "{cause} with {sessions} sessions open: further clients wait until some have ended"
            );
        }
    }
}

fn listen(listener: &Listener) -> io::Result<Listening> {
    match &listener.parameters.endpoint {
        Endpoint::Tcp {
            address: Some(address),
            port,
        } => Listening::tcp(SocketAddr::new(*address, *port)),
        Endpoint::Tcp {
            address: None,
            port,
        } => Listening::any(*port),
        Endpoint::Unix(path) => Listening::unix(path, &Permissions::EVERYBODY),
    }
}

fn endpoint_in_words(endpoint: &Endpoint) -> String {
    match endpoint {
        Endpoint::Tcp {
            address: Some(IpAddr::V6(address)),
            port,
        } => format!("[{address}]:{port}"),
        Endpoint::Tcp {
            address: Some(IpAddr::V4(address)),
            port,
        } => format!("{address}:{port}"),
        Endpoint::Tcp {
            address: None,
            port,
        } => format!("[::]:{port}"),
        Endpoint::Unix(path) => path.display().to_string(),
    }
}

impl Relay {
    /// Accepts the clients that wait, a burst from each listener.
    pub(super) fn accept(&mut self) {
        if let Some(until) = self.acceptor.paused {
            if until > self.now && self.closed.is_empty() {
                return;
            }
            self.acceptor.paused = None;
        }
        for index in 0..self.acceptor.open.len() {
            for _ in 0..BURST {
                if !self.acceptor.open[index].ready || self.acceptor.paused.is_some() {
                    break;
                }
                self.accept_one(index);
            }
        }
        if !self.acceptor.open.iter().any(|open| open.ready)
            && std::mem::take(&mut self.acceptor.told)
        {
            log::info!("all clients that waited are accepted");
        }
    }

    fn accept_one(&mut self, index: usize) {
        // The slots of this turn's closed sessions are counted: their descriptors are free, they are not yet.
        let sessions = self.sessions.len() - self.closed.len();
        let open = &mut self.acceptor.open[index];
        if sessions >= self.acceptor.sessions_at_most {
            if open.listening.has_waiting() {
                self.acceptor
                    .pause(self.now, sessions, "the limit of sessions is reached");
            } else {
                open.ready = false;
            }
            return;
        }
        match open.listening.accept() {
            Ok(accepted) => {
                let listener = Arc::clone(&open.listener);
                self.open_session(&listener, accepted);
            }
            Err(Errno::AGAIN) => open.ready = false,
            Err(errno) if socket::is_shortage(errno) => {
                self.acceptor.pause(
                    self.now,
                    sessions,
                    &format!("cannot accept a client ({errno})"),
                );
            }
            // The client was gone before it was accepted (accept(2) lists what may come); the next one may be there.
            Err(_) => {}
        }
    }

    fn open_session(&mut self, listener: &Arc<Listener>, Accepted { fd, remote }: Accepted) {
        let slot = self.sessions.vacant_key();
        let interest = Interest::READABLE | Interest::WRITABLE | Interest::PRIORITY;
        let registered = self.poll.registry().register(
            &mut SourceFd(&fd.as_raw_fd()),
            Source::Client(slot).token(),
            interest,
        );
        if let Err(cause) = registered {
            log::error!("cannot watch a client's connection: {cause}");
            return;
        }
        let record =
            self.registry
                .sessions
                .open_client(listener, remote, SystemTime::now(), self.now);
        let kind = if remote.is_some() {
            Kind::Tcp
        } else {
            Kind::Unix
        };
        self.sessions
            .insert(Some(Session::new(record, fd, kind, self.now)));
        self.arrive(slot);
    }
}
