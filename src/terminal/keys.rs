//! What somebody types while `top` runs: bytes in, keys out.
//!
//! A key that is no character comes as an escape sequence, whose bytes may come
//! one by one over a slow line.

/// What a key means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    Quit,
    Suspend,
    Redraw,
    SortLeft,
    SortRight,
    Reverse,
    NextPage,
    PreviousPage,
    FirstPage,
    LastPage,
}

/// How far an escape sequence has come.
#[derive(Clone, Copy, Debug, Default)]
enum State {
    #[default]
    Ground,
    Escape,
    /// Inside a control sequence, with its last number.
    Sequence(u8),
}

/// Reads keys.
#[derive(Debug, Default)]
pub(super) struct Keys {
    state: State,
}

impl Keys {
    /// The keys that these bytes complete.
    pub(super) fn read(&mut self, bytes: &[u8]) -> Vec<Key> {
        bytes.iter().filter_map(|byte| self.take(*byte)).collect()
    }

    fn take(&mut self, byte: u8) -> Option<Key> {
        match (self.state, byte) {
            (_, 0x1b) => {
                self.state = State::Escape;
                None
            }
            (State::Escape, b'[' | b'O') => {
                self.state = State::Sequence(0);
                None
            }
            (State::Ground | State::Escape, byte) => {
                self.state = State::Ground;
                character(byte)
            }
            (State::Sequence(number), b'0'..=b'9') => {
                let number = number.wrapping_mul(10).wrapping_add(byte - b'0');
                self.state = State::Sequence(number);
                None
            }
            (State::Sequence(number), 0x40..=0x7e) => {
                self.state = State::Ground;
                special(number, byte)
            }
            (State::Sequence(_), _) => None,
        }
    }
}

fn character(byte: u8) -> Option<Key> {
    Some(match byte {
        // Ctrl-C comes as a byte while the terminal is raw, as Ctrl-Z and Ctrl-L do.
        b'q' | b'Q' | 0x03 => Key::Quit,
        0x1a => Key::Suspend,
        0x0c => Key::Redraw,
        b'<' | b',' => Key::SortLeft,
        b'>' | b'.' => Key::SortRight,
        b'r' | b'R' => Key::Reverse,
        b'n' | b' ' => Key::NextPage,
        b'p' => Key::PreviousPage,
        b'g' => Key::FirstPage,
        b'G' => Key::LastPage,
        _ => return None,
    })
}

/// Arrows, and the keys above them, as xterm and the Linux console send them.
fn special(number: u8, last: u8) -> Option<Key> {
    Some(match (last, number) {
        (b'D', _) => Key::SortLeft,
        (b'C', _) => Key::SortRight,
        (b'A', _) | (b'~', 5) => Key::PreviousPage,
        (b'B', _) | (b'~', 6) => Key::NextPage,
        (b'H', _) | (b'~', 1 | 7) => Key::FirstPage,
        (b'F', _) | (b'~', 4 | 8) => Key::LastPage,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_wherever_their_bytes_are_cut() {
        let bytes = b"\x1b[D>\x1b[6~\x1bOB\x1b[1;5Cr\x1b[99999x?\x1bq\x03";
        let expected = [
            Key::SortLeft,
            Key::SortRight,
            Key::NextPage,
            Key::NextPage,
            Key::SortRight,
            Key::Reverse,
            Key::Quit,
            Key::Quit,
        ];
        assert_eq!(Keys::default().read(bytes), expected);
        let mut keys = Keys::default();
        let one_by_one = bytes.chunks(1).flat_map(|byte| keys.read(byte));
        assert_eq!(one_by_one.collect::<Vec<_>>(), expected);
    }
}
