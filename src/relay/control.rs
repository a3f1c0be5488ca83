//! What others ask of the relay: an operator's commands, another configuration,
//! the end.
//!
//! All of it is followed between two turns of events, so that nothing changes
//! under an event's hands. Ending many sessions takes time that others would
//! have to wait, so it is done in portions: one for each command, and one a turn.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use mio::Waker;

use super::Relay;
use super::listen::ListenError;
use super::names::Names;
use super::session::Session;
use super::source::Source;
use crate::queue::{Receiver, Sender, queue};
use crate::registry::{
    self, ClientsOf, CloseReason, Command, Condition, Followed, Listener, Server, Service,
    SessionId, SessionState, Topology, Unfollowed,
};

/// How many orders may wait for the next turn: as many as are given. Whoever gives
/// one waits for it or gives no other, and none to end must be lost.
const ORDERS: usize = usize::MAX;

/// How many sessions are ended in one turn: half a millisecond's work.
const ENDED_A_TURN: usize = 32;

/// The way in for other threads, and what they have asked for.
pub(super) struct Control {
    waker: Arc<Waker>,
    sender: Sender<Order>,
    orders: Receiver<Order>,
    /// Something has been asked since the last turn.
    rung: bool,
    /// Sessions that are to end, when and why.
    ending: VecDeque<(Arc<registry::Session>, Instant, CloseReason)>,
    /// How far the end of it all has come.
    end: End,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// Nobody has asked for it.
    Far,
    /// No client is accepted any more; it comes when the last session has ended.
    AfterSessions,
    /// Now.
    Here,
}

enum Order {
    Stop(Duration),
    Reload(Box<Reload>),
}

/// Another configuration, and whoever waits until it holds.
struct Reload {
    topology: Topology,
    names: Names,
    sessions_at_most: usize,
    grace: Duration,
    before_accepting: Box<dyn FnOnce() + Send>,
    answer: Sender<Result<(), ListenError>>,
}

/// Another thread's way to the relay.
#[derive(Clone)]
pub struct Handle {
    waker: Arc<Waker>,
    orders: Sender<Order>,
}

/// Why another configuration does not hold.
#[derive(Debug)]
pub enum ReloadError {
    /// A new listener cannot listen.
    Listen(ListenError),
    /// The thread that looks up names cannot be started.
    Names(io::Error),
    /// The relay has ended.
    Ended,
}

impl fmt::Display for ReloadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listen(cause) => cause.fmt(f),
            Self::Names(cause) => write!(f, "cannot start a thread to look up names: {cause}"),
            Self::Ended => f.write_str("the relay has ended"),
        }
    }
}

impl std::error::Error for ReloadError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Listen(cause) => Some(cause),
            Self::Names(cause) => Some(cause),
            Self::Ended => None,
        }
    }
}

impl Handle {
    /// Ends the relay: it closes its listeners and its sessions and returns.
    pub fn stop(&self) {
        self.stop_within(Duration::ZERO);
    }

    /// Ends the relay: it closes its listeners, and returns when the last
    /// session has ended, or has been closed after that time. Asked again, the
    /// shorter time counts.
    pub fn stop_within(&self, grace: Duration) {
        self.order(Order::Stop(grace));
    }

    /// Puts another topology in the place of the registry's, which was made out
    /// of it, and returns when it holds; on an error all stays as it was, but for
    /// what names stand for. What is removed gets some time for its sessions to end.
    ///
    /// Names are looked up first, for a second at most.
    ///
    /// `before_accepting` is called where nothing can fail any more: the listeners
    /// that are removed are closed, and no client of a new or changed one is
    /// accepted yet. It runs on the relay's thread and must not block.
    pub fn reload(
        &self,
        topology: Topology,
        sessions_at_most: usize,
        grace: Duration,
        before_accepting: impl FnOnce() + Send + 'static,
    ) -> Result<(), ReloadError> {
        let names = Names::start(&topology.servers).map_err(ReloadError::Names)?;
        let (answer, answered) = queue(1);
        self.order(Order::Reload(Box::new(Reload {
            topology,
            names,
            sessions_at_most,
            grace,
            before_accepting: Box::new(before_accepting),
            answer,
        })));
        // A relay that has ended drops what nobody follows any more.
        let answer = answered.receive().ok_or(ReloadError::Ended)?;
        answer.map_err(ReloadError::Listen)
    }

