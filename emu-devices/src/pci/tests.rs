//! The bus as firmware sees it.

use emu_core::bus::Tick;
use emu_core::mem::Memory;
use emu_core::mem::page::PhysPage;

use super::*;
use crate::ata::{AtaChannel, AtaDisk};
use crate::block::MemoryDisk;
use crate::random::{Random, seeds};

fn address(slot: u32, function: u32, register: u32) -> u32 {
    0x8000_0000 | slot << 11 | function << 8 | register
}

fn read(pci: &mut Pci, slot: u32, function: u32, register: u32, size: u8) -> u32 {
    pci.port_write(0xcf8, 4, address(slot, function, register & !3));
    pci.port_read(0xcfc + (register & 3) as u16, size)
}

fn write(pci: &mut Pci, slot: u32, function: u32, register: u32, size: u8, value: u32) -> Changed {
    pci.port_write(0xcf8, 4, address(slot, function, register & !3));
    pci.port_write(0xcfc + (register & 3) as u16, size, value)
}

#[test]
fn the_functions_are_where_a_pc_has_them() {
    let mut pci = Pci::new(0x8000);
    let mut found = Vec::new();
    for slot in 0..32 {
        for function in 0..8 {
            let id = read(&mut pci, slot, function, 0, 4);
            if id != u32::MAX {
                found.push((slot, function, id, read(&mut pci, slot, function, 8, 4)));
            }
        }
    }
    let expected = [
        (0, 0, 0x1237_8086, 0x0600_0002),
        (1, 0, 0x7000_8086, 0x0601_0000),
        (1, 1, 0x7010_8086, 0x0101_8000),
        (1, 3, 0x7113_8086, 0x0680_0003),
        (2, 0, 0x1111_1234, 0x0300_0002),
    ];
    assert_eq!(found, expected);
    assert_eq!(read(&mut pci, 1, 0, 0x0e, 1), 0x80, "several functions");
}

#[test]
fn configuration_cycles_need_the_enable_bit_bus_0_and_a_wide_address() {
    let mut pci = Pci::new(0);
    pci.port_write(0xcf8, 4, 0x0000_0000);
    assert_eq!(pci.port_read(0xcfc, 4), u32::MAX);
    pci.port_write(0xcf8, 4, 0x8001_0000);
    assert_eq!(pci.port_read(0xcfc, 4), u32::MAX);
    pci.port_write(0xcf8, 4, 0xff00_0003);
    assert_eq!(pci.port_read(0xcf8, 4), 0x8000_0000);
    pci.port_write(0xcf8, 1, 0x55);
    assert_eq!(pci.port_read(0xcf8, 4), 0x8000_0000);
    assert_eq!(pci.port_read(0xcfd, 1), 0x80);
    assert_eq!(pci.port_read(0xcfe, 2), 0x1237);
}

#[test]
fn identities_cannot_be_written() {
    let mut pci = Pci::new(0);
    write(&mut pci, 0, 0, 0, 4, 0);
    assert_eq!(read(&mut pci, 0, 0, 0, 4), 0x1237_8086);
}

#[test]
fn pam_registers_open_dram_region_by_region() {
    let mut pci = Pci::new(0);
    assert!(pci.host.pam().iter().all(|region| !region.read && !region.write));
    // F0000h read-write; C4000h read only.
    assert!(write(&mut pci, 0, 0, 0x59, 1, 0xff).memory);
    assert_eq!(read(&mut pci, 0, 0, 0x59, 1), 0x30);
    assert!(write(&mut pci, 0, 0, 0x5a, 1, 0x10).memory);
    assert!(!write(&mut pci, 0, 0, 0x5a, 1, 0x10).memory, "nothing new");
    let pam = pci.host.pam();
    let open: Vec<_> = pam.iter().filter(|region| region.read).collect();
    assert_eq!(*open[0], PamRegion { start: 0xc_4000, len: 0x4000, read: true, write: false });
    assert_eq!(*open[1], PamRegion { start: 0xf_0000, len: 0x1_0000, read: true, write: true });
    assert_eq!(open.len(), 2);
}

