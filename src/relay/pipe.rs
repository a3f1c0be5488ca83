//! Moves bytes one way between two sockets that must never block.
//!
//! The system announces readiness once, at the moment it begins. So a pipe
//! remembers it (`readable`, `writable`) until a call says that there is no
//! more; forget that and a session stalls with bytes in hand.
//!
//! A pipe holds memory only while its sink is slow: what was read goes out of
//! the shared [`Scratch`] at once, and the [`Rest`] that the sink did not take is
//! kept until it does. Nothing more is read meanwhile, which slows the writer
//! at the other end, and nobody else. When many sinks are slow, pipes keep
//! nothing any more: they look at what is there, send it, and take out of the
//! source what the sink took.
//!
//! A source that fills the buffer again and again is left to the kernel, while
//! nobody wants to see its bytes: they go through a [`Channel`].
//!
//! After the end of the source's stream the sink's is ended only when its peer
//! has acknowledged what was written: a socket that is closed with bytes in it
//! is an orphan, and the system forgets an orphan whose peer pauses for a
//! minute, bytes and all. A stream that does not end in order, or whose bytes
//! could not all be delivered, is [short](Pipe::is_short): its sink is to see a
//! reset, never an end.

use std::os::fd::BorrowedFd;

use rustix::io::Errno;

use super::rest::{Rest, Scratch, Show, Shown};
use super::splice::{Channel, is_refused};
use crate::socket;

/// What a pipe moves before it lets others have their turn. Less costs bulk
/// transfers dear; more makes the others wait longer than 100 µs.
const TURN_BUDGET: usize = 256 * 1024;

/// After so many full reads in a row a source is taken for a long stream.
const FULL_READS: u8 = 3;

/// A channel that was filled with less than that is no gain over a copy.
const LEAST_SPLICED: usize = 16 * 1024;

/// So many bytes fit into the window that every TCP peer opens at first: no
/// need to ask whether they have been acknowledged.
const ALWAYS_DELIVERED: u64 = 1024;

/// What a socket of a pipe is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A TCP connection.
    Tcp,
    /// A unix socket.
    Unix,
}

/// One direction of a session.
#[derive(Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "what is known of two sockets: each is true or not, whatever the others are"
)]
pub(super) struct Pipe {
    source: Kind,
    sink: Kind,
    /// The source may have bytes, or its end.
    readable: bool,
    /// A short read may have stopped before the last byte, or before the end.
    reads_to_the_end: bool,
    /// The sink may take bytes.
    writable: bool,
    /// The source's connection has broken; what it had sent is still to be read.
    source_broken: bool,
    /// Less than the whole stream has been delivered, or can be.
    short: bool,
    /// The sink's connection has broken.
    sink_lost: bool,
    stage: Stage,
    /// How many full reads there were in a row; that many are enough.
    full_reads: u8,
    rest: Rest,
    /// Bytes that the sink has taken.
    sent: u64,
}

#[derive(Debug, PartialEq, Eq)]
enum Stage {
    Open,
    /// The source has ended; the sink learns that after what is on its way.
    Ending,
    /// Nothing moves any more.
    Closed,
}

/// What came to an end in a pipe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The source ended its stream in order.
    SourceClosed,
    /// The source's connection broke.
    SourceFailed,
}

/// How far a pipe came.
#[derive(Debug, Default)]
pub(super) struct Pumped {
    /// Bytes that the sink took.
    pub(super) bytes: u64,
    /// How many reads and writes moved something.
    pub(super) operations: u16,
    /// How the source ended meanwhile.
    pub(super) end: Option<End>,
    /// Why the sink takes nothing any more, where it was found broken.
    pub(super) sink_error: Option<Errno>,
    /// It stopped to be fair, not for want of bytes or room. No event will follow.
    pub(super) has_more: bool,
}

/// What one read and one write came to.
struct Moved {
    read: usize,
    sent: u64,
}

