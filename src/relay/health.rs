//! Which servers are up: what connects say of them, and probes of our own.
//!
//! A server is up until something fails, and up again once something succeeds.
//! Every [`PROBE_INTERVAL`] each one is probed: by a connect, and where its
//! clients speak MariaDB by the greeting that must follow. A server that hangs
//! costs its own probe the time, and nobody else's: all are on their way at once.
//!
//! A server that has greeted is up, and the probe takes its leave as the server
//! likes it: with a login that may be denied.

use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use mio::event::Event;
use mio::unix::SourceFd;
use mio::{Interest, Token};
use rustix::io::Errno;

use super::source::Source;
use crate::config::Protocol;
use crate::protocol::{mariadb, proxy};
use crate::registry::{Server, Topology};
use crate::socket;

/// How often each server is probed; also how long a probe may take.
const PROBE_INTERVAL: Duration = Duration::from_secs(2);

/// More of a greeting than that is none: they have about a hundred bytes.
const LONGEST_GREETING: usize = 2048;

/// Why a server is down that hangs.
const NO_ANSWER: &str = "no answer to a probe";

/// The probes of all servers.
pub(super) struct Health {
    watched: Vec<Watched>,
    /// The number of the next server.
    next: usize,
    /// When the next probes begin.
    due: Instant,
}

struct Watched {
    /// By which events name it; no number is used twice.
    number: usize,
    server: Arc<Server>,
    /// Whether its clients speak MariaDB, and so it greets.
    greets: bool,
    probe: Option<Probe>,
}

/// One probe of a server: address after address, until one answers.
struct Probe {
    addresses: std::vec::IntoIter<SocketAddr>,
    address: SocketAddr,
    socket: OwnedFd,
    stage: Stage,
    /// When the next address has its turn.
    until: Instant,
    /// When the last one has had its turn.
    end: Instant,
}

/// What a probe waits for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The connection.
    Connect,
    /// The greeting.
    Greeting,
    /// What the server says to our login. It is known to be up.
    Leave,
}

/// How a connect went, by the words that the log has for it.
pub(super) enum Connected {
    Yes,
    No(String),
}

/// How far a probe has come.
enum Progress {
    Waits,
    /// The server is up, and there may be more to come.
    Answered,
    /// There is nothing more to come.
    Left,
    Failed(String),
}

impl Health {
    pub(super) fn new(topology: &Topology, now: Instant) -> Self {
        let servers = topology.servers.iter().enumerate();
        Self {
            watched: servers
                .map(|(number, server)| Watched::new(number, server, topology))
                .collect(),
            next: topology.servers.len(),
            due: now,
        }
    }

    /// Goes over to other servers. Those that are the same are probed when they
    /// would have been, new and changed ones now.
    pub(super) fn change(&mut self, topology: &Topology, events: &mio::Registry, now: Instant) {
        let mut before = std::mem::take(&mut self.watched);
        for server in &topology.servers {
            let mut fresh = Watched::new(self.next, server, topology);
            let known = before
                .iter()
                .position(|known| Arc::ptr_eq(&known.server, server));
            let known = known.map(|index| before.swap_remove(index));
            self.watched.push(match known {
                Some(known) if known.greets == fresh.greets => known,
                _ => {
                    self.next += 1;
                    fresh.begin(events, now);
                    fresh
                }
            });
        }
    }

    /// When [`Self::turn`] has something to do.
    pub(super) fn next(&self) -> Option<Instant> {
        let probes = self.watched.iter().filter_map(|watched| {
            let probe = watched.probe.as_ref()?;
            Some(probe.until)
        });
        probes.chain([self.due]).min()
    }

    /// Begins the probes that are due, and gives up what has not answered in time.
    pub(super) fn turn(&mut self, events: &mio::Registry, now: Instant) {
        for watched in &mut self.watched {
            if watched
                .probe
                .as_ref()
                .is_some_and(|probe| probe.until <= now)
            {
                watched.next_address(NO_ANSWER, events, now);
            }
        }
        if self.due > now {
            return;
        }
        self.due = now + PROBE_INTERVAL;
        for watched in &mut self.watched {
            // One that was begun between two times has its own.
            if watched.probe.as_ref().is_some_and(|probe| probe.end > now) {
                continue;
            }
            watched.give_up();
            watched.begin(events, now);
        }
    }

    /// Takes note of an event of a probe.
    pub(super) fn event(
        &mut self,
        number: usize,
        event: &Event,
        events: &mio::Registry,
        now: Instant,
    ) {
        let mut watched = self.watched.iter_mut();
        let Some(watched) = watched.find(|watched| watched.number == number) else {
            return;
        };
        let Some(probe) = &mut watched.probe else {
            return;
        };
        match probe.progress(event, &watched.server, watched.greets) {
            Progress::Waits => {}
            Progress::Answered => {
                watched.server.prefer(probe.address);
                note(&watched.server, Connected::Yes);
                if probe.stage != Stage::Leave {
                    watched.probe = None;
                }
            }
            Progress::Left => watched.probe = None,
            Progress::Failed(cause) => watched.next_address(&cause, events, now),
        }
    }
}

/// Notes how a connect to a server went.
pub(super) fn note(server: &Server, connected: Connected) {
    let now = SystemTime::now();
    match connected {
        Connected::Yes => {
            if server.set_up(true, now) {
                log::info!("server {} is up", server.name());
            }
        }
        Connected::No(cause) => {
            if server.set_up(false, now) {
                log::warn!("server {} is down: {cause}", server.name());
            }
        }
    }
}

