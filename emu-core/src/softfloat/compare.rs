//! Comparison, minimum and maximum.

use std::cmp::Ordering;

use super::{Class, Env, Flags, Format, Out, Unpacked};

/// How two values relate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    /// a < b
    Less,
    /// a = b, zeros of either sign included.
    Equal,
    /// a > b
    Greater,
    /// One of them is a NaN.
    Unordered,
}

/// Compares a with b.
///
/// A quiet NaN is invalid for the `signalling` comparisons only (FCOM, COMISD, CMPSD with LT, LE and their
/// negations), a signalling one always.
#[inline]
pub fn compare<F: Format>(a: F, b: F, signalling: bool, env: &Env) -> Out<Relation> {
    compare_unpacked(a.unpack(), b.unpack(), signalling, env)
}

/// Compares operands of any format.
#[inline]
pub fn compare_unpacked(a: Unpacked, b: Unpacked, signalling: bool, env: &Env) -> Out<Relation> {
    let (a, b) = (a.daz(env), b.daz(env));
    if a.is_nan() || b.is_nan() {
        let invalid = signalling || a.class > Class::QuietNan || b.class > Class::QuietNan;
        return Out::new(Relation::Unordered, Flags::INVALID.when(invalid));
    }
    let flags = Flags::DENORMAL.when(a.class == Class::Denormal || b.class == Class::Denormal);
    let relation = match order(&a, &b) {
        Ordering::Less => Relation::Less,
        Ordering::Equal => Relation::Equal,
        Ordering::Greater => Relation::Greater,
    };
    Out::new(relation, flags)
}

/// Sign, then magnitude as (is infinite, exponent, significand); both zeros are equal.
fn order(a: &Unpacked, b: &Unpacked) -> Ordering {
    let magnitude = |o: &Unpacked| match o.class {
        Class::Zero => (i32::MIN, 0),
        Class::Infinity => (i32::MAX, 0),
        _ => (o.exponent, o.significand),
    };
    if a.class == Class::Zero && b.class == Class::Zero {
        return Ordering::Equal;
    }
    match (a.sign, b.sign) {
        (false, true) => Ordering::Greater,
        (true, false) => Ordering::Less,
        (false, false) => magnitude(a).cmp(&magnitude(b)),
        (true, true) => magnitude(b).cmp(&magnitude(a)),
    }
}

/// MINSS, MINSD: the smaller one; `b` when either is a NaN or both are zeros. SDM vol. 2, "MINSD".
pub fn min<F: Format>(a: F, b: F, env: &Env) -> Out<F> {
    select(a, b, Relation::Less, env)
}

/// MAXSS, MAXSD: the larger one; `b` when either is a NaN or both are zeros. SDM vol. 2, "MAXSD".
pub fn max<F: Format>(a: F, b: F, env: &Env) -> Out<F> {
    select(a, b, Relation::Greater, env)
}

fn select<F: Format>(a: F, b: F, wanted: Relation, env: &Env) -> Out<F> {
    let relation = compare(a, b, true, env);
    let chosen = if relation.value == wanted { a } else { b };
    let unpacked = chosen.unpack();
    let value = if env.daz && unpacked.class == Class::Denormal { F::zero(unpacked.sign) } else { chosen };
    Out::new(value, relation.flags)
}
