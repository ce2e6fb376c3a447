//! State of x87, MMX and SSE, and the checks that come before any of their instructions.
//! SDM vol. 1, "x87 FPU Execution Environment"; SDM 3A, "Monitoring of the x87 Floating-Point".

use super::control::{CR0_EM, CR0_MP, CR0_NE, CR0_TS, CR4_OSFXSR, CR4_OSXSAVE};
use super::{Cpu, Fallible, Fault};
use crate::softfloat::F80;

/// MXCSR after reset: all exceptions masked, round to nearest.
pub const MXCSR_RESET: u32 = 0x1f80;
/// Bits of MXCSR that may be set.
pub const MXCSR_MASK: u32 = 0xffff;
/// XCR0: x87 state, always set.
pub const XCR0_X87: u64 = 1 << 0;
/// XCR0: XMM registers and MXCSR.
pub const XCR0_SSE: u64 = 1 << 1;
/// XCR0: upper halves of the YMM registers.
pub const XCR0_AVX: u64 = 1 << 2;
/// XCR0: PKRU.
pub const XCR0_PKRU: u64 = 1 << 9;
/// Offset of the AVX state in an XSAVE area, in both formats: right behind the header.
pub const YMM_AREA: usize = 576;
/// Its size.
pub const YMM_SIZE: usize = 256;
/// Offset of PKRU in the standard format, behind the room for what AVX-512 adds.
pub const PKRU_AREA: usize = 2688;
/// Its size.
pub const PKRU_SIZE: usize = 8;
/// ES, error summary, in the status word.
pub const STATUS_ES: u16 = 1 << 7;
/// B, busy: a copy of ES.
pub const STATUS_B: u16 = 1 << 15;

/// One vector register, eight quadwords: room for ZMM.
pub type Vector = [u64; 8];

/// Offset of PKRU in the compacted format with these components.
pub fn compacted_pkru_area(components: u64) -> usize {
    if components & XCR0_AVX != 0 { YMM_AREA + YMM_SIZE } else { YMM_AREA }
}

/// x87, MMX and SSE registers.
#[derive(Clone, Debug)]
pub struct Fpu {
    /// Physical x87 registers R0 to R7; MMX registers are their significands.
    pub regs: [F80; 8],
    /// Control word.
    pub control: u16,
    /// Status word without TOP.
    pub status: u16,
    /// TOP.
    pub top: u8,
    /// Bit n set: R n is not empty (the abridged tag word of FXSAVE).
    pub valid: u8,
    /// Opcode of the last instruction that was not a control instruction (11 bits).
    pub opcode: u16,
    /// Its address: selector and offset.
    pub instruction: (u16, u64),
    /// Address of its memory operand: selector and offset.
    pub data: (u16, u64),
    /// MXCSR.
    pub mxcsr: u32,
    /// XMM, YMM, ZMM registers.
    pub vectors: [Vector; 32],
    /// XCR0.
    pub xcr0: u64,
}

impl Default for Fpu {
    fn default() -> Self {
        Self {
            regs: [F80 { sign_exponent: 0, significand: 0 }; 8],
            control: 0x40,
            status: 0,
            top: 0,
            valid: 0xff,
            opcode: 0,
            instruction: (0, 0),
            data: (0, 0),
            mxcsr: MXCSR_RESET,
            vectors: [[0; 8]; 32],
            xcr0: 1,
        }
    }
}

impl Fpu {
    /// FNINIT.
    pub fn init(&mut self) {
        self.control = 0x37f;
        self.status = 0;
        self.top = 0;
        self.valid = 0;
        self.opcode = 0;
        self.instruction = (0, 0);
        self.data = (0, 0);
    }

    /// The status word with TOP.
    pub fn status_word(&self) -> u16 {
        self.status & !0x3800 | u16::from(self.top) << 11
    }
}

impl Cpu {
    /// Checks that come before x87 instructions: #NM, then a pending unmasked error.
    ///
    /// # Errors
    /// #NM when CR0.EM or TS is set, #MF when an error is pending and CR0.NE is set.
    pub fn check_x87(&mut self) -> Fallible {
        if self.cr0 & (CR0_EM | CR0_TS) != 0 {
            return Err(Fault::NM);
        }
        self.check_x87_pending()
    }

    /// Reports a pending unmasked x87 error: #MF, or FERR# when CR0.NE is clear.
    ///
    /// # Errors
    /// #MF, or [`Fault::Frozen`] until an interrupt unless the board asserts IGNNE#.
    pub fn check_x87_pending(&mut self) -> Fallible {
        if self.fpu.status & STATUS_ES != 0 {
            if self.cr0 & CR0_NE != 0 {
                return Err(Fault::MF);
            }
            return self.report_by_ferr();
        }
        Ok(())
    }

    /// SDM vol. 1, "MS-DOS* Compatibility Sub-mode".
    #[cold]
    fn report_by_ferr(&mut self) -> Fallible {
        let number = self.number;
        if !std::mem::replace(&mut self.ferr, true) {
            self.with_bus(|bus, _| bus.set_ferr(number, true));
        }
        if self.system().bus.ignne(number) { Ok(()) } else { Err(Fault::Frozen) }
    }

    /// FERR# is released when no unmasked error is pending any more.
    #[inline]
    pub fn update_ferr(&mut self) {
        if self.ferr && self.fpu.status & STATUS_ES == 0 {
            self.ferr = false;
            let number = self.number;
            self.with_bus(|bus, _| bus.set_ferr(number, false));
        }
    }

    /// Checks that come before WAIT.
    ///
    /// # Errors
    /// #NM when CR0.MP and TS are both set, #MF.
    pub fn check_wait(&mut self) -> Fallible {
        if self.cr0 & (CR0_MP | CR0_TS) == CR0_MP | CR0_TS {
            return Err(Fault::NM);
        }
        self.check_x87_pending()
    }

    /// Checks that come before MMX instructions.
    ///
    /// # Errors
    /// #UD when CR0.EM is set, #NM when TS is, #MF.
    pub fn check_mmx(&mut self) -> Fallible {
        if self.cr0 & CR0_EM != 0 {
            return Err(Fault::UD);
        }
        self.check_x87()
    }

    /// Checks that come before SSE instructions.
    ///
    /// # Errors
    /// #UD when CR0.EM is set or CR4.OSFXSR is clear, #NM when CR0.TS is set.
    pub fn check_sse(&mut self) -> Fallible {
        if self.cr0 & CR0_EM != 0 || self.cr4 & CR4_OSFXSR == 0 {
            return Err(Fault::UD);
        }
        if self.cr0 & CR0_TS != 0 { Err(Fault::NM) } else { Ok(()) }
    }

    /// Checks that come before VEX-encoded vector instructions.
    ///
    /// # Errors
    /// #UD in real and virtual-8086 mode and unless the operating system enabled AVX, #NM when CR0.TS is set.
    pub fn check_avx(&mut self) -> Fallible {
        let needed = XCR0_SSE | XCR0_AVX;
        if self.paragraphs() || self.cr4 & CR4_OSXSAVE == 0 || self.fpu.xcr0 & needed != needed {
            return Err(Fault::UD);
        }
        if self.cr0 & CR0_TS != 0 { Err(Fault::NM) } else { Ok(()) }
    }
}
