//! How servers are probed in their own protocols, how often, and what operators
//! read about it.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use super::support::daemon::one_service;
use super::support::http::connect;
use super::support::mariadb::GREETING;
use super::support::postgresql::{PostgreSql, psql};
use super::support::prometheus::Metrics;
use super::support::server::{closed_port, free_port};
use super::support::uninterrupted::ReadOn;
use super::support::{Daemon, Document, Server, at_last, until};
use super::terminal::{at, good, line};

/// A service of one server whose clients speak this protocol.
fn of(protocol: &str, server: SocketAddr) -> String {
    one_service(server).replace("protocol=TCP", &format!("protocol={protocol}"))
}

fn attributes(daemon: &Daemon) -> Document {
    daemon.get("/v1/servers/server").at("/data/attributes")
}

/// Waits until the server is down for a reason.
fn until_down(daemon: &Daemon, reason: &str) -> Document {
    until(&format!("a server that is down: {reason}"), || {
        let seen = attributes(daemon);
        let is_down = seen.text("/state") == "Down" && seen.text("/down_reason") == reason;
        is_down.then_some(seen)
    })
}

/// Waits until a probe has found the server up.
fn until_up(daemon: &Daemon) -> Document {
    until("a server that is up", || {
        let seen = attributes(daemon);
        let is_up = seen.text("/state") == "Running"
            && seen.has("/last_probe")
            && seen.text("/last_probe/result") == "up";
        is_up.then_some(seen)
    })
}

/// Clients that hold their connections until they are dropped.
struct Holders(Vec<Child>);

impl Holders {
    /// Connects them, and again where one is turned away, until that is the case.
    fn until<T>(
        address: SocketAddr,
        count: usize,
        mut is_done: impl FnMut() -> Option<T>,
    ) -> (Self, T) {
        let start = || {
            let mut command = psql(address, "postgres");
            command.stdin(Stdio::piped()).stderr(Stdio::null());
            command.stdout(Stdio::null()).spawn().unwrap()
        };
        let mut holders: Vec<Child> = (0..count).map(|_| start()).collect();
        let done = until("clients that hold their connections", || {
            for holder in &mut holders {
                // A probe may have had its place.
                if holder.try_wait().unwrap().is_some() {
                    *holder = start();
                }
            }
            is_done()
        });
        (Self(holders), done)
    }
}

impl Drop for Holders {
    fn drop(&mut self) {
        for holder in &mut self.0 {
            drop(holder.stdin.take());
            holder.wait().unwrap();
        }
    }
}

#[test]
fn a_postgresql_server_that_is_full_is_down_in_its_own_words_until_there_is_room() {
    let options = [
        "-cmax_connections=2",
        "-csuperuser_reserved_connections=0",
        "-clog_connections=on",
    ];
    let postgresql = PostgreSql::start_with(|_| options.map(str::to_owned).to_vec());
    let sections = of("PostgreSQLClient", postgresql.address());
    let daemon = Daemon::start(&format!("monitor_interval=300ms\n{sections}"));
    let before = until_up(&daemon);
    assert_eq!(before.text("/last_event"), "server_up");
    let failures = "sessiond_server_probe_failures_total{server=\"server\"}";
    assert_eq!(Metrics::of(&daemon).number(failures), 0);

    let words = "it answers with error 53300: sorry, too many clients already";
    let (holders, down) = Holders::until(postgresql.address(), 2, || {
        // With one of them on its way a probe may find no place and the next one may.
        let log = postgresql.process.log();
        let is_in = |line: &&String| line.contains("authorized: user=postgres");
        if log.iter().filter(is_in).count() < 2 {
            return None;
        }
        let seen = attributes(&daemon);
        (seen.has("/down_reason") && seen.text("/down_reason") == words).then_some(seen)
    });
    assert_eq!(down.text("/state"), "Down");
    assert_eq!(down.text("/last_event"), "server_down");
    assert_eq!(down.text("/last_probe/result"), words);
    let since = down.text("/triggered_at");
    let metrics = Metrics::of(&daemon);
    assert_eq!(metrics.number("sessiond_server_up{server=\"server\"}"), 0);
    assert!(metrics.number(failures) >= 1);
    let listed = good(at(daemon.admin(), &["list", "servers"]));
    assert!(listed.contains(&format!("  {since}  {words}")), "{listed}");
    let shown = good(at(daemon.admin(), &["show", "server", "server"]));
    for (name, value) in [
        ("down_reason", words),
        ("last_event", "server_down"),
        ("triggered_at", &since),
        ("last_probe/result", words),
    ] {
        let expected: Vec<&str> = value.split(' ').filter(|word| !word.is_empty()).collect();
        assert_eq!(line(&shown, name)[1..], expected, "{shown}");
    }

    drop(holders);
    let after = until_up(&daemon);
    assert!(!after.has("/down_reason"));
    assert_eq!(after.text("/last_event"), "server_up");
    for change in [
        format!("server server is down: {words}"),
        "server server is up".to_owned(),
    ] {
        until(&format!("the line: {change}"), || {
            let log = daemon.process.log();
            log.iter().any(|line| line.contains(&change)).then_some(())
        });
    }
}

