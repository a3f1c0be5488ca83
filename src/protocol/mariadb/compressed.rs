//! A session that is logged in, and in which packets are compressed.
//!
//! Both sides' packets come in frames: a length, a sequence number, and the length
//! before compression, which is 0 where the frame is not compressed (MariaDB
//! Knowledge Base, "Compression"). Short frames are not. Of one that is, by zlib, the
//! first bytes are made out ([`inflate`]), since they say which command it is; of one
//! that is compressed by zstd, nothing is. All else is skipped.
//!
//! A command begins with a frame of number 0, so that is where packets can be
//! followed again after a file whose packets could not. Where a change of user may
//! have been, it is said that nobody knows the user; the change itself, which takes
//! some rounds, is not followed. Nor are the databases that OK packets name.

use std::ops::ControlFlow;

use super::capability::ZSTD;
use super::commands::{Commands, Kind};
use super::database::INIT_DB;
use super::exchange::{OK, SHORTEST_OK};
use super::inflate;
use super::packet::{FULL, Framing, Head};
use super::refusal::ERROR;
use crate::protocol::held::hold;
use crate::protocol::{Fact, MAX_NAME, Side};

/// Two lengths and the sequence number between them.
const FRAME_HEAD: usize = 7;

/// A packet's head with its first byte.
const PACKET_HEAD: usize = 5;
const PACKET_HEAD_LENGTH: u32 = 5;

/// As much of a compressed frame is gathered: the longest description of a code has some
/// 300 bytes, and behind it stand the bytes that are wanted.
const MAX_BEGINNING: usize = 512;

/// A session of which each side sends frames.
#[derive(Debug)]
pub(super) struct Compressed {
    is_zlib: bool,
    client: Frames,
    server: Frames,
    /// The client's packets, where they are followed.
    packets: Option<Packets>,
    awaits: Awaits,
    answer: Answer,
    /// The sequence number of the client's last frame, and of the server's.
    asked: u8,
    said: u8,
    /// Whether the server has sent a frame since the client's last one.
    has_spoken: bool,
}

/// The client's packets from a command on.
#[derive(Debug)]
struct Packets {
    framing: Framing,
    commands: Commands,
    /// The name in a COM_INIT_DB.
    name: Option<Vec<u8>>,
    /// Whether the last packet goes on in the next.
    goes_on: bool,
}

/// What the server's answer decides.
#[derive(Debug)]
enum Awaits {
    Nothing,
    /// Whether a command that could not be seen has changed the user.
    User,
    /// Whether the database is this one now.
    Database(Vec<u8>),
}

/// Whether the server's next frame begins the answer to the last command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Begun,
    Owed,
    /// A command was sent while an answer was owed.
    Tangled,
}

/// A frame whose head has come.
#[derive(Clone, Copy, Debug)]
struct Frame {
    length: u32,
    sequence: u8,
    /// Its length before compression; 0 where it is not compressed.
    uncompressed: u32,
}

/// Where a side is in its frames.
#[derive(Debug)]
struct Frames {
    head: [u8; FRAME_HEAD],
    filled: u8,
    /// How much of the frame is still to come.
    left: u32,
    /// Whether the rest of the frame is not compressed and is wanted.
    is_open: bool,
    /// The beginning of a frame that is wanted, with the frame.
    beginning: Option<(Frame, Vec<u8>)>,
}

impl Frames {
    fn new() -> Self {
        Self {
            head: [0; FRAME_HEAD],
            filled: 0,
            left: 0,
            is_open: false,
            beginning: None,
        }
    }

    /// Takes the head of the next frame, where the one before is whole.
    fn next(&mut self, input: &mut &[u8]) -> Option<Frame> {
        while let Some(place) = self.head.get_mut(usize::from(self.filled)) {
            *place = *input.split_off_first()?;
            self.filled += 1;
        }
        self.filled = 0;
        let [length @ .., sequence, _, _, _] = &self.head;
        let [_, _, _, _, uncompressed @ ..] = &self.head;
        let number = |bytes: &[u8]| {
            let digits = bytes.iter().rev();
            digits.fold(0, |number, byte| number << 8 | u32::from(*byte))
        };
        self.left = number(length);
        Some(Frame {
            length: self.left,
            sequence: *sequence,
            uncompressed: number(uncompressed),
        })
    }

