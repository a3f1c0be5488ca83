//! What the tests share: the program under test, servers and clients around it.

pub mod browser;
pub mod certificate;
pub mod daemon;
pub mod directory;
pub mod document;
pub mod handshake;
pub mod hazard;
pub mod http;
pub mod interactive;
pub mod library;
pub mod mariadb;
pub mod notify;
pub mod postgresql;
pub mod process;
pub mod prometheus;
pub mod pseudo_terminal;
pub mod python;
pub mod random;
pub mod relay;
pub mod server;
pub mod tap;
pub mod uninterrupted;

use std::time::{Duration, Instant};

pub use daemon::Daemon;
pub use directory::Directory;
pub use document::Document;
pub use server::Server;

/// How long anything may take that should take no time. It is long because the
/// machines that run tests are busy, and only ever waited for by a failing test.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Tries what a machine that stands still for a moment can spoil.
///
/// # Panics
///
/// Where it is spoilt five times.
pub fn at_last<T>(attempt: impl FnMut() -> Option<T>) -> T {
    let mut attempts = std::iter::repeat_with(attempt).take(5);
    attempts.find_map(|result| result).expect("one of five")
}

/// Asks again and again until there is an answer.
///
/// # Panics
///
/// When there is none within [`PATIENCE`].
pub fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(
            Instant::now() < deadline,
            "in vain for {PATIENCE:?}: {what}"
        );
        // Waiting, not hoping: whatever comes earlier is seen at the next question.
        std::thread::park_timeout(Duration::from_millis(1));
    }
}
