//! What only a client's session has: who the client is, what passes between it
//! and the servers, and what the protocol has told of it.

use std::net::SocketAddr;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::activity::Activity;
use super::server::Server;
use super::session::{Session, SessionId};
use super::traffic::Traffic;
use crate::lock::lock;

/// The client of a session, and what passes between it and the servers.
#[derive(Debug)]
pub struct Client {
    opened: Instant,
    closed: Moment,
    /// When the client ended its stream.
    left: Moment,
    /// Milliseconds from `opened` to the last byte.
    last_io: AtomicU64,
    pub(super) traffic: Traffic,
    /// Whether the client has said something, to a server or to us.
    heard: AtomicBool,
    activity: Activity,
    data_plane_memory: AtomicUsize,
    known: Mutex<Known>,
}

/// When something happened, in milliseconds from when the client connected.
#[derive(Debug)]
struct Moment(AtomicU64);

impl Default for Moment {
    /// Not yet.
    fn default() -> Self {
        Self(AtomicU64::new(u64::MAX))
    }
}

impl Moment {
    /// The first time counts.
    fn set(&self, after: Duration) {
        let milliseconds = u64::try_from(after.as_millis()).unwrap_or(u64::MAX - 1);
        // Otherwise it has happened before.
        let _ = self
            .0
            .compare_exchange(u64::MAX, milliseconds, Relaxed, Relaxed);
    }

    fn get(&self) -> Option<Duration> {
        let milliseconds = self.0.load(Relaxed);
        (milliseconds < u64::MAX).then(|| Duration::from_millis(milliseconds))
    }
}

/// What comes to be known of a client, and its connections.
#[derive(Debug, Default)]
struct Known {
    /// The client's address, the real one where the PROXY protocol carried it.
    remote: Option<SocketAddr>,
    login: Option<Arc<Login>>,
    login_error: Option<Arc<LoginError>>,
    encryption: Option<Encryption>,
    half_closed: Option<Half>,
    connections: Arc<[BackendConnection]>,
}

impl Known {
    /// Bytes of memory that the session holds, those of the data plane left out.
    fn memory(&self) -> usize {
        // Two counters stand before what an `Arc` holds, and the table keeps an id and a pointer.
        let counters = 2 * size_of::<usize>();
        let shared = size_of::<Session>() + counters + size_of::<(SessionId, Arc<Session>)>();
        // The standard library has all empty ones share one.
        let connections = match size_of_val(&*self.connections) {
            0 => 0,
            bytes => counters + bytes,
        };
        let login = self.login.as_ref();
        let login = login.map_or(0, |login| counters + login.memory());
        let error = self.login_error.as_ref();
        let error = error.map_or(0, |error| counters + error.memory());
        shared + connections + login + error
    }
}

/// A client's side of a session at one moment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The client's address, the real one where the PROXY protocol carried it;
    /// a client on a unix socket has none.
    pub remote: Option<SocketAddr>,
    /// Who has logged in, once that has been seen.
    pub login: Option<Arc<Login>>,
    /// Why the server has refused the login; the login is the one that was claimed.
    pub login_error: Option<Arc<LoginError>>,
    /// Whether what passes is encrypted, once that has been seen.
    pub encryption: Option<Encryption>,
    /// Which side has ended its stream while the other has not.
    pub half_closed: Option<Half>,
    /// The connections to servers that it has; or had, when it was closed.
    pub connections: Arc<[BackendConnection]>,
    /// How long ago the client connected; or how long it was there.
    pub alive: Duration,
    /// How long ago the last byte passed, or the client connected if none did.
    /// For a closed session, at its end.
    pub idle: Duration,
    /// How many reads and writes there were in the last 30 seconds.
    pub activity: u64,
    /// Bytes that the session holds in this process, buffers of the data plane included.
    pub memory: usize,
}

/// Who has logged in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Login {
    /// The user's name.
    pub user: String,
    /// The default database that was asked for.
    pub database: Option<String>,
    /// What the client says of itself, by name, in its order.
    pub attributes: Vec<(String, String)>,
}

impl Login {
    pub(super) fn set_attribute(&mut self, name: &str, value: String) {
        match self.attributes.iter_mut().find(|(other, _)| other == name) {
            Some((_, old)) => *old = value,
            None => self.attributes.push((name.to_owned(), value)),
        }
    }

    /// Bytes of memory that it holds, itself included.
    fn memory(&self) -> usize {
        let texts: usize = self
            .attributes
            .iter()
            .map(|(name, value)| name.capacity() + value.capacity())
            .sum();
        let database = self.database.as_ref().map_or(0, String::capacity);
        size_of::<Self>()
            + self.user.capacity()
            + database
            + self.attributes.capacity() * size_of::<(String, String)>()
            + texts
    }
}

/// The error with which a server has refused a login, in its own words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoginError {
    /// The number of MariaDB's error, or the SQLSTATE of PostgreSQL's.
    pub code: String,
    /// The text for the user.
    pub message: String,
}

impl LoginError {
    /// Bytes of memory that it holds, itself included.
    fn memory(&self) -> usize {
        size_of::<Self>() + self.code.capacity() + self.message.capacity()
    }
}

/// A side of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Half {
    /// The client.
    Client,
    /// The server.
    Server,
}

impl Half {
    /// The word for documents.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Server => "server",
        }
    }
}

/// Whether what passes is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encryption {
    /// The login was seen, so it is not.
    Off,
    /// It is, from client to server: by which cipher cannot be seen.
    Opaque,
}

impl Encryption {
    /// The word for documents: the name of the cipher, which is empty where there is none.
    #[must_use]
    pub fn cipher(self) -> &'static str {
        match self {
            Self::Off => "",
            Self::Opaque => "unknown",
        }
    }
}

