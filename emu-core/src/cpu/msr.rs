//! Model-specific registers. SDM vol. 4, "Architectural MSRs".

use super::control::EFER_LMA;
use super::model::Feature;
use super::{Cpu, FS, Fallible, Fault, GS};
use crate::observe::Control;
use crate::vmx::capability;

/// MSR numbers.
pub mod number {
    #![allow(missing_docs)] // The names are the manual's.
    pub const TSC: u32 = 0x10;
    pub const PLATFORM_ID: u32 = 0x17;
    pub const APIC_BASE: u32 = 0x1b;
    pub const SMI_COUNT: u32 = 0x34;
    pub const TSC_ADJUST: u32 = 0x3b;
    pub const BIOS_UPDT_TRIG: u32 = 0x79;
    pub const BIOS_SIGN_ID: u32 = 0x8b;
    pub const MTRRCAP: u32 = 0xfe;
    pub const SYSENTER_CS: u32 = 0x174;
    pub const SYSENTER_ESP: u32 = 0x175;
    pub const SYSENTER_EIP: u32 = 0x176;
    pub const MISC_ENABLE: u32 = 0x1a0;
    pub const MTRR_PHYSBASE0: u32 = 0x200;
    pub const MTRR_PHYSMASK7: u32 = 0x20f;
    pub const MTRR_FIX64K_00000: u32 = 0x250;
    pub const MTRR_FIX16K_80000: u32 = 0x258;
    pub const MTRR_FIX16K_A0000: u32 = 0x259;
    pub const MTRR_FIX4K_C0000: u32 = 0x268;
    pub const MTRR_FIX4K_F8000: u32 = 0x26f;
    pub const PAT: u32 = 0x277;
    pub const MTRR_DEF_TYPE: u32 = 0x2ff;
    pub const TSC_DEADLINE: u32 = 0x6e0;
    pub const X2APIC_FIRST: u32 = 0x800;
    pub const X2APIC_LAST: u32 = 0x8ff;
    pub const PKRS: u32 = 0x6e1;
    pub const XSS: u32 = 0xda0;
    pub const EFER: u32 = 0xc000_0080;
    pub const STAR: u32 = 0xc000_0081;
    pub const LSTAR: u32 = 0xc000_0082;
    pub const CSTAR: u32 = 0xc000_0083;
    pub const FMASK: u32 = 0xc000_0084;
    pub const FS_BASE: u32 = 0xc000_0100;
    pub const GS_BASE: u32 = 0xc000_0101;
    pub const KERNEL_GS_BASE: u32 = 0xc000_0102;
    pub const TSC_AUX: u32 = 0xc000_0103;
}

use number as msr;

/// x2APIC mode, in IA32_APIC_BASE.
const APIC_BASE_EXTD: u64 = 1 << 10;

/// Registers that only hold a value.
#[derive(Clone, Debug)]
pub struct Msrs {
    /// IA32_STAR.
    pub star: u64,
    /// IA32_LSTAR.
    pub lstar: u64,
    /// IA32_CSTAR.
    pub cstar: u64,
    /// IA32_FMASK.
    pub fmask: u64,
    /// IA32_KERNEL_GS_BASE.
    pub kernel_gs_base: u64,
    /// IA32_TSC_AUX.
    pub tsc_aux: u64,
    /// IA32_SYSENTER_CS.
    pub sysenter_cs: u64,
    /// IA32_SYSENTER_ESP.
    pub sysenter_esp: u64,
    /// IA32_SYSENTER_EIP.
    pub sysenter_eip: u64,
    /// What the time-stamp counter is ahead of guest time.
    pub tsc_offset: u64,
    /// IA32_TSC_ADJUST.
    pub tsc_adjust: u64,
    /// IA32_PAT.
    pub pat: u64,
    /// IA32_MISC_ENABLE.
    pub misc_enable: u64,
    /// IA32_BIOS_SIGN_ID.
    pub bios_sign_id: u64,
    /// IA32_PKRS: for each protection key of supervisor pages, access disable and write disable.
    pub pkrs: u32,
    /// IA32_SPEC_CTRL.
    pub spec_ctrl: u64,
    /// IA32_MTRR_PHYSBASE0, PHYSMASK0, and so on to PHYSMASK7.
    pub mtrr_variable: [u64; 16],
    /// The fixed-range MTRRs in ascending order of address.
    pub mtrr_fixed: [u64; 11],
    /// IA32_MTRR_DEF_TYPE.
    pub mtrr_def_type: u64,
}

impl Default for Msrs {
    fn default() -> Self {
        Self {
            star: 0,
            lstar: 0,
            cstar: 0,
            fmask: 0,
            kernel_gs_base: 0,
            tsc_aux: 0,
            sysenter_cs: 0,
            sysenter_esp: 0,
            sysenter_eip: 0,
            tsc_offset: 0,
            tsc_adjust: 0,
            pkrs: 0,
            pat: 0x0007_0406_0007_0406,
            misc_enable: 1 | super::monitor::MISC_ENABLE_MONITOR | MISC_ENABLE_FIXED,
            bios_sign_id: 0,
            spec_ctrl: 0,
            mtrr_variable: [0; 16],
            mtrr_fixed: [0; 11],
            mtrr_def_type: 0,
        }
    }
}

