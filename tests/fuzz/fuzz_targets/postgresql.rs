//! PostgreSQL's observer: `cargo fuzz run --fuzz-dir tests/fuzz postgresql`.
//!
//! The input is a conversation: a byte says who speaks (its lowest bit) and how
//! many bytes follow (the others). The same promises are checked by the bounded
//! run in `tests/integration/observe_postgresql.rs`.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sessiond::protocol::postgresql::{Observer, opening};
use sessiond::protocol::{Fact, MAX_HELD, Side, Stage};

fn observe<'a>(pieces: impl Iterator<Item = (Side, &'a [u8])>) -> (Vec<Fact>, Stage) {
    let mut observer = Observer::default();
    let (mut facts, mut stage) = (Vec::new(), Stage::Login);
    for (side, bytes) in pieces {
        let (over, told) = (stage == Stage::Over, facts.len());
        stage = observer.observe(side, bytes, &mut facts);
        assert!(observer.memory() <= MAX_HELD);
        assert!(stage != Stage::Over || observer.memory() == 0);
        assert!(!over || (stage == Stage::Over && facts.len() == told));
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
    let whole = observe(pieces.iter().copied());
    let single = pieces
        .iter()
        .flat_map(|&(side, piece)| piece.chunks(1).map(move |byte| (side, byte)));
    assert_eq!(observe(single), whole);
    assert!(whole.0.len() <= 2);
    // An opening is judged by its own bytes alone.
    if let Ok(Some(first)) = opening(bytes) {
        assert_eq!(opening(&bytes[..first.length]), Ok(Some(first)));
        assert_eq!(opening(&bytes[..first.length - 1]), Ok(None));
    }
});
