//! One admin client, as the door sees it: what it has sent, what it waits for,
//! and how long it may.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use mio::event::Event;
use rustix::io::Errno;

use super::chunked::Chunks;
use super::inner::Inner;
use super::request::{self, Body, Head, MAX_HEAD};
use crate::admin::access::Peer;
use crate::admin::client::{Client, ClientNumber, Standing};
use crate::admin::refusal::Refusal;
use crate::admin::reply::{Framing, IDLE_LIMIT, Reply};
use crate::admin::statistics::Method;
use crate::admin::transport::Transport;
use crate::jsonapi::Layout;
use crate::socket;
use crate::time::HttpDates;

/// How long a head may take from its first byte.
const HEAD_LIMIT: Duration = Duration::from_secs(5);
/// How long a body may take after its head.
const BODY_LIMIT: Duration = Duration::from_secs(7);
/// How long a client may take nothing of its answer.
const STALL_LIMIT: Duration = Duration::from_secs(10);
/// How long one answer may take.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);
/// How long a client may take to hang up after its last answer. Closing at once
/// could destroy the answer on its way, if the client has sent more (RFC 9112,
/// section 9.6).
const LINGER_LIMIT: Duration = Duration::from_secs(1);
/// How much of what a client sends after its last answer is read and thrown away.
const LINGER_BYTES: usize = 256 * 1024;

/// How long a client keeps its slot whoever else comes: it has connected, and
/// its request is on the way. With all slots taken by others that say nothing,
/// a new client waits no longer than that for one of 64.
const GRACE: Duration = Duration::from_millis(10);

/// What the door serves all its clients with.
pub(super) struct Means<'a> {
    pub(super) inner: &'a mut Inner,
    /// The host that is meant where a request names none.
    pub(super) own_host: &'a str,
    /// What every read goes into first.
    pub(super) room: &'a mut [u8; MAX_HEAD],
    /// How many requests of clients of TCP may still go on in this turn.
    pub(super) left_for_tcp: &'a mut usize,
}

/// One client's connection.
pub(super) struct Connection {
    client: Arc<Client>,
    /// What was read and not used yet: at most one head, and what came with it.
    buffer: Vec<u8>,
    /// What came behind a body that is still being read.
    after_body: Vec<u8>,
    /// The socket may have bytes, or its end.
    readable: bool,
    /// The client has said that it ends: after a short read there is more to learn.
    ends: bool,
    /// The socket takes nothing any more: the client has left, or was cut off.
    is_broken: bool,
    phase: Phase,
    /// When the phase began.
    since: Instant,
    /// When the door must look at it again, at the latest.
    pub(super) check_at: Instant,
}

enum Phase {
    /// Nothing of a request has come yet.
    Idle,
    /// A head is coming.
    Head,
    /// A body is coming, of which so much is left. Its head is in the buffer, alone.
    Body(usize),
    /// The same, in chunks.
    Chunks(Chunks),
    /// A request is there whole, and waits for its turn. Its head begins the buffer.
    Queued,
    /// The request is at work in a handler, or its answer on the way.
    Answer,
    /// All is said; the client may hang up, after so many bytes at most.
    Linger(usize),
}

/// What [`Connection::serve`] does next.
enum Go {
    /// There is more to do.
    On,
    /// An event or the bell will tell.
    Wait,
    /// The client is done with.
    Leave,
}

/// Whether a client keeps its slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Stay,
    Leave,
}

impl Connection {
    pub(super) fn new(client: Arc<Client>, now: Instant) -> Self {
        Self {
            client,
            buffer: Vec::new(),
            after_body: Vec::new(),
            readable: false,
            ends: false,
            is_broken: false,
            phase: Phase::Idle,
            since: now,
            check_at: now + IDLE_LIMIT,
        }
    }

    pub(super) fn number(&self) -> ClientNumber {
        self.client.number
    }

    /// How easily it can be done without, the smallest first: since when it has
    /// had its slot without a whole request, or taken nothing of its answer, or
    /// waited for something that may take long.
    /// `None` while it is waited for, and while it may have had no chance yet.
    pub(super) fn dispensable(&self, now: Instant) -> Option<(u8, Instant)> {
        let (rank, since) = match (&self.phase, self.client.standing()) {
            (Phase::Answer, Standing::Awaiting) | (Phase::Queued, _) => return None,
            (Phase::Answer, Standing::Sending(last) | Standing::Stalled(last)) => (1, last),
            (Phase::Answer, Standing::Patient | Standing::Waiting) => (2, self.since),
            (Phase::Answer, Standing::Answered(at, _)) => (0, at),
            _ => (0, self.since),
        };
        (now.saturating_duration_since(since) >= GRACE).then_some((rank, since))
    }

