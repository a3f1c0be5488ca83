//! Reads what a client of PostgreSQL begins with. Pure: bytes in, an [`Opening`]
//! or [`Unexpected`] out.
//!
//! The first message has no type byte, only a length and a code, and the code is
//! either a protocol version or one of three numbers that no version will have
//! (manual, section "Message Formats": StartupMessage, SSLRequest,
//! GSSENCRequest, CancelRequest). What is wrong is said as soon as it is seen.

use std::fmt;

use super::parameter::APPLICATION_NAME;
use crate::protocol::{Login, MAX_ATTRIBUTES, MAX_NAME};

/// The longest first message: the server's own limit of 10,000 bytes
/// (`MAX_STARTUP_PACKET_LENGTH`), which leaves out the four of the length.
pub(super) const MAX_OPENING: usize = 10_000 + 4;

/// The first byte of a TLS handshake. PostgreSQL 17 takes one without being asked.
const TLS_HANDSHAKE: u8 = 0x16;

/// Length and code.
const HEAD: usize = 8;

/// A first message of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opening {
    /// How many bytes it takes.
    pub length: usize,
    /// What it is.
    pub kind: Kind,
}

/// What a first message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The client asks for encryption, and waits for one byte: `N` declines.
    /// After it, the client begins anew.
    EncryptionRequest(Encryption),
    /// The client wants another session's query to end. There is no answer to it.
    Cancel,
    /// The client wants to log in: the StartupMessage.
    Startup,
}

/// The encryption that a client may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encryption {
    /// SSLRequest; the server agrees with `S`.
    Tls,
    /// GSSENCRequest; the server agrees with `G`.
    Gssapi,
}

/// Why bytes are not a first message of PostgreSQL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unexpected {
    /// They begin a TLS handshake.
    Tls,
    /// The message has a length that it cannot have.
    Length(u32),
    /// The message has a code that is neither a version 3 nor a known request.
    Code(u32),
}

impl fmt::Display for Unexpected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tls => write!(f, "the client has begun TLS without asking for it"),
            Self::Length(length) => {
                write!(f, "the client's first message has a length of {length}")
            }
            Self::Code(code) => write!(f, "the client's first message has the code {code}"),
        }
    }
}

impl std::error::Error for Unexpected {}

/// Reads the first message at the front of `bytes`; `None` where it is not whole
/// yet. What is inside a StartupMessage is not looked at.
pub fn opening(bytes: &[u8]) -> Result<Option<Opening>, Unexpected> {
    if bytes.first() == Some(&TLS_HANDSHAKE) {
        return Err(Unexpected::Tls);
    }
    let Some((length, rest)) = bytes.split_first_chunk() else {
        return Ok(None);
    };
    let stated = u32::from_be_bytes(*length);
    let length = usize::try_from(stated)
        .ok()
        .filter(|length| (HEAD..=MAX_OPENING).contains(length))
        .ok_or(Unexpected::Length(stated))?;
    let Some((code, _)) = rest.split_first_chunk() else {
        return Ok(None);
    };
    let (kind, lengths) = match u32::from_be_bytes(*code) {
        80_877_103 => (Kind::EncryptionRequest(Encryption::Tls), HEAD..=HEAD),
        80_877_104 => (Kind::EncryptionRequest(Encryption::Gssapi), HEAD..=HEAD),
        // A process id and a key of 4 bytes, or up to 256 since protocol 3.2.
        CANCEL => (Kind::Cancel, HEAD + 8..=HEAD + 260),
        // The server negotiates the minor version.
        version if version >> 16 == 3 => (Kind::Startup, HEAD + 1..=MAX_OPENING),
        other => return Err(Unexpected::Code(other)),
    };
    if !lengths.contains(&length) {
        return Err(Unexpected::Length(stated));
    }
    Ok((bytes.len() >= length).then_some(Opening { length, kind }))
}

/// The code of a CancelRequest.
const CANCEL: u32 = 80_877_102;

/// The process id and the secret key of a whole CancelRequest; `None` where the bytes are
/// something else.
#[must_use]
pub fn cancel(message: &[u8]) -> Option<(u32, &[u8])> {
    let opening = opening(message).ok()??;
    if opening.kind != Kind::Cancel || opening.length != message.len() {
        return None;
    }
    let (process_id, key) = message[HEAD..].split_first_chunk()?;
    Some((u32::from_be_bytes(*process_id), key))
}

/// Writes a CancelRequest, which asks a server on a connection of its own to end what the
/// session of this process runs. The key is that of its BackendKeyData.
#[must_use]
pub fn cancel_request(process_id: u32, key: &[u8]) -> Vec<u8> {
    // Keys have up to 256 bytes.
    let length = u32::try_from(HEAD + 4 + key.len()).unwrap_or(u32::MAX);
    let head = [length, CANCEL, process_id].map(u32::to_be_bytes);
    [head.as_flattened(), key].concat()
}

