//! When the loops are asked whether they turn, and whether all have said so.
//! It knows no clock.

use std::time::{Duration, Instant};

use crate::pulse::Pulse;

/// Asks all loops at half of the time that systemd waits, as it recommends
/// (sd_watchdog_enabled(3)): one answer may be late.
pub(super) struct Watchdog {
    pulses: Vec<Pulse>,
    /// How often; `None` where nobody wants to know, but once.
    interval: Option<Duration>,
    /// When they are asked next.
    next: Option<Instant>,
    /// Some have not answered yet.
    waiting: bool,
    /// Whether the log knows that one does not.
    told: bool,
}

impl Watchdog {
    /// All are asked at once for the first time.
    pub(super) fn new(pulses: Vec<Pulse>, limit: Option<Duration>, now: Instant) -> Self {
        Self {
            pulses,
            interval: limit.map(|limit| limit / 2),
            next: Some(now),
            waiting: false,
            told: false,
        }
    }

    /// Whether somebody wants to know more than once.
    pub(super) fn is_wanted(&self) -> bool {
        self.interval.is_some()
    }

    /// When there is something to do without a beat.
    pub(super) fn next(&self) -> Option<Instant> {
        self.next
    }

    /// Asks where it is time. True where all have answered that were asked.
    pub(super) fn turn(&mut self, now: Instant) -> bool {
        if self.next.is_some_and(|next| next <= now) {
            self.next = self.interval.map(|interval| now + interval);
            if self.waiting {
                self.complain();
            } else {
                self.waiting = true;
                self.pulses.iter().for_each(Pulse::ask);
            }
        }
        if !self.waiting || self.pulses.iter().any(Pulse::is_awaited) {
            return false;
        }
        self.waiting = false;
        if std::mem::take(&mut self.told) {
            log::info!("all loops turn again");
        }
        true
    }

    /// Names the loops that have not come round for half of the time. Where one
    /// has not for the whole of it, systemd acts.
    fn complain(&mut self) {
        if std::mem::replace(&mut self.told, true) {
            return;
        }
        for pulse in self.pulses.iter().filter(|pulse| pulse.is_awaited()) {
            log::error!(
                "the {} loop does not turn: the watchdog is told nothing until it does",
                pulse.name()
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_barks_for_all_loops_or_not_at_all() {
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let pulses = vec![Pulse::new("one", || ()), Pulse::new("other", || ())];
        let mut watchdog = Watchdog::new(pulses.clone(), Some(Duration::from_secs(4)), begin);
        assert!(!watchdog.turn(at(0)));
        pulses[0].beat();
        assert!(!watchdog.turn(at(0)));
        pulses[1].beat();
        assert!(watchdog.turn(at(0)));
        // Nobody has asked again.
        pulses[0].beat();
        assert!(!watchdog.turn(at(1)));
        assert_eq!(watchdog.next(), Some(at(2)));
        assert!(!watchdog.turn(at(2)));
        pulses[0].beat();
        // It is late, and its beat still counts.
        assert!(!watchdog.turn(at(4)));
        pulses[1].beat();
        assert!(watchdog.turn(at(5)));
    }

    #[test]
    fn without_a_limit_it_asks_once() {
        let begin = Instant::now();
        let pulse = Pulse::new("one", || ());
        let mut watchdog = Watchdog::new(vec![pulse.clone()], None, begin);
        assert!(!watchdog.turn(begin));
        pulse.beat();
        assert!(watchdog.turn(begin));
        assert_eq!(watchdog.next(), None);
        assert!(!watchdog.turn(begin + Duration::from_secs(60)));
        assert!(!pulse.is_awaited());
    }
}
