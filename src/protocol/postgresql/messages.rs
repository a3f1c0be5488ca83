//! Takes a side's messages apart, wherever its bytes are cut.
//!
//! A message is a type, a length and a body (manual, section "Message Formats").
//! Bodies are most of what a session moves, so they are skipped by arithmetic, and
//! a head is read in place where its bytes are in one piece. The few bodies that
//! are wanted are handed out whole, from the input where they are in one piece
//! there, and from memory where they are not.

use std::borrow::Cow;

use crate::protocol::held::hold;

/// Type and length.
pub(super) const HEAD: usize = 5;

/// The largest length that a message can have: the server allocates no more
/// than 1 GiB (`MaxAllocSize`).
const MAX_LENGTH: u32 = 0x4000_0000;

/// A message's length counts its own four bytes, but not the type.
const LENGTH_FIELD: u32 = 4;

/// A message begins in a way in which no message does.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Malformed(pub(super) Head);

/// The type and the length of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) kind: u8,
    /// As it was sent.
    pub(super) length: u32,
}

impl Head {
    fn body(self) -> u32 {
        self.length.saturating_sub(LENGTH_FIELD)
    }

    /// Whether any message may have this length.
    pub(super) fn is_possible(self) -> bool {
        (LENGTH_FIELD..=MAX_LENGTH).contains(&self.length)
    }
}

/// The position of a side in its messages.
#[derive(Debug, Default)]
pub(super) struct Framing {
    head: [u8; HEAD],
    filled: u8,
    /// How much of a body is still to come.
    left: u32,
}

impl Framing {
    /// Skips the rest of a body and takes the next head off the input; `None`
    /// where the input ends before it does.
    pub(super) fn next(&mut self, input: &mut &[u8]) -> Option<Head> {
        self.pass(input);
        let head = match input.split_first_chunk() {
            Some((head, rest)) if self.filled == 0 => {
                *input = rest;
                *head
            }
            _ => self.gather(input)?,
        };
        let [kind, length @ ..] = head;
        let head = Head {
            kind,
            length: u32::from_be_bytes(length),
        };
        self.left = head.body();
        Some(head)
    }

    fn gather(&mut self, input: &mut &[u8]) -> Option<[u8; HEAD]> {
        while let Some(place) = self.head.get_mut(usize::from(self.filled)) {
            *place = *input.split_off_first()?;
            self.filled += 1;
        }
        self.filled = 0;
        Some(self.head)
    }

    /// Takes as much of the body off the input as there is.
    fn pass<'a>(&mut self, input: &mut &'a [u8]) -> &'a [u8] {
        let passed = self.left().min(input.len());
        let (body, rest) = input.split_at(passed);
        *input = rest;
        self.skip(passed);
        body
    }

    /// How many bytes of the body are still to come.
    pub(super) fn left(&self) -> usize {
        usize::try_from(self.left).unwrap_or(usize::MAX)
    }

    /// Skips bytes of the body that are not shown.
    pub(super) fn skip(&mut self, length: usize) {
        let length = u32::try_from(length).unwrap_or(u32::MAX);
        self.left = self.left.saturating_sub(length);
    }
}

/// A message that is wanted.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Message<'a> {
    pub(super) kind: u8,
    /// Its body, up to the limit.
    pub(super) body: Cow<'a, [u8]>,
}

/// A side's messages, of which some are wanted.
#[derive(Debug, Default)]
pub(super) struct Messages {
    framing: Framing,
    /// The message that is being held, with how much of its body is wanted.
    wanted: Option<(u8, u16)>,
    held: Vec<u8>,
}

