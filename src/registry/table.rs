//! The mutex-guarded table of sessions: those that live, and those that were
//! closed last.
//!
//! Everyone shares one lock, and the relay takes it for every client that
//! comes or goes. So nothing long happens under it: a reader clones the
//! `Arc`s it wants, in portions, and does its work after letting go.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::Bound;
use std::sync::{Arc, Mutex};
use std::time::{Instant, SystemTime};

use super::change::Change;
use super::client::Client;
use super::ending::CloseReason;
use super::history::History;
use super::listener::Listener;
use super::news::News;
use super::session::{Session, SessionId};
use crate::lock::lock;

/// All live sessions, by ascending id, and a history of closed ones.
#[derive(Debug)]
pub struct SessionTable {
    inner: Mutex<Inner>,
    news: Arc<News>,
}

#[derive(Debug)]
struct Inner {
    next: SessionId,
    live: BTreeMap<SessionId, Arc<Session>>,
    history: History,
}

impl SessionTable {
    /// A table that remembers so many closed sessions.
    pub(super) fn new(history: usize, news: News) -> Self {
        let inner = Inner {
            next: SessionId::FIRST,
            live: BTreeMap::new(),
            history: History::new(history),
        };
        Self {
            inner: Mutex::new(inner),
            news: Arc::new(news),
        }
    }

    /// How many sessions a reader clones under one lock: some 10 µs of work.
    const PORTION: usize = 1024;

    /// Opens a listener's own session.
    pub fn open_listener(&self, listener: &Arc<Listener>, connected: SystemTime) -> Arc<Session> {
        self.open(connected, |id, news| {
            Session::of_listener(id, Arc::clone(listener), connected, news)
        })
    }

    /// Opens the session of a client that came through a listener.
    pub fn open_client(
        &self,
        listener: &Arc<Listener>,
        remote: Option<SocketAddr>,
        connected: SystemTime,
        now: Instant,
    ) -> Arc<Session> {
        listener.service().count_opened();
        let client = Client::new(remote, now);
        self.open(connected, |id, news| {
            Session::of_client(id, Arc::clone(listener), client, connected, news)
        })
    }

    fn open(
        &self,
        now: SystemTime,
        make: impl FnOnce(SessionId, Arc<News>) -> Session,
    ) -> Arc<Session> {
        let mut inner = lock(&self.inner);
        let id = inner.next;
        inner.next = id.next();
        let session = Arc::new(make(id, Arc::clone(&self.news)));
        session.service().count_state(None, session.state());
        inner.live.insert(id, Arc::clone(&session));
        drop(inner);
        self.news.opened(&session, now);
        session
    }

    /// Takes a session out of the live ones, counts why, and keeps a client's
    /// in the history. False where it was not there.
    pub fn close(
        &self,
        id: SessionId,
        reason: CloseReason,
        closed: SystemTime,
        now: Instant,
    ) -> bool {
        let mut inner = lock(&self.inner);
        let Some(session) = inner.live.remove(&id) else {
            return false;
        };
        session.close(reason, closed, now);
        let mut fallen = None;
        if let Some(client) = session.client() {
            session.service().count_closed(reason);
            if !session.is_unrecorded() {
                let stayed = client.stayed(now);
                fallen = inner.history.add(Arc::clone(&session), stayed);
            }
        }
        drop(inner);
        self.news.closed(&session, closed);
        // What it holds is given back after the lock.
        drop(fallen);
        true
    }

    /// Remembers so many closed sessions from now on.
    pub fn set_history(&self, limit: usize) {
        let fallen = lock(&self.inner).history.set_limit(limit);
        // As above.
        drop(fallen);
    }

    /// When a session last came, went, or changed in anything but clocks and counters.
    #[must_use]
    pub fn last_change(&self) -> Change {
        self.news.changes.last()
    }

    /// The session of that id, live or in the history.
    #[must_use]
    pub fn get(&self, id: SessionId) -> Option<Arc<Session>> {
        let inner = lock(&self.inner);
        let live = inner.live.get(&id).cloned();
        live.or_else(|| inner.history.get(id))
    }

