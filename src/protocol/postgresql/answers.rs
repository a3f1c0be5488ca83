//! Passes over both sides' messages until the server has decided on the login.
//!
//! Of the server's messages four are read: the error with which it refuses, the
//! parameters that it reports, the key for cancel requests, and that it is ready.
//! No other body is looked at; one that is text of somebody else's choice can
//! contain bytes that look like a message. Of the client's, which are passwords,
//! only the heads are.

use std::mem;
use std::ops::{ControlFlow, RangeInclusive};

use super::error;
use super::messages::{Framing, Head, Malformed, Message, Messages};
use super::open::{self, Open};
use super::parameter::{self, APPLICATION_NAME};
use crate::protocol::{Fact, Login};

/// The longest message before the session is open that makes sense; the client
/// library of PostgreSQL has the same limit.
pub(super) const MAX_MESSAGE: u32 = 30_000;

/// As much of an error is kept; its code and its message come first.
const MAX_ERROR: u16 = 2048;

/// The longest BackendKeyData: a process id and a key of 256 bytes.
const MAX_KEY: u16 = 4 + 256;

/// Both sides' messages from the StartupMessage on.
#[derive(Debug)]
pub(super) struct Answers {
    /// The login that the client has asked for, if it has come to that.
    login: Option<Login>,
    /// `None` where the client has ended the session, or sends what is no message.
    client: Option<Framing>,
    server: Messages,
    /// Whether the server has sent its key.
    has_key: bool,
    /// An error in the form of before protocol 3, as far as it has come.
    early: Option<Vec<u8>>,
    /// Whether the server has said anything.
    is_answered: bool,
}

/// What comes after the login.
pub(super) enum After {
    /// The session is open.
    Open(Open),
    /// Nothing more is to be seen.
    Over,
}

impl Answers {
    /// Those to a StartupMessage that asks for this login; or to a request for
    /// encryption, before there is one: then the only answer read is an error.
    pub(super) fn to(login: Option<Login>) -> Self {
        Self {
            login,
            client: Some(Framing::default()),
            server: Messages::default(),
            has_key: false,
            early: None,
            is_answered: false,
        }
    }

    /// Takes what the client has sent after its StartupMessage.
    pub(super) fn note_client(&mut self, mut bytes: &[u8], facts: &mut Vec<Fact>) {
        if let Some(client) = &mut self.client
            && open::commands(client, &mut bytes, facts).is_break()
        {
            self.client = None;
        }
    }

    /// Takes what the server has sent off the front of `bytes`, up to its decision.
    pub(super) fn read(&mut self, bytes: &mut &[u8], facts: &mut Vec<Fact>) -> ControlFlow<After> {
        loop {
            if self.early.is_some() {
                return self.read_early(bytes, facts);
            }
            let has_login = self.login.is_some();
            let is_answered = &mut self.is_answered;
            let message = self.server.next(bytes, |head| {
                let wanted = wanted(head, has_login);
                *is_answered |= wanted.is_some();
                wanted
            });
            match message {
                Ok(None) => return ControlFlow::Continue(()),
                Ok(Some(message)) => self.take(&message, facts)?,
                Err(Malformed(head)) => self.begin_early(head)?,
            }
        }
    }

    fn take(&mut self, message: &Message<'_>, facts: &mut Vec<Fact>) -> ControlFlow<After> {
        match message.kind {
            b'E' => {
                let claimed = self.login.take();
                let error = error::read(&message.body);
                facts.push(Fact::Refused { claimed, error });
                return ControlFlow::Break(After::Over);
            }
            b'Z' => {
                facts.extend(self.login.take().map(Fact::LoggedIn));
                let server = mem::take(&mut self.server);
                return ControlFlow::Break(match self.client.take() {
                    Some(client) => After::Open(Open::new(client, server)),
                    None => After::Over,
                });
            }
            b'K' => match message.body.split_first_chunk() {
                Some((process_id, key)) if !self.has_key => {
                    let process_id = u32::from_be_bytes(*process_id);
                    let key = key.into();
                    facts.push(Fact::ConnectionId(process_id.into()));
                    facts.push(Fact::CancelKey { process_id, key });
                    self.has_key = true;
                }
                _ => return ControlFlow::Break(After::Over),
            },
            _ => match parameter::fact(&message.body) {
                Some(Fact::ApplicationName(name)) => self.set_application(name),
                fact => facts.extend(fact),
            },
        }
        ControlFlow::Continue(())
    }

