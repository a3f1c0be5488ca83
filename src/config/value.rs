//! One value of the configuration: text in, a type out, or what would be right.

use std::net::IpAddr;
use std::time::Duration;

use super::{Host, Protocol, Rank, Router};

/// A year: longer waits are typing mistakes, and their sum with a clock must not overflow.
const MAX_DURATION: Duration = Duration::from_secs(366 * 24 * 3600);

/// A boolean, in the words that the API takes, too.
pub(super) fn boolean(text: &str) -> Result<bool, String> {
    crate::boolean::parse(text).ok_or_else(|| "must be true or false".to_owned())
}

/// `500ms`, `10s`, `2m`, `1h`; a bare number is seconds.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let milliseconds_each = match &text[digits.len()..] {
        "ms" => 1,
        "" | "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => 0,
    };
    let number = decimal::<u64>(digits).filter(|_| milliseconds_each > 0);
    let number = number.ok_or("must be a whole number with ms, s, m or h, such as 10s")?;
    match number
        .checked_mul(milliseconds_each)
        .map(Duration::from_millis)
    {
        Some(duration) if duration <= MAX_DURATION => Ok(duration),
        _ => Err("must be a year at most".to_owned()),
    }
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
    text.parse()
        .map_err(|_| "must be an IP address, such as 127.0.0.1 or ::1".to_owned())
}

/// An IP address, or a name to look up (RFC 1123, section 2.1; `_` is common on inner networks).
pub(super) fn host(text: &str) -> Result<Host, String> {
    if let Ok(address) = text.parse() {
        return Ok(Host::Address(address));
    }
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
            && !label.starts_with('-')
    };
    let name = text.strip_suffix('.').unwrap_or(text);
    // A name of digits and dots alone is an address with a typing mistake.
    let has_letter = name.bytes().any(|byte| byte.is_ascii_alphabetic());
    if name.len() <= 253 && has_letter && name.split('.').all(label) {
        Ok(Host::Name(text.to_owned()))
    } else {
        Err("must be an IP address or a host name, such as 192.0.2.1 or db1.example".to_owned())
    }
}

pub(super) fn rank(text: &str) -> Result<Rank, String> {
    match text {
        "primary" => Ok(Rank::Primary),
        "secondary" => Ok(Rank::Secondary),
        _ => Err("must be primary or secondary".to_owned()),
    }
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
    fn durations_have_units() {
        for (text, milliseconds) in [
            ("0", 0),
            ("5", 5_000),
            ("5s", 5_000),
            ("250ms", 250),
            ("2m", 120_000),
            ("1h", 3_600_000),
        ] {
            assert_eq!(
                duration(text),
                Ok(Duration::from_millis(milliseconds)),
                "{text}"
            );
        }
        for text in [
            "",
            "s",
            "-1",
            "+1",
            "1.5s",
            "1 s",
            "1d",
            "9999h9",
            "18446744073709551616",
            "99999999h",
        ] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

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
