//! Error packets: reads a server's, and writes our own for a client that is
//! not let in (MariaDB Knowledge Base, "ERR_Packet").
//!
//! A client that has sent nothing may be told one, in the place of a greeting.

use super::fields::Fields;
use crate::protocol::Refusal;
use crate::protocol::server_error::{ServerError, printable};

/// The first byte of every error packet.
pub(super) const ERROR: u8 = 0xff;

/// The longest body: what MariaDB keeps for a message (`MYSQL_ERRMSG_SIZE`).
pub(super) const MAX_ERROR: usize = 512;

/// The SQL state of every refusal: the server rejects the connection.
const STATE: &[u8] = b"#08004";

/// Writes an error packet that stands in the place of the greeting.
#[must_use]
pub fn refuse(refusal: &Refusal<'_>) -> Vec<u8> {
    let code: u16 = match refusal {
        Refusal::TooManyConnections { .. } => 1040,
        // ER_CONNECT_TO_FOREIGN_DATA_SOURCE. The 2003 of clients that cannot connect is
        // theirs alone: MariaDB's takes a packet with it for malformed.
        Refusal::NoServer { .. } => 1429,
        Refusal::Stopped { .. } => 1053,
        // ER_CONNECTION_KILLED
        Refusal::Killed { .. } => 1927,
    };
    let message = refusal.to_string();
    let [low, high] = code.to_le_bytes();
    let mut body = vec![ERROR, low, high];
    body.extend(STATE);
    let room = MAX_ERROR - body.len();
    let end = (0..=room).rev().find(|&at| message.is_char_boundary(at));
    body.extend(&message.as_bytes()[..end.unwrap_or(0)]);
    let [low, high] = u16::try_from(body.len()).unwrap_or(0).to_le_bytes();
    [&[low, high, 0, 0], body.as_slice()].concat()
}

/// Reads an error packet's body: its number, and its message without an SQL state.
/// Control characters and bytes that are not UTF-8 are replaced.
pub(super) fn read(body: &[u8]) -> Option<(u16, String)> {
    let (code, message) = fields(body)?;
    Some((code, printable(message, MAX_ERROR)))
}

/// Reads an error packet's body.
pub(super) fn error(body: &[u8]) -> Option<ServerError> {
    let (code, message) = fields(body)?;
    Some(ServerError::new(code.to_string().as_bytes(), message))
}

fn fields(body: &[u8]) -> Option<(u16, &[u8])> {
    let mut fields = Fields::new(body);
    if fields.byte()? != ERROR {
        return None;
    }
    let code = fields.short()?;
    // A server that does not know the client yet leaves the state out.
    let message = match fields.rest() {
        [b'#', state @ ..] => state.get(5..).unwrap_or_default(),
        message => message,
    };
    Some((code, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_an_error_packet_that_begins_a_connection() {
        let refusal = Refusal::TooManyConnections {
            service: "Shop",
            limit: 7,
        };
        assert_eq!(
            refuse(&refusal),
            b"\x3e\0\0\0\xff\x10\x04#08004Too many connections: service Shop has its limit of 7"
        );
        let refusal = Refusal::NoServer { service: "Shop" };
        assert!(refuse(&refusal).starts_with(b"\x2f\0\0\0\xff\x95\x05#08004No server"));
        let refusal = Refusal::Stopped { service: "Shop" };
        let packet = refuse(&refusal);
        assert!(packet.starts_with(b"\x20\0\0\0\xff\x1d\x04#08004Service"));
        assert_eq!(
            read(&packet[4..]),
            Some((1053, "Service Shop is stopped".into()))
        );
        let packet = refuse(&Refusal::Killed { service: "Shop" });
        assert_eq!(read(&packet[4..]).map(|(code, _)| code), Some(1927));
    }

    #[test]
    fn a_long_refusal_is_cut_between_two_characters() {
        let service = "\u{20ac}".repeat(1000);
        for name in [&service, &service[..900]] {
            let packet = refuse(&Refusal::Stopped { service: name });
            let length = usize::from(u16::from_le_bytes([packet[0], packet[1]]));
            assert_eq!(packet.len(), 4 + length);
            assert!((510..=512).contains(&length), "{length}");
            assert!(std::str::from_utf8(&packet[13..]).is_ok());
        }
    }

    #[test]
    fn an_error_is_read_with_an_sql_state_and_without() {
        assert_eq!(read(b"\xff\x10\x04Full"), Some((1040, "Full".into())));
        assert_eq!(read(b"\xff\x10\x04#08004Full"), Some((1040, "Full".into())));
        assert_eq!(read(b"\xff\x10\x04"), Some((1040, String::new())));
        assert_eq!(
            read(b"\xff\x10\x04a\nb\xff"),
            Some((1040, "a\u{fffd}b\u{fffd}".into()))
        );
        for bytes in [&b""[..], b"\xff", b"\xff\x10", b"\x0a\x10\x04Full"] {
            assert_eq!(read(bytes), None);
        }
    }
}
