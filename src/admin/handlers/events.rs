//! `/v1/sessions/events`: what happens to sessions, as it happens.
//!
//! The data plane must never wait for somebody who follows. So lines go into a
//! queue, which a thread empties into the client's socket; who falls too far
//! behind is told so and dropped.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::admin::reply::{PIECE, Piece, Pieces};
use crate::events::{line, notice};
use crate::lock::lock;
use crate::registry::{Event, Events};

/// How many lines may wait for one who follows: some 250 KiB.
const QUEUE: usize = 1000;

/// How often a line comes whether anything happens or not.
const HEARTBEAT: Duration = Duration::from_secs(10);

/// How long the thread waits before it looks whether its client has gone.
const GLANCE: Duration = Duration::from_secs(1);

/// The lines that wait for one who follows.
#[derive(Default)]
struct Follower {
    queue: Mutex<Queue>,
    more: Condvar,
}

#[derive(Default)]
struct Queue {
    lines: VecDeque<String>,
    /// There were more than could be kept.
    overflowed: bool,
}

/// All events from now on, and a heartbeat now and then, without an end but for
/// one who falls behind.
pub(super) fn follow(events: &Arc<Events>) -> Pieces {
    let follower = Arc::new(Follower::default());
    let taking = Arc::clone(&follower);
    let attachment = events.attach(Arc::new(move |event: &Event<'_>| taking.take(event)));
    let mut heartbeat = Instant::now() + HEARTBEAT;
    Box::new(move || {
        // It ends with the last piece, or with whoever asks for pieces.
        let _attached = &attachment;
        if Instant::now() >= heartbeat {
            heartbeat += HEARTBEAT;
            return Piece::More(notice("heartbeat", None));
        }
        follower
            .next(heartbeat)
            .unwrap_or_else(|| Piece::More(String::new()))
    })
}

impl Follower {
    fn take(&self, event: &Event<'_>) {
        let mut queue = lock(&self.queue);
        if queue.overflowed {
            return;
        }
        if queue.lines.len() >= QUEUE {
            queue.overflowed = true;
        } else {
            queue.lines.push_back(line(event));
        }
        drop(queue);
        self.more.notify_one();
    }

    /// What has come; nothing where the time is up first.
    fn next(&self, until: Instant) -> Option<Piece> {
        let mut queue = lock(&self.queue);
        if queue.lines.is_empty() && !queue.overflowed {
            let left = until.saturating_duration_since(Instant::now()).min(GLANCE);
            let waited = self.more.wait_timeout(queue, left);
            queue = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        let mut text = String::new();
        while text.len() < PIECE
            && let Some(line) = queue.lines.pop_front()
        {
            text.push_str(&line);
        }
        if queue.lines.is_empty() && queue.overflowed {
            let detail = format!("{QUEUE} events waited to be read; what came after is left out");
            text.push_str(&notice("dropped", Some(&detail)));
            return Some(Piece::Last(text));
        }
        (!text.is_empty()).then_some(Piece::More(text))
    }
}
