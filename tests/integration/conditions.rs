//! Media types, validators, preconditions.

use std::time::{Duration, Instant, SystemTime};

use sessiond::registry::{CloseReason, DownCause, LastProbe, Passed, SessionState};

use super::support::http::Answer;
use super::support::library::Library;

fn ask(library: &Library, target: &str, fields: &str) -> Answer {
    library.request("GET", target, fields)
}

#[test]
fn the_content_type_is_the_one_that_the_client_knows() {
    let library = Library::start();
    for (accept, expected) in [
        ("", "application/vnd.api+json"),
        ("Accept: */*\r\n", "application/vnd.api+json"),
        (
            "Accept: application/json, text/plain, */*\r\n",
            "application/json",
        ),
        ("Accept: application/json\r\n", "application/json"),
        (
            "Accept: application/json\r\nAccept: application/vnd.api+json\r\n",
            "application/vnd.api+json",
        ),
        (
            "Accept: application/vnd.api+json; profile=\"http://a/\"\r\n",
            "application/vnd.api+json",
        ),
    ] {
        for target in [
            "/v1",
            "/v1/sessions",
            "/v1/services/Read",
            "/v1/servers/db1/relationships/services",
        ] {
            let answer = ask(&library, target, accept);
            assert_eq!(
                (answer.status, answer.field("Content-Type")),
                (200, Some(expected)),
                "{target} {accept}"
            );
            assert_eq!(answer.field("Vary"), Some("Accept"));
        }
    }
    for accept in [
        "text/html",
        "application/vnd.api+json;charset=utf-8",
        "application/json;q=0",
    ] {
        let answer = ask(&library, "/v1", &format!("Accept: {accept}\r\n"));
        assert_eq!(answer.status, 406, "{accept}");
        assert_eq!(
            answer.detail(),
            "there are application/vnd.api+json, without parameters but profile, and application/json"
        );
    }
    library.stop();
}

#[test]
fn a_tag_changes_with_the_resource_and_not_with_its_clocks_and_counters() {
    let library = Library::start();
    let session = library.open(0, None, Duration::from_secs(5));
    let tag = |target: &str| ask(&library, target, "").field("ETag").unwrap().to_owned();
    let (list, one) = (tag("/v1/sessions"), tag("/v1/sessions/1"));
    assert!(list.starts_with("W/\"") && list != one);

    let passed = Passed {
        from_client: 5,
        to_client: 5,
        operations: 2,
    };
    session.count(
        &library.registry.topology().servers[0],
        passed,
        std::time::Instant::now(),
    );
    assert_eq!(
        (tag("/v1/sessions"), tag("/v1/sessions/1")),
        (list.clone(), one.clone())
    );

    session.set_state(SessionState::Ready, SystemTime::now());
    let (changed_list, changed_one) = (tag("/v1/sessions"), tag("/v1/sessions/1"));
    assert!(changed_list != list && changed_one != one);
    assert_eq!(tag("/v1/sessions/1/relationships/services"), changed_one);

    let another = library.open(0, None, Duration::ZERO);
    assert_ne!(tag("/v1/sessions"), changed_list);
    assert_eq!(tag("/v1/sessions/1"), changed_one);
    let with_another = tag("/v1/sessions");
    library.registry.sessions.close(
        another.id(),
        CloseReason::ClientClosed,
        SystemTime::now(),
        Instant::now(),
    );
    assert_ne!(tag("/v1/sessions"), with_another);

    let (servers, db1, db2) = (
        tag("/v1/servers"),
        tag("/v1/servers/db1"),
        tag("/v1/servers/db2"),
    );
    library.registry.topology().servers[0].set_down(
        DownCause::Unreachable,
        "Connection refused",
        SystemTime::now(),
    );
    let down = tag("/v1/servers/db1");
    assert!(tag("/v1/servers") != servers && down != db1);
    // A probe is like a clock; another reason is news.
    let server = &library.registry.topology().servers[0];
    server.note_probe(LastProbe {
        time: SystemTime::now(),
        duration: Duration::from_millis(40),
        failure: Some("Connection refused".into()),
    });
    assert_eq!(tag("/v1/servers/db1"), down);
    for target in [
        "/v1/servers/db1",
        "/v1/servers/db1?fields[servers]=last_probe",
    ] {
        let shown = ask(&library, target, "").body;
        let expected = "\"seconds\":0.04,\"result\":\"Connection refused\"";
        assert!(shown.contains(expected), "{shown}");
    }
    server.set_down(
        DownCause::Unreachable,
        "No route to host",
        SystemTime::now(),
    );
    assert_ne!(tag("/v1/servers/db1"), down);
    assert_eq!(tag("/v1/servers/db2"), db2);
    assert_eq!(
        ask(&library, "/v1/servers/db1", "")
            .document()
            .text("/data/attributes/state"),
        "Down"
    );
    library.stop();
}

#[test]
fn who_has_it_already_gets_304_without_a_document() {
    let library = Library::start();
    library.open(0, None, Duration::from_secs(3600));
    for target in [
        "/v1",
        "/v1/sessions",
        "/v1/sessions?pretty&page[size]=1",
        "/v1/sessions/1",
        "/v1/listeners",
    ] {
        let whole = ask(&library, target, "");
        let (tag, modified) = (
            whole.field("ETag").unwrap(),
            whole.field("Last-Modified").unwrap(),
        );
        for (fields, status) in [
            (format!("If-None-Match: {tag}\r\n"), 304),
            (format!("If-None-Match: \"x\", {tag}\r\n"), 304),
            (
                format!("If-None-Match: \"x\"\r\nIf-None-Match: {tag}\r\n"),
                304,
            ),
            ("If-None-Match: *\r\n".to_owned(), 304),
            ("If-None-Match: \"x\"\r\n".to_owned(), 200),
            (format!("If-Modified-Since: {modified}\r\n"), 304),
            (
                "If-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT\r\n".to_owned(),
                200,
            ),
            ("If-Modified-Since: garbage\r\n".to_owned(), 200),
            (
                format!("If-None-Match: \"x\"\r\nIf-Modified-Since: {modified}\r\n"),
                200,
            ),
            ("If-Match: *\r\n".to_owned(), 200),
            (format!("If-Match: {tag}\r\n"), 412),
            (format!("If-Unmodified-Since: {modified}\r\n"), 200),
            (
                "If-Unmodified-Since: Sun, 06 Nov 1994 08:49:37 GMT\r\n".to_owned(),
                412,
            ),
        ] {
            for method in ["GET", "HEAD"] {
                let answer = library.request(method, target, &fields);
                assert_eq!(answer.status, status, "{method} {target} {fields}");
                if status == 304 {
                    assert_eq!(
                        (answer.field("ETag"), answer.field("Content-Type")),
                        (Some(tag), None)
                    );
                    assert!(answer.body.is_empty() && answer.field("Content-Length").is_none());
                }
            }
        }
    }
    // What is wrong otherwise is said first.
    assert_eq!(
        ask(&library, "/v1/sessions/99", "If-None-Match: *\r\n").status,
        404
    );
    assert_eq!(
        ask(&library, "/v1/sessions?x", "If-None-Match: *\r\n").status,
        400
    );
    library.stop();
}
