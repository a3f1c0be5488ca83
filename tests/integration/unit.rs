//! The unit: whether it is right, tight enough, and not too tight.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::process::Command;

use super::support::daemon::program_path;
use super::support::notify::Notify;
use super::support::process::quietly;
use super::support::{Daemon, Directory, Server, until};

fn unit() -> String {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/src/package/systemd/sessiond.service"
    );
    fs::read_to_string(path).unwrap()
}

#[test]
fn the_unit_is_well_formed_and_tight() {
    let directory = Directory::new();
    let here = program_path().display().to_string();
    let service = directory.file(
        "sessiond.service",
        unit().replace("/usr/bin/sessiond", &here),
    );
    let socket = include_str!("../../src/package/sessiond.socket");
    let socket = directory.file("sessiond.socket", socket);
    for unit in [&service, &socket] {
        let mut verify = Command::new("systemd-analyze");
        quietly(verify.args(["verify", "--man=no"]).arg(unit));
    }
    let mut security = Command::new("systemd-analyze");
    // It fails above the threshold, which is in tenths.
    security.args(["security", "--offline=true", "--no-pager", "--threshold=20"]);
    let table = quietly(security.arg(&service));
    assert!(table.contains("Overall exposure level"), "{table}");
}

/// The system calls that the unit allows.
fn allowed_calls() -> BTreeSet<String> {
    let mut filters = Command::new("systemd-analyze");
    let output = filters.args(["syscall-filter", "--no-pager"]).output();
    // It may complain that it does not know all that the kernel has.
    let text = String::from_utf8(output.unwrap().stdout).unwrap();
    let members = |group: &str| -> Vec<String> {
        let lines = text.lines().skip_while(|line| *line != group).skip(1);
        let lines = lines
            .take_while(|line| line.starts_with(' '))
            .map(str::trim);
        lines
            .filter(|line| !line.starts_with('#'))
            .map(str::to_owned)
            .collect()
    };
    let expand = |group: &str| {
        let mut calls = BTreeSet::new();
        let mut groups = vec![group.to_owned()];
        while let Some(group) = groups.pop() {
            let found = members(&group);
            assert!(!found.is_empty(), "{group}");
            for member in found {
                if member.starts_with('@') {
                    groups.push(member);
                } else {
                    calls.insert(member);
                }
            }
        }
        calls
    };
    let mut allowed = BTreeSet::new();
    for filter in unit()
        .lines()
        .filter_map(|line| line.strip_prefix("SystemCallFilter="))
    {
        match filter.strip_prefix('~') {
            Some(group) => allowed = &allowed - &expand(group),
            None => allowed.extend(expand(filter)),
        }
    }
    allowed
}

/// Has a daemon do what a daemon does, from its start to its end.
fn do_everything_once(directory: Directory, mut command: Command) {
    let notify = Notify::at(&directory.path().join("notify"), &mut command);
    command.env("WATCHDOG_USEC", "200000");
    let (server, _) = Server::new().echo();
    let place = directory.path().join("listener.sock");
    let port = server.port();
    let sections = format!(
        "[server]\ntype=server\naddress=localhost\nport={port}\nproxy_protocol=true\n\
         [down]\ntype=server\naddress=127.0.0.1\nport=1\n\
         [service]\ntype=service\nservers=server, down\n\
         [listener]\ntype=listener\nservice=service\nprotocol=TCP\nport=0\n\
         [unix]\ntype=listener\nservice=service\nprotocol=TCP\nsocket={}\n",
        place.display()
    );
    let maxscale = "admin_socket=SOCKET\nadmin_socket_group=0\nlog_sessions=true\n";
    let mut daemon = Daemon::start_in(directory, maxscale, &sections, command);
    notify.until("READY=1");

    let _tcp = TcpStream::connect(daemon.listener("listener")).unwrap();
    let mut unix = UnixStream::connect(&place).unwrap();
    unix.write_all(b"hello").unwrap();
    unix.read_exact(&mut [0; 5]).unwrap();
    daemon.client_sessions_until(2);
    for target in [
        "/v1/sessions?rdns=true&pretty",
        "/v1/openapi.json",
        "/v1/servers/server?wait=1ms",
    ] {
        assert_eq!(daemon.request("GET", target).status, 200, "{target}");
    }
    daemon.done("PUT", "/v1/listeners/listener/stop");
    daemon.done("PUT", "/v1/listeners/listener/start");
    daemon.done("PUT", "/v1/servers/down/set?state=drain");
    let filter = "/v1/sessions?filter[attributes.listener]=eq(%22listener%22)";
    assert_eq!(daemon.act("DELETE", filter).status, 200);
    assert!(daemon.reload("admin_socket_group=0\n", &sections));
    notify.until("WATCHDOG=1");
    daemon.process.signal("TERM");
    assert!(daemon.process.wait().success());
}

#[test]
fn the_program_keeps_to_what_the_unit_allows() {
    let directory = Directory::new();
    let path = directory.path().display().to_string();
    let traces = Directory::new();
    let trace = traces.path().join("trace");
    let mut command = Command::new("strace");
    command
        .args(["-D", "-f", "-q", "-o"])
        .arg(&trace)
        .arg(program_path());
    do_everything_once(directory, command);

    // strace writes until the last thread has ended.
    let text = until("the end of the trace", || {
        let text = fs::read_to_string(&trace).ok()?;
        (text.contains("exit_group(0") && text.ends_with("+++\n")).then_some(text)
    });
    let allowed = allowed_calls();
    for line in text.lines() {
        let call = line
            .split_once(' ')
            .map_or("", |(_, call)| call.trim_start());
        let name = match call.strip_prefix("<... ") {
            Some(resumed) => resumed.split(' ').next().unwrap_or_default(),
            None if call.starts_with("+++") || call.starts_with("---") => continue,
            None => call.split('(').next().unwrap_or_default(),
        };
        assert!(allowed.contains(name) || name == "execve", "{line}");
        let makes_code = name == "mprotect" && call.contains("PROT_EXEC");
        assert!(
            !makes_code && !call.contains("PROT_WRITE|PROT_EXEC"),
            "{line}"
        );
        let writes = ["O_WRONLY", "O_RDWR", "O_CREAT"]
            .iter()
            .any(|flag| call.contains(flag));
        assert!(
            !writes || call.contains(&path) || call.contains("\"/dev/null\""),
            "{line}"
        );
    }
}
