//! Instructions that move lanes: unpack, pack, shuffle, align, horizontal sums, blends, extensions.
//! SDM 2A and 2B at each.

use iced_x86::Mnemonic as M;

use super::integer::{block_differences, carryless_product};
use super::lanes::{
    bytes, dwords, from_bytes, from_dwords, from_qwords, from_words, map8, map32, map64, qwords, words,
};
use super::operand::{Aligned, Narrow, Source, Unaligned, Xmm};
use super::packed::{Packed, PackedImmediate, select, select_immediate};
use super::scheme::{Legacy, Scheme, Vex};
use crate::cpu::{Cpu, Fallible, Width};
use crate::interp::op::{Handler, Op};
use crate::interp::table::{Form, Kind, Row, both, row};

/// The rows of this family.
pub const ROWS: &[Row] = &[
    both(M::Punpcklbw, M::Vpunpcklbw, |f| select::<Low<Interleave8>>(f)),
    both(M::Punpcklwd, M::Vpunpcklwd, |f| select::<Low<Interleave16>>(f)),
    both(M::Punpckldq, M::Vpunpckldq, |f| select::<Low<Interleave32>>(f)),
    both(M::Unpcklps, M::Vunpcklps, |f| select::<Low<Interleave32>>(f)),
    both(M::Punpcklqdq, M::Vpunpcklqdq, |f| select::<Low<Interleave64>>(f)),
    both(M::Unpcklpd, M::Vunpcklpd, |f| select::<Low<Interleave64>>(f)),
    both(M::Punpckhbw, M::Vpunpckhbw, |f| select::<High<Interleave8>>(f)),
    both(M::Punpckhwd, M::Vpunpckhwd, |f| select::<High<Interleave16>>(f)),
    both(M::Punpckhdq, M::Vpunpckhdq, |f| select::<High<Interleave32>>(f)),
    both(M::Unpckhps, M::Vunpckhps, |f| select::<High<Interleave32>>(f)),
    both(M::Punpckhqdq, M::Vpunpckhqdq, |f| select::<High<Interleave64>>(f)),
    both(M::Unpckhpd, M::Vunpckhpd, |f| select::<High<Interleave64>>(f)),
    both(M::Packsswb, M::Vpacksswb, |f| select::<Both<Packsswb>>(f)),
    both(M::Packssdw, M::Vpackssdw, |f| select::<Both<Packssdw>>(f)),
    both(M::Packuswb, M::Vpackuswb, |f| select::<Both<Packuswb>>(f)),
    both(M::Packusdw, M::Vpackusdw, |f| select::<Both<Packusdw>>(f)),
    both(M::Phaddw, M::Vphaddw, |f| select::<Both<Phaddw>>(f)),
    both(M::Phaddd, M::Vphaddd, |f| select::<Both<Phaddd>>(f)),
    both(M::Phaddsw, M::Vphaddsw, |f| select::<Both<Phaddsw>>(f)),
    both(M::Phsubw, M::Vphsubw, |f| select::<Both<Phsubw>>(f)),
    both(M::Phsubd, M::Vphsubd, |f| select::<Both<Phsubd>>(f)),
    both(M::Phsubsw, M::Vphsubsw, |f| select::<Both<Phsubsw>>(f)),
    both(M::Pshufb, M::Vpshufb, |f| select::<Pshufb>(f)),
    row(M::Pshufw, |f| select_immediate::<Pshufw>(f)),
    both(M::Pshuflw, M::Vpshuflw, |f| select_immediate::<Pshuflw>(f)),
    both(M::Pshufhw, M::Vpshufhw, |f| select_immediate::<Pshufhw>(f)),
    both(M::Pshufd, M::Vpshufd, |f| select_immediate::<Pshufd>(f)),
    both(M::Shufps, M::Vshufps, |f| select_immediate::<Shufps>(f)),
    both(M::Shufpd, M::Vshufpd, |f| select_immediate::<Shufpd>(f)),
    both(M::Palignr, M::Vpalignr, |f| select_immediate::<Palignr>(f)),
    both(M::Pblendw, M::Vpblendw, |f| select_immediate::<Pblendw>(f)),
    both(M::Blendps, M::Vblendps, |f| select_immediate::<Blendps>(f)),
    row(M::Vpblendd, |f| select_immediate::<Blendps>(f)),
    both(M::Blendpd, M::Vblendpd, |f| select_immediate::<Blendpd>(f)),
    both(M::Mpsadbw, M::Vmpsadbw, |f| select_immediate::<Mpsadbw>(f)),
    both(M::Pclmulqdq, M::Vpclmulqdq, |f| select_immediate::<Pclmulqdq>(f)),
    row(M::Pblendvb, |f| blend_variable::<1>(f)),
    row(M::Vpblendvb, |f| blend_variable::<1>(f)),
    row(M::Blendvps, |f| blend_variable::<4>(f)),
    row(M::Vblendvps, |f| blend_variable::<4>(f)),
    row(M::Blendvpd, |f| blend_variable::<8>(f)),
    row(M::Vblendvpd, |f| blend_variable::<8>(f)),
    both(M::Pmovsxbw, M::Vpmovsxbw, |f| extend::<8, 16, true>(f)),
    both(M::Pmovsxbd, M::Vpmovsxbd, |f| extend::<8, 32, true>(f)),
    both(M::Pmovsxbq, M::Vpmovsxbq, |f| extend::<8, 64, true>(f)),
    both(M::Pmovsxwd, M::Vpmovsxwd, |f| extend::<16, 32, true>(f)),
    both(M::Pmovsxwq, M::Vpmovsxwq, |f| extend::<16, 64, true>(f)),
    both(M::Pmovsxdq, M::Vpmovsxdq, |f| extend::<32, 64, true>(f)),
    both(M::Pmovzxbw, M::Vpmovzxbw, |f| extend::<8, 16, false>(f)),
    both(M::Pmovzxbd, M::Vpmovzxbd, |f| extend::<8, 32, false>(f)),
    both(M::Pmovzxbq, M::Vpmovzxbq, |f| extend::<8, 64, false>(f)),
    both(M::Pmovzxwd, M::Vpmovzxwd, |f| extend::<16, 32, false>(f)),
    both(M::Pmovzxwq, M::Vpmovzxwq, |f| extend::<16, 64, false>(f)),
    both(M::Pmovzxdq, M::Vpmovzxdq, |f| extend::<32, 64, false>(f)),
];

