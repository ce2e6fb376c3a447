//! A board without chips, for tests of the processor alone.

use emu_core::bus::{Access, Bus, NEVER, Request, Signals, Tick};

/// Nothing on any port or address: reads are all ones, writes are lost, nothing ever interrupts.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoChips;

impl Bus for NoChips {
    fn port_read(&mut self, _: &mut Access<'_>, _: u16, size: u8) -> u32 {
        u32::MAX >> (32 - 8 * u32::from(size))
    }
    fn port_write(&mut self, _: &mut Access<'_>, _: u16, _: u8, _: u32) {}
    fn mmio_read(&mut self, _: &mut Access<'_>, _: u64, _: u8) -> u64 {
        u64::MAX
    }
    fn mmio_write(&mut self, _: &mut Access<'_>, _: u64, _: u8, _: u64) {}
    fn next_event(&self) -> Tick {
        NEVER
    }
    fn advance(&mut self, _: &mut Access<'_>) {}
    fn intr(&self, _: usize) -> bool {
        false
    }
    fn acknowledge(&mut self, _: &mut Access<'_>) -> u8 {
        0xff
    }
    fn take_signals(&mut self, _: usize) -> Signals {
        Signals::default()
    }
    fn take_request(&mut self) -> Option<Request> {
        None
    }
    fn set_ferr(&mut self, _: usize, _: bool) {}
    fn msr_read(&mut self, _: &mut Access<'_>, _: u32) -> Option<u64> {
        None
    }
    fn msr_write(&mut self, _: &mut Access<'_>, _: u32, _: u64) -> Option<()> {
        None
    }
    fn task_priority(&self, _: usize) -> u8 {
        0
    }
    fn set_task_priority(&mut self, _: usize, _: u8) {}
    fn init(&mut self, _: usize) {}
    fn reset(&mut self, _: &mut Access<'_>) {}
}
