//! Numbers with a 128-bit significand, truncated after each operation, for intermediate results.

use std::cmp::Ordering;

use crate::softfloat::round::{round_pack, shift_right_jam};
use crate::softfloat::{Env, F80, Flags, Out, Unpacked};

/// 1.0 as a fixed-point number with 127 fraction bits, the scale of the series' sums.
pub const ONE: u128 = 1 << 127;

/// `significand * 2^(exponent - 127)` with bit 127 set, or zero.
#[derive(Clone, Copy, Debug)]
pub struct Wide {
    pub sign: bool,
    pub exponent: i32,
    pub significand: u128,
}

impl Wide {
    /// Natural logarithm of 2.
    pub const LN_2: Self = Self::positive(-1, 0xb172_17f7_d1cf_79ab_c9e3_b398_03f2_f6af);
    /// Logarithm to base 2 of e.
    pub const LOG2_E: Self = Self::positive(0, 0xb8aa_3b29_5c17_f0bb_be87_fed0_691d_3e88);
    /// Pi to 128 bits.
    pub const PI: Self = Self::positive(1, 0xc90f_daa2_2168_c234_c4c6_628b_80dc_1cd1);
    /// 1.0
    pub const ONE: Self = Self::positive(0, ONE);

    const fn positive(exponent: i32, significand: u128) -> Self {
        Self { sign: false, exponent, significand }
    }

    /// A finite number, exactly.
    pub fn from_unpacked(a: &Unpacked) -> Self {
        Self { sign: a.sign, exponent: a.exponent, significand: u128::from(a.significand) << 64 }
    }

    /// `value * 2^(exponent - 127)`, normalized.
    #[inline]
    pub fn from_fixed(sign: bool, value: u128, exponent: i32) -> Self {
        let shift = value.leading_zeros();
        if value == 0 {
            return Self { sign: false, exponent: i32::MIN / 4, significand: 0 };
        }
        Self { sign, exponent: exponent - shift as i32, significand: value << shift }
    }

    /// The same magnitude with a sign.
    pub fn with_sign(self, sign: bool) -> Self {
        Self { sign, ..self }
    }

    /// The same magnitude with the other sign.
    pub fn negated(self) -> Self {
        Self { sign: !self.sign, ..self }
    }

    /// Times a power of two.
    pub fn scaled(self, power: i32) -> Self {
        Self { exponent: self.exponent + power, ..self }
    }

    /// The next smaller magnitude: stands for a value just below an exact one.
    pub fn just_below(self) -> Self {
        Self::from_fixed(self.sign, self.significand - 1, self.exponent)
    }

    /// The magnitude, which is below 1, with 128 fraction bits.
    pub fn fraction(self) -> u128 {
        debug_assert!(self.exponent < 0);
        self.significand.checked_shr(self.exponent.unsigned_abs() - 1).unwrap_or(0)
    }

    /// Compares magnitudes.
    pub fn compare_magnitude(&self, other: &Self) -> Ordering {
        (self.exponent, self.significand).cmp(&(other.exponent, other.significand))
    }

    /// Sum.
    #[inline]
    pub fn plus(self, other: Self) -> Self {
        let (big, small) =
            if self.compare_magnitude(&other) == Ordering::Less { (other, self) } else { (self, other) };
        if small.significand == 0 {
            return big;
        }
        let low = shift_right_jam(small.significand, big.exponent.abs_diff(small.exponent));
        if big.sign != small.sign {
            return Self::from_fixed(big.sign, big.significand - low, big.exponent);
        }
        let (sum, carry) = big.significand.overflowing_add(low);
        if carry {
            return Self { significand: sum >> 1 | ONE, exponent: big.exponent + 1, ..big };
        }
        Self { significand: sum, ..big }
    }

    /// Difference.
    pub fn minus(self, other: Self) -> Self {
        self.plus(other.negated())
    }

    /// Product.
    #[inline]
    pub fn times(self, other: Self) -> Self {
        let high = multiply_high(self.significand, other.significand);
        Self::from_fixed(self.sign != other.sign, high, self.exponent + other.exponent + 1)
    }

    /// Quotient; neither is zero.
    pub fn over(self, other: Self) -> Self {
        let less = self.significand < other.significand;
        let high = if less { self.significand } else { self.significand >> 1 };
        let lost = if less { 0 } else { (self.significand << 127 >> 64) as u64 };
        let (first, rest) = divide_step(high, lost, other.significand);
        let (second, _) = divide_step(rest, 0, other.significand);
        Self {
            sign: self.sign != other.sign,
            exponent: self.exponent - other.exponent - i32::from(less),
            significand: u128::from(first) << 64 | u128::from(second),
        }
    }

    /// Does a value that lies within a part of 2^`bits` of this one, of 66 to 126, round to the same 64 bits as it in
    /// every mode?
    pub fn rounds_with(&self, bits: u32) -> bool {
        const HALF: u64 = 1 << 63;
        let off = 1 << (128 - bits).min(62);
        (self.significand as u64).wrapping_add(off) % HALF >= 2 * off
    }

