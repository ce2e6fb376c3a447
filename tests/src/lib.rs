//! What the tests that cross crates share: the `emu` binary, guests from source, peers on this host, processes with a
//! limit on their time, files of Debian's packages, discs, a client of gdb's protocol, a PC whose screen can be read,
//! scratch folders, a small random generator, and what silicon leaves in undefined flags.

#![forbid(unsafe_code)]

pub mod assembler;
pub mod bare;
pub mod board;
pub mod debian;
pub mod emulator;
pub mod engine;
pub mod external;
pub mod gdb_client;
pub mod grub;
pub mod process;
pub mod root_file_system;
pub mod scratch;

pub use emu_bench::{cpio, iso};
pub use emu_diff::random;
