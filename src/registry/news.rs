//! What others hear of the sessions of a table.

use std::sync::Arc;
use std::time::SystemTime;

use super::change::Changes;
use super::departures::Departures;
use super::events::{Events, Happening};
use super::session::Session;

/// Who hears of it when something changes in a table.
#[derive(Debug)]
pub(super) struct News {
    pub(super) changes: Changes,
    events: Arc<Events>,
    departures: Arc<Departures>,
}

impl News {
    /// For a table in which nothing has changed since then.
    pub(super) fn new(events: Arc<Events>, departures: Arc<Departures>, now: SystemTime) -> Self {
        Self {
            changes: Changes::begin(now),
            events,
            departures,
        }
    }

    pub(super) fn opened(&self, session: &Session, now: SystemTime) {
        self.changes.note(now);
        if session.client().is_some() {
            self.events.publish(Happening::Open, session, now);
        }
    }

    pub(super) fn logged_in(&self, session: &Session, now: SystemTime) {
        self.events.publish(Happening::Login, session, now);
    }

    pub(super) fn login_refused(&self, session: &Session, now: SystemTime) {
        self.events.publish(Happening::LoginRefused, session, now);
    }

    pub(super) fn closed(&self, session: &Session, now: SystemTime) {
        self.changes.note(now);
        self.departures.note();
        if session.client().is_some() {
            self.events.publish(Happening::Close, session, now);
        }
    }
}
