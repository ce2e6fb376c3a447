//! Control of speculation. Nothing is speculated on here: the registers hold their bits, and
//! IA32_ARCH_CAPABILITIES says that no mitigation is needed. SDM vol. 4, "Architectural MSRs"; Intel, "CPUID
//! Enumeration and Architectural MSRs" (speculative execution).

use super::Cpu;
use super::model::Feature;

/// IA32_SPEC_CTRL.
pub const SPEC_CTRL: u32 = 0x48;
/// IA32_PRED_CMD.
pub const PRED_CMD: u32 = 0x49;
/// IA32_ARCH_CAPABILITIES.
pub const ARCH_CAPABILITIES: u32 = 0x10a;

/// Bits of IA32_SPEC_CTRL: IBRS, STIBP, SSBD, BHI_DIS_S.
const IBRS: u64 = 1 << 0;
const STIBP: u64 = 1 << 1;
const SSBD: u64 = 1 << 2;
const BHI_DIS_S: u64 = 1 << 10;
/// IA32_PRED_CMD: indirect-branch predictor barrier.
const IBPB: u64 = 1 << 0;

/// RDCL_NO, IBRS_ALL, SKIP_L1DFL_VMENTRY, SSB_NO, MDS_NO, IF_PSCHANGE_MC_NO.
const FIRST: u64 = 1 << 0 | 1 << 1 | 1 << 3 | 1 << 4 | 1 << 5 | 1 << 6;
/// TAA_NO, SBDR_SSDP_NO, FBSDP_NO, PSDP_NO, BHI_NO, PBRSB_NO, GDS_NO, RFDS_NO, ITS_NO.
const LATER: u64 = 1 << 8 | 1 << 13 | 1 << 14 | 1 << 15 | 1 << 20 | 1 << 24 | 1 << 26 | 1 << 27 | 1 << 62;

impl Cpu {
    /// Reads one of these MSRs; `None` when the number is none, or for a register that is only written.
    pub(super) fn read_speculation_msr(&self, number: u32) -> Option<u64> {
        match number {
            SPEC_CTRL => Some(self.msrs.spec_ctrl),
            ARCH_CAPABILITIES => Some(FIRST | LATER),
            _ => None,
        }
    }

    /// Writes one of these MSRs; `None` when the number is none, or for reserved bits.
    pub(super) fn write_speculation_msr(&mut self, number: u32, value: u64) -> Option<()> {
        match number {
            SPEC_CTRL => {
                let mut bits = IBRS;
                let others = [(Feature::Stibp, STIBP), (Feature::Ssbd, SSBD), (Feature::BhiCtrl, BHI_DIS_S)];
                for (feature, bit) in others {
                    bits |= if self.model.has(feature) { bit } else { 0 };
                }
                (value & !bits == 0).then(|| self.msrs.spec_ctrl = value)
            }
            PRED_CMD => (value & !IBPB == 0).then_some(()),
            _ => None,
        }
    }
}
