//! One client, one server, and a pipe each way, from accept to close.
//!
//! The hard thing is to say why a session ended. The protocol says it first: a
//! client that has said goodbye has closed the session, whichever stream ends
//! first. Else it is the first thing that went wrong; what follows from it (a
//! reset after an end of stream, a failed write after a reset) is not. And a
//! broken connection may still have bytes for the other side: they are delivered
//! before anything is closed.
//!
//! A side that has ended its stream in order owes nothing more. What happens to
//! its socket afterwards, say a reset that answers a keep-alive probe a minute
//! later, breaks nothing: the other side gets all that was sent.

use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use mio::event::Event;
use rustix::io::Errno;

use super::limits::{
    BROKEN_DELIVERY_LIMIT, FIRST_MESSAGE_LIMIT, IdleLimits, LOGIN_LIMIT, Limits,
    ORDERLY_DELIVERY_LIMIT, Overdue,
};
use super::pipe::{End, Kind, Pipe};
use super::rest::{Scratch, Show, Shown};
use super::watch::Watch;
use crate::config::Protocol;
use crate::protocol::{self, ServerError, proxy};
use crate::registry::{self, Admission, CloseReason, Half, Lease, Passed, Server, SessionState};
use crate::socket;

/// A session as the relay has it.
pub(super) struct Session {
    pub(super) record: Arc<registry::Session>,
    pub(super) client: OwnedFd,
    client_to_server: Pipe,
    server_to_client: Pipe,
    pub(super) backend: Backend,
    /// Its place at the service, once it has one.
    pub(super) admission: Option<Admission>,
    pub(super) watch: Watch,
    /// The first thing that ended, and so the reason for all that follows.
    ending: Option<CloseReason>,
    /// Whether a side's connection has broken.
    broken: bool,
    /// Which sides have ended their stream, or broken.
    left: Left,
    /// How long its sockets may take for what is still to be delivered.
    delivery_limit: Option<Duration>,
    pub(super) limits: Limits,
    pub(super) deadline: Option<Instant>,
    /// Whether its deadline may have to be earlier than it is.
    pub(super) hurries: bool,
    /// Whether it waits for its next turn.
    pub(super) queued: bool,
    /// What has become of the login, until the relay has taken note.
    pub(super) login_outcome: Option<Box<LoginOutcome>>,
}

/// What has become of a login, as far as the server is concerned.
pub(super) enum LoginOutcome {
    Accepted,
    Refused(ServerError),
}

/// Which sides have ended their stream, in order or not.
#[derive(Clone, Copy, Default)]
struct Left {
    client: bool,
    server: bool,
}

/// The other side of a session.
pub(super) enum Backend {
    /// Not asked for yet: the client's PROXY header comes first.
    Header,
    /// Not asked for yet: the client's first message comes first. With what its
    /// PROXY header said.
    FirstMessage(Option<proxy::Addresses>),
    /// Not connected yet, or no word of the server has come yet.
    Search(Box<Search>),
    /// Connected; the lease counts it at its server until that has gone.
    Connected {
        socket: OwnedFd,
        server: Arc<Server>,
        lease: Option<Lease>,
    },
    /// None: the client is told so as soon as it can be.
    Refused(Box<Refused>),
    /// None: the client has come for a cancel request, which so many
    /// connections to servers deliver.
    Cancelling(usize),
}

/// The way to a server: which one is being tried, and which were.
pub(super) struct Search {
    pub(super) attempt: Option<Attempt>,
    pub(super) tried: Vec<Arc<Server>>,
    /// Why the last server that was tried could not be used, where it had
    /// accepted the connection.
    pub(super) failure: Option<Failure>,
    /// What the client's PROXY header said.
    pub(super) addresses: Option<proxy::Addresses>,
    /// What of the client waits for a server.
    pub(super) first: First,
}

/// Why a server that was tried could not be used.
pub(super) enum Failure {
    /// It has not answered within its time.
    TimedOut,
    /// It has ended the connection without a word, for which this is the reason.
    Silent(CloseReason),
    /// It has no room, or is not ready, and has words for the client.
    Unavailable { words: Vec<u8>, server: Arc<Server> },
}