    /// Whether a request of it is with tiny_http or a handler.
    pub(super) fn is_awaiting(&self) -> bool {
        matches!(
            (&self.phase, self.client.standing()),
            (Phase::Answer, Standing::Awaiting)
        )
    }

    /// Whether a request of it waits for its turn.
    pub(super) fn is_queued(&self) -> bool {
        matches!(self.phase, Phase::Queued)
    }

    /// Whether it came over TCP.
    pub(super) fn is_tcp(&self) -> bool {
        self.client.peer.transport() == Transport::Tcp
    }

    /// Whether its current answer is its last.
    pub(super) fn is_retiring(&self) -> bool {
        !self.client.keeps_alive()
    }

    /// Makes its current answer its last.
    pub(super) fn retire(&self) {
        self.client.close_after_answer();
    }

    /// Whether it comes from that address.
    pub(super) fn is_from(&self, address: IpAddr) -> bool {
        matches!(self.client.peer, Peer::Tcp(remote, _) if remote.ip() == address)
    }

    /// Its slot is given away.
    pub(super) fn leave(&self) {
        self.client.give_up();
    }

    /// Takes note of what an event says of the socket.
    pub(super) fn note(&mut self, event: &Event) {
        self.ends |= event.is_read_closed() || event.is_error();
        self.readable |= event.is_readable() || self.ends;
        self.is_broken |= event.is_write_closed();
        if self.ends {
            // It may be its own thread that has to know.
            self.client.note_end();
        }
    }

    /// Goes as far as it can without waiting.
    pub(super) fn serve(&mut self, means: &mut Means<'_>, now: Instant) -> Step {
        loop {
            let step = match &mut self.phase {
                Phase::Answer => self.after_answer(now),
                Phase::Idle | Phase::Head => self.next_request(means, now),
                Phase::Body(left) => {
                    let left = *left;
                    self.skip_body(left, means, now)
                }
                Phase::Chunks(chunks) => {
                    let chunks = std::mem::replace(chunks, Chunks::new());
                    self.skip_chunks(chunks, means, now)
                }
                Phase::Queued => self.pass_on(means, now),
                Phase::Linger(left) => {
                    let left = *left;
                    self.discard(left, means)
                }
            };
            match step {
                Go::On => {}
                Go::Wait => return Step::Stay,
                Go::Leave => return Step::Leave,
            }
        }
    }

    /// Its time has come: it loses its slot, is told so, or gets another date.
    pub(super) fn expire(&mut self, now: Instant) -> Step {
        match self.phase {
            Phase::Idle | Phase::Linger(_) => return Step::Leave,
            Phase::Head => self.refuse(
                &Refusal::RequestTimeout("the head of the request did not come in time"),
                now,
            ),
            // Its turn comes: the door goes through all in their order.
            Phase::Queued => self.check_at = now + STALL_LIMIT,
            Phase::Body(_) | Phase::Chunks(_) => self.refuse(
                &Refusal::RequestTimeout("the body of the request did not come in time"),
                now,
            ),
            Phase::Answer => {
                let dates = match self.client.standing() {
                    Standing::Answered(..) => return self.settle(now),
                    Standing::Broken => return Step::Leave,
                    Standing::Awaiting | Standing::Patient => {
                        [self.since + ANSWER_LIMIT, now + STALL_LIMIT]
                    }
                    Standing::Waiting => {
                        // Its answer gets the usual time from here on.
                        self.since = now;
                        [now + STALL_LIMIT; 2]
                    }
                    Standing::Stalled(last) => [last + STALL_LIMIT; 2],
                    Standing::Sending(last) => [self.since + ANSWER_LIMIT, last + STALL_LIMIT],
                };
                self.check_at = dates[0].min(dates[1]);
                if self.check_at <= now {
                    return Step::Leave;
                }
            }
        }
        Step::Stay
    }

