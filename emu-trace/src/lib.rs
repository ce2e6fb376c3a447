//! Instruction traces of emu.
//!
//! * [`record`] looks on while a machine runs ([`emu_core::observe`]) and hands words to
//! * [`write`](mod@write), a thread of its own, which turns them into [`chunk`]s;
//! * [`wide`] is about vector and x87 registers;
//! * [`read`] walks through a file, or a part of it;
//! * [`model`] and [`op`] are what both ends know and guess. docs/trace-format.md describes the file.

#![forbid(unsafe_code)]

pub mod chunk;
mod effects;
pub mod filter;
pub mod model;
pub mod op;
pub mod raw;
pub mod read;
pub mod record;
pub mod wide;
pub mod write;