/// What of the client waits for a server to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum First {
    /// Nothing that is looked at: the server is passed whatever comes.
    Anything,
    /// The server's greeting is awaited first.
    Greeting,
    /// The client's next message is awaited: its wish for encryption was declined.
    Awaited,
    /// A whole message of so many bytes is there in the client's socket. It is
    /// taken out of that when a server has answered it, so that another server
    /// can be sent the same.
    Message { length: usize, is_startup: bool },
}

/// A client that is to be told something when it has said what it wants.
pub(super) struct Refused {
    pub(super) answer: Vec<u8>,
    pub(super) reason: CloseReason,
    /// How often it may still ask for encryption.
    pub(super) encryption_requests: usize,
}

/// One server being tried, one address after the other.
pub(super) struct Attempt {
    pub(super) lease: Lease,
    /// The addresses that are left.
    pub(super) addresses: std::vec::IntoIter<SocketAddr>,
    pub(super) socket: Option<(OwnedFd, SocketAddr)>,
    /// The port of our end, once the server has accepted the connection: its
    /// first word is awaited then.
    pub(super) accepted: Option<u16>,
    /// Whether the server has ended its stream meanwhile.
    pub(super) server_ends: bool,
    /// When the server has had its time to accept the connection.
    pub(super) deadline: Instant,
}

/// What is to be done with a session now.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Wait for its next event.
    Wait,
    /// Let others have their turn, then go on without an event.
    Queue,
    /// It is over.
    Close(CloseReason),
}

impl Session {
    /// Bytes that a session holds here, but for what its pipes keep.
    const MEMORY: usize = size_of::<Option<Self>>();

    /// A session whose client has just come.
    pub(super) fn new(
        record: Arc<registry::Session>,
        client: OwnedFd,
        kind: Kind,
        now: Instant,
    ) -> Self {
        let session = Self {
            record,
            client,
            client_to_server: Pipe::new(kind, Kind::Tcp),
            server_to_client: Pipe::new(Kind::Tcp, kind),
            backend: Backend::Header,
            admission: None,
            watch: Watch::default(),
            ending: None,
            broken: false,
            left: Left::default(),
            delivery_limit: None,
            limits: Limits::new(now),
            deadline: None,
            hurries: false,
            queued: false,
            login_outcome: None,
        };
        session.account();
        session
    }

    pub(super) fn protocol(&self) -> Protocol {
        self.record.listener().parameters.protocol
    }

    /// Notes what an event says of the client's socket. A connection that has
    /// broken before there was a server is the end of the session.
    pub(super) fn client_event(
        &mut self,
        event: &Event,
        scratch: &mut Scratch,
        now: Instant,
    ) -> Option<CloseReason> {
        if let (true, Some(client)) = (event.is_read_closed(), self.record.client()) {
            // It may take long until that is read: there may be no server yet.
            client.note_left(now);
        }
        self.left.client |= event.is_read_closed() || event.is_error();
        note_event(
            event,
            &mut self.client_to_server,
            &mut self.server_to_client,
        );
        if event.is_error() {
            let error = socket::take_error(&self.client);
            self.client_failed(error, scratch);
        }
        match &self.backend {
            Backend::Header | Backend::FirstMessage(_) | Backend::Search(_) => self.ending,
            Backend::Refused(refused) => self.ending.map(|_| refused.reason),
            Backend::Cancelling(_) => self.ending.map(|_| CloseReason::ClientClosed),
            Backend::Connected { .. } => None,
        }
    }

    /// Notes what an event says of the connected server's socket.
    pub(super) fn server_event(&mut self, event: &Event, scratch: &mut Scratch) {
        self.left.server |= event.is_read_closed() || event.is_error();
        note_event(
            event,
            &mut self.server_to_client,
            &mut self.client_to_server,
        );
        if event.is_error()
            && let Backend::Connected { socket, .. } = &self.backend
        {
            let error = socket::take_error(socket);
            self.server_failed(error, scratch);
        }
    }

    /// The client's connection has met an error: it takes nothing any more.
    fn client_failed(&mut self, error: Option<Errno>, scratch: &mut Scratch) {
        self.server_to_client.sink_failed(scratch);
        if breaks_the_stream(error) && self.client_to_server.source_failed() {
            self.fail(CloseReason::ClientReset);
        }
    }

