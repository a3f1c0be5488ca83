//! The two documents of the users' own page, from the built-in example.

use std::fs::File;
use std::net::SocketAddr;
use std::process::Command;

use super::support::daemon::program;
use super::support::process::Process;
use super::support::{Directory, http, until};

const ONE: &str = include_str!("documents/get-session.json");
const ALL: &str = include_str!("documents/get-sessions.json");
const ADMIN: &str = "127.0.0.1:8989";

/// The program on its built-in example, whose ports are fixed: one at a time.
struct Example {
    _process: Process,
    _directory: Directory,
    _lock: File,
}

impl Example {
    fn start() -> Self {
        let lock = File::create(std::env::temp_dir().join("sessiond-test-example.lock")).unwrap();
        lock.lock().unwrap();
        let printed = program().arg("--print-config").output().unwrap();
        assert!(printed.status.success());
        let directory = Directory::new();
        let path = directory.file("example.cnf", printed.stdout);
        // Somebody else may have the example running for a moment.
        let process = until("the ports of the example", || {
            let mut command = program();
            command
                .arg("--config")
                .arg(&path)
                .env("TMPDIR", directory.path());
            let mut process = Process::start(&mut command);
            let started = process.first_line(|line| line.ends_with(ADMIN));
            if !started {
                process.kill();
            }
            started.then_some(process)
        });
        Self {
            _process: process,
            _directory: directory,
            _lock: lock,
        }
    }
}

fn get(address: &str, target: &str) -> String {
    let address: SocketAddr = address.parse().unwrap();
    let bytes = format!("GET {target} HTTP/1.0\r\nHost: localhost:8989\r\n\r\n");
    let answer = http::exchange(address, bytes.as_bytes());
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(
        head.contains("\r\nContent-Type: application/vnd.api+json"),
        "{head}"
    );
    body.to_owned()
}

/// The text with every `connected` value replaced by that of the users' page,
/// after checking that it is a time in the same form.
fn with_the_time_of_the_page(text: &str) -> String {
    const KEY: &str = "\"connected\": \"";
    const TIME: &str = "Wed May 17 10:06:35 2017";
    let mut parts = text.split(KEY);
    let mut result = parts.next().unwrap().to_owned();
    for part in parts {
        let (time, rest) = part.split_at(TIME.len());
        for (now, then) in time.chars().zip(TIME.chars()) {
            // The first digit of a day below ten is a space.
            let alike =
                now.is_alphabetic() == then.is_alphabetic() && (now == ':') == (then == ':');
            assert!(alike, "{time} is not in the form of {TIME}");
        }
        result = result + KEY + TIME + rest;
    }
    result
}

/// The same document on one line.
fn compact(indented: &str) -> String {
    let line: String = indented.lines().map(str::trim_start).collect();
    line.replace("\": ", "\":") + "\n"
}

#[test]
fn the_example_shows_the_documents_of_the_page_to_the_letter() {
    let _example = Example::start();
    for (target, page) in [
        ("/v1/sessions/1?pretty", ONE),
        ("/v1/sessions?pretty", ALL),
        ("/v1/sessions/?pretty=true", ALL),
    ] {
        assert_eq!(
            with_the_time_of_the_page(&get(ADMIN, target)),
            page.trim_end().to_owned() + "\n",
            "{target}"
        );
    }
    let plain = get(ADMIN, "/v1/sessions");
    let pretty = get(ADMIN, "/v1/sessions?pretty");
    assert_eq!(plain, compact(&pretty));
}

#[test]
fn curl_reads_the_admin_port_and_through_the_router_lists_itself() {
    let _example = Example::start();
    let curl = |url: &str| {
        let output = Command::new("curl")
            .args(["--silent", "--show-error", "--max-time", "20", url])
            .output();
        let output = output.expect("curl; `make test` installs it");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let listeners = curl("localhost:8989/v1/sessions?pretty");
    assert_eq!(
        with_the_time_of_the_page(&listeners),
        ALL.trim_end().to_owned() + "\n"
    );

    let itself = curl("localhost:4009/v1/sessions?pretty");
    assert!(
        itself.contains("\"self\": \"http://localhost:4009/v1/sessions/4\""),
        "{itself}"
    );
    assert!(
        itself.contains("\"listener\": \"CLI-Listener\""),
        "{itself}"
    );
    assert!(
        itself.contains("\"state\": \"Session ready for routing\""),
        "{itself}"
    );
}
