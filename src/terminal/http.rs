//! Asks one thing over HTTP/1.1 (RFC 9112), on a connection of its own.
//!
//! Whoever answers may be anybody: a program that took the port, or one that
//! hangs. So every wait counts against one deadline, and every length has a
//! limit. It keeps no connection, follows no redirection, and sends no token
//! over a unix socket, which needs none.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use miniserde::json;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType, connect, recv,
    send, socket_with,
};

use super::document;
use super::failure::Failure;
use super::place::{Place, Token};

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(5);

/// How long the whole of an answer may take. That of 100,000 sessions takes 2 s
/// on a fast machine.
const WHOLE: Duration = Duration::from_secs(30);

/// The longest line of a head, or before a chunk.
const MAX_LINE: usize = 8 * 1024;

/// The most lines of a head.
const MAX_LINES: usize = 100;

/// The most interim answers before the one that counts (RFC 9110, section 15.2).
const MAX_INTERIM: usize = 5;

/// The form in which the API answers.
const MEDIA_TYPE: &str = "application/vnd.api+json";

/// The longest answer. A session takes less than a kilobyte of it, mostly.
const MAX_BODY: usize = 128 * 1024 * 1024;

/// The status of an answer to somebody who has not shown the token of an account.
const UNAUTHORIZED: u16 = 401;

/// How much is read at once.
const PIECE: usize = 16 * 1024;

/// What came.
pub(super) struct Answer {
    status: u16,
    /// Whether it says that it is a document of the API.
    is_document: bool,
    body: String,
}

/// Whom to ask, and by which right.
#[derive(Clone)]
pub(super) struct Client {
    pub(super) place: Place,
    pub(super) token: Option<Token>,
}

impl Client {
    /// The document that is there.
    pub(super) fn get(&self, target: &str) -> Result<String, Failure> {
        let answer = self.ask("GET", target)?;
        match answer.status {
            200 if answer.is_document => Ok(answer.body),
            200 => Err(self.garbled("something that is no document of the API")),
            _ => Err(self.refusal(&answer)),
        }
    }

    /// Has something removed.
    pub(super) fn delete(&self, target: &str) -> Result<(), Failure> {
        let answer = self.ask("DELETE", target)?;
        match answer.status {
            204 => Ok(()),
            200 => Err(self.garbled("something that is no answer to a DELETE")),
            _ => Err(self.refusal(&answer)),
        }
    }

    /// What is wrong with something that was read.
    pub(super) fn garbled(&self, what: &'static str) -> Failure {
        Failure::Garbled(self.place.to_string(), what)
    }

    /// A refusal in the API's own words, but for that of a login, whose words are
    /// about header fields.
    fn refusal(&self, answer: &Answer) -> Failure {
        let detail = json::from_str::<json::Value>(&answer.body).ok();
        let detail = detail.and_then(|document| {
            let detail = document::find(&document, "/errors/0/detail");
            detail.map(document::plain)
        });
        match detail {
            Some(_) if answer.status == UNAUTHORIZED => {
                Failure::Refused(UNAUTHORIZED, self.remedy().to_owned())
            }
            Some(detail) => Failure::Refused(answer.status, detail),
            None => self.garbled("an error in a form that is not known"),
        }
    }

