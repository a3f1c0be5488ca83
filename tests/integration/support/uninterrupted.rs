//! Reads that go on where a signal came in between.
//!
//! The end of a program that a test has started is a signal to this process.
//! Nobody handles it; but where it comes while another program is being started,
//! it wakes some other thread, and ends what that one reads with a time limit
//! (signal(7), "Interruption of system calls").

use std::io::{self, ErrorKind, Read};
use std::net::TcpStream;

pub trait ReadOn {
    /// As [`Read::read`].
    fn read_on(&mut self, buffer: &mut [u8]) -> io::Result<usize>;
}

impl<R: Read> ReadOn for R {
    fn read_on(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        uninterrupted(|| self.read(buffer))
    }
}

pub trait PeekOn {
    /// As [`TcpStream::peek`].
    fn peek_on(&self, buffer: &mut [u8]) -> io::Result<usize>;
}

impl PeekOn for TcpStream {
    fn peek_on(&self, buffer: &mut [u8]) -> io::Result<usize> {
        uninterrupted(|| self.peek(buffer))
    }
}

/// Does it again where a signal came in between.
pub fn uninterrupted<T>(mut action: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match action() {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}
