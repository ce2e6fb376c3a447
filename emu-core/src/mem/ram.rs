//! The one mapping behind all directly accessible guest memory: RAM, ROM and video memory, one after the
//! other in a single memfd, so that every such page is a (file, offset) that can be mapped again elsewhere.
//!
//! This is one of the three places with `unsafe`. All access is by host address and bounds-checked, so a
//! wrong address stops the emulator instead of reading its memory.

use std::fs::File;
use std::io;
use std::mem::size_of;
use std::sync::Arc;

use memmap2::{MmapOptions, MmapRaw};

use super::PAGE_SIZE;
use super::page::FrameNumber;

mod sealed {
    pub trait Sealed {}
}

/// A plain integer that guest memory can be read and written as, in little-endian order.
pub trait Scalar: Copy + sealed::Sealed {
    /// The value with its bytes in little-endian order.
    fn to_le(self) -> Self;
}

macro_rules! scalar {
    ($($t:ty)*) => {$(
        impl sealed::Sealed for $t {}
        impl Scalar for $t {
            #[inline(always)]
            fn to_le(self) -> Self {
                <$t>::to_le(self)
            }
        }
    )*};
}
scalar!(u8 u16 u32 u64 u128);

/// A handle to the mapping; cloning it does not copy memory.
#[derive(Clone, Debug)]
pub struct Ram {
    base: *mut u8,
    len: usize,
    /// Keeps the mapping alive.
    _map: Arc<MmapRaw>,
    file: Option<Arc<File>>,
}

// SAFETY: `base` points into the mapping that `_map` (itself Send and Sync) keeps alive, and is only
// dereferenced as plain integers. Two threads that write through it at once would race as two guest
// processors do; the machine runs its processors in turns on one thread.
unsafe impl Send for Ram {}

impl Ram {
    /// Maps `len` bytes (a multiple of the page size) of zeroed memory. Nothing is resident until touched.
    ///
    /// # Errors
    /// When the host refuses the file or the mapping.
    pub fn new(len: u64) -> io::Result<Self> {
        let len = usize::try_from(len).map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?;
        let (map, file) = Self::map(len)?;
        Ok(Self { base: map.as_mut_ptr(), len, _map: Arc::new(map), file: file.map(Arc::new) })
    }

    #[cfg(target_os = "linux")]
    fn map(len: usize) -> io::Result<(MmapRaw, Option<File>)> {
        use rustix::fs::{MemfdFlags, memfd_create};
        let file = File::from(memfd_create("guest-memory", MemfdFlags::CLOEXEC)?);
        file.set_len(len as u64)?;
        let map = MmapOptions::new().len(len).map_raw(&file)?;
        Ok((map, Some(file)))
    }

    #[cfg(not(target_os = "linux"))]
    fn map(len: usize) -> io::Result<(MmapRaw, Option<File>)> {
        Ok((MmapOptions::new().len(len).map_anon()?.into(), None))
    }

    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True for a mapping of no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The file behind the mapping, where the host has one.
    pub fn file(&self) -> Option<&File> {
        self.file.as_deref()
    }

    /// Host address of the byte at `offset`.
    ///
    /// # Panics
    /// When `offset` lies outside the mapping.
    #[inline]
    pub fn host(&self, offset: usize) -> usize {
        assert!(offset < self.len, "offset {offset:#x} is outside guest memory");
        self.base as usize + offset
    }

    /// Number of the frame of a host address inside the mapping.
    #[inline]
    pub fn frame_at(&self, host: usize) -> FrameNumber {
        (host.wrapping_sub(self.base as usize) / PAGE_SIZE as usize) as FrameNumber
    }

    #[inline(always)]
    fn checked(&self, host: usize, size: usize) -> *mut u8 {
        let offset = host.wrapping_sub(self.base as usize);
        if offset > self.len.wrapping_sub(size) {
            outside();
        }
        // SAFETY: `offset + size <= len`, so the pointer stays in the mapping (`len >= size` because the
        // mapping holds at least one page and no scalar is larger).
        unsafe { self.base.add(offset) }
    }

