//! Page tables: four levels of 512 entries (SDM 3A, "4-Level Paging").
//!
//! | linear address        | what                                                             |
//! | --------------------- | ---------------------------------------------------------------- |
//! | 0 .. 0x7FFF_FFFF_EFFF | the user program of the current task                             |
//! | 0xFFFF_8000_...       | the direct map: all of physical memory, never executable          |
//! | 0xFFFF_9000_...       | kernel stacks, each with a hole below it                          |
//! | 0xFFFF_FFFF_8010_0000 | the kernel: text R-X, constants R--, data RW-                     |
//!
//! Nothing is both writable and executable, not even by way of the direct map.

use crate::boot_info::BootInfo;
use crate::cpu;
use crate::frames::{self, FRAME};
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Present.
pub const P: u64 = 1 << 0;
/// Writable (R/W).
pub const W: u64 = 1 << 1;
/// User (U/S).
pub const U: u64 = 1 << 2;
/// Write-through and cache disable: for device memory.
pub const UNCACHED: u64 = 1 << 3 | 1 << 4;
/// Accessed, set by the processor.
pub const A: u64 = 1 << 5;
/// Dirty, set by the processor.
pub const D: u64 = 1 << 6;
/// Page size: the entry maps 2 MiB.
pub const PS: u64 = 1 << 7;
/// Global: survives a load of CR3.
pub const G: u64 = 1 << 8;
/// No execute.
pub const NX: u64 = 1 << 63;

const ADDRESS: u64 = 0x000F_FFFF_FFFF_F000;
const KERNEL_BASE: u64 = 0xFFFF_FFFF_8000_0000;
const DIRECT_BASE: u64 = 0xFFFF_8000_0000_0000;
/// Where kernel stacks are mapped.
pub const STACK_BASE: u64 = 0xFFFF_9000_0000_0000;
/// The first address that a user program may not have. The last page below the hole of non-canonical addresses
/// stays empty, or a SYSCALL at its very end would make SYSRET fault in ring 0.
pub const USER_END: u64 = 0x7FFF_FFFF_F000;

const LARGE: u64 = 2 << 20;

/// Base of the direct map: until `init` has built it, the loader's mapping of the first GiB serves.
static DIRECT: AtomicU64 = AtomicU64::new(KERNEL_BASE);
/// CR3 of the kernel without a user program.
static KERNEL_ROOT: AtomicU64 = AtomicU64::new(0);
/// All bits but those that this processor does not know (NX, G).
static KNOWN_BITS: AtomicU64 = AtomicU64::new(!(NX | G));

unsafe extern "C" {
    static __text_start: u8;
    static __text_end: u8;
    static __rodata_end: u8;
    static __kernel_end: u8;
}

/// The linear address at which a physical one can be reached.
pub fn direct(physical: u64) -> u64 {
    DIRECT.load(Relaxed) + physical
}

/// The first physical byte behind the kernel.
pub fn kernel_end_physical() -> u64 {
    &raw const __kernel_end as u64 - KERNEL_BASE
}

/// The kernel's own root table.
pub fn kernel_root() -> u64 {
    KERNEL_ROOT.load(Relaxed)
}

/// Builds the kernel's tables and switches to them.
pub fn init(info: &BootInfo) {
    let text = (&raw const __text_start as u64, &raw const __text_end as u64);
    let rodata_end = &raw const __rodata_end as u64;
    let kernel_end = &raw const __kernel_end as u64;
    if cpu::has_nx() {
        KNOWN_BITS.fetch_or(NX, Relaxed);
        // SAFETY: CPUID says that EFER.NXE exists; no loaded table has bit 63 set yet.
        unsafe { cpu::write_msr(cpu::MSR_EFER, cpu::read_msr(cpu::MSR_EFER) | cpu::EFER_NXE) };
    }
    if cpu::has_pge() {
        KNOWN_BITS.fetch_or(G, Relaxed);
    }
    let root = frames::alloc_zeroed().expect("memory for the first page table");
    // All upper-half root entries that will ever be used exist from the start: every address space copies
    // them once and sees later changes below them.
    for base in [DIRECT_BASE, STACK_BASE] {
        entry_or_create(root, base, 2);
    }

    // The kernel, segment by segment.
    for address in (text.0..kernel_end).step_by(FRAME as usize) {
        let rights = match address {
            _ if address < text.1 => 0,
            _ if address < rodata_end => NX,
            _ => W | NX,
        };
        map(root, address, address - KERNEL_BASE, rights | G);
    }
    // The hole below the boot stack.
    unmap(root, boot_stack_guard());

    // The direct map. Up to the end of the kernel by small pages: the kernel's text and constants must not
    // be writable here either, and the screen's memory is not to be cached. Beyond that 2 MiB at a time.
    let small_end = kernel_end_physical().next_multiple_of(LARGE);
    let read_only = text.0 - KERNEL_BASE..rodata_end - KERNEL_BASE;
    for physical in (0..small_end).step_by(FRAME as usize) {
        let rights = match physical {
            0xA_0000..0xC_0000 => W | UNCACHED,
            _ if read_only.contains(&physical) => 0,
            _ => W,
        };
        map(root, DIRECT_BASE + physical, physical, rights | NX | G);
    }
    for range in info.map().iter().filter(|range| range.kind == 1) {
        let start = range.base.max(small_end) / LARGE * LARGE;
        let end = (range.base + range.length).next_multiple_of(LARGE);
        for physical in (start..end).step_by(LARGE as usize) {
            let entry = entry_or_create(root, DIRECT_BASE + physical, 1);
            // SAFETY: the entry lies in a table that only this function knows.
            unsafe { *entry = (physical | P | W | PS | NX | G) & KNOWN_BITS.load(Relaxed) };
        }
    }

    // SAFETY: the new tables map the kernel, its stack and its data where the old ones did.
    unsafe {
        cpu::write_cr0(cpu::read_cr0() | cpu::CR0_WP);
        cpu::write_cr3(root);
        if cpu::has_pge() {
            cpu::write_cr4(cpu::read_cr4() | cpu::CR4_PGE);
        }
    }
    KERNEL_ROOT.store(root, Relaxed);
    DIRECT.store(DIRECT_BASE, Relaxed);
}

