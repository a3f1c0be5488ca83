//! Sockets that listened before the program was there: systemd passes them
//! (sd_listen_fds(3)), and says by a name what each is for.
//!
//! They stay systemd's. So the hard thing is to give them up: a socket that is
//! closed here still takes clients, whom nobody accepts. That is why they are
//! kept for as long as the program runs, whoever uses them meanwhile. And what
//! the configuration promises must hold for them, too: one that listens
//! elsewhere, or lets others in, stops the start.

use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::io::{FdFlags, fcntl_getfd, fcntl_setfd};
use rustix::net::{SocketAddrUnix, SocketType, getsockname, sockopt};
use rustix::process::{getegid, geteuid};

use crate::config::{AdminSocket, Config, Endpoint};
use crate::socket::Listening;

/// The name of the admin server's TCP socket.
pub const ADMIN: &str = "admin";
/// The name of the admin server's unix socket.
pub const ADMIN_SOCKET: &str = "admin_socket";

/// How many sockets may be passed: more than anybody has listeners.
const MAX_SOCKETS: u32 = 1024;

/// The sockets that were passed.
#[derive(Clone, Debug, Default)]
pub struct Inherited {
    sockets: Vec<Socket>,
}

#[derive(Clone, Debug)]
struct Socket {
    name: String,
    place: Place,
    fd: Arc<OwnedFd>,
}

/// Where a socket listens.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    /// An address; whether one of IPv6 leaves clients of IPv4 out.
    Tcp(SocketAddr, bool),
    Unix(PathBuf),
}

/// A socket that does not fit, by its name, and why.
#[derive(Debug, PartialEq, Eq)]
pub struct Misfit {
    name: String,
    reason: String,
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, reason } = self;
        write!(
            f,
            "the socket {name}, which was passed by LISTEN_FDS, {reason}"
        )
    }
}

impl std::error::Error for Misfit {}

impl Inherited {
    /// No sockets: everybody listens by himself.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// Takes the sockets that were passed to this process. It is called once,
    /// before anything else opens a descriptor.
    pub fn take() -> Result<Self, Misfit> {
        let all = |reason: String| Misfit {
            name: "list".to_owned(),
            reason,
        };
        let number = |name: &str| std::env::var(name).ok()?.parse::<u32>().ok();
        if number("LISTEN_PID") == Some(std::process::id())
            && let Some(count) = number("LISTEN_FDS").filter(|count| *count > MAX_SOCKETS)
        {
            return Err(all(format!(
                "has {count} sockets: at most {MAX_SOCKETS} can be passed"
            )));
        }
        let passed = sd_listen_fds::get().map_err(|_| {
            all("is not understood: LISTEN_FDS and LISTEN_PID must be numbers".to_owned())
        })?;
        let mut sockets = Vec::new();
        let mut misfit = None;
        for (name, fd) in passed {
            let fd = fd.into_std();
            let name = name.filter(|name| !name.is_empty());
            let name = name.unwrap_or_else(|| "unknown".to_owned());
            if fcntl_getfd(&fd).is_err() {
                let number = fd.as_raw_fd();
                // It is not open: what is opened under that number later must not be closed for it.
                std::mem::forget(fd);
                let reason = format!("is not open (descriptor {number})");
                misfit.get_or_insert(Misfit { name, reason });
                continue;
            }
            match Socket::new(name, fd) {
                Ok(socket) => sockets.push(socket),
                Err(found) => _ = misfit.get_or_insert(found),
            }
        }
        misfit.map_or(Ok(Self { sockets }), Err)
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.sockets.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sockets.is_empty()
    }

    /// Checks that each has its place in a configuration, and is what that says.
    pub fn check(&self, config: &Config) -> Result<(), Misfit> {
        for (index, socket) in self.sockets.iter().enumerate() {
            let refuse = |reason: String| Misfit {
                name: socket.name.clone(),
                reason,
            };
            let mut earlier = self.sockets[..index].iter();
            if earlier.any(|other| other.name == socket.name) {
                return Err(refuse(
                    "is there twice: each needs a .socket unit of its own, with its own FileDescriptorName="
                        .to_owned(),
                ));
            }
            let wanted = wanted(config, &socket.name).map_err(refuse)?;
            if !socket.place.fits(&wanted) {
                return Err(refuse(format!(
                    "listens on {}, and the configuration says {}",
                    socket.place,
                    in_words(&wanted)
                )));
            }
            if socket.name == ADMIN_SOCKET
                && let Some(configured) = &config.admin.socket
            {
                check_permissions(configured).map_err(refuse)?;
            }
        }
        Ok(())
    }

