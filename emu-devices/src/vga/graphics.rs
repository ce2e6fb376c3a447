//! Graphics controller: what happens to a byte between the processor and the four planes. Ports 3CEh and 3CFh.
//!
//! The four planes at one address travel as a `u32`, plane 0 in the lowest byte.

use super::read_indexed;

const SET_RESET: usize = 0;
const ENABLE_SET_RESET: usize = 1;
const COLOR_COMPARE: usize = 2;
const DATA_ROTATE: usize = 3;
const READ_MAP_SELECT: usize = 4;
const MODE: usize = 5;
const MISCELLANEOUS: usize = 6;
const COLOR_DONT_CARE: usize = 7;
const BIT_MASK: usize = 8;

/// Bits that exist in each register.
const MASKS: [u8; 9] = [0x0f, 0x0f, 0x0f, 0x1f, 0x03, 0x7b, 0x0f, 0x0f, 0xff];

/// Index, registers GR00 to GR08 and the latches.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Graphics {
    pub index: u8,
    registers: [u8; 9],
    /// What the last read found in the four planes.
    pub latches: u32,
}

/// How bytes become pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shift {
    /// One bit of each plane.
    Planar,
    /// Two bits of a byte and two of another (CGA).
    Interleaved,
    /// Eight bits of one plane.
    Byte,
}

/// Spreads a byte over the four planes.
fn every_plane(byte: u8) -> u32 {
    u32::from(byte) * 0x0101_0101
}

/// [`planes`] of every four-bit mask.
const PLANES: [u32; 16] = {
    let mut table = [0; 16];
    let mut mask = 0;
    while mask < 16 {
        let mut plane = 0;
        while plane < 4 {
            if mask >> plane & 1 != 0 {
                table[mask] |= 0xff << (8 * plane);
            }
            plane += 1;
        }
        mask += 1;
    }
    table
};

/// All ones in the planes whose bit is set.
pub fn planes(mask: u8) -> u32 {
    PLANES[usize::from(mask & 0x0f)]
}

impl Graphics {
    pub fn read(&self) -> u8 {
        read_indexed(&self.registers, self.index)
    }

    pub fn write(&mut self, value: u8) {
        let index = usize::from(self.index);
        if let (Some(register), Some(mask)) = (self.registers.get_mut(index), MASKS.get(index)) {
            *register = value & mask;
        }
    }

    /// What the processor's `value` makes of the four planes where they held `self.latches`.
    pub fn write_data(&self, value: u8) -> u32 {
        let registers = &self.registers;
        let rotated = value.rotate_right(u32::from(registers[DATA_ROTATE] & 7));
        let set_reset = planes(registers[SET_RESET]);
        let (data, mask) = match registers[MODE] & 3 {
            0 => {
                let enabled = planes(registers[ENABLE_SET_RESET]);
                let data = every_plane(rotated) & !enabled | set_reset & enabled;
                (data, registers[BIT_MASK])
            }
            1 => return self.latches,
            2 => (planes(value & 0x0f), registers[BIT_MASK]),
            _ => (set_reset, registers[BIT_MASK] & rotated),
        };
        let data = match registers[DATA_ROTATE] >> 3 {
            0 => data,
            1 => data & self.latches,
            2 => data | self.latches,
            _ => data ^ self.latches,
        };
        let mask = every_plane(mask);
        data & mask | self.latches & !mask
    }

    /// What the processor sees of the latches: one plane, or the pixels that have the colour to compare with.
    pub fn read_data(&self, plane: u8) -> u8 {
        if self.registers[MODE] & 1 << 3 == 0 {
            return self.latches.to_le_bytes()[usize::from(plane & 3)];
        }
        let differ =
            (self.latches ^ planes(self.registers[COLOR_COMPARE])) & planes(self.registers[COLOR_DONT_CARE]);
        !differ.to_le_bytes().iter().fold(0, |any, plane| any | plane)
    }

    /// Plane for reads in read mode 0.
    pub fn read_map(&self) -> u8 {
        self.registers[READ_MAP_SELECT]
    }

    /// A0 chooses between even and odd planes for reads.
    pub fn odd_even(&self) -> bool {
        self.registers[MODE] & 1 << 4 != 0
    }

    /// A0 of the address within the planes is replaced.
    pub fn chain_odd_even(&self) -> bool {
        self.registers[MISCELLANEOUS] & 1 << 1 != 0
    }

    /// Graphics, not text.
    pub fn graphics_mode(&self) -> bool {
        self.registers[MISCELLANEOUS] & 1 != 0
    }

    /// Where in A0000h to BFFFFh memory answers: first offset and length.
    pub fn window(&self) -> (u32, u32) {
        match self.registers[MISCELLANEOUS] >> 2 {
            0 => (0, 0x2_0000),
            1 => (0, 0x1_0000),
            2 => (0x1_0000, 0x8000),
            _ => (0x1_8000, 0x8000),
        }
    }

    pub fn shift(&self) -> Shift {
        match self.registers[MODE] >> 5 {
            0 => Shift::Planar,
            1 => Shift::Interleaved,
            _ => Shift::Byte,
        }
    }
}