    /// The server's connection has met an error: it takes nothing any more.
    fn server_failed(&mut self, error: Option<Errno>, scratch: &mut Scratch) {
        self.client_to_server.sink_failed(scratch);
        if breaks_the_stream(error) && self.server_to_client.source_failed() {
            self.fail(CloseReason::ServerLost);
        }
    }

    /// Takes up its server, whose first bytes may be there already.
    pub(super) fn connect(&mut self, socket: OwnedFd, lease: Lease, now: Instant) {
        self.client_to_server.sink_writable();
        let server = Arc::clone(lease.server());
        self.backend = Backend::Connected {
            socket,
            server,
            lease: Some(lease),
        };
        self.begin_watch();
        self.limits.connected(now);
    }

    /// Reads along from now on.
    pub(super) fn begin_watch(&mut self) {
        self.watch = Watch::of(self.protocol());
    }

    /// What a server is told that wants to know who the client is (PROXY
    /// protocol, section 2.1). The addresses are those of the client's own header.
    pub(super) fn proxy_header(&self, addresses: Option<proxy::Addresses>) -> String {
        let of_connection = || {
            Some(proxy::Addresses {
                source: self.record.client()?.remote()?,
                destination: socket::local_address(&self.client).ok()?,
            })
        };
        proxy::version_1(addresses.or_else(of_connection).as_ref())
    }

    /// The server has said something before the session was connected to it, and
    /// perhaps ended its stream.
    pub(super) fn server_has_spoken(&mut self, ends: bool) {
        self.left.server |= ends;
        self.server_to_client.source_readable(ends);
    }

    /// Takes up the client's first message, which has been sent to the server
    /// before the session was connected to it.
    pub(super) fn take_first_message(
        &mut self,
        message: &[u8],
        scratch: &mut Scratch,
        now: Instant,
    ) {
        self.watch.observe(protocol::Side::Client, message);
        self.watch.settle(scratch);
        if !self.watch.is_login() {
            // Nothing of it can be seen, or it is not to be held.
            self.limits.logged_in();
        }
        if let Backend::Connected { server, .. } = &self.backend {
            let passed = Passed {
                from_client: message.len() as u64,
                to_client: 0,
                operations: 1,
            };
            self.record.count(server, passed, now);
            self.limits.passed(true, now);
        }
    }

    /// Takes note of the words with which the last server has refused the client,
    /// which was not connected to it. Which error they report.
    pub(super) fn note_refusal(
        &mut self,
        words: &[u8],
        scratch: &mut Scratch,
    ) -> Option<ServerError> {
        self.watch.observe(protocol::Side::Server, words);
        self.watch.settle(scratch);
        self.watch.report(&self.record).refused
    }

    /// Whether the client has ended its stream, or broken its connection.
    pub(super) fn client_has_left(&self) -> bool {
        self.left.client
    }

