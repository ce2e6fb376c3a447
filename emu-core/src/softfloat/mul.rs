//! Multiplication.

use super::round::round_pack;
use super::{Class, Env, Flags, Format, Out, Unpacked, nan};

/// a * b: MULSS, MULSD, FMUL.
#[inline]
pub fn mul<F: Format>(a: F, b: F, env: &Env) -> Out<F> {
    mul_unpacked(a.unpack(), b.unpack(), env)
}

/// a * b on operands of any format.
#[inline]
pub fn mul_unpacked<F: Format>(a: Unpacked, b: Unpacked, env: &Env) -> Out<F> {
    if a.class == Class::Normal && b.class == Class::Normal {
        return mul_finite(&a, &b, env, Flags::NONE);
    }
    mul_special(a, b, env)
}

#[cold]
fn mul_special<F: Format>(a: Unpacked, b: Unpacked, env: &Env) -> Out<F> {
    let (a, b) = (a.daz(env), b.daz(env));
    if a.is_nan() || b.is_nan() {
        return nan::propagate(&a, &b);
    }
    let infinite = a.class == Class::Infinity || b.class == Class::Infinity;
    let zero = a.class == Class::Zero || b.class == Class::Zero;
    if infinite && zero {
        return nan::invalid();
    }
    let flags = Flags::DENORMAL.when(a.class == Class::Denormal || b.class == Class::Denormal);
    let sign = a.sign != b.sign;
    if env.traps(flags) {
        Out::new(F::indefinite(), flags)
    } else if infinite {
        Out::new(F::infinity(sign), flags)
    } else if zero {
        Out::new(F::zero(sign), flags)
    } else {
        mul_finite(&a, &b, env, flags)
    }
}

#[inline]
fn mul_finite<F: Format>(a: &Unpacked, b: &Unpacked, env: &Env, flags: Flags) -> Out<F> {
    let product = u128::from(a.significand) * u128::from(b.significand);
    let shift = product.leading_zeros(); // 0 or 1
    let product = product << shift;
    let exponent = a.exponent + b.exponent + 1 - shift as i32;
    round_pack(a.sign != b.sign, exponent, (product >> 64) as u64, product as u64, env, flags)
}
