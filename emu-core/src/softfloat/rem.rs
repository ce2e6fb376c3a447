//! Partial remainder: FPREM and FPREM1. SDM vol. 2, "FPREM" and "FPREM1".

use super::round::{round_pack, round_unpacked};
use super::{Class, Env, F80, Flags, Format, Out, Unpacked, nan};

/// How the quotient is rounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RemainderKind {
    /// FPREM: toward zero.
    Truncate,
    /// FPREM1: to nearest even, the IEEE remainder.
    Nearest,
}

/// Outcome of one FPREM or FPREM1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remainder {
    /// Remainder and flags.
    pub out: Out<F80>,
    /// Low three bits of the quotient, for C0 (bit 2), C3 (bit 1) and C1 (bit 0). Zero when incomplete.
    pub quotient: u8,
    /// The reduction is not finished: C2.
    pub incomplete: bool,
}

/// a rem b, or a step towards it when the exponents are 64 or more apart.
pub fn remainder(a: F80, b: F80, kind: RemainderKind, env: &Env) -> Remainder {
    let (a, b) = (a.unpack(), b.unpack());
    let env = env.extended();
    let done = |out| Remainder { out, quotient: 0, incomplete: false };
    if a.is_nan() || b.is_nan() {
        return done(nan::propagate(&a, &b));
    }
    if a.class == Class::Infinity || b.class == Class::Zero {
        return done(nan::invalid());
    }
    let flags = Flags::DENORMAL.when(a.class == Class::Denormal || b.class == Class::Denormal);
    if env.traps(flags) {
        return done(Out::new(F80::indefinite(), flags));
    }
    if a.class == Class::Zero {
        return done(Out::new(F80::zero(a.sign), flags));
    }
    let distance = a.exponent - b.exponent;
    if b.class == Class::Infinity || distance < -1 || distance < 0 && kind == RemainderKind::Truncate {
        return done(round_unpacked(&a, &env, flags));
    }
    if distance >= 64 {
        // The manual leaves the step to the implementation, between 32 and 63 bits of quotient.
        let step = 32 + distance % 32;
        let rest = (u128::from(a.significand) << step) % u128::from(b.significand);
        let out = pack_rest(a.sign, rest, a.exponent - step, &env, flags);
        return Remainder { out, quotient: 0, incomplete: true };
    }
    divide(&a, &b, distance, kind, &env, flags)
}

fn divide(
    a: &Unpacked,
    b: &Unpacked,
    distance: i32,
    kind: RemainderKind,
    env: &Env,
    flags: Flags,
) -> Remainder {
    let divisor = u128::from(b.significand);
    let (mut quotient, mut rest, mut sign, mut exponent);
    if distance < 0 {
        // Half the divisor's scale: a is below b, and only its comparison with b / 2 matters.
        (quotient, rest, sign, exponent) = (0, u128::from(a.significand), a.sign, a.exponent);
        if rest > divisor {
            (quotient, rest, sign) = (1, 2 * divisor - rest, !a.sign);
        }
    } else {
        let dividend = u128::from(a.significand) << distance;
        (quotient, rest, sign, exponent) = (dividend / divisor, dividend % divisor, a.sign, b.exponent);
        let above_half = 2 * rest > divisor || 2 * rest == divisor && quotient & 1 != 0;
        if kind == RemainderKind::Nearest && above_half {
            (quotient, rest, sign) = (quotient + 1, divisor - rest, !a.sign);
        }
    }
    if rest == 0 {
        (sign, exponent) = (a.sign, 0);
    }
    let out = pack_rest(sign, rest, exponent, env, flags);
    Remainder { out, quotient: quotient as u8 & 7, incomplete: false }
}

/// `rest * 2^(exponent - 63)`, exact.
fn pack_rest(sign: bool, rest: u128, exponent: i32, env: &Env, flags: Flags) -> Out<F80> {
    if rest == 0 {
        return Out::new(F80::zero(sign), flags);
    }
    let shift = rest.leading_zeros();
    round_pack(sign, exponent + 64 - shift as i32, (rest << shift >> 64) as u64, 0, env, flags)
}
