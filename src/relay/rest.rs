//! What a sink has not taken yet of what was read for it, and the means that
//! all sessions share to move bytes.
//!
//! The rest is in this process or in the kernel, never in both: nothing more is
//! read while there is one.

use std::os::fd::BorrowedFd;

use rustix::io::Errno;

use super::splice::{Channel, Channels};
use crate::socket;

/// Sees the bytes that a sink has taken, in their order, and says how many of
/// the next ones need not be seen.
pub(super) type Show<'a> = &'a mut dyn FnMut(Shown<'_>) -> usize;

/// What is shown of a stream.
#[derive(Clone, Copy, Debug)]
pub(super) enum Shown<'a> {
    /// Nothing: the question how many of the next bytes need not be seen.
    Nothing,
    /// These bytes have passed.
    Bytes(&'a [u8]),
    /// So many bytes have passed unseen.
    Unseen(usize),
}

/// The buffer that every read goes through, the channels of long streams, and
/// the account of what pipes keep.
pub(super) struct Scratch {
    pub(super) buffer: Box<[u8]>,
    pub(super) channels: Channels,
    pub(super) kept: usize,
}

impl Scratch {
    /// One read: larger ones gain nothing, smaller ones cost bulk transfers.
    pub(super) const SIZE: usize = 64 * 1024;
    /// What pipes may keep together before they keep no more: the unread rest
    /// of at least 128 sessions, and an eighth of a small box.
    pub(super) const LIMIT: usize = 8 * 1024 * 1024;
    /// One read beyond the limit where there is no looking without taking, and
    /// so the most that such a pipe then keeps.
    pub(super) const SIZE_BEYOND_LIMIT: usize = 4 * 1024;

    /// With at most so many channels.
    pub(super) fn new(channels: usize) -> Self {
        Self {
            buffer: vec![0; Self::SIZE].into_boxed_slice(),
            channels: Channels::new(channels),
            kept: 0,
        }
    }

    pub(super) fn is_beyond_limit(&self) -> bool {
        self.kept + Self::SIZE > Self::LIMIT
    }
}

/// What is on its way between a source and a sink that is slow.
#[derive(Debug)]
pub(super) enum Rest {
    /// Nothing.
    Nothing,
    /// What was read into this process.
    Kept(Box<Kept>),
    /// What is in the kernel.
    Spliced(Channel),
}

/// Bytes of which the sink has taken some.
#[derive(Debug)]
pub(super) struct Kept {
    bytes: Box<[u8]>,
    taken: usize,
}

impl Rest {
    /// Keeps bytes, on the account of what all pipes keep.
    pub(super) fn keep(bytes: &[u8], account: &mut usize) -> Self {
        *account += bytes.len();
        Self::Kept(Box::new(Kept {
            bytes: bytes.into(),
            taken: 0,
        }))
    }

    /// Whether there is none.
    pub(super) fn is_nothing(&self) -> bool {
        matches!(self, Self::Nothing)
    }

    /// Whether it is in the kernel.
    pub(super) fn is_spliced(&self) -> bool {
        matches!(self, Self::Spliced(_))
    }

    /// Bytes of memory that it holds in this process.
    pub(super) fn memory(&self) -> usize {
        match self {
            Self::Kept(kept) => kept.bytes.len(),
            Self::Nothing | Self::Spliced(_) => 0,
        }
    }

    /// Sends as much as the sink takes at once, and shows it where it can be seen.
    pub(super) fn send(
        &mut self,
        sink: BorrowedFd<'_>,
        show: &mut Option<Show<'_>>,
    ) -> Result<usize, Errno> {
        match self {
            Self::Nothing => Ok(0),
            Self::Kept(kept) => {
                let left = &kept.bytes[kept.taken..];
                let length = socket::write(sink, left)?;
                if let Some(show) = show {
                    show(Shown::Bytes(&left[..length]));
                }
                kept.taken += length;
                Ok(length)
            }
            Self::Spliced(channel) => {
                let length = channel.drain(sink)?;
                if let Some(show) = show {
                    show(Shown::Unseen(length));
                }
                Ok(length)
            }
        }
    }

    /// Takes what is in a channel into this process, since the system does not
    /// move it on: at most [`Channel::SIZE`], and once in a channel's life.
    pub(super) fn leave_channel(&mut self, scratch: &mut Scratch) -> Result<(), Errno> {
        let Self::Spliced(channel) = self else {
            return Ok(());
        };
        let bytes = channel.read_all()?;
        self.release(scratch);
        *self = Self::keep(&bytes, &mut scratch.kept);
        Ok(())
    }

    /// Whether the sink has taken all of it.
    pub(super) fn is_taken(&self) -> bool {
        match self {
            Self::Nothing => true,
            Self::Kept(kept) => kept.taken == kept.bytes.len(),
            Self::Spliced(channel) => channel.is_empty(),
        }
    }

    /// Gives back what it holds, with whatever is left of it.
    pub(super) fn release(&mut self, scratch: &mut Scratch) {
        match std::mem::replace(self, Self::Nothing) {
            Self::Nothing => {}
            Self::Kept(kept) => scratch.kept -= kept.bytes.len(),
            Self::Spliced(channel) => scratch.channels.give_back(channel),
        }
    }
}
