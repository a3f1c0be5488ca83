//! How it ends.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use super::support::daemon::{one_service, program};
use super::support::process::in_words_of_glibc;
use super::support::server::{closed_port, free_port};
use super::support::uninterrupted::ReadOn;
use super::support::{Daemon, Directory, PATIENCE, Server, http, until};

/// How long it may take to end where nothing is waited for, on a machine that is busy.
const AT_ONCE: Duration = Duration::from_secs(5);

/// One server, one service, and a listener on a port that is nobody else's afterwards.
fn one_service_on_a_port(server: SocketAddr) -> String {
    one_service(server).replace("port=0", &format!("port={}", free_port().port()))
}

#[test]
fn each_signal_closes_everything_at_once_and_exits_with_0() {
    for signal in ["TERM", "INT"] {
        let server = Server::new();
        let mut daemon = Daemon::start(&one_service_on_a_port(server.address()));
        let mut client = http::connect(daemon.listener("listener"));
        let mut behind = server.accept(&daemon);
        let idle_admin_client = http::connect(daemon.admin());
        daemon.client_sessions_until(1);

        let begin = Instant::now();
        daemon.process.signal(signal);
        let status = daemon.process.wait();
        assert!(begin.elapsed() < AT_ONCE, "{:?}", begin.elapsed());
        assert_eq!(status.code(), Some(0));
        assert_eq!(client.read_on(&mut [0]).unwrap(), 0);
        assert_eq!(behind.read_on(&mut [0]).unwrap(), 0);
        drop(idle_admin_client);
        TcpListener::bind(daemon.listener("listener")).expect("the listener's port is free again");
    }
}

#[test]
fn a_port_in_use_is_one_line_and_status_1() {
    let taken = Server::new();
    let address = taken.address();
    for (text, who) in [
        (
            format!(
                "[maxscale]\nadmin_port={}\n{}",
                address.port(),
                one_service(closed_port())
            ),
            format!("admin clients on {address}"),
        ),
        (
            one_service(closed_port()).replace("port=0", &format!("port={}", address.port())),
            format!("clients on {address}"),
        ),
    ] {
        let directory = Directory::new();
        let config = directory.file("sessiond.cnf", &text);
        let output = program()
            .arg("--config")
            .arg(config)
            .env("TMPDIR", directory.path())
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1));
        let message = in_words_of_glibc(&String::from_utf8(output.stderr).unwrap());
        assert_eq!(message.lines().count(), 1, "{message}");
        assert!(
            message.ends_with(&format!(
                "cannot listen for {who}: Address already in use (os error 98)\n"
            )),
            "{message}"
        );
    }
}

#[test]
fn a_log_that_nobody_reads_keeps_nobody_waiting() {
    let (server, _) = Server::new().echo();
    let directory = Directory::new();
    let socket = directory.path().join("socket");
    let config = one_service(server).replace(
        "address=127.0.0.1\nport=0\n",
        &format!("socket={}\n", socket.display()),
    );
    let path = directory.file(
        "sessiond.cnf",
        format!("[maxscale]\nadmin_port=0\n{config}"),
    );
    // Standard error is a pipe that is full already.
    let (reader, writer) = std::io::pipe().unwrap();
    let room = rustix::pipe::fcntl_getpipe_size(&writer).unwrap();
    (&writer).write_all(&vec![b'x'; room]).unwrap();
    let mut command = program();
    command
        .arg("--config")
        .arg(path)
        .env("TMPDIR", directory.path())
        .stderr(writer);
    let mut child = command.spawn().unwrap();
    for _ in 0..3 {
        let mut client = until("a listener", || UnixStream::connect(&socket).ok());
        client.write_all(b"x").unwrap();
        client.read_exact(&mut [0]).unwrap();
    }
    let killed = Command::new("kill")
        .arg(child.id().to_string())
        .status()
        .unwrap();
    assert!(killed.success());
    let begin = Instant::now();
    let status = until("the end of the program", || child.try_wait().unwrap());
    // The last lines have two seconds to be read.
    assert!(begin.elapsed() < 2 * AT_ONCE, "{:?}", begin.elapsed());
    assert_eq!(status.code(), Some(0));
    drop(reader);
}

#[test]
fn an_end_without_anybody_to_tell_has_the_status_that_it_should_have() {
    for (arguments, status) in [
        (&["--chek"][..], 2),
        (&["--check", "--config", "/does/not/exist"], 2),
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut child = program().args(arguments).stderr(writer).spawn().unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(status));
    }
}

/// A daemon that gives its sessions some time, and a session.
fn with_a_session(grace: &str) -> (Daemon, TcpStream, TcpStream) {
    let server = Server::new();
    let grace = format!("shutdown_timeout={grace}\n");
    let daemon = Daemon::start_controlled(&grace, &one_service_on_a_port(server.address()));
    let client = http::connect(daemon.listener("listener"));
    let behind = server.accept(&daemon);
    daemon.client_sessions_until(1);
    (daemon, client, behind)
}

