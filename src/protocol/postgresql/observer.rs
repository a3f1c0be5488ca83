//! Reads along with a session of PostgreSQL from its first byte to its last.
//!
//! Up to the server's decision only two things are held: the client's first
//! message until it is whole, and a message of the server's that is read. Between
//! them stands one byte that is no message, the answer to a request for
//! encryption; a client that does not wait for it is not observed, since its
//! bytes could be anything. After the login nothing is held, but for a parameter
//! that the server reports in pieces.

use std::ops::ControlFlow;

use super::answers::{After, Answers};
use super::open::Open;
use super::opening::{self, Encryption, Kind, MAX_OPENING, Unexpected};
use crate::protocol::held::hold;
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
    Answered(Box<Answers>),
    /// The login is over.
    Open(Open),
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
        let mut rest = bytes;
        while !rest.is_empty() {
            let flow = match (&mut self.state, side) {
                (State::Over, _) => break,
                (State::Opening(held), Side::Client) => open(held, &mut rest, facts),
                (State::Asked(encryption), Side::Server) => hear(*encryption, &mut rest, facts),
                (State::Answered(answers), Side::Server) => {
                    answers.read(&mut rest, facts).map_break(State::from)
                }
                (State::Answered(answers), Side::Client) => {
                    answers.note_client(rest, facts);
                    ControlFlow::Continue(())
                }
                (State::Open(open), side) => {
                    let flow = open.observe(side, rest, facts);
                    flow.map_break(|()| State::Over)
                }
                (State::Opening(_), Side::Server) | (State::Asked(_), Side::Client) => {
                    ControlFlow::Break(State::Over)
                }
            };
            match flow {
                ControlFlow::Continue(()) => break,
                ControlFlow::Break(state) => self.state = state,
            }
        }
        self.stage()
    }

    fn stage(&self) -> Stage {
        match self.state {
            State::Opening(_) | State::Asked(_) | State::Answered(_) => Stage::Login,
            State::Open(_) => Stage::Open,
            State::Over => Stage::Over,
        }
    }

    /// How many of a side's next bytes need not be shown: the rest of a message
    /// after the login, and everything where there is nothing more to see.
    #[must_use]
    pub fn blind(&self, side: Side) -> usize {
        match &self.state {
            State::Open(open) => open.blind(side),
            State::Over => usize::MAX,
            State::Opening(_) | State::Asked(_) | State::Answered(_) => 0,
        }
    }

    /// Skips bytes of a side that have passed unseen, no more than [`Self::blind`] says.
    pub fn skip(&mut self, side: Side, length: usize) {
        if let State::Open(open) = &mut self.state {
            open.skip(side, length);
        }
    }

    /// Bytes of memory that it holds beside itself.
    #[must_use]
    pub fn memory(&self) -> usize {
        match &self.state {
            State::Opening(held) => held.capacity(),
            State::Answered(answers) => size_of::<Answers>() + answers.memory(),
            State::Open(open) => open.memory(),
            State::Asked(_) | State::Over => 0,
        }
    }
}

impl From<After> for State {
    fn from(after: After) -> Self {
        match after {
            After::Open(open) => Self::Open(open),
            After::Over => Self::Over,
        }
    }
}

/// Takes more of the client's first message; breaks with the state after it,
/// where it is whole.
fn open(held: &mut Vec<u8>, bytes: &mut &[u8], facts: &mut Vec<Fact>) -> ControlFlow<State> {
    let before = held.len();
    let taken = bytes.len().min(MAX_OPENING - before);
    hold(held, &bytes[..taken], MAX_OPENING);
    let opening = match opening::opening(held) {
        Ok(None) => return ControlFlow::Continue(()),
        Ok(Some(opening)) => opening,
        Err(Unexpected::Tls) => {
            facts.push(Fact::Encrypted);
            return ControlFlow::Break(State::Over);
        }
        Err(Unexpected::Length(_) | Unexpected::Code(_)) => {
            return ControlFlow::Break(State::Over);
        }
    };
    *bytes = &bytes[opening.length - before..];
    ControlFlow::Break(match opening.kind {
        // A client that goes on without waiting is caught by the next state.
        Kind::EncryptionRequest(encryption) => State::Asked(encryption),
        Kind::Cancel => State::Over,
        Kind::Startup => match opening::login(&held[..opening.length]) {
            Some(login) => State::Answered(Box::new(Answers::to(Some(login)))),
            None => State::Over,
        },
    })
}

