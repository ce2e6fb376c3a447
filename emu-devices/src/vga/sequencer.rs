//! Sequencer: character width, plane write enables, font selection, memory mode. Ports 3C4h and 3C5h.

use super::read_indexed;

const CLOCKING_MODE: usize = 1;
const MAP_MASK: usize = 2;
const CHARACTER_MAP_SELECT: usize = 3;
const MEMORY_MODE: usize = 4;

/// Bits that exist in each register.
const MASKS: [u8; 5] = [0x03, 0x3d, 0x0f, 0x3f, 0x0e];

/// Index and registers SR00 to SR04.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sequencer {
    pub index: u8,
    registers: [u8; 5],
}

impl Sequencer {
    pub fn read(&self) -> u8 {
        read_indexed(&self.registers, self.index)
    }

    pub fn write(&mut self, value: u8) {
        let index = usize::from(self.index);
        if let (Some(register), Some(mask)) = (self.registers.get_mut(index), MASKS.get(index)) {
            *register = value & mask;
        }
    }

    /// Both resets are released; the chip makes no picture otherwise.
    pub fn runs(&self) -> bool {
        self.registers[0] == 0x03
    }

    /// Dots in a character clock: 8 or 9.
    pub fn dots(&self) -> u32 {
        9 - u32::from(self.registers[CLOCKING_MODE] & 1)
    }

    /// Every dot takes two clocks (40 columns, 320 pixels).
    pub fn half_clock(&self) -> bool {
        self.registers[CLOCKING_MODE] & 1 << 3 != 0
    }

    pub fn screen_off(&self) -> bool {
        self.registers[CLOCKING_MODE] & 1 << 5 != 0
    }

    /// Planes that writes reach, one bit each.
    pub fn map_mask(&self) -> u8 {
        self.registers[MAP_MASK]
    }

    /// A0 (and not the map mask alone) chooses between even and odd planes for writes.
    pub fn odd_even(&self) -> bool {
        self.registers[MEMORY_MODE] & 1 << 2 == 0
    }

    /// A1 and A0 choose the plane.
    pub fn chain_4(&self) -> bool {
        self.registers[MEMORY_MODE] & 1 << 3 != 0
    }

    /// Where in plane 2 the font for an attribute begins: map A for attributes with bit 3, else map B.
    pub fn font(&self, attribute: u8) -> usize {
        let select = usize::from(self.registers[CHARACTER_MAP_SELECT]);
        let (low, high) = match attribute & 1 << 3 {
            0 => (select & 0b11, select >> 4 & 1),
            _ => (select >> 2 & 0b11, select >> 5 & 1),
        };
        low * 0x4000 + high * 0x2000
    }
}
