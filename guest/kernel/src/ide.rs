//! The first disk: ATA by programmed I/O on the primary channel, with interrupt 14 (ATA/ATAPI-6,
//! "PIO data-in command protocol", "PIO data-out command protocol").

use crate::irq_cell::IrqCell;
use crate::layout::SECTOR;
use crate::port::{in8, out8, read_words, write_words};
use crate::{task, timer};
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

const DATA: u16 = 0x1F0;
const ERROR: u16 = 0x1F1;
const SECTOR_COUNT: u16 = 0x1F2;
const LBA_LOW: u16 = 0x1F3;
const LBA_MID: u16 = 0x1F4;
const LBA_HIGH: u16 = 0x1F5;
const DEVICE: u16 = 0x1F6;
const STATUS_COMMAND: u16 = 0x1F7;
const ALTERNATE_STATUS_CONTROL: u16 = 0x3F6;

const BSY: u8 = 1 << 7;
const DRDY: u8 = 1 << 6;
const DF: u8 = 1 << 5;
const DRQ: u8 = 1 << 3;
const ERR: u8 = 1 << 0;

const READ_SECTORS: u8 = 0x20;
const READ_SECTORS_EXT: u8 = 0x24;
const WRITE_SECTORS: u8 = 0x30;
const WRITE_SECTORS_EXT: u8 = 0x34;
const FLUSH_CACHE: u8 = 0xE7;
const IDENTIFY_DEVICE: u8 = 0xEC;

/// Words in a sector.
pub const WORDS: usize = SECTOR / 2;

/// How to name a sector to the drive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// 28 bits of sector number.
    Lba28,
    /// 48 bits of sector number, written in two rounds.
    Lba48,
    /// Cylinder, head, sector.
    Chs,
}

/// What IDENTIFY DEVICE tells.
#[derive(Clone, Copy)]
pub struct Drive {
    /// Sectors.
    pub sectors: u64,
    /// Has the 48-bit commands.
    pub lba48: bool,
    /// Heads of the default geometry.
    pub heads: u16,
    /// Sectors per track of the default geometry.
    pub sectors_per_track: u16,
    /// Model, padded with spaces.
    pub model: [u8; 40],
}

/// What went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskError {
    /// No drive answers.
    Absent,
    /// No interrupt or no data in five seconds.
    Timeout,
    /// The drive says so; the error register.
    Drive(u8),
    /// The sector number does not exist, or not in this form.
    Range,
}

static DRIVE: IrqCell<Option<Drive>> = IrqCell::new(None);
static BUSY: AtomicBool = AtomicBool::new(false);
static INTERRUPT: AtomicBool = AtomicBool::new(false);
static STATUS: IrqCell<u8> = IrqCell::new(0);
static SECTORS_READ: AtomicU64 = AtomicU64::new(0);
static SECTORS_WRITTEN: AtomicU64 = AtomicU64::new(0);

/// Interrupt 14. Reading the status register takes the drive's request back.
pub fn interrupt() {
    let status = in8(STATUS_COMMAND);
    STATUS.with(|last| *last = status);
    INTERRUPT.store(true, Relaxed);
}

/// Finds the drive.
pub fn init() -> Result<Drive, DiskError> {
    with_channel(|| {
        out8(ALTERNATE_STATUS_CONTROL, 0); // nIEN = 0: interrupts on
        out8(DEVICE, 0xA0);
        if in8(STATUS_COMMAND) == 0xFF || !ready() {
            return Err(DiskError::Absent);
        }
        let mut words = [0u16; WORDS];
        INTERRUPT.store(false, Relaxed);
        out8(STATUS_COMMAND, IDENTIFY_DEVICE);
        if in8(ALTERNATE_STATUS_CONTROL) == 0 {
            return Err(DiskError::Absent);
        }
        wait_interrupt()?;
        read_words(DATA, &mut words);
        let drive = parse(&words);
        DRIVE.with(|known| *known = Some(drive));
        Ok(drive)
    })
}

fn parse(words: &[u16; WORDS]) -> Drive {
    let mut model = [b' '; 40];
    for (pair, word) in model.chunks_exact_mut(2).zip(&words[27..47]) {
        pair.copy_from_slice(&word.to_be_bytes()); // ATA strings have the first letter in the high byte
    }
    let lba48 = words[83] & 1 << 10 != 0;
    let number = |from: usize, count: usize| {
        words[from..from + count].iter().rev().fold(0u64, |sum, &word| sum << 16 | u64::from(word))
    };
    Drive {
        sectors: if lba48 { number(100, 4) } else { number(60, 2) },
        lba48,
        heads: words[3],
        sectors_per_track: words[6],
        model,
    }
}

/// The drive that `init` found.
pub fn drive() -> Option<Drive> {
    DRIVE.with(|drive| *drive)
}

/// Sectors read and written since the start.
pub fn counts() -> (u64, u64) {
    (SECTORS_READ.load(Relaxed), SECTORS_WRITTEN.load(Relaxed))
}

/// Reads whole sectors.
pub fn read(lba: u64, form: Form, sectors: &mut [[u16; WORDS]]) -> Result<(), DiskError> {
    check_range(lba, form, sectors.len())?;
    read_unchecked(lba, form, sectors)
}

