//! What lies between the processor and the board: guest time, the traits that chips implement, and
//! [`Bus`], the whole board as the processor sees it.

use std::any::Any;

use crate::mem::Memory;

/// Guest time in nanoseconds since power-on.
///
/// In virtual time it follows from the retired-instruction count and the time skipped while halted; in
/// host time the driver feeds it in through the input log. Chips are told the time, they never ask.
pub type Tick = u64;

/// A time that never comes: the "next event" of a chip that waits for nothing.
pub const NEVER: Tick = Tick::MAX;

/// Nanoseconds in one second of guest time.
pub const TICKS_PER_SECOND: Tick = 1_000_000_000;

/// What a read from a port or address where nothing answers returns (as many bits as were asked for).
pub const OPEN_BUS: u8 = 0xff;

/// A chip on byte-wide I/O ports. The board passes the full port number.
pub trait PortIo {
    /// Reads one byte. Reads may have effects, as on the real chip.
    fn read8(&mut self, port: u16, now: Tick) -> u8;
    /// Writes one byte.
    fn write8(&mut self, port: u16, value: u8, now: Tick);
}

/// A chip with ports wider than a byte (the ATA data register, PCI configuration data).
pub trait PortIoWide {
    /// Reads `size` bytes (1, 2 or 4) as one transaction, zero-extended.
    fn read(&mut self, port: u16, size: u8, now: Tick) -> u32;
    /// Writes the low `size` bytes (1, 2 or 4) of `value` as one transaction.
    fn write(&mut self, port: u16, size: u8, value: u32, now: Tick);
}

/// A chip behind physical addresses. `offset` counts from the start of the chip's region.
pub trait Mmio {
    /// Reads `size` bytes (1, 2, 4 or 8), zero-extended.
    fn read(&mut self, offset: u64, size: u8, now: Tick) -> u64;
    /// Writes the low `size` bytes (1, 2, 4 or 8) of `value`.
    fn write(&mut self, offset: u64, size: u8, value: u64, now: Tick);
}

/// Who touches the board, when, and the memory that a bus master may reach meanwhile.
#[derive(Debug)]
pub struct Access<'a> {
    /// Number of the processor, from 0.
    pub cpu: usize,
    /// Guest time of the access.
    pub now: Tick,
    /// Guest memory: for DMA, and for changes to the memory map (PAM, A20, BARs).
    pub mem: &'a mut Memory,
}

/// Edge-triggered events for one processor, collected by [`Bus::take_signals`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Signals {
    /// A non-maskable interrupt.
    pub nmi: bool,
    /// A system-management interrupt.
    pub smi: bool,
    /// INIT: reset of the processor without its caches, FPU and most MSRs.
    pub init: bool,
    /// A start-up IPI with its vector (only heeded after INIT).
    pub sipi: Option<u8>,
}

/// What the board asks of whoever drives the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// The guest switched itself off (ACPI S5).
    PowerOff,
    /// The guest asked for a reset of the whole machine (8042, port 92, port CF9).
    Reset,
    /// The guest wrote this value to the debug-exit port.
    DebugExit(u32),
}

