//! Floating-point lanes of a vector.

use crate::cpu::Width;
use crate::softfloat::{F32, F64, Format};

/// A format that vectors hold.
pub trait Lane: Format {
    /// The unsigned integer of the same width.
    type Bits: Width;
    /// Lanes in 128 bits.
    const COUNT: u32;

    /// The value with this encoding.
    fn from_bits(bits: u64) -> Self;
    /// Its encoding.
    fn bits(self) -> u64;
}

impl Lane for F32 {
    type Bits = u32;
    const COUNT: u32 = 4;

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

/// The vector with lane `i`, which is zero so far, filled in.
#[inline(always)]
pub fn replace<F: Lane>(v: u128, i: u32, value: F) -> u128 {
    v | u128::from(value.bits()) << (F::Bits::BITS * i)
}
