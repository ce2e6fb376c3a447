//! What is in a file: held in memory, or read where it lies when somebody wants it.
//!
//! Kernels and initial RAM disks are large, and the firmware copies each byte once: what is left on the host's disk
//! until then costs neither time at the start nor memory.

use std::fmt::Debug;
use std::sync::Arc;

/// A file of the host, or anything else that bytes can be read from.
pub trait ReadAt: Debug + Send + Sync {
    /// Reads the bytes at an offset. What cannot be read becomes zeros.
    fn read_at(&self, offset: u64, out: &mut [u8]);
}

#[derive(Clone, Debug)]
enum Source {
    Held(Vec<u8>),
    Elsewhere(Arc<dyn ReadAt>),
}

/// A row of bytes of fixed length.
#[derive(Clone, Debug)]
pub struct Contents {
    source: Source,
    /// Where it begins in its source.
    from: u64,
    length: u64,
}

/// Bytes that are compared at once.
const PIECE: usize = 1 << 16;

impl Contents {
    /// The first `length` bytes of a source.
    pub fn elsewhere(source: Arc<dyn ReadAt>, length: u64) -> Self {
        Self { source: Source::Elsewhere(source), from: 0, length }
    }

    /// How many bytes there are.
    pub fn len(&self) -> u64 {
        self.length
    }

    /// Are there none?
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Reads the bytes at an offset; zeros behind the end.
    pub fn read(&self, offset: u64, out: &mut [u8]) {
        let used = self.length.saturating_sub(offset).min(out.len() as u64) as usize;
        let (inside, behind) = out.split_at_mut(used);
        behind.fill(0);
        if inside.is_empty() {
            return;
        }
        let at = self.from + offset;
        match &self.source {
            Source::Held(bytes) => inside.copy_from_slice(&bytes[at as usize..][..used]),
            Source::Elsewhere(source) => source.read_at(at, inside),
        }
    }

    /// So many bytes from the start, or all if there are fewer.
    pub fn head(&self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length.min(self.length as usize)];
        self.read(0, &mut bytes);
        bytes
    }

    /// All bytes.
    pub fn to_vec(&self) -> Vec<u8> {
        self.head(self.length as usize)
    }

    /// All but the first `skipped` bytes.
    pub fn behind(self, skipped: u64) -> Self {
        let skipped = skipped.min(self.length);
        Self { from: self.from + skipped, length: self.length - skipped, ..self }
    }
}

impl Default for Contents {
    fn default() -> Self {
        Vec::new().into()
    }
}

impl From<Vec<u8>> for Contents {
    fn from(bytes: Vec<u8>) -> Self {
        let length = bytes.len() as u64;
        Self { source: Source::Held(bytes), from: 0, length }
    }
}

impl PartialEq for Contents {
    fn eq(&self, other: &Self) -> bool {
        let (mut one, mut two) = (vec![0; PIECE], vec![0; PIECE]);
        self.length == other.length
            && (0..self.length).step_by(PIECE).all(|at| {
                self.read(at, &mut one);
                other.read(at, &mut two);
                one == two
            })
    }
}

impl Eq for Contents {}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Counting;

    impl ReadAt for Counting {
        fn read_at(&self, offset: u64, out: &mut [u8]) {
            (offset..).zip(out).for_each(|(at, byte)| *byte = at as u8);
        }
    }

    #[test]
    fn bytes_are_the_same_wherever_they_lie() {
        let held = Contents::from((0..200_000u32).map(|at| at as u8).collect::<Vec<u8>>());
        let elsewhere = Contents::elsewhere(Arc::new(Counting), 200_000);
        assert_eq!(held, elsewhere);
        assert_ne!(held, elsewhere.clone().behind(256), "fewer");
        for contents in [held, elsewhere] {
            let rest = contents.behind(3);
            assert_eq!((rest.len(), rest.head(4)), (199_997, vec![3, 4, 5, 6]));
            let mut end = [9; 4];
            rest.read(199_995, &mut end);
            assert_eq!(end, [0x3e, 0x3f, 0, 0], "zeros behind the end");
            rest.read(u64::MAX, &mut end);
            assert_eq!(end, [0; 4]);
            assert_eq!(rest.to_vec().len(), 199_997);
            assert!(rest.behind(1 << 40).is_empty());
        }
    }
}
