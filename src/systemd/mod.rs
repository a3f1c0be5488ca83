//! Tells systemd how the program is (sd_notify(3)): ready, reading its
//! configuration again, stopping, how many sessions there are, and that it is alive.
//!
//! A thread of its own does it, so that nothing waits for a service manager that
//! does not read. The hard thing is the watchdog: a message is worth something
//! only where it proves that clients are served. So the thread asks each loop
//! for a beat of its [`Pulse`], and says `WATCHDOG=1` when all have beaten; and
//! it says `READY=1` when all have beaten for the first time.
//!
//! Where nobody wants to be told, there is no such thread. Whatever goes wrong
//! here is a line of the log, and ends nothing.

mod environment;
mod watchdog;

use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use crate::pulse::Pulse;
use crate::queue::{Receiver, Sender, queue};
use crate::thread::start_thread;
pub use environment::Environment;
use environment::Target;
use watchdog::Watchdog;

/// How often the count of sessions is told, where it has changed.
const STATUS_INTERVAL: Duration = Duration::from_secs(2);

/// How many messages may wait while systemd does not read its socket. It is
/// sent a few at start and end, and two for each reload.
const QUEUE: usize = 64;

/// How long the end of the program waits for the last message.
const LAST_WAIT: Duration = Duration::from_millis(200);

/// How long systemd is to wait for the end beyond the time that sessions get.
const MARGIN: Duration = Duration::from_secs(15);

/// What a status may have of the reason why a reload has failed, in bytes:
/// it is one line among others.
const MAX_REASON: usize = 256;

/// The way to the thread that tells systemd; without one, nobody is told.
pub struct Systemd {
    thread: Option<Running>,
}

struct Running {
    messages: Sender<Message>,
    thread: Thread,
    /// Ends with the thread.
    ended: Receiver<()>,
}

enum Message {
    /// The configuration is being read again, since that time of the clock `CLOCK_MONOTONIC`.
    Reloading { microseconds: u128 },
    /// It has been, or could not be for that reason.
    Reloaded { failure: Option<String> },
    /// The program stops; its sessions have that long to end.
    Stopping { grace: Duration },
    /// The program has ended.
    End,
}

impl Systemd {
    /// Tells systemd that the program is ready as soon as all loops turn, and how
    /// it is from then on; how many clients there are is asked again and again.
    #[must_use]
    pub fn start(
        environment: Environment,
        pulses: Vec<Pulse>,
        clients: impl Fn() -> u64 + Send + 'static,
    ) -> Self {
        let Some(target) = environment.target else {
            return Self { thread: None };
        };
        let (messages, received) = queue(QUEUE);
        let (ending, ended) = queue::<()>(1);
        let now = Instant::now();
        let teller = Teller {
            target,
            received,
            clients: Box::new(clients),
            watchdog: Watchdog::new(pulses, environment.watchdog, now),
            state: State::Starting,
            trouble: None,
            told: String::new(),
            next_status: now,
        };
        let thread = start_thread("systemd", move || {
            teller.run();
            drop(ending);
        });
        let thread = match thread {
            Ok(handle) => Some(Running {
                messages,
                thread: handle.thread().clone(),
                ended,
            }),
            Err(cause) => {
                log::error!("cannot start the thread that tells systemd how things are: {cause}");
                None
            }
        };
        Self { thread }
    }

    /// The configuration is being read again.
    pub fn reloading(&self) {
        let now = clock_gettime(ClockId::Monotonic);
        let seconds = Duration::from_secs(now.tv_sec.try_into().unwrap_or(0));
        let nanoseconds = Duration::from_nanos(now.tv_nsec.try_into().unwrap_or(0));
        let microseconds = (seconds + nanoseconds).as_micros();
        self.tell(Message::Reloading { microseconds });
    }

    /// The configuration has been read again; or why the former one still holds.
    pub fn reloaded(&self, failure: Option<String>) {
        self.tell(Message::Reloaded { failure });
    }

    /// The program stops, and gives its sessions that long to end.
    pub fn stopping(&self, grace: Duration) {
        self.tell(Message::Stopping { grace });
    }

    fn tell(&self, message: Message) {
        if let Some(running) = &self.thread {
            // When systemd has not read for so long, it misses a message more.
            let _ = running.messages.send(message);
            running.thread.unpark();
        }
    }
}