/// IA32_MISC_ENABLE: performance monitoring available; branch trace and precise event storage not available.
const MISC_ENABLE_FIXED: u64 = 1 << 7 | 1 << 11 | 1 << 12;
/// IA32_MISC_ENABLE: CPUID gives no leaf above 2.
pub const MISC_ENABLE_LIMIT_CPUID: u64 = 1 << 22;
/// IA32_MISC_ENABLE: no execute-disable bit.
pub const MISC_ENABLE_NO_XD: u64 = 1 << 34;
/// What software may change: these, fast strings, thermal control, SpeedStep, MONITOR, xTPR messages.
const MISC_ENABLE_WRITABLE: u64 =
    1 << 0 | 1 << 3 | 1 << 16 | 1 << 18 | MISC_ENABLE_LIMIT_CPUID | 1 << 23 | MISC_ENABLE_NO_XD;

/// Memory types that exist: UC, WC, WT, WP, WB.
fn memory_type(value: u64) -> bool {
    matches!(value, 0 | 1 | 4 | 5 | 6)
}

/// Eight memory types in a row; PAT also knows UC- (7).
fn memory_types(value: u64, uncached_minus: bool) -> bool {
    value.to_le_bytes().iter().all(|&t| memory_type(u64::from(t)) || uncached_minus && t == 7)
}

/// May IA32_PAT have this value?
pub fn pat_valid(value: u64) -> bool {
    memory_types(value, true)
}

fn fixed_index(number: u32) -> Option<usize> {
    match number {
        msr::MTRR_FIX64K_00000 => Some(0),
        msr::MTRR_FIX16K_80000 | msr::MTRR_FIX16K_A0000 => {
            Some((number - msr::MTRR_FIX16K_80000) as usize + 1)
        }
        msr::MTRR_FIX4K_C0000..=msr::MTRR_FIX4K_F8000 => Some((number - msr::MTRR_FIX4K_C0000) as usize + 3),
        _ => None,
    }
}

impl Cpu {
    /// The time-stamp counter: guest nanoseconds and what software added, a virtual-machine monitor among it.
    pub fn tsc(&self) -> u64 {
        self.now().wrapping_add(self.msrs.tsc_offset).wrapping_add(self.guest_tsc_offset())
    }

    /// RDMSR.
    ///
    /// # Errors
    /// #GP(0) for a register that does not exist.
    pub fn read_msr(&mut self, number: u32) -> Fallible<u64> {
        if !self.model.has_msr(number) {
            return Err(Fault::GP0);
        }
        let m = &self.msrs;
        Ok(match number {
            msr::TSC => self.tsc(),
            msr::APIC_BASE | msr::TSC_DEADLINE | msr::X2APIC_FIRST..=msr::X2APIC_LAST => {
                return self.with_bus(|bus, at| bus.msr_read(at, number)).ok_or(Fault::GP0);
            }
            msr::SMI_COUNT => self.management.count.into(),
            msr::TSC_ADJUST => m.tsc_adjust,
            capability::FEATURE_CONTROL => self.vmx.feature_control,
            capability::BASIC..=capability::TRUE_ENTRY => {
                return capability::read(&self.model, number).ok_or(Fault::GP0);
            }
            msr::BIOS_SIGN_ID => m.bios_sign_id,
            msr::MTRRCAP => 0x508,
            msr::SYSENTER_CS => m.sysenter_cs,
            msr::SYSENTER_ESP => m.sysenter_esp,
            msr::SYSENTER_EIP => m.sysenter_eip,
            msr::PLATFORM_ID => 0,
            msr::MISC_ENABLE => m.misc_enable,
            msr::MTRR_PHYSBASE0..=msr::MTRR_PHYSMASK7 => {
                m.mtrr_variable[(number - msr::MTRR_PHYSBASE0) as usize]
            }
            // No supervisor state components exist.
            msr::XSS => 0,
            msr::PKRS => u64::from(m.pkrs),
            msr::PAT => m.pat,
            msr::MTRR_DEF_TYPE => m.mtrr_def_type,
            msr::EFER => self.efer,
            msr::STAR => m.star,
            msr::LSTAR => m.lstar,
            msr::CSTAR => m.cstar,
            msr::FMASK => m.fmask,
            msr::FS_BASE => self.seg[FS].base,
            msr::GS_BASE => self.seg[GS].base,
            msr::KERNEL_GS_BASE => m.kernel_gs_base,
            msr::TSC_AUX => m.tsc_aux,
            _ => match fixed_index(number) {
                Some(index) => m.mtrr_fixed[index],
                None => {
                    return self
                        .read_debug_msr(number)
                        .or_else(|| self.read_performance_msr(number))
                        .or_else(|| self.read_machine_check_msr(number))
                        .or_else(|| self.read_speculation_msr(number))
                        .ok_or(Fault::GP0);
                }
            },
        })
    }

