//! Which servers are up, found out by probes that hold nobody up.

use std::io::Read;
use std::net::{IpAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use sessiond::config::Config;
use sessiond::registry::Registry;

use super::support::daemon::program_path;
use super::support::http::connect;
use super::support::mariadb::{GREETING, MariaDb, query};
use super::support::relay::Running;
use super::support::server::{free_port, full_backlog};
use super::support::uninterrupted::ReadOn;
use super::support::{Daemon, Directory, PATIENCE, Server, until};

/// Longer than two rounds of probes, and the time that they may take.
const ROUNDS: Duration = Duration::from_secs(5);

/// By when they should have, on a machine however slow.
const LATE: Duration = Duration::from_secs(15);

/// A service of servers at these ports, called by their kind.
fn servers(protocol: &str, ports: &[(&str, u16)]) -> String {
    let sections: Vec<String> = ports
        .iter()
        .map(|(name, port)| format!("[{name}]\ntype=server\naddress=127.0.0.1\nport={port}\n"))
        .collect();
    let names: Vec<&str> = ports.iter().map(|(name, _)| *name).collect();
    format!(
        "{}[service]\ntype=service\nservers={}\n\
         [listener]\ntype=listener\nservice=service\nprotocol={protocol}\naddress=127.0.0.1\nport=0\n",
        sections.concat(),
        names.join(",")
    )
}

fn state(daemon: &Daemon, server: &str) -> String {
    daemon
        .get(&format!("/v1/servers/{server}"))
        .text("/data/attributes/state")
}

fn until_state(daemon: &Daemon, server: &str, wanted: &str) {
    until(&format!("{server} {wanted}"), || {
        (state(daemon, server) == wanted).then_some(())
    });
}

#[test]
fn without_any_client_a_server_goes_down_and_comes_back() {
    let address = free_port();
    let daemon = Daemon::start(&servers("TCP", &[("server", address.port())]));
    until_state(&daemon, "server", "Down");
    let back = TcpListener::bind(address).unwrap();
    until_state(&daemon, "server", "Running");
    drop(back);
    until_state(&daemon, "server", "Down");
    // Each change is a line in the log, and nothing else is.
    let changes = || {
        let log = daemon.process.log();
        let changes = log.iter().filter(|line| line.contains("server server is"));
        changes.count()
    };
    until("the last change in the log", || {
        (changes() >= 3).then_some(())
    });
    assert_eq!(changes(), 3, "{:#?}", daemon.process.log());
}

#[test]
fn each_server_is_probed_every_two_seconds_and_left_at_once() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let begin = Instant::now();
    let _daemon = Daemon::start(&servers(
        "TCP",
        &[("server", server.local_addr().unwrap().port())],
    ));
    for number in 0..4 {
        let (mut probe, _) = server.accept().unwrap();
        // It may be seen late, but never early.
        let since = begin.elapsed();
        assert!(since >= number * Duration::from_millis(1800), "{since:?}");
        probe.set_read_timeout(Some(PATIENCE)).unwrap();
        assert_eq!(probe.read_on(&mut [0]).unwrap(), 0);
    }
}

#[test]
fn a_real_server_that_is_stopped_goes_down_and_comes_back_when_it_goes_on() {
    let (one, two) = (MariaDb::start("one"), MariaDb::start("two"));
    let ports = [("one", one.address().port()), ("two", two.address().port())];
    let daemon = Daemon::start(&servers("MariaDBClient", &ports));
    let address = daemon.listener("listener");
    assert_eq!(query(address, "SELECT @@report_host"), "one");
    let version = query(address, "SELECT VERSION()");
    until("a probe that has seen the version", || {
        let server = daemon.get("/v1/servers/one");
        let shown = "/data/attributes/version_string";
        (server.has(shown) && server.text(shown) == version).then_some(())
    });
    one.process.signal("STOP");
    until_state(&daemon, "one", "Down");
    for _ in 0..5 {
        assert_eq!(query(address, "SELECT @@report_host"), "two");
    }
    one.process.signal("CONT");
    until_state(&daemon, "one", "Running");
    assert_eq!(query(address, "SELECT @@report_host"), "one");
    until_state(&daemon, "two", "Running");
}

