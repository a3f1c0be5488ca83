//! The way of requests through tiny_http, over one connection.
//!
//! All requests of a turn of the loop go in one write, and come out as
//! tiny_http has read them. Answers never come this way: the handlers send
//! them to the clients themselves. tiny_http meets nothing but heads that were
//! written here.

use std::fs::{self, DirBuilder, Metadata};
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::io::Errno;
use tiny_http::{Request, Server};

use super::request::{AUTHORIZATION, DESTINATION, Head, SITE};
use crate::admin::client::ClientNumber;
use crate::jsonapi::push_decimal;
use crate::socket;

/// The header field that carries a client's number and, behind a space, the
/// host that it asks for. Of a client's own fields those are forwarded that the
/// parser lets through. tiny_http's work grows with every byte and every field.
const CLIENT: &str = "Client";

/// How long tiny_http may take to take up the connection. It takes less than a
/// millisecond, unless the machine stands still.
const GREETING_LIMIT: Duration = Duration::from_secs(10);

/// How long to wait for a request that tiny_http is reading before the door's
/// clients have their turn. To read one takes it some microseconds.
const READING_LIMIT: Duration = Duration::from_millis(50);

/// tiny_http, and our end of the connection to it.
pub(super) struct Inner {
    stream: UnixStream,
    server: Server,
    unsent: String,
    sent: usize,
    /// How many requests are in what is not sent in full.
    held: usize,
    /// How many requests were sent in full, and have not come out.
    owed: usize,
    directory: InnerDirectory,
}

impl Inner {
    /// Starts tiny_http in a directory of its own, and connects to it.
    pub(super) fn new() -> io::Result<Self> {
        let directory = InnerDirectory::new()?;
        let server = Server::http_unix(&directory.socket())
            .map_err(|cause| io::Error::other(cause.to_string()))?;
        let mut inner = Self {
            stream: connect(&directory)?,
            server,
            unsent: String::new(),
            sent: 0,
            held: 0,
            owed: 0,
            directory,
        };
        inner.greet()?;
        Ok(inner)
    }

    /// Makes sure that tiny_http has taken up the connection, by a request of
    /// nobody: it does so in its own time, and panics where there is no
    /// descriptor left by then.
    fn greet(&mut self) -> io::Result<()> {
        self.unsent
            .push_str("OPTIONS / HTTP/1.1\r\nHost: localhost\r\n\r\n");
        self.flush()?;
        match self.server.recv_timeout(GREETING_LIMIT)? {
            Some(request) => drop(request.into_writer()),
            None => return Err(io::Error::other("tiny_http does not answer")),
        }
        Ok(())
    }

    /// Connects anew, since tiny_http has hung up. What it had to read is lost.
    pub(super) fn reconnect(&mut self) -> io::Result<()> {
        // What it could still read it has handed over before it hung up.
        while let Some(request) = self.server.try_recv().transpose() {
            drop(request.map(Request::into_writer));
        }
        self.unsent.clear();
        (self.sent, self.held, self.owed) = (0, 0, 0);
        self.stream = connect(&self.directory)?;
        Ok(())
    }

    /// Adds a request to those that [`Self::flush`] sends.
    pub(super) fn forward(&mut self, head: &Head<'_>, host: &str, client: ClientNumber) {
        let unsent = &mut self.unsent;
        unsent.extend([head.method, " ", head.target, " HTTP/1.1\r\n"]);
        unsent.extend([CLIENT, ": "]);
        push_decimal(unsent, client.0);
        unsent.extend([" ", host, "\r\n"]);
        for (name, value) in &head.fields {
            unsent.extend([name, ": ", value, "\r\n"]);
        }
        unsent.push_str("\r\n");
        self.held += 1;
    }

    /// The next of the requests that were sent in full, as tiny_http has read it.
    /// `None` where there is none, or tiny_http takes long over it.
    pub(super) fn receive(&mut self) -> Option<Request> {
        loop {
            match self.next() {
                Ok(Some(request)) if client(&request).is_some() => {
                    self.owed = self.owed.saturating_sub(1);
                    return Some(request);
                }
                // Whoever may enter the directory can send something, too.
                Ok(Some(stranger)) => drop(stranger.into_writer()),
                Ok(None) => return None,
                Err(cause) => {
                    log::error!("the admin server's inner socket: {cause}");
                    return None;
                }
            }
        }
    }

    fn next(&self) -> io::Result<Option<Request>> {
        if self.owes() {
            self.server.recv_timeout(READING_LIMIT)
        } else {
            self.server.try_recv()
        }
    }

    /// Whether tiny_http has requests that [`Self::receive`] is going to receive.
    pub(super) fn owes(&self) -> bool {
        self.owed > 0
    }

