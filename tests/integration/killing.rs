//! Sessions that an operator ends: one, or all that a filter finds.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use super::support::daemon::one_service;
use super::support::http::connect;
use super::support::mariadb::{MariaDb, client, query, text};
use super::support::server::full_backlog;
use super::support::uninterrupted::ReadOn;
use super::support::{Daemon, Server, at_last, until};

/// A daemon, and the server behind it that the test plays.
fn with_a_server() -> (Daemon, Server) {
    let server = Server::new();
    let daemon = Daemon::start_controlled("", &one_service(server.address()));
    (daemon, server)
}

/// A client, the server's end, and the session's id.
fn through(daemon: &Daemon, server: &Server) -> (TcpStream, TcpStream, String) {
    let client = connect(daemon.listener("listener"));
    let behind = server.accept(daemon);
    let port = client.local_addr().unwrap().port();
    let id = until("the session", || {
        daemon.client_sessions().into_iter().find_map(|session| {
            (session.integer("/attributes/port") == u64::from(port)).then(|| session.text("/id"))
        })
    });
    (client, behind, id)
}

/// The connection has ended, in order or not.
fn has_ended(stream: &mut TcpStream) -> bool {
    match stream.read_on(&mut [0]) {
        Ok(length) => length == 0,
        Err(error) => error.kind() == ErrorKind::ConnectionReset,
    }
}

fn state(daemon: &Daemon, id: &str) -> String {
    let session = daemon.get(&format!("/v1/sessions/{id}"));
    session.text("/data/attributes/state")
}

#[test]
fn a_session_that_is_killed_is_gone_from_both_sides_when_the_answer_comes() {
    let (daemon, server) = with_a_server();
    let (mut client, mut behind, id) = through(&daemon, &server);
    let (mut other, mut behind_other, other_id) = through(&daemon, &server);
    daemon.done("DELETE", &format!("/v1/sessions/{id}"));
    let session = daemon.get(&format!("/v1/sessions/{id}"));
    assert_eq!(session.text("/data/attributes/state"), "Freed session");
    assert_eq!(session.text("/data/attributes/close_reason"), "killed");
    assert!(has_ended(&mut client) && has_ended(&mut behind));

    let again = daemon.act("DELETE", &format!("/v1/sessions/{id}"));
    assert_eq!(again.status, 404);
    assert_eq!(
        again.detail(),
        format!("session {id} has ended already: killed")
    );
    // Nobody else has noticed.
    other.write_all(b"x").unwrap();
    behind_other.read_exact(&mut [0]).unwrap();
    assert_eq!(state(&daemon, &other_id), "Session ready for routing");
    let service = daemon.get("/v1/services/service");
    assert_eq!(
        service.integer("/data/attributes/statistics/closed/killed"),
        1
    );
    daemon.process.line("the line about it", |line| {
        (line.starts_with("<6>user ") && line.ends_with(&format!(": killed session {id}")))
            .then_some(())
    });
}

#[test]
fn with_a_ttl_it_goes_on_until_then_and_a_later_one_only_shortens_that() {
    let (daemon, server) = with_a_server();
    let (mut client, mut behind, id) = through(&daemon, &server);
    let target = |ttl: &str| format!("/v1/sessions/{id}?ttl={ttl}");
    daemon.done("DELETE", &target("1h"));
    assert_eq!(state(&daemon, &id), "Stopping session");
    client.write_all(b"still there").unwrap();
    behind.read_exact(&mut [0; 11]).unwrap();
    assert_eq!(state(&daemon, &id), "Stopping session");

    let begin = Instant::now();
    daemon.done("DELETE", &target("5s"));
    daemon.done("DELETE", &target("30s"));
    daemon.done("DELETE", &target("2m"));
    assert!(has_ended(&mut client) && has_ended(&mut behind));
    let took = begin.elapsed();
    assert!(took >= Duration::from_secs(5), "{took:?}");
    daemon.ended_as(&id, "killed");
}

#[test]
fn a_session_that_ends_before_its_ttl_has_ended_by_itself() {
    let (daemon, server) = with_a_server();
    let (client, mut behind, id) = through(&daemon, &server);
    daemon.done("DELETE", &format!("/v1/sessions/{id}?ttl=1h"));
    drop(client);
    assert!(has_ended(&mut behind));
    drop(behind);
    daemon.ended_as(&id, "client closed");
}

#[test]
fn a_session_that_waits_for_its_server_is_killed_as_well() {
    let (server, _fillers) = full_backlog("127.0.0.1");
    for ttl in ["", "?ttl=100ms"] {
        let sections = one_service(server.address());
        let (daemon, mut client, id) =
            Daemon::with_client_on_its_way(|| Daemon::start_controlled("", &sections));
        daemon.done("DELETE", &format!("/v1/sessions/{id}{ttl}"));
        assert!(has_ended(&mut client));
        daemon.ended_as(&id, "killed");
        let server = daemon.get("/v1/servers/server");
        assert_eq!(server.integer("/data/attributes/statistics/connections"), 0);
    }
}

