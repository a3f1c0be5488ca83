//! Behind the crowd: clients that pause for longer than a server's kernel remembers
//! a connection that it has closed, a server that restarts again and again, and
//! logins that fail. No byte may be missing, and each end must have its name.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Stdio;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::Duration;

use rustix::net::sockopt;

use super::{Flag, pause};
use crate::support::http::connect;
use crate::support::mariadb::client;
use crate::support::prometheus::Metrics;
use crate::support::server::tcp_socket;
use crate::support::{Daemon, PATIENCE, until};

/// How many clients pause at a time.
const PAUSING: usize = 20;

/// Longer than the kernel remembers a connection that its program has closed
/// (60 s, tcp(7), `tcp_fin_timeout`), with the keep-alive question behind it.
pub const PAUSE: Duration = Duration::from_secs(80);

/// How much each of them is sent: more than the sockets on the way hold.
const BYTES: usize = 8 * 1024 * 1024;

/// How long the server that restarts is there, and then is not.
const UP: Duration = Duration::from_millis(700);

fn pattern() -> Vec<u8> {
    (0..=250).cycle().take(BYTES).collect()
}

/// A server that sends everything at once and closes in order.
pub fn sending_server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            // A probe does not stay for it.
            thread::spawn(move || stream.write_all(&pattern()));
        }
    });
    address
}

fn pausing_client(address: SocketAddr, time: Duration) {
    let socket = tcp_socket();
    sockopt::set_socket_recv_buffer_size(&socket, 64 * 1024).unwrap();
    rustix::net::connect(&socket, &address).unwrap();
    let mut stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    pause(time);
    let mut received = Vec::new();
    stream.read_to_end(&mut received).unwrap();
    assert_eq!(received.len(), BYTES);
    assert!(received == pattern());
}

/// Comes and goes at its address, and takes its connections with it.
fn restarting_server(address: SocketAddr, over: &AtomicBool) {
    while !over.load(Relaxed) {
        let listener = TcpListener::bind(address).unwrap();
        listener.set_nonblocking(true).unwrap();
        let end = std::time::Instant::now() + UP;
        let mut held = Vec::new();
        while std::time::Instant::now() < end {
            held.extend(listener.accept().map(|(stream, _)| stream));
            pause(Duration::from_millis(1));
        }
        drop((held, listener));
        pause(UP);
    }
}

/// A client of it: refused, cut off or waiting, but never stuck.
fn client_of_the_restarting(address: SocketAddr, over: &AtomicBool) {
    while !over.load(Relaxed) {
        let mut stream = connect(address);
        // The server says nothing: the answer is an end, in order or not.
        let _ = stream.write_all(b"x");
        let heard = stream.read(&mut [0]);
        assert!(
            !matches!(&heard, Err(error) if error.kind() == std::io::ErrorKind::WouldBlock),
            "{heard:?}"
        );
    }
}

/// Logins that the database refuses, one after the other. How many.
fn failing_logins(address: SocketAddr, over: &AtomicBool) -> u64 {
    let mut count = 0;
    while !over.load(Relaxed) {
        let output = client(address)
            .args(["--skip-ssl", "--user=stranger", "--password=wrong"])
            .args(["-e", "SELECT 1"])
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains("Access denied"), "{said}");
        count += 1;
        pause(Duration::from_millis(50));
    }
    count
}

/// All of it at once, for as long as the clients pause.
pub fn run(daemon: &Daemon, restarting: SocketAddr, time: Duration) {
    let listener = |name: &str| daemon.listener(&format!("{name}-listener"));
    let refused = "sessiond_sessions_closed_total{service=\"bank\",reason=\"login_refused\"}";
    let before = Metrics::of(daemon).number(refused);
    let over = AtomicBool::new(false);
    let failed = thread::scope(|scope| {
        let over = &over;
        let _end = Flag(over);
        let failing = scope.spawn(move || failing_logins(listener("bank"), over));
        scope.spawn(move || restarting_server(restarting, over));
        for _ in 0..4 {
            scope.spawn(move || client_of_the_restarting(listener("restarting"), over));
        }
        let pausing: Vec<_> = (0..PAUSING)
            .map(|_| scope.spawn(move || pausing_client(listener("sending"), time)))
            .collect();
        for client in pausing {
            client.join().unwrap();
        }
        over.store(true, Relaxed);
        failing.join().unwrap()
    });
    until("the end of the refused logins", || {
        (Metrics::of(daemon).number(refused) == before + failed).then_some(())
    });
    println!("{PAUSING} clients paused for {time:?}; {failed} logins were refused");
}