    /// Reads a value at a host address inside the mapping; no alignment is needed.
    ///
    /// # Panics
    /// When the address lies outside the mapping.
    #[inline(always)]
    pub fn load<T: Scalar>(&self, host: usize) -> T {
        let pointer = self.checked(host, size_of::<T>());
        // SAFETY: `checked` keeps the whole value inside the mapping; any bytes are a valid integer.
        unsafe { pointer.cast::<T>().read_unaligned() }.to_le()
    }

    /// Writes a value at a host address inside the mapping; no alignment is needed.
    ///
    /// # Panics
    /// When the address lies outside the mapping.
    #[inline(always)]
    pub fn store<T: Scalar>(&self, host: usize, value: T) {
        let pointer = self.checked(host, size_of::<T>());
        // SAFETY: `checked` keeps the whole value inside the mapping, which is mapped writable.
        unsafe { pointer.cast::<T>().write_unaligned(value.to_le()) }
    }

    /// Copies bytes out, from the host address `host` on.
    ///
    /// # Panics
    /// When the range leaves the mapping.
    pub fn read_slice(&self, host: usize, out: &mut [u8]) {
        assert!(out.len() <= self.len, "range is larger than guest memory");
        let pointer = self.checked(host, out.len());
        // SAFETY: the source range lies in the mapping; `out` is a Rust slice, which never lies there.
        unsafe { std::ptr::copy_nonoverlapping(pointer, out.as_mut_ptr(), out.len()) }
    }

    /// Copies bytes in, from the host address `host` on.
    ///
    /// # Panics
    /// When the range leaves the mapping.
    pub fn write_slice(&self, host: usize, bytes: &[u8]) {
        assert!(bytes.len() <= self.len, "range is larger than guest memory");
        let pointer = self.checked(host, bytes.len());
        // SAFETY: the target range lies in the mapping; `bytes` is a Rust slice, which never lies there.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), pointer, bytes.len()) }
    }

    /// Copies `len` bytes inside the mapping, as if by way of a buffer when the ranges overlap.
    ///
    /// # Panics
    /// When a range leaves the mapping.
    pub fn copy(&self, from: usize, to: usize, len: usize) {
        assert!(len <= self.len, "range is larger than guest memory");
        let (from, to) = (self.checked(from, len), self.checked(to, len));
        // SAFETY: both ranges lie in the mapping, which is mapped readable and writable.
        unsafe { std::ptr::copy(from, to, len) }
    }

    /// Fills `len` bytes.
    ///
    /// # Panics
    /// When the range leaves the mapping.
    pub fn fill(&self, to: usize, len: usize, byte: u8) {
        assert!(len <= self.len, "range is larger than guest memory");
        let to = self.checked(to, len);
        // SAFETY: the range lies in the mapping, which is mapped writable.
        unsafe { std::ptr::write_bytes(to, byte, len) }
    }
}

#[cold]
#[inline(never)]
fn outside() -> ! {
    panic!("access outside guest memory: a translation-cache entry is wrong")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_little_endian_and_unaligned() {
        let ram = Ram::new(4096).unwrap();
        ram.store(ram.host(1), 0x1122_3344u32);
        assert_eq!(ram.load::<u8>(ram.host(1)), 0x44);
        assert_eq!(ram.load::<u16>(ram.host(3)), 0x1122);
    }

    #[test]
    fn ranges_are_filled_and_copied_also_onto_themselves() {
        let ram = Ram::new(4096).unwrap();
        ram.write_slice(ram.host(0), b"abcdef");
        ram.copy(ram.host(0), ram.host(2), 4);
        ram.fill(ram.host(6), 2, b'z');
        let mut out = [0; 9];
        ram.read_slice(ram.host(0), &mut out);
        assert_eq!(&out, b"ababcdzz\0");
    }

    #[test]
    #[should_panic(expected = "outside guest memory")]
    fn a_copy_over_the_end_panics() {
        let ram = Ram::new(4096).unwrap();
        ram.copy(ram.host(0), ram.host(4090), 7);
    }

    #[test]
    #[should_panic(expected = "outside guest memory")]
    fn an_access_over_the_end_panics() {
        let ram = Ram::new(4096).unwrap();
        ram.load::<u32>(ram.host(4093));
    }
}