/// Which side of a pipe could not go on.
enum Failed {
    Source(Errno),
    Sink(Errno),
}

impl Pumped {
    fn count(&mut self, operations: u16) {
        self.operations = self.operations.saturating_add(operations);
    }
}

impl Pipe {
    /// A pipe with nothing in it, that waits for its first event.
    pub(super) fn new(source: Kind, sink: Kind) -> Self {
        Self {
            source,
            sink,
            readable: false,
            // A read stops at a message that carries descriptors (unix(7)).
            reads_to_the_end: source == Kind::Unix,
            writable: false,
            source_broken: false,
            short: false,
            sink_lost: false,
            stage: Stage::Open,
            full_reads: 0,
            rest: Rest::Nothing,
            sent: 0,
        }
    }

    /// The source has bytes, or an end, to read.
    pub(super) fn source_readable(&mut self, ends: bool) {
        self.readable = true;
        self.reads_to_the_end |= ends;
    }

    /// A read may stop before the last byte that is there: at a byte that was
    /// sent as urgent (tcp(7)). So it takes a read in vain to know.
    pub(super) fn read_to_the_end(&mut self) {
        self.reads_to_the_end = true;
    }

    /// The sink takes bytes again.
    pub(super) fn sink_writable(&mut self) {
        self.writable = true;
    }

    /// The source's connection has broken: its stream has no end in order, but
    /// what it had sent before is delivered. False where that stream had ended already.
    pub(super) fn source_failed(&mut self) -> bool {
        let is_open = self.stage == Stage::Open;
        self.source_broken |= is_open;
        if is_open {
            self.source_readable(true);
        }
        is_open
    }

    /// The sink's connection is broken: what is on the way to it is lost.
    pub(super) fn sink_failed(&mut self, scratch: &mut Scratch) {
        if self.stage != Stage::Closed {
            self.short |= !self.rest.is_nothing();
            self.sink_lost = true;
            self.release(scratch);
            self.stage = Stage::Closed;
        }
    }

    /// Whether nothing moves any more since its sink has gone.
    pub(super) fn has_lost_its_sink(&self) -> bool {
        self.sink_lost
    }

    /// Reads what nothing takes any more, within one turn's budget: a source
    /// that cannot write would not read either, and the other direction stands
    /// still. True where there may be more.
    pub(super) fn discard(&mut self, source: BorrowedFd<'_>, scratch: &mut Scratch) -> bool {
        let mut discarded = 0;
        while self.readable && discarded < TURN_BUDGET {
            match socket::read(source, &mut scratch.buffer) {
                Ok(0) | Err(_) => self.readable = false,
                Ok(length) => {
                    discarded += length;
                    self.short = true;
                }
            }
        }
        self.readable
    }

    /// Whether both of its ends are TCP connections.
    pub(super) fn is_between_tcp(&self) -> bool {
        self.source == Kind::Tcp && self.sink == Kind::Tcp
    }

    /// Whether nothing moves any more.
    pub(super) fn is_closed(&self) -> bool {
        self.stage == Stage::Closed
    }

    /// Whether nothing more is read.
    pub(super) fn has_ended(&self) -> bool {
        self.stage != Stage::Open
    }

    /// Whether its source has ended, and the sink has not got all of it yet.
    pub(super) fn is_delivering(&self) -> bool {
        match self.stage {
            Stage::Open => self.source_broken,
            Stage::Ending => true,
            Stage::Closed => false,
        }
    }

    /// Whether the sink has not got the whole stream, as far as this pipe has
    /// seen it: it is to see a reset.
    pub(super) fn is_short(&self) -> bool {
        self.short || !self.rest.is_nothing()
    }

    /// Bytes of memory that it holds.
    pub(super) fn memory(&self) -> usize {
        self.rest.memory()
    }

    /// Gives the memory back that it holds.
    pub(super) fn release(&mut self, scratch: &mut Scratch) {
        self.rest.release(scratch);
    }