    fn left(&self) -> usize {
        usize::try_from(self.left).unwrap_or(usize::MAX)
    }

    fn skip(&mut self, length: usize) {
        let length = u32::try_from(length).unwrap_or(u32::MAX);
        self.left = self.left.saturating_sub(length);
    }

    fn take<'a>(&mut self, input: &mut &'a [u8]) -> &'a [u8] {
        let (taken, rest) = input.split_at(self.left().min(input.len()));
        *input = rest;
        self.skip(taken.len());
        taken
    }

    /// Gathers the beginning of a frame that is wanted: what of it there is, when there is
    /// enough. The rest is skipped.
    fn gather(&mut self, input: &mut &[u8], wanted: usize) -> Option<(Frame, Vec<u8>)> {
        let (frame, held) = self.beginning.as_mut()?;
        let frame_length = usize::try_from(frame.length).unwrap_or(usize::MAX);
        let wanted = wanted.min(frame_length);
        let (taken, rest) = input.split_at(input.len().min(wanted - held.len()));
        *input = rest;
        hold(held, taken, wanted);
        let is_enough = held.len() == wanted;
        self.skip(taken.len());
        if is_enough {
            self.beginning.take()
        } else {
            None
        }
    }

    fn memory(&self) -> usize {
        let beginning = self.beginning.as_ref();
        beginning.map_or(0, |(_, held)| held.capacity())
    }
}

impl Compressed {
    /// One in which both sides have these capabilities.
    pub(super) fn new(capabilities: u64) -> Self {
        Self {
            // Where both have both, zlib is used.
            is_zlib: capabilities & super::capability::COMPRESS != 0 || capabilities & ZSTD == 0,
            client: Frames::new(),
            server: Frames::new(),
            packets: None,
            awaits: Awaits::Nothing,
            answer: Answer::Begun,
            asked: 0,
            said: 1,
            has_spoken: true,
        }
    }

    /// Takes what one side has sent; breaks off where the client ends the session.
    pub(super) fn observe(
        &mut self,
        side: Side,
        mut bytes: &[u8],
        facts: &mut Vec<Fact>,
    ) -> ControlFlow<()> {
        match side {
            Side::Client => self.client(&mut bytes, facts),
            Side::Server => {
                self.server(&mut bytes, facts);
                ControlFlow::Continue(())
            }
        }
    }

    fn client(&mut self, input: &mut &[u8], facts: &mut Vec<Fact>) -> ControlFlow<()> {
        loop {
            if self.client.beginning.is_some() {
                let Some((frame, bytes)) = self.client.gather(input, MAX_BEGINNING) else {
                    return ControlFlow::Continue(());
                };
                let hidden = frame.uncompressed.checked_sub(PACKET_HEAD_LENGTH);
                match (inflate::beginning::<PACKET_HEAD>(&bytes), hidden) {
                    (Some(head), Some(hidden)) => {
                        self.packets(&head, facts)?;
                        self.hidden(hidden, facts);
                    }
                    _ => self.lose(facts),
                }
            }
            let bytes = self.client.take(input);
            if self.client.is_open {
                self.packets(bytes, facts)?;
            }
            if self.client.left > 0 {
                return ControlFlow::Continue(());
            }
            let Some(frame) = self.client.next(input) else {
                return ControlFlow::Continue(());
            };
            self.begin(frame, facts);
        }
    }

    /// The client begins a frame.
    fn begin(&mut self, frame: Frame, facts: &mut Vec<Fact>) {
        let goes_on = self.packets.as_ref().is_some_and(Packets::goes_on);
        // The numbers of a long command or a file begin again behind 255. Behind its end the
        // server speaks.
        let is_over = self.packets.is_some() && !goes_on || self.has_spoken;
        let wraps = self.asked == 255 && !is_over;
        self.asked = frame.sequence;
        self.has_spoken = false;
        if frame.sequence == 0 && !wraps {
            self.follow(Some(Packets::new()), facts);
        } else if !goes_on {
            // A file, or the answer to a change of plugins.
            self.follow(None, facts);
        }
        let is_compressed = frame.uncompressed > 0;
        self.client.is_open = !is_compressed && self.packets.is_some();
        if !is_compressed || self.packets.is_none() {
            return;
        }
        let begins = self.packets.as_ref().is_some_and(Packets::is_between);
        if !begins {
            self.hidden(frame.uncompressed, facts);
        } else if self.is_zlib {
            self.client.beginning = Some((frame, Vec::new()));
        } else {
            self.follow(None, facts);
            self.ask(Awaits::User, facts);
        }
    }

