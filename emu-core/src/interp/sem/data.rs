//! MOV and its like: MOVZX, MOVSX, MOVSXD, MOVBE, MOVNTI, LEA, XCHG, CMOVcc, SETcc, XLAT, CBW and CWD, NOP.

use iced_x86::{Mnemonic as M, OpKind};

use crate::cpu::{Cpu, Fallible, RAX, RBX, RDX, Width};
use crate::interp::op::{Handler, Imm, Mem, Op, Reg, Source, Target, quick};
use crate::interp::table::{Form, Kind, Row, row, widths, widths_wide};

/// The rows of this family, less MOV to and from segment, control and debug registers.
pub const ROWS: &[Row] = &[
    row(M::Mov, mov),
    row(M::Movzx, |f| extend::<false>(f)),
    row(M::Movsx, |f| extend::<true>(f)),
    row(M::Movsxd, |f| extend::<true>(f)),
    row(M::Movbe, movbe_form),
    row(M::Movnti, mov),
    row(M::Lea, |f| widths_wide!(f.size(0), |W| lea::<W>)),
    row(M::Xchg, exchange),
    row(M::Xlatb, |_| Some(xlat)),
    row(M::Cbw, |_| Some(|cpu, _| sign_extend::<u8, u16>(cpu))),
    row(M::Cwde, |_| Some(|cpu, _| sign_extend::<u16, u32>(cpu))),
    row(M::Cdqe, |_| Some(|cpu, _| sign_extend::<u32, u64>(cpu))),
    row(M::Cwd, |_| Some(|cpu, _| spread_sign::<u16>(cpu))),
    row(M::Cdq, |_| Some(|cpu, _| spread_sign::<u32>(cpu))),
    row(M::Cqo, |_| Some(|cpu, _| spread_sign::<u64>(cpu))),
    row(M::Nop, |_| Some(nop)),
    row(M::Reservednop, |_| Some(nop)),
    row(M::Endbr64, |_| Some(nop)),
    row(M::Endbr32, |_| Some(nop)),
    row(M::Prefetchw, |_| Some(nop)),
    row(M::Prefetch, |_| Some(nop)),
    row(M::Prefetchwt1, |_| Some(nop)),
    row(M::Prefetchnta, |_| Some(nop)),
    row(M::Prefetcht0, |_| Some(nop)),
    row(M::Prefetcht1, |_| Some(nop)),
    row(M::Prefetcht2, |_| Some(nop)),
    row(M::Prefetchit0, |_| Some(nop)),
    row(M::Prefetchit1, |_| Some(nop)),
    // Without shadow stacks they leave their register as it is. SDM 2B, "RDSSPD/RDSSPQ".
    row(M::Rdsspd, |_| Some(nop)),
    row(M::Rdsspq, |_| Some(nop)),
    row(M::Cmovo, |f| cmov::<0>(f)),
    row(M::Cmovno, |f| cmov::<1>(f)),
    row(M::Cmovb, |f| cmov::<2>(f)),
    row(M::Cmovae, |f| cmov::<3>(f)),
    row(M::Cmove, |f| cmov::<4>(f)),
    row(M::Cmovne, |f| cmov::<5>(f)),
    row(M::Cmovbe, |f| cmov::<6>(f)),
    row(M::Cmova, |f| cmov::<7>(f)),
    row(M::Cmovs, |f| cmov::<8>(f)),
    row(M::Cmovns, |f| cmov::<9>(f)),
    row(M::Cmovp, |f| cmov::<10>(f)),
    row(M::Cmovnp, |f| cmov::<11>(f)),
    row(M::Cmovl, |f| cmov::<12>(f)),
    row(M::Cmovge, |f| cmov::<13>(f)),
    row(M::Cmovle, |f| cmov::<14>(f)),
    row(M::Cmovg, |f| cmov::<15>(f)),
    row(M::Seto, |f| set::<0>(f)),
    row(M::Setno, |f| set::<1>(f)),
    row(M::Setb, |f| set::<2>(f)),
    row(M::Setae, |f| set::<3>(f)),
    row(M::Sete, |f| set::<4>(f)),
    row(M::Setne, |f| set::<5>(f)),
    row(M::Setbe, |f| set::<6>(f)),
    row(M::Seta, |f| set::<7>(f)),
    row(M::Sets, |f| set::<8>(f)),
    row(M::Setns, |f| set::<9>(f)),
    row(M::Setp, |f| set::<10>(f)),
    row(M::Setnp, |f| set::<11>(f)),
    row(M::Setl, |f| set::<12>(f)),
    row(M::Setge, |f| set::<13>(f)),
    row(M::Setle, |f| set::<14>(f)),
    row(M::Setg, |f| set::<15>(f)),
];

