//! Multiboot 1 kernels.
//!
//! Manual: "Multiboot Specification", version 0.6.96.
//! Modelled: images that say where they go (flag 16), and ELF executables of 32 and 64 bits, both entered in 32-bit
//! protected mode; modules, command line, memory map, boot loader name.
//! Left out: a video mode (flag 2; the screen stays in text mode, and the information says nothing of it), the
//! symbols of an executable, drives, APM, the configuration table.

use super::elf::{Elf, Segment, is_elf};
use super::handoff::{Block, Entry, Handoff, MAP_ROWS, PAGE, Placed, Wanted, place};
use super::{KernelError, Module, Request};

const MAGIC: u32 = 0x1bad_b002;
/// The header lies within so many bytes.
const SEARCH: usize = 8192;
/// Flags that are requirements, and those that we understand: page alignment, memory, video mode.
const REQUIREMENTS: u32 = 0xffff;
const UNDERSTOOD: u32 = 0b111;
const HAS_ADDRESSES: u32 = 1 << 16;

/// What EAX holds at the entry.
const LOADER_MAGIC: u32 = 0x2bad_b002;
/// Flags of the information: memory sizes, boot device, command line, modules, memory map, loader's name.
const INFORMATION: u32 = 1 << 0 | 1 << 1 | 1 << 2 | 1 << 3 | 1 << 6 | 1 << 9;
/// First hard disk, no partitions.
const BOOT_DEVICE: u32 = 0x8000_ffff;
const LOADER_NAME: &[u8] = b"emu";

/// Offsets in the information.
mod info {
    pub const FLAGS: usize = 0;
    pub const MEM_LOWER: usize = 4;
    pub const BOOT_DEVICE: usize = 12;
    pub const CMDLINE: usize = 16;
    pub const MODS_COUNT: usize = 20;
    pub const MODS_ADDR: usize = 24;
    pub const MMAP_LENGTH: usize = 44;
    pub const MMAP_ADDR: usize = 48;
    pub const BOOT_LOADER_NAME: usize = 64;
    pub const SIZE: usize = 116;
}

/// A row of the memory map, with the size of what follows in front.
const ROW: usize = 24;

/// The offset of the Multiboot header, if there is one.
pub fn header(image: &[u8]) -> Option<usize> {
    let dword = |at: usize| image.get(at..at + 4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]));
    (0..SEARCH.min(image.len())).step_by(4).find(|&at| {
        dword(at) == Some(MAGIC)
            && at + 12 <= SEARCH
            && matches!((dword(at + 4), dword(at + 8)), (Some(flags), Some(check))
                if MAGIC.wrapping_add(flags).wrapping_add(check) == 0)
    })
}

/// Places a kernel with such a header.
pub fn load(request: Request, image: Vec<u8>, header: usize) -> Result<Handoff, KernelError> {
    let Request { modules, name, command_line, ram_size, .. } = request;
    let flags = dword(&image, header + 4)?;
    if flags & REQUIREMENTS & !UNDERSTOOD != 0 {
        return Err(KernelError::Requirement(flags & REQUIREMENTS & !UNDERSTOOD));
    }
    let (segments, entry) = if flags & HAS_ADDRESSES != 0 {
        by_addresses(&image, header)?
    } else if is_elf(&image) {
        let elf = Elf::read(&image)?;
        (elf.segments(), elf.entry())
    } else {
        return Err(KernelError::NoAddresses);
    };
    let placed = place(&segments, entry, ram_size)?;
    let mut block = Block::new(&placed, &segments, modules.len());

    let information = block.add(&[0; info::SIZE]);
    let row = [&[20, 0, 0, 0][..], &[0; ROW - 4]].concat();
    let map = block.add(&row.repeat(MAP_ROWS.into()));
    let (table, bytes) = add_modules(&mut block, &placed, &modules)?;
    let command_line =
        if command_line.is_empty() { name } else { [&name, &b" "[..], &command_line].concat() };
    for (field, value) in [
        (info::FLAGS, INFORMATION),
        (info::BOOT_DEVICE, BOOT_DEVICE),
        (info::CMDLINE, block.add_string(&command_line)),
        (info::MODS_COUNT, modules.len() as u32),
        (info::MODS_ADDR, block.address(table)),
        (info::MMAP_ADDR, block.address(map)),
        (info::BOOT_LOADER_NAME, block.add_string(LOADER_NAME)),
    ] {
        block.put(information + field, &value.to_le_bytes());
    }
    let entry =
        Entry { address: entry, eax: LOADER_MAGIC, ebx: block.address(information), ..Entry::default() };
    let wanted = Wanted {
        map: map + 4,
        map_stride: ROW as u16,
        count: information + info::MMAP_LENGTH,
        count_unit: ROW as u16,
        memory: information + info::MEM_LOWER,
        ..Wanted::default()
    };
    block.finish(entry, wanted, image, bytes)
}

/// The one segment of an image that says itself where it goes, and its entry.
fn by_addresses(image: &[u8], header: usize) -> Result<(Vec<Segment>, u64), KernelError> {
    let field = |number: usize| dword(image, header + 12 + 4 * number).map(u64::from);
    let (header_addr, load_addr, load_end, bss_end, entry) =
        (field(0)?, field(1)?, field(2)?, field(3)?, field(4)?);
    let before = header_addr.checked_sub(load_addr).ok_or(KernelError::Addresses)?;
    let offset = (header as u64).checked_sub(before).ok_or(KernelError::Addresses)?;
    let whole = image.len() as u64 - offset;
    // Zeros stand for all of the file, and for no more memory than that.
    let file_size = match load_end {
        0 => whole,
        end => end.checked_sub(load_addr).ok_or(KernelError::Addresses)?,
    };
    if file_size > whole {
        return Err(KernelError::Truncated { found: image.len() as u64, expected: offset + file_size });
    }
    let memory_size = match bss_end {
        0 => file_size,
        end => end.checked_sub(load_addr).filter(|&size| size >= file_size).ok_or(KernelError::Addresses)?,
    };
    let segment =
        Segment { offset: offset as usize, file_size: file_size as usize, address: load_addr, memory_size };
    Ok((vec![segment], entry))
}

/// Places the modules on pages behind the kernel; returns the offset of their table, and all their bytes.
fn add_modules(
    block: &mut Block,
    placed: &Placed,
    modules: &[Module],
) -> Result<(usize, Vec<u8>), KernelError> {
    let table = block.add(&vec![0; modules.len() * 16]);
    let mut bytes = Vec::new();
    let mut address = placed.high_end;
    for (number, module) in modules.iter().enumerate() {
        address = address.next_multiple_of(PAGE);
        let size = module.bytes.len();
        let room = placed.ram_end.saturating_sub(address);
        if size > room {
            return Err(KernelError::Initrd(size, room));
        }
        block.load_module(number == 0, address as u32, size as u32);
        bytes.extend(module.bytes.to_vec());
        let row = [address as u32, (address + size) as u32, block.add_string(&module.text), 0];
        row.iter().enumerate().for_each(|(field, value)| {
            block.put(table + 16 * number + 4 * field, &value.to_le_bytes());
        });
        address += size;
    }
    Ok((table, bytes))
}

fn dword(image: &[u8], at: usize) -> Result<u32, KernelError> {
    let bytes = image.get(at..at + 4);
    let bytes = bytes.ok_or(KernelError::Truncated { found: image.len() as u64, expected: at as u64 + 4 })?;
    Ok(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
}
