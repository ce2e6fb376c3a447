//! A CD-ROM drive on the cable: the packet protocol. What the packets ask for is in `packet.rs`, what the drive shares
//! with disks in `unit.rs`.
//!
//! ATA/ATAPI-6, "PACKET feature set", "PACKET command protocol"; SFF-8020i for what it left to the drive.
//! Left out: overlapped and queued commands; data towards the drive (MODE SELECT); SLEEP is taken for STANDBY.
//! Where the standard leaves it open: a byte count of 0 aborts a PIO command that has data; bit 4 of Status stays
//! DSC, as SFF-8020i has it.

use emu_core::bus::Tick;

use super::sense::Sense;
use super::unit::{Device, Phase, Step, Unit, set_transfer_mode};
use super::{device, error, status, timing};
use crate::block::{BlockBackend, BlockRequest, BlockResult, SECTOR_SIZE};

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

/// What follows when BSY ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CdromStep {
    /// A packet command ends with this sense.
    Complete(Sense),
    /// The drive takes the packet.
    TakePacket,
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
    pub(super) unit: Unit<CdromStep>,
    /// DRDY: set by the first command after a reset.
    ready: bool,
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
}

impl Cdrom {
    /// A drive with a disc in it. The disc ends at the last whole block of 2048 bytes.
    pub fn new(backend: Box<dyn BlockBackend>, model: &str, serial: &str) -> Self {
        let mut drive = Self {
            unit: Unit::new(backend, model, serial),
            ready: false,
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
        };
        drive.restore();
        drive
    }

    /// Blocks on the disc.
    pub(super) fn blocks(&self) -> u32 {
        (self.unit.backend.sectors() / SECTORS_A_BLOCK).min(u64::from(u32::MAX)) as u32
    }

    /// The status phase of a packet command.
    fn complete(&mut self, sense: Sense) {
        self.sense = sense;
        self.unit.file.count[0] = COMMAND | TO_HOST;
        self.finish(sense.error_register());
    }

    /// The twelve bytes have come.
    fn packet_complete(&mut self, now: Tick) {
        let packet = std::array::from_fn(|at| self.packet.get(at).copied().unwrap_or(0));
        match self.answer(&packet) {
            Err(sense) => self.unit.busy(now, timing::COMMAND, Step::Own(CdromStep::Complete(sense))),
            Ok(Answer::Nothing) => {
                self.unit.busy(now, timing::COMMAND, Step::Own(CdromStep::Complete(Sense::NONE)))
            }
            Ok(Answer::Data(data)) if data.is_empty() => {
                self.unit.busy(now, timing::COMMAND, Step::Own(CdromStep::Complete(Sense::NONE)));
            }
            Ok(_) if !self.dma && self.byte_limit == 0 => {
                self.unit.busy(now, timing::COMMAND, Step::Finish { error: error::ABRT });
            }
            Ok(Answer::Data(data)) => {
                self.unit.buffer = data;
                self.unit.position = 0;
                self.unit.busy(now, timing::COMMAND, Step::Offer);
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
                self.unit.backend.submit(BlockRequest::Read { lba: first, count: count as u32 });
                self.unit.busy(now, timing::READ, Step::Own(CdromStep::Fetched { blocks }));
            }
            _ => self.unit.busy(now, timing::COMMAND, Step::Own(CdromStep::Complete(Sense::NONE))),
        }
    }

