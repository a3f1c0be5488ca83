//! A million mutated conversations with PostgreSQL: whatever is said, the
//! observer keeps its promises.

use sessiond::protocol::postgresql::{Kind, Observer, cancel, first_answer, opening};
use sessiond::protocol::{
    Fact, FirstAnswer, Login, MAX_ATTRIBUTES, MAX_HELD, MAX_NAME, Side, Stage,
};

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
const PIECES: [&[u8]; 22] = [
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
    b"X\0\0\0\x04",
    b"S\0\0\0\x1aapplication_name\0till\0",
    b"S\0\0\0\x16in_hot_standby\0on\0",
    b"E\0\0\0\x12C53300\0Mfull\0\0",
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

/// Lets an observer see a conversation, cut at random, and returns what it told. Where it
/// `looks_away`, bytes that it need not see pass unseen.
fn observe(
    conversation: &Conversation,
    looks_away: bool,
    random: &mut Random,
) -> (Vec<Fact>, Stage) {
    let mut observer = Observer::default();
    let (mut facts, mut stage) = (Vec::new(), Stage::Login);
    let longest = 1 + random.below(200);
    for (side, bytes) in conversation {
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let blind = observer.blind(*side);
            assert!(blind == 0 || stage != Stage::Login);
            if looks_away && blind > 0 {
                let unseen = 1 + random.below(blind.min(rest.len()));
                observer.skip(*side, unseen);
                rest = &rest[unseen..];
                continue;
            }
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

fn check_login(login: &Login) {
    assert!((1..=MAX_NAME).contains(&login.user.len()));
    // A replica's has none.
    let database = login.database.as_ref();
    assert!(database.is_none_or(|name| (1..=MAX_NAME).contains(&name.len())));
    let kept = login.attributes.iter().map(|(a, b)| a.len() + b.len());
    assert!(kept.sum::<usize>() <= MAX_ATTRIBUTES);
}

/// What is true of all that is told.
fn check(facts: &[Fact], stage: Stage) {
    let count = |is: fn(&Fact) -> bool| facts.iter().filter(|fact| is(fact)).count();
    let decisions = count(|fact| {
        let login = matches!(fact, Fact::LoggedIn(_));
        login || matches!(fact, Fact::Encrypted | Fact::Refused { .. })
    });
    assert!(decisions <= 1);
    assert!(count(|fact| matches!(fact, Fact::ConnectionId(_))) <= 1);
    assert!(count(|fact| matches!(fact, Fact::Quit)) <= 1);
    let is_in = facts.iter().any(|fact| matches!(fact, Fact::LoggedIn(_)));
    for (index, fact) in facts.iter().enumerate() {
        let is_last = index + 1 == facts.len();
        match fact {
            Fact::LoggedIn(login) => check_login(login),
            Fact::ConnectionId(id) => {
                let Some(Fact::CancelKey { process_id, key }) = facts.get(index + 1) else {
                    panic!("{facts:?}");
                };
                assert_eq!(*id, u64::from(*process_id));
                assert!((4..=256).contains(&key.len()));
            }
            Fact::CancelKey { .. } => assert!(index > 0),
            Fact::Encrypted => assert!(is_last && stage == Stage::Over),
            Fact::Refused { claimed, error } => {
                assert!(is_last && stage == Stage::Over);
                claimed.iter().for_each(check_login);
                assert!(error.code.len() <= 5 && error.message.len() <= 512);
                assert!(!error.message.contains(char::is_control));
            }
            Fact::ServerVersion(version) => assert!(version.len() <= 128),
            Fact::ApplicationName(name) => assert!(is_in && name.len() <= 3 * 1024),
            Fact::HotStandby(_) | Fact::Quit => {}
            Fact::Unclear | Fact::Database(_) => panic!("{fact:?}"),
        }
    }
    if is_in && facts.contains(&Fact::Quit) {
        assert_eq!(stage, Stage::Over);
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
    let mut seeds = SEEDS.map(conversation).to_vec();
    // One in which the client changes its name, before it ends the session.
    let mut renaming = seeds[0].clone();
    let renamed = b"S\0\0\0\x1aapplication_name\0till\0".to_vec();
    renaming.insert(renaming.len() - 1, (Side::Server, renamed));
    seeds.push(renaming);
    assert!(seeds[0].iter().any(|(_, bytes)| contains(bytes)));
    let mut random = Random::new(1);
    let (mut logged_in, mut refused, mut encrypted, mut nothing) = (0, 0, 0, 0);
    let (mut quit, mut version, mut standby, mut renamed) = (0, 0, 0, 0);
    for _ in 0..CONVERSATIONS {
        let mut conversation = seeds[random.below(seeds.len())].clone();
        for _ in 0..=random.below(4) {
            mutate(&mut conversation, &mut random);
        }
        let (facts, stage) = observe(&conversation, false, &mut random);
        // However the same bytes are cut, they tell the same.
        let looks_away = random.below(2) == 0;
        let again = observe(&conversation, looks_away, &mut random);
        assert_eq!(again, (facts.clone(), stage), "{looks_away}");
        check(&facts, stage);
        check_pieces(&conversation);
        let mut is_nothing = true;
        for fact in &facts {
            let count = match fact {
                Fact::LoggedIn(login) => {
                    let tells = contains(format!("{login:?}").as_bytes());
                    assert!(!tells || is_password_in_opening(&conversation), "{login:?}");
                    &mut logged_in
                }
                Fact::Refused { .. } => &mut refused,
                Fact::Encrypted => &mut encrypted,
                Fact::Quit => &mut quit,
                Fact::ServerVersion(_) => &mut version,
                Fact::HotStandby(_) => &mut standby,
                Fact::ApplicationName(_) => &mut renamed,
                _ => continue,
            };
            *count += 1;
            is_nothing = false;
        }
        nothing += usize::from(is_nothing);
    }
    // The mutations reach all ends.
    let counts = [
        logged_in, refused, encrypted, nothing, quit, version, standby, renamed,
    ];
    assert!(
        counts.iter().all(|count| *count > CONVERSATIONS / 100),
        "{counts:?}"
    );
}

/// What is true of a side's bytes on their own.
fn check_pieces(conversation: &Conversation) {
    for (side, bytes) in conversation {
        if *side == Side::Client {
            if let Some((_, key)) = cancel(bytes) {
                assert!((4..=256).contains(&key.len()));
            }
            continue;
        }
        match first_answer(bytes) {
            FirstAnswer::Partial => assert!(bytes.len() < 4096),
            FirstAnswer::Pass => {}
            FirstAnswer::Unavailable { error, length } => {
                assert!(length <= bytes.len().min(4096));
                assert!(error.code.len() <= 5 && error.message.len() <= 512);
            }
        }
    }
}
