//! Delivery of interrupts and exceptions in every mode, and what happens when delivery itself faults.
//! SDM 3A, "Interrupt and Exception Handling"; "64-Bit Mode Stack Switching"; table "Conditions for Generating
//! a Double Fault".

use std::fmt;

use super::segment::{Descriptor, is_null, kind};
use super::stack::NewStack;
use super::{CS, Cpu, DS, ES, Exception, FS, Fallible, Fault, GS, RIP, RSP, SS, TR, eflags};
use crate::observe::{Event, Hooks};
use crate::vmx::exit::{Exit, reason};

/// Where an event comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// An external interrupt or NMI.
    External,
    /// A fault, trap or abort of the processor.
    Exception,
    /// INT n: the gate's DPL counts.
    Software,
    /// INT3 and INTO: the gate's DPL counts.
    SoftwareException,
    /// INT1: like software, but the gate's DPL does not count.
    Privileged,
}

impl Source {
    /// The EXT bit of error codes of faults that arise during delivery.
    fn ext(self) -> u16 {
        u16::from(matches!(self, Self::External | Self::Exception | Self::Privileged))
    }

    /// Is it an instruction of the program that must be allowed to use the gate?
    fn needs_gate_level(self) -> bool {
        matches!(self, Self::Software | Self::SoftwareException)
    }

    /// Does an instruction cause it on purpose?
    pub(super) fn is_software(self) -> bool {
        self.needs_gate_level() || self == Self::Privileged
    }
}

/// One delivered (or failed) exception, for the chain that a triple fault prints.
#[derive(Clone, Copy, Debug)]
pub struct Delivered {
    /// The exception.
    pub exception: Exception,
    /// CS selector of the faulting instruction.
    pub cs: u16,
    /// Its RIP.
    pub rip: u64,
    /// Linear address for a page fault.
    pub address: u64,
}

impl fmt::Display for Delivered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {:04x}:{:x}", self.exception, self.cs, self.rip)?;
        if self.exception.vector == 14 { write!(f, ", address {:#x}", self.address) } else { Ok(()) }
    }
}

/// Exceptions that make a double fault together with another of them.
fn contributory(vector: u8) -> bool {
    matches!(vector, 0 | 10..=13)
}

/// What is delivered when the delivery of one exception causes another: that one, a double fault, or none but shutdown.
fn after(first: Exception, second: Exception) -> Option<Exception> {
    let serious = |vector| contributory(vector) || vector == 14;
    let (one, two) = (first.vector, second.vector);
    if one == 8 && serious(two) {
        None
    } else if contributory(one) && contributory(two) || one == 14 && serious(two) {
        Some(Exception { vector: 8, has_error: true, error: 0 })
    } else {
        Some(second)
    }
}

impl Cpu {
    /// Delivers an exception, and those that its delivery causes.
    ///
    /// # Errors
    /// [`Fault::Shutdown`] after a fault during the delivery of a double fault; `fault_chain` tells the story.
    pub fn deliver_exception(&mut self, exception: Exception) -> Fallible {
        self.fault_chain.clear();
        self.deliver_chain(exception)
    }

    /// The same for an exception that arose while another one was delivered.
    pub(crate) fn deliver_next_exception(&mut self, first: Exception, second: Exception) -> Fallible {
        self.fault_chain.clear();
        match after(first, second) {
            Some(exception) => self.deliver_chain(exception),
            None => self.shut_down(),
        }
    }

    fn deliver_chain(&mut self, exception: Exception) -> Fallible {
        match self.deliver_each(exception) {
            Err(Fault::Shutdown) => self.shut_down(),
            Err(Fault::VmExit) => self.vm_exit(),
            other => other,
        }
    }

    /// A triple fault.
    fn shut_down(&mut self) -> Fallible {
        if !self.vmx.non_root {
            return Err(Fault::Shutdown);
        }
        self.leave(Exit::of(reason::TRIPLE_FAULT));
        self.vm_exit()
    }

