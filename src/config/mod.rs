//! What the operator wrote, as a value in which every reference holds.
//!
//! The journey: text → [`ini`] sections with line numbers → [`build`] → [`Config`].
//! Each step adds its [`Fault`]s to one list and goes on, so that the operator
//! sees all of them at once. What this module refuses to do: touch a socket,
//! look up a name, or guess.

mod accounts;
mod addresses;
mod build;
mod fault;
mod ini;
mod network;
mod owner;
mod reader;
mod value;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, io};

pub use accounts::{Account, Accounts, Role};
pub use fault::{Fault, Faults};
pub use network::Network;

/// The file that is read when the command line names none.
pub const DEFAULT_PATH: &str = "/etc/sessiond.cnf";

/// The configuration that runs where there is no file: the one behind the
/// documents of the README.
pub const EXAMPLE: &str = include_str!("example.cnf");

/// A longer file is refused. The largest sensible one (1,000 objects) takes 200 KiB.
pub const MAX_FILE_SIZE: u64 = 1024 * 1024;

/// The whole configuration. Names are unique within a kind of object, and each
/// name that one object uses for another exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The `[maxscale]` section.
    pub admin: Admin,
    /// Every `type=server`, in the order of the file.
    pub servers: Vec<Server>,
    /// Every `type=service`, in the order of the file.
    pub services: Vec<Service>,
    /// Every `type=listener`, in the order of the file.
    pub listeners: Vec<Listener>,
}

/// The admin server, and what concerns the whole program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admin {
    /// `admin_enabled`: whether there is an admin server at all.
    pub enabled: bool,
    /// `admin_host`: the address it listens on. Other than loopback, there are accounts.
    pub host: IpAddr,
    /// `admin_port`: 0 lets the system pick one, which the log then names.
    pub port: u16,
    /// `admin_socket`: a unix socket that it listens on as well.
    pub socket: Option<AdminSocket>,
    /// `admin_accounts`: the file of those who may come over TCP.
    pub accounts: Option<PathBuf>,
    /// `admin_hostnames`: names by which clients call this machine.
    pub hostnames: Vec<String>,
    /// `admin_max_connections`: how many clients may be connected at a time.
    pub max_connections: usize,
    /// `admin_history`: how many closed sessions are remembered.
    pub history: usize,
    /// `log_sessions`: whether the log tells of each session that comes, logs in or goes.
    pub log_sessions: bool,
    /// `shutdown_timeout`: how long sessions get to end when they are to go.
    pub shutdown_timeout: Duration,
    /// `monitor_interval`: the time between two rounds of probes of all servers; zero for none.
    pub monitor_interval: Duration,
}

/// The admin server's unix socket. Whoever can connect to it may read and write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminSocket {
    /// `admin_socket`: an absolute path.
    pub path: PathBuf,
    /// `admin_socket_mode`: the permissions.
    pub mode: u32,
    /// `admin_socket_owner`: a user's number; without one, whoever runs the program.
    pub owner: Option<u32>,
    /// `admin_socket_group`: a group's number; without one, that of the program.
    pub group: Option<u32>,
}

impl Default for Admin {
    fn default() -> Self {
        Self {
            enabled: true,
            host: IpAddr::V4(Ipv4Addr::LOCALHOST),
            port: 8989,
            socket: None,
            accounts: None,
            hostnames: Vec::new(),
            max_connections: 64,
            history: 1000,
            log_sessions: false,
            shutdown_timeout: Duration::ZERO,
            monitor_interval: Duration::from_secs(2),
        }
    }
}

/// A backend: something that clients are connected to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// The section's name.
    pub name: String,
    /// `address`: where it is.
    pub address: Host,
    /// `port`: never 0.
    pub port: u16,
    /// `rank`: who is asked first.
    pub rank: Rank,
    /// `proxy_protocol`: whether it is told the client's address first.
    pub proxy_protocol: bool,
    /// `max_connections`: how many sessions it may have; 0 is no limit.
    pub max_connections: usize,
}

/// How a server's `address` is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// An IP address.
    Address(IpAddr),
    /// A name, to be looked up away from the event loop.
    Name(String),
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Name(name) => name.fmt(f),
        }
    }
}

/// Which servers of a service come first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rank {
    /// Takes sessions whenever it is up.
    Primary,
    /// Takes sessions only while no primary is up.
    Secondary,
}

impl Rank {
    /// The word for it in the configuration and in documents.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Primary => "primary",
            Self::Secondary => "secondary",
        }
    }
}

/// What clients connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// The section's name.
    pub name: String,
    /// `router`: how a server is chosen.
    pub router: Router,
    /// `servers`: names of [`Config::servers`], at least one, none twice.
    pub servers: Vec<String>,
    /// `max_connections`: how many sessions there may be; 0 is no limit.
    pub max_connections: usize,
    /// `connection_timeout`: how long nothing may pass; zero is no limit.
    pub connection_timeout: Duration,
    /// `connect_timeout`: how long one server may take to accept a connection. Never zero.
    pub connect_timeout: Duration,
    /// `half_close_timeout`: how long nothing may pass while one side alone has
    /// ended its stream; zero is no limit.
    pub half_close_timeout: Duration,
}

