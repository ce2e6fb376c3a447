//! Capability MSRs, and the bits of the control fields. SDM 3D, appendix A; SDM 3C, "VM-Execution Control Fields",
//! "VM-Exit Control Fields", "VM-Entry Control Fields".

use super::fields;
use crate::cpu::control::{CR0_NE, CR0_PE, CR0_PG, CR4_VMXE};
use crate::cpu::model::{Feature, Model};

/// IA32_FEATURE_CONTROL.
pub const FEATURE_CONTROL: u32 = 0x3a;
/// IA32_VMX_BASIC, the first of the capability MSRs.
pub const BASIC: u32 = 0x480;
/// IA32_VMX_TRUE_ENTRY_CTLS, the last one.
pub const TRUE_ENTRY: u32 = 0x490;

/// IA32_FEATURE_CONTROL: locked until reset.
pub const LOCKED: u64 = 1 << 0;
/// IA32_FEATURE_CONTROL: VMXON outside SMX operation.
pub const VMXON_PERMITTED: u64 = 1 << 2;

/// VMCS revision identifier.
pub const REVISION: u32 = 0x0045_4d55;
/// Bytes of a VMCS region, and of the VMXON region.
const REGION_SIZE: u64 = 4096;
/// IA32_VMX_BASIC: memory type write-back; INS and OUTS report instruction information; the TRUE MSRs exist.
const BASIC_REST: u64 = 6 << 50 | 1 << 54 | 1 << 55;
/// The VMX-preemption timer counts when this bit of the time-stamp counter changes.
pub const TIMER_RATE: u64 = 0;
/// CR3-target values.
pub const CR3_TARGETS: u64 = 4;
/// MSRs in an area.
pub const MOST_MSRS: u64 = 512;
/// IA32_VMX_MISC: VM exits store EFER.LMA; activity states HLT and wait-for-SIPI; VMWRITE writes every field;
/// injection with a length of 0.
const MISC_REST: u64 = 1 << 5 | 5 << 6 | 1 << 29 | 1 << 30;

/// IA32_VMX_EPT_VPID_CAP: execute-only, four levels, UC and WB tables, 2 MiB and 1 GiB pages, INVEPT (single and all),
/// accessed and dirty flags, INVVPID (address, single, all, single retaining globals).
pub const EPT_VPID: u64 =
    1 | 1 << 6 | 1 << 8 | 1 << 14 | 3 << 16 | 1 << 20 | 1 << 21 | 3 << 25 | 1 << 32 | 15 << 40;

/// Pin-based VM-execution controls.
#[allow(missing_docs)] // The names are the manual's.
pub mod pin {
    pub const EXTERNAL_INTERRUPT: u32 = 1 << 0;
    pub const NMI: u32 = 1 << 3;
    pub const VIRTUAL_NMIS: u32 = 1 << 5;
    pub const PREEMPTION_TIMER: u32 = 1 << 6;
}

/// Primary processor-based VM-execution controls.
#[allow(missing_docs)] // The names are the manual's.
pub mod primary {
    pub const INTERRUPT_WINDOW: u32 = 1 << 2;
    pub const TSC_OFFSETTING: u32 = 1 << 3;
    pub const HLT: u32 = 1 << 7;
    pub const INVLPG: u32 = 1 << 9;
    pub const MWAIT: u32 = 1 << 10;
    pub const RDPMC: u32 = 1 << 11;
    pub const RDTSC: u32 = 1 << 12;
    pub const CR3_LOAD: u32 = 1 << 15;
    pub const CR3_STORE: u32 = 1 << 16;
    pub const CR8_LOAD: u32 = 1 << 19;
    pub const CR8_STORE: u32 = 1 << 20;
    pub const TPR_SHADOW: u32 = 1 << 21;
    pub const NMI_WINDOW: u32 = 1 << 22;
    pub const MOV_DR: u32 = 1 << 23;
    pub const UNCONDITIONAL_IO: u32 = 1 << 24;
    pub const IO_BITMAPS: u32 = 1 << 25;
    pub const MONITOR_TRAP_FLAG: u32 = 1 << 27;
    pub const MSR_BITMAPS: u32 = 1 << 28;
    pub const MONITOR: u32 = 1 << 29;
    pub const PAUSE: u32 = 1 << 30;
    pub const SECONDARY: u32 = 1 << 31;
}