/// Lanes of two quadwords by turns.
trait Interleave {
    fn interleave(a: u64, b: u64) -> u128;
}

macro_rules! interleave {
    ($($name:ident $bits:literal)*) => {$(
        struct $name;
        impl Interleave for $name {
            #[inline(always)]
            fn interleave(a: u64, b: u64) -> u128 {
                (0..64 / $bits).fold(0, |v, i| {
                    let lane = |v: u64| u128::from(v >> ($bits * i) & u64::MAX >> (64 - $bits));
                    v | (lane(a) | lane(b) << $bits) << (2 * $bits * i)
                })
            }
        }
    )*};
}
interleave! { Interleave8 8 Interleave16 16 Interleave32 32 Interleave64 64 }

/// PUNPCKL: the low halves.
struct Low<I>(I);

impl<I: Interleave> Packed for Low<I> {
    fn whole(a: u128, b: u128) -> u128 {
        I::interleave(a as u64, b as u64)
    }
}

/// PUNPCKH: the high halves.
struct High<I>(I);

impl<I: Interleave> Packed for High<I> {
    fn whole(a: u128, b: u128) -> u128 {
        I::interleave((a >> 64) as u64, (b >> 64) as u64)
    }

    fn half(a: u64, b: u64) -> u64 {
        I::interleave(a >> 32, b >> 32) as u64
    }
}

/// Sixteen or eight values from both operands, the first operand's below.
trait Gather {
    fn gather(a: u128, b: u128) -> u128;
}

/// The 64-bit form has both operands in one vector.
struct Both<G>(G);

impl<G: Gather> Packed for Both<G> {
    fn whole(a: u128, b: u128) -> u128 {
        G::gather(a, b)
    }

    fn half(a: u64, b: u64) -> u64 {
        G::gather(from_qwords([a, b]), 0) as u64
    }
}

