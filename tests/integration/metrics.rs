//! `/metrics`: the numbers, as clients come and go and as operators act.

use std::io::{BufReader, Read, Write};
use std::time::{Duration, Instant, SystemTime};

use super::support::daemon::one_service;
use super::support::http::{Answer, connect, exchange};
use super::support::library::Library;
use super::support::prometheus::Metrics;
use super::support::server::closed_port;
use super::support::uninterrupted::ReadOn;
use super::support::{Daemon, Server, until};

/// Waits until a number of a daemon's metrics is what it should be.
fn until_number(daemon: &Daemon, sample: &str, number: u64) {
    until(&format!("{sample} is {number}"), || {
        (Metrics::of(daemon).number(sample) == number).then_some(())
    });
}

#[test]
fn numbers_follow_clients_as_they_come_speak_and_go() {
    let server = Server::new();
    let config = one_service(server.address())
        .replace("type=server\n", "type=server\nmax_connections=5\n")
        .replace("type=service\n", "type=service\nmax_connections=2\n");
    let daemon = Daemon::start_controlled("admin_history=50\n", &config);
    let rest = Metrics::of(&daemon);
    for (sample, value) in [
        ("sessiond_sessions{service=\"service\",state=\"ready\"}", 0),
        ("sessiond_sessions_opened_total{service=\"service\"}", 0),
        ("sessiond_service_sessions_limit{service=\"service\"}", 2),
        ("sessiond_server_connections_limit{server=\"server\"}", 5),
        ("sessiond_server_up{server=\"server\"}", 1),
        (
            "sessiond_listener_up{listener=\"listener\",service=\"service\"}",
            1,
        ),
        ("sessiond_history_sessions_limit", 50),
        ("sessiond_kept_bytes", 0),
        ("sessiond_admin_connections", 1),
        ("sessiond_admin_connections_limit", 64),
    ] {
        assert_eq!(rest.number(sample), value, "{sample}");
    }

    let address = daemon.listener("listener");
    let (mut one, mut at_server) = (connect(address), server.accept(&daemon));
    let other = (connect(address), server.accept(&daemon));
    one.write_all(b"hello").unwrap();
    at_server.read_exact(&mut [0; 5]).unwrap();
    at_server.write_all(b"hello, client").unwrap();
    one.read_exact(&mut [0; 13]).unwrap();
    // A third one is not let in.
    assert_eq!(connect(address).read_on(&mut [0]).unwrap(), 0);
    let refused =
        "sessiond_sessions_closed_total{service=\"service\",reason=\"too_many_connections\"}";
    until_number(&daemon, refused, 1);
    let there = Metrics::of(&daemon);
    for (sample, value) in [
        (
            "sessiond_sessions{service=\"service\",state=\"allocated\"}",
            0,
        ),
        ("sessiond_sessions{service=\"service\",state=\"ready\"}", 2),
        ("sessiond_sessions_opened_total{service=\"service\"}", 3),
        (
            "sessiond_service_bytes_total{service=\"service\",direction=\"from_clients\"}",
            5,
        ),
        (
            "sessiond_service_bytes_total{service=\"service\",direction=\"to_clients\"}",
            13,
        ),
        (
            "sessiond_server_bytes_total{server=\"server\",direction=\"from_clients\"}",
            5,
        ),
        (
            "sessiond_server_bytes_total{server=\"server\",direction=\"to_clients\"}",
            13,
        ),
        ("sessiond_server_connections{server=\"server\"}", 2),
        (
            "sessiond_server_connections_opened_total{server=\"server\"}",
            2,
        ),
        ("sessiond_history_sessions", 1),
    ] {
        assert_eq!(there.number(sample), value, "{sample}");
    }
    for (client, mut at_server) in [(one, at_server), other] {
        drop(client);
        // Were both ends gone by the time the program looks, either could be the first.
        assert_eq!(at_server.read_on(&mut [0]).unwrap(), 0);
    }
    until_number(
        &daemon,
        "sessiond_sessions_closed_total{service=\"service\",reason=\"client_closed\"}",
        2,
    );
    let gone = Metrics::of(&daemon);
    assert_eq!(gone.sum("sessiond_sessions"), 0);
    assert_eq!(gone.sum("sessiond_sessions_closed_total"), 3);
    assert_eq!(
        gone.number("sessiond_server_connections{server=\"server\"}"),
        0
    );
    assert_eq!(gone.number("sessiond_history_sessions"), 3);
}

