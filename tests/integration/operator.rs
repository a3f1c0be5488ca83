//! An operator on the unix socket, beside clients of TCP that take all they can get:
//! every answer comes, and soon.

use std::io::{BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use rustix::net::sockopt::{set_socket_linger, set_socket_recv_buffer_size};

use super::support::daemon::{one_service, program};
use super::support::http::{Answer, connect};
use super::support::library::Library;
use super::support::uninterrupted::PeekOn;
use super::support::{Daemon, PATIENCE, Server, at_last, until};

/// How long an answer to the operator may take.
const SOON: Duration = Duration::from_secs(1);

/// How many clients the daemon has: as many as it looks at without a thread of its own,
/// where little is asked of each; and a list of them is a long answer.
const CLIENTS: usize = 450;

/// A filter for which each row is compared some ten thousand times, and kept. Of the
/// values of a session's attributes none but its memory is an object with this member.
fn heavy_filter(memory: u64) -> String {
    let expression = format!(
        "or({},eq({{\"total\":{memory}}}))",
        vec!["eq(1)"; 160].join(",")
    );
    vec![format!("filter[attributes.*]={expression}"); 14].join("&")
}

fn get(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n")
}

/// A daemon with a unix socket and many clients, which are held.
struct Busy {
    daemon: Daemon,
    socket: PathBuf,
    heavy: String,
    _clients: Vec<TcpStream>,
}

impl Busy {
    fn start() -> Self {
        let server = Server::new();
        let daemon = Daemon::start_controlled("", &one_service(server.address()));
        server.hold();
        let address = daemon.listener("listener");
        let clients = (0..CLIENTS).map(|_| connect(address)).collect();
        until("all clients with their server", || {
            let all = daemon.get("/v1/services/service");
            let count = all.integer("/data/attributes/statistics/connections");
            (count == CLIENTS as u64).then_some(())
        });
        let memory = daemon
            .get("/v1/sessions/2")
            .integer("/data/attributes/memory/total");
        Self {
            socket: daemon.directory().path().join("admin.sock"),
            heavy: heavy_filter(memory),
            daemon,
            _clients: clients,
        }
    }

    /// What the operator asks once, and which answer took longest.
    fn slowest(&self) -> (Duration, String) {
        let mut took = Vec::new();
        for (method, target, status) in [
            ("GET", "/v1", 200),
            ("GET", "/v1/sessions", 200),
            ("GET", "/v1/sessions/2", 200),
            ("GET", "/v1/sessions?rdns&page[size]=3", 200),
            ("GET", "/v1/sessions/2?wait=10ms", 200),
            ("GET", "/v1/sessions/events", 200),
            ("GET", "/v1/sessions?fields[sessions]=port&sort=-idle", 200),
            ("DELETE", "/v1/sessions?filter[id]=gt(400)&dry_run", 200),
        ] {
            let begin = Instant::now();
            let mut stream = BufReader::new(UnixStream::connect(&self.socket).unwrap());
            stream.get_ref().set_read_timeout(Some(PATIENCE)).unwrap();
            let request = format!("{method} {target} HTTP/1.1\r\nHost:\r\n\r\n");
            stream.get_mut().write_all(request.as_bytes()).unwrap();
            // Events have no end.
            let answer = Answer::read(&mut stream, target.ends_with("events"));
            assert_eq!(answer.status, status, "{method} {target:.60}: {answer:?}");
            took.push((begin.elapsed(), format!("{method} {target}")));
        }
        let begin = Instant::now();
        let mut list = program();
        list.args(["list", "--no-header", "--socket"])
            .arg(&self.socket);
        let output = list.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let lines = String::from_utf8(output.stdout).unwrap();
        assert!(lines.lines().count() >= CLIENTS, "{lines}");
        took.push((begin.elapsed(), "sessiond list".to_owned()));
        took.into_iter().max().unwrap()
    }
}

/// Connects as an attacker does, who takes what comes.
fn attack(address: SocketAddr, request: &str) -> Option<TcpStream> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream
        .set_read_timeout(Some(Duration::from_millis(500)))
        .ok()?;
    stream.write_all(request.as_bytes()).ok()?;
    Some(stream)
}

