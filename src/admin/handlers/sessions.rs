//! `/v1/sessions` and `/v1/sessions/:id`.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use super::relationship;
use crate::jsonapi::{Collection, Emit, Resource, View, write_object};
use crate::registry::{BackendConnection, Client, Encryption, Login, Session, SessionState};

/// All sessions.
pub(super) const SESSIONS: Collection = Collection {
    of: "sessions",
    path: "/v1/sessions/",
};

impl Resource for Arc<Session> {
    fn collection(&self) -> Collection {
        SESSIONS
    }

    /// In the key order that the users' document fixes.
    fn emit<E: Emit>(&self, out: &mut E, view: &View) {
        let mut room = itoa::Buffer::new();
        let id = room.format(self.id().get());
        let relationships = |out: &mut E| {
            out.key("services");
            out.begin_object();
            out.key("links");
            out.begin_object();
            out.key("self");
            view.links.write_path(out, "/v1/services/");
            out.end_object();
            relationship::write_data(out, "services", [self.service().name()]);
            out.end_object();
        };
        let attributes = |out: &mut E| {
            let ending = self.ending();
            let state = match ending {
                Some(_) => SessionState::Freed,
                None => self.state(),
            };
            out.member_plain("state", state.as_str());
            out.member_plain("connected", &view.asctime.of(self.connected()));
            if let Some(client) = self.client() {
                write_client(out, self, client, view);
            }
            if let Some(ending) = ending {
                out.member_plain("closed", &view.asctime.of(ending.time));
                out.member_plain("close_reason", ending.reason.as_str());
            }
        };
        write_object(out, SESSIONS, id, view, relationships, attributes);
    }
}

/// What a client's session has and a listener's has not.
fn write_client(out: &mut impl Emit, session: &Session, client: &Client, view: &View) {
    let now = view.now;
    let login = client.login();
    if let Some(login) = &login {
        out.member("user", &login.user);
    }
    if let Some(remote) = client.remote() {
        match view.host(remote.ip()) {
            Some(host) => out.member("remote", host),
            None => write_address(out, "remote", remote.ip()),
        }
        out.member_number("port", remote.port().into());
    }
    if let Some(database) = login.as_ref().and_then(|login| login.database.as_ref()) {
        out.member("database", database);
    }
    out.key("idle");
    out.tenths(tenths(client.idle(now)));
    out.key("seconds_alive");
    out.tenths(tenths(client.alive(now)));
    out.member_number("io_activity", client.activity(now));
    out.member_number("bytes_from_client", client.traffic().from_clients());
    out.member_number("bytes_to_client", client.traffic().to_clients());
    out.member_plain("protocol", session.listener().parameters.protocol.as_str());
    out.member_plain("listener", session.listener().name());
    let encryption = client.encryption();
    out.key("connections");
    out.begin_array();
    for connection in client.connections() {
        write_connection(out, &connection, encryption);
    }
    out.end_array();
    if let Some(encryption) = encryption {
        out.key("client");
        out.begin_object();
        out.member_plain("cipher", encryption.cipher());
        write_attributes(out, login.as_deref());
        out.end_object();
    }
    out.key("memory");
    out.begin_object();
    out.member_number("total", client.memory() as u64);
    out.end_object();
}

fn write_connection(
    out: &mut impl Emit,
    connection: &BackendConnection,
    encryption: Option<Encryption>,
) {
    out.begin_object();
    out.member_plain("server", connection.server.name());
    write_address(out, "address", connection.address.ip());
    out.member_number("port", connection.address.port().into());
    out.member_number("local_port", connection.local_port.into());
    if let Some(id) = connection.connection_id {
        out.member_number("connection_id", id);
    }
    // What the client encrypts goes to the server as it is.
    if let Some(encryption) = encryption {
        out.member_plain("cipher", encryption.cipher());
    }
    out.end_object();
}

/// What the client says of itself, where it does. Of several of one name the first counts.
fn write_attributes(out: &mut impl Emit, login: Option<&Login>) {
    let attributes = login.map_or(&[][..], |login| &login.attributes);
    if attributes.is_empty() {
        return;
    }
    out.key("connection_attributes");
    out.begin_object();
    for (index, (name, value)) in attributes.iter().enumerate() {
        if !attributes[..index].iter().any(|(other, _)| other == name) {
            out.key_of(name);
            out.string(value);
        }
    }
    out.end_object();
}

/// An address as text. Those of IPv4 are common, and text that is made by the
/// standard library's formatter costs five times as much.
fn write_address(out: &mut impl Emit, name: &'static str, address: IpAddr) {
    out.key(name);
    match address {
        IpAddr::V4(address) => {
            let mut room = [0; LONGEST_IPV4];
            out.plain(&[dotted(address, &mut room)]);
        }
        IpAddr::V6(address) => out.plain(&[&address.to_string()]),
    }
}

/// The longest is `255.255.255.255`.
const LONGEST_IPV4: usize = 15;

fn dotted(address: Ipv4Addr, room: &mut [u8; LONGEST_IPV4]) -> &str {
    let mut length = 0;
    let mut push = |byte| {
        room[length] = byte;
        length += 1;
    };
    for (index, octet) in address.octets().into_iter().enumerate() {
        if index > 0 {
            push(b'.');
        }
        if octet >= 100 {
            push(b'0' + octet / 100);
        }
        if octet >= 10 {
            push(b'0' + octet / 10 % 10);
        }
        push(b'0' + octet % 10);
    }
    // Digits and dots are text.
    std::str::from_utf8(&room[..length]).unwrap_or_default()
}

fn tenths(duration: Duration) -> u64 {
    duration.as_secs() * 10 + u64::from(duration.subsec_millis() / 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_written_as_the_standard_library_has_it() {
        for octet in 0..=255 {
            let address = Ipv4Addr::new(octet, 0, 255, octet);
            let mut room = [0; LONGEST_IPV4];
            assert_eq!(dotted(address, &mut room), address.to_string());
        }
    }
}
