//! Random bytes as boot sector, as firmware, as a whole disk, and in discs that boot: no panic, no hang, memory stays
//! bounded.
//!
//! `EMU_FUZZ_CASES=n` runs n cases of each kind, `EMU_FUZZ_SECONDS=n` goes on for that long, `EMU_FUZZ_SEED=n` begins
//! at that seed. Each case is one seed, printed when it fails, and is limited both by its number of instructions and
//! by the host's time.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{OnceLock, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use emu_core::machine::{Machine, Stop, TimeSource};
use emu_devices::block::MemoryDisk;
use emu_devices::pc::{BootDevice, Pc, PcConfig};
use emu_tests::iso::{BLOCK, Boot, disc};
use emu_tests::random::Random;

/// Cases of each kind when nobody asks for more.
const CASES: u64 = 60;
/// Instructions for each case.
const INSTRUCTIONS: u64 = 200_000;
/// Instructions at a time.
const SLICE: u64 = 50_000;
/// No case takes two seconds on an idle host; a busy one gives a twentieth of a processor.
const PATIENCE: Duration = Duration::from_secs(300);
/// How much memory (in bytes) the process may have in use after all cases, above what it began with.
const GROWTH: u64 = 256 << 20;

fn seeds() -> impl Iterator<Item = u64> {
    let number =
        |name| std::env::var(name).ok().map(|n| n.parse::<u64>().expect("a number of cases, or a seed"));
    let first = number("EMU_FUZZ_SEED").unwrap_or(0);
    let end = first + number("EMU_FUZZ_CASES").unwrap_or(CASES);
    let limit = number("EMU_FUZZ_SECONDS").map(|seconds| Instant::now() + Duration::from_secs(seconds));
    (first..).take_while(move |&seed| seed < end || limit.is_some_and(|limit| Instant::now() < limit))
}

/// Bytes of memory that this process has in use, where the host tells.
fn resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kilobytes| kilobytes << 10)
}

/// Runs a PC for so many instructions; resets it when the guest asks or falls over, as a PC does.
fn run(config: PcConfig, instructions: u64) {
    let (pc, mem) = Pc::new(config).expect("there is such a PC");
    let mut machine = Machine::new(mem, Box::new(pc), emu_tests::engine::engine(), TimeSource::Virtual);
    for _ in 0..20 {
        // A guest that sleeps for good, with a timer running, gets a hundred rounds.
        let mut rounds = 100 + instructions / SLICE;
        while machine.instructions() < instructions && rounds > 0 {
            rounds -= 1;
            let slice = (machine.instructions() + SLICE).min(instructions);
            let stop = machine.run(slice);
            let output = machine.with_bus::<Pc, _>(|pc, at| {
                // Someone types meanwhile.
                pc.serial_input(at, 0, b"x\r");
                let _ = pc.text_screen(at.now);
                pc.serial_output(0).len() + pc.serial_output(1).len() + pc.debugcon_output().len()
            });
            assert!(output as u64 <= 2 * SLICE, "{output} bytes from {SLICE} instructions");
            match stop {
                Stop::Limit | Stop::Observed => {}
                Stop::Reset | Stop::TripleFault(_) => {
                    machine.reset();
                    break;
                }
                Stop::PowerOff | Stop::DebugExit(_) | Stop::Halted { .. } | Stop::Unimplemented(_) => {
                    let _ = machine.state_hash();
                    return;
                }
            }
        }
    }
    machine.with_bus::<Pc, _>(|pc, at| drop(pc.screen(at.now)));
    let _ = machine.state_hash();
}

/// Instructions that our BIOS needs until it jumps to a boot sector.
fn boot_length() -> u64 {
    static LENGTH: OnceLock<u64> = OnceLock::new();
    *LENGTH.get_or_init(|| {
        let mut disk = vec![0; 1 << 20];
        disk[..2].copy_from_slice(&[0xe6, 0xf4]); // OUT F4h, AL
        let (pc, mem) = Pc::new(config(emu_roms::BIOS.to_vec(), Some(bootable(disk)))).unwrap();
        let mut machine = Machine::new(mem, Box::new(pc), emu_tests::engine::engine(), TimeSource::Virtual);
        let stop = machine.run(100_000_000);
        assert!(matches!(stop, Stop::DebugExit(_)), "the BIOS boots a disk: {stop:?}");
        machine.instructions()
    })
}

/// Runs all cases of a kind on a thread of its own, and watches it.
fn fuzz(kind: &'static str, case: fn(&mut Random)) {
    let before = resident();
    let (tell, told) = mpsc::channel();
    let worker = thread::spawn(move || {
        for seed in seeds() {
            if tell.send(seed).is_err() {
                return;
            }
            let mut random = Random::new(seed);
            if catch_unwind(AssertUnwindSafe(|| case(&mut random))).is_err() {
                panic!("random bytes as {kind}: seed {seed} panicked");
            }
        }
    });
    let mut last = None;
    loop {
        match told.recv_timeout(PATIENCE) {
            Ok(seed) => last = Some(seed),
            Err(mpsc::RecvTimeoutError::Disconnected) => break,
            Err(mpsc::RecvTimeoutError::Timeout) => panic!("random bytes as {kind}: seed {last:?} hangs"),
        }
    }
    worker.join().unwrap_or_else(|_| panic!("random bytes as {kind}: seed {last:?} failed, see above"));
    if let (Some(before), Some(after)) = (before, resident()) {
        assert!(after < before + GROWTH, "{kind}: {before} bytes of memory became {after}");
    }
}

