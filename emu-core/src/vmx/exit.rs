//! VM exits: what is recorded, how the guest's state is saved and the host's loaded. SDM 3C, "VM Exits"; SDM 3D,
//! appendix C.

use super::capability::{CR0_FIXED, TIMER_RATE, entry, exit, pin, secondary};
use super::controls::Wrong;
use super::fields as f;
use super::guest_state::{CR0_KEPT, GuestSegment, PENDING_BS, PENDING_ENABLED, activity, blocking};
use super::host_state::HOST_TR;
use super::vectored::VALID;
use crate::cpu::control::{CR4_PAE, CR4_PCIDE, EFER_LMA, EFER_LME};
use crate::cpu::{
    CS, Cpu, FS, Fallible, Fault, GS, LDTR, RIP, RSP, Rights, SS, Segment, TR, TableRegister, eflags,
};

/// Basic exit reasons.
#[allow(missing_docs)] // The names are the manual's.
pub mod reason {
    pub const EXCEPTION: u32 = 0;
    pub const EXTERNAL_INTERRUPT: u32 = 1;
    pub const TRIPLE_FAULT: u32 = 2;
    pub const INIT: u32 = 3;
    pub const SIPI: u32 = 4;
    pub const INTERRUPT_WINDOW: u32 = 7;
    pub const NMI_WINDOW: u32 = 8;
    pub const TASK_SWITCH: u32 = 9;
    pub const CPUID: u32 = 10;
    pub const HLT: u32 = 12;
    pub const INVD: u32 = 13;
    pub const INVLPG: u32 = 14;
    pub const RDPMC: u32 = 15;
    pub const RDTSC: u32 = 16;
    pub const RSM: u32 = 17;
    pub const VMCALL: u32 = 18;
    pub const VMCLEAR: u32 = 19;
    pub const VMLAUNCH: u32 = 20;
    pub const VMPTRLD: u32 = 21;
    pub const VMPTRST: u32 = 22;
    pub const VMREAD: u32 = 23;
    pub const VMRESUME: u32 = 24;
    pub const VMWRITE: u32 = 25;
    pub const VMXOFF: u32 = 26;
    pub const VMXON: u32 = 27;
    pub const CR_ACCESS: u32 = 28;
    pub const MOV_DR: u32 = 29;
    pub const IO: u32 = 30;
    pub const RDMSR: u32 = 31;
    pub const WRMSR: u32 = 32;
    pub const INVALID_GUEST: u32 = 33;
    pub const MSR_LOADING: u32 = 34;
    pub const MWAIT: u32 = 36;
    pub const MONITOR_TRAP_FLAG: u32 = 37;
    pub const MONITOR: u32 = 39;
    pub const PAUSE: u32 = 40;
    pub const TPR_BELOW_THRESHOLD: u32 = 43;
    pub const GDTR_IDTR: u32 = 46;
    pub const LDTR_TR: u32 = 47;
    pub const EPT_VIOLATION: u32 = 48;
    pub const EPT_MISCONFIGURATION: u32 = 49;
    pub const INVEPT: u32 = 50;
    pub const RDTSCP: u32 = 51;
    pub const PREEMPTION_TIMER: u32 = 52;
    pub const INVVPID: u32 = 53;
    pub const WBINVD: u32 = 54;
    pub const XSETBV: u32 = 55;
    pub const RDRAND: u32 = 57;
    pub const INVPCID: u32 = 58;
    pub const RDSEED: u32 = 61;
}

/// In an exit reason: VM entry failed.
pub const ENTRY_FAILURE: u32 = 1 << 31;
/// VMX-abort indicators.
const ABORT_STORING_MSRS: u64 = 1;
const ABORT_HOST_PDPTES: u64 = 2;
const ABORT_LOADING_MSRS: u64 = 4;