#[test]
fn a_postgresql_server_that_is_stopping_is_down_in_its_own_words_and_comes_back() {
    let mut postgresql = PostgreSql::start();
    let sections = of("PostgreSQLClient", postgresql.address());
    let daemon = Daemon::start(&format!("monitor_interval=300ms\n{sections}"));
    let (holders, ()) = Holders::until(daemon.listener("listener"), 1, || {
        let sessions = daemon.client_sessions();
        let logged_in = sessions
            .iter()
            .any(|session| session.has("/attributes/user"));
        logged_in.then_some(())
    });
    // It waits for the client that it has, and takes no other.
    postgresql.process.signal("TERM");
    until_down(
        &daemon,
        "it answers with error 57P03: the database system is shutting down",
    );
    drop(holders);
    until("a server that has ended", || {
        let seen = attributes(&daemon);
        (seen.text("/down_reason") == "Connection refused (os error 111)").then_some(())
    });
    postgresql.start_again();
    assert!(!until_up(&daemon).has("/down_reason"));
}

/// Waits until the log of a server has so many lines with that.
fn until_lines(postgresql: &PostgreSql, what: &str, count: usize) -> Vec<String> {
    until(&format!("{count} times {what}"), || {
        let log = postgresql.process.log();
        let found = log.iter().filter(|line| line.contains(what)).count();
        (found >= count).then_some(log)
    })
}

#[test]
fn probes_leave_nothing_in_the_log_of_a_postgresql_server_that_asks_for_a_password() {
    let options = "-clog_connections=on".to_owned();
    let postgresql = PostgreSql::start_with(|_| vec![options]);
    let sections = of("PostgreSQLClient", postgresql.address());
    let daemon = Daemon::start(&format!("monitor_interval=100ms\n{sections}"));
    let log = until_lines(&postgresql, "connection received", 4);
    until_up(&daemon);
    let is_complaint = |line: &&String| line.contains("FATAL") || line.contains("could not");
    assert_eq!(log.iter().find(is_complaint), None);
}

#[test]
fn probes_that_are_let_in_leave_in_order_and_see_that_only_reserved_places_are_left() {
    let postgresql = PostgreSql::start_trusting(&[
        "-clog_connections=on",
        "-clog_disconnections=on",
        "-cmax_connections=3",
        "-csuperuser_reserved_connections=2",
    ]);
    let created = psql(postgresql.address(), "postgres")
        .args(["--command", "CREATE ROLE \"sessiond-probe\" LOGIN"])
        .status();
    assert!(created.unwrap().success());
    // Its place is free again then.
    until_lines(&postgresql, "disconnection: session time", 1);
    let sections = of("PostgreSQLClient", postgresql.address());
    let daemon = Daemon::start(&format!("monitor_interval=100ms\n{sections}"));
    let log = until_lines(&postgresql, "disconnection: session time", 6);
    until_up(&daemon);
    let is_complaint = |line: &&String| line.contains("FATAL") || line.contains("could not");
    assert_eq!(log.iter().find(is_complaint), None);

    let words = "it answers with error 53300: remaining connection slots are reserved \
                 for non-replication superuser connections";
    let (holders, ()) = Holders::until(postgresql.address(), 1, || {
        let seen = attributes(&daemon);
        (seen.has("/down_reason") && seen.text("/down_reason") == words).then_some(())
    });
    drop(holders);
    until_up(&daemon);
}

