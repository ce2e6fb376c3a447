//! The channel: command block (1F0h or 170h), control block (3F6h or 376h), and which of two devices answers.

use emu_core::bus::{OPEN_BUS, PortIoWide, Tick};

use super::cdrom::Cdrom;
use super::disk::AtaDisk;
use super::drive::Drive;
use super::{control, device};
use crate::dma::{DmaDevice, DmaDirection};

const DATA: u16 = 0;
const ERROR_FEATURES: u16 = 1;
const SECTOR_COUNT: u16 = 2;
const LBA_LOW: u16 = 3;
const LBA_HIGH: u16 = 5;
const DEVICE: u16 = 6;
const STATUS_COMMAND: u16 = 7;
/// Port bit that tells the control block from the command block.
const CONTROL_BLOCK: u16 = 0x200;
/// Alternate Status and Device Control, within the control block.
const ALTERNATE_STATUS: u16 = 6;

const EXECUTE_DEVICE_DIAGNOSTIC: u8 = 0x90;

/// A cable that nobody drives: ones, but for DD7, which the host pulls down.
const FLOATING: u8 = 0x7f;

/// One channel of two devices.
#[derive(Debug, Default)]
pub struct AtaChannel {
    drives: [Option<Box<dyn Drive>>; 2],
    /// DEV of the Device register.
    selected: usize,
    /// Device Control register.
    control: u8,
}

impl AtaChannel {
    /// A channel without devices.
    pub fn new() -> Self {
        Self::default()
    }

    /// Attaches a drive as device 0 or 1.
    pub fn attach(&mut self, device: usize, disk: AtaDisk) {
        self.drives[device & 1] = Some(Box::new(disk));
    }

    /// Attaches a CD-ROM drive as device 0 or 1.
    pub fn attach_cdrom(&mut self, device: usize, cdrom: Cdrom) {
        self.drives[device & 1] = Some(Box::new(cdrom));
    }

    /// True: answers of the backend are waited for at their fixed virtual time (virtual time, the default).
    /// False: they are collected when the host has them (host time).
    pub fn set_wait_for_host(&mut self, wait: bool) {
        for drive in self.drives.iter_mut().flatten() {
            drive.set_wait_for_host(wait);
        }
    }

    /// INTRQ, as the selected device drives it unless nIEN is set.
    pub fn irq(&self) -> bool {
        self.control & control::NIEN == 0 && self.drive().is_some_and(Drive::interrupt)
    }

    /// When [`advance`](Self::advance) has something to do.
    pub fn next_event(&self) -> Tick {
        let [first, second] =
            self.drives.each_ref().map(|drive| drive.as_ref().map_or(Tick::MAX, |drive| drive.next_event()));
        first.min(second)
    }

    /// Lets commands progress up to `now`.
    pub fn advance(&mut self, now: Tick) {
        for drive in self.drives.iter_mut().flatten() {
            drive.advance(now);
        }
    }

    /// Power-on or RESET#.
    pub fn reset(&mut self, now: Tick) {
        self.selected = 0;
        self.control = 0;
        for drive in self.drives.iter_mut().flatten() {
            drive.hard_reset(now);
        }
    }

    fn drive(&self) -> Option<&dyn Drive> {
        self.drives[self.selected].as_deref()
    }

    fn drive_mut(&mut self) -> Option<&mut Box<dyn Drive>> {
        self.drives[self.selected].as_mut()
    }

    fn read_data(&mut self, size: u8, now: Tick) -> u32 {
        let Some(drive) = self.drive_mut() else {
            return if self.drives[0].is_some() { 0 } else { 0xff7f_ff7f & mask(size) };
        };
        let low = u32::from(drive.read_data(now));
        match size {
            4 => low | u32::from(drive.read_data(now)) << 16,
            _ => low & mask(size),
        }
    }

    fn write_data(&mut self, size: u8, value: u32, now: Tick) {
        if let Some(drive) = self.drive_mut() {
            drive.write_data(value as u16, now);
            if size == 4 {
                drive.write_data((value >> 16) as u16, now);
            }
        }
    }

    /// A byte register of the command block (1 to 7) as the selected device answers.
    ///
    /// For an absent device 1 device 0 answers, with a Status of 00h; nobody answers for an absent device 0.
    fn read_register(&mut self, register: u16) -> u8 {
        let absent = self.drive().is_none();
        let Some(drive) = self.drives[if absent { 0 } else { self.selected }].as_mut() else {
            return FLOATING;
        };
        let previous = usize::from(self.control & control::HOB != 0);
        match register {
            ERROR_FEATURES => drive.file().error,
            SECTOR_COUNT => drive.file().count[previous],
            LBA_LOW..=LBA_HIGH => drive.file().lba[usize::from(register - LBA_LOW)][previous],
            DEVICE => drive.file().device,
            _ if absent => 0,
            _ => {
                drive.clear_interrupt();
                drive.status()
            }
        }
    }