#[test]
fn probes_are_no_errors_that_a_server_blocks_a_host_for() {
    let mariadb = MariaDb::start("one");
    let daemon = Daemon::start(&servers(
        "MariaDBClient",
        &[("one", mariadb.address().port())],
    ));
    // A login that is denied does not count; a connection that ends without one does.
    mariadb.process.line("a denied login", |line| {
        line.contains("Access denied for user 'sessiond-probe'")
            .then_some(())
    });
    // Where there is such a user, the log is quiet.
    query(mariadb.address(), "CREATE USER `sessiond-probe`");
    let aborted = || {
        let shown = query(mariadb.address(), "SHOW GLOBAL STATUS LIKE 'Aborted%'");
        let counts = shown.lines().map(|line| line.split_once('\t').unwrap().1);
        counts
            .map(|count| count.parse::<u32>().unwrap())
            .sum::<u32>()
    };
    let connections = || -> u32 {
        let shown = query(mariadb.address(), "SHOW GLOBAL STATUS LIKE 'Connections'");
        shown.split_once('\t').unwrap().1.parse().unwrap()
    };
    // One that began before there was the user may be counted yet.
    let rounds = |count: u32| {
        let (begin, asked) = (connections(), std::cell::Cell::new(0));
        until("probes", || {
            asked.set(asked.get() + 1);
            (connections() >= begin + asked.get() + count).then_some(())
        });
    };
    rounds(1);
    let before = aborted();
    rounds(2);
    assert_eq!(aborted(), before);
    until_state(&daemon, "one", "Running");
}

#[test]
fn servers_that_hang_or_talk_nonsense_go_down_and_hold_up_nobody() {
    let play = |says: &[u8]| {
        let server = Server::new();
        let port = server.address().port();
        server.say(says);
        port
    };
    let (black_hole, _fillers) = full_backlog("127.0.0.1");
    let silent = Server::new();
    let garbage = play(b"SSH-2.0-OpenSSH_9.2\r\n");
    let full = play(b"\x17\0\0\0\xff\x10\x04Too many connections");
    let cut = play(&GREETING[..20]);
    let endless = play(&vec![b'x'; 100_000]);
    let good = play(GREETING);
    let all = [
        ("black_hole", black_hole.address().port()),
        ("silent", silent.address().port()),
        ("garbage", garbage),
        ("full", full),
        ("cut", cut),
        ("endless", endless),
        ("good", good),
    ];
    let daemon = Daemon::start(&servers("MariaDBClient", &all));
    let begin = Instant::now();
    for (name, _) in &all[..6] {
        until_state(&daemon, name, "Down");
    }
    assert!(begin.elapsed() < LATE, "{:?}", begin.elapsed());
    until_state(&daemon, "good", "Running");
    assert_eq!(
        daemon
            .get("/v1/servers/good")
            .text("/data/attributes/version_string"),
        "10.11.6-MariaDB"
    );

    // Clients come to the one that is left, and none waits for a probe.
    for cause in [
        "server full is down: it answers with error 1040: Too many connections",
        "server garbage is down: it does not greet as a MariaDB server does",
        "server silent is down: no answer to a probe",
    ] {
        until(cause, || {
            let log = daemon.process.log();
            log.iter().any(|line| line.contains(cause)).then_some(())
        });
    }
    let until_then = Instant::now() + ROUNDS;
    let mut took = Vec::new();
    while Instant::now() < until_then {
        let begin = Instant::now();
        let mut client = connect(daemon.listener("listener"));
        client.read_exact(&mut [0; 20]).unwrap();
        took.push(begin.elapsed());
        assert_eq!(state(&daemon, "silent"), "Down");
    }
    took.sort();
    let usual = took[took.len() / 2];
    assert!(usual < Duration::from_millis(500), "{usual:?}");
}

#[test]
fn a_server_of_which_all_addresses_hang_is_down_within_two_rounds() {
    let first = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = first.local_addr().unwrap().port();
    let addresses: Vec<IpAddr> = (1..=8)
        .map(|last| IpAddr::from([127, 0, 0, last]))
        .collect();
    let silent: Vec<TcpListener> = addresses[1..]
        .iter()
        .map(|address| TcpListener::bind((*address, port)).unwrap())
        .collect();
    let text = servers("MariaDBClient", &[("server", port)]);
    // A name that no resolver knows keeps the addresses that it is given.
    let text = text.replacen("address=127.0.0.1", "address=db.invalid", 1);
    let config = Config::parse("test", text.as_bytes()).unwrap();
    let registry = Arc::new(Registry::new(&config, SystemTime::now()));
    registry.topology().servers[0].set_addresses(&addresses);
    let running = Running::run(registry);
    let begin = Instant::now();
    until("a server that is down", || {
        (!running.registry.topology().servers[0].is_up()).then_some(())
    });
    assert!(begin.elapsed() < LATE, "{:?}", begin.elapsed());
    running.stop();
    drop((first, silent));
}

