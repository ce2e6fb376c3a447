//! FYL2X and FYL2XP1.

use super::wide::{Wide, inverse_odds, series};
use crate::softfloat::mul::mul_unpacked;
use crate::softfloat::{Class, Env, F80, Flags, Format, Out, Unpacked, nan};

const SERIES: [u128; 27] = inverse_odds();

/// Significand of the square root of 2, at the scale of a 128-bit significand.
const SQRT_2: u128 = 0xb504_f333_f9de_6484 << 64;

/// FYL2X: y * log2(x). SDM vol. 2, "FYL2X", table of results.
pub fn y_log2(y: F80, x: F80, env: &Env) -> Out<F80> {
    let (y, x) = (y.unpack(), x.unpack());
    if y.is_nan() || x.is_nan() {
        return nan::propagate(&x, &y);
    }
    let logarithm_is_negative = x.exponent < 0 || x.class == Class::Zero;
    let sign = y.sign != logarithm_is_negative;
    let is_one = x.class == Class::Normal && x.exponent == 0 && x.significand == 1 << 63;
    let flags = match (x.class, y.class) {
        (Class::Zero, Class::Zero) => return nan::invalid(),
        (Class::Zero, Class::Infinity) => return Out::new(F80::infinity(sign), Flags::NONE),
        (Class::Zero, _) => return Out::new(F80::infinity(sign), Flags::DIVIDE_BY_ZERO),
        _ if x.sign => return nan::invalid(),
        (Class::Infinity, Class::Zero) => return nan::invalid(),
        (_, Class::Infinity) if is_one => return nan::invalid(),
        _ => Flags::DENORMAL.when(x.class == Class::Denormal || y.class == Class::Denormal),
    };
    if env.traps(flags) {
        return Out::new(F80::indefinite(), flags);
    }
    if x.class == Class::Infinity || y.class == Class::Infinity {
        return Out::new(F80::infinity(sign), flags);
    }
    if y.class == Class::Zero || is_one {
        return Out::new(F80::zero(sign), flags);
    }
    if x.significand == 1 << 63 {
        // A power of two: the logarithm is an integer and the product may be exact, but is reported as inexact, as
        // every processor does that we know of.
        let logarithm = Unpacked::from_magnitude(x.exponent < 0, u64::from(x.exponent.unsigned_abs()), 0);
        let out: Out<F80> = mul_unpacked(Unpacked { class: Class::Normal, ..y }, logarithm, &env.extended());
        let tiny = out.value.sign_exponent & 0x7fff == 0;
        let flags = flags | out.flags | Flags::PRECISION | Flags::UNDERFLOW.when(tiny);
        return Out { flags, ..out };
    }
    log2_wide(Wide::from_unpacked(&x)).times(Wide::from_unpacked(&y)).finish(env, flags)
}

/// FYL2XP1: y * log2(x + 1), meant for small x. SDM vol. 2, "FYL2XP1", table of results.
pub fn y_log2_plus_one(y: F80, x: F80, env: &Env) -> Out<F80> {
    let (y, x) = (y.unpack(), x.unpack());
    if y.is_nan() || x.is_nan() {
        return nan::propagate(&x, &y);
    }
    let sign = x.sign != y.sign;
    let below_minus_one =
        x.sign && (x.class == Class::Infinity || x.class == Class::Normal && x.exponent >= 0);
    let opposites = (x.class == Class::Zero && y.class == Class::Infinity)
        || (x.class == Class::Infinity && y.class == Class::Zero);
    if below_minus_one || opposites {
        return nan::invalid();
    }
    let flags = Flags::DENORMAL.when(x.class == Class::Denormal || y.class == Class::Denormal);
    if env.traps(flags) {
        return Out::new(F80::indefinite(), flags);
    }
    if x.class == Class::Infinity || y.class == Class::Infinity {
        return Out::new(F80::infinity(sign), flags);
    }
    if x.class == Class::Zero || y.class == Class::Zero {
        return Out::new(F80::zero(sign), flags);
    }
    let x = Wide::from_unpacked(&x);
    let logarithm = if x.exponent < -2 {
        two_atanh(x.over(x.plus(Wide::ONE.scaled(1)))).times(Wide::LOG2_E)
    } else {
        log2_wide(x.plus(Wide::ONE))
    };
    logarithm.times(Wide::from_unpacked(&y)).finish(env, flags)
}

/// Logarithm to base 2 of a positive number other than a power of two.
fn log2_wide(x: Wide) -> Wide {
    let above = x.significand > SQRT_2;
    let power = x.exponent + i32::from(above);
    let m = Wide { exponent: -i32::from(above), ..x };
    let ratio = m.minus(Wide::ONE).over(m.plus(Wide::ONE));
    let fraction = two_atanh(ratio).times(Wide::LOG2_E);
    if power == 0 {
        return fraction;
    }
    let integer = Wide::from_fixed(power < 0, u128::from(power.unsigned_abs()), 127);
    integer.plus(fraction)
}

/// 2 atanh(s) = ln((1 + s) / (1 - s)) for a magnitude of at most 0.172.
fn two_atanh(s: Wide) -> Wide {
    let sum = series(&SERIES, s.times(s).fraction());
    s.times(Wide::from_fixed(false, sum, 0)).scaled(1)
}
