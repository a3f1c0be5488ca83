//! Where clients come in.
//!
//! The hard thing is running out of descriptors. A listener that cannot accept
//! gets no new event for the clients that wait, so it has to try again by
//! itself; and a client that was accepted with the last descriptor could not
//! be given a server. So the relay counts: it stops accepting while another
//! session would not fit, and lets the kernel keep the clients.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use mio::Interest;
use mio::unix::SourceFd;
use rustix::io::Errno;

use super::Relay;
use super::control::has;
use super::listen::{ListenError, listen, place_in_words};
use super::pipe::Kind;
use super::session::Session;
use super::source::Source;
use crate::config::Endpoint;
use crate::inherited::Inherited;
use crate::registry::{self, CloseReason, Listener, Registry, SessionState};
use crate::socket::{self, Accepted, Listening};

/// How many clients a listener accepts before the sessions have their turn.
const BURST: usize = 64;

/// How long accepting rests when nothing is left to accept with, unless a
/// session ends earlier.
const PAUSE: Duration = Duration::from_millis(100);

/// All listeners, and whether they may accept.
pub(super) struct Acceptor {
    /// By numbers that are never used twice.
    open: BTreeMap<usize, Open>,
    next: usize,
    sessions_at_most: usize,
    /// Until when accepting rests.
    paused: Option<Instant>,
    /// Whether the log has been told since the last time all clients were accepted.
    told: bool,
    /// The sockets that listened before the program was there.
    inherited: Inherited,
}

/// A listener, with its socket unless it is stopped.
struct Open {
    listening: Option<Listening>,
    /// The socket of a stopped listener that cannot be closed, since it was
    /// passed to the program: who connects to it is sent away.
    kept: Option<Listening>,
    listener: Arc<Listener>,
    /// The listener's own session.
    session: Arc<registry::Session>,
    /// Clients may be waiting.
    ready: bool,
    /// Whether the log knows where it listens.
    announced: bool,
}

/// A listener that is to listen, and where it gets its socket from.
pub(super) struct Prepared {
    listener: Arc<Listener>,
    socket: Found,
}

/// Where a listener gets its socket from.
enum Found {
    /// It has it already, and its session.
    Own(usize),
    /// Another one at the same place has it, or the same one with other parameters.
    OfAnother(usize),
    /// It is new.
    New(usize, Listening),
    /// Nowhere: it is stopped.
    None,
}

impl Acceptor {
    /// Listens everywhere before any session is opened: all or nothing.
    pub(super) fn bind(
        registry: &Registry,
        events: &mio::Registry,
        sessions_at_most: usize,
        inherited: Inherited,
    ) -> Result<Self, ListenError> {
        let mut acceptor = Self {
            open: BTreeMap::new(),
            next: 0,
            sessions_at_most,
            paused: None,
            told: false,
            inherited,
        };
        let topology = registry.topology();
        for listener in &topology.listeners {
            listener.set_stopped(false, SystemTime::now());
        }
        let listeners = acceptor.prepare(&topology.listeners, events)?;
        acceptor.change(listeners, registry, sessions_at_most, Instant::now());
        Ok(acceptor)
    }

    /// Finds a socket for each listener: its own where it did not change, the one
    /// at the same place, or a new one. On an error nothing has changed, but that
    /// new sockets were there for a moment.
    pub(super) fn prepare(
        &mut self,
        listeners: &[Arc<Listener>],
        events: &mio::Registry,
    ) -> Result<Vec<Prepared>, ListenError> {
        let mut prepared: Vec<Prepared> = Vec::new();
        for listener in listeners {
            let parameters = &listener.parameters;
            let same = self.open.iter().find(|(_, open)| {
                open.listener.is(listener) && open.listener.parameters == *parameters
            });
            let socket = if let Some((number, _)) = same {
                Found::Own(*number)
            } else if listener.is_stopped() {
                Found::None
            } else if let Some(number) = self.at(&parameters.endpoint, listener) {
                Found::OfAnother(number)
            } else {
                let number = self.next;
                self.next += 1;
                Found::New(number, listen(listener, number, events, &self.inherited)?)
            };
            prepared.push(Prepared {
                listener: Arc::clone(listener),
                socket,
            });
        }
        Ok(prepared)
    }

