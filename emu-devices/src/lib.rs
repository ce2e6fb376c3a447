//! Chips of the emu PC emulator and the board that wires them.
//!
//! Every chip is plain state in one file, told the time with each access and answering with the time of its
//! next event. Chips never name each other: [`pc`] connects their pins.
#![forbid(unsafe_code)]

pub mod i8259a;
