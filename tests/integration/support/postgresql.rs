//! A real PostgreSQL server on a free port, with a data directory of its own,
//! and the real client.
//!
//! The server does not run as root. So root starts it as the user `postgres`
//! of the Debian package, who may read and write where root may.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use super::Directory;
use super::certificate::certificate;
use super::mariadb::is_root;
use super::process::Process;
use super::server::free_port;

const PASSWORD: &str = "a password";

pub struct PostgreSql {
    pub process: Process,
    address: SocketAddr,
    directory: Directory,
    options: Vec<String>,
}

impl PostgreSql {
    /// Starts one whose user `postgres` logs in with a password (SCRAM-SHA-256).
    pub fn start() -> Self {
        Self::start_with(|_| Vec::new())
    }

    /// Starts one that encrypts where the client wants it to.
    pub fn start_with_tls() -> Self {
        Self::start_with(|directory| {
            let (certificate, key) = certificate(directory);
            vec![
                "-cssl=on".to_owned(),
                format!("-cssl_cert_file={}", certificate.display()),
                format!("-cssl_key_file={}", key.display()),
            ]
        })
    }

    /// Starts one that asks no client for a password, with further options.
    pub fn start_trusting(options: &[&str]) -> Self {
        Self::start_with(|directory| {
            let rules = directory.join("pg_hba.conf");
            std::fs::write(&rules, "host all all 127.0.0.1/32 trust\n").unwrap();
            let mut all = vec![format!("-chba_file={}", rules.display())];
            all.extend(options.iter().map(|option| (*option).to_owned()));
            all
        })
    }

    /// Starts one with further options, which may be files of a directory.
    pub fn start_with(options: impl FnOnce(&Path) -> Vec<String>) -> Self {
        let directory = Directory::new();
        let data = directory.path().join("data");
        let copied = Command::new("cp")
            .arg("-a")
            .arg(template())
            .arg(&data)
            .status()
            .unwrap();
        assert!(copied.success());
        let options = options(directory.path());
        // Somebody may take the port before the server does; then another one is tried.
        for _ in 0..5 {
            let address = free_port();
            if let Some(process) = run(&directory, address, &options) {
                return Self {
                    process,
                    address,
                    directory,
                    options,
                };
            }
        }
        panic!("no free port for a PostgreSQL server");
    }

    /// Starts it again at the same place, once it has ended.
    pub fn start_again(&mut self) {
        self.process.wait();
        let process = run(&self.directory, self.address, &self.options);
        self.process = process.expect("the port that it had");
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for PostgreSql {
    fn drop(&mut self) {
        // It gives back memory that would outlive it.
        self.process.signal("QUIT");
        self.process.wait();
    }
}

/// Runs a server on its data; `None` where its port is taken.
fn run(directory: &Directory, address: SocketAddr, options: &[String]) -> Option<Process> {
    let process = Process::start(
        server_program("postgres")
            .arg("-D")
            .arg(directory.path().join("data"))
            .args(["-clisten_addresses=127.0.0.1", "-cunix_socket_directories="])
            .arg(format!("-cport={}", address.port()))
            .args(options),
    );
    let ready = process.line("a PostgreSQL server that is ready", |line| {
        if line.contains("ready to accept connections") {
            return Some(true);
        }
        line.contains("could not bind").then_some(false)
    });
    ready.then_some(process)
}

/// A data directory that servers start from. Making one takes seconds, copying
/// it does not; it stays for the next run of the tests.
fn template() -> &'static Path {
    static TEMPLATE: OnceLock<PathBuf> = OnceLock::new();
    TEMPLATE.get_or_init(|| {
        let template = Path::new(env!("CARGO_TARGET_TMPDIR")).join("postgresql");
        if !template.exists() {
            let directory = Directory::new();
            let password = directory.file("password", PASSWORD);
            let unfinished = template.with_extension(std::process::id().to_string());
            let output = server_program("initdb")
                .arg("-D")
                .arg(&unfinished)
                .args([
                    "-U",
                    "postgres",
                    "-A",
                    "scram-sha-256",
                    "--no-sync",
                    "--locale=C.UTF-8",
                ])
                .arg(format!("--pwfile={}", password.display()))
                .stdin(Stdio::null())
                .output()
                .expect("setpriv of the package util-linux");
            assert!(output.status.success(), "{output:?}");
            // Another process may have been faster; then there is one already.
            let _ = std::fs::rename(&unfinished, &template);
        }
        template
    })
}

/// A program of the server's package, as a user that it runs as.
fn server_program(name: &str) -> Command {
    let versions = std::fs::read_dir("/usr/lib/postgresql");
    let mut found: Vec<PathBuf> = versions
        .into_iter()
        .flatten()
        .map(|version| version.unwrap().path().join("bin").join(name))
        .filter(|program| program.exists())
        .collect();
    found.sort();
    let program = found.pop().unwrap_or_else(|| {
        panic!("no {name} in /usr/lib/postgresql; `make test` installs the package postgresql")
    });
    let mut command;
    if is_root() {
        command = Command::new("setpriv");
        command
            .args(["--reuid=postgres", "--regid=postgres", "--clear-groups"])
            .args(["--inh-caps=+dac_override", "--ambient-caps=+dac_override"])
            .arg(program);
    } else {
        command = Command::new(program);
    }
    command.env("LC_ALL", "C.UTF-8");
    command
}

/// The real client, about to connect as `postgres`.
pub fn psql(address: SocketAddr, database: &str) -> Command {
    let mut command = Command::new("psql");
    command
        .args([
            "--no-psqlrc",
            "--no-align",
            "--tuples-only",
            "--quiet",
            "--username=postgres",
        ])
        .arg(format!("--host={}", address.ip()))
        .arg(format!("--port={}", address.port()))
        .arg(format!("--dbname={database}"))
        .env("PGPASSWORD", PASSWORD)
        .env("PGCONNECT_TIMEOUT", "20")
        .env("LC_ALL", "C.UTF-8");
    command
}
