//! The register protocol as a host sees it. Numbers are the standard's, not our constants.

use emu_core::bus::{PortIoWide, Tick};

use super::{AtaChannel, AtaDisk};
use crate::block::{BlockBackend, BlockError, BlockRequest, BlockResult, MemoryDisk};
use crate::dma::{DmaDevice, DmaDirection};
use crate::random::{Random, seeds};

const SECTORS: u64 = 4096;

/// A host with its clock, on the primary channel.
struct Host {
    channel: AtaChannel,
    now: Tick,
}

impl Host {
    fn with(backend: impl BlockBackend + 'static) -> Self {
        let mut channel = AtaChannel::new();
        channel.attach(0, AtaDisk::new(Box::new(backend), "EMU DISK", "0001"));
        Self { channel, now: 0 }
    }

    /// Every sector is filled with the low byte of its number.
    fn new() -> Self {
        Self::with(MemoryDisk::from((0..SECTORS).flat_map(|n| [n as u8; 512]).collect::<Vec<u8>>()))
    }

    fn inb(&mut self, port: u16) -> u8 {
        self.channel.read(port, 1, self.now) as u8
    }

    fn outb(&mut self, port: u16, value: u8) {
        self.channel.write(port, 1, value.into(), self.now);
    }

    /// Writes Features to Command.
    fn command(&mut self, registers: [u8; 7]) {
        for (port, value) in (0x1f1..).zip(registers) {
            self.outb(port, value);
        }
    }

    /// Lets time pass until the channel has nothing to do by itself.
    fn settle(&mut self) {
        while self.channel.next_event() != Tick::MAX {
            self.now = self.now.max(self.channel.next_event());
            self.channel.advance(self.now);
        }
    }

    fn run(&mut self, registers: [u8; 7]) -> u8 {
        self.command(registers);
        self.settle();
        self.inb(0x1f7)
    }

    fn read_sector(&mut self) -> Vec<u16> {
        (0..256).map(|_| self.channel.read(0x1f0, 2, self.now) as u16).collect()
    }

    fn write_sector(&mut self, byte: u8) {
        for _ in 0..128 {
            self.channel.write(0x1f0, 4, u32::from_le_bytes([byte; 4]), self.now);
        }
    }
}

#[test]
fn a_reset_leaves_the_signature_of_an_ata_device() {
    let mut host = Host::new();
    host.outb(0x3f6, 0x04);
    assert_eq!(host.inb(0x3f6) & 0x80, 0x80);
    host.outb(0x3f6, 0x00);
    assert_eq!(host.inb(0x3f6) & 0x80, 0x80);
    host.settle();
    let registers: Vec<u8> = (0x1f1..=0x1f7).map(|port| host.inb(port)).collect();
    assert_eq!(registers, [1, 1, 1, 0, 0, 0, 0x50]);
    assert!(!host.channel.irq());
}

#[test]
fn a_command_is_busy_for_a_while_and_then_interrupts_until_status_is_read() {
    let mut host = Host::new();
    host.command([0, 1, 5, 0, 0, 0xe0, 0x20]);
    assert_eq!(host.inb(0x1f7) & 0x80, 0x80);
    assert!(!host.channel.irq());
    host.settle();
    assert!(host.channel.irq());
    assert_eq!(host.inb(0x3f6), 0x58);
    assert!(host.channel.irq(), "the alternate status does not clear it");
    assert_eq!(host.inb(0x1f7), 0x58);
    assert!(!host.channel.irq());
    assert_eq!(host.read_sector(), [0x0505; 256]);
    assert_eq!(host.inb(0x1f7), 0x50);
    assert!(!host.channel.irq(), "no interrupt follows the last block of a read");
}

/// xv6 sends the data of a write right behind the command.
#[test]
fn a_write_takes_its_first_block_at_once() {
    let mut host = Host::new();
    host.command([0, 1, 7, 0, 0, 0xe0, 0x30]);
    assert_eq!(host.inb(0x3f6), 0x58);
    host.write_sector(0x77);
    host.settle();
    assert!(host.channel.irq());
    host.run([0, 1, 7, 0, 0, 0xe0, 0x20]);
    assert_eq!(host.read_sector(), [0x7777; 256]);
}

#[test]
fn time_passes_for_a_host_that_only_polls() {
    let mut host = Host::new();
    host.command([0, 1, 5, 0, 0, 0xe0, 0x20]);
    host.now += 1_000_000;
    assert_eq!(host.inb(0x1f7), 0x58);
}

