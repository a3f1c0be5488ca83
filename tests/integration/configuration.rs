//! The configuration: what is accepted, and what each mistake is told.

use std::process::Output;

use super::support::Directory;
use super::support::daemon::program;

fn check(text: &[u8]) -> Output {
    let directory = Directory::new();
    directory.file("sessiond.cnf", text);
    program()
        .args(["--check", "--config", "sessiond.cnf"])
        .current_dir(directory.path())
        .output()
        .unwrap()
}

fn faults(text: &[u8]) -> String {
    let output = check(text);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert_eq!(output.stdout, b"");
    String::from_utf8(output.stderr).unwrap()
}

const WHOLE: &str = "[server1]\ntype=server\naddress=127.0.0.1\nport=3306\n\
    [server2]\ntype=server\naddress=db2.example\nport=3306\nrank=secondary\n\
    [svc]\ntype=service\nrouter=readconnroute\nservers=server1,\n  server2\nconnect_timeout=500ms\nfilters=\n\
    [lst]\ntype=listener\nservice=svc\nprotocol=MariaDBClient\nport=4006\n";

/// [`WHOLE`] with something replaced.
fn with(from: &str, to: &str) -> String {
    assert!(WHOLE.contains(from), "{from}");
    WHOLE.replacen(from, to, 1)
}

#[test]
fn a_whole_configuration_has_no_fault() {
    let output = check(WHOLE.as_bytes());
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(
        output.stdout,
        b"no fault: 2 servers, 1 service, 1 listener\n"
    );
    assert_eq!(output.stderr, b"");
}

#[test]
fn the_printed_example_has_no_fault() {
    let printed = program().arg("--print-config").output().unwrap();
    assert_eq!(printed.status.code(), Some(0));
    assert_eq!(
        check(&printed.stdout).stdout,
        b"no fault: 2 servers, 3 services, 3 listeners\n"
    );
}

#[test]
fn the_section_of_the_program_is_in_upper_or_lower_case() {
    for name in ["maxscale", "MaxScale", "MAXSCALE"] {
        let text = |more: &str| format!("[{name}]\nadmin_history={more}\n{WHOLE}");
        let output = check(text("7").as_bytes());
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        // It is read as such, and is no object.
        assert_eq!(
            faults(text("x").as_bytes()),
            format!("sessiond.cnf:2: {name}: admin_history=x must be a number from 0 to 10000\n")
        );
        assert_eq!(
            faults(format!("[{name}]\ntype=service\n").as_bytes()),
            format!("sessiond.cnf:2: {name}: [maxscale] has no type\n")
        );
        assert_eq!(
            faults(format!("[maxscale]\n[{name}]\n").as_bytes()),
            format!("sessiond.cnf:2: {name}: the name is used twice (first on line 1)\n")
        );
    }
}

#[test]
fn each_mistake_has_its_own_message() {
    for (text, expected) in faulty() {
        let expected = format!("sessiond.cnf:{expected}\n");
        assert_eq!(faults(text.as_bytes()), expected, "{text}");
    }
}

