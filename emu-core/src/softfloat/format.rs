//! The four binary formats and the common unpacked form.

use super::Env;

/// What kind of value a bit pattern is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// Normal finite number.
    Normal,
    /// Denormal, the pseudo-denormals of the 80-bit format included.
    Denormal,
    /// Plus or minus zero.
    Zero,
    /// Plus or minus infinity.
    Infinity,
    /// Quiet NaN.
    QuietNan,
    /// Signalling NaN.
    SignallingNan,
    /// 80-bit encoding that the 387 and later reject: unnormal, pseudo-NaN, pseudo-infinity.
    Unsupported,
}

/// A value taken out of its format.
///
/// A finite value is `significand * 2^(exponent - 63)` with bit 63 of the significand set (zero has 0). A NaN has
/// its fraction left-aligned below bit 63, which is set, so that the quiet bit is bit 62.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unpacked {
    /// What kind of value this is.
    pub class: Class,
    /// Sign bit.
    pub sign: bool,
    /// Unbiased exponent.
    pub exponent: i32,
    /// Significand with the integer bit at bit 63.
    pub significand: u64,
}

/// Bit 63: the integer bit of a left-aligned significand.
pub(super) const INTEGER_BIT: u64 = 1 << 63;
/// Bit 62: set in a quiet NaN.
pub(super) const QUIET_BIT: u64 = 1 << 62;

impl Unpacked {
    /// A finite number that is not denormal in its source: `magnitude * 2^exponent`, an integer operand for instance.
    #[inline]
    pub fn from_magnitude(sign: bool, magnitude: u64, exponent: i32) -> Self {
        if magnitude == 0 {
            return Self { class: Class::Zero, sign, exponent: 0, significand: 0 };
        }
        let shift = magnitude.leading_zeros();
        let exponent = exponent + 63 - shift as i32;
        Self { class: Class::Normal, sign, exponent, significand: magnitude << shift }
    }

    /// NaN or unsupported encoding: what has priority over every other exception.
    #[inline]
    pub fn is_nan(&self) -> bool {
        self.class >= Class::QuietNan
    }

    /// Zero in place of a denormal when the environment has DAZ.
    #[inline]
    pub(super) fn daz(self, env: &Env) -> Self {
        if self.class == Class::Denormal && env.daz {
            Self { class: Class::Zero, exponent: 0, significand: 0, ..self }
        } else {
            self
        }
    }

    #[cold]
    fn special(sign: bool, field_is_zero: bool, fraction: u64, emin: i32) -> Self {
        let (class, exponent, significand) = match (field_is_zero, fraction) {
            (true, 0) => (Class::Zero, 0, 0),
            (true, _) => {
                let shift = fraction.leading_zeros();
                (Class::Denormal, emin - shift as i32, fraction << shift)
            }
            (false, 0) => (Class::Infinity, 0, INTEGER_BIT),
            (false, _) if fraction & QUIET_BIT != 0 => (Class::QuietNan, 0, fraction | INTEGER_BIT),
            (false, _) => (Class::SignallingNan, 0, fraction | INTEGER_BIT),
        };
        Self { class, sign, exponent, significand }
    }
}

/// A binary floating-point format.
pub trait Format: Copy + PartialEq + std::fmt::Debug {
    /// Significand bits, the integer bit included.
    const PRECISION: u32;
    /// Largest exponent of a finite number, and the exponent bias.
    const EMAX: i32;
    /// Smallest exponent of a normal number.
    const EMIN: i32 = 1 - Self::EMAX;
    /// The x87 register format: its NaN rules, precision control and exponent wrap apply.
    const X87: bool = false;

    /// Takes the value apart.
    fn unpack(self) -> Unpacked;
    /// Puts sign, biased exponent field and left-aligned significand together; the integer bit is dropped where
    /// the format has none.
    fn pack(sign: bool, field: i32, significand: u64) -> Self;

    /// Significand bits of a result.
    #[inline]
    fn result_precision(_env: &Env) -> u32 {
        Self::PRECISION
    }
    /// Zero with this sign.
    #[inline]
    fn zero(sign: bool) -> Self {
        Self::pack(sign, 0, 0)
    }
    /// Infinity with this sign.
    #[inline]
    fn infinity(sign: bool) -> Self {
        Self::pack(sign, 2 * Self::EMAX + 1, INTEGER_BIT)
    }
    /// The real indefinite: the quiet NaN that a masked invalid operation gives. SDM vol. 1, "QNaN Floating-Point
    /// Indefinite".
    #[inline]
    fn indefinite() -> Self {
        Self::pack(true, 2 * Self::EMAX + 1, INTEGER_BIT | QUIET_BIT)
    }
}

