//! Floating-point arithmetic on scalars and packed lanes: ADDSD and its like, square roots, approximations,
//! horizontal and alternating sums, dot products, rounding. SDM 2A and 2B at each.
//!
//! The common case, normal numbers with PE set already, goes by the host's arithmetic (see [`float::quick`]); all
//! else by the software floating point.
//!
//! RCPPS and RSQRTPS give the exact value rounded to 12 significant bits: within the documented relative error of
//! 1.5 * 2^-12, not bit-identical to any one processor.

use iced_x86::Mnemonic as M;

use super::exceptions;
use super::float::{self, Host, Lane, lane, replace};
use super::operand::{Aligned, Source, Unaligned, Xmm};
use crate::cpu::{Cpu, Fallible, Width};
use crate::interp::op::{Handler, Op};
use crate::interp::table::{Form, Kind, Row, row};
use crate::softfloat::{self, Class, Env, F32, F64, Flags, Format, Out, Rounding};

/// The rows of this family.
pub const ROWS: &[Row] = &[
    row(M::Addss, |f| scalar::<F32, Add>(f)),
    row(M::Addsd, |f| scalar::<F64, Add>(f)),
    row(M::Addps, |f| packed::<F32, Add>(f)),
    row(M::Addpd, |f| packed::<F64, Add>(f)),
    row(M::Subss, |f| scalar::<F32, Sub>(f)),
    row(M::Subsd, |f| scalar::<F64, Sub>(f)),
    row(M::Subps, |f| packed::<F32, Sub>(f)),
    row(M::Subpd, |f| packed::<F64, Sub>(f)),
    row(M::Mulss, |f| scalar::<F32, Mul>(f)),
    row(M::Mulsd, |f| scalar::<F64, Mul>(f)),
    row(M::Mulps, |f| packed::<F32, Mul>(f)),
    row(M::Mulpd, |f| packed::<F64, Mul>(f)),
    row(M::Divss, |f| scalar::<F32, Div>(f)),
    row(M::Divsd, |f| scalar::<F64, Div>(f)),
    row(M::Divps, |f| packed::<F32, Div>(f)),
    row(M::Divpd, |f| packed::<F64, Div>(f)),
    row(M::Minss, |f| scalar::<F32, Min>(f)),
    row(M::Minsd, |f| scalar::<F64, Min>(f)),
    row(M::Minps, |f| packed::<F32, Min>(f)),
    row(M::Minpd, |f| packed::<F64, Min>(f)),
    row(M::Maxss, |f| scalar::<F32, Max>(f)),
    row(M::Maxsd, |f| scalar::<F64, Max>(f)),
    row(M::Maxps, |f| packed::<F32, Max>(f)),
    row(M::Maxpd, |f| packed::<F64, Max>(f)),
    row(M::Sqrtss, |f| scalar::<F32, Sqrt>(f)),
    row(M::Sqrtsd, |f| scalar::<F64, Sqrt>(f)),
    row(M::Sqrtps, |f| packed::<F32, Sqrt>(f)),
    row(M::Sqrtpd, |f| packed::<F64, Sqrt>(f)),
    row(M::Rcpss, |f| scalar::<F32, Reciprocal>(f)),
    row(M::Rcpps, |f| packed::<F32, Reciprocal>(f)),
    row(M::Rsqrtss, |f| scalar::<F32, ReciprocalRoot>(f)),
    row(M::Rsqrtps, |f| packed::<F32, ReciprocalRoot>(f)),
    row(M::Roundss, |f| scalar::<F32, Round>(f)),
    row(M::Roundsd, |f| scalar::<F64, Round>(f)),
    row(M::Roundps, |f| packed::<F32, Round>(f)),
    row(M::Roundpd, |f| packed::<F64, Round>(f)),
    row(M::Addsubps, |f| arranged::<F32, Alternating>(f)),
    row(M::Addsubpd, |f| arranged::<F64, Alternating>(f)),
    row(M::Haddps, |f| arranged::<F32, Horizontal<Add>>(f)),
    row(M::Haddpd, |f| arranged::<F64, Horizontal<Add>>(f)),
    row(M::Hsubps, |f| arranged::<F32, Horizontal<Sub>>(f)),
    row(M::Hsubpd, |f| arranged::<F64, Horizontal<Sub>>(f)),
    row(M::Dpps, |f| arranged::<F32, DotProduct>(f)),
    row(M::Dppd, |f| arranged::<F64, DotProduct>(f)),
];

