//! x87 instructions. SDM vol. 1, "Programming with the x87 FPU"; SDM 2A at each.
//!
//! An instruction checks CR0 and pending errors, reads memory, notes where it is (FIP, FDP, FOP), and only then
//! looks at the stack: a fault of the memory access leaves no trace. Writes to memory come before changes of the
//! x87 state for the same reason. An unmasked exception only sets ES: the next waiting instruction reports it.
//!
//! Gap: the opcodes that did something on the 8087 and 287 only (FENI, FDISI, FSETPM) raise #UD.

pub mod arithmetic;
pub mod compare;
pub mod constants;
pub mod control;
pub mod environment;
pub mod moves;
pub mod transcendental;

use crate::cpu::fpu::{STATUS_B, STATUS_ES};
use crate::cpu::{CS, Cpu, Fallible, Width};
use crate::interp::op::Op;
use crate::softfloat::{Env, F32, F64, F80, Flags, Format, Out, Unpacked};

/// SF: the invalid operation was a stack fault.
const SF: u16 = 1 << 6;
/// C0.
pub const C0: u16 = 1 << 8;
/// C1.
pub const C1: u16 = 1 << 9;
/// C2.
pub const C2: u16 = 1 << 10;
/// C3.
pub const C3: u16 = 1 << 14;

/// A number as it lies in memory.
pub trait Number {
    /// The unsigned integer of the same width.
    type Bits: Width;

    /// Takes it apart.
    fn unpack(bits: Self::Bits) -> Unpacked;
}

/// A signed integer of this width.
#[derive(Clone, Copy, Debug)]
pub struct Signed<W>(W);

impl Number for F32 {
    type Bits = u32;

    fn unpack(bits: u32) -> Unpacked {
        Format::unpack(Self(bits))
    }
}

impl Number for F64 {
    type Bits = u64;

    fn unpack(bits: u64) -> Unpacked {
        Format::unpack(Self(bits))
    }
}

impl<W: Width> Number for Signed<W> {
    type Bits = W;

    fn unpack(bits: W) -> Unpacked {
        let value = bits.i64();
        Unpacked::from_magnitude(value < 0, value.unsigned_abs(), 0)
    }
}

impl Cpu {
    /// What the control word says about an operation.
    #[inline(always)]
    pub fn x87_env(&self) -> Env {
        Env::from_control_word(self.fpu.control)
    }

    /// Notes the instruction without memory operand that runs: FIP and FOP.
    #[inline(always)]
    pub fn note_x87(&mut self, op: &Op) {
        self.fpu.opcode = op.imm as u16;
        self.fpu.instruction = (self.seg[CS].selector, op.here(self));
    }

    /// Notes the instruction with memory operand that runs: FIP, FOP and FDP.
    #[inline(always)]
    pub fn note_x87_memory(&mut self, op: &Op) {
        self.note_x87(op);
        self.fpu.data = (self.seg[op.segment() & 7].selector, op.address(self));
    }

    /// Number of the physical register that is ST(i).
    #[inline(always)]
    fn slot(&self, i: u8) -> u8 {
        (self.fpu.top + i) & 7
    }

    /// ST(i), whatever its tag.
    #[inline(always)]
    pub fn st(&self, i: u8) -> F80 {
        self.fpu.regs[usize::from(self.slot(i))]
    }

    /// Writes ST(i) and tags it valid.
    #[inline(always)]
    pub fn set_st(&mut self, i: u8, value: F80) {
        let slot = self.slot(i);
        self.fpu.regs[usize::from(slot)] = value;
        self.fpu.valid |= 1 << slot;
    }

    /// Is ST(i) empty?
    #[inline(always)]
    pub fn st_empty(&self, i: u8) -> bool {
        self.fpu.valid >> self.slot(i) & 1 == 0
    }

    /// Tags ST(i) empty.
    #[inline(always)]
    pub fn free_st(&mut self, i: u8) {
        self.fpu.valid &= !(1 << self.slot(i));
    }

    /// Pops the stack.
    #[inline(always)]
    pub fn pop_x87(&mut self) {
        self.free_st(0);
        self.fpu.top = self.slot(1);
    }

    /// Pushes a value on a stack that has room.
    #[inline(always)]
    pub fn push_x87(&mut self, value: F80) {
        self.fpu.top = self.slot(7);
        self.set_st(0, value);
    }

    /// Sets or clears a condition code.
    #[inline(always)]
    pub fn set_condition(&mut self, bit: u16, on: bool) {
        self.fpu.status = self.fpu.status & !bit | if on { bit } else { 0 };
    }

    /// Sets exception flags, and ES when one of them is unmasked.
    #[inline(always)]
    pub fn raise_x87(&mut self, env: &Env, flags: Flags) {
        self.fpu.status |= u16::from(flags.0);
        if env.traps(flags) {
            self.fpu.status |= STATUS_ES | STATUS_B;
        }
    }

    /// Reports a stack underflow: C1 = 0. True when the masked response is due.
    #[cold]
    pub fn stack_underflow(&mut self) -> bool {
        self.stack_fault(false)
    }

    /// Reports a stack overflow: C1 = 1. True when the masked response is due.
    #[cold]
    pub fn stack_overflow(&mut self) -> bool {
        self.stack_fault(true)
    }

    fn stack_fault(&mut self, overflow: bool) -> bool {
        self.set_condition(C1, overflow);
        self.fpu.status |= SF;
        let env = self.x87_env();
        self.raise_x87(&env, Flags::INVALID);
        !env.traps(Flags::INVALID)
    }

    /// Delivers the result of an operation to ST(i); false when an unmasked pre-computation exception keeps the
    /// register as it was. C1 says whether it was rounded up.
    #[inline(always)]
    pub fn deliver_x87(&mut self, env: &Env, i: u8, out: Out<F80>) -> bool {
        self.raise_x87(env, out.flags);
        self.set_condition(C1, out.rounded_up);
        if env.traps(out.flags & Flags::PRE_COMPUTATION) {
            return false;
        }
        self.set_st(i, out.value);
        true
    }

    /// Pushes a value that came without exceptions; the indefinite when the stack is full.
    #[inline(always)]
    pub fn push_checked(&mut self, value: F80) {
        self.set_condition(C1, false);
        if self.st_empty(7) {
            self.push_x87(value);
        } else if self.stack_overflow() {
            self.push_x87(F80::indefinite());
        }
    }
}

/// Reads the memory operand of a number, after the checks, and notes the instruction.
#[inline(always)]
fn operand<N: Number>(cpu: &mut Cpu, op: &Op) -> Fallible<N::Bits> {
    cpu.check_x87()?;
    let address = op.address(cpu);
    let bits = cpu.read::<N::Bits>(op.segment(), address)?;
    cpu.note_x87_memory(op);
    Ok(bits)
}

/// The checks of an instruction on registers, which is then noted.
#[inline(always)]
fn begin(cpu: &mut Cpu, op: &Op) -> Fallible {
    cpu.check_x87()?;
    cpu.note_x87(op);
    Ok(())
}
