//! Who logs in, as the bytes that pass tell it: real clients of several makers
//! and real servers, whose own word is what counts.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use sessiond::protocol::Side;

use super::support::daemon::one_service;
use super::support::handshake::{Conversation, conversation};
use super::support::http::connect;
use super::support::interactive::Interactive;
use super::support::mariadb::{MariaDb, client, query};
use super::support::postgresql::{PostgreSql, psql};
use super::support::python::python_program;
use super::support::{Daemon, Document, until};

const IDENTITY: &str = "SELECT CONNECTION_ID(), SUBSTRING_INDEX(USER(), '@', 1), DATABASE();";

/// A service whose clients speak this protocol.
fn of(protocol: &str, server: SocketAddr) -> Daemon {
    let config = one_service(server).replace("protocol=TCP", &format!("protocol={protocol}"));
    Daemon::start(&config)
}

/// The attributes of the only client session.
fn attributes(daemon: &Daemon) -> Document {
    daemon.client_sessions_until(1)[0].at("/attributes")
}

/// A server with users of two kinds, which both have the same password.
fn mariadb_with_users() -> MariaDb {
    let mariadb = MariaDb::start_with_tls("one");
    query(
        mariadb.address(),
        "INSTALL SONAME 'auth_ed25519'; CREATE DATABASE shop; CREATE DATABASE `caf\u{e9}`; \
         CREATE USER native IDENTIFIED VIA mysql_native_password USING PASSWORD('a password'); \
         CREATE USER curve IDENTIFIED VIA ed25519 USING PASSWORD('a password'); \
         GRANT ALL ON *.* TO native; GRANT ALL ON *.* TO curve",
    );
    mariadb
}

/// The client of MariaDB, as a user of the server's, about to connect.
fn maria(address: SocketAddr, user: &str, database: &str, tls: bool) -> std::process::Command {
    let mut command = client(address);
    command
        .args(["--unbuffered", "--password=a password"])
        .args([
            format!("--user={user}"),
            format!("--database={database}"),
            if tls { "--ssl" } else { "--skip-ssl" }.to_owned(),
        ]);
    command
}

#[test]
fn a_mariadb_session_shows_what_the_server_itself_says() {
    let mariadb = mariadb_with_users();
    let daemon = of("MariaDBClient", mariadb.address());
    let address = daemon.listener("listener");
    for user in ["native", "curve"] {
        for database in ["shop", "caf\u{e9}"] {
            let mut command = maria(address, user, database, false);
            command.arg("--default-character-set=utf8mb4");
            let mut running = Interactive::start(&mut command);
            let told = running.ask(IDENTITY);
            let session = attributes(&daemon);
            let id = session.integer("/connections/0/connection_id");
            assert_eq!(told, format!("{id}\t{user}\t{database}"));
            assert_eq!(session.text("/user"), user);
            assert_eq!(session.text("/database"), database);
            assert_eq!(session.text("/client/cipher"), "");
            assert_eq!(session.text("/connections/0/cipher"), "");
            let client = session.at("/client/connection_attributes");
            assert_eq!(client.text("/_client_name"), "libmariadb");
            assert!(client.text("/_pid").parse::<u32>().is_ok());
            assert!(!format!("{session:?}").contains("a password"));
            assert!(running.end().success());
            daemon.client_sessions_until(0);
        }
    }
    // Without a database there is none.
    let mut running = Interactive::start(maria(address, "curve", "", false).arg("-vv"));
    running.say(IDENTITY);
    running.hear();
    let session = attributes(&daemon);
    assert_eq!(session.text("/user"), "curve");
    assert!(!session.has("/database"));
}

