//! The VMCS region: what lies where, and access to the fields of the current VMCS. SDM 3C, "Virtual Machine Control
//! Structures".

use super::fields::Field;
use crate::cpu::Cpu;

/// Offset of the VMX-abort indicator.
const ABORT: u64 = 4;
/// Offset of the launch state: 0 is clear.
const LAUNCH: u64 = 8;

impl Cpu {
    /// A field of the current VMCS.
    pub(crate) fn vmcs(&mut self, field: Field) -> u64 {
        self.read_physical(self.vmx.current + field.offset(), 8) & field.mask()
    }

    /// A field of the current VMCS that has no more than 32 bits.
    pub(crate) fn vmcs32(&mut self, field: Field) -> u32 {
        self.vmcs(field) as u32
    }

    /// Writes a field of the current VMCS.
    pub(crate) fn set_vmcs(&mut self, field: Field, value: u64) {
        self.write_physical(self.vmx.current + field.offset(), 8, value & field.mask());
    }

    /// The revision identifier of a region.
    pub(super) fn region_revision(&mut self, region: u64) -> u32 {
        self.read_physical(region, 4) as u32
    }

    /// Is the launch state of the current VMCS "launched"?
    pub(super) fn launched(&mut self) -> bool {
        self.read_physical(self.vmx.current + LAUNCH, 4) != 0
    }

    pub(super) fn set_launched(&mut self, region: u64, launched: bool) {
        self.write_physical(region + LAUNCH, 4, launched.into());
    }

    pub(super) fn set_abort(&mut self, indicator: u64) {
        self.write_physical(self.vmx.current + ABORT, 4, indicator);
    }
}
