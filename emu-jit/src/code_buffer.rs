//! Memory for translated code: the same pages mapped twice, once to write and once to execute. No address is ever both.
//!
//! This is one of the places with `unsafe`: nothing but the two mappings and copying into the first. The pages are
//! shared anonymous memory, which `perf` looks for in the map that a process writes of its code.

use std::io;
use std::ops::Range;
use std::ptr::null_mut;

use rustix::mm::{
    Advice, MapFlags, MprotectFlags, MremapFlags, ProtFlags, madvise, mmap_anonymous, mprotect, mremap,
    munmap,
};

/// Bytes that are written before the host may take the pages written so far out of the mapping for writing, where
/// they count as memory a second time. Links bring single pages back.
const PIECE: usize = 256 << 10;

/// An arena of host code.
#[derive(Debug)]
pub struct CodeBuffer {
    /// Addresses of the two mappings, which are this object's own.
    writable: usize,
    executable: usize,
    size: usize,
    used: usize,
}

impl CodeBuffer {
    /// Maps room for `size` bytes.
    ///
    /// # Errors
    /// When the host refuses a mapping.
    pub fn new(size: usize) -> io::Result<Self> {
        // SAFETY: a new mapping, wherever the host likes.
        let writable = unsafe {
            mmap_anonymous(null_mut(), size, ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED)?
        };
        let mut buffer = Self { writable: writable as usize, executable: 0, size, used: 0 };
        // SAFETY: of a shared mapping, an old size of 0 makes another one of the same pages.
        let executable = unsafe { mremap(writable, 0, size, MremapFlags::MAYMOVE)? };
        buffer.executable = executable as usize;
        // SAFETY: it is this object's own and nobody has its address yet.
        unsafe { mprotect(executable, size, MprotectFlags::READ | MprotectFlags::EXEC)? };
        Ok(buffer)
    }

    /// The bytes to write.
    fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: the mapping has this size and lives as long as the object; nothing else refers to it.
        unsafe { std::slice::from_raw_parts_mut(self.writable as *mut u8, self.size) }
    }

    /// Address at which the next code will run.
    pub fn next(&self) -> usize {
        self.executable + self.used
    }

    /// Addresses at which code can lie.
    pub fn range(&self) -> Range<usize> {
        self.executable..self.executable + self.size
    }

    /// Is there room for `size` more bytes?
    pub fn has_room(&self, size: usize) -> bool {
        self.size - self.used >= size
    }

    /// Appends code that was assembled for the address [`next`](Self::next), and returns that address.
    ///
    /// # Panics
    /// Without room.
    pub fn push(&mut self, code: &[u8]) -> usize {
        let (address, from) = (self.next(), self.used);
        self.bytes()[from..from + code.len()].copy_from_slice(code);
        self.used = (from + code.len()).next_multiple_of(16).min(self.size);
        let whole = self.used / PIECE * PIECE;
        if whole > from {
            // SAFETY: within the mapping, which is shared: what was written stays, and is there when it is touched
            // again. A failure would only keep the memory.
            let _ = unsafe { madvise(self.writable as *mut _, whole, Advice::LinuxDontNeed) };
        }
        address
    }

    /// Points the 32-bit relative operand at `site` (an address in the executable mapping) to `target`.
    pub fn link(&mut self, site: usize, target: usize) {
        let at = site - self.executable;
        let distance = target.wrapping_sub(site + 4) as i32;
        self.bytes()[at..at + 4].copy_from_slice(&distance.to_le_bytes());
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

impl Drop for CodeBuffer {
    fn drop(&mut self) {
        for address in [self.writable, self.executable] {
            if address != 0 {
                // SAFETY: the mapping is this object's own, and code in it runs only while the engine is borrowed.
                // A failure would only keep the memory.
                let _ = unsafe { munmap(address as *mut _, self.size) };
            }
        }
    }
}
