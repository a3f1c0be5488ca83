//! What has happened, and what the program has in use when nothing happens any more.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::sync::Mutex;
use std::time::Duration;

use super::clients::VISITS;
use crate::support::prometheus::Metrics;
use crate::support::{Daemon, until};

/// How many KiB of memory more there may be at the end than after half of the
/// time. The allocator keeps what it once had and fills it differently each
/// time; a leak of 100 bytes a session would be more than this.
const MEMORY: u64 = 2 * 1024;

/// How many ends of pipes more there may be at the end. Those through which long
/// streams have gone stay for the next ones: 16 at most.
const PIPES: usize = 2 * 16;

/// The longest that an honest admin client may wait for an answer, on two
/// processors that a thousand threads of the test share.
const WAIT: Duration = Duration::from_secs(5);

/// How often everything was done, how often it went well, and how long honest clients waited.
#[derive(Default)]
pub struct Tally {
    visits: Mutex<BTreeMap<String, (u64, u64)>>,
    longest_wait: Mutex<Duration>,
}

impl Tally {
    /// Counts something that was done, and whether it went well.
    pub fn visit(&self, name: &str, went_well: bool) {
        let mut visits = self.visits.lock().unwrap();
        let (all, well) = visits.entry(name.to_owned()).or_default();
        *all += 1;
        *well += u64::from(went_well);
    }

    /// Counts something that went well.
    pub fn add(&self, name: &str) {
        self.visit(name, true);
    }

    pub fn count(&self, name: &str) -> u64 {
        let visits = self.visits.lock().unwrap();
        visits.get(name).map_or(0, |(all, _)| *all)
    }

    /// Notes how long an honest client waited.
    pub fn note_wait(&self, wait: Duration) {
        let mut longest = self.longest_wait.lock().unwrap();
        *longest = wait.max(*longest);
    }

    /// Everything was done, and most of it could be done.
    pub fn check(&self) {
        let visits = self.visits.lock().unwrap();
        for (name, _) in VISITS {
            let (all, well) = visits[name];
            assert!(well > 0, "{name} never went well in {all} times");
        }
        let longest = *self.longest_wait.lock().unwrap();
        assert!(longest < WAIT, "an honest client waited for {longest:?}");
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "\n{:<32} {:>8} {:>10}",
            "what was done", "times", "went well"
        )?;
        for (name, (all, well)) in &*self.visits.lock().unwrap() {
            writeln!(f, "{name:<32} {all:>8} {well:>10}")?;
        }
        let longest = *self.longest_wait.lock().unwrap();
        writeln!(f, "an honest admin client waited for {longest:?} at most")
    }
}

/// What tells of the client that stays.
const STAYING: &str = "sessiond_sessions{service=\"steady\",state=\"ready\"}";

/// How many clients there are that stay.
pub fn staying(daemon: &Daemon) -> u64 {
    Metrics::of(daemon).number(STAYING)
}

/// What a daemon has in use when nobody is there.
pub struct Rest {
    when: String,
    sessions_ever: u64,
    table: u64,
    /// Without those of pipes.
    descriptors: usize,
    pipes: usize,
    threads: usize,
    memory: u64,
}

impl Rest {
    /// Waits until nobody is there any more, but for a client that stays.
    pub fn of(daemon: &Daemon, when: &str) -> Self {
        // Whoever has hung up may have a server that does not know it yet.
        until(
            "the end of all sessions but that of the client that stays",
            || {
                let metrics = Metrics::of(daemon);
                (metrics.sum("sessiond_sessions") == metrics.number(STAYING)).then_some(())
            },
        );
        until(
            "the end of the threads that have something to wait for",
            || {
                let threads = daemon.process.threads();
                let waits = |name: &String| ["wait", "stream"].contains(&&name[..]);
                (!threads.iter().any(waits)).then_some(())
            },
        );
        let table = daemon.get("/v1/sessions").elements("/data").len() as u64;
        let metrics = Metrics::of(daemon);
        let (staying, pipes) = (metrics.number(STAYING), daemon.process.pipes());
        Self {
            when: when.to_owned(),
            sessions_ever: metrics.sum("sessiond_sessions_opened_total"),
            table: table - staying,
            // The client that stays has two.
            descriptors: daemon.descriptors_at_rest()
                - pipes
                - 2 * usize::try_from(staying).unwrap(),
            pipes,
            threads: daemon.process.threads().len(),
            memory: daemon.process.status("VmRSS"),
        }
    }
}

/// What there was to see each time, as a table.
pub fn table(rests: &[Rest]) -> String {
    let mut text = format!(
        "{:<20} {:>9} {:>6} {:>12} {:>6} {:>8} {:>11}\n",
        "at rest", "sessions", "table", "descriptors", "pipes", "threads", "memory KiB"
    );
    for rest in rests {
        let Rest {
            when,
            sessions_ever,
            table,
            descriptors,
            pipes,
            threads,
            memory,
        } = rest;
        writeln!(
            text,
            "{when:<20} {sessions_ever:>9} {table:>6} {descriptors:>12} {pipes:>6} {threads:>8} {memory:>11}"
        )
        .unwrap();
    }
    text
}

/// Each time it was as in the beginning; as to memory, as after half of the time.
pub fn check(rests: &[Rest]) {
    // The beginning and the end stand around the rounds.
    let (first, last) = (&rests[0], &rests[rests.len() - 1]);
    let half = &rests[rests.len() / 2 - 1];
    for rest in rests {
        assert_eq!(
            rest.table, first.table,
            "the listeners' own sessions, {}",
            rest.when
        );
        assert!(
            rest.descriptors <= first.descriptors,
            "descriptors, {}",
            rest.when
        );
        assert!(rest.pipes <= first.pipes + PIPES, "pipes, {}", rest.when);
        assert!(rest.threads <= first.threads, "threads, {}", rest.when);
    }
    assert!(
        last.memory <= half.memory + MEMORY,
        "{} KiB have become {}",
        half.memory,
        last.memory
    );
}
