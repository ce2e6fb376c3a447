//! JMP, Jcc, CALL, RET, LOOP, JCXZ, INT, INTO, INT3, IRET, BOUND, and far transfers.
//!
//! These write RIP, which holds the block's start while they run.

use iced_x86::{Code, Mnemonic as M, OpKind};

use crate::cpu::access::canonical;
use crate::cpu::interrupt::Source as Cause;
use crate::cpu::{CS, Cpu, Fallible, Fault, RCX, RIP, Width, eflags};
use crate::interp::op::{Handler, Op, Reg, Source, Way, quick};
use crate::interp::table::{Form, Kind, Row, row, widths_wide};

/// The rows of this family.
pub const ROWS: &[Row] = &[
    row(M::Jmp, jump_form),
    row(M::Call, call_form),
    row(M::Ret, return_form),
    row(M::Retf, far_return_form),
    row(M::Jo, |f| jcc::<0>(f)),
    row(M::Jno, |f| jcc::<1>(f)),
    row(M::Jb, |f| jcc::<2>(f)),
    row(M::Jae, |f| jcc::<3>(f)),
    row(M::Je, |f| jcc::<4>(f)),
    row(M::Jne, |f| jcc::<5>(f)),
    row(M::Jbe, |f| jcc::<6>(f)),
    row(M::Ja, |f| jcc::<7>(f)),
    row(M::Js, |f| jcc::<8>(f)),
    row(M::Jns, |f| jcc::<9>(f)),
    row(M::Jp, |f| jcc::<10>(f)),
    row(M::Jnp, |f| jcc::<11>(f)),
    row(M::Jl, |f| jcc::<12>(f)),
    row(M::Jge, |f| jcc::<13>(f)),
    row(M::Jle, |f| jcc::<14>(f)),
    row(M::Jg, |f| jcc::<15>(f)),
    row(M::Loop, |f| counted::<LOOP>(f)),
    row(M::Loope, |f| counted::<LOOPE>(f)),
    row(M::Loopne, |f| counted::<LOOPNE>(f)),
    row(M::Jcxz, |f| counted::<JCXZ>(f)),
    row(M::Jecxz, |f| counted::<JCXZ>(f)),
    row(M::Jrcxz, |f| counted::<JCXZ>(f)),
    row(M::Int, |_| Some(int_n)),
    row(M::Int3, |_| Some(|cpu, op| trap(cpu, op, 3, Cause::SoftwareException))),
    row(M::Int1, |_| Some(int1)),
    row(M::Into, |_| Some(into)),
    row(M::Iret, |_| Some(|cpu, op| iret(cpu, op, 2))),
    row(M::Iretd, |_| Some(|cpu, op| iret(cpu, op, 4))),
    row(M::Iretq, |_| Some(|cpu, op| iret(cpu, op, 8))),
    row(M::Bound, bound_form),
    row(M::Ud0, |_| Some(|_, _| Err(Fault::UD))),
    row(M::Ud1, |_| Some(|_, _| Err(Fault::UD))),
    row(M::Ud2, |_| Some(|_, _| Err(Fault::UD))),
];

impl Cpu {
    /// Jumps to an offset within CS.
    ///
    /// # Errors
    /// #GP(0) beyond the limit, or for an address that is not canonical; RIP stays then.
    #[inline(always)]
    pub fn jump(&mut self, target: u64) -> Fallible {
        let fits = if self.linear_mask == u64::MAX {
            canonical(target, 48) || self.canonical(target)
        } else {
            target <= u64::from(self.seg[CS].limit)
        };
        if !fits {
            return Err(Fault::GP0);
        }
        self.regs[RIP] = target;
        Ok(())
    }
}

/// Target of a relative branch at operand size W.
#[inline(always)]
fn relative<W: Width>(cpu: &Cpu, op: &Op) -> u64 {
    cpu.regs[RIP].wrapping_add(op.imm) & W::MASK
}

/// Operand size of a near branch in bytes.
fn branch_size(f: &Form<'_>) -> usize {
    match f.insn.op_kind(0) {
        OpKind::NearBranch16 => 2,
        OpKind::NearBranch32 => 4,
        _ => 8,
    }
}

