//! Bounds how many log lines of one kind are written in a second.
//!
//! Remote clients can trigger such lines at will, and must not be able to fill
//! the disk or to displace other lines. Lines over the limit are counted, and
//! the count goes with the next line, or is reported on its own by a loop that
//! asks for it, so that the end of a burst is not silent.

use std::fmt;
use std::time::{Duration, Instant};

/// The length of one window of the limit.
const WINDOW: Duration = Duration::from_secs(1);

/// The limit of one kind of line. All lines of the kind share it.
#[derive(Debug)]
pub(super) struct LogLimit {
    lines_per_second: u32,
    window_start: Option<Instant>,
    /// Lines in the current window.
    written: u32,
    /// Lines that were suppressed and not reported yet.
    omitted: u64,
}

impl LogLimit {
    pub(super) fn new(lines_per_second: u32) -> Self {
        Self {
            lines_per_second,
            window_start: None,
            written: 0,
            omitted: 0,
        }
    }

    /// Asks for one line: `None` where it is to be omitted, else how many were
    /// omitted since the last one.
    pub(super) fn admit(&mut self, now: Instant) -> Option<Omitted> {
        if self.is_window_over(now) {
            self.window_start = Some(now);
            self.written = 0;
        }
        if self.written >= self.lines_per_second {
            self.omitted += 1;
            return None;
        }
        self.written += 1;
        Some(Omitted(std::mem::take(&mut self.omitted)))
    }

    /// The number of omitted lines, once the window in which they came is over:
    /// for a line of its own where no further line of the kind has come.
    pub(super) fn take_omitted(&mut self, now: Instant) -> Option<u64> {
        if self.omitted == 0 || !self.is_window_over(now) {
            return None;
        }
        self.admit(now).map(|Omitted(count)| count)
    }

    /// When [`Self::take_omitted`] has something to report.
    pub(super) fn next(&self) -> Option<Instant> {
        let start = self.window_start.filter(|_| self.omitted > 0);
        start.map(|start| start + WINDOW)
    }

    fn is_window_over(&self, now: Instant) -> bool {
        self.window_start
            .is_none_or(|start| now.saturating_duration_since(start) >= WINDOW)
    }
}

/// How many lines were omitted before one that is written: the end of that line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Omitted(pub(super) u64);

impl fmt::Display for Omitted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => Ok(()),
            1 => f.write_str(" (1 similar line omitted before)"),
            count => write!(f, " ({count} similar lines omitted before)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_over_the_limit_are_counted_and_the_next_line_has_the_count() {
        let start = Instant::now();
        let mut limit = LogLimit::new(10);
        let written = (0..25).filter(|_| limit.admit(start).is_some()).count();
        assert_eq!(written, 10);
        let almost = start + Duration::from_millis(999);
        assert_eq!(limit.admit(almost), None);
        let later = start + Duration::from_secs(1);
        assert_eq!(limit.admit(later), Some(Omitted(16)));
        assert_eq!(limit.admit(later), Some(Omitted(0)));
    }

    #[test]
    fn omitted_lines_are_reported_once_when_the_second_is_over() {
        let start = Instant::now();
        let mut limit = LogLimit::new(2);
        assert_eq!((limit.take_omitted(start), limit.next()), (None, None));
        for _ in 0..5 {
            limit.admit(start);
        }
        assert_eq!(limit.next(), Some(start + Duration::from_secs(1)));
        assert_eq!(limit.take_omitted(start), None);
        let later = start + Duration::from_secs(1);
        assert_eq!(limit.take_omitted(later), Some(3));
        assert_eq!(limit.take_omitted(later + Duration::from_secs(9)), None);
        // The report is one of the lines of its second.
        assert_eq!(limit.admit(later), Some(Omitted(0)));
        assert_eq!(limit.admit(later), None);
    }

    #[test]
    fn the_count_is_the_end_of_a_line() {
        assert_eq!(Omitted(0).to_string(), "");
        assert_eq!(Omitted(1).to_string(), " (1 similar line omitted before)");
        assert_eq!(Omitted(7).to_string(), " (7 similar lines omitted before)");
    }
}
