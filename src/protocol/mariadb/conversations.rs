//! Conversations made by hand: each turn that a session can take, and each limit.

use super::capability::{CONNECT_WITH_DATABASE, MYSQL, PROTOCOL_41, SECURE_CONNECTION, TLS};
use super::*;
use crate::protocol::{Login, MAX_NAME, ServerError};

const OK: &[u8] = b"\0\0\0\x02\0\0\0";
const ERROR: &[u8] = b"\xff\x15\x04#28000Access denied";
const SWITCH: &[u8] = b"\xfemysql_clear_password\0";
const BOB: &[u8] = b"\x11bob\0\x03keyshop\0";
const PLAIN: u64 = MYSQL | PROTOCOL_41 | SECURE_CONNECTION | CONNECT_WITH_DATABASE;

/// A conversation, and what has been told of it.
#[derive(Default)]
struct Talk {
    observer: Observer,
    facts: Vec<Fact>,
}

impl Talk {
    fn client(&mut self, sequence: u8, body: &[u8]) -> Stage {
        self.say(Side::Client, &packet(sequence, body))
    }

    fn server(&mut self, sequence: u8, body: &[u8]) -> Stage {
        self.say(Side::Server, &packet(sequence, body))
    }

    fn say(&mut self, side: Side, bytes: &[u8]) -> Stage {
        let stage = self.observer.observe(side, bytes, &mut self.facts);
        assert!(self.observer.memory() <= MAX_HELD);
        assert!(stage != Stage::Over || self.observer.memory() == 0);
        stage
    }

    /// One in which the server has greeted.
    fn greeted() -> Self {
        let mut talk = Self::default();
        assert_eq!(talk.server(0, &greeting(u32::MAX)), Stage::Login);
        let version = Fact::ServerVersion("10.11".into());
        assert_eq!(talk.told(), [Fact::ConnectionId(7), version]);
        talk
    }

    /// One in which the client has asked for a login.
    fn asked(capabilities: u64) -> Self {
        let mut talk = Self::greeted();
        let body = response(capabilities, b"ann\0\x03keyshop\0");
        assert_eq!(talk.client(1, &body), Stage::Login);
        assert!(talk.observer.memory() > 0);
        talk
    }

    /// One in which the server has agreed.
    fn open() -> Self {
        let mut talk = Self::asked(PLAIN);
        assert_eq!(talk.server(2, OK), Stage::Open);
        assert_eq!(talk.told(), [ann()]);
        assert_eq!(talk.observer.memory(), 0);
        talk
    }

    /// One in which the client has asked for a change of its user.
    fn changing() -> Self {
        let mut talk = Self::open();
        assert_eq!(talk.client(0, BOB), Stage::Open);
        assert!(talk.observer.memory() > 0);
        talk
    }

    /// The facts since the last time.
    fn told(&mut self) -> Vec<Fact> {
        std::mem::take(&mut self.facts)
    }
}

fn packet(sequence: u8, body: &[u8]) -> Vec<u8> {
    let [low, middle, high, _] = u32::try_from(body.len()).unwrap().to_le_bytes();
    [&[low, middle, high, sequence], body].concat()
}

fn greeting(capabilities: u32) -> Vec<u8> {
    let [a, b, c, d] = (capabilities & !u32::try_from(COMPRESS).unwrap()).to_le_bytes();
    let fixed = [
        &b"\x0a5.5.5-10.11\0\x07\0\0\0scramble\0"[..],
        &[a, b, 8, 2, 0, c, d, 21],
        &[0; 10],
    ];
    [&fixed.concat()[..], b"scrambled ag\0plugin\0"].concat()
}

fn response(capabilities: u64, fields: &[u8]) -> Vec<u8> {
    let low = u32::try_from(capabilities).unwrap().to_le_bytes();
    [&low[..], &[0; 28], fields].concat()
}

fn logged_in(user: &str) -> Fact {
    Fact::LoggedIn(Login {
        user: user.into(),
        database: Some("shop".into()),
        attributes: Vec::new(),
    })
}

fn ann() -> Fact {
    logged_in("ann")
}

