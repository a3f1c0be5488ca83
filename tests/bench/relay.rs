//! The relay beside HAProxy in TCP mode with one thread.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::child::until;
use super::load::{self, Done, Elsewhere, Exchange};
use super::peers::{
    self, Peer, Splice, haproxy, haproxy_before, sessiond, sessiond_before, static_program,
};
use super::report::{Mark, Report, median};

const ROUNDS: usize = 5;

/// How much a bulk transfer moves, over all its connections.
const BULK_BYTES: u64 = 4_000_000_000;

/// How many idle sessions are weighed.
const IDLE_SESSIONS: usize = 2000;

/// What one side has come to in each round.
#[derive(Default)]
struct Figures {
    cpu: Vec<f64>,
    rate: Vec<f64>,
}

impl Figures {
    /// Measures one load on one process.
    fn take(&mut self, peer: &Peer, load: impl FnOnce() -> Done) {
        let before = peer.child.cpu();
        let done = load();
        let cpu = peer.child.cpu() - before;
        let operations = done.operations as f64;
        self.cpu.push(cpu.as_secs_f64() * 1e6 / operations);
        self.rate.push(operations / done.time.as_secs_f64());
    }
}

pub fn exchanges(report: &mut Report) {
    let _elsewhere = Elsewhere::go();
    let answerer = load::answerer();
    for (count, mark) in [(1, 0.9), (8, 0.8), (64, 0.8), (1000, 0.8)] {
        let (mut ours, mut theirs) = (Figures::default(), Figures::default());
        let peers = [
            sessiond(answerer, true),
            haproxy(answerer, Splice::Auto, true),
        ];
        for _ in 0..ROUNDS {
            for (peer, figures) in peers.iter().zip([&mut ours, &mut theirs]) {
                let mut load = Exchange::new(peer.address, count, Duration::ZERO);
                load.run(Duration::from_millis(150));
                figures.take(peer, || load.run(Duration::from_millis(700)));
            }
        }
        let what = format!("request and answer, {count} connections");
        let ratio = |of: fn(&Figures) -> &Vec<f64>| (median(of(&ours)), median(of(&theirs)));
        let (cpu, their_cpu) = ratio(|figures| &figures.cpu);
        report.ratio(
            &format!("{what}: CPU"),
            "µs",
            cpu,
            their_cpu,
            Mark::AtMost(mark),
        );
        let (rate, their_rate) = ratio(|figures| &figures.rate);
        report.ratio(
            &format!("{what}: a second"),
            "",
            rate,
            their_rate,
            Mark::AtLeast(1.0),
        );

        let calls = |peer: &Peer| {
            let mut load = Exchange::new(peer.address, count, Duration::ZERO);
            load.run(Duration::from_millis(100));
            let mut operations = 0;
            let calls = peer.child.system_calls(|| {
                operations = load.run(Duration::from_millis(500)).operations;
            });
            // A message is one way.
            calls as f64 / (2 * operations) as f64
        };
        let (calls, their_calls) = (calls(&peers[0]), calls(&peers[1]));
        let what = format!("{what}: system calls a message");
        report.figure(
            &format!("{what} (HAProxy {their_calls:.1})"),
            "",
            calls,
            Mark::AtMost(3.0),
        );
    }
}

/// Among how many addresses short sessions are spread, on both sides. Each leaves
/// two ports behind that rest for a minute; with one address the 28,000 that
/// there are would be used up within seconds, and both proxies measure how the
/// system looks for a free one.
const ADDRESSES: u8 = 8;

pub fn short_sessions(report: &mut Report) {
    let _elsewhere = Elsewhere::go();
    let spread =
        |port| (1..=ADDRESSES).map(move |last| SocketAddr::from(([127, 0, 0, last], port)));
    let answerers: Vec<SocketAddr> =
        spread(load::answerer_on(Ipv4Addr::UNSPECIFIED).port()).collect();
    let (mut ours, mut theirs) = (Figures::default(), Figures::default());
    let peers = [
        sessiond_before(&answerers, true),
        haproxy_before(&answerers, Splice::Auto, true),
    ];
    let load = |peer: &Peer, time| load::short_sessions(spread(peer.address.port()), time);
    for _ in 0..ROUNDS {
        for (peer, figures) in peers.iter().zip([&mut ours, &mut theirs]) {
            figures.take(peer, || load(peer, Duration::from_millis(700)));
        }
    }
    let what = "connect, one byte, close";
    let (cpu, their_cpu) = (median(&ours.cpu), median(&theirs.cpu));
    report.ratio(
        &format!("{what}: CPU"),
        "µs",
        cpu,
        their_cpu,
        Mark::AtMost(0.85),
    );
    let (rate, their_rate) = (median(&ours.rate), median(&theirs.rate));
    report.ratio(
        &format!("{what}: a second"),
        "",
        rate,
        their_rate,
        Mark::AtLeast(1.2),
    );
    let calls = |peer: &Peer| {
        let mut sessions = 0;
        let calls = peer.child.system_calls(|| {
            sessions = load(peer, Duration::from_millis(500)).operations;
        });
        calls as f64 / sessions as f64
    };
    let (calls, their_calls) = (calls(&peers[0]), calls(&peers[1]));
    let what = format!("{what}: system calls a session (HAProxy {their_calls:.1})");
    report.figure(&what, "", calls, Mark::AtMost(15.0));
}

