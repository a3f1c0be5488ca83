//! How long a session may take for what.
//!
//! What passes moves the idle limit, thousands of times a second. So the
//! deadline that the relay keeps is left where it is, and when it comes the
//! session says when the next one is.

use std::time::{Duration, Instant};

use crate::registry::CloseReason;

/// How long a client may take to log in, or to send its PROXY header: as long
/// as MariaDB gives it (`connect_timeout`).
pub(super) const LOGIN_LIMIT: Duration = Duration::from_secs(10);

/// How long the rest may take that is still to be delivered when one side's
/// connection has broken.
const DRAIN_LIMIT: Duration = Duration::from_secs(10);

/// A connection to a server that has lasted so long is kept alive from then
/// on. Before, the system would not ask yet, and most are short.
const SETTLING: Duration = Duration::from_secs(10);

/// The limits of one session.
#[derive(Debug)]
pub(super) struct Limits {
    /// How long nothing may pass.
    idle: Option<Duration>,
    last_io: Instant,
    login: Option<Instant>,
    settled: Option<Instant>,
    /// Until when the rest is delivered, and why it is the rest.
    drain: Option<(Instant, CloseReason)>,
    /// When somebody has the session end, and why.
    stop: Option<(Instant, CloseReason)>,
}

impl Limits {
    /// Those of a client that has just come. An idle limit of zero is none.
    pub(super) fn new(idle: Duration, now: Instant) -> Self {
        Self {
            idle: (!idle.is_zero()).then_some(idle),
            last_io: now,
            login: None,
            settled: None,
            drain: None,
            stop: None,
        }
    }

    /// The session is to end at that time, or earlier where that was said before.
    pub(super) fn stop(&mut self, at: Instant, reason: CloseReason) {
        if self.stop.is_none_or(|(earlier, _)| at < earlier) {
            self.stop = Some((at, reason));
        }
    }

    /// When somebody has the session end.
    pub(super) fn stop_at(&self) -> Option<Instant> {
        self.stop.map(|(at, _)| at)
    }

    /// Why somebody has the session end, where that time has come.
    pub(super) fn stopped(&self, now: Instant) -> Option<CloseReason> {
        let (_, reason) = self.stop.filter(|(at, _)| *at <= now)?;
        Some(reason)
    }

    /// There is a server, and perhaps a login to come.
    pub(super) fn connected(&mut self, with_login: bool, now: Instant) {
        self.last_io = now;
        self.login = with_login.then(|| now + LOGIN_LIMIT);
        self.settled = Some(now + SETTLING);
    }

    /// Something has passed.
    pub(super) fn passed(&mut self, now: Instant) {
        self.last_io = now;
    }

    /// The login is over, or nothing more can be seen of it.
    pub(super) fn logged_in(&mut self) {
        self.login = None;
    }

    /// A side has broken. True when that is news.
    pub(super) fn broken(&mut self, reason: CloseReason, now: Instant) -> bool {
        let is_news = self.drain.is_none();
        self.drain.get_or_insert((now + DRAIN_LIMIT, reason));
        is_news
    }

    /// Whether the connection to the server has lasted; true once.
    pub(super) fn has_settled(&mut self, now: Instant) -> bool {
        self.settled.take_if(|settled| *settled <= now).is_some()
    }

    /// When the next of them is reached, if nothing passes until then.
    pub(super) fn due(&self) -> Option<Instant> {
        let idle = self.idle.map(|idle| self.last_io + idle);
        let drain = self.drain.map(|(drain, _)| drain);
        [idle, self.login, self.settled, drain]
            .into_iter()
            .flatten()
            .min()
    }

    /// Why the session is to end now, if it is.
    pub(super) fn overdue(&self, now: Instant) -> Option<CloseReason> {
        if let Some((drain, reason)) = self.drain
            && drain <= now
        {
            return Some(reason);
        }
        if self.login.is_some_and(|login| login <= now) {
            return Some(CloseReason::ConnectTimeout);
        }
        let idle = self.idle.map(|idle| self.last_io + idle)?;
        (idle <= now).then_some(CloseReason::IdleTimeout)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_moves_the_idle_limit_and_nothing_else() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let mut limits = Limits::new(Duration::from_secs(4), start);
        limits.connected(true, start);
        assert_eq!(limits.due(), Some(after(4)));
        limits.passed(after(3));
        assert_eq!(limits.overdue(after(6)), None);
        assert_eq!(limits.overdue(after(7)), Some(CloseReason::IdleTimeout));
        limits.passed(after(9));
        assert_eq!(limits.due(), Some(after(10)));
        assert_eq!(limits.overdue(after(10)), Some(CloseReason::ConnectTimeout));
        limits.logged_in();
        assert_eq!(limits.overdue(after(10)), None);
        assert!(limits.has_settled(after(10)) && !limits.has_settled(after(11)));
    }

    #[test]
    fn the_earliest_time_to_stop_counts() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let mut limits = Limits::new(Duration::ZERO, start);
        assert_eq!(limits.stop_at(), None);
        limits.stop(after(5), CloseReason::Killed);
        limits.stop(after(9), CloseReason::Shutdown);
        assert_eq!(limits.stop_at(), Some(after(5)));
        limits.stop(after(2), CloseReason::Shutdown);
        assert_eq!(limits.stopped(after(1)), None);
        assert_eq!(limits.stopped(after(2)), Some(CloseReason::Shutdown));
    }

    #[test]
    fn without_limits_there_is_no_deadline_and_the_first_break_counts() {
        let start = Instant::now();
        let mut limits = Limits::new(Duration::ZERO, start);
        assert_eq!(limits.due(), None);
        limits.connected(false, start);
        assert!(limits.has_settled(start + SETTLING));
        assert_eq!(limits.due(), None);
        assert!(limits.broken(CloseReason::ClientReset, start));
        assert!(!limits.broken(CloseReason::ServerLost, start + SETTLING));
        assert_eq!(
            limits.overdue(start + DRAIN_LIMIT),
            Some(CloseReason::ClientReset)
        );
    }
}
