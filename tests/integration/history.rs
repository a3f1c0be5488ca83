//! What is known of sessions that have ended.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use super::support::daemon::one_service;
use super::support::http::connect;
use super::support::library::Library;
use super::support::server::full_backlog;
use super::support::uninterrupted::ReadOn;
use super::support::{Daemon, Document, Server, at_last, until};

/// A daemon before an echo, that remembers so many sessions.
fn remembering(history: usize) -> Daemon {
    let (echo, _) = Server::new().echo();
    Daemon::start(&format!("admin_history={history}\n{}", one_service(echo)))
}

/// A client that says something, hears it and leaves.
fn visit(address: SocketAddr) {
    let mut client = connect(address);
    client.write_all(b"something").unwrap();
    client.read_exact(&mut [0; 9]).unwrap();
    leave(client);
}

/// Leaves in order, and returns when the other side has noticed.
fn leave(mut client: TcpStream) {
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(client.read_on(&mut [0]).unwrap(), 0);
}

fn ids(daemon: &Daemon, target: &str) -> Vec<String> {
    let rows = daemon.get(target).elements("/data");
    rows.iter().map(|row| row.text("/id")).collect()
}

/// The attributes of a session without those that move while it lives.
fn clocks(session: &Document) -> (Duration, Duration, u64) {
    (
        session.seconds("/data/attributes/idle"),
        session.seconds("/data/attributes/seconds_alive"),
        session.integer("/data/attributes/io_activity"),
    )
}

#[test]
fn a_session_that_has_ended_is_found_with_all_that_was_known_of_it() {
    let daemon = remembering(10);
    let mut client = connect(daemon.listener("listener"));
    client.write_all(b"something").unwrap();
    client.read_exact(&mut [0; 9]).unwrap();
    let open = daemon.get("/v1/sessions/2");
    assert!(!open.has("/data/attributes/closed") && !open.has("/data/attributes/close_reason"));
    leave(client);

    let ended = daemon.ended("2");
    assert_eq!(ended.text("/data/attributes/close_reason"), "client closed");
    assert_eq!(
        ended.text("/data/attributes/closed").len(),
        "Wed May 17 10:06:35 2017".len()
    );
    assert_eq!(ended.integer("/data/attributes/bytes_from_client"), 9);
    assert_eq!(ended.integer("/data/attributes/bytes_to_client"), 9);
    assert_eq!(
        ended.text("/data/attributes/connections/0/server"),
        "server"
    );
    for attribute in ["connected", "remote", "port", "protocol", "listener"] {
        let pointer = format!("/data/attributes/{attribute}");
        assert_eq!(
            format!("{:?}", ended.at(&pointer)),
            format!("{:?}", open.at(&pointer))
        );
    }
    // Its clocks stand still.
    let stopped = clocks(&ended);
    std::thread::park_timeout(Duration::from_millis(250));
    assert_eq!(clocks(&daemon.get("/v1/sessions/2")), stopped);
    // And nobody is connected any more.
    let service = daemon.get("/v1/services/service");
    let statistics = service.at("/data/attributes/statistics");
    assert_eq!(statistics.integer("/connections"), 0);
    assert_eq!(statistics.integer("/closed/client_closed"), 1);
    assert_eq!(statistics.integer("/closed/client_reset"), 0);
}

#[test]
fn state_says_which_sessions_are_listed() {
    let daemon = remembering(10);
    let address = daemon.listener("listener");
    // The third session ends before the second.
    let second = connect(address);
    daemon.client_sessions_until(1);
    visit(address);
    daemon.ended("3");
    let _fourth = connect(address);
    daemon.client_sessions_until(2);
    leave(second);
    daemon.ended("2");

    assert_eq!(ids(&daemon, "/v1/sessions"), ["1", "4"]);
    assert_eq!(ids(&daemon, "/v1/sessions?state=open"), ["1", "4"]);
    assert_eq!(ids(&daemon, "/v1/sessions?state=closed"), ["3", "2"]);
    assert_eq!(ids(&daemon, "/v1/sessions?state=any"), ["1", "2", "3", "4"]);
    assert_eq!(
        ids(&daemon, "/v1/sessions?state=closed&filter[id]=ge(3)"),
        ["3"]
    );
    let page = daemon.get("/v1/sessions?state=any&page[size]=2&page[number]=1");
    assert_eq!(page.integer("/meta/total"), 4);
    assert!(page.text("/links/prev").contains("?state=any&page"));

    for target in ["/v1/sessions?state=dead", "/v1/sessions?state"] {
        let refused = daemon.request("GET", target);
        assert_eq!(refused.status, 400);
        assert_eq!(refused.detail(), "state must be open, closed or any");
    }
    for target in ["/v1/services?state=any", "/v1/sessions/1?state=any"] {
        assert_eq!(daemon.request("GET", target).status, 400, "{target}");
    }
}

