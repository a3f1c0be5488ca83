//! What real clients and servers have said to each other, as it was recorded:
//! whole, cut in two at every byte, and byte by byte, it tells the same.

use super::{Greeting, NoGreeting, Observer, greeting};
use crate::protocol::{Fact, Login, MAX_HELD, ServerError, Side, Stage};

/// A recorded handshake by its name.
macro_rules! handshake {
    ($name:literal) => {
        read(include_str!(concat!(
            "../../../tests/handshakes/mariadb-",
            $name,
            ".txt"
        )))
    };
}

/// Both sides' bytes, in their order.
type Conversation = Vec<(Side, Vec<u8>)>;

/// Reads lines such as `C 0a35`; lines of one side behind each other are one turn.
fn read(text: &str) -> Conversation {
    let mut turns = Conversation::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (side, digits) = line.split_once(' ').unwrap();
        let side = if side == "C" {
            Side::Client
        } else {
            Side::Server
        };
        let byte = |at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap();
        let bytes = (0..digits.len()).step_by(2).map(byte);
        match turns.last_mut() {
            Some((last, turn)) if *last == side => turn.extend(bytes),
            _ => turns.push((side, bytes.collect())),
        }
    }
    turns
}

/// What an observer tells of pieces, and the stages that it goes through.
fn observe<'a>(pieces: impl Iterator<Item = (Side, &'a [u8])>) -> (Vec<Fact>, Vec<Stage>) {
    let mut observer = Observer::new();
    let (mut facts, mut stages) = (Vec::new(), Vec::new());
    for (side, bytes) in pieces {
        let stage = observer.observe(side, bytes, &mut facts);
        assert!(observer.memory() <= MAX_HELD);
        if stages.last() != Some(&stage) {
            stages.push(stage);
        }
    }
    assert_eq!(observer.memory(), 0);
    (facts, stages)
}

/// What a conversation tells, however it is cut.
fn facts(turns: &Conversation) -> (Vec<Fact>, Vec<Stage>) {
    let whole = || turns.iter().map(|(side, bytes)| (*side, bytes.as_slice()));
    let told = observe(whole());
    for (index, (side, bytes)) in turns.iter().enumerate() {
        for at in 1..bytes.len() {
            let (begin, end) = bytes.split_at(at);
            let before = whole().take(index);
            let cut = [(*side, begin), (*side, end)].into_iter();
            let pieces = before.chain(cut).chain(whole().skip(index + 1));
            assert_eq!(observe(pieces).0, told.0, "{index} {at}");
        }
    }
    let bytes = whole().flat_map(|(side, bytes)| bytes.chunks(1).map(move |byte| (side, byte)));
    let bytes = observe(bytes);
    assert_eq!(bytes.0, told.0);
    // Turn by turn, a stage may be passed over; byte by byte, it is not.
    (told.0, bytes.1)
}

fn greeted(turns: &Conversation) -> Greeting {
    greeting(&turns[0].1).unwrap().unwrap()
}

/// A login with the attributes of these names, whose values change from run to run.
fn check(fact: &Fact, user: &str, database: Option<&str>, names: &[&str]) -> Login {
    let Fact::LoggedIn(login) = fact else {
        panic!("{fact:?}");
    };
    assert_eq!(login.user, user);
    assert_eq!(login.database.as_deref(), database);
    let found: Vec<_> = login
        .attributes
        .iter()
        .map(|(name, _)| name.as_str())
        .collect();
    assert_eq!(found, names);
    login.clone()
}

/// What the mariadb client says of itself.
const CLIENT: [&str; 7] = [
    "_os",
    "_client_name",
    "_pid",
    "_client_version",
    "_platform",
    "program_name",
    "_server_host",
];

/// What its library says for another program.
const LIBRARY: [&str; 7] = [
    "_os",
    "_client_name",
    "_pid",
    "_client_version",
    "_platform",
    "_application",
    "_server_host",
];

