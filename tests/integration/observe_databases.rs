//! What the observers make of real servers and their real clients.

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Output, Stdio};

use sessiond::protocol::{Fact, Login, Observer, ServerError, mariadb, postgresql};

use super::support::mariadb::{MariaDb, client, query};
use super::support::postgresql::{PostgreSql, psql};
use super::support::tap::Tap;
use super::support::{PATIENCE, until};

fn mariadb_tap(server: SocketAddr) -> Tap {
    Tap::between(server, Observer::MariaDb(mariadb::Observer::new()))
}

fn postgresql_tap(server: SocketAddr) -> Tap {
    let observer = postgresql::Observer::default();
    Tap::between(server, Observer::PostgreSql(observer))
}

/// Runs a client that reads these statements.
fn run(client: &mut Command, statements: &str) -> Output {
    let mut client = client
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = client.stdin.take().unwrap();
    // One that is not let in does not read.
    let _ = stdin.write_all(statements.as_bytes());
    drop(stdin);
    client.wait_with_output().unwrap()
}

fn printed(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout)
        .trim_end()
        .to_owned()
}

/// The facts behind the login, which must be there.
fn after_login(facts: &[Fact]) -> (&Login, &[Fact]) {
    let at = facts
        .iter()
        .position(|fact| matches!(fact, Fact::LoggedIn(_)));
    let Some((Fact::LoggedIn(login), rest)) = at.and_then(|at| facts[at..].split_first()) else {
        panic!("{facts:?}");
    };
    (login, rest)
}

fn database(name: &str) -> Fact {
    Fact::Database(Some(name.into()))
}

#[test]
fn a_session_of_mariadb_is_followed_through_its_databases_to_its_end() {
    let server = MariaDb::start("one");
    query(
        server.address(),
        "CREATE DATABASE stock; CREATE DATABASE shop",
    );
    // By the client's own command, by a statement, by one in a procedure of sorts, by one of
    // several; and what leaves it as it is.
    let statements = "USE stock;\nSELECT REPEAT('x', 300) FROM mysql.help_topic LIMIT 40;\n\
        /*!USE shop*/;\nSELECT 1;\nEXECUTE IMMEDIATE 'DROP DATABASE shop';\nUSE mysql;\n\
        SELECT DATABASE();\n";
    let tap = mariadb_tap(server.address());
    let output = run(&mut client(tap.address()), statements);
    assert!(printed(&output).ends_with("1\nmysql"));
    let facts = tap.facts_at_the_end();
    let (login, rest) = after_login(&facts);
    assert_eq!((login.user.as_str(), &login.database), ("root", &None));
    let expected = [
        database("stock"),
        database("shop"),
        Fact::Database(None),
        database("mysql"),
        Fact::Quit,
    ];
    assert_eq!(rest, expected);
    let version = query(server.address(), "SELECT VERSION()");
    assert!(facts.contains(&Fact::ServerVersion(version)), "{facts:?}");
}

/// Sends a command and returns the first packet of the answer, of which there is no other.
fn ask(stream: &mut TcpStream, command: &[u8]) -> Vec<u8> {
    let length = u8::try_from(command.len()).unwrap();
    stream
        .write_all(&[&[length, 0, 0, 0], command].concat())
        .unwrap();
    packet(stream)
}

/// Reads a packet.
fn packet(stream: &mut TcpStream) -> Vec<u8> {
    let mut head = [0; 4];
    stream.read_exact(&mut head).unwrap();
    let mut body = vec![0; usize::from(head[0]) + 256 * usize::from(head[1])];
    stream.read_exact(&mut body).unwrap();
    [&head[..], &body].concat()
}

