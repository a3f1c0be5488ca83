//! How many sessions there may be, and how long they may take.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::support::daemon::one_service;
use super::support::http::connect;
use super::support::server::full_backlog;
use super::support::uninterrupted::ReadOn;
use super::support::{Daemon, Server, at_last, until};

/// One service before a server, with what else is said of both.
fn with(server: &Server, server_has: &str, service_has: &str) -> Daemon {
    let config = one_service(server.address())
        .replace("type=server\n", &format!("type=server\n{server_has}\n"))
        .replace("type=service\n", &format!("type=service\n{service_has}\n"));
    Daemon::start(&config)
}

#[test]
fn a_service_has_no_more_sessions_than_it_may() {
    let server = Server::new();
    let daemon = with(&server, "", "max_connections=2");
    let address = daemon.listener("listener");
    let one = (connect(address), server.accept(&daemon));
    let _two = (connect(address), server.accept(&daemon));
    assert_eq!(connect(address).read_on(&mut [0]).unwrap(), 0);
    daemon.ended_as("4", "too many connections");
    drop(one);
    daemon.client_sessions_until(1);
    let _three = (connect(address), server.accept(&daemon));
    let parameters = daemon
        .get("/v1/services/service")
        .at("/data/attributes/parameters");
    assert_eq!(parameters.integer("/max_connections"), 2);
}

#[test]
fn a_server_has_no_more_sessions_than_it_may() {
    let server = Server::new();
    let daemon = with(&server, "max_connections=1", "");
    let address = daemon.listener("listener");
    let one = (connect(address), server.accept(&daemon));
    assert_eq!(connect(address).read_on(&mut [0]).unwrap(), 0);
    daemon.ended_as("3", "no server available");
    assert_eq!(
        daemon
            .get("/v1/servers/server")
            .text("/data/attributes/state"),
        "Running"
    );
    drop(one);
    daemon.client_sessions_until(0);
    let _two = (connect(address), server.accept(&daemon));
}

#[test]
fn a_server_that_does_not_answer_in_time_is_a_connect_timeout() {
    let (silent, _fillers) = full_backlog("127.0.0.1");
    at_last(|| {
        let daemon = with(&silent, "", "connect_timeout=200ms");
        let begin = Instant::now();
        let mut client = connect(daemon.listener("listener"));
        assert_eq!(client.read_on(&mut [0]).unwrap(), 0);
        let waited = begin.elapsed();
        let reason = daemon.ended("2").text("/data/attributes/close_reason");
        // The probes find out within two seconds that it does not answer.
        if reason == "no server available" {
            return None;
        }
        assert_eq!(reason, "connect timeout");
        assert!(waited >= Duration::from_millis(200), "{waited:?}");
        Some(())
    });
}

#[test]
fn what_passes_either_way_keeps_a_session_from_being_idle() {
    let server = Server::new();
    let daemon = with(&server, "", "connection_timeout=4s");
    let mut client = connect(daemon.listener("listener"));
    let mut behind = server.accept(&daemon);
    let begin = Instant::now();
    // For longer than that, first only from the one side, then only from the other.
    while begin.elapsed() < Duration::from_secs(10) {
        let (mut from, mut to): (&TcpStream, &TcpStream) = (&client, &behind);
        if begin.elapsed() > Duration::from_secs(5) {
            (from, to) = (to, from);
        }
        from.write_all(b"x").unwrap();
        to.read_exact(&mut [0]).unwrap();
        std::thread::park_timeout(Duration::from_millis(100));
    }
    assert_eq!(client.read_on(&mut [0]).unwrap(), 0);
    assert_eq!(behind.read_on(&mut [0]).unwrap(), 0);
    daemon.ended_as("2", "idle timeout");
}

/// Sessions on a busy table: how many there are.
const CROWD: usize = 5000;

/// How long a client of the crowd may be idle.
const IDLE: Duration = Duration::from_secs(4);

/// How long it may take to log in.
const LOGIN: Duration = Duration::from_secs(10);

/// How late a limit may be.
const EXACT: Duration = Duration::from_millis(100);

#[test]
fn with_5000_sessions_open_limits_are_exact() {
    // A machine that stands still for a moment is not the program's fault.
    at_last(|| limits_are_exact().then_some(()));
}

/// Has half of a crowd idle and the other half at the login for ever. Whether
/// nine in ten of them end in time, and so those that come last, too.
fn limits_are_exact() -> bool {
    let server = Server::new();
    let config = one_service(server.address());
    let (before, listener) = config.split_once("[listener]").unwrap();
    let resting = format!(
        "admin_history=10000\nmonitor_interval=0\n{before}[resting]\ntype=service\nservers=server\nconnection_timeout={}s\n\
         [listener]{}[idle]{}",
        IDLE.as_secs(),
        listener.replace("protocol=TCP", "protocol=PostgreSQLClient"),
        listener.replace("service=service", "service=resting"),
    );
    let daemon = Daemon::start(&resting);
    let held = server.hold();
    let mut clients = Vec::new();
    for number in 0..CROWD {
        let name = if number % 2 == 0 { "listener" } else { "idle" };
        let mut client = connect(daemon.listener(name));
        if name == "idle" {
            client.write_all(b"x").unwrap();
        }
        clients.push(client);
    }
    until("the whole crowd", || {
        let services = daemon.get("/v1/services").elements("/data");
        let count =
            |index: usize| services[index].integer("/attributes/statistics/total_connections");
        (count(0) + count(1) == CROWD as u64).then_some(())
    });
    daemon.client_sessions_until(0);
    // The thread that takes them may be behind. Clients of PostgreSQL that say
    // nothing get no connection to a server.
    until("all connections at the server", || {
        let mut held = held.lock().unwrap();
        (held.len() >= CROWD / 2).then(|| held.clear())
    });

    let ended = daemon.get("/v1/sessions?state=closed").elements("/data");
    assert_eq!(ended.len(), CROWD);
    let in_time = ended.iter().filter(|session| {
        let took = |clock: &str| session.seconds(&format!("/attributes/{clock}"));
        let (reason, took, limit) = match &session.text("/attributes/listener")[..] {
            "idle" => ("idle timeout", took("idle"), IDLE),
            _ => ("connect timeout", took("seconds_alive"), LOGIN),
        };
        assert_eq!(session.text("/attributes/close_reason"), reason);
        assert!(took >= limit, "{took:?} of {limit:?}");
        took <= limit + EXACT
    });
    in_time.count() >= CROWD / 10 * 9
}

#[test]
fn both_connections_of_a_session_are_kept_alive() {
    let server = Server::new();
    let daemon = with(&server, "", "");
    let client = connect(daemon.listener("listener"));
    let behind = server.accept(&daemon);
    let local_port = behind.peer_addr().unwrap().port();
    // The client's side at once; the server's when it has lasted for ten seconds.
    for (local, remote) in [
        (
            daemon.listener("listener").port(),
            client.local_addr().unwrap().port(),
        ),
        (local_port, server.address().port()),
    ] {
        until("a connection that is kept alive", || {
            has_keep_alive_timer(local, remote).then_some(())
        });
    }
}

/// Whether the system's table has a keep-alive timer for a connection of this
/// machine (proc(5), `/proc/net/tcp`: timer 2).
fn has_keep_alive_timer(local: u16, remote: u16) -> bool {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    table.lines().any(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        words.len() > 5
            && words[1].ends_with(&format!(":{local:04X}"))
            && words[2].ends_with(&format!(":{remote:04X}"))
            && words[5].starts_with("02:")
    })
}