impl Messages {
    /// Takes the next wanted message off the input. `wanted` says of a head how
    /// many bytes of the body are wanted, none of most; `None` is for a head that
    /// no message has.
    pub(super) fn next<'a>(
        &mut self,
        input: &mut &'a [u8],
        mut wanted: impl FnMut(Head) -> Option<u16>,
    ) -> Result<Option<Message<'a>>, Malformed> {
        loop {
            if let Some((kind, limit)) = self.wanted {
                let limit = usize::from(limit);
                let body = self.framing.pass(input);
                let room = limit - self.held.len();
                hold(&mut self.held, &body[..body.len().min(room)], limit);
                if self.framing.left > 0 {
                    return Ok(None);
                }
                self.wanted = None;
                let body = Cow::Owned(std::mem::take(&mut self.held));
                return Ok(Some(Message { kind, body }));
            }
            let Some(head) = self.framing.next(input) else {
                return Ok(None);
            };
            match wanted(head).ok_or(Malformed(head))? {
                0 => {}
                limit if self.framing.left() <= input.len() => {
                    let body = self.framing.pass(input);
                    let body = Cow::Borrowed(&body[..body.len().min(limit.into())]);
                    let kind = head.kind;
                    return Ok(Some(Message { kind, body }));
                }
                limit => self.wanted = Some((head.kind, limit)),
            }
        }
    }

    /// How many bytes come next that are not wanted.
    pub(super) fn blind(&self) -> usize {
        match self.wanted {
            None => self.framing.left(),
            Some(_) => 0,
        }
    }

    /// Skips bytes that are not wanted and not shown.
    pub(super) fn skip(&mut self, length: usize) {
        self.framing.skip(length);
    }

    /// Bytes of memory that it holds beside itself.
    pub(super) fn memory(&self) -> usize {
        self.held.capacity()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &[u8] =
        b"D\0\0\0\x08bodyS\0\0\0\x06abZ\0\0\0\x04S\0\0\0\x0bABCDEFGD\0\0\0\x09more!";

    /// Wants three bytes of a message of type S.
    fn wanted(head: Head) -> Option<u16> {
        head.is_possible()
            .then_some(if head.kind == b'S' { 3 } else { 0 })
    }

    fn bodies<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<Vec<u8>>, Messages) {
        let mut messages = Messages::default();
        let mut bodies = Vec::new();
        for mut input in pieces {
            while let Some(message) = messages.next(&mut input, wanted).unwrap() {
                assert_eq!(message.kind, b'S');
                bodies.push(message.body.into_owned());
            }
            assert!(input.is_empty());
            assert!(messages.memory() <= 3);
        }
        (bodies, messages)
    }

    #[test]
    fn wanted_bodies_are_the_same_however_the_bytes_are_cut() {
        for cut in 1..=STREAM.len() {
            let (bodies, messages) = bodies(STREAM.chunks(cut));
            assert_eq!(bodies, [&b"ab"[..], b"ABC"]);
            assert_eq!((messages.blind(), messages.memory()), (0, 0));
        }
    }

    #[test]
    fn a_body_that_is_not_wanted_may_pass_unseen() {
        for cut in 0..=STREAM.len() {
            let (before, mut messages) = bodies(std::iter::once(&STREAM[..cut]));
            let unseen = messages.blind();
            messages.skip(unseen);
            let mut rest = &STREAM[cut + unseen..];
            let mut count = before.len();
            while messages.next(&mut rest, wanted).unwrap().is_some() {
                count += 1;
            }
            assert_eq!((count, messages.blind()), (2, 0), "{cut}");
        }
        let (_, messages) = bodies(std::iter::once(&STREAM[..6]));
        assert_eq!(messages.blind(), 3);
    }

    #[test]
    fn a_length_counts_itself_and_has_a_limit() {
        for (length, expected) in [(0, false), (3, false), (4, true), (1 << 30, true)] {
            let head = Head { kind: b'D', length };
            assert_eq!(head.is_possible(), expected, "{length}");
            let bytes = [&b"D"[..], &length.to_be_bytes()].concat();
            let result = Messages::default().next(&mut &bytes[..], wanted);
            let malformed = Err(Malformed(head));
            assert_eq!(result, if expected { Ok(None) } else { malformed });
        }
        let head = Head {
            kind: b'D',
            length: (1 << 30) + 1,
        };
        assert!(!head.is_possible());
    }
}
