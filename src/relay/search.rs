//! The way from a client to a server: one after the other is tried until one
//! takes the client or none is left.
//!
//! A server of a database has not taken a client because it has accepted a
//! connection: its first word may be that it has no room, or is not ready. So
//! that word is looked at before the client gets it. The client's own first
//! message stays in its socket until then, and the next server is sent it, too;
//! nothing of it is held here.
//!
//! A server counts the sessions that are on their way to it, so that clients
//! that come at once are spread evenly.

use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use mio::Interest;
use mio::event::Event;
use mio::unix::SourceFd;
use rustix::io::Errno;

use super::Relay;
use super::arrival::LONGEST_OPENING;
use super::health::{self, Connected};
use super::limits::{FIRST_MESSAGE_LIMIT, LOGIN_LIMIT};
use super::routing;
use super::session::{Attempt, Backend, Failure, First, Search, Session};
use super::source::Source;
use crate::protocol::postgresql::Kind;
use crate::protocol::{FirstAnswer, Refusal, mariadb, postgresql};
use crate::registry::{BackendConnection, CloseReason, Server, SessionState};
use crate::socket;

/// How much of a server's first word is looked at: an error has some hundred bytes.
const LONGEST_FIRST_WORD: usize = 4096;

impl Relay {
    /// Begins to connect to the next address or the next server that is left.
    pub(super) fn connect_next(&mut self, slot: usize) {
        while let Some(address) = self.next_address(slot) {
            match self.begin_connect(slot, address) {
                Ok(socket) => {
                    if let Some(attempt) = self.attempt(slot) {
                        attempt.socket = Some((socket, address));
                        attempt.server_ends = false;
                    }
                    return;
                }
                Err(errno) if socket::is_shortage(errno) => {
                    self.attempt_fell_short(slot, &socket::shortage_in_words(errno, address));
                }
                Err(errno) => self.address_failed(slot, &errno.to_string()),
            }
        }
        self.no_server(slot);
    }

    /// No server is left to be tried. Where one has said why it does not take the
    /// client, the client gets those words.
    fn no_server(&mut self, slot: usize) {
        let failure = self.search(slot).and_then(|search| search.failure.take());
        let Some(session) = &self.sessions[slot] else {
            return;
        };
        let reason = match failure {
            Some(Failure::Unavailable { words, server }) => {
                return self.pass_on_refusal(slot, &words, &server);
            }
            Some(Failure::Silent(reason)) => return self.close(slot, reason),
            Some(Failure::TimedOut) => CloseReason::ConnectTimeout,
            None => CloseReason::NoServerAvailable,
        };
        let service = Arc::clone(session.record.service());
        let service = service.name();
        self.refuse(slot, &Refusal::NoServer { service }, reason);
    }

