//! The checks on the host-state area. SDM 3C, "Checks on Host Control Registers, MSRs, and SSP", "Checks on Host
//! Segment and Descriptor-Table Registers", "Checks Related to Address-Space Size".

use super::capability::{entry, exit};
use super::controls::{Wrong, require};
use super::fields as f;
use crate::cpu::control::{CR4_PAE, CR4_PCIDE, CR4_VMXE, EFER_LMA, EFER_LME};
use crate::cpu::msr::pat_valid;
use crate::cpu::{CS, Cpu, FS, SS};

/// Index of TR among the host's selectors.
pub(super) const HOST_TR: usize = 6;

impl Cpu {
    pub(super) fn check_host_state(&mut self) -> Result<(), Wrong> {
        let c = self.vmx.controls;
        let (cr0, cr3, cr4) = (self.vmcs(f::HOST_CR0), self.vmcs(f::HOST_CR3), self.vmcs(f::HOST_CR4));
        let fixed = self.cr0_fixed(false);
        require(cr0 & fixed == fixed && cr0 >> 32 == 0, "host CR0")?;
        require(cr4 & CR4_VMXE != 0 && cr4 & !self.model.cr4() == 0, "host CR4")?;
        require(cr3 >> self.model.physical_bits == 0, "host CR3")?;
        for field in [f::HOST_SYSENTER_ESP, f::HOST_SYSENTER_EIP] {
            let value = self.vmcs(field);
            require(self.canonical_register(value), "host SYSENTER address")?;
        }
        if c.exit(exit::LOAD_PAT) {
            require(pat_valid(self.vmcs(f::HOST_PAT)), "host PAT")?;
        }
        let host_64 = c.exit(exit::HOST_64);
        if c.exit(exit::LOAD_EFER) {
            let efer = self.vmcs(f::HOST_EFER);
            let long = |bit| (efer & bit != 0) == host_64;
            require(efer & !self.model.efer() == 0 && long(EFER_LMA) && long(EFER_LME), "host EFER")?;
        }

        let selectors: [u64; 7] = std::array::from_fn(|n| self.vmcs(f::HOST_SELECTOR.plus(n)));
        require(selectors.iter().all(|selector| selector & 7 == 0), "RPL or TI of a host selector")?;
        require(selectors[CS] != 0 && selectors[HOST_TR] != 0, "null selector in host CS or TR")?;
        require(host_64 || selectors[SS] != 0, "null selector in host SS")?;
        for field in [f::HOST_FS_BASE, f::HOST_GS_BASE, f::HOST_TR_BASE, f::HOST_GDTR_BASE, f::HOST_IDTR_BASE]
        {
            let base = self.vmcs(field);
            require(self.canonical_register(base), "host base address")?;
        }

        require(self.long_mode() == host_64, "host address-space size against EFER.LMA")?;
        require(self.long_mode() || !c.entry(entry::GUEST_64), "64-bit guest of a 32-bit host")?;
        let rip = self.vmcs(f::HOST_RIP);
        if host_64 {
            require(cr4 & CR4_PAE != 0, "64-bit host without PAE")?;
            require(self.canonical_register(rip), "host RIP")
        } else {
            require(cr4 & CR4_PCIDE == 0, "PCIDs for a 32-bit host")?;
            require(rip >> 32 == 0, "upper half of host RIP")
        }
    }
}

const _: () = assert!(FS == 4, "selectors of the host stand in the order of our registers");
