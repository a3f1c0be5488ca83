//! `rdns=true`: names in place of addresses, without anybody waiting.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::time::{Duration, Instant};

use super::support::daemon::one_service;
use super::support::http::connect;
use super::support::library::Library;
use super::support::{Daemon, Server, until};

/// The name that this machine has for 127.0.0.1.
fn local_name() -> String {
    let hosts = std::fs::read_to_string("/etc/hosts").unwrap();
    let line = hosts
        .lines()
        .find(|line| line.split_whitespace().next() == Some("127.0.0.1"));
    let line = line.expect("a name for 127.0.0.1 in /etc/hosts");
    line.split_whitespace().nth(1).unwrap().to_owned()
}

#[test]
fn a_host_is_named_in_a_list_in_a_session_and_in_filters() {
    let (echo, _) = Server::new().echo();
    let daemon = Daemon::start(&one_service(echo));
    let mut client = connect(daemon.listener("listener"));
    client.write_all(b"x").unwrap();
    client.read_exact(&mut [0]).unwrap();
    let name = local_name();

    let remote = |target: &str, pointer: &str| daemon.get(target).text(pointer);
    let (one, many) = ("/data/attributes/remote", "/data/1/attributes/remote");
    until("a name in a session", || {
        (remote("/v1/sessions/2?rdns=true", one) == name).then_some(())
    });
    assert_eq!(remote("/v1/sessions?rdns", many), name);
    assert_eq!(remote("/v1/sessions?rdns=false", many), "127.0.0.1");
    assert_eq!(remote("/v1/sessions/2", one), "127.0.0.1");
    let filter =
        format!("/v1/sessions?rdns&filter=/attributes/remote=\"{name}\"").replace('"', "%22");
    assert_eq!(daemon.get(&filter).elements("/data").len(), 1);
    assert_eq!(
        daemon
            .get("/v1/sessions?rdns=yes&fields[sessions]=remote")
            .elements("/data")
            .len(),
        2
    );
    for target in [
        "/v1/sessions?rdns=maybe",
        "/v1/services?rdns",
        "/v1/servers/server?rdns",
    ] {
        assert_eq!(daemon.request("GET", target).status, 400, "{target}");
    }
}

#[test]
fn a_name_that_is_found_later_changes_the_tag() {
    let library = Library::start();
    library.open(0, Some("127.0.0.1:4711"), Duration::ZERO);
    let target = "/v1/sessions/1?rdns";
    let first = library.request("GET", target, "");
    let tag = first.field("ETag").unwrap().to_owned();
    until("another tag, or the name in the first answer", || {
        let answer = library.request("GET", target, &format!("If-None-Match: {tag}\r\n"));
        (answer.status == 200 && answer.body.contains(&local_name())).then_some(())
    });
    library.stop();
}

/// Addresses for documentation (RFC 5737), about which no resolver knows anything.
fn stranger(number: u32) -> SocketAddr {
    let network = u32::from(Ipv4Addr::new(198, 51, 100, 0));
    SocketAddr::V4(SocketAddrV4::new(
        Ipv4Addr::from(network + number % 256),
        4711,
    ))
}

/// A request for a list with names, whose answer is not read yet.
fn ask(library: &Library, target: &str) -> TcpStream {
    let mut stream = connect(library.address);
    write!(
        stream,
        "GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    stream
}

#[test]
fn requests_for_names_delay_nobody_and_none_is_turned_away() {
    let library = Library::start();
    for number in 0..256 {
        library.open(0, Some(&stranger(number).to_string()), Duration::ZERO);
    }
    let mut waiting: Vec<TcpStream> = (0..20)
        .map(|number| {
            let one = format!("/v1/sessions/{}?rdns", number + 1);
            ask(
                &library,
                if number % 2 == 0 {
                    "/v1/sessions?rdns&page[size]=20"
                } else {
                    &one
                },
            )
        })
        .collect();
    // Beside them, who asks for no names is answered as ever.
    let mut took: Vec<Duration> = (0..20)
        .map(|_| {
            let begin = Instant::now();
            let list = library.get("/v1/sessions?sort=-id&page[size]=3");
            assert_eq!(list.elements("/data").len(), 3);
            begin.elapsed()
        })
        .collect();
    took.sort();
    // Behind one that waits, each would have taken 50 ms.
    assert!(took[10] < Duration::from_millis(45), "{took:?}");
    for stream in &mut waiting {
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(answer.contains("\"remote\":\"198.51.100."));
    }
    library.stop();
}