pub(super) fn note_login(_: &Server, _: Instant) {}
impl Watched {
    /// A server, as the listeners of a topology lead to it.
    fn new(number: usize, server: &Arc<Server>, topology: &Topology) -> Self {
        let mut listeners = topology.listeners.iter();
        let greets = listeners.any(|listener| {
            let servers = listener.service().servers();
            listener.parameters.protocol == Protocol::MariaDb
                && servers.iter().any(|other| Arc::ptr_eq(other, server))
        });
        Self {
            number,
            server: Arc::clone(server),
            greets,
            probe: None,
        }
    }

    fn begin(&mut self, events: &mio::Registry, now: Instant) {
        let addresses = self.server.addresses().to_vec().into_iter();
        if addresses.len() == 0 {
            note(
                &self.server,
                Connected::No("no address of its name is known".to_owned()),
            );
        }
        self.connect(addresses, events, now, now + PROBE_INTERVAL);
    }

    /// The time of the probe is over, whichever address has its turn.
    fn give_up(&mut self) {
        if let Some(probe) = self.probe.take()
            && probe.stage != Stage::Leave
        {
            note(&self.server, Connected::No(NO_ANSWER.to_owned()));
        }
    }

    /// The address of the probe is none; the next one is tried, or the server is down.
    fn next_address(&mut self, cause: &str, events: &mio::Registry, now: Instant) {
        let Some(probe) = self.probe.take() else {
            return;
        };
        if probe.stage == Stage::Leave {
            return;
        }
        if probe.addresses.len() == 0 {
            note(&self.server, Connected::No(cause.to_owned()));
        } else {
            self.connect(probe.addresses, events, now, probe.end);
        }
    }

    /// Begins to connect to the first address that can be tried.
    fn connect(
        &mut self,
        mut addresses: std::vec::IntoIter<SocketAddr>,
        events: &mio::Registry,
        now: Instant,
        end: Instant,
    ) {
        let token = Source::Probe(self.number).token();
        while let Some(address) = addresses.next() {
            match watched_connect(address, token, events) {
                Ok(socket) => {
                    // Each address gets its part of what is left.
                    let left = u32::try_from(addresses.len() + 1).unwrap_or(u32::MAX);
                    let time = end.saturating_duration_since(now) / left;
                    self.probe = Some(Probe {
                        addresses,
                        address,
                        socket,
                        stage: Stage::Connect,
                        until: now + time,
                        end,
                    });
                    return;
                }
                // It says nothing about the server.
                Err(errno) if socket::is_shortage(errno) => return,
                Err(errno) if addresses.len() == 0 => {
                    note(&self.server, Connected::No(errno.to_string()));
                }
                Err(_) => {}
            }
        }
    }
}

fn watched_connect(
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
    fn progress(&mut self, event: &Event, server: &Server, greets: bool) -> Progress {
        if self.stage == Stage::Connect {
            match socket::connect_result(&self.socket, self.address) {
                // It accepted the connection, and had no use for it.
                Err(Errno::CONNRESET) if !greets => return Progress::Answered,
                Err(errno) => return Progress::Failed(errno.to_string()),
                Ok(_) if !event.is_writable() => return Progress::Waits,
                Ok(_) => self.stage = Stage::Greeting,
            }
            if server.parameters.proxy_protocol {
                // It is about nobody's connection.
                let header = proxy::version_1(None);
                if socket::write(&self.socket, header.as_bytes()) != Ok(header.len()) {
                    return Progress::Failed("it does not take the PROXY header".to_owned());
                }
            }
        }
        match self.stage {
            Stage::Leave => self.leave(),
            _ if greets => self.read_greeting(server),
            _ => Progress::Answered,
        }
    }

    /// Looks at what has come, and leaves it where it is until it is whole.
    fn read_greeting(&mut self, server: &Server) -> Progress {
        let mut buffer = [0; LONGEST_GREETING];
        let length = match socket::peek(self.socket.as_fd(), &mut buffer) {
            Err(Errno::AGAIN) => return Progress::Waits,
            Err(errno) => return Progress::Failed(errno.to_string()),
            Ok(length) => length,
        };
        match mariadb::greeting(&buffer[..length]) {
            Ok(Some(greeting)) => {
                let version = &greeting.version;
                // MariaDB puts it there for replicas of old, which took 10 for less than 5.
                let version = version.strip_prefix("5.5.5-").unwrap_or(version);
                server.set_version(version, SystemTime::now());
                self.log_in(&greeting, &mut buffer[..length]);
                Progress::Answered
            }
            Ok(None) if length == 0 => Progress::Failed("it closes without a greeting".to_owned()),
            Ok(None) if length < LONGEST_GREETING => Progress::Waits,
            Ok(None) => Progress::Failed("its greeting has no end".to_owned()),
            Err(cause) => Progress::Failed(cause.to_string()),
        }
    }

    /// Answers the greeting, so that the server does not hold it against us.
    fn log_in(&mut self, greeting: &mariadb::Greeting, greeted: &mut [u8]) {
        let login = mariadb::probe_login(greeting);
        // They were there a moment ago.
        let taken = socket::discard(&self.socket, greeted);
        if let Some(login) = login
            && taken.is_ok()
            && socket::write(&self.socket, &login) == Ok(login.len())
        {
            self.stage = Stage::Leave;
        }
    }

    /// Says goodbye to whatever the server has said.
    fn leave(&self) -> Progress {
        let mut said = [0; LONGEST_GREETING];
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
}