fn refused(claimed: Option<&str>, code: &str, message: &str) -> Fact {
    let claimed = claimed.map(|user| match logged_in(user) {
        Fact::LoggedIn(login) => login,
        other => panic!("{other:?}"),
    });
    let error = ServerError {
        code: code.into(),
        message: message.into(),
    };
    Fact::Refused { claimed, error }
}

#[test]
fn an_observer_is_small() {
    assert!(size_of::<Observer>() <= 160, "{}", size_of::<Observer>());
}

#[test]
fn nobody_is_logged_in_before_the_server_has_agreed() {
    let mut talk = Talk::asked(PLAIN);
    let ok = packet(2, OK);
    let (last, before) = ok.split_last().unwrap();
    assert_eq!(talk.say(Side::Server, before), Stage::Login);
    assert_eq!(talk.told(), []);
    assert_eq!(talk.say(Side::Server, &[*last]), Stage::Open);
    assert_eq!(talk.told(), [ann()]);
}

#[test]
fn a_server_may_ask_for_more_before_it_decides() {
    let mut talk = Talk::asked(PLAIN);
    talk.server(2, SWITCH);
    let held = talk.observer.memory();
    talk.client(3, b"a password\0");
    // Two in a row are the server's right.
    talk.server(4, b"\x01\x03");
    talk.server(5, b"\x04Second password:");
    talk.client(6, b"");
    assert_eq!(talk.observer.memory(), held);
    assert_eq!(talk.told(), []);
    assert_eq!(talk.server(7, OK), Stage::Open);
    assert_eq!(talk.told(), [ann()]);
}

#[test]
fn a_server_that_refuses_ends_it() {
    let mut talk = Talk::asked(PLAIN);
    assert_eq!(talk.server(2, ERROR), Stage::Over);
    assert_eq!(talk.told(), [refused(Some("ann"), "1045", "Access denied")]);
    let mut talk = Talk::default();
    assert_eq!(talk.server(0, b"\xff\x10\x04Full"), Stage::Over);
    assert_eq!(talk.told(), [refused(None, "1040", "Full")]);
    // From there on nothing counts.
    talk.server(0, &greeting(u32::MAX));
    assert_eq!(talk.client(1, &response(PLAIN, b"ann\0\0")), Stage::Over);
    assert_eq!(talk.told(), []);
}

#[test]
fn a_server_may_refuse_after_some_rounds_or_before_the_client_has_answered() {
    let mut talk = Talk::asked(PLAIN);
    talk.server(2, SWITCH);
    talk.client(3, b"a password\0");
    talk.server(4, b"\x01\x03");
    let error = packet(5, ERROR);
    let (last, before) = error.split_last().unwrap();
    assert_eq!(talk.say(Side::Server, before), Stage::Login);
    assert_eq!(talk.say(Side::Client, b"what is this?"), Stage::Login);
    assert_eq!(talk.told(), []);
    assert_eq!(talk.say(Side::Server, &[*last]), Stage::Over);
    assert_eq!(talk.told(), [refused(Some("ann"), "1045", "Access denied")]);
    for client in [&b""[..], b"\x09\0"] {
        let mut talk = Talk::greeted();
        talk.say(Side::Client, client);
        assert_eq!(talk.server(1, b"\xff\x1d\x04#08S01Down"), Stage::Over);
        assert_eq!(talk.told(), [refused(None, "1053", "Down")]);
    }
    let mut talk = Talk::asked(PLAIN);
    let long = [b"\xff\x15\x04", b"x".repeat(9_000).as_slice()].concat();
    assert_eq!(talk.server(2, &long), Stage::Over);
    let message = "x".repeat(MAX_ERROR - 3);
    assert_eq!(talk.told(), [refused(Some("ann"), "1045", &message)]);
}

#[test]
fn what_is_encrypted_is_not_looked_at() {
    let mut talk = Talk::greeted();
    assert_eq!(talk.client(1, &response(PLAIN | TLS, b"")), Stage::Over);
    assert_eq!(talk.told(), [Fact::Encrypted]);
}

