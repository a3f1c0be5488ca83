//! What is left to deliver when a side has ended, and streams that the system
//! does not splice.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use rustix::net::{SendFlags, send, sockopt};

use super::support::daemon::{one_service, program_path};
use super::support::http::connect;
use super::support::server::tcp_socket;
use super::support::{Daemon, PATIENCE, Server, until};

/// A client with a small window.
fn slow_client(daemon: &Daemon) -> TcpStream {
    let socket = tcp_socket();
    sockopt::set_socket_recv_buffer_size(&socket, 64 * 1024).unwrap();
    rustix::net::connect(&socket, &daemon.listener("listener")).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Waits until a session's counter rests.
fn until_stalled(daemon: &Daemon, counter: &str) {
    let mut last = (0, Instant::now());
    until("a session that stalls", || {
        let sessions = daemon.client_sessions();
        let count = sessions[0].integer(&format!("/attributes/{counter}"));
        if count != last.0 {
            last = (count, Instant::now());
        }
        (count > 0 && last.1.elapsed() > Duration::from_millis(300)).then_some(())
    });
}

/// Writes until nothing on the way to the client takes any more.
fn fill(daemon: &Daemon, behind: &mut TcpStream) {
    behind.set_nonblocking(true).unwrap();
    let bytes = vec![7; 1_000_000];
    loop {
        let mut written = 0;
        while let Ok(length) = behind.write(&bytes) {
            written += length;
        }
        if written == 0 {
            return;
        }
        until_stalled(daemon, "bytes_to_client");
    }
}

#[test]
fn a_reset_after_the_end_of_a_stream_takes_nothing_from_a_client_that_pauses() {
    for protocol in ["TCP", "MariaDBClient"] {
        let server = Server::new();
        let config =
            one_service(server.address()).replace("protocol=TCP", &format!("protocol={protocol}"));
        let daemon = Daemon::start_with(
            "monitor_interval=0\n",
            &config,
            super::support::daemon::program(),
        );
        let mut client = slow_client(&daemon);
        let mut behind = server.accept(&daemon);
        // The sockets of the relay hold all of it, so the server owes nothing more.
        let bytes = vec![7; 3_000_000];
        let sent = bytes.len();
        behind.write_all(&bytes).unwrap();
        behind.shutdown(Shutdown::Write).unwrap();
        daemon.session_until("2", "all that was sent", |session| {
            session.integer("/data/attributes/bytes_to_client") == sent as u64
        });
        // As a kernel does that has forgotten the connection.
        rustix::net::connect_unspec(&behind).unwrap();
        drop(behind);
        until_stalled(&daemon, "bytes_to_client");
        let mut received = 0;
        let mut room = vec![0; 64 * 1024];
        loop {
            match client.read(&mut room).unwrap() {
                0 => break,
                length => received += length,
            }
        }
        assert_eq!(received, sent, "{protocol}");
        drop(client);
        daemon.ended_as("2", "server closed");
    }
}

#[test]
fn what_a_client_has_sent_reaches_a_server_that_writes_before_it_reads() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    sockopt::set_socket_recv_buffer_size(&listener, 64 * 1024).unwrap();
    let server = Server::on(listener);
    let daemon = Daemon::start(&one_service(server.address()));
    let mut client = slow_client(&daemon);
    let mut behind = server.accept(&daemon);
    client.write_all(&vec![5; 1_000_000]).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    until_stalled(&daemon, "bytes_from_client");
    let serving = thread::spawn(move || {
        // More than the sockets on the way hold, to a client that has gone.
        behind.write_all(&vec![6; 30_000_000]).unwrap();
        let mut received = 0;
        let mut room = vec![0; 64 * 1024];
        while let Ok(length @ 1..) = behind.read(&mut room) {
            received += length;
        }
        received
    });
    until_stalled(&daemon, "bytes_to_client");
    rustix::net::connect_unspec(&client).unwrap();
    assert_eq!(serving.join().unwrap(), 1_000_000);
    daemon.ended_as("2", "client closed");
}

