//! Waiting on memory (MONITOR, MWAIT). SDM 3A, "Optimizing with MONITOR and MWAIT Instructions".
//!
//! A wait ends when the monitored line holds something else, at an interrupt, and when the board has had its next
//! event: the manual permits waits to end for any reason. A store of the value that is there already does not end
//! it at once.

use super::model::Feature;
use super::{Cpu, Fallible, System, eflags};
use crate::bus::Tick;
use crate::mem::{Memory, PAGE_SIZE};
use crate::mmu::Want;

/// Bytes that MONITOR watches.
pub const LINE: usize = 64;
/// IA32_MISC_ENABLE: MONITOR and MWAIT exist.
pub const MISC_ENABLE_MONITOR: u64 = 1 << 18;

/// What MONITOR armed and MWAIT waits for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Monitor {
    /// Physical address of the line with its contents, while armed.
    line: Option<(u64, [u64; LINE / 8])>,
    /// The halt is one of MWAIT, until this time.
    until: Option<Tick>,
    /// A masked interrupt ends it.
    masked: bool,
}

impl Monitor {
    /// Has MONITOR armed it?
    pub(crate) fn is_armed(&self) -> bool {
        self.line.is_some()
    }

    /// Is the processor halted by MWAIT?
    pub(super) fn waits(&self) -> bool {
        self.until.is_some()
    }

    /// Has something ended the wait of processor `number`?
    pub(super) fn has_ended(&self, number: usize, system: &System, now: Tick) -> bool {
        let Some(until) = self.until else { return false };
        self.masked && system.bus.intr(number) || now >= until || self.line_changed(&system.mem)
    }

    fn line_changed(&self, mem: &Memory) -> bool {
        self.line.is_none_or(|(physical, before)| line_at(mem, physical) != before)
    }
}

fn line_at(mem: &Memory, physical: u64) -> [u64; LINE / 8] {
    let mut bytes = [0; LINE];
    let address = mem.gate_a20(physical);
    if let Some(frame) = mem.page(address).read_frame() {
        mem.ram().read_slice(mem.host_of(frame) + (address % PAGE_SIZE) as usize, &mut bytes);
    }
    let mut words = [0; LINE / 8];
    for (word, chunk) in words.iter_mut().zip(bytes.chunks_exact(8)) {
        *word = u64::from_le_bytes(chunk.try_into().expect("chunks of 8 bytes"));
    }
    words
}

impl Cpu {
    /// Do MONITOR and MWAIT exist?
    pub fn has_monitor(&self) -> bool {
        self.model.has(Feature::Monitor) && self.msrs.misc_enable & MISC_ENABLE_MONITOR != 0
    }

    /// MONITOR, after its checks.
    ///
    /// # Errors
    /// #PF.
    pub fn arm_monitor(&mut self, linear: u64) -> Fallible {
        let physical = self.translate(linear, Want::Read)? & !(LINE as u64 - 1);
        let now = line_at(&self.system().mem, physical);
        self.monitor.line = Some((physical, now));
        Ok(())
    }

    /// MWAIT, after its checks: halts, unless nothing is armed or the line has changed already.
    pub fn wait(&mut self, masked: bool) {
        if self.monitor.line_changed(&self.system().mem) {
            self.monitor = Monitor::default();
            return;
        }
        self.halted = true;
        self.monitor.until = Some(self.system().bus.next_event());
        self.monitor.masked = masked;
    }

    /// Halted by HLT with interrupts disabled, or waiting for a start-up IPI: no device's interrupt ends that.
    pub fn sleeps_through_interrupts(&self) -> bool {
        let deaf = self.flags.system() & eflags::IF == 0 && !self.monitor.waits() && !self.vmx.non_root;
        self.wait_for_sipi || self.halted && deaf
    }

    /// HLT: waits for interrupts alone.
    pub fn halt(&mut self) {
        self.halted = true;
        self.monitor = Monitor::default();
    }

    /// Ends a wait of MWAIT when something ended it.
    #[cold]
    pub(crate) fn check_monitor(&mut self) {
        if self.monitor.has_ended(self.number, self.system(), self.now()) {
            self.halted = false;
            self.monitor = Monitor::default();
        }
    }
}
