//! The controller as a host sees it, with its DMA channel. Numbers are the sheet's, not our constants.

use emu_core::bus::{PortIo, Tick};

use super::Floppy;
use crate::block::{BlockBackend, BlockError, BlockRequest, BlockResult, MemoryDisk};
use crate::dma::{DmaDirection, IsaDmaDevice};
use crate::random::{Random, seeds};

struct Host {
    floppy: Floppy,
    now: Tick,
}

/// A result: ST0, ST1, ST2, C, H, R, N.
type Seven = [u8; 7];

impl Host {
    /// A 1.44 MB diskette whose sectors are filled with the low byte of their number, motor on, 500 kbit/s.
    fn new() -> Self {
        let image: Vec<u8> = (0..2880u32).flat_map(|n| [n as u8; 512]).collect();
        let mut host = Self { floppy: Floppy::new(), now: 0 };
        assert!(host.floppy.attach(0, Box::new(MemoryDisk::from(image))));
        host.out(0x3f2, 0x1c);
        host.settle();
        for drive in 0..4 {
            assert_eq!(host.command(&[0x08], 2), [0xc0 | drive, 0], "each drive's ready line has changed");
        }
        host.out(0x3f7, 0);
        host.command(&[0x03, 0xdf, 0x02], 0);
        host
    }

    fn out(&mut self, port: u16, value: u8) {
        self.floppy.write8(port, value, self.now);
    }

    fn read(&mut self, port: u16) -> u8 {
        self.floppy.read8(port, self.now)
    }

    fn settle(&mut self) {
        while self.floppy.next_event() != Tick::MAX {
            self.now = self.now.max(self.floppy.next_event());
            self.floppy.advance(self.now);
        }
    }

    fn command(&mut self, bytes: &[u8], results: usize) -> Vec<u8> {
        for &byte in bytes {
            assert_eq!(self.read(0x3f4) & 0xc0, 0x80, "it takes a byte");
            self.out(0x3f5, byte);
        }
        self.settle();
        self.results(results)
    }

    fn results(&mut self, count: usize) -> Vec<u8> {
        let results = (0..count).map(|_| {
            assert_eq!(self.read(0x3f4) & 0xd0, 0xd0, "it gives a byte");
            self.read(0x3f5)
        });
        let results = results.collect();
        assert_eq!(self.read(0x3f4) & 0xd0, 0x80, "and no more");
        results
    }

    /// A command that gives `bytes` at most by DMA.
    fn read_by_dma(&mut self, command: &[u8], bytes: usize) -> (Vec<u8>, Seven) {
        command.iter().for_each(|&byte| self.out(0x3f5, byte));
        let mut data = Vec::new();
        self.settle();
        while self.floppy.dma_request() == Some(DmaDirection::ToMemory) && data.len() < bytes {
            let mut byte = [0];
            assert_eq!(self.floppy.dma_take(&mut byte, self.now), 1);
            data.push(byte[0]);
            if data.len() == bytes {
                self.floppy.terminal_count(self.now);
            }
            self.settle();
        }
        (data, self.results(7).try_into().unwrap())
    }

    fn write_by_dma(&mut self, command: &[u8], data: &[u8]) -> Seven {
        command.iter().for_each(|&byte| self.out(0x3f5, byte));
        self.settle();
        for (number, byte) in data.iter().enumerate() {
            if self.floppy.dma_request() != Some(DmaDirection::FromMemory) {
                break;
            }
            self.floppy.dma_give(&[*byte], self.now);
            if number + 1 == data.len() {
                self.floppy.terminal_count(self.now);
            }
            self.settle();
        }
        self.results(7).try_into().unwrap()
    }
}

/// READ DATA (MT, MFM, skip) of cylinder, head, sector.
fn read_data(c: u8, h: u8, r: u8) -> [u8; 9] {
    [0xe6, h << 2, c, h, r, 2, 18, 0x1b, 0xff]
}

#[test]
fn sectors_come_by_dma_until_the_terminal_count() {
    let mut host = Host::new();
    let (data, result) = host.read_by_dma(&read_data(0, 0, 5), 1024);
    assert_eq!((data[0], data[511], data[512], data.len()), (4, 4, 5, 1024));
    assert_eq!(result, [0, 0, 0, 0, 0, 7, 2]);
    let (data, result) = host.read_by_dma(&read_data(0, 0, 1), 700);
    assert_eq!((data.len(), result), (700, [0, 0, 0, 0, 0, 3, 2]), "the rest of a sector is dropped");
}

