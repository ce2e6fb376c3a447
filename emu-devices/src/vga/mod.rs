//! Standard VGA.

mod render;

use emu_core::bus::{Mmio, PortIoWide, Tick};

pub use render::{CP437, Image, TextScreen};

/// The chip. Ports 3B4h to 3DFh and 1CEh to 1D0h ([`PortIoWide`]); memory from A0000h to BFFFFh ([`Mmio`]).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Vga {}

impl Vga {
    /// The chip after reset.
    pub fn new() -> Self {
        Self {}
    }
    /// Reset.
    pub fn reset(&mut self) {}
    /// Reads the linear frame buffer (BAR 0).
    pub fn frame_buffer_read(&mut self, _offset: u64, _size: u8) -> u64 {
        0
    }
    /// Writes the linear frame buffer (BAR 0).
    pub fn frame_buffer_write(&mut self, _offset: u64, _size: u8, _value: u64) {}
    /// Reads the registers in memory (BAR 2).
    pub fn registers_read(&mut self, _offset: u64, _size: u8, _now: Tick) -> u64 {
        0
    }
    /// Writes the registers in memory (BAR 2).
    pub fn registers_write(&mut self, _offset: u64, _size: u8, _value: u64, _now: Tick) {}
    /// What a monitor shows now.
    pub fn render(&self, _now: Tick) -> Image {
        Image { width: 0, height: 0, rgb: Vec::new() }
    }
    /// The characters on the screen, `None` in graphics modes.
    pub fn text_screen(&self, _now: Tick) -> Option<TextScreen> {
        None
    }
}

impl PortIoWide for Vga {
    fn read(&mut self, _port: u16, _size: u8, _now: Tick) -> u32 {
        !0
    }
    fn write(&mut self, _port: u16, _size: u8, _value: u32, _now: Tick) {}
}

impl Mmio for Vga {
    fn read(&mut self, _offset: u64, _size: u8, _now: Tick) -> u64 {
        !0
    }
    fn write(&mut self, _offset: u64, _size: u8, _value: u64, _now: Tick) {}
}