/// What a VM exit tells.
#[derive(Clone, Copy, Debug, Default)]
pub struct Exit {
    /// Basic exit reason.
    pub reason: u32,
    /// Exit qualification.
    pub qualification: u64,
    /// Instruction information.
    pub information: u32,
    /// Interruption information.
    pub interruption: u32,
    /// Its error code.
    pub error: u32,
    /// Guest-linear address.
    pub linear: u64,
    /// Guest-physical address.
    pub physical: u64,
}

impl Exit {
    /// One that tells nothing but its reason.
    pub fn of(reason: u32) -> Self {
        Self { reason, ..Self::default() }
    }
}

impl Cpu {
    /// Has a VM exit take place when the fault that this returns is taken.
    pub(crate) fn leave(&mut self, exit: Exit) -> Fault {
        self.vmx.leaving = exit;
        Fault::VmExit
    }

    /// The VM exit that [`leave`](Self::leave) announced: RIP is that of the instruction that exits.
    ///
    /// # Errors
    /// [`Fault::Shutdown`] for a VMX abort.
    pub(crate) fn vm_exit(&mut self) -> Fallible {
        let exit = std::mem::take(&mut self.vmx.leaving);
        self.record_exit(&exit);
        self.save_guest();
        // From here on the accesses are root's, but NMIs and interrupts wait until the host's state is there.
        self.vmx.non_root = false;
        self.store_msrs().map_err(|what| self.abort(ABORT_STORING_MSRS, what))?;
        let nmi = exit.reason == reason::EXCEPTION && exit.interruption & 0x7ff == 0x202;
        self.load_host(nmi)
    }

    /// The VM exit of an entry that failed when much of the guest's state was loaded already.
    pub(super) fn failed_entry(&mut self, reason: u32, qualification: u64) -> Fallible {
        self.vmx.non_root = false;
        self.vmx.vectored = None;
        self.set_vmcs(f::EXIT_REASON, (reason | ENTRY_FAILURE).into());
        self.set_vmcs(f::QUALIFICATION, qualification);
        self.load_host(false)
    }

    fn record_exit(&mut self, exit: &Exit) {
        let vectored = self.vmx.vectored.take().filter(|_| exit.reason != reason::TRIPLE_FAULT);
        self.set_vmcs(f::EXIT_REASON, exit.reason.into());
        self.set_vmcs(f::QUALIFICATION, exit.qualification);
        self.set_vmcs(f::EXIT_INTERRUPTION, exit.interruption.into());
        self.set_vmcs(f::EXIT_ERROR_CODE, exit.error.into());
        self.set_vmcs(f::VECTORING, vectored.map_or(0, |event| event.information()).into());
        let error = vectored.and_then(|event| event.error);
        self.set_vmcs(f::VECTORING_ERROR_CODE, error.unwrap_or(0).into());
        let injected = vectored.and_then(|event| event.length);
        self.set_vmcs(f::EXIT_LENGTH, injected.unwrap_or(self.vmx.length).into());
        self.set_vmcs(f::EXIT_INFORMATION, exit.information.into());
        self.set_vmcs(f::GUEST_LINEAR, exit.linear);
        self.set_vmcs(f::GUEST_PHYSICAL, exit.physical);
        let injected = self.vmcs32(f::ENTRY_INTERRUPTION);
        self.set_vmcs(f::ENTRY_INTERRUPTION, (injected & !VALID).into());
    }

