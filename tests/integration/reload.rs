//! Another configuration while it runs: the whole of it, or nothing.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use sessiond::config::Config;

use super::configuration::faulty;
use super::support::http::connect;
use super::support::interactive::Interactive;
use super::support::mariadb::{GREETING, MariaDb, client};
use super::support::process::in_words_of_glibc;
use super::support::relay::Running;
use super::support::server::{free_port, full_backlog};
use super::support::uninterrupted::ReadOn;
use super::support::{Daemon, PATIENCE, Server, until};

fn server(name: &str, address: SocketAddr) -> String {
    let (ip, port) = (address.ip(), address.port());
    format!("[{name}]\ntype=server\naddress={ip}\nport={port}\n")
}

fn service(name: &str, servers: &str) -> String {
    format!("[{name}]\ntype=service\nservers={servers}\n")
}

fn listener(name: &str, service: &str, port: u16) -> String {
    format!(
        "[{name}]\ntype=listener\nservice={service}\nprotocol=TCP\naddress=127.0.0.1\nport={port}\n"
    )
}

fn ids(daemon: &Daemon, collection: &str) -> Vec<String> {
    let rows = daemon.get(collection).elements("/data");
    rows.iter().map(|row| row.text("/id")).collect()
}

fn listener_sessions(daemon: &Daemon) -> Vec<String> {
    let sessions = daemon.get("/v1/sessions").elements("/data");
    let own = sessions
        .into_iter()
        .filter(|session| !session.has("/attributes/protocol"));
    own.map(|session| session.text("/id")).collect()
}

fn passes(client: &mut TcpStream, behind: &mut TcpStream) {
    client.write_all(b"x").unwrap();
    behind.read_exact(&mut [0]).unwrap();
}

fn is_refused(address: SocketAddr) -> bool {
    TcpStream::connect(address).is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
}

#[test]
fn between_the_listeners_of_two_configurations_no_client_is_accepted() {
    let (one, _) = Server::new().echo();
    let new = free_port();
    let common = server("one", one) + &service("s", "one");
    let parse = |text: &str| Config::parse("test", text.as_bytes()).unwrap();
    let relay = Running::start(&(common.clone() + &listener("listener", "s", 0)));
    let config = parse(&(common + &listener("other", "s", new.port())));
    let topology = relay
        .registry
        .topology()
        .renewed(&config, SystemTime::now());

    let (is_between, between) = channel();
    let (go_on, may_go_on) = channel();
    let handle = relay.handle();
    let reload = thread::spawn(move || {
        handle.reload(topology, 100, Duration::ZERO, move || {
            is_between.send(()).unwrap();
            may_go_on.recv_timeout(PATIENCE).unwrap();
        })
    });
    between.recv_timeout(PATIENCE).unwrap();
    assert!(is_refused(relay.address));
    // The system takes the client, and the relay does not.
    let mut client = connect(new);
    client.write_all(b"x").unwrap();
    let clients = || {
        let sessions = relay.registry.sessions.snapshot();
        sessions
            .iter()
            .filter(|session| session.client().is_some())
            .count()
    };
    assert_eq!(clients(), 0);
    go_on.send(()).unwrap();
    reload.join().unwrap().unwrap();
    client.read_exact(&mut [0]).unwrap();
    assert_eq!(clients(), 1);
    relay.stop();
}

