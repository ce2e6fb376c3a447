//! A CD-ROM drive as a host sees it. Numbers are the standards', not our constants.

use emu_core::bus::{PortIoWide, Tick};

use super::{AtaChannel, Cdrom};
use crate::block::{BlockBackend, BlockError, BlockRequest, BlockResult, MemoryDisk};
use crate::dma::{DmaDevice, DmaDirection};
use crate::random::{Random, seeds};

const BLOCKS: u32 = 300;

struct Host {
    channel: AtaChannel,
    now: Tick,
}

impl Host {
    fn with(backend: impl BlockBackend + 'static) -> Self {
        let mut channel = AtaChannel::new();
        channel.attach_cdrom(0, Cdrom::new(Box::new(backend), "EMU CD-ROM", "0001"));
        Self { channel, now: 0 }
    }

    /// Every block is filled with the low byte of its number; the drive's unit attention has been taken.
    fn new() -> Self {
        let mut host = Self::with(MemoryDisk::from(disc()));
        assert_eq!(host.packet(&[0], 0).0, 0x51);
        host
    }

    fn inb(&mut self, port: u16) -> u8 {
        self.channel.read(port, 1, self.now) as u8
    }

    fn outb(&mut self, port: u16, value: u8) {
        self.channel.write(port, 1, value.into(), self.now);
    }

    fn settle(&mut self) {
        while self.channel.next_event() != Tick::MAX {
            self.now = self.now.max(self.channel.next_event());
            self.channel.advance(self.now);
        }
    }

    /// Gives PACKET and the twelve bytes.
    fn send(&mut self, packet: &[u8], limit: u16, features: u8) {
        for (port, value) in (0x171..).zip([features, 0, 0, limit as u8, (limit >> 8) as u8, 0xa0, 0xa0]) {
            self.outb(port, value);
        }
        self.settle();
        assert_eq!((self.inb(0x376) & 0x89, self.inb(0x172) & 3), (0x08, 1), "the drive asks for the packet");
        assert!(!self.channel.irq(), "word 0 of IDENTIFY promises no interrupt before the packet");
        let mut bytes = [0; 12];
        bytes[..packet.len()].copy_from_slice(packet);
        for pair in bytes.chunks(2) {
            self.channel.write(0x170, 2, u16::from_le_bytes([pair[0], pair[1]]).into(), self.now);
        }
        self.settle();
    }

    /// A whole command by PIO: the last status, the data, and the sizes of its DRQ blocks.
    fn packet(&mut self, packet: &[u8], limit: u16) -> (u8, Vec<u8>, Vec<u16>) {
        self.send(packet, limit, 0);
        let (mut data, mut sizes) = (Vec::new(), Vec::new());
        loop {
            assert!(self.channel.irq());
            let status = self.inb(0x177);
            let reason = self.inb(0x172) & 3;
            if status & 0x08 == 0 {
                assert_eq!(reason, 3);
                return (status, data, sizes);
            }
            assert_eq!(reason, 2);
            let size = u16::from_le_bytes([self.inb(0x174), self.inb(0x175)]);
            for _ in 0..size.div_ceil(2) {
                data.extend((self.channel.read(0x170, 2, self.now) as u16).to_le_bytes());
            }
            data.truncate(data.len() - usize::from(size % 2));
            sizes.push(size);
            self.settle();
        }
    }

    /// Sense key, code and qualifier.
    fn sense(&mut self) -> [u8; 3] {
        let (_, data, _) = self.packet(&[0x03, 0, 0, 0, 18], 18);
        [data[2], data[12], data[13]]
    }
}

fn disc() -> Vec<u8> {
    (0..BLOCKS).flat_map(|n| [n as u8; 2048]).collect()
}

/// READ(10) of `count` blocks from `lba`.
fn read10(lba: u32, count: u16) -> [u8; 10] {
    let [a, b, c, d] = lba.to_be_bytes();
    let [high, low] = count.to_be_bytes();
    [0x28, 0, a, b, c, d, 0, high, low, 0]
}

#[test]
fn resets_leave_the_signature_of_a_packet_device_and_no_drdy() {
    let mut host = Host::new();
    host.outb(0x376, 0x04);
    host.outb(0x376, 0x00);
    host.settle();
    let registers: Vec<u8> = (0x171..=0x177).map(|port| host.inb(port)).collect();
    assert_eq!(registers, [1, 1, 1, 0x14, 0xeb, 0, 0]);
    host.packet(&[0], 0);
    host.outb(0x177, 0x08);
    let registers: Vec<u8> = (0x171..=0x177).map(|port| host.inb(port)).collect();
    assert_eq!(registers[..5], [1, 1, 1, 0x14, 0xeb], "DEVICE RESET");
    assert_eq!(registers[6], 0);
}