    /// Moves what can be moved now, within one turn's budget, and shows what
    /// the sink took, where somebody wants to see it. The end of the last pipe
    /// of a session closes the sink, so it needs no word of its own.
    pub(super) fn pump(
        &mut self,
        source: BorrowedFd<'_>,
        sink: BorrowedFd<'_>,
        scratch: &mut Scratch,
        is_last: bool,
        mut show: Option<Show<'_>>,
    ) -> Pumped {
        let mut pumped = Pumped::default();
        let mut read = 0;
        loop {
            if let Err(errno) = self.send_rest(sink, scratch, &mut pumped, &mut show) {
                self.fail(errno, &mut pumped, scratch);
            }
            if self.stage == Stage::Ending && self.rest.is_nothing() && self.is_delivered(sink) {
                if !is_last && !self.short {
                    // A sink that is gone already needs no end of stream.
                    let _ = socket::end_stream(sink);
                }
                self.stage = Stage::Closed;
            }
            if self.stage != Stage::Open || !self.readable || !self.writable {
                return pumped;
            }
            if read >= TURN_BUDGET {
                pumped.has_more = true;
                return pumped;
            }
            let unseen = match &mut show {
                None => usize::MAX,
                Some(show) => show(Shown::Nothing),
            };
            let moved = match self.channel_from(scratch, unseen) {
                Some(channel) => self.fill(channel, unseen, source, scratch),
                None => self.read_and_send(source, sink, scratch, &mut show),
            };
            match moved {
                Ok(Some(moved)) => {
                    read += moved.read;
                    self.sent += moved.sent;
                    pumped.bytes += moved.sent;
                    pumped.count(u16::from(moved.read > 0) + u16::from(moved.sent > 0));
                }
                Ok(None) if self.source_broken => self.end(End::SourceFailed, &mut pumped),
                Ok(None) => self.end(End::SourceClosed, &mut pumped),
                Err(Failed::Source(Errno::AGAIN)) if self.source_broken => {
                    self.end(End::SourceFailed, &mut pumped);
                }
                Err(Failed::Source(Errno::AGAIN)) => self.readable = false,
                Err(Failed::Source(_)) => self.end(End::SourceFailed, &mut pumped),
                Err(Failed::Sink(errno)) => self.fail(errno, &mut pumped, scratch),
            }
        }
    }

    /// Whether the sink's peer has what was written to it.
    fn is_delivered(&self, sink: BorrowedFd<'_>) -> bool {
        // What was written to a unix socket is with its peer at once.
        self.sink == Kind::Unix || self.sent <= ALWAYS_DELIVERED || socket::is_delivered(sink)
    }

    /// Reads once, sends it, and keeps what is not taken; or, beyond the limit
    /// of what is kept, leaves it in the source. `None` at the end of the stream.
    fn read_and_send(
        &mut self,
        source: BorrowedFd<'_>,
        sink: BorrowedFd<'_>,
        scratch: &mut Scratch,
        show: &mut Option<Show<'_>>,
    ) -> Result<Option<Moved>, Failed> {
        let beyond_limit = scratch.is_beyond_limit();
        let leave_the_rest = beyond_limit && self.source == Kind::Tcp;
        let size = if beyond_limit && !leave_the_rest {
            Scratch::SIZE_BEYOND_LIMIT
        } else {
            Scratch::SIZE
        };
        let room = &mut scratch.buffer[..size];
        let read = if leave_the_rest {
            socket::peek(source, room)
        } else {
            socket::read(source, room)
        };
        let length = read.map_err(Failed::Source)?;
        if length == 0 {
            return Ok(None);
        }
        // A short read means that there was no more.
        self.readable = length == size || self.reads_to_the_end;
        self.full_reads = if length == Scratch::SIZE {
            FULL_READS.min(self.full_reads + 1)
        } else {
            0
        };
        let taken = match socket::write(sink, &room[..length]) {
            Ok(taken) => taken,
            Err(Errno::AGAIN) => 0,
            Err(errno) => {
                self.short = true;
                return Err(Failed::Sink(errno));
            }
        };
        if let Some(show) = show {
            show(Shown::Bytes(&room[..taken]));
        }
        self.writable = taken == length;
        if leave_the_rest {
            // What is not taken is there to be read when the sink has room.
            self.readable |= taken < length;
            socket::discard(source, &mut room[..taken]).map_err(Failed::Source)?;
        } else if taken < length {
            self.rest = Rest::keep(&room[taken..length], &mut scratch.kept);
        }
        Ok(Some(Moved {
            read: length,
            sent: taken as u64,
        }))
    }