    fn deliver_each(&mut self, exception: Exception) -> Fallible {
        let mut current = exception;
        // The instruction did not complete, so its breakpoints did not trap.
        self.debug.pending = 0;
        loop {
            let delivered = Delivered {
                exception: current,
                cs: self.seg[CS].selector,
                rip: self.regs[RIP],
                address: self.fault_address,
            };
            self.fault_chain.truncate(15);
            self.fault_chain.push(delivered);
            self.counters.exceptions += 1;
            if self.vmx.non_root {
                self.exit_by_exception(current)?;
            }
            if current.vector == 14 {
                self.cr2 = self.fault_address;
            }
            let error = current.has_error.then_some(current.error);
            let next = match self.deliver(current.vector, Source::Exception, error) {
                Ok(()) => return Ok(()),
                Err(Fault::Exception(next)) => next,
                Err(other) => return Err(other),
            };
            let Some(following) = after(current, next) else {
                self.fault_chain.push(Delivered {
                    exception: next,
                    address: self.fault_address,
                    ..delivered
                });
                return Err(Fault::Shutdown);
            };
            current = following;
            self.note_nested_exception(current);
        }
    }

    /// The fault chain in words.
    pub fn describe_fault_chain(&self) -> String {
        if self.fault_chain.is_empty() && self.vmx.on {
            return "VMX abort: the state of the host cannot be stored or loaded".into();
        }
        if self.fault_chain.is_empty() {
            return "RSM found a state that cannot be".into();
        }
        let steps: Vec<String> = self.fault_chain.iter().map(ToString::to_string).collect();
        steps.join(" -> ")
    }

    /// Delivers one event; RIP is what the handler will return to. Nothing visible changes when this fails,
    /// except as the manual says for task switches.
    ///
    /// # Errors
    /// The fault that delivery causes.
    pub fn deliver(&mut self, vector: u8, source: Source, error: Option<u16>) -> Fallible {
        self.inhibit_at = u64::MAX;
        self.inhibit_traps_at = u64::MAX;
        self.attention &= !super::attention::TRAP;
        if self.vmx.non_root {
            self.begin_vectored(vector, source, error)?;
        }
        let from = self.linear_ip();
        if self.hooks.has(Hooks::EVENTS) {
            self.observe(|observer, cpu| observer.event(cpu, &Event { vector, source, error }));
        }
        let done = if !self.protected() {
            self.deliver_real(vector)
        } else if self.long_mode() {
            self.deliver_long(vector, source, error)
        } else {
            self.deliver_protected(vector, source, error)
        };
        if done.is_ok() {
            self.vmx.vectored = None;
            if self.records_branches() {
                self.keep_last_exception();
                self.record_branch(from);
            }
            if vector == 1 && matches!(source, Source::Exception | Source::Privileged) {
                self.enter_debug_handler();
            }
            self.note_delivery(vector, source);
        }
        done.map_err(|fault| if source.ext() != 0 { fault.external() } else { fault })
    }

    fn deliver_real(&mut self, vector: u8) -> Fallible {
        let entry = u64::from(vector) * 4;
        if entry + 3 > u64::from(self.idtr.limit) {
            return Err(Fault::gp_code((vector as u16) * 8 + 2));
        }
        let pointer = self.read_system(self.idtr.base + entry, 4)?;
        let flags = self.flags.get();
        let (cs, ip) = (self.seg[CS].selector, self.regs[RIP]);
        let saved = self.regs[RSP];
        let pushed = self
            .push::<u16>(flags as u16)
            .and_then(|()| self.push::<u16>(cs))
            .and_then(|()| self.push::<u16>(ip as u16));
        if let Err(fault) = pushed {
            self.regs[RSP] = saved;
            return Err(fault);
        }
        self.set_flags(flags & !(eflags::IF | eflags::TF | eflags::AC | eflags::RF));
        self.load_paragraph(CS, (pointer >> 16) as u16);
        self.regs[RIP] = pointer & 0xffff;
        Ok(())
    }

    /// EFLAGS as an exception handler's frame shows them: faults and events between iterations of a repeated
    /// instruction show RF set, so that the instruction goes on past an instruction breakpoint; INT n shows it
    /// clear. SDM 3B, "Instruction-Breakpoint Exception Condition".
    fn pushed_flags(&self, vector: u8, source: Source) -> u64 {
        let flags = self.flags.get();
        if self.vmx.injecting {
            return flags;
        }
        if source.is_software() {
            return flags & !eflags::RF;
        }
        let fault = source == Source::Exception && !matches!(vector, 1 | 3 | 4 | 8 | 18);
        if fault || self.repeat_at == self.retired { flags | eflags::RF } else { flags }
    }

