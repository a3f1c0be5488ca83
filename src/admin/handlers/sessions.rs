//! `/v1/sessions` and `/v1/sessions/:id`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::relationship;
use crate::admin::reply::asctime;
use crate::jsonapi::{Emit, Resource, View, write_object};
use crate::registry::{Client, Session};

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
            out.member("state", self.state().as_str());
            out.member("connected", &asctime(self.connected()));
            if let Some(client) = self.client() {
                write_client(out, self, client, view.now);
            }
        };
        write_object::<Self, E>(out, &id, view, relationships, attributes);
    }
}

/// What a client's session has and a listener's has not.
fn write_client(out: &mut impl Emit, session: &Session, client: &Client, now: Instant) {
    if let Some(remote) = client.remote() {
        out.member("remote", &remote.ip().to_string());
        out.member_number("port", remote.port().into());
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
    out.key("connections");
    out.begin_array();
    for connection in client.connections() {
        out.begin_object();
        out.member("server", connection.server.name());
        out.member("address", &connection.address.ip().to_string());
        out.member_number("port", connection.address.port().into());
        out.member_number("local_port", connection.local_port.into());
        out.end_object();
    }
    out.end_array();
    out.key("memory");
    out.begin_object();
    out.member_number("total", client.memory() as u64);
    out.end_object();
}

fn tenths(duration: Duration) -> u64 {
    duration.as_secs() * 10 + u64::from(duration.subsec_millis() / 100)
}
