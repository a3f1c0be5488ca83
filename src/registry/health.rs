//! Whether a server is up, since when, why not, and what the last probe found.
//!
//! Routing asks for every client and must not wait, so `up` stands by itself.
//! Everything else changes under one lock together with it: a document never
//! shows a reason beside a server that is up.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use crate::lock::lock;

/// The longest reason that is kept, in bytes. Error messages of servers have up to 512.
const MAX_REASON: usize = 1024;

/// What was the last to change a server's state, in MaxScale's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerEvent {
    /// It is up.
    Up,
    /// It is down.
    Down,
}

impl ServerEvent {
    /// The word for it in documents.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Up => "server_up",
            Self::Down => "server_down",
        }
    }
}

/// What keeps clients away from a server that is down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DownCause {
    /// No connection to it could be made.
    Unreachable,
    /// It accepts connections, and does not serve them.
    Refusing,
    /// It says that it has no room for clients, or is not ready for them.
    Unavailable,
}

/// Why a server is down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Down {
    /// The kind of failure.
    pub cause: DownCause,
    /// The same in words, or in the server's own.
    pub reason: Arc<str>,
}

/// One probe of a server that has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastProbe {
    /// When it ended.
    pub time: SystemTime,
    /// How long it took.
    pub duration: Duration,
    /// Why the server did not pass; `None` where it did.
    pub failure: Option<Arc<str>>,
}

/// What is known of a server's health at one moment.
#[derive(Clone, Debug)]
pub struct ServerHealth {
    /// The last event.
    pub event: ServerEvent,
    /// When that was; for a server that was up from the beginning, the beginning.
    pub since: SystemTime,
    /// Why it is down, while it is.
    pub down: Option<Down>,
    /// The last probe, if there was one.
    pub last_probe: Option<LastProbe>,
}

/// What is known of whatever answers at a server's address and port.
#[derive(Debug)]
pub(super) struct Health {
    up: AtomicBool,
    known: Mutex<Known>,
    version: Mutex<Option<Arc<str>>>,
}

#[derive(Debug)]
struct Known {
    health: ServerHealth,
    /// When a client last logged in, if nothing has failed since.
    last_login: Option<Instant>,
}

impl Health {
    /// It counts as up until something has failed.
    pub(super) fn unknown(now: SystemTime) -> Self {
        Self {
            up: AtomicBool::new(true),
            known: Mutex::new(Known {
                health: ServerHealth {
                    event: ServerEvent::Up,
                    since: now,
                    down: None,
                    last_probe: None,
                },
                last_login: None,
            }),
            version: Mutex::new(None),
        }
    }

    pub(super) fn is_up(&self) -> bool {
        self.up.load(Relaxed)
    }

    pub(super) fn snapshot(&self) -> ServerHealth {
        lock(&self.known).health.clone()
    }

    /// Notes that it is up. True where it was down.
    pub(super) fn set_up(&self, now: SystemTime) -> bool {
        // Nearly always, and each client that logs in asks.
        if self.is_up() {
            return false;
        }
        let mut known = lock(&self.known);
        let was_down = known.health.down.take().is_some();
        if was_down {
            (known.health.event, known.health.since) = (ServerEvent::Up, now);
        }
        self.up.store(true, Relaxed);
        was_down
    }

    /// Notes that it is down.
    pub(super) fn set_down(&self, cause: DownCause, reason: &str, now: SystemTime) -> SetDown {
        let end = (0..=MAX_REASON.min(reason.len())).rfind(|&end| reason.is_char_boundary(end));
        let reason = &reason[..end.unwrap_or_default()];
        let mut known = lock(&self.known);
        // A login from before the failure says nothing about the time after it.
        known.last_login = None;
        self.up.store(false, Relaxed);
        let before = known.health.down.take();
        let result = match &before {
            None => {
                (known.health.event, known.health.since) = (ServerEvent::Down, now);
                SetDown::Fell
            }
            Some(before) if *before.reason == *reason => SetDown::Same,
            Some(_) => SetDown::OtherReason,
        };
        let reason = match before {
            Some(before) if result == SetDown::Same => before.reason,
            _ => reason.into(),
        };
        known.health.down = Some(Down { cause, reason });
        result
    }

    pub(super) fn set_last_probe(&self, probe: LastProbe) {
        lock(&self.known).health.last_probe = Some(probe);
    }

    pub(super) fn set_last_login(&self, now: Instant) {
        lock(&self.known).last_login = Some(now);
    }

    pub(super) fn last_login(&self) -> Option<Instant> {
        lock(&self.known).last_login
    }

    pub(super) fn version(&self) -> Option<Arc<str>> {
        lock(&self.version).clone()
    }

    /// Notes the version. True where that is news.
    pub(super) fn set_version(&self, version: &str) -> bool {
        let mut known = lock(&self.version);
        let is_news = known.as_deref() != Some(version);
        if is_news {
            *known = Some(version.into());
        }
        is_news
    }
}

/// What a failure has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SetDown {
    /// It was up.
    Fell,
    /// It was down for another reason.
    OtherReason,
    /// Nothing.
    Same,
}

#[cfg(test)]
mod tests {
    use super::*;
    use DownCause::{Refusing, Unreachable};

    const BEGIN: SystemTime = SystemTime::UNIX_EPOCH;

    fn at(seconds: u64) -> SystemTime {
        BEGIN + Duration::from_secs(seconds)
    }

    #[test]
    fn the_event_and_its_time_are_those_of_the_change_and_the_reason_is_the_latest() {
        let health = Health::unknown(BEGIN);
        let told = || {
            let seen = health.snapshot();
            let reason = seen.down.map(|down| down.reason.to_string());
            (seen.event.as_str(), seen.since, reason)
        };
        assert_eq!(told(), ("server_up", BEGIN, None));
        assert!(!health.set_up(at(1)));
        assert_eq!(told(), ("server_up", BEGIN, None));
        assert_eq!(health.set_down(Unreachable, "a", at(2)), SetDown::Fell);
        assert_eq!(health.set_down(Unreachable, "a", at(3)), SetDown::Same);
        assert_eq!(told(), ("server_down", at(2), Some("a".into())));
        assert_eq!(health.set_down(Refusing, "b", at(4)), SetDown::OtherReason);
        assert_eq!(told(), ("server_down", at(2), Some("b".into())));
        assert_eq!(health.snapshot().down.unwrap().cause, Refusing);
        assert!(!health.is_up());
        assert!(health.set_up(at(5)));
        assert_eq!(told(), ("server_up", at(5), None));
        assert!(health.is_up());
    }

    #[test]
    fn a_failure_makes_the_logins_before_it_worthless() {
        let health = Health::unknown(BEGIN);
        let now = Instant::now();
        health.set_last_login(now);
        assert_eq!(health.last_login(), Some(now));
        health.set_down(Refusing, "full", at(1));
        assert_eq!(health.last_login(), None);
        health.set_up(at(2));
        assert_eq!(health.last_login(), None);
    }

    #[test]
    fn a_reason_without_end_is_cut_between_two_characters() {
        let health = Health::unknown(BEGIN);
        health.set_down(Refusing, &format!("x{}", "\u{20ac}".repeat(1000)), at(1));
        let length = health.snapshot().down.unwrap().reason.len();
        assert_eq!(length, 1 + 3 * 341);
    }
}