    /// SDM 3C, "Saving Guest State".
    fn save_guest(&mut self) {
        let c = self.vmx.controls;
        for (field, value) in [
            (f::GUEST_CR0, self.cr0),
            (f::GUEST_CR3, self.cr3),
            (f::GUEST_CR4, self.cr4),
            (f::GUEST_SYSENTER_CS, self.msrs.sysenter_cs),
            (f::GUEST_SYSENTER_ESP, self.msrs.sysenter_esp),
            (f::GUEST_SYSENTER_EIP, self.msrs.sysenter_eip),
            (f::GUEST_GDTR_BASE, self.gdtr.base),
            (f::GUEST_GDTR_LIMIT, self.gdtr.limit.into()),
            (f::GUEST_IDTR_BASE, self.idtr.base),
            (f::GUEST_IDTR_LIMIT, self.idtr.limit.into()),
            (f::GUEST_RIP, self.regs[RIP]),
            (f::GUEST_RSP, self.regs[RSP]),
        ] {
            self.set_vmcs(field, value);
        }
        for register in 0..8 {
            let s = self.seg[register];
            self.set_vmcs(f::GUEST_SELECTOR.plus(register), s.selector.into());
            self.set_vmcs(f::GUEST_BASE.plus(register), s.base);
            self.set_vmcs(f::GUEST_LIMIT.plus(register), s.limit.into());
            self.set_vmcs(f::GUEST_RIGHTS.plus(register), GuestSegment::rights_of(s.rights));
        }
        if c.exit(exit::SAVE_DEBUG) {
            self.set_vmcs(f::GUEST_DR7, self.dr[7]);
            self.set_vmcs(f::GUEST_DEBUGCTL, self.debug.control);
        }
        if c.exit(exit::SAVE_PAT) {
            self.set_vmcs(f::GUEST_PAT, self.msrs.pat);
        }
        if c.exit(exit::SAVE_EFER) {
            self.set_vmcs(f::GUEST_EFER, self.efer);
        }
        if c.exit(exit::SAVE_TIMER) {
            let value = self.timer_value();
            self.set_vmcs(f::PREEMPTION_TIMER, value);
        }
        let long = if self.long_mode() { entry::GUEST_64 } else { 0 };
        self.set_vmcs(f::ENTRY_CONTROLS, (c.entry & !entry::GUEST_64 | long).into());
        if c.secondary(secondary::EPT) {
            for n in 0..4 {
                self.set_vmcs(f::GUEST_PDPTE.plus(n), self.pdptes[n]);
            }
        }
        let mut flags = self.flags.get();
        if self.repeat_at == self.retired {
            flags |= eflags::RF;
        }
        self.set_vmcs(f::GUEST_RFLAGS, flags);
        self.save_non_register_state();
    }

    fn save_non_register_state(&mut self) {
        let state = match (self.wait_for_sipi, self.halted) {
            (true, _) => activity::WAIT_FOR_SIPI,
            (_, true) => activity::HLT,
            _ => activity::ACTIVE,
        };
        self.set_vmcs(f::ACTIVITY, state);
        let shadow = match (self.just_before(self.inhibit_traps_at), self.just_before(self.inhibit_at)) {
            (true, _) => blocking::MOV_SS,
            (_, true) => blocking::STI,
            _ => 0,
        };
        let nmi = if self.nmi_blocked { blocking::NMI } else { 0 };
        self.set_vmcs(f::INTERRUPTIBILITY, shadow | nmi);
        let waiting = self.debug.pending & 15;
        let enabled = if waiting != 0 { PENDING_ENABLED } else { 0 };
        let step = self.debug.pending & PENDING_BS;
        let in_shadow = shadow != 0 || state == activity::HLT;
        let stepping = if in_shadow && self.stepping() { PENDING_BS } else { 0 };
        self.set_vmcs(f::PENDING_DEBUG, waiting | enabled | step | stepping);
    }

