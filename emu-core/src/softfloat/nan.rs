//! What happens to NaN operands. SDM vol. 1, "Operating on SNaNs and QNaNs", and its table of rules.

use super::format::{INTEGER_BIT, QUIET_BIT};
use super::{Class, Flags, Format, Out, Unpacked};

/// The NaN as a quiet NaN of the destination format; an unsupported encoding gives the indefinite.
#[inline]
pub(super) fn quiet<F: Format>(nan: &Unpacked) -> F {
    if nan.class == Class::Unsupported {
        return F::indefinite();
    }
    F::pack(nan.sign, 2 * F::EMAX + 1, nan.significand | INTEGER_BIT | QUIET_BIT)
}

/// Invalid operation on operands none of which is a NaN.
#[cold]
pub(super) fn invalid<F: Format>() -> Out<F> {
    Out::new(F::indefinite(), Flags::INVALID)
}

/// Result of an operation on one NaN.
#[cold]
pub(super) fn propagate_one<F: Format>(a: &Unpacked) -> Out<F> {
    Out::new(quiet(a), Flags::INVALID.when(a.class > Class::QuietNan))
}

/// Result of an operation on two operands, at least one of which is a NaN.
#[cold]
pub(super) fn propagate<F: Format>(a: &Unpacked, b: &Unpacked) -> Out<F> {
    let flags = Flags::INVALID.when(a.class > Class::QuietNan || b.class > Class::QuietNan);
    if a.class == Class::Unsupported || b.class == Class::Unsupported {
        return invalid();
    }
    let first = if !b.is_nan() {
        true
    } else if !a.is_nan() {
        false
    } else if !F::X87 {
        true // SSE: the first source operand
    } else if a.class != b.class {
        a.class == Class::QuietNan // x87: the quiet one of the two
    } else if a.significand != b.significand {
        a.significand > b.significand // x87: the larger significand
    } else {
        !a.sign // x87: the positive one
    };
    Out::new(quiet(if first { a } else { b }), flags)
}

/// Result of an operation on three operands, at least one of which is a NaN: the first one counts.
/// SDM vol. 1, "FMA Instruction Operand Order and Arithmetic Behavior".
#[cold]
pub(super) fn propagate_three<F: Format>(operands: [&Unpacked; 3]) -> Out<F> {
    let signalling = operands.iter().any(|o| o.class > Class::QuietNan);
    let nan = operands.into_iter().find(|o| o.is_nan()).expect("the caller found a NaN");
    Out::new(quiet(nan), Flags::INVALID.when(signalling))
}
