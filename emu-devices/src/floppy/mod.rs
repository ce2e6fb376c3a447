//! Intel 82077AA floppy disk controller in its AT mode, with two drives: ports 3F0h to 3F5h and 3F7h, IRQ 6, DMA
//! channel 2.
//!
//! Manual: Intel 290166, "82077AA CHMOS Single-Chip Floppy Disk Controller", "Command Set/Descriptions".
//! Modelled: the registers, resets with polling, every command but SCAN, data by DMA and by programmed I/O, implied
//! seeks, multi-track transfers, data rates, the change line, errors of the backend. Commands are in `commands.rs`.
//! Left out: FM, sectors of other sizes than 512 bytes, deleted data, SCAN, the FIFO's threshold, the tape drive
//! register's effect, PS/2 and Model 30 modes (registers A and B are open bus). FORMAT TRACK writes whole sectors.
//! A command takes a fixed virtual time. A drive without a diskette, or whose motor stands still, finds no address
//! mark (a real one would wait for ever). The drive is the one that the diskette needs.

mod commands;
mod medium;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use emu_core::bus::{NEVER, OPEN_BUS, PortIo, Tick};

pub use medium::Medium;

use crate::block::{BlockBackend, BlockResult};
use crate::dma::{DmaDirection, IsaDmaDevice};
use crate::requests::Requests;
use commands::Transfer;

/// Drives.
pub const DRIVES: usize = 2;

/// How long things take, in nanoseconds of guest time.
mod timing {
    use emu_core::bus::Tick;
    pub const RESET: Tick = 10_000;
    pub const SEEK: Tick = 50_000;
    pub const COMMAND: Tick = 10_000;
    pub const SECTOR: Tick = 20_000;
    pub const NEXT: Tick = 1_000;
    /// How often a slow host is asked again, in host time.
    pub const ASK_AGAIN: Tick = 20_000;
}

const DOR: u16 = 0x3f2;
const TDR: u16 = 0x3f3;
const MSR_DSR: u16 = 0x3f4;
const FIFO: u16 = 0x3f5;
const DIR_CCR: u16 = 0x3f7;

/// DOR: not reset; interrupt and DMA reach the bus; motors.
const NOT_RESET: u8 = 1 << 2;
const GATE: u8 = 1 << 3;
const MOTOR0: u8 = 1 << 4;
/// MSR: request for master, direction is to the host, data by programmed I/O, command busy.
const RQM: u8 = 1 << 7;
const DIO: u8 = 1 << 6;
const NON_DMA: u8 = 1 << 5;
const BUSY: u8 = 1 << 4;
/// DSR: software reset.
const SOFTWARE_RESET: u8 = 1 << 7;
/// DIR: diskette changed.
const CHANGED: u8 = 1 << 7;

/// A drive with a diskette in it.
#[derive(Debug)]
struct Drive {
    backend: Requests,
    medium: Medium,
    /// Where the heads are.
    track: u8,
    /// The diskette was put in, and no step has been made since.
    changed: bool,
}

/// What the controller is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// DOR or DSR hold it in reset.
    Reset,
    /// Takes command bytes.
    Command,
    /// Works until then, and goes on with this.
    Busy { until: Tick, step: Step },
    /// Bytes for the host.
    DataIn,
    /// Bytes from the host.
    DataOut,
    /// Gives result bytes.
    Result,
}

/// What follows when the time is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// A reset ends with an interrupt.
    Polled,
    /// The heads are over the track.
    Next,
    /// A sector was read.
    Read,
    /// The host has taken it.
    Taken,
    /// A sector was written.
    Written,
    /// READ ID.
    Identified,
}

/// The controller and its drives.
#[derive(Debug)]
pub struct Floppy {
    drives: [Option<Drive>; DRIVES],
    /// DOR, TDR, data rate.
    dor: u8,
    tdr: u8,
    rate: u8,
    phase: Phase,
    command: Vec<u8>,
    results: VecDeque<u8>,
    interrupt: bool,
    /// By drive: ST0 for SENSE INTERRUPT STATUS, and when the steps before it end.
    sense: [Option<u8>; 4],
    seeks: [Tick; 4],
    /// SPECIFY: step rate and head unload; head load and non-DMA.
    specify: [u8; 2],
    /// CONFIGURE: implied seek, FIFO, polling, threshold; write precompensation.
    configure: [u8; 2],
    /// LOCK keeps CONFIGURE over software resets.
    locked: bool,
    perpendicular: u8,
    /// Last SC or EOT, for DUMPREG.
    last_eot: u8,
    transfer: Transfer,
    /// Data of a sector, and the next byte of it.
    buffer: Vec<u8>,
    position: usize,
}

impl Default for Floppy {
    fn default() -> Self {
        Self::new()
    }
}

