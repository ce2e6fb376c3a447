//! The environment of an operation: what MXCSR or the x87 control word says about it.

use super::Flags;

/// Rounding mode, in the encoding of the RC field. SDM vol. 1, "Rounding Control (RC) Field".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rounding {
    /// To nearest, ties to even.
    Nearest,
    /// Toward minus infinity.
    Down,
    /// Toward plus infinity.
    Up,
    /// Toward zero.
    Zero,
}

impl Rounding {
    /// The mode with this two-bit encoding; higher bits are ignored.
    #[inline]
    pub fn from_bits(bits: u32) -> Self {
        match bits & 3 {
            0 => Self::Nearest,
            1 => Self::Down,
            2 => Self::Up,
            _ => Self::Zero,
        }
    }
}

/// Width of the significand of x87 results. SDM vol. 1, "Precision Control Field".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// 24 bits.
    Single,
    /// 53 bits.
    Double,
    /// 64 bits.
    Extended,
}

impl Precision {
    /// Number of significand bits, the integer bit included.
    #[inline]
    pub fn bits(self) -> u32 {
        match self {
            Self::Single => 24,
            Self::Double => 53,
            Self::Extended => 64,
        }
    }
}

/// All that decides about the outcome of an operation besides its operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Env {
    /// RC: rounding mode.
    pub rounding: Rounding,
    /// PC: significand width of results in the 80-bit format; the other formats ignore it.
    pub precision: Precision,
    /// DAZ: denormal operands count as zeros. Never set for x87.
    pub daz: bool,
    /// FTZ: a tiny result becomes zero while underflow is masked. Never set for x87.
    pub ftz: bool,
    /// The exceptions whose mask bit is set.
    pub masked: Flags,
}

impl Default for Env {
    /// Round to nearest, full precision, every exception masked: MXCSR and control word after FNINIT.
    fn default() -> Self {
        Self {
            rounding: Rounding::Nearest,
            precision: Precision::Extended,
            daz: false,
            ftz: false,
            masked: Flags::ALL,
        }
    }
}

impl Env {
    /// The environment that MXCSR describes.
    #[inline]
    pub fn from_mxcsr(mxcsr: u32) -> Self {
        Self {
            rounding: Rounding::from_bits(mxcsr >> 13),
            precision: Precision::Extended,
            daz: mxcsr & 1 << 6 != 0,
            ftz: mxcsr & 1 << 15 != 0,
            masked: Flags((mxcsr >> 7) as u8 & Flags::ALL.0),
        }
    }

    /// The environment that the x87 control word describes. The reserved PC encoding 01 acts as 64 bits.
    #[inline]
    pub fn from_control_word(word: u16) -> Self {
        Self {
            rounding: Rounding::from_bits(u32::from(word >> 10)),
            precision: match word >> 8 & 3 {
                0 => Precision::Single,
                2 => Precision::Double,
                _ => Precision::Extended,
            },
            daz: false,
            ftz: false,
            masked: Flags(word as u8 & Flags::ALL.0),
        }
    }

    /// The same environment at 64 bits, for the x87 instructions that precision control does not affect.
    #[inline]
    #[must_use]
    pub fn extended(self) -> Self {
        Self { precision: Precision::Extended, ..self }
    }

    /// The same environment with another rounding mode, as CVTT, FISTTP and ROUNDSD ask for.
    #[inline]
    #[must_use]
    pub fn with_rounding(self, rounding: Rounding) -> Self {
        Self { rounding, ..self }
    }

    /// Whether one of `flags` is unmasked.
    #[inline]
    pub fn traps(&self, flags: Flags) -> bool {
        flags.has(!self.masked)
    }
}
