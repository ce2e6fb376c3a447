//! The DSDT: what cannot be found by asking the hardware, in AML.
//!
//! Manual: ACPI 6.5, "ACPI Source Language (ASL) Reference", "Resource Data Types for ACPI", "_PRT (PCI Routing
//! Table)"; Intel 290550 (PIIX3), "PIRQRC[A:D]". Contents: soft-off (`\_S5`), processors, the PCI root with its
//! windows and routing, the four PIRQ links, and what sits on the ISA bus. The PIIX3 steers each PIRQ to an ISA
//! interrupt, which the I/O APIC has on the input of the same number, so one routing table serves both kinds of
//! interrupt controller.

use acpi_tables::aml::{
    AddressSpace, AddressSpaceCacheable, And, Arg, CreateDWordField, Device, EISAName, Else, Field,
    FieldAccessType, FieldEntry, FieldLockRule, FieldUpdateRule, IO, If, Local, Memory32Fixed, Method, Name,
    OpRegion, OpRegionSpace, Or, Package, PackageBuilder, Path, ResourceTemplate, Return, Scope, Store,
};
use acpi_tables::{Aml, AmlSink};

use super::fixed::table;
use super::{PIRQ_CHOICES, SCI};
use crate::hpet;
use crate::pci::pirq_of;

/// Routing registers in the PIIX3's configuration space, and their bit for "not routed".
const PIRQRCA: u8 = 0x60;
const NOT_ROUTED: u8 = 0x80;
/// Answers of `_STA`: present and working; the same and enabled (decoding).
const STATUS_OFF: u8 = 0b1001;
const STATUS_ON: u8 = 0b1011;
/// The PIRQ links, and the one that stands for the interrupt of power management.
const LINKS: [&str; 4] = ["LNKA", "LNKB", "LNKC", "LNKD"];
const SCI_LINK: &str = "LNKS";
/// Routing registers as the AML names them.
const ROUTES: [&str; 4] = ["PRQA", "PRQB", "PRQC", "PRQD"];
/// First address above the memory window of PCI: the I/O APIC.
const PCI_MEMORY_END: u32 = 0xfec0_0000;
/// The PIIX4's general-purpose events and SMI command ports.
const GPE0: u16 = 0xafe0;
const APM: u16 = 0xb2;
const FW_CFG: u16 = 0x510;
/// Suspend type of the PIIX4 that switches the machine off.
const SOFT_OFF: u8 = 0;

/// The DSDT of a board with so much RAM below 4 GiB and so many processors.
pub fn dsdt(low_ram: u32, cpus: usize) -> Vec<u8> {
    let mut table = table(*b"DSDT", 2);
    let off = Package::new(vec![&SOFT_OFF, &SOFT_OFF, &0u8, &0u8]);
    table.append_slice(&bytes(&Name::new("_S5_".into(), &off)));
    for cpu in 0..cpus {
        table.append_slice(&processor(cpu));
    }
    table.append_slice(&pci_root(low_ram));
    table.append_slice(&isa_bridge());
    table.append_slice(&links());
    table.append_slice(&hpet_device());
    table.as_slice().to_vec()
}

fn bytes(object: &dyn Aml) -> Vec<u8> {
    let mut bytes = Vec::new();
    object.to_aml_bytes(&mut bytes);
    bytes
}

/// AML that is made already.
struct Raw(Vec<u8>);

impl Aml for Raw {
    fn to_aml_bytes(&self, sink: &mut dyn AmlSink) {
        sink.vec(&self.0);
    }
}

/// Extended interrupt descriptor with the choices for a PIRQ: level, active high as the PIIX3's router drives it,
/// shared.
struct Interrupts<'a>(&'a [u8]);

impl Aml for Interrupts<'_> {
    fn to_aml_bytes(&self, sink: &mut dyn AmlSink) {
        const CONSUMER_SHARED: u8 = 0b1001;
        sink.byte(0x89);
        sink.word(2 + 4 * self.0.len() as u16);
        sink.byte(CONSUMER_SHARED);
        sink.byte(self.0.len() as u8);
        self.0.iter().for_each(|&irq| sink.dword(irq.into()));
    }
}

/// A channel of the 8237A: DMA descriptor, 8 bits, no bus master, compatible timing.
struct Dma(u8);

impl Aml for Dma {
    fn to_aml_bytes(&self, sink: &mut dyn AmlSink) {
        sink.byte(0x2a);
        sink.byte(1 << self.0);
        sink.byte(0);
    }
}

fn hardware_id(id: &str) -> Name {
    Name::new("_HID".into(), &EISAName::new(id))
}