macro_rules! gather {
    ($($name:ident: |$a:ident, $b:ident| $value:expr;)*) => {$(
        struct $name;
        impl Gather for $name {
            fn gather($a: u128, $b: u128) -> u128 {
                $value
            }
        }
    )*};
}

gather! {
    Packsswb: |a, b| narrow16(a, b, |x| x.clamp(-0x80, 0x7f) as u8);
    Packuswb: |a, b| narrow16(a, b, |x| x.clamp(0, 0xff) as u8);
    Packssdw: |a, b| narrow32(a, b, |x| x.clamp(-0x8000, 0x7fff) as u16);
    Packusdw: |a, b| narrow32(a, b, |x| x.clamp(0, 0xffff) as u16);
    Phaddw: |a, b| pairs16(a, b, i16::wrapping_add);
    Phaddd: |a, b| pairs32(a, b, i32::wrapping_add);
    Phaddsw: |a, b| pairs16(a, b, i16::saturating_add);
    Phsubw: |a, b| pairs16(a, b, i16::wrapping_sub);
    Phsubd: |a, b| pairs32(a, b, i32::wrapping_sub);
    Phsubsw: |a, b| pairs16(a, b, i16::saturating_sub);
}

fn narrow16(a: u128, b: u128, f: impl Fn(i16) -> u8) -> u128 {
    let v = [words(a), words(b)];
    from_bytes(std::array::from_fn(|i| f(v[i / 8][i % 8] as i16)))
}

fn narrow32(a: u128, b: u128, f: impl Fn(i32) -> u16) -> u128 {
    let v = [dwords(a), dwords(b)];
    from_words(std::array::from_fn(|i| f(v[i / 4][i % 4] as i32)))
}

fn pairs16(a: u128, b: u128, f: impl Fn(i16, i16) -> i16) -> u128 {
    let v = [words(a), words(b)];
    from_words(std::array::from_fn(|i| {
        let (v, at) = (&v[i / 4], i % 4 * 2);
        f(v[at] as i16, v[at + 1] as i16) as u16
    }))
}

fn pairs32(a: u128, b: u128, f: impl Fn(i32, i32) -> i32) -> u128 {
    let v = [dwords(a), dwords(b)];
    from_dwords(std::array::from_fn(|i| {
        let (v, at) = (&v[i / 2], i % 2 * 2);
        f(v[at] as i32, v[at + 1] as i32) as u32
    }))
}

struct Pshufb;

impl Packed for Pshufb {
    fn whole(a: u128, b: u128) -> u128 {
        let table = bytes(a);
        map8(b, 0, |index, _| if index & 0x80 != 0 { 0 } else { table[usize::from(index & 15)] })
    }

    fn half(a: u64, b: u64) -> u64 {
        let low = b & 0x8787_8787_8787_8787;
        Self::whole(a.into(), low.into()) as u64
    }
}

/// The two-bit field for lane `i`.
fn field(imm: u8, i: usize) -> usize {
    usize::from(imm >> (2 * i) & 3)
}

/// Four words of a quadword by the immediate.
fn shuffle_words(v: u64, imm: u8) -> u64 {
    (0..4).fold(0, |result, i| result | (v >> (16 * field(imm, i)) & 0xffff) << (16 * i))
}

macro_rules! immediate {
    ($($name:ident$(($shift:literal))?: |$a:ident, $b:ident, $imm:ident| $value:expr;)*) => {$(
        struct $name;
        impl PackedImmediate for $name {
            $(const UPPER_SHIFT: u32 = $shift;)?

            fn whole($a: u128, $b: u128, $imm: u8) -> u128 {
                $value
            }
        }
    )*};
}

