//! System architecture by small pieces of guest code: debugging, virtual-8086 extensions, paging extensions,
//! waiting, counters, system management. What is expected comes from the SDM.

#[allow(dead_code, reason = "shared with `interp_basics`; each uses its part")]
#[path = "../interp_basics/lab.rs"]
mod lab;

mod debug;
mod paging;
mod priorities;
mod processor;
mod smm;
mod virtual_interrupts;
mod vmx;
