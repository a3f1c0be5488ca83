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

/// The limits of one session. Those that few sessions meet are boxed: there may
/// be many thousand sessions.
#[derive(Debug)]
pub(super) struct Limits {
    last_io: Instant,
    /// When there was a server.
    connected: Option<Instant>,
    is_login: bool,
    is_settling: bool,
    /// Until when the rest is delivered, and why it is the rest.
    drain: Option<Box<(Instant, CloseReason)>>,
    /// When somebody has the session end, and why.
    stop: Option<Box<(Instant, CloseReason)>>,
}

impl Limits {
    /// Those of a client that has just come.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            last_io: now,
            connected: None,
            is_login: false,
            is_settling: false,
            drain: None,
            stop: None,
        }
    }

    /// The session is to end at that time, or earlier where that was said before.
    pub(super) fn stop(&mut self, at: Instant, reason: CloseReason) {
        if self.stop_at().is_none_or(|earlier| at < earlier) {
            self.stop = Some(Box::new((at, reason)));
        }
    }

    /// When somebody has the session end.
    pub(super) fn stop_at(&self) -> Option<Instant> {
        self.stop.as_ref().map(|stop| stop.0)
    }

    /// Why somebody has the session end, where that time has come.
    pub(super) fn stopped(&self, now: Instant) -> Option<CloseReason> {
        let (at, reason) = **self.stop.as_ref()?;
        (at <= now).then_some(reason)
    }

    /// There is a server, and perhaps a login to come.
    pub(super) fn connected(&mut self, with_login: bool, now: Instant) {
        self.last_io = now;
        self.connected = Some(now);
        self.is_login = with_login;
        self.is_settling = true;
    }

    /// Something has passed.
    pub(super) fn passed(&mut self, now: Instant) {
        self.last_io = now;
    }

    /// The login is over, or nothing more can be seen of it.
    pub(super) fn logged_in(&mut self) {
        self.is_login = false;
    }

    /// A side has broken. True when that is news.
    pub(super) fn broken(&mut self, reason: CloseReason, now: Instant) -> bool {
        let is_news = self.drain.is_none();
        if is_news {
            self.drain = Some(Box::new((now + DRAIN_LIMIT, reason)));
        }
        is_news
    }

    fn login(&self) -> Option<Instant> {
        let connected = self.connected.filter(|_| self.is_login)?;
        Some(connected + LOGIN_LIMIT)
    }

    fn settled(&self) -> Option<Instant> {
        let connected = self.connected.filter(|_| self.is_settling)?;
        Some(connected + SETTLING)
    }

    /// Whether the connection to the server has lasted; true once.
    pub(super) fn has_settled(&mut self, now: Instant) -> bool {
        let has_settled = self.settled().is_some_and(|settled| settled <= now);
        self.is_settling &= !has_settled;
        has_settled
    }

    /// When nothing has passed for too long; a limit of zero is none.
    fn idle(&self, limit: Duration) -> Option<Instant> {
        (!limit.is_zero()).then(|| self.last_io + limit)
    }

    /// When the next of them is reached, if nothing passes until then. With the
    /// time for which nothing may pass.
    pub(super) fn due(&self, idle: Duration) -> Option<Instant> {
        let drain = self.drain.as_ref().map(|drain| drain.0);
        [self.idle(idle), self.login(), self.settled(), drain]
            .into_iter()
            .flatten()
            .min()
    }

    /// Why the session is to end now, if it is.
    pub(super) fn overdue(&self, idle: Duration, now: Instant) -> Option<CloseReason> {
        if let Some(drain) = &self.drain
            && drain.0 <= now
        {
            return Some(drain.1);
        }
        if self.login().is_some_and(|login| login <= now) {
            return Some(CloseReason::ConnectTimeout);
        }
        (self.idle(idle)? <= now).then_some(CloseReason::IdleTimeout)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_moves_the_idle_limit_and_nothing_else() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let idle = Duration::from_secs(4);
        let mut limits = Limits::new(start);
        limits.connected(true, start);
        assert_eq!(limits.due(idle), Some(after(4)));
        limits.passed(after(3));
        assert_eq!(limits.overdue(idle, after(6)), None);
        assert_eq!(
            limits.overdue(idle, after(7)),
            Some(CloseReason::IdleTimeout)
        );
        limits.passed(after(9));
        assert_eq!(limits.due(idle), Some(after(10)));
        assert_eq!(
            limits.overdue(idle, after(10)),
            Some(CloseReason::ConnectTimeout)
        );
        limits.logged_in();
        assert_eq!(limits.overdue(idle, after(10)), None);
        assert!(limits.has_settled(after(10)) && !limits.has_settled(after(11)));
    }

    #[test]
    fn the_earliest_time_to_stop_counts() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let mut limits = Limits::new(start);
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
        let mut limits = Limits::new(start);
        assert_eq!(limits.due(Duration::ZERO), None);
        limits.connected(false, start);
        assert!(limits.has_settled(start + SETTLING));
        assert_eq!(limits.due(Duration::ZERO), None);
        assert!(limits.broken(CloseReason::ClientReset, start));
        assert!(!limits.broken(CloseReason::ServerLost, start + SETTLING));
        assert_eq!(
            limits.overdue(Duration::ZERO, start + DRAIN_LIMIT),
            Some(CloseReason::ClientReset)
        );
    }
}
