//! A real MariaDB server on a free port, with a data directory of its own, and
//! the real client.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use super::Directory;
use super::certificate::certificate;
use super::process::Process;
use super::server::free_port;

/// What a server says first.
pub const GREETING: &[u8] =
    b"\x53\0\0\0\x0a10.11.6-MariaDB\0\x07\0\0\0abcdefgh\0\xfe\xf7\x08\x02\0\xff\x81\x15\
    \0\0\0\0\0\0\x1d\0\0\0ijklmnopqrst\0mysql_native_password\0";

pub struct MariaDb {
    pub process: Process,
    address: SocketAddr,
    _directory: Directory,
}

impl MariaDb {
    /// Starts one. Its user is `root` without a password, as its name is `name`
    /// (`SELECT @@report_host`).
    pub fn start(name: &str) -> Self {
        Self::start_with(name, &[])
    }

    /// Starts one that encrypts where the client wants it to.
    pub fn start_with_tls(name: &str) -> Self {
        let directory = Directory::new();
        let (certificate, key) = certificate(directory.path());
        let option = |name: &str, path: &Path| format!("--ssl-{name}={}", path.display());
        // Once it runs it has read both.
        Self::start_with(name, &[&option("cert", &certificate), &option("key", &key)])
    }

    /// Starts one with further options.
    pub fn start_with(name: &str, options: &[&str]) -> Self {
        let directory = Directory::new();
        let data = directory.path().join("data");
        let copied = Command::new("cp")
            .arg("-r")
            .arg(template())
            .arg(&data)
            .status()
            .unwrap();
        assert!(copied.success());
        // Somebody may take the port before the server does; then another one is tried.
        for _ in 0..5 {
            let address = free_port();
            let process = Process::start(
                server_program("mariadbd")
                    .arg(format!("--datadir={}", data.display()))
                    .arg(format!("--port={}", address.port()))
                    .arg(format!(
                        "--socket={}",
                        directory.path().join("socket").display()
                    ))
                    // Servers that share one delete each other's tables there.
                    .arg(format!("--tmpdir={}", directory.path().display()))
                    .arg(format!("--report-host={name}"))
                    .args([
                        "--bind-address=127.0.0.1",
                        "--max-allowed-packet=64M",
                        "--skip-name-resolve",
                    ])
                    .args(options),
            );
            let ready = process.line("a MariaDB server that is ready", |line| {
                if line.contains("ready for connections") {
                    return Some(true);
                }
                line.contains("Address already in use").then_some(false)
            });
            if ready {
                return Self {
                    process,
                    address,
                    _directory: directory,
                };
            }
        }
        panic!("no free port for a MariaDB server");
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// A data directory that servers start from. Making one takes seconds, copying
/// it does not; it stays for the next run of the tests.
fn template() -> &'static Path {
    static TEMPLATE: OnceLock<PathBuf> = OnceLock::new();
    TEMPLATE.get_or_init(|| {
        let template = Path::new(env!("CARGO_TARGET_TMPDIR")).join("mariadb");
        if !template.exists() {
            let unfinished = template.with_extension(std::process::id().to_string());
            let output = server_program("mariadb-install-db")
                .arg(format!("--datadir={}", unfinished.display()))
                .args(["--auth-root-authentication-method=normal", "--skip-test-db"])
                .stdin(Stdio::null())
                .output()
                .expect("mariadb-install-db; `make test` installs it");
            assert!(output.status.success(), "{output:?}");
            // Another process may have been faster; then there is one already.
            let _ = std::fs::rename(&unfinished, &template);
        }
        template
    })
}

/// A program of the server's package, with options that make it small.
fn server_program(name: &str) -> Command {
    let sbin = Path::new("/usr/sbin").join(name);
    let mut command = Command::new(if sbin.exists() { sbin } else { name.into() });
    command.args([
        "--no-defaults",
        "--innodb-log-file-size=4M",
        "--innodb-buffer-pool-size=8M",
    ]);
    // As root, the server wants to be told that this is meant.
    if is_root() {
        command.arg("--user=root");
    }
    command
}

/// Whether this is root's process.
pub fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}

/// The real client, about to connect.
pub fn client(address: SocketAddr) -> Command {
    let mut command = Command::new("mariadb");
    command
        .args([
            "--no-defaults",
            "--protocol=tcp",
            "--user=root",
            "--skip-column-names",
            "--batch",
            "--raw",
        ])
        .args(["--max-allowed-packet=64M", "--connect-timeout=20"])
        .arg(format!("--host={}", address.ip()))
        .arg(format!("--port={}", address.port()));
    command
}

/// Runs one statement, and returns what it printed.
pub fn query(address: SocketAddr, statement: &str) -> String {
    let output = client(address)
        .arg("--execute")
        .arg(statement)
        .stdin(Stdio::null())
        .output();
    text(output.expect("the mariadb client; `make test` installs it"))
}

/// What a client printed, which must have succeeded.
pub fn text(output: Output) -> String {
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout)
        .unwrap()
        .trim_end()
        .to_owned()
}
