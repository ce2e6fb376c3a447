//! Video memory: 256 KiB in four planes behind A0000h to BFFFFh, the whole of it behind the linear frame buffer.
//!
//! The four bytes of one plane address lie side by side. A write to the window goes through the sequencer (which
//! planes) and the graphics controller (which bits).

use super::graphics::planes;
use super::{Graphics, Sequencer};

/// Bytes of memory.
pub const MEMORY_SIZE: usize = 16 << 20;
/// Bytes in one plane.
const PLANE: u32 = 0x1_0000;

/// Where an address of the processor leads.
struct Place {
    /// Address within the planes.
    offset: u32,
    /// Planes that the address alone chooses, one bit each.
    planes: u8,
}

/// The memory, nothing but bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VideoMemory {
    bytes: Vec<u8>,
}

impl VideoMemory {
    pub fn new() -> Self {
        Self { bytes: vec![0; MEMORY_SIZE] }
    }

    /// The four planes at an offset.
    pub fn planes(&self, offset: u32) -> u32 {
        let at = (offset % PLANE) as usize * 4;
        self.bytes[at..].first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes))
    }

    /// One byte of the font plane.
    pub fn font(&self, offset: usize) -> u8 {
        self.bytes[offset % PLANE as usize * 4 + 2]
    }

    /// A byte of the linear frame buffer; ones behind its end.
    pub fn linear(&self, offset: usize) -> u8 {
        self.bytes.get(offset).copied().unwrap_or(0xff)
    }

    /// Writes a byte of the linear frame buffer.
    pub fn set_linear(&mut self, offset: usize, value: u8) {
        if let Some(byte) = self.bytes.get_mut(offset) {
            *byte = value;
        }
    }

    /// Zeroes the first bytes.
    pub fn clear(&mut self, len: usize) {
        let len = len.min(self.bytes.len());
        self.bytes[..len].fill(0);
    }

    /// The processor reads the window at `address` (from its start): latches load, one byte comes back.
    pub fn read(&self, sequencer: &Sequencer, graphics: &mut Graphics, address: u32) -> u8 {
        let place = place(sequencer, graphics, address, graphics.odd_even());
        graphics.latches = self.planes(place.offset);
        let plane = match place.planes {
            0b1111 => graphics.read_map(),
            0b0101 => graphics.read_map() & 0b10,
            0b1010 => graphics.read_map() | 0b01,
            one => one.trailing_zeros() as u8,
        };
        graphics.read_data(plane)
    }

    /// The processor writes the window.
    pub fn write(&mut self, sequencer: &Sequencer, graphics: &Graphics, address: u32, value: u8) {
        let place = place(sequencer, graphics, address, sequencer.odd_even());
        let mask = planes(place.planes & sequencer.map_mask());
        let at = (place.offset % PLANE) as usize * 4;
        let new = graphics.write_data(value) & mask | self.planes(place.offset) & !mask;
        self.bytes[at..at + 4].copy_from_slice(&new.to_le_bytes());
    }
}

/// Chain-4 and odd/even addressing. In both the low address bits choose planes and are gone from the offset: chain-4
/// puts bits 15 and 14 in their place (as doubleword addressing of the CRT controller does), odd/even mode bit 16
/// (which only the 128 KiB window has).
///
/// Left out: the page bit of the miscellaneous output register, which would replace it in smaller windows.
fn place(sequencer: &Sequencer, graphics: &Graphics, address: u32, odd_even: bool) -> Place {
    if sequencer.chain_4() {
        return Place { offset: address & !3 | address >> 14 & 3, planes: 1 << (address & 3) };
    }
    let offset = if graphics.chain_odd_even() { address & !1 | address >> 16 & 1 } else { address };
    let planes = match (odd_even, address & 1) {
        (false, _) => 0b1111,
        (true, 0) => 0b0101,
        (true, _) => 0b1010,
    };
    Place { offset, planes }
}
