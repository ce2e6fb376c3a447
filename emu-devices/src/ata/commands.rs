//! The commands: what a write to the Command register starts.

use emu_core::bus::Tick;

use super::disk::{AtaDisk, DiskStep};
use super::geometry::Geometry;
use super::transfer::Kind;
use super::unit::{Step, set_transfer_mode};
use super::{device, error, timing};
use crate::block::BlockRequest;

/// The most sectors that SET MULTIPLE MODE accepts.
pub const MAX_MULTIPLE: u8 = 16;

impl AtaDisk {
    /// Begins a command. EXECUTE DEVICE DIAGNOSTIC is the channel's business.
    pub(super) fn start(&mut self, command: u8, now: Tick) {
        let multiple = u32::from(self.settings.multiple);
        match command {
            // READ SECTOR(S), READ SECTOR(S) EXT
            0x20 | 0x21 => self.begin(Kind::Read, false, false, 1, now),
            0x24 => self.begin(Kind::Read, true, false, 1, now),
            // READ MULTIPLE, READ MULTIPLE EXT
            0xc4 if multiple != 0 => self.begin(Kind::Read, false, false, multiple, now),
            0x29 if multiple != 0 => self.begin(Kind::Read, true, false, multiple, now),
            // READ DMA, READ DMA EXT
            0xc8 | 0xc9 => self.begin(Kind::Read, false, true, 1, now),
            0x25 => self.begin(Kind::Read, true, true, 1, now),
            // WRITE SECTOR(S), WRITE SECTOR(S) EXT
            0x30 | 0x31 => self.begin(Kind::Write, false, false, 1, now),
            0x34 => self.begin(Kind::Write, true, false, 1, now),
            // WRITE MULTIPLE, WRITE MULTIPLE EXT
            0xc5 if multiple != 0 => self.begin(Kind::Write, false, false, multiple, now),
            0x39 if multiple != 0 => self.begin(Kind::Write, true, false, multiple, now),
            // WRITE DMA, WRITE DMA EXT
            0xca | 0xcb => self.begin(Kind::Write, false, true, 1, now),
            0x35 => self.begin(Kind::Write, true, true, 1, now),
            // READ VERIFY SECTOR(S), READ VERIFY SECTOR(S) EXT
            0x40 | 0x41 => self.begin(Kind::Verify, false, false, 1, now),
            0x42 => self.begin(Kind::Verify, true, false, 1, now),
            // RECALIBRATE, SEEK
            0x10..=0x1f => self.end(0, now),
            0x70..=0x7f => self.seek(now),
            // INITIALIZE DEVICE PARAMETERS, SET MULTIPLE MODE, SET FEATURES
            0x91 => self.initialize_device_parameters(now),
            0xc6 => self.set_multiple_mode(now),
            0xef => self.set_features(now),
            // IDENTIFY DEVICE
            0xec => {
                self.unit.buffer = self.identify_device();
                self.unit.busy(now, timing::COMMAND, Step::Offer);
            }
            // FLUSH CACHE, FLUSH CACHE EXT
            0xe7 | 0xea => {
                self.unit.backend.submit(BlockRequest::Flush);
                self.unit.busy(now, timing::FLUSH, Step::Own(DiskStep::Flushed));
            }
            // STANDBY IMMEDIATE, STANDBY, SLEEP
            0xe0 | 0x94 | 0xe2 | 0x96 | 0xe6 | 0x99 => {
                self.settings.power = 0x00;
                self.unit.backend.submit(BlockRequest::Flush);
                self.unit.busy(now, timing::FLUSH, Step::Own(DiskStep::Flushed));
            }
            // IDLE IMMEDIATE, IDLE
            0xe1 | 0x95 | 0xe3 | 0x97 => {
                self.settings.power = 0x80;
                self.end(0, now);
            }
            // CHECK POWER MODE
            0xe5 | 0x98 => {
                self.unit.file.count[0] = self.settings.power;
                self.end(0, now);
            }
            // READ NATIVE MAX ADDRESS, READ NATIVE MAX ADDRESS EXT
            0xf8 => self.read_native_max(false, now),
            0x27 => self.read_native_max(true, now),
            // NOP ends like this by definition, and so does all that a disk does not know.
            _ => self.end(error::ABRT, now),
        }
    }

    fn end(&mut self, error: u8, now: Tick) {
        self.unit.busy(now, timing::COMMAND, Step::Finish { error });
    }

    fn seek(&mut self, now: Tick) {
        let address = self.unit.file.address(self.unit.file.form(false), self.settings.geometry);
        let error = match address {
            Ok(lba) if lba < self.unit.backend.sectors() => 0,
            _ => error::IDNF,
        };
        self.end(error, now);
    }

    /// Sector Count: sectors per track; Device: number of the last head.
    fn initialize_device_parameters(&mut self, now: Tick) {
        let heads = (self.unit.file.device & device::HEAD) + 1;
        let sectors_per_track = self.unit.file.count[0];
        if sectors_per_track == 0 {
            return self.end(error::ABRT, now);
        }
        self.settings.geometry = Geometry::with_heads(self.unit.backend.sectors(), heads, sectors_per_track);
        self.end(0, now);
    }

    /// Sector Count: sectors in a block, a power of two; 0 (and what is refused) disables the commands.
    fn set_multiple_mode(&mut self, now: Tick) {
        let sectors = self.unit.file.count[0];
        let good = sectors == 0 || sectors.is_power_of_two() && sectors <= MAX_MULTIPLE;
        self.settings.multiple = if good { sectors } else { 0 };
        self.end(if good { 0 } else { error::ABRT }, now);
    }

    fn set_features(&mut self, now: Tick) {
        let settings = &mut self.settings;
        match self.unit.file.features {
            0x02 => settings.write_cache = true,
            0x82 => {
                settings.write_cache = false;
                // What the cache holds goes to the disk now.
                self.unit.backend.submit(BlockRequest::Flush);
                return self.unit.busy(now, timing::FLUSH, Step::Own(DiskStep::Flushed));
            }
            0xaa => settings.look_ahead = true,
            0x55 => settings.look_ahead = false,
            0x66 => settings.revert = false,
            0xcc => settings.revert = true,
            0x03 if set_transfer_mode(self.unit.file.count[0], &mut settings.dma_mode) => {}
            _ => return self.end(error::ABRT, now),
        }
        self.end(0, now);
    }

    /// Leaves the address of the last sector in the registers.
    fn read_native_max(&mut self, ext: bool, now: Tick) {
        if self.unit.file.device & device::LBA == 0 {
            return self.end(error::ABRT, now);
        }
        let last = self.unit.backend.sectors().saturating_sub(1);
        let last = if ext { last } else { last.min(0x0fff_ffff) };
        self.unit.file.set_address(self.unit.file.form(ext), self.settings.geometry, last);
        self.end(0, now);
    }
}
