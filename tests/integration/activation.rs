//! Sockets that listen before the program is there.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;

use super::support::daemon::{one_service, program_with_sockets};
use super::support::process::Process;
use super::support::server::free_port;
use super::support::uninterrupted::ReadOn;
use super::support::{Daemon, Directory, PATIENCE, Server, until};

/// A service, and a listener of it at a place.
fn service_at(server: SocketAddr, listener: SocketAddr) -> String {
    one_service(server).replace("port=0\n", &format!("port={}\n", listener.port()))
}

/// A daemon whose only listener has a socket that was passed.
fn activated(server: SocketAddr) -> (Daemon, SocketAddr) {
    let place = free_port();
    let socket = format!("listen:listener={place}");
    let command = program_with_sockets([socket.as_str()]);
    let sections = service_at(server, place);
    let daemon = Daemon::start_with("admin_socket=SOCKET\n", &sections, command);
    assert_eq!(daemon.listener("listener"), place);
    (daemon, place)
}

#[test]
fn sockets_that_are_passed_are_used_by_their_names() {
    let directory = Directory::new();
    let path = directory.path().join("listener.sock");
    let admin_path = directory.path().join("admin.sock");
    let sockets = [
        format!("listen:other={}", path.display()),
        "listen:admin=127.0.0.1:0".to_owned(),
        "listen:listener=127.0.0.1:0".to_owned(),
        format!("listen:admin_socket={}", admin_path.display()),
    ];
    let command = program_with_sockets(sockets.iter().map(String::as_str));
    let (server, _) = Server::new().echo();
    let sections = one_service(server)
        + &format!(
            "[other]\ntype=listener\nservice=service\nprotocol=TCP\nsocket={}\n",
            path.display()
        );
    let mut daemon = Daemon::start_in(directory, "admin_socket=SOCKET\n", &sections, command);
    let log = daemon.process.log().join("\n");
    for (name, address) in [
        ("admin", daemon.admin()),
        ("listener", daemon.listener("listener")),
    ] {
        assert!(log.contains(&format!("passed {name} {address}\n")), "{log}");
    }
    assert_eq!(daemon.request("GET", "/v1").status, 200);
    assert_eq!(daemon.act("GET", "/v1").status, 200);
    let _tcp = TcpStream::connect(daemon.listener("listener")).unwrap();
    let _unix = UnixStream::connect(&path).unwrap();
    daemon.client_sessions_until(2);
    for number in 3..7 {
        let process = daemon.process.id();
        let text = std::fs::read_to_string(format!("/proc/{process}/fdinfo/{number}")).unwrap();
        let flags = text.lines().find_map(|line| line.strip_prefix("flags:"));
        let flags = u32::from_str_radix(flags.unwrap().trim(), 8).unwrap();
        assert_eq!(
            flags & 0o2_004_000,
            0o2_004_000,
            "close-on-exec, non-blocking: {text}"
        );
    }

    // What listens there next time finds its paths.
    daemon.process.signal("TERM");
    assert!(daemon.process.wait().success());
    assert!(path.exists() && admin_path.exists());
}

#[test]
fn a_stopped_listener_sends_clients_of_its_socket_away() {
    let (server, _) = Server::new().echo();
    let (daemon, place) = activated(server);
    daemon.done("PUT", "/v1/listeners/listener/stop");
    for _ in 0..3 {
        assert!(is_sent_away(TcpStream::connect(place).unwrap()));
    }
    assert!(daemon.client_sessions().is_empty());
    // What has not changed stays stopped, with its socket.
    assert!(daemon.reload("admin_history=1\n", &service_at(server, place)));
    assert!(is_sent_away(TcpStream::connect(place).unwrap()));
    // So does what has.
    let changed = service_at(server, place).replace("protocol=TCP", "protocol=PostgreSQLClient");
    assert!(daemon.reload("monitor_interval=0\n", &changed));
    for _ in 0..3 {
        assert!(is_sent_away(TcpStream::connect(place).unwrap()));
    }
    daemon.done("PUT", "/v1/listeners/listener/start");
    let _client = TcpStream::connect(place).unwrap();
    daemon.client_sessions_until(1);
}

/// Whether a client gets nothing but the end.
fn is_sent_away(mut client: TcpStream) -> bool {
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    match client.read_on(&mut [0; 1]) {
        Ok(length) => length == 0,
        Err(error) => error.kind() == ErrorKind::ConnectionReset,
    }
}

