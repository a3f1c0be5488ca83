//! The part of a login in which the server decides: it agrees, refuses, or asks
//! for more, by another plugin or in a dialogue (MariaDB Knowledge Base,
//! "Connection", authentication switch).
//!
//! What the client says in it is a password more often than not. So packets are
//! counted here, by their heads, and no body is looked at.

use super::login::Asked;
use super::packet::{FULL, Head};
use super::refusal::ERROR;
use crate::protocol::Side;

/// The first byte of the packet with which a server agrees.
pub(super) const OK: u8 = 0x00;

/// The shortest such packet: two numbers, the status, a count of warnings.
pub(super) const SHORTEST_OK: u32 = 7;

/// The shortest error packet: its number.
pub(super) const SHORTEST_ERROR: u32 = 3;

/// The first byte of an authentication switch, which may be its only one.
const SWITCH: u8 = 0xfe;

/// An exchange of packets that a client's request to log in has begun.
#[derive(Debug)]
pub(super) struct Exchange {
    asked: Option<Asked>,
    occasion: Occasion,
    sequence: u8,
    last: Side,
    verdict: Verdict,
    /// Whether the client has ended the session without waiting for the decision.
    has_quit: bool,
}

/// What the exchange is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Occasion {
    /// A client logs in.
    Login,
    /// A client that is logged in changes the user.
    Change,
}

/// What a server's packet means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is not decided.
    Open,
    /// The client has what it asked for.
    Agreed,
    /// It has not.
    Refused,
}

impl Exchange {
    /// One that begins with the packet of this sequence number, in which the
    /// client has asked for this; `None` where it cannot be understood.
    pub(super) fn new(occasion: Occasion, sequence: u8, asked: Option<Asked>) -> Self {
        Self {
            asked,
            occasion,
            sequence,
            last: Side::Client,
            verdict: Verdict::Open,
            has_quit: false,
        }
    }

    /// The client has ended the session, as some health checks do at once. It says no more.
    pub(super) fn quit(&mut self) {
        self.has_quit = true;
    }

    pub(super) fn has_quit(&self) -> bool {
        self.has_quit
    }

    /// Takes the head of the next packet; `None` where it cannot belong to the exchange.
    pub(super) fn take(&mut self, side: Side, head: Head) -> Option<()> {
        self.sequence = self.sequence.wrapping_add(1);
        if head.sequence != self.sequence || head.length == FULL {
            return None;
        }
        match side {
            // The client speaks when the server has.
            Side::Client if self.last == Side::Client => return None,
            Side::Client => {}
            Side::Server => self.verdict = verdict(head)?,
        }
        self.last = side;
        Some(())
    }

    pub(super) fn verdict(&self) -> Verdict {
        self.verdict
    }

    pub(super) fn occasion(&self) -> Occasion {
        self.occasion
    }

    pub(super) fn asked(&self) -> Option<&Asked> {
        self.asked.as_ref()
    }

    pub(super) fn take_asked(&mut self) -> Option<Asked> {
        self.asked.take()
    }
}

fn verdict(head: Head) -> Option<Verdict> {
    match head.first {
        Some(OK) => (head.length >= SHORTEST_OK).then_some(Verdict::Agreed),
        Some(ERROR) => (head.length >= SHORTEST_ERROR).then_some(Verdict::Refused),
        Some(SWITCH) => Some(Verdict::Open),
        // To a change of user, nobody says so little. A result of one column begins so: then
        // it was none.
        _ if head.sequence == 1 && head.length < 2 => None,
        _ => Some(Verdict::Open),
    }
}
