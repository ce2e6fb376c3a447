//! QEMU as the other machine: its log ([`log`]), the board that takes over what its chips answered ([`follow`]),
//! the comparison instruction by instruction ([`lockstep`]) or block by block ([`blocks`]), what can be asked about an instruction that differs
//! ([`conditions`], [`target`]), and what is known to differ ([`known`]).

pub mod blocks;
pub mod conditions;
pub mod follow;
pub mod known;
mod lines;
pub mod lockstep;
pub mod log;
pub mod survey;
pub mod target;
