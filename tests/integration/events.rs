//! What happens to sessions, as it happens: in the log, and to those who follow.

use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant, SystemTime};

use super::support::daemon::one_service;
use super::support::http::connect;
use super::support::interactive::Interactive;
use super::support::library::Library;
use super::support::mariadb::{MariaDb, client};
use super::support::uninterrupted::{PeekOn, ReadOn};
use super::support::{Daemon, Document, Server, until};

/// Somebody who follows the events.
struct Follower {
    stream: BufReader<TcpStream>,
}

impl Follower {
    /// Begins to follow; returns when everything that happens from now on will be told.
    fn start(address: std::net::SocketAddr) -> Self {
        let mut stream = BufReader::new(connect(address));
        write!(
            stream.get_mut(),
            "GET /v1/sessions/events HTTP/1.1\r\nHost: localhost\r\n\r\n"
        )
        .unwrap();
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert!(stream.read_line(&mut head).unwrap() > 0, "{head}");
        }
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        assert!(head.contains("\r\nContent-Type: application/x-ndjson\r\n"));
        assert!(head.contains("\r\nTransfer-Encoding: chunked\r\n"));
        assert!(!head.contains("\r\nETag: "));
        Self { stream }
    }

    /// What comes next, without the sizes of chunks; `None` at the end.
    fn line(&mut self) -> Option<Document> {
        loop {
            let mut line = String::new();
            let length = self.stream.read_line(&mut line).unwrap();
            assert!(length > 0, "the stream is cut off");
            match line.trim_end() {
                "0" => return None,
                line if line.starts_with('{') => return Some(Document::parse(line)),
                _ => {}
            }
        }
    }

    fn event(&mut self, expected: &str) -> Document {
        loop {
            let line = self.line().expect("a line");
            let event = line.text("/event");
            if event == expected {
                return line;
            }
            // One may come in between, where the machine is slow.
            assert_eq!(event, "heartbeat", "{line:?}");
        }
    }
}

#[test]
fn a_session_is_told_of_when_it_comes_logs_in_and_goes_in_the_log_as_well() {
    let mariadb = MariaDb::start("one");
    let sections = one_service(mariadb.address()).replace("TCP", "MariaDBClient");
    let daemon = Daemon::start_controlled("log_sessions=true\n", &sections);
    let mut follower = Follower::start(daemon.admin());
    let mut running = Interactive::start(client(daemon.listener("listener")).arg("--unbuffered"));
    assert_eq!(running.ask("SELECT 6 * 7;"), "42");
    let port = daemon.client_sessions_until(1)[0].integer("/attributes/port");
    assert!(running.end().success());

    let (open, login) = (follower.event("open"), follower.event("login"));
    let close = follower.event("close");
    for event in [&open, &login, &close] {
        assert_eq!(event.text("/id"), "2");
        assert_eq!(event.text("/service"), "service");
        assert_eq!(event.text("/listener"), "listener");
        assert_eq!(event.text("/remote"), "127.0.0.1");
        assert_eq!(event.integer("/port"), port);
        let time = event.text("/time");
        assert!(
            time.starts_with("20") && time.ends_with('Z') && time.len() == 24,
            "{time}"
        );
    }
    for event in [&login, &close] {
        assert_eq!(event.text("/user"), "root");
        assert_eq!(event.text("/server"), "server");
    }
    let closed = daemon.ended("2");
    for name in ["bytes_from_client", "bytes_to_client"] {
        let bytes = closed.integer(&format!("/data/attributes/{name}"));
        assert_eq!(close.integer(&format!("/{name}")), bytes);
    }
    assert_eq!(
        close.seconds("/duration"),
        closed.seconds("/data/attributes/seconds_alive")
    );
    // Which side is the first to close after a quit is open.
    let reason = closed.text("/data/attributes/close_reason");
    assert_eq!(close.text("/reason"), reason);
    assert!(reason.ends_with(" closed"), "{reason}");

    // The log has the same, at the level of information.
    for event in ["open", "login", "close"] {
        let line = daemon.process.line(event, |line| {
            let text = line.strip_prefix("<6>")?;
            text.contains(&format!("\"event\":\"{event}\""))
                .then(|| Document::parse(text))
        });
        assert_eq!(line.text("/id"), "2");
    }
}

#[test]
fn without_log_sessions_the_log_tells_nothing_of_them() {
    let (server, _) = Server::new().echo();
    let daemon = Daemon::start(&one_service(server));
    let mut follower = Follower::start(daemon.admin());
    drop(connect(daemon.listener("listener")));
    follower.event("open");
    follower.event("close");
    let log = daemon.process.log();
    assert!(
        !log.iter().any(|line| line.contains("\"event\"")),
        "{log:?}"
    );
}

