//! What the configuration has made: services, servers and listeners.
//!
//! There are few of them, and all are rows of one type: so the program has the
//! making of documents twice, for these and for sessions, and not four times.

use std::sync::Arc;

use super::listeners::{self, LISTENERS};
use super::servers::{self, SERVERS};
use super::services::{self, SERVICES};
use crate::jsonapi::{Accepts, Collection, Emit, Resource, View};
use crate::registry::{Change, Listener, Server, Service, Topology};

/// One of them, as a row of a document.
pub(in crate::admin) enum Configured {
    Service(services::Row),
    Server(servers::Row),
    Listener(Arc<Listener>),
}

impl Configured {
    /// A service of a topology.
    pub(super) fn service(service: &Arc<Service>, topology: &Arc<Topology>) -> Self {
        Self::Service(services::Row {
            service: Arc::clone(service),
            topology: Arc::clone(topology),
        })
    }

    /// A server of a topology.
    pub(super) fn server(server: &Arc<Server>, topology: &Arc<Topology>) -> Self {
        Self::Server(servers::Row {
            server: Arc::clone(server),
            topology: Arc::clone(topology),
        })
    }

    /// A listener.
    pub(super) fn listener(listener: &Arc<Listener>) -> Self {
        Self::Listener(Arc::clone(listener))
    }

    /// Its name, by which the API knows it.
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Service(row) => row.service.name(),
            Self::Server(row) => row.server.name(),
            Self::Listener(listener) => listener.name(),
        }
    }

    /// When it changed last, and the word for it in an entity tag.
    pub(super) fn change(&self) -> (&'static str, Change) {
        match self {
            Self::Service(row) => ("service", row.service.last_change()),
            Self::Server(row) => ("server", row.server.last_change()),
            Self::Listener(listener) => ("listener", listener.last_change()),
        }
    }

    /// Which parameters it takes.
    pub(super) fn accepts(&self) -> Accepts {
        match self {
            Self::Service(_) | Self::Server(_) => Accepts::CONNECTED,
            Self::Listener(_) => Accepts::RESOURCE,
        }
    }

    /// Whether it has no connection left.
    pub(super) fn is_over(&self) -> bool {
        match self {
            Self::Service(row) => row.service.connections() == 0,
            Self::Server(row) => row.server.connections() == 0,
            Self::Listener(_) => true,
        }
    }
}

impl Resource for Configured {
    fn collection(&self) -> Collection {
        match self {
            Self::Service(_) => SERVICES,
            Self::Server(_) => SERVERS,
            Self::Listener(_) => LISTENERS,
        }
    }

    fn emit<E: Emit>(&self, out: &mut E, view: &View) {
        match self {
            Self::Service(row) => row.emit(out, view),
            Self::Server(row) => row.emit(out, view),
            Self::Listener(listener) => listeners::emit(listener, out, view),
        }
    }
}
