//! Reads the chunks of a body and throws them away (RFC 9112, section 7.1). Pure: bytes
//! in, how many of them belong to the body out, wherever they were cut.
//!
//! The end of the body is where the next request begins, and a proxy in front must find
//! the same one. So it is as strict as the head's parser: a size is hexadecimal digits,
//! a line ends in CR LF, and there is no white space that the grammar has not.

use super::request::{MAX_BODY, MAX_FIELDS, MAX_HEAD, bad, split_field, too_large};
use crate::admin::refusal::Refusal;

/// The most digits of a size. A body has no more than 16 KiB; some write zeros in front.
const MAX_DIGITS: usize = 16;

/// The most bytes of the extensions of all chunks together. Hardly any client sends one.
const MAX_EXTENSIONS: usize = 4 * 1024;

/// A body that is being read.
#[derive(Debug)]
pub(super) struct Chunks {
    state: State,
    /// The line that has not ended yet.
    line: Vec<u8>,
    /// Whether that has its CR already.
    after_cr: bool,
    /// How long the chunks so far are together, the current one included.
    length: u64,
    /// How long their extensions are together.
    extensions: usize,
    /// How many lines came behind the last chunk, and how long they are together.
    trailers: (usize, usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The line with the size of the next chunk.
    Size,
    /// A chunk, of which so much is still to come.
    Data(u64),
    /// The end of line behind a chunk.
    EndOfData,
    /// A line behind the last chunk.
    Trailer,
    /// All of it has come.
    Whole,
}

impl Chunks {
    /// Nothing has come yet.
    pub(super) fn new() -> Self {
        Self {
            state: State::Size,
            line: Vec::new(),
            after_cr: false,
            length: 0,
            extensions: 0,
            trailers: (0, 0),
        }
    }

    /// Whether all of it has come.
    pub(super) fn is_whole(&self) -> bool {
        self.state == State::Whole
    }

    /// Takes what belongs to the body off the front of `bytes`, and returns how many
    /// bytes that are: all, unless the body ends before.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Result<usize, Refusal> {
        let mut at = 0;
        while at < bytes.len() && self.state != State::Whole {
            if let State::Data(left) = self.state {
                let there = bytes.len() - at;
                let taken = usize::try_from(left).map_or(there, |left| left.min(there));
                at += taken;
                self.state = match left - taken as u64 {
                    0 => State::EndOfData,
                    left => State::Data(left),
                };
            } else {
                self.take_of_line(bytes[at])?;
                at += 1;
            }
        }
        Ok(at)
    }

    fn take_of_line(&mut self, byte: u8) -> Result<(), Refusal> {
        match byte {
            b'\n' if self.after_cr => {
                self.after_cr = false;
                self.state = self.end_line()?;
                self.line.clear();
                return Ok(());
            }
            _ if self.after_cr => {}
            b'\r' => {
                self.after_cr = true;
                return Ok(());
            }
            b'\t' | b' '..=b'~' | 0x80.. => {
                self.line.push(byte);
                return self.check_line();
            }
            _ => {}
        }
        Err(bad("a line of the chunked body does not end in CR LF"))
    }

    /// What is too long is refused before it is whole.
    fn check_line(&self) -> Result<(), Refusal> {
        match self.state {
            State::Size if self.extensions + self.line.len() > MAX_EXTENSIONS + MAX_DIGITS => {
                Err(bad(format!(
                    "the extensions of the chunks are longer than {MAX_EXTENSIONS} bytes together"
                )))
            }
            State::EndOfData => Err(bad("a chunk is longer than its size says")),
            State::Trailer if self.trailers.1 + self.line.len() > MAX_HEAD => {
                Err(Refusal::HeadTooLarge(format!(
                    "the fields behind the body are longer than {MAX_HEAD} bytes together"
                )))
            }
            _ => Ok(()),
        }
    }

    /// What follows the line that has just ended.
    fn end_line(&mut self) -> Result<State, Refusal> {
        match self.state {
            State::Size => self.end_size(),
            State::Trailer if self.line.is_empty() => Ok(State::Whole),
            State::Trailer => {
                self.trailers.0 += 1;
                self.trailers.1 += self.line.len();
                if self.trailers.0 > MAX_FIELDS {
                    return Err(Refusal::HeadTooLarge(format!(
                        "there are more than {MAX_FIELDS} fields behind the body"
                    )));
                }
                // Whatever they say, nobody looks at it.
                split_field(&self.line)?;
                Ok(State::Trailer)
            }
            State::EndOfData | State::Data(_) | State::Whole => Ok(State::Size),
        }
    }

