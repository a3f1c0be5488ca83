//! `/metrics`: what Prometheus sees, and that it can read it.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::io::{BufReader, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant, SystemTime};

use super::access::WithAccounts;
use super::support::daemon::one_service;
use super::support::http::{self, Answer, connect, exchange};
use super::support::library::Library;
use super::support::prometheus::{Metrics, OPEN_METRICS, Prometheus, promtool};
use super::support::python::python_program;
use super::support::server::closed_port;
use super::support::{Daemon, Server, until};

/// Waits until a number of a daemon's metrics is what it should be.
fn until_number(daemon: &Daemon, sample: &str, number: u64) {
    until(&format!("{sample} is {number}"), || {
        (Metrics::of(daemon).number(sample) == number).then_some(())
    });
}

/// A daemon on whose every family there is something to tell.
fn busy(server: &Server) -> (Daemon, TcpStream) {
    let config = one_service(server.address())
        .replace("type=server\n", "type=server\nmax_connections=5\n")
        .replace("type=service\n", "type=service\nmax_connections=7\n");
    let daemon = Daemon::start_controlled("", &config);
    let client = connect(daemon.listener("listener"));
    daemon.client_sessions_until(1);
    assert_eq!(daemon.act("DELETE", "/v1/sessions/99").status, 404);
    (daemon, client)
}

#[test]
fn promtool_finds_nothing_to_mend() {
    let server = Server::new();
    let (daemon, _client) = busy(&server);
    let text = Metrics::of(&daemon).text;
    assert_eq!(promtool(&["check", "metrics"], &text), Ok(()));
    // It would say so if there were something.
    for (from, to) in [
        ("sessiond_sessions_opened_total", "sessiond_sessions_opened"),
        ("_kept_bytes", "_kept_kilobytes"),
        ("# HELP sessiond_server_up Whether", "# Whether"),
        ("{server=\"server\"} 1\n", "{server=\"ser\"ver\"} 1\n"),
    ] {
        assert!(text.contains(from), "{from}");
        assert!(
            promtool(&["check", "metrics"], &text.replace(from, to)).is_err(),
            "{to}"
        );
    }
}

#[test]
fn open_metrics_comes_to_who_asks_for_it_and_shows_its_end() {
    let server = Server::new();
    let (daemon, _client) = busy(&server);
    let plain = daemon.request("GET", "/metrics");
    let open = http::request(daemon.admin(), "GET", "/metrics", OPEN_METRICS);
    let head = http::request(daemon.admin(), "HEAD", "/metrics", OPEN_METRICS);
    let text = "text/plain; version=0.0.4; charset=utf-8";
    let open_metrics = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    for (answer, media_type) in [(&plain, text), (&open, open_metrics), (&head, open_metrics)] {
        assert_eq!(
            (answer.status, answer.field("Content-Type")),
            (200, Some(media_type))
        );
        assert_eq!(answer.field("Vary"), Some("Accept"));
        assert_eq!(answer.field("ETag"), None);
        assert!(answer.field("Content-Length").is_some());
    }
    assert_eq!(head.body, "");
    assert!(open.body.ends_with("\n# EOF\n") && !plain.body.contains("EOF"));

    let names = |text: &str| {
        let metrics = Metrics {
            text: text.to_owned(),
        };
        let names = metrics.samples().map(|(sample, _)| sample.to_owned());
        names.collect::<Vec<_>>()
    };
    // The second answer counts the methods of those before it.
    assert_eq!(names(&plain.body), names(&open.body));
    let counters: Vec<&str> = open
        .body
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" counter"))
        .collect();
    assert!(counters.len() > 7);
    let names: HashSet<String> = names(&open.body)
        .iter()
        .map(|sample| sample.split('{').next().unwrap().to_owned())
        .collect();
    for counter in counters {
        assert!(!counter.ends_with("_total"), "{counter}");
        assert!(names.contains(&format!("{counter}_total")), "{counter}");
    }
    open_metrics_parser(&open.body);
}

