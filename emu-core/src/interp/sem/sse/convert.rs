//! Conversions between integers and floating point, and between the precisions. SDM 2A, "CVTDQ2PD" and on.

use iced_x86::Mnemonic as M;

use super::float::{Lane, lane, replace};
use super::lanes::{dwords, from_dwords};
use super::moves::is_mmx;
use super::operand::{Aligned, Mmx, Source, Unaligned, Xmm};
use crate::cpu::{Cpu, Fallible, Width};
use crate::interp::op::{Handler, Op};
use crate::interp::table::{Form, Kind, Row, row};
use crate::softfloat::{self, Env, F32, F64, Flags, Integer, Out, Rounding};

/// The rows of this family.
pub const ROWS: &[Row] = &[
    row(M::Cvtsi2ss, |f| from_general::<F32>(f)),
    row(M::Cvtsi2sd, |f| from_general::<F64>(f)),
    row(M::Cvtss2si, |f| to_general::<F32, false>(f)),
    row(M::Cvttss2si, |f| to_general::<F32, true>(f)),
    row(M::Cvtsd2si, |f| to_general::<F64, false>(f)),
    row(M::Cvttsd2si, |f| to_general::<F64, true>(f)),
    row(M::Cvtss2sd, |f| either(f, precision::<F32, F64, Xmm<1>>, precision::<F32, F64, Unaligned>)),
    row(M::Cvtsd2ss, |f| either(f, precision::<F64, F32, Xmm<1>>, precision::<F64, F32, Unaligned>)),
    row(M::Cvtps2pd, |f| either(f, cvtps2pd::<Xmm<1>>, cvtps2pd::<Unaligned>)),
    row(M::Cvtpd2ps, |f| either(f, cvtpd2ps::<Xmm<1>>, cvtpd2ps::<Aligned>)),
    row(M::Cvtdq2ps, |f| either(f, cvtdq2ps::<Xmm<1>>, cvtdq2ps::<Aligned>)),
    row(M::Cvtdq2pd, |f| either(f, cvtdq2pd::<Xmm<1>>, cvtdq2pd::<Unaligned>)),
    row(M::Cvtps2dq, |f| either(f, cvtps2dq::<Xmm<1>, false>, cvtps2dq::<Aligned, false>)),
    row(M::Cvttps2dq, |f| either(f, cvtps2dq::<Xmm<1>, true>, cvtps2dq::<Aligned, true>)),
    row(M::Cvtpd2dq, |f| either(f, cvtpd2dq::<Xmm<1>, false>, cvtpd2dq::<Aligned, false>)),
    row(M::Cvttpd2dq, |f| either(f, cvtpd2dq::<Xmm<1>, true>, cvtpd2dq::<Aligned, true>)),
    row(M::Cvtpi2ps, |f| either(f, cvtpi2ps::<Mmx<1>>, cvtpi2ps::<Unaligned>)),
    row(M::Cvtpi2pd, |f| Some(if is_mmx(f, 1) { cvtpi2pd } else { cvtdq2pd::<Unaligned> })),
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

struct Register;

impl General for Register {
    fn get<W: Width>(cpu: &mut Cpu, op: &Op) -> Fallible<W> {
        Ok(cpu.register(op.reg[1]))
    }
}

impl General for Unaligned {
    fn get<W: Width>(cpu: &mut Cpu, op: &Op) -> Fallible<W> {
        Self::low(cpu, op)
    }
}

fn from_general<F: Lane>(f: &Form<'_>) -> Option<Handler> {
    Some(match (f.kind(1), f.size(1)) {
        (Kind::Mem, 8) => cvtsi2::<F, u64, Unaligned>,
        (Kind::Mem, _) => cvtsi2::<F, u32, Unaligned>,
        (_, 8) => cvtsi2::<F, u64, Register>,
        _ => cvtsi2::<F, u32, Register>,
    })
}

fn from_signed<F: Lane>(value: i64, env: &Env) -> Out<F> {
    softfloat::from_integer(value < 0, value.unsigned_abs(), env)
}

/// CVTSI2SS, CVTSI2SD.
fn cvtsi2<F: Lane, W: Width, G: General>(cpu: &mut Cpu, op: &Op) -> Fallible {
    cpu.check_sse()?;
    let value = G::get::<W>(cpu, op)?.i64();
    let env = cpu.sse_env();
    let out = from_signed::<F>(value, &env);
    cpu.raise_simd(&env, out.flags)?;
    cpu.set_xmm_low(op.reg[0], F::Bits::from_u64(out.value.bits()));
    Ok(())
}

fn to_general<F: Lane, const TRUNCATE: bool>(f: &Form<'_>) -> Option<Handler> {
    Some(match (f.kind(1), f.size(0)) {
        (Kind::Mem, 8) => cvt2si::<F, u64, Unaligned, TRUNCATE>,
        (Kind::Mem, _) => cvt2si::<F, u32, Unaligned, TRUNCATE>,
        (_, 8) => cvt2si::<F, u64, Xmm<1>, TRUNCATE>,
        _ => cvt2si::<F, u32, Xmm<1>, TRUNCATE>,
    })
}

/// The environment, with truncation for CVTT.
fn rounding<const TRUNCATE: bool>(cpu: &Cpu) -> Env {
    let env = cpu.sse_env();
    if TRUNCATE { env.with_rounding(Rounding::Zero) } else { env }
}

/// CVTSS2SI, CVTSD2SI and the truncating ones.
fn cvt2si<F: Lane, W: Width, S: Source, const TRUNCATE: bool>(cpu: &mut Cpu, op: &Op) -> Fallible {
    cpu.check_sse()?;
    let value = F::from_bits(S::low::<F::Bits>(cpu, op)?.u64());
    let env = rounding::<TRUNCATE>(cpu);
    let out = softfloat::to_integer(value, Integer { bits: W::BITS, signed: true }, &env);
    cpu.raise_simd(&env, out.flags)?;
    cpu.set_register(op.reg[0], W::from_u64(out.value));
    Ok(())
}

/// CVTSS2SD, CVTSD2SS.
fn precision<F: Lane, G: Lane, S: Source>(cpu: &mut Cpu, op: &Op) -> Fallible {
    cpu.check_sse()?;
    let value = F::from_bits(S::low::<F::Bits>(cpu, op)?.u64());
    let env = cpu.sse_env();
    let out = softfloat::convert::<F, G>(value, &env);
    cpu.raise_simd(&env, out.flags)?;
    cpu.set_xmm_low(op.reg[0], G::Bits::from_u64(out.value.bits()));
    Ok(())
}

/// Converts two values to lanes of the result.
fn two<F: Lane>(cpu: &mut Cpu, env: &Env, outs: [Out<F>; 2]) -> Fallible<u128> {
    cpu.raise_simd(env, outs[0].flags | outs[1].flags)?;
    Ok(replace(replace(0, 0, outs[0].value), 1, outs[1].value))
}

/// CVTPS2PD.
fn cvtps2pd<S: Source>(cpu: &mut Cpu, op: &Op) -> Fallible {
    cpu.check_sse()?;
    let source = u128::from(S::low::<u64>(cpu, op)?);
    let env = cpu.sse_env();
    let outs = [0, 1].map(|i| softfloat::convert::<F32, F64>(lane(source, i), &env));
    let result = two(cpu, &env, outs)?;
    cpu.set_xmm(op.reg[0], result);
    Ok(())
}

/// CVTPD2PS: the upper half of the result is zero.
fn cvtpd2ps<S: Source>(cpu: &mut Cpu, op: &Op) -> Fallible {
    cpu.check_sse()?;
    let source = S::vector(cpu, op)?;
    let env = cpu.sse_env();
    let outs = [0, 1].map(|i| softfloat::convert::<F64, F32>(lane(source, i), &env));
    let result = two(cpu, &env, outs)?;
    cpu.set_xmm(op.reg[0], result);
    Ok(())
}

/// CVTDQ2PS.
fn cvtdq2ps<S: Source>(cpu: &mut Cpu, op: &Op) -> Fallible {
    cpu.check_sse()?;
    let source = dwords(S::vector(cpu, op)?);
    let env = cpu.sse_env();
    let outs = source.map(|value| from_signed::<F32>((value as i32).into(), &env));
    let flags = outs.iter().fold(Flags::NONE, |flags, out| flags | out.flags);
    cpu.raise_simd(&env, flags)?;
    cpu.set_xmm(op.reg[0], from_dwords(outs.map(|out| out.value.0)));
    Ok(())
}

/// Two signed doublewords as doubles, which is exact.
fn doubles(source: u64) -> u128 {
    let double = |value: u64| from_signed::<F64>((value as i32).into(), &Env::default()).value;
    replace(replace(0, 0, double(source)), 1, double(source >> 32))
}

/// CVTDQ2PD, and CVTPI2PD from memory, which leaves the x87 state alone.
fn cvtdq2pd<S: Source>(cpu: &mut Cpu, op: &Op) -> Fallible {
    cpu.check_sse()?;
    let source = S::low::<u64>(cpu, op)?;
    cpu.set_xmm(op.reg[0], doubles(source));
    Ok(())
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

/// CVTPS2DQ, CVTTPS2DQ.
fn cvtps2dq<S: Source, const TRUNCATE: bool>(cpu: &mut Cpu, op: &Op) -> Fallible {
    cpu.check_sse()?;
    let source = S::vector(cpu, op)?;
    let env = rounding::<TRUNCATE>(cpu);
    let values = integers::<F32, 4>(cpu, source, &env)?;
    cpu.set_xmm(op.reg[0], from_dwords(values));
    Ok(())
}

/// CVTPD2DQ, CVTTPD2DQ: the upper half of the result is zero.
fn cvtpd2dq<S: Source, const TRUNCATE: bool>(cpu: &mut Cpu, op: &Op) -> Fallible {
    cpu.check_sse()?;
    let source = S::vector(cpu, op)?;
    let env = rounding::<TRUNCATE>(cpu);
    let [low, high] = integers::<F64, 2>(cpu, source, &env)?;
    cpu.set_xmm(op.reg[0], from_dwords([low, high, 0, 0]));
    Ok(())
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