/// Who a whole StartupMessage wants to be; `None` where that is not to be told,
/// or is too long to be kept.
pub(super) fn login(message: &[u8]) -> Option<Login> {
    let mut rest = message.get(HEAD..)?;
    let (mut user, mut database, mut application) = (None, None, None);
    let mut has_database = true;
    loop {
        let (name, after) = string(rest)?;
        if name.is_empty() {
            // The terminator must be the last byte, as the server has it.
            if !after.is_empty() {
                return None;
            }
            break;
        }
        let (value, after) = string(after)?;
        rest = after;
        // What comes again counts, as the server has it; an empty name is none.
        match name {
            b"user" => user = Some(kept(value, MAX_NAME)?).filter(|name| !name.is_empty()),
            b"database" => database = Some(kept(value, MAX_NAME)?).filter(|name| !name.is_empty()),
            // A replica's connection belongs to no database, unless it says so (manual,
            // section "Streaming Replication Protocol").
            b"replication" => has_database = !is_true(value),
            // A setting, whose name may be written in either case.
            name if name.eq_ignore_ascii_case(APPLICATION_NAME.as_bytes()) => {
                application = kept(value, MAX_ATTRIBUTES - APPLICATION_NAME.len());
            }
            _ => {}
        }
    }
    let user = user?;
    let database = has_database.then(|| database.unwrap_or_else(|| user.clone()));
    Some(Login {
        database,
        user,
        attributes: application
            .map(|value| (APPLICATION_NAME.to_owned(), value))
            .into_iter()
            .collect(),
    })
}

/// A boolean of the server's, of which any beginning will do that is no other's.
fn is_true(value: &[u8]) -> bool {
    let value = value.to_ascii_lowercase();
    let begins =
        |word: &str, least: usize| value.len() >= least && word.as_bytes().starts_with(&value);
    begins("true", 1) || begins("yes", 1) || begins("on", 2) || value == b"1"
}

/// Takes a string off the front, without the zero byte that ends it.
fn string(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.iter().position(|&byte| byte == 0)?;
    Some((&bytes[..end], &bytes[end + 1..]))
}

