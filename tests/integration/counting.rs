//! Every byte is counted: random sessions of random sizes, with readers that are
//! slow or pause, and resets at random. What is received is compared byte by byte,
//! and each session's reason with what was done to it.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rustix::net::sockopt;
use sessiond::registry::{Client, Session};

use super::support::daemon::one_service;
use super::support::random::Random;
use super::support::relay::Running;
use super::support::server::tcp_socket;
use super::support::{PATIENCE, until};

/// How many sessions there are, and how many at a time.
const SESSIONS: u64 = 240;
const WORKERS: u64 = 12;

/// The most that one side of a session sends.
const MOST: usize = 4 * 1024 * 1024;

/// The receive buffer of slow readers, in bytes.
const SMALL_BUFFER: usize = 64 * 1024;

/// How a session goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Course {
    /// The client sends its part and ends its stream; then the server answers.
    ClientEnds,
    /// The server sends its part and ends its stream; then the client answers.
    ServerEnds,
    /// Both send, and the client resets the connection when it has so much.
    ClientResets(usize),
    /// Both send, and the server resets the connection when it has so much.
    ServerResets(usize),
}

/// What both sides of a session know of it.
#[derive(Clone, Copy, Debug)]
struct Plan {
    number: u64,
    course: Course,
    from_client: usize,
    from_server: usize,
    slow_client: bool,
    slow_server: bool,
}

impl Plan {
    fn new(number: u64) -> Self {
        let mut random = Random::new(number + 11);
        let size = |random: &mut Random| match random.below(4) {
            0 => random.below(2_000),
            1 => random.below(200_000),
            _ => random.below(MOST),
        };
        let (from_client, from_server) = (size(&mut random), size(&mut random));
        let course = match random.below(6) {
            0 | 1 => Course::ClientEnds,
            2 | 3 => Course::ServerEnds,
            4 => Course::ClientResets(random.below(from_server + 1)),
            _ => Course::ServerResets(random.below(from_client + 1)),
        };
        Self {
            number,
            course,
            from_client,
            from_server,
            slow_client: random.below(3) == 0,
            slow_server: random.below(3) == 0,
        }
    }

    fn reason(&self) -> &'static str {
        match self.course {
            Course::ClientEnds => "client closed",
            Course::ServerEnds => "server closed",
            Course::ClientResets(_) => "client reset",
            Course::ServerResets(_) => "server lost",
        }
    }
}

/// What a side sends: bytes that are the same nowhere else.
struct Text {
    random: Random,
    left: usize,
}

impl Text {
    fn new(number: u64, of_client: bool, length: usize) -> Self {
        Self {
            random: Random::new(2 * number + u64::from(of_client) + 1_000_003),
            left: length,
        }
    }

    /// The next part, at most so long, and always in the same portions of eight bytes.
    fn next(&mut self, most: usize) -> Vec<u8> {
        let length = self.left.min(most / 8 * 8);
        self.left -= length;
        let mut part = Vec::with_capacity(length + 8);
        while part.len() < length {
            part.extend(self.random.next().to_le_bytes());
        }
        part.truncate(length);
        part
    }

    fn send(mut self, stream: &mut TcpStream) -> std::io::Result<()> {
        while self.left > 0 {
            let part = self.next(48 * 1024);
            stream.write_all(&part)?;
        }
        Ok(())
    }
}

/// How a stream came to its end.
#[derive(Debug, PartialEq, Eq)]
enum End {
    InOrder,
    Reset,
    /// This side has enough.
    Enough,
}

/// Reads at most so much, compares it, and says how much there was.
fn receive(
    stream: &mut TcpStream,
    mut text: Text,
    enough: usize,
    plan: &Plan,
    slow: bool,
) -> (usize, End) {
    let (mut received, mut pauses, whole) = (0, 0, text.left);
    let mut room = vec![0; if slow { 8 * 1024 } else { 64 * 1024 }];
    let mut expected = Vec::new();
    loop {
        if received >= enough {
            return (received, End::Enough);
        }
        let most = room.len().min(enough - received);
        let length = match stream.read(&mut room[..most]) {
            Ok(0) => return (received, End::InOrder),
            Ok(length) => length,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => {
                let text = format!("{error} after {received} of {whole}, {plan:?} {stream:?}");
                assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{text}");
                return (received, End::Reset);
            }
        };
        while expected.len() < length {
            let part = text.next(64 * 1024);
            assert!(!part.is_empty(), "more was received than was sent");
            expected.extend(part);
        }
        assert!(room[..length] == expected[..length], "at byte {received}");
        expected.drain(..length);
        received += length;
        // A reader that pauses is what is tested.
        if slow && received > pauses * 500_000 {
            pauses += 1;
            thread::park_timeout(Duration::from_millis(30));
        }
    }
}

