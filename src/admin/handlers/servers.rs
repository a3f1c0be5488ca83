//! `/v1/servers` and `/v1/servers/:name`.

use std::sync::Arc;

use super::relationship;
use super::services::write_traffic;
use crate::jsonapi::{Collection, Emit, View, key, write_object};
use crate::registry::{Condition, Server, ServerHealth, Topology};

/// All servers.
pub(super) const SERVERS: Collection = Collection {
    of: "servers",
    path: "/v1/servers/",
};

/// A server, and where the services are found that use it.
pub(in crate::admin) struct Row {
    pub(super) server: Arc<Server>,
    pub(super) topology: Arc<Topology>,
}

impl Row {
    /// Writes its resource object.
    pub(super) fn emit(&self, out: &mut dyn Emit, view: &View) {
        let server = &self.server;
        let name = server.name();
        let relationships = |out: &mut (dyn Emit + '_)| {
            let uses_it =
                |servers: &[Arc<Server>]| servers.iter().any(|other| Arc::ptr_eq(other, server));
            let services = self.topology.services.iter();
            let using = services
                .filter(|service| uses_it(service.servers()))
                .map(|service| service.name());
            relationship::write(out, SERVERS, name, "services", using, view);
        };
        let attributes = |out: &mut (dyn Emit + '_)| {
            let health = server.health();
            out.member(key!("state"), &state(server, &health));
            write_health(out, &health, view);
            if let Some(version) = server.version() {
                out.member(key!("version_string"), &version);
            }
            out.key(key!("statistics"));
            out.begin_object();
            out.member_number(key!("connections"), server.connections() as u64);
            out.member_number(key!("total_connections"), server.total_connections());
            let most = server.most_connections();
            out.member_number(key!("max_connections"), most as u64);
            write_traffic(out, server.traffic());
            out.end_object();
            out.key(key!("parameters"));
            out.begin_object();
            out.member(key!("address"), &server.parameters.address.to_string());
            out.member_number(key!("port"), server.parameters.port.into());
            out.member(key!("rank"), server.parameters.rank.as_str());
            out.key(key!("proxy_protocol"));
            out.boolean(server.parameters.proxy_protocol);
            out.member_number(
                key!("max_connections"),
                server.parameters.max_connections as u64,
            );
            out.end_object();
        };
        write_object(out, SERVERS, name, view, relationships, attributes);
    }
}

/// Since when it is up or down, why it is down, and how the last probe went.
fn write_health(out: &mut (dyn Emit + '_), health: &ServerHealth, view: &View) {
    out.member_plain(key!("last_event"), health.event.as_str());
    let since = health.since;
    out.member_date(key!("triggered_at"), since, &view.asctime.of(since));
    if let Some(down) = &health.down {
        out.member(key!("down_reason"), &down.reason);
    }
    if let Some(probe) = &health.last_probe {
        out.key(key!("last_probe"));
        out.begin_object();
        out.member_date(key!("at"), probe.time, &view.asctime.of(probe.time));
        out.key(key!("seconds"));
        let milliseconds = probe.duration.as_millis();
        out.thousandths(u64::try_from(milliseconds).unwrap_or(u64::MAX));
        let result = probe.failure.as_deref();
        out.member(key!("result"), result.unwrap_or("up"));
        out.end_object();
    }
}

/// Whether it is up, and what an operator has set.
fn state(server: &Server, health: &ServerHealth) -> String {
    let word = if health.down.is_some() {
        "Down"
    } else {
        "Running"
    };
    let mut state = word.to_owned();
    for (condition, word) in [
        (Condition::Drain, ", Drained"),
        (Condition::Maintenance, ", Maintenance"),
    ] {
        if server.has(condition) {
            state.push_str(word);
        }
    }
    state
}