impl Drop for Systemd {
    fn drop(&mut self) {
        self.tell(Message::End);
        if let Some(running) = &self.thread {
            // Where systemd does not read, the end does not wait for it.
            let _ = running.ended.receive_until(Instant::now() + LAST_WAIT);
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// The loops have not turned yet.
    Starting,
    Ready,
    Stopping,
}

/// The thread, and what it knows.
struct Teller {
    target: Target,
    received: Receiver<Message>,
    clients: Box<dyn Fn() -> u64 + Send>,
    watchdog: Watchdog,
    state: State,
    /// Why the last reload has failed, if it has.
    trouble: Option<String>,
    /// The status that systemd has.
    told: String,
    next_status: Instant,
}

impl Teller {
    fn run(mut self) {
        loop {
            while let Some(message) = self.received.take() {
                if matches!(message, Message::End) {
                    return;
                }
                self.follow(message);
            }
            let now = Instant::now();
            if self.watchdog.turn(now) {
                self.all_turn();
            }
            if now >= self.next_status {
                self.next_status = now + STATUS_INTERVAL;
                self.tell_status();
            }
            let next = self.watchdog.next().into_iter().chain([self.next_status]);
            let wait = next.min().map_or(STATUS_INTERVAL, |next| {
                next.saturating_duration_since(Instant::now())
            });
            // A message and a beat end it, too.
            thread::park_timeout(wait.max(Duration::from_millis(1)));
        }
    }

    /// All loops have come round since they were asked.
    fn all_turn(&mut self) {
        let watchdog = if self.watchdog.is_wanted() {
            "\nWATCHDOG=1"
        } else {
            ""
        };
        if self.state == State::Starting {
            self.state = State::Ready;
            self.told = self.status();
            self.target
                .send(&format!("READY=1\n{}{watchdog}", self.told));
        } else {
            self.target.send(watchdog.trim_start());
        }
    }

    /// Tells how many clients there are, where that is new.
    fn tell_status(&mut self) {
        let status = self.status();
        if self.state != State::Starting && status != self.told {
            self.target.send(&status);
            self.told = status;
        }
    }

    fn follow(&mut self, message: Message) {
        match message {
            // A program that is not ready does not read again: it is still starting.
            Message::Reloading { microseconds } if self.state == State::Ready => {
                self.target
                    .send(&format!("RELOADING=1\nMONOTONIC_USEC={microseconds}"));
            }
            Message::Reloaded { failure } => {
                self.trouble = failure.map(|failure| one_line(&failure));
                if self.state == State::Ready {
                    self.told = self.status();
                    self.target.send(&format!("READY=1\n{}", self.told));
                }
            }
            Message::Stopping { grace } if self.state != State::Stopping => {
                self.state = State::Stopping;
                self.told = self.status();
                // Systemd has a limit of its own, which it would kill the rest at.
                let limit = (grace + MARGIN).as_micros();
                self.target.send(&format!(
                    "STOPPING=1\nEXTEND_TIMEOUT_USEC={limit}\n{}",
                    self.told
                ));
            }
            Message::Reloading { .. } | Message::Stopping { .. } | Message::End => {}
        }
    }

    fn status(&self) -> String {
        let clients = (self.clients)();
        let sessions = if clients == 1 { "session" } else { "sessions" };
        let begin = if self.state == State::Stopping {
            "stopping, "
        } else {
            ""
        };
        let mut status = format!("STATUS={begin}{clients} {sessions}");
        if let Some(reason) = &self.trouble {
            status.push_str("; the configuration could not be read again: ");
            status.push_str(reason);
        }
        status
    }
}

/// The first line of a reason, without what could end the message.
fn one_line(reason: &str) -> String {
    let mut lines = reason.lines();
    let first = lines.next().unwrap_or_default();
    let mut line = first.replace(char::is_control, " ");
    let mut end = line.len().min(MAX_REASON);
    while !line.is_char_boundary(end) {
        end -= 1;
    }
    line.truncate(end);
    match lines.count() {
        0 => line,
        more => format!("{line} (and {more} more, see the log)"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_one_short_line() {
        assert_eq!(one_line("a\tb"), "a b");
        assert_eq!(one_line("a\nREADY=1"), "a (and 1 more, see the log)");
        assert!(one_line(&"ä".repeat(1000)).len() <= MAX_REASON);
    }
}