/// Plays one side. Returns what it has received of the other's part, and how that ended.
fn play(mut stream: TcpStream, plan: Plan, is_client: bool) -> (usize, End) {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    let (own, other, slow) = if is_client {
        (plan.from_client, plan.from_server, plan.slow_client)
    } else {
        (plan.from_server, plan.from_client, plan.slow_server)
    };
    let mine = || Text::new(plan.number, is_client, own);
    let theirs = || Text::new(plan.number, !is_client, other);
    let (begins, resets) = match plan.course {
        Course::ClientEnds => (is_client, None),
        Course::ServerEnds => (!is_client, None),
        Course::ClientResets(at) => (false, is_client.then_some(at)),
        Course::ServerResets(at) => (false, (!is_client).then_some(at)),
    };
    match (plan.course, resets) {
        (Course::ClientEnds | Course::ServerEnds, _) if begins => {
            mine().send(&mut stream).unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
            receive(&mut stream, theirs(), usize::MAX, &plan, slow)
        }
        (Course::ClientEnds | Course::ServerEnds, _) => {
            let received = receive(&mut stream, theirs(), usize::MAX, &plan, slow);
            mine().send(&mut stream).unwrap();
            received
        }
        (_, at) => {
            let mut writer = stream.try_clone().unwrap();
            let text = mine();
            // It fails when the other side has reset.
            let sending = thread::spawn(move || text.send(&mut writer).is_ok());
            let received = receive(&mut stream, theirs(), at.unwrap_or(usize::MAX), &plan, slow);
            if at.is_some() {
                // What the other thread still sends must not fail for want of a reader.
                stream.shutdown(Shutdown::Read).unwrap();
                rustix::net::connect_unspec(&stream).unwrap();
                sending.join().unwrap();
                return received;
            }
            // The error that a write has met is not there to be read any more.
            match (received, sending.join().unwrap()) {
                ((length, End::InOrder), false) => (length, End::Reset),
                (received, _) => received,
            }
        }
    }
}

/// Connects, with a small window where the client is slow: an open window must
/// not shrink, or what is on its way is dropped.
fn connect(address: SocketAddr, slow: bool) -> TcpStream {
    let socket = tcp_socket();
    if slow {
        sockopt::set_socket_recv_buffer_size(&socket, SMALL_BUFFER).unwrap();
    }
    rustix::net::connect(&socket, &address).unwrap();
    socket.into()
}

/// The server's side of sessions: each begins with the number of its plan.
fn serve(listener: TcpListener) -> Receiver<(u64, (usize, End))> {
    let (sender, received) = channel();
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let sender: Sender<_> = sender.clone();
            thread::spawn(move || {
                let mut number = [0; 8];
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                // A probe says nothing.
                if stream.read_exact(&mut number).is_ok() {
                    let number = u64::from_le_bytes(number);
                    let result = play(stream, Plan::new(number), false);
                    sender.send((number, result)).unwrap();
                }
            });
        }
    });
    received
}

fn check(plan: &Plan, is_client: bool, (received, end): &(usize, End)) {
    let sent = if is_client {
        plan.from_server
    } else {
        plan.from_client
    };
    let context = format!("{plan:?}, is_client {is_client}: {received} of {sent}, {end:?}");
    match (plan.course, is_client) {
        (Course::ClientEnds | Course::ServerEnds, _) => {
            assert_eq!((*received, end), (sent, &End::InOrder), "{context}");
        }
        (Course::ClientResets(_), true) | (Course::ServerResets(_), false) => {
            assert_eq!(*end, End::Enough, "{context}");
        }
        // A stream that was not ended in order is never seen to end in order.
        (Course::ClientResets(_), false) | (Course::ServerResets(_), true) => {
            assert!(*received <= sent && *end == End::Reset, "{context}");
        }
    }
}

#[test]
fn no_byte_is_lost_and_a_loss_is_never_called_an_end() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    // Accepted connections inherit it.
    sockopt::set_socket_recv_buffer_size(&listener, SMALL_BUFFER).unwrap();
    let config = one_service(listener.local_addr().unwrap());
    let running = Running::start(&config);
    let at_server = serve(listener);
    let ports: Arc<Mutex<Vec<(u16, Plan)>>> = Arc::default();
    let workers: Vec<_> = (0..WORKERS)
        .map(|worker| {
            let (address, ports): (SocketAddr, _) = (running.address, Arc::clone(&ports));
            thread::spawn(move || {
                for number in (0..SESSIONS).filter(|number| number % WORKERS == worker) {
                    let plan = Plan::new(number);
                    let mut stream = connect(address, plan.slow_client);
                    let port = stream.local_addr().unwrap().port();
                    ports.lock().unwrap().push((port, plan));
                    stream.write_all(&number.to_le_bytes()).unwrap();
                    check(&plan, true, &play(stream, plan, true));
                }
            })
        })
        .collect();
    for worker in workers {
        worker.join().unwrap();
    }
    let deadline = Instant::now() + PATIENCE;
    for _ in 0..SESSIONS {
        let left = deadline.saturating_duration_since(Instant::now());
        let (number, result) = at_server.recv_timeout(left).unwrap();
        check(&Plan::new(number), false, &result);
    }
    until("the end of all sessions", || {
        (running.registry.sessions.len() == 1).then_some(())
    });
    let mut history: Vec<Arc<Session>> = running.registry.sessions.history();
    for (port, plan) in &*ports.lock().unwrap() {
        let is_of_plan = |session: &Arc<Session>| {
            let remote = session.client().and_then(Client::remote);
            remote.is_some_and(|remote| remote.port() == *port)
        };
        // A port may be used twice, in the order of the sessions.
        let index = history.iter().position(is_of_plan).unwrap();
        let session = history.remove(index);
        let reason = session.ending().unwrap().reason.as_str();
        let to_client = session.client().unwrap().traffic().to_clients();
        match plan.course {
            Course::ClientEnds | Course::ServerEnds => {
                assert_eq!(reason, plan.reason(), "{plan:?}");
                assert_eq!(to_client, plan.from_server as u64, "{plan:?}");
            }
            _ => assert_eq!(reason, plan.reason(), "{plan:?}"),
        }
    }
    running.stop();
}