    fn send_rest(
        &mut self,
        sink: BorrowedFd<'_>,
        scratch: &mut Scratch,
        pumped: &mut Pumped,
        show: &mut Option<Show<'_>>,
    ) -> Result<(), Errno> {
        while self.writable && !self.rest.is_nothing() {
            match self.rest.send(sink, show) {
                Ok(length) => {
                    self.sent += length as u64;
                    pumped.bytes += length as u64;
                    pumped.count(1);
                    if self.rest.is_taken() {
                        self.rest.release(scratch);
                    }
                }
                Err(Errno::AGAIN) => self.writable = false,
                Err(errno) if is_refused(errno) && self.rest.is_spliced() => {
                    scratch.channels.refuse(errno);
                    self.rest.leave_channel(scratch)?;
                }
                Err(errno) => return Err(errno),
            }
        }
        Ok(())
    }

    /// A channel for what the source has, where that is a long stream of which
    /// so much may pass unseen. A byte that was sent as urgent would stop it for good.
    fn channel_from(&self, scratch: &mut Scratch, unseen: usize) -> Option<Channel> {
        let is_long =
            self.full_reads == FULL_READS && !self.reads_to_the_end && unseen >= LEAST_SPLICED;
        is_long.then(|| scratch.channels.take()).flatten()
    }

    /// Reads once, into a channel, at most so much.
    fn fill(
        &mut self,
        mut channel: Channel,
        most: usize,
        source: BorrowedFd<'_>,
        scratch: &mut Scratch,
    ) -> Result<Option<Moved>, Failed> {
        let nothing = Moved { read: 0, sent: 0 };
        match channel.fill(source, most) {
            // It is the end, or an urgent byte stands in front: only a read tells.
            Ok(0) => {
                self.full_reads = 0;
                scratch.channels.give_back(channel);
                Ok(Some(nothing))
            }
            Ok(read) => {
                if read < LEAST_SPLICED.min(most) {
                    self.full_reads = 0;
                }
                self.rest = Rest::Spliced(channel);
                Ok(Some(Moved { read, sent: 0 }))
            }
            Err(errno) => {
                scratch.channels.give_back(channel);
                if is_refused(errno) {
                    scratch.channels.refuse(errno);
                    return Ok(Some(nothing));
                }
                Err(Failed::Source(errno))
            }
        }
    }

    fn end(&mut self, end: End, pumped: &mut Pumped) {
        self.stage = Stage::Ending;
        self.readable = false;
        self.short |= end == End::SourceFailed;
        pumped.end = Some(end);
    }

