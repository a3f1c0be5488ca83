//! The data plane: one thread that owns every client and every backend socket.
//!
//! A connection's journey: it comes to a socket that [`listen`] has made;
//! [`accept`] takes it and the registry opens its session; [`arrival`] reads its
//! PROXY header, if it is to have one, and lets it in; [`search`] asks
//! [`routing`] for a server, connects, and hears the server's first word, upon
//! which it may try another one; [`session`] moves bytes through two
//! [`pipe`]s, while [`watch`] reads along, until both have ended or one of its
//! [`limits`] is reached; then the registry closes it with the reason.
//!
//! What others ask of it (an operator's commands, another configuration, the
//! end) it follows in [`control`].
//!
//! The loop waits for events (edge-triggered: each readiness is announced once),
//! lets the sessions concerned move what they can, then those that gave way to
//! others, then whoever has run out of time. Nothing in it blocks.

mod accept;
mod arrival;
mod cancel;
mod control;
mod deadline;
mod health;
mod limits;
mod listen;
mod log_limit;
mod names;
mod pipe;
mod probe;
mod rest;
mod routing;
mod search;
mod session;
mod source;
mod splice;
mod watch;

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use mio::event::Event;
use mio::{Events, Poll};
use slab::Slab;

use crate::config::Protocol;
use crate::inherited::Inherited;
use crate::protocol::{ServerError, mariadb, postgresql};
use crate::pulse::Pulse;
use crate::registry::{self, CloseReason, Registry, SessionState, Topology};
use accept::Acceptor;
use cancel::Cancels;
use control::Control;
use deadline::Deadlines;
use health::{Connected, Health};
use log_limit::LogLimit;
use names::Names;
use rest::Scratch;
use session::{Backend, LoginOutcome, Next, Session};
use source::Source;
use splice::Channels;

pub use control::{Handle, ReloadError};
pub use listen::ListenError;

/// How many events one turn of the loop takes.
const EVENTS: usize = 1024;

/// How many lines the log gets in a second about clients of trusted networks that
/// begin with something else than a PROXY header. Each such client is one connect.
const BAD_HEADER_LINES: u32 = 10;

/// How many lines the log gets in a second about logins that servers refuse.
const REFUSED_LOGIN_LINES: u32 = 10;

/// How many sessions there may be with so many descriptors: a client's and a
/// server's each, beside those for long streams.
#[must_use]
pub fn sessions_within(descriptors: usize) -> usize {
    let pairs = descriptors / 2;
    pairs - Channels::count_beside(pairs)
}

/// The event loop and everything it owns.
pub struct Relay {
    registry: Arc<Registry>,
    poll: Poll,
    control: Control,
    acceptor: Acceptor,
    sessions: Slab<Option<Session>>,
    /// Slots of sessions that closed in this turn. Events of the turn may still
    /// name them, so they are given away only after it.
    closed: Vec<usize>,
    /// Sessions that gave way to others with bytes in hand.
    queue: VecDeque<usize>,
    deadlines: Deadlines,
    health: Health,
    scratch: Scratch,
    /// How many clients are to be told that they are refused.
    refused: usize,
    /// Whether the log knows that this machine has run out of something that
    /// connections to servers need.
    shortage_told: bool,
    bad_headers: LogLimit,
    /// Limits the log lines about refused logins.
    refused_logins: LogLimit,
    /// The connections that deliver cancel requests.
    cancels: Cancels,
    /// What the configuration has made, as it is now.
    topology: Arc<Topology>,
    /// Looks up the names of servers.
    names: Option<Names>,
    pulse: Pulse,
    now: Instant,
}

impl Relay {
    /// Listens for all listeners of the registry, and opens their sessions in
    /// the order of the configuration. Clients wait until [`Self::run`].
    ///
    /// Beyond `sessions_at_most`, clients wait in the kernel until others have
    /// left; [`sessions_within`] says how many the descriptors allow.
    pub fn bind(registry: Arc<Registry>, sessions_at_most: usize) -> Result<Self, ListenError> {
        Self::bind_with(registry, sessions_at_most, Inherited::none())
    }