    fn deliver_protected(&mut self, vector: u8, source: Source, error: Option<u16>) -> Fallible {
        let code = u16::from(vector) * 8 + 2;
        if u32::from(vector) * 8 + 7 > u32::from(self.idtr.limit) {
            return Err(Fault::gp_code(code));
        }
        let raw = self.read_system(self.idtr.base.wrapping_add(u64::from(vector) * 8), 8)?;
        let gate = Descriptor { raw, address: 0 };
        let rights = gate.rights();
        let gate_kind = rights.kind();
        let is_gate = !rights.code_or_data()
            && matches!(
                gate_kind,
                kind::TASK_GATE
                    | kind::INTERRUPT_GATE16
                    | kind::TRAP_GATE16
                    | kind::INTERRUPT_GATE
                    | kind::TRAP_GATE
            );
        if !is_gate || source.needs_gate_level() && rights.dpl() < self.cpl {
            return Err(Fault::gp_code(code));
        }
        if !rights.present() {
            return Err(Fault::np_code(code));
        }
        if gate_kind == kind::TASK_GATE {
            return self.deliver_task(gate.gate_selector(), vector, source, error);
        }
        let size = if gate_kind & 8 != 0 { 4 } else { 2 };
        let selector = gate.gate_selector();
        let descriptor = self.handler_code(selector)?;
        let target = descriptor.rights();
        let from_v86 = self.v86();
        let new_cpl = if target.conforming() { self.cpl } else { target.dpl() };
        if from_v86 && new_cpl != 0 {
            return Err(Fault::gp(selector));
        }
        let offset = gate.gate_offset();
        let flags = self.pushed_flags(vector, source);
        let mut stack = if new_cpl < self.cpl {
            let (ss, esp) = self.inner_stack(new_cpl)?;
            let segment = if is_null(ss) {
                return Err(Fault::ts(ss));
            } else {
                self.stack_segment(ss, new_cpl, Fault::ts(ss), Fault::ts(ss))?
            };
            let mask = if segment.rights.big() { 0xffff_ffff } else { 0xffff };
            NewStack { segment, pointer: esp, mask, linear_mask: 0xffff_ffff, error: ss, cpl: new_cpl }
        } else {
            self.same_stack()
        };
        let values = match (from_v86, new_cpl < self.cpl) {
            (true, _) => 9,
            (_, true) => 5,
            _ => 3,
        };
        stack.room(self, size, values + u64::from(error.is_some()))?;
        self.check_target(&descriptor, offset)?;
        if new_cpl < self.cpl {
            if from_v86 {
                for register in [GS, FS, DS, ES] {
                    stack.push(self, size, u64::from(self.seg[register].selector))?;
                }
            }
            stack.push(self, size, u64::from(self.seg[SS].selector))?;
            stack.push(self, size, self.regs[RSP])?;
        }
        stack.push(self, size, flags)?;
        stack.push(self, size, u64::from(self.seg[CS].selector))?;
        stack.push(self, size, self.regs[RIP])?;
        if let Some(error) = error {
            stack.push(self, size, u64::from(error))?;
        }
        self.set_accessed(&descriptor)?;
        let switched = new_cpl < self.cpl;
        let cleared = eflags::TF | eflags::NT | eflags::VM | eflags::RF;
        let interrupt_gate = gate_kind & 1 == 0;
        self.set_flags(self.flags.get() & !(cleared | if interrupt_gate { eflags::IF } else { 0 }));
        if from_v86 {
            for register in [ES, DS, FS, GS] {
                self.seg[register] = Self::null(0, 0);
            }
        }
        self.enter_code(selector, &descriptor, new_cpl)?;
        if switched {
            self.put_segment(SS, stack.segment);
        }
        self.set_stack_pointer(stack.pointer);
        self.regs[RIP] = offset;
        Ok(())
    }

    /// Reads and checks the code descriptor that a gate names.
    fn handler_code(&mut self, selector: u16) -> Fallible<Descriptor> {
        if is_null(selector) {
            return Err(Fault::GP0);
        }
        let descriptor = self.descriptor(selector, Fault::gp(selector))?;
        let rights = descriptor.rights();
        if !rights.code() || rights.dpl() > self.cpl {
            return Err(Fault::gp(selector));
        }
        if !rights.present() {
            return Err(Fault::np(selector));
        }
        Ok(descriptor)
    }

    /// The current stack as one that is being filled.
    pub fn same_stack(&self) -> NewStack {
        NewStack {
            segment: self.seg[SS],
            pointer: self.regs[RSP],
            mask: self.stack_mask,
            linear_mask: self.linear_mask,
            error: 0,
            cpl: self.cpl,
        }
    }