/// The board, as the processor sees it. One object for all processors. What an implementation leaves out behaves
/// as on a board without chips: reads are all ones, writes are lost, nothing ever happens.
///
/// After every access and every [`advance`](Bus::advance) the processor looks again at
/// [`intr`](Bus::intr), [`take_signals`](Bus::take_signals), [`next_event`](Bus::next_event) and
/// [`take_request`](Bus::take_request), so a chip never has to call anybody.
pub trait Bus: Any {
    /// IN: reads `size` bytes (1, 2 or 4) from `port`, zero-extended.
    fn port_read(&mut self, at: &mut Access<'_>, port: u16, size: u8) -> u32 {
        let _ = (at, port);
        u32::MAX >> (32 - 8 * u32::from(size))
    }
    /// OUT: writes the low `size` bytes (1, 2 or 4) of `value` to `port`.
    fn port_write(&mut self, at: &mut Access<'_>, port: u16, size: u8, value: u32) {
        let _ = (at, port, size, value);
    }
    /// Reads `size` bytes (1, 2, 4 or 8) from a physical address that is mapped as MMIO. Never crosses a page.
    fn mmio_read(&mut self, at: &mut Access<'_>, address: u64, size: u8) -> u64 {
        let _ = (at, address);
        u64::MAX >> (64 - 8 * u32::from(size))
    }
    /// The same for processor `cpu` where reading changes nothing and what is read does not depend on time, so that
    /// nothing has to be looked at again. `None` where that is not so.
    fn mmio_read_still(&self, cpu: usize, address: u64, size: u8) -> Option<u64> {
        let _ = (cpu, address, size);
        None
    }
    /// Writes the low `size` bytes (1, 2, 4 or 8) of `value` to a physical address that is mapped as MMIO.
    fn mmio_write(&mut self, at: &mut Access<'_>, address: u64, size: u8, value: u64) {
        let _ = (at, address, size, value);
    }

    /// The earliest time at which some chip must be given a chance to act, [`NEVER`] if there is none.
    fn next_event(&self) -> Tick {
        NEVER
    }
    /// Lets every chip whose time has come (at or before `at.now`) act.
    fn advance(&mut self, at: &mut Access<'_>) {
        let _ = at;
    }

    /// Level of the INTR pin of processor `cpu` (its local APIC, or the 8259A behind it).
    fn intr(&self, cpu: usize) -> bool {
        let _ = cpu;
        false
    }
    /// INTA cycle: the vector to deliver. Only called while [`intr`](Bus::intr) is high.
    fn acknowledge(&mut self, at: &mut Access<'_>) -> u8 {
        let _ = at;
        OPEN_BUS
    }
    /// Takes the edge-triggered events that wait for processor `cpu`.
    fn take_signals(&mut self, cpu: usize) -> Signals {
        let _ = cpu;
        Signals::default()
    }
    /// Would [`take_signals`](Bus::take_signals) find anything for processor `cpu`?
    fn has_signals(&self, cpu: usize) -> bool {
        let _ = cpu;
        false
    }
    /// Takes what the board wants from the driver, if anything.
    fn take_request(&mut self) -> Option<Request> {
        None
    }

    /// The FERR# pin: an unmasked x87 error while CR0.NE = 0 (IRQ 13 on a PC).
    fn set_ferr(&mut self, cpu: usize, level: bool) {
        let _ = (cpu, level);
    }
    /// The IGNNE# pin: x87 instructions go on although an error is pending and CR0.NE = 0.
    fn ignne(&self, cpu: usize) -> bool {
        let _ = cpu;
        true
    }
    /// Reads an MSR that lives in the local APIC: IA32_APIC_BASE (1Bh), IA32_TSC_DEADLINE (6E0h),
    /// x2APIC registers (800h to 8FFh). `None` is #GP(0).
    fn msr_read(&mut self, at: &mut Access<'_>, msr: u32) -> Option<u64> {
        let _ = (at, msr);
        None
    }
    /// Writes such an MSR. `None` is #GP(0), and nothing was written.
    fn msr_write(&mut self, at: &mut Access<'_>, msr: u32, value: u64) -> Option<()> {
        let _ = (at, msr, value);
        None
    }
    /// CR8: bits 7:4 of the task-priority register of processor `cpu`.
    fn task_priority(&self, cpu: usize) -> u8 {
        let _ = cpu;
        0
    }
    /// Writes CR8 (0 to 15).
    fn set_task_priority(&mut self, cpu: usize, class: u8) {
        let _ = (cpu, class);
    }

    /// INIT reached processor `cpu` (its local APIC goes to its INIT state).
    fn init(&mut self, cpu: usize) {
        let _ = cpu;
    }
    /// Power-on or hard reset of every chip. The memory map goes back to its reset state as well.
    fn reset(&mut self, at: &mut Access<'_>) {
        let _ = at;
    }
}
