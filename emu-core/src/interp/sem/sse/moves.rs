//! MOVAPS and its like: moves between vector registers, general registers and memory.
//! MOVSD comes here from the string instruction of the same mnemonic.

use iced_x86::Mnemonic as M;

use super::lanes::{bytes, dwords, from_dwords, qwords};
use super::operand::{Aligned, Source, Unaligned, Xmm};
use super::scheme::{Legacy, Scheme, Vex, schemes};
use crate::cpu::{Cpu, Fallible, Fault, Width};
use crate::interp::op::{Handler, Op};
use crate::interp::table::{Form, Kind, Row, both, row};
use crate::mem::PAGE_SIZE;

/// The rows of this family.
pub const ROWS: &[Row] = &[
    both(M::Movaps, M::Vmovaps, |f| whole::<Aligned, true>(f)),
    both(M::Movapd, M::Vmovapd, |f| whole::<Aligned, true>(f)),
    both(M::Movdqa, M::Vmovdqa, |f| whole::<Aligned, true>(f)),
    both(M::Movups, M::Vmovups, |f| whole::<Unaligned, false>(f)),
    both(M::Movupd, M::Vmovupd, |f| whole::<Unaligned, false>(f)),
    both(M::Movdqu, M::Vmovdqu, |f| whole::<Unaligned, false>(f)),
    both(M::Lddqu, M::Vlddqu, |f| whole::<Unaligned, false>(f)),
    both(M::Movntps, M::Vmovntps, |f| whole::<Aligned, true>(f)),
    both(M::Movntpd, M::Vmovntpd, |f| whole::<Aligned, true>(f)),
    both(M::Movntdq, M::Vmovntdq, |f| whole::<Aligned, true>(f)),
    both(M::Movntdqa, M::Vmovntdqa, |f| whole::<Aligned, true>(f)),
    row(M::Movss, |f| scalar::<u32>(f)),
    row(M::Movlps, low_half),
    row(M::Movlpd, low_half),
    row(M::Movhps, high_half),
    row(M::Movhpd, high_half),
    row(M::Movhlps, |_| Some(movhlps)),
    row(M::Movlhps, |_| Some(movlhps)),
    row(M::Movd, |f| general::<u32>(f)),
    row(M::Movq, movq),
    row(M::Movmskps, |_| Some(movmskps)),
    row(M::Movmskpd, |_| Some(movmskpd)),
    row(M::Pmovmskb, pmovmskb_form),
    row(M::Maskmovdqu, |_| Some(maskmovdqu)),
    row(M::Maskmovq, |_| Some(maskmovq)),
    row(M::Movdq2q, |_| Some(movdq2q)),
    row(M::Movq2dq, |_| Some(movq2dq)),
    row(M::Movntq, |_| Some(store_mmx::<u64>)),
    both(M::Movsldup, M::Vmovsldup, |f| schemes!(f, |S, X, N| load::<S, Even, X, N>)),
    both(M::Movshdup, M::Vmovshdup, |f| schemes!(f, |S, X, N| load::<S, Odd, X, N>)),
    row(M::Vzeroupper, |_| Some(clear_above::<2>)),
    row(M::Vzeroall, |_| Some(clear_above::<0>)),
    row(M::Movddup, |f| duplicate(f, movddup::<Xmm<1>>, movddup::<Unaligned>)),
];

/// MOVSD with XMM operands.
pub fn movsd(f: &Form<'_>) -> Option<Handler> {
    scalar::<u64>(f)
}

fn whole<S: Source, const ALIGNED: bool>(f: &Form<'_>) -> Option<Handler> {
    match (f.is_vex(), f.shape(), f.size(1)) {
        (false, (Kind::Reg, Kind::Reg, 16), _) => Some(load::<Xmm<1>, Same, Legacy, 1>),
        (false, (Kind::Reg, Kind::Mem, 16), _) => Some(load::<S, Same, Legacy, 1>),
        (false, (Kind::Mem, Kind::Reg, 16), _) => Some(store::<ALIGNED>),
        (true, (Kind::Reg, Kind::Reg, 16), _) => Some(load::<Xmm<1>, Same, Vex, 1>),
        (true, (Kind::Reg, Kind::Reg, _), _) => Some(load::<Xmm<1>, Same, Vex, 2>),
        (true, (Kind::Reg, Kind::Mem, 16), _) => Some(load::<S, Same, Vex, 1>),
        (true, (Kind::Reg, Kind::Mem, _), _) => Some(load::<S, Same, Vex, 2>),
        (true, (Kind::Mem, Kind::Reg, _), 16) => Some(store_pieces::<ALIGNED, 1>),
        (true, (Kind::Mem, Kind::Reg, _), 32) => Some(store_pieces::<ALIGNED, 2>),
        _ => None,
    }
}

