//! `/v1/listeners` and `/v1/listeners/:name`.

use std::sync::Arc;

use super::relationship;
use crate::config::Endpoint;
use crate::jsonapi::{Emit, Resource, View};
use crate::registry::Listener;

impl Resource for Arc<Listener> {
    const TYPE: &'static str = "listeners";
    const COLLECTION: &'static str = "/v1/listeners/";

    fn emit(&self, out: &mut impl Emit, view: &View) {
        let name = self.name();
        out.begin_object();
        out.member("id", name);
        out.member("type", Self::TYPE);
        out.key("relationships");
        out.begin_object();
        relationship::write::<Self>(out, name, "services", [self.service().name()], view);
        out.end_object();
        out.key("attributes");
        out.begin_object();
        out.member("state", "Running");
        out.key("parameters");
        out.begin_object();
        out.member("service", self.service().name());
        out.member("protocol", self.parameters.protocol.as_str());
        write_place(out, self);
        out.end_object();
        out.end_object();
        out.key("links");
        out.begin_object();
        out.key("self");
        view.links.write_resource(out, Self::COLLECTION, name);
        out.end_object();
        out.end_object();
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