    /// The same, where some sockets listen already.
    pub fn bind_with(
        registry: Arc<Registry>,
        sessions_at_most: usize,
        inherited: Inherited,
    ) -> Result<Self, ListenError> {
        let poll = Poll::new().map_err(ListenError::Poll)?;
        let control = Control::new(poll.registry()).map_err(ListenError::Poll)?;
        let registry_topology = registry.topology();
        let health = Health::new(&registry_topology, Instant::now());
        let acceptor = Acceptor::bind(&registry, poll.registry(), sessions_at_most, inherited)?;
        // What is asked from now on waits until the first turn.
        let bell = control.handle();
        registry.commands.attach(move || bell.ring());
        registry.data_plane.set_kept(0, Scratch::LIMIT);
        let handle = control.handle();
        Ok(Self {
            registry,
            poll,
            pulse: Pulse::new("relay's", move || handle.ring()),
            control,
            acceptor,
            sessions: Slab::new(),
            closed: Vec::new(),
            queue: VecDeque::new(),
            deadlines: Deadlines::default(),
            health,
            scratch: Scratch::new(Channels::count_beside(sessions_at_most)),
            refused: 0,
            shortage_told: false,
            bad_headers: LogLimit::new(BAD_HEADER_LINES),
            refused_logins: LogLimit::new(REFUSED_LOGIN_LINES),
            cancels: Cancels::default(),
            topology: registry_topology,
            names: None,
            now: Instant::now(),
        })
    }

    /// Where a listener listens, by its name; `None` for a unix socket.
    #[must_use]
    pub fn address(&self, listener: &str) -> Option<SocketAddr> {
        self.acceptor.address(listener)
    }

    /// Tells the log where it listens.
    pub fn announce(&mut self) {
        self.acceptor.announce();
    }

