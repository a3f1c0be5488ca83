//! Long answers, each sent by a thread of its own, so that the loop never
//! waits for a reader; and the threads of answers that wait for something.

use std::io::Write;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::{AcqRel, Relaxed};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use super::client::Client;
use super::reply::{Framing, Piece, Pieces};
use super::transport::{Transport, kept_for_unix_socket};
use crate::jsonapi::{Meter, Stopped};
use crate::lock::lock;
use crate::thread::start_thread;

/// How many threads there may be for one purpose. Clients of the unix socket have some
/// that those of TCP cannot take.
#[derive(Clone, Debug)]
pub(super) struct Places {
    count: Arc<AtomicUsize>,
    limit_of_tcp: usize,
}

/// The right to one of the threads.
pub(super) struct Place {
    count: Arc<AtomicUsize>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.count.fetch_sub(1, AcqRel);
    }
}

impl Places {
    /// So many for clients of TCP, and some more for those of the unix socket, all free.
    pub(super) fn new(limit_of_tcp: usize) -> Self {
        Self {
            count: Arc::default(),
            limit_of_tcp,
        }
    }

    /// A place for one more, where there is one.
    pub(super) fn place(&self, transport: Transport) -> Option<Place> {
        let limit = match transport {
            Transport::Tcp => self.limit_of_tcp,
            Transport::UnixSocket => self.limit_of_tcp + kept_for_unix_socket(self.limit_of_tcp),
        };
        let more = |count| (count < limit).then_some(count + 1);
        self.count.fetch_update(AcqRel, Relaxed, more).ok()?;
        Some(Place {
            count: Arc::clone(&self.count),
        })
    }
}

/// The threads of the server: those that send long answers, of which there are
/// so many places, and those that find out what to answer.
#[derive(Clone)]
pub(super) struct Threads {
    pub(super) streams: Places,
    deferred: Arc<Deferred>,
}

#[derive(Default)]
struct Deferred {
    count: Mutex<usize>,
    ended: Condvar,
}

/// A thread that finds out what to answer, until it is dropped.
pub(super) struct Deferral {
    deferred: Arc<Deferred>,
}

impl Drop for Deferral {
    fn drop(&mut self) {
        *lock(&self.deferred.count) -= 1;
        self.deferred.ended.notify_all();
    }
}

impl Threads {
    /// None yet, with so many places for long answers to clients of TCP.
    pub(super) fn new(streams: usize) -> Self {
        Self {
            streams: Places::new(streams),
            deferred: Arc::default(),
        }
    }

    /// There is one more that finds out what to answer.
    pub(super) fn deferral(&self) -> Deferral {
        *lock(&self.deferred.count) += 1;
        Deferral {
            deferred: Arc::clone(&self.deferred),
        }
    }

    /// Waits until all have answered that find out what to answer, but not longer than that.
    pub(super) fn wait_for_deferred(&self, limit: Duration) {
        let count = lock(&self.deferred.count);
        let ended = &self.deferred.ended;
        // Whoever is left then is cut off.
        let _ = ended.wait_timeout_while(count, limit, |count| *count > 0);
    }
}

/// What a thread with much to do gives way to others by, as nice(1) has it.
const NICE: i32 = 10;

/// The same, where it works for the unix socket: it gives way to the relay, and not to
/// those that work for TCP.
const NICE_OF_UNIX_SOCKET: i32 = 5;

/// Has this thread give way to others: what takes long must not delay the
/// relay, where processors are few.
pub(super) fn stand_back(transport: Transport) {
    let nice = match transport {
        Transport::Tcp => NICE,
        Transport::UnixSocket => NICE_OF_UNIX_SOCKET,
    };
    // On Linux this is about the thread that asks. Where it cannot be, all goes on.
    let _ = rustix::process::setpriority_process(None, nice);
}

/// A long answer, from its head on.
pub(super) struct Stream {
    pub(super) head: String,
    pub(super) begin: Vec<u8>,
    pub(super) rest: Pieces,
    pub(super) framing: Framing,
}

impl Stream {
    /// Sends it to a client on a thread of its own. Where there can be no thread
    /// the client is cut off, since its answer can be neither given nor refused
    /// any more.
    pub(super) fn start(self, client: Arc<Client>, place: Place) {
        let transport = client.peer.transport();
        let ending = Ending::new(client, place);
        let send = move || {
            stand_back(transport);
            self.send(ending);
        };
        if let Err(cause) = start_thread("stream", send) {
            log::error!("cannot start a thread for a long answer: {cause}");
        }
    }

    /// Sends it on this thread, as long as the client waits for it.
    pub(super) fn send(mut self, mut ending: Ending) {
        let mut bytes = std::mem::take(&mut self.head).into_bytes();
        let begin = std::mem::take(&mut self.begin);
        self.frame(&mut bytes, &begin);
        let client = Arc::clone(&ending.client);
        let goes_on = || {
            // It must not keep its processor from others, also while there is no piece.
            thread::yield_now();
            !client.is_gone()
        };
        loop {
            // An end that comes early shows that something is missing: the client is cut off.
            if ending.client.stream(&bytes).is_err() {
                return;
            }
            bytes.clear();
            // However low its priority is, a thread keeps its processor for some
            // milliseconds, and the relay may wait for it.
            thread::yield_now();
            match (self.rest)(&mut Meter::slices(&goes_on)) {
                Err(Stopped) => return,
                Ok(Piece::More(piece)) => self.frame(&mut bytes, &piece),
                Ok(Piece::Last(piece)) => {
                    self.frame(&mut bytes, &piece);
                    if self.framing == Framing::Chunks {
                        bytes.extend_from_slice(b"0\r\n\r\n");
                    }
                    break;
                }
            }
        }
        ending.whole = ending.client.stream(&bytes).is_ok();
    }

    /// Adds a piece as a chunk, or as it is.
    fn frame(&self, bytes: &mut Vec<u8>, piece: &[u8]) {
        // A chunk without anything in it would be the end.
        if piece.is_empty() {
            return;
        }
        match self.framing {
            Framing::Chunks => {
                // Writing to a vector cannot fail.
                let _ = write!(bytes, "{:x}\r\n", piece.len());
                bytes.extend_from_slice(piece);
                bytes.extend_from_slice(b"\r\n");
            }
            Framing::Close => bytes.extend_from_slice(piece),
        }
    }
}

/// Tells the client how its answer ended, once, also after a panic.
pub(super) struct Ending {
    client: Arc<Client>,
    whole: bool,
    place: Option<Place>,
}

impl Ending {
    /// Until the whole answer is sent, it ends early.
    pub(super) fn new(client: Arc<Client>, place: Place) -> Self {
        Self {
            client,
            whole: false,
            place: Some(place),
        }
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        // The place is free before the client knows, who may ask for the next list at once.
        drop(self.place.take());
        self.client.end_stream(self.whole);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_a_place_for_each_of_four_and_again_when_one_leaves() {
        let places = Places::new(4);
        let place = || places.place(Transport::Tcp);
        let mut taken: Vec<Place> = (0..4).map(|_| place().unwrap()).collect();
        assert!(place().is_none());
        taken.pop();
        assert!(place().is_some());
    }

    #[test]
    fn clients_of_the_unix_socket_have_places_that_others_cannot_take() {
        let places = Places::new(4);
        let all_of =
            |transport| -> Vec<Place> { std::iter::from_fn(|| places.place(transport)).collect() };
        let tcp = all_of(Transport::Tcp);
        let unix = all_of(Transport::UnixSocket);
        assert_eq!((tcp.len(), unix.len()), (4, 2));
    }
}
