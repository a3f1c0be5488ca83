//! `/v1/openapi.json`: the API for machines, OpenAPI 3.1.
//!
//! It is written by hand beside this file, and a test has it tried out.

use crate::jsonapi::{Layout, Query};

const DESCRIPTION: &str = include_str!("openapi.json");

/// The file is indented by one space a level, which keeps the program small.
pub(super) fn document(query: &Query) -> String {
    let indentation = match query.layout {
        Layout::Indented => "    ",
        Layout::Compact => "",
    };
    let mut text = String::with_capacity(2 * DESCRIPTION.len());
    // No string in it has a line break.
    for line in DESCRIPTION.lines() {
        let content = line.trim_start();
        text.extend(std::iter::repeat_n(indentation, line.len() - content.len()));
        text.push_str(content);
        text.push_str(if query.layout == Layout::Indented {
            "\n"
        } else {
            ""
        });
    }
    text.truncate(text.trim_end().len());
    text.push('\n');
    text
}
