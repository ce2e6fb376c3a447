//! One disk: its registers, what it is busy with, and its resets.

use emu_core::bus::{NEVER, Tick};

use super::drive::Drive;
use super::geometry::Geometry;

use super::transfer::Transfer;
use super::{device, error, status, timing};
use crate::block::{BlockBackend, BlockError, BlockResult};
use crate::dma::DmaDirection;
use crate::requests::Requests;

/// The command block as one device holds it. Sector count and the three LBA registers remember the value
/// before the last one (what HOB shows).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TaskFile {
    /// Features.
    pub features: u8,
    /// Sector Count: latest, previous.
    pub count: [u8; 2],
    /// LBA Low, Mid, High (Sector Number, Cylinder Low, Cylinder High): latest, previous.
    pub lba: [[u8; 2]; 3],
    /// Device (Device/Head).
    pub device: u8,
    /// Error.
    pub error: u8,
}

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

/// What the device is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Waiting for a command.
    Idle,
    /// BSY is set until then.
    Busy { until: Tick, step: Step },
    /// DRQ: the host reads the data register.
    PioIn,
    /// DRQ: the host writes the data register.
    PioOut,
    /// DMARQ towards memory.
    DmaIn,
    /// DMARQ from memory.
    DmaOut,
}

/// What follows when BSY ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The command ends with these error bits and an interrupt.
    Finish { error: u8 },
    /// EXECUTE DEVICE DIAGNOSTIC or a reset ends.
    Ready { interrupt: bool },
    /// The next DRQ block of data that is here already.
    OfferBlock,
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
    pub(super) backend: Requests,
    pub(super) model: String,
    pub(super) serial: String,
    pub(super) file: TaskFile,
    pub(super) settings: Settings,
    pub(super) phase: Phase,
    /// ERR of the Status register.
    pub(super) failed: bool,
    /// Interrupt pending.
    pub(super) interrupt: bool,
    pub(super) transfer: Option<Transfer>,
    /// Data between backend and host, the next byte of it, and where the DRQ block begins and ends.
    pub(super) buffer: Vec<u8>,
    pub(super) position: usize,
    pub(super) block_start: usize,
    pub(super) block_end: usize,
}

impl AtaDisk {
    /// A disk with a model name (up to 40 ASCII characters) and a serial number (up to 20).
    pub fn new(backend: Box<dyn BlockBackend>, model: &str, serial: &str) -> Self {
        let settings = Settings::default_of(backend.sectors());
        let mut disk = Self {
            backend: Requests::new(backend),
            model: model.to_owned(),
            serial: serial.to_owned(),
            file: TaskFile::default(),
            settings,
            phase: Phase::Idle,
            failed: false,
            interrupt: false,
            transfer: None,
            buffer: Vec::new(),
            position: 0,
            block_start: 0,
            block_end: 0,
        };
        disk.sign();
        disk
    }

    /// The signature of an ATA device, and the diagnostic code "passed".
    fn sign(&mut self) {
        self.file = TaskFile { count: [1, 0], lba: [[1, 0], [0; 2], [0; 2]], ..TaskFile::default() };
        self.file.error = error::PASSED;
        self.failed = false;
    }

    /// Forgets the command under way. What the backend was asked to write is still written.
    pub(super) fn abandon(&mut self) {
        self.backend.abandon();
        self.transfer = None;
        self.buffer = Vec::new();
        (self.position, self.block_start, self.block_end) = (0, 0, 0);
        self.phase = Phase::Idle;
    }

    pub(super) fn busy(&mut self, now: Tick, time: Tick, step: Step) {
        self.phase = Phase::Busy { until: now.saturating_add(time), step };
    }

    /// BSY ends at `now`.
    fn step(&mut self, step: Step, answer: BlockResult, now: Tick) {
        match step {
            Step::Finish { error } => self.finish(error),
            Step::Ready { interrupt } => {
                self.phase = Phase::Idle;
                self.sign();
                self.interrupt = interrupt;
            }
            Step::OfferBlock => self.offer_block(),
            Step::AskForData => self.ask_for_data(false),
            Step::Fetched { sectors } => self.fetched(sectors, answer, now),
            Step::Written { sectors, all } => self.written(sectors, all, answer),
            Step::Flushed => self.finish(answer.err().map_or(0, write_error)),
        }
    }