#[test]
fn descriptors_memory_and_threads_are_those_that_the_system_tells() {
    let daemon = Daemon::start(&one_service(closed_port()));
    let mut stream = BufReader::new(connect(daemon.admin()));
    let mut metrics = || {
        let request = "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n";
        stream.get_mut().write_all(request.as_bytes()).unwrap();
        Metrics::from(Answer::read(&mut stream, false))
    };
    // A probe of the server has a descriptor for a moment. And one is set aside
    // where a thread waits in accept(2): it counts, and is not listed.
    until("as many descriptors as there are", || {
        let count = metrics().number("process_open_fds");
        let listed = daemon.process.descriptors() as u64;
        (listed..=listed + 1).contains(&count).then_some(())
    });
    let metrics = metrics();
    assert_eq!(
        metrics.number("process_threads"),
        daemon.process.status("Threads")
    );
    let (told, there) = (
        metrics.number("process_resident_memory_bytes"),
        daemon.process.status("VmRSS"),
    );
    assert!(
        told.abs_diff(1024 * there) < 1024 * 1024,
        "{told} and {there} KiB"
    );
    assert!(metrics.number("process_max_fds") >= metrics.number("process_open_fds"));
    let began: f64 = metrics
        .text_of("process_start_time_seconds")
        .parse()
        .unwrap();
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap();
    assert!(
        (0.0..60.0).contains(&(now.as_secs_f64() - began)),
        "{began}"
    );
    assert!(
        metrics
            .text_of("process_cpu_seconds_total")
            .parse::<f64>()
            .unwrap()
            > 0.0
    );
}

#[test]
fn what_an_operator_does_is_seen() {
    let server = Server::new();
    let daemon = Daemon::start_controlled("", &one_service(server.address()));
    let (_client, _behind) = (connect(daemon.listener("listener")), server.accept(&daemon));
    daemon.done("PUT", "/v1/listeners/listener/stop");
    daemon.done("PUT", "/v1/servers/server/set?state=drain");
    daemon.done("DELETE", "/v1/sessions/2?ttl=1h");
    let metrics = Metrics::of(&daemon);
    for (sample, value) in [
        (
            "sessiond_listener_up{listener=\"listener\",service=\"service\"}",
            0,
        ),
        ("sessiond_server_drained{server=\"server\"}", 1),
        ("sessiond_server_in_maintenance{server=\"server\"}", 0),
        ("sessiond_sessions{service=\"service\",state=\"ready\"}", 0),
        (
            "sessiond_sessions{service=\"service\",state=\"stopping\"}",
            1,
        ),
        (
            "sessiond_admin_requests_total{method=\"PUT\",code=\"204\"}",
            2,
        ),
        (
            "sessiond_admin_requests_total{method=\"DELETE\",code=\"204\"}",
            1,
        ),
    ] {
        assert_eq!(metrics.number(sample), value, "{sample}");
    }
    daemon.done("PUT", "/v1/servers/server/set?state=maintenance");
    let stopped = "sessiond_sessions_closed_total{service=\"service\",reason=\"server_stopped\"}";
    until_number(&daemon, stopped, 1);
    assert_eq!(
        Metrics::of(&daemon).number("sessiond_server_in_maintenance{server=\"server\"}"),
        1
    );
}

#[test]
fn a_server_that_is_down_is_seen() {
    let daemon = Daemon::start(&one_service(closed_port()));
    until_number(&daemon, "sessiond_server_up{server=\"server\"}", 0);
}

#[test]
fn what_is_kept_for_a_slow_reader_is_seen_beside_its_limit() {
    let server = Server::new();
    let daemon = Daemon::start(&one_service(server.address()));
    let client = connect(daemon.listener("listener"));
    let mut behind = server.accept(&daemon);
    behind.set_nonblocking(true).unwrap();
    until("bytes that are kept", || {
        // All that is on the way is full before anything is kept.
        let _ = behind.write(&[b'x'; 16 * 1024]);
        (Metrics::of(&daemon).number("sessiond_kept_bytes") > 0).then_some(())
    });
    let metrics = Metrics::of(&daemon);
    assert!(metrics.number("sessiond_kept_bytes") <= metrics.number("sessiond_kept_bytes_limit"));
    drop(client);
    until_number(&daemon, "sessiond_kept_bytes", 0);
}

#[test]
fn admin_requests_are_counted_by_method_and_status() {
    let server = Server::new();
    let daemon = Daemon::start(&one_service(server.address()));
    let count = |what: &str, more: u64| {
        let sample = format!("sessiond_admin_requests_total{what}");
        let found = Metrics::of(&daemon);
        let mut found = found.samples();
        let value = found
            .find(|(name, _)| *name == sample)
            .map_or("0", |(_, value)| value);
        assert_eq!(value.parse::<u64>().unwrap(), more, "{what}");
    };
    for (method, target, code) in [
        ("GET", "/v1/sessions/99", 404),
        ("GET", "/v1?x=1", 400),
        ("HEAD", "/v1", 200),
        ("OPTIONS", "/metrics", 204),
        ("DELETE", "/v1/sessions/1", 403),
        ("PATCH", "/v1", 405),
    ] {
        let name = if method == "PATCH" { "other" } else { method };
        let what = format!("{{method=\"{name}\",code=\"{code}\"}}");
        count(&what, 0);
        assert_eq!(daemon.request(method, target).status, code);
        count(&what, 1);
    }
    // What the door refuses has no method.
    assert!(exchange(daemon.admin(), b"GET / HTTP/3.0\r\n\r\n").starts_with("HTTP/1.1 505 "));
    count("{method=\"other\",code=\"505\"}", 1);
    assert!(exchange(daemon.admin(), b"\0").starts_with("HTTP/1.1 400 "));
    count("{method=\"other\",code=\"400\"}", 1);
    // A long answer is one that has begun.
    let begun =
        Metrics::of(&daemon).number("sessiond_admin_requests_total{method=\"GET\",code=\"200\"}");
    let mut events = BufReader::new(connect(daemon.admin()));
    write!(
        events.get_mut(),
        "GET /v1/sessions/events HTTP/1.1\r\nHost: localhost\r\n\r\n"
    )
    .unwrap();
    events.read_exact(&mut [0; 12]).unwrap();
    count("{method=\"GET\",code=\"200\"}", begun + 2);
}

