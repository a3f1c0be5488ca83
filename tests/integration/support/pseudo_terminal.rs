//! A program in a terminal: a pseudo-terminal, and as much of a screen as the program uses.
//!
//! The screen knows the few escape sequences that the program has reason to
//! send. Any other one fails the test: it would be a name from the network that
//! has reached somebody's terminal.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{Termios, Winsize, tcgetattr, tcsetwinsize};

use super::{PATIENCE, until};

pub struct PseudoTerminal {
    child: Child,
    keyboard: File,
    /// The program's side, to look at its modes.
    line: Option<OwnedFd>,
    screen: Arc<Mutex<Screen>>,
    modes_before: String,
    reader: Option<JoinHandle<()>>,
}

impl PseudoTerminal {
    /// Starts a program in a terminal of that size, which calls itself an xterm.
    pub fn start(command: &mut Command, columns: u16, rows: u16) -> Self {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = openpt(flags).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let line = ioctl_tiocgptpeer(&master, flags).unwrap();
        tcsetwinsize(&line, size(columns, rows)).unwrap();
        let modes_before = modes(&tcgetattr(&line).unwrap());
        let end = || line.try_clone().unwrap();
        let child = command.stdin(end()).stdout(end()).stderr(end()).spawn();
        // The command keeps nothing of the line: its end is seen when the program has ended.
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let screen = Arc::new(Mutex::new(Screen::new(columns, rows)));
        let drawn = Arc::clone(&screen);
        let mut picture = File::from(master.try_clone().unwrap());
        let reader = thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = picture.read(&mut bytes) {
                drawn.lock().unwrap().take(&bytes[..count]);
            }
        });
        Self {
            child: child.unwrap(),
            keyboard: File::from(master),
            line: Some(line),
            screen,
            modes_before,
            reader: Some(reader),
        }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn press(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
    }

    /// Makes the terminal larger or smaller; the program has to be told by SIGWINCH.
    pub fn resize(&self, columns: u16, rows: u16) {
        *self.screen.lock().unwrap() = Screen::new(columns, rows);
        tcsetwinsize(self.line.as_ref().unwrap(), size(columns, rows)).unwrap();
    }

    /// The lines of the screen, without spaces at their ends.
    pub fn lines(&self) -> Vec<String> {
        let screen = self.screen.lock().unwrap();
        assert!(screen.unknown.is_empty(), "{:?}", screen.unknown);
        screen.lines()
    }

    /// Waits until the screen looks as it should.
    pub fn until(&self, what: &str, looks: impl Fn(&[String]) -> bool) -> Vec<String> {
        let deadline = std::time::Instant::now() + PATIENCE;
        loop {
            let lines = self.lines();
            if looks(&lines) {
                return lines;
            }
            assert!(
                std::time::Instant::now() < deadline,
                "in vain for {PATIENCE:?}: {what}; the screen: {lines:#?}"
            );
            thread::park_timeout(std::time::Duration::from_millis(1));
        }
    }

    /// All that was written, when the program has ended.
    pub fn end(mut self) -> (ExitStatus, String) {
        let status = self.wait();
        // When nobody has the line any more, all that was written is read.
        self.line = None;
        self.reader.take().unwrap().join().unwrap();
        let all = self.screen.lock().unwrap().all.clone();
        (status, all)
    }

    /// Waits for the end of the program, which must leave the terminal as it was.
    pub fn wait(&mut self) -> ExitStatus {
        let status = until("the end of a program in a terminal", || {
            self.child.try_wait().unwrap()
        });
        assert!(!self.is_raw());
        until("the terminal's own screen", || {
            let screen = self.screen.lock().unwrap();
            screen.is_as_before().then_some(())
        });
        status
    }

    /// Whether its modes are others than at the beginning.
    pub fn is_raw(&self) -> bool {
        modes(&tcgetattr(self.line.as_ref().unwrap()).unwrap()) != self.modes_before
    }
}

