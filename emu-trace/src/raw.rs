//! What the recorder hands to the thread that writes: words in a buffer, as cheap to make as can be.
//!
//! A record is a header of two words, then what it counts:
//! * a step: `id << 32 | mask`, `accesses << 32 | flags`; three words for each access (linear, value,
//!   physical page with bits); the value of each register in the mask, which are those that may have changed;
//! * an event or a definition: [`EVENT`] or [`DEFINE`] in place of the id, the kind in place of the mask; `words << 32`; the words.

/// In place of an instruction's number: an event.
pub const EVENT: u32 = u32::MAX;
/// The same: code under new numbers.
pub const DEFINE: u32 = u32::MAX - 1;
/// The same: the delivery of an event.
pub const DELIVERY: u32 = u32::MAX - 2;

/// Bits beside the physical page of an access.
pub mod access {
    /// Bytes, 1 to 8.
    pub const SIZE: u64 = 15;
    /// A write.
    pub const WRITE: u64 = 1 << 4;
    /// To a chip, or to nothing.
    pub const BUS: u64 = 1 << 5;
}

/// Words after which a buffer goes to the writer, at the end of a record.
pub const FULL: usize = 1 << 17;