/// VZEROUPPER and VZEROALL clear sixteen registers in 64-bit mode, eight in others. SDM 2C, "VZEROUPPER".
fn clear_above<const FROM: usize>(cpu: &mut Cpu, _: &Op) -> Fallible {
    cpu.check_avx()?;
    let count = super::state::vectors(cpu);
    for vector in &mut cpu.fpu.vectors[..count] {
        vector[FROM..].fill(0);
    }
    Ok(())
}

/// VMOVAPS and so on, to memory: aligned to their size, or at any address.
fn store_pieces<const ALIGNED: bool, const N: usize>(cpu: &mut Cpu, op: &Op) -> Fallible {
    cpu.check_avx()?;
    let (segment, address, size) = (op.segment(), op.address(cpu), 16 * N as u64);
    let linear = cpu.linear(segment, address, size, true)?;
    if ALIGNED && linear & (size - 1) != 0 {
        return Err(Fault::GP0);
    }
    if N > 1 && linear % PAGE_SIZE > PAGE_SIZE - size {
        // Nothing is written when the second page is missing.
        cpu.probe_write(segment, address, 16)?;
        cpu.probe_write(segment, address.wrapping_add(size - 1), 1)?;
    }
    for (i, piece) in cpu.pieces::<N>(op.reg[1]).into_iter().enumerate() {
        cpu.write_vector::<false>(segment, address.wrapping_add(16 * i as u64), piece)?;
    }
    Ok(())
}

/// What a load does with the vector.
trait Rearrange {
    fn apply(v: u128) -> u128;
}

struct Same;
struct Even;
struct Odd;

impl Rearrange for Same {
    #[inline(always)]
    fn apply(v: u128) -> u128 {
        v
    }
}

impl Rearrange for Even {
    fn apply(v: u128) -> u128 {
        let v = dwords(v);
        from_dwords([v[0], v[0], v[2], v[2]])
    }
}

impl Rearrange for Odd {
    fn apply(v: u128) -> u128 {
        let v = dwords(v);
        from_dwords([v[1], v[1], v[3], v[3]])
    }
}

/// MOVAPS, MOVUPS and so on, to a register. SDM 2B, "MOVAPS".
fn load<S: Source, R: Rearrange, X: Scheme, const N: usize>(cpu: &mut Cpu, op: &Op) -> Fallible {
    X::check(cpu)?;
    let value = S::pieces::<N>(cpu, op)?;
    X::store(cpu, op, value.map(R::apply));
    Ok(())
}

/// The same, to memory.
fn store<const ALIGNED: bool>(cpu: &mut Cpu, op: &Op) -> Fallible {
    cpu.check_sse()?;
    let address = op.address(cpu);
    cpu.write_vector::<ALIGNED>(op.segment(), address, cpu.xmm(op.reg[1]))
}

fn scalar<W: Width>(f: &Form<'_>) -> Option<Handler> {
    match (f.kind(0), f.kind(1)) {
        (Kind::Reg, Kind::Reg) => Some(scalar_between::<W>),
        (Kind::Reg, Kind::Mem) => Some(load_low::<W>),
        (Kind::Mem, Kind::Reg) => Some(store_low::<W>),
        _ => None,
    }
}

/// MOVSS and MOVSD between registers keep the upper part. SDM 2B, "MOVSS".
fn scalar_between<W: Width>(cpu: &mut Cpu, op: &Op) -> Fallible {
    cpu.check_sse()?;
    cpu.set_xmm_low(op.reg[0], cpu.xmm_low::<W>(op.reg[1]));
    Ok(())
}

/// MOVSS, MOVSD, MOVD and MOVQ from memory clear the upper part.
fn load_low<W: Width>(cpu: &mut Cpu, op: &Op) -> Fallible {
    cpu.check_sse()?;
    let value = Unaligned::low::<W>(cpu, op)?;
    cpu.set_xmm(op.reg[0], value.u64().into());
    Ok(())
}

/// MOVSS, MOVSD, MOVD, MOVQ, MOVLPS to memory.
fn store_low<W: Width>(cpu: &mut Cpu, op: &Op) -> Fallible {
    cpu.check_sse()?;
    let address = op.address(cpu);
    cpu.write(op.segment(), address, cpu.xmm_low::<W>(op.reg[1]))
}

fn low_half(f: &Form<'_>) -> Option<Handler> {
    match (f.kind(0), f.kind(1)) {
        (Kind::Reg, Kind::Mem) => Some(load_half::<0>),
        (Kind::Mem, Kind::Reg) => Some(store_half::<0>),
        _ => None,
    }
}