fn jump_form(f: &Form<'_>) -> Option<Handler> {
    if let Some(size) = far_size(f) {
        return match (f.kind(0), size) {
            (Kind::Mem, 2) => Some(|cpu, op| far_memory(cpu, op, 2, Cpu::far_jump)),
            (Kind::Mem, 4) => Some(|cpu, op| far_memory(cpu, op, 4, Cpu::far_jump)),
            (Kind::Mem, _) => Some(|cpu, op| far_memory(cpu, op, 8, Cpu::far_jump)),
            (_, 2) => Some(|cpu, op| far_immediate(cpu, op, 2, Cpu::far_jump)),
            _ => Some(|cpu, op| far_immediate(cpu, op, 4, Cpu::far_jump)),
        };
    }
    match f.kind(0) {
        Kind::Imm => widths_wide!(branch_size(f), |W| jump_relative::<W>),
        Kind::Reg => widths_wide!(f.size(0), |W| jump_indirect::<W, Reg<0>>),
        _ => widths_wide!(f.size(0), |W| quick!(|M| jump_indirect::<W, M>)),
    }
}

fn jump_relative<W: Width>(cpu: &mut Cpu, op: &Op) -> Fallible {
    let target = relative::<W>(cpu, op);
    cpu.jump(target)
}

fn jump_indirect<W: Width, S: Source>(cpu: &mut Cpu, op: &Op) -> Fallible {
    let target = S::get::<W>(cpu, op)?.u64();
    cpu.jump(target)
}

fn jcc<const CC: u8>(f: &Form<'_>) -> Option<Handler> {
    widths_wide!(branch_size(f), |W| jump_if::<W, CC>)
}

/// Jcc: leaves the block with [`Fault::Jumped`] when taken, goes on in it otherwise. SDM 2A, "Jcc".
fn jump_if<W: Width, const CC: u8>(cpu: &mut Cpu, op: &Op) -> Fallible {
    if cpu.flags.condition(CC) {
        let target = relative::<W>(cpu, op);
        cpu.jump(target)?;
        return Err(Fault::Jumped);
    }
    Ok(())
}

const LOOP: u8 = 0;
const LOOPE: u8 = 1;
const LOOPNE: u8 = 2;
const JCXZ: u8 = 3;

fn counted<const HOW: u8>(f: &Form<'_>) -> Option<Handler> {
    // The address size picks the counter, the operand size cuts the target.
    let counter = match f.insn.code() {
        Code::Loop_rel8_16_CX
        | Code::Loop_rel8_32_CX
        | Code::Loope_rel8_16_CX
        | Code::Loope_rel8_32_CX
        | Code::Loopne_rel8_16_CX
        | Code::Loopne_rel8_32_CX
        | Code::Jcxz_rel8_16
        | Code::Jcxz_rel8_32 => 2,
        Code::Loop_rel8_16_RCX
        | Code::Loop_rel8_64_RCX
        | Code::Loope_rel8_16_RCX
        | Code::Loope_rel8_64_RCX
        | Code::Loopne_rel8_16_RCX
        | Code::Loopne_rel8_64_RCX
        | Code::Jrcxz_rel8_16
        | Code::Jrcxz_rel8_64 => 8,
        _ => 4,
    };
    match counter {
        2 => widths_wide!(branch_size(f), |W| count_jump::<u16, W, HOW>),
        4 => widths_wide!(branch_size(f), |W| count_jump::<u32, W, HOW>),
        _ => widths_wide!(branch_size(f), |W| count_jump::<u64, W, HOW>),
    }
}

/// LOOP, LOOPE, LOOPNE, JCXZ. SDM 2A, "LOOP/LOOPcc"; flags stay.
fn count_jump<C: Width, W: Width, const HOW: u8>(cpu: &mut Cpu, op: &Op) -> Fallible {
    let count = cpu.register::<C>(RCX as u8).u64();
    let left = C::from_u64(count.wrapping_sub(1));
    let taken = match HOW {
        JCXZ => count == 0,
        LOOP => left.u64() != 0,
        LOOPE => left.u64() != 0 && cpu.flags.condition(4),
        _ => left.u64() != 0 && cpu.flags.condition(5),
    };
    let next = op.next(cpu);
    if taken {
        let target = relative::<W>(cpu, op);
        cpu.jump(target)?;
    } else {
        cpu.regs[RIP] = next;
    }
    if HOW != JCXZ {
        cpu.set_register(RCX as u8, left);
    }
    Ok(())
}

