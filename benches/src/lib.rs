//! Guest workloads for the benchmarks: the bundled kernel, and loops on a bare processor.

#![forbid(unsafe_code)]

pub mod kernel;
pub mod loops;
