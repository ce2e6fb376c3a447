//! PCI side of the standard VGA: frame buffer, registers and expansion ROM.

/// The function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StdVga {}

impl StdVga {
    pub(super) fn new(_rom_size: u32) -> Self {
        Self {}
    }
    /// Where the frame buffer (BAR 0, 16 MiB) answers now.
    pub fn frame_buffer(&self) -> Option<u64> {
        None
    }
    /// Where the registers (BAR 2, 4 KiB) answer now.
    pub fn registers(&self) -> Option<u64> {
        None
    }
    /// Where the expansion ROM answers now.
    pub fn rom(&self) -> Option<u64> {
        None
    }
    /// The legacy window A0000h to BFFFFh and the VGA ports answer (always at power-on, for firmware
    /// that knows nothing of PCI; see the module doc).
    pub fn legacy(&self) -> bool {
        true
    }
}
