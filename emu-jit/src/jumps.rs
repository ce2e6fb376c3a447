//! The jump cache: from RIP to the code of the block there, for jumps whose target the block does not know.
//!
//! One table serves one context (process context, privilege, mode and code segment) of one processor. It leads to
//! pages only that the processor's table of instruction fetches has.

use emu_core::cpu::{CS, Cpu};
use emu_core::decode::MAX_LENGTH;
use emu_core::mem::PAGE_SIZE;
use emu_core::mmu::tlb::FetchTable;

use crate::analysis::MOST;
use crate::mode::Mode;
use crate::units::Map;

/// Entries of a new table: a small program has fewer places.
pub const LEAST: usize = 1 << 10;
/// Entries of a table at most, which are found for twice as many places of 32 MB of code.
pub const MOST_ENTRIES: usize = 1 << 19;
/// Entries of a table that was emptied at most: what ran may not run again.
const MOST_EMPTY: usize = 1 << 15;
/// Entries of all tables of a processor at most. One table of the largest size may go beyond it.
const MOST_TOGETHER: usize = 1 << 20;
/// The low half of RIP times [`FACTOR`], shifted right by so many bits, is the offset of an entry in as many bits as the
/// table has. By RIP alone places at a distance of a power of two would share entries, and aligned ones use few of them.
pub const SHIFT: i8 = 8;
/// Of 200 numbers the one that is best at its worst for places at distances of 8 to 4096 bytes in tables of all sizes;
/// the golden ratio has half of those at 128 bytes share entries in tables of one size.
pub const FACTOR: i32 = 0xa58e_e7dd_u32 as i32;

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

    /// Has the table that was selected last know the block at `rip`.
    pub fn insert(&mut self, rip: u64, code: usize) -> &Jumps {
        if self.tables[self.current].is_crowded() {
            let together: usize = self.tables.iter().map(|jumps| jumps.entries.len()).sum();
            let jumps = &mut self.tables[self.current];
            if together + jumps.entries.len() <= MOST_TOGETHER {
                jumps.grow();
            }
        }
        let jumps = &mut self.tables[self.current];
        jumps.insert(rip, code);
        jumps
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
    /// A power of two.
    entries: Box<[Jump]>,
    /// Offsets in their page of the places that were entered, by page.
    by_page: Map<u64, Vec<u16>>,
    /// How many those are.
    places: usize,
    /// Entries that gave way to others since the table has its size.
    replaced: usize,
    no_target: u64,
}

impl Jumps {
    /// An empty table; `no_target` is where nothing leads.
    fn new(no_target: usize) -> Self {
        let mut jumps = Self {
            place: Place { mode: 0, base: 0, limit: 0, mask: 0 },
            serial: 0,
            dropped: 0,
            used: 0,
            entries: Box::default(),
            by_page: Map::default(),
            places: 0,
            replaced: 0,
            no_target: no_target as u64,
        };
        jumps.renew(LEAST);
        jumps
    }

    /// A new table of so many entries.
    fn renew(&mut self, entries: usize) -> Box<[Jump]> {
        let old = std::mem::replace(&mut self.entries, vec![[0; 2]; entries].into_boxed_slice());
        self.wipe(0);
        self.replaced = 0;
        old
    }

    /// Index of the entry for a RIP.
    #[inline]
    fn index(&self, rip: u64) -> usize {
        let offset = (rip as u32).wrapping_mul(FACTOR as u32) >> SHIFT;
        (offset >> 4) as usize & (self.entries.len() - 1)
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
        if self.entries.len() > LEAST {
            self.renew(LEAST);
            self.by_page.clear();
            self.places = 0;
        }
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
        let Some(mut offsets) = self.by_page.remove(&page) else { return };
        self.places -= offsets.len();
        offsets.retain(|&offset| {
            let gone = u64::from(offset) >= from;
            if gone {
                self.forget(page | u64::from(offset));
            }
            !gone
        });
        if !offsets.is_empty() {
            self.places += offsets.len();
            self.by_page.insert(page, offsets);
        }
    }

    /// Forgets the place at a linear address.
    fn forget(&mut self, linear: u64) {
        let rip = linear.wrapping_sub(self.place.base) & self.place.mask;
        let at = self.index(rip);
        if self.entries[at][0] == rip {
            self.wipe(at);
        }
    }

    /// Host address of the table, and the bits of an offset in it.
    #[inline]
    pub fn table(&self) -> (usize, u64) {
        (self.entries.as_ptr() as usize, (self.entries.len() as u64 - 1) << 4)
    }

    /// Code for a RIP.
    #[inline]
    pub fn find(&self, rip: u64) -> Option<usize> {
        let [known, code] = self.entries[self.index(rip)];
        (known == rip && code != self.no_target).then_some(code as usize)
    }

    /// Do many places share entries that a larger table would not have them share?
    fn is_crowded(&self) -> bool {
        let entries = self.entries.len();
        let many = entries < MOST_ENTRIES && self.replaced > entries / 8 && self.places > entries / 4;
        // A few that take turns all the time cost as much.
        let often = entries < MOST_EMPTY && self.replaced > 4 * entries;
        many || often
    }

    /// Takes twice as many entries.
    #[cold]
    fn grow(&mut self) {
        let old = self.renew(2 * self.entries.len());
        for &entry in &old {
            if entry[1] != 0 && entry[1] != self.no_target {
                let at = self.index(entry[0]);
                self.entries[at] = entry;
            }
        }
    }

