//! A CD-ROM drive on the cable: its registers and the packet protocol. What the packets ask for is in `packet.rs`.
//!
//! ATA/ATAPI-6, "PACKET feature set", "PACKET command protocol"; SFF-8020i for what it left to the drive.
//! Left out: overlapped and queued commands; data towards the drive (MODE SELECT); SLEEP is taken for STANDBY.
//! Where the standard leaves it open: a byte count of 0 aborts a PIO command that has data; bit 4 of Status stays
//! DSC, as SFF-8020i has it.

use emu_core::bus::{NEVER, Tick};

use super::disk::TaskFile;
use super::drive::Drive;

use super::sense::Sense;
use super::{device, error, status, timing};
use crate::block::{BlockBackend, BlockRequest, BlockResult, SECTOR_SIZE};
use crate::dma::DmaDirection;
use crate::requests::Requests;

/// Bytes in a block of a data CD.
pub const BLOCK_SIZE: usize = 2048;
/// Sectors of the backend in a block.
const SECTORS_A_BLOCK: u64 = (BLOCK_SIZE / SECTOR_SIZE) as u64;
/// Blocks that are fetched at once.
const CHUNK: u32 = 32;
pub(super) const PACKET_SIZE: usize = 12;

/// Interrupt Reason (the Sector Count register): command or data; to the host or from it.
const COMMAND: u8 = 1 << 0;
const TO_HOST: u8 = 1 << 1;
/// Features of PACKET: data by DMA.
const DMA: u8 = 1 << 0;

const DEVICE_RESET: u8 = 0x08;
const PACKET: u8 = 0xa0;

/// What the drive is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Waiting for a command.
    Idle,
    /// BSY is set until then.
    Busy { until: Tick, step: Step },
    /// DRQ: the host writes the packet.
    Packet,
    /// DRQ: the host reads data.
    PioIn,
    /// DMARQ towards memory.
    DmaIn,
}

/// What follows when BSY ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// The command ends with these error bits and an interrupt.
    Finish { error: u8 },
    /// A packet command ends with this sense.
    Complete(Sense),
    /// EXECUTE DEVICE DIAGNOSTIC or a reset ends.
    Ready { interrupt: bool },
    /// The drive takes the packet.
    TakePacket,
    /// The next data, which are here already.
    Offer,
    /// Blocks have come from the backend.
    Fetched { blocks: u32 },
}

/// A command that reads blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Reading {
    /// Next block to ask the backend for.
    lba: u32,
    /// Blocks to go.
    left: u32,
    /// Blocks to ask for at once; 1 after an error, to find the block that is bad.
    chunk: u32,
}

/// A CD-ROM drive with a disc of blocks of 2048 bytes, one data track.
#[derive(Debug)]
pub struct Cdrom {
    backend: Requests,
    pub(super) model: String,
    pub(super) serial: String,
    pub(super) file: TaskFile,
    phase: Phase,
    /// CHK of the Status register.
    failed: bool,
    /// DRDY: set by the first command after a reset.
    ready: bool,
    interrupt: bool,
    /// What REQUEST SENSE tells.
    pub(super) sense: Sense,
    /// A condition that the next command is told of.
    pub(super) attention: Option<Sense>,
    /// PREVENT ALLOW MEDIUM REMOVAL.
    pub(super) locked: bool,
    pub(super) tray_open: bool,
    /// GET EVENT STATUS NOTIFICATION: what has happened to the medium since it last asked.
    pub(super) event: u8,
    /// Multiword DMA mode, if that was chosen.
    pub(super) dma_mode: Option<u8>,
    packet: Vec<u8>,
    /// The command under way: its data go by DMA; most bytes of one DRQ block.
    dma: bool,
    byte_limit: usize,
    /// The data are IDENTIFY PACKET DEVICE's, which end as those of a disk do.
    identifying: bool,
    reading: Option<Reading>,
    /// Data for the host, the next byte of it, and where the DRQ block ends.
    buffer: Vec<u8>,
    position: usize,
    block_end: usize,
}