#[test]
fn locked_smram_is_closed_for_good() {
    let mut pci = Pci::new(0);
    write(&mut pci, 0, 0, 0x72, 1, 0x4a);
    assert!(pci.host.smram_open());
    assert!(write(&mut pci, 0, 0, 0x72, 1, 0x5a).memory);
    assert!(!pci.host.smram_open());
    write(&mut pci, 0, 0, 0x72, 1, 0x4a);
    assert_eq!(read(&mut pci, 0, 0, 0x72, 1), 0x1a);
    pci.reset();
    assert_eq!(read(&mut pci, 0, 0, 0x72, 1), 0x02);
}

#[test]
fn interrupts_go_where_the_route_registers_say() {
    let mut pci = Pci::new(0);
    assert_eq!(pci.isa.route(2), None);
    assert!(write(&mut pci, 1, 0, 0x60, 4, 0x0d0b_0a80).routing);
    assert_eq!([0, 1, 2, 3].map(|pirq| pci.isa.route(pirq)), [None, Some(10), Some(11), None]);
    // Slot 1 INTA# is PIRQA#, slot 4 INTB# is PIRQA# again.
    assert_eq!([pirq_of(1, 0), pirq_of(2, 0), pirq_of(4, 1)], [0, 1, 0]);
}

#[test]
fn base_addresses_tell_their_size_and_answer_when_enabled() {
    let mut pci = Pci::new(0x9000);
    assert_eq!(read(&mut pci, 2, 0, 0x10, 4), 8);
    write(&mut pci, 2, 0, 0x10, 4, u32::MAX);
    write(&mut pci, 2, 0, 0x18, 4, u32::MAX);
    write(&mut pci, 2, 0, 0x30, 4, 0xffff_f800);
    assert_eq!(
        [0x10, 0x14, 0x18, 0x30].map(|register| read(&mut pci, 2, 0, register, 4)),
        [0xff00_0008, 0, 0xffff_f000, 0xffff_0000]
    );
    write(&mut pci, 2, 0, 0x10, 4, 0xfd00_0000);
    assert!(!write(&mut pci, 2, 0, 0x18, 4, 0xfebf_0000).memory, "nothing is enabled yet");
    assert_eq!(pci.vga.frame_buffer(), None);
    assert!(write(&mut pci, 2, 0, 0x04, 2, 0x03).memory);
    assert_eq!(pci.vga.frame_buffer(), Some(0xfd00_0000));
    assert_eq!(pci.vga.registers(), Some(0xfebf_0000));
    assert_eq!(pci.vga.rom(), None);
    assert!(write(&mut pci, 2, 0, 0x30, 4, 0xfebe_0001).memory);
    assert_eq!(pci.vga.rom(), Some(0xfebe_0000));
    // Asking for the size while decoding is on must not put 16 MiB over the ROM at the top.
    write(&mut pci, 2, 0, 0x10, 4, u32::MAX);
    assert_eq!(pci.vga.frame_buffer(), None);
}

/// The power-management function at 600h.
fn pm() -> Pci {
    let mut pci = Pci::new(0);
    write(&mut pci, 1, 3, 0x40, 4, 0x601);
    assert!(write(&mut pci, 1, 3, 0x80, 1, 1).ports);
    pci
}

#[test]
fn suspend_type_0_switches_off() {
    let mut pci = pm();
    assert_eq!(pci.pm.port_read(0x5ff, 1, 0), None);
    assert!(pci.pm.port_write(0x604, 2, 0x2400, 0));
    assert!(!pci.pm.take_power_off(), "suspend type 1");
    assert!(pci.pm.port_write(0x604, 2, 0x2000, 0));
    assert!(pci.pm.take_power_off());
    assert!(!pci.pm.take_power_off());
    assert_eq!(pci.pm.port_read(0x604, 2, 0), Some(0), "SUS_EN reads as 0");
}

