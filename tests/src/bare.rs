//! A board without chips, for tests of the processor alone.

use emu_core::bus::Bus;

/// Nothing on any port or address: reads are all ones, writes are lost, nothing ever interrupts.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoChips;

impl Bus for NoChips {}