#[test]
fn a_postgresql_server_that_takes_encrypted_connections_alone_is_up() {
    let postgresql = PostgreSql::start_with(|directory| {
        let rules = directory.join("pg_hba.conf");
        std::fs::write(&rules, "hostssl all all all scram-sha-256\n").unwrap();
        vec![format!("-chba_file={}", rules.display())]
    });
    let sections = of("PostgreSQLClient", postgresql.address());
    let daemon = Daemon::start(&format!("monitor_interval=300ms\n{sections}"));
    until_lines(&postgresql, "no pg_hba.conf entry", 2);
    assert!(!until_up(&daemon).has("/down_reason"));
}

/// An ErrorResponse with this code.
fn error(code: &str) -> Vec<u8> {
    let fields = format!("SFATAL\0VFATAL\0C{code}\0Min words\0\0");
    let length = u32::try_from(4 + fields.len()).unwrap();
    [b"E", &length.to_be_bytes()[..], fields.as_bytes()].concat()
}

#[test]
fn a_postgresql_server_is_judged_by_its_first_answer() {
    let nonsense = "it does not answer as a PostgreSQL server does";
    for (says, reason) in [
        (&b"R\0\0\0\x17\0\0\0\x0aSCRAM-SHA-256\0\0"[..], None),
        (b"R\0\0\0\x08\0\0\0\0Z\0\0\0\x05I", None),
        (&error("28000"), None),
        (&error("28P01"), None),
        (&error("3D000"), None),
        (
            &error("53300"),
            Some("it answers with error 53300: in words"),
        ),
        (
            &error("57P03"),
            Some("it answers with error 57P03: in words"),
        ),
        (GREETING, Some(nonsense)),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", Some(nonsense)),
        (b"", Some("no answer to a probe")),
        (b"R\0\0", Some("no answer to a probe")),
    ] {
        let server = Server::new();
        let sections = of("PostgreSQLClient", server.address());
        server.say(says);
        let daemon = Daemon::start(&format!("monitor_interval=200ms\n{sections}"));
        match reason {
            Some(reason) => drop(until_down(&daemon, reason)),
            None => assert!(!until_up(&daemon).has("/down_reason")),
        }
    }
    // One that closes at once.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let sections = of("PostgreSQLClient", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            // What is not read would reset the connection.
            let _ = stream.read_on(&mut [0; 512]);
        }
    });
    let daemon = Daemon::start(&sections);
    until_down(&daemon, "it closes without an answer");
}

#[test]
fn a_probe_of_postgresql_says_who_it_is_behind_a_proxy_header_if_there_is_one() {
    let startup = sessiond::protocol::postgresql::probe_startup();
    for (parameter, header) in [("", ""), ("proxy_protocol=true\n", "PROXY UNKNOWN\r\n")] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let sections = of("PostgreSQLClient", listener.local_addr().unwrap());
        let sections = sections.replace("type=server\n", &format!("type=server\n{parameter}"));
        let _daemon = Daemon::start(&sections);
        let (mut probe, _) = listener.accept().unwrap();
        let expected = [header.as_bytes(), &startup].concat();
        let mut heard = vec![0; expected.len()];
        probe.read_exact(&mut heard).unwrap();
        assert_eq!(heard, expected);
        // It ends without a word where a password is wanted.
        probe.write_all(b"R\0\0\0\x08\0\0\0\x03").unwrap();
        assert_eq!(probe.read_on(&mut [0]).unwrap(), 0);
    }
}