#[test]
fn what_is_compressed_is_followed_to_its_end() {
    // This server compresses by zstd and not by zlib.
    let mut talk = Talk::asked(PLAIN | ZSTD);
    assert_eq!(talk.server(2, OK), Stage::Open);
    assert_eq!(talk.told(), [ann()]);
    assert!(talk.observer.memory() <= 512, "{}", talk.observer.memory());
    let quit = b"\x05\0\0\0\0\0\0\x01\0\0\0\x01";
    assert_eq!(talk.say(Side::Client, quit), Stage::Over);
    assert_eq!(talk.told(), [Fact::Quit]);
    let mut talk = Talk::asked(PLAIN | COMPRESS);
    assert_eq!(talk.server(2, OK), Stage::Open);
    assert_eq!(talk.say(Side::Client, quit), Stage::Open);
}

#[test]
fn a_session_ends_when_the_client_says_so() {
    let quit = packet(0, b"\x01");
    let over = |mut talk: Talk| {
        talk.told();
        let (last, before) = quit.split_last().unwrap();
        assert_eq!(talk.say(Side::Client, before), Stage::Open);
        assert_eq!(talk.told(), []);
        assert_eq!(talk.say(Side::Client, &[*last]), Stage::Over);
        assert_eq!(talk.told(), [Fact::Quit]);
    };
    over(Talk::open());
    let mut talk = Talk::open();
    talk.client(0, b"\x03SELECT");
    talk.server(1, b"\x02");
    over(talk);
    let mut talk = Talk::changing();
    talk.server(1, OK);
    over(talk);
    // Not in a query, nor with a byte more.
    let mut talk = Talk::open();
    talk.client(0, &[b"\x03", &quit[..]].concat());
    talk.client(0, b"\x01\0");
    assert_eq!(talk.told(), []);
}

#[test]
fn a_client_that_ends_the_session_at_once_has_logged_in_all_the_same() {
    let login = response(PLAIN, b"ann\0\x03keyshop\0");
    let both = [packet(1, &login), packet(0, b"\x01")].concat();
    for (answer, fact) in [
        (OK, ann()),
        (ERROR, refused(Some("ann"), "1045", "Access denied")),
    ] {
        for cut in 0..both.len() {
            let mut talk = Talk::greeted();
            talk.say(Side::Client, &both[..cut]);
            assert_eq!(talk.told(), []);
            assert_eq!(talk.say(Side::Client, &both[cut..]), Stage::Login);
            assert_eq!(talk.told(), [Fact::Quit]);
            assert_eq!(talk.say(Side::Client, b"more"), Stage::Login);
            assert_eq!(talk.server(2, answer), Stage::Over);
            assert_eq!(talk.told(), std::slice::from_ref(&fact));
        }
    }
    let mut talk = Talk::changing();
    assert_eq!(talk.client(0, b"\x01"), Stage::Open);
    assert_eq!(talk.server(1, OK), Stage::Over);
    assert_eq!(talk.told(), [Fact::Quit, logged_in("bob")]);
    let mut talk = Talk::changing();
    talk.client(0, b"\x01");
    assert_eq!(talk.server(1, ERROR), Stage::Over);
    assert_eq!(talk.told(), [Fact::Quit]);
}

#[test]
fn what_a_client_says_before_it_is_greeted_counts_from_its_first_byte() {
    let login = packet(1, &response(PLAIN, b"ann\0\x03keyshop\0"));
    let greeting = packet(0, &greeting(u32::MAX));
    for cut in 0..login.len() {
        let mut talk = Talk::default();
        assert_eq!(talk.say(Side::Client, &login[..cut]), Stage::Login);
        talk.say(Side::Server, &greeting[..9]);
        talk.say(Side::Client, &login[cut..]);
        assert_eq!(talk.told(), []);
        talk.say(Side::Server, &greeting[9..]);
        talk.server(2, OK);
        assert_eq!(talk.told()[2..], [ann()]);
    }
    let mut talk = Talk::default();
    talk.say(Side::Client, b"GET / HTTP/1.1\r\n\r\n");
    assert_eq!(talk.say(Side::Server, &greeting), Stage::Over);
    assert_eq!(talk.told().len(), 2);
    let mut talk = Talk::default();
    talk.say(Side::Client, &login);
    talk.server(0, b"\xff\x10\x04Full");
    assert_eq!(talk.told(), [refused(None, "1040", "Full")]);
    let mut talk = Talk::default();
    for _ in 0..MAX_EARLY {
        assert_eq!(talk.say(Side::Client, b"x"), Stage::Login);
        assert!(talk.observer.memory() <= MAX_EARLY);
    }
    assert_eq!(talk.say(Side::Client, b"x"), Stage::Over);
    assert_eq!(talk.told(), []);
}

