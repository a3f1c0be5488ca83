//! Log lines on standard error, in the form that journald reads: `<4>` before a
//! warning (sd-daemon(3)). On a terminal the number gives way to a word.
//!
//! The hard thing is that whoever reads standard error may stop, and a write
//! then waits for ever. So lines go through a queue to a thread of their own;
//! what does not fit is counted and left out, and the relay never waits.
//!
//! Parts of a line come from clients and servers. They must neither begin a new
//! line, which could then claim any priority, nor rearrange what a terminal
//! shows: so such characters are escaped here, in all lines alike.

use std::borrow::Cow;
use std::fmt::Write as _;
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

/// The target of tiny_http's lines. Its only one of a level that we log says that
/// it accepts no more connections; the admin server has it do so, and reports
/// by itself where something is wrong.
const TINY_HTTP: &str = "tiny_http";

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
        metadata.level() <= LevelFilter::Info && metadata.target() != TINY_HTTP
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        // What is told of sessions leaves room for what others have to tell.
        let is_full = record.target() == SESSIONS && self.sender.waiting() >= QUEUE / 2;
        let level = prefix(record.level(), self.on_terminal);
        let text = record.args().to_string();
        let line = || Entry::Line(format!("{level}{}\n", escaped(&text)));
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

/// A text in which nothing ends a line, controls a terminal or changes the
/// direction of writing. The escapes are JSON's, since some lines are JSON.
#[must_use]
pub fn escaped(text: &str) -> Cow<'_, str> {
    if !text.contains(is_unsafe) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        match character {
            '\n' => safe.push_str("\\n"),
            '\r' => safe.push_str("\\r"),
            '\t' => safe.push_str("\\t"),
            // All of them have four digits at most. Nothing fails that writes to a String.
            _ if is_unsafe(character) => _ = write!(safe, "\\u{:04x}", u32::from(character)),
            _ => safe.push(character),
        }
    }
    Cow::Owned(safe)
}

/// Control characters (C0, DEL, C1), the line and paragraph separators, and the
/// marks, embeddings, overrides and isolates of Unicode's bidirectional algorithm
/// (UAX #9).
fn is_unsafe(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{61c}'
                | '\u{200e}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2066}'..='\u{2069}'
        )
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_that_forge_or_rearrange_lines_are_escaped() {
        for (text, safe) in [
            ("a\nb\r\tc\0", "a\\nb\\r\\tc\\u0000"),
            ("\x1b[2J\x7f", "\\u001b[2J\\u007f"),
            ("\u{80}\u{9b}\u{9f}", "\\u0080\\u009b\\u009f"),
            ("\u{61c}\u{200e}\u{200f}", "\\u061c\\u200e\\u200f"),
            ("\u{2028}\u{2029}", "\\u2028\\u2029"),
            ("\u{202a}\u{202e}", "\\u202a\\u202e"),
            ("\u{2066}\u{2069}", "\\u2066\\u2069"),
        ] {
            assert_eq!(escaped(text), safe);
        }
    }

    #[test]
    fn all_other_characters_stay() {
        for text in [
            "",
            "listener Shop: listening on /run/a \\ \"b\" 'c'",
            "M\u{fc}ller \u{5e9}\u{5dc}\u{5d5}\u{5dd} \u{65e5}\u{672c} \u{1f600}",
            "\u{a0}\u{200b}\u{200d}\u{2027}\u{202f}\u{2065}\u{206a}",
        ] {
            assert!(matches!(escaped(text), Cow::Borrowed(same) if same == text));
        }
    }

    #[test]
    fn lines_of_tiny_http_are_not_logged() {
        let (sender, receiver) = queue(QUEUE);
        let journal = Journal {
            on_terminal: false,
            sender,
            left_out: Arc::default(),
        };
        for (target, text) in [("tiny_http", "Error accepting"), ("sessiond", "a\nb")] {
            let mut record = Record::builder();
            record.level(Level::Error).target(target);
            journal.log(&record.args(format_args!("{text}")).build());
        }
        let Some(Entry::Line(line)) = receiver.take() else {
            panic!("one line is logged");
        };
        assert_eq!(line, "<3>a\\nb\n");
        assert!(receiver.take().is_none());
    }
}