fn unique_id(number: u8) -> Name {
    Name::new("_UID".into(), &number)
}

fn resources(items: Vec<&dyn Aml>) -> Name {
    Name::new("_CRS".into(), &ResourceTemplate::new(items))
}

/// An interrupt of the ISA bus: rising edge, nobody shares it (IRQ descriptor without information).
struct Irq(u8);

impl Aml for Irq {
    fn to_aml_bytes(&self, sink: &mut dyn AmlSink) {
        sink.byte(0x22);
        sink.word(1 << self.0);
    }
}

fn ports(first: u16, count: u8) -> IO {
    IO::new(first, first, 1, count)
}

/// `\_SB.Cnnn`.
fn processor(cpu: usize) -> Vec<u8> {
    let path = format!("C{cpu:03X}");
    let (id, uid) = (Name::new("_HID".into(), &"ACPI0007"), unique_id(cpu as u8));
    let device = Device::new(Path::new(&path), vec![&id, &uid]);
    bytes(&Scope::new("\\_SB_".into(), vec![&device]))
}

fn pci_root(low_ram: u32) -> Vec<u8> {
    let id = hardware_id("PNP0A03");
    let address = Name::new("_ADR".into(), &0u8);
    let uid = unique_id(0);
    let bus = AddressSpace::new_bus_number(0u16, 0xff);
    let config = IO::new(0xcf8, 0xcf8, 1, 8);
    let below = AddressSpace::new_io(0u16, 0x0cf7, None);
    let above = AddressSpace::new_io(0x0d00u16, 0xffff, None);
    let cacheable = AddressSpaceCacheable::Cacheable;
    let vga = AddressSpace::new_memory(cacheable, true, 0x000a_0000u32, 0x000b_ffff, None);
    let plain = AddressSpaceCacheable::NotCacheable;
    let window = AddressSpace::new_memory(plain, true, low_ram, PCI_MEMORY_END - 1, None);
    let windows = resources(vec![&bus, &config, &below, &above, &vga, &window]);
    let routing = Name::new("_PRT".into(), &routing_table());
    let root = Device::new("PCI0".into(), vec![&id, &address, &uid, &windows, &routing]);
    bytes(&Scope::new("\\_SB_".into(), vec![&root]))
}

/// `_PRT`: the link of each pin of each slot. The pin of slot 1 is that of power management, whose wire is its own.
fn routing_table() -> PackageBuilder {
    let mut rows = PackageBuilder::new();
    for slot in 0..32u8 {
        for pin in 0..4u8 {
            let link = match (slot, pin) {
                (1, 0) => SCI_LINK,
                _ => LINKS[usize::from(pirq_of(slot, pin) & 3)],
            };
            let (address, link) = (u32::from(slot) << 16 | 0xffff, Path::new(&format!("\\_SB_.{link}")));
            rows.add_element(&Package::new(vec![&address, &pin, &link, &0u8]));
        }
    }
    rows
}

/// The ISA bridge and what is behind it.
fn isa_bridge() -> Vec<u8> {
    let address = Name::new("_ADR".into(), &0x0001_0000u32);
    let region = OpRegion::new("PIRQ".into(), OpRegionSpace::PCIConfig, &PIRQRCA, &4u8);
    let entry =
        |name: &str| FieldEntry::Named(name.as_bytes().try_into().expect("names have four letters"), 8);
    let routes = Field::new(
        "PIRQ".into(),
        FieldAccessType::Byte,
        FieldLockRule::NoLock,
        FieldUpdateRule::Preserve,
        ROUTES.map(entry).to_vec(),
    );
    let device = |name: &str, id: &str, uid: u8, items: Vec<&dyn Aml>| {
        let (id, uid, items) = (hardware_id(id), unique_id(uid), resources(items));
        Raw(bytes(&Device::new(name.into(), vec![&id, &uid, &items])))
    };
    let clock = device("RTC_", "PNP0B00", 0, vec![&ports(0x70, 2), &Irq(8)]);
    let keyboard = device("KBD_", "PNP0303", 0, vec![&ports(0x60, 1), &ports(0x64, 1), &Irq(1)]);
    let mouse = device("MOU_", "PNP0F13", 0, vec![&Irq(12)]);
    let com1 = device("COM1", "PNP0501", 1, vec![&ports(0x3f8, 8), &Irq(4)]);
    let com2 = device("COM2", "PNP0501", 2, vec![&ports(0x2f8, 8), &Irq(3)]);
    let floppy = device("FDC0", "PNP0700", 0, vec![&ports(0x3f2, 4), &ports(0x3f7, 1), &Irq(6), &Dma(2)]);
    // What drivers must leave alone.
    let board = device("MBRD", "PNP0C02", 0, vec![&ports(APM, 2), &ports(GPE0, 4)]);
    let bridge = Device::new(
        "ISA_".into(),
        vec![&address, &region, &routes, &clock, &keyboard, &mouse, &com1, &com2, &floppy, &board],
    );
    let fw_cfg_id = Name::new("_HID".into(), &"QEMU0002");
    let fw_cfg_ports = resources(vec![&ports(FW_CFG, 12)]);
    let fw_cfg_status = Name::new("_STA".into(), &STATUS_ON);
    let fw_cfg = Device::new("FWCF".into(), vec![&fw_cfg_id, &fw_cfg_status, &fw_cfg_ports]);
    bytes(&Scope::new("\\_SB_.PCI0".into(), vec![&bridge, &fw_cfg]))
}