/// Secondary processor-based VM-execution controls.
#[allow(missing_docs)] // The names are the manual's.
pub mod secondary {
    pub const EPT: u32 = 1 << 1;
    pub const DESCRIPTOR_TABLES: u32 = 1 << 2;
    pub const RDTSCP: u32 = 1 << 3;
    pub const VPID: u32 = 1 << 5;
    pub const WBINVD: u32 = 1 << 6;
    pub const UNRESTRICTED: u32 = 1 << 7;
    pub const RDRAND: u32 = 1 << 11;
    pub const INVPCID: u32 = 1 << 12;
    pub const RDSEED: u32 = 1 << 16;
    pub const XSAVES: u32 = 1 << 20;
}

/// VM-exit controls.
#[allow(missing_docs)] // The names are the manual's.
pub mod exit {
    pub const SAVE_DEBUG: u32 = 1 << 2;
    pub const HOST_64: u32 = 1 << 9;
    pub const ACKNOWLEDGE: u32 = 1 << 15;
    pub const SAVE_PAT: u32 = 1 << 18;
    pub const LOAD_PAT: u32 = 1 << 19;
    pub const SAVE_EFER: u32 = 1 << 20;
    pub const LOAD_EFER: u32 = 1 << 21;
    pub const SAVE_TIMER: u32 = 1 << 22;
}

/// VM-entry controls.
#[allow(missing_docs)] // The names are the manual's.
pub mod entry {
    pub const LOAD_DEBUG: u32 = 1 << 2;
    pub const GUEST_64: u32 = 1 << 9;
    pub const LOAD_PAT: u32 = 1 << 14;
    pub const LOAD_EFER: u32 = 1 << 15;
}

/// Controls that must be 1 (or, in `fixed`, must be 1 unless software knows better), and those that may be.
#[derive(Clone, Copy, Debug)]
struct Allowed {
    fixed: u32,
    truly_fixed: u32,
    optional: u32,
}

impl Allowed {
    /// The MSR: what must be 1 below, what may be above.
    fn msr(self, truly: bool) -> u64 {
        let fixed = if truly { self.truly_fixed } else { self.fixed };
        u64::from(fixed) | u64::from(self.fixed | self.optional) << 32
    }

    fn permits(self, value: u32) -> bool {
        self.truly_fixed & !value == 0 && value & !(self.fixed | self.optional) == 0
    }
}

const PIN: Allowed = Allowed {
    fixed: 0x16,
    truly_fixed: 0x16,
    optional: pin::EXTERNAL_INTERRUPT | pin::NMI | pin::VIRTUAL_NMIS | pin::PREEMPTION_TIMER,
};
const PRIMARY: Allowed = Allowed {
    fixed: 0x0401_e172,
    truly_fixed: 0x0400_6172,
    optional: primary::INTERRUPT_WINDOW
        | primary::TSC_OFFSETTING
        | primary::HLT
        | primary::INVLPG
        | primary::MWAIT
        | primary::RDPMC
        | primary::RDTSC
        | primary::CR8_LOAD
        | primary::CR8_STORE
        | primary::TPR_SHADOW
        | primary::NMI_WINDOW
        | primary::MOV_DR
        | primary::UNCONDITIONAL_IO
        | primary::IO_BITMAPS
        | primary::MONITOR_TRAP_FLAG
        | primary::MSR_BITMAPS
        | primary::MONITOR
        | primary::PAUSE
        | primary::SECONDARY,
};
const EXIT: Allowed = Allowed {
    fixed: 0x3_6dff,
    truly_fixed: 0x3_6dfb,
    optional: exit::HOST_64
        | exit::ACKNOWLEDGE
        | exit::SAVE_PAT
        | exit::LOAD_PAT
        | exit::SAVE_EFER
        | exit::LOAD_EFER
        | exit::SAVE_TIMER,
};
const ENTRY: Allowed = Allowed {
    fixed: 0x11ff,
    truly_fixed: 0x11fb,
    optional: entry::GUEST_64 | entry::LOAD_PAT | entry::LOAD_EFER,
};

