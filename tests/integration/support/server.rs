//! A server that a test plays itself.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;
use std::{io, thread};

use super::{PATIENCE, until};

/// Listens on a free port. What is done with a connection is up to the test.
pub struct Server {
    listener: TcpListener,
}

impl Server {
    pub fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        // The standard library asks for room for fewer than come at once in some tests.
        rustix::net::listen(&listener, 4096).unwrap();
        Self { listener }
    }

    pub fn address(&self) -> SocketAddr {
        self.listener.local_addr().unwrap()
    }

    /// Takes the next connection, within the deadline of all waits.
    pub fn accept(&self) -> TcpStream {
        self.listener.set_nonblocking(true).unwrap();
        let stream = until("a connection to the test's server", || {
            match self.listener.accept() {
                Ok((stream, _)) => Some(stream),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
                Err(error) => panic!("{error}"),
            }
        });
        stream.set_nonblocking(false).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// Sends everything back, for any number of connections, on threads that
    /// end with the test's process. Returns how many it has had.
    pub fn echo(self) -> (SocketAddr, Arc<AtomicUsize>) {
        let address = self.address();
        let count = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&count);
        thread::spawn(move || {
            for stream in self.listener.incoming().map_while(Result::ok) {
                counted.fetch_add(1, Relaxed);
                let serve = move || {
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
    let server = Server {
        listener: TcpListener::bind(place).unwrap(),
    };
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

/// A port on which nobody listens, for as long as nobody else takes it.
pub fn closed_port() -> SocketAddr {
    Server::new().address()
}
