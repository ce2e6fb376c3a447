//! Where control transfers lead, worked out from the state before them.

use emu_core::cpu::{CS, Cpu, LDTR, RSP, Rights, SS, eflags};
use iced_x86::{Code, FlowControl, Instruction, Mnemonic as M, OpKind, Register};

use super::conditions::mode;
use crate::state::State;

/// Is it a far JMP or CALL?
pub fn is_far_branch(insn: &Instruction) -> bool {
    insn.is_jmp_far() || insn.is_call_far() || insn.is_jmp_far_indirect() || insn.is_call_far_indirect()
}

/// The descriptor of a selector: its eight bytes in the GDT or LDT.
pub fn descriptor(cpu: &Cpu, before: &State, selector: u16) -> Option<u64> {
    let (base, limit) = if selector & 4 == 0 {
        (before.gdtr.0, u32::from(before.gdtr.1))
    } else {
        (before.seg[LDTR].base, before.seg[LDTR].limit)
    };
    let offset = u32::from(selector & 0xfff8);
    if offset + 7 > limit {
        return None;
    }
    read(cpu, base.wrapping_add(u64::from(offset)), 8)
}

/// The selector that LAR, LSL, LTR, LLDT and their like name, or that is moved to SS.
pub fn selector_operand(insn: &Instruction, before: &State, memory: &[(u64, Vec<u8>)]) -> Option<u16> {
    let operand = match insn.mnemonic() {
        M::Lar | M::Lsl => 1,
        M::Ltr | M::Lldt | M::Verr | M::Verw => 0,
        M::Mov if insn.op0_register() == Register::SS => 1,
        _ => return None,
    };
    if insn.op_kind(operand) == OpKind::Register {
        return Some(before.regs[insn.op_register(operand).full_register().number()] as u16);
    }
    let (_, bytes) = memory.first()?;
    Some(u16::from_le_bytes([*bytes.first()?, *bytes.get(1)?]))
}

/// Does a jump, call or return go to an offset beyond the limit of its code segment?
pub fn beyond_limit(cpu: &Cpu, insn: &Instruction, before: &State, memory: &[(u64, Vec<u8>)]) -> bool {
    target(cpu, insn, before, memory).is_some_and(|(limit, offset)| offset > u64::from(limit))
}

/// Does IRETD pop an image of EFLAGS with VM set where that does not lead to virtual-8086 mode: in IA-32e mode, and
/// at any CPL but 0?
pub fn pops_vm_in_vain(cpu: &Cpu, insn: &Instruction, before: &State) -> bool {
    let size = operand_size(insn);
    matches!(insn.mnemonic(), M::Iret | M::Iretd)
        && (mode(before) == "long" || mode(before) == "protected" && before.cpl != 0)
        && stack(cpu, before, 2 * size, size).is_some_and(|image| image & eflags::VM != 0)
}

/// The limit of the code segment that it goes to, and the offset there; `None` for 64-bit code and where that cannot
/// be said.
fn target(cpu: &Cpu, insn: &Instruction, before: &State, memory: &[(u64, Vec<u8>)]) -> Option<(u32, u64)> {
    let size = operand_size(insn);
    let far = match insn.mnemonic() {
        M::Retf | M::Iret | M::Iretd | M::Iretq => {
            let offset = stack(cpu, before, 0, size)?;
            Some((stack(cpu, before, size, 2)? as u16, offset))
        }
        M::Jmp | M::Call if insn.is_jmp_far() || insn.is_call_far() => {
            let offset = if size == 2 { insn.far_branch16().into() } else { insn.far_branch32().into() };
            Some((insn.far_branch_selector(), offset))
        }
        M::Jmp | M::Call if is_far_branch(insn) => {
            let (address, _) = *memory.first().as_ref()?;
            let offset = read(cpu, *address, size)?;
            Some((read(cpu, address.wrapping_add(size), 2)? as u16, offset))
        }
        _ => None,
    };
    let Some((selector, offset)) = far else {
        let long = mode(before) == "long" && before.seg[CS].rights & 0x2000 != 0;
        return (!long).then_some((before.seg[CS].limit, near_target(cpu, insn, before, memory, size)?));
    };
    if matches!(mode(before), "real" | "v86") {
        return Some((before.seg[CS].limit, offset));
    }
    let raw = descriptor(cpu, before, selector)?;
    let kind = raw >> 40 & 0x1f;
    let (raw, offset) = match kind {
        4 | 12 => {
            let high = if kind == 12 { raw >> 32 & 0xffff_0000 } else { 0 };
            (descriptor(cpu, before, (raw >> 16) as u16)?, raw & 0xffff | high)
        }
        _ => (raw, offset),
    };
    let rights = Rights::of_descriptor((raw >> 32) as u32);
    if !rights.code() || mode(before) == "long" && rights.long() {
        return None;
    }
    let limit = (raw & 0xffff | raw >> 32 & 0xf_0000) as u32;
    Some((if rights.granular() { limit << 12 | 0xfff } else { limit }, offset))
}

fn near_target(
    cpu: &Cpu,
    insn: &Instruction,
    before: &State,
    memory: &[(u64, Vec<u8>)],
    size: u64,
) -> Option<u64> {
    match (insn.flow_control(), insn.op0_kind()) {
        (FlowControl::Return, _) if insn.mnemonic() == M::Ret => stack(cpu, before, 0, size),
        (FlowControl::IndirectBranch | FlowControl::IndirectCall, OpKind::Register) => {
            let register = insn.op0_register();
            Some(before.regs[register.full_register().number()] & u64::MAX >> (64 - 8 * register.size()))
        }
        (FlowControl::IndirectBranch | FlowControl::IndirectCall, _) => read(cpu, memory.first()?.0, size),
        (_, OpKind::NearBranch16 | OpKind::NearBranch32 | OpKind::NearBranch64) => {
            Some(insn.near_branch_target())
        }
        _ => None,
    }
}

/// Bytes of the offset.
fn operand_size(insn: &Instruction) -> u64 {
    match insn.code() {
        Code::Jmp_m1616 | Code::Call_m1616 | Code::Jmp_ptr1616 | Code::Call_ptr1616 => 2,
        Code::Jmp_m1632 | Code::Call_m1632 | Code::Jmp_ptr1632 | Code::Call_ptr1632 => 4,
        Code::Jmp_m1664 | Code::Call_m1664 => 8,
        code => u64::from(code.op_code().operand_size()) / 8,
    }
}

/// What lies `depth` bytes above the stack pointer.
fn stack(cpu: &Cpu, before: &State, depth: u64, size: u64) -> Option<u64> {
    let ss = &before.seg[SS];
    let long = mode(before) == "long" && before.seg[CS].rights & 0x2000 != 0;
    let (base, mask) = match (long, Rights(ss.rights).big()) {
        (true, _) => (0, u64::MAX),
        (_, true) => (ss.base, 0xffff_ffff),
        _ => (ss.base, 0xffff),
    };
    read(cpu, base.wrapping_add(before.regs[RSP].wrapping_add(depth) & mask), size)
}

fn read(cpu: &Cpu, address: u64, size: u64) -> Option<u64> {
    let mut bytes = [0; 8];
    let wanted = bytes.get_mut(..size as usize)?;
    (cpu.peek_linear(address & cpu.linear_mask, wanted) == size as usize).then(|| u64::from_le_bytes(bytes))
}
