//! What exists right now: the sessions, and the services, servers and
//! listeners they belong to.
//!
//! The relay (or another data plane, see the crate's front page) opens and
//! closes sessions here and counts their bytes; the admin server reads. There
//! are no sockets here and no JSON, and nothing here reads a clock: whoever
//! changes something says what time it is.

mod activity;
mod change;
mod client;
mod command;
mod data_plane;
mod departures;
mod ending;
mod events;
mod health;
mod history;
mod listener;
mod news;
mod server;
mod service;
mod session;
mod table;
mod topology;
mod traffic;

use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use crate::config::Config;
use crate::lock::lock;

pub use change::{Change, Changes};
pub use client::{BackendConnection, Client, Encryption, Half, Login, LoginError, Snapshot};
pub use command::{Asked, ClientsOf, Command, Commands, Followed, Unfollowed};
pub use data_plane::DataPlane;
pub use departures::Departures;
pub use ending::{CloseReason, Ending};
pub use events::{Attachment, Event, Events, Happening, Sink};
pub use health::{Down, DownCause, LastProbe, ServerEvent, ServerHealth};
pub use listener::Listener;
pub use server::{Condition, Lease, Server};
pub use service::{Admission, Service};
pub use session::{Session, SessionId, SessionState};
pub use table::SessionTable;
pub use topology::Topology;
pub use traffic::{Passed, Traffic};

use news::News;

/// Everything that the relay and the admin server share.
#[derive(Debug)]
pub struct Registry {
    topology: Mutex<Arc<Topology>>,
    /// What is going on.
    pub sessions: SessionTable,
    /// What is asked of the data plane.
    pub commands: Commands,
    /// How far the data plane is used.
    pub data_plane: DataPlane,
    /// Who wants to know what happens to sessions.
    pub events: Arc<Events>,
    /// Waits until something has ended.
    pub departures: Arc<Departures>,
    /// When it began, which is the last change of what never changes.
    pub started: SystemTime,
}

impl Registry {
    /// The registry of a configuration, with no session yet.
    #[must_use]
    pub fn new(config: &Config, now: SystemTime) -> Self {
        let departures = Arc::<Departures>::default();
        let events = Arc::<Events>::default();
        let topology = Topology::with(config, Arc::clone(&departures), now);
        let news = News::new(Arc::clone(&events), Arc::clone(&departures), now);
        Self {
            topology: Mutex::new(Arc::new(topology)),
            sessions: SessionTable::new(config.admin.history, news),
            commands: Commands::default(),
            data_plane: DataPlane::default(),
            events,
            departures,
            started: now,
        }
    }

    /// What the configuration has made, as it is now.
    #[must_use]
    pub fn topology(&self) -> Arc<Topology> {
        Arc::clone(&lock(&self.topology))
    }

    /// Puts another topology in its place, which was made out of it.
    pub fn set_topology(&self, topology: Topology, now: SystemTime) {
        let topology = Arc::new(topology);
        let mut current = lock(&self.topology);
        let is_same = topology.is_same(&current);
        if !is_same {
            for server in &topology.servers {
                server.set_removed(false);
            }
        }
        // A parameter of the whole program may differ where every object is the same.
        *current = Arc::clone(&topology);
        drop(current);
        if !is_same {
            // Whoever reads it in between has the new one under an old version, which does no harm.
            topology.note_change(now);
        }
    }
}