fn call_form(f: &Form<'_>) -> Option<Handler> {
    if let Some(size) = far_size(f) {
        return match (f.kind(0), size) {
            (Kind::Mem, 2) => Some(|cpu, op| far_memory(cpu, op, 2, Cpu::far_call)),
            (Kind::Mem, 4) => Some(|cpu, op| far_memory(cpu, op, 4, Cpu::far_call)),
            (Kind::Mem, _) => Some(|cpu, op| far_memory(cpu, op, 8, Cpu::far_call)),
            (_, 2) => Some(|cpu, op| far_immediate(cpu, op, 2, Cpu::far_call)),
            _ => Some(|cpu, op| far_immediate(cpu, op, 4, Cpu::far_call)),
        };
    }
    match f.kind(0) {
        Kind::Imm => widths_wide!(branch_size(f), |W| quick!(|M| call_relative::<W, M>)),
        Kind::Reg => widths_wide!(f.size(0), |W| quick!(|M| call_indirect::<W, Reg<0>, M>)),
        _ => widths_wide!(f.size(0), |W| quick!(|M| call_indirect::<W, M, M>)),
    }
}

/// CALL: the target is checked before the push is made good. SDM 2A, "CALL".
#[inline(always)]
fn call<W: Width, M: Way>(cpu: &mut Cpu, op: &Op, target: u64) -> Fallible {
    let next = op.next(cpu);
    let start = cpu.regs[RIP];
    cpu.jump(target)?;
    M::push(cpu, W::from_u64(next)).inspect_err(|_| cpu.regs[RIP] = start)
}

fn call_relative<W: Width, M: Way>(cpu: &mut Cpu, op: &Op) -> Fallible {
    let target = relative::<W>(cpu, op);
    call::<W, M>(cpu, op, target)
}

fn call_indirect<W: Width, S: Source, M: Way>(cpu: &mut Cpu, op: &Op) -> Fallible {
    let target = S::get::<W>(cpu, op)?.u64();
    call::<W, M>(cpu, op, target)
}

fn return_form(f: &Form<'_>) -> Option<Handler> {
    let size = match f.insn.code() {
        Code::Retnw | Code::Retnw_imm16 => 2,
        Code::Retnd | Code::Retnd_imm16 => 4,
        _ => 8,
    };
    // Without an operand the immediate is zero.
    widths_wide!(size, |W| quick!(|M| near_return::<W, M>))
}

/// RET. SDM 2B, "RET".
fn near_return<W: Width, M: Way>(cpu: &mut Cpu, op: &Op) -> Fallible {
    let target = M::peek::<W>(cpu)?.u64();
    cpu.jump(target)?;
    cpu.drop_stack(W::BYTES + (op.imm & 0xffff));
    Ok(())
}

fn far_return_form(f: &Form<'_>) -> Option<Handler> {
    match f.insn.code() {
        Code::Retfw | Code::Retfw_imm16 => Some(|cpu, op| far_return(cpu, op, 2)),
        Code::Retfd | Code::Retfd_imm16 => Some(|cpu, op| far_return(cpu, op, 4)),
        Code::Retfq | Code::Retfq_imm16 => Some(|cpu, op| far_return(cpu, op, 8)),
        _ => None,
    }
}

fn far_return(cpu: &mut Cpu, op: &Op, size: u64) -> Fallible {
    cpu.far_return(size, op.imm & 0xffff)
}

/// Operand size in bytes of a far JMP or CALL; `None` for near ones.
fn far_size(f: &Form<'_>) -> Option<u64> {
    match f.insn.code() {
        Code::Jmp_ptr1616 | Code::Call_ptr1616 | Code::Jmp_m1616 | Code::Call_m1616 => Some(2),
        Code::Jmp_ptr1632 | Code::Call_ptr1632 | Code::Jmp_m1632 | Code::Call_m1632 => Some(4),
        Code::Jmp_m1664 | Code::Call_m1664 => Some(8),
        _ => None,
    }
}