#[test]
fn nien_holds_the_interrupt_back() {
    let mut host = Host::new();
    host.outb(0x3f6, 0x02);
    host.command([0, 1, 5, 0, 0, 0xe0, 0x20]);
    host.settle();
    assert!(!host.channel.irq());
    host.outb(0x3f6, 0x00);
    assert!(host.channel.irq());
}

#[test]
fn several_sectors_come_with_an_interrupt_each() {
    let mut host = Host::new();
    host.command([0, 3, 0xff, 0x01, 0, 0xe0, 0x20]);
    for sector in 0x1ffu16..0x202 {
        host.settle();
        assert!(host.channel.irq());
        assert_eq!(host.inb(0x1f7), 0x58);
        assert_eq!(host.read_sector()[255], (sector & 0xff) * 0x101);
    }
    host.settle();
    assert_eq!(host.inb(0x1f7), 0x50);
    // The registers name the last sector.
    assert_eq!([0x1f2, 0x1f3, 0x1f4].map(|port| host.inb(port)), [0, 0x01, 0x02]);
}

#[test]
fn read_multiple_moves_blocks_and_a_shorter_last_one() {
    let mut host = Host::new();
    assert_eq!(host.run([0, 1, 0, 0, 0, 0xe0, 0xc4]), 0x51, "disabled until SET MULTIPLE MODE");
    assert_eq!(host.run([0, 4, 0, 0, 0, 0xe0, 0xc6]), 0x50);
    host.command([0, 6, 0, 0, 0, 0xe0, 0xc4]);
    for sectors in [4, 2] {
        host.settle();
        assert!(host.channel.irq());
        assert_eq!(host.inb(0x1f7), 0x58);
        for _ in 0..sectors {
            host.read_sector();
        }
    }
    host.settle();
    assert_eq!(host.inb(0x1f7), 0x50);
    assert_eq!(host.run([0, 3, 0, 0, 0, 0xe0, 0xc6]), 0x51, "3 is no power of two");
}

#[test]
fn written_sectors_are_read_back_and_the_first_block_comes_without_interrupt() {
    let mut host = Host::new();
    host.command([0, 2, 9, 0, 0, 0xe0, 0x30]);
    host.settle();
    assert!(!host.channel.irq());
    assert_eq!(host.inb(0x1f7), 0x58);
    host.write_sector(0xa1);
    assert_eq!(host.inb(0x3f6) & 0x80, 0x80);
    host.settle();
    assert!(host.channel.irq());
    assert_eq!(host.inb(0x1f7), 0x58);
    host.write_sector(0xa2);
    host.settle();
    assert!(host.channel.irq());
    assert_eq!(host.inb(0x1f7), 0x50);
    host.command([0, 2, 9, 0, 0, 0xe0, 0x20]);
    host.settle();
    assert_eq!(host.read_sector(), [0xa1a1; 256]);
    host.settle();
    assert_eq!(host.read_sector(), [0xa2a2; 256]);
}

#[test]
fn the_48_bit_form_takes_previous_register_contents_and_hob_shows_them() {
    let mut host = Host::new();
    // Count 0001h, LBA 000000000203h.
    for (port, before, now) in [(0x1f2, 0, 1), (0x1f3, 0, 3), (0x1f4, 0, 2), (0x1f5, 0, 0)] {
        host.outb(port, before);
        host.outb(port, now);
    }
    host.outb(0x1f6, 0x40);
    host.outb(0x1f7, 0x24);
    host.settle();
    assert_eq!(host.read_sector(), [0x0303; 256]);
    // READ NATIVE MAX ADDRESS EXT: 4095 = 000000000FFFh.
    assert_eq!(host.run([0, 0, 0xee, 0xee, 0xee, 0x40, 0x27]), 0x50);
    assert_eq!([0x1f3, 0x1f4, 0x1f5].map(|port| host.inb(port)), [0xff, 0x0f, 0]);
    host.outb(0x3f6, 0x80);
    assert_eq!([0x1f3, 0x1f4, 0x1f5].map(|port| host.inb(port)), [0, 0, 0]);
    host.outb(0x1f1, 0);
    assert_eq!(host.inb(0x1f3), 0xff, "a write to the command block clears HOB");
}

