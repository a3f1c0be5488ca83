//! One session: what is known of it, and the counters that change with every byte.
//!
//! The hard thing is that the relay writes and the admin server reads at the
//! same time. What changes often is an atomic on its own; readers get numbers
//! that are each right, though not all of one instant.

use std::fmt;
use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use super::activity::Activity;
use super::change::{Change, Changes};
use super::topology::{Listener, Server, Service};
use super::traffic::{Passed, Traffic};
use crate::lock::lock;

/// The number of a session: from 1 upwards, never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(NonZeroU64);

impl SessionId {
    pub(super) const FIRST: Self = Self(NonZeroU64::MIN);

    /// Reads an id as documents write it: decimal, without sign or leading zero.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
        plain.then(|| text.parse().ok()).flatten().map(Self)
    }

    /// The id as a number.
    #[must_use]
    pub fn get(self) -> u64 {
        self.0.get()
    }

    pub(super) fn next(self) -> Self {
        // At a billion sessions a second this lasts five centuries.
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Where a session is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionState {
    /// A listener's own session, while it listens.
    Listener,
    /// A client was accepted and has no backend connection yet.
    Allocated,
    /// Bytes flow.
    Ready,
    /// It is being closed.
    Stopping,
}

impl SessionState {
    const ALL: [Self; 4] = [Self::Listener, Self::Allocated, Self::Ready, Self::Stopping];

    /// The words of the documents.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Listener => "Listener Session",
            Self::Allocated => "Session Allocated",
            Self::Ready => "Session ready for routing",
            Self::Stopping => "Stopping session",
        }
    }
}

/// Why a session ended: the first thing that happened to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// The client ended its stream in order.
    ClientClosed,
    /// The server ended its stream in order.
    ServerClosed,
    /// The client's connection broke.
    ClientReset,
    /// The server's connection broke.
    ServerLost,
    /// No server of the service could be connected to.
    NoServerAvailable,
    /// The program stopped, or the listener's.
    Shutdown,
}

impl CloseReason {
    /// How many there are.
    pub(super) const COUNT: usize = 6;

    /// The words for logs and documents.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ClientClosed => "client closed",
            Self::ServerClosed => "server closed",
            Self::ClientReset => "client reset",
            Self::ServerLost => "server lost",
            Self::NoServerAvailable => "no server available",
            Self::Shutdown => "shutdown",
        }
    }
}

/// One session of the table.
#[derive(Debug)]
pub struct Session {
    id: SessionId,
    listener: Arc<Listener>,
    connected: SystemTime,
    state: AtomicU8,
    client: Option<Client>,
    changes: Changes,
    /// Those of the table that it is in.
    table_changes: Arc<Changes>,
}

impl Session {
    pub(super) fn of_listener(
        id: SessionId,
        listener: Arc<Listener>,
        connected: SystemTime,
        table_changes: Arc<Changes>,
    ) -> Self {
        let state = AtomicU8::new(SessionState::Listener as u8);
        Self {
            id,
            listener,
            connected,
            state,
            client: None,
            changes: Changes::begin(connected),
            table_changes,
        }
    }

    pub(super) fn of_client(
        id: SessionId,
        listener: Arc<Listener>,
        client: Client,
        connected: SystemTime,
        table_changes: Arc<Changes>,
    ) -> Self {
        let state = AtomicU8::new(SessionState::Allocated as u8);
        let changes = Changes::begin(connected);
        Self {
            id,
            listener,
            connected,
            state,
            client: Some(client),
            changes,
            table_changes,
        }
    }

    /// Its number.
    #[must_use]
    pub fn id(&self) -> SessionId {
        self.id
    }

    /// The service it was created on.
    #[must_use]
    pub fn service(&self) -> &Arc<Service> {
        self.listener.service()
    }

    /// The listener whose it is, or through which its client came.
    #[must_use]
    pub fn listener(&self) -> &Arc<Listener> {
        &self.listener
    }

    /// When the client connected, or the listener began to listen.
    #[must_use]
    pub fn connected(&self) -> SystemTime {
        self.connected
    }

    /// Where it is in its life.
    #[must_use]
    pub fn state(&self) -> SessionState {
        SessionState::ALL[usize::from(self.state.load(Relaxed))]
    }

    /// Moves it on in its life.
    pub fn set_state(&self, state: SessionState, now: SystemTime) {
        self.state.store(state as u8, Relaxed);
        self.note_change(now);
    }

