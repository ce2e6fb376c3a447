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
pub mod paging;
pub mod segment;
pub mod shift;
pub mod sse;
pub mod stack;
pub mod string;
pub mod system;
pub mod vmx;
pub mod wait;
pub mod x87;
pub mod xsave;
