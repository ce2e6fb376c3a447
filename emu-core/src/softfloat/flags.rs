//! The six floating-point exception flags.

use std::ops::{BitAnd, BitOr, BitOrAssign, Not};

/// A set of exception flags, laid out as bits 0 to 5 of MXCSR and of the x87 status word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags(pub u8);

impl Flags {
    /// No exception.
    pub const NONE: Self = Self(0);
    /// IE: invalid operation.
    pub const INVALID: Self = Self(0x01);
    /// DE: denormal operand.
    pub const DENORMAL: Self = Self(0x02);
    /// ZE: divide by zero.
    pub const DIVIDE_BY_ZERO: Self = Self(0x04);
    /// OE: overflow.
    pub const OVERFLOW: Self = Self(0x08);
    /// UE: underflow.
    pub const UNDERFLOW: Self = Self(0x10);
    /// PE: precision (inexact result).
    pub const PRECISION: Self = Self(0x20);
    /// All six.
    pub const ALL: Self = Self(0x3f);
    /// IE, DE and ZE, which are found before the computation starts.
    pub const PRE_COMPUTATION: Self = Self(0x07);

    /// Whether any flag of `other` is in this set.
    #[inline]
    pub fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// This set when `condition` holds, else the empty set.
    #[inline]
    pub fn when(self, condition: bool) -> Self {
        if condition { self } else { Self::NONE }
    }
}

impl BitOr for Flags {
    type Output = Self;
    #[inline]
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for Flags {
    #[inline]
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

impl BitAnd for Flags {
    type Output = Self;
    #[inline]
    fn bitand(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

impl Not for Flags {
    type Output = Self;
    #[inline]
    fn not(self) -> Self {
        Self(!self.0 & Self::ALL.0)
    }
}
