//! What CPUID says of the system architecture. SDM 2A, "CPUID".

use super::Cpu;
use super::control::CR4_PKE;
use super::performance::{COUNTERS, WIDTH};

/// Bits of the widest linear addresses.
pub const LINEAR_BITS: u32 = 57;

/// Leaf 1.
mod leaf1 {
    pub const EDX_VME: u32 = 1 << 1;
    pub const ECX_MONITOR: u32 = 1 << 3;
    pub const ECX_PCID: u32 = 1 << 17;
    pub const ECX_RDRAND: u32 = 1 << 30;
}

/// Leaf 7.
mod leaf7 {
    pub const EBX_INVPCID: u32 = 1 << 10;
    pub const EBX_RDSEED: u32 = 1 << 18;
    pub const EBX_CLFLUSHOPT: u32 = 1 << 23;
    pub const EBX_CLWB: u32 = 1 << 24;
    pub const ECX_PKU: u32 = 1 << 3;
    pub const ECX_OSPKE: u32 = 1 << 4;
    pub const ECX_LA57: u32 = 1 << 16;
    pub const ECX_CLDEMOTE: u32 = 1 << 25;
    pub const EDX_SERIALIZE: u32 = 1 << 14;
}

/// Leaf 8000_0008h, EBX.
const WBNOINVD: u32 = 1 << 9;

impl Cpu {
    /// Adds the features of the system architecture to a leaf.
    pub(super) fn with_system_features(&self, leaf: u32, subleaf: u32, registers: [u32; 4]) -> [u32; 4] {
        let [mut a, mut b, mut c, mut d] = registers;
        match (leaf, subleaf) {
            (0, _) => a = a.max(0xa),
            (1, _) => {
                c |= leaf1::ECX_PCID | leaf1::ECX_RDRAND;
                if self.has_monitor() {
                    c |= leaf1::ECX_MONITOR;
                }
                d |= leaf1::EDX_VME;
            }
            (7, 0) => {
                b |= leaf7::EBX_INVPCID | leaf7::EBX_RDSEED | leaf7::EBX_CLFLUSHOPT | leaf7::EBX_CLWB;
                c |= leaf7::ECX_PKU | leaf7::ECX_LA57 | leaf7::ECX_CLDEMOTE;
                d |= leaf7::EDX_SERIALIZE;
                if self.cr4 & CR4_PKE != 0 {
                    c |= leaf7::ECX_OSPKE;
                }
            }
            // MONITOR lines of 64 bytes; masked interrupts can end MWAIT; one C1 state.
            (5, _) if self.has_monitor() => return [64, 64, 3, 0x10],
            // Version 1, counters, their width; of the architectural events there are the first three.
            (0xa, _) => return [1 | (COUNTERS as u32) << 8 | WIDTH << 16 | 3 << 24, 0, 0, 0],
            (0x8000_0008, _) => b |= WBNOINVD,
            _ => {}
        }
        [a, b, c, d]
    }
}