fn nop(_: &mut Cpu, _: &Op) -> Fallible {
    Ok(())
}

fn mov(f: &Form<'_>) -> Option<Handler> {
    let special = |n: u32| {
        f.insn.op_kind(n) == OpKind::Register && {
            let register = f.insn.op_register(n);
            register.is_segment_register() || !register.is_gpr()
        }
    };
    if special(0) || special(1) {
        return super::segment::mov_special(f);
    }
    match f.shape() {
        (Kind::Reg, Kind::Reg, n) => widths!(n, |W| movement::<W, Reg<0>, Reg<1>>),
        (Kind::Reg, Kind::Mem, n) => widths!(n, |W| quick!(|M| movement::<W, Reg<0>, M>)),
        (Kind::Reg, Kind::Imm, n) => widths!(n, |W| movement::<W, Reg<0>, Imm>),
        (Kind::Mem, Kind::Reg, n) => widths!(n, |W| quick!(|M| movement::<W, M, Reg<1>>)),
        (Kind::Mem, Kind::Imm, n) => widths!(n, |W| quick!(|M| movement::<W, M, Imm>)),
        _ => None,
    }
}

/// MOV. SDM 2B, "MOV".
fn movement<W: Width, D: Target, S: Source>(cpu: &mut Cpu, op: &Op) -> Fallible {
    let value = S::get::<W>(cpu, op)?;
    D::set(cpu, op, value)
}

fn extend<const SIGNED: bool>(f: &Form<'_>) -> Option<Handler> {
    let from = f.size(1);
    match (f.kind(1), from, f.size(0)) {
        (Kind::Reg, 1, n) => widths_wide!(n, |W| movx::<u8, W, Reg<1>, SIGNED>),
        (Kind::Reg, 2, n) => widths_wide!(n, |W| movx::<u16, W, Reg<1>, SIGNED>),
        (Kind::Reg, _, n) => widths_wide!(n, |W| movx::<u32, W, Reg<1>, SIGNED>),
        (_, 1, n) => widths_wide!(n, |W| quick!(|M| movx::<u8, W, M, SIGNED>)),
        (_, 2, n) => widths_wide!(n, |W| quick!(|M| movx::<u16, W, M, SIGNED>)),
        (_, _, n) => widths_wide!(n, |W| quick!(|M| movx::<u32, W, M, SIGNED>)),
    }
}

/// MOVZX, MOVSX, MOVSXD. SDM 2B at each.
fn movx<F: Width, W: Width, S: Source, const SIGNED: bool>(cpu: &mut Cpu, op: &Op) -> Fallible {
    let value = S::get::<F>(cpu, op)?;
    let value = if SIGNED { value.i64() as u64 } else { value.u64() };
    cpu.set_register(op.reg[0], W::from_u64(value));
    Ok(())
}

fn movbe_form(f: &Form<'_>) -> Option<Handler> {
    match f.shape() {
        (Kind::Reg, _, n) => widths_wide!(n, |W| movbe::<W, Reg<0>, Mem>),
        (_, _, n) => widths_wide!(n, |W| movbe::<W, Mem, Reg<1>>),
    }
}