    /// Wakes the relay.
    pub(super) fn ring(&self) {
        // It fails only where the relay is gone already.
        let _ = self.waker.wake();
    }

    fn order(&self, order: Order) {
        // As above.
        let _ = self.orders.send(order);
        self.ring();
    }
}

impl Control {
    pub(super) fn new(events: &mio::Registry) -> io::Result<Self> {
        let (sender, orders) = queue(ORDERS);
        Ok(Self {
            waker: Arc::new(Waker::new(events, Source::Waker.token())?),
            sender,
            orders,
            rung: false,
            ending: VecDeque::new(),
            end: End::Far,
        })
    }

    pub(super) fn handle(&self) -> Handle {
        Handle {
            waker: Arc::clone(&self.waker),
            orders: self.sender.clone(),
        }
    }

    /// Somebody has asked for something.
    pub(super) fn rung(&mut self) {
        self.rung = true;
    }

    /// Whether there is something to do without an event.
    pub(super) fn has_more(&self) -> bool {
        !self.ending.is_empty()
    }
}

impl Relay {
    /// Whether there is nothing left to do.
    pub(super) fn is_over(&self) -> bool {
        match self.control.end {
            End::Far => false,
            End::AfterSessions => self.sessions.is_empty(),
            End::Here => true,
        }
    }

    /// Does what has been asked for.
    pub(super) fn follow(&mut self) {
        if std::mem::take(&mut self.control.rung) {
            while let Some(order) = self.control.orders.take() {
                match order {
                    Order::Stop(grace) => self.begin_end(grace),
                    Order::Reload(reload) => self.reload(*reload),
                }
            }
            // What a single session is about is done when it is answered.
            while let Some(asked) = self.registry.commands.take() {
                let result = self.command(&asked.command);
                self.end_some();
                asked.answer(result);
            }
        }
        self.end_some();
    }

    fn command(&mut self, command: &Command) -> Followed {
        match command {
            Command::Kill { sessions, at } => {
                // Those that have ended meanwhile are left out.
                let alive = sessions.iter().filter(|session| self.has(session));
                let alive: Vec<_> = alive.cloned().collect();
                Ok(self.end_at(*at, CloseReason::Killed, alive))
            }
            Command::Stop { listeners, kill } => {
                self.acceptor.stop(listeners, SystemTime::now());
                Ok(match kill {
                    None => Vec::new(),
                    Some(clients) => {
                        let sessions = self.sessions_that(|session| is_of(session, clients));
                        self.end_at(self.now, CloseReason::Killed, sessions)
                    }
                })
            }
            Command::Start { .. } if self.control.end != End::Far => {
                Err(Unfollowed::Impossible("the program is stopping".to_owned()))
            }
            Command::Start { listeners } => {
                let started =
                    self.acceptor
                        .start(listeners, self.poll.registry(), SystemTime::now());
                started.map_err(|cause| Unfollowed::Impossible(cause.to_string()))?;
                Ok(Vec::new())
            }
            Command::Condition {
                server,
                condition,
                set,
            } => {
                server.set_condition(*condition, *set, SystemTime::now());
                if *set {
                    self.leave_out(|other| other.is(server));
                }
                if !*set || *condition != Condition::Maintenance {
                    return Ok(Vec::new());
                }
                let sessions = self.sessions_that(|session| {
                    session.server().is_some_and(|other| other.is(server))
                });
                Ok(self.end_at(self.now, CloseReason::ServerStopped, sessions))
            }
        }
    }

    /// Whether a session is one of ours, and lives.
    fn has(&self, record: &Arc<registry::Session>) -> bool {
        let session = self.sessions.get(record.place());
        // Where it has ended, its place may be another one's.
        session
            .and_then(Option::as_ref)
            .is_some_and(|session| Arc::ptr_eq(&session.record, record))
    }