#[test]
fn the_timer_counts_24_bits_of_3_58_megahertz() {
    let mut pci = pm();
    assert_eq!(pci.pm.port_read(0x608, 4, 1_000_000_000), Some(3_579_545));
    // 2^24 / 3,579,545 Hz = 4.686974 s.
    assert_eq!(pci.pm.port_read(0x608, 4, 4_686_900_000), Some(16_776_969));
    assert_eq!(pci.pm.port_read(0x608, 4, 4_687_000_000), Some(111));
}

#[test]
fn a_change_of_the_timers_top_bit_raises_sci() {
    let mut pci = pm();
    pci.pm.port_write(0x602, 2, 1, 0);
    assert_eq!(pci.pm.next_event(), Tick::MAX, "SCI is off");
    pci.pm.port_write(0xb2, 1, 0xf1, 0);
    assert_eq!(pci.pm.port_read(0x604, 2, 0), Some(1));
    let due = pci.pm.next_event();
    // 2^23 / 3,579,545 Hz.
    assert_eq!(due, 2_343_484_438);
    pci.pm.advance(due - 1);
    assert!(!pci.pm.sci());
    pci.pm.advance(due);
    assert!(pci.pm.sci());
    pci.pm.port_write(0x600, 2, 1, due);
    assert!(!pci.pm.sci());
    assert_eq!(pci.pm.next_event(), 4_686_968_875);
}

#[test]
fn apmc_asserts_smi_when_both_enables_are_set() {
    let mut pci = pm();
    assert_eq!(read(&mut pci, 1, 3, 0x58, 4), 0, "SeaBIOS sets it up then");
    for (apmc_en, smi_en) in [(0, 0), (0, 1), (1 << 25, 0), (1 << 25, 1)] {
        write(&mut pci, 1, 3, 0x58, 4, apmc_en);
        pci.pm.port_write(0x628, 4, smi_en, 0);
        for value in [0x00, 0xb5] {
            pci.pm.port_write(0xb2, 1, value, 0);
            assert_eq!(pci.pm.take_smi(), apmc_en != 0 && smi_en != 0);
            assert!(!pci.pm.take_smi());
            assert_eq!(pci.pm.port_read(0xb2, 1, 0), Some(value));
        }
        pci.pm.port_write(0xb3, 1, 1, 0);
        assert!(!pci.pm.take_smi(), "APMS only holds what is written");
    }
    pci.pm.port_write(0xb2, 1, 0xf1, 0);
    assert!(!pci.pm.take_smi(), "the board switches ACPI on by itself");
}

fn board() -> (Pci, AtaChannel, Memory) {
    let mut channel = AtaChannel::new();
    let image: Vec<u8> = (0..16u8).flat_map(|n| [n; 512]).collect();
    channel.attach(0, AtaDisk::new(Box::new(MemoryDisk::from(image)), "D", "1"));
    let mut mem = Memory::new(0x10000, 0).unwrap();
    mem.map(0, 0x10000, PhysPage::ram);
    let mut pci = Pci::new(0);
    write(&mut pci, 1, 1, 0x20, 4, 0xc000);
    assert_eq!(read(&mut pci, 1, 1, 0x20, 4), 0xc001);
    assert!(write(&mut pci, 1, 1, 0x04, 2, 5).ports);
    (pci, channel, mem)
}

