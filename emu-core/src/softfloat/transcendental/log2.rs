//! FYL2X and FYL2XP1.

use super::wide::{Wide, inverse_odds, multiply_high, series};
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
    let (x, y) = (Wide::from_unpacked(&x), Wide::from_unpacked(&y));
    let (logarithm, bits) = log2_quick(x);
    let product = logarithm.times(y);
    let product = if product.rounds_with(bits - 1) { product } else { log2_wide(x).times(y) };
    product.finish(env, flags)
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

/// Reciprocals of numbers from about 0.7 to 1.42 in steps of 1 / 128, in units of 1 / 256, and minus their logarithms
/// to base 2 with 127 fraction bits. That of both steps next to 1 is 1.
const COARSE: [(u16, i128); 92] = {
    let mut table = [(256, 0); 92];
    let mut step = 0;
    while step < 92 {
        let middle = 2 * (step + FIRST_STEP) + 1;
        let reciprocal =
            if middle == 255 || middle == 257 { 256 } else { (2 * 256 * 128 + middle / 2) / middle };
        table[step] = (reciprocal as u16, log2_of_ratio(256, reciprocal as i128));
        step += 1;
    }
    table
};

/// The step of the least number.
const FIRST_STEP: usize = 90;

/// Minus logarithms to base 2 of 1 - n / 8192, likewise, from n = -[`FINE_STEPS`] on.
const FINE: [i128; 2 * FINE_STEPS + 1] = {
    let mut table = [0; 2 * FINE_STEPS + 1];
    let mut n = 0;
    while n < table.len() {
        table[n] = log2_of_ratio(8192, 8192 + FINE_STEPS as i128 - n as i128);
        n += 1;
    }
    table
};

const FINE_STEPS: usize = 80;

/// Coefficients of log2(1 + x) / x, for -x.
const LOG2_SERIES: [u128; 9] = {
    let mut table = [Wide::LOG2_E.significand; 9];
    let mut n = 1;
    while n < 9 {
        table[n] /= n as u128 + 1;
        n += 1;
    }
    table
};

/// log2(a / b) with 127 fraction bits, for small numbers near each other: 2 atanh((a - b) / (a + b)) times log2(e).
const fn log2_of_ratio(a: i128, b: i128) -> i128 {
    let s = ((a - b).unsigned_abs() << 110) / (a + b) as u128;
    let s = (s << 18) + (((((a - b).unsigned_abs() << 110) % (a + b) as u128) << 18) / (a + b) as u128);
    let square = multiply_high(s, s);
    let mut sum = 0;
    let mut term = SERIES.len();
    while term > 0 {
        term -= 1;
        sum = SERIES[term] + multiply_high(sum, square);
    }
    let logarithm = (multiply_high(multiply_high(s, sum), Wide::LOG2_E.significand) << 2) as i128;
    if a < b { -logarithm } else { logarithm }
}

/// A number taken apart: `power` and `known`, with 127 fraction bits, are parts of its logarithm to base 2, and the
/// rest is that of 1 + `rest`, likewise, which is below 2^-12.
struct Parts {
    power: i32,
    known: i128,
    rest: i128,
    /// Nothing is known but the power: the rest says all.
    near_one: bool,
}

impl Parts {
    fn of(x: Wide) -> Self {
        let above = x.significand > SQRT_2;
        // From 0.7 to 1.42 with 127 fraction bits, of which those from the 65th on are clear.
        let m = x.significand >> u8::from(above);
        let (reciprocal, coarse) = COARSE[(m >> 120) as usize - FIRST_STEP];
        // Near 1, exactly.
        let near = (m >> 8) * u128::from(reciprocal);
        let off = near.wrapping_sub(1 << 127) as i128;
        let step = (off + (1 << 113)) >> 114;
        Self {
            power: x.exponent + i32::from(above),
            known: coarse + FINE[(step + FINE_STEPS as i128) as usize],
            rest: off - step * (near >> 13) as i128,
            near_one: step == 0 && coarse == 0,
        }
    }

    /// The logarithm, of which the rest's is `fraction`.
    fn whole(&self, fraction: Wide) -> Wide {
        if self.power == 0 {
            return fraction;
        }
        Wide::from_fixed(self.power < 0, u128::from(self.power.unsigned_abs()), 127).plus(fraction)
    }
}

