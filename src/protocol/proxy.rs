//! PROXY protocol headers, from clients and to servers. Pure: bytes in, addresses out.
//!
//! The header says whose connection it really is (HAProxy's `proxy-protocol.txt`,
//! sections 2.1 and 2.2). Whoever is trusted to send one must: a missing header
//! is not guessed at, and what is wrong is said at the first byte that shows it.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The longest header that is taken. The addresses take 232 bytes at most; the
/// rest is for extensions, of which the largest known ones (names out of a
/// client's certificate) have some hundred bytes.
pub const MAX_LENGTH: usize = 4096;

/// The longest header of version 1, with its line end (section 2.1).
const MAX_LENGTH_1: usize = 107;

/// What a header of version 1 begins with.
const BEGIN_1: &[u8] = b"PROXY ";

/// What a header of version 2 begins with.
const BEGIN_2: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// A whole header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// How many bytes it takes.
    pub length: usize,
    /// Whose connection it is; `None` where it is the sender's own, or that of
    /// a kind of address that is none of ours.
    pub addresses: Option<Addresses>,
}

/// The two ends of the client's connection. None of them is an IPv4 address in IPv6 form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// The client's.
    pub source: SocketAddr,
    /// The one that the client has connected to.
    pub destination: SocketAddr,
}

/// Why bytes are no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// They begin as no header does.
    Begin,
    /// The line of version 1 is not as section 2.1 has it.
    Line,
    /// The version or the command of the binary form is unknown.
    Version,
    /// The binary form is about something else than a stream, or lacks the addresses.
    Addresses,
    /// It is longer than [`MAX_LENGTH`].
    Length,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Begin => "does not begin with a PROXY header",
            Self::Line => "has a PROXY header of version 1 that is malformed",
            Self::Version => "has a PROXY header of an unknown version or command",
            Self::Addresses => "has a PROXY header of version 2 that is malformed",
            Self::Length => "has a PROXY header of more than 4096 bytes",
        })
    }
}

impl std::error::Error for Malformed {}

/// Reads the header at the front of `bytes`; `None` where it is not whole yet.
pub fn parse(bytes: &[u8]) -> Result<Option<Header>, Malformed> {
    let begins = |with: &[u8]| bytes.iter().zip(with).all(|(one, other)| one == other);
    if begins(BEGIN_2) {
        parse_2(bytes)
    } else if begins(BEGIN_1) {
        parse_1(bytes)
    } else {
        Err(Malformed::Begin)
    }
}

/// A line of words with single blanks between them.
fn parse_1(bytes: &[u8]) -> Result<Option<Header>, Malformed> {
    let line = &bytes[..bytes.len().min(MAX_LENGTH_1)];
    let plain = |byte: &u8| matches!(byte, b' '..=b'~');
    let end = line.iter().position(|byte| !plain(byte));
    let end = match end.map(|end| (end, &line[end..])) {
        Some((end, [b'\r', b'\n', ..])) => end,
        // The line goes on, or half of its end is here.
        None | Some((_, b"\r")) if line.len() < MAX_LENGTH_1 => return Ok(None),
        _ => return Err(Malformed::Line),
    };
    let text = std::str::from_utf8(&line[..end]).map_err(|_| Malformed::Line)?;
    let words: Vec<&str> = text.split(' ').collect();
    let addresses = match words[..] {
        // Whatever follows is to be ignored.
        ["PROXY", "UNKNOWN", ..] => None,
        [
            "PROXY",
            family,
            source,
            destination,
            source_port,
            destination_port,
        ] => {
            let address = |address: &str, port: &str| {
                let address = address_1(family, address)?;
                Some(SocketAddr::new(address, port_1(port)?))
            };
            let addresses =
                address(source, source_port).zip(address(destination, destination_port));
            let (source, destination) = addresses.ok_or(Malformed::Line)?;
            Some(Addresses {
                source,
                destination,
            })
        }
        _ => return Err(Malformed::Line),
    };
    Ok(Some(Header {
        length: end + 2,
        addresses,
    }))
}

fn address_1(family: &str, text: &str) -> Option<IpAddr> {
    let address = match family {
        "TCP4" => IpAddr::V4(text.parse().ok()?),
        "TCP6" => IpAddr::V6(text.parse().ok()?),
        _ => return None,
    };
    Some(address.to_canonical())
}

/// Digits without a zero in front.
fn port_1(text: &str) -> Option<u16> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit());
    let canonical = text == "0" || !text.starts_with('0');
    (plain && canonical).then(|| text.parse().ok()).flatten()
}