#[test]
fn what_is_new_appears_what_is_gone_goes_and_the_rest_stays() {
    let (one, two) = (Server::new(), Server::new());
    let common = server("one", one.address()) + &service("s", "one") + &listener("l", "s", 0);
    let gone = server("gone", one.address())
        + &service("t", "gone")
        + &listener("m", "t", free_port().port());
    let daemon = Daemon::start_controlled("", &(common.clone() + &gone));
    let (stays, goes) = (daemon.listener("l"), daemon.listener("m"));
    let mut client = connect(stays);
    let mut behind = one.accept(&daemon);
    let mut lost = connect(goes);
    let mut behind_lost = one.accept(&daemon);
    daemon.client_sessions_until(2);
    let tags = |targets: &[&str]| -> Vec<String> {
        let tag = |target: &&str| daemon.act("GET", target).field("ETag").unwrap().to_owned();
        targets.iter().map(tag).collect()
    };
    let all = [
        "/v1/servers",
        "/v1/services",
        "/v1/listeners",
        "/v1/services/s",
    ];
    let before = tags(&all);

    let port = free_port().port();
    let new = server("two", two.address()) + &service("u", "two") + &listener("n", "u", port);
    assert!(daemon.reload("", &(common.clone() + &new)));
    assert_eq!(ids(&daemon, "/v1/servers"), ["one", "two"]);
    assert_eq!(ids(&daemon, "/v1/services"), ["s", "u"]);
    assert_eq!(ids(&daemon, "/v1/listeners"), ["l", "n"]);
    // The first listener kept its session, the new one has the next number.
    assert_eq!(listener_sessions(&daemon), ["1", "5"]);
    for (before, after) in before.iter().zip(tags(&all)) {
        assert_ne!(*before, after);
    }
    passes(&mut client, &mut behind);
    drop(connect(stays));
    drop(one.accept(&daemon));

    // What is gone: its socket, its sessions, its name.
    assert!(is_refused(goes));
    assert_eq!(lost.read_on(&mut [0]).unwrap_or(0), 0);
    assert_eq!(behind_lost.read_on(&mut [0]).unwrap_or(0), 0);
    daemon.ended_as("4", "shutdown");
    assert_eq!(daemon.request("GET", "/v1/services/t").status, 404);

    let mut added = connect(SocketAddr::new(stays.ip(), port));
    let mut behind_added = two.accept(&daemon);
    passes(&mut added, &mut behind_added);
    // Nothing is new this time, so nothing has changed.
    let before = tags(&all);
    assert!(daemon.reload_as_it_stands());
    assert_eq!(before, tags(&all));
    passes(&mut added, &mut behind_added);
}

#[test]
fn changed_parameters_hold_for_new_sessions() {
    let (one, two) = (Server::new(), Server::new());
    let text = |address: SocketAddr, more: &str| {
        server("one", address) + &service("s", "one") + more + &listener("l", "s", 0)
    };
    let daemon = Daemon::start_controlled("", &text(one.address(), ""));
    let address = daemon.listener("l");
    let mut old = connect(address);
    let mut behind_old = one.accept(&daemon);
    daemon.client_sessions_until(1);
    assert!(daemon.reload("", &text(two.address(), "connection_timeout=5s\n")));
    assert_eq!(listener_sessions(&daemon), ["1"]);
    let parameters = daemon
        .get("/v1/servers/one")
        .at("/data/attributes/parameters");
    assert_eq!(parameters.integer("/port"), u64::from(two.address().port()));

    let mut new = connect(address);
    let mut behind_new = two.accept(&daemon);
    passes(&mut new, &mut behind_new);
    // Both are the server's sessions, and the service's.
    for target in ["/v1/servers/one", "/v1/services/s"] {
        let count = daemon
            .get(target)
            .integer("/data/attributes/statistics/connections");
        assert_eq!(count, 2, "{target}");
    }
    assert_eq!(new.read_on(&mut [0]).unwrap(), 0);
    daemon.ended_as("3", "idle timeout");
    passes(&mut old, &mut behind_old);
}

#[test]
fn a_removed_server_gets_no_session_and_its_sessions_get_the_shutdown_timeout() {
    let (one, two) = (Server::new(), Server::new());
    let both = server("one", one.address()) + &server("two", two.address());
    let text = both + &service("s", "one,two") + &listener("l", "s", 0);
    let daemon = Daemon::start_controlled("shutdown_timeout=5s\n", &text);
    let address = daemon.listener("l");
    let mut first = connect(address);
    let mut behind_first = one.accept(&daemon);
    let mut second = connect(address);
    let mut behind_second = two.accept(&daemon);
    daemon.client_sessions_until(2);

    let text = server("two", two.address()) + &service("s", "two") + &listener("l", "s", 0);
    let begin = Instant::now();
    assert!(daemon.reload("shutdown_timeout=5s\n", &text));
    // The configuration holds a little earlier.
    daemon.session_until("2", "the time to end", |session| {
        session.text("/data/attributes/state") == "Stopping session"
    });
    passes(&mut first, &mut behind_first);
    assert_eq!(first.read_on(&mut [0]).unwrap_or(0), 0);
    assert!(begin.elapsed() >= Duration::from_secs(5));
    daemon.ended_as("2", "server stopped");
    passes(&mut second, &mut behind_second);
    let mut third = connect(address);
    let mut behind_third = two.accept(&daemon);
    passes(&mut third, &mut behind_third);
}