/// Gives READ DMA or WRITE DMA for two sectors from sector 3 on, and starts the bus master.
fn dma(command: u8, direction: u32) -> (Pci, AtaChannel, Memory) {
    use emu_core::bus::PortIoWide;
    let (mut pci, mut channel, mut mem) = board();
    // Regions: 100h bytes at 8000h, 300h bytes at 9000h, the last.
    mem.write_bytes(0x1000, &[0, 0x80, 0, 0, 0, 1, 0, 0, 0, 0x90, 0, 0, 0, 3, 0, 0x80]);
    mem.write_bytes(0x8000, &[0xee; 0x100]);
    mem.write_bytes(0x9000, &[0xdd; 0x400]);
    assert!(pci.ide.port_write(0xc004, 4, 0x1000));
    for (port, value) in (0x1f2..).zip([2, 3, 0, 0, 0xe0, command]) {
        channel.write(port, 1, value.into(), 0);
    }
    assert!(pci.ide.port_write(0xc000, 1, direction | 1));
    pci.ide.service(0, &mut channel, &mut mem, 0);
    assert_eq!(pci.ide.port_read(0xc002, 1), Some(1), "active");
    while channel.next_event() != Tick::MAX {
        let now = channel.next_event();
        channel.advance(now);
        pci.ide.service(0, &mut channel, &mut mem, now);
    }
    (pci, channel, mem)
}

#[test]
fn a_read_by_dma_fills_the_regions_and_latches_the_interrupt() {
    let (mut pci, channel, mem) = dma(0xc8, 8);
    let (mut first, mut second) = ([0; 0x101], [0; 0x301]);
    mem.read_bytes(0x8000, &mut first);
    mem.read_bytes(0x9000, &mut second);
    assert_eq!((first[0], first[0xff], first[0x100]), (3, 3, 0));
    assert_eq!((second[0xff], second[0x100], second[0x2ff], second[0x300]), (3, 4, 4, 0xdd));
    assert!(channel.irq());
    assert_eq!(pci.ide.port_read(0xc002, 1), Some(4), "interrupt, not active");
    pci.ide.port_write(0xc002, 1, 4);
    assert_eq!(pci.ide.port_read(0xc002, 1), Some(0));
}

#[test]
fn a_write_by_dma_reaches_the_disk() {
    use emu_core::bus::PortIoWide;
    let (_, mut channel, _) = dma(0xca, 0);
    assert_eq!(channel.read(0x1f7, 1, 1_000_000), 0x50);
    for (port, value) in (0x1f2..).zip([1, 4, 0, 0, 0xe0, 0x20]) {
        channel.write(port, 1, value, 1_000_000);
    }
    assert_eq!(channel.read(0x1f7, 1, 2_000_000), 0x58);
    assert_eq!(channel.read(0x1f0, 2, 2_000_000), 0xdddd);
}

#[test]
fn random_accesses_do_no_harm_and_repeat() {
    let run = |seed| {
        let (mut pci, mut channel, mut mem) = board();
        let (mut random, mut sum, mut now) = (Random::new(seed), 0u32, 0);
        for _ in 0..10_000 {
            let (size, value) = (random.size(), random.next());
            let result = match random.below(8) {
                0 => pci.port_read(0xcf8 + random.below(8) as u16, size),
                1 => u32::from(pci.port_write(0xcfc + random.below(4) as u16, size, value).memory),
                2 => {
                    pci.port_write(0xcf8, 4, 0x8000_0000 | value & 0x17ff);
                    0
                }
                3 => pci.ide.port_read(random.next() as u16, size).unwrap_or(1),
                4 => u32::from(pci.ide.port_write(0xc000 + random.below(16) as u16, size, value)),
                5 => pci.pm.port_read(random.next() as u16, size, now).unwrap_or(2),
                6 => u32::from(pci.pm.port_write(0xb2 + random.below(2) as u16, size, value, now)),
                _ => u32::from(pci.pm.port_write(random.next() as u16, size, value, now)),
            };
            pci.ide.service(random.below(2) as usize, &mut channel, &mut mem, now);
            sum = sum.rotate_left(1) ^ result ^ u32::from(pci.pm.sci());
            now += Tick::from(random.next());
        }
        (pci, sum)
    };
    for seed in seeds(0..10) {
        assert_eq!(run(seed), run(seed));
    }
}
