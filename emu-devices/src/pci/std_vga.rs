//! The PCI side of the display, 00:02.0: QEMU's standard VGA (1234:1111) with its frame buffer, its registers
//! in memory and its expansion ROM.
//!
//! The legacy ports and the window at A0000h answer whatever the command register says, so that firmware which
//! knows nothing of PCI has a screen. QEMU's display does the same.

use super::config::{COMMAND_IO, COMMAND_MASTER, COMMAND_MEMORY, ConfigSpace, Identity, header};
use super::{Changed, PciFunction};

/// Bytes of BAR 0, the linear frame buffer.
pub const FRAME_BUFFER_SIZE: u32 = 16 << 20;
/// Bytes of BAR 2, the registers in memory.
pub const REGISTERS_SIZE: u32 = 4096;

const FRAME_BUFFER_BAR: u8 = 0;
const REGISTERS_BAR: u8 = 2;
const ROM_ENABLE: u32 = 1;

/// The function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StdVga {
    config: ConfigSpace,
    rom_size: u32,
}

impl StdVga {
    /// `rom_size` is rounded up to a power of two of at least one page; 0 means that there is no ROM.
    pub(super) fn new(rom_size: u32) -> Self {
        let rom_size = if rom_size == 0 { 0 } else { rom_size.min(1 << 24).next_power_of_two().max(4096) };
        let identity = Identity { vendor: 0x1234, device: 0x1111, revision: 2, class: 0x03_0000 };
        let mut config = ConfigSpace::new(identity);
        let command = COMMAND_IO | COMMAND_MEMORY | COMMAND_MASTER;
        config.allow(header::COMMAND, &command.to_le_bytes());
        config.memory_bar(FRAME_BUFFER_BAR, FRAME_BUFFER_SIZE, true);
        config.memory_bar(REGISTERS_BAR, REGISTERS_SIZE, false);
        if rom_size != 0 {
            config.allow(header::EXPANSION_ROM, &(!(rom_size - 1) | ROM_ENABLE).to_le_bytes());
        }
        Self { config, rom_size }
    }

    /// Where the frame buffer (BAR 0) answers now.
    pub fn frame_buffer(&self) -> Option<u64> {
        self.config.memory_base(header::BASE_ADDRESS + 4 * FRAME_BUFFER_BAR, FRAME_BUFFER_SIZE)
    }

    /// Where the registers (BAR 2) answer now.
    pub fn registers(&self) -> Option<u64> {
        self.config.memory_base(header::BASE_ADDRESS + 4 * REGISTERS_BAR, REGISTERS_SIZE)
    }

    /// Where the expansion ROM answers now.
    pub fn rom(&self) -> Option<u64> {
        let enabled = self.rom_size != 0 && self.config.get32(header::EXPANSION_ROM) & ROM_ENABLE != 0;
        if enabled { self.config.memory_base(header::EXPANSION_ROM, self.rom_size) } else { None }
    }

    /// Bytes that the expansion ROM takes in the address space.
    pub fn rom_size(&self) -> u32 {
        self.rom_size
    }
}

impl PciFunction for StdVga {
    fn config(&self) -> &ConfigSpace {
        &self.config
    }

    fn config_write(&mut self, register: u8, value: u8) -> Changed {
        let before = (self.frame_buffer(), self.registers(), self.rom());
        self.config.write(register, value);
        let memory = before != (self.frame_buffer(), self.registers(), self.rom());
        Changed { memory, ..Changed::default() }
    }

    fn reset(&mut self) {
        *self = Self::new(self.rom_size);
    }
}
