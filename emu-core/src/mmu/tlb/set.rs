//! The tables of one process context.

use std::alloc::{Layout, handle_alloc_error};

use zerocopy::FromZeros;

use super::fetch::FetchTable;
use super::{CONTEXTS, Context, ENTRIES, Entry, GLOBAL, PRESENT, WRITE, empty, slot};
use crate::mem::PAGE_SIZE;

/// Translations that share a slot.
const WAYS: usize = 2;
/// Slots that are remembered for clearing; beyond it whole tables are wiped.
const LOG: usize = 2048;
/// Regions of large pages are told apart by so many hash values.
const REGIONS: usize = 4096;
/// Bits of an address within a region: a large page of 2 MiB, or half of one of 4 MiB.
const REGION_SHIFT: u32 = 21;

/// What an invalidation must still hold of a page: its translation, until it is invalidated.
#[derive(Clone, Copy, Debug, Default, FromZeros)]
struct Page {
    /// Linear address, with [`PRESENT`]; 0 for none.
    tag: u64,
    /// Physical address, with [`WRITE`] and [`GLOBAL`].
    physical: u64,
}

/// A translation that the page walk found.
#[derive(Clone, Copy, Debug)]
pub struct Found {
    /// Physical address.
    pub physical: u64,
    /// Writes may go ahead too: they are permitted, and the dirty bit is set.
    pub writable: bool,
    /// It outlives loads of CR3.
    pub global: bool,
    /// Bits of an address within the page: 12, 21, 22 or 30.
    pub shift: u32,
}

/// Slots of all contexts.
const PLACES: usize = 4 * ENTRIES;
/// Bytes from an entry to the second one of its slot.
pub const SECOND: usize = PLACES * size_of::<Entry>();

/// Where pages are in host memory: for each slot the entry that was needed last, and behind all of these the one
/// before.
#[derive(Debug)]
pub(super) struct Fast(Box<[Entry; 2 * PLACES]>);

impl Fast {
    fn new() -> Self {
        let mut fast = Self(zeros());
        // All others are zeros.
        (0..PLACES).step_by(ENTRIES).for_each(|at| fast.clear(at));
        fast
    }

    /// Both entries of a slot.
    #[cfg(test)]
    pub fn both(&self, at: usize) -> [Entry; 2] {
        [self.0[at], self.0[PLACES + at]]
    }

    /// The first entry of a slot.
    #[inline(always)]
    pub fn first(&self, at: usize) -> &Entry {
        &self.0[at & (PLACES - 1)]
    }

    /// Makes an entry the first of its slot.
    pub fn put(&mut self, at: usize, entry: Entry) {
        let old = std::mem::replace(&mut self.0[at], entry);
        if old.host != 0 && old.tag != entry.tag {
            self.0[PLACES + at] = old;
        }
    }

    fn clear(&mut self, at: usize) {
        (self.0[at], self.0[PLACES + at]) = (empty(at), empty(at));
    }

    /// Empties all slots, and does not write to those that are, since the host may have no memory there yet.
    fn wipe(&mut self) {
        for (at, entry) in self.0.iter_mut().enumerate().filter(|(_, entry)| entry.host != 0) {
            *entry = empty(at);
        }
    }
}

/// The tables of one process context.
#[derive(Debug)]
pub(super) struct Set {
    pub pcid: u16,
    /// When it was last switched to.
    pub used: u64,
    /// Epochs of memory that `read` and `write` belong to.
    pub epoch: u64,
    pub map_epoch: u64,
    pub read: Fast,
    pub write: Fast,
    /// The last two of each slot, the newer one first.
    pages: Box<[[Page; WAYS]; CONTEXTS * ENTRIES]>,
    /// For supervisor and user mode.
    pub fetch: [FetchTable; 2],
    /// Slots of pages that are not global, and of those that are.
    filled: [Vec<u16>; 2],
    /// Counts the times that entries for fast access were forgotten.
    pub dropped: u64,
    /// Hash values of regions that large pages cover.
    large: Box<[u64; REGIONS / 64]>,
    any_large: bool,
    /// There are pages of 1 GiB.
    huge: bool,
}

