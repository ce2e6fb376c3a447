//! Conversions between integers and floating point, and between the precisions. SDM 2A, "CVTDQ2PD" and on;
//! SDM 2C, "VCVTPH2PS".

use iced_x86::Mnemonic as M;

use super::float::{Lane, lane, replace};
use super::moves::is_mmx;
use super::operand::{Aligned, Mmx, Narrow, Source, Unaligned, Xmm};
use super::scheme::{Legacy, Scheme, Vex, scalar_schemes};
use crate::cpu::{Cpu, Fallible, Width};
use crate::interp::op::{Handler, Op};
use crate::interp::table::{Form, Kind, Row, both, row};
use crate::softfloat::{self, Env, F16, F32, F64, Flags, Integer, Out, Rounding};

/// The rows of this family.
pub const ROWS: &[Row] = &[
    both(M::Cvtsi2ss, M::Vcvtsi2ss, from_general::<F32>),
    both(M::Cvtsi2sd, M::Vcvtsi2sd, from_general::<F64>),
    both(M::Cvtss2si, M::Vcvtss2si, to_general::<F32, false>),
    both(M::Cvttss2si, M::Vcvttss2si, to_general::<F32, true>),
    both(M::Cvtsd2si, M::Vcvtsd2si, to_general::<F64, false>),
    both(M::Cvttsd2si, M::Vcvttsd2si, to_general::<F64, true>),
    both(M::Cvtss2sd, M::Vcvtss2sd, |f| scalar_schemes!(f, |S, X| precision::<F32, F64, S, X>)),
    both(M::Cvtsd2ss, M::Vcvtsd2ss, |f| scalar_schemes!(f, |S, X| precision::<F64, F32, S, X>)),
    both(M::Cvtps2pd, M::Vcvtps2pd, packed::<Convert<F32, F64>>),
    both(M::Cvtpd2ps, M::Vcvtpd2ps, packed::<Convert<F64, F32>>),
    both(M::Cvtdq2ps, M::Vcvtdq2ps, packed::<FromInteger<F32>>),
    both(M::Cvtdq2pd, M::Vcvtdq2pd, packed::<FromInteger<F64>>),
    both(M::Cvtps2dq, M::Vcvtps2dq, packed::<ToInteger<F32, false>>),
    both(M::Cvttps2dq, M::Vcvttps2dq, packed::<ToInteger<F32, true>>),
    both(M::Cvtpd2dq, M::Vcvtpd2dq, packed::<ToInteger<F64, false>>),
    both(M::Cvttpd2dq, M::Vcvttpd2dq, packed::<ToInteger<F64, true>>),
    row(M::Vcvtph2ps, packed::<FromHalf>),
    row(M::Vcvtps2ph, to_half),
    row(M::Cvtpi2ps, |f| either(f, cvtpi2ps::<Mmx<1>>, cvtpi2ps::<Unaligned>)),
    row(M::Cvtpi2pd, |f| {
        Some(if is_mmx(f, 1) { cvtpi2pd } else { lanes::<FromInteger<F64>, Unaligned64, Legacy, 1, 1, 2> })
    }),
    row(M::Cvtps2pi, |f| either(f, cvtps2pi::<Xmm<1>, false>, cvtps2pi::<Unaligned, false>)),
    row(M::Cvttps2pi, |f| either(f, cvtps2pi::<Xmm<1>, true>, cvtps2pi::<Unaligned, true>)),
    row(M::Cvtpd2pi, |f| either(f, cvtpd2pi::<Xmm<1>, false>, cvtpd2pi::<Aligned, false>)),
    row(M::Cvttpd2pi, |f| either(f, cvtpd2pi::<Xmm<1>, true>, cvtpd2pi::<Aligned, true>)),
];

fn either(f: &Form<'_>, from_register: Handler, from_memory: Handler) -> Option<Handler> {
    Some(if f.kind(1) == Kind::Mem { from_memory } else { from_register })
}