    /// SDM 3C, "Loading Host State".
    fn load_host(&mut self, nmi: bool) -> Fallible {
        let c = self.vmx.controls;
        let host_64 = c.exit(exit::HOST_64);
        let kept = CR0_KEPT | !0xe005_003f;
        let cr0 = self.vmcs(f::HOST_CR0);
        self.cr0 = cr0 & !kept | self.cr0 & kept | CR0_FIXED;
        self.cr3 = self.vmcs(f::HOST_CR3);
        let cr4 = self.vmcs(f::HOST_CR4);
        self.cr4 = if host_64 { cr4 | CR4_PAE } else { cr4 & !CR4_PCIDE };
        self.dr[7] = 0x400;
        self.debug.control = 0;
        self.debug.pending = 0;
        self.msrs.sysenter_cs = self.vmcs(f::HOST_SYSENTER_CS);
        self.msrs.sysenter_esp = self.vmcs(f::HOST_SYSENTER_ESP);
        self.msrs.sysenter_eip = self.vmcs(f::HOST_SYSENTER_EIP);
        let long = EFER_LMA | EFER_LME;
        self.efer = if host_64 { self.efer | long } else { self.efer & !long };
        if c.exit(exit::LOAD_EFER) {
            self.efer = self.vmcs(f::HOST_EFER);
        }
        if c.exit(exit::LOAD_PAT) {
            self.msrs.pat = self.vmcs(f::HOST_PAT);
        }
        self.load_host_segments(host_64);
        self.regs[RIP] = self.vmcs(f::HOST_RIP);
        self.regs[RSP] = self.vmcs(f::HOST_RSP);
        self.flags.set(eflags::FIXED);
        self.cpl = 0;
        self.halted = false;
        self.wait_for_sipi = false;
        if nmi {
            self.nmi_blocked = true;
        } else if c.pin(pin::VIRTUAL_NMIS) {
            self.nmi_blocked = false;
        }
        self.vmx.timer = None;
        self.vmx.trap_pending = false;
        self.vmx.trap_from = u64::MAX;
        self.after_switch();
        if !host_64 && self.cr4 & CR4_PAE != 0 {
            let loaded = self.load_pdptes(self.cr3);
            loaded.map_err(|_| self.abort(ABORT_HOST_PDPTES, "host PDPTEs"))?;
        }
        self.load_msrs(f::EXIT_MSR_LOAD, f::EXIT_MSR_LOAD_COUNT)
            .map_err(|_| self.abort(ABORT_LOADING_MSRS, "host MSRs"))
    }

    fn load_host_segments(&mut self, host_64: bool) {
        let plain = Segment { limit: u32::MAX, rights: Rights(0xc093), ..Segment::real(0) };
        for register in 0..6 {
            let selector = self.vmcs(f::HOST_SELECTOR.plus(register)) as u16;
            let unusable = if selector == 0 { Rights::UNUSABLE } else { 0 };
            let base = match register {
                FS => self.vmcs(f::HOST_FS_BASE),
                GS => self.vmcs(f::HOST_GS_BASE),
                _ => 0,
            };
            let rights = match register {
                CS if host_64 => 0xa09b,
                CS => 0xc09b,
                SS => 0xc093 | unusable,
                _ => 0xc093 | unusable,
            };
            self.seg[register] = Segment { selector, base, rights: Rights(rights), ..plain };
        }
        let selector = self.vmcs(f::HOST_SELECTOR.plus(HOST_TR)) as u16;
        let base = self.vmcs(f::HOST_TR_BASE);
        self.seg[TR] = Segment { selector, base, limit: 0x67, rights: Rights(0x8b), ..plain };
        self.seg[LDTR] = Self::null(0, 0);
        self.gdtr = TableRegister { base: self.vmcs(f::HOST_GDTR_BASE), limit: 0xffff };
        self.idtr = TableRegister { base: self.vmcs(f::HOST_IDTR_BASE), limit: 0xffff };
    }

    /// A VMX abort shuts the processor down. SDM 3C, "VMX Aborts".
    fn abort(&mut self, indicator: u64, _what: Wrong) -> Fault {
        self.set_abort(indicator);
        self.fault_chain.clear();
        Fault::Shutdown
    }

    /// Is this the count at which the instruction stood, or would stand, that the VM exit is about? A fault that is
    /// delivered has been counted itself.
    pub(super) fn just_before(&self, at: u64) -> bool {
        at == self.retired || at == self.vmx.fault_at && at.wrapping_add(1) == self.retired
    }

    /// What the VMX-preemption timer shows.
    fn timer_value(&self) -> u64 {
        let Some(due) = self.vmx.timer else { return 0 };
        let ticks = |time: u64| time.wrapping_add(self.msrs.tsc_offset) >> TIMER_RATE;
        let (due, now) = (ticks(due), ticks(self.now()));
        due.saturating_sub(now) & 0xffff_ffff
    }
}
