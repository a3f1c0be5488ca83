//! Bytes through the relay: all of them, in order, in bounded memory, whatever
//! either side does.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::{Duration, Instant};

use super::support::daemon::one_service;
use super::support::http::{connect, request};
use super::support::server::{closed_port, free_port, full_backlog};
use super::support::uninterrupted::{PeekOn, ReadOn};
use super::support::{Daemon, Directory, PATIENCE, Server, until};

/// A daemon before a server that the test plays.
fn with_a_server() -> (Daemon, Server) {
    let server = Server::new();
    let daemon = Daemon::start(&one_service(server.address()));
    (daemon, server)
}

/// A client and the server's end of its connection.
fn through(daemon: &Daemon, server: &Server) -> (TcpStream, TcpStream) {
    let client = connect(daemon.listener("listener"));
    (client, server.accept(daemon))
}

/// A service with two servers, and what else is said of each.
fn two_servers(one: &Server, one_has: &str, two: &Server, two_has: &str) -> String {
    let server = |name: &str, server: &Server, has: &str| {
        format!(
            "[{name}]\ntype=server\naddress=127.0.0.1\nport={}\n{has}\n",
            server.address().port()
        )
    };
    format!(
        "{}{}[service]\ntype=service\nservers=one,two\nconnect_timeout=300ms\n\
         [listener]\ntype=listener\nservice=service\nprotocol=TCP\naddress=127.0.0.1\nport=0\n",
        server("one", one, one_has),
        server("two", two, two_has)
    )
}

/// Resets the connection when it is dropped.
fn reset(stream: TcpStream) {
    // Closing with unread bytes resets (RFC 2525, section 2.17), so the peer must have sent some.
    until("bytes that stay unread", || {
        (stream.peek_on(&mut [0]).unwrap() > 0).then_some(())
    });
    drop(stream);
}

#[test]
fn a_session_is_listed_while_it_is_open() {
    let (daemon, server) = with_a_server();
    let (mut client, mut behind) = through(&daemon, &server);
    let begin = Instant::now();
    client.write_all(b"question").unwrap();
    behind.read_exact(&mut [0; 8]).unwrap();
    behind.write_all(b"the answer").unwrap();
    client.read_exact(&mut [0; 10]).unwrap();

    // A read and a write each way.
    let document = daemon.session_until("2", "the counters", |session| {
        session.integer("/data/attributes/io_activity") == 4
    });
    let session = document.at("/data");
    assert_eq!(
        session.text("/attributes/state"),
        "Session ready for routing"
    );
    assert_eq!(session.text("/attributes/remote"), "127.0.0.1");
    assert_eq!(
        session.integer("/attributes/port"),
        u64::from(client.local_addr().unwrap().port())
    );
    assert_eq!(session.integer("/attributes/bytes_from_client"), 8);
    assert_eq!(session.integer("/attributes/bytes_to_client"), 10);
    assert_eq!(session.text("/attributes/protocol"), "TCP");
    assert_eq!(session.text("/attributes/listener"), "listener");
    assert_eq!(session.text("/relationships/services/data/0/id"), "service");
    let connection = session.at("/attributes/connections/0");
    assert_eq!(connection.text("/server"), "server");
    assert_eq!(connection.text("/address"), "127.0.0.1");
    assert_eq!(
        connection.integer("/port"),
        u64::from(server.address().port())
    );
    assert_eq!(
        connection.integer("/local_port"),
        u64::from(behind.peer_addr().unwrap().port())
    );
    assert!(session.integer("/attributes/memory/total") > 100);
    assert!(session.integer("/attributes/memory/total") < 1024);

    let idle = daemon.session_until("2", "a second of rest", |session| {
        session.seconds("/data/attributes/idle") >= Duration::from_secs(1)
    });
    assert!(begin.elapsed() > Duration::from_millis(500));
    assert!(
        idle.seconds("/data/attributes/seconds_alive") >= idle.seconds("/data/attributes/idle")
    );
    let sent = Instant::now();
    client.write_all(b"x").unwrap();
    daemon.session_until("2", "the end of the rest", |session| {
        session.seconds("/data/attributes/idle") <= sent.elapsed()
    });

    drop(client);
    assert_eq!(behind.read_on(&mut [0; 9]).unwrap(), 1);
    assert_eq!(behind.read_on(&mut [0]).unwrap(), 0);
    drop(behind);
    daemon.ended("2");
}

