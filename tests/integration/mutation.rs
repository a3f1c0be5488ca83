//! A million mutated request heads: whatever comes, the parser keeps its promises.

use sessiond::admin::door::request::{self, Body, Head, MAX_HEAD};
use sessiond::admin::refusal::Refusal;

use super::support::random::Random;

const HEADS: usize = 1_000_000;

const SEEDS: [&str; 6] = [
    "GET /v1/sessions HTTP/1.1\r\nHost: localhost:8989\r\nAccept: */*\r\n\r\n",
    "HEAD /v1/sessions/4?pretty HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET / HTTP/1.1\r\n",
    "DELETE /v1/sessions/4?ttl=5s HTTP/1.1\r\nHost: [::1]\r\nAuthorization: Bearer 0123\r\nContent-Length: 3\r\n\r\nabc",
    "PUT http://gateway.example/v1 HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 16384\r\n\r\n",
    "\r\nOPTIONS * HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close, TE\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
];

/// Pieces that mean something to one reader or another.
const PIECES: [&[u8]; 24] = [
    b"\r\n",
    b"\n",
    b"\r",
    b"\0",
    b" ",
    b"\t",
    b":",
    b"\r\n ",
    b"\r\n\r\n",
    b"Host: b\r\n",
    b"Content-Length: 5\r\n",
    b"Content-Length: 5, 5\r\n",
    b"Content-Length: +5\r\n",
    b"Content-Length: 18446744073709551616\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding : chunked\r\n",
    b"Expect: 100-continue\r\n",
    b"Authorization: Basic YQ==\r\n",
    b"HTTP/1.1",
    b"HTTP/2.0",
    b"http://",
    b"%0d%0a",
    b"\xc3\xa9",
    b"\xff",
];

/// What is true of every head that is let through.
fn check(head: &Head<'_>, bytes: &[u8]) {
    let graphic = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
    assert!(head.length <= bytes.len() && head.length <= MAX_HEAD);
    assert!(bytes[..head.length].ends_with(b"\r\n\r\n"));
    assert!(!head.method.is_empty() && graphic(head.method) && !head.method.contains([':', '/']));
    assert!(head.target.starts_with('/') && graphic(head.target) && !head.target.contains('#'));
    assert!(
        head.host
            .is_none_or(|host| graphic(host) && !host.contains(['/', '"', '@', '\\']))
    );
    let plain = |byte| matches!(byte, b'\t' | b' '..=b'~');
    assert!(
        head.fields
            .iter()
            .all(|(_, value)| value.bytes().all(plain))
    );
    assert!(matches!(
        head.body,
        Body::Length(0..=16_384) | Body::Chunked
    ));
    // A careless reader finds no other length and no other coding.
    let text = String::from_utf8_lossy(&bytes[..head.length]).to_ascii_lowercase();
    for line in text.split('\n') {
        assert!(line.is_empty() || line.ends_with('\r'));
        let (name, value) = line.split_once(':').unwrap_or_default();
        if name.trim() == "transfer-encoding" {
            assert_eq!((value.trim(), head.body), ("chunked", Body::Chunked));
        }
        if name.trim() == "content-length" {
            assert_eq!(value.trim().parse().map(Body::Length), Ok(head.body));
        }
    }
    // It does not depend on what comes behind it.
    assert_eq!(
        request::parse(&bytes[..head.length]).unwrap().as_ref(),
        Some(head)
    );
}

fn check_refusal(refusal: &Refusal) {
    let (status, title) = refusal.status();
    assert!(
        matches!(status, 400 | 413 | 414 | 417 | 431 | 501 | 505),
        "{status}"
    );
    assert!(!title.is_empty() && !refusal.detail().is_empty());
}

#[test]
fn a_million_mutated_heads_are_read_or_refused_and_nothing_in_between() {
    let mut random = Random::new(1);
    let (mut read, mut refused, mut cut) = (0, 0, 0);
    for _ in 0..HEADS {
        let mut bytes = random.pick(&SEEDS).as_bytes().to_vec();
        for _ in 0..=random.below(4) {
            random.mutate(&mut bytes, &PIECES, 2 * MAX_HEAD);
        }
        match request::parse(&bytes) {
            Ok(Some(head)) => {
                check(&head, &bytes);
                read += 1;
            }
            Ok(None) => {
                // What is not whole yet is not longer than a head may be.
                assert!(bytes.len() < MAX_HEAD);
                cut += 1;
            }
            Err(refusal) => {
                check_refusal(&refusal);
                refused += 1;
            }
        }
        // What is wrong at first stays wrong, whatever follows.
        let at = random.below(bytes.len() + 1);
        if request::parse(&bytes[..at]).is_err() {
            assert!(request::parse(&bytes).is_err());
        }
    }
    // The mutations reach all ends.
    assert!(
        read > HEADS / 20 && refused > HEADS / 10 && cut > HEADS / 50,
        "{read} {refused} {cut}"
    );
}
