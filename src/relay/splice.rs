//! Bytes that go from socket to socket inside the kernel, where there are many.
//!
//! A [`Channel`] is a pipe of the kernel (pipe(7)) between the two calls of
//! splice(2) that move bytes through it: they are never copied into this
//! process. That costs two calls and a pipe, so it pays for long streams alone,
//! and only where nobody here wants to see the bytes.
//!
//! Channels are few and shared. One that still holds bytes belongs to the
//! session whose bytes they are; all others are at the disposal of everybody.

use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::io::{Errno, read};
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};

const FLAGS: SpliceFlags = SpliceFlags::MOVE.union(SpliceFlags::NONBLOCK);

/// A pipe of the kernel, and how many bytes are in it.
#[derive(Debug)]
pub(super) struct Channel {
    inlet: OwnedFd,
    outlet: OwnedFd,
    held: usize,
}

impl Channel {
    /// What it takes at a time: half of that costs a fifth more, twice that is
    /// more than a user without privileges may ask for (pipe(7), `pipe-max-size`).
    pub(super) const SIZE: usize = 1024 * 1024;

    fn new() -> Result<Self, Errno> {
        let (outlet, inlet) = pipe_with(PipeFlags::NONBLOCK | PipeFlags::CLOEXEC)?;
        // A user who has many pipes gets smaller ones, which serve as well (pipe(7)).
        let _ = fcntl_setpipe_size(&inlet, Self::SIZE);
        Ok(Self {
            inlet,
            outlet,
            held: 0,
        })
    }

    /// Whether it holds nothing.
    pub(super) fn is_empty(&self) -> bool {
        self.held == 0
    }

    /// Takes bytes out of a socket, at most so many. 0 may be the end of the
    /// stream, or an urgent byte where the peer has ended its stream, too: the
    /// system splices no further than that byte (tcp(7)).
    ///
    /// It must be empty: a pipe is full when its slots are, however few bytes
    /// they hold, and a full one would look like a socket that has nothing.
    pub(super) fn fill(&mut self, source: BorrowedFd<'_>, most: usize) -> Result<usize, Errno> {
        debug_assert!(self.is_empty(), "what fills a channel is sent on first");
        let most = most.min(Self::SIZE);
        let length = retry(|| splice(source, None, &self.inlet, None, most, FLAGS))?;
        self.held = length;
        Ok(length)
    }

    /// Gives bytes to a socket, as many as it takes now. A socket that is closed
    /// raises SIGPIPE, too, which programs in Rust ignore from their start.
    pub(super) fn drain(&mut self, sink: BorrowedFd<'_>) -> Result<usize, Errno> {
        let length = retry(|| splice(&self.outlet, None, sink, None, self.held, FLAGS))?;
        if length == 0 {
            return Err(Errno::AGAIN);
        }
        self.held -= length;
        Ok(length)
    }

    /// Takes all that it holds into memory.
    pub(super) fn read_all(&mut self) -> Result<Vec<u8>, Errno> {
        let mut bytes = vec![0; self.held];
        while self.held > 0 {
            let start = bytes.len() - self.held;
            match retry(|| read(&self.outlet, &mut bytes[start..]))? {
                // Its own bytes cannot be missing.
                0 => return Err(Errno::PIPE),
                length => self.held -= length,
            }
        }
        Ok(bytes)
    }
}

/// Whether an error of splice(2) says that the system does not do this, where
/// it would copy: system call filters of containers and emulators do so.
pub(super) fn is_refused(errno: Errno) -> bool {
    matches!(errno, Errno::NOSYS | Errno::PERM | Errno::INVAL)
}

fn retry(mut call: impl FnMut() -> Result<usize, Errno>) -> Result<usize, Errno> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            result => return result,
        }
    }
}

/// The channels that all sessions share.
#[derive(Debug)]
pub(super) struct Channels {
    free: Vec<Channel>,
    /// How many there may still be.
    left: usize,
    /// Whether the system has refused to splice.
    refused: bool,
}

impl Channels {
    /// So many streams are moved by channels at a time, and others copied. All
    /// channels together hold 16 MiB of the kernel's memory, and that only while
    /// sinks are slow.
    const AT_MOST: usize = 16;

    /// How many there may be beside so many sessions. Each has two descriptors, as a session has.
    pub(super) fn count_beside(sessions: usize) -> usize {
        (sessions / 16).min(Self::AT_MOST)
    }

    /// At most so many.
    pub(super) fn new(count: usize) -> Self {
        Self {
            free: Vec::new(),
            left: count,
            refused: false,
        }
    }

    /// An empty one, where there is one.
    pub(super) fn take(&mut self) -> Option<Channel> {
        if let Some(channel) = self.free.pop() {
            return Some(channel);
        }
        self.left = self.left.checked_sub(1)?;
        let channel = Channel::new();
        if channel.is_err() {
            self.left += 1;
        }
        channel.ok()
    }

    /// There are no more, since the system does not splice. Streams are copied.
    pub(super) fn refuse(&mut self, errno: Errno) {
        log::info!("the system does not splice streams ({errno}): they are copied");
        self.free.clear();
        self.left = 0;
        self.refused = true;
    }

    /// Takes one back. What it still holds goes with it, and another one may be made.
    pub(super) fn give_back(&mut self, channel: Channel) {
        if self.refused {
            return;
        }
        if channel.is_empty() {
            self.free.push(channel);
        } else {
            self.left += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_full_of_bytes_is_not_given_to_another_session() {
        use std::io::Write;
        use std::os::fd::AsFd;
        let (mut writer, source) = std::os::unix::net::UnixStream::pair().unwrap();
        writer.write_all(b"abc").unwrap();
        let mut channels = Channels::new(1);
        let mut channel = channels.take().unwrap();
        assert!(channels.take().is_none());
        assert_eq!(channel.fill(source.as_fd(), usize::MAX), Ok(3));
        channels.give_back(channel);
        let channel = channels.take().unwrap();
        assert!(channel.is_empty());
        channels.give_back(channel);
        assert!(channels.take().is_some() && channels.take().is_none());
    }
}