impl Floppy {
    /// A controller without drives, in reset.
    pub fn new() -> Self {
        Self {
            drives: [None, None],
            dor: 0,
            tdr: 0,
            rate: 2,
            phase: Phase::Reset,
            command: Vec::new(),
            results: VecDeque::new(),
            interrupt: false,
            sense: [None; 4],
            seeks: [NEVER; 4],
            specify: [0; 2],
            configure: [0x20, 0],
            locked: false,
            perpendicular: 0,
            last_eot: 0,
            transfer: Transfer::default(),
            buffer: Vec::new(),
            position: 0,
        }
    }

    /// Puts a diskette and its drive (0 or 1) in. False when no diskette has this size.
    pub fn attach(&mut self, drive: usize, backend: Box<dyn BlockBackend>) -> bool {
        let Some(medium) = Medium::of_sectors(backend.sectors()) else { return false };
        self.drives[drive % DRIVES] =
            Some(Drive { backend: Requests::new(backend), medium, track: 0, changed: true });
        true
    }

    /// Kinds of the drives, as CMOS 10h has them: the first in bits 7:4, the second below.
    pub fn drive_kinds(&self) -> u8 {
        let [first, second] =
            self.drives.each_ref().map(|drive| drive.as_ref().map_or(0, |drive| drive.medium.drive));
        first << 4 | second
    }

    /// Whether answers of the backend are waited for (virtual time) or looked for (host time).
    pub fn set_wait_for_host(&mut self, wait: bool) {
        self.drives.iter_mut().flatten().for_each(|drive| drive.backend.wait_for_host = wait);
    }

    /// Power-on or RESET.
    pub fn reset(&mut self) {
        let mut drives = std::mem::take(&mut self.drives);
        for drive in drives.iter_mut().flatten() {
            drive.backend.abandon();
            (drive.track, drive.changed) = (0, true);
        }
        *self = Self { drives, ..Self::new() };
    }

    /// IRQ 6.
    pub fn irq(&self) -> bool {
        self.interrupt && self.dor & GATE != 0
    }

    /// When [`advance`](Self::advance) has something to do.
    pub fn next_event(&self) -> Tick {
        let busy = match self.phase {
            Phase::Busy { until, .. } => until,
            _ => NEVER,
        };
        self.seeks.into_iter().fold(busy, Tick::min)
    }

    /// Goes on with what is under way as far as `now` allows.
    pub fn advance(&mut self, now: Tick) {
        for seek in &mut self.seeks {
            if *seek <= now && *seek != NEVER {
                *seek = NEVER;
                self.interrupt = true;
            }
        }
        while let Phase::Busy { until, step } = self.phase {
            if until > now {
                return;
            }
            let drive = self.drives[usize::from(self.transfer.drive) % DRIVES].as_mut();
            let Some(answer) = drive.map_or(Some(Ok(Vec::new())), |drive| drive.backend.collect()) else {
                self.phase = Phase::Busy { until: now.saturating_add(timing::ASK_AGAIN), step };
                return;
            };
            self.step(step, answer, until);
        }
    }

    fn step(&mut self, step: Step, answer: BlockResult, now: Tick) {
        match step {
            Step::Polled => {
                self.phase = Phase::Command;
                self.sense = std::array::from_fn(|number| Some(commands::POLLING | number as u8));
                self.interrupt = true;
            }
            Step::Next => self.next_sector(now),
            Step::Read => self.sector_read(answer, now),
            Step::Taken => self.sector_done(now),
            Step::Written => self.sector_written(answer, now),
            Step::Identified => self.identified(),
        }
    }

    fn busy(&mut self, now: Tick, time: Tick, step: Step) {
        self.phase = Phase::Busy { until: now.saturating_add(time), step };
    }

    /// By DOR (until it is released) or by DSR (which releases itself).
    fn begin_reset(&mut self) {
        self.drives.iter_mut().flatten().for_each(|drive| drive.backend.abandon());
        (self.seeks, self.sense) = ([NEVER; 4], [None; 4]);
        self.phase = Phase::Reset;
        self.command.clear();
        self.results.clear();
        self.buffer = Vec::new();
        self.interrupt = false;
        if !self.locked {
            self.configure = [0x20, 0];
        }
    }

    /// Polling tells of the drives' ready lines, unless CONFIGURE has put it off.
    fn end_reset(&mut self, now: Tick) {
        const POLL_OFF: u8 = 1 << 4;
        if self.configure[0] & POLL_OFF != 0 {
            self.phase = Phase::Command;
        } else {
            self.busy(now, timing::RESET, Step::Polled);
        }
    }

    fn main_status(&self) -> u8 {
        let by_program = if self.by_program() { RQM | NON_DMA } else { 0 };
        let steps = (0..4).filter(|&n| self.seeks[n] != NEVER).fold(0, |bits, n| bits | 1 << n);
        let phase = match self.phase {
            Phase::Reset => 0,
            Phase::Command if self.command.is_empty() => RQM,
            Phase::Command => RQM | BUSY,
            Phase::Busy { step: Step::Polled, .. } => 0,
            Phase::Busy { .. } => BUSY,
            Phase::DataIn => BUSY | DIO | by_program,
            Phase::DataOut => BUSY | by_program,
            Phase::Result => RQM | DIO | BUSY,
        };
        phase | steps
    }

