//! PCI bus 0: configuration mechanism 1 and the functions on it.

mod i440fx;
mod piix3;
mod piix3_ide;
mod piix4_pm;
mod std_vga;

pub use i440fx::{I440fx, PamRegion};
pub use piix3::Piix3;
pub use piix3_ide::Piix3Ide;
pub use piix4_pm::Piix4Pm;
pub use std_vga::StdVga;

/// What a configuration write may have changed; the board looks again at what it names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Changed {
    /// The memory map: PAM, SMRAM, memory BARs, expansion ROM, memory decoding.
    pub memory: bool,
    /// I/O ports: I/O BARs, power-management base, I/O decoding.
    pub ports: bool,
    /// The routing of PIRQA# to PIRQD#.
    pub routing: bool,
}

/// Bus 0 with the functions of the board.
#[derive(Debug)]
pub struct Pci {
    /// 00:00.0
    pub host: I440fx,
    /// 00:01.0
    pub isa: Piix3,
    /// 00:01.1
    pub ide: Piix3Ide,
    /// 00:01.3
    pub pm: Piix4Pm,
    /// 00:02.0
    pub vga: StdVga,
}

impl Pci {
    /// The bus in its reset state. `vga_rom_size` is the size of the VGA's expansion ROM (0 for none).
    pub fn new(vga_rom_size: u32) -> Self {
        Self {
            host: I440fx::new(),
            isa: Piix3::new(),
            ide: Piix3Ide::new(),
            pm: Piix4Pm::new(),
            vga: StdVga::new(vga_rom_size),
        }
    }
    /// IN from ports CF8h to CFFh.
    pub fn port_read(&mut self, _port: u16, _size: u8) -> u32 {
        !0
    }
    /// OUT to ports CF8h to CFFh.
    pub fn port_write(&mut self, _port: u16, _size: u8, _value: u32) -> Changed {
        Changed::default()
    }
    /// RST#.
    pub fn reset(&mut self) {}
}

/// The PIRQ line (0 to 3 for PIRQA# to PIRQD#) that INTA# to INTD# (`pin` 0 to 3) of a slot is wired to.
pub fn pirq_of(slot: u8, pin: u8) -> u8 {
    slot.wrapping_sub(1).wrapping_add(pin) & 3
}
