//! Which servers are up: what clients' connections show, and probes of our own.
//!
//! A server is up until something fails, and up again once something succeeds
//! that shows it: a probe, or a client's login. A connection alone shows little:
//! a server that is full or starting accepts it and turns the client away. So it
//! counts only where nothing more can be seen, with `protocol=TCP`.
//!
//! Every `monitor_interval` each server is [probed](super::probe), but for those
//! on which clients have logged in since. A server that hangs costs its own probe
//! the time and no other: all are on their way at once. With an interval of zero
//! there are no probes, and clients find out: see [`routing`](super::routing).

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use mio::event::Event;

use super::probe::{self, Probe, Progress, Stage};
use super::routing::Fallback;
use super::source::Source;
use crate::config::Protocol;
use crate::registry::{DownCause, LastProbe, Server, Topology};
use crate::socket;

/// The longest time that a probe may take: a packet that is lost is sent again
/// after one second, and the answer takes its time as well.
const LONGEST_PROBE: Duration = Duration::from_secs(2);

/// A probe may always take that long, however short the interval: a server on
/// the other side of the world, or of a busy machine, must not count as down.
const SHORTEST_LIMIT: Duration = Duration::from_secs(1);

/// Why a server is down that hangs.
const NO_ANSWER: &str = "no answer to a probe";

/// Why a server is down that cannot be found.
const NO_ADDRESS: &str = "no address of its name is known";

/// The probes of all servers.
pub(super) struct Health {
    watched: Vec<Watched>,
    /// The number of the next server.
    next: usize,
    /// The time between two rounds of probes; zero for none.
    interval: Duration,
    /// When the next round begins, if one does.
    due: Option<Instant>,
}

struct Watched {
    /// By which events name it; no number is used twice.
    number: usize,
    server: Arc<Server>,
    /// What it is probed in.
    protocol: Protocol,
    probe: Option<Probe>,
}

/// What a client's connection, or its login, has shown of a server.
pub(super) enum Connected {
    /// It serves clients.
    Yes,
    /// It accepts connections and turns clients away; in words for operators.
    No(String),
    /// It says that it has no room for clients, or is not ready for them.
    Unavailable(String),
    /// It cannot be connected to.
    Unreachable(String),
}

impl Health {
    pub(super) fn new(topology: &Topology, now: Instant) -> Self {
        let servers = topology.servers.iter().enumerate();
        let interval = topology.monitor_interval;
        Self {
            watched: servers
                .map(|(number, server)| Watched::new(number, server, topology))
                .collect(),
            next: topology.servers.len(),
            interval,
            due: (!interval.is_zero()).then_some(now),
        }
    }

