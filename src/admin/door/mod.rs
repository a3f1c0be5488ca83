//! The thread that owns the public admin sockets.
//!
//! It accepts clients, reads each request whole, checks it ([`request`]),
//! forwards it to tiny_http ([`inner`]) and keeps the time. A client has one
//! request under way: the next one stays in the kernel, or in the client's
//! small buffer, until the handler has answered. Nothing in the loop blocks,
//! and a client can hold no more than its slot and [`request::MAX_HEAD`] bytes.

mod connection;
mod inner;
mod request;

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{Acquire, Release};
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};
use rustix::io::Errno;
use slab::Slab;

use super::StartError;
use super::client::{Bell, ClientNumber, Clients};
use crate::socket::{Accepted, Listening};
use connection::{Connection, Step};
use inner::Inner;

pub(super) use inner::{InnerDirectory, client_number, host};

/// How many clients may be connected at a time. When one more comes, the one
/// goes that has waited longest without a whole request.
const MAX_CLIENTS: usize = 64;

/// How long accepting rests when the system has nothing left to accept with.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

const BELL: Token = Token(0);
const INNER: Token = Token(1);
const LISTENER: Token = Token(2);
const FIRST_CLIENT: usize = 3;

/// The door, with its loop not yet running.
pub(super) struct Door {
    poll: Poll,
    listening: Listening,
    /// The host of links for a request that names none.
    own_host: String,
    inner_path: PathBuf,
    inner: Inner,
    clients: Arc<Clients>,
    bell: Arc<Bell>,
    stop: Arc<AtomicBool>,
    connections: Slab<Option<Connection>>,
    /// Slots of clients that left in this turn; its events may still name them.
    left: Vec<usize>,
    next_number: u64,
    /// Clients may be waiting to be accepted.
    acceptable: bool,
    accept_paused: Option<Instant>,
    now: Instant,
}

/// Another thread's way to the door.
pub(super) struct Handle {
    stop: Arc<AtomicBool>,
    bell: Arc<Bell>,
}

impl Handle {
    /// Ends the door's loop, and with it every client's connection.
    pub(super) fn stop(&self) {
        self.stop.store(true, Release);
        self.bell.wake();
    }
}

impl Door {
    /// Listens for clients, and connects to the socket that tiny_http listens on.
    pub(super) fn bind(address: SocketAddr, inner_path: PathBuf) -> Result<Self, StartError> {
        let poll = Poll::new().map_err(StartError::Poll)?;
        let waker = Waker::new(poll.registry(), BELL).map_err(StartError::Poll)?;
        let listening =
            Listening::tcp(address).map_err(|cause| StartError::Listen(address, cause))?;
        let watch = |fd, token| {
            poll.registry()
                .register(&mut SourceFd(&fd), token, Interest::READABLE)
                .map_err(StartError::Poll)
        };
        watch(listening.as_raw_fd(), LISTENER)?;
        let inner = Inner::connect(&inner_path).map_err(StartError::Inner)?;
        watch(inner.as_raw_fd(), INNER)?;
        let clients = Arc::new(Clients::new(waker));
        Ok(Self {
            own_host: listening.address().unwrap_or(address).to_string(),
            poll,
            listening,
            inner_path,
            inner,
            bell: clients.bell(),
            clients,
            stop: Arc::default(),
            connections: Slab::with_capacity(MAX_CLIENTS),
            left: Vec::new(),
            next_number: 0,
            acceptable: false,
            accept_paused: None,
            now: Instant::now(),
        })
    }

    /// Where it listens.
    pub(super) fn address(&self) -> Option<SocketAddr> {
        self.listening.address()
    }

    /// The clients, for the handlers.
    pub(super) fn clients(&self) -> Arc<Clients> {
        Arc::clone(&self.clients)
    }

    /// What another thread needs to end it.
    pub(super) fn handle(&self) -> Handle {
        Handle {
            stop: Arc::clone(&self.stop),
            bell: Arc::clone(&self.bell),
        }
    }