    /// Takes bytes of the client's packets.
    fn packets(&mut self, mut bytes: &[u8], facts: &mut Vec<Fact>) -> ControlFlow<()> {
        while let Some(packets) = &mut self.packets {
            if let Some(name) = &mut packets.name {
                hold(name, packets.framing.body(&mut bytes), MAX_NAME);
                if packets.framing.is_between() {
                    let name = packets.name.take().unwrap_or_default();
                    self.awaits = Awaits::Database(name);
                    continue;
                }
            }
            let Some(head) = packets.framing.skip_to_head(&mut bytes) else {
                break;
            };
            let kind = packets.commands.note(head);
            packets.goes_on = head.length == FULL;
            packets.framing.settle();
            match kind {
                Kind::Part | Kind::Unanswered => {}
                Kind::Quit => {
                    facts.push(Fact::Quit);
                    return ControlFlow::Break(());
                }
                Kind::Change | Kind::TangledChange => {
                    self.ask(Awaits::Nothing, facts);
                    facts.push(Fact::Unclear);
                }
                Kind::Command(command) => {
                    self.ask(Awaits::Nothing, facts);
                    if command == INIT_DB {
                        self.name(head, facts);
                    }
                }
            }
        }
        ControlFlow::Continue(())
    }

    /// A COM_INIT_DB begins.
    fn name(&mut self, head: Head, facts: &mut Vec<Fact>) {
        let fits = usize::try_from(head.length).is_ok_and(|length| length <= 1 + MAX_NAME);
        // One that is compressed has a name of more than 45 bytes.
        let is_seen = self.client.is_open && self.answer == Answer::Owed;
        match &mut self.packets {
            Some(packets) if fits && is_seen => packets.name = Some(Vec::new()),
            _ => facts.push(Fact::Database(None)),
        }
    }

    /// Bytes of the client's packets pass that cannot be seen.
    fn hidden(&mut self, length: u32, facts: &mut Vec<Fact>) {
        let Some(packets) = &mut self.packets else {
            return;
        };
        let hidden = usize::try_from(length).unwrap_or(usize::MAX);
        let left = packets.framing.left();
        packets.framing.skip(left.min(hidden));
        if packets.name.take().is_some() {
            facts.push(Fact::Database(None));
        }
        if hidden <= left {
            return;
        }
        if packets.goes_on {
            // More of the same command; what comes behind it is a matter of the next one.
            self.follow(None, facts);
        } else {
            self.lose(facts);
        }
    }

    /// Follows other packets of the client from here on, or none.
    fn follow(&mut self, packets: Option<Packets>, facts: &mut Vec<Fact>) {
        let before = std::mem::replace(&mut self.packets, packets);
        if before.is_some_and(|packets| packets.name.is_some()) {
            facts.push(Fact::Database(None));
        }
    }

    /// The client has sent a command that cannot be seen, and may have changed the user.
    fn lose(&mut self, facts: &mut Vec<Fact>) {
        self.follow(None, facts);
        self.ask(Awaits::Nothing, facts);
        facts.push(Fact::Unclear);
    }

    /// The client has sent a command, whose answer decides this.
    fn ask(&mut self, awaits: Awaits, facts: &mut Vec<Fact>) {
        self.give_up(facts);
        self.answer = match self.answer {
            // If the answer before is not over, its next frame looks like the first of another.
            Answer::Begun if self.said != 0 => Answer::Owed,
            _ => Answer::Tangled,
        };
        self.awaits = awaits;
        if self.answer == Answer::Tangled {
            self.give_up(facts);
        }
    }