/// Has an attacker go on until the test is over: one that asks and reads as fast as it can.
fn ask_in_a_loop(address: SocketAddr, request: &str, stop: &AtomicBool) {
    while !stop.load(Relaxed) {
        let Some(mut stream) = attack(address, request) else {
            continue;
        };
        let mut room = [0; 16_384];
        while !stop.load(Relaxed)
            && stream.read(&mut room).is_ok_and(|length| length > 0)
            && stream.write_all(request.as_bytes()).is_ok()
        {}
    }
}

/// One that hangs up at once, in order or not.
fn hang_up_in_a_loop(address: SocketAddr, request: &str, stop: &AtomicBool) {
    let mut resets = false;
    while !stop.load(Relaxed) {
        let Some(stream) = attack(address, request) else {
            continue;
        };
        resets = !resets;
        if resets {
            set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
        }
        thread::park_timeout(Duration::from_millis(5));
    }
}

/// One that reads so little that it is just not cut off.
fn read_slowly(address: SocketAddr, request: &str, stop: &AtomicBool) {
    while !stop.load(Relaxed) {
        let Some(mut stream) = attack(address, request) else {
            continue;
        };
        set_socket_recv_buffer_size(&stream, 4096).unwrap();
        while !stop.load(Relaxed) && stream.read(&mut [0; 512]).is_ok_and(|length| length > 0) {
            thread::park_timeout(Duration::from_millis(100));
        }
    }
}

type Attack = fn(SocketAddr, &str, &AtomicBool);

struct StopAtEnd<'a>(&'a AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

/// Has the operator ask beside attackers, so many of each kind.
fn operator_beside(attackers: &[(usize, Attack, String)], busy: &Busy) {
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for (count, attack, request) in attackers {
            for _ in 0..*count {
                scope.spawn(|| attack(busy.daemon.admin(), request, &stop));
            }
        }
        let _stop = StopAtEnd(&stop);
        // They are at it when the operator comes, and still are for the last question.
        thread::park_timeout(Duration::from_millis(300));
        // A machine that stands still for a moment is not the program's fault.
        at_last(|| {
            let (slowest, what) = (0..3).map(|_| busy.slowest()).max().unwrap();
            println!("{slowest:?} for {what}");
            (slowest < SOON).then_some(())
        });
    });
}

#[test]
fn no_kind_of_client_on_tcp_keeps_an_answer_from_the_operator() {
    let busy = Busy::start();
    let heavy = get(&format!("/v1/sessions?{}", busy.heavy));
    let light = get("/v1/sessions?filter[id]=gt(0)&sort=-idle,id&page[size]=1");
    let all: [(usize, Attack, String); 7] = [
        (8, ask_in_a_loop, heavy.clone()),
        (2, hang_up_in_a_loop, heavy),
        (6, read_slowly, get("/v1/sessions?pretty")),
        (6, read_slowly, get("/v1/sessions/events")),
        (10, read_slowly, get("/v1/sessions/2?wait=60s")),
        (6, read_slowly, get("/v1/sessions?rdns")),
        (60, ask_in_a_loop, light),
    ];
    for attackers in all.chunks(1) {
        operator_beside(attackers, &busy);
    }
    operator_beside(&all, &busy);
    // And those of TCP are served again.
    until("a long answer for a client of TCP", || {
        let answer = busy.daemon.request("GET", "/v1/sessions");
        (answer.status == 200).then_some(())
    });
}

#[test]
fn each_place_is_there_for_the_operator_when_tcp_has_taken_all_of_its_own() {
    let busy = Busy::start();
    for (target, places) in [
        ("/v1/sessions?pretty", 4),
        ("/v1/sessions/events", 4),
        ("/v1/sessions/2?wait=60s", 8),
    ] {
        let ask = || {
            let stream = connect(busy.daemon.admin());
            // Its answer is more than both kernels hold, where it has an end.
            set_socket_recv_buffer_size(&stream, 4096).unwrap();
            (&stream).write_all(get(target).as_bytes()).unwrap();
            stream
        };
        let held: Vec<TcpStream> = (0..places).map(|_| ask()).collect();
        until("all places to be taken", || {
            let mut one_more = BufReader::new(ask());
            one_more
                .get_ref()
                .set_read_timeout(Some(Duration::from_millis(200)))
                .unwrap();
            let answer = Answer::try_read(&mut one_more)?;
            (answer.status == 503).then_some(())
        });
        busy.slowest();
        drop(held);
    }
}