/// The controls of instructions that the model lacks cannot be set.
fn secondary_allowed(model: &Model) -> Allowed {
    use secondary as s;
    let always = s::EPT | s::DESCRIPTOR_TABLES | s::VPID | s::WBINVD | s::UNRESTRICTED;
    let optional = [
        (Feature::Rdtscp, s::RDTSCP),
        (Feature::Rdrand, s::RDRAND),
        (Feature::Rdseed, s::RDSEED),
        (Feature::Invpcid, s::INVPCID),
        (Feature::Xsaves, s::XSAVES),
    ];
    let optional =
        optional.iter().filter(|(feature, _)| model.has(*feature)).fold(always, |all, (_, bit)| all | bit);
    Allowed { fixed: 0, truly_fixed: 0, optional }
}

/// CR0 bits that must be 1 in VMX operation.
pub const CR0_FIXED: u64 = CR0_PE | CR0_NE | CR0_PG;

/// The five fields of controls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Pin-based.
    Pin,
    /// Primary processor-based.
    Primary,
    /// Secondary processor-based.
    Secondary,
    /// VM-exit.
    Exit,
    /// VM-entry.
    Entry,
}

/// May a field of controls have this value?
pub fn permits(model: &Model, kind: Kind, value: u32) -> bool {
    match kind {
        Kind::Pin => PIN.permits(value),
        Kind::Primary => PRIMARY.permits(value),
        Kind::Secondary => secondary_allowed(model).permits(value),
        Kind::Exit => EXIT.permits(value),
        Kind::Entry => ENTRY.permits(value),
    }
}

/// A capability MSR; `None` for another number.
pub fn read(model: &Model, number: u32) -> Option<u64> {
    Some(match number {
        BASIC => u64::from(REVISION) | REGION_SIZE << 32 | BASIC_REST,
        0x481 => PIN.msr(false),
        0x482 => PRIMARY.msr(false),
        0x483 => EXIT.msr(false),
        0x484 => ENTRY.msr(false),
        0x485 => TIMER_RATE | CR3_TARGETS << 16 | MISC_REST,
        0x486 => CR0_FIXED,
        0x487 => 0xffff_ffff,
        0x488 => CR4_VMXE,
        0x489 => model.cr4(),
        0x48a => u64::from(fields::highest_index()) << 1,
        0x48b => secondary_allowed(model).msr(false),
        0x48c => EPT_VPID,
        0x48d => PIN.msr(true),
        0x48e => PRIMARY.msr(true),
        0x48f => EXIT.msr(true),
        TRUE_ENTRY => ENTRY.msr(true),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default1_bits_are_those_of_the_manual() {
        let model = Model::default();
        // SDM 3D, appendix A: "default1 class".
        assert_eq!(read(&model, 0x481).map(|msr| msr as u32), Some(0x16));
        assert_eq!(read(&model, 0x482).map(|msr| msr as u32), Some(0x0401_e172));
        assert_eq!(read(&model, 0x48e).map(|msr| msr as u32), Some(0x0400_6172));
        assert_eq!(read(&model, 0x483).map(|msr| msr as u32), Some(0x3_6dff));
        assert_eq!(read(&model, 0x48f).map(|msr| msr as u32), Some(0x3_6dfb));
        assert_eq!(read(&model, 0x484).map(|msr| msr as u32), Some(0x11ff));
        assert_eq!(read(&model, TRUE_ENTRY + 1), None);
    }

    #[test]
    fn controls_must_have_their_fixed_bits_and_no_unknown_ones() {
        let model = Model::default();
        assert!(permits(&model, Kind::Pin, 0x16) && !permits(&model, Kind::Pin, 0x14));
        assert!(!permits(&model, Kind::Pin, 0x16 | 1 << 7), "posted interrupts are left out");
        assert!(permits(&model, Kind::Primary, 0x0400_6172), "CR3 accesses need not exit");
        let without = model.with_features(model.features.without(&[Feature::Rdrand]));
        assert!(permits(&model, Kind::Secondary, secondary::RDRAND));
        assert!(!permits(&without, Kind::Secondary, secondary::RDRAND));
    }
}
