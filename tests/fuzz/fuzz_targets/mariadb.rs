//! The observer of MariaDB sessions: `cargo fuzz run --fuzz-dir tests/fuzz mariadb`.
//!
//! The input's first byte says how far the session has come; then each piece
//! has a byte before it, which tells its side and its length. The same promises
//! are checked by the bounded run in `tests/integration/observe_mariadb.rs`.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sessiond::protocol::mariadb::{self, Observer};
use sessiond::protocol::{Fact, MAX_HELD, Side, Stage};

/// A greeting that offers everything but compression and TLS.
const GREETING: &[u8] = b"\x42\0\0\0\x0a10.11.0-MariaDB\0\x07\0\0\0scramble\0\
    \xdf\xf7\x08\x02\0\xff\xfb\x15\0\0\0\0\0\0\xff\xff\xff\xffscrambled ag\0plug\0";

/// A login with all fields.
const LOGIN: &[u8] =
    b"\x3b\0\0\x01\x0d\x82\x18\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\
    ann\0\x03keyshop\0plug\0\x08\x03_os\x03dos";

const OK: &[u8] = b"\x07\0\0\x02\0\0\0\x02\0\0\0";

/// What an observer tells of pieces. Where it `looks_away`, bytes that it need not see pass
/// unseen.
fn observe<'a>(
    pieces: impl Iterator<Item = (Side, &'a [u8])>,
    looks_away: bool,
) -> (Vec<Fact>, Stage) {
    let mut observer = Observer::new();
    let (mut facts, mut stage) = (Vec::new(), Stage::Login);
    for (side, mut bytes) in pieces {
        if looks_away {
            let unseen = observer.blind(side).min(bytes.len());
            observer.skip(side, unseen);
            bytes = &bytes[unseen..];
        }
        let told = facts.len();
        let was_over = stage == Stage::Over;
        stage = observer.observe(side, bytes, &mut facts);
        assert!(observer.memory() <= MAX_HELD);
        assert!(!was_over || stage == Stage::Over && facts.len() == told);
        assert!(stage != Stage::Over || observer.memory() == 0);
    }
    (facts, stage)
}

fuzz_target!(|input: &[u8]| {
    let Some((begin, mut input)) = input.split_first() else {
        return;
    };
    let _ = mariadb::greeting(input);
    let _ = mariadb::first_packet(input);
    let login = [
        (Side::Server, GREETING),
        (Side::Client, LOGIN),
        (Side::Server, OK),
    ];
    let begin = usize::from(begin % 4);
    let mut pieces = login[..begin].to_vec();
    let (facts, stage) = observe(pieces.iter().copied(), false);
    assert_eq!(facts.len(), [0, 2, 2, 3][begin]);
    assert_eq!(stage == Stage::Open, begin == 3);
    while let Some((control, rest)) = input.split_first() {
        let side = [Side::Client, Side::Server][usize::from(control & 1)];
        let (piece, rest) = rest.split_at(rest.len().min(usize::from(control >> 1)));
        pieces.push((side, piece));
        input = rest;
    }
    let whole = observe(pieces.iter().copied(), false);
    let bytes = pieces
        .iter()
        .flat_map(|(side, bytes)| bytes.chunks(1).map(|byte| (*side, byte)));
    assert_eq!(observe(bytes, false), whole);
    assert_eq!(observe(pieces.iter().copied(), true), whole);
});
