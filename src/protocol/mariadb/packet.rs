//! Takes a side's packets apart, wherever its bytes are cut.
//!
//! A packet is a length of three bytes (the lowest first), a sequence number
//! and as many bytes as the length says (MariaDB Knowledge Base, "0-packet").
//! Its first byte tells what it is, so a head is handed out once that byte has
//! come, too. Nothing else is kept: bodies pass by as slices of the input.

/// The length of a packet that goes on in the next one.
pub(super) const FULL: u32 = 0xff_ffff;

/// What is known of a packet before its body comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// How many bytes the body has.
    pub length: u32,
    /// Counts the packets of both sides within an exchange.
    pub sequence: u8,
    /// The body's first byte; an empty one has none.
    pub first: Option<u8>,
}

/// A part of a packet. Each has one head, any number of bodies, and one end.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    /// A packet begins.
    Head(Head),
    /// More of its body, behind the first byte.
    Body(&'a [u8]),
    /// The packet is whole.
    End,
}

/// Where a side is in its packets.
#[derive(Debug, Default)]
pub(super) struct Framing {
    head: [u8; 4],
    filled: usize,
    /// How much of the body is still to come; `None` in the head.
    left: Option<u32>,
}

impl Framing {
    /// Takes the next piece off the front of the input; `None` where that ends before it.
    pub(super) fn next<'a>(&mut self, input: &mut &'a [u8]) -> Option<Piece<'a>> {
        match self.left {
            None => self.next_head(input).map(Piece::Head),
            Some(0) => {
                self.left = None;
                Some(Piece::End)
            }
            Some(_) if input.is_empty() => None,
            Some(left) => {
                let length =
                    usize::try_from(left).map_or(input.len(), |left| left.min(input.len()));
                let (body, rest) = input.split_at(length);
                *input = rest;
                let length = u32::try_from(length).unwrap_or(left);
                self.left = Some(left - length);
                Some(Piece::Body(body))
            }
        }
    }

    /// Skips the rest of a body and takes the next head; `None` where the input ends before
    /// it does.
    pub(super) fn skip_to_head(&mut self, input: &mut &[u8]) -> Option<Head> {
        self.body(input);
        if self.left.is_some() {
            return None;
        }
        self.next_head(input)
    }

    /// Takes more of a body off the input, behind its first byte.
    pub(super) fn body<'a>(&mut self, input: &mut &'a [u8]) -> &'a [u8] {
        let length = self.left().min(input.len());
        let (body, rest) = input.split_at(length);
        *input = rest;
        self.skip(length);
        body
    }

    /// A packet of which nothing is left is whole.
    pub(super) fn settle(&mut self) {
        self.left = self.left.filter(|&left| left > 0);
    }

    /// Skips the packets at the front of the input that are whole in it, where none has
    /// begun; the sequence number of the last.
    pub(super) fn skip_whole(&self, input: &mut &[u8]) -> Option<u8> {
        let mut last = None;
        if !self.is_between() {
            return last;
        }
        while let Some((&[low, middle, high, sequence], body)) = input.split_first_chunk() {
            let length = u32::from_le_bytes([low, middle, high, 0]);
            let length = usize::try_from(length).unwrap_or(usize::MAX);
            let Some(rest) = body.get(length..) else {
                break;
            };
            last = Some(sequence);
            *input = rest;
        }
        last
    }

    fn next_head(&mut self, input: &mut &[u8]) -> Option<Head> {
        if let Some((&[low, middle, high, sequence, first], rest)) = input.split_first_chunk()
            && self.filled == 0
            && [low, middle, high] != [0; 3]
        {
            *input = rest;
            let length = u32::from_le_bytes([low, middle, high, 0]);
            self.left = Some(length - 1);
            return Some(Head {
                length,
                sequence,
                first: Some(first),
            });
        }
        while let Some(place) = self.head.get_mut(self.filled) {
            *place = *input.split_off_first()?;
            self.filled += 1;
        }
        let [low, middle, high, sequence] = self.head;
        let length = u32::from_le_bytes([low, middle, high, 0]);
        let first = match length {
            0 => None,
            _ => Some(*input.split_off_first()?),
        };
        self.filled = 0;
        self.left = Some(length.saturating_sub(1));
        Some(Head {
            length,
            sequence,
            first,
        })
    }

    /// How much of a body is still to come.
    pub(super) fn left(&self) -> usize {
        let left = self.left.unwrap_or_default();
        usize::try_from(left).unwrap_or(usize::MAX)
    }

    /// Skips bytes of a body that are not shown.
    pub(super) fn skip(&mut self, length: usize) {
        let length = u32::try_from(length).unwrap_or(u32::MAX);
        self.left = self.left.map(|left| left.saturating_sub(length));
        self.settle();
    }

    /// Whether no packet has begun that is not whole.
    pub(super) fn is_between(&self) -> bool {
        self.left.is_none() && self.filled == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The heads, bodies and ends of an input that comes in pieces of this length.
    fn frame(bytes: &[u8], cut: usize) -> Vec<(Head, Vec<u8>)> {
        let mut framing = Framing::default();
        let mut packets = Vec::new();
        let mut begun = None;
        for mut input in bytes.chunks(cut) {
            while let Some(piece) = framing.next(&mut input) {
                match piece {
                    Piece::Head(head) => {
                        assert!(begun.is_none());
                        begun = Some((head, Vec::from_iter(head.first)));
                    }
                    Piece::Body(more) => begun.as_mut().unwrap().1.extend(more),
                    Piece::End => packets.extend(begun.take()),
                }
            }
            assert!(input.is_empty());
        }
        packets
    }

    #[test]
    fn packets_are_the_same_however_their_bytes_are_cut() {
        let bytes = b"\x03\0\0\0abc\0\0\0\xff\x01\0\0\x07x";
        let whole = frame(bytes, bytes.len());
        let bodies: Vec<_> = whole.iter().map(|(_, body)| body.as_slice()).collect();
        assert_eq!(bodies, [&b"abc"[..], b"", b"x"]);
        assert_eq!(
            whole[1].0,
            Head {
                length: 0,
                sequence: 255,
                first: None
            }
        );
        for cut in 1..bytes.len() {
            assert_eq!(frame(bytes, cut), whole);
        }
    }

    #[test]
    fn a_packet_is_whole_with_its_last_byte_and_not_before() {
        let bytes = b"\x02\0\0\0ab";
        assert_eq!(frame(&bytes[..5], 5), []);
        assert_eq!(frame(bytes, 6).len(), 1);
        assert_eq!(frame(b"\0\0\0", 3), []);
        assert_eq!(frame(b"\0\0\0\0", 4).len(), 1);

        let mut framing = Framing::default();
        for (at, byte) in bytes.iter().enumerate() {
            assert_eq!(framing.is_between(), at == 0);
            let mut input = std::slice::from_ref(byte);
            while framing.next(&mut input).is_some() {}
        }
        assert!(framing.is_between());
    }

    #[test]
    fn a_length_has_its_lowest_byte_first() {
        let mut framing = Framing::default();
        let head = framing.next(&mut &b"\x01\x02\xff\x09\x0a"[..]);
        assert_eq!(
            head,
            Some(Piece::Head(Head {
                length: 0xff_0201,
                sequence: 9,
                first: Some(10)
            }))
        );
    }
}