#[test]
fn the_oldest_falls_off_the_end_and_its_id_is_not_found_any_more() {
    let daemon = remembering(3);
    for id in 2..=6 {
        visit(daemon.listener("listener"));
        daemon.ended(&id.to_string());
    }
    assert_eq!(ids(&daemon, "/v1/sessions?state=closed"), ["4", "5", "6"]);
    let gone = daemon.request("GET", "/v1/sessions/3");
    assert_eq!(gone.status, 404);
    assert_eq!(gone.detail(), "3 is not a session");
    // What is counted is counted for ever.
    let service = daemon.get("/v1/services/service");
    assert_eq!(
        service.integer("/data/attributes/statistics/closed/client_closed"),
        5
    );

    let forgetful = remembering(0);
    visit(forgetful.listener("listener"));
    forgetful.client_sessions_until(0);
    assert!(ids(&forgetful, "/v1/sessions?state=closed").is_empty());
}

/// A client that leaves in less than that, and says nothing, is a health check.
/// Where the program stands still for as long, those who leave meanwhile are none.
const CHECK: Duration = Duration::from_millis(100);

#[test]
fn ten_thousand_health_checks_push_out_no_session() {
    at_last(|| {
        let daemon = remembering(1000);
        let address = daemon.listener("listener");
        visit(address);
        daemon.ended("2");
        for _ in 0..10_000 {
            drop(connect(address));
        }
        until_taken(&daemon, "service", 10_001);
        daemon.client_sessions_until(0);
        let closed = daemon.get("/v1/sessions?state=closed").elements("/data");
        assert_eq!(closed.len(), 1000);
        let lasted = |session: &Document| session.seconds("/attributes/seconds_alive");
        let sessions = closed.iter().filter(|session| lasted(session) >= CHECK);
        if sessions.count() >= 999 {
            return None;
        }
        assert_eq!(closed[0].text("/id"), "2");
        assert_eq!(closed[0].integer("/attributes/bytes_from_client"), 9);
        // The latest are there, too.
        assert!(closed[1..].iter().any(|check| check.text("/id") == "10002"));

        // A session takes the place of a check.
        visit(address);
        daemon.ended("10003");
        let closed = ids(&daemon, "/v1/sessions?state=closed");
        assert_eq!(closed.len(), 1000);
        assert_eq!((&closed[0][..], &closed[999][..]), ("2", "10003"));
        Some(())
    });
}

#[test]
fn who_leaves_at_once_is_a_health_check_however_long_its_server_takes() {
    at_last(|| checks_push_out_no_session().then_some(()));
}

/// Whether four who leave while their server is waited for do not push the one
/// session out of a history of three, as those would who are no health checks.
fn checks_push_out_no_session() -> bool {
    let (echo, _) = Server::new().echo();
    let (far, _fillers) = full_backlog("127.0.0.1");
    let slow = "[far]\ntype=server\naddress=127.0.0.1\nport=PORT\n\
        [slow]\ntype=service\nservers=far\nconnect_timeout=300ms\n\
        [waiting]\ntype=listener\nservice=slow\nprotocol=TCP\naddress=127.0.0.1\nport=0\n";
    let slow = slow.replace("PORT", &far.address().port().to_string());
    let daemon = Daemon::start(&format!("admin_history=3\n{}{slow}", one_service(echo)));
    visit(daemon.listener("listener"));
    daemon.ended("3");
    for _ in 0..4 {
        drop(connect(daemon.listener("waiting")));
    }
    until_taken(&daemon, "slow", 4);
    daemon.client_sessions_until(0);
    let closed = ids(&daemon, "/v1/sessions?state=closed");
    assert_eq!(closed.len(), 3);
    closed[0] == "3"
}

/// Waits until a service has had so many clients, who may be gone by then.
fn until_taken(daemon: &Daemon, service: &str, count: u64) {
    until("the last client", || {
        let service = daemon.get(&format!("/v1/services/{service}"));
        let taken = service.integer("/data/attributes/statistics/total_connections");
        (taken == count).then_some(())
    });
}

#[test]
fn a_listeners_session_is_not_remembered_and_a_tag_changes_with_the_history() {
    let library = Library::start();
    let listener = library.registry.topology().listeners[0].clone();
    let before = library.request("GET", "/v1/sessions?state=closed", "");
    assert!(before.document().elements("/data").is_empty());
    let session = library.open(0, None, Duration::ZERO);
    let own = library
        .registry
        .sessions
        .open_listener(&listener, std::time::SystemTime::now());
    for id in [session.id(), own.id()] {
        library.registry.sessions.close(
            id,
            sessiond::registry::CloseReason::ServerLost,
            std::time::SystemTime::now(),
            std::time::Instant::now(),
        );
    }
    let after = library.request("GET", "/v1/sessions?state=closed", "");
    assert_eq!(
        library.ids("/v1/sessions?state=closed"),
        [session.id().to_string()]
    );
    assert_ne!(before.field("ETag"), after.field("ETag"));
    library.stop();
}