    /// The command ends: with these bits in the Error register, or well when there are none.
    pub(super) fn finish(&mut self, error: u8) {
        if let Some(transfer) = self.transfer.take() {
            // The registers name the last sector that was good, or the first that was not.
            let lba = if error == 0 { transfer.lba.saturating_sub(1) } else { transfer.lba };
            self.file.set_address(transfer.form, self.settings.geometry, lba);
            self.file.set_sectors(transfer.form, transfer.left);
        }
        self.phase = Phase::Idle;
        self.buffer = Vec::new();
        self.file.error = error;
        self.failed = error != 0;
        self.interrupt = true;
    }
}

impl Drive for AtaDisk {
    fn file(&self) -> &TaskFile {
        &self.file
    }

    fn file_mut(&mut self) -> &mut TaskFile {
        &mut self.file
    }

    fn status(&self) -> u8 {
        let ready = status::DRDY | status::DSC;
        match self.phase {
            Phase::Idle => ready | if self.failed { status::ERR } else { 0 },
            Phase::Busy { .. } => ready | status::BSY,
            Phase::PioIn | Phase::PioOut | Phase::DmaIn | Phase::DmaOut => ready | status::DRQ,
        }
    }

    fn interrupt(&self) -> bool {
        self.interrupt
    }

    fn clear_interrupt(&mut self) {
        self.interrupt = false;
    }

    fn is_busy(&self) -> bool {
        matches!(self.phase, Phase::Busy { .. })
    }

    fn hears_while_busy(&self, _command: u8) -> bool {
        false
    }

    fn command(&mut self, command: u8, now: Tick) {
        self.begin_command(command, now);
    }

    fn diagnose(&mut self, now: Tick, interrupt: bool) {
        self.abandon();
        self.interrupt = false;
        self.file.device &= !device::DEV;
        self.busy(now, timing::RESET, Step::Ready { interrupt });
    }

    fn hard_reset(&mut self, now: Tick) {
        self.settings = Settings::default_of(self.backend.sectors());
        self.begin_reset();
        self.end_reset(now);
    }

    fn begin_reset(&mut self) {
        self.abandon();
        self.interrupt = false;
        self.file.device &= !device::DEV;
        if self.settings.revert {
            self.settings = Settings::default_of(self.backend.sectors());
        }
        self.phase = Phase::Busy { until: NEVER, step: Step::Ready { interrupt: false } };
    }

    fn end_reset(&mut self, now: Tick) {
        self.busy(now, timing::RESET, Step::Ready { interrupt: false });
    }

    fn next_event(&self) -> Tick {
        match self.phase {
            Phase::Busy { until, .. } => until,
            _ => NEVER,
        }
    }

    fn advance(&mut self, now: Tick) {
        while let Phase::Busy { until, step } = self.phase {
            if until > now {
                return;
            }
            let Some(answer) = self.backend.collect() else {
                self.phase = Phase::Busy { until: now.saturating_add(timing::ASK_AGAIN), step };
                return;
            };
            self.step(step, answer, until);
        }
    }

    fn read_data(&mut self, now: Tick) -> u16 {
        let mut word = [0; 2];
        if self.phase == Phase::PioIn {
            self.take(&mut word, now);
        }
        u16::from_le_bytes(word)
    }

    fn write_data(&mut self, word: u16, now: Tick) {
        if self.phase == Phase::PioOut {
            self.give(&word.to_le_bytes(), now);
        }
    }

    fn dma_request(&self) -> Option<DmaDirection> {
        match self.phase {
            Phase::DmaIn => Some(DmaDirection::ToMemory),
            Phase::DmaOut => Some(DmaDirection::FromMemory),
            _ => None,
        }
    }

    fn dma_take(&mut self, out: &mut [u8], now: Tick) -> usize {
        if self.phase == Phase::DmaIn { self.take(out, now) } else { 0 }
    }

    fn dma_give(&mut self, bytes: &[u8], now: Tick) -> usize {
        if self.phase == Phase::DmaOut { self.give(bytes, now) } else { 0 }
    }

    fn set_wait_for_host(&mut self, wait: bool) {
        self.backend.wait_for_host = wait;
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
