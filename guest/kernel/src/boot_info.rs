//! What the boot stages left behind at physical 0x600: the memory map, and evidence of every mode passed.

use crate::paging;

/// "EMUB", little endian.
pub const MAGIC: u32 = 0x4255_4D45;

/// One range of the BIOS's memory map (ACPI, "Address Range Descriptor Structure").
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Range {
    /// First byte.
    pub base: u64,
    /// Bytes.
    pub length: u64,
    /// 1 is usable memory.
    pub kind: u32,
    /// ACPI 3.0 extended attributes.
    pub attributes: u32,
}

/// The order and sizes of boot/defs.inc.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct BootInfo {
    /// `MAGIC`.
    pub magic: u32,
    /// BIOS drive number.
    pub drive: u8,
    /// 1 EDD, 2 CHS.
    pub load_method: u8,
    /// 1 was open, 2 INT 15h, 3 keyboard controller, 4 port 92h.
    pub a20_method: u8,
    /// 1 when closing the gate by port 92h was seen to make memory wrap.
    pub a20_closed: u8,
    /// CR0 in real mode.
    pub real_cr0: u32,
    /// Bits: segment arithmetic, INT by the vector table, 32-bit registers.
    pub real_checks: u32,
    /// CR0 in 16-bit protected mode.
    pub pm16_cr0: u32,
    /// Bits: selector in CS, 16-bit stack, LSL.
    pub pm16_checks: u32,
    /// CR0 in 32-bit protected mode.
    pub pm32_cr0: u32,
    /// Bits: 32-bit arithmetic, 1 MiB is not 0, limit #GP(0), bad selector #GP(selector).
    pub pm32_checks: u32,
    /// CR0 with 32-bit paging.
    pub paging32_cr0: u32,
    /// Bits: alias, accessed, dirty, #PF not present, #PF read-only, 4 MiB page.
    pub paging32_checks: u32,
    /// CR0 in long mode.
    pub long_cr0: u32,
    /// CR4 in long mode.
    pub long_cr4: u32,
    /// EFER in long mode.
    pub long_efer: u32,
    /// 1 E820, 2 E801, 3 function 88h.
    pub map_source: u32,
    /// Entries used in `map`.
    pub map_count: u32,
    spare: u32,
    map: [Range; 64],
}

impl BootInfo {
    /// How the loader read the disk.
    pub fn load_method_name(&self) -> &'static str {
        if self.load_method == 1 { "EDD" } else { "CHS" }
    }

    /// How the loader opened A20.
    pub fn a20_method_name(&self) -> &'static str {
        match self.a20_method {
            1 => "was open",
            2 => "opened by INT 15h",
            3 => "opened by the keyboard controller",
            _ => "opened by port 92h",
        }
    }

    /// The memory map's used entries.
    pub fn map(&self) -> &[Range] {
        &self.map[..(self.map_count as usize).min(self.map.len())]
    }
}

/// The boot information, wherever low memory is mapped at the moment.
pub fn get() -> &'static BootInfo {
    // SAFETY: the loader filled it in, `frames` never hands out the first MiB, and nobody writes to it.
    unsafe { &*(paging::direct(0x600) as *const BootInfo) }
}