/// The interrupt links of PIRQA# to PIRQD#, and a fixed one for SCI.
fn links() -> Vec<u8> {
    let mut all = Vec::new();
    for (number, name) in LINKS.into_iter().enumerate() {
        all.extend(bytes(&pirq_link(name, number)));
    }
    let (id, uid) = (hardware_id("PNP0C0F"), unique_id(LINKS.len() as u8));
    let wire = Interrupts(&[SCI]);
    let template = ResourceTemplate::new(vec![&wire]);
    let (possible, current) = (Name::new("_PRS".into(), &template), Name::new("_CRS".into(), &template));
    // It has one setting, and cannot be switched off.
    let (disable, set) =
        (Method::new("_DIS".into(), 0, false, vec![]), Method::new("_SRS".into(), 1, false, vec![]));
    let status = Name::new("_STA".into(), &STATUS_ON);
    all.extend(bytes(&Device::new(
        SCI_LINK.into(),
        vec![&id, &uid, &possible, &current, &status, &disable, &set],
    )));
    bytes(&Scope::new("\\_SB_".into(), vec![&Raw(all)]))
}

/// A PIRQ link over its routing register in the PIIX3.
fn pirq_link(name: &str, number: usize) -> Raw {
    let route = Path::new(&format!("\\_SB_.PCI0.ISA_.{}", ROUTES[number]));
    let (id, uid) = (hardware_id("PNP0C0F"), unique_id(number as u8));
    let possible = Name::new("_PRS".into(), &ResourceTemplate::new(vec![&Interrupts(&PIRQ_CHOICES)]));
    let off = And::new(&Local(0), &route, &NOT_ROUTED);
    let (when_off, when_on) = (Return::new(&STATUS_OFF), Return::new(&STATUS_ON));
    let (if_off, otherwise) = (If::new(&Local(0), vec![&when_off]), Else::new(vec![&when_on]));
    let status = Method::new("_STA".into(), 0, false, vec![&off, &if_off, &otherwise]);
    let switch_off = Or::new(&route, &route, &NOT_ROUTED);
    let disable = Method::new("_DIS".into(), 0, false, vec![&switch_off]);

    // The descriptor's interrupt number stands behind tag, length, flags and count.
    const NUMBER: u8 = 5;
    let one = ResourceTemplate::new(vec![&Interrupts(&[0])]);
    let template = Name::new("TMPL".into(), &one);
    let (mine, field) = (Path::new("TMPL"), Path::new("NUMB"));
    let create = CreateDWordField::new(&field, &mine, &NUMBER);
    let read = And::new(&field, &route, &0x0fu8);
    let give = Return::new(&mine);
    let current = Method::new("_CRS".into(), 0, true, vec![&template, &create, &read, &give]);
    let (argument, wanted) = (Arg(0), Path::new("NUMB"));
    let take = CreateDWordField::new(&wanted, &argument, &NUMBER);
    let write = Store::new(&route, &wanted);
    let set = Method::new("_SRS".into(), 1, true, vec![&take, &write]);
    Raw(bytes(&Device::new(name.into(), vec![&id, &uid, &possible, &status, &disable, &current, &set])))
}

fn hpet_device() -> Vec<u8> {
    let (id, uid) = (hardware_id("PNP0103"), unique_id(0));
    let registers = resources(vec![&Memory32Fixed::new(false, hpet::BASE as u32, hpet::SIZE as u32)]);
    let device = Device::new("HPET".into(), vec![&id, &uid, &registers]);
    bytes(&Scope::new("\\_SB_".into(), vec![&device]))
}
