//! Reads one request head, strictly by RFC 9112. Pure: bytes in, a [`Head`] or
//! a [`Refusal`] out.
//!
//! Whatever two readers could take for different things is refused, since the
//! next reader is another program: a line that ends in LF alone, white space
//! around a field's name, a folded line, a length that is not one number.
//! What is wrong is said as soon as it is seen, not when the head is whole.

use std::net::Ipv6Addr;
use std::ops::Range;

use crate::admin::refusal::Refusal;
use crate::admin::transport::Transport;

/// The longest head, request line and all fields together.
///
/// Browsers send a server on `localhost` the cookies of all others there.
pub const MAX_HEAD: usize = 16 * 1024;

/// The most header fields. A browser sends about 15, and proxies add theirs.
pub(super) const MAX_FIELDS: usize = 100;

/// The longest body. No resource reads one.
pub(super) const MAX_BODY: u64 = 16 * 1024;

/// A request head that can be forwarded.
#[derive(Debug, PartialEq, Eq)]
pub struct Head<'a> {
    /// A token.
    pub method: &'a str,
    /// Path and query, from the slash on; visible ASCII characters only.
    pub target: &'a str,
    /// Host and port that it is for; an HTTP/1.0 request may have none, and that of a
    /// client of the unix socket none that could stand in a link.
    pub host: Option<&'a str>,
    /// The fields that a handler may read, of visible ASCII characters and blanks.
    pub fields: Vec<(&'static str, &'a str)>,
    /// What follows.
    pub body: Body,
    /// Whether the client waits for `100 Continue` before it sends the body.
    pub expects_continue: bool,
    /// Whether another request may follow.
    pub keep_alive: bool,
    /// Whether the client can read a body in chunks, as HTTP/1.1 demands.
    pub knows_chunks: bool,
    /// How many bytes the head takes.
    pub length: usize,
}

/// How long the body of a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// So many bytes; 16 KiB at most.
    Length(usize),
    /// Until the last chunk says so (RFC 9112, section 7.1).
    Chunked,
}

/// Reads the head at the front of `bytes`, of a client of TCP; `None` where it is not
/// whole yet.
pub fn parse(bytes: &[u8]) -> Result<Option<Head<'_>>, Refusal> {
    parse_from(Transport::Tcp, bytes)
}

/// The same, of a client that has come in some way.
pub(super) fn parse_from(transport: Transport, bytes: &[u8]) -> Result<Option<Head<'_>>, Refusal> {
    let mut lines = Lines { bytes, at: 0 };
    let mut line = lines.next(too_long_line)?;
    // One empty line before a request is left over from the one before (RFC 9112, section 2.2).
    if line == Some(b"") {
        line = lines.next(too_long_line)?;
    }
    let Some(line) = line else { return Ok(None) };
    let line = std::str::from_utf8(line)
        .map_err(|_| bad("the request line has other than ASCII characters"))?;
    let request_line = RequestLine::parse(line)?;
    let mut fields = Fields::default();
    loop {
        match lines.next(too_long_head)? {
            None => return Ok(None),
            Some(b"") => break,
            Some(line) => fields.add(line, transport)?,
        }
    }
    finish(&request_line, fields, lines.at, transport).map(Some)
}

/// Takes the lines off the front of a head.
struct Lines<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Lines<'a> {
    /// The next line without its end; `None` where it is not whole yet.
    fn next(&mut self, too_long: fn() -> Refusal) -> Result<Option<&'a [u8]>, Refusal> {
        let rest = &self.bytes[self.at..];
        let end = rest
            .iter()
            .position(|&byte| byte < b' ' && byte != b'\t' || byte == 0x7f);
        let (line, ends) = match end {
            None => (rest, false),
            Some(end) => match &rest[end..] {
                [b'\r', b'\n', ..] => (&rest[..end], true),
                [b'\r'] => (&rest[..end], false),
                [b'\r' | b'\n', ..] => return Err(bad("a line does not end in CR LF")),
                _ => return Err(bad("the request has a control character in its head")),
            },
        };
        if !ends {
            return if self.bytes.len() >= MAX_HEAD {
                Err(too_long())
            } else {
                Ok(None)
            };
        }
        if self.at + line.len() + 2 > MAX_HEAD {
            return Err(too_long());
        }
        self.at += line.len() + 2;
        Ok(Some(line))
    }
}

fn too_long_line() -> Refusal {
    Refusal::UriTooLong(format!("the request line is longer than {MAX_HEAD} bytes"))
}

