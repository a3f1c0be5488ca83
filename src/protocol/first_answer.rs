//! The first answer of a server, before it is passed on: whether the server takes
//! clients at all. Pure: bytes in, a [`FirstAnswer`] out.
//!
//! An error that says that the server has no room or is not ready says nothing
//! about the client, which another server may take. Any other answer is the
//! client's, whatever it is.

use super::ServerError;
use super::mariadb::{NoGreeting, greeting};
use super::postgresql::read_error;

/// The longest answer that is looked at, in bytes; what is longer is passed on.
const LONGEST: usize = 4096;

/// What a server answers first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FirstAnswer {
    /// It is not whole yet.
    Partial,
    /// It is to be passed on.
    Pass,
    /// The server has no room for clients, or is not ready for them.
    Unavailable {
        /// Its error.
        error: ServerError,
        /// Of how many bytes the answer consists.
        length: usize,
    },
}

/// The first packet of a MariaDB server, which greets or reports an error
/// (MariaDB Knowledge Base, "Connection" and "ERR_Packet").
#[must_use]
pub fn of_mariadb(bytes: &[u8]) -> FirstAnswer {
    match greeting(bytes) {
        Ok(None) if bytes.len() < LONGEST => FirstAnswer::Partial,
        Err(NoGreeting::Refused { code, message }) if is_mariadb_unavailable(&code.to_string()) => {
            FirstAnswer::Unavailable {
                error: ServerError {
                    code: code.to_string(),
                    message,
                },
                // The head of the packet, and the length that stands there.
                length: 4 + usize::from(u16::from_le_bytes([bytes[0], bytes[1]])),
            }
        }
        _ => FirstAnswer::Pass,
    }
}

/// The first answer of a PostgreSQL server to a StartupMessage, or to a request
/// for encryption (manual, section "Message Formats": ErrorResponse).
#[must_use]
pub fn of_postgresql(bytes: &[u8]) -> FirstAnswer {
    let Some((b'E', rest)) = bytes.split_first() else {
        return if bytes.is_empty() {
            FirstAnswer::Partial
        } else {
            FirstAnswer::Pass
        };
    };
    let Some(&length) = rest.first_chunk() else {
        return FirstAnswer::Partial;
    };
    // The length counts itself, not the type before it.
    let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
    if !(4..LONGEST).contains(&length) {
        return FirstAnswer::Pass;
    }
    let Some(body) = rest.get(4..length) else {
        return FirstAnswer::Partial;
    };
    let error = read_error(body);
    if is_postgresql_unavailable(&error.code) {
        FirstAnswer::Unavailable {
            error,
            length: 1 + length,
        }
    } else {
        FirstAnswer::Pass
    }
}

/// Whether an error of MariaDB or MySQL, by its number, says that the server takes
/// no clients now, or none from this host: ER_CON_COUNT_ERROR, ER_OUT_OF_RESOURCES,
/// ER_SERVER_SHUTDOWN, ER_HOST_IS_BLOCKED, ER_HOST_NOT_PRIVILEGED,
/// ER_CANT_CREATE_THREAD. Limits of a single user are none of these.
#[must_use]
pub fn is_mariadb_unavailable(code: &str) -> bool {
    matches!(code, "1040" | "1041" | "1053" | "1129" | "1130" | "1135")
}

/// Whether an error of PostgreSQL, by its SQLSTATE, says the same:
/// too_many_connections and cannot_connect_now (manual, appendix "PostgreSQL Error Codes").
#[must_use]
pub fn is_postgresql_unavailable(code: &str) -> bool {
    matches!(code, "53300" | "57P03")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error_of_mariadb(code: u16) -> Vec<u8> {
        let [low, high] = code.to_le_bytes();
        [&b"\x0b\0\0\0\xff"[..], &[low, high], b"no room!"].concat()
    }

    fn error_of_postgresql(code: &str) -> Vec<u8> {
        let body = format!("SFATAL\0VFATAL\0C{code}\0Mno room!\0\0");
        let length = u8::try_from(body.len() + 4).unwrap();
        [b"E\0\0\0", &[length][..], body.as_bytes()].concat()
    }

    /// Every beginning of an answer is partial, and what follows it is no matter.
    fn in_every_cut(read: fn(&[u8]) -> FirstAnswer, bytes: &[u8], code: &str) {
        for cut in 0..bytes.len() {
            assert_eq!(read(&bytes[..cut]), FirstAnswer::Partial, "{cut}");
        }
        let expected = FirstAnswer::Unavailable {
            error: ServerError {
                code: code.into(),
                message: "no room!".into(),
            },
            length: bytes.len(),
        };
        assert_eq!(read(bytes), expected);
        assert_eq!(read(&[bytes, b"more"].concat()), expected);
    }

    #[test]
    fn a_server_without_room_is_known_by_its_error() {
        for code in [1040, 1041, 1053, 1129, 1130, 1135] {
            let bytes = error_of_mariadb(code);
            in_every_cut(of_mariadb, &bytes, &code.to_string());
        }
        for code in ["53300", "57P03"] {
            in_every_cut(of_postgresql, &error_of_postgresql(code), code);
        }
    }

    #[test]
    fn every_other_answer_is_the_clients() {
        for code in [1045, 1203, 1226, 0] {
            assert_eq!(of_mariadb(&error_of_mariadb(code)), FirstAnswer::Pass);
        }
        for code in ["28P01", "3D000", "28000", ""] {
            assert_eq!(of_postgresql(&error_of_postgresql(code)), FirstAnswer::Pass);
        }
        for bytes in [&b"SSH-2.0"[..], b"\0\0\0\0", b"\x05\0\0\x01\x0a"] {
            assert_eq!(of_mariadb(bytes), FirstAnswer::Pass, "{bytes:?}");
        }
        for bytes in [
            &b"N"[..],
            b"S",
            b"R\0\0\0\x08",
            b"E\0\0\0\x03",
            b"E\xff\xff\xff\xff",
            b"E\0\0\x10\0",
        ] {
            assert_eq!(of_postgresql(bytes), FirstAnswer::Pass, "{bytes:?}");
        }
    }
}
