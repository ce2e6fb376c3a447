//! VGA: the IBM video graphics array with 256 KiB in four planes, and the Bochs extension for linear modes.
//!
//! Manuals: IBM Personal System/2 Hardware Interface Technical Reference, "Video Subsystem" (October 1990);
//! for the extension, "VBE Display Interface" of the Bochs VGA BIOS.
//! Modelled: all register files with their masks and read-backs; write modes 0 to 3, read modes 0 and 1, chain-4,
//! odd/even; text with both fonts, nine dots, cursor, blinking, underline; planar, CGA and 256-colour pixels; start
//! address, panning, line compare; the beam (retrace and display enable follow from time).
//! Left out: the vertical-retrace interrupt, the light pen, the feature connector, monitor sensing, borders,
//! blinking in graphics modes, changes of registers within a frame (a picture shows the registers of its moment).

mod attribute;
mod crtc;
mod dac;
mod edid;
mod graphics;
mod memory;
mod render;
mod sequencer;
#[cfg(test)]
mod tests;
mod text;
mod vbe;

use emu_core::bus::{Mmio, OPEN_BUS, PortIoWide, TICKS_PER_SECOND, Tick};

use attribute::Attribute;
use crtc::Crtc;
use dac::Dac;
use graphics::Graphics;
use memory::VideoMemory;
use sequencer::Sequencer;
use vbe::Vbe;

pub use render::Image;
pub use text::{CP437, TextScreen};

/// Miscellaneous output: ports at 3Dxh instead of 3Bxh; memory answers; clock select.
const COLOR_PORTS: u8 = 1 << 0;
const RAM_ENABLE: u8 = 1 << 1;

/// Input status 1: not displaying; vertical retrace.
const DISPLAY_DISABLED: u8 = 1 << 0;
const VERTICAL_RETRACE: u8 = 1 << 3;

/// Dot clocks in hertz for 640 and for 720 dots in a line.
const CLOCK_640: u64 = 25_175_000;
const CLOCK_720: u64 = 28_322_000;

/// Undocumented CRTC registers that can only be read: a latch, and the attribute flip-flop in bit 7.
const CRTC_LATCH: u8 = 0x22;
const CRTC_FLIP_FLOP: u8 = 0x24;

/// First and last legacy window address, as offsets from A0000h.
const WINDOW_SIZE: u64 = 0x2_0000;
/// The last byte of the monitor's EDID in the registers in memory (BAR 2), where no extension block follows.
const LAST_OF_EDID: u64 = edid::SIZE as u64 - 1;
/// Where the registers in memory have the ports from 3C0h on, and the extension.
const REGISTERS_PORTS: u64 = 0x400;
const REGISTERS_VBE: u64 = 0x500;

/// The chip. Ports 3B0h to 3BBh, 3C0h to 3DFh and 1CEh to 1D0h ([`PortIoWide`]); memory from A0000h to
/// BFFFFh ([`Mmio`], offsets from A0000h).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vga {
    crtc: Crtc,
    sequencer: Sequencer,
    graphics: Graphics,
    attribute: Attribute,
    dac: Dac,
    /// Miscellaneous output register.
    miscellaneous: u8,
    /// Feature control register.
    feature: u8,
    /// Video subsystem enable (3C3h), which only holds its bit.
    subsystem: u8,
    vbe: Vbe,
    memory: VideoMemory,
}

impl Default for Vga {
    fn default() -> Self {
        Self::new()
    }
}

/// Where the beam is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Beam {
    /// Frames since power-on.
    frame: u64,
    line: u32,
    character: u32,
}

/// The register that an index chooses; 0 where there is none.
fn read_indexed(registers: &[u8], index: u8) -> u8 {
    registers.get(usize::from(index)).copied().unwrap_or(0)
}

impl Vga {
    /// The chip at power-on: all registers 0, memory cleared, no picture until the VGA BIOS sets a mode.
    pub fn new() -> Self {
        Self {
            crtc: Crtc::default(),
            sequencer: Sequencer::default(),
            graphics: Graphics::default(),
            attribute: Attribute::default(),
            dac: Dac::default(),
            miscellaneous: 0,
            feature: 0,
            subsystem: 0,
            vbe: Vbe::default(),
            memory: VideoMemory::new(),
        }
    }

    /// Reset. Memory and colours keep their contents.
    pub fn reset(&mut self) {
        self.crtc = Crtc::default();
        self.sequencer = Sequencer::default();
        self.graphics = Graphics::default();
        self.attribute = Attribute::default();
        self.vbe = Vbe::default();
        (self.miscellaneous, self.feature, self.subsystem) = (0, 0, 0);
        self.dac.wide = false;
    }

