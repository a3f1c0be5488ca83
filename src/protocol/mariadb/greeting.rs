//! A server's first packet: its greeting, or an error in the place of one
//! (MariaDB Knowledge Base, "Connection", initial handshake packet).
//!
//! A probe of a server's health reads it, too. Servers of many makers greet, and
//! fill fields that nobody needs as they like. So a packet that begins with the
//! version of the protocol is a greeting, whatever else is in it; what is shown of
//! it is made printable, and what cannot be read is left out.

use std::error::Error;
use std::fmt;

use super::capability::MYSQL;
use super::fields::Fields;
use super::refusal;

/// The longest first packet. A greeting has about 100 bytes, an error up to 521.
pub(super) const MAX_GREETING: usize = 1024;

/// The version of the protocol, since 1998.
const PROTOCOL: u8 = 10;

/// What a server says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Greeting {
    /// Its version, such as `5.5.5-10.11.19-MariaDB`, without control characters; may be empty.
    pub version: String,
    /// Its own number for the connection; 0, as its capabilities, where it is cut off before those.
    pub connection_id: u32,
    /// What it offers: 32 bits, and 32 more of MariaDB's own.
    pub capabilities: u64,
}

/// Why a server's first packet is no greeting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoGreeting {
    /// It is an error.
    Refused {
        /// The number of the error.
        code: u16,
        /// What it says, in a line; up to 512 bytes of the server's.
        message: String,
    },
    /// It is something else.
    Unexpected,
}

impl fmt::Display for NoGreeting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused { code, message } => {
                write!(f, "it answers with error {code}: {message}")
            }
            Self::Unexpected => f.write_str("it does not greet as a MariaDB server does"),
        }
    }
}

impl Error for NoGreeting {}

/// Reads the greeting at the front of `bytes`; `None` where it is not whole yet.
/// One that is cut off says as much as it does.
pub fn greeting(bytes: &[u8]) -> Result<Option<Greeting>, NoGreeting> {
    let Some((&[low, middle, high, sequence], body)) = bytes.split_first_chunk() else {
        return Ok(None);
    };
    let length = usize::from(u16::from_le_bytes([low, middle]));
    if high != 0 || !(1..=MAX_GREETING).contains(&length) || sequence != 0 {
        return Err(NoGreeting::Unexpected);
    }
    match body.first() {
        None => Ok(None),
        Some(&(PROTOCOL | refusal::ERROR)) => body.get(..length).map(read_some).transpose(),
        Some(_) => Err(NoGreeting::Unexpected),
    }
}

/// Reads the body of a server's first packet, or what there is of a greeting.
fn read_some(body: &[u8]) -> Result<Greeting, NoGreeting> {
    match read(body) {
        Err(NoGreeting::Unexpected) if body.first() == Some(&PROTOCOL) => Ok(Greeting {
            version: version(&body[1..]),
            connection_id: 0,
            capabilities: 0,
        }),
        result => result,
    }
}

/// The text at the front, of which everything can be shown in a line.
fn version(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|&byte| byte == 0);
    let version = String::from_utf8_lossy(&bytes[..end.unwrap_or(bytes.len())]);
    version.replace(char::is_control, "\u{fffd}")
}

/// Reads the body of a server's first packet.
pub(super) fn read(body: &[u8]) -> Result<Greeting, NoGreeting> {
    if let Some((code, message)) = refusal::read(body) {
        return Err(NoGreeting::Refused { code, message });
    }
    read_greeting(body).ok_or(NoGreeting::Unexpected)
}

fn read_greeting(body: &[u8]) -> Option<Greeting> {
    let mut fields = Fields::new(body);
    if fields.byte()? != PROTOCOL {
        return None;
    }
    let version = version(&body[fields.text()?]);
    let connection_id = fields.long()?;
    // The scramble's first part, and a byte that is not used.
    fields.take(8 + 1)?;
    let low = fields.short()?;
    // Collation and status.
    fields.take(1 + 2)?;
    let high = fields.short()?;
    // The scramble's length, and six bytes that are not used. The scramble's second
    // part and the plugin's name come behind the rest, and are the client's concern.
    fields.take(1 + 6)?;
    let extended = fields.long()?;
    let mut capabilities = u64::from(low) | u64::from(high) << 16;
    if capabilities & MYSQL == 0 {
        capabilities |= u64::from(extended) << 32;
    }
    Some(Greeting {
        version,
        connection_id,
        capabilities,
    })
}

#[cfg(test)]
mod tests {
    use super::super::capability::{PLUGIN_AUTH, SECURE_CONNECTION};
    use super::*;

    const VERSION: &[u8] = b"5.5.5-10.11.19-MariaDB\0";

