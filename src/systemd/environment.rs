//! What systemd says of itself in the environment, and how it is told something.

use std::ffi::OsString;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// A watchdog is told no more often than that, whatever is asked for.
const SHORTEST_WATCHDOG: Duration = Duration::from_millis(100);

/// Whom to tell, and how often that the program is alive.
#[derive(Default)]
pub struct Environment {
    pub(super) target: Option<Target>,
    /// How long systemd waits for a message until it takes the program for dead.
    pub(super) watchdog: Option<Duration>,
}

impl Environment {
    /// Reads `NOTIFY_SOCKET`, `WATCHDOG_USEC` and `WATCHDOG_PID`. What is not
    /// understood is a warning, and counts as absent.
    #[must_use]
    pub fn read() -> Self {
        Self::of(|name| std::env::var_os(name), std::process::id())
    }

    fn of(variable: impl Fn(&str) -> Option<OsString>, process: u32) -> Self {
        let Some(socket) = variable("NOTIFY_SOCKET").filter(|socket| !socket.is_empty()) else {
            return Self::default();
        };
        let target = address(socket.as_bytes())
            .and_then(|address| Target::new(address, &socket.to_string_lossy()));
        let target = match target {
            Ok(target) => target,
            Err(cause) => {
                log::warn!(
                    "NOTIFY_SOCKET={}: {cause}; systemd is not told how things are",
                    socket.to_string_lossy()
                );
                return Self::default();
            }
        };
        let number = |name: &str| -> Option<u64> {
            let text = variable(name)?;
            let number = text.to_str().and_then(|text| text.parse().ok());
            if number.is_none() {
                let text = text.to_string_lossy();
                log::warn!("{name}={text} must be a number; the watchdog is not told anything");
            }
            Some(number.unwrap_or(0))
        };
        // What is meant for another process is none of our business.
        let is_ours = number("WATCHDOG_PID").is_none_or(|wanted| wanted == u64::from(process));
        let limit = number("WATCHDOG_USEC").filter(|limit| *limit > 0 && is_ours);
        Self {
            target: Some(target),
            watchdog: limit.map(|limit| Duration::from_micros(limit).max(SHORTEST_WATCHDOG)),
        }
    }
}

/// The socket that systemd reads.
pub(super) struct Target {
    socket: UnixDatagram,
    address: SocketAddr,
    name: String,
    /// Whether the log knows that it cannot be reached.
    failed: bool,
}

impl Target {
    fn new(address: SocketAddr, name: &str) -> io::Result<Self> {
        Ok(Self {
            socket: UnixDatagram::unbound()?,
            address,
            name: name.to_owned(),
            failed: false,
        })
    }

    /// Sends a message; it waits where the socket is full.
    pub(super) fn send(&mut self, message: &str) {
        if message.is_empty() {
            return;
        }
        match self.socket.send_to_addr(message.as_bytes(), &self.address) {
            Ok(_) => self.failed = false,
            Err(cause) if !std::mem::replace(&mut self.failed, true) => {
                log::warn!(
                    "cannot tell systemd how things are at {}: {cause}",
                    self.name
                );
            }
            Err(_) => {}
        }
    }
}

/// A path, or the name of an abstract socket behind an `@` (sd_notify(3)).
fn address(socket: &[u8]) -> io::Result<SocketAddr> {
    match socket {
        [b'/', ..] => SocketAddr::from_pathname(std::ffi::OsStr::from_bytes(socket)),
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
        _ => Err(io::Error::other(
            "it must be an absolute path, or a name behind an @",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watchdog(variables: &[(&str, &str)]) -> Option<Duration> {
        let of = |name: &str| {
            let found = variables.iter().find(|(other, _)| *other == name);
            found.map(|(_, value)| OsString::from(value))
        };
        Environment::of(of, 7).watchdog
    }

    #[test]
    fn the_watchdog_is_told_where_it_is_ours_and_somebody_listens() {
        let socket = ("NOTIFY_SOCKET", "@x");
        let limit = ("WATCHDOG_USEC", "3000000");
        let three = Some(Duration::from_secs(3));
        assert_eq!(watchdog(&[socket, limit]), three);
        assert_eq!(watchdog(&[socket, limit, ("WATCHDOG_PID", "7")]), three);
        assert_eq!(watchdog(&[socket, limit, ("WATCHDOG_PID", "8")]), None);
        assert_eq!(watchdog(&[socket, limit, ("WATCHDOG_PID", "x")]), None);
        assert_eq!(watchdog(&[limit]), None);
        assert_eq!(watchdog(&[("NOTIFY_SOCKET", "x"), limit]), None);
        for wrong in ["0", "", "-1", "1s"] {
            assert_eq!(watchdog(&[socket, ("WATCHDOG_USEC", wrong)]), None);
        }
        assert_eq!(
            watchdog(&[socket, ("WATCHDOG_USEC", "1")]),
            Some(SHORTEST_WATCHDOG)
        );
    }

    #[test]
    fn a_socket_is_a_path_or_abstract() {
        assert!(
            address(b"/run/systemd/notify")
                .unwrap()
                .as_pathname()
                .is_some()
        );
        assert_eq!(address(b"@a").unwrap().as_abstract_name(), Some(&b"a"[..]));
        assert!(address(b"vsock:2:1").is_err());
        assert!(address(&[b'/'; 200]).is_err());
    }
}
