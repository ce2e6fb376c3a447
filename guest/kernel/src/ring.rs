//! A queue of bytes with a fixed size.

/// Holds up to `N` bytes.
pub struct Ring<const N: usize> {
    bytes: [u8; N],
    first: usize,
    count: usize,
}

impl<const N: usize> Ring<N> {
    /// An empty queue.
    pub const fn new() -> Self {
        Self { bytes: [0; N], first: 0, count: 0 }
    }

    /// How many more bytes fit?
    pub fn room(&self) -> usize {
        N - self.count
    }

    /// Nothing in it?
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Appends a byte, or says that there is no room.
    pub fn push(&mut self, byte: u8) -> bool {
        if self.count == N {
            return false;
        }
        self.bytes[(self.first + self.count) % N] = byte;
        self.count += 1;
        true
    }

    /// Takes the oldest byte.
    pub fn pop(&mut self) -> Option<u8> {
        if self.count == 0 {
            return None;
        }
        let byte = self.bytes[self.first];
        self.first = (self.first + 1) % N;
        self.count -= 1;
        Some(byte)
    }

    /// Puts a byte back in front of all others; it is lost when there is no room.
    pub fn push_front(&mut self, byte: u8) {
        if self.count < N {
            self.first = (self.first + N - 1) % N;
            self.bytes[self.first] = byte;
            self.count += 1;
        }
    }
}