type FarTransfer = fn(&mut Cpu, u16, u64, u64, u64) -> Fallible;

fn far_immediate(cpu: &mut Cpu, op: &Op, size: u64, transfer: FarTransfer) -> Fallible {
    let next = op.next(cpu);
    transfer(cpu, (op.imm >> 32) as u16, op.imm & 0xffff_ffff, size, next)
}

fn far_memory(cpu: &mut Cpu, op: &Op, size: u64, transfer: FarTransfer) -> Fallible {
    let (offset, selector) = far_pointer(cpu, op, size)?;
    let next = op.next(cpu);
    transfer(cpu, selector, offset, size, next)
}

/// Reads a far pointer: offset of `size` bytes, then the selector.
pub fn far_pointer(cpu: &mut Cpu, op: &Op, size: u64) -> Fallible<(u64, u16)> {
    let address = op.address(cpu);
    let segment = op.segment();
    let offset = match size {
        2 => u64::from(cpu.read::<u16>(segment, address)?),
        4 => u64::from(cpu.read::<u32>(segment, address)?),
        _ => cpu.read::<u64>(segment, address)?,
    };
    let selector = cpu.read::<u16>(segment, op.cut_address(address.wrapping_add(size)))?;
    Ok((offset, selector))
}

/// Delivers a software interrupt that returns behind the instruction.
fn trap(cpu: &mut Cpu, op: &Op, vector: u8, cause: Cause) -> Fallible {
    let start = cpu.regs[RIP];
    cpu.regs[RIP] = op.next(cpu);
    cpu.deliver(vector, cause, None).inspect_err(|_| cpu.regs[RIP] = start)?;
    cpu.stop = true;
    Ok(())
}

/// INT1 (ICEBP). Its #DB also tells of a data breakpoint that a load of SS has held back.
fn int1(cpu: &mut Cpu, op: &Op) -> Fallible {
    let held = std::mem::take(&mut cpu.debug.pending);
    trap(cpu, op, 1, Cause::Privileged).inspect_err(|_| cpu.debug.pending |= held)?;
    if held != 0 {
        cpu.record_debug(held);
    }
    Ok(())
}

/// INT n. SDM 2A, "INT n/INTO/INT3/INT1".
fn int_n(cpu: &mut Cpu, op: &Op) -> Fallible {
    if cpu.v86() {
        let start = cpu.regs[RIP];
        cpu.regs[RIP] = op.next(cpu);
        let redirected = cpu.redirect_interrupt(op.imm as u8).inspect_err(|_| cpu.regs[RIP] = start)?;
        if redirected {
            return Ok(());
        }
        cpu.regs[RIP] = start;
    }
    trap(cpu, op, op.imm as u8, Cause::Software)
}

/// INTO: #OF as a trap when OF is set.
fn into(cpu: &mut Cpu, op: &Op) -> Fallible {
    if cpu.flags.arithmetic() & eflags::OF != 0 {
        return trap(cpu, op, 4, Cause::SoftwareException);
    }
    cpu.regs[RIP] = op.next(cpu);
    Ok(())
}

fn iret(cpu: &mut Cpu, op: &Op, size: u64) -> Fallible {
    let next = op.next(cpu);
    cpu.interrupt_return(size, next)
}

fn bound_form(f: &Form<'_>) -> Option<Handler> {
    match f.size(0) {
        2 => Some(bound::<u16>),
        4 => Some(bound::<u32>),
        _ => None,
    }
}

/// BOUND. SDM 2A, "BOUND".
fn bound<W: Width>(cpu: &mut Cpu, op: &Op) -> Fallible {
    let address = op.address(cpu);
    let lower = cpu.read::<W>(op.segment(), address)?.i64();
    let upper = cpu.read::<W>(op.segment(), op.cut_address(address.wrapping_add(W::BYTES)))?.i64();
    let index = cpu.register::<W>(op.reg[0]).i64();
    if index < lower || index > upper {
        return Err(Fault::BR);
    }
    Ok(())
}
