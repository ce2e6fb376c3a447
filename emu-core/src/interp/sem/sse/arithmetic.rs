//! Floating-point arithmetic on scalars and packed lanes: ADDSD and its like, square roots, approximations,
//! horizontal and alternating sums, dot products, rounding. SDM 2A and 2B at each.
//!
//! The common case, normal numbers with PE set already, goes by the host's arithmetic (see [`float::quick`]); all
//! else by the software floating point.
//!
//! RCPPS and RSQRTPS give the exact value rounded to 12 significant bits: within the documented relative error of
//! 1.5 * 2^-12, not bit-identical to any one processor.

use iced_x86::Mnemonic as M;

use super::float::{self, Host, Lane, lane, replace};
use super::operand::Source;
use super::scheme::{Scheme, scalar_schemes, schemes};
use crate::cpu::{Cpu, Fallible, Width};
use crate::interp::op::{Handler, Op};
use crate::interp::table::{Form, Row, both};
use crate::softfloat::{self, Class, Env, F32, F64, Flags, Format, Out, Rounding};

/// The rows of this family.
pub const ROWS: &[Row] = &[
    both(M::Addss, M::Vaddss, |f| scalar::<F32, Add>(f)),
    both(M::Addsd, M::Vaddsd, |f| scalar::<F64, Add>(f)),
    both(M::Addps, M::Vaddps, |f| packed::<F32, Add>(f)),
    both(M::Addpd, M::Vaddpd, |f| packed::<F64, Add>(f)),
    both(M::Subss, M::Vsubss, |f| scalar::<F32, Sub>(f)),
    both(M::Subsd, M::Vsubsd, |f| scalar::<F64, Sub>(f)),
    both(M::Subps, M::Vsubps, |f| packed::<F32, Sub>(f)),
    both(M::Subpd, M::Vsubpd, |f| packed::<F64, Sub>(f)),
    both(M::Mulss, M::Vmulss, |f| scalar::<F32, Mul>(f)),
    both(M::Mulsd, M::Vmulsd, |f| scalar::<F64, Mul>(f)),
    both(M::Mulps, M::Vmulps, |f| packed::<F32, Mul>(f)),
    both(M::Mulpd, M::Vmulpd, |f| packed::<F64, Mul>(f)),
    both(M::Divss, M::Vdivss, |f| scalar::<F32, Div>(f)),
    both(M::Divsd, M::Vdivsd, |f| scalar::<F64, Div>(f)),
    both(M::Divps, M::Vdivps, |f| packed::<F32, Div>(f)),
    both(M::Divpd, M::Vdivpd, |f| packed::<F64, Div>(f)),
    both(M::Minss, M::Vminss, |f| scalar::<F32, Min>(f)),
    both(M::Minsd, M::Vminsd, |f| scalar::<F64, Min>(f)),
    both(M::Minps, M::Vminps, |f| packed::<F32, Min>(f)),
    both(M::Minpd, M::Vminpd, |f| packed::<F64, Min>(f)),
    both(M::Maxss, M::Vmaxss, |f| scalar::<F32, Max>(f)),
    both(M::Maxsd, M::Vmaxsd, |f| scalar::<F64, Max>(f)),
    both(M::Maxps, M::Vmaxps, |f| packed::<F32, Max>(f)),
    both(M::Maxpd, M::Vmaxpd, |f| packed::<F64, Max>(f)),
    both(M::Sqrtss, M::Vsqrtss, |f| scalar::<F32, Sqrt>(f)),
    both(M::Sqrtsd, M::Vsqrtsd, |f| scalar::<F64, Sqrt>(f)),
    both(M::Sqrtps, M::Vsqrtps, |f| packed::<F32, Sqrt>(f)),
    both(M::Sqrtpd, M::Vsqrtpd, |f| packed::<F64, Sqrt>(f)),
    both(M::Rcpss, M::Vrcpss, |f| scalar::<F32, Reciprocal>(f)),
    both(M::Rcpps, M::Vrcpps, |f| packed::<F32, Reciprocal>(f)),
    both(M::Rsqrtss, M::Vrsqrtss, |f| scalar::<F32, ReciprocalRoot>(f)),
    both(M::Rsqrtps, M::Vrsqrtps, |f| packed::<F32, ReciprocalRoot>(f)),
    both(M::Roundss, M::Vroundss, |f| scalar::<F32, Round>(f)),
    both(M::Roundsd, M::Vroundsd, |f| scalar::<F64, Round>(f)),
    both(M::Roundps, M::Vroundps, |f| packed::<F32, Round>(f)),
    both(M::Roundpd, M::Vroundpd, |f| packed::<F64, Round>(f)),
    both(M::Addsubps, M::Vaddsubps, |f| arranged::<F32, Alternating>(f)),
    both(M::Addsubpd, M::Vaddsubpd, |f| arranged::<F64, Alternating>(f)),
    both(M::Haddps, M::Vhaddps, |f| arranged::<F32, Horizontal<Add>>(f)),
    both(M::Haddpd, M::Vhaddpd, |f| arranged::<F64, Horizontal<Add>>(f)),
    both(M::Hsubps, M::Vhsubps, |f| arranged::<F32, Horizontal<Sub>>(f)),
    both(M::Hsubpd, M::Vhsubpd, |f| arranged::<F64, Horizontal<Sub>>(f)),
    both(M::Dpps, M::Vdpps, |f| schemes!(f, |S, X, N| dot_product::<F32, S, X, N>)),
    both(M::Dppd, M::Vdppd, |f| schemes!(f, |S, X, N| dot_product::<F64, S, X, N>)),
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
    scalar_schemes!(f, |S, X| scalar_of::<F, O, S, X>)
}

