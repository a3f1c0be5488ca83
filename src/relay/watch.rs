//! What a session's bytes tell of it, on the way into the registry.

use std::time::SystemTime;

use crate::config::Protocol;
use crate::protocol::{Fact, Login, Observer, Side, Stage, mariadb, postgresql};
use crate::registry;

/// Reads along with a session for as long as there is something to see.
#[derive(Default)]
pub(super) struct Watch {
    reader: Option<Box<Reader>>,
}

struct Reader {
    observer: Observer,
    stage: Stage,
    /// What was seen and is not reported yet.
    facts: Vec<Fact>,
}

impl Watch {
    /// For a session of a protocol that has just been connected to its server.
    pub(super) fn of(protocol: Protocol) -> Self {
        let observer = match protocol {
            Protocol::MariaDb => Observer::MariaDb(mariadb::Observer::default()),
            Protocol::PostgreSql => Observer::PostgreSql(postgresql::Observer::default()),
            Protocol::Tcp => return Self::default(),
        };
        let reader = Reader {
            observer,
            stage: Stage::Login,
            facts: Vec::new(),
        };
        Self {
            reader: Some(Box::new(reader)),
        }
    }

    fn stage(&self) -> Stage {
        let reader = self.reader.as_ref();
        reader.map_or(Stage::Over, |reader| reader.stage)
    }

    /// Whether a login is to be seen that is not over.
    pub(super) fn is_login(&self) -> bool {
        self.stage() == Stage::Login
    }

    /// Whether there is nothing more to see.
    pub(super) fn is_over(&self) -> bool {
        self.stage() == Stage::Over
    }

    /// Sees bytes that one side has sent and the other has taken.
    pub(super) fn observe(&mut self, side: Side, bytes: &[u8]) {
        if let Some(reader) = &mut self.reader
            && reader.stage != Stage::Over
        {
            reader.stage = reader.observer.observe(side, bytes, &mut reader.facts);
        }
    }

    /// Tells the registry what was seen.
    pub(super) fn report(&mut self, record: &registry::Session) {
        let Some(reader) = &mut self.reader else {
            return;
        };
        if !reader.facts.is_empty() {
            tell(&mut reader.facts, record);
        }
        if reader.stage == Stage::Over {
            self.reader = None;
        }
    }

    /// Bytes of memory that it holds beside itself.
    pub(super) fn memory(&self) -> usize {
        let reader = self.reader.as_ref();
        reader.map_or(0, |reader| size_of::<Reader>() + reader.observer.memory())
    }
}

fn tell(facts: &mut Vec<Fact>, record: &registry::Session) {
    let now = SystemTime::now();
    for fact in std::mem::take(facts) {
        match fact {
            Fact::ConnectionId(id) => record.set_connection_id(id, now),
            Fact::Encrypted => record.set_encrypted(now),
            Fact::LoggedIn(login) => record.set_login(Some(known(login)), now),
            Fact::Unclear => record.set_login(None, now),
            Fact::Refused { error, .. } => log::debug!(
                "session {}: the login was refused: {} {}",
                record.id(),
                error.code,
                error.message
            ),
            Fact::Database(_)
            | Fact::ServerVersion(_)
            | Fact::ApplicationName(_)
            | Fact::CancelKey { .. }
            | Fact::HotStandby(_)
            | Fact::Quit => {}
        }
    }
}

fn known(login: Login) -> registry::Login {
    registry::Login {
        user: login.user,
        database: login.database,
        attributes: login.attributes,
    }
}