#[test]
fn a_listener_keeps_its_socket_where_it_stays_in_its_place() {
    let (one, two) = (Server::new(), Server::new());
    let port = free_port().port();
    let servers = server("one", one.address()) + &server("two", two.address());
    let services = service("s", "one") + &service("t", "two");
    let text = |listeners: String| servers.clone() + &services + &listeners;
    let daemon = Daemon::start_controlled("", &text(listener("l", "s", port)));
    let address = daemon.listener("l");
    let mut client = connect(address);
    let mut behind = one.accept(&daemon);
    // To another service, then under another name.
    for (number, listeners) in [listener("l", "t", port), listener("renamed", "t", port)]
        .into_iter()
        .enumerate()
    {
        assert!(daemon.reload("", &text(listeners)));
        let own = (2 * number + 3).to_string();
        assert_eq!(listener_sessions(&daemon), [own.as_str()]);
        let mut another = connect(address);
        let mut behind_another = two.accept(&daemon);
        passes(&mut another, &mut behind_another);
        passes(&mut client, &mut behind);
        daemon.client_sessions_until(2);
        drop((another, behind_another));
        daemon.client_sessions_until(1);
    }
}

#[test]
fn what_is_stopped_or_drained_stays_so() {
    let (one, port) = (Server::new(), free_port().port());
    let text = |more: &str| {
        server("one", one.address()) + more + &service("s", "one") + &listener("l", "s", port)
    };
    let daemon = Daemon::start_controlled("", &text(""));
    daemon.done("PUT", "/v1/listeners/l/stop");
    daemon.done("PUT", "/v1/servers/one/set?state=drain");
    assert!(daemon.reload("", &text("rank=secondary\n")));
    let state = |target: &str| daemon.get(target).text("/data/attributes/state");
    assert_eq!(state("/v1/listeners/l"), "Stopped");
    assert_eq!(state("/v1/sessions/1"), "Stopped Listener Session");
    assert_eq!(state("/v1/servers/one"), "Running, Drained");
    assert!(is_refused(daemon.listener("l")));
    daemon.done("PUT", "/v1/listeners/l/start");
    daemon.done("PUT", "/v1/servers/one/clear?state=drain");
    let _client = connect(daemon.listener("l"));
    one.accept(&daemon);
}

#[test]
fn a_server_with_a_name_is_looked_up_before_it_is_needed() {
    let one = Server::new();
    let text = server("one", one.address()) + &service("s", "one") + &listener("l", "s", 0);
    let named = text.replacen("address=127.0.0.1", "address=localhost", 1);
    until("a look-up within a second", || {
        let daemon = Daemon::start_controlled("", &text);
        let begin = Instant::now();
        assert!(daemon.reload("", &named));
        // A look-up that takes longer is not waited for.
        if begin.elapsed() >= Duration::from_secs(1) {
            return None;
        }
        let _client = connect(daemon.listener("l"));
        one.accept(&daemon);
        Some(())
    });
}

#[test]
fn a_reload_does_not_cut_a_probe_short() {
    let slow = Server::new();
    let address = slow.address();
    slow.say_after(Duration::from_millis(700), GREETING);
    let text = |limit: usize| {
        let server = server("one", address) + &format!("max_connections={limit}\n");
        let listener = listener("l", "s", 0).replace("TCP", "MariaDBClient");
        server + &service("s", "one") + &listener
    };
    let daemon = Daemon::start_controlled("", &text(0));
    // Every two seconds there are probes, so one of these reloads has just begun one.
    for limit in 1..=9 {
        thread::park_timeout(Duration::from_millis(450));
        assert!(daemon.reload("", &text(limit)));
    }
    let log = daemon.process.log();
    assert!(!log.iter().any(|line| line.contains("is down")), "{log:?}");
}

