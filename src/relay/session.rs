//! One client, one server, and a pipe each way, from accept to close.
//!
//! The hard thing is to say why a session ended. The first thing that went
//! wrong is the reason; what follows from it (a reset after an end of stream,
//! a failed write after a reset) is not. And a broken connection may still
//! have bytes for the other side: they are delivered before anything is closed.

use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::event::Event;

use super::limits::Limits;
use super::pipe::{End, Kind, Pipe};
use super::rest::{Scratch, Show};
use super::watch::Watch;
use crate::protocol::{self, proxy};
use crate::registry::{self, Admission, CloseReason, Lease, Passed, Server};
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
    watch: Watch,
    /// The first thing that ended, and so the reason for all that follows.
    ending: Option<CloseReason>,
    /// Whether a side's connection has broken.
    broken: bool,
    pub(super) limits: Limits,
    pub(super) deadline: Option<Instant>,
    /// Whether it waits for its next turn.
    pub(super) queued: bool,
}

/// The other side of a session.
pub(super) enum Backend {
    /// Not asked for yet: the client's PROXY header comes first.
    Header,
    /// Not connected yet.
    Search(Box<Search>),
    /// Connected; the lease counts it at its server.
    Connected { socket: OwnedFd, lease: Lease },
    /// None: the client is told so as soon as it can be.
    Refused(Box<Refused>),
}

/// The way to a server: which one is being tried, and which were.
#[derive(Default)]
pub(super) struct Search {
    pub(super) attempt: Option<Attempt>,
    pub(super) tried: Vec<Arc<Server>>,
    /// Whether the last server that was tried has not answered.
    pub(super) timed_out: bool,
    /// What the client's PROXY header said.
    pub(super) addresses: Option<proxy::Addresses>,
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
    /// When the server has had its time.
    pub(super) deadline: Instant,
}

