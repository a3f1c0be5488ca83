//! One value of the configuration: text in, a type out, or what would be right.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::{Host, Network, Protocol, Rank, Router};

/// A boolean, in the words that the API takes, too.
pub(super) fn boolean(text: &str) -> Result<bool, String> {
    crate::boolean::parse(text).ok_or_else(|| "must be true or false".to_owned())
}

/// `500ms`, `10s`, `2m`, `1h`; a bare number is seconds.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    crate::duration::parse(text).map_err(str::to_owned)
}

/// A duration that something can happen in.
pub(super) fn positive_duration(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        Duration::ZERO => Err("must be longer than nothing, such as 10s".to_owned()),
        duration => Ok(duration),
    }
}

/// A port to connect to.
pub(super) fn port(text: &str) -> Result<u16, String> {
    decimal(text)
        .filter(|&port| port > 0)
        .ok_or_else(|| "must be a number from 1 to 65535".to_owned())
}

/// A port to listen on, where 0 stands for any that is free.
pub(super) fn listening_port(text: &str) -> Result<u16, String> {
    decimal(text)
        .ok_or_else(|| "must be a number from 1 to 65535, or 0 for any that is free".to_owned())
}

/// Digits alone: no sign, unlike `str::parse`.
fn decimal<T: std::str::FromStr>(text: &str) -> Option<T> {
    text.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| text.parse().ok())
        .flatten()
}

/// An IP address to listen on.
pub(super) fn address(text: &str) -> Result<IpAddr, String> {
    text.parse::<IpAddr>()
        .map(|address| address.to_canonical())
        .map_err(|_| "must be an IP address, such as 127.0.0.1 or ::1".to_owned())
}

/// An IP address, or a name to look up (RFC 1123, section 2.1; `_` is common on inner networks).
pub(super) fn host(text: &str) -> Result<Host, String> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(Host::Address(address.to_canonical()));
    }
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
            && !label.starts_with('-')
    };
    let name = text.strip_suffix('.').unwrap_or(text);
    // A name whose last part is a number is an address in some other notation (inet_aton(3)).
    let last = name.rsplit('.').next().unwrap_or_default();
    let is_number = last.bytes().all(|byte| byte.is_ascii_digit())
        || last.starts_with("0x")
        || last.starts_with("0X");
    if name.len() <= 253 && !is_number && name.split('.').all(label) {
        Ok(Host::Name(text.to_owned()))
    } else {
        Err("must be an IP address or a host name, such as 192.0.2.1 or db1.example".to_owned())
    }
}

/// A file, wherever the program is started.
pub(super) fn path(text: &str) -> Result<PathBuf, String> {
    if text.starts_with('/') {
        Ok(PathBuf::from(text))
    } else {
        Err("must be an absolute path".to_owned())
    }
}

/// The system's own limit for the path of a socket, without the closing zero (unix(7)).
const MAX_SOCKET_PATH: usize = 107;

/// Where a unix socket is.
pub(super) fn socket_path(text: &str) -> Result<PathBuf, String> {
    if text.len() > MAX_SOCKET_PATH {
        return Err(format!("must have at most {MAX_SOCKET_PATH} bytes"));
    }
    path(text)
}

/// The permissions of a file, as chmod(1) takes them in digits.
pub(super) fn mode(text: &str) -> Result<u32, String> {
    let octal =
        (3..=4).contains(&text.len()) && text.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
    let mode = octal.then(|| u32::from_str_radix(text, 8).ok()).flatten();
    mode.filter(|mode| mode & !0o777 == 0)
        .ok_or_else(|| "must be three octal digits, such as 0660".to_owned())
}

/// Names with commas between them.
pub(super) fn names(text: &str) -> Result<Vec<String>, String> {
    let name = |name: &str| match host(name) {
        Ok(host) => Ok(host.to_string()),
        Err(_) => {
            Err("must be host names with commas between them, such as gateway.example".to_owned())
        }
    };
    text.split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .map(name)
        .collect()
}

/// How many admin clients there may be: a few for the operators and their
/// programs, not so many that their memory counts.
pub(super) fn connections(text: &str) -> Result<usize, String> {
    decimal(text)
        .filter(|number| (4..=1024).contains(number))
        .ok_or_else(|| "must be a number from 4 to 1024".to_owned())
}

/// How many closed sessions are remembered: each takes about a kilobyte, and
/// whoever looks for one looks through all.
pub(super) fn history(text: &str) -> Result<usize, String> {
    decimal(text)
        .filter(|number| *number <= 10_000)
        .ok_or_else(|| "must be a number from 0 to 10000".to_owned())
}

/// How many of something there may be, where 0 is no limit.
pub(super) fn limit(text: &str) -> Result<usize, String> {
    decimal(text).ok_or_else(|| "must be a number, where 0 is no limit".to_owned())
}

/// Networks with commas between them.
pub(super) fn networks(text: &str) -> Result<Vec<Network>, String> {
    text.split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .map(str::parse)
        .collect()
}

/// The name of another object.
pub(super) fn name(text: &str) -> Result<String, String> {
    if text.is_empty() {
        Err("must be a name".to_owned())
    } else {
        Ok(text.to_owned())
    }
}

/// The names of servers, in their order.
pub(super) fn list(text: &str) -> Result<Vec<String>, String> {
    let list: Vec<String> = text.split(',').map(|name| name.trim().to_owned()).collect();
    if list.iter().any(String::is_empty) {
        return Err("must name a server, or several with commas between them".to_owned());
    }
    Ok(list)
}

pub(super) fn rank(text: &str) -> Result<Rank, String> {
    [Rank::Primary, Rank::Secondary]
        .into_iter()
        .find(|rank| rank.as_str() == text)
        .ok_or_else(|| "must be primary or secondary".to_owned())
}

pub(super) fn router(text: &str) -> Result<Router, String> {
    match text {
        "readconnroute" => Ok(Router::ReadConnRoute),
        "readwritesplit" => Err(
            "must be readconnroute: statement routing needs a SQL-parsing proxy, which this is not"
                .to_owned(),
        ),
        _ => Err("must be readconnroute".to_owned()),
    }
}

pub(super) fn protocol(text: &str) -> Result<Protocol, String> {
    [Protocol::MariaDb, Protocol::PostgreSql, Protocol::Tcp]
        .into_iter()
        .find(|protocol| protocol.as_str().eq_ignore_ascii_case(text))
        .ok_or_else(|| "must be MariaDBClient, PostgreSQLClient or TCP".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_an_address_or_a_name_but_not_a_mistyped_address() {
        for text in ["127.0.0.1", "::1", "localhost", "db_1.example.", "1.db"] {
            assert!(host(text).is_ok(), "{text}");
        }
        for text in [
            "",
            ".",
            "127.0.0.1.1",
            "256.1.1.1",
            "[::1]",
            "a..b",
            "-a",
            "a b",
            "a/b",
            "db:3306",
        ] {
            assert!(host(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_port_is_all_digits() {
        assert_eq!(port("3306"), Ok(3306));
        for text in ["0", "+1", "-1", "65536", "", "0x10", " 1"] {
            assert!(port(text).is_err(), "{text}");
        }
        assert_eq!(listening_port("0"), Ok(0));
    }
}
