//! The I/O port map of the board: which chip answers where.
//!
//! Ports that the guest can move (power management, SMBus, IDE bus master) and the debug-exit port are not in
//! this table; the board asks their owners when nobody here claims a port.

/// Who answers at a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// The 8259A pair and its ELCR.
    Pic,
    /// The 8254.
    Pit,
    /// Port 61h.
    SystemControl,
    /// The 8042.
    Keyboard,
    /// The MC146818.
    Rtc,
    /// Port 80h.
    PostCode,
    /// Port 92h.
    Port92,
    /// Ports F0h and F1h: clears the latch behind FERR#.
    FpuError,
    /// The debug console.
    DebugConsole,
    /// The 8237A pair and its page registers.
    Dma,
    /// The floppy disk controller.
    Floppy,
    /// A 16550A, COM1 or COM2.
    Serial(usize),
    /// An ATA channel, primary or secondary.
    Ata(usize),
    /// The VGA and its extensions.
    Vga,
    /// The firmware configuration device.
    FwCfg,
    /// PCI configuration mechanism 1.
    PciConfig,
    /// Port CF9h, when accessed as a byte.
    ResetControl,
    /// Nobody in this table.
    Nobody,
}

/// First ports of COM1 and COM2.
pub const SERIAL: [u16; 2] = [0x3f8, 0x2f8];

/// Who answers an access of `size` bytes at `port`.
pub fn claim(port: u16, size: u8) -> Claim {
    match port {
        0x00..=0x0f | 0x81..=0x8f | 0xc0..=0xdf => Claim::Dma,
        0x3f0..=0x3f5 | 0x3f7 => Claim::Floppy,
        0x20..=0x21 | 0xa0..=0xa1 | 0x4d0..=0x4d1 => Claim::Pic,
        0x40..=0x43 => Claim::Pit,
        0x61 => Claim::SystemControl,
        0x60 | 0x64 => Claim::Keyboard,
        0x70..=0x71 => Claim::Rtc,
        0x80 => Claim::PostCode,
        0x92 => Claim::Port92,
        0xf0..=0xf1 => Claim::FpuError,
        0xe9 => Claim::DebugConsole,
        0x3f8..=0x3ff => Claim::Serial(0),
        0x2f8..=0x2ff => Claim::Serial(1),
        0x1f0..=0x1f7 | 0x3f6 => Claim::Ata(0),
        0x170..=0x177 | 0x376 => Claim::Ata(1),
        0x3b4..=0x3b5 | 0x3ba | 0x3c0..=0x3df | 0x1ce..=0x1d0 => Claim::Vga,
        0x510..=0x51b => Claim::FwCfg,
        0xcf9 if size == 1 => Claim::ResetControl,
        0xcf8..=0xcff => Claim::PciConfig,
        _ => Claim::Nobody,
    }
}

impl Claim {
    /// True for chips that take an access of several bytes as one; the others see one access for each byte.
    pub fn is_wide(self) -> bool {
        matches!(self, Self::Ata(_) | Self::Vga | Self::FwCfg | Self::PciConfig)
    }
}
