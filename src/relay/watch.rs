//! What a session's bytes tell of it, on the way into the registry.

use std::time::SystemTime;

use super::rest::{Scratch, Shown};
use crate::config::Protocol;
use crate::protocol::{Fact, Login, Observer, ServerError, Side, Stage, mariadb, postgresql};
use crate::registry::{self, LoginError};

/// Reads along with a session for as long as there is something to see.
///
/// What an observer holds of an unfinished login counts in the account of what
/// all sessions hold; beyond its limit the observation ends, not the session.
#[derive(Default)]
pub(super) struct Watch {
    reader: Option<Box<Reader>>,
}

struct Reader {
    observer: Observer,
    stage: Stage,
    /// What was seen and is not reported yet.
    facts: Vec<Fact>,
    /// Bytes of the account that are taken for it.
    held: usize,
    /// Whether the client's first message has been seen whole.
    has_first_message: bool,
    /// By which PostgreSQL knows a cancel request for this session.
    cancel_key: Option<(u32, Box<[u8]>)>,
}

/// What was seen that decides something.
#[derive(Default)]
pub(super) struct Noticed {
    /// The client has said that it ends the session.
    pub(super) quit: bool,
    /// The login is over.
    pub(super) logged_in: bool,
    /// The client's first message has come to its end.
    pub(super) first_message: bool,
    /// The server has refused the login.
    pub(super) refused: Option<ServerError>,
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
            held: 0,
            has_first_message: false,
            cancel_key: None,
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

    /// Sees what one side has sent and the other has taken. Returns how many of
    /// that side's next bytes need not be seen.
    pub(super) fn see(&mut self, side: Side, shown: Shown<'_>) -> usize {
        match shown {
            Shown::Nothing => {}
            Shown::Bytes(bytes) => self.observe(side, bytes),
            Shown::Unseen(length) => {
                if let Some(reader) = &mut self.reader {
                    reader.observer.skip(side, length);
                }
            }
        }
        match &self.reader {
            Some(reader) if reader.stage != Stage::Over => reader.observer.blind(side),
            _ => usize::MAX,
        }
    }

    /// Sees bytes that one side has sent and the other has taken.
    pub(super) fn observe(&mut self, side: Side, bytes: &[u8]) {
        if let Some(reader) = &mut self.reader
            && reader.stage != Stage::Over
        {
            reader.stage = reader.observer.observe(side, bytes, &mut reader.facts);
        }
    }

    /// Has the account of what all sessions hold agree with what this one holds.
    pub(super) fn settle(&mut self, scratch: &mut Scratch) {
        let Some(reader) = &mut self.reader else {
            return;
        };
        let holds = reader.observer.memory();
        scratch.kept = scratch.kept - reader.held + holds;
        reader.held = holds;
        if holds > 0 && scratch.kept > Scratch::LIMIT {
            log::debug!("a login is not observed: the limit of buffered bytes is reached");
            self.release(scratch);
        }
    }

    /// Ends the observation, and gives back what it holds.
    pub(super) fn release(&mut self, scratch: &mut Scratch) {
        if let Some(reader) = self.reader.take() {
            scratch.kept -= reader.held;
        }
    }

    /// Tells the registry what was seen, and returns what decides something.
    pub(super) fn report(&mut self, record: &registry::Session) -> Noticed {
        let mut noticed = Noticed::default();
        let Some(reader) = &mut self.reader else {
            return noticed;
        };
        if !reader.has_first_message && reader.observer.has_first_message() {
            reader.has_first_message = true;
            noticed.first_message = true;
        }
        if !reader.facts.is_empty() {
            reader.report(record, &mut noticed);
        }
        // What an observer holds is given back with the account; here it holds nothing.
        if reader.stage == Stage::Over && reader.held == 0 && reader.cancel_key.is_none() {
            self.reader = None;
        }
        noticed
    }

    /// Whether a cancel request with this process id and key is meant for this session.
    pub(super) fn is_meant_by(&self, process_id: u32, key: &[u8]) -> bool {
        let reader = self.reader.as_ref();
        let own = reader.and_then(|reader| reader.cancel_key.as_ref());
        own.is_some_and(|(own, own_key)| *own == process_id && **own_key == *key)
    }

    /// Bytes of memory that it holds beside itself.
    pub(super) fn memory(&self) -> usize {
        self.reader.as_ref().map_or(0, |reader| {
            let key = reader.cancel_key.as_ref().map_or(0, |(_, key)| key.len());
            size_of::<Reader>() + reader.observer.memory() + key
        })
    }
}

impl Reader {
    fn report(&mut self, record: &registry::Session, noticed: &mut Noticed) {
        let now = SystemTime::now();
        for fact in std::mem::take(&mut self.facts) {
            match fact {
                Fact::ConnectionId(id) => record.set_connection_id(id, now),
                Fact::Encrypted => record.set_encrypted(now),
                Fact::LoggedIn(login) => {
                    noticed.logged_in = true;
                    record.set_login(Some(known(login)), now);
                }
                Fact::Unclear => record.set_login(None, now),
                Fact::Database(database) => record.set_database(database, now),
                Fact::ApplicationName(name) => record.set_attribute("application_name", name, now),
                Fact::ServerVersion(version) => {
                    if let Some(server) = record.latest_server() {
                        server.set_version(&version, now);
                    }
                }
                Fact::CancelKey { process_id, key } => self.cancel_key = Some((process_id, key)),
                // Which server is a replica is a matter of monitors.
                Fact::HotStandby(_) => {}
                Fact::Refused { claimed, error } => {
                    let known_error = LoginError {
                        code: error.code.clone(),
                        message: error.message.clone(),
                    };
                    record.set_login_error(claimed.map(known), known_error, now);
                    noticed.refused = Some(error);
                }
                Fact::Quit => noticed.quit = true,
            }
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