/// A general register or memory.
trait General {
    fn get<W: Width>(cpu: &mut Cpu, op: &Op) -> Fallible<W>;
}

/// Operand N is a general register.
struct Register<const N: usize>;

impl<const N: usize> General for Register<N> {
    fn get<W: Width>(cpu: &mut Cpu, op: &Op) -> Fallible<W> {
        Ok(cpu.register(op.reg[N]))
    }
}

impl General for Unaligned {
    fn get<W: Width>(cpu: &mut Cpu, op: &Op) -> Fallible<W> {
        Self::low(cpu, op)
    }
}

fn from_general<F: Lane>(f: &Form<'_>) -> Option<Handler> {
    let at = f.source();
    Some(match (f.is_vex(), f.kind(at), f.size(at)) {
        (false, Kind::Mem, 8) => cvtsi2::<F, u64, Unaligned, Legacy>,
        (false, Kind::Mem, _) => cvtsi2::<F, u32, Unaligned, Legacy>,
        (false, _, 8) => cvtsi2::<F, u64, Register<1>, Legacy>,
        (false, ..) => cvtsi2::<F, u32, Register<1>, Legacy>,
        (true, Kind::Mem, 8) => cvtsi2::<F, u64, Unaligned, Vex>,
        (true, Kind::Mem, _) => cvtsi2::<F, u32, Unaligned, Vex>,
        (true, _, 8) => cvtsi2::<F, u64, Register<2>, Vex>,
        (true, ..) => cvtsi2::<F, u32, Register<2>, Vex>,
    })
}

fn from_signed<F: Lane>(value: i64, env: &Env) -> Out<F> {
    softfloat::from_integer(value < 0, value.unsigned_abs(), env)
}

/// CVTSI2SS, CVTSI2SD.
fn cvtsi2<F: Lane, W: Width, G: General, X: Scheme>(cpu: &mut Cpu, op: &Op) -> Fallible {
    X::check(cpu)?;
    let value = G::get::<W>(cpu, op)?.i64();
    let env = cpu.sse_env();
    let out = from_signed::<F>(value, &env);
    cpu.raise_simd(&env, out.flags)?;
    X::store_low(cpu, op, F::Bits::from_u64(out.value.bits()));
    Ok(())
}

fn to_general<F: Lane, const TRUNCATE: bool>(f: &Form<'_>) -> Option<Handler> {
    match f.size(0) {
        8 => scalar_schemes!(f, |S, X| cvt2si::<F, u64, S, X, TRUNCATE>),
        _ => scalar_schemes!(f, |S, X| cvt2si::<F, u32, S, X, TRUNCATE>),
    }
}

/// The environment, with truncation for CVTT.
fn rounding<const TRUNCATE: bool>(cpu: &Cpu) -> Env {
    let env = cpu.sse_env();
    if TRUNCATE { env.with_rounding(Rounding::Zero) } else { env }
}

/// CVTSS2SI, CVTSD2SI and the truncating ones.
fn cvt2si<F: Lane, W: Width, S: Source, X: Scheme, const TRUNCATE: bool>(cpu: &mut Cpu, op: &Op) -> Fallible {
    X::check(cpu)?;
    let value = F::from_bits(S::low::<F::Bits>(cpu, op)?.u64());
    let env = rounding::<TRUNCATE>(cpu);
    let out = softfloat::to_integer(value, Integer { bits: W::BITS, signed: true }, &env);
    cpu.raise_simd(&env, out.flags)?;
    cpu.set_register(op.reg[0], W::from_u64(out.value));
    Ok(())
}

/// CVTSS2SD, CVTSD2SS.
fn precision<F: Lane, G: Lane, S: Source, X: Scheme>(cpu: &mut Cpu, op: &Op) -> Fallible {
    X::check(cpu)?;
    let value = F::from_bits(S::low::<F::Bits>(cpu, op)?.u64());
    let env = cpu.sse_env();
    let out = softfloat::convert::<F, G>(value, &env);
    cpu.raise_simd(&env, out.flags)?;
    X::store_low(cpu, op, G::Bits::from_u64(out.value.bits()));
    Ok(())
}