#[test]
fn half_closes_are_carried_across_in_both_directions() {
    let (daemon, server) = with_a_server();
    let (mut client, mut behind) = through(&daemon, &server);
    client.write_all(b"all I have to say").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let mut heard = Vec::new();
    behind.read_to_end(&mut heard).unwrap();
    assert_eq!(heard, b"all I have to say");
    behind.write_all(b"and my answer").unwrap();
    drop(behind);
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).unwrap();
    assert_eq!(answer, b"and my answer");
    daemon.ended("2");

    let (mut client, mut behind) = through(&daemon, &server);
    behind.write_all(b"goodbye").unwrap();
    behind.shutdown(Shutdown::Write).unwrap();
    let mut heard = Vec::new();
    client.read_to_end(&mut heard).unwrap();
    assert_eq!(heard, b"goodbye");
    client.write_all(b"wait").unwrap();
    drop(client);
    let mut rest = Vec::new();
    behind.read_to_end(&mut rest).unwrap();
    assert_eq!(rest, b"wait");
    daemon.ended("3");
}

/// What comes before the connection breaks, which is no end of the stream.
fn read_to_reset(stream: &mut TcpStream) -> Vec<u8> {
    let mut heard = Vec::new();
    let error = stream.read_to_end(&mut heard).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    heard
}

#[test]
fn what_was_sent_before_a_reset_arrives() {
    let (daemon, server) = with_a_server();
    let (mut client, mut behind) = through(&daemon, &server);
    client.write_all(b"never read").unwrap();
    behind.write_all(b"shutting down").unwrap();
    client.read_exact(&mut [0; 4]).unwrap();
    reset(behind);
    assert_eq!(read_to_reset(&mut client), b"ting down");
    daemon.ended("2");

    let (mut client, mut behind) = through(&daemon, &server);
    behind.write_all(b"never read").unwrap();
    client.write_all(b"last words").unwrap();
    reset(client);
    assert_eq!(read_to_reset(&mut behind), b"last words");
    daemon.ended("3");
}

#[test]
fn megabytes_cross_both_ways_at_once_unchanged() {
    let (echo, _) = Server::new().echo();
    let daemon = Daemon::start(&one_service(echo));
    let mut client = connect(daemon.listener("listener"));
    let sent = pattern(50_000_000);
    let mut writer = client.try_clone().unwrap();
    let copy = sent.clone();
    let writing = thread::spawn(move || {
        writer.write_all(&copy).unwrap();
        writer.shutdown(Shutdown::Write).unwrap();
    });
    let mut received = Vec::with_capacity(sent.len());
    client.read_to_end(&mut received).unwrap();
    writing.join().unwrap();
    assert!(received == sent);
    daemon.ended("2");
}

/// Bytes that are out of place anywhere are noticed.
fn pattern(length: usize) -> Vec<u8> {
    let mut state = 1_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..length).map(|_| next()).collect()
}

/// Writes until the socket takes no more for a while; returns how much it took.
fn fill(stream: &mut TcpStream) -> usize {
    stream
        .set_write_timeout(Some(Duration::from_millis(300)))
        .unwrap();
    let mut total = 0;
    loop {
        match stream.write(&[0x5a; 16384]) {
            Ok(length) => total += length,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                return total;
            }
            Err(error) => panic!("{error}"),
        }
        assert!(total < 200_000_000, "the relay takes everything");
    }
}

#[test]
fn a_slow_reader_slows_its_writer_and_nobody_else() {
    let (daemon, server) = with_a_server();
    let before = daemon.process.status("VmRSS");
    let mut slow: Vec<_> = (0..20).map(|_| through(&daemon, &server)).collect();
    let sent: Vec<usize> = thread::scope(|scope| {
        let filling: Vec<_> = slow
            .iter_mut()
            .map(|(_, behind)| scope.spawn(|| fill(behind)))
            .collect();
        filling
            .into_iter()
            .map(|filled| filled.join().unwrap())
            .collect()
    });
    // What is on the way is in the kernel; the process keeps one buffer a session at most.
    let grown = daemon.process.status("VmRSS").saturating_sub(before);
    assert!(grown < 20 * 64 + 2048, "{grown} KiB more");
    for session in daemon.client_sessions() {
        assert!(session.integer("/attributes/memory/total") < 70_000);
    }

    let (mut quick, mut behind) = through(&daemon, &server);
    for _ in 0..1000 {
        quick.write_all(b"ping").unwrap();
        behind.read_exact(&mut [0; 4]).unwrap();
        behind.write_all(b"pong").unwrap();
        quick.read_exact(&mut [0; 4]).unwrap();
    }

    for ((client, behind), sent) in slow.iter_mut().zip(sent) {
        behind.shutdown(Shutdown::Write).unwrap();
        let mut received = 0;
        let mut buffer = [0; 16384];
        loop {
            let length = client.read_on(&mut buffer).unwrap();
            if length == 0 {
                break;
            }
            assert!(buffer[..length].iter().all(|&byte| byte == 0x5a));
            received += length;
        }
        assert_eq!(received, sent);
    }
}

