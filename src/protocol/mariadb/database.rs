//! Follows the default database of a session that is logged in.
//!
//! It changes by COM_INIT_DB, once the server has agreed, and by statements, which
//! are not read. But where both sides have CLIENT_SESSION_TRACK, the OK packet
//! that answers a statement names the new one (MariaDB Knowledge Base,
//! "OK_Packet", session state info). Only the first packet of an answer is looked
//! at, and the first of each further result that an OK packet announces.

use super::exchange::{OK, SHORTEST_OK};
use super::fields::Fields;
use super::packet::{FULL, Head};
use super::refusal::ERROR;
use crate::protocol::held::hold;
use crate::protocol::{Fact, MAX_NAME};

/// COM_INIT_DB.
pub(super) const INIT_DB: u8 = 0x02;

/// The commands that execute a statement, which may change the database: COM_QUERY,
/// COM_STMT_EXECUTE and MariaDB's COM_STMT_BULK_EXECUTE. COM_RESET_CONNECTION leaves it.
const STATEMENTS: [u8; 3] = [0x03, 0x17, 0xfa];

/// As much of an OK packet is read: twelve bytes, a message and the session state.
pub(super) const MAX_OK: usize = 1024;

/// In an OK packet's status: another result follows.
const MORE_RESULTS: u16 = 0x0008;

/// In an OK packet's status: the session state has changed.
const STATE_CHANGED: u16 = 0x4000;

/// The session state that names the default database.
const SCHEMA: u8 = 1;

/// What is awaited.
#[derive(Debug, Default)]
pub(super) struct Database {
    /// Whether OK packets have session state.
    is_tracked: bool,
    state: State,
}

#[derive(Debug, Default)]
enum State {
    /// Nothing that changes the database.
    #[default]
    Idle,
    /// The rest of the name in a COM_INIT_DB.
    Name(Vec<u8>),
    /// The answer to it.
    Named(Vec<u8>),
    /// The answer to a statement.
    Statement,
    /// The next result of a statement.
    NextResult,
    /// The rest of an OK packet, which answers to this name, or to a statement.
    Ok {
        name: Option<Vec<u8>>,
        body: Vec<u8>,
    },
}

impl Database {
    pub(super) fn new(is_tracked: bool) -> Self {
        Self {
            is_tracked,
            state: State::Idle,
        }
    }

    /// The client begins a command that has an answer.
    pub(super) fn command(
        &mut self,
        command: u8,
        length: u32,
        is_answer_clear: bool,
        facts: &mut Vec<Fact>,
    ) {
        self.forget(facts);
        let names =
            command == INIT_DB && usize::try_from(length).is_ok_and(|it| it <= 1 + MAX_NAME);
        self.state = if names && !is_answer_clear {
            facts.push(Fact::Database(None));
            State::Idle
        } else if names {
            State::Name(Vec::new())
        } else if self.is_tracked && is_answer_clear && STATEMENTS.contains(&command) {
            State::Statement
        } else {
            State::Idle
        };
    }

    /// More of the client's packet.
    pub(super) fn client_body(&mut self, bytes: &[u8]) {
        if let State::Name(name) = &mut self.state {
            hold(name, bytes, MAX_NAME);
        }
    }

    /// The client's packet is whole.
    pub(super) fn client_end(&mut self) {
        if let State::Name(name) = &mut self.state {
            self.state = State::Named(std::mem::take(name));
        }
    }

    /// Whether the bytes of the client's packet are wanted.
    pub(super) fn wants_client(&self) -> bool {
        matches!(self.state, State::Name(_))
    }

    /// Whether the server's next packet, or the rest of this one, is wanted.
    pub(super) fn wants_server(&self) -> bool {
        !matches!(self.state, State::Idle)
    }

    /// Whether the rest of the server's packet is wanted.
    pub(super) fn wants_server_body(&self) -> bool {
        matches!(self.state, State::Ok { .. })
    }

    /// The server begins a packet, which is the first of the answer to the last command or
    /// comes later.
    pub(super) fn answer(&mut self, head: Head, is_first: bool, facts: &mut Vec<Fact>) {
        let is_ok = head.first == Some(OK) && head.length >= SHORTEST_OK && head.length < FULL;
        self.state = match std::mem::take(&mut self.state) {
            State::Named(name) if is_first && is_ok => State::Ok {
                name: Some(name),
                body: Vec::new(),
            },
            State::Named(_) if is_first && head.first == Some(ERROR) => State::Idle,
            // It is not known what has become of it.
            State::Name(_) | State::Named(_) => {
                facts.push(Fact::Database(None));
                State::Idle
            }
            State::Statement if is_first && is_ok => State::statement_ok(),
            State::NextResult if is_ok => State::statement_ok(),
            _ => State::Idle,
        };
    }

    /// More of the server's packet, behind its first byte.
    pub(super) fn server_body(&mut self, bytes: &[u8]) {
        if let State::Ok { body, .. } = &mut self.state {
            let room = MAX_OK - body.len();
            hold(body, &bytes[..bytes.len().min(room)], MAX_OK);
        }
    }

