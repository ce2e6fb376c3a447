//! The translation cache, in two layers.
//!
//! The lower layer is what software can see of such caches: translations, from the page walk that made them until they
//! are invalidated, with a set of tables for each of the last process contexts (PCIDs). SDM 3A, "Caching Translation
//! Information". Both engines ask it at the same accesses, so they walk page tables (and set accessed and dirty bits)
//! at the same ones, whatever a guest does without invalidating.
//!
//! The upper layer ([`Entry`]) says for some of these pages where they are in host memory. An entry exists only for an
//! access that needs no further notice: the page is RAM or ROM, and (for writes) the frame is dirty already and holds
//! no code. It may be forgotten at any time; the slow path then finds the page in the lower layer.

mod fetch;
mod set;

pub use fetch::FetchTable;
pub use set::{Found, SECOND};

use zerocopy::FromZeros;

use crate::mem::PAGE_SIZE;
use set::Set;

/// Entries in one table. Translated code finds an entry by the low bits of the page number.
pub const ENTRIES: usize = 4096;
/// Contexts whose translations are kept: all but [`Context::Watched`].
const CONTEXTS: usize = 3;
/// Process contexts that are remembered.
const MOST_SETS: usize = 8;
/// Pages that global translations were made for are told apart by so many hash values.
const GLOBALS: usize = 1 << 15;
/// The tag of an empty entry: the first page's, which belongs to slot 0, so an access that looks into any other slot
/// never comes near it; slot 0 has the next page's (see [`empty`]). Guests may try any address, canonical or not.
/// Tables of such entries are zeros but for slot 0: they take no memory of the host until they are used.
const NO_TAG: u64 = 0;

/// In the tag of a page: there is one.
const PRESENT: u64 = 1;
/// In a physical address: writes may go ahead.
const WRITE: u64 = 1;
/// In a physical address: the page is global.
const GLOBAL: u64 = 2;

/// Permissions under which translations were made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Context {
    /// CPL 0 to 2.
    Supervisor = 0,
    /// CPL 3.
    User = 1,
    /// Supervisor while SMAP forbids access to user pages.
    SupervisorSmap = 2,
    /// No entries for fast access: each access is looked at (alignment checks). Translations are those of `User`.
    Watched = 3,
}

/// Where a page is in host memory.
#[derive(Clone, Copy, Debug, FromZeros)]
#[repr(C)]
pub struct Entry {
    /// Linear address of the page.
    pub tag: u64,
    /// Host address of the page.
    pub host: u64,
}

/// An empty entry for a slot: its tag is the address of a page that another slot would hold.
const fn empty(slot: usize) -> Entry {
    Entry { tag: if slot.is_multiple_of(ENTRIES) { NO_TAG + PAGE_SIZE } else { NO_TAG }, host: 0 }
}

#[inline(always)]
fn slot(context: Context, linear: u64) -> usize {
    (context as usize * ENTRIES) | ((linear >> 12) as usize & (ENTRIES - 1))
}

/// The translation caches of one processor.
#[derive(Debug)]
pub struct Tlb {
    set: Set,
    others: Vec<Set>,
    /// Of the last fetch table.
    serial: u64,
    /// Counts switches between process contexts.
    clock: u64,
    globals: Box<[u64; GLOBALS / 64]>,
    /// Protection keys of the pages that translations of data accesses are kept for, a bit for each: of supervisor
    /// pages, and of user pages.
    keys: [u16; 2],
    /// Translations made by page walks, for statistics.
    pub fills: u64,
    /// Times that everything, or everything but global pages, was forgotten, for statistics.
    pub flushes: u64,
}

impl Default for Tlb {
    fn default() -> Self {
        let mut serial = 0;
        Self {
            set: Set::new(0, &mut serial),
            others: Vec::new(),
            serial,
            clock: 0,
            globals: Box::new([0; GLOBALS / 64]),
            keys: [0; 2],
            fills: 0,
            flushes: 0,
        }
    }
}

fn global_bit(linear: u64) -> (usize, u64) {
    let hash = (linear >> 12).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - GLOBALS.ilog2());
    (hash as usize / 64, 1 << (hash % 64))
}

impl Tlb {
    /// The entry where a read of `linear` would be.
    #[inline(always)]
    pub fn read(&self, context: Context, linear: u64) -> Entry {
        *self.set.read.first(slot(context, linear))
    }