/// The binary form: twelve bytes that say so, version and command, family and
/// transport, a length, the addresses, and extensions, which are not looked at.
fn parse_2(bytes: &[u8]) -> Result<Option<Header>, Malformed> {
    let rest = bytes.get(BEGIN_2.len()..).unwrap_or_default();
    let is_proxy = match rest.first() {
        None => return Ok(None),
        Some(0x20) => false,
        Some(0x21) => true,
        Some(_) => return Err(Malformed::Version),
    };
    let Some(&family) = rest.get(1) else {
        return Ok(None);
    };
    let Some(&[high, low]) = rest.get(2..4) else {
        return Ok(None);
    };
    let stated = usize::from(u16::from_be_bytes([high, low]));
    let length = BEGIN_2.len() + 4 + stated;
    if length > MAX_LENGTH {
        return Err(Malformed::Length);
    }
    // Section 2.2: family in the upper half, transport in the lower one.
    let needed = match (is_proxy, family) {
        (false, _) | (true, 0x00) => 0,
        (true, 0x11) => 12,
        (true, 0x21) => 36,
        (true, 0x31) => 216,
        (true, _) => return Err(Malformed::Addresses),
    };
    if stated < needed {
        return Err(Malformed::Addresses);
    }
    let Some(body) = rest.get(4..4 + stated) else {
        return Ok(None);
    };
    let addresses = match needed {
        12 => ends::<4>(body)
            .map(|ends| ends.map(|(bytes, port)| (Ipv4Addr::from(bytes).into(), port))),
        36 => ends::<16>(body)
            .map(|ends| ends.map(|(bytes, port)| (Ipv6Addr::from(bytes).to_canonical(), port))),
        // A unix socket has no address of ours.
        _ => None,
    };
    let addresses = addresses.map(|[source, destination]: [(IpAddr, u16); 2]| Addresses {
        source: source.into(),
        destination: destination.into(),
    });
    Ok(Some(Header { length, addresses }))
}

/// Two addresses of a size, then two ports.
fn ends<const SIZE: usize>(body: &[u8]) -> Option<[([u8; SIZE], u16); 2]> {
    let (source, body) = body.split_first_chunk()?;
    let (destination, body) = body.split_first_chunk()?;
    let (source_port, body) = body.split_first_chunk()?;
    let (destination_port, _) = body.split_first_chunk()?;
    Some([
        (*source, u16::from_be_bytes(*source_port)),
        (*destination, u16::from_be_bytes(*destination_port)),
    ])
}

