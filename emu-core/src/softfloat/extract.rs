//! FXTRACT: exponent and significand apart. SDM vol. 2, "FXTRACT".

use super::{Class, Env, F80, Flags, Format, Unpacked, nan};

/// Outcome of FXTRACT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extracted {
    /// The unbiased exponent as a number, which replaces ST(0).
    pub exponent: F80,
    /// The significand with exponent 0 and the operand's sign, which is pushed.
    pub significand: F80,
    /// Flags raised.
    pub flags: Flags,
}

/// Takes a number apart; zero gives exponent minus infinity and ZE.
pub fn extract(a: F80, env: &Env) -> Extracted {
    let a = a.unpack();
    let both = |value, flags| Extracted { exponent: value, significand: value, flags };
    let flags = match a.class {
        Class::Zero => {
            return Extracted {
                exponent: F80::infinity(true),
                significand: F80::zero(a.sign),
                flags: Flags::DIVIDE_BY_ZERO,
            };
        }
        Class::Infinity => {
            return Extracted {
                exponent: F80::infinity(false),
                significand: F80::infinity(a.sign),
                flags: Flags::NONE,
            };
        }
        Class::Normal => Flags::NONE,
        Class::Denormal => Flags::DENORMAL,
        _ => {
            let out = nan::propagate_one(&a);
            return both(out.value, out.flags);
        }
    };
    if env.traps(flags) {
        return both(F80::indefinite(), flags);
    }
    let number = Unpacked::from_magnitude(a.exponent < 0, u64::from(a.exponent.unsigned_abs()), 0);
    let exponent = match number.class {
        Class::Zero => F80::zero(false),
        _ => F80::pack(number.sign, number.exponent + F80::EMAX, number.significand),
    };
    Extracted { exponent, significand: F80::pack(a.sign, F80::EMAX, a.significand), flags }
}
