//! The page that each memory access of user code met last: tried before the translation cache is asked, at half its
//! cost.
//!
//! Every place in code that accesses memory has a slot in a table on the stack, which it shares with few others. A slot
//! says where an access may begin, and the host's distance from there; it holds what an [entry] of the translation
//! cache said, and is empty again as soon as such an entry may be gone. Code of the supervisor does without: each
//! system call would have to fill slots that serve it once.
//!
//! No address is impossible, so an empty slot cannot be one with a certain address. It is one that nothing fits in.
//!
//! [entry]: emu_core::mmu::tlb::Entry

use std::mem::offset_of;

use emu_core::cpu::Cpu;
use emu_core::mem::PAGE_SIZE;

use crate::analysis::Want;
use crate::frame::PAGES;

/// Slots for accesses of up to [`SMALL`] bytes; the first is the stack's.
const SMALL_SLOTS: usize = 60;
/// Slots for accesses and stretches of up to [`BIG`] bytes.
const BIG_SLOTS: usize = 14;
/// Slots for reads, and as many for writes.
const SLOTS: usize = SMALL_SLOTS + BIG_SLOTS;
/// Bytes that an access by a small slot may have.
const SMALL: u32 = 8;
/// Bytes that an access by any slot may have.
const BIG: u32 = 64;

/// The table.
#[derive(Debug)]
#[repr(C)]
pub struct Pages {
    /// Linear address of the page.
    tags: [u64; 2 * SLOTS],
    /// Host minus linear address.
    distances: [u64; 2 * SLOTS],
    /// Offsets in the page where an access may begin: those below. 0 in an empty slot.
    limits: [u64; 2 * SLOTS],
    /// The translation cache has lost nothing since it said this.
    losses: (u64, u64),
    /// The context that it is for.
    context: u64,
}

/// Bytes that must be clear when the table comes into being.
pub const CLEARED: std::ops::Range<usize> = offset_of!(Pages, limits)..offset_of!(Pages, limits) + 16 * SLOTS;

const _: () = assert!((CLEARED.end - CLEARED.start).is_multiple_of(32));

/// Where it says what the translation cache had lost; -1 before anything is known.
pub const UNKNOWN: usize = offset_of!(Pages, context);

impl Pages {
    /// Empties the slots if what they hold may not be so any more for user code that runs next.
    #[inline]
    pub fn look(&mut self, cpu: &Cpu) {
        if cpu.cpl == 3 && (self.losses, self.context) != (cpu.tlb.losses(), cpu.context as u64) {
            self.limits.fill(0);
            (self.losses, self.context) = (cpu.tlb.losses(), cpu.context as u64);
        }
    }
}

/// A slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot(usize);

impl Slot {
    /// Slot for an access of so many bytes, if there is one: `nth` of the places in code, or the stack's.
    pub fn new(nth: Option<usize>, size: u32, want: Want) -> Option<Self> {
        let first = if want == Want::Write { SLOTS } else { 0 };
        let within = match nth {
            None if size <= SMALL => 0,
            Some(nth) if size <= SMALL => 1 + nth % (SMALL_SLOTS - 1),
            _ if size <= BIG => SMALL_SLOTS + nth.unwrap_or(0) % BIG_SLOTS,
            _ => return None,
        };
        Some(Self(first + within))
    }

    /// What its limit is when it is not empty.
    pub fn full(self) -> i32 {
        let most = if self.0 % SLOTS < SMALL_SLOTS { SMALL } else { BIG };
        PAGE_SIZE as i32 - most as i32 + 1
    }

    fn field(self, array: usize) -> i32 {
        PAGES + (array + 8 * self.0) as i32
    }

    /// Offset of its tag from RSP.
    pub fn tag(self) -> i32 {
        self.field(offset_of!(Pages, tags))
    }

    /// Offset of its distance.
    pub fn distance(self) -> i32 {
        self.field(offset_of!(Pages, distances))
    }

    /// Offset of its limit.
    pub fn limit(self) -> i32 {
        self.field(offset_of!(Pages, limits))
    }
}
