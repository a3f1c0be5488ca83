//! `sessiond list`, `show` and `kill`: what they say, over every way, to every kind of reader.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Output};
use std::thread;

use super::access::WithAccounts;
use super::support::daemon::{one_service, program};
use super::support::http::connect;
use super::support::pseudo_terminal::PseudoTerminal;
use super::support::server::closed_port;
use super::support::{Daemon, Document, Server, until};

/// A user's name that would clear the screen, set the title, and turn the line.
pub const HOSTILE: &str = "\x1b[2J\x1b]0;owned\x07\u{202e}\u{9b}31m\r\n";

/// How that may be shown.
pub const TAMED: &str = "?[2J?]0;owned???31m??";

/// A service of each protocol before the same server, which answers no probes.
pub fn both(server: SocketAddr) -> String {
    let place = "address=127.0.0.1\nport=0\n";
    "monitor_interval=0\n".to_owned()
        + &one_service(server)
        + &format!(
            "[Orders]\ntype=service\nservers=server\n[Orders-Listener]\ntype=listener\nservice=Orders\nprotocol=PostgreSQLClient\n{place}"
        )
}

/// Logs in as a user of PostgreSQL; the test plays the server as well.
pub fn log_in(daemon: &Daemon, server: &Server, user: &str) -> (TcpStream, TcpStream) {
    let mut client = connect(daemon.listener("Orders-Listener"));
    let parameters = format!("user\0{user}\0database\0shop\0\0");
    let length = u32::try_from(parameters.len() + 8).unwrap();
    client.write_all(&length.to_be_bytes()).unwrap();
    client.write_all(b"\0\x03\0\0").unwrap();
    client.write_all(parameters.as_bytes()).unwrap();
    let mut behind = server.accept(daemon);
    let welcome = b"R\0\0\0\x08\0\0\0\0K\0\0\0\x0c\0\0\0\x07\0\0\0\x02Z\0\0\0\x05I";
    behind.write_all(welcome).unwrap();
    client.read_exact(&mut [0; 28]).unwrap();
    // What has passed is counted first, and then looked at.
    let port = u64::from(client.local_addr().unwrap().port());
    until("a session that is logged in", || {
        let sessions = daemon.client_sessions();
        let own = sessions
            .iter()
            .find(|session| session.integer("/attributes/port") == port)?;
        own.has("/attributes/user").then_some(())
    });
    (client, behind)
}

/// The client on the command line, before it is told where the daemon is.
pub fn ask(arguments: &[&str]) -> Command {
    let mut command = program();
    command
        .args(arguments)
        .env("TERM", "xterm")
        .env_remove("NO_COLOR")
        .env_remove("SESSIOND_TOKEN");
    command
}

/// What it says over the unix socket.
fn over_socket(daemon: &Daemon, arguments: &[&str]) -> Output {
    let socket = daemon.directory().path().join("admin.sock");
    let mut command = ask(arguments);
    command.arg("--socket").arg(socket).output().unwrap()
}

/// What it says at an address.
pub fn at(address: SocketAddr, arguments: &[&str]) -> Output {
    let mut command = ask(arguments);
    command
        .arg(format!("--address={address}"))
        .output()
        .unwrap()
}

/// What went well: standard output.
pub fn good(output: Output) -> String {
    assert!(output.status.success(), "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// What did not: the exit status, and the lines of standard error.
fn bad(output: &Output) -> (Option<i32>, String) {
    assert!(output.stdout.is_empty(), "{output:?}");
    let lines = String::from_utf8(output.stderr.clone()).unwrap();
    (output.status.code(), lines)
}

/// The words of a line of that id.
pub fn line<'a>(text: &'a str, id: &str) -> Vec<&'a str> {
    let words = text
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>());
    let mut of_id = words.filter(|words| words.first() == Some(&id));
    of_id.next().unwrap_or_else(|| panic!("no {id} in {text}"))
}