    fn fail(&mut self, errno: Errno, pumped: &mut Pumped, scratch: &mut Scratch) {
        self.sink_failed(scratch);
        pumped.sink_error = Some(errno);
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{Shutdown, TcpListener, TcpStream};
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;
    use std::time::{Duration, Instant};

    use rustix::net::SendFlags;

    use super::*;

    /// How long what must come may take.
    const PATIENCE: Duration = Duration::from_secs(20);

    /// A pipe with a stream at each end, and what the tests do with them.
    struct Bench {
        writer: UnixStream,
        source: UnixStream,
        sink: UnixStream,
        reader: UnixStream,
        pipe: Pipe,
        scratch: Scratch,
    }

    impl Bench {
        fn new() -> Self {
            let (writer, source) = UnixStream::pair().unwrap();
            let (sink, reader) = UnixStream::pair().unwrap();
            for stream in [&writer, &source, &sink, &reader] {
                stream.set_nonblocking(true).unwrap();
            }
            let mut pipe = Pipe::new(Kind::Unix, Kind::Unix);
            pipe.sink_writable();
            Self {
                writer,
                source,
                sink,
                reader,
                pipe,
                scratch: Scratch::new(0),
            }
        }

        fn pump(&mut self) -> Pumped {
            self.pipe.pump(
                self.source.as_fd(),
                self.sink.as_fd(),
                &mut self.scratch,
                false,
                Some(&mut |_| 0),
            )
        }

        fn received(&mut self) -> Vec<u8> {
            let mut bytes = Vec::new();
            // The error is `WouldBlock` where the stream is still open.
            let _ = self.reader.read_to_end(&mut bytes);
            bytes
        }
    }

    #[test]
    fn data_and_end_that_come_together_both_arrive() {
        let mut bench = Bench::new();
        bench.writer.write_all(b"last words").unwrap();
        bench.writer.shutdown(Shutdown::Write).unwrap();
        bench.pipe.source_readable(true);
        assert_eq!(bench.pump().end, Some(End::SourceClosed));
        assert!(bench.pipe.is_closed());
        assert_eq!(bench.received(), b"last words");
    }

    #[test]
    fn a_slow_sink_stops_the_reading_and_loses_nothing() {
        let mut bench = Bench::new();
        let mut written = Vec::new();
        let mut received = Vec::new();
        for round in 0..50_u8 {
            while let Ok(length) = bench.writer.write(&[round; 10_000]) {
                written.extend_from_slice(&[round; 10_000][..length]);
            }
            bench.pipe.source_readable(false);
            let kept_before = bench.pipe.memory();
            bench.pump();
            assert!(bench.pipe.memory() <= Scratch::SIZE);
            assert!(
                kept_before == 0 || bench.pipe.memory() == kept_before,
                "nothing is read while something is kept"
            );
            assert_eq!(bench.scratch.kept, bench.pipe.memory());
            if round % 3 == 0 {
                received.extend(bench.received());
                bench.pipe.sink_writable();
                bench.pump();
            }
        }
        loop {
            bench.pipe.sink_writable();
            bench.pipe.source_readable(false);
            let moved = bench.pump().bytes;
            let more = bench.received();
            if moved == 0 && more.is_empty() {
                break;
            }
            received.extend(more);
        }
        assert!(received == written);
        assert_eq!(bench.scratch.kept, 0);
    }

    #[test]
    fn a_busy_source_gives_way_after_its_budget_and_says_so() {
        let mut bench = Bench::new();
        // The stream's own buffers are smaller than the budget, so both ends are served as they fill.
        let mut moved = 0;
        let reader = bench.reader.try_clone().unwrap();
        reader.set_nonblocking(false).unwrap();
        let mut writer = bench.writer.try_clone().unwrap();
        writer.set_nonblocking(false).unwrap();
        let total = 4 * TURN_BUDGET;
        let feeding = std::thread::spawn(move || writer.write_all(&vec![7; total]).unwrap());
        let draining = std::thread::spawn(move || {
            std::io::copy(&mut reader.take(total as u64), &mut std::io::sink())
        });
        while moved < total as u64 {
            bench.pipe.source_readable(false);
            bench.pipe.sink_writable();
            let pumped = bench.pump();
            assert!(pumped.bytes <= (TURN_BUDGET + 2 * Scratch::SIZE) as u64);
            moved += pumped.bytes;
        }
        feeding.join().unwrap();
        assert_eq!(draining.join().unwrap().unwrap(), total as u64);
    }

    #[test]
    fn a_broken_sink_is_told_apart_from_a_source_that_ended() {
        let mut bench = Bench::new();
        let (gone, _) = UnixStream::pair().unwrap();
        bench.reader = gone;
        bench.writer.write_all(b"x").unwrap();
        bench.pipe.source_readable(false);
        let pumped = bench.pump();
        assert_eq!((pumped.end, pumped.sink_error), (None, Some(Errno::PIPE)));
        assert!(bench.pipe.is_closed() && bench.pipe.is_short());
    }

    #[test]
    fn the_end_reaches_a_sink_only_when_its_peer_has_everything() {
        let (mut pipe, mut writer, source, sink, mut reader) = tcp_pipe();
        let mut scratch = Scratch::new(0);
        let written = fill_up(&mut pipe, &mut scratch, &mut writer, [&source, &sink]);
        writer.shutdown(Shutdown::Write).unwrap();
        let mut pump = |pipe: &mut Pipe| {
            pipe.source_readable(true);
            pipe.sink_writable();
            pipe.pump(source.as_fd(), sink.as_fd(), &mut scratch, false, None);
        };
        // The sockets on the way are full, and the reader's peer takes nothing.
        for _ in 0..100 {
            pump(&mut pipe);
            assert!(!pipe.is_closed());
        }
        let mut received = 0;
        let mut room = vec![0; 64 * 1024];
        let deadline = Instant::now() + PATIENCE;
        while !pipe.is_closed() {
            assert!(Instant::now() < deadline);
            pump(&mut pipe);
            received += reader.read(&mut room).unwrap_or(0);
        }
        reader.set_nonblocking(false).unwrap();
        while received < written {
            received += reader.read(&mut room).unwrap();
        }
        assert_eq!(reader.read(&mut room).unwrap(), 0);
        assert!(!pipe.is_short());
    }

    #[test]
    fn a_reset_after_the_end_of_a_stream_is_no_break_and_one_before_it_is() {
        for (ends_first, end) in [(true, End::SourceClosed), (false, End::SourceFailed)] {
            let (mut pipe, mut writer, source, sink, mut reader) = tcp_pipe();
            let mut scratch = Scratch::new(0);
            writer.write_all(b"all of it").unwrap();
            if ends_first {
                writer.shutdown(Shutdown::Write).unwrap();
            }
            rustix::net::sockopt::set_socket_linger(&writer, Some(Duration::ZERO)).unwrap();
            drop(writer);
            // What the relay does at the error's event.
            let error = socket::take_error(&source);
            assert_eq!(error == Some(Errno::PIPE), ends_first);
            pipe.source_readable(true);
            if !ends_first {
                assert!(pipe.source_failed());
            }
            let pumped = pipe.pump(source.as_fd(), sink.as_fd(), &mut scratch, false, None);
            assert_eq!(pumped.end, Some(end));
            assert_eq!(pipe.is_short(), !ends_first);
            let mut received = [0; 9];
            reader.set_nonblocking(false).unwrap();
            reader.read_exact(&mut received).unwrap();
            assert_eq!(&received, b"all of it");
        }
    }

    /// A pipe between TCP connections, and the ends of both.
    fn tcp_pipe() -> (Pipe, TcpStream, TcpStream, TcpStream, TcpStream) {
        let pair = || {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let one = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let other = listener.accept().unwrap().0;
            one.set_nonblocking(true).unwrap();
            other.set_nonblocking(true).unwrap();
            (one, other)
        };
        let ((writer, source), (sink, reader)) = (pair(), pair());
        let mut pipe = Pipe::new(Kind::Tcp, Kind::Tcp);
        pipe.sink_writable();
        (pipe, writer, source, sink, reader)
    }

    #[test]
    fn beyond_the_limit_nothing_is_kept_and_nothing_lost() {
        let (mut pipe, mut writer, source, sink, mut reader) = tcp_pipe();
        let mut scratch = Scratch::new(0);
        scratch.kept = Scratch::LIMIT;
        let data: Vec<u8> = (0..20_000_000_u32)
            .map(|number| (number % 251) as u8)
            .collect();
        let (mut written, mut received) = (0, Vec::new());
        while received.len() < data.len() {
            while let Ok(length @ 1..) = writer.write(&data[written..]) {
                written += length;
            }
            pipe.source_readable(false);
            pipe.sink_writable();
            pipe.pump(
                source.as_fd(),
                sink.as_fd(),
                &mut scratch,
                false,
                Some(&mut |_| 0),
            );
            assert_eq!(pipe.memory(), 0);
            // The error is `WouldBlock`: the stream is still open.
            let _ = reader.read_to_end(&mut received);
        }
        assert!(received == data);
        assert_eq!(scratch.kept, Scratch::LIMIT);
    }

    /// Pumps until the sink takes nothing more and bytes are left in the pipe.
    fn fill_up(
        pipe: &mut Pipe,
        scratch: &mut Scratch,
        writer: &mut TcpStream,
        ends: [&TcpStream; 2],
    ) -> usize {
        let bytes = vec![7; 1024 * 1024];
        let mut written = 0;
        while pipe.rest.is_nothing() {
            while let Ok(length @ 1..) = writer.write(&bytes) {
                written += length;
            }
            // However little has come, it is part of a long stream.
            pipe.full_reads = FULL_READS;
            pipe.source_readable(false);
            pipe.sink_writable();
            pipe.pump(ends[0].as_fd(), ends[1].as_fd(), scratch, false, None);
        }
        written
    }

    #[test]
    fn a_long_stream_goes_through_a_channel_whole_and_leaves_the_channel_to_others() {
        let mut scratch = Scratch::new(1);
        let (mut pipe, mut writer, source, sink, mut reader) = tcp_pipe();
        let written = fill_up(&mut pipe, &mut scratch, &mut writer, [&source, &sink]);
        assert!(matches!(pipe.rest, Rest::Spliced(_)));

        // Somebody else copies meanwhile.
        let (mut other, mut feeder, from, to, _end) = tcp_pipe();
        fill_up(&mut other, &mut scratch, &mut feeder, [&from, &to]);
        assert!(matches!(other.rest, Rest::Kept(_)));
        other.release(&mut scratch);

        writer.shutdown(Shutdown::Write).unwrap();
        let mut received = Vec::new();
        while !pipe.is_closed() {
            // The error is `WouldBlock`: the stream is still open.
            let _ = reader.read_to_end(&mut received);
            pipe.source_readable(false);
            pipe.sink_writable();
            pipe.pump(source.as_fd(), sink.as_fd(), &mut scratch, false, None);
        }
        reader.set_nonblocking(false).unwrap();
        reader.read_to_end(&mut received).unwrap();
        assert_eq!(received.len(), written);
        assert!(received.iter().all(|byte| *byte == 7));
        assert!(scratch.channels.take().is_some_and(|free| free.is_empty()));
    }

    #[test]
    fn full_reads_in_a_row_make_a_long_stream() {
        let (mut pipe, mut writer, source, sink, mut reader) = tcp_pipe();
        let mut scratch = Scratch::new(1);
        writer.set_nonblocking(false).unwrap();
        let feeding =
            std::thread::spawn(move || while writer.write_all(&vec![1; 64 * 1024]).is_ok() {});
        let mut room = vec![0; 1024 * 1024];
        let deadline = Instant::now() + PATIENCE;
        while pipe.full_reads < FULL_READS {
            assert!(Instant::now() < deadline);
            pipe.source_readable(false);
            pipe.sink_writable();
            pipe.pump(source.as_fd(), sink.as_fd(), &mut scratch, false, None);
            // An error is `WouldBlock`.
            let _ = reader.read(&mut room);
        }
        drop(source);
        feeding.join().unwrap();
    }

    #[test]
    fn what_somebody_reads_along_with_goes_through_no_channel() {
        let (mut pipe, mut writer, source, sink, mut reader) = tcp_pipe();
        let mut scratch = Scratch::new(1);
        let (mut written, mut seen, mut room) = (0, 0, vec![0; 256 * 1024]);
        while seen < 10_000_000 {
            while let Ok(length @ 1..) = writer.write(&room) {
                written += length;
            }
            pipe.source_readable(false);
            pipe.sink_writable();
            let mut show = |shown: Shown<'_>| {
                if let Shown::Bytes(bytes) = shown {
                    seen += bytes.len();
                }
                0
            };
            pipe.pump(
                source.as_fd(),
                sink.as_fd(),
                &mut scratch,
                false,
                Some(&mut show),
            );
            assert!(!matches!(pipe.rest, Rest::Spliced(_)));
            // An error is `WouldBlock`.
            let _ = reader.read(&mut room);
        }
        assert!(seen <= written);
    }