/// An operation on one lane of destination and source. Operations with one operand use `b`.
trait Operation {
    /// The same on the host.
    const HOST: Option<Host> = None;

    fn apply<F: Lane>(a: F, b: F, imm: u8, env: &Env) -> Out<F>;
}

macro_rules! operations {
    ($($name:ident$(($host:ident))?: |$a:ident, $b:ident, $imm:ident, $env:ident| $value:expr;)*) => {$(
        struct $name;
        impl Operation for $name {
            $(const HOST: Option<Host> = Some(Host::$host);)?

            #[inline(always)]
            fn apply<F: Lane>($a: F, $b: F, $imm: u8, $env: &Env) -> Out<F> {
                $value
            }
        }
    )*};
}

operations! {
    Add(Add): |a, b, _imm, env| softfloat::add(a, b, env);
    Sub(Sub): |a, b, _imm, env| softfloat::sub(a, b, env);
    Mul(Mul): |a, b, _imm, env| softfloat::mul(a, b, env);
    Div(Div): |a, b, _imm, env| softfloat::div(a, b, env);
    Min: |a, b, _imm, env| softfloat::min(a, b, env);
    Max: |a, b, _imm, env| softfloat::max(a, b, env);
    Sqrt(Sqrt): |_a, b, _imm, env| softfloat::sqrt(b, env);
    Reciprocal: |_a, b, _imm, _env| approximate(b, reciprocal);
    ReciprocalRoot: |_a, b, _imm, _env| approximate(b, reciprocal_root);
    Round: |_a, b, imm, env| round(b, imm, env);
}

fn scalar<F: Lane, O: Operation>(f: &Form<'_>) -> Option<Handler> {
    Some(match f.kind(1) {
        Kind::Mem => scalar_of::<F, O, Unaligned>,
        _ => scalar_of::<F, O, Xmm<1>>,
    })
}

fn packed<F: Lane, O: Operation>(f: &Form<'_>) -> Option<Handler> {
    Some(match f.kind(1) {
        Kind::Mem => packed_of::<F, O, Aligned>,
        _ => packed_of::<F, O, Xmm<1>>,
    })
}

fn arranged<F: Lane, A: Arrangement>(f: &Form<'_>) -> Option<Handler> {
    Some(match f.kind(1) {
        Kind::Mem => arranged_of::<F, A, Aligned>,
        _ => arranged_of::<F, A, Xmm<1>>,
    })
}

/// ADDSD and so on: the low lane; the others stay.
fn scalar_of<F: Lane, O: Operation, S: Source>(cpu: &mut Cpu, op: &Op) -> Fallible {
    cpu.check_sse()?;
    let b = F::from_bits(S::low::<F::Bits>(cpu, op)?.u64());
    let a = F::from_bits(cpu.xmm_low::<F::Bits>(op.reg[0]).u64());
    if let Some(host) = O::HOST
        && float::permits_quick(cpu.fpu.mxcsr)
        && let Some(result) = float::quick(host, a, b)
    {
        cpu.set_xmm_low(op.reg[0], F::Bits::from_u64(result.bits()));
        return Ok(());
    }
    let env = cpu.sse_env();
    let out = O::apply(a, b, op.imm as u8, &env);
    cpu.raise_simd(&env, out.flags)?;
    cpu.set_xmm_low(op.reg[0], F::Bits::from_u64(out.value.bits()));
    Ok(())
}

