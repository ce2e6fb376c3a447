//! PUSH, POP, PUSHA, POPA, PUSHF, POPF, ENTER, LEAVE.

use iced_x86::{Code, Mnemonic as M, OpKind};

use crate::cpu::{Cpu, Fallible, RBP, RSP, SS, Width, eflags};
use crate::interp::op::{Handler, Imm, Mem, Op, Reg, Source, Way, quick};
use crate::interp::table::{Form, Kind, Row, row, widths_wide};

/// The rows of this family.
pub const ROWS: &[Row] = &[
    row(M::Push, push_form),
    row(M::Pop, pop_form),
    row(M::Pusha, |_| Some(push_all::<u16>)),
    row(M::Pushad, |_| Some(push_all::<u32>)),
    row(M::Popa, |_| Some(pop_all::<u16>)),
    row(M::Popad, |_| Some(pop_all::<u32>)),
    row(M::Pushf, |_| Some(pushf::<u16>)),
    row(M::Pushfd, |_| Some(pushf::<u32>)),
    row(M::Pushfq, |_| Some(pushf::<u64>)),
    row(M::Popf, |_| Some(popf::<u16>)),
    row(M::Popfd, |_| Some(popf::<u32>)),
    row(M::Popfq, |_| Some(popf::<u64>)),
    row(M::Enter, enter_form),
    row(M::Leave, leave_form),
];

fn push_form(f: &Form<'_>) -> Option<Handler> {
    let size = f.insn.stack_pointer_increment().unsigned_abs() as usize;
    if f.insn.op_kind(0) == OpKind::Register && f.insn.op0_register().is_segment_register() {
        return widths_wide!(size, |W| push_segment::<W>);
    }
    match f.kind(0) {
        Kind::Reg => widths_wide!(size, |W| quick!(|M| push::<W, Reg<0>, M>)),
        Kind::Mem => widths_wide!(size, |W| push::<W, Mem, Mem>),
        _ => widths_wide!(size, |W| quick!(|M| push::<W, Imm, M>)),
    }
}

/// PUSH: the operand is read first, so PUSH SP stores the old SP. SDM 2B, "PUSH".
fn push<W: Width, S: Source, M: Way>(cpu: &mut Cpu, op: &Op) -> Fallible {
    let value = S::get::<W>(cpu, op)?;
    M::push(cpu, value)
}

/// PUSH of a segment register: with a 32- or 64-bit operand Intel silicon writes the low 16 bits only in
/// 32-bit pushes and leaves the rest of the slot as it was.
fn push_segment<W: Width>(cpu: &mut Cpu, op: &Op) -> Fallible {
    let selector = cpu.seg[usize::from(op.reg[0])].selector;
    if W::BYTES != 4 {
        return cpu.push(W::from_u64(u64::from(selector)));
    }
    let pointer = cpu.stack_pointer().wrapping_sub(4) & cpu.stack_mask;
    cpu.write::<u16>(SS, pointer, selector)?;
    cpu.set_stack_pointer(pointer);
    Ok(())
}

fn pop_form(f: &Form<'_>) -> Option<Handler> {
    let size = f.insn.stack_pointer_increment().unsigned_abs() as usize;
    if f.insn.op_kind(0) == OpKind::Register && f.insn.op0_register().is_segment_register() {
        return widths_wide!(size, |W| pop_segment::<W>);
    }
    match f.kind(0) {
        Kind::Reg => widths_wide!(size, |W| quick!(|M| pop_register::<W, M>)),
        _ => widths_wide!(size, |W| pop_memory::<W>),
    }
}

/// POP to a register: POP SP ends with the popped value. SDM 2B, "POP".
fn pop_register<W: Width, M: Way>(cpu: &mut Cpu, op: &Op) -> Fallible {
    let value = M::peek::<W>(cpu)?;
    cpu.drop_stack(W::BYTES);
    cpu.set_register(op.reg[0], value);
    Ok(())
}

/// POP to memory: an address that uses RSP sees it after the pop.
fn pop_memory<W: Width>(cpu: &mut Cpu, op: &Op) -> Fallible {
    let value = cpu.peek::<W>(0)?;
    let saved = cpu.regs[RSP];
    cpu.drop_stack(W::BYTES);
    let address = op.address(cpu);
    cpu.write(op.segment(), address, value).inspect_err(|_| cpu.regs[RSP] = saved)
}

/// POP to a segment register: only the low 16 bits of the slot are read for the selector.
fn pop_segment<W: Width>(cpu: &mut Cpu, op: &Op) -> Fallible {
    let register = usize::from(op.reg[0]);
    let selector = cpu.peek::<u16>(0)?;
    let mask = cpu.stack_mask;
    let pointer = cpu.stack_pointer().wrapping_add(W::BYTES) & mask;
    cpu.load_segment(register, selector)?;
    // The pop counts on the old stack size even when SS changed.
    cpu.regs[RSP] = if mask == 0xffff { cpu.regs[RSP] & !0xffff | pointer } else { pointer };
    if register == SS {
        super::segment::shadow_after_ss(cpu);
    }
    Ok(())
}

