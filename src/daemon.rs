//! Puts the parts together: binds everything before it starts anything, then
//! waits for a signal or for a part to fail.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::admin::{self, Admin};
use crate::config::Config;
use crate::registry::Registry;
use crate::relay::{self, Relay};

/// What the admin server, the logs and the threads need of the descriptors;
/// the relay gets the rest. Where there are few, it is half of them.
const RESERVED_DESCRIPTORS: u64 = 96;

/// Why the program ended otherwise than by a signal.
#[derive(Debug)]
pub enum RunError {
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
            Self::RelayPanicked => None,
        }
    }
}

/// Runs until SIGTERM or SIGINT, or until something fails.
pub fn run(config: &Config) -> Result<(), RunError> {
    let mut signals = Signals::new([SIGTERM, SIGINT]).map_err(RunError::Signals)?;
    let registry = Arc::new(Registry::new(config));
    let relay =
        Relay::bind(Arc::clone(&registry), descriptors_for_relay()).map_err(RunError::Listen)?;
    let admin = if config.admin.enabled {
        Some(Admin::bind(&config.admin, registry).map_err(RunError::Admin)?)
    } else {
        None
    };
    relay.announce();
    let admin = admin
        .map(Admin::start)
        .transpose()
        .map_err(RunError::Admin)?;
    let handle = relay.handle();
    let relay = start(relay, signals.handle()).map_err(RunError::Thread)?;

    // The end of the relay's thread closes the signals, too.
    let signal = signals.forever().next();
    if signal.is_some() {
        log::info!("stopping");
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

/// Raises the limit of descriptors as far as it goes, and divides them.
fn descriptors_for_relay() -> usize {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    let current = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    };
    let all = current.unwrap_or(u64::MAX);
    usize::try_from(all - RESERVED_DESCRIPTORS.min(all / 2)).unwrap_or(usize::MAX)
}
