//! Moves of a part of a vector: scalars, halves, MOVD and MOVQ, MOVDDUP, sign masks.
//! MOVSD comes here from the string instruction of the same mnemonic.

use iced_x86::Mnemonic as M;

use super::lanes::{bytes, qwords};
use super::moves::{general_from_mmx, is_mmx, load_mmx, mmx_between, mmx_from_general, store_mmx};
use super::operand::{Source, Unaligned, Xmm};
use super::scheme::{Legacy, Scheme, Vex, schemes};
use crate::cpu::{Cpu, Fallible, Width};
use crate::interp::op::{Handler, Op};
use crate::interp::table::{Form, Kind, Row, both, row};

/// The rows of this family.
pub const ROWS: &[Row] = &[
    both(M::Movss, M::Vmovss, scalar::<u32>),
    row(M::Vmovsd, scalar::<u64>),
    both(M::Movlps, M::Vmovlps, |f| half::<0>(f)),
    both(M::Movlpd, M::Vmovlpd, |f| half::<0>(f)),
    both(M::Movhps, M::Vmovhps, |f| half::<1>(f)),
    both(M::Movhpd, M::Vmovhpd, |f| half::<1>(f)),
    both(M::Movhlps, M::Vmovhlps, |f| {
        Some(if f.is_vex() { movhlps::<Xmm<2>, Vex> } else { movhlps::<Xmm<1>, Legacy> })
    }),
    both(M::Movlhps, M::Vmovlhps, |f| {
        Some(if f.is_vex() { combine::<Xmm<2>, Vex, 1> } else { combine::<Xmm<1>, Legacy, 1> })
    }),
    both(M::Movd, M::Vmovd, general::<u32>),
    both(M::Movq, M::Vmovq, movq),
    both(M::Movddup, M::Vmovddup, duplicate),
    both(M::Movmskps, M::Vmovmskps, |f| schemes!(f, 1, |S, X, N| sign_mask::<S, X, N, 4>)),
    both(M::Movmskpd, M::Vmovmskpd, |f| schemes!(f, 1, |S, X, N| sign_mask::<S, X, N, 8>)),
    both(M::Pmovmskb, M::Vpmovmskb, |f| {
        if is_mmx(f, 1) { Some(pmovmskb_mmx) } else { schemes!(f, 1, |S, X, N| sign_mask::<S, X, N, 1>) }
    }),
];

/// MOVSD with XMM operands.
pub fn movsd(f: &Form<'_>) -> Option<Handler> {
    scalar::<u64>(f)
}

/// One for legacy encodings, the other for VEX.
fn by_encoding(f: &Form<'_>, legacy: Handler, vex: Handler) -> Option<Handler> {
    Some(if f.is_vex() { vex } else { legacy })
}

fn scalar<W: Width>(f: &Form<'_>) -> Option<Handler> {
    match (f.kind(0), f.kind(f.source())) {
        (Kind::Reg, Kind::Reg) => {
            by_encoding(f, scalar_between::<W, Xmm<1>, Legacy>, scalar_between::<W, Xmm<2>, Vex>)
        }
        (Kind::Reg, Kind::Mem) => by_encoding(f, load_low::<W, Legacy>, load_low::<W, Vex>),
        (Kind::Mem, Kind::Reg) => by_encoding(f, store_part::<W, Legacy, 0>, store_part::<W, Vex, 0>),
        _ => None,
    }
}

/// MOVSS and MOVSD between registers keep the upper part, or take it from the first source. SDM 2B, "MOVSS".
fn scalar_between<W: Width, S: Source, X: Scheme>(cpu: &mut Cpu, op: &Op) -> Fallible {
    X::check(cpu)?;
    let value = S::low::<W>(cpu, op)?;
    X::store_low(cpu, op, value);
    Ok(())
}

/// MOVSS, MOVSD, MOVD and MOVQ from memory clear the upper part.
fn load_low<W: Width, X: Scheme>(cpu: &mut Cpu, op: &Op) -> Fallible {
    X::check(cpu)?;
    let value = Unaligned::low::<W>(cpu, op)?;
    X::store(cpu, op, [u128::from(value.u64())]);
    Ok(())
}

/// MOVSS, MOVSD, MOVD, MOVQ, MOVLPS, MOVHPS to memory: the low bits of one half.
fn store_part<W: Width, X: Scheme, const HALF: usize>(cpu: &mut Cpu, op: &Op) -> Fallible {
    X::check(cpu)?;
    let address = op.address(cpu);
    let value = W::from_u64(cpu.fpu.vectors[usize::from(op.reg[1] & 31)][HALF]);
    cpu.write(op.segment(), address, value)
}

fn half<const HALF: usize>(f: &Form<'_>) -> Option<Handler> {
    match f.kind(0) {
        Kind::Mem => by_encoding(f, store_part::<u64, Legacy, HALF>, store_part::<u64, Vex, HALF>),
        _ => by_encoding(f, combine::<Unaligned, Legacy, HALF>, combine::<Unaligned, Vex, HALF>),
    }
}

/// MOVLPS, MOVHPS, MOVLHPS: a quadword takes the place of one half; the other is the first source's.
/// SDM 2B, "MOVHPS" and "MOVLHPS".
fn combine<S: Source, X: Scheme, const HALF: usize>(cpu: &mut Cpu, op: &Op) -> Fallible {
    X::check(cpu)?;
    let value = u128::from(S::low::<u64>(cpu, op)?);
    let [first] = X::first(cpu, op);
    let kept = first & !(u128::from(u64::MAX) << (64 * HALF));
    X::store(cpu, op, [kept | value << (64 * HALF)]);
    Ok(())
}