#[test]
fn who_is_on_the_way_in_goes_where_the_service_leads_now() {
    let (full, _fillers) = full_backlog("127.0.0.1");
    let good = Server::new();
    let (hung, fine) = (full.address(), good.address());
    let to = |servers: String, name: &str| servers + &service("s", name) + &listener("l", "s", 0);
    for (before, after) in [
        // The server is somewhere else now; or it is another one.
        (to(server("a", hung), "a"), to(server("a", fine), "a")),
        (to(server("a", hung), "a"), to(server("b", fine), "b")),
    ] {
        until("another configuration before the end of a probe", || {
            let daemon = Daemon::start_controlled("", &before);
            let is_told = |what: &str| {
                let log = daemon.process.log();
                log.iter().any(|line| line.contains(what))
            };
            // After two seconds a probe says that nobody can go there.
            let is_probed = || is_told("no answer to a probe");
            let mut client = connect(daemon.listener("l"));
            until("a client on its way", || {
                (daemon.client_sessions().len() == 1 || is_probed()).then_some(())
            });
            assert!(daemon.reload("", &after));
            if is_probed() {
                return None;
            }
            let mut behind = good.accept(&daemon);
            passes(&mut client, &mut behind);
            assert!(!is_told("is down"), "{:?}", daemon.process.log());
            Some(())
        });
    }
}

#[test]
fn whose_proxy_header_comes_late_goes_where_the_service_leads_then() {
    let (one, two) = (Server::new(), Server::new());
    let to = |name: &str, address: SocketAddr| {
        let trusted = "proxy_protocol_networks=127.0.0.0/8\n";
        server(name, address) + &service("s", name) + &listener("l", "s", 0) + trusted
    };
    let daemon = Daemon::start_controlled("", &to("a", one.address()));
    let mut client = connect(daemon.listener("l"));
    daemon.client_sessions_until(1);
    assert!(daemon.reload("", &to("b", two.address())));
    client.write_all(b"PROXY UNKNOWN\r\n").unwrap();
    let mut behind = two.accept(&daemon);
    passes(&mut client, &mut behind);
}

#[test]
fn a_listener_keeps_its_socket_where_its_place_is_only_said_otherwise() {
    let one = Server::new();
    let port = free_port().port();
    let text = |place: &str| {
        let listener = listener("l", "s", port).replace("address=127.0.0.1\n", place);
        server("one", one.address()) + &service("s", "one") + &listener
    };
    let daemon = Daemon::start_controlled("", &text(""));
    assert!(daemon.reload("", &text("address=::\n")));
    let mut client = connect(daemon.listener("l"));
    let mut behind = one.accept(&daemon);
    passes(&mut client, &mut behind);
}

#[test]
fn who_waits_for_what_is_removed_learns_that_it_is_gone() {
    let one = Server::new();
    let text = |more: &str| {
        server("one", one.address()) + more + &service("s", "one") + &listener("l", "s", 0)
    };
    let daemon = Daemon::start_controlled("shutdown_timeout=1h\n", &text(""));
    let come = || {
        let pair = (connect(daemon.listener("l")), one.accept(&daemon));
        daemon.client_sessions_until(1);
        pair
    };
    let wait = || daemon.act("GET", "/v1/servers/one?wait=20s");
    // The first look at the server comes before its thread does.
    let until_waiting = |count: usize| {
        until(&format!("{count} who wait"), || {
            let threads = daemon.process.threads();
            (threads.iter().filter(|name| *name == "wait").count() == count).then_some(())
        });
    };
    thread::scope(|scope| {
        let pair = come();
        let waiting = scope.spawn(wait);
        until_waiting(1);
        assert!(daemon.reload("shutdown_timeout=1h\n", &text("max_connections=7\n")));
        drop(pair);
        let answer = waiting.join().unwrap();
        let parameters = answer.document().at("/data/attributes/parameters");
        assert_eq!(parameters.integer("/max_connections"), 7);
        let tag = answer.field("ETag").unwrap().to_owned();
        assert_eq!(
            daemon.act("GET", "/v1/servers/one").field("ETag"),
            Some(tag.as_str())
        );

        until_waiting(0);
        let pair = come();
        let waiting = scope.spawn(wait);
        until_waiting(1);
        assert!(daemon.reload("shutdown_timeout=1h\n", ""));
        drop(pair);
        let answer = waiting.join().unwrap();
        assert_eq!(
            (answer.status, answer.detail().as_str()),
            (404, "one is not a server")
        );
    });
}