#[test]
fn identify_device_aborts_and_identify_packet_device_answers() {
    let mut host = Host::new();
    host.outb(0x177, 0xec);
    host.settle();
    assert_eq!(host.inb(0x177), 0x51);
    assert_eq!([host.inb(0x171), host.inb(0x174), host.inb(0x175)], [0x04, 0x14, 0xeb]);
    host.outb(0x177, 0xa1);
    host.settle();
    assert!(host.channel.irq());
    assert_eq!(host.inb(0x177), 0x58);
    let words: Vec<u16> = (0..256).map(|_| host.channel.read(0x170, 2, host.now) as u16).collect();
    assert_eq!(words[0], 0x85c0);
    assert_eq!(
        words[27..32],
        *b"EMU CD-ROM".as_chunks::<2>().0.iter().map(|&c| u16::from_be_bytes(c)).collect::<Vec<_>>()
    );
    assert_eq!(words.iter().flat_map(|word| word.to_le_bytes()).fold(0u8, u8::wrapping_add), 0);
    assert_eq!(host.inb(0x177), 0x50);
    assert!(!host.channel.irq(), "no interrupt follows the last block");
}

#[test]
fn the_first_command_after_power_on_is_told_of_it_but_not_inquiry() {
    let mut host = Host::with(MemoryDisk::from(disc()));
    let (status, data, _) = host.packet(&[0x12, 0, 0, 0, 36], 36);
    assert_eq!(status, 0x50);
    assert_eq!(data[..5], [5, 0x80, 0, 0x21, 31]);
    assert_eq!(&data[8..], b"EMU     CD-ROM          1.0 ");
    assert_eq!(host.packet(&[0], 0).0, 0x51);
    assert_eq!(host.inb(0x171), 0x64, "sense key and ABRT");
    assert_eq!(host.sense(), [6, 0x29, 0]);
    assert_eq!(host.packet(&[0], 0).0, 0x50);
    assert_eq!(host.sense(), [0, 0, 0]);
}

#[test]
fn reads_come_in_blocks_as_large_as_the_host_allows() {
    let mut host = Host::new();
    let (status, data, sizes) = host.packet(&read10(40, 3), 2048);
    assert_eq!((status, data.len(), sizes), (0x50, 6144, vec![2048; 3]));
    assert_eq!([data[0], data[2048], data[6143]], [40, 41, 42]);
    let (_, data, sizes) = host.packet(&read10(7, 1), 801);
    assert_eq!((data.len(), sizes), (2048, vec![800, 800, 448]));
    let (_, data, sizes) = host.packet(&read10(0, 300), 0xffff);
    assert_eq!((data.len(), sizes[0]), (300 * 2048, 0xfffe));
    assert!(data.chunks(2048).zip(0..BLOCKS).all(|(block, n)| block == [n as u8; 2048]));
    let (status, data, _) = host.packet(&[0xa8, 0, 0, 0, 0, 9, 0, 0, 0, 1], 2048);
    assert_eq!((status, data), (0x50, vec![9; 2048]), "READ(12)");
}

#[test]
fn reads_go_by_dma_when_the_host_says_so() {
    let mut host = Host::new();
    host.send(&read10(100, 40), 0, 1);
    let mut data: Vec<u8> = Vec::new();
    while host.channel.dma_request() == Some(DmaDirection::ToMemory) {
        let mut part = [0; 4096];
        let taken = host.channel.dma_take(&mut part, host.now);
        data.extend(&part[..taken]);
        host.settle();
    }
    assert_eq!(data.len(), 40 * 2048);
    assert_eq!([data[0], data[39 * 2048]], [100, 139]);
    assert!(host.channel.irq());
    assert_eq!((host.inb(0x177), host.inb(0x172) & 3), (0x50, 3));
}

#[test]
fn a_read_past_the_end_is_refused_whole() {
    let mut host = Host::new();
    for packet in [read10(299, 2), read10(300, 1), read10(u32::MAX, 1), read10(0, 301)] {
        let (status, data, _) = host.packet(&packet, 2048);
        assert_eq!((status, data.len()), (0x51, 0));
        assert_eq!(host.inb(0x171), 0x54);
        assert_eq!(host.sense(), [5, 0x21, 0]);
    }
    assert_eq!(host.packet(&read10(299, 1), 2048).0, 0x50);
    assert_eq!(host.packet(&read10(300, 0), 2048).0, 0x50, "nothing is always there");
}

