//! This program and its peers, each started for one measurement.

use std::fs;
use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};

use tiny_http::{Response, Server};

use super::child::{Child, scratch, until};

/// The argument under which this program is a bare tiny_http server.
pub const BARE: &str = "--bare-tiny-http";

/// A measured process, and where it listens.
pub struct Peer {
    pub child: Child,
    pub address: SocketAddr,
    /// Where a proxy listens for each of its servers; the first is its address.
    pub lanes: Vec<SocketAddr>,
    /// The admin server of this program.
    pub admin: SocketAddr,
}

/// How HAProxy may use splice(2).
#[derive(Clone, Copy)]
pub enum Splice {
    Auto,
    Both,
}

/// A port that is free for now.
pub fn free_port() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}

/// Where this program was built: with the C library of the machine, as `make` does it.
pub fn program() -> &'static str {
    env!("CARGO_BIN_EXE_sessiond")
}

/// Where the static one was built; `make bench` sees to that.
pub fn static_program() -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let path = root.join("target/x86_64-unknown-linux-musl/static/sessiond");
    path.exists().then_some(path)
}

/// A port for each server, and what is to be written of the two.
fn lanes(
    servers: &[SocketAddr],
    section: impl Fn(usize, SocketAddr, SocketAddr) -> String,
) -> (Vec<SocketAddr>, String) {
    let lanes: Vec<SocketAddr> = servers.iter().map(|_| free_port()).collect();
    let pairs = lanes.iter().zip(servers).enumerate();
    let text = pairs.map(|(number, (lane, server))| section(number, *lane, *server));
    let text = text.collect();
    (lanes, text)
}

/// This program before servers.
pub fn sessiond(servers: &[SocketAddr], alone: bool) -> Peer {
    start_sessiond(program(), servers, alone)
}

pub fn start_sessiond(program: &str, servers: &[SocketAddr], alone: bool) -> Peer {
    start(program, &[], servers, alone)
}

/// This program before a server, started by another one with arguments of its own.
pub fn start_under(program: &str, arguments: &[&str], server: SocketAddr) -> Peer {
    start(program, arguments, &[server], false)
}

fn start(program: &str, arguments: &[&str], servers: &[SocketAddr], alone: bool) -> Peer {
    let admin = free_port();
    let (lanes, sections) = lanes(servers, |number, lane, server| {
        format!(
            "[server{number}]\ntype=server\naddress=127.0.0.1\nport={}\n\
             [service{number}]\ntype=service\nservers=server{number}\n\
             [listener{number}]\ntype=listener\nservice=service{number}\nprotocol=TCP\n\
             address=127.0.0.1\nport={}\n",
            server.port(),
            lane.port()
        )
    });
    let path = scratch("sessiond.cnf");
    let text = format!("[maxscale]\nadmin_port={}\n{sections}", admin.port());
    fs::write(&path, text).unwrap();
    let arguments = [arguments, &["--config", path.to_str().unwrap()]].concat();
    let child = Child::start(program, &arguments, alone);
    listens(admin);
    Peer {
        child,
        address: lanes[0],
        lanes,
        admin,
    }
}

/// HAProxy in TCP mode with one thread, before servers.
pub fn haproxy(servers: &[SocketAddr], splice: Splice, alone: bool) -> Peer {
    let (lanes, sections) = lanes(servers, |number, lane, server| {
        format!("listen l{number}\n bind {lane} backlog 4096\n server s {server}\n")
    });
    let splice = match splice {
        Splice::Auto => "option splice-auto",
        Splice::Both => "option splice-request\n option splice-response",
    };
    let text = format!(
        "global\n nbthread 1\n maxconn 4000\n maxpipes 1000\ndefaults\n mode tcp\n {splice}\n timeout connect 10s\n \
         timeout client 1h\n timeout server 1h\n{sections}"
    );
    let path = scratch("haproxy.cfg");
    fs::write(&path, text).unwrap();
    // Without `-W` there is one process.
    let child = Child::start("haproxy", &["-db", "-f", path.to_str().unwrap()], alone);
    listens(lanes[0]);
    Peer {
        child,
        address: lanes[0],
        admin: lanes[0],
        lanes,
    }
}

/// nginx with one process, that serves a file under `/body`, and closes each
/// connection or keeps it.
pub fn nginx(body: &str, keeps_alive: bool) -> Peer {
    let address = free_port();
    let directory = scratch("nginx");
    fs::create_dir_all(&directory).unwrap();
    fs::write(directory.join("body"), body).unwrap();
    let (place, timeout) = (directory.display(), if keeps_alive { 60 } else { 0 });
    let text = format!(
        "daemon off;\nmaster_process off;\nworker_processes 1;\npid {place}/pid;\nerror_log /dev/null;\nuser root;\n\
         events {{ worker_connections 1024; }}\nhttp {{ access_log off; sendfile on; tcp_nopush on; keepalive_timeout {timeout};\n\
         keepalive_requests 100000000; default_type application/json;\n\
         client_body_temp_path {place}/t1; proxy_temp_path {place}/t2; fastcgi_temp_path {place}/t3;\n\
         uwsgi_temp_path {place}/t4; scgi_temp_path {place}/t5;\n\
         server {{ listen {address}; root {place}; }} }}\n"
    );
    let path = directory.join("nginx.conf");
    fs::write(&path, text).unwrap();
    let child = Child::start("nginx", &["-c", path.to_str().unwrap()], false);
    listens(address);
    Peer {
        child,
        address,
        lanes: vec![address],
        admin: address,
    }
}

/// A handler of tiny_http that answers everything with one body.
pub fn bare_tiny_http(body: &str) -> Peer {
    let path = scratch("body");
    fs::write(&path, body).unwrap();
    let own = std::env::current_exe().unwrap();
    let arguments = [BARE, path.to_str().unwrap()];
    let mut child = Child::start(own.to_str().unwrap(), &arguments, false);
    let address = child.line().parse().unwrap();
    Peer {
        child,
        address,
        lanes: vec![address],
        admin: address,
    }
}

/// What [`bare_tiny_http`] starts.
pub fn run_bare(body: &str) {
    let body = fs::read(body).unwrap();
    let server = Server::http("127.0.0.1:0").unwrap();
    println!("{}", server.server_addr().to_ip().unwrap());
    std::io::stdout().flush().unwrap();
    for request in server.incoming_requests() {
        let response = Response::from_data(body.clone());
        // Whoever is gone needs no answer.
        let _ = request.respond(response);
    }
}

fn listens(address: SocketAddr) {
    until("a peer that listens", || TcpStream::connect(address).ok());
}
