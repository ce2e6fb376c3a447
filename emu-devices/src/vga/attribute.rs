//! Attribute controller: from pixel values to DAC indices. Ports 3C0h and 3C1h, one flip-flop for both uses.
//!
//! Left open by the manual: palette registers are accepted whether or not PAS is set.

use super::read_indexed;

const MODE_CONTROL: usize = 0x10;
const OVERSCAN: usize = 0x11;
const COLOR_PLANE_ENABLE: usize = 0x12;
const HORIZONTAL_PEL_PANNING: usize = 0x13;
const COLOR_SELECT: usize = 0x14;

/// Palette address source: the palette belongs to the picture, not to the processor.
const PAS: u8 = 1 << 5;

/// Mode control: line graphics, blinking, panning ends at line compare, 256 colours, P5 and P4 from colour select.
const LINE_GRAPHICS: u8 = 1 << 2;
const BLINK: u8 = 1 << 3;
const PANNING_COMPATIBLE: u8 = 1 << 5;
const PIXEL_WIDTH: u8 = 1 << 6;
const P54S: u8 = 1 << 7;

/// Index with PAS, registers AR00 to AR14 and the flip-flop.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attribute {
    index: u8,
    registers: [u8; 0x15],
    /// The next write to 3C0h is data.
    data_next: bool,
}

impl Attribute {
    /// Reading Input Status 1 makes the next write to 3C0h an index.
    pub fn reset_flip_flop(&mut self) {
        self.data_next = false;
    }

    pub fn data_next(&self) -> bool {
        self.data_next
    }

    /// Writes 3C0h: index and data by turns.
    pub fn write(&mut self, value: u8) {
        if self.data_next {
            let index = usize::from(self.index & 0x1f);
            let mask = match index {
                0..=0x0f | COLOR_PLANE_ENABLE => 0x3f,
                MODE_CONTROL => 0xef,
                OVERSCAN => 0xff,
                _ => 0x0f,
            };
            if let Some(register) = self.registers.get_mut(index) {
                *register = value & mask;
            }
        } else {
            self.index = value & 0x3f;
        }
        self.data_next = !self.data_next;
    }

    pub fn index(&self) -> u8 {
        self.index
    }

    pub fn read(&self) -> u8 {
        read_indexed(&self.registers, self.index & 0x1f)
    }

    /// The palette is used for the picture; otherwise all is border.
    pub fn picture(&self) -> bool {
        self.index & PAS != 0
    }

    fn mode(&self, bit: u8) -> bool {
        self.registers[MODE_CONTROL] & bit != 0
    }

    /// The ninth dot of characters C0h to DFh repeats the eighth.
    pub fn line_graphics(&self) -> bool {
        self.mode(LINE_GRAPHICS)
    }

    pub fn blink(&self) -> bool {
        self.mode(BLINK)
    }

    /// Pixels are two dots wide and have eight bits.
    pub fn wide_pixels(&self) -> bool {
        self.mode(PIXEL_WIDTH)
    }

    pub fn panning_ends_at_line_compare(&self) -> bool {
        self.mode(PANNING_COMPATIBLE)
    }

    /// Dots by which the picture moves to the left.
    pub fn panning(&self, dots: u32) -> usize {
        let panning = usize::from(self.registers[HORIZONTAL_PEL_PANNING]);
        match dots {
            9 if panning >= 8 => 0,
            9 => panning + 1,
            _ if self.wide_pixels() => panning & 6,
            _ => panning & 7,
        }
    }

    pub fn overscan(&self) -> u8 {
        self.registers[OVERSCAN]
    }

    /// DAC index of a four-bit pixel.
    pub fn color(&self, pixel: u8) -> u8 {
        let enabled = pixel & self.registers[COLOR_PLANE_ENABLE] & 0x0f;
        let palette = self.registers[usize::from(enabled)];
        let select = self.registers[COLOR_SELECT];
        let low = if self.mode(P54S) { palette & 0x0f | (select & 3) << 4 } else { palette };
        low | (select & 0x0c) << 4
    }
}