#[test]
fn data_without_a_byte_count_are_aborted() {
    let mut host = Host::new();
    host.send(&read10(0, 1), 0, 0);
    assert_eq!((host.inb(0x177), host.inb(0x171)), (0x51, 0x04));
}

#[test]
fn what_is_unknown_is_an_illegal_request() {
    let mut host = Host::new();
    for (packet, sense) in [
        (&[0x0a][..], [5, 0x20, 0]),
        (&[0x12, 1, 0x80, 0, 36], [5, 0x24, 0]),
        (&[0x5a, 0, 0xc0 | 0x2a, 0, 0, 0, 0, 0, 64], [5, 0x39, 0]),
        (&[0x5a, 0, 0x05, 0, 0, 0, 0, 0, 64], [5, 0x24, 0]),
        (&[0x43, 0, 0, 0, 0, 0, 9, 0, 64], [5, 0x24, 0]),
        (&[0xbe, 0, 0, 0, 0, 0, 0, 0, 1, 0xf8], [5, 0x24, 0]),
    ] {
        assert_eq!(host.packet(packet, 2048).0, 0x51, "{packet:x?}");
        assert_eq!(host.sense(), sense, "{packet:x?}");
    }
}

#[test]
fn the_disc_is_described() {
    let mut host = Host::new();
    assert_eq!(host.packet(&[0x25], 8).1, [0, 0, 1, 43, 0, 0, 8, 0]);
    let toc = host.packet(&[0x43, 0, 0, 0, 0, 0, 0, 0, 20], 20).1;
    assert_eq!(toc, [0, 18, 1, 1, 0, 0x14, 1, 0, 0, 0, 0, 0, 0, 0x14, 0xaa, 0, 0, 0, 1, 44]);
    // 300 + 150 blocks are six seconds.
    let toc = host.packet(&[0x43, 2, 0, 0, 0, 0, 0xaa, 0, 20], 20).1;
    assert_eq!(toc, [0, 10, 1, 1, 0, 0x14, 0xaa, 0, 0, 0, 6, 0]);
    assert_eq!(host.packet(&[0x43, 0, 1, 0, 0, 0, 0, 0, 20], 20).1.len(), 12, "session information");
    let configuration = host.packet(&[0x46, 0, 0, 0, 0, 0, 0, 0, 255], 255).1;
    assert_eq!(configuration[6..8], [0, 8], "the profile is CD-ROM");
    assert_eq!(usize::from(configuration[3]) + 4, configuration.len());
    assert_eq!(host.packet(&[0x51, 0, 0, 0, 0, 0, 0, 0, 34], 34).1[..5], [0, 32, 14, 1, 1]);
    let mode = host.packet(&[0x5a, 0, 0x2a, 0, 0, 0, 0, 0, 64], 64).1;
    assert_eq!((mode.len(), mode[1], mode[8], mode[9]), (28, 26, 0x2a, 18));
    assert_eq!(host.packet(&[0xbd, 0, 0, 0, 0, 0, 0, 0, 0, 8], 8).1, [0; 8]);
}

#[test]
fn answers_end_where_the_host_wants_them_to() {
    let mut host = Host::new();
    assert_eq!(host.packet(&[0x12, 0, 0, 0, 5], 36).1.len(), 5);
    assert_eq!(host.packet(&[0x03, 0, 0, 0, 0], 36), (0x50, vec![], vec![]));
}

#[test]
fn the_tray_opens_unless_it_is_locked_and_brings_the_disc_back() {
    let mut host = Host::new();
    host.packet(&[0x1e, 0, 0, 0, 1], 0);
    assert_eq!(host.packet(&[0x1b, 0, 0, 0, 2], 0).0, 0x51);
    assert_eq!(host.sense(), [5, 0x53, 2]);
    host.packet(&[0x1e, 0, 0, 0, 0], 0);
    assert_eq!(host.packet(&[0x1b, 0, 0, 0, 2], 0).0, 0x50);
    assert_eq!(host.packet(&read10(0, 1), 2048).0, 0x51);
    assert_eq!(host.sense(), [2, 0x3a, 2]);
    let event = [0x4a, 1, 0, 0, 0x10, 0, 0, 0, 8];
    assert_eq!(host.packet(&event, 8).1, [0, 6, 4, 0x10, 3, 1, 0, 0]);
    host.packet(&[0x1b, 0, 0, 0, 3], 0);
    assert_eq!(host.packet(&[0], 0).0, 0x51);
    assert_eq!(host.sense(), [6, 0x28, 0]);
    assert_eq!(host.packet(&event, 8).1, [0, 6, 4, 0x10, 2, 2, 0, 0]);
    assert_eq!(host.packet(&event, 8).1, [0, 6, 4, 0x10, 0, 2, 0, 0]);
    assert_eq!(host.packet(&read10(0, 1), 2048).0, 0x50);
}