    /// The server's answer cannot be told from others, or does not decide.
    fn give_up(&mut self, facts: &mut Vec<Fact>) {
        match std::mem::replace(&mut self.awaits, Awaits::Nothing) {
            Awaits::Nothing => {}
            Awaits::User => facts.push(Fact::Unclear),
            Awaits::Database(_) => facts.push(Fact::Database(None)),
        }
    }

    fn server(&mut self, input: &mut &[u8], facts: &mut Vec<Fact>) {
        loop {
            if self.server.beginning.is_some() {
                let wanted = match &self.server.beginning {
                    Some((frame, _)) if frame.uncompressed > 0 => MAX_BEGINNING,
                    _ => PACKET_HEAD,
                };
                let Some((frame, bytes)) = self.server.gather(input, wanted) else {
                    return;
                };
                let head = if frame.uncompressed == 0 {
                    bytes.first_chunk().copied()
                } else if self.is_zlib {
                    inflate::beginning(&bytes)
                } else {
                    None
                };
                self.decide(head, facts);
            }
            self.server.take(input);
            if self.server.left > 0 {
                return;
            }
            let Some(frame) = self.server.next(input) else {
                return;
            };
            self.said = frame.sequence;
            self.has_spoken = true;
            match self.answer {
                Answer::Begun | Answer::Tangled => {}
                Answer::Owed if frame.sequence == self.asked.wrapping_add(1) => {
                    self.answer = Answer::Begun;
                    if !matches!(self.awaits, Awaits::Nothing) {
                        self.server.beginning = Some((frame, Vec::new()));
                    }
                }
                Answer::Owed => {
                    self.answer = Answer::Tangled;
                    self.give_up(facts);
                }
            }
        }
    }

    /// The server answers with a packet that begins like this, where that can be seen.
    fn decide(&mut self, head: Option<[u8; PACKET_HEAD]>, facts: &mut Vec<Fact>) {
        let first = head.map(|[.., first]| first);
        let is_one_column = matches!(head, Some([1, 0, 0, _, 1]));
        let is_ok = head.is_some_and(|[low, middle, high, _, first]| {
            first == OK && u32::from_le_bytes([low, middle, high, 0]) >= SHORTEST_OK
        });
        match (&mut self.awaits, first) {
            // An answer to a change of user is OK, an error, a switch of plugins, which 0xfe
            // begins, or data for one behind a 1. A result begins with the number of its columns.
            (_, Some(ERROR)) | (Awaits::User, Some(2..=0xfa)) => self.awaits = Awaits::Nothing,
            (Awaits::User, _) if is_one_column => self.awaits = Awaits::Nothing,
            (Awaits::Database(name), Some(_)) if is_ok => {
                let name = std::mem::take(name);
                self.awaits = Awaits::Nothing;
                let name = (!name.is_empty()).then(|| String::from_utf8_lossy(&name).into_owned());
                facts.push(Fact::Database(name));
            }
            _ => self.give_up(facts),
        }
    }

    /// How many of a side's next bytes need not be shown.
    pub(super) fn blind(&self, side: Side) -> usize {
        let frames = self.frames(side);
        if frames.is_open || frames.beginning.is_some() {
            0
        } else {
            frames.left()
        }
    }

    /// Skips bytes that are not shown.
    pub(super) fn skip(&mut self, side: Side, length: usize) {
        match side {
            Side::Client => self.client.skip(length),
            Side::Server => self.server.skip(length),
        }
    }

    fn frames(&self, side: Side) -> &Frames {
        match side {
            Side::Client => &self.client,
            Side::Server => &self.server,
        }
    }

    /// Bytes of memory that it holds beside itself.
    pub(super) fn memory(&self) -> usize {
        let name = match &self.awaits {
            Awaits::Database(name) => name.capacity(),
            Awaits::Nothing | Awaits::User => 0,
        };
        let packets = self.packets.as_ref();
        let naming = packets.and_then(|packets| packets.name.as_ref());
        self.client.memory() + self.server.memory() + name + naming.map_or(0, Vec::capacity)
    }
}

impl Packets {
    fn new() -> Self {
        Self {
            framing: Framing::default(),
            commands: Commands::after_login(),
            name: None,
            goes_on: false,
        }
    }

    fn is_between(&self) -> bool {
        self.framing.is_between()
    }

