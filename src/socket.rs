//! Sockets that never block: listening, accepting, connecting, moving bytes.
//!
//! The relay and the door share this. It knows the options that matter
//! (`NODELAY` above all: without it an answer in two parts waits 40 ms for an
//! acknowledgement), and nothing of sessions or requests.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, Shutdown, SocketAddrUnix, SocketFlags, SocketType,
    acceptfrom_with, bind, connect, getsockname, listen, recv, send, shutdown, socket_with,
    sockopt,
};

/// What the kernel may hold of connections that are not accepted yet. It cuts
/// this down to its own limit, `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

const FLAGS: SocketFlags = SocketFlags::NONBLOCK.union(SocketFlags::CLOEXEC);

/// A socket that listens; a unix socket's path goes when it does.
#[derive(Debug)]
pub struct Listening {
    fd: OwnedFd,
    path: Option<PathBuf>,
}

/// A connection that came in, and the other end's address where it has one.
pub struct Accepted {
    /// Our end.
    pub fd: OwnedFd,
    /// An IPv4 address is never in the form that IPv6 maps it to.
    pub remote: Option<SocketAddr>,
}

impl Listening {
    /// Listens on a TCP address. `::` takes IPv4 as well.
    pub fn tcp(address: SocketAddr) -> io::Result<Self> {
        let fd = stream(address)?;
        sockopt::set_socket_reuseaddr(&fd, true)?;
        if address.is_ipv6() {
            sockopt::set_ipv6_v6only(&fd, !address.ip().is_unspecified())?;
        }
        // Accepted sockets inherit it.
        sockopt::set_tcp_nodelay(&fd, true)?;
        bind(&fd, &address)?;
        listen(&fd, BACKLOG)?;
        Ok(Self { fd, path: None })
    }

    /// Listens on a TCP port of every address: of both families, or of IPv4
    /// alone where there is no IPv6.
    pub fn any(port: u16) -> io::Result<Self> {
        match Self::tcp(SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), port)) {
            Err(error) if lacks_ipv6(&error) => {
                Self::tcp(SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port))
            }
            result => result,
        }
    }

    /// Listens on a unix socket. A socket that nobody listens on any more is replaced.
    pub fn unix(path: &Path) -> io::Result<Self> {
        let address = SocketAddrUnix::new(path)?;
        let fd = socket_with(AddressFamily::UNIX, SocketType::STREAM, FLAGS, None)?;
        match bind(&fd, &address) {
            Err(Errno::ADDRINUSE) if is_abandoned(path, &address) => {
                std::fs::remove_file(path)?;
                bind(&fd, &address)?;
            }
            result => result?,
        }
        listen(&fd, BACKLOG)?;
        Ok(Self {
            fd,
            path: Some(path.to_owned()),
        })
    }

    /// Where it listens; `None` for a unix socket.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        local_address(&self.fd).ok()
    }

    /// Takes the next connection that waits.
    pub fn accept(&self) -> Result<Accepted, Errno> {
        let (fd, from) = acceptfrom_with(&self.fd, FLAGS)?;
        let remote = from.and_then(|from| SocketAddr::try_from(from).ok());
        let remote =
            remote.map(|remote| SocketAddr::new(remote.ip().to_canonical(), remote.port()));
        Ok(Accepted { fd, remote })
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            // Whoever removed it before us has done what we want.
            let _ = std::fs::remove_file(path);
        }
    }
}

impl AsRawFd for Listening {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

fn lacks_ipv6(error: &io::Error) -> bool {
    let errno = Errno::from_io_error(error);
    matches!(errno, Some(Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL))
}

fn is_abandoned(path: &Path, address: &SocketAddrUnix) -> bool {
    let is_socket =
        std::fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket());
    let probe = || {
        let fd = socket_with(AddressFamily::UNIX, SocketType::STREAM, FLAGS, None)?;
        connect(&fd, address)
    };
    is_socket && probe() == Err(Errno::CONNREFUSED)
}

fn stream(address: SocketAddr) -> Result<OwnedFd, Errno> {
    let family = if address.is_ipv6() {
        AddressFamily::INET6
    } else {
        AddressFamily::INET
    };
    socket_with(family, SocketType::STREAM, FLAGS, None)
}

/// Begins to connect. The socket is writable when it is connected, and
/// [`connect_result`] says how it went.
pub fn begin_connect(address: SocketAddr) -> Result<OwnedFd, Errno> {
    let fd = stream(address)?;
    sockopt::set_tcp_nodelay(&fd, true)?;
    match connect(&fd, &address) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(fd),
        Err(errno) => Err(errno),
    }
}

/// How a connect went that is over.
pub fn connect_result(fd: impl AsFd) -> Result<(), Errno> {
    sockopt::socket_error(fd)?
}

/// The address of our end.
pub fn local_address(fd: impl AsFd) -> Result<SocketAddr, Errno> {
    SocketAddr::try_from(getsockname(fd)?)
}

/// Reads what is there, into the front of a buffer. 0 is the end of the stream.
pub fn read(fd: impl AsFd, buffer: &mut [u8]) -> Result<usize, Errno> {
    loop {
        match recv(&fd, &mut *buffer, RecvFlags::empty()) {
            Err(Errno::INTR) => {}
            result => return result.map(|(length, _)| length),
        }
    }
}

/// Writes as much as the socket takes now.
pub fn write(fd: impl AsFd, bytes: &[u8]) -> Result<usize, Errno> {
    loop {
        match send(&fd, bytes, SendFlags::NOSIGNAL) {
            Err(Errno::INTR) => {}
            result => return result,
        }
    }
}

/// Ends our stream; the other direction stays open.
pub fn end_stream(fd: impl AsFd) -> Result<(), Errno> {
    shutdown(fd, Shutdown::Write)
}

/// Whether an error means that this machine, not the other end, has run out of something.
#[must_use]
pub fn is_shortage(errno: Errno) -> bool {
    matches!(
        errno,
        Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM
    )
}
