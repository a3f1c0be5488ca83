//! A server's first answer decides whether a client is sent to another one; and a
//! cancel request goes to the server of its session.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use super::support::http::connect;
use super::support::mariadb::GREETING;
use super::support::postgresql::PostgreSql;
use super::support::python::python;
use super::support::{Daemon, PATIENCE, until};

const STARTUP: &[u8] = b"\0\0\0\x20\0\x03\0\0user\0ann\0database\0shop\0\0";
const SSL: &[u8] = &[0, 0, 0, 8, 4, 210, 22, 47];

/// A service of servers at these addresses, without probes.
fn service(protocol: &str, servers: &[SocketAddr], more: &str) -> Daemon {
    let names: Vec<String> = (1..=servers.len())
        .map(|index| format!("db{index}"))
        .collect();
    let sections: Vec<String> = names
        .iter()
        .zip(servers)
        .map(|(name, server)| {
            let port = server.port();
            format!("[{name}]\ntype=server\naddress=127.0.0.1\nport={port}\n")
        })
        .collect();
    let names = names.join(",");
    Daemon::start_controlled(
        "monitor_interval=0\n",
        &format!(
            "{}[service]\ntype=service\nservers={names}\n{more}\
             [listener]\ntype=listener\nservice=service\nprotocol={protocol}\n\
             address=127.0.0.1\nport=0\n",
            sections.concat()
        ),
    )
}

/// An error of PostgreSQL.
fn pg_error(code: &str, text: &str) -> Vec<u8> {
    let body = format!("SFATAL\0VFATAL\0C{code}\0M{text}\0\0");
    let length = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
    [b"E", &length[..], body.as_bytes()].concat()
}

/// An error of MariaDB in the place of a greeting.
fn maria_error(code: u16, text: &str) -> Vec<u8> {
    let length = u8::try_from(3 + text.len()).unwrap();
    [
        &[length, 0, 0, 0, 0xff],
        &code.to_le_bytes()[..],
        text.as_bytes(),
    ]
    .concat()
}

/// Accepts connections, each on a thread of its own.
fn serve(each: impl Fn(TcpStream) + Send + Sync + Clone + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let each = each.clone();
            thread::spawn(move || each(stream));
        }
    });
    address
}

/// A server of PostgreSQL that declines encryption and answers a login with this;
/// what is a cancel request goes to the channel.
fn postgresql(answer: Vec<u8>, cancels: Sender<Vec<u8>>) -> SocketAddr {
    serve(move |mut stream| {
        loop {
            let mut length = [0; 4];
            if stream.read_exact(&mut length).is_err() {
                return;
            }
            let mut rest = vec![0; usize::try_from(u32::from_be_bytes(length)).unwrap() - 4];
            stream.read_exact(&mut rest).unwrap();
            match &rest[..4] {
                [4, 210, 22, 47] => stream.write_all(b"N").unwrap(),
                [4, 210, 22, 46] => return cancels.send(rest[4..].to_vec()).unwrap(),
                _ => break,
            }
        }
        stream.write_all(&answer).unwrap();
        if answer[0] != b'E' {
            // The session goes on until the client leaves.
            while stream.read(&mut [0; 512]).is_ok_and(|length| length > 0) {}
        }
    })
}

/// Logs in, and returns what the server says first.
fn log_in(address: SocketAddr, asks_for_encryption: bool) -> (TcpStream, Vec<u8>) {
    let mut client = connect(address);
    if asks_for_encryption {
        client.write_all(SSL).unwrap();
        let mut answer = [0];
        client.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"N");
    }
    client.write_all(STARTUP).unwrap();
    let mut answer = vec![0; 4096];
    let length = client.read(&mut answer).unwrap();
    answer.truncate(length);
    (client, answer)
}

/// What lets a client in, with the number and the key of its session.
fn welcome(process_id: u32, key: &[u8]) -> Vec<u8> {
    let length = u32::try_from(8 + key.len()).unwrap();
    [
        b"R\0\0\0\x08\0\0\0\0K",
        &length.to_be_bytes()[..],
        &process_id.to_be_bytes(),
        key,
        b"Z\0\0\0\x05I",
    ]
    .concat()
}

fn down_reason(daemon: &Daemon, server: &str) -> String {
    let server = daemon.get(&format!("/v1/servers/{server}"));
    assert_eq!(server.text("/data/attributes/state"), "Down");
    server.text("/data/attributes/down_reason")
}

#[test]
fn a_postgresql_server_without_room_costs_no_client_its_connection() {
    for code in ["53300", "57P03"] {
        let (cancels, _taken) = channel();
        let full = postgresql(pg_error(code, "no room here"), cancels.clone());
        let free = postgresql(welcome(7, b"abcd"), cancels);
        let daemon = service("PostgreSQLClient", &[full, free], "");
        let clients: Vec<_> = (0..10)
            .map(|number| {
                let (client, answer) = log_in(daemon.listener("listener"), number % 2 == 1);
                assert!(answer.starts_with(b"R"), "{answer:?}");
                client
            })
            .collect();
        assert!(down_reason(&daemon, "db1").contains("no room here"));
        let sessions = daemon.client_sessions_until(clients.len());
        for session in sessions {
            assert_eq!(session.elements("/attributes/connections").len(), 1);
            assert_eq!(session.text("/attributes/connections/0/server"), "db2");
        }
    }
}

