//! Clients that are not let in are told why, in their own protocol.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Output;
use std::time::{Duration, Instant};

use super::support::daemon::one_service;
use super::support::http::connect;
use super::support::mariadb::{GREETING, client};
use super::support::postgresql::psql;
use super::support::python::python;
use super::support::server::{closed_port, full_backlog};
use super::support::uninterrupted::ReadOn;
use super::support::{Daemon, Document, PATIENCE, Server, until};

/// A service whose clients speak this protocol.
fn of(protocol: &str, server: SocketAddr, service_has: &str) -> Daemon {
    let config = one_service(server)
        .replace("protocol=TCP", &format!("protocol={protocol}"))
        .replace("type=service\n", &format!("type=service\n{service_has}\n"));
    Daemon::start(&config)
}

/// A daemon that has all the sessions it may have; the one it has is returned.
fn full(protocol: &str) -> (Daemon, TcpStream) {
    let server = Server::new();
    let address = server.address();
    // A server that says nothing for two seconds is down.
    let is_postgresql = protocol == "PostgreSQLClient";
    server.say(if is_postgresql {
        ASKS_PASSWORD
    } else {
        GREETING
    });
    let daemon = of(protocol, address, "max_connections=1");
    let mut first = connect(daemon.listener("listener"));
    if is_postgresql {
        first.write_all(STARTUP).unwrap();
    }
    daemon.session_until("2", "a connected session", |session| {
        session.text("/data/attributes/state") == "Session ready for routing"
    });
    (daemon, first)
}

/// A server of PostgreSQL asks for a password in plain text.
const ASKS_PASSWORD: &[u8] = b"R\0\0\0\x08\0\0\0\x03";

const NO_SERVER: &str = "No server of service service is available";
const TOO_MANY: &str = "Too many connections: service service has its limit of 1";

/// What a program says that fails.
fn complaint(output: &Output) -> String {
    assert!(!output.status.success(), "{output:?}");
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn a_mariadb_client_reads_the_error() {
    let run = |daemon: &Daemon| {
        let mut command = client(daemon.listener("listener"));
        // One that wants encryption shows the error within another, that it is not authentic.
        complaint(
            &command
                .args(["--skip-ssl", "--execute", "SELECT 1"])
                .output()
                .unwrap(),
        )
    };
    let down = of("MariaDBClient", closed_port(), "");
    assert_eq!(run(&down), format!("ERROR 1429 (08004): {NO_SERVER}\n"));
    down.ended_as("2", "no server available");
    let (busy, _first) = full("MariaDBClient");
    assert_eq!(run(&busy), format!("ERROR 1040 (08004): {TOO_MANY}\n"));
    busy.ended_as("3", "too many connections");
}

#[test]
fn a_client_of_another_maker_reads_it_too() {
    let run = |daemon: &Daemon| {
        let address = daemon.listener("listener");
        let script = format!(
            "import pymysql\n\
             try:\n    pymysql.connect(host='127.0.0.1', port={}, user='app', connect_timeout=20)\n\
             except pymysql.err.OperationalError as error:\n    print(error.args)\n",
            address.port()
        );
        python(&script)
    };
    let down = of("MariaDBClient", closed_port(), "");
    assert_eq!(run(&down), format!("(1429, '{NO_SERVER}')\n"));
    let (busy, _first) = full("MariaDBClient");
    assert_eq!(run(&busy), format!("(1040, '{TOO_MANY}')\n"));
}

#[test]
fn psql_reads_the_error_whether_it_wishes_for_encryption_or_not() {
    let down = of("PostgreSQLClient", closed_port(), "");
    let (busy, _first) = full("PostgreSQLClient");
    for mode in ["disable", "prefer"] {
        for (daemon, words) in [(&down, NO_SERVER), (&busy, TOO_MANY)] {
            let mut command = psql(daemon.listener("listener"), "postgres");
            let output = command
                .env("PGSSLMODE", mode)
                .args(["-c", "SELECT 1"])
                .output();
            let complaint = complaint(&output.unwrap());
            assert!(
                complaint.contains(&format!("FATAL:  {words}\n")),
                "{complaint}"
            );
        }
    }
    down.ended_as("2", "no server available");
    busy.ended_as("3", "too many connections");
    let mut command = psql(down.listener("listener"), "postgres");
    let output = command
        .env("PGSSLMODE", "require")
        .args(["-c", "SELECT 1"])
        .output();
    let complaint = complaint(&output.unwrap());
    assert!(
        complaint.contains("server does not support SSL"),
        "{complaint}"
    );
}

/// A request for an encrypted connection, of two kinds, and one for a session.
const SSL: &[u8] = &[0, 0, 0, 8, 4, 210, 22, 47];
const GSS: &[u8] = &[0, 0, 0, 8, 4, 210, 22, 48];
const STARTUP: &[u8] = b"\0\0\0\x16\0\x03\0\0user\0someone\0\0";

#[test]
fn a_client_of_postgresql_is_answered_however_its_request_is_cut() {
    let down = of("PostgreSQLClient", closed_port(), "");
    for cut in 1..STARTUP.len() {
        let mut client = connect(down.listener("listener"));
        for request in [SSL, GSS] {
            client.write_all(&request[..cut % 8]).unwrap();
            client.write_all(&request[cut % 8..]).unwrap();
            let mut answer = [0];
            client.read_exact(&mut answer).unwrap();
            assert_eq!(&answer, b"N");
        }
        client.write_all(&STARTUP[..cut]).unwrap();
        client.write_all(&STARTUP[cut..]).unwrap();
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).unwrap();
        assert_eq!(answer[0], b'E');
        assert_eq!(
            answer[1..5],
            u32::try_from(answer.len() - 1).unwrap().to_be_bytes()
        );
        let text = String::from_utf8_lossy(&answer);
        assert!(
            text.contains("SFATAL\0VFATAL\0C57P03\0") && text.contains(&format!("M{NO_SERVER}\0")),
            "{text:?}"
        );
    }
}

