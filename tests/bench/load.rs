//! The load: clients and the server behind, each on one thread of this process.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use rustix::net::{RecvFlags, recv};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// A request, and the answer to it.
const REQUEST: usize = 100;
const ANSWER: usize = 200;

/// How much of a bulk transfer is written at a time.
const BULK: usize = 1024 * 1024;

/// Keeps this thread, and those that it starts, off the first processor, where
/// a measured process is alone; until this is dropped.
pub struct Elsewhere {
    before: CpuSet,
}

impl Elsewhere {
    pub fn go() -> Self {
        let before = sched_getaffinity(None).unwrap();
        let mut others = before;
        others.unset(0);
        if others.count() > 0 {
            sched_setaffinity(None, &others).unwrap();
        }
        Self { before }
    }
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        sched_setaffinity(None, &self.before).unwrap();
    }
}

/// A server that answers each request.
pub fn answerer() -> SocketAddr {
    answerer_on(Ipv4Addr::LOCALHOST)
}

/// The same, on another address, or on all of them.
pub fn answerer_on(host: Ipv4Addr) -> SocketAddr {
    let listener = TcpListener::bind((host, 0)).unwrap();
    rustix::net::listen(&listener, 4096).unwrap();
    let address = listener.local_addr().unwrap();
    listener.set_nonblocking(true).unwrap();
    thread::spawn(move || answer(&listener));
    address
}

fn watch(poll: &Poll, socket: &impl AsRawFd, token: Token) {
    let fd = socket.as_raw_fd();
    poll.registry()
        .register(&mut SourceFd(&fd), token, Interest::READABLE)
        .unwrap();
}

/// Waits for events, or for nothing: a signal may come first.
fn wait(poll: &mut Poll, events: &mut Events, time: Option<Duration>) {
    if let Err(error) = poll.poll(events, time) {
        assert_eq!(error.kind(), ErrorKind::Interrupted);
    }
}

struct Peer {
    stream: TcpStream,
    /// Bytes of the current request that have come.
    come: usize,
}

fn answer(listener: &TcpListener) {
    const LISTENER: Token = Token(usize::MAX - 1);
    let mut poll = Poll::new().unwrap();
    watch(&poll, listener, LISTENER);
    let mut peers: slab::Slab<Peer> = slab::Slab::new();
    let mut events = Events::with_capacity(1024);
    let mut buffer = [0; 64 * 1024];
    loop {
        wait(&mut poll, &mut events, None);
        for event in &events {
            if event.token() == LISTENER {
                while let Ok((stream, _)) = listener.accept() {
                    stream.set_nodelay(true).unwrap();
                    stream.set_nonblocking(true).unwrap();
                    watch(&poll, &stream, Token(peers.vacant_key()));
                    peers.insert(Peer { stream, come: 0 });
                }
                continue;
            }
            let Token(key) = event.token();
            let Some(peer) = peers.get_mut(key) else {
                continue;
            };
            if !serve(peer, &mut buffer, event.is_read_closed()) {
                peers.remove(key);
            }
        }
    }
}

/// Answers what has come; one byte alone is sent back. False at the end.
fn serve(peer: &mut Peer, buffer: &mut [u8], ends: bool) -> bool {
    loop {
        match peer.stream.read(buffer) {
            Ok(0) => return false,
            Ok(1) if peer.come == 0 => {
                if peer.stream.write(&buffer[..1]).is_err() {
                    return false;
                }
            }
            Ok(length) => {
                peer.come += length;
                while peer.come >= REQUEST {
                    peer.come -= REQUEST;
                    if peer.stream.write(&[b'a'; ANSWER]).is_err() {
                        return false;
                    }
                }
                if length < buffer.len() && !ends {
                    return true;
                }
            }
            Err(error) => return error.kind() == ErrorKind::WouldBlock,
        }
    }
}

/// A server that sends without an end to whoever connects.
pub fn source() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            thread::spawn(move || {
                let bytes = vec![b'b'; BULK];
                // Until the reader has had enough.
                while stream.write_all(&bytes).is_ok() {}
            });
        }
    });
    address
}

/// What a load has come to.
pub struct Done {
    pub operations: u64,
    pub time: Duration,
    /// How long each operation took.
    pub latencies: Vec<Duration>,
}

/// Clients that ask and wait for the answer, over and over.
pub struct Exchange {
    clients: Vec<Client>,
    poll: Poll,
    /// How long each rests after an answer.
    rest: Duration,
}