/// The header of version 1 for a client's connection (section 2.1), or for
/// nobody's. Where one end is IPv6, both are written so.
#[must_use]
pub fn version_1(addresses: Option<&Addresses>) -> String {
    let Some(Addresses {
        source,
        destination,
    }) = addresses
    else {
        return "PROXY UNKNOWN\r\n".to_owned();
    };
    let (family, ends) = match (source.ip(), destination.ip()) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            ("TCP4", format!("{source} {destination}"))
        }
        (source, destination) => {
            // An IPv4 address in IPv6 form is in digits and colons like any: the line knows no dots.
            let wide = |address: IpAddr| match address {
                IpAddr::V4(address) => {
                    let [high, middle, low, last] = address.octets();
                    let pair = |one, other| u16::from_be_bytes([one, other]);
                    format!("::ffff:{:x}:{:x}", pair(high, middle), pair(low, last))
                }
                IpAddr::V6(address) => address.to_string(),
            };
            ("TCP6", format!("{} {}", wide(source), wide(destination)))
        }
    };
    format!(
        "PROXY {family} {ends} {} {}\r\n",
        source.port(),
        destination.port()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    type Ends = Option<(&'static str, &'static str)>;

    fn header(length: usize, ends: Ends) -> Header {
        let addresses = ends.map(|(source, destination)| Addresses {
            source: source.parse().unwrap(),
            destination: destination.parse().unwrap(),
        });
        Header { length, addresses }
    }

    /// The binary form with this command, family and body.
    fn binary(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let length = u16::try_from(body.len()).unwrap().to_be_bytes();
        [BEGIN_2, &[command, family][..], &length, body].concat()
    }

    const FOUR: &[u8] = &[192, 0, 2, 7, 198, 51, 100, 1, 0x12, 0x67, 0x0c, 0xea];
    const ENDS: Ends = Some(("192.0.2.7:4711", "198.51.100.1:3306"));

    fn six() -> Vec<u8> {
        let source: Ipv6Addr = "2001:db8::7".parse().unwrap();
        let destination: Ipv6Addr = "::ffff:198.51.100.1".parse().unwrap();
        [&source.octets(), &destination.octets(), &FOUR[8..]].concat()
    }

    #[test]
    fn both_versions_say_whose_connection_it_is() {
        let cases: [(&[u8], usize, Ends); 11] = [
            (b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 3306\r\n", 45, ENDS),
            (
                b"PROXY TCP4 0.0.0.0 255.255.255.255 0 65535\r\n",
                44,
                Some(("0.0.0.0:0", "255.255.255.255:65535")),
            ),
            (
                b"PROXY TCP6 2001:db8::7 ::1 4711 3306\r\n",
                38,
                Some(("[2001:db8::7]:4711", "[::1]:3306")),
            ),
            (
                b"PROXY TCP6 ::ffff:192.0.2.7 ::ffff:198.51.100.1 4711 3306\r\n",
                59,
                ENDS,
            ),
            (b"PROXY UNKNOWN\r\n", 15, None),
            (b"PROXY UNKNOWN ffff::1 ffff::2 65535 65535\r\n", 43, None),
            (&binary(0x21, 0x11, FOUR), 28, ENDS),
            (
                &binary(0x21, 0x11, &[FOUR, b"\x04\0\x02ab"].concat()),
                33,
                ENDS,
            ),
            (
                &binary(0x21, 0x21, &six()),
                52,
                Some(("[2001:db8::7]:4711", "198.51.100.1:3306")),
            ),
            (&binary(0x20, 0x11, FOUR), 28, None),
            (&binary(0x21, 0x31, &[b'/'; 216]), 232, None),
        ];
        for (bytes, length, ends) in cases {
            assert_eq!(parse(bytes), Ok(Some(header(length, ends))), "{bytes:?}");
            // What follows is not looked at, and nothing is said before the last byte.
            let followed = [bytes, b"\x0a10.11"].concat();
            assert_eq!(parse(&followed), Ok(Some(header(length, ends))));
            for cut in 0..bytes.len() {
                assert_eq!(parse(&bytes[..cut]), Ok(None), "{bytes:?} at {cut}");
            }
        }
        assert_eq!(parse(&binary(0x20, 0, &[])), Ok(Some(header(16, None))));
        assert_eq!(
            parse(&binary(0x21, 0, b"what it likes")),
            Ok(Some(header(29, None)))
        );
    }

    #[test]
    fn what_is_wrong_is_said_at_the_byte_that_shows_it() {
        let line = |text: &str| (text.as_bytes().to_vec(), Malformed::Line);
        let long = format!("PROXY UNKNOWN {}", "x".repeat(93));
        let mut cases = vec![
            (b"G".to_vec(), Malformed::Begin),
            (b"PROXX".to_vec(), Malformed::Begin),
            (b"\r\n\r\n\0\r\nQUIX".to_vec(), Malformed::Begin),
            (binary(0x11, 0x11, FOUR)[..13].to_vec(), Malformed::Version),
            (binary(0x22, 0x11, FOUR)[..13].to_vec(), Malformed::Version),
            (binary(0x21, 0x12, FOUR), Malformed::Addresses),
            (binary(0x21, 0x41, FOUR), Malformed::Addresses),
            (
                binary(0x21, 0x11, &FOUR[..11])[..16].to_vec(),
                Malformed::Addresses,
            ),
            (
                binary(0x21, 0x21, FOUR)[..16].to_vec(),
                Malformed::Addresses,
            ),
            (
                binary(0x21, 0x11, &[0; 4081])[..16].to_vec(),
                Malformed::Length,
            ),
            line(&long),
        ];
        assert!(parse(&binary(0x21, 0x11, &[0; 4080])).is_ok());
        cases.extend(
            [
                "PROXY \r\n",
                "PROXY TCP4\r\n",
                "PROXY TCP5 192.0.2.7 198.51.100.1 4711 3306\r\n",
                "PROXY tcp4 192.0.2.7 198.51.100.1 4711 3306\r\n",
                "PROXY TCP4 ::1 198.51.100.1 4711 3306\r\n",
                "PROXY TCP6 192.0.2.7 198.51.100.1 4711 3306\r\n",
                "PROXY TCP4  192.0.2.7 198.51.100.1 4711 3306\r\n",
                "PROXY TCP4 192.0.2.7 198.51.100.1 4711 3306 \r\n",
                "PROXY TCP4 192.0.2.7 198.51.100.1 04711 3306\r\n",
                "PROXY TCP4 192.0.2.7 198.51.100.1 +4711 3306\r\n",
                "PROXY TCP4 192.0.2.7 198.51.100.1 65536 3306\r\n",
                "PROXY TCP4 192.0.2.7 198.51.100.1 4711\r\n",
                "PROXY TCP4 192.0.2.007 198.51.100.1 4711 3306\r\n",
                "PROXY UNKNOWN\n",
                "PROXY UNKNOWN\r ",
                "PROXY UNKNOWN \u{e9}\r\n",
            ]
            .map(line),
        );
        for (bytes, malformed) in cases {
            assert_eq!(
                parse(&bytes),
                Err(malformed),
                "{:?}",
                String::from_utf8_lossy(&bytes)
            );
        }
    }

    #[test]
    fn what_is_written_is_read_the_same() {
        for (source, destination, line) in [
            (
                "192.0.2.7:4711",
                "198.51.100.1:3306",
                "PROXY TCP4 192.0.2.7 198.51.100.1 4711 3306\r\n",
            ),
            (
                "[2001:db8::7]:1",
                "[::1]:65535",
                "PROXY TCP6 2001:db8::7 ::1 1 65535\r\n",
            ),
            (
                "[2001:db8::7]:1",
                "198.51.100.1:2",
                "PROXY TCP6 2001:db8::7 ::ffff:c633:6401 1 2\r\n",
            ),
        ] {
            let addresses = Addresses {
                source: source.parse().unwrap(),
                destination: destination.parse().unwrap(),
            };
            let written = version_1(Some(&addresses));
            assert_eq!(written, line);
            assert_eq!(
                parse(written.as_bytes()),
                Ok(Some(header(written.len(), Some((source, destination)))))
            );
        }
        assert_eq!(
            parse(version_1(None).as_bytes()),
            Ok(Some(header(15, None)))
        );
    }
}