#[test]
fn a_database_changes_when_the_server_has_agreed() {
    let named = || {
        let mut talk = Talk::open();
        let command = packet(0, b"\x02stock");
        talk.say(Side::Client, &command[..7]);
        talk.say(Side::Client, &command[7..]);
        assert!(talk.observer.memory() > 0);
        assert_eq!(talk.told(), []);
        talk
    };
    let stock = || Fact::Database(Some("stock".into()));
    let lost = || Fact::Database(None);
    for (sequence, body, expected) in [
        (1, OK, vec![stock()]),
        (1, ERROR, vec![]),
        (1, b"\x01", vec![lost()]),
        (2, OK, vec![lost()]),
    ] {
        let mut talk = named();
        assert_eq!(talk.server(sequence, body), Stage::Open);
        assert_eq!(talk.told(), expected);
        assert_eq!(talk.observer.memory(), 0);
        // Further packets change nothing.
        talk.server(sequence + 1, OK);
        assert_eq!(talk.told(), []);
    }
    // Not before the packet is whole, which may come in pieces.
    let mut talk = named();
    let ok = packet(1, OK);
    for byte in &ok[..ok.len() - 1] {
        talk.say(Side::Server, &[*byte]);
        assert_eq!(talk.told(), []);
    }
    talk.say(Side::Server, &ok[ok.len() - 1..]);
    assert_eq!((talk.told(), talk.observer.memory()), (vec![stock()], 0));
    // A command that is not waited for, without an answer and with one.
    let mut talk = named();
    talk.client(0, b"\x19\x01\0\0\0");
    talk.server(1, OK);
    assert_eq!(talk.told(), [stock()]);
    let mut talk = named();
    talk.client(0, b"\x0e");
    assert_eq!(talk.told(), [lost()]);
    talk.client(0, b"\x02shop");
    assert_eq!(talk.told(), [lost()]);
    talk.server(1, OK);
    assert_eq!(talk.told(), []);
    // A change of user that does not wait.
    let mut talk = named();
    talk.client(0, BOB);
    assert_eq!(talk.told(), [lost(), Fact::Unclear]);
    // Names that are too long, or none.
    let mut talk = Talk::open();
    talk.client(0, &[b"\x02", vec![b'n'; MAX_NAME + 1].as_slice()].concat());
    talk.server(1, OK);
    talk.client(0, b"\x02");
    talk.server(1, ERROR);
    assert_eq!(talk.told(), []);
}

#[test]
fn an_ok_packet_that_answers_a_statement_may_name_the_database() {
    let ok = |status: u8, name: &str| {
        let length = u8::try_from(name.len()).unwrap();
        let begin = [0, 0, 0, 2 | status, 0x40, 0, 0, 0];
        let state = [length + 3, 1, length + 1, length];
        [&begin[..], &state, name.as_bytes()].concat()
    };
    let tracked = || {
        let mut talk = Talk::asked(PLAIN | SESSION_TRACK);
        talk.server(2, OK);
        talk.told();
        talk
    };
    let named = |name: &str| Fact::Database(Some(name.into()));
    for command in [b"\x03USE stock", b"\x17whatever?", b"\xfawhatever?"] {
        let packet = packet(1, &ok(0, "stock"));
        for cut in 0..packet.len() {
            let mut talk = tracked();
            talk.client(0, command);
            talk.say(Side::Server, &packet[..cut]);
            assert_eq!(talk.told(), []);
            talk.say(Side::Server, &packet[cut..]);
            assert_eq!(
                (talk.told(), talk.observer.memory()),
                (vec![named("stock")], 0)
            );
        }
    }
    // None any more; by name and by state at once; one result behind the other.
    let mut talk = tracked();
    talk.client(0, b"\x03DROP DATABASE stock");
    talk.server(1, &ok(0, ""));
    assert_eq!(talk.told(), [Fact::Database(None)]);
    talk.client(0, b"\x02STOCK");
    talk.server(1, &ok(0, "stock"));
    assert_eq!(talk.told(), [named("stock")]);
    talk.client(0, b"\x03USE a; USE b; SELECT 1; USE c");
    talk.server(1, &ok(8, "a"));
    talk.server(2, &ok(8, "b"));
    talk.server(3, b"\x01");
    talk.server(4, &ok(0, "row"));
    assert_eq!(talk.told(), [named("a"), named("b")]);
    // Not without the capability, not of other commands, not later, not where it is tangled.
    let mut talk = Talk::open();
    talk.client(0, b"\x03USE stock");
    talk.server(1, &ok(0, "stock"));
    assert_eq!(talk.told(), []);
    let mut talk = tracked();
    talk.client(0, b"\x16SELECT 1");
    talk.server(1, &ok(0, "stock"));
    talk.client(0, b"\x03SELECT 1");
    talk.server(1, b"\x01");
    talk.server(2, &ok(0, "stock"));
    talk.client(0, b"\x03SELECT 1");
    talk.client(0, b"\x03SELECT 1");
    talk.server(1, &ok(0, "stock"));
    assert_eq!(talk.told(), []);
}

