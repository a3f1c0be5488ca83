//! The program under test, on free ports.

use std::collections::HashMap;
use std::io::{BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Command;

use super::http::{self, Answer, connect};
use super::process::Process;
use super::{Directory, Document, PATIENCE, at_last, until};

pub struct Daemon {
    pub process: Process,
    admin: SocketAddr,
    listeners: HashMap<String, SocketAddr>,
    directory: Directory,
}

/// Stands for the path of the unix socket in a configuration.
const SOCKET: &str = "SOCKET";

fn write_configuration(directory: &Directory, maxscale: &str, sections: &str) -> PathBuf {
    let socket = directory.path().join("admin.sock");
    let maxscale = maxscale.replace(SOCKET, &socket.to_string_lossy());
    let text = format!("[maxscale]\nadmin_port=0\n{maxscale}{sections}");
    directory.file("sessiond.cnf", text)
}

/// Where the program is: what cargo has built, or what `SESSIOND_PROGRAM` names,
/// as `make test-static` does.
pub fn program_path() -> PathBuf {
    let other = std::env::var_os("SESSIOND_PROGRAM");
    other.map_or_else(|| env!("CARGO_BIN_EXE_sessiond").into(), PathBuf::from)
}

/// The program, not yet started.
pub fn program() -> Command {
    let mut command = Command::new(program_path());
    leave_systemd_out(&mut command);
    command
}

/// The program, to be started with sockets that listen already; `launch.py` says
/// how they are written.
pub fn program_with_sockets<'a>(sockets: impl IntoIterator<Item = &'a str>) -> Command {
    let mut command = Command::new("python3");
    leave_systemd_out(&mut command);
    command
        .args(["-c", include_str!("launch.py")])
        .args(sockets)
        .arg("--")
        .arg(program_path());
    command
}

/// Whoever starts the tests may run under systemd.
fn leave_systemd_out(command: &mut Command) {
    for name in [
        "RUNTIME_DIRECTORY",
        "NOTIFY_SOCKET",
        "WATCHDOG_USEC",
        "WATCHDOG_PID",
        "LISTEN_PID",
        "LISTEN_FDS",
        "LISTEN_FDNAMES",
    ] {
        command.env_remove(name);
    }
}

impl Daemon {
    /// Starts it on a configuration, of which the `[maxscale]` section is made here.
    pub fn start(sections: &str) -> Self {
        Self::start_with("", sections, program())
    }

    /// Starts it with a unix socket for [`Self::act`], and more for the
    /// `[maxscale]` section.
    pub fn start_controlled(maxscale: &str, sections: &str) -> Self {
        let controlled = format!("admin_socket={SOCKET}\n{maxscale}");
        Self::start_with(&controlled, sections, program())
    }

    /// Starts it with a limit of descriptors.
    pub fn start_limited(sections: &str, descriptors: usize) -> Self {
        let mut command = Command::new("sh");
        let script = format!("ulimit -n {descriptors} && exec \"$0\" \"$@\"");
        command.args(["-c", &script]).arg(program_path());
        Self::start_with("", sections, command)
    }

    /// Starts it by a command, which gets `--config` and the file besides.
    pub fn start_with(maxscale: &str, sections: &str, command: Command) -> Self {
        Self::start_in(Directory::new(), maxscale, sections, command)
    }

    /// Starts it in a directory that is there already.
    pub fn start_in(
        directory: Directory,
        maxscale: &str,
        sections: &str,
        mut command: Command,
    ) -> Self {
        let path = write_configuration(&directory, maxscale, sections);
        let process = Process::start(
            command
                .arg("--config")
                .arg(path)
                .env("TMPDIR", directory.path()),
        );
        let mut listeners = HashMap::new();
        let admin = process.line("the admin server's address", |line| {
            let (who, place) = line.split_once(": listening on ")?;
            if let Some((_, name)) = who.split_once("listener ") {
                // A unix socket has no address to keep.
                if let Ok(address) = place.parse() {
                    listeners.insert(name.to_owned(), address);
                }
                return None;
            }
            // The admin server's unix socket has a line, too.
            place.parse().ok()
        });
        Self {
            process,
            admin,
            listeners,
            directory,
        }
    }

    /// One whose only client waits for its server, which does not answer, and the
    /// client's session. The probes find that out within two seconds, which may be
    /// before the client comes.
    pub fn with_client_on_its_way(start: impl Fn() -> Self) -> (Self, TcpStream, String) {
        at_last(|| {
            let daemon = start();
            let client = connect(daemon.listener("listener"));
            let session = until("the client's session", || {
                let all = daemon.get("/v1/sessions?state=any").elements("/data");
                all.into_iter()
                    .find(|session| session.has("/attributes/protocol"))
            });
            let waits = session.text("/attributes/state") == "Session Allocated";
            waits.then(|| (daemon, client, session.text("/id")))
        })
    }

    /// Has it read another configuration, and returns whether that holds.
    pub fn reload(&self, maxscale: &str, sections: &str) -> bool {
        self.configure(maxscale, sections);
        self.reload_as_it_stands()
    }

    /// Writes another configuration, which it does not read before it is told to.
    pub fn configure(&self, maxscale: &str, sections: &str) {
        let controlled = format!("admin_socket={SOCKET}\n{maxscale}");
        write_configuration(&self.directory, &controlled, sections);
    }

