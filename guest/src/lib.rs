//! The bundled teaching kernel and its disk image, both built from source by this crate's build script.
//!
//! The image boots on any PC with an IDE disk: boot sector, loader, kernel, user programs.
//! guest/README.md has the reading order.
//!
//! ```
//! assert_eq!(&emu_guest::DISK_IMAGE[510..512], [0x55, 0xAA]);
//! ```

/// The whole disk as the machine sees it: a raw image, a multiple of 512 bytes.
pub static DISK_IMAGE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/disk.img"));

/// The kernel as the linker left it, with its symbols. It runs at the addresses that the file says.
pub static KERNEL_ELF: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/kernel.elf"));

/// Where everything lies on the disk.
#[path = "../layout.rs"]
pub mod layout;
