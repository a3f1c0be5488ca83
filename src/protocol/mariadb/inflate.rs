//! Reads the first bytes of a zlib stream (RFC 1950 and 1951), and no more.
//!
//! In a compressed session the first bytes of a command say which one it is, and
//! that is all that is wanted. So there is no window, no checksum and no end:
//! decoding stops as soon as there is enough, or where the input does, or where
//! it is not deflate's. All that it costs is bounded by the two lengths.

/// The most symbols of a code: literals and lengths.
const MAX_SYMBOLS: usize = 288;

/// How long a code of deflate is at most, in bits.
const MAX_BITS: usize = 15;

/// The order in which the lengths of the code for lengths are sent.
const LENGTH_ORDER: [u8; 19] = [
    16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15,
];

/// What is added to the lengths of matches, with how many bits they take beside the symbol.
const LENGTHS: [(u16, u8); 29] = [
    (3, 0),
    (4, 0),
    (5, 0),
    (6, 0),
    (7, 0),
    (8, 0),
    (9, 0),
    (10, 0),
    (11, 1),
    (13, 1),
    (15, 1),
    (17, 1),
    (19, 2),
    (23, 2),
    (27, 2),
    (31, 2),
    (35, 3),
    (43, 3),
    (51, 3),
    (59, 3),
    (67, 4),
    (83, 4),
    (99, 4),
    (115, 4),
    (131, 5),
    (163, 5),
    (195, 5),
    (227, 5),
    (258, 0),
];

/// The same of distances.
const DISTANCES: [(u16, u8); 30] = [
    (1, 0),
    (2, 0),
    (3, 0),
    (4, 0),
    (5, 1),
    (7, 1),
    (9, 2),
    (13, 2),
    (17, 3),
    (25, 3),
    (33, 4),
    (49, 4),
    (65, 5),
    (97, 5),
    (129, 6),
    (193, 6),
    (257, 7),
    (385, 7),
    (513, 8),
    (769, 8),
    (1025, 9),
    (1537, 9),
    (2049, 10),
    (3073, 10),
    (4097, 11),
    (6145, 11),
    (8193, 12),
    (12289, 12),
    (16385, 13),
    (24577, 13),
];

/// The first `SIZE` bytes that a zlib stream holds, of which `input` is the beginning;
/// `None` where they cannot be seen in it.
pub(super) fn beginning<const SIZE: usize>(input: &[u8]) -> Option<[u8; SIZE]> {
    let (&[method, flags], deflated) = input.split_first_chunk()?;
    let is_zlib = method & 0x0f == 8
        && method >> 4 <= 7
        && u16::from_be_bytes([method, flags]) % 31 == 0
        // A dictionary, which both sides would have to know.
        && flags & 0x20 == 0;
    if !is_zlib {
        return None;
    }
    let mut output = Output {
        bytes: [0; SIZE],
        filled: 0,
    };
    let mut bits = Bits {
        input: deflated,
        at: 0,
    };
    while !output.is_full() {
        let is_last = bits.take(1)? == 1;
        match bits.take(2)? {
            0 => stored(&mut bits, &mut output)?,
            1 => {
                let (literals, distances) = fixed()?;
                compressed(&mut bits, &mut output, &literals, &distances)?;
            }
            2 => {
                let (literals, distances) = dynamic(&mut bits)?;
                compressed(&mut bits, &mut output, &literals, &distances)?;
            }
            _ => return None,
        }
        if is_last && !output.is_full() {
            return None;
        }
    }
    Some(output.bytes)
}

/// The input, a bit at a time; the lowest of a byte comes first.
struct Bits<'a> {
    input: &'a [u8],
    /// How many bits have been taken.
    at: usize,
}

impl Bits<'_> {
    fn bit(&mut self) -> Option<u16> {
        let byte = self.input.get(self.at / 8)?;
        let bit = byte >> (self.at % 8) & 1;
        self.at += 1;
        Some(bit.into())
    }

    /// A number of so many bits, up to 16, the lowest first.
    fn take(&mut self, count: u8) -> Option<u16> {
        let mut number = 0;
        for place in 0..count {
            number |= self.bit()? << place;
        }
        Some(number)
    }

    fn skip_to_byte(&mut self) {
        self.at = self.at.next_multiple_of(8);
    }
}

/// The bytes that are wanted, as far as there are some.
struct Output<const SIZE: usize> {
    bytes: [u8; SIZE],
    filled: usize,
}

