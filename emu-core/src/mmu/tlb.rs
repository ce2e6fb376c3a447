//! The translation cache: linear page to host address, for accesses that need no further notice.
//!
//! An entry exists only for an access that may go ahead at once: the page is RAM or ROM, the access is
//! permitted in this context, accessed and dirty bits are set, and (for writes) the frame is dirty already
//! and holds no code. Everything else takes the slow path, each time.

use crate::mem::PAGE_SIZE;

/// Entries in one table. Translated code finds an entry by the low bits of the page number.
pub const ENTRIES: usize = 4096;
/// The tag of an empty entry. It belongs to slot 0, so an access that looks into any other slot never comes
/// near it; slot 0 has the next page's (see [`empty`]). Guests may try any address, canonical or not.
const NO_TAG: u64 = 0x8000_0000_0000_0000;
/// The tag of an empty fetch entry: no fetch has this context in its low bits.
const NO_FETCH: u64 = NO_TAG | Context::Watched as u64;

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
    /// Never filled: each access is looked at (alignment checks, data breakpoints).
    Watched = 3,
}

/// One cached translation.
#[derive(Clone, Copy, Debug)]
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

/// One cached instruction-fetch translation.
#[derive(Clone, Copy, Debug)]
pub struct FetchEntry {
    /// Linear address of the page, with the context in bits 1:0.
    pub tag: u64,
    /// Frame, see [`crate::mem::page`].
    pub frame: u32,
}

/// The translation caches of one processor.
#[derive(Debug)]
pub struct Tlb {
    read: Box<[Entry; 4 * ENTRIES]>,
    write: Box<[Entry; 4 * ENTRIES]>,
    fetch: Box<[FetchEntry; FETCH_ENTRIES]>,
    filled: Vec<u16>,
    /// Fills, for statistics.
    pub fills: u64,
    /// Flushes of everything, for statistics.
    pub flushes: u64,
    /// Changes whenever anything is forgotten.
    pub generation: u64,
}

const FETCH_ENTRIES: usize = 256;
/// Above this many fills a flush wipes the tables instead of walking the log.
const LOG: usize = 2048;

impl Default for Tlb {
    fn default() -> Self {
        Self {
            read: Box::new(std::array::from_fn(empty)),
            write: Box::new(std::array::from_fn(empty)),
            fetch: Box::new([FetchEntry { tag: NO_FETCH, frame: 0 }; FETCH_ENTRIES]),
            filled: Vec::with_capacity(LOG),
            fills: 0,
            flushes: 0,
            generation: 0,
        }
    }
}

#[inline(always)]
fn slot(context: Context, linear: u64) -> usize {
    (context as usize * ENTRIES) | ((linear >> 12) as usize & (ENTRIES - 1))
}

impl Tlb {
    /// The entry where a read of `linear` would be.
    #[inline(always)]
    pub fn read(&self, context: Context, linear: u64) -> Entry {
        self.read[slot(context, linear) & (4 * ENTRIES - 1)]
    }

    /// The entry where a write to `linear` would be.
    #[inline(always)]
    pub fn write(&self, context: Context, linear: u64) -> Entry {
        self.write[slot(context, linear) & (4 * ENTRIES - 1)]
    }

    /// Host addresses of the tables of [`Entry`] for reads and writes in a context. They stay where they are.
    pub fn tables(&self, context: Context) -> (usize, usize) {
        let first = context as usize * ENTRIES;
        (&raw const self.read[first] as usize, &raw const self.write[first] as usize)
    }

    /// Frame from which `linear` is executed, if cached.
    #[inline(always)]
    pub fn fetch(&self, context: Context, linear: u64) -> Option<u32> {
        let entry = self.fetch[(linear >> 12) as usize & (FETCH_ENTRIES - 1)];
        (entry.tag == (linear & !0xfff | context as u64)).then_some(entry.frame)
    }

