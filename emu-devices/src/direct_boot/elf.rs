//! What a loader needs of an ELF executable: its segments by physical address, its entry, its Xen notes.
//!
//! Manual: "Executable and Linking Format (ELF)", part 1, and its 64-bit edition.
//! Modelled: little-endian executables for the 80386 and for x86-64. Left out: sections, symbols, relocation.

use super::KernelError;

const PT_LOAD: u32 = 1;
const PT_NOTE: u32 = 4;
const PF_X: u32 = 1;
const EM_386: u16 = 3;
const EM_X86_64: u16 = 62;
const CLASS_64: u8 = 2;
/// More program headers than any kernel has.
const HEADERS_MAX: usize = 64;

/// A loadable segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// First byte in the file.
    pub offset: usize,
    /// Bytes in the file.
    pub file_size: usize,
    /// Where it goes.
    pub address: u64,
    /// Bytes in memory; those behind the file's are zeros.
    pub memory_size: u64,
}

/// A program header.
#[derive(Clone, Copy)]
struct Header {
    kind: u32,
    flags: u32,
    offset: u64,
    virtual_address: u64,
    address: u64,
    file_size: u64,
    memory_size: u64,
    alignment: u64,
}

/// An executable.
pub struct Elf<'a> {
    image: &'a [u8],
    headers: Vec<Header>,
    entry: u64,
}

/// True when the file calls itself ELF.
pub fn is_elf(image: &[u8]) -> bool {
    image.starts_with(b"\x7fELF")
}

fn number(image: &[u8], at: u64, size: usize) -> Option<u64> {
    let at = usize::try_from(at).ok()?;
    let bytes = image.get(at..at.checked_add(size)?)?;
    Some(bytes.iter().rev().fold(0, |sum, &byte| sum << 8 | u64::from(byte)))
}

impl<'a> Elf<'a> {
    /// Reads the headers.
    ///
    /// # Errors
    /// When this is no executable for a PC, or ends too early.
    pub fn read(image: &'a [u8]) -> Result<Self, KernelError> {
        let truncated = |expected: u64| KernelError::Truncated { found: image.len() as u64, expected };
        let get = |at: u64, size: usize| {
            number(image, at, size).ok_or_else(|| truncated(at.saturating_add(size as u64)))
        };
        let (class, order, machine) = (get(4, 1)? as u8, get(5, 1)?, get(18, 2)? as u16);
        let wide = class == CLASS_64;
        if !is_elf(image) || order != 1 || !matches!((wide, machine), (false, EM_386) | (_, EM_X86_64)) {
            return Err(KernelError::Machine(machine));
        }
        let word = if wide { 8 } else { 4 };
        let entry = get(24, word)?;
        let table = get(24 + word as u64, word)?;
        let (size, count) = if wide { (get(54, 2)?, get(56, 2)?) } else { (get(42, 2)?, get(44, 2)?) };
        let least = if wide { 56 } else { 32 };
        if count as usize > HEADERS_MAX || count > 0 && size < least {
            return Err(KernelError::Headers);
        }
        let mut headers = Vec::new();
        for row in 0..count {
            let at = table.saturating_add(row * size);
            // In the 64-bit table the flags stand second, in the other last but one.
            let field = |narrow: u64, wider: u64| {
                if wide { get(at.saturating_add(wider), 8) } else { get(at.saturating_add(narrow), 4) }
            };
            headers.push(Header {
                kind: get(at, 4)? as u32,
                flags: get(at.saturating_add(if wide { 4 } else { 24 }), 4)? as u32,
                offset: field(4, 8)?,
                virtual_address: field(8, 16)?,
                address: field(12, 24)?,
                file_size: field(16, 32)?,
                memory_size: field(20, 40)?,
                alignment: field(28, 48)?,
            });
        }
        for header in headers.iter().filter(|header| matches!(header.kind, PT_LOAD | PT_NOTE)) {
            let end = header.offset.saturating_add(header.file_size);
            if header.file_size > 0 && end > image.len() as u64 {
                return Err(truncated(end));
            }
        }
        Ok(Self { image, headers, entry })
    }

    /// The segments that take memory.
    pub fn segments(&self) -> Vec<Segment> {
        let loads = self.headers.iter().filter(|header| header.kind == PT_LOAD);
        loads
            .map(|header| Segment {
                offset: header.offset as usize,
                file_size: header.file_size as usize,
                address: header.address,
                memory_size: header.memory_size.max(header.file_size),
            })
            .filter(|segment| segment.memory_size > 0)
            .collect()
    }

    /// The entry's physical address: kernels give a virtual one, of a segment with instructions, or a physical one.
    pub fn entry(&self) -> u64 {
        let within = |header: &&Header| {
            header.kind == PT_LOAD
                && header.flags & PF_X != 0
                && self.entry.checked_sub(header.virtual_address).is_some_and(|at| at < header.file_size)
        };
        self.headers
            .iter()
            .find(within)
            .map_or(self.entry, |header| (self.entry - header.virtual_address).wrapping_add(header.address))
    }

    /// The number in the first note of this kind of the vendor "Xen".
    pub fn xen_note(&self, kind: u32) -> Option<u64> {
        let notes = self.headers.iter().filter(|header| header.kind == PT_NOTE);
        notes.filter(|header| header.file_size > 0).find_map(|header| {
            let start = header.offset as usize;
            find_note(&self.image[start..start + header.file_size as usize], header.alignment, kind)
        })
    }
}

/// Name size, value size, kind, name, value; name and value padded to the alignment.
fn find_note(notes: &[u8], alignment: u64, kind: u32) -> Option<u64> {
    let padding = if alignment == 8 { 8 } else { 4 };
    let mut at = 0u64;
    loop {
        let name_size = number(notes, at, 4)?;
        let value_size = number(notes, at + 4, 4)?;
        let name = at + 12;
        let value = (name + name_size).next_multiple_of(padding);
        if number(notes, at + 8, 4)? == kind.into() && name_size == 4 && number(notes, name, 4)? == XEN {
            return number(notes, value, if value_size >= 8 { 8 } else { 4 });
        }
        at = (value + value_size).next_multiple_of(padding);
    }
}

/// "Xen" with its zero.
const XEN: u64 = 0x006e_6558;
