//! The commands of the controller: their bytes, their course, and their results.

use emu_core::bus::Tick;

use super::{Drive, Floppy, MOTOR0, Phase, Step, timing};
use crate::block::{BlockError, BlockRequest, BlockResult, SECTOR_SIZE};

/// Bits of the command byte: multi-track, MFM, skip.
const MULTI_TRACK: u8 = 1 << 7;
const MFM: u8 = 1 << 6;
/// ST0: abnormal termination; invalid command; ready changed by polling; seek end; equipment check.
const ABNORMAL: u8 = 0b01 << 6;
const INVALID: u8 = 0b10 << 6;
pub(super) const POLLING: u8 = 0b11 << 6;
const SEEK_END: u8 = 1 << 5;
const EQUIPMENT_CHECK: u8 = 1 << 4;
/// ST1: end of cylinder, data error, no data, not writable, missing address mark.
const END_OF_CYLINDER: u8 = 1 << 7;
const DATA_ERROR: u8 = 1 << 5;
const NO_DATA: u8 = 1 << 2;
const NOT_WRITABLE: u8 = 1 << 1;
const MISSING_MARK: u8 = 1 << 0;
/// ST2: data error in the data field, wrong cylinder.
const DATA_FIELD: u8 = 1 << 5;
const WRONG_CYLINDER: u8 = 1 << 4;
/// CONFIGURE: implied seek.
const IMPLIED_SEEK: u8 = 1 << 6;
/// The version of the 82077AA.
const VERSION: u8 = 0x90;
/// Steps of one RECALIBRATE.
const STEPS_MAX: u8 = 79;
/// Sector size code of 512 bytes.
const SIZE_CODE: u8 = 2;

/// What a command does with sectors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Kind {
    #[default]
    Read,
    ReadTrack,
    Verify,
    Write,
    Format,
    Identify,
}

/// A command that moves sectors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Transfer {
    kind: Kind,
    pub drive: u8,
    /// Head that reads: HDS of the command.
    head: u8,
    multi_track: bool,
    mfm: bool,
    /// Cylinder, head, sector and size as the command has them and the result tells them.
    cylinder: u8,
    side: u8,
    sector: u8,
    size: u8,
    /// Last sector of a track; sectors to format or to verify.
    last: u8,
    left: u8,
    fill: u8,
    /// The DMA controller has said that this is all.
    done: bool,
}

impl Transfer {
    /// Bytes that the host gives at once.
    pub fn room(&self) -> usize {
        if self.kind == Kind::Format { 4 } else { SECTOR_SIZE }
    }
}

/// Bytes of a command, the first one included.
pub(super) fn length(command: u8) -> usize {
    match command & 0x1f {
        0x02 | 0x05 | 0x06 | 0x09 | 0x0c | 0x16 => 9,
        0x0d => 6,
        0x13 => 4,
        0x03 | 0x0f => 3,
        0x04 | 0x07 | 0x0a | 0x12 => 2,
        _ => 1,
    }
}

impl Floppy {
    /// Begins a command whose bytes are all here.
    pub(super) fn begin(&mut self, command: &[u8], now: Tick) {
        let byte = |at: usize| command.get(at).copied().unwrap_or(0);
        match command[0] & 0x1f {
            0x02 => self.begin_transfer(Kind::ReadTrack, command, now),
            0x06 | 0x0c => self.begin_transfer(Kind::Read, command, now),
            0x05 | 0x09 => self.begin_transfer(Kind::Write, command, now),
            0x16 => self.begin_transfer(Kind::Verify, command, now),
            0x0d => self.begin_transfer(Kind::Format, command, now),
            0x0a => self.begin_transfer(Kind::Identify, command, now),
            0x07 => self.recalibrate(byte(1) & 3, now),
            0x0f => self.seek(command[0], byte(1) & 3, byte(2), now),
            0x08 => self.sense_interrupt(),
            0x04 => self.sense_drive(byte(1)),
            0x03 => self.specify = [byte(1), byte(2)],
            0x13 => self.configure = [byte(2), byte(3)],
            0x12 => self.perpendicular = byte(1),
            0x14 => {
                self.locked = command[0] & 0x80 != 0;
                self.give_results(&[u8::from(self.locked) << 4]);
            }
            0x0e => self.dump_registers(),
            0x10 => self.give_results(&[VERSION]),
            _ => self.give_results(&[INVALID]),
        }
    }

