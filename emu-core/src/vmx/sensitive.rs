//! Instructions that cause VM exits in non-root operation, and those that do something else there. SDM 3C, "VMX
//! Non-Root Operation": "Instructions That Cause VM Exits", "Changes to Instruction Behavior in VMX Non-Root
//! Operation".
//!
//! Handlers ask here behind the checks that come before VM exits (#UD, privilege) and before all others.

use super::capability::{CR3_TARGETS, primary, secondary};
use super::exit::{Exit, reason};
use super::information;
use crate::cpu::control::{CR0_PE, CR0_TS};
use crate::cpu::smm::PortAccess;
use crate::cpu::task::Cause;
use crate::cpu::{Cpu, Fallible, RCX};
use crate::interp::op::Op;

/// Access types in the exit qualification of an access to a control register.
const MOV_FROM: u64 = 1 << 4;
const CLTS: u64 = 2 << 4;
const LMSW: u64 = 3 << 4;
const LMSW_MEMORY: u64 = 1 << 6;

/// Offset of the virtual task-priority register in the virtual-APIC page.
const VTPR: u64 = 0x80;

impl Cpu {
    /// Exits for this reason in non-root operation.
    ///
    /// # Errors
    /// `Fault::VmExit`.
    #[inline]
    pub(crate) fn exits(&mut self, reason: u32) -> Fallible {
        if self.vmx.non_root { Err(self.leave(Exit::of(reason))) } else { Ok(()) }
    }

    /// Exits for this reason in non-root operation when a primary control says so.
    ///
    /// # Errors
    /// `Fault::VmExit`.
    #[inline]
    pub(crate) fn exits_by(&mut self, control: u32, reason: u32) -> Fallible {
        if self.vmx.non_root && self.vmx.controls.primary(control) {
            return Err(self.leave(Exit::of(reason)));
        }
        Ok(())
    }

    /// The same with an exit qualification.
    ///
    /// # Errors
    /// `Fault::VmExit`.
    #[inline]
    pub(crate) fn exits_qualified(&mut self, control: u32, reason: u32, qualification: u64) -> Fallible {
        if self.vmx.non_root && self.vmx.controls.primary(control) {
            return Err(self.leave(Exit { qualification, ..Exit::of(reason) }));
        }
        Ok(())
    }

    /// The same by a secondary control, with instruction information.
    ///
    /// # Errors
    /// `Fault::VmExit`.
    #[inline]
    pub(crate) fn exits_secondary(&mut self, control: u32, reason: u32, information: u32) -> Fallible {
        if self.vmx.non_root && self.vmx.controls.secondary(control) {
            return Err(self.leave(Exit { information, ..Exit::of(reason) }));
        }
        Ok(())
    }

    /// An instruction with a memory operand that always exits, or by a secondary control.
    ///
    /// # Errors
    /// `Fault::VmExit`.
    pub(crate) fn exits_with_memory(
        &mut self,
        op: &Op,
        control: Option<u32>,
        reason: u32,
        more: u32,
    ) -> Fallible {
        if !self.vmx.non_root || control.is_some_and(|control| !self.vmx.controls.secondary(control)) {
            return Ok(());
        }
        let information = information::memory(op) | more;
        let qualification = self.displacement(op);
        Err(self.leave(Exit { qualification, information, ..Exit::of(reason) }))
    }

    /// LLDT, LTR, SLDT and STR, with the number that tells them apart; `register` is the operand unless it is memory.
    ///
    /// # Errors
    /// `Fault::VmExit`.
    pub(crate) fn exits_on_selector(&mut self, op: &Op, register: Option<u8>, which: u32) -> Fallible {
        if !self.vmx.non_root || !self.vmx.controls.secondary(secondary::DESCRIPTOR_TABLES) {
            return Ok(());
        }
        let (operand, qualification) = match register {
            Some(number) => (information::register(number), 0),
            None => (information::memory(op), self.displacement(op)),
        };
        let information = operand | which << 28;
        Err(self.leave(Exit { qualification, information, ..Exit::of(reason::LDTR_TR) }))
    }

