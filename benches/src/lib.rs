//! Guest workloads for the benchmarks: the bundled kernel, loops on a bare processor, and code to decode and translate.

#![forbid(unsafe_code)]

pub mod board;
pub mod code;
pub mod kernel;
pub mod lab;
pub mod loops;
