//! The bundled kernel on a PC with the interpreter, driven through its serial console in virtual time.

use emu_core::interp::Interpreter;
use emu_core::machine::{Machine, Stats, Stop, TimeSource};
use emu_devices::block::MemoryDisk;
use emu_devices::pc::{Pc, PcConfig};

/// The shell's prompt.
const PROMPT: &[u8] = b"emu$ ";
/// Instructions between two looks at the console.
const SLICE: u64 = 100_000;
/// No workload takes as many.
const LIMIT: u64 = 20_000_000_000;

/// A PC with the bundled firmware and disk, and what its guest has printed.
#[derive(Debug)]
pub struct Kernel {
    machine: Machine,
    /// COM1's output so far.
    pub output: Vec<u8>,
}

impl Kernel {
    /// Switches a PC on.
    ///
    /// # Panics
    /// When the host has no memory for it.
    pub fn power_on() -> Self {
        let mut config = PcConfig {
            bios: emu_roms::BIOS.to_vec(),
            vga_rom: Some(emu_roms::VGA_BIOS.to_vec()),
            start_time: 1_767_225_600,
            ..PcConfig::default()
        };
        config.disks[0] = Some(Box::new(MemoryDisk::from(emu_guest::DISK_IMAGE)));
        let (pc, mem) = Pc::new(config).expect("the host has memory for a PC");
        let engine = Box::new(Interpreter::default());
        Self { machine: Machine::new(mem, Box::new(pc), engine, TimeSource::Virtual), output: Vec::new() }
    }

    fn slice(&mut self) -> Stop {
        let stop = self.machine.run(self.machine.instructions() + SLICE);
        self.output.extend(self.machine.with_bus::<Pc, _>(|pc, _| pc.serial_output(0)));
        stop
    }

    /// Runs until the shell's prompt.
    ///
    /// # Panics
    /// When the machine stops before that.
    pub fn boot(&mut self) {
        while !self.output.ends_with(PROMPT) {
            let stop = self.slice();
            assert!(
                stop == Stop::Limit && self.machine.instructions() < LIMIT,
                "the kernel boots: {stop:?}\n{}",
                String::from_utf8_lossy(&self.output)
            );
        }
    }

    /// Types a line and runs until the machine is switched off.
    ///
    /// # Panics
    /// When something else stops it.
    pub fn run_to_power_off(&mut self, line: &str) {
        let text = format!("{line}\n");
        let mut rest = text.as_bytes();
        loop {
            if !rest.is_empty() {
                let taken = self.machine.with_bus::<Pc, _>(|pc, at| pc.serial_input(at, 0, rest));
                rest = &rest[taken..];
            }
            match self.slice() {
                Stop::PowerOff => return,
                Stop::Limit if self.machine.instructions() < LIMIT => {}
                stop => panic!("{line}: {stop:?}\n{}", String::from_utf8_lossy(&self.output)),
            }
        }
    }

    /// Types a line and runs until the guest prints `marker`.
    ///
    /// # Panics
    /// When the machine stops before that.
    pub fn run_until(&mut self, line: &str, marker: &[u8]) {
        let text = format!("{line}\n");
        let mut rest = text.as_bytes();
        let seen = self.output.len();
        while !self.output[seen..].windows(marker.len()).any(|part| part == marker) {
            if !rest.is_empty() {
                let taken = self.machine.with_bus::<Pc, _>(|pc, at| pc.serial_input(at, 0, rest));
                rest = &rest[taken..];
            }
            let stop = self.slice();
            assert!(
                stop == Stop::Limit && self.machine.instructions() < LIMIT,
                "{line}: {stop:?}\n{}",
                String::from_utf8_lossy(&self.output)
            );
        }
    }

    /// The machine's counts.
    pub fn stats(&self) -> Stats {
        self.machine.stats()
    }

    /// Instructions retired, without the repetitions of string instructions.
    pub fn instructions(&self) -> u64 {
        let stats = self.stats();
        stats.instructions - stats.rep_iterations
    }
}