/// What the API says of everything, but for what moves by itself.
fn picture(daemon: &Daemon) -> Vec<String> {
    let targets = [
        "/v1/servers?fields[servers]=parameters,services",
        "/v1/services",
        "/v1/listeners",
        "/v1/sessions?fields[sessions]=state,connected,remote,port,listener,connections",
    ];
    targets
        .into_iter()
        .map(|target| daemon.request("GET", target).body)
        .collect()
}

/// How many descriptors it has open at rest; a probe of a server may have one for a moment.
fn descriptors_between_probes(daemon: &Daemon) -> usize {
    let looks = (0..10).map(|_| daemon.descriptors_at_rest());
    looks.min().unwrap()
}

fn until_descriptors_are(daemon: &Daemon, count: usize) {
    until(&format!("{count} descriptors"), || {
        (daemon.descriptors_at_rest() == count).then_some(())
    });
}

#[test]
fn a_faulty_configuration_changes_nothing_whatever_its_fault() {
    let one = Server::new();
    let text = server("one", one.address()) + &service("s", "one") + &listener("l", "s", 0);
    let daemon = Daemon::start_controlled("", &text);
    let mut client = connect(daemon.listener("l"));
    let mut behind = one.accept(&daemon);
    daemon.session_until("2", "a session that is ready", |session| {
        session.text("/data/attributes/state") == "Session ready for routing"
    });
    let descriptors = descriptors_between_probes(&daemon);
    let before = picture(&daemon);
    let mut count = 0;
    for (text, fault) in faulty() {
        daemon.directory().file("sessiond.cnf", &text);
        assert!(!daemon.reload_as_it_stands(), "{text}");
        let log = daemon.process.log();
        let line = log.iter().any(|line| {
            line.starts_with("<3>") && line.ends_with(&format!("sessiond.cnf:{fault}"))
        });
        assert!(line, "{fault}: {:#?}", log.last());
        count += 1;
    }
    assert!(count > 60, "{count}");
    std::fs::remove_file(daemon.directory().path().join("sessiond.cnf")).unwrap();
    assert!(!daemon.reload_as_it_stands());
    assert_eq!(before, picture(&daemon));
    passes(&mut client, &mut behind);
    until_descriptors_are(&daemon, descriptors);
}

#[test]
fn what_cannot_be_listened_on_or_changed_leaves_all_as_it_was() {
    let one = Server::new();
    let taken = Server::new();
    let text = server("one", one.address()) + &service("s", "one") + &listener("l", "s", 0);
    let daemon = Daemon::start_controlled("", &text);
    let descriptors = descriptors_between_probes(&daemon);
    let before = picture(&daemon);
    let more = listener("m", "s", 0) + &listener("n", "s", taken.address().port());
    let removed = server("one", one.address()) + &service("s", "one") + &more;
    for (maxscale, sections, fault) in [
        (
            "",
            removed.as_str(),
            format!(
                "listener n: cannot listen for clients on {}: Address already in use (os error 98)",
                taken.address()
            ),
        ),
        (
            "admin_host=127.0.0.2\nadmin_max_connections=8\n",
            &text,
            "admin_host, admin_max_connections cannot change without a restart".to_owned(),
        ),
        (
            "admin_accounts=/does/not/exist\n",
            &text,
            "cannot read /does/not/exist: No such file or directory (os error 2)".to_owned(),
        ),
    ] {
        assert!(!daemon.reload(maxscale, sections));
        let line = format!("<3>{fault}");
        let log = daemon.process.log();
        let is_told = log.iter().any(|told| in_words_of_glibc(told) == line);
        assert!(is_told, "{line}");
        assert_eq!(before, picture(&daemon));
        until_descriptors_are(&daemon, descriptors);
    }
}

