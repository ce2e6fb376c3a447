//! What instructions mean, one file per family of the SDM.

pub mod arith;
pub mod bcd;
pub mod bits;
pub mod control;
pub mod data;
pub mod flags;
pub mod io;
pub mod logic;
pub mod muldiv;
pub mod segment;
pub mod shift;
pub mod stack;
pub mod string;
pub mod system;

use crate::interp::op::Handler;
use crate::interp::table::Form;

/// A form that another set of instructions will bring.
fn not_yet(_: &Form<'_>) -> Option<Handler> {
    None
}
