//! What owns the public admin sockets.
//!
//! It accepts clients ([`accept`]), reads each request whole, checks it ([`request`]),
//! leads it through tiny_http ([`inner`]) and keeps the time. A client has one
//! request under way: the next one stays in the kernel, or in the client's
//! small buffer, until the handler has answered. Nothing in a turn waits for a
//! client, and a client can hold no more than its slot and [`request::MAX_HEAD`]
//! bytes.

mod accept;
mod chunked;
mod connection;
mod inner;
pub mod request;

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{Acquire, Release};
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};
use slab::Slab;
use tiny_http::Request;

use super::StartError;
use super::client::{Bell, Clients};
use crate::config;
use crate::inherited::Inherited;
use accept::{Listener, listen};
use connection::{Connection, Means, Step};
use inner::Inner;
use request::MAX_HEAD;

pub(super) use inner::{authorization, client_number, destination, host, list, site};
pub(super) use request::ORIGIN;

/// How many requests of clients of TCP are answered before the door looks again whether
/// one of the unix socket has come. Each takes the loop a few milliseconds at most, and
/// most take a fraction of one.
const TCP_IN_A_TURN: usize = 16;

const BELL: Token = Token(0);
const INNER: Token = Token(1);
/// The listeners have two places, the clients those after them.
const FIRST_LISTENER: usize = 2;
const FIRST_CLIENT: usize = 4;

/// The door, which a loop turns.
pub(super) struct Door {
    poll: Poll,
    /// TCP, and the unix socket where there is one.
    listeners: Vec<Listener>,
    /// The host of links for a request that names none.
    own_host: String,
    /// What every read goes into first.
    room: Box<[u8; MAX_HEAD]>,
    /// Whether clients may ask for any address of this machine.
    on_all_addresses: bool,
    inner: Inner,
    /// Whether an event is to tell when the inner socket takes more.
    awaits_inner: bool,
    clients: Arc<Clients>,
    bell: Arc<Bell>,
    stop: Arc<AtomicBool>,
    connections: Slab<Option<Connection>>,
    clients_at_most: usize,
    /// Room for the slots of the clients that something has happened to in a turn.
    ready: Vec<usize>,
    /// The slots of clients of TCP whose requests wait for their turn, the first one first.
    queue: VecDeque<usize>,
    /// Slots of clients that left in this turn; its events may still name them.
    left: Vec<usize>,
    /// How many requests of clients of TCP may still go on in this turn.
    left_for_tcp: usize,
    next_number: u64,
    /// Whether the log knows that there is nothing left to accept with.
    shortage_told: bool,
    now: Instant,
}

/// Another thread's way to the door.
pub(super) struct Handle {
    stop: Arc<AtomicBool>,
    bell: Arc<Bell>,
}

impl Handle {
    /// Has the door turn no more.
    pub(super) fn stop(&self) {
        self.stop.store(true, Release);
        self.bell.wake();
    }
}

impl Door {
    /// Listens for clients, and starts tiny_http.
    pub(super) fn bind(
        parameters: &config::Admin,
        inherited: &Inherited,
    ) -> Result<Self, StartError> {
        let poll = Poll::new().map_err(StartError::Poll)?;
        let waker = Waker::new(poll.registry(), BELL).map_err(StartError::Poll)?;
        let listeners = listen(parameters, inherited)?;
        let watch = |fd, token| {
            poll.registry()
                .register(&mut SourceFd(&fd), token, Interest::READABLE)
                .map_err(StartError::Poll)
        };
        for (index, listener) in listeners.iter().enumerate() {
            watch(
                listener.listening.as_raw_fd(),
                Token(FIRST_LISTENER + index),
            )?;
        }
        let inner = Inner::new().map_err(StartError::Inner)?;
        watch(inner.as_raw_fd(), INNER)?;
        let clients = Arc::new(Clients::new(waker, parameters.max_connections));
        let port = listeners[0]
            .listening
            .address()
            .map_or(parameters.port, |address| address.port());
        Ok(Self {
            own_host: format!("localhost:{port}"),
            room: Box::new([0; MAX_HEAD]),
            on_all_addresses: parameters.host.is_unspecified(),
            poll,
            listeners,
            inner,
            awaits_inner: false,
            bell: clients.bell(),
            clients,
            stop: Arc::default(),
            connections: Slab::new(),
            clients_at_most: parameters.max_connections,
            ready: Vec::new(),
            queue: VecDeque::new(),
            left: Vec::new(),
            left_for_tcp: TCP_IN_A_TURN,
            next_number: 0,
            shortage_told: false,
            now: Instant::now(),
        })
    }

