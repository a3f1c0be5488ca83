//! Why sessions of databases end: real servers and their usual clients, plain and
//! under TLS.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use super::support::daemon::one_service;
use super::support::http::connect;
use super::support::mariadb::{GREETING, MariaDb, client, query};
use super::support::postgresql::{PostgreSql, psql};
use super::support::prometheus::Metrics;
use super::support::python::python;
use super::support::{Daemon, Server, until};

/// How often each client comes and goes.
const TIMES: usize = 100;

fn of(protocol: &str, server: SocketAddr) -> Daemon {
    let config = one_service(server).replace("protocol=TCP", &format!("protocol={protocol}"));
    Daemon::start_controlled("", &config)
}

/// How many sessions of the history ended for which reason, once so many have ended.
fn reasons(daemon: &Daemon, count: usize) -> BTreeMap<String, usize> {
    let closed = until("the end of all sessions", || {
        let closed = daemon.get("/v1/sessions?state=closed").elements("/data");
        (closed.len() == count).then_some(closed)
    });
    let mut reasons = BTreeMap::new();
    for session in closed {
        *reasons
            .entry(session.text("/attributes/close_reason"))
            .or_default() += 1;
    }
    reasons
}

fn all_closed_by_the_client() -> BTreeMap<String, usize> {
    BTreeMap::from([("client closed".to_owned(), TIMES)])
}

#[test]
fn orderly_ends_of_pymysql_and_mariadb_are_the_clients() {
    let server = MariaDb::start_with_tls("one");
    for tls in [false, true] {
        let daemon = of("MariaDBClient", server.address());
        let port = daemon.listener("listener").port();
        let options = if tls {
            "ssl={'check_hostname': False, 'verify_mode': 'none'}"
        } else {
            "ssl_disabled=True"
        };
        python(&format!(
            "import pymysql\n\
             for _ in range({TIMES}):\n    \
                 c = pymysql.connect(host='127.0.0.1', port={port}, user='root', {options})\n    \
                 cursor = c.cursor()\n    cursor.execute('SELECT 1')\n    c.close()\n"
        ));
        assert_eq!(reasons(&daemon, TIMES), all_closed_by_the_client(), "{tls}");

        let daemon = of("MariaDBClient", server.address());
        for _ in 0..TIMES {
            let output = client(daemon.listener("listener"))
                .arg(if tls { "--ssl" } else { "--skip-ssl" })
                .args(["-e", "SELECT 1"])
                .stdin(Stdio::null())
                .output()
                .unwrap();
            assert!(output.status.success(), "{output:?}");
        }
        assert_eq!(reasons(&daemon, TIMES), all_closed_by_the_client(), "{tls}");
    }
}

#[test]
fn orderly_ends_of_psycopg_and_psql_are_the_clients() {
    let server = PostgreSql::start_with_tls();
    for mode in ["disable", "require"] {
        let daemon = of("PostgreSQLClient", server.address());
        let port = daemon.listener("listener").port();
        python(&format!(
            "import psycopg\n\
             for _ in range({TIMES}):\n    \
                 c = psycopg.connect(host='127.0.0.1', port={port}, user='postgres', \
                 password='a password', dbname='postgres', sslmode='{mode}')\n    \
                 c.execute('SELECT 1').fetchall()\n    c.close()\n"
        ));
        assert_eq!(
            reasons(&daemon, TIMES),
            all_closed_by_the_client(),
            "{mode}"
        );

        let daemon = of("PostgreSQLClient", server.address());
        for _ in 0..TIMES {
            let output = psql(daemon.listener("listener"), "postgres")
                .env("PGSSLMODE", mode)
                .args(["-c", "SELECT 1"])
                .output()
                .unwrap();
            assert!(output.status.success(), "{output:?}");
        }
        assert_eq!(
            reasons(&daemon, TIMES),
            all_closed_by_the_client(),
            "{mode}"
        );
    }
}

#[test]
fn a_refused_login_is_called_that_in_document_event_log_and_metrics() {
    let mariadb = MariaDb::start("one");
    let postgresql = PostgreSql::start();
    query(
        mariadb.address(),
        "CREATE DATABASE shop; CREATE USER ann IDENTIFIED BY 'a password'",
    );
    for (protocol, server, code) in [
        ("MariaDBClient", mariadb.address(), "1045"),
        ("PostgreSQLClient", postgresql.address(), "28P01"),
    ] {
        let daemon = of(protocol, server);
        let address = daemon.listener("listener");
        let (mut command, user) = if protocol == "MariaDBClient" {
            let mut command = client(address);
            command.args([
                "--skip-ssl",
                "--user=ann",
                "--password=wrong",
                "--database=shop",
            ]);
            command.args(["-e", "SELECT 1"]);
            (command, "ann")
        } else {
            let mut command = psql(address, "shop");
            command
                .env("PGPASSWORD", "wrong")
                .env("PGSSLMODE", "disable");
            command.args(["-c", "SELECT 1"]);
            (command, "postgres")
        };
        assert!(!command.output().unwrap().status.success());
        let ended = until("a session that was refused", || {
            let closed = daemon.get("/v1/sessions?state=closed").elements("/data");
            closed
                .into_iter()
                .find(|session| session.text("/attributes/close_reason") == "login refused")
        });
        assert_eq!(ended.text("/attributes/login_error/code"), code);
        let message = ended.text("/attributes/login_error/message");
        assert!(message.contains(user), "{message}");
        assert_eq!(ended.text("/attributes/user"), user);
        assert_eq!(ended.text("/attributes/database"), "shop");
        daemon.process.line("the refused login", |line| {
            let words = format!("server server refused the login of {user}: error {code}");
            line.contains(&words).then_some(())
        });
        let metric = "sessiond_sessions_closed_total{service=\"service\",reason=\"login_refused\"}";
        assert!(Metrics::of(&daemon).number(metric) >= 1);
        // It says nothing about the server.
        let state = daemon
            .get("/v1/servers/server")
            .text("/data/attributes/state");
        assert_eq!(state, "Running");
    }
}