    /// Where the beam is, from the clock and the totals of the CRT controller.
    fn beam(&self, now: Tick) -> Beam {
        let clock = if self.miscellaneous >> 2 & 3 == 1 { CLOCK_720 } else { CLOCK_640 };
        let clocks = (u128::from(now) * u128::from(clock) / u128::from(TICKS_PER_SECOND)) as u64;
        let character = u64::from(self.sequencer.dots() << u32::from(self.sequencer.half_clock()));
        let characters = clocks / character;
        let per_line = u64::from(self.crtc.horizontal_total());
        let lines = characters / per_line;
        let per_frame = u64::from(self.crtc.vertical_total());
        Beam {
            frame: lines / per_frame,
            line: (lines % per_frame) as u32,
            character: (characters % per_line) as u32,
        }
    }

    fn input_status_1(&self, now: Tick) -> u8 {
        let beam = self.beam(now);
        let displays =
            beam.line < self.crtc.vertical_display() && beam.character < self.crtc.horizontal_display();
        let retrace = self.crtc.vertical_retrace(beam.line);
        (if displays { 0 } else { DISPLAY_DISABLED }) | if retrace { VERTICAL_RETRACE } else { 0 }
    }

    fn read_crtc(&self) -> u8 {
        match (self.crtc.read(), self.crtc.index) {
            (Some(value), _) => value,
            (None, CRTC_LATCH) => {
                self.graphics.latches.to_le_bytes()[usize::from(self.graphics.read_map() & 3)]
            }
            (None, CRTC_FLIP_FLOP) => u8::from(self.attribute.data_next()) << 7,
            (None, _) => 0,
        }
    }

    /// The colour port that a port number stands for; `None` when it does not answer. Miscellaneous output
    /// moves the CRT controller, input status 1 and feature control between 3Bxh and 3Dxh.
    fn port(&self, port: u16) -> Option<u16> {
        let color = self.miscellaneous & COLOR_PORTS != 0;
        match port {
            0x3b0..=0x3bb if !color => Some(port + 0x20),
            0x3d0..=0x3df if color => Some(port),
            0x3c0..=0x3cf => Some(port),
            _ => None,
        }
    }

    fn read_port(&mut self, port: u16, now: Tick) -> u8 {
        match self.port(port) {
            Some(0x3c0) => self.attribute.index(),
            Some(0x3c1) => self.attribute.read(),
            Some(0x3c2) => 0, // input status 0: no interrupt, no switch sensed
            Some(0x3c3) => self.subsystem,
            Some(0x3c4) => self.sequencer.index,
            Some(0x3c5) => self.sequencer.read(),
            Some(0x3c6) => self.dac.mask,
            Some(0x3c7) => self.dac.state(),
            Some(0x3c8) => self.dac.write_index(),
            Some(0x3c9) => self.dac.read(),
            Some(0x3ca) => self.feature,
            Some(0x3cc) => self.miscellaneous,
            Some(0x3ce) => self.graphics.index,
            Some(0x3cf) => self.graphics.read(),
            Some(0x3d4) => self.crtc.index,
            Some(0x3d5) => self.read_crtc(),
            Some(0x3da) => {
                self.attribute.reset_flip_flop();
                self.input_status_1(now)
            }
            _ => OPEN_BUS,
        }
    }

    fn write_port(&mut self, port: u16, value: u8) {
        match self.port(port) {
            Some(0x3c0) => self.attribute.write(value),
            Some(0x3c2) => self.miscellaneous = value & 0xef,
            Some(0x3c3) => self.subsystem = value & 1,
            Some(0x3c4) => self.sequencer.index = value & 0x07,
            Some(0x3c5) => self.sequencer.write(value),
            Some(0x3c6) => self.dac.mask = value,
            Some(0x3c7) => self.dac.set_read_index(value),
            Some(0x3c8) => self.dac.set_write_index(value),
            Some(0x3c9) => self.dac.write(value),
            Some(0x3ce) => self.graphics.index = value & 0x0f,
            Some(0x3cf) => self.graphics.write(value),
            Some(0x3d4) => self.crtc.index = value & 0x3f,
            Some(0x3d5) => self.crtc.write(value),
            Some(0x3da) => self.feature = value & 0x03,
            _ => {}
        }
    }

    fn write_vbe(&mut self, index: u16, value: u16) {
        let effect = self.vbe.write(index, value);
        if let Some(wide) = effect.wide_dac {
            self.dac.wide = wide;
        }
        self.memory.clear(effect.clear);
    }

    /// Offset within the window that answers, `None` where none does.
    fn window(&self, offset: u64) -> Option<u32> {
        let (start, len) = self.graphics.window();
        let offset = (offset as u32).checked_sub(start)?;
        (offset < len && self.miscellaneous & RAM_ENABLE != 0).then_some(offset)
    }

    fn read_byte(&mut self, offset: u64) -> u8 {
        if self.vbe.enabled() {
            return if offset < 0x1_0000 {
                self.memory.linear(self.vbe.bank() + offset as usize)
            } else {
                OPEN_BUS
            };
        }
        match self.window(offset) {
            Some(address) => self.memory.read(&self.sequencer, &mut self.graphics, address),
            None => OPEN_BUS,
        }
    }

