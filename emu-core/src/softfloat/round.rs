//! Rounding an exact result into its format: overflow, underflow, inexact, and rounding to an integral value.

use super::format::INTEGER_BIT;
use super::{Class, Env, Flags, Format, Rounding, Unpacked, nan};

/// Outcome of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Out<T> {
    /// The result. Meaningless when an unmasked exception prevents one.
    pub value: T,
    /// The exceptions that the operation raised, masked or not.
    pub flags: Flags,
    /// The magnitude was rounded up: C1 of the x87 status word.
    pub rounded_up: bool,
}

impl<T> Out<T> {
    /// A result without rounding.
    #[inline]
    pub(super) fn new(value: T, flags: Flags) -> Self {
        Self { value, flags, rounded_up: false }
    }
}

/// Exponent adjustment of an unmasked overflow or underflow in an x87 register.
/// SDM vol. 1, "Numeric Overflow Exception (#O)".
const WRAP: i32 = 24576;
const HALF: u64 = 1 << 63;

/// Whether to round the magnitude up. `rest` is what is cut off, as a fraction of one unit in the last place.
#[inline]
pub(super) fn rounds_up(rounding: Rounding, sign: bool, odd: bool, rest: u64) -> bool {
    match rounding {
        Rounding::Nearest => rest > HALF || rest == HALF && odd,
        Rounding::Down => sign && rest != 0,
        Rounding::Up => !sign && rest != 0,
        Rounding::Zero => false,
    }
}

/// `value >> count` with every lost bit collected in the lowest one.
#[inline]
pub(super) fn shift_right_jam(value: u128, count: u32) -> u128 {
    match count {
        0 => value,
        1..128 => value >> count | u128::from(value << (128 - count) != 0),
        _ => u128::from(value != 0),
    }
}

struct Rounded {
    significand: u64,
    carry: bool,
    inexact: bool,
    up: bool,
}

/// Rounds a left-aligned significand, whose bits go on in `low`, to `precision` bits.
#[inline]
fn round_significand(sign: bool, high: u64, low: u64, precision: u32, rounding: Rounding) -> Rounded {
    let (mask, unit, rest) = if precision == 64 {
        (u64::MAX, 1, low)
    } else {
        (u64::MAX << (64 - precision), 1 << (64 - precision), high << precision | u64::from(low != 0))
    };
    let up = rounds_up(rounding, sign, high & unit != 0, rest);
    let (significand, carry) = (high & mask).overflowing_add(if up { unit } else { 0 });
    Rounded { significand: if carry { INTEGER_BIT } else { significand }, carry, inexact: rest != 0, up }
}

/// Rounds `(high.low) * 2^(exponent - 63)`, normalized so that bit 63 of `high` is set, into the format.
#[inline]
pub(super) fn round_pack<F: Format>(
    sign: bool,
    exponent: i32,
    high: u64,
    low: u64,
    env: &Env,
    flags: Flags,
) -> Out<F> {
    debug_assert!(high & INTEGER_BIT != 0);
    let precision = F::result_precision(env);
    if exponent < F::EMIN {
        return round_small(sign, exponent, high, low, env, flags);
    }
    let rounded = round_significand(sign, high, low, precision, env.rounding);
    let exponent = exponent + i32::from(rounded.carry);
    if exponent > F::EMAX {
        return overflow(sign, exponent, &rounded, env, flags);
    }
    Out {
        value: F::pack(sign, exponent + F::EMAX, rounded.significand),
        flags: flags | Flags::PRECISION.when(rounded.inexact),
        rounded_up: rounded.up,
    }
}

/// The number itself, rounded to the format.
#[inline]
pub(super) fn round_unpacked<F: Format>(a: &Unpacked, env: &Env, flags: Flags) -> Out<F> {
    round_pack(a.sign, a.exponent, a.significand, 0, env, flags)
}

/// SDM vol. 1, "Numeric Overflow Exception (#O)": masked result by rounding mode, or the wrapped exponent.
#[cold]
fn overflow<F: Format>(sign: bool, exponent: i32, rounded: &Rounded, env: &Env, flags: Flags) -> Out<F> {
    let flags = flags | Flags::OVERFLOW;
    if env.traps(Flags::OVERFLOW) {
        let wrapped = exponent - WRAP;
        let (value, inexact, up) = if F::X87 && wrapped <= F::EMAX {
            (F::pack(sign, wrapped + F::EMAX, rounded.significand), rounded.inexact, rounded.up)
        } else {
            (F::infinity(sign), F::X87 || rounded.inexact, F::X87 || rounded.up)
        };
        return Out { value, flags: flags | Flags::PRECISION.when(inexact), rounded_up: up };
    }
    let infinite = match env.rounding {
        Rounding::Nearest => true,
        Rounding::Down => sign,
        Rounding::Up => !sign,
        Rounding::Zero => false,
    };
    let value = if infinite {
        F::infinity(sign)
    } else {
        F::pack(sign, 2 * F::EMAX, u64::MAX << (64 - F::result_precision(env)))
    };
    Out { value, flags: flags | Flags::PRECISION, rounded_up: infinite }
}

