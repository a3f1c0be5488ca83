//! Log lines on standard error, in the form that journald reads: `<4>` before a
//! warning (sd-daemon(3)). On a terminal the number gives way to a word.
//!
//! The hard thing is that whoever reads standard error may stop, and a write
//! then waits for ever. So lines go through a queue to a thread of their own;
//! what does not fit is counted and left out, and the relay never waits.

use std::io::{self, IsTerminal, Write};
use std::panic;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::{Duration, Instant};

use log::{Level, LevelFilter, Log, Metadata, Record};

use crate::queue::{Receiver, Sender, queue};
use crate::thread::start_thread;

/// The target of the lines about single sessions. There can be thousands of
/// them at once, and they fill half of the queue at most.
pub const SESSIONS: &str = "sessions";

/// How many lines may wait to be written: some 100 KiB.
const QUEUE: usize = 1024;

/// How long the end of the program waits for the last lines, where nobody reads.
const LAST_WAIT: Duration = Duration::from_secs(2);

/// How often it looks whether there is room for its question.
const LAST_LOOKS: Duration = Duration::from_millis(10);

/// Sends all log lines of the program, and its panics, to standard error.
pub fn start() -> io::Result<()> {
    let (sender, receiver) = queue(QUEUE);
    let left_out = Arc::new(AtomicU64::new(0));
    let journal = Journal {
        on_terminal: io::stderr().is_terminal(),
        sender,
        left_out: Arc::clone(&left_out),
    };
    start_thread("journal", move || {
        write_lines(&receiver, &left_out);
    })?;
    // It fails only where a logger is set already, which then has the lines.
    if log::set_boxed_logger(Box::new(journal)).is_ok() {
        log::set_max_level(LevelFilter::Info);
    }
    log_panics();
    Ok(())
}

/// Makes a panic a line like others, so that it is found where they are.
pub fn log_panics() {
    panic::set_hook(Box::new(|panic| {
        log::error!("{}", panic.to_string().replace('\n', " "));
    }));
}

/// Waits until the lines so far are written, but not long.
pub fn flush() {
    log::logger().flush();
}

enum Entry {
    Line(String),
    /// Somebody waits until the lines before this are written.
    Flush(Sender<()>),
}

struct Journal {
    on_terminal: bool,
    sender: Sender<Entry>,
    left_out: Arc<AtomicU64>,
}

impl Log for Journal {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= LevelFilter::Info
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        // What is told of sessions leaves room for what others have to tell.
        let is_full = record.target() == SESSIONS && self.sender.waiting() >= QUEUE / 2;
        let level = prefix(record.level(), self.on_terminal);
        let line = || Entry::Line(format!("{level}{}\n", record.args()));
        if is_full || self.sender.send(line()).is_err() {
            self.left_out.fetch_add(1, Relaxed);
        }
    }

    fn flush(&self) {
        let (sender, written) = queue(1);
        let end = Instant::now() + LAST_WAIT;
        let mut entry = Entry::Flush(sender);
        // Where nobody reads, the end does not wait for it.
        while let Err(refused) = self.sender.send(entry) {
            if Instant::now() >= end {
                return;
            }
            entry = refused;
            thread::park_timeout(LAST_LOOKS);
        }
        let _ = written.receive_until(end);
    }
}

fn prefix(level: Level, on_terminal: bool) -> &'static str {
    match (level, on_terminal) {
        (Level::Error, false) => "<3>",
        (Level::Warn, false) => "<4>",
        (_, false) => "<6>",
        (Level::Error, true) => "error: ",
        (Level::Warn, true) => "warning: ",
        (_, true) => "",
    }
}

/// Writes lines until the program ends. Where standard error is closed there
/// is nobody to tell.
fn write_lines(receiver: &Receiver<Entry>, left_out: &AtomicU64) {
    let on_terminal = io::stderr().is_terminal();
    while let Some(entry) = receiver.receive() {
        match entry {
            Entry::Line(line) => _ = io::stderr().write_all(line.as_bytes()),
            Entry::Flush(sender) => _ = sender.send(()),
        }
        let count = left_out.swap(0, Relaxed);
        if count > 0 {
            let _ = writeln!(
                io::stderr(),
                "{}{count} log lines were left out",
                prefix(Level::Warn, on_terminal)
            );
        }
    }
}
