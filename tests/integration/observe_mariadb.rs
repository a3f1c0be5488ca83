//! A million mutated conversations of MariaDB: whatever comes, the observer
//! keeps its promises.

use sessiond::protocol::mariadb::{self, Observer};
use sessiond::protocol::{
    Fact, FirstAnswer, Login, MAX_ATTRIBUTE_COUNT, MAX_HELD, MAX_NAME, Side, Stage,
};

use super::support::handshake::{Conversation, conversation};
use super::support::random::Random;

const CONVERSATIONS: usize = 1_000_000;

/// Recorded ones (`tests/handshakes`).
const RECORDED: [&str; 10] = [
    include_str!("../handshakes/mariadb-native.txt"),
    include_str!("../handshakes/mariadb-ed25519.txt"),
    include_str!("../handshakes/mariadb-failed.txt"),
    include_str!("../handshakes/mariadb-tls.txt"),
    include_str!("../handshakes/mariadb-full.txt"),
    include_str!("../handshakes/mariadb-full-greeting.txt"),
    include_str!("../handshakes/mariadb-compressed.txt"),
    include_str!("../handshakes/mariadb-change.txt"),
    include_str!("../handshakes/mariadb-change-switch.txt"),
    include_str!("../handshakes/mariadb-change-failed.txt"),
];

/// Stands for the password, wherever one is sent.
const SECRET: &str = "open-sesame";

/// Pieces that mean something: heads of packets, commands, decisions, lengths.
const PIECES: [&[u8]; 23] = [
    b"\0",
    b"\x11",
    b"\xfb",
    b"\xfc\xff\xff",
    b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff",
    b"\xff\xff\xff\0",
    b"\xff\xff\xff\0\x11",
    b"\0\0\0\0",
    b"\0\0\0\xff",
    b"\x01\0\0\0\x0e",
    b"\x05\0\0\0\x11a\0\0\0",
    b"\x0a\0\0\0\x11bob\0\x01kdb",
    b"\x07\0\0\x01\0\0\0\x02\0\0\0",
    b"\x07\0\0\x02\0\0\0\x02\0\0\0",
    b"\x09\0\0\x01\xff\x15\x04#28000",
    b"\x01\0\0\x01\xfe",
    // COM_QUIT, COM_INIT_DB, an OK packet that names a database; frames.
    b"\x01\0\0\0\x01",
    b"\x05\0\0\0\x02shop",
    b"\x10\0\0\x01\0\0\0\x02\x40\0\0\0\x07\x01\x05\x04shop",
    b"\x05\0\0\0\0\0\0\x01\0\0\0\x01",
    b"\x09\0\0\0\0\0\0\x05\0\0\0\x02shop",
    b"\x0b\0\0\x01\0\0\0\x07\0\0\x01\0\0\0\x02\0\0\0",
    b"\x10\0\0\0\x40\0\0\x78\x9c\x01\x05\0\xfa\xff\x3c\0\0\0\x11abcd",
];

/// Reads a recording; what one side says without an answer is one turn.
fn read(text: &str) -> Conversation {
    let mut turns = Conversation::new();
    for (side, bytes) in conversation(text) {
        match turns.last_mut() {
            Some((last, turn)) if *last == side => turn.extend(bytes),
            _ => turns.push((side, bytes)),
        }
    }
    turns
}

fn packet(sequence: u8, body: &[&[u8]]) -> Vec<u8> {
    let body = body.concat();
    let [low, high] = u16::try_from(body.len()).unwrap().to_le_bytes();
    [&[low, high, 0, sequence], body.as_slice()].concat()
}

/// A conversation in which the password stands in plain text, in all places
/// where a client sends one.
fn in_plain_text() -> Conversation {
    let greeting = read(RECORDED[0]).swap_remove(0);
    let secret = SECRET.as_bytes();
    let length = [u8::try_from(secret.len()).unwrap()];
    let response = [&0x0018_820d_u32.to_le_bytes()[..], &[0; 28]].concat();
    let attributes = b"\x0a\x03_os\x05Linux";
    let plugin = b"mysql_clear_password\0";
    let ok = b"\0\0\0\x02\0\0\0";
    vec![
        greeting,
        (
            Side::Client,
            packet(
                1,
                &[
                    &response, b"ann\0", &length, secret, b"shop\0", plugin, attributes,
                ],
            ),
        ),
        (Side::Server, packet(2, &[b"\xfe", plugin])),
        (Side::Client, packet(3, &[secret, b"\0"])),
        (Side::Server, packet(4, &[ok])),
        (Side::Client, packet(0, &[b"\x0e"])),
        (Side::Server, packet(1, &[ok])),
        (
            Side::Client,
            packet(
                0,
                &[
                    b"\x11bob\0",
                    &length,
                    secret,
                    b"shop\0\x21\0",
                    plugin,
                    attributes,
                ],
            ),
        ),
        (Side::Server, packet(1, &[b"\xfe", plugin])),
        (Side::Client, packet(2, &[secret, b"\0"])),
        (Side::Server, packet(3, &[ok])),
        (Side::Client, packet(0, &[b"\x03SELECT '", secret, b"'"])),
        (Side::Server, b"\x01\0\0\x01\x01".to_vec()),
        (Side::Client, packet(0, &[b"\x02stock"])),
        (Side::Server, packet(1, &[ok])),
        (Side::Client, packet(0, &[b"\x01"])),
    ]
}

