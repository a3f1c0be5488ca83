//! Puts the parts together: binds everything before it starts anything, then
//! waits for a signal or for a part to fail.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::admin::{self, Admin, Rules};
use crate::config::{self, Config, LoadError};
use crate::events;
use crate::inherited::{Inherited, Misfit};
use crate::registry::{Attachment, Registry};
use crate::relay::{self, Relay};
use crate::systemd::{Environment, Systemd};

/// What the program needs of descriptors beside those of sessions, admin
/// clients, listeners and probes: the standard streams, event queues, wakers,
/// signals, tiny_http, files while they are read, and some to spare.
const OWN_DESCRIPTORS: usize = 24;

/// With fewer than that for sessions and admin clients there is no point in starting.
const FEWEST_DESCRIPTORS: usize = 16;

/// Why the program ended otherwise than by a signal.
#[derive(Debug)]
pub enum RunError {
    /// A socket that was passed to the program does not fit the configuration.
    Inherited(Misfit),
    /// The limit of descriptors leaves too few for sessions.
    Descriptors {
        /// The limit.
        limit: usize,
        /// What it would have to be.
        needed: usize,
    },
    /// Signals cannot be received.
    Signals(io::Error),
    /// A listener cannot listen.
    Listen(relay::ListenError),
    /// The admin server cannot start.
    Admin(admin::StartError),
    /// The relay's thread cannot be started.
    Thread(io::Error),
    /// The relay cannot go on.
    Relay(io::Error),
    /// The relay's thread has panicked.
    RelayPanicked,
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inherited(cause) => cause.fmt(f),
            Self::Descriptors { limit, needed } => write!(
                f,
                "a limit of {limit} descriptors is too low: at least {needed} are needed (ulimit -n, LimitNOFILE=)"
            ),
            Self::Signals(cause) => write!(f, "cannot receive signals: {cause}"),
            Self::Listen(cause) => cause.fmt(f),
            Self::Admin(cause) => cause.fmt(f),
            Self::Thread(cause) => write!(f, "cannot start the relay's thread: {cause}"),
            Self::Relay(cause) => write!(f, "the relay cannot go on: {cause}"),
            Self::RelayPanicked => f.write_str("the relay's thread has panicked"),
        }
    }
}

impl std::error::Error for RunError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Signals(cause) | Self::Thread(cause) | Self::Relay(cause) => Some(cause),
            Self::Listen(cause) => Some(cause),
            Self::Admin(cause) => Some(cause),
            Self::Inherited(cause) => Some(cause),
            Self::RelayPanicked | Self::Descriptors { .. } => None,
        }
    }
}

/// Runs until SIGTERM or SIGINT, or until something fails. SIGHUP has the
/// configuration loaded again.
pub fn run(config: Config, load: impl Fn() -> Result<Config, LoadError>) -> Result<(), RunError> {
    let inherited = Inherited::take().map_err(RunError::Inherited)?;
    inherited.check(&config).map_err(RunError::Inherited)?;
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP]).map_err(RunError::Signals)?;
    let descriptors = raise_descriptor_limit();
    let share = Share::of(descriptors, &config)?;
    let registry = Arc::new(Registry::new(&config, SystemTime::now()));
    let mut relay = Relay::bind_with(Arc::clone(&registry), share.sessions, inherited.clone())
        .map_err(RunError::Listen)?;
    let admin = config.admin.enabled.then(|| {
        let parameters = config::Admin {
            max_connections: share.admin_clients,
            ..config.admin.clone()
        };
        Admin::bind_with(&parameters, Arc::clone(&registry), &inherited)
    });
    let admin = admin.transpose().map_err(RunError::Admin)?;
    let log_of_sessions = log_of_sessions(&config, &registry);
    relay.announce();
    if let Some(admin) = &admin {
        admin.announce();
    }
    let admin = admin
        .map(Admin::start)
        .transpose()
        .map_err(RunError::Admin)?;
    let mut pulses = vec![relay.pulse()];
    pulses.extend(admin.as_ref().map(admin::Running::pulse));
    let clients = {
        let registry = Arc::clone(&registry);
        move || clients_of(&registry)
    };
    let mut daemon = Daemon {
        systemd: Systemd::start(Environment::read(), pulses, clients),
        config,
        descriptors,
        registry,
        relay: relay.handle(),
        admin,
        log_of_sessions,
    };
    let relay = start(relay, signals.handle()).map_err(RunError::Thread)?;

    let mut stopping = false;
    // The end of the relay's thread closes the signals, too.
    for signal in signals.forever() {
        match (signal, stopping) {
            (SIGHUP, true) => {}
            (SIGHUP, false) => daemon.reload(&load),
            (_, true) => {
                log::info!("stopping at once");
                daemon.relay.stop();
            }
            (_, false) => {
                log::info!("stopping");
                stopping = true;
                let grace = daemon.config.admin.shutdown_timeout;
                daemon.systemd.stopping(grace);
                daemon.relay.stop_within(grace);
            }
        }
    }
    let result = match relay.join() {
        Ok(result) => result.map_err(RunError::Relay),
        Err(_) => Err(RunError::RelayPanicked),
    };
    // Where it is not known yet: the relay has ended by itself.
    daemon.systemd.stopping(Duration::ZERO);
    if let Some(admin) = daemon.admin {
        admin.stop();
    }
    result
}