#[test]
fn sessions_are_listed_with_who_they_are_and_where_they_go() {
    let server = Server::new();
    let daemon = Daemon::start_controlled("", &both(server.address()));
    let _ann = log_in(&daemon, &server, "ann");
    let _bob = log_in(&daemon, &server, "王小明");
    for text in [
        good(over_socket(&daemon, &["list"])),
        good(at(daemon.admin(), &["list", "sessions"])),
    ] {
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 5, "{text}");
        assert_eq!(
            line(&text, "ID"),
            [
                "ID", "STATE", "USER", "CLIENT", "SERVICE", "SERVER", "IDLE", "ALIVE", "IN", "OUT"
            ]
        );
        assert_eq!(
            line(&text, "1")[..5],
            ["1", "listener", "-", "-", "service"]
        );
        let ann = line(&text, "3");
        assert_eq!(
            ann[..6],
            ["3", "ready", "ann", "127.0.0.1", "Orders", "server"]
        );
        assert!(ann[6].ends_with('s') && ann[9] == "28", "{ann:?}");
        // Six cells, in three characters of nine bytes.
        let place = lines[0].find("CLIENT").unwrap();
        assert_eq!(lines[4].find("127.0.0.1"), Some(place + 3), "{text}");
    }
    let plain = good(over_socket(
        &daemon,
        &["list", "--no-header", "--sort", "-id"],
    ));
    let ids: Vec<&str> = plain
        .lines()
        .filter_map(|line| line.split(' ').next())
        .collect();
    assert_eq!(ids, ["4", "3", "2", "1"]);
    let some = good(over_socket(
        &daemon,
        &["list", "--filter", "user=eq(\"ann\")", "--no-header"],
    ));
    assert!(
        some.starts_with("3 ") && some.lines().count() == 1,
        "{some}"
    );
}

#[test]
fn services_servers_and_listeners_are_listed() {
    let server = Server::new();
    let daemon = Daemon::start(&both(server.address()));
    let _ann = log_in(&daemon, &server, "ann");
    let services = good(at(daemon.admin(), &["list", "services"]));
    let orders = line(&services, "Orders");
    assert_eq!(orders[..4], ["Orders", "Started", "1", "1"]);
    assert_eq!(orders[4..], ["32", "28", "server"]);
    let servers = good(at(daemon.admin(), &["list", "servers"]));
    let address = server.address().to_string();
    assert_eq!(
        line(&servers, "server")[..4],
        ["server", &address, "Running", "1"]
    );
    let listeners = good(at(daemon.admin(), &["list", "listeners"]));
    let address = daemon.listener("Orders-Listener").to_string();
    assert_eq!(
        line(&listeners, "Orders-Listener"),
        [
            "Orders-Listener",
            "Running",
            &address,
            "PostgreSQLClient",
            "Orders"
        ]
    );
}

#[test]
fn sessions_of_the_history_are_listed_with_why_they_ended() {
    let server = Server::new();
    let daemon = Daemon::start(&both(server.address()));
    let (client, mut behind) = log_in(&daemon, &server, "ann");
    drop(client);
    // The client is the first to go.
    behind.read_to_end(&mut Vec::new()).unwrap();
    drop(behind);
    daemon.ended("3");
    let text = good(at(daemon.admin(), &["list", "--state", "closed"]));
    let ann = line(&text, "3");
    assert_eq!(ann[..5], ["3", "closed", "ann", "127.0.0.1", "Orders"]);
    assert!(text.contains("  client closed  "), "{text}");
    let any = good(at(daemon.admin(), &["list", "--state=any", "--no-header"]));
    assert_eq!(any.lines().count(), 3);
}

#[test]
fn all_that_is_known_of_something_is_shown_by_its_name_in_the_api() {
    let server = Server::new();
    let daemon = Daemon::start(&both(server.address()));
    let _ann = log_in(&daemon, &server, "ann");
    let text = good(at(daemon.admin(), &["show", "3"]));
    let session = daemon.get("/v1/sessions/3");
    for (name, value) in [
        ("id", "3".to_owned()),
        ("state", "Session ready for routing".to_owned()),
        ("connected", session.text("/data/attributes/connected")),
        ("services", "Orders".to_owned()),
        ("user", "ann".to_owned()),
        ("database", "shop".to_owned()),
        ("port", session.integer("/data/attributes/port").to_string()),
        ("connections/0/server", "server".to_owned()),
        ("connections/0/connection_id", "7".to_owned()),
    ] {
        let shown = text.lines().find_map(|line| {
            let (first, rest) = line.split_once(' ')?;
            (first == name).then(|| rest.trim_start())
        });
        assert_eq!(shown, Some(value.as_str()), "{name} in {text}");
    }
    let several = good(at(
        daemon.admin(),
        &["show", "services", "service", "Orders"],
    ));
    let ids = several.lines().filter(|line| line.starts_with("id "));
    assert_eq!(ids.count(), 2, "{several}");
}

