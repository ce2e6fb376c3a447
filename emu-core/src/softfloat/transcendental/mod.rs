//! The x87 transcendental instructions, in software on every host so that a run repeats anywhere.
//!
//! Manual: SDM vol. 1, "Transcendental Instruction Accuracy" and "Approximation of Pi", and the tables of
//! special values in vol. 2. Everything is computed with 128-bit significands, from tables of known values and short
//! series where they are quicker, and then rounded once with the rounding control of the control word: the error
//! before rounding is below 2^-108 of the value, so that results are correctly rounded but for one case in some 2^42.
//! FSIN and its kin reduce with the 66-bit pi of the manual. Precision control has no effect. An argument out of a
//! documented range gives the mathematical value where there is one, or the argument itself (F2XM1).

mod atan;
mod exp2;
mod log2;
mod trig;
mod wide;

pub use atan::arctangent;
pub use exp2::power_of_two_minus_one;
pub use log2::{y_log2, y_log2_plus_one};
pub use trig::{cosine, sine, sine_and_cosine, tangent};