    /// The number of a listener that listens at a place already, in whatever
    /// words. Ports that the system has chosen are at the same place only for the
    /// same listener.
    fn at(&self, endpoint: &Endpoint, listener: &Listener) -> Option<usize> {
        let is_chosen = matches!(endpoint, Endpoint::Tcp { port: 0, .. });
        let any = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
        let wanted = match endpoint {
            Endpoint::Tcp { address, port } if !is_chosen => {
                Some(SocketAddr::new(address.unwrap_or(any), *port))
            }
            _ => None,
        };
        let there = |open: &Open| {
            let Some(listening) = &open.listening else {
                return false;
            };
            (wanted.is_some() && listening.address() == wanted)
                || (open.listener.parameters.endpoint == *endpoint
                    && (!is_chosen || open.listener.is(listener)))
        };
        let found = self.open.iter().find(|(_, open)| there(open));
        found.map(|(number, _)| *number)
    }

    /// Goes over to other listeners. What is not among them is closed.
    pub(super) fn change(
        &mut self,
        listeners: Vec<Prepared>,
        registry: &Registry,
        sessions_at_most: usize,
        now: Instant,
    ) {
        self.sessions_at_most = sessions_at_most;
        registry.data_plane.set_sessions_at_most(sessions_at_most);
        let time = SystemTime::now();
        let mut before = std::mem::take(&mut self.open);
        for Prepared { listener, socket } in listeners {
            let mut kept = None;
            let (number, listening, ready) = match socket {
                Found::Own(number) => {
                    if let Some(open) = before.remove(&number) {
                        self.open.insert(number, Open { listener, ..open });
                    }
                    continue;
                }
                Found::OfAnother(number) => {
                    let other = before.get_mut(&number);
                    let listening = other.and_then(|other| other.listening.take());
                    // Clients may have come since its last event.
                    (number, listening, true)
                }
                Found::New(number, listening) => (number, Some(listening), false),
                Found::None => {
                    let same = before.iter_mut().find(|(_, open)| {
                        open.listener.is(&listener)
                            && open.listener.parameters.endpoint == listener.parameters.endpoint
                    });
                    kept = same.and_then(|(number, open)| Some((*number, open.kept.take()?)));
                    let number = kept.as_ref().map(|(number, _)| *number);
                    self.next += usize::from(number.is_none());
                    (number.unwrap_or(self.next - 1), None, kept.is_some())
                }
            };
            let kept = kept.map(|(_, kept)| kept);
            if let Some(address) = listening.as_ref().and_then(Listening::address) {
                listener.set_address(address);
            }
            let session = registry.sessions.open_listener(&listener, time);
            if listening.is_none() {
                session.set_state(SessionState::StoppedListener, time);
            }
            let open = Open {
                ready: ready && (listening.is_some() || kept.is_some()),
                listening,
                kept,
                listener,
                session,
                announced: false,
            };
            self.open.insert(number, open);
        }
        for (_, open) in before {
            let stays = |other: &Open| other.listener.is(&open.listener);
            if !self.open.values().any(stays) {
                log::info!("listener {}: removed", open.listener.name());
                if open.listening.as_ref().is_some_and(Listening::is_passed) || open.kept.is_some()
                {
                    log::warn!(
                        "listener {}: systemd still listens for it, and clients wait there in vain: \
                         stop its .socket unit",
                        open.listener.name()
                    );
                }
            }
            open.end(registry, time, now);
        }
    }

    /// Where a listener listens; `None` for a unix socket.
    pub(super) fn address(&self, listener: &str) -> Option<SocketAddr> {
        let mut open = self.open.values();
        open.find(|open| open.listener.name() == listener)?
            .listener
            .address()
    }

    /// Tells the log where it listens, as far as the log does not know.
    pub(super) fn announce(&mut self) {
        self.open.values_mut().for_each(Open::announce);
    }

    /// Stops listening in some places.
    pub(super) fn stop(&mut self, listeners: &[Arc<Listener>], time: SystemTime) {
        for open in self.open.values_mut() {
            if has(listeners, &open.listener)
                && let Some(listening) = open.listening.take()
            {
                open.ready = listening.is_passed();
                open.kept = Some(listening).filter(Listening::is_passed);
                open.listener.set_stopped(true, time);
                open.session.set_state(SessionState::StoppedListener, time);
            }
        }
    }

