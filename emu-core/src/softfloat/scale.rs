//! FSCALE: multiplication by a power of two. SDM vol. 2, "FSCALE".

use super::round::{round_pack, round_unpacked};
use super::{Class, Env, F80, Flags, Format, Out, nan};

/// a * 2^trunc(b). Precision control has no effect.
pub fn scale(a: F80, b: F80, env: &Env) -> Out<F80> {
    let (a, b) = (a.unpack(), b.unpack());
    let env = env.extended();
    if a.is_nan() || b.is_nan() {
        return nan::propagate(&a, &b);
    }
    if b.class == Class::Infinity && a.class == (if b.sign { Class::Infinity } else { Class::Zero }) {
        return nan::invalid();
    }
    let flags = Flags::DENORMAL.when(a.class == Class::Denormal || b.class == Class::Denormal);
    if env.traps(flags) {
        return Out::new(F80::indefinite(), flags);
    }
    match (a.class, b.class) {
        (_, Class::Infinity) if b.sign => Out::new(F80::zero(a.sign), flags),
        (_, Class::Infinity) | (Class::Infinity, _) => Out::new(F80::infinity(a.sign), flags),
        (Class::Zero, _) => Out::new(F80::zero(a.sign), flags),
        (_, Class::Zero) => round_unpacked(&a, &env, flags),
        _ => {
            // Far more than any exponent can need: enough to overflow or vanish even after the wrap.
            let power = match b.exponent {
                ..0 => 0,
                0..20 => (b.significand >> (63 - b.exponent)) as i32,
                _ => 1 << 20,
            };
            let exponent = a.exponent + if b.sign { -power } else { power };
            round_pack(a.sign, exponent, a.significand, 0, &env, flags)
        }
    }
}
