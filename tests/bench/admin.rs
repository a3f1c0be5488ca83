//! The admin server beside a bare tiny_http handler and nginx, under wrk.

use std::net::TcpStream;
use std::process::Command;

use super::child::until;
use super::load;
use super::peers::{Peer, bare_tiny_http, nginx, sessiond};
use super::relay::get;
use super::report::{Mark, Report, median};

const ROUNDS: usize = 5;

/// How many sessions the list has that is fetched.
const SESSIONS: usize = 1000;

/// Processor time of one request in µs, and requests a second.
fn ask(peer: &Peer, target: &str, clients: usize, time: &str) -> (f64, f64) {
    let before = peer.child.cpu_with_ended_threads();
    let output = Command::new("wrk")
        .args(["-t", "1", "-c", &clients.to_string(), "-d", time])
        .arg(format!("http://{}{target}", peer.admin))
        .output()
        .expect("wrk");
    let cpu = peer.child.cpu_with_ended_threads() - before;
    let text = String::from_utf8(output.stdout).unwrap();
    // `  12345 requests in 1.00s, 3.21MB read`
    let line = text.lines().find(|line| line.contains(" requests in "));
    let requests = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
    let requests = requests.unwrap_or_else(|| panic!("{text}"));
    assert!(!text.contains("Non-2xx"), "{text}");
    let rate = text
        .lines()
        .find_map(|line| line.strip_prefix("Requests/sec:"));
    let rate = rate.and_then(|rate| rate.trim().parse().ok()).unwrap();
    (cpu.as_secs_f64() * 1e6 / requests, rate)
}

pub fn one_session(report: &mut Report) {
    let server = load::answerer();
    let ours = sessiond(server, false);
    let _client = TcpStream::connect(ours.address).unwrap();
    let target = "/v1/sessions/2";
    let body = until("a session", || {
        let body = get(ours.admin, target);
        body.contains("ready for routing").then_some(body)
    });
    let peers = [ours, bare_tiny_http(&body), nginx(&body, false)];
    for (clients, cpu_mark, rate_mark) in [(1, 1.6, 0.8), (8, 1.0, 1.0), (32, 1.0, 1.0)] {
        let mut cpu = [Vec::new(), Vec::new(), Vec::new()];
        let mut rate = [Vec::new(), Vec::new(), Vec::new()];
        for _ in 0..ROUNDS {
            for (index, peer) in peers.iter().enumerate() {
                let target = if index == 2 { "/body" } else { target };
                let (used, reached) = ask(peer, target, clients, "1s");
                cpu[index].push(used);
                rate[index].push(reached);
            }
        }
        let [cpu, rate] = [cpu, rate].map(|figures| figures.map(|figures| median(&figures)));
        let what = format!("GET one session, {clients} clients");
        let bare = "bare tiny_http";
        report.ratio(
            &format!("{what}: CPU, {bare}"),
            "µs",
            cpu[0],
            cpu[1],
            Mark::AtMost(cpu_mark),
        );
        report.ratio(
            &format!("{what}: a second, {bare}"),
            "",
            rate[0],
            rate[1],
            Mark::AtLeast(rate_mark),
        );
        let closing = "nginx that closes";
        report.ratio(
            &format!("{what}: a second, {closing}"),
            "",
            rate[0],
            rate[2],
            Mark::AtLeast(1.0),
        );
    }
}

pub fn list(report: &mut Report) {
    let server = load::answerer();
    let ours = sessiond(server, false);
    let connect = |_| TcpStream::connect(ours.address).unwrap();
    let _clients: Vec<TcpStream> = (0..SESSIONS).map(connect).collect();
    let target = "/v1/sessions";
    let body = until("all sessions", || {
        let body = get(ours.admin, target);
        (body.matches("ready for routing").count() == SESSIONS).then_some(body)
    });
    let theirs = nginx(&body, true);
    let (mut cpu, mut their_cpu) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        cpu.push(ask(&ours, target, 1, "1s").0);
        their_cpu.push(ask(&theirs, "/body", 1, "1s").0);
    }
    let (cpu, their_cpu) = (median(&cpu), median(&their_cpu));
    let what = format!("GET a list of {SESSIONS}: CPU");
    report.ratio(
        &format!("{what}, nginx"),
        "µs",
        cpu,
        their_cpu,
        Mark::AtMost(3.0),
    );
    report.figure(
        &format!("{what} a session"),
        "µs",
        cpu / SESSIONS as f64,
        Mark::AtMost(1.0),
    );
}
