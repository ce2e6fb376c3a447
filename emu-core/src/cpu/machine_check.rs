//! The registers of the machine-check architecture. SDM 3B, "Machine-Check Architecture".
//!
//! The hardware here never fails, so no bank ever reports an error; software may enable what it likes, and may clear
//! what is clear. ADDR and MISC of a bank keep what is written to them, which the SDM permits to some processors only
//! and KVM's unit test `msr` wants. Left out: extended state, corrected-error interrupts, and injection of errors by
//! STATUS.

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
    /// The banks.
    pub banks: [Bank; BANKS],
}

/// What software has written to a bank; its STATUS is always zero.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bank {
    /// IA32_MCi_CTL: all zeros or all ones.
    pub control: u64,
    /// IA32_MCi_ADDR.
    pub address: u64,
    /// IA32_MCi_MISC.
    pub misc: u64,
}

/// The bank of an MSR, and the register in it: CTL, STATUS, ADDR, MISC.
fn place(number: u32) -> (usize, u32) {
    let from_first = number - MC0_CTL;
    ((from_first / BANK_SIZE) as usize, from_first % BANK_SIZE)
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
            MC0_CTL..=LAST => {
                let (bank, register) = place(number);
                let bank = &m.banks[bank];
                [bank.control, 0, bank.address, bank.misc][register as usize]
            }
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
            MC0_CTL..=LAST => {
                let (bank, register) = place(number);
                let bank = &mut m.banks[bank];
                match register {
                    0 if matches!(value, 0 | u64::MAX) => bank.control = value,
                    1 if value == 0 => {}
                    2 => bank.address = value,
                    3 => bank.misc = value,
                    _ => return None,
                }
            }
            P5_MC_ADDR | P5_MC_TYPE if value == 0 => {}
            _ => return None,
        }
        Some(())
    }
}
