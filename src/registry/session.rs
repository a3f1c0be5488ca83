//! One session: what is known of it, and the counters that change with every byte.
//!
//! The hard thing is that the relay writes and the admin server reads at the
//! same time. What changes often is an atomic on its own; readers get numbers
//! that are each right, though not all of one instant.

use std::fmt;
use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize};
use std::sync::{Arc, OnceLock};
use std::time::{Instant, SystemTime};

use super::change::{Change, Changes};
use super::client::{BackendConnection, Client, Half, Login, LoginError};
use super::ending::{CloseReason, Ending};
use super::listener::Listener;
use super::news::News;
use super::server::Server;
use super::service::Service;
use super::traffic::Passed;

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
    /// A listener's own session, while it is stopped.
    StoppedListener,
    /// A client was accepted and has no backend connection yet.
    Allocated,
    /// Bytes flow.
    Ready,
    /// It is being closed.
    Stopping,
    /// It is closed, and in the history.
    Freed,
}

impl SessionState {
    pub(super) const ALL: [Self; 6] = [
        Self::Listener,
        Self::StoppedListener,
        Self::Allocated,
        Self::Ready,
        Self::Stopping,
        Self::Freed,
    ];

    /// The words of the documents.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Listener => "Listener Session",
            Self::StoppedListener => "Stopped Listener Session",
            Self::Allocated => "Session Allocated",
            Self::Ready => "Session ready for routing",
            Self::Stopping => "Stopping session",
            Self::Freed => "Freed session",
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
    ending: OnceLock<Ending>,
    changes: Changes,
    /// Where the data plane has it.
    place: AtomicUsize,
    /// Whether the history leaves it out.
    unrecorded: AtomicBool,
    /// Who hears of it.
    news: Arc<News>,
}

impl Session {
    pub(super) fn of_listener(
        id: SessionId,
        listener: Arc<Listener>,
        connected: SystemTime,
        news: Arc<News>,
    ) -> Self {
        let state = AtomicU8::new(SessionState::Listener as u8);
        Self {
            id,
            listener,
            connected,
            state,
            client: None,
            ending: OnceLock::new(),
            changes: Changes::begin(connected),
            place: AtomicUsize::new(usize::MAX),
            unrecorded: AtomicBool::new(false),
            news,
        }
    }

    pub(super) fn of_client(
        id: SessionId,
        listener: Arc<Listener>,
        client: Client,
        connected: SystemTime,
        news: Arc<News>,
    ) -> Self {
        let state = AtomicU8::new(SessionState::Allocated as u8);
        let changes = Changes::begin(connected);
        Self {
            id,
            listener,
            connected,
            state,
            client: Some(client),
            ending: OnceLock::new(),
            changes,
            place: AtomicUsize::new(usize::MAX),
            unrecorded: AtomicBool::new(false),
            news,
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
        self.move_to(state);
        self.note_change(now);
    }

    fn move_to(&self, state: SessionState) {
        let before = self.state.swap(state as u8, Relaxed);
        let before = SessionState::ALL[usize::from(before)];
        self.service().count_state(Some(before), state);
    }

    /// Where the data plane has it, by a number of its own.
    #[must_use]
    pub fn place(&self) -> usize {
        self.place.load(Relaxed)
    }

    /// Notes where the data plane has it.
    pub fn set_place(&self, place: usize) {
        self.place.store(place, Relaxed);
    }

    /// Has the history leave it out: its client has come for a cancel request.
    pub fn set_unrecorded(&self) {
        self.unrecorded.store(true, Relaxed);
    }

    pub(super) fn is_unrecorded(&self) -> bool {
        self.unrecorded.load(Relaxed)
    }

    /// When and why it was closed, if it was.
    #[must_use]
    pub fn ending(&self) -> Option<Ending> {
        self.ending.get().copied()
    }

    /// Stops its clocks and says why it ended.
    pub(super) fn close(&self, reason: CloseReason, time: SystemTime, now: Instant) {
        if let Some(client) = &self.client {
            client.close(now);
        }
        // A session is closed once.
        let _ = self.ending.set(Ending { reason, time });
        self.move_to(SessionState::Freed);
        self.changes.note(time);
    }

    /// Adds a connection to a server, for a client's session.
    pub fn add_connection(&self, connection: BackendConnection, now: SystemTime) {
        self.tell(now, |client| client.add_connection(connection));
    }

    /// Takes the latest connection away: the server has not taken the session.
    pub fn remove_connection(&self, now: SystemTime) {
        self.tell(now, Client::remove_connection);
    }

    /// The server of the latest connection.
    #[must_use]
    pub fn latest_server(&self) -> Option<Arc<Server>> {
        self.client.as_ref()?.latest_server()
    }

    /// Notes the server's own number for the latest connection.
    pub fn set_connection_id(&self, id: u64, now: SystemTime) {
        self.tell(now, |client| client.set_connection_id(id));
    }

    /// Notes the client's real address, which the PROXY protocol carried.
    pub fn set_source(&self, source: SocketAddr, now: SystemTime) {
        self.tell(now, |client| client.set_source(source));
    }

    /// Notes who has logged in; nobody, where that is not known any more.
    pub fn set_login(&self, login: Option<Login>, now: SystemTime) {
        let is_somebody = login.is_some();
        self.tell(now, |client| client.set_login(login));
        if is_somebody {
            self.news.logged_in(self, now);
        }
    }

    /// Notes that the server has refused the login, and which was claimed.
    pub fn set_login_error(&self, claimed: Option<Login>, error: LoginError, now: SystemTime) {
        self.tell(now, |client| client.set_login_error(claimed, error));
        self.news.login_refused(self, now);
    }

    /// Notes another default database, or none.
    pub fn set_database(&self, database: Option<String>, now: SystemTime) {
        self.tell(now, |client| {
            client.change_login(|login| login.database = database);
        });
    }

    /// Notes another value of one of the client's connection attributes.
    pub fn set_attribute(&self, name: &str, value: String, now: SystemTime) {
        self.tell(now, |client| {
            client.change_login(|login| login.set_attribute(name, value));
        });
    }

    /// Notes which side alone has ended its stream.
    pub fn set_half_closed(&self, half: Option<Half>, now: SystemTime) {
        self.tell(now, |client| client.set_half_closed(half));
    }

    /// Notes that what passes is encrypted from now on.
    pub fn set_encrypted(&self, now: SystemTime) {
        self.tell(now, Client::set_encrypted);
    }

    fn tell(&self, now: SystemTime, what: impl FnOnce(&Client)) {
        if let Some(client) = &self.client {
            what(client);
            self.note_change(now);
        }
    }

    /// Counts what has passed between its client and a server.
    pub fn count(&self, server: &Server, passed: Passed, now: Instant) {
        let Some(client) = &self.client else { return };
        client.traffic.add(passed);
        self.service().traffic().add(passed);
        server.traffic().add(passed);
        client.count_activity(passed.operations, now);
    }

    /// When it last changed in anything but clocks and counters.
    #[must_use]
    pub fn last_change(&self) -> Change {
        self.changes.last()
    }

    fn note_change(&self, now: SystemTime) {
        self.changes.note(now);
        self.news.changes.note(now);
    }

    /// What only a client's session has; a listener's own has none.
    #[must_use]
    pub fn client(&self) -> Option<&Client> {
        self.client.as_ref()
    }
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
