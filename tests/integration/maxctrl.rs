//! The requests of `maxctrl`, sent as it sends them, and what it reads of the answers.

use std::time::{Duration, SystemTime};

use sessiond::registry::Login;

use super::access::{WithAccounts, basic};
use super::support::daemon::one_service;
use super::support::library::Library;
use super::support::{Daemon, Document, Server, http};

const FIELDS: &str = "Accept: application/json, text/plain, */*\r\n\
    Authorization: Basic YWRtaW46bWFyaWFkYg==\r\nUser-Agent: axios/1.6.2\r\nAccept-Encoding: gzip, compress, deflate, br\r\n\
    Connection: close\r\n";

fn get(library: &Library, command: &str) -> Document {
    let answer = library.request("GET", &format!("/v1/{command}"), FIELDS);
    assert_eq!(
        (answer.status, answer.field("Content-Type")),
        (200, Some("application/json")),
        "{command}"
    );
    answer.document()
}

#[test]
fn what_maxctrl_reads_is_there_with_the_right_type() {
    let library = Library::start();
    let session = library.open(0, Some("192.0.2.7:4711"), Duration::from_secs(3));
    library.connect(&session, 0, 7);
    let now = SystemTime::now();
    session.set_connection_id(17, now);
    let attribute = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let login = Login {
        user: "app".to_owned(),
        database: Some("shop".to_owned()),
        attributes: vec![
            attribute("_client_name", "libmariadb"),
            attribute("_pid", "4711"),
        ],
    };
    session.set_login(Some(login), now);

    for command in ["sessions", "sessions/", "sessions/1", "sessions?rdns=true"] {
        let document = get(&library, command);
        let at = |pointer: &str| {
            let data = if command == "sessions/1" {
                "/data"
            } else {
                "/data/0"
            };
            format!("{data}{pointer}")
        };
        assert_eq!(document.text(&at("/id")), "1");
        assert_eq!(document.text(&at("/attributes/remote")), "192.0.2.7");
        assert_eq!(document.integer(&at("/attributes/port")), 4711);
        assert_eq!(document.text(&at("/attributes/user")), "app");
        assert_eq!(document.text(&at("/attributes/database")), "shop");
        assert_eq!(document.text(&at("/attributes/client/cipher")), "");
        let attributes = document.at(&at("/attributes/client/connection_attributes"));
        assert_eq!(attributes.members(""), ["_client_name", "_pid"]);
        assert_eq!(attributes.text("/_pid"), "4711");
        assert_eq!(
            document.integer(&at("/attributes/connections/0/connection_id")),
            17
        );
        assert_eq!(document.text(&at("/attributes/connected")).len(), 24);
        assert!(document.seconds(&at("/attributes/idle")) < Duration::from_secs(60));
        assert!(document.integer(&at("/attributes/memory/total")) > 0);
        assert_eq!(document.integer(&at("/attributes/io_activity")), 4);
        assert_eq!(
            document.text(&at("/attributes/state")),
            "Session ready for routing"
        );
        assert_eq!(
            document.text(&at("/attributes/connections/0/server")),
            "db1"
        );
        assert_eq!(
            document.text(&at("/relationships/services/data/0/id")),
            "Write"
        );
    }

    let services = get(&library, "services");
    assert_eq!(services.text("/data/0/id"), "Write");
    assert_eq!(services.text("/data/0/attributes/router"), "readconnroute");
    assert_eq!(
        services.integer("/data/0/attributes/statistics/connections"),
        1
    );
    assert_eq!(
        services.integer("/data/0/attributes/statistics/total_connections"),
        1
    );
    assert_eq!(
        services.text("/data/1/relationships/servers/data/1/id"),
        "db2"
    );

    let servers = get(&library, "servers");
    assert_eq!(
        servers.text("/data/1/attributes/parameters/address"),
        "192.0.2.2"
    );
    assert_eq!(servers.integer("/data/1/attributes/parameters/port"), 3307);
    assert_eq!(
        servers.integer("/data/1/attributes/statistics/connections"),
        0
    );
    assert_eq!(servers.text("/data/1/attributes/state"), "Running");

    let listeners = get(&library, "listeners");
    assert_eq!(
        listeners.text("/data/0/attributes/parameters/address"),
        "127.0.0.1"
    );
    assert_eq!(
        listeners.integer("/data/0/attributes/parameters/port"),
        4006
    );
    assert_eq!(
        listeners.text("/data/1/attributes/parameters/address"),
        "::"
    );
    assert_eq!(listeners.text("/data/0/attributes/state"), "Running");
    assert_eq!(
        listeners.text("/data/0/relationships/services/data/0/id"),
        "Write"
    );
    library.stop();
}

/// What `maxctrl` does, as it asks for it.
const DEEDS: [(&str, &str); 8] = [
    ("PUT", "listeners/listener/stop"),
    ("PUT", "listeners/listener/start"),
    ("PUT", "services/service/stop?force=yes"),
    ("PUT", "services/service/start"),
    ("PUT", "servers/server/set?state=drain"),
    ("PUT", "servers/server/clear?state=drain"),
    ("PUT", "servers/server/set?state=maintenance&force=yes"),
    ("PUT", "servers/server/clear?state=maintenance"),
];

#[test]
fn over_tcp_without_accounts_maxctrl_may_read_alone() {
    let daemon = Daemon::start(&one_service(Server::new().address()));
    // Whatever it sends as a login.
    for (method, command) in [("DELETE", "sessions/1?ttl=0")].iter().chain(&DEEDS) {
        let answer = http::request(daemon.admin(), method, &format!("/v1/{command}"), FIELDS);
        assert_eq!(answer.status, 403, "{command}");
    }
}

#[test]
fn with_an_administrators_token_maxctrl_does_what_it_asks_for() {
    let server = Server::new();
    let with = WithAccounts::before(server.address(), "");
    let login = basic("administrator", &with.administrator);
    let fields = FIELDS.replace("Basic YWRtaW46bWFyaWFkYg==", &login);
    let _client = http::connect(with.daemon.listener("listener"));
    let _behind = server.accept_one_of(|| {
        let answer = http::request(with.daemon.admin(), "GET", "/v1/sessions/2", &fields);
        let document = answer.document();
        let port = "/data/attributes/connections/0/local_port";
        let is_connected = answer.status == 200 && document.has(port);
        let port = is_connected.then(|| document.integer(port));
        port.map(|port| u16::try_from(port).unwrap())
            .into_iter()
            .collect()
    });
    for (method, command) in [("DELETE", "sessions/2?ttl=0")].iter().chain(&DEEDS) {
        let target = format!("/v1/{command}");
        let answer = http::request(with.daemon.admin(), method, &target, &fields);
        assert_eq!(answer.status, 204, "{command}: {answer:?}");
        with.daemon.process.line("who it was", |line| {
            line.starts_with("<6>administrator at 127.0.0.1:")
                .then_some(())
        });
    }
}