fn config(bios: Vec<u8>, disk: Option<Vec<u8>>) -> PcConfig {
    let mut config = PcConfig {
        ram_size: 8 << 20,
        bios,
        vga_rom: Some(emu_roms::VGA_BIOS.to_vec()),
        debug_exit_port: Some(0xf4),
        ..PcConfig::default()
    };
    if let Some(image) = disk {
        config.disks[0] = Some(Box::new(MemoryDisk::from(image)));
    }
    config
}

/// A disk that the BIOS boots: `bytes` with the signature at the end of the first sector.
fn bootable(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes[510..512].copy_from_slice(&[0x55, 0xaa]);
    bytes
}

#[test]
fn a_guest_that_sleeps_for_good_gives_control_back() {
    let mut disk = vec![0; 1 << 20];
    disk[..2].copy_from_slice(&[0xfa, 0xf4]); // CLI, HLT, while the BIOS has the 8254 ticking
    let (pc, mem) = Pc::new(config(emu_roms::BIOS.to_vec(), Some(bootable(disk)))).unwrap();
    let mut machine = Machine::new(mem, Box::new(pc), emu_tests::engine::engine(), TimeSource::Virtual);
    let limit = boot_length() + INSTRUCTIONS;
    assert_eq!(machine.run(limit), Stop::Limit);
    assert!(machine.instructions() < limit && machine.cpu().halted);
    let before = machine.now();
    assert_eq!(machine.run(limit), Stop::Limit);
    assert!(machine.now() > before, "time goes on");
}

#[test]
fn as_boot_sector() {
    fuzz("boot sector", |random| {
        let mut disk = random.bytes(512);
        disk.resize(1 << 20, 0);
        run(config(emu_roms::BIOS.to_vec(), Some(bootable(disk))), boot_length() + INSTRUCTIONS);
    });
}

#[test]
fn as_disk() {
    fuzz("disk", |random| {
        let sectors = 1 + random.below(2048) as usize;
        let disk = random.bytes(512 * sectors);
        run(config(emu_roms::BIOS.to_vec(), Some(bootable(disk))), boot_length() + INSTRUCTIONS);
    });
}

/// A disc whose descriptors, boot catalogue and boot image are damaged: what our BIOS makes of it.
#[test]
fn in_a_disc_that_boots() {
    fuzz("disc", |random| {
        let size = 1 + random.below(100_000) as usize;
        let image = random.bytes(size);
        let media = random.below(5) as u8;
        let boot = Boot { file: "B.BIN", media, sectors: random.below(300) as u16, table: false };
        let mut disc = disc(&[("B.BIN", &image)], Some(boot));
        for _ in 0..random.below(6) {
            // Blocks 16 to 22 tell of all others.
            let at = (16 * BLOCK as u64 + random.below(7 * BLOCK as u64)) as usize;
            // Half of the time one of the fields that matter.
            let fields = [17 * BLOCK + 0x47, 22 * BLOCK + 0x20, 22 * BLOCK + 0x21, 22 * BLOCK + 0x22];
            let at = if random.below(2) == 0 { at } else { fields[random.below(4) as usize] };
            disc[at] = [0, 0xff, random.word() as u8][random.below(3) as usize];
        }
        if random.below(4) == 0 {
            disc.truncate(random.below(disc.len() as u64 / 2048 + 1) as usize * BLOCK);
        }
        let mut config = config(emu_roms::BIOS.to_vec(), None);
        config.boot_order = BootDevice::Cdrom.first();
        config.cdrom = Some(Box::new(MemoryDisk::from(disc)));
        run(config, boot_length() + 4 * INSTRUCTIONS);
    });
}

#[test]
fn as_firmware() {
    fuzz("firmware", |random| {
        let size = [64, 128, 256][random.below(3) as usize] << 10;
        run(config(random.bytes(size), None), INSTRUCTIONS);
    });
}

/// Random bytes seldom get far: these begin in a mode where more is possible, with a jump into them.
#[test]
fn as_code_in_protected_mode() {
    fuzz("protected-mode code", |random| {
        let mut bios = random.bytes(64 << 10);
        // At reset, F000:FFF0: JMP to F000:E000. There: a flat GDT, protected mode, all segments flat, JMP to noise.
        bios[0xfff0..0xfff3].copy_from_slice(&[0xe9, 0x0d, 0xe0]);
        let enter = [
            0x2e, 0x66, 0x0f, 0x01, 0x16, 0x40, 0xe0, // LGDT CS:[E040h]
            0x0f, 0x20, 0xc0, 0x0c, 0x01, 0x0f, 0x22, 0xc0, // CR0.PE
            0x66, 0xea, 0x80, 0xe0, 0x0f, 0x00, 0x08, 0x00, // JMP 8:FE080h
        ];
        bios[0xe000..0xe000 + enter.len()].copy_from_slice(&enter);
        bios[0xe040..0xe046].copy_from_slice(&[0x17, 0, 0x50, 0xe0, 0x0f, 0]);
        bios[0xe050..0xe058].fill(0);
        bios[0xe058..0xe060].copy_from_slice(&[0xff, 0xff, 0, 0, 0, 0x9b, 0xcf, 0]);
        bios[0xe060..0xe068].copy_from_slice(&[0xff, 0xff, 0, 0, 0, 0x93, 0xcf, 0]);
        let flat = [
            0x66, 0xb8, 0x10, 0x00, 0x8e, 0xd8, 0x8e, 0xc0, 0x8e, 0xd0, // MOV DS, ES, SS
            0xbc, 0x00, 0x00, 0x10, 0x00, // MOV ESP, 100000h
            0x0f, 0x01, 0x1d, 0x46, 0xe0, 0x0f, 0x00, // LIDT [FE046h]: random, too
        ];
        bios[0xe080..0xe080 + flat.len()].copy_from_slice(&flat);
        run(config(bios, None), INSTRUCTIONS);
    });
}
