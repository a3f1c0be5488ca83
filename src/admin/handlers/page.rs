//! The status page: what a browser gets at `/`, and the parts that it loads.
//!
//! The page is files in the program, and reads everything else through the API
//! like any client, with what its reader may do and no more. What a user of
//! the network calls itself is shown by a page on our own origin; so nothing
//! runs there but our file, and no text can become an element.

use super::packed::{Bytes, pack, unpack};
use crate::admin::negotiation::MediaType;
use crate::admin::reply::Reply;
use crate::admin::route::Part;

const TEXT: &str = include_str!("page/page.html");
const ICON: &str = include_str!("page/page.svg");

const STYLE: &[u8] = include_bytes!("page/page.css");
const SHORT_STYLE: Bytes<{ STYLE.len() }> = pack(STYLE);
static PACKED_STYLE: [u8; SHORT_STYLE.length] = SHORT_STYLE.array();

/// The script as it was written: what indents it, and its comments, are for people.
const WRITTEN: &[u8] = include_bytes!("page/page.js");
const SCRIPT: Bytes<{ WRITTEN.len() }> = for_browsers();
const SHORT_SCRIPT: Bytes<{ WRITTEN.len() }> = pack(SCRIPT.as_slice());
static PACKED_SCRIPT: [u8; SHORT_SCRIPT.length] = SHORT_SCRIPT.array();

/// What a browser may do with the page (CSP 3, and Trusted Types).
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'";

/// What every part says in its head.
pub(in crate::admin) const FIELDS: [(&str, &str); 3] = [
    ("Content-Security-Policy", POLICY),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
];

/// A part, for a browser.
pub(super) fn reply(part: Part) -> Reply {
    let text = match part {
        Part::Text => TEXT.to_owned(),
        Part::Style => unpack(&PACKED_STYLE),
        Part::Script => unpack(&PACKED_SCRIPT),
        Part::Icon => ICON.to_owned(),
    };
    Reply::fixed(text, FIELDS.to_vec())
}

/// What it is for a browser.
pub(super) fn media_type(part: Part) -> MediaType {
    match part {
        Part::Text => MediaType::Html,
        Part::Style => MediaType::Style,
        Part::Script => MediaType::Script,
        Part::Icon => MediaType::Image,
    }
}

/// Its name in an entity tag.
pub(super) fn name(part: Part) -> &'static str {
    match part {
        Part::Text => "page",
        Part::Style => "style",
        Part::Script => "script",
        Part::Icon => "icon",
    }
}

/// The lines of the script that a browser needs.
const fn for_browsers() -> Bytes<{ WRITTEN.len() }> {
    let mut short = Bytes::new();
    let mut at = 0;
    while at < WRITTEN.len() {
        while WRITTEN[at] == b'\t' {
            at += 1;
        }
        let is_needed = WRITTEN[at] != b'\n' && !(WRITTEN[at] == b'/' && WRITTEN[at + 1] == b'/');
        loop {
            let byte = WRITTEN[at];
            at += 1;
            if is_needed {
                short.push(byte);
            }
            if byte == b'\n' {
                break;
            }
        }
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_with_its_parts_is_shorter_than_20_kb() {
        let length = [TEXT.len(), STYLE.len(), SCRIPT.length, ICON.len()];
        assert!(length.iter().sum::<usize>() < 20_000, "{length:?}");
    }

    #[test]
    fn the_script_is_what_was_written_without_what_is_for_people() {
        let written = std::str::from_utf8(WRITTEN).unwrap();
        let lines = written.lines().map(|line| line.trim_start_matches('\t'));
        let is_needed = |line: &&str| !line.is_empty() && !line.starts_with("//");
        let lines: Vec<&str> = lines.filter(is_needed).collect();
        assert_eq!(unpack(&PACKED_SCRIPT), lines.join("\n") + "\n");
        assert_eq!(unpack(&PACKED_STYLE).as_bytes(), STYLE);
        // A text over several lines would lose what indents it.
        assert!(
            written
                .lines()
                .all(|line| line.matches('`').count() % 2 == 0)
        );
    }
}