    /// How many sessions live, listeners' own included.
    #[must_use]
    pub fn len(&self) -> usize {
        lock(&self.inner).live.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The live sessions by ascending id. One that lives through the whole call
    /// is in it; one that opens or closes meanwhile may be.
    #[must_use]
    pub fn snapshot(&self) -> Vec<Arc<Session>> {
        let mut snapshot: Vec<Arc<Session>> = Vec::with_capacity(self.len());
        loop {
            let after = snapshot
                .last()
                .map_or(Bound::Unbounded, |last| Bound::Excluded(last.id()));
            let before = snapshot.len();
            let inner = lock(&self.inner);
            let portion = inner
                .live
                .range((after, Bound::Unbounded))
                .take(Self::PORTION);
            snapshot.extend(portion.map(|(_, session)| Arc::clone(session)));
            if snapshot.len() - before < Self::PORTION {
                return snapshot;
            }
        }
    }

    /// The closed sessions of the history, in the order in which they were closed.
    #[must_use]
    pub fn history(&self) -> Vec<Arc<Session>> {
        lock(&self.inner).history.snapshot()
    }

    /// How many closed sessions the history has, and how many it may have.
    #[must_use]
    pub fn history_size(&self) -> (usize, usize) {
        lock(&self.inner).history.size()
    }

    /// Live and closed sessions by ascending id, each once.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Session>> {
        // In this order one that closes in between is found twice, not never.
        let mut all = self.snapshot();
        all.extend(self.history());
        all.sort_by_key(|session| session.id());
        all.dedup_by_key(|session| session.id());
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::registry::{Registry, Topology};

    fn table(now: SystemTime) -> SessionTable {
        Registry::new(&Config::example(), now).sessions
    }

    #[test]
    fn a_snapshot_longer_than_a_portion_is_whole_and_in_order() {
        let topology = Topology::new(&Config::example(), SystemTime::now());
        let table = table(SystemTime::now());
        let count = 3 * SessionTable::PORTION;
        let ids: Vec<SessionId> = (0..count)
            .map(|_| {
                table
                    .open_client(
                        &topology.listeners[0],
                        None,
                        SystemTime::now(),
                        Instant::now(),
                    )
                    .id()
            })
            .collect();
        let listed: Vec<SessionId> = table
            .snapshot()
            .iter()
            .map(|session| session.id())
            .collect();
        assert_eq!(listed, ids);
    }

    #[test]
    fn an_id_is_not_used_again_and_a_session_closes_once() {
        let topology = Topology::new(&Config::example(), SystemTime::now());
        let listener = &topology.listeners[0];
        let table = table(SystemTime::now());
        let first = table
            .open_client(listener, None, SystemTime::now(), Instant::now())
            .id();
        assert!(table.close(
            first,
            CloseReason::ClientClosed,
            SystemTime::now(),
            Instant::now()
        ));
        assert!(!table.close(
            first,
            CloseReason::ClientClosed,
            SystemTime::now(),
            Instant::now()
        ));
        let second = table
            .open_client(listener, None, SystemTime::now(), Instant::now())
            .id();
        assert!(second > first);
        assert_eq!(listener.service().closed(CloseReason::ClientClosed), 1);
        assert_eq!(listener.service().opened(), 2);
    }

    #[test]
    fn a_service_counts_its_sessions_in_the_states_that_they_have() {
        use crate::registry::SessionState;
        let time = SystemTime::now();
        let topology = Topology::new(&Config::example(), time);
        let table = table(time);
        let open = || table.open_client(&topology.listeners[0], None, time, Instant::now());
        let counts = || {
            let count = |state| topology.services[0].sessions_in(state);
            SessionState::ALL.map(count)
        };
        let own = table.open_listener(&topology.listeners[0], time);
        let (one, other) = (open(), open());
        assert_eq!(counts(), [1, 0, 2, 0, 0, 0]);
        one.set_state(SessionState::Ready, time);
        one.set_state(SessionState::Ready, time);
        own.set_state(SessionState::StoppedListener, time);
        assert_eq!(counts(), [0, 1, 1, 1, 0, 0]);
        one.set_state(SessionState::Stopping, time);
        for session in [&one, &one, &other] {
            table.close(session.id(), CloseReason::Killed, time, Instant::now());
        }
        assert_eq!(counts(), [0, 1, 0, 0, 0, 2]);
        assert_eq!(topology.services[1].sessions_in(SessionState::Freed), 0);
    }

    #[test]
    fn what_comes_goes_or_changes_is_a_change_and_bytes_are_none() {
        let begin = SystemTime::UNIX_EPOCH;
        let at = |seconds| begin + std::time::Duration::from_secs(seconds);
        let topology = Topology::new(&Config::example(), begin);
        let table = table(begin);
        assert_eq!(
            table.last_change(),
            Change {
                version: 0,
                time: begin
            }
        );
        let session = table.open_client(&topology.listeners[0], None, at(1), Instant::now());
        assert_eq!(
            table.last_change(),
            Change {
                version: 1,
                time: at(1)
            }
        );
        assert_eq!(
            session.last_change(),
            Change {
                version: 0,
                time: at(1)
            }
        );
        session.set_state(crate::registry::SessionState::Ready, at(2));
        assert_eq!(
            (session.last_change().version, table.last_change().version),
            (1, 2)
        );
        let passed = crate::registry::Passed {
            from_client: 1,
            to_client: 2,
            operations: 4,
        };
        session.count(&topology.servers[0], passed, Instant::now());
        assert_eq!(
            session.client().unwrap().snapshot(Instant::now()).activity,
            4
        );
        assert_eq!(
            (session.last_change().version, table.last_change().version),
            (1, 2)
        );
        assert_eq!(topology.servers[0].traffic().to_clients(), 2);
        table.close(session.id(), CloseReason::Shutdown, at(3), Instant::now());
        assert_eq!(
            table.last_change(),
            Change {
                version: 3,
                time: at(3)
            }
        );
    }
}
