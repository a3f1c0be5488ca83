//! One HTTP answer, read off a socket.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};

use super::{Document, PATIENCE};

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    /// Status line and header fields.
    pub head: String,
    pub body: String,
}

impl Answer {
    /// Reads an answer with a length, or without a body.
    pub fn read(stream: &mut impl BufRead, head_alone: bool) -> Self {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            let length = stream.read_line(&mut head).expect("an answer");
            assert!(length > 0, "the connection ended in {head:?}");
        }
        let status = head
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok())
            .expect("a status");
        let mut answer = Self {
            status,
            head,
            body: String::new(),
        };

        if !head_alone {
            let body = match answer.field("Content-Length") {
                Some(length) => read_exactly(stream, length.parse().unwrap()),
                None if answer.field("Transfer-Encoding") == Some("chunked") => read_chunks(stream),
                None => Vec::new(),
            };
            answer.body = String::from_utf8(body).expect("a body in UTF-8");
        }
        answer
    }

    /// Reads an answer, unless the connection ends before it is whole.
    pub fn try_read(stream: &mut impl BufRead) -> Option<Self> {
        let mut bytes = Vec::new();
        while !bytes.ends_with(b"\r\n\r\n") {
            if stream.read_until(b'\n', &mut bytes).ok()? == 0 {
                return None;
            }
        }
        let head = Self::read(&mut &bytes[..], true);
        let length: usize = head.field("Content-Length")?.parse().ok()?;
        let mut body = vec![0; length];
        stream.read_exact(&mut body).ok()?;
        bytes.extend(body);
        Some(Self::read(&mut &bytes[..], false))
    }

    pub fn field(&self, name: &str) -> Option<&str> {
        self.head
            .lines()
            .skip(1)
            .filter_map(|line| line.split_once(": "))
            .find_map(|(field, value)| field.eq_ignore_ascii_case(name).then_some(value))
    }

    pub fn document(&self) -> Document {
        Document::parse(&self.body)
    }

    /// The `detail` of an error document, after checking the rest of it.
    pub fn detail(&self) -> String {
        let document = self.document();
        let error = document.at("/errors/0");
        assert_eq!(error.text("/status"), self.status.to_string());
        assert!(
            self.head
                .lines()
                .next()
                .unwrap()
                .ends_with(&error.text("/title")),
            "{self:?}"
        );
        error.text("/detail")
    }
}

fn read_exactly(stream: &mut impl BufRead, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes).expect("the body");
    bytes
}

/// A body in chunks, without extensions and trailers (RFC 9112, section 7.1).
fn read_chunks(stream: &mut impl BufRead) -> Vec<u8> {
    let mut body = Vec::new();
    loop {
        let mut size = String::new();
        stream.read_line(&mut size).expect("the size of a chunk");
        let size = usize::from_str_radix(size.strip_suffix("\r\n").unwrap(), 16).expect("a size");
        body.extend(read_exactly(stream, size));
        assert_eq!(read_exactly(stream, 2), b"\r\n");
        if size == 0 {
            return body;
        }
    }
}

/// Connects, with a deadline for all that is read and written.
pub fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Sends one request on a connection of its own.
pub fn request(address: SocketAddr, method: &str, target: &str, fields: &str) -> Answer {
    let mut stream = connect(address);
    let request = format!("{method} {target} HTTP/1.1\r\nHost: {address}\r\n{fields}\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    Answer::read(&mut BufReader::new(stream), method == "HEAD")
}

/// Sends bytes, and returns everything that comes until the end of the connection.
pub fn exchange(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = connect(address);
    stream.write_all(bytes).unwrap();
    let mut all = Vec::new();
    stream.read_to_end(&mut all).unwrap();
    String::from_utf8_lossy(&all).into_owned()
}
