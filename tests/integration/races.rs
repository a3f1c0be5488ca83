//! What an operator does at the very moment when something else happens.
//!
//! Each race is run five hundred times, with the two sides started from a
//! barrier; what must hold is what holds whoever wins.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use super::support::daemon::one_service;
use super::support::http::connect;
use super::support::server::free_port;
use super::support::uninterrupted::ReadOn;
use super::support::{Daemon, PATIENCE, Server, until};

const ROUNDS: usize = 500;

/// How long all rounds of a race may take, on a machine with two busy cores.
const LIMIT: Duration = Duration::from_secs(120);

fn connections(daemon: &Daemon, target: &str) -> u64 {
    let document = daemon.get(target);
    document.integer("/data/attributes/statistics/connections")
}

/// A client that has said one thing and heard it again; none where it was not let
/// in, or not for long.
fn served(address: SocketAddr) -> Option<TcpStream> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let asked = stream.write_all(b"x");
    match asked.and_then(|()| stream.read_exact(&mut [0])) {
        Ok(()) => Some(stream),
        Err(error) => {
            let kind = error.kind();
            let lost = [
                ErrorKind::ConnectionReset,
                ErrorKind::BrokenPipe,
                ErrorKind::UnexpectedEof,
            ];
            assert!(lost.contains(&kind), "{kind}");
            None
        }
    }
}

fn is_served(address: SocketAddr) -> bool {
    served(address).is_some()
}

/// Does two things at once.
fn at_once(one: impl FnOnce() + Send, other: impl FnOnce() + Send) {
    let barrier = Barrier::new(2);
    thread::scope(|scope| {
        scope.spawn(|| {
            barrier.wait();
            one();
        });
        barrier.wait();
        other();
    });
}

#[test]
fn a_session_is_killed_while_it_closes() {
    let (server, _) = Server::new().echo();
    let daemon = Daemon::start_controlled("", &one_service(server));
    let address = daemon.listener("listener");
    let begin = Instant::now();
    let mut killed = 0;
    for round in 0..ROUNDS {
        let mut client = connect(address);
        client.write_all(b"x").unwrap();
        client.read_exact(&mut [0]).unwrap();
        let id = round + 2;
        let target = format!("/v1/sessions/{id}");
        at_once(
            || drop(client),
            || {
                let status = daemon.act("DELETE", &target).status;
                assert!([204, 404].contains(&status), "{status}");
            },
        );
        let ended = daemon.ended(&id.to_string());
        match ended.text("/data/attributes/close_reason").as_str() {
            "killed" => killed += 1,
            reason => assert!(
                ["client closed", "client reset"].contains(&reason),
                "{reason}"
            ),
        }
        assert_eq!(daemon.act("DELETE", &target).status, 404);
    }
    assert!(begin.elapsed() < LIMIT, "{:?}", begin.elapsed());
    let statistics = daemon.get("/v1/services/service");
    let statistics = statistics.at("/data/attributes/statistics");
    assert_eq!(statistics.integer("/closed/killed"), killed);
    assert_eq!(statistics.integer("/connections"), 0);
}

#[test]
fn a_listener_is_stopped_while_clients_come() {
    let (server, _) = Server::new().echo();
    // A port that nobody else takes while the listener is stopped.
    let port = format!("port={}", free_port().port());
    let daemon = Daemon::start_controlled("", &one_service(server).replace("port=0", &port));
    let address = daemon.listener("listener");
    let descriptors = daemon.descriptors_at_rest();
    let begin = Instant::now();
    for round in 0..ROUNDS {
        let force = if round % 2 == 0 { "" } else { "?force=yes" };
        at_once(
            || {
                for _ in 0..3 {
                    is_served(address);
                }
            },
            || daemon.done("PUT", &format!("/v1/listeners/listener/stop{force}")),
        );
        let refused = TcpStream::connect(address).unwrap_err().kind();
        assert_eq!(refused, ErrorKind::ConnectionRefused);
        daemon.done("PUT", "/v1/listeners/listener/start");
        assert!(is_served(address));
    }
    assert!(begin.elapsed() < LIMIT, "{:?}", begin.elapsed());
    daemon.client_sessions_until(0);
    daemon.until_descriptors(descriptors);
}

