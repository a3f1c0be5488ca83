//! The names of members, prepared while the program is compiled.
//!
//! A row of a list has up to three dozen names. To copy a text whose length is
//! not known takes longer than the text deserves, so each stands ready with what
//! comes before and behind it, in a place of one width that is copied whole.

/// A member's name that the program has: `key!("idle")`.
#[derive(Debug)]
pub struct Key {
    name: &'static str,
    /// `,"name":`, and spaces up to one more than the width: the comma can be left out.
    place: [u8; Self::WIDTH + 1],
}

impl Key {
    /// How many bytes are copied, however long the name is.
    const WIDTH: usize = 32;

    /// The key of a name.
    ///
    /// # Panics
    ///
    /// Where the name is too long, or is of other things than small letters and `_`.
    #[must_use]
    pub(crate) const fn new(name: &'static str) -> Self {
        let bytes = name.as_bytes();
        let mut place = [b' '; Self::WIDTH + 1];
        place[0] = b',';
        place[1] = b'"';
        let mut at = 0;
        while at < bytes.len() {
            assert!(bytes[at].is_ascii_lowercase() || bytes[at] == b'_');
            place[2 + at] = bytes[at];
            at += 1;
        }
        place[2 + at] = b'"';
        place[3 + at] = b':';
        assert!(4 + at <= Self::WIDTH);
        Self { name, place }
    }

    /// The name itself.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Adds `"name":` to a text.
    #[inline]
    pub(super) fn push(&self, text: &mut Vec<u8>) {
        self.push_without(1, text);
    }

    /// Adds `,"name":` to a text.
    #[inline]
    pub(super) fn push_after_comma(&self, text: &mut Vec<u8>) {
        self.push_without(0, text);
    }

    #[inline]
    fn push_without(&self, skipped: usize, text: &mut Vec<u8>) {
        let end = text.len() + self.name.len() + 4 - skipped;
        text.extend_from_slice(&self.place[skipped..skipped + Self::WIDTH]);
        text.truncate(end);
    }
}

/// The [`Key`] of a name; it is made while the program is compiled.
macro_rules! key {
    ($name:literal) => {
        const { &$crate::jsonapi::Key::new($name) }
    };
}

pub(crate) use key;