    /// Whether there is nothing to send.
    #[cfg(test)]
    pub(super) fn is_idle(&self) -> bool {
        self.unsent.is_empty()
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
        self.owed += std::mem::take(&mut self.held);
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

fn connect(directory: &InnerDirectory) -> io::Result<UnixStream> {
    let stream = UnixStream::connect(directory.socket())?;
    stream.set_nonblocking(true)?;
    Ok(stream)
}

impl AsRawFd for Inner {
    fn as_raw_fd(&self) -> RawFd {
        self.stream.as_raw_fd()
    }
}

/// Which client a forwarded request is from.
pub(in crate::admin) fn client_number(request: &Request) -> Option<ClientNumber> {
    let (number, _) = client(request)?;
    number.parse().ok().map(ClientNumber)
}

/// The host that a forwarded request is for. Each has one.
pub(in crate::admin) fn host(request: &Request) -> &str {
    client(request).map_or("localhost", |(_, host)| host)
}

fn client(request: &Request) -> Option<(&str, &str)> {
    field(request, CLIENT)?.split_once(' ')
}

/// The login of a forwarded request.
pub(in crate::admin) fn authorization(request: &Request) -> Option<&str> {
    field(request, AUTHORIZATION)
}

/// What a browser asks for by a forwarded request.
pub(in crate::admin) fn destination(request: &Request) -> Option<&str> {
    field(request, DESTINATION)
}

/// Where the page comes from that asks, as a browser says it.
pub(in crate::admin) fn site(request: &Request) -> Option<&str> {
    field(request, SITE)
}

/// All values of a header field, as one list (RFC 9110, section 5.3).
pub(in crate::admin) fn list(request: &Request, name: &str) -> Option<String> {
    let values: Vec<&str> = fields(request, name).collect();
    (!values.is_empty()).then(|| values.join(", "))
}

fn field<'a>(request: &'a Request, name: &'a str) -> Option<&'a str> {
    fields(request, name).next()
}

fn fields<'a>(request: &'a Request, name: &'a str) -> impl Iterator<Item = &'a str> {
    let named = move |header: &&tiny_http::Header| {
        header.field.as_str().as_str().eq_ignore_ascii_case(name)
    };
    request
        .headers()
        .iter()
        .filter(named)
        .map(|header| header.value.as_str())
}

/// The directory of the inner socket, which nobody else may enter (mode 0700).
/// It goes when this does.
struct InnerDirectory {
    path: PathBuf,
}

impl InnerDirectory {
    /// Makes one for this process: under `$RUNTIME_DIRECTORY`, which systemd
    /// sets, or else where temporary files are. Those that former processes
    /// have left there go, but not within [`NEW_FOR`].
    fn new() -> io::Result<Self> {
        let parent =
            std::env::var_os("RUNTIME_DIRECTORY").map_or_else(std::env::temp_dir, PathBuf::from);
        remove_stale(&parent);
        let process = std::process::id();
        for number in 0..MAX_TRIES {
            let path = parent.join(format!("{PREFIX}{process}-{number}"));
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
    fn socket(&self) -> PathBuf {
        self.path.join(SOCKET)
    }
}

const PREFIX: &str = "sessiond-";
const SOCKET: &str = "inner";

/// How many directories one process may make, and former ones of its number have left.
const MAX_TRIES: u32 = 1000;

impl Drop for InnerDirectory {
    fn drop(&mut self) {
        remove(&self.path);
    }
}

/// Removes a directory with its socket. Where anything else is in it, it stays.
fn remove(directory: &Path) {
    // Whoever removed them before us has done what we want.
    let _ = fs::remove_file(directory.join(SOCKET));
    let _ = fs::remove_dir(directory);
}

/// Removes what processes have left that were ended without a chance to tidy up:
/// directories of ours with a socket that nobody listens on. Where a directory is
/// new, somebody may be about to listen.
fn remove_stale(parent: &Path) {
    let own = rustix::process::geteuid().as_raw();
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let is_ours = entry.file_name().to_str().is_some_and(is_our_name)
            && entry.metadata().is_ok_and(|found| {
                found.is_dir()
                    && found.uid() == own
                    && found.mode() & 0o777 == 0o700
                    && !is_new(&found)
            });
        if !is_ours {
            continue;
        }
        let refused = UnixStream::connect(entry.path().join(SOCKET));
        if refused.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused) {
            remove(&entry.path());
        }
    }
}

/// Whether a directory was made, or its socket, less than [`NEW_FOR`] ago. One from
/// the future is of a time before the clock was set back, and is not new.
fn is_new(found: &Metadata) -> bool {
    let age = found.modified().ok().and_then(|time| time.elapsed().ok());
    age.is_some_and(|age| age < NEW_FOR)
}

/// For how long a directory may be one whose maker does not listen yet. That takes
/// microseconds, unless the machine stands still.
const NEW_FOR: Duration = Duration::from_secs(10);

/// Whether a directory's name is the prefix and two numbers.
fn is_our_name(name: &str) -> bool {
    let numbers = name
        .strip_prefix(PREFIX)
        .and_then(|rest| rest.split_once('-'));
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    numbers.is_some_and(|(process, number)| is_number(process) && is_number(number))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::super::request;
    use super::*;

    #[test]
    fn a_request_of_a_stranger_is_none_and_is_not_counted() {
        let mut inner = Inner::new().unwrap();
        let mut stranger = UnixStream::connect(inner.directory.socket()).unwrap();
        let request = b"GET /v1 HTTP/1.1\r\nHost: localhost\r\n\r\n";
        let head = request::parse(request).unwrap().unwrap();
        for number in 0..100 {
            stranger.write_all(request).unwrap();
            inner.forward(&head, "localhost", ClientNumber(number));
            assert_eq!(inner.flush(), Ok(true));
            let received = std::iter::repeat_with(|| inner.receive())
                .take(400)
                .flatten()
                .next();
            let received = received.expect("tiny_http reads it within 20 s");
            assert_eq!(client_number(&received), Some(ClientNumber(number)));
            assert!(!inner.owes());
            drop(received.into_writer());
        }
    }

    #[test]
    fn only_names_of_the_form_of_ours_are_ours() {
        assert!(is_our_name("sessiond-123-0"));
        for name in [
            "sessiond-123",
            "sessiond-test-1",
            "sessiond-1-",
            "sessiond--1",
            "x-sessiond-1-1",
            "sessiond-1-1-1",
        ] {
            assert!(!is_our_name(name), "{name}");
        }
    }
}