/// Configurations with one fault each, and what is said of it.
#[allow(clippy::too_many_lines, reason = "it is one table")]
pub fn faulty() -> Vec<(String, &'static str)> {
    vec![
        // The dialect.
        (
            "x\n".into(),
            "1: x: a section such as [maxscale] must come first",
        ),
        ("[a\n".into(), "1: [a: the ] at the end is missing"),
        ("[]\n".into(), "1: []: a section needs a name"),
        (
            "[a b]\n".into(),
            "1: [a b]: a name is made of letters, digits and - . _ ~, not of ' '",
        ),
        (
            with("port=4006", "port=4006\nx"),
            "22: x: neither [section], key=value nor a # comment",
        ),
        (
            with("port=4006", "=1\nport=4006"),
            "21: =1: the parameter's name is missing before the =",
        ),
        (
            with("port=4006", "port=1\nport=2"),
            "22: lst: port is given twice (first on line 21)",
        ),
        (
            with("port=4006", "port=4006\n\u{7}"),
            "22: the line is not printable UTF-8 text",
        ),
        // Sections.
        (
            with("type=server\n", ""),
            "1: server1: type is missing; it must be server, service or listener",
        ),
        (
            with("type=server\n", "type=monitor\n"),
            "2: server1: type=monitor must be server, service or listener",
        ),
        (
            with("[lst]", "[svc]"),
            "17: svc: the name is used twice (first on line 10)",
        ),
        // The admin server.
        (
            "[maxscale]\nadmin_prot=1\n".into(),
            "2: maxscale: unknown parameter admin_prot (there are admin_accounts, admin_enabled, admin_host, admin_port, admin_socket, admin_socket_mode, admin_socket_owner, admin_socket_group, admin_hostnames, admin_max_connections, admin_history, log_sessions, shutdown_timeout, monitor_interval)",
        ),
        (
            "[maxscale]\ntype=server\n".into(),
            "2: maxscale: [maxscale] has no type",
        ),
        (
            "[maxscale]\nadmin_port=70000\n".into(),
            "2: maxscale: admin_port=70000 must be a number from 1 to 65535, or 0 for any that is free",
        ),
        (
            "[maxscale]\nadmin_enabled=maybe\n".into(),
            "2: maxscale: admin_enabled=maybe must be true or false",
        ),
        (
            "[maxscale]\nadmin_host=here\n".into(),
            "2: maxscale: admin_host=here must be an IP address, such as 127.0.0.1 or ::1",
        ),
        (
            "[maxscale]\nadmin_host=0.0.0.0\n".into(),
            "2: maxscale: admin_host=0.0.0.0 must be a loopback address, or admin_accounts must say who may come",
        ),
        (
            "[maxscale]\nadmin_socket=admin.sock\n".into(),
            "2: maxscale: admin_socket=admin.sock must be an absolute path",
        ),
        (
            "[maxscale]\nadmin_socket=/run/a\nadmin_socket_mode=rw\n".into(),
            "3: maxscale: admin_socket_mode=rw must be three octal digits, such as 0660",
        ),
        (
            "[maxscale]\nadmin_socket=/run/a\nadmin_socket_owner=no-one-here\n".into(),
            "3: maxscale: admin_socket_owner=no-one-here must be a user of this machine (/etc/passwd) or a number",
        ),
        (
            "[maxscale]\nadmin_socket=/run/a\nadmin_socket_group=no-one-here\n".into(),
            "3: maxscale: admin_socket_group=no-one-here must be a group of this machine (/etc/group) or a number",
        ),
        (
            "[maxscale]\nadmin_socket_mode=0600\n".into(),
            "2: maxscale: admin_socket_mode needs admin_socket",
        ),
        (
            "[maxscale]\nadmin_accounts=accounts\n".into(),
            "2: maxscale: admin_accounts=accounts must be an absolute path",
        ),
        (
            "[maxscale]\nadmin_hostnames=a b\n".into(),
            "2: maxscale: admin_hostnames=a b must be host names with commas between them, such as gateway.example",
        ),
        (
            "[maxscale]\nadmin_max_connections=3\n".into(),
            "2: maxscale: admin_max_connections=3 must be a number from 4 to 1024",
        ),
        (
            "[maxscale]\nadmin_history=10001\n".into(),
            "2: maxscale: admin_history=10001 must be a number from 0 to 10000",
        ),
        (
            "[maxscale]\nlog_sessions=some\n".into(),
            "2: maxscale: log_sessions=some must be true or false",
        ),
        (
            "[maxscale]\nmonitor_interval=often\n".into(),
            "2: maxscale: monitor_interval=often must be a whole number with ms, s, m or h, such as 10s",
        ),
        (
            "[maxscale]\nshutdown_timeout=later\n".into(),
            "2: maxscale: shutdown_timeout=later must be a whole number with ms, s, m or h, such as 10s",
        ),
        // Servers.
        (
            with("address=127.0.0.1\n", ""),
            "1: server server1: address is missing",
        ),
        (
            with("address=127.0.0.1", "address=127.0.0.256"),
            "3: server server1: address=127.0.0.256 must be an IP address or a host name, such as 192.0.2.1 or db1.example",
        ),
        (
            with("address=127.0.0.1", "address="),
            "3: server server1: address= must be an IP address or a host name, such as 192.0.2.1 or db1.example",
        ),
        (
            with("port=3306\n", ""),
            "1: server server1: port is missing",
        ),
        (
            with("port=3306", "port=0"),
            "4: server server1: port=0 must be a number from 1 to 65535",
        ),
        (
            with("port=3306", "port=+3306"),
            "4: server server1: port=+3306 must be a number from 1 to 65535",
        ),
        (
            with("rank=secondary", "rank=third"),
            "9: server server2: rank=third must be primary or secondary",
        ),
        (
            with("rank=secondary", "protocol=MariaDBBackend"),
            "9: server server2: unknown parameter protocol (there are address, port, rank, proxy_protocol, max_connections)",
        ),
        (
            with("rank=secondary", "proxy_protocol=v2"),
            "9: server server2: proxy_protocol=v2 must be true or false",
        ),
        (
            with("rank=secondary", "max_connections=-1"),
            "9: server server2: max_connections=-1 must be a number, where 0 is no limit",
        ),
        // Services.
        (
            with("servers=server1,\n  server2\n", ""),
            "10: service svc: servers is missing",
        ),
        (
            with("servers=server1,\n  server2", "servers="),
            "13: service svc: servers= must name a server, or several with commas between them",
        ),
        (
            with("server1,\n", "server9,\n"),
            "13: service svc: no server is called server9 (there are server1, server2)",
        ),
        (
            with("  server2\n", "  server1\n"),
            "13: service svc: servers names server1 twice",
        ),
        (
            with("router=readconnroute", "router=readwritesplit"),
            "12: service svc: router=readwritesplit must be readconnroute: statement routing needs a SQL-parsing proxy, which this is not",
        ),
        (
            with("router=readconnroute", "router=binlogrouter"),
            "12: service svc: router=binlogrouter must be readconnroute",
        ),
        (
            with("connect_timeout=500ms", "connect_timeout=soon"),
            "15: service svc: connect_timeout=soon must be a whole number with ms, s, m or h, such as 10s",
        ),
        (
            with("connect_timeout=500ms", "connect_timeout=0"),
            "15: service svc: connect_timeout=0 must be longer than nothing, such as 10s",
        ),
        (
            with("connect_timeout=500ms", "connect_timeout=10000h"),
            "15: service svc: connect_timeout=10000h must be a year at most",
        ),
        (
            with("filters=", "filters=qla"),
            "16: service svc: filters=qla must be empty: there are no filters",
        ),
        (
            with("server1,\n  server2", "server1,"),
            "13: service svc: servers=server1, must name a server, or several with commas between them",
        ),
        (
            with("filters=", "max_connections=many"),
            "16: service svc: max_connections=many must be a number, where 0 is no limit",
        ),
        (
            with("filters=", "connection_timeout=5d"),
            "16: service svc: connection_timeout=5d must be a whole number with ms, s, m or h, such as 10s",
        ),
        // Listeners.
        (
            with("service=svc", "service="),
            "19: listener lst: service= must be a name",
        ),
        (
            with("service=svc\n", ""),
            "17: listener lst: service is missing",
        ),
        (
            with("service=svc", "service=scv"),
            "19: listener lst: no service is called scv (there is svc)",
        ),
        (
            with("protocol=MariaDBClient", "protocol=MongoDB"),
            "20: listener lst: protocol=MongoDB must be MariaDBClient, PostgreSQLClient or TCP",
        ),
        (
            with("port=4006\n", ""),
            "17: listener lst: port or socket is missing",
        ),
        (
            with("port=4006", "port=4006\nsocket=/run/x"),
            "17: listener lst: socket excludes address and port: remove one or the other",
        ),
        (
            with("port=4006", "socket=run/x"),
            "21: listener lst: socket=run/x must be an absolute path",
        ),
        (
            with("port=4006", "port=4006\naddress=localhost"),
            "22: listener lst: address=localhost must be an IP address, such as 127.0.0.1 or ::1",
        ),
        (
            with(
                "port=4006",
                "port=4006\nproxy_protocol_networks=192.0.2.1/24",
            ),
            "22: listener lst: proxy_protocol_networks=192.0.2.1/24 has bits behind its prefix: 192.0.2.0/24 is meant, or 192.0.2.1",
        ),
        (
            with(
                "port=4006",
                "port=4006\nproxy_protocol_networks=::1,localhost",
            ),
            "22: listener lst: proxy_protocol_networks=::1,localhost must be networks with commas between them, such as 192.0.2.0/24, ::1",
        ),
        (
            with("port=4006", "socket=/run/x\nproxy_protocol_networks=::1"),
            "22: listener lst: proxy_protocol_networks needs a port: clients of a socket have no address",
        ),
        (
            with("port=4006", "port=8989"),
            "17: listener lst: it listens where the admin server does (admin_host, admin_port)",
        ),
        (
            with(
                "port=4006\n",
                "port=4006\n[l2]\ntype=listener\nservice=svc\nport=4006\naddress=127.0.0.1\n",
            ),
            "22: listener l2: it listens where listener lst does",
        ),
        (
            with("port=3306", "port=8989"),
            "17: listener lst: address must be a loopback address, since its service leads to the admin server (or admin_accounts must say who may come)",
        ),
    ]
}

