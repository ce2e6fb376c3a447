//! Page faults: the walk, and the entry that forbade the access.

use crate::cpu::control::{CR0_PG, CR0_WP, CR4_LA57, CR4_PAE, CR4_PSE, EFER_LMA, EFER_NXE};
use crate::cpu::{Cpu, eflags};
use crate::mem::PAGE_SIZE;
use crate::mmu::paging::error;

/// One entry that a walk came by.
#[derive(Clone, Copy, Debug)]
struct Entry {
    name: &'static str,
    /// `None` for the processor's own copy of a PDPTE.
    address: Option<u64>,
    value: u64,
    shift: u32,
    maps: bool,
}

impl Entry {
    fn bit(&self, bit: u32) -> bool {
        self.value >> bit & 1 != 0
    }

    fn show(&self) -> String {
        let place =
            self.address.map_or_else(|| "in the processor".into(), |address| format!("at {address:#x}"));
        if !self.bit(0) {
            return format!("{} {place} = {:016x}: not present", self.name, self.value);
        }
        let mut flags = String::new();
        for (bit, set, clear) in [
            (0, "P", "not present"),
            (1, "R/W", "read-only"),
            (2, "U/S", "supervisor"),
            (5, "A", ""),
            (6, "D", ""),
            (7, "PS", ""),
            (8, "G", ""),
        ] {
            let words = if self.bit(bit) { set } else { clear };
            if !words.is_empty() && (bit != 7 || self.shift != 12) {
                flags.push(' ');
                flags.push_str(words);
            }
        }
        if self.bit(63) {
            flags.push_str(" XD");
        }
        format!("{} {place} = {:016x}:{flags}", self.name, self.value)
    }
}

fn read(cpu: &Cpu, address: u64, size: usize) -> u64 {
    let mem = &cpu.system().mem;
    let address = mem.gate_a20(address);
    let mut bytes = [0; 8];
    let Some(frame) = mem.page(address).read_frame() else { return u64::MAX >> (64 - 8 * size) };
    mem.ram().read_slice(mem.host_of(frame) + (address % PAGE_SIZE) as usize, &mut bytes[..size]);
    u64::from_le_bytes(bytes)
}

/// The entries that a walk for `linear` comes by, from the root on.
fn walk(cpu: &Cpu, linear: u64) -> Vec<Entry> {
    const TABLE: u64 = 0x000f_ffff_ffff_f000;
    let mut entries = Vec::new();
    if cpu.cr0 & CR0_PG == 0 {
        return entries;
    }
    let long = cpu.efer & EFER_LMA != 0;
    let (levels, size): (&[(&str, u32)], usize) = match (long, cpu.cr4 & CR4_PAE != 0) {
        (true, _) => (&[("PML5E", 48), ("PML4E", 39), ("PDPTE", 30), ("PDE", 21), ("PTE", 12)], 8),
        (_, true) => (&[("PDE", 21), ("PTE", 12)], 8),
        _ => (&[("PDE", 22), ("PTE", 12)], 4),
    };
    let levels = if long && cpu.cr4 & CR4_LA57 == 0 { &levels[1..] } else { levels };
    let mut table = cpu.cr3 & if size == 8 { TABLE } else { 0xffff_f000 };
    if !long && size == 8 {
        let value = cpu.pdptes[(linear >> 30 & 3) as usize];
        entries.push(Entry { name: "PDPTE", address: None, value, shift: 30, maps: false });
        if value & 1 == 0 {
            return entries;
        }
        table = value & TABLE;
    }
    let bits = if size == 8 { 0x1ff } else { 0x3ff };
    for &(name, shift) in levels {
        let address = table + (linear >> shift & bits) * size as u64;
        let value = read(cpu, address, size);
        let large = value & 0x80 != 0 && (size == 8 || cpu.cr4 & CR4_PSE != 0) && shift <= 30;
        let maps = shift == 12 || large;
        entries.push(Entry { name, address: Some(address), value, shift, maps });
        if value & 1 == 0 || maps {
            break;
        }
        table = value & if size == 8 { TABLE } else { 0xffff_f000 };
    }
    entries
}

/// The walk for an address as lines.
pub fn lines(cpu: &Cpu, linear: u64) -> Vec<String> {
    walk(cpu, linear).iter().map(|entry| format!("  {}", entry.show())).collect()
}