#[test]
fn bodies_may_pass_unseen_but_not_those_that_are_read() {
    let mut talk = Talk::open();
    let query = packet(0, &[b"\x03", vec![b'q'; 999].as_slice()].concat());
    talk.say(Side::Client, &query[..500]);
    assert_eq!(talk.observer.blind(Side::Client), 504);
    assert_eq!(talk.observer.blind(Side::Server), 0);
    talk.observer.skip(Side::Client, 500);
    talk.observer.skip(Side::Client, 4);
    talk.server(1, b"\x01");
    let row = packet(2, &[7; 900]);
    talk.say(Side::Server, &row[..5]);
    assert_eq!(talk.observer.blind(Side::Server), 899);
    talk.observer.skip(Side::Server, 899);
    talk.say(Side::Client, &packet(0, b"\x02stock")[..6]);
    assert_eq!(talk.observer.blind(Side::Client), 0);
    talk.say(Side::Client, &packet(0, b"\x02stock")[6..]);
    talk.say(Side::Server, &packet(1, OK)[..6]);
    assert_eq!(talk.observer.blind(Side::Server), 0);
    talk.say(Side::Server, &packet(1, OK)[6..]);
    assert_eq!(talk.told(), [Fact::Database(Some("stock".into()))]);
    talk.client(0, BOB);
    assert_eq!(talk.server(1, OK), Stage::Open);
    assert_eq!(talk.told(), [logged_in("bob")]);
    talk.client(0, b"\x01");
    assert_eq!(talk.observer.blind(Side::Server), usize::MAX);
    assert_eq!(Talk::default().observer.blind(Side::Server), 0);
}

#[test]
fn what_is_not_a_login_is_not_looked_at() {
    let over = |mut talk: Talk, side, bytes: &[u8]| {
        talk.told();
        assert_eq!(talk.say(side, bytes), Stage::Over, "{side:?} {bytes:?}");
        assert_eq!(talk.told(), []);
    };
    let client = Side::Client;
    let server = Side::Server;
    over(Talk::default(), server, b"SSH-2.0");
    over(Talk::default(), server, &packet(1, &greeting(u32::MAX)));
    over(Talk::default(), server, &packet(0, b""));
    over(Talk::default(), server, &packet(0, &greeting(0)[..30]));
    over(Talk::default(), server, b"\x01\x04\0\0\x0a");
    over(Talk::greeted(), server, &packet(1, OK));
    over(Talk::greeted(), server, &packet(1, b"\xff\x10"));
    let login = response(PLAIN, b"ann\0\0\0");
    over(Talk::greeted(), client, &packet(0, &login));
    over(Talk::greeted(), client, &packet(1, &login[..34]));
    over(Talk::greeted(), client, &packet(1, b"\x85\xa6\0\0ann\0key"));
    let [low, middle, high, _] = u32::try_from(MAX_LOGIN + 1).unwrap().to_le_bytes();
    over(Talk::greeted(), client, &[low, middle, high, 1, 0x85]);
    let long = response(
        PLAIN,
        &[vec![b'n'; MAX_NAME + 1], b"\0\0\0".to_vec()].concat(),
    );
    over(Talk::greeted(), client, &packet(1, &long));
}