/// Converts two values to lanes of the result.
fn two<F: Lane>(cpu: &mut Cpu, env: &Env, outs: [Out<F>; 2]) -> Fallible<u128> {
    cpu.raise_simd(env, outs[0].flags | outs[1].flags)?;
    Ok(replace(replace(0, 0, outs[0].value), 1, outs[1].value))
}

/// A conversion of one lane to another, of the same width or not.
trait Conversion {
    /// Bits of a lane before.
    const FROM: u32;
    /// Bits of a lane after.
    const TO: u32;

    fn apply(bits: u64, imm: u8, env: &Env) -> Out<u64>;
}

fn encoded<F: Lane>(out: Out<F>) -> Out<u64> {
    Out { value: out.value.bits(), flags: out.flags, rounded_up: out.rounded_up }
}

/// CVTPS2PD, CVTPD2PS.
struct Convert<F, G>(F, G);

impl<F: Lane, G: Lane> Conversion for Convert<F, G> {
    const FROM: u32 = F::Bits::BITS;
    const TO: u32 = G::Bits::BITS;

    fn apply(bits: u64, _imm: u8, env: &Env) -> Out<u64> {
        encoded(softfloat::convert::<F, G>(F::from_bits(bits), env))
    }
}

/// CVTDQ2PS, CVTDQ2PD.
struct FromInteger<F>(F);

impl<F: Lane> Conversion for FromInteger<F> {
    const FROM: u32 = 32;
    const TO: u32 = F::Bits::BITS;

    fn apply(bits: u64, _imm: u8, env: &Env) -> Out<u64> {
        encoded(from_signed::<F>((bits as i32).into(), env))
    }
}

/// CVTPS2DQ, CVTTPS2DQ, CVTPD2DQ, CVTTPD2DQ.
struct ToInteger<F, const TRUNCATE: bool>(F);

impl<F: Lane, const TRUNCATE: bool> Conversion for ToInteger<F, TRUNCATE> {
    const FROM: u32 = F::Bits::BITS;
    const TO: u32 = 32;

    fn apply(bits: u64, _imm: u8, env: &Env) -> Out<u64> {
        let env = if TRUNCATE { env.with_rounding(Rounding::Zero) } else { *env };
        softfloat::to_integer(F::from_bits(bits), Integer::I32, &env)
    }
}

/// VCVTPH2PS.
struct FromHalf;

impl Conversion for FromHalf {
    const FROM: u32 = 16;
    const TO: u32 = 32;

    fn apply(bits: u64, _imm: u8, env: &Env) -> Out<u64> {
        encoded(softfloat::single_from_half(F16(bits as u16), env))
    }
}

/// VCVTPS2PH: bit 2 of the immediate takes the rounding mode of MXCSR, else bits 1:0 are the mode.
struct ToHalf;

impl Conversion for ToHalf {
    const FROM: u32 = 32;
    const TO: u32 = 16;

    fn apply(bits: u64, imm: u8, env: &Env) -> Out<u64> {
        let env = if imm & 4 != 0 { *env } else { env.with_rounding(Rounding::from_bits(imm.into())) };
        let out = softfloat::half_from_single(F32(bits as u32), &env);
        Out { value: out.value.0.into(), flags: out.flags, rounded_up: out.rounded_up }
    }
}

/// 64 bits of memory at any address.
type Unaligned64 = Narrow<u64>;