    fn end_size(&mut self) -> Result<State, Refusal> {
        let is_digit = |byte: &&u8| byte.is_ascii_hexdigit();
        let (digits, extensions) = self
            .line
            .split_at(self.line.iter().take_while(is_digit).count());
        let begins_well = match extensions.trim_ascii_start() {
            [] => extensions.is_empty(),
            [first, ..] => *first == b';',
        };
        let size = std::str::from_utf8(digits)
            .ok()
            .filter(|digits| (1..=MAX_DIGITS).contains(&digits.len()) && begins_well)
            .and_then(|digits| u64::from_str_radix(digits, 16).ok());
        let size = size.ok_or_else(|| bad("the size of a chunk is not hexadecimal digits"))?;
        self.extensions += extensions.len();
        if size == 0 {
            return Ok(State::Trailer);
        }
        self.length = self.length.saturating_add(size);
        if self.length > MAX_BODY {
            return Err(too_large(&format!("{} or more", self.length)));
        }
        Ok(State::Data(size))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many bytes the body takes; `None` where it is not whole.
    fn taken(bytes: &[u8]) -> Result<Option<usize>, u16> {
        let mut chunks = Chunks::new();
        let taken = chunks.take(bytes).map_err(|refusal| refusal.status().0)?;
        Ok(chunks.is_whole().then_some(taken))
    }

    #[test]
    fn a_body_ends_where_its_last_chunk_says_wherever_it_is_cut() {
        let next = b"GET / HTTP/1.1\r\n";
        for body in [
            "0\r\n\r\n",
            "5\r\nhello\r\n0\r\n\r\n",
            "a\r\n0\r\n\r\n0\r\n\r\n\r\n0\r\n\r\n",
            "0005\r\nhello\r\nA;name=value\r\n0123456789\r\n000\r\n\r\n",
            "1 ;a;b=\"c d\"\r\nx\r\n0\t; last\r\n\r\n",
            "0\r\nExpires: never\r\nX:\r\n\r\n",
        ] {
            let bytes = [body.as_bytes(), next].concat();
            assert_eq!(taken(&bytes), Ok(Some(body.len())), "{body:?}");
            for cut in 0..body.len() {
                let mut chunks = Chunks::new();
                assert_eq!(chunks.take(&bytes[..cut]).unwrap(), cut, "{body:?}");
                assert!(!chunks.is_whole(), "{body:?} {cut}");
                let rest = chunks.take(&bytes[cut..]).unwrap();
                assert!(chunks.is_whole());
                assert_eq!(cut + rest, body.len(), "{body:?} {cut}");
            }
            let mut chunks = Chunks::new();
            for byte in body.as_bytes() {
                assert_eq!(chunks.take(&[*byte]).unwrap(), 1);
            }
            assert!(chunks.is_whole());
            assert_eq!(chunks.take(next).unwrap(), 0);
        }
    }

    #[test]
    fn what_two_readers_could_read_differently_is_refused() {
        for body in [
            "\r\n",
            "5\nhello\r\n",
            "5\rhello\r\n",
            "5\r\nhello\n",
            "5\r\nhello0\r\n",
            "5\r\nhell\r\n0\r\n",
            "+5\r\nhello",
            "-1\r\n",
            "0x5\r\nhello",
            " 5\r\nhello",
            "5 \r\nhello",
            "5\t\r\nhello",
            "5 a\r\nhello",
            "5,5\r\n",
            "g\r\n",
            ";a\r\n",
            "5;a\nb\r\nhello",
            "5;a\rb\r\nhello",
            "5;a\0\r\nhello",
            "5;a\x7f\r\nhello",
            "00000000000000005\r\nhello",
            "0\r\nX: y\n\r\n",
            "0\r\n X: y\r\n",
            "0\r\nX : y\r\n",
            "0\r\nX\r\n",
            "0\r\n: y\r\n",
            "0\r\nX: \0\r\n",
            "0\r\n\n",
        ] {
            assert_eq!(taken(body.as_bytes()), Err(400), "{body:?}");
        }
    }

    #[test]
    fn a_body_is_as_long_as_one_with_a_length_may_be() {
        let chunk = |length: usize| format!("{length:x}\r\n{}\r\n", "x".repeat(length));
        let limit = usize::try_from(MAX_BODY).unwrap();
        let end = "0\r\n\r\n";
        let body = chunk(limit) + end;
        assert_eq!(taken(body.as_bytes()), Ok(Some(body.len())));
        let body = chunk(1).repeat(limit) + end;
        assert_eq!(taken(body.as_bytes()), Ok(Some(body.len())));
        assert_eq!(
            taken((chunk(1).repeat(limit) + "1\r\n").as_bytes()),
            Err(413)
        );
        // It is refused before it comes.
        for size in ["4001\r\n", "ffffffffffffffff\r\n", "7fffffffffffffff\r\n"] {
            assert_eq!(taken(size.as_bytes()), Err(413), "{size}");
        }
        // What nobody looks at has its limits, too, before its line ends.
        let extension = format!("0;{}", "x".repeat(MAX_EXTENSIONS + MAX_DIGITS));
        assert_eq!(taken(extension.as_bytes()), Err(400));
        let many = "1;xxxxxxxxxxxxxxxxxx\r\nx\r\n".repeat(MAX_EXTENSIONS / 10);
        assert_eq!(taken(many.as_bytes()), Err(400));
        let field = format!("0\r\nX: {}", "x".repeat(MAX_HEAD));
        assert_eq!(taken(field.as_bytes()), Err(431));
        let fields = |count: usize| format!("0\r\n{}\r\n", "X: y\r\n".repeat(count));
        assert!(taken(fields(MAX_FIELDS).as_bytes()).unwrap().is_some());
        assert_eq!(taken(fields(MAX_FIELDS + 1).as_bytes()), Err(431));
    }
}