fn too_long_head() -> Refusal {
    Refusal::HeadTooLarge(format!(
        "the request line and the header fields are longer than {MAX_HEAD} bytes together"
    ))
}

pub(super) fn bad(detail: impl Into<String>) -> Refusal {
    Refusal::BadRequest(detail.into())
}

/// The first line.
struct RequestLine<'a> {
    method: &'a str,
    target: &'a str,
    /// The host that the target names, in the absolute form.
    host: Option<&'a str>,
    version: Version,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Version {
    Http10,
    Http11,
}

impl<'a> RequestLine<'a> {
    fn parse(line: &'a str) -> Result<Self, Refusal> {
        let mut parts = line.split(' ');
        let (Some(method), Some(target), Some(version), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(bad(
                "the request line is not a method, a target and a version with one space between them",
            ));
        };
        let version = Version::parse(version)?;
        if !is_token(method) {
            return Err(bad("the method is not a token"));
        }
        let (host, target) = split_target(method, target)?;
        Ok(Self {
            method,
            target,
            host,
            version,
        })
    }
}

impl Version {
    fn parse(text: &str) -> Result<Self, Refusal> {
        match text.strip_prefix("HTTP/").map(str::as_bytes) {
            Some(b"1.0") => Ok(Self::Http10),
            // A later minor version means what this one means (RFC 9110, section 2.5).
            Some([b'1', b'.', b'1'..=b'9']) => Ok(Self::Http11),
            Some([b'0'..=b'9', b'.', b'0'..=b'9']) => Err(Refusal::VersionNotSupported(format!(
                "{text} is not spoken here; HTTP/1.1 is"
            ))),
            _ => Err(bad(
                "the request line does not end in a version such as HTTP/1.1",
            )),
        }
    }
}

const SCHEME: &str = "http://";

/// Host and target, the latter from its slash on (RFC 9112, section 3.2).
fn split_target<'a>(method: &str, target: &'a str) -> Result<(Option<&'a str>, &'a str), Refusal> {
    if !target
        .bytes()
        .all(|byte| byte.is_ascii_graphic() && byte != b'#')
    {
        return Err(bad(
            "the target has characters that must be percent-encoded",
        ));
    }
    if target.starts_with('/') {
        return Ok((None, target));
    }
    if target == "*" && method == "OPTIONS" {
        return Ok((None, "/"));
    }
    if target
        .get(..SCHEME.len())
        .is_some_and(|scheme| scheme.eq_ignore_ascii_case(SCHEME))
    {
        let rest = &target[SCHEME.len()..];
        let (host, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        return match path {
            "" => Ok((Some(host), "/")),
            path if path.starts_with('/') => Ok((Some(host), path)),
            _ => Err(bad("the target has no path")),
        };
    }
    Err(bad("the target must start with a slash"))
}

/// What the header fields say, as far as it matters here.
#[derive(Default)]
struct Fields<'a> {
    count: usize,
    host: Option<&'a str>,
    forwarded: Vec<(&'static str, &'a str)>,
    content_length: Option<&'a str>,
    transfer_encoding: Option<&'a str>,
    expect: Option<&'a str>,
    close: bool,
    keep_alive: bool,
}

impl<'a> Fields<'a> {
    fn add(&mut self, line: &'a [u8], transport: Transport) -> Result<(), Refusal> {
        self.count += 1;
        if self.count > MAX_FIELDS {
            return Err(Refusal::HeadTooLarge(format!(
                "the request has more than {MAX_FIELDS} header fields"
            )));
        }
        if line.starts_with(b" ") || line.starts_with(b"\t") {
            return Err(bad("a header field is folded over two lines"));
        }
        let (name, value) = split_field(line)?;
        if !is_read(name) {
            // Whatever it says, in whichever characters, nobody looks at it.
            return Ok(());
        }
        let value = std::str::from_utf8(value).ok().filter(|value| {
            value
                .bytes()
                .all(|byte| matches!(byte, b'\t' | b' '..=b'~'))
        });
        if value.is_none() && is_any_host(name, transport) {
            return once(&mut self.host, name, "");
        }
        let value = value.ok_or_else(|| {
            bad(format!(
                "the header field {name} has other than visible ASCII characters"
            ))
        })?;
        let value = value.trim_matches([' ', '\t']);
        match name.to_ascii_lowercase().as_str() {
            "host" => once(&mut self.host, name, value)?,
            "authorization" => {
                if self
                    .forwarded
                    .iter()
                    .any(|(name, _)| *name == AUTHORIZATION)
                {
                    return Err(bad("the header field Authorization is there twice"));
                }
                self.forwarded.push((AUTHORIZATION, value));
            }
            "content-length" => once(&mut self.content_length, name, value)?,
            "expect" => once(&mut self.expect, name, value)?,
            // Two of them would be one list, in which nothing is once.
            "transfer-encoding" => once(&mut self.transfer_encoding, name, value)?,
            "connection" => {
                for option in value
                    .split(',')
                    .map(|option| option.trim_matches([' ', '\t']))
                {
                    self.close |= option.eq_ignore_ascii_case("close");
                    self.keep_alive |= option.eq_ignore_ascii_case("keep-alive");
                }
            }
            other => {
                let known = FORWARDED
                    .into_iter()
                    .find(|name| name.eq_ignore_ascii_case(other));
                self.forwarded.extend(known.map(|name| (name, value)));
            }
        }
        Ok(())
    }
}

