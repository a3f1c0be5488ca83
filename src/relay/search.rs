//! The way from a client to a server: one after the other is tried until one
//! accepts or none is left.
//!
//! A server counts the sessions that are on their way to it, so that clients
//! that come at once are spread evenly.

use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::time::SystemTime;

use mio::Interest;
use mio::event::Event;
use mio::unix::SourceFd;
use rustix::io::Errno;

use super::Relay;
use super::health::{self, Connected};
use super::routing;
use super::session::{Attempt, Backend, Search};
use super::source::Source;
use crate::protocol::{Refusal, proxy};
use crate::registry::{BackendConnection, CloseReason, Server, SessionState};
use crate::socket;

impl Relay {
    /// Begins to connect to the next address or the next server that is left.
    pub(super) fn connect_next(&mut self, slot: usize) {
        while let Some(address) = self.next_address(slot) {
            match self.begin_connect(slot, address) {
                Ok(socket) => {
                    if let Some(attempt) =
                        self.search(slot).and_then(|search| search.attempt.as_mut())
                    {
                        attempt.socket = Some((socket, address));
                    }
                    return;
                }
                Err(errno) if socket::is_shortage(errno) => self.attempt_fell_short(slot, errno),
                Err(errno) => self.address_failed(slot, &errno.to_string()),
            }
        }
        self.no_server(slot);
    }

    /// No server is left to be tried.
    fn no_server(&mut self, slot: usize) {
        let timed_out = self.search(slot).is_some_and(|search| search.timed_out);
        let Some(session) = &self.sessions[slot] else {
            return;
        };
        let service = Arc::clone(session.record.service());
        let reason = if timed_out {
            CloseReason::ConnectTimeout
        } else {
            CloseReason::NoServerAvailable
        };
        let service = service.name();
        self.refuse(slot, &Refusal::NoServer { service }, reason);
    }

    /// The next address of the server that is being tried, or else the first of
    /// the next server. It gets its part of the time that the server has.
    fn next_address(&mut self, slot: usize) -> Option<SocketAddr> {
        loop {
            let service = self.service_of(&self.sessions[slot].as_ref()?.record);
            let (now, fallback) = (self.now, self.health.fallback());
            let search = self.search(slot)?;
            if let Some(attempt) = &mut search.attempt {
                let left = u32::try_from(attempt.addresses.len()).unwrap_or(u32::MAX);
                if let Some(address) = attempt.addresses.next() {
                    let time = attempt.deadline.saturating_duration_since(now) / left;
                    self.set_deadline(slot, Some(now + time));
                    return Some(address);
                }
                self.attempt_failed(slot, "no address of its name is known");
                continue;
            }
            let server = routing::choose(service.servers(), &search.tried, fallback)?;
            search.timed_out = false;
            search.attempt = Some(Attempt {
                lease: server.lease(),
                addresses: server.addresses().to_vec().into_iter(),
                socket: None,
                deadline: now + service.parameters.connect_timeout,
            });
        }
    }

    fn begin_connect(&self, slot: usize, address: SocketAddr) -> Result<OwnedFd, Errno> {
        let socket = socket::begin_connect(address)?;
        let interest = Interest::READABLE | Interest::WRITABLE | Interest::PRIORITY;
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
        // An error shows in the event, and need not be asked for where there is none.
        let result = if event.is_error() || event.is_write_closed() {
            socket::connect_result(&socket, address)
        } else {
            socket::connected_from(&socket, address)
        };
        match result {
            Ok(local) if event.is_writable() => {
                if self.introduce(slot, &socket) {
                    self.connected(slot, socket, address, local.port());
                    return true;
                }
                self.address_failed(slot, "it does not take the PROXY header");
            }
            // Something else than the answer; the answer is still to come.
            Ok(_) => {
                attempt.socket = Some((socket, address));
                return false;
            }
            // It had accepted the connection: that is no server that is down.
            Err(Errno::CONNRESET) => {
                self.close(slot, CloseReason::ServerLost);
                return false;
            }
            Err(errno) => self.address_failed(slot, &errno.to_string()),
        }
        self.connect_next(slot);
        false
    }

