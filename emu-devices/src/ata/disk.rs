//! One disk: its settings, and what it does when BSY ends. `unit.rs` has what it shares with other drives.

use emu_core::bus::Tick;

use super::geometry::Geometry;
use super::transfer::Transfer;
use super::unit::{Device, Unit};
use super::{error, status};
use crate::block::{BlockBackend, BlockError, BlockResult};

/// What SET FEATURES, SET MULTIPLE MODE, INITIALIZE DEVICE PARAMETERS and the power commands change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Sectors in a DRQ block of READ and WRITE MULTIPLE; 0 while those are disabled.
    pub multiple: u8,
    /// Written data may stay in the cache.
    pub write_cache: bool,
    /// Read look-ahead (no effect but in IDENTIFY DEVICE).
    pub look_ahead: bool,
    /// A software reset brings the defaults back.
    pub revert: bool,
    /// Multiword DMA mode, if that was chosen.
    pub dma_mode: Option<u8>,
    /// CHS translation.
    pub geometry: Geometry,
    /// What CHECK POWER MODE tells: 00h standby, 80h idle, FFh active.
    pub power: u8,
}

impl Settings {
    fn default_of(sectors: u64) -> Self {
        Self {
            multiple: 0,
            write_cache: true,
            look_ahead: true,
            revert: false,
            dma_mode: Some(2),
            geometry: Geometry::default_of(sectors),
            power: 0xff,
        }
    }
}

/// What follows when BSY ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DiskStep {
    /// The host may send the first block, by DMA.
    AskForData,
    /// Sectors have come from the backend.
    Fetched { sectors: u32 },
    /// Sectors were handed to the backend; `all` when it was the whole block.
    Written { sectors: u32, all: bool },
    /// The cache was flushed.
    Flushed,
}

/// A disk: its registers, its settings, and the backend that holds its sectors.
#[derive(Debug)]
pub struct AtaDisk {
    pub(super) unit: Unit<DiskStep>,
    pub(super) settings: Settings,
    pub(super) transfer: Option<Transfer>,
    /// Where the DRQ block begins in the buffer.
    pub(super) block_start: usize,
}

impl AtaDisk {
    /// A disk with a model name (up to 40 ASCII characters) and a serial number (up to 20).
    pub fn new(backend: Box<dyn BlockBackend>, model: &str, serial: &str) -> Self {
        let settings = Settings::default_of(backend.sectors());
        let mut disk =
            Self { unit: Unit::new(backend, model, serial), settings, transfer: None, block_start: 0 };
        disk.sign();
        disk
    }
}

impl Device for AtaDisk {
    type Own = DiskStep;

    fn unit(&self) -> &Unit<DiskStep> {
        &self.unit
    }

    fn unit_mut(&mut self) -> &mut Unit<DiskStep> {
        &mut self.unit
    }

    fn ready(&self) -> u8 {
        status::DRDY | status::DSC
    }

    fn hears_while_busy(&self, _command: u8) -> bool {
        false
    }

    /// The signature of an ATA device.
    fn sign(&mut self) {
        self.unit.sign([0; 2]);
    }

    fn restore(&mut self) {
        self.settings = Settings::default_of(self.unit.backend.sectors());
    }

    fn soft_reset(&mut self) {
        if self.settings.revert {
            self.restore();
        }
    }

    fn forget(&mut self) {
        self.transfer = None;
        self.block_start = 0;
    }

    fn begin_command(&mut self, command: u8, now: Tick) {
        self.start(command, now);
    }

    fn step(&mut self, step: DiskStep, answer: BlockResult, now: Tick) {
        match step {
            DiskStep::AskForData => self.ask_for_data(false),
            DiskStep::Fetched { sectors } => self.fetched(sectors, answer, now),
            DiskStep::Written { sectors, all } => self.written(sectors, all, answer),
            DiskStep::Flushed => self.finish(answer.err().map_or(0, write_error)),
        }
    }

    fn offer(&mut self) {
        self.offer_block();
    }

    fn block_taken(&mut self, now: Tick) {
        self.sectors_taken(now);
    }

    fn give(&mut self, bytes: &[u8], now: Tick) -> usize {
        self.take_from_host(bytes, now)
    }

    fn finish(&mut self, error: u8) {
        if let Some(transfer) = self.transfer.take() {
            // The registers name the last sector that was good, or the first that was not.
            let lba = if error == 0 { transfer.lba.saturating_sub(1) } else { transfer.lba };
            self.unit.file.set_address(transfer.form, self.settings.geometry, lba);
            self.unit.file.set_sectors(transfer.form, transfer.left);
        }
        self.unit.end(error);
    }
}

/// Error bits for a read that the backend could not do.
pub fn read_error(error: BlockError) -> u8 {
    match error {
        BlockError::Range => error::IDNF,
        BlockError::ReadOnly | BlockError::Host => error::UNC,
    }
}

/// Error bits for a write or flush that the backend could not do.
pub fn write_error(error: BlockError) -> u8 {
    match error {
        BlockError::Range => error::IDNF,
        BlockError::ReadOnly | BlockError::Host => error::ABRT,
    }
}
