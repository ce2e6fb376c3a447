//! What CPUID says of the other processors: all are cores of one package, with one thread each.
//! SDM 3A, "Hierarchical Mapping of Shared Resources"; SDM 2A, "CPUID", leaves 1, 4 and 0Bh.

use super::Cpu;
use super::model::Vendor;

/// Leaf 1, EDX: the count in EBX means something.
const HTT: u32 = 1 << 28;

/// Leaf 8000_0001h, ECX: HTT counts cores.
const CMP_LEGACY: u32 = 1 << 1;

// Kinds of level in leaf 0Bh.
const THREADS: u32 = 1 << 8;
const CORES: u32 = 2 << 8;

impl Cpu {
    /// Adds the neighbours to a leaf. A processor that has none says nothing.
    pub(super) fn with_topology(&self, leaf: u32, subleaf: u32, registers: [u32; 4]) -> [u32; 4] {
        if self.processors == 1 {
            return registers;
        }
        let (count, id) = (self.processors as u32, self.number as u32);
        // Bits of the APIC ID that number the cores.
        let bits = count.next_power_of_two().ilog2();
        let amd = self.model.vendor == Vendor::Amd;
        let [mut a, mut b, mut c, mut d] = registers;
        match (leaf, subleaf) {
            (1, _) => {
                b = b & !(0xff << 16) | 1 << (16 + bits);
                d |= HTT;
            }
            // AMD: leaf 1 counts cores, and so many are in the package.
            (0x8000_0001, _) if amd => c |= CMP_LEGACY,
            (0x8000_0008, _) if amd => c |= bits << 12 | (count - 1),
            (4, _) if a != 0 => a |= ((1 << bits) - 1) << 26,
            (0xb, 0) => return [0, 1, THREADS, id],
            (0xb, 1) => return [bits, count, 1 | CORES, id],
            (0xb, _) => return [0, 0, subleaf & 0xff, id],
            _ => {}
        }
        [a, b, c, d]
    }
}