    /// What another thread needs to end the relay, or to change it.
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.control.handle()
    }

    /// The pulse of its loop.
    #[must_use]
    pub fn pulse(&self) -> Pulse {
        self.pulse.clone()
    }

    /// Relays until [`Handle::stop`], and follows the registry's commands.
    pub fn run(mut self) -> io::Result<()> {
        self.names = Some(Names::start(&self.registry.topology().servers)?);
        self.turn_until_the_end()
    }

    fn turn_until_the_end(&mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(EVENTS);
        while !self.is_over() {
            let timeout = self.timeout();
            match self.poll.poll(&mut events, timeout) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                result => result?,
            }
            self.pulse.beat();
            self.now = Instant::now();
            self.turn(&events);
        }
        self.shut_down();
        Ok(())
    }

    /// How long the next wait may be.
    fn timeout(&self) -> Option<Duration> {
        if !self.queue.is_empty() || self.acceptor.has_more() || self.control.has_more() {
            return Some(Duration::ZERO);
        }
        let next = [
            self.deadlines.next(),
            self.health.next(),
            self.acceptor.next(),
            self.bad_headers.next(),
            self.refused_logins.next(),
        ]
        .into_iter()
        .flatten()
        .min()?;
        Some(next.saturating_duration_since(Instant::now()))
    }

    fn turn(&mut self, events: &Events) {
        for event in events {
            match Source::from(event.token()) {
                Source::Waker => self.control.rung(),
                Source::Listener(number) => self.acceptor.event(number),
                Source::Client(slot) => self.client_event(slot, event),
                Source::Server(slot) => self.server_event(slot, event),
                Source::Cancel(number) => self.cancel_event(number, event),
                Source::Probe(number) => {
                    self.health
                        .event(number, event, self.poll.registry(), self.now);
                }
            }
        }
        for _ in 0..self.queue.len() {
            let Some(slot) = self.queue.pop_front() else {
                break;
            };
            if let Some(session) = &mut self.sessions[slot] {
                session.queued = false;
                self.advance(slot);
            }
        }
        while let Some(slot) = self.deadlines.expired(self.now) {
            self.expire(slot);
        }
        self.health.turn(self.poll.registry(), self.now);
        if let Some(count) = self.bad_headers.take_omitted(self.now) {
            log::warn!("{count} more clients of trusted networks sent no valid PROXY header");
        }
        if let Some(count) = self.refused_logins.take_omitted(self.now) {
            log::warn!("servers refused {count} more logins");
        }
        self.follow();
        self.accept();
        for slot in self.closed.drain(..) {
            self.sessions.remove(slot);
        }
        let data_plane = &self.registry.data_plane;
        data_plane.set_kept(self.scratch.kept, Scratch::LIMIT);
    }

    /// An event of a client's socket. Its slot may be free already: while another
    /// thread starts a program, the system has a second hold on every socket for
    /// a moment, and goes on announcing those that are closed here.
    fn client_event(&mut self, slot: usize, event: &Event) {
        let Some(Some(session)) = self.sessions.get_mut(slot) else {
            return;
        };
        let ended = session.client_event(event, &mut self.scratch, self.now);
        match (&session.backend, ended) {
            (_, Some(reason)) => self.close(slot, reason),
            (Backend::Header | Backend::FirstMessage(_) | Backend::Refused(_), None) => {
                self.arrival_event(slot, event);
            }
            (Backend::Search(_), None) => self.client_spoke(slot),
            (Backend::Connected { .. }, None) => self.advance(slot),
            (Backend::Cancelling(_), None) => {}
        }
    }

    fn server_event(&mut self, slot: usize, event: &Event) {
        let Some(Some(session)) = self.sessions.get_mut(slot) else {
            return;
        };
        if matches!(session.backend, Backend::Search(_)) && !self.connect_event(slot, event) {
            return;
        }
        let Some(session) = &mut self.sessions[slot] else {
            return;
        };
        session.server_event(event, &mut self.scratch);
        self.advance(slot);
    }

    /// Lets a session move what it can.
    fn advance(&mut self, slot: usize) {
        let Some(session) = &mut self.sessions[slot] else {
            return;
        };
        let next = session.advance(&mut self.scratch, self.now);
        if let Some(outcome) = session.login_outcome.take() {
            self.note_login(slot, &outcome);
        }
        let Some(session) = &mut self.sessions[slot] else {
            return;
        };
        if next == Next::Queue && !session.queued {
            session.queued = true;
            self.queue.push_back(slot);
        }
        if let Next::Close(reason) = next {
            self.close(slot, reason);
        } else if std::mem::take(&mut session.hurries) {
            let due = session.due();
            self.set_deadline(slot, due);
        }
    }

    /// Takes note of what has become of a session's login.
    fn note_login(&mut self, slot: usize, outcome: &LoginOutcome) {
        let Some(session) = &self.sessions[slot] else {
            return;
        };
        let server = session.server().cloned();
        match (outcome, server) {
            (LoginOutcome::Accepted, Some(server)) => health::note_login(&server, self.now),
            (LoginOutcome::Refused(error), server) => {
                let record = Arc::clone(&session.record);
                let protocol = session.protocol();
                let name = record.latest_server();
                let name = name.as_ref().map_or("(unknown)", |server| server.name());
                self.log_refused_login(&record, name, error);
                if let Some(server) = server
                    && is_unavailable(protocol, &error.code)
                {
                    health::note(&server, Connected::Unavailable(error.to_string()));
                }
            }
            (LoginOutcome::Accepted, None) => {}
        }
    }

    /// Writes a refused login to the log, unless there are too many.
    fn log_refused_login(&mut self, record: &registry::Session, server: &str, error: &ServerError) {
        let Some(omitted) = self.refused_logins.admit(self.now) else {
            return;
        };
        let seen = record.client().map(|client| client.snapshot(self.now));
        let user = seen.as_ref().and_then(|seen| seen.login.as_ref());
        let user = user.map_or("a client", |login| &login.user);
        log::warn!(
            "session {}: server {server} refused the login of {user}: {error}{omitted}",
            record.id(),
        );
    }

    /// Ends what has run out of time.
    fn expire(&mut self, slot: usize) {
        self.set_deadline(slot, None);
        let Some(session) = &mut self.sessions[slot] else {
            return;
        };
        if let Some(reason) = session.limits.stopped(self.now) {
            return self.turn_away(slot, reason);
        }
        match &session.backend {
            Backend::Header | Backend::FirstMessage(_) => {
                self.close(slot, CloseReason::ConnectTimeout);
            }
            Backend::Search(_) => self.attempt_timed_out(slot),
            Backend::Cancelling(_) => self.close(slot, CloseReason::ClientClosed),
            Backend::Refused(refused) => {
                let reason = refused.reason;
                self.close(slot, reason);
            }
            Backend::Connected { .. } => {
                if let Some(reason) = session.overdue(self.now) {
                    return self.close(slot, reason);
                }
                // An end whose reason was not certain may be due now.
                session.hurries = true;
                self.advance(slot);
            }
        }
    }

    /// Gives a session another deadline, or none but the time when it is to stop.
    fn set_deadline(&mut self, slot: usize, deadline: Option<Instant>) {
        if let Some(session) = &mut self.sessions[slot] {
            let stop = session.limits.stop_at();
            let deadline = [deadline, stop].into_iter().flatten().min();
            self.deadlines.change(slot, session.deadline, deadline);
            session.deadline = deadline;
        }
    }

    /// Closes both sides and takes the session out of the table.
    fn close(&mut self, slot: usize, reason: CloseReason) {
        let Some(mut session) = self.sessions[slot].take() else {
            return;
        };
        self.deadlines.change(slot, session.deadline, None);
        if session.queued {
            self.queue.retain(|queued| *queued != slot);
        }
        session.release(&mut self.scratch);
        match session.backend {
            Backend::Refused(_) => self.refused -= 1,
            Backend::Cancelling(_) => self.cancels.give_up(slot),
            _ => {}
        }
        let record = Arc::clone(&session.record);
        let now = SystemTime::now();
        record.set_state(SessionState::Stopping, now);
        // Its sockets and its place at the server go first: a session that is gone has left nothing.
        drop(session);
        self.registry
            .sessions
            .close(record.id(), reason, now, self.now);
        log::debug!("session {}: {}", record.id(), reason.as_str());
        self.closed.push(slot);
    }
}

