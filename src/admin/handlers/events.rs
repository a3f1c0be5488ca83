//! `/v1/sessions/events`: what happens to sessions, as it happens.
//!
//! The data plane must never wait for somebody who follows. So lines go into a
//! queue, which a thread empties into the client's socket; who falls too far
//! behind is told so and dropped.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::admin::reply::{PIECE, Piece, Pieces};
use crate::admin::stream::{Place, Places};
use crate::admin::transport::Transport;
use crate::events::{line, notice};
use crate::jsonapi::Meter;
use crate::lock::lock;
use crate::registry::{Attachment, Event, Events};

/// How many lines may wait for one who follows: some 250 KiB, and 6 MiB where
/// all users have the longest names that there are.
const QUEUE: usize = 1000;

/// How often a line comes whether anything happens or not.
const HEARTBEAT: Duration = Duration::from_secs(10);

/// How long the thread waits before it looks whether its client has gone.
const GLANCE: Duration = Duration::from_secs(1);

/// All who follow, and how many may.
pub(in crate::admin) struct Followers {
    places: Places,
    present: Mutex<Vec<Arc<Follower>>>,
    left: Condvar,
}

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
    /// There will be no more.
    ended: bool,
}

/// Somebody's following, until it is dropped.
struct Following {
    follower: Arc<Follower>,
    followers: Arc<Followers>,
    _attached: Attachment,
}

impl Drop for Following {
    fn drop(&mut self) {
        lock(&self.followers.present).retain(|other| !Arc::ptr_eq(other, &self.follower));
        self.followers.left.notify_all();
    }
}

impl Followers {
    /// Nobody yet.
    pub(in crate::admin) fn new(limit: usize) -> Self {
        Self {
            places: Places::new(limit),
            present: Mutex::default(),
            left: Condvar::new(),
        }
    }

    /// All events from now on, and a heartbeat now and then, until the program
    /// stops or somebody falls behind. `None` where as many follow as may.
    pub(super) fn follow(
        self: &Arc<Self>,
        events: &Arc<Events>,
        transport: Transport,
    ) -> Option<(Pieces, Place)> {
        let place = self.places.place(transport)?;
        let follower = Arc::new(Follower::default());
        lock(&self.present).push(Arc::clone(&follower));
        let taking = Arc::clone(&follower);
        let following = Following {
            follower,
            followers: Arc::clone(self),
            _attached: events.attach(Arc::new(move |event: &Event<'_>| taking.take(event))),
        };
        let mut heartbeat = Instant::now() + HEARTBEAT;
        let pieces = Box::new(move |_: &mut Meter<'_>| {
            if Instant::now() >= heartbeat {
                heartbeat += HEARTBEAT;
                return Ok(Piece::More(notice("heartbeat", None).into_bytes()));
            }
            let piece = following.follower.next(heartbeat);
            Ok(piece.unwrap_or_else(|| Piece::More(Vec::new())))
        });
        Some((pieces, place))
    }

    /// Has all who follow read what has happened so far, and nothing more. Waits
    /// until they have, but not longer than that.
    pub(in crate::admin) fn end(&self, limit: Duration) {
        let present = lock(&self.present);
        for follower in &*present {
            lock(&follower.queue).ended = true;
            follower.more.notify_all();
        }
        // Whoever is left then is cut off.
        let _ = self
            .left
            .wait_timeout_while(present, limit, |present| !present.is_empty());
    }
}

impl Follower {
    fn take(&self, event: &Event<'_>) {
        let mut queue = lock(&self.queue);
        if queue.overflowed || queue.ended {
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
        if queue.lines.is_empty() && !queue.overflowed && !queue.ended {
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
            return Some(Piece::Last(text.into_bytes()));
        }
        if queue.lines.is_empty() && queue.ended {
            return Some(Piece::Last(text.into_bytes()));
        }
        (!text.is_empty()).then_some(Piece::More(text.into_bytes()))
    }
}
