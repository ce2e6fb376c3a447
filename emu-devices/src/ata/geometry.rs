//! Where a command's registers point: CHS, 28-bit and 48-bit addresses.

use super::unit::TaskFile;
use super::{device, error};

/// How a command names its first sector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Chs,
    Lba28,
    Lba48,
}

/// Sectors and heads as the host wants to see them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    pub cylinders: u16,
    pub heads: u8,
    pub sectors_per_track: u8,
}

impl Geometry {
    /// The drive's own translation: 16 heads, 63 sectors, 2 to 16,383 cylinders. A small drive ends within them:
    /// SeaBIOS does not boot from one that has no whole cylinder, and QEMU's drives have two at least.
    pub fn default_of(sectors: u64) -> Self {
        Self { cylinders: (sectors / (16 * 63)).clamp(2, 16_383) as u16, heads: 16, sectors_per_track: 63 }
    }

    /// INITIALIZE DEVICE PARAMETERS: as many cylinders as fit.
    pub fn with_heads(sectors: u64, heads: u8, sectors_per_track: u8) -> Self {
        let per_cylinder = u64::from(heads) * u64::from(sectors_per_track);
        Self { cylinders: (sectors / per_cylinder).min(0xffff) as u16, heads, sectors_per_track }
    }

    /// Sectors that CHS addresses reach.
    pub fn capacity(self) -> u32 {
        u32::from(self.cylinders) * u32::from(self.heads) * u32::from(self.sectors_per_track)
    }
}

impl TaskFile {
    /// How a command without (`ext` false) or with 48-bit registers names its sector.
    pub fn form(&self, ext: bool) -> Form {
        match (ext, self.device & device::LBA != 0) {
            (true, _) => Form::Lba48,
            (false, true) => Form::Lba28,
            (false, false) => Form::Chs,
        }
    }

    /// The first sector. Fails with IDNF when there is no such cylinder, head or sector.
    pub fn address(&self, form: Form, geometry: Geometry) -> Result<u64, u8> {
        let [low, mid, high] = self.lba.map(|[now, _]| u64::from(now));
        let head = u64::from(self.device & device::HEAD);
        match form {
            Form::Lba48 => {
                let [low_before, mid_before, high_before] = self.lba.map(|[_, before]| u64::from(before));
                Ok(high_before << 40 | mid_before << 32 | low_before << 24 | high << 16 | mid << 8 | low)
            }
            Form::Lba28 => Ok(head << 24 | high << 16 | mid << 8 | low),
            Form::Chs => {
                let cylinder = high << 8 | mid;
                let (heads, sectors) = (u64::from(geometry.heads), u64::from(geometry.sectors_per_track));
                let exists = cylinder < u64::from(geometry.cylinders) && head < heads;
                if exists && (1..=sectors).contains(&low) {
                    Ok((cylinder * heads + head) * sectors + low - 1)
                } else {
                    Err(error::IDNF)
                }
            }
        }
    }

    /// Sectors to transfer: 0 stands for 256, or for 65,536 with 48-bit registers.
    pub fn sectors(&self, ext: bool) -> u32 {
        let [now, before] = self.count.map(u32::from);
        match (ext, if ext { before << 8 | now } else { now }) {
            (true, 0) => 0x1_0000,
            (false, 0) => 0x100,
            (_, count) => count,
        }
    }

    /// Leaves an address in the registers: of the last good sector, or of the one that failed.
    pub fn set_address(&mut self, form: Form, geometry: Geometry, lba: u64) {
        let byte = |shift: u32| (lba >> shift) as u8;
        match form {
            Form::Lba48 => {
                self.lba = [[byte(0), byte(24)], [byte(8), byte(32)], [byte(16), byte(40)]];
            }
            Form::Lba28 => {
                for (register, shift) in self.lba.iter_mut().zip([0, 8, 16]) {
                    register[0] = byte(shift);
                }
                self.device = self.device & !device::HEAD | byte(24) & device::HEAD;
            }
            Form::Chs => {
                let sectors = u64::from(geometry.sectors_per_track.max(1));
                let (track, sector) = (lba / sectors, lba % sectors + 1);
                let heads = u64::from(geometry.heads.max(1));
                let (cylinder, head) = (track / heads, track % heads);
                for (register, value) in self.lba.iter_mut().zip([sector, cylinder, cylinder >> 8]) {
                    register[0] = value as u8;
                }
                self.device = self.device & !device::HEAD | head as u8 & device::HEAD;
            }
        }
    }

    /// Leaves a sector count in the registers.
    pub fn set_sectors(&mut self, form: Form, count: u32) {
        self.count[0] = count as u8;
        if form == Form::Lba48 {
            self.count[1] = (count >> 8) as u8;
        }
    }
}