/// A result below the normal range. Tiny is judged after rounding: as if the exponent had no bound, the rounded
/// result would still lie below the smallest normal. SDM vol. 1, "Numeric Underflow Exception (#U)".
#[cold]
fn round_small<F: Format>(sign: bool, exponent: i32, high: u64, low: u64, env: &Env, flags: Flags) -> Out<F> {
    let precision = F::result_precision(env);
    let unbounded = round_significand(sign, high, low, precision, env.rounding);
    let unbounded_exponent = exponent + i32::from(unbounded.carry);
    let tiny = unbounded_exponent < F::EMIN;
    if tiny && env.traps(Flags::UNDERFLOW) {
        let flags = flags | Flags::UNDERFLOW;
        let wrapped = unbounded_exponent + WRAP;
        let (value, inexact, up) = if F::X87 && wrapped >= F::EMIN {
            (F::pack(sign, wrapped + F::EMAX, unbounded.significand), unbounded.inexact, unbounded.up)
        } else {
            (F::zero(sign), F::X87 || unbounded.inexact, !F::X87 && unbounded.up)
        };
        return Out { value, flags: flags | Flags::PRECISION.when(inexact), rounded_up: up };
    }
    if tiny && env.ftz {
        return Out::new(F::zero(sign), flags | Flags::UNDERFLOW | Flags::PRECISION);
    }
    let shift = F::EMIN.abs_diff(exponent);
    let shifted = shift_right_jam(u128::from(high) << 64 | u128::from(low), shift);
    let rounded = round_significand(sign, (shifted >> 64) as u64, shifted as u64, precision, env.rounding);
    let raised = Flags::PRECISION.when(rounded.inexact) | Flags::UNDERFLOW.when(tiny && rounded.inexact);
    Out {
        value: F::pack(sign, i32::from(rounded.significand & INTEGER_BIT != 0), rounded.significand),
        flags: flags | raised,
        rounded_up: rounded.up,
    }
}

/// Integer part and rounding of a finite value: magnitude, inexact, rounded up. `None` from 2^64 on.
#[inline]
pub(super) fn integer_magnitude(a: &Unpacked, rounding: Rounding) -> Option<(u128, bool, bool)> {
    if a.class == Class::Zero {
        return Some((0, false, false));
    }
    if a.exponent >= 64 {
        return None;
    }
    let fixed = if a.exponent >= -1 {
        u128::from(a.significand) << (a.exponent + 1)
    } else {
        shift_right_jam(u128::from(a.significand), (-1 - a.exponent) as u32)
    };
    let (integer, rest) = (fixed >> 64, fixed as u64);
    let up = rounds_up(rounding, a.sign, integer & 1 != 0, rest);
    Some((integer + u128::from(up), rest != 0, up))
}

/// FRNDINT, ROUNDSS and ROUNDSD: to an integral value of the same format, with `env.rounding`.
///
/// FRNDINT reports denormal operands, the SSE4.1 instructions do not. Suppressing PE is up to the caller.
pub fn round_to_integral<F: Format>(a: F, env: &Env) -> Out<F> {
    let value = a;
    let a = a.unpack().daz(env);
    let flags = match a.class {
        Class::Zero => return Out::new(F::zero(a.sign), Flags::NONE),
        Class::Infinity => return Out::new(value, Flags::NONE),
        Class::Normal if a.exponent >= 63 => return Out::new(value, Flags::NONE),
        Class::Normal => Flags::NONE,
        Class::Denormal => Flags::DENORMAL.when(F::X87),
        _ => return nan::propagate_one(&a),
    };
    if env.traps(flags) {
        return Out::new(value, flags);
    }
    let (integer, inexact, up) = integer_magnitude(&a, env.rounding).expect("the exponent is below 63");
    let integral = Unpacked::from_magnitude(a.sign, integer as u64, 0);
    let flags = flags | Flags::PRECISION.when(inexact);
    let value = if integer == 0 {
        F::zero(a.sign)
    } else {
        F::pack(a.sign, integral.exponent + F::EMAX, integral.significand)
    };
    Out { value, flags, rounded_up: up }
}
