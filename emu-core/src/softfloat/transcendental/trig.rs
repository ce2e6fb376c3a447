//! FSIN, FCOS, FSINCOS and FPTAN.

use super::wide::{
    Wide, alternating_series, inverse_factorials, multiply_high, multiply_high_64, short_alternating_series,
};
use crate::softfloat::{Class, Env, F80, Flags, Format, Out, Unpacked, nan};

/// Half of the 66-bit pi, in units of 2^-65. SDM vol. 1, "Approximation of Pi".
const HALF_PI: u128 = 0xc_90fd_aa22_168c_234c >> 2;

const SINE: [u128; 17] = inverse_factorials(1, 2);
const COSINE: [u128; 17] = inverse_factorials(0, 2);

/// Bits of the angles whose sines and cosines are known.
const KNOWN: u32 = 7;

/// Sine and cosine of k / 128 from k = 1, with 128 fraction bits.
const KNOWN_ANGLES: [(u128, u128); 100] = known_angles();

const fn known_angles() -> [(u128, u128); 100] {
    let mut table = [(0, 0); 100];
    let mut k = 1;
    while k <= 100 {
        let x = (k as u128) << (128 - KNOWN);
        let square = multiply_high(x, x);
        let (mut sine, mut cosine) = (0, 0);
        let mut term = SINE.len();
        while term > 0 {
            term -= 1;
            sine = SINE[term] - multiply_high(sine, square);
            cosine = COSINE[term] - multiply_high(cosine, square);
        }
        table[k - 1] = (multiply_high(x, sine) << 1, cosine << 1);
        k += 1;
    }
    table
}

/// Coefficients for [`quick`], as fractions of 64 bits: of 1 - sin(x) / x and of 1 - cos(x), both over x^2, with 2
/// [`KNOWN`] bits less for each further square.
const QUICK_SINE: [u64; 4] = fractions([6, 120, 5040, 362_880]);
const QUICK_COSINE: [u64; 4] = fractions([2, 24, 720, 40320]);

const fn fractions(divisors: [u128; 4]) -> [u64; 4] {
    let mut table = [0; 4];
    let mut n = 0;
    while n < 4 {
        table[n] = (((1 << 64) / divisors[n]) >> (2 * KNOWN * n as u32)) as u64;
        n += 1;
    }
    table
}

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
    let (quadrant, x) = reduce(&a);
    let both = both(x);
    let (sine, cosine) = (sine_of_quadrant(&a, quadrant, both), cosine_of_quadrant(quadrant, both));
    Some((sine.finish(env, Flags::NONE), cosine.finish(env, Flags::NONE)))
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
    let (turns, rest) = match a.exponent {
        ..32 => few_turns(a, angle),
        _ => (angle / HALF_PI, angle % HALF_PI),
    };
    let past_middle = 2 * rest > HALF_PI;
    let rest = if past_middle { HALF_PI - rest } else { rest };
    ((turns as u8).wrapping_add(u8::from(past_middle)) & 3, Wide::from_fixed(past_middle, rest, 62))
}

/// Quotient and remainder by half of pi of an angle below 2^32, without a division.
fn few_turns(a: &Unpacked, angle: u128) -> (u128, u128) {
    /// 2 / pi, a little less than that, with 64 fraction bits.
    const TURN: u64 = 0xa2f9_836e_4e44_1529;
    let turns = (u128::from(a.significand) * u128::from(TURN)) >> (126 - a.exponent) >> 1;
    let rest = angle - turns * HALF_PI;
    if rest >= HALF_PI { (turns + 1, rest - HALF_PI) } else { (turns, rest) }
}

/// Sine and cosine of an angle of at most a quarter of pi, exact enough to be rounded to 64 bits.
#[inline(always)]
fn both(x: Wide) -> (Wide, Wide) {
    quick(x).unwrap_or_else(|| precise(x))
}

/// The same with 108 bits and more.
#[cold]
fn precise(x: Wide) -> (Wide, Wide) {
    if x.exponent < TINY {
        return (x.just_below(), Wide::ONE.just_below());
    }
    let angle = x.fraction();
    let known = (angle >> (128 - KNOWN)) as usize;
    if known == 0 {
        let square = x.times(x).fraction();
        let sine = x.times(Wide::from_fixed(false, alternating_series(&SINE, square), 0));
        return (sine, Wide::from_fixed(false, alternating_series(&COSINE, square), 0));
    }
    // Of the sum of a known angle and a rest.
    let (known_sine, known_cosine) = KNOWN_ANGLES[known - 1];
    let rest = angle & ((1 << (128 - KNOWN)) - 1);
    let square = multiply_high(rest, rest);
    let sine = multiply_high(rest, short_alternating_series::<5>(&SINE[..7], square));
    let cosine = short_alternating_series::<5>(&COSINE[..8], square);
    let of_sum = multiply_high(known_sine, cosine) + multiply_high(known_cosine, sine);
    let cosine_of_sum = multiply_high(known_cosine, cosine) - multiply_high(known_sine, sine);
    (Wide::from_fixed(x.sign, of_sum, 0), Wide::from_fixed(false, cosine_of_sum, 0))
}