pub fn bulk(report: &mut Report) {
    let _elsewhere = Elsewhere::go();
    let source = load::source();
    for readers in [1, 8] {
        let mut figures = [Figures::default(), Figures::default(), Figures::default()];
        let peers = [
            sessiond(source, true),
            haproxy(source, Splice::Auto, true),
            haproxy(source, Splice::Both, true),
        ];
        for _ in 0..ROUNDS {
            for (peer, figures) in peers.iter().zip(&mut figures) {
                figures.take(peer, || load::bulk(peer.address, readers, BULK_BYTES));
            }
        }
        let [ours, auto, both] = figures;
        let giga = |figures: &Figures| median(&figures.cpu) * 1e3;
        let what = format!("bulk, {readers} connections: CPU a GB");
        for (peer, theirs, mark) in [("splice-auto", &auto, 0.4), ("both splices", &both, 0.75)] {
            let what = format!("{what}, HAProxy with {peer}");
            report.ratio(&what, "s", giga(&ours), giga(theirs), Mark::AtMost(mark));
        }
        let rate = |figures: &Figures| median(&figures.rate) / 1e9;
        let what = format!("bulk, {readers} connections: GB a second, HAProxy with splice-auto");
        report.ratio(&what, "", rate(&ours), rate(&auto), Mark::None);
    }
}

/// How long others wait while long lists are fetched.
pub fn latency(report: &mut Report) {
    let _elsewhere = Elsewhere::go();
    let answerer = load::answerer();
    let peer = sessiond(answerer, true);
    let connect = |_| TcpStream::connect(peer.address).unwrap();
    let _idle: Vec<TcpStream> = (0..5000).map(connect).collect();
    let rest = Duration::from_millis(4);
    let mut load = Exchange::new(peer.address, 64, rest);
    load.run(Duration::from_millis(300));
    let (mut quiet, mut busy) = ([Vec::new(), Vec::new()], [Vec::new(), Vec::new()]);
    for _ in 0..ROUNDS {
        let time = Duration::from_secs(1);
        let without = percentiles(load.run(time));
        let stop = std::sync::atomic::AtomicBool::new(false);
        let with = std::thread::scope(|scope| {
            scope.spawn(|| {
                // Whoever fetches is elsewhere, and takes no time from who measures.
                rustix::process::setpriority_process(None, 19).unwrap();
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    fetch_list(peer.admin);
                }
            });
            let done = load.run(time);
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
            percentiles(done)
        });
        for index in 0..2 {
            quiet[index].push(without[index]);
            busy[index].push(with[index]);
        }
    }
    for (index, name) in ["p99", "p99.9"].into_iter().enumerate() {
        report.ratio(
            &format!("relay latency beside lists of 5,000, {name}"),
            "µs",
            median(&busy[index]),
            median(&quiet[index]),
            Mark::AtMost(1.3),
        );
    }
}

fn percentiles(done: Done) -> [f64; 2] {
    let mut latencies = done.latencies;
    latencies.sort();
    let at = |part: f64| latencies[(latencies.len() as f64 * part) as usize].as_secs_f64() * 1e6;
    [at(0.99), at(0.999)]
}

pub fn fetch_list(admin: SocketAddr) {
    let mut stream = TcpStream::connect(admin).unwrap();
    stream
        .write_all(b"GET /v1/sessions HTTP/1.0\r\nHost: localhost\r\n\r\n")
        .unwrap();
    let mut bytes = vec![0; 256 * 1024];
    while stream.read(&mut bytes).unwrap() > 0 {}
}

/// What a process holds at rest, and for each idle session.
pub fn memory(report: &mut Report) {
    let answerer = load::answerer();
    let Some(program) = static_program() else {
        return;
    };
    let peer = peers::start_sessiond(program.to_str().unwrap(), answerer, false);
    let idle = peer.child.memory("VmRSS");
    report.figure(
        "resident memory, idle, static",
        "kB",
        idle as f64,
        Mark::AtMost(1536.0),
    );
    let connect = |_| TcpStream::connect(peer.address).unwrap();
    let _idle: Vec<TcpStream> = (0..IDLE_SESSIONS).map(connect).collect();
    let target = "/v1/services/service";
    until("all sessions", || {
        let answer = get(peer.admin, target);
        answer
            .contains(&format!("\"connections\":{IDLE_SESSIONS},"))
            .then_some(())
    });
    let grown = peer.child.memory("VmRSS") - idle;
    let each = grown as f64 * 1024.0 / IDLE_SESSIONS as f64;
    report.figure(
        "memory of an idle session, static",
        "bytes",
        each,
        Mark::AtMost(1024.0),
    );
    let size = std::fs::metadata(&program).unwrap().len() as f64 / 1000.0;
    report.figure("static binary", "kB", size, Mark::AtMost(900.0));
}

pub fn get(address: SocketAddr, target: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {target} HTTP/1.0\r\nHost: localhost\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.split_once("\r\n\r\n").unwrap().1.to_owned()
}

/// From the start of a process to the first answer through it.
pub fn start(report: &mut Report) {
    let answerer = load::answerer();
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    let program = static_program();
    let program = program
        .as_ref()
        .map_or(peers::program(), |path| path.to_str().unwrap());
    for _ in 0..2 * ROUNDS {
        let begin = Instant::now();
        let peer = peers::start_sessiond(program, answerer, false);
        first_answer(peer.address);
        ours.push(begin.elapsed().as_secs_f64() * 1e3);
        let begin = Instant::now();
        let peer = haproxy(answerer, Splice::Auto, false);
        first_answer(peer.address);
        theirs.push(begin.elapsed().as_secs_f64() * 1e3);
    }
    let (ours, theirs) = (median(&ours), median(&theirs));
    report.ratio(
        "start to first answer",
        "ms",
        ours,
        theirs,
        Mark::AtMost(1.0),
    );
}

fn first_answer(address: SocketAddr) {
    until("the first answer", || {
        let mut stream = TcpStream::connect(address).ok()?;
        stream.write_all(b"x").ok()?;
        stream.read_exact(&mut [0]).ok()
    });
}