#[test]
fn an_exchange_in_which_a_number_or_a_turn_is_wrong_is_not_looked_at() {
    for (side, sequence, body) in [
        (Side::Server, 3, OK),
        (Side::Server, 1, OK),
        (Side::Server, 2, &OK[..6]),
        (Side::Server, 2, b"\xff\x15"),
        (Side::Client, 2, b"key"),
        (Side::Client, 0, b"\x03SELECT 1"),
    ] {
        let mut talk = Talk::asked(PLAIN);
        assert_eq!(talk.say(side, &packet(sequence, body)), Stage::Over);
        assert_eq!(talk.told(), []);
    }
    let mut talk = Talk::asked(PLAIN);
    assert_eq!(talk.say(Side::Server, b"\xff\xff\xff\x02\xfe"), Stage::Over);
    // The client answers what the server has not said to the end.
    let mut talk = Talk::asked(PLAIN);
    let switch = packet(2, SWITCH);
    talk.say(Side::Server, &switch[..switch.len() - 1]);
    assert_eq!(talk.client(3, b"key"), Stage::Over);
    // The client begins another packet in the middle of the decision.
    let mut talk = Talk::asked(PLAIN);
    let ok = packet(2, OK);
    let (last, before) = ok.split_last().unwrap();
    talk.say(Side::Server, before);
    assert_eq!(talk.say(Side::Client, b"\x09"), Stage::Login);
    assert_eq!(talk.say(Side::Server, &[*last]), Stage::Over);
    assert_eq!(talk.told(), []);
    // The server decides in the middle of a client's packet.
    let mut talk = Talk::asked(PLAIN);
    talk.server(2, SWITCH);
    talk.say(Side::Client, b"\x09");
    assert_eq!(talk.server(3, OK), Stage::Over);
    assert_eq!(talk.told(), []);
}

#[test]
fn a_login_of_all_that_may_be_held_is_read_and_a_longer_one_is_not() {
    for (length, expected) in [(MAX_LOGIN, Stage::Login), (MAX_LOGIN + 1, Stage::Over)] {
        let mut body = response(PLAIN, b"ann\0\0shop\0");
        body.resize(length, 0);
        let mut talk = Talk::greeted();
        assert_eq!(talk.client(1, &body), expected);
    }
}

#[test]
fn a_user_changes_when_the_server_has_agreed() {
    let mut talk = Talk::changing();
    assert_eq!(talk.server(1, OK), Stage::Open);
    assert_eq!(talk.told(), [logged_in("bob")]);
    assert_eq!(talk.observer.memory(), 0);
    talk.client(0, b"\x11ann\0\x03keyshop\0");
    talk.server(1, SWITCH);
    talk.client(2, b"a password\0");
    assert_eq!(talk.told(), []);
    assert_eq!(talk.server(3, OK), Stage::Open);
    assert_eq!(talk.told(), [ann()]);
}

#[test]
fn a_user_stays_when_the_server_has_refused() {
    let mut talk = Talk::changing();
    assert_eq!(talk.server(1, ERROR), Stage::Open);
    assert_eq!((talk.told(), talk.observer.memory()), (vec![], 0));
    talk.client(0, BOB);
    assert_eq!(talk.server(1, OK), Stage::Open);
    assert_eq!(talk.told(), [logged_in("bob")]);
}

#[test]
fn queries_and_their_results_leave_the_user_as_it_is() {
    let mut talk = Talk::open();
    for _ in 0..3 {
        talk.client(0, b"\x03SELECT '\x11bob\0\0shop\0'");
        talk.client(1, BOB);
        talk.say(Side::Server, b"whatever");
        assert_eq!(talk.observer.memory(), 0);
    }
    assert_eq!(talk.server(1, OK), Stage::Open);
    assert_eq!(talk.told(), []);
}

#[test]
fn a_file_that_looks_like_a_change_of_user_leaves_the_user_as_it_is() {
    let mut talk = Talk::open();
    talk.client(0, b"\x03LOAD DATA LOCAL INFILE");
    talk.server(1, b"\xfbfile");
    for sequence in (2..=255).chain(0..=3) {
        assert_eq!(talk.client(sequence, BOB), Stage::Open);
    }
    talk.client(4, b"");
    assert_eq!(talk.server(5, OK), Stage::Open);
    assert_eq!(talk.told(), []);
    talk.client(0, BOB);
    assert_eq!(talk.server(1, OK), Stage::Open);
    assert_eq!(talk.told(), [logged_in("bob")]);
}

