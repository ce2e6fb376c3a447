//! Two machines side by side: where do they part, and at which instruction?
//!
//! * [`state`] is what is compared, [`listing`] the instructions that led there, [`undefined`] what need not be equal.
//! * [`qemu`] compares with QEMU's log.
//! * [`fuzz`] makes random instructions and programs, [`vector`] is the form in which they are kept.

#![forbid(unsafe_code)]

pub mod fuzz;
pub mod listing;
pub mod qemu;
pub mod random;
pub mod state;
pub mod undefined;
pub mod vector;