/// The instance for the encoding, the place of the source and the number of lanes: as many as the wider of source and
/// destination holds.
fn packed<C: Conversion>(f: &Form<'_>) -> Option<Handler> {
    let bits = 8 * f.size(0).max(f.size(1)) as u32;
    // A register is named in full even where only its low half counts.
    let wide = C::FROM.max(C::TO);
    match (f.size(0), f.size(1), bits / wide) {
        (16, ..=16, 2) => one_piece::<C, 2>(f),
        (16, ..=16, 4) => one_piece::<C, 4>(f),
        (32, ..=16, 4) => widening::<C, 4>(f),
        (32, ..=16, 8) => widening::<C, 8>(f),
        (16, 32, 4) => narrowing::<C, 4>(f),
        (16, 32, 8) => narrowing::<C, 8>(f),
        (32, 32, 8) => Some(match f.kind(1) {
            Kind::Mem => lanes::<C, Unaligned, Vex, 2, 2, 8>,
            _ => lanes::<C, Xmm<1>, Vex, 2, 2, 8>,
        }),
        _ => None,
    }
}

fn one_piece<C: Conversion, const LANES: usize>(f: &Form<'_>) -> Option<Handler> {
    Some(match (f.is_vex(), f.kind(1), f.size(1)) {
        (false, Kind::Reg, _) => lanes::<C, Xmm<1>, Legacy, 1, 1, LANES>,
        (false, _, 8) => lanes::<C, Unaligned64, Legacy, 1, 1, LANES>,
        (false, ..) => lanes::<C, Aligned, Legacy, 1, 1, LANES>,
        (true, Kind::Reg, _) => lanes::<C, Xmm<1>, Vex, 1, 1, LANES>,
        (true, _, 8) => lanes::<C, Unaligned64, Vex, 1, 1, LANES>,
        (true, ..) => lanes::<C, Unaligned, Vex, 1, 1, LANES>,
    })
}

fn widening<C: Conversion, const LANES: usize>(f: &Form<'_>) -> Option<Handler> {
    Some(match f.kind(1) {
        Kind::Mem => lanes::<C, Unaligned, Vex, 1, 2, LANES>,
        _ => lanes::<C, Xmm<1>, Vex, 1, 2, LANES>,
    })
}

fn narrowing<C: Conversion, const LANES: usize>(f: &Form<'_>) -> Option<Handler> {
    Some(match f.kind(1) {
        Kind::Mem => lanes::<C, Unaligned, Vex, 2, 1, LANES>,
        _ => lanes::<C, Xmm<1>, Vex, 2, 1, LANES>,
    })
}

/// Converts the low lanes of a source of `IN` pieces; what they do not fill of the destination's `OUT` pieces is zero.
#[inline(always)]
fn converted<C: Conversion, const IN: usize, const OUT: usize, const LANES: usize>(
    cpu: &mut Cpu,
    op: &Op,
    source: [u128; IN],
) -> Fallible<[u128; OUT]> {
    let env = cpu.sse_env();
    let (mut result, mut flags) = ([0; OUT], Flags::NONE);
    for i in 0..LANES as u32 {
        let (from, to) = (C::FROM * i, C::TO * i);
        let bits = (source[(from / 128) as usize] >> (from % 128)) as u64 & u64::MAX >> (64 - C::FROM);
        let out = C::apply(bits, op.imm as u8, &env);
        flags |= out.flags;
        result[(to / 128) as usize] |= u128::from(out.value) << (to % 128);
    }
    cpu.raise_simd(&env, flags)?;
    Ok(result)
}

/// The packed conversions, to a register.
fn lanes<C: Conversion, S: Source, X: Scheme, const IN: usize, const OUT: usize, const LANES: usize>(
    cpu: &mut Cpu,
    op: &Op,
) -> Fallible {
    X::check(cpu)?;
    let source = S::pieces::<IN>(cpu, op)?;
    let result = converted::<C, IN, OUT, LANES>(cpu, op, source)?;
    X::store(cpu, op, result);
    Ok(())
}

fn to_half(f: &Form<'_>) -> Option<Handler> {
    Some(match (f.kind(0), f.size(1)) {
        (Kind::Reg, 16) => lanes::<ToHalf, Xmm<1>, Vex, 1, 1, 4>,
        (Kind::Reg, _) => lanes::<ToHalf, Xmm<1>, Vex, 2, 1, 8>,
        (_, 16) => half_to_memory::<1, 4>,
        _ => half_to_memory::<2, 8>,
    })
}

