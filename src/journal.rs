//! Log lines on standard error, in the form that journald reads: `<4>` before a
//! warning (sd-daemon(3)). On a terminal the number gives way to a word.

use std::io::{self, IsTerminal, Write};

use log::{Level, LevelFilter, Log, Metadata, Record};

/// Sends all log lines of the program to standard error.
pub fn start() {
    let journal = Journal {
        on_terminal: io::stderr().is_terminal(),
    };
    // It fails only where a logger is set already, which then has the lines.
    if log::set_boxed_logger(Box::new(journal)).is_ok() {
        log::set_max_level(LevelFilter::Info);
    }
}

struct Journal {
    on_terminal: bool,
}

impl Log for Journal {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= LevelFilter::Info
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let level = match (record.level(), self.on_terminal) {
            (Level::Error, false) => "<3>",
            (Level::Warn, false) => "<4>",
            (_, false) => "<6>",
            (Level::Error, true) => "error: ",
            (Level::Warn, true) => "warning: ",
            (_, true) => "",
        };
        // One write a line, so that lines of two threads do not mix. Where
        // standard error is closed there is nobody to tell.
        let line = format!("{level}{}\n", record.args());
        let _ = io::stderr().write_all(line.as_bytes());
    }

    fn flush(&self) {}
}