    /// What follows an answer that the door was not woken for.
    fn settle(&mut self, now: Instant) -> Step {
        match self.after_answer(now) {
            Go::Leave => Step::Leave,
            _ if self.check_at <= now => Step::Leave,
            _ => Step::Stay,
        }
    }

    /// Looks after the answer, and goes on when it is out.
    fn after_answer(&mut self, now: Instant) -> Go {
        match self.client.resume(now) {
            Standing::Broken => Go::Leave,
            Standing::Answered(at, true) => {
                self.enter(Phase::Idle, at, IDLE_LIMIT);
                Go::On
            }
            Standing::Answered(_, false) => {
                // A client that is gone already needs no end of stream.
                let _ = socket::end_stream(&*self.client);
                self.enter(Phase::Linger(LINGER_BYTES), now, LINGER_LIMIT);
                Go::On
            }
            Standing::Waiting if self.ends => Go::Leave,
            // No thread is to go on for it, nor to keep a place.
            Standing::Patient | Standing::Waiting | Standing::Sending(_) | Standing::Stalled(_)
                if self.is_broken =>
            {
                Go::Leave
            }
            Standing::Awaiting
            | Standing::Sending(_)
            | Standing::Stalled(_)
            | Standing::Patient
            | Standing::Waiting => {
                let has_more = self.readable || !self.buffer.is_empty();
                if has_more && !self.client.want_bell() {
                    Go::On
                } else {
                    Go::Wait
                }
            }
        }
    }

    /// Reads a head, and forwards it if it is whole and no body follows.
    fn next_request(&mut self, means: &mut Means<'_>, now: Instant) -> Go {
        match request::parse_from(self.client.peer.transport(), &self.buffer) {
            Err(refusal) => {
                self.refuse(&refusal, now);
                Go::On
            }
            Ok(Some(head)) if head.body == Body::Length(0) => {
                if !takes_turn(&self.client, means) {
                    self.enter(Phase::Queued, now, STALL_LIMIT);
                    return Go::Wait;
                }
                forward(&head, &self.client, means, now);
                let length = head.length;
                self.buffer.drain(..length);
                self.enter(Phase::Answer, now, STALL_LIMIT);
                Go::On
            }
            Ok(Some(head)) => {
                let (length, body, expects_continue) =
                    (head.length, head.body, head.expects_continue);
                let rest = self.buffer.split_off(length);
                if expects_continue && rest.is_empty() && !self.say_continue() {
                    return Go::Leave;
                }
                match body {
                    Body::Length(body) => {
                        let here = body.min(rest.len());
                        self.after_body = rest[here..].to_vec();
                        self.enter(Phase::Body(body - here), now, BODY_LIMIT);
                        Go::On
                    }
                    Body::Chunked => {
                        self.enter(Phase::Chunks(Chunks::new()), now, BODY_LIMIT);
                        self.take_chunks(Chunks::new(), &rest, now)
                    }
                }
            }
            Ok(None) => {
                if !self.buffer.is_empty() && matches!(self.phase, Phase::Idle) {
                    self.enter(Phase::Head, now, HEAD_LIMIT);
                }
                self.fill(means)
            }
        }
    }

    fn say_continue(&self) -> bool {
        const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
        socket::write(&*self.client, CONTINUE) == Ok(CONTINUE.len())
    }

    fn enter(&mut self, phase: Phase, since: Instant, limit: Duration) {
        self.phase = phase;
        self.since = since;
        self.check_at = since + limit;
    }

    /// Answers with an error document, the last thing that this connection gets.
    fn refuse(&mut self, refusal: &Refusal, now: Instant) {
        let head_alone = self.buffer.trim_ascii_start().starts_with(b"HEAD ");
        self.buffer.clear();
        self.client.begin(false, Framing::Close, now);
        // It took as long as the client took to send it.
        self.client.stop_clock();
        self.client
            .count_answer(Method::Other, refusal.status().0, now);
        let reply = Reply::refuse(refusal, Layout::Compact);
        let bytes = if head_alone {
            reply
                .into_parts(
                    SystemTime::now(),
                    &mut HttpDates::default(),
                    false,
                    Framing::Close,
                )
                .0
                .into_bytes()
        } else {
            reply.into_bytes(SystemTime::now(), false)
        };
        self.client.answer(bytes, now);
        self.enter(Phase::Answer, now, STALL_LIMIT);
    }

