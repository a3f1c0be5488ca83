//! `/v1/services` and `/v1/services/:name`.

use std::sync::Arc;

use super::relationship;
use crate::jsonapi::{Collection, Emit, View, key, write_object};
use crate::registry::{CloseReason, Listener, Service, Topology, Traffic};

/// All services.
pub(super) const SERVICES: Collection = Collection {
    of: "services",
    path: "/v1/services/",
};

/// A service, and where its listeners are found.
pub(in crate::admin) struct Row {
    pub(super) service: Arc<Service>,
    pub(super) topology: Arc<Topology>,
}

impl Row {
    /// Writes its resource object.
    pub(super) fn emit(&self, out: &mut dyn Emit, view: &View) {
        let service = &self.service;
        let name = service.name();
        let relationships = |out: &mut (dyn Emit + '_)| {
            relationship::write(
                out,
                SERVICES,
                name,
                "servers",
                service.servers().iter().map(|server| server.name()),
                view,
            );
            let listeners = self.topology.listeners_of(service);
            let own = listeners.map(|listener| listener.name());
            relationship::write(out, SERVICES, name, "listeners", own, view);
        };
        let attributes = |out: &mut (dyn Emit + '_)| {
            out.member(key!("router"), &service.parameters.router.to_string());
            let mut listeners = self.topology.listeners_of(service).peekable();
            let is_stopped = listeners.peek().is_some() && listeners.all(is_stopped);
            out.member(
                key!("state"),
                if is_stopped { "Stopped" } else { "Started" },
            );
            out.key(key!("statistics"));
            out.begin_object();
            out.member_number(key!("connections"), service.connections());
            out.member_number(key!("total_connections"), service.opened());
            write_traffic(out, service.traffic());
            out.key(key!("closed"));
            out.begin_object();
            for reason in CloseReason::ALL {
                let name = reason.as_str().replace(' ', "_");
                out.key_of(&name);
                out.number(service.closed(reason));
            }
            out.end_object();
            out.end_object();
            out.key(key!("parameters"));
            out.begin_object();
            out.member(key!("router"), &service.parameters.router.to_string());
            out.member(key!("servers"), &service.parameters.servers.join(","));
            let parameters = &service.parameters;
            out.member_number(key!("max_connections"), parameters.max_connections as u64);
            for (key, duration) in [
                (key!("connection_timeout"), parameters.connection_timeout),
                (key!("connect_timeout"), parameters.connect_timeout),
                (key!("half_close_timeout"), parameters.half_close_timeout),
            ] {
                out.member(key, &format!("{}ms", duration.as_millis()));
            }
            out.end_object();
        };
        write_object(out, SERVICES, name, view, relationships, attributes);
    }
}

fn is_stopped(listener: &Arc<Listener>) -> bool {
    listener.is_stopped()
}

/// The counters of bytes, which services and servers have alike.
pub(super) fn write_traffic(out: &mut dyn Emit, traffic: &Traffic) {
    out.member_number(key!("bytes_from_clients"), traffic.from_clients());
    out.member_number(key!("bytes_to_clients"), traffic.to_clients());
}
