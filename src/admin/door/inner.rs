//! The way of requests through tiny_http, over one connection.
//!
//! All requests of a turn of the loop go in one write, and come out as
//! tiny_http has read them. Answers never come this way: the handlers send
//! them to the clients themselves. tiny_http meets nothing but heads that were
//! written here.
//!
//! The hard thing is that tiny_http takes connections from a listening socket
//! only, while no other process may ever reach it: a request from there could
//! name any client as its sender, and one bad head can end the program. A socket
//! pair does not listen, TCP has no permissions, and a directory with mode 0700
//! needs a writable file system, which a container need not have. So it gets a
//! unix socket with a random abstract name, which needs no file system. Such a
//! name has no permissions either. But this listener holds exactly one
//! connection, ours, and is shut down before tiny_http sees it
//! ([`socket::listener_of_one`]): the kernel hands out the connection that is
//! queued, and refuses all others. tiny_http's accept loop then ends with EINVAL,
//! which [`Inner::greet`] waits for, so that a running server provably accepts
//! nothing more.
//!
//! A [`Server`] must not be dropped here: it would connect to its own path, and
//! panics where it has none. Its threads end without that, when the connection
//! does. What stays behind is some 2 KiB of an empty queue and, in about one of a
//! thousand starts, an idle thread: the pool that belongs to the accept loop can
//! miss a thread that has only just begun to wait.

use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
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
    server: ManuallyDrop<Server>,
    unsent: String,
    sent: usize,
    /// How many requests are in what is not sent in full.
    held: usize,
    /// How many requests were sent in full, and have not come out.
    owed: usize,
}

impl Inner {
    /// Starts tiny_http on the one connection that it is ever going to have.
    pub(super) fn new() -> io::Result<Self> {
        let (listener, stream) = socket::listener_of_one()?;
        let server = Server::from_listener(listener, None)
            .map_err(|cause| io::Error::other(cause.to_string()))?;
        let mut inner = Self {
            stream,
            server: ManuallyDrop::new(server),
            unsent: String::new(),
            sent: 0,
            held: 0,
            owed: 0,
        };
        inner.greet()?;
        Ok(inner)
    }

    /// Makes sure that tiny_http has accepted the connection, by a request that is
    /// no client's, and that it accepts no other. It does so in its own time, and
    /// panics where no descriptor is free by then.
    fn greet(&mut self) -> io::Result<()> {
        self.unsent
            .push_str("OPTIONS / HTTP/1.1\r\nHost: localhost\r\n\r\n");
        self.flush()?;
        let (mut is_heard, mut is_closed) = (false, false);
        while !(is_heard && is_closed) {
            match self.server.recv_timeout(GREETING_LIMIT) {
                Ok(Some(request)) => {
                    drop(request.into_writer());
                    is_heard = true;
                }
                Ok(None) => return Err(io::Error::other("tiny_http does not answer")),
                Err(cause) if Errno::from_io_error(&cause) == Some(Errno::INVAL) => {
                    is_closed = true;
                }
                Err(cause) => return Err(cause),
            }
        }
        self.owed = 0;
        Ok(())
    }

    /// Starts tiny_http anew, since it has hung up. What it had to read is lost.
    pub(super) fn reconnect(&mut self) -> io::Result<()> {
        // What it could still read it has handed over before it hung up.
        self.empty();
        *self = Self::new()?;
        Ok(())
    }

    /// Throws away the requests that have come out, and those to be sent.
    fn empty(&mut self) {
        while let Some(request) = self.server.try_recv().transpose() {
            drop(request.map(Request::into_writer));
        }
        self.unsent.clear();
        (self.sent, self.held, self.owed) = (0, 0, 0);
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
        match self.next() {
            Ok(request) => {
                self.owed -= usize::from(request.is_some()).min(self.owed);
                request
            }
            Err(cause) => {
                log::error!("the admin server's inner socket: {cause}");
                None
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

impl Drop for Inner {
    fn drop(&mut self) {
        // A request that stayed in the queue would keep the connection open with it,
        // and the queue is never freed.
        while self.owes()
            && let Some(request) = self.receive()
        {
            drop(request.into_writer());
        }
        self.empty();
    }
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

#[cfg(test)]
mod tests {
    use std::fs;
    use std::thread;
    use std::time::Instant;

    use super::super::request;
    use super::*;

    #[test]
    fn requests_come_out_in_their_order_and_are_counted() {
        let mut inner = Inner::new().unwrap();
        let request = b"GET /v1 HTTP/1.1\r\nHost: localhost\r\n\r\n";
        let head = request::parse(request).unwrap().unwrap();
        for number in 0..100 {
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
    fn a_new_connection_takes_the_place_of_one_that_has_ended() {
        let mut inner = Inner::new().unwrap();
        socket::abort(&inner.stream);
        assert!(!inner.is_open());
        inner.reconnect().unwrap();
        assert!(inner.is_open());
        let request = b"GET /v1 HTTP/1.1\r\nHost: localhost\r\n\r\n";
        let head = request::parse(request).unwrap().unwrap();
        inner.forward(&head, "localhost", ClientNumber(7));
        assert_eq!(inner.flush(), Ok(true));
        let received = std::iter::repeat_with(|| inner.receive())
            .take(400)
            .flatten()
            .next();
        let received = received.expect("tiny_http reads it within 20 s");
        assert_eq!(client_number(&received), Some(ClientNumber(7)));
        drop(received.into_writer());
    }

    #[test]
    fn the_threads_of_tiny_http_end_once_it_is_dropped() {
        // Its threads have the name of the thread that starts it.
        const NAME: &str = "tiny-http-test";
        const STARTS: u64 = 30;
        // Of four in each start. Its pool misses one or other where the machine is busy.
        const MISSED: usize = 3;
        let running = || {
            let tasks = fs::read_dir("/proc/self/task").unwrap().flatten();
            // A thread that has ended since has no name any more.
            let names = tasks.filter_map(|task| fs::read_to_string(task.path().join("comm")).ok());
            names.filter(|name| name.trim_end() == NAME).count()
        };
        let start_and_drop = move || {
            let request = b"GET /v1 HTTP/1.1\r\nHost: localhost\r\n\r\n";
            let head = request::parse(request).unwrap().unwrap();
            for requests in 0..STARTS {
                let mut inner = Inner::new().unwrap();
                for number in 0..requests {
                    inner.forward(&head, "localhost", ClientNumber(number));
                }
                // They are under way when it is dropped.
                assert_eq!(inner.flush(), Ok(true));
            }
            assert!(running() > MISSED);
        };
        let starting = thread::Builder::new().name(NAME.to_owned());
        starting.spawn(start_and_drop).unwrap().join().unwrap();
        // An idle thread of tiny_http's pool ends after five seconds.
        let begin = Instant::now();
        while running() > MISSED {
            assert!(begin.elapsed() < Duration::from_secs(20), "{}", running());
            thread::park_timeout(Duration::from_millis(10));
        }
    }
}
