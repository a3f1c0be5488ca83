//! Passes over the messages of a session that is open, up to its end.
//!
//! Only three things are looked at: Terminate, by its head; the server's
//! ParameterStatus, whose body is read where it is short enough to matter; and
//! whether each type is one that the protocol has, since bytes that are not
//! messages are not to be taken for some. Queries and results are skipped.

use std::ops::ControlFlow;

use super::messages::{Framing, Head, Messages};
use super::parameter;
use crate::protocol::{Fact, Side};

/// Terminate, which has no body.
const TERMINATE: Head = Head {
    kind: b'X',
    length: 4,
};

/// A session in which the login is over.
#[derive(Debug)]
pub(super) struct Open {
    client: Framing,
    server: Messages,
}

impl Open {
    pub(super) fn new(client: Framing, server: Messages) -> Self {
        Self { client, server }
    }

    /// Takes what one side has sent; breaks off where nothing more is to be seen.
    pub(super) fn observe(
        &mut self,
        side: Side,
        mut bytes: &[u8],
        facts: &mut Vec<Fact>,
    ) -> ControlFlow<()> {
        if side == Side::Client {
            return commands(&mut self.client, &mut bytes, facts);
        }
        loop {
            match self.server.next(&mut bytes, wanted) {
                Ok(Some(message)) => facts.extend(parameter::fact(&message.body)),
                Ok(None) => return ControlFlow::Continue(()),
                Err(_) => return ControlFlow::Break(()),
            }
        }
    }

    /// How many of a side's next bytes need not be shown.
    pub(super) fn blind(&self, side: Side) -> usize {
        match side {
            Side::Client => self.client.left(),
            Side::Server => self.server.blind(),
        }
    }

    /// Skips bytes that are not shown.
    pub(super) fn skip(&mut self, side: Side, length: usize) {
        match side {
            Side::Client => self.client.skip(length),
            Side::Server => self.server.skip(length),
        }
    }

    /// Bytes of memory that it holds beside itself.
    pub(super) fn memory(&self) -> usize {
        self.server.memory()
    }
}

/// Passes over the client's messages; breaks off at Terminate, and where what
/// comes is no message.
pub(super) fn commands(
    client: &mut Framing,
    bytes: &mut &[u8],
    facts: &mut Vec<Fact>,
) -> ControlFlow<()> {
    while let Some(head) = client.next(bytes) {
        if head == TERMINATE {
            facts.push(Fact::Quit);
            return ControlFlow::Break(());
        }
        if !is_command(head.kind) || !head.is_possible() {
            return ControlFlow::Break(());
        }
    }
    ControlFlow::Continue(())
}

/// Whether a client has messages of this type, but for Terminate: Bind, Close,
/// CopyData, CopyDone, CopyFail, Describe, Execute, Flush, FunctionCall, Parse,
/// passwords, Query and Sync.
fn is_command(kind: u8) -> bool {
    matches!(
        kind,
        b'B' | b'C' | b'D' | b'E' | b'F' | b'H' | b'P' | b'Q' | b'S' | b'c' | b'd' | b'f' | b'p'
    )
}

