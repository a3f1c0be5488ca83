//! `/metrics` as others read it: their checkers, their parsers, Prometheus itself.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::io::Write;
use std::net::TcpStream;

use super::access::WithAccounts;
use super::support::daemon::one_service;
use super::support::http::{self, connect, exchange};
use super::support::prometheus::{Metrics, OPEN_METRICS, Prometheus, promtool};
use super::support::python::python_program;
use super::support::server::closed_port;
use super::support::{Daemon, Server, until};

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
    // All that happens here has happened before, so no sample is new.
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
    until("a scrape that was read to its end", || {
        let samples = "sum(scrape_samples_scraped{job=\"sessiond\"}) > 50";
        (prometheus.ask(samples).0 == 1).then_some(())
    });
}