#[test]
fn a_server_is_drained_while_clients_are_on_their_way_to_it() {
    let ((one, _), (two, _)) = (Server::new().echo(), Server::new().echo());
    let sections = one_service(one).replace("servers=server", "servers=server,other")
        + &format!(
            "[other]\ntype=server\naddress=127.0.0.1\nport={}\nrank=secondary\n",
            two.port()
        );
    let daemon = Daemon::start_controlled("", &sections);
    let address = daemon.listener("listener");
    let begin = Instant::now();
    for round in 0..ROUNDS {
        let setting = ["drain", "maintenance"][round % 2];
        at_once(
            || {
                for _ in 0..3 {
                    // In maintenance a session may end early; draining ends none.
                    assert!(is_served(address) || setting == "maintenance");
                }
            },
            || {
                daemon.done("PUT", &format!("/v1/servers/server/set?state={setting}"));
                let total = || {
                    let server = daemon.get("/v1/servers/server");
                    server.integer("/data/attributes/statistics/total_connections")
                };
                let before = total();
                let done = daemon.get("/v1/servers/server?wait=20s");
                let count = done.integer("/data/attributes/statistics/connections");
                assert_eq!(count, 0);
                assert_eq!(total(), before, "nobody has come to it since");
            },
        );
        assert!(is_served(address));
        daemon.done("PUT", &format!("/v1/servers/server/clear?state={setting}"));
    }
    assert!(begin.elapsed() < LIMIT, "{:?}", begin.elapsed());
    daemon.client_sessions_until(0);
    for target in ["/v1/servers/server", "/v1/servers/other"] {
        assert_eq!(connections(&daemon, target), 0);
    }
}

#[test]
fn it_is_stopped_while_it_reads_its_configuration_again() {
    let (server, _) = Server::new().echo();
    // A name takes time to look up, and a thread.
    let sections = one_service(server).replacen("address=127.0.0.1", "address=localhost", 1);
    let more = "[more]\ntype=server\naddress=localhost\nport=1\n\
        [further]\ntype=service\nservers=more\n\
        [another]\ntype=listener\nservice=further\naddress=127.0.0.1\nport=0\n";
    let begin = Instant::now();
    thread::scope(|scope| {
        // Two at a time, as there are two cores.
        for half in 0..2 {
            let sections = &sections;
            scope.spawn(move || {
                let reloaded = (0..ROUNDS / 2).filter(|round| {
                    let orders = [
                        "HUP TERM",
                        "HUP HUP TERM",
                        "TERM HUP",
                        "HUP TERM TERM",
                        STOP_FIRST,
                    ];
                    stop_during_reload(sections, more, orders[(round + half) % orders.len()])
                });
                // It is no race if one side always wins.
                let reloaded = reloaded.count();
                assert!((1..ROUNDS / 2).contains(&reloaded), "{reloaded}");
            });
        }
    });
    assert!(begin.elapsed() < LIMIT, "{:?}", begin.elapsed());
}

/// A busy program finds both signals of `TERM HUP` at once, and reads again first;
/// here it finds one after the other.
const STOP_FIRST: &str = "TERM, and then HUP";

/// Returns whether the other configuration was reached.
fn stop_during_reload(sections: &str, more: &str, signals: &str) -> bool {
    let mut daemon = Daemon::start_controlled("", sections);
    // The start waits for the name, but only for a second.
    let address = daemon.listener("listener");
    let mut client = until("a client that is served", || served(address));
    daemon.configure("", &format!("{sections}{more}"));
    let begin = Instant::now();
    if signals == STOP_FIRST {
        daemon.process.signal("TERM");
        daemon.process.line("the beginning of the end", |line| {
            (line == "<6>stopping").then_some(())
        });
        daemon.process.signal("HUP");
    } else {
        daemon.process.signals(signals);
    }
    let status = daemon.process.wait();
    let log = daemon.process.log();
    assert_eq!(status.code(), Some(0), "{log:?}");
    assert!(begin.elapsed() < PATIENCE / 2, "{:?}", begin.elapsed());
    // The connection has ended, in order or not.
    assert_eq!(client.read_on(&mut [0]).unwrap_or(0), 0);
    assert!(!log.iter().any(|line| line.starts_with("<3>")), "{log:?}");
    daemon
        .process
        .first_line(|line| line.contains("is read again"))
}