/// Logarithm to base 2 of a positive number other than a power of two.
#[inline(never)]
fn log2_wide(x: Wide) -> Wide {
    let parts = Parts::of(x);
    let (negative, magnitude) = (parts.rest < 0, parts.rest.unsigned_abs());
    // The terms from the fifth on need 64 bits only.
    let (wide, narrow) = LOG2_SERIES.split_at(5);
    let short = (parts.rest >> 63) as i64;
    let low = narrow
        .iter()
        .rev()
        .fold(0, |sum: i64, c| (c >> 65) as i64 - ((i128::from(sum) * i128::from(short)) >> 64) as i64);
    let mut sum = (low as u128) << 65;
    for c in wide.iter().rev() {
        let product = multiply_high(sum, magnitude << 1);
        sum = if negative { c + product } else { c - product };
    }
    parts.whole(if parts.near_one {
        Wide::from_fixed(negative, magnitude, 0).times(Wide::from_fixed(false, sum, 0))
    } else {
        let product = (multiply_high(magnitude << 8, sum) >> 7) as i128;
        let total = parts.known + if negative { -product } else { product };
        Wide::from_fixed(total < 0, total.unsigned_abs(), 0)
    })
}

/// The same with 64-bit arithmetic for the small parts of it. Says to how many bits it is exact.
fn log2_quick(x: Wide) -> (Wide, u32) {
    /// Coefficients from the second on, with 62 fraction bits and 12 less for each further power.
    const SERIES: [i64; 5] = {
        let mut table = [0; 5];
        let mut n = 0;
        while n < 5 {
            table[n] = (LOG2_SERIES[n + 1] >> (65 + 12 * n)) as i64;
            n += 1;
        }
        table
    };
    let times = |a: i64, b: i64| ((i128::from(a) * i128::from(b)) >> 63) as i64;
    let parts = Parts::of(x);
    let (negative, magnitude) = (parts.rest < 0, parts.rest.unsigned_abs());
    // In units of 2^-75.
    let short = (parts.rest >> 52) as i64;
    let sum = SERIES[..4].iter().rev().fold(SERIES[4], |sum, c| c - times(sum, short));
    if parts.near_one {
        let sum = LOG2_SERIES[0].wrapping_add_signed(-(i128::from(times(sum, short)) << 53));
        let fraction = Wide::from_fixed(negative, magnitude, 0).times(Wide::from_fixed(false, sum, 0));
        return (parts.whole(fraction), 71);
    }
    let first = (multiply_high(magnitude << 8, LOG2_SERIES[0]) >> 7) as i128;
    let others = i128::from(times(sum, times(short, short))) << 41;
    let total = parts.known + if negative { -first } else { first } - others;
    let logarithm = parts.whole(Wide::from_fixed(total < 0, total.unsigned_abs(), 0));
    // The error is below 2^-83.
    (logarithm, (84 + logarithm.exponent.min(30)) as u32)
}

/// 2 atanh(s) = ln((1 + s) / (1 - s)) for a magnitude of at most 0.172.
fn two_atanh(s: Wide) -> Wide {
    let sum = series(&SERIES, s.times(s).fraction());
    s.times(Wide::from_fixed(false, sum, 0)).scaled(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By one series for all, as [`log2_wide`] does not.
    fn by_one_series(m: Wide) -> Wide {
        two_atanh(m.minus(Wide::ONE).over(m.plus(Wide::ONE))).times(Wide::LOG2_E)
    }

    #[test]
    fn logarithms_by_tables_agree_with_one_series() {
        let (mut significand, mut quickly) = (0x9e37_79b9_7f4a_7c15u64, 0);
        for n in 0..200_000u32 {
            significand = significand.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(n.into());
            // Everywhere, and in the neighbourhood of 1.
            let near_one = (significand >> 12) >> (n % 40);
            let (exponent, bits) = match n % 3 {
                0 => (0, near_one),
                1 => (-1, !near_one),
                _ => (-i32::from(significand > (SQRT_2 >> 64) as u64), significand),
            };
            let m = Wide { sign: false, exponent, significand: u128::from(bits | 1 << 63) << 64 };
            if m.significand == 1 << 127
                || exponent == 0 && m.significand > SQRT_2
                || exponent == -1 && m.significand < SQRT_2
            {
                continue;
            }
            let slow = by_one_series(m);
            let (quick, bits) = log2_quick(m);
            if quick.rounds_with(bits) {
                let wide = log2_wide(m);
                assert_eq!(
                    (quick.exponent, quick.significand >> 63),
                    (wide.exponent, wide.significand >> 63),
                    "{m:x?}"
                );
                quickly += 1;
            }
            for (fast, bits) in [(log2_wide(m), 108), (quick, bits as i32)] {
                let difference = fast.minus(slow);
                let agree = difference.significand == 0 || difference.exponent <= slow.exponent - bits;
                assert!(agree && fast.sign == slow.sign, "{m:x?}: {fast:x?} and {slow:x?}");
            }
        }
        assert!(quickly > 100_000, "{quickly}");
    }
}
