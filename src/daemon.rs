//! Puts the parts together: binds everything before it starts anything, then
//! waits for a signal or for a part to fail.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::SystemTime;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::admin::{self, Admin};
use crate::config::{self, Config};
use crate::registry::Registry;
use crate::relay::{self, Relay};

/// What the program needs of descriptors beside those of sessions, admin
/// clients, listeners and probes: the standard streams, event queues, wakers,
/// signals, tiny_http, files while they are read, and some to spare.
const OWN_DESCRIPTORS: usize = 24;

/// With fewer than that for sessions and admin clients there is no point in starting.
const FEWEST_DESCRIPTORS: usize = 16;

/// How many a session uses: its client's and its server's.
const DESCRIPTORS_PER_SESSION: usize = 2;

/// Why the program ended otherwise than by a signal.
#[derive(Debug)]
pub enum RunError {
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
            Self::RelayPanicked | Self::Descriptors { .. } => None,
        }
    }
}

/// Runs until SIGTERM or SIGINT, or until something fails. SIGHUP has the
/// accounts read again.
pub fn run(config: &Config) -> Result<(), RunError> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP]).map_err(RunError::Signals)?;
    let share = Share::of(raise_descriptor_limit(), config)?;
    let registry = Arc::new(Registry::new(config, SystemTime::now()));
    let relay = Relay::bind(Arc::clone(&registry), share.sessions).map_err(RunError::Listen)?;
    let admin = config.admin.enabled.then(|| {
        let parameters = config::Admin {
            max_connections: share.admin_clients,
            ..config.admin.clone()
        };
        Admin::bind(&parameters, registry)
    });
    let admin = admin.transpose().map_err(RunError::Admin)?;
    relay.announce();
    if let Some(admin) = &admin {
        admin.announce();
    }
    let admin = admin
        .map(Admin::start)
        .transpose()
        .map_err(RunError::Admin)?;
    let handle = relay.handle();
    let relay = start(relay, signals.handle()).map_err(RunError::Thread)?;

    // The end of the relay's thread closes the signals, too.
    for signal in signals.forever() {
        if signal == SIGHUP {
            if let Some(admin) = &admin {
                admin.reload_accounts();
            }
            continue;
        }
        log::info!("stopping");
        break;
    }
    handle.stop();
    let result = match relay.join() {
        Ok(result) => result.map_err(RunError::Relay),
        Err(_) => Err(RunError::RelayPanicked),
    };
    if let Some(admin) = admin {
        admin.stop();
    }
    result
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
            sessions: (rest - admin_clients) / DESCRIPTORS_PER_SESSION,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_are_divided_so_that_both_sides_have_some() {
        // The example has three listeners and two servers.
        let share = |limit: usize| Share::of(29 + limit, &Config::example());
        assert_eq!(
            share(1000).unwrap(),
            Share {
                admin_clients: 64,
                sessions: 468
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
