//! An admin client's socket, between the threads that use it.
//!
//! The door reads it and keeps its time; the handler's answer is written
//! straight to it. What the socket does not take at once stays here, and the
//! door goes on with it when the socket has room. A long answer is written by a
//! thread of its own, which waits. The door is not told of an answer that went
//! out whole, unless it said that it waits for that.

use std::collections::HashMap;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use mio::Waker;
use rustix::io::Errno;

use super::access::Peer;
use super::reply::Framing;
use super::statistics::{Method, Statistics};
use crate::lock::lock;
use crate::socket;

/// Which client: from 0 upwards, never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct ClientNumber(pub(super) u64);

/// All admin clients, for the loop to find; and the bell that wakes the door.
#[derive(Debug)]
pub(super) struct Clients {
    by_number: Mutex<HashMap<ClientNumber, Arc<Client>>>,
    bell: Arc<Bell>,
    statistics: Arc<Statistics>,
}

/// How the door is told that a client needs it, by another thread or by its own.
#[derive(Debug)]
pub(super) struct Bell {
    waker: Waker,
    rung: Mutex<Rung>,
}

#[derive(Debug, Default)]
struct Rung {
    /// The slots of the clients.
    slots: Vec<usize>,
    /// The door waits for events, and has to be woken.
    waits: bool,
}

impl Bell {
    fn ring(&self, slot: usize) {
        let mut rung = lock(&self.rung);
        rung.slots.push(slot);
        let waits = rung.waits;
        drop(rung);
        if waits {
            self.wake();
        }
    }

    /// The door is going to wait, and wants to be woken. False where it was rung
    /// for a client meanwhile.
    pub(super) fn listen(&self) -> bool {
        let mut rung = lock(&self.rung);
        rung.waits = rung.slots.is_empty();
        rung.waits
    }

    /// Wakes the door for no client in particular.
    pub(super) fn wake(&self) {
        // It fails only where the door is gone already.
        let _ = self.waker.wake();
    }

    /// The slots of the clients that it was rung for. A client may have gone
    /// since, and another one have its slot.
    pub(super) fn answered(&self) -> Vec<usize> {
        let mut rung = lock(&self.rung);
        rung.waits = false;
        std::mem::take(&mut rung.slots)
    }
}

impl Clients {
    pub(super) fn new(waker: Waker, at_most: usize) -> Self {
        let bell = Bell {
            waker,
            rung: Mutex::default(),
        };
        Self {
            by_number: Mutex::default(),
            bell: Arc::new(bell),
            statistics: Arc::new(Statistics::new(at_most)),
        }
    }

    pub(super) fn bell(&self) -> Arc<Bell> {
        Arc::clone(&self.bell)
    }

    pub(super) fn statistics(&self) -> Arc<Statistics> {
        Arc::clone(&self.statistics)
    }

    /// Takes a client in, which the door has at a slot.
    pub(super) fn add(
        &self,
        number: ClientNumber,
        slot: usize,
        socket: OwnedFd,
        peer: Peer,
        now: Instant,
    ) -> Arc<Client> {
        let progress = Progress {
            stage: Stage::Rest,
            keep_alive: true,
            framing: Framing::Chunks,
            unsent: Vec::new(),
            sent: 0,
            blocked: false,
            bell_wanted: false,
            last: now,
            asked: None,
        };
        let bell = Arc::clone(&self.bell);
        let client = Arc::new(Client {
            number,
            slot,
            peer,
            socket,
            bell,
            statistics: Arc::clone(&self.statistics),
            has_ended: AtomicBool::new(false),
            progress: Mutex::new(progress),
        });
        self.statistics.count_connection();
        lock(&self.by_number).insert(number, Arc::clone(&client));
        client
    }

    pub(super) fn get(&self, number: ClientNumber) -> Option<Arc<Client>> {
        lock(&self.by_number).get(&number).cloned()
    }

    pub(super) fn remove(&self, number: ClientNumber) {
        if lock(&self.by_number).remove(&number).is_some() {
            self.statistics.count_end_of_connection();
        }
    }
}

/// One admin client.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) number: ClientNumber,
    pub(super) peer: Peer,
    slot: usize,
    socket: OwnedFd,
    bell: Arc<Bell>,
    statistics: Arc<Statistics>,
    /// It has ended its stream: it has left, or will ask for nothing more.
    has_ended: AtomicBool,
    progress: Mutex<Progress>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// All that was asked is answered.
    Rest,
    /// A request is forwarded, and its answer is not yet sent whole.
    Answering,
    /// A thread finds out what the answer is to tell.
    Deferred,
    /// A thread waits for something that the answer is to tell of.
    Waiting,
    /// A thread is sending a long answer.
    Streaming,
    /// A thread is sending an answer that has no end.
    Endless,
    /// The socket takes nothing any more.
    Broken,
}

