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

use super::pipe::{End, Kind, Pipe, Scratch};
use crate::registry::{self, CloseReason, Lease, Passed, Server};

/// How long the rest may take that is still to be delivered when one side's
/// connection has broken.
pub(super) const DRAIN_LIMIT: Duration = Duration::from_secs(10);

/// A session as the relay has it.
pub(super) struct Session {
    pub(super) record: Arc<registry::Session>,
    client: OwnedFd,
    client_to_server: Pipe,
    server_to_client: Pipe,
    pub(super) backend: Backend,
    /// The first thing that ended, and so the reason for all that follows.
    ending: Option<CloseReason>,
    /// Whether a side's connection has broken.
    broken: bool,
    pub(super) deadline: Option<Instant>,
    /// Whether it waits for its next turn.
    pub(super) queued: bool,
}

/// The other side of a session.
pub(super) enum Backend {
    /// Not connected yet.
    Search(Box<Search>),
    /// Connected; the lease counts it at its server.
    Connected { socket: OwnedFd, lease: Lease },
}

/// The way to a server: which one is being tried, and which were.
#[derive(Default)]
pub(super) struct Search {
    pub(super) attempt: Option<Attempt>,
    pub(super) tried: Vec<Arc<Server>>,
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
    /// Wait, but not longer than [`DRAIN_LIMIT`].
    Drain,
    /// It is over.
    Close(CloseReason),
}

impl Session {
    /// Bytes that a session holds here, but for what its pipes keep.
    const MEMORY: usize = size_of::<Option<Self>>();

    pub(super) fn new(record: Arc<registry::Session>, client: OwnedFd, kind: Kind) -> Self {
        let session = Self {
            record,
            client,
            client_to_server: Pipe::out_of(kind),
            server_to_client: Pipe::out_of(Kind::Tcp),
            backend: Backend::Search(Box::default()),
            ending: None,
            broken: false,
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
    ) -> Option<CloseReason> {
        note_event(
            event,
            &mut self.client_to_server,
            &mut self.server_to_client,
        );
        if event.is_error() {
            self.fail(CloseReason::ClientReset);
            self.server_to_client.sink_failed(scratch);
        }
        matches!(self.backend, Backend::Search(_))
            .then_some(self.ending)
            .flatten()
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
    pub(super) fn connect(&mut self, socket: OwnedFd, lease: Lease) {
        self.client_to_server.sink_writable();
        self.backend = Backend::Connected { socket, lease };
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
        let up = self
            .client_to_server
            .pump(self.client.as_fd(), server.as_fd(), scratch);
        let down = self
            .server_to_client
            .pump(server.as_fd(), self.client.as_fd(), scratch);
        let passed = Passed {
            from_client: up.bytes,
            to_client: down.bytes,
            operations: up.operations.saturating_add(down.operations),
        };
        if passed != Passed::default() {
            self.record.count(lease.server(), passed, now);
        }
        for (end, source, sink) in [
            (up.end, Side::Client, Side::Server),
            (down.end, Side::Server, Side::Client),
        ] {
            match end {
                None => {}
                Some(End::SourceClosed) => _ = self.ending.get_or_insert(source.closed()),
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
            _ if self.broken => Next::Drain,
            _ => Next::Wait,
        }
    }

    /// Why it ends, where something has ended already.
    pub(super) fn ending(&self) -> Option<CloseReason> {
        self.ending
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
            client.set_data_plane_memory(Self::MEMORY + kept);
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