/// How a client leaves before its answer has come.
#[derive(Clone, Copy, Debug)]
enum Leaving {
    /// It closes its socket.
    Closing,
    /// It resets the connection.
    Reset,
    /// It closes its socket after it has read the head of the answer.
    AfterHead,
    /// It ends its stream and stays.
    HalfClosing,
}

#[test]
fn work_stops_when_its_client_has_left_and_its_place_is_free() {
    let library = Library::with_sessions(50_000);
    let memory = library
        .get("/v1/sessions/1")
        .integer("/data/attributes/memory/total");
    // It takes ten seconds and more.
    let heavy = get(&format!("/v1/sessions?{}", heavy_filter(memory)));
    let long = || library.request("GET", "/v1/sessions?page[size]=1", "");
    for leaving in [
        Leaving::Closing,
        Leaving::Reset,
        Leaving::AfterHead,
        Leaving::HalfClosing,
    ] {
        at_last(|| {
            let ask = || {
                let mut client = connect(library.address);
                client.write_all(heavy.as_bytes()).unwrap();
                // It is left where it is, so that its client leaves without reading it.
                let mut begin = [0; 12];
                client.peek_on(&mut begin).unwrap();
                begin.ends_with(b" 200").then_some(client)
            };
            let mut clients: Vec<TcpStream> = (0..4).map(|_| until("a place", ask)).collect();
            assert_eq!(long().status, 503);
            for client in &mut clients {
                match leaving {
                    Leaving::Closing => {}
                    Leaving::Reset => set_socket_linger(client, Some(Duration::ZERO)).unwrap(),
                    Leaving::AfterHead => {
                        let answer = Answer::read(&mut HeadOf(client), true);
                        assert_eq!(answer.status, 200);
                    }
                    Leaving::HalfClosing => client.shutdown(Shutdown::Write).unwrap(),
                }
            }
            if !matches!(leaving, Leaving::HalfClosing) {
                clients.clear();
            }
            let begin = Instant::now();
            until("a place", || (long().status == 200).then_some(()));
            (begin.elapsed() < Duration::from_millis(500)).then_some(())
        });
    }
    library.stop();
}

/// Reads byte by byte, so that nothing behind the head is taken.
struct HeadOf<'a>(&'a mut TcpStream);

impl Read for HeadOf<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.0.read(buffer)
    }
}

impl std::io::BufRead for HeadOf<'_> {
    fn fill_buf(&mut self) -> std::io::Result<&[u8]> {
        unreachable!("lines are read below")
    }

    fn consume(&mut self, _: usize) {}

    fn read_line(&mut self, line: &mut String) -> std::io::Result<usize> {
        let mut byte = [0];
        let before = line.len();
        while byte != *b"\n" && self.read(&mut byte)? > 0 {
            line.push(byte[0].into());
        }
        Ok(line.len() - before)
    }
}

#[test]
fn who_hangs_up_while_sessions_are_looked_through_kills_none() {
    let busy = Busy::start();
    let target = format!("/v1/sessions?{}", busy.heavy);
    for _ in 0..20 {
        let mut stream = UnixStream::connect(&busy.socket).unwrap();
        let request = get(&target).replacen("GET", "DELETE", 1);
        stream.write_all(request.as_bytes()).unwrap();
        // It has been received when one that came later is answered.
        assert_eq!(busy.daemon.act("GET", "/v1").status, 200);
        drop(stream);
    }
    // It is possible, and would have been done.
    let found = until("a search that comes to its end", || {
        let answer = busy.daemon.act("DELETE", &format!("{target}&dry_run"));
        (answer.status == 200).then(|| answer.document().integer("/meta/killed"))
    });
    assert_eq!(found, CLIENTS as u64);
    assert_eq!(busy.daemon.client_sessions().len(), CLIENTS);
}
