//! A server that a test plays itself.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use super::uninterrupted::{PeekOn, ReadOn};
use super::{Daemon, PATIENCE, until};

/// Listens on a free port. What is done with a connection is up to the test.
pub struct Server {
    listener: TcpListener,
    /// Connections of which it is not known whose they are.
    waiting: RefCell<Vec<TcpStream>>,
}

impl Server {
    pub fn new() -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").unwrap())
    }

    /// Listens on a port that [`free_port`] has found.
    pub fn at(address: SocketAddr) -> Self {
        Self::on(TcpListener::bind(address).unwrap())
    }

    pub fn on(listener: TcpListener) -> Self {
        // The standard library asks for room for fewer than come at once in some tests.
        rustix::net::listen(&listener, 4096).unwrap();
        Self {
            listener,
            waiting: RefCell::default(),
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.listener.local_addr().unwrap()
    }

    /// Takes the next connection of one of the daemon's sessions. The daemon's
    /// probes come in between: they belong to no session, and leave again.
    pub fn accept(&self, daemon: &Daemon) -> TcpStream {
        self.accept_one_of(|| daemon.local_ports())
    }

    /// Takes the next connection from one of the ports that sessions have.
    pub fn accept_one_of(&self, ports: impl Fn() -> Vec<u16>) -> TcpStream {
        let stream = until("a session's connection to the test's server", || {
            self.listener.set_nonblocking(true).unwrap();
            let mut waiting = self.waiting.borrow_mut();
            loop {
                match self.listener.accept() {
                    Ok((stream, _)) => waiting.push(stream),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) => panic!("{error}"),
                }
            }
            if waiting.is_empty() {
                return None;
            }
            let ports = ports();
            let is_of_session =
                |stream: &TcpStream| ports.contains(&stream.peer_addr().unwrap().port());
            let index = waiting.iter().position(is_of_session)?;
            Some(waiting.remove(index))
        });
        stream.set_nonblocking(false).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// Takes every connection without a word, on a thread that ends with the
    /// test's process. Returns what it holds.
    pub fn hold(self) -> Arc<Mutex<Vec<TcpStream>>> {
        let held = Arc::new(Mutex::new(Vec::new()));
        let holding = Arc::clone(&held);
        thread::spawn(move || {
            for stream in self.listener.incoming().map_while(Result::ok) {
                holding.lock().unwrap().push(stream);
            }
        });
        held
    }

    /// Says this to everybody after some time, on threads that end with the
    /// test's process.
    pub fn say_after(self, pause: Duration, bytes: &'static [u8]) {
        thread::spawn(move || {
            for mut stream in self.listener.incoming().map_while(Result::ok) {
                thread::spawn(move || {
                    let until = Instant::now() + pause;
                    while Instant::now() < until {
                        thread::park_timeout(until.saturating_duration_since(Instant::now()));
                    }
                    // Whoever has left has heard enough.
                    let _ = stream.write_all(bytes);
                    let _ = stream.read_on(&mut [0; 512]);
                });
            }
        });
    }

    /// Says this to everybody and nothing more, on a thread that ends with the
    /// test's process. Of many thousands only the latest are held.
    pub fn say(self, bytes: &[u8]) {
        const HELD: usize = 100;
        let bytes = bytes.to_vec();
        thread::spawn(move || {
            let mut held = VecDeque::new();
            for mut stream in self.listener.incoming().map_while(Result::ok) {
                // Whoever has left has heard enough.
                let _ = stream.write_all(&bytes);
                held.push_back(stream);
                if held.len() > HELD {
                    held.pop_front();
                }
            }
        });
    }

    /// Sends everything back, for any number of connections, on threads that
    /// end with the test's process. Returns how many of them have sent something.
    pub fn echo(self) -> (SocketAddr, Arc<AtomicUsize>) {
        let address = self.address();
        let count = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&count);
        thread::spawn(move || {
            for stream in self.listener.incoming().map_while(Result::ok) {
                let counted = Arc::clone(&counted);
                let serve = move || {
                    if stream.peek_on(&mut [0])? > 0 {
                        counted.fetch_add(1, Relaxed);
                    }
                    let mut reader = stream.try_clone()?;
                    io::copy(&mut reader, &mut &stream)?;
                    stream.shutdown(std::net::Shutdown::Write)
                };
                thread::Builder::new()
                    .stack_size(64 * 1024)
                    .spawn(serve)
                    .unwrap();
            }
        });
        (address, count)
    }
}

/// A server whose queue of new connections is full, so that the kernel lets
/// what comes wait, and what fills it. On a free port, unless one is given.
pub fn full_backlog(place: &str) -> (Server, Vec<TcpStream>) {
    let place = if place.contains(':') {
        place.to_owned()
    } else {
        format!("{place}:0")
    };
    let server = Server::on(TcpListener::bind(place).unwrap());
    // The queue that the standard library asks for is long; a short one does, too.
    rustix::net::listen(&server.listener, 1).unwrap();
    let mut fillers = Vec::new();
    while let Ok(filler) = TcpStream::connect_timeout(&server.address(), Duration::from_millis(100))
    {
        fillers.push(filler);
        assert!(fillers.len() < 10_000, "the backlog has no end");
    }
    (server, fillers)
}

/// A socket that programs which are started do not inherit.
pub fn tcp_socket() -> OwnedFd {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
    let (family, flags) = (AddressFamily::INET, SocketFlags::CLOEXEC);
    socket_with(family, SocketType::STREAM, flags, None).unwrap()
}

/// A port for somebody who is told to listen there, now or later or again: as long
/// as the test's process lives the system gives it to nobody who takes any port, be
/// it to listen or to connect. Whoever listens must say `SO_REUSEADDR`, as servers do.
pub fn free_port() -> SocketAddr {
    let fd = tcp_socket();
    rustix::net::sockopt::set_socket_reuseaddr(&fd, true).unwrap();
    keep_port(fd)
}

/// A port on which nobody can listen as long as the test's process lives: it is taken.
pub fn closed_port() -> SocketAddr {
    keep_port(tcp_socket())
}

/// Binds a socket that never listens, and never closes.
fn keep_port(fd: OwnedFd) -> SocketAddr {
    use rustix::net::{bind, getsockname};
    bind(&fd, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = SocketAddr::try_from(getsockname(&fd).unwrap()).unwrap();
    std::mem::forget(fd);
    address
}