/// PUSHA, PUSHAD: all or nothing. SDM 2B, "PUSHA/PUSHAD".
fn push_all<W: Width>(cpu: &mut Cpu, _: &Op) -> Fallible {
    let start = cpu.stack_pointer();
    let at = |n: u64| start.wrapping_sub((n + 1) * W::BYTES) & cpu.stack_mask;
    let places: [u64; 8] = std::array::from_fn(|n| at(n as u64));
    for place in places {
        cpu.probe_write(SS, place, W::BYTES)?;
    }
    let values: [W; 8] = std::array::from_fn(|n| W::from_u64(cpu.regs[n]));
    for (place, value) in places.into_iter().zip(values) {
        cpu.write(SS, place, value)?;
    }
    cpu.set_stack_pointer(places[7]);
    Ok(())
}

/// POPA, POPAD: the slot of (E)SP is skipped. SDM 2B, "POPA/POPAD".
fn pop_all<W: Width>(cpu: &mut Cpu, _: &Op) -> Fallible {
    let mut values = [W::from_u64(0); 8];
    // The lowest address first, as it is popped first: a page fault is for that one.
    for (n, value) in values.iter_mut().enumerate().rev() {
        *value = cpu.peek((7 - n as u64) * W::BYTES)?;
    }
    for (n, value) in values.into_iter().enumerate() {
        if n != RSP {
            cpu.set_register(n as u8, value);
        }
    }
    cpu.drop_stack(8 * W::BYTES);
    Ok(())
}

/// PUSHF: RF and VM read as zero. SDM 2B, "PUSHF".
fn pushf<W: Width>(cpu: &mut Cpu, _: &Op) -> Fallible {
    let flags = if cpu.v86_sensitive() {
        cpu.virtual_flags(W::BYTES)?
    } else {
        cpu.flags.get() & !(eflags::RF | eflags::VM)
    };
    cpu.push(W::from_u64(flags))
}

/// POPF: what may change depends on CPL and IOPL. SDM 2B, "POPF", table "Effect of POPF/POPFD on the EFLAGS
/// Register".
fn popf<W: Width>(cpu: &mut Cpu, _: &Op) -> Fallible {
    if cpu.v86_sensitive() {
        let image = cpu.peek::<W>(0)?.u64();
        let flags = cpu.with_virtual_flags(image, W::BYTES)?;
        cpu.drop_stack(W::BYTES);
        cpu.set_flags(flags);
        return Ok(());
    }
    let image = cpu.pop::<W>()?.u64();
    let mut mask = eflags::OSZAPC | eflags::TF | eflags::DF | eflags::NT | eflags::AC | eflags::ID;
    if !cpu.protected() || cpu.cpl == 0 {
        mask |= eflags::IOPL | eflags::IF;
    } else if cpu.cpl <= cpu.iopl() {
        mask |= eflags::IF;
    }
    let cleared = if W::BYTES == 2 { 0 } else { eflags::RF };
    let mask = mask & W::MASK;
    let old = cpu.flags.get();
    cpu.set_flags(old & !mask & !cleared | image & mask);
    if old & eflags::IF == 0 && image & mask & eflags::IF != 0 {
        cpu.stop = true;
    }
    Ok(())
}

fn enter_form(f: &Form<'_>) -> Option<Handler> {
    match f.insn.code() {
        Code::Enterw_imm16_imm8 => Some(enter::<u16>),
        Code::Enterd_imm16_imm8 => Some(enter::<u32>),
        Code::Enterq_imm16_imm8 => Some(enter::<u64>),
        _ => None,
    }
}

/// ENTER with nesting. SDM 2A, "ENTER".
fn enter<W: Width>(cpu: &mut Cpu, op: &Op) -> Fallible {
    let (allocate, level) = (op.imm & 0xffff, op.imm >> 32 & 31);
    let mask = cpu.stack_mask;
    let saved = cpu.regs[RSP];
    let done = (|| {
        cpu.push(cpu.register::<W>(RBP as u8))?;
        let frame = W::from_u64(cpu.regs[RSP]);
        if level > 0 {
            let mut pointer = cpu.regs[RBP];
            for _ in 1..level {
                pointer = pointer.wrapping_sub(W::BYTES) & mask;
                let display = cpu.read::<W>(SS, pointer)?;
                cpu.push(display)?;
            }
            cpu.push(frame)?;
        }
        let pointer = cpu.stack_pointer().wrapping_sub(allocate) & mask;
        // The last access of a frame that does not fit faults here, not later.
        cpu.probe_write(SS, pointer, W::BYTES)?;
        cpu.set_stack_pointer(pointer);
        cpu.set_register(RBP as u8, frame);
        Ok(())
    })();
    done.inspect_err(|_| cpu.regs[RSP] = saved)
}

fn leave_form(f: &Form<'_>) -> Option<Handler> {
    match f.insn.code() {
        Code::Leavew => Some(leave::<u16>),
        Code::Leaved => Some(leave::<u32>),
        Code::Leaveq => Some(leave::<u64>),
        _ => None,
    }
}

/// LEAVE. SDM 2A, "LEAVE".
fn leave<W: Width>(cpu: &mut Cpu, _: &Op) -> Fallible {
    let pointer = cpu.regs[RBP] & cpu.stack_mask;
    let frame = cpu.read::<W>(SS, pointer)?;
    cpu.set_stack_pointer(pointer.wrapping_add(W::BYTES));
    cpu.set_register(RBP as u8, frame);
    Ok(())
}