    /// The last of the server's packet.
    pub(super) fn server_end(&mut self, bytes: &[u8], facts: &mut Vec<Fact>) {
        // Most come in one piece, and take no memory.
        let is_gathered = matches!(&self.state, State::Ok { body, .. } if !body.is_empty());
        if is_gathered {
            self.server_body(bytes);
        }
        let State::Ok { name, body } = &mut self.state else {
            return;
        };
        let body = if is_gathered { body } else { bytes };
        let seen = read_ok(body, self.is_tracked).unwrap_or_default();
        match (seen.schema, name) {
            (Some(schema), _) => facts.push(Fact::Database(text(&schema))),
            (None, Some(name)) => facts.push(Fact::Database(text(name))),
            (None, None) => {}
        }
        self.state = if seen.has_more {
            State::NextResult
        } else {
            State::Idle
        };
    }

    /// Whatever was awaited cannot be told from other things any more.
    pub(super) fn forget(&mut self, facts: &mut Vec<Fact>) {
        let state = std::mem::take(&mut self.state);
        if matches!(
            state,
            State::Name(_) | State::Named(_) | State::Ok { name: Some(_), .. }
        ) {
            facts.push(Fact::Database(None));
        }
    }

    /// Bytes of memory that it holds beside itself.
    pub(super) fn memory(&self) -> usize {
        match &self.state {
            State::Name(name) | State::Named(name) => name.capacity(),
            State::Ok { name, body } => name.as_ref().map_or(0, Vec::capacity) + body.capacity(),
            State::Idle | State::Statement | State::NextResult => 0,
        }
    }
}

impl State {
    fn statement_ok() -> Self {
        let (name, body) = (None, Vec::new());
        Self::Ok { name, body }
    }
}

/// What an OK packet says that matters.
#[derive(Debug, Default, PartialEq, Eq)]
struct Seen {
    has_more: bool,
    schema: Option<Vec<u8>>,
}

/// Reads an OK packet behind its first byte.
fn read_ok(body: &[u8], is_tracked: bool) -> Option<Seen> {
    let mut fields = Fields::new(body);
    // The affected rows, and the last number that was inserted.
    fields.length()?;
    fields.length()?;
    let status = fields.short()?;
    let has_more = status & MORE_RESULTS != 0;
    let schema = if is_tracked && status & STATE_CHANGED != 0 {
        read_schema(body, &mut fields)
    } else {
        None
    };
    Some(Seen { has_more, schema })
}

/// Reads the rest of an OK packet from its warnings on, for the default database.
fn read_schema(body: &[u8], fields: &mut Fields<'_>) -> Option<Vec<u8>> {
    fields.short()?;
    // A message for people.
    fields.counted()?;
    let states = &body[fields.counted()?];
    let mut fields = Fields::new(states);
    let mut schema = None;
    while let (Some(kind), Some(place)) = (fields.byte(), fields.counted()) {
        if kind == SCHEMA {
            let mut data = Fields::new(&states[place.clone()]);
            let name = data.counted()?;
            schema = Some(states[place][name].to_vec());
        }
    }
    schema.filter(|name| name.len() <= MAX_NAME)
}

fn text(name: &[u8]) -> Option<String> {
    (!name.is_empty()).then(|| String::from_utf8_lossy(name).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An OK packet behind its first byte, with this status and session state.
    fn ok(flags: u16, message: &[u8], states: &[u8]) -> Vec<u8> {
        let counted = |bytes: &[u8]| [&[u8::try_from(bytes.len()).unwrap()], bytes].concat();
        let [low, high] = flags.to_le_bytes();
        [
            &[0xfc, 1, 2, 0, low, high, 0, 0][..],
            &counted(message),
            &counted(states),
        ]
        .concat()
    }

    fn schema(body: &[u8]) -> Option<Vec<u8>> {
        read_ok(body, true).unwrap().schema
    }

    #[test]
    fn an_ok_packet_names_the_database_where_the_state_has_changed() {
        let shop = b"\x01\x05\x04shop".as_slice();
        let variable = b"\x00\x0f\x0aautocommit\x03OFF".as_slice();
        assert_eq!(schema(&ok(0x4002, b"", shop)), Some(b"shop".to_vec()));
        let both = [variable, shop, b"\x02\x01\x31"].concat();
        assert_eq!(schema(&ok(0x4002, b"hi", &both)), Some(b"shop".to_vec()));
        assert_eq!(schema(&ok(0x4002, b"", b"\x01\x01\0")), Some(vec![]));
        for body in [
            ok(0x0002, b"", shop),
            ok(0x4002, b"", variable),
            ok(0x4002, b"", &shop[..6]),
            ok(0x4002, b"", b"\x01\x02\x04s"),
            ok(0x4002, b"", b""),
        ] {
            assert_eq!(schema(&body), None, "{body:?}");
        }
        let whole = ok(0x4008, b"", shop);
        assert!(read_ok(&whole, false).unwrap().schema.is_none());
        assert!(read_ok(&whole, true).unwrap().has_more);
        for cut in 0..whole.len() {
            let seen = read_ok(&whole[..cut], true);
            assert!(seen.is_none_or(|seen| seen.schema.is_none()), "{cut}");
        }
    }
}