    /// SPECIFY asked for data without DMA.
    fn by_program(&self) -> bool {
        self.specify[1] & 1 != 0
    }

    /// The drive that the DOR selects has its change line up.
    fn change_line(&self) -> bool {
        self.drives.get(usize::from(self.dor & 3)).and_then(Option::as_ref).is_some_and(|drive| drive.changed)
    }

    /// SENSE INTERRUPT STATUS has something to tell of a drive.
    fn has_to_tell(&self, number: usize) -> bool {
        self.sense[number].is_some() && self.seeks[number] == NEVER
    }

    /// A seek that has ended interrupts when the one before it was explained. What polling after a reset has found is
    /// told after one interrupt for all drives: Linux's driver takes a second one for a failure.
    fn interrupts_again(&self, number: usize) -> bool {
        self.has_to_tell(number) && self.sense[number] != Some(commands::POLLING | number as u8)
    }

    fn write_dor(&mut self, value: u8, now: Tick) {
        let changed = self.dor ^ value;
        self.dor = value;
        if changed & NOT_RESET != 0 {
            if value & NOT_RESET == 0 {
                self.begin_reset();
            } else {
                self.end_reset(now);
            }
        }
    }

    fn read_fifo(&mut self, now: Tick) -> u8 {
        match self.phase {
            Phase::DataIn if self.by_program() => {
                let mut byte = [0];
                self.take(&mut byte, now);
                byte[0]
            }
            Phase::Result => {
                self.interrupt = false;
                let byte = self.results.pop_front().unwrap_or(0);
                if self.results.is_empty() {
                    self.phase = Phase::Command;
                    self.interrupt = (0..self.sense.len()).any(|number| self.interrupts_again(number));
                }
                byte
            }
            _ => 0,
        }
    }

    fn write_fifo(&mut self, value: u8, now: Tick) {
        match self.phase {
            Phase::DataOut if self.by_program() => {
                self.give(&[value], now);
            }
            Phase::Command => {
                self.command.push(value);
                if self.command.len() >= commands::length(self.command[0]) {
                    let command = std::mem::take(&mut self.command);
                    self.begin(&command, now);
                }
            }
            _ => {}
        }
    }

    fn take(&mut self, out: &mut [u8], now: Tick) -> usize {
        let Some(&byte) = self.buffer.get(self.position) else { return 0 };
        out[0] = byte;
        self.position += 1;
        if self.position == self.buffer.len() {
            self.interrupt = false;
            self.sector_taken(now);
        }
        1
    }

    fn give(&mut self, bytes: &[u8], now: Tick) -> usize {
        self.buffer.push(bytes[0]);
        if self.buffer.len() >= self.transfer.room() {
            self.interrupt = false;
            self.sector_given(now);
        }
        1
    }
}

impl PortIo for Floppy {
    fn read8(&mut self, port: u16, now: Tick) -> u8 {
        self.advance(now);
        match port {
            DOR => self.dor,
            TDR => self.tdr,
            MSR_DSR => self.main_status(),
            FIFO => self.read_fifo(now),
            DIR_CCR => {
                if self.change_line() {
                    CHANGED
                } else {
                    0
                }
            }
            _ => OPEN_BUS,
        }
    }

    fn write8(&mut self, port: u16, value: u8, now: Tick) {
        self.advance(now);
        match port {
            DOR => self.write_dor(value, now),
            TDR => self.tdr = value & 3,
            MSR_DSR => {
                self.rate = value & 3;
                if value & SOFTWARE_RESET != 0 && self.dor & NOT_RESET != 0 {
                    self.begin_reset();
                    self.end_reset(now);
                }
            }
            FIFO => self.write_fifo(value, now),
            DIR_CCR => self.rate = value & 3,
            _ => {}
        }
    }
}

impl IsaDmaDevice for Floppy {
    fn dma_request(&self) -> Option<DmaDirection> {
        match self.phase {
            _ if self.by_program() || self.dor & GATE == 0 => None,
            Phase::DataIn => Some(DmaDirection::ToMemory),
            Phase::DataOut => Some(DmaDirection::FromMemory),
            _ => None,
        }
    }

    fn dma_take(&mut self, out: &mut [u8], now: Tick) -> usize {
        if self.phase == Phase::DataIn { self.take(out, now) } else { 0 }
    }

    fn dma_give(&mut self, bytes: &[u8], now: Tick) -> usize {
        if self.phase == Phase::DataOut { self.give(bytes, now) } else { 0 }
    }

    fn terminal_count(&mut self, now: Tick) {
        self.host_is_done(now);
    }
}
