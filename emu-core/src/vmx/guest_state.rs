//! The checks on the guest-state area. SDM 3C, "Checking and Loading Guest State": "Checks on the Guest State Area".

use super::capability::{entry, pin, secondary};
use super::controls::{Wrong, require};
use super::fields as f;
use super::vectored::{EventType, VALID};
use crate::cpu::control::{
    CR0_CD, CR0_ET, CR0_NW, CR0_PE, CR0_PG, CR4_PAE, CR4_PCIDE, CR4_VMXE, EFER_LMA, EFER_LME,
};
use crate::cpu::debug::{DEBUGCTL_BTF, DEBUGCTL_LBR};
use crate::cpu::msr::pat_valid;
use crate::cpu::{CS, Cpu, DS, ES, FS, GS, LDTR, Rights, SS, TR, eflags};

/// Activity states.
#[allow(missing_docs)] // The names are the manual's.
pub mod activity {
    pub const ACTIVE: u64 = 0;
    pub const HLT: u64 = 1;
    pub const WAIT_FOR_SIPI: u64 = 3;
}

/// Bits of the interruptibility state.
#[allow(missing_docs)] // The names are the manual's.
pub mod blocking {
    pub const STI: u64 = 1 << 0;
    pub const MOV_SS: u64 = 1 << 1;
    pub const SMI: u64 = 1 << 2;
    pub const NMI: u64 = 1 << 3;
}

/// Pending debug exceptions: single step, and bits that may be set.
pub(super) const PENDING_BS: u64 = 1 << 14;
pub(super) const PENDING_ENABLED: u64 = 1 << 12;
const PENDING_ALL: u64 = 15 | PENDING_ENABLED | PENDING_BS;

/// A guest that cannot be, with the exit qualification that says so.
pub(super) struct Invalid {
    pub qualification: u64,
    pub what: Wrong,
}

impl From<Wrong> for Invalid {
    fn from(what: Wrong) -> Self {
        Self { qualification: 0, what }
    }
}

/// A segment register as the guest-state area has it.
#[derive(Clone, Copy)]
pub(super) struct GuestSegment {
    pub selector: u64,
    pub base: u64,
    pub limit: u64,
    pub rights: u64,
}

impl GuestSegment {
    const UNUSABLE: u64 = 1 << 16;

    pub fn usable(&self) -> bool {
        self.rights & Self::UNUSABLE == 0
    }

    /// The rights as our registers hold them.
    pub fn to_rights(self) -> Rights {
        let unusable = if self.usable() { 0 } else { Rights::UNUSABLE };
        Rights(self.rights as u16 & 0xf0ff | unusable)
    }

    /// The rights of one of our registers as a VMCS holds them.
    pub fn rights_of(rights: Rights) -> u64 {
        u64::from(rights.0 & 0xf0ff) | if rights.unusable() { Self::UNUSABLE } else { 0 }
    }

    fn kind(&self) -> u64 {
        self.rights & 15
    }

    fn dpl(&self) -> u64 {
        self.rights >> 5 & 3
    }

    fn rpl(&self) -> u64 {
        self.selector & 3
    }

    /// S, P, and no reserved bit: of a register that is in use.
    fn plain(&self, code_or_data: bool) -> bool {
        let system = self.rights & 0x10 == 0;
        system != code_or_data && self.rights & 0x80 != 0 && self.rights & 0xfffe_0f00 == 0
    }

    /// G says whether the limit counts pages, and that must be possible.
    fn granular(&self) -> bool {
        let (low, high) = (self.limit & 0xfff, self.limit >> 20);
        (low == 0xfff || self.rights & 0x8000 == 0) && (high == 0 || self.rights & 0x8000 != 0)
    }
}

impl Cpu {
    pub(super) fn guest_segment(&mut self, register: usize) -> GuestSegment {
        GuestSegment {
            selector: self.vmcs(f::GUEST_SELECTOR.plus(register)),
            base: self.vmcs(f::GUEST_BASE.plus(register)),
            limit: self.vmcs(f::GUEST_LIMIT.plus(register)),
            rights: self.vmcs(f::GUEST_RIGHTS.plus(register)),
        }
    }