fn region(linear: u64) -> usize {
    (linear >> REGION_SHIFT) as usize % REGIONS
}

impl Set {
    pub fn new(pcid: u16, serial: &mut u64) -> Self {
        let mut fetch = || {
            *serial += 1;
            FetchTable::new(*serial)
        };
        Self {
            pcid,
            used: 0,
            epoch: 0,
            map_epoch: 0,
            read: Fast::new(),
            write: Fast::new(),
            pages: zeros(),
            fetch: [fetch(), fetch()],
            filled: [Vec::new(), Vec::new()],
            dropped: 0,
            large: Box::new([0; REGIONS / 64]),
            any_large: false,
            huge: false,
        }
    }

    /// Physical address of `linear`, if its page is known.
    #[inline]
    pub fn find(&self, context: Context, linear: u64, write: bool) -> Option<u64> {
        let tag = linear & !(PAGE_SIZE - 1) | PRESENT;
        let page = self.pages[slot(context, linear)].iter().find(|page| page.tag == tag)?;
        (!write || page.physical & WRITE != 0)
            .then_some(page.physical & !(PAGE_SIZE - 1) | (linear % PAGE_SIZE))
    }

    /// Remembers what the page walk found.
    pub fn insert(&mut self, context: Context, linear: u64, found: Found) {
        let at = slot(context, linear);
        let flags = if found.writable { WRITE } else { 0 } | if found.global { GLOBAL } else { 0 };
        let page = Page {
            tag: linear & !(PAGE_SIZE - 1) | PRESENT,
            physical: found.physical & !(PAGE_SIZE - 1) | flags,
        };
        let ways = &mut self.pages[at];
        let known = ways.iter().position(|old| old.tag == page.tag);
        let more = known.is_some_and(|way| ways[way].physical | WRITE == page.physical | WRITE);
        match known {
            Some(way) => {
                self.dropped += u64::from(!more);
                ways[way] = page;
            }
            None if ways[0].tag == 0 => ways[0] = page,
            None => {
                self.dropped += u64::from(ways[1].tag != 0);
                *ways = [page, ways[0]];
            }
        }
        if !more {
            // Another page may have them.
            self.clear_fast(at);
            let log = &mut self.filled[usize::from(found.global)];
            if log.len() < LOG {
                log.push(at as u16);
            }
        }
        self.note_size(linear, found.shift);
    }

    /// Notes the size of a page that is kept, or fetched from.
    pub fn note_size(&mut self, linear: u64, shift: u32) {
        if shift == 12 {
            return;
        }
        self.any_large = true;
        if shift == 30 {
            self.huge = true;
            return;
        }
        for part in [linear, linear ^ 1 << REGION_SHIFT] {
            let region = region(part);
            self.large[region / 64] |= 1 << (region % 64);
        }
    }

    /// May this address lie in a large page?
    #[inline]
    pub fn in_large_page(&self, linear: u64) -> bool {
        let region = region(linear);
        self.any_large && (self.huge || self.large[region / 64] >> (region % 64) & 1 != 0)
    }

    fn clear_slot(&mut self, at: usize) {
        self.dropped += 1;
        self.clear_fast(at);
        self.pages[at] = [Page::default(); WAYS];
    }

    fn clear_fast(&mut self, at: usize) {
        self.read.clear(at);
        self.write.clear(at);
    }

    /// Forgets those pages of a slot that are meant.
    fn clear_ways(&mut self, at: usize, meant: impl Fn(Page) -> bool) {
        let ways = self.pages[at].iter_mut().filter(|way| way.tag != 0 && meant(**way));
        if ways.map(|way| *way = Page::default()).count() != 0 {
            self.dropped += 1;
            self.clear_fast(at);
        }
    }

