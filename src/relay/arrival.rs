//! What comes before a session has a server: the client's PROXY header, the first
//! message of a PostgreSQL client, its place at the service, and what it is told
//! where there is none.
//!
//! The hard thing is that a client must be able to read why it is not let in.
//! A MariaDB client waits for the server's first word, which is then an error.
//! One of PostgreSQL speaks first, and would take an early word for something
//! else: so its request is awaited, and a wish for encryption declined.
//!
//! A PostgreSQL client's first message says whether there is a session at all:
//! a cancel request is none, takes no place at the service, and goes to the
//! server of the session that it names.
//!
//! All that is read here is looked at where it is, and taken when it is whole:
//! no memory is held for a client that says half a thing.

use std::sync::Arc;
use std::time::SystemTime;

use mio::event::Event;
use rustix::io::Errno;

use super::Relay;
use super::limits::FIRST_MESSAGE_LIMIT;
use super::routing;
use super::session::{Backend, First, Refused, Search, Session};
use crate::config::Protocol;
use crate::protocol::postgresql::{self, Kind};
use crate::protocol::{Refusal, mariadb, proxy};
use crate::registry::{Client, CloseReason, Service, SessionState};
use crate::socket;

/// How often a client may ask for encryption before it says who it is: once
/// for each kind there is.
const ENCRYPTION_REQUESTS: usize = 2;

/// How many clients may be waited for at a time, to be told that they are refused;
/// and at most a quarter of all sessions. Further ones are closed without a word.
const REFUSED_AT_MOST: usize = 64;

/// The longest start of a PostgreSQL session: the server's own limit is 10,000.
pub(super) const LONGEST_OPENING: usize = 16 * 1024;

impl Relay {
    /// Begins with a client that was accepted.
    pub(super) fn arrive(&mut self, slot: usize) {
        let Some(session) = &self.sessions[slot] else {
            return;
        };
        let record = &session.record;
        let networks = &record.listener().parameters.proxy_protocol_networks;
        let peer = record
            .client()
            .and_then(Client::remote)
            .map(|peer| peer.ip());
        let is_trusted =
            peer.is_some_and(|peer| networks.iter().any(|network| network.contains(peer)));
        if is_trusted {
            self.set_deadline(slot, Some(self.now + FIRST_MESSAGE_LIMIT));
        } else {
            self.greet(slot, None);
        }
    }

    /// Goes on with a client whose address is known.
    fn greet(&mut self, slot: usize, addresses: Option<proxy::Addresses>) {
        let Some(session) = &mut self.sessions[slot] else {
            return;
        };
        match session.protocol() {
            Protocol::Tcp => self.admit(slot, addresses, First::Anything),
            Protocol::MariaDb => self.admit(slot, addresses, First::Greeting),
            Protocol::PostgreSql => {
                session.backend = Backend::FirstMessage(addresses);
                let record = Arc::clone(&session.record);
                let service = self.service_of(&record);
                if routing::choose(service.servers(), &[], self.health.fallback()).is_none() {
                    let service = service.name();
                    let refusal = Refusal::NoServer { service };
                    self.refuse(slot, &refusal, CloseReason::NoServerAvailable);
                } else if service.admit().is_none() {
                    self.refuse_too_many(slot, &service);
                } else {
                    self.set_deadline(slot, Some(self.now + FIRST_MESSAGE_LIMIT));
                    self.read_first_message(slot, false);
                }
            }
        }
    }

