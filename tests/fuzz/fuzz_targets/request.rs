//! The door's request parser: `cargo fuzz run --fuzz-dir tests/fuzz request`.
//!
//! The same promises are checked by the bounded run in
//! `tests/integration/mutation.rs`.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sessiond::admin::door::request::{self, MAX_HEAD};

fuzz_target!(|bytes: &[u8]| {
    let bytes = &bytes[..bytes.len().min(2 * MAX_HEAD)];
    if let Ok(Some(head)) = request::parse(bytes) {
        assert!(head.length <= bytes.len() && head.length <= MAX_HEAD);
        assert!(
            head.target.starts_with('/') && head.target.bytes().all(|byte| byte.is_ascii_graphic())
        );
        assert!(!head.method.contains(|c: char| !c.is_ascii_graphic()));
        assert_eq!(request::parse(&bytes[..head.length]), Ok(Some(head)));
    }
});