#[test]
fn a_transfer_of_both_heads_ends_with_the_cylinder() {
    let mut host = Host::new();
    let (data, result) = host.read_by_dma(&read_data(0, 0, 18), 1024);
    assert_eq!((data[0], data[512]), (17, 18));
    assert_eq!(result[..6], [4, 0, 0, 0, 1, 2], "it went on at head 1");
    let (data, result) = host.read_by_dma(&read_data(0, 1, 18), 512);
    assert_eq!((data[0], result), (35, [0, 0, 0, 1, 0, 1, 2]));
    let (data, result) = host.read_by_dma(&read_data(0, 1, 18), 1024);
    assert_eq!((data.len(), result[0] & 0xc0, result[1]), (512, 0x40, 0x80), "end of cylinder");
}

#[test]
fn a_reset_interrupts_once_for_all_drives() {
    let mut host = Host::new();
    host.out(0x3f2, 0x18);
    host.out(0x3f2, 0x1c);
    host.settle();
    assert!(host.floppy.irq());
    for drive in 0..4 {
        assert_eq!(host.command(&[0x08], 2)[0], 0xc0 | drive);
        assert!(!host.floppy.irq(), "after drive {drive}");
    }
}

#[test]
fn seeks_end_with_an_interrupt_that_sense_interrupt_explains() {
    let mut host = Host::new();
    assert_eq!(host.read(0x3f7) & 0x80, 0x80, "the diskette was put in");
    host.command(&[0x0f, 0, 40], 0);
    assert!(host.floppy.irq());
    assert_eq!(host.command(&[0x08], 2), [0x20, 40]);
    assert!(!host.floppy.irq());
    assert_eq!(host.read(0x3f7) & 0x80, 0, "a step took the change line back");
    assert_eq!(host.read_by_dma(&read_data(40, 1, 3), 512).0[0], (40 * 36 + 18 + 2) as u8);
    assert_eq!(host.read_by_dma(&read_data(41, 0, 1), 512).1[..3], [0x40, 0x04, 0x10], "another cylinder");
    host.command(&[0x07, 0], 0);
    assert_eq!(host.command(&[0x08], 2), [0x20, 0]);
    assert_eq!(host.command(&[0x08], 1), [0x80], "nothing more to tell");
}

#[test]
fn what_is_written_is_read_back() {
    let mut host = Host::new();
    let data: Vec<u8> = (0..1024u32).map(|n| (n * 7 / 3) as u8).collect();
    assert_eq!(host.write_by_dma(&[0xc5, 4, 0, 1, 9, 2, 18, 0x1b, 0xff], &data), [4, 0, 0, 0, 1, 11, 2]);
    assert_eq!(host.read_by_dma(&read_data(0, 1, 9), 1024).0, data);
    assert_eq!(host.read_by_dma(&read_data(0, 1, 11), 1).0, [28], "and nothing else");
}

/// A backend that does nothing but refuse.
#[derive(Debug)]
struct Refusing(BlockError, Vec<u64>);

impl BlockBackend for Refusing {
    fn sectors(&self) -> u64 {
        2880
    }
    fn submit(&mut self, id: u64, _request: BlockRequest) {
        self.1.push(id);
    }
    fn wait(&mut self, id: u64) -> BlockResult {
        assert!(self.1.contains(&id));
        Err(self.0)
    }
    fn try_wait(&mut self, id: u64) -> Option<BlockResult> {
        Some(self.wait(id))
    }
}

#[test]
fn what_the_host_refuses_is_a_data_error_or_a_write_protected_diskette() {
    for (error, st1, st2) in [(BlockError::Host, 0x20, 0x20), (BlockError::ReadOnly, 0x02, 0)] {
        let mut host = Host::new();
        assert!(host.floppy.attach(0, Box::new(Refusing(error, Vec::new()))));
        let result = host.write_by_dma(&[0xc5, 0, 0, 0, 9, 2, 18, 0x1b, 0xff], &[1; 512]);
        assert_eq!(result, [0x40, st1, st2, 0, 0, 9, 2]);
        assert_eq!(host.read_by_dma(&read_data(0, 0, 3), 512).1, [0x40, 0x20, 0x20, 0, 0, 3, 2]);
    }
}

#[test]
fn formatting_fills_sectors() {
    let mut host = Host::new();
    let ids: Vec<u8> = (1..=18).flat_map(|sector| [0, 1, sector, 2]).collect();
    assert_eq!(host.write_by_dma(&[0x4d, 4, 2, 18, 0x6c, 0xf6], &ids)[..3], [4, 0, 0]);
    let (data, _) = host.read_by_dma(&read_data(0, 1, 1), 18 * 512);
    assert_eq!((data.len(), data.iter().all(|byte| *byte == 0xf6)), (18 * 512, true));
    assert_eq!(host.read_by_dma(&read_data(0, 0, 18), 1).0, [17]);
}

