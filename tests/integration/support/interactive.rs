//! A client program that is spoken with, line by line.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;

use super::{PATIENCE, until};

pub struct Interactive {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
}

impl Interactive {
    pub fn start(command: &mut Command) -> Self {
        let name = command.get_program().to_string_lossy().into_owned();
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut child = child.unwrap_or_else(|error| {
            panic!("cannot start {name}: {error}; `make test` installs it")
        });
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = channel();
        thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                // The test may have heard enough.
                let _ = sender.send(line);
            }
        });
        Self {
            stdin: child.stdin.take(),
            child,
            lines,
        }
    }

    /// Says a line, and returns the line that it answers.
    pub fn ask(&mut self, line: &str) -> String {
        self.say(line);
        self.hear()
    }

    pub fn say(&mut self, line: &str) {
        writeln!(self.stdin.as_ref().unwrap(), "{line}").unwrap();
    }

    pub fn hear(&mut self) -> String {
        let line = self.lines.recv_timeout(PATIENCE);
        line.expect("a line from the client program")
    }

    /// The same, unless it has ended without one.
    pub fn hear_unless_ended(&mut self) -> Option<String> {
        match self.lines.recv_timeout(PATIENCE) {
            Err(RecvTimeoutError::Disconnected) => None,
            line => Some(line.expect("a line from the program")),
        }
    }

    /// Has it end, as it does when there is nothing more to read.
    pub fn end(mut self) -> ExitStatus {
        self.stdin = None;
        until("the end of the client program", || {
            self.child.try_wait().unwrap()
        })
    }
}

impl Drop for Interactive {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
