//! What CPUID says of the system architecture. SDM 2A, "CPUID".

use super::Cpu;
use super::control::CR4_PKE;

/// Bits of the widest linear addresses.
pub const LINEAR_BITS: u32 = 57;

/// Leaf 1.
mod leaf1 {
    pub const EDX_VME: u32 = 1 << 1;
    pub const ECX_PCID: u32 = 1 << 17;
}

/// Leaf 7.
mod leaf7 {
    pub const EBX_INVPCID: u32 = 1 << 10;
    pub const ECX_PKU: u32 = 1 << 3;
    pub const ECX_OSPKE: u32 = 1 << 4;
    pub const ECX_LA57: u32 = 1 << 16;
}

impl Cpu {
    /// Adds the features of the system architecture to a leaf.
    pub(super) fn with_system_features(&self, leaf: u32, subleaf: u32, registers: [u32; 4]) -> [u32; 4] {
        let [a, mut b, mut c, mut d] = registers;
        match (leaf, subleaf) {
            (1, _) => {
                c |= leaf1::ECX_PCID;
                d |= leaf1::EDX_VME;
            }
            (7, 0) => {
                b |= leaf7::EBX_INVPCID;
                c |= leaf7::ECX_PKU | leaf7::ECX_LA57;
                if self.cr4 & CR4_PKE != 0 {
                    c |= leaf7::ECX_OSPKE;
                }
            }
            _ => {}
        }
        [a, b, c, d]
    }
}
