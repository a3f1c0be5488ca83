//! `/v1/sessions` and `/v1/sessions/:id`.

use std::sync::Arc;
use std::time::Duration;

use super::relationship;
use crate::jsonapi::{Emit, Resource, View, write_object};
use crate::registry::{BackendConnection, Client, Encryption, Login, Session, SessionState};
use crate::time::asctime;

impl Resource for Arc<Session> {
    const TYPE: &'static str = "sessions";
    const COLLECTION: &'static str = "/v1/sessions/";

    /// In the key order that the users' document fixes.
    fn emit<E: Emit>(&self, out: &mut E, view: &View) {
        let id = self.id().to_string();
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
            out.member("state", state.as_str());
            out.member("connected", &asctime(self.connected()));
            if let Some(client) = self.client() {
                write_client(out, self, client, view);
            }
            if let Some(ending) = ending {
                out.member("closed", &asctime(ending.time));
                out.member("close_reason", ending.reason.as_str());
            }
        };
        write_object::<Self, E>(out, &id, view, relationships, attributes);
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
            None => out.member("remote", &remote.ip().to_string()),
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
    out.member("protocol", session.listener().parameters.protocol.as_str());
    out.member("listener", session.listener().name());
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
        out.member("cipher", encryption.cipher());
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
    out.member("server", connection.server.name());
    out.member("address", &connection.address.ip().to_string());
    out.member_number("port", connection.address.port().into());
    out.member_number("local_port", connection.local_port.into());
    if let Some(id) = connection.connection_id {
        out.member_number("connection_id", id);
    }
    // What the client encrypts goes to the server as it is.
    if let Some(encryption) = encryption {
        out.member("cipher", encryption.cipher());
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
            out.member(name, value);
        }
    }
    out.end_object();
}

fn tenths(duration: Duration) -> u64 {
    duration.as_secs() * 10 + u64::from(duration.subsec_millis() / 100)
}
