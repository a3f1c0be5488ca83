//! A million mutated conversations of MariaDB: whatever comes, the observer
//! keeps its promises.

use sessiond::protocol::mariadb::{self, Observer};
use sessiond::protocol::{Fact, MAX_ATTRIBUTE_COUNT, MAX_HELD, MAX_NAME, Side, Stage};

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
const PIECES: [&[u8]; 16] = [
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

/// What an observer tells of a conversation that comes in pieces, and how far it comes.
fn observe(turns: &Conversation, longest: usize, random: &mut Random) -> (Vec<Fact>, Stage) {
    let mut observer = Observer::new();
    let mut facts = Vec::new();
    let mut stage = Stage::Login;
    for (side, bytes) in turns {
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
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

/// What is true of all that is told.
fn check(facts: &[Fact], stage: Stage, turns: &Conversation) {
    let decisions: usize = turns.iter().map(|(_, bytes)| bytes.len() / 11).sum();
    assert!(facts.len() <= 3 + decisions);
    for (index, fact) in facts.iter().enumerate() {
        let is_last = index + 1 == facts.len();
        match fact {
            Fact::ConnectionId(_) => assert_eq!(index, 0),
            Fact::Encrypted => assert!(index == 2 && is_last && stage == Stage::Over),
            Fact::ServerVersion(_) => assert_eq!(index, 1),
            Fact::Refused { .. } => {
                assert!(matches!(index, 0 | 2) && is_last && stage == Stage::Over)
            }
            Fact::Unclear => assert!(index > 2 && is_last && stage == Stage::Over),
            Fact::LoggedIn(login) => {
                assert!(index > 1 && stage != Stage::Login);
                // What is not UTF-8 takes up to three times its length.
                assert!(login.user.len() <= 3 * MAX_NAME);
                assert_ne!(login.database.as_deref(), Some(""));
                assert!(login.attributes.len() <= MAX_ATTRIBUTE_COUNT);
            }
            other => panic!("{other:?}"),
        }
    }
}

/// Whether somebody could read the password out of what is told.
fn betrays(facts: &[Fact]) -> bool {
    facts
        .iter()
        .any(|fact| format!("{fact:?}").contains(SECRET))
}

#[test]
fn a_million_mutated_conversations_tell_what_they_tell_and_no_secret() {
    let plain = in_plain_text();
    let mut seeds: Vec<Conversation> = RECORDED.into_iter().map(read).collect();
    seeds.extend([plain.clone(), plain]);
    let mut random = Random::new(2);
    let (mut logged_in, mut changed, mut refused, mut encrypted, mut unclear) = (0, 0, 0, 0, 0);
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
        let (facts, stage) = observe(&turns, 1 << random.below(15), &mut random);
        check(&facts, stage, &turns);
        assert!(!client_is_sane || !betrays(&facts), "{facts:?}");
        let again = observe(&turns, 1 << random.below(15), &mut random);
        assert_eq!(again, (facts, stage));
        let (facts, _) = again;
        let logins = |fact: &&Fact| matches!(fact, Fact::LoggedIn(_));
        match facts.iter().filter(logins).count() {
            0 => {}
            1 => logged_in += 1,
            _ => changed += 1,
        }
        match facts.last() {
            Some(Fact::Refused { .. }) => refused += 1,
            Some(Fact::Encrypted) => encrypted += 1,
            Some(Fact::Unclear) => unclear += 1,
            _ => {}
        }
        if let Some((Side::Server, bytes)) = turns.first() {
            let greeting = mariadb::greeting(bytes);
            assert!(!matches!(greeting, Ok(None)) || bytes.len() < 4 + 1024);
        }
    }
    // The mutations reach all ends.
    let counts = [logged_in, changed, refused, encrypted, unclear];
    assert!(
        counts.iter().all(|count| *count > CONVERSATIONS / 100),
        "{counts:?}"
    );
}
