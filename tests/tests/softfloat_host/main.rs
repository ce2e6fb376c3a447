//! The software floating point against the host's own silicon: results, exception flags and C1 must be equal.
//!
//! Each test runs some 200,000 random cases per instruction: special values crossed with random bit patterns,
//! operands near each other, near overflow and among the denormals, in every rounding mode, with DAZ and FTZ for
//! SSE, with every precision control and random exception masks for x87. The generator is seeded, so a failure
//! repeats. Where AMD and Intel differ, Intel's documented behaviour decides, and the test says so.

#![cfg(target_arch = "x86_64")]

mod sse;
mod sse_silicon;
mod sse_unmasked;
mod x87;
mod x87_memory;
mod x87_silicon;
mod x87_transcendental;

use emu_diff::float_random as random;

/// Random cases per instruction.
const CASES: u32 = 200_000;

/// Leaves the test, saying so, when the host lacks an instruction set.
macro_rules! require {
    ($feature:tt) => {
        if !std::arch::is_x86_feature_detected!($feature) {
            eprintln!("SKIPPED: this host's processor has no {}", $feature);
            return;
        }
    };
}
use require;
