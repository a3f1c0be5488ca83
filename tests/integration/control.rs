//! Stopping and starting, draining, maintenance, and waiting for the last one to leave.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

use super::support::daemon::one_service;
use super::support::http::connect;
use super::support::mariadb::GREETING;
use super::support::process::in_words_of_glibc;
use super::support::server::full_backlog;
use super::support::uninterrupted::ReadOn;
use super::support::{Daemon, Document, Server, at_last, until};

fn with_a_server() -> (Daemon, Server) {
    let server = Server::new();
    let daemon = Daemon::start_controlled("", &one_service(server.address()));
    (daemon, server)
}

/// Two servers of one service, with one listener.
fn two_servers(one: SocketAddr, two: SocketAddr) -> String {
    let server = |name: &str, address: SocketAddr| {
        let (ip, port) = (address.ip(), address.port());
        format!("[{name}]\ntype=server\naddress={ip}\nport={port}\n")
    };
    format!(
        "{}{}[service]\ntype=service\nservers=one,two\n\
         [listener]\ntype=listener\nservice=service\nprotocol=TCP\naddress=127.0.0.1\nport=0\n",
        server("one", one),
        server("two", two)
    )
}

fn state(daemon: &Daemon, target: &str) -> String {
    daemon.get(target).text("/data/attributes/state")
}

fn connections(daemon: &Daemon, target: &str) -> u64 {
    let document = daemon.get(target);
    document.integer("/data/attributes/statistics/connections")
}

fn is_refused(address: SocketAddr) -> bool {
    TcpStream::connect(address).is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
}

fn passes(client: &mut TcpStream, behind: &mut TcpStream) {
    client.write_all(b"x").unwrap();
    behind.read_exact(&mut [0]).unwrap();
}

/// A row of the table: what to stop and start, and how the listener's log line ends.
const STOPPABLE: [&str; 2] = ["/v1/listeners/listener", "/v1/services/service"];

#[test]
fn what_is_stopped_has_no_socket_until_it_is_started_again() {
    let (daemon, server) = with_a_server();
    let address = daemon.listener("listener");
    let mut client = connect(address);
    let mut behind = server.accept(&daemon);
    let at_rest = daemon.descriptors_at_rest();
    for target in STOPPABLE {
        let tag = || {
            let answer = daemon.act("GET", target);
            answer.field("ETag").unwrap().to_owned()
        };
        let before = tag();
        daemon.done("PUT", &format!("{target}/stop"));
        assert!(is_refused(address));
        drop(TcpListener::bind(address).expect("the port is free"));
        assert_eq!(state(&daemon, "/v1/sessions/1"), "Stopped Listener Session");
        assert_eq!(state(&daemon, "/v1/listeners/listener"), "Stopped");
        assert_eq!(state(&daemon, "/v1/services/service"), "Stopped");
        let stopped = tag();
        assert_ne!(before, stopped);
        // Twice is as good as once, and whoever is there stays.
        daemon.done("PUT", &format!("{target}/stop"));
        assert_eq!(stopped, tag());
        passes(&mut client, &mut behind);

        daemon.done("PUT", &format!("{target}/start"));
        daemon.done("PUT", &format!("{target}/start"));
        assert_eq!(state(&daemon, "/v1/sessions/1"), "Listener Session");
        assert_eq!(state(&daemon, "/v1/listeners/listener"), "Running");
        assert_eq!(state(&daemon, "/v1/services/service"), "Started");
        let mut another = connect(address);
        let mut behind_another = server.accept(&daemon);
        passes(&mut another, &mut behind_another);
        drop((another, behind_another));
        daemon.client_sessions_until(1);
    }
    daemon.until_descriptors(at_rest);
    for deed in [
        "stopped listener listener",
        "started listener listener",
        "stopped service service",
        "started service service",
    ] {
        until(&format!("two lines that say {deed}"), || {
            let log = daemon.process.log();
            let lines = log
                .iter()
                .filter(|line| line.ends_with(&format!(": {deed}")));
            (lines.count() == 2).then_some(())
        });
    }
}