#[test]
fn an_encrypted_session_of_mariadb_shows_that_and_no_guess() {
    let mariadb = mariadb_with_users();
    let daemon = of("MariaDBClient", mariadb.address());
    let mut command = maria(daemon.listener("listener"), "native", "shop", true);
    let mut running = Interactive::start(&mut command);
    let told = running.ask(IDENTITY);
    let session = attributes(&daemon);
    // The greeting came before the encryption.
    let id = session.integer("/connections/0/connection_id");
    assert_eq!(told, format!("{id}\tnative\tshop"));
    assert_eq!(session.text("/client/cipher"), "unknown");
    assert_eq!(session.text("/connections/0/cipher"), "unknown");
    for unknown in ["/user", "/database", "/client/connection_attributes"] {
        assert!(!session.has(unknown), "{unknown}");
    }
    let status = running.ask("SHOW STATUS LIKE 'Ssl_version';");
    assert!(status.contains("TLS"), "{status}");
}

#[test]
fn a_login_that_is_refused_shows_the_user_that_was_claimed() {
    let mariadb = mariadb_with_users();
    let daemon = of("MariaDBClient", mariadb.address());
    let mut command = maria(daemon.listener("listener"), "native", "shop", false);
    let output = command
        .args(["--password=a wrong one", "-e", "SELECT 1"])
        .output();
    assert!(!output.unwrap().status.success());
    let ended = daemon.ended("2");
    assert_eq!(ended.text("/data/attributes/user"), "native");
    assert_eq!(ended.text("/data/attributes/close_reason"), "login refused");
    assert!(ended.has("/data/attributes/connections/0/connection_id"));
}

/// Prints what a session is, and waits to be told to go on.
const PYMYSQL: &str = "import pymysql, ssl, sys\n\
    tls = ssl._create_unverified_context() if sys.argv[2] == 'tls' else None\n\
    connection = pymysql.connect(host='127.0.0.1', port=int(sys.argv[1]), user='native',\n\
    \x20   password='a password', database='shop', ssl=tls, ssl_disabled=tls is None,\n\
    \x20   program_name='a till', connect_timeout=20)\n\
    with connection.cursor() as cursor:\n\
    \x20   cursor.execute('SELECT CONNECTION_ID(), SUBSTRING_INDEX(USER(), \"@\", 1), DATABASE()')\n\
    \x20   print(*cursor.fetchone(), flush=True)\n\
    sys.stdin.read()\n";

#[test]
fn a_session_of_a_client_of_another_maker_shows_the_same() {
    let mariadb = mariadb_with_users();
    let daemon = of("MariaDBClient", mariadb.address());
    let port = daemon.listener("listener").port().to_string();
    for tls in ["plain", "tls"] {
        let mut program = python_program();
        let mut running = Interactive::start(program.args(["-c", PYMYSQL, &port, tls]));
        let told = running.hear();
        let session = attributes(&daemon);
        let id = session.integer("/connections/0/connection_id");
        assert_eq!(told, format!("{id} native shop"));
        if tls == "plain" {
            assert_eq!(session.text("/user"), "native");
            assert_eq!(session.text("/database"), "shop");
            let client = session.at("/client/connection_attributes");
            assert_eq!(client.text("/_client_name"), "pymysql");
            assert_eq!(client.text("/program_name"), "a till");
        } else {
            assert!(!session.has("/user"));
            assert_eq!(session.text("/client/cipher"), "unknown");
        }
        assert!(running.end().success());
        daemon.client_sessions_until(0);
    }
}

const WHO: &str = "SELECT pg_backend_pid(), current_user, current_database();";

#[test]
fn a_postgresql_session_shows_what_the_server_itself_says() {
    let postgresql = PostgreSql::start();
    let daemon = of("PostgreSQLClient", postgresql.address());
    for mode in ["disable", "prefer"] {
        let mut command = psql(daemon.listener("listener"), "template1");
        command.env("PGSSLMODE", mode).env("PGAPPNAME", "a till");
        let mut running = Interactive::start(&mut command);
        let told = running.ask(WHO);
        let session = attributes(&daemon);
        let id = session.integer("/connections/0/connection_id");
        assert_eq!(told, format!("{id}|postgres|template1"));
        assert_eq!(session.text("/user"), "postgres");
        assert_eq!(session.text("/database"), "template1");
        assert_eq!(session.text("/client/cipher"), "");
        assert_eq!(
            session.text("/client/connection_attributes/application_name"),
            "a till"
        );
        assert!(running.end().success());
        daemon.client_sessions_until(0);
    }
}