    /// MOV to CR0 and CR4: what is really written. Bits that the host owns keep their values.
    ///
    /// # Errors
    /// `Fault::VmExit` when one of these would differ from the read shadow.
    pub(crate) fn guest_control_write(&mut self, number: u8, register: u8, value: u64) -> Fallible<u64> {
        if !self.vmx.non_root {
            return Ok(value);
        }
        let c = &self.vmx.controls;
        let (mask, shadow, old) = match number {
            0 => (c.cr0_mask, c.cr0_shadow, self.cr0),
            _ => (c.cr4_mask, c.cr4_shadow, self.cr4),
        };
        if (value ^ shadow) & mask != 0 {
            let qualification = u64::from(number) | u64::from(register) << 8;
            return Err(self.leave(Exit { qualification, ..Exit::of(reason::CR_ACCESS) }));
        }
        Ok(value & !mask | old & mask)
    }

    /// What the guest reads of CR0 or CR4.
    pub(crate) fn guest_control_read(&self, number: u8, value: u64) -> u64 {
        if !self.vmx.non_root {
            return value;
        }
        let c = &self.vmx.controls;
        let (mask, shadow) =
            if number == 0 { (c.cr0_mask, c.cr0_shadow) } else { (c.cr4_mask, c.cr4_shadow) };
        value & !mask | shadow & mask
    }

    /// MOV to CR3.
    ///
    /// # Errors
    /// `Fault::VmExit`.
    pub(crate) fn exits_on_cr3_write(&mut self, register: u8, value: u64) -> Fallible {
        let c = &self.vmx.controls;
        let count = c.cr3_count.min(CR3_TARGETS) as usize;
        if self.vmx.non_root && c.cr3_targets[..count].contains(&value) {
            return Ok(());
        }
        self.exits_qualified(primary::CR3_LOAD, reason::CR_ACCESS, 3 | u64::from(register) << 8)
    }

    /// MOV from CR3 and CR8.
    ///
    /// # Errors
    /// `Fault::VmExit`.
    pub(crate) fn exits_on_control_read(&mut self, number: u8, register: u8) -> Fallible {
        let control = match number {
            3 => primary::CR3_STORE,
            8 => primary::CR8_STORE,
            _ => return Ok(()),
        };
        let qualification = u64::from(number) | MOV_FROM | u64::from(register) << 8;
        self.exits_qualified(control, reason::CR_ACCESS, qualification)
    }

    /// CLTS. False when it leaves CR0.TS as it is.
    ///
    /// # Errors
    /// `Fault::VmExit`.
    pub(crate) fn guest_clts(&mut self) -> Fallible<bool> {
        let c = &self.vmx.controls;
        if !self.vmx.non_root || c.cr0_mask & CR0_TS == 0 {
            return Ok(true);
        }
        if c.cr0_shadow & CR0_TS == 0 {
            return Ok(false);
        }
        Err(self.leave(Exit { qualification: CLTS, ..Exit::of(reason::CR_ACCESS) }))
    }

    /// LMSW: what its four bits really become.
    ///
    /// # Errors
    /// `Fault::VmExit`.
    pub(crate) fn guest_lmsw(&mut self, source: u64, memory: Option<u64>) -> Fallible<u64> {
        if !self.vmx.non_root {
            return Ok(source);
        }
        let c = &self.vmx.controls;
        let (mask, shadow) = (c.cr0_mask & 15, c.cr0_shadow & 15);
        // PE cannot be cleared, so only setting it counts.
        let sets_pe = source & !shadow & mask & CR0_PE != 0;
        if sets_pe || (source ^ shadow) & mask & 14 != 0 {
            let place = if memory.is_some() { LMSW_MEMORY } else { 0 };
            let qualification = LMSW | place | source << 16;
            let linear = memory.unwrap_or(0);
            return Err(self.leave(Exit { qualification, linear, ..Exit::of(reason::CR_ACCESS) }));
        }
        Ok(source & !mask | self.cr0 & mask & 15)
    }