#[test]
fn refused_logins_fill_ten_lines_of_the_log_in_a_second() {
    let server = Server::new();
    let address = server.address();
    server.say(&[GREETING, b"\x16\0\0\x02\xff\x15\x04#28000Access denied"].concat());
    let daemon = of("MariaDBClient", address);
    let login = b"\x25\0\0\x01\x05\xa2\0\0\0\0\0\x01\x21\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0ann\0\0";
    let begin = Instant::now();
    let clients: Vec<_> = (0..50)
        .map(|_| {
            let mut client = connect(daemon.listener("listener"));
            client.write_all(login).unwrap();
            client
        })
        .collect();
    until("fifty refused logins", || {
        let count = daemon
            .client_sessions()
            .iter()
            .filter(|session| session.has("/attributes/login_error"))
            .count();
        (count == 50).then_some(())
    });
    let seconds = usize::try_from(begin.elapsed().as_secs()).unwrap() + 2;
    drop(clients);
    let lines = daemon.process.log();
    let count = lines
        .iter()
        .filter(|line| line.contains("refused the login"))
        .count();
    assert!(
        (1..=10 * seconds).contains(&count),
        "{count} in {seconds} s"
    );
}

#[test]
fn a_servers_end_ends_the_session_of_a_client_that_sleeps() {
    let mariadb = MariaDb::start("one");
    let postgresql = PostgreSql::start();
    let daemon = of("MariaDBClient", mariadb.address());
    let mut sleeps = client(daemon.listener("listener"));
    let mut sleeps = sleeps
        .arg("--skip-ssl")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let session = daemon.session_until("2", "the login", |session| {
        session.has("/data/attributes/user")
    });
    let id = session.integer("/data/attributes/connections/0/connection_id");
    query(mariadb.address(), &format!("KILL CONNECTION {id}"));
    daemon.ended_as("2", "server closed");
    let statistics = daemon.get("/v1/servers/server");
    assert_eq!(
        statistics.integer("/data/attributes/statistics/connections"),
        0
    );
    drop(sleeps.stdin.take());
    sleeps.wait().unwrap();

    let daemon = of("PostgreSQLClient", postgresql.address());
    let mut command = psql(daemon.listener("listener"), "postgres");
    let mut sleeps = command
        .env("PGSSLMODE", "disable")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let session = daemon.session_until("2", "the login", |session| {
        session.has("/data/attributes/user")
    });
    let pid = session.integer("/data/attributes/connections/0/connection_id");
    let output = psql(postgresql.address(), "postgres")
        .args(["-c", &format!("SELECT pg_terminate_backend({pid})")])
        .output();
    assert!(output.unwrap().status.success());
    daemon.ended_as("2", "server closed");
    drop(sleeps.stdin.take());
    sleeps.wait().unwrap();
}

#[test]
fn a_half_closed_tcp_session_goes_on_shows_which_half_and_has_a_limit() {
    let server = Server::new();
    let config = one_service(server.address())
        .replace("type=service\n", "type=service\nhalf_close_timeout=2s\n");
    let daemon = Daemon::start(&config);
    for client_first in [true, false] {
        let mut client = connect(daemon.listener("listener"));
        let mut behind = server.accept(&daemon);
        let port = u64::from(client.local_addr().unwrap().port());
        let (first, second, half, reason) = if client_first {
            (&mut client, &mut behind, "client", "client closed")
        } else {
            (&mut behind, &mut client, "server", "server closed")
        };
        first.shutdown(std::net::Shutdown::Write).unwrap();
        assert_eq!(second.read(&mut [0]).unwrap(), 0);
        let id = until("a session that is half closed", || {
            let sessions = daemon.client_sessions();
            let session = sessions
                .iter()
                .find(|session| session.integer("/attributes/port") == port)?;
            session
                .has("/attributes/half_closed")
                .then(|| (session.text("/id"), session.text("/attributes/half_closed")))
        });
        assert_eq!(id.1, half);
        // The other direction is open, and each byte begins the limit anew.
        second.write_all(b"still here").unwrap();
        first.read_exact(&mut [0; 10]).unwrap();
        let ended = daemon.ended(&id.0);
        assert_eq!(ended.text("/data/attributes/close_reason"), reason);
        assert!(!ended.has("/data/attributes/half_closed"));
        let idle = ended.seconds("/data/attributes/idle");
        assert!(idle >= Duration::from_secs(2), "{idle:?}");
    }
}

