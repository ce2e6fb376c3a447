//! Numbers are those of the manual and of the QEMU `pc`.

use emu_core::bus::NEVER;

use super::LocalApic;
use crate::apic_message::{ApicMessage, DeliveryMode, Destination};

fn enabled() -> LocalApic {
    let mut apic = LocalApic::new(0);
    apic.write(0xf0, 4, 0x1ff, 0);
    apic
}

fn fixed(vector: u8) -> ApicMessage {
    ApicMessage {
        destination: Destination::Physical(0),
        mode: DeliveryMode::Fixed,
        vector,
        level_triggered: false,
        assert: true,
    }
}

#[test]
fn registers_after_reset_are_those_of_the_manual() {
    let mut apic = LocalApic::new(3);
    let expected =
        [(0x20, 0x0300_0000), (0x30, 0x0005_0014), (0x80, 0), (0xd0, 0), (0xe0, 0xffff_ffff), (0xf0, 0xff)];
    for (offset, value) in expected {
        assert_eq!(apic.read(offset, 4, 0), value, "{offset:x}");
    }
    for offset in (0x320..=0x370).step_by(16) {
        assert_eq!(apic.read(offset, 4, 0), 0x1_0000);
    }
    assert_eq!(LocalApic::new(0).read(0x350, 4, 0), 0x700);
}

#[test]
fn higher_classes_interrupt_lower_ones_only() {
    let mut apic = enabled();
    apic.deliver(&fixed(0x41));
    assert_eq!(apic.acknowledge(), 0x41);
    apic.deliver(&fixed(0x4f));
    assert!(!apic.intr(), "same class");
    assert_eq!(apic.read(0xa0, 4, 0), 0x40);
    apic.deliver(&fixed(0x50));
    assert_eq!(apic.acknowledge(), 0x50);
    apic.write(0xb0, 4, 0, 0);
    assert!(!apic.intr());
    apic.write(0xb0, 4, 0, 0);
    assert_eq!(apic.acknowledge(), 0x4f);
}

#[test]
fn the_task_priority_holds_back_its_class() {
    let mut apic = enabled();
    apic.write(0x80, 4, 0x50, 0);
    apic.deliver(&fixed(0x5f));
    assert!(!apic.intr());
    apic.set_tpr(0x4f);
    assert!(apic.intr());
}

#[test]
fn level_triggered_vectors_ask_for_an_eoi_broadcast() {
    let mut apic = enabled();
    apic.deliver(&ApicMessage { level_triggered: true, ..fixed(0x31) });
    apic.acknowledge();
    assert_eq!(apic.read(0x180 + 0x10, 4, 0), 1 << 0x11);
    apic.write(0xb0, 4, 0, 0);
    assert_eq!((apic.take_eoi(), apic.take_eoi()), (Some(0x31), None));
}

#[test]
fn the_timer_interrupts_and_reads_down() {
    let mut apic = enabled();
    apic.write(0x3e0, 4, 0xb, 0);
    apic.write(0x320, 4, 0x2_0040, 0); // periodic
    apic.write(0x380, 4, 1000, 0);
    assert_eq!(apic.read(0x390, 4, 400), 600);
    assert_eq!(apic.next_event(), 1000);
    apic.advance(1000);
    assert_eq!(apic.acknowledge(), 0x40);
    assert_eq!(apic.next_event(), 2000);
}

#[test]
fn software_disabling_masks_the_lvt() {
    let mut apic = enabled();
    apic.write(0x320, 4, 0x40, 0);
    apic.write(0xf0, 4, 0xff, 0);
    assert_eq!(apic.read(0x320, 4, 0), 0x1_0040);
    apic.write(0x320, 4, 0x40, 0);
    assert_eq!(apic.read(0x320, 4, 0), 0x1_0040);
    assert!(!apic.passes_8259());
    apic.deliver(&fixed(0x40));
    assert_eq!(apic.read(0x220, 4, 0), 0, "fixed interrupts are not accepted");
}

#[test]
fn virtual_wire_works_before_software_enables_the_apic() {
    assert!(LocalApic::new(0).passes_8259());
    assert!(!LocalApic::new(1).passes_8259());
    let mut apic = enabled();
    apic.write(0x350, 4, 0x1_0700, 0);
    assert!(!apic.passes_8259());
}