#[test]
fn a_busy_session_does_not_starve_others() {
    let (daemon, server) = with_a_server();
    let busy: Vec<_> = (0..4)
        .map(|_| {
            let (mut client, mut behind) = through(&daemon, &server);
            let stop = client.try_clone().unwrap();
            let writing = thread::spawn(move || while behind.write_all(&[0; 16384]).is_ok() {});
            let reading = thread::spawn(move || {
                let mut total = 0_u64;
                let mut buffer = vec![0; 16384];
                while let Ok(length @ 1..) = client.read_on(&mut buffer) {
                    total += length as u64;
                }
                total
            });
            (stop, writing, reading)
        })
        .collect();
    let (mut quick, mut behind) = through(&daemon, &server);
    let begin = Instant::now();
    for _ in 0..20 {
        quick.write_all(b"ping").unwrap();
        behind.read_exact(&mut [0; 4]).unwrap();
        behind.write_all(b"pong").unwrap();
        quick.read_exact(&mut [0; 4]).unwrap();
    }
    assert!(begin.elapsed() < PATIENCE, "{:?}", begin.elapsed());
    for (stop, writing, reading) in busy {
        stop.shutdown(Shutdown::Both).unwrap();
        assert!(reading.join().unwrap() > 0);
        writing.join().unwrap();
    }
}

#[test]
fn servers_share_sessions_by_the_number_of_their_connections() {
    let (one, two) = (Server::new(), Server::new());
    let daemon = Daemon::start(&two_servers(&one, "", &two, ""));
    let mut clients = Vec::new();
    for _ in 0..3 {
        clients.push((connect(daemon.listener("listener")), one.accept(&daemon)));
        clients.push((connect(daemon.listener("listener")), two.accept(&daemon)));
    }
    // Two of the second server's sessions end, so it gets the next two.
    drop(clients.remove(5));
    drop(clients.remove(3));
    daemon.client_sessions_until(4);
    for _ in 0..2 {
        clients.push((connect(daemon.listener("listener")), two.accept(&daemon)));
    }
    clients.push((connect(daemon.listener("listener")), one.accept(&daemon)));
}

#[test]
fn a_secondary_gets_sessions_only_while_no_primary_is_up() {
    let address = free_port();
    let (primary, secondary) = (Server::at(address), Server::new());
    let config = two_servers(&secondary, "rank=secondary", &primary, "");
    let daemon = Daemon::start(&config);
    let mut kept = Vec::new();
    for _ in 0..3 {
        kept.push((
            connect(daemon.listener("listener")),
            primary.accept(&daemon),
        ));
    }
    drop(primary);
    // A program that another test starts may hold the socket for a moment.
    until("the end of the primary", || {
        TcpStream::connect(address).is_err().then_some(())
    });
    kept.push((
        connect(daemon.listener("listener")),
        secondary.accept(&daemon),
    ));
    daemon.process.line("the loss of the primary", |line| {
        line.contains("server two is down").then_some(())
    });

    // When it is back, a probe finds it.
    let _primary = std::net::TcpListener::bind(address).unwrap();
    daemon.process.line("the return of the primary", |line| {
        line.contains("server two is up").then_some(())
    });
}

