//! Writes JSON, compact or indented, as calls come in.
//!
//! The writer knows where commas, line ends and spaces go; the caller opens
//! and closes objects and arrays in order. A list can be written piece by
//! piece: [`Writer::take`] hands out what there is so far.

use std::net::IpAddr;
use std::ops::Range;

use super::emit::Emit;
use super::key::Key;

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
    text: Vec<u8>,
    layout: Layout,
    depth: usize,
    /// Whether what comes next is the first in its object or array.
    first: bool,
    /// Whether a key stands before what comes next.
    keyed: bool,
    repeated: Repeated,
}

/// What [`Emit::repeat`] has written last, as long as it is there to be copied.
#[derive(Debug, Default)]
struct Repeated {
    key: &'static str,
    of: String,
    /// Where it stands, from the comma or the line's end before it on.
    place: Range<usize>,
    depth: usize,
    first: bool,
}

impl Writer {
    /// Room for the document of one session.
    const ROOM: usize = 1024;

    /// An empty document.
    #[must_use]
    pub fn new(layout: Layout) -> Self {
        Self {
            text: Vec::with_capacity(Self::ROOM),
            layout,
            depth: 0,
            first: true,
            keyed: false,
            repeated: Repeated::default(),
        }
    }

    /// What has been written since the last time.
    pub fn take(&mut self) -> Vec<u8> {
        self.repeated.place = 0..0;
        // What comes next will be as long, or a little longer.
        let room = Vec::with_capacity(self.text.len() + self.text.len() / 8);
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
    pub fn finish(&mut self) -> Vec<u8> {
        debug_assert_eq!(self.depth, 0, "every object and array is closed");
        self.text.push(b'\n');
        self.first = true;
        self.repeated = Repeated::default();
        std::mem::take(&mut self.text)
    }

    /// The same as [`Writer::finish`], as text.
    ///
    /// # Panics
    ///
    /// Where a part of a character was written, which no caller can.
    #[must_use]
    pub fn finish_text(&mut self) -> String {
        String::from_utf8(self.finish()).expect("a document is text")
    }

    #[inline]
    fn open(&mut self, bracket: u8) {
        self.separate();
        self.text.push(bracket);
        self.depth += 1;
        self.first = true;
    }

    #[inline]
    fn close(&mut self, bracket: u8) {
        self.depth -= 1;
        if !self.first {
            self.new_line();
        }
        self.text.push(bracket);
        self.first = false;
    }

    /// Writes what stands between the thing before and the thing that comes now.
    #[inline]
    fn separate(&mut self) {
        if std::mem::take(&mut self.keyed) {
            return;
        }
        if !self.first {
            self.text.push(b',');
        }
        if self.depth > 0 {
            self.new_line();
        }
        self.first = false;
    }

    #[inline]
    fn new_line(&mut self) {
        if self.layout == Layout::Indented {
            self.indent();
        }
    }

    // Most documents are in one line, and shall not pay for those that are not.
    #[cold]
    fn indent(&mut self) {
        self.text.push(b'\n');
        for _ in 0..self.depth {
            self.text.extend_from_slice(b"    ");
        }
    }

    #[inline]
    fn end_key(&mut self) {
        if self.layout == Layout::Indented {
            self.text.push(b' ');
        }
        self.first = false;
        self.keyed = true;
    }

    /// Escapes what RFC 8259, section 7, demands, and what could turn a terminal or a
    /// line of text into something else: [`is_escaped`].
    fn push_escaped(&mut self, value: &str) {
        // Looking at all bytes without a branch is faster than stopping at the first.
        if !value
            .bytes()
            .fold(false, |any, byte| any | may_be_special(byte))
        {
            self.text.extend_from_slice(value.as_bytes());
            return;
        }
        for c in value.chars() {
            match c {
                '"' => self.text.extend_from_slice(b"\\\""),
                '\\' => self.text.extend_from_slice(b"\\\\"),
                '\n' => self.text.extend_from_slice(b"\\n"),
                '\r' => self.text.extend_from_slice(b"\\r"),
                '\t' => self.text.extend_from_slice(b"\\t"),
                c if is_escaped(c) => {
                    // All of them are in the plane that four digits reach.
                    let digit = |shift: u32| hex_digit((u32::from(c) >> shift & 15) as u8);
                    let digits = [digit(12), digit(8), digit(4), digit(0)];
                    self.text.extend_from_slice(b"\\u");
                    self.text.extend_from_slice(&digits);
                }
                c => {
                    let mut room = [0; 4];
                    self.text
                        .extend_from_slice(c.encode_utf8(&mut room).as_bytes());
                }
            }
        }
    }
}

impl Emit for Writer {
    fn begin_object(&mut self) {
        self.open(b'{');
    }

