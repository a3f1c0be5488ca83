//! `/v1/servers` and `/v1/servers/:name`.

use std::sync::Arc;

use super::relationship;
use super::services::write_traffic;
use crate::jsonapi::{Collection, Emit, View, key, write_object};
use crate::registry::{Condition, Server, Topology};

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
            out.member(key!("state"), &state(server));
            if let Some(version) = server.version() {
                out.member(key!("version_string"), &version);
            }
            out.key(key!("statistics"));
            out.begin_object();
            out.member_number(key!("connections"), server.connections() as u64);
            out.member_number(key!("total_connections"), server.total_connections());
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

/// Whether it is up, and what an operator has set.
fn state(server: &Server) -> String {
    let mut state = if server.is_up() { "Running" } else { "Down" }.to_owned();
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
