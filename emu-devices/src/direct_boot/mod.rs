//! Kernels that are booted directly: finds out what a file is, checks it and decides where its parts go.
//!
//! In this order, as QEMU does it: a Linux bzImage (its setup header), a Multiboot 1 kernel (its header within the
//! first 8 KiB), an ELF executable with a PVH entry (its note). What the firmware gets of them is the same: items of
//! fw_cfg and the expansion ROM `roms/kernelboot`, which asks the firmware for the memory map and enters the kernel.

mod elf;
mod handoff;
mod linux_entry;
mod multiboot;
mod pvh;
#[cfg(test)]
mod tests;

use std::fmt;

pub use handoff::Handoff;

use crate::contents::Contents;
use crate::linux_kernel::{self, LinuxKernel};

/// In so many bytes from the start of a file lies what says which kind of kernel it is.
const HEAD: usize = 16 << 10;

/// How a bzImage is entered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LinuxEntry {
    /// Its setup code, in real mode.
    #[default]
    Real,
    /// Its 32-bit entry.
    Protected,
    /// Its 64-bit entry.
    Long,
}

/// A file that goes with a kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Module {
    /// What is in it.
    pub bytes: Contents,
    /// Its string, where the protocol has one.
    pub text: Vec<u8>,
}

/// What shall be booted.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// The kernel's file.
    pub image: Contents,
    /// Its name, the first word of a Multiboot command line.
    pub name: Vec<u8>,
    /// The command line, or the rest of it.
    pub command_line: Vec<u8>,
    /// Modules; for Linux and PVH at most one, the initial RAM disk.
    pub modules: Vec<Module>,
    /// How to enter it, if it is a bzImage.
    pub linux_entry: LinuxEntry,
    /// Bytes of RAM.
    pub ram_size: u64,
}

/// A kernel that fits its machine, with an address for each part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BootKernel {
    /// A bzImage, entered in real mode.
    Real(LinuxKernel),
    /// Anything that is entered in protected or 64-bit mode.
    Protected(Handoff),
}

/// True when the file is a Multiboot kernel, which may have several modules with a string each.
pub fn takes_modules(image: &Contents) -> bool {
    let head = image.head(HEAD);
    !linux_kernel::has_setup_header(&head) && multiboot::header(&head).is_some()
}

impl BootKernel {
    /// Finds out what the file is, checks it and places it.
    ///
    /// # Errors
    /// When it is no kernel, or no whole one, or something does not fit.
    pub fn new(request: Request) -> Result<Self, KernelError> {
        let (entry, ram_size) = (request.linux_entry, request.ram_size);
        if linux_kernel::has_setup_header(&request.image.head(HEAD)) {
            let initrd = request.modules.into_iter().next().unwrap_or_default().bytes;
            let kernel = LinuxKernel::new(request.image, initrd, &request.command_line, ram_size)?;
            return match entry {
                LinuxEntry::Real => Ok(Self::Real(kernel)),
                _ => linux_entry::load(kernel, entry, ram_size).map(Self::Protected),
            };
        }
        if entry != LinuxEntry::Real {
            return Err(KernelError::NoBzImage);
        }
        let image = request.image.to_vec();
        if let Some(header) = multiboot::header(&image) {
            return multiboot::load(request, image, header).map(Self::Protected);
        }
        if !elf::is_elf(&image) {
            return Err(KernelError::NoKernel);
        }
        match pvh::entry(&image)? {
            Some(entry) => pvh::load(request, image, entry).map(Self::Protected),
            None => Err(KernelError::NoEntry),
        }
    }
}

/// Why a kernel cannot be booted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KernelError {
    /// None of the kinds that we know.
    NoKernel,
    /// No setup header: this is something else.
    NoBzImage,
    /// An executable with neither a Multiboot header nor a PVH entry.
    NoEntry,
    /// A boot protocol older than 2.02, or a zImage.
    TooOld(u16),
    /// A bzImage that has no 64-bit entry.
    No64BitEntry,
    /// The file has fewer bytes than its header says.
    Truncated {
        /// Bytes of the file.
        found: u64,
        /// Bytes that the header speaks of.
        expected: u64,
    },
    /// A bzImage whose boot sector and setup code have so many bytes, where at most so many fit in their segment.
    Setup(usize, usize),
    /// An executable for another machine, by ELF's number for it.
    Machine(u16),
    /// An executable with a table of program headers that is none.
    Headers,
    /// A Multiboot header with these requirements.
    Requirement(u32),
    /// A Multiboot header without addresses, in a file that is not ELF.
    NoAddresses,
    /// A Multiboot header whose addresses contradict each other.
    Addresses,
    /// The entry is not in what was loaded.
    Entry(u64),
    /// A part goes where there is no RAM.
    NoRam(u64, u64),
    /// The kernel leaves no room in low memory for what the loader has to tell it.
    LowMemory,
    /// The command line has so many bytes, at most so many are allowed.
    CommandLine(usize, usize),
    /// The kernel needs memory up to one address, RAM for it ends at another.
    Memory(u64, u64),
    /// An initial RAM disk or module of so many bytes, where so many are free.
    Initrd(u64, u64),
}

impl fmt::Display for KernelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::NoKernel => write!(
                f,
                "expected a Linux bzImage, a Multiboot kernel or an ELF kernel with a PVH entry; this has the header \
                 of none"
            ),
            Self::NoBzImage => write!(f, "expected a Linux bzImage; this has no setup header"),
            Self::NoEntry => write!(f, "an ELF file with neither a Multiboot header nor a PVH entry"),
            Self::TooOld(version) => write!(
                f,
                "a kernel with boot protocol {}.{:02}; expected a bzImage with 2.02 or later",
                version >> 8,
                version & 0xff
            ),
            Self::No64BitEntry => write!(f, "this kernel has no 64-bit entry"),
            Self::Truncated { found, expected } => {
                write!(f, "a truncated kernel: {found} bytes, its header says {expected}")
            }
            Self::Setup(size, most) => {
                write!(f, "a kernel with {size} bytes of setup code; at most {most} fit in their segment")
            }
            Self::Machine(machine) => {
                write!(f, "an ELF file for another machine (number {machine}); expected 80386 or x86-64")
            }
            Self::Headers => write!(f, "an ELF file with a damaged table of program headers"),
            Self::Requirement(flags) => write!(
                f,
                "a Multiboot kernel that requires more than the protocol has (flags {flags:#x} of its header)"
            ),
            Self::NoAddresses => {
                write!(f, "a Multiboot kernel that is not ELF, and its header does not say where it goes")
            }
            Self::Addresses => write!(f, "a Multiboot header whose addresses contradict each other"),
            Self::Entry(entry) => write!(f, "the kernel's entry, {entry:#x}, is not in what is loaded of it"),
            Self::NoRam(start, end) => {
                write!(f, "the kernel goes to {start:#x} to {end:#x}, where the machine has no RAM")
            }
            Self::LowMemory => {
                write!(f, "the kernel and its command line leave no room in the memory below 640 KiB")
            }
            Self::CommandLine(length, most) => {
                write!(f, "a command line of {length} bytes; this kernel takes at most {most}")
            }
            Self::Memory(end, ram) => write!(
                f,
                "the kernel needs memory up to {} MiB; the machine has {} MiB for it",
                end.div_ceil(1 << 20),
                ram >> 20
            ),
            Self::Initrd(size, room) => write!(
                f,
                "an initial RAM disk or module of {size} bytes; beside the kernel there is room for {room} bytes"
            ),
        }
    }
}

impl std::error::Error for KernelError {}
