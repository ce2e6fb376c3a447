//! VMXON, VMXOFF, VMCLEAR, VMPTRLD, VMPTRST, VMREAD, VMWRITE, VMLAUNCH, VMRESUME, VMCALL, INVEPT, INVVPID. SDM 3C, "VMX
//! Instruction Reference".

use super::capability::{LOCKED, REVISION, VMXON_PERMITTED};
use super::exit::reason;
use super::fields::{self as f, Field};
use super::{NO_VMCS, information};
use crate::cpu::control::CR4_VMXE;
use crate::cpu::{Cpu, Fallible, Fault, attention, eflags};
use crate::interp::op::Op;

/// VM-instruction error numbers.
#[allow(missing_docs)] // The names are the manual's, shortened.
pub mod error {
    pub const VMCALL_IN_ROOT: u32 = 1;
    pub const VMCLEAR_ADDRESS: u32 = 2;
    pub const VMCLEAR_VMXON_POINTER: u32 = 3;
    pub const VMLAUNCH_NOT_CLEAR: u32 = 4;
    pub const VMRESUME_NOT_LAUNCHED: u32 = 5;
    pub const ENTRY_CONTROLS: u32 = 7;
    pub const ENTRY_HOST_STATE: u32 = 8;
    pub const VMPTRLD_ADDRESS: u32 = 9;
    pub const VMPTRLD_VMXON_POINTER: u32 = 10;
    pub const VMPTRLD_REVISION: u32 = 11;
    pub const NO_SUCH_FIELD: u32 = 12;
    pub const VMXON_IN_ROOT: u32 = 15;
    pub const ENTRY_IN_SHADOW: u32 = 26;
    pub const INVALIDATION_OPERAND: u32 = 28;
}

impl Cpu {
    fn vm_succeed(&mut self) {
        self.flags.set_some(eflags::OSZAPC, 0);
    }

    fn vm_fail_invalid(&mut self) {
        self.flags.set_some(eflags::OSZAPC, eflags::CF);
    }

    fn vm_fail(&mut self, number: u32) {
        if self.vmx.current == NO_VMCS {
            return self.vm_fail_invalid();
        }
        self.flags.set_some(eflags::OSZAPC, eflags::ZF);
        self.set_vmcs(f::INSTRUCTION_ERROR, number.into());
    }

    /// Modes in which there are no VMX instructions.
    fn wrong_mode(&self) -> bool {
        self.paragraphs() || self.long_mode() && self.code_size() != 64
    }

    /// What all of them but VMXON and VMCALL begin with.
    fn vmx_operation(&self) -> Fallible {
        if !self.vmx.on || self.wrong_mode() { Err(Fault::UD) } else { Ok(()) }
    }

    fn vmx_privilege(&self) -> Fallible {
        if self.cpl != 0 { Err(Fault::GP0) } else { Ok(()) }
    }

    /// The 64-bit operand in memory that is a pointer.
    fn pointer_operand(&mut self, op: &Op) -> Fallible<u64> {
        let address = op.address(self);
        self.read::<u64>(op.segment(), address)
    }

    /// VMXON.
    pub(crate) fn vmxon(&mut self, op: &Op) -> Fallible {
        if self.cr4 & CR4_VMXE == 0 || self.wrong_mode() {
            return Err(Fault::UD);
        }
        self.exits_with_memory(op, None, reason::VMXON, 0)?;
        if self.vmx.on {
            self.vmx_privilege()?;
            self.vm_fail(error::VMXON_IN_ROOT);
            return Ok(());
        }
        let fixed = self.cr0_fixed(false);
        let permitted = LOCKED | VMXON_PERMITTED;
        let a20_masked = self.system().mem.gate_a20(1 << 20) == 0;
        if self.cpl != 0
            || self.cr0 & fixed != fixed
            || self.vmx.feature_control & permitted != permitted
            || self.smm
            || a20_masked
        {
            return Err(Fault::GP0);
        }
        let region = self.pointer_operand(op)?;
        if !self.physical_aligned(region, 12) || self.region_revision(region) != REVISION {
            self.vm_fail_invalid();
            return Ok(());
        }
        self.vmx.on = true;
        self.vmx.region = region;
        self.vmx.current = NO_VMCS;
        self.vm_succeed();
        Ok(())
    }

