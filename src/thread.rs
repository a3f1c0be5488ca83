//! Threads of the program.
//!
//! The body of each goes in a box, so that what the standard library does
//! around a thread is in the program once, and not for each of them.

use std::io;
use std::thread::{Builder, JoinHandle};

/// Starts a thread under a name, which the system shows the first 15 bytes of.
pub(crate) fn start_thread(
    name: &str,
    body: impl FnOnce() + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    start_boxed(name, Box::new(body))
}

fn start_boxed(name: &str, body: Box<dyn FnOnce() + Send>) -> io::Result<JoinHandle<()>> {
    Builder::new().name(name.to_owned()).spawn(body)
}