#[test]
fn how_long_requests_take_is_told_without_those_that_wait_or_have_no_end() {
    let server = Server::new();
    let daemon = Daemon::start(&one_service(server.address()));
    let _client = (connect(daemon.listener("listener")), server.accept(&daemon));
    let count = "sessiond_admin_request_duration_seconds_count";
    let before = Metrics::of(&daemon).number(count);
    let mut events = connect(daemon.admin());
    write!(
        events,
        "GET /v1/sessions/events HTTP/1.1\r\nHost: localhost\r\n\r\n"
    )
    .unwrap();
    events.read_exact(&mut [0; 12]).unwrap();
    assert_eq!(
        daemon.request("GET", "/v1/sessions/2?wait=50ms").status,
        200
    );
    assert!(exchange(daemon.admin(), b"\0").starts_with("HTTP/1.1 400 "));
    // One of them counts that did neither: the scrape before.
    let after = Metrics::of(&daemon);
    assert_eq!(after.number(count), before + 1);
    let bucket = |bound: &str| {
        after.number(&format!(
            "sessiond_admin_request_duration_seconds_bucket{{le=\"{bound}\"}}"
        ))
    };
    assert_eq!(bucket("+Inf"), before + 1);
    let bounds = [
        "0.0001", "0.0005", "0.001", "0.005", "0.01", "0.05", "0.1", "0.5", "1.0", "5.0",
    ];
    assert!(bounds.map(bucket).is_sorted());
    assert_eq!(bucket("5.0"), bucket("+Inf"));
    let sum = after.text_of("sessiond_admin_request_duration_seconds_sum");
    assert!((0.0..20.0).contains(&sum.parse::<f64>().unwrap()), "{sum}");
}

/// How long a scrape takes.
fn scrape_time(library: &Library) -> Duration {
    let begin = Instant::now();
    assert_eq!(library.request("GET", "/metrics", "").status, 200);
    begin.elapsed()
}

#[test]
fn beside_100_000_sessions_a_scrape_is_as_short_and_as_quick() {
    let (library, empty) = (Library::start(), Library::start());
    let length = || {
        Metrics::from(library.request("GET", "/metrics", ""))
            .text
            .lines()
            .count()
    };
    let lines = length();
    for number in 0..100_000 {
        let session = library.open(number % 2, Some("192.0.2.7:4711"), Duration::ZERO);
        if number % 4 == 0 {
            library.connect(&session, 0, 1);
        }
    }
    let metrics = Metrics::from(library.request("GET", "/metrics", ""));
    for (service, state, count) in [
        ("Write", "ready", 25_000),
        ("Write", "allocated", 25_000),
        ("Read", "allocated", 50_000),
    ] {
        let sample = format!("sessiond_sessions{{service=\"{service}\",state=\"{state}\"}}");
        assert_eq!(metrics.number(&sample), count, "{sample}");
    }
    assert_eq!(length(), lines);
    // In turn, so that whatever else the machine does is in both.
    let rounds: Vec<_> = (0..75)
        .map(|_| (scrape_time(&library), scrape_time(&empty)))
        .collect();
    let full = rounds.iter().map(|round| round.0).min().unwrap();
    let empty_takes = rounds.iter().map(|round| round.1).min().unwrap();
    // To look at each session once would take some 10 ms.
    assert!(
        full < 2 * empty_takes + Duration::from_millis(2),
        "{full:?}, and {empty_takes:?} without sessions"
    );
    library.stop();
    empty.stop();
}

#[test]
fn clients_that_leave_before_they_say_anything_are_counted_once() {
    let (server, _) = Server::new().echo();
    let daemon = Daemon::start(&one_service(server));
    for _ in 0..20 {
        drop(connect(daemon.listener("listener")));
    }
    until("the end of all sessions", || {
        let metrics = Metrics::of(&daemon);
        (metrics.sum("sessiond_sessions_closed_total") == 20).then_some(())
    });
    let metrics = Metrics::of(&daemon);
    assert_eq!(metrics.sum("sessiond_sessions_opened_total"), 20);
    assert_eq!(metrics.sum("sessiond_sessions"), 0);
}
