//! What hostile admin clients can do: get the answer they deserve, and nothing else.
//!
//! Each row of the table of tiny_http's hazards is a test here.

use std::io::{BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use super::support::daemon::one_service;
use super::support::hazard::{Before, honest};
use super::support::http::{Answer, connect, exchange};
use super::support::library::Library;
use super::support::server::closed_port;
use super::support::uninterrupted::{PeekOn, ReadOn};
use super::support::{Daemon, Directory, Document, PATIENCE, at_last, until};

fn daemon() -> Daemon {
    Daemon::start(&one_service(closed_port()))
}

const GET: &str = "GET /v1/sessions/1 HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// Sends bytes; the answer must be that error, as a document, and the end.
fn refused(daemon: &Daemon, bytes: &[u8], status: u16) {
    let all = exchange(daemon.admin(), bytes);
    let mut rest = all.as_bytes();
    let answer = Answer::read(&mut rest, false);
    assert_eq!(answer.status, status, "{}", String::from_utf8_lossy(bytes));
    assert!(!answer.detail().is_empty());
    assert_eq!(
        answer.field("Content-Type"),
        Some("application/vnd.api+json")
    );
    assert_eq!(answer.field("Connection"), Some("close"));
    assert!(rest.is_empty(), "nothing follows: {all}");
}

#[test]
fn each_malformed_request_gets_its_status_and_the_connection_ends() {
    let daemon = daemon();
    let before = Before::look(&daemon);
    let with = |fields: &str| {
        format!("GET /v1/sessions/1 HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n\r\n")
    };
    let long = "a".repeat(17_000);
    for (bytes, status) in [
        // A length without an end, and one that never comes.
        (with("Content-Length: 99999999999999999"), 413),
        (with("Content-Length: 9223372036854775808"), 413),
        (with("Content-Length: 16385"), 413),
        (with("Content-Length: 18446744073709551616"), 400),
        // Versions that are not spoken here.
        ("GET / HTTP/2.0\r\nHost: localhost\r\n\r\n".into(), 505),
        ("GET / HTTP/3.0\r\nHost: localhost\r\n\r\n".into(), 505),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".into(), 505),
        ("GET / HTTP/0.9\r\n\r\n".into(), 505),
        ("GET /\r\n".into(), 400),
        ("GET / HTTP/1.1\n\n".into(), 400),
        // Too much of everything.
        (format!("GET /{long} HTTP/1.1\r\n"), 414),
        (format!("GET /{long}"), 414),
        (with(&format!("X: {long}")), 431),
        (
            with(&format!("Authorization: Bearer {}", "f".repeat(17_000))),
            431,
        ),
        (with(&"X: y\r\n".repeat(100)), 431),
        // Smuggling.
        (
            with("Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello"),
            400,
        ),
        (
            with("Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello"),
            400,
        ),
        (
            with("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
            400,
        ),
        (with("Transfer-Encoding: identity"), 501),
        (with("Transfer-Encoding: gzip, chunked"), 501),
        (with("Transfer-Encoding: chunked, gzip"), 501),
        (with("Transfer-Encoding: chunked, chunked"), 400),
        (
            with("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n"),
            400,
        ),
        (
            with("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n"),
            400,
        ),
        (
            "GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".into(),
            400,
        ),
        (
            with("Transfer-Encoding: chunked\r\n\r\n5\nhello\n0\n\n"),
            400,
        ),
        (
            with("Transfer-Encoding: chunked\r\n\r\n5\r\nhello!\r\n"),
            400,
        ),
        (
            with("Transfer-Encoding: chunked\r\n\r\n5 \r\nhello\r\n"),
            400,
        ),
        (with("Transfer-Encoding: chunked\r\n\r\n-1\r\n"), 400),
        (
            with("Transfer-Encoding: chunked\r\n\r\n0\r\n x\r\n\r\n"),
            400,
        ),
        (with("Transfer-Encoding: chunked\r\n\r\n4001\r\n"), 413),
        (
            with("Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n"),
            413,
        ),
        (with("Content-Length: 5, 5"), 400),
        (with("Content-Length: +5"), 400),
        (with("Content-Length: -5"), 400),
        (with("Content-Length: 0x5"), 400),
        (with("Content-Length : 5"), 400),
        (with("X: y\r\n folded"), 400),
        (with("X: y\n"), 400),
        (with("X: y\rZ: z"), 400),
        (with("X: \0"), 400),
        ("GET /\u{1} HTTP/1.1\r\nHost: localhost\r\n\r\n".into(), 400),
        ("GET / HTTP/1.1\r\n\r\n".into(), 400),
        (with("Host: localhost"), 400),
        (
            "GET ftp://localhost/ HTTP/1.1\r\nHost: localhost\r\n\r\n".into(),
            400,
        ),
        (
            "GET localhost HTTP/1.1\r\nHost: localhost\r\n\r\n".into(),
            400,
        ),
        (with("Expect: 200-ok"), 417),
    ] {
        refused(&daemon, bytes.as_bytes(), status);
        before.same_after();
    }
}

#[test]
fn the_absolute_form_is_answered_for_the_host_that_it_names() {
    let daemon = daemon();
    let ask = |target: &str, host: &str| {
        let answer = exchange(
            daemon.admin(),
            format!("GET {target} HTTP/1.0\r\nHost: {host}\r\n\r\n").as_bytes(),
        );
        Answer::read(&mut answer.as_bytes(), false)
    };
    let answer = ask("http://localhost:1234/v1/sessions/1", "evil.example");
    assert_eq!(
        answer.document().text("/links/self"),
        "http://localhost:1234/v1/sessions/1"
    );
    assert_eq!(
        ask("http://evil.example/v1/sessions/1", "localhost").status,
        421
    );
}

#[test]
fn a_body_is_read_and_the_next_request_is_the_one_behind_it() {
    let daemon = daemon();
    let mut stream = BufReader::new(connect(daemon.admin()));
    let body = "GET /v1/sessions/9 HTTP/1.1\r\n\r\n".repeat(500);
    for split in [0, 1, 40, 9000, body.len()] {
        let head = format!(
            "GET /v1/sessions/1 HTTP/1.1\r\nHost: a\r\nHost2: b\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        let head = head.replace("Host: a", "Host: localhost");
        stream.get_mut().write_all(head.as_bytes()).unwrap();
        stream
            .get_mut()
            .write_all(&body.as_bytes()[..split])
            .unwrap();
        stream
            .get_mut()
            .write_all(&body.as_bytes()[split..])
            .unwrap();
        stream
            .get_mut()
            .write_all(b"GET /v1/sessions/77 HTTP/1.1\r\nHost: localhost\r\n\r\n")
            .unwrap();
        assert_eq!(
            Answer::read(&mut stream, false).document().text("/data/id"),
            "1"
        );
        assert_eq!(
            Answer::read(&mut stream, false).detail(),
            "77 is not a session"
        );
    }
}

#[test]
fn a_client_that_expects_to_be_told_is_told_to_go_on() {
    let daemon = daemon();
    let mut stream = BufReader::new(connect(daemon.admin()));
    let head = "GET /v1/sessions/1 HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n";
    stream.get_mut().write_all(head.as_bytes()).unwrap();
    assert_eq!(Answer::read(&mut stream, true).status, 100);
    stream.get_mut().write_all(b"body").unwrap();
    assert_eq!(Answer::read(&mut stream, false).status, 200);
}

#[test]
fn a_request_that_does_not_come_to_its_end_is_408() {
    let daemon = daemon();
    let before = Before::look(&daemon);
    let head = "GET / HTTP/1.1\r\nHost: localhost\r\n";
    let cases = [
        (head.to_owned(), Duration::from_secs(5)),
        (
            format!("{head}Content-Length: 9\r\n\r\nbody"),
            Duration::from_secs(7),
        ),
    ];
    thread::scope(|scope| {
        for (bytes, limit) in &cases {
            scope.spawn(|| {
                let begin = Instant::now();
                refused(&daemon, bytes.as_bytes(), 408);
                let waited = begin.elapsed();
                assert!(waited >= *limit, "{waited:?}");
            });
        }
        // One byte now and then does not help.
        scope.spawn(|| {
            let mut drip = connect(daemon.admin());
            drip.set_read_timeout(Some(Duration::from_millis(200)))
                .unwrap();
            let begin = Instant::now();
            for byte in b"GET /v1/sessions/1 HTTP/1.1 and so on" {
                // It fails where the answer has come meanwhile.
                let _ = drip.write_all(&[*byte]);
                match drip.read_on(&mut [0; 12]) {
                    Ok(length) => {
                        assert!(length > 0 && begin.elapsed() >= Duration::from_secs(5));
                        return;
                    }
                    Err(error) => assert!(
                        matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
                        "{error}"
                    ),
                }
            }
            panic!("never refused");
        });
    });
    before.same_after();
}

#[test]
fn a_body_in_chunks_is_read_wherever_it_is_cut_and_the_next_request_is_the_one_behind_it() {
    let daemon = daemon();
    let mut stream = BufReader::new(connect(daemon.admin()));
    let inside = "GET /v1/sessions/9 HTTP/1.1\r\n\r\n";
    let body = format!(
        "{:x}\r\n{inside}\r\n5;name=\"0\"\r\n0\r\n\r\n\r\n0;last\r\nX-Trailer: 0\r\n\r\n",
        inside.len()
    );
    for method in ["GET", "DELETE"] {
        let head = format!(
            "{method} /v1/sessions/1 HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: Chunked\r\n\r\n"
        );
        let request = head.clone() + &body;
        for cut in head.len() - 5..=request.len() {
            let (begin, end) = request.split_at(cut);
            stream.get_mut().write_all(begin.as_bytes()).unwrap();
            // The one end is sent with what follows, the other after a moment.
            if cut % 2 == 0 {
                thread::yield_now();
            }
            let next = "GET /v1/sessions/77 HTTP/1.1\r\nHost: localhost\r\n\r\n";
            let rest = format!("{end}{next}");
            stream.get_mut().write_all(rest.as_bytes()).unwrap();
            let expected = if method == "GET" { 200 } else { 403 };
            assert_eq!(Answer::read(&mut stream, false).status, expected, "{cut}");
            assert_eq!(
                Answer::read(&mut stream, false).detail(),
                "77 is not a session"
            );
        }
    }
    // In many small writes, and after being told to go on.
    let head = "GET /v1/sessions/1 HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n";
    stream.get_mut().write_all(head.as_bytes()).unwrap();
    assert_eq!(Answer::read(&mut stream, true).status, 100);
    for byte in body.as_bytes() {
        stream.get_mut().write_all(&[*byte]).unwrap();
    }
    assert_eq!(Answer::read(&mut stream, false).status, 200);
}

#[test]
fn a_head_may_have_the_cookies_of_other_programs() {
    let daemon = daemon();
    let cookies = format!("Cookie: {}\r\n", "c".repeat(3000)).repeat(5);
    let fields = "X: y\r\n".repeat(90);
    let request = format!("GET /v1/sessions/1 HTTP/1.0\r\n{cookies}{fields}\r\n");
    assert!(request.len() > 15_000);
    assert!(exchange(daemon.admin(), request.as_bytes()).starts_with("HTTP/1.1 200 "));
}

#[test]
fn a_reset_right_after_the_request_harms_nobody() {
    let daemon = daemon();
    let before = Before::look(&daemon);
    for round in 0..5000 {
        let mut stream = connect(daemon.admin());
        stream.write_all(GET.as_bytes()).unwrap();
        if round % 2 == 0 {
            // With the answer unread, closing resets.
            stream.peek_on(&mut [0]).unwrap();
        }
    }
    before.same_after();
}

#[test]
fn a_thousand_greetings_in_other_protocols_harm_nobody() {
    let daemon = daemon();
    let before = Before::look(&daemon);
    for _ in 0..1000 {
        refused(&daemon, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505);
        refused(
            &daemon,
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
            400,
        );
    }
    before.same_after();
}

#[test]
fn a_thousand_pipelined_requests_are_answered_in_their_order() {
    let daemon = daemon();
    let before = Before::look(&daemon);
    let mut stream = BufReader::new(connect(daemon.admin()));
    let mut writer = stream.get_ref().try_clone().unwrap();
    let writing = thread::spawn(move || {
        let requests: Vec<String> = (0..1000)
            .map(|id| GET.replace("sessions/1", &format!("sessions/1{id:04}")))
            .collect();
        writer.write_all(requests.concat().as_bytes()).unwrap();
    });
    for id in 0..1000 {
        assert_eq!(
            Answer::read(&mut stream, false).detail(),
            format!("1{id:04} is not a session")
        );
    }
    writing.join().unwrap();
    drop(stream);
    before.same_after();
}

#[test]
fn a_pipeline_without_a_reader_is_stopped_and_holds_no_memory() {
    let daemon = daemon();
    let before = Before::look(&daemon);
    let mut stream = connect(daemon.admin());
    stream
        .set_write_timeout(Some(Duration::from_millis(500)))
        .unwrap();
    let requests = GET.repeat(1000);
    let begin = Instant::now();
    let mut written = 0_usize;
    // The kernel's buffers fill, and then no more is taken.
    while let Ok(length) = stream.write(requests.as_bytes()) {
        written += length;
        assert!(written < 100_000_000, "everything is taken");
    }
    honest(daemon.admin());
    // After 10 s of not reading the connection is cut.
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    until("the end of a reader that does not read", || {
        let ended = stream.take_error().unwrap().is_some()
            || stream.write(b"x").is_err_and(|error| {
                !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
            });
        ended.then_some(())
    });
    assert!(
        begin.elapsed() >= Duration::from_secs(9),
        "{:?}",
        begin.elapsed()
    );
    drop(stream);
    before.same_after();
}

/// Opens connections that send something and then nothing, or a byte now and then.
fn crowd(daemon: &Daemon, count: usize, bytes: &[u8]) -> Vec<TcpStream> {
    (0..count)
        .map(|_| {
            let mut stream = connect(daemon.admin());
            rustix::net::sockopt::set_socket_recv_buffer_size(&stream, 4096).unwrap();
            stream.set_nonblocking(true).unwrap();
            // It fails where the connection has been given up for a newer one, and stops where no more is taken.
            let _ = stream.write(bytes);
            stream
        })
        .collect()
}

fn withstands_a_crowd(daemon: &Daemon) {
    let before = Before::look(daemon);
    let idle = crowd(daemon, 500, b"");
    honest(daemon.admin());
    let mut slow = crowd(daemon, 500, b"G");
    honest(daemon.admin());
    // Their answers are more than the kernel keeps for somebody who does not read.
    let never_reading = crowd(daemon, 100, GET.repeat(2000).as_bytes());
    honest(daemon.admin());
    for byte in &b"ET / H"[..] {
        for stream in &mut slow {
            let _ = stream.write_all(&[*byte]);
        }
        honest(daemon.admin());
        thread::park_timeout(Duration::from_secs(1));
        honest(daemon.admin());
    }
    let threads = daemon.process.status("Threads");
    assert!(threads < 20, "{threads} threads");
    drop((idle, slow, never_reading));
    before.same_after();
}

#[test]
fn a_crowd_of_idle_slow_and_deaf_clients_keeps_no_honest_one_waiting() {
    withstands_a_crowd(&daemon());
}

#[test]
fn so_it_is_with_64_descriptors() {
    let daemon = Daemon::start_limited(&one_service(closed_port()), 64);
    withstands_a_crowd(&daemon);
}

#[test]
fn a_burst_of_honest_clients_is_answered_though_the_door_is_full() {
    let daemon = daemon();
    let before = Before::look(&daemon);
    thread::scope(|scope| {
        for _ in 0..100 {
            scope.spawn(|| honest_in_a_crowd(&daemon));
        }
    });
    before.same_after();
}

#[test]
fn as_many_clients_at_once_as_there_are_slots_all_keep_theirs() {
    for _ in 0..10 {
        let daemon = daemon();
        let ask = || {
            let mut client = connect(daemon.admin());
            client.write_all(GET.as_bytes()).unwrap();
            client
        };
        let clients: Vec<TcpStream> = (0..64).map(|_| ask()).collect();
        for client in clients {
            let answer = Answer::read(&mut BufReader::new(client), false);
            assert_eq!(answer.status, 200);
            assert_eq!(answer.field("Keep-Alive"), Some("timeout=60"));
        }
    }
}

/// Like [`honest`], though one of a hundred at once may be turned away before
/// it has sent its request, and comes again then.
fn honest_in_a_crowd(daemon: &Daemon) {
    for _ in 0..20 {
        until("an answer in a crowd", || {
            let mut stream = TcpStream::connect(daemon.admin()).ok()?;
            stream.set_read_timeout(Some(PATIENCE)).ok()?;
            stream.write_all(GET.as_bytes()).ok()?;
            let mut status = [0; 15];
            stream.read_exact(&mut status).ok()?;
            assert_eq!(&status, b"HTTP/1.1 200 OK");
            Some(())
        });
    }
}

#[test]
fn the_admin_server_answers_while_the_relay_has_no_descriptor_left() {
    let (echo, _) = super::support::Server::new().echo();
    let daemon = Daemon::start_limited(&one_service(echo), 64);
    let clients: Vec<TcpStream> = (0..100)
        .map(|_| connect(daemon.listener("listener")))
        .collect();
    daemon.process.line("a word about the limit", |line| {
        line.contains("further clients wait").then_some(())
    });
    for _ in 0..100 {
        honest(daemon.admin());
    }
    // As many at once as it has promised to itself.
    let crowd = crowd(&daemon, 16, b"");
    honest(daemon.admin());
    drop((clients, crowd));
    daemon.client_sessions_until(0);
}

#[test]
fn http_1_0_is_answered_and_closed_or_kept_where_it_asks_for_that() {
    let daemon = daemon();
    let answer = exchange(daemon.admin(), b"GET /v1/sessions/1 HTTP/1.0\r\n\r\n");
    let answer = Answer::read(&mut answer.as_bytes(), false);
    assert_eq!(
        (answer.status, answer.field("Connection")),
        (200, Some("close"))
    );
    let port = daemon.admin().port();
    assert_eq!(
        answer.document().text("/links/self"),
        format!("http://localhost:{port}/v1/sessions/1")
    );

    let mut stream = BufReader::new(connect(daemon.admin()));
    for _ in 0..2 {
        stream
            .get_mut()
            .write_all(b"GET /v1/sessions/1 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
            .unwrap();
        let answer = Answer::read(&mut stream, false);
        assert_eq!(
            (answer.status, answer.field("Connection")),
            (200, Some("keep-alive"))
        );
    }
}

#[test]
fn a_client_that_ends_its_stream_after_the_request_is_still_answered() {
    let daemon = daemon();
    for _ in 0..100 {
        let mut stream = connect(daemon.admin());
        stream.write_all(GET.repeat(3).as_bytes()).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut stream = BufReader::new(stream);
        for _ in 0..3 {
            assert_eq!(Answer::read(&mut stream, false).status, 200);
        }
        assert_eq!(stream.read_on(&mut [0]).unwrap(), 0);
    }
}

/// The resident memory of this process, in KiB.
fn resident_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

fn ask_for_the_list(address: std::net::SocketAddr, version: &str) -> BufReader<TcpStream> {
    let mut stream = connect(address);
    let request = format!("GET /v1/sessions HTTP/{version}\r\nHost: localhost\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    BufReader::new(stream)
}

#[test]
fn a_long_list_comes_whole_in_chunks_or_until_the_end_and_head_is_its_head() {
    let library = Library::with_sessions(5000);
    let address = library.address;
    let chunked = Answer::read(&mut ask_for_the_list(address, "1.1"), false);
    assert_eq!(chunked.field("Transfer-Encoding"), Some("chunked"));
    assert_eq!(chunked.document().elements("/data").len(), 5000);

    let mut all = String::new();
    ask_for_the_list(address, "1.0")
        .read_to_string(&mut all)
        .unwrap();
    let (head, body) = all.split_once("\r\n\r\n").unwrap();
    assert!(
        head.contains("\r\nConnection: close") && !head.contains("Transfer-Encoding"),
        "{head}"
    );
    assert_eq!(Document::parse(body).elements("/data").len(), 5000);

    let mut stream = BufReader::new(connect(address));
    stream
        .get_mut()
        .write_all(
            GET.replace("GET /v1/sessions/1", "HEAD /v1/sessions")
                .as_bytes(),
        )
        .unwrap();
    assert_eq!(
        Answer::read(&mut stream, true).field("Transfer-Encoding"),
        Some("chunked")
    );
    stream.get_mut().write_all(GET.as_bytes()).unwrap();
    assert_eq!(Answer::read(&mut stream, false).status, 200);
    library.stop();
}

#[test]
fn a_long_list_to_a_slow_reader_costs_others_no_time_and_little_memory() {
    // Memory is measured for a whole process, so it has one to itself.
    const ALONE: &str = "SESSIOND_TEST_ALONE";
    if std::env::var_os(ALONE).is_none() {
        let name = "door::a_long_list_to_a_slow_reader_costs_others_no_time_and_little_memory";
        let mut command = Command::new(std::env::current_exe().unwrap());
        let output = command
            .args(["--exact", name, "--nocapture"])
            .env(ALONE, "yes")
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"));
        return;
    }
    let library = Library::with_sessions(50_000);
    // The first list warms up what is kept for all that follow.
    drop(Answer::read(
        &mut ask_for_the_list(library.address, "1.1"),
        false,
    ));
    let before = resident_memory();

    at_last(|| {
        let mut slow = ask_for_the_list(library.address, "1.1");
        slow.fill_buf_at_least_once();
        let slowest = slowest_of_many_short_answers(&library);
        let grown = resident_memory().saturating_sub(before);
        assert!(grown < 4096, "{grown} KiB more");
        let slow = Answer::read(&mut slow, false);
        assert_eq!(slow.body.matches("\"type\":\"sessions\"").count(), 50_000);
        (slowest < Duration::from_millis(20)).then_some(())
    });
    library.stop();
}

/// What nine in ten short answers take at most. On a busy machine any one may
/// take longer.
fn slowest_of_many_short_answers(library: &Library) -> Duration {
    let mut fast = BufReader::new(connect(library.address));
    let one = |_| {
        let begin = Instant::now();
        fast.get_mut().write_all(GET.as_bytes()).unwrap();
        assert_eq!(Answer::read(&mut fast, false).status, 200);
        begin.elapsed()
    };
    let mut took: Vec<Duration> = (0..500).map(one).collect();
    took.sort();
    took[450]
}

#[test]
fn long_lists_one_after_the_other_on_one_connection_are_all_whole() {
    let library = Library::with_sessions(400);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut stream = BufReader::new(connect(library.address));
                let request = GET.replace("/v1/sessions/1", "/v1/sessions");
                stream
                    .get_mut()
                    .write_all(request.repeat(300).as_bytes())
                    .unwrap();
                for _ in 0..300 {
                    let answer = Answer::read(&mut stream, false);
                    assert_eq!(answer.status, 200);
                    assert!(answer.body.len() > 64 * 1024 && answer.body.ends_with("]}\n"));
                }
            });
        }
    });
    library.stop();
}