impl Cdrom {
    /// A drive with a disc in it. The disc ends at the last whole block of 2048 bytes.
    pub fn new(backend: Box<dyn BlockBackend>, model: &str, serial: &str) -> Self {
        let mut drive = Self {
            backend: Requests::new(backend),
            model: model.to_owned(),
            serial: serial.to_owned(),
            file: TaskFile::default(),
            phase: Phase::Idle,
            failed: false,
            ready: false,
            interrupt: false,
            sense: Sense::NONE,
            attention: None,
            locked: false,
            tray_open: false,
            event: 0,
            dma_mode: Some(2),
            packet: Vec::new(),
            dma: false,
            byte_limit: 0,
            identifying: false,
            reading: None,
            buffer: Vec::new(),
            position: 0,
            block_end: 0,
        };
        drive.power_on();
        drive
    }

    fn power_on(&mut self) {
        self.sign();
        self.sense = Sense::NONE;
        self.attention = Some(Sense::POWERED_ON);
        (self.locked, self.tray_open, self.event) = (false, false, 0);
        self.dma_mode = Some(2);
    }

    /// Blocks on the disc.
    pub(super) fn blocks(&self) -> u32 {
        (self.backend.sectors() / SECTORS_A_BLOCK).min(u64::from(u32::MAX)) as u32
    }

    /// The signature of a packet device, and the diagnostic code "passed".
    fn sign(&mut self) {
        self.file = TaskFile { count: [1, 0], lba: [[1, 0], [0x14, 0], [0xeb, 0]], ..TaskFile::default() };
        self.file.error = error::PASSED;
        (self.failed, self.ready) = (false, false);
    }

    fn abandon(&mut self) {
        self.backend.abandon();
        self.reading = None;
        self.packet.clear();
        self.buffer = Vec::new();
        (self.position, self.block_end) = (0, 0);
        self.phase = Phase::Idle;
    }

    fn busy(&mut self, now: Tick, time: Tick, step: Step) {
        self.phase = Phase::Busy { until: now.saturating_add(time), step };
    }

    fn step(&mut self, step: Step, answer: BlockResult, now: Tick) {
        match step {
            Step::Finish { error } => self.finish(error),
            Step::Complete(sense) => self.complete(sense),
            Step::Ready { interrupt } => {
                self.phase = Phase::Idle;
                self.sign();
                self.interrupt = interrupt;
            }
            Step::TakePacket => {
                self.file.count[0] = COMMAND;
                self.packet.clear();
                self.phase = Phase::Packet;
            }
            Step::Offer => self.offer(),
            Step::Fetched { blocks } => self.fetched(blocks, answer, now),
        }
    }

    fn finish(&mut self, error: u8) {
        self.phase = Phase::Idle;
        self.reading = None;
        self.buffer = Vec::new();
        self.file.error = error;
        self.failed = error != 0;
        self.interrupt = true;
    }

    /// The status phase of a packet command.
    fn complete(&mut self, sense: Sense) {
        self.sense = sense;
        self.file.count[0] = COMMAND | TO_HOST;
        self.finish(sense.error_register());
    }

    /// The twelve bytes have come.
    fn packet_complete(&mut self, now: Tick) {
        let packet = std::array::from_fn(|at| self.packet.get(at).copied().unwrap_or(0));
        match self.answer(&packet) {
            Err(sense) => self.busy(now, timing::COMMAND, Step::Complete(sense)),
            Ok(Answer::Nothing) => self.busy(now, timing::COMMAND, Step::Complete(Sense::NONE)),
            Ok(Answer::Data(data)) if data.is_empty() => {
                self.busy(now, timing::COMMAND, Step::Complete(Sense::NONE));
            }
            Ok(_) if !self.dma && self.byte_limit == 0 => {
                self.busy(now, timing::COMMAND, Step::Finish { error: error::ABRT });
            }
            Ok(Answer::Data(data)) => {
                self.buffer = data;
                self.position = 0;
                self.busy(now, timing::COMMAND, Step::Offer);
            }
            Ok(Answer::Blocks { lba, count }) => {
                self.reading = Some(Reading { lba, left: count, chunk: CHUNK });
                self.fetch_or_complete(now);
            }
        }
    }