fn high_half(f: &Form<'_>) -> Option<Handler> {
    match (f.kind(0), f.kind(1)) {
        (Kind::Reg, Kind::Mem) => Some(load_half::<1>),
        (Kind::Mem, Kind::Reg) => Some(store_half::<1>),
        _ => None,
    }
}

/// MOVLPS, MOVHPS and so on: one quadword, the other one stays. SDM 2B, "MOVHPS".
fn load_half<const HALF: usize>(cpu: &mut Cpu, op: &Op) -> Fallible {
    cpu.check_sse()?;
    let value = Unaligned::low::<u64>(cpu, op)?;
    cpu.fpu.vectors[usize::from(op.reg[0] & 31)][HALF] = value;
    Ok(())
}

fn store_half<const HALF: usize>(cpu: &mut Cpu, op: &Op) -> Fallible {
    cpu.check_sse()?;
    let address = op.address(cpu);
    cpu.write(op.segment(), address, cpu.fpu.vectors[usize::from(op.reg[1] & 31)][HALF])
}

/// MOVHLPS. SDM 2B, "MOVHLPS".
fn movhlps(cpu: &mut Cpu, op: &Op) -> Fallible {
    cpu.check_sse()?;
    let [_, high] = qwords(cpu.xmm(op.reg[1]));
    cpu.set_xmm_low(op.reg[0], high);
    Ok(())
}

/// MOVLHPS. SDM 2B, "MOVLHPS".
fn movlhps(cpu: &mut Cpu, op: &Op) -> Fallible {
    cpu.check_sse()?;
    let low = cpu.xmm_low::<u64>(op.reg[1]);
    cpu.fpu.vectors[usize::from(op.reg[0] & 31)][1] = low;
    Ok(())
}

/// Is operand `n` an MMX register?
pub fn is_mmx(f: &Form<'_>, n: u32) -> bool {
    f.kind(n) == Kind::Reg && f.insn.op_register(n).is_mm()
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
    Some(match (is_xmm(f, 0), is_xmm(f, 1), memory) {
        (true, false, (_, true)) => load_low::<W>,
        (true, false, _) => xmm_from_general::<W>,
        (false, true, (true, _)) => store_low::<W>,
        (false, true, _) => general_from_xmm::<W>,
        _ => return None,
    })
}

fn movq(f: &Form<'_>) -> Option<Handler> {
    if is_mmx(f, 0) && is_mmx(f, 1) {
        return Some(mmx_between);
    }
    if is_xmm(f, 0) && is_xmm(f, 1) { Some(movq_between) } else { general::<u64>(f) }
}

/// MOVQ between XMM registers clears the upper half. SDM 2B, "MOVQ".
fn movq_between(cpu: &mut Cpu, op: &Op) -> Fallible {
    cpu.check_sse()?;
    cpu.set_xmm(op.reg[0], cpu.xmm_low::<u64>(op.reg[1]).into());
    Ok(())
}

/// MOVD and MOVQ. SDM 2B, "MOVD/MOVQ".
fn xmm_from_general<W: Width>(cpu: &mut Cpu, op: &Op) -> Fallible {
    cpu.check_sse()?;
    cpu.set_xmm(op.reg[0], cpu.register::<W>(op.reg[1]).u64().into());
    Ok(())
}

fn general_from_xmm<W: Width>(cpu: &mut Cpu, op: &Op) -> Fallible {
    cpu.check_sse()?;
    cpu.set_register(op.reg[0], cpu.xmm_low::<W>(op.reg[1]));
    Ok(())
}

fn mmx_between(cpu: &mut Cpu, op: &Op) -> Fallible {
    cpu.check_mmx()?;
    cpu.enter_mmx();
    cpu.set_mmx(op.reg[0], cpu.mmx(op.reg[1]));
    Ok(())
}

fn load_mmx<W: Width>(cpu: &mut Cpu, op: &Op) -> Fallible {
    cpu.check_mmx()?;
    let value = Unaligned::low::<W>(cpu, op)?;
    cpu.enter_mmx();
    cpu.set_mmx(op.reg[0], value.u64());
    Ok(())
}

fn store_mmx<W: Width>(cpu: &mut Cpu, op: &Op) -> Fallible {
    cpu.check_mmx()?;
    let address = op.address(cpu);
    cpu.write(op.segment(), address, W::from_u64(cpu.mmx(op.reg[1])))?;
    cpu.enter_mmx();
    Ok(())
}

fn mmx_from_general<W: Width>(cpu: &mut Cpu, op: &Op) -> Fallible {
    cpu.check_mmx()?;
    cpu.enter_mmx();
    cpu.set_mmx(op.reg[0], cpu.register::<W>(op.reg[1]).u64());
    Ok(())
}

fn general_from_mmx<W: Width>(cpu: &mut Cpu, op: &Op) -> Fallible {
    cpu.check_mmx()?;
    cpu.enter_mmx();
    cpu.set_register(op.reg[0], W::from_u64(cpu.mmx(op.reg[1])));
    Ok(())
}

