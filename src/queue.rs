//! Queues between threads: many may send, one receives.
//!
//! Those of the standard library are three kinds of queue behind one type, and
//! each type that is sent costs 8 kB of the program; a list under a mutex costs
//! one. Nobody who sends waits for room, and nobody is woken who does not wait.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Instant;

use crate::lock::lock;

/// A queue that so many values may wait in.
pub(crate) fn queue<T>(room: usize) -> (Sender<T>, Receiver<T>) {
    let shared = Arc::new(Shared {
        room,
        state: Mutex::new(State {
            waiting: VecDeque::new(),
            senders: 1,
            has_receiver: true,
            is_awaited: false,
        }),
        news: Condvar::new(),
    });
    let sender = Sender {
        shared: Arc::clone(&shared),
    };
    (sender, Receiver { shared })
}

/// One of the ways in.
pub(crate) struct Sender<T> {
    shared: Arc<Shared<T>>,
}

/// The way out.
pub(crate) struct Receiver<T> {
    shared: Arc<Shared<T>>,
}

/// Why nothing is received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Nothing {
    /// The time was up first.
    Yet,
    /// There is no sender any more.
    EverAgain,
}

struct Shared<T> {
    room: usize,
    state: Mutex<State<T>>,
    /// A value has been sent to a receiver that waits, or the last sender has gone.
    news: Condvar,
}

struct State<T> {
    waiting: VecDeque<T>,
    senders: usize,
    has_receiver: bool,
    /// The receiver waits.
    is_awaited: bool,
}

impl<T> Sender<T> {
    /// Sends; a value comes back where there is no room, or no receiver any more.
    pub(crate) fn send(&self, value: T) -> Result<(), T> {
        let mut state = lock(&self.shared.state);
        if !state.has_receiver || state.waiting.len() >= self.shared.room {
            return Err(value);
        }
        state.waiting.push_back(value);
        if state.is_awaited {
            self.shared.news.notify_one();
        }
        Ok(())
    }

    /// How many values wait to be received.
    pub(crate) fn waiting(&self) -> usize {
        lock(&self.shared.state).waiting.len()
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        lock(&self.shared.state).senders += 1;
        Self {
            shared: Arc::clone(&self.shared),
        }
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        let mut state = lock(&self.shared.state);
        state.senders -= 1;
        if state.senders == 0 {
            self.shared.news.notify_one();
        }
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sender")
    }
}

impl<T> Receiver<T> {
    /// What was sent first, where something is there.
    pub(crate) fn take(&self) -> Option<T> {
        lock(&self.shared.state).waiting.pop_front()
    }

    /// What was sent first, or is sent next; `None` once there is no sender any more.
    pub(crate) fn receive(&self) -> Option<T> {
        self.wait(None).ok()
    }

    /// What was sent first, or is sent until then.
    pub(crate) fn receive_until(&self, end: Instant) -> Result<T, Nothing> {
        self.wait(Some(end))
    }

    fn wait(&self, end: Option<Instant>) -> Result<T, Nothing> {
        let mut state = lock(&self.shared.state);
        loop {
            if let Some(value) = state.waiting.pop_front() {
                return Ok(value);
            }
            if state.senders == 0 {
                return Err(Nothing::EverAgain);
            }
            let left = end.map(|end| end.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return Err(Nothing::Yet);
            }
            state.is_awaited = true;
            state = match left {
                None => {
                    let waited = self.shared.news.wait(state);
                    waited.unwrap_or_else(PoisonError::into_inner)
                }
                Some(left) => {
                    let waited = self.shared.news.wait_timeout(state, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
            state.is_awaited = false;
        }
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        let mut state = lock(&self.shared.state);
        state.has_receiver = false;
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        // Whoever waits for an answer to one of them learns that there is none.
        drop(waiting);
    }
}

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_is_sent_is_received_in_order_as_long_as_there_is_room() {
        let (sender, receiver) = queue(2);
        assert_eq!(sender.send(1), Ok(()));
        assert_eq!(sender.clone().send(2), Ok(()));
        assert_eq!(sender.send(3), Err(3));
        assert_eq!(sender.waiting(), 2);
        assert_eq!(receiver.take(), Some(1));
        assert_eq!(sender.send(4), Ok(()));
        drop(sender);
        assert_eq!(receiver.receive(), Some(2));
        assert_eq!(receiver.receive_until(Instant::now()), Ok(4));
        assert_eq!(receiver.receive(), None);
        let ended = receiver.receive_until(Instant::now() + Duration::from_secs(60));
        assert_eq!(ended, Err(Nothing::EverAgain));
    }

    #[test]
    fn who_waits_is_woken_by_a_value_by_the_time_and_by_the_end() {
        let (sender, receiver) = queue(1);
        let soon = Instant::now() + Duration::from_millis(20);
        assert_eq!(receiver.receive_until(soon), Err(Nothing::Yet));
        assert!(Instant::now() >= soon);
        let (back, answers) = queue(1);
        let thread = thread::spawn(move || {
            while let Some(value) = receiver.receive() {
                assert_eq!(back.send(value), Ok(()));
            }
        });
        for value in 0..100 {
            assert_eq!(sender.send(value), Ok(()));
            assert_eq!(answers.receive(), Some(value));
        }
        drop(sender);
        assert_eq!(answers.receive(), None);
        thread.join().unwrap();
    }

    #[test]
    fn what_waits_goes_with_the_receiver() {
        let (sender, receiver) = queue(1);
        let (kept, ended) = queue::<()>(1);
        assert!(sender.send(kept).is_ok());
        drop(receiver);
        assert_eq!(ended.receive(), None);
        let (kept, _) = queue::<()>(1);
        assert!(sender.send(kept).is_err());
    }
}