    /// The entry where a write to `linear` would be.
    #[inline(always)]
    pub fn write(&self, context: Context, linear: u64) -> Entry {
        *self.set.write.first(slot(context, linear))
    }

    /// Host addresses of the tables of [`Entry`] for reads and writes in a context. They change with the process
    /// context.
    #[inline]
    pub fn tables(&self, context: Context) -> (usize, usize) {
        let first = context as usize * ENTRIES;
        let at = |fast: &set::Fast| std::ptr::from_ref(fast.first(first)) as usize;
        (at(&self.set.read), at(&self.set.write))
    }

    /// Changes whenever an [`Entry`] that one of [`tables`](Self::tables) had may be there no longer.
    #[inline]
    pub fn losses(&self) -> (u64, u64) {
        (self.clock, self.set.dropped)
    }

    /// Where code of user mode (or of the supervisor) runs from.
    #[inline]
    pub fn fetches(&self, user: bool) -> &FetchTable {
        &self.set.fetch[usize::from(user)]
    }

    /// Physical address of `linear` for a read (or a write, if `write`), if its translation is known.
    #[inline]
    pub fn find(&self, context: Context, linear: u64, write: bool) -> Option<u64> {
        self.set.find(context, linear, write)
    }

    /// Remembers the translation of a data access.
    pub fn insert(&mut self, context: Context, linear: u64, found: Found) {
        self.fills += 1;
        self.note_global(linear, found);
        self.set.insert(context, linear, found);
    }

    /// Remembers the translation of an instruction fetch. True when others had to be forgotten for it.
    pub fn insert_fetch(&mut self, user: bool, linear: u64, found: Found) -> bool {
        self.fills += 1;
        self.note_global(linear, found);
        self.set.note_size(linear, found.shift);
        self.set.fetch[usize::from(user)].insert(linear, found.physical, found.global, &mut self.serial)
    }

    /// Notes the protection key of a page (a user page, if `user`) before its translation is remembered.
    pub fn note_key(&mut self, user: bool, key: u64) {
        self.keys[usize::from(user)] |= 1 << (key & 15);
    }

    /// May translations be kept of pages (user pages, if `user`) with one of these protection keys (a bit for each)?
    pub fn has_keys(&self, user: bool, keys: u16) -> bool {
        self.keys[usize::from(user)] & keys != 0
    }

    fn note_global(&mut self, linear: u64, found: Found) {
        if found.global {
            let (word, bit) = global_bit(linear);
            self.globals[word] |= bit;
        }
    }

    /// Remembers where reads (and writes, if `write`) of a page go. Its translation is known.
    pub fn fill(&mut self, context: Context, linear: u64, host: usize, write: bool) {
        if context == Context::Watched {
            return;
        }
        debug_assert!(self.set.find(context, linear, write).is_some(), "a page without its translation");
        let slot = slot(context, linear);
        let entry = Entry { tag: linear & !(PAGE_SIZE - 1), host: host as u64 };
        if write {
            self.set.write.put(slot, entry);
        } else {
            self.set.read.put(slot, entry);
        }
    }

    /// Takes notice of memory's epochs: where pages are in host memory may have changed, and for a new `map_epoch`
    /// what lies at physical addresses.
    pub fn note_epoch(&mut self, epoch: u64, map_epoch: u64) {
        let set = &mut self.set;
        if set.map_epoch != map_epoch {
            set.drop_fast(true);
            set.fetch.iter_mut().for_each(|table| table.renew(&mut self.serial));
        } else if set.epoch != epoch {
            set.drop_fast(false);
        }
        (set.epoch, set.map_epoch) = (epoch, map_epoch);
    }

    /// Has everything forgotten that was derived from translations, but not the translations: software cannot notice.
    pub fn forget_derived(&mut self) {
        for set in std::iter::once(&mut self.set).chain(&mut self.others) {
            set.drop_fast(true);
            set.fetch.iter_mut().for_each(|table| table.renew(&mut self.serial));
        }
    }

    /// Forgets everything, of all process contexts.
    pub fn flush(&mut self) {
        self.flushes += 1;
        self.set.clear(&mut self.serial);
        self.others.iter_mut().for_each(|set| set.clear(&mut self.serial));
        self.globals.fill(0);
        self.keys = [0; 2];
    }