/// ADDPD and so on: every lane.
fn packed_of<F: Lane, O: Operation, S: Source>(cpu: &mut Cpu, op: &Op) -> Fallible {
    cpu.check_sse()?;
    let b = S::vector(cpu, op)?;
    let a = cpu.xmm(op.reg[0]);
    if let Some(host) = O::HOST
        && float::permits_quick(cpu.fpu.mxcsr)
        && let Some(result) = (0..F::COUNT)
            .try_fold(0, |v, i| Some(replace::<F>(v, i, float::quick(host, lane(a, i), lane(b, i))?)))
    {
        cpu.set_xmm(op.reg[0], result);
        return Ok(());
    }
    let env = cpu.sse_env();
    let (mut result, mut flags) = (0, Flags::NONE);
    for i in 0..F::COUNT {
        let out = O::apply(lane::<F>(a, i), lane(b, i), op.imm as u8, &env);
        flags |= out.flags;
        result = replace(result, i, out.value);
    }
    cpu.raise_simd(&env, flags)?;
    cpu.set_xmm(op.reg[0], result);
    Ok(())
}

/// An operation in which the lanes do not all do the same.
trait Arrangement {
    /// Exceptions are found for each step on its own, not for all elements at once.
    const STEPS: bool = false;

    fn apply<F: Lane>(a: u128, b: u128, imm: u8, env: &Env) -> (u128, Flags);
}

fn arranged_of<F: Lane, A: Arrangement, S: Source>(cpu: &mut Cpu, op: &Op) -> Fallible {
    cpu.check_sse()?;
    let b = S::vector(cpu, op)?;
    let env = cpu.sse_env();
    let (result, flags) = A::apply::<F>(cpu.xmm(op.reg[0]), b, op.imm as u8, &env);
    if A::STEPS {
        cpu.raise_simd_steps(&env, flags)?;
    } else {
        cpu.raise_simd(&env, flags)?;
    }
    cpu.set_xmm(op.reg[0], result);
    Ok(())
}

/// ADDSUBPS: odd lanes add, even lanes subtract.
struct Alternating;

impl Arrangement for Alternating {
    fn apply<F: Lane>(a: u128, b: u128, _imm: u8, env: &Env) -> (u128, Flags) {
        (0..F::COUNT).fold((0, Flags::NONE), |(result, flags), i| {
            let (a, b) = (lane::<F>(a, i), lane::<F>(b, i));
            let out = if i % 2 == 0 { softfloat::sub(a, b, env) } else { softfloat::add(a, b, env) };
            (replace(result, i, out.value), flags | out.flags)
        })
    }
}

/// HADDPS, HSUBPS: neighbours, those of the destination first.
struct Horizontal<O>(O);

impl<O: Operation> Arrangement for Horizontal<O> {
    fn apply<F: Lane>(a: u128, b: u128, imm: u8, env: &Env) -> (u128, Flags) {
        (0..F::COUNT).fold((0, Flags::NONE), |(result, flags), i| {
            let from = if 2 * i < F::COUNT { a } else { b };
            let at = 2 * i % F::COUNT;
            let out = O::apply(lane::<F>(from, at), lane(from, at + 1), imm, env);
            (replace(result, i, out.value), flags | out.flags)
        })
    }
}

/// DPPS, DPPD: products that the upper half of the immediate picks, added in pairs, put where the lower half says.
struct DotProduct;

impl Arrangement for DotProduct {
    const STEPS: bool = true;

