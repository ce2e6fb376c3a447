//! What the monitor says of itself: the 128 bytes of its EDID, at the beginning of the registers in memory (BAR 2).
//!
//! Manual: VESA, "Enhanced Extended Display Identification Data", 1.3. The monitor takes every mode of the adapter, and
//! prefers 1024 by 768 dots at 60 Hz. Left out: extension blocks, and the two wires of DDC by which a real one answers.

/// Bytes of a block.
pub const SIZE: usize = 128;

/// The block; its bytes add up to 0.
pub static EDID: [u8; SIZE] = block();

const HEADER: [u8; 8] = [0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0];
/// Manufacturer EMU in five bits a letter, product 1, no serial number, made in week 1 of 1990 + 36, EDID 1.3.
const IDENTITY: [u8; 12] = [0x15, 0xb5, 1, 0, 0, 0, 0, 0, 1, 36, 1, 3];
/// Analogue with separate synchronisation; 34 by 26 cm, gamma 2.2; colour, and the first detailed timing is preferred.
const DISPLAY: [u8; 5] = [0x08, 34, 26, 120, 0x0a];
/// The colours of sRGB, as ten-bit fractions.
const CHROMATICITY: [u8; 10] = [0xee, 0x91, 0xa3, 0x54, 0x4c, 0x99, 0x26, 0x0f, 0x50, 0x54];
/// 720x400 at 70 Hz, 640x480, 800x600 and 1024x768 at 60 Hz.
const ESTABLISHED: [u8; 3] = [0xa1, 0x08, 0x00];
/// 1280x1024 at 60 Hz, and seven places that are not used.
const STANDARD: [u8; 16] = [0x81, 0x80, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1];
/// 1024x768 at 60 Hz: 65 MHz; 320 and 38 dots of blanking, synchronisation 24 + 136 and 3 + 6, both negative.
const PREFERRED: [u8; 18] = [
    0x64, 0x19, 0x00, 0x40, 0x41, 0x00, 0x26, 0x30, 0x18, 0x88, 0x36, 0x00, 0x54, 0x04, 0x11, 0x00, 0x00,
    0x18,
];
/// The descriptor of the monitor's name.
const NAME: [u8; 18] = *b"\0\0\0\xfc\0emu monitor\n ";
/// The descriptor of its limits: 50 to 120 Hz, 30 to 130 kHz, dots up to 400 MHz, no second formula.
const LIMITS: [u8; 18] = *b"\0\0\0\xfd\0\x32\x78\x1e\x82\x28\0\n      ";
/// A descriptor that says nothing.
const EMPTY: [u8; 18] = *b"\0\0\0\x10\0\0\0\0\0\0\0\0\0\0\0\0\0\0";

const fn block() -> [u8; SIZE] {
    let parts: [&[u8]; 10] = [
        &HEADER,
        &IDENTITY,
        &DISPLAY,
        &CHROMATICITY,
        &ESTABLISHED,
        &STANDARD,
        &PREFERRED,
        &NAME,
        &LIMITS,
        &EMPTY,
    ];
    let (mut block, mut at, mut sum, mut part) = ([0; SIZE], 0, 0_u8, 0);
    while part < parts.len() {
        let mut byte = 0;
        while byte < parts[part].len() {
            block[at] = parts[part][byte];
            sum = sum.wrapping_add(block[at]);
            (at, byte) = (at + 1, byte + 1);
        }
        part += 1;
    }
    // No extension block follows: byte 126 stays 0.
    block[SIZE - 1] = sum.wrapping_neg();
    block
}

#[cfg(test)]
mod tests {
    use super::*;

    /// VESA's timing of 1024x768 at 60 Hz has 1344 by 806 dots in all.
    #[test]
    fn the_preferred_timing_has_60_pictures_a_second() {
        let timing = &EDID[54..72];
        let wide = |low: usize, high: usize, shift: u32| {
            u32::from(timing[low]) | u32::from(timing[high] >> shift & 0xf) << 8
        };
        let clock = u32::from(u16::from_le_bytes([timing[0], timing[1]])) * 10_000;
        let (across, down) = (wide(2, 4, 4) + wide(3, 4, 0), wide(5, 7, 4) + wide(6, 7, 0));
        assert_eq!((wide(2, 4, 4), wide(5, 7, 4)), (1024, 768));
        assert_eq!((across, down, clock / (across * down)), (1344, 806, 60));
    }

    #[test]
    fn the_block_adds_up_to_zero() {
        assert_eq!(EDID.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte)), 0);
        assert_eq!((&EDID[..8], EDID[126]), (&HEADER[..], 0));
    }
}