/// Changes what one side says; a packet's length or its sequence number now and then.
fn mutate(bytes: &mut Vec<u8>, random: &mut Random) {
    if random.below(8) == 0 && !bytes.is_empty() {
        let field = [0, 0, 1, 2, 3, 3][random.below(6)].min(bytes.len() - 1);
        bytes[field] = bytes[field].wrapping_add([255, 1, 2][random.below(3)]);
    } else {
        random.mutate(bytes, &PIECES, 2 * MAX_HELD);
    }
}

/// Changes the order of the turns, or how often they come.
fn rearrange(turns: &mut Conversation, random: &mut Random) {
    let at = random.below(turns.len());
    let other = random.below(turns.len());
    match random.below(4) {
        0 => turns.insert(other, turns[at].clone()),
        1 if turns.len() > 1 => drop(turns.remove(at)),
        2 => turns.swap(at, other),
        // One side speaks while the other has not ended.
        _ => {
            let (side, bytes) = &mut turns[at];
            let rest = (*side, bytes.split_off(random.below(bytes.len() + 1)));
            turns.insert(turns.len().min(at + 2), rest);
        }
    }
}

/// What an observer tells of a conversation that comes in pieces, and how far it comes. Where
/// it `looks_away`, bytes that it need not see pass unseen.
fn observe(
    turns: &Conversation,
    longest: usize,
    looks_away: bool,
    random: &mut Random,
) -> (Vec<Fact>, Stage) {
    let mut observer = Observer::new();
    let mut facts = Vec::new();
    let mut stage = Stage::Login;
    for (side, bytes) in turns {
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            let blind = observer.blind(*side);
            assert!(blind == 0 || stage != Stage::Login);
            if looks_away && blind > 0 {
                let unseen = rest.len().min(1 + random.below(blind.min(rest.len())));
                observer.skip(*side, unseen);
                rest = &rest[unseen..];
                continue;
            }
            let (piece, behind) = rest.split_at(rest.len().min(1 + random.below(longest)));
            rest = behind;
            let (told, before) = (facts.len(), stage);
            stage = observer.observe(*side, piece, &mut facts);
            assert!(observer.memory() <= MAX_HELD);
            match before {
                Stage::Login => {}
                Stage::Open => assert_ne!(stage, Stage::Login),
                Stage::Over => assert_eq!((stage, facts.len()), (before, told)),
            }
            assert!(stage != Stage::Over || observer.memory() == 0);
        }
    }
    (facts, stage)
}

fn check_login(login: &Login) {
    assert!(login.user.len() <= MAX_NAME);
    assert_ne!(login.database.as_deref(), Some(""));
    assert!(login.attributes.len() <= MAX_ATTRIBUTE_COUNT);
}

