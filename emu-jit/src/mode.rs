//! The mode word: what translated code depends on beside its bytes.

use emu_core::cpu::control::{CR0_EM, CR0_TS, CR4_OSFXSR, CR4_OSXSAVE};
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
        if cpu.stack_mask == u64::MAX || size == 32 && cpu.stack_mask == 0xffff_ffff {
            word |= WIDE_STACK;
        }
        if cpu.cpl == 3 {
            word |= USER;
        }
        let available = cpu.cr0 & (CR0_EM | CR0_TS) == 0;
        let x87_masked = cpu.fpu.control & X87_MASKED == X87_MASKED && cpu.fpu.status & STATUS_ES == 0;
        if available && x87_masked {
            word |= X87;
        }
        let on = available && cpu.fpu.mxcsr & ALL_MASKED == ALL_MASKED;
        if on && cpu.cr4 & CR4_OSFXSR != 0 {
            word |= SSE;
        }
        let needed = XCR0_SSE | XCR0_AVX;
        if on && !cpu.paragraphs() && cpu.cr4 & CR4_OSXSAVE != 0 && cpu.fpu.xcr0 & needed == needed {
            word |= AVX;
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

    /// The stack pointer is as wide as code.
    pub fn wide_stack(self) -> bool {
        self.0 & WIDE_STACK != 0
    }

    /// SSE instructions may run, with all exceptions masked.
    pub fn sse(self) -> bool {
        self.0 & SSE != 0
    }

    /// So may those with a VEX prefix.
    pub fn avx(self) -> bool {
        self.0 & AVX != 0
    }

    /// x87 and MMX instructions may run, with all exceptions masked and none pending.
    pub fn x87(self) -> bool {
        self.0 & X87 != 0
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
