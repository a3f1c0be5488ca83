//! The words for true and false, the same in the configuration and in the API.

/// Reads `true`/`false`, `on`/`off`, `yes`/`no` or `1`/`0`, in any case.
pub(crate) fn parse(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "on" | "yes" | "1" => Some(true),
        "false" | "off" | "no" | "0" => Some(false),
        _ => None,
    }
}
