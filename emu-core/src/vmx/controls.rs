//! The controls of a VMCS, and the checks on them. SDM 3C, "Checks on VMX Controls".

use super::capability::{self, CR3_TARGETS, Kind, entry, exit, permits, pin, primary, secondary};
use super::fields::{self as f, Field};
use super::vectored::{DELIVER_ERROR, EventType, RESERVED, VALID};
use crate::cpu::control::{CR0_PE, CR0_PG, CR4_VMXE};
use crate::cpu::{Cpu, Fallible, Fault};

/// What non-root operation asks of the VMCS, read at VM entry.
#[derive(Clone, Copy, Debug, Default)]
#[allow(missing_docs)] // The names are those of the fields.
pub struct Controls {
    pub pin: u32,
    pub primary: u32,
    /// 0 unless the primary controls activate them.
    pub secondary: u32,
    pub exit: u32,
    pub entry: u32,
    pub exception_bitmap: u32,
    pub page_fault_mask: u32,
    pub page_fault_match: u32,
    pub cr0_mask: u64,
    pub cr0_shadow: u64,
    pub cr4_mask: u64,
    pub cr4_shadow: u64,
    pub cr3_targets: [u64; CR3_TARGETS as usize],
    pub cr3_count: u64,
    pub io_bitmaps: [u64; 2],
    pub msr_bitmap: u64,
    pub tsc_offset: u64,
    pub eptp: u64,
    pub vpid: u16,
    pub virtual_apic: u64,
    pub tpr_threshold: u32,
}

impl Controls {
    /// Is a pin-based control set?
    pub fn pin(&self, bit: u32) -> bool {
        self.pin & bit != 0
    }

    /// Is a primary control set?
    pub fn primary(&self, bit: u32) -> bool {
        self.primary & bit != 0
    }

    /// Is a secondary control set, and are these active?
    pub fn secondary(&self, bit: u32) -> bool {
        self.secondary & bit != 0
    }

    /// Is a VM-exit control set?
    pub fn exit(&self, bit: u32) -> bool {
        self.exit & bit != 0
    }

    /// Is a VM-entry control set?
    pub fn entry(&self, bit: u32) -> bool {
        self.entry & bit != 0
    }
}

/// What is wrong with a VMCS. The word is for whoever reads a trace: software only learns which group it was.
pub(super) type Wrong = &'static str;

/// Fails with a word unless a condition holds.
pub(super) fn require(holds: bool, what: Wrong) -> Result<(), Wrong> {
    if holds { Ok(()) } else { Err(what) }
}

impl Cpu {
    pub(super) fn read_controls(&mut self) -> Controls {
        let primary = self.vmcs32(f::PRIMARY_CONTROLS);
        let active = primary & primary::SECONDARY != 0;
        Controls {
            pin: self.vmcs32(f::PIN_CONTROLS),
            primary,
            secondary: if active { self.vmcs32(f::SECONDARY_CONTROLS) } else { 0 },
            exit: self.vmcs32(f::EXIT_CONTROLS),
            entry: self.vmcs32(f::ENTRY_CONTROLS),
            exception_bitmap: self.vmcs32(f::EXCEPTION_BITMAP),
            page_fault_mask: self.vmcs32(f::PAGE_FAULT_MASK),
            page_fault_match: self.vmcs32(f::PAGE_FAULT_MATCH),
            cr0_mask: self.vmcs(f::CR0_MASK),
            cr0_shadow: self.vmcs(f::CR0_SHADOW),
            cr4_mask: self.vmcs(f::CR4_MASK),
            cr4_shadow: self.vmcs(f::CR4_SHADOW),
            cr3_targets: std::array::from_fn(|n| self.vmcs(f::CR3_TARGET.plus(n))),
            cr3_count: self.vmcs(f::CR3_TARGET_COUNT),
            io_bitmaps: [self.vmcs(f::IO_BITMAP_A), self.vmcs(f::IO_BITMAP_B)],
            msr_bitmap: self.vmcs(f::MSR_BITMAP),
            tsc_offset: self.vmcs(f::TSC_OFFSET),
            eptp: self.vmcs(f::EPTP),
            vpid: self.vmcs(f::VPID) as u16,
            virtual_apic: self.vmcs(f::VIRTUAL_APIC),
            tpr_threshold: self.vmcs32(f::TPR_THRESHOLD),
        }
    }

    /// Is it the address of something that is aligned to 2 to the power of `bits` bytes?
    pub(super) fn physical_aligned(&self, address: u64, bits: u32) -> bool {
        address & ((1 << bits) - 1) == 0 && address >> self.model.physical_bits == 0
    }