#[test]
fn a_refused_client_is_an_event_and_a_listener_is_none() {
    let server = Server::new();
    let sections = one_service(server.address()).replace("servers=", "max_connections=1\nservers=");
    let daemon = Daemon::start_controlled("", &sections);
    let mut follower = Follower::start(daemon.admin());
    daemon.done("PUT", "/v1/listeners/listener/stop");
    daemon.done("PUT", "/v1/listeners/listener/start");
    let _first = connect(daemon.listener("listener"));
    follower.event("open");
    let mut second = connect(daemon.listener("listener"));
    assert_eq!(second.read_on(&mut [0]).unwrap(), 0);
    follower.event("open");
    let close = follower.event("close");
    assert_eq!(close.text("/reason"), "too many connections");
    assert_eq!(close.integer("/bytes_from_client"), 0);
}

#[test]
fn there_is_a_heartbeat_every_ten_seconds() {
    let library = Library::start();
    let begin = Instant::now();
    let mut follower = Follower::start(library.address);
    for number in 1..=2 {
        let heartbeat = follower.event("heartbeat");
        let took = begin.elapsed();
        assert!(took >= Duration::from_secs(10 * number), "{took:?}");
        assert!(heartbeat.has("/time"));
    }
    library.stop();
}

#[test]
fn four_may_follow_and_whoever_leaves_makes_room() {
    let library = Library::start();
    let mut followers: Vec<Follower> = (0..4).map(|_| Follower::start(library.address)).collect();
    let refused = || {
        let answer = library.request("GET", "/v1/sessions/events?pretty", "");
        (answer.status == 503).then_some(answer)
    };
    let answer = refused().expect("a fifth is refused");
    assert_eq!(answer.field("Retry-After"), Some("1"));
    assert_eq!(
        answer.field("Content-Type"),
        Some("application/vnd.api+json")
    );
    assert_eq!(
        answer.detail(),
        "four clients follow the events already; try again later"
    );
    // Others are answered as ever, also on long lists.
    assert_eq!(library.ids("/v1/sessions"), [""; 0]);
    followers.pop();
    until("room for somebody else", || {
        let mut stream = BufReader::new(connect(library.address));
        let request = "GET /v1/sessions/events HTTP/1.1\r\nHost: localhost\r\n\r\n";
        stream.get_mut().write_all(request.as_bytes()).unwrap();
        let mut line = String::new();
        stream.read_line(&mut line).unwrap();
        line.contains(" 200 ").then_some(())
    });
    let session = library.open(0, Some("192.0.2.7:4711"), Duration::ZERO);
    for follower in &mut followers {
        assert_eq!(follower.event("open").text("/id"), session.id().to_string());
    }
    library.stop();
}

/// How many sessions are opened and closed: more than the system's buffers and
/// the queue hold of their events.
const OPENED: usize = 20_000;

#[test]
fn who_falls_a_thousand_behind_is_dropped_with_a_last_line_and_delays_nobody() {
    let library = Library::start();
    let mut slow = Follower::start(library.address);
    let mut quick = Follower::start(library.address);
    let heard = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&heard);
    let reading = std::thread::spawn(move || {
        while counted.load(Relaxed) < 2 * OPENED {
            if quick.line().expect("a line").text("/event") != "heartbeat" {
                counted.fetch_add(1, Relaxed);
            }
        }
    });
    for number in 0..OPENED {
        let session = library.open(0, Some("192.0.2.7:4711"), Duration::ZERO);
        let (now, time) = (Instant::now(), SystemTime::now());
        let reason = sessiond::registry::CloseReason::ClientClosed;
        library
            .registry
            .sessions
            .close(session.id(), reason, time, now);
        // The quick one shall not fall behind, on a machine however slow.
        until("the quick one", || {
            (heard.load(Relaxed) + 500 > 2 * number).then_some(())
        });
    }
    reading.join().unwrap();

    let mut last = None;
    let mut count = 0;
    while let Some(line) = slow.line() {
        count += 1;
        last = Some(line);
    }
    let last = last.unwrap();
    assert_eq!(last.text("/event"), "dropped");
    assert_eq!(
        last.text("/detail"),
        "1000 events waited to be read; what came after is left out"
    );
    assert!(count >= 1000, "{count}");
    library.stop();
}

#[test]
fn a_follower_that_reads_nothing_more_loses_its_connection() {
    let library = Library::start();
    let slow = Follower::start(library.address);
    let mut stream = slow.stream.into_inner();
    let big = "u".repeat(4000);
    let session = library.open(0, Some("192.0.2.7:4711"), Duration::ZERO);
    let begin = Instant::now();
    // What a kernel holds of it is bounded; then the thread waits.
    for _ in 0..900 {
        let login = sessiond::registry::Login {
            user: big.clone(),
            ..Default::default()
        };
        session.set_login(Some(login), SystemTime::now());
    }
    until("the end of the connection", || {
        stream.set_nonblocking(true).unwrap();
        // The first lines may be on their way still.
        let is_open = match stream.peek_on(&mut [0]) {
            Ok(_) => true,
            Err(error) => error.kind() == ErrorKind::WouldBlock,
        };
        let gone = stream.write(b"x").is_err();
        assert!(is_open || gone);
        gone.then_some(())
    });
    let took = begin.elapsed();
    assert!(
        took >= Duration::from_secs(9) && took < Duration::from_secs(19),
        "{took:?}"
    );
    library.stop();
}
