//! PCI bus 0: configuration mechanism 1 (ports CF8h and CFCh) and the functions that are soldered to the board.
//!
//! Manuals: PCI Local Bus Specification 2.1; Intel 290549 (82440FX PMC and DBX), 290550 (82371SB PIIX3),
//! 290562 (82371AB PIIX4). Identities and slots are those of QEMU's `pc` machine.
//! Modelled: the headers with their write masks, decoding of base addresses, PAM and SMRAM, PIRQ routing, the
//! bus masters of the IDE function, the ACPI part of the power-management function.
//! Left out: error bits of the status registers, special cycles, buses behind bridges.
//!
//! CONFIG_ADDRESS is only reached by 32-bit accesses to CF8h. All narrower accesses to CF8h to CFBh are not
//! for this bus (port CF9h is the PIIX3's reset control); the board keeps them away or gets ones.

pub mod config;
mod i440fx;
mod piix3;
mod piix3_ide;
mod piix4_pm;
mod std_vga;
#[cfg(test)]
mod tests;

use std::fmt::Debug;

use emu_core::bus::OPEN_BUS;

pub use config::ConfigSpace;
pub use i440fx::{I440fx, PamRegion};
pub use piix3::Piix3;
pub use piix3_ide::Piix3Ide;
pub use piix4_pm::Piix4Pm;
pub use std_vga::{FRAME_BUFFER_SIZE, REGISTERS_SIZE, StdVga};

/// CONFIG_ADDRESS, 32 bits.
pub const CONFIG_ADDRESS: u16 = 0xcf8;
/// CONFIG_DATA, four bytes of the register chosen.
pub const CONFIG_DATA: u16 = 0xcfc;

const ENABLE: u32 = 1 << 31;
/// Bits of CONFIG_ADDRESS that hold something: enable, bus, device, function, register.
const ADDRESS_BITS: u32 = 0x80ff_fffc;

/// What a configuration write changed; the board looks again at what it names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Changed {
    /// The memory map: PAM, SMRAM, memory BARs, expansion ROM, memory decoding.
    pub memory: bool,
    /// I/O ports: I/O BARs, power-management base, I/O decoding.
    pub ports: bool,
    /// The routing of PIRQA# to PIRQD#.
    pub routing: bool,
}

/// A function on the bus, as configuration cycles see it.
pub trait PciFunction: Debug {
    /// Its configuration space.
    fn config(&self) -> &ConfigSpace;
    /// A configuration write of one byte.
    fn config_write(&mut self, register: u8, value: u8) -> Changed;
    /// RST#.
    fn reset(&mut self);
}

/// Bus 0 with the functions of the board.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pci {
    /// CONFIG_ADDRESS.
    address: u32,
    /// 00:00.0, the host bridge.
    pub host: I440fx,
    /// 00:01.0, the ISA bridge.
    pub isa: Piix3,
    /// 00:01.1, the IDE function.
    pub ide: Piix3Ide,
    /// 00:01.3, power management.
    pub pm: Piix4Pm,
    /// 00:02.0, the display.
    pub vga: StdVga,
}

impl Pci {
    /// The bus after RST#. `vga_rom_size` is the size of the display's expansion ROM, 0 for none.
    pub fn new(vga_rom_size: u32) -> Self {
        Self {
            address: 0,
            host: I440fx::new(),
            isa: Piix3::new(),
            ide: Piix3Ide::new(),
            pm: Piix4Pm::new(),
            vga: StdVga::new(vga_rom_size),
        }
    }

    /// The function at device (upper five bits) and function number (lower three).
    fn function(&mut self, number: u8) -> Option<&mut dyn PciFunction> {
        match (number >> 3, number & 7) {
            (0, 0) => Some(&mut self.host),
            (1, 0) => Some(&mut self.isa),
            (1, 1) => Some(&mut self.ide),
            (1, 3) => Some(&mut self.pm),
            (2, 0) => Some(&mut self.vga),
            _ => None,
        }
    }

    /// The function and register that CONFIG_ADDRESS chooses.
    fn selected(&mut self) -> Option<(&mut dyn PciFunction, u8)> {
        let address = self.address;
        let on_bus_0 = address & ENABLE != 0 && address >> 16 & 0xff == 0;
        let function = self.function((address >> 8) as u8).filter(|_| on_bus_0)?;
        Some((function, address as u8))
    }

    /// IN from ports CF8h to CFFh.
    pub fn port_read(&mut self, port: u16, size: u8) -> u32 {
        match (port, size) {
            (CONFIG_ADDRESS, 4) => self.address,
            (0xcfc..=0xcff, _) => {
                let mut bytes = [0; 4];
                let selected = self.selected();
                for (offset, byte) in (port & 3..).zip(&mut bytes[..usize::from(size.min(4))]) {
                    *byte = match &selected {
                        Some((function, register)) if offset < 4 => {
                            function.config().get8(register | offset as u8)
                        }
                        _ => OPEN_BUS,
                    };
                }
                u32::from_le_bytes(bytes)
            }
            (_, 4) => u32::MAX,
            (_, size) => (1 << (8 * size)) - 1,
        }
    }

    /// OUT to ports CF8h to CFFh.
    pub fn port_write(&mut self, port: u16, size: u8, value: u32) -> Changed {
        let mut changed = Changed::default();
        match (port, size) {
            (CONFIG_ADDRESS, 4) => self.address = value & ADDRESS_BITS,
            (0xcfc..=0xcff, _) => {
                let Some((function, register)) = self.selected() else { return changed };
                for (offset, byte) in (port & 3..4).zip(&value.to_le_bytes()[..usize::from(size.min(4))]) {
                    let part = function.config_write(register | offset as u8, *byte);
                    changed.memory |= part.memory;
                    changed.ports |= part.ports;
                    changed.routing |= part.routing;
                }
            }
            _ => {}
        }
        changed
    }

    /// RST#: every function as after power-on.
    pub fn reset(&mut self) {
        self.address = 0;
        for number in 0..=0xff {
            if let Some(function) = self.function(number) {
                function.reset();
            }
        }
    }
}

/// The PIRQ line (0 to 3 for PIRQA# to PIRQD#) that INTA# to INTD# (`pin` 0 to 3) of a slot is wired to.
pub fn pirq_of(slot: u8, pin: u8) -> u8 {
    slot.wrapping_sub(1).wrapping_add(pin) & 3
}
