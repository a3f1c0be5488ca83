//! Requests, good and bad, and what they get.

use std::io::{BufReader, Write};

use super::support::Daemon;
use super::support::daemon::one_service;
use super::support::http::{self, Answer};
use super::support::server::closed_port;

fn daemon() -> Daemon {
    Daemon::start(&one_service(closed_port()))
}

#[test]
fn an_id_that_is_none_is_404_and_named() {
    let daemon = daemon();
    for id in [
        "0",
        "-1",
        "+1",
        "01",
        "abc",
        "1x",
        "18446744073709551616",
        "18446744073709551615",
        "2",
    ] {
        let answer = daemon.request("GET", &format!("/v1/sessions/{id}"));
        assert_eq!(answer.status, 404, "{id}");
        assert_eq!(answer.detail(), format!("{id} is not a session"));
        assert_eq!(
            answer.field("Content-Type"),
            Some("application/vnd.api+json")
        );
    }
    // Segments are decoded before they are compared, so this is the session 1.
    let session = daemon.get("/v1/sessions/%31");
    assert_eq!(session.text("/data/id"), "1");
    assert!(session.text("/links/self").ends_with("/v1/sessions/1"));
    assert_eq!(daemon.request("GET", "/v1/sessions/%3").status, 400);
    assert_eq!(daemon.request("GET", "/v1/sessions/%ff").status, 400);
    assert_eq!(
        daemon.request("GET", "/v1/sessions/%22%0a").detail(),
        "\"\n is not a session"
    );
}

#[test]
fn an_unknown_path_is_404_and_says_what_there_is() {
    let daemon = daemon();
    for path in [
        "/v2",
        "/v1/session",
        "/v1/sessions/1/2",
        "/v1/sessions//",
        "/V1",
        "/../v1",
        "/v1%2fsessions",
    ] {
        let answer = daemon.request("GET", path);
        assert_eq!(answer.status, 404, "{path}");
        let expected = format!(
            "nothing is at {path}; there are /v1, /v1/sessions, /v1/services, /v1/servers, /v1/listeners, and each of these with an id behind it, and /metrics; /v1/openapi.json describes them all"
        );
        assert_eq!(answer.detail(), expected);
    }
}

#[test]
fn a_method_that_is_not_there_is_405_with_allow() {
    let daemon = daemon();
    for method in ["POST", "PATCH", "BREW", "get"] {
        for (path, allow) in [
            ("/", "GET, HEAD, OPTIONS"),
            ("/v1", "GET, HEAD, OPTIONS"),
            ("/v1/services/service", "GET, HEAD, OPTIONS"),
            ("/v1/sessions/events", "GET, HEAD, OPTIONS"),
            ("/v1/sessions", "GET, HEAD, DELETE, OPTIONS"),
            ("/v1/sessions/1", "GET, HEAD, DELETE, OPTIONS"),
            ("/v1/services/service/stop", "PUT, OPTIONS"),
            ("/v1/listeners/listener/start", "PUT, OPTIONS"),
            ("/v1/servers/server/set", "PUT, OPTIONS"),
        ] {
            let answer = daemon.request(method, path);
            assert_eq!(answer.status, 405, "{method} {path}");
            assert_eq!(answer.field("Allow"), Some(allow));
            assert_eq!(
                answer.detail(),
                format!("{method} is not possible here; there are {allow}")
            );
        }
        assert_eq!(daemon.request(method, "/nowhere").status, 404);
    }
}

#[test]
fn options_lists_the_methods_in_allow() {
    let answer = daemon().request("OPTIONS", "/v1/sessions");
    assert_eq!(
        (answer.status, answer.field("Allow")),
        (204, Some("GET, HEAD, DELETE, OPTIONS"))
    );
    assert_eq!(answer.field("Content-Length"), None);
}

