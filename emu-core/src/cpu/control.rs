//! Control registers and EFER: their bits, and the rules for writing them.
//! SDM 3A, "Control Registers"; SDM 2B, "MOV—Move to/from Control Registers".

use super::{Cpu, Fallible, Fault};
use crate::observe::Control;

/// Protection enable.
pub const CR0_PE: u64 = 1 << 0;
/// Monitor coprocessor.
pub const CR0_MP: u64 = 1 << 1;
/// Emulation: no x87.
pub const CR0_EM: u64 = 1 << 2;
/// Task switched.
pub const CR0_TS: u64 = 1 << 3;
/// Extension type, always one.
pub const CR0_ET: u64 = 1 << 4;
/// Numeric error reported as #MF.
pub const CR0_NE: u64 = 1 << 5;
/// Supervisor writes respect read-only pages.
pub const CR0_WP: u64 = 1 << 16;
/// Alignment mask.
pub const CR0_AM: u64 = 1 << 18;
/// Not write-through.
pub const CR0_NW: u64 = 1 << 29;
/// Cache disable.
pub const CR0_CD: u64 = 1 << 30;
/// Paging.
pub const CR0_PG: u64 = 1 << 31;
/// CR0 bits that this processor has.
pub(super) const CR0_ALL: u64 =
    CR0_PE | CR0_MP | CR0_EM | CR0_TS | CR0_ET | CR0_NE | CR0_WP | CR0_AM | CR0_NW | CR0_CD | CR0_PG;

/// Virtual-8086 mode extensions.
pub const CR4_VME: u64 = 1 << 0;
/// Protected-mode virtual interrupts.
pub const CR4_PVI: u64 = 1 << 1;
/// RDTSC only at CPL 0.
pub const CR4_TSD: u64 = 1 << 2;
/// Debugging extensions.
pub const CR4_DE: u64 = 1 << 3;
/// 4 MiB pages.
pub const CR4_PSE: u64 = 1 << 4;
/// Physical-address extension.
pub const CR4_PAE: u64 = 1 << 5;
/// Machine check.
pub const CR4_MCE: u64 = 1 << 6;
/// Global pages.
pub const CR4_PGE: u64 = 1 << 7;
/// RDPMC at any CPL.
pub const CR4_PCE: u64 = 1 << 8;
/// FXSAVE, FXRSTOR and SSE.
pub const CR4_OSFXSR: u64 = 1 << 9;
/// Unmasked SIMD exceptions raise #XM.
pub const CR4_OSXMMEXCPT: u64 = 1 << 10;
/// User-mode instruction prevention.
pub const CR4_UMIP: u64 = 1 << 11;
/// Virtual-machine extensions.
pub const CR4_VMXE: u64 = 1 << 13;
/// 57-bit linear addresses.
pub const CR4_LA57: u64 = 1 << 12;
/// RDFSBASE and its like.
pub const CR4_FSGSBASE: u64 = 1 << 16;
/// Process-context identifiers.
pub const CR4_PCIDE: u64 = 1 << 17;
/// XSAVE.
pub const CR4_OSXSAVE: u64 = 1 << 18;
/// Supervisor-mode execution prevention.
pub const CR4_SMEP: u64 = 1 << 20;
/// Supervisor-mode access prevention.
pub const CR4_SMAP: u64 = 1 << 21;

/// Protection keys for user-mode pages.
pub const CR4_PKE: u64 = 1 << 22;
/// CR4: protection keys of supervisor pages.
pub const CR4_PKS: u64 = 1 << 24;

/// CR3 bits 11:0 with CR4.PCIDE: the process-context identifier.
const CR3_PCID: u64 = 0xfff;
/// CR3 bit 63 with CR4.PCIDE: MOV keeps what the translation caches have of the process context.
const CR3_KEEP: u64 = 1 << 63;

/// SYSCALL enable.
pub const EFER_SCE: u64 = 1 << 0;
/// Long mode enable.
pub const EFER_LME: u64 = 1 << 8;
/// Long mode active.
pub const EFER_LMA: u64 = 1 << 10;
/// Execute-disable enable.
pub const EFER_NXE: u64 = 1 << 11;

impl Cpu {
    /// The current process-context identifier (PCID).
    pub fn process_context(&self) -> u16 {
        if self.cr4 & CR4_PCIDE != 0 { (self.cr3 & CR3_PCID) as u16 } else { 0 }
    }