    /// The server says what it calls the client, which need not be what that asked for:
    /// a role may have a setting of its own, and names are cut to 63 bytes.
    fn set_application(&mut self, name: String) {
        let Some(login) = &mut self.login else {
            return;
        };
        let attributes = &mut login.attributes;
        match attributes
            .iter_mut()
            .find(|(known, _)| known == APPLICATION_NAME)
        {
            Some((_, value)) => *value = name,
            None if name.is_empty() => {}
            None => attributes.push((APPLICATION_NAME.to_owned(), name)),
        }
    }

    /// What has no message's length may be an error of before protocol 3, which a server
    /// that cannot start a process for the connection still sends: a text, and no more.
    fn begin_early(&mut self, head: Head) -> ControlFlow<After> {
        if self.is_answered || head.kind != b'E' || head.length <= MAX_MESSAGE {
            return ControlFlow::Break(After::Over);
        }
        self.early = Some(head.length.to_be_bytes().to_vec());
        ControlFlow::Continue(())
    }

    fn read_early(&mut self, bytes: &mut &[u8], facts: &mut Vec<Fact>) -> ControlFlow<After> {
        let mut held = self.early.take().unwrap_or_default();
        let room = usize::from(MAX_ERROR).saturating_sub(held.len());
        let (taken, _) = bytes.split_at(bytes.len().min(room));
        held.extend_from_slice(taken);
        match error::early(&held) {
            Ok(Some((error, _))) => {
                let claimed = self.login.take();
                facts.push(Fact::Refused { claimed, error });
                ControlFlow::Break(After::Over)
            }
            Ok(None) if held.len() < MAX_ERROR.into() => {
                self.early = Some(held);
                ControlFlow::Continue(())
            }
            _ => ControlFlow::Break(After::Over),
        }
    }

    /// Bytes of memory that it holds beside itself.
    pub(super) fn memory(&self) -> usize {
        let early = self.early.as_ref().map_or(0, Vec::capacity);
        self.server.memory() + self.login.as_ref().map_or(0, heap) + early
    }
}

/// How much of a server's message is wanted; `None` where it has no place here.
fn wanted(head: Head, has_login: bool) -> Option<u16> {
    let fits = lengths(head.kind).is_some_and(|lengths| lengths.contains(&head.length));
    if !fits || !has_login && head.kind != b'E' {
        return None;
    }
    Some(match head.kind {
        b'E' => MAX_ERROR,
        b'K' => MAX_KEY,
        b'S' if head.length <= parameter::MAX_LENGTH.into() => parameter::MAX_LENGTH,
        b'Z' => 1,
        _ => 0,
    })
}

/// The lengths that a message of this type may have before the session is open
/// (manual, section "Message Formats"); `None` where it has no place there.
fn lengths(kind: u8) -> Option<RangeInclusive<u32>> {
    match kind {
        // Authentication requests of all kinds.
        b'R' => Some(8..=MAX_MESSAGE),
        // NegotiateProtocolVersion.
        b'v' => Some(12..=MAX_MESSAGE),
        // ParameterStatus: two strings.
        b'S' => Some(6..=MAX_MESSAGE),
        // ErrorResponse and NoticeResponse: fields and a terminator.
        b'E' | b'N' => Some(5..=MAX_MESSAGE),
        // BackendKeyData: a process id and a key of 4 to 256 bytes.
        b'K' => Some(12..=264),
        // ReadyForQuery: a status.
        b'Z' => Some(5..=5),
        _ => None,
    }
}

