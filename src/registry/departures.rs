//! Waiting until sessions have gone.
//!
//! Sessions end thousands of times a second, and hardly ever does anybody
//! wait for that: then it costs one look at a counter.

use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicUsize, fence};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::lock::lock;

/// How long a wait lasts before what is waited for is looked at again, whatever happens.
const GLANCE: Duration = Duration::from_secs(1);

/// Tells those who wait that a session has ended, or a server has its last one lost.
#[derive(Debug, Default)]
pub struct Departures {
    waiting: AtomicUsize,
    lock: Mutex<()>,
    departed: Condvar,
}

impl Departures {
    /// Something has gone that was counted.
    pub(super) fn note(&self) {
        // Whoever waits has said so before looking, so one of the two sees the other.
        fence(SeqCst);
        if self.waiting.load(SeqCst) > 0 {
            drop(lock(&self.lock));
            self.departed.notify_all();
        }
    }

    /// Waits until something is over, which is asked after each departure and
    /// at least once a second. False where the time was up first.
    pub fn wait_until(&self, deadline: Instant, mut is_over: impl FnMut() -> bool) -> bool {
        self.waiting.fetch_add(1, SeqCst);
        fence(SeqCst);
        let mut guard = lock(&self.lock);
        let over = loop {
            if is_over() {
                break true;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break false;
            }
            let waited = self.departed.wait_timeout(guard, left.min(GLANCE));
            guard = waited.unwrap_or_else(PoisonError::into_inner).0;
        };
        drop(guard);
        self.waiting.fetch_sub(1, SeqCst);
        over
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;
    use std::thread;

    use super::*;

    #[test]
    fn who_waits_hears_of_it_at_once_or_when_the_time_is_up() {
        let departures = Arc::new(Departures::default());
        let begin = Instant::now();
        assert!(!departures.wait_until(begin + Duration::from_millis(20), || false));
        assert!(begin.elapsed() >= Duration::from_millis(20));

        let over = Arc::new(AtomicBool::new(false));
        let waiting = {
            let (departures, over) = (Arc::clone(&departures), Arc::clone(&over));
            thread::spawn(move || {
                departures.wait_until(Instant::now() + Duration::from_secs(20), || {
                    over.load(SeqCst)
                })
            })
        };
        while departures.waiting.load(SeqCst) == 0 {
            thread::yield_now();
        }
        over.store(true, SeqCst);
        departures.note();
        assert!(waiting.join().unwrap());
        assert_eq!(departures.waiting.load(SeqCst), 0);
    }
}
