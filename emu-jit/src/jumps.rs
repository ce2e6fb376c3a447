//! The jump cache: from RIP to the code of the block there, for jumps whose target the block does not know.
//!
//! One table serves one context (privilege and mode) of one processor, for as long as its translations hold.

/// Entries in a table.
pub const ENTRIES: usize = 4096;
/// The index is RIP xor RIP shifted right by this.
pub const FOLD: u32 = 12;
/// Entries that are remembered for clearing; beyond it the whole table is wiped.
const LOG: usize = 1024;

/// An entry. An empty one has a RIP that no block has, and leads out of translated code.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Jump {
    /// RIP.
    pub rip: u64,
    /// Host address of the block's entry.
    pub code: u64,
}

/// A table.
#[derive(Debug)]
pub struct Jumps {
    entries: Box<[Jump; ENTRIES]>,
    filled: Vec<u16>,
    empty: Jump,
}

fn index(rip: u64) -> usize {
    (rip as u32 ^ rip as u32 >> FOLD) as usize & (ENTRIES - 1)
}

impl Jumps {
    /// An empty table; `no_target` is where its entries lead.
    pub fn new(no_target: usize) -> Self {
        let empty = Jump { rip: 0x8000_0000_0000_0000, code: no_target as u64 };
        Self { entries: Box::new([empty; ENTRIES]), filled: Vec::with_capacity(LOG), empty }
    }

    /// Host address of the table.
    pub fn address(&self) -> usize {
        self.entries.as_ptr() as usize
    }

    /// Code for a RIP.
    #[inline]
    pub fn find(&self, rip: u64) -> Option<usize> {
        let entry = self.entries[index(rip)];
        (entry.rip == rip && entry.code != self.empty.code).then_some(entry.code as usize)
    }

    /// Remembers where the block at `rip` is.
    pub fn insert(&mut self, rip: u64, code: usize) {
        let at = index(rip);
        if self.filled.len() < LOG {
            self.filled.push(at as u16);
        }
        self.entries[at] = Jump { rip, code: code as u64 };
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        if self.filled.len() < LOG {
            for at in self.filled.drain(..) {
                self.entries[usize::from(at)] = self.empty;
            }
        } else {
            self.entries.fill(self.empty);
            self.filled.clear();
        }
    }
}
