//! The mode word: what translated code depends on beside its bytes.

use emu_core::cpu::control::{CR0_EM, CR0_NE, CR0_TS, CR4_OSFXSR, CR4_OSXSAVE};
use emu_core::cpu::fpu::{STATUS_ES, XCR0_AVX, XCR0_SSE};
use emu_core::cpu::{CS, Cpu};

/// A mode word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Mode(u16);

const SIZE: u16 = 3;
const FLAT: u16 = 1 << 2;
const FLAT_CODE: u16 = 1 << 3;
const WIDE_STACK: u16 = 1 << 4;
const SSE: u16 = 1 << 5;
const AVX: u16 = 1 << 6;
const X87: u16 = 1 << 7;
const USER: u16 = 1 << 8;
const VECTORS_RAISE: u16 = 1 << 9;
const X87_RAISES: u16 = 1 << 10;
/// Mask bits of all exceptions in MXCSR.
const ALL_MASKED: u32 = 0x1f80;
/// The same in the x87 control word.
const X87_MASKED: u16 = 0x3f;

impl Mode {
    /// The mode that a processor is in.
    pub fn of(cpu: &Cpu) -> Self {
        let size = cpu.code_size();
        let code = &cpu.seg[CS];
        let mut word = (size / 32) as u16;
        if cpu.flat {
            word |= FLAT;
        }
        if size == 64 || code.base == 0 && code.limit == u32::MAX {
            word |= FLAT_CODE;
        }
        if cpu.stack_mask == u64::MAX >> (64 - size) {
            word |= WIDE_STACK;
        }
        if cpu.cpl == 3 {
            word |= USER;
        }
        let available = cpu.cr0 & (CR0_EM | CR0_TS) == 0;
        if available {
            word |= x87(cpu);
        }
        if available && cpu.cr4 & CR4_OSFXSR != 0 {
            word |= SSE;
        }
        let needed = XCR0_SSE | XCR0_AVX;
        if available && !cpu.paragraphs() && cpu.cr4 & CR4_OSXSAVE != 0 && cpu.fpu.xcr0 & needed == needed {
            word |= AVX;
        }
        if word & (SSE | AVX) != 0 && cpu.fpu.mxcsr & ALL_MASKED != ALL_MASKED {
            word |= VECTORS_RAISE;
        }
        Self(word)
    }

    /// Bits of code: 16, 32 or 64.
    pub fn size(self) -> u32 {
        match self.0 & SIZE {
            0 => 16,
            1 => 32,
            _ => 64,
        }
    }

    /// DS, ES and SS reach all linear addresses as they are.
    pub fn flat(self) -> bool {
        self.0 & FLAT != 0
    }

    /// So does CS: RIP is the linear address.
    pub fn flat_code(self) -> bool {
        self.0 & FLAT_CODE != 0
    }

    /// Jumps within a page are linked: RIP needs no other check than that of the page.
    pub fn is_linked(self) -> bool {
        self.flat_code() && self.size() != 16
    }

    /// The stack pointer is as wide as code.
    pub fn wide_stack(self) -> bool {
        self.0 & WIDE_STACK != 0
    }

    /// SSE instructions may run.
    pub fn sse(self) -> bool {
        self.0 & SSE != 0
    }

    /// So may those with a VEX prefix.
    pub fn avx(self) -> bool {
        self.0 & AVX != 0
    }

    /// An exception of theirs is not masked.
    pub fn vectors_raise(self) -> bool {
        self.0 & VECTORS_RAISE != 0
    }

    /// x87 and MMX instructions may run.
    pub fn x87(self) -> bool {
        self.0 & X87 != 0
    }

    /// An exception of theirs is not masked, and one may be pending.
    pub fn x87_raises(self) -> bool {
        self.0 & X87_RAISES != 0
    }

    /// User mode.
    pub fn user(self) -> bool {
        self.0 & USER != 0
    }

    /// The word.
    pub fn word(self) -> u16 {
        self.0
    }
}

/// Whether the host's x87 unit can have the guest's state, and whether it may raise exceptions then. Errors that are
/// told by FERR# instead of #MF (CR0.NE clear) are the interpreter's.
fn x87(cpu: &Cpu) -> u16 {
    let flagged = cpu.fpu.status & !cpu.fpu.control & X87_MASKED != 0;
    if flagged != (cpu.fpu.status & STATUS_ES != 0) {
        return 0;
    }
    match cpu.fpu.control & X87_MASKED == X87_MASKED {
        true => X87,
        false if cpu.cr0 & CR0_NE != 0 => X87 | X87_RAISES,
        false => 0,
    }
}
