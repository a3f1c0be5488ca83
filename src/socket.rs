//! Sockets that never block: listening, accepting, connecting, moving bytes.
//!
//! The relay and the door share this. It knows the options that matter
//! (`NODELAY` above all: without it an answer in two parts waits 40 ms for an
//! acknowledgement), and nothing of sessions or requests. [`unix`] makes the
//! listening sockets that are no TCP ports.

mod unix;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, ioctl_fionbio};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, Shutdown, SocketFlags, SocketType, acceptfrom_with, bind,
    connect, getsockname, listen, recv, send, shutdown, socket_with, sockopt,
};

pub use unix::{Permissions, listener_of_one};

/// What the kernel may hold of connections that are not accepted yet. It cuts
/// this down to its own limit, `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

const FLAGS: SocketFlags = SocketFlags::NONBLOCK.union(SocketFlags::CLOEXEC);

/// A socket that listens; a unix socket's path goes when it does.
#[derive(Debug)]
pub struct Listening {
    /// One that was passed to the program has another holder besides.
    fd: Arc<OwnedFd>,
    path: Option<PathBuf>,
    is_passed: bool,
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
        // Accepted sockets inherit both.
        sockopt::set_tcp_nodelay(&fd, true)?;
        keep_alive(&fd)?;
        bind(&fd, &address)?;
        listen(&fd, BACKLOG)?;
        Ok(Self {
            fd: Arc::new(fd),
            path: None,
            is_passed: false,
        })
    }

    /// Takes a socket that listens already and stays somebody else's: it is not
    /// closed with this value, and neither does its path go.
    pub fn adopt(fd: Arc<OwnedFd>, is_tcp: bool) -> io::Result<Self> {
        ioctl_fionbio(&fd, true)?;
        if is_tcp {
            // Accepted sockets inherit both.
            sockopt::set_tcp_nodelay(&fd, true)?;
            keep_alive(&fd)?;
        }
        Ok(Self {
            fd,
            path: None,
            is_passed: true,
        })
    }

    /// Whether it was passed to the program, and so takes clients for as long as
    /// whoever passed it wants.
    #[must_use]
    pub fn is_passed(&self) -> bool {
        self.is_passed
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

    /// Listens on a unix socket, whose permissions hold before anybody can
    /// connect. A socket that nobody listens on any more is replaced.
    pub fn unix(path: &Path, permissions: &Permissions) -> io::Result<Self> {
        Ok(Self {
            fd: Arc::new(unix::listen(path, permissions)?),
            path: Some(path.to_owned()),
            is_passed: false,
        })
    }

    /// Bounds what the kernel holds of what a client has not read yet.
    pub fn limit_send_buffers(&self, bytes: usize) -> io::Result<()> {
        // Accepted sockets inherit it.
        Ok(sockopt::set_socket_send_buffer_size(&self.fd, bytes)?)
    }

    /// Where it listens; `None` for a unix socket.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        local_address(&self.fd).ok()
    }

    /// Whether a connection waits.
    #[must_use]
    pub fn has_waiting(&self) -> bool {
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        poll(&mut [PollFd::new(&self.fd, PollFlags::IN)], Some(&now)).is_ok_and(|ready| ready > 0)
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
            unix::remove(path);
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

fn stream(address: SocketAddr) -> Result<OwnedFd, Errno> {
    socket_with(family_of(address), SocketType::STREAM, FLAGS, None)
}

fn family_of(address: SocketAddr) -> AddressFamily {
    if address.is_ipv6() {
        AddressFamily::INET6
    } else {
        AddressFamily::INET
    }
}

/// Whether this machine has an address from which that one could be reached:
/// otherwise a connect fails with EADDRNOTAVAIL, as it does for want of a free port.
#[must_use]
pub fn has_source_for(address: SocketAddr) -> bool {
    // Nothing is sent by connecting a socket for datagrams.
    let probe = socket_with(family_of(address), SocketType::DGRAM, FLAGS, None)
        .and_then(|probe| connect(&probe, &address));
    match probe {
        // Its own ports can be used up, too, which is found out after the address.
        Ok(()) | Err(Errno::AGAIN) => true,
        Err(errno) => is_shortage(errno),
    }
}

/// Begins to connect. The socket is writable when it is connected, and
/// [`connect_result`] says how it went. [`NO_LOCAL_PORT`] says that all local
/// ports are used up.
pub fn begin_connect(address: SocketAddr) -> Result<OwnedFd, Errno> {
    let fd = stream(address)?;
    sockopt::set_tcp_nodelay(&fd, true)?;
    match connect(&fd, &address) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(fd),
        // No port is free for our end, which says nothing about the other.
        Err(Errno::ADDRNOTAVAIL) if has_source_for(address) => Err(NO_LOCAL_PORT),
        Err(errno) => Err(errno),
    }
}

/// How a connect went that is over: the address of our end, or why it failed.
///
/// A connect to a port of this machine that nobody listens on can meet itself,
/// where the system picks that very port for our end. That is refused, too.
pub fn connect_result(fd: impl AsFd, address: SocketAddr) -> Result<SocketAddr, Errno> {
    sockopt::socket_error(&fd)??;
    connected_from(fd, address)
}