/// What is true of all that is told.
fn check(facts: &[Fact], stage: Stage, turns: &Conversation) {
    let bytes: usize = turns.iter().map(|(_, bytes)| bytes.len()).sum();
    // No fact has fewer bytes than a command without anything.
    assert!(facts.len() <= 3 + bytes / 5);
    let is_in = |fact: &Fact| matches!(fact, Fact::LoggedIn(_));
    let first_login = facts.iter().position(is_in);
    for (index, fact) in facts.iter().enumerate() {
        let is_last = index + 1 == facts.len();
        let is_logged_in = first_login.is_some_and(|first| first < index);
        match fact {
            Fact::ConnectionId(_) => assert_eq!(index, 0),
            Fact::ServerVersion(version) => {
                assert_eq!(index, 1);
                assert!(!version.contains(char::is_control) && (1..=128).contains(&version.len()));
            }
            Fact::Encrypted => assert!(matches!(index, 1 | 2) && is_last && stage == Stage::Over),
            Fact::Refused { claimed, error } => {
                assert!(is_last && stage == Stage::Over && first_login.is_none());
                claimed.iter().for_each(check_login);
                assert!(error.code.len() <= 5 && error.message.len() <= 512);
                assert!(!error.message.contains(char::is_control));
            }
            Fact::Unclear => assert!(is_logged_in),
            Fact::LoggedIn(login) => {
                assert!(index > 0 && stage != Stage::Login);
                check_login(login);
            }
            Fact::Database(name) => {
                assert!(is_logged_in);
                assert!(
                    name.as_ref()
                        .is_none_or(|name| (1..=3 * MAX_NAME).contains(&name.len()))
                );
            }
            // The server's decision may follow.
            Fact::Quit => {
                assert!(index > 0 && index + 2 >= facts.len());
                assert!(is_last || !matches!(facts[index + 1], Fact::Quit));
            }
            Fact::ApplicationName(_) | Fact::CancelKey { .. } | Fact::HotStandby(_) => {
                panic!("{fact:?}")
            }
        }
    }
}

/// Whether somebody could read the password out of what is told.
fn betrays(facts: &[Fact]) -> bool {
    facts
        .iter()
        .any(|fact| format!("{fact:?}").contains(SECRET))
}

/// What is true of a server's first packet, whatever it is.
fn check_first(first: FirstAnswer, bytes: &[u8], limit: usize) {
    match first {
        FirstAnswer::Partial => assert!(bytes.len() < limit),
        FirstAnswer::Pass => {}
        FirstAnswer::Unavailable { error, length } => {
            assert!(length <= bytes.len().min(limit));
            assert!(error.code.len() <= 5 && error.message.len() <= 512);
        }
    }
}

#[test]
fn a_million_mutated_conversations_tell_what_they_tell_and_no_secret() {
    let plain = in_plain_text();
    let mut seeds: Vec<Conversation> = RECORDED.into_iter().map(read).collect();
    seeds.extend([plain.clone(), plain]);
    let mut random = Random::new(2);
    let (mut logged_in, mut changed, mut refused, mut encrypted, mut unclear) = (0, 0, 0, 0, 0);
    let (mut named, mut quit) = (0, 0);
    for _ in 0..CONVERSATIONS {
        let mut turns = seeds[random.below(seeds.len())].clone();
        // A client that says where its password ends keeps it for itself, whatever the
        // server says. One that does not may have it taken for a database's name.
        let client_is_sane = random.below(2) == 0;
        for _ in 0..random.below(4) {
            let at = random.below(turns.len());
            let (side, bytes) = &mut turns[at];
            match *side {
                Side::Client if client_is_sane => {}
                _ => mutate(bytes, &mut random),
            }
        }
        if !client_is_sane && random.below(4) == 0 {
            rearrange(&mut turns, &mut random);
        }
        let (facts, stage) = observe(&turns, 1 << random.below(15), false, &mut random);
        check(&facts, stage, &turns);
        assert!(!client_is_sane || !betrays(&facts), "{facts:?}");
        let looks_away = random.below(2) == 0;
        let again = observe(&turns, 1 << random.below(15), looks_away, &mut random);
        assert_eq!(again, (facts, stage), "{looks_away}");
        let (facts, _) = again;
        let logins = |fact: &&Fact| matches!(fact, Fact::LoggedIn(_));
        match facts.iter().filter(logins).count() {
            0 => {}
            1 => logged_in += 1,
            _ => changed += 1,
        }
        named += usize::from(
            facts
                .iter()
                .any(|fact| matches!(fact, Fact::Database(Some(_)))),
        );
        unclear += usize::from(facts.contains(&Fact::Unclear));
        quit += usize::from(facts.contains(&Fact::Quit));
        match facts.last() {
            Some(Fact::Refused { .. }) => refused += 1,
            Some(Fact::Encrypted) => encrypted += 1,
            _ => {}
        }
        if let Some((Side::Server, bytes)) = turns.first() {
            let greeting = mariadb::greeting(bytes);
            assert!(!matches!(greeting, Ok(None)) || bytes.len() < 4 + 1024);
            check_first(mariadb::first_packet(bytes), bytes, 4096);
        }
    }
    // The mutations reach all ends.
    let counts = [logged_in, changed, refused, encrypted, unclear, named, quit];
    assert!(
        counts.iter().all(|count| *count > CONVERSATIONS / 100),
        "{counts:?}"
    );
}
