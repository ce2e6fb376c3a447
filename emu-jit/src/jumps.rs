//! The jump cache: from RIP to the code of the block there, for jumps whose target the block does not know.
//!
//! One table serves one context (process context, privilege, mode and code segment) of one processor. It leads to
//! pages only that the processor's table of instruction fetches has.

use std::collections::HashMap;

use emu_core::cpu::{CS, Cpu};
use emu_core::decode::MAX_LENGTH;
use emu_core::mem::PAGE_SIZE;
use emu_core::mmu::tlb::FetchTable;

use crate::analysis::MOST;
use crate::mode::Mode;

/// Entries in a table: so many that hot places of a large program seldom share one.
pub const ENTRIES: usize = 1 << 15;
/// RIP times 16, exclusive-or RIP, is the offset of an entry in these bits: by RIP alone places of a program at a
/// distance of a power of two would share entries.
pub const OFFSET_MASK: i32 = ((ENTRIES - 1) << 4) as i32;
/// Entries that are wiped one by one; where there are more, the whole table is.
const FEW: usize = ENTRIES / 8;
/// Entries that are remembered by page; beyond it everything is forgotten.
const MOST_BY_PAGE: usize = 4 * ENTRIES;

/// Most bytes of a block.
const LONGEST: u64 = (MOST * MAX_LENGTH) as u64;

/// Contexts of one processor whose jump caches are kept.
const MOST_CONTEXTS: usize = 24;

/// What RIP stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The mode word.
    mode: u16,
    /// Base of the code segment, and the highest offset in it.
    base: u64,
    limit: u64,
    /// Bits that a linear address may have.
    mask: u64,
}

impl Place {
    /// Where a processor runs code of a mode.
    #[inline]
    pub fn of(cpu: &Cpu, mode: Mode) -> Self {
        Self { mode: mode.word(), base: cpu.seg[CS].base, limit: cpu.fetch_limit, mask: cpu.linear_mask }
    }

    /// The linear address.
    #[inline]
    pub fn linear(self, rip: u64) -> u64 {
        self.base.wrapping_add(rip) & self.mask
    }
}

/// The jump caches of one processor.
#[derive(Debug)]
pub struct Contexts {
    tables: Vec<Jumps>,
    current: usize,
    /// The one before it: user mode and a kernel take turns.
    previous: usize,
    /// Counts switches between contexts.
    switches: u64,
    no_target: usize,
}

impl Contexts {
    /// No tables yet; `no_target` is where a jump to nowhere leads.
    pub fn new(no_target: usize) -> Self {
        Self { tables: Vec::new(), current: 0, previous: 0, switches: 0, no_target }
    }

    /// The table for code at a place from these pages, which leads to no page that is forgotten.
    #[inline]
    pub fn select(&mut self, place: Place, fetches: &FetchTable) -> &mut Jumps {
        if self.tables.get(self.current).is_none_or(|jumps| !jumps.serves(place, fetches)) {
            self.switch(place, fetches);
        }
        let jumps = &mut self.tables[self.current];
        if jumps.dropped != fetches.dropped().len() {
            jumps.catch_up(fetches);
        }
        jumps
    }

    /// The table that was selected last.
    pub fn current(&mut self) -> &mut Jumps {
        &mut self.tables[self.current]
    }

    fn switch(&mut self, place: Place, fetches: &FetchTable) {
        std::mem::swap(&mut self.current, &mut self.previous);
        if self.tables.get(self.current).is_none_or(|jumps| !jumps.serves(place, fetches)) {
            self.look_for(place, fetches);
        }
        self.switches += 1;
        self.tables[self.current].used = self.switches;
    }

    #[cold]
    fn look_for(&mut self, place: Place, fetches: &FetchTable) {
        let known = self.tables.iter().position(|jumps| jumps.serves(place, fetches));
        self.current = known.unwrap_or_else(|| {
            let at = if self.tables.len() < MOST_CONTEXTS {
                self.tables.push(Jumps::new(self.no_target));
                self.tables.len() - 1
            } else {
                (0..MOST_CONTEXTS).min_by_key(|&at| self.tables[at].used).unwrap_or(0)
            };
            self.tables[at].start(place, fetches);
            at
        });
    }

    /// Empties all tables.
    pub fn clear(&mut self) {
        self.tables.iter_mut().for_each(Jumps::clear);
    }
}

