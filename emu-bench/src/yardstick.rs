//! A fixed piece of work of our own that is timed before each sample: how fast the host is at that moment.
//!
//! It does what an emulator's own code does, in about equal parts: sums and shifts, jumps that depend on data, and
//! reads from a table that is larger than a first-level cache. So whatever slows the host down for a while, a
//! neighbour on the same core or a lower frequency, shows in it about as much as in the samples.

use std::hint::black_box;
use std::time::Instant;

use rustix::time::{ClockId, clock_gettime};

use crate::peer::Time;

/// Rounds, which take about ten milliseconds.
const ROUNDS: u32 = 1_000_000;
/// Words of the table.
const WORDS: usize = 1 << 17;

/// The work, with its table.
#[derive(Debug)]
pub struct Yardstick {
    table: Vec<u32>,
}

impl Default for Yardstick {
    fn default() -> Self {
        let mut word = 1u32;
        let table = (0..WORDS).map(|_| {
            word = word.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            word
        });
        Self { table: table.collect() }
    }
}

impl Yardstick {
    /// Does the work once.
    pub fn measure(&self) -> Time {
        let began = Instant::now();
        let before = processor_seconds();
        black_box(self.work(black_box(ROUNDS)));
        Time { processor: processor_seconds() - before, elapsed: began.elapsed().as_secs_f64() }
    }

    fn work(&self, rounds: u32) -> u32 {
        let mut state = 1u32;
        for round in 0..rounds {
            let word = self.table[(state >> 15) as usize % WORDS];
            state = match word >> 29 {
                0 => state.wrapping_add(word),
                1 => state.rotate_left(word & 31),
                2 => state ^ word,
                3 => state.wrapping_mul(word | 1),
                4 => state.wrapping_sub(word ^ round),
                5 => (state >> 1) ^ (word & (state & 1).wrapping_neg()),
                6 => state.swap_bytes().wrapping_add(round),
                _ => !state ^ round,
            };
        }
        state
    }
}

/// Seconds that this thread has run.
fn processor_seconds() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twice_the_work_takes_about_twice_the_time() {
        let yardstick = Yardstick::default();
        let least = |rounds| {
            let times = (0..20).map(|_| {
                let before = processor_seconds();
                black_box(yardstick.work(black_box(rounds)));
                processor_seconds() - before
            });
            times.fold(f64::INFINITY, f64::min)
        };
        let ratio = least(ROUNDS) / least(ROUNDS / 2);
        assert!((1.5..2.7).contains(&ratio), "{ratio}");
    }
}
