//! `sessiond top` in a terminal: what it shows, and how it leaves.

use std::path::Path;
use std::process::Command;

use super::support::http::connect;
use super::support::process::Process;
use super::support::pseudo_terminal::PseudoTerminal;
use super::support::{Daemon, Directory, Server, until};
use super::terminal::{HOSTILE, TAMED, ask, both, log_in};

/// Looks ten times a second at a daemon.
fn top(daemon: &Daemon, more: &[&str], columns: u16, rows: u16) -> PseudoTerminal {
    let mut command = ask(&["top", "--interval=100ms"]);
    command
        .args(more)
        .arg(format!("--address={}", daemon.admin()));
    PseudoTerminal::start(&mut command, columns, rows)
}

/// The first words of the rows, which are ids.
fn ids(lines: &[String]) -> Vec<String> {
    let rows = lines.iter().skip(2).take(lines.len() - 3);
    let ids = rows.filter_map(|line| line.split_whitespace().next());
    ids.map(str::to_owned).collect()
}

fn signal(id: u32, name: &str) {
    let status = Command::new("kill")
        .arg(format!("-{name}"))
        .arg(id.to_string())
        .status();
    assert!(status.unwrap().success());
}

#[test]
fn rows_come_and_go_as_clients_do() {
    let server = Server::new();
    let daemon = Daemon::start(&both(server.address()));
    let mut terminal = top(&daemon, &[], 80, 24);
    let lines = terminal.until("nobody", |lines| {
        lines[0].starts_with("0 sessions  page 1/1")
    });
    assert!(lines[1].starts_with("ID  USER"), "{lines:#?}");
    assert!(lines[23].starts_with("q quit"), "{lines:#?}");
    let ann = log_in(&daemon, &server, "ann");
    terminal.until("a row", |lines| {
        let words = lines[2].split_whitespace().take(5);
        lines[0].starts_with("1 session  ")
            && words.eq(["3", "ann", "127.0.0.1", "Orders", "server"])
    });
    let _bob = log_in(&daemon, &server, "王小明");
    terminal.until("two rows", |lines| {
        let is_bob = |line: &String| line.starts_with("4   王小明  127.0.0.1");
        ids(lines).len() == 2 && lines.iter().any(is_bob)
    });
    drop(ann);
    terminal.until("one row", |lines| ids(lines) == ["4"]);
    assert!(terminal.is_raw());
    terminal.press("q");
    assert!(terminal.wait().success());
}

#[test]
fn keys_sort_and_turn_the_pages() {
    let server = Server::new();
    let daemon = Daemon::start(&both(server.address()));
    // Each sends more than the one before: by IN they stand in the other order.
    let names = ["a", "bbb", "ccccc", "ddddddd", "eeeeeeeee"];
    let _clients: Vec<_> = names
        .iter()
        .map(|name| log_in(&daemon, &server, name))
        .collect();
    daemon.client_sessions_until(5);
    let mut terminal = top(&daemon, &["--sort", "id"], 80, 24);
    terminal.until("all", |lines| ids(lines) == ["3", "4", "5", "6", "7"]);
    terminal.press("r");
    let sorted = |what: &str, order: [&str; 5], terminal: &PseudoTerminal| {
        terminal.until(what, |lines| {
            lines[0].contains(&format!("  sort {what}  ")) && ids(lines) == order
        });
    };
    sorted("-id", ["7", "6", "5", "4", "3"], &terminal);
    terminal.press(">");
    sorted("user", ["3", "4", "5", "6", "7"], &terminal);
    // Past CLIENT, SERVER, IO, IDLE and ALIVE.
    terminal.press(">>>>>>");
    sorted("-bytes_from_client", ["7", "6", "5", "4", "3"], &terminal);
    terminal.press("r");
    sorted("bytes_from_client", ["3", "4", "5", "6", "7"], &terminal);
    terminal.press("\x1b[D\x1b[C");
    sorted("-bytes_from_client", ["7", "6", "5", "4", "3"], &terminal);

    // Two rows a page.
    terminal.resize(80, 5);
    signal(terminal.id(), "WINCH");
    terminal.until("the first page", |lines| {
        lines[0].contains("page 1/3") && ids(lines) == ["7", "6"]
    });
    terminal.press("n");
    terminal.until("the second page", |lines| {
        lines[0].contains("page 2/3") && ids(lines) == ["5", "4"]
    });
    terminal.press("\x1b[F");
    terminal.until("the last page", |lines| ids(lines) == ["3"]);
    terminal.press("p");
    terminal.until("the second page", |lines| ids(lines) == ["5", "4"]);
    // There are no such pages any more.
    terminal.press("G");
    terminal.resize(80, 24);
    signal(terminal.id(), "WINCH");
    terminal.until("the only page", |lines| {
        lines[0].contains("page 1/1") && ids(lines).len() == 5
    });
    terminal.press("\x03");
    assert!(terminal.wait().success());
}

#[test]
fn on_a_small_screen_the_column_that_sorts_is_there() {
    let server = Server::new();
    let daemon = Daemon::start(&both(server.address()));
    let _ann = log_in(&daemon, &server, "ann");
    let terminal = top(&daemon, &["--sort=-bytes_to_client"], 40, 10);
    let lines = terminal.until("a row", |lines| ids(lines) == ["3"]);
    assert!(
        lines[1].ends_with("OUT") && lines[2].ends_with("28"),
        "{lines:#?}"
    );
    assert_eq!(lines[9], "q quit  < > sort  r reverse  n p page");
}