/// Our address of a connection that is known to be made; or that it is none,
/// since it leads to itself.
pub fn connected_from(fd: impl AsFd, address: SocketAddr) -> Result<SocketAddr, Errno> {
    let local = local_address(&fd)?;
    if local == address {
        Err(Errno::CONNREFUSED)
    } else {
        Ok(local)
    }
}

/// Has the system ask the other end now and then whether it is still there
/// (tcp(7)): a connection whose other end has gone without a word breaks
/// within [`KEEP_ALIVE_IDLE`] and [`KEEP_ALIVE_PROBES`] times [`KEEP_ALIVE_INTERVAL`].
pub fn keep_alive(fd: impl AsFd) -> Result<(), Errno> {
    sockopt::set_tcp_keepidle(&fd, KEEP_ALIVE_IDLE)?;
    sockopt::set_tcp_keepintvl(&fd, KEEP_ALIVE_INTERVAL)?;
    sockopt::set_tcp_keepcnt(&fd, KEEP_ALIVE_PROBES)?;
    sockopt::set_socket_keepalive(&fd, true)
}

/// How long a connection rests before the other end is asked: shorter than
/// address translators forget it (RFC 5382 lets them after two hours, many do
/// after minutes).
const KEEP_ALIVE_IDLE: Duration = Duration::from_secs(60);

/// How long each question waits for its answer.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(15);

/// How many questions in vain there are.
const KEEP_ALIVE_PROBES: u32 = 4;

/// The address of our end.
pub fn local_address(fd: impl AsFd) -> Result<SocketAddr, Errno> {
    SocketAddr::try_from(getsockname(fd)?)
}

/// Reads what is there, into the front of a buffer. 0 is the end of the stream.
pub fn read(fd: impl AsFd, buffer: &mut [u8]) -> Result<usize, Errno> {
    receive(fd, buffer, RecvFlags::empty())
}

/// Reads what is there and leaves it there, too.
pub fn peek(fd: impl AsFd, buffer: &mut [u8]) -> Result<usize, Errno> {
    receive(fd, buffer, RecvFlags::PEEK)
}

/// Throws away the bytes of a TCP stream that were peeked at, as many as the
/// buffer is long, without copying them (tcp(7), `MSG_TRUNC`).
pub fn discard(fd: impl AsFd, buffer: &mut [u8]) -> Result<(), Errno> {
    let mut discarded = 0;
    while discarded < buffer.len() {
        discarded += receive(&fd, &mut buffer[discarded..], RecvFlags::TRUNC)?;
    }
    Ok(())
}

