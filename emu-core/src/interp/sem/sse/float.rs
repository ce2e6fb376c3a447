//! Floating-point lanes of a vector.

use crate::cpu::Width;
use crate::softfloat::{F32, F64, Format};

/// MXCSR bits that decide about [`quick`]: PE, PM and RC.
const QUICK_MASK: u32 = 0x7020;
/// PE is set already and masked, and rounding is to nearest.
const QUICK: u32 = 0x1020;

/// The operations that the host can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Host {
    /// a + b
    Add,
    /// a - b
    Sub,
    /// a * b
    Mul,
    /// a / b
    Div,
    /// Square root of b.
    Sqrt,
}

/// A format that vectors hold.
pub trait Lane: Format {
    /// The unsigned integer of the same width.
    type Bits: Width;
    /// Lanes in 128 bits.
    const COUNT: u32;

    /// Exponent field of infinity.
    const LAST_FIELD: u64;
    /// Bits of the fraction.
    const FRACTION: u32;

    /// What the host's arithmetic gives in round-to-nearest.
    fn host(kind: Host, a: Self, b: Self) -> Self;

    /// The value with this encoding.
    fn from_bits(bits: u64) -> Self;
    /// Its encoding.
    fn bits(self) -> u64;
}

impl Lane for F32 {
    type Bits = u32;
    const COUNT: u32 = 4;
    const LAST_FIELD: u64 = 0xff;
    const FRACTION: u32 = 23;

    #[inline(always)]
    fn host(kind: Host, a: Self, b: Self) -> Self {
        let (a, b) = (f32::from_bits(a.0), f32::from_bits(b.0));
        let result = match kind {
            Host::Add => a + b,
            Host::Sub => a - b,
            Host::Mul => a * b,
            Host::Div => a / b,
            Host::Sqrt => b.sqrt(),
        };
        Self(result.to_bits())
    }

    #[inline(always)]
    fn from_bits(bits: u64) -> Self {
        Self(bits as u32)
    }

    #[inline(always)]
    fn bits(self) -> u64 {
        self.0.into()
    }
}

impl Lane for F64 {
    type Bits = u64;
    const COUNT: u32 = 2;
    const LAST_FIELD: u64 = 0x7ff;
    const FRACTION: u32 = 52;

    #[inline(always)]
    fn host(kind: Host, a: Self, b: Self) -> Self {
        let (a, b) = (f64::from_bits(a.0), f64::from_bits(b.0));
        let result = match kind {
            Host::Add => a + b,
            Host::Sub => a - b,
            Host::Mul => a * b,
            Host::Div => a / b,
            Host::Sqrt => b.sqrt(),
        };
        Self(result.to_bits())
    }

    #[inline(always)]
    fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    #[inline(always)]
    fn bits(self) -> u64 {
        self.0
    }
}

/// Lane `i` of a vector.
#[inline(always)]
pub fn lane<F: Lane>(v: u128, i: u32) -> F {
    F::from_bits((v >> (F::Bits::BITS * i)) as u64 & F::Bits::MASK)
}

/// Lane `i` of a vector in pieces.
#[inline(always)]
pub fn lane_bits<W: Width>(pieces: &[u128], i: usize) -> u64 {
    let at = i * W::BITS as usize;
    (pieces[at / 128] >> (at % 128)) as u64 & W::MASK
}

/// The vector with lane `i`, which is zero so far, filled in.
#[inline(always)]
pub fn replace<F: Lane>(v: u128, i: u32, value: F) -> u128 {
    v | u128::from(value.bits()) << (F::Bits::BITS * i)
}

/// Does MXCSR permit the host's arithmetic? Nothing but PE can come of [`quick`], and it must show already.
#[inline(always)]
pub fn permits_quick(mxcsr: u32) -> bool {
    mxcsr & QUICK_MASK == QUICK
}

/// Is the number normal, with an exponent field of at least `first`?
#[inline(always)]
fn is_normal<F: Lane>(value: F, first: u64) -> bool {
    let field = value.bits() >> F::FRACTION & F::LAST_FIELD;
    field.wrapping_sub(first) < F::LAST_FIELD - first
}

/// The host's result where it is certain to be the guest's: operands and result are normal, and the result is not
/// the smallest normal, to which a tiny one may have been rounded. IEEE 754 leaves no choice then, on any host.
#[inline(always)]
pub fn quick<F: Lane>(kind: Host, a: F, b: F) -> Option<F> {
    if !(kind == Host::Sqrt || is_normal(a, 1)) || !is_normal(b, 1) {
        return None;
    }
    let result = F::host(kind, a, b);
    is_normal(result, 2).then_some(result)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_short_cut_is_taken_only_where_nothing_but_inexact_can_happen() {
        let value = |x: f64| F64(x.to_bits());
        assert_eq!(quick(Host::Div, value(1.0), value(3.0)), Some(value(1.0 / 3.0)));
        let (tiny, huge) = (f64::MIN_POSITIVE, f64::MAX);
        for (kind, a, b) in [
            (Host::Mul, tiny, 0.5),
            (Host::Mul, tiny, 1.0),
            (Host::Add, huge, huge),
            (Host::Div, 1.0, 0.0),
            (Host::Sub, 1.0, 1.0),
            (Host::Add, f64::NAN, 1.0),
            (Host::Add, tiny / 2.0, 1.0),
            (Host::Sqrt, 0.0, -2.0),
        ] {
            assert_eq!(quick(kind, value(a), value(b)), None, "{kind:?} of {a} and {b}");
        }
        assert!(
            permits_quick(0x1fa0)
                && !permits_quick(0x1f80)
                && !permits_quick(0x0fa0)
                && !permits_quick(0x3fa0)
        );
    }
}