fn passes(client: &mut TcpStream, behind: &mut TcpStream) {
    client.write_all(b"x").unwrap();
    behind.read_exact(&mut [0]).unwrap();
}

#[test]
fn sessions_get_the_shutdown_timeout_to_end_and_nobody_new_is_let_in() {
    let (mut daemon, mut client, mut behind) = with_a_session("5s");
    let address = daemon.listener("listener");
    let begin = Instant::now();
    daemon.process.signal("TERM");
    until("the end of the listener", || {
        TcpStream::connect(address).is_err().then_some(())
    });
    passes(&mut client, &mut behind);
    let session = daemon.get("/v1/sessions/2");
    assert_eq!(session.text("/data/attributes/state"), "Stopping session");
    assert_eq!(daemon.act("GET", "/v1/sessions/1").status, 404);
    let answer = daemon.act("PUT", "/v1/services/service/start");
    assert_eq!(
        (answer.status, answer.detail().as_str()),
        (409, "the program is stopping")
    );
    assert_eq!(client.read_on(&mut [0]).unwrap(), 0);
    assert_eq!(behind.read_on(&mut [0]).unwrap(), 0);
    assert_eq!(daemon.process.wait().code(), Some(0));
    let took = begin.elapsed();
    assert!(took >= Duration::from_secs(5), "{took:?}");
    assert!(took < PATIENCE, "{took:?}");
}

#[test]
fn it_ends_when_its_last_session_has_ended_by_itself() {
    let (mut daemon, mut client, mut behind) = with_a_session("1h");
    let begin = Instant::now();
    daemon.process.signal("INT");
    daemon.session_until("2", "the time to end", |session| {
        session.text("/data/attributes/state") == "Stopping session"
    });
    passes(&mut client, &mut behind);
    drop((client, behind));
    assert_eq!(daemon.process.wait().code(), Some(0));
    assert!(begin.elapsed() < Duration::from_secs(10));
    // Without a session there is nothing to wait for.
    let mut daemon = Daemon::start_controlled("shutdown_timeout=1h\n", "");
    daemon.process.signal("TERM");
    assert_eq!(daemon.process.wait().code(), Some(0));
}

#[test]
fn a_second_signal_ends_it_at_once() {
    for second in ["TERM", "INT"] {
        let (mut daemon, mut client, mut behind) = with_a_session("1h");
        daemon.process.signal("TERM");
        daemon.process.line("the beginning of the end", |line| {
            (line == "<6>stopping").then_some(())
        });
        passes(&mut client, &mut behind);
        // A reload has no place any more.
        daemon.process.signal("HUP");
        let begin = Instant::now();
        daemon.process.signal(second);
        assert_eq!(daemon.process.wait().code(), Some(0));
        assert!(begin.elapsed() < AT_ONCE, "{:?}", begin.elapsed());
        assert_eq!(client.read_on(&mut [0]).unwrap(), 0);
        assert!(
            daemon
                .process
                .first_line(|line| line == "<6>stopping at once")
        );
        let log = daemon.process.log();
        assert!(!log.iter().any(|line| line.contains("the configuration")));
    }
}

#[test]
fn the_reason_for_all_that_is_shutdown() {
    let (daemon, _client, _behind) = with_a_session("300ms");
    let mut follower = http::connect(daemon.admin());
    let request = "GET /v1/sessions/events HTTP/1.0\r\nHost: localhost\r\n\r\n";
    follower.write_all(request.as_bytes()).unwrap();
    let mut said = [0; 8];
    follower.read_exact(&mut said).unwrap();
    daemon.process.signal("TERM");
    let mut rest = String::new();
    follower.read_to_string(&mut rest).unwrap();
    assert!(
        rest.contains("\"event\":\"close\"") && rest.contains("\"reason\":\"shutdown\""),
        "{rest}"
    );
}

#[test]
fn while_it_ends_the_documents_say_so_and_who_waits_is_answered() {
    let (mut daemon, client, behind) = with_a_session("1h");
    thread::scope(|scope| {
        let waiting = scope.spawn(|| daemon.act("GET", "/v1/sessions/2?wait=60s"));
        daemon.process.signal("TERM");
        daemon.session_until("2", "the time to end", |session| {
            session.text("/data/attributes/state") == "Stopping session"
        });
        let state = |target: &str| daemon.get(target).text("/data/attributes/state");
        assert_eq!(state("/v1/listeners/listener"), "Stopped");
        assert_eq!(state("/v1/services/service"), "Stopped");
        until("somebody who waits", || {
            let threads = daemon.process.threads();
            threads.iter().any(|name| name == "wait").then_some(())
        });
        drop((client, behind));
        let answer = waiting.join().unwrap();
        let state = answer.document().text("/data/attributes/state");
        assert_eq!(state, "Freed session");
    });
    assert!(daemon.process.wait().success());
}
