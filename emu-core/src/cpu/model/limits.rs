//! Control bits and model-specific registers that a model has.

use super::Feature::*;
use super::{Feature, Model, Vendor};
use crate::cpu::control::*;
use crate::cpu::{debug, msr::number as msr, performance, speculation};
use crate::vmx::capability;

// Machine-check registers: of the Pentium, and architectural.
const P5_MC_ADDR: u32 = 0;
const P5_MC_TYPE: u32 = 1;
const MCG_CAP: u32 = 0x179;
const MCG_CTL: u32 = 0x17b;
const MC0_CTL: u32 = 0x400;
const MC31_MISC: u32 = 0x47f;

impl Model {
    /// Bits of CR4.
    pub fn cr4(&self) -> u64 {
        const BITS: &[(Feature, u64)] = &[
            (Vme, CR4_VME | CR4_PVI),
            (Tsc, CR4_TSD),
            (De, CR4_DE),
            (Pse, CR4_PSE),
            (Pae, CR4_PAE),
            (Mce, CR4_MCE),
            (Pge, CR4_PGE),
            (Rdpmc, CR4_PCE),
            (Fxsr, CR4_OSFXSR),
            (Sse, CR4_OSXMMEXCPT),
            (Umip, CR4_UMIP),
            (La57, CR4_LA57),
            (Fsgsbase, CR4_FSGSBASE),
            (Pcid, CR4_PCIDE),
            (Xsave, CR4_OSXSAVE),
            (Smep, CR4_SMEP),
            (Smap, CR4_SMAP),
            (Pku, CR4_PKE),
            (Pks, CR4_PKS),
            (Vmx, CR4_VMXE),
        ];
        self.bits(BITS)
    }

    /// Bits of EFER; none when there is no such register.
    pub fn efer(&self) -> u64 {
        self.bits(&[(Syscall, EFER_SCE), (Lm, EFER_LME | EFER_LMA), (Nx, EFER_NXE)])
    }

    fn bits(&self, bits: &[(Feature, u64)]) -> u64 {
        bits.iter().filter(|(feature, _)| self.has(*feature)).fold(0, |all, (_, bits)| all | bits)
    }

    /// Has it the MSR of this number? Some exist on all processors of a generation and have no feature bit.
    pub fn has_msr(&self, number: u32) -> bool {
        let intel = self.vendor == Vendor::Intel;
        let sixth = self.family >= 6;
        match number {
            P5_MC_ADDR | P5_MC_TYPE => intel && self.has(Mce),
            msr::TSC => self.has(Tsc),
            msr::APIC_BASE => self.has(Apic) && sixth,
            msr::TSC_ADJUST => self.has(TscAdjust),
            speculation::SPEC_CTRL | speculation::PRED_CMD => self.has(SpecCtrl),
            speculation::ARCH_CAPABILITIES => self.has(ArchCapabilities),
            msr::BIOS_UPDT_TRIG => intel && sixth,
            msr::BIOS_SIGN_ID => sixth,
            msr::MTRRCAP
            | msr::MTRR_PHYSBASE0..=msr::MTRR_PHYSMASK7
            | msr::MTRR_FIX64K_00000
            | msr::MTRR_FIX16K_80000
            | msr::MTRR_FIX16K_A0000
            | msr::MTRR_FIX4K_C0000..=msr::MTRR_FIX4K_F8000
            | msr::MTRR_DEF_TYPE => self.has(Mtrr),
            msr::SYSENTER_CS | msr::SYSENTER_ESP | msr::SYSENTER_EIP => self.has(Sep),
            MCG_CAP..=MCG_CTL | MC0_CTL..=MC31_MISC => self.has(Mca),
            msr::MISC_ENABLE => intel && self.has(Sse2),
            msr::PAT => self.has(Pat),
            msr::TSC_DEADLINE => self.has(TscDeadline),
            msr::X2APIC_FIRST..=msr::X2APIC_LAST => self.has(X2apic),
            msr::XSS => self.has(Xsaves),
            capability::FEATURE_CONTROL | capability::BASIC..=capability::TRUE_ENTRY => self.has(Vmx),
            msr::PKRS => self.has(Pks),
            msr::EFER => self.efer() != 0,
            msr::STAR => self.has(Syscall),
            msr::LSTAR | msr::CSTAR | msr::FMASK => self.has(Syscall) && self.has(Lm),
            msr::FS_BASE | msr::GS_BASE | msr::KERNEL_GS_BASE => self.has(Lm),
            msr::TSC_AUX => self.has(Rdtscp) || self.has(Rdpid),
            debug::msr::DEBUGCTL | debug::msr::LER_FROM_LIP | debug::msr::LER_TO_LIP => sixth,
            _ if debug::is_branch_msr(number) => self.has(Lbr),
            // The P6 family had two of them before they became architectural; AMD's of family 6 were the first.
            _ if performance::is_counter_msr(self.vendor, number) => sixth && self.has(Rdpmc),
            // SMM's and others that need no feature bit.
            _ => true,
        }
    }
}
