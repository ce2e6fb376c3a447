//! What the kernel boot ROM is told when a kernel starts in protected mode: registers, tables, what to load where,
//! and where the firmware's memory map goes.
//!
//! The host lays out one *block* of low memory. The ROM loads it, fills in what only the firmware knows, has fw_cfg
//! copy the kernel by the commands of the block, and enters. Its head, in little-endian order (`roms/kernelboot` reads
//! it; offsets are from the block's beginning, and 0 means that nobody wants that):
//!
//! | at | bytes | what |
//! | --- | --- | --- |
//! | 00h | 4 × 4 | entry, EAX, EBX, ESI |
//! | 10h | 4 | CR3 for an entry in 64-bit mode, 0 for one in 32-bit mode |
//! | 14h | 2 × 3 | memory map: offset of the first row, bytes from row to row, most rows |
//! | 1Ah | 2 × 2 | offset of the count of rows; what each row counts |
//! | 1Eh | 2 | offset of the KiB below 1 MiB, followed by those above it |
//! | 20h | 2 | offset of the RSDP's address |
//! | 22h | 2 | offset of the cursor's column and row |
//! | 24h | 2 | offset of the commands for fw_cfg's DMA; a command of zeros ends them |
//! | 28h | 6 | GDTR |
//! | 30h | 6 × 8 | GDT: nothing, 32-bit code, the entry's code, data, TSS |
//! | 60h | 104 | TSS |
//! | 300h | | end of the stack |

use super::KernelError;
use super::elf::Segment;
use crate::fw_cfg::key;
use crate::linux_kernel::{FIRMWARE_RESERVE, Part};
use crate::pc::low_ram;

/// Rows that fit in the memory map of every protocol.
pub const MAP_ROWS: u16 = 128;
/// Blocks lie in here: above what firmware and boot sectors use, below what a small extended BIOS data area takes.
const LOW_MEMORY: std::ops::Range<u64> = 0x1_0000..0x9_0000;
const LOW_END: u64 = 0xa_0000;
const HIGH_START: u64 = 0x10_0000;
pub const PAGE: u64 = 4096;
/// Where the commands begin: the stack lies below.
const COMMANDS: usize = 0x300;
/// The largest block; offsets in its head have 16 bits, and only strings and tables lie further on.
const BLOCK_MAX: usize = 0x4_0000;
/// An item that is never set reads as zeros.
const ZEROS: u16 = 0x3fff;

const DMA_READ: u32 = 1 << 1;
const DMA_SKIP: u32 = 1 << 2;
const DMA_SELECT: u32 = 1 << 3;

/// Flat descriptors, 4 GiB each, present and accessed.
const CODE_32: u64 = 0x00cf_9b00_0000_ffff;
const CODE_64: u64 = 0x00af_9b00_0000_ffff;
const DATA: u64 = 0x00cf_9300_0000_ffff;
/// Available 32-bit TSS of 104 bytes, without its base.
const TSS: u64 = 0x0000_8900_0000_0067;

/// A kernel that is entered in protected or 64-bit mode, ready for the firmware.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handoff {
    /// Physical address of the first instruction.
    pub entry: u32,
    /// The block.
    pub block: Part,
    /// The kernel's file.
    pub image: Vec<u8>,
    /// The modules, one behind the other.
    pub modules: Vec<u8>,
}

/// Where something is that the ROM fills in, as offsets in the block.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wanted {
    /// First row of the memory map.
    pub map: usize,
    /// Bytes from row to row.
    pub map_stride: u16,
    /// The count of rows, 32 bits.
    pub count: usize,
    /// What each row counts.
    pub count_unit: u16,
    /// KiB of memory below 1 MiB, then above.
    pub memory: usize,
    /// Address of the RSDP.
    pub rsdp: usize,
    /// Column and row of the cursor.
    pub cursor: usize,
}

/// Registers at the entry.
#[derive(Clone, Copy, Debug, Default)]
pub struct Entry {
    /// First instruction.
    pub address: u64,
    /// EAX.
    pub eax: u32,
    /// EBX.
    pub ebx: u32,
    /// ESI.
    pub esi: u32,
    /// Enter in 64-bit mode.
    pub long_mode: bool,
}

/// A block while it is filled. Everything gets its offset at once, and its address when the block has its place.
pub struct Block {
    bytes: Vec<u8>,
    commands: Vec<[u32; 4]>,
    base: u64,
}

/// What lies in memory beside the block.
pub struct Placed {
    /// Address behind the kernel's last segment above 1 MiB.
    pub high_end: u64,
    /// Where the block goes.
    pub base: u64,
    /// End of the RAM that kernels and modules may use.
    pub ram_end: u64,
}

/// Checks that segments lie in RAM and leaves room for a block.
///
/// # Errors
/// When they do not.
pub fn place(segments: &[Segment], entry: u64, ram_size: u64) -> Result<Placed, KernelError> {
    let ram_end = low_ram(ram_size).saturating_sub(FIRMWARE_RESERVE);
    let mut high_end = HIGH_START;
    for segment in segments {
        let start = segment.address;
        let end = start.saturating_add(segment.memory_size);
        if start >= HIGH_START {
            if end > ram_end {
                return Err(KernelError::Memory(end, ram_end));
            }
            high_end = high_end.max(end);
        } else if end > LOW_END {
            return Err(KernelError::NoRam(start, end));
        }
    }
    let within =
        |segment: &Segment| entry.checked_sub(segment.address).is_some_and(|at| at < segment.memory_size);
    if !segments.iter().any(within) {
        return Err(KernelError::Entry(entry));
    }
    let free = |base: &u64| {
        let end = base + BLOCK_MAX as u64;
        segments
            .iter()
            .all(|segment| segment.address >= end || segment.address + segment.memory_size <= *base)
    };
    let mut bases = (LOW_MEMORY.start..=LOW_MEMORY.end - BLOCK_MAX as u64).step_by(PAGE as usize);
    let base = bases.find(free).ok_or(KernelError::LowMemory)?;
    Ok(Placed { high_end, base, ram_end })
}