    /// IN, OUT, INS and OUTS, behind the check of the permission bitmap. `linear` is the address of the memory operand.
    ///
    /// # Errors
    /// `Fault::VmExit`.
    pub(crate) fn exits_on_port(
        &mut self,
        op: &Op,
        access: PortAccess,
        input: bool,
        immediate: bool,
        linear: u64,
    ) -> Fallible {
        if !self.vmx.non_root || !self.port_exits(access.port, access.size) {
            return Ok(());
        }
        let bit = |on: bool, bit: u64| if on { bit } else { 0 };
        let qualification = (access.size - 1)
            | bit(input, 1 << 3)
            | bit(access.string, 1 << 4)
            | bit(access.string && op.repeated(), 1 << 5)
            | bit(immediate, 1 << 6)
            | u64::from(access.port) << 16;
        let information = if access.string { information::string(op) } else { 0 };
        Err(self.leave(Exit { qualification, information, linear, ..Exit::of(reason::IO) }))
    }

    fn port_exits(&mut self, port: u16, size: u64) -> bool {
        let c = self.vmx.controls;
        if !c.primary(primary::IO_BITMAPS) {
            return c.primary(primary::UNCONDITIONAL_IO);
        }
        let ports = u64::from(port)..u64::from(port) + size;
        if ports.end > 0x1_0000 {
            return true;
        }
        ports.into_iter().any(|port| {
            let bitmap = c.io_bitmaps[usize::from(port >= 0x8000)];
            self.read_physical(bitmap + (port & 0x7fff) / 8, 1) >> (port & 7) & 1 != 0
        })
    }

    /// RDMSR and WRMSR of the register that ECX names.
    ///
    /// # Errors
    /// `Fault::VmExit`.
    pub(crate) fn exits_on_msr(&mut self, write: bool) -> Fallible {
        if !self.vmx.non_root {
            return Ok(());
        }
        let number = self.regs[RCX] as u32;
        let half = match number {
            0..=0x1fff => 0,
            0xc000_0000..=0xc000_1fff => 1024,
            _ => return Err(self.leave_for_msr(write)),
        };
        let c = self.vmx.controls;
        if !c.primary(primary::MSR_BITMAPS) {
            return Err(self.leave_for_msr(write));
        }
        let bitmap = c.msr_bitmap + half + if write { 2048 } else { 0 };
        let number = u64::from(number & 0x1fff);
        let bit = self.read_physical(bitmap + number / 8, 1) >> (number & 7) & 1;
        if bit != 0 { Err(self.leave_for_msr(write)) } else { Ok(()) }
    }

    fn leave_for_msr(&mut self, write: bool) -> crate::cpu::Fault {
        self.leave(Exit::of(if write { reason::WRMSR } else { reason::RDMSR }))
    }

    /// A task switch, behind the checks on the selector and descriptor of the TSS.
    ///
    /// # Errors
    /// `Fault::VmExit`.
    pub(crate) fn exits_on_task_switch(&mut self, selector: u16, cause: Cause, by_gate: bool) -> Fallible {
        if !self.vmx.non_root {
            return Ok(());
        }
        let source = match (cause, by_gate) {
            (_, true) => 3,
            (Cause::Nest, _) => 0,
            (Cause::Return, _) => 1,
            (Cause::Jump, _) => 2,
        };
        let qualification = u64::from(selector) | source << 30;
        Err(self.leave(Exit { qualification, ..Exit::of(reason::TASK_SWITCH) }))
    }

    /// What non-root operation adds to the time-stamp counter.
    pub(crate) fn guest_tsc_offset(&self) -> u64 {
        let c = &self.vmx.controls;
        if self.vmx.non_root && c.primary(primary::TSC_OFFSETTING) { c.tsc_offset } else { 0 }
    }

    /// Is CR8 the virtual task-priority register?
    pub(crate) fn has_tpr_shadow(&self) -> bool {
        self.vmx.non_root && self.vmx.controls.primary(primary::TPR_SHADOW)
    }

    /// The virtual task-priority register.
    pub(crate) fn virtual_tpr(&mut self) -> u32 {
        self.read_physical(self.vmx.controls.virtual_apic + VTPR, 4) as u32 & 0xff
    }

    /// MOV to CR8 with the TPR shadow; a value below the threshold exits behind the instruction.
    pub(crate) fn set_virtual_tpr(&mut self, priority: u64) {
        self.write_physical(self.vmx.controls.virtual_apic + VTPR, 4, priority << 4);
        self.attention |= crate::cpu::attention::INTERRUPTS;
        self.stop = true;
    }
}
