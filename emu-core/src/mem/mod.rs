//! Guest physical memory: one mapping that backs RAM, ROM and video memory ([`Ram`]), a descriptor for each
//! physical page and each backing frame ([`page`]), and the map from physical address to frame ([`Memory`]).

mod map;
pub mod page;
mod ram;

pub use map::{CodeWrite, Memory, MemoryError, PHYSICAL_BITS, Smram};
pub use ram::{Ram, Scalar};

/// Bytes in a page and in a frame.
pub const PAGE_SIZE: u64 = 4096;