#[test]
fn names_from_the_network_stay_in_their_column() {
    let server = Server::new();
    let daemon = Daemon::start(&both(server.address()));
    let _evil = log_in(&daemon, &server, HOSTILE);
    let _marks = log_in(&daemon, &server, &format!("e{}", "\u{301}".repeat(400)));
    let _huge = log_in(&daemon, &server, &"王".repeat(300));
    // Any other escape sequence than its own fails here.
    let mut terminal = top(&daemon, &["--sort=id"], 100, 24);
    let lines = terminal.until("rows", |lines| ids(lines).len() == 3);
    assert!(lines[2].contains(TAMED), "{lines:#?}");
    assert!(lines[4].contains("王王王+"), "{lines:#?}");
    terminal.press("q");
    assert!(terminal.wait().success());
}

#[test]
fn signals_end_it_in_order() {
    let server = Server::new();
    let daemon = Daemon::start(&both(server.address()));
    for name in ["TERM", "INT", "HUP", "QUIT"] {
        let mut terminal = top(&daemon, &[], 80, 24);
        terminal.until("the screen", |lines| lines[0].starts_with("0 sessions"));
        signal(terminal.id(), name);
        assert!(terminal.wait().success(), "{name}");
    }
}

#[test]
fn a_daemon_that_hangs_keeps_nobody() {
    let server = Server::new();
    let daemon = Daemon::start(&both(server.address()));
    let mut terminal = top(&daemon, &[], 80, 24);
    terminal.until("the screen", |lines| lines[0].starts_with("0 sessions"));
    daemon.process.signal("STOP");
    terminal.until("a word about it", |lines| {
        lines[23].starts_with("no answer for ")
    });
    daemon.process.signal("CONT");
    terminal.until("its answer", |lines| lines[23].starts_with("q quit"));
    daemon.process.signal("STOP");
    terminal.until("a word about it", |lines| {
        lines[23].starts_with("no answer for ")
    });
    terminal.press("q");
    assert!(terminal.wait().success());
    daemon.process.signal("CONT");
}

/// A daemon on a configuration, which answers over its unix socket.
fn daemon_on(configuration: &Path) -> Process {
    let mut command = super::support::daemon::program();
    let process = Process::start(command.arg("--config").arg(configuration));
    process.line("the unix socket", |line| {
        line.ends_with("admin.sock").then_some(())
    });
    process
}

#[test]
fn it_goes_on_when_the_daemon_is_restarted() {
    let server = Server::new();
    let directory = Directory::new();
    let socket = directory.path().join("admin.sock");
    let text = format!(
        "[maxscale]\nadmin_port=0\nadmin_socket={}\n{}",
        socket.display(),
        both(server.address())
    );
    let configuration = directory.file("sessiond.cnf", text);
    let mut daemon = daemon_on(&configuration);
    let mut command = ask(&["top", "--interval=100ms", "--config"]);
    let mut terminal = PseudoTerminal::start(command.arg(&configuration), 80, 24);
    terminal.until("the screen", |lines| lines[0].starts_with("0 sessions"));
    daemon.signal("TERM");
    daemon.wait();
    let lines = terminal.until("a word about it", |lines| {
        lines[23].starts_with("no connection: ")
    });
    assert!(lines[0].starts_with("0 sessions"), "{lines:#?}");
    let daemon = daemon_on(&configuration);
    terminal.until("the new one", |lines| lines[23].starts_with("q quit"));
    let address = until("the listener", || {
        let lines = daemon.log();
        lines.iter().find_map(|line| {
            let (_, address) = line.split_once("listener listener: listening on ")?;
            Some(address.parse().unwrap())
        })
    });
    let _client = connect(address);
    terminal.until("a row", |lines| ids(lines) == ["3"]);
    terminal.press("q");
    assert!(terminal.wait().success());
}

#[test]
fn what_is_wrong_from_the_beginning_is_said_before_the_screen_is_taken() {
    let server = Server::new();
    let daemon = Daemon::start(&both(server.address()));
    let address = format!("--address={}", daemon.admin());
    for (arguments, status, said) in [
        (&["top", &address, "--filter", "idle=soon"][..], 1, "(400)"),
        (
            &["top", "--address=127.0.0.1:1"],
            1,
            "cannot connect to 127.0.0.1:1: ",
        ),
        (
            &["top", &address, "--socket=/nonexistent"],
            2,
            "one --socket or --address is enough",
        ),
    ] {
        let terminal = PseudoTerminal::start(&mut ask(arguments), 80, 24);
        let (code, all) = terminal.end();
        assert_eq!(code.code(), Some(status), "{all}");
        assert!(all.contains(said) && !all.contains('\x1b'), "{all:?}");
    }
    let mut dumb = ask(&["top", &address]);
    let (code, all) = PseudoTerminal::start(dumb.env("TERM", "dumb"), 80, 24).end();
    assert_eq!(code.code(), Some(2));
    assert!(
        all.contains("use sessiond list") && !all.contains('\x1b'),
        "{all:?}"
    );
    let piped = ask(&["top", &address]).output().unwrap();
    assert_eq!(piped.status.code(), Some(2));
    assert!(piped.stdout.is_empty(), "{piped:?}");
}