#[test]
fn json_is_the_document_as_the_api_has_it() {
    let server = Server::new();
    let daemon = Daemon::start(&both(server.address()));
    for (arguments, target) in [
        (&["list", "services", "--json"][..], "/v1/services"),
        (&["list", "--json"], "/v1/sessions"),
        (
            &["show", "server", "server", "--json"],
            "/v1/servers/server",
        ),
        (
            &["list", "listeners", "--json", "--sort=-id"],
            "/v1/listeners?sort=-id",
        ),
    ] {
        let document = daemon.request("GET", target).body;
        assert_eq!(good(at(daemon.admin(), arguments)), document, "{target}");
    }
}

#[test]
fn a_list_that_comes_in_chunks_is_whole() {
    let server = Server::new();
    let daemon = Daemon::start(&one_service(server.address()));
    let _held = server.hold();
    let clients: Vec<TcpStream> = (0..300)
        .map(|_| connect(daemon.listener("listener")))
        .collect();
    daemon.client_sessions_until(clients.len());
    let answer = daemon.request("GET", "/v1/sessions");
    assert_eq!(answer.field("Transfer-Encoding"), Some("chunked"));
    let text = good(at(daemon.admin(), &["list", "--no-header"]));
    let ids: Vec<&str> = text
        .lines()
        .filter_map(|line| line.split(' ').next())
        .collect();
    let expected: Vec<String> = (1..=301).map(|id| id.to_string()).collect();
    assert_eq!(ids, expected);
    let document = Document::parse(&good(at(daemon.admin(), &["list", "--json"])));
    assert_eq!(document.elements("/data").len(), 301);
}

#[test]
fn those_are_killed_that_can_be_and_the_others_are_named() {
    let server = Server::new();
    let daemon = Daemon::start_controlled("", &both(server.address()));
    let _clients: Vec<_> = (0..3).map(|_| log_in(&daemon, &server, "ann")).collect();
    assert_eq!(good(over_socket(&daemon, &["kill", "3"])), "");
    daemon.ended_as("3", "killed");
    // What is no id is a slip, and nothing is done.
    for slip in ["x/../4", "", "events"] {
        let (status, lines) = bad(&over_socket(&daemon, &["kill", "4", slip]));
        assert_eq!(status, Some(2), "{lines}");
        assert!(lines.contains(&format!("\"{slip}\" is not the id of a session")));
    }
    let (status, lines) = bad(&over_socket(&daemon, &["kill", "3", "999", "1", "4"]));
    assert_eq!(status, Some(1));
    assert_eq!(
        lines,
        "sessiond: session 3 has ended already: killed (404)\n\
         sessiond: 999 is not a session (404)\n\
         sessiond: session 1 is that of listener listener, which can be stopped: \
         PUT /v1/listeners/listener/stop (403)\n"
    );
    daemon.ended_as("4", "killed");
    assert_eq!(
        good(over_socket(&daemon, &["kill", "--ttl", "1h", "5"])),
        ""
    );
    let text = good(over_socket(&daemon, &["list"]));
    assert_eq!(line(&text, "5")[1], "stopping");
}

