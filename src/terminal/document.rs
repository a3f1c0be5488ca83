//! Documents of the API, as far as they have to be understood here.
//!
//! A list may have a hundred thousand rows, each of them a dozen small objects
//! once it is a tree. So [`rows`] finds where each row begins and ends in the
//! text, and only one at a time becomes a tree.

use miniserde::json::{Number, Value};

/// The text of each element of the document's `data`; `None` where that is no
/// list, or the document is not whole.
pub(super) fn rows(document: &str) -> Option<Vec<&str>> {
    let mut rows = Vec::new();
    let (mut depth, mut begin, mut has_list) = (0_usize, 0, false);
    let (mut in_string, mut escaped, mut in_list) = (false, false, false);
    for (index, byte) in document.bytes().enumerate() {
        if in_string {
            in_string = escaped || byte != b'"';
            escaped = !escaped && byte == b'\\';
            continue;
        }
        match byte {
            b'"' => in_string = true,
            b'{' | b'[' => {
                depth += 1;
                // In the whole document only `data` is a list of objects.
                in_list = if depth == 2 { byte == b'[' } else { in_list };
                has_list |= in_list;
                if in_list && depth == 3 {
                    begin = index;
                }
            }
            b'}' | b']' => {
                if in_list && depth == 3 {
                    rows.push(&document[begin..=index]);
                }
                depth = depth.saturating_sub(1);
            }
            _ => {}
        }
    }
    (has_list && depth == 0).then_some(rows)
}

/// What is at a JSON pointer (RFC 6901) whose names need no escapes.
pub(super) fn find<'a>(value: &'a Value, pointer: &str) -> Option<&'a Value> {
    let mut steps = pointer.split('/').skip(1);
    steps.try_fold(value, |value, step| match value {
        Value::Object(members) => members.get(step),
        Value::Array(elements) => elements.get(step.parse::<usize>().ok()?),
        _ => None,
    })
}

/// A whole number at a JSON pointer.
pub(super) fn count(value: &Value, pointer: &str) -> Option<u64> {
    match find(value, pointer)? {
        Value::Number(Number::U64(number)) => Some(*number),
        _ => None,
    }
}

/// How many tenths a number has; those of the API are not below 0. No other
/// fraction is ever in a document, and the code that could write one is as
/// large as a third of this client.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the nearest one there is will do"
)]
pub(super) fn tenths(value: &Value) -> u64 {
    match value {
        Value::Number(Number::U64(number)) => number.saturating_mul(10),
        Value::Number(Number::F64(number)) => (number * 10.0 + 0.5) as u64,
        _ => 0,
    }
}

/// A number of tenths as a decimal fraction.
pub(super) fn decimal(tenths: u64) -> String {
    format!("{}.{}", tenths / 10, tenths % 10)
}

/// A value in one line.
pub(super) fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(Number::I64(number)) => number.to_string(),
        Value::Number(Number::U64(number)) => number.to_string(),
        Value::Number(Number::F64(_)) => decimal(tenths(value)),
        Value::Bool(true) => "true".to_owned(),
        Value::Bool(false) => "false".to_owned(),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_found_whatever_their_strings_hold() {
        let text = r#"{"links":{"self":"x"},"data":[{"id":"1","a":[{"b":"]}"}]},{"id":"\"}]\\"}],"meta":{"total":2}}"#;
        assert_eq!(
            rows(text).unwrap(),
            [r#"{"id":"1","a":[{"b":"]}"}]}"#, r#"{"id":"\"}]\\"}"#]
        );
        assert_eq!(rows(r#"{"data":[]}"#), Some(Vec::new()));
        for text in [
            "",
            "{}",
            r#"{"data":[{"id":"1"},{"id":"2"}"#,
            r#"{"data":null}"#,
            r#"{"data":{"a":[{"b":{}}]}}"#,
            "]]]}}}",
            "\"{",
        ] {
            assert_eq!(rows(text), None, "{text}");
        }
    }

    #[test]
    fn pointers_lead_into_objects_and_arrays() {
        let value = miniserde::json::from_str(r#"{"a":[{"b":7},"x"],"c":1.5}"#).unwrap();
        assert_eq!(count(&value, "/a/0/b"), Some(7));
        assert_eq!(find(&value, "/a/1").map(plain).as_deref(), Some("x"));
        assert_eq!(find(&value, "/c").map(plain).as_deref(), Some("1.5"));
        assert!(find(&value, "/a/2").is_none() && find(&value, "/a/b").is_none());
        assert!(count(&value, "/c").is_none());
    }
}
