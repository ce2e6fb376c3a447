//! Square root.

use super::round::round_pack;
use super::{Class, Env, Flags, Format, Out, nan};

/// Square root: SQRTSS, SQRTSD, FSQRT.
pub fn sqrt<F: Format>(a: F, env: &Env) -> Out<F> {
    let a = a.unpack().daz(env);
    let flags = match a.class {
        Class::Zero => return Out::new(F::zero(a.sign), Flags::NONE),
        _ if a.is_nan() => return nan::propagate_one(&a),
        _ if a.sign => return nan::invalid(),
        Class::Infinity => return Out::new(F::infinity(false), Flags::NONE),
        Class::Denormal => Flags::DENORMAL,
        _ => Flags::NONE,
    };
    if env.traps(flags) {
        return Out::new(F::indefinite(), flags);
    }
    // An even exponent leaves the significand's scale 2^126, an odd one doubles it: the root has its top bit at 63.
    let radicand = u128::from(a.significand) << (63 + (a.exponent & 1));
    let root = integer_root(radicand);
    let rest = radicand - u128::from(root) * u128::from(root);
    // (root + 1/2)^2 = root^2 + root + 1/4: a remainder above the root is above half a unit, and never exactly half.
    let low = if rest > u128::from(root) { 1 << 63 | 1 } else { u64::from(rest != 0) };
    round_pack(false, a.exponent >> 1, root, low, env, flags)
}

/// Largest integer whose square is at most `radicand`, which is at least 2^126.
fn integer_root(radicand: u128) -> u64 {
    // The 53-bit estimate is off by less than 2^12: one Newton step, for which the upper bits of the difference of
    // at most 2^77 are enough, leaves a unit or two.
    let estimate = (radicand as f64).sqrt();
    let mut root = if estimate >= 18_446_744_073_709_551_615.0 { u64::MAX } else { estimate as u64 };
    let square = u128::from(root) * u128::from(root);
    let step = (square.abs_diff(radicand) >> 16) as u64 / (root >> 15);
    root = if square <= radicand { root.saturating_add(step) } else { root - step };
    while u128::from(root) * u128::from(root) > radicand {
        root -= 1;
    }
    while u128::from(root) * 2 < radicand - u128::from(root) * u128::from(root) {
        root += 1;
    }
    root
}
