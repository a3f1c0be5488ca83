//! Asks a server whether it takes clients, and reads its first answer.
//!
//! PostgreSQL says nothing before the client does, so a probe begins a login,
//! as a user that need not exist. The server decides about itself first: one
//! that is full, starting or stopping refuses with an error before it asks for a
//! password. Any other answer, a refusal of this user included, comes from a
//! server that is up.
//!
//! How a probe ends decides what the server's log gets. PostgreSQL says nothing
//! of a connection that closes instead of sending the password, and takes
//! anything else in its place, a Terminate as well, for an error. Where no
//! password is wanted, the session is open, and a Terminate is the way to end it.

use std::error::Error;
use std::fmt;

use crate::protocol::PROBE_USER;

/// As much of an answer is looked at. Those that decide have some hundred bytes.
pub const MAX_ANSWER: usize = 2048;

/// The message that ends a session in order, Terminate.
pub const TERMINATE: &[u8] = b"X\0\0\0\x04";

/// The longest message that makes sense here; the client library of PostgreSQL has the same limit.
const MAX_MESSAGE: usize = 30_000;

/// The longest text of a server that is passed on, in bytes.
const MAX_TEXT: usize = 512;

/// cannot_connect_now: it is starting, stopping, or a standby that takes no clients.
const CANNOT_CONNECT_NOW: &str = "57P03";

/// too_many_connections
const TOO_MANY_CONNECTIONS: &str = "53300";

/// The answer of a server that is up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeAnswer {
    /// It asks for a password, or refuses this login alone.
    NotLetIn,
    /// It has begun a session.
    LetIn,
}

/// Why a server is not up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotUp {
    /// It takes no clients now.
    Refused {
        /// The code of the error; early errors have none.
        code: Option<&'static str>,
        /// The server's words, in a line.
        message: String,
    },
    /// It says something else.
    Unexpected,
}

impl fmt::Display for NotUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused {
                code: Some(code),
                message,
            } => write!(f, "it answers with error {code}: {message}"),
            Self::Refused { message, .. } => write!(f, "it answers with an error: {message}"),
            Self::Unexpected => f.write_str("it does not answer as a PostgreSQL server does"),
        }
    }
}

impl Error for NotUp {}

/// The StartupMessage of a probe (manual, section "Message Formats"). The
/// database `postgres` is there nearly always.
#[must_use]
pub fn probe_startup() -> Vec<u8> {
    let parameters = [
        ("user", PROBE_USER),
        ("database", "postgres"),
        ("application_name", "sessiond"),
    ];
    let mut body = 0x0003_0000_u32.to_be_bytes().to_vec();
    for (name, value) in parameters {
        body.extend([name.as_bytes(), b"\0", value.as_bytes(), b"\0"].concat());
    }
    body.push(0);
    let length = u32::try_from(4 + body.len()).unwrap_or(u32::MAX);
    [&length.to_be_bytes()[..], &body].concat()
}

/// Reads the answer to [`probe_startup`], of which the first [`MAX_ANSWER`]
/// bytes count; `None` where more has to come.
pub fn probe_answer(bytes: &[u8]) -> Result<Option<ProbeAnswer>, NotUp> {
    let mut rest = &bytes[..bytes.len().min(MAX_ANSWER)];
    let is_all = rest.len() == MAX_ANSWER;
    let mut is_authenticated = false;
    loop {
        let Some((&kind, after)) = rest.split_first() else {
            return undecided(is_all);
        };
        if !b"RENvSKZ".contains(&kind) {
            return Err(NotUp::Unexpected);
        }
        let Some((length, body)) = after.split_first_chunk() else {
            return undecided(is_all);
        };
        // It counts its own four bytes.
        let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
        if kind == b'E' && length > MAX_MESSAGE {
            return early_error(after, is_all);
        }
        if !(4..=MAX_MESSAGE).contains(&length) {
            return Err(NotUp::Unexpected);
        }
        let whole = body.get(..length - 4);
        match (kind, whole) {
            (b'E', Some(body)) => return error(body),
            // One that is too long for us has its code in the front.
            (b'E', None) if is_all => return error(body),
            // A ParameterStatus, a key, or that it is ready: the session is open.
            (b'S' | b'K' | b'Z', _) if is_authenticated => return Ok(Some(ProbeAnswer::LetIn)),
            // A greeting of MariaDB looks like one, where it has as many bytes.
            (b'S' | b'K' | b'Z', _) => return Err(NotUp::Unexpected),
            (_, None) => return undecided(is_all),
            // AuthenticationOk: whether there is a place for a session is decided now.
            (b'R', Some([0, 0, 0, 0])) => is_authenticated = true,
            // The kinds of requests have small numbers.
            (b'R', Some([0, 0, 0, _, ..])) => return Ok(Some(ProbeAnswer::NotLetIn)),
            (b'R', Some(_)) => return Err(NotUp::Unexpected),
            // A notice, or which version of the protocol it knows.
            (_, Some(_)) => {}
        }
        rest = &body[length - 4..];
    }
}

