//! Conformance: public suites that test processors and boards, and what they found. `docs/conformance.md` has the
//! results.

#[allow(dead_code, reason = "shared with `interp_basics`; each uses its part")]
#[path = "../interp_basics/lab.rs"]
mod lab;

mod found;
mod peers;
mod suites;