/// What the server's answer to a request for encryption leads to.
fn hear(asked: Encryption, answer: &mut &[u8], facts: &mut Vec<Fact>) -> ControlFlow<State> {
    ControlFlow::Break(match (asked, *answer) {
        (Encryption::Tls, [b'S', ..]) | (Encryption::Gssapi, [b'G', ..]) => {
            facts.push(Fact::Encrypted);
            State::Over
        }
        (_, [b'N', rest @ ..]) => {
            *answer = rest;
            State::default()
        }
        // A server that has no room, or knows no such request, may say so with an error.
        (_, [b'E', ..]) => State::Answered(Box::new(Answers::to(None))),
        _ => State::Over,
    })
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
        for ((facts, stage), version, id, login) in [
            (
                handshake!("scram"),
                "15.18 (Debian 15.18-0+deb12u1)",
                5234,
                logged_in("guest", "shop", Some("till")),
            ),
            (
                handshake!("clear-text"),
                "15.18 (Debian 15.18-0+deb12u1)",
                7693,
                logged_in("guest", "shop", Some("till")),
            ),
            (
                handshake!("scram-18"),
                "18.6",
                5338,
                logged_in("guest", "shop", Some("till")),
            ),
            (
                handshake!("encryption-declined"),
                "15.18 (Debian 15.18-0+deb12u1)",
                5238,
                logged_in("postgres", "postgres", Some("psql")),
            ),
        ] {
            let [.., Fact::CancelKey { process_id, key }, last, Fact::Quit] = &facts[..] else {
                panic!("{facts:?}");
            };
            assert_eq!((u64::from(*process_id), last), (id, &login));
            assert_eq!(key.len(), if version == "18.6" { 32 } else { 4 });
            for fact in [
                Fact::ConnectionId(id),
                Fact::HotStandby(false),
                Fact::ServerVersion(version.into()),
            ] {
                assert!(facts.contains(&fact), "{facts:?}");
            }
            assert_eq!((facts.len(), stage), (6, Stage::Over));
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
    fn a_server_may_refuse_instead_of_answering_whether_it_encrypts() {
        let error = message(b'E', b"SFATAL\0C57P03\0Mstarting up\0\0");
        for request in [TLS_REQUEST, GSS_REQUEST] {
            let (facts, stage) = conversation(&[(Client, request), (Server, &error)]);
            let error = ServerError {
                code: "57P03".into(),
                message: "starting up".into(),
            };
            let claimed = None;
            assert_eq!(facts, [Fact::Refused { claimed, error }]);
            assert_eq!(stage, Stage::Over);
        }
    }

    #[test]
    fn a_client_may_end_the_session_before_the_server_has_decided() {
        let terminate = message(b'X', b"");
        let ready = message(b'Z', b"I");
        let early = [&startup()[..], &message(b'Q', b"SELECT 1\0"), &terminate].concat();
        let login = logged_in("xxx", "xxx", None);
        let (facts, stage) = conversation(&[(Client, &early), (Server, &ready)]);
        assert_eq!((facts, stage), (vec![Fact::Quit, login], Stage::Over));
        let (facts, stage) = conversation(&[
            (Client, &startup()),
            (Server, &message(b'R', b"\0\0\0\x05salt")),
            (Client, &terminate),
        ]);
        assert_eq!((facts, stage), (vec![Fact::Quit], Stage::Login));
    }

    #[test]
    fn a_session_is_followed_to_its_end_with_its_messages_in_pieces() {
        let name = |name: &str| {
            let body = format!("application_name\0{name}\0");
            message(b'S', body.as_bytes())
        };
        let (facts, stage) = conversation(&[
            (Client, &startup()),
            (Server, &[message(b'Z', b"I"), name("first")].concat()),
            (Client, &message(b'Q', b"SET application_name = 'second'\0")),
            (Server, &name("second")),
            (Client, &message(b'd', &message(b'X', b""))),
            (Client, &message(b'X', b"")),
            (Server, &name("third")),
        ]);
        let named = |name: &str| Fact::ApplicationName(name.into());
        let login = logged_in("xxx", "xxx", None);
        assert_eq!(facts, [login, named("first"), named("second"), Fact::Quit]);
        assert_eq!(stage, Stage::Over);
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
    fn what_the_client_sends_after_its_startup_message_does_not_hide_the_login() {
        let early = [&startup()[..], b"p\0\0\0\x0bsecret\0"].concat();
        let ready = message(b'Z', b"I");
        let login = logged_in("xxx", "xxx", None);
        for (garbage, after) in [(&b""[..], Stage::Open), (&[0xff; 100], Stage::Over)] {
            let mut sent = vec![
                (Client, &early[..]),
                (Server, b"R\0\0\0\x08\0\0\0\0"),
                (Client, garbage),
            ];
            assert_eq!(conversation(&sent), (vec![], Stage::Login));
            sent.push((Server, &ready));
            assert_eq!(conversation(&sent), (vec![login.clone()], after));
        }
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
