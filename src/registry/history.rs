//! The sessions that were closed last.
//!
//! The hard thing is health checks: thousands of connections that come and go
//! without a word must not push out what an operator looks for. So they stand
//! in a queue of their own, from which room is taken first.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::client::Client;
use super::session::{Session, SessionId};

/// A client that stays for a shorter time than this and sends nothing is a health check.
const CHECK_TIME: Duration = Duration::from_millis(100);

/// A bounded number of closed sessions.
#[derive(Debug)]
pub(super) struct History {
    limit: usize,
    sessions: VecDeque<Closed>,
    checks: VecDeque<Closed>,
    /// Counts what was ever added.
    order: u64,
}

#[derive(Debug)]
struct Closed {
    order: u64,
    session: Arc<Session>,
}

impl History {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit,
            sessions: VecDeque::new(),
            checks: VecDeque::new(),
            order: 0,
        }
    }

    /// Another limit. What falls off the end for it is returned.
    pub(super) fn set_limit(&mut self, limit: usize) -> Vec<Arc<Session>> {
        self.limit = limit;
        let mut fallen = Vec::new();
        while self.sessions.len() + self.checks.len() > limit {
            let oldest = self.checks.pop_front();
            fallen.extend(oldest.or_else(|| self.sessions.pop_front()));
        }
        fallen.into_iter().map(|closed| closed.session).collect()
    }

    /// How many there are, and how many there may be.
    pub(super) fn size(&self) -> (usize, usize) {
        (self.sessions.len() + self.checks.len(), self.limit)
    }

    /// Adds the session of a client that `stayed` so long. What
    /// falls off the end for it is returned, to be dropped where nobody waits.
    pub(super) fn add(&mut self, session: Arc<Session>, stayed: Duration) -> Option<Arc<Session>> {
        let is_silent = session.client().is_some_and(Client::is_silent);
        let is_check = is_silent && stayed < CHECK_TIME;
        let mut fallen = None;
        if self.sessions.len() + self.checks.len() >= self.limit {
            fallen = self.checks.pop_front();
            if fallen.is_none() && !is_check {
                fallen = self.sessions.pop_front();
            }
            if fallen.is_none() {
                return Some(session);
            }
        }
        self.order += 1;
        let queue = if is_check {
            &mut self.checks
        } else {
            &mut self.sessions
        };
        queue.push_back(Closed {
            order: self.order,
            session,
        });
        fallen.map(|closed| closed.session)
    }

    pub(super) fn get(&self, id: SessionId) -> Option<Arc<Session>> {
        let mut both = self.sessions.iter().chain(&self.checks);
        let found = both.find(|closed| closed.session.id() == id)?;
        Some(Arc::clone(&found.session))
    }

    /// The sessions in the order in which they were closed.
    pub(super) fn snapshot(&self) -> Vec<Arc<Session>> {
        let mut all = Vec::with_capacity(self.sessions.len() + self.checks.len());
        let mut checks = self.checks.iter().peekable();
        for closed in &self.sessions {
            while let Some(check) = checks.next_if(|check| check.order < closed.order) {
                all.push(Arc::clone(&check.session));
            }
            all.push(Arc::clone(&closed.session));
        }
        all.extend(checks.map(|check| Arc::clone(&check.session)));
        all
    }
}
