//! Reads the fields of one packet's body, one after the other.
//!
//! Numbers are read; texts are found, as the places where they stand
//! (MariaDB Knowledge Base, "Protocol data types"). `None` means that the body
//! ends before the field does.

use std::ops::Range;

/// A body, and how far it has been read.
pub(super) struct Fields<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Fields<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// What has not been read.
    pub(super) fn rest(&self) -> &'a [u8] {
        &self.bytes[self.at..]
    }

    /// The place of nothing, where the next field begins.
    pub(super) fn nothing(&self) -> Range<usize> {
        self.at..self.at
    }

    /// The place of the next bytes.
    pub(super) fn take(&mut self, length: usize) -> Option<Range<usize>> {
        if length > self.rest().len() {
            return None;
        }
        let begin = self.at;
        self.at += length;
        Some(begin..self.at)
    }

    /// A number of one byte.
    pub(super) fn byte(&mut self) -> Option<u8> {
        self.number().map(|[byte]| byte)
    }

    /// A number of two bytes.
    pub(super) fn short(&mut self) -> Option<u16> {
        self.number().map(u16::from_le_bytes)
    }

    /// A number of four bytes.
    pub(super) fn long(&mut self) -> Option<u32> {
        self.number().map(u32::from_le_bytes)
    }

    fn number<const SIZE: usize>(&mut self) -> Option<[u8; SIZE]> {
        let place = self.take(SIZE)?;
        self.bytes[place].try_into().ok()
    }

    /// A length of one, three, four or nine bytes. There is also a NULL, which is no length.
    pub(super) fn length(&mut self) -> Option<usize> {
        let length = match self.byte()? {
            small @ 0..=0xfa => u64::from(small),
            0xfc => self.short()?.into(),
            0xfd => {
                let [low, middle, high] = self.number()?;
                u32::from_le_bytes([low, middle, high, 0]).into()
            }
            0xfe => u64::from_le_bytes(self.number()?),
            0xfb | 0xff => return None,
        };
        usize::try_from(length).ok()
    }

    /// The place of bytes that their length stands before.
    pub(super) fn counted(&mut self) -> Option<Range<usize>> {
        let length = self.length()?;
        self.take(length)
    }

    /// The place of a text that a NUL ends.
    pub(super) fn text(&mut self) -> Option<Range<usize>> {
        let length = self.rest().iter().position(|&byte| byte == 0)?;
        let place = self.take(length);
        self.at += 1;
        place
    }

    /// The place of a text that a NUL ends, or the packet: servers put a NUL behind each.
    pub(super) fn last_text(&mut self) -> Range<usize> {
        self.text().unwrap_or_else(|| {
            let begin = self.at;
            self.at = self.bytes.len();
            begin..self.at
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_in_their_order_and_not_beyond_the_end() {
        let mut fields = Fields::new(b"\x01\x02\x03\x04\x05\x06\x07ab\0c");
        assert_eq!(fields.byte(), Some(1));
        assert_eq!(fields.short(), Some(0x0302));
        assert_eq!(fields.long(), Some(0x0706_0504));
        assert_eq!(fields.text(), Some(7..9));
        assert_eq!(fields.nothing(), 10..10);
        assert_eq!((fields.text(), fields.short()), (None, None));
        assert_eq!(fields.take(2), None);
        assert_eq!(fields.last_text(), 10..11);
        assert_eq!((fields.byte(), fields.rest()), (None, &b""[..]));
        assert_eq!(fields.last_text(), 11..11);
    }

    #[test]
    fn a_length_has_four_forms_and_two_that_are_none() {
        let length = |bytes: &[u8]| Fields::new(bytes).length();
        assert_eq!(length(&[0xfa]), Some(250));
        assert_eq!(length(&[0xfc, 1, 2]), Some(0x201));
        assert_eq!(length(&[0xfd, 1, 2, 3]), Some(0x3_0201));
        assert_eq!(length(&[0xfe, 1, 0, 0, 0, 0, 0, 0, 0]), Some(1));
        for cut in [
            &[0xfc, 1][..],
            &[0xfd, 1, 2],
            &[0xfe, 1],
            &[0xfb],
            &[0xff],
            &[],
        ] {
            assert_eq!(length(cut), None);
        }
        let mut fields = Fields::new(&[0xfe, 255, 255, 255, 255, 255, 255, 255, 255, 1]);
        assert_eq!(fields.counted(), None);
    }
}
