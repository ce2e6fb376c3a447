//! Memory for translated code: one file mapped twice, once to write and once to execute. No address is ever both.
//!
//! This is one of the places with `unsafe`: nothing but the two mappings and copying into the first.

use std::fs::File;
use std::io;

use memmap2::{MmapMut, MmapOptions, MmapRaw};
use rustix::fs::{MemfdFlags, memfd_create};

/// An arena of host code.
#[derive(Debug)]
pub struct CodeBuffer {
    writable: MmapMut,
    executable: MmapRaw,
    used: usize,
}

impl CodeBuffer {
    /// Maps room for `size` bytes.
    ///
    /// # Errors
    /// When the host refuses the file or a mapping.
    pub fn new(size: usize) -> io::Result<Self> {
        let file = File::from(memfd_create("translated-code", MemfdFlags::CLOEXEC)?);
        file.set_len(size as u64)?;
        // SAFETY: the file is this object's own and no other process can shrink or write it.
        let writable = unsafe { MmapOptions::new().len(size).map_mut(&file)? };
        // SAFETY: as above.
        let executable = unsafe { MmapOptions::new().len(size).map_exec(&file)? };
        Ok(Self { writable, executable: executable.into(), used: 0 })
    }

    /// Address at which the next code will run.
    pub fn next(&self) -> usize {
        self.executable.as_ptr() as usize + self.used
    }

    /// Is there room for `size` more bytes?
    pub fn has_room(&self, size: usize) -> bool {
        self.writable.len() - self.used >= size
    }

    /// Appends code that was assembled for the address [`next`](Self::next), and returns that address.
    ///
    /// # Panics
    /// Without room.
    pub fn push(&mut self, code: &[u8]) -> usize {
        let address = self.next();
        self.writable[self.used..self.used + code.len()].copy_from_slice(code);
        self.used = (self.used + code.len()).next_multiple_of(16).min(self.writable.len());
        address
    }

    /// Points the 32-bit relative operand at `site` (an address in the executable mapping) to `target`.
    pub fn link(&mut self, site: usize, target: usize) {
        let at = site - self.executable.as_ptr() as usize;
        let distance = target.wrapping_sub(site + 4) as i32;
        self.writable[at..at + 4].copy_from_slice(&distance.to_le_bytes());
    }

    /// Bytes in use.
    pub fn used(&self) -> usize {
        self.used
    }

    /// Forgets everything beyond the first `keep` bytes.
    pub fn truncate(&mut self, keep: usize) {
        self.used = keep;
    }
}
