//! Guest workloads, and measuring them on engines and peers: what `emu bench` does.
//!
//! Files of Debian's packages and archives for Linux guests, which tests use as well, are at home here too.

#![forbid(unsafe_code)]

pub mod bochs;
pub mod builds;
pub mod chart;
pub mod compare;
pub mod cpio;
pub mod curves;
pub mod debian;
pub mod document;
pub mod engine;
pub mod error;
pub mod guest;
pub mod iso;
pub mod measure;
pub mod peer;
pub mod report;
pub mod statistics;
pub mod table;
pub mod workload;