#[test]
fn a_server_that_resets_a_connection_is_not_down() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let daemon = Daemon::start(&servers(
        "TCP",
        &[("server", listener.local_addr().unwrap().port())],
    ));
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            // Nothing lingers, so the end is a reset (socket(7)).
            rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
        }
    });
    for number in 0..200 {
        // The client may see the reset before its connect is over, or after it.
        if let Ok(mut client) = TcpStream::connect(daemon.listener("listener")) {
            let _ = client.read_on(&mut [0]);
        }
        let ended = daemon.ended(&(2 + number).to_string());
        assert_eq!(ended.text("/data/attributes/close_reason"), "server lost");
        assert_eq!(state(&daemon, "server"), "Running");
    }
}

#[test]
fn what_a_server_says_can_neither_forge_nor_rearrange_log_lines() {
    let message = "\u{202e}gpj\u{2028}<0>forged";
    let body = [b"\xff\x10\x04", message.as_bytes()].concat();
    let packet = [&[u8::try_from(body.len()).unwrap(), 0, 0, 0], &body[..]].concat();
    let server = Server::new();
    let port = server.address().port();
    server.say(&packet);
    let daemon = Daemon::start(&servers("MariaDBClient", &[("server", port)]));
    let line = daemon.process.line("what the server says", |line| {
        line.contains("forged").then(|| line.to_owned())
    });
    assert_eq!(
        line,
        "<4>server server is down: it answers with error 1040: \\u202egpj\\u2028<0>forged"
    );
}

/// Becomes the program in its arguments, beside a server that holds every
/// connection for as long as that program runs. All local ports of UDP are taken.
const WITH_SERVER: &str = "
import os, socket, sys
ports = []
for port in range(20000, 20004):
    taken = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    taken.bind(('', port))
    ports.append(taken)
server = socket.create_server(('127.0.0.1', 3306))
program = os.getpid()
if os.fork():
    os.execvp(sys.argv[1], sys.argv[1:])
server.settimeout(1)
held = []
while os.getppid() == program:
    try:
        held.append(server.accept())
    except socket.timeout:
        pass
";

#[test]
fn where_no_local_port_is_free_the_log_says_so_and_no_server_is_down() {
    // The network that the daemon is in has four ports for its ends of connections.
    let script = "ip link set lo up && \
                  echo 20000 20003 > /proc/sys/net/ipv4/ip_local_port_range && exec \"$@\"";
    let isolated = || {
        let mut command = Command::new("unshare");
        command.args(["-n", "sh", "-c", script, "sh"]);
        command
    };
    let tried = isolated().arg("true").output();
    if !tried.is_ok_and(|tried| tried.status.success()) {
        eprintln!(
            "skipped: where_no_local_port_is_free_the_log_says_so_and_no_server_is_down: \
             network namespaces are not permitted here"
        );
        return;
    }
    let directory = Directory::new();
    let path = directory.path().join("listener.sock");
    let sections = servers("TCP", &[("server", 3306)]).replace(
        "address=127.0.0.1\nport=0\n",
        &format!("socket={}\n", path.display()),
    );
    let mut command = isolated();
    command
        .args(["python3", "-c", WITH_SERVER])
        .arg(program_path());
    let daemon = Daemon::start_in(directory, "admin_socket=SOCKET\n", &sections, command);
    let state = || {
        let server = daemon.act("GET", "/v1/servers/server").document();
        server.text("/data/attributes/state")
    };
    let clients: Vec<UnixStream> = (0..8)
        .map(|_| UnixStream::connect(&path).unwrap())
        .collect();
    daemon.process.line("the want of ports", |line| {
        let words = "<3>cannot open a connection to server server: no local port is free for a \
                     connection to 127.0.0.1:3306; see net.ipv4.ip_local_port_range";
        assert!(!line.contains("is down"), "{line}");
        (line == words).then_some(())
    });
    // Probes find no port either.
    let begin = Instant::now();
    while begin.elapsed() < ROUNDS {
        assert_eq!(state(), "Running");
    }
    drop(clients);
    // Ports that were in use are free again after a second.
    until("a session", || {
        let _client = UnixStream::connect(&path).unwrap();
        let sessions = daemon
            .act("GET", "/v1/sessions")
            .document()
            .elements("/data");
        sessions
            .iter()
            .any(|session| session.has("/attributes/connections/0"))
            .then_some(())
    });
}