    /// Forgets the translations of data accesses, of all process contexts.
    pub fn flush_data(&mut self) {
        self.flushes += 1;
        self.set.clear_data();
        self.others.iter_mut().for_each(Set::clear_data);
        self.keys = [0; 2];
    }

    /// Forgets everything but global pages, of all process contexts.
    pub fn flush_local(&mut self) {
        self.flushes += 1;
        self.set.clear_local(&mut self.serial);
        self.others.iter_mut().for_each(|set| set.clear_local(&mut self.serial));
    }

    /// Forgets everything but global pages of one process context.
    pub fn flush_pcid(&mut self, pcid: u16) {
        self.flushes += 1;
        let known = std::iter::once(&mut self.set).chain(&mut self.others);
        known.filter(|set| set.pcid == pcid).for_each(|set| set.clear_local(&mut self.serial));
    }

    /// Makes `pcid` the process context, and forgets all of it but global pages unless `keep` is set.
    pub fn switch(&mut self, pcid: u16, keep: bool) {
        if pcid != self.set.pcid {
            let (epoch, map_epoch) = (self.set.epoch, self.set.map_epoch);
            let at = self.number_of(pcid);
            std::mem::swap(&mut self.set, &mut self.others[at]);
            self.note_epoch(epoch, map_epoch);
            self.clock += 1;
            self.set.used = self.clock;
        }
        if !keep {
            self.flushes += 1;
            self.set.clear_local(&mut self.serial);
        }
    }

    /// Where among the others the tables of a process context are; made now, or taken from the one that was used
    /// longest ago.
    fn number_of(&mut self, pcid: u16) -> usize {
        if let Some(at) = self.others.iter().position(|set| set.pcid == pcid) {
            return at;
        }
        if self.others.len() + 1 < MOST_SETS {
            self.others.push(Set::new(pcid, &mut self.serial));
            return self.others.len() - 1;
        }
        let oldest = (0..self.others.len()).min_by_key(|&at| self.others[at].used).unwrap_or(0);
        self.others[oldest].clear(&mut self.serial);
        self.others[oldest].pcid = pcid;
        oldest
    }

    /// Forgets a page: of this process context, and of all if it is global.
    pub fn flush_page(&mut self, linear: u64) {
        self.set.drop_page(linear, &mut self.serial);
        let (word, bit) = global_bit(linear);
        let global = self.globals[word] & bit != 0;
        for set in &mut self.others {
            if global || set.in_large_page(linear) {
                set.drop_page(linear, &mut self.serial);
            }
        }
    }