fn receive(fd: impl AsFd, buffer: &mut [u8], flags: RecvFlags) -> Result<usize, Errno> {
    loop {
        match recv(&fd, &mut *buffer, flags) {
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

/// Waits until the socket takes more, or the time is up.
pub fn wait_writable(fd: impl AsFd, limit: Duration) -> Result<(), Errno> {
    let limit = Timespec {
        tv_sec: limit.as_secs().try_into().unwrap_or(i64::MAX),
        tv_nsec: limit.subsec_nanos().into(),
    };
    match poll(&mut [PollFd::new(&fd, PollFlags::OUT)], Some(&limit)) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(errno) => Err(errno),
    }
}

/// Ends both streams, whatever is still on the way.
pub fn abort(fd: impl AsFd) {
    // It fails only where the other end has done it already.
    let _ = shutdown(fd, Shutdown::Both);
}

/// Ends our stream; the other direction stays open.
pub fn end_stream(fd: impl AsFd) -> Result<(), Errno> {
    shutdown(fd, Shutdown::Write)
}

/// Has a close reset the connection instead of ending our stream: the other
/// end sees that it has not got everything.
pub fn reset_on_close(fd: impl AsFd) {
    // A unix socket has no reset: its other end sees the end of the stream.
    let _ = sockopt::set_socket_linger(fd, Some(Duration::ZERO));
}

/// Takes the error that a connection has met (socket(7), `SO_ERROR`).
///
/// After the end of the peer's stream a reset is `PIPE`, or no error where our
/// stream has ended, too; without such an end it is `CONNRESET`. The
/// distinction is lost once the error is taken, here or by a write.
pub fn take_error(fd: impl AsFd) -> Option<Errno> {
    match sockopt::socket_error(fd) {
        Ok(result) => result.err(),
        Err(errno) => Some(errno),
    }
}

/// Whether bytes wait to be read.
pub fn has_unread(fd: impl AsFd) -> bool {
    peek(fd, &mut [0; 1]).is_ok_and(|length| length > 0)
}

/// Whether the peer of a TCP connection has acknowledged what was written to
/// it, all but one or two segments of at most 2 KiB. Where it has not, the
/// socket becomes writable when that is so.
///
/// The number of bytes that wait (tcp(7), `SIOCOUTQ`) cannot be asked for
/// without unsafe code. But a socket is writable only while what waits takes
/// less than two thirds of its send buffer; so the buffer is given the smallest
/// size that the system allows, 4,608 bytes. Nothing may be written afterwards.
pub fn is_delivered(fd: impl AsFd) -> bool {
    if std::env::var_os("NOSHRINK").is_some() {
        return true;
    }
    let at_once = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // Where either fails the connection is over, and nothing waits any more.
    let _ = sockopt::set_socket_send_buffer_size(&fd, 1);
    !matches!(
        poll(&mut [PollFd::new(&fd, PollFlags::OUT)], Some(&at_once)),
        Ok(0)
    )
}

/// Breaks a TCP connection whose peer takes nothing of what waits for it for
/// so long; each byte that it takes begins the time anew (tcp(7), `TCP_USER_TIMEOUT`).
pub fn limit_delivery(fd: impl AsFd, limit: Duration) {
    let milliseconds = u32::try_from(limit.as_millis()).unwrap_or(u32::MAX);
    // It fails for a unix socket, whose peer has what was written to it already.
    let _ = sockopt::set_tcp_user_timeout(fd, milliseconds);
}

/// Whether an error means that this machine, not the other end, has run out of something.
#[must_use]
pub fn is_shortage(errno: Errno) -> bool {
    matches!(
        errno,
        Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM | NO_LOCAL_PORT
    )
}

/// How [`begin_connect`] says that no local port is free. connect(2) itself says
/// EADDRNOTAVAIL, which also means that the other address is of no network of ours;
/// this is what bind(2) says of the same want, and a connect never does.
pub const NO_LOCAL_PORT: Errno = Errno::ADDRINUSE;

/// Why a connection could not be opened for want of something on this machine.
#[must_use]
pub fn shortage_in_words(errno: Errno, address: SocketAddr) -> String {
    if errno == NO_LOCAL_PORT {
        format!(
            "no local port is free for a connection to {address}; see net.ipv4.ip_local_port_range"
        )
    } else {
        errno.to_string()
    }
}

/// The user and the process at the other end of a unix socket, by their numbers.
pub fn peer_credentials(socket: &impl AsFd) -> Result<(u32, i32), Errno> {
    let credentials = sockopt::socket_peercred(socket)?;
    Ok((
        credentials.uid.as_raw(),
        credentials.pid.as_raw_nonzero().get(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loopback() -> SocketAddr {
        SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0)
    }

    #[test]
    fn small_parts_are_sent_at_once_on_both_sides() {
        let listening = Listening::tcp(loopback()).unwrap();
        let connecting = begin_connect(listening.address().unwrap()).unwrap();
        wait_writable(&connecting, Duration::from_secs(20)).unwrap();
        let accepted = listening.accept().unwrap();
        assert!(sockopt::tcp_nodelay(&connecting).unwrap());
        assert!(sockopt::tcp_nodelay(&accepted.fd).unwrap());
    }

    #[test]
    fn a_socket_that_was_passed_is_as_ours_and_outlives_its_use() {
        let theirs = std::net::TcpListener::bind(loopback()).unwrap();
        let address = theirs.local_addr().unwrap();
        let fd = Arc::new(OwnedFd::from(theirs));
        let listening = Listening::adopt(Arc::clone(&fd), true).unwrap();
        assert_eq!(listening.accept().err(), Some(Errno::AGAIN));
        let connecting = begin_connect(address).unwrap();
        wait_writable(&connecting, Duration::from_secs(20)).unwrap();
        let accepted = listening.accept().unwrap();
        assert!(sockopt::tcp_nodelay(&accepted.fd).unwrap());
        assert!(sockopt::socket_keepalive(&accepted.fd).unwrap());
        drop(listening);
        assert!(begin_connect(address).is_ok());
    }

    #[test]
    fn a_connection_that_meets_itself_is_none() {
        let fd = stream(loopback()).unwrap();
        bind(&fd, &loopback()).unwrap();
        let address = local_address(&fd).unwrap();
        // It connects: the system calls this a simultaneous open.
        assert!(matches!(
            connect(&fd, &address),
            Ok(()) | Err(Errno::INPROGRESS)
        ));
        wait_writable(&fd, Duration::from_secs(20)).unwrap();
        assert_eq!(connect_result(&fd, address), Err(Errno::CONNREFUSED));
    }

    #[test]
    fn what_is_peeked_at_stays_and_what_is_discarded_goes() {
        let listening = Listening::tcp(loopback()).unwrap();
        let client = begin_connect(listening.address().unwrap()).unwrap();
        wait_writable(&client, Duration::from_secs(20)).unwrap();
        let server = listening.accept().unwrap().fd;
        write(&client, b"abcdef").unwrap();
        let mut buffer = [0; 8];
        assert_eq!(peek(&server, &mut buffer), Ok(6));
        assert_eq!(discard(&server, &mut buffer[..4]), Ok(()));
        assert_eq!(read(&server, &mut buffer), Ok(2));
        assert_eq!(&buffer[..2], b"ef");
    }
}
