//! QEMU as the other machine: its log ([`log`]), the comparison block by block ([`blocks`]), and what CPUID gives
//! there ([`survey`]).

pub mod blocks;
pub mod log;
pub mod survey;
