//! PINSR, PEXTR, INSERTPS, EXTRACTPS: one lane to and from general registers and memory.

use iced_x86::Mnemonic as M;

use super::lanes::{dwords, from_dwords};
use super::moves::is_mmx;
use super::operand::{Source, Unaligned, Xmm};
use super::scheme::{Legacy, Scheme, Vex};
use crate::cpu::{Cpu, Fallible, Width};
use crate::interp::op::{Handler, Op};
use crate::interp::table::{Form, Kind, Row, both, row};

/// The rows of this family.
pub const ROWS: &[Row] = &[
    both(M::Pinsrb, M::Vpinsrb, insert_form::<u8>),
    row(M::Pinsrw, pinsrw),
    row(M::Vpinsrw, insert_form::<u16>),
    both(M::Pinsrd, M::Vpinsrd, insert_form::<u32>),
    both(M::Pinsrq, M::Vpinsrq, insert_form::<u64>),
    both(M::Pextrb, M::Vpextrb, extract_form::<u8>),
    row(M::Pextrw, pextrw),
    row(M::Vpextrw, extract_form::<u16>),
    both(M::Pextrd, M::Vpextrd, extract_form::<u32>),
    both(M::Pextrq, M::Vpextrq, extract_form::<u64>),
    both(M::Extractps, M::Vextractps, extract_form::<u32>),
    both(M::Insertps, M::Vinsertps, |f| {
        Some(match (f.is_vex(), f.kind(f.source())) {
            (false, Kind::Mem) => insertps_memory::<Legacy>,
            (false, _) => insertps_register::<Xmm<1>, Legacy>,
            (true, Kind::Mem) => insertps_memory::<Vex>,
            (true, _) => insertps_register::<Xmm<2>, Vex>,
        })
    }),
];

/// Position in bits of the lane that the immediate names.
fn position<W: Width>(op: &Op) -> u32 {
    (op.imm as u32 & (128 / W::BITS - 1)) * W::BITS
}

fn insert_form<W: Width>(f: &Form<'_>) -> Option<Handler> {
    Some(match (f.is_vex(), f.kind(f.source())) {
        (false, Kind::Mem) => insert_memory::<W, Legacy>,
        (false, _) => insert_register::<W, Legacy, 1>,
        (true, Kind::Mem) => insert_memory::<W, Vex>,
        (true, _) => insert_register::<W, Vex, 2>,
    })
}

fn put_lane<W: Width, X: Scheme>(cpu: &mut Cpu, op: &Op, value: W) {
    let at = position::<W>(op);
    let [first] = X::first(cpu, op);
    let kept = first & !(u128::from(W::MASK) << at);
    X::store(cpu, op, [kept | u128::from(value.u64()) << at]);
}

/// PINSRB and so on. SDM 2B, "PINSRB/PINSRD/PINSRQ" and "PINSRW".
fn insert_register<W: Width, X: Scheme, const OPERAND: usize>(cpu: &mut Cpu, op: &Op) -> Fallible {
    X::check(cpu)?;
    let value = W::from_u64(cpu.register::<u64>(op.reg[OPERAND]));
    put_lane::<W, X>(cpu, op, value);
    Ok(())
}

fn insert_memory<W: Width, X: Scheme>(cpu: &mut Cpu, op: &Op) -> Fallible {
    X::check(cpu)?;
    let value = Unaligned::low::<W>(cpu, op)?;
    put_lane::<W, X>(cpu, op, value);
    Ok(())
}

fn extract_form<W: Width>(f: &Form<'_>) -> Option<Handler> {
    Some(match (f.is_vex(), f.kind(0)) {
        (false, Kind::Mem) => extract_memory::<W, Legacy>,
        (false, _) => extract_register::<W, Legacy>,
        (true, Kind::Mem) => extract_memory::<W, Vex>,
        (true, _) => extract_register::<W, Vex>,
    })
}

fn lane<W: Width>(cpu: &Cpu, op: &Op) -> W {
    W::from_u64((cpu.xmm(op.reg[1]) >> position::<W>(op)) as u64)
}

/// PEXTRB and so on: the upper part of the general register is cleared. SDM 2B, "PEXTRB/PEXTRD/PEXTRQ".
fn extract_register<W: Width, X: Scheme>(cpu: &mut Cpu, op: &Op) -> Fallible {
    X::check(cpu)?;
    let value = lane::<W>(cpu, op);
    cpu.set_register::<u64>(op.reg[0], value.u64());
    Ok(())
}

fn extract_memory<W: Width, X: Scheme>(cpu: &mut Cpu, op: &Op) -> Fallible {
    X::check(cpu)?;
    let address = op.address(cpu);
    cpu.write(op.segment(), address, lane::<W>(cpu, op))
}

fn pinsrw(f: &Form<'_>) -> Option<Handler> {
    match (is_mmx(f, 0), f.kind(1)) {
        (true, Kind::Mem) => Some(pinsrw_mmx_memory),
        (true, _) => Some(pinsrw_mmx_register),
        _ => insert_form::<u16>(f),
    }
}

fn put_mmx_word(cpu: &mut Cpu, op: &Op, value: u16) {
    cpu.enter_mmx();
    let at = (op.imm as u32 & 3) * 16;
    cpu.set_mmx(op.reg[0], cpu.mmx(op.reg[0]) & !(0xffff << at) | u64::from(value) << at);
}

fn pinsrw_mmx_register(cpu: &mut Cpu, op: &Op) -> Fallible {
    cpu.check_mmx()?;
    let value = cpu.register::<u64>(op.reg[1]) as u16;
    put_mmx_word(cpu, op, value);
    Ok(())
}

fn pinsrw_mmx_memory(cpu: &mut Cpu, op: &Op) -> Fallible {
    cpu.check_mmx()?;
    let value = Unaligned::low(cpu, op)?;
    put_mmx_word(cpu, op, value);
    Ok(())
}

fn pextrw(f: &Form<'_>) -> Option<Handler> {
    if is_mmx(f, 1) { Some(pextrw_mmx) } else { extract_form::<u16>(f) }
}

fn pextrw_mmx(cpu: &mut Cpu, op: &Op) -> Fallible {
    cpu.check_mmx()?;
    cpu.enter_mmx();
    let value = cpu.mmx(op.reg[1]) >> ((op.imm & 3) * 16) & 0xffff;
    cpu.set_register::<u64>(op.reg[0], value);
    Ok(())
}

/// INSERTPS. SDM 2A, "INSERTPS".
fn insertps_register<S: Source, X: Scheme>(cpu: &mut Cpu, op: &Op) -> Fallible {
    X::check(cpu)?;
    let source = S::vector(cpu, op)?;
    insertps::<X>(cpu, op, dwords(source)[(op.imm >> 6 & 3) as usize]);
    Ok(())
}

fn insertps_memory<X: Scheme>(cpu: &mut Cpu, op: &Op) -> Fallible {
    X::check(cpu)?;
    let source = Unaligned::low::<u32>(cpu, op)?;
    insertps::<X>(cpu, op, source);
    Ok(())
}

fn insertps<X: Scheme>(cpu: &mut Cpu, op: &Op, value: u32) {
    let [first] = X::first(cpu, op);
    let mut lanes = dwords(first);
    lanes[(op.imm >> 4 & 3) as usize] = value;
    for (i, lane) in lanes.iter_mut().enumerate() {
        if op.imm >> i & 1 != 0 {
            *lane = 0;
        }
    }
    X::store(cpu, op, [from_dwords(lanes)]);
}
