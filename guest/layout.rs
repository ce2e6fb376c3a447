// Where everything lies on the disk image and in low memory.
//
// The build script, the library, the tests and the kernel all include this one file, so a number is never
// written twice in Rust. The boot code is assembly and repeats three of them; a unit test compares.

/// Bytes in one disk sector.
pub const SECTOR: usize = 512;
/// Size of the whole image, not quite 4 MiB: whole cylinders of 16 heads and 63 sectors, because a drive has no
/// cylinder, head and sector for what is left over.
pub const IMAGE_SECTORS: usize = 8 * 16 * 63;
/// Boot sector and the loader behind it, one piece that runs at 0x7C00.
pub const BOOT_SECTORS: usize = 32;
/// One sector that lists the user programs.
pub const CATALOGUE_LBA: usize = 40;
/// First sector of the kernel's ELF file.
pub const KERNEL_LBA: usize = 64;
/// The most sectors that the loader has room for below the EBDA (0x20000 to 0x90000).
pub const KERNEL_MAX_SECTORS: usize = (0x9_0000 - 0x2_0000) / SECTOR;
/// An area that nothing else uses: the self-test writes here.
pub const SCRATCH_LBA: usize = IMAGE_SECTORS - 64;
/// Length of that area.
pub const SCRATCH_SECTORS: usize = 64;

/// Offset in the boot sector of the kernel's first sector (u32), its length in sectors (u16) and the
/// options byte (bit 0: read by CHS even when the BIOS has EDD).
pub const BOOT_PARAMETERS: usize = 0x1A8;
/// Offset of the options byte.
pub const BOOT_OPTIONS: usize = BOOT_PARAMETERS + 6;

/// One catalogue entry: 16 bytes of name padded with zeros, first sector (u32), length in bytes (u32), 8 spare.
pub const CATALOGUE_ENTRY: usize = 32;
/// Bytes of name in an entry.
pub const CATALOGUE_NAME: usize = 16;