    /// Has it read its configuration again, and returns whether that holds.
    pub fn reload_as_it_stands(&self) -> bool {
        self.process.signal("HUP");
        self.process.line("the end of a reload", |line| match line {
            line if line.contains("the configuration is read again") => Some(true),
            line if line.contains("the configuration stays as it was") => Some(false),
            _ => None,
        })
    }

    /// Where its files are.
    pub fn directory(&self) -> &Directory {
        &self.directory
    }

    /// Asks over the unix socket, where everything is allowed.
    pub fn act(&self, method: &str, target: &str) -> Answer {
        self.act_with(method, target, "")
    }

    /// The same, with header fields.
    pub fn act_with(&self, method: &str, target: &str, fields: &str) -> Answer {
        let path = self.directory.path().join("admin.sock");
        let stream = UnixStream::connect(path).unwrap();
        stream.set_read_timeout(Some(2 * PATIENCE)).unwrap();
        let mut stream = BufReader::new(stream);
        write!(
            stream.get_mut(),
            "{method} {target} HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n"
        )
        .unwrap();
        Answer::read(&mut stream, method == "HEAD")
    }

    /// Does something that must be possible. What the relay has not begun within
    /// two seconds is withdrawn, and asked for again here.
    pub fn done(&self, method: &str, target: &str) {
        let answer = until(&format!("the relay to answer {method} {target}"), || {
            Some(self.act(method, target)).filter(|answer| answer.status != 503)
        });
        assert_eq!(answer.status, 204, "{method} {target}: {answer:?}");
    }

    /// The admin server's address.
    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// A listener's address.
    pub fn listener(&self, name: &str) -> SocketAddr {
        let address = self.listeners[name];
        match address {
            SocketAddr::V6(v6) if v6.ip().is_unspecified() => {
                SocketAddr::new("127.0.0.1".parse().unwrap(), v6.port())
            }
            _ => address,
        }
    }

    pub fn request(&self, method: &str, target: &str) -> Answer {
        http::request(self.admin, method, target, "")
    }

    /// What GET answers, which must be 200.
    pub fn get(&self, target: &str) -> Document {
        let answer = self.request("GET", target);
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.document()
    }

    /// The client sessions that are listed.
    pub fn client_sessions(&self) -> Vec<Document> {
        let all = self.get("/v1/sessions").elements("/data");
        all.into_iter()
            .filter(|session| session.has("/attributes/protocol"))
            .collect()
    }

    /// Waits until that many client sessions are listed, and returns them.
    pub fn client_sessions_until(&self, count: usize) -> Vec<Document> {
        until(&format!("{count} client sessions"), || {
            Some(self.client_sessions()).filter(|list| list.len() == count)
        })
    }

    /// The ports of its connections to servers.
    pub fn local_ports(&self) -> Vec<u16> {
        let sessions = self.client_sessions().into_iter();
        let connections = sessions.flat_map(|session| session.elements("/attributes/connections"));
        connections
            .map(|connection| u16::try_from(connection.integer("/local_port")).unwrap())
            .collect()
    }

    /// Waits until a session looks as it should.
    pub fn session_until(
        &self,
        id: &str,
        what: &str,
        looks: impl Fn(&Document) -> bool,
    ) -> Document {
        until(what, || {
            let answer = self.request("GET", &format!("/v1/sessions/{id}"));
            (answer.status == 200)
                .then(|| answer.document())
                .filter(|document| looks(document))
        })
    }

    /// Waits until a session has ended, and returns what the history has of it.
    pub fn ended(&self, id: &str) -> Document {
        self.session_until(id, &format!("the end of session {id}"), |session| {
            session.text("/data/attributes/state") == "Freed session"
        })
    }

    /// Waits until a session has ended for a reason.
    pub fn ended_as(&self, id: &str, reason: &str) {
        assert_eq!(self.ended(id).text("/data/attributes/close_reason"), reason);
    }
}

impl Daemon {
    /// How many descriptors it has open when it has answered once and nobody is connected.
    pub fn descriptors_at_rest(&self) -> usize {
        // Its inner connection is made by the first request at the latest.
        self.get("/v1");
        let one_is_leaving = self.process.descriptors();
        until("the end of an admin connection", || {
            let sockets =
                std::fs::read_to_string(format!("/proc/{}/net/tcp", self.process.id())).unwrap();
            let port = format!(":{:04X} ", self.admin.port());
            // Established (01) or closed by the client alone (08), as seen from the admin port.
            let open = sockets.lines().filter(|line| {
                let mut words = line.split_whitespace().skip(1);
                let local = words.next().map(|local| format!("{local} "));
                local.is_some_and(|local| local.ends_with(&port))
                    && matches!(words.nth(1), Some("01" | "08"))
            });
            (open.count() == 0).then(|| self.process.descriptors().min(one_is_leaving))
        })
    }

    /// Waits until it has no more descriptors open than that.
    pub fn until_descriptors(&self, most: usize) {
        until(&format!("{most} descriptors"), || {
            (self.process.descriptors() <= most).then_some(())
        });
    }
}

/// One server, one service, one listener on a free port, all called by their kind.
pub fn one_service(server: SocketAddr) -> String {
    format!(
        "[server]\ntype=server\naddress={}\nport={}\n\
         [service]\ntype=service\nservers=server\n\
         [listener]\ntype=listener\nservice=service\nprotocol=TCP\naddress=127.0.0.1\nport=0\n",
        server.ip(),
        server.port()
    )
}