    /// Looks at what a client of PostgreSQL begins with.
    fn read_first_message(&mut self, slot: usize, ends: bool) {
        let Some(session) = &self.sessions[slot] else {
            return;
        };
        let Backend::FirstMessage(addresses) = session.backend else {
            return;
        };
        let mut buffer = [0; LONGEST_OPENING];
        let length = match socket::peek(&session.client, &mut buffer) {
            Ok(0) => return self.close(slot, CloseReason::ClientClosed),
            Ok(length) => length,
            Err(Errno::AGAIN) => return,
            Err(_) => return self.close(slot, CloseReason::ClientReset),
        };
        if let Some(client) = session.record.client() {
            client.note_heard();
        }
        let first = match postgresql::opening(&buffer[..length]) {
            Ok(None) if !ends => return,
            Ok(Some(opening)) if opening.kind == Kind::Cancel => {
                return self.begin_cancel(slot, &buffer[..opening.length]);
            }
            Ok(Some(opening)) => First::Message {
                length: opening.length,
                is_startup: opening.kind == Kind::Startup,
            },
            // Whatever it is, the server is to answer it.
            Ok(None) | Err(_) => First::Anything,
        };
        self.set_deadline(slot, None);
        self.admit(slot, addresses, first);
    }

    /// Takes note of an event of a client that has no server yet.
    pub(super) fn arrival_event(&mut self, slot: usize, event: &Event) {
        let ends = event.is_read_closed();
        match self.sessions[slot].as_ref().map(|session| &session.backend) {
            Some(Backend::Header) => self.read_header(slot, ends),
            Some(Backend::FirstMessage(_)) => self.read_first_message(slot, ends),
            Some(Backend::Refused(_)) => self.answer_refused(slot, ends),
            _ => {}
        }
    }

    /// Reads the PROXY header that a trusted client begins with (PROXY
    /// protocol, section 2: whoever may send one must).
    fn read_header(&mut self, slot: usize, ends: bool) {
        let Some(session) = &self.sessions[slot] else {
            return;
        };
        let mut buffer = [0; proxy::MAX_LENGTH];
        let length = match socket::peek(&session.client, &mut buffer) {
            Ok(0) => return self.close(slot, CloseReason::ClientClosed),
            Ok(length) => length,
            Err(Errno::AGAIN) => return,
            Err(_) => return self.close(slot, CloseReason::ClientReset),
        };
        if let Some(client) = session.record.client() {
            client.note_heard();
        }
        match proxy::parse(&buffer[..length]) {
            Ok(Some(header)) => {
                // It was there a moment ago.
                let _ = socket::discard(&session.client, &mut buffer[..header.length]);
                if let Some(addresses) = header.addresses {
                    session
                        .record
                        .set_source(addresses.source, SystemTime::now());
                }
                self.set_deadline(slot, None);
                self.greet(slot, header.addresses);
            }
            Ok(None) if ends => self.close(slot, CloseReason::ClientClosed),
            Ok(None) => {}
            Err(malformed) => {
                if let Some(omitted) = self.bad_headers.admit(self.now) {
                    let listener = session.record.listener().name();
                    log::warn!(
                        "listener {listener}: a client of a trusted network {malformed}{omitted}"
                    );
                }
                self.close(slot, CloseReason::ProtocolError);
            }
        }
    }

    /// Lets a client in, where its service has room.
    fn admit(&mut self, slot: usize, addresses: Option<proxy::Addresses>, first: First) {
        let Some(record) = self.sessions[slot].as_ref().map(|session| &session.record) else {
            return;
        };
        let service = self.service_of(record);
        let Some(session) = &mut self.sessions[slot] else {
            return;
        };
        let Some(admission) = service.admit() else {
            return self.refuse_too_many(slot, &service);
        };
        session.admission = Some(admission);
        session.backend = Backend::Search(Box::new(Search {
            attempt: None,
            tried: Vec::new(),
            failure: None,
            addresses,
            first,
        }));
        self.connect_next(slot);
    }

    fn refuse_too_many(&mut self, slot: usize, service: &Service) {
        let refusal = Refusal::TooManyConnections {
            service: service.name(),
            limit: service.parameters.max_connections,
        };
        self.refuse(slot, &refusal, CloseReason::TooManyConnections);
    }