    fn give_results(&mut self, results: &[u8]) {
        self.results.clear();
        self.results.extend(results);
        self.phase = Phase::Result;
    }

    fn drive(&mut self, number: u8) -> Option<&mut Drive> {
        self.drives.get_mut(usize::from(number))?.as_mut()
    }

    fn track(&self, number: usize) -> u8 {
        self.drives.get(number).and_then(Option::as_ref).map_or(0, |drive| drive.track)
    }

    /// Heads of a drive move, and its interrupt tells `st0`. Without a drive there is no track 0 to be found.
    fn step_to(&mut self, number: u8, track: u8, st0: u8, now: Tick) {
        let mut st0 = SEEK_END | st0 | number;
        match self.drive(number) {
            Some(drive) => {
                let track = track.min(drive.medium.tracks + 3);
                drive.changed &= track == drive.track;
                drive.track = track;
            }
            None => st0 |= ABNORMAL | EQUIPMENT_CHECK,
        }
        self.interrupt = false;
        self.sense[usize::from(number)] = Some(st0);
        self.seeks[usize::from(number)] = now.saturating_add(timing::SEEK);
    }

    /// Up to 79 steps outwards.
    fn recalibrate(&mut self, number: u8, now: Tick) {
        let track = self.track(usize::from(number));
        let st0 = if track > STEPS_MAX { ABNORMAL | EQUIPMENT_CHECK } else { 0 };
        self.step_to(number, track.saturating_sub(STEPS_MAX), st0, now);
    }

    /// SEEK; with bit 7 RELATIVE SEEK, with bit 6 inwards.
    fn seek(&mut self, command: u8, number: u8, track: u8, now: Tick) {
        let from = self.track(usize::from(number));
        let to = match command & 0xc0 {
            0x80 => from.saturating_sub(track),
            0xc0 => from.saturating_add(track),
            _ => track,
        };
        self.step_to(number, to, 0, now);
    }

    fn sense_interrupt(&mut self) {
        let Some(number) = (0..self.sense.len()).find(|&number| self.has_to_tell(number)) else {
            return self.give_results(&[INVALID]);
        };
        let st0 = self.sense[number].take().unwrap_or(INVALID);
        self.interrupt = false;
        self.give_results(&[st0, self.track(number)]);
    }

    fn sense_drive(&mut self, unit: u8) {
        const TWO_SIDED: u8 = 1 << 3;
        const TRACK0: u8 = 1 << 4;
        const READY: u8 = 1 << 5;
        let st3 = match self.drive(unit & 3) {
            Some(drive) if drive.track == 0 => READY | TWO_SIDED | TRACK0,
            _ => READY | TWO_SIDED,
        };
        self.give_results(&[st3 | unit & 7]);
    }

    fn dump_registers(&mut self) {
        let [first, second] = [self.track(0), self.track(1)];
        let lock = u8::from(self.locked) << 7 | self.perpendicular & 0x7f;
        let [rates, load] = self.specify;
        let [config, precompensation] = self.configure;
        self.give_results(&[first, second, 0, 0, rates, load, self.last_eot, lock, config, precompensation]);
    }