    fn fetched(&mut self, blocks: u32, answer: BlockResult, now: Tick) {
        let Some(reading) = &mut self.reading else { return };
        match answer {
            Ok(data) if data.len() == blocks as usize * BLOCK_SIZE => {
                reading.lba = reading.lba.saturating_add(blocks);
                reading.left -= blocks;
                self.unit.buffer = data;
                self.unit.position = 0;
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

    fn begin_packet(&mut self, now: Tick) {
        self.dma = self.unit.file.features & DMA != 0;
        let limit = usize::from(u16::from_le_bytes([self.unit.file.lba[1][0], self.unit.file.lba[2][0]]));
        // A whole block has an even number of bytes, so the largest count means one less.
        self.byte_limit = if limit == 0xffff { 0xfffe } else { limit };
        if limit == 1 {
            self.byte_limit = 2;
        }
        self.unit.busy(now, timing::COMMAND, Step::Own(CdromStep::TakePacket));
    }

    fn set_features(&mut self) -> u8 {
        let count = self.unit.file.count[0];
        match self.unit.file.features {
            0x66 | 0xcc => 0,
            0x03 if set_transfer_mode(count, &mut self.dma_mode) => 0,
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

impl Device for Cdrom {
    type Own = CdromStep;

    fn unit(&self) -> &Unit<CdromStep> {
        &self.unit
    }

    fn unit_mut(&mut self) -> &mut Unit<CdromStep> {
        &mut self.unit
    }

    fn ready(&self) -> u8 {
        if self.ready { status::DRDY | status::DSC } else { 0 }
    }

    fn hears_while_busy(&self, command: u8) -> bool {
        command == DEVICE_RESET
    }

    /// The signature of a packet device.
    fn sign(&mut self) {
        self.unit.sign([0x14, 0xeb]);
        self.ready = false;
    }

    fn restore(&mut self) {
        self.sign();
        self.sense = Sense::NONE;
        self.attention = Some(Sense::POWERED_ON);
        (self.locked, self.tray_open, self.event) = (false, false, 0);
        self.dma_mode = Some(2);
    }

    fn soft_reset(&mut self) {}

    fn forget(&mut self) {
        self.reading = None;
        self.packet.clear();
    }

    fn begin_command(&mut self, command: u8, now: Tick) {
        self.identifying = false;
        if command == DEVICE_RESET {
            let selected = self.unit.file.device & device::DEV;
            self.sign();
            self.unit.file.device = selected;
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
                self.unit.buffer = self.identify_packet_device();
                return self.unit.busy(now, timing::COMMAND, Step::Offer);
            }
            // IDENTIFY DEVICE, READ SECTOR(S): the host is told what it talks to.
            0xec | 0x20 => {
                let device = self.unit.file.device;
                self.sign();
                self.unit.file.device = device;
                self.ready = true;
                error = error::ABRT;
            }
            0xef => error = self.set_features(),
            // CHECK POWER MODE: active
            0xe5 | 0x98 => self.unit.file.count[0] = 0xff,
            // IDLE IMMEDIATE, STANDBY IMMEDIATE, SLEEP
            0xe1 | 0x95 | 0xe0 | 0x94 | 0xe6 | 0x99 => {}
            // NOP ends like this by definition, and so does all that the drive does not know.
            _ => error = error::ABRT,
        }
        self.unit.busy(now, timing::COMMAND, Step::Finish { error });
    }

    fn step(&mut self, step: CdromStep, answer: BlockResult, now: Tick) {
        match step {
            CdromStep::Complete(sense) => self.complete(sense),
            CdromStep::TakePacket => {
                self.unit.file.count[0] = COMMAND;
                self.packet.clear();
                self.unit.phase = Phase::Packet;
            }
            CdromStep::Fetched { blocks } => self.fetched(blocks, answer, now),
        }
    }

    /// Data for the host: by PIO up to the byte limit, with an interrupt; by DMA all that is here.
    fn offer(&mut self) {
        if self.dma {
            self.unit.block_end = self.unit.buffer.len();
            self.unit.phase = Phase::DmaIn;
            return;
        }
        let left = self.unit.buffer.len() - self.unit.position;
        // Only the last block may have an odd number of bytes.
        let bytes = if left > self.byte_limit { self.byte_limit & !1 } else { left };
        self.unit.block_end = self.unit.position + bytes;
        if !self.identifying {
            self.unit.file.lba[1][0] = bytes as u8;
            self.unit.file.lba[2][0] = (bytes >> 8) as u8;
            self.unit.file.count[0] = TO_HOST;
        }
        self.unit.phase = Phase::PioIn;
        self.unit.interrupt = true;
    }

    fn block_taken(&mut self, now: Tick) {
        if self.unit.position < self.unit.buffer.len() {
            self.unit.busy(now, timing::NEXT_BLOCK, Step::Offer);
        } else if self.identifying {
            self.finish_silently();
        } else {
            self.fetch_or_complete(now);
        }
    }

    /// Bytes of a packet.
    fn give(&mut self, bytes: &[u8], now: Tick) -> usize {
        self.packet.extend(bytes);
        if self.packet.len() >= PACKET_SIZE {
            self.packet_complete(now);
        }
        bytes.len()
    }

    fn finish(&mut self, error: u8) {
        self.reading = None;
        self.unit.end(error);
    }
}