#[test]
fn a_reload_keeps_sockets_that_were_passed() {
    let (server, _) = Server::new().echo();
    let (daemon, place) = activated(server);
    let sections = service_at(server, place);
    let first = TcpStream::connect(place).unwrap();
    daemon.client_sessions_until(1);

    // The same, then with another parameter, then under another name.
    let other_parameter = sections.replace("protocol=TCP", "protocol=PostgreSQLClient");
    let other_name = sections.replace("[listener]", "[renamed]");
    for changed in [&sections, &other_parameter, &other_name] {
        // What sends everything back is no PostgreSQL server to a probe.
        assert!(daemon.reload("monitor_interval=0\n", changed));
        assert_eq!(daemon.client_sessions().len(), 1);
        let second = TcpStream::connect(place).unwrap();
        daemon.client_sessions_until(2);
        drop(second);
        daemon.client_sessions_until(1);
    }

    // One that goes away does so in the configuration alone, and may come back.
    let without = sections.split("[listener]").next().unwrap();
    assert!(daemon.reload("", without));
    let told = "listener renamed: systemd still listens for it";
    assert!(daemon.process.log().iter().any(|line| line.contains(told)));
    assert_eq!(
        TcpListener::bind(place).unwrap_err().kind(),
        ErrorKind::AddrInUse
    );
    let waiting = TcpStream::connect(place).unwrap();
    assert!(daemon.reload("", &sections));
    daemon.client_sessions_until(2);
    drop((first, waiting));
}

#[test]
fn sockets_for_another_process_are_left_alone() {
    let (server, _) = Server::new().echo();
    let mut command = program_with_sockets(["listen:nobody=127.0.0.1:0"]);
    command.env("LISTEN_PID", "1");
    let daemon = Daemon::start_with("", &one_service(server), command);
    assert_eq!(daemon.request("GET", "/v1").status, 200);
}

/// Starts the program with sockets and variables, and returns its last words.
fn refused(directory: &Directory, sockets: &[&str], variables: &[(&str, &str)]) -> String {
    let place = directory.path().display();
    let sockets: Vec<String> = sockets
        .iter()
        .map(|socket| socket.replace("DIRECTORY", &place.to_string()))
        .collect();
    let text = format!(
        "[maxscale]\nadmin_port=0\nadmin_socket={place}/admin.sock\nadmin_socket_mode=0600\n{}\
         [fixed]\ntype=listener\nservice=service\nprotocol=TCP\nport=4711\n",
        one_service(SocketAddr::from(([127, 0, 0, 1], 1)))
    );
    let configuration = directory.file("sessiond.cnf", text);
    let mut command = program_with_sockets(sockets.iter().map(String::as_str));
    command.envs(variables.iter().copied());
    command
        .arg("--config")
        .arg(configuration)
        .env("TMPDIR", directory.path());
    let mut process = Process::start(&mut command);
    assert_eq!(process.wait().code(), Some(2), "{:#?}", process.log());
    until("the last words", || {
        let log = process.log();
        log.into_iter().find(|line| line.starts_with("sessiond: "))
    })
}

#[test]
fn a_socket_that_does_not_fit_stops_the_start() {
    let directory = Directory::new();
    let one = "listen:listener=127.0.0.1:0";
    for (sockets, variables, words) in [
        (
            &["listen:listner=127.0.0.1:0"][..],
            &[][..],
            "the socket listner, which was passed by LISTEN_FDS, is for nothing in the configuration \
             (FileDescriptorName= may be admin, admin_socket, listener, fixed)",
        ),
        (
            &["listen:fixed=[::]:0"],
            &[],
            ", and the configuration says port 4711 of all addresses",
        ),
        (
            &["listen:admin=127.0.0.2:0"],
            &[],
            ", and the configuration says 127.0.0.1:0",
        ),
        (
            &["listen:admin=DIRECTORY/other.sock"],
            &[],
            "other.sock, and the configuration says 127.0.0.1:0",
        ),
        (
            &["idle:listener=127.0.0.1:0"],
            &[],
            "does not listen: Accept=no",
        ),
        (
            &["datagram:listener=127.0.0.1:0"],
            &[],
            "is not for streams",
        ),
        (
            &[one, one],
            &[],
            "the socket listener, which was passed by LISTEN_FDS, is there twice",
        ),
        (
            &["listen:admin_socket=DIRECTORY/admin.sock"],
            &[],
            "has the mode 0660, and the configuration says 0600: SocketMode=0600 is needed",
        ),
        (&[one], &[("LISTEN_FDS", "3")], "is not open (descriptor 4)"),
        (
            &[one],
            &[("LISTEN_FDS", "4000000000")],
            "at most 1024 can be passed",
        ),
        (
            &[one],
            &[("LISTEN_FDS", "-1")],
            "LISTEN_FDS and LISTEN_PID must be numbers",
        ),
        (
            &[one],
            &[("LISTEN_FDNAMES", "none")],
            "the socket unknown, which",
        ),
    ] {
        // Paths of the time before are in the way.
        let _ = std::fs::remove_file(directory.path().join("admin.sock"));
        let _ = std::fs::remove_file(directory.path().join("other.sock"));
        let found = refused(&directory, sockets, variables);
        assert!(found.contains(words), "{found}\nis not: {words}");
    }
}

#[test]
fn what_is_not_run_takes_no_sockets() {
    let mut command = program_with_sockets(["listen:nobody=127.0.0.1:0"]);
    command.arg("--check");
    assert!(Process::start(&mut command).wait().success());
}