    /// The socket of a listener, by its name or because it is at that very
    /// place; the options of our own sockets are set.
    pub(crate) fn find(
        &self,
        name: &str,
        endpoint: &Endpoint,
    ) -> std::io::Result<Option<Listening>> {
        let by_name = |socket: &&Socket| socket.name == name && socket.place.fits(endpoint);
        let is_chosen = matches!(endpoint, Endpoint::Tcp { port: 0, .. });
        let by_place = |socket: &&Socket| !is_chosen && socket.place.fits(endpoint);
        let mut all = self.sockets.iter();
        let found = all
            .find(by_name)
            .or_else(|| self.sockets.iter().find(by_place));
        let adopted = found.map(|socket| {
            let is_tcp = matches!(socket.place, Place::Tcp(..));
            Listening::adopt(Arc::clone(&socket.fd), is_tcp)
        });
        adopted.transpose()
    }
}

impl Socket {
    fn new(name: String, fd: OwnedFd) -> Result<Self, Misfit> {
        match place_of(&fd) {
            Ok(place) => Ok(Self {
                name,
                place,
                fd: Arc::new(fd),
            }),
            Err(reason) => Err(Misfit { name, reason }),
        }
    }
}

/// Where a socket listens, if it is one that can be used.
fn place_of(fd: &OwnedFd) -> Result<Place, String> {
    // No program that is started from here is to have it.
    fcntl_setfd(fd, FdFlags::CLOEXEC).map_err(|cause| cause.to_string())?;
    let kind = sockopt::socket_type(fd).map_err(|_| "is no socket".to_owned())?;
    if kind != SocketType::STREAM {
        return Err("is not for streams: ListenStream= is needed".to_owned());
    }
    if !sockopt::socket_acceptconn(fd).unwrap_or(false) {
        return Err("does not listen: Accept=no is needed".to_owned());
    }
    let address = getsockname(fd).map_err(|cause| cause.to_string())?;
    if let Ok(address) = SocketAddr::try_from(address.clone()) {
        let only = address.is_ipv6() && sockopt::ipv6_v6only(fd).unwrap_or(true);
        let address = SocketAddr::new(address.ip().to_canonical(), address.port());
        return Ok(Place::Tcp(address, only));
    }
    let path = SocketAddrUnix::try_from(address).ok();
    let path = path.and_then(|address| {
        let path = address.path()?;
        Some(PathBuf::from(OsStr::from_bytes(path.to_bytes())))
    });
    path.map(Place::Unix)
        .ok_or_else(|| "has neither an internet address nor a path".to_owned())
}

/// What a configuration has under a name.
fn wanted(config: &Config, name: &str) -> Result<Endpoint, String> {
    let admin = &config.admin;
    if admin.enabled && name == ADMIN {
        return Ok(Endpoint::Tcp {
            address: Some(admin.host),
            port: admin.port,
        });
    }
    if admin.enabled
        && name == ADMIN_SOCKET
        && let Some(socket) = &admin.socket
    {
        return Ok(Endpoint::Unix(socket.path.clone()));
    }
    let mut listeners = config.listeners.iter();
    if let Some(listener) = listeners.find(|listener| listener.name == name) {
        return Ok(listener.endpoint.clone());
    }
    let mut names: Vec<&str> = Vec::new();
    if admin.enabled {
        names.push(ADMIN);
        names.extend(admin.socket.as_ref().map(|_| ADMIN_SOCKET));
    }
    names.extend(config.listeners.iter().map(|listener| &*listener.name));
    Err(format!(
        "is for nothing in the configuration (FileDescriptorName= may be {})",
        names.join(", ")
    ))
}

/// Checks that nobody gets to the admin socket who may not by the configuration:
/// the permissions of its path are systemd's.
fn check_permissions(configured: &AdminSocket) -> Result<(), String> {
    let found = fs::symlink_metadata(&configured.path)
        .map_err(|cause| format!("cannot be looked at: {cause}"))?;
    let mode = found.mode() & 0o777;
    if mode & !configured.mode != 0 {
        return Err(format!(
            "has the mode {mode:04o}, and the configuration says {0:04o}: SocketMode={0:04o} is needed",
            configured.mode
        ));
    }
    let owner = configured.owner.unwrap_or_else(|| geteuid().as_raw());
    if found.uid() != owner && found.uid() != 0 {
        return Err(format!(
            "belongs to the user {}: SocketUser= must be {owner}",
            found.uid()
        ));
    }
    let group = configured.group.unwrap_or_else(|| getegid().as_raw());
    if mode & 0o070 != 0 && found.gid() != group && found.gid() != 0 {
        return Err(format!(
            "belongs to the group {}: SocketGroup= must be {group}",
            found.gid()
        ));
    }
    Ok(())
}

