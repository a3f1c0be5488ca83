//! Reads along with a session of PostgreSQL until somebody has logged in.
//!
//! Only two things are ever held: the client's first message until it is whole,
//! and then, of what the server says, the first nine bytes of a message. Between
//! them stands one byte that is no message, the answer to a request for
//! encryption; a client that does not wait for it is not observed, since nobody
//! could tell what its bytes are.

use super::answers::Answers;
use super::opening::{self, Encryption, Kind, MAX_OPENING, Unexpected};
use crate::protocol::{Fact, Side, Stage};

/// Reads along with one session (manual, section "Message Flow", "Start-up" and
/// the two that are about encryption).
#[derive(Debug, Default)]
pub struct Observer {
    state: State,
}

#[derive(Debug)]
enum State {
    /// The client's first message, as far as it has come.
    Opening(Vec<u8>),
    /// The client waits to hear whether it may encrypt.
    Asked(Encryption),
    /// The server answers the StartupMessage.
    Answered(Answers),
    /// There is nothing more to see.
    Over,
}

impl Default for State {
    fn default() -> Self {
        Self::Opening(Vec::new())
    }
}

impl Observer {
    /// Takes what one side has sent, and adds what it tells to the facts.
    pub fn observe(&mut self, side: Side, bytes: &[u8], facts: &mut Vec<Fact>) -> Stage {
        if !bytes.is_empty() {
            let next = match (&mut self.state, side) {
                (State::Opening(held), Side::Client) => open(held, bytes, facts),
                (State::Asked(encryption), Side::Server) => Some(hear(*encryption, bytes, facts)),
                (State::Answered(answers), Side::Server) => {
                    answers.read(bytes, facts).is_break().then_some(State::Over)
                }
                // Passwords, and whatever the client sends before it hears from the server.
                (State::Answered(_), Side::Client) => None,
                (State::Opening(_), Side::Server)
                | (State::Asked(_), Side::Client)
                | (State::Over, _) => Some(State::Over),
            };
            if let Some(next) = next {
                self.state = next;
            }
        }
        match self.state {
            State::Over => Stage::Over,
            _ => Stage::Login,
        }
    }

    /// Bytes of memory that it holds beside itself.
    #[must_use]
    pub fn memory(&self) -> usize {
        match &self.state {
            State::Opening(held) => held.capacity(),
            State::Answered(answers) => answers.memory(),
            State::Asked(_) | State::Over => 0,
        }
    }
}

/// Takes more of the client's first message; the state after it, where it is whole.
fn open(held: &mut Vec<u8>, bytes: &[u8], facts: &mut Vec<Fact>) -> Option<State> {
    let taken = bytes.len().min(MAX_OPENING - held.len());
    hold(held, &bytes[..taken]);
    let opening = match opening::opening(held) {
        Ok(None) => return None,
        Ok(Some(opening)) => opening,
        Err(Unexpected::Tls) => {
            facts.push(Fact::Encrypted);
            return Some(State::Over);
        }
        Err(Unexpected::Length(_) | Unexpected::Code(_)) => return Some(State::Over),
    };
    let alone = taken == bytes.len() && opening.length == held.len();
    Some(match opening.kind {
        Kind::EncryptionRequest(encryption) if alone => State::Asked(encryption),
        Kind::EncryptionRequest(_) | Kind::Cancel => State::Over,
        Kind::Startup => match opening::login(&held[..opening.length]) {
            Some(login) => State::Answered(Answers::to(login)),
            None => State::Over,
        },
    })
}

/// Adds bytes without ever taking more memory than the longest message needs.
fn hold(held: &mut Vec<u8>, bytes: &[u8]) {
    let length = held.len() + bytes.len();
    if length > held.capacity() {
        let room = (2 * length).min(MAX_OPENING);
        held.reserve_exact(room - held.len());
    }
    held.extend_from_slice(bytes);
}