/// A disc with a scratch at one sector of block 50.
#[derive(Debug)]
struct Scratched {
    disc: MemoryDisk,
    failed: Vec<u64>,
}

impl BlockBackend for Scratched {
    fn sectors(&self) -> u64 {
        self.disc.sectors()
    }
    fn submit(&mut self, id: u64, request: BlockRequest) {
        match request {
            BlockRequest::Read { lba, count } if (lba..lba + u64::from(count)).contains(&202) => {
                self.failed.push(id);
            }
            _ => self.disc.submit(id, request),
        }
    }
    fn wait(&mut self, id: u64) -> BlockResult {
        if self.failed.contains(&id) { Err(BlockError::Host) } else { self.disc.wait(id) }
    }
    fn try_wait(&mut self, id: u64) -> Option<BlockResult> {
        Some(self.wait(id))
    }
}

#[test]
fn a_block_that_cannot_be_read_is_a_medium_error_after_the_good_ones() {
    let mut host = Host::with(Scratched { disc: MemoryDisk::from(disc()), failed: Vec::new() });
    host.packet(&[0], 0);
    let (status, data, _) = host.packet(&read10(48, 10), 2048);
    assert_eq!((status, data.len(), data[2048]), (0x51, 4096, 49));
    assert_eq!(host.inb(0x171), 0x34);
    let (_, sense, _) = host.packet(&[0x03, 0, 0, 0, 18], 18);
    assert_eq!(sense[..8], [0xf0, 0, 3, 0, 0, 0, 50, 10], "with the number of the block");
    assert_eq!(sense[12..14], [0x11, 0]);
    assert_eq!(host.packet(&read10(51, 1), 2048).0, 0x50, "the next command is a new one");
}

#[test]
fn a_last_block_cut_short_is_not_there() {
    let mut host = Host::with(MemoryDisk::from(vec![0; 3 * 2048 + 1024]));
    host.packet(&[0], 0);
    assert_eq!(host.packet(&[0x25], 8).1[..4], [0, 0, 0, 2]);
    assert_eq!(host.packet(&read10(3, 1), 2048).0, 0x51);
}

#[test]
fn random_accesses_do_no_harm_and_repeat() {
    let run = |seed: u64| {
        let mut host = Host::new();
        let mut random = Random::new(seed);
        for _ in 0..20_000 {
            let port = 0x170 + random.below(8) as u16;
            match random.below(10) {
                0 => {
                    host.outb(0x177, 0xa0);
                    host.settle();
                    let operations = [0x03, 0x12, 0x28, 0x43, 0x46, 0x4a, 0x51, 0x5a, 0xa8, 0xbd, 0xbe];
                    let operation = operations[random.below(operations.len() as u32) as usize];
                    host.channel.write(0x170, 2, operation | random.next() << 8, host.now);
                    for _ in 0..5 {
                        let value = if random.below(2) == 0 { 0 } else { random.next() };
                        host.channel.write(0x170, 2, value, host.now);
                    }
                    host.settle();
                }
                1 => {
                    let mut part = [0; 512];
                    host.channel.dma_take(&mut part, host.now);
                }
                2 => host.outb(0x376, random.next() as u8),
                3..6 => host.outb(port, random.next() as u8),
                6 => host.channel.write(0x170, random.size(), random.next(), host.now),
                _ => {
                    host.channel.read(port, random.size(), host.now);
                }
            }
            host.now += u64::from(random.below(50_000));
            host.channel.advance(host.now);
            assert!(host.channel.next_event() > host.now, "an event stays due");
        }
        format!("{:?}", host.channel)
    };
    for seed in seeds(1..4) {
        let state = run(seed);
        assert!(state.len() < 4_000_000, "it grows: {}", state.len());
        assert_eq!(state, run(seed));
    }
}
