//! What exits between two instructions of the guest: INIT, SIPI, the monitor trap flag, the VMX-preemption timer,
//! windows, NMIs and external interrupts. SDM 3C, "Other Causes of VM Exits", "Monitor Trap Flag", "VMX-Preemption
//! Timer".

use super::capability::{exit, pin, primary};
use super::exit::{Exit, reason};
use super::vectored::{EventType, Vectored};
use crate::cpu::{Cpu, Fallible, eflags};

impl Cpu {
    /// INIT in VMX operation: waits in root operation, exits in non-root operation. True when it is to wait.
    ///
    /// # Errors
    /// `Fault::VmExit`.
    pub(crate) fn holds_init(&mut self) -> Fallible<bool> {
        if self.vmx.non_root {
            self.management.init_pending = false;
            return Err(self.leave(Exit::of(reason::INIT)));
        }
        Ok(self.vmx.on)
    }

    /// A start-up IPI while the guest waits for one.
    ///
    /// # Errors
    /// `Fault::VmExit`.
    pub(crate) fn exits_on_sipi(&mut self, vector: u8) -> Fallible {
        if self.vmx.non_root {
            return Err(self.leave(Exit { qualification: vector.into(), ..Exit::of(reason::SIPI) }));
        }
        Ok(())
    }

    /// What comes before debug traps: the monitor trap flag.
    ///
    /// # Errors
    /// `Fault::VmExit`.
    pub(crate) fn guest_events_before_traps(&mut self) -> Fallible {
        let c = &self.vmx.controls;
        let stepped = c.primary(primary::MONITOR_TRAP_FLAG)
            && self.vmx.trap_from != u64::MAX
            && self.retired > self.vmx.trap_from;
        if self.vmx.trap_pending || stepped {
            self.vmx.trap_pending = false;
            self.vmx.trap_from = u64::MAX;
            self.keep_traps();
            return Err(self.leave(Exit::of(reason::MONITOR_TRAP_FLAG)));
        }
        if self.vmx.controls.primary(primary::TPR_SHADOW)
            && self.virtual_tpr() >> 4 < self.vmx.controls.tpr_threshold
            && !self.wait_for_sipi
        {
            self.keep_traps();
            return Err(self.leave(Exit::of(reason::TPR_BELOW_THRESHOLD)));
        }
        Ok(())
    }

    /// What comes behind debug traps and before NMIs and interrupts.
    ///
    /// # Errors
    /// `Fault::VmExit`.
    pub(crate) fn guest_events_behind_traps(&mut self) -> Fallible {
        let c = self.vmx.controls;
        if !self.wait_for_sipi && self.vmx.timer.is_some_and(|due| self.now() >= due) {
            return Err(self.leave(Exit::of(reason::PREEMPTION_TIMER)));
        }
        if self.wait_for_sipi || self.inhibit_at == self.retired {
            return Ok(());
        }
        if c.primary(primary::NMI_WINDOW) && !self.nmi_blocked {
            return Err(self.leave(Exit::of(reason::NMI_WINDOW)));
        }
        if self.nmi_pending && c.pin(pin::NMI) && (c.pin(pin::VIRTUAL_NMIS) || !self.nmi_blocked) {
            self.nmi_pending = false;
            return Err(self.leave_for_event(2, EventType::Nmi, reason::EXCEPTION));
        }
        if self.nmi_pending && !self.nmi_blocked {
            // It is delivered to the guest.
            return Ok(());
        }
        let enabled = self.flags.system() & eflags::IF != 0;
        if c.primary(primary::INTERRUPT_WINDOW) && enabled {
            return Err(self.leave(Exit::of(reason::INTERRUPT_WINDOW)));
        }
        if c.pin(pin::EXTERNAL_INTERRUPT) && self.system().bus.intr(self.number) {
            if !c.exit(exit::ACKNOWLEDGE) {
                return Err(self.leave(Exit::of(reason::EXTERNAL_INTERRUPT)));
            }
            let vector = self.with_bus(|bus, at| bus.acknowledge(at));
            return Err(self.leave_for_event(vector, EventType::External, reason::EXTERNAL_INTERRUPT));
        }
        Ok(())
    }

    fn leave_for_event(&mut self, vector: u8, kind: EventType, reason: u32) -> crate::cpu::Fault {
        let event = Vectored { vector, kind, error: None, length: None };
        self.leave(Exit { interruption: event.information(), ..Exit::of(reason) })
    }

    /// Does the monitor trap flag want to look behind every instruction?
    pub(crate) fn traps_each_instruction(&self) -> bool {
        self.vmx.non_root && self.vmx.controls.primary(primary::MONITOR_TRAP_FLAG)
    }

    /// Does IRET leave the blocking of NMIs as it is? SDM 3C, "Changes to Instruction Behavior": it does with NMI
    /// exiting, unless NMIs are virtual.
    pub(crate) fn iret_keeps_nmis_blocked(&self) -> bool {
        let c = &self.vmx.controls;
        self.vmx.non_root && c.pin(pin::NMI) && !c.pin(pin::VIRTUAL_NMIS)
    }
}
