//! `show`: all that is known of a resource, a line each, under the names by which the
//! API's `fields` and `sort` call it.

use std::fmt::Write;

use miniserde::json::{self, Value};

use super::failure::Failure;
use super::http::Client;
use super::table::Look;
use super::target::Target;
use super::{Collection, Form, Outcome, document, text};

/// Deeper than that, nothing is shown. Real documents have four levels.
const MAX_DEPTH: usize = 8;

/// A name longer than that does not move the values of all.
const MAX_NAME: usize = 48;

/// What is said first, in this order. The rest follows by name.
const FIRST: [&str; 23] = [
    "id",
    "state",
    "down_reason",
    "last_event",
    "triggered_at",
    "version_string",
    "connected",
    "closed",
    "close_reason",
    "services",
    "servers",
    "listeners",
    "user",
    "remote",
    "port",
    "database",
    "idle",
    "seconds_alive",
    "io_activity",
    "protocol",
    "listener",
    "router",
    "server",
];

pub(super) fn show(
    client: &Client,
    collection: Collection,
    names: &[String],
    form: Form,
    look: Look,
) -> Outcome {
    let mut output = String::new();
    let mut failures = Vec::new();
    for name in names {
        match one(client, collection, name, form, look) {
            Ok(text) => {
                if !output.is_empty() && form != Form::Json {
                    output.push('\n');
                }
                output.push_str(&text);
            }
            Err(failure) => {
                let in_vain = failure.is_of_way();
                failures.push(failure);
                if in_vain {
                    break;
                }
            }
        }
    }
    Outcome {
        output,
        failure: Failure::of_all(failures),
    }
}

fn one(
    client: &Client,
    collection: Collection,
    name: &str,
    form: Form,
    look: Look,
) -> Result<String, Failure> {
    let mut target = Target::new(collection.as_str(), Some(name));
    if form == Form::Json {
        if look.room.is_some() {
            target.add("pretty", "true");
        }
        return Ok(json_for(look, client.get(target.as_str())?));
    }
    let document = client.get(target.as_str())?;
    let document: Value =
        json::from_str(&document).map_err(|_| client.garbled("something that is not JSON"))?;
    if document::find(&document, "/data/id").is_none() {
        return Err(client.garbled("something that shows no resource"));
    }
    Ok(lines(&document))
}

/// A document as it came. On a terminal, what it would follow is escaped once more.
pub(super) fn json_for(look: Look, document: String) -> String {
    let is_safe = |c: char| c == '\n' || text::safe(c) == c;
    if look.room.is_none() || document.chars().all(is_safe) {
        return document;
    }
    let mut escaped = String::with_capacity(document.len() + 64);
    for c in document.chars() {
        if is_safe(c) {
            escaped.push(c);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                // Writing to a string cannot fail.
                let _ = write!(escaped, "\\u{unit:04x}");
            }
        }
    }
    escaped
}

/// The lines of a resource's document.
fn lines(document: &Value) -> String {
    let mut found = Vec::new();
    for pointer in ["/data/id", "/data/relationships", "/data/attributes"] {
        let name = pointer.strip_prefix("/data/id").map_or("", |_| "id");
        if let Some(value) = document::find(document, pointer) {
            flatten(name.to_owned(), value, MAX_DEPTH, &mut found);
        }
    }
    let widths = found.iter().map(|(name, _)| text::width(name));
    let width = widths.max().unwrap_or(0).min(MAX_NAME);
    let mut lines = String::new();
    let place = |name: &str| FIRST.iter().position(|known| *known == name);
    // The members of an object are sorted by name already.
    for turn in (0..FIRST.len()).map(Some).chain([None]) {
        for (name, value) in found.iter().filter(|(name, _)| place(name) == turn) {
            lines.push_str(name);
            text::pad(&mut lines, width.saturating_sub(text::width(name)) + 2);
            lines.push_str(value);
            lines.push('\n');
        }
    }
    lines
}

/// Adds what is in a value under the names that lead there.
fn flatten(name: String, value: &Value, depth: usize, found: &mut Vec<(String, String)>) {
    let below = |step: &str| match name.as_str() {
        "" => text::clean(step),
        name => format!("{name}/{}", text::clean(step)),
    };
    match value {
        _ if depth == 0 => {}
        Value::Object(members) => match members.get("data") {
            // A relationship: whom it leads to.
            Some(Value::Array(others)) => {
                let ids = others
                    .iter()
                    .filter_map(|other| document::find(other, "/id"));
                let ids: Vec<String> = ids.map(document::plain).collect();
                found.push((name, text::clean(&ids.join(", "))));
            }
            _ => {
                for (step, value) in members {
                    flatten(below(step), value, depth - 1, found);
                }
            }
        },
        Value::Array(elements) => {
            for (index, value) in elements.iter().enumerate() {
                flatten(below(&index.to_string()), value, depth - 1, found);
            }
        }
        value => {
            let text = text::clean(&document::plain(value));
            found.push((
                name,
                if text.is_empty() {
                    "-".to_owned()
                } else {
                    text
                },
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resource_is_shown_by_the_names_of_the_api() {
        let document = json::from_str(
            r#"{"data":{"id":"4","type":"sessions","relationships":{"services":{"links":{"self":"x"},
            "data":[{"id":"CLI","type":"services"}]}},"attributes":{"bytes_to_client":12,"state":"Session ready for routing",
            "user":"a\u001b[2J","connections":[{"server":"db1","port":3306}],"idle":0.5,"client":{"cipher":""}}}}"#,
        );
        assert_eq!(
            lines(&document.unwrap()),
            "id                    4\n\
             state                 Session ready for routing\n\
             services              CLI\n\
             user                  a?[2J\n\
             idle                  0.5\n\
             bytes_to_client       12\n\
             client/cipher         -\n\
             connections/0/port    3306\n\
             connections/0/server  db1\n"
        );
    }

    #[test]
    fn what_is_nested_without_end_is_left_out() {
        let deep = format!(
            r#"{{"data":{{"id":"1","attributes":{{"a":{}1{}}}}}}}"#,
            "[".repeat(100_000),
            "]".repeat(100_000)
        );
        assert_eq!(lines(&json::from_str(&deep).unwrap()), "id  1\n");
    }

    #[test]
    fn json_is_as_it_came_unless_a_terminal_would_follow_it() {
        let document = "{\"a\":\"\u{9b}2J\u{7f}é\u{e0041}\"}\n";
        let look = |room| Look {
            room,
            ..Look::default()
        };
        assert_eq!(json_for(look(None), document.to_owned()), document);
        assert_eq!(
            json_for(look(Some(80)), document.to_owned()),
            "{\"a\":\"\\u009b2J\\u007fé\\udb40\\udc41\"}\n"
        );
    }
}