#[test]
fn bytes_that_are_not_text_are_named_by_their_line() {
    assert_eq!(
        faults(b"[a]\n\xff\xfe\n"),
        "sessiond.cnf:1: a: type is missing; it must be server, service or listener\nsessiond.cnf:2: the line is not printable UTF-8 text\n"
    );
}

#[test]
fn all_mistakes_come_at_once_in_the_order_of_the_file() {
    let text = with("port=3306", "port=x")
        .replace("rank=secondary", "rank=x")
        .replace("service=svc", "service=x");
    let faults = faults(text.as_bytes());
    let lines: Vec<&str> = faults
        .lines()
        .map(|line| line.split(':').nth(1).unwrap())
        .collect();
    assert_eq!(lines, ["4", "9", "19"], "{faults}");
}

#[test]
fn a_faulty_section_makes_no_further_fault_for_those_that_refer_to_it() {
    let faults = faults(with("port=3306", "port=x").as_bytes());
    assert_eq!(faults.lines().count(), 1, "{faults}");
}

#[test]
fn a_running_program_refuses_the_same() {
    let directory = Directory::new();
    let path = directory.file("sessiond.cnf", with("port=3306", "port=x"));
    let output = program().arg("--config").arg(&path).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(
        message,
        format!(
            "{}:4: server server1: port=x must be a number from 1 to 65535\n",
            path.display()
        )
    );
}

