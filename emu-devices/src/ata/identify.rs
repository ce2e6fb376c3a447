//! IDENTIFY DEVICE and IDENTIFY PACKET DEVICE: the 256 words in which a device describes itself.
//! ATA/ATAPI-6, "IDENTIFY DEVICE data", "IDENTIFY PACKET DEVICE data".

use super::cdrom::Cdrom;
use super::commands::MAX_MULTIPLE;
use super::disk::AtaDisk;
use crate::block::SECTOR_SIZE;

const FIRMWARE: &str = "1.0";

impl AtaDisk {
    pub(super) fn identify_device(&self) -> Vec<u8> {
        let sectors = self.unit.backend.sectors();
        let settings = &self.settings;
        let default = super::geometry::Geometry::default_of(sectors);
        let mut words = [0u16; 256];

        words[0] = 0x0040; // ATA, not removable
        words[1] = default.cylinders;
        words[3] = u16::from(default.heads);
        words[6] = u16::from(default.sectors_per_track);
        put_text(&mut words[10..20], &self.unit.serial);
        put_text(&mut words[23..27], FIRMWARE);
        put_text(&mut words[27..47], &self.unit.model);
        words[47] = 0x8000 | u16::from(MAX_MULTIPLE);
        words[49] = 0x0f00; // IORDY may be disabled, IORDY, LBA, DMA
        words[50] = 0x4000;
        words[51] = 0x0200; // PIO data transfer mode 2 without flow control
        words[53] = 0x0003; // words 54 to 58 and 64 to 70 are valid

        let current = settings.geometry;
        words[54] = current.cylinders;
        words[55] = u16::from(current.heads);
        words[56] = u16::from(current.sectors_per_track);
        put_number(&mut words[57..59], u64::from(current.capacity()));
        if settings.multiple != 0 {
            words[59] = 0x0100 | u16::from(settings.multiple);
        }
        put_number(&mut words[60..62], sectors.min(0x0fff_ffff));
        words[63] = 0x0007 | settings.dma_mode.map_or(0, |mode| 0x0100 << mode);
        words[64] = 0x0003; // PIO modes 3 and 4
        words[65..69].fill(120); // cycle times in nanoseconds

        // Supported: ATA/ATAPI-4 to 6; NOP, look-ahead, write cache, power management; FLUSH CACHE (EXT), 48 bits.
        words[80] = 0x0070;
        words[82] = 0x4068;
        words[83] = 0x7400;
        words[84] = 0x4000;
        // Enabled.
        let cache = u16::from(settings.write_cache) << 5 | u16::from(settings.look_ahead) << 6;
        words[85] = 0x4008 | cache;
        words[86] = 0x3400;
        words[87] = 0x4000;
        put_number(&mut words[100..104], sectors);

        finish(words)
    }
}

impl Cdrom {
    pub(super) fn identify_packet_device(&self) -> Vec<u8> {
        let mut words = [0u16; 256];
        words[0] = 0x85c0; // ATAPI, CD-ROM, removable, DRQ within 50 microseconds, packets of 12 bytes
        put_text(&mut words[10..20], &self.unit.serial);
        put_text(&mut words[23..27], FIRMWARE);
        put_text(&mut words[27..47], &self.unit.model);
        words[49] = 0x0f00; // IORDY may be disabled, IORDY, LBA, DMA
        words[50] = 0x4000;
        words[51] = 0x0200; // PIO data transfer mode 2 without flow control
        words[53] = 0x0003; // words 54 to 58 and 64 to 70 are valid
        words[63] = 0x0007 | self.dma_mode.map_or(0, |mode| 0x0100 << mode);
        words[64] = 0x0003; // PIO modes 3 and 4
        words[65..69].fill(120); // cycle times in nanoseconds
        // Supported and enabled: ATA/ATAPI-4 to 6; NOP, DEVICE RESET, PACKET, power management.
        words[80] = 0x0070;
        words[82] = 0x4218;
        words[83] = 0x4000;
        words[84] = 0x4000;
        words[85] = 0x4218;
        words[87] = 0x4000;
        finish(words)
    }
}

/// The words as bytes, the last of them with the signature A5h and a checksum that makes the sum of all bytes zero.
fn finish(words: [u16; 256]) -> Vec<u8> {
    let mut bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    debug_assert_eq!(bytes.len(), SECTOR_SIZE);
    bytes[510] = 0xa5;
    let sum = bytes[..511].iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
    bytes[511] = sum.wrapping_neg();
    bytes
}

/// ASCII padded with spaces, the first character in the upper byte of each word.
fn put_text(words: &mut [u16], text: &str) {
    let printable = |byte: u8| if (0x20..0x7f).contains(&byte) { byte } else { b'?' };
    let mut bytes = text.bytes().map(printable).chain(std::iter::repeat(b' '));
    for word in words {
        let (first, second) = (bytes.next().unwrap_or(b' '), bytes.next().unwrap_or(b' '));
        *word = u16::from_be_bytes([first, second]);
    }
}

/// A number over several words, the lowest first.
fn put_number(words: &mut [u16], value: u64) {
    for (word, shift) in words.iter_mut().zip((0..64).step_by(16)) {
        *word = (value >> shift) as u16;
    }
}