#[test]
fn by_force_the_sessions_end_too() {
    for target in STOPPABLE {
        let (daemon, server) = with_a_server();
        let mut client = connect(daemon.listener("listener"));
        let mut behind = server.accept(&daemon);
        daemon.client_sessions_until(1);
        daemon.done("PUT", &format!("{target}/stop?force=yes"));
        assert_eq!(client.read_on(&mut [0]).unwrap_or(0), 0);
        assert_eq!(behind.read_on(&mut [0]).unwrap_or(0), 0);
        daemon.ended_as("2", "killed");
        daemon.process.line("the line about it", |line| {
            line.ends_with(", and ended 1 session (2)").then_some(())
        });
    }
}

#[test]
fn where_a_port_is_taken_meanwhile_it_stays_stopped() {
    let (daemon, server) = with_a_server();
    let address = daemon.listener("listener");
    for target in STOPPABLE {
        daemon.done("PUT", &format!("{target}/stop"));
        let taken = TcpListener::bind(address).unwrap();
        let answer = daemon.act("PUT", &format!("{target}/start"));
        assert_eq!(answer.status, 409);
        assert_eq!(
            in_words_of_glibc(&answer.detail()),
            format!(
                "listener listener: cannot listen for clients on {address}: Address already in use (os error 98)"
            )
        );
        assert_eq!(state(&daemon, "/v1/sessions/1"), "Stopped Listener Session");
        drop(taken);
        // A program that another test starts at this moment may have it a little longer.
        until("the port to be free again", || {
            (daemon.act("PUT", &format!("{target}/start")).status == 204).then_some(())
        });
        let _client = connect(address);
        drop(server.accept(&daemon));
    }
}

#[test]
fn a_unix_socket_goes_and_comes_back() {
    let server = Server::new();
    let directory = super::support::Directory::new();
    let path = directory.path().join("clients");
    let sections = one_service(server.address()).replace(
        "address=127.0.0.1\nport=0\n",
        &format!("socket={}\n", path.display()),
    );
    let daemon = Daemon::start_controlled("", &sections);
    daemon.done("PUT", "/v1/listeners/listener/stop");
    assert!(!path.exists());
    daemon.done("PUT", "/v1/listeners/listener/start");
    UnixStream::connect(&path).unwrap();
}

#[test]
fn a_drained_server_gets_no_session_and_keeps_those_that_it_has() {
    let (one, two) = (Server::new(), Server::new());
    let daemon = Daemon::start_controlled("", &two_servers(one.address(), two.address()));
    let address = daemon.listener("listener");
    let mut first = connect(address);
    let mut behind = one.accept(&daemon);
    daemon.done("PUT", "/v1/servers/one/set?state=drain");
    assert_eq!(state(&daemon, "/v1/servers/one"), "Running, Drained");
    for _ in 0..5 {
        let _client = connect(address);
        drop(two.accept(&daemon));
    }
    daemon.client_sessions_until(1);
    passes(&mut first, &mut behind);

    daemon.done("PUT", "/v1/servers/two/set?state=drain");
    let mut refused = connect(address);
    assert_eq!(refused.read_on(&mut [0]).unwrap(), 0);
    assert_eq!(connections(&daemon, "/v1/servers/one"), 1);
    drop(first);
    drop(behind);
    let done = daemon.get("/v1/servers/one?wait=30s");
    assert_eq!(done.integer("/data/attributes/statistics/connections"), 0);
    daemon.done("PUT", "/v1/servers/one/clear?state=drain");
    daemon.done("PUT", "/v1/servers/one/clear?state=maintenance");
    assert_eq!(state(&daemon, "/v1/servers/one"), "Running");
    let _client = connect(address);
    one.accept(&daemon);
}