/// The same where 64-bit arithmetic for the small parts of it is good enough: nearly always.
#[inline(always)]
fn quick(x: Wide) -> Option<(Wide, Wide)> {
    /// The error is below 2^-[`BITS`].
    const BITS: u32 = 74;
    if x.exponent < -(KNOWN as i32) {
        return None;
    }
    let angle = x.fraction();
    let (known_sine, known_cosine) = KNOWN_ANGLES[(angle >> (128 - KNOWN)) as usize - 1];
    let rest = angle & ((1 << (128 - KNOWN)) - 1);
    // Fractions in units of 2^-71, and then 2^-78.
    let short = (rest >> (64 - KNOWN)) as u64;
    let square = multiply_high_64(short, short);
    let series = |c: &[u64; 4]| {
        let sum = c[..3].iter().rev().fold(c[3], |sum, c| c - multiply_high_64(sum, square));
        multiply_high_64(square, sum)
    };
    let (less_of_sine, less_of_cosine) = (series(&QUICK_SINE), series(&QUICK_COSINE));
    let cubic = multiply_high_64(short, less_of_sine);
    let (s, c) = ((known_sine >> 64) as u64, (known_cosine >> 64) as u64);
    let third = |of: u64| u128::from(multiply_high_64(of, cubic)) << (64 - 3 * KNOWN);
    let second = |of: u64| u128::from(multiply_high_64(of, less_of_cosine)) << (64 - 2 * KNOWN);
    let sine = known_sine + multiply_high(known_cosine, rest) - third(c) - second(s);
    let cosine = known_cosine - multiply_high(known_sine, rest) + third(s) - second(c);
    let wide = |sign: bool, value: u128| {
        let bits = BITS - value.leading_zeros();
        let wide = Wide::from_fixed(sign, value, -1);
        wide.rounds_with(bits).then_some(wide)
    };
    Some((wide(x.sign, sine)?, wide(false, cosine)?))
}

fn sine_wide(a: &Unpacked, (quadrant, x): (u8, Wide)) -> Wide {
    sine_of_quadrant(a, quadrant, both(x))
}

fn cosine_wide((quadrant, x): (u8, Wide)) -> Wide {
    cosine_of_quadrant(quadrant, both(x))
}

/// The sine of an angle of which sine and cosine of the rest in its quadrant are known.
fn sine_of_quadrant(a: &Unpacked, quadrant: u8, (sine, cosine): (Wide, Wide)) -> Wide {
    let value = if quadrant & 1 == 0 { sine } else { cosine };
    value.with_sign(value.sign ^ (quadrant & 2 != 0) ^ a.sign)
}

/// The cosine, likewise.
fn cosine_of_quadrant(quadrant: u8, (sine, cosine): (Wide, Wide)) -> Wide {
    match quadrant {
        0 => cosine,
        1 => sine.negated(),
        2 => cosine.with_sign(true),
        _ => sine,
    }
}

fn tangent_wide(a: &Unpacked) -> Wide {
    let (quadrant, x) = reduce(a);
    let value = match (quadrant & 1, x.exponent < TINY) {
        (0, true) => x, // x + x^3 / 3
        (0, false) => {
            let (sine, cosine) = precise(x);
            sine.over(cosine)
        }
        // The cotangent: 1 / x - x / 3 - x^3 / 45
        (_, true) => Wide::ONE.over(x).minus(x.over(Wide::from_fixed(false, 3, 127))).negated(),
        (_, false) => {
            let (sine, cosine) = precise(x);
            cosine.over(sine).negated()
        }
    };
    value.with_sign(value.sign ^ a.sign)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_with_known_angles_agree_with_one_series() {
        let (mut bits, mut quickly, mut all) = (0x9e37_79b9_7f4a_7c15u64, 0, 0);
        for n in 0..200_000u32 {
            bits = bits.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(n.into());
            let x = Wide::from_fixed(false, u128::from(bits >> (n % 12)) << 64, -1);
            if x.exponent < TINY || x.significand > Wide::PI.significand && x.exponent == -1 {
                continue;
            }
            let square = x.times(x).fraction();
            let sine = x.times(Wide::from_fixed(false, alternating_series(&SINE, square), 0));
            let cosine = Wide::from_fixed(false, alternating_series(&COSINE, square), 0);
            let near = |ours: Wide, series: Wide, exponent: i32| {
                let difference = ours.minus(series);
                difference.significand == 0 || difference.exponent < exponent
            };
            let (s, c) = precise(x);
            assert!(near(s, sine, sine.exponent - 116) && near(c, cosine, -117), "{x:x?}: {s:x?} and {c:x?}");
            all += 1;
            if let Some((quick_s, quick_c)) = quick(x) {
                quickly += 1;
                // All that any mode of rounding looks at.
                let rounded = |w: Wide| (w.exponent, w.significand >> 63);
                assert_eq!((rounded(quick_s), rounded(quick_c)), (rounded(s), rounded(c)), "{x:x?}");
                assert!(
                    near(quick_s, sine, -74) && near(quick_c, cosine, -74),
                    "{x:x?}: {quick_s:x?} and {quick_c:x?}"
                );
            }
        }
        assert!(quickly > all / 3, "{quickly} of {all}");
    }

    #[test]
    fn few_turns_are_those_of_a_division() {
        let mut met = 0;
        for exponent in -1..32 {
            for part in 0..128 {
                let turns = (part << exponent.max(0)) / 64;
                for beside in -2..=2 {
                    let significand = ((turns * HALF_PI) as i128 >> (exponent + 2)) + beside;
                    let Ok(significand @ 0x8000_0000_0000_0000..) = u64::try_from(significand) else {
                        continue;
                    };
                    let a = Unpacked { significand, exponent, ..F80::zero(false).unpack() };
                    let angle = u128::from(significand) << (exponent + 2);
                    assert_eq!(few_turns(&a, angle), (angle / HALF_PI, angle % HALF_PI), "{a:x?}");
                    met += 1;
                }
            }
        }
        assert!(met > 5000, "{met}");
    }
}