    fn wipe_fast(&mut self, reads: bool) {
        self.write.wipe();
        if reads {
            self.read.wipe();
        }
    }

    /// Forgets where writes go in host memory, and reads too if `reads`, but not the translations.
    pub fn drop_fast(&mut self, reads: bool) {
        self.dropped += 1;
        if self.filled.iter().any(|log| log.len() == LOG) {
            return self.wipe_fast(reads);
        }
        for log in &self.filled {
            for &at in log {
                let at = usize::from(at);
                self.write.clear(at);
                if reads {
                    self.read.clear(at);
                }
            }
        }
    }

    /// Forgets everything.
    pub fn clear(&mut self, serial: &mut u64) {
        self.clear_data();
        if self.any_large {
            self.large.fill(0);
            (self.any_large, self.huge) = (false, false);
        }
        self.fetch.iter_mut().for_each(|table| table.clear(serial));
    }

    /// Forgets all translations of data accesses.
    pub fn clear_data(&mut self) {
        self.dropped += 1;
        if self.filled.iter().any(|log| log.len() == LOG) {
            self.wipe_fast(true);
            let pages = self.pages.as_flattened_mut().iter_mut();
            pages.filter(|page| page.tag != 0).for_each(|page| *page = Page::default());
            self.filled.iter_mut().for_each(Vec::clear);
        } else {
            for kind in 0..2 {
                for n in 0..self.filled[kind].len() {
                    self.clear_slot(self.filled[kind][n].into());
                }
                self.filled[kind].clear();
            }
        }
    }

    /// Forgets all but global pages.
    pub fn clear_local(&mut self, serial: &mut u64) {
        if self.filled[0].len() == LOG {
            for at in 0..CONTEXTS * ENTRIES {
                self.clear_ways(at, |page| page.physical & GLOBAL == 0);
            }
        } else {
            for n in 0..self.filled[0].len() {
                let at = usize::from(self.filled[0][n]);
                self.clear_ways(at, |page| page.physical & GLOBAL == 0);
            }
        }
        self.filled[0].clear();
        self.fetch.iter_mut().for_each(|table| table.clear_local(serial));
    }

    /// Forgets one page, however large it is.
    pub fn drop_page(&mut self, linear: u64, serial: &mut u64) {
        if self.in_large_page(linear) {
            return self.drop_region(linear, if self.huge { 30 } else { 22 }, serial);
        }
        let tag = linear & !(PAGE_SIZE - 1) | PRESENT;
        for context in [Context::Supervisor, Context::User, Context::SupervisorSmap] {
            self.clear_ways(slot(context, linear), |page| page.tag == tag);
        }
        self.fetch.iter_mut().for_each(|table| table.drop_page(linear, serial));
    }

    fn drop_region(&mut self, linear: u64, shift: u32, serial: &mut u64) {
        for at in 0..CONTEXTS * ENTRIES {
            self.clear_ways(at, |page| page.tag >> shift == linear >> shift);
        }
        self.fetch.iter_mut().for_each(|table| table.drop_region(linear, shift, serial));
    }

    /// Does every entry for fast access belong to a page that is kept?
    #[cfg(test)]
    pub fn is_consistent(&self) -> bool {
        (0..PLACES).all(|at| {
            let entries = [&self.read, &self.write].into_iter().flat_map(|fast| fast.both(at));
            entries.into_iter().all(|entry| {
                let kept = || self.pages[at].iter().any(|page| page.tag == entry.tag | PRESENT);
                entry.host == 0 || at < CONTEXTS * ENTRIES && kept()
            })
        })
    }
}

/// A table of zeros, which the host has no memory for until they are written.
pub(super) fn zeros<T: FromZeros>() -> Box<T> {
    T::new_box_zeroed().unwrap_or_else(|_| handle_alloc_error(Layout::new::<T>()))
}