/// How far its current request has come.
#[derive(Debug)]
struct Progress {
    stage: Stage,
    /// Whether another request may follow.
    keep_alive: bool,
    /// How a long answer to it ends.
    framing: Framing,
    unsent: Vec<u8>,
    sent: usize,
    /// The socket has taken nothing of a stream since `last`.
    blocked: bool,
    /// The door waits for the end of the answer.
    bell_wanted: bool,
    /// When it last moved on.
    last: Instant,
    /// When it had been asked whole; `None` where it says nothing how long that is ago.
    asked: Option<Instant>,
}

/// Where a client stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// A handler is at work.
    Awaiting,
    /// The answer is on its way; its last bytes went at this time.
    Sending(Instant),
    /// An answer that may take as long as it likes is on its way, and the
    /// client takes nothing of it since this time.
    Stalled(Instant),
    /// The client waits for something that may take long.
    Patient,
    /// The same; and it has given up when it ends its stream.
    Waiting,
    /// The answer went out at this time; and whether another request may follow.
    Answered(Instant, bool),
    /// Its socket takes nothing any more.
    Broken,
}

/// A client that cannot be sent the rest of its answer.
#[derive(Debug)]
pub(super) struct Gone;

impl Progress {
    fn standing(&self) -> Standing {
        match self.stage {
            Stage::Broken => Standing::Broken,
            Stage::Rest => Standing::Answered(self.last, self.keep_alive),
            Stage::Answering if self.unsent.is_empty() => Standing::Awaiting,
            Stage::Answering | Stage::Streaming => Standing::Sending(self.last),
            Stage::Endless if self.blocked => Standing::Stalled(self.last),
            Stage::Deferred => Standing::Patient,
            Stage::Endless | Stage::Waiting => Standing::Waiting,
        }
    }
}

impl Client {
    /// A request of it is going to be answered.
    pub(super) fn begin(&self, keep_alive: bool, framing: Framing, now: Instant) {
        let mut progress = lock(&self.progress);
        progress.stage = Stage::Answering;
        progress.keep_alive = keep_alive;
        progress.framing = framing;
        progress.bell_wanted = !keep_alive;
        progress.last = now;
        progress.asked = Some(now);
    }

    /// Whether another request may follow the one that is being answered.
    pub(super) fn keeps_alive(&self) -> bool {
        lock(&self.progress).keep_alive
    }

    /// How a long answer ends.
    pub(super) fn framing(&self) -> Framing {
        lock(&self.progress).framing
    }

    /// No request follows the one that is being answered.
    pub(super) fn close_after_answer(&self) {
        let mut progress = lock(&self.progress);
        progress.keep_alive = false;
        progress.bell_wanted = true;
    }

    /// Counts an answer that is about to be sent, and how long it took.
    pub(super) fn count_answer(&self, method: Method, status: u16, now: Instant) {
        let asked = lock(&self.progress).asked.take();
        let took = asked.map(|asked| now.saturating_duration_since(asked));
        self.statistics.count_answer(method, status, took);
    }

    /// How long its answer takes says nothing about this server.
    pub(super) fn stop_clock(&self) {
        lock(&self.progress).asked = None;
    }

    /// Sends an answer, as far as the socket takes it now.
    pub(super) fn answer(&self, bytes: Vec<u8>, now: Instant) {
        let mut progress = lock(&self.progress);
        if progress.stage != Stage::Answering {
            return;
        }
        progress.unsent = bytes;
        progress.sent = 0;
        self.send_unsent(&mut progress, now);
        self.ring_at_end(&progress);
    }

