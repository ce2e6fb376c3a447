//! Undefined flags of one case, by the table.

use std::arch::x86_64::__cpuid;

use emu_core::cpu::eflags::{self, AF, Flags, OF, Writer, ZF};
use iced_x86::{Mnemonic as M, OpKind, Register};

use super::vendors::{self, Left, Row};
use crate::fuzz::cases::Encoding;
use crate::fuzz::places::Registers;

/// A column of the table.
pub type Column = fn(&Row) -> Left;

/// The interpreter's.
pub const OURS: Column = |row| row.intel;

/// The one of the host's vendor.
pub fn of_host() -> Option<Column> {
    let leaf = __cpuid(0);
    match leaf.ebx {
        0x756e_6547 => Some(|row| row.intel),             // Genu
        0x6874_7541 | 0x6f67_7948 => Some(|row| row.amd), // Auth, Hygo
        _ => None,
    }
}

/// Flags that this case leaves undefined.
pub fn mask(e: &Encoding, before: &Registers) -> u64 {
    let insn = &e.insn;
    let count = match insn.mnemonic() {
        M::Shl | M::Sal | M::Shr | M::Sar => Some(1),
        M::Shld | M::Shrd => Some(2),
        _ => None,
    };
    let shifts = count.is_none_or(|n| {
        let count = if insn.op_kind(n) == OpKind::Register { before.regs[1] } else { insn.immediate(n) };
        count & if width(e) == 64 { 63 } else { 31 } != 0
    });
    if shifts { vendors::mask(insn.mnemonic()) } else { 0 }
}

/// What the undefined flags are after a case that did not fault.
pub fn flags(e: &Encoding, column: Column, before: &Registers, after: &Registers) -> u64 {
    let of = |row: &Row| match column(row) {
        Left::Kept => before.flags & row.flags,
        Left::Clear => 0,
        Left::Set => row.flags,
        Left::Result => of_result(e, after) & row.flags,
        Left::Sum => of_sum(e, before, after) & row.flags,
    };
    vendors::of(e.insn.mnemonic()).fold(0, |all, row| all | of(row))
}

/// Bits of operand 0.
fn width(e: &Encoding) -> usize {
    match e.insn.op0_kind() {
        OpKind::Register => 8 * e.insn.op0_register().size(),
        _ => 8 * e.insn.memory_size().size(),
    }
}

/// SF, ZF and PF of the result.
fn of_result(e: &Encoding, after: &Registers) -> u64 {
    let insn = &e.insn;
    let product = insn.op_count() == 1;
    let (register, bits) = match insn.mnemonic() {
        M::Aaa | M::Aas => (Register::AL, 8),
        M::Mul | M::Imul if product => (Register::RAX, width(e)),
        _ => (insn.op0_register(), width(e)),
    };
    let no_bit = matches!(insn.mnemonic(), M::Bsf | M::Bsr) && after.flags & ZF != 0;
    let result = if no_bit { 0 } else { after.regs[register.full_register().number()] };
    match bits {
        8 => eflags::sign_zero_parity(result as u8),
        16 => eflags::sign_zero_parity(result as u16),
        32 => eflags::sign_zero_parity(result as u32),
        _ => eflags::sign_zero_parity(result),
    }
}

/// Flags of the sum or difference.
fn of_sum(e: &Encoding, before: &Registers, after: &Registers) -> u64 {
    let (al, ah, new) = (before.regs[0] as u8, (before.regs[0] >> 8) as u8, after.regs[0] as u8);
    let adjustment: u16 = if al & 15 > 9 || before.flags & AF != 0 { 0x106 } else { 0 };
    let mut flags = Flags::default();
    match e.insn.mnemonic() {
        M::Aaa => flags.record(Writer::Add, before.regs[0] as u16, adjustment),
        M::Aas => flags.record(Writer::Sub, before.regs[0] as u16, adjustment),
        M::Aad => flags.record(Writer::Add, al, ah.wrapping_mul(e.insn.immediate8())),
        M::Daa => return if !al & new & 0x80 != 0 { OF } else { 0 },
        _ => return if al & !new & 0x80 != 0 { OF } else { 0 },
    }
    flags.arithmetic()
}