    pub(super) fn check_controls(&mut self) -> Result<(), Wrong> {
        let c = self.vmx.controls;
        let allowed = |kind, value| permits(&self.model, kind, value);
        require(allowed(Kind::Pin, c.pin), "pin-based controls")?;
        require(allowed(Kind::Primary, c.primary), "primary controls")?;
        require(allowed(Kind::Secondary, c.secondary), "secondary controls")?;
        require(c.cr3_count <= CR3_TARGETS, "count of CR3 targets")?;
        let page = |address| self.physical_aligned(address, 12);
        if c.primary(primary::IO_BITMAPS) {
            require(page(c.io_bitmaps[0]) && page(c.io_bitmaps[1]), "addresses of the I/O bitmaps")?;
        }
        if c.primary(primary::MSR_BITMAPS) {
            require(page(c.msr_bitmap), "address of the MSR bitmaps")?;
        }
        require(c.pin(pin::NMI) || !c.pin(pin::VIRTUAL_NMIS), "virtual NMIs without NMI exiting")?;
        require(
            c.pin(pin::VIRTUAL_NMIS) || !c.primary(primary::NMI_WINDOW),
            "NMI window without virtual NMIs",
        )?;
        require(!c.secondary(secondary::VPID) || c.vpid != 0, "VPID 0")?;
        if c.secondary(secondary::EPT) {
            require(self.eptp_valid(c.eptp), "EPT pointer")?;
        }
        require(
            c.secondary(secondary::EPT) || !c.secondary(secondary::UNRESTRICTED),
            "unrestricted guest without EPT",
        )?;
        require(allowed(Kind::Exit, c.exit), "VM-exit controls")?;
        let timer = c.pin(pin::PREEMPTION_TIMER) || !c.exit(exit::SAVE_TIMER);
        require(timer, "saving a preemption timer that is off")?;
        require(allowed(Kind::Entry, c.entry), "VM-entry controls")?;
        if c.primary(primary::TPR_SHADOW) {
            self.check_tpr_shadow()?;
        }
        self.check_area(f::EXIT_MSR_STORE_COUNT, f::EXIT_MSR_STORE)?;
        self.check_area(f::EXIT_MSR_LOAD_COUNT, f::EXIT_MSR_LOAD)?;
        self.check_area(f::ENTRY_MSR_LOAD_COUNT, f::ENTRY_MSR_LOAD)?;
        self.check_injection()
    }

    fn check_tpr_shadow(&mut self) -> Result<(), Wrong> {
        let c = self.vmx.controls;
        require(self.physical_aligned(c.virtual_apic, 12), "address of the virtual-APIC page")?;
        require(c.tpr_threshold >> 4 == 0, "TPR threshold")?;
        let priority = self.virtual_tpr() >> 4;
        require(c.tpr_threshold <= priority, "TPR threshold above the virtual TPR")
    }

    /// An MSR area that has entries.
    fn check_area(&mut self, count: Field, address: Field) -> Result<(), Wrong> {
        let (count, address) = (self.vmcs(count), self.vmcs(address));
        if count == 0 {
            return Ok(());
        }
        require(self.physical_aligned(address, 4), "address of an MSR area")?;
        let last = address.wrapping_add(count * 16 - 1);
        require(last >= address && last >> self.model.physical_bits == 0, "end of an MSR area")
    }

    /// SDM 3C, "VM-Entry Control Fields": the fields for event injection.
    fn check_injection(&mut self) -> Result<(), Wrong> {
        let info = self.vmcs32(f::ENTRY_INTERRUPTION);
        if info & VALID == 0 {
            return Ok(());
        }
        let c = self.vmx.controls;
        let vector = info & 0xff;
        let kind = EventType::of(info);
        require(info & RESERVED == 0, "reserved bits of the event")?;
        let fits = match kind {
            None => false,
            Some(EventType::Other) => vector == 0,
            Some(EventType::Nmi) => vector == 2,
            Some(EventType::Exception) => vector <= 31,
            Some(_) => true,
        };
        require(fits, "type or vector of the event")?;
        let protected = !c.secondary(secondary::UNRESTRICTED) || self.vmcs(f::GUEST_CR0) & CR0_PE != 0;
        let with_error = matches!(vector, 8 | 10..=14 | 17);
        let delivers = info & DELIVER_ERROR != 0;
        let must = protected && kind == Some(EventType::Exception) && with_error;
        require(delivers == must, "an error code that the event lacks, or that it has")?;
        if delivers {
            require(self.vmcs(f::ENTRY_ERROR_CODE) >> 16 == 0, "reserved bits of the error code")?;
        }
        if kind.is_some_and(EventType::is_software) {
            require(self.vmcs(f::ENTRY_LENGTH) <= 15, "length of the instruction")?;
        }
        Ok(())
    }

    /// The guest's EFER.LMA after VM entry.
    pub(super) fn guest_64(&self) -> bool {
        self.vmx.controls.entry(entry::GUEST_64)
    }

    /// MOV to CR0 or CR4 in VMX operation: some bits have to stay 1.
    ///
    /// # Errors
    /// #GP(0).
    #[inline]
    pub(crate) fn vmx_permits(&self, number: u8, value: u64) -> Fallible {
        if !self.vmx.on {
            return Ok(());
        }
        let unrestricted = self.vmx.non_root && self.vmx.controls.secondary(secondary::UNRESTRICTED);
        let fixed = if number == 0 { self.cr0_fixed(unrestricted) } else { CR4_VMXE };
        if value & fixed == fixed { Ok(()) } else { Err(Fault::GP0) }
    }

    /// CR0 bits that must be 1 in VMX operation now.
    pub(super) fn cr0_fixed(&self, unrestricted: bool) -> u64 {
        let free = if unrestricted { CR0_PE | CR0_PG } else { 0 };
        capability::CR0_FIXED & !free
    }
}
