//! Processor and memory of the emu PC emulator: state, decoder cache, interpreter, paging, segmentation, exceptions.
//!
//! This crate does no host I/O and reads no host clock: time and everything else from outside come as arguments.

pub mod bus;
pub mod cpu;
pub mod decode;
pub mod engine;
pub mod explain;
pub mod hash;
pub mod interp;
pub mod machine;
pub mod mem;
pub mod mmu;
pub mod observe;
pub mod softfloat;
pub mod turns;
pub mod vmx;
