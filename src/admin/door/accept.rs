//! Who comes in through the door, and who makes room for whom.
//!
//! The hard thing is to let an honest client in whatever others do: when all
//! slots are taken, whoever waits longest without a whole request goes, then
//! whoever does not read; and where all are busy, one is served for the last time.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Interest, Token};
use rustix::io::Errno;

use super::connection::Connection;
use super::{Door, FIRST_CLIENT};
use crate::admin::StartError;
use crate::admin::access::{Credentials, Peer};
use crate::admin::client::ClientNumber;
use crate::config::{self, AdminSocket, Endpoint};
use crate::inherited::{self, Inherited};
use crate::socket::{self, Accepted, Listening, Permissions};

/// How long accepting rests when the system has nothing left to accept with.
const SHORTAGE_PAUSE: Duration = Duration::from_millis(100);

/// How long accepting rests when every client is being answered.
const BUSY_PAUSE: Duration = Duration::from_millis(5);

/// The place of the TCP listener among the listeners; the unix socket's is behind it.
pub(super) const TCP: usize = 0;

/// Which part of the slots is kept for clients of the unix socket: an eighth, and one
/// at least.
const UNIX_PART: usize = 8;

/// How many clients a listener accepts before those that are here have their turn.
const BURST: usize = 64;

/// What the kernel may hold for a client that does not read: enough for any
/// answer that is not long, and for a long one to flow.
const SEND_BUFFER: usize = 256 * 1024;

/// A place where clients arrive.
pub(super) struct Listener {
    pub(super) listening: Listening,
    /// Clients may be waiting to be accepted.
    pub(super) ready: bool,
    /// Until when it accepts none.
    pub(super) paused: Option<Instant>,
}

impl Listener {
    fn new(listening: Listening) -> Self {
        Self {
            listening,
            ready: false,
            paused: None,
        }
    }

    pub(super) fn can_accept(&self) -> bool {
        self.ready && self.paused.is_none()
    }
}

/// Listens on the address, and on the unix socket where there is one, unless
/// somebody does already for us.
pub(super) fn listen(
    parameters: &config::Admin,
    inherited: &Inherited,
) -> Result<Vec<Listener>, StartError> {
    let address = SocketAddr::new(parameters.host, parameters.port);
    let endpoint = Endpoint::Tcp {
        address: Some(parameters.host),
        port: parameters.port,
    };
    let tcp = inherited.find(inherited::ADMIN, &endpoint).transpose();
    let tcp = tcp.unwrap_or_else(|| Listening::tcp(address));
    let tcp = tcp.map_err(|cause| StartError::Listen(address.to_string(), cause))?;
    let limited = tcp.limit_send_buffers(SEND_BUFFER);
    limited.map_err(|cause| StartError::Listen(address.to_string(), cause))?;
    let mut listeners = vec![Listener::new(tcp)];
    if let Some(AdminSocket {
        path,
        mode,
        owner,
        group,
    }) = &parameters.socket
    {
        let permissions = Permissions {
            mode: *mode,
            owner: *owner,
            group: *group,
        };
        let passed = inherited.find(inherited::ADMIN_SOCKET, &Endpoint::Unix(path.clone()));
        let unix = passed.transpose();
        let unix = unix.unwrap_or_else(|| Listening::unix(path, &permissions));
        let unix = unix.map_err(|cause| StartError::Listen(path.display().to_string(), cause))?;
        listeners.push(Listener::new(unix));
    }
    Ok(listeners)
}

impl Door {
    /// Accepts the clients that wait, a burst from each listener.
    pub(super) fn accept(&mut self) {
        // The unix socket's come first.
        for index in (0..self.listeners.len()).rev() {
            let listener = &mut self.listeners[index];
            listener.paused = listener.paused.filter(|until| *until > self.now);
            for _ in 0..BURST {
                if self.listeners[index].can_accept() {
                    self.accept_one(index);
                }
            }
        }
    }

