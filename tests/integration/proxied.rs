//! The PROXY protocol, from clients and to servers.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use super::support::daemon::one_service;
use super::support::http::connect;
use super::support::mariadb::{MariaDb, client, query};
use super::support::server::tcp_socket;
use super::support::uninterrupted::ReadOn;
use super::support::{Daemon, Directory, Server};

const V1: &[u8] = b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 3306\r\n";

/// The same in version 2, with a header extension behind the addresses.
const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x13\xc0\0\x02\x07\xc6\x33\x64\x01\x12\x67\x0c\xea\x04\0\x04abcd";

/// A service whose listener trusts these networks.
fn trusting(server: &Server, networks: &str) -> String {
    one_service(server.address()).replace(
        "protocol=TCP\n",
        &format!("protocol=TCP\nproxy_protocol_networks={networks}\n"),
    )
}

fn heard(stream: &mut TcpStream, length: usize) -> String {
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes).unwrap();
    String::from_utf8(bytes).unwrap()
}

#[test]
fn a_trusted_client_is_who_its_header_says_and_the_server_sees_no_header() {
    let server = Server::new();
    let daemon = Daemon::start(&trusting(&server, "192.0.2.0/24, 127.0.0.0/8"));
    for header in [V1, V2] {
        // Cut anywhere, with more bytes behind it.
        for cut in [1, 7, 15, header.len() - 1, header.len()] {
            let mut client = connect(daemon.listener("listener"));
            client.write_all(&header[..cut]).unwrap();
            let id = daemon.client_sessions_until(1)[0].text("/id");
            client.write_all(&header[cut..]).unwrap();
            client.write_all(b"question").unwrap();
            let mut behind = server.accept(&daemon);
            assert_eq!(heard(&mut behind, 8), "question");
            behind.write_all(b"answer").unwrap();
            assert_eq!(heard(&mut client, 6), "answer");
            let session = daemon.get(&format!("/v1/sessions/{id}"));
            assert_eq!(session.text("/data/attributes/remote"), "192.0.2.7");
            assert_eq!(session.integer("/data/attributes/port"), 4711);
            assert_eq!(session.integer("/data/attributes/bytes_from_client"), 8);
            drop((client, behind));
            daemon.client_sessions_until(0);
        }
    }
    let networks = daemon
        .get("/v1/listeners/listener")
        .text("/data/attributes/parameters/proxy_protocol_networks");
    assert_eq!(networks, "192.0.2.0/24,127.0.0.0/8");
}

#[test]
fn a_header_about_no_client_leaves_the_address_of_the_connection() {
    let server = Server::new();
    let daemon = Daemon::start(&trusting(&server, "127.0.0.1"));
    for header in [&b"PROXY UNKNOWN\r\n"[..], b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"] {
        let mut client = connect(daemon.listener("listener"));
        client.write_all(header).unwrap();
        let behind = server.accept(&daemon);
        let session = &daemon.client_sessions_until(1)[0];
        assert_eq!(session.text("/attributes/remote"), "127.0.0.1");
        let port = client.local_addr().unwrap().port();
        assert_eq!(session.integer("/attributes/port"), u64::from(port));
        drop((client, behind));
        daemon.client_sessions_until(0);
    }
}

#[test]
fn from_others_a_header_is_bytes() {
    let server = Server::new();
    let daemon = Daemon::start(&trusting(&server, "192.0.2.0/24"));
    let mut client = connect(daemon.listener("listener"));
    client.write_all(V1).unwrap();
    let mut behind = server.accept(&daemon);
    assert_eq!(heard(&mut behind, V1.len()).as_bytes(), V1);
    assert_eq!(
        daemon.client_sessions_until(1)[0].text("/attributes/remote"),
        "127.0.0.1"
    );
}

#[test]
fn what_is_no_header_from_a_trusted_client_is_a_protocol_error() {
    let server = Server::new();
    let daemon = Daemon::start(&trusting(&server, "::1,127.0.0.1"));
    for (id, bytes) in [
        (2, &b"GET / HTTP/1.1\r\n"[..]),
        (3, b"PROXY TCP4 192.0.2.7\r\n"),
        (4, b"PROXY TCP4 192.0.2.300 198.51.100.1 4711 3306\r\n"),
        (5, b"\r\n\r\n\0\r\nQUIT\n\x31"),
        (6, &[b'x'; 10_000]),
    ] {
        let mut client = connect(daemon.listener("listener"));
        // It may be cut off before it has said all of it.
        let _ = client.write_all(bytes);
        let mut rest = Vec::new();
        let _ = client.read_to_end(&mut rest);
        assert!(rest.is_empty());
        daemon.ended_as(&id.to_string(), "protocol error");
    }
    daemon.process.line("a word about it", |line| {
        line.contains("<4>listener listener: a client of a trusted network")
            .then_some(())
    });
    // One that leaves in the middle has left.
    let mut client = connect(daemon.listener("listener"));
    client.write_all(&V1[..20]).unwrap();
    drop(client);
    daemon.ended_as("7", "client closed");
}

/// The number before the words, in a log line.
fn number_before(line: &str, words: &str) -> Option<usize> {
    let (before, _) = line.split_once(words)?;
    before.rsplit(['(', '>']).next()?.parse().ok()
}