#[test]
fn a_server_that_does_not_answer_is_left_for_the_next_after_connect_timeout() {
    // A backlog that is full makes the kernel drop what comes.
    let (silent, good) = (full_backlog("127.0.0.1"), Server::new());
    let (daemon, took, mut client, mut behind) =
        until("a client before the end of a probe", || {
            let daemon = Daemon::start(&two_servers(&silent.0, "", &good, ""));
            let begin = Instant::now();
            let (client, behind) = (connect(daemon.listener("listener")), good.accept(&daemon));
            let took = begin.elapsed();
            let reason = daemon.process.line("the reason", |line| {
                let (_, reason) = line.split_once("server one is down: ")?;
                Some(reason.to_owned())
            });
            // After two seconds a probe has found it out.
            if reason == "no answer to a probe" {
                return None;
            }
            assert_eq!(reason, "no answer within connect_timeout");
            Some((daemon, took, client, behind))
        });
    assert!(took >= Duration::from_millis(300));
    client.write_all(b"early").unwrap();
    let mut heard = [0; 5];
    behind.read_exact(&mut heard).unwrap();
    assert_eq!(&heard, b"early");
    // The next client does not wait for it again.
    let tries = || {
        let server = daemon.get("/v1/servers/one");
        server.integer("/data/attributes/statistics/total_connections")
    };
    assert_eq!(tries(), 1);
    let _second = (connect(daemon.listener("listener")), good.accept(&daemon));
    assert_eq!(tries(), 1);
}

#[test]
fn a_client_without_a_server_is_closed() {
    let daemon = Daemon::start(&one_service(closed_port()));
    let mut client = connect(daemon.listener("listener"));
    assert_eq!(client.read_on(&mut [0]).unwrap(), 0);
    daemon.ended("2");
    assert_eq!(daemon.get("/v1/sessions").elements("/data").len(), 1);
    daemon.process.line("the reason", |line| {
        line.contains("server server is down: Connection refused")
            .then_some(())
    });
}

#[test]
fn a_server_is_found_by_its_name() {
    let (echo, _) = Server::new().echo();
    let config = one_service(echo).replace("address=127.0.0.1\nport", "address=localhost\nport");
    assert!(config.contains("localhost"));
    // The listener's address has been replaced, too, which names cannot be.
    let config = config.replace(
        "protocol=TCP\naddress=localhost",
        "protocol=TCP\naddress=127.0.0.1",
    );
    let daemon = Daemon::start(&config);
    // The start waits for the name, but only for a second.
    let _client = until("a client that is served", || {
        let mut client = connect(daemon.listener("listener"));
        client.write_all(b"x").ok()?;
        client.read_exact(&mut [0]).ok()?;
        Some(client)
    });
    assert_eq!(
        daemon.client_sessions_until(1)[0].text("/attributes/connections/0/address"),
        "127.0.0.1"
    );
}

#[test]
fn listeners_take_both_families_and_unix_sockets() {
    let (echo, _) = Server::new().echo();
    let directory = Directory::new();
    let path = directory.path().join("socket");
    let config = one_service(echo)
        + "[both]\ntype=listener\nservice=service\nprotocol=TCP\nport=0\n\
           [six]\ntype=listener\nservice=service\nprotocol=TCP\naddress=::1\nport=0\n\
           [unix]\ntype=listener\nservice=service\nprotocol=PostgreSQLClient\nsocket="
        + path.to_str().unwrap()
        + "\n";
    // A socket that a former process has left is no obstacle.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    // What sends everything back is no PostgreSQL server to a probe.
    let mut daemon = Daemon::start(&format!("monitor_interval=0\n{config}"));

    let mut unix = UnixStream::connect(&path).unwrap();
    unix.set_read_timeout(Some(PATIENCE)).unwrap();
    unix.write_all(b"over a path").unwrap();
    unix.read_exact(&mut [0; 11]).unwrap();
    let session = &daemon.client_sessions_until(1)[0];
    assert!(!session.has("/attributes/remote") && !session.has("/attributes/port"));
    assert_eq!(session.text("/attributes/protocol"), "PostgreSQLClient");
    unix.shutdown(Shutdown::Write).unwrap();
    assert_eq!(unix.read_on(&mut [0]).unwrap(), 0);
    daemon.client_sessions_until(0);

    let port = daemon.listener("both").port();
    for (address, remote) in [("127.0.0.1", "127.0.0.1"), ("::1", "::1")] {
        let mut client = TcpStream::connect((address, port)).unwrap();
        client.write_all(b"x").unwrap();
        client.read_exact(&mut [0]).unwrap();
        assert_eq!(
            daemon.client_sessions_until(1)[0].text("/attributes/remote"),
            remote
        );
        drop(client);
        daemon.client_sessions_until(0);
    }
    let mut client = TcpStream::connect(daemon.listener("six")).unwrap();
    client.write_all(b"x").unwrap();
    client.read_exact(&mut [0]).unwrap();
    drop(client);

    daemon.process.signal("TERM");
    assert!(daemon.process.wait().success());
    assert!(!path.exists());
}