    /// Adds a connection to a server, for a client's session.
    pub fn add_connection(&self, connection: BackendConnection, now: SystemTime) {
        let Some(client) = &self.client else { return };
        let mut connections = lock(&client.connections);
        connections.reserve_exact(1);
        connections.push(connection);
        drop(connections);
        self.note_change(now);
    }

    /// Counts what has passed between its client and a server.
    pub fn count(&self, server: &Server, passed: Passed, now: Instant) {
        let Some(client) = &self.client else { return };
        client.traffic.add(passed);
        self.service().traffic.add(passed);
        server.traffic.add(passed);
        let alive = client.alive(now);
        client.activity.count(alive.as_secs(), passed.operations);
        client.last_io.store(
            u64::try_from(alive.as_millis()).unwrap_or(u64::MAX),
            Relaxed,
        );
    }

    /// When it last changed in anything but clocks and counters.
    #[must_use]
    pub fn last_change(&self) -> Change {
        self.changes.last()
    }

    fn note_change(&self, now: SystemTime) {
        self.changes.note(now);
        self.table_changes.note(now);
    }

    /// What only a client's session has; a listener's own has none.
    #[must_use]
    pub fn client(&self) -> Option<&Client> {
        self.client.as_ref()
    }
}

/// The client of a session, and what passes between it and the servers.
#[derive(Debug)]
pub struct Client {
    remote: Option<SocketAddr>,
    opened: Instant,
    /// Milliseconds from `opened` to the last byte.
    last_io: AtomicU64,
    traffic: Traffic,
    activity: Activity,
    data_plane_memory: AtomicUsize,
    connections: Mutex<Vec<BackendConnection>>,
}

impl Client {
    pub(super) fn new(remote: Option<SocketAddr>, now: Instant) -> Self {
        Self {
            remote,
            opened: now,
            last_io: AtomicU64::new(0),
            traffic: Traffic::default(),
            activity: Activity::default(),
            data_plane_memory: AtomicUsize::new(0),
            connections: Mutex::default(),
        }
    }

    /// The client's address; a client on a unix socket has none.
    #[must_use]
    pub fn remote(&self) -> Option<SocketAddr> {
        self.remote
    }

    /// How long ago the client connected.
    #[must_use]
    pub fn alive(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.opened)
    }

    /// How long ago the last byte passed, or the client connected if none did.
    #[must_use]
    pub fn idle(&self, now: Instant) -> Duration {
        self.alive(now)
            .saturating_sub(Duration::from_millis(self.last_io.load(Relaxed)))
    }

    /// How many reads and writes there were in the last 30 seconds.
    #[must_use]
    pub fn activity(&self, now: Instant) -> u64 {
        self.activity.sum(self.alive(now).as_secs())
    }

    /// The bytes that have passed.
    #[must_use]
    pub fn traffic(&self) -> &Traffic {
        &self.traffic
    }

    /// Bytes that the session holds in this process, buffers of the data plane included.
    #[must_use]
    pub fn memory(&self) -> usize {
        // Two counters stand before what an `Arc` holds, and the table keeps an id and a pointer.
        let shared =
            size_of::<Session>() + 2 * size_of::<usize>() + size_of::<(SessionId, Arc<Session>)>();
        let connections = lock(&self.connections).capacity() * size_of::<BackendConnection>();
        shared + connections + self.data_plane_memory.load(Relaxed)
    }

    /// The connections to servers that it has now.
    #[must_use]
    pub fn connections(&self) -> Vec<BackendConnection> {
        lock(&self.connections).clone()
    }

    /// Says how many bytes the data plane holds for this session.
    pub fn set_data_plane_memory(&self, bytes: usize) {
        self.data_plane_memory.store(bytes, Relaxed);
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_decimal_without_sign_or_leading_zero() {
        assert_eq!(SessionId::parse("1"), Some(SessionId::FIRST));
        assert_eq!(
            SessionId::parse("18446744073709551615").map(SessionId::get),
            Some(u64::MAX)
        );
        for text in [
            "",
            "0",
            "-1",
            "+1",
            "01",
            "abc",
            "1x",
            " 1",
            "18446744073709551616",
            "١",
        ] {
            assert_eq!(SessionId::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_state_is_what_it_was_set_to() {
        for (index, state) in SessionState::ALL.into_iter().enumerate() {
            assert_eq!(state as usize, index);
        }
    }
}
