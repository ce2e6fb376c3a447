//! Operand widths as types: the semantics are written once, generic over [`Width`].

use crate::mem::Scalar;

/// An operand width: `u8`, `u16`, `u32` or `u64`.
pub trait Width: Scalar + Eq + Ord + std::fmt::Debug + 'static {
    /// Bytes: 1, 2, 4 or 8.
    const BYTES: u64;
    /// Bits: 8, 16, 32 or 64.
    const BITS: u32;
    /// All ones, zero-extended.
    const MASK: u64;
    /// The sign bit, zero-extended.
    const SIGN: u64;
    /// The low bits of `value`.
    fn from_u64(value: u64) -> Self;
    /// Zero-extended.
    fn u64(self) -> u64;
    /// Sign-extended.
    fn i64(self) -> i64;
}

macro_rules! width {
    ($($u:ty, $i:ty);*) => {$(
        impl Width for $u {
            const BYTES: u64 = size_of::<$u>() as u64;
            const BITS: u32 = <$u>::BITS;
            const MASK: u64 = <$u>::MAX as u64;
            const SIGN: u64 = 1 << (<$u>::BITS - 1);
            #[inline(always)]
            fn from_u64(value: u64) -> Self {
                value as $u
            }
            #[inline(always)]
            fn u64(self) -> u64 {
                self as u64
            }
            #[inline(always)]
            fn i64(self) -> i64 {
                self as $i as i64
            }
        }
    )*};
}
width!(u8, i8; u16, i16; u32, i32; u64, i64);