#[test]
fn a_slow_client_of_a_broken_server_gets_what_there_is_and_sees_a_reset() {
    let server = Server::new();
    let daemon = Daemon::start(&one_service(server.address()));
    let mut client = slow_client(&daemon);
    let mut behind = server.accept(&daemon);
    fill(&daemon, &mut behind);
    rustix::net::connect_unspec(&behind).unwrap();
    let mut heard = Vec::new();
    let error = client.read_to_end(&mut heard).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    assert!(heard.len() > 100_000, "{}", heard.len());
    daemon.ended_as("2", "server lost");
}

#[test]
fn a_killed_session_that_has_bytes_on_the_way_is_seen_to_break() {
    let server = Server::new();
    let daemon = Daemon::start_controlled("", &one_service(server.address()));
    let mut client = slow_client(&daemon);
    let mut behind = server.accept(&daemon);
    fill(&daemon, &mut behind);
    daemon.done("DELETE", "/v1/sessions/2");
    let error = client.read_to_end(&mut Vec::new()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    daemon.ended_as("2", "killed");
}

/// Moves bytes through a daemon whose calls of splice(2) fail from one on.
fn without_splice(error: &str, from: usize) {
    const BYTES: usize = 64 * 1024 * 1024;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut command = Command::new("strace");
    command
        .args(["-f", "-qq", "-o", "/dev/null", "-e", "trace=splice", "-e"])
        .arg(format!("inject=splice:error={error}:when={from}+"))
        .arg(program_path());
    let daemon = Daemon::start_with("", &one_service(address), command);
    let receiving = thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let mut received = 0;
            let mut room = vec![0; 256 * 1024];
            while let Ok(length @ 1..) = stream.read(&mut room) {
                let first = u64::try_from(received).unwrap();
                for (index, byte) in room[..length].iter().enumerate().step_by(997) {
                    let expected = (first + index as u64) / 4096 % 251;
                    assert_eq!(u64::from(*byte), expected);
                }
                received += length;
            }
            // A probe says nothing.
            if received > 0 {
                return received;
            }
        }
        0
    });
    let mut client = connect(daemon.listener("listener"));
    let pattern: Vec<u8> = (0..BYTES)
        .map(|index| u8::try_from(index / 4096 % 251).unwrap())
        .collect();
    client.write_all(&pattern).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(receiving.join().unwrap(), BYTES, "{error} from {from}");
    assert_eq!(client.read(&mut [0]).unwrap(), 0);
    daemon.ended_as("2", "client closed");
}

#[test]
fn where_the_system_refuses_to_splice_streams_are_copied() {
    // The first call takes bytes out of a socket, the second one gives them on.
    for (error, from) in [("ENOSYS", 1), ("EPERM", 2), ("EINVAL", 1), ("ENOSYS", 4)] {
        without_splice(error, from);
    }
}

#[test]
fn bytes_behind_an_urgent_one_in_a_long_stream_arrive() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    sockopt::set_socket_recv_buffer_size(&listener, 64 * 1024).unwrap();
    let server = Server::on(listener);
    let daemon = Daemon::start(&one_service(server.address()));
    let mut client = connect(daemon.listener("listener"));
    let mut behind = server.accept(&daemon);
    let mut room = vec![0; 256 * 1024];
    let mut received = 0;
    // A long stream, until the server takes no more of it.
    client.set_nonblocking(true).unwrap();
    let mut sent = 0;
    let bytes = vec![1; 256 * 1024];
    while received < 8_000_000 {
        while let Ok(length) = client.write(&bytes) {
            sent += length;
        }
        received += behind.read(&mut room).unwrap();
    }
    while let Ok(length) = client.write(&bytes) {
        sent += length;
    }
    until_stalled(&daemon, "bytes_from_client");
    // The relay learns of room at the server and of all that follows at the same time.
    daemon.process.signal("STOP");
    client.set_nonblocking(false).unwrap();
    let draining = thread::spawn(move || {
        let mut received = 0;
        while let Ok(length @ 1..) = behind.read(&mut room) {
            received += length;
        }
        received
    });
    while send(&client, b"!", SendFlags::OOB).is_err() {}
    client.write_all(&vec![2; 50_000]).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    daemon.process.signal("CONT");
    received += draining.join().unwrap();
    assert_eq!(received, sent + 50_000);
}