    /// Ends a session that has no server, and tells the client why in its own
    /// protocol, where that has words for it.
    pub(super) fn refuse(&mut self, slot: usize, refusal: &Refusal<'_>, reason: CloseReason) {
        let Some(session) = &mut self.sessions[slot] else {
            return;
        };
        session.admission = None;
        match session.record.listener().parameters.protocol {
            Protocol::Tcp => self.close(slot, reason),
            Protocol::MariaDb => {
                self.tell(slot, &mariadb::refuse(refusal));
                self.close(slot, reason);
            }
            Protocol::PostgreSql => {
                let most = (self.acceptor.sessions_at_most() / 4).clamp(1, REFUSED_AT_MOST);
                if self.refused >= most {
                    return self.close(slot, reason);
                }
                self.refused += 1;
                session.backend = Backend::Refused(Box::new(Refused {
                    answer: postgresql::refuse(refusal),
                    reason,
                    encryption_requests: ENCRYPTION_REQUESTS,
                }));
                session
                    .record
                    .set_state(SessionState::Stopping, SystemTime::now());
                self.set_deadline(slot, Some(self.now + FIRST_MESSAGE_LIMIT));
                self.answer_refused(slot, false);
            }
        }
    }

    /// Ends a session. A client that waits for its server is told why, as far as
    /// that can be at once.
    pub(super) fn turn_away(&mut self, slot: usize, reason: CloseReason) {
        let Some(session) = &self.sessions[slot] else {
            return;
        };
        let reason = session.first_reason().unwrap_or(reason);
        if matches!(session.backend, Backend::Search(_)) {
            let service = Arc::clone(session.record.service());
            let service = service.name();
            let refusal = match reason {
                CloseReason::Killed => Refusal::Killed { service },
                _ => Refusal::Stopped { service },
            };
            self.refuse(slot, &refusal, reason);
        }
        self.close(slot, reason);
    }

    /// Reads what a client of PostgreSQL wants, and answers it.
    fn answer_refused(&mut self, slot: usize, ends: bool) {
        loop {
            let Some(session) = &mut self.sessions[slot] else {
                return;
            };
            let Session {
                backend: Backend::Refused(refused),
                record,
                client,
                ..
            } = session
            else {
                return;
            };
            let reason = refused.reason;
            let mut buffer = [0; LONGEST_OPENING];
            let length = match socket::peek(&*client, &mut buffer) {
                Err(Errno::AGAIN) => return,
                Ok(0) | Err(_) => return self.close(slot, reason),
                Ok(length) => length,
            };
            if let Some(client) = record.client() {
                client.note_heard();
            }
            let opening = match postgresql::opening(&buffer[..length]) {
                Ok(None) if !ends && length < LONGEST_OPENING => return,
                Ok(Some(opening)) => opening,
                Ok(None) | Err(_) => return self.close(slot, reason),
            };
            // It was there a moment ago.
            let _ = socket::discard(&*client, &mut buffer[..opening.length]);
            match opening.kind {
                Kind::EncryptionRequest(_) if refused.encryption_requests > 0 => {
                    refused.encryption_requests -= 1;
                    // Whoever is gone need not be told.
                    let _ = socket::write(&*client, b"N");
                }
                Kind::Startup => {
                    let answer = std::mem::take(&mut refused.answer);
                    self.tell(slot, &answer);
                    return self.close(slot, reason);
                }
                Kind::Cancel => {
                    let request = buffer[..opening.length].to_vec();
                    return self.deliver_cancel(slot, &request);
                }
                Kind::EncryptionRequest(_) => return self.close(slot, reason),
            }
        }
    }

    /// Sends a client its last word. A fresh socket takes it whole.
    pub(super) fn tell(&mut self, slot: usize, word: &[u8]) {
        let Some(session) = &self.sessions[slot] else {
            return;
        };
        let client = &session.client;
        // Whoever is gone need not be told.
        if socket::write(client, word).is_ok() {
            let _ = socket::end_stream(client);
            // What is unread when a socket closes makes a reset of the end.
            let mut rest = [0; 1024];
            let _ = socket::read(client, &mut rest);
        }
    }
}
