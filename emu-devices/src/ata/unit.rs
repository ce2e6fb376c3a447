//! What a disk and a CD-ROM drive have in common: the registers, BSY and what follows it, resets, and data on their
//! way to the host.

use std::fmt::Debug;

use emu_core::bus::{NEVER, Tick};

use super::drive::Drive;
use super::{device, error, status, timing};
use crate::block::{BlockBackend, BlockResult};
use crate::dma::DmaDirection;
use crate::requests::Requests;

/// The command block as one device holds it. Sector count and the three LBA registers remember the value
/// before the last one (what HOB shows).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct TaskFile {
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

/// What the device is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase<S> {
    /// Waiting for a command.
    Idle,
    /// BSY is set until then.
    Busy { until: Tick, step: Step<S> },
    /// DRQ: the host writes a packet.
    Packet,
    /// DRQ: the host reads the data register.
    PioIn,
    /// DRQ: the host writes the data register.
    PioOut,
    /// DMARQ towards memory.
    DmaIn,
    /// DMARQ from memory.
    DmaOut,
}

/// What follows when BSY ends; `S` is what only this kind of device does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step<S> {
    /// The command ends with these error bits and an interrupt.
    Finish { error: u8 },
    /// EXECUTE DEVICE DIAGNOSTIC or a reset ends.
    Ready { interrupt: bool },
    /// The next DRQ block of data that is here already.
    Offer,
    /// Something of the device's own.
    Own(S),
}

/// Registers, backend and buffer of a device.
#[derive(Debug)]
pub(super) struct Unit<S> {
    pub backend: Requests,
    pub model: String,
    pub serial: String,
    pub file: TaskFile,
    pub phase: Phase<S>,
    /// ERR (CHK) of the Status register.
    pub failed: bool,
    /// Interrupt pending.
    pub interrupt: bool,
    /// Data between backend and host, the next byte of it, and where the DRQ block ends.
    pub buffer: Vec<u8>,
    pub position: usize,
    pub block_end: usize,
}

impl<S> Unit<S> {
    /// A device that has just been switched on.
    pub fn new(backend: Box<dyn BlockBackend>, model: &str, serial: &str) -> Self {
        Self {
            backend: Requests::new(backend),
            model: model.to_owned(),
            serial: serial.to_owned(),
            file: TaskFile::default(),
            phase: Phase::Idle,
            failed: false,
            interrupt: false,
            buffer: Vec::new(),
            position: 0,
            block_end: 0,
        }
    }

    /// A signature, whose last two bytes tell the kind of device, and the diagnostic code "passed".
    pub fn sign(&mut self, [mid, high]: [u8; 2]) {
        self.file = TaskFile { count: [1, 0], lba: [[1, 0], [mid, 0], [high, 0]], ..TaskFile::default() };
        self.file.error = error::PASSED;
        self.failed = false;
    }

    /// A new command: the last one's outcome is forgotten.
    pub fn begin(&mut self) {
        self.interrupt = false;
        self.failed = false;
        self.file.error = 0;
    }

    /// BSY for this long, then the step.
    pub fn busy(&mut self, now: Tick, time: Tick, step: Step<S>) {
        self.phase = Phase::Busy { until: now.saturating_add(time), step };
    }

    /// The command ends: with these bits in the Error register, or well when there are none.
    pub fn end(&mut self, error: u8) {
        self.phase = Phase::Idle;
        self.buffer = Vec::new();
        self.file.error = error;
        self.failed = error != 0;
        self.interrupt = true;
    }

    /// Bytes for the host, up to the end of the block; `None` when nothing was on offer.
    fn take(&mut self, out: &mut [u8]) -> Option<usize> {
        let ready = self.buffer.get(self.position..self.block_end)?;
        let taken = ready.len().min(out.len());
        out[..taken].copy_from_slice(&ready[..taken]);
        self.position += taken;
        Some(taken)
    }
}

/// SET FEATURES, "set transfer mode" with this Sector Count: PIO default mode, PIO modes 0 to 4 with flow control, and
/// multiword DMA modes. False when there is no such mode.
pub(super) fn set_transfer_mode(count: u8, dma_mode: &mut Option<u8>) -> bool {
    match count {
        0x00 | 0x01 | 0x08..=0x0c => {}
        0x20..=0x22 => *dma_mode = Some(count & 0b111),
        _ => return false,
    }
    true
}

/// What makes a unit a disk or a CD-ROM drive.
pub(super) trait Device: Debug + Send {
    /// What it does when BSY ends that others do not.
    type Own: Copy + Debug + Send;

    /// What it has in common with others.
    fn unit(&self) -> &Unit<Self::Own>;
    /// What it has in common with others.
    fn unit_mut(&mut self) -> &mut Unit<Self::Own>;
    /// DRDY and DSC of the Status register.
    fn ready(&self) -> u8;
    /// Whether this command is heard even while BSY is set.
    fn hears_while_busy(&self, command: u8) -> bool;
    /// Shows its signature.
    fn sign(&mut self);
    /// Settings as they are after power-on.
    fn restore(&mut self);
    /// What a software reset changes of them.
    fn soft_reset(&mut self);
    /// Forgets its part of the command under way.
    fn forget(&mut self);
    /// Writes the Command register.
    fn begin_command(&mut self, command: u8, now: Tick);
    /// BSY ends, and the backend has answered.
    fn step(&mut self, step: Self::Own, answer: BlockResult, now: Tick);
    /// Offers the next data to the host.
    fn offer(&mut self);
    /// The host has taken all of a block.
    fn block_taken(&mut self, now: Tick);
    /// Bytes of the host while a packet or data are awaited; returns how many were taken.
    fn give(&mut self, bytes: &[u8], now: Tick) -> usize;
    /// The command under way ends.
    fn finish(&mut self, error: u8);