    /// Serves the door until [`Handle::stop`].
    pub(super) fn run(mut self) {
        let mut events = Events::with_capacity(2 * MAX_CLIENTS);
        while !self.stop.load(Acquire) {
            match self.poll.poll(&mut events, self.timeout()) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    log::error!("the admin server cannot wait for its clients any more: {error}");
                    return;
                }
                Ok(()) => {}
            }
            self.now = Instant::now();
            self.turn(&events);
        }
    }

    /// How long the next wait may be.
    fn timeout(&self) -> Option<Duration> {
        let connections = self
            .connections
            .iter()
            .filter_map(|(_, connection)| connection.as_ref());
        let next = connections
            .map(|connection| connection.check_at)
            .chain(self.accept_paused)
            .min()?;
        Some(next.saturating_duration_since(Instant::now()))
    }

    fn turn(&mut self, events: &Events) {
        for event in events {
            match event.token() {
                BELL => {}
                INNER => self.check_inner(),
                LISTENER => self.acceptable = true,
                Token(number) => {
                    let slot = number - FIRST_CLIENT;
                    if let Some(Some(connection)) = self.connections.get_mut(slot) {
                        connection.note(event);
                        self.serve(slot);
                    }
                }
            }
        }
        for slot in self.bell.answered() {
            self.serve(slot);
        }
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

    /// Takes a client as far as it comes now.
    fn serve(&mut self, slot: usize) {
        let Some(Some(connection)) = self.connections.get_mut(slot) else {
            return;
        };
        if connection.serve(&mut self.inner, &self.own_host, self.now) == Step::Leave {
            self.remove(slot);
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
        self.clients.remove(connection.number());
        self.left.push(slot);
    }

    fn accept(&mut self) {
        if self.accept_paused.is_some_and(|until| until > self.now) {
            return;
        }
        self.accept_paused = None;
        while self.acceptable {
            match self.listening.accept() {
                Ok(accepted) => self.admit(accepted),
                Err(Errno::AGAIN) => self.acceptable = false,
                Err(errno) if crate::socket::is_shortage(errno) => {
                    log::warn!("cannot accept an admin client: {errno}");
                    self.accept_paused = Some(self.now + ACCEPT_PAUSE);
                    return;
                }
                // The client was gone before it was accepted; the next one may be there.
                Err(_) => {}
            }
        }
    }

    /// Gives a client a slot, if need be that of the one who has waited longest
    /// without a whole request. Where all are being answered it is turned away.
    fn admit(&mut self, accepted: Accepted) {
        if self.connections.len() - self.left.len() >= MAX_CLIENTS {
            let waiting = self.connections.iter().filter_map(|(slot, connection)| {
                let since = connection.as_ref().and_then(Connection::waiting_since);
                since.map(|since| (since, slot))
            });
            let Some((_, slot)) = waiting.min() else {
                return;
            };
            self.remove(slot);
        }
        let number = ClientNumber(self.next_number);
        self.next_number += 1;
        let slot = self.connections.vacant_key();
        let client = self.clients.add(number, slot, accepted.fd, self.now);
        let interest = Interest::READABLE | Interest::WRITABLE;
        let watched = self.poll.registry().register(
            &mut SourceFd(&client.as_raw_fd()),
            Token(slot + FIRST_CLIENT),
            interest,
        );
        if let Err(cause) = watched {
            log::error!("cannot watch an admin client's connection: {cause}");
            self.clients.remove(number);
            return;
        }
        self.connections
            .insert(Some(Connection::new(client, self.now)));
    }

    /// Sends the turn's requests to tiny_http.
    fn flush_inner(&mut self) {
        match self.inner.flush() {
            // An edge tells when the rest can go; it comes to `check_inner`.
            Ok(true) => {}
            Ok(false) => self.watch_inner(Interest::READABLE | Interest::WRITABLE),
            Err(_) => self.reconnect_inner(),
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
            let is_waiting = |connection: &Connection| connection.waiting_since().is_none();
            if self
                .connections
                .get(slot)
                .and_then(Option::as_ref)
                .is_some_and(is_waiting)
            {
                self.remove(slot);
            }
        }
        match Inner::connect(&self.inner_path) {
            Ok(inner) => {
                self.inner = inner;
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