#[test]
fn ipis_carry_their_destination() {
    let mut apic = enabled();
    apic.write(0x310, 4, 0x0200_0000, 0);
    apic.write(0x300, 4, 0x0000_4500, 0); // INIT to APIC 2
    let message = apic.take_message().unwrap();
    assert_eq!((message.destination, message.mode), (Destination::Physical(2), DeliveryMode::Init));
    apic.write(0x300, 4, 0x000c_4608, 0); // SIPI, page 8, all but self
    let message = apic.take_message().unwrap();
    assert_eq!(
        (message.destination, message.mode, message.vector),
        (Destination::Others, DeliveryMode::StartUp, 8)
    );
}

#[test]
fn the_init_level_de_assert_does_nothing() {
    let mut apic = enabled();
    apic.write(0x300, 4, 0x0008_8500, 0);
    let message = apic.take_message().unwrap();
    apic.deliver(&message);
    assert!(!apic.take_signals().init);
}

#[test]
fn logical_destinations_match_flat_and_cluster() {
    let mut apic = enabled();
    apic.write(0xd0, 4, 0x2100_0000, 0);
    assert!(apic.is_named(Destination::Logical(0x01)) && apic.is_named(Destination::Logical(0xe0)));
    assert!(!apic.is_named(Destination::Logical(0x1e & !0x20 & !1)));
    apic.write(0xe0, 4, 0x0fff_ffff, 0);
    assert!(apic.is_named(Destination::Logical(0x23)));
    assert!(!apic.is_named(Destination::Logical(0x11)));
    assert!(!apic.is_named(Destination::Logical(0x22)));
}

#[test]
fn an_illegal_vector_is_an_error() {
    let mut apic = enabled();
    apic.write(0x370, 4, 0xfe, 0);
    apic.write(0x300, 4, 0x0004_0005, 0); // to self, vector 5
    assert!(apic.take_message().is_none());
    assert_eq!(apic.acknowledge(), 0xfe);
    assert_eq!(apic.read(0x280, 4, 0), 0);
    apic.write(0x280, 4, 0, 0);
    assert_eq!(apic.read(0x280, 4, 0), 0x20);
}

#[test]
fn base_goes_through_its_legal_transitions_only() {
    let mut apic = LocalApic::new(0);
    assert_eq!(apic.base(), 0xfee0_0900);
    assert_eq!(apic.set_base(0xfee0_0500), None, "x2APIC without enable");
    assert_eq!(apic.set_base(0xfee0_0901), None, "reserved bit");
    assert_eq!(apic.set_base(0xfee0_0d00), Some(()));
    assert_eq!(apic.set_base(0xfee0_0900), None, "x2APIC back to xAPIC");
    assert_eq!(apic.set_base(0xfee0_0100), Some(()));
    assert_eq!(apic.set_base(0xfee0_0d00), None, "disabled to x2APIC");
    assert!(apic.passes_8259());
}

#[test]
fn x2apic_registers_fault_on_reserved_bits() {
    let mut apic = LocalApic::new(2);
    assert_eq!(apic.read_msr(0x802, 0), None);
    apic.set_base(0xfee0_0c00).unwrap();
    assert_eq!(apic.read_msr(0x802, 0), Some(2));
    assert_eq!(apic.read_msr(0x80d, 0), Some(4));
    assert_eq!(apic.read_msr(0x80e, 0), None, "no DFR");
    assert_eq!(apic.write_msr(0x80b, 1, 0), None);
    assert_eq!(apic.write_msr(0x80f, 0x1ff, 0), Some(()));
    assert_eq!(apic.write_msr(0x83f, 0x40, 0), Some(()));
    assert_eq!(apic.acknowledge(), 0x40);
    assert_eq!(apic.write_msr(0x830, 1 << 32 | 0x4041, 0), Some(()));
    assert_eq!(apic.take_message().unwrap().destination, Destination::Physical(1));
    assert_eq!(apic.read(0x20, 4, 0), 0xffff_ffff, "no page in this mode");
}

#[test]
fn the_deadline_fires_once() {
    let mut apic = enabled();
    apic.write(0x320, 4, 0x4_0060, 0);
    apic.set_deadline(5000, 0);
    assert_eq!((apic.next_event(), apic.deadline(4999)), (5000, 5000));
    apic.advance(5000);
    assert_eq!((apic.acknowledge(), apic.deadline(5000), apic.next_event()), (0x60, 0, NEVER));
}