    /// The last block of a PIO read ends the command without a further interrupt.
    fn finish_silently(&mut self) {
        let pending = self.unit().interrupt;
        self.finish(0);
        self.unit_mut().interrupt = pending;
    }

    /// Forgets the command under way. What the backend was asked to write is still written.
    fn abandon(&mut self) {
        self.forget();
        let unit = self.unit_mut();
        unit.backend.abandon();
        unit.buffer = Vec::new();
        (unit.position, unit.block_end) = (0, 0);
        unit.phase = Phase::Idle;
    }

    /// Gives up whatever was under way, for a reset.
    fn give_up(&mut self) {
        self.abandon();
        let unit = self.unit_mut();
        unit.interrupt = false;
        unit.file.device &= !device::DEV;
    }

    /// Bytes for the host, up to the end of the block.
    fn take(&mut self, out: &mut [u8], now: Tick) -> usize {
        let unit = self.unit_mut();
        let Some(taken) = unit.take(out) else { return 0 };
        if unit.position == unit.block_end {
            self.block_taken(now);
        }
        taken
    }
}

impl<D: Device> Drive for D {
    fn file(&self) -> &TaskFile {
        &self.unit().file
    }

    fn file_mut(&mut self) -> &mut TaskFile {
        &mut self.unit_mut().file
    }

    fn status(&self) -> u8 {
        let unit = self.unit();
        self.ready()
            | match unit.phase {
                Phase::Idle if unit.failed => status::ERR,
                Phase::Idle => 0,
                Phase::Busy { .. } => status::BSY,
                _ => status::DRQ,
            }
    }

    fn interrupt(&self) -> bool {
        self.unit().interrupt
    }

    fn clear_interrupt(&mut self) {
        self.unit_mut().interrupt = false;
    }

    fn is_busy(&self) -> bool {
        matches!(self.unit().phase, Phase::Busy { .. })
    }

    fn hears_while_busy(&self, command: u8) -> bool {
        Device::hears_while_busy(self, command)
    }

    fn command(&mut self, command: u8, now: Tick) {
        self.abandon();
        self.unit_mut().begin();
        self.begin_command(command, now);
    }

    fn diagnose(&mut self, now: Tick, interrupt: bool) {
        self.give_up();
        self.unit_mut().busy(now, timing::RESET, Step::Ready { interrupt });
    }

    fn hard_reset(&mut self, now: Tick) {
        self.begin_reset();
        self.restore();
        self.end_reset(now);
    }

    fn begin_reset(&mut self) {
        self.give_up();
        self.soft_reset();
        self.unit_mut().phase = Phase::Busy { until: NEVER, step: Step::Ready { interrupt: false } };
    }

    fn end_reset(&mut self, now: Tick) {
        self.unit_mut().busy(now, timing::RESET, Step::Ready { interrupt: false });
    }

    fn next_event(&self) -> Tick {
        match self.unit().phase {
            Phase::Busy { until, .. } => until,
            _ => NEVER,
        }
    }

    fn advance(&mut self, now: Tick) {
        while let Phase::Busy { until, step } = self.unit().phase {
            if until > now {
                return;
            }
            let unit = self.unit_mut();
            let Some(answer) = unit.backend.collect() else {
                return unit.busy(now, timing::ASK_AGAIN, step);
            };
            match step {
                Step::Finish { error } => self.finish(error),
                Step::Ready { interrupt } => {
                    unit.phase = Phase::Idle;
                    self.sign();
                    self.unit_mut().interrupt = interrupt;
                }
                Step::Offer => self.offer(),
                Step::Own(step) => self.step(step, answer, until),
            }
        }
    }

    fn read_data(&mut self, now: Tick) -> u16 {
        let mut word = [0; 2];
        if matches!(self.unit().phase, Phase::PioIn) {
            self.take(&mut word, now);
        }
        u16::from_le_bytes(word)
    }

    fn write_data(&mut self, word: u16, now: Tick) {
        if matches!(self.unit().phase, Phase::PioOut | Phase::Packet) {
            self.give(&word.to_le_bytes(), now);
        }
    }

    fn dma_request(&self) -> Option<DmaDirection> {
        match self.unit().phase {
            Phase::DmaIn => Some(DmaDirection::ToMemory),
            Phase::DmaOut => Some(DmaDirection::FromMemory),
            _ => None,
        }
    }

    fn dma_take(&mut self, out: &mut [u8], now: Tick) -> usize {
        if matches!(self.unit().phase, Phase::DmaIn) { self.take(out, now) } else { 0 }
    }

    fn dma_give(&mut self, bytes: &[u8], now: Tick) -> usize {
        if matches!(self.unit().phase, Phase::DmaOut) { self.give(bytes, now) } else { 0 }
    }

    fn set_wait_for_host(&mut self, wait: bool) {
        self.unit_mut().backend.wait_for_host = wait;
    }
}
