//! Two machines side by side: where do they part, and at which instruction?
//!
//! * [`state`] is what is compared, [`listing`] the instructions that led there, [`undefined`] what need not be equal.
//! * [`lockstep`] compares with the log of another machine: [`qemu`], [`bochs`].
//! * [`host`] compares single instructions with the host's processor.
//! * [`fuzz`] makes random instructions and programs, [`vector`] is the form in which they are kept.

#![deny(unsafe_code)]

pub mod bochs;
pub mod float_random;
pub mod fuzz;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub mod host;
pub mod last_page;
mod lines;
pub mod listing;
pub mod lockstep;
pub mod qemu;
pub mod random;
pub mod state;
pub mod undefined;
pub mod vector;
