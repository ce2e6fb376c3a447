//! Performance counters (architectural monitoring, version 1) and random numbers.
//! SDM 3B, "Architectural Performance Monitoring".
//!
//! AMD's processors have the same four counters under other numbers: AMD APM vol. 2, "Performance Monitoring Counters".
//!
//! Three events count: instructions retired, unhalted core cycles and unhalted reference cycles, which are the same
//! here: one cycle an instruction. Left out: privilege levels are not told apart, and overflow raises no interrupt.

use super::Cpu;
use super::model::Vendor;

/// Number of counters.
pub const COUNTERS: usize = 4;
/// Bits of a counter.
pub const WIDTH: u32 = 48;
const MASK: u64 = (1 << WIDTH) - 1;

/// Where a vendor's counters are, and what differs between them.
struct Numbers {
    /// IA32_PMC0, or PerfCtr0.
    counter: u32,
    /// IA32_PERFEVTSEL0, or PerfEvtSel0.
    select: u32,
    /// Bits of a selection that exist.
    select_bits: u64,
    /// Unhalted cycles, core and reference: event and mask.
    cycles: [u64; 2],
}

/// The selection has all of the low half but AnyThread.
const INTEL: Numbers =
    Numbers { counter: 0xc1, select: 0x186, select_bits: 0xffdf_ffff, cycles: [0x003c, 0x013c] };
/// The selection has all of the low half but bits 21 and 19, and the high bits of the event.
const AMD: Numbers =
    Numbers { counter: 0xc001_0004, select: 0xc001_0000, select_bits: 0xf_ffd7_ffff, cycles: [0x0076; 2] };
/// Enable, and the two privilege filters.
const ENABLE: u64 = 1 << 22;
const LEVELS: u64 = 3 << 16;

/// The counters.
#[derive(Clone, Copy, Debug, Default)]
pub struct Performance {
    /// IA32_PERFEVTSELx, or PerfEvtSelx.
    select: [u64; COUNTERS],
    /// IA32_PMCx, or PerfCtrx, while it stands still; less the retired instructions while it counts.
    base: [u64; COUNTERS],
}

fn index(number: u32, first: u32) -> Option<usize> {
    let n = number.checked_sub(first)? as usize;
    (n < COUNTERS).then_some(n)
}

impl Numbers {
    fn of(vendor: Vendor) -> &'static Self {
        if vendor == Vendor::Amd { &AMD } else { &INTEL }
    }

    /// Does this selection count retired instructions (C0h) or cycles?
    fn counts(&self, select: u64) -> bool {
        let event = select & 0xf_0000_ffff;
        let known = event == 0x00c0 || self.cycles.contains(&event);
        select & ENABLE != 0 && select & LEVELS != 0 && known
    }
}

/// Is it the MSR of a counter of this vendor?
pub fn is_counter_msr(vendor: Vendor, number: u32) -> bool {
    let numbers = Numbers::of(vendor);
    index(number, numbers.select).or_else(|| index(number, numbers.counter)).is_some()
}

impl Cpu {
    /// IA32_PMCx; `None` for a counter that does not exist.
    pub fn performance_counter(&self, n: usize) -> Option<u64> {
        let select = *self.performance.select.get(n)?;
        let passed = self.counted(select);
        Some(self.performance.base[n].wrapping_add(passed) & MASK)
    }

    /// What a counter with this selection has counted since power-on.
    fn counted(&self, select: u64) -> u64 {
        if Numbers::of(self.model.vendor).counts(select) { self.instructions() } else { 0 }
    }

    fn set_counter(&mut self, n: usize, value: u64) {
        let passed = self.counted(self.performance.select[n]);
        self.performance.base[n] = value.wrapping_sub(passed);
    }

    /// Reads an MSR of the counters; `None` when the number is none.
    pub(super) fn read_performance_msr(&self, number: u32) -> Option<u64> {
        let numbers = Numbers::of(self.model.vendor);
        if let Some(n) = index(number, numbers.select) {
            return Some(self.performance.select[n]);
        }
        self.performance_counter(index(number, numbers.counter)?)
    }

    /// Writes an MSR of the counters; `None` when the number is none, or for reserved bits.
    pub(super) fn write_performance_msr(&mut self, number: u32, value: u64) -> Option<()> {
        let numbers = Numbers::of(self.model.vendor);
        if let Some(n) = index(number, numbers.select) {
            if value & !numbers.select_bits != 0 {
                return None;
            }
            let count = self.performance_counter(n)?;
            self.performance.select[n] = value;
            self.set_counter(n, count);
            return Some(());
        }
        let n = index(number, numbers.counter)?;
        // Intel's counters take 32 bits and extend their sign, AMD's take all of theirs.
        let amd = self.model.vendor == Vendor::Amd;
        self.set_counter(n, if amd { value } else { i64::from(value as i32) as u64 });
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