#[test]
fn cylinders_heads_and_sectors_follow_initialize_device_parameters() {
    let mut host = Host::new();
    // Default 16 heads, 63 sectors: 1/2/3 is (1 * 16 + 2) * 63 + 2 = 1136 = 470h.
    host.command([0, 1, 3, 1, 0, 0xa2, 0x20]);
    host.settle();
    assert_eq!(host.read_sector()[0], 0x7070);
    // 4 heads, 17 sectors: 1/2/3 is (1 * 4 + 2) * 17 + 2 = 104 = 68h.
    assert_eq!(host.run([0, 17, 0, 0, 0, 0xa3, 0x91]), 0x50);
    host.command([0, 1, 3, 1, 0, 0xa2, 0x20]);
    host.settle();
    assert_eq!(host.read_sector()[0], 0x6868);
    // No sector 0, no sector 18, no head 4.
    for registers in [[0, 1, 0, 0, 0, 0xa0, 0x20], [0, 1, 18, 0, 0, 0xa0, 0x20], [0, 1, 1, 0, 0, 0xa4, 0x20]]
    {
        assert_eq!(host.run(registers), 0x51);
        assert_eq!(host.inb(0x1f1), 0x10, "IDNF");
    }
}

/// SeaBIOS does not boot from a drive that tells of no cylinder.
#[test]
fn a_drive_smaller_than_a_cylinder_has_cylinders_and_ends_within_them() {
    let mut host = Host::with(MemoryDisk::from((0..3u8).flat_map(|n| [n; 512]).collect::<Vec<u8>>()));
    host.run([0, 0, 0, 0, 0, 0xa0, 0xec]);
    let words = host.read_sector();
    assert_eq!((words[1], words[3], words[6], words[60]), (2, 16, 63, 3));
    assert_eq!(host.run([0, 1, 3, 0, 0, 0xa0, 0x20]), 0x58, "cylinder 0, head 0, sector 3 is the last one");
    assert_eq!(host.read_sector(), [0x0202; 256]);
    assert_eq!(host.run([0, 1, 4, 0, 0, 0xa0, 0x20]), 0x51);
    assert_eq!(host.inb(0x1f1), 0x10, "IDNF");
}

#[test]
fn a_read_over_the_end_gives_what_there_is_and_then_idnf() {
    let mut host = Host::new();
    host.command([0, 2, 0xff, 0x0f, 0, 0xe0, 0x20]);
    host.settle();
    assert_eq!(host.inb(0x1f7), 0x58);
    host.read_sector();
    host.settle();
    assert!(host.channel.irq());
    assert_eq!(host.inb(0x1f7), 0x51);
    assert_eq!(host.inb(0x1f1), 0x10);
    assert_eq!([0x1f2, 0x1f3, 0x1f4].map(|port| host.inb(port)), [1, 0x00, 0x10]);
}

#[test]
fn unknown_commands_are_aborted() {
    let mut host = Host::new();
    for command in [0x00, 0x08, 0xa0, 0xa1, 0xb0, 0x22, 0xff] {
        assert_eq!(host.run([0, 0, 0, 0, 0, 0xe0, command]), 0x51);
        assert_eq!(host.inb(0x1f1), 0x04, "ABRT");
    }
}

#[test]
fn identify_device_tells_name_and_size_and_its_bytes_sum_to_zero() {
    let mut host = Host::new();
    assert_eq!(host.run([0, 0, 0, 0, 0, 0xa0, 0xec]), 0x58);
    let words = host.read_sector();
    assert_eq!([words[1], words[3], words[6]], [4, 16, 63]);
    assert_eq!(words[27..32], [0x454d, 0x5520, 0x4449, 0x534b, 0x2020]); // "EMU DISK  "
    assert_eq!(words[10..12], [0x3030, 0x3031]);
    assert_eq!([words[60], words[61], words[100], words[103]], [4096, 0, 4096, 0]);
    assert_eq!(words[49] & 0x0300, 0x0300, "LBA and DMA");
    assert_eq!(words[63], 0x0407, "multiword DMA 0 to 2, 2 selected");
    assert_eq!(words[83] & 0xc400, 0x4400, "48-bit addresses, and the word is valid");
    let sum = words.iter().flat_map(|word| word.to_le_bytes()).fold(0u8, u8::wrapping_add);
    assert_eq!((sum, words[255] as u8), (0, 0xa5));
    assert_eq!(host.inb(0x1f7), 0x50);
}

#[test]
fn device_0_answers_for_an_absent_device_1() {
    let mut host = Host::new();
    host.outb(0x1f6, 0xb0);
    host.outb(0x1f2, 0x55);
    assert_eq!([0x1f2, 0x1f6, 0x1f7, 0x3f6].map(|port| host.inb(port)), [0x55, 0xb0, 0, 0]);
    host.outb(0x1f7, 0xec);
    host.settle();
    assert_eq!(host.inb(0x1f7), 0);
    assert!(!host.channel.irq());
    // EXECUTE DEVICE DIAGNOSTIC is for everyone, and device 0 interrupts.
    host.outb(0x1f7, 0x90);
    host.settle();
    assert!(host.channel.irq());
    assert_eq!([0x1f1, 0x1f2, 0x1f3, 0x1f6, 0x1f7].map(|port| host.inb(port)), [1, 1, 1, 0, 0x50]);
}