/// Those of a session that the client ends.
const ENDED: [Stage; 3] = [Stage::Login, Stage::Open, Stage::Over];
const OVER: [Stage; 2] = [Stage::Login, Stage::Over];

#[test]
fn a_login_by_a_scrambled_password_is_seen() {
    let turns = handshake!("native");
    let (facts, stages) = facts(&turns);
    assert_eq!(stages, ENDED);
    let greeting = greeted(&turns);
    assert_eq!(greeting.version, "5.5.5-10.11.19-MariaDB-0+deb12u1");
    let [connection, version, login, Fact::Quit] = facts.as_slice() else {
        panic!("{facts:?}");
    };
    assert_eq!(
        *connection,
        Fact::ConnectionId(greeting.connection_id.into())
    );
    assert_eq!(
        *version,
        Fact::ServerVersion("10.11.19-MariaDB-0+deb12u1".into())
    );
    let login = check(login, "native", Some("shop"), &CLIENT);
    assert!(
        login
            .attributes
            .contains(&("program_name".into(), "mysql".into()))
    );
}

#[test]
fn a_login_by_another_plugin_is_seen() {
    let (facts, stages) = facts(&handshake!("ed25519"));
    assert_eq!((facts.len(), stages.as_slice()), (4, &ENDED[..]));
    check(&facts[2], "curve", None, &CLIENT);
}

#[test]
fn a_login_that_is_refused_is_reported_with_its_error() {
    for (turns, database, code, message) in [
        (
            handshake!("failed"),
            Some("shop"),
            "1045",
            "Access denied for user 'native'@'localhost' (using password: YES)",
        ),
        (
            handshake!("full-greeting"),
            None,
            "1040",
            "Too many connections",
        ),
    ] {
        let (facts, stages) = facts(&turns);
        let [_, _, Fact::Refused { claimed, error }] = facts.as_slice() else {
            panic!("{facts:?}");
        };
        let claimed = Fact::LoggedIn(claimed.clone().unwrap());
        check(&claimed, "native", database, &CLIENT);
        assert_eq!((&error.code[..], &error.message[..]), (code, message));
        assert_eq!(stages, OVER);
    }
}

#[test]
fn a_server_that_is_full_has_an_error_for_its_greeting() {
    let turns = handshake!("full");
    let error = ServerError {
        code: "1040".into(),
        message: "Too many connections".into(),
    };
    let claimed = None;
    assert_eq!(
        facts(&turns),
        (vec![Fact::Refused { claimed, error }], OVER.to_vec())
    );
    let error = greeting(&turns[0].1).unwrap_err();
    let expected = NoGreeting::Refused {
        code: 1040,
        message: "Too many connections".into(),
    };
    assert_eq!(error, expected);
}

#[test]
fn a_client_that_wants_tls_is_not_seen() {
    let (facts, stages) = facts(&handshake!("tls"));
    assert_eq!(facts[2..], [Fact::Encrypted]);
    assert_eq!(stages, OVER);
}

#[test]
fn of_a_session_with_compression_login_and_end_are_seen() {
    let (facts, stages) = facts(&handshake!("compressed"));
    assert_eq!(stages, ENDED);
    assert_eq!((facts.len(), facts.last()), (4, Some(&Fact::Quit)));
    check(&facts[2], "native", Some("shop"), &LIBRARY);
}

#[test]
fn a_change_of_user_is_seen() {
    for (turns, user, database) in [
        (handshake!("change"), "other", None),
        (handshake!("change-switch"), "curve", Some("shop")),
    ] {
        let (facts, stages) = facts(&turns);
        assert_eq!((facts.len(), stages.as_slice()), (5, &ENDED[..]));
        check(&facts[2], "native", Some("shop"), &LIBRARY);
        check(&facts[3], user, database, &LIBRARY);
    }
}

#[test]
fn a_change_of_user_that_is_refused_changes_nothing() {
    let (facts, stages) = facts(&handshake!("change-failed"));
    assert_eq!((facts.len(), stages.as_slice()), (4, &ENDED[..]));
    check(&facts[2], "native", Some("shop"), &LIBRARY);
}
