//! A relay for one connection that shows an observer all bytes before it passes them on, so
//! that what answers to them is shown after them.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use sessiond::protocol::{Fact, Observer, Side};

use super::until;

pub struct Tap {
    address: SocketAddr,
    seen: Arc<Mutex<Seen>>,
}

struct Seen {
    observer: Observer,
    facts: Vec<Fact>,
}

impl Tap {
    /// Listens for one client of this server.
    pub fn between(server: SocketAddr, observer: Observer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let facts = Vec::new();
        let seen = Arc::new(Mutex::new(Seen { observer, facts }));
        let shared = Arc::clone(&seen);
        thread::spawn(move || {
            let (client, _) = listener.accept().unwrap();
            let server = TcpStream::connect(server).unwrap();
            let (from_client, from_server) = (client.try_clone(), server.try_clone());
            let up = Arc::clone(&shared);
            thread::spawn(move || pass(from_client.unwrap(), server, Side::Client, &up));
            pass(from_server.unwrap(), client, Side::Server, &shared);
        });
        Self { address, seen }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The facts so far.
    fn facts(&self) -> Vec<Fact> {
        self.seen.lock().unwrap().facts.clone()
    }

    /// All facts of a session that its client ends.
    pub fn facts_at_the_end(&self) -> Vec<Fact> {
        self.wait("the end of the session", |fact| {
            (*fact == Fact::Quit).then_some(())
        });
        self.facts()
    }

    /// Waits for a fact.
    pub fn wait<T>(&self, what: &str, wanted: impl Fn(&Fact) -> Option<T>) -> T {
        until(what, || self.facts().iter().find_map(&wanted))
    }
}

fn pass(mut source: TcpStream, mut sink: TcpStream, side: Side, seen: &Mutex<Seen>) {
    let mut room = [0; 16 * 1024];
    while let Ok(length @ 1..) = source.read(&mut room) {
        let bytes = &room[..length];
        let mut guard = seen.lock().unwrap();
        let Seen { observer, facts } = &mut *guard;
        let unseen = observer.blind(side).min(length);
        observer.skip(side, unseen);
        observer.observe(side, &bytes[unseen..], facts);
        drop(guard);
        if sink.write_all(bytes).is_err() {
            break;
        }
    }
    // The other side may be gone.
    let _ = sink.shutdown(Shutdown::Write);
}