    /// Goes over to other servers, and to another interval. Servers that are the
    /// same are probed when they would have been, new and changed ones now.
    pub(super) fn change(&mut self, topology: &Topology, events: &mio::Registry, now: Instant) {
        self.interval = topology.monitor_interval;
        self.due = match self.due {
            _ if self.interval.is_zero() => None,
            Some(due) => Some(due.min(now + self.interval)),
            None => Some(now),
        };
        let limit = self.limit();
        let mut before = std::mem::take(&mut self.watched);
        for server in &topology.servers {
            let mut fresh = Watched::new(self.next, server, topology);
            let known = before
                .iter()
                .position(|known| Arc::ptr_eq(&known.server, server));
            let known = known.map(|index| before.swap_remove(index));
            self.watched.push(match known {
                Some(known) if known.protocol == fresh.protocol => known,
                _ => {
                    self.next += 1;
                    if self.due.is_some() {
                        fresh.begin(events, now, limit);
                    }
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
        probes.chain(self.due).min()
    }

    /// Begins the probes that are due, and gives up what has not answered in time.
    pub(super) fn turn(&mut self, events: &mio::Registry, now: Instant) {
        for watched in &mut self.watched {
            if watched
                .probe
                .as_ref()
                .is_some_and(|probe| probe.until <= now)
            {
                watched.address_failed(NO_ANSWER, events, now);
            }
        }
        if self.due.is_none_or(|due| due > now) {
            return;
        }
        self.due = Some(now + self.interval);
        let limit = self.limit();
        for watched in &mut self.watched {
            // One that was begun between two rounds, or takes longer than one, has its own time.
            if watched.probe.is_none() && !is_proven(&watched.server, now, self.interval) {
                watched.begin(events, now, limit);
            }
        }
    }

    /// How long a probe may take.
    fn limit(&self) -> Duration {
        self.interval.clamp(SHORTEST_LIMIT, LONGEST_PROBE)
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
        let progress = probe.progress(event, &watched.server, watched.protocol);
        match progress {
            Progress::Waits => {}
            Progress::Answered => watched.passed(now),
            Progress::Passed => {
                watched.passed(now);
                watched.probe = None;
            }
            Progress::Left => watched.probe = None,
            Progress::Failed(reason) => watched.address_failed(&reason, events, now),
            Progress::Unavailable(reason) => {
                watched.address_refused(&reason, events, now);
            }
        }
    }

    /// Takes note of a client's connection to a server, before a byte has passed.
    pub(super) fn note_connect(&self, server: &Server, now: Instant) {
        let mut watched = self.watched.iter();
        let watched = watched.find(|watched| watched.server.is(server));
        let Some(watched) = watched else { return };
        if watched.protocol == Protocol::Tcp {
            note_login(server, now);
            return;
        }
        // Where there are no probes, what a failed connection has said does not outlive one
        // that succeeds. What the server has said itself does.
        let is_unreachable = || {
            let down = server.health().down;
            down.is_some_and(|down| down.cause == DownCause::Unreachable)
        };
        if self.due.is_none() && !server.is_up() && is_unreachable() {
            note(server, Connected::Yes);
        }
    }

    /// Which servers clients try when none that is up is left: all where no probe
    /// finds out that one is back, else those that have something to say.
    pub(super) fn fallback(&self) -> Fallback {
        match self.due {
            Some(_) => Fallback::Unavailable,
            None => Fallback::DownServers,
        }
    }
}

/// Whether clients have lately shown that a server is up, so that it needs no probe.
fn is_proven(server: &Server, now: Instant, interval: Duration) -> bool {
    let since = |login: Instant| now.saturating_duration_since(login);
    // A login counts only as long as nothing has failed after it.
    server.is_up()
        && server
            .last_login()
            .is_some_and(|login| since(login) < interval)
}

/// Notes what a client's connection, or its login, has shown of a server.
pub(super) fn note(server: &Server, connected: Connected) {
    match connected {
        Connected::Yes => {
            if server.set_up(SystemTime::now()) {
                log::info!("server {} is up", server.name());
            }
        }
        Connected::No(reason) => note_down(server, DownCause::Refusing, &reason),
        Connected::Unavailable(reason) => note_down(server, DownCause::Unavailable, &reason),
        Connected::Unreachable(reason) => note_down(server, DownCause::Unreachable, &reason),
    }
}

/// Notes that a client has logged in: the server is up, and needs no probe for a while.
pub(super) fn note_login(server: &Server, now: Instant) {
    note(server, Connected::Yes);
    server.note_login(now);
}

fn note_down(server: &Server, cause: DownCause, reason: &str) {
    // A line of the log and a cell of a table, whatever the server has put into it.
    let reason = reason.replace(char::is_control, "\u{fffd}");
    if server.set_down(cause, &reason, SystemTime::now()) {
        log::warn!("server {} is down: {reason}", server.name());
    }
}

impl Watched {
    /// A server, as the listeners of a topology lead to it.
    fn new(number: usize, server: &Arc<Server>, topology: &Topology) -> Self {
        let listeners = topology.listeners.iter().filter(|listener| {
            let mut servers = listener.service().servers().iter();
            servers.any(|other| Arc::ptr_eq(other, server))
        });
        let protocols = listeners.map(|listener| listener.parameters.protocol);
        Self {
            number,
            server: Arc::clone(server),
            protocol: probed_in(protocols),
            probe: None,
        }
    }

    fn begin(&mut self, events: &mio::Registry, now: Instant, limit: Duration) {
        let addresses = self.server.addresses().to_vec().into_iter();
        if addresses.len() == 0 {
            self.failed(Connected::Unreachable, NO_ADDRESS, Duration::ZERO);
        }
        self.connect(addresses, events, now, now, now + limit);
    }

    /// The server is up.
    fn passed(&self, now: Instant) {
        if let Some(probe) = &self.probe {
            self.server.prefer(probe.address);
            self.note_probe(now.saturating_duration_since(probe.begin), None);
            note(&self.server, Connected::Yes);
        }
    }

    /// The server is down.
    fn failed(&self, kind: fn(String) -> Connected, reason: &str, duration: Duration) {
        self.note_probe(duration, Some(reason));
        note(&self.server, kind(reason.to_owned()));
    }

    fn note_probe(&self, duration: Duration, failure: Option<&str>) {
        self.server.note_probe(LastProbe {
            time: SystemTime::now(),
            duration,
            failure: failure.map(Into::into),
        });
    }

    /// The address of the probe is none; the next one is tried, or the server is down.
    fn address_failed(&mut self, reason: &str, events: &mio::Registry, now: Instant) {
        let is_connected = |probe: &Probe| probe.stage != Stage::Connect;
        let kind = if self.probe.as_ref().is_some_and(is_connected) {
            Connected::No
        } else {
            Connected::Unreachable
        };
        self.leave_address(kind, reason, events, now);
    }

    /// The server at the address says that it takes no clients now.
    fn address_refused(&mut self, reason: &str, events: &mio::Registry, now: Instant) {
        self.leave_address(Connected::Unavailable, reason, events, now);
    }

    fn leave_address(
        &mut self,
        kind: fn(String) -> Connected,
        reason: &str,
        events: &mio::Registry,
        now: Instant,
    ) {
        let Some(probe) = self.probe.take() else {
            return;
        };
        if probe.stage == Stage::Leave {
            return;
        }
        if probe.addresses.len() == 0 {
            let duration = now.saturating_duration_since(probe.begin);
            self.failed(kind, reason, duration);
        } else {
            self.connect(probe.addresses, events, probe.begin, now, probe.end);
        }
    }

    /// Begins to connect to the first address that can be tried.
    fn connect(
        &mut self,
        mut addresses: std::vec::IntoIter<SocketAddr>,
        events: &mio::Registry,
        begin: Instant,
        now: Instant,
        end: Instant,
    ) {
        let token = Source::Probe(self.number).token();
        while let Some(address) = addresses.next() {
            match probe::connect(address, token, events) {
                Ok(socket) => {
                    // Each address gets its part of what is left.
                    let left = u32::try_from(addresses.len() + 1).unwrap_or(u32::MAX);
                    let time = end.saturating_duration_since(now) / left;
                    self.probe = Some(Probe {
                        addresses,
                        address,
                        socket,
                        stage: Stage::Connect,
                        begin,
                        until: now + time,
                        end,
                    });
                    return;
                }
                // It says nothing about the server.
                Err(errno) if socket::is_shortage(errno) => return,
                Err(errno) if addresses.len() == 0 => {
                    let duration = now.saturating_duration_since(begin);
                    self.failed(Connected::Unreachable, &errno.to_string(), duration);
                }
                Err(_) => {}
            }
        }
    }
}

/// What a server is probed in that clients of these protocols are led to. Where
/// MariaDB's and PostgreSQL's are, one of the two is a mistake, and it is not known
/// which: then a connection has to do. Clients of `TCP` may speak anything.
fn probed_in(protocols: impl Iterator<Item = Protocol>) -> Protocol {
    let mut spoken = Protocol::Tcp;
    for protocol in protocols {
        match (spoken, protocol) {
            (_, Protocol::Tcp) => {}
            (Protocol::Tcp, _) => spoken = protocol,
            _ if spoken != protocol => return Protocol::Tcp,
            _ => {}
        }
    }
    spoken
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn server() -> Arc<Server> {
        let topology = Topology::new(&Config::example(), SystemTime::now());
        Arc::clone(&topology.servers[0])
    }

    #[test]
    fn a_server_is_probed_in_what_its_clients_speak_where_they_agree() {
        use Protocol::{MariaDb, PostgreSql, Tcp};
        for (protocols, expected) in [
            (&[][..], Tcp),
            (&[Tcp], Tcp),
            (&[Tcp, MariaDb, Tcp, MariaDb], MariaDb),
            (&[PostgreSql, Tcp], PostgreSql),
            (&[MariaDb, Tcp, PostgreSql, MariaDb], Tcp),
        ] {
            let protocols = protocols.iter().copied();
            assert_eq!(probed_in(protocols), expected);
        }
    }

    #[test]
    fn logins_spare_a_server_the_probe_until_the_interval_is_over_or_something_fails() {
        let (server, interval) = (server(), Duration::from_secs(2));
        let begin = Instant::now();
        let is_proven = |after: u64| {
            let now = begin + Duration::from_millis(after);
            is_proven(&server, now, interval)
        };
        assert!(!is_proven(0));
        note_login(&server, begin);
        assert!(is_proven(0) && is_proven(1999) && !is_proven(2000));
        note(&server, Connected::No("full".to_owned()));
        assert!(!server.is_up() && !is_proven(1));
        // That it is back says nothing about logins.
        note(&server, Connected::Yes);
        assert!(server.is_up() && !is_proven(1));
        note_login(&server, begin);
        assert!(is_proven(1));
    }

    #[test]
    fn a_probe_has_the_interval_within_bounds() {
        for (interval, limit) in [("1ms", 1000), ("1500ms", 1500), ("2s", 2000), ("1h", 2000)] {
            let text = format!("[maxscale]\nmonitor_interval={interval}\n");
            let config = Config::parse("test", text.as_bytes()).unwrap();
            let topology = Topology::new(&config, SystemTime::now());
            let health = Health::new(&topology, Instant::now());
            assert_eq!(health.limit(), Duration::from_millis(limit), "{interval}");
        }
    }

    /// The health of one server that clients of a protocol are led to.
    fn health(interval: &str, protocol: &str) -> (Health, Arc<Server>) {
        let text = format!(
            "[maxscale]\nmonitor_interval={interval}\n\
             [a]\ntype=server\naddress=192.0.2.1\nport=1\n[s]\ntype=service\nservers=a\n\
             [l]\ntype=listener\nservice=s\nprotocol={protocol}\nport=7001\n"
        );
        let config = Config::parse("test", text.as_bytes()).unwrap();
        let topology = Topology::new(&config, SystemTime::now());
        let server = Arc::clone(&topology.servers[0]);
        (Health::new(&topology, Instant::now()), server)
    }

    #[test]
    fn a_connection_alone_is_no_proof_of_a_server_that_can_say_more() {
        let unreachable = || Connected::Unreachable("Connection refused".to_owned());
        let refusing = || Connected::No("too many connections".to_owned());
        for (interval, protocol, after_unreachable, after_refusing) in [
            ("2s", "TCP", true, true),
            ("2s", "MariaDBClient", false, false),
            ("2s", "PostgreSQLClient", false, false),
            ("0", "TCP", true, true),
            ("0", "MariaDBClient", true, false),
            ("0", "PostgreSQLClient", true, false),
        ] {
            let (health, server) = health(interval, protocol);
            for (failure, is_up) in [
                (unreachable(), after_unreachable),
                (refusing(), after_refusing),
            ] {
                note(&server, failure);
                health.note_connect(&server, Instant::now());
                assert_eq!(server.is_up(), is_up, "{interval} {protocol}");
            }
            note_login(&server, Instant::now());
            assert!(server.is_up());
        }
    }

    #[test]
    fn without_probes_nothing_is_due_and_servers_that_are_down_are_tried() {
        let (with, _) = health("2s", "TCP");
        assert!(with.next().is_some() && with.fallback() == Fallback::Unavailable);
        let (without, _) = health("0", "TCP");
        assert!(without.next().is_none() && without.fallback() == Fallback::DownServers);
    }
}
