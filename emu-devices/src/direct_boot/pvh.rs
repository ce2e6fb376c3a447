//! PVH kernels: ELF executables whose note names an entry in 32-bit protected mode.
//!
//! Manual: Xen's public "x86/HVM direct boot ABI", start information of version 1.
//! Modelled: memory map, command line, one module (the initial RAM disk), the address of the ACPI tables.

use super::elf::Elf;
use super::handoff::{Block, Entry, Handoff, MAP_ROWS, PAGE, Wanted, place};
use super::{KernelError, Request};

/// XEN_ELFNOTE_PHYS32_ENTRY.
const PHYS32_ENTRY: u32 = 18;
const MAGIC: u32 = 0x336e_c578;
const VERSION: u32 = 1;
/// A row of the memory map, and one of the module list.
const ROW: usize = 24;
const MODULE_ROW: usize = 32;

/// Offsets in the start information.
mod start_info {
    pub const MAGIC: usize = 0;
    pub const VERSION: usize = 4;
    pub const NR_MODULES: usize = 12;
    pub const MODLIST: usize = 16;
    pub const CMDLINE: usize = 24;
    pub const RSDP: usize = 32;
    pub const MEMMAP: usize = 40;
    pub const MEMMAP_ENTRIES: usize = 48;
    pub const SIZE: usize = 56;
}

/// The entry that the note names, if this is such a kernel.
///
/// # Errors
/// When it is a damaged executable.
pub fn entry(image: &[u8]) -> Result<Option<u64>, KernelError> {
    Ok(Elf::read(image)?.xen_note(PHYS32_ENTRY))
}

/// Places a kernel with such an entry.
pub fn load(request: Request, image: Vec<u8>, entry: u64) -> Result<Handoff, KernelError> {
    let Request { modules, command_line, ram_size, .. } = request;
    let segments = Elf::read(&image)?.segments();
    let placed = place(&segments, entry, ram_size)?;
    let mut block = Block::new(&placed, &segments, modules.len());

    let start = block.add(&[0; start_info::SIZE]);
    let map = block.add(&[0; ROW * MAP_ROWS as usize]);
    let list = block.add(&vec![0; MODULE_ROW * modules.len()]);
    let (mut address, mut bytes) = (placed.high_end, Vec::new());
    for (number, module) in modules.iter().enumerate() {
        address = address.next_multiple_of(PAGE);
        let size = module.bytes.len();
        let room = placed.ram_end.saturating_sub(address);
        if size > room {
            return Err(KernelError::Initrd(size, room));
        }
        block.load_module(number == 0, address as u32, size as u32);
        bytes.extend(module.bytes.to_vec());
        // Address, size, command line (none), reserved.
        block.put(list + MODULE_ROW * number, &address.to_le_bytes());
        block.put(list + MODULE_ROW * number + 8, &size.to_le_bytes());
        address += size;
    }
    let command_line = block.add_string(&command_line);
    for (field, value) in [
        (start_info::MAGIC, MAGIC),
        (start_info::VERSION, VERSION),
        (start_info::NR_MODULES, modules.len() as u32),
        (start_info::MODLIST, if modules.is_empty() { 0 } else { block.address(list) }),
        (start_info::CMDLINE, command_line),
        (start_info::MEMMAP, block.address(map)),
    ] {
        block.put(start + field, &value.to_le_bytes());
    }
    let entry = Entry { address: entry, ebx: block.address(start), ..Entry::default() };
    let wanted = Wanted {
        map,
        map_stride: ROW as u16,
        count: start + start_info::MEMMAP_ENTRIES,
        count_unit: 1,
        rsdp: start + start_info::RSDP,
        ..Wanted::default()
    };
    block.finish(entry, wanted, image, bytes)
}