#[test]
fn an_encrypted_session_of_postgresql_shows_that_and_no_guess() {
    let postgresql = PostgreSql::start_with_tls();
    let daemon = of("PostgreSQLClient", postgresql.address());
    let mut command = psql(daemon.listener("listener"), "template1");
    let mut running = Interactive::start(command.env("PGSSLMODE", "require"));
    let told = running.ask(WHO);
    assert!(told.ends_with("|postgres|template1"), "{told}");
    let session = attributes(&daemon);
    assert_eq!(session.text("/client/cipher"), "unknown");
    assert_eq!(session.text("/connections/0/cipher"), "unknown");
    assert!(!session.has("/user") && !session.has("/database"));
    assert!(!session.has("/connections/0/connection_id"));
    let tls = running.ask("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid();");
    assert_eq!(tls, "t");
}

#[test]
fn a_login_that_postgresql_refuses_shows_the_user_that_was_claimed() {
    let postgresql = PostgreSql::start();
    let daemon = of("PostgreSQLClient", postgresql.address());
    let mut command = psql(daemon.listener("listener"), "postgres");
    let output = command
        .env("PGPASSWORD", "a wrong one")
        .args(["-c", "SELECT 1"])
        .output();
    assert!(!output.unwrap().status.success());
    daemon.client_sessions_until(0);
    for session in daemon.get("/v1/sessions?state=closed").elements("/data") {
        assert_eq!(session.text("/attributes/user"), "postgres");
        assert_eq!(session.text("/attributes/login_error/code"), "28P01");
    }
}

#[test]
fn a_cancel_request_goes_its_way_and_ends_a_query() {
    let postgresql = PostgreSql::start();
    let daemon = of("PostgreSQLClient", postgresql.address());
    let mut command = psql(daemon.listener("listener"), "postgres");
    let running = command.args(["-c", "SELECT pg_sleep(60)"]).spawn().unwrap();
    until("the running query", || {
        let mut look = psql(postgresql.address(), "postgres");
        let asked = "SELECT count(*) FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(60)'";
        let output = look.args(["-c", asked]).output().unwrap();
        (output.stdout == b"1\n").then_some(())
    });
    let begin = Instant::now();
    // Ctrl-C has psql send its request on a connection of its own.
    let status = std::process::Command::new("kill")
        .args(["-INT", &running.id().to_string()])
        .status();
    assert!(status.unwrap().success());
    let output = running.wait_with_output().unwrap();
    assert!(!output.status.success());
    assert!(begin.elapsed() < Duration::from_secs(20));
    // The request is no session of the history.
    daemon.ended("2");
    let closed = daemon.get("/v1/sessions?state=closed").elements("/data");
    assert_eq!(closed.len(), 1);
}

/// Says one side's part of a conversation, and hears the other's.
fn play(conversation: &Conversation, as_side: Side, stream: &mut TcpStream) {
    for (side, bytes) in conversation {
        if *side == as_side {
            stream.write_all(bytes).unwrap();
        } else {
            let mut heard = vec![0; bytes.len()];
            match stream.read_exact(&mut heard) {
                Ok(()) => assert_eq!(&heard, bytes),
                // A probe leaves after the greeting.
                Err(_) => return,
            }
        }
    }
}

#[test]
fn a_user_becomes_another_or_stays_when_the_server_refuses() {
    for (lines, user, database) in [
        (
            include_str!("../handshakes/mariadb-change.txt"),
            "other",
            None,
        ),
        (
            include_str!("../handshakes/mariadb-change-failed.txt"),
            "native",
            Some("shop"),
        ),
    ] {
        let whole = conversation(lines);
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let daemon = of("MariaDBClient", server.local_addr().unwrap());
        let part = whole.clone();
        thread::spawn(move || {
            for mut stream in server.incoming().map_while(Result::ok) {
                let part = part.clone();
                thread::spawn(move || {
                    play(&part, Side::Server, &mut stream);
                    stream.read_exact(&mut [0])
                });
            }
        });
        let mut client = connect(daemon.listener("listener"));
        play(&whole, Side::Client, &mut client);
        let session = until("the user", || {
            let session = attributes(&daemon);
            (session.has("/user") && session.text("/user") == user).then_some(session)
        });
        let shown = session.has("/database").then(|| session.text("/database"));
        assert_eq!(shown.as_deref(), database);
    }
}

