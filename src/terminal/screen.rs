//! The terminal while `top` has it: no line editing, no echo, a screen of its own.
//!
//! However `top` ends, the terminal must be as it was: that is done where a
//! [`Screen`] is dropped, so that an error or a panic does it, too; signals
//! are told to the loop, which then ends in order.

use std::io::{self, Write, stdin, stdout};

use rustix::process::{Signal, getpid, kill_process};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

/// The other screen, no cursor, no line that goes on in the next one.
const TAKE: &str = "\x1b[?1049h\x1b[?25l\x1b[?7l";

/// All that back.
const GIVE_BACK: &str = "\x1b[0m\x1b[?7h\x1b[?25h\x1b[?1049l";

/// What a terminal has that does not say how large it is.
const USUAL: Size = Size {
    columns: 80,
    rows: 24,
};

/// The size of a screen, in cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) columns: usize,
    pub(super) rows: usize,
}

/// An escape sequence with a number in it.
pub(super) fn escape(number: usize, rest: &str) -> String {
    format!("\x1b[{number}{rest}")
}

/// The terminal, taken.
pub(super) struct Screen {
    before: Termios,
    /// The lines that it shows.
    shown: Vec<String>,
}

impl Screen {
    /// How large the terminal behind standard output is.
    pub(super) fn size() -> Size {
        let Ok(size) = tcgetwinsize(stdout()) else {
            return USUAL;
        };
        let or = |given: u16, usual: usize| {
            if given == 0 {
                usual
            } else {
                usize::from(given)
            }
        };
        Size {
            columns: or(size.ws_col, USUAL.columns),
            rows: or(size.ws_row, USUAL.rows),
        }
    }

    pub(super) fn take() -> io::Result<Self> {
        let screen = Self {
            before: tcgetattr(stdin())?,
            shown: Vec::new(),
        };
        screen.enter()?;
        Ok(screen)
    }

    fn enter(&self) -> io::Result<()> {
        let mut raw = self.before.clone();
        raw.make_raw();
        tcsetattr(stdin(), OptionalActions::Now, &raw)?;
        write(TAKE)
    }

    /// Takes the terminal once more, when somebody else may have had it.
    pub(super) fn take_again(&mut self) -> io::Result<()> {
        self.shown.clear();
        self.enter()
    }

    fn give_back(&self) -> io::Result<()> {
        write(GIVE_BACK)?;
        Ok(tcsetattr(stdin(), OptionalActions::Now, &self.before)?)
    }

    /// Stops the program, as Ctrl-Z does, until somebody has it go on.
    pub(super) fn suspend(&mut self) -> io::Result<()> {
        self.give_back()?;
        kill_process(getpid(), Signal::TSTP)?;
        self.take_again()
    }

    /// Shows lines. Only those are written that have changed: a terminal may hang on a
    /// slow line.
    pub(super) fn draw(&mut self, lines: Vec<String>) -> io::Result<()> {
        let mut text = String::new();
        if self.shown.len() != lines.len() {
            text.push_str("\x1b[2J");
            self.shown.clear();
        }
        for (index, line) in lines.iter().enumerate() {
            if self.shown.get(index) != Some(line) {
                text.push_str(&escape(index + 1, ";1H\x1b[K"));
                text.push_str(line);
            }
        }
        self.shown = lines;
        write(&text)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // Where the terminal is gone there is nothing to give back.
        let _ = self.give_back();
    }
}

fn write(text: &str) -> io::Result<()> {
    let mut stdout = stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}
