//! `/v1/sessions` and `/v1/sessions/:id`.

use std::time::{Duration, Instant};

use crate::admin::refusal::Refusal;
use crate::admin::reply::{PIECE, Piece, Pieces, asctime};
use crate::jsonapi::{Links, Query, Writer};
use crate::registry::{Client, Registry, Session, SessionId};

const COLLECTION: &str = "/v1/sessions/";
const SERVICES: &str = "/v1/services/";

/// All live sessions, by ascending id, made piece by piece.
pub(super) fn collection(registry: &Registry, query: &Query, links: Links) -> Pieces {
    let mut sessions = registry.sessions.snapshot().into_iter();
    let now = Instant::now();
    let mut writer = Writer::new(query.layout);
    writer.begin_object();
    writer.key("links");
    writer.begin_object();
    writer.key("self");
    links.write_path(&mut writer, COLLECTION);
    writer.end_object();
    writer.key("data");
    writer.begin_array();
    Box::new(move || {
        for session in sessions.by_ref() {
            write_resource(&mut writer, &session, &links, now);
            if writer.len() >= PIECE {
                return Piece::More(writer.take());
            }
        }
        writer.end_array();
        writer.end_object();
        Piece::Last(writer.finish())
    })
}

/// One live session.
pub(super) fn one(
    registry: &Registry,
    id: &str,
    query: &Query,
    links: &Links,
) -> Result<String, Refusal> {
    let found = SessionId::parse(id).and_then(|id| registry.sessions.get(id));
    let session = found.ok_or_else(|| Refusal::NotFound(format!("{id} is not a session")))?;
    let mut writer = Writer::new(query.layout);
    writer.begin_object();
    write_self(&mut writer, &session, links);
    writer.key("data");
    write_resource(&mut writer, &session, links, Instant::now());
    writer.end_object();
    Ok(writer.finish())
}

/// The resource object, in the key order that the users' document fixes.
fn write_resource(writer: &mut Writer, session: &Session, links: &Links, now: Instant) {
    writer.begin_object();
    writer.member("id", &session.id().to_string());
    writer.member("type", "sessions");
    writer.key("relationships");
    writer.begin_object();
    writer.key("services");
    write_services(writer, session, links);
    writer.end_object();
    writer.key("attributes");
    writer.begin_object();
    writer.member("state", session.state().as_str());
    writer.member("connected", &asctime(session.connected()));
    if let Some(client) = session.client() {
        write_client(writer, session, client, now);
    }
    writer.end_object();
    write_self(writer, session, links);
    writer.end_object();
}

fn write_self(writer: &mut Writer, session: &Session, links: &Links) {
    writer.key("links");
    writer.begin_object();
    writer.key("self");
    links.write_resource(writer, COLLECTION, &session.id().to_string());
    writer.end_object();
}

fn write_services(writer: &mut Writer, session: &Session, links: &Links) {
    writer.begin_object();
    writer.key("links");
    writer.begin_object();
    writer.key("self");
    links.write_path(writer, SERVICES);
    writer.end_object();
    writer.key("data");
    writer.begin_array();
    writer.begin_object();
    writer.member("id", session.service().name());
    writer.member("type", "services");
    writer.end_object();
    writer.end_array();
    writer.end_object();
}

/// What a client's session has and a listener's has not.
fn write_client(writer: &mut Writer, session: &Session, client: &Client, now: Instant) {
    if let Some(remote) = client.remote() {
        writer.member("remote", &remote.ip().to_string());
        writer.member_number("port", remote.port().into());
    }
    writer.key("idle");
    writer.tenths(tenths(client.idle(now)));
    writer.key("seconds_alive");
    writer.tenths(tenths(client.alive(now)));
    writer.member_number("bytes_from_client", client.traffic().from_clients());
    writer.member_number("bytes_to_client", client.traffic().to_clients());
    writer.member("protocol", session.listener().parameters.protocol.as_str());
    writer.member("listener", session.listener().name());
    writer.key("connections");
    writer.begin_array();
    for connection in client.connections() {
        writer.begin_object();
        writer.member("server", connection.server.name());
        writer.member("address", &connection.address.ip().to_string());
        writer.member_number("port", connection.address.port().into());
        writer.member_number("local_port", connection.local_port.into());
        writer.end_object();
    }
    writer.end_array();
    writer.key("memory");
    writer.begin_object();
    writer.member_number("total", client.memory() as u64);
    writer.end_object();
}

fn tenths(duration: Duration) -> u64 {
    duration.as_secs() * 10 + u64::from(duration.subsec_millis() / 100)
}
