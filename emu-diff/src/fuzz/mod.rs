//! Random instructions and programs.
//!
//! * [`cases`] makes encodings, registers and memory, [`program`] short programs of user instructions,
//! * [`places`] says where all that lies,
//! * [`shrink`] makes a case that fails small,
//! * [`slots`] adds system instructions, and [`image`] makes a firmware image of many of them,
//! * [`system`] makes images of programs with system instructions in every mode.

pub mod cases;
pub mod image;
pub mod places;
pub mod program;
pub mod shrink;
pub mod slots;
pub mod system;

pub use cases::number;