/// The parts while they run, and the configuration that holds.
struct Daemon {
    systemd: Systemd,
    config: Config,
    /// How many descriptors there may be.
    descriptors: usize,
    registry: Arc<Registry>,
    relay: relay::Handle,
    admin: Option<admin::Running>,
    log_of_sessions: Option<Attachment>,
}

/// Why another configuration does not hold.
enum Unfit {
    /// It cannot be loaded, or its accounts cannot.
    Load(LoadError),
    /// What cannot change while the program runs has changed: these parameters.
    Fixed(Vec<&'static str>),
    /// There are too few descriptors for it.
    Descriptors(RunError),
    /// The relay cannot follow it.
    Relay(relay::ReloadError),
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Load(cause) => cause.fmt(f),
            Self::Fixed(names) => {
                write!(f, "{} cannot change without a restart", names.join(", "))
            }
            Self::Descriptors(cause) => cause.fmt(f),
            Self::Relay(cause) => cause.fmt(f),
        }
    }
}

impl Daemon {
    /// Loads the configuration again. Either the whole of it holds from then on,
    /// or nothing changes.
    fn reload(&mut self, load: &impl Fn() -> Result<Config, LoadError>) {
        self.systemd.reloading();
        match self.try_reload(load) {
            Ok(()) => {
                log::info!("the configuration is read again");
                self.systemd.reloaded(None);
            }
            Err(unfit) => {
                let reason = unfit.to_string();
                for line in reason.lines() {
                    log::error!("{line}");
                }
                log::error!("the configuration stays as it was");
                self.systemd.reloaded(Some(reason));
            }
        }
    }

    fn try_reload(&mut self, load: &impl Fn() -> Result<Config, LoadError>) -> Result<(), Unfit> {
        let config = load().map_err(Unfit::Load)?;
        let fixed = fixed_that_differ(&self.config.admin, &config.admin);
        if !fixed.is_empty() {
            return Err(Unfit::Fixed(fixed));
        }
        let share = Share::of(self.descriptors, &config).map_err(Unfit::Descriptors)?;
        let rules = self.admin.is_some().then(|| Rules::load(&config.admin));
        let rules = rules.transpose().map_err(Unfit::Load)?;
        let topology = self.registry.topology();
        let topology = topology.renewed(&config, SystemTime::now());
        // A new listener may lead to the admin server, and an old one, too: the new
        // accounts are in force once the old one is closed and before the new one is
        // open, so that no client comes by one configuration's listener with an
        // account of the other.
        let change = self.admin.as_ref().zip(rules);
        let change = change.map(|(admin, rules)| admin.change_of(rules));
        self.relay
            .reload(
                topology,
                share.sessions,
                config.admin.shutdown_timeout,
                move || change.into_iter().for_each(|change| change()),
            )
            .map_err(Unfit::Relay)?;
        // Nothing fails from here on.
        self.registry.sessions.set_history(config.admin.history);
        if config.admin.log_sessions != self.config.admin.log_sessions {
            self.log_of_sessions = log_of_sessions(&config, &self.registry);
        }
        self.config = config;
        Ok(())
    }
}

/// How many clients all services have.
fn clients_of(registry: &Registry) -> u64 {
    let topology = registry.topology();
    let counts = topology
        .services
        .iter()
        .map(|service| service.connections());
    counts.sum()
}

