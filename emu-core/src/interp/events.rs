//! What happens between two instructions: time, requests, interrupts, traps.
//! SDM 3A, "Priority Among Concurrent Events": here classes 2 to 6. The T bit of a task (class 2) traps within the
//! switch; instruction breakpoints and faults (7 to 10) belong to the instruction.

use crate::bus::{Request, Signals};
use crate::cpu::interrupt::Source;
use crate::cpu::{Cpu, Fallible, Fault, attention, eflags};
use crate::engine::Exit;

impl Cpu {
    /// Does what [`take_events`](Self::take_events) would when it finds nothing to do, which is what nearly every
    /// change of mode and access to a chip comes to. False when there may be something.
    #[inline]
    pub fn settle(&mut self) -> bool {
        let plain = self.attention & !(attention::INTERRUPTS | attention::REQUEST) == 0
            && self.flags.system() & (eflags::TF | eflags::RF) == 0
            && self.resume_at == u64::MAX
            && self.debug.pending == 0
            && !(self.halted || self.wait_for_sipi || self.nmi_pending)
            && !(self.management.smi_pending || self.management.init_pending || self.vmx.non_root);
        if !plain || self.retired >= self.deadline {
            return false;
        }
        let touched = self.attention & attention::REQUEST != 0;
        if touched && !self.settle_bus() {
            return false;
        }
        if self.flags.system() & eflags::IF != 0 && self.system().bus.intr(self.number) {
            return false;
        }
        self.attention = 0;
        if touched {
            self.set_deadline(self.until);
        }
        true
    }

    /// The same for the board, which was touched.
    fn settle_bus(&mut self) -> bool {
        let (now, number) = (self.now(), self.number);
        let bus = &mut self.system_mut().bus;
        if bus.next_event() <= now {
            return false;
        }
        let request = bus.take_request();
        let signals = bus.take_signals(number);
        self.request = self.request.or(request);
        self.latch(signals);
        self.request.is_none() && signals == Signals::default()
    }

    fn take_request(&mut self) -> Option<Request> {
        let request = self.request.take();
        request.or_else(|| self.system_mut().bus.take_request())
    }

    fn latch(&mut self, signals: Signals) {
        self.management.smi_pending |= signals.smi;
        self.management.init_pending |= signals.init;
        self.nmi_pending |= signals.nmi;
    }

    /// Takes what is due, in order of priority, and sets the next deadline. `what` holds bits of [`attention`].
    ///
    /// # Errors
    /// #DB, or faults while an interrupt is delivered.
    pub fn take_events(&mut self, what: u8, until: u64) -> Fallible<Option<Exit>> {
        if self.system().bus.next_event() <= self.now() {
            self.with_bus(|bus, at| bus.advance(at));
            if self.attention & attention::MEMORY != 0 {
                // Memory first: another round comes back here.
                self.attention |= what;
                return Ok(None);
            }
        }
        if let Some(request) = self.take_request() {
            self.attention |= what & !attention::REQUEST;
            return Ok(Some(Exit::Request(request)));
        }
        self.attention &= attention::TRAP;
        if self.retired > self.resume_at {
            self.resume_at = u64::MAX;
            // A repeated instruction keeps RF until its last iteration.
            if self.repeat_at != self.retired {
                self.flags.put(eflags::RF, false);
            }
        }
        self.take_signals()?;
        if self.vmx.non_root {
            self.guest_events_before_traps()?;
        }
        if self.halted {
            self.check_monitor();
        }
        if self.debug_trap_due() {
            self.halted = false; // SDM 2A, "HLT": a debug exception ends it
            return Err(Fault::DB);
        }
        if self.vmx.non_root {
            self.guest_events_behind_traps()?;
        }
        if !self.wait_for_sipi {
            self.take_interrupt()?;
        }
        // Before the limit, so that it does not matter where the driver's slices end.
        if what & attention::PAUSE != 0 {
            return Ok(Some(Exit::Paused));
        }
        if self.retired >= until {
            return Ok(Some(Exit::Limit));
        }
        if self.halted || self.wait_for_sipi {
            return Ok(Some(Exit::Halted));
        }
        self.set_deadline(until);
        Ok(None)
    }

    /// Takes SMI, INIT and start-up IPIs, and latches NMIs. One of each waits at most.
    fn take_signals(&mut self) -> Fallible {
        let number = self.number;
        let signals = self.system_mut().bus.take_signals(number);
        self.latch(signals);
        // The interrupt shadow holds SMIs off too. INIT and further SMIs wait for the end of the handler.
        if self.management.smi_pending && !self.smm && !self.wait_for_sipi && self.inhibit_at != self.retired
        {
            self.enter_smm();
        }
        if self.management.init_pending && !self.smm && !self.holds_init()? {
            self.management.init_pending = false;
            self.init();
            self.system_mut().bus.init(number);
            self.attention &= !attention::TRAP;
        }
        if let Some(vector) = signals.sipi
            && self.wait_for_sipi
        {
            self.exits_on_sipi(vector)?;
            self.start_up(vector);
        }
        Ok(())
    }

    fn take_interrupt(&mut self) -> Fallible {
        if self.inhibit_at == self.retired {
            return Ok(());
        }
        if self.nmi_pending && !self.nmi_blocked {
            self.nmi_pending = false;
            self.nmi_blocked = true;
            self.halted = false;
            self.counters.interrupts += 1;
            return self.deliver(2, Source::External, None);
        }
        if self.flags.system() & eflags::IF != 0 && self.system().bus.intr(self.number) {
            self.halted = false;
            self.counters.interrupts += 1;
            let vector = self.with_bus(|bus, at| bus.acknowledge(at));
            return self.deliver(vector, Source::External, None);
        }
        Ok(())
    }

    /// The count at which this must be looked at again.
    fn set_deadline(&mut self, until: u64) {
        self.until = until;
        let system = self.system();
        let next_event = system.bus.next_event();
        let next_event = self.preemption_due().map_or(next_event, |due| due.min(next_event));
        let due = system.clock.count_at(next_event);
        // A board that says "now" again and again still lets the guest go on.
        self.deadline = until.min(due.max(self.retired + 1));
        if self.inhibit_at == self.retired {
            self.deadline = self.retired + 1;
        }
        if self.traps_each_instruction() {
            self.deadline = self.retired + 1;
            self.vmx.trap_from = self.retired;
        }
        self.repeat_deadline = self.deadline;
        if self.flags.system() & eflags::RF != 0 {
            // Every instruction but the ones that load it clears RF when it has retired.
            self.deadline = self.retired + 1;
            self.resume_at = self.retired;
        }
        if self.flags.system() & eflags::TF != 0 {
            self.deadline = self.retired + 1;
            self.repeat_deadline = self.deadline;
            self.trap_pending = self.retired;
            self.debug.branched = false;
            self.attention |= attention::TRAP;
        }
    }
}
