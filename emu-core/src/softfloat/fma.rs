//! Fused multiply and add.

use super::add::{cancelled, sum_wide};
use super::round::{round_pack, shift_right_jam};
use super::{Class, Env, Flags, Format, Out, Unpacked, nan};

/// Which signs an FMA instruction turns over. SDM vol. 1, "FMA Instruction Operand Order and Arithmetic Behavior".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Negate {
    /// VFNMADD and VFNMSUB: the product.
    pub product: bool,
    /// VFMSUB and VFNMSUB: the addend.
    pub addend: bool,
}

/// a * b + c with one rounding, in single or double precision: the VFMADD family.
///
/// `a` and `b` are multiplicand and multiplier in the order of the instruction's form, which matters for NaNs.
pub fn fma<F: Format>(a: F, b: F, c: F, negate: Negate, env: &Env) -> Out<F> {
    const {
        assert!(F::PRECISION <= 53, "the exact product leaves guard bits only in single and double precision")
    };
    let (a, b, c) = (a.unpack().daz(env), b.unpack().daz(env), c.unpack().daz(env));
    if a.is_nan() || b.is_nan() || c.is_nan() {
        return nan::propagate_three([&a, &b, &c]);
    }
    let sign = a.sign ^ b.sign ^ negate.product;
    let c = Unpacked { sign: c.sign != negate.addend, ..c };
    let infinite = a.class == Class::Infinity || b.class == Class::Infinity;
    let zero = a.class == Class::Zero || b.class == Class::Zero;
    if infinite && (zero || c.class == Class::Infinity && c.sign != sign) {
        return nan::invalid();
    }
    let flags = Flags::DENORMAL.when([a, b, c].iter().any(|o| o.class == Class::Denormal));
    if env.traps(flags) {
        Out::new(F::indefinite(), flags)
    } else if infinite {
        Out::new(F::infinity(sign), flags)
    } else if c.class == Class::Infinity {
        Out::new(F::infinity(c.sign), flags)
    } else if !zero {
        fma_finite(&a, &b, &c, sign, env, flags)
    } else if c.class != Class::Zero {
        round_pack(c.sign, c.exponent, c.significand, 0, env, flags)
    } else if c.sign == sign {
        Out::new(F::zero(sign), flags)
    } else {
        Out::new(cancelled(env), flags)
    }
}

fn fma_finite<F: Format>(
    a: &Unpacked,
    b: &Unpacked,
    c: &Unpacked,
    sign: bool,
    env: &Env,
    flags: Flags,
) -> Out<F> {
    // The product has at most 106 bits. Normalized to bit 126 it leaves 20 guard bits below.
    let product = u128::from(a.significand) * u128::from(b.significand);
    let shift = product.leading_zeros();
    let product = product << shift >> 1;
    let exponent = a.exponent + b.exponent + 1 - shift as i32;
    if c.class == Class::Zero {
        let product = product << 1;
        return round_pack(sign, exponent, (product >> 64) as u64, product as u64, env, flags);
    }
    let addend = u128::from(c.significand) << 63;
    let product_is_big = (exponent, product) >= (c.exponent, addend);
    let (big, small) = if product_is_big { (product, addend) } else { (addend, product) };
    let (big_sign, big_exponent) = if product_is_big { (sign, exponent) } else { (c.sign, c.exponent) };
    let small = shift_right_jam(small, exponent.abs_diff(c.exponent));
    match sum_wide(big, small, sign == c.sign) {
        None => Out::new(cancelled(env), flags),
        Some((sum, change)) => {
            let exponent = big_exponent + 1 + change;
            round_pack(big_sign, exponent, (sum >> 64) as u64, sum as u64, env, flags)
        }
    }
}
