//! The areas of MSRs that VM entries and exits load and store. SDM 3C, "Loading MSRs", "Saving MSRs".

use super::controls::Wrong;
use super::fields::{self as f, Field};
use crate::cpu::Cpu;
use crate::cpu::msr::number as msr;

/// Bytes of an entry: number, reserved, value.
const ENTRY: u64 = 16;
const SMM_MONITOR_CTL: u64 = 0x9b;
const SMBASE: u64 = 0x9e;

fn in_x2apic_range(number: u64) -> bool {
    number >> 8 == 8
}

impl Cpu {
    /// Loads MSRs from an area.
    ///
    /// # Errors
    /// The number of the entry, from 1 on, that could not be loaded.
    pub(super) fn load_msrs(&mut self, area: Field, count: Field) -> Result<(), u64> {
        let (area, count) = (self.vmcs(area), self.vmcs(count));
        for n in 0..count {
            let at = area.wrapping_add(n * ENTRY);
            let number = self.read_physical(at, 8);
            let value = self.read_physical(at + 8, 8);
            let forbidden = number >> 32 != 0
                || matches!(number as u32, msr::FS_BASE | msr::GS_BASE | msr::BIOS_UPDT_TRIG)
                || number == SMM_MONITOR_CTL
                || in_x2apic_range(number);
            if forbidden || self.write_msr(number as u32, value).is_err() {
                return Err(n + 1);
            }
        }
        Ok(())
    }

    /// Stores MSRs in the area of VM exits.
    pub(super) fn store_msrs(&mut self) -> Result<(), Wrong> {
        let (area, count) = (self.vmcs(f::EXIT_MSR_STORE), self.vmcs(f::EXIT_MSR_STORE_COUNT));
        for n in 0..count {
            let at = area.wrapping_add(n * ENTRY);
            let number = self.read_physical(at, 8);
            let forbidden = number >> 32 != 0 || number == SMBASE || in_x2apic_range(number);
            let value = if forbidden { None } else { self.read_msr(number as u32).ok() };
            self.write_physical(at + 8, 8, value.ok_or("an MSR that cannot be stored")?);
        }
        Ok(())
    }
}