impl Place {
    /// Whether it is what a configuration says.
    fn fits(&self, endpoint: &Endpoint) -> bool {
        match (self, endpoint) {
            (Self::Unix(path), Endpoint::Unix(wanted)) => is_same_path(path, wanted),
            (Self::Tcp(place, only_ipv6), Endpoint::Tcp { address, port }) => {
                let is_port = place.port() == *port || *port == 0;
                is_port
                    && match address {
                        Some(address) if !is_any_ipv6(*address) => place.ip() == *address,
                        // Where there is no IPv6, all addresses are those of IPv4.
                        None if place.is_ipv4() => place.ip().is_unspecified(),
                        _ => is_any_ipv6(place.ip()) && !only_ipv6,
                    }
            }
            _ => false,
        }
    }
}

/// `/var/run` is `/run` in another word; systemd has the one, an operator may have the other.
fn is_same_path(path: &Path, other: &Path) -> bool {
    let in_run = |path: &Path| match path.strip_prefix("/var/run") {
        Ok(rest) => Path::new("/run").join(rest),
        Err(_) => path.to_owned(),
    };
    in_run(path) == in_run(other)
}

fn is_any_ipv6(address: IpAddr) -> bool {
    address.is_ipv6() && address.is_unspecified()
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address, true) if is_any_ipv6(address.ip()) => {
                write!(f, "{address} for IPv6 alone (BindIPv6Only=both is needed)")
            }
            Self::Tcp(address, _) => address.fmt(f),
            Self::Unix(path) => path.display().fmt(f),
        }
    }
}

fn in_words(endpoint: &Endpoint) -> String {
    match endpoint {
        Endpoint::Tcp {
            address: Some(address),
            port,
        } => SocketAddr::new(*address, *port).to_string(),
        Endpoint::Tcp {
            address: None,
            port,
        } => format!("port {port} of all addresses"),
        Endpoint::Unix(path) => path.display().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(place: &str, only_ipv6: bool) -> Place {
        Place::Tcp(place.parse().unwrap(), only_ipv6)
    }

    fn wanted(address: Option<&str>, port: u16) -> Endpoint {
        Endpoint::Tcp {
            address: address.map(|address| address.parse().unwrap()),
            port,
        }
    }

    #[test]
    fn a_socket_fits_where_it_takes_the_same_clients() {
        assert!(tcp("127.0.0.1:1", false).fits(&wanted(Some("127.0.0.1"), 1)));
        assert!(tcp("127.0.0.1:1", false).fits(&wanted(Some("127.0.0.1"), 0)));
        assert!(tcp("[::1]:1", true).fits(&wanted(Some("::1"), 1)));
        assert!(tcp("[::]:1", false).fits(&wanted(Some("::"), 1)));
        assert!(tcp("[::]:1", false).fits(&wanted(None, 1)));
        assert!(tcp("0.0.0.0:1", false).fits(&wanted(None, 1)));
        assert!(tcp("0.0.0.0:1", false).fits(&wanted(Some("0.0.0.0"), 1)));

        assert!(!tcp("127.0.0.1:2", false).fits(&wanted(Some("127.0.0.1"), 1)));
        assert!(!tcp("0.0.0.0:1", false).fits(&wanted(Some("127.0.0.1"), 1)));
        assert!(!tcp("127.0.0.1:1", false).fits(&wanted(None, 1)));
        assert!(!tcp("[::]:1", true).fits(&wanted(None, 1)));
        assert!(!tcp("[::]:1", true).fits(&wanted(Some("::"), 1)));
        assert!(!tcp("0.0.0.0:1", false).fits(&wanted(Some("::"), 1)));
        assert!(!tcp("[::]:1", false).fits(&Endpoint::Unix("/run/a".into())));
    }

    #[test]
    fn a_path_in_run_has_two_forms() {
        let place = Place::Unix("/run/a/b".into());
        assert!(place.fits(&Endpoint::Unix("/run/a/b".into())));
        assert!(place.fits(&Endpoint::Unix("/var/run/a/b".into())));
        assert!(!place.fits(&Endpoint::Unix("/run/a".into())));
    }
}
