//! Where the running program is found, and what is shown there.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

use super::failure::Failure;
use crate::config::Admin;

/// The variable of the environment that may hold a token.
const VARIABLE: &str = "SESSIOND_TOKEN";

/// A file with a token is not longer. A token has 32 digits.
const MAX_TOKEN: usize = 1024;

/// Where the running program is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// Its unix socket.
    Socket(PathBuf),
    /// Its TCP port.
    Address {
        /// An address, or a name that is looked up.
        host: String,
        /// Never 0.
        port: u16,
    },
}

impl Place {
    /// Reads `HOST:PORT`; an IPv6 address stands in brackets.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (host, port) = text.rsplit_once(':')?;
        let bare = match host.strip_prefix('[') {
            Some(rest) => rest.strip_suffix(']')?,
            None => host,
        };
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
        let is_v6 = bare.parse::<Ipv6Addr>().is_ok();
        let is_host = is_v6 == host.starts_with('[') && !bare.is_empty();
        let port = port.parse().ok().filter(|port| *port != 0)?;
        (is_host && (is_v6 || bare.chars().all(is_plain))).then(|| Self::Address {
            host: bare.to_owned(),
            port,
        })
    }

    /// Where a configuration has it listen: on its unix socket where there is
    /// one that may be used, else on its port.
    pub fn configured(admin: &Admin) -> Result<Self, Failure> {
        if !admin.enabled {
            return Err(Failure::Nowhere(
                "admin_enabled=false in the configuration: nobody can be asked",
            ));
        }
        let may_use = |path: &Path| access(path, Access::READ_OK | Access::WRITE_OK).is_ok();
        if let Some(socket) = admin.socket.as_ref().filter(|it| may_use(&it.path)) {
            return Ok(Self::Socket(socket.path.clone()));
        }
        let host = match admin.host {
            IpAddr::V4(address) if address.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(address) if address.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
            address => address,
        };
        if admin.port == 0 {
            return Err(Failure::Nowhere(
                "admin_port=0 in the configuration: the log names the port; say it by --address",
            ));
        }
        Ok(Self::Address {
            host: host.to_string(),
            port: admin.port,
        })
    }

    /// What stands in the field `Host` of a request.
    pub(super) fn host(&self) -> String {
        match self {
            Self::Socket(_) => "localhost".to_owned(),
            Self::Address { host, port } if host.contains(':') => format!("[{host}]:{port}"),
            Self::Address { host, port } => format!("{host}:{port}"),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(path) => path.display().fmt(f),
            Self::Address { .. } => f.write_str(&self.host()),
        }
    }
}

/// A secret: it is never printed.
#[derive(Clone)]
pub struct Token(String);

impl Token {
    /// The token in a file, or else the one of the environment, if there is one.
    pub fn find(file: Option<&Path>) -> Result<Option<Self>, Failure> {
        if let Some(path) = file {
            let unreadable = |cause| Failure::TokenFile(path.into(), cause);
            let mut text = Vec::new();
            let opened = File::open(path).map_err(unreadable)?;
            let mut some = opened.take(MAX_TOKEN as u64);
            some.read_to_end(&mut text).map_err(unreadable)?;
            let text = String::from_utf8(text).unwrap_or_default();
            return Self::new(&text, &path.to_string_lossy()).map(Some);
        }
        match std::env::var_os(VARIABLE) {
            Some(text) if !text.is_empty() => {
                Self::new(&text.to_string_lossy(), VARIABLE).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// Text with nothing in it that could end a field of a request.
    fn new(text: &str, place: &str) -> Result<Self, Failure> {
        let token = text.trim();
        let is_plain = token.bytes().all(|byte| byte.is_ascii_graphic());
        if token.is_empty() || token.len() >= MAX_TOKEN || !is_plain {
            return Err(Failure::NoToken(place.to_owned()));
        }
        Ok(Self(token.to_owned()))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn an_address_is_a_host_and_a_port() {
        let host = |text: &str| Place::parse(text).map(|place| place.host());
        for text in ["localhost:8989", "127.0.0.1:1", "[::1]:8989", "a-b.c_d:80"] {
            assert_eq!(host(text).as_deref(), Some(text));
        }
        for text in [
            "",
            "localhost",
            ":8989",
            "localhost:",
            "localhost:0",
            "localhost:65536",
            "::1:8989",
            "[::1]",
            "[::1:80",
            "[localhost]:80",
            "a b:80",
            "a\r\nx:80",
            "http://a:80",
            "a/b:80",
        ] {
            assert_eq!(host(text), None, "{text}");
        }
    }

    #[test]
    fn a_configuration_says_where_it_is() {
        let place = |text: &str| {
            let text = format!("[maxscale]\n{text}\n");
            let config = Config::parse("test", text.as_bytes()).unwrap();
            Place::configured(&config.admin).map(|place| place.to_string())
        };
        assert_eq!(place("").unwrap(), "127.0.0.1:8989");
        assert_eq!(place("admin_port=80\nadmin_host=::1").unwrap(), "[::1]:80");
        // Of the sockets that are named, only one that is there is used.
        let nowhere = "admin_socket=/nonexistent/a.sock";
        assert_eq!(place(nowhere).unwrap(), "127.0.0.1:8989");
        assert_eq!(place("admin_socket=/dev/null").unwrap(), "/dev/null");
        let accounts = "admin_accounts=/a\nadmin_host=";
        assert_eq!(
            place(&format!("{accounts}0.0.0.0")).unwrap(),
            "127.0.0.1:8989"
        );
        assert_eq!(place(&format!("{accounts}::")).unwrap(), "[::1]:8989");
        assert!(place("admin_enabled=false").unwrap_err().is_of_usage());
        assert!(
            place("admin_port=0")
                .unwrap_err()
                .to_string()
                .contains("--address")
        );
    }

    #[test]
    fn a_token_cannot_add_to_a_request() {
        let token = |text: &str| Token::new(text, "it").map(|token| token.0).ok();
        assert_eq!(token(" 6b7c\n").as_deref(), Some("6b7c"));
        for text in ["", " \n", "a\r\nX: y", "a b", "é", &"0".repeat(1024)] {
            assert_eq!(token(text), None, "{text:?}");
        }
    }
}