    pub(super) fn unrestricted(&self) -> bool {
        self.vmx.controls.secondary(secondary::UNRESTRICTED)
    }

    pub(super) fn check_guest_state(&mut self) -> Result<(), Invalid> {
        self.check_guest_registers()?;
        let flags = self.vmcs(f::GUEST_RFLAGS);
        if flags & eflags::VM != 0 { self.check_v86_segments() } else { self.check_segments() }?;
        self.check_system_segments()?;
        self.check_rip_and_flags(flags)?;
        self.check_non_register_state(flags)?;
        self.check_pdptes()
    }

    fn check_guest_registers(&mut self) -> Result<(), Invalid> {
        let c = self.vmx.controls;
        let (cr0, cr3, cr4) = (self.vmcs(f::GUEST_CR0), self.vmcs(f::GUEST_CR3), self.vmcs(f::GUEST_CR4));
        let fixed = self.cr0_fixed(self.unrestricted());
        require(cr0 & fixed == fixed && cr0 >> 32 == 0, "guest CR0")?;
        require(cr0 & CR0_PG == 0 || cr0 & CR0_PE != 0, "paging in real mode")?;
        require(cr4 & CR4_VMXE != 0 && cr4 & !self.model.cr4() == 0, "guest CR4")?;
        if c.entry(entry::LOAD_DEBUG) {
            let known = DEBUGCTL_LBR | DEBUGCTL_BTF;
            require(self.vmcs(f::GUEST_DEBUGCTL) & !known == 0, "guest DEBUGCTL")?;
            require(self.vmcs(f::GUEST_DR7) >> 32 == 0, "guest DR7")?;
        }
        if self.guest_64() {
            require(cr0 & CR0_PG != 0 && cr4 & CR4_PAE != 0, "64-bit guest without PAE paging")?;
        } else {
            require(cr4 & CR4_PCIDE == 0, "PCIDs of a 32-bit guest")?;
        }
        require(cr3 >> self.model.physical_bits == 0, "guest CR3")?;
        for field in [f::GUEST_SYSENTER_ESP, f::GUEST_SYSENTER_EIP] {
            let value = self.vmcs(field);
            require(self.canonical_register(value), "guest SYSENTER address")?;
        }
        if c.entry(entry::LOAD_PAT) {
            require(pat_valid(self.vmcs(f::GUEST_PAT)), "guest PAT")?;
        }
        if c.entry(entry::LOAD_EFER) {
            let efer = self.vmcs(f::GUEST_EFER);
            require(efer & !self.model.efer() == 0, "guest EFER")?;
            require((efer & EFER_LMA != 0) == self.guest_64(), "guest EFER.LMA")?;
            let same = (efer & EFER_LMA != 0) == (efer & EFER_LME != 0);
            require(cr0 & CR0_PG == 0 || same, "guest EFER.LME")?;
        }
        Ok(())
    }

    fn check_v86_segments(&mut self) -> Result<(), Invalid> {
        for register in [ES, CS, SS, DS, FS, GS] {
            let s = self.guest_segment(register);
            require(s.base == s.selector << 4, "base in virtual-8086 mode")?;
            require(s.limit == 0xffff && s.rights == 0xf3, "limit or rights in virtual-8086 mode")?;
        }
        Ok(())
    }

