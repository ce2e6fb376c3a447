//! Where programs with system instructions find things in memory, and the descriptors that they start from.
//!
//! A case finds the same tables, stacks and data each time: everything between [`TABLES`] and [`TABLES_END`] and from
//! [`DATA`] to [`DATA_END`] is copied anew from firmware before it. Wherever a far transfer may lead, INT3 lies.

use crate::random::Random;

/// The case's instructions; the page is open to users, and all that surrounds them is INT3.
pub const CODE: u32 = 0x8000;
/// Bytes of code that are put back before each case.
pub const CODE_SIZE: usize = 0x40;
/// Base of the segments that do not begin at 0.
pub const BASE: u32 = 0x4000;
/// Tables and stacks that only the supervisor may touch.
pub const TABLES: u32 = 0x1_0000;
pub const TABLES_END: u32 = 0x1_0840;
pub const GDT: u32 = TABLES;
pub const GDT_SIZE: u32 = 0x200;
pub const LDT: u32 = 0x1_0200;
pub const LDT_SIZE: u32 = 0x40;
pub const IDT: u32 = 0x1_0280;
/// Vectors that have a gate.
pub const VECTORS: u32 = 40;
/// The first vector for INT n alone.
pub const FREE_VECTOR: u32 = 32;
pub const TSS: u32 = 0x1_0500;
pub const TSS_LIMIT: u32 = 0x98;
/// TSSs that tasks are switched to: of 32 bits, of 16 bits, and that of double faults.
pub const TSS_32: u32 = 0x1_0600;
pub const TSS_16: u32 = 0x1_0680;
pub const TSS_DOUBLE_FAULT: u32 = 0x1_0700;
/// Tops of the stacks of levels 0 and 1.
pub const STACK_0: u32 = 0x1_0800;
pub const STACK_1: u32 = TABLES_END;
/// The monitor's own: where it goes on, number of the case, what real mode wants, and its stack.
pub const NEXT: u32 = 0x1_0f00;
pub const CASE: u32 = 0x1_0f08;
pub const REAL: u32 = 0x1_0f20;
pub const MONITOR_STACK: u32 = 0x1_0ff0;
/// Operands, open to users; the top of the users' stack is its end.
pub const DATA: u32 = 0x1_1000;
pub const DATA_END: u32 = 0x1_1180;
pub const STACK_3: u32 = 0x1_1100;
/// Eight pages with all kinds of rights.
pub const WINDOW: u32 = 0x1_2000;
/// The same memory for the monitor, writable.
pub const WINDOW_ALIAS: u32 = 0xb_0000;
/// Paging structures: PDPT of PAE paging, PML4, PDPT, four page directories, page table of the first 2 MB.
pub const PDPT_PAE: u32 = 0x6_0000;
pub const PML4: u32 = 0x6_1000;
pub const PDPT: u32 = 0x6_2000;
pub const DIRECTORIES: u32 = 0x6_3000;
pub const TABLE: u32 = 0x6_7000;

/// Selectors that the monitor needs or that cases begin with.
pub mod selector {
    pub const CODE_32: u16 = 0x08;
    pub const DATA: u16 = 0x10;
    /// Legacy: the firmware's segment, for the way to real mode. Long: 64-bit code.
    pub const FIRMWARE: u16 = 0x18;
    pub const CODE_64: u16 = 0x18;
    pub const TSS: u16 = 0x20;
    /// A segment as real mode has it.
    pub const REAL_DATA: u16 = 0x28;
    pub const LDT: u16 = 0x30;
    pub const USER_32: u16 = 0x43;
    pub const USER_DATA: u16 = 0x4b;
    pub const CODE_16: u16 = 0x50;
    pub const USER_16: u16 = 0x5b;
    /// From [`super::DATA`] on, 16 bits.
    pub const USER_SMALL: u16 = 0x63;
    pub const USER_64: u16 = 0x6b;
    pub const LEVEL_1: u16 = 0x71;
    pub const LEVEL_1_DATA: u16 = 0x79;
    pub const TSS_32: u16 = 0x88;
    pub const TSS_16: u16 = 0x90;
    pub const TSS_DOUBLE_FAULT: u16 = 0x98;
    pub const CONFORMING: u16 = 0xa0;
    /// From [`super::BASE`] on.
    pub const BASED_32: u16 = 0xa8;
    /// The first of those that are drawn.
    pub const RANDOM: u16 = 0xf0;
}