#[test]
fn nobody_answers_on_an_empty_channel() {
    let mut host = Host { channel: AtaChannel::new(), now: 0 };
    host.outb(0x1f2, 0x55);
    assert_eq!([0x1f2, 0x1f7, 0x3f6].map(|port| host.inb(port)), [0x7f, 0x7f, 0x7f]);
}

#[test]
fn two_devices_keep_apart() {
    let mut host = Host::new();
    host.channel.attach(1, AtaDisk::new(Box::new(MemoryDisk::from(vec![0xbb; 512])), "SECOND", "0002"));
    host.command([0, 1, 0, 0, 0, 0xf0, 0x20]);
    host.settle();
    assert!(host.channel.irq());
    host.outb(0x1f6, 0xe0);
    assert!(!host.channel.irq(), "the interrupt is device 1's");
    host.outb(0x1f6, 0xf0);
    assert_eq!(host.inb(0x1f7), 0x58);
    assert_eq!(host.read_sector(), [0xbbbb; 256]);
}

#[test]
fn a_write_by_dma_arrives_whole_and_interrupts_once() {
    let mut host = Host::new();
    host.command([0, 2, 7, 0, 0, 0xe0, 0xca]);
    host.settle();
    assert_eq!(host.channel.dma_request(), Some(DmaDirection::FromMemory));
    assert_eq!(host.channel.dma_give(&[0xd1; 2000], host.now), 1024);
    assert_eq!(host.channel.dma_request(), None);
    host.settle();
    assert!(host.channel.irq());
    assert_eq!(host.inb(0x1f7), 0x50);
    host.command([0, 2, 7, 0, 0, 0xe0, 0xc8]);
    host.settle();
    let mut data = [0; 1024];
    assert_eq!(host.channel.dma_request(), Some(DmaDirection::ToMemory));
    assert_eq!(host.channel.dma_take(&mut data, host.now), 1024);
    assert_eq!(data, [0xd1; 1024]);
    assert!(host.channel.irq());
}

#[test]
fn check_power_mode_tells_what_idle_and_standby_left() {
    let mut host = Host::new();
    for (command, mode) in [(0xe5, 0xff), (0xe1, 0x80), (0xe0, 0x00)] {
        host.run([0, 0, 0, 0, 0, 0xe0, command]);
        host.run([0, 0, 0, 0, 0, 0xe0, 0xe5]);
        assert_eq!(host.inb(0x1f2), mode);
    }
}

#[test]
fn a_hard_reset_brings_the_settings_back_and_a_soft_one_only_when_told() {
    let multiple = |host: &mut Host| {
        assert_eq!(host.run([0, 0, 0, 0, 0, 0xe0, 0xec]), 0x58);
        host.read_sector()[59]
    };
    let soft_reset = |host: &mut Host| {
        host.outb(0x3f6, 4);
        host.outb(0x3f6, 0);
        host.settle();
    };
    let mut host = Host::new();
    host.run([0, 8, 0, 0, 0, 0xe0, 0xc6]);
    soft_reset(&mut host);
    assert_eq!(multiple(&mut host), 0x0108);
    host.run([0xcc, 0, 0, 0, 0, 0xe0, 0xef]);
    soft_reset(&mut host);
    assert_eq!(multiple(&mut host), 0);
    host.run([0, 8, 0, 0, 0, 0xe0, 0xc6]);
    host.channel.reset(host.now);
    assert_eq!(host.inb(0x1f7) & 0x80, 0x80);
    host.settle();
    assert_eq!(multiple(&mut host), 0);
}

/// A disk whose sector 10 cannot be read and which cannot be written at all.
#[derive(Debug)]
struct BadDisk {
    disk: MemoryDisk,
    failed: Vec<u64>,
}

impl BlockBackend for BadDisk {
    fn sectors(&self) -> u64 {
        self.disk.sectors()
    }
    fn submit(&mut self, id: u64, request: BlockRequest) {
        match request {
            BlockRequest::Read { lba, count } if !(lba..lba + u64::from(count)).contains(&10) => {
                self.disk.submit(id, request);
            }
            _ => self.failed.push(id),
        }
    }
    fn wait(&mut self, id: u64) -> BlockResult {
        if self.failed.contains(&id) { Err(BlockError::Host) } else { self.disk.wait(id) }
    }
    fn try_wait(&mut self, id: u64) -> Option<BlockResult> {
        Some(self.wait(id))
    }
}