    /// Where it listens for TCP clients.
    pub(super) fn address(&self) -> Option<SocketAddr> {
        self.listeners
            .first()
            .and_then(|listener| listener.listening.address())
    }

    /// The clients, for the handlers.
    pub(super) fn clients(&self) -> Arc<Clients> {
        Arc::clone(&self.clients)
    }

    /// What wakes it.
    pub(super) fn bell(&self) -> Arc<Bell> {
        Arc::clone(&self.bell)
    }

    /// What another thread needs to end it.
    pub(super) fn handle(&self) -> Handle {
        Handle {
            stop: Arc::clone(&self.stop),
            bell: Arc::clone(&self.bell),
        }
    }

    /// Room for what may have happened before one turn.
    pub(super) fn events(&self) -> Events {
        Events::with_capacity(self.clients_at_most + FIRST_CLIENT)
    }

    /// Waits until something has happened, and does what follows from it. False
    /// after [`Handle::stop`].
    pub(super) fn turn(&mut self, events: &mut Events) -> bool {
        if self.stop.load(Acquire) {
            return false;
        }
        match self.poll.poll(events, self.timeout()) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return true,
            Err(error) => {
                log::error!("the admin server cannot wait for its clients any more: {error}");
                return false;
            }
            Ok(()) => {}
        }
        self.now = Instant::now();
        self.follow(events);
        true
    }

    /// The next of the requests that have come in whole, as tiny_http has read it.
    pub(super) fn receive(&mut self) -> Option<Request> {
        self.inner.receive()
    }

    /// Ends every client's connection.
    pub(super) fn close(mut self) {
        for slot in 0..self.connections.capacity() {
            self.remove(slot);
        }
    }

    /// How long the next wait may be.
    fn timeout(&self) -> Option<Duration> {
        if self.inner.owes()
            || !self.queue.is_empty()
            || self.listeners.iter().any(Listener::can_accept)
            || !self.bell.listen()
        {
            return Some(Duration::ZERO);
        }
        let connections = self
            .connections
            .iter()
            .filter_map(|(_, connection)| connection.as_ref());
        let next = connections
            .map(|connection| connection.check_at)
            .chain(self.listeners.iter().filter_map(|listener| listener.paused))
            .min()?;
        Some(next.saturating_duration_since(Instant::now()))
    }

    fn follow(&mut self, events: &Events) {
        let mut ready = std::mem::take(&mut self.ready);
        for event in events {
            match event.token() {
                BELL => {}
                INNER => self.check_inner(),
                Token(number) if number < FIRST_CLIENT => {
                    self.listeners[number - FIRST_LISTENER].ready = true;
                }
                Token(number) => {
                    let slot = number - FIRST_CLIENT;
                    if let Some(Some(connection)) = self.connections.get_mut(slot) {
                        connection.note(event);
                        ready.push(slot);
                    }
                }
            }
        }
        ready.extend(self.bell.answered());
        self.serve_all(&ready);
        ready.clear();
        self.ready = ready;
        for slot in 0..self.connections.capacity() {
            let due = |connection: &Connection| connection.check_at <= self.now;
            if self
                .connections
                .get(slot)
                .and_then(Option::as_ref)
                .is_some_and(due)
            {
                self.expire(slot);
            }
        }
        self.accept();
        self.flush_inner();
        for slot in self.left.drain(..) {
            self.connections.remove(slot);
        }
    }

    /// Takes clients as far as they come now: those of the unix socket first, then the
    /// queue, then the others.
    fn serve_all(&mut self, ready: &[usize]) {
        let is_tcp = |door: &Self, slot: usize| {
            let connection = door.connections.get(slot).and_then(Option::as_ref);
            connection.is_some_and(Connection::is_tcp)
        };
        for slot in ready {
            if !is_tcp(self, *slot) {
                self.serve(*slot);
            }
        }
        self.left_for_tcp = TCP_IN_A_TURN;
        self.serve_queue();
        for slot in ready {
            if is_tcp(self, *slot) {
                self.serve(*slot);
            }
        }
    }

    /// Has requests of TCP go on that came in earlier turns, as many as this one has.
    fn serve_queue(&mut self) {
        while self.left_for_tcp > 0
            && let Some(slot) = self.queue.pop_front()
        {
            // The client may have left, or have been served otherwise.
            let connection = self.connections.get(slot).and_then(Option::as_ref);
            if connection.is_some_and(Connection::is_queued) {
                self.serve(slot);
            }
        }
    }

    /// Takes a client as far as it comes now.
    fn serve(&mut self, slot: usize) {
        let Some(Some(connection)) = self.connections.get_mut(slot) else {
            return;
        };
        let was_queued = connection.is_queued();
        let mut means = Means {
            inner: &mut self.inner,
            own_host: &self.own_host,
            room: &mut self.room,
            left_for_tcp: &mut self.left_for_tcp,
        };
        if connection.serve(&mut means, self.now) == Step::Leave {
            self.remove(slot);
        } else if !was_queued && connection.is_queued() {
            self.queue.push_back(slot);
        }
    }

    /// A client's time has come: it loses its slot, or gets another date.
    fn expire(&mut self, slot: usize) {
        let Some(Some(connection)) = self.connections.get_mut(slot) else {
            return;
        };
        match connection.expire(self.now) {
            Step::Stay => self.serve(slot),
            Step::Leave => self.remove(slot),
        }
    }

    fn remove(&mut self, slot: usize) {
        let Some(connection) = self.connections.get_mut(slot).and_then(Option::take) else {
            return;
        };
        connection.leave();
        self.clients.remove(connection.number());
        self.left.push(slot);
    }

    /// Sends the turn's requests to tiny_http.
    fn flush_inner(&mut self) {
        match self.inner.flush() {
            Ok(whole) => self.await_inner(!whole),
            Err(_) => self.reconnect_inner(),
        }
    }

    /// Has an event tell when the rest can go, for as long as there is one: else
    /// one would come with every request that tiny_http reads.
    fn await_inner(&mut self, awaits: bool) {
        if std::mem::replace(&mut self.awaits_inner, awaits) != awaits {
            self.watch_inner(if awaits {
                Interest::READABLE | Interest::WRITABLE
            } else {
                Interest::READABLE
            });
        }
    }

    fn check_inner(&mut self) {
        if !self.inner.is_open() {
            self.reconnect_inner();
        }
    }

    fn watch_inner(&mut self, interest: Interest) {
        let fd = self.inner.as_raw_fd();
        if let Err(cause) = self
            .poll
            .registry()
            .reregister(&mut SourceFd(&fd), INNER, interest)
        {
            log::error!("cannot watch the admin server's inner socket: {cause}");
        }
    }

    /// tiny_http has hung up: every request that it had is lost, and so are the
    /// clients that wait for an answer.
    fn reconnect_inner(&mut self) {
        log::error!("the admin server's inner connection has ended; it is made again");
        for slot in 0..self.connections.capacity() {
            if self
                .connections
                .get(slot)
                .and_then(Option::as_ref)
                .is_some_and(Connection::is_awaiting)
            {
                self.remove(slot);
            }
        }
        self.awaits_inner = false;
        match self.inner.reconnect() {
            Ok(()) => {
                let fd = self.inner.as_raw_fd();
                if let Err(cause) =
                    self.poll
                        .registry()
                        .register(&mut SourceFd(&fd), INNER, Interest::READABLE)
                {
                    log::error!("cannot watch the admin server's inner socket: {cause}");
                }
            }
            Err(cause) => log::error!("cannot connect to the admin server's inner socket: {cause}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::accept::TCP;
    use super::*;
    use crate::config::Config;
    use crate::socket::Accepted;

    fn door() -> Door {
        let config = Config::parse("test", b"[maxscale]\nadmin_port=0\n").unwrap();
        Door::bind(&config.admin, &Inherited::none()).unwrap()
    }

    fn arrive(door: &mut Door, remote: &str) -> UnixStream {
        let (client, ours) = UnixStream::pair().unwrap();
        door.admit(
            TCP,
            Accepted {
                fd: ours.into(),
                remote: Some(remote.parse().unwrap()),
            },
        );
        client
    }

    #[test]
    fn one_address_of_another_machine_has_a_quarter_of_the_slots_and_loopback_all() {
        let mut door = door();
        let mut clients: Vec<UnixStream> =
            (0..20).map(|_| arrive(&mut door, "192.0.2.7:1")).collect();
        assert_eq!(door.connections.len(), 16);
        clients.extend((0..20).map(|_| arrive(&mut door, "192.0.2.8:1")));
        assert_eq!(door.connections.len(), 32);
        clients.extend((0..32).map(|_| arrive(&mut door, "127.0.0.1:1")));
        assert_eq!(door.connections.len(), 64);
    }

    #[test]
    fn requests_of_the_unix_socket_come_first_and_those_of_tcp_some_at_a_time() {
        const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
        let mut door = door();
        let mut clients: Vec<UnixStream> = (0..3 * TCP_IN_A_TURN)
            .map(|_| arrive(&mut door, "127.0.0.1:1"))
            .collect();
        let (unix, ours) = UnixStream::pair().unwrap();
        let fd = ours.into();
        door.admit(TCP + 1, Accepted { fd, remote: None });
        let of_unix = door.next_number - 1;
        clients.push(unix);
        for client in &mut clients {
            io::Write::write_all(client, GET).unwrap();
        }
        let mut events = door.events();
        let mut turns: Vec<Vec<u64>> = Vec::new();
        while turns.concat().len() < clients.len() {
            assert!(door.turn(&mut events));
            let mut turn = Vec::new();
            while door.inner.owes() {
                if let Some(request) = door.receive() {
                    turn.push(client_number(&request).unwrap().0);
                    drop(request.into_writer());
                }
            }
            turns.push(turn);
            assert!(turns.len() < 100, "{turns:?}");
        }
        turns.retain(|turn| !turn.is_empty());
        assert_eq!(turns[0][0], of_unix);
        assert!(turns[0].len() <= TCP_IN_A_TURN + 1);
        assert!(turns[1..].iter().all(|turn| turn.len() <= TCP_IN_A_TURN));
        // Each has had its turn, once.
        let mut all = turns.concat();
        all.sort_unstable();
        assert_eq!(all, (0..=of_unix).collect::<Vec<u64>>());
    }

    #[test]
    fn an_idle_connection_is_kept_for_a_minute() {
        let mut door = door();
        let _client = arrive(&mut door, "127.0.0.1:1");
        let connection = door.connections[0].as_mut().unwrap();
        assert_eq!(connection.check_at, door.now + Duration::from_secs(60));
        assert_eq!(
            connection.expire(door.now + Duration::from_secs(60)),
            connection::Step::Leave
        );
    }

    #[test]
    fn an_answer_that_takes_a_minute_ends_the_connection() {
        let mut door = door();
        let mut client = arrive(&mut door, "127.0.0.1:1");
        io::Write::write_all(&mut client, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        let begin = door.now;
        let mut events = Events::with_capacity(8);
        while door.inner.is_idle() {
            door.poll
                .poll(&mut events, Some(Duration::from_secs(20)))
                .unwrap();
            for event in events
                .iter()
                .filter(|event| event.token().0 >= FIRST_CLIENT)
            {
                let connection = door.connections[event.token().0 - FIRST_CLIENT]
                    .as_mut()
                    .unwrap();
                connection.note(event);
                let mut means = Means {
                    inner: &mut door.inner,
                    own_host: "localhost",
                    room: &mut door.room,
                    left_for_tcp: &mut 1,
                };
                connection.serve(&mut means, begin);
            }
        }
        let connection = door.connections[0].as_mut().unwrap();
        assert_eq!(
            connection.expire(begin + Duration::from_secs(59)),
            connection::Step::Stay
        );
        assert_eq!(
            connection.expire(begin + Duration::from_secs(60)),
            connection::Step::Leave
        );
    }
}
