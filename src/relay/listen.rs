//! How a listener gets its socket: one that was passed to the program, or one
//! of its own, where it has listened before or where its parameters say.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;

use mio::Interest;
use mio::unix::SourceFd;

use super::source::Source;
use crate::config::Endpoint;
use crate::inherited::Inherited;
use crate::registry::Listener;
use crate::socket::{Listening, Permissions};

/// Why the relay cannot start, or not listen.
#[derive(Debug)]
pub enum ListenError {
    /// The system has no event queue for us.
    Poll(io::Error),
    /// An address or a path cannot be listened on.
    Listen {
        /// The listener's name.
        listener: String,
        /// Where, in words.
        endpoint: String,
        /// Why not.
        cause: io::Error,
    },
}

impl fmt::Display for ListenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Poll(cause) => write!(f, "cannot wait for events: {cause}"),
            Self::Listen {
                listener,
                endpoint,
                cause,
            } => {
                write!(
                    f,
                    "listener {listener}: cannot listen for clients on {endpoint}: {cause}"
                )
            }
        }
    }
}

impl std::error::Error for ListenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Poll(cause) | Self::Listen { cause, .. } => Some(cause),
        }
    }
}

/// Listens where a listener is to listen, and watches its socket under a number.
pub(super) fn listen(
    listener: &Listener,
    number: usize,
    events: &mio::Registry,
    inherited: &Inherited,
) -> Result<Listening, ListenError> {
    let watch = |listening: Listening| {
        let fd = listening.as_raw_fd();
        let token = Source::Listener(number).token();
        match events.register(&mut SourceFd(&fd), token, Interest::READABLE) {
            // One that was passed to the program is watched as long as it is there.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                events.reregister(&mut SourceFd(&fd), token, Interest::READABLE)?;
            }
            result => result?,
        }
        Ok(listening)
    };
    let passed = inherited.find(listener.name(), &listener.parameters.endpoint);
    let listening = passed.transpose().unwrap_or_else(|| socket_of(listener));
    let listening = listening.and_then(watch);
    listening.map_err(|cause| ListenError::Listen {
        listener: listener.name().to_owned(),
        endpoint: place_in_words(listener),
        cause,
    })
}

fn socket_of(listener: &Listener) -> io::Result<Listening> {
    match (&listener.parameters.endpoint, listener.address()) {
        // Where it has listened before.
        (Endpoint::Tcp { .. }, Some(address)) => Listening::tcp(address),
        (
            Endpoint::Tcp {
                address: Some(address),
                port,
            },
            None,
        ) => Listening::tcp(SocketAddr::new(*address, *port)),
        (
            Endpoint::Tcp {
                address: None,
                port,
            },
            None,
        ) => Listening::any(*port),
        (Endpoint::Unix(path), _) => Listening::unix(path, &Permissions::EVERYBODY),
    }
}

/// Where it listens, or is to listen.
pub(super) fn place_in_words(listener: &Listener) -> String {
    if let Some(address) = listener.address() {
        return address.to_string();
    }
    match &listener.parameters.endpoint {
        Endpoint::Tcp {
            address: Some(IpAddr::V6(address)),
            port,
        } => format!("[{address}]:{port}"),
        Endpoint::Tcp {
            address: Some(IpAddr::V4(address)),
            port,
        } => format!("{address}:{port}"),
        Endpoint::Tcp {
            address: None,
            port,
        } => format!("[::]:{port}"),
        Endpoint::Unix(path) => path.display().to_string(),
    }
}
