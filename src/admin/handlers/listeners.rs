//! `/v1/listeners` and `/v1/listeners/:name`.

use super::relationship;
use crate::config::Endpoint;
use crate::jsonapi::{Collection, Emit, View, key, write_object};
use crate::registry::Listener;

/// All listeners.
pub(super) const LISTENERS: Collection = Collection {
    of: "listeners",
    path: "/v1/listeners/",
};

/// Writes the resource object of a listener.
pub(super) fn emit(listener: &Listener, out: &mut dyn Emit, view: &View) {
    let name = listener.name();
    let relationships = |out: &mut (dyn Emit + '_)| {
        relationship::write(
            out,
            LISTENERS,
            name,
            "services",
            [listener.service().name()],
            view,
        );
    };
    let attributes = |out: &mut (dyn Emit + '_)| {
        let state = if listener.is_stopped() {
            "Stopped"
        } else {
            "Running"
        };
        out.member(key!("state"), state);
        out.key(key!("parameters"));
        out.begin_object();
        out.member(key!("service"), listener.service().name());
        out.member(key!("protocol"), listener.parameters.protocol.as_str());
        write_place(out, listener);
        let networks = listener.parameters.proxy_protocol_networks.iter();
        let networks: Vec<String> = networks.map(ToString::to_string).collect();
        if !networks.is_empty() {
            out.member(key!("proxy_protocol_networks"), &networks.join(","));
        }
        out.end_object();
    };
    write_object(out, LISTENERS, name, view, relationships, attributes);
}

/// Where it listens: what the system has chosen, where the configuration leaves that open.
fn write_place(out: &mut dyn Emit, listener: &Listener) {
    match &listener.parameters.endpoint {
        Endpoint::Tcp { address, port } => {
            let chosen = listener.address();
            let address = chosen.map(|chosen| chosen.ip()).or(*address);
            out.member(
                key!("address"),
                &address.map_or_else(|| "::".to_owned(), |address| address.to_string()),
            );
            out.member_number(
                key!("port"),
                chosen.map_or(*port, |chosen| chosen.port()).into(),
            );
        }
        Endpoint::Unix(path) => out.member(key!("socket"), &path.display().to_string()),
    }
}