/// Has the parser of the format's authors read something.
fn open_metrics_parser(text: &str) {
    let script = "import sys\n\
        from prometheus_client.openmetrics.parser import text_string_to_metric_families as read\n\
        families = list(read(sys.stdin.read()))\n\
        assert len(families) > 20 and all(family.documentation for family in families)\n";
    let mut child = python_program()
        .args(["-c", script])
        .stdin(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(text.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
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
    assert_eq!(connect(address).read(&mut [0]).unwrap(), 0);
    let refused =
        "sessiond_sessions_closed_total{service=\"service\",reason=\"no_server_available\"}";
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
    drop((one, at_server));
    drop(other);
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
    // A probe of the server has a descriptor for a moment.
    until("as many descriptors as there are", || {
        let count = metrics().number("process_open_fds");
        (count == daemon.process.descriptors() as u64).then_some(())
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

#[test]
fn who_may_read_it_is_who_may_read_the_rest() {
    let daemon = Daemon::start_controlled("", &one_service(closed_port()));
    let options = daemon.request("OPTIONS", "/metrics");
    assert_eq!(
        (options.status, options.field("Allow")),
        (204, Some("GET, HEAD, OPTIONS"))
    );
    assert_eq!(daemon.request("PUT", "/metrics").status, 403);
    let put = daemon.act("PUT", "/metrics");
    assert_eq!(
        (put.status, put.field("Allow")),
        (405, Some("GET, HEAD, OPTIONS"))
    );
    assert!(put.detail().contains("GET, HEAD, OPTIONS"));
    assert_eq!(daemon.act("GET", "/metrics/").status, 200);
    let unknown = daemon.request("GET", "/metrics?name[]=up");
    assert_eq!(unknown.status, 400);
    assert_eq!(
        unknown.document().text("/errors/0/source/parameter"),
        "name[]"
    );
    let elsewhere = exchange(
        daemon.admin(),
        b"GET /metrics HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n",
    );
    assert!(elsewhere.starts_with("HTTP/1.1 421 "), "{elsewhere}");

    let with_accounts = WithAccounts::start("");
    let admin = with_accounts.daemon.admin();
    assert_eq!(http::request(admin, "GET", "/metrics", "").status, 401);
    let shown = format!("Authorization: Bearer {}\r\n", with_accounts.reader);
    assert_eq!(http::request(admin, "GET", "/metrics", &shown).status, 200);
}

/// How long a scrape takes, of several the one in the middle.
fn scrape_time(library: &Library) -> Duration {
    let mut times: Vec<Duration> = (0..15)
        .map(|_| {
            let begin = Instant::now();
            assert_eq!(library.request("GET", "/metrics", "").status, 200);
            begin.elapsed()
        })
        .collect();
    times.sort();
    times[times.len() / 2]
}

#[test]
fn beside_100_000_sessions_a_scrape_is_as_short_and_as_quick() {
    let library = Library::start();
    let length = || {
        Metrics::from(library.request("GET", "/metrics", ""))
            .text
            .lines()
            .count()
    };
    let (lines, first) = (length(), scrape_time(&library));
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
    // To look at each session once would take some 10 ms.
    let quick = (0..5).any(|_| scrape_time(&library) < 2 * first + Duration::from_millis(2));
    assert!(quick, "it was {first:?} and is {:?}", scrape_time(&library));
    library.stop();
}

#[test]
fn many_services_come_in_chunks_and_nothing_is_missing() {
    let server = Server::new();
    let mut config = one_service(server.address());
    for number in 0..60 {
        write!(
            config,
            "[service-{number}]\ntype=service\nservers=server\nmax_connections=3\n\
             [listener-{number}]\ntype=listener\nservice=service-{number}\nprotocol=TCP\naddress=127.0.0.1\nport=0\n"
        )
        .unwrap();
    }
    let daemon = Daemon::start(&config);
    let answer = daemon.request("GET", "/metrics");
    assert_eq!(answer.field("Transfer-Encoding"), Some("chunked"));
    assert!(answer.body.len() > 65_536);
    assert_eq!(promtool(&["check", "metrics"], &answer.body), Ok(()));
    let metrics = Metrics::from(answer);
    assert_eq!(metrics.sum("sessiond_listener_up"), 61);
    assert_eq!(metrics.sum("sessiond_service_sessions_limit"), 180);
    assert!(metrics.text.contains("\nprocess_start_time_seconds "));
    let open = http::request(daemon.admin(), "GET", "/metrics", OPEN_METRICS);
    assert_eq!(open.field("Transfer-Encoding"), Some("chunked"));
    open_metrics_parser(&open.body);
}

/// The parts of the README that are in a language.
fn readme(language: &str) -> Vec<String> {
    let readme = include_str!("../../README.md");
    let begin = format!("```{language}\n");
    let mut parts = Vec::new();
    let mut lines = readme.split_inclusive('\n');
    while let Some(line) = lines.next() {
        let Some((indentation, "")) = line.split_once(&begin) else {
            continue;
        };
        let part = lines.by_ref().take_while(|line| line.trim() != "```");
        parts.push(
            part.map(|line| line.strip_prefix(indentation).unwrap())
                .collect(),
        );
    }
    parts
}

#[test]
fn a_real_prometheus_reads_it_as_the_readme_says() {
    let configurations = readme("yaml");
    let [local, fleet] = &configurations[..] else {
        panic!("{configurations:?}");
    };
    let server = Server::new();
    let daemon = Daemon::start(&one_service(server.address()));
    let with_accounts = WithAccounts::start("");
    let token = daemon.directory().file("token", &with_accounts.reader);
    let replaced = |text: &str, from: &str, to: &str| {
        assert!(text.contains(from), "{from} in {text}");
        text.replace(from, to)
    };
    let local = replaced(local, "localhost:8989", &daemon.admin().to_string());
    let fleet = replaced(
        fleet,
        "/etc/prometheus/sessiond.token",
        &token.to_string_lossy(),
    );
    let fleet = replaced(
        &fleet,
        "box1.example:8989",
        &with_accounts.daemon.admin().to_string(),
    );
    let fleet = replaced(&fleet, "box2.example:8989", &closed_port().to_string());
    let fleet = replaced(&fleet, "job_name: sessiond", "job_name: fleet");
    let fleet = replaced(&fleet, "scrape_configs:\n", "");
    let prometheus = Prometheus::start(&format!("{local}{fleet}"));

    prometheus.until("up{job=\"sessiond\"}", "1");
    prometheus.until("count(up{job=\"fleet\"} == 1)", "1");
    prometheus.until("count(sessiond_build_info{version=~\".+\"})", "2");
    let _client = (connect(daemon.listener("listener")), server.accept(&daemon));
    prometheus.until("sum(sessiond_sessions{state=\"ready\"})", "1");
    // A server that is down, and one that is not.
    prometheus.until("count(sessiond_server_up == 0)", "1");
    for question in readme("promql").concat().lines() {
        prometheus.ask(question);
    }
    // It asks for OpenMetrics, and has met nothing that it could not read.
    assert_eq!(
        prometheus
            .ask("sum(scrape_samples_scraped{job=\"sessiond\"}) > 50")
            .0,
        1
    );
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