macro_rules! interchange_format {
    ($(#[$doc:meta])* $name:ident, $bits:ty, $width:expr, $precision:expr) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct $name(pub $bits);

        impl Format for $name {
            const PRECISION: u32 = $precision;
            const EMAX: i32 = (1 << ($width - $precision - 1)) - 1;

            #[inline]
            fn unpack(self) -> Unpacked {
                let bits = u64::from(self.0);
                let sign = bits >> ($width - 1) != 0;
                let field = (bits >> ($precision - 1)) as i32 & (2 * Self::EMAX + 1);
                let fraction = bits << (64 - $precision) & !INTEGER_BIT;
                if field == 0 || field == 2 * Self::EMAX + 1 {
                    return Unpacked::special(sign, field == 0, fraction, Self::EMIN);
                }
                Unpacked {
                    class: Class::Normal,
                    sign,
                    exponent: field - Self::EMAX,
                    significand: fraction | INTEGER_BIT,
                }
            }

            #[inline]
            fn pack(sign: bool, field: i32, significand: u64) -> Self {
                let fraction = (significand & !INTEGER_BIT) >> (64 - $precision);
                let sign = u64::from(sign) << ($width - 1);
                Self((sign | (field as u64) << ($precision - 1) | fraction) as $bits)
            }
        }
    };
}

interchange_format!(
    /// Half precision: 1, 5 and 10 bits.
    F16, u16, 16, 11
);
interchange_format!(
    /// Single precision: 1, 8 and 23 bits.
    F32, u32, 32, 24
);
interchange_format!(
    /// Double precision: 1, 11 and 52 bits.
    F64, u64, 64, 53
);

/// Double extended precision: sign, 15 bits of exponent, 64 bits of significand with its integer bit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct F80 {
    /// Significand, integer bit included.
    pub significand: u64,
    /// Sign in bit 15 above the biased exponent.
    pub sign_exponent: u16,
}

impl F80 {
    /// The value in this ten-byte memory image.
    pub fn from_bytes(bytes: [u8; 10]) -> Self {
        let [a, b, c, d, e, f, g, h, i, j] = bytes;
        Self {
            significand: u64::from_le_bytes([a, b, c, d, e, f, g, h]),
            sign_exponent: u16::from_le_bytes([i, j]),
        }
    }

    /// The ten-byte memory image.
    pub fn to_bytes(self) -> [u8; 10] {
        let mut bytes = [0; 10];
        bytes[..8].copy_from_slice(&self.significand.to_le_bytes());
        bytes[8..].copy_from_slice(&self.sign_exponent.to_le_bytes());
        bytes
    }

    #[cold]
    fn unpack_special(self, sign: bool, field: i32) -> Unpacked {
        let significand = self.significand;
        if field != 0 && significand & INTEGER_BIT == 0 {
            return Unpacked { class: Class::Unsupported, sign, exponent: 0, significand };
        }
        if field == 0 && significand & INTEGER_BIT != 0 {
            return Unpacked { class: Class::Denormal, sign, exponent: Self::EMIN, significand };
        }
        Unpacked::special(sign, field == 0, significand & !INTEGER_BIT, Self::EMIN)
    }
}

impl Format for F80 {
    const PRECISION: u32 = 64;
    const EMAX: i32 = 0x3fff;
    const X87: bool = true;

    #[inline]
    fn unpack(self) -> Unpacked {
        let sign = self.sign_exponent & 0x8000 != 0;
        let field = i32::from(self.sign_exponent & 0x7fff);
        if field == 0 || field == 0x7fff || self.significand & INTEGER_BIT == 0 {
            return self.unpack_special(sign, field);
        }
        Unpacked { class: Class::Normal, sign, exponent: field - Self::EMAX, significand: self.significand }
    }

    #[inline]
    fn pack(sign: bool, field: i32, significand: u64) -> Self {
        Self { sign_exponent: u16::from(sign) << 15 | field as u16, significand }
    }

    #[inline]
    fn result_precision(env: &Env) -> u32 {
        env.precision.bits()
    }
}