    /// SS:ESP for a privilege level, from the TSS (SDM 3A, "Stack Switching").
    ///
    /// # Errors
    /// #TS with the TSS's selector when they lie beyond its limit, #PF.
    pub fn inner_stack(&mut self, level: u8) -> Fallible<(u16, u64)> {
        let tss = self.seg[TR];
        let wide = tss.rights.kind() & 8 != 0;
        let (offset, size) = if wide { (4 + u64::from(level) * 8, 4) } else { (2 + u64::from(level) * 4, 2) };
        if offset + size + 1 > u64::from(tss.limit) {
            return Err(Fault::ts(tss.selector));
        }
        let pointer = self.read_system(tss.base + offset, size)?;
        let selector = self.read_system(tss.base + offset + size, 2)?;
        Ok((selector as u16, pointer))
    }

    /// A stack pointer from the 64-bit TSS: RSP0 to RSP2, or IST1 to IST7.
    ///
    /// # Errors
    /// #TS with the TSS's selector beyond its limit, #SS(0) for an address that is not canonical, #PF.
    pub fn stack_from_tss64(&mut self, offset: u64) -> Fallible<u64> {
        let tss = self.seg[TR];
        if offset + 7 > u64::from(tss.limit) {
            return Err(Fault::ts(tss.selector));
        }
        let pointer = self.read_system(tss.base.wrapping_add(offset), 8)?;
        if self.canonical(pointer) { Ok(pointer) } else { Err(Fault::SS0) }
    }

    fn deliver_long(&mut self, vector: u8, source: Source, error: Option<u16>) -> Fallible {
        let code = u16::from(vector) * 8 + 2;
        if u32::from(vector) * 16 + 15 > u32::from(self.idtr.limit) {
            return Err(Fault::gp_code(code));
        }
        let address = self.idtr.base.wrapping_add(u64::from(vector) * 16);
        let gate = Descriptor { raw: self.read_system(address, 8)?, address };
        let high = self.read_system(address.wrapping_add(8), 8)?;
        let rights = gate.rights();
        if rights.code_or_data()
            || !matches!(rights.kind(), kind::INTERRUPT_GATE | kind::TRAP_GATE)
            || high >> 32 & 0x1f00 != 0
            || source.needs_gate_level() && rights.dpl() < self.cpl
        {
            return Err(Fault::gp_code(code));
        }
        if !rights.present() {
            return Err(Fault::np_code(code));
        }
        let selector = gate.gate_selector();
        let descriptor = self.handler_code(selector)?;
        let target = descriptor.rights();
        if !target.long() || target.big() {
            return Err(Fault::gp(selector));
        }
        let offset = gate.gate_offset() | high << 32;
        let new_cpl = if target.conforming() { self.cpl } else { target.dpl() };
        let ist = gate.raw >> 32 & 7;
        let pointer = if ist != 0 {
            self.stack_from_tss64(0x1c + ist * 8)?
        } else if new_cpl < self.cpl {
            self.stack_from_tss64(4 + u64::from(new_cpl) * 8)?
        } else {
            self.regs[RSP]
        };
        let mut segment = self.seg[SS];
        segment.update_flat();
        segment.base = 0;
        let mut stack = NewStack {
            segment,
            pointer: pointer & !15,
            mask: u64::MAX,
            linear_mask: u64::MAX,
            error: 0,
            cpl: new_cpl,
        };
        stack.room(self, 8, 5 + u64::from(error.is_some()))?;
        self.check_target(&descriptor, offset)?;
        stack.push(self, 8, u64::from(self.seg[SS].selector))?;
        stack.push(self, 8, self.regs[RSP])?;
        stack.push(self, 8, self.pushed_flags(vector, source))?;
        stack.push(self, 8, u64::from(self.seg[CS].selector))?;
        stack.push(self, 8, self.regs[RIP])?;
        if let Some(error) = error {
            stack.push(self, 8, u64::from(error))?;
        }
        self.set_accessed(&descriptor)?;
        let cleared = eflags::TF | eflags::NT | eflags::RF | eflags::VM;
        let interrupt_gate = rights.kind() & 1 == 0;
        let outer = self.cpl;
        self.set_flags(self.flags.get() & !(cleared | if interrupt_gate { eflags::IF } else { 0 }));
        self.enter_code(selector, &descriptor, new_cpl)?;
        if new_cpl < outer {
            self.put_segment(SS, Self::null(u16::from(new_cpl), new_cpl));
        }
        self.regs[RSP] = stack.pointer;
        self.regs[RIP] = offset;
        Ok(())
    }
}
