//! PIIX4 power management.

use emu_core::bus::{NEVER, Tick};

/// The function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piix4Pm {}

impl Piix4Pm {
    pub(super) fn new() -> Self {
        Self {}
    }
    /// IN from PMBASE, SMBus, GPE (AFE0h) or the APM ports (B2h, B3h); `None` when the port is not (now) its own.
    pub fn port_read(&mut self, _port: u16, _size: u8, _now: Tick) -> Option<u32> {
        None
    }
    /// OUT to the same ports; false when the port is not (now) its own.
    pub fn port_write(&mut self, _port: u16, _size: u8, _value: u32, _now: Tick) -> bool {
        false
    }
    /// Level of SCI (IRQ 9).
    pub fn sci(&self) -> bool {
        false
    }
    /// When the power-management timer will set its status bit and someone cares.
    pub fn next_event(&self) -> Tick {
        NEVER
    }
    /// Lets the timer set its status bit.
    pub fn advance(&mut self, _now: Tick) {}
    /// True once after the guest switched itself off (S5).
    pub fn take_power_off(&mut self) -> bool {
        false
    }
    /// Presses the power button.
    pub fn press_power_button(&mut self) {}
}
