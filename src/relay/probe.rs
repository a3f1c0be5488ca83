//! One probe of a server: connects, has the server answer in its own protocol,
//! and leaves in the way that its log and its counters mind least.
//!
//! The hard part is the end. A MariaDB server counts connections that end without
//! a login as errors of our host; PostgreSQL logs everything but a silent end.
//! So a probe that has its answer may have more to say, and the server is known
//! to be up while it does.

use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::{Instant, SystemTime};

use mio::event::Event;
use mio::unix::SourceFd;
use mio::{Interest, Token};
use rustix::io::Errno;

use crate::config::Protocol;
use crate::protocol::mariadb::NoGreeting;
use crate::protocol::postgresql::NotUp;
use crate::protocol::{mariadb, postgresql, proxy};
use crate::registry::Server;
use crate::socket;

/// How much of an answer is looked at. A greeting has about a hundred bytes, and
/// none has more than this.
const LONGEST_ANSWER: usize = 2048;

const _: () = assert!(postgresql::MAX_ANSWER == LONGEST_ANSWER);

/// How much is read in one go of what a server still sends, by the buffer above.
/// PostgreSQL sends half of one.
const FAREWELL_READS: usize = 8;

/// Address after address of a server, until one answers.
pub(super) struct Probe {
    pub(super) addresses: std::vec::IntoIter<SocketAddr>,
    pub(super) address: SocketAddr,
    pub(super) socket: OwnedFd,
    pub(super) stage: Stage,
    /// When it began, with the first address.
    pub(super) begin: Instant,
    /// When the next address has its turn.
    pub(super) until: Instant,
    /// When the last one has had its turn.
    pub(super) end: Instant,
}

/// What a probe waits for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// The connection.
    Connect,
    /// The greeting, or the answer to a startup message.
    Answer,
    /// What the server says last. It is known to be up.
    Leave,
}

/// How far a probe has come.
pub(super) enum Progress {
    Waits,
    /// The server is up, and there is more to come.
    Answered,
    /// The server is up, and there is nothing more to come.
    Passed,
    /// The server was up, and there is nothing more to come.
    Left,
    /// The server is down, for this reason.
    Failed(String),
    /// The server says that it takes no clients now, in these words.
    Unavailable(String),
}

/// Begins to connect, and has the event loop watch the socket.
pub(super) fn connect(
    address: SocketAddr,
    token: Token,
    events: &mio::Registry,
) -> Result<OwnedFd, Errno> {
    let socket = socket::begin_connect(address)?;
    let interest = Interest::READABLE | Interest::WRITABLE;
    events
        .register(&mut SourceFd(&socket.as_raw_fd()), token, interest)
        .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::NOMEM))?;
    Ok(socket)
}

impl Probe {
    /// Goes on after an event of its socket.
    pub(super) fn progress(
        &mut self,
        event: &Event,
        server: &Server,
        protocol: Protocol,
    ) -> Progress {
        if self.stage == Stage::Connect {
            match socket::connect_result(&self.socket, self.address) {
                // It accepted the connection, and had no use for it.
                Err(Errno::CONNRESET) if protocol == Protocol::Tcp => return Progress::Passed,
                Err(errno) => return Progress::Failed(errno.to_string()),
                Ok(_) if !event.is_writable() => return Progress::Waits,
                Ok(_) => self.stage = Stage::Answer,
            }
            if let Err(reason) = self.introduce(server, protocol) {
                return Progress::Failed(reason.to_owned());
            }
        }
        match (self.stage, protocol) {
            (Stage::Leave, Protocol::MariaDb) => self.leave_mariadb(),
            (Stage::Leave, _) => self.leave(),
            (_, Protocol::Tcp) => Progress::Passed,
            (_, Protocol::MariaDb) => self.read_greeting(server),
            (_, Protocol::PostgreSql) => self.read_answer(),
        }
    }