/// Logs in as `native`, and can ask for a change of user.
const CHANGING: &str = "import pymysql, struct, sys\n\
    from pymysql._auth import scramble_native_password\n\
    connection = pymysql.connect(host='127.0.0.1', port=int(sys.argv[1]), user='native',\n\
    \x20   password='a password', ssl_disabled=True, connect_timeout=20,\n\
    \x20   client_flag=pymysql.constants.CLIENT.MULTI_STATEMENTS)\n\
    def change(user, answer):\n\
    \x20   return (b'\\x11' + user + b'\\0' + bytes([len(answer)]) + answer + b'shop\\0'\n\
    \x20       + struct.pack('<H', 45) + b'mysql_native_password\\0\\0')\n";

#[test]
fn a_user_becomes_another_at_a_real_server() {
    let mariadb = mariadb_with_users();
    query(
        mariadb.address(),
        "CREATE USER other IDENTIFIED VIA mysql_native_password USING PASSWORD('another'); \
         GRANT ALL ON *.* TO other",
    );
    let daemon = of("MariaDBClient", mariadb.address());
    let script = CHANGING.to_owned()
        + "answer = scramble_native_password(b'another', connection.salt[:20])\n\
           body = change(b'other', answer)\n\
           connection._execute_command(body[0], body[1:])\n\
           packet = connection._read_packet()\n\
           if packet.is_auth_switch_request():\n\
           \x20   packet.read_uint8(), packet.read_string()\n\
           \x20   answer = scramble_native_password(b'another', packet.read_all()[:20])\n\
           \x20   connection.write_packet(answer)\n\
           \x20   packet = connection._read_packet()\n\
           assert packet.is_ok_packet()\n\
           with connection.cursor() as cursor:\n\
           \x20   cursor.execute('SELECT SUBSTRING_INDEX(CURRENT_USER(), \"@\", 1), DATABASE()')\n\
           \x20   print(*cursor.fetchone(), flush=True)\n\
           sys.stdin.read()\n";
    let port = daemon.listener("listener").port().to_string();
    let mut program = python_program();
    let mut running = Interactive::start(program.args(["-c", &script, &port]));
    assert_eq!(running.hear(), "other shop");
    let session = attributes(&daemon);
    assert_eq!(session.text("/user"), "other");
    assert_eq!(session.text("/database"), "shop");
}

#[test]
fn nobody_passes_for_another_by_a_change_of_user_that_the_server_has_not_read() {
    let mariadb = mariadb_with_users();
    let daemon = of("MariaDBClient", mariadb.address());
    // The answer has 256 packets, so that the next one looks like the first of another; it is
    // an OK, while the change is not read before the last statement has ended.
    let script = CHANGING.to_owned()
        + "connection._execute_command(3, b'SELECT seq FROM mysql.seq_1_to_252; DO SLEEP(6); SELECT SLEEP(20)')\n\
           for _ in range(256):\n\
           \x20   connection._read_packet()\n\
           body = change(b'root', b'x' * 20)\n\
           connection._sock.sendall(struct.pack('<I', len(body)) + body)\n\
           print(connection._read_packet().is_ok_packet(), flush=True)\n\
           sys.stdin.read()\n";
    let port = daemon.listener("listener").port().to_string();
    let mut program = python_program();
    let mut running = Interactive::start(program.args(["-c", &script, &port]));
    assert_eq!(running.hear(), "True");
    let session = attributes(&daemon);
    assert!(!session.has("/user"), "{}", session.text("/user"));
}
