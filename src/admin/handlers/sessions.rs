//! `/v1/sessions` and `/v1/sessions/:id`.

use std::sync::Arc;
use std::time::Duration;

use super::relationship;
use crate::jsonapi::{Collection, Emit, Resource, View, key, write_object};
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
        let service = self.service().name();
        let relationships = |out: &mut E| {
            out.repeat(key!("services"), service, |out| {
                out.begin_object();
                out.key(key!("links"));
                out.begin_object();
                out.key(key!("self"));
                view.links.write_path(out, "/v1/services/");
                out.end_object();
                relationship::write_data(out, "services", [service]);
                out.end_object();
            });
        };
        let attributes = |out: &mut E| {
            let ending = self.ending();
            let state = match ending {
                Some(_) => SessionState::Freed,
                None => self.state(),
            };
            out.member_plain(key!("state"), state.as_str());
            let connected = self.connected();
            out.member_date(key!("connected"), connected, &view.asctime.of(connected));
            if let Some(client) = self.client() {
                write_client(out, self, client, view);
            }
            if let Some(ending) = ending {
                let time = ending.time;
                out.member_date(key!("closed"), time, &view.asctime.of(time));
                out.member_plain(key!("close_reason"), ending.reason.as_str());
            }
        };
        write_object(out, SESSIONS, id, view, relationships, attributes);
    }
}

/// What a client's session has and a listener's has not.
fn write_client(out: &mut impl Emit, session: &Session, client: &Client, view: &View) {
    let seen = client.snapshot(view.now);
    let login = seen.login.as_deref();
    if let Some(login) = login {
        out.member(key!("user"), &login.user);
    }
    if let Some(remote) = seen.remote {
        match view.host(remote.ip()) {
            Some(host) => out.member(key!("remote"), host),
            None => out.member_address(key!("remote"), remote.ip()),
        }
        out.member_number(key!("port"), remote.port().into());
    }
    if let Some(database) = login.and_then(|login| login.database.as_ref()) {
        out.member(key!("database"), database);
    }
    out.key(key!("idle"));
    out.tenths(tenths(seen.idle));
    out.key(key!("seconds_alive"));
    out.tenths(tenths(seen.alive));
    out.member_number(key!("io_activity"), seen.activity);
    out.member_number(key!("bytes_from_client"), client.traffic().from_clients());
    out.member_number(key!("bytes_to_client"), client.traffic().to_clients());
    out.member_plain(
        key!("protocol"),
        session.listener().parameters.protocol.as_str(),
    );
    out.member_plain(key!("listener"), session.listener().name());
    out.key(key!("connections"));
    out.begin_array();
    for connection in &*seen.connections {
        write_connection(out, connection, seen.encryption);
    }
    out.end_array();
    if let Some(encryption) = seen.encryption {
        out.key(key!("client"));
        out.begin_object();
        out.member_plain(key!("cipher"), encryption.cipher());
        write_attributes(out, login);
        out.end_object();
    }
    if let Some(half) = seen.half_closed {
        out.member_plain(key!("half_closed"), half.as_str());
    }
    if let Some(error) = &seen.login_error {
        out.key(key!("login_error"));
        out.begin_object();
        out.member(key!("code"), &error.code);
        out.member(key!("message"), &error.message);
        out.end_object();
    }
    out.key(key!("memory"));
    out.begin_object();
    out.member_number(key!("total"), seen.memory as u64);
    out.end_object();
}

fn write_connection(
    out: &mut impl Emit,
    connection: &BackendConnection,
    encryption: Option<Encryption>,
) {
    out.begin_object();
    out.member_plain(key!("server"), connection.server.name());
    out.member_address(key!("address"), connection.address.ip());
    out.member_number(key!("port"), connection.address.port().into());
    out.member_number(key!("local_port"), connection.local_port.into());
    if let Some(id) = connection.connection_id {
        out.member_number(key!("connection_id"), id);
    }
    // What the client encrypts goes to the server as it is.
    if let Some(encryption) = encryption {
        out.member_plain(key!("cipher"), encryption.cipher());
    }
    out.end_object();
}

/// What the client says of itself, where it does. Of several of one name the first counts.
fn write_attributes(out: &mut impl Emit, login: Option<&Login>) {
    let attributes = login.map_or(&[][..], |login| &login.attributes);
    if attributes.is_empty() {
        return;
    }
    out.key(key!("connection_attributes"));
    out.begin_object();
    for (index, (name, value)) in attributes.iter().enumerate() {
        if !attributes[..index].iter().any(|(other, _)| other == name) {
            out.key_of(name);
            out.string(value);
        }
    }
    out.end_object();
}

fn tenths(duration: Duration) -> u64 {
    duration.as_secs() * 10 + u64::from(duration.subsec_millis() / 100)
}
