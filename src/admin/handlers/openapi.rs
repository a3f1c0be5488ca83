//! `/v1/openapi.json`: the API for machines, OpenAPI 3.1.
//!
//! It is written by hand beside this file, and a test has it tried out. The
//! program has it in one line, which takes half of the room, and packed, which
//! takes a sixth of that.

use super::packed::{Bytes, pack, unpack};
use crate::jsonapi::{Layout, Query};

/// As it was written, a space a level.
const WRITTEN: &[u8] = include_bytes!("openapi.json");
const SHORT: Bytes<{ WRITTEN.len() }> = pack(in_one_line().as_slice());
static PACKED: [u8; SHORT.length] = SHORT.array();

pub(super) fn document(query: &Query) -> String {
    let line = unpack(&PACKED);
    let mut text = match query.layout {
        Layout::Compact => line,
        Layout::Indented => indented(&line),
    };
    text.push('\n');
    text
}

/// What stands on the lines, without the space before it and the one behind a key.
const fn in_one_line() -> Bytes<{ WRITTEN.len() }> {
    let mut line = Bytes::new();
    let (mut at, mut in_string) = (0, false);
    while at < WRITTEN.len() {
        let byte = WRITTEN[at];
        if byte == b'"' && WRITTEN[at - 1] != b'\\' {
            in_string = !in_string;
        }
        if in_string || (byte != b' ' && byte != b'\n') {
            line.push(byte);
        }
        at += 1;
    }
    line
}

/// The layout of all other documents: four spaces a level.
fn indented(line: &str) -> String {
    let mut text = String::with_capacity(3 * line.len());
    let (mut depth, mut in_string) = (0, false);
    let mut characters = line.chars().peekable();
    while let Some(character) = characters.next() {
        in_string ^= character == '"' && !text.ends_with('\\');
        text.push(character);
        if in_string {
            continue;
        }
        let closes_next = matches!(characters.peek(), Some('}' | ']'));
        match character {
            '{' | '[' => depth += 1,
            '}' | ']' => depth -= 1,
            ':' => text.push(' '),
            _ => {}
        }
        // What is empty stays together.
        let breaks = match character {
            '{' | '[' => !closes_next,
            ',' => true,
            _ => closes_next,
        };
        if breaks {
            text.push('\n');
            text.extend(std::iter::repeat_n(
                "    ",
                depth - usize::from(closes_next),
            ));
        }
    }
    text
}
