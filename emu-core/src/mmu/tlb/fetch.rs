//! Translations of instruction fetches: all pages that code ran from since they were last invalidated.
//!
//! Whatever an engine derives from a linear address of code (decoded pages, jumps between blocks) holds as long as the
//! page stands here, so both engines walk page tables for fetches at the same instructions.

use std::alloc::{Layout, handle_alloc_error};

use zerocopy::FromZeros;

use super::{GLOBAL, PRESENT};
use crate::mem::PAGE_SIZE;

/// Places for pages, twice as many as are kept; where that is not enough they are doubled.
const SLOTS: usize = 4096;
/// Most pages that are kept, those of 128 MB of code; with the next one all are forgotten.
const MOST: usize = 1 << 15;
/// Pages that are told one by one when they are forgotten.
const MOST_DROPPED: usize = 64;
/// The tag of a place whose page is forgotten.
const DROPPED: u64 = 2;

/// One translation; a tag of 0 stands for none.
#[derive(Clone, Copy, Debug, Default, FromZeros)]
struct Slot {
    /// Linear address of the page, with [`PRESENT`].
    tag: u64,
    /// Physical address of the page, perhaps with [`GLOBAL`].
    physical: u64,
}

/// The pages that code of one privilege (user or supervisor) ran from.
#[derive(Debug)]
pub struct FetchTable {
    /// A power of two.
    slots: Vec<Slot>,
    /// Those that hold a page or held one.
    filled: Vec<u32>,
    /// How many of them are global, and how many not.
    globals: usize,
    locals: usize,
    serial: u64,
    dropped: Vec<u64>,
}

fn free(slots: usize) -> Vec<Slot> {
    // Zeros take no memory until they are touched.
    Slot::new_vec_zeroed(slots).unwrap_or_else(|_| handle_alloc_error(Layout::new::<Slot>()))
}

impl FetchTable {
    pub(super) fn new(serial: u64) -> Self {
        Self { slots: free(SLOTS), filled: Vec::new(), globals: 0, locals: 0, serial, dropped: Vec::new() }
    }

    /// Changes when more is forgotten than [`dropped`](Self::dropped) tells. No two tables of a processor ever have the
    /// same.
    #[inline]
    pub fn serial(&self) -> u64 {
        self.serial
    }

    /// Linear addresses of the pages that were forgotten since the serial number changed, in this order.
    #[inline]
    pub fn dropped(&self) -> &[u64] {
        &self.dropped
    }

    /// Place of a page, or the free one where it belongs.
    fn place(&self, page: u64) -> usize {
        let hash = (page >> 12).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut at = (hash >> (64 - self.slots.len().trailing_zeros())) as usize;
        loop {
            let tag = self.slots[at].tag;
            if tag == page | PRESENT || tag == 0 {
                return at;
            }
            at = (at + 1) & (self.slots.len() - 1);
        }
    }

    /// Physical address of `linear`, if its page is known.
    #[inline]
    pub fn find(&self, linear: u64) -> Option<u64> {
        let slot = self.slots[self.place(linear & !(PAGE_SIZE - 1))];
        (slot.tag != 0).then_some(slot.physical & !(PAGE_SIZE - 1) | (linear % PAGE_SIZE))
    }

    /// Remembers a page. True when all others were forgotten for it.
    pub(super) fn insert(&mut self, linear: u64, physical: u64, global: bool, serial: &mut u64) -> bool {
        let full = self.globals + self.locals == MOST;
        if full {
            self.clear(serial);
        } else if self.filled.len() == self.slots.len() / 2 {
            self.make_room();
        }
        let page = linear & !(PAGE_SIZE - 1);
        let at = self.place(page);
        debug_assert_eq!(self.slots[at].tag, 0, "only pages that are not known are walked for");
        let flags = if global { GLOBAL } else { 0 };
        self.slots[at] = Slot { tag: page | PRESENT, physical: physical & !(PAGE_SIZE - 1) | flags };
        self.filled.push(at as u32);
        *(if global { &mut self.globals } else { &mut self.locals }) += 1;
        full
    }

    /// Moves its pages to places of which three quarters are free at least.
    #[cold]
    fn make_room(&mut self) {
        let pages = self.globals + self.locals;
        let slots = (4 * pages).next_power_of_two().max(SLOTS);
        let old = std::mem::replace(&mut self.slots, free(slots));
        for at in std::mem::take(&mut self.filled) {
            let slot = old[at as usize];
            if slot.tag != DROPPED {
                self.put_back(slot);
            }
        }
    }

    fn put_back(&mut self, slot: Slot) {
        let at = self.place(slot.tag & !PRESENT);
        self.slots[at] = slot;
        self.filled.push(at as u32);
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self, serial: &mut u64) {
        if self.filled.is_empty() {
            return;
        }
        if self.slots.len() > SLOTS && self.filled.len() < self.slots.len() / 8 {
            self.slots = free(SLOTS);
            self.filled.clear();
        }
        for at in self.filled.drain(..) {
            self.slots[at as usize] = Slot::default();
        }
        (self.globals, self.locals) = (0, 0);
        self.renew(serial);
    }

    /// Has everything that was derived forgotten.
    pub(super) fn renew(&mut self, serial: &mut u64) {
        *serial += 1;
        self.serial = *serial;
        self.dropped.clear();
    }