/// There is no decision in what has come.
fn undecided(is_all: bool) -> Result<Option<ProbeAnswer>, NotUp> {
    if is_all {
        Err(NotUp::Unexpected)
    } else {
        Ok(None)
    }
}

/// Reads the body of an ErrorResponse (manual, section "Error and Notice Message Fields").
fn error(body: &[u8]) -> Result<Option<ProbeAnswer>, NotUp> {
    let field = |wanted: u8| {
        let mut fields = body.split(|&byte| byte == 0);
        let field = fields.find_map(|field| field.strip_prefix(&[wanted]));
        field.unwrap_or_default()
    };
    let code = field(b'C');
    // Every error has one, of five digits and capital letters.
    let fits = |byte: &u8| byte.is_ascii_digit() || byte.is_ascii_uppercase();
    if code.len() != 5 || !code.iter().all(fits) {
        return Err(NotUp::Unexpected);
    }
    let codes = [CANNOT_CONNECT_NOW, TOO_MANY_CONNECTIONS];
    match codes.into_iter().find(|known| known.as_bytes() == code) {
        None => Ok(Some(ProbeAnswer::NotLetIn)),
        code => Err(NotUp::Refused {
            code,
            message: text(field(b'M')),
        }),
    }
}

/// Reads an error in the form of before protocol 3, a text, which a server that
/// cannot start a process for the connection still sends.
fn early_error(after: &[u8], is_all: bool) -> Result<Option<ProbeAnswer>, NotUp> {
    let end = after.iter().position(|&byte| byte == 0);
    let message = &after[..end.unwrap_or(after.len())];
    let is_text = |byte: &u8| *byte == b'\n' || !byte.is_ascii_control();
    if !message.iter().all(is_text) {
        return Err(NotUp::Unexpected);
    }
    match end {
        None => undecided(is_all),
        Some(_) => Err(NotUp::Refused {
            code: None,
            message: text(message),
        }),
    }
}

