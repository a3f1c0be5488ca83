//! Why sessions end, and what becomes of those that cannot begin: the relay in
//! this process, where its registry can be asked.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use sessiond::config::Config;
use sessiond::registry::{CloseReason, Command, Registry};

use super::support::daemon::one_service;
use super::support::http::connect;
use super::support::relay::Running;
use super::support::server::{closed_port, free_port, full_backlog};
use super::support::uninterrupted::{PeekOn, ReadOn};
use super::support::{Server, at_last, until};

/// A relay before a server that the test plays, a client and the server's end of its connection.
fn connected() -> (Running, TcpStream, TcpStream) {
    let server = Server::new();
    let running = Running::start(&one_service(server.address()));
    let client = connect(running.address);
    let behind = server.accept_one_of(|| running.local_ports());
    (running, client, behind)
}

/// Resets the connection, which must have something unread. To close it would
/// not do: a program that another test starts at this moment has it as well.
fn reset(stream: TcpStream) {
    until("bytes that stay unread", || {
        (stream.peek_on(&mut [0]).unwrap() > 0).then_some(())
    });
    rustix::net::connect_unspec(&stream).unwrap();
    drop(stream);
}

/// A stream that was not delivered whole is seen to break, not to end.
fn sees_reset(stream: &mut TcpStream) {
    let error = stream.read_on(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

/// What ends first, and the reason that this is for the session's end.
type Ending = (fn(TcpStream, TcpStream), CloseReason);

#[test]
fn the_first_thing_that_ends_is_the_reason() {
    let endings: [Ending; 6] = [
        (
            |client, mut server| {
                drop(client);
                assert_eq!(server.read_on(&mut [0]).unwrap(), 0);
            },
            CloseReason::ClientClosed,
        ),
        (
            |mut client, server| {
                drop(server);
                assert_eq!(client.read_on(&mut [0]).unwrap(), 0);
            },
            CloseReason::ServerClosed,
        ),
        (
            |client, mut server| {
                server.write_all(b"unread").unwrap();
                reset(client);
                sees_reset(&mut server);
            },
            CloseReason::ClientReset,
        ),
        (
            |mut client, server| {
                client.write_all(b"unread").unwrap();
                reset(server);
                sees_reset(&mut client);
            },
            CloseReason::ServerLost,
        ),
        // What follows from an end is not the reason.
        (
            |mut client, mut server| {
                client.write_all(b"unread").unwrap();
                client.shutdown(Shutdown::Write).unwrap();
                assert_eq!(server.read_on(&mut [0; 3]).unwrap(), 3);
                reset(server);
                sees_reset(&mut client);
            },
            CloseReason::ClientClosed,
        ),
        (
            |mut client, mut server| {
                server.write_all(b"unread").unwrap();
                server.shutdown(Shutdown::Write).unwrap();
                assert_eq!(client.read_on(&mut [0; 3]).unwrap(), 3);
                // The end is behind the rest of the bytes; the client has it before it resets.
                reset(client);
                sees_reset(&mut server);
            },
            CloseReason::ServerClosed,
        ),
    ];
    for (end, reason) in endings {
        let (running, client, server) = connected();
        end(client, server);
        running.ended(reason);
        running.stop();
    }
}

#[test]
fn a_client_that_breaks_off_before_there_is_a_server_is_a_client_reset() {
    let (silent, _fillers) = full_backlog("127.0.0.1");
    // It takes two seconds until the probes find out that the server does not answer.
    let (running, client) = at_last(|| {
        let running = Running::start(&one_service(silent.address()));
        let client = connect(running.address);
        let comes = until("the session", || {
            let opened = running.service().opened();
            let is_up = running.registry.topology().servers[0].is_up();
            (opened > 0).then(|| is_up && running.registry.sessions.len() == 2)
        });
        if !comes {
            running.stop();
            return None;
        }
        Some((running, client))
    });
    rustix::net::connect_unspec(&client).unwrap();
    running.ended(CloseReason::ClientReset);
    running.stop();
}

#[test]
fn no_server_and_the_end_of_the_program_are_reasons_too() {
    let running = Running::start(&one_service(closed_port()));
    assert_eq!(connect(running.address).read_on(&mut [0]).unwrap(), 0);
    running.ended(CloseReason::NoServerAvailable);
    running.stop();

    let (running, mut client, _server) = connected();
    let registry = Arc::clone(&running.registry);
    running.stop();
    assert_eq!(client.read_on(&mut [0]).unwrap(), 0);
    assert_eq!(
        registry.topology().services[0].closed(CloseReason::Shutdown),
        1
    );
}

/// Sends until the relay is left with bytes that the client does not take.
fn fill(running: &Running, server: &mut TcpStream) {
    let session = running.registry.sessions.snapshot().pop().unwrap();
    let passed = || session.client().unwrap().traffic().to_clients();
    until("a relay with bytes in hand", || {
        while server.write(&[7; 16384]).is_ok() {}
        let before = passed();
        // A command is followed after all that has come before it.
        let nothing = Command::Kill {
            sessions: Vec::new(),
            at: Instant::now(),
        };
        running.registry.commands.ask(nothing).unwrap();
        let is_full = server.write(&[7; 16384]).is_err();
        (is_full && passed() == before && before > 0).then_some(())
    });
}

#[test]
fn what_is_left_for_a_reader_that_does_not_read_is_given_up_after_10_seconds() {
    let (running, client, mut server) = connected();
    server.set_nonblocking(true).unwrap();
    fill(&running, &mut server);
    let begin = Instant::now();
    rustix::net::connect_unspec(&server).unwrap();
    running.ended(CloseReason::ServerLost);
    let waited = begin.elapsed();
    assert!(waited >= Duration::from_secs(10), "{waited:?}");
    drop(client);
    running.stop();
}

#[test]
fn who_is_killed_while_the_rest_is_delivered_was_lost_before() {
    let (running, client, mut server) = connected();
    server.set_nonblocking(true).unwrap();
    fill(&running, &mut server);
    let session = running.registry.sessions.snapshot().pop().unwrap();
    let kill = |at: Instant| {
        let sessions = vec![Arc::clone(&session)];
        running
            .registry
            .commands
            .ask(Command::Kill { sessions, at })
    };
    rustix::net::connect_unspec(&server).unwrap();
    // The relay has seen that before it takes a command.
    assert_eq!(
        kill(Instant::now() + Duration::from_secs(60))
            .unwrap()
            .len(),
        1
    );
    assert_eq!(kill(Instant::now()).unwrap().len(), 1);
    running.ended(CloseReason::ServerLost);
    drop(client);
    running.stop();
}

/// A service whose server has a name that no resolver knows, so that its
/// addresses are what the test says.
fn with_addresses(port: u16, addresses: &[&str]) -> Running {
    let server: SocketAddr = SocketAddr::new(IpAddr::from([127, 0, 0, 1]), port);
    let text = one_service(server).replacen("address=127.0.0.1", "address=db.invalid", 1);
    let text = text.replace("servers=server\n", "servers=server\nconnect_timeout=2s\n");
    let config = Config::parse("test", text.as_bytes()).unwrap();
    let registry = Arc::new(Registry::new(&config, SystemTime::now()));
    let addresses: Vec<IpAddr> = addresses
        .iter()
        .map(|address| address.parse().unwrap())
        .collect();
    registry.topology().servers[0].set_addresses(&addresses);
    Running::run(registry)
}

#[test]
fn each_address_of_a_name_is_tried_whether_the_one_before_refuses_or_is_silent() {
    let good = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = good.local_addr().unwrap().port();
    let serve = |running: &Running| {
        let mut client = connect(running.address);
        client.write_all(b"x").unwrap();
        // A probe comes without a byte.
        until("the client's byte", || {
            let (mut server, _) = good.accept().unwrap();
            server.read_exact(&mut [0]).ok()
        });
    };
    let running = with_addresses(port, &["127.0.0.7", "127.0.0.1"]);
    serve(&running);
    // The one that answered is the first from now on.
    assert_eq!(
        running.registry.topology().servers[0].addresses()[0].ip(),
        IpAddr::from([127, 0, 0, 1])
    );
    assert!(running.registry.topology().servers[0].is_up());
    running.stop();

    let (silent, _fillers) = full_backlog(&format!("127.0.0.8:{port}"));
    let begin = Instant::now();
    let running = with_addresses(port, &["127.0.0.8", "127.0.0.1"]);
    serve(&running);
    // The silent one had its half of connect_timeout.
    assert!(
        begin.elapsed() >= Duration::from_secs(1),
        "{:?}",
        begin.elapsed()
    );
    assert!(running.registry.topology().servers[0].is_up());
    running.stop();
    drop(silent);
}

#[test]
fn a_server_that_is_back_is_found_without_a_client() {
    let address = free_port();
    let running = Running::start(&one_service(address));
    assert_eq!(connect(running.address).read_on(&mut [0]).unwrap(), 0);
    assert!(!running.registry.topology().servers[0].is_up());
    let _back = TcpListener::bind(address).unwrap();
    until("a probe that succeeds", || {
        running.registry.topology().servers[0].is_up().then_some(())
    });
    running.stop();
}
