//! PCI configuration space by mechanism 1: address to CF8h, data at CFCh.

use crate::cpu;
use crate::port::{in32, out32};

/// A function on bus 0.
#[derive(Clone, Copy)]
pub struct Function {
    /// Device number, 0 to 31.
    pub device: u8,
    /// Function number, 0 to 7.
    pub function: u8,
}

impl Function {
    /// Reads four bytes at a multiple of four.
    pub fn read(self, register: u8) -> u32 {
        cpu::without_interrupts(|| {
            out32(0xCF8, self.address(register));
            in32(0xCFC)
        })
    }

    /// Writes four bytes at a multiple of four.
    pub fn write(self, register: u8, value: u32) {
        cpu::without_interrupts(|| {
            out32(0xCF8, self.address(register));
            out32(0xCFC, value);
        });
    }

    /// Device id in the high half, vendor id in the low.
    pub fn id(self) -> u32 {
        self.read(0)
    }

    fn address(self, register: u8) -> u32 {
        1 << 31 | u32::from(self.device) << 11 | u32::from(self.function) << 8 | u32::from(register & 0xFC)
    }
}

/// All functions that exist on bus 0.
pub fn functions() -> impl Iterator<Item = Function> {
    (0..32u8).flat_map(|device| {
        let first = Function { device, function: 0 };
        let count = match first.id() {
            u32::MAX => 0,
            _ if first.read(0x0C) >> 16 & 0x80 != 0 => 8, // header type: multi-function
            _ => 1,
        };
        (0..count).map(move |function| Function { device, function }).filter(|f| f.id() != u32::MAX)
    })
}

/// The function with this device and vendor id.
pub fn find(vendor: u16, device: u16) -> Option<Function> {
    functions().find(|function| function.id() == u32::from(device) << 16 | u32::from(vendor))
}