impl Drop for PseudoTerminal {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn size(columns: u16, rows: u16) -> Winsize {
    Winsize {
        ws_col: columns,
        ws_row: rows,
        ws_xpixel: 0,
        ws_ypixel: 0,
    }
}

fn modes(of: &Termios) -> String {
    format!(
        "{:?} {:?} {:?} {:?}",
        of.input_modes, of.output_modes, of.control_modes, of.local_modes
    )
}

/// Cells, a cursor, and what has not been understood.
struct Screen {
    cells: Vec<Vec<char>>,
    row: usize,
    column: usize,
    /// What is switched on by `?…h`.
    on: Vec<String>,
    /// A cursor that is hidden, and lines that do not wrap, by `?…l`.
    off: Vec<String>,
    /// An escape sequence that is not whole yet.
    pending: String,
    /// A character that is not whole yet.
    bytes: Vec<u8>,
    unknown: Vec<String>,
    all: String,
}

impl Screen {
    fn new(columns: u16, rows: u16) -> Self {
        Self {
            cells: vec![vec![' '; columns.into()]; rows.into()],
            row: 0,
            column: 0,
            on: Vec::new(),
            off: Vec::new(),
            pending: String::new(),
            bytes: Vec::new(),
            unknown: Vec::new(),
            all: String::new(),
        }
    }

    fn is_as_before(&self) -> bool {
        self.on.is_empty() && self.off.is_empty()
    }

    fn lines(&self) -> Vec<String> {
        let line = |cells: &Vec<char>| cells.iter().filter(|c| **c != '\0').collect::<String>();
        let lines = self.cells.iter().map(line);
        lines.map(|line| line.trim_end().to_owned()).collect()
    }

    fn take(&mut self, bytes: &[u8]) {
        self.bytes.extend(bytes);
        let whole = match std::str::from_utf8(&self.bytes) {
            Ok(text) => text.len(),
            Err(error) => error.valid_up_to(),
        };
        let rest = self.bytes.split_off(whole);
        let text = String::from_utf8(std::mem::replace(&mut self.bytes, rest)).unwrap();
        self.all.push_str(&text);
        for c in text.chars() {
            self.take_one(c);
        }
    }

    fn take_one(&mut self, c: char) {
        if !self.pending.is_empty() || c == '\x1b' {
            self.pending.push(c);
            if self.pending.len() > 2 && ('@'..='~').contains(&c) {
                let sequence = std::mem::take(&mut self.pending);
                self.follow(&sequence);
            }
            return;
        }
        match c {
            '\r' => self.column = 0,
            '\n' => self.row = (self.row + 1).min(self.cells.len() - 1),
            c if c.is_control() => self.unknown.push(format!("{c:?}")),
            c => self.put(c),
        }
    }

    /// A character, which may take two cells; what is beyond the edge is lost.
    fn put(&mut self, c: char) {
        let width = if ('\u{1100}'..).contains(&c) && c != '\u{fffd}' {
            2
        } else {
            1
        };
        // While it is made smaller, something for the larger one may be on its way.
        if let Some(line) = self.cells.get_mut(self.row)
            && self.column + width <= line.len()
        {
            line[self.column] = c;
            if width == 2 {
                line[self.column + 1] = '\0';
            }
        }
        self.column += width;
    }

    fn follow(&mut self, sequence: &str) {
        let Some(inner) = sequence.strip_prefix("\x1b[") else {
            self.unknown.push(format!("{sequence:?}"));
            return;
        };
        let (parameters, last) = inner.split_at(inner.len() - 1);
        let mut numbers = parameters
            .split(';')
            .map(|number| number.parse().unwrap_or(1));
        match (last, parameters) {
            ("H", _) => {
                self.row = numbers.next().unwrap_or(1_usize) - 1;
                self.column = numbers.next().unwrap_or(1) - 1;
            }
            ("G", _) => self.column = numbers.next().unwrap_or(1) - 1,
            ("K", "") => {
                let line = self.cells.get_mut(self.row);
                for cell in line.into_iter().flatten().skip(self.column) {
                    *cell = ' ';
                }
            }
            ("J", "2") => {
                for line in &mut self.cells {
                    line.fill(' ');
                }
            }
            ("m", _) => {}
            ("h", "?1049") => self.on.push(parameters.to_owned()),
            ("l", "?25" | "?7") => self.off.push(parameters.to_owned()),
            ("h", "?25" | "?7") => self.off.retain(|other| other != parameters),
            ("l", "?1049") => self.on.retain(|other| other != parameters),
            _ => self.unknown.push(format!("{sequence:?}")),
        }
    }
}