#[test]
fn clients_that_ask_without_a_pause_on_all_slots_lock_nobody_out() {
    let directory = Directory::new();
    let path = directory.path().join("admin.sock");
    let daemon = Daemon::start(&format!(
        "admin_socket={}\n{}",
        path.display(),
        one_service(closed_port())
    ));
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..64 {
            scope.spawn(|| {
                while !stop.load(Relaxed) {
                    let Ok(stream) = TcpStream::connect(daemon.admin()) else {
                        continue;
                    };
                    stream
                        .set_read_timeout(Some(Duration::from_secs(1)))
                        .unwrap();
                    let mut stream = BufReader::new(stream);
                    // Always one request ahead; a connection that is ended is made again.
                    let _ = stream.get_mut().write_all(GET.as_bytes());
                    while !stop.load(Relaxed) && stream.get_mut().write_all(GET.as_bytes()).is_ok()
                    {
                        if Answer::try_read(&mut stream).is_none() {
                            break;
                        }
                    }
                }
            });
        }
        // They end with this, also where it fails.
        let _stop = SetAtEnd(&stop);
        for _ in 0..20 {
            until("an answer beside those", || {
                let mut stream = BufReader::new(TcpStream::connect(daemon.admin()).ok()?);
                stream
                    .get_ref()
                    .set_read_timeout(Some(Duration::from_secs(1)))
                    .ok()?;
                stream.get_mut().write_all(GET.as_bytes()).ok()?;
                Answer::try_read(&mut stream).map(|answer| assert_eq!(answer.status, 200))
            });
            // Over the unix socket there is always a slot.
            let mut stream = BufReader::new(UnixStream::connect(&path).unwrap());
            stream.get_ref().set_read_timeout(Some(PATIENCE)).unwrap();
            stream.get_mut().write_all(GET.as_bytes()).unwrap();
            assert_eq!(Answer::try_read(&mut stream).unwrap().status, 200);
        }
    });
}