    fn end_object(&mut self) {
        self.close(b'}');
    }

    fn begin_array(&mut self) {
        self.open(b'[');
    }

    fn end_array(&mut self) {
        self.close(b']');
    }

    fn key(&mut self, key: &Key) {
        if self.layout == Layout::Indented {
            self.separate();
            key.push(&mut self.text);
        } else if self.first {
            key.push(&mut self.text);
        } else {
            key.push_after_comma(&mut self.text);
        }
        self.end_key();
    }

    fn key_of(&mut self, name: &str) {
        self.separate();
        self.text.push(b'"');
        self.push_escaped(name);
        self.text.extend_from_slice(b"\":");
        self.end_key();
    }

    fn plain(&mut self, parts: &[&str]) {
        self.separate();
        self.text.push(b'"');
        for part in parts {
            debug_assert!(!part.chars().any(is_escaped), "{part}");
            self.text.extend_from_slice(part.as_bytes());
        }
        self.text.push(b'"');
    }

    fn string_of(&mut self, parts: &[&str]) {
        self.separate();
        self.text.push(b'"');
        for part in parts {
            self.push_escaped(part);
        }
        self.text.push(b'"');
    }

    // The standard library's formatter takes five times as long.
    fn address(&mut self, address: IpAddr) {
        let IpAddr::V4(address) = address else {
            return self.plain(&[&address.to_string()]);
        };
        self.separate();
        self.text.push(b'"');
        for octet in address.octets() {
            let Octet(digits, length) = &OCTETS[usize::from(octet)];
            let end = self.text.len() + usize::from(*length);
            self.text.extend_from_slice(digits);
            self.text.truncate(end);
        }
        // There is a point behind each.
        self.text.pop();
        self.text.push(b'"');
    }

    fn number(&mut self, value: u64) {
        self.separate();
        let mut room = itoa::Buffer::new();
        self.text.extend_from_slice(room.format(value).as_bytes());
    }

    fn tenths(&mut self, value: u64) {
        self.number(value / 10);
        if !value.is_multiple_of(10) {
            let tenth = (value % 10).to_le_bytes()[0];
            self.text.extend_from_slice(&[b'.', b'0' + tenth]);
        }
    }

    fn thousandths(&mut self, value: u64) {
        self.number(value / 1000);
        let rest = value % 1000;
        if rest > 0 {
            let digit = |value: u64| b'0' + (value % 10).to_le_bytes()[0];
            let digits = [b'.', digit(rest / 100), digit(rest / 10), digit(rest)];
            let end = digits.iter().rposition(|&digit| digit != b'0');
            self.text
                .extend_from_slice(&digits[..=end.unwrap_or_default()]);
        }
    }

    fn boolean(&mut self, value: bool) {
        self.separate();
        self.text
            .extend_from_slice(if value { b"true" } else { b"false" });
    }

    fn repeat(&mut self, key: &Key, of: &str, value: impl FnOnce(&mut Self)) {
        let (depth, first, begin) = (self.depth, self.first, self.text.len());
        let last = &mut self.repeated;
        if !last.place.is_empty()
            && (last.key, &last.of[..]) == (key.name(), of)
            && (last.depth, last.first) == (depth, first)
        {
            self.text.extend_from_within(last.place.clone());
            self.first = false;
            return;
        }
        last.of.clear();
        last.of.push_str(of);
        self.key(key);
        value(self);
        let last = &mut self.repeated;
        (last.key, last.depth, last.first) = (key.name(), depth, first);
        last.place = begin..self.text.len();
    }
}

/// A part of an address of IPv4 with a point behind it, and how long that is: as
/// with a [`Key`], all four bytes are copied and what is too much is cut off.
#[derive(Clone, Copy)]
struct Octet([u8; 4], u8);

/// All there are.
static OCTETS: [Octet; 256] = {
    let mut octets = [Octet([b'.'; 4], 0); 256];
    let mut value: u8 = 0;
    loop {
        let Octet(digits, length) = &mut octets[value as usize];
        let mut place = 100;
        while place > 0 {
            if value >= place || place == 1 {
                digits[*length as usize] = b'0' + value / place % 10;
                *length += 1;
            }
            place /= 10;
        }
        *length += 1;
        if value == u8::MAX {
            break octets;
        }
        value += 1;
    }
};

/// Whether a character of a string is escaped: what RFC 8259, section 7, demands; all
/// other control characters, which a terminal may follow; and what turns the direction
/// of a line or ends it (Unicode Standard Annex 9), since names come from the network.
fn is_escaped(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '"' | '\\' | '\u{61c}' | '\u{200e}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2066}'..='\u{2069}')
}