/// Takes the value of a field that may be there once.
fn once<'a>(place: &mut Option<&'a str>, name: &str, value: &'a str) -> Result<(), Refusal> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(bad(format!("the header field {name} is there twice"))),
    }
}

/// The name and the value of a field's line, with white space around the value alone.
pub(super) fn split_field(line: &[u8]) -> Result<(&str, &[u8]), Refusal> {
    let colon = line.iter().position(|&byte| byte == b':');
    let (name, value) = line.split_at(colon.unwrap_or(line.len()));
    let name = std::str::from_utf8(name).ok().filter(|name| is_token(name));
    match (name, value.split_first()) {
        (Some(name), Some((_, value))) => Ok((name, value)),
        _ => Err(bad("a header field is not a name, a colon and a value")),
    }
}

/// Whether a field is a `Host` in which anything may stand: there is no DNS on the way to
/// a unix socket, and its clients name what their libraries want them to, or nothing
/// (RFC 9112, section 3.2).
fn is_any_host(name: &str, transport: Transport) -> bool {
    transport == Transport::UnixSocket && name.eq_ignore_ascii_case("Host")
}

/// The login of a request.
pub const AUTHORIZATION: &str = "Authorization";

/// Whether a field is looked at, here or by a handler. tiny_http ends its
/// connection at a value that is not ASCII, and with it those of all clients, so
/// what is looked at must be.
fn is_read(name: &str) -> bool {
    const READ_HERE: [&str; 6] = [
        "Host",
        "Content-Length",
        "Transfer-Encoding",
        "Expect",
        "Connection",
        AUTHORIZATION,
    ];
    READ_HERE
        .into_iter()
        .chain(FORWARDED)
        .any(|known| known.eq_ignore_ascii_case(name))
}

/// Where the page comes from that a browser asks for (Fetch Metadata).
pub const SITE: &str = "Sec-Fetch-Site";
/// What a browser asks for: a `document` that its reader goes to, or a part of one.
pub const DESTINATION: &str = "Sec-Fetch-Dest";

/// The origin of the page that a browser asks for (RFC 6454, section 7).
pub const ORIGIN: &str = "Origin";

/// What else of a request's header the handlers may read.
const FORWARDED: [&str; 8] = [
    "Accept",
    "If-Match",
    "If-None-Match",
    "If-Modified-Since",
    "If-Unmodified-Since",
    SITE,
    DESTINATION,
    ORIGIN,
];

/// Checks the fields against each other and the request line.
fn finish<'a>(
    line: &RequestLine<'a>,
    fields: Fields<'a>,
    length: usize,
    transport: Transport,
) -> Result<Head<'a>, Refusal> {
    let checks_hosts = transport == Transport::Tcp;
    if let Some(host) = fields.host.filter(|host| checks_hosts && !is_host(host)) {
        return Err(bad(format!(
            "the header field Host is not a host: {host:?}"
        )));
    }
    if fields.host.is_none() && line.version == Version::Http11 {
        return Err(bad("the header field Host is missing"));
    }
    if let Some(host) = line.host.filter(|host| checks_hosts && !is_host(host)) {
        return Err(bad(format!("the target's host is not a host: {host:?}")));
    }
    let body = match (fields.transfer_encoding, fields.content_length) {
        (Some(_), Some(_)) => {
            return Err(bad(
                "a request has Content-Length or Transfer-Encoding, not both",
            ));
        }
        (Some(coding), None) => chunked(coding, line.version)?,
        (None, Some(length)) => Body::Length(body_length(length)?),
        (None, None) => Body::Length(0),
    };
    let expects_continue = match fields.expect {
        None => false,
        Some(text) if text.eq_ignore_ascii_case("100-continue") => line.version == Version::Http11,
        Some(text) => {
            return Err(Refusal::ExpectationFailed(format!(
                "{text:?} is not known; the one expectation is 100-continue"
            )));
        }
    };
    let keep_alive = match line.version {
        Version::Http11 => !fields.close,
        Version::Http10 => fields.keep_alive && !fields.close,
    };
    // The target's host counts, where it has one (RFC 9112, section 3.2.2).
    let host = line.host.or(fields.host);
    let host = host.filter(|host| checks_hosts || stands_in_links(host));
    Ok(Head {
        method: line.method,
        target: line.target,
        host,
        fields: fields.forwarded,
        body,
        expects_continue,
        keep_alive,
        knows_chunks: line.version == Version::Http11,
        length,
    })
}