#[test]
fn what_a_refused_client_sends_instead_only_ends_its_own_session() {
    let down = of("PostgreSQLClient", closed_port(), "");
    let long = [&[0, 0, 0x40, 0, 0, 3, 0, 0][..], &vec![b'x'; 20_000]].concat();
    let requests: [&[u8]; 6] = [
        b"GET / HTTP/1.1\r\n\r\n",
        &[0xff; 100],
        &[0, 0, 0, 3],
        &[0, 0, 0, 16, 4, 210, 22, 46, 0, 0, 0, 1, 0, 0, 0, 2],
        &long,
        &SSL.repeat(100),
    ];
    for request in requests {
        let mut client = connect(down.listener("listener"));
        // It may be cut off before it has said all of it.
        let _ = client.write_all(request);
        let mut rest = Vec::new();
        let _ = client.read_to_end(&mut rest);
        assert!(rest.iter().all(|byte| *byte == b'N'), "{rest:?}");
    }
    // Half a request, and then nothing.
    let mut client = connect(down.listener("listener"));
    client.write_all(&STARTUP[..9]).unwrap();
    client.shutdown(std::net::Shutdown::Write).unwrap();
    // What it had said was never taken, so it sees a reset.
    assert!(client.read_on(&mut [0]).is_err());
    down.client_sessions_until(0);
}

#[test]
fn who_waits_for_a_server_when_the_program_stops_is_told_so() {
    for (protocol, speaks, words) in [
        (
            "MariaDBClient",
            &b""[..],
            &b"\xff\x1d\x04#08004Service service is stopped"[..],
        ),
        (
            "PostgreSQLClient",
            STARTUP,
            b"C57P03\0MService service is stopped\0",
        ),
        ("TCP", b"", b""),
    ] {
        let (silent, _fillers) = full_backlog("127.0.0.1");
        let mut daemon = of(protocol, silent.address(), "");
        let mut client = connect(daemon.listener("listener"));
        client.write_all(speaks).unwrap();
        daemon.client_sessions_until(1);
        let begin = Instant::now();
        daemon.process.signal("TERM");
        let mut heard = Vec::new();
        client.read_to_end(&mut heard).unwrap();
        assert!(
            heard.windows(words.len().max(1)).any(|part| part == words) || words == heard,
            "{protocol}: {:?}",
            String::from_utf8_lossy(&heard)
        );
        assert_eq!(daemon.process.wait().code(), Some(0));
        assert!(begin.elapsed() < Duration::from_secs(5));
    }
}

