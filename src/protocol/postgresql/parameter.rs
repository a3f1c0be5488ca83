//! Reads a ParameterStatus: what the server tells of a setting.

use crate::protocol::Fact;
use crate::protocol::server_error::{MAX_VERSION, printable};

/// The longest ParameterStatus that is read, with its length. Names of applications have
/// at most 63 bytes, versions not many more.
pub(super) const MAX_LENGTH: u16 = 1024;

/// The setting that names the client.
pub(super) const APPLICATION_NAME: &str = "application_name";

/// The fact that a ParameterStatus shows, if it is one of those that matter
/// (manual, section "Asynchronous Operations").
pub(super) fn fact(body: &[u8]) -> Option<Fact> {
    let body = body.strip_suffix(b"\0")?;
    let at = body.iter().position(|&byte| byte == 0)?;
    let (name, value) = (&body[..at], &body[at + 1..]);
    if value.contains(&0) {
        return None;
    }
    match name {
        b"application_name" => {
            let value = String::from_utf8_lossy(value).into_owned();
            Some(Fact::ApplicationName(value))
        }
        b"server_version" => Some(Fact::ServerVersion(printable(value, MAX_VERSION))),
        b"in_hot_standby" => match value {
            b"on" => Some(Fact::HotStandby(true)),
            b"off" => Some(Fact::HotStandby(false)),
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_settings_are_told_and_no_other() {
        let name = Fact::ApplicationName("a\u{fffd}".into());
        assert_eq!(fact(b"application_name\0a\xff\0"), Some(name));
        let none = Fact::ApplicationName(String::new());
        assert_eq!(fact(b"application_name\0\0"), Some(none));
        let version = Fact::ServerVersion("16.4 (Debian\u{fffd})".into());
        assert_eq!(fact(b"server_version\x0016.4 (Debian\n)\0"), Some(version));
        assert_eq!(fact(b"in_hot_standby\0on\0"), Some(Fact::HotStandby(true)));
        assert_eq!(
            fact(b"in_hot_standby\0off\0"),
            Some(Fact::HotStandby(false))
        );
        for body in [
            &b""[..],
            b"\0",
            b"application_name\0",
            b"application_name\0till",
            b"application_name\0till\0\0",
            b"Application_Name\0till\0",
            b"in_hot_standby\0maybe\0",
            b"server_encoding\0UTF8\0",
        ] {
            assert_eq!(fact(body), None, "{body:?}");
        }
    }
}
