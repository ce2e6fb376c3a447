//! `--stats FILE`: what happened and how fast, as JSON.

use std::time::Duration;

use emu_core::bus::TICKS_PER_SECOND;
use serde::Serialize;

use crate::machine::Guest;

/// The report.
#[derive(Debug, Serialize)]
pub struct Report {
    engine: &'static str,
    /// Retired instructions; each iteration of a REP instruction counts.
    instructions: u64,
    /// Host time from the first instruction to the last.
    seconds: f64,
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
}

impl Report {
    /// The report on a run that took `time`.
    pub fn new(guest: &Guest, time: Duration) -> Self {
        let stats = guest.stats();
        let (instructions, seconds) = (guest.instructions(), time.as_secs_f64());
        Self {
            engine: guest.engine(),
            instructions,
            seconds,
            mips: if seconds > 0.0 { instructions as f64 / seconds / 1e6 } else { 0.0 },
            guest_seconds: guest.now() as f64 / TICKS_PER_SECOND as f64,
            rep_iterations: stats.rep_iterations,
            exceptions: stats.exceptions,
            interrupts: stats.interrupts,
            tlb_fills: stats.tlb_fills,
            tlb_flushes: stats.tlb_flushes,
            slow_accesses: stats.slow_accesses,
            blocks: stats.blocks,
            code_invalidations: stats.code_invalidations,
        }
    }
}
