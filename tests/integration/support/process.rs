//! A child process whose lines on standard error can be waited for.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};

use super::{PATIENCE, until};

pub struct Process {
    child: Child,
    lines: Mutex<Receiver<String>>,
    /// All lines so far, for the message of a test that fails.
    log: Arc<Mutex<Vec<String>>>,
}

impl Process {
    /// Starts a program.
    pub fn start(command: &mut Command) -> Self {
        let name = command.get_program().to_string_lossy().into_owned();
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn();
        let mut child = child.unwrap_or_else(|error| {
            panic!("cannot start {name}: {error}; `make test` installs it")
        });
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (sender, lines) = channel();
        let log = Arc::new(Mutex::new(Vec::new()));
        let written = Arc::clone(&log);
        thread::spawn(move || {
            for line in stderr.split(b'\n').map_while(Result::ok) {
                let line = String::from_utf8_lossy(&line).into_owned();
                written.lock().unwrap().push(line.clone());
                // The test may have heard enough.
                let _ = sender.send(line);
            }
        });
        Self {
            child,
            lines: Mutex::new(lines),
            log,
        }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The next line that the function makes something of; lines before it are passed over.
    pub fn line<T>(&self, what: &str, mut wanted: impl FnMut(&str) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        let lines = self.lines.lock().unwrap();
        loop {
            match lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    if let Some(found) = wanted(&line) {
                        return found;
                    }
                }
                Err(RecvTimeoutError::Timeout) => {
                    panic!("{PATIENCE:?} without {what}; the log: {:#?}", self.log())
                }
                Err(RecvTimeoutError::Disconnected) => {
                    panic!("ended without {what}; the log: {:#?}", self.log())
                }
            }
        }
    }

    /// Whether a line comes that is wanted, before the process ends.
    pub fn first_line(&self, wanted: impl Fn(&str) -> bool) -> bool {
        let deadline = Instant::now() + PATIENCE;
        let lines = self.lines.lock().unwrap();
        while let Ok(line) = lines.recv_timeout(deadline.saturating_duration_since(Instant::now()))
        {
            if wanted(&line) {
                return true;
            }
        }
        false
    }

    pub fn log(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }

    /// Sends a signal by its name, such as `TERM`.
    pub fn signal(&self, name: &str) {
        let signal = match name {
            "TERM" => Signal::TERM,
            "INT" => Signal::INT,
            "HUP" => Signal::HUP,
            "QUIT" => Signal::QUIT,
            "STOP" => Signal::STOP,
            "CONT" => Signal::CONT,
            _ => panic!("which signal is {name}?"),
        };
        // No program is started for it, which would take its time.
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Sends signals by their names, microseconds after each other.
    pub fn signals(&self, names: &str) {
        // The shell's own kill starts no program. The process may have ended before the last one.
        let script = format!(
            "for name in {names}; do kill -$name {}; done 2>&1",
            self.id()
        );
        let output = Command::new("sh").args(["-c", &script]).output();
        output.expect("a shell");
    }

    /// Waits for the end of the process.
    pub fn wait(&mut self) -> ExitStatus {
        until("the end of a process", || self.child.try_wait().unwrap())
    }

    /// One number out of `/proc/PID/status`.
    pub fn status(&self, field: &str) -> u64 {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.id())).unwrap();
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        line.unwrap()
            .trim()
            .trim_end_matches(" kB")
            .parse()
            .unwrap()
    }

    /// The names of its threads.
    pub fn threads(&self) -> Vec<String> {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.id())).unwrap();
        // One that has ended since has no name any more.
        let name = |task: std::fs::DirEntry| std::fs::read_to_string(task.path().join("comm")).ok();
        let names = tasks.map_while(Result::ok).filter_map(name);
        names.map(|name| name.trim_end().to_owned()).collect()
    }

    /// How many descriptors it has open.
    pub fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.id()))
            .unwrap()
            .count()
    }

    /// How many of them are ends of pipes.
    pub fn pipes(&self) -> usize {
        let all = std::fs::read_dir(format!("/proc/{}/fd", self.id())).unwrap();
        let targets = all.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
        let is_pipe = |target: &std::path::PathBuf| target.to_string_lossy().starts_with("pipe:");
        targets.filter(is_pipe).count()
    }

    /// The number that its next descriptor will have.
    pub fn lowest_free_descriptor(&self) -> u64 {
        let is_open = |number: &u64| {
            let path = format!("/proc/{}/fd/{number}", self.id());
            std::fs::symlink_metadata(path).is_ok()
        };
        (0..100_000).find(|number| !is_open(number)).unwrap()
    }

    /// Ends the process, if it has not ended, and without asking it.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// What a program says, in the words of glibc where musl has shorter ones: the
/// static program has musl's.
pub fn in_words_of_glibc(text: &str) -> String {
    text.replace(": Address in use (", ": Address already in use (")
}

/// Runs a program to its end, which must be a good one without complaints.
pub fn quietly(command: &mut Command) -> String {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output();
    let output = output
        .unwrap_or_else(|error| panic!("cannot start {name}: {error}; `make test` installs it"));
    let Output {
        status,
        stdout,
        stderr,
    } = output;
    let complaints = String::from_utf8_lossy(&stderr);
    assert!(status.success(), "{name}: {complaints}");
    assert_eq!(complaints, "", "{name}");
    String::from_utf8(stdout).unwrap()
}