    /// Forgets a page of one process context.
    pub fn flush_page_of(&mut self, pcid: u16, linear: u64) {
        let known = std::iter::once(&mut self.set).chain(&mut self.others);
        known.filter(|set| set.pcid == pcid).for_each(|set| set.drop_page(linear, &mut self.serial));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(physical: u64) -> Found {
        Found { physical, writable: false, global: false, shift: 12 }
    }

    fn global(physical: u64) -> Found {
        Found { global: true, ..page(physical) }
    }

    /// Remembers a page and its place in the host.
    fn fill(tlb: &mut Tlb, context: Context, linear: u64, found: Found) {
        tlb.insert(context, linear, found);
        tlb.fill(context, linear, 0x1000, false);
        if found.writable {
            tlb.fill(context, linear, 0x1000, true);
        }
        assert!(tlb.set.is_consistent());
    }

    fn knows(tlb: &Tlb, linear: u64) -> bool {
        let fast = tlb.read(Context::User, linear).tag == linear;
        assert_eq!(fast, tlb.find(Context::User, linear, false).is_some());
        fast
    }

    #[test]
    fn one_subtraction_checks_tag_and_page_crossing() {
        let mut tlb = Tlb::default();
        fill(&mut tlb, Context::User, 0x5000, page(0x1000));
        let offset = |linear: u64| linear.wrapping_sub(tlb.read(Context::User, linear).tag);
        assert_eq!(offset(0x5ffc), 0xffc);
        assert!(offset(0x6000) > 4095);
        assert_eq!(tlb.read(Context::Supervisor, 0x5000).tag, NO_TAG);
    }

    #[test]
    fn no_address_matches_an_empty_entry() {
        let tlb = Tlb::default();
        let slots = (ENTRIES as u64) << 12;
        let near = [0, 1, 2, 3, ENTRIES as u64 - 1, 1 << 51].map(|page| page * PAGE_SIZE);
        let all = near.into_iter().chain(near.map(u64::wrapping_neg)).chain(near.map(|page| page ^ slots));
        for linear in all.chain(near.map(|page| page.wrapping_sub(8))) {
            for context in [Context::Supervisor, Context::User, Context::SupervisorSmap, Context::Watched] {
                for entry in [tlb.read(context, linear), tlb.write(context, linear)] {
                    assert!(linear.wrapping_sub(entry.tag) >= PAGE_SIZE, "{linear:#x} {context:?}");
                }
            }
            for user in [false, true] {
                assert_eq!(tlb.fetches(user).find(linear), None);
            }
        }
    }

    #[test]
    fn the_watched_context_has_no_fast_entries() {
        let mut tlb = Tlb::default();
        tlb.fill(Context::Watched, 0x5000, 0x1000, true);
        assert_eq!(tlb.write(Context::Watched, 0x5000).tag, NO_TAG);
    }

    #[test]
    fn flushing_forgets_everything_by_log_and_in_bulk() {
        for pages in [10, 5000] {
            let mut tlb = Tlb::default();
            for n in 0..pages {
                tlb.insert(Context::Supervisor, n << 12, page(0x1000));
                tlb.fill(Context::Supervisor, n << 12, 0x1000, false);
            }
            tlb.flush();
            for at in 0..4 * ENTRIES {
                let entries = [tlb.set.read.both(at), tlb.set.write.both(at)];
                assert!(entries.as_flattened().iter().all(|entry| entry.host == 0));
            }
            assert!((0..pages).all(|n| tlb.find(Context::Supervisor, n << 12, false).is_none()));
        }
    }

    #[test]
    fn global_pages_outlive_a_load_of_cr3() {
        for pages in [10, 3000] {
            let mut tlb = Tlb::default();
            for n in 0..pages {
                fill_quick(&mut tlb, n << 12, n % 2 == 0);
            }
            tlb.switch(0, false);
            assert!((0..pages).all(|n| knows(&tlb, n << 12) == (n % 2 == 0)));
            assert!(tlb.set.is_consistent());
        }
    }

    fn fill_quick(tlb: &mut Tlb, linear: u64, is_global: bool) {
        tlb.insert(Context::User, linear, if is_global { global(0x1000) } else { page(0x1000) });
        tlb.fill(Context::User, linear, 0x1000, false);
    }

    #[test]
    fn process_contexts_keep_their_pages_until_too_many_come() {
        let mut tlb = Tlb::default();
        for pcid in 0..MOST_SETS as u16 {
            tlb.switch(pcid, true);
            fill(&mut tlb, Context::User, 0x5000, page(u64::from(pcid) << 12));
        }
        tlb.switch(1, true);
        assert_eq!(tlb.find(Context::User, 0x5123, false), Some(0x1123));
        tlb.switch(2, false);
        assert!(!knows(&tlb, 0x5000));
        tlb.switch(100, true);
        assert!(!knows(&tlb, 0x5000), "the oldest one's pages must not show");
        tlb.switch(1, true);
        assert!(knows(&tlb, 0x5000));
        tlb.switch(0, true);
        assert!(!knows(&tlb, 0x5000), "0 was the oldest");
    }

    #[test]
    fn a_page_is_invalidated_here_and_where_it_is_global() {
        let mut tlb = Tlb::default();
        fill(&mut tlb, Context::User, 0x5000, page(0x1000));
        fill(&mut tlb, Context::User, 0x6000, global(0x1000));
        tlb.switch(1, true);
        tlb.flush_page(0x5fff);
        tlb.flush_page(0x6fff);
        tlb.switch(0, true);
        assert_eq!((knows(&tlb, 0x5000), knows(&tlb, 0x6000)), (true, false));
        tlb.flush_page_of(0, 0x5000);
        assert!(!knows(&tlb, 0x5000));
    }

    #[test]
    fn a_large_page_is_invalidated_whole() {
        for (shift, size) in [(21, 1 << 21), (22, 1 << 22), (30, 1 << 30)] {
            let mut tlb = Tlb::default();
            let base = 0x1_4000_0000;
            for at in [0, 0x3000, size - 0x1000] {
                fill(&mut tlb, Context::User, base + at, Found { shift, ..page(at) });
                tlb.insert_fetch(true, base + at, Found { shift, ..page(at) });
            }
            tlb.flush_page(base + size / 2);
            for at in [0, 0x3000, size - 0x1000] {
                assert!(!knows(&tlb, base + at), "{at:#x} of 2^{shift}");
                assert_eq!(tlb.fetches(true).find(base + at), None);
            }
        }
    }

    #[test]
    fn memory_changes_take_fast_entries_but_no_translations() {
        let mut tlb = Tlb::default();
        tlb.note_epoch(1, 1);
        fill(&mut tlb, Context::User, 0x5000, Found { writable: true, ..page(0x1000) });
        tlb.note_epoch(2, 1);
        assert!(knows(&tlb, 0x5000) && tlb.write(Context::User, 0x5000).host == 0);
        tlb.note_epoch(3, 2);
        assert_eq!(tlb.read(Context::User, 0x5000).host, 0);
        assert_eq!(tlb.find(Context::User, 0x5000, true), Some(0x1000));
    }

    #[test]
    fn another_process_context_learns_of_memory_changes_when_it_is_switched_to() {
        let mut tlb = Tlb::default();
        tlb.note_epoch(1, 1);
        fill(&mut tlb, Context::User, 0x5000, page(0x1000));
        tlb.switch(1, true);
        tlb.note_epoch(2, 2);
        tlb.switch(0, true);
        assert_eq!(tlb.read(Context::User, 0x5000).host, 0);
    }

    #[test]
    fn a_page_that_takes_a_slot_takes_its_fast_entries_and_the_third_its_translation() {
        let mut tlb = Tlb::default();
        let place = |n: u64| 0x5000 + (n * ENTRIES as u64) * PAGE_SIZE;
        fill(&mut tlb, Context::User, place(0), Found { writable: true, ..page(0x1000) });
        let before = tlb.losses();
        tlb.insert(Context::User, place(1), page(0x9000));
        assert_eq!(tlb.read(Context::User, place(0)).host, 0);
        assert_eq!(tlb.find(Context::User, place(0), true), Some(0x1000));
        assert_eq!(tlb.losses(), before, "nothing is lost yet");
        tlb.insert(Context::User, place(2), page(0xa000));
        assert_eq!(tlb.find(Context::User, place(0), false), None);
        assert_eq!(tlb.find(Context::User, place(1), false), Some(0x9000));
        assert_ne!(tlb.losses(), before);
        assert!(tlb.set.is_consistent());
    }

    #[test]
    fn rights_of_data_accesses_leave_instruction_fetches_alone() {
        let mut tlb = Tlb::default();
        fill(&mut tlb, Context::User, 0x5000, page(0x1000));
        tlb.insert_fetch(true, 0x6000, page(0x2000));
        tlb.switch(1, true);
        let serial = tlb.fetches(true).serial();
        tlb.flush_data();
        assert_eq!(tlb.fetches(true).serial(), serial);
        tlb.switch(0, true);
        assert!(!knows(&tlb, 0x5000));
        assert_eq!(tlb.fetches(true).find(0x6123), Some(0x2123));
    }

    #[test]
    fn whatever_forgets_a_page_counts_as_a_loss() {
        type Forget = fn(&mut Tlb);
        let ways: [(&str, Forget); 9] = [
            ("flush", |tlb| tlb.flush()),
            ("flush_data", |tlb| tlb.flush_data()),
            ("flush_local", |tlb| tlb.flush_local()),
            ("flush_pcid", |tlb| tlb.flush_pcid(0)),
            ("flush_page", |tlb| tlb.flush_page(0x5000)),
            ("flush_page_of", |tlb| tlb.flush_page_of(0, 0x5000)),
            ("switch", |tlb| tlb.switch(1, true)),
            ("note_epoch", |tlb| tlb.note_epoch(7, 0)),
            ("forget_derived", |tlb| tlb.forget_derived()),
        ];
        for (name, forget) in ways {
            let mut tlb = Tlb::default();
            fill(&mut tlb, Context::User, 0x5000, Found { writable: true, ..page(0x1000) });
            let before = tlb.losses();
            forget(&mut tlb);
            assert_ne!(tlb.losses(), before, "{name}");
        }
    }
}
