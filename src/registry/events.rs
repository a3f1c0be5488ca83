//! What happens to sessions, told to whoever wants to know at once.
//!
//! Mostly nobody does: then it costs one look at a counter.

use std::fmt;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::{Acquire, Release};
use std::sync::{Arc, Mutex, Weak};
use std::time::SystemTime;

use super::session::Session;
use crate::lock::lock;

/// What has happened to a client's session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Happening {
    /// The client has come.
    Open,
    /// Somebody has logged in, or another user has.
    Login,
    /// The server has refused the login.
    LoginRefused,
    /// It has ended.
    Close,
}

/// Something that has happened to a session.
pub struct Event<'a> {
    /// What.
    pub happening: Happening,
    /// To which.
    pub session: &'a Session,
    /// When.
    pub time: SystemTime,
}

/// Takes events as they happen, on the thread where they happen: it must not wait.
pub type Sink = dyn Fn(&Event<'_>) + Send + Sync;

/// Those who want to know.
#[derive(Default)]
pub struct Events {
    count: AtomicUsize,
    sinks: Mutex<Vec<(u64, Arc<Sink>)>>,
    next: Mutex<u64>,
}

/// Keeps a sink attached for as long as it lives.
pub struct Attachment {
    events: Weak<Events>,
    number: u64,
}

impl Events {
    /// Tells a sink of all that happens from now on.
    #[must_use = "dropping it detaches the sink"]
    pub fn attach(self: &Arc<Self>, sink: Arc<Sink>) -> Attachment {
        let number = {
            let mut next = lock(&self.next);
            *next += 1;
            *next
        };
        let mut sinks = lock(&self.sinks);
        sinks.push((number, sink));
        self.count.store(sinks.len(), Release);
        Attachment {
            events: Arc::downgrade(self),
            number,
        }
    }

    pub(super) fn publish(&self, happening: Happening, session: &Session, time: SystemTime) {
        if self.count.load(Acquire) == 0 {
            return;
        }
        let event = Event {
            happening,
            session,
            time,
        };
        for (_, sink) in &*lock(&self.sinks) {
            sink(&event);
        }
    }
}

impl Drop for Attachment {
    fn drop(&mut self) {
        if let Some(events) = self.events.upgrade() {
            let mut sinks = lock(&events.sinks);
            sinks.retain(|(number, _)| *number != self.number);
            events.count.store(sinks.len(), Release);
        }
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.count.load(Acquire);
        f.debug_struct("Events")
            .field("count", &count)
            .finish_non_exhaustive()
    }
}