    /// MOV to CR0.
    ///
    /// # Errors
    /// #GP(0) for combinations that the SDM forbids.
    pub fn write_cr0(&mut self, value: u64) -> Fallible {
        let set = |bit: u64| value & bit != 0;
        if value >> 32 != 0 || set(CR0_PG) && !set(CR0_PE) || set(CR0_NW) && !set(CR0_CD) {
            return Err(Fault::GP0);
        }
        self.vmx_permits(0, value)?;
        let value = value & CR0_ALL | CR0_ET;
        let (old_paging, paging) = (self.cr0 & CR0_PG != 0, set(CR0_PG));
        if paging && !old_paging {
            if self.efer & EFER_LME != 0 {
                let tss16 = matches!(self.seg[super::TR].rights.kind(), 1 | 3);
                if self.cr4 & CR4_PAE == 0 || self.seg[super::CS].rights.long() || tss16 {
                    return Err(Fault::GP0);
                }
                self.efer |= EFER_LMA;
            } else if self.cr4 & CR4_PAE != 0 {
                self.load_pdptes(self.cr3)?;
            }
        } else if !paging && old_paging {
            if self.code_size() == 64 || self.cr4 & CR4_PCIDE != 0 {
                return Err(Fault::GP0);
            }
            self.efer &= !EFER_LMA;
        }
        let changed = self.cr0 ^ value;
        self.cr0 = value;
        if changed & CR0_PG != 0 {
            self.flush_tlb();
        } else if changed & CR0_WP != 0 {
            self.flush_data();
        }
        self.update_mode();
        self.tell_control(Control::Cr(0), value);
        Ok(())
    }

    /// MOV to CR3.
    ///
    /// # Errors
    /// #GP(0) for reserved bits, or PDPTEs with reserved bits in PAE paging.
    pub fn write_cr3(&mut self, value: u64) -> Fallible {
        let contexts = self.cr4 & CR4_PCIDE != 0;
        let keep = contexts && value & CR3_KEEP != 0;
        let value = if contexts { value & !CR3_KEEP } else { value };
        if self.efer & EFER_LMA != 0 {
            if value >> self.model.physical_bits != 0 {
                return Err(Fault::GP0);
            }
        } else if self.cr0 & CR0_PG != 0 && self.cr4 & CR4_PAE != 0 {
            self.load_pdptes(value)?;
        }
        self.cr3 = value;
        self.tlb.switch(self.process_context(), keep);
        self.fetch_generation += 1;
        self.stop = true;
        self.tell_control(Control::Cr(3), value);
        self.note_cr3(value);
        Ok(())
    }

    /// MOV to CR4.
    ///
    /// # Errors
    /// #GP(0) for reserved bits and for combinations that the SDM forbids.
    pub fn write_cr4(&mut self, value: u64) -> Fallible {
        if value & !self.model.cr4() != 0 {
            return Err(Fault::GP0);
        }
        self.vmx_permits(4, value)?;
        let changed = self.cr4 ^ value;
        let long = self.efer & EFER_LMA != 0;
        if long && (value & CR4_PAE == 0 || changed & CR4_LA57 != 0) {
            return Err(Fault::GP0);
        }
        if changed & value & CR4_PCIDE != 0 && (!long || self.cr3 & 0xfff != 0) {
            return Err(Fault::GP0);
        }
        let pae_paging = self.cr0 & CR0_PG != 0 && self.efer & EFER_LMA == 0 && value & CR4_PAE != 0;
        if pae_paging && changed & (CR4_PAE | CR4_PGE | CR4_PSE | CR4_SMEP) != 0 {
            self.load_pdptes(self.cr3)?;
        }
        self.cr4 = value;
        if changed & CR4_DE != 0 {
            self.update_debug();
        }
        if changed & (CR4_PAE | CR4_PGE | CR4_PSE | CR4_PCIDE | CR4_SMEP | CR4_SMAP | CR4_PKE | CR4_PKS) != 0
        {
            self.flush_tlb();
        }
        self.update_mode();
        self.tell_control(Control::Cr(4), value);
        Ok(())
    }

    /// WRMSR to EFER.
    ///
    /// # Errors
    /// #GP(0) for reserved bits, and for changing LME while paging is on.
    pub fn write_efer(&mut self, value: u64) -> Fallible {
        let no_xd = self.msrs.misc_enable & super::msr::MISC_ENABLE_NO_XD != 0;
        if value & !self.model.efer() != 0
            || no_xd && value & EFER_NXE != 0
            || self.cr0 & CR0_PG != 0 && (self.efer ^ value) & EFER_LME != 0
        {
            return Err(Fault::GP0);
        }
        let changed = self.efer ^ value;
        self.efer = value & !EFER_LMA | self.efer & EFER_LMA;
        if changed & EFER_NXE != 0 {
            self.flush_tlb();
        }
        Ok(())
    }
}
