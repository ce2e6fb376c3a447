//! The tables with a fixed layout: FADT, FACS, MADT, HPET.
//!
//! Manual: ACPI 6.5, "Fixed ACPI Description Table (FADT)", "Firmware ACPI Control Structure (FACS)", "Multiple APIC
//! Description Table (MADT)"; IA-PC HPET 1.0a, "The ACPI 2.0 HPET Description Table".

use acpi_tables::Aml;
use acpi_tables::facs::FACS;
use acpi_tables::fadt::{FADTBuilder, Flags, PmProfile};
use acpi_tables::gas::{AccessSize, AddressSpace, GAS};
use acpi_tables::sdt::Sdt;

use super::{OEM_ID, OEM_REVISION, OEM_TABLE_ID, PIRQ_CHOICES, SCI};
use crate::{hpet, io_apic, local_apic};

/// Where the firmware puts the power-management registers of the PIIX4 (both firmwares use this base).
const PM_BASE: u16 = 0x600;
/// The PIIX4's general-purpose events.
const GPE0: u16 = 0xafe0;
/// The port, and the values, by which the firmware switches SCI on and off.
const SMI_COMMAND: u16 = 0xb2;
const ACPI_ENABLE: u8 = 0xf1;
const ACPI_DISABLE: u8 = 0xf0;
/// The reset control register of the PIIX3, and what resets.
const RESET_PORT: u64 = 0xcf9;
const RESET_VALUE: u8 = 0x06;
/// The clock's alarm has no registers for day and month; its century is in this one.
const CENTURY: u8 = 0x32;
/// There is a bus with devices that are not enumerable, and an 8042.
const LEGACY_DEVICES: u16 = 1 << 0;
const HAS_8042: u16 = 1 << 1;
/// A latency from which on a power state does not exist: C2 and C3.
const NO_C2: u16 = 0xfff;
const NO_C3: u16 = 0xfff;

/// Offsets of the pointers in the FADT.
pub const FADT_FACS: usize = 36;
pub const FADT_DSDT: usize = 40;

/// So many of its ticks lie between two interrupts of the HPET at least.
const HPET_MIN_TICK: u16 = 100;
/// Nothing else lies in the HPET's page, so it may be mapped alone.
const PAGE_PROTECTED: u8 = 1;

pub fn facs() -> Vec<u8> {
    let mut bytes = Vec::new();
    FACS::new().to_aml_bytes(&mut bytes);
    bytes
}

/// The FADT, with offsets in the tables' file in place of addresses.
pub fn fadt(facs: u32, dsdt: u32) -> Vec<u8> {
    let mut table = FADTBuilder::new(OEM_ID, OEM_TABLE_ID, OEM_REVISION)
        .firmware_ctrl_32(facs)
        .dsdt_32(dsdt)
        .preferred_pm_profile(PmProfile::Unspecified)
        .gpe_info(GPE0.into(), 0, 4, 0, 0)
        .flag(Flags::Wbinvd)
        .flag(Flags::ProcC1)
        // The power button and the clock's alarm are fixed hardware, a sleep button does not exist.
        .flag(Flags::SlpButton)
        .flag(Flags::ResetRegSup);
    table.sci_int = u16::from(SCI).into();
    table.smi_cmd = u32::from(SMI_COMMAND).into();
    (table.acpi_enable, table.acpi_disable) = (ACPI_ENABLE, ACPI_DISABLE);
    table.pm1a_evt_blk = u32::from(PM_BASE).into();
    table.pm1a_cnt_blk = u32::from(PM_BASE + 4).into();
    table.pm_tmr_blk = u32::from(PM_BASE + 8).into();
    (table.pm1_evt_len, table.pm1_cnt_len, table.pm_tmr_len) = (4, 2, 4);
    table.p_lvl2_lat = NO_C2.into();
    table.p_lvl3_lat = NO_C3.into();
    table.century = CENTURY;
    table.iapc_boot_arch = (LEGACY_DEVICES | HAS_8042).into();
    table.reset_reg = GAS::new(AddressSpace::SystemIo, 8, 0, AccessSize::ByteAccess, RESET_PORT);
    table.reset_value = RESET_VALUE;
    let mut bytes = Vec::new();
    table.finalize().to_aml_bytes(&mut bytes);
    bytes
}

/// The MADT: a local APIC for each processor, the I/O APIC, which ISA interrupts it has elsewhere or otherwise.
pub fn madt(cpus: usize) -> Vec<u8> {
    const PC_AT_COMPATIBLE: u32 = 1;
    const ENABLED: u32 = 1;
    const LEVEL_HIGH: u16 = 0b1101;
    let mut table = table(*b"APIC", 3);
    let mut add = |parts: &[&[u8]]| table.append_slice(&parts.concat());
    add(&[&(local_apic::BASE as u32).to_le_bytes(), &PC_AT_COMPATIBLE.to_le_bytes()]);
    for cpu in 0..cpus {
        let id = cpu as u8;
        add(&[&[0, 8, id, id], &ENABLED.to_le_bytes()]);
    }
    add(&[&[1, 12, 0, 0], &(io_apic::BASE as u32).to_le_bytes(), &0u32.to_le_bytes()]);
    let mut interrupt_override = |irq: u8, input: u32, flags: u16| {
        add(&[&[2, 10, 0, irq], &input.to_le_bytes(), &flags.to_le_bytes()]);
    };
    interrupt_override(0, 2, 0);
    for irq in PIRQ_CHOICES.into_iter().chain([SCI]) {
        interrupt_override(irq, irq.into(), LEVEL_HIGH);
    }
    // NMI: LINT1 of everybody.
    add(&[&[4, 6, 0xff, 0, 0, 1]]);
    table.as_slice().to_vec()
}

/// The HPET's own table.
pub fn hpet() -> Vec<u8> {
    let mut table = table(*b"HPET", 1);
    let address = GAS::new(AddressSpace::SystemMemory, 64, 0, AccessSize::Undefined, hpet::BASE);
    table.append_slice(&hpet::BLOCK_ID.to_le_bytes());
    let mut bytes = Vec::new();
    address.to_aml_bytes(&mut bytes);
    table.append_slice(&bytes);
    table.append_slice(&[0]);
    table.append_slice(&HPET_MIN_TICK.to_le_bytes());
    table.append_slice(&[PAGE_PROTECTED]);
    table.as_slice().to_vec()
}

/// A table with nothing but its header.
pub fn table(signature: [u8; 4], revision: u8) -> Sdt {
    Sdt::new(signature, 36, revision, OEM_ID, OEM_TABLE_ID, OEM_REVISION)
}