impl<const SIZE: usize> Output<SIZE> {
    fn is_full(&self) -> bool {
        self.filled == SIZE
    }

    fn push(&mut self, byte: u8) {
        if let Some(place) = self.bytes.get_mut(self.filled) {
            *place = byte;
            self.filled += 1;
        }
    }

    fn repeat(&mut self, length: usize, distance: usize) -> Option<()> {
        let from = self.filled.checked_sub(distance)?;
        for at in from..from + length.min(SIZE - self.filled) {
            self.push(self.bytes[at]);
        }
        Some(())
    }
}

/// A Huffman code: how many codes of each length it has, and what they stand for,
/// in their order.
struct Code {
    counts: [u16; MAX_BITS + 1],
    symbols: [u16; MAX_SYMBOLS],
}

impl Code {
    /// The code in which each symbol has this length; 0 where it is not used.
    fn new(lengths: &[u8]) -> Option<Self> {
        let mut counts = [0_u16; MAX_BITS + 1];
        for &length in lengths {
            *counts.get_mut(usize::from(length))? += 1;
        }
        counts[0] = 0;
        let mut places = [0_u16; MAX_BITS + 2];
        let mut left = 1_i32;
        for length in 1..=MAX_BITS {
            left = 2 * left - i32::from(counts[length]);
            // There are more codes than so many bits can tell apart.
            if left < 0 {
                return None;
            }
            places[length + 1] = places[length] + counts[length];
        }
        let mut symbols = [0; MAX_SYMBOLS];
        for (symbol, &length) in (0..).zip(lengths) {
            if length > 0 {
                let place = &mut places[usize::from(length)];
                *symbols.get_mut(usize::from(*place))? = symbol;
                *place += 1;
            }
        }
        Some(Self { counts, symbols })
    }

    fn symbol(&self, bits: &mut Bits<'_>) -> Option<usize> {
        let (mut code, mut first, mut place) = (0_i32, 0_i32, 0_i32);
        for &count in &self.counts[1..] {
            let count = i32::from(count);
            code |= i32::from(bits.bit()?);
            if code - first < count {
                let place = usize::try_from(place + code - first).ok()?;
                return self.symbols.get(place).copied().map(usize::from);
            }
            place += count;
            first = 2 * (first + count);
            code *= 2;
        }
        None
    }
}

fn stored<const SIZE: usize>(bits: &mut Bits<'_>, output: &mut Output<SIZE>) -> Option<()> {
    bits.skip_to_byte();
    let (length, inverted) = (bits.take(16)?, bits.take(16)?);
    if length != !inverted {
        return None;
    }
    for _ in 0..length {
        if output.is_full() {
            break;
        }
        output.push(bits.take(8)?.to_le_bytes()[0]);
    }
    Some(())
}

fn compressed<const SIZE: usize>(
    bits: &mut Bits<'_>,
    output: &mut Output<SIZE>,
    literals: &Code,
    distances: &Code,
) -> Option<()> {
    while !output.is_full() {
        match literals.symbol(bits)? {
            literal @ 0..=0xff => output.push(u8::try_from(literal).ok()?),
            256 => break,
            symbol => {
                let (length, extra) = LENGTHS.get(symbol - 257)?;
                let length = length + bits.take(*extra)?;
                let (distance, extra) = DISTANCES.get(distances.symbol(bits)?)?;
                let distance = usize::from(*distance) + usize::from(bits.take(*extra)?);
                output.repeat(length.into(), distance)?;
            }
        }
    }
    Some(())
}

/// The codes of a block that names none.
fn fixed() -> Option<(Code, Code)> {
    let mut lengths = [8; MAX_SYMBOLS];
    lengths[144..256].fill(9);
    lengths[256..280].fill(7);
    Some((Code::new(&lengths)?, Code::new(&[5; 30])?))
}