#[test]
fn over_tcp_a_token_decides() {
    let server = Server::new();
    let with = WithAccounts::before(server.address(), "");
    let address = with.daemon.admin();
    let _held = server.hold();
    let _client = connect(with.daemon.listener("listener"));
    let asked = |arguments: &[&str], token: &str| {
        let mut command = ask(arguments);
        command.arg(format!("--address={address}"));
        command.env("SESSIOND_TOKEN", token).output().unwrap()
    };
    let file = |token: &str| with.daemon.directory().file("token", format!("{token}\n"));
    let with_file = |arguments: &[&str], token: &str| {
        let mut command = ask(arguments);
        let address = format!("--address={address}");
        command
            .arg(address)
            .arg("--token-file")
            .arg(file(token))
            .output()
            .unwrap()
    };
    until("the session", || {
        good(asked(&["list"], &with.reader))
            .contains("\n2 ")
            .then_some(())
    });
    assert!(good(with_file(&["list"], &with.reader)).contains("\n2 "));
    let none = "a token is needed: name its file by --token-file, or set SESSIOND_TOKEN";
    let unknown = "the token is not that of an account in the program's admin_accounts";
    for (refused, reason) in [
        (at(address, &["list"]), none),
        (asked(&["list"], "00"), unknown),
        (with_file(&["list"], "00"), unknown),
    ] {
        let (status, lines) = bad(&refused);
        assert_eq!(status, Some(1));
        assert_eq!(lines, format!("sessiond: {reason} (401)\n"));
    }
    let (status, lines) = bad(&asked(&["kill", "2"], &with.reader));
    assert_eq!(status, Some(1));
    assert!(lines.ends_with(" (403)\n"), "{lines}");
    // A file counts more than the environment.
    let mut command = ask(&["kill", "2"]);
    command
        .arg(format!("--address={address}"))
        .env("SESSIOND_TOKEN", &with.reader);
    let killed = command
        .arg("--token-file")
        .arg(file(&with.administrator))
        .output();
    assert_eq!(good(killed.unwrap()), "");
    let text = good(asked(
        &["list", "--state=closed", "--no-header"],
        &with.administrator,
    ));
    assert!(text.starts_with("2   closed"), "{text}");
    assert!(text.contains("killed"), "{text}");
}

#[test]
fn it_is_found_by_its_configuration() {
    let server = Server::new();
    let daemon = Daemon::start_controlled("", &one_service(server.address()));
    let configured = |path: &Path, arguments: &[&str]| {
        let mut command = ask(arguments);
        command.arg("--config").arg(path).output().unwrap()
    };
    // The unix socket, where everything is allowed.
    let own = daemon.directory().path().join("sessiond.cnf");
    assert_eq!(
        good(configured(&own, &["list", "--no-header"]))
            .lines()
            .count(),
        1
    );
    assert_eq!(configured(&own, &["kill", "99"]).status.code(), Some(1));
    // Any address means this machine; a socket that is not there is passed over.
    let port = daemon.admin().port();
    for (maxscale, status) in [
        (
            format!("admin_port={port}\nadmin_socket=/nonexistent/admin.sock"),
            0,
        ),
        (
            format!("admin_port={port}\nadmin_host=0.0.0.0\nadmin_accounts=/a"),
            0,
        ),
        ("admin_port=0".to_owned(), 2),
        ("admin_enabled=false".to_owned(), 2),
        ("admin_prot=1".to_owned(), 2),
    ] {
        let text = format!("[maxscale]\n{maxscale}\n");
        let path = daemon.directory().file("other.cnf", text);
        let output = configured(&path, &["list"]);
        assert_eq!(output.status.code(), Some(status), "{maxscale}: {output:?}");
    }
    let missing = configured(Path::new("/nonexistent/x.cnf"), &["list"]);
    let (status, lines) = bad(&missing);
    assert_eq!(status, Some(2));
    assert!(lines.contains("--socket or --address"), "{lines}");
}