#[test]
fn a_file_that_cannot_be_read_is_status_2() {
    let directory = Directory::new();
    let missing = directory.path().join("missing.cnf");
    let output = program()
        .arg("--check")
        .arg("--config")
        .arg(&missing)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(
        message,
        format!(
            "sessiond: cannot read {}: No such file or directory (os error 2)\n",
            missing.display()
        )
    );

    let large = directory.file("large.cnf", vec![b'#'; 1024 * 1024 + 1]);
    let output = program()
        .arg("--check")
        .arg("--config")
        .arg(&large)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(
        String::from_utf8(output.stderr)
            .unwrap()
            .ends_with("longer than 1048576 bytes\n")
    );
}

#[test]
fn a_wrong_command_line_is_status_2_and_help_and_version_are_not() {
    for (arguments, status, start) in [
        (vec!["--chek"], 2, ""),
        (vec!["x"], 2, ""),
        (vec!["--help"], 0, "sessiond routes "),
        (
            vec!["--version"],
            0,
            concat!("sessiond ", env!("CARGO_PKG_VERSION"), "\n"),
        ),
    ] {
        let output = program().args(&arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(status), "{arguments:?}");
        assert!(String::from_utf8(output.stdout).unwrap().starts_with(start));
        assert_eq!(output.stderr.is_empty(), status == 0);
    }
}
