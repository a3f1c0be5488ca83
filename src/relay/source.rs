//! What an event is about, as the number that the event carries.

use mio::Token;

/// Where an event comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// Another thread wants something.
    Waker,
    /// A listener, by its number.
    Listener(usize),
    /// The client of a session, by the session's slot.
    Client(usize),
    /// The server of a session, by the session's slot.
    Server(usize),
    /// The probe of a server, by the number under which the server is watched.
    Probe(usize),
    /// A connection that delivers a cancel request, by its number.
    Cancel(usize),
}

const KIND_BITS: u32 = 3;

impl Source {
    /// The token under which its socket is registered.
    pub(super) fn token(self) -> Token {
        let (kind, index) = match self {
            Self::Waker => (0, 0),
            Self::Listener(index) => (1, index),
            Self::Client(slot) => (2, slot),
            Self::Server(slot) => (3, slot),
            Self::Probe(index) => (4, index),
            Self::Cancel(index) => (5, index),
        };
        Token(index << KIND_BITS | kind)
    }
}

impl From<Token> for Source {
    fn from(Token(number): Token) -> Self {
        let index = number >> KIND_BITS;
        match number & ((1 << KIND_BITS) - 1) {
            0 => Self::Waker,
            1 => Self::Listener(index),
            2 => Self::Client(index),
            3 => Self::Server(index),
            4 => Self::Probe(index),
            _ => Self::Cancel(index),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_survives_the_way_through_a_token() {
        for source in [
            Source::Waker,
            Source::Listener(0),
            Source::Client(7),
            Source::Server(1 << 40),
            Source::Probe(3),
            Source::Cancel(5),
        ] {
            assert_eq!(Source::from(source.token()), source);
        }
    }
}
