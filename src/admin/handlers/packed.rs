//! Texts that say much again and again, packed while the program is compiled.
//!
//! It is LZ77 (Ziv and Lempel, 1977) at its plainest: runs of bytes, each either
//! new or a copy of what stands somewhere before. A run begins with its length;
//! that of a copy has the highest bit set, and is followed by how far back it
//! stands. It refuses to pack well: deflate would need half of the room, and a
//! library.

/// Marks the length of a copy.
const COPY: u8 = 0x80;

/// The longest run.
const LONGEST: usize = 0x7f;

/// The shortest copy that is shorter than what it stands for.
const SHORTEST: usize = 4;

/// The number of places that are remembered.
const PLACES: usize = 2048;

/// Bytes that are put together while the program is compiled, in room for as
/// many as there may be.
pub(super) struct Bytes<const ROOM: usize> {
    bytes: [u8; ROOM],
    pub(super) length: usize,
}

impl<const ROOM: usize> Bytes<ROOM> {
    /// None yet.
    pub(super) const fn new() -> Self {
        Self {
            bytes: [0; ROOM],
            length: 0,
        }
    }

    /// Adds one.
    ///
    /// # Panics
    ///
    /// Where there is no room left.
    pub(super) const fn push(&mut self, byte: u8) {
        self.bytes[self.length] = byte;
        self.length += 1;
    }

    /// Those that there are.
    pub(super) const fn as_slice(&self) -> &[u8] {
        self.bytes.split_at(self.length).0
    }

    /// The same, without the room behind them.
    pub(super) const fn array<const LENGTH: usize>(&self) -> [u8; LENGTH] {
        let mut array = [0; LENGTH];
        array.copy_from_slice(self.as_slice());
        array
    }
}

/// Packs a text.
///
/// # Panics
///
/// Where it has 64 KiB or more, or would need more than the room.
pub(super) const fn pack<const ROOM: usize>(text: &[u8]) -> Bytes<ROOM> {
    assert!(text.len() < 1 << 16);
    let mut packed = Bytes::new();
    // Where runs began that begin alike.
    let mut places = [0; PLACES];
    let (mut at, mut new) = (0, 0);
    while at < text.len() {
        let place = place_of(text, at);
        let length = length_of_copy(text, places[place], at);
        let back = (at - places[place]).to_le_bytes();
        places[place] = at;
        if length >= SHORTEST {
            packed.push(COPY | length.to_le_bytes()[0]);
            packed.push(back[0]);
            packed.push(back[1]);
            new = 0;
            at += length;
            continue;
        }
        if new == 0 || new == LONGEST {
            packed.push(0);
            new = 0;
        }
        packed.push(text[at]);
        new += 1;
        packed.bytes[packed.length - 1 - new] = new.to_le_bytes()[0];
        at += 1;
    }
    packed
}

/// The number of the place for what begins with the same four bytes.
const fn place_of(text: &[u8], at: usize) -> usize {
    let mut place: usize = 0;
    let mut next = at;
    while next < text.len() && next < at + SHORTEST {
        place = (place * 31 + text[next] as usize) % PLACES;
        next += 1;
    }
    place
}

/// How much of what stands at a place stood at another one before.
const fn length_of_copy(text: &[u8], from: usize, at: usize) -> usize {
    let mut length = 0;
    while from < at
        && length < LONGEST
        && at + length < text.len()
        && text[from + length] == text[at + length]
    {
        length += 1;
    }
    length
}

/// The text that was packed.
pub(super) fn unpack(mut packed: &[u8]) -> String {
    let mut text = Vec::with_capacity(8 * packed.len());
    while let [length, rest @ ..] = packed {
        let run = usize::from(length & !COPY);
        packed = match rest {
            [low, high, rest @ ..] if length & COPY != 0 => {
                let from = text.len() - usize::from(u16::from_le_bytes([*low, *high]));
                for at in from..from + run {
                    text.push(text[at]);
                }
                rest
            }
            _ => {
                let (new, rest) = rest.split_at(run);
                text.extend_from_slice(new);
                rest
            }
        };
    }
    // What was text is text again.
    String::from_utf8(text).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_packed_is_unpacked() {
        const SAME: &[u8] = &[b'a'; 1000];
        const WORDS: &[u8] = b"to be, or not to be, that is to be so";
        let same: Bytes<1000> = pack(SAME);
        assert_eq!(same.length, 2 + 3 * 8);
        assert_eq!(unpack(same.as_slice()).as_bytes(), SAME);
        let words: Bytes<37> = pack(WORDS);
        assert_eq!(unpack(words.as_slice()).as_bytes(), WORDS);
        assert_eq!(unpack(&[]), "");
    }
}
