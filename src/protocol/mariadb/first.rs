//! A server's first packet, as the relay sees it before the client does.

use super::refusal::{self, ERROR};
use crate::protocol::first_answer::{FirstAnswer, MAX_ANSWER};

/// Length and sequence number.
const HEAD: usize = 4;

/// Reads the first packet at the front of `bytes`. Up to 4 KiB of an error are looked at; a
/// longer one is for the client.
#[must_use]
pub fn first_packet(bytes: &[u8]) -> FirstAnswer {
    let Some((&[low, middle, high, _], body)) = bytes.split_first_chunk::<HEAD>() else {
        return FirstAnswer::Partial;
    };
    let body_length = usize::from(u16::from_le_bytes([low, middle]));
    let length = HEAD + body_length;
    if high != 0 || body_length == 0 || length > MAX_ANSWER {
        return FirstAnswer::Pass;
    }
    match body.first() {
        None => return FirstAnswer::Partial,
        Some(&ERROR) => {}
        Some(_) => return FirstAnswer::Pass,
    }
    let Some(body) = body.get(..body_length) else {
        return FirstAnswer::Partial;
    };
    match refusal::error(body) {
        Some(error) if is_unavailable(&error.code) => FirstAnswer::Unavailable { error, length },
        _ => FirstAnswer::Pass,
    }
}

/// Whether an error in the place of a greeting says that the server takes no clients, or none
/// from this host, which is the relay's (MariaDB Knowledge Base, "MariaDB Error Codes"; MySQL
/// manual, "Server Error Message Reference").
fn is_unavailable(code: &str) -> bool {
    is_login_unavailable(code)
        || matches!(
            code,
            // ER_BAD_HOST_ERROR, ER_HOST_IS_BLOCKED, ER_HOST_NOT_PRIVILEGED
            "1042" | "1129" | "1130"
            // ER_CONNECT_TO_FOREIGN_DATA_SOURCE: another sessiond that has no server
            | "1429"
            // ER_CONNECTION_KILLED
            | "1927"
        )
}

/// Whether an error of this number, while a client logs in, says that the server takes no
/// clients now, rather than something about the client or its user. A server with a pool of
/// threads counts its connections only after it has greeted.
#[must_use]
pub fn is_login_unavailable(code: &str) -> bool {
    matches!(
        code,
        // ER_OUTOFMEMORY, ER_CON_COUNT_ERROR, ER_OUT_OF_RESOURCES, ER_SERVER_SHUTDOWN
        "1037" | "1040" | "1041" | "1053"
        // ER_NORMAL_SHUTDOWN, ER_CANT_CREATE_THREAD
        | "1077" | "1135"
        // ER_SERVER_OFFLINE_MODE
        | "3032"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::ServerError;

    fn error(code: u16, text: &[u8]) -> Vec<u8> {
        let [low, high] = code.to_le_bytes();
        packet(&[&[ERROR, low, high], text].concat())
    }

    fn packet(body: &[u8]) -> Vec<u8> {
        let [low, high] = u16::try_from(body.len()).unwrap().to_le_bytes();
        [&[low, high, 0, 0], body].concat()
    }

    fn unavailable(code: &str, message: &str, length: usize) -> FirstAnswer {
        let error = ServerError {
            code: code.into(),
            message: message.into(),
        };
        FirstAnswer::Unavailable { error, length }
    }

    /// The answer to an error, which is not known before its last byte has come.
    fn whole(bytes: &[u8]) -> FirstAnswer {
        for cut in 0..bytes.len() {
            assert_eq!(first_packet(&bytes[..cut]), FirstAnswer::Partial, "{cut}");
        }
        let answer = first_packet(bytes);
        assert_eq!(first_packet(&[bytes, b"more"].concat()), answer);
        answer
    }

    #[test]
    fn a_server_without_room_is_unavailable_with_an_sql_state_and_without() {
        for code in [
            1037, 1040, 1041, 1042, 1053, 1077, 1129, 1130, 1135, 1429, 1927, 3032,
        ] {
            for text in [&b"Full"[..], b"#08004Full"] {
                let bytes = error(code, text);
                let expected = unavailable(&code.to_string(), "Full", bytes.len());
                assert_eq!(whole(&bytes), expected);
            }
        }
        assert!(is_login_unavailable("1040"));
        for code in ["1045", "1129", "1130", "1203", "1226", "1429", "1927", ""] {
            assert!(!is_login_unavailable(code), "{code}");
        }
    }

    #[test]
    fn an_error_about_the_client_is_for_the_client() {
        for code in [1043, 1045, 1158, 1203, 1226, 1251, 3159] {
            assert_eq!(whole(&error(code, b"#08004No")), FirstAnswer::Pass);
        }
        assert_eq!(whole(&packet(b"\xff\x10")), FirstAnswer::Pass);
    }

    #[test]
    fn what_is_no_error_is_for_the_client_at_once() {
        for bytes in [
            &b"\x4a\0\0\0\x0a"[..],
            b"SSH-",
            b"\0\0\0\0",
            b"\x05\0\x01\0",
            b"\x05\0\0\0\0",
        ] {
            assert_eq!(first_packet(bytes), FirstAnswer::Pass, "{bytes:?}");
        }
    }

    #[test]
    fn no_more_than_the_limit_is_looked_at() {
        let longest = error(1040, &vec![b'x'; MAX_ANSWER - HEAD - 3]);
        let message = "x".repeat(512);
        assert_eq!(whole(&longest), unavailable("1040", &message, MAX_ANSWER));
        let longer = error(1040, &vec![b'x'; MAX_ANSWER - HEAD - 2]);
        assert_eq!(first_packet(&longer[..4]), FirstAnswer::Pass);
        assert_eq!(first_packet(&longer), FirstAnswer::Pass);
    }
}