    /// Rounds an inexact result: the true value lies just above this truncated one.
    #[inline]
    pub fn finish(self, env: &Env, flags: Flags) -> Out<F80> {
        let (high, low) = ((self.significand >> 64) as u64, self.significand as u64 | 1);
        round_pack(self.sign, self.exponent, high, low, &env.extended(), flags)
    }
}

/// Upper half of the 256-bit product.
pub const fn multiply_high(a: u128, b: u128) -> u128 {
    const LOW: u128 = u64::MAX as u128;
    let (a1, a0, b1, b0) = (a >> 64, a & LOW, b >> 64, b & LOW);
    let middle = ((a0 * b0) >> 64) + ((a1 * b0) & LOW) + ((a0 * b1) & LOW);
    a1 * b1 + ((a1 * b0) >> 64) + ((a0 * b1) >> 64) + (middle >> 64)
}

/// One 64-bit digit of the quotient of `high.next` by a normalized divisor above `high`, and the remainder.
fn divide_step(high: u128, next: u64, divisor: u128) -> (u64, u128) {
    let (top, low) = (divisor >> 64, divisor & u128::from(u64::MAX));
    let mut digit = (high / top).min(u128::from(u64::MAX));
    let mut rest = high - digit * top;
    // The estimate is at most two too large.
    while rest >> 64 == 0 && digit * low > (rest << 64 | u128::from(next)) {
        digit -= 1;
        rest += top;
    }
    let rest = (rest << 64 | u128::from(next)).wrapping_sub(digit * low);
    (digit as u64, rest)
}

/// `sum of coefficients[i] * (-x)^i` for x below 1 with 128 fraction bits; the coefficients have 127 and fall.
pub fn alternating_series(coefficients: &[u128], x: u128) -> u128 {
    let (first, rest) = split(coefficients, x);
    let low = rest.iter().rev().fold(0, |sum, c| (c >> 64) as u64 - multiply_high_64(sum, (x >> 64) as u64));
    first.iter().rev().fold(u128::from(low) << 64, |sum, c| c - multiply_high(sum, x))
}

/// `sum of coefficients[i] * x^i`, likewise.
pub fn series(coefficients: &[u128], x: u128) -> u128 {
    let (first, rest) = split(coefficients, x);
    let low = rest.iter().rev().fold(0, |sum, c| (c >> 64) as u64 + multiply_high_64(sum, (x >> 64) as u64));
    first.iter().rev().fold(u128::from(low) << 64, |sum, c| c + multiply_high(sum, x))
}

/// The terms that need all 128 bits, and those for which 64 are enough as the power of x before them is small.
/// Smaller ones are left out.
fn split(coefficients: &[u128], x: u128) -> (&[u128], &[u128]) {
    /// Bits that 64-bit terms lack at the end of the sum, and those that no sum needs.
    const NARROW: usize = 57;
    const NONE: usize = 104;
    let zeros = (x.leading_zeros() as usize).max(1);
    let count = coefficients.len();
    let end = if x >> 127 == 0 { count.min(NONE / zeros + 2) } else { count };
    let narrow = if x >> 127 == 0 { end.min(NARROW.div_ceil(zeros)) } else { end };
    (&coefficients[..narrow], &coefficients[narrow..end])
}

/// As [`alternating_series`], of an x below 2^-12 and with as many terms as there are: those from `WIDE` on need 64
/// bits only.
pub fn short_alternating_series<const WIDE: usize>(coefficients: &[u128], x: u128) -> u128 {
    let (first, rest) = coefficients.split_at(WIDE);
    let low = rest.iter().rev().fold(0, |sum, c| (c >> 64) as u64 - multiply_high_64(sum, (x >> 64) as u64));
    first.iter().rev().fold(u128::from(low) << 64, |sum, c| c - multiply_high(sum, x))
}

/// Upper half of the 128-bit product.
pub fn multiply_high_64(a: u64, b: u64) -> u64 {
    ((u128::from(a) * u128::from(b)) >> 64) as u64
}

/// 1 / (first + i * step)! with 127 fraction bits.
pub const fn inverse_factorials<const N: usize>(first: u32, step: u32) -> [u128; N] {
    let mut table = [0; N];
    let (mut value, mut factor, mut i) = (ONE, 1, 0);
    while i < N {
        while factor <= first + i as u32 * step {
            value /= factor as u128;
            factor += 1;
        }
        table[i] = value;
        i += 1;
    }
    table
}

/// 1 / (2 i + 1) with 127 fraction bits.
pub const fn inverse_odds<const N: usize>() -> [u128; N] {
    let mut table = [0; N];
    let mut i = 0;
    while i < N {
        table[i] = ONE / (2 * i as u128 + 1);
        i += 1;
    }
    table
}