#[test]
fn what_cannot_be_killed_is_refused_in_words() {
    let (daemon, _server) = with_a_server();
    for (target, status, detail) in [
        (
            "/v1/sessions/1",
            403,
            "session 1 is that of listener listener, which can be stopped: PUT /v1/listeners/listener/stop",
        ),
        ("/v1/sessions/2", 404, "2 is not a session"),
        ("/v1/sessions/x", 404, "x is not a session"),
        (
            "/v1/sessions/1?ttl=soon",
            400,
            "ttl must be a whole number with ms, s, m or h, such as 10s",
        ),
        (
            "/v1/sessions/1?force",
            400,
            "force is not a parameter of this request; there are pretty and ttl",
        ),
        (
            "/v1/sessions",
            400,
            "a filter must say which sessions are to be killed, such as filter[attributes.idle]=gt(600)",
        ),
        (
            "/v1/sessions?sort=id",
            400,
            "sort is not a parameter of this request; there are pretty, filter, filter[PATH], ttl and dry_run",
        ),
    ] {
        let answer = daemon.act("DELETE", target);
        assert_eq!(answer.status, status, "{target}");
        assert_eq!(answer.detail(), detail);
    }
    assert_eq!(state(&daemon, "1"), "Listener Session");
}

#[test]
fn preconditions_hold_before_the_deed() {
    let (daemon, server) = with_a_server();
    let (mut client, mut behind, id) = through(&daemon, &server);
    let target = format!("/v1/sessions/{id}");
    let tag = daemon.act("GET", &target).field("ETag").unwrap().to_owned();
    for fields in [
        format!("If-Match: {tag}\r\n"),
        "If-Match: \"x\"\r\n".to_owned(),
        "If-None-Match: *\r\n".to_owned(),
        "If-Unmodified-Since: Sun, 06 Nov 1994 08:49:37 GMT\r\n".to_owned(),
    ] {
        for target in [&target, "/v1/sessions?filter[id]=ge(2)"] {
            assert_eq!(daemon.act_with("DELETE", target, &fields).status, 412);
        }
    }
    client.write_all(b"x").unwrap();
    behind.read_exact(&mut [0]).unwrap();
    assert_eq!(
        daemon.act_with("DELETE", &target, "If-Match: *\r\n").status,
        204
    );
    daemon.ended_as(&id, "killed");
}

/// Two services with a listener each, before one server.
fn two_services(server: &Server, service: &str, other: &str) -> String {
    let mut text = format!(
        "[server]\ntype=server\naddress=127.0.0.1\nport={}\n",
        server.address().port()
    );
    for (name, listener) in [(service, "listener"), (other, "other")] {
        let sections = format!(
            "[{name}]\ntype=service\nservers=server\n\
             [{listener}]\ntype=listener\nservice={name}\nprotocol=TCP\naddress=127.0.0.1\nport=0\n"
        );
        text.push_str(&sections);
    }
    text
}

#[test]
fn a_thousand_sessions_are_killed_by_one_filter_in_a_tenth_of_a_second() {
    // A neighbour on the same machine can take any one try's time.
    at_last(|| (time_to_kill_a_thousand() < Duration::from_millis(100)).then_some(()));
}

/// Kills a thousand sessions among others, and says how long that takes.
fn time_to_kill_a_thousand() -> Duration {
    let server = Server::new();
    let sections = two_services(&server, "service", "spared");
    let daemon = Daemon::start_controlled("", &sections);
    let held = server.hold();
    let open = |listener: &str, count: usize| -> Vec<TcpStream> {
        let address = daemon.listener(listener);
        (0..count).map(|_| connect(address)).collect()
    };
    let (mut doomed, spared) = (open("listener", 1000), open("other", 50));
    let filter = "filter=/relationships/services/data/0/id=%22service%22";
    let mut ready = daemon.client_sessions_until(1050);
    until("servers for all of them", || {
        ready = daemon.client_sessions();
        let is_ready = |session: &super::support::Document| {
            session.text("/attributes/state") == "Session ready for routing"
        };
        ready.iter().all(is_ready).then_some(())
    });

    let target = format!("/v1/sessions?{filter}&filter[attributes.protocol]=eq(%22TCP%22)");
    let dry = daemon.act("DELETE", &format!("{target}&dry_run=true"));
    assert_eq!(dry.status, 200);
    assert_eq!(dry.document().integer("/meta/killed"), 1000);
    assert_eq!(daemon.client_sessions().len(), 1050);

    let begin = Instant::now();
    let answer = daemon.act("DELETE", &target);
    assert_eq!(answer.status, 200, "{answer:?}");
    for client in &mut doomed {
        assert!(has_ended(client));
    }
    let took = begin.elapsed();

    let document = answer.document();
    assert_eq!(document.integer("/meta/killed"), 1000);
    assert_eq!(
        document.text("/links/self"),
        "http://localhost/v1/sessions/"
    );
    let killed: Vec<String> = document
        .elements("/meta/ids")
        .iter()
        .map(|id| id.text(""))
        .collect();
    let spared_ids = |service: &str| -> Vec<String> {
        let of = |session: &&super::support::Document| {
            session.text("/relationships/services/data/0/id") == service
        };
        ready.iter().filter(of).map(|row| row.text("/id")).collect()
    };
    assert_eq!(killed, spared_ids("service"));
    assert_eq!(daemon.client_sessions_until(50).len(), 50);
    assert_eq!(spared.len(), 50);

    let closed = daemon.get("/v1/sessions?state=closed").elements("/data");
    assert_eq!(closed.len(), 1000);
    for session in closed {
        assert_eq!(session.text("/attributes/close_reason"), "killed");
    }
    // The server has lost a thousand of its connections, and no other.
    let ended = until("the ends of all connections", || {
        let mut held = held.lock().unwrap();
        for stream in held.iter() {
            stream.set_nonblocking(true).unwrap();
        }
        let ended = held.iter_mut().filter_map(|stream| {
            matches!(stream.read_on(&mut [0]), Ok(0)).then(|| stream.peer_addr().unwrap().port())
        });
        let ended: Vec<u16> = ended.collect();
        (ended.len() >= 1000).then_some(ended)
    });
    let local_ports = daemon.local_ports();
    assert_eq!(local_ports.len(), 50);
    assert!(local_ports.iter().all(|port| !ended.contains(port)));
    let line = daemon.process.line("the line about it", |line| {
        line.contains("killed 1000 sessions (")
            .then(|| line.to_owned())
    });
    assert!(line.len() < 1000, "{line}");
    took
}