    /// An address has not answered within its part of `connect_timeout`.
    pub(super) fn connect_timed_out(&mut self, slot: usize) {
        if let Some(search) = self.search(slot) {
            search.timed_out = true;
        }
        self.address_failed(slot, "no answer within connect_timeout");
        self.connect_next(slot);
    }

    /// The address that is being tried is none; if it was the last, neither is the server.
    fn address_failed(&mut self, slot: usize, cause: &str) {
        let attempt = self.search(slot).and_then(|search| search.attempt.as_ref());
        if attempt.is_some_and(|attempt| attempt.addresses.len() == 0) {
            self.attempt_failed(slot, cause);
        }
    }

    /// The server that is being tried is down.
    fn attempt_failed(&mut self, slot: usize, cause: &str) {
        if let Some(server) = self.give_up_attempt(slot) {
            health::note(&server, Connected::Unreachable(cause.to_owned()));
        }
    }

    /// The server that is being tried cannot be reached for want of something
    /// on this machine, which says nothing about the server.
    fn attempt_fell_short(&mut self, slot: usize, errno: Errno) {
        let Some(server) = self.give_up_attempt(slot) else {
            return;
        };
        if !std::mem::replace(&mut self.shortage_told, true) {
            log::error!(
                "cannot open a connection to server {}: {errno}",
                server.name()
            );
        }
    }

    /// The server that is being tried is none for this session.
    pub(super) fn give_up_attempt(&mut self, slot: usize) -> Option<Arc<Server>> {
        self.set_deadline(slot, None);
        let search = self.search(slot)?;
        let attempt = search.attempt.take()?;
        let server = Arc::clone(attempt.lease.server());
        search.tried.push(Arc::clone(&server));
        Some(server)
    }

    /// Tells a server that wants to know who the client is (PROXY protocol,
    /// section 2.1). A fresh socket takes the header whole.
    fn introduce(&mut self, slot: usize, socket: &OwnedFd) -> bool {
        let Some(session) = &self.sessions[slot] else {
            return false;
        };
        let Backend::Search(search) = &session.backend else {
            return false;
        };
        let wanted = search
            .attempt
            .as_ref()
            .is_some_and(|attempt| attempt.lease.server().parameters.proxy_protocol);
        if !wanted {
            return true;
        }
        let of_connection = || {
            Some(proxy::Addresses {
                source: session.record.client()?.remote()?,
                destination: socket::local_address(&session.client).ok()?,
            })
        };
        let addresses = search.addresses.or_else(of_connection);
        let header = proxy::version_1(addresses.as_ref());
        socket::write(socket, header.as_bytes()) == Ok(header.len())
    }

    fn connected(&mut self, slot: usize, socket: OwnedFd, address: SocketAddr, local_port: u16) {
        self.set_deadline(slot, None);
        let Some(attempt) = self.search(slot).and_then(|search| search.attempt.take()) else {
            return;
        };
        let server = Arc::clone(attempt.lease.server());
        server.prefer(address);
        self.shortage_told = false;
        self.health.note_connect(&server, self.now);
        let Some(session) = &mut self.sessions[slot] else {
            return;
        };
        let now = SystemTime::now();
        session.record.add_connection(
            BackendConnection {
                server,
                address,
                local_port,
                connection_id: None,
            },
            now,
        );
        if session.limits.stop_at().is_none() {
            session.record.set_state(SessionState::Ready, now);
        }
        session.connect(socket, attempt.lease, self.now);
        let due = session.due();
        self.set_deadline(slot, due);
    }

    fn search(&mut self, slot: usize) -> Option<&mut Search> {
        match &mut self.sessions[slot].as_mut()?.backend {
            Backend::Search(search) => Some(search),
            _ => None,
        }
    }
}