#[test]
fn maintenance_ends_the_sessions_of_a_server_and_of_no_other() {
    let (one, two) = (Server::new(), Server::new());
    let daemon = Daemon::start_controlled("", &two_servers(one.address(), two.address()));
    let address = daemon.listener("listener");
    let mut first = connect(address);
    let mut behind_first = one.accept(&daemon);
    let mut second = connect(address);
    let mut behind_second = two.accept(&daemon);
    daemon.client_sessions_until(2);
    daemon.done("PUT", "/v1/servers/one/set?state=maintenance&force=yes");
    assert_eq!(first.read_on(&mut [0]).unwrap_or(0), 0);
    assert_eq!(behind_first.read_on(&mut [0]).unwrap_or(0), 0);
    daemon.ended_as("2", "server stopped");
    assert_eq!(state(&daemon, "/v1/servers/one"), "Running, Maintenance");
    passes(&mut second, &mut behind_second);
    let _third = connect(address);
    two.accept(&daemon);
    daemon.process.line("the line about it", |line| {
        line.ends_with(": set maintenance on server one, and ended 1 session (2)")
            .then_some(())
    });
    daemon.done("PUT", "/v1/servers/one/set?state=drain");
    assert_eq!(
        state(&daemon, "/v1/servers/one"),
        "Running, Drained, Maintenance"
    );
}

#[test]
fn who_is_on_the_way_to_a_server_that_is_drained_goes_to_another_one() {
    let (full, _fillers) = full_backlog("127.0.0.1");
    let other = Server::new();
    for setting in ["drain", "maintenance"] {
        let sections = two_servers(full.address(), other.address());
        let (daemon, _client) = at_last(|| {
            let daemon = Daemon::start_controlled("", &sections);
            let client = connect(daemon.listener("listener"));
            // The probes find out within two seconds that the first one does not answer.
            let on_its_way = until(
                "a connect to the first server, or none",
                || match connections(&daemon, "/v1/servers/one") {
                    1 => Some(true),
                    _ => (state(&daemon, "/v1/servers/one") == "Down").then_some(false),
                },
            );
            on_its_way.then_some((daemon, client))
        });
        daemon.done("PUT", &format!("/v1/servers/one/set?state={setting}"));
        assert_eq!(connections(&daemon, "/v1/servers/one"), 0);
        other.accept(&daemon);
    }
}

#[test]
fn what_cannot_be_set_is_refused_in_words() {
    let (daemon, _server) = with_a_server();
    for (target, status, detail) in [
        (
            "/v1/servers/server/set",
            400,
            "state must say what: drain or maintenance",
        ),
        (
            "/v1/servers/server/set?state=down",
            400,
            "state must be drain or maintenance",
        ),
        (
            "/v1/servers/server/clear?state=maintenance&force",
            400,
            "force goes with set and state=maintenance, which ends sessions anyway",
        ),
        (
            "/v1/servers/nobody/set?state=drain",
            404,
            "nobody is not a server",
        ),
        ("/v1/services/nobody/stop", 404, "nobody is not a service"),
        (
            "/v1/listeners/nobody/start",
            404,
            "nobody is not a listener",
        ),
        (
            "/v1/listeners/listener/start?force",
            400,
            "force is not a parameter of this request; there is pretty",
        ),
    ] {
        let answer = daemon.act("PUT", target);
        assert_eq!(answer.status, status, "{target}");
        assert_eq!(answer.detail(), detail);
    }
    for target in [
        "/v1/servers/server/set?state=drain",
        "/v1/services/service/stop",
    ] {
        let answer = daemon.act_with("PUT", target, "If-Match: \"x\"\r\n");
        assert_eq!(answer.status, 412);
    }
    assert_eq!(state(&daemon, "/v1/servers/server"), "Running");
    assert_eq!(state(&daemon, "/v1/services/service"), "Started");
}

#[test]
fn who_waits_is_answered_when_it_has_ended_or_the_time_is_up() {
    let (daemon, server) = with_a_server();
    let client = connect(daemon.listener("listener"));
    let behind = server.accept(&daemon);
    daemon.client_sessions_until(1);
    let targets = [
        "/v1/sessions/2",
        "/v1/services/service",
        "/v1/servers/server",
    ];
    for target in targets {
        let begin = Instant::now();
        let answer = daemon.request("GET", &format!("{target}?wait=200ms"));
        assert_eq!(answer.status, 200);
        assert!(begin.elapsed() >= Duration::from_millis(200));
        assert_eq!(
            answer.field("Content-Length"),
            Some(answer.body.len().to_string().as_str())
        );
    }
    let begin = Instant::now();
    let ended: Vec<Document> = thread::scope(|scope| {
        let wait = |target: &'static str| daemon.get(&format!("{target}?wait=60s&pretty"));
        let waiting: Vec<_> = targets
            .into_iter()
            .map(|target| scope.spawn(move || wait(target)))
            .collect();
        // Meanwhile others are answered as ever.
        for _ in 0..50 {
            daemon.get("/v1/sessions");
        }
        assert!(waiting.iter().all(|waiting| !waiting.is_finished()));
        drop((client, behind));
        let ended = waiting.into_iter().map(|waiting| waiting.join().unwrap());
        ended.collect()
    });
    assert!(begin.elapsed() < Duration::from_secs(30));
    assert_eq!(ended[0].text("/data/attributes/state"), "Freed session");
    for document in &ended[1..] {
        assert_eq!(
            document.integer("/data/attributes/statistics/connections"),
            0
        );
    }
    // What is over is not waited for.
    for target in targets {
        daemon.get(&format!("{target}?wait=60s"));
    }
    assert!(begin.elapsed() < Duration::from_secs(20));
    assert_eq!(
        daemon.request("GET", "/v1/sessions/2?wait=61s").detail(),
        "wait must be 60s at most; ask again after that"
    );
}

