//! The channel: command block (1F0h or 170h), control block (3F6h or 376h), two drives.

use emu_core::bus::{NEVER, PortIoWide, Tick};

use super::AtaDisk;
use crate::dma::{DmaDevice, DmaDirection};

/// One channel of two devices.
#[derive(Debug, Default)]
pub struct AtaChannel {
    disks: [Option<AtaDisk>; 2],
}

impl AtaChannel {
    /// A channel without disks.
    pub fn new() -> Self {
        Self::default()
    }
    /// Attaches a disk as device 0 or 1.
    pub fn attach(&mut self, device: usize, disk: AtaDisk) {
        self.disks[device & 1] = Some(disk);
    }
    /// True: answers of the backend are waited for at their fixed virtual time (virtual time, the default).
    /// False: they are collected when the host has them (host time).
    pub fn set_wait_for_host(&mut self, _wait: bool) {}
    /// INTRQ.
    pub fn irq(&self) -> bool {
        false
    }
    /// When [`advance`](Self::advance) has something to do.
    pub fn next_event(&self) -> Tick {
        NEVER
    }
    /// Lets commands progress up to `now`.
    pub fn advance(&mut self, _now: Tick) {}
    /// Hard reset (RESET#).
    pub fn reset(&mut self, _now: Tick) {}
}

impl PortIoWide for AtaChannel {
    fn read(&mut self, _port: u16, _size: u8, _now: Tick) -> u32 {
        0
    }
    fn write(&mut self, _port: u16, _size: u8, _value: u32, _now: Tick) {}
}

impl DmaDevice for AtaChannel {
    fn dma_request(&self) -> Option<DmaDirection> {
        None
    }
    fn dma_take(&mut self, _out: &mut [u8], _now: Tick) -> usize {
        0
    }
    fn dma_give(&mut self, _bytes: &[u8], _now: Tick) -> usize {
        0
    }
    fn interrupt(&self) -> bool {
        self.irq()
    }
}
