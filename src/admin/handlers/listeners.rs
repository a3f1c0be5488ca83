//! `/v1/listeners` and `/v1/listeners/:name`.

use std::sync::Arc;

use super::relationship;
use crate::config::Endpoint;
use crate::jsonapi::{Emit, Resource, View, write_object};
use crate::registry::Listener;

impl Resource for Arc<Listener> {
    const TYPE: &'static str = "listeners";
    const COLLECTION: &'static str = "/v1/listeners/";

    fn emit<E: Emit>(&self, out: &mut E, view: &View) {
        let name = self.name();
        let relationships = |out: &mut E| {
            relationship::write::<Self>(out, name, "services", [self.service().name()], view);
        };
        let attributes = |out: &mut E| {
            let state = if self.is_stopped() {
                "Stopped"
            } else {
                "Running"
            };
            out.member("state", state);
            out.key("parameters");
            out.begin_object();
            out.member("service", self.service().name());
            out.member("protocol", self.parameters.protocol.as_str());
            write_place(out, self);
            let networks = self.parameters.proxy_protocol_networks.iter();
            let networks: Vec<String> = networks.map(ToString::to_string).collect();
            if !networks.is_empty() {
                out.member("proxy_protocol_networks", &networks.join(","));
            }
            out.end_object();
        };
        write_object::<Self, E>(out, name, view, relationships, attributes);
    }
}

/// Where it listens: what the system has chosen, where the configuration leaves that open.
fn write_place(out: &mut impl Emit, listener: &Listener) {
    match &listener.parameters.endpoint {
        Endpoint::Tcp { address, port } => {
            let chosen = listener.address();
            let address = chosen.map(|chosen| chosen.ip()).or(*address);
            out.member(
                "address",
                &address.map_or_else(|| "::".to_owned(), |address| address.to_string()),
            );
            out.member_number("port", chosen.map_or(*port, |chosen| chosen.port()).into());
        }
        Endpoint::Unix(path) => out.member("socket", &path.display().to_string()),
    }
}
