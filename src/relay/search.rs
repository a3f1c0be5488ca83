//! The way from a client to a server: one after the other is tried until one
//! accepts or none is left.
//!
//! A server counts the sessions that are on their way to it, so that clients
//! that come at once are spread evenly.

use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;

use mio::Interest;
use mio::event::Event;
use mio::unix::SourceFd;
use rustix::io::Errno;

use super::Relay;
use super::health::Connected;
use super::routing;
use super::session::{Attempt, Backend, Search};
use super::source::Source;
use crate::registry::{BackendConnection, CloseReason, SessionState};
use crate::socket;

impl Relay {
    /// Begins to connect to the next address or the next server that is left.
    pub(super) fn connect_next(&mut self, slot: usize) {
        loop {
            let Some(address) = self.next_address(slot) else {
                return self.close(slot, CloseReason::NoServerAvailable);
            };
            match self.begin_connect(slot, address) {
                Ok(socket) => {
                    if let Some(attempt) =
                        self.search(slot).and_then(|search| search.attempt.as_mut())
                    {
                        attempt.socket = Some((socket, address));
                    }
                    return;
                }
                Err(errno) if socket::is_shortage(errno) => {
                    log::error!("cannot open a connection to a server: {errno}");
                    return self.close(slot, CloseReason::NoServerAvailable);
                }
                Err(errno) => self.address_failed(slot, &errno.to_string()),
            }
        }
    }

    /// The next address of the server that is being tried, or else the first of
    /// the next server.
    fn next_address(&mut self, slot: usize) -> Option<SocketAddr> {
        loop {
            let service = {
                let session = self.sessions[slot].as_ref()?;
                Arc::clone(session.record.service())
            };
            let now = self.now;
            let search = self.search(slot)?;
            if let Some(attempt) = &mut search.attempt {
                if let Some(address) = attempt.addresses.next() {
                    return Some(address);
                }
                self.attempt_failed(slot, "no address of its name is known");
                continue;
            }
            let server = routing::choose(service.servers(), &search.tried)?;
            let deadline = now + service.parameters.connect_timeout;
            search.attempt = Some(Attempt {
                lease: server.lease(),
                addresses: server.addresses().to_vec().into_iter(),
                socket: None,
            });
            self.set_deadline(slot, Some(deadline));
        }
    }

    fn begin_connect(&self, slot: usize, address: SocketAddr) -> Result<OwnedFd, Errno> {
        let socket = socket::begin_connect(address)?;
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.poll
            .registry()
            .register(
                &mut SourceFd(&socket.as_raw_fd()),
                Source::Server(slot).token(),
                interest,
            )
            .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::NOMEM))?;
        Ok(socket)
    }

    /// Takes note of an event of the socket that is being connected. True when
    /// the session has its server.
    pub(super) fn connect_event(&mut self, slot: usize, event: &Event) -> bool {
        let Some(attempt) = self.search(slot).and_then(|search| search.attempt.as_mut()) else {
            return false;
        };
        let Some((socket, address)) = attempt.socket.take() else {
            return false;
        };
        let result = socket::connect_result(&socket).and_then(|()| socket::local_address(&socket));
        match result {
            // A connect to a free port of this machine can meet itself.
            Ok(local) if local == address => self.address_failed(slot, "it is not listening"),
            Ok(local) if event.is_writable() => {
                self.connected(slot, socket, address, local.port());
                return true;
            }
            // Something else than the answer; the answer is still to come.
            Ok(_) => {
                attempt.socket = Some((socket, address));
                return false;
            }
            Err(errno) => self.address_failed(slot, &errno.to_string()),
        }
        self.connect_next(slot);
        false
    }

    /// A server has not answered within `connect_timeout`.
    pub(super) fn connect_timed_out(&mut self, slot: usize) {
        self.attempt_failed(slot, "no answer within connect_timeout");
        self.connect_next(slot);
    }

    /// The address that is being tried is none; if it was the last, neither is the server.
    fn address_failed(&mut self, slot: usize, cause: &str) {
        let attempt = self.search(slot).and_then(|search| search.attempt.as_ref());
        if attempt.is_some_and(|attempt| attempt.addresses.len() == 0) {
            self.attempt_failed(slot, cause);
        }
    }

    /// The server that is being tried is none for this session.
    fn attempt_failed(&mut self, slot: usize, cause: &str) {
        self.set_deadline(slot, None);
        let Some(search) = self.search(slot) else {
            return;
        };
        let Some(attempt) = search.attempt.take() else {
            return;
        };
        let server = Arc::clone(attempt.lease.server());
        search.tried.push(Arc::clone(&server));
        self.health
            .note(&server, Connected::No(cause.to_owned()), self.now);
    }

    fn connected(&mut self, slot: usize, socket: OwnedFd, address: SocketAddr, local_port: u16) {
        self.set_deadline(slot, None);
        let Some(attempt) = self.search(slot).and_then(|search| search.attempt.take()) else {
            return;
        };
        let server = Arc::clone(attempt.lease.server());
        server.prefer(address);
        self.health.note(&server, Connected::Yes, self.now);
        let Some(session) = &mut self.sessions[slot] else {
            return;
        };
        if let Some(client) = session.record.client() {
            client.add_connection(BackendConnection {
                server,
                address,
                local_port,
            });
        }
        session.record.set_state(SessionState::Ready);
        session.connect(socket, attempt.lease);
    }

    fn search(&mut self, slot: usize) -> Option<&mut Search> {
        match &mut self.sessions[slot].as_mut()?.backend {
            Backend::Search(search) => Some(search),
            Backend::Connected { .. } => None,
        }
    }
}