#[test]
fn a_mariadb_server_without_room_costs_no_client_its_connection() {
    for code in [1040, 1129, 1130] {
        let words = maria_error(code, "no room here");
        let full = serve(move |mut stream| stream.write_all(&words).unwrap());
        // It accepts, and ends without a word.
        let silent = serve(drop);
        let free = serve(|mut stream| {
            stream.write_all(GREETING).unwrap();
            while stream.read(&mut [0; 512]).is_ok_and(|length| length > 0) {}
        });
        let daemon = service("MariaDBClient", &[full, silent, free], "");
        for _ in 0..10 {
            let mut client = connect(daemon.listener("listener"));
            let mut greeting = [0; GREETING.len()];
            client.read_exact(&mut greeting).unwrap();
            assert_eq!(greeting, GREETING);
        }
        assert!(down_reason(&daemon, "db1").contains("no room here"));
    }
}

#[test]
fn where_no_server_is_left_the_client_gets_the_last_ones_own_words() {
    let words = pg_error("53300", "sorry, too many clients already");
    let (cancels, _taken) = channel();
    let one = postgresql(words.clone(), cancels.clone());
    let two = postgresql(words.clone(), cancels);
    let daemon = service("PostgreSQLClient", &[one, two], "");
    for id in ["2", "3", "4"] {
        let (_client, answer) = log_in(daemon.listener("listener"), false);
        assert_eq!(answer, words);
        let ended = daemon.ended(id);
        let text = |name: &str| ended.text(&format!("/data/attributes/{name}"));
        assert_eq!(text("close_reason"), "login refused");
        assert_eq!(text("login_error/code"), "53300");
        assert_eq!(
            text("login_error/message"),
            "sorry, too many clients already"
        );
        assert_eq!(
            (text("user"), text("database")),
            ("ann".into(), "shop".into())
        );
    }

    let words = maria_error(1040, "Too many connections");
    let said = words.clone();
    let full = serve(move |mut stream| stream.write_all(&said).unwrap());
    let daemon = service("MariaDBClient", &[full], "");
    for id in ["2", "3"] {
        let mut heard = Vec::new();
        let mut client = connect(daemon.listener("listener"));
        client.read_to_end(&mut heard).unwrap();
        assert_eq!(heard, words);
        let ended = daemon.ended(id);
        assert_eq!(ended.text("/data/attributes/close_reason"), "login refused");
        assert_eq!(ended.text("/data/attributes/login_error/code"), "1040");
    }
}

/// Sends a cancel request, and waits until the server has dealt with it.
fn cancel(address: SocketAddr, process_id: u32, key: &[u8]) {
    let length = u32::try_from(12 + key.len()).unwrap();
    let head = [length, 80_877_102, process_id].map(u32::to_be_bytes);
    let mut client = connect(address);
    client
        .write_all(&[head.as_flattened(), key].concat())
        .unwrap();
    assert_eq!(client.read(&mut [0]).unwrap(), 0);
}

/// The process ids of the requests that came so far.
fn requests(taken: &Receiver<Vec<u8>>, count: usize) -> Vec<Vec<u8>> {
    (0..count)
        .map(|_| taken.recv_timeout(PATIENCE).unwrap())
        .collect()
}

#[test]
fn a_cancel_request_reaches_the_server_of_its_session_or_all_of_them() {
    let (to_one, at_one) = channel();
    let (to_two, at_two) = channel();
    let long = vec![9; 256];
    let one = postgresql(welcome(1001, &long), to_one);
    let two = postgresql(welcome(2002, b"abcd"), to_two);
    let daemon = service("PostgreSQLClient", &[one, two], "max_connections=2\n");
    let address = daemon.listener("listener");
    let _clients = [log_in(address, false), log_in(address, true)];
    daemon.client_sessions_until(2);
    // The service has as many sessions as it may: a request is none.
    cancel(address, 1001, &long);
    cancel(address, 2002, b"abcd");
    let request = |process_id: u32, key: &[u8]| [&process_id.to_be_bytes(), key].concat();
    assert_eq!(requests(&at_one, 1), [request(1001, &long)]);
    assert_eq!(requests(&at_two, 1), [request(2002, b"abcd")]);
    // Another key: no session is known by it.
    cancel(address, 1001, b"abcd");
    assert_eq!(requests(&at_one, 1), requests(&at_two, 1));
    until("none but the two sessions", || {
        (daemon.client_sessions().len() == 2).then_some(())
    });
    let closed = daemon.get("/v1/sessions?state=closed").elements("/data");
    assert_eq!(closed.len(), 0);
}

#[test]
fn each_of_two_real_servers_cancels_the_queries_of_its_own_sessions() {
    let (one, two) = (PostgreSql::start(), PostgreSql::start());
    let daemon = service("PostgreSQLClient", &[one.address(), two.address()], "");
    let port = daemon.listener("listener").port();
    let said = python(&format!(
        "import psycopg, threading, time\n\
         def connect():\n    \
             return psycopg.connect(host='127.0.0.1', port={port}, user='postgres', \
             password='a password', dbname='postgres', sslmode='disable', autocommit=True)\n\
         def sleep(c, said):\n    \
             try: c.execute('SELECT pg_sleep(60)')\n    \
             except psycopg.errors.QueryCanceled: said.append('canceled')\n\
         said = []\nconnections = [connect() for _ in range(6)]\n\
         threads = [threading.Thread(target=sleep, args=(c, said)) for c in connections]\n\
         [t.start() for t in threads]\nlook = connect()\n\
         for c, t in zip(connections, threads):\n    \
             while t.is_alive():\n        c.cancel(); t.join(0.2)\n\
         print(*said)\n"
    ));
    assert_eq!(said.trim(), ["canceled"; 6].join(" "));
}
