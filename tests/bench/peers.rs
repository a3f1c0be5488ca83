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

/// What is to be written of each server, by its number and its address.
fn each(servers: &[SocketAddr], write: impl Fn(usize, &SocketAddr) -> String) -> String {
    let servers = servers.iter().enumerate();
    servers
        .map(|(number, server)| write(number, server))
        .collect()
}

/// Where a proxy listens: before several servers, on all addresses of loopback,
/// for which the system has no word but all addresses.
fn host(servers: &[SocketAddr]) -> &'static str {
    if servers.len() > 1 {
        "0.0.0.0"
    } else {
        "127.0.0.1"
    }
}

fn configuration(servers: &[SocketAddr], listener: SocketAddr, admin: SocketAddr) -> String {
    let sections = each(servers, |number, server| {
        let (address, port) = (server.ip(), server.port());
        format!("[server{number}]\ntype=server\naddress={address}\nport={port}\n")
    });
    let names = each(servers, |number, _| {
        let comma = if number > 0 { "," } else { "" };
        format!("{comma}server{number}")
    });
    format!(
        "[maxscale]\nadmin_port={}\n{sections}[service]\ntype=service\nservers={names}\n\
         [listener]\ntype=listener\nservice=service\nprotocol=TCP\naddress={}\nport={}\n",
        admin.port(),
        host(servers),
        listener.port()
    )
}

/// This program before a server.
pub fn sessiond(server: SocketAddr, alone: bool) -> Peer {
    start(program(), &[], &[server], alone)
}

/// This program before servers.
pub fn sessiond_before(servers: &[SocketAddr], alone: bool) -> Peer {
    start(program(), &[], servers, alone)
}

pub fn start_sessiond(program: &str, server: SocketAddr, alone: bool) -> Peer {
    start(program, &[], &[server], alone)
}

/// This program before a server, started by another one with arguments of its own.
pub fn start_under(program: &str, arguments: &[&str], server: SocketAddr) -> Peer {
    start(program, arguments, &[server], false)
}

fn start(program: &str, arguments: &[&str], servers: &[SocketAddr], alone: bool) -> Peer {
    let (address, admin) = (free_port(), free_port());
    let path = scratch("sessiond.cnf");
    fs::write(&path, configuration(servers, address, admin)).unwrap();
    let arguments = [arguments, &["--config", path.to_str().unwrap()]].concat();
    let child = Child::start(program, &arguments, alone);
    listens(admin);
    Peer {
        child,
        address,
        admin,
    }
}

/// HAProxy in TCP mode with one thread, before a server.
pub fn haproxy(server: SocketAddr, splice: Splice, alone: bool) -> Peer {
    haproxy_before(&[server], splice, alone)
}

/// The same, before servers.
pub fn haproxy_before(servers: &[SocketAddr], splice: Splice, alone: bool) -> Peer {
    let address = free_port();
    let splice = match splice {
        Splice::Auto => "option splice-auto",
        Splice::Both => "option splice-request\n option splice-response",
    };
    let text = format!(
        "global\n nbthread 1\n maxconn 4000\n maxpipes 1000\ndefaults\n mode tcp\n {splice}\n timeout connect 10s\n \
         timeout client 1h\n timeout server 1h\nlisten l\n bind {}:{} backlog 4096\n{}",
        host(servers),
        address.port(),
        each(servers, |number, server| format!(
            " server s{number} {server}\n"
        ))
    );
    let path = scratch("haproxy.cfg");
    fs::write(&path, text).unwrap();
    // Without `-W` there is one process.
    let child = Child::start("haproxy", &["-db", "-f", path.to_str().unwrap()], alone);
    listens(address);
    Peer {
        child,
        address,
        admin: address,
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