#[test]
fn without_dma_the_host_takes_each_byte() {
    let mut host = Host::new();
    host.command(&[0x03, 0xdf, 0x03], 0);
    read_data(0, 0, 18).iter().for_each(|&byte| host.out(0x3f5, byte));
    host.settle();
    for _ in 0..512 {
        assert_eq!(host.read(0x3f4), 0xf0);
        assert!(host.floppy.irq());
        assert_eq!(host.read(0x3f5), 17);
    }
    host.settle();
    assert_eq!(host.read(0x3f4), 0xf0, "head 1 follows");
    for _ in 0..18 * 512 {
        host.read(0x3f5);
        host.settle();
    }
    assert_eq!(host.results(7)[..2], [0x40, 0x80], "no terminal count: end of cylinder");
}

#[test]
fn a_wrong_rate_or_a_motor_that_stands_still_finds_no_mark() {
    let mut host = Host::new();
    host.out(0x3f7, 2);
    assert_eq!(host.command(&[0x4a, 0], 7)[..2], [0x40, 0x01]);
    host.out(0x3f7, 0);
    assert_eq!(host.command(&[0x4a, 0], 7), [0, 0, 0, 0, 0, 1, 2]);
    host.out(0x3f2, 0x0c);
    assert_eq!(host.command(&[0x4a, 0], 7)[..2], [0x40, 0x01]);
    assert_eq!(host.command(&[0x4a, 1], 7)[..2], [0x41, 0x01], "no second drive");
    assert_eq!(host.read_by_dma(&read_data(0, 0, 19), 512).1[1], 1);
    host.out(0x3f2, 0x1c);
    assert_eq!(host.read_by_dma(&read_data(0, 0, 19), 512).1[1], 4, "no such sector");
}

#[test]
fn the_controller_describes_itself() {
    let mut host = Host::new();
    assert_eq!(host.command(&[0x10], 1), [0x90]);
    assert_eq!(host.command(&[0x94], 1), [0x10]);
    host.command(&[0x13, 0, 0x57, 1], 0);
    let registers = host.command(&[0x0e], 10);
    assert_eq!(registers[4..10], [0xdf, 0x02, 0, 0x80, 0x57, 1]);
    assert_eq!(host.command(&[0x04, 0], 1), [0x38]);
    assert_eq!(host.command(&[0x1f], 1), [0x80]);
    host.out(0x3f4, 0x80);
    assert_eq!(host.read(0x3f4) & 0x80, 0x80, "CONFIGURE survived: no polling after the reset");
    assert!(!host.floppy.irq());
}

#[test]
fn the_gate_holds_interrupt_and_dma_back() {
    let mut host = Host::new();
    host.out(0x3f2, 0x14);
    read_data(0, 0, 1).iter().for_each(|&byte| host.out(0x3f5, byte));
    host.settle();
    assert_eq!(host.floppy.dma_request(), None);
    host.out(0x3f2, 0x1c);
    assert_eq!(host.floppy.dma_request(), Some(DmaDirection::ToMemory));
}

#[test]
fn random_accesses_do_no_harm_and_repeat() {
    let run = |seed: u64| {
        let mut host = Host::new();
        let mut random = Random::new(seed);
        for _ in 0..20_000 {
            match random.below(8) {
                0..4 => host.out(0x3f5, random.next() as u8 & if random.below(2) == 0 { 0x1f } else { 0xff }),
                4 => host.out(0x3f0 + random.below(8) as u16, random.next() as u8 | 0x0c),
                5 => drop(host.floppy.dma_take(&mut [0], host.now)),
                6 => drop(host.floppy.dma_give(&[random.next() as u8], host.now)),
                _ => drop(host.read(0x3f0 + random.below(8) as u16)),
            }
            if random.below(50) == 0 {
                host.floppy.terminal_count(host.now);
            }
            host.now += u64::from(random.below(30_000));
            host.floppy.advance(host.now);
            assert!(host.floppy.next_event() > host.now, "an event stays due");
        }
        format!("{:?}", host.floppy)
    };
    for seed in seeds(1..4) {
        let state = run(seed);
        assert!(state.len() < 12_000_000, "it grows: {}", state.len());
        assert_eq!(state, run(seed));
    }
}