    /// Moves what can be moved now, both ways.
    pub(super) fn advance(&mut self, scratch: &mut Scratch, now: Instant) -> Next {
        let Backend::Connected { socket, server, .. } = &self.backend else {
            return Next::Wait;
        };
        let watch = &mut self.watch;
        let watches = !watch.is_over();
        let is_last = self.server_to_client.is_closed();
        let (client, server_socket) = (self.client.as_fd(), socket.as_fd());
        let mut see = |shown: Shown<'_>| watch.see(protocol::Side::Client, shown);
        let show = watches.then_some(&mut see as Show<'_>);
        let up = self
            .client_to_server
            .pump(client, server_socket, scratch, is_last, show);
        let is_last = self.client_to_server.is_closed();
        let mut see = |shown: Shown<'_>| watch.see(protocol::Side::Server, shown);
        let show = watches.then_some(&mut see as Show<'_>);
        let down = self
            .server_to_client
            .pump(server_socket, client, scratch, is_last, show);
        let passed = Passed {
            from_client: up.bytes,
            to_client: down.bytes,
            operations: up.operations.saturating_add(down.operations),
        };
        if passed != Passed::default() {
            self.record.count(server, passed, now);
            self.limits.passed(up.bytes > 0, now);
            if watches {
                self.take_note(scratch, now);
            }
        }
        self.note_end(up.end, Half::Client, now);
        self.note_end(down.end, Half::Server, now);
        // A read that has met the error has taken it: no event tells of it any more.
        if up.end == Some(End::SourceFailed) {
            self.server_to_client.sink_failed(scratch);
        }
        if down.end == Some(End::SourceFailed) {
            self.client_to_server.sink_failed(scratch);
        }
        let mut goes_on = up.has_more || down.has_more;
        // What is still to be read of a side that takes nothing any more is read in the next turn.
        if let Some(errno) = up.sink_error {
            goes_on = true;
            self.server_failed(Some(errno), scratch);
        }
        if let Some(errno) = down.sink_error {
            goes_on = true;
            self.client_failed(Some(errno), scratch);
        }
        goes_on |= self.discard_what_nothing_takes(scratch);
        self.account();
        if !goes_on && self.is_over(now) {
            return Next::Close(self.verdict(now));
        }
        self.hurries |= self.set_limits(now);
        if goes_on { Next::Queue } else { Next::Wait }
    }

    /// Reads on from a side to which the rest is delivered while the other side
    /// takes nothing any more. True where there may be more to read.
    fn discard_what_nothing_takes(&mut self, scratch: &mut Scratch) -> bool {
        let Backend::Connected { socket, .. } = &self.backend else {
            return false;
        };
        let (up, down) = (&mut self.client_to_server, &mut self.server_to_client);
        let mut has_more = false;
        if down.has_lost_its_sink() && up.is_delivering() {
            has_more |= down.discard(socket.as_fd(), scratch);
        }
        if up.has_lost_its_sink() && down.is_delivering() {
            has_more |= up.discard(self.client.as_fd(), scratch);
        }
        has_more
    }

    /// Takes up what the observer has seen.
    fn take_note(&mut self, scratch: &mut Scratch, now: Instant) {
        self.watch.settle(scratch);
        let noticed = self.watch.report(&self.record);
        if noticed.quit {
            self.ending.get_or_insert(CloseReason::ClientClosed);
        }
        if let Some(error) = noticed.refused {
            self.ending.get_or_insert(CloseReason::LoginRefused);
            self.login_outcome = Some(Box::new(LoginOutcome::Refused(error)));
        } else if noticed.logged_in {
            self.login_outcome = Some(Box::new(LoginOutcome::Accepted));
        }
        if !self.watch.is_login() {
            self.limits.logged_in();
        } else if noticed.first_message {
            self.limits.await_login(now + LOGIN_LIMIT);
        }
    }

    fn note_end(&mut self, end: Option<End>, of: Half, now: Instant) {
        match (end, of) {
            (None, _) => {}
            (Some(End::SourceClosed), Half::Client) => {
                self.left.client = true;
                if let Some(client) = self.record.client() {
                    client.note_left(now);
                }
                self.ending.get_or_insert(CloseReason::ClientClosed);
            }
            (Some(End::SourceClosed), Half::Server) => {
                self.left.server = true;
                self.ending.get_or_insert(CloseReason::ServerClosed);
            }
            (Some(End::SourceFailed), Half::Client) => {
                self.left.client = true;
                self.fail(CloseReason::ClientReset);
            }
            (Some(End::SourceFailed), Half::Server) => {
                self.left.server = true;
                self.fail(CloseReason::ServerLost);
            }
        }
    }

    /// Whether a server's end ends the session: a client of a database has
    /// nothing to say to a server that has left.
    fn ends_with_its_server(&self) -> bool {
        self.protocol() != Protocol::Tcp
    }

    /// Whether there is nothing left to move, and the reason is certain.
    fn is_over(&self, now: Instant) -> bool {
        let ended = self.server_to_client.is_closed()
            && (self.client_to_server.is_closed()
                || self.ends_with_its_server() && self.left.server);
        ended && self.awaited_verdict(now).is_none()
    }

    /// Until when the other side's end is awaited, too, so that the reason is
    /// certain: under TLS the client's goodbye cannot be read.
    fn awaited_verdict(&self, now: Instant) -> Option<Instant> {
        let is_certain = match self.ending {
            Some(CloseReason::ServerClosed | CloseReason::ServerLost) => self.left.client,
            Some(CloseReason::ClientReset) => self.left.server,
            _ => true,
        };
        let until = self.limits.tls_end_window();
        (!is_certain && until > now && self.is_encrypted()).then_some(until)
    }

    fn is_encrypted(&self) -> bool {
        let client = self.record.client();
        client.is_some_and(registry::Client::is_encrypted)
    }

    /// Why it has ended.
    fn verdict(&self, now: Instant) -> CloseReason {
        let first = self.ending.unwrap_or(CloseReason::ServerClosed);
        let by_order_of_ends = matches!(
            first,
            CloseReason::ServerClosed | CloseReason::ServerLost | CloseReason::ClientReset
        );
        let both_left = self.left.client && self.left.server;
        if by_order_of_ends
            && both_left
            && now <= self.limits.tls_end_window()
            && self.is_encrypted()
        {
            return CloseReason::ClientClosed;
        }
        first
    }

    /// Limits what is still to be done, now that a side has ended. True where the
    /// session's deadline may be earlier than before.
    fn set_limits(&mut self, now: Instant) -> bool {
        let Some(reason) = self.ending else {
            return false;
        };
        let mut hurries = false;
        let delivers =
            self.client_to_server.is_delivering() || self.server_to_client.is_delivering();
        if delivers {
            let limit = if self.broken {
                Some(BROKEN_DELIVERY_LIMIT)
            } else {
                let orderly = self.ends_with_its_server() || self.has_dead_side();
                orderly.then_some(ORDERLY_DELIVERY_LIMIT)
            };
            self.limit_delivery(limit);
            // The system does not limit what a unix socket's peer leaves in it.
            if self.broken && !self.client_to_server.is_between_tcp() {
                hurries |= self.limits.begin_drain(reason, now);
            }
        }
        if self.server_to_client.has_ended() && self.left.server && self.ends_with_its_server() {
            self.let_the_server_go();
        }
        if self.server_to_client.is_closed()
            && let Some(until) = self.awaited_verdict(now)
        {
            hurries |= self.limits.judge_at(until);
        }
        hurries | self.note_half_closed()
    }

    /// Whether a pipe has closed since its sink has gone, in whatever way.
    fn has_dead_side(&self) -> bool {
        self.client_to_server.has_lost_its_sink() || self.server_to_client.has_lost_its_sink()
    }

    /// A server that has left is counted with none of its connections any more,
    /// and the session not with the service's.
    fn let_the_server_go(&mut self) {
        self.admission = None;
        if let Backend::Connected { lease, .. } = &mut self.backend
            && lease.take().is_some()
        {
            self.record
                .set_state(SessionState::Stopping, SystemTime::now());
        }
    }

    /// Breaks the connection of a side that takes nothing of what is delivered to it for so long.
    fn limit_delivery(&mut self, limit: Option<Duration>) {
        let Some(limit) = limit.filter(|limit| self.delivery_limit != Some(*limit)) else {
            return;
        };
        self.delivery_limit = Some(limit);
        socket::limit_delivery(&self.client, limit);
        if let Backend::Connected { socket, .. } = &self.backend {
            socket::limit_delivery(socket, limit);
        }
    }

    /// Notes whether one side alone has ended its stream. True where that is news.
    fn note_half_closed(&mut self) -> bool {
        if self.ends_with_its_server() {
            return false;
        }
        let half = match (
            self.client_to_server.is_closed(),
            self.server_to_client.is_closed(),
        ) {
            (true, false) => Some(Half::Client),
            (false, true) => Some(Half::Server),
            _ => None,
        };
        let is_news = self.limits.set_half_closed(half.is_some());
        if is_news {
            self.record.set_half_closed(half, SystemTime::now());
        }
        is_news
    }

    /// How long nothing may pass.
    fn idle_limits(&self) -> IdleLimits {
        let parameters = &self.record.service().parameters;
        IdleLimits {
            always: parameters.connection_timeout,
            half_closed: parameters.half_close_timeout,
        }
    }

    /// When one of its limits is reached, if nothing passes until then.
    pub(super) fn due(&self) -> Option<Instant> {
        self.limits.due(self.idle_limits())
    }

    /// Why it is over already, where only the rest is on its way: a side has
    /// broken, the server has left, or the client is refused.
    pub(super) fn first_reason(&self) -> Option<CloseReason> {
        match &self.backend {
            Backend::Refused(refused) => Some(refused.reason),
            Backend::Cancelling(_) => Some(CloseReason::ClientClosed),
            Backend::Connected { lease, .. } => {
                self.ending.filter(|_| self.broken || lease.is_none())
            }
            _ => self.ending.filter(|_| self.broken),
        }
    }

    /// The server that it is connected to.
    pub(super) fn server(&self) -> Option<&Arc<Server>> {
        match &self.backend {
            Backend::Connected {
                server,
                lease: Some(_),
                ..
            } => Some(server),
            _ => None,
        }
    }

    /// The server that is being tried for it.
    pub(super) fn tried_server(&self) -> Option<&Arc<Server>> {
        match &self.backend {
            Backend::Search(search) => Some(search.attempt.as_ref()?.lease.server()),
            _ => None,
        }
    }

    /// Why it is to end now, where one of its limits is reached.
    pub(super) fn overdue(&mut self, now: Instant) -> Option<CloseReason> {
        if let Backend::Connected { socket, .. } = &self.backend
            && self.limits.has_settled(now)
        {
            // Where it fails, the connection is over, which shows soon enough.
            let _ = socket::keep_alive(socket);
        }
        self.limits.end_of_wait_for_verdict(now);
        match self.limits.overdue(self.idle_limits(), now)? {
            Overdue::Close(reason) => Some(reason),
            // The side that has ended first has begun the end.
            Overdue::HalfClosed => Some(self.ending.unwrap_or(CloseReason::IdleTimeout)),
        }
    }

    /// Gives back what it holds of the memory that all sessions share, before
    /// its sockets are closed. Where a side has not got all that the other has
    /// sent, the closing shows that as a reset.
    pub(super) fn release(&mut self, scratch: &mut Scratch) {
        if let Backend::Connected { socket, .. } = &self.backend {
            let has_lost = self.client_to_server.is_short() || self.server_to_client.is_short();
            let server_left = self.left.server && self.server_to_client.is_closed();
            if has_lost
                || !self.server_to_client.is_closed() && socket::has_unread(socket)
                || !self.client_to_server.is_closed()
                    && !server_left
                    && socket::has_unread(&self.client)
            {
                socket::reset_on_close(&self.client);
                socket::reset_on_close(socket);
            } else if server_left && !self.client_to_server.is_closed() {
                // What is unread when a socket closes makes a reset of the end.
                let _ = socket::read(&self.client, &mut scratch.buffer);
            }
        }
        self.client_to_server.release(scratch);
        self.server_to_client.release(scratch);
        self.watch.release(scratch);
    }

    fn fail(&mut self, reason: CloseReason) {
        self.ending.get_or_insert(reason);
        self.broken = true;
    }

    /// Awaits the client's first message, and the login that begins with it.
    pub(super) fn await_first_message(&mut self, now: Instant) {
        self.limits.await_login(now + FIRST_MESSAGE_LIMIT);
    }

    /// Tells the registry how much memory it holds.
    pub(super) fn account(&self) {
        if let Some(client) = self.record.client() {
            let kept = self.client_to_server.memory() + self.server_to_client.memory();
            client.set_data_plane_memory(Self::MEMORY + kept + self.watch.memory());
        }
    }
}

/// Whether a connection's error means that its stream has no end in order: a
/// reset after such an end is `PIPE`, or no error at all.
fn breaks_the_stream(error: Option<Errno>) -> bool {
    !matches!(error, None | Some(Errno::PIPE))
}

/// Notes what an event says of a socket, in the pipe out of it and the pipe into it.
fn note_event(event: &Event, out: &mut Pipe, into: &mut Pipe) {
    let ends = event.is_read_closed() || event.is_error();
    if event.is_readable() || ends {
        out.source_readable(ends);
    }
    if event.is_priority() {
        out.read_to_the_end();
    }
    if event.is_writable() {
        into.sink_writable();
    }
}
