//! `--stats FILE`: what happened and how fast, as JSON.

use std::time::Duration;

use emu_core::bus::TICKS_PER_SECOND;
use emu_core::engine::Translation;
use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;

use crate::machine::Guest;

/// The report.
#[derive(Debug, Serialize)]
pub struct Report {
    engine: &'static str,
    /// Retired instructions; each iteration of a REP instruction counts.
    instructions: u64,
    /// Processor time from the creation of the process to the first instruction.
    start_seconds: f64,
    /// Host time from the first instruction to the last.
    seconds: f64,
    /// Processor time of the process until now.
    processor_seconds: f64,
    /// Host time that it slept while the guest's processors were halted, or stood still for what is piped in.
    idle_seconds: f64,
    /// Million instructions for each second of host time.
    mips: f64,
    guest_seconds: f64,
    /// Iterations of repeated string instructions beyond the first of each run.
    rep_iterations: u64,
    /// Exceptions delivered.
    exceptions: u64,
    /// External interrupts delivered.
    interrupts: u64,
    /// Translations filled into the TLB.
    tlb_fills: u64,
    tlb_flushes: u64,
    /// Memory accesses that missed the fast path.
    slow_accesses: u64,
    /// Blocks decoded.
    blocks: u64,
    /// Code pages dropped because they were overwritten.
    code_invalidations: u64,
    devices: Devices,
    #[serde(skip_serializing_if = "Option::is_none")]
    translator: Option<Translator>,
}

/// What the guest's chips did.
#[derive(Debug, Serialize)]
struct Devices {
    /// Host time.
    seconds: f64,
    port_reads: u64,
    port_writes: u64,
    /// But for those of a local APIC that change nothing.
    mmio_reads: u64,
    mmio_writes: u64,
    /// Times that a chip acted by itself.
    events: u64,
}

/// What the translator did.
#[derive(Debug, Serialize)]
struct Translator {
    /// Blocks translated.
    blocks: u64,
    /// Bytes of host code in use at the end.
    code_bytes: u64,
    /// Host time spent translating.
    seconds: f64,
    /// Instructions that retired in translated code, with those that it called handlers for.
    instructions: u64,
    /// Times that control went from the engine into translated code.
    entries: u64,
    /// Why it came back.
    exits: Exits,
    /// Instructions that translated code had the interpreter's handlers run for.
    calls: Calls,
}

#[derive(Debug, Serialize)]
struct Exits {
    /// The next block was not translated, or not in the jump cache.
    unknown: u64,
    /// The jump to the next block was not linked yet.
    unlinked: u64,
    /// The next block has more instructions than may retire before the engine looks around.
    no_room: u64,
    /// A handler ended the block, and there was something to look at before the next.
    handler: u64,
}

/// How it went on behind them.
#[derive(Debug, Serialize)]
struct Calls {
    same_block: u64,
    next_block: u64,
    left: u64,
}

impl From<Translation> for Translator {
    fn from(done: Translation) -> Self {
        let (exits, calls) = (done.exits, done.calls);
        Self {
            blocks: done.blocks,
            code_bytes: done.code_bytes,
            seconds: done.time.as_secs_f64(),
            instructions: done.instructions,
            entries: done.entries,
            exits: Exits {
                unknown: exits.unknown,
                unlinked: exits.unlinked,
                no_room: exits.no_room,
                handler: exits.handler,
            },
            calls: Calls { same_block: calls.same_block, next_block: calls.next_block, left: calls.left },
        }
    }
}

impl Report {
    /// The report on a run that took `time`, after `start` seconds of processor time. Of its time it slept, or waited for
    /// a chip's input from a pipe, for these.
    pub fn new(guest: &mut Guest, start: f64, time: Duration, [slept, waited]: [Duration; 2]) -> Self {
        let devices = guest.devices();
        let stats = guest.stats();
        let (instructions, seconds) = (guest.instructions(), time.as_secs_f64());
        Self {
            engine: guest.engine(),
            instructions,
            start_seconds: start,
            seconds,
            mips: if seconds > 0.0 { instructions as f64 / seconds / 1e6 } else { 0.0 },
            processor_seconds: processor_seconds(),
            idle_seconds: (slept + waited).as_secs_f64(),
            guest_seconds: guest.now() as f64 / TICKS_PER_SECOND as f64,
            rep_iterations: stats.rep_iterations,
            exceptions: stats.exceptions,
            interrupts: stats.interrupts,
            tlb_fills: stats.tlb_fills,
            tlb_flushes: stats.tlb_flushes,
            slow_accesses: stats.slow_accesses,
            blocks: stats.blocks,
            code_invalidations: stats.code_invalidations,
            devices: Devices {
                seconds: devices.time.saturating_sub(waited).as_secs_f64(),
                port_reads: devices.port_reads,
                port_writes: devices.port_writes,
                mmio_reads: devices.mmio_reads,
                mmio_writes: devices.mmio_writes,
                events: devices.events,
            },
            translator: guest.translation().map(Translator::from),
        }
    }
}

/// Processor time of all of this process's threads.
pub fn processor_seconds() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}
