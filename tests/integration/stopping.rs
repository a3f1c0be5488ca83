//! How it ends.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::{Duration, Instant};

use super::support::daemon::{one_service, program};
use super::support::server::closed_port;
use super::support::{Daemon, Directory, Server, http, until};

#[test]
fn each_signal_closes_everything_and_exits_with_0_within_a_second() {
    for signal in ["TERM", "INT"] {
        let server = Server::new();
        let mut daemon = Daemon::start(&one_service(server.address()));
        let mut client = http::connect(daemon.listener("listener"));
        let mut behind = server.accept(&daemon);
        let idle_admin_client = http::connect(daemon.admin());
        daemon.client_sessions_until(1);

        let begin = Instant::now();
        daemon.process.signal(signal);
        let status = daemon.process.wait();
        assert!(
            begin.elapsed() < Duration::from_secs(1),
            "{:?}",
            begin.elapsed()
        );
        assert_eq!(status.code(), Some(0));
        assert_eq!(client.read(&mut [0]).unwrap(), 0);
        assert_eq!(behind.read(&mut [0]).unwrap(), 0);
        drop(idle_admin_client);
        TcpListener::bind(daemon.listener("listener")).expect("the listener's port is free again");
    }
}

#[test]
fn nothing_is_left_in_the_directory_of_temporary_files() {
    let directory = Directory::new();
    let config = directory.file("sessiond.cnf", "[maxscale]\nadmin_port=0\n");
    let temporary = directory.path().join("tmp");
    std::fs::create_dir(&temporary).unwrap();
    let mut command = program();
    command
        .arg("--config")
        .arg(config)
        .env("TMPDIR", &temporary);
    let mut process = super::support::process::Process::start(&mut command);
    process.line("the admin server's address", |line| {
        line.contains("listening").then_some(())
    });
    let inner: Vec<_> = std::fs::read_dir(&temporary).unwrap().collect();
    assert_eq!(inner.len(), 1);
    let metadata = inner[0].as_ref().unwrap().metadata().unwrap();
    assert_eq!(
        std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o777,
        0o700
    );
    process.signal("TERM");
    assert!(process.wait().success());
    assert_eq!(std::fs::read_dir(&temporary).unwrap().count(), 0);
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
        let message = String::from_utf8(output.stderr).unwrap();
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
    assert!(
        begin.elapsed() < Duration::from_secs(1),
        "{:?}",
        begin.elapsed()
    );
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
