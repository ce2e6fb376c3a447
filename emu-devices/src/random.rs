//! Repeatable random numbers for the tests of chips.

use std::ops::Range;
use std::time::{Duration, Instant};

/// Seeds for a test of random accesses: these, and behind them others for as many seconds as `EMU_FUZZ_SECONDS` says,
/// from `EMU_FUZZ_SEED` on. Each is printed before it is tried, so the last one under a failed test is the one to
/// look at.
pub fn seeds(first: Range<u64>) -> impl Iterator<Item = u64> {
    let number = |name| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    let limit = number("EMU_FUZZ_SECONDS").map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let others = number("EMU_FUZZ_SEED").unwrap_or(first.end)..;
    let others = others.take_while(move |_| limit.is_some_and(|limit| Instant::now() < limit));
    first.chain(others).inspect(|seed| println!("seed {seed}"))
}

/// A linear congruential generator (Knuth's MMIX constants), its upper half used.
pub struct Random(u64);

impl Random {
    /// Starts a sequence.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 32) as u32
    }

    /// The next number below `limit`.
    pub fn below(&mut self, limit: u32) -> u32 {
        ((u64::from(self.next()) * u64::from(limit)) >> 32) as u32
    }

    /// An access size: 1, 2 or 4.
    pub fn size(&mut self) -> u8 {
        1 << self.below(3)
    }
}