impl Client {
    pub(super) fn new(peer: Option<SocketAddr>, now: Instant) -> Self {
        Self {
            opened: now,
            closed: Moment::default(),
            left: Moment::default(),
            last_io: AtomicU64::new(0),
            traffic: Traffic::default(),
            heard: AtomicBool::new(false),
            activity: Activity::default(),
            data_plane_memory: AtomicUsize::new(0),
            known: Mutex::new(Known {
                remote: peer,
                ..Known::default()
            }),
        }
    }

    /// What there is to be seen of it now.
    #[must_use]
    pub fn snapshot(&self, now: Instant) -> Snapshot {
        let alive = self.alive(now);
        let last_io = Duration::from_millis(self.last_io.load(Relaxed));
        let activity = self.activity.sum(alive.as_secs());
        let known = lock(&self.known);
        Snapshot {
            remote: known.remote,
            login: known.login.clone(),
            login_error: known.login_error.clone(),
            encryption: known.encryption,
            half_closed: known.half_closed,
            connections: Arc::clone(&known.connections),
            alive,
            idle: alive.saturating_sub(last_io),
            activity,
            memory: known.memory() + self.data_plane_memory.load(Relaxed),
        }
    }

    /// The client's address, as in [`Snapshot::remote`].
    #[must_use]
    pub fn remote(&self) -> Option<SocketAddr> {
        lock(&self.known).remote
    }

    /// How long the client stayed, which may be shorter than its session.
    pub(super) fn stayed(&self, now: Instant) -> Duration {
        self.left.get().unwrap_or_else(|| self.until(now))
    }

    /// Notes that the client has ended its stream.
    pub fn note_left(&self, now: Instant) {
        self.left.set(self.until(now));
    }

    /// Whether it has said nothing, neither to a server nor to us.
    pub(super) fn is_silent(&self) -> bool {
        self.traffic.from_clients() == 0 && !self.heard.load(Relaxed)
    }

    /// Notes that the client has said something that goes to no server.
    pub fn note_heard(&self) {
        self.heard.store(true, Relaxed);
    }

    pub(super) fn set_source(&self, source: SocketAddr) {
        lock(&self.known).remote = Some(source);
    }

    pub(super) fn set_login(&self, login: Option<Login>) {
        let mut known = lock(&self.known);
        known.login = login.map(Arc::new);
        known.encryption.get_or_insert(Encryption::Off);
    }

    pub(super) fn set_login_error(&self, claimed: Option<Login>, error: LoginError) {
        let mut known = lock(&self.known);
        known.login = claimed.map(Arc::new);
        known.login_error = Some(Arc::new(error));
    }

    /// Changes what is known of the login, where a login is known.
    pub(super) fn change_login(&self, change: impl FnOnce(&mut Login)) {
        if let Some(login) = &mut lock(&self.known).login {
            change(Arc::make_mut(login));
        }
    }

    pub(super) fn set_encrypted(&self) {
        lock(&self.known).encryption = Some(Encryption::Opaque);
    }

    /// Whether what passes is encrypted.
    #[must_use]
    pub fn is_encrypted(&self) -> bool {
        lock(&self.known).encryption == Some(Encryption::Opaque)
    }

    pub(super) fn set_half_closed(&self, half: Option<Half>) {
        lock(&self.known).half_closed = half;
    }

    /// How long after the client connected that is.
    fn until(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.opened)
    }

    /// How long ago the client connected; or how long it was there.
    #[must_use]
    pub fn alive(&self, now: Instant) -> Duration {
        self.closed.get().unwrap_or_else(|| self.until(now))
    }

    pub(super) fn count_activity(&self, operations: u16, now: Instant) {
        let alive = self.alive(now);
        self.activity.count(alive.as_secs(), operations);
        let milliseconds = u64::try_from(alive.as_millis()).unwrap_or(u64::MAX);
        self.last_io.store(milliseconds, Relaxed);
    }

    /// The bytes that have passed.
    #[must_use]
    pub fn traffic(&self) -> &Traffic {
        &self.traffic
    }

    pub(super) fn add_connection(&self, connection: BackendConnection) {
        let mut known = lock(&self.known);
        let before = known.connections.iter().cloned();
        known.connections = before.chain([connection]).collect();
    }

    pub(super) fn remove_connection(&self) {
        let mut known = lock(&self.known);
        let left = known.connections.len().saturating_sub(1);
        known.connections = known.connections[..left].iter().cloned().collect();
    }

    pub(super) fn latest_server(&self) -> Option<Arc<Server>> {
        let known = lock(&self.known);
        Some(Arc::clone(&known.connections.last()?.server))
    }

    /// Numbers the latest connection.
    pub(super) fn set_connection_id(&self, id: u64) {
        if let Some(connection) = Arc::make_mut(&mut lock(&self.known).connections).last_mut() {
            connection.connection_id = Some(id);
        }
    }

    /// Says how many bytes the data plane holds for this session.
    pub fn set_data_plane_memory(&self, bytes: usize) {
        self.data_plane_memory.store(bytes, Relaxed);
    }

    /// Stops its clocks.
    pub(super) fn close(&self, now: Instant) {
        self.closed.set(self.until(now));
        self.set_data_plane_memory(0);
        lock(&self.known).half_closed = None;
    }
}

/// A connection from this process to a server, for one session.
#[derive(Clone, Debug)]
pub struct BackendConnection {
    /// Which server.
    pub server: Arc<Server>,
    /// Where it was reached.
    pub address: SocketAddr,
    /// The port of our end, as the server sees it.
    pub local_port: u16,
    /// The server's own number for it, once the protocol has shown one.
    pub connection_id: Option<u64>,
}