#[test]
fn a_flood_of_bad_headers_is_ten_log_lines_a_second_and_a_count_of_the_rest() {
    const CLIENTS: usize = 300;
    let server = Server::new();
    let daemon = Daemon::start(&trusting(&server, "127.0.0.1"));
    let begin = Instant::now();
    for _ in 0..CLIENTS {
        let mut client = connect(daemon.listener("listener"));
        client.write_all(b"junk").unwrap();
        let mut rest = Vec::new();
        let _ = client.read_to_end(&mut rest);
    }
    let (mut lines, mut omitted) = (0, 0);
    // Without further clients, the count of the last second has a line of its own.
    daemon
        .process
        .line("each client in a line or a count", |line| {
            if let Some(count) =
                number_before(line, " more clients of trusted networks sent no valid")
            {
                omitted += count;
            } else if line.contains("a client of a trusted network does not begin with") {
                lines += 1;
                omitted += number_before(line, " similar line").unwrap_or(0);
            }
            (lines + omitted == CLIENTS).then_some(())
        });
    let seconds = usize::try_from(begin.elapsed().as_secs()).unwrap();
    assert!(lines <= 10 * (seconds + 2), "{lines} lines in {seconds} s");
}

#[test]
fn a_trusted_client_without_a_word_is_closed_after_ten_seconds() {
    let server = Server::new();
    let daemon = Daemon::start(&trusting(&server, "127.0.0.1"));
    let begin = Instant::now();
    let mut client = connect(daemon.listener("listener"));
    client.write_all(b"PROXY").unwrap();
    // What it had said was never taken, so it sees a reset.
    assert!(client.read_on(&mut [0]).is_err());
    let waited = begin.elapsed();
    assert!(
        waited >= Duration::from_secs(10) && waited < Duration::from_secs(18),
        "{waited:?}"
    );
    daemon.ended_as("2", "connect timeout");
}

/// Reads the header that a server is sent.
fn header(stream: TcpStream) -> (String, BufReader<TcpStream>) {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    (line, reader)
}

#[test]
fn a_server_that_wants_to_know_is_told_who_the_client_is() {
    let server = Server::new();
    let directory = Directory::new();
    let path = directory.path().join("socket");
    let config = trusting(&server, "127.0.0.2")
        .replace("type=server\n", "type=server\nproxy_protocol=yes\n")
        + &format!(
            "[unix]\ntype=listener\nservice=service\nprotocol=TCP\nsocket={}\n",
            path.display()
        );
    let daemon = Daemon::start(&config);
    let listener = daemon.listener("listener");

    let mut direct = connect(listener);
    direct.write_all(b"question").unwrap();
    let (line, mut rest) = header(server.accept(&daemon));
    let port = direct.local_addr().unwrap().port();
    assert_eq!(
        line,
        format!(
            "PROXY TCP4 127.0.0.1 127.0.0.1 {port} {}\r\n",
            listener.port()
        )
    );
    rest.read_exact(&mut [0; 8]).unwrap();
    // What we say ourselves is not counted as the client's.
    let from_client = "/data/attributes/bytes_from_client";
    let session = daemon.session_until("3", "the question in the counter", |session| {
        session.integer(from_client) > 0
    });
    assert_eq!(session.integer(from_client), 8);

    // What a trusted client says of itself is passed on.
    let mut trusted = from("127.0.0.2", listener.port());
    trusted.write_all(V1).unwrap();
    let (line, _rest) = header(server.accept(&daemon));
    assert_eq!(line.as_bytes(), V1);

    let _unix = UnixStream::connect(&path).unwrap();
    let (line, _rest) = header(server.accept(&daemon));
    assert_eq!(line, "PROXY UNKNOWN\r\n");
}

/// Connects from an address of this machine.
fn from(address: &str, port: u16) -> TcpStream {
    use rustix::net::{SocketAddrV4, bind, connect};
    let fd = tcp_socket();
    bind(&fd, &SocketAddrV4::new(address.parse().unwrap(), 0)).unwrap();
    connect(&fd, &SocketAddrV4::new("127.0.0.1".parse().unwrap(), port)).unwrap();
    TcpStream::from(fd)
}

#[test]
fn a_real_server_takes_the_clients_address_out_of_the_header() {
    let mariadb = MariaDb::start_with("one", &["--proxy-protocol-networks=127.0.0.1"]);
    let config = one_service(mariadb.address())
        .replace("type=server\n", "type=server\nproxy_protocol=true\n")
        .replace("protocol=TCP", "protocol=MariaDBClient");
    let daemon = Daemon::start(&config);
    let address = daemon.listener("listener");
    let host = "SELECT HOST FROM information_schema.PROCESSLIST WHERE ID = CONNECTION_ID()";
    let mut running = client(address);
    let output = running.args(["--execute", &format!("{host}; SELECT SLEEP(0.2)")]);
    let output = output.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let printed = String::from_utf8(output.stdout).unwrap();
    let seen = printed.lines().next().unwrap().to_owned();
    daemon.client_sessions_until(0);
    let closed = daemon.get("/v1/sessions?state=closed").elements("/data");
    let [session] = closed.as_slice() else {
        panic!("one session has ended, not {}", closed.len());
    };
    let port = session.integer("/attributes/port");
    assert_eq!(seen, format!("127.0.0.1:{port}"));
    // The probes have not put it off.
    assert_eq!(query(address, "SELECT 1"), "1");
}
