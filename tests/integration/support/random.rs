//! Numbers that look random and are the same in every run (xorshift64*).

pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below the bound.
    pub fn below(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound).unwrap();
        usize::try_from(self.next() % bound).unwrap()
    }

    pub fn pick<'a, T: ?Sized>(&mut self, of: &[&'a T]) -> &'a T {
        of[self.below(of.len())]
    }

    /// Changes bytes in one place: a byte, a bit, a part that goes or comes again,
    /// the end that is cut off, a piece that comes in, or now and then a filler
    /// below a length.
    pub fn mutate(&mut self, bytes: &mut Vec<u8>, pieces: &[&[u8]], filler: usize) {
        let at = self.below(bytes.len() + 1);
        match self.below(7) {
            0 if at < bytes.len() => bytes[at] = u8::try_from(self.below(256)).unwrap(),
            1 if at < bytes.len() => bytes[at] ^= 1 << self.below(8),
            2 => {
                let until = bytes.len().min(at + self.below(20));
                bytes.drain(at..until);
            }
            3 => {
                let until = bytes.len().min(at + self.below(40));
                let copy = bytes[at..until].to_vec();
                let to = self.below(bytes.len() + 1);
                bytes.splice(to..to, copy);
            }
            4 => bytes.truncate(at),
            5 if self.below(50) == 0 => {
                let filler = vec![u8::try_from(self.below(256)).unwrap(); self.below(filler)];
                bytes.splice(at..at, filler);
            }
            _ => {
                let piece = self.pick(pieces);
                bytes.splice(at..at, piece.iter().copied());
            }
        }
    }
}