/// Whether a byte may belong to a character that [`is_escaped`]: it is one, or the
/// first one of U+0080 to U+00BF, of U+0600 to U+063F, or of U+2000 to U+2FFF.
#[allow(clippy::needless_bitwise_bool, reason = "branches are what costs")]
fn may_be_special(byte: u8) -> bool {
    (byte < b' ')
        | (byte == b'"')
        | (byte == b'\\')
        | (byte == 0x7f)
        | (byte == 0xc2)
        | (byte == 0xd8)
        | (byte == 0xe2)
}

fn hex_digit(nibble: u8) -> u8 {
    b"0123456789abcdef"[usize::from(nibble)]
}

/// Writes a number.
pub fn push_decimal(text: &mut String, value: u64) {
    text.push_str(itoa::Buffer::new().format(value));
}

#[cfg(test)]
mod tests {
    use super::super::key::key;
    use super::*;

    fn sample(layout: Layout) -> String {
        let mut writer = Writer::new(layout);
        writer.begin_object();
        writer.key(key!("empty"));
        writer.begin_array();
        writer.end_array();
        writer.member_number(key!("number"), u64::MAX);
        writer.key(key!("list"));
        writer.begin_array();
        writer.tenths(0);
        writer.tenths(15);
        writer.begin_object();
        writer.end_object();
        writer.end_array();
        writer.end_object();
        writer.finish_text()
    }

    #[test]
    fn the_compact_form_is_one_line() {
        assert_eq!(
            sample(Layout::Compact),
            "{\"empty\":[],\"number\":18446744073709551615,\"list\":[0,1.5,{}]}\n"
        );
    }

    #[test]
    fn thousandths_have_no_zeros_at_the_end() {
        for (value, text) in [
            (0, "0\n"),
            (7, "0.007\n"),
            (40, "0.04\n"),
            (1_500, "1.5\n"),
            (2_000, "2\n"),
            (10_203, "10.203\n"),
        ] {
            let mut writer = Writer::new(Layout::Compact);
            writer.thousandths(value);
            assert_eq!(writer.finish_text(), text);
        }
    }

    #[test]
    fn the_indented_form_has_four_spaces_a_level() {
        let expected = "{\n    \"empty\": [],\n    \"number\": 18446744073709551615,\n    \"list\": [\n        0,\n        1.5,\n        {}\n    ]\n}\n";
        assert_eq!(sample(Layout::Indented), expected);
    }

    #[test]
    fn a_document_taken_in_pieces_is_the_same_document() {
        let mut writer = Writer::new(Layout::Indented);
        let mut pieces = Vec::new();
        writer.begin_array();
        for number in 0..3 {
            writer.number(number);
            pieces.extend(writer.take());
        }
        writer.end_array();
        pieces.extend(writer.finish());
        assert_eq!(pieces, b"[\n    0,\n    1,\n    2\n]\n");
    }

    #[test]
    fn what_json_cannot_hold_is_escaped() {
        let mut writer = Writer::new(Layout::Compact);
        writer.string("a\"b\\c\nd\re\tf\u{0}g\u{1f}é\u{7f}");
        assert_eq!(
            writer.finish_text(),
            "\"a\\\"b\\\\c\\nd\\re\\tf\\u0000g\\u001fé\\u007f\"\n"
        );
    }

