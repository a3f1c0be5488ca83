//! The PROXY protocol's parser: `cargo fuzz run --fuzz-dir tests/fuzz proxy`.
//!
//! The same promises are checked by the bounded run in
//! `tests/integration/proxy_headers.rs`.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sessiond::protocol::proxy::{self, MAX_LENGTH};

fuzz_target!(|bytes: &[u8]| {
    let answer = proxy::parse(bytes);
    for cut in 0..bytes.len().min(2 * MAX_LENGTH) {
        let early = proxy::parse(&bytes[..cut]);
        assert!(early == Ok(None) || early == answer);
    }
    match answer {
        Ok(Some(header)) => {
            assert!(header.length <= bytes.len() && header.length <= MAX_LENGTH);
            assert_eq!(proxy::parse(&bytes[..header.length]), answer);
            assert_eq!(proxy::parse(&bytes[..header.length - 1]), Ok(None));
            let line = proxy::version_1(header.addresses.as_ref());
            let read = proxy::parse(line.as_bytes()).unwrap().unwrap();
            assert_eq!(
                (read.length, read.addresses),
                (line.len(), header.addresses)
            );
        }
        Ok(None) => assert!(bytes.len() < MAX_LENGTH),
        Err(malformed) => assert!(!malformed.to_string().is_empty()),
    }
});
