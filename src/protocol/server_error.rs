//! An error that a server has reported, in a form that can be stored and shown.
//!
//! The server's bytes are not trusted: the text is cut to a limit, and control
//! characters and invalid UTF-8 are replaced, so that it fits in one line of a log.

use std::fmt;

/// The longest message that is kept, in bytes: what MariaDB allows for its own
/// (`MYSQL_ERRMSG_SIZE`). PostgreSQL's login errors are shorter.
const MAX_MESSAGE: usize = 512;

/// The longest code that is kept: both a SQLSTATE and a MariaDB error number have five characters.
const MAX_CODE: usize = 5;

/// The longest version of a server that is kept, in bytes.
pub(super) const MAX_VERSION: usize = 128;

/// A server's error: its code and its message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerError {
    /// The error number of MariaDB (`1045`) or the SQLSTATE of PostgreSQL (`28P01`).
    /// Empty where the server has sent none.
    pub code: String,
    /// The server's message in one line, at most 512 bytes.
    pub message: String,
}

impl ServerError {
    pub(super) fn new(code: &[u8], message: &[u8]) -> Self {
        Self {
            code: printable(code, MAX_CODE),
            message: printable(message.trim_ascii_end(), MAX_MESSAGE),
        }
    }

    /// Bytes of memory that it holds beside itself.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.code.capacity() + self.message.capacity()
    }
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.code.is_empty() {
            f.write_str(&self.message)
        } else {
            write!(f, "error {}: {}", self.code, self.message)
        }
    }
}

/// The text in one line, at most `limit` bytes long.
pub(super) fn printable(bytes: &[u8], limit: usize) -> String {
    let bytes = &bytes[..bytes.len().min(limit)];
    let mut text = String::from_utf8_lossy(bytes).replace(char::is_control, "\u{fffd}");
    // A replaced byte takes three.
    let end = (0..=limit.min(text.len())).rfind(|&end| text.is_char_boundary(end));
    text.truncate(end.unwrap_or_default());
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_one_line_of_limited_length() {
        let error = ServerError::new(b"28P01", b"no \xffway\x1b[2J\n");
        assert_eq!(error.code, "28P01");
        assert_eq!(error.message, "no \u{fffd}way\u{fffd}[2J");
        for letter in [&b"x"[..], b"\xff", b"\n.", "\u{20ac}".as_bytes()] {
            let error = ServerError::new(&letter.repeat(9), &letter.repeat(1000));
            assert!(error.code.len() <= MAX_CODE && error.message.len() <= MAX_MESSAGE);
            assert!(error.message.len() > MAX_MESSAGE - 3, "{}", error.message);
            assert!(!error.message.contains(char::is_control));
        }
        let none = ServerError::new(b"", b"");
        assert_eq!((none.code.len(), none.message.len()), (0, 0));
    }
}