    fn fetch_or_complete(&mut self, now: Tick) {
        match self.reading {
            Some(Reading { lba, left, chunk }) if left > 0 => {
                let blocks = left.min(chunk);
                let (first, count) = (u64::from(lba) * SECTORS_A_BLOCK, u64::from(blocks) * SECTORS_A_BLOCK);
                self.backend.submit(BlockRequest::Read { lba: first, count: count as u32 });
                self.busy(now, timing::READ, Step::Fetched { blocks });
            }
            _ => self.busy(now, timing::COMMAND, Step::Complete(Sense::NONE)),
        }
    }

    fn fetched(&mut self, blocks: u32, answer: BlockResult, now: Tick) {
        let Some(reading) = &mut self.reading else { return };
        match answer {
            Ok(data) if data.len() == blocks as usize * BLOCK_SIZE => {
                reading.lba = reading.lba.saturating_add(blocks);
                reading.left -= blocks;
                self.buffer = data;
                self.position = 0;
                self.offer();
            }
            Err(_) if blocks > 1 => {
                reading.chunk = 1;
                self.fetch_or_complete(now);
            }
            Err(error) => {
                let sense = Sense::of_read(error, reading.lba);
                self.complete(sense);
            }
            Ok(_) => {
                let sense = Sense::UNREADABLE.at(reading.lba);
                self.complete(sense);
            }
        }
    }

    /// Data for the host: by PIO up to the byte limit, with an interrupt; by DMA all that is here.
    fn offer(&mut self) {
        if self.dma {
            self.block_end = self.buffer.len();
            self.phase = Phase::DmaIn;
            return;
        }
        let left = self.buffer.len() - self.position;
        // Only the last block may have an odd number of bytes.
        let bytes = if left > self.byte_limit { self.byte_limit & !1 } else { left };
        self.block_end = self.position + bytes;
        if !self.identifying {
            self.file.lba[1][0] = bytes as u8;
            self.file.lba[2][0] = (bytes >> 8) as u8;
            self.file.count[0] = TO_HOST;
        }
        self.phase = Phase::PioIn;
        self.interrupt = true;
    }

    /// Bytes for the host, up to the end of the block.
    fn take(&mut self, out: &mut [u8], now: Tick) -> usize {
        let Some(ready) = self.buffer.get(self.position..self.block_end) else { return 0 };
        let taken = ready.len().min(out.len());
        out[..taken].copy_from_slice(&ready[..taken]);
        self.position += taken;
        if self.position == self.block_end {
            if self.position < self.buffer.len() {
                self.busy(now, timing::NEXT_BLOCK, Step::Offer);
            } else if self.identifying {
                let pending = self.interrupt;
                self.finish(0);
                self.interrupt = pending;
            } else {
                self.fetch_or_complete(now);
            }
        }
        taken
    }

    fn begin_packet(&mut self, now: Tick) {
        self.dma = self.file.features & DMA != 0;
        let limit = usize::from(u16::from_le_bytes([self.file.lba[1][0], self.file.lba[2][0]]));
        // A whole block has an even number of bytes, so the largest count means one less.
        self.byte_limit = if limit == 0xffff { 0xfffe } else { limit };
        if limit == 1 {
            self.byte_limit = 2;
        }
        self.busy(now, timing::COMMAND, Step::TakePacket);
    }

