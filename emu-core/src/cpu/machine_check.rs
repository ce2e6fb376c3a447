//! The registers of the machine-check architecture. SDM 3B, "Machine-Check Architecture".
//!
//! The hardware here never fails, so the banks stay empty; software may enable what it likes, and may clear what is
//! clear. Left out: extended state, corrected-error interrupts, and injection of errors by writing to a bank.

use super::Cpu;

/// Number of banks.
const BANKS: usize = 4;
/// IA32_MCG_CAP: so many banks, and IA32_MCG_CTL exists.
const CAPABILITIES: u64 = BANKS as u64 | 1 << 8;

const P5_MC_ADDR: u32 = 0;
const P5_MC_TYPE: u32 = 1;
const MCG_CAP: u32 = 0x179;
const MCG_STATUS: u32 = 0x17a;
const MCG_CTL: u32 = 0x17b;
const MC0_CTL: u32 = 0x400;
/// Registers of a bank: CTL, STATUS, ADDR, MISC.
const BANK_SIZE: u32 = 4;
const LAST: u32 = MC0_CTL + BANK_SIZE * BANKS as u32 - 1;

/// What software has written.
#[derive(Clone, Copy, Debug, Default)]
pub struct MachineCheck {
    /// IA32_MCG_STATUS.
    pub status: u64,
    /// IA32_MCG_CTL.
    pub control: u64,
    /// IA32_MCi_CTL.
    pub banks: [u64; BANKS],
}

impl Cpu {
    /// Reads a machine-check MSR; `None` when the number is none.
    pub(super) fn read_machine_check_msr(&self, number: u32) -> Option<u64> {
        let m = &self.machine_check;
        Some(match number {
            P5_MC_ADDR | P5_MC_TYPE => 0,
            MCG_CAP => CAPABILITIES,
            MCG_STATUS => m.status,
            MCG_CTL => m.control,
            MC0_CTL..=LAST if number.is_multiple_of(BANK_SIZE) => {
                m.banks[((number - MC0_CTL) / BANK_SIZE) as usize]
            }
            MC0_CTL..=LAST => 0,
            _ => return None,
        })
    }

    /// Writes a machine-check MSR; `None` when the number is none, or the value does not fit.
    pub(super) fn write_machine_check_msr(&mut self, number: u32, value: u64) -> Option<()> {
        let m = &mut self.machine_check;
        match number {
            MCG_STATUS if value & !7 == 0 => m.status = value,
            // All ones or all zeros: anything else is undefined.
            MCG_CTL => m.control = value,
            MC0_CTL..=LAST if number.is_multiple_of(BANK_SIZE) => {
                m.banks[((number - MC0_CTL) / BANK_SIZE) as usize] = value;
            }
            P5_MC_ADDR | P5_MC_TYPE | MC0_CTL..=LAST if value == 0 => {}
            _ => return None,
        }
        Some(())
    }
}
