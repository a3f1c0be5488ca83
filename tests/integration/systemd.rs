//! What systemd is told.

use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use super::support::daemon::{one_service, program, program_with_sockets};
use super::support::interactive::Interactive;
use super::support::notify::{Notify, fill, value};
use super::support::{Daemon, Directory, PATIENCE, Server};

/// A daemon with one service, and the socket where it tells how it is.
fn notifying(maxscale: &str, variables: &[(&str, &str)]) -> (Daemon, Notify, SocketAddr) {
    let directory = Directory::new();
    let mut command = program_with_sockets([]);
    command.env("LISTEN_PID", "1");
    let notify = Notify::at(&directory.path().join("notify"), &mut command);
    command.envs(variables.iter().copied());
    let (server, _) = Server::new().echo();
    let sections = one_service(server);
    let maxscale = format!("admin_socket=SOCKET\n{maxscale}");
    let daemon = Daemon::start_in(directory, &maxscale, &sections, command);
    (daemon, notify, server)
}

#[test]
fn systemd_is_told_of_the_start_of_clients_and_of_the_end() {
    let (mut daemon, notify, _server) = notifying("shutdown_timeout=20s\n", &[]);
    assert_eq!(notify.message(), "READY=1\nSTATUS=0 sessions");
    let client = TcpStream::connect(daemon.listener("listener")).unwrap();
    assert_eq!(notify.message(), "STATUS=1 session");
    daemon.process.signal("TERM");
    assert_eq!(
        notify.message(),
        "STOPPING=1\nEXTEND_TIMEOUT_USEC=35000000\nSTATUS=stopping, 1 session"
    );
    drop(client);
    assert!(daemon.process.wait().success());
    assert_eq!(notify.within(Duration::from_millis(1)), None);
}

#[test]
fn the_status_is_told_now_and_then_however_many_come() {
    let (daemon, notify, _server) = notifying("", &[]);
    notify.until("READY=1");
    let begin = Instant::now();
    for _ in 0..200 {
        TcpStream::connect(daemon.listener("listener")).unwrap();
    }
    daemon.client_sessions_until(0);
    let mut messages = 0;
    while begin.elapsed() < Duration::from_secs(3) {
        messages += usize::from(notify.within(Duration::from_millis(100)).is_some());
    }
    assert!(messages <= 2, "{messages} messages");
}

#[test]
fn an_abstract_socket_is_told_as_well() {
    let mut command = program();
    let name = format!("sessiond-test-{}", std::process::id());
    let notify = Notify::abstract_at(&name, &mut command);
    let daemon = Daemon::start_with("admin_enabled=true\n", "", command);
    assert_eq!(notify.message(), "READY=1\nSTATUS=0 sessions");
    drop(daemon);
}

#[test]
fn a_reload_is_told_with_its_time_and_how_it_went() {
    let (daemon, notify, server) = notifying("", &[]);
    let ready = notify.message();
    assert!(ready.starts_with("READY=1\n"), "{ready}");
    let sections = one_service(server);

    let before = monotonic_microseconds();
    assert!(daemon.reload("", &sections));
    let reloading = notify.message();
    let time = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=");
    let time: u128 = time.expect(&reloading).parse().unwrap();
    // The clock of /proc/uptime has hundredths of a second.
    assert!(time + 10_000 >= before && time <= monotonic_microseconds() + 10_000);
    assert_eq!(notify.message(), "READY=1\nSTATUS=0 sessions");

    assert!(!daemon.reload("admin_history=many\n", &sections));
    assert!(notify.message().starts_with("RELOADING=1\n"));
    let ready = notify.message();
    let reason = value(&ready, "STATUS").unwrap();
    assert!(ready.starts_with("READY=1\n"), "{ready}");
    assert!(
        reason.starts_with("0 sessions; the configuration could not be read again: ")
            && reason.contains("sessiond.cnf:4: maxscale: admin_history=many must be"),
        "{reason}"
    );

    assert!(daemon.reload("", &sections));
    assert!(notify.message().starts_with("RELOADING=1\n"));
    assert_eq!(notify.message(), "READY=1\nSTATUS=0 sessions");
}