/// How much of a server's message is wanted: all of a short ParameterStatus.
fn wanted(head: Head) -> Option<u16> {
    match head.kind {
        b'S' if head.length <= u32::from(parameter::MAX_LENGTH) => {
            (head.length > 4).then_some(parameter::MAX_LENGTH)
        }
        // ParseComplete, BindComplete, CloseComplete, NotificationResponse, CommandComplete,
        // DataRow, ErrorResponse, CopyInResponse, CopyOutResponse, EmptyQueryResponse,
        // NoticeResponse, RowDescription, FunctionCallResponse, CopyBothResponse,
        // ReadyForQuery, CopyDone, CopyData, NoData, PortalSuspended, ParameterDescription.
        b'1' | b'2' | b'3' | b'A' | b'C' | b'D' | b'E' | b'G' | b'H' | b'I' | b'N' | b'S'
        | b'T' | b'V' | b'W' | b'Z' | b'c' | b'd' | b'n' | b's' | b't' => {
            head.is_possible().then_some(0)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u8, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(4 + body.len()).unwrap();
        [&[kind][..], &length.to_be_bytes(), body].concat()
    }

    fn open() -> Open {
        Open::new(Framing::default(), Messages::default())
    }

    /// What a side's bytes show, and whether nothing more is to be seen, however they are cut.
    fn observed(side: Side, bytes: &[u8]) -> (Vec<Fact>, bool) {
        let observe = |size: usize| {
            let (mut open, mut facts) = (open(), Vec::new());
            let over = bytes
                .chunks(size)
                .any(|piece| open.observe(side, piece, &mut facts).is_break());
            (facts, over)
        };
        let whole = observe(bytes.len());
        for size in 1..bytes.len() {
            assert_eq!(observe(size), whole, "{size}");
        }
        whole
    }

    #[test]
    fn a_session_is_small() {
        assert!(size_of::<Open>() <= 64, "{}", size_of::<Open>());
        assert_eq!(open().memory(), 0);
    }

    #[test]
    fn terminate_is_a_message_and_not_what_looks_like_one() {
        let terminate = message(b'X', b"");
        let query = message(b'Q', &[b"SELECT '", &terminate[..], b"'\0"].concat());
        let before = [query, message(b'S', b""), message(b'd', &terminate)].concat();
        assert_eq!(observed(Side::Client, &before), (vec![], false));
        let bytes = [before, terminate].concat();
        assert_eq!(observed(Side::Client, &bytes), (vec![Fact::Quit], true));
    }

    #[test]
    fn what_is_no_message_ends_it() {
        for (side, kinds) in [
            (Side::Client, &b"BCDEFHPQScdfp"[..]),
            (Side::Server, b"123ACDEGHINSTVWZcdnst"),
        ] {
            for kind in 0..=255 {
                let expected = !kinds.contains(&kind);
                let bytes = message(kind, b"xy");
                assert_eq!(observed(side, &bytes), (vec![], expected), "{kind}");
                for length in [[0, 0, 0, 3], [0x40, 0, 0, 1]] {
                    let bytes = [&[kind][..], &length].concat();
                    assert_eq!(observed(side, &bytes), (vec![], true), "{kind}");
                }
            }
        }
        assert_eq!(observed(Side::Client, b"X\0\0\0\x05x"), (vec![], true));
    }

    #[test]
    fn parameters_are_read_between_rows() {
        let name = |value: &str| message(b'S', format!("application_name\0{value}\0").as_bytes());
        let row = message(b'D', &name("row"));
        let bytes = [
            row.clone(),
            name("till"),
            row.clone(),
            message(b'S', b"TimeZone\0UTC\0"),
            message(b'W', b"\0\0\0"),
            message(b'd', &name("copy")),
            name(""),
            name(&"x".repeat(2000)),
            message(b'S', b"in_hot_standby\0off\0"),
            row,
        ];
        let facts = vec![
            Fact::ApplicationName("till".into()),
            Fact::ApplicationName(String::new()),
            Fact::HotStandby(false),
        ];
        assert_eq!(observed(Side::Server, &bytes.concat()), (facts, false));
    }

    #[test]
    fn a_parameter_is_held_within_its_limit_and_not_longer_than_it_takes() {
        let mut open = open();
        let value = "x".repeat(990);
        let bytes = message(b'S', format!("application_name\0{value}\0").as_bytes());
        let mut facts = Vec::new();
        for piece in bytes.chunks(100) {
            let _ = open.observe(Side::Server, piece, &mut facts);
            assert!(open.memory() <= 1024);
        }
        assert_eq!(facts, [Fact::ApplicationName(value)]);
        assert_eq!(open.memory(), 0);
    }

    #[test]
    fn bodies_may_pass_unseen_but_not_those_that_are_read() {
        let mut open = open();
        let mut facts = Vec::new();
        let _ = open.observe(Side::Server, b"D\0\x10\0\0row", &mut facts);
        let _ = open.observe(Side::Client, b"Q\0\0\x01\0SEL", &mut facts);
        assert_eq!(open.blind(Side::Server), 0x10_0000 - 4 - 3);
        assert_eq!(open.blind(Side::Client), 0x100 - 4 - 3);
        open.skip(Side::Server, 0x10_0000 - 4 - 3);
        open.skip(Side::Client, 0x100 - 4 - 3);
        let _ = open.observe(Side::Server, b"S\0\0\0\x17application", &mut facts);
        assert_eq!(open.blind(Side::Server), 0);
        let _ = open.observe(Side::Server, b"_name\0a\0", &mut facts);
        assert!(
            open.observe(Side::Client, b"X\0\0\0\x04", &mut facts)
                .is_break()
        );
        assert_eq!(facts, [Fact::ApplicationName("a".into()), Fact::Quit]);
    }
}
