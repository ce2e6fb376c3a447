//! Performance counters (architectural monitoring, version 1) and random numbers.
//! SDM 3B, "Architectural Performance Monitoring".
//!
//! Three events count: instructions retired, unhalted core cycles and unhalted reference cycles, which are the same
//! here: one cycle an instruction. Left out: privilege levels are not told apart, and overflow raises no interrupt.

use super::Cpu;

/// Number of counters.
pub const COUNTERS: usize = 4;
/// Bits of a counter.
pub const WIDTH: u32 = 48;
const MASK: u64 = (1 << WIDTH) - 1;
const PMC0: u32 = 0xc1;
const PERFEVTSEL0: u32 = 0x186;
/// Bits of IA32_PERFEVTSELx that exist: all of the low half but AnyThread.
const SELECT_BITS: u64 = 0xffdf_ffff;
/// Enable, and the two privilege filters.
const ENABLE: u64 = 1 << 22;
const LEVELS: u64 = 3 << 16;

/// The counters.
#[derive(Clone, Copy, Debug, Default)]
pub struct Performance {
    /// IA32_PERFEVTSELx.
    select: [u64; COUNTERS],
    /// IA32_PMCx while it stands still; less the retired instructions while it counts.
    base: [u64; COUNTERS],
}

fn index(number: u32, first: u32) -> Option<usize> {
    let n = number.checked_sub(first)? as usize;
    (n < COUNTERS).then_some(n)
}

/// Is it the MSR of a counter?
pub fn is_counter_msr(number: u32) -> bool {
    index(number, PERFEVTSEL0).or_else(|| index(number, PMC0)).is_some()
}

/// Does this selection count retired instructions (C0h), core cycles (3Ch) or reference cycles (3Ch, mask 1)?
fn counts(select: u64) -> bool {
    select & ENABLE != 0 && select & LEVELS != 0 && matches!(select & 0xffff, 0x00c0 | 0x003c | 0x013c)
}

impl Cpu {
    /// IA32_PMCx; `None` for a counter that does not exist.
    pub fn performance_counter(&self, n: usize) -> Option<u64> {
        let select = *self.performance.select.get(n)?;
        let passed = if counts(select) { self.instructions() } else { 0 };
        Some(self.performance.base[n].wrapping_add(passed) & MASK)
    }

    fn set_counter(&mut self, n: usize, value: u64) {
        let passed = if counts(self.performance.select[n]) { self.instructions() } else { 0 };
        self.performance.base[n] = value.wrapping_sub(passed);
    }

    /// Reads an MSR of the counters; `None` when the number is none.
    pub(super) fn read_performance_msr(&self, number: u32) -> Option<u64> {
        if let Some(n) = index(number, PERFEVTSEL0) {
            return Some(self.performance.select[n]);
        }
        self.performance_counter(index(number, PMC0)?)
    }

    /// Writes an MSR of the counters; `None` when the number is none, or for reserved bits.
    pub(super) fn write_performance_msr(&mut self, number: u32, value: u64) -> Option<()> {
        if let Some(n) = index(number, PERFEVTSEL0) {
            if value & !SELECT_BITS != 0 {
                return None;
            }
            let count = self.performance_counter(n)?;
            self.performance.select[n] = value;
            self.set_counter(n, count);
            return Some(());
        }
        // Writes sign-extend the low 32 bits.
        self.set_counter(index(number, PMC0)?, i64::from(value as i32) as u64);
        Some(())
    }

    /// The next number of RDRAND and RDSEED. The sequence follows from the seed alone, so that runs repeat.
    pub fn next_random(&mut self) -> u64 {
        // SplitMix64 (Steele, Lea, Flood: "Fast Splittable Pseudorandom Number Generators").
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.random ^ self.random >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }
}