/// What the server's answer to a request for encryption leads to.
fn hear(asked: Encryption, answer: &[u8], facts: &mut Vec<Fact>) -> State {
    match (asked, answer) {
        (Encryption::Tls, [b'S', ..]) | (Encryption::Gssapi, [b'G', ..]) => {
            facts.push(Fact::Encrypted);
            State::Over
        }
        (_, b"N") => State::default(),
        // An error of a server that knows no such request, or two answers to one question.
        _ => State::Over,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{Login, MAX_HELD, MAX_NAME, ServerError};
    use Side::{Client, Server};

    type Sent = (Side, Vec<u8>);

    /// What an observer makes of a conversation.
    fn told<'a>(sent: impl IntoIterator<Item = (Side, &'a [u8])>) -> (Vec<Fact>, Stage) {
        let mut observer = Observer::default();
        let (mut facts, mut stage) = (Vec::new(), Stage::Login);
        for (side, bytes) in sent {
            let before = (stage, facts.len());
            stage = observer.observe(side, bytes, &mut facts);
            assert!(observer.memory() <= MAX_HELD);
            if stage == Stage::Over {
                assert_eq!(observer.memory(), 0);
            }
            if before.0 == Stage::Over {
                assert_eq!((stage, facts.len()), before);
            }
        }
        (facts, stage)
    }

    /// What an observer makes of a conversation, however that is cut.
    fn told_in_any_cut(sent: &[Sent]) -> (Vec<Fact>, Stage) {
        let whole = told(sent.iter().map(|(side, bytes)| (*side, &bytes[..])));
        let single = sent.iter().flat_map(|(side, bytes)| {
            let side = *side;
            bytes.chunks(1).map(move |byte| (side, byte))
        });
        assert_eq!(told(single), whole);
        for (index, (_, bytes)) in sent.iter().enumerate() {
            for cut in 0..=bytes.len() {
                let halves = sent.iter().enumerate().flat_map(|(at, (side, bytes))| {
                    let cut = if at == index { cut } else { 0 };
                    [(*side, &bytes[..cut]), (*side, &bytes[cut..])]
                });
                assert_eq!(told(halves), whole);
            }
        }
        whole
    }

    /// What a session tells that was recorded.
    fn recorded(text: &str) -> (Vec<Fact>, Stage) {
        let sent = text.lines().filter(|line| !line.starts_with('#'));
        let sent = sent.map(|line| {
            let (side, digits) = line.split_at(2);
            let byte = |at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap();
            let side = match side {
                "C " => Client,
                "S " => Server,
                other => panic!("{other}"),
            };
            (side, (0..digits.len()).step_by(2).map(byte).collect())
        });
        told_in_any_cut(&sent.collect::<Vec<Sent>>())
    }

    macro_rules! handshake {
        ($name:literal) => {
            recorded(include_str!(concat!(
                "../../../tests/handshakes/postgresql-",
                $name,
                ".txt"
            )))
        };
    }

    fn logged_in(user: &str, database: &str, application: Option<&str>) -> Fact {
        Fact::LoggedIn(Login {
            user: user.into(),
            database: Some(database.into()),
            attributes: application
                .map(|name| ("application_name".into(), name.into()))
                .into_iter()
                .collect(),
        })
    }

    #[test]
    fn a_login_that_was_recorded_tells_who_it_is() {
        for ((facts, stage), id, login) in [
            (
                handshake!("scram"),
                5234,
                logged_in("guest", "shop", Some("till")),
            ),
            (
                handshake!("clear-text"),
                7693,
                logged_in("guest", "shop", Some("till")),
            ),
            (
                handshake!("scram-18"),
                5338,
                logged_in("guest", "shop", Some("till")),
            ),
            (
                handshake!("encryption-declined"),
                5238,
                logged_in("postgres", "postgres", Some("psql")),
            ),
        ] {
            assert_eq!(facts, [Fact::ConnectionId(id), login]);
            assert_eq!(stage, Stage::Over);
        }
    }

    #[test]
    fn a_recorded_session_that_is_encrypted_tells_no_more() {
        for session in [handshake!("tls"), handshake!("gss-accepted")] {
            assert_eq!(session, (vec![Fact::Encrypted], Stage::Over));
        }
    }

    #[test]
    fn a_recorded_login_that_the_server_refuses_is_told_as_such() {
        for (session, database, code, message) in [
            (
                handshake!("wrong-password"),
                "shop",
                "28P01",
                "password authentication failed for user \"guest\"",
            ),
            (
                handshake!("unknown-database"),
                "nowhere",
                "3D000",
                "database \"nowhere\" does not exist",
            ),
            (
                handshake!("too-many-clients"),
                "shop",
                "53300",
                "sorry, too many clients already",
            ),
        ] {
            let Fact::LoggedIn(claimed) = logged_in("guest", database, Some("psql")) else {
                unreachable!();
            };
            let error = ServerError {
                code: code.into(),
                message: message.into(),
            };
            let claimed = Some(claimed);
            let refused = Fact::Refused { claimed, error };
            assert_eq!(session, (vec![refused], Stage::Over));
        }
    }

    #[test]
    fn a_recorded_session_without_a_login_tells_nothing() {
        for session in [handshake!("cancel"), handshake!("cancel-18")] {
            assert_eq!(session, (vec![], Stage::Over));
        }
        for session in [handshake!("gss-declined"), handshake!("negotiation-18")] {
            assert_eq!(session, (vec![], Stage::Login));
        }
    }

    const TLS_REQUEST: &[u8] = &[0, 0, 0, 8, 4, 0xd2, 0x16, 0x2f];
    const GSS_REQUEST: &[u8] = &[0, 0, 0, 8, 4, 0xd2, 0x16, 0x30];

    fn startup() -> Vec<u8> {
        startup_of("user", 3)
    }

    fn startup_of(name: &str, length: usize) -> Vec<u8> {
        let value = "x".repeat(length);
        let body = format!("\0\u{3}\0\0user\0ann\0{name}\0{value}\0\0");
        let length = u32::try_from(4 + body.len()).unwrap();
        [&length.to_be_bytes()[..], body.as_bytes()].concat()
    }

    fn message(kind: u8, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(4 + body.len()).unwrap();
        [&[kind][..], &length.to_be_bytes(), body].concat()
    }

    fn conversation(sent: &[(Side, &[u8])]) -> (Vec<Fact>, Stage) {
        let sent = sent.iter().map(|(side, bytes)| (*side, bytes.to_vec()));
        told_in_any_cut(&sent.collect::<Vec<Sent>>())
    }

    #[test]
    fn encryption_is_told_where_both_agree_on_it() {
        let encrypted = (vec![Fact::Encrypted], Stage::Over);
        let nothing = (vec![], Stage::Over);
        for (request, answer, expected) in [
            (TLS_REQUEST, &b"S"[..], &encrypted),
            (TLS_REQUEST, b"S\x16", &encrypted),
            (TLS_REQUEST, b"G", &nothing),
            (TLS_REQUEST, b"E", &nothing),
            (TLS_REQUEST, b"NN", &nothing),
            (GSS_REQUEST, b"G", &encrypted),
            (GSS_REQUEST, b"S", &nothing),
            (GSS_REQUEST, b"\0", &nothing),
        ] {
            assert_eq!(
                conversation(&[(Client, request), (Server, answer)]),
                *expected
            );
        }
        assert_eq!(conversation(&[(Client, b"\x16\x03\x01")]), encrypted);
    }

    #[test]
    fn a_client_that_is_told_no_may_begin_anew() {
        let ready = message(b'Z', b"I");
        let (facts, _) = conversation(&[
            (Client, TLS_REQUEST),
            (Server, b"N"),
            (Client, GSS_REQUEST),
            (Server, b"N"),
            (Client, &startup()),
            (Server, &ready),
        ]);
        assert_eq!(facts, [logged_in("xxx", "xxx", None)]);
    }

    #[test]
    fn who_speaks_out_of_turn_is_not_observed() {
        let startup = startup();
        let impatient = [TLS_REQUEST, &startup].concat();
        for sent in [
            &[(Client, &impatient[..]), (Server, b"N")][..],
            &[(Client, TLS_REQUEST), (Client, b"\x16"), (Server, b"S")],
            &[(Server, b"N"), (Client, &startup)],
            &[(Client, b"\0\0"), (Server, b"E")],
        ] {
            assert_eq!(conversation(sent), (vec![], Stage::Over));
        }
    }

    #[test]
    fn what_the_client_sends_after_its_startup_message_is_not_looked_at() {
        let early = [&startup()[..], b"p\0\0\0\x0asecret\0"].concat();
        let sent = [
            (Client, &early[..]),
            (Client, b"Z\0\0\0\x05I"),
            (Server, &message(b'R', &[0; 4])),
            (Client, &[0xff; 100]),
        ];
        assert_eq!(conversation(&sent), (vec![], Stage::Login));
    }

    #[test]
    fn a_startup_message_of_any_length_stays_within_the_limits() {
        for (name, length, observed) in [
            ("user", MAX_NAME, true),
            ("user", MAX_NAME + 1, false),
            ("options", 9_970, true),
            ("options", 9_980, false),
        ] {
            let bytes = startup_of(name, length);
            for size in [1, 7, 1_000, 8_500, 20_000] {
                let (facts, stage) = told(bytes.chunks(size).map(|piece| (Client, piece)));
                assert_eq!(facts, []);
                assert_eq!(stage == Stage::Login, observed, "{name} {length}");
            }
        }
    }

    #[test]
    fn an_observer_is_small() {
        assert!(std::mem::size_of::<Observer>() <= 64);
    }
}
