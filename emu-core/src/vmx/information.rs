//! How a VM exit describes an instruction: the VM-exit instruction-information field, and the displacement of its
//! memory operand as exit qualification. SDM 3C, "Information for VM Exits Due to Instruction Execution".

use crate::cpu::{Cpu, FS, RIP, ZERO};
use crate::interp::op::Op;

/// The operand is a register, not memory.
const REGISTER: u32 = 1 << 10;
const INDEX_INVALID: u32 = 1 << 22;
const BASE_INVALID: u32 = 1 << 27;

/// Address size: 0, 1 or 2 for 16, 32 or 64 bits.
pub(super) fn address_size(op: &Op) -> u32 {
    match op.address_shift {
        48 => 0,
        32 => 1,
        _ => 2,
    }
}

/// The memory operand.
pub fn memory(op: &Op) -> u32 {
    let index = match usize::from(op.index) {
        ZERO => INDEX_INVALID,
        index => (index as u32) << 18,
    };
    let base = match usize::from(op.base) {
        ZERO | RIP => BASE_INVALID,
        base => (base as u32) << 23,
    };
    u32::from(op.scale_segment >> 4) | address_size(op) << 7 | (op.segment() as u32) << 15 | index | base
}

/// A memory operand and, at bit 28, a register.
pub fn memory_and_register(op: &Op, register: u8) -> u32 {
    memory(op) | u32::from(register) << 28
}

/// An operand that is a register, at bit 3.
pub fn register(number: u8) -> u32 {
    REGISTER | u32::from(number) << 3
}

/// RDRAND and RDSEED: the register, and its size (16, 32 or 64 bits).
pub fn random(number: u8, bytes: u64) -> u32 {
    u32::from(number) << 3 | (bytes.trailing_zeros() - 1) << 11
}

/// INS and OUTS: address size, and the segment of OUTS.
pub fn string(op: &Op) -> u32 {
    address_size(op) << 7 | (op.segment() as u32) << 15
}

impl Cpu {
    /// Linear address of an operand, without any check.
    pub(crate) fn operand_linear(&self, segment: usize, offset: u64) -> u64 {
        let long = self.linear_mask == u64::MAX && segment < FS;
        let base = if long { 0 } else { self.seg[segment].base };
        base.wrapping_add(offset) & self.linear_mask
    }

    /// The displacement of the memory operand, to which that of the next instruction is added where it counts from
    /// there.
    pub(super) fn displacement(&self, op: &Op) -> u64 {
        let from = if usize::from(op.base) == RIP { self.regs[RIP] } else { 0 };
        from.wrapping_add(op.disp as u64)
    }
}
