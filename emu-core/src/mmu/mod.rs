//! From linear to physical addresses: the page walk ([`paging`]), the cache of its results ([`tlb`]), and a look
//! from outside that changes nothing ([`look`]).

pub mod look;
pub mod paging;
pub mod tlb;

/// What an access wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// Data read.
    Read,
    /// Data write, or read-modify-write.
    Write,
    /// Instruction fetch.
    Execute,
}
