//! An admin client's socket, between the two threads that use it.
//!
//! The door reads it and keeps its time; a handler writes its answer straight
//! to it. What the socket does not take at once stays here, and the door goes
//! on with it when the socket has room. The door is not woken for an answer
//! that went out whole, unless it said that it waits for that.

use std::collections::HashMap;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use mio::Waker;
use rustix::io::Errno;

use crate::lock::lock;
use crate::socket;

/// Which client: from 0 upwards, never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct ClientNumber(pub(super) u64);

/// All admin clients, for the handlers to find; and the bell that wakes the door.
#[derive(Debug)]
pub(super) struct Clients {
    by_number: Mutex<HashMap<ClientNumber, Arc<Client>>>,
    bell: Arc<Bell>,
}

/// How a handler tells the door that a client needs it.
#[derive(Debug)]
pub(super) struct Bell {
    waker: Waker,
    rung_for: Mutex<Vec<usize>>,
}

impl Bell {
    fn ring(&self, slot: usize) {
        lock(&self.rung_for).push(slot);
        // It fails only where the door is gone already.
        let _ = self.waker.wake();
    }

    /// Wakes the door for no client in particular.
    pub(super) fn wake(&self) {
        let _ = self.waker.wake();
    }

    /// The slots of the clients that it was rung for. A client may have gone
    /// since, and another one have its slot.
    pub(super) fn answered(&self) -> Vec<usize> {
        std::mem::take(&mut lock(&self.rung_for))
    }
}

impl Clients {
    pub(super) fn new(waker: Waker) -> Self {
        let bell = Bell {
            waker,
            rung_for: Mutex::default(),
        };
        Self {
            by_number: Mutex::default(),
            bell: Arc::new(bell),
        }
    }

    pub(super) fn bell(&self) -> Arc<Bell> {
        Arc::clone(&self.bell)
    }

    /// Takes a client in, which the door has at a slot.
    pub(super) fn add(
        &self,
        number: ClientNumber,
        slot: usize,
        socket: OwnedFd,
        now: Instant,
    ) -> Arc<Client> {
        let progress = Progress {
            stage: Stage::Rest,
            keep_alive: true,
            unsent: Vec::new(),
            sent: 0,
            bell_wanted: false,
            last: now,
        };
        let client = Arc::new(Client {
            number,
            slot,
            socket,
            bell: Arc::clone(&self.bell),
            progress: Mutex::new(progress),
        });
        lock(&self.by_number).insert(number, Arc::clone(&client));
        client
    }

    pub(super) fn get(&self, number: ClientNumber) -> Option<Arc<Client>> {
        lock(&self.by_number).get(&number).cloned()
    }

    pub(super) fn remove(&self, number: ClientNumber) {
        lock(&self.by_number).remove(&number);
    }
}

/// One admin client.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) number: ClientNumber,
    slot: usize,
    socket: OwnedFd,
    bell: Arc<Bell>,
    progress: Mutex<Progress>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// All that was asked is answered.
    Rest,
    /// A request is forwarded, and its answer is not yet sent whole.
    Answering,
    /// The socket takes nothing any more.
    Broken,
}

/// How far its current request has come.
#[derive(Debug)]
struct Progress {
    stage: Stage,
    /// Whether another request may follow.
    keep_alive: bool,
    unsent: Vec<u8>,
    sent: usize,
    /// The door waits for the end of the answer.
    bell_wanted: bool,
    /// When it last moved on.
    last: Instant,
}

impl Progress {
    fn standing(&self) -> Standing {
        match self.stage {
            Stage::Broken => Standing::Broken,
            Stage::Rest => Standing::Answered(self.last, self.keep_alive),
            Stage::Answering if self.unsent.is_empty() => Standing::Awaiting,
            Stage::Answering => Standing::Sending(self.last),
        }
    }
}

/// Where a client stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// A handler is at work.
    Awaiting,
    /// The answer is on its way; its last bytes went at this time.
    Sending(Instant),
    /// The answer went out at this time; and whether another request may follow.
    Answered(Instant, bool),
    /// Its socket takes nothing any more.
    Broken,
}

impl Client {
    /// A request of it is going to be answered.
    pub(super) fn begin(&self, keep_alive: bool, now: Instant) {
        let mut progress = lock(&self.progress);
        progress.stage = Stage::Answering;
        progress.keep_alive = keep_alive;
        progress.bell_wanted = !keep_alive;
        progress.last = now;
    }

    /// Whether another request may follow the one that is being answered.
    pub(super) fn keeps_alive(&self) -> bool {
        lock(&self.progress).keep_alive
    }

    /// Sends an answer, as far as the socket takes it now.
    pub(super) fn answer(&self, bytes: Vec<u8>, now: Instant) {
        let mut progress = lock(&self.progress);
        progress.unsent = bytes;
        progress.sent = 0;
        self.send(&mut progress, now);
        if progress.stage != Stage::Answering && progress.bell_wanted {
            self.bell.ring(self.slot);
        }
    }

    /// Goes on with its answer, if there is one to go on with, and says where it stands.
    pub(super) fn resume(&self, now: Instant) -> Standing {
        let mut progress = lock(&self.progress);
        if progress.stage == Stage::Answering {
            self.send(&mut progress, now);
        }
        progress.standing()
    }

    /// Where it stands.
    pub(super) fn standing(&self) -> Standing {
        lock(&self.progress).standing()
    }

    /// Asks for the bell at the end of the current answer. False where that is past.
    pub(super) fn want_bell(&self) -> bool {
        let mut progress = lock(&self.progress);
        progress.bell_wanted = true;
        progress.stage == Stage::Answering
    }

    /// Writes until all is sent or the socket is full.
    fn send(&self, progress: &mut Progress, now: Instant) {
        if progress.unsent.is_empty() {
            return;
        }
        let mut end = Stage::Rest;
        while progress.sent < progress.unsent.len() {
            match socket::write(&self.socket, &progress.unsent[progress.sent..]) {
                Ok(length) => {
                    progress.sent += length;
                    progress.last = now;
                }
                Err(Errno::AGAIN) => return,
                Err(_) => {
                    end = Stage::Broken;
                    break;
                }
            }
        }
        progress.unsent = Vec::new();
        progress.stage = end;
        progress.last = now;
    }
}

impl AsFd for Client {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl AsRawFd for Client {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}