    /// Goes on with its answer, if there is one to go on with, and says where it stands.
    pub(super) fn resume(&self, now: Instant) -> Standing {
        let mut progress = lock(&self.progress);
        if progress.stage == Stage::Answering && !progress.unsent.is_empty() {
            self.send_unsent(&mut progress, now);
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
        !matches!(progress.stage, Stage::Rest | Stage::Broken)
    }

    /// It has ended its stream.
    pub(super) fn note_end(&self) {
        self.has_ended.store(true, Relaxed);
    }

    /// The door has no place for it any more: nothing is sent from now on.
    pub(super) fn give_up(&self) {
        let mut progress = lock(&self.progress);
        if matches!(progress.stage, Stage::Streaming | Stage::Endless) {
            // The thread may be waiting for room in the socket.
            socket::abort(&self.socket);
        }
        progress.stage = Stage::Broken;
        progress.unsent = Vec::new();
    }

    /// A thread finds out what the answer is to tell, or waits for that until the
    /// client gives up. The door gives it all the time that it takes.
    pub(super) fn defer(&self, waits: bool) {
        let mut progress = lock(&self.progress);
        if progress.stage != Stage::Answering {
            return;
        }
        progress.stage = if waits {
            progress.asked = None;
            // The client may have given up already.
            self.bell.ring(self.slot);
            Stage::Waiting
        } else {
            Stage::Deferred
        };
    }

    /// What the answer is to tell is there. False where nobody waits for it any more.
    pub(super) fn end_deferral(&self, now: Instant) -> bool {
        let mut progress = lock(&self.progress);
        if matches!(progress.stage, Stage::Deferred | Stage::Waiting) {
            progress.stage = Stage::Answering;
            progress.last = now;
        }
        progress.stage == Stage::Answering
    }

    /// No answer is found out for it, since it has gone.
    pub(super) fn cut_off(&self) {
        let mut progress = lock(&self.progress);
        progress.stage = Stage::Broken;
        // The door would not look at it for some time.
        progress.bell_wanted = true;
        self.ring_at_end(&progress);
    }

    /// Whether nobody waits for an answer any more: the door has given the client up, or
    /// it has ended its stream and gets nothing for [`END_LIMIT`]. Whether it has left
    /// altogether cannot be told before something is sent.
    pub(super) fn is_gone(&self) -> bool {
        let progress = lock(&self.progress);
        progress.stage == Stage::Broken
            || self.has_ended.load(Relaxed) && progress.last.elapsed() >= END_LIMIT
    }

    /// A long answer is sent from now on by a thread, with [`Self::stream`]; or
    /// one that has no end.
    pub(super) fn begin_stream(&self, endless: bool, now: Instant) {
        let mut progress = lock(&self.progress);
        if progress.stage == Stage::Answering {
            progress.stage = if endless {
                Stage::Endless
            } else {
                Stage::Streaming
            };
            progress.blocked = false;
            progress.last = now;
        }
    }

    /// Sends a part of a long answer, and waits until it is sent. The door
    /// decides how long that may take.
    pub(super) fn stream(&self, mut bytes: &[u8]) -> Result<(), Gone> {
        loop {
            let mut progress = lock(&self.progress);
            if !matches!(progress.stage, Stage::Streaming | Stage::Endless) {
                return Err(Gone);
            }
            if bytes.is_empty() {
                return Ok(());
            }
            match socket::write(&self.socket, bytes) {
                Ok(length) => {
                    bytes = &bytes[length..];
                    progress.blocked = false;
                    progress.last = Instant::now();
                }
                Err(Errno::AGAIN) => {
                    // It may have had nothing to take for long before this.
                    if progress.stage == Stage::Endless && !progress.blocked {
                        progress.last = Instant::now();
                    }
                    progress.blocked = true;
                    drop(progress);
                    socket::wait_writable(&self.socket, GLANCE).map_err(|_| Gone)?;
                }
                Err(_) => return Err(Gone),
            }
        }
    }

    /// A long answer has come to its end, or will never.
    pub(super) fn end_stream(&self, whole: bool) {
        let mut progress = lock(&self.progress);
        if !matches!(progress.stage, Stage::Streaming | Stage::Endless) {
            return;
        }
        progress.stage = if whole { Stage::Rest } else { Stage::Broken };
        progress.last = Instant::now();
        // The door would not look at a client that is cut off for some time.
        progress.bell_wanted |= !whole;
        self.ring_at_end(&progress);
    }

    fn ring_at_end(&self, progress: &Progress) {
        if progress.bell_wanted && matches!(progress.stage, Stage::Rest | Stage::Broken) {
            self.bell.ring(self.slot);
        }
    }

    /// Writes until all is sent or the socket is full.
    fn send_unsent(&self, progress: &mut Progress, now: Instant) {
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

/// How long work goes on that has nothing to send yet, for a client that has ended its
/// stream. Most have left then; the few that end it and read on, such as `nc -N`, get
/// all that does not take long.
const END_LIMIT: Duration = Duration::from_millis(50);

/// How long a thread waits for a socket before it looks whether the door has
/// given the client up. The door wakes it at once; this is for the case that
/// it cannot.
const GLANCE: Duration = Duration::from_secs(1);

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