    /// VMXOFF.
    pub(crate) fn vmxoff(&mut self) -> Fallible {
        self.vmx_operation()?;
        self.exits(reason::VMXOFF)?;
        self.vmx_privilege()?;
        self.vmx.on = false;
        self.vmx.current = NO_VMCS;
        self.vm_succeed();
        // An INIT may have waited.
        self.attention |= attention::INTERRUPTS;
        self.stop = true;
        Ok(())
    }

    /// VMCALL.
    pub(crate) fn vmcall(&mut self) -> Fallible {
        if !self.vmx.on {
            return Err(Fault::UD);
        }
        self.exits(reason::VMCALL)?;
        self.vmx_operation()?;
        self.vmx_privilege()?;
        self.vm_fail(error::VMCALL_IN_ROOT);
        Ok(())
    }

    /// VMCLEAR.
    pub(crate) fn vmclear(&mut self, op: &Op) -> Fallible {
        self.vmx_operation()?;
        self.exits_with_memory(op, None, reason::VMCLEAR, 0)?;
        self.vmx_privilege()?;
        let region = self.pointer_operand(op)?;
        if !self.physical_aligned(region, 12) {
            self.vm_fail(error::VMCLEAR_ADDRESS);
        } else if region == self.vmx.region {
            self.vm_fail(error::VMCLEAR_VMXON_POINTER);
        } else {
            self.set_launched(region, false);
            if region == self.vmx.current {
                self.vmx.current = NO_VMCS;
            }
            self.vm_succeed();
        }
        Ok(())
    }

    /// VMPTRLD.
    pub(crate) fn vmptrld(&mut self, op: &Op) -> Fallible {
        self.vmx_operation()?;
        self.exits_with_memory(op, None, reason::VMPTRLD, 0)?;
        self.vmx_privilege()?;
        let region = self.pointer_operand(op)?;
        if !self.physical_aligned(region, 12) {
            self.vm_fail(error::VMPTRLD_ADDRESS);
        } else if region == self.vmx.region {
            self.vm_fail(error::VMPTRLD_VMXON_POINTER);
        } else if self.region_revision(region) != REVISION {
            self.vm_fail(error::VMPTRLD_REVISION);
        } else {
            self.vmx.current = region;
            self.vm_succeed();
        }
        Ok(())
    }

    /// VMPTRST.
    pub(crate) fn vmptrst(&mut self, op: &Op) -> Fallible {
        self.vmx_operation()?;
        self.exits_with_memory(op, None, reason::VMPTRST, 0)?;
        self.vmx_privilege()?;
        let (address, current) = (op.address(self), self.vmx.current);
        self.write::<u64>(op.segment(), address, current)?;
        self.vm_succeed();
        Ok(())
    }

    /// VMREAD and VMWRITE: exits, with the operand that is no encoding in a register or in memory.
    pub(crate) fn vm_access_allowed(
        &mut self,
        op: &Op,
        register: Option<u8>,
        encoding: u8,
        reason: u32,
    ) -> Fallible {
        self.vmx_operation()?;
        if self.vmx.non_root {
            let (operand, qualification) = match register {
                Some(number) => (information::register(number), 0),
                None => (information::memory(op), self.displacement(op)),
            };
            let information = operand | u32::from(encoding) << 28;
            return Err(self.leave(super::Exit { qualification, information, ..super::Exit::of(reason) }));
        }
        self.vmx_privilege()
    }

    /// VMREAD: the value of the field, unless the instruction fails.
    pub(crate) fn vmread(&mut self, encoding: u64) -> Option<u64> {
        if self.vmx.current == NO_VMCS {
            self.vm_fail_invalid();
            return None;
        }
        let Some(field) = existing(encoding) else {
            self.vm_fail(error::NO_SUCH_FIELD);
            return None;
        };
        let value = self.vmcs(field);
        Some(if field.is_high() { value >> 32 } else { value })
    }

