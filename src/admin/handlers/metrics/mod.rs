//! `/metrics`: the numbers of the program for Prometheus, family by family.
//!
//! A scrape comes every few seconds for as long as the program runs, and must
//! not be felt. So numbers are kept as things happen and only read here; the
//! table's lock is taken for the size of the history alone, and its length
//! goes with the configuration: there is never a label per session.

mod exposition;
mod process;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::Context;
use crate::admin::negotiation::MediaType;
use crate::admin::reply::{PIECE, Piece};
use crate::admin::statistics::{BOUNDS, Statistics};
use crate::registry::{
    CloseReason, Condition, Listener, Registry, Server, Service, SessionState, Topology, Traffic,
};
use exposition::{Exposition, Kind};
use process::Process;

use Kind::{Counter, Gauge, Histogram, Info};
use Of::{Listeners, Program, Servers, Services};

/// Numbers that have a name in common.
struct Family {
    /// Without what the kind puts behind it.
    name: &'static str,
    kind: Kind,
    help: &'static str,
    of: Of,
}

/// What a family tells of, and how.
enum Of {
    Program(fn(&Scrape, &mut Exposition)),
    Services(fn(&Service, &mut Exposition)),
    Servers(fn(&Server, &mut Exposition)),
    Listeners(fn(&Listener, &mut Exposition)),
}

/// What is looked at for one answer.
struct Scrape {
    registry: Arc<Registry>,
    topology: Arc<Topology>,
    statistics: Arc<Statistics>,
    process: Process,
}

/// Makes the answer piece by piece.
pub(super) fn pieces(context: &Context, media_type: MediaType) -> impl FnMut() -> Piece + use<> {
    let scrape = Scrape {
        registry: Arc::clone(&context.registry),
        topology: context.registry.topology(),
        statistics: Arc::clone(&context.statistics),
        process: Process::look(),
    };
    let mut out = Exposition::new(media_type == MediaType::OpenMetrics);
    let mut families = FAMILIES.iter();
    let mut current = None;
    move || {
        while out.len() < PIECE {
            let (family, row): (&Family, usize) = match current.take() {
                Some(current) => current,
                None => match families.next() {
                    Some(family) => {
                        out.begin(family.name, family.kind, family.help);
                        (family, 0)
                    }
                    None => return Piece::Last(out.finish().into_bytes()),
                },
            };
            if scrape.write(&family.of, row, &mut out) {
                current = Some((family, row + 1));
            }
        }
        Piece::More(out.take().into_bytes())
    }
}

impl Scrape {
    /// Writes what a family tells of one thing. False where there is none of that number.
    fn write(&self, of: &Of, row: usize, out: &mut Exposition) -> bool {
        match of {
            Program(write) if row == 0 => {
                write(self, out);
                Some(())
            }
            Program(_) => None,
            Services(write) => {
                let service = self.topology.services.get(row);
                service.map(|service| write(service, out))
            }
            Servers(write) => {
                let server = self.topology.servers.get(row);
                server.map(|server| write(server, out))
            }
            Listeners(write) => {
                let listener = self.topology.listeners.get(row);
                listener.map(|listener| write(listener, out))
            }
        }
        .is_some()
    }
}

const fn family(name: &'static str, kind: Kind, help: &'static str, of: Of) -> Family {
    Family {
        name,
        kind,
        help,
        of,
    }
}

