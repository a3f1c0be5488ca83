//! The table of sessions and long lists of them, filled through the library.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use sessiond::admin::Admin;
use sessiond::config::Config;
use sessiond::registry::{CloseReason, Registry, SessionState};

use super::child::Child;
use super::report::{Mark, Report, median};

/// The argument under which this program has so many sessions and shows them.
pub const LIBRARY: &str = "--library";

/// The argument under which this program opens and closes sessions.
pub const OPEN_AND_CLOSE: &str = "--open-and-close";

const ROUNDS: usize = 5;

pub fn open_and_close(report: &mut Report) {
    for line in own(&[OPEN_AND_CLOSE]).lines() {
        let (count, ratio) = line.split_once(' ').unwrap();
        let what = format!("open and close in the table beside {count} others, beside 1");
        let (ours, first) = ratio.split_once('/').unwrap();
        let [ours, first] = [ours, first].map(|number| number.parse().unwrap());
        report.ratio(&what, "ns", ours, first, Mark::AtMost(2.0));
    }
}

fn own(arguments: &[&str]) -> Child {
    let program = std::env::current_exe().unwrap();
    Child::start(program.to_str().unwrap(), arguments, false)
}

/// A registry of so many sessions, one in eight with a server.
fn filled(count: usize) -> Arc<Registry> {
    let text = b"[maxscale]\nadmin_port=0\n[db]\ntype=server\naddress=192.0.2.1\nport=1\n\
        [s]\ntype=service\nservers=db\n[l]\ntype=listener\nservice=s\nport=2\n";
    let config = Config::parse("bench", text).unwrap();
    let registry = Arc::new(Registry::new(&config, SystemTime::now()));
    for number in 0..count {
        open(&registry, number);
    }
    registry
}

fn open(registry: &Registry, number: usize) -> Arc<sessiond::registry::Session> {
    let topology = registry.topology();
    let port = 1024 + number % 60_000;
    let remote = SocketAddr::new("192.0.2.7".parse().unwrap(), u16::try_from(port).unwrap());
    let (time, now) = (SystemTime::now(), Instant::now());
    let session = registry
        .sessions
        .open_client(&topology.listeners[0], Some(remote), time, now);
    session.set_state(SessionState::Ready, time);
    session
}

/// What [`LIBRARY`] starts.
pub fn run_library(count: &str) {
    let registry = filled(count.parse().unwrap());
    let config = Config::parse("bench", b"[maxscale]\nadmin_port=0\n").unwrap();
    let admin = Admin::bind(&config.admin, registry).unwrap();
    println!("{}", admin.address());
    std::io::stdout().flush().unwrap();
    let _running = admin.start().unwrap();
    loop {
        std::thread::park();
    }
}

pub fn lists(report: &mut Report) {
    let counts = [1_000, 10_000, 100_000, 1_000_000];
    let mut first = 0.0;
    for count in counts {
        let mut child = own(&[LIBRARY, &count.to_string()]);
        let address = child.line().parse().unwrap();
        // The first answer warms it up, and shows how the memory grows.
        let before = child.memory("VmRSS");
        fetch(address, 1);
        let grown = child.memory("VmHWM").saturating_sub(before);
        let times = (2_000_000 / count).max(2);
        let mut rounds = Vec::new();
        for _ in 0..ROUNDS {
            let cpu = child.cpu_with_ended_threads();
            fetch(address, times);
            let used = child.cpu_with_ended_threads() - cpu;
            rounds.push(used.as_secs_f64() * 1e9 / (times * count) as f64);
        }
        let each = median(&rounds);
        if count == counts[0] {
            first = each;
        }
        let what = format!("list of {count}: CPU a session, beside that of 1,000");
        report.ratio(&what, "ns", each, first, Mark::AtMost(1.2));
        let allowed = (8 * count) as f64 / 1024.0 + 2048.0;
        let what = format!("list of {count}: memory grown by");
        report.figure(&what, "kB", grown as f64, Mark::AtMost(allowed.round()));
    }
}

fn fetch(address: SocketAddr, times: usize) {
    let mut bytes = vec![0; 1024 * 1024];
    for _ in 0..times {
        let mut stream = TcpStream::connect(address).unwrap();
        stream
            .write_all(b"GET /v1/sessions HTTP/1.0\r\nHost: localhost\r\n\r\n")
            .unwrap();
        while stream.read(&mut bytes).unwrap() > 0 {}
    }
}

/// What [`OPEN_AND_CLOSE`] starts.
pub fn run_open_and_close() {
    let mut first = None;
    for others in [1, 1_000, 100_000, 1_000_000] {
        let registry = filled(others);
        let mut rounds = Vec::new();
        for _ in 0..ROUNDS {
            let count = 500_000;
            let begin = cpu_of_this_thread();
            for number in 0..count {
                let session = open(&registry, number);
                let (time, now) = (SystemTime::now(), Instant::now());
                let reason = CloseReason::ClientClosed;
                registry.sessions.close(session.id(), reason, time, now);
            }
            let used = cpu_of_this_thread() - begin;
            rounds.push(used.as_secs_f64() * 1e9 / count as f64);
        }
        let each = median(&rounds);
        let first = *first.get_or_insert(each);
        println!("{others} {each}/{first}");
    }
}

fn cpu_of_this_thread() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(text.split(' ').next().unwrap().parse().unwrap())
}