/// A MariaDB server, a daemon before it, and a client in the middle of a query.
struct Sleeping {
    mariadb: MariaDb,
    daemon: Daemon,
    client: Child,
    id: String,
}

impl Sleeping {
    fn start(statement: &str) -> Self {
        let mariadb = MariaDb::start("one");
        let sections = one_service(mariadb.address()).replace("TCP", "MariaDBClient");
        let daemon = Daemon::start_controlled("", &sections);
        let mut command = client(daemon.listener("listener"));
        command.arg("--execute").arg(statement);
        let client = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let id = daemon.client_sessions_until(1)[0].text("/id");
        let sleeping = Self {
            mariadb,
            daemon,
            client,
            id,
        };
        until("the middle of the query", || {
            (sleeping.queries() == "1").then_some(())
        });
        sleeping
    }

    /// How many queries of ours the server is at work on.
    fn queries(&self) -> String {
        let statement = "SELECT COUNT(*) FROM information_schema.PROCESSLIST \
            WHERE ID <> CONNECTION_ID() AND INFO LIKE '%SLEEP%'";
        query(self.mariadb.address(), statement)
    }

    fn kill(&self, parameters: &str) {
        let target = format!("/v1/sessions/{}{parameters}", self.id);
        self.daemon.done("DELETE", &target);
    }

    /// Waits until the client has lost its connection.
    fn loses_its_connection(self) {
        let output = self.client.wait_with_output().unwrap();
        assert!(!output.status.success());
        let message = String::from_utf8(output.stderr).unwrap();
        assert!(message.contains("ERROR 2013"), "{message}");
        self.daemon.ended_as(&self.id, "killed");
    }
}

#[test]
fn a_mariadb_client_is_killed_in_the_middle_of_a_query() {
    let sleeping = Sleeping::start("SELECT SLEEP(60)");
    let begin = Instant::now();
    sleeping.kill("");
    // The server looks after a few seconds whether somebody still waits.
    until("the end of the query", || {
        (sleeping.queries() == "0").then_some(())
    });
    sleeping.loses_its_connection();
    assert!(begin.elapsed() < Duration::from_secs(50));
}

#[test]
fn a_mariadb_client_is_killed_when_its_ttl_is_over() {
    let sleeping = Sleeping::start("SELECT SLEEP(60)");
    let begin = Instant::now();
    sleeping.kill("?ttl=5s");
    let target = format!("/v1/sessions/{}", sleeping.id);
    let session = sleeping.daemon.get(&target);
    assert_eq!(session.text("/data/attributes/state"), "Stopping session");
    assert_eq!(session.text("/data/attributes/user"), "root");
    sleeping.loses_its_connection();
    let took = begin.elapsed();
    assert!(took >= Duration::from_secs(5), "{took:?}");
    assert!(took < Duration::from_secs(50), "{took:?}");
}

#[test]
fn a_mariadb_client_finishes_before_its_ttl() {
    let sleeping = Sleeping::start("SELECT SLEEP(8), 6 * 7");
    sleeping.kill("?ttl=60s");
    assert_eq!(text(sleeping.client.wait_with_output().unwrap()), "0\t42");
    // Which side is the first to close after a quit is open.
    let ended = sleeping.daemon.ended(&sleeping.id);
    let reason = ended.text("/data/attributes/close_reason");
    assert!(
        ["client closed", "server closed"].contains(&reason.as_str()),
        "{reason}"
    );
}