    /// What to do about a login that is refused.
    fn remedy(&self) -> &'static str {
        match (&self.place, &self.token) {
            (Place::Socket(_), _) => {
                "a token is needed, and none goes over a socket: ask by --address"
            }
            (Place::Address { .. }, None) => {
                "a token is needed: name its file by --token-file, or set SESSIOND_TOKEN"
            }
            (Place::Address { .. }, Some(_)) => {
                "the token is not that of an account in the program's admin_accounts"
            }
        }
    }

    fn ask(&self, method: &str, target: &str) -> Result<Answer, Failure> {
        let begin = Instant::now();
        let place = self.place.to_string();
        let socket = self.connect(begin + CONNECT).map_err(|cause| {
            if cause.kind() == io::ErrorKind::TimedOut {
                Failure::Late(place.clone(), CONNECT)
            } else {
                Failure::Unreachable(place.clone(), cause)
            }
        })?;
        let mut stream = Stream {
            socket,
            deadline: begin + WHOLE,
            buffer: Vec::new(),
            start: 0,
        };
        let mut request = format!(
            "{method} {target} HTTP/1.1\r\nHost: {}\r\nAccept: {MEDIA_TYPE}\r\nConnection: close\r\n",
            self.place.host()
        );
        if let (Place::Address { .. }, Some(token)) = (&self.place, &self.token) {
            request.push_str("Authorization: Bearer ");
            request.push_str(token.as_str());
            request.push_str("\r\n");
        }
        request.push_str("\r\n");
        // One that is refused at once may close before it has read everything.
        let sent = stream.send(request.as_bytes());
        stream.answer().map_err(|trouble| match (trouble, sent) {
            (Trouble::Garbled(what), _) => Failure::Garbled(place, what),
            (Trouble::Io(cause), _) if cause.kind() == io::ErrorKind::TimedOut => {
                Failure::Late(place, WHOLE)
            }
            (Trouble::Io(_), Err(cause)) | (Trouble::Io(cause), Ok(())) => {
                Failure::Broken(place, cause)
            }
        })
    }

    fn connect(&self, deadline: Instant) -> io::Result<OwnedFd> {
        match &self.place {
            Place::Socket(path) => {
                let address = SocketAddrUnix::new(path.as_path())?;
                Ok(opened(AddressFamily::UNIX, deadline, |socket| {
                    connect(socket, &address)
                })?)
            }
            Place::Address { host, port } => {
                let mut last = io::Error::from(io::ErrorKind::NotFound);
                for address in (host.as_str(), *port).to_socket_addrs()? {
                    let family = match address {
                        SocketAddr::V4(_) => AddressFamily::INET,
                        SocketAddr::V6(_) => AddressFamily::INET6,
                    };
                    match opened(family, deadline, |socket| connect(socket, &address)) {
                        Ok(socket) => return Ok(socket),
                        Err(error) => last = error.into(),
                    }
                }
                Err(last)
            }
        }
    }
}

/// A socket that is connected. The kernel waits no longer than the socket may send.
fn opened(
    family: AddressFamily,
    deadline: Instant,
    connect: impl Fn(&OwnedFd) -> rustix::io::Result<()>,
) -> rustix::io::Result<OwnedFd> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Errno::TIMEDOUT);
        }
        let socket = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        // Less than a microsecond would mean for ever.
        let left = left.max(Duration::from_millis(1));
        set_socket_timeout(&socket, Timeout::Send, Some(left))?;
        match connect(&socket) {
            Ok(()) => return Ok(socket),
            Err(Errno::INTR) => {}
            // Of a unix socket and of TCP, when the time is up.
            Err(Errno::AGAIN | Errno::INPROGRESS) => return Err(Errno::TIMEDOUT),
            Err(error) => return Err(error),
        }
    }
}