#[test]
fn head_has_the_fields_of_get_and_nothing_else() {
    let daemon = daemon();
    for path in [
        "/v1",
        "/v1/sessions",
        "/v1/sessions/1",
        "/v1/sessions/2",
        "/nowhere",
    ] {
        let (get, head) = (daemon.request("GET", path), daemon.request("HEAD", path));
        let without_date = |answer: &Answer| {
            answer
                .head
                .lines()
                .filter(|line| !line.starts_with("Date:"))
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        assert_eq!(without_date(&get), without_date(&head));
        assert_eq!(
            get.field("Content-Length"),
            Some(get.body.len().to_string().as_str())
        );
        assert!(get.body.ends_with("}\n"));
    }
}

#[test]
fn every_answer_has_the_fields_that_are_always_sent() {
    let daemon = daemon();
    for path in ["/", "/v1/sessions", "/nowhere", "/v1?x"] {
        let answer = daemon.request("GET", path);
        assert_eq!(answer.field("Server"), Some("sessiond"));
        assert_eq!(answer.field("Cache-Control"), Some("no-cache"));
        assert_eq!(answer.field("X-Content-Type-Options"), Some("nosniff"));
        assert!(answer.field("Date").unwrap().ends_with(" GMT"));
        assert_eq!(answer.field("Access-Control-Allow-Origin"), None);
    }
}

#[test]
fn the_root_says_who_it_is() {
    let daemon = daemon();
    for path in ["/", "/v1", "/v1/"] {
        let document = daemon.get(path);
        assert_eq!(document.text("/meta/name"), "sessiond");
        assert_eq!(document.text("/meta/version"), env!("CARGO_PKG_VERSION"));
        assert!(document.integer("/meta/uptime") < 20);
        assert_eq!(
            document.text("/meta/started").len(),
            "Wed May 17 10:06:35 2017".len()
        );
        let base = format!("http://{}", daemon.admin());
        assert_eq!(document.text("/links/self"), format!("{base}/v1"));
        let sessions = document.text("/links/sessions");
        assert_eq!(
            daemon
                .get(sessions.strip_prefix(&base).unwrap())
                .text("/links/self"),
            sessions
        );
    }
}

#[test]
fn a_parameter_that_is_not_understood_is_400_and_named() {
    let daemon = daemon();
    let understood =
        "the value of pretty must be true or false, on or off, yes or no, 1 or 0".to_owned();
    let is_none = |name: &str, there_are: &str| {
        format!("{name} is not a parameter of this request; {there_are}")
    };
    for (path, there_are) in [
        ("/v1", "there is pretty"),
        (
            "/v1/sessions/1",
            "there are pretty, fields[TYPE], rdns and wait",
        ),
        ("/v1/sessions/1/relationships/services", "there is pretty"),
        (
            "/v1/sessions",
            "there are pretty, fields[TYPE], filter, filter[PATH], sort, page[size], page[number], rdns and state",
        ),
        (
            "/v1/servers/",
            "there are pretty, fields[TYPE], filter, filter[PATH], sort, page[size] and page[number]",
        ),
    ] {
        for (query, parameter, detail) in [
            ("pretty=2", "pretty", understood.clone()),
            ("pretty=", "pretty", understood.clone()),
            ("prety", "prety", is_none("prety", there_are)),
            ("pretty&x%22=1", "x\"", is_none("x\"", there_are)),
            (
                "%zz",
                "%zz",
                "%zz is not UTF-8 text in percent-encoding".to_owned(),
            ),
        ] {
            let answer = daemon.request("GET", &format!("{path}?{query}"));
            assert_eq!(answer.status, 400, "{query}");
            assert_eq!(answer.detail(), detail);
            assert_eq!(
                answer.document().text("/errors/0/source/parameter"),
                parameter
            );
        }
    }
}

#[test]
fn errors_are_pretty_where_that_is_asked() {
    let body = daemon().request("GET", "/v1/sessions/x?pretty").body;
    assert!(body.starts_with("{\n    \"errors\": [\n"), "{body}");
}

#[test]
fn garbage_is_refused_and_stops_nobody_else() {
    let daemon = daemon();
    let mut beside = BufReader::new(http::connect(daemon.admin()));
    let mut ask_beside = || {
        beside
            .get_mut()
            .write_all(b"GET /v1/sessions/1 HTTP/1.1\r\nHost: localhost\r\n\r\n")
            .unwrap();
        assert_eq!(Answer::read(&mut beside, false).status, 200);
    };
    for (bytes, status) in [
        (&b"garbage\r\n\r\n"[..], 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
        (b"GET / HTTP/1.1\n\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
        (b"GET /\0 HTTP/1.1\r\n\r\n", 400),
    ] {
        ask_beside();
        let answer = http::exchange(daemon.admin(), bytes);
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{bytes:?}: {answer}"
        );
        assert!(answer.contains("\r\nConnection: close\r\n"));
        assert!(answer.ends_with("}]}\n"), "{answer}");
        ask_beside();
    }
}

#[test]
fn a_connection_is_kept_and_pipelined_requests_are_answered_in_order() {
    let daemon = daemon();
    let mut stream = BufReader::new(http::connect(daemon.admin()));
    for round in 0..3 {
        let targets: Vec<String> = (0..20)
            .map(|number| format!("/v1/sessions/{}", round * 100 + number))
            .collect();
        let requests: Vec<String> = targets
            .iter()
            .map(|target| format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n"))
            .collect();
        let requests = requests.concat();
        stream.get_mut().write_all(requests.as_bytes()).unwrap();
        for target in targets {
            let answer = Answer::read(&mut stream, false);
            let id = target.rsplit('/').next().unwrap();
            if id == "1" {
                assert_eq!(answer.document().text("/data/id"), "1");
            } else {
                assert_eq!(answer.detail(), format!("{id} is not a session"));
            }
        }
    }
}