    fn alternate_status(&self) -> u8 {
        match (self.drive(), &self.drives[0]) {
            (Some(drive), _) => drive.status(),
            (None, Some(_)) => 0,
            (None, None) => FLOATING,
        }
    }

    /// Both devices hear every write; while the selected one is busy nothing is heard.
    fn write_register(&mut self, register: u16, value: u8, now: Tick) {
        let hears = |drive: &dyn Drive| {
            !drive.is_busy() || register == STATUS_COMMAND && drive.hears_while_busy(value)
        };
        if !self.drive().is_none_or(hears) {
            return;
        }
        self.control &= !control::HOB;
        if register == STATUS_COMMAND {
            return self.command(value, now);
        }
        if register == DEVICE {
            self.selected = usize::from(value & device::DEV != 0);
        }
        for drive in self.drives.iter_mut().flatten().filter(|drive| !drive.is_busy()) {
            let push = |pair: &mut [u8; 2]| *pair = [value, pair[0]];
            match register {
                ERROR_FEATURES => drive.file_mut().features = value,
                SECTOR_COUNT => push(&mut drive.file_mut().count),
                LBA_LOW..=LBA_HIGH => push(&mut drive.file_mut().lba[usize::from(register - LBA_LOW)]),
                _ => drive.file_mut().device = value,
            }
        }
    }

    fn command(&mut self, command: u8, now: Tick) {
        if command == EXECUTE_DEVICE_DIAGNOSTIC {
            self.selected = 0;
            for (number, drive) in self.drives.iter_mut().enumerate() {
                if let Some(drive) = drive {
                    drive.diagnose(now, number == 0);
                }
            }
        } else if let Some(drive) = self.drive_mut() {
            drive.command(command, now);
        }
    }

    fn write_control(&mut self, value: u8, now: Tick) {
        let changed = self.control ^ value;
        self.control = value;
        if changed & control::SRST != 0 {
            self.selected = 0;
            for drive in self.drives.iter_mut().flatten() {
                match value & control::SRST {
                    0 => drive.end_reset(now),
                    _ => drive.begin_reset(),
                }
            }
        }
    }

    fn read_byte(&mut self, port: u16) -> u8 {
        match (port & CONTROL_BLOCK, port & 7) {
            (0, register) => self.read_register(register),
            (_, ALTERNATE_STATUS) => self.alternate_status(),
            _ => OPEN_BUS,
        }
    }
}

fn mask(size: u8) -> u32 {
    match size {
        1 => 0xff,
        2 => 0xffff,
        _ => u32::MAX,
    }
}

/// Ports are told apart by their low three bits and bit 9. Only the data register is wider than a byte; a
/// wide access to others reaches the following registers one by one.
impl PortIoWide for AtaChannel {
    fn read(&mut self, port: u16, size: u8, now: Tick) -> u32 {
        self.advance(now);
        if port & (CONTROL_BLOCK | 7) == DATA {
            return self.read_data(size, now);
        }
        let mut bytes = [0; 4];
        for (number, byte) in (port & 7..).zip(&mut bytes[..usize::from(size.min(4))]) {
            *byte = if number > 7 { OPEN_BUS } else { self.read_byte(port & !7 | number) };
        }
        u32::from_le_bytes(bytes)
    }

    fn write(&mut self, port: u16, size: u8, value: u32, now: Tick) {
        self.advance(now);
        if port & (CONTROL_BLOCK | 7) == DATA {
            return self.write_data(size, value, now);
        }
        let bytes = value.to_le_bytes();
        for (number, byte) in (port & 7..8).zip(&bytes[..usize::from(size.min(4))]) {
            match (port & CONTROL_BLOCK, number) {
                (0, register) => self.write_register(register, *byte, now),
                (_, ALTERNATE_STATUS) => self.write_control(*byte, now),
                _ => {}
            }
        }
    }
}

impl DmaDevice for AtaChannel {
    fn dma_request(&self) -> Option<DmaDirection> {
        self.drive()?.dma_request()
    }

    fn dma_take(&mut self, out: &mut [u8], now: Tick) -> usize {
        self.drive_mut().map_or(0, |drive| drive.dma_take(out, now))
    }

    fn dma_give(&mut self, bytes: &[u8], now: Tick) -> usize {
        self.drive_mut().map_or(0, |drive| drive.dma_give(bytes, now))
    }

    fn interrupt(&self) -> bool {
        self.irq()
    }
}