#[test]
fn a_changed_database_and_application_name_are_shown() {
    let mariadb = MariaDb::start("one");
    query(
        mariadb.address(),
        "CREATE DATABASE shop; CREATE DATABASE depot",
    );
    let daemon = of("MariaDBClient", mariadb.address());
    let port = daemon.listener("listener").port();
    let script = format!(
        "import pymysql, sys\n\
         c = pymysql.connect(host='127.0.0.1', port={port}, user='root', database='shop', ssl_disabled=True)\n\
         c.select_db('depot')\nprint('there', flush=True)\nsys.stdin.readline()\n"
    );
    let mut running = super::support::python::python_program()
        .args(["-c", &script])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    daemon.session_until("2", "the other database", |session| {
        session.has("/data/attributes/database")
            && session.text("/data/attributes/database") == "depot"
    });
    drop(running.stdin.take());
    running.wait().unwrap();

    let postgresql = PostgreSql::start();
    let daemon = of("PostgreSQLClient", postgresql.address());
    let mut command = psql(daemon.listener("listener"), "postgres");
    let mut running = command
        .env("PGSSLMODE", "disable")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut input = running.stdin.take().unwrap();
    writeln!(input, "SET application_name = 'till';").unwrap();
    daemon.session_until("2", "the other name", |session| {
        let name = "/data/attributes/client/connection_attributes/application_name";
        session.has(name) && session.text(name) == "till"
    });
    let version = daemon
        .get("/v1/servers/server")
        .text("/data/attributes/version_string");
    assert!(version.starts_with('1'), "{version}");
    drop(input);
    running.wait().unwrap();
}

#[test]
fn a_client_that_says_nothing_has_ten_seconds_and_a_login_as_long_as_it_takes() {
    // The server checks the password for twelve seconds.
    let server = Server::new();
    let address = server.address();
    server.say_after(Duration::from_secs(12), b"R\0\0\0\x08\0\0\0\0Z\0\0\0\x05I");
    let config = one_service(address).replace("protocol=TCP", "protocol=PostgreSQLClient");
    let slow = Daemon::start_with(
        "monitor_interval=0\n",
        &config,
        super::support::daemon::program(),
    );
    let mut patient = connect(slow.listener("listener"));
    patient
        .write_all(b"\0\0\0\x16\0\x03\0\0user\0someone\0\0")
        .unwrap();

    let server = Server::new();
    let address = server.address();
    server.say(GREETING);
    let daemon = of("MariaDBClient", address);
    let begin = Instant::now();
    let silent = connect(daemon.listener("listener"));
    // A byte before the greeting switches nothing off.
    let mut early = connect(daemon.listener("listener"));
    early.write_all(b"\x25").unwrap();
    for id in ["2", "3"] {
        daemon.ended_as(id, "connect timeout");
    }
    assert!(begin.elapsed() >= Duration::from_secs(10));
    drop((silent, early));
    let mut answer = [0; 15];
    patient.read_exact(&mut answer).unwrap();
    assert_eq!(&answer[..5], b"R\0\0\0\x08");
}

#[test]
fn unfinished_logins_are_held_within_the_account_and_go_on_beyond_it() {
    const CLIENTS: usize = 900;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let daemon = of("MariaDBClient", listener.local_addr().unwrap());
    thread::spawn(move || {
        let mut held = Vec::new();
        for mut stream in listener.incoming().map_while(Result::ok) {
            // A probe may have left.
            let _ = stream.write_all(GREETING);
            held.push(stream);
        }
    });
    // Each begins a handshake response of 14,000 bytes.
    let mut begun = vec![0xb0, 0x36, 0, 1, 0x05, 0xa2, 0, 0];
    begun.resize(13_000, b'u');
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let mut client = connect(daemon.listener("listener"));
            client.write_all(&begun).unwrap();
            client
        })
        .collect();
    let passed = u64::try_from(CLIENTS * begun.len()).unwrap();
    until("all that the clients have said", || {
        let service = daemon.get("/v1/services/service");
        let count = service.integer("/data/attributes/statistics/bytes_from_clients");
        (count == passed).then_some(())
    });
    let held = Metrics::of(&daemon).number("sessiond_kept_bytes");
    assert!((4_000_000..=8 * 1024 * 1024).contains(&held), "{held}");
    assert_eq!(daemon.client_sessions().len(), CLIENTS);
    drop(clients);
    daemon.client_sessions_until(0);
    until("an account that is empty", || {
        (Metrics::of(&daemon).number("sessiond_kept_bytes") == 0).then_some(())
    });
}
