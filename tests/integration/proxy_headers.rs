//! A million mutated PROXY headers: whatever comes, the parser keeps its promises.

use sessiond::protocol::proxy::{self, Header, MAX_LENGTH};

use super::support::random::Random;

const HEADERS: usize = 1_000_000;

const SEEDS: [&[u8]; 10] = [
    b"PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\nGET / HTTP/1.1\r\n",
    b"PROXY TCP4 255.255.255.255 0.0.0.0 65535 0\r\n",
    b"PROXY TCP6 2001:db8::1 ::ffff:192.0.2.1 1 65535\r\n\0\0\0\x08",
    b"PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ::1 10000 9\r\n",
    b"PROXY UNKNOWN\r\n",
    b"PROXY UNKNOWN ffff::1 ffff::2 65535 65535\r\nbehind",
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x01\xc6\x33\x64\x02\xdc\x04\x01\xbbbehind",
    b"\r\n\r\n\0\r\nQUIT\n\x21\x21\0\x27\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01\
      \0\0\0\0\0\0\0\0\0\0\xff\xff\xc0\0\x02\x01\0\x01\xff\xff\x04\0\0",
    b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0",
    b"\r\n\r\n\0\r\nQUIT\n\x21\0\0\x03\xee\0\0",
];

/// Pieces that mean something to one reader or another.
const PIECES: [&[u8]; 16] = [
    b"\r\n",
    b"\n",
    b"\r",
    b" ",
    b"\0",
    b"0",
    b"+",
    b":",
    b"::",
    b".",
    b"TCP4 ",
    b"TCP6 ",
    b"UNKNOWN",
    b"PROXY ",
    b"\r\n\r\n\0\r\nQUIT\n",
    b"\xff",
];

/// What is true of every header that is taken.
fn check(header: Header, bytes: &[u8], random: &mut Random) {
    assert!(header.length <= bytes.len() && header.length <= MAX_LENGTH);
    let (own, behind) = bytes.split_at(header.length);
    // It does not depend on what comes behind it, and is not whole any earlier.
    let other = random.pick(&PIECES);
    for bytes in [own, &[own, other].concat(), &[own, own, behind].concat()] {
        assert_eq!(proxy::parse(bytes), Ok(Some(header)));
    }
    for cut in [random.below(header.length), header.length - 1] {
        assert_eq!(proxy::parse(&own[..cut]), Ok(None));
    }
    // A server is told what was read.
    let line = proxy::version_1(header.addresses.as_ref());
    let read = proxy::parse(line.as_bytes()).unwrap().unwrap();
    assert_eq!(read.length, line.len());
    assert_eq!(read.addresses, header.addresses);
}

#[test]
fn a_million_mutated_headers_are_taken_or_refused_and_nothing_in_between() {
    let mut random = Random::new(1);
    let (mut taken, mut refused, mut cut) = (0, 0, 0);
    for _ in 0..HEADERS {
        let mut bytes = random.pick(&SEEDS).to_vec();
        for _ in 0..random.below(4) {
            random.mutate(&mut bytes, &PIECES, MAX_LENGTH);
        }
        let at = random.below(bytes.len() + 1);
        let early = proxy::parse(&bytes[..at]);
        let answer = proxy::parse(&bytes);
        // What was said of the beginning is not taken back.
        assert!(early == Ok(None) || early == answer);
        match answer {
            Ok(Some(header)) => {
                check(header, &bytes, &mut random);
                taken += 1;
            }
            Ok(None) => {
                assert!(bytes.len() < MAX_LENGTH);
                cut += 1;
            }
            Err(malformed) => {
                let words = malformed.to_string();
                assert!(words.contains("PROXY header") && !words.ends_with('.'));
                refused += 1;
            }
        }
    }
    // The mutations reach all ends.
    assert!(
        taken > HEADERS / 10 && refused > HEADERS / 10 && cut > HEADERS / 50,
        "{taken} {refused} {cut}"
    );
}