/// Reads without asking whether the drive has these sectors: the drive itself must refuse then.
pub fn read_unchecked(lba: u64, form: Form, sectors: &mut [[u16; WORDS]]) -> Result<(), DiskError> {
    with_channel(|| {
        let command = if form == Form::Lba48 { READ_SECTORS_EXT } else { READ_SECTORS };
        start(lba, form, sectors.len(), command)?;
        for sector in sectors {
            wait_interrupt()?; // one for each sector, when its data is ready
            INTERRUPT.store(false, Relaxed);
            if in8(ALTERNATE_STATUS_CONTROL) & DRQ == 0 {
                return Err(DiskError::Timeout);
            }
            read_words(DATA, sector);
            SECTORS_READ.fetch_add(1, Relaxed);
        }
        Ok(())
    })
}

/// Writes whole sectors.
pub fn write(lba: u64, form: Form, sectors: &[[u16; WORDS]]) -> Result<(), DiskError> {
    check_range(lba, form, sectors.len())?;
    with_channel(|| {
        let command = if form == Form::Lba48 { WRITE_SECTORS_EXT } else { WRITE_SECTORS };
        start(lba, form, sectors.len(), command)?;
        for sector in sectors {
            // The first sector is asked for without an interrupt, each next one with that of the last.
            if !poll(|| in8(ALTERNATE_STATUS_CONTROL) & (BSY | DRQ) == DRQ) {
                return Err(DiskError::Timeout);
            }
            INTERRUPT.store(false, Relaxed);
            write_words(DATA, sector);
            wait_interrupt()?;
            SECTORS_WRITTEN.fetch_add(1, Relaxed);
        }
        Ok(())
    })
}

/// Tells the drive to write its cache to the medium. True when that worked or there is no drive.
pub fn flush() -> bool {
    if drive().is_none() {
        return true;
    }
    with_channel(|| {
        if !ready() {
            return Err(DiskError::Timeout);
        }
        INTERRUPT.store(false, Relaxed);
        out8(DEVICE, 0xE0);
        out8(STATUS_COMMAND, FLUSH_CACHE);
        wait_interrupt()
    })
    .is_ok()
}

/// One command at a time.
fn with_channel<T>(body: impl FnOnce() -> T) -> T {
    task::wait_until(u64::MAX, || !BUSY.swap(true, Relaxed));
    let result = body();
    BUSY.store(false, Relaxed);
    result
}

fn check_range(lba: u64, form: Form, count: usize) -> Result<(), DiskError> {
    let drive = drive().ok_or(DiskError::Absent)?;
    let limit = if form == Form::Lba48 { drive.sectors } else { drive.sectors.min(1 << 28) };
    if count == 0 || count > 255 || lba + count as u64 > limit || (form == Form::Lba48 && !drive.lba48) {
        return Err(DiskError::Range);
    }
    Ok(())
}

/// Writes the sector's number into the task file, then the command.
fn start(lba: u64, form: Form, count: usize, command: u8) -> Result<(), DiskError> {
    let drive = drive().ok_or(DiskError::Absent)?;
    if !ready() {
        return Err(DiskError::Timeout);
    }
    let bytes = lba.to_le_bytes();
    match form {
        Form::Lba28 => {
            out8(DEVICE, 0xE0 | bytes[3]); // bit 6: LBA; bits 3:0: number 27:24
            task_file(count as u8, bytes[0], bytes[1], bytes[2]);
        }
        Form::Lba48 => {
            out8(DEVICE, 0x40);
            task_file(0, bytes[3], bytes[4], bytes[5]); // each register remembers two bytes: high ones first
            task_file(count as u8, bytes[0], bytes[1], bytes[2]);
        }
        Form::Chs => {
            let track = lba / u64::from(drive.sectors_per_track.max(1));
            let sector = lba % u64::from(drive.sectors_per_track.max(1)) + 1;
            let head = track % u64::from(drive.heads.max(1));
            let cylinder = track / u64::from(drive.heads.max(1));
            out8(DEVICE, 0xA0 | head as u8);
            task_file(count as u8, sector as u8, cylinder as u8, (cylinder >> 8) as u8);
        }
    }
    INTERRUPT.store(false, Relaxed);
    out8(STATUS_COMMAND, command);
    Ok(())
}

fn task_file(count: u8, low: u8, mid: u8, high: u8) {
    out8(SECTOR_COUNT, count);
    out8(LBA_LOW, low);
    out8(LBA_MID, mid);
    out8(LBA_HIGH, high);
}

fn ready() -> bool {
    poll(|| in8(ALTERNATE_STATUS_CONTROL) & (BSY | DRDY) == DRDY)
}

/// Looks some times, then sleeps between looks.
fn poll(condition: impl Fn() -> bool) -> bool {
    (0..100).any(|_| condition()) || task::wait_until(timer::now_ns() + 5_000_000_000, condition)
}

/// Sleeps until interrupt 14 and looks at the status that came with it.
fn wait_interrupt() -> Result<(), DiskError> {
    if !task::wait_until(timer::now_ns() + 5_000_000_000, || INTERRUPT.load(Relaxed)) {
        return Err(DiskError::Timeout);
    }
    match STATUS.with(|status| *status) & (ERR | DF) {
        0 => Ok(()),
        _ => Err(DiskError::Drive(in8(ERROR))),
    }
}