struct Client {
    stream: TcpStream,
    come: usize,
    asked: Instant,
    /// When it asks again, while it rests.
    next: Option<Instant>,
}

impl Exchange {
    pub fn new(address: SocketAddr, count: usize, rest: Duration) -> Self {
        let poll = Poll::new().unwrap();
        let client = |number| {
            let stream = TcpStream::connect(address).unwrap();
            stream.set_nodelay(true).unwrap();
            stream.set_nonblocking(true).unwrap();
            watch(&poll, &stream, Token(number));
            Client {
                stream,
                come: 0,
                asked: Instant::now(),
                next: None,
            }
        };
        let clients: Vec<Client> = (0..count).map(client).collect();
        let mut this = Self {
            clients,
            poll,
            rest,
        };
        for client in &mut this.clients {
            client.ask();
        }
        this
    }

    /// Goes on for so long.
    pub fn run(&mut self, time: Duration) -> Done {
        let mut events = Events::with_capacity(1024);
        let begin = Instant::now();
        let mut done = Done {
            operations: 0,
            time,
            latencies: Vec::new(),
        };
        loop {
            let wait = if self.rest.is_zero() {
                Duration::from_millis(100)
            } else {
                Duration::from_micros(200)
            };
            crate::load::wait(&mut self.poll, &mut events, Some(wait));
            let now = Instant::now();
            for event in &events {
                let client = &mut self.clients[event.token().0];
                if client.hear() {
                    done.operations += 1;
                    done.latencies.push(now - client.asked);
                    if self.rest.is_zero() {
                        client.ask();
                    } else {
                        client.next = Some(now + self.rest);
                    }
                }
            }
            if !self.rest.is_zero() {
                for client in &mut self.clients {
                    if client.next.is_some_and(|next| next <= now) {
                        client.next = None;
                        client.ask();
                    }
                }
            }
            if begin.elapsed() >= time {
                done.time = begin.elapsed();
                return done;
            }
        }
    }
}

impl Client {
    fn ask(&mut self) {
        self.asked = Instant::now();
        assert_eq!(self.stream.write(&[b'r'; REQUEST]).unwrap(), REQUEST);
    }

    /// Whether its answer is there.
    fn hear(&mut self) -> bool {
        let mut buffer = [0; 2 * ANSWER];
        match self.stream.read(&mut buffer) {
            Ok(0) => panic!("a connection has ended"),
            Ok(length) => self.come += length,
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
        }
        if self.come < ANSWER {
            return false;
        }
        self.come -= ANSWER;
        true
    }
}

/// Clients that connect, say a byte, hear it again and close, over and over: one
/// for each address.
pub fn short_sessions(addresses: impl Iterator<Item = SocketAddr>, time: Duration) -> Done {
    let count = AtomicU64::new(0);
    let stop = AtomicBool::new(false);
    let begin = Instant::now();
    thread::scope(|scope| {
        for address in addresses {
            let (stop, count) = (&stop, &count);
            scope.spawn(move || {
                while !stop.load(Relaxed) {
                    let mut stream = TcpStream::connect(address).unwrap();
                    stream.write_all(b"x").unwrap();
                    stream.read_exact(&mut [0]).unwrap();
                    count.fetch_add(1, Relaxed);
                }
            });
        }
        thread::park_timeout(time);
        while begin.elapsed() < time {
            thread::park_timeout(time.saturating_sub(begin.elapsed()));
        }
        stop.store(true, Relaxed);
    });
    Done {
        operations: count.load(Relaxed),
        time: begin.elapsed(),
        latencies: Vec::new(),
    }
}

/// Readers of a source, until so many bytes have come together.
pub fn bulk(address: SocketAddr, readers: usize, bytes: u64) -> Done {
    let begin = Instant::now();
    let share = bytes / readers as u64;
    thread::scope(|scope| {
        for _ in 0..readers {
            scope.spawn(|| {
                let stream = TcpStream::connect(address).unwrap();
                let mut room = vec![0; BULK];
                let mut left = share;
                while left > 0 {
                    // The bytes are thrown away where they are.
                    let flags = RecvFlags::TRUNC;
                    let (_, length) = recv(stream.as_fd(), &mut room[..], flags).unwrap();
                    assert!(length > 0, "the stream has ended");
                    left = left.saturating_sub(length as u64);
                }
            });
        }
    });
    Done {
        operations: share * readers as u64,
        time: begin.elapsed(),
        latencies: Vec::new(),
    }
}