fn log_of_sessions(config: &Config, registry: &Registry) -> Option<Attachment> {
    let wanted = config.admin.log_sessions;
    wanted.then(|| events::log_all(&registry.events))
}

/// The parameters that cannot change while the program runs, and differ.
fn fixed_that_differ(before: &config::Admin, after: &config::Admin) -> Vec<&'static str> {
    let path = |admin: &config::Admin| admin.socket.as_ref().map(|socket| socket.path.clone());
    let differs = [
        ("admin_enabled", before.enabled != after.enabled),
        ("admin_host", before.host != after.host),
        ("admin_port", before.port != after.port),
        (
            "admin_accounts (its removal)",
            before.accounts.is_some() && after.accounts.is_none(),
        ),
        ("admin_socket", path(before) != path(after)),
        (
            "admin_socket_mode, _owner or _group",
            path(before) == path(after) && before.socket != after.socket,
        ),
        (
            "admin_max_connections",
            before.max_connections != after.max_connections,
        ),
    ];
    let names = differs.into_iter().filter(|(_, differs)| *differs);
    names.map(|(name, _)| name).collect()
}

/// Starts the relay's thread, whose end ends the wait for signals.
fn start(
    relay: Relay,
    signals: signal_hook::iterator::Handle,
) -> io::Result<JoinHandle<io::Result<()>>> {
    thread::Builder::new().name("relay".into()).spawn(move || {
        struct CloseAtEnd(signal_hook::iterator::Handle);
        impl Drop for CloseAtEnd {
            fn drop(&mut self) {
                self.0.close();
            }
        }
        let _close = CloseAtEnd(signals);
        relay.run()
    })
}

/// Raises the limit of descriptors as far as it goes, and says how far that is.
fn raise_descriptor_limit() -> usize {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    let reached = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    };
    reached
        .and_then(|reached| usize::try_from(reached).ok())
        .unwrap_or(usize::MAX)
}

/// How many there may be at a time, as far as descriptors go. The admin side
/// keeps its own in reserve: it answers while the relay has run into the limit.
#[derive(Debug, PartialEq, Eq)]
struct Share {
    admin_clients: usize,
    sessions: usize,
}

impl Share {
    /// Divides a limit. Admin clients get what the configuration allows, but
    /// not more than half.
    fn of(limit: usize, config: &Config) -> Result<Self, RunError> {
        // A probe of a server takes one.
        let own = OWN_DESCRIPTORS + config.listeners.len() + config.servers.len();
        let rest = limit.saturating_sub(own);
        if rest < FEWEST_DESCRIPTORS {
            return Err(RunError::Descriptors {
                limit,
                needed: own + FEWEST_DESCRIPTORS,
            });
        }
        let admin_clients = config.admin.max_connections.min(rest / 2);
        Ok(Self {
            admin_clients,
            sessions: relay::sessions_within(rest - admin_clients),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_change_while_it_runs_is_named() {
        let admin = |text: &str| {
            let text = format!("[maxscale]\n{text}\n");
            Config::parse("test", text.as_bytes()).unwrap().admin
        };
        let fixed = |before: &str, after: &str| fixed_that_differ(&admin(before), &admin(after));
        assert_eq!(fixed("", "admin_history=5\nlog_sessions=true"), [""; 0]);
        assert_eq!(fixed("", "admin_socket=/run/a"), ["admin_socket"]);
        assert_eq!(
            fixed(
                "admin_socket=/run/a",
                "admin_socket=/run/a\nadmin_socket_mode=0600"
            ),
            ["admin_socket_mode, _owner or _group"]
        );
        assert_eq!(
            fixed("", "admin_port=1\nadmin_host=127.0.0.2"),
            ["admin_host", "admin_port"]
        );
    }

    #[test]
    fn descriptors_are_divided_so_that_both_sides_have_some() {
        // The example has three listeners and two servers.
        let share = |limit: usize| Share::of(29 + limit, &Config::example());
        assert_eq!(
            share(1000).unwrap(),
            Share {
                admin_clients: 64,
                sessions: 452
            }
        );
        assert_eq!(
            share(32).unwrap(),
            Share {
                admin_clients: 16,
                sessions: 8
            }
        );
        let refused = share(15).unwrap_err().to_string();
        assert!(
            refused.starts_with("a limit of 44 descriptors is too low: at least 45 are needed"),
            "{refused}"
        );
    }
}
