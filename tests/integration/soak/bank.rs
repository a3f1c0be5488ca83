//! The least that a client of MariaDB must know: to log in and to ask.

use std::io::{self, Read, Write};
use std::net::TcpStream;

/// What the client can: the protocol of 4.1, secure authentication, plug-ins and attributes.
const CAPABILITIES: u32 = 0x0018_8200 | 0x0000_0005;

/// A connection to a MariaDB server, after the login.
pub struct Bank {
    stream: TcpStream,
}

/// Reads one packet's payload.
fn packet(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut head = [0; 4];
    stream.read_exact(&mut head)?;
    let length = u32::from_le_bytes([head[0], head[1], head[2], 0]);
    let mut payload = vec![0; length as usize];
    stream.read_exact(&mut payload)?;
    Ok(payload)
}

/// A packet of that payload and number.
fn framed(payload: &[u8], number: u8) -> Vec<u8> {
    let [one, two, three, _] = u32::try_from(payload.len()).unwrap().to_le_bytes();
    [&[one, two, three, number], payload].concat()
}

/// What a client says to log in as `root`, who has no password.
pub fn login() -> Vec<u8> {
    let mut payload = CAPABILITIES.to_le_bytes().to_vec();
    payload.extend(0x0100_0000_u32.to_le_bytes());
    payload.push(45);
    payload.extend([0; 23]);
    payload.extend(b"root\0\0mysql_native_password\0");
    let attributes = b"\x0cprogram_name\x04soak\x04_pid\x0512345";
    payload.push(u8::try_from(attributes.len()).unwrap());
    payload.extend(attributes);
    framed(&payload, 1)
}

fn unexpected(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

impl Bank {
    /// Logs in. An error is what the relay or the server has for a client that
    /// comes at a bad time.
    pub fn log_in(mut stream: TcpStream) -> io::Result<Self> {
        if packet(&mut stream)?.first() != Some(&10) {
            return Err(unexpected("no greeting"));
        }
        stream.write_all(&login())?;
        match packet(&mut stream)?.first() {
            Some(0) => Ok(Self { stream }),
            _ => Err(unexpected("no login")),
        }
    }

    /// Asks, and does not wait for the answer.
    pub fn ask(&mut self, statement: &str) -> io::Result<()> {
        let payload = [b"\x03", statement.as_bytes()].concat();
        self.stream.write_all(&framed(&payload, 0))
    }

    /// Asks for one value.
    pub fn value(&mut self, statement: &str) -> io::Result<String> {
        self.ask(statement)?;
        self.answer()
    }

    /// The answer: one row of one column.
    pub fn answer(&mut self) -> io::Result<String> {
        // How many columns, the column, the end of columns.
        for expected in [1, 3, 0xfe] {
            if packet(&mut self.stream)?.first() != Some(&expected) {
                return Err(unexpected("no answer"));
            }
        }
        let row = packet(&mut self.stream)?;
        let skip = match row.first() {
            Some(0..=250) => 1,
            Some(0xfc) => 3,
            Some(0xfd) => 4,
            _ => return Err(unexpected("no row")),
        };
        if packet(&mut self.stream)?.first() != Some(&0xfe) {
            return Err(unexpected("no end of rows"));
        }
        String::from_utf8(row[skip..].to_vec()).map_err(|_| unexpected("no text"))
    }

    /// Says that it goes, and goes.
    pub fn quit(mut self) -> io::Result<()> {
        self.stream.write_all(&framed(b"\x01", 0))
    }

    pub fn stream(&mut self) -> &mut TcpStream {
        &mut self.stream
    }
}