    /// Whether the next frame goes on with a packet, or with a command of more packets.
    fn goes_on(&self) -> bool {
        self.goes_on || !self.is_between()
    }
}

#[cfg(test)]
mod tests {
    use super::super::capability::COMPRESS;
    use super::*;

    const RESULT: &[u8] = &[2];
    const GOOD: &[u8] = b"\0\0\0\x02\0\0\0";
    const BAD: &[u8] = b"\xff\x15\x04#28000No";

    fn packet(sequence: u8, body: &[u8]) -> Vec<u8> {
        let [low, middle, high, _] = u32::try_from(body.len()).unwrap().to_le_bytes();
        [&[low, middle, high, sequence], body].concat()
    }

    fn frame(sequence: u8, uncompressed: usize, payload: &[u8]) -> Vec<u8> {
        let number = |number: usize| number.to_le_bytes()[..3].to_vec();
        let head = [number(payload.len()), vec![sequence], number(uncompressed)];
        [&head.concat(), payload].concat()
    }

    /// A frame that is not compressed.
    fn plain(sequence: u8, payload: &[u8]) -> Vec<u8> {
        frame(sequence, 0, payload)
    }

    /// A frame that is compressed by zlib, if only in form: in stored blocks.
    fn zlib(sequence: u8, payload: &[u8]) -> Vec<u8> {
        let length = u16::try_from(payload.len()).unwrap();
        let [a, b] = length.to_le_bytes();
        let [c, d] = (!length).to_le_bytes();
        let stream = [&[0x78, 0x9c, 1, a, b, c, d], payload, &[0; 4]].concat();
        frame(sequence, payload.len(), &stream)
    }

    fn query(length: usize) -> Vec<u8> {
        packet(0, &[&[3][..], &vec![b'q'; length]].concat())
    }

    type Turns = Vec<(Side, Vec<u8>)>;

    fn observe<'a>(
        capabilities: u64,
        pieces: impl Iterator<Item = (Side, &'a [u8])>,
    ) -> (Vec<Fact>, bool) {
        let mut session = Compressed::new(capabilities);
        let (mut facts, mut is_over) = (Vec::new(), false);
        for (side, piece) in pieces {
            is_over = is_over || session.observe(side, piece, &mut facts).is_break();
            assert!(session.memory() <= 4096, "{}", session.memory());
        }
        (facts, is_over)
    }

    /// What a conversation tells, however it is cut, and with what is blind left out.
    fn told(capabilities: u64, turns: &Turns) -> (Vec<Fact>, bool) {
        let whole = observe(capabilities, turns.iter().map(|(s, b)| (*s, &b[..])));
        for size in [1, 2, 3, 7, 100] {
            let pieces = turns
                .iter()
                .flat_map(|(side, bytes)| bytes.chunks(size).map(|piece| (*side, piece)));
            assert_eq!(observe(capabilities, pieces), whole, "{size}");
            let mut session = Compressed::new(capabilities);
            let (mut facts, mut is_over) = (Vec::new(), false);
            for (side, bytes) in turns {
                let mut rest = &bytes[..];
                while !rest.is_empty() && !is_over {
                    let unseen = session.blind(*side).min(rest.len());
                    session.skip(*side, unseen);
                    rest = &rest[unseen..];
                    let (shown, behind) = rest.split_at(size.min(rest.len()));
                    rest = behind;
                    is_over = session.observe(*side, shown, &mut facts).is_break();
                }
            }
            assert_eq!((facts, is_over), whole, "{size}");
        }
        whole
    }

    fn client(bytes: Vec<u8>) -> (Side, Vec<u8>) {
        (Side::Client, bytes)
    }

    fn server(bytes: Vec<u8>) -> (Side, Vec<u8>) {
        (Side::Server, bytes)
    }

    const NOTHING: (Vec<Fact>, bool) = (Vec::new(), false);

