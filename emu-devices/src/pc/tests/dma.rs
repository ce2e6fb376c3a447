//! Bus-master DMA on both channels, from the guest's ports to its interrupt.

use emu_core::bus::Bus;

use super::{Machine, bios};
use crate::block::{BlockBackend, MemoryDisk};
use crate::pc::PcConfig;

/// Where the bus-master registers are put.
const BUS_MASTER: u16 = 0xc000;
/// Physical Region Descriptor Table; where sectors go.
const TABLE: u64 = 0x1000;
const BUFFER: u64 = 0x8000;
const READ_DMA: u8 = 0xc8;
const WRITE_DMA: u8 = 0xca;
const BSY: u8 = 1 << 7;

/// Four disks of 16 sectors, each sector filled with 16 times the disk's number, and its own.
fn machine() -> Machine {
    let disk = |number: u8| -> Option<Box<dyn BlockBackend>> {
        let image: Vec<u8> = (0..16).flat_map(|sector| [number << 4 | sector; 512]).collect();
        Some(Box::new(MemoryDisk::from(image)))
    };
    let disks = std::array::from_fn(|number| disk(number as u8));
    let mut m = Machine::new(PcConfig { ram_size: 16 << 20, bios: bios(), disks, ..PcConfig::default() });
    // The IDE function is function 1 of device 1.
    m.pci(0x09, 0x20, BUS_MASTER.into());
    m.pci(0x09, 0x04, 5);
    m.set_pics(1 << 14 | 1 << 15);
    // Commands count only when the drives have come out of their reset.
    while m.input(0x1f7) & BSY != 0 || m.input(0x177) & BSY != 0 {
        m.step();
    }
    m
}

/// Moves one sector between a disk and the buffer, and checks all that the guest sees of it.
fn transfer(m: &mut Machine, channel: u16, device: u8, command: u8, sector: u8) {
    let (block, master) = (0x1f0 - channel * 0x80, BUS_MASTER + channel * 8);
    m.mem.write_bytes(TABLE, &[0, 0x80, 0, 0, 0, 2, 0, 0x80]);
    m.on(0, |pc, at| pc.port_write(at, master + 4, 4, TABLE as u32));
    let into_memory = if command == READ_DMA { 8 } else { 0 };
    m.output(master, into_memory);
    for (port, value) in (block + 2..).zip([1, sector, 0, 0, 0xe0 | device << 4, command]) {
        m.output(port, value);
    }
    m.output(master, into_memory | 1);
    assert_eq!(m.input(master + 2), 1, "active");
    while !m.pc.intr(0) {
        m.step();
    }
    assert_eq!(m.acknowledge(0), 0x76 + channel as u8);
    assert_eq!(m.input(master + 2), 4, "interrupt, not active");
    assert_eq!(m.input(block + 7), 0x50, "DRDY and DSC, no error");
    assert_eq!(m.input(BUS_MASTER + (1 - channel) * 8 + 2), 0, "nothing of the other channel");
    m.output(master, 0);
    m.output(master + 2, 4);
    assert_eq!(m.input(master + 2), 0);
    m.output(0xa0, 0x20);
    m.output(0x20, 0x20);
}

#[test]
fn both_devices_of_both_channels_read_and_write_by_dma() {
    let mut m = machine();
    for (channel, device) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
        let first = (channel as u8 * 2 + device) << 4;
        let sectors = |m: &Machine| [m.byte(BUFFER), m.byte(BUFFER + 0x1ff)];
        transfer(&mut m, channel, device, READ_DMA, 3);
        assert_eq!(sectors(&m), [first | 3; 2]);
        transfer(&mut m, channel, device, WRITE_DMA, 7);
        transfer(&mut m, channel, device, READ_DMA, 8);
        assert_eq!(sectors(&m), [first | 8; 2]);
        transfer(&mut m, channel, device, READ_DMA, 7);
        assert_eq!(sectors(&m), [first | 3; 2], "what was written");
    }
}
