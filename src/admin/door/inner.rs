//! The one connection from the door to tiny_http.
//!
//! All requests of a turn of the door's loop go in one write. Answers never
//! come this way: handlers send them to the clients themselves. tiny_http
//! meets nothing but heads that were written here.

use std::fmt::Write;
use std::fs::DirBuilder;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use tiny_http::Request;

use super::request::Head;
use crate::admin::client::ClientNumber;
use crate::socket;

/// The header field that carries a client's number. No field of a client's own
/// request is forwarded but the host.
const CLIENT: &str = "Client-Number";

/// The door's end of the connection.
pub(super) struct Inner {
    stream: UnixStream,
    unsent: String,
    sent: usize,
}

impl Inner {
    pub(super) fn connect(path: &Path) -> io::Result<Self> {
        let stream = UnixStream::connect(path)?;
        stream.set_nonblocking(true)?;
        Ok(Self {
            stream,
            unsent: String::new(),
            sent: 0,
        })
    }

    /// Adds a request to those that [`Self::flush`] sends.
    pub(super) fn forward(&mut self, head: &Head<'_>, host: &str, client: ClientNumber) {
        let Head { method, target, .. } = head;
        // Writing to a string cannot fail.
        let _ = write!(
            self.unsent,
            "{method} {target} HTTP/1.1\r\nHost: {host}\r\n{CLIENT}: {}\r\n\r\n",
            client.0
        );
    }

    /// Sends what there is to send. False where some is left until the socket
    /// has room again.
    pub(super) fn flush(&mut self) -> Result<bool, Errno> {
        while self.sent < self.unsent.len() {
            match socket::write(&self.stream, &self.unsent.as_bytes()[self.sent..]) {
                Ok(length) => self.sent += length,
                Err(Errno::AGAIN) => return Ok(false),
                Err(errno) => return Err(errno),
            }
        }
        self.unsent.clear();
        self.sent = 0;
        Ok(true)
    }

    /// Throws away what tiny_http says by itself. False where it has hung up.
    pub(super) fn is_open(&self) -> bool {
        let mut ignored = [0; 1024];
        loop {
            match socket::read(&self.stream, &mut ignored) {
                Ok(0) => return false,
                Ok(_) => {}
                Err(errno) => return errno == Errno::AGAIN,
            }
        }
    }
}

impl AsRawFd for Inner {
    fn as_raw_fd(&self) -> RawFd {
        self.stream.as_raw_fd()
    }
}

/// Which client a forwarded request is from.
pub(in crate::admin) fn client_number(request: &Request) -> Option<ClientNumber> {
    field(request, CLIENT)?.parse().ok().map(ClientNumber)
}

/// The host that a forwarded request is for.
pub(in crate::admin) fn host(request: &Request) -> &str {
    field(request, "Host").unwrap_or("localhost")
}

fn field<'a>(request: &'a Request, name: &str) -> Option<&'a str> {
    let named =
        |header: &&tiny_http::Header| header.field.as_str().as_str().eq_ignore_ascii_case(name);
    request
        .headers()
        .iter()
        .find(named)
        .map(|header| header.value.as_str())
}

/// The directory of the inner socket, which nobody else may enter (mode 0700).
/// It goes when this does.
pub(in crate::admin) struct InnerDirectory {
    path: PathBuf,
}

impl InnerDirectory {
    /// Makes one for this process: under `$RUNTIME_DIRECTORY`, which systemd
    /// sets, or else where temporary files are.
    pub(in crate::admin) fn new() -> io::Result<Self> {
        let parent =
            std::env::var_os("RUNTIME_DIRECTORY").map_or_else(std::env::temp_dir, PathBuf::from);
        let process = std::process::id();
        for number in 0..MAX_TRIES {
            let path = parent.join(format!("sessiond-{process}-{number}"));
            match DirBuilder::new().mode(0o700).create(&path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                result => return result.map(|()| Self { path }),
            }
        }
        Err(io::Error::other(format!(
            "{} is full of directories of former processes",
            parent.display()
        )))
    }

    /// The path of the socket in it.
    pub(in crate::admin) fn socket(&self) -> PathBuf {
        self.path.join("inner")
    }
}

/// How many directories one process may make, and former ones of its number have left.
const MAX_TRIES: u32 = 1000;

impl Drop for InnerDirectory {
    fn drop(&mut self) {
        // Whoever removed it before us has done what we want.
        let _ = std::fs::remove_dir_all(&self.path);
    }
}