#[test]
fn a_unix_socket_that_is_in_use_is_left_alone() {
    let directory = Directory::new();
    let path = directory.path().join("socket");
    let in_use = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let config = one_service(closed_port()).replace(
        "address=127.0.0.1\nport=0\n",
        &format!("socket={}\n", path.display()),
    );
    let file = directory.file(
        "sessiond.cnf",
        format!("[maxscale]\nadmin_port=0\n{config}"),
    );
    let output = super::support::daemon::program()
        .arg("--config")
        .arg(file)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(path.exists());
    drop(in_use);
}

#[test]
fn two_thousand_clients_at_once_are_all_listed_and_all_served() {
    const CLIENTS: usize = 2000;
    let (echo, served) = Server::new().echo();
    let daemon = Daemon::start(&one_service(echo));
    let descriptors = daemon.descriptors_at_rest();
    let mut clients: Vec<TcpStream> = (0..CLIENTS)
        .map(|_| connect(daemon.listener("listener")))
        .collect();
    let text = |number: usize| format!("client {number} ").repeat(100);
    for (number, client) in clients.iter_mut().enumerate() {
        client.write_all(text(number).as_bytes()).unwrap();
    }
    for (number, client) in clients.iter_mut().enumerate() {
        let mut heard = vec![0; text(number).len()];
        let read = client.read_exact(&mut heard);
        assert!(
            read.is_ok(),
            "client {number}: {read:?}; the log: {:#?}",
            daemon.process.log()
        );
        assert_eq!(heard, text(number).as_bytes());
    }
    assert_eq!(served.load(Relaxed), CLIENTS);

    let sessions = daemon.client_sessions_until(CLIENTS);
    let ids: Vec<u64> = sessions
        .iter()
        .map(|session| session.text("/id").parse().unwrap())
        .collect();
    assert_eq!(ids, (2..2 + CLIENTS as u64).collect::<Vec<_>>());
    let mut ports: Vec<u16> = clients
        .iter()
        .map(|client| client.local_addr().unwrap().port())
        .collect();
    ports.sort_unstable();
    let mut listed: Vec<u16> = sessions
        .iter()
        .map(|session| session.integer("/attributes/port").try_into().unwrap())
        .collect();
    listed.sort_unstable();
    assert_eq!(listed, ports);

    drop(clients);
    daemon.client_sessions_until(0);
    daemon.until_descriptors(descriptors);
}

#[test]
fn at_the_limit_of_descriptors_clients_wait_and_nothing_is_lost() {
    let (echo, _) = Server::new().echo();
    let daemon = Daemon::start_limited(&one_service(echo), 64);
    let ping = |client: &mut TcpStream| {
        client.write_all(b"ping").unwrap();
        client.read_exact(&mut [0; 4]).unwrap();
    };
    let mut clients: Vec<TcpStream> = (0..40)
        .map(|_| connect(daemon.listener("listener")))
        .collect();
    daemon.process.line("a word about the limit", |line| {
        line.contains("further clients wait").then_some(())
    });
    let mut open = daemon.client_sessions().len();
    assert!((5..40).contains(&open), "{open}");
    for client in &mut clients[..open] {
        ping(client);
    }
    // The admin server answers; as clients leave, those that wait come in, in their order.
    while clients.len() > open {
        drop(clients.remove(0));
        ping(&mut clients[open - 1]);
        open = open.min(clients.len());
    }
    for client in &mut clients {
        ping(client);
    }
    drop(clients);
    daemon.client_sessions_until(0);
    let told = daemon
        .process
        .log()
        .iter()
        .filter(|line| line.contains("further clients wait"))
        .count();
    assert_eq!(told, 1);
}

#[test]
fn a_client_that_leaves_at_any_moment_leaves_nothing_behind() {
    let (echo, _) = Server::new().echo();
    let daemon = Daemon::start(&one_service(echo));
    let descriptors = daemon.descriptors_at_rest();
    for round in 0..500_usize {
        let mut client = connect(daemon.listener("listener"));
        match round % 5 {
            0 => {}
            1 => client.write_all(&[1; 3]).unwrap(),
            2 => client.shutdown(Shutdown::Write).unwrap(),
            3 => {
                client.write_all(b"answer me").unwrap();
                reset(client);
            }
            _ => {
                client.write_all(b"bye").unwrap();
                client.shutdown(Shutdown::Both).unwrap();
            }
        }
    }
    daemon.client_sessions_until(0);
    daemon.until_descriptors(descriptors);
}