immediate! {
    Pshufw: |_a, b, imm| shuffle_words(b as u64, imm).into();
    Pshuflw: |_a, b, imm| b >> 64 << 64 | u128::from(shuffle_words(b as u64, imm));
    Pshufhw: |_a, b, imm| u128::from(b as u64) | u128::from(shuffle_words((b >> 64) as u64, imm)) << 64;
    Pshufd: |_a, b, imm| {
        let v = dwords(b);
        from_dwords(std::array::from_fn(|i| v[field(imm, i)]))
    };
    Shufps: |a, b, imm| {
        let v = [dwords(a), dwords(b)];
        from_dwords(std::array::from_fn(|i| v[i / 2][field(imm, i)]))
    };
    Shufpd(2): |a, b, imm| from_qwords([qwords(a)[usize::from(imm & 1)], qwords(b)[usize::from(imm >> 1 & 1)]]);
    Pblendw: |a, b, imm| {
        let (a, b) = (words(a), words(b));
        from_words(std::array::from_fn(|i| if imm >> i & 1 != 0 { b[i] } else { a[i] }))
    };
    Blendps(4): |a, b, imm| {
        let (a, b) = (dwords(a), dwords(b));
        from_dwords(std::array::from_fn(|i| if imm >> i & 1 != 0 { b[i] } else { a[i] }))
    };
    Blendpd(2): |a, b, imm| {
        let (a, b) = (qwords(a), qwords(b));
        from_qwords(std::array::from_fn(|i| if imm >> i & 1 != 0 { b[i] } else { a[i] }))
    };
    Mpsadbw(3): |a, b, imm| block_differences(a, b, imm);
    Pclmulqdq: |a, b, imm| carryless_product(a, b, imm);
}

/// PALIGNR: both operands as one, shifted right by bytes.
struct Palignr;

impl PackedImmediate for Palignr {
    fn whole(a: u128, b: u128, imm: u8) -> u128 {
        let bits = 8 * u32::from(imm);
        match imm {
            0 => b,
            1..16 => b >> bits | a << (128 - bits),
            16..32 => a >> (bits - 128),
            _ => 0,
        }
    }

    fn half(a: u64, b: u64, imm: u8) -> u64 {
        if imm < 16 { (from_qwords([b, a]) >> (8 * u32::from(imm))) as u64 } else { 0 }
    }
}

/// PBLENDVB, BLENDVPS, BLENDVPD: the sign bits of XMM0 choose, or those of the fourth operand.
fn blend_variable<const BYTES: usize>(f: &Form<'_>) -> Option<Handler> {
    Some(match (f.is_vex(), f.kind(1), f.kind(2), f.size(0)) {
        (false, Kind::Mem, ..) => blend_variable_of::<Aligned, Legacy, 1, BYTES>,
        (false, ..) => blend_variable_of::<Xmm<1>, Legacy, 1, BYTES>,
        (true, _, Kind::Mem, 16) => blend_variable_of::<Unaligned, Vex, 1, BYTES>,
        (true, _, Kind::Mem, _) => blend_variable_of::<Unaligned, Vex, 2, BYTES>,
        (true, _, _, 16) => blend_variable_of::<Xmm<2>, Vex, 1, BYTES>,
        (true, ..) => blend_variable_of::<Xmm<2>, Vex, 2, BYTES>,
    })
}

fn blend_variable_of<S: Source, X: Scheme, const N: usize, const BYTES: usize>(
    cpu: &mut Cpu,
    op: &Op,
) -> Fallible {
    X::check(cpu)?;
    let b = S::pieces::<N>(cpu, op)?;
    let a = X::first::<N>(cpu, op);
    let mask = cpu.pieces::<N>(if X::VEX { op.imm as u8 } else { 0 }).map(|mask| match BYTES {
        1 => map8(mask, 0, |x, _| (x as i8 >> 7) as u8),
        4 => map32(mask, 0, |x, _| (x as i32 >> 31) as u32),
        _ => map64(mask, 0, |x, _| (x as i64 >> 63) as u64),
    });
    X::store(cpu, op, std::array::from_fn::<_, N, _>(|i| a[i] & !mask[i] | b[i] & mask[i]));
    Ok(())
}

