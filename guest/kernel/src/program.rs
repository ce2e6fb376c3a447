//! User programs: the catalogue on the disk, and loading an ELF-64 file into a new address space.

use crate::frames::{self, FRAME};
use crate::ide::{self, Form, WORDS};
use crate::layout::{CATALOGUE_ENTRY, CATALOGUE_LBA, CATALOGUE_NAME, SECTOR};
use crate::paging::{self, NX, U, W};
use crate::task::Program;

/// Top of the user stack, and its size.
pub const STACK_TOP: u64 = 0x7FFF_FFFF_0000;
const STACK_PAGES: u64 = 4;

/// One entry of the catalogue.
#[derive(Clone, Copy)]
pub struct Entry {
    /// Padded with zeros.
    pub name: [u8; CATALOGUE_NAME],
    /// First sector.
    pub lba: u64,
    /// Length of the file.
    pub bytes: u64,
}

/// Why a program does not start.
#[derive(Clone, Copy, Debug)]
pub enum LoadError {
    /// Not in the catalogue.
    NotFound,
    /// The disk did not give it.
    Disk,
    /// Not an ELF file that we can load.
    BadFile,
    /// No memory left.
    Memory,
}

/// The entries of the catalogue, in its order.
pub fn catalogue() -> Result<impl Iterator<Item = Entry>, LoadError> {
    let mut sector = [[0u16; WORDS]];
    ide::read(CATALOGUE_LBA as u64, Form::Lba28, &mut sector).map_err(|_| LoadError::Disk)?;
    let bytes: [u8; SECTOR] = core::array::from_fn(|i| sector[0][i / 2].to_le_bytes()[i % 2]);
    Ok((0..SECTOR / CATALOGUE_ENTRY).filter_map(move |i| {
        let entry = &bytes[i * CATALOGUE_ENTRY..][..CATALOGUE_ENTRY];
        let number = |at: usize| u64::from(u32::from_le_bytes([0, 1, 2, 3].map(|k| entry[at + k])));
        (entry[0] != 0).then(|| Entry {
            name: core::array::from_fn(|k| entry[k]),
            lba: number(CATALOGUE_NAME),
            bytes: number(CATALOGUE_NAME + 4),
        })
    }))
}

/// The name without its padding.
pub fn name_of(padded: &[u8; 16]) -> &str {
    let length = padded.iter().position(|&byte| byte == 0).unwrap_or(padded.len());
    core::str::from_utf8(&padded[..length]).unwrap_or("?")
}

/// Loads a program of the catalogue.
pub fn load(name: &str, argument: u64) -> Result<Program, LoadError> {
    let entry = catalogue()?.find(|entry| name_of(&entry.name) == name).ok_or(LoadError::NotFound)?;
    let file = File { lba: entry.lba, bytes: entry.bytes };
    let root = paging::new_space().ok_or(LoadError::Memory)?;
    match load_segments(&file, root) {
        Ok(entry) => Ok(Program { root, entry, stack: STACK_TOP, argument }),
        Err(error) => {
            paging::free_space(root);
            Err(error)
        }
    }
}

/// A program of a few bytes of machine code, at 0x400000. For the self-test.
pub fn from_code(code: &[u8], argument: u64) -> Result<Program, LoadError> {
    const CODE: u64 = 0x40_0000;
    let root = paging::new_space().ok_or(LoadError::Memory)?;
    let build = || {
        user_page(root, CODE, 0, |page| page[..code.len()].copy_from_slice(code))?;
        map_stack(root)
    };
    match build() {
        Ok(()) => Ok(Program { root, entry: CODE, stack: STACK_TOP, argument }),
        Err(error) => {
            paging::free_space(root);
            Err(error)
        }
    }
}

struct File {
    lba: u64,
    bytes: u64,
}