#[test]
fn a_refused_client_that_says_nothing_takes_nobodys_place() {
    let server = Server::new();
    // Nothing answers probes there.
    let config = one_service(server.address())
        .replace("protocol=TCP", "protocol=PostgreSQLClient")
        .replace("type=service\n", "type=service\nmax_connections=1\n");
    let daemon = Daemon::start(&format!("monitor_interval=0\n{config}"));
    let address = daemon.listener("listener");
    let mut first = connect(address);
    first.write_all(STARTUP).unwrap();
    let mut behind = server.accept(&daemon);
    behind.write_all(ASKS_PASSWORD).unwrap();
    first.read_exact(&mut [0; ASKS_PASSWORD.len()]).unwrap();
    let _silent: Vec<TcpStream> = (0..10).map(|_| connect(address)).collect();
    until("the silent ones", || {
        let sessions = daemon.client_sessions();
        (sessions.len() == 11).then_some(())
    });
    drop((first, behind));
    daemon.ended("2");
    let mut next = connect(address);
    next.set_read_timeout(Some(PATIENCE)).unwrap();
    next.write_all(STARTUP).unwrap();
    let mut behind = server.accept(&daemon);
    behind.read_exact(&mut [0; STARTUP.len()]).unwrap();
}

#[test]
fn a_refused_client_that_has_said_something_is_no_health_check() {
    let config = one_service(closed_port()).replace("protocol=TCP", "protocol=PostgreSQLClient");
    until("a round in which no health check is held up", || {
        let daemon = Daemon::start(&format!("admin_history=2\n{config}"));
        for _ in 0..3 {
            let mut client = connect(daemon.listener("listener"));
            client.write_all(STARTUP).unwrap();
            client.read_to_end(&mut Vec::new()).unwrap();
            daemon.client_sessions_until(0);
        }
        for _ in 0..10 {
            drop(connect(daemon.listener("listener")));
        }
        daemon.client_sessions_until(0);
        let closed = daemon.get("/v1/sessions?state=closed").elements("/data");
        // One that stays for a tenth of a second is a session like others.
        let is_held_up = |row: &Document| {
            let id: u64 = row.text("/id").parse().unwrap();
            id > 4 && row.seconds("/attributes/seconds_alive") > Duration::ZERO
        };
        if closed.iter().any(is_held_up) {
            return None;
        }
        let ids: Vec<String> = closed.iter().map(|row| row.text("/id")).collect();
        assert_eq!(ids, ["3", "4"]);
        Some(())
    });
}

#[test]
fn refused_clients_that_say_nothing_do_not_take_the_sessions_of_others() {
    let (echo, _) = Server::new().echo();
    let config = one_service(closed_port()).replace("protocol=TCP", "protocol=PostgreSQLClient");
    let other = one_service(echo)
        .replace("[server]", "[other-server]")
        .replace("[service]", "[other-service]")
        .replace("[listener]", "[other]")
        .replace("servers=server", "servers=other-server")
        .replace("service=service", "service=other-service");
    let daemon = Daemon::start_limited(&format!("{config}{other}"), 80);
    until("a server that is known to be down", || {
        let state = daemon
            .get("/v1/servers/server")
            .text("/data/attributes/state");
        (state == "Down").then_some(())
    });
    let _silent: Vec<TcpStream> = (0..60)
        .map(|_| connect(daemon.listener("listener")))
        .collect();
    let begin = Instant::now();
    let mut client = connect(daemon.listener("other"));
    client.write_all(b"x").unwrap();
    client.read_exact(&mut [0]).unwrap();
    assert!(
        begin.elapsed() < Duration::from_secs(5),
        "{:?}",
        begin.elapsed()
    );
}
