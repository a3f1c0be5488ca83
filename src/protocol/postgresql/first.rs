//! A server's first answer: to a StartupMessage, or to a request for encryption.

use super::answers::MAX_MESSAGE;
use super::error;
use super::messages::HEAD;
use crate::protocol::first_answer::{FirstAnswer, MAX_ANSWER};

/// Reads the first answer at the front of `bytes`. Up to 4 KiB of an error are looked
/// at; a longer one is for the client.
#[must_use]
pub fn first_answer(bytes: &[u8]) -> FirstAnswer {
    match bytes.first() {
        None => return FirstAnswer::Partial,
        Some(b'E') => {}
        Some(_) => return FirstAnswer::Pass,
    }
    let Some((&[_, length @ ..], body)) = bytes.split_first_chunk::<HEAD>() else {
        return FirstAnswer::Partial;
    };
    let length = u32::from_be_bytes(length);
    if length > MAX_MESSAGE {
        return early(bytes);
    }
    // It counts itself, but not the type.
    let length = usize::try_from(length).map_or(usize::MAX, |length| length + 1);
    if !(HEAD + 1..=MAX_ANSWER).contains(&length) {
        return FirstAnswer::Pass;
    }
    let Some(body) = body.get(..length - HEAD) else {
        return FirstAnswer::Partial;
    };
    let error = error::read(body);
    if is_login_unavailable(&error.code) {
        FirstAnswer::Unavailable { error, length }
    } else {
        FirstAnswer::Pass
    }
}

/// An error of before protocol 3. Servers send one where they cannot start a process for
/// the connection (`report_fork_failure_to_client`), so they have no room.
fn early(bytes: &[u8]) -> FirstAnswer {
    let bytes = &bytes[1..bytes.len().min(MAX_ANSWER)];
    match error::early(bytes) {
        Ok(Some((error, length))) => FirstAnswer::Unavailable {
            error,
            length: 1 + length,
        },
        Ok(None) if bytes.len() + 1 < MAX_ANSWER => FirstAnswer::Partial,
        _ => FirstAnswer::Pass,
    }
}

/// Whether an error of this SQLSTATE, while a client logs in, says that the server takes no
/// clients now, rather than something about the client or its user (manual, appendix
/// "PostgreSQL Error Codes"). The limits of a role and of a database are 53300 as well: they
/// are this server's, too.
#[must_use]
pub fn is_login_unavailable(code: &str) -> bool {
    matches!(
        code,
        // insufficient_resources, disk_full, out_of_memory, too_many_connections
        "53000" | "53100" | "53200" | "53300"
        // admin_shutdown, crash_shutdown, cannot_connect_now
        | "57P01" | "57P02" | "57P03"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::ServerError;

    fn error(code: &str, message: &str) -> Vec<u8> {
        let body = format!("SFATAL\0VFATAL\0C{code}\0M{message}\0\0");
        let length = u32::try_from(4 + body.len()).unwrap();
        [b"E", &length.to_be_bytes()[..], body.as_bytes()].concat()
    }

    fn unavailable(code: &str, message: &str, length: usize) -> FirstAnswer {
        let error = ServerError {
            code: code.into(),
            message: message.into(),
        };
        FirstAnswer::Unavailable { error, length }
    }

    /// The answer, which is not known before its last byte has come, and does not depend
    /// on the bytes after it.
    fn whole(bytes: &[u8]) -> FirstAnswer {
        for cut in 0..bytes.len() {
            assert_eq!(first_answer(&bytes[..cut]), FirstAnswer::Partial, "{cut}");
        }
        let answer = first_answer(bytes);
        let more = [bytes, &[b'R'; 5000]].concat();
        assert_eq!(first_answer(&more), answer);
        answer
    }

    #[test]
    fn a_server_that_is_full_or_not_ready_is_unavailable() {
        for code in [
            "53000", "53100", "53200", "53300", "57P01", "57P02", "57P03",
        ] {
            let bytes = error(code, "sorry");
            assert_eq!(whole(&bytes), unavailable(code, "sorry", bytes.len()));
        }
        let bytes = b"Ecould not fork new process for connection: no\n\0";
        let message = "could not fork new process for connection: no";
        assert_eq!(whole(bytes), unavailable("", message, bytes.len()));
    }

    #[test]
    fn an_error_about_the_client_is_for_the_client() {
        for code in ["28P01", "28000", "3D000", "08P01", "0A000", "57P04", ""] {
            assert_eq!(whole(&error(code, "53300")), FirstAnswer::Pass, "{code}");
        }
    }

    #[test]
    fn what_is_no_error_is_for_the_client_at_once() {
        for first in (0..=255).filter(|&first| first != b'E') {
            assert_eq!(first_answer(&[first]), FirstAnswer::Pass);
        }
        for bytes in [&b"E\0\0\0\x04"[..], b"E\0\0\0\x05\0", b"E\x01\xff\xff\xff"] {
            assert_eq!(first_answer(bytes), FirstAnswer::Pass, "{bytes:?}");
        }
    }

    #[test]
    fn no_more_than_the_limit_is_looked_at() {
        let frame = error("53300", "").len();
        let longest = error("53300", &"x".repeat(MAX_ANSWER - frame));
        let message = "x".repeat(512);
        assert_eq!(whole(&longest), unavailable("53300", &message, MAX_ANSWER));
        let longer = error("53300", &"x".repeat(MAX_ANSWER - frame + 1));
        assert_eq!(first_answer(&longer), FirstAnswer::Pass);
        assert_eq!(first_answer(&longer[..5]), FirstAnswer::Pass);
        let early = [b'E'; MAX_ANSWER];
        assert_eq!(first_answer(&early[1..]), FirstAnswer::Partial);
        assert_eq!(first_answer(&early), FirstAnswer::Pass);
    }
}