    fn begin_transfer(&mut self, kind: Kind, command: &[u8], now: Tick) {
        let byte = |at: usize| command.get(at).copied().unwrap_or(0);
        let mut transfer = Transfer {
            kind,
            drive: byte(1) & 3,
            head: byte(1) >> 2 & 1,
            multi_track: command[0] & MULTI_TRACK != 0,
            mfm: command[0] & MFM != 0,
            cylinder: byte(2),
            side: byte(3),
            sector: byte(4),
            size: byte(5),
            last: byte(6),
            ..Transfer::default()
        };
        match kind {
            Kind::Format => {
                let track = self.track(usize::from(transfer.drive));
                (transfer.cylinder, transfer.side) = (track, transfer.head);
                (transfer.size, transfer.left, transfer.fill) = (byte(2), byte(3), byte(5));
                (transfer.last, transfer.multi_track) = (byte(3), false);
            }
            Kind::ReadTrack => (transfer.sector, transfer.multi_track) = (1, false),
            // Bit 7 of the second byte (EC): the last one counts sectors.
            Kind::Verify => transfer.left = if byte(1) & 0x80 != 0 { byte(8) } else { 0 },
            Kind::Identify => transfer.size = SIZE_CODE,
            Kind::Read | Kind::Write => {}
        }
        self.last_eot = transfer.last;
        self.transfer = transfer;
        self.interrupt = false;
        let steps = kind != Kind::Identify && kind != Kind::Format && self.configure[0] & IMPLIED_SEEK != 0;
        if steps && let Some(drive) = self.drive(transfer.drive) {
            drive.changed &= drive.track == transfer.cylinder;
            drive.track = transfer.cylinder.min(drive.medium.tracks + 3);
        }
        let step = if kind == Kind::Identify { Step::Identified } else { Step::Next };
        self.busy(now, timing::COMMAND, step);
    }

    /// The drive under the command, if its head can read anything at all.
    fn spinning(&mut self) -> Option<&mut Drive> {
        let Transfer { drive: number, mfm, head, .. } = self.transfer;
        let (rate, motor) = (self.rate, self.dor & MOTOR0 << number != 0);
        let drive = self.drive(number)?;
        let reads = mfm && motor && rate == drive.medium.rate && head < drive.medium.heads;
        (reads && drive.track < drive.medium.tracks).then_some(drive)
    }

    /// The next sector of the command.
    pub(super) fn next_sector(&mut self, now: Tick) {
        let transfer = self.transfer;
        let Some(drive) = self.spinning() else { return self.end(ABNORMAL, MISSING_MARK, 0) };
        if transfer.kind == Kind::Format {
            return self.next_format();
        }
        if transfer.cylinder != drive.track {
            return self.end(ABNORMAL, NO_DATA, WRONG_CYLINDER);
        }
        let lba = drive.medium.lba(transfer.cylinder, transfer.head, transfer.sector);
        let Some(lba) = lba.filter(|_| transfer.size == SIZE_CODE && transfer.side == transfer.head) else {
            return self.end(ABNORMAL, NO_DATA, 0);
        };
        if transfer.kind == Kind::Write {
            self.buffer.clear();
            return self.offer(Phase::DataOut);
        }
        drive.backend.submit(BlockRequest::Read { lba, count: 1 });
        self.busy(now, timing::SECTOR, Step::Read);
    }

    fn next_format(&mut self) {
        self.buffer.clear();
        if self.transfer.left == 0 || self.transfer.done {
            return self.end(0, 0, 0);
        }
        self.offer(Phase::DataOut);
    }

    fn offer(&mut self, phase: Phase) {
        self.phase = phase;
        self.position = 0;
        self.interrupt = self.by_program();
    }

    pub(super) fn sector_read(&mut self, answer: BlockResult, now: Tick) {
        match answer {
            Ok(data) if data.len() == SECTOR_SIZE => {
                if self.transfer.kind == Kind::Verify {
                    return self.sector_done(now);
                }
                self.buffer = data;
                self.offer(Phase::DataIn);
            }
            _ => self.end(ABNORMAL, DATA_ERROR, DATA_FIELD),
        }
    }

    /// The host has taken all bytes of the sector.
    ///
    /// Whether it was the last one the DMA controller says a moment later.
    pub(super) fn sector_taken(&mut self, now: Tick) {
        self.busy(now, timing::NEXT, Step::Taken);
    }

