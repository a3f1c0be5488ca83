//! Real servers and their real clients, through the relay.

use std::fmt::Write as _;
use std::io::Write;
use std::net::SocketAddr;
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::support::daemon::one_service;
use super::support::mariadb::{MariaDb, client, query, text};
use super::support::postgresql::{PostgreSql, psql};
use super::support::{Daemon, until};

/// A service of these servers, which are called db1, db2 and so on.
fn service(servers: &[&MariaDb]) -> String {
    let name = |index: usize| format!("db{}", index + 1);
    let names: Vec<String> = (0..servers.len()).map(name).collect();
    let section = |(index, server): (usize, &&MariaDb)| {
        format!(
            "[{}]\ntype=server\naddress=127.0.0.1\nport={}",
            name(index),
            server.address().port()
        )
    };
    let sections: Vec<String> = servers.iter().enumerate().map(section).collect();
    format!(
        "{}\n[service]\ntype=service\nservers={}\n\
         [listener]\ntype=listener\nservice=service\naddress=127.0.0.1\nport=0\n",
        sections.join("\n"),
        names.join(",")
    )
}

#[test]
fn a_client_logs_in_and_its_session_is_seen_from_beginning_to_end() {
    let mariadb = MariaDb::start("one");
    let daemon = Daemon::start(&service(&[&mariadb]));
    let address = daemon.listener("listener");
    assert_eq!(query(address, "SELECT 6 * 7"), "42");
    daemon.client_sessions_until(0);

    let mut running = client(address);
    let mut running = running
        .arg("--unbuffered")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let id = daemon.client_sessions_until(1)[0].text("/id");
    let logged_in = daemon.session_until(&id, "the login", |session| {
        session.integer("/data/attributes/bytes_to_client") > 80
            && session.integer("/data/attributes/bytes_from_client") > 60
    });
    assert_eq!(logged_in.text("/data/attributes/protocol"), "MariaDBClient");
    assert_eq!(
        logged_in.text("/data/attributes/connections/0/server"),
        "db1"
    );
    // The server sees the connection from the port that the session shows.
    let local_port = logged_in.integer("/data/attributes/connections/0/local_port");
    let host = format!("127.0.0.1:{local_port}");
    // Whoever has asked before may still be on its way out.
    until("one connection, and that one", || {
        let hosts = query(
            mariadb.address(),
            "SELECT HOST FROM information_schema.PROCESSLIST WHERE ID <> CONNECTION_ID() AND USER = 'root'",
        );
        (hosts == host).then_some(())
    });

    let idle = daemon.session_until(&id, "a client that rests", |session| {
        session.seconds("/data/attributes/idle") >= Duration::from_millis(300)
    });
    let bytes = idle.integer("/data/attributes/bytes_to_client");
    let begin = Instant::now();
    writeln!(
        running.stdin.as_ref().unwrap(),
        "SELECT REPEAT('x', 10000);"
    )
    .unwrap();
    daemon.session_until(&id, "the bytes of a result", |session| {
        session.integer("/data/attributes/bytes_to_client") >= bytes + 10_000
    });
    daemon.session_until(&id, "a client that has just worked", |session| {
        session.seconds("/data/attributes/idle") <= begin.elapsed()
    });

    drop(running.stdin.take());
    assert!(running.wait().unwrap().success());
    // The client says that it goes and goes; the server may be the first to close.
    let reason = daemon.ended(&id).text("/data/attributes/close_reason");
    assert!(
        reason == "client closed" || reason == "server closed",
        "{reason}"
    );
}

#[test]
fn twenty_megabytes_come_through_both_ways_byte_for_byte() {
    let mariadb = MariaDb::start("one");
    let daemon = Daemon::start(&service(&[&mariadb]));
    let address = daemon.listener("listener");

    // To the server: it computes the checksum of what arrived.
    let value: String = (0..20_000_000_u32)
        .map(|number| char::from(b'a' + (number % 23) as u8))
        .collect();
    let statement = format!("SELECT MD5('{value}'), LENGTH('{value}');\n");
    let through = statement_from_input(address, statement.clone());
    assert!(through.ends_with("\t20000000"), "{through}");
    assert_eq!(through, statement_from_input(mariadb.address(), statement));

    // To the client: 20,000 rows of a kilobyte each.
    let statement = "SELECT REPEAT(CHAR(97 + seq % 26), 1000) FROM mysql.seq_1_to_20000";
    let (through, direct) = (
        query(address, statement),
        query(mariadb.address(), statement),
    );
    assert_eq!(through.len(), 20_000 * 1001 - 1);
    assert!(through == direct);
}

/// Runs a statement that is too long for a command line.
fn statement_from_input(address: SocketAddr, statement: String) -> String {
    text(fed(&mut client(address), statement))
}

/// Runs a client that reads this.
fn fed(client: &mut Command, input: String) -> Output {
    let mut client = client
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = client.stdin.take().unwrap();
    let writing = thread::spawn(move || stdin.write_all(input.as_bytes()));
    let output = client.wait_with_output().unwrap();
    writing.join().unwrap().unwrap();
    output
}

#[test]
fn twenty_megabytes_are_copied_into_postgresql_and_out_byte_for_byte() {
    let postgresql = PostgreSql::start();
    let sections = one_service(postgresql.address()).replace("TCP", "PostgreSQLClient");
    let daemon = Daemon::start(&sections);
    let address = daemon.listener("listener");
    let mut rows = String::new();
    for number in 0..20_000 {
        writeln!(rows, "{number}\t{:01000}", number * 7).unwrap();
    }
    let run = |address: SocketAddr, command: &str, input: &str| {
        let mut client = psql(address, "postgres");
        let output = fed(client.args(["--command", command]), input.to_owned());
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    run(
        address,
        "CREATE TABLE rows (id int PRIMARY KEY, value text)",
        "",
    );
    run(address, "\\copy rows FROM STDIN", &rows);
    let out = "\\copy (SELECT * FROM rows ORDER BY id) TO STDOUT";
    assert!(run(postgresql.address(), out, "") == rows);
    assert!(run(address, out, "") == rows);

    daemon.client_sessions_until(0);
    let ended = daemon
        .get("/v1/sessions?state=closed&sort=id")
        .elements("/data");
    for (session, direction) in [(1, "from"), (2, "to")] {
        let bytes = ended[session].integer(&format!("/attributes/bytes_{direction}_client"));
        assert!(bytes > rows.len() as u64, "{direction}: {bytes}");
    }
}

#[test]
fn two_servers_share_sessions_and_when_one_dies_the_other_takes_the_clients() {
    let (one, mut two) = (MariaDb::start("one"), MariaDb::start("two"));
    let daemon = Daemon::start(&service(&[&one, &two]));
    let address = daemon.listener("listener");
    let mut clients: Vec<_> = (0..10)
        .map(|_| {
            client(address)
                .arg("--unbuffered")
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap()
        })
        .collect();
    daemon.client_sessions_until(10);
    let at = |server: &str| {
        let sessions = daemon.client_sessions();
        sessions
            .iter()
            .filter(|session| {
                session.has("/attributes/connections/0")
                    && session.text("/attributes/connections/0/server") == server
            })
            .count()
    };
    until("five sessions at each server", || {
        (at("db1") == 5 && at("db2") == 5).then_some(())
    });

    two.process.kill();
    for _ in 0..6 {
        assert_eq!(query(address, "SELECT @@report_host"), "one");
    }
    // The sessions of the dead server ended, or end as their clients notice.
    for client in &mut clients {
        drop(client.stdin.take());
        client.wait().unwrap();
    }
    daemon.client_sessions_until(0);
}