/// MOVHLPS. SDM 2B, "MOVHLPS".
fn movhlps<S: Source, X: Scheme>(cpu: &mut Cpu, op: &Op) -> Fallible {
    X::check(cpu)?;
    let [_, high] = qwords(S::vector(cpu, op)?);
    X::store_low(cpu, op, high);
    Ok(())
}

fn is_xmm(f: &Form<'_>, n: u32) -> bool {
    f.kind(n) == Kind::Reg && f.insn.op_register(n).is_xmm()
}

/// MOVD, and MOVQ with a general register or memory.
fn general<W: Width>(f: &Form<'_>) -> Option<Handler> {
    let memory = (f.kind(0) == Kind::Mem, f.kind(1) == Kind::Mem);
    if is_mmx(f, 0) {
        return Some(if memory.1 { load_mmx::<W> } else { mmx_from_general::<W> });
    }
    if is_mmx(f, 1) {
        return Some(if memory.0 { store_mmx::<W> } else { general_from_mmx::<W> });
    }
    match (is_xmm(f, 0), is_xmm(f, 1), memory) {
        (true, false, (_, true)) => by_encoding(f, load_low::<W, Legacy>, load_low::<W, Vex>),
        (true, false, _) => by_encoding(f, xmm_from_general::<W, Legacy>, xmm_from_general::<W, Vex>),
        (false, true, (true, _)) => by_encoding(f, store_part::<W, Legacy, 0>, store_part::<W, Vex, 0>),
        (false, true, _) => by_encoding(f, general_from_xmm::<W, Legacy>, general_from_xmm::<W, Vex>),
        _ => None,
    }
}

fn movq(f: &Form<'_>) -> Option<Handler> {
    if is_mmx(f, 0) && is_mmx(f, 1) {
        return Some(mmx_between);
    }
    if is_xmm(f, 0) && is_xmm(f, 1) {
        return by_encoding(f, movq_between::<Legacy>, movq_between::<Vex>);
    }
    general::<u64>(f)
}

/// MOVQ between XMM registers clears the upper half. SDM 2B, "MOVQ".
fn movq_between<X: Scheme>(cpu: &mut Cpu, op: &Op) -> Fallible {
    X::check(cpu)?;
    X::store(cpu, op, [u128::from(cpu.xmm_low::<u64>(op.reg[1]))]);
    Ok(())
}

/// MOVD and MOVQ. SDM 2B, "MOVD/MOVQ".
fn xmm_from_general<W: Width, X: Scheme>(cpu: &mut Cpu, op: &Op) -> Fallible {
    X::check(cpu)?;
    X::store(cpu, op, [u128::from(cpu.register::<W>(op.reg[1]).u64())]);
    Ok(())
}

fn general_from_xmm<W: Width, X: Scheme>(cpu: &mut Cpu, op: &Op) -> Fallible {
    X::check(cpu)?;
    cpu.set_register(op.reg[0], cpu.xmm_low::<W>(op.reg[1]));
    Ok(())
}

/// The number of lanes of the sign masks: MOVMSKPS and so on. SDM 2B, "MOVMSKPS" and "PMOVMSKB".
fn sign_mask<S: Source, X: Scheme, const N: usize, const BYTES: usize>(cpu: &mut Cpu, op: &Op) -> Fallible {
    X::check(cpu)?;
    let source = S::pieces::<N>(cpu, op)?;
    let signs = source.into_iter().rev().fold(0u64, |mask, piece| {
        let lanes = bytes(piece);
        let tops = lanes.iter().skip(BYTES - 1).step_by(BYTES);
        tops.rev().fold(mask, |mask, byte| mask << 1 | u64::from(byte >> 7))
    });
    cpu.set_register(op.reg[0], signs);
    Ok(())
}

fn pmovmskb_mmx(cpu: &mut Cpu, op: &Op) -> Fallible {
    cpu.check_mmx()?;
    cpu.enter_mmx();
    let lanes = cpu.mmx(op.reg[1]).to_le_bytes();
    let signs = lanes.iter().rev().fold(0u32, |mask, byte| mask << 1 | u32::from(byte >> 7));
    cpu.set_register(op.reg[0], signs);
    Ok(())
}

fn duplicate(f: &Form<'_>) -> Option<Handler> {
    match (f.kind(1), f.size(0)) {
        (Kind::Reg, 16) => by_encoding(f, movddup::<Xmm<1>, Legacy>, movddup::<Xmm<1>, Vex>),
        (Kind::Mem, 16) => by_encoding(f, movddup::<Unaligned, Legacy>, movddup::<Unaligned, Vex>),
        (Kind::Reg, 32) => Some(movddup_wide::<Xmm<1>>),
        (Kind::Mem, 32) => Some(movddup_wide::<Unaligned>),
        _ => None,
    }
}

fn twice(value: u64) -> u128 {
    u128::from(value) << 64 | u128::from(value)
}

/// MOVDDUP: 64 bits of memory at any address. SDM 2B, "MOVDDUP".
fn movddup<S: Source, X: Scheme>(cpu: &mut Cpu, op: &Op) -> Fallible {
    X::check(cpu)?;
    let value = S::low::<u64>(cpu, op)?;
    X::store(cpu, op, [twice(value)]);
    Ok(())
}

/// VMOVDDUP of 256 bits: the low quadword of each half.
fn movddup_wide<S: Source>(cpu: &mut Cpu, op: &Op) -> Fallible {
    Vex::check(cpu)?;
    let value = S::pieces::<2>(cpu, op)?;
    Vex::store(cpu, op, value.map(|piece| twice(piece as u64)));
    Ok(())
}