/// A descriptor: base, limit as the descriptor holds it, access byte, flags (G, D/B, L, AVL).
pub fn descriptor(base: u32, limit: u32, access: u8, flags: u8) -> u64 {
    let (base, limit) = (u64::from(base), u64::from(limit));
    limit & 0xffff
        | (base & 0xff_ffff) << 16
        | u64::from(access) << 40
        | (limit >> 16 & 15) << 48
        | u64::from(flags) << 52
        | (base >> 24) << 56
}

/// A gate of 8 bytes: access byte, selector, offset, parameter count.
pub fn gate(access: u8, selector: u16, offset: u32, parameters: u8) -> u64 {
    u64::from(offset & 0xffff)
        | u64::from(selector) << 16
        | u64::from(parameters) << 32
        | u64::from(access) << 40
        | u64::from(offset >> 16) << 48
}

fn one_of<T: Copy>(all: &[T], random: &mut Random) -> T {
    all[random.below(all.len() as u64) as usize]
}

/// A random descriptor of any type: segments over code and data, system segments, gates to where INT3 lies.
pub fn random_descriptor(random: &mut Random) -> u64 {
    let dpl = (random.below(4) as u8) << 5;
    let present = if random.below(8) == 0 { 0 } else { 0x80 };
    let access = present | dpl;
    if random.below(3) != 0 {
        let kind = random.below(16) as u8;
        // Code only where INT3 lies.
        let bases: &[u32] = if kind & 8 != 0 { &[0, BASE] } else { &[0, 0, BASE, DATA, DATA + 0x80] };
        let base = one_of(bases, random);
        let (limit, flags) = one_of(
            &[
                (0xfffff, 0xc),
                (0xfffff, 0x8),
                (0xffff, 0),
                (0x4fff, 4),
                (0xff, 4),
                (0xff, 0),
                (0xfffff, 0xa),
                (1, 4),
            ],
            random,
        );
        return descriptor(base, limit, access | 0x10 | kind, flags);
    }
    match random.below(16) as u8 {
        kind @ (1 | 3) => descriptor(TSS_16, one_of(&[0x2b, 0x2a, 0xff], random), access | kind, 0),
        2 => descriptor(LDT, one_of(&[LDT_SIZE - 1, 7, 0], random), access | 2, 0),
        kind @ (9 | 11) => descriptor(TSS_32, one_of(&[0x67, 0x66, 0xff], random), access | kind, 0),
        5 => gate(access | 5, one_of(&[selector::TSS_32, selector::TSS_16, 0, selector::DATA], random), 0, 0),
        kind => gate(access | kind, random_selector(random), offset(random), random.below(5) as u8),
    }
}

/// A random selector, mostly of a descriptor that is there.
pub fn random_selector(random: &mut Random) -> u16 {
    let rpl = (random.below(4) * random.below(2)) as u16;
    match random.below(16) {
        0 => random.below(4) as u16,
        1 => random.below(0x600) as u16,
        2 | 3 => (random.below(u64::from(LDT_SIZE / 8) + 1) << 3) as u16 | 4 | rpl,
        _ => (random.below(u64::from(GDT_SIZE / 8)) << 3) as u16 | rpl,
    }
}

/// Where a far transfer leads: INT3, whatever the segment's base, or beyond the limit.
pub fn offset(random: &mut Random) -> u32 {
    one_of(&[CODE + 0x400, CODE + 0x400, 0x4400, 0x4400, CODE + 0x801, 0x4fff, 0x5000, 0x6001], random)
}