#[test]
fn nobody_knows_the_user_when_the_answer_to_a_change_is_unclear() {
    let unclear = |mut talk: Talk, side, bytes: &[u8]| {
        assert_eq!(talk.say(side, bytes), Stage::Over, "{side:?} {bytes:?}");
        assert_eq!(talk.told(), [Fact::Unclear]);
        assert_eq!(talk.say(side, bytes), Stage::Over);
        assert_eq!(talk.told(), []);
    };
    let server = Side::Server;
    unclear(Talk::changing(), server, &packet(2, OK));
    unclear(Talk::changing(), server, &packet(1, &OK[..6]));
    unclear(Talk::changing(), server, &packet(1, b"\x01"));
    unclear(Talk::changing(), server, &packet(1, b""));
    unclear(Talk::changing(), server, b"\xff\xff\xff\x01\xfe");
    // The client goes on before the server has answered.
    let client = Side::Client;
    unclear(Talk::changing(), client, &packet(0, b"\x0e"));
    unclear(Talk::changing(), client, &packet(1, b"\x0e"));
    let mut talk = Talk::changing();
    talk.server(1, SWITCH);
    unclear(talk, client, &packet(0, b"\x0e"));
    // The server answers to what is not whole.
    let mut talk = Talk::open();
    talk.say(client, &packet(0, BOB)[..9]);
    unclear(talk, server, b"\x07");
    // The server has said more than one answer.
    let mut talk = Talk::changing();
    talk.server(1, ERROR);
    unclear(talk, server, b"\x07");
    let mut talk = Talk::changing();
    talk.server(1, OK);
    talk.told();
    unclear(talk, server, b"\x07");
    // It goes on in another packet.
    unclear(Talk::open(), client, b"\xff\xff\xff\0\x11");
}

#[test]
fn nobody_knows_the_user_when_a_change_has_not_waited_for_an_earlier_answer() {
    let mut talk = Talk::open();
    talk.client(0, b"\x03DO SLEEP(5)");
    assert_eq!(talk.client(0, BOB), Stage::Open);
    assert_eq!(talk.told(), [Fact::Unclear]);
    talk.server(1, OK);
    talk.server(1, SWITCH);
    talk.client(2, b"a password\0");
    assert_eq!(talk.server(3, OK), Stage::Open);
    // It stays so, but the end is seen.
    assert_eq!(talk.client(0, BOB), Stage::Open);
    assert_eq!(talk.server(1, OK), Stage::Open);
    assert_eq!(talk.told(), [Fact::Unclear]);
    assert_eq!(talk.client(0, b"\x01"), Stage::Over);
    assert_eq!(talk.told(), [Fact::Quit]);
}

#[test]
fn a_change_of_user_that_cannot_be_read_is_a_matter_of_its_answer() {
    let long = [b"\x11", vec![b'n'; MAX_HELD].as_slice()].concat();
    let long_name = [b"\x11", vec![b'n'; MAX_NAME + 1].as_slice(), b"\0\0\0"].concat();
    for body in [&b"\x11"[..], b"\x11bob\0\x09key", &long_name, &long] {
        let mut talk = Talk::open();
        assert_eq!(talk.client(0, body), Stage::Open);
        assert_eq!(talk.observer.memory(), 0);
        assert_eq!(talk.server(1, ERROR), Stage::Open);
        assert_eq!(talk.told(), []);
        talk.client(0, body);
        assert_eq!(talk.server(1, OK), Stage::Over);
        assert_eq!(talk.told(), [Fact::Unclear]);
    }
}

#[test]
fn what_says_nothing_changes_nothing() {
    let mut talk = Talk::default();
    assert_eq!(talk.say(Side::Client, b""), Stage::Login);
    let mut talk = Talk::changing();
    assert_eq!(talk.say(Side::Client, b""), Stage::Open);
    talk.server(1, OK);
    assert_eq!(talk.say(Side::Server, b""), Stage::Open);
    assert_eq!(talk.told(), [logged_in("bob")]);
}