    fn sessions_that(&self, are_meant: impl Fn(&Session) -> bool) -> Vec<Arc<registry::Session>> {
        let sessions = self
            .sessions
            .iter()
            .filter_map(|(_, session)| session.as_ref());
        let meant = sessions.filter(|session| are_meant(session));
        meant.map(|session| Arc::clone(&session.record)).collect()
    }

    /// Has sessions end at some time, in portions. Returns which.
    fn end_at(
        &mut self,
        at: Instant,
        reason: CloseReason,
        sessions: Vec<Arc<registry::Session>>,
    ) -> Vec<SessionId> {
        let ids = sessions.iter().map(|session| session.id()).collect();
        let ending = sessions.into_iter().map(|session| (session, at, reason));
        self.control.ending.extend(ending);
        ids
    }

    /// Has sessions look again that are on their way to what is not a server any
    /// more, or not in that form.
    fn look_again_for_servers(&mut self) {
        let topology = Arc::clone(&self.topology);
        self.leave_out(|server| {
            let current = &topology.servers;
            !current
                .iter()
                .any(|other| std::ptr::eq(&raw const **other, server))
        });
    }

    /// The service that a session gets its server from: as it is now, if it is still there.
    pub(super) fn service_of(&self, record: &registry::Session) -> Arc<Service> {
        let came_to = record.service();
        let services = &self.topology.services;
        let now = services.iter().find(|service| service.is(came_to));
        Arc::clone(now.unwrap_or(came_to))
    }

    /// Has sessions that are on their way to a server look for another one.
    fn leave_out(&mut self, is_meant: impl Fn(&Server) -> bool) {
        let slots: Vec<usize> = self
            .sessions
            .iter()
            .filter_map(|(slot, session)| {
                let server = session.as_ref()?.tried_server()?;
                is_meant(server).then_some(slot)
            })
            .collect();
        for slot in slots {
            self.give_up_attempt(slot);
            self.connect_next(slot);
        }
    }

    /// Ends a portion of the sessions that are to end.
    fn end_some(&mut self) {
        for _ in 0..ENDED_A_TURN {
            let Some((record, at, reason)) = self.control.ending.pop_front() else {
                return;
            };
            if !self.has(&record) {
                continue;
            }
            let slot = record.place();
            let Some(session) = &mut self.sessions[slot] else {
                continue;
            };
            session.limits.stop(at, reason);
            if let Some(reason) = session.limits.stopped(self.now) {
                self.turn_away(slot, reason);
                continue;
            }
            if record.state() != SessionState::Stopping {
                record.set_state(SessionState::Stopping, SystemTime::now());
            }
            let deadline = session.deadline;
            self.set_deadline(slot, deadline);
        }
    }

    /// Accepts no more clients, and gives sessions some time to end.
    fn begin_end(&mut self, grace: Duration) {
        self.acceptor.close(&self.registry, self.now);
        if grace.is_zero() {
            self.control.end = End::Here;
            return;
        }
        let count = self.sessions.len() - self.closed.len();
        if count > 0 {
            log::info!("{count} sessions have {grace:?} to end");
        }
        self.control.end = End::AfterSessions;
        let all = self.sessions_that(|_| true);
        self.end_at(self.now + grace, CloseReason::Shutdown, all);
    }

    /// Closes what is left.
    pub(super) fn shut_down(&mut self) {
        self.acceptor.close(&self.registry, self.now);
        let slots: Vec<usize> = self.sessions.iter().map(|(slot, _)| slot).collect();
        for slot in slots {
            self.turn_away(slot, CloseReason::Shutdown);
        }
    }

    fn reload(&mut self, reload: Reload) {
        let Reload {
            topology,
            names,
            sessions_at_most,
            grace,
            before_accepting,
            answer,
        } = reload;
        if self.control.end != End::Far {
            // Whoever waits learns that by the end of the channel.
            return;
        }
        let opened = self
            .acceptor
            .prepare(&topology.listeners, self.poll.registry());
        let listeners = match opened {
            Ok(listeners) => listeners,
            Err(cause) => {
                let _ = answer.send(Err(cause));
                return;
            }
        };
        self.acceptor
            .change(listeners, &self.registry, sessions_at_most, self.now);
        before_accepting();
        self.acceptor.announce();
        self.health
            .change(&topology, self.poll.registry(), self.now);
        self.names = Some(names);
        let before = self.registry.topology();
        self.registry.set_topology(topology, SystemTime::now());
        let after = self.registry.topology();
        self.topology = Arc::clone(&after);
        self.look_again_for_servers();
        self.end_what_is_gone(&before, &after, grace);
        // Whoever asked may have ended since.
        let _ = answer.send(Ok(()));
    }