/// How a service chooses a server for a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Router {
    /// `readconnroute`: one server for the whole session, the least busy one.
    ReadConnRoute,
}

impl fmt::Display for Router {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("readconnroute")
    }
}

/// A place where clients arrive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// The section's name.
    pub name: String,
    /// `service`: a name of [`Config::services`].
    pub service: String,
    /// `protocol`: what its clients speak.
    pub protocol: Protocol,
    /// `address` and `port`, or `socket`.
    pub endpoint: Endpoint,
    /// `proxy_protocol_networks`: from where clients come with a PROXY header.
    pub proxy_protocol_networks: Vec<Network>,
}

/// Where a listener listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// A TCP port.
    Tcp {
        /// Without one, `::` with IPv4 included, or 0.0.0.0 where there is no IPv6.
        address: Option<IpAddr>,
        /// 0 lets the system pick one, which the log then names.
        port: u16,
    },
    /// A unix socket, by its absolute path.
    Unix(PathBuf),
}

/// What the clients of a listener speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// MariaDB and MySQL.
    MariaDb,
    /// PostgreSQL.
    PostgreSql,
    /// Anything else over a stream of bytes.
    Tcp,
}

impl Protocol {
    /// The word for it in the configuration and in documents.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::MariaDb => "MariaDBClient",
            Self::PostgreSql => "PostgreSQLClient",
            Self::Tcp => "TCP",
        }
    }
}

impl Config {
    /// Reads a configuration, under the name by which its faults call it.
    pub fn parse(file: &str, text: &[u8]) -> Result<Self, Faults> {
        let mut faults = Faults::new(file);
        let sections = ini::sections(text, &mut faults);
        let config = build::build(&sections, &mut faults);
        faults.or(config)
    }

    /// Reads a file of at most [`MAX_FILE_SIZE`] bytes.
    pub fn load(path: &Path) -> Result<Self, LoadError> {
        let text = read(path).map_err(|cause| LoadError::Unreadable(path.into(), cause))?;
        Self::parse(&path.to_string_lossy(), &text).map_err(LoadError::Faulty)
    }

    /// The built-in example, [`EXAMPLE`].
    ///
    /// # Panics
    ///
    /// Never: a test reads it.
    #[must_use]
    pub fn example() -> Self {
        Self::parse("the built-in example", EXAMPLE.as_bytes())
            .expect("the built-in example has no fault")
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    use io::Read;
    let mut text = Vec::new();
    fs::File::open(path)?
        .take(MAX_FILE_SIZE + 1)
        .read_to_end(&mut text)?;
    if text.len() as u64 > MAX_FILE_SIZE {
        return Err(io::Error::other(format!(
            "longer than {MAX_FILE_SIZE} bytes"
        )));
    }
    Ok(text)
}

/// Why a configuration file could not be used.
#[derive(Debug)]
pub enum LoadError {
    /// It could not be read.
    Unreadable(PathBuf, io::Error),
    /// It was read, and says what cannot be.
    Faulty(Faults),
    /// Others than its owner can write it, or its owner is somebody else.
    WritableByOthers(PathBuf),
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(path, cause) => write!(f, "cannot read {}: {cause}", path.display()),
            Self::Faulty(faults) => faults.fmt(f),
            Self::WritableByOthers(path) => {
                write!(
                    f,
                    "{}: others must not be able to write it: chown it to root and chmod it to 0640",
                    path.display()
                )
            }
        }
    }
}

impl std::error::Error for LoadError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Unreadable(_, cause) => Some(cause),
            Self::Faulty(faults) => Some(faults),
            Self::WritableByOthers(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_has_the_three_services_of_the_documents() {
        let config = Config::example();
        let services: Vec<&str> = config
            .services
            .iter()
            .map(|service| service.name.as_str())
            .collect();
        assert_eq!(
            services,
            ["RW-Split-Router", "Read-Connection-Router", "CLI"]
        );
        assert_eq!(config.admin, Admin::default());
    }

    #[test]
    fn every_address_of_the_example_is_loopback() {
        let config = Config::example();
        for listener in &config.listeners {
            let Endpoint::Tcp {
                address: Some(address),
                ..
            } = &listener.endpoint
            else {
                panic!("{} has no address", listener.name);
            };
            assert!(address.is_loopback(), "{}", listener.name);
        }
        for server in &config.servers {
            assert_eq!(
                server.address,
                Host::Address(IpAddr::V4(Ipv4Addr::LOCALHOST)),
                "{}",
                server.name
            );
        }
    }
}