#[test]
fn where_nobody_answers_one_line_says_what_to_do() {
    let directory = super::support::Directory::new();
    let socket = directory.path().join("none.sock");
    let mut command = ask(&["list", "--socket"]);
    let (status, lines) = bad(&command.arg(&socket).output().unwrap());
    assert_eq!(status, Some(1));
    assert!(
        lines.starts_with(&format!(
            "sessiond: cannot connect to {}: ",
            socket.display()
        )) && lines.ends_with("is sessiond running, and is that its admin_socket or address?\n")
            && lines.lines().count() == 1,
        "{lines}"
    );
    let address = closed_port();
    for arguments in [&["list"][..], &["show", "1", "2"], &["kill", "1", "2"]] {
        let (status, lines) = bad(&at(address, arguments));
        assert_eq!(status, Some(1));
        assert!(
            lines.contains(&format!("cannot connect to {address}: ")),
            "{lines}"
        );
        assert_eq!(lines.lines().count(), 1, "{lines}");
    }
    for arguments in [
        &["list", "clients"][..],
        &["kill"],
        &["top", "--json"],
        &["show"],
    ] {
        let (status, lines) = bad(&at(address, arguments));
        assert_eq!(status, Some(2), "{lines}");
        assert!(lines.ends_with("\ntry: sessiond --help\n"), "{lines}");
    }
    let mut command = ask(&["list"]);
    let output = command.env("SESSIOND_TOKEN", "a b").output().unwrap();
    assert_eq!(bad(&output).0, Some(2));
    let (status, lines) = bad(&at(address, &["list", "--token-file=/nonexistent"]));
    assert_eq!(status, Some(2));
    assert!(
        lines.contains("cannot read the token in /nonexistent"),
        "{lines}"
    );
}

/// Somebody at an address who reads a request and says this.
fn somebody(answer: Vec<u8>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let mut stream = BufReader::new(stream);
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") && stream.read_line(&mut head).unwrap_or(0) > 0 {}
            // Whoever has left has heard enough.
            let _ = stream.get_mut().write_all(&answer);
        }
    });
    address
}

#[test]
fn an_answer_of_somebody_else_is_no_answer() {
    let endless = [&b"HTTP/1.1 200 OK\r\nX: "[..], &vec![b'x'; 20_000]].concat();
    let fields = b"HTTP/1.1 200 OK\r\n".iter().copied();
    let many = fields.chain(b"X: y\r\n".repeat(200)).collect();
    for (answer, said) in [
        (b"".to_vec(), "has not answered to the end"),
        (
            b"SSH-2.0-OpenSSH_9.2\r\n".to_vec(),
            "something that is not HTTP",
        ),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{".to_vec(),
            "to the end",
        ),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n".to_vec(),
            "not HTTP",
        ),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 999999999999\r\n\r\n".to_vec(),
            "128 MiB",
        ),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n".to_vec(),
            "chunks that are none",
        ),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{}\r\n".to_vec(),
            "chunks that are none",
        ),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n\xff".to_vec(),
            "no UTF-8",
        ),
        (
            b"HTTP/1.1 404 Not Found\r\nContent-Length: 6\r\n\r\n<html>".to_vec(),
            "not known",
        ),
        (
            b"HTTP/1.1 200 OK\r\n\r\n{\"data\":{\"id\":\"1\"}}".to_vec(),
            "unknown length",
        ),
        (
            b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 5\r\n\r\nhello".to_vec(),
            "no document of the API",
        ),
        (answer_of("{\"data\":null}"), "shows no resource"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\n{}".to_vec(),
            "not HTTP",
        ),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n".to_vec(),
            "not HTTP",
        ),
        (b"HTTP/1.1 999 \r\n\r\n".to_vec(), "not HTTP"),
        (endless, "a line without an end"),
        (many, "a head without an end"),
        (
            b"HTTP/1.1 403 Forbidden\r\nContent-Length: 37\r\n\r\n{\"errors\":[{\"detail\":\"\\u001b[2Jno\"}]}".to_vec(),
            "?[2Jno (403)",
        ),
    ] {
        let output = at(somebody(answer), &["show", "1"]);
        let (status, lines) = bad(&output);
        assert_eq!(status, Some(1), "{said}");
        assert!(lines.contains(said), "{said}: {lines}");
        assert!(
            lines.lines().count() == 1 && !lines.contains('\x1b'),
            "{lines}"
        );
    }
    // What is good comes in any of HTTP's forms.
    let body = "{\"data\":{\"id\":\"1\"}}";
    for answer in [
        format!(
            "HTTP/1.1 100 Continue\r\n\r\n{}",
            String::from_utf8(answer_of(body)).unwrap()
        ),
        format!(
            "HTTP/1.0 200 OK\ncontent-type: application/vnd.api+json\ncontent-length: {}\n\n{body}",
            body.len()
        ),
        format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/vnd.api+json\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\n{}\r\n10\r\n{}\r\n0\r\n\r\n",
            &body[..3],
            &body[3..]
        ),
    ] {
        let output = at(somebody(answer.into_bytes()), &["show", "1"]);
        assert_eq!(good(output), "id  1\n");
    }
    // A list that is cut off, or none, is no empty one; and only a 204 says that something is done.
    for (body, order) in [
        ("{\"data\":[{\"id\":\"1\"},{\"id\":\"2\"}", "list"),
        ("{}", "list"),
        ("{\"meta\":{}}", "kill"),
    ] {
        let arguments = [order, "1"];
        let arguments = &arguments[..if order == "list" { 1 } else { 2 }];
        let (status, lines) = bad(&at(somebody(answer_of(body)), arguments));
        assert_eq!(status, Some(1), "{body}: {lines}");
    }
}