    /// The end of a VMREAD that wrote its destination.
    pub(crate) fn vmread_done(&mut self) {
        self.vm_succeed();
    }

    /// VMWRITE.
    pub(crate) fn vmwrite(&mut self, encoding: u64, value: u64) {
        if self.vmx.current == NO_VMCS {
            return self.vm_fail_invalid();
        }
        let Some(field) = existing(encoding) else {
            return self.vm_fail(error::NO_SUCH_FIELD);
        };
        let value = if field.is_high() { self.vmcs(field) & 0xffff_ffff | value << 32 } else { value };
        self.set_vmcs(field, value);
        self.vm_succeed();
    }

    /// VMLAUNCH and VMRESUME, up to the checks on the guest.
    ///
    /// # Errors
    /// [`Fault::VmEntry`] when the entry goes on.
    pub(crate) fn vm_enter(&mut self, launch: bool) -> Fallible {
        self.vmx_operation()?;
        self.exits(if launch { reason::VMLAUNCH } else { reason::VMRESUME })?;
        self.vmx_privilege()?;
        if self.vmx.current == NO_VMCS {
            self.vm_fail_invalid();
            return Ok(());
        }
        let failed = if self.inhibit_traps_at == self.instructions() {
            error::ENTRY_IN_SHADOW
        } else if launch && self.launched() {
            error::VMLAUNCH_NOT_CLEAR
        } else if !launch && !self.launched() {
            error::VMRESUME_NOT_LAUNCHED
        } else {
            self.vmx.controls = self.read_controls();
            let failed = match self.check_controls() {
                Err(what) => Some((error::ENTRY_CONTROLS, what)),
                Ok(()) => self.check_host_state().err().map(|what| (error::ENTRY_HOST_STATE, what)),
            };
            let Some((number, what)) = failed else { return Err(Fault::VmEntry) };
            self.vmx.wrong = Some(what);
            number
        };
        self.vm_fail(failed);
        Ok(())
    }

    /// INVEPT and INVVPID: the descriptor, behind the checks of both.
    fn invalidation_operand(&mut self, op: &Op, reason: u32) -> Fallible<(u64, u64, u64)> {
        self.vmx_operation()?;
        self.exits_with_memory(op, None, reason, u32::from(op.reg[0]) << 28)?;
        self.vmx_privilege()?;
        let mask = if self.code_size() == 64 { u64::MAX } else { 0xffff_ffff };
        let kind = self.regs[usize::from(op.reg[0])] & mask;
        let address = op.address(self);
        let low = self.read::<u64>(op.segment(), address)?;
        let high = self.read::<u64>(op.segment(), op.cut_address(address.wrapping_add(8)))?;
        Ok((kind, low, high))
    }

    /// INVEPT.
    pub(crate) fn invept(&mut self, op: &Op) -> Fallible {
        let (kind, eptp, rest) = self.invalidation_operand(op, reason::INVEPT)?;
        let good = match kind {
            1 => rest == 0 && self.eptp_valid(eptp),
            2 => rest == 0,
            _ => false,
        };
        self.end_invalidation(good)
    }

    /// INVVPID.
    pub(crate) fn invvpid(&mut self, op: &Op) -> Fallible {
        let (kind, vpid, linear) = self.invalidation_operand(op, reason::INVVPID)?;
        let good = vpid >> 16 == 0
            && match kind {
                0 => vpid != 0 && self.canonical_register(linear),
                1 | 3 => vpid != 0,
                2 => true,
                _ => false,
            };
        self.end_invalidation(good)
    }

    /// Nothing of a guest is kept while root operation runs, so there is nothing to forget.
    fn end_invalidation(&mut self, good: bool) -> Fallible {
        if good {
            self.vm_succeed()
        } else {
            self.vm_fail(error::INVALIDATION_OPERAND)
        }
        Ok(())
    }
}

fn existing(encoding: u64) -> Option<Field> {
    let field = Field(u32::try_from(encoding).ok()?);
    field.exists().then_some(field)
}