struct SetAtEnd<'a>(&'a AtomicBool);

impl Drop for SetAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

#[test]
fn a_refusal_of_a_head_request_is_its_head_alone() {
    let daemon = daemon();
    let all = exchange(
        daemon.admin(),
        b"HEAD / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip\r\n\r\n",
    );
    assert!(
        all.starts_with("HTTP/1.1 501 ") && all.ends_with("\r\n\r\n"),
        "{all}"
    );
}

/// Waits for the first bytes of an answer and leaves the rest.
trait FirstBytes {
    fn fill_buf_at_least_once(&mut self);
}

impl FirstBytes for BufReader<TcpStream> {
    fn fill_buf_at_least_once(&mut self) {
        assert!(self.get_ref().peek_on(&mut [0]).unwrap() > 0);
    }
}

#[test]
fn the_fifth_long_answer_at_a_time_is_503_and_there_is_a_place_again_when_one_ends() {
    let library = Library::with_sessions(20_000);
    let address = library.address;
    let mut readers: Vec<_> = (0..4)
        .map(|_| {
            let mut reader = ask_for_the_list(address, "1.1");
            reader.fill_buf_at_least_once();
            reader
        })
        .collect();
    let fifth = Answer::read(&mut ask_for_the_list(address, "1.1"), false);
    assert_eq!((fifth.status, fifth.field("Retry-After")), (503, Some("1")));
    assert_eq!(
        fifth.detail(),
        "as many long answers are on their way as there may be; ask again in a second"
    );
    // Short answers are not concerned.
    honest(address);

    // One leaves in the middle, one reads to its end.
    drop(readers.pop());
    let mut one = readers.pop().unwrap();
    assert_eq!(
        Answer::read(&mut one, false)
            .document()
            .elements("/data")
            .len(),
        20_000
    );
    for _ in 0..2 {
        let reader = until("a free place", || {
            let mut reader = ask_for_the_list(address, "1.1");
            let mut start = [0; 12];
            reader.get_ref().peek_on(&mut start).unwrap();
            reader.fill_buf_at_least_once();
            start.ends_with(b"200").then_some(reader)
        });
        readers.push(reader);
    }
    drop(readers);
    library.stop();
}

#[test]
fn a_long_answer_that_nobody_reads_is_cut_off_after_10_seconds() {
    let library = Library::with_sessions(20_000);
    let address = library.address;
    let begin = Instant::now();
    let mut deaf: Vec<_> = (0..4).map(|_| ask_for_the_list(address, "1.1")).collect();
    for reader in &mut deaf {
        reader.fill_buf_at_least_once();
    }
    until("a place after the deaf have lost theirs", || {
        let mut reader = ask_for_the_list(address, "1.1");
        (Answer::read(&mut reader, false).status == 200).then_some(())
    });
    let waited = begin.elapsed();
    assert!(waited >= Duration::from_secs(10), "{waited:?}");
    // Those whose time is not quite up when they are read here may still get the rest.
    let cut_off = deaf.iter_mut().filter_map(|reader| {
        let mut all = Vec::new();
        // Either a reset or an early end shows that the answer is not whole.
        (reader.read_to_end(&mut all).is_err() || !all.ends_with(b"0\r\n\r\n")).then_some(())
    });
    assert!(cut_off.count() > 0);
    library.stop();
}
