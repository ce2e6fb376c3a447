//! VM entries, once the checks on controls and host state have passed: the checks on the guest, its state, and the
//! event that it begins with. SDM 3C, "VM Entries".

use super::capability::{TIMER_RATE, entry, pin, secondary};
use super::exit::reason;
use super::fields as f;
use super::guest_state::{CR0_KEPT, PENDING_BS, activity, blocking};
use crate::cpu::control::{CR0_PG, CR4_PAE, EFER_LMA, EFER_LME};
use crate::cpu::{Cpu, Fallible, Fault, RIP, RSP, SS, Segment, TableRegister, eflags};

impl Cpu {
    /// The VM entry that VMLAUNCH or VMRESUME announced; RIP is that of the instruction.
    ///
    /// # Errors
    /// [`Fault::Shutdown`] when the host's state cannot be loaded after a failure, or the guest ends that way without
    /// a VM exit.
    pub(crate) fn vm_entry(&mut self) -> Fallible {
        if let Err(invalid) = self.check_guest_state() {
            self.vmx.wrong = Some(invalid.what);
            return self.failed_entry(reason::INVALID_GUEST, invalid.qualification);
        }
        self.load_guest();
        if let Err(number) = self.load_msrs(f::ENTRY_MSR_LOAD, f::ENTRY_MSR_LOAD_COUNT) {
            return self.failed_entry(reason::MSR_LOADING, number);
        }
        self.set_launched(self.vmx.current, true);
        self.vmx.non_root = true;
        self.start_non_root();
        match self.inject() {
            Err(Fault::VmExit) => self.vm_exit(),
            other => other,
        }
    }

    /// SDM 3C, "Loading Guest State".
    fn load_guest(&mut self) {
        let c = self.vmx.controls;
        let kept = CR0_KEPT | !0xe005_003f;
        let cr0 = self.vmcs(f::GUEST_CR0);
        self.cr0 = cr0 & !kept | self.cr0 & kept;
        self.cr3 = self.vmcs(f::GUEST_CR3);
        self.cr4 = self.vmcs(f::GUEST_CR4);
        if c.entry(entry::LOAD_DEBUG) {
            let dr7 = self.vmcs(f::GUEST_DR7);
            self.dr[7] = dr7 & 0xffff_27ff | 0x400;
            self.debug.control = self.vmcs(f::GUEST_DEBUGCTL);
        }
        self.msrs.sysenter_cs = self.vmcs(f::GUEST_SYSENTER_CS);
        self.msrs.sysenter_esp = self.vmcs(f::GUEST_SYSENTER_ESP);
        self.msrs.sysenter_eip = self.vmcs(f::GUEST_SYSENTER_EIP);
        if c.entry(entry::LOAD_EFER) {
            self.efer = self.vmcs(f::GUEST_EFER);
        } else {
            let long = self.guest_64();
            let bits = if self.cr0 & CR0_PG != 0 { EFER_LMA | EFER_LME } else { EFER_LMA };
            self.efer = if long { self.efer | bits } else { self.efer & !bits };
        }
        if c.entry(entry::LOAD_PAT) {
            self.msrs.pat = self.vmcs(f::GUEST_PAT);
        }
        for register in 0..8 {
            let s = self.guest_segment(register);
            self.seg[register] = Segment {
                base: s.base,
                limit: s.limit as u32,
                selector: s.selector as u16,
                rights: s.to_rights(),
                ..Segment::real(0)
            };
        }
        let table = |base, limit| TableRegister { base, limit: limit as u16 };
        self.gdtr = table(self.vmcs(f::GUEST_GDTR_BASE), self.vmcs(f::GUEST_GDTR_LIMIT));
        self.idtr = table(self.vmcs(f::GUEST_IDTR_BASE), self.vmcs(f::GUEST_IDTR_LIMIT));
        self.regs[RIP] = self.vmcs(f::GUEST_RIP);
        self.regs[RSP] = self.vmcs(f::GUEST_RSP);
        let flags = self.vmcs(f::GUEST_RFLAGS);
        self.flags.set(flags);
        self.cpl = match (self.protected(), flags & eflags::VM != 0) {
            (false, _) => 0,
            (true, true) => 3,
            (true, false) => self.seg[SS].rights.dpl(),
        };
        if self.cr0 & CR0_PG != 0 && self.cr4 & CR4_PAE != 0 && !self.long_mode() {
            self.pdptes = if c.secondary(secondary::EPT) {
                std::array::from_fn(|n| self.vmcs(f::GUEST_PDPTE.plus(n)))
            } else {
                self.read_pdptes(self.cr3)
            };
        }
    }

    /// What begins when non-root operation does, and the state that is in no register.
    fn start_non_root(&mut self) {
        let c = self.vmx.controls;
        self.after_switch();
        let (state, blocked) = (self.vmcs(f::ACTIVITY), self.vmcs(f::INTERRUPTIBILITY));
        match state {
            activity::HLT => self.halt(),
            activity::WAIT_FOR_SIPI => self.wait_for_sipi = true,
            _ => self.halted = false,
        }
        if blocked & (blocking::STI | blocking::MOV_SS) != 0 {
            self.inhibit_at = self.retired;
        }
        if blocked & blocking::MOV_SS != 0 {
            self.inhibit_traps_at = self.retired;
        }
        self.nmi_blocked = blocked & blocking::NMI != 0;
        let pending = self.vmcs(f::PENDING_DEBUG);
        self.debug.pending = pending & (15 | PENDING_BS);
        self.vmx.vectored = None;
        self.vmx.trap_pending = false;
        self.vmx.trap_from = u64::MAX;
        self.vmx.unblocked_at = u64::MAX;
        self.vmx.timer = c.pin(pin::PREEMPTION_TIMER).then(|| {
            let value = self.vmcs(f::PREEMPTION_TIMER);
            let tsc = self.now().wrapping_add(self.msrs.tsc_offset);
            let due = ((tsc >> TIMER_RATE).wrapping_add(value)) << TIMER_RATE;
            due.wrapping_sub(self.msrs.tsc_offset)
        });
    }
}