/// VCVTPS2PH to memory: half as many bytes as the register has. A fault of the memory operand comes before the
/// arithmetic exceptions.
fn half_to_memory<const IN: usize, const LANES: usize>(cpu: &mut Cpu, op: &Op) -> Fallible {
    Vex::check(cpu)?;
    let (segment, address) = (op.segment(), op.address(cpu));
    if IN == 1 {
        cpu.probe_write(segment, address, 8)?;
    } else {
        cpu.probe_write_at_any_alignment(segment, address, 16)?;
    }
    let source = cpu.pieces::<IN>(op.reg[1]);
    let [result] = converted::<ToHalf, IN, 1, LANES>(cpu, op, source)?;
    if IN == 1 {
        cpu.write(segment, address, result as u64)
    } else {
        cpu.write_vex_vector(segment, address, result)
    }
}

/// Two signed doublewords as doubles, which is exact.
fn doubles(source: u64) -> u128 {
    let double = |value: u64| from_signed::<F64>((value as i32).into(), &Env::default()).value;
    replace(replace(0, 0, double(source)), 1, double(source >> 32))
}

/// Lanes as signed doublewords, with their exceptions.
fn integers<F: Lane, const N: usize>(cpu: &mut Cpu, source: u128, env: &Env) -> Fallible<[u32; N]> {
    let mut flags = Flags::NONE;
    let values = std::array::from_fn(|i| {
        let out = softfloat::to_integer(lane::<F>(source, i as u32), Integer::I32, env);
        flags |= out.flags;
        out.value as u32
    });
    cpu.raise_simd(env, flags)?;
    Ok(values)
}

/// The checks of instructions that use both XMM and MMX registers.
fn check_mixed(cpu: &mut Cpu) -> Fallible {
    cpu.check_sse()?;
    cpu.check_x87_pending()
}

/// CVTPI2PS: the upper half stays.
fn cvtpi2ps<S: Source>(cpu: &mut Cpu, op: &Op) -> Fallible {
    check_mixed(cpu)?;
    let source = S::low::<u64>(cpu, op)?;
    let env = cpu.sse_env();
    let outs = [source, source >> 32].map(|value| from_signed::<F32>((value as i32).into(), &env));
    let result = two(cpu, &env, outs)?;
    cpu.enter_mmx();
    cpu.set_xmm_low(op.reg[0], result as u64);
    Ok(())
}

/// CVTPI2PD from an MMX register.
fn cvtpi2pd(cpu: &mut Cpu, op: &Op) -> Fallible {
    check_mixed(cpu)?;
    cpu.enter_mmx();
    cpu.set_xmm(op.reg[0], doubles(cpu.mmx(op.reg[1])));
    Ok(())
}

/// CVTPS2PI, CVTTPS2PI.
fn cvtps2pi<S: Source, const TRUNCATE: bool>(cpu: &mut Cpu, op: &Op) -> Fallible {
    check_mixed(cpu)?;
    let source = S::low::<u64>(cpu, op)?;
    let env = rounding::<TRUNCATE>(cpu);
    let [low, high] = integers::<F32, 2>(cpu, source.into(), &env)?;
    cpu.enter_mmx();
    cpu.set_mmx(op.reg[0], u64::from(low) | u64::from(high) << 32);
    Ok(())
}

/// CVTPD2PI, CVTTPD2PI.
fn cvtpd2pi<S: Source, const TRUNCATE: bool>(cpu: &mut Cpu, op: &Op) -> Fallible {
    check_mixed(cpu)?;
    let source = S::vector(cpu, op)?;
    let env = rounding::<TRUNCATE>(cpu);
    let [low, high] = integers::<F64, 2>(cpu, source, &env)?;
    cpu.enter_mmx();
    cpu.set_mmx(op.reg[0], u64::from(low) | u64::from(high) << 32);
    Ok(())
}
