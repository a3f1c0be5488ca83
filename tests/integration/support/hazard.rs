//! What every hostile client must leave behind: nothing. An honest client
//! beside it is answered, and then everything is as it was.

use std::io::{BufReader, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::http::{Answer, connect};
use super::{Daemon, until};

/// How long an honest client may have to wait, whatever others do: less than
/// any of the door's own limits, which begin with five seconds.
pub const HONEST_WAIT: Duration = Duration::from_secs(4);

/// What a daemon has in use.
pub struct Before<'a> {
    daemon: &'a Daemon,
    threads: u64,
    descriptors: usize,
    memory: u64,
}

impl<'a> Before<'a> {
    /// Looks at a daemon that has answered a few requests and rests.
    pub fn look(daemon: &'a Daemon) -> Self {
        for _ in 0..20 {
            honest(daemon.admin());
        }
        let descriptors = daemon.descriptors_at_rest();
        let process = &daemon.process;
        Self {
            daemon,
            threads: process.status("Threads"),
            descriptors,
            memory: process.status("VmRSS"),
        }
    }

    /// Checks that an honest client is answered, and that nothing is left of the others.
    pub fn same_after(&self) {
        honest(self.daemon.admin());
        let process = &self.daemon.process;
        until(&format!("{} threads", self.threads), || {
            (process.status("Threads") <= self.threads).then_some(())
        });
        self.daemon.until_descriptors(self.descriptors);
        let memory = process.status("VmRSS");
        assert!(
            memory <= self.memory + 4096,
            "{} KiB of memory have become {memory}",
            self.memory
        );
    }
}

/// One honest request on a connection of its own, in time.
pub fn honest(admin: SocketAddr) {
    let begin = Instant::now();
    let mut stream = BufReader::new(connect(admin));
    stream
        .get_mut()
        .write_all(b"GET /v1/sessions/1 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .unwrap();
    let answer = Answer::read(&mut stream, false);
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(begin.elapsed() < HONEST_WAIT, "{:?}", begin.elapsed());
}
