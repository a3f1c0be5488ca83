//! How long a session may take for what.
//!
//! What passes moves the idle limit, thousands of times a second. So the
//! deadline that the relay keeps is left where it is, and when it comes the
//! session says when the next one is.

use std::time::{Duration, Instant};

use crate::registry::CloseReason;

/// How long a client may take for its first message, or for its PROXY header:
/// as long as MariaDB gives it for the whole login (`connect_timeout`).
pub(super) const FIRST_MESSAGE_LIMIT: Duration = Duration::from_secs(10);

/// How long a login may take from the client's first message on: as long as
/// PostgreSQL gives it (`authentication_timeout`). The server may ask a
/// directory, or the client a person.
pub(super) const LOGIN_LIMIT: Duration = Duration::from_secs(60);

/// How long a side may take nothing of what is still to be delivered to it,
/// when the other side's connection has broken.
pub(super) const BROKEN_DELIVERY_LIMIT: Duration = Duration::from_secs(10);

/// The same, when the other side has ended its stream in order and is gone:
/// a client may pause in the middle of a long result, and the result is complete.
pub(super) const ORDERLY_DELIVERY_LIMIT: Duration = Duration::from_secs(600);

/// Under TLS, two sides that end within this time of the client's last bytes have
/// ended because of those: the client's goodbye cannot be read.
pub(super) const TLS_END_WINDOW: Duration = Duration::from_secs(1);

/// A connection to a server that has lasted so long is kept alive from then
/// on. Before, the system would not ask yet, and most are short.
const SETTLING: Duration = Duration::from_secs(10);

/// The limits of one session. Those that few sessions meet are boxed: there may
/// be many thousand sessions.
#[derive(Debug)]
pub(super) struct Limits {
    last_io: Instant,
    /// When the client's last bytes passed.
    last_from_client: Instant,
    /// When there was a server.
    connected: Option<Instant>,
    /// Until when the client's first message, and then the whole login, is awaited.
    login: Option<Instant>,
    is_settling: bool,
    /// Whether one side alone has ended its stream, so that nothing may pass for
    /// `half_close_timeout` only.
    is_half_closed: bool,
    /// Since when the rest is delivered to a socket whose system does not limit
    /// that, and why it is the rest.
    drain: Option<Box<(Instant, CloseReason)>>,
    /// When it is judged why an encrypted session has ended.
    verdict: Option<Instant>,
    /// When somebody has the session end, and why.
    stop: Option<Box<(Instant, CloseReason)>>,
}

/// How long nothing may pass, by the parameters of the session's service; zero is no limit.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct IdleLimits {
    /// `connection_timeout`.
    pub(super) always: Duration,
    /// `half_close_timeout`.
    pub(super) half_closed: Duration,
}

/// Which limit is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Overdue {
    /// The session is to end for this reason.
    Close(CloseReason),
    /// The session, of which one side alone has ended its stream, is to end.
    HalfClosed,
}

impl Limits {
    /// Those of a client that has just come.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            last_io: now,
            last_from_client: now,
            connected: None,
            login: None,
            is_settling: false,
            is_half_closed: false,
            drain: None,
            verdict: None,
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

    /// There is a server.
    pub(super) fn connected(&mut self, now: Instant) {
        self.last_io = now;
        self.connected = Some(now);
        self.is_settling = true;
    }

    /// The login, or the client's first message, is awaited until then.
    pub(super) fn await_login(&mut self, until: Instant) {
        self.login = Some(until);
    }

    /// The login is over, or nothing more can be seen of it.
    pub(super) fn logged_in(&mut self) {
        self.login = None;
    }

    /// Until when the login is awaited.
    pub(super) fn login(&self) -> Option<Instant> {
        self.login
    }

    /// Something has passed.
    pub(super) fn passed(&mut self, from_client: bool, now: Instant) {
        self.last_io = now;
        if from_client {
            self.last_from_client = now;
        }
    }

    /// Until when an end under TLS is due to the client's last bytes.
    pub(super) fn tls_end_window(&self) -> Instant {
        self.last_from_client + TLS_END_WINDOW
    }

    /// One side alone has ended its stream; or not any more. True when that is news.
    pub(super) fn set_half_closed(&mut self, is_half_closed: bool) -> bool {
        std::mem::replace(&mut self.is_half_closed, is_half_closed) != is_half_closed
    }

    /// The rest is delivered, and the system does not limit how long that takes.
    /// True when that is news.
    pub(super) fn begin_drain(&mut self, reason: CloseReason, now: Instant) -> bool {
        let is_news = self.drain.is_none();
        if is_news {
            self.drain = Some(Box::new((now, reason)));
        }
        is_news
    }

    /// It is judged then why the session has ended. True when that is news.
    pub(super) fn judge_at(&mut self, at: Instant) -> bool {
        self.verdict.replace(at) != Some(at)
    }