    #[test]
    fn the_end_of_a_session_is_seen_alone_and_behind_other_commands() {
        let quit = packet(0, &[1]);
        let over = (vec![Fact::Quit], true);
        for capabilities in [COMPRESS, ZSTD] {
            let told = |turns: &Turns| told(capabilities, turns);
            assert_eq!(told(&vec![client(plain(0, &quit))]), over);
            let close = packet(0, b"\x19\x01\0\0\0");
            let both = [close, quit.clone()].concat();
            assert_eq!(told(&vec![client(plain(0, &both))]), over);
            let turns = vec![
                client(plain(0, &query(30))),
                server(plain(1, &packet(1, RESULT))),
                client(plain(0, &quit)),
            ];
            assert_eq!(told(&turns), over);
            // In a query, and in a file.
            let turns = vec![
                client(plain(0, &packet(0, &[b"\x03", &quit[..]].concat()))),
                server(plain(1, &packet(1, b"\xfbfile"))),
                client(plain(2, &quit)),
                client(plain(3, &packet(3, b""))),
            ];
            assert_eq!(told(&turns), NOTHING);
        }
    }

    #[test]
    fn long_queries_leave_the_user_as_it_is() {
        let turns = vec![
            client(zlib(0, &query(1000))),
            server(zlib(1, &[&packet(1, RESULT)[..], &[7; 100]].concat())),
            server(zlib(2, &[7; 1000])),
            client(zlib(0, &query(3000)[..2000])),
            client(zlib(1, &query(3000)[2000..])),
            server(plain(2, &packet(1, GOOD))),
            client(plain(0, &query(3000)[..5])),
            client(zlib(1, &query(3000)[5..])),
            server(plain(2, &packet(1, GOOD))),
            client(zlib(0, &packet(0, &[&b"\x16"[..], &[7; 99]].concat()))),
        ];
        assert_eq!(told(COMPRESS, &turns), NOTHING);
    }

    #[test]
    fn a_command_of_more_packets_leaves_the_user_as_it_is() {
        // The second packet begins in the middle of a frame, where nothing is seen.
        let full = [0xff, 0xff, 0xff, 0, 3];
        let first = zlib(0, &[&full[..], &[7; 100]].concat());
        let mut session = Compressed::new(COMPRESS);
        let mut facts = Vec::new();
        let _ = session.observe(Side::Client, &first, &mut facts);
        let rest = frame(1, 0xff_ffff, &[7; 50]);
        let _ = session.observe(Side::Client, &rest, &mut facts);
        let _ = session.observe(Side::Client, &frame(2, 500, &[7; 50]), &mut facts);
        let _ = session.observe(Side::Server, &plain(3, &packet(2, GOOD)), &mut facts);
        assert_eq!(facts, []);
        let change = zlib(0, &packet(0, &[&b"\x11"[..], &[7; 99]].concat()));
        let _ = session.observe(Side::Client, &change, &mut facts);
        assert_eq!(facts, [Fact::Unclear]);
    }

    #[test]
    fn a_file_leaves_the_user_as_it_is_and_hides_no_command_behind_it() {
        let change = packet(0, &[&b"\x11"[..], &[7; 99]].concat());
        let mut turns = vec![
            client(plain(0, &query(20))),
            server(plain(1, &packet(1, b"\xfbfile"))),
        ];
        turns.extend((2..=255).map(|sequence| client(zlib(sequence, &change))));
        turns.extend((0..=255).map(|sequence| client(zlib(sequence, &change))));
        turns.push(server(plain(0, &packet(4, GOOD))));
        assert_eq!(told(COMPRESS, &turns), NOTHING);
        turns.push(client(zlib(0, &change)));
        assert_eq!(told(COMPRESS, &turns), (vec![Fact::Unclear], false));
    }