/// A document, as the API would send it.
fn answer_of(body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/vnd.api+json\r\nContent-Length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

#[test]
fn names_from_the_network_reach_no_screen() {
    let server = Server::new();
    let daemon = Daemon::start(&both(server.address()));
    let _evil = log_in(&daemon, &server, HOSTILE);
    let huge = "x".repeat(900);
    let _huge = log_in(&daemon, &server, &huge);
    let text = good(at(daemon.admin(), &["list"]));
    assert!(text.contains(TAMED) && text.contains(&huge), "{text}");
    let shown = good(at(daemon.admin(), &["show", "3"]));
    assert!(shown.contains(TAMED), "{shown}");
    for text in [&text, &shown] {
        assert!(
            !text.chars().any(|c| c.is_control() && c != '\n'),
            "{text:?}"
        );
    }
    // On a terminal, no line is wider than the screen; JSON is escaped once more, and the same.
    let address = format!("--address={}", daemon.admin());
    let (status, all) = PseudoTerminal::start(ask(&["list"]).arg(&address), 60, 10).end();
    assert!(status.success());
    let widths = all
        .lines()
        .map(|line| line.replace("\x1b[1m", "").replace("\x1b[0m", ""));
    assert!(widths.clone().all(|line| line.len() <= 60), "{all}");
    assert!(
        widths.clone().any(|line| line.contains("  ?[2J?]0;o+  ")),
        "{all}"
    );
    let mut json = ask(&["show", "3", "--json"]);
    let (_, all) = PseudoTerminal::start(json.arg(&address), 60, 10).end();
    assert!(
        !all.chars()
            .any(|c| c.is_control() && c != '\n' && c != '\r'),
        "{all:?}"
    );
    let user = Document::parse(&all).text("/data/attributes/user");
    assert_eq!(user, HOSTILE);
}

#[test]
fn colour_is_for_terminals_that_have_it_and_readers_who_want_it() {
    let daemon = Daemon::start(&one_service(closed_port()));
    until("a server that is down", || {
        let server = daemon.get("/v1/servers/server");
        (server.text("/data/attributes/state") == "Down").then_some(())
    });
    let address = format!("--address={}", daemon.admin());
    let seen = |name: &str, value: &str| {
        let mut command = ask(&["list", "servers"]);
        let (status, all) =
            PseudoTerminal::start(command.arg(&address).env(name, value), 80, 24).end();
        assert!(status.success());
        all
    };
    assert!(seen("TERM", "xterm").contains("\x1b[31mDown\x1b[0m"));
    let without = seen("NO_COLOR", "1");
    assert!(
        without.contains("Down") && !without.contains("\x1b[3"),
        "{without:?}"
    );
    for name in ["dumb", ""] {
        let dumb = seen("TERM", name);
        assert!(dumb.contains("Down") && !dumb.contains('\x1b'), "{dumb:?}");
    }
    let piped = good(at(daemon.admin(), &["list", "servers"]));
    assert!(
        piped.contains("Down") && !piped.contains('\x1b'),
        "{piped:?}"
    );
}