    /// The verdict is due, where its time has come.
    pub(super) fn end_of_wait_for_verdict(&mut self, now: Instant) {
        self.verdict = self.verdict.filter(|at| *at > now);
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

    /// When nothing has passed for too long, and what then.
    fn idle(&self, limits: IdleLimits) -> Option<(Instant, Overdue)> {
        let due = |limit: Duration, what| (!limit.is_zero()).then(|| (self.last_io + limit, what));
        let half = if self.is_half_closed {
            due(limits.half_closed, Overdue::HalfClosed)
        } else {
            None
        };
        let always = due(limits.always, Overdue::Close(CloseReason::IdleTimeout));
        [half, always].into_iter().flatten().min_by_key(|due| due.0)
    }

    /// When the rest has not moved for too long; each byte begins the time anew.
    fn drained(&self) -> Option<(Instant, CloseReason)> {
        let (since, reason) = **self.drain.as_ref()?;
        Some((since.max(self.last_io) + BROKEN_DELIVERY_LIMIT, reason))
    }

    /// When the next of them is reached, if nothing passes until then.
    pub(super) fn due(&self, idle: IdleLimits) -> Option<Instant> {
        let idle = self.idle(idle).map(|(due, _)| due);
        let drained = self.drained().map(|(due, _)| due);
        [idle, self.login, self.settled(), drained, self.verdict]
            .into_iter()
            .flatten()
            .min()
    }

    /// Why the session is to end now, if it is.
    pub(super) fn overdue(&self, idle: IdleLimits, now: Instant) -> Option<Overdue> {
        if let Some((due, reason)) = self.drained()
            && due <= now
        {
            return Some(Overdue::Close(reason));
        }
        if self.login.is_some_and(|login| login <= now) {
            return Some(Overdue::Close(CloseReason::ConnectTimeout));
        }
        let (due, what) = self.idle(idle)?;
        (due <= now).then_some(what)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NO_LIMITS: IdleLimits = IdleLimits {
        always: Duration::ZERO,
        half_closed: Duration::ZERO,
    };

    fn timeout(seconds: u64) -> IdleLimits {
        IdleLimits {
            always: Duration::from_secs(seconds),
            ..NO_LIMITS
        }
    }

    #[test]
    fn what_passes_moves_the_idle_limit_and_nothing_else() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let idle = timeout(4);
        let mut limits = Limits::new(start);
        limits.connected(start);
        limits.await_login(start + FIRST_MESSAGE_LIMIT);
        assert_eq!(limits.due(idle), Some(after(4)));
        limits.passed(true, after(3));
        assert_eq!(limits.overdue(idle, after(6)), None);
        assert_eq!(
            limits.overdue(idle, after(7)),
            Some(Overdue::Close(CloseReason::IdleTimeout))
        );
        limits.passed(true, after(9));
        assert_eq!(limits.due(idle), Some(after(10)));
        assert_eq!(
            limits.overdue(idle, after(10)),
            Some(Overdue::Close(CloseReason::ConnectTimeout))
        );
        limits.logged_in();
        assert_eq!(limits.overdue(idle, after(10)), None);
        assert!(limits.has_settled(after(10)) && !limits.has_settled(after(11)));
    }

    #[test]
    fn a_half_closed_session_has_a_limit_of_its_own() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let limits_of = |half_closed| IdleLimits {
            half_closed: Duration::from_secs(half_closed),
            ..timeout(8)
        };
        let mut limits = Limits::new(start);
        assert_eq!(limits.due(limits_of(3)), Some(after(8)));
        assert!(limits.set_half_closed(true));
        assert_eq!(limits.due(limits_of(3)), Some(after(3)));
        assert_eq!(limits.due(limits_of(0)), Some(after(8)));
        limits.passed(false, after(1));
        assert_eq!(limits.overdue(limits_of(3), after(3)), None);
        assert_eq!(
            limits.overdue(limits_of(3), after(4)),
            Some(Overdue::HalfClosed)
        );
        assert!(limits.set_half_closed(false));
        assert_eq!(limits.overdue(limits_of(3), after(4)), None);
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
    fn each_byte_of_the_rest_begins_its_time_anew_and_the_first_reason_counts() {
        let start = Instant::now();
        let mut limits = Limits::new(start);
        assert_eq!(limits.due(NO_LIMITS), None);
        limits.connected(start);
        assert!(limits.has_settled(start + SETTLING));
        assert_eq!(limits.due(NO_LIMITS), None);
        assert!(limits.begin_drain(CloseReason::ClientReset, start));
        assert!(!limits.begin_drain(CloseReason::ServerLost, start + SETTLING));
        let later = start + BROKEN_DELIVERY_LIMIT / 2;
        limits.passed(false, later);
        assert_eq!(
            limits.overdue(NO_LIMITS, start + BROKEN_DELIVERY_LIMIT),
            None
        );
        assert_eq!(
            limits.overdue(NO_LIMITS, later + BROKEN_DELIVERY_LIMIT),
            Some(Overdue::Close(CloseReason::ClientReset))
        );
    }
}