/// Why there is no answer.
enum Trouble {
    Io(io::Error),
    Garbled(&'static str),
}

/// A connection, and what was read of it and not yet used.
struct Stream {
    socket: OwnedFd,
    deadline: Instant,
    buffer: Vec<u8>,
    start: usize,
}

impl Stream {
    fn wait(&self, flags: PollFlags) -> io::Result<()> {
        loop {
            let left = self.deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            let timeout = Timespec::try_from(left).ok();
            match poll(&mut [PollFd::new(&self.socket, flags)], timeout.as_ref()) {
                Ok(0) | Err(Errno::INTR) => {}
                Ok(_) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn send(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            self.wait(PollFlags::OUT)?;
            let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
            match send(&self.socket, bytes, flags) {
                Ok(count) => bytes = &bytes[count..],
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Reads some more; `false` at the end of the stream.
    fn fill(&mut self) -> Result<bool, Trouble> {
        self.buffer.drain(..self.start);
        self.start = 0;
        let length = self.buffer.len();
        self.buffer.resize(length + PIECE, 0);
        let read = loop {
            if let Err(cause) = self.wait(PollFlags::IN) {
                break Err(cause);
            }
            match recv(
                &self.socket,
                &mut self.buffer[length..],
                RecvFlags::DONTWAIT,
            ) {
                Ok((count, _)) => break Ok(count),
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(error) => break Err(error.into()),
            }
        };
        self.buffer.truncate(length + *read.as_ref().unwrap_or(&0));
        read.map(|count| count > 0).map_err(Trouble::Io)
    }

    fn fill_more(&mut self) -> Result<(), Trouble> {
        if self.fill()? {
            Ok(())
        } else {
            Err(Trouble::Io(io::ErrorKind::UnexpectedEof.into()))
        }
    }

    /// The next line, without its end.
    fn line(&mut self) -> Result<String, Trouble> {
        loop {
            let rest = &self.buffer[self.start..];
            if let Some(length) = rest.iter().position(|byte| *byte == b'\n') {
                let line = rest[..length]
                    .strip_suffix(b"\r")
                    .unwrap_or(&rest[..length]);
                let line = String::from_utf8_lossy(line).into_owned();
                self.start += length + 1;
                return Ok(line);
            }
            if rest.len() > MAX_LINE {
                return Err(Trouble::Garbled("a line without an end"));
            }
            self.fill_more()?;
        }
    }

    /// Adds so many bytes to a body.
    fn take(&mut self, mut count: usize, body: &mut Vec<u8>) -> Result<(), Trouble> {
        if count > MAX_BODY - body.len() {
            return Err(Trouble::Garbled("more than 128 MiB"));
        }
        while count > 0 {
            if self.start == self.buffer.len() {
                self.fill_more()?;
            }
            let rest = &self.buffer[self.start..];
            let taken = rest.len().min(count);
            body.extend_from_slice(&rest[..taken]);
            self.start += taken;
            count -= taken;
        }
        Ok(())
    }

    /// Reads a whole answer.
    fn answer(&mut self) -> Result<Answer, Trouble> {
        let mut head = self.head()?;
        for _ in 0..MAX_INTERIM {
            if head.status / 100 == 1 {
                head = self.head()?;
            }
        }
        let (status, is_document) = (head.status, head.is_document);
        let mut body = Vec::new();
        match head {
            Head {
                status: 204 | 304, ..
            } => {}
            Head {
                is_chunked: true, ..
            } => self.chunks(&mut body)?,
            Head {
                length: Some(length),
                ..
            } => self.take(length, &mut body)?,
            // What ends with the connection may have been cut off.
            Head { length: None, .. } => {
                return Err(Trouble::Garbled("an answer of unknown length"));
            }
        }
        let body = String::from_utf8(body).map_err(|_| Trouble::Garbled("no UTF-8"))?;
        Ok(Answer {
            status,
            is_document,
            body,
        })
    }

    fn head(&mut self) -> Result<Head, Trouble> {
        let wrong = || Trouble::Garbled("something that is not HTTP");
        let first = self.line()?;
        let status = first.strip_prefix("HTTP/1.").ok_or_else(wrong)?;
        let status = status.split(' ').nth(1).and_then(|code| code.parse().ok());
        let mut head = Head {
            status: status
                .filter(|code| (100..600).contains(code))
                .ok_or_else(wrong)?,
            length: None,
            is_chunked: false,
            is_document: false,
        };
        for _ in 0..MAX_LINES {
            let line = self.line()?;
            if line.is_empty() {
                return Ok(head);
            }
            let (name, value) = line.split_once(':').ok_or_else(wrong)?;
            if name.eq_ignore_ascii_case("content-length") {
                head.length = Some(number(value.trim(), 10).ok_or_else(wrong)?);
            } else if name.eq_ignore_ascii_case("transfer-encoding") {
                if !value.trim().eq_ignore_ascii_case("chunked") {
                    return Err(wrong());
                }
                head.is_chunked = true;
            } else if name.eq_ignore_ascii_case("content-type") {
                head.is_document = value.trim() == MEDIA_TYPE;
            }
        }
        Err(Trouble::Garbled("a head without an end"))
    }

    /// A body in chunks (RFC 9112, section 7.1).
    fn chunks(&mut self, body: &mut Vec<u8>) -> Result<(), Trouble> {
        let wrong = || Trouble::Garbled("chunks that are none");
        loop {
            let line = self.line()?;
            let digits = line.split(';').next().unwrap_or_default().trim();
            match number(digits, 16).ok_or_else(wrong)? {
                0 => return Ok(()),
                size => self.take(size, body)?,
            }
            if !self.line()?.is_empty() {
                return Err(wrong());
            }
        }
    }
}

/// A number of digits alone, without a sign.
fn number(digits: &str, radix: u32) -> Option<usize> {
    let is_plain = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_plain.then(|| usize::from_str_radix(digits, radix).ok())?
}

/// What the head of an answer says of its body.
struct Head {
    status: u16,
    length: Option<usize>,
    is_chunked: bool,
    is_document: bool,
}
