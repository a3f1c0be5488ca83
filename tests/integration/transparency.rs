//! Whatever the observers make of what passes, it arrives as it was sent.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::SystemTime;

use sessiond::protocol::PROBE_USER;
use sessiond::protocol::Side;

use super::support::daemon::one_service;
use super::support::handshake::{Conversation, conversation};
use super::support::http::connect;
use super::support::random::Random;
use super::support::relay::Running;
use super::support::{PATIENCE, until};

/// How many conversations each protocol has.
const CONVERSATIONS: usize = 1500;

/// A server that says what it is told to, and tells what it has heard.
struct Listening {
    says: Arc<Mutex<Vec<u8>>>,
    heard: Receiver<Vec<u8>>,
}

fn listen(listener: TcpListener) -> Listening {
    let says = Arc::new(Mutex::new(Vec::new()));
    let (sender, heard) = channel();
    let said = Arc::clone(&says);
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let (says, sender) = (said.lock().unwrap().clone(), sender.clone());
            thread::spawn(move || serve(stream, &says, &sender));
        }
    });
    Listening { says, heard }
}

fn serve(mut stream: TcpStream, says: &[u8], heard: &Sender<Vec<u8>>) {
    let mut bytes = Vec::new();
    // A probe leaves before it has heard all of it, and has nothing to say.
    // A server of a database that ends its stream has ended the session.
    let served = stream
        .write_all(says)
        .and_then(|()| stream.read_to_end(&mut bytes));
    if served.is_ok() && !bytes.is_empty() {
        // The test may be over.
        let _ = heard.send(bytes);
    }
}

/// Pieces that a reader of packets or messages may take for something.
const PIECES: [&[u8]; 6] = [
    b"\0",
    b"\x01\0\0\0\x11",
    b"\x07\0\0\x02\0\0\0\x02\0\0\0",
    b"\0\0\0\x08\x04\xd2\x16\x2f",
    b"R\0\0\0\x08\0\0\0\0",
    b"Z\0\0\0\x05I",
];

/// All that one side says.
fn said(conversation: &Conversation, by: Side) -> Vec<u8> {
    let of_side = conversation.iter().filter(|(side, _)| *side == by);
    of_side.flat_map(|(_, bytes)| bytes.clone()).collect()
}

/// What one side says at first.
fn first_said(conversation: &Conversation, by: Side) -> &[u8] {
    let first = conversation.iter().find(|(side, _)| *side == by);
    first.map_or(&[], |(_, bytes)| bytes)
}

/// Says this in two parts, and returns what is heard.
fn speak(to: SocketAddr, bytes: &[u8], cut: usize) -> io::Result<Vec<u8>> {
    let mut client = connect(to);
    client.write_all(&bytes[..cut])?;
    client.write_all(&bytes[cut..])?;
    client.shutdown(Shutdown::Write)?;
    let mut heard = Vec::new();
    client.read_to_end(&mut heard)?;
    Ok(heard)
}

/// Has conversations that begin as these do and go wrong, through a relay for a protocol.
fn converse(protocol: &str, seeds: &[&str], seed: u64) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let config = one_service(listener.local_addr().unwrap());
    let running = Running::start(&config.replace("protocol=TCP", &format!("protocol={protocol}")));
    let server = listen(listener);
    let seeds: Vec<Conversation> = seeds.iter().map(|text| conversation(text)).collect();
    let mut random = Random::new(seed);
    for number in 0..CONVERSATIONS {
        let seed = &seeds[random.below(seeds.len())];
        let (mut from_client, mut from_server) =
            (said(seed, Side::Client), said(seed, Side::Server));
        // A server's first word is awaited until it is whole.
        let first_word = first_said(seed, Side::Server);
        let mut more = from_server.split_off(first_word.len());
        for _ in 0..random.below(4) {
            random.mutate(&mut from_client, &PIECES, 20_000);
            random.mutate(&mut more, &PIECES, 20_000);
        }
        from_server.extend(more);
        from_client.push(b'.');
        server.says.lock().unwrap().clone_from(&from_server);
        // A probe may think little of what it is told; then the client is turned away, and tries again.
        let heard = until("a conversation", || {
            running.registry.topology().servers[0].set_up(SystemTime::now());
            let heard = speak(
                running.address,
                &from_client,
                random.below(from_client.len()),
            );
            let is_turned_away = match &heard {
                Ok(heard) => heard.ends_with(b"No server of service service is available"),
                Err(_) => true,
            };
            (!is_turned_away).then_some(heard)
        });
        assert!(
            heard.unwrap() == from_server,
            "{protocol} {number}: to the client"
        );
        let heard = until("what the server has heard", || {
            let heard = server.heard.recv_timeout(PATIENCE).unwrap();
            let by_probe = |part: &[u8]| part == PROBE_USER.as_bytes();
            (!heard.windows(PROBE_USER.len()).any(by_probe)).then_some(heard)
        });
        assert!(heard == from_client, "{protocol} {number}: to the server");
    }
    running.stop();
}

#[test]
fn conversations_of_mariadb_that_go_wrong_arrive_as_they_were_sent() {
    converse(
        "MariaDBClient",
        &[
            include_str!("../handshakes/mariadb-native.txt"),
            include_str!("../handshakes/mariadb-ed25519.txt"),
            include_str!("../handshakes/mariadb-change.txt"),
            include_str!("../handshakes/mariadb-tls.txt"),
        ],
        1,
    );
}

#[test]
fn conversations_of_postgresql_that_go_wrong_arrive_as_they_were_sent() {
    converse(
        "PostgreSQLClient",
        &[
            include_str!("../handshakes/postgresql-scram.txt"),
            include_str!("../handshakes/postgresql-tls.txt"),
            include_str!("../handshakes/postgresql-encryption-declined.txt"),
        ],
        2,
    );
}
