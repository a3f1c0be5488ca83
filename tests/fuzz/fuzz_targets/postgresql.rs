//! PostgreSQL's observer: `cargo fuzz run --fuzz-dir tests/fuzz postgresql`.
//!
//! The input is a conversation: a byte says who speaks (its lowest bit) and how
//! many bytes follow (the others). The same promises are checked by the bounded
//! run in `tests/integration/observe_postgresql.rs`.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sessiond::protocol::postgresql::{Observer, first_answer, opening};
use sessiond::protocol::{Fact, FirstAnswer, MAX_HELD, Side, Stage};

/// What an observer tells of pieces. Where it `looks_away`, bytes that it need not see pass
/// unseen.
fn observe<'a>(
    pieces: impl Iterator<Item = (Side, &'a [u8])>,
    looks_away: bool,
) -> (Vec<Fact>, Stage) {
    let mut observer = Observer::default();
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

fuzz_target!(|bytes: &[u8]| {
    let mut pieces = Vec::new();
    let mut rest = bytes;
    while let Some((&head, behind)) = rest.split_first() {
        let side = if head & 1 == 0 {
            Side::Client
        } else {
            Side::Server
        };
        let (piece, behind) = behind.split_at(behind.len().min(usize::from(head >> 1)));
        pieces.push((side, piece));
        rest = behind;
    }
    let whole = observe(pieces.iter().copied(), false);
    let single = pieces
        .iter()
        .flat_map(|&(side, piece)| piece.chunks(1).map(move |byte| (side, byte)));
    assert_eq!(observe(single, false), whole);
    assert_eq!(observe(pieces.iter().copied(), true), whole);
    if let FirstAnswer::Unavailable { length, .. } = first_answer(bytes) {
        assert_eq!(first_answer(&bytes[..length]), first_answer(bytes));
        assert_eq!(first_answer(&bytes[..length - 1]), FirstAnswer::Partial);
    }
    // An opening is judged by its own bytes alone.
    if let Ok(Some(first)) = opening(bytes) {
        assert_eq!(opening(&bytes[..first.length]), Ok(Some(first)));
        assert_eq!(opening(&bytes[..first.length - 1]), Ok(None));
    }
});