/// The unmapped page below the boot stack.
pub fn boot_stack_guard() -> u64 {
    unsafe extern "C" {
        static boot_stack_guard: u8;
    }
    &raw const boot_stack_guard as u64
}

/// Maps one page of device memory in the direct map and returns its address.
pub fn map_device(physical: u64) -> u64 {
    map(kernel_root(), direct(physical), physical, W | NX | UNCACHED);
    direct(physical)
}

/// Maps a 4 KiB page. Tables that are missing on the way are made.
pub fn map(root: u64, address: u64, physical: u64, rights: u64) {
    let entry = entry_or_create(root, address, 0);
    // SAFETY: the pointer is to an entry of a table of this address space.
    unsafe { *entry = (physical | rights | P) & KNOWN_BITS.load(Relaxed) };
    cpu::invalidate_page(address);
}

/// Takes a mapping away and returns the entry that was there.
pub fn unmap(root: u64, address: u64) -> u64 {
    let Some(entry) = entry(root, address) else { return 0 };
    // SAFETY: as in `map`.
    let old = unsafe { core::ptr::replace(entry, 0) };
    cpu::invalidate_page(address);
    old
}

/// The lowest-level entry for an address, when all tables above it exist. For a 2 MiB page that is the
/// entry with PS.
pub fn entry(root: u64, address: u64) -> Option<*mut u64> {
    let mut table = root;
    for level in (0..4).rev() {
        let pointer = (direct(table) + index(address, level) * 8) as *mut u64;
        // SAFETY: `table` is a page table, which the direct map covers.
        let value = unsafe { *pointer };
        if level == 0 || value & PS != 0 {
            return Some(pointer);
        }
        if value & P == 0 {
            return None;
        }
        table = value & ADDRESS;
    }
    None
}

/// May ring 3 use this byte, and write to it if `write`?
pub fn user_may(root: u64, address: u64, write: bool) -> bool {
    let need = P | U | if write { W } else { 0 };
    // SAFETY: `entry` only returns pointers into page tables.
    address < USER_END && entry(root, address).is_some_and(|entry| unsafe { *entry } & need == need)
}

/// An address space with nothing in its user half.
pub fn new_space() -> Option<u64> {
    let root = frames::alloc_zeroed()?;
    // SAFETY: both are whole tables; the upper halves are 256 entries each.
    unsafe {
        core::ptr::copy_nonoverlapping(
            (direct(kernel_root()) + 256 * 8) as *const u64,
            (direct(root) + 256 * 8) as *mut u64,
            256,
        );
    }
    Some(root)
}

/// Frees an address space with all user pages and tables. It must not be loaded.
pub fn free_space(root: u64) {
    free_tables(root, 3, 256);
}

fn free_tables(table: u64, level: u32, entries: u64) {
    for i in 0..entries {
        // SAFETY: `table` is a page table of a space that nobody uses any more.
        let value = unsafe { *((direct(table) + i * 8) as *const u64) };
        if value & P != 0 {
            match level {
                0 => frames::free(value & ADDRESS),
                _ => free_tables(value & ADDRESS, level - 1, 512),
            }
        }
    }
    frames::free(table);
}

/// Nine bits of the address for each level.
fn index(address: u64, level: u32) -> u64 {
    address >> (12 + 9 * level) & 511
}

/// The entry of table level `target` (0: page table) for the address, making missing tables. Upper entries
/// grant everything; the lowest decides.
fn entry_or_create(root: u64, address: u64, target: u32) -> *mut u64 {
    let mut table = root;
    let user = if address < USER_END { U } else { 0 };
    for level in (target + 1..4).rev() {
        let pointer = (direct(table) + index(address, level) * 8) as *mut u64;
        // SAFETY: `table` is a page table of this space, which the direct map covers.
        unsafe {
            if *pointer & P == 0 {
                *pointer = frames::alloc_zeroed().expect("memory for a page table") | P | W | user;
            }
            table = *pointer & ADDRESS;
        }
    }
    (direct(table) + index(address, target) * 8) as *mut u64
}
