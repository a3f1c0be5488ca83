//! Writes JSON, compact or indented, as calls come in.
//!
//! The writer knows where commas, line ends and spaces go; the caller opens
//! and closes objects and arrays in order. A list can be written piece by
//! piece: [`Writer::take`] hands out what there is so far.

use super::emit::Emit;

/// How a document looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Layout {
    /// One line.
    #[default]
    Compact,
    /// Four spaces a level (`pretty`).
    Indented,
}

/// A document being written.
#[derive(Debug)]
pub struct Writer {
    text: String,
    layout: Layout,
    depth: usize,
    /// Whether what comes next is the first in its object or array.
    first: bool,
    /// Whether a key stands before what comes next.
    keyed: bool,
}

impl Writer {
    /// Room for the document of one session.
    const ROOM: usize = 1024;

    /// An empty document.
    #[must_use]
    pub fn new(layout: Layout) -> Self {
        Self {
            text: String::with_capacity(Self::ROOM),
            layout,
            depth: 0,
            first: true,
            keyed: false,
        }
    }

    /// What has been written since the last time.
    pub fn take(&mut self) -> String {
        // What comes next will be as long, or a little longer.
        let room = String::with_capacity(self.text.len() + self.text.len() / 8);
        std::mem::replace(&mut self.text, room)
    }

    /// How much has been written since the last time, in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.text.len()
    }

    /// Whether nothing has been written since the last time.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// The rest of the document, with a newline at its end. What is written
    /// afterwards is another one.
    ///
    /// # Panics
    ///
    /// In a debug build, where an object or array is still open.
    #[must_use]
    pub fn finish(&mut self) -> String {
        debug_assert_eq!(self.depth, 0, "every object and array is closed");
        self.text.push('\n');
        self.first = true;
        std::mem::take(&mut self.text)
    }

    fn open(&mut self, bracket: char) {
        self.separate();
        self.text.push(bracket);
        self.depth += 1;
        self.first = true;
    }

    fn close(&mut self, bracket: char) {
        self.depth -= 1;
        if !self.first {
            self.new_line();
        }
        self.text.push(bracket);
        self.first = false;
    }

    /// Writes what stands between the thing before and the thing that comes now.
    fn separate(&mut self) {
        if std::mem::take(&mut self.keyed) {
            return;
        }
        if !self.first {
            self.text.push(',');
        }
        if self.depth > 0 {
            self.new_line();
        }
        self.first = false;
    }

    fn new_line(&mut self) {
        if self.layout == Layout::Indented {
            self.text.push('\n');
            self.text.extend(std::iter::repeat_n("    ", self.depth));
        }
    }

    #[inline]
    fn end_key(&mut self) {
        // Single characters cost less than a text of two.
        self.text.push('"');
        self.text.push(':');
        if self.layout == Layout::Indented {
            self.text.push(' ');
        }
        self.first = false;
        self.keyed = true;
    }

    /// Escapes what RFC 8259, section 7, demands, and no more.
    fn push_escaped(&mut self, value: &str) {
        // Looking at all bytes without a branch is faster than stopping at the first.
        if !value
            .bytes()
            .fold(false, |any, byte| any | is_special(byte))
        {
            self.text.push_str(value);
            return;
        }
        let mut plain = 0;
        for (index, byte) in value.bytes().enumerate() {
            if !is_special(byte) {
                continue;
            }
            self.text.push_str(&value[plain..index]);
            plain = index + 1;
            match byte {
                b'"' => self.text.push_str("\\\""),
                b'\\' => self.text.push_str("\\\\"),
                b'\n' => self.text.push_str("\\n"),
                b'\r' => self.text.push_str("\\r"),
                b'\t' => self.text.push_str("\\t"),
                _ => {
                    self.text.push_str("\\u00");
                    self.text.push(hex_digit(byte >> 4));
                    self.text.push(hex_digit(byte & 15));
                }
            }
        }
        self.text.push_str(&value[plain..]);
    }
}

impl Emit for Writer {
    fn begin_object(&mut self) {
        self.open('{');
    }

    fn end_object(&mut self) {
        self.close('}');
    }

