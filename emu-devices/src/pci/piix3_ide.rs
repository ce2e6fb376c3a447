//! PIIX3 IDE function with its two bus masters.

use emu_core::bus::Tick;
use emu_core::mem::Memory;

use crate::dma::DmaDevice;

/// The function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piix3Ide {}

impl Piix3Ide {
    pub(super) fn new() -> Self {
        Self {}
    }
    /// IN from the bus-master registers; `None` when the port is not (now) theirs.
    pub fn port_read(&mut self, _port: u16, _size: u8) -> Option<u32> {
        None
    }
    /// OUT to the bus-master registers; false when the port is not (now) theirs.
    /// The board calls [`service`](Self::service) afterwards.
    pub fn port_write(&mut self, _port: u16, _size: u8, _value: u32) -> bool {
        false
    }
    /// Moves data between memory and the device on channel 0 or 1 if it asks and the guest allows, and notes
    /// its interrupt. To be called after every access to the device or to this function and every advance.
    pub fn service(&mut self, _channel: usize, _device: &mut dyn DmaDevice, _mem: &mut Memory, _now: Tick) {}
}
