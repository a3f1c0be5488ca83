//! Whatever the observers make of what passes, it arrives as it was sent.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;

use sessiond::protocol::Side;

use super::support::PATIENCE;
use super::support::daemon::one_service;
use super::support::handshake::{Conversation, conversation};
use super::support::http::connect;
use super::support::random::Random;
use super::support::relay::Running;

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
    let served = stream
        .write_all(says)
        .and_then(|()| stream.shutdown(Shutdown::Write))
        .and_then(|()| stream.read_to_end(&mut bytes));
    if served.is_ok() && !bytes.is_empty() {
        // The test may be over.
        let _ = heard.send(bytes);
    }
}

fn mutate(bytes: &mut Vec<u8>, random: &mut Random) {
    for _ in 0..random.below(4) {
        let at = random.below(bytes.len() + 1);
        match random.below(4) {
            0 if at < bytes.len() => bytes[at] = u8::try_from(random.below(256)).unwrap(),
            1 => bytes.truncate(at),
            2 => {
                let until = bytes.len().min(at + random.below(40));
                let copy = bytes[at..until].to_vec();
                bytes.splice(at..at, copy);
            }
            _ => {
                let filler = vec![u8::try_from(random.below(256)).unwrap(); random.below(20_000)];
                bytes.splice(at..at, filler);
            }
        }
    }
}

/// All that one side says.
fn said(conversation: &Conversation, by: Side) -> Vec<u8> {
    let of_side = conversation.iter().filter(|(side, _)| *side == by);
    of_side.flat_map(|(_, bytes)| bytes.clone()).collect()
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
        mutate(&mut from_client, &mut random);
        mutate(&mut from_server, &mut random);
        from_client.push(b'.');
        server.says.lock().unwrap().clone_from(&from_server);
        // A probe may have thought little of what it was told.
        running.registry.topology.servers[0].set_up(true, std::time::SystemTime::now());
        let mut client = connect(running.address);
        let at = random.below(from_client.len());
        client.write_all(&from_client[..at]).unwrap();
        client.write_all(&from_client[at..]).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let mut heard = Vec::new();
        client.read_to_end(&mut heard).unwrap();
        assert!(heard == from_server, "{protocol} {number}: to the client");
        let heard = server.heard.recv_timeout(PATIENCE).unwrap();
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
            include_str!("../handshakes/postgresql-cancel.txt"),
        ],
        2,
    );
}