fn bad_disk() -> Host {
    let disk = MemoryDisk::from((0..64u8).flat_map(|n| [n; 512]).collect::<Vec<u8>>());
    Host::with(BadDisk { disk, failed: Vec::new() })
}

#[test]
fn a_bad_sector_is_unc_at_that_sector_and_the_drive_goes_on_living() {
    let mut host = bad_disk();
    host.command([0, 4, 8, 0, 0, 0xe0, 0x20]);
    for sector in [0x0808, 0x0909] {
        host.settle();
        assert_eq!(host.inb(0x1f7), 0x58);
        assert_eq!(host.read_sector()[0], sector);
    }
    host.settle();
    assert_eq!(host.inb(0x1f7), 0x51);
    assert_eq!([0x1f1, 0x1f2, 0x1f3].map(|port| host.inb(port)), [0x40, 2, 10]);
    assert_eq!(host.run([0, 1, 11, 0, 0, 0xe0, 0x20]), 0x58);
}

#[test]
fn a_write_that_the_host_refuses_is_aborted() {
    let mut host = bad_disk();
    host.command([0, 1, 0, 0, 0, 0xe0, 0x30]);
    host.settle();
    host.write_sector(1);
    host.settle();
    assert_eq!(host.inb(0x1f7), 0x51);
    assert_eq!(host.inb(0x1f1), 0x04);
}

/// A host that has the answer only when it is asked for the fourth time.
#[derive(Debug)]
struct SlowDisk {
    disk: MemoryDisk,
    asked: u32,
}

impl BlockBackend for SlowDisk {
    fn sectors(&self) -> u64 {
        self.disk.sectors()
    }
    fn submit(&mut self, id: u64, request: BlockRequest) {
        self.disk.submit(id, request);
    }
    fn wait(&mut self, id: u64) -> BlockResult {
        self.disk.wait(id)
    }
    fn try_wait(&mut self, id: u64) -> Option<BlockResult> {
        self.asked += 1;
        if self.asked < 4 { None } else { self.disk.try_wait(id) }
    }
}

#[test]
fn in_host_time_the_drive_stays_busy_until_the_host_answers() {
    let time_until_data = |wait: bool| {
        let mut host = Host::with(SlowDisk { disk: MemoryDisk::from(vec![1; 512]), asked: 0 });
        host.channel.set_wait_for_host(wait);
        host.command([0, 1, 0, 0, 0, 0xe0, 0x20]);
        host.settle();
        assert_eq!(host.inb(0x1f7), 0x58);
        host.now
    };
    assert_eq!(time_until_data(true), 20_000);
    assert_eq!(time_until_data(false), 80_000);
}

#[test]
fn a_reset_in_the_middle_of_a_write_keeps_what_was_written_and_nothing_else() {
    let mut host = Host::new();
    host.command([0, 2, 9, 0, 0, 0xe0, 0x30]);
    host.settle();
    host.write_sector(0xa1);
    host.channel.write(0x1f0, 2, 0xdead, host.now);
    host.outb(0x3f6, 4);
    host.outb(0x3f6, 0);
    host.settle();
    host.command([0, 2, 9, 0, 0, 0xe0, 0x20]);
    host.settle();
    assert_eq!(host.read_sector()[0], 0xa1a1);
    host.settle();
    assert_eq!(host.read_sector()[0], 0x0a0a);
}

#[test]
fn random_accesses_do_no_harm_and_repeat() {
    let run = |seed| {
        let mut host = Host::new();
        host.channel.attach(1, AtaDisk::new(Box::new(MemoryDisk::from(vec![3; 512])), "B", "2"));
        let (mut random, mut sum) = (Random::new(seed), 0u32);
        for _ in 0..10_000 {
            // Mostly the primary ports; the data register more often than the others.
            let port = match random.below(8) {
                0 => 0x3f4 + random.below(4) as u16,
                1..=3 => 0x1f0,
                _ => 0x1f0 + random.below(8) as u16,
            };
            let size = random.size();
            if random.below(2) == 0 {
                sum = sum.rotate_left(1) ^ host.channel.read(port, size, host.now);
            } else {
                host.channel.write(port, size, random.next(), host.now);
            }
            if random.below(4) == 0 {
                let mut data = [0; 64];
                host.channel.dma_take(&mut data, host.now);
                host.channel.dma_give(&data, host.now);
            }
            host.now += Tick::from(random.below(40_000));
        }
        (sum, host.channel.irq(), host.inb(0x1f7))
    };
    for seed in seeds(0..10) {
        assert_eq!(run(seed), run(seed));
    }
}
