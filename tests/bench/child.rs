//! A process that is measured: what it costs, and its end with the measurement.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child as Process, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// How long a process may take to do what it is started for.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub struct Child {
    process: Process,
}

impl Child {
    /// Starts a program, on the first processor where it is to be `alone` there.
    pub fn start(program: &str, arguments: &[&str], alone: bool) -> Self {
        let mut command = if alone {
            let mut command = Command::new("taskset");
            command.args(["-c", "0", program]);
            command
        } else {
            Command::new(program)
        };
        let process = command
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {program}: {error}"));
        Self { process }
    }

    /// The first line that it prints.
    pub fn line(&mut self) -> String {
        let stdout = self.process.stdout.take().expect("its output is ours");
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// All that it prints until its end.
    pub fn lines(mut self) -> Vec<String> {
        let stdout = self.process.stdout.take().expect("its output is ours");
        BufReader::new(stdout).lines().map(Result::unwrap).collect()
    }

    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Processor time that it has used so far, with that of threads which have
    /// ended: in ticks of 10 ms, so it takes a second's load to tell something.
    pub fn cpu_with_ended_threads(&self) -> Duration {
        let text = fs::read_to_string(format!("/proc/{}/stat", self.id())).unwrap();
        // The name before it may have spaces, but no closing bracket.
        let (_, fields) = text.rsplit_once(')').unwrap();
        let ticks = fields.split_whitespace().skip(11).take(2);
        let ticks: u64 = ticks.map(|ticks| ticks.parse::<u64>().unwrap()).sum();
        Duration::from_millis(10 * ticks)
    }

    /// Processor time that all its threads have used so far, to the nanosecond.
    pub fn cpu(&self) -> Duration {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.id())).unwrap();
        let of_task = |task: fs::DirEntry| {
            let text = fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
            let nanoseconds = text.split(' ').next().and_then(|word| word.parse().ok());
            nanoseconds.unwrap_or(0)
        };
        Duration::from_nanos(tasks.flatten().map(of_task).sum())
    }

    /// One number in kB out of `/proc/PID/status`.
    pub fn memory(&self, field: &str) -> u64 {
        let text = fs::read_to_string(format!("/proc/{}/status", self.id())).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(field));
        let number = line.and_then(|rest| rest.trim_start_matches(':').split_whitespace().next());
        number.and_then(|number| number.parse().ok()).unwrap()
    }

    /// How many system calls it makes while something is done.
    pub fn system_calls(&self, work: impl FnOnce()) -> u64 {
        let path = scratch("strace");
        let mut strace = Command::new("strace")
            .args(["-f", "-c", "-o"])
            .arg(&path)
            .arg("-p")
            .arg(self.id().to_string())
            .stderr(Stdio::piped())
            .spawn()
            .expect("strace");
        // It says when it is attached.
        let mut said = String::new();
        let mut stderr = BufReader::new(strace.stderr.take().unwrap());
        stderr.read_line(&mut said).unwrap();
        work();
        let id = strace.id().to_string();
        Command::new("kill").args(["-INT", &id]).status().unwrap();
        strace.wait().unwrap();
        let text = fs::read_to_string(&path).unwrap();
        // `100.00    0.012    1    1234        5 total`
        let total = text.lines().last().unwrap_or_default();
        let calls = total.split_whitespace().nth(3);
        calls.and_then(|calls| calls.parse().ok()).unwrap_or(0)
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A path for a file of this run.
pub fn scratch(name: &str) -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let directory = std::env::temp_dir().join(format!("sessiond-bench-{}", std::process::id()));
    fs::create_dir_all(&directory).unwrap();
    directory.join(format!("{}-{name}", COUNT.fetch_add(1, Relaxed)))
}

/// Asks again and again until there is an answer.
pub fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "in vain: {what}");
        std::thread::park_timeout(Duration::from_micros(200));
    }
}