fn extend<const FROM: u32, const TO: u32, const SIGNED: bool>(f: &Form<'_>) -> Option<Handler> {
    if f.is_vex() {
        // The source of the wide form has up to 128 bits.
        return Some(match (f.kind(1), f.size(0), f.size(1)) {
            (Kind::Reg, 16, _) => extend_lanes::<u64, Xmm<1>, Vex, FROM, TO, SIGNED>,
            (Kind::Mem, 16, 2) => extend_lanes::<u16, Unaligned, Vex, FROM, TO, SIGNED>,
            (Kind::Mem, 16, 4) => extend_lanes::<u32, Unaligned, Vex, FROM, TO, SIGNED>,
            (Kind::Mem, 16, 8) => extend_lanes::<u64, Unaligned, Vex, FROM, TO, SIGNED>,
            (Kind::Reg, 32, _) => extend_wide::<Xmm<1>, FROM, TO, SIGNED>,
            (Kind::Mem, 32, 4) => extend_wide::<Narrow<u32>, FROM, TO, SIGNED>,
            (Kind::Mem, 32, 8) => extend_wide::<Narrow<u64>, FROM, TO, SIGNED>,
            (Kind::Mem, 32, 16) => extend_wide::<Unaligned, FROM, TO, SIGNED>,
            _ => return None,
        });
    }
    Some(match (f.kind(1), 128 / TO * FROM) {
        (Kind::Reg, _) => extend_lanes::<u64, Xmm<1>, Legacy, FROM, TO, SIGNED>,
        (Kind::Mem, 16) => extend_lanes::<u16, Unaligned, Legacy, FROM, TO, SIGNED>,
        (Kind::Mem, 32) => extend_lanes::<u32, Unaligned, Legacy, FROM, TO, SIGNED>,
        (Kind::Mem, 64) => extend_lanes::<u64, Unaligned, Legacy, FROM, TO, SIGNED>,
        _ => return None,
    })
}

fn extended<const FROM: u32, const TO: u32, const SIGNED: bool>(source: u64) -> u128 {
    (0..128 / TO).fold(0, |result, i| {
        let top = source >> (FROM * i) << (64 - FROM);
        let lane = if SIGNED { (top as i64 >> (64 - FROM)) as u64 } else { top >> (64 - FROM) };
        result | u128::from(lane & u64::MAX >> (64 - TO)) << (TO * i)
    })
}

/// PMOVSX and PMOVZX: the low lanes, made wider.
fn extend_lanes<W: Width, S: Source, X: Scheme, const FROM: u32, const TO: u32, const SIGNED: bool>(
    cpu: &mut Cpu,
    op: &Op,
) -> Fallible {
    X::check(cpu)?;
    let source = S::low::<W>(cpu, op)?.u64();
    X::store(cpu, op, [extended::<FROM, TO, SIGNED>(source)]);
    Ok(())
}

fn extend_wide<S: Source, const FROM: u32, const TO: u32, const SIGNED: bool>(
    cpu: &mut Cpu,
    op: &Op,
) -> Fallible {
    cpu.check_avx()?;
    let source = S::vector(cpu, op)?;
    let upper = source >> (128 / TO * FROM);
    let value = [source, upper].map(|part| extended::<FROM, TO, SIGNED>(part as u64));
    Vex::store(cpu, op, value);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unpacking_takes_turns_from_the_destination_on() {
        assert_eq!(Low::<Interleave8>::half(0x0403_0201, 0x1413_1211), 0x1404_1303_1202_1101);
        assert_eq!(
            High::<Interleave32>::half(0xaaaa_aaaa_0000_0000, 0xbbbb_bbbb_0000_0000),
            0xbbbb_bbbb_aaaa_aaaa
        );
    }

    #[test]
    fn packing_saturates() {
        assert_eq!(Both::<Packuswb>::half(0xffff_0100_00ff_0001, 0), 0x00ff_ff01);
        assert_eq!(Both::<Packssdw>::half(0x8000_0000_7fff_ffff, 0), 0x8000_7fff);
    }

    #[test]
    fn align_shifts_the_second_operand_out() {
        assert_eq!(Palignr::half(0x1122_3344_5566_7788, 0x99aa_bbcc_ddee_ff00, 7), 0x2233_4455_6677_8899);
        assert_eq!(Palignr::whole(1, 0, 16), 1);
        assert_eq!(Palignr::whole(1, 2, 32), 0);
    }

    #[test]
    fn a_negative_index_clears_the_byte() {
        assert_eq!(Pshufb::half(0x8877_6655_4433_2211, 0x80ff_0f00), 0x0000_8811_u64 | 0x11111111_00000000);
    }
}