fn monotonic_microseconds() -> u128 {
    let uptime = std::fs::read_to_string("/proc/uptime").unwrap();
    let seconds: f64 = uptime.split(' ').next().unwrap().parse().unwrap();
    Duration::from_secs_f64(seconds).as_micros()
}

#[test]
fn the_watchdog_is_told_at_half_of_its_time_though_nothing_happens() {
    let begin = Instant::now();
    let (_daemon, notify, _server) = notifying("", &[("WATCHDOG_USEC", "1000000")]);
    assert!(notify.message().ends_with("\nWATCHDOG=1"));
    for _ in 0..4 {
        assert_eq!(notify.message(), "WATCHDOG=1");
    }
    // The first one comes at the start.
    assert!(
        begin.elapsed() >= Duration::from_secs(2),
        "{:?}",
        begin.elapsed()
    );
}

#[test]
fn a_watchdog_of_another_process_is_not_ours() {
    let variables = [("WATCHDOG_USEC", "200000"), ("WATCHDOG_PID", "1")];
    let (_daemon, notify, _server) = notifying("", &variables);
    assert_eq!(notify.message(), "READY=1\nSTATUS=0 sessions");
    assert_eq!(notify.within(Duration::from_millis(500)), None);
}

#[test]
fn the_watchdog_is_told_nothing_while_one_of_the_loops_stands_still() {
    let (daemon, notify, _server) = notifying("", &[("WATCHDOG_USEC", "2000000")]);
    notify.until("READY=1");
    for (thread, name) in [("relay", "relay's"), ("admin", "admin server's")] {
        notify.until("WATCHDOG=1");
        let mut threads = Command::new("python3");
        threads
            .args(["-c", include_str!("support/stop.py")])
            .arg(daemon.process.id().to_string());
        let mut threads = Interactive::start(&mut threads);
        assert_eq!(
            threads.ask(&format!("stop {thread}")),
            format!("stop {thread}")
        );
        let complaint = format!("the {name} loop does not turn");
        daemon
            .process
            .line(&complaint, |line| line.contains(&complaint).then_some(()));
        // One may have been sent before the loop stood still.
        while notify.within(Duration::from_millis(1)).is_some() {}
        assert_eq!(notify.within(Duration::from_secs(2)), None, "{thread}");
        assert_eq!(threads.ask(&format!("go {thread}")), format!("go {thread}"));
        notify.until("WATCHDOG=1");
        assert!(threads.end().success());
    }
}

#[test]
fn nobody_waits_for_a_service_manager_that_does_not_read() {
    let directory = Directory::new();
    let path = directory.path().join("notify");
    let mut command = program();
    command.env("WATCHDOG_USEC", "200000");
    let _notify = Notify::at(&path, &mut command);
    fill(&path);
    let mut daemon = Daemon::start_in(directory, "admin_socket=SOCKET\n", "", command);
    assert_eq!(daemon.request("GET", "/v1").status, 200);
    assert!(daemon.reload("", ""));
    assert_eq!(daemon.request("GET", "/v1").status, 200);
    let begin = Instant::now();
    daemon.process.signal("TERM");
    assert!(daemon.process.wait().success());
    assert!(begin.elapsed() < PATIENCE / 2, "{:?}", begin.elapsed());
}

#[test]
fn a_socket_that_is_not_there_ends_nothing() {
    for (socket, complaint) in [
        (
            "/nowhere/notify",
            "cannot tell systemd how things are at /nowhere/notify",
        ),
        (
            "vsock:2:1234",
            "NOTIFY_SOCKET=vsock:2:1234: it must be an absolute path",
        ),
    ] {
        let mut command = program();
        command
            .env("NOTIFY_SOCKET", socket)
            .env("WATCHDOG_USEC", "200000");
        let daemon = Daemon::start_with("", "", command);
        let complains = |line: &String| line.contains(complaint);
        super::support::until(complaint, || {
            daemon.process.log().iter().any(complains).then_some(())
        });
        assert_eq!(daemon.request("GET", "/v1").status, 200);
    }
}
