//! What a session's bytes tell of it, on the way into the registry.

use std::time::SystemTime;

use crate::config::Protocol;
use crate::protocol::{Fact, Login, Observer, Side, Stage, mariadb, postgresql};
use crate::registry;

/// Reads along with a session for as long as there is something to see.
#[derive(Default)]
pub(super) struct Watch {
    observer: Option<Box<Observer>>,
    is_login: bool,
    /// What was seen and is not reported yet.
    facts: Vec<Fact>,
}

impl Watch {
    /// For a session of a protocol that has just been connected to its server.
    pub(super) fn of(protocol: Protocol) -> Self {
        let observer = match protocol {
            Protocol::MariaDb => Some(Observer::MariaDb(mariadb::Observer::default())),
            Protocol::PostgreSql => Some(Observer::PostgreSql(postgresql::Observer::default())),
            Protocol::Tcp => None,
        };
        Self {
            is_login: observer.is_some(),
            observer: observer.map(Box::new),
            facts: Vec::new(),
        }
    }

    /// Whether a login is to be seen that is not over.
    pub(super) fn is_login(&self) -> bool {
        self.is_login
    }

    /// Whether there is nothing more to see.
    pub(super) fn is_over(&self) -> bool {
        self.observer.is_none()
    }

    /// Sees bytes that one side has sent and the other has taken.
    pub(super) fn observe(&mut self, side: Side, bytes: &[u8]) {
        let Some(observer) = &mut self.observer else {
            return;
        };
        match observer.observe(side, bytes, &mut self.facts) {
            Stage::Login => {}
            Stage::Open => self.is_login = false,
            Stage::Over => {
                self.is_login = false;
                self.observer = None;
            }
        }
    }

    /// Tells the registry what was seen.
    pub(super) fn report(&mut self, record: &registry::Session) {
        if self.facts.is_empty() {
            return;
        }
        let now = SystemTime::now();
        for fact in std::mem::take(&mut self.facts) {
            match fact {
                Fact::ConnectionId(id) => record.set_connection_id(id, now),
                Fact::Encrypted => record.set_encrypted(now),
                Fact::LoggedIn(login) => record.set_login(Some(known(login)), now),
                Fact::Unclear => record.set_login(None, now),
                Fact::Refused => log::debug!("session {}: the login was refused", record.id()),
            }
        }
    }

    /// Bytes of memory that it holds beside itself.
    pub(super) fn memory(&self) -> usize {
        let observer = self.observer.as_ref();
        observer.map_or(0, |observer| size_of::<Observer>() + observer.memory())
    }
}

fn known(login: Login) -> registry::Login {
    registry::Login {
        user: login.user,
        database: login.database,
        attributes: login.attributes,
    }
}