/// The text as it is kept, unless that is longer than the limit.
fn kept(bytes: &[u8], limit: usize) -> Option<String> {
    // Replacing never makes it shorter.
    (bytes.len() <= limit)
        .then(|| String::from_utf8_lossy(bytes).into_owned())
        .filter(|text| text.len() <= limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(code: u32, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(HEAD + body.len()).unwrap();
        [&length.to_be_bytes()[..], &code.to_be_bytes(), body].concat()
    }

    fn startup(parameters: &[u8]) -> Option<Login> {
        login(&message(0x3_0000, parameters))
    }

    #[test]
    fn a_replica_has_no_database_unless_it_says_so() {
        for (value, expected) in [
            ("true", None),
            ("On", None),
            ("t", None),
            ("1", None),
            ("database", Some("shop")),
            ("off", Some("shop")),
            ("o", Some("shop")),
            ("", Some("shop")),
        ] {
            let parameters = format!("user\0ann\0database\0shop\0replication\0{value}\0\0");
            let message = [&[0; HEAD], parameters.as_bytes()].concat();
            assert_eq!(
                login(&message).unwrap().database.as_deref(),
                expected,
                "{value}"
            );
        }
    }

    #[test]
    fn a_first_message_is_known_by_its_length_and_its_code() {
        for (code, body, expected) in [
            (80_877_103, 0, Ok(Kind::EncryptionRequest(Encryption::Tls))),
            (
                80_877_104,
                0,
                Ok(Kind::EncryptionRequest(Encryption::Gssapi)),
            ),
            (80_877_103, 1, Err(Unexpected::Length(9))),
            (80_877_104, 1, Err(Unexpected::Length(9))),
            (80_877_102, 7, Err(Unexpected::Length(15))),
            (80_877_102, 8, Ok(Kind::Cancel)),
            (80_877_102, 260, Ok(Kind::Cancel)),
            (80_877_102, 261, Err(Unexpected::Length(269))),
            (0x3_0000, 0, Err(Unexpected::Length(8))),
            (0x3_0000, 1, Ok(Kind::Startup)),
            (0x3_0002, 1, Ok(Kind::Startup)),
            (0x3_ffff, 9_996, Ok(Kind::Startup)),
            (0x3_0000, 9_997, Err(Unexpected::Length(10_005))),
            (0x2_0000, 288, Err(Unexpected::Code(0x2_0000))),
            (0x4_0000, 1, Err(Unexpected::Code(0x4_0000))),
            (80_877_105, 0, Err(Unexpected::Code(80_877_105))),
        ] {
            let bytes = message(code, &vec![0; body]);
            let length = bytes.len();
            let expected = expected.map(|kind| Some(Opening { length, kind }));
            assert_eq!(opening(&bytes), expected, "{code} {body}");
            assert_eq!(opening(&[&bytes[..], b"behind"].concat()), expected);
            for cut in 0..length {
                let early = opening(&bytes[..cut]);
                assert!(early == Ok(None) || early == expected, "{code} {body}");
            }
        }
        assert_eq!(opening(b"\x16"), Err(Unexpected::Tls));
        assert_eq!(opening(&[0, 0, 0, 7]), Err(Unexpected::Length(7)));
        assert_eq!(
            opening(b"GET / HTTP/1.1"),
            Err(Unexpected::Length(0x4745_5420))
        );
    }

    #[test]
    fn a_cancel_request_is_read_as_it_is_written() {
        for length in [4, 32, 256] {
            let key = vec![0xfe; length];
            let message = cancel_request(0xff00_0007, &key);
            assert_eq!(cancel(&message), Some((0xff00_0007, &key[..])));
            for cut in 0..message.len() {
                assert_eq!(cancel(&message[..cut]), None);
            }
            assert_eq!(cancel(&[&message[..], b"x"].concat()), None);
        }
        let written = b"\0\0\0\x10\x04\xd2\x16\x2e\0\0\0\x07keys";
        assert_eq!(cancel_request(7, b"keys"), written);
        assert_eq!(cancel(&cancel_request(7, b"key")), None);
        assert_eq!(cancel(&cancel_request(7, &[0; 257])), None);
        assert_eq!(cancel(&message(0x3_0000, &[0; 8])), None);
        assert_eq!(cancel(b"\x16"), None);
    }

    #[test]
    fn a_startup_message_tells_user_database_and_application() {
        let login = startup(
            b"options\0-c password=secret\0user\0ann\0application_name\0till \xff\0database\0shop\0\0",
        )
        .unwrap();
        assert_eq!(login.user, "ann");
        assert_eq!(login.database.as_deref(), Some("shop"));
        let till = ("application_name".to_owned(), "till \u{fffd}".to_owned());
        assert_eq!(login.attributes, [till]);
    }

    #[test]
    fn the_database_is_the_users_unless_it_is_named() {
        for parameters in [&b"user\0ann\0\0"[..], b"user\0ann\0database\0\0\0"] {
            let login = startup(parameters).unwrap();
            assert_eq!(login.database.as_deref(), Some("ann"));
            assert_eq!(login.attributes, []);
        }
    }

    #[test]
    fn of_what_is_there_twice_the_last_counts() {
        let login = startup(b"user\0a\0database\0x\0Application_Name\0m\0database\0y\0user\0b\0application_name\0n\0\0");
        let login = login.unwrap();
        assert_eq!(
            (login.user.as_str(), login.database),
            ("b", Some("y".into()))
        );
        assert_eq!(login.attributes[0].1, "n");
    }

    #[test]
    fn a_malformed_startup_message_tells_nothing() {
        for parameters in [
            &b""[..],
            b"\0",
            b"user\0ann\0",
            b"user\0ann",
            b"user\0",
            b"user\0\0\0",
            b"database\0shop\0\0",
            b"user\0ann\0\0\0",
            b"user\0ann\0\0database\0shop\0\0",
            b"\0user\0ann\0\0",
        ] {
            assert_eq!(startup(parameters), None, "{parameters:?}");
        }
    }

    #[test]
    fn names_and_attributes_have_limits() {
        let named = |name: &str, letter: &[u8], length: usize| {
            let value = letter.repeat(length);
            startup(&[b"user\0ann\0", name.as_bytes(), b"\0", &value, b"\0\0"].concat())
        };
        for name in ["user", "database"] {
            assert!(named(name, b"x", MAX_NAME).is_some());
            assert_eq!(named(name, b"x", MAX_NAME + 1), None);
            // Each is replaced by three bytes.
            assert!(named(name, b"\xff", MAX_NAME / 3).is_some());
            assert_eq!(named(name, b"\xff", MAX_NAME / 3 + 1), None);
        }
        let room = MAX_ATTRIBUTES - APPLICATION_NAME.len();
        let kept = named(APPLICATION_NAME, b"x", room).unwrap();
        assert_eq!(kept.attributes[0].1.len(), room);
        let left_out = named(APPLICATION_NAME, b"x", room + 1).unwrap();
        assert_eq!(
            (left_out.user.as_str(), left_out.attributes.len()),
            ("ann", 0)
        );
    }
}