    fn apply<F: Lane>(a: u128, b: u128, imm: u8, env: &Env) -> (u128, Flags) {
        let mut flags = Flags::NONE;
        // Each step reports its exceptions before the next one begins.
        let mut step = |outs: &[Out<F>]| {
            let raised = outs.iter().fold(Flags::NONE, |flags, out| flags | out.flags);
            flags |= exceptions::reported(env, raised);
            !env.traps(flags)
        };
        let zero = Out { value: F::zero(false), flags: Flags::NONE, rounded_up: false };
        let mut terms = [zero; 4];
        for i in (0..F::COUNT).filter(|i| imm >> (4 + i) & 1 != 0) {
            terms[i as usize] = softfloat::mul(lane::<F>(a, i), lane(b, i), env);
        }
        let mut total = zero;
        if step(&terms) {
            let mut sums = [terms[0], terms[1]];
            if F::COUNT == 4 {
                sums = [[0, 1], [2, 3]].map(|[i, j]| softfloat::add(terms[i].value, terms[j].value, env));
            }
            if F::COUNT == 2 || step(&sums) {
                total = softfloat::add(sums[0].value, sums[1].value, env);
                step(&[total]);
            }
        }
        let chosen = (0..F::COUNT).filter(|i| imm >> i & 1 != 0);
        (chosen.fold(0, |result, i| replace(result, i, total.value)), flags)
    }
}

/// ROUNDSS and so on: bit 2 of the immediate takes the mode of MXCSR, bit 3 suppresses PE.
fn round<F: Lane>(value: F, imm: u8, env: &Env) -> Out<F> {
    let env = if imm & 4 != 0 { *env } else { env.with_rounding(Rounding::from_bits(imm.into())) };
    let mut out = softfloat::round_to_integral(value, &env);
    if imm & 8 != 0 {
        out.flags = out.flags & !Flags::PRECISION;
    }
    out
}

/// RCPPS and RSQRTPS raise nothing, take denormals as zeros and flush tiny results.
fn approximate<F: Lane>(value: F, function: fn(f64) -> f64) -> Out<F> {
    let unpacked = value.unpack();
    let zero = matches!(unpacked.class, Class::Zero | Class::Denormal);
    let bits = if unpacked.is_nan() {
        value.bits() as u32 | 1 << 22
    } else {
        let single = if zero { F32::zero(unpacked.sign) } else { F32(value.bits() as u32) };
        twelve_bits(function(f32::from_bits(single.0).into()))
    };
    Out { value: F::from_bits(bits.into()), flags: Flags::NONE, rounded_up: false }
}

fn reciprocal(x: f64) -> f64 {
    1.0 / x
}

fn reciprocal_root(x: f64) -> f64 {
    if x == 0.0 { 1.0 / x } else { 1.0 / x.sqrt() }
}

/// A double, rounded to 12 significant bits, as a single.
fn twelve_bits(x: f64) -> u32 {
    let half = 1 << (52 - 12);
    if x.is_nan() {
        return F32::indefinite().0;
    }
    if x.is_infinite() {
        return F32::infinity(x.is_sign_negative()).0;
    }
    if x.abs() < f64::from(f32::MIN_POSITIVE) {
        return F32::zero(x.is_sign_negative()).0;
    }
    let rounded = f64::from_bits((x.to_bits() + half) & !(2 * half - 1));
    (rounded as f32).to_bits()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn approximations_are_within_the_documented_error() {
        for n in 0..10_000u32 {
            let x = f32::from_bits(0x3f80_0000 + n * 1601);
            for (function, exact) in [
                (reciprocal as fn(f64) -> f64, 1.0 / f64::from(x)),
                (reciprocal_root, 1.0 / f64::from(x).sqrt()),
            ] {
                let got = f32::from_bits(approximate(F32(x.to_bits()), function).value.0);
                assert!(((f64::from(got) - exact) / exact).abs() <= 1.5 / 4096.0, "{x}");
            }
        }
    }

    #[test]
    fn approximations_of_special_values() {
        let root = |bits| approximate(F32(bits), reciprocal_root).value.0;
        let inverse = |bits| approximate(F32(bits), reciprocal).value.0;
        assert_eq!(root(0x8000_0001), 0xff80_0000, "a negative denormal is -0");
        assert_eq!(root(0xbf80_0000), 0xffc0_0000);
        assert_eq!(root(0x7f80_0000), 0);
        assert_eq!(inverse(0x7f00_0000), 0, "a tiny result is flushed");
        assert_eq!(inverse(0xff80_0001), 0xffc0_0001, "a signalling NaN becomes quiet");
    }
}