    /// Remembers where the block at `rip` is.
    fn insert(&mut self, rip: u64, code: usize) {
        if self.places > 2 * self.entries.len().max(MOST_EMPTY) {
            self.clear();
        }
        let linear = self.place.linear(rip);
        let offsets = self.by_page.entry(linear & !(PAGE_SIZE - 1)).or_default();
        let offset = (linear % PAGE_SIZE) as u16;
        if !offsets.contains(&offset) {
            offsets.push(offset);
            self.places += 1;
        }
        let at = self.index(rip);
        let [known, former] = self.entries[at];
        self.replaced += usize::from(former != 0 && known != rip && former != self.no_target);
        self.entries[at] = [rip, code as u64];
    }

    /// Forgets everything.
    fn clear(&mut self) {
        let by_page = std::mem::take(&mut self.by_page);
        if self.places < self.entries.len() / 8 {
            for (page, offsets) in by_page {
                offsets.into_iter().for_each(|offset| self.forget(page | u64::from(offset)));
            }
        } else if self.entries.len() > MOST_EMPTY {
            self.renew(MOST_EMPTY);
        } else {
            self.entries.fill([0; 2]);
            self.wipe(0);
        }
        (self.places, self.replaced) = (0, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOWHERE: usize = 7;

    fn contexts(tables: usize) -> Contexts {
        let mut contexts = Contexts::new(NOWHERE);
        for _ in 0..tables {
            let mut jumps = Jumps::new(NOWHERE);
            jumps.place.mask = u64::MAX;
            contexts.tables.push(jumps);
        }
        contexts
    }

    fn known(contexts: &Contexts, places: impl Iterator<Item = u64>) -> usize {
        places.filter(|&rip| contexts.tables[contexts.current].find(rip) == Some(rip as usize + 1)).count()
    }

    #[test]
    fn a_table_grows_with_what_it_has_to_know() {
        let mut contexts = contexts(1);
        for count in [100, 1 << 14, 1 << 18] {
            let places = || (0..count).map(|n| 0x7f12_3456_7009 + 64 * n);
            for _ in 0..2 {
                for rip in places() {
                    contexts.insert(rip, rip as usize + 1);
                }
            }
            let found = known(&contexts, places());
            assert!(found as u64 > count * 3 / 4, "{found} of {count}");
            let entries = contexts.tables[0].entries.len() as u64;
            assert!(entries <= 1024.max(4 * count), "{entries} entries for {count} places");
        }
    }

    /// Two hot places of a small program shared an entry for ever, and each jump to them left translated code.
    #[test]
    fn two_places_that_take_turns_in_an_entry_come_to_have_their_own() {
        let mut contexts = contexts(1);
        let first = 0x804_9000u64;
        let second =
            (first + 1..).find(|&rip| contexts.tables[0].index(rip) == contexts.tables[0].index(first));
        let second = second.expect("there is one");
        let mut misses = 0;
        for rip in [first, second].into_iter().cycle().take(1_000_000) {
            if contexts.tables[0].find(rip).is_none() {
                contexts.insert(rip, rip as usize + 1);
                misses += 1;
            }
        }
        assert!(misses < 200_000, "{misses} misses");
        assert!(contexts.tables[0].entries.len() <= MOST_EMPTY);
    }

    #[test]
    fn the_tables_of_a_processor_do_not_grow_without_end() {
        let mut contexts = contexts(MOST_CONTEXTS);
        for current in 0..MOST_CONTEXTS {
            contexts.current = current;
            for rip in (0..2 << 18).map(|n| 1 + 40 * n) {
                contexts.insert(rip, 1);
            }
        }
        let together: usize = contexts.tables.iter().map(|jumps| jumps.entries.len()).sum();
        assert!(together <= MOST_TOGETHER + MOST_ENTRIES, "{together}");
        let places: usize = contexts.tables.iter().map(|jumps| jumps.places).sum();
        assert!(places <= 2 * MOST_TOGETHER + 2 * MOST_CONTEXTS * MOST_EMPTY, "{places}");
    }

    #[test]
    fn a_page_takes_what_was_entered_before_the_table_grew() {
        let mut contexts = contexts(1);
        let places = || (0..4096).map(|n| 0x40_0000 + 16 * n);
        for rip in places().chain(places()) {
            contexts.insert(rip, rip as usize + 1);
        }
        assert!(contexts.tables[0].entries.len() > LEAST);
        let (before, in_page) = (known(&contexts, places()), known(&contexts, places().skip(512).take(256)));
        assert!(in_page > 100);
        contexts.tables[0].drop_page(0x40_2000, 0);
        assert_eq!(known(&contexts, places().skip(512).take(256)), 0);
        assert_eq!(known(&contexts, places()), before - in_page);
        // A block of the page before may go on in a page.
        let ends = known(&contexts, places().skip(1000).take(24));
        assert!(ends > 0);
        contexts.tables[0].drop_page(0x40_3000, 0xe80);
        assert_eq!(known(&contexts, places().skip(1000).take(24)), 0);
        assert_eq!(known(&contexts, places()), before - in_page - ends);
        contexts.clear();
        assert_eq!(known(&contexts, places()), 0);
        assert_eq!((contexts.tables[0].places, contexts.tables[0].replaced), (0, 0));
    }

    #[test]
    fn nothing_is_at_rip_0_before_it_is_entered() {
        let mut contexts = contexts(1);
        assert_eq!(contexts.tables[0].find(0), None);
        contexts.insert(0, 5);
        assert_eq!(contexts.tables[0].find(0), Some(5));
        contexts.clear();
        assert_eq!(contexts.tables[0].find(0), None);
        assert_eq!(contexts.tables[0].entries[0], [NO_RIP, NOWHERE as u64]);
    }
}