/// What a login holds beside itself.
fn heap(login: &Login) -> usize {
    let attributes: usize = login
        .attributes
        .iter()
        .map(|(name, value)| name.capacity() + value.capacity())
        .sum();
    login.user.capacity()
        + login.database.as_ref().map_or(0, String::capacity)
        + login.attributes.capacity() * mem::size_of::<(String, String)>()
        + attributes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::ServerError;

    fn message(kind: u8, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(4 + body.len()).unwrap();
        [&[kind][..], &length.to_be_bytes(), body].concat()
    }

    fn ann() -> Login {
        Login {
            user: "ann".into(),
            ..Login::default()
        }
    }

    /// What the server's bytes tell, and whether the login is over.
    fn read<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Fact>, bool) {
        let (mut answers, mut facts) = (Answers::to(Some(ann())), Vec::new());
        let over = pieces
            .into_iter()
            .any(|mut piece| answers.read(&mut piece, &mut facts).is_break());
        (facts, over)
    }

    /// The same, however they are cut.
    fn answered(bytes: &[u8]) -> (Vec<Fact>, bool) {
        let whole = read([bytes]);
        assert_eq!(read(bytes.chunks(1)), whole);
        for cut in 0..bytes.len() {
            assert_eq!(read([&bytes[..cut], &bytes[cut..]]), whole);
        }
        whole
    }

    #[test]
    fn a_server_message_has_a_known_type_and_a_length_that_fits() {
        for (kind, shortest, longest) in [
            (b'R', 8, 30_000),
            (b'v', 12, 30_000),
            (b'S', 6, 30_000),
            (b'N', 5, 30_000),
            (b'K', 12, 264),
        ] {
            for (length, over) in [
                (0, true),
                (shortest - 1, true),
                (shortest, false),
                (longest, false),
                (longest + 1, true),
                (u32::MAX, true),
            ] {
                let head = [&[kind][..], &length.to_be_bytes()].concat();
                assert_eq!(answered(&head), (vec![], over), "{kind} {length}");
            }
        }
        for kind in (0..=255).filter(|kind| !b"RvSNKZE".contains(kind)) {
            assert_eq!(answered(&[kind, 0, 0, 0, 9]), (vec![], true), "{kind}");
        }
        assert_eq!(answered(b"Z\0\0\0\x06I"), (vec![], true));
        assert_eq!(answered(b"E\0\0\0\x04"), (vec![], true));
        assert_eq!(answered(b"E\0\0\0\x06M"), (vec![], false));
    }

    #[test]
    fn an_error_of_the_old_form_is_a_refusal_if_it_comes_first() {
        let old = b"Ecould not fork new process\n\0";
        let (facts, over) = answered(old);
        let error = ServerError {
            code: String::new(),
            message: "could not fork new process".into(),
        };
        let claimed = Some(ann());
        assert_eq!(
            (facts, over),
            (vec![Fact::Refused { claimed, error }], true)
        );
        let later = [&message(b'R', &[0; 4]), &old[..]].concat();
        assert_eq!(answered(&later), (vec![], true));
        let endless = [&b"E"[..], &[b'x'; 2 * MAX_ERROR as usize]].concat();
        let mut answers = Answers::to(None);
        let mut facts = Vec::new();
        for (index, piece) in endless.chunks(64).enumerate() {
            let flow = answers.read(&mut &piece[..], &mut facts);
            assert!(answers.memory() <= 2 * usize::from(MAX_ERROR));
            assert_eq!(flow.is_break(), 64 * index >= usize::from(MAX_ERROR));
            if flow.is_break() {
                break;
            }
        }
        assert_eq!(facts, []);
    }

    #[test]
    fn a_refusal_has_the_code_and_the_message_and_the_login_that_was_claimed() {
        let long = "x".repeat(9_000);
        let body = format!("SFATAL\0VFATAL\0C28P01\0Mno\0D{long}\0\0");
        let bytes = [message(b'R', &[0, 0, 0, 3]), message(b'E', body.as_bytes())].concat();
        let error = ServerError {
            code: "28P01".into(),
            message: "no".into(),
        };
        let claimed = Some(ann());
        let refused = Fact::Refused { claimed, error };
        assert_eq!(read([&bytes[..]]), (vec![refused.clone()], true));
        assert_eq!(read(bytes.chunks(1)), (vec![refused], true));
        // The error is over with its last byte.
        assert_eq!(read([&bytes[..bytes.len() - 1]]), (vec![], false));
    }

    #[test]
    fn parameters_are_told_and_the_name_of_the_application_is_the_servers() {
        for (asked, reported, expected) in [
            (None, "", None),
            (None, "role's", Some("role's")),
            (Some("till"), "till", Some("till")),
            (Some("t\u{e9}l"), "t??l", Some("t??l")),
            (Some("till"), "", Some("")),
        ] {
            let attributes = |name: Option<&str>| {
                let pair = |name: &str| (APPLICATION_NAME.to_owned(), name.to_owned());
                name.map(pair).into_iter().collect()
            };
            let mut answers = Answers::to(Some(Login {
                attributes: attributes(asked),
                ..ann()
            }));
            let bytes = [
                message(b'R', &[0; 4]),
                message(b'S', b"server_version\x0017.2\0"),
                message(b'S', format!("application_name\0{reported}\0").as_bytes()),
                message(b'S', b"in_hot_standby\0on\0"),
                message(b'S', &[b'x'; 2000]),
                message(b'Z', b"I"),
                b"D\0".to_vec(),
            ];
            let (bytes, mut facts) = (bytes.concat(), Vec::new());
            let mut input = &bytes[..];
            let flow = answers.read(&mut input, &mut facts);
            assert!(matches!(flow, ControlFlow::Break(After::Open(_))));
            assert_eq!(input, b"D\0");
            let login = Login {
                attributes: attributes(expected),
                ..ann()
            };
            let version = Fact::ServerVersion("17.2".into());
            assert_eq!(
                facts,
                [version, Fact::HotStandby(true), Fact::LoggedIn(login)]
            );
        }
    }

    #[test]
    fn before_there_is_a_login_only_an_error_is_an_answer() {
        for (bytes, expected) in [
            (message(b'E', b"C57P03\0Mno\0\0"), 1),
            (message(b'Z', b"I"), 0),
            (message(b'R', &[0; 4]), 0),
            (message(b'S', b"server_version\x0017.2\0"), 0),
        ] {
            let (mut answers, mut facts) = (Answers::to(None), Vec::new());
            assert!(answers.read(&mut &bytes[..], &mut facts).is_break());
            assert_eq!(facts.len(), expected);
        }
    }

    #[test]
    fn messages_are_passed_over_up_to_the_one_that_ends_the_login() {
        let key = |length: usize| message(b'K', &[&[0xff, 0, 0, 7][..], &vec![9; length]].concat());
        for length in [4, 32, 256] {
            let bytes = [
                message(b'R', &[0; 4]),
                message(b'S', b"Z\0E\0"),
                message(b'N', &b"Z\0\0\0\x05I".repeat(300)),
                key(length),
                message(b'Z', b"I"),
                message(b'E', b"\0"),
            ];
            let key = vec![9; length].into();
            let process_id = 0xff00_0007;
            let facts = vec![
                Fact::ConnectionId(process_id.into()),
                Fact::CancelKey { process_id, key },
                Fact::LoggedIn(ann()),
            ];
            assert_eq!(answered(&bytes.concat()), (facts, true));
        }
        let twice = [key(4), key(4), message(b'Z', b"I")].concat();
        let (facts, over) = answered(&twice);
        assert_eq!((facts.len(), over), (2, true));
    }
}