    fn set_features(&mut self) -> u8 {
        match (self.file.features, self.file.count[0]) {
            // PIO default mode, and modes 0 to 4 with flow control; multiword DMA.
            (0x03, 0x00 | 0x01 | 0x08..=0x0c) | (0x66 | 0xcc, _) => 0,
            (0x03, mode @ 0x20..=0x22) => {
                self.dma_mode = Some(mode & 0b111);
                0
            }
            _ => error::ABRT,
        }
    }
}

/// What a packet asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// No data.
    Nothing,
    /// These bytes.
    Data(Vec<u8>),
    /// Blocks of the disc, which are all there.
    Blocks { lba: u32, count: u32 },
}

impl Drive for Cdrom {
    fn file(&self) -> &TaskFile {
        &self.file
    }

    fn file_mut(&mut self) -> &mut TaskFile {
        &mut self.file
    }

    fn status(&self) -> u8 {
        let ready = if self.ready { status::DRDY | status::DSC } else { 0 };
        match self.phase {
            Phase::Idle => ready | if self.failed { status::ERR } else { 0 },
            Phase::Busy { .. } => ready | status::BSY,
            Phase::Packet | Phase::PioIn | Phase::DmaIn => ready | status::DRQ,
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

    fn hears_while_busy(&self, command: u8) -> bool {
        command == DEVICE_RESET
    }

    fn command(&mut self, command: u8, now: Tick) {
        self.abandon();
        self.interrupt = false;
        self.failed = false;
        self.identifying = false;
        self.file.error = 0;
        if command == DEVICE_RESET {
            self.file.device &= device::DEV;
            let selected = self.file.device;
            self.sign();
            self.file.device = selected;
            return;
        }
        self.ready = true;
        let mut error = 0;
        match command {
            PACKET => return self.begin_packet(now),
            // IDENTIFY PACKET DEVICE
            0xa1 => {
                self.identifying = true;
                self.dma = false;
                self.byte_limit = SECTOR_SIZE;
                self.buffer = self.identify_packet_device();
                return self.busy(now, timing::COMMAND, Step::Offer);
            }
            // IDENTIFY DEVICE, READ SECTOR(S): the host is told what it talks to.
            0xec | 0x20 => {
                let device = self.file.device;
                self.sign();
                self.file.device = device;
                self.ready = true;
                error = error::ABRT;
            }
            0xef => error = self.set_features(),
            // CHECK POWER MODE: active
            0xe5 | 0x98 => self.file.count[0] = 0xff,
            // IDLE IMMEDIATE, STANDBY IMMEDIATE, SLEEP
            0xe1 | 0x95 | 0xe0 | 0x94 | 0xe6 | 0x99 => {}
            // NOP ends like this by definition, and so does all that the drive does not know.
            _ => error = error::ABRT,
        }
        self.busy(now, timing::COMMAND, Step::Finish { error });
    }

    fn diagnose(&mut self, now: Tick, interrupt: bool) {
        self.abandon();
        self.interrupt = false;
        self.file.device &= !device::DEV;
        self.busy(now, timing::RESET, Step::Ready { interrupt });
    }

    fn hard_reset(&mut self, now: Tick) {
        self.begin_reset();
        self.power_on();
        self.end_reset(now);
    }

    fn begin_reset(&mut self) {
        self.abandon();
        self.interrupt = false;
        self.file.device &= !device::DEV;
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
        if self.phase == Phase::Packet {
            self.packet.extend(word.to_le_bytes());
            if self.packet.len() >= PACKET_SIZE {
                self.packet_complete(now);
            }
        }
    }

    fn dma_request(&self) -> Option<DmaDirection> {
        (self.phase == Phase::DmaIn).then_some(DmaDirection::ToMemory)
    }

    fn dma_take(&mut self, out: &mut [u8], now: Tick) -> usize {
        if self.phase == Phase::DmaIn { self.take(out, now) } else { 0 }
    }

    fn dma_give(&mut self, _bytes: &[u8], _now: Tick) -> usize {
        0
    }

    fn set_wait_for_host(&mut self, wait: bool) {
        self.backend.wait_for_host = wait;
    }
}
