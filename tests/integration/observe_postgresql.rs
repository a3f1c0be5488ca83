//! A million mutated conversations with PostgreSQL: whatever is said, the
//! observer keeps its promises.

use sessiond::protocol::postgresql::{Kind, Observer, opening};
use sessiond::protocol::{Fact, MAX_ATTRIBUTES, MAX_HELD, MAX_NAME, Side, Stage};

use super::support::handshake::{Conversation, conversation};
use super::support::random::Random;

const CONVERSATIONS: usize = 1_000_000;

const SEEDS: [&str; 10] = [
    include_str!("../handshakes/postgresql-clear-text.txt"),
    include_str!("../handshakes/postgresql-scram.txt"),
    include_str!("../handshakes/postgresql-scram-18.txt"),
    include_str!("../handshakes/postgresql-encryption-declined.txt"),
    include_str!("../handshakes/postgresql-gss-declined.txt"),
    include_str!("../handshakes/postgresql-negotiation-18.txt"),
    include_str!("../handshakes/postgresql-tls.txt"),
    include_str!("../handshakes/postgresql-cancel.txt"),
    include_str!("../handshakes/postgresql-unknown-database.txt"),
    include_str!("../handshakes/postgresql-too-many-clients.txt"),
];

/// The password in the first seed.
const PASSWORD: &str = "Marked-Password-7311";

/// Pieces that mean something to one side or the other.
const PIECES: [&[u8]; 18] = [
    b"\0",
    b"\0\0",
    b"\x16\x03\x01",
    b"\0\0\0\x08\x04\xd2\x16\x2f",
    b"\0\0\0\x08\x04\xd2\x16\x30",
    b"\0\0\0\x10\x04\xd2\x16\x2e\0\0\0\x01\0\0\0\x02",
    b"\0\0\0\x13\0\x03\0\0user\0ann\0\0",
    b"user\0ann\0",
    b"database\0shop\0",
    b"application_name\0till\0",
    b"\xff\xfe",
    b"S",
    b"N",
    b"R\0\0\0\x08\0\0\0\0",
    b"S\0\0\0\x08a\0b\0",
    b"K\0\0\0\x0c\0\0\0\x01\0\0\0\x02",
    b"Z\0\0\0\x05I",
    b"E\0\0\0\x05\0",
];

/// Changes what is said, or who says it when.
fn mutate(conversation: &mut Conversation, random: &mut Random) {
    let index = random.below(conversation.len());
    match random.below(40) {
        0 if conversation.len() > 1 => {
            conversation.remove(index);
        }
        1 => {
            let again = conversation[random.below(index + 1)].clone();
            conversation.insert(index, again);
        }
        2 => {
            let to = random.below(conversation.len());
            conversation.swap(index, to);
        }
        _ => mutate_bytes(&mut conversation[index].1, random),
    }
}

/// Changes what one side says; a first message may say how long it has become.
fn mutate_bytes(bytes: &mut Vec<u8>, random: &mut Random) {
    random.mutate(bytes, &PIECES, MAX_HELD);
    if random.below(8) == 0 {
        let length = u32::try_from(bytes.len()).unwrap().to_be_bytes();
        bytes.splice(..bytes.len().min(4), length);
    }
}

/// Lets an observer see a conversation, cut at random, and returns what it told.
fn observe(conversation: &Conversation, random: &mut Random) -> (Vec<Fact>, Stage) {
    let mut observer = Observer::default();
    let (mut facts, mut stage) = (Vec::new(), Stage::Login);
    let longest = 1 + random.below(200);
    for (side, bytes) in conversation {
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let (piece, behind) = rest.split_at(rest.len().min(1 + random.below(longest)));
            rest = behind;
            let (over, told) = (stage == Stage::Over, facts.len());
            stage = observer.observe(*side, piece, &mut facts);
            assert!(observer.memory() <= MAX_HELD);
            assert!(stage != Stage::Over || observer.memory() == 0);
            // When it is over, it stays over.
            assert!(!over || (stage == Stage::Over && facts.len() == told));
        }
    }
    (facts, stage)
}

/// What is true of all that is told.
fn check(facts: &[Fact], stage: Stage) {
    let ends = |fact: &Fact| !matches!(fact, Fact::ConnectionId(_));
    match facts {
        [] | [Fact::ConnectionId(_)] => {}
        [last] | [Fact::ConnectionId(_), last] => assert!(ends(last) && stage == Stage::Over),
        _ => panic!("{facts:?}"),
    }
    for fact in facts {
        match fact {
            Fact::LoggedIn(login) => {
                assert!((1..=MAX_NAME).contains(&login.user.len()));
                let database = login.database.as_ref().unwrap();
                assert!((1..=MAX_NAME).contains(&database.len()));
                let kept: usize = login
                    .attributes
                    .iter()
                    .map(|(a, b)| a.len() + b.len())
                    .sum();
                assert!(kept <= MAX_ATTRIBUTES);
            }
            Fact::ConnectionId(id) => assert!(u32::try_from(*id).is_ok()),
            Fact::Encrypted | Fact::Refused { .. } => {}
            other => panic!("{other:?}"),
        }
    }
}

/// Whether the client itself puts the password into the message that names it,
/// as it may when that has a wrong length.
fn is_password_in_opening(conversation: &Conversation) -> bool {
    let from_client = conversation
        .iter()
        .filter(|(side, _)| *side == Side::Client);
    let client: Vec<u8> = from_client.flat_map(|(_, bytes)| bytes.clone()).collect();
    let mut rest = &client[..];
    loop {
        match opening(rest) {
            Ok(Some(opening)) if opening.kind != Kind::Startup => rest = &rest[opening.length..],
            Ok(Some(opening)) => {
                return contains(&rest[..opening.length]);
            }
            _ => return false,
        }
    }
}

fn contains(bytes: &[u8]) -> bool {
    bytes
        .windows(PASSWORD.len())
        .any(|window| window == PASSWORD.as_bytes())
}

#[test]
fn a_million_mutated_conversations_are_observed_within_the_limits() {
    let seeds = SEEDS.map(conversation);
    assert!(seeds[0].iter().any(|(_, bytes)| contains(bytes)));
    let mut random = Random::new(1);
    let (mut logged_in, mut refused, mut encrypted, mut nothing) = (0, 0, 0, 0);
    for _ in 0..CONVERSATIONS {
        let mut conversation = seeds[random.below(seeds.len())].clone();
        for _ in 0..=random.below(4) {
            mutate(&mut conversation, &mut random);
        }
        let (facts, stage) = observe(&conversation, &mut random);
        // However the same bytes are cut, they tell the same.
        assert_eq!(observe(&conversation, &mut random), (facts.clone(), stage));
        check(&facts, stage);
        match facts.last() {
            Some(Fact::LoggedIn(login)) => {
                logged_in += 1;
                let tells = contains(format!("{login:?}").as_bytes());
                assert!(!tells || is_password_in_opening(&conversation), "{login:?}");
            }
            Some(Fact::Refused { .. }) => refused += 1,
            Some(Fact::Encrypted) => encrypted += 1,
            _ => nothing += 1,
        }
    }
    // The mutations reach all ends.
    let few = [logged_in, refused, encrypted, nothing]
        .into_iter()
        .min()
        .unwrap();
    assert!(
        few > CONVERSATIONS / 100,
        "{logged_in} {refused} {encrypted} {nothing}"
    );
}
