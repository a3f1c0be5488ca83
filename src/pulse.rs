//! Proof that a loop turns.
//!
//! Whoever watches a loop asks for a beat, and wakes the loop, which may have
//! nothing to do; the loop beats each time it comes round. So a loop that hangs,
//! waits for a lock or has ended is found out, and one that is idle is not.
//! Nobody who watches costs a loop one look at a flag.

use std::fmt;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::sync::{Arc, OnceLock};
use std::thread::{self, Thread};

/// The pulse of one loop; clones are the same pulse.
#[derive(Clone)]
pub struct Pulse {
    inner: Arc<Inner>,
}

struct Inner {
    name: &'static str,
    wake: Box<dyn Fn() + Send + Sync>,
    /// A beat is asked for.
    asked: AtomicBool,
    /// Who asks.
    asker: OnceLock<Thread>,
}

impl Pulse {
    /// The pulse of a loop, by its name in the log, and how the loop is woken.
    pub(crate) fn new(name: &'static str, wake: impl Fn() + Send + Sync + 'static) -> Self {
        Self {
            inner: Arc::new(Inner {
                name,
                wake: Box::new(wake),
                asked: AtomicBool::new(false),
                asker: OnceLock::new(),
            }),
        }
    }

    /// Which loop it is.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.inner.name
    }

    /// The loop has come round.
    pub(crate) fn beat(&self) {
        if self.inner.asked.load(Relaxed)
            && self.inner.asked.swap(false, AcqRel)
            && let Some(asker) = self.inner.asker.get()
        {
            asker.unpark();
        }
    }

    /// Asks for a beat, which unparks this thread. It must always be the same one.
    pub fn ask(&self) {
        self.inner.asker.get_or_init(thread::current);
        self.inner.asked.store(true, Release);
        (self.inner.wake)();
    }

    /// Whether a beat is asked for that has not come yet.
    #[must_use]
    pub fn is_awaited(&self) -> bool {
        self.inner.asked.load(Acquire)
    }
}

impl fmt::Debug for Pulse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Pulse").field(&self.name()).finish()
    }
}