/// The one transfer coding that is known (RFC 9112, sections 6.1 and 7.1).
fn chunked(codings: &str, version: Version) -> Result<Body, Refusal> {
    if version == Version::Http10 {
        return Err(bad("HTTP/1.0 has no Transfer-Encoding"));
    }
    let mut count = 0;
    for coding in codings
        .split(',')
        .map(|coding| coding.trim_matches([' ', '\t']))
    {
        if coding.is_empty() {
            return Err(bad(
                "the header field Transfer-Encoding is no list of codings",
            ));
        }
        if !coding.eq_ignore_ascii_case("chunked") {
            return Err(Refusal::NotImplemented(format!(
                "the transfer coding {coding:?} is not known; the one there is is chunked"
            )));
        }
        count += 1;
    }
    if count > 1 {
        return Err(bad("a body is chunked once, not twice"));
    }
    Ok(Body::Chunked)
}

fn body_length(text: &str) -> Result<usize, Refusal> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let length: u64 = digits.then(|| text.parse().ok()).flatten().ok_or_else(|| {
        bad(format!(
            "the header field Content-Length is not a length: {text:?}"
        ))
    })?;
    match usize::try_from(length) {
        Ok(small) if length <= MAX_BODY => Ok(small),
        _ => Err(too_large(&length.to_string())),
    }
}

/// What is said of a body that is too long.
pub(super) fn too_large(length: &str) -> Refusal {
    Refusal::ContentTooLarge(format!("a body has at most {MAX_BODY} bytes, not {length}"))
}

/// A token of RFC 9110, section 5.6.2.
fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

/// Characters that a host and a port are made of, and nothing that could mean
/// something in a link. Which hosts are ours is not decided here.
fn is_host(text: &str) -> bool {
    let allowed: Range<usize> = 1..256;
    allowed.contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-._~:[]%".contains(&byte))
}