impl Block {
    /// An empty block that will lie there; the commands that load the segments of the file come first.
    pub fn new(placed: &Placed, segments: &[Segment], modules: usize) -> Self {
        let mut commands = Vec::new();
        for segment in segments {
            let mut address = segment.address as u32;
            if segment.file_size > 0 {
                let select = u32::from(key::KERNEL_DATA) << 16 | DMA_SELECT | DMA_SKIP;
                commands.push([select, segment.offset as u32, 0, 0]);
                commands.push([DMA_READ, segment.file_size as u32, 0, address]);
                address = address.wrapping_add(segment.file_size as u32);
            }
            let zeros = segment.memory_size as u32 - segment.file_size as u32;
            if zeros > 0 {
                commands.push([u32::from(ZEROS) << 16 | DMA_SELECT | DMA_READ, zeros, 0, address]);
            }
        }
        let mut bytes = vec![0; COMMANDS + (commands.len() + modules + 1) * 16];
        bytes.resize(bytes.len().next_multiple_of(16), 0);
        Self { bytes, commands, base: placed.base }
    }

    /// Adds bytes on a boundary of 16; returns their offset.
    pub fn add(&mut self, bytes: &[u8]) -> usize {
        let offset = self.bytes.len().next_multiple_of(16);
        self.bytes.resize(offset, 0);
        self.bytes.extend_from_slice(bytes);
        offset
    }

    /// Adds a string with its final zero; returns its address.
    pub fn add_string(&mut self, text: &[u8]) -> u32 {
        let offset = self.add(text);
        self.bytes.push(0);
        self.address(offset)
    }

    /// The address of an offset.
    pub fn address(&self, offset: usize) -> u32 {
        (self.base + offset as u64) as u32
    }

    /// Writes over what lies there.
    pub fn put(&mut self, offset: usize, bytes: &[u8]) {
        self.bytes[offset..offset + bytes.len()].copy_from_slice(bytes);
    }

    /// Has so many bytes of the modules' item go there: the first call its first bytes, and so on.
    pub fn load_module(&mut self, first: bool, address: u32, size: u32) {
        let select = if first { u32::from(key::INITRD_DATA) << 16 | DMA_SELECT } else { 0 };
        self.commands.push([select | DMA_READ, size, 0, address]);
    }

    /// Writes head and commands.
    ///
    /// # Errors
    /// When the block has become too large.
    pub fn finish(
        mut self,
        entry: Entry,
        wanted: Wanted,
        image: Vec<u8>,
        modules: Vec<u8>,
    ) -> Result<Handoff, KernelError> {
        let cr3 = if entry.long_mode { self.add_page_tables() } else { 0 };
        if self.bytes.len() > BLOCK_MAX {
            return Err(KernelError::LowMemory);
        }
        for (number, value) in
            [entry.address as u32, entry.eax, entry.ebx, entry.esi, cr3].into_iter().enumerate()
        {
            self.put(4 * number, &value.to_le_bytes());
        }
        let words = [
            wanted.map as u16,
            wanted.map_stride,
            MAP_ROWS,
            wanted.count as u16,
            wanted.count_unit,
            wanted.memory as u16,
            wanted.rsdp as u16,
            wanted.cursor as u16,
            COMMANDS as u16,
        ];
        words.iter().enumerate().for_each(|(number, word)| self.put(0x14 + 2 * number, &word.to_le_bytes()));
        self.put(0x28, &[0x27, 0]);
        self.put(0x2a, &self.address(0x30).to_le_bytes());
        let tss = TSS | u64::from(self.address(0x60)) << 16;
        let code = if entry.long_mode { CODE_64 } else { CODE_32 };
        for (number, descriptor) in [0, CODE_32, code, DATA, tss].into_iter().enumerate() {
            self.put(0x30 + 8 * number, &descriptor.to_le_bytes());
        }
        let commands: Vec<u8> =
            self.commands.iter().flatten().flat_map(|field| field.to_be_bytes()).collect();
        self.put(COMMANDS, &commands);
        let block = Part { address: self.base as u32, bytes: self.bytes };
        Ok(Handoff { entry: entry.address as u32, block, image, modules })
    }

    /// Maps the lower 4 GiB one to one by pages of 2 MiB; returns the address of the root.
    fn add_page_tables(&mut self) -> u32 {
        const LARGE: u64 = 0x83;
        const TABLE: u64 = 0x03;
        let root = self.bytes.len().next_multiple_of(PAGE as usize);
        self.bytes.resize(root, 0);
        let page = |number: u64| u64::from(self.address(root)) + number * PAGE;
        let mut tables = vec![0u64; 512];
        tables[0] = page(1) | TABLE;
        tables.extend((0..512).map(|row| if row < 4 { page(2 + row) | TABLE } else { 0 }));
        tables.extend((0..2048).map(|row| row << 21 | LARGE));
        self.bytes.extend(tables.iter().flat_map(|entry| entry.to_le_bytes()));
        self.address(root)
    }
}
