//! A bzImage entered behind its real-mode code, in 32-bit or 64-bit mode, with the zero page that the loader fills in.
//!
//! Manual: Linux's public "The Linux/x86 Boot Protocol", "32-bit Boot Protocol", "64-bit Boot Protocol", and its
//! "Zero Page".
//! Left out: EDD, APM and video modes other than text; the kernel finds disks and screen by itself.

use super::elf::Segment;
use super::handoff::{Block, Entry, Handoff, MAP_ROWS, Wanted, place};
use super::{KernelError, LinuxEntry};
use crate::linux_kernel::LinuxKernel;

/// The 64-bit entry lies so far behind the 32-bit one.
const ENTRY_64: u64 = 0x200;
const ZERO_PAGE: usize = 4096;
const E820_ROW: u16 = 20;

/// Offsets in the zero page, by Linux's names.
mod field {
    pub const ORIG_X: usize = 0x000;
    pub const ORIG_VIDEO_MODE: usize = 0x006;
    pub const ORIG_VIDEO_COLS: usize = 0x007;
    pub const ORIG_VIDEO_LINES: usize = 0x00e;
    pub const ORIG_VIDEO_ISVGA: usize = 0x00f;
    pub const ORIG_VIDEO_POINTS: usize = 0x010;
    pub const ACPI_RSDP_ADDR: usize = 0x070;
    pub const E820_ENTRIES: usize = 0x1e8;
    pub const SETUP_HEADER: usize = 0x1f1;
    pub const JUMP_DISTANCE: usize = 0x201;
    pub const HEADER: usize = 0x202;
    pub const VERSION: usize = 0x206;
    pub const CMD_LINE_PTR: usize = 0x228;
    pub const XLOADFLAGS: usize = 0x236;
    pub const E820_TABLE: usize = 0x2d0;
}
const XLF_KERNEL_64: u8 = 1 << 0;

/// Takes a bzImage that was placed for its real-mode entry, and has it entered in this other way.
pub fn load(kernel: LinuxKernel, entry: LinuxEntry, ram_size: u64) -> Result<Handoff, KernelError> {
    let LinuxKernel { setup, kernel, initrd, mut command_line } = kernel;
    command_line.bytes.pop(); // its final zero
    let header = &setup.bytes;
    let version = u16::from_le_bytes([header[field::VERSION], header[field::VERSION + 1]]);
    let has_64 = version >= 0x20c && header[field::XLOADFLAGS] & XLF_KERNEL_64 != 0;
    let address = match entry {
        LinuxEntry::Long if !has_64 => return Err(KernelError::No64BitEntry),
        LinuxEntry::Long => u64::from(kernel.address) + ENTRY_64,
        LinuxEntry::Protected | LinuxEntry::Real => kernel.address.into(),
    };
    let segment = Segment {
        offset: 0,
        file_size: kernel.bytes.len() as usize,
        address: kernel.address.into(),
        memory_size: kernel.bytes.len(),
    };
    let placed = place(&[segment], address, ram_size)?;
    let mut block = Block::new(&placed, &[segment], 1);
    let zero_page = block.add(&[0; ZERO_PAGE]);
    let end = field::HEADER + usize::from(header[field::JUMP_DISTANCE]);
    let end = end.min(field::E820_TABLE).min(header.len());
    block.put(zero_page + field::SETUP_HEADER, &header[field::SETUP_HEADER..end]);
    let command_line = block.add_string(&command_line.bytes);
    block.put(zero_page + field::CMD_LINE_PTR, &command_line.to_le_bytes());
    for (at, value) in [
        (field::ORIG_VIDEO_MODE, 3),
        (field::ORIG_VIDEO_COLS, 80),
        (field::ORIG_VIDEO_LINES, 25),
        (field::ORIG_VIDEO_ISVGA, 1),
        (field::ORIG_VIDEO_POINTS, 16),
    ] {
        block.put(zero_page + at, &[value]);
    }
    if !initrd.bytes.is_empty() {
        block.load_module(true, initrd.address, initrd.bytes.len() as u32);
    }
    let entry = Entry {
        address,
        esi: block.address(zero_page),
        long_mode: entry == LinuxEntry::Long,
        ..Entry::default()
    };
    let wanted = Wanted {
        map: zero_page + field::E820_TABLE,
        map_stride: E820_ROW,
        count: zero_page + field::E820_ENTRIES,
        count_unit: 1,
        rsdp: zero_page + field::ACPI_RSDP_ADDR,
        cursor: zero_page + field::ORIG_X,
        ..Wanted::default()
    };
    debug_assert!(field::E820_TABLE + usize::from(E820_ROW * MAP_ROWS) <= ZERO_PAGE, "the table fits");
    block.finish(entry, wanted, kernel.bytes.to_vec(), initrd.bytes.to_vec())
}
