//! Division.

use super::round::round_pack;
use super::{Class, Env, Flags, Format, Out, Unpacked, nan};

/// a / b: DIVSS, DIVSD, FDIV.
#[inline]
pub fn div<F: Format>(a: F, b: F, env: &Env) -> Out<F> {
    div_unpacked(a.unpack(), b.unpack(), env)
}

/// a / b on operands of any format.
#[inline]
pub fn div_unpacked<F: Format>(a: Unpacked, b: Unpacked, env: &Env) -> Out<F> {
    if a.class == Class::Normal && b.class == Class::Normal {
        return div_finite(&a, &b, env, Flags::NONE);
    }
    div_special(a, b, env)
}

#[cold]
fn div_special<F: Format>(a: Unpacked, b: Unpacked, env: &Env) -> Out<F> {
    let (a, b) = (a.daz(env), b.daz(env));
    if a.is_nan() || b.is_nan() {
        return nan::propagate(&a, &b);
    }
    let sign = a.sign != b.sign;
    match (a.class, b.class) {
        (Class::Infinity, Class::Infinity) | (Class::Zero, Class::Zero) => return nan::invalid(),
        // Divide by zero has priority over a denormal dividend.
        (Class::Normal | Class::Denormal, Class::Zero) => {
            return Out::new(F::infinity(sign), Flags::DIVIDE_BY_ZERO);
        }
        _ => {}
    }
    let flags = Flags::DENORMAL.when(a.class == Class::Denormal || b.class == Class::Denormal);
    if env.traps(flags) {
        return Out::new(F::indefinite(), flags);
    }
    match (a.class, b.class) {
        (Class::Infinity, _) => Out::new(F::infinity(sign), flags),
        (Class::Zero, _) | (_, Class::Infinity) => Out::new(F::zero(sign), flags),
        _ => div_finite(&a, &b, env, flags),
    }
}

#[inline]
fn div_finite<F: Format>(a: &Unpacked, b: &Unpacked, env: &Env, flags: Flags) -> Out<F> {
    let less = a.significand < b.significand;
    let exponent = a.exponent - b.exponent - i32::from(less);
    let sign = a.sign != b.sign;
    if F::PRECISION <= 24 {
        // Both significands are 24 bits wide: 64-bit division gives 39 or 40 bits and a remainder.
        let (dividend, divisor) = (a.significand >> 1, b.significand >> 40);
        let quotient = dividend / divisor;
        let quotient = quotient << quotient.leading_zeros();
        return round_pack(sign, exponent, quotient, u64::from(dividend % divisor != 0), env, flags);
    }
    let divisor = u128::from(b.significand);
    let dividend = u128::from(a.significand) << if less { 64 } else { 63 };
    let quotient = dividend / divisor;
    let rest = dividend - quotient * divisor;
    // The remainder as a fraction of the divisor: below, at or above one half is all that rounding asks.
    let low = match (rest, (rest << 1).cmp(&divisor)) {
        (0, _) => 0,
        (_, std::cmp::Ordering::Less) => 1,
        (_, std::cmp::Ordering::Equal) => 1 << 63,
        (_, std::cmp::Ordering::Greater) => 1 << 63 | 1,
    };
    round_pack(sign, exponent, quotient as u64, low, env, flags)
}