    /// Tells the client in the last server's own words that it is not let in.
    fn pass_on_refusal(&mut self, slot: usize, words: &[u8], server: &Server) {
        let first = self.search(slot).map(|search| search.first);
        if let Some(session) = &mut self.sessions[slot] {
            session.begin_watch();
        }
        if let Some(First::Message { length, .. }) = first {
            self.take_first_message(slot, length);
        }
        let Some(session) = &mut self.sessions[slot] else {
            return;
        };
        session.admission = None;
        if let Some(error) = session.note_refusal(words, &mut self.scratch) {
            let record = Arc::clone(&session.record);
            self.log_refused_login(&record, server.name(), &error);
        }
        self.tell(slot, words);
        self.close(slot, CloseReason::LoginRefused);
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
            if !matches!(search.failure, Some(Failure::Unavailable { .. })) {
                search.failure = None;
            }
            search.attempt = Some(Attempt {
                lease: server.lease(),
                addresses: server.addresses().to_vec().into_iter(),
                socket: None,
                accepted: None,
                server_ends: false,
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

    /// Takes note of an event of the socket of the server that is being tried.
    /// True when the session has its server.
    pub(super) fn connect_event(&mut self, slot: usize, event: &Event) -> bool {
        let Some(attempt) = self.attempt(slot) else {
            return false;
        };
        attempt.server_ends |= event.is_read_closed() || event.is_error();
        if attempt.accepted.is_some() {
            return self.hear_server(slot);
        }
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
                    return self.accepted(slot, socket, address, local.port());
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
                self.server_is_silent(slot, CloseReason::ServerLost);
                return false;
            }
            Err(errno) => self.address_failed(slot, &errno.to_string()),
        }
        self.connect_next(slot);
        false
    }

    /// The server has accepted the connection. True where that is all that is
    /// wanted of it; else its first word is awaited.
    fn accepted(
        &mut self,
        slot: usize,
        socket: OwnedFd,
        address: SocketAddr,
        local_port: u16,
    ) -> bool {
        let connect_timeout = self.sessions[slot]
            .as_ref()
            .map_or(Duration::ZERO, |session| {
                session.record.service().parameters.connect_timeout
            });
        let now = self.now;
        let Some(search) = self.search(slot) else {
            return false;
        };
        let first = search.first;
        let Some(attempt) = &mut search.attempt else {
            return false;
        };
        attempt.socket = Some((socket, address));
        attempt.accepted = Some(local_port);
        let server = Arc::clone(attempt.lease.server());
        server.prefer(address);
        self.shortage_told = false;
        if let Some(session) = &self.sessions[slot] {
            let connection = BackendConnection {
                server,
                address,
                local_port,
                connection_id: None,
            };
            session.record.add_connection(connection, SystemTime::now());
        }
        match first {
            First::Anything => {
                self.connected(slot);
                true
            }
            First::Greeting => {
                self.set_deadline(slot, Some(now + connect_timeout));
                self.hear_server(slot)
            }
            First::Awaited => {
                self.set_deadline(slot, Some(now + FIRST_MESSAGE_LIMIT));
                self.client_spoke(slot);
                false
            }
            First::Message { length, .. } => {
                self.forward_first_message(slot, length);
                // The event of its acceptance may be that of its first word, too.
                self.hear_server(slot)
            }
        }
    }

    /// Sends the server what waits in the client's socket, and leaves it there:
    /// another server may have to be sent the same. A fresh socket takes it whole.
    fn forward_first_message(&mut self, slot: usize, length: usize) {
        let until = self.login_until(slot);
        let Some(session) = &self.sessions[slot] else {
            return;
        };
        let Backend::Search(search) = &session.backend else {
            return;
        };
        let Some((server, _)) = search
            .attempt
            .as_ref()
            .and_then(|attempt| attempt.socket.as_ref())
        else {
            return;
        };
        let mut buffer = [0; LONGEST_OPENING];
        let message = &mut buffer[..length];
        // It was there a moment ago.
        let is_whole = socket::peek(&session.client, message) == Ok(length);
        if !is_whole {
            return self.close(slot, CloseReason::ClientReset);
        }
        match socket::write(server, message) {
            Ok(written) if written == length => self.set_deadline(slot, Some(until)),
            _ => self.server_is_silent(slot, CloseReason::ServerLost),
        }
    }

    /// Until when the login may last that the client has begun.
    fn login_until(&mut self, slot: usize) -> Instant {
        let now = self.now;
        let Some(session) = &mut self.sessions[slot] else {
            return now;
        };
        let until = session.limits.login().unwrap_or(now + LOGIN_LIMIT);
        session.limits.await_login(until);
        until
    }

    /// Looks at the first word of the server that is being tried. True when the
    /// session has its server.
    fn hear_server(&mut self, slot: usize) -> bool {
        let Some(session) = &self.sessions[slot] else {
            return false;
        };
        let Backend::Search(search) = &session.backend else {
            return false;
        };
        let Some(attempt) = &search.attempt else {
            return false;
        };
        let Some((server, _)) = &attempt.socket else {
            return false;
        };
        let ends = attempt.server_ends;
        let mut buffer = [0; LONGEST_FIRST_WORD];
        let length = match socket::peek(server, &mut buffer) {
            Err(Errno::AGAIN) => return false,
            Ok(0) => {
                self.server_is_silent(slot, CloseReason::ServerClosed);
                return false;
            }
            Err(_) => {
                self.server_is_silent(slot, CloseReason::ServerLost);
                return false;
            }
            Ok(length) => length,
        };
        let word = &buffer[..length];
        let answer = match search.first {
            First::Greeting => mariadb::first_packet(word),
            First::Message { .. } => postgresql::first_answer(word),
            // A server of PostgreSQL says nothing before it is asked.
            First::Awaited | First::Anything => FirstAnswer::Pass,
        };
        let is_encryption_request = matches!(
            search.first,
            First::Message {
                is_startup: false,
                ..
            }
        );
        match answer {
            FirstAnswer::Partial if !ends && length < LONGEST_FIRST_WORD => false,
            FirstAnswer::Pass if is_encryption_request && word == b"N" => {
                self.decline_encryption(slot);
                false
            }
            FirstAnswer::Partial | FirstAnswer::Pass => {
                self.connected(slot);
                true
            }
            FirstAnswer::Unavailable { error, length } => {
                let words = word[..length].to_vec();
                if let Some(server) = self.give_up_attempt(slot) {
                    health::note(&server, Connected::Unavailable(error.to_string()));
                    if let Some(search) = self.search(slot) {
                        search.failure = Some(Failure::Unavailable { words, server });
                    }
                }
                self.connect_next(slot);
                false
            }
        }
    }

    /// The server that is being tried has ended the connection before its first
    /// word: another one may have more to say.
    fn server_is_silent(&mut self, slot: usize, reason: CloseReason) {
        let Some(search) = self.search(slot) else {
            return;
        };
        if search.first == First::Anything {
            return self.close(slot, reason);
        }
        search.failure = Some(Failure::Silent(reason));
        self.give_up_attempt(slot);
        self.connect_next(slot);
    }

    /// Passes on that the server does not encrypt. The client's next message
    /// decides what is next.
    fn decline_encryption(&mut self, slot: usize) {
        let Some(Session {
            backend: Backend::Search(search),
            client,
            ..
        }) = &mut self.sessions[slot]
        else {
            return;
        };
        let First::Message { length, .. } = search.first else {
            return;
        };
        let Some((server, _)) = search
            .attempt
            .as_ref()
            .and_then(|attempt| attempt.socket.as_ref())
        else {
            return;
        };
        let mut buffer = [0; LONGEST_OPENING];
        // Both were there a moment ago, and a client that has gone need not be told.
        let _ = socket::discard(server, &mut buffer[..1]);
        let _ = socket::discard(&*client, &mut buffer[..length]);
        let _ = socket::write(&*client, b"N");
        search.first = First::Awaited;
        self.set_deadline(slot, Some(self.now + FIRST_MESSAGE_LIMIT));
        self.client_spoke(slot);
    }

    /// Looks at what a client has sent whose next message is awaited.
    pub(super) fn client_spoke(&mut self, slot: usize) {
        let Some(session) = &mut self.sessions[slot] else {
            return;
        };
        let ends = session.client_has_left();
        let Backend::Search(search) = &mut session.backend else {
            return;
        };
        if search.first != First::Awaited {
            return;
        }
        let mut buffer = [0; LONGEST_OPENING];
        let length = match socket::peek(&session.client, &mut buffer) {
            Ok(0) => return self.close(slot, CloseReason::ClientClosed),
            Ok(length) => length,
            Err(Errno::AGAIN) => return,
            Err(_) => return self.close(slot, CloseReason::ClientReset),
        };
        let is_accepted = search
            .attempt
            .as_ref()
            .is_some_and(|attempt| attempt.accepted.is_some());
        match postgresql::opening(&buffer[..length]) {
            Ok(None) if !ends => {}
            Ok(Some(opening)) if opening.kind == Kind::Cancel => {
                self.give_up_attempt(slot);
                self.begin_cancel(slot, &buffer[..opening.length]);
            }
            Ok(Some(opening)) => {
                search.first = First::Message {
                    length: opening.length,
                    is_startup: opening.kind == Kind::Startup,
                };
                if is_accepted {
                    self.forward_first_message(slot, opening.length);
                }
            }
            // Whatever it is, the server is to answer it.
            Ok(None) | Err(_) => {
                search.first = First::Anything;
                if is_accepted {
                    self.connected(slot);
                    self.advance(slot);
                }
            }
        }
    }

    /// What the session waited for has not come in time: an address has not
    /// accepted the connection, or a server or the client says nothing.
    pub(super) fn attempt_timed_out(&mut self, slot: usize) {
        let Some(search) = self.search(slot) else {
            return;
        };
        let is_accepted = search
            .attempt
            .as_ref()
            .is_some_and(|attempt| attempt.accepted.is_some());
        let cause = match search.first {
            First::Awaited | First::Message { .. } if is_accepted => {
                return self.close(slot, CloseReason::ConnectTimeout);
            }
            First::Greeting if is_accepted => "no greeting within connect_timeout",
            _ => "no answer within connect_timeout",
        };
        search.failure = Some(Failure::TimedOut);
        self.address_failed(slot, cause);
        self.connect_next(slot);
    }

    /// The connection that the session had for a moment is not its own any more.
    fn forget_connection(&mut self, slot: usize) {
        let Some(attempt) = self.attempt(slot) else {
            return;
        };
        if attempt.accepted.take().is_some()
            && let Some(session) = &self.sessions[slot]
        {
            session.record.remove_connection(SystemTime::now());
        }
    }

    /// The address that is being tried is none; if it was the last, neither is the server.
    fn address_failed(&mut self, slot: usize, cause: &str) {
        self.forget_connection(slot);
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
    fn attempt_fell_short(&mut self, slot: usize, cause: &str) {
        let Some(server) = self.give_up_attempt(slot) else {
            return;
        };
        if !std::mem::replace(&mut self.shortage_told, true) {
            log::error!(
                "cannot open a connection to server {}: {cause}",
                server.name()
            );
        }
    }

    /// The server that is being tried is none for this session.
    pub(super) fn give_up_attempt(&mut self, slot: usize) -> Option<Arc<Server>> {
        self.set_deadline(slot, None);
        self.forget_connection(slot);
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
        let header = session.proxy_header(search.addresses);
        socket::write(socket, header.as_bytes()) == Ok(header.len())
    }

    /// The server that is being tried is the session's.
    fn connected(&mut self, slot: usize) {
        self.set_deadline(slot, None);
        let Some(search) = self.search(slot) else {
            return;
        };
        let first = search.first;
        let Some(Attempt {
            lease,
            socket: Some((socket, _)),
            server_ends,
            ..
        }) = search.attempt.take()
        else {
            return;
        };
        let server = Arc::clone(lease.server());
        match first {
            // The answer to a wish for encryption says nothing about the server.
            First::Message {
                is_startup: false, ..
            }
            | First::Awaited => {}
            First::Anything => self.health.note_connect(&server, self.now),
            First::Greeting | First::Message { .. } => health::note(&server, Connected::Yes),
        }
        let Some(session) = &mut self.sessions[slot] else {
            return;
        };
        let now = SystemTime::now();
        if session.limits.stop_at().is_none() {
            session.record.set_state(SessionState::Ready, now);
        }
        session.connect(socket, lease, self.now);
        match first {
            First::Message { length, .. } => self.take_first_message(slot, length),
            First::Greeting => session.await_first_message(self.now),
            First::Anything | First::Awaited => {}
        }
        let Some(session) = &mut self.sessions[slot] else {
            return;
        };
        if first != First::Anything {
            session.server_has_spoken(server_ends);
        }
        let due = session.due();
        self.set_deadline(slot, due);
    }

    /// Takes the client's first message out of its socket, now that a server has
    /// answered it.
    fn take_first_message(&mut self, slot: usize, length: usize) {
        let Some(session) = &mut self.sessions[slot] else {
            return;
        };
        let mut buffer = [0; LONGEST_OPENING];
        // It was there a moment ago.
        if socket::read(&session.client, &mut buffer[..length]) == Ok(length) {
            session.take_first_message(&buffer[..length], &mut self.scratch, self.now);
        }
    }

    fn search(&mut self, slot: usize) -> Option<&mut Search> {
        match &mut self.sessions[slot].as_mut()?.backend {
            Backend::Search(search) => Some(search),
            _ => None,
        }
    }

    fn attempt(&mut self, slot: usize) -> Option<&mut Attempt> {
        self.search(slot)?.attempt.as_mut()
    }
}
