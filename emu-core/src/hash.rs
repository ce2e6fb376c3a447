//! The hash of architectural state that engines, runs and machines are compared by.
//!
//! A fixed function of the bytes fed to it, so logs from different builds and hosts can be compared: a
//! 64-bit multiply-and-fold over 8-byte words (the constants are the golden ratio and a second odd number).

/// A running hash.
#[derive(Clone, Copy, Debug)]
pub struct StateHash(u64);

const FIRST: u64 = 0x9e37_79b9_7f4a_7c15;
const SECOND: u64 = 0xd1b5_4a32_d192_ed03;

impl Default for StateHash {
    fn default() -> Self {
        Self(FIRST)
    }
}

impl StateHash {
    /// Adds one word.
    #[inline]
    pub fn word(&mut self, value: u64) {
        let product = u128::from(self.0 ^ value) * u128::from(SECOND);
        self.0 = (product as u64 ^ (product >> 64) as u64).wrapping_add(FIRST);
    }

    /// Adds words.
    pub fn words(&mut self, values: &[u64]) {
        values.iter().for_each(|&value| self.word(value));
    }

    /// Adds bytes; the length counts too.
    pub fn bytes(&mut self, bytes: &[u8]) {
        let mut chunks = bytes.chunks_exact(8);
        for chunk in &mut chunks {
            self.word(u64::from_le_bytes(chunk.try_into().expect("chunks are eight bytes")));
        }
        let mut last = [0; 8];
        let rest = chunks.remainder();
        last[..rest.len()].copy_from_slice(rest);
        self.word(u64::from_le_bytes(last));
        self.word(bytes.len() as u64);
    }

    /// The hash so far.
    pub fn finish(self) -> u64 {
        let mut last = self;
        last.word(SECOND);
        last.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(bytes: &[u8]) -> u64 {
        let mut hash = StateHash::default();
        hash.bytes(bytes);
        hash.finish()
    }

    #[test]
    fn single_bits_and_lengths_change_it() {
        let base = of(&[0; 64]);
        for bit in 0..512 {
            let mut bytes = [0; 64];
            bytes[bit / 8] |= 1 << (bit % 8);
            assert_ne!(of(&bytes), base, "bit {bit}");
        }
        assert_ne!(of(&[0; 63]), base);
        assert_ne!(of(&[]), of(&[0]));
    }
}