/// All of them, in the order of the answer. A limit that is not set has no number.
#[rustfmt::skip]
const FAMILIES: &[Family] = &[
    family("sessiond_build", Info, "Which program this is.", Program(build)),
    family("sessiond_sessions", Gauge, "Sessions of clients, by state.", Services(sessions)),
    family("sessiond_sessions_limit", Gauge, "Sessions of clients at most, of all services together.",
        Program(|scrape, out| out.option(scrape.registry.data_plane.sessions_at_most()))),
    family("sessiond_sessions_opened", Counter, "Sessions of clients that began.",
        Services(|service, out| out.sample(&[("service", service.name())], service.opened()))),
    family("sessiond_sessions_closed", Counter, "Sessions of clients that ended, by reason.", Services(closed)),
    family("sessiond_service_sessions_limit", Gauge, "max_connections of a service.",
        Services(|service, out| limit(("service", service.name()), service.parameters.max_connections, out))),
    family("sessiond_service_bytes", Counter, "Bytes that were passed on, by direction.",
        Services(|service, out| traffic(("service", service.name()), service.traffic(), out))),
    family("sessiond_server_up", Gauge, "Whether a server is up, as the last probe or client has found it.",
        Servers(|server, out| out.sample(&of(server), u64::from(server.is_up())))),
    family("sessiond_server_state_change_timestamp_seconds", Gauge,
        "When a server last went up or down, since 1970; for one that always was up, when it was first known.",
        Servers(|server, out| out.seconds(&of(server), since_1970(server.health().since)))),
    family("sessiond_server_probe_failures", Counter, "Probes of a server that failed.",
        Servers(|server, out| out.sample(&of(server), server.probe_failures()))),
    family("sessiond_server_drained", Gauge, "Whether an operator keeps new sessions away.",
        Servers(|server, out| out.sample(&of(server), u64::from(server.has(Condition::Drain))))),
    family("sessiond_server_in_maintenance", Gauge, "Whether an operator keeps all sessions away.",
        Servers(|server, out| out.sample(&of(server), u64::from(server.has(Condition::Maintenance))))),
    family("sessiond_server_connections", Gauge, "Sessions that are connected to a server, or about to be.",
        Servers(|server, out| out.sample(&of(server), server.connections() as u64))),
    family("sessiond_server_connections_limit", Gauge, "max_connections of a server.",
        Servers(|server, out| limit(("server", server.name()), server.parameters.max_connections, out))),
    family("sessiond_server_connections_opened", Counter, "Sessions that were sent to a server.",
        Servers(|server, out| out.sample(&of(server), server.total_connections()))),
    family("sessiond_server_bytes", Counter, "Bytes that were passed on, by direction.",
        Servers(|server, out| traffic(("server", server.name()), server.traffic(), out))),
    family("sessiond_listener_up", Gauge, "Whether a listener listens.", Listeners(listener_up)),
    family("sessiond_history_sessions", Gauge, "Closed sessions that are remembered.",
        Program(|scrape, out| out.sample(&[], scrape.registry.sessions.history_size().0 as u64))),
    family("sessiond_history_sessions_limit", Gauge, "admin_history.",
        Program(|scrape, out| out.sample(&[], scrape.registry.sessions.history_size().1 as u64))),
    family("sessiond_kept_bytes", Gauge, "Bytes that are kept for slow readers.",
        Program(|scrape, out| out.option(scrape.registry.data_plane.kept().map(|kept| kept.0)))),
    family("sessiond_kept_bytes_limit", Gauge, "Bytes that are kept for slow readers at most.",
        Program(|scrape, out| out.option(scrape.registry.data_plane.kept().map(|kept| kept.1)))),
    family("sessiond_admin_connections", Gauge, "Connections of admin clients, this one included.",
        Program(|scrape, out| out.sample(&[], scrape.statistics.connections() as u64))),
    family("sessiond_admin_connections_limit", Gauge, "Connections of admin clients at most.",
        Program(|scrape, out| out.sample(&[], scrape.statistics.connections_at_most() as u64))),
    family("sessiond_admin_connections_opened", Counter, "Connections of admin clients that were accepted.",
        Program(|scrape, out| out.sample(&[], scrape.statistics.connections_opened()))),
    family("sessiond_admin_requests", Counter, "Admin requests that were answered, by method and status.",
        Program(admin_requests)),
    family("sessiond_admin_request_duration_seconds", Histogram,
        "From a whole admin request to its answer; without those that wait or follow events.",
        Program(admin_request_duration)),
    family("process_cpu_seconds", Counter, "Processor time, of user and system.",
        Program(|scrape, out| out.seconds(&[], scrape.process.cpu))),
    family("process_open_fds", Gauge, "Open file descriptors.",
        Program(|scrape, out| out.option(scrape.process.descriptors))),
    family("process_max_fds", Gauge, "Open file descriptors at most.",
        Program(|scrape, out| out.option(scrape.process.descriptors_at_most))),
    family("process_resident_memory_bytes", Gauge, "Resident memory.",
        Program(|scrape, out| out.option(scrape.process.resident))),
    family("process_virtual_memory_bytes", Gauge, "Virtual memory.",
        Program(|scrape, out| out.option(scrape.process.virtual_memory))),
    family("process_threads", Gauge, "Threads.",
        Program(|scrape, out| out.option(scrape.process.threads))),
    family("process_start_time_seconds", Gauge, "When the program began, since 1970.", Program(start_time)),
];

fn build(_: &Scrape, out: &mut Exposition) {
    let version = ("version", env!("CARGO_PKG_VERSION"));
    out.sample(&[version, ("arch", std::env::consts::ARCH)], 1);
}

fn sessions(service: &Service, out: &mut Exposition) {
    for (word, state) in [
        ("allocated", SessionState::Allocated),
        ("ready", SessionState::Ready),
        ("stopping", SessionState::Stopping),
    ] {
        let labels = [("service", service.name()), ("state", word)];
        out.sample(&labels, service.sessions_in(state) as u64);
    }
}

fn closed(service: &Service, out: &mut Exposition) {
    for reason in CloseReason::ALL {
        let word = reason.as_str().replace(' ', "_");
        let labels = [("service", service.name()), ("reason", &word[..])];
        out.sample(&labels, service.closed(reason));
    }
}

fn of(server: &Server) -> [(&'static str, &str); 1] {
    [("server", server.name())]
}

/// A limit of the configuration, where 0 means that there is none.
fn limit(of: (&str, &str), limit: usize, out: &mut Exposition) {
    if limit > 0 {
        out.sample(&[of], limit as u64);
    }
}

fn traffic(of: (&str, &str), traffic: &Traffic, out: &mut Exposition) {
    out.sample(&[of, ("direction", "from_clients")], traffic.from_clients());
    out.sample(&[of, ("direction", "to_clients")], traffic.to_clients());
}

fn listener_up(listener: &Listener, out: &mut Exposition) {
    let service = ("service", listener.service().name());
    let labels = [("listener", listener.name()), service];
    out.sample(&labels, u64::from(!listener.is_stopped()));
}

fn admin_requests(scrape: &Scrape, out: &mut Exposition) {
    for (method, status, count) in scrape.statistics.answers() {
        let code = status.to_string();
        out.sample(&[("method", method.as_str()), ("code", &code)], count);
    }
}

fn admin_request_duration(scrape: &Scrape, out: &mut Exposition) {
    let durations = scrape.statistics.durations();
    out.histogram(&BOUNDS, &durations, scrape.statistics.total_duration());
}

fn start_time(scrape: &Scrape, out: &mut Exposition) {
    out.seconds(&[], since_1970(scrape.registry.started));
}

fn since_1970(time: SystemTime) -> Duration {
    // A clock without a battery may begin before that.
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    since.unwrap_or_default()
}
