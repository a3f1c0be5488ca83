//! Why a session ended, and when.

use std::time::SystemTime;

/// Why a session ended: the first thing that happened to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// The client ended the session in its protocol, or its stream in order.
    ClientClosed,
    /// The server ended its stream in order.
    ServerClosed,
    /// An operator has ended it.
    Killed,
    /// Nothing has passed for the service's `connection_timeout`.
    IdleTimeout,
    /// The server has not answered in time, or the client has not logged in.
    ConnectTimeout,
    /// No server of the service could take the session.
    NoServerAvailable,
    /// A limit of sessions has rejected the client.
    TooManyConnections,
    /// The server has refused the login.
    LoginRefused,
    /// The server's connection broke.
    ServerLost,
    /// The client's connection broke.
    ClientReset,
    /// Its server is in maintenance, or was removed.
    ServerStopped,
    /// What came in place of a PROXY header is none.
    ProtocolError,
    /// The program stopped, or the service was removed.
    Shutdown,
}

impl CloseReason {
    /// All of them, in the order of the variants.
    pub const ALL: [Self; 13] = [
        Self::ClientClosed,
        Self::ServerClosed,
        Self::Killed,
        Self::IdleTimeout,
        Self::ConnectTimeout,
        Self::NoServerAvailable,
        Self::TooManyConnections,
        Self::LoginRefused,
        Self::ServerLost,
        Self::ClientReset,
        Self::ServerStopped,
        Self::ProtocolError,
        Self::Shutdown,
    ];

    /// The words for logs and documents.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ClientClosed => "client closed",
            Self::ServerClosed => "server closed",
            Self::Killed => "killed",
            Self::IdleTimeout => "idle timeout",
            Self::ConnectTimeout => "connect timeout",
            Self::NoServerAvailable => "no server available",
            Self::TooManyConnections => "too many connections",
            Self::LoginRefused => "login refused",
            Self::ServerLost => "server lost",
            Self::ClientReset => "client reset",
            Self::ServerStopped => "server stopped",
            Self::ProtocolError => "protocol error",
            Self::Shutdown => "shutdown",
        }
    }
}

/// The end of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ending {
    /// Why.
    pub reason: CloseReason,
    /// When.
    pub time: SystemTime,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_reasons_stand_in_their_order() {
        for (index, reason) in CloseReason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, index);
        }
    }
}
