//! IEEE 754 arithmetic in software, exactly as x86 does it, on any host and without the host's floating point.
//!
//! Manual: SDM vol. 1, chapters 4 ("Floating-Point Data Types", "Overview of Floating-Point Exceptions"),
//! 8 (x87) and 11 (SSE). Every operation takes its operands and an [`Env`] and returns an [`Out`]: the value of
//! the masked response, the exception flags in the order of MXCSR and of the x87 status word, and whether the
//! significand was rounded up (C1). Nothing here traps: when a raised flag is not masked, the caller delivers the
//! exception. A pre-computation exception (IE, DE, ZE) that is unmasked comes back alone, since the processor
//! then never starts the computation, and the value is meaningless.
//!
//! How it works: [`Unpacked`] holds any value of any format with its significand normalized to bit 63, so that
//! every operation is written once; `round` brings an exact (or sticky) result into the destination format. The
//! operations on `Unpacked` values are public too: an x87 instruction with a 32-bit or integer memory operand is
//! the same operation on an operand that was unpacked from another format.
//!
//! Gap: the transcendental functions are accurate to well under one unit in the last place of the 64-bit
//! significand but are not bit-identical to any one processor, because no two generations agree.

mod add;
mod bcd;
mod compare;
mod convert;
mod div;
mod env;
mod extract;
mod flags;
mod fma;
mod format;
mod mul;
mod nan;
mod rem;
mod round;
mod scale;
mod sqrt;
mod transcendental;

pub use add::{add, add_unpacked, sub, sub_unpacked};
pub use bcd::{from_bcd, to_bcd};
pub use compare::{Relation, compare, compare_unpacked, max, min};
pub use convert::{Integer, convert, from_integer, half_from_single, single_from_half, to_integer};
pub use div::{div, div_unpacked};
pub use env::{Env, Precision, Rounding};
pub use extract::{Extracted, extract};
pub use flags::Flags;
pub use fma::{Negate, fma};
pub use format::{Class, F16, F32, F64, F80, Format, Unpacked};
pub use mul::{mul, mul_unpacked};
pub use rem::{Remainder, RemainderKind, remainder};
pub use round::{Out, round_to_integral};
pub use scale::scale;
pub use sqrt::sqrt;
pub use transcendental::{
    arctangent, cosine, power_of_two_minus_one, sine, sine_and_cosine, tangent, y_log2, y_log2_plus_one,
};