    #[test]
    fn a_session_that_ends_with_bytes_in_its_channel_leaves_the_next_one_an_empty_one() {
        let (mut pipe, mut writer, source, sink, _reader) = tcp_pipe();
        let mut scratch = Scratch::new(1);
        fill_up(&mut pipe, &mut scratch, &mut writer, [&source, &sink]);
        assert!(matches!(pipe.rest, Rest::Spliced(_)));
        pipe.release(&mut scratch);
        assert!(scratch.channels.take().is_some_and(|next| next.is_empty()));
    }

    #[test]
    fn an_urgent_byte_in_a_long_stream_does_not_stop_it() {
        let (mut pipe, mut writer, source, sink, mut reader) = tcp_pipe();
        let mut scratch = Scratch::new(1);
        let mut room = vec![0; 1024 * 1024];
        let mut received = 0;
        let written = fill_up(&mut pipe, &mut scratch, &mut writer, [&source, &sink]);
        // A full socket takes no urgent byte, so some room is made first.
        while rustix::net::send(&writer, b"!", SendFlags::OOB).is_err() {
            pipe.source_readable(false);
            pipe.sink_writable();
            pipe.pump(source.as_fd(), sink.as_fd(), &mut scratch, false, None);
            received += reader.read(&mut room).unwrap_or(0);
        }
        writer.set_nonblocking(false).unwrap();
        let end = std::thread::spawn(move || writer.write_all(&vec![1; 500_000]).unwrap());
        pipe.read_to_the_end();
        let deadline = Instant::now() + PATIENCE;
        while received < written + 500_000 {
            assert!(Instant::now() < deadline, "{received} of {written}");
            pipe.source_readable(false);
            pipe.sink_writable();
            pipe.pump(source.as_fd(), sink.as_fd(), &mut scratch, false, None);
            received += reader.read(&mut room).unwrap_or(0);
        }
        end.join().unwrap();
        assert_eq!(received, written + 500_000);
    }

    #[test]
    fn what_stands_behind_an_urgent_byte_is_not_left_behind() {
        let (mut pipe, mut writer, source, sink, mut reader) = tcp_pipe();
        let mut scratch = Scratch::new(0);
        writer.write_all(b"abc").unwrap();
        rustix::net::send(&writer, b"!", SendFlags::OOB).unwrap();
        writer.write_all(b"def").unwrap();
        // One announcement for all of it, as the system gives it when they come together.
        pipe.source_readable(false);
        pipe.read_to_the_end();
        pipe.pump(
            source.as_fd(),
            sink.as_fd(),
            &mut scratch,
            false,
            Some(&mut |_| 0),
        );
        reader.set_nonblocking(false).unwrap();
        reader.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut received = [0; 6];
        reader.read_exact(&mut received).unwrap();
        assert_eq!(&received, b"abcdef");
    }
}