    /// WRMSR.
    ///
    /// # Errors
    /// #GP(0) for a register that does not exist or cannot be written, and for values it cannot take.
    pub fn write_msr(&mut self, number: u32, value: u64) -> Fallible {
        self.write_register(number, value)?;
        self.tell_control(Control::Msr(number), value);
        Ok(())
    }

    fn write_register(&mut self, number: u32, value: u64) -> Fallible {
        let check = |fits: bool| if fits { Ok(()) } else { Err(Fault::GP0) };
        check(self.model.has_msr(number))?;
        match number {
            msr::TSC => {
                let offset = value.wrapping_sub(self.now());
                let moved = offset.wrapping_sub(self.msrs.tsc_offset);
                self.msrs.tsc_adjust = self.msrs.tsc_adjust.wrapping_add(moved);
                self.msrs.tsc_offset = offset;
            }
            msr::TSC_ADJUST => {
                let moved = value.wrapping_sub(self.msrs.tsc_adjust);
                self.msrs.tsc_offset = self.msrs.tsc_offset.wrapping_add(moved);
                self.msrs.tsc_adjust = value;
            }
            msr::APIC_BASE | msr::TSC_DEADLINE | msr::X2APIC_FIRST..=msr::X2APIC_LAST => {
                // Without x2APIC its enable bit is reserved.
                let x2apic = number == msr::APIC_BASE && value & APIC_BASE_EXTD != 0;
                check(!x2apic || self.model.features.has(Feature::X2apic))?;
                return self.with_bus(|bus, at| bus.msr_write(at, number, value)).ok_or(Fault::GP0);
            }
            capability::FEATURE_CONTROL => {
                let known = capability::LOCKED | capability::VMXON_PERMITTED;
                check(value & !known == 0 && self.vmx.feature_control & capability::LOCKED == 0)?;
                self.vmx.feature_control = value;
            }
            capability::BASIC..=capability::TRUE_ENTRY => return Err(Fault::GP0),
            msr::BIOS_UPDT_TRIG => {}
            msr::BIOS_SIGN_ID => self.msrs.bios_sign_id = value,
            msr::SYSENTER_CS => self.msrs.sysenter_cs = value,
            msr::SYSENTER_ESP => {
                check(self.canonical_register(value))?;
                self.msrs.sysenter_esp = value;
            }
            msr::SYSENTER_EIP => {
                check(self.canonical_register(value))?;
                self.msrs.sysenter_eip = value;
            }
            msr::MISC_ENABLE => {
                check(value & !(MISC_ENABLE_WRITABLE | MISC_ENABLE_FIXED) == 0)?;
                self.msrs.misc_enable = value & MISC_ENABLE_WRITABLE | MISC_ENABLE_FIXED;
            }
            msr::MTRR_PHYSBASE0..=msr::MTRR_PHYSMASK7 => {
                let base = number & 1 == 0;
                let reserved = self.reserved_address_bits() | 0xfff0_0000_0000_0000;
                check(value & reserved == 0)?;
                check(if base {
                    value & 0xf00 == 0 && memory_type(value & 0xff)
                } else {
                    value & 0x7ff == 0
                })?;
                self.msrs.mtrr_variable[(number - msr::MTRR_PHYSBASE0) as usize] = value;
            }
            msr::XSS => check(value == 0)?,
            msr::PKRS => {
                check(value >> 32 == 0)?;
                self.load_pkrs(value as u32);
            }
            msr::PAT => {
                check(pat_valid(value))?;
                self.msrs.pat = value;
            }
            msr::MTRR_DEF_TYPE => {
                check(value & !0xcff == 0 && memory_type(value & 0xff))?;
                self.msrs.mtrr_def_type = value;
            }
            msr::EFER => return self.write_efer(value & !EFER_LMA | self.efer & EFER_LMA),
            msr::STAR => self.msrs.star = value,
            msr::LSTAR | msr::CSTAR | msr::FS_BASE | msr::GS_BASE | msr::KERNEL_GS_BASE => {
                check(self.canonical_register(value))?;
                match number {
                    msr::LSTAR => self.msrs.lstar = value,
                    msr::CSTAR => self.msrs.cstar = value,
                    msr::FS_BASE => self.seg[FS].base = value,
                    msr::GS_BASE => self.seg[GS].base = value,
                    _ => self.msrs.kernel_gs_base = value,
                }
            }
            msr::FMASK => {
                check(value >> 32 == 0)?;
                self.msrs.fmask = value;
            }
            msr::TSC_AUX => {
                check(value >> 32 == 0)?;
                self.msrs.tsc_aux = value;
            }
            _ => {
                let Some(index) = fixed_index(number) else {
                    return self
                        .write_debug_msr(number, value)
                        .or_else(|| self.write_performance_msr(number, value))
                        .or_else(|| self.write_machine_check_msr(number, value))
                        .or_else(|| self.write_speculation_msr(number, value))
                        .ok_or(Fault::GP0);
                };
                check(memory_types(value, false))?;
                self.msrs.mtrr_fixed[index] = value;
            }
        }
        Ok(())
    }
}
