//! Addition and subtraction.

use super::round::{round_pack, round_unpacked, shift_right_jam};
use super::{Class, Env, Flags, Format, Out, Rounding, Unpacked, nan};

/// a + b: ADDSS, ADDSD, FADD.
#[inline]
pub fn add<F: Format>(a: F, b: F, env: &Env) -> Out<F> {
    add_unpacked(a.unpack(), b.unpack(), env)
}

/// a - b: SUBSS, SUBSD, FSUB. The sign of a NaN stays.
#[inline]
pub fn sub<F: Format>(a: F, b: F, env: &Env) -> Out<F> {
    sub_unpacked(a.unpack(), b.unpack(), env)
}

/// a - b on operands of any format.
#[inline]
pub fn sub_unpacked<F: Format>(a: Unpacked, b: Unpacked, env: &Env) -> Out<F> {
    add_unpacked(a, Unpacked { sign: b.sign ^ !b.is_nan(), ..b }, env)
}

/// a + b on operands of any format.
#[inline]
pub fn add_unpacked<F: Format>(a: Unpacked, b: Unpacked, env: &Env) -> Out<F> {
    if a.class == Class::Normal && b.class == Class::Normal {
        return add_finite(&a, &b, env, Flags::NONE);
    }
    add_special(a, b, env)
}

#[cold]
fn add_special<F: Format>(a: Unpacked, b: Unpacked, env: &Env) -> Out<F> {
    let (a, b) = (a.daz(env), b.daz(env));
    if a.is_nan() || b.is_nan() {
        return nan::propagate(&a, &b);
    }
    if a.class == Class::Infinity && b.class == Class::Infinity && a.sign != b.sign {
        return nan::invalid();
    }
    let flags = Flags::DENORMAL.when(a.class == Class::Denormal || b.class == Class::Denormal);
    if env.traps(flags) {
        return Out::new(F::indefinite(), flags);
    }
    match (a.class, b.class) {
        (Class::Infinity, _) => Out::new(F::infinity(a.sign), flags),
        (_, Class::Infinity) => Out::new(F::infinity(b.sign), flags),
        (Class::Zero, Class::Zero) if a.sign == b.sign => Out::new(F::zero(a.sign), flags),
        (Class::Zero, Class::Zero) => Out::new(cancelled(env), flags),
        (_, Class::Zero) => round_unpacked(&a, env, flags),
        (Class::Zero, _) => round_unpacked(&b, env, flags),
        _ => add_finite(&a, &b, env, flags),
    }
}

/// The zero that is left when equal magnitudes cancel. SDM vol. 1, "Signed Zeros".
#[inline]
pub(super) fn cancelled<F: Format>(env: &Env) -> F {
    F::zero(env.rounding == Rounding::Down)
}

#[inline]
fn add_finite<F: Format>(a: &Unpacked, b: &Unpacked, env: &Env, flags: Flags) -> Out<F> {
    let (big, small) =
        if (a.exponent, a.significand) < (b.exponent, b.significand) { (b, a) } else { (a, b) };
    let distance = big.exponent.abs_diff(small.exponent);
    if F::PRECISION <= 53 {
        // Ten bits below the significand are guard bits: two and a sticky one would do.
        let low = small.significand >> 1;
        let low = match distance {
            0 => low,
            1..64 => low >> distance | u64::from(low << (64 - distance) != 0),
            _ => 1,
        };
        let high = big.significand >> 1;
        let sum = if a.sign == b.sign { high + low } else { high - low };
        if sum == 0 {
            return Out::new(cancelled(env), flags);
        }
        let shift = sum.leading_zeros();
        return round_pack(big.sign, big.exponent + 1 - shift as i32, sum << shift, 0, env, flags);
    }
    let low = shift_right_jam(u128::from(small.significand) << 63, distance);
    let high = u128::from(big.significand) << 63;
    match sum_wide(high, low, a.sign == b.sign) {
        None => Out::new(cancelled(env), flags),
        Some((sum, exponent)) => {
            let exponent = big.exponent + 1 + exponent;
            round_pack(big.sign, exponent, (sum >> 64) as u64, sum as u64, env, flags)
        }
    }
}

/// Sum or difference of two aligned significands below 2^127, normalized to bit 127, and the exponent's change.
#[inline]
pub(super) fn sum_wide(high: u128, low: u128, same_sign: bool) -> Option<(u128, i32)> {
    let sum = if same_sign { high + low } else { high - low };
    if sum == 0 {
        return None;
    }
    let shift = sum.leading_zeros();
    Some((sum << shift, -(shift as i32)))
}
