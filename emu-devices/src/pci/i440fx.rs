//! i440FX host bridge.

/// One region of PAM0 to PAM6, between C0000h and FFFFFh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PamRegion {
    /// First address.
    pub start: u32,
    /// Length in bytes.
    pub len: u32,
    /// Reads go to DRAM (else to the ROM behind PCI).
    pub read: bool,
    /// Writes go to DRAM (else they vanish on PCI).
    pub write: bool,
}

/// The chip.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct I440fx {}

impl I440fx {
    pub(super) fn new() -> Self {
        Self {}
    }
    /// The 13 regions of PAM0 to PAM6, in ascending order.
    pub fn pam(&self) -> [PamRegion; 13] {
        [PamRegion { start: 0xc0000, len: 0x4000, read: false, write: false }; 13]
    }
    /// SMRAM: A0000h to BFFFFh is DRAM for everyone (open), not the VGA window.
    pub fn smram_open(&self) -> bool {
        false
    }
}