    /// Reads more of a head.
    fn fill(&mut self, means: &mut Means<'_>) -> Go {
        let most = MAX_HEAD - self.buffer.len();
        match self.read(&mut means.room[..most]) {
            Ok(0) => Go::Leave,
            Ok(length) => {
                self.buffer.extend_from_slice(&means.room[..length]);
                Go::On
            }
            Err(go) => go,
        }
    }

    /// Reads a body and throws it away: no resource wants one. Then its request goes on.
    fn skip_body(&mut self, left: usize, means: &mut Means<'_>, now: Instant) -> Go {
        if left > 0 {
            return match self.read(&mut means.room[..left.min(MAX_HEAD)]) {
                Ok(0) => Go::Leave,
                Ok(length) => {
                    self.phase = Phase::Body(left - length);
                    Go::On
                }
                Err(go) => go,
            };
        }
        self.enter(Phase::Queued, now, STALL_LIMIT);
        Go::On
    }

    /// Reads a body in chunks and throws it away.
    fn skip_chunks(&mut self, chunks: Chunks, means: &mut Means<'_>, now: Instant) -> Go {
        let room = &mut *means.room;
        let read = self.read(&mut room[..]);
        // It stays as far as it has come.
        match read {
            Ok(0) => Go::Leave,
            Ok(length) => self.take_chunks(chunks, &room[..length], now),
            Err(go) => {
                self.phase = Phase::Chunks(chunks);
                go
            }
        }
    }

    /// Takes what has come of a body in chunks; behind its end the next request begins.
    fn take_chunks(&mut self, mut chunks: Chunks, bytes: &[u8], now: Instant) -> Go {
        match chunks.take(bytes) {
            Err(refusal) => self.refuse(&refusal, now),
            Ok(taken) if chunks.is_whole() => {
                self.after_body = bytes[taken..].to_vec();
                self.enter(Phase::Queued, now, STALL_LIMIT);
            }
            Ok(_) => self.phase = Phase::Chunks(chunks),
        }
        Go::On
    }

    /// Forwards a request that was there whole before, where its turn has come.
    fn pass_on(&mut self, means: &mut Means<'_>, now: Instant) -> Go {
        if !takes_turn(&self.client, means) {
            return Go::Wait;
        }
        let transport = self.client.peer.transport();
        let mut length = self.buffer.len();
        if let Ok(Some(head)) = request::parse_from(transport, &self.buffer) {
            forward(&head, &self.client, means, now);
            length = head.length;
        }
        self.buffer.drain(..length);
        self.buffer.append(&mut self.after_body);
        self.enter(Phase::Answer, now, STALL_LIMIT);
        Go::On
    }

    /// Waits for the client to hang up.
    fn discard(&mut self, left: usize, means: &mut Means<'_>) -> Go {
        match self.read(means.room) {
            Ok(length) if length > 0 && length <= left => {
                self.phase = Phase::Linger(left - length);
                Go::On
            }
            Ok(_) => Go::Leave,
            Err(go) => go,
        }
    }

    /// Reads once. `Ok(0)` is the end of the client's stream.
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Go> {
        if !self.readable {
            return Err(Go::Wait);
        }
        match socket::read(&*self.client, buffer) {
            Ok(length) => {
                // A short read means that there was no more, unless the end is near.
                self.readable = length == buffer.len() || self.ends;
                Ok(length)
            }
            Err(Errno::AGAIN) => {
                self.readable = false;
                Err(Go::Wait)
            }
            Err(_) => Err(Go::Leave),
        }
    }
}

/// Whether a request of a client may go on in this turn: those of the unix socket all do,
/// and of those of TCP as many as a turn has.
fn takes_turn(client: &Client, means: &mut Means<'_>) -> bool {
    match (client.peer.transport(), means.left_for_tcp.checked_sub(1)) {
        (Transport::UnixSocket, _) => true,
        (Transport::Tcp, None) => false,
        (Transport::Tcp, Some(left)) => {
            *means.left_for_tcp = left;
            true
        }
    }
}

/// Hands a whole request on to tiny_http.
fn forward(head: &Head<'_>, client: &Client, means: &mut Means<'_>, now: Instant) {
    let framing = if head.knows_chunks {
        Framing::Chunks
    } else {
        Framing::Close
    };
    client.begin(head.keep_alive, framing, now);
    let host = head.host.unwrap_or(means.own_host);
    means.inner.forward(head, host, client.number);
}