    /// Ends the sessions of services and servers that are no more.
    fn end_what_is_gone(&mut self, before: &Topology, after: &Topology, grace: Duration) {
        let is_gone = |server: &Server| !after.servers.iter().any(|other| other.is(server));
        let mut servers = before
            .servers
            .iter()
            .filter(|server| is_gone(server))
            .peekable();
        let services = before.services.iter();
        let mut services = services
            .filter(|service| !after.services.iter().any(|other| other.is(service)))
            .peekable();
        let at = self.now + grace;
        if services.peek().is_some() {
            let services: Vec<_> = services.collect();
            let sessions = self.sessions_that(|session| {
                let service = session.record.service();
                services.iter().any(|other| other.is(service))
            });
            self.end_at(at, CloseReason::Shutdown, sessions);
        }
        if servers.peek().is_some() {
            let servers: Vec<_> = servers.collect();
            for server in &servers {
                server.set_removed(true);
            }
            let is_gone = |server: &Server| servers.iter().any(|other| other.is(server));
            let sessions = self
                .sessions_that(|session| session.server().is_some_and(|server| is_gone(server)));
            self.end_at(at, CloseReason::ServerStopped, sessions);
        }
    }
}

fn is_of(session: &Session, clients: &ClientsOf) -> bool {
    match clients {
        ClientsOf::Service(service) => session.record.service().is(service),
        ClientsOf::Listener(listener) => session.record.listener().is(listener),
    }
}

/// Whether one of them is that listener.
pub(super) fn has(listeners: &[Arc<Listener>], listener: &Listener) -> bool {
    listeners.iter().any(|other| other.is(listener))
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use mio::Events;

    use super::*;
    use crate::config::Config;
    use crate::registry::Registry;

    #[test]
    fn many_sessions_end_in_portions_so_that_others_move_in_between() {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let text = format!(
            "[server]\ntype=server\naddress=127.0.0.1\nport={}\n[service]\ntype=service\nservers=server\n\
             [listener]\ntype=listener\nservice=service\nprotocol=TCP\naddress=127.0.0.1\nport=0\n",
            server.local_addr().unwrap().port()
        );
        let config = Config::parse("test", text.as_bytes()).unwrap();
        let registry = Arc::new(Registry::new(&config, SystemTime::now()));
        let mut relay = Relay::bind(Arc::clone(&registry), 1000).unwrap();
        let address = relay.address("listener").unwrap();
        let mut events = Events::with_capacity(64);
        let mut clients = Vec::new();
        let clients_of = |registry: &Registry| registry.sessions.len() - 1;
        while clients_of(&registry) < 3 * ENDED_A_TURN {
            clients.push(TcpStream::connect(address).unwrap());
            let wait = Some(super::super::limits::FIRST_MESSAGE_LIMIT);
            relay.poll.poll(&mut events, wait).unwrap();
            relay.now = Instant::now();
            relay.turn(&events);
        }
        let sessions = registry.sessions.snapshot();
        let sessions = sessions.into_iter().filter(|one| one.client().is_some());
        let command = Command::Kill {
            sessions: sessions.collect(),
            at: relay.now,
        };
        let killed = relay.command(&command).unwrap();
        assert_eq!(killed.len(), 3 * ENDED_A_TURN);
        for left in [2, 1, 0] {
            assert!(relay.control.has_more());
            assert_eq!(relay.timeout(), Some(Duration::ZERO));
            relay.turn(&Events::with_capacity(1));
            assert_eq!(clients_of(&registry), left * ENDED_A_TURN);
        }
        assert!(!relay.control.has_more());
        // They are gone already, so nobody is killed a second time.
        assert_eq!(relay.command(&command), Ok(Vec::new()));
    }
}