    /// The host has given all bytes of the sector, or of its ID when a track is formatted.
    pub(super) fn sector_given(&mut self, now: Tick) {
        let transfer = self.transfer;
        let mut data = std::mem::take(&mut self.buffer);
        let Some(drive) = self.spinning() else { return self.end(ABNORMAL, MISSING_MARK, 0) };
        let lba = if transfer.kind == Kind::Format {
            let sector = data.get(2).copied().unwrap_or(0);
            data = vec![transfer.fill; SECTOR_SIZE];
            drive.medium.lba(drive.track, transfer.head, sector)
        } else {
            data.resize(SECTOR_SIZE, 0);
            drive.medium.lba(transfer.cylinder, transfer.head, transfer.sector)
        };
        let Some(lba) = lba else { return self.end(ABNORMAL, NO_DATA, 0) };
        drive.backend.submit(BlockRequest::Write { lba, data });
        self.busy(now, timing::SECTOR, Step::Written);
    }

    pub(super) fn sector_written(&mut self, answer: BlockResult, now: Tick) {
        match answer {
            Err(BlockError::ReadOnly) => self.end(ABNORMAL, NOT_WRITABLE, 0),
            Err(_) => self.end(ABNORMAL, DATA_ERROR, DATA_FIELD),
            Ok(_) if self.transfer.kind == Kind::Format => {
                self.transfer.left -= 1;
                self.next_format();
            }
            Ok(_) => self.sector_done(now),
        }
    }

    /// Goes to the next sector, and ends when the host wants no more or the cylinder has no more.
    pub(super) fn sector_done(&mut self, now: Tick) {
        let transfer = &mut self.transfer;
        let counted = transfer.kind == Kind::Verify && transfer.left != 0;
        transfer.left = transfer.left.saturating_sub(u8::from(counted));
        let enough = transfer.done || counted && transfer.left == 0;
        let mut more = true;
        if transfer.sector == transfer.last {
            transfer.sector = 1;
            if transfer.multi_track {
                more = transfer.head == 0;
                transfer.head ^= 1;
                transfer.side ^= 1;
            }
            if !transfer.multi_track || !more {
                more = false;
                transfer.cylinder = transfer.cylinder.wrapping_add(1);
            }
        } else {
            transfer.sector = transfer.sector.wrapping_add(1);
        }
        match (enough, more) {
            (true, _) => self.end(0, 0, 0),
            // Only the terminal count says that all was well; a verification has none.
            (false, false) if transfer.kind == Kind::Verify => self.end(0, 0, 0),
            (false, false) => self.end(ABNORMAL, END_OF_CYLINDER, 0),
            (false, true) => self.next_sector(now),
        }
    }

    /// The DMA controller's terminal count.
    pub(super) fn host_is_done(&mut self, now: Tick) {
        self.transfer.done = true;
        match self.phase {
            // What is left of the sector is not wanted.
            Phase::DataIn => self.sector_done(now),
            // The sector under way is still written, with zeros for what it lacks.
            Phase::DataOut => self.sector_given(now),
            _ => {}
        }
    }

    pub(super) fn identified(&mut self) {
        match self.spinning().map(|drive| drive.track) {
            Some(track) => {
                (self.transfer.cylinder, self.transfer.side, self.transfer.sector) =
                    (track, self.transfer.head, 1);
                self.end(0, 0, 0);
            }
            None => self.end(ABNORMAL, MISSING_MARK, 0),
        }
    }

    /// The result phase, with an interrupt.
    fn end(&mut self, st0: u8, st1: u8, st2: u8) {
        let Transfer { drive, head, cylinder, side, sector, size, .. } = self.transfer;
        self.buffer = Vec::new();
        self.give_results(&[st0 | head << 2 | drive, st1, st2, cylinder, side, sector, size]);
        self.interrupt = true;
    }
}