    #[test]
    fn what_controls_a_terminal_or_the_direction_of_text_is_escaped_and_nothing_else() {
        let ranges = [
            0..=0x1f,
            0x7f..=0x9f,
            0x61c..=0x61c,
            0x200e..=0x200f,
            0x2028..=0x202e,
            0x2066..=0x2069,
        ];
        for c in '\0'..='\u{3000}' {
            let mut writer = Writer::new(Layout::Compact);
            writer.string(&c.to_string());
            let written = writer.finish_text();
            let expected = match c {
                '"' => "\\\"".to_owned(),
                '\\' => "\\\\".to_owned(),
                '\n' => "\\n".to_owned(),
                '\r' => "\\r".to_owned(),
                '\t' => "\\t".to_owned(),
                c if ranges.iter().any(|range| range.contains(&u32::from(c))) => {
                    format!("\\u{:04x}", u32::from(c))
                }
                c => c.to_string(),
            };
            assert_eq!(written, format!("\"{expected}\"\n"), "{:x}", u32::from(c));
        }
        let mut writer = Writer::new(Layout::Compact);
        writer.string("Zoë 王小明 ภาษา 🙂 \u{10ffff}");
        assert_eq!(writer.finish_text(), "\"Zoë 王小明 ภาษา 🙂 \u{10ffff}\"\n");
    }

    #[test]
    fn an_address_is_written_as_the_standard_library_has_it() {
        let of_ipv4 = (0..=255).map(|octet| IpAddr::from([octet, 0, 255, octet]));
        for address in of_ipv4.chain(["::1".parse().unwrap(), "2001:db8::7".parse().unwrap()]) {
            let mut writer = Writer::new(Layout::Compact);
            writer.address(address);
            assert_eq!(writer.finish_text(), format!("\"{address}\"\n"));
        }
    }

    /// Rows with a member that is repeated, `/` between two pieces.
    fn rows(layout: Layout, of: &[&str], before: bool) -> String {
        let mut writer = Writer::new(layout);
        let mut pieces = Vec::new();
        writer.begin_array();
        for of in of {
            if *of == "/" {
                pieces.extend(writer.take());
                continue;
            }
            writer.begin_object();
            if before {
                writer.member_number(key!("before"), 1);
            }
            writer.repeat(key!("repeated"), of, |writer| {
                writer.begin_array();
                writer.string(of);
                writer.begin_object();
                writer.end_object();
                writer.end_array();
            });
            writer.member_number(key!("behind"), 2);
            writer.end_object();
        }
        writer.end_array();
        pieces.extend(writer.finish());
        String::from_utf8(pieces).unwrap()
    }

    #[test]
    fn what_is_repeated_is_the_same_as_if_it_were_written_again() {
        let of = ["a", "a", "b", "a", "a", "/", "a", "a", "/", "/", "b", "b"];
        for (layout, before) in [
            (Layout::Compact, false),
            (Layout::Compact, true),
            (Layout::Indented, false),
            (Layout::Indented, true),
        ] {
            let mut expected = Writer::new(layout);
            expected.begin_array();
            for of in of.into_iter().filter(|of| *of != "/") {
                expected.begin_object();
                if before {
                    expected.member_number(key!("before"), 1);
                }
                expected.key(key!("repeated"));
                expected.begin_array();
                expected.string(of);
                expected.begin_object();
                expected.end_object();
                expected.end_array();
                expected.member_number(key!("behind"), 2);
                expected.end_object();
            }
            expected.end_array();
            assert_eq!(rows(layout, &of, before), expected.finish_text());
        }
    }

    #[test]
    fn what_is_repeated_is_copied_unless_it_is_something_else() {
        let mut writer = Writer::new(Layout::Compact);
        let mut written = 0;
        let mut repeat = |writer: &mut Writer, key: &Key, of: &str| {
            writer.repeat(key, of, |writer| {
                written += 1;
                writer.number(written);
            });
        };
        writer.begin_object();
        writer.member_number(key!("before"), 0);
        repeat(&mut writer, key!("one"), "a");
        repeat(&mut writer, key!("one"), "a");
        repeat(&mut writer, key!("one"), "b");
        repeat(&mut writer, key!("other"), "b");
        writer.end_object();
        assert_eq!(
            writer.finish_text(),
            "{\"before\":0,\"one\":1,\"one\":1,\"one\":2,\"other\":3}\n"
        );
    }

    #[test]
    fn a_string_of_parts_is_one_string() {
        let mut writer = Writer::new(Layout::Compact);
        writer.string_of(&["a", "\"", "b"]);
        assert_eq!(writer.finish_text(), "\"a\\\"b\"\n");
    }
}
