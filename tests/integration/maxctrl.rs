//! The requests of `maxctrl`, sent as it sends them, and what it reads of the answers.

use std::time::{Duration, SystemTime};

use sessiond::registry::Login;

use super::support::Document;
use super::support::library::Library;

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

#[test]
fn over_tcp_without_accounts_maxctrl_may_read_alone() {
    let library = Library::start();
    // Whatever it sends as a login.
    for (method, command) in [
        ("DELETE", "sessions/1?ttl=0"),
        ("PUT", "listeners/Read-Listener/stop"),
        ("PUT", "listeners/Read-Listener/start"),
        ("PUT", "services/Read/stop?force=yes"),
        ("PUT", "servers/db1/set?state=drain"),
        ("PUT", "servers/db1/clear?state=drain"),
    ] {
        assert_eq!(
            library
                .request(method, &format!("/v1/{command}"), FIELDS)
                .status,
            403,
            "{command}"
        );
    }
    library.stop();
}