/// What is to be done with a session now.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Wait for its next event.
    Wait,
    /// Let others have their turn, then go on without an event.
    Queue,
    /// Wait, but not as long as before.
    Hurry,
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
            client_to_server: Pipe::out_of(kind),
            server_to_client: Pipe::out_of(Kind::Tcp),
            backend: Backend::Header,
            admission: None,
            watch: Watch::default(),
            ending: None,
            broken: false,
            limits: Limits::new(now),
            deadline: None,
            queued: false,
        };
        session.account();
        session
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
        note_event(
            event,
            &mut self.client_to_server,
            &mut self.server_to_client,
        );
        if event.is_error() {
            self.fail(CloseReason::ClientReset);
            self.server_to_client.sink_failed(scratch);
        }
        match &self.backend {
            Backend::Header | Backend::Search(_) => self.ending,
            Backend::Refused(refused) => self.ending.map(|_| refused.reason),
            Backend::Connected { .. } => None,
        }
    }

    /// Notes what an event says of the connected server's socket.
    pub(super) fn server_event(&mut self, event: &Event, scratch: &mut Scratch) {
        note_event(
            event,
            &mut self.server_to_client,
            &mut self.client_to_server,
        );
        if event.is_error() {
            self.fail(CloseReason::ServerLost);
            self.client_to_server.sink_failed(scratch);
        }
    }

    /// Takes up its server.
    pub(super) fn connect(&mut self, socket: OwnedFd, lease: Lease, now: Instant) {
        self.client_to_server.sink_writable();
        self.backend = Backend::Connected { socket, lease };
        self.watch = Watch::of(self.record.listener().parameters.protocol);
        self.limits.connected(self.watch.is_login(), now);
    }

    /// Moves what can be moved now, both ways.
    pub(super) fn advance(&mut self, scratch: &mut Scratch, now: Instant) -> Next {
        let Backend::Connected {
            socket: server,
            lease,
        } = &self.backend
        else {
            return Next::Wait;
        };
        let watch = &mut self.watch;
        let watches = !watch.is_over();
        let is_last = self.server_to_client.is_closed();
        let (client, server) = (self.client.as_fd(), server.as_fd());
        let mut see = |bytes: &[u8]| watch.observe(protocol::Side::Client, bytes);
        let show = watches.then_some(&mut see as Show<'_>);
        let up = self
            .client_to_server
            .pump(client, server, scratch, is_last, show);
        let is_last = self.client_to_server.is_closed();
        let mut see = |bytes: &[u8]| watch.observe(protocol::Side::Server, bytes);
        let show = watches.then_some(&mut see as Show<'_>);
        let down = self
            .server_to_client
            .pump(server, client, scratch, is_last, show);
        let passed = Passed {
            from_client: up.bytes,
            to_client: down.bytes,
            operations: up.operations.saturating_add(down.operations),
        };
        if passed != Passed::default() {
            self.record.count(lease.server(), passed, now);
            self.limits.passed(now);
            self.watch.report(&self.record);
            if !self.watch.is_login() {
                self.limits.logged_in();
            }
        }
        for (end, source, sink) in [
            (up.end, Side::Client, Side::Server),
            (down.end, Side::Server, Side::Client),
        ] {
            match end {
                None => {}
                Some(End::SourceClosed) => {
                    if let (Side::Client, Some(client)) = (source, self.record.client()) {
                        client.note_left(now);
                    }
                    self.ending.get_or_insert(source.closed());
                }
                Some(End::SourceFailed) => self.fail(source.broke()),
                Some(End::SinkFailed) => self.fail(sink.broke()),
            }
        }
        self.account();
        match self.ending {
            Some(reason)
                if self.client_to_server.is_closed() && self.server_to_client.is_closed() =>
            {
                Next::Close(reason)
            }
            _ if up.has_more || down.has_more => Next::Queue,
            Some(reason) if self.broken && self.limits.broken(reason, now) => Next::Hurry,
            _ => Next::Wait,
        }
    }

    /// How long nothing may pass.
    fn idle_limit(&self) -> Duration {
        self.record.service().parameters.connection_timeout
    }

    /// When one of its limits is reached, if nothing passes until then.
    pub(super) fn due(&self) -> Option<Instant> {
        self.limits.due(self.idle_limit())
    }

    /// Why it is over already, where only the rest is on its way: a side has
    /// broken, or the client is refused.
    pub(super) fn first_reason(&self) -> Option<CloseReason> {
        match &self.backend {
            Backend::Refused(refused) => Some(refused.reason),
            _ => self.ending.filter(|_| self.broken),
        }
    }

    /// The server that it is connected to.
    pub(super) fn server(&self) -> Option<&Arc<Server>> {
        match &self.backend {
            Backend::Connected { lease, .. } => Some(lease.server()),
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
        self.limits.overdue(self.idle_limit(), now)
    }

    /// Gives back what it holds of the memory that all sessions share.
    pub(super) fn release(&mut self, scratch: &mut Scratch) {
        self.client_to_server.release(scratch);
        self.server_to_client.release(scratch);
    }

    fn fail(&mut self, reason: CloseReason) {
        self.ending.get_or_insert(reason);
        self.broken = true;
    }

    /// Tells the registry how much memory it holds.
    fn account(&self) {
        if let Some(client) = self.record.client() {
            let kept = self.client_to_server.memory() + self.server_to_client.memory();
            client.set_data_plane_memory(Self::MEMORY + kept + self.watch.memory());
        }
    }
}

#[derive(Clone, Copy)]
enum Side {
    Client,
    Server,
}

impl Side {
    fn closed(self) -> CloseReason {
        match self {
            Self::Client => CloseReason::ClientClosed,
            Self::Server => CloseReason::ServerClosed,
        }
    }

    fn broke(self) -> CloseReason {
        match self {
            Self::Client => CloseReason::ClientReset,
            Self::Server => CloseReason::ServerLost,
        }
    }
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
