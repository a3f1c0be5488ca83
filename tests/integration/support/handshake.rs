//! Conversations between a client and a server, as `tests/handshakes` has them.

use sessiond::protocol::Side;

/// Who sent which bytes, in their order.
pub type Conversation = Vec<(Side, Vec<u8>)>;

/// Reads one: a line is `C` or `S`, a space, and bytes in hexadecimal digits; a
/// line that begins with `#` is for who reads it.
pub fn conversation(text: &str) -> Conversation {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let read = |line: &str| {
        let (side, digits) = line.split_once(' ').unwrap();
        let byte = |at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap();
        let side = match side {
            "C" => Side::Client,
            "S" => Side::Server,
            other => panic!("{other} is neither C nor S"),
        };
        (side, (0..digits.len()).step_by(2).map(byte).collect())
    };
    lines.map(read).collect()
}
