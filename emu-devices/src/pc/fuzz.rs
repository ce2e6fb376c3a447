//! The board under random accesses at random times: nothing panics, no event stays due, nothing grows, and the
//! same accesses give the same board.

use emu_core::bus::{Access, Bus, Request, Tick};

use super::{Pc, PcConfig};
use crate::block::MemoryDisk;
use crate::fuzz::{ignore, later};
use crate::keys::Key;
use crate::random::{Random, seeds};

const ACCESSES: u32 = 10_000;
/// Characters in the debug print of the board without its display and disks.
const LIMIT: usize = 300_000;

/// Bases of the ports where somebody answers, each with 16 ports tried from there on.
const PORTS: [u16; 24] = [
    0x20, 0x40, 0x60, 0x70, 0x80, 0x92, 0xa0, 0xb0, 0xe8, 0xf0, 0x170, 0x1c8, 0x1f0, 0x2f8, 0x370, 0x3b0,
    0x3c0, 0x3d0, 0x3f0, 0x4d0, 0x501, 0x510, 0xcf8, 0xafe0,
];
/// Registers of PCI functions that move things.
const CONFIG: [u32; 14] =
    [0x04, 0x10, 0x18, 0x20, 0x30, 0x40, 0x58, 0x59, 0x5c, 0x60, 0x72, 0x80, 0x90, 0xd2];

fn port(random: &mut Random) -> u16 {
    match random.below(10) {
        0 => random.next() as u16,
        _ => PORTS[random.below(PORTS.len() as u32) as usize] + random.below(16) as u16,
    }
}

fn address(random: &mut Random) -> u64 {
    let (start, len) = match random.below(7) {
        0 => (0xa_0000, 0x2_0000),
        1 => (0xfec0_0000, 0x50),
        2 => (0xfee0_0000, 0x400),
        3 => (0xfd00_0000, 0x100_0000),
        4 => (0, u32::MAX),
        5 => (0xfed0_0000, 0x170),
        _ => (0xfeb0_0000, 0x1000),
    };
    (start + u64::from(random.below(len))) & !7
}

fn access(pc: &mut Pc, at: &mut Access<'_>, random: &mut Random) {
    let (size, value) = (random.size(), random.next());
    match random.below(12) {
        0..3 => ignore(pc.port_read(at, port(random), size)),
        3..6 => pc.port_write(at, port(random), size, value),
        6 => ignore(pc.mmio_read(at, address(random), size)),
        7 => pc.mmio_write(at, address(random), size, value.into()),
        8 => {
            let function = [0x0000, 0x0800, 0x0900, 0x0b00, 0x1000][random.below(5) as usize];
            let register = CONFIG[random.below(CONFIG.len() as u32) as usize];
            pc.port_write(at, 0xcf8, 4, 0x8000_0000 | function | register);
            pc.port_write(at, 0xcfc, size, value);
        }
        9 => {
            pc.key_event(at, Key { code: value as u8, extended: value & 0x100 != 0 }, value & 0x200 != 0);
            pc.mouse_event(at, value as i32, -(value as i16 as i32), 1, value as u8);
            pc.serial_input(at, value as usize, &value.to_le_bytes());
        }
        10 => {
            let msr = [0x1b, 0x6e0, 0x800 + random.below(0x40)][random.below(3) as usize];
            ignore(pc.msr_read(at, msr));
            ignore(pc.msr_write(at, msr, u64::from(value & 0xfff) | 0xfee0_0000));
            pc.set_task_priority(at.cpu, value as u8 & 0xf);
            pc.set_ferr(at.cpu, value & 1 != 0);
        }
        _ => {
            if pc.intr(at.cpu) {
                pc.acknowledge(at);
            }
            if pc.take_signals(at.cpu).init {
                pc.init(at.cpu);
            }
        }
    }
}

/// What is left of the board after so many accesses.
fn run(seed: u64) -> (Pc, String, Vec<u8>) {
    let (mut pc, mut mem) = Pc::new(PcConfig {
        ram_size: 8 << 20,
        cpus: 2,
        bios: vec![0x90; 0x10000],
        vga_rom: Some(vec![0x55; 5000]),
        debug_exit_port: Some(0x501),
        disks: [Some(Box::new(MemoryDisk::from(vec![0xa5; 512 * 1000]))), None, None, None],
        start_time: 1_000_000_000,
        ..PcConfig::default()
    })
    .unwrap();
    let (mut random, mut now): (_, Tick) = (Random::new(seed), 0);
    for _ in 0..ACCESSES {
        now = later(&mut random, now);
        let mut at = Access { cpu: random.below(2) as usize, now, mem: &mut mem };
        if pc.next_event() <= now {
            pc.advance(&mut at);
        }
        access(&mut pc, &mut at, &mut random);
        for _ in 0..100 {
            if pc.next_event() > now {
                break;
            }
            pc.advance(&mut at);
        }
        assert!(pc.next_event() > now, "an event stays due: {pc:?}");
        if pc.take_request() == Some(Request::Reset) {
            pc.reset(&mut at);
        }
    }
    let chips = format!(
        "{:?}{:?}{:?}{:?}{:?}{:?}{:?}{:?}{:?}{:?}{:?}{:?}{:?}{:?}",
        pc.pic,
        pc.pit,
        pc.rtc,
        pc.hpet,
        pc.keyboard,
        pc.serial,
        pc.control,
        pc.debug,
        pc.apics,
        pc.io_apic,
        pc.pci,
        pc.fw_cfg,
        pc.map,
        (pc.irqs, pc.pirqs, pc.fpu_error, pc.timer_rises, pc.next_event)
    );
    let mut ram = vec![0; 8 << 20];
    mem.read_bytes(0, &mut ram);
    (pc, chips, ram)
}

#[test]
fn random_accesses_do_no_harm_and_repeat() {
    for seed in seeds(1..4) {
        let (first, second) = (run(seed), run(seed));
        assert!(first.1.len() < LIMIT, "it grows: {}", first.1.len());
        assert_eq!(first.1, second.1);
        assert!(first.0.vga == second.0.vga && first.2 == second.2);
    }
}
