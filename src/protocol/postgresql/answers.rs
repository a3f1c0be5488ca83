//! Passes over the server's messages until one of them ends the login.
//!
//! A message is a type, a length and a body. No body is looked at but the first
//! four bytes of the server's number for the connection; a body that is text of
//! somebody else's choice can hold whatever looks like a message.

use std::mem;
use std::ops::{ControlFlow, RangeInclusive};

use crate::protocol::{Fact, Login};

/// The longest message before the session is open that makes sense; the client
/// library of PostgreSQL has the same limit.
const MAX_MESSAGE: u32 = 30_000;

/// As much of an error is kept; its code and its message stand in front.
const MAX_ERROR: usize = 2048;

/// Type and length.
const HEAD: usize = 5;

/// Type, length and the process id of a BackendKeyData.
const KEY_HEAD: usize = HEAD + 4;

/// The server's messages from the StartupMessage on.
#[derive(Debug)]
pub(super) struct Answers {
    /// Who it is, if the server agrees.
    login: Box<Login>,
    /// The beginning of a message.
    head: [u8; KEY_HEAD],
    /// How many bytes of it there are.
    held: usize,
    /// How many bytes of the message before are still to come.
    rest: usize,
    /// Whether the server has told its number for the connection.
    numbered: bool,
    /// The error with which it refuses, as far as that has come.
    error: Option<Vec<u8>>,
}

impl Answers {
    /// Those that answer to somebody's StartupMessage.
    pub(super) fn to(login: Login) -> Self {
        Self {
            login: Box::new(login),
            head: [0; KEY_HEAD],
            held: 0,
            rest: 0,
            numbered: false,
            error: None,
        }
    }

    /// Takes what the server has sent, and adds what it tells to the facts; breaks
    /// off where there is nothing more to see.
    pub(super) fn read(&mut self, mut bytes: &[u8], facts: &mut Vec<Fact>) -> ControlFlow<()> {
        loop {
            let passed = self.rest.min(bytes.len());
            self.rest -= passed;
            if let Some(error) = &mut self.error {
                let room = MAX_ERROR - error.len();
                error.extend_from_slice(&bytes[..passed.min(room)]);
                if self.rest > 0 {
                    return ControlFlow::Continue(());
                }
                let error = super::error::read(error);
                let claimed = Some(mem::take(&mut *self.login));
                facts.push(Fact::Refused { claimed, error });
                return ControlFlow::Break(());
            }
            let Some((&byte, after)) = bytes[passed..].split_first() else {
                return ControlFlow::Continue(());
            };
            bytes = after;
            self.head[self.held] = byte;
            self.held += 1;
            self.look(facts)?;
        }
    }

    /// Bytes of memory that it holds beside itself.
    pub(super) fn memory(&self) -> usize {
        let error = self.error.as_ref().map_or(0, Vec::capacity);
        mem::size_of::<Login>() + heap(&self.login) + error
    }

    /// Looks at a message whose beginning has one byte more.
    fn look(&mut self, facts: &mut Vec<Fact>) -> ControlFlow<()> {
        let [kind, length @ .., _, _, _, _] = self.head;
        let Some(lengths) = lengths(kind) else {
            return ControlFlow::Break(());
        };
        if self.held < HEAD {
            return ControlFlow::Continue(());
        }
        let length = u32::from_be_bytes(length);
        if !lengths.contains(&length) {
            return ControlFlow::Break(());
        }
        match kind {
            b'Z' => {
                facts.push(Fact::LoggedIn(mem::take(&mut *self.login)));
                return ControlFlow::Break(());
            }
            b'E' => self.error = Some(Vec::new()),
            b'K' if self.numbered => return ControlFlow::Break(()),
            b'K' if self.held < KEY_HEAD => return ControlFlow::Continue(()),
            b'K' => {
                let [_, _, _, _, _, process @ ..] = self.head;
                facts.push(Fact::ConnectionId(u32::from_be_bytes(process).into()));
                self.numbered = true;
            }
            _ => {}
        }
        // The length counts itself, not the type.
        self.rest = 1 + length as usize - self.held;
        self.held = 0;
        ControlFlow::Continue(())
    }
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

    /// What the server's bytes tell, and whether there is nothing more to see.
    fn read<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Fact>, bool) {
        let (mut answers, mut facts) = (Answers::to(ann()), Vec::new());
        let over = pieces
            .into_iter()
            .any(|piece| answers.read(piece, &mut facts).is_break());
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
            assert_eq!(answered(&[kind]), (vec![], true), "{kind}");
        }
        assert_eq!(answered(b"Z\0\0\0\x06I"), (vec![], true));
        assert_eq!(answered(b"E\0\0\0\x04"), (vec![], true));
        assert_eq!(answered(b"E\0\0\0\x06M"), (vec![], false));
        // Before protocol 3 an error had no length.
        assert_eq!(answered(b"Ecould not fork\n\0"), (vec![], true));
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
            let facts = vec![Fact::ConnectionId(0xff00_0007), Fact::LoggedIn(ann())];
            assert_eq!(answered(&bytes.concat()), (facts, true));
        }
        let twice = [key(4), key(4), message(b'Z', b"I")].concat();
        assert_eq!(
            answered(&twice),
            (vec![Fact::ConnectionId(0xff00_0007)], true)
        );
    }
}
