//! Bochs as the other machine, driven by its own debugger: what that prints ([`trace`]).

pub mod trace;