impl File {
    /// Copies bytes of the file. The disk gives whole sectors, eight at a time.
    fn read(&self, offset: u64, to: &mut [u8]) -> Result<(), LoadError> {
        if offset.checked_add(to.len() as u64).is_none_or(|end| end > self.bytes) {
            return Err(LoadError::BadFile);
        }
        let mut done = 0;
        while done < to.len() {
            let at = offset + done as u64;
            let first = at / SECTOR as u64;
            let skip = (at % SECTOR as u64) as usize;
            let mut sectors = [[0u16; WORDS]; 8];
            let count = (skip + to.len() - done).div_ceil(SECTOR).min(sectors.len());
            ide::read(self.lba + first, Form::Lba28, &mut sectors[..count]).map_err(|_| LoadError::Disk)?;
            let take = (count * SECTOR - skip).min(to.len() - done);
            for (i, byte) in to[done..done + take].iter_mut().enumerate() {
                let word = (skip + i) / 2;
                *byte = sectors[word / WORDS][word % WORDS].to_le_bytes()[(skip + i) % 2];
            }
            done += take;
        }
        Ok(())
    }
}

/// Maps all PT_LOAD segments and a stack; returns the entry point (ELF-64, "Program Header").
fn load_segments(file: &File, root: u64) -> Result<u64, LoadError> {
    let mut header = [0; 64];
    file.read(0, &mut header)?;
    let [entry, table] = [24, 32].map(|at| read64(&header, at));
    let count = u64::from(header[56]);
    // 64 bits, little endian, executable, x86-64.
    if header[..6] != *b"\x7FELF\x02\x01" || header[16] != 2 || header[18] != 62 {
        return Err(LoadError::BadFile);
    }
    for i in 0..count {
        let mut segment = [0; 56];
        file.read(table.saturating_add(i * 56), &mut segment)?;
        let kind = segment[0];
        let flags = segment[4]; // 1 execute, 2 write
        let [offset, address, file_size, memory_size] = [8, 16, 32, 40].map(|at| read64(&segment, at));
        if kind != 1 || memory_size == 0 {
            continue;
        }
        let end = address.checked_add(memory_size).ok_or(LoadError::BadFile)?;
        if address < FRAME || end > STACK_TOP - STACK_PAGES * FRAME || file_size > memory_size {
            return Err(LoadError::BadFile);
        }
        let rights = if flags & 2 != 0 { W } else { 0 } | if flags & 1 != 0 { 0 } else { NX };
        for page in (address & !(FRAME - 1)..end).step_by(FRAME as usize) {
            // The part of the file that falls into this page.
            let from = page.max(address);
            let to = (page + FRAME).min(address + file_size);
            let mut result = Ok(());
            user_page(root, page, rights, |bytes| {
                if from < to {
                    let part = &mut bytes[(from - page) as usize..(to - page) as usize];
                    result = file.read(offset + (from - address), part);
                }
            })?;
            result?;
        }
    }
    map_stack(root)?;
    Ok(entry)
}

fn map_stack(root: u64) -> Result<(), LoadError> {
    (1..=STACK_PAGES).try_for_each(|i| user_page(root, STACK_TOP - i * FRAME, W | NX, |_| {}))
}

/// Maps a fresh zeroed page for ring 3 and lets `fill` write to it.
pub fn user_page(
    root: u64,
    address: u64,
    rights: u64,
    fill: impl FnOnce(&mut [u8]),
) -> Result<(), LoadError> {
    let already = paging::entry(root, address);
    // SAFETY: `entry` returns pointers into page tables.
    if already.is_some_and(|entry| unsafe { *entry } & paging::P != 0) {
        return Err(LoadError::BadFile); // two segments in one page
    }
    let frame = frames::alloc_zeroed().ok_or(LoadError::Memory)?;
    // SAFETY: the frame is fresh; the direct map covers all of it.
    fill(unsafe { core::slice::from_raw_parts_mut(paging::direct(frame) as *mut u8, FRAME as usize) });
    paging::map(root, address, frame, rights | U);
    Ok(())
}

fn read64(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(core::array::from_fn(|i| bytes[at + i]))
}
