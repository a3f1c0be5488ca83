//! A real Prometheus on a free port, with a directory of its own; its own
//! checker of metrics; and the metrics of a daemon, looked into.

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::SocketAddr;
use std::process::{Command, Stdio};

use super::http::{self, Answer};
use super::process::Process;
use super::server::free_port;
use super::{Daemon, Directory, until};

/// What OpenMetrics is asked for by.
pub const OPEN_METRICS: &str =
    "Accept: application/openmetrics-text;version=1.0.0,text/plain;q=0.5\r\n";

pub struct Prometheus {
    _process: Process,
    address: SocketAddr,
    _directory: Directory,
}

impl Prometheus {
    /// Starts one that scrapes every second, on `scrape_configs`.
    pub fn start(scrape_configs: &str) -> Self {
        let directory = Directory::new();
        let global = "global:\n  scrape_interval: 1s\n  scrape_timeout: 1s\n";
        let path = directory.file("prometheus.yml", format!("{global}{scrape_configs}"));
        // Somebody may take the port before the server does; then another one is tried.
        for _ in 0..5 {
            let address = free_port();
            let process = Process::start(
                Command::new("prometheus")
                    .arg(format!("--config.file={}", path.display()))
                    .arg(format!(
                        "--storage.tsdb.path={}",
                        directory.path().join("data").display()
                    ))
                    .arg(format!("--web.listen-address={address}")),
            );
            let ready = process.line("a Prometheus that is ready", |line| {
                if line.contains("Server is ready to receive web requests") {
                    return Some(true);
                }
                line.contains("address already in use").then_some(false)
            });
            if ready {
                return Self {
                    _process: process,
                    address,
                    _directory: directory,
                };
            }
        }
        panic!("no free port for a Prometheus");
    }

    /// What a query finds: how many things, and the first one's value.
    pub fn ask(&self, query: &str) -> (usize, Option<String>) {
        let mut encoded = String::new();
        for byte in query.bytes() {
            write!(encoded, "%{byte:02x}").unwrap();
        }
        let target = format!("/api/v1/query?query={encoded}");
        let answer = http::request(self.address, "GET", &target, "");
        assert_eq!(answer.status, 200, "{query}: {answer:?}");
        let found = answer.document().elements("/data/result");
        let first = found.first().map(|first| first.text("/value/1"));
        (found.len(), first)
    }

    /// Waits until the first thing that a query finds has a value.
    pub fn until(&self, query: &str, value: &str) {
        until(&format!("{query} is {value}"), || {
            (self.ask(query).1.as_deref() == Some(value)).then_some(())
        });
    }
}

/// What `promtool` has to say about something that it is given: nothing, where it is content.
pub fn promtool(arguments: &[&str], input: &str) -> Result<(), String> {
    let child = Command::new("promtool")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = child.expect("promtool; `make test` installs it");
    child
        .stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    if output.status.success() && said.is_empty() {
        Ok(())
    } else {
        Err(said)
    }
}

/// The metrics of a daemon at one moment.
#[derive(Debug)]
pub struct Metrics {
    pub text: String,
}

impl Metrics {
    pub fn of(daemon: &Daemon) -> Self {
        Self::from(daemon.request("GET", "/metrics"))
    }

    pub fn from(answer: Answer) -> Self {
        assert_eq!(answer.status, 200, "{answer:?}");
        Self { text: answer.body }
    }

    /// The value of the sample of that name and labels, as they are written.
    pub fn text_of(&self, sample: &str) -> &str {
        let mut lines = self.text.lines();
        let found = lines.find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
        found.unwrap_or_else(|| panic!("no {sample} in {}", self.text))
    }

    /// The same, which is a whole number.
    pub fn number(&self, sample: &str) -> u64 {
        self.text_of(sample).parse().unwrap()
    }

    /// All samples of one name together.
    pub fn sum(&self, name: &str) -> u64 {
        let values = self.samples().filter_map(|(sample, value)| {
            let is_of_name = sample.split('{').next() == Some(name);
            is_of_name.then(|| value.parse::<u64>().unwrap())
        });
        values.sum()
    }

    /// All samples: name with labels, and value.
    pub fn samples(&self) -> impl Iterator<Item = (&str, &str)> {
        let lines = self.text.lines().filter(|line| !line.starts_with('#'));
        lines.map(|line| line.rsplit_once(' ').unwrap())
    }
}
