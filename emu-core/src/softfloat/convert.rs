//! Conversions between the formats, and to and from integers.

use super::round::{integer_magnitude, round_pack, round_unpacked};
use super::{Class, Env, F16, F32, Flags, Format, Out, Unpacked, nan};

/// From one format to another: CVTSS2SD, CVTSD2SS, FLD and FST with 32 and 64-bit memory operands.
///
/// FST does not report a denormal in the register; the others report a denormal operand. FLD of a denormal gives
/// its value even when DE is unmasked: the exception is delivered after the load.
pub fn convert<F: Format, G: Format>(a: F, env: &Env) -> Out<G> {
    let a = a.unpack().daz(env);
    let flags = match a.class {
        Class::Zero => return Out::new(G::zero(a.sign), Flags::NONE),
        Class::Infinity => return Out::new(G::infinity(a.sign), Flags::NONE),
        Class::Normal => Flags::NONE,
        Class::Denormal => Flags::DENORMAL.when(!F::X87),
        _ => return nan::propagate_one(&a),
    };
    if env.traps(flags) && !G::X87 {
        return Out::new(G::indefinite(), flags);
    }
    let out = round_unpacked(&a, env, flags);
    if F::X87 && env.traps(out.flags & (Flags::OVERFLOW | Flags::UNDERFLOW)) {
        // Nothing is stored, so nothing is inexact. SDM vol. 1, "Inexact-Result (Precision) Exception (#P)".
        return Out::new(out.value, out.flags & !Flags::PRECISION);
    }
    out
}

/// VCVTPH2PS: exact, and denormals are neither reported nor flushed.
pub fn single_from_half(a: F16, env: &Env) -> Out<F32> {
    let quiet_env = Env { daz: false, masked: Flags::ALL, ..*env };
    let out = convert::<F16, F32>(a, &quiet_env);
    Out { flags: out.flags & Flags::INVALID, ..out }
}

/// VCVTPS2PH: DAZ counts, FTZ does not. SDM vol. 2, "VCVTPS2PH".
pub fn half_from_single(a: F32, env: &Env) -> Out<F16> {
    convert(a, &Env { ftz: false, ..*env })
}

/// An integer type that values convert to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Integer {
    /// Width in bits: 16, 32 or 64.
    pub bits: u32,
    /// Two's complement.
    pub signed: bool,
}

impl Integer {
    /// 16 bits, signed.
    pub const I16: Self = Self { bits: 16, signed: true };
    /// 32 bits, signed.
    pub const I32: Self = Self { bits: 32, signed: true };
    /// 64 bits, signed.
    pub const I64: Self = Self { bits: 64, signed: true };
    /// 32 bits, unsigned.
    pub const U32: Self = Self { bits: 32, signed: false };
    /// 64 bits, unsigned.
    pub const U64: Self = Self { bits: 64, signed: false };

    fn mask(self) -> u64 {
        u64::MAX >> (64 - self.bits)
    }

    /// The integer indefinite: the smallest signed value, or all ones.
    pub fn indefinite(self) -> u64 {
        if self.signed { 1 << (self.bits - 1) } else { self.mask() }
    }
}

/// To an integer with `env.rounding`: CVTSD2SI, FIST and their kind; the result is zero-extended from its width.
///
/// NaN, infinity and out of range give the integer indefinite and IE. Denormal operands are not reported.
pub fn to_integer<F: Format>(a: F, to: Integer, env: &Env) -> Out<u64> {
    let a = a.unpack().daz(env);
    let invalid = Out::new(to.indefinite(), Flags::INVALID);
    if a.class >= Class::Infinity {
        return invalid;
    }
    let Some((magnitude, inexact, rounded_up)) = integer_magnitude(&a, env.rounding) else {
        return invalid;
    };
    let limit = match (to.signed, a.sign) {
        (true, false) => u128::from(to.mask() >> 1),
        (true, true) => u128::from(to.mask() >> 1) + 1,
        (false, false) => u128::from(to.mask()),
        (false, true) => 0,
    };
    if magnitude > limit {
        return invalid;
    }
    let value = if a.sign { (magnitude as u64).wrapping_neg() } else { magnitude as u64 };
    Out { value: value & to.mask(), flags: Flags::PRECISION.when(inexact), rounded_up }
}

/// From an integer, given as sign and magnitude: CVTSI2SD, FILD.
pub fn from_integer<F: Format>(sign: bool, magnitude: u64, env: &Env) -> Out<F> {
    let a = Unpacked::from_magnitude(sign, magnitude, 0);
    if a.class == Class::Zero {
        return Out::new(F::zero(false), Flags::NONE);
    }
    round_pack(sign, a.exponent, a.significand, 0, env, Flags::NONE)
}
