//! Where programs and their data lie, under the names that the generator of encodings knows.

/// A page.
pub const PAGE: usize = 4096;
/// Code of programs.
pub const CODE: u64 = 0x40_0000;
/// The first instruction that is drawn.
pub const START: u64 = CODE + 0x100;
/// Their data.
pub const DATA: u64 = 0x50_0000;
/// Nothing is here.
pub const TRAMPOLINE: u64 = 0x7ff0_0000;

/// General registers and flags.
pub struct Registers {
    /// General registers.
    pub regs: [u64; 16],
    /// EFLAGS.
    pub flags: u64,
}