    /// Forgets all but global pages.
    pub(super) fn clear_local(&mut self, serial: &mut u64) {
        if self.globals == 0 {
            return self.clear(serial);
        }
        if self.locals == 0 {
            return;
        }
        let known: Vec<Slot> = self.filled.iter().map(|&at| self.slots[at as usize]).collect();
        let (global, local): (Vec<Slot>, Vec<Slot>) = known
            .into_iter()
            .filter(|slot| slot.tag != DROPPED)
            .partition(|slot| slot.physical & GLOBAL != 0);
        self.locals = 0;
        for at in self.filled.drain(..) {
            self.slots[at as usize] = Slot::default();
        }
        for slot in global {
            self.put_back(slot);
        }
        for slot in local {
            self.tell(slot.tag & !PRESENT, serial);
        }
    }

    fn tell(&mut self, page: u64, serial: &mut u64) {
        if self.dropped.len() == MOST_DROPPED {
            self.renew(serial);
        } else {
            self.dropped.push(page);
        }
    }

    /// Forgets one page.
    pub(super) fn drop_page(&mut self, linear: u64, serial: &mut u64) {
        let page = linear & !(PAGE_SIZE - 1);
        let at = self.place(page);
        self.drop_at(at, serial);
    }

    fn drop_at(&mut self, at: usize, serial: &mut u64) {
        let Slot { tag, physical } = self.slots[at];
        if tag & PRESENT != 0 {
            *(if physical & GLOBAL != 0 { &mut self.globals } else { &mut self.locals }) -= 1;
            self.slots[at] = Slot { tag: DROPPED, physical: 0 };
            self.tell(tag & !PRESENT, serial);
        }
    }

    /// Forgets the pages of an aligned region of 2 to the power of `shift` bytes.
    pub(super) fn drop_region(&mut self, linear: u64, shift: u32, serial: &mut u64) {
        for n in 0..self.filled.len() {
            let at = self.filled[n] as usize;
            if self.slots[at].tag >> shift == linear >> shift {
                self.drop_at(at, serial);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_found_until_they_are_dropped_and_the_drop_is_told() {
        let mut serial = 1;
        let mut table = FetchTable::new(1);
        for page in 0..1000 {
            table.insert(page << 12, page << 20, page % 3 == 0, &mut serial);
        }
        assert_eq!(table.find(0x7123), Some(0x70_0123));
        table.drop_page(0x7fff, &mut serial);
        assert_eq!((table.find(0x7000), table.find(0x8000)), (None, Some(0x80_0000)));
        assert_eq!((table.serial(), table.dropped()), (1, &[0x7000][..]));
        table.drop_region(0x20_0000, 21, &mut serial);
        assert!(table.serial() > 1, "512 pages are too many to tell");
        assert_eq!((table.find(0x1f_f000), table.find(0x20_0000)), (Some(0x1ff0_0000), None));
    }

    #[test]
    fn global_pages_outlive_the_others() {
        let mut serial = 1;
        let mut table = FetchTable::new(1);
        for page in 0..40 {
            table.insert(page << 12, page << 20, page >= 20, &mut serial);
        }
        table.clear_local(&mut serial);
        assert_eq!((table.serial(), table.dropped().len()), (1, 20));
        assert!((0..40).all(|page| table.find(page << 12).is_some() == (page >= 20)));
        table.clear_local(&mut serial);
        assert_eq!(table.dropped().len(), 20);
    }

    #[test]
    fn a_full_table_starts_again() {
        let mut serial = 1;
        let mut table = FetchTable::new(1);
        let cleared =
            (0..=MOST as u64).filter(|page| table.insert(page << 12, 0, false, &mut serial)).count();
        assert_eq!(cleared, 1);
        assert_eq!((table.find(0), table.find((MOST as u64) << 12)), (None, Some(0)));
    }

    #[test]
    fn many_pages_are_kept_and_what_they_leave_is_used_again() {
        let mut serial = 1;
        let mut table = FetchTable::new(1);
        for page in 0..20_000 {
            assert!(!table.insert(page << 12, page << 20, page % 3 == 0, &mut serial));
        }
        assert!((0..20_000).all(|page| table.find(page << 12 | 5) == Some(page << 20 | 5)));
        assert!(table.slots.len() <= 1 << 16);
        table.drop_region(0, 25, &mut serial);
        assert!((0..20_000).all(|page| table.find(page << 12).is_some() == (page >= 8192)));
        for round in 1..20 {
            (0..8192).for_each(|page| _ = table.insert(page << 12, round << 30, false, &mut serial));
            assert_eq!(table.find(0x7000), Some(round << 30));
            assert_eq!(table.find(19_999 << 12), Some(19_999 << 20));
            table.drop_region(0, 25, &mut serial);
        }
        assert!(table.slots.len() <= 1 << 16, "{} places", table.slots.len());
        table.clear_local(&mut serial);
        assert_eq!((table.find(8193 << 12), table.find(8194 << 12)), (Some(8193 << 20), None));
        table.clear(&mut serial);
        assert!((0..20_000).all(|page| table.find(page << 12).is_none()));
        table.insert(0, 0, false, &mut serial);
        table.clear(&mut serial);
        assert_eq!(table.slots.len(), SLOTS, "a table that is little used takes little memory");
    }
}
