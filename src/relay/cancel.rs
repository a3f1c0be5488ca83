//! Delivers the cancel requests of PostgreSQL clients (manual, chapter
//! "Frontend/Backend Protocol", section "Canceling Requests in Progress").
//!
//! A client that wants its query to end opens another connection, and names the
//! session by the process id and the key that the server had told it. Only that
//! server knows them. So the request goes to the server of the session whose
//! login has shown the same; where none has, since its login was encrypted, it
//! goes to every server of the service, and all but one ignore it.
//!
//! The client learns by the end of its connection that its request has been
//! dealt with. So that is closed when the servers have closed theirs, or after
//! [`LIMIT`]. It is no session of the history, and takes no place at the service.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use mio::Interest;
use mio::event::Event;
use mio::unix::SourceFd;
use rustix::io::Errno;

use super::Relay;
use super::session::Backend;
use super::source::Source;
use crate::protocol::postgresql;
use crate::registry::{CloseReason, Server, SessionState};
use crate::socket;

/// How long a request may take: as long as a server gives a client for its first
/// message elsewhere. The session that it is about goes on meanwhile.
const LIMIT: Duration = Duration::from_secs(10);

/// How many connections may deliver requests at a time; beyond it a request is
/// dropped, as a server drops one that comes late. Each takes a descriptor that
/// is counted for no session.
const DELIVERIES_AT_MOST: usize = 64;

/// The connections that deliver requests.
#[derive(Default)]
pub(super) struct Cancels {
    /// By numbers that are never used twice.
    deliveries: BTreeMap<usize, Delivery>,
    next: usize,
}

/// One connection to a server, for one request.
struct Delivery {
    /// The slot of the client that has sent the request.
    slot: usize,
    socket: OwnedFd,
    address: SocketAddr,
    /// The request, behind a PROXY header where the server wants one.
    message: Vec<u8>,
    is_sent: bool,
}

/// How far a delivery has come.
#[derive(PartialEq, Eq)]
enum Progress {
    Waits,
    Over,
}

impl Cancels {
    /// The client has gone, or its time is up.
    pub(super) fn give_up(&mut self, slot: usize) {
        self.deliveries.retain(|_, delivery| delivery.slot != slot);
    }
}

impl Delivery {
    fn progress(&mut self, event: &Event) -> Progress {
        if !self.is_sent {
            if socket::connect_result(&self.socket, self.address).is_err() {
                return Progress::Over;
            }
            if !event.is_writable() {
                return Progress::Waits;
            }
            // A fresh socket takes it whole.
            if socket::write(&self.socket, &self.message) != Ok(self.message.len()) {
                return Progress::Over;
            }
            self.is_sent = true;
        }
        // A server that has read the request closes without an answer.
        match socket::read(&self.socket, &mut [0; 64]) {
            Err(Errno::AGAIN) => Progress::Waits,
            _ => Progress::Over,
        }
    }
}

impl Relay {
    /// Takes a cancel request out of the client's socket, and delivers it.
    pub(super) fn begin_cancel(&mut self, slot: usize, request: &[u8]) {
        if let Some(session) = &self.sessions[slot] {
            let mut taken = request.to_vec();
            // It was there a moment ago.
            let _ = socket::discard(&session.client, &mut taken);
        }
        self.deliver_cancel(slot, request);
    }

    /// Delivers the cancel request that a client has sent.
    pub(super) fn deliver_cancel(&mut self, slot: usize, request: &[u8]) {
        let servers = self.servers_for(slot, request);
        let Some(session) = &mut self.sessions[slot] else {
            return;
        };
        if matches!(session.backend, Backend::Refused(_)) {
            self.refused -= 1;
        }
        session.admission = None;
        session.backend = Backend::Cancelling(0);
        session.record.set_unrecorded();
        session
            .record
            .set_state(SessionState::Stopping, SystemTime::now());
        let begun = servers
            .iter()
            .filter(|server| self.begin_delivery(slot, server, request))
            .count();
        log::debug!(
            "a cancel request goes to {begun} of {} servers",
            servers.len()
        );
        if begun == 0 {
            return self.close(slot, CloseReason::ClientClosed);
        }
        if let Some(session) = &mut self.sessions[slot] {
            session.backend = Backend::Cancelling(begun);
        }
        self.set_deadline(slot, Some(self.now + LIMIT));
    }

    /// The server of the session that a request names, or else all of the service.
    fn servers_for(&self, slot: usize, request: &[u8]) -> Vec<Arc<Server>> {
        let Some(session) = &self.sessions[slot] else {
            return Vec::new();
        };
        let service = self.service_of(&session.record);
        let Some((process_id, key)) = postgresql::cancel(request) else {
            return Vec::new();
        };
        let sessions = self.sessions.iter();
        let meant: Vec<Arc<Server>> = sessions
            .filter_map(|(_, session)| session.as_ref())
            .filter(|session| session.record.service().is(&service))
            .filter(|session| session.watch.is_meant_by(process_id, key))
            .filter_map(|session| session.server().cloned())
            .collect();
        if meant.is_empty() {
            service.servers().to_vec()
        } else {
            meant
        }
    }

    /// Begins to connect to a server. False where that is not possible.
    fn begin_delivery(&mut self, slot: usize, server: &Server, request: &[u8]) -> bool {
        if self.cancels.deliveries.len() >= DELIVERIES_AT_MOST {
            return false;
        }
        let Some(address) = server.addresses().first().copied() else {
            return false;
        };
        let Ok(socket) = socket::begin_connect(address) else {
            return false;
        };
        let number = self.cancels.next;
        let registered = self.poll.registry().register(
            &mut SourceFd(&socket.as_raw_fd()),
            Source::Cancel(number).token(),
            Interest::READABLE | Interest::WRITABLE,
        );
        if registered.is_err() {
            return false;
        }
        let mut message = Vec::new();
        if server.parameters.proxy_protocol
            && let Some(session) = &self.sessions[slot]
        {
            message.extend(session.proxy_header(None).as_bytes());
        }
        message.extend(request);
        self.cancels.next += 1;
        let delivery = Delivery {
            slot,
            socket,
            address,
            message,
            is_sent: false,
        };
        self.cancels.deliveries.insert(number, delivery);
        true
    }

    /// Takes note of an event of a connection that delivers a request.
    pub(super) fn cancel_event(&mut self, number: usize, event: &Event) {
        let Some(delivery) = self.cancels.deliveries.get_mut(&number) else {
            return;
        };
        if delivery.progress(event) == Progress::Waits {
            return;
        }
        let slot = delivery.slot;
        self.cancels.deliveries.remove(&number);
        let Some(Some(session)) = self.sessions.get_mut(slot) else {
            return;
        };
        if let Backend::Cancelling(left) = &mut session.backend {
            *left -= 1;
            if *left == 0 {
                self.close(slot, CloseReason::ClientClosed);
            }
        }
    }
}
