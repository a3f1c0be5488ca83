//! Instructions of this program, as callgrind counts them: the same on every
//! machine of a kind, whatever else it is doing.
//!
//! Each load is run once and twice as long; the difference, divided by the
//! operations, leaves out the start and the end of the program.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;

use super::child::{scratch, until};
use super::load;
use super::peers::{self, Peer};
use super::relay::{fetch_list, get};
use super::report::{Mark, Report};

/// How many sessions the list has whose rows are counted.
const SESSIONS: usize = 1000;

/// One load: its name, what it does so many times, and how many operations that is.
struct Load {
    what: &'static str,
    times: usize,
    operations: usize,
    run: fn(&Peer, usize),
}

const LOADS: [Load; 4] = [
    Load {
        what: "one relayed message",
        times: 10_000,
        operations: 2,
        run: exchange,
    },
    Load {
        what: "one session, from accept to close",
        times: 2_000,
        operations: 1,
        run: short_sessions,
    },
    Load {
        what: "one GET of one session",
        times: 5_000,
        operations: 1,
        run: ask,
    },
    Load {
        what: "one row of a list",
        times: 50,
        operations: SESSIONS,
        run: list,
    },
];

pub fn measure(report: &mut Report) {
    for Load {
        what,
        times,
        operations,
        run,
    } in LOADS
    {
        let [once, twice] = [times, 2 * times].map(|times| instructions(run, times));
        let each = twice.saturating_sub(once) as f64 / (times * operations) as f64;
        report.figure(&format!("instructions of {what}"), "", each, Mark::None);
    }
}

/// What the program executes from its start to its end, with a load in between.
fn instructions(run: fn(&Peer, usize), times: usize) -> u64 {
    let log = scratch("callgrind");
    let arguments = [
        "--tool=callgrind",
        "--callgrind-out-file=/dev/null",
        &format!("--log-file={}", log.display()),
        peers::program(),
    ];
    let peer = peers::start_under("valgrind", &arguments, load::answerer());
    run(&peer, times);
    let id = peer.child.id().to_string();
    Command::new("kill").args(["-TERM", &id]).status().unwrap();
    // `==123== Collected : 12345678`
    let count = |text: &str| {
        let line = text
            .lines()
            .find_map(|line| line.split_once("Collected : "));
        line.and_then(|(_, number)| number.trim().parse().ok())
    };
    until("the end under valgrind", || {
        count(&std::fs::read_to_string(&log).ok()?)
    })
}

fn exchange(peer: &Peer, times: usize) {
    let mut stream = connect(peer);
    for _ in 0..times {
        stream.write_all(&[b'r'; 100]).unwrap();
        stream.read_exact(&mut [0; 200]).unwrap();
    }
}

fn short_sessions(peer: &Peer, times: usize) {
    for _ in 0..times {
        let mut stream = connect(peer);
        stream.write_all(b"x").unwrap();
        stream.read_exact(&mut [0]).unwrap();
    }
}

fn ask(peer: &Peer, times: usize) {
    let _session = open(peer, 1);
    let mut stream = TcpStream::connect(peer.admin).unwrap();
    let mut room = vec![0; 64 * 1024];
    for _ in 0..times {
        stream
            .write_all(b"GET /v1/sessions/2 HTTP/1.1\r\nHost: localhost\r\n\r\n")
            .unwrap();
        // An answer goes out in one piece.
        assert!(stream.read(&mut room).unwrap() > 0);
    }
}

fn list(peer: &Peer, times: usize) {
    let _sessions = open(peer, SESSIONS);
    for _ in 0..times {
        fetch_list(peer.admin);
    }
}

/// Sessions that have their server.
fn open(peer: &Peer, count: usize) -> Vec<TcpStream> {
    let streams = (0..count).map(|_| connect(peer)).collect();
    until("all sessions", || {
        // Lists would be counted, too.
        let service = get(peer.admin, "/v1/services/service");
        let connected = format!("\"connections\":{count},");
        service.contains(&connected).then_some(())
    });
    streams
}

fn connect(peer: &Peer) -> TcpStream {
    let stream = TcpStream::connect(peer.address).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}