/// An entry: RIP, and the host address of the block's entry. Empty ones are zeros, which take no memory until they
/// are used: RIP 0 is sought in entry 0 alone, which has [`NO_RIP`] while it is empty and leads out of translated
/// code.
type Jump = [u64; 2];

/// A RIP that no block has.
const NO_RIP: u64 = 1 << 63;

/// A table.
#[derive(Debug)]
pub struct Jumps {
    /// What its RIPs stand for.
    place: Place,
    /// Serial number of the [`FetchTable`] that it belongs to, and how many pages that had dropped.
    serial: u64,
    dropped: usize,
    /// When it was last switched to.
    used: u64,
    entries: Box<[Jump; ENTRIES]>,
    /// Indices of entries by their page.
    by_page: HashMap<u64, Vec<u16>>,
    pages_filled: usize,
    no_target: u64,
}

fn index(rip: u64) -> usize {
    (rip ^ rip >> 4) as usize & (ENTRIES - 1)
}

impl Jumps {
    /// An empty table; `no_target` is where nothing leads.
    fn new(no_target: usize) -> Self {
        let entries = vec![[0; 2]; ENTRIES].into_boxed_slice().try_into().expect("the length is right");
        let mut jumps = Self {
            place: Place { mode: 0, base: 0, limit: 0, mask: 0 },
            serial: 0,
            dropped: 0,
            used: 0,
            entries,
            by_page: HashMap::new(),
            pages_filled: 0,
            no_target: no_target as u64,
        };
        jumps.wipe(0);
        jumps
    }

    fn wipe(&mut self, at: usize) {
        self.entries[at] = if at == 0 { [NO_RIP, self.no_target] } else { [0; 2] };
    }

    /// Is it for code at this place from these pages?
    fn serves(&self, place: Place, fetches: &FetchTable) -> bool {
        self.place == place && self.serial == fetches.serial()
    }

    /// Empties it, for code at this place from these pages.
    fn start(&mut self, place: Place, fetches: &FetchTable) {
        self.clear();
        (self.place, self.serial, self.dropped) = (place, fetches.serial(), fetches.dropped().len());
    }

    /// Forgets the pages that were dropped since it last did.
    #[cold]
    fn catch_up(&mut self, fetches: &FetchTable) {
        for &page in &fetches.dropped()[self.dropped..] {
            self.drop_page(page, 0);
            // A block may begin in the page before.
            self.drop_page(page.wrapping_sub(PAGE_SIZE), PAGE_SIZE - LONGEST);
        }
        self.dropped = fetches.dropped().len();
    }

    /// Forgets entries of a page, from an offset on.
    fn drop_page(&mut self, page: u64, from: u64) {
        let Some(entries) = self.by_page.remove(&page) else { return };
        for &at in &entries {
            let at = usize::from(at);
            let linear = self.place.linear(self.entries[at][0]);
            if linear & !(PAGE_SIZE - 1) == page && linear % PAGE_SIZE >= from {
                self.wipe(at);
            }
        }
        if from == 0 {
            self.pages_filled -= entries.len();
        } else {
            self.by_page.insert(page, entries);
        }
    }

    /// Host address of the table.
    pub fn address(&self) -> usize {
        self.entries.as_ptr() as usize
    }

    /// Code for a RIP.
    #[inline]
    pub fn find(&self, rip: u64) -> Option<usize> {
        let [known, code] = self.entries[index(rip)];
        (known == rip && code != self.no_target).then_some(code as usize)
    }

    /// Remembers where the block at `rip` is.
    pub fn insert(&mut self, rip: u64, code: usize) {
        if self.pages_filled == MOST_BY_PAGE {
            self.clear();
        }
        let at = index(rip);
        self.by_page.entry(self.place.linear(rip) & !(PAGE_SIZE - 1)).or_default().push(at as u16);
        self.pages_filled += 1;
        self.entries[at] = [rip, code as u64];
    }

    /// Forgets everything.
    fn clear(&mut self) {
        if self.pages_filled < FEW {
            for at in std::mem::take(&mut self.by_page).into_values().flatten() {
                self.wipe(at.into());
            }
        } else {
            self.entries.fill([0; 2]);
            self.by_page.clear();
            self.wipe(0);
        }
        self.pages_filled = 0;
    }
}
