//! The socket of a service manager that is told how the program is.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use super::PATIENCE;
use super::uninterrupted::uninterrupted;

pub struct Notify {
    socket: UnixDatagram,
}

impl Notify {
    /// Listens at a path, and tells a program of it.
    pub fn at(path: &Path, program: &mut Command) -> Self {
        let socket = UnixDatagram::bind(path).unwrap();
        program.env("NOTIFY_SOCKET", path);
        Self { socket }
    }

    /// Listens at a name in the abstract namespace.
    pub fn abstract_at(name: &str, program: &mut Command) -> Self {
        let address = SocketAddr::from_abstract_name(name).unwrap();
        let socket = UnixDatagram::bind_addr(&address).unwrap();
        program.env("NOTIFY_SOCKET", format!("@{name}"));
        Self { socket }
    }

    /// The next message, if it comes within that time.
    pub fn within(&self, limit: Duration) -> Option<String> {
        let mut buffer = [0; 4096];
        self.socket.set_read_timeout(Some(limit)).unwrap();
        let length = uninterrupted(|| self.socket.recv(&mut buffer)).ok()?;
        Some(String::from_utf8(buffer[..length].to_vec()).unwrap())
    }

    /// The next message.
    pub fn message(&self) -> String {
        self.within(PATIENCE).expect("a message to systemd")
    }

    /// The next message that has such a line; those before it are passed over.
    pub fn until(&self, line: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        let mut passed = Vec::new();
        while Instant::now() < deadline {
            if let Some(message) = self.within(Duration::from_secs(1)) {
                if message.lines().any(|other| other.starts_with(line)) {
                    return message;
                }
                passed.push(message);
            }
        }
        panic!("no {line} came, but {passed:#?}");
    }
}

/// Fills a socket up, so that nobody can send until somebody reads.
pub fn fill(path: &Path) {
    let sender = UnixDatagram::unbound().unwrap();
    sender.set_nonblocking(true).unwrap();
    while sender.send_to(b"X=1", path).is_ok() {}
}

/// The line of a message that begins so, without its beginning.
pub fn value<'a>(message: &'a str, name: &str) -> Option<&'a str> {
    message
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
}