#[test]
fn eight_may_wait_and_whoever_gives_up_makes_room() {
    let (daemon, server) = with_a_server();
    let _client = connect(daemon.listener("listener"));
    let _behind = server.accept(&daemon);
    daemon.client_sessions_until(1);
    let target = "/v1/sessions/2?wait=60s";
    let wait = || {
        let mut stream = connect(daemon.admin());
        write!(stream, "GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        stream
    };
    let waiting: Vec<TcpStream> = (0..8).map(|_| wait()).collect();
    let is_full = || {
        let answer = daemon.request("GET", "/v1/sessions/2?wait=1ms");
        (answer.status == 503).then_some(answer)
    };
    let full = until("a ninth that is refused", is_full);
    assert_eq!(full.field("Retry-After"), Some("1"));
    assert_eq!(
        full.detail(),
        "eight requests wait already; ask again in a second"
    );
    // Without a wait there is nothing to refuse.
    daemon.get("/v1/sessions/2");
    drop(waiting);
    until("room for somebody else", || {
        is_full().is_none().then_some(())
    });
}

#[test]
fn those_who_wait_make_room_for_those_who_do_not() {
    let server = Server::new();
    let sections = one_service(server.address());
    let daemon = Daemon::start_controlled("admin_max_connections=8\n", &sections);
    let _client = connect(daemon.listener("listener"));
    let _behind = server.accept(&daemon);
    let waiting: Vec<TcpStream> = (0..7)
        .map(|_| {
            let mut stream = connect(daemon.admin());
            let request = "GET /v1/sessions/2?wait=60s HTTP/1.1\r\nHost: localhost\r\n\r\n";
            stream.write_all(request.as_bytes()).unwrap();
            stream
        })
        .collect();
    let begin = Instant::now();
    for _ in 0..5 {
        daemon.get("/v1");
    }
    assert!(begin.elapsed() < Duration::from_secs(10));
    assert_eq!(waiting.len(), 7);
}

#[test]
fn a_mariadb_server_in_maintenance_is_still_probed() {
    let server = Server::new();
    let sections = one_service(server.address()).replace("TCP", "MariaDBClient");
    server.say(GREETING);
    let daemon = Daemon::start_controlled("", &sections);
    daemon.done("PUT", "/v1/servers/server/set?state=maintenance");
    until("its version", || {
        let document = daemon.get("/v1/servers/server");
        document
            .has("/data/attributes/version_string")
            .then_some(())
    });
    assert_eq!(state(&daemon, "/v1/servers/server"), "Running, Maintenance");
}

#[test]
fn only_who_waits_gives_up_by_ending_the_stream() {
    let (daemon, server) = with_a_server();
    let _client = connect(daemon.listener("listener"));
    let _behind = server.accept(&daemon);
    daemon.client_sessions_until(1);
    let ask = |target: &str| {
        let request = format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let mut stream = connect(daemon.admin());
        stream.write_all(request.as_bytes()).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    for _ in 0..20 {
        let answer = ask("/v1/sessions?rdns=true");
        assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
        let begin = Instant::now();
        assert_eq!(ask("/v1/sessions/2?wait=60s"), "");
        assert!(begin.elapsed() < Duration::from_secs(30));
    }
}
