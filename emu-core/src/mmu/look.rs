//! A look at guest memory from outside, for whoever watches the machine: no rights are checked, no accessed or dirty
//! bit is set, nothing is cached, no chip notices. What the guest itself does is in [`paging`](super::paging).

use crate::cpu::Cpu;
use crate::cpu::control::{CR0_PG, CR4_LA57, CR4_PAE, CR4_PSE, EFER_LMA, EFER_NXE};
use crate::mem::Memory;

/// One entry that was read on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Name of the structure's entries: PML5E, PML4E, PDPTE, PDE or PTE.
    pub name: &'static str,
    /// Its physical address; `None` for a PDPTE that the processor holds itself (PAE paging).
    pub address: Option<u64>,
    /// Its value.
    pub value: u64,
}

/// What a walk found at its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// Physical address, not yet through the A20 gate.
    pub physical: u64,
    /// Bytes in the page; `u64::MAX` while paging is off.
    pub size: u64,
    /// U/S of all levels together.
    pub user: bool,
    /// R/W of all levels together.
    pub writable: bool,
    /// Instructions may come from it, as far as XD says.
    pub executable: bool,
}

/// A walk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Walk {
    /// The entries in the order in which they were read.
    pub entries: Vec<Entry>,
    /// The page; `None` when the last entry is not present.
    pub page: Option<Page>,
}

const ADDRESS: u64 = 0x000f_ffff_ffff_f000;
const NAMES: [&str; 5] = ["PTE", "PDE", "PDPTE", "PML4E", "PML5E"];

impl Cpu {
    /// The physical address, behind the A20 gate, that a linear address means now; `None` where nothing is mapped.
    pub fn peek_physical(&self, linear: u64) -> Option<u64> {
        let mem = &self.system().mem;
        walk(self, mem, linear).page.map(|page| mem.gate_a20(page.physical))
    }

    /// Reads memory by linear address; returns how many bytes lie in RAM or ROM that is mapped, from the first on.
    pub fn peek_linear(&self, linear: u64, out: &mut [u8]) -> usize {
        read_linear(self, &self.system().mem, linear, out)
    }
}

/// Reads memory at a linear address of `cpu`; returns how many bytes lie in RAM or ROM that is mapped, from the first
/// on.
pub fn read_linear(cpu: &Cpu, mem: &Memory, linear: u64, out: &mut [u8]) -> usize {
    pieces(linear, out.len(), |at, range| {
        let len = range.len();
        walk(cpu, mem, at).page.is_some_and(|page| read_physical(mem, page.physical, &mut out[range]) == len)
    })
}

/// Walks the page tables of `cpu` for a linear address.
pub fn walk(cpu: &Cpu, mem: &Memory, linear: u64) -> Walk {
    let mut walk = Walk { entries: Vec::new(), page: None };
    if cpu.cr0 & CR0_PG == 0 {
        let Some(physical) = cpu.peek_guest_physical(mem, linear & 0xffff_ffff) else { return walk };
        walk.page = Some(Page { physical, size: u64::MAX, user: true, writable: true, executable: true });
        return walk;
    }
    let long = cpu.efer & EFER_LMA != 0;
    let wide = long || cpu.cr4 & CR4_PAE != 0;
    let (bits, bytes) = if wide { (9, 8) } else { (10, 4) };
    let (mut table, mut level) = match (long, wide) {
        (true, _) => (cpu.cr3 & ADDRESS, if cpu.cr4 & CR4_LA57 != 0 { 4 } else { 3 }),
        (_, true) => {
            let value = cpu.pdptes[(linear >> 30 & 3) as usize];
            walk.entries.push(Entry { name: NAMES[2], address: None, value });
            if value & 1 == 0 {
                return walk;
            }
            (value & ADDRESS, 1)
        }
        _ => (cpu.cr3 & 0xffff_f000, 1),
    };
    let (mut user, mut writable, mut executable) = (true, true, true);
    loop {
        let shift = 12 + bits * level as u32;
        let address = table + (linear >> shift & ((1 << bits) - 1)) * bytes;
        let Some(address) = cpu.peek_guest_physical(mem, address) else { return walk };
        let value = read_entry(mem, address, bytes);
        walk.entries.push(Entry { name: NAMES[level], address: Some(address), value });
        if value & 1 == 0 {
            return walk;
        }
        writable &= value & 2 != 0;
        user &= value & 4 != 0;
        executable &= !(wide && cpu.efer & EFER_NXE != 0 && value >> 63 != 0);
        let may_be_large = if wide { level == 1 || level == 2 } else { level == 1 && cpu.cr4 & CR4_PSE != 0 };
        if level == 0 || value & 0x80 != 0 && may_be_large {
            let size = 1u64 << shift;
            let frame = if wide {
                value & ADDRESS & !(size - 1)
            } else if level == 1 {
                // PSE-36: bits 20:13 are address bits 39:32.
                (value >> 13 & 0xff) << 32 | value & 0xffc0_0000
            } else {
                value & 0xffff_f000
            };
            let found = cpu.peek_guest_physical(mem, frame | linear & (size - 1));
            walk.page = found.map(|physical| Page { physical, size, user, writable, executable });
            return walk;
        }
        table = value & if wide { ADDRESS } else { 0xffff_f000 };
        level -= 1;
    }
}

/// Reads an entry of 4 or 8 bytes; ones where no frame lies, as the processor does.
pub fn read_entry(mem: &Memory, address: u64, bytes: u64) -> u64 {
    let mut value = [0xff; 8];
    value[bytes as usize..].fill(0);
    read_physical(mem, address, &mut value[..bytes as usize]);
    u64::from_le_bytes(value)
}

/// Reads physical memory as the processor whose turn it is sees it; returns how many bytes lie in RAM or ROM before
/// the first that does not. Chips are not disturbed.
pub fn read_physical(mem: &Memory, address: u64, out: &mut [u8]) -> usize {
    pieces(address, out.len(), |at, range| {
        let at = mem.gate_a20(at);
        let Some(frame) = mem.code_page(at).read_frame() else { return false };
        mem.ram().read_slice(mem.host_of(frame) + (at % 4096) as usize, &mut out[range]);
        true
    })
}

/// Writes physical memory as the processor whose turn it is sees it; returns how many bytes lie in RAM before the
/// first that does not, and writes those. Tell the processor by `note_memory_changes`.
pub fn write_physical(mem: &mut Memory, address: u64, bytes: &[u8]) -> usize {
    pieces(address, bytes.len(), |at, range| {
        let at = mem.gate_a20(at);
        let writable = mem.page(at).write_frame().is_some();
        if writable {
            mem.write_own(at, &bytes[range]);
        }
        writable
    })
}

/// Splits a range at page boundaries; stops when `each` says so. Returns the bytes done.
pub fn pieces(address: u64, len: usize, mut each: impl FnMut(u64, std::ops::Range<usize>) -> bool) -> usize {
    let mut done = 0;
    while done < len {
        let at = address.wrapping_add(done as u64);
        let part = ((4096 - at % 4096) as usize).min(len - done);
        if !each(at, done..done + part) {
            break;
        }
        done += part;
    }
    done
}