    fn accept_one(&mut self, index: usize) {
        if self.is_full(index) && self.most_dispensable(index).is_none() {
            if !self.listeners[index].listening.has_waiting() {
                self.listeners[index].ready = false;
                return;
            }
            // All are busy. They keep their slots for this answer, but one of them no longer.
            self.retire_the_oldest();
            self.listeners[index].paused = Some(self.now + BUSY_PAUSE);
            return;
        }
        match self.listeners[index].listening.accept() {
            Ok(accepted) => {
                self.shortage_told = false;
                self.admit(index, accepted);
            }
            Err(Errno::AGAIN) => self.listeners[index].ready = false,
            // The client was gone before it was accepted; the next one may be there.
            Err(Errno::CONNABORTED | Errno::PROTO | Errno::INTR) => {}
            Err(errno) => {
                // Whoever is waiting gives up a descriptor for whoever comes.
                if let Some(slot) = self
                    .most_dispensable(index)
                    .filter(|_| socket::is_shortage(errno))
                {
                    self.remove(slot);
                    return;
                }
                if !std::mem::replace(&mut self.shortage_told, true) {
                    log::warn!("cannot accept an admin client: {errno}");
                }
                self.listeners[index].paused = Some(self.now + SHORTAGE_PAUSE);
            }
        }
    }

    /// Whether a listener's clients have all the slots that they may have.
    /// Those who come over the unix socket have some to themselves.
    fn is_full(&self, index: usize) -> bool {
        let has_unix_socket = self.listeners.len() > 1;
        let kept_free = if has_unix_socket && index == TCP {
            let part = (self.clients_at_most / UNIX_PART).max(1);
            // Where there is one alone, nobody of TCP would ever come in.
            part.min(self.clients_at_most - 1)
        } else {
            0
        };
        self.connections.len() - self.left.len() >= self.clients_at_most - kept_free
    }

    /// The slot of the client that can best be done without: the one that has
    /// waited longest without a whole request, or else the one that has not
    /// read its answer for longest. `None` where all are at work. Nobody of the
    /// unix socket makes room for somebody of TCP.
    fn most_dispensable(&self, index: usize) -> Option<usize> {
        let dispensable = self.connections.iter().filter_map(|(slot, connection)| {
            let connection = connection
                .as_ref()
                .filter(|connection| index != TCP || connection.is_tcp())?;
            let rank = connection.dispensable(self.now);
            rank.map(|rank| (rank, slot))
        });
        dispensable.min().map(|(_, slot)| slot)
    }

    /// Makes the current answer the last one for the client that has been here
    /// longest, so that nobody can keep all slots by asking without a pause.
    fn retire_the_oldest(&mut self) {
        let connections = self
            .connections
            .iter_mut()
            .filter_map(|(_, connection)| connection.as_mut());
        if let Some(oldest) = connections
            .filter(|connection| !connection.is_retiring())
            .min_by_key(|connection| connection.number().0)
        {
            oldest.retire();
        }
    }

    pub(super) fn admit(&mut self, index: usize, accepted: Accepted) {
        let peer = match (index, accepted.remote) {
            (TCP, Some(remote)) => Peer::Tcp(remote, self.local_address(&accepted)),
            // A TCP client without an address has left already.
            (TCP, None) => return,
            _ => {
                // Where the system does not tell, nobody is named.
                let (user, process) =
                    socket::peer_credentials(&accepted.fd).unwrap_or((u32::MAX, 0));
                Peer::Unix(Credentials { user, process })
            }
        };
        if self.has_its_share(&peer) {
            return;
        }
        if self.is_full(index)
            && let Some(slot) = self.most_dispensable(index)
        {
            self.remove(slot);
        }
        let number = ClientNumber(self.next_number);
        self.next_number += 1;
        let slot = self.connections.vacant_key();
        let client = self.clients.add(number, slot, accepted.fd, peer, self.now);
        let interest = Interest::READABLE | Interest::WRITABLE;
        let watched = self.poll.registry().register(
            &mut SourceFd(&client.as_raw_fd()),
            Token(slot + FIRST_CLIENT),
            interest,
        );
        if let Err(cause) = watched {
            log::error!("cannot watch an admin client's connection: {cause}");
            self.clients.remove(number);
            return;
        }
        self.connections
            .insert(Some(Connection::new(client, self.now)));
    }

    /// Our address that a client has connected to; it is asked for only where it matters.
    fn local_address(&self, accepted: &Accepted) -> IpAddr {
        let unknown = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
        if !self.on_all_addresses {
            return unknown;
        }
        socket::local_address(&accepted.fd).map_or(unknown, |address| address.ip().to_canonical())
    }

    /// Whether one address of another machine has as many connections as it may: a quarter.
    fn has_its_share(&self, peer: &Peer) -> bool {
        let Peer::Tcp(remote, _) = peer else {
            return false;
        };
        if remote.ip().is_loopback() {
            return false;
        }
        let connections = self
            .connections
            .iter()
            .filter_map(|(_, connection)| connection.as_ref());
        connections
            .filter(|connection| connection.is_from(remote.ip()))
            .count()
            >= self.clients_at_most / 4
    }
}
