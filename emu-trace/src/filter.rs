//! What of a run is recorded.

use std::ops::RangeInclusive;

/// When recording begins or ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// At a count of retired instructions.
    Count(u64),
    /// When the instruction at a linear address is about to run.
    Address(u64),
    /// When a port is written.
    Port(u16),
}

/// All that `--trace-...` options say. The default is everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Instructions at these linear addresses only; all when empty.
    pub linear: Vec<RangeInclusive<u64>>,
    /// Instructions at these physical addresses only; all when empty.
    pub physical: Vec<RangeInclusive<u64>>,
    /// Bit n: instructions of privilege level n; 0 for all.
    pub levels: u8,
    /// Instructions under this CR3 only (bits 51:12 count).
    pub cr3: Option<u64>,
    /// When recording begins; from the start when there is none.
    pub start: Option<Trigger>,
    /// When it ends for good.
    pub stop: Option<Trigger>,
    /// Of each so many instructions, record so many.
    pub sample: Option<(u64, u64)>,
    /// Leave accesses to memory out.
    pub no_memory: bool,
    /// Leave vector and x87 registers out.
    pub no_vectors: bool,
}

/// Bits of CR3 that name an address space.
const CR3_BASE: u64 = 0x000f_ffff_ffff_f000;

impl Filter {
    /// May something be left out between two instructions?
    pub fn thins(&self) -> bool {
        !self.linear.is_empty()
            || !self.physical.is_empty()
            || self.levels != 0
            || self.cr3.is_some()
            || self.sample.is_some()
    }

    /// Is an instruction recorded?
    pub fn passes(&self, linear: u64, physical: u64, level: u8, cr3: u64, count: u64) -> bool {
        let within = |ranges: &[RangeInclusive<u64>], address: u64| {
            ranges.is_empty() || ranges.iter().any(|range| range.contains(&address))
        };
        within(&self.linear, linear)
            && within(&self.physical, physical)
            && (self.levels == 0 || self.levels >> (level & 3) & 1 != 0)
            && self.cr3.is_none_or(|wanted| (wanted ^ cr3) & CR3_BASE == 0)
            && self.sample.is_none_or(|(every, length)| count % every < length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_filtered_passes() {
        let all = Filter::default();
        assert!(all.passes(1, 2, 3, 4, 5) && !all.thins());
        let kernel = Filter { levels: 1, linear: vec![0x1000..=0x1fff], ..Filter::default() };
        assert!(kernel.passes(0x1fff, 0, 0, 0, 0) && kernel.thins());
        assert!(!kernel.passes(0x1fff, 0, 3, 0, 0) && !kernel.passes(0x2000, 0, 0, 0, 0));
        let space = Filter { cr3: Some(0x5000), sample: Some((10, 2)), ..Filter::default() };
        assert!(space.passes(0, 0, 0, 0x5018, 21) && !space.passes(0, 0, 0, 0x6000, 21));
        assert!(!space.passes(0, 0, 0, 0x5018, 22));
    }
}
