//! Bytes in, facts out: what a session's bytes tell of it.
//!
//! An [`Observer`] reads along while the relay moves bytes, from the login to the
//! end of the session, and never changes one. It accepts input cut at any byte,
//! holds at most [`MAX_HELD`], and looks away for good as soon as something is not
//! as it expects: the bytes flow whatever it makes of them. Passwords, scrambles and
//! queries are skipped, not kept; [`Observer::blind`] says which bytes need not
//! even be shown.
//!
//! There are no sockets here and no clock.

mod first_answer;
mod held;
pub mod mariadb;
pub mod postgresql;
pub mod proxy;
mod server_error;

pub use first_answer::FirstAnswer;
pub use server_error::ServerError;

use std::fmt;

/// The bytes that an observer may hold of a session: as much as the longest
/// sensible login takes, with its connection attributes.
pub const MAX_HELD: usize = 16 * 1024;

/// The user as whom probes of servers log in, without a password; it need not exist.
pub const PROBE_USER: &str = "sessiond-probe";

/// The longest user's or database's name that is kept, in bytes: twice what
/// MariaDB allows (128 characters of four bytes for a user).
pub const MAX_NAME: usize = 1024;

/// How much of a client's connection attributes is kept, in bytes of names and
/// values: twice what the usual clients send ten times over. Further ones are left out.
pub const MAX_ATTRIBUTES: usize = 4 * 1024;

/// How many of a client's connection attributes are kept: an empty one costs two
/// bytes on the way, and many times that here. The usual clients send ten.
pub const MAX_ATTRIBUTE_COUNT: usize = 64;

/// Who sent what is observed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The client, to the server.
    Client,
    /// The server, to the client.
    Server,
}

/// What a session's bytes have shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact {
    /// The server's own number for the connection.
    ConnectionId(u64),
    /// From here on everything is encrypted, and no further fact follows.
    Encrypted,
    /// A login or a change of user has succeeded.
    LoggedIn(Login),
    /// The server has refused the login. No further fact follows.
    Refused {
        /// The login that the client asked for, where it had asked before the server refused.
        claimed: Option<Login>,
        /// The reason, as the server gave it.
        error: ServerError,
    },
    /// User and database are not known any more.
    Unclear,
    /// The default database has changed; `None` where there is none now, or it is not known any more.
    Database(Option<String>),
    /// The server's version: from the greeting (MariaDB, without the prefix `5.5.5-`), or from
    /// the parameter `server_version` (PostgreSQL).
    ServerVersion(String),
    /// The client's connection attribute `application_name` has changed (PostgreSQL).
    ApplicationName(String),
    /// What a request to cancel this session's query must present (PostgreSQL's BackendKeyData).
    CancelKey {
        /// The server process of the session.
        process_id: u32,
        /// The secret key, 4 to 256 bytes.
        key: Box<[u8]>,
    },
    /// Whether the server is a standby, as it says at login and when it is promoted (PostgreSQL).
    HotStandby(bool),
    /// The client ends the session: COM_QUIT or Terminate. Only the outcome of a login may
    /// follow, which such a client has not waited for.
    Quit,
}

/// Who has logged in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Login {
    /// The user's name; what is not UTF-8 is replaced.
    pub user: String,
    /// The default database that was asked for.
    pub database: Option<String>,
    /// What the client says of itself, in its order.
    pub attributes: Vec<(String, String)>,
}

/// How far an observer has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The login is not over.
    Login,
    /// The login is over; user, database and attributes may still change, until the client ends
    /// the session.
    Open,
    /// There is nothing more to see.
    Over,
}

/// Reads along with one session.
#[derive(Debug)]
pub enum Observer {
    /// A session of MariaDB or MySQL.
    MariaDb(mariadb::Observer),
    /// A session of PostgreSQL.
    PostgreSql(postgresql::Observer),
}

impl Observer {
    /// Whether the client's first message, which begins the login, has been seen whole.
    #[must_use]
    pub fn has_first_message(&self) -> bool {
        match self {
            Self::MariaDb(observer) => observer.has_first_message(),
            // The relay passes it whole.
            Self::PostgreSql(_) => true,
        }
    }

    /// Takes what one side has sent, in the order in which it came, after all
    /// that it answers to, and adds what it tells to the facts.
    pub fn observe(&mut self, side: Side, bytes: &[u8], facts: &mut Vec<Fact>) -> Stage {
        match self {
            Self::MariaDb(observer) => observer.observe(side, bytes, facts),
            Self::PostgreSql(observer) => observer.observe(side, bytes, facts),
        }
    }

    /// How many of the next bytes of a side are of no interest: the rest of a packet's or
    /// a message's body, or all that will come. They need not be shown, if they are skipped.
    #[must_use]
    pub fn blind(&self, side: Side) -> usize {
        match self {
            Self::MariaDb(observer) => observer.blind(side),
            Self::PostgreSql(observer) => observer.blind(side),
        }
    }

    /// Skips bytes of a side that have passed without being shown. It must not be more
    /// than [`Self::blind`] has said, with nothing shown of that side in between.
    pub fn skip(&mut self, side: Side, length: usize) {
        match self {
            Self::MariaDb(observer) => observer.skip(side, length),
            Self::PostgreSql(observer) => observer.skip(side, length),
        }
    }

    /// Bytes of memory that it holds beside itself.
    #[must_use]
    pub fn memory(&self) -> usize {
        match self {
            Self::MariaDb(observer) => observer.memory(),
            Self::PostgreSql(observer) => observer.memory(),
        }
    }
}

/// Why a client is not let in, to be told in its own protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal<'a> {
    /// The service has all the sessions that it may have.
    TooManyConnections {
        /// The service's name.
        service: &'a str,
        /// How many it may have.
        limit: usize,
    },
    /// None of the service's servers takes the session.
    NoServer {
        /// The service's name.
        service: &'a str,
    },
    /// The service has been stopped.
    Stopped {
        /// The service's name.
        service: &'a str,
    },
    /// An operator has ended the session.
    Killed {
        /// The service's name.
        service: &'a str,
    },
}

impl fmt::Display for Refusal<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooManyConnections { service, limit } => {
                write!(
                    f,
                    "Too many connections: service {service} has its limit of {limit}"
                )
            }
            Self::NoServer { service } => write!(f, "No server of service {service} is available"),
            Self::Stopped { service } => write!(f, "Service {service} is stopped"),
            Self::Killed { service } => {
                write!(
                    f,
                    "An operator of service {service} has ended the connection"
                )
            }
        }
    }
}
