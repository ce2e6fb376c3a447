//! MOVAPS and its like: moves of whole vectors, moves of MMX registers, masked stores of bytes.

use iced_x86::Mnemonic as M;

use super::lanes::{bytes, dwords, from_dwords};
use super::operand::{Aligned, Checked, Source, Unaligned, Xmm};
pub use super::partial::movsd;
use super::scheme::{Legacy, Scheme, Vex, schemes};
use crate::cpu::{Cpu, Fallible, Fault, Width};
use crate::interp::op::{Handler, Op};
use crate::interp::table::{Form, Kind, Row, both, row};
use crate::mem::PAGE_SIZE;

/// The rows of this family.
pub const ROWS: &[Row] = &[
    both(M::Movaps, M::Vmovaps, |f| whole::<Aligned, Aligned, true>(f)),
    both(M::Movapd, M::Vmovapd, |f| whole::<Aligned, Aligned, true>(f)),
    both(M::Movdqa, M::Vmovdqa, |f| whole::<Aligned, Aligned, true>(f)),
    both(M::Movups, M::Vmovups, |f| whole::<Checked, Unaligned, false>(f)),
    both(M::Movupd, M::Vmovupd, |f| whole::<Checked, Unaligned, false>(f)),
    both(M::Movdqu, M::Vmovdqu, |f| whole::<Checked, Unaligned, false>(f)),
    both(M::Lddqu, M::Vlddqu, |f| whole::<Checked, Unaligned, false>(f)),
    both(M::Movntps, M::Vmovntps, |f| whole::<Aligned, Aligned, true>(f)),
    both(M::Movntpd, M::Vmovntpd, |f| whole::<Aligned, Aligned, true>(f)),
    both(M::Movntdq, M::Vmovntdq, |f| whole::<Aligned, Aligned, true>(f)),
    both(M::Movntdqa, M::Vmovntdqa, |f| whole::<Aligned, Aligned, true>(f)),
    both(M::Maskmovdqu, M::Vmaskmovdqu, |f| {
        Some(if f.is_vex() { maskmovdqu::<Vex> } else { maskmovdqu::<Legacy> })
    }),
    row(M::Maskmovq, |_| Some(maskmovq)),
    row(M::Movdq2q, |_| Some(movdq2q)),
    row(M::Movq2dq, |_| Some(movq2dq)),
    row(M::Movntq, |_| Some(store_mmx::<u64>)),
    both(M::Movsldup, M::Vmovsldup, |f| schemes!(f, |S, X, N| load::<S, Even, X, N>)),
    both(M::Movshdup, M::Vmovshdup, |f| schemes!(f, |S, X, N| load::<S, Odd, X, N>)),
    row(M::Vzeroupper, |_| Some(clear_above::<2>)),
    row(M::Vzeroall, |_| Some(clear_above::<0>)),
];

/// `L` is where legacy encodings read memory, `V` where VEX encodings do.
fn whole<L: Source, V: Source, const ALIGNED: bool>(f: &Form<'_>) -> Option<Handler> {
    match (f.is_vex(), f.shape(), f.size(1)) {
        (false, (Kind::Reg, Kind::Reg, 16), _) => Some(load::<Xmm<1>, Same, Legacy, 1>),
        (false, (Kind::Reg, Kind::Mem, 16), _) => Some(load::<L, Same, Legacy, 1>),
        (false, (Kind::Mem, Kind::Reg, 16), _) => Some(store::<ALIGNED>),
        (true, (Kind::Reg, Kind::Reg, 16), _) => Some(load::<Xmm<1>, Same, Vex, 1>),
        (true, (Kind::Reg, Kind::Reg, _), _) => Some(load::<Xmm<1>, Same, Vex, 2>),
        (true, (Kind::Reg, Kind::Mem, 16), _) => Some(load::<V, Same, Vex, 1>),
        (true, (Kind::Reg, Kind::Mem, _), _) => Some(load::<V, Same, Vex, 2>),
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
        cpu.probe_write_at_any_alignment(segment, address, size)?;
    }
    for (i, piece) in cpu.pieces::<N>(op.reg[1]).into_iter().enumerate() {
        cpu.write_vex_vector(segment, address.wrapping_add(16 * i as u64), piece)?;
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

/// Is operand `n` an MMX register?
pub fn is_mmx(f: &Form<'_>, n: u32) -> bool {
    f.kind(n) == Kind::Reg && f.insn.op_register(n).is_mm()
}

/// MOVQ between MMX registers.
pub(super) fn mmx_between(cpu: &mut Cpu, op: &Op) -> Fallible {
    cpu.check_mmx()?;
    cpu.enter_mmx();
    cpu.set_mmx(op.reg[0], cpu.mmx(op.reg[1]));
    Ok(())
}

/// MOVD and MOVQ with an MMX register.
pub(super) fn load_mmx<W: Width>(cpu: &mut Cpu, op: &Op) -> Fallible {
    cpu.check_mmx()?;
    let value = Unaligned::low::<W>(cpu, op)?;
    cpu.enter_mmx();
    cpu.set_mmx(op.reg[0], value.u64());
    Ok(())
}

pub(super) fn store_mmx<W: Width>(cpu: &mut Cpu, op: &Op) -> Fallible {
    cpu.check_mmx()?;
    let address = op.address(cpu);
    cpu.write(op.segment(), address, W::from_u64(cpu.mmx(op.reg[1])))?;
    cpu.enter_mmx();
    Ok(())
}

pub(super) fn mmx_from_general<W: Width>(cpu: &mut Cpu, op: &Op) -> Fallible {
    cpu.check_mmx()?;
    cpu.enter_mmx();
    cpu.set_mmx(op.reg[0], cpu.register::<W>(op.reg[1]).u64());
    Ok(())
}

pub(super) fn general_from_mmx<W: Width>(cpu: &mut Cpu, op: &Op) -> Fallible {
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
fn maskmovdqu<X: Scheme>(cpu: &mut Cpu, op: &Op) -> Fallible {
    X::check(cpu)?;
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