/// Whether a server that refuses a login with this error takes no others either.
fn is_unavailable(protocol: Protocol, code: &str) -> bool {
    match protocol {
        Protocol::MariaDb => mariadb::is_login_unavailable(code),
        Protocol::PostgreSql => postgresql::is_login_unavailable(code),
        Protocol::Tcp => false,
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.registry.commands.detach();
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;
    use crate::config::Config;

    #[test]
    fn a_session_that_closes_while_it_is_queued_leaves_its_slot_clean() {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let text = format!(
            "[server]\ntype=server\naddress=127.0.0.1\nport={}\n[service]\ntype=service\nservers=server\n\
             [listener]\ntype=listener\nservice=service\naddress=127.0.0.1\nport=0\n",
            server.local_addr().unwrap().port()
        );
        let config = Config::parse("test", text.as_bytes()).unwrap();
        let registry = Arc::new(Registry::new(&config, SystemTime::now()));
        let mut relay = Relay::bind(Arc::clone(&registry), 10).unwrap();
        let _client = TcpStream::connect(relay.address("listener").unwrap()).unwrap();
        let mut events = Events::with_capacity(EVENTS);
        relay
            .poll
            .poll(&mut events, Some(limits::FIRST_MESSAGE_LIMIT))
            .unwrap();
        relay.turn(&events);
        assert_eq!(registry.sessions.len(), 2);

        // It gave way with bytes in hand, and its time was up in the same turn.
        let slot = relay.sessions.iter().next().unwrap().0;
        relay.sessions[slot].as_mut().unwrap().queued = true;
        relay.queue.push_back(slot);
        relay.close(slot, CloseReason::ClientReset);
        relay.turn(&Events::with_capacity(1));
        relay.turn(&Events::with_capacity(1));
        assert_eq!(registry.sessions.len(), 1);
        assert_eq!((relay.sessions.len(), relay.queue.len()), (0, 0));
    }
}
