//! Debug registers, breakpoints, and the recording of branches.
//! SDM 3B, "Debug, Branch Profile, TSC, and Intel Resource Director Technology Features".
//!
//! Nothing of this costs anything while it is off. Pages with a data breakpoint are kept out of the translation
//! cache, so that each access to them takes the slow path, which asks [`Cpu::note_data`]. Pages with an
//! instruction breakpoint, and all pages while branches are recorded, run one instruction at a time.
//!
//! Left out: restricted transactional memory, branch trace store, and LBR filters other than by level. Data
//! breakpoints also see the processor's own accesses to descriptor tables and TSSs, as in Bochs, but no page walks.

use super::control::CR4_DE;
use super::{CS, Cpu, Fallible, Fault, RIP, attention, eflags};
use crate::mem::PAGE_SIZE;

/// DR6.BD: a debug register was accessed while DR7.GD was set.
pub const DR6_BD: u64 = 1 << 13;
/// DR6.BS: single step.
pub const DR6_BS: u64 = 1 << 14;
/// DR6.BT: task switch.
pub const DR6_BT: u64 = 1 << 15;
/// Bits of DR6 that are always one.
const DR6_ONES: u64 = 0xffff_0ff0;
/// DR7.GD, general detect.
pub const DR7_GD: u64 = 1 << 13;
/// IA32_DEBUGCTL.LBR: record branches.
pub const DEBUGCTL_LBR: u64 = 1 << 0;
/// IA32_DEBUGCTL.BTF: single-step on branches.
pub const DEBUGCTL_BTF: u64 = 1 << 1;
/// Entries of the last-branch stack.
pub const LBR_DEPTH: usize = 16;

/// What a breakpoint waits for: the R/W field of DR7.
const EXECUTE: u64 = 0;
const WRITE: u64 = 1;
const PORT: u64 = 2;

/// Debug state beside the registers themselves.
#[derive(Clone, Debug, Default)]
pub struct Debug {
    /// Bits for DR6 from data and I/O breakpoints, until the trap behind the instruction.
    pub pending: u64,
    /// What [`Cpu::record_debug`] noted last, and DR6 before.
    cause: u64,
    before: u64,
    /// An instruction breakpoint is enabled.
    code: bool,
    /// A data breakpoint is enabled.
    pub data: bool,
    /// An I/O breakpoint is enabled.
    pub ports: bool,
    /// IA32_DEBUGCTL.
    pub control: u64,
    /// A branch was taken since single-stepping was armed.
    pub branched: bool,
    /// MSR_LASTBRANCH_n_FROM_IP.
    pub from: [u64; LBR_DEPTH],
    /// MSR_LASTBRANCH_n_TO_IP.
    pub to: [u64; LBR_DEPTH],
    /// MSR_LASTBRANCH_TOS: the newest entry.
    pub top: usize,
    /// MSR_LBR_SELECT.
    pub select: u64,
    /// MSR_LER_FROM_LIP and MSR_LER_TO_LIP: the last branch before the last exception or interrupt.
    pub last_exception: (u64, u64),
}

