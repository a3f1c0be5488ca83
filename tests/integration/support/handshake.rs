//! Captured conversations: lines of `C` or `S` and what the client or the server
//! said, in hexadecimal.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Client,
    Server,
}

#[derive(Clone, Debug)]
pub struct Handshake {
    /// Who said what, in order.
    pub said: Vec<(Side, Vec<u8>)>,
}

impl Handshake {
    pub fn parse(text: &str) -> Self {
        let said = |line: &str| {
            let (side, hex) = line.split_once(' ')?;
            let side = match side {
                "C" => Side::Client,
                "S" => Side::Server,
                _ => return None,
            };
            let byte = |index: usize| u8::from_str_radix(&hex[index..index + 2], 16).unwrap();
            Some((side, (0..hex.len()).step_by(2).map(byte).collect()))
        };
        Self {
            said: text.lines().filter_map(said).collect(),
        }
    }

    /// All that one side said.
    pub fn of(&self, side: Side) -> Vec<u8> {
        let of_side = self.said.iter().filter(|(other, _)| *other == side);
        of_side.flat_map(|(_, bytes)| bytes.clone()).collect()
    }
}
