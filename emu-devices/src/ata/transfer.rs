//! Data between backend and host: DRQ blocks by PIO, chunks by DMA.

use emu_core::bus::Tick;

use super::disk::{AtaDisk, DiskStep, read_error, write_error};
use super::geometry::Form;
use super::unit::{Device, Phase, Step};
use super::{error, timing};
use crate::block::{BlockRequest, BlockResult, SECTOR_SIZE};

/// Sectors that are fetched, or gathered for DMA, at once.
const CHUNK: u32 = 256;

/// What happens to the sectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Read,
    Write,
    Verify,
}

/// A command that moves sectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transfer {
    pub kind: Kind,
    pub form: Form,
    pub dma: bool,
    /// Next sector.
    pub lba: u64,
    /// Sectors to go.
    pub left: u32,
    /// Sectors in a DRQ block.
    pub block: u32,
    /// Sectors to ask the backend for at once; 1 after an error, to find the sector that is bad.
    pub chunk: u32,
}

impl AtaDisk {
    /// Begins a command that moves `file.sectors` sectors in DRQ blocks of `block`.
    pub(super) fn begin(&mut self, kind: Kind, ext: bool, dma: bool, block: u32, now: Tick) {
        let form = self.unit.file.form(ext);
        let lba = match self.unit.file.address(form, self.settings.geometry) {
            Ok(lba) => lba,
            Err(error) => return self.unit.busy(now, timing::COMMAND, Step::Finish { error }),
        };
        let left = self.unit.file.sectors(ext);
        self.settings.power = 0xff;
        self.transfer = Some(Transfer { kind, form, dma, lba, left, block, chunk: CHUNK });
        match kind {
            Kind::Read | Kind::Verify => self.fetch(now),
            // At once, where a drive may take its time: xv6 sends the data without a look at the status.
            Kind::Write if !dma => self.ask_for_data(false),
            Kind::Write => self.unit.busy(now, timing::NEXT_BLOCK, Step::Own(DiskStep::AskForData)),
        }
    }

    /// Asks the backend for the next sectors.
    fn fetch(&mut self, now: Tick) {
        let Some(transfer) = self.transfer else { return };
        let there = self.unit.backend.sectors().saturating_sub(transfer.lba);
        let sectors = u64::from(transfer.left.min(transfer.chunk)).min(there) as u32;
        if sectors == 0 {
            return self.unit.busy(now, timing::COMMAND, Step::Finish { error: error::IDNF });
        }
        self.unit.backend.submit(BlockRequest::Read { lba: transfer.lba, count: sectors });
        self.unit.busy(now, timing::READ, Step::Own(DiskStep::Fetched { sectors }));
    }

    pub(super) fn fetched(&mut self, sectors: u32, answer: BlockResult, now: Tick) {
        let Some(transfer) = &mut self.transfer else { return };
        match answer {
            Ok(data) if data.len() == sectors as usize * SECTOR_SIZE => {
                if transfer.kind == Kind::Verify {
                    self.sectors_done(sectors);
                    return self.fetch_or_finish(now);
                }
                self.unit.buffer = data;
                self.unit.position = 0;
                self.offer_block();
            }
            Err(_) if sectors > 1 => {
                transfer.chunk = 1;
                self.fetch(now);
            }
            Err(error) => self.finish(read_error(error)),
            Ok(_) => self.finish(error::UNC),
        }
    }

    /// Data for the host: by PIO one DRQ block with an interrupt, by DMA all that is here.
    pub(super) fn offer_block(&mut self) {
        self.block_start = self.unit.position;
        self.unit.block_end = self.unit.buffer.len();
        match self.transfer {
            Some(transfer) if transfer.dma => self.unit.phase = Phase::DmaIn,
            transfer => {
                let block = transfer.map_or(1, |transfer| transfer.block) as usize * SECTOR_SIZE;
                self.unit.block_end = self.unit.block_end.min(self.unit.position + block);
                self.unit.phase = Phase::PioIn;
                self.unit.interrupt = true;
            }
        }
    }

    /// The host has taken a whole block (or, by DMA, everything).
    pub(super) fn sectors_taken(&mut self, now: Tick) {
        self.sectors_done(((self.unit.block_end - self.block_start) / SECTOR_SIZE) as u32);
        match self.transfer {
            Some(transfer) if transfer.left > 0 && self.unit.position < self.unit.buffer.len() => {
                self.unit.busy(now, timing::NEXT_BLOCK, Step::Offer);
            }
            Some(transfer) if transfer.dma || transfer.left > 0 => self.fetch_or_finish(now),
            _ => self.finish_silently(),
        }
    }

    fn fetch_or_finish(&mut self, now: Tick) {
        match self.transfer {
            Some(transfer) if transfer.left > 0 => self.fetch(now),
            _ => self.finish(0),
        }
    }

    fn sectors_done(&mut self, sectors: u32) {
        if let Some(transfer) = &mut self.transfer {
            transfer.lba += u64::from(sectors);
            transfer.left = transfer.left.saturating_sub(sectors);
        }
    }

    /// Room for data of the host: one DRQ block by PIO, up to a chunk by DMA.
    pub(super) fn ask_for_data(&mut self, interrupt: bool) {
        let Some(transfer) = self.transfer else { return };
        let sectors = transfer.left.min(if transfer.dma { CHUNK } else { transfer.block });
        self.unit.buffer.clear();
        self.unit.block_end = sectors as usize * SECTOR_SIZE;
        self.unit.phase = if transfer.dma { Phase::DmaOut } else { Phase::PioOut };
        self.unit.interrupt |= interrupt && !transfer.dma;
    }

    /// The host has sent the whole block.
    fn block_given(&mut self, now: Tick) {
        let Some(transfer) = self.transfer else { return };
        let there = self.unit.backend.sectors().saturating_sub(transfer.lba);
        let sent = (self.unit.buffer.len() / SECTOR_SIZE) as u64;
        let sectors = sent.min(there) as u32;
        if sectors == 0 {
            return self.unit.busy(now, timing::COMMAND, Step::Finish { error: error::IDNF });
        }
        let mut data = std::mem::take(&mut self.unit.buffer);
        data.truncate(sectors as usize * SECTOR_SIZE);
        self.unit.backend.submit(BlockRequest::Write { lba: transfer.lba, data });
        if !self.settings.write_cache {
            self.unit.backend.submit(BlockRequest::Flush);
        }
        let all = u64::from(sectors) == sent;
        self.unit.busy(now, timing::WRITE, Step::Own(DiskStep::Written { sectors, all }));
    }

    pub(super) fn written(&mut self, sectors: u32, all: bool, answer: BlockResult) {
        if let Err(error) = answer {
            return self.finish(write_error(error));
        }
        self.sectors_done(sectors);
        match self.transfer {
            _ if !all => self.finish(error::IDNF),
            Some(transfer) if transfer.left > 0 => self.ask_for_data(true),
            _ => self.finish(0),
        }
    }

    /// Bytes of the host, up to the end of the block.
    pub(super) fn take_from_host(&mut self, bytes: &[u8], now: Tick) -> usize {
        let room = self.unit.block_end.saturating_sub(self.unit.buffer.len());
        let given = room.min(bytes.len());
        self.unit.buffer.extend_from_slice(&bytes[..given]);
        if self.unit.buffer.len() == self.unit.block_end {
            self.block_given(now);
        }
        given
    }
}