impl Cpu {
    /// The enabled breakpoints as (number, R/W, first address, last address).
    fn breakpoints(&self) -> impl Iterator<Item = (usize, u64, u64, u64)> + '_ {
        let dr7 = self.dr[7];
        (0..4).filter(move |n| dr7 >> (2 * n) & 3 != 0).map(move |n| {
            let (kind, length) = (dr7 >> (16 + 4 * n) & 3, dr7 >> (18 + 4 * n) & 3);
            // LEN: 1, 2, 8 and 4 bytes; low address bits below the length do not count.
            let size = [1, 2, 8, 4][length as usize];
            let first = self.dr[n] & !(size - 1);
            (n, kind, first, first + (size - 1))
        })
    }

    fn breakpoint_kinds(&self, wanted: impl Fn(u64) -> bool) -> bool {
        self.breakpoints().any(|(_, kind, ..)| wanted(kind))
    }

    /// Works out again what derives from the debug registers, CR4.DE and IA32_DEBUGCTL.
    pub fn update_debug(&mut self) {
        let ports = self.cr4 & CR4_DE != 0 && self.breakpoint_kinds(|kind| kind == PORT);
        let data = self.breakpoint_kinds(|kind| kind & WRITE != 0);
        self.debug.ports = ports;
        self.debug.code = self.breakpoint_kinds(|kind| kind == EXECUTE);
        if data || self.debug.data {
            self.flush_tlb();
        }
        self.debug.data = data;
        self.fetch_generation += 1;
        self.stop = true;
    }

    /// MOV to a debug register, after its checks.
    pub fn write_debug(&mut self, number: usize, value: u64) {
        self.dr[number] = match number {
            6 => value & (15 | DR6_BD | DR6_BS | DR6_BT) | DR6_ONES,
            7 => value & 0xffff_27ff | 0x400,
            _ => value,
        };
        if number != 6 {
            self.update_debug();
        }
    }

    /// Notes in DR6 what a #DB is about. B3 to B0 say which breakpoints matched this time; the other bits stay until
    /// software clears them. SDM 3B, "Debug Status Register (DR6)".
    pub fn record_debug(&mut self, bits: u64) {
        (self.debug.cause, self.debug.before) = (bits, self.dr[6]);
        self.dr[6] = self.dr[6] & !15 | bits;
    }

    /// What the last #DB is about, for a VM exit that takes its place: DR6 gets back what it had.
    pub(crate) fn take_debug_cause(&mut self) -> u64 {
        self.dr[6] = self.debug.before;
        self.debug.cause
    }

    /// Keeps the debug traps that are due, for a VM exit that comes before them.
    pub(crate) fn keep_traps(&mut self) {
        let bits = self.take_traps();
        self.debug.pending |= bits;
    }

    /// An access to debug registers while DR7.GD is set.
    ///
    /// # Errors
    /// #DB with DR6.BD.
    pub fn general_detect(&mut self) -> Fallible {
        if self.dr[7] & DR7_GD == 0 {
            return Ok(());
        }
        self.record_debug(DR6_BD);
        Err(Fault::DB)
    }

    /// Must instructions of this page run one by one?
    pub fn must_step(&self, linear: u64) -> bool {
        let here = |(_, kind, first, _): (usize, u64, u64, u64)| {
            kind == EXECUTE && (first ^ linear) & !(PAGE_SIZE - 1) == 0
        };
        self.records_branches()
            || self.debug.code && self.breakpoints().any(here)
            || self.debugger.breaks_in_page(linear)
    }

    /// Looks for an instruction breakpoint at the next instruction. RF, a load of SS just before and the later
    /// iterations of a repeated instruction suppress it.
    ///
    /// # Errors
    /// #DB, a fault.
    pub fn check_instruction_breakpoint(&mut self, linear: u64) -> Fallible {
        let suppressed = self.flags.system() & eflags::RF != 0
            || self.inhibit_traps_at == self.retired
            || self.repeat_at == self.retired;
        if !self.debug.code || suppressed {
            return Ok(());
        }
        let hits = self.hits(linear, linear, |kind| kind == EXECUTE);
        if hits == 0 {
            return Ok(());
        }
        self.record_debug(hits);
        Err(Fault::DB)
    }

    fn hits(&self, first: u64, last: u64, wanted: impl Fn(u64) -> bool) -> u64 {
        self.breakpoints()
            .filter(|&(_, kind, from, to)| wanted(kind) && first <= to && from <= last)
            .fold(0, |bits, (n, ..)| bits | 1 << n)
    }

    fn note_hits(&mut self, hits: u64) {
        if hits != 0 {
            self.debug.pending |= hits;
            self.attention |= attention::INTERRUPTS;
            self.stop = true;
        }
    }

    /// May an engine run blocks of instructions here? Not while each fetch or branch has to be looked at, and not in
    /// VMX non-root operation.
    #[inline]
    pub fn runs_translated(&self) -> bool {
        !self.breaks_on_code() && !self.records_branches() && !self.vmx.non_root
    }

    /// Must accesses to this page stay out of the translation cache?
    pub fn watches_page(&self, linear: u64, physical: u64) -> bool {
        let page = linear & !(PAGE_SIZE - 1);
        self.debug.data && self.hits(page, page | (PAGE_SIZE - 1), |kind| kind & WRITE != 0) != 0
            || self.debugger_watches_page(linear, physical)
    }

    /// A data access took place.
    #[inline]
    pub fn note_data(&mut self, linear: u64, size: u64, write: bool) {
        if self.debug.data {
            let hits =
                self.hits(linear, linear.wrapping_add(size - 1), |kind| kind == 3 || kind == WRITE && write);
            self.note_hits(hits);
        }
    }

    /// A port access took place.
    pub fn note_port(&mut self, port: u16, size: u64) {
        if self.debug.ports {
            let port = u64::from(port);
            let hits = self.hits(port, port + size - 1, |kind| kind == PORT);
            self.note_hits(hits);
        }
    }

    /// Is a debug trap due behind the instruction that just retired? Sets DR6 when it is.
    pub(crate) fn debug_trap_due(&mut self) -> bool {
        let bits = self.take_traps();
        if bits != 0 {
            self.record_debug(bits);
        }
        bits != 0
    }

    /// Takes the debug traps that are due behind the instruction that just retired, as bits for DR6.
    pub(super) fn take_traps(&mut self) -> u64 {
        let mut stepped = self.attention & attention::TRAP != 0 && self.retired > self.trap_pending;
        if stepped {
            self.attention &= !attention::TRAP;
        }
        if !stepped && self.debug.pending == 0 || self.inhibit_traps_at == self.retired {
            // Behind a load of SS a single step is lost, but a data breakpoint waits.
            return 0;
        }
        stepped &= self.debug.control & DEBUGCTL_BTF == 0 || self.debug.branched;
        std::mem::take(&mut self.debug.pending) | if stepped { DR6_BS } else { 0 }
    }

    /// Behind SYSCALL and SYSRET the TF that they leave decides on a single-step trap, not the one before them: a
    /// system that masks TF enters without one, and its way back traps before the user's next instruction. So Linux
    /// describes hardware (arch/x86/entry/entry_64.S), and KVM's `syscall` tests it.
    pub(super) fn step_by_new_flags(&mut self) {
        if self.flags.system() & eflags::TF == 0 {
            self.attention &= !attention::TRAP;
        } else if self.attention & attention::TRAP == 0 {
            self.attention |= attention::TRAP;
            self.trap_pending = 0;
        }
    }

    /// A #DB handler is entered: GD, LBR and BTF are cleared.
    pub(super) fn enter_debug_handler(&mut self) {
        self.dr[7] &= !DR7_GD;
        if self.debug.control != 0 {
            self.write_debug_control(0);
        }
    }

    fn write_debug_control(&mut self, value: u64) {
        self.debug.control = value;
        self.fetch_generation += 1;
        self.stop = true;
    }

    /// Is any instruction breakpoint set?
    #[inline]
    pub fn breaks_on_code(&self) -> bool {
        self.debug.code
    }

    /// Are branches looked at, by LBR or BTF?
    #[inline]
    pub fn records_branches(&self) -> bool {
        self.debug.control != 0
    }

    /// Linear address of the next instruction.
    pub fn linear_ip(&self) -> u64 {
        self.seg[CS].base.wrapping_add(self.regs[RIP]) & self.linear_mask
    }

    /// A branch, interrupt or exception went from one linear address to the next instruction.
    pub fn record_branch(&mut self, from: u64) {
        self.debug.branched = true;
        let level_off = if self.cpl == 0 { 1 } else { 2 };
        if self.debug.control & DEBUGCTL_LBR != 0 && self.debug.select & level_off == 0 {
            let to = self.linear_ip();
            let d = &mut self.debug;
            d.top = (d.top + 1) % LBR_DEPTH;
            d.from[d.top] = from;
            d.to[d.top] = to;
        }
    }

    /// An event is about to be recorded: the newest branch becomes the one before the last exception.
    pub(super) fn keep_last_exception(&mut self) {
        let d = &mut self.debug;
        if d.control & DEBUGCTL_LBR != 0 {
            d.last_exception = (d.from[d.top], d.to[d.top]);
        }
    }

    /// Reads a debug MSR; `None` when the number is none.
    pub(super) fn read_debug_msr(&self, number: u32) -> Option<u64> {
        let d = &self.debug;
        Some(match number {
            msr::DEBUGCTL => d.control,
            msr::LBR_SELECT => d.select,
            msr::LASTBRANCH_TOS => d.top as u64,
            msr::LER_FROM_LIP => d.last_exception.0,
            msr::LER_TO_LIP => d.last_exception.1,
            _ if (msr::LASTBRANCH_0_FROM_IP..).take(LBR_DEPTH).any(|n| n == number) => {
                d.from[(number - msr::LASTBRANCH_0_FROM_IP) as usize]
            }
            _ if (msr::LASTBRANCH_0_TO_IP..).take(LBR_DEPTH).any(|n| n == number) => {
                d.to[(number - msr::LASTBRANCH_0_TO_IP) as usize]
            }
            _ => return None,
        })
    }

    /// Writes a debug MSR; `None` when the number is none, or the value does not fit.
    pub(super) fn write_debug_msr(&mut self, number: u32, value: u64) -> Option<()> {
        let canonical = self.canonical(value);
        match number {
            msr::DEBUGCTL if value & !(DEBUGCTL_LBR | DEBUGCTL_BTF) == 0 => self.write_debug_control(value),
            msr::LBR_SELECT if value & !0x1ff == 0 => self.debug.select = value,
            _ if (msr::LASTBRANCH_0_FROM_IP..).take(LBR_DEPTH).any(|n| n == number) && canonical => {
                self.debug.from[(number - msr::LASTBRANCH_0_FROM_IP) as usize] = value;
            }
            _ if (msr::LASTBRANCH_0_TO_IP..).take(LBR_DEPTH).any(|n| n == number) && canonical => {
                self.debug.to[(number - msr::LASTBRANCH_0_TO_IP) as usize] = value;
            }
            _ => return None,
        }
        Some(())
    }
}

/// Is it an MSR of the stack of last branches?
pub fn is_branch_msr(number: u32) -> bool {
    let stack = |first: u32| (first..first + LBR_DEPTH as u32).contains(&number);
    matches!(number, msr::LBR_SELECT | msr::LASTBRANCH_TOS)
        || stack(msr::LASTBRANCH_0_FROM_IP)
        || stack(msr::LASTBRANCH_0_TO_IP)
}

/// Numbers of the debug MSRs. SDM vol. 4, table for the processors of our signature.
pub mod msr {
    #![allow(missing_docs)] // The names are the manual's.
    pub const LBR_SELECT: u32 = 0x1c8;
    pub const LASTBRANCH_TOS: u32 = 0x1c9;
    pub const DEBUGCTL: u32 = 0x1d9;
    pub const LER_FROM_LIP: u32 = 0x1dd;
    pub const LER_TO_LIP: u32 = 0x1de;
    pub const LASTBRANCH_0_FROM_IP: u32 = 0x680;
    pub const LASTBRANCH_0_TO_IP: u32 = 0x6c0;
}
