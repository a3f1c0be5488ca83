//! An admin server in this process, over a table that is filled by hand.

use std::io::{BufReader, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use sessiond::admin::{Admin, Running};
use sessiond::config::Config;
use sessiond::registry::{BackendConnection, Passed, Registry, Session, SessionState};

use super::Document;
use super::http::{Answer, connect};

pub struct Library {
    pub registry: Arc<Registry>,
    pub address: SocketAddr,
    running: Option<Running>,
}

/// Two services with a server each, and two listeners.
const CONFIG: &str = "[maxscale]\nadmin_port=0\n\
    [db1]\ntype=server\naddress=192.0.2.1\nport=3306\n\
    [db2]\ntype=server\naddress=192.0.2.2\nport=3307\nrank=secondary\n\
    [Write]\ntype=service\nservers=db1\n\
    [Read]\ntype=service\nservers=db1,db2\nconnect_timeout=3s\n\
    [Write-Listener]\ntype=listener\nservice=Write\naddress=127.0.0.1\nport=4006\n\
    [Read-Listener]\ntype=listener\nservice=Read\nprotocol=PostgreSQLClient\nport=4008\n";

impl Library {
    pub fn start() -> Self {
        let config = Config::parse("test", CONFIG.as_bytes()).unwrap();
        let registry = Arc::new(Registry::new(&config, SystemTime::now()));
        let admin = Admin::bind(&config.admin, Arc::clone(&registry)).unwrap();
        let address = admin.address();
        Self {
            registry,
            address,
            running: Some(admin.start().unwrap()),
        }
    }

    /// With that many clients of the first service, from one address.
    pub fn with_sessions(count: usize) -> Self {
        let library = Self::start();
        for _ in 0..count {
            library.open(0, Some("192.0.2.7:4711"), Duration::ZERO);
        }
        library
    }

    /// Opens the session of a client that came some time ago, on a listener by its number.
    pub fn open(&self, listener: usize, remote: Option<&str>, ago: Duration) -> Arc<Session> {
        let remote = remote.map(|remote| remote.parse().unwrap());
        let topology = self.registry.topology();
        let connected = SystemTime::now() - ago;
        self.registry.sessions.open_client(
            &topology.listeners[listener],
            remote,
            connected,
            Instant::now().checked_sub(ago).unwrap(),
        )
    }

    /// Gives a session a server by its number, and bytes that have just passed.
    pub fn connect(&self, session: &Session, server: usize, bytes: u64) {
        let topology = self.registry.topology();
        let server = &topology.servers[server];
        let address = SocketAddr::new("192.0.2.1".parse().unwrap(), server.parameters.port);
        let connection = BackendConnection {
            server: Arc::clone(server),
            address,
            local_port: 40_000,
            connection_id: None,
        };
        session.add_connection(connection, SystemTime::now());
        session.set_state(SessionState::Ready, SystemTime::now());
        let passed = Passed {
            from_client: bytes,
            to_client: 2 * bytes,
            operations: 4,
        };
        session.count(server, passed, Instant::now());
    }

    /// Sends a request as it stands, but for what must be encoded in a target.
    pub fn request(&self, method: &str, target: &str, fields: &str) -> Answer {
        let target = target.replace(' ', "%20");
        let mut stream = BufReader::new(connect(self.address));
        write!(
            stream.get_mut(),
            "{method} {target} HTTP/1.1\r\nHost: localhost:8989\r\n{fields}\r\n"
        )
        .unwrap();
        Answer::read(&mut stream, method == "HEAD")
    }

    pub fn get(&self, target: &str) -> Document {
        let answer = self.request("GET", target, "");
        assert_eq!(answer.status, 200, "{target}: {}", answer.body);
        answer.document()
    }

    /// The ids of a list.
    pub fn ids(&self, target: &str) -> Vec<String> {
        self.get(target)
            .elements("/data")
            .iter()
            .map(|row| row.text("/id"))
            .collect()
    }

    pub fn stop(mut self) {
        self.running.take().unwrap().stop();
    }
}