/// MOVDQ2Q. SDM 2B, "MOVDQ2Q".
fn movdq2q(cpu: &mut Cpu, op: &Op) -> Fallible {
    cpu.check_sse()?;
    cpu.check_x87_pending()?;
    cpu.enter_mmx();
    cpu.set_mmx(op.reg[0], cpu.xmm_low(op.reg[1]));
    Ok(())
}

/// MOVQ2DQ. SDM 2B, "MOVQ2DQ".
fn movq2dq(cpu: &mut Cpu, op: &Op) -> Fallible {
    cpu.check_sse()?;
    cpu.check_x87_pending()?;
    cpu.enter_mmx();
    cpu.set_xmm(op.reg[0], cpu.mmx(op.reg[1]).into());
    Ok(())
}

/// MOVMSKPS. SDM 2B, "MOVMSKPS".
fn movmskps(cpu: &mut Cpu, op: &Op) -> Fallible {
    cpu.check_sse()?;
    let signs = dwords(cpu.xmm(op.reg[1])).iter().rev().fold(0, |mask, lane| mask << 1 | lane >> 31);
    cpu.set_register(op.reg[0], signs);
    Ok(())
}

/// MOVMSKPD. SDM 2B, "MOVMSKPD".
fn movmskpd(cpu: &mut Cpu, op: &Op) -> Fallible {
    cpu.check_sse()?;
    let [low, high] = qwords(cpu.xmm(op.reg[1]));
    cpu.set_register(op.reg[0], (low >> 63 | high >> 63 << 1) as u32);
    Ok(())
}

fn pmovmskb_form(f: &Form<'_>) -> Option<Handler> {
    Some(if is_mmx(f, 1) { pmovmskb_mmx } else { pmovmskb })
}

fn byte_signs(v: u128) -> u32 {
    bytes(v).iter().rev().fold(0, |mask, lane| mask << 1 | u32::from(lane >> 7))
}

/// PMOVMSKB. SDM 2B, "PMOVMSKB".
fn pmovmskb(cpu: &mut Cpu, op: &Op) -> Fallible {
    cpu.check_sse()?;
    cpu.set_register(op.reg[0], byte_signs(cpu.xmm(op.reg[1])));
    Ok(())
}

fn pmovmskb_mmx(cpu: &mut Cpu, op: &Op) -> Fallible {
    cpu.check_mmx()?;
    cpu.enter_mmx();
    cpu.set_register(op.reg[0], byte_signs(cpu.mmx(op.reg[1]).into()));
    Ok(())
}

fn duplicate(f: &Form<'_>, from_register: Handler, from_memory: Handler) -> Option<Handler> {
    Some(if f.kind(1) == Kind::Mem { from_memory } else { from_register })
}

/// MOVDDUP: 64 bits of memory at any address. SDM 2B, "MOVDDUP".
fn movddup<S: Source>(cpu: &mut Cpu, op: &Op) -> Fallible {
    cpu.check_sse()?;
    let value = u128::from(S::low::<u64>(cpu, op)?);
    cpu.set_xmm(op.reg[0], value << 64 | value);
    Ok(())
}

/// Writes the bytes whose mask byte is negative; all or nothing when a page is missing.
fn write_masked(cpu: &mut Cpu, op: &Op, value: u128, mask: u128, size: usize) -> Fallible {
    let (segment, address) = (op.segment(), op.address(cpu));
    let (value, mask) = (bytes(value), bytes(mask));
    let selected = |n: &usize| mask[*n] & 0x80 != 0;
    let at = |n: usize| op.cut_address(address.wrapping_add(n as u64));
    for n in (0..size).filter(selected) {
        cpu.probe_write(segment, at(n), 1)?;
    }
    for n in (0..size).filter(selected) {
        cpu.write(segment, at(n), value[n])?;
    }
    Ok(())
}

/// MASKMOVDQU. SDM 2B, "MASKMOVDQU".
fn maskmovdqu(cpu: &mut Cpu, op: &Op) -> Fallible {
    cpu.check_sse()?;
    let (value, mask) = (cpu.xmm(op.reg[1]), cpu.xmm(op.reg[2]));
    write_masked(cpu, op, value, mask, 16)
}

/// MASKMOVQ. SDM 2B, "MASKMOVQ".
fn maskmovq(cpu: &mut Cpu, op: &Op) -> Fallible {
    cpu.check_mmx()?;
    let (value, mask) = (cpu.mmx(op.reg[1]), cpu.mmx(op.reg[2]));
    write_masked(cpu, op, value.into(), mask.into(), 8)?;
    cpu.enter_mmx();
    Ok(())
}