#[test]
fn a_session_that_is_reset_keeps_its_database() {
    let server = MariaDb::start("one");
    // The user of probes, whose login is at hand; no client of the package resets a session.
    let user = "CREATE USER 'sessiond-probe'@'%'; GRANT ALL ON *.* TO 'sessiond-probe'@'%'";
    query(server.address(), user);
    let tap = mariadb_tap(server.address());
    let mut stream = TcpStream::connect(tap.address()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let greeting = mariadb::greeting(&packet(&mut stream)).unwrap().unwrap();
    let login = mariadb::probe_login(&greeting).unwrap();
    stream.write_all(&login).unwrap();
    assert_eq!(packet(&mut stream)[4], 0);
    assert_eq!(ask(&mut stream, b"\x02mysql")[4], 0);
    assert_eq!(ask(&mut stream, b"\x1f")[4], 0);
    let processes = "SELECT DB FROM information_schema.PROCESSLIST WHERE USER = 'sessiond-probe'";
    assert_eq!(query(server.address(), processes), "mysql");
    stream.write_all(mariadb::QUIT).unwrap();
    let facts = tap.facts_at_the_end();
    let (_, rest) = after_login(&facts);
    assert_eq!(rest, [database("mysql"), Fact::Quit]);
}

#[test]
fn long_queries_in_a_compressed_session_leave_the_user_as_it_is() {
    let server = MariaDb::start("one");
    let tap = mariadb_tap(server.address());
    let mut statements = String::from("USE mysql;\n");
    for length in [40, 100, 5_000, 70_000, 20_000_000] {
        let value: String = ('a'..='w').cycle().take(length).collect();
        writeln!(statements, "SELECT LENGTH('{value}');").unwrap();
    }
    let output = run(client(tap.address()).arg("--compress"), &statements);
    assert_eq!(printed(&output), "40\n100\n5000\n70000\n20000000");
    let facts = tap.facts_at_the_end();
    let (login, rest) = after_login(&facts);
    assert_eq!(login.user, "root");
    assert_eq!(rest, [database("mysql"), Fact::Quit]);
}

#[test]
fn a_refused_login_has_the_words_of_mariadb() {
    let server = MariaDb::start("one");
    for (user, claimed) in [("--user=ann", "ann"), ("--user=root", "root")] {
        let tap = mariadb_tap(server.address());
        let output = run(
            client(tap.address()).args([user, "--password=wrong", "--database=shop"]),
            "",
        );
        assert!(!output.status.success());
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        let (login, error) = tap.wait("the refusal", refusal);
        let login = login.unwrap();
        assert_eq!(login.user, claimed);
        assert_eq!(login.database.as_deref(), Some("shop"));
        assert!(
            login
                .attributes
                .iter()
                .any(|(name, _)| name == "program_name")
        );
        assert_eq!(error.code, "1045");
        assert!(words.contains(&error.message), "{words} {error:?}");
    }
}

fn refusal(fact: &Fact) -> Option<(Option<Login>, ServerError)> {
    match fact {
        Fact::Refused { claimed, error } => Some((claimed.clone(), error.clone())),
        _ => None,
    }
}

#[test]
fn a_session_of_postgresql_is_followed_through_its_results_to_its_end() {
    let server = PostgreSql::start();
    let tap = postgresql_tap(server.address());
    let statements = "SET application_name = 'till';\n\
        SELECT repeat('x', number % 3000) FROM generate_series(1, 6000) AS number;\n\
        CREATE TEMPORARY TABLE copied (value text);\n\
        COPY copied FROM STDIN;\nX\nQ\n\\.\n\
        COPY (SELECT repeat('X', number) FROM generate_series(1, 999) AS number) TO STDOUT;\n\
        RESET application_name;\nSELECT 6 * 7;\n";
    let output = run(&mut psql(tap.address(), "postgres"), statements);
    assert!(printed(&output).ends_with("\n42"));
    let facts = tap.facts_at_the_end();
    let (login, rest) = after_login(&facts);
    let psql = ("application_name".to_owned(), "psql".to_owned());
    assert_eq!(
        (login.user.as_str(), &login.attributes[..]),
        ("postgres", &[psql][..])
    );
    let name = |name: &str| Fact::ApplicationName(name.into());
    assert_eq!(rest, [name("till"), name("psql"), Fact::Quit]);
    assert!(facts.contains(&Fact::HotStandby(false)));
    let is_version = |fact: &Fact| matches!(fact, Fact::ServerVersion(it) if it.starts_with('1'));
    assert!(facts.iter().any(is_version), "{facts:?}");
}

#[test]
fn the_key_of_a_session_of_postgresql_cancels_its_query() {
    let server = PostgreSql::start();
    let tap = postgresql_tap(server.address());
    let mut running = psql(tap.address(), "postgres")
        .args(["--command", "SELECT pg_sleep(600)"])
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let request = tap.wait("the key", |fact| match fact {
        Fact::CancelKey { process_id, key } => Some(postgresql::cancel_request(*process_id, key)),
        _ => None,
    });
    // A request that comes before the query is for nothing, so it is sent until there is an end.
    until("the end of the query", || {
        let mut stream = TcpStream::connect(server.address()).unwrap();
        stream.write_all(&request).unwrap();
        running.try_wait().unwrap()
    });
    let output = running.wait_with_output().unwrap();
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(words.contains("canceling statement"), "{words}");
    tap.wait("the end of the session", |fact| {
        (*fact == Fact::Quit).then_some(())
    });
}

#[test]
fn a_refused_login_has_the_words_of_postgresql() {
    let server = PostgreSql::start();
    for (database, password, code) in [("shop", "a password", "3D000"), ("postgres", "no", "28P01")]
    {
        let tap = postgresql_tap(server.address());
        let mut client = psql(tap.address(), database);
        let output = run(client.env("PGPASSWORD", password), "");
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        let (login, error) = tap.wait("the refusal", refusal);
        let login = login.unwrap();
        assert_eq!(login.user, "postgres");
        assert_eq!(login.database.as_deref(), Some(database));
        assert_eq!(error.code, code);
        assert!(words.contains(&error.message), "{words} {error:?}");
    }
}