    /// Says what has to be said first. A fresh socket takes it whole.
    fn introduce(&self, server: &Server, protocol: Protocol) -> Result<(), &'static str> {
        let takes = |bytes: &[u8]| socket::write(&self.socket, bytes) == Ok(bytes.len());
        // It is about no client's connection.
        if server.parameters.proxy_protocol && !takes(proxy::version_1(None).as_bytes()) {
            return Err("it does not take the PROXY header");
        }
        if protocol == Protocol::PostgreSql && !takes(&postgresql::probe_startup()) {
            return Err("it does not take a startup message");
        }
        Ok(())
    }

    /// Looks at what has come, and leaves it where it is until it is whole.
    fn peek<'a>(&self, buffer: &'a mut [u8; LONGEST_ANSWER]) -> Result<&'a mut [u8], Progress> {
        match socket::peek(self.socket.as_fd(), &mut buffer[..]) {
            Err(Errno::AGAIN) => Err(Progress::Waits),
            Err(errno) => Err(Progress::Failed(errno.to_string())),
            Ok(length) => Ok(&mut buffer[..length]),
        }
    }

    fn read_greeting(&mut self, server: &Server) -> Progress {
        let mut buffer = [0; LONGEST_ANSWER];
        let come = match self.peek(&mut buffer) {
            Ok(come) => come,
            Err(progress) => return progress,
        };
        match mariadb::greeting(come) {
            Ok(Some(greeting)) => {
                let version = &greeting.version;
                // MariaDB puts it there for replicas of old, which took 10 for less than 5.
                let version = version.strip_prefix("5.5.5-").unwrap_or(version);
                if !version.is_empty() {
                    server.set_version(version, SystemTime::now());
                }
                self.log_in(&greeting, come)
            }
            Ok(None) if come.is_empty() => {
                Progress::Failed("it closes without a greeting".to_owned())
            }
            Ok(None) if come.len() < LONGEST_ANSWER => Progress::Waits,
            Ok(None) => Progress::Failed("its greeting has no end".to_owned()),
            Err(cause @ NoGreeting::Refused { .. }) => Progress::Unavailable(cause.to_string()),
            Err(cause) => Progress::Failed(cause.to_string()),
        }
    }

    /// Answers the greeting, so that the server does not hold it against us.
    fn log_in(&mut self, greeting: &mariadb::Greeting, greeted: &mut [u8]) -> Progress {
        let login = mariadb::probe_login(greeting);
        // They were there a moment ago.
        let taken = socket::discard(&self.socket, greeted);
        if let Some(login) = login
            && taken.is_ok()
            && socket::write(&self.socket, &login) == Ok(login.len())
        {
            self.stage = Stage::Leave;
            return Progress::Answered;
        }
        Progress::Passed
    }

    /// Says goodbye to whatever the server has said.
    fn leave_mariadb(&self) -> Progress {
        let mut said = [0; LONGEST_ANSWER];
        match socket::read(&self.socket, &mut said) {
            Err(Errno::AGAIN) => Progress::Waits,
            Err(_) | Ok(0) => Progress::Left,
            Ok(length) => {
                let answer = mariadb::probe_answer(&said[..length]);
                let is_last = answer.is_none();
                // It may have closed already.
                let _ = socket::write(&self.socket, answer.as_deref().unwrap_or(mariadb::QUIT));
                if is_last {
                    Progress::Left
                } else {
                    Progress::Waits
                }
            }
        }
    }

    fn read_answer(&mut self) -> Progress {
        let mut buffer = [0; LONGEST_ANSWER];
        let come = match self.peek(&mut buffer) {
            Ok(come) => come,
            Err(progress) => return progress,
        };
        let answer = match postgresql::probe_answer(come) {
            Ok(Some(answer)) => answer,
            Ok(None) if come.is_empty() => {
                return Progress::Failed("it closes without an answer".to_owned());
            }
            Ok(None) => return Progress::Waits,
            Err(cause @ NotUp::Refused { .. }) => return Progress::Unavailable(cause.to_string()),
            Err(cause) => return Progress::Failed(cause.to_string()),
        };
        // A socket that closes with bytes unread resets the connection, which the server
        // logs. They were there a moment ago.
        let taken = socket::discard(&self.socket, come).is_ok();
        match answer {
            postgresql::ProbeAnswer::NotLetIn => Progress::Passed,
            postgresql::ProbeAnswer::LetIn => {
                let bytes = postgresql::TERMINATE;
                if !taken || socket::write(&self.socket, bytes) != Ok(bytes.len()) {
                    return Progress::Passed;
                }
                self.stage = Stage::Leave;
                match self.leave() {
                    Progress::Waits => Progress::Answered,
                    _ => Progress::Passed,
                }
            }
        }
    }

    /// Takes what the server still sends, until it closes.
    fn leave(&self) -> Progress {
        let mut said = [0; LONGEST_ANSWER];
        for _ in 0..FAREWELL_READS {
            match socket::read(&self.socket, &mut said) {
                Err(Errno::AGAIN) => return Progress::Waits,
                Err(_) | Ok(0) => return Progress::Left,
                Ok(_) => {}
            }
        }
        Progress::Left
    }
}