/// Whether a host, with a port or without, can stand in a link (RFC 3986, section
/// 3.2.2): an address, a name, or what is percent-encoded as one.
fn stands_in_links(text: &str) -> bool {
    let (name, port) = match text.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => (name, port),
        _ => (text, ""),
    };
    if !is_host(text) || !port.bytes().all(|byte| byte.is_ascii_digit()) {
        return false;
    }
    if let Some(address) = name.strip_prefix('[') {
        let address = address.strip_suffix(']');
        return address.is_some_and(|address| address.parse::<Ipv6Addr>().is_ok());
    }
    let escapes_are_whole = name.split('%').skip(1).all(|rest| {
        let digits = rest.as_bytes().get(..2);
        digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    });
    !name.is_empty() && !name.contains([':', '[', ']']) && escapes_are_whole
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(bytes: &[u8]) -> u16 {
        match parse(bytes) {
            Ok(Some(_)) => 200,
            Ok(None) => 0,
            Err(refusal) => refusal.status().0,
        }
    }

    fn whole(bytes: &[u8]) -> Head<'_> {
        parse(bytes).unwrap().unwrap()
    }

    #[test]
    fn a_plain_request_is_read_and_what_follows_it_is_left() {
        let bytes = b"GET /v1/sessions?pretty HTTP/1.1\r\nHost: localhost:8989\r\nUser-Agent: \xc3\xa9\r\n\r\nGET /";
        let head = whole(bytes);
        assert_eq!((head.method, head.target), ("GET", "/v1/sessions?pretty"));
        assert_eq!(head.host, Some("localhost:8989"));
        assert!(head.keep_alive);
        assert_eq!(&bytes[head.length..], b"GET /");
    }

    #[test]
    fn a_head_cut_anywhere_is_not_whole_and_not_wrong() {
        let bytes =
            b"\r\nGET / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nConnection: x, close\r\n\r\n";
        for cut in 0..bytes.len() {
            assert_eq!(status(&bytes[..cut]), 0, "{cut}");
        }
        assert_eq!(whole(bytes).body, Body::Length(3));
        assert!(!whole(bytes).keep_alive);
    }

    #[test]
    fn the_absolute_form_names_the_host() {
        assert_eq!(
            whole(b"GET HTTP://b:1/x HTTP/1.1\r\nHost: a\r\n\r\n").host,
            Some("b:1")
        );
        assert_eq!(
            whole(b"GET http://b HTTP/1.1\r\nHost: a\r\n\r\n").target,
            "/"
        );
        assert_eq!(status(b"GET http://b?x HTTP/1.1\r\nHost: a\r\n\r\n"), 400);
        assert_eq!(status(b"GET https://b/ HTTP/1.1\r\nHost: a\r\n\r\n"), 400);
    }

    #[test]
    fn what_two_readers_could_read_differently_is_refused() {
        let after = |fields: &str| format!("GET / HTTP/1.1\r\n{fields}\r\n\r\n");
        for (fields, expected) in [
            ("Host: a", 200),
            ("Host:a", 200),
            ("Accept: x", 400),
            ("Host: a\r\nHost: a", 400),
            ("Host: a b", 400),
            ("Host: a/b", 400),
            ("Host: a\"", 400),
            ("Host:", 400),
            ("Host : a", 400),
            (" Host: a", 400),
            ("Host: a\r\n b", 400),
            ("Host: a\nX: b", 400),
            ("Host: a\rX: b", 400),
            ("Host: a\0", 400),
            ("Host: a\r\nno colon", 400),
            ("Host: a\r\n: x", 400),
            ("Host: a\r\nContent-Length: 5\r\nContent-Length: 5", 400),
            ("Host: a\r\nContent-Length: 5, 5", 400),
            ("Host: a\r\nContent-Length: +5", 400),
            ("Host: a\r\nContent-Length: -5", 400),
            ("Host: a\r\nContent-Length:", 400),
            ("Host: a\r\nContent-Length: 18446744073709551616", 400),
            ("Host: a\r\nContent-Length: 16384", 200),
            ("Host: a\r\nContent-Length: 16385", 413),
            ("Host: a\r\nTransfer-Encoding: chunked", 200),
            ("Host: a\r\nTransfer-Encoding:\tChunked ", 200),
            ("Host: a\r\nTransfer-Encoding: gzip", 501),
            ("Host: a\r\nTransfer-Encoding: identity", 501),
            ("Host: a\r\nTransfer-Encoding: gzip, chunked", 501),
            ("Host: a\r\nTransfer-Encoding: chunked, gzip", 501),
            ("Host: a\r\nTransfer-Encoding: chunked;q=1", 501),
            ("Host: a\r\nTransfer-Encoding: \"chunked\"", 501),
            ("Host: a\r\nTransfer-Encoding: chunked, chunked", 400),
            ("Host: a\r\nTransfer-Encoding: chunked,", 400),
            ("Host: a\r\nTransfer-Encoding:", 400),
            (
                "Host: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
                400,
            ),
            ("Host: a\r\nTransfer-Encoding: \x0bchunked", 400),
            ("Host: a\r\nTransfer-Encoding : chunked", 400),
            ("Host: a\r\nTransfer-Encoding\r\n : chunked", 400),
            (
                "Host: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5",
                400,
            ),
            ("Host: a\r\nAuthorization: Bearer x", 200),
            (
                "Host: a\r\nAuthorization: Bearer x\r\nAuthorization: Bearer y",
                400,
            ),
            ("Host: a\r\nAuthorization: Bearer é", 400),
            ("Host: a\r\nAccept: é", 400),
            ("Host: a\r\nUser-Agent: é", 200),
            ("Hést: a", 400),
            ("Host: a\r\nExpect: 100-Continue", 200),
            ("Host: a\r\nExpect: 200-ok", 417),
        ] {
            assert_eq!(status(after(fields).as_bytes()), expected, "{fields:?}");
        }
    }

    #[test]
    fn a_request_line_is_three_words_of_a_version_that_is_spoken() {
        for (line, expected) in [
            ("GET / HTTP/1.1", 200),
            ("GET / HTTP/1.9", 200),
            ("BREW /pot HTTP/1.0", 200),
            ("OPTIONS * HTTP/1.1", 200),
            ("GET * HTTP/1.1", 400),
            ("GET /", 400),
            ("GET  / HTTP/1.1", 400),
            ("GET / HTTP/1.1 ", 400),
            (" GET / HTTP/1.1", 400),
            ("GET / http/1.1", 400),
            ("GET / HTTP/1", 400),
            ("GET / HTTP/11.1", 400),
            ("GET / HTTP/0.9", 505),
            ("GET / HTTP/2.0", 505),
            ("PRI * HTTP/2.0", 505),
            ("G@T / HTTP/1.1", 400),
            ("GET x HTTP/1.1", 400),
            ("GET /é HTTP/1.1", 400),
            ("GET /#a HTTP/1.1", 400),
            ("CONNECT a:1 HTTP/1.1", 400),
        ] {
            assert_eq!(
                status(format!("{line}\r\nHost: a\r\n\r\n").as_bytes()),
                expected,
                "{line}"
            );
        }
        assert_eq!(status(b"\x16\x03\x01"), 400);
        assert_eq!(status(b"GET / HTTP/1.1\n"), 400);
        assert_eq!(status(b"\xff\r\n"), 400);
        assert_eq!(
            status(b"GET / HTTP/1.1\r\nHost: a\r\nCookie: \xe9\r\n\r\n"),
            200
        );
        assert_eq!(status(b"GET / HTTP/1.1\r\nHost: \xe9\r\n\r\n"), 400);
    }

    #[test]
    fn what_is_too_long_says_which_part() {
        let long_target = format!("GET /{} HTTP/1.1\r\n", "a".repeat(MAX_HEAD));
        assert_eq!(status(&long_target.as_bytes()[..MAX_HEAD]), 414);
        let long_fields = format!("GET / HTTP/1.1\r\nX: {}", "a".repeat(MAX_HEAD));
        assert_eq!(status(&long_fields.as_bytes()[..MAX_HEAD]), 431);
        let fields = |count| {
            format!(
                "GET / HTTP/1.1\r\nHost: a\r\n{}\r\n",
                "X: y\r\n".repeat(count - 1)
            )
        };
        assert_eq!(status(fields(MAX_FIELDS).as_bytes()), 200);
        assert_eq!(status(fields(MAX_FIELDS + 1).as_bytes()), 431);
    }

    #[test]
    fn connections_are_kept_as_the_version_has_it() {
        for (version, connection, kept) in [
            ("1.1", "", true),
            ("1.1", "Connection: close\r\n", false),
            ("1.1", "Connection: TE, Close\r\n", false),
            ("1.0", "", false),
            ("1.0", "Connection: Keep-Alive\r\n", true),
        ] {
            let text = format!("GET / HTTP/{version}\r\nHost: a\r\n{connection}\r\n");
            assert_eq!(
                whole(text.as_bytes()).keep_alive,
                kept,
                "{version} {connection}"
            );
        }
        assert_eq!(whole(b"GET / HTTP/1.0\r\n\r\n").host, None);
        assert_eq!(
            status(b"GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"),
            400
        );
    }

    #[test]
    fn a_client_of_the_unix_socket_names_any_host_and_links_have_those_that_can_be_one() {
        for (host, in_links) in [
            ("localhost:8989", true),
            ("docker", true),
            ("%2Frun%2Fadmin.sock", true),
            ("127.0.0.1:1", true),
            ("[::1]:80", true),
            ("[::1]", true),
            ("a:", true),
            ("", false),
            (" ", false),
            ("/run/admin.sock", false),
            ("a b", false),
            ("a\"b", false),
            ("é", false),
            ("[::1", false),
            ("[x]:1", false),
            ("a:b", false),
            ("a:1:2", false),
            (":80", false),
            ("%2", false),
            ("%zz", false),
        ] {
            let text = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
            let head = parse_from(Transport::UnixSocket, text.as_bytes()).unwrap();
            assert_eq!(head.unwrap().host, in_links.then_some(host), "{host:?}");
        }
        let unix = |text: &str| parse_from(Transport::UnixSocket, text.as_bytes()).is_ok();
        assert!(unix("GET http:///x HTTP/1.1\r\nHost: \r\n\r\n"));
        // As everywhere.
        assert!(!unix("GET / HTTP/1.1\r\n\r\n"));
        assert!(!unix("GET / HTTP/1.1\r\nHost: a\r\nHost: é\r\n\r\n"));
    }
}