fn packed<F: Lane, O: Operation>(f: &Form<'_>) -> Option<Handler> {
    schemes!(f, |S, X, N| packed_of::<F, O, S, X, N>)
}

fn arranged<F: Lane, A: Arrangement>(f: &Form<'_>) -> Option<Handler> {
    schemes!(f, |S, X, N| arranged_of::<F, A, S, X, N>)
}

/// ADDSD and so on: the low lane; the others stay.
fn scalar_of<F: Lane, O: Operation, S: Source, X: Scheme>(cpu: &mut Cpu, op: &Op) -> Fallible {
    X::check(cpu)?;
    let b = F::from_bits(S::low::<F::Bits>(cpu, op)?.u64());
    let [a] = X::first(cpu, op);
    let a = lane(a, 0);
    if let Some(host) = O::HOST
        && float::permits_quick(cpu.fpu.mxcsr)
        && let Some(result) = float::quick(host, a, b)
    {
        X::store_low(cpu, op, F::Bits::from_u64(result.bits()));
        return Ok(());
    }
    let env = cpu.sse_env();
    let out = O::apply(a, b, op.imm as u8, &env);
    cpu.raise_simd(&env, out.flags)?;
    X::store_low(cpu, op, F::Bits::from_u64(out.value.bits()));
    Ok(())
}

/// Every lane by the host's arithmetic, where all of them permit it.
#[inline(always)]
fn quick_lanes<F: Lane, const N: usize>(host: Host, a: [u128; N], b: [u128; N]) -> Option<[u128; N]> {
    let mut result = [0; N];
    for n in 0..N {
        for i in 0..F::COUNT {
            result[n] = replace::<F>(result[n], i, float::quick(host, lane(a[n], i), lane(b[n], i))?);
        }
    }
    Some(result)
}

/// ADDPD and so on: every lane.
fn packed_of<F: Lane, O: Operation, S: Source, X: Scheme, const N: usize>(
    cpu: &mut Cpu,
    op: &Op,
) -> Fallible {
    X::check(cpu)?;
    let b = S::pieces::<N>(cpu, op)?;
    let a = X::first::<N>(cpu, op);
    if let Some(host) = O::HOST
        && float::permits_quick(cpu.fpu.mxcsr)
        && let Some(result) = quick_lanes::<F, N>(host, a, b)
    {
        X::store(cpu, op, result);
        return Ok(());
    }
    let env = cpu.sse_env();
    let (mut result, mut flags) = ([0; N], Flags::NONE);
    for n in 0..N {
        for i in 0..F::COUNT {
            let out = O::apply(lane::<F>(a[n], i), lane(b[n], i), op.imm as u8, &env);
            flags |= out.flags;
            result[n] = replace(result[n], i, out.value);
        }
    }
    cpu.raise_simd(&env, flags)?;
    X::store(cpu, op, result);
    Ok(())
}

/// An operation in which the lanes do not all do the same.
trait Arrangement {
    fn apply<F: Lane>(a: u128, b: u128, imm: u8, env: &Env) -> (u128, Flags);
}

fn arranged_of<F: Lane, A: Arrangement, S: Source, X: Scheme, const N: usize>(
    cpu: &mut Cpu,
    op: &Op,
) -> Fallible {
    X::check(cpu)?;
    let b = S::pieces::<N>(cpu, op)?;
    let a = X::first::<N>(cpu, op);
    let env = cpu.sse_env();
    let (mut result, mut flags) = ([0; N], Flags::NONE);
    for n in 0..N {
        let (value, raised) = A::apply::<F>(a[n], b[n], op.imm as u8, &env);
        result[n] = value;
        flags |= raised;
    }
    cpu.raise_simd(&env, flags)?;
    X::store(cpu, op, result);
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
/// Each step (products, sums of pairs, sums of those) reports its exceptions before the next one begins, for all
/// 256 bits together. SDM 2A, "DPPS".
fn dot_product<F: Lane, S: Source, X: Scheme, const N: usize>(cpu: &mut Cpu, op: &Op) -> Fallible {
    X::check(cpu)?;
    let b = S::pieces::<N>(cpu, op)?;
    let a = X::first::<N>(cpu, op);
    let (env, imm) = (cpu.sse_env(), op.imm as u8);
    let mut step = |outs: &[[Out<F>; 4]; N]| {
        let raised = outs.iter().flatten().fold(Flags::NONE, |flags, out| flags | out.flags);
        cpu.raise_simd(&env, raised)
    };
    let zero = Out { value: F::zero(false), flags: Flags::NONE, rounded_up: false };
    let mut terms = [[zero; 4]; N];
    for (n, terms) in terms.iter_mut().enumerate() {
        for i in (0..F::COUNT).filter(|i| imm >> (4 + i) & 1 != 0) {
            terms[i as usize] = softfloat::mul(lane::<F>(a[n], i), lane(b[n], i), &env);
        }
    }
    step(&terms)?;
    let mut left = F::COUNT as usize;
    while left > 1 {
        left /= 2;
        for terms in &mut terms {
            let old = *terms;
            *terms = [zero; 4];
            for i in 0..left {
                terms[i] = softfloat::add(old[2 * i].value, old[2 * i + 1].value, &env);
            }
        }
        step(&terms)?;
    }
    let chosen = |n: usize| {
        let lanes = (0..F::COUNT).filter(|i| imm >> i & 1 != 0);
        lanes.fold(0, |result, i| replace(result, i, terms[n][0].value))
    };
    X::store(cpu, op, std::array::from_fn::<_, N, _>(chosen));
    Ok(())
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