    fn check_segments(&mut self) -> Result<(), Invalid> {
        let unrestricted = self.unrestricted();
        let (cs, ss) = (self.guest_segment(CS), self.guest_segment(SS));
        require(!ss.usable() || unrestricted || ss.rpl() == cs.rpl(), "RPL of SS")?;
        require(self.canonical_register(cs.base) && cs.base >> 32 == 0, "base of CS")?;
        require(cs.usable(), "unusable CS")?;
        let kinds: &[u64] = if unrestricted { &[3, 9, 11, 13, 15] } else { &[9, 11, 13, 15] };
        require(kinds.contains(&cs.kind()) && cs.plain(true), "rights of CS")?;
        let level = match cs.kind() {
            3 => cs.dpl() == 0,
            9 | 11 => cs.dpl() == ss.dpl(),
            _ => cs.dpl() <= ss.dpl(),
        };
        require(level, "DPL of CS")?;
        let (long, big) = (cs.rights & 0x2000 != 0, cs.rights & 0x4000 != 0);
        require(!(self.guest_64() && long && big), "L and D of CS")?;
        require(cs.granular(), "limit of CS")?;

        let real = self.vmcs(f::GUEST_CR0) & CR0_PE == 0;
        require(unrestricted || ss.dpl() == ss.rpl(), "DPL of SS")?;
        require(!(cs.kind() == 3 || real) || ss.dpl() == 0, "DPL of SS in real mode")?;
        if ss.usable() {
            require(ss.base >> 32 == 0, "base of SS")?;
            require(matches!(ss.kind(), 3 | 7) && ss.plain(true) && ss.granular(), "rights of SS")?;
        }
        for register in [ES, DS, FS, GS] {
            let s = self.guest_segment(register);
            if matches!(register, FS | GS) {
                require(self.canonical_register(s.base), "base of FS or GS")?;
            }
            if !s.usable() {
                continue;
            }
            require(matches!(register, FS | GS) || s.base >> 32 == 0, "base of ES or DS")?;
            let readable = s.kind() & 1 != 0 && (s.kind() & 8 == 0 || s.kind() & 2 != 0);
            require(readable && s.plain(true) && s.granular(), "rights of a data segment")?;
            let bound = s.kind() > 11 || unrestricted || s.dpl() >= s.rpl();
            require(bound, "DPL of a data segment")?;
        }
        Ok(())
    }

    fn check_system_segments(&mut self) -> Result<(), Invalid> {
        let (tr, ldtr) = (self.guest_segment(TR), self.guest_segment(LDTR));
        require(tr.selector & 4 == 0, "TI of TR")?;
        require(self.canonical_register(tr.base), "base of TR")?;
        let kinds: &[u64] = if self.guest_64() { &[11] } else { &[3, 11] };
        require(
            tr.usable() && kinds.contains(&tr.kind()) && tr.plain(false) && tr.granular(),
            "rights of TR",
        )?;
        if ldtr.usable() {
            require(ldtr.selector & 4 == 0, "TI of LDTR")?;
            require(self.canonical_register(ldtr.base), "base of LDTR")?;
            require(ldtr.kind() == 2 && ldtr.plain(false) && ldtr.granular(), "rights of LDTR")?;
        }
        for (base, limit) in
            [(f::GUEST_GDTR_BASE, f::GUEST_GDTR_LIMIT), (f::GUEST_IDTR_BASE, f::GUEST_IDTR_LIMIT)]
        {
            let (base, limit) = (self.vmcs(base), self.vmcs(limit));
            require(self.canonical_register(base) && limit >> 16 == 0, "descriptor table")?;
        }
        Ok(())
    }

    fn check_rip_and_flags(&mut self, flags: u64) -> Result<(), Invalid> {
        let rip = self.vmcs(f::GUEST_RIP);
        let wide = self.guest_64() && self.guest_segment(CS).rights & 0x2000 != 0;
        if wide {
            require(self.canonical_register(rip), "guest RIP")?;
        } else {
            require(rip >> 32 == 0, "upper half of guest RIP")?;
        }
        let reserved = flags & (0xffff_ffff_ffc0_8028) == 0 && flags & 2 != 0;
        require(reserved, "reserved bits of guest RFLAGS")?;
        let real = self.vmcs(f::GUEST_CR0) & CR0_PE == 0;
        require(flags & eflags::VM == 0 || !self.guest_64() && !real, "guest RFLAGS.VM")?;
        let info = self.vmcs32(f::ENTRY_INTERRUPTION);
        let interrupts = info & VALID != 0 && EventType::of(info) == Some(EventType::External);
        require(!interrupts || flags & eflags::IF != 0, "an interrupt for a guest that has them off")?;
        Ok(())
    }

