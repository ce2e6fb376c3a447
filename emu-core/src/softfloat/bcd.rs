//! Packed BCD of FBLD and FBSTP: 18 digits in nine bytes, then a byte with the sign in bit 7.

use super::round::integer_magnitude;
use super::{Class, Env, F80, Flags, Format, Out};

const LIMIT: u128 = 999_999_999_999_999_999;
/// Packed BCD indefinite. SDM vol. 1, "Packed BCD Integers".
const INDEFINITE: [u8; 10] = [0, 0, 0, 0, 0, 0, 0, 0xc0, 0xff, 0xff];

/// FBLD: exact. Digits above 9 are undefined in the manual; each nibble counts with its weight.
pub fn from_bcd(bytes: [u8; 10]) -> F80 {
    let digits = bytes[..9].iter().rev().fold(0u64, |sum, &byte| {
        sum.wrapping_mul(100).wrapping_add(u64::from(byte >> 4) * 10 + u64::from(byte & 15))
    });
    let sign = bytes[9] & 0x80 != 0;
    if digits == 0 {
        return F80::zero(sign);
    }
    let shift = digits.leading_zeros();
    F80::pack(sign, F80::EMAX + 63 - shift as i32, digits << shift)
}

/// FBSTP: rounded to an integer of at most 18 digits, else IE and the indefinite.
pub fn to_bcd(a: F80, env: &Env) -> Out<[u8; 10]> {
    let a = a.unpack();
    let rounded = if a.class >= Class::Infinity { None } else { integer_magnitude(&a, env.rounding) };
    let Some((magnitude @ 0..=LIMIT, inexact, rounded_up)) = rounded else {
        return Out::new(INDEFINITE, Flags::INVALID);
    };
    let mut rest = magnitude as u64;
    let mut bytes = [0; 10];
    for byte in &mut bytes[..9] {
        let two = (rest % 100) as u8;
        rest /= 100;
        *byte = ((two / 10) << 4) | (two % 10);
    }
    bytes[9] = u8::from(a.sign) << 7;
    Out { value: bytes, flags: Flags::PRECISION.when(inexact), rounded_up }
}
