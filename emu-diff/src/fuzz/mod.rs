//! Random instructions and programs.
//!
//! * [`cases`] makes encodings, registers and memory, [`program`] short programs of user instructions,
//! * [`places`] says where all that lies,
//! * [`slots`] adds system instructions, and [`image`] makes a firmware image of many of them.

pub mod cases;
pub mod image;
pub mod places;
pub mod program;
pub mod slots;

pub use cases::number;