    fn write_byte(&mut self, offset: u64, value: u8) {
        if self.vbe.enabled() {
            if offset < 0x1_0000 {
                self.memory.set_linear(self.vbe.bank() + offset as usize, value);
            }
        } else if let Some(address) = self.window(offset) {
            self.memory.write(&self.sequencer, &self.graphics, address, value);
        }
    }

    /// Reads the linear frame buffer (BAR 0).
    pub fn frame_buffer_read(&mut self, offset: u64, size: u8) -> u64 {
        gather(size, |number| self.memory.linear(offset.saturating_add(number) as usize))
    }

    /// Writes the linear frame buffer (BAR 0).
    pub fn frame_buffer_write(&mut self, offset: u64, size: u8, value: u64) {
        scatter(size, value, |number, byte| {
            self.memory.set_linear(offset.saturating_add(number) as usize, byte);
        });
    }

    /// Reads the registers in memory (BAR 2): the monitor's EDID, ports 3C0h to 3DFh at 400h, the extension's at 500h.
    pub fn registers_read(&mut self, offset: u64, size: u8, now: Tick) -> u64 {
        gather(size, |number| match offset.saturating_add(number) {
            at @ 0..=LAST_OF_EDID => edid::EDID[at as usize],
            at @ REGISTERS_PORTS..0x420 => self.read_port(0x3c0 + (at - REGISTERS_PORTS) as u16, now),
            at @ REGISTERS_VBE..0x516 => {
                let index = (at - REGISTERS_VBE) as u16;
                self.vbe.read(index / 2).to_le_bytes()[usize::from(index & 1)]
            }
            _ => OPEN_BUS,
        })
    }

    /// Writes the registers in memory (BAR 2). The extension's are sixteen bits wide.
    pub fn registers_write(&mut self, offset: u64, size: u8, value: u64, _now: Tick) {
        if (REGISTERS_VBE..0x516).contains(&offset) {
            if size >= 2 && offset.is_multiple_of(2) {
                self.write_vbe((offset - REGISTERS_VBE) as u16 / 2, value as u16);
            }
            return;
        }
        scatter(size, value, |number, byte| {
            if let at @ REGISTERS_PORTS..0x420 = offset.saturating_add(number) {
                self.write_port(0x3c0 + (at - REGISTERS_PORTS) as u16, byte);
            }
        });
    }
}

/// Puts `size` bytes together, the first lowest.
fn gather(size: u8, mut byte: impl FnMut(u64) -> u8) -> u64 {
    (0..u64::from(size.min(8))).fold(0, |value, number| value | u64::from(byte(number)) << (8 * number))
}

/// Takes `size` bytes apart, the lowest first.
fn scatter(size: u8, value: u64, mut byte: impl FnMut(u64, u8)) {
    for number in 0..u64::from(size.min(8)) {
        byte(number, (value >> (8 * number)) as u8);
    }
}

/// A sixteen-bit register as an access of `size` bytes sees it.
fn narrow(value: u16, size: u8) -> u32 {
    u32::from(if size == 1 { value & 0xff } else { value })
}

/// The extension's ports are sixteen bits wide (1D0h is its data register where 1CFh would be unaligned); all
/// others are bytes, and wide accesses reach one after the other.
impl PortIoWide for Vga {
    fn read(&mut self, port: u16, size: u8, now: Tick) -> u32 {
        match port {
            0x1ce => narrow(self.vbe.index, size),
            0x1cf | 0x1d0 => narrow(self.vbe.read(self.vbe.index), size),
            _ => gather(size.min(4), |number| self.read_port(port.wrapping_add(number as u16), now)) as u32,
        }
    }

    fn write(&mut self, port: u16, size: u8, value: u32, _now: Tick) {
        match (port, size) {
            (0x1ce, 2) => self.vbe.index = value as u16,
            (0x1cf | 0x1d0, 2) => self.write_vbe(self.vbe.index, value as u16),
            (0x1ce..=0x1d0, _) => {}
            _ => scatter(size.min(4), value.into(), |number, byte| {
                self.write_port(port.wrapping_add(number as u16), byte);
            }),
        }
    }
}

impl Mmio for Vga {
    fn read(&mut self, offset: u64, size: u8, _now: Tick) -> u64 {
        gather(size, |number| match offset.saturating_add(number) {
            at @ 0..WINDOW_SIZE => self.read_byte(at),
            _ => OPEN_BUS,
        })
    }

    fn write(&mut self, offset: u64, size: u8, value: u64, _now: Tick) {
        scatter(size, value, |number, byte| {
            if let at @ 0..WINDOW_SIZE = offset.saturating_add(number) {
                self.write_byte(at, byte);
            }
        });
    }
}
