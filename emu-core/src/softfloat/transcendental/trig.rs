//! FSIN, FCOS, FSINCOS and FPTAN.

use super::wide::{Wide, alternating_series, inverse_factorials};
use crate::softfloat::{Class, Env, F80, Flags, Format, Out, Unpacked, nan};

/// Half of the 66-bit pi, in units of 2^-65. SDM vol. 1, "Approximation of Pi".
const HALF_PI: u128 = 0xc_90fd_aa22_168c_234c >> 2;

const SINE: [u128; 17] = inverse_factorials(1, 2);
const COSINE: [u128; 17] = inverse_factorials(0, 2);

/// Below this exponent the second term of every series is less than a quarter unit in the last place.
const TINY: i32 = -33;

/// FSIN: sine of an angle in radians; `None` from 2^63 on, where C2 is set and nothing else happens.
pub fn sine(a: F80, env: &Env) -> Option<Out<F80>> {
    sine_of(&a.unpack(), env)
}

fn sine_of(a: &Unpacked, env: &Env) -> Option<Out<F80>> {
    evaluate(a, env, F80::zero(a.sign), |a| sine_wide(a, reduce(a)))
}

/// FCOS: cosine, likewise.
pub fn cosine(a: F80, env: &Env) -> Option<Out<F80>> {
    cosine_of(&a.unpack(), env)
}

fn cosine_of(a: &Unpacked, env: &Env) -> Option<Out<F80>> {
    evaluate(a, env, F80::pack(false, F80::EMAX, 1 << 63), |a| cosine_wide(reduce(a)))
}

/// FPTAN: tangent, likewise. The instruction then pushes 1.0.
pub fn tangent(a: F80, env: &Env) -> Option<Out<F80>> {
    let a = a.unpack();
    evaluate(&a, env, F80::zero(a.sign), tangent_wide)
}

/// FSINCOS: both, likewise.
pub fn sine_and_cosine(a: F80, env: &Env) -> Option<(Out<F80>, Out<F80>)> {
    let a = a.unpack();
    if a.class != Class::Normal || a.exponent >= 63 {
        return sine_of(&a, env).zip(cosine_of(&a, env));
    }
    let reduced = reduce(&a);
    Some((sine_wide(&a, reduced).finish(env, Flags::NONE), cosine_wide(reduced).finish(env, Flags::NONE)))
}

fn evaluate(a: &Unpacked, env: &Env, of_zero: F80, function: fn(&Unpacked) -> Wide) -> Option<Out<F80>> {
    let flags = match a.class {
        Class::Zero => return Some(Out::new(of_zero, Flags::NONE)),
        Class::Infinity => return Some(nan::invalid()),
        Class::Normal if a.exponent >= 63 => return None,
        Class::Normal => Flags::NONE,
        Class::Denormal => Flags::DENORMAL,
        _ => return Some(nan::propagate_one(a)),
    };
    if env.traps(flags) {
        return Some(Out::new(F80::indefinite(), flags));
    }
    Some(function(a).finish(env, flags))
}

/// Quadrant, modulo 4, and signed rest, at most a quarter of pi, of the magnitude.
fn reduce(a: &Unpacked) -> (u8, Wide) {
    let magnitude = Wide::from_unpacked(a).with_sign(false);
    if a.exponent < -1 {
        return (0, magnitude);
    }
    let angle = u128::from(a.significand) << (a.exponent + 2);
    let turns = angle / HALF_PI;
    let rest = angle - turns * HALF_PI;
    let past_middle = 2 * rest > HALF_PI;
    let rest = if past_middle { HALF_PI - rest } else { rest };
    ((turns as u8).wrapping_add(u8::from(past_middle)) & 3, Wide::from_fixed(past_middle, rest, 62))
}

/// Sine of an angle of at most a quarter of pi.
fn small_sine(x: Wide) -> Wide {
    if x.exponent < TINY {
        return x.just_below();
    }
    x.times(Wide::from_fixed(false, alternating_series(&SINE, x.times(x).fraction()), 0))
}

/// Cosine of an angle of at most a quarter of pi.
fn small_cosine(x: Wide) -> Wide {
    if x.exponent < TINY {
        return Wide::ONE.just_below();
    }
    Wide::from_fixed(false, alternating_series(&COSINE, x.times(x).fraction()), 0)
}

fn sine_wide(a: &Unpacked, (quadrant, x): (u8, Wide)) -> Wide {
    let value = if quadrant & 1 == 0 { small_sine(x) } else { small_cosine(x) };
    let negative = value.sign ^ (quadrant & 2 != 0) ^ a.sign;
    value.with_sign(negative)
}

fn cosine_wide((quadrant, x): (u8, Wide)) -> Wide {
    match quadrant {
        0 => small_cosine(x),
        1 => small_sine(x).negated(),
        2 => small_cosine(x).with_sign(true),
        _ => small_sine(x),
    }
}

fn tangent_wide(a: &Unpacked) -> Wide {
    let (quadrant, x) = reduce(a);
    let value = match (quadrant & 1, x.exponent < TINY) {
        (0, true) => x, // x + x^3 / 3
        (0, false) => small_sine(x).over(small_cosine(x)),
        // The cotangent: 1 / x - x / 3 - x^3 / 45
        (_, true) => Wide::ONE.over(x).minus(x.over(Wide::from_fixed(false, 3, 127))).negated(),
        (_, false) => small_cosine(x).over(small_sine(x)).negated(),
    };
    value.with_sign(value.sign ^ a.sign)
}