/// The codes that a block begins with.
fn dynamic(bits: &mut Bits<'_>) -> Option<(Code, Code)> {
    let literals = 257 + usize::from(bits.take(5)?);
    let distances = 1 + usize::from(bits.take(5)?);
    let count = 4 + usize::from(bits.take(4)?);
    if literals > 286 || distances > 30 {
        return None;
    }
    let mut lengths = [0; 19];
    for &symbol in &LENGTH_ORDER[..count] {
        lengths[usize::from(symbol)] = u8::try_from(bits.take(3)?).ok()?;
    }
    let code = Code::new(&lengths)?;
    let mut lengths = [0_u8; 286 + 30];
    let all = literals + distances;
    let mut at = 0;
    while at < all {
        let (length, repeat) = match code.symbol(bits)? {
            16 => (*lengths.get(at.checked_sub(1)?)?, 3 + bits.take(2)?),
            17 => (0, 3 + bits.take(3)?),
            18 => (0, 11 + bits.take(7)?),
            length => (u8::try_from(length).ok()?, 1),
        };
        let end = at + usize::from(repeat);
        lengths[..all].get_mut(at..end)?.fill(length);
        at = end;
    }
    let (literals, distances) = lengths[..all].split_at(literals);
    Some((Code::new(literals)?, Code::new(distances)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Streams that Python's zlib made (`tests/handshakes/zlib.txt`): the kind of their
    /// first block, what they hold at first, and the bytes.
    fn streams() -> Vec<(String, Vec<u8>, Vec<u8>)> {
        let bytes = |digits: &str| {
            let byte = |at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap();
            (0..digits.len()).step_by(2).map(byte).collect()
        };
        let text = include_str!("../../../tests/handshakes/zlib.txt");
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let read = |line: &str| {
            let mut fields = line.split(' ');
            let kind = fields.next().unwrap().to_owned();
            let mut next = || bytes(fields.next().unwrap());
            (kind, next(), next())
        };
        lines.map(read).collect()
    }

    #[test]
    fn the_first_bytes_of_real_streams_are_read() {
        let streams = streams();
        for kind in ["stored", "fixed", "dynamic"] {
            let of_kind = streams.iter().filter(|(found, ..)| found == kind);
            assert!(of_kind.count() >= 3, "{kind}");
        }
        for (kind, expected, stream) in streams {
            let block = stream[2] >> 1 & 3;
            assert_eq!(["stored", "fixed", "dynamic"][usize::from(block)], kind);
            let expected = expected.first_chunk::<40>().unwrap();
            assert_eq!(beginning::<40>(&stream).as_ref(), Some(expected), "{kind}");
            let five = expected.first_chunk::<5>().unwrap();
            assert_eq!(beginning::<5>(&stream).as_ref(), Some(five), "{kind}");
            // The beginning of a stream either tells the same or nothing.
            for cut in 0..stream.len() {
                if let Some(early) = beginning::<5>(&stream[..cut]) {
                    assert_eq!(early, *five, "{kind} {cut}");
                }
            }
        }
    }

    #[test]
    fn what_is_no_stream_or_too_short_tells_nothing() {
        for bytes in [
            &b""[..],
            b"\x78",
            // A wrong check, another method, a window too large, a dictionary.
            b"\x78\x9d\x01\x05\0\xfa\xffhello",
            b"\x77\x85\x01\x05\0\xfa\xffhello",
            b"\x88\x1c\x01\x05\0\xfa\xffhello",
            b"\x78\xbb\x01\x05\0\xfa\xffhello",
            // A stored block that is too short, has another length, or is cut off.
            b"\x78\x9c\x01\x04\0\xfb\xffhell",
            b"\x78\x9c\x01\x05\0\xfa\xfehello",
            b"\x78\x9c\x01\x05\0\xfa\xffhell",
            // A block of a type that is none.
            b"\x78\x9c\x07hello",
            // A match before the first byte.
            b"\x78\x9c\x03\x02\0\0\0\0",
        ] {
            assert_eq!(beginning::<5>(bytes), None, "{bytes:?}");
        }
        let stored = b"\x78\x9c\x01\x05\0\xfa\xffhello";
        assert_eq!(beginning(stored), Some(*b"hello"));
    }

    #[test]
    fn a_stream_of_empty_blocks_comes_to_an_end() {
        let empty = [0, 0, 0, 0xff, 0xff].repeat(100);
        let stream = [b"\x78\x9c", &empty[..]].concat();
        assert_eq!(beginning::<5>(&stream), None);
        let more = [&stream[..], b"\x01\x05\0\xfa\xffhello"].concat();
        assert_eq!(beginning(&more), Some(*b"hello"));
    }

    #[test]
    fn a_stream_with_a_wrong_bit_is_read_or_not_and_no_more() {
        let mut read = 0;
        for (_, _, stream) in streams() {
            for bit in 0..8 * stream.len().min(200) {
                let mut wrong = stream.clone();
                wrong[bit / 8] ^= 1 << (bit % 8);
                read += usize::from(beginning::<300>(&wrong).is_some());
            }
        }
        assert!(read > 1000, "{read}");
    }
}