/// A text of the server as a line.
fn text(bytes: &[u8]) -> String {
    let bytes = bytes.trim_ascii_end();
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(MAX_TEXT)]);
    text.replace(char::is_control, "\u{fffd}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use ProbeAnswer::{LetIn, NotLetIn};

    fn message(kind: u8, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(4 + body.len()).unwrap();
        [&[kind][..], &length.to_be_bytes(), body].concat()
    }

    fn error_of(code: &str, text: &str) -> Vec<u8> {
        let body = format!("SFATAL\0VFATAL\0C{code}\0M{text}\0Fproc.c\0L1\0RInitProcess\0\0");
        message(b'E', body.as_bytes())
    }

    fn refused(code: Option<&'static str>, message: &str) -> NotUp {
        let message = message.to_owned();
        NotUp::Refused { code, message }
    }

    /// What an answer says, which it says only when its `decisive` first bytes are there.
    fn answered(bytes: &[u8], decisive: usize) -> Result<ProbeAnswer, NotUp> {
        for cut in 0..decisive {
            assert_eq!(probe_answer(&bytes[..cut]), Ok(None), "{cut}");
        }
        let result = probe_answer(bytes);
        for cut in decisive..bytes.len() {
            assert_eq!(probe_answer(&bytes[..cut]), result, "{cut}");
        }
        result.map(Option::unwrap)
    }

    #[test]
    fn a_probe_says_who_it_is() {
        let expected: &[u8] = b"\0\0\0\x49\0\x03\0\0user\0sessiond-probe\0database\0postgres\0\
            application_name\0sessiond\0\0";
        assert_eq!(probe_startup(), expected);
    }

    #[test]
    fn a_server_that_wants_a_password_or_another_user_is_up() {
        for request in [
            &b"\0\0\0\x03"[..],
            b"\0\0\0\x05salt",
            b"\0\0\0\x0aSCRAM-SHA-256\0\0",
        ] {
            let bytes = message(b'R', request);
            assert_eq!(answered(&bytes, bytes.len()), Ok(NotLetIn));
        }
        for code in ["28000", "28P01", "3D000", "08P01", "53200"] {
            let bytes = error_of(code, "57P03");
            assert_eq!(answered(&bytes, bytes.len()), Ok(NotLetIn), "{code}");
        }
    }

    #[test]
    fn a_server_that_is_full_or_not_ready_is_not_and_says_why() {
        for (code, words) in [
            ("53300", "sorry, too many clients already"),
            ("57P03", "the database system is starting up"),
        ] {
            let bytes = error_of(code, words);
            let error = answered(&bytes, bytes.len()).unwrap_err();
            assert_eq!(error, refused(Some(code), words));
            let expected = format!("it answers with error {code}: {words}");
            assert_eq!(error.to_string(), expected);
        }
    }

    #[test]
    fn where_no_password_is_wanted_what_comes_next_decides() {
        let ok = message(b'R', &[0; 4]);
        let parameter = message(b'S', b"application_name\0sessiond\0");
        for next in [&parameter[..], b"K\0\0\0\x0c", b"Z\0\0\0\x05I"] {
            let bytes = [&ok, next].concat();
            assert_eq!(answered(&bytes, ok.len() + 5), Ok(LetIn));
        }
        let words = "remaining connection slots are reserved";
        let bytes = [ok.clone(), error_of("53300", words)].concat();
        let expected = Err(refused(Some("53300"), words));
        assert_eq!(answered(&bytes, bytes.len()), expected);
        let bytes = [ok, error_of("28000", "no role")].concat();
        assert_eq!(answered(&bytes, bytes.len()), Ok(NotLetIn));
    }

    #[test]
    fn notices_and_versions_are_passed_over() {
        let before = [message(b'v', &[0; 8]), message(b'N', b"SWARNING\0\0")].concat();
        let bytes = [before, message(b'R', b"\0\0\0\x03")].concat();
        assert_eq!(answered(&bytes, bytes.len()), Ok(NotLetIn));
    }

    #[test]
    fn an_error_of_the_old_form_is_one_of_a_server_that_has_no_process_left() {
        let bytes = b"Ecould not fork new process for connection: Cannot allocate memory\n\0";
        let error = answered(bytes, bytes.len()).unwrap_err();
        let words = "could not fork new process for connection: Cannot allocate memory";
        assert_eq!(error, refused(None, words));
        assert_eq!(
            error.to_string(),
            format!("it answers with an error: {words}")
        );
    }

    #[test]
    fn what_other_servers_say_is_no_answer() {
        for bytes in [
            &b"HTTP/1.1 400 Bad Request\r\n\r\n"[..],
            b"SSH-2.0-OpenSSH_9.2\r\n",
            b"\x4a\0\0\0\x0a8.0.36\0",
            b"ERROR\r\nERROR\r\n",
            b"-ERR unknown command",
            b"R\0\0\0\x03",
            b"R\0\0\0\x04",
            b"R\0\0\0\x06\0\0",
            b"R\xff\xff\xff\xff",
            b"R\0\0\0\x0a5.5.5-",
            b"E\0\0\0\0",
            b"E\0\0\0\x05\0",
            b"E\0\0\0\x0a5.5.5-",
            b"E\0\0\0\x0cC5330\0\0\0",
            b"S\0\0\0\x0a5.5.5-",
            b"K\0\0\0\x0a",
            b"Z\0\0\0\x05I",
            b"Z\0\0\0\0",
        ] {
            assert_eq!(probe_answer(bytes), Err(NotUp::Unexpected), "{bytes:?}");
        }
    }

    #[test]
    fn an_answer_without_end_is_none_and_a_long_error_is_read_as_far_as_it_goes() {
        let endless = message(b'N', &[b'x'; 1000]).repeat(3);
        let early = [b'E'; MAX_ANSWER];
        let long_request = message(b'R', &[1; MAX_ANSWER]);
        for bytes in [&endless[..], &early, &long_request] {
            assert_eq!(probe_answer(&bytes[..MAX_ANSWER - 1]), Ok(None));
            assert_eq!(probe_answer(bytes), Err(NotUp::Unexpected));
        }
        let long = error_of("57P03", &format!("a\n{}", "\u{20ac}".repeat(5000)));
        let Err(NotUp::Refused { message, .. }) = probe_answer(&long) else {
            panic!("it is an error");
        };
        assert!(message.starts_with("a\u{fffd}\u{20ac}\u{20ac}"));
        assert!(message.len() <= MAX_TEXT + 6, "{}", message.len());
    }
}