    fn begin_array(&mut self) {
        self.open('[');
    }

    fn end_array(&mut self) {
        self.close(']');
    }

    fn key(&mut self, name: &'static str) {
        debug_assert!(!name.bytes().any(is_special), "{name}");
        if self.layout == Layout::Indented {
            self.separate();
        } else if !self.first {
            self.text.push(',');
        }
        self.text.push('"');
        self.text.push_str(name);
        self.end_key();
    }

    fn key_of(&mut self, name: &str) {
        self.separate();
        self.text.push('"');
        self.push_escaped(name);
        self.end_key();
    }

    fn plain(&mut self, parts: &[&str]) {
        self.separate();
        self.text.push('"');
        for part in parts {
            debug_assert!(!part.bytes().any(is_special), "{part}");
            self.text.push_str(part);
        }
        self.text.push('"');
    }

    fn string_of(&mut self, parts: &[&str]) {
        self.separate();
        self.text.push('"');
        for part in parts {
            self.push_escaped(part);
        }
        self.text.push('"');
    }

    fn number(&mut self, value: u64) {
        self.separate();
        push_decimal(&mut self.text, value);
    }

    fn tenths(&mut self, value: u64) {
        self.number(value / 10);
        if !value.is_multiple_of(10) {
            self.text.push('.');
            push_decimal(&mut self.text, value % 10);
        }
    }

    fn boolean(&mut self, value: bool) {
        self.separate();
        self.text.push_str(if value { "true" } else { "false" });
    }
}

/// Whether a byte of a string must be escaped.
#[allow(clippy::needless_bitwise_bool, reason = "branches are what costs")]
fn is_special(byte: u8) -> bool {
    (byte < b' ') | (byte == b'"') | (byte == b'\\')
}

fn hex_digit(nibble: u8) -> char {
    char::from(b"0123456789abcdef"[usize::from(nibble)])
}

/// Writes a number.
pub fn push_decimal(text: &mut String, value: u64) {
    text.push_str(itoa::Buffer::new().format(value));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(layout: Layout) -> String {
        let mut writer = Writer::new(layout);
        writer.begin_object();
        writer.key("empty");
        writer.begin_array();
        writer.end_array();
        writer.member_number("number", u64::MAX);
        writer.key("list");
        writer.begin_array();
        writer.tenths(0);
        writer.tenths(15);
        writer.begin_object();
        writer.end_object();
        writer.end_array();
        writer.end_object();
        writer.finish()
    }

    #[test]
    fn the_compact_form_is_one_line() {
        assert_eq!(
            sample(Layout::Compact),
            "{\"empty\":[],\"number\":18446744073709551615,\"list\":[0,1.5,{}]}\n"
        );
    }

    #[test]
    fn the_indented_form_has_four_spaces_a_level() {
        let expected = "{\n    \"empty\": [],\n    \"number\": 18446744073709551615,\n    \"list\": [\n        0,\n        1.5,\n        {}\n    ]\n}\n";
        assert_eq!(sample(Layout::Indented), expected);
    }

    #[test]
    fn a_document_taken_in_pieces_is_the_same_document() {
        let mut writer = Writer::new(Layout::Indented);
        let mut pieces = String::new();
        writer.begin_array();
        for number in 0..3 {
            writer.number(number);
            pieces += &writer.take();
        }
        writer.end_array();
        pieces += &writer.finish();
        assert_eq!(pieces, "[\n    0,\n    1,\n    2\n]\n");
    }

    #[test]
    fn what_json_cannot_hold_is_escaped() {
        let mut writer = Writer::new(Layout::Compact);
        writer.string("a\"b\\c\nd\re\tf\u{0}g\u{1f}é\u{7f}");
        assert_eq!(
            writer.finish(),
            "\"a\\\"b\\\\c\\nd\\re\\tf\\u0000g\\u001fé\u{7f}\"\n"
        );
    }

    #[test]
    fn a_string_of_parts_is_one_string() {
        let mut writer = Writer::new(Layout::Compact);
        writer.string_of(&["a", "\"", "b"]);
        assert_eq!(writer.finish(), "\"a\\\"b\"\n");
    }
}
