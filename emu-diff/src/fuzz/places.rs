//! Where random instructions and their data lie, on every machine that runs them, the host's processes included.

/// Bytes in a page.
pub const PAGE: usize = 4096;
/// Address of the page with the instruction, or the first slot of a program.
pub const CODE: u64 = 0x0100_0000;
/// Address of a single instruction.
pub const START: u64 = CODE + 0x800;
/// Address of the page that instructions may read and write.
pub const DATA: u64 = 0x0102_0000;
/// Address of a page that no guest may touch.
pub const TRAMPOLINE: u64 = 0x7000_0000;

/// Registers before or after an instruction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Registers {
    /// General registers in encoding order.
    pub regs: [u64; 16],
    /// RFLAGS.
    pub flags: u64,
}