    fn check_non_register_state(&mut self, flags: u64) -> Result<(), Invalid> {
        use activity::{ACTIVE, HLT, WAIT_FOR_SIPI};
        let (state, blocked) = (self.vmcs(f::ACTIVITY), self.vmcs(f::INTERRUPTIBILITY));
        let info = self.vmcs32(f::ENTRY_INTERRUPTION);
        let event = if info & VALID != 0 { EventType::of(info) } else { None };
        require(matches!(state, ACTIVE | HLT | WAIT_FOR_SIPI), "activity state")?;
        let hlt_at_0 = state != HLT || self.guest_segment(SS).rights >> 5 & 3 == 0;
        require(hlt_at_0, "HLT outside CPL 0")?;
        let shadow = blocked & (blocking::STI | blocking::MOV_SS);
        require(shadow == 0 || state == ACTIVE, "activity state in an interrupt shadow")?;
        let vector = info & 0xff;
        let wakes = match (event, state) {
            (None, _) | (_, ACTIVE) => true,
            (Some(EventType::External | EventType::Nmi), HLT) => true,
            (Some(EventType::Exception), HLT) => matches!(vector, 1 | 18),
            (Some(EventType::Other), HLT) => true,
            _ => false,
        };
        require(wakes, "an event that the activity state does not take")?;

        require(blocked >> 4 == 0, "reserved bits of the interruptibility state")?;
        require(shadow != blocking::STI | blocking::MOV_SS, "two interrupt shadows")?;
        require(blocked & blocking::STI == 0 || flags & eflags::IF != 0, "shadow of STI without IF")?;
        require(event != Some(EventType::External) || shadow == 0, "an interrupt in a shadow")?;
        let nmi = event == Some(EventType::Nmi);
        require(!nmi || blocked & blocking::MOV_SS == 0, "an NMI in a shadow")?;
        require(blocked & blocking::SMI == 0, "blocking by SMI outside SMM")?;
        let virtual_nmis = self.vmx.controls.pin(pin::VIRTUAL_NMIS);
        require(!(nmi && virtual_nmis) || blocked & blocking::NMI == 0, "an NMI while they are blocked")?;

        let pending = self.vmcs(f::PENDING_DEBUG);
        require(pending & !PENDING_ALL == 0, "reserved bits of the pending debug exceptions")?;
        if shadow != 0 || state == HLT {
            let stepping = flags & eflags::TF != 0 && self.vmcs(f::GUEST_DEBUGCTL) & DEBUGCTL_BTF == 0;
            require((pending & PENDING_BS != 0) == stepping, "pending single step")?;
        }
        let link = self.vmcs(f::LINK_POINTER);
        if link != u64::MAX {
            // No VMCS of ours is a shadow, or of an executive monitor.
            let good = self.physical_aligned(link, 12)
                && self.region_revision(link) == super::capability::REVISION
                && link != self.vmx.current;
            if !good {
                return Err(Invalid { qualification: 4, what: "VMCS link pointer" });
            }
        }
        Ok(())
    }

    fn check_pdptes(&mut self) -> Result<(), Invalid> {
        let (cr0, cr4) = (self.vmcs(f::GUEST_CR0), self.vmcs(f::GUEST_CR4));
        if cr0 & CR0_PG == 0 || cr4 & CR4_PAE == 0 || self.guest_64() {
            return Ok(());
        }
        let pdptes = if self.vmx.controls.secondary(secondary::EPT) {
            std::array::from_fn(|n| self.vmcs(f::GUEST_PDPTE.plus(n)))
        } else {
            let cr3 = self.vmcs(f::GUEST_CR3);
            self.read_pdptes(cr3)
        };
        let good = pdptes.iter().all(|&pdpte| self.pdpte_valid(pdpte));
        if good { Ok(()) } else { Err(Invalid { qualification: 2, what: "PDPTEs" }) }
    }
}

/// CR0 bits that VM entries and exits leave as they are.
pub(super) const CR0_KEPT: u64 = CR0_CD | CR0_NW | CR0_ET;