    /// Remembers where reads (and writes, if `write`) of a page go.
    pub fn fill(&mut self, context: Context, linear: u64, host: usize, write: bool) {
        if context == Context::Watched {
            return;
        }
        let slot = slot(context, linear);
        let entry = Entry { tag: linear & !(PAGE_SIZE - 1), host: host as u64 };
        if self.filled.len() < LOG {
            self.filled.push(slot as u16);
        }
        self.fills += 1;
        if write {
            self.write[slot] = entry;
        } else {
            self.read[slot] = entry;
        }
    }

    /// Remembers from which frame a page is executed.
    pub fn fill_fetch(&mut self, context: Context, linear: u64, frame: u32) {
        let tag = linear & !0xfff | context as u64;
        self.fetch[(linear >> 12) as usize & (FETCH_ENTRIES - 1)] = FetchEntry { tag, frame };
    }

    /// Forgets everything.
    pub fn flush(&mut self) {
        self.flushes += 1;
        self.generation += 1;
        if self.filled.len() < LOG {
            for slot in self.filled.drain(..) {
                let slot = usize::from(slot);
                self.read[slot] = empty(slot);
                self.write[slot] = empty(slot);
            }
        } else {
            for (slot, (read, write)) in self.read.iter_mut().zip(self.write.iter_mut()).enumerate() {
                *read = empty(slot);
                *write = empty(slot);
            }
            self.filled.clear();
        }
        self.fetch.fill(FetchEntry { tag: NO_FETCH, frame: 0 });
    }

    /// Forgets one page.
    pub fn flush_page(&mut self, linear: u64) {
        self.generation += 1;
        for context in [Context::Supervisor, Context::User, Context::SupervisorSmap] {
            let slot = slot(context, linear);
            self.read[slot] = empty(slot);
            self.write[slot] = empty(slot);
        }
        self.fetch[(linear >> 12) as usize & (FETCH_ENTRIES - 1)].tag = NO_FETCH;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_subtraction_checks_tag_and_page_crossing() {
        let mut tlb = Tlb::default();
        tlb.fill(Context::User, 0x5000, 0x1000, false);
        let offset = |linear: u64| linear.wrapping_sub(tlb.read(Context::User, linear).tag);
        assert_eq!(offset(0x5ffc), 0xffc);
        assert!(offset(0x6000) > 4095);
        assert_eq!(tlb.read(Context::Supervisor, 0x5000).tag, NO_TAG);
    }

    #[test]
    fn no_address_matches_an_empty_entry() {
        let tlb = Tlb::default();
        let near =
            [NO_TAG - PAGE_SIZE, NO_TAG, NO_TAG + PAGE_SIZE, NO_TAG + 2 * PAGE_SIZE, 0, u64::MAX - 0xfff];
        for linear in near {
            for context in [Context::Supervisor, Context::User, Context::SupervisorSmap, Context::Watched] {
                for entry in [tlb.read(context, linear), tlb.write(context, linear)] {
                    assert!(linear.wrapping_sub(entry.tag) >= PAGE_SIZE, "{linear:#x} {context:?}");
                }
            }
            for context in [Context::Supervisor, Context::User] {
                assert_eq!(tlb.fetch(context, linear), None);
            }
        }
    }

    #[test]
    fn the_watched_context_is_never_filled() {
        let mut tlb = Tlb::default();
        tlb.fill(Context::Watched, 0x5000, 0x1000, true);
        assert_eq!(tlb.write(Context::Watched, 0x5000).tag, NO_TAG);
    }

    #[test]
    fn flushing_forgets_everything_by_log_and_in_bulk() {
        for pages in [10, 2 * LOG as u64] {
            let mut tlb = Tlb::default();
            for page in 0..pages {
                tlb.fill(Context::Supervisor, page << 12, 0x1000, page % 2 == 0);
            }
            tlb.flush();
            assert!(tlb.read.iter().chain(tlb.write.iter()).all(|e| e.host == 0));
        }
    }
}