#[test]
fn an_idle_program_does_nothing() {
    let (daemon, server) = with_a_server();
    let _pair = through(&daemon, &server);
    daemon.client_sessions_until(1);
    let switches = || {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", daemon.process.id())).unwrap();
        let relay = tasks.map(|task| task.unwrap().path()).find(|task| {
            std::fs::read_to_string(task.join("comm")).is_ok_and(|name| name.trim() == "relay")
        });
        let status = std::fs::read_to_string(relay.unwrap().join("status")).unwrap();
        status
            .lines()
            .find(|line| line.starts_with("voluntary_ctxt_switches"))
            .unwrap()
            .to_owned()
    };
    // Every two seconds it has to do with a probe.
    until("half a second in which it does nothing", || {
        let before = switches();
        let end = Instant::now() + Duration::from_millis(500);
        while Instant::now() < end {
            // Admin requests are none of the relay's business.
            assert_eq!(
                request(daemon.admin(), "GET", "/v1/sessions", "").status,
                200
            );
            thread::park_timeout(Duration::from_millis(1));
        }
        (switches() == before).then_some(())
    });
}

#[test]
fn when_the_system_has_no_descriptor_left_clients_wait_and_the_log_says_so_once() {
    let (echo, _) = Server::new().echo();
    let daemon = Daemon::start(&one_service(echo));
    let ping = |client: &mut TcpStream| {
        client.write_all(b"ping").unwrap();
        client.read_exact(&mut [0; 4]).unwrap();
    };
    let mut open = connect(daemon.listener("listener"));
    ping(&mut open);
    // Taken away while it runs, so that its own count knows nothing of it.
    let limit = |current: u64| {
        let process = rustix::process::Pid::from_raw(daemon.process.id().try_into().unwrap());
        let limit = rustix::process::Rlimit {
            current: Some(current),
            maximum: Some(20_000),
        };
        rustix::process::prlimit(process, rustix::process::Resource::Nofile, limit).unwrap();
    };
    // A probe of the server has one for a moment.
    let lowest = (0..50)
        .map(|_| daemon.process.lowest_free_descriptor())
        .min();
    limit(lowest.unwrap());
    let mut waiting: Vec<TcpStream> = (0..10)
        .map(|_| connect(daemon.listener("listener")))
        .collect();
    daemon.process.line("a word about the limit", |line| {
        line.contains("cannot accept a client").then_some(())
    });
    for _ in 0..1000 {
        ping(&mut open);
    }
    limit(1000);
    for client in &mut waiting {
        ping(client);
    }
    let told = daemon
        .process
        .log()
        .iter()
        .filter(|line| line.contains("cannot accept a client"))
        .count();
    assert_eq!(told, 1);
}

#[test]
fn bytes_behind_an_urgent_one_or_a_descriptor_are_not_left_behind() {
    let directory = Directory::new();
    let path = directory.path().join("socket");
    let server = Server::new();
    let config = one_service(server.address())
        + &format!(
            "[unix]\ntype=listener\nservice=service\nprotocol=TCP\nsocket={}\n",
            path.display()
        );
    let daemon = Daemon::start(&config);
    let heard = |mut behind: TcpStream| {
        let mut heard = [0; 6];
        behind.read_exact(&mut heard).unwrap();
        assert_eq!(&heard, b"abcdef");
    };
    for _ in 0..100 {
        let (mut client, behind) = through(&daemon, &server);
        client.write_all(b"abc").unwrap();
        rustix::net::send(&client, b"!", rustix::net::SendFlags::OOB).unwrap();
        client.write_all(b"def").unwrap();
        heard(behind);
    }
    for _ in 0..100 {
        let mut client = UnixStream::connect(&path).unwrap();
        let behind = server.accept(&daemon);
        let descriptors = [client.as_fd()];
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = rustix::net::SendAncillaryBuffer::new(&mut space);
        assert!(ancillary.push(rustix::net::SendAncillaryMessage::ScmRights(&descriptors)));
        let bytes = [std::io::IoSlice::new(b"abc")];
        rustix::net::sendmsg(
            &client,
            &bytes,
            &mut ancillary,
            rustix::net::SendFlags::empty(),
        )
        .unwrap();
        client.write_all(b"def").unwrap();
        heard(behind);
    }
}