/// How many connections a listener has taken that say nothing, as probes do.
fn silent_ones(listener: &TcpListener) -> usize {
    listener.set_nonblocking(true).unwrap();
    let mut count = 0;
    loop {
        match listener.accept() {
            Ok((mut stream, _)) => {
                stream.set_nonblocking(false).unwrap();
                count += usize::from(stream.read_on(&mut [0]).unwrap() == 0);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return count,
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn no_probe_comes_while_clients_show_that_a_server_is_up() {
    const INTERVAL: Duration = Duration::from_secs(1);
    at_last(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let sections = of("TCP", listener.local_addr().unwrap());
        let daemon = Daemon::start(&format!("monitor_interval=1s\n{sections}"));
        let address = daemon.listener("listener");
        let send = || connect(address).write_all(b"x").unwrap();
        // Some probes may be on their way before the first client.
        send();
        until("the first client", || {
            (attributes(&daemon).integer("/statistics/total_connections") > 0).then_some(())
        });
        silent_ones(&listener);
        let (begin, mut last) = (Instant::now(), Instant::now());
        while begin.elapsed() < 3 * INTERVAL + INTERVAL / 2 {
            send();
            // On a machine that stands still there may be an interval without a client.
            if last.elapsed() > INTERVAL / 2 {
                return None;
            }
            last = Instant::now();
            std::thread::park_timeout(Duration::from_millis(20));
        }
        assert_eq!(silent_ones(&listener), 0);
        // And they come when there are no more clients.
        until("a probe", || (silent_ones(&listener) > 0).then_some(()));
        Some(())
    });
}

#[test]
fn without_probes_clients_find_out_what_is_down_and_what_is_back() {
    for (protocol, says) in [("TCP", &b"hello"[..]), ("MariaDBClient", GREETING)] {
        let (one, two) = (free_port(), closed_port());
        let sections = of(protocol, one).replace("servers=server", "servers=other,server")
            + &format!(
                "[other]\ntype=server\naddress={}\nport={}\n",
                two.ip(),
                two.port()
            );
        let daemon = Daemon::start(&format!("monitor_interval=0\n{sections}"));
        // Nothing has been tried, so nothing is known to be down.
        assert_eq!(attributes(&daemon).text("/state"), "Running");
        let client = |daemon: &Daemon| {
            let mut heard = Vec::new();
            let stream = connect(daemon.listener("listener"));
            let _ = stream.take(says.len() as u64).read_to_end(&mut heard);
            heard
        };
        assert_ne!(client(&daemon), says);
        let down = until_down(&daemon, "Connection refused (os error 111)");
        assert!(!down.has("/last_probe"));

        let back = Server::at(one);
        back.say(says);
        // The other one is tried again as well.
        assert_eq!(client(&daemon), says);
        let up = attributes(&daemon);
        assert_eq!(up.text("/state"), "Running");
        assert_eq!(up.text("/last_event"), "server_up");
        assert!(!up.has("/down_reason") && !up.has("/last_probe"));
        assert_eq!(up.integer("/statistics/max_connections"), 1);
        let other = daemon.get("/v1/servers/other");
        assert_eq!(other.text("/data/attributes/state"), "Down");
    }
}

#[test]
fn a_reload_changes_how_often_servers_are_probed() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let sections = of("TCP", listener.local_addr().unwrap());
    let daemon = Daemon::start_controlled("monitor_interval=0\n", &sections);
    let probed = |count: usize| {
        for _ in 0..count {
            let (mut probe, _) = listener.accept().unwrap();
            assert_eq!(probe.read_on(&mut [0]).unwrap(), 0);
        }
    };
    let tag = || {
        let answer = daemon.request("GET", "/v1/servers/server");
        answer.field("ETag").unwrap().to_owned()
    };
    let before = tag();
    assert!(daemon.reload("monitor_interval=1h\n", &sections));
    probed(1);
    // The next one would be an hour away.
    assert!(daemon.reload("monitor_interval=50ms\n", &sections));
    probed(5);
    until_up(&daemon);
    assert!(daemon.reload("monitor_interval=0\n", &sections));
    // What came before the end of the reload may be waiting; what is in it says nothing.
    silent_ones(&listener);
    let mut client = connect(daemon.listener("listener"));
    client.write_all(b"x").unwrap();
    listener.set_nonblocking(false).unwrap();
    let (mut first, _) = listener.accept().unwrap();
    first.read_exact(&mut [0]).unwrap();
    // Nothing of all that has changed the server.
    assert_eq!(tag(), before);
}

#[test]
fn a_server_to_which_both_protocols_lead_is_probed_by_a_connection() {
    let server = Server::new();
    let sections = of("MariaDBClient", server.address())
        + "[second]\ntype=listener\nservice=service\nprotocol=PostgreSQLClient\n\
           address=127.0.0.1\nport=0\n";
    let _silent = server.hold();
    let daemon = Daemon::start(&format!("monitor_interval=50ms\n{sections}"));
    until_up(&daemon);
}