/// Explains a page fault.
pub fn explain(cpu: &Cpu, code: u16, address: u64) -> Vec<String> {
    let has = |bit: u16| code & bit != 0;
    let access = match (has(error::FETCH), has(error::WRITE)) {
        (true, _) => "instruction fetch",
        (_, true) => "write",
        _ => "read",
    };
    let who = if has(error::USER) { "user-mode" } else { "supervisor-mode" };
    let mut lines = vec![format!("access: {who} {access} at linear address {address:#x}")];
    lines.push(format!("check: {}", check(cpu, code, address)));
    lines.push(format!("page walk from CR3 = {:#x}:", cpu.cr3));
    lines.extend(self::lines(cpu, address));
    lines
}

fn check(cpu: &Cpu, code: u16, address: u64) -> String {
    let has = |bit: u16| code & bit != 0;
    let entries = walk(cpu, address);
    let Some(last) = entries.last() else {
        return "paging is off now: the tables are not what they were".into();
    };
    if !has(error::PRESENT) {
        return match entries.iter().find(|entry| !entry.bit(0)) {
            Some(entry) => format!("the P flag is 0 in the {}", entry.name),
            None => "an entry was not present; all are now".into(),
        };
    }
    if has(error::RESERVED) {
        for entry in &entries {
            let bits = reserved(cpu, entry);
            if bits != 0 {
                return format!("reserved bits {bits:#x} are set in the {}", entry.name);
            }
        }
        return "a reserved bit is set in an entry".into();
    }
    if has(error::KEY) {
        let key = last.value >> 59 & 15;
        let supervisor = entries.iter().any(|entry| !entry.bit(2));
        let (name, keys) = if supervisor { ("IA32_PKRS", cpu.msrs.pkrs) } else { ("PKRU", cpu.pkru) };
        let rights = keys >> (2 * key) & 3;
        return format!(
            "protection key {key} of the page forbids the access: {name} has AD = {}, WD = {} for it",
            rights & 1,
            rights >> 1
        );
    }
    let forbids =
        |bit: u32, on: bool| entries.iter().find(|entry| entry.bit(bit) == on).map(|entry| entry.name);
    let user_page = forbids(2, false).is_none();
    let user = has(error::USER);
    if user && let Some(name) = forbids(2, false) {
        return format!("the U/S flag is 0 in the {name}: the page is for supervisor mode only");
    }
    if has(error::FETCH) {
        if let Some(name) = forbids(63, true) {
            return format!("the XD flag is 1 in the {name}: no instructions may be fetched from the page");
        }
        if !user && user_page {
            return "CR4.SMEP is 1: supervisor mode may not fetch instructions from user pages".into();
        }
    }
    if !user
        && user_page
        && !has(error::FETCH)
        && cpu.flags.get() & eflags::AC == 0
        && (!has(error::WRITE) || forbids(1, false).is_none())
    {
        return "CR4.SMAP is 1 and EFLAGS.AC is 0: supervisor mode may not access user pages".into();
    }
    if has(error::WRITE)
        && let Some(name) = forbids(1, false)
    {
        let protect = if user {
            ""
        } else if cpu.cr0 & CR0_WP != 0 {
            ", and CR0.WP is 1"
        } else {
            ""
        };
        return format!("the R/W flag is 0 in the {name}: the page is read-only{protect}");
    }
    "the tables permit the access now".into()
}

fn reserved(cpu: &Cpu, entry: &Entry) -> u64 {
    let mut bits = cpu.reserved_address_bits();
    if cpu.efer & EFER_NXE == 0 {
        bits |= 1 << 63;
    }
    if cpu.efer & EFER_LMA == 0 {
        bits |= 0x7ff << 52;
    }
    if entry.maps && entry.shift > 12 {
        bits |= ((1 << entry.shift) - 1) & !0x1fff;
    }
    if entry.name == "PML4E" || entry.name == "PML5E" {
        bits |= 1 << 7;
    }
    if cpu.cr4 & CR4_PAE == 0 && cpu.efer & EFER_LMA == 0 {
        bits = if entry.maps && entry.shift > 12 { 1 << 21 } else { 0 };
    }
    entry.value & bits
}
