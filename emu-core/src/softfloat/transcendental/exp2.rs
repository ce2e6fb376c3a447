//! F2XM1.

use super::wide::{Wide, alternating_series, inverse_factorials, series};
use crate::softfloat::{Class, Env, F80, Flags, Format, Out, nan};

/// 1 / (n + 1)! from n = 0: (e^t - 1) / t.
const SERIES: [u128; 34] = inverse_factorials(1, 1);

/// F2XM1: 2^a - 1 for a from -1 to 1; beyond, where the manual leaves the result open, the operand stays.
/// PE is reported for every finite operand but zero, also where the result is exact.
pub fn power_of_two_minus_one(a: F80, env: &Env) -> Out<F80> {
    let value = a;
    let a = a.unpack();
    let flags = match a.class {
        Class::Zero => return Out::new(value, Flags::NONE),
        Class::Infinity if a.sign => return Out::new(F80::pack(true, F80::EMAX, 1 << 63), Flags::NONE),
        Class::Infinity => return Out::new(value, Flags::NONE),
        Class::Normal => Flags::NONE,
        Class::Denormal => Flags::DENORMAL,
        _ => return nan::propagate_one(&a),
    };
    if env.traps(flags) {
        return Out::new(F80::indefinite(), flags);
    }
    if a.exponent >= 0 {
        let one = a.exponent == 0 && a.significand == 1 << 63;
        let value = if one && a.sign { F80::pack(true, F80::EMAX - 1, 1 << 63) } else { value };
        return Out::new(value, flags | Flags::PRECISION);
    }
    let t = Wide::from_unpacked(&a).times(Wide::LN_2);
    let sum = if a.sign { alternating_series(&SERIES, t.fraction()) } else { series(&SERIES, t.fraction()) };
    t.times(Wide::from_fixed(false, sum, 0)).finish(env, flags)
}