    /// A greeting's body, of these capabilities and with what follows the 32 further bits.
    fn body(version: &[u8], capabilities: u32, end: &[u8]) -> Vec<u8> {
        let [a, b, c, d] = capabilities.to_le_bytes();
        let fixed = [
            &[PROTOCOL][..],
            version,
            &[1, 2, 0, 0],
            b"scramble\0",
            &[a, b, 8, 2, 0, c, d, 21],
            &[0; 6],
            &[0x1d, 0, 0, 0],
            end,
        ];
        fixed.concat()
    }

    fn packet(body: &[u8]) -> Vec<u8> {
        let length = u8::try_from(body.len()).unwrap();
        [&[length, 0, 0, 0], body].concat()
    }

    #[test]
    fn a_greeting_is_read_when_it_is_whole_and_not_before() {
        let both = u32::try_from(SECURE_CONNECTION | PLUGIN_AUTH).unwrap();
        let end = b"scrambled ag\0mysql_native_password\0";
        let bytes = packet(&body(VERSION, both, end));
        let expected = Greeting {
            version: "5.5.5-10.11.19-MariaDB".into(),
            connection_id: 513,
            capabilities: 0x1d_0008_8000 | 1 << 15,
        };
        for cut in 0..bytes.len() {
            assert_eq!(greeting(&bytes[..cut]), Ok(None), "{cut}");
        }
        assert_eq!(greeting(&bytes), Ok(Some(expected.clone())));
        let more = [bytes.as_slice(), b"more"].concat();
        assert_eq!(greeting(&more), Ok(Some(expected)));
    }

    #[test]
    fn the_bits_of_mariadb_are_there_where_mysql_is_not() {
        let capabilities = |bits| read(&body(VERSION, bits, b"")).unwrap().capabilities;
        assert_eq!(capabilities(0), 0x1d_0000_0000);
        assert_eq!(capabilities(0xff07_7fff), 0xff07_7fff);
    }

    #[test]
    fn a_greeting_that_is_cut_off_is_one_and_its_fields_are_read_together_or_not_at_all() {
        let secure = u32::try_from(SECURE_CONNECTION).unwrap();
        let whole = body(VERSION, secure, b"scrambled ag");
        let readable = whole.len() - b"scrambled ag".len();
        for cut in 1..=whole.len() {
            let seen = greeting(&packet(&whole[..cut])).unwrap().unwrap();
            let version = &VERSION[..VERSION.len().min(cut) - 1];
            assert_eq!(seen.version.as_bytes(), version, "{cut}");
            let id = if cut < readable { 0 } else { 513 };
            assert_eq!(seen.connection_id, id, "{cut}");
            assert_eq!(read(&whole[..cut]).is_ok(), cut >= readable, "{cut}");
        }
    }

    #[test]
    fn what_a_relay_does_not_need_does_not_keep_it_from_relaying() {
        let secure = u32::try_from(SECURE_CONNECTION).unwrap();
        let both = secure | u32::try_from(PLUGIN_AUTH).unwrap();
        // Search servers that speak MySQL fill the byte behind the scramble.
        for (capabilities, end) in [
            (secure, &b"scrambled agz"[..]),
            (secure, b"scrambled ag\r"),
            (secure, b"short"),
            (both, b"scrambled agzmysql_native_password\0"),
            (both, b"scrambled ag\0pl\xffug\x01in"),
            (both, b""),
        ] {
            let seen = read(&body(b"2.2.1\0", capabilities, end)).unwrap();
            assert_eq!((&seen.version[..], seen.connection_id), ("2.2.1", 513));
            assert_eq!(seen.capabilities & 0xffff_ffff, u64::from(capabilities));
        }
        for (version, shown) in [
            (&b""[..], ""),
            ("8.0.36-t\u{e4}st".as_bytes(), "8.0.36-t\u{e4}st"),
            (b"8.0\xe4", "8.0\u{fffd}"),
            (b"10\n\x1b[2J", "10\u{fffd}\u{fffd}[2J"),
        ] {
            let bytes = packet(&body(&[version, b"\0"].concat(), 0, b""));
            assert_eq!(greeting(&bytes).unwrap().unwrap().version, shown);
        }
    }

    #[test]
    fn what_other_servers_send_is_no_greeting() {
        for bytes in [
            &b"SSH-2.0-OpenSSH_9.2\r\n"[..],
            b"220 mail.example ESMTP\r\n",
            b"\0\0\0\0",
            b"\x05\0\0\x01\x0a",
            b"\x05\0\0\0\x09",
            b"\x05\0\x01\0",
            b"\x01\x04\0\0",
            b"\x01\0\0\0\xff",
        ] {
            assert_eq!(greeting(bytes), Err(NoGreeting::Unexpected), "{bytes:?}");
        }
        assert_eq!(
            NoGreeting::Unexpected.to_string(),
            "it does not greet as a MariaDB server does"
        );
    }

    #[test]
    fn an_error_is_told_with_its_number_and_its_message() {
        let error = greeting(&packet(b"\xff\x10\x04Too many connections")).unwrap_err();
        assert_eq!(
            error.to_string(),
            "it answers with error 1040: Too many connections"
        );
    }
}