    /// Listens again in some places: all or nothing.
    pub(super) fn start(
        &mut self,
        listeners: &[Arc<Listener>],
        events: &mio::Registry,
        time: SystemTime,
    ) -> Result<(), ListenError> {
        let stopped = self
            .open
            .iter()
            .filter(|(_, open)| open.listening.is_none() && has(listeners, &open.listener));
        let sockets = stopped.map(|(number, open)| {
            let listening = listen(&open.listener, *number, events, &self.inherited)?;
            Ok((*number, listening))
        });
        for (number, listening) in sockets.collect::<Result<Vec<_>, _>>()? {
            let Some(open) = self.open.get_mut(&number) else {
                continue;
            };
            if let Some(address) = listening.address() {
                open.listener.set_address(address);
            }
            open.ready = open.kept.take().is_some();
            open.listening = Some(listening);
            open.listener.set_stopped(false, time);
            open.session.set_state(SessionState::Listener, time);
        }
        Ok(())
    }

    /// How many sessions there may be.
    pub(super) fn sessions_at_most(&self) -> usize {
        self.sessions_at_most
    }

    /// Clients have arrived.
    pub(super) fn event(&mut self, number: usize) {
        if let Some(open) = self.open.get_mut(&number) {
            open.ready = true;
        }
    }

    /// Whether clients can be accepted right now.
    pub(super) fn has_more(&self) -> bool {
        self.paused.is_none() && self.open.values().any(|open| open.ready)
    }

    /// The next listener from that number on whose clients may be waiting.
    fn next_ready(&self, from: usize) -> Option<usize> {
        let mut open = self.open.range(from..);
        open.find(|(_, open)| open.ready).map(|(number, _)| *number)
    }

    /// When a pause ends.
    pub(super) fn next(&self) -> Option<Instant> {
        self.paused
    }

    /// Stops listening for good, and ends the listeners' sessions.
    pub(super) fn close(&mut self, registry: &Registry, now: Instant) {
        let time = SystemTime::now();
        for (_, open) in std::mem::take(&mut self.open) {
            open.listener.set_stopped(true, time);
            open.end(registry, time, now);
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

impl Open {
    fn announce(&mut self) {
        if self.listening.is_some() && !std::mem::replace(&mut self.announced, true) {
            let place = place_in_words(&self.listener);
            log::info!("listener {}: listening on {place}", self.listener.name());
        }
    }

    /// Closes its socket, and ends its session.
    fn end(self, registry: &Registry, time: SystemTime, now: Instant) {
        drop(self.listening);
        let id = self.session.id();
        registry
            .sessions
            .close(id, CloseReason::Shutdown, time, now);
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
        let mut from = 0;
        while self.acceptor.paused.is_none()
            && let Some(number) = self.acceptor.next_ready(from)
        {
            let mut accepted = 0;
            while accepted < BURST && self.accept_one(number) {
                accepted += 1;
            }
            from = number + 1;
        }
        if self.acceptor.next_ready(0).is_none() && std::mem::take(&mut self.acceptor.told) {
            log::info!("all clients that waited are accepted");
        }
    }

    /// Accepts one client. False where there is none, or none can be.
    fn accept_one(&mut self, number: usize) -> bool {
        // The slots of this turn's closed sessions are counted: their descriptors are free, they are not yet.
        let sessions = self.sessions.len() - self.closed.len();
        let Some(open) = self.acceptor.open.get_mut(&number) else {
            return false;
        };
        let Some(listening) = open.listening.as_ref().or(open.kept.as_ref()) else {
            open.ready = false;
            return false;
        };
        // Who comes to the socket of a stopped listener is sent away.
        let is_stopped = open.listening.is_none();
        if !is_stopped && sessions >= self.acceptor.sessions_at_most {
            if listening.has_waiting() {
                self.acceptor
                    .pause(self.now, sessions, "the limit of sessions is reached");
            } else {
                open.ready = false;
            }
            return false;
        }
        match listening.accept() {
            Ok(_) if is_stopped => {}
            Ok(accepted) => {
                let listener = Arc::clone(&open.listener);
                self.open_session(&listener, accepted);
            }
            Err(Errno::AGAIN) => {
                open.ready = false;
                return false;
            }
            Err(errno) if socket::is_shortage(errno) => {
                self.acceptor.pause(
                    self.now,
                    sessions,
                    &format!("cannot accept a client ({errno})"),
                );
                return false;
            }
            // The client was gone before it was accepted (accept(2) lists what may come); the next one may be there.
            Err(_) => {}
        }
        true
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
        record.set_place(slot);
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
