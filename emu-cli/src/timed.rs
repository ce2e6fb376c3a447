//! The board with a stop-watch: what its chips cost the host, for `--stats`.

use std::time::{Duration, Instant};

use emu_core::bus::{Access, Bus, Request, Signals, Tick};
use emu_devices::pc::Pc;

/// How often the guest reached chips, and how long they took.
#[derive(Clone, Copy, Debug, Default)]
pub struct Devices {
    /// IN, and each element of INS.
    pub port_reads: u64,
    /// OUT, and each element of OUTS.
    pub port_writes: u64,
    /// Reads of memory-mapped registers, but for those of a local APIC that change nothing.
    pub mmio_reads: u64,
    /// Writes of memory-mapped registers.
    pub mmio_writes: u64,
    /// Times that a chip acted by itself, as a timer does.
    pub events: u64,
    /// Host time for all of it.
    pub time: Duration,
}

/// The board. The processors see no difference.
#[derive(Debug)]
pub struct Timed {
    /// The chips.
    pub pc: Pc,
    /// What was measured, once that was asked for.
    pub devices: Option<Devices>,
}

impl Timed {
    /// Has the chips do something, which counts in `counter`.
    fn time<R>(&mut self, counter: fn(&mut Devices) -> &mut u64, act: impl FnOnce(&mut Pc) -> R) -> R {
        let Some(devices) = &mut self.devices else { return act(&mut self.pc) };
        let began = Instant::now();
        let result = act(&mut self.pc);
        devices.time += began.elapsed();
        *counter(devices) += 1;
        result
    }
}

impl Bus for Timed {
    fn port_read(&mut self, at: &mut Access<'_>, port: u16, size: u8) -> u32 {
        self.time(|devices| &mut devices.port_reads, |pc| pc.port_read(at, port, size))
    }

    fn port_write(&mut self, at: &mut Access<'_>, port: u16, size: u8, value: u32) {
        self.time(|devices| &mut devices.port_writes, |pc| pc.port_write(at, port, size, value));
    }

    fn mmio_read(&mut self, at: &mut Access<'_>, address: u64, size: u8) -> u64 {
        self.time(|devices| &mut devices.mmio_reads, |pc| pc.mmio_read(at, address, size))
    }

    #[inline]
    fn mmio_read_still(&self, cpu: usize, address: u64, size: u8) -> Option<u64> {
        self.pc.mmio_read_still(cpu, address, size)
    }

    fn mmio_write(&mut self, at: &mut Access<'_>, address: u64, size: u8, value: u64) {
        self.time(|devices| &mut devices.mmio_writes, |pc| pc.mmio_write(at, address, size, value));
    }

    #[inline]
    fn next_event(&self) -> Tick {
        self.pc.next_event()
    }

    fn advance(&mut self, at: &mut Access<'_>) {
        self.time(|devices| &mut devices.events, |pc| pc.advance(at));
    }

    #[inline]
    fn intr(&self, cpu: usize) -> bool {
        self.pc.intr(cpu)
    }

    fn acknowledge(&mut self, at: &mut Access<'_>) -> u8 {
        self.pc.acknowledge(at)
    }

    #[inline]
    fn take_signals(&mut self, cpu: usize) -> Signals {
        self.pc.take_signals(cpu)
    }

    #[inline]
    fn has_signals(&self, cpu: usize) -> bool {
        self.pc.has_signals(cpu)
    }

    #[inline]
    fn take_request(&mut self) -> Option<Request> {
        self.pc.take_request()
    }

    fn set_ferr(&mut self, cpu: usize, level: bool) {
        self.pc.set_ferr(cpu, level);
    }

    fn ignne(&self, cpu: usize) -> bool {
        self.pc.ignne(cpu)
    }

    fn msr_read(&mut self, at: &mut Access<'_>, msr: u32) -> Option<u64> {
        self.pc.msr_read(at, msr)
    }

    fn msr_write(&mut self, at: &mut Access<'_>, msr: u32, value: u64) -> Option<()> {
        self.pc.msr_write(at, msr, value)
    }

    #[inline]
    fn task_priority(&self, cpu: usize) -> u8 {
        self.pc.task_priority(cpu)
    }

    fn set_task_priority(&mut self, cpu: usize, class: u8) {
        self.pc.set_task_priority(cpu, class);
    }

    fn init(&mut self, cpu: usize) {
        self.pc.init(cpu);
    }

    fn reset(&mut self, at: &mut Access<'_>) {
        self.pc.reset(at);
    }
}