    #[test]
    fn nobody_knows_the_user_behind_a_change_that_may_have_been() {
        let unclear = (vec![Fact::Unclear], false);
        let change = packet(0, &[&b"\x11"[..], &[7; 99]].concat());
        let short = packet(0, b"\x11bob\0\0\0");
        // Real streams, of a change of user among them.
        let text = include_str!("../../../tests/handshakes/zlib.txt");
        let bytes = |digits: &str| -> Vec<u8> {
            let byte = |at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap();
            (0..digits.len()).step_by(2).map(byte).collect()
        };
        let (mut changes, mut others) = (0, 0);
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let fields: Vec<_> = line.split(' ').collect();
            let [low, middle, _, _, command] = *bytes(fields[1]).first_chunk().unwrap();
            let length = 4 + usize::from(u16::from_le_bytes([low, middle]));
            if length == 4 {
                continue;
            }
            let sent = client(frame(0, length, &bytes(fields[2])));
            if command == 0x11 {
                changes += 1;
                assert_eq!(told(COMPRESS, &vec![sent]), unclear);
            } else {
                others += 1;
                assert_eq!(told(COMPRESS, &vec![sent]), NOTHING, "{line}");
            }
        }
        assert!(changes >= 3 && others >= 10, "{changes} {others}");
        for sent in [
            plain(0, &short),
            zlib(0, &change),
            // More packets, or none, or no stream.
            zlib(0, &[query(100), change.clone()].concat()),
            frame(0, 100, b"\x78\x9c\x07no"),
            frame(0, 100, b""),
            frame(0, 3, &zlib(0, b"\x01\0\0\0\x01")[7..]),
        ] {
            assert_eq!(told(COMPRESS, &vec![client(sent)]), unclear);
        }
        // Where the command's byte stands in a frame that is compressed behind one that is not.
        let (begin, rest) = change.split_at(4);
        let turns = vec![client(plain(0, begin)), client(zlib(1, rest))];
        assert_eq!(told(COMPRESS, &turns), unclear);
    }

    #[test]
    fn a_command_that_zstd_hides_is_a_matter_of_its_answer() {
        let hidden = || client(frame(0, 100, b"\x28\xb5\x2f\xfdwhatever"));
        let unclear = (vec![Fact::Unclear], false);
        for (answer, expected) in [
            (plain(1, &packet(1, RESULT)), NOTHING),
            (plain(1, &packet(1, &[1])), NOTHING),
            (plain(1, &packet(1, BAD)), NOTHING),
            (plain(1, &packet(1, b"\x01more")), unclear.clone()),
            (plain(1, &packet(1, GOOD)), unclear.clone()),
            (plain(1, &packet(1, b"\xfeplugin\0")), unclear.clone()),
            (frame(1, 100, b"\x28\xb5\x2f\xfdwhatever"), unclear.clone()),
            (plain(2, &packet(1, RESULT)), unclear.clone()),
            (plain(1, b""), unclear.clone()),
        ] {
            assert_eq!(told(ZSTD, &vec![hidden()]), NOTHING);
            assert_eq!(told(ZSTD, &vec![hidden(), server(answer)]), expected);
        }
        let turns = vec![hidden(), client(plain(0, &query(9)))];
        assert_eq!(told(ZSTD, &turns), unclear);
    }

    #[test]
    fn a_database_changes_when_the_server_has_agreed() {
        let named = |name: &str| client(plain(0, &packet(0, &[b"\x02", name.as_bytes()].concat())));
        let shop = (vec![Fact::Database(Some("shop".into()))], false);
        let lost = (vec![Fact::Database(None)], false);
        for (turns, expected) in [
            (vec![named("shop")], NOTHING),
            (
                vec![named("shop"), server(plain(1, &packet(1, GOOD)))],
                shop.clone(),
            ),
            (vec![named("shop"), server(zlib(1, &packet(1, GOOD)))], shop),
            (
                vec![named("shop"), server(plain(1, &packet(1, BAD)))],
                NOTHING,
            ),
            (
                vec![named("shop"), server(zlib(1, &packet(1, BAD)))],
                NOTHING,
            ),
            (
                vec![named("shop"), server(plain(1, &packet(1, RESULT)))],
                lost.clone(),
            ),
            (
                vec![named("shop"), server(plain(2, &packet(1, GOOD)))],
                lost.clone(),
            ),
            (
                vec![named("shop"), client(plain(0, &query(1)))],
                lost.clone(),
            ),
            (
                vec![client(zlib(
                    0,
                    &packet(0, &[&b"\x02"[..], &[b'n'; 60]].concat()),
                ))],
                lost.clone(),
            ),
            (vec![named(&"n".repeat(MAX_NAME + 1))], lost.clone()),
            (
                vec![
                    client(plain(0, &packet(0, b"\x02shop")[..6])),
                    client(zlib(1, &packet(0, b"\x02shop")[6..])),
                ],
                lost,
            ),
        ] {
            assert_eq!(told(COMPRESS, &turns), expected, "{turns:?}");
        }
    }
}