/// MOVBE. SDM 2B, "MOVBE".
fn movbe<W: Width, D: Target, S: Source>(cpu: &mut Cpu, op: &Op) -> Fallible {
    let value = S::get::<W>(cpu, op)?.u64().swap_bytes() >> (64 - W::BITS);
    D::set(cpu, op, W::from_u64(value))
}

/// LEA: the address is cut to the address size, then to the operand size. SDM 2A, "LEA".
fn lea<W: Width>(cpu: &mut Cpu, op: &Op) -> Fallible {
    let address = op.address(cpu);
    cpu.set_register(op.reg[0], W::from_u64(address));
    Ok(())
}

fn exchange(f: &Form<'_>) -> Option<Handler> {
    match f.shape() {
        (Kind::Reg, Kind::Reg, n) => widths!(n, |W| xchg::<W, Reg<0>, 1>),
        (Kind::Mem, _, n) => widths!(n, |W| xchg::<W, Mem, 1>),
        (_, Kind::Mem, n) => widths!(n, |W| xchg::<W, Mem, 0>),
        _ => None,
    }
}

/// XCHG with register operand number R. SDM 2D, "XCHG".
fn xchg<W: Width, D: Target, const R: usize>(cpu: &mut Cpu, op: &Op) -> Fallible {
    let (a, place) = D::locate::<W>(cpu, op)?;
    let b = cpu.register::<W>(op.reg[R]);
    D::put(cpu, op, place, b)?;
    cpu.set_register(op.reg[R], a);
    Ok(())
}

/// XLAT: AL from the table at (E/R)BX. SDM 2D, "XLAT".
fn xlat(cpu: &mut Cpu, op: &Op) -> Fallible {
    let index = cpu.regs[RAX] & 0xff;
    let address = op.cut_address(cpu.regs[RBX].wrapping_add(index));
    let segment = op.segment();
    let value = cpu.read::<u8>(segment, address)?;
    cpu.set_register(RAX as u8, value);
    Ok(())
}

fn sign_extend<F: Width, W: Width>(cpu: &mut Cpu) -> Fallible {
    let value = cpu.register::<F>(RAX as u8).i64() as u64;
    cpu.set_register(RAX as u8, W::from_u64(value));
    Ok(())
}

fn spread_sign<W: Width>(cpu: &mut Cpu) -> Fallible {
    let sign = cpu.register::<W>(RAX as u8).i64() >> 63;
    cpu.set_register(RDX as u8, W::from_u64(sign as u64));
    Ok(())
}

fn cmov<const CC: u8>(f: &Form<'_>) -> Option<Handler> {
    match f.kind(1) {
        Kind::Reg => widths_wide!(f.size(0), |W| conditional_move::<W, Reg<1>, CC>),
        _ => widths_wide!(f.size(0), |W| conditional_move::<W, Mem, CC>),
    }
}

/// CMOVcc: the source is read in any case, and a 32-bit destination is zero-extended in any case.
/// SDM 2A, "CMOVcc".
fn conditional_move<W: Width, S: Source, const CC: u8>(cpu: &mut Cpu, op: &Op) -> Fallible {
    let value = S::get::<W>(cpu, op)?;
    let value = if cpu.flags.condition(CC) { value } else { cpu.register(op.reg[0]) };
    cpu.set_register(op.reg[0], value);
    Ok(())
}

fn set<const CC: u8>(f: &Form<'_>) -> Option<Handler> {
    Some(if f.kind(0) == Kind::Reg { set_byte::<Reg<0>, CC> } else { set_byte::<Mem, CC> })
}

/// SETcc. SDM 2B, "SETcc".
fn set_byte<D: Target, const CC: u8>(cpu: &mut Cpu, op: &Op) -> Fallible {
    let value = u8::from(cpu.flags.condition(CC));
    D::set(cpu, op, value)
}