#[test]
fn the_rest_of_the_maxscale_section_is_read_again_too() {
    let one = Server::new();
    let text = server("one", one.address()) + &service("s", "one") + &listener("l", "s", 0);
    let daemon = Daemon::start_controlled("", &text);
    let close_one = || {
        drop(connect(daemon.listener("l")));
        drop(one.accept(&daemon));
        daemon.client_sessions_until(0);
    };
    let closed = || {
        daemon
            .get("/v1/sessions?state=closed")
            .elements("/data")
            .len()
    };
    (0..3).for_each(|_| close_one());
    assert_eq!(closed(), 3);
    let ask = || {
        super::support::http::exchange(
            daemon.admin(),
            b"GET /v1 HTTP/1.1\r\nHost: box.example\r\nConnection: close\r\n\r\n",
        )
    };
    assert!(ask().starts_with("HTTP/1.1 421"));
    let maxscale = "admin_history=2\nadmin_hostnames=box.example\nlog_sessions=true\n";
    assert!(daemon.reload(maxscale, &text));
    assert!(ask().starts_with("HTTP/1.1 200"));
    assert_eq!(closed(), 2);
    close_one();
    assert_eq!(closed(), 2);
    daemon.process.line("a session in the log", |line| {
        line.contains("\"event\":\"close\"").then_some(())
    });
}

#[test]
fn a_hundred_reloads_are_not_noticed_by_fifty_clients_that_query() {
    let mariadb = MariaDb::start("one");
    let service = server("db", mariadb.address()) + &service("s", "db");
    let text = |more: &str| {
        let listener = listener("l", "s", 0).replace("TCP", "MariaDBClient");
        format!("{service}{listener}{more}")
    };
    let daemon = Daemon::start_controlled("", &text(""));
    let address = daemon.listener("l");
    let stop = AtomicBool::new(false);
    let another = |number: usize| {
        // A service that comes, changes and goes.
        let server = server("other", mariadb.address()) + "max_connections=";
        let service = "[o]\ntype=service\nservers=other\n";
        let listener = listener("other-listener", "o", 0);
        match number % 3 {
            0 => String::new(),
            number => format!("{server}{number}\n{service}{listener}"),
        }
    };
    thread::scope(|scope| {
        let clients: Vec<_> = (0..50)
            .map(|_| scope.spawn(|| query_without_a_pause(address, &stop)))
            .collect();
        daemon.client_sessions_until(50);
        let mut grown = (0, 0);
        for number in 0..100 {
            assert!(daemon.reload("", &text(&another(number))));
            if number == 10 {
                // By now everything has been there once.
                assert!(daemon.reload("", &text("")));
                grown = (daemon.descriptors_at_rest(), daemon.process.status("VmRSS"));
            }
        }
        assert!(daemon.reload("", &text("")));
        assert_eq!(listener_sessions(&daemon), ["1"]);
        assert_eq!(daemon.client_sessions().len(), 50);
        daemon.until_descriptors(grown.0);
        let memory = daemon.process.status("VmRSS");
        assert!(memory <= grown.1 + 512, "{} kB, then {memory} kB", grown.1);
        stop.store(true, Relaxed);
        for client in clients {
            let count = client.join().unwrap();
            assert!(count > 10, "{count} queries");
        }
    });
    let statistics = daemon
        .get("/v1/services/s")
        .at("/data/attributes/statistics");
    assert_eq!(statistics.integer("/total_connections"), 50);
}

/// Logs in once, and asks one thing after the other. Returns how often.
fn query_without_a_pause(address: SocketAddr, stop: &AtomicBool) -> usize {
    let mut client = Interactive::start(client(address).arg("--unbuffered"));
    let mut count = 0;
    while !stop.load(Relaxed) {
        assert_eq!(client.ask("SELECT 6 * 7;"), "42");
        count += 1;
    }
    assert!(client.end().success());
    count
}
