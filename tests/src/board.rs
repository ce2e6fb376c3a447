//! A PC in this process, in virtual time: tests look at its screen and press its keys.

use emu_core::engine::Engine;
use emu_core::machine::{Machine, Stop, TimeSource};
use emu_devices::block::{BlockBackend, MemoryDisk};
use emu_devices::keys::Key;
use emu_devices::pc::{Pc, PcConfig};
use emu_devices::vga::Image;

use crate::engine::interpreter;

/// Instructions between two looks at the screen.
const STEP: u64 = 20_000_000;
const CLOSE_STEP: u64 = 20_000;

/// The machine.
pub struct Board(Machine);

impl std::fmt::Debug for Board {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Board").field(&self.0.instructions()).finish()
    }
}

/// An image as a disk in memory.
pub fn memory_disk(image: Vec<u8>) -> Option<Box<dyn BlockBackend>> {
    Some(Box::new(MemoryDisk::from(image)))
}

/// The machine of a plain `emu`: the bundled kernel on its disk, in virtual time.
///
/// # Panics
/// When the host has no memory for it.
pub fn bundled(engine: Box<dyn Engine>) -> Machine {
    let disks = [memory_disk(emu_guest::DISK_IMAGE.to_vec()), None, None, None];
    let config = PcConfig { bios: emu_roms::BIOS.to_vec(), disks, ..PcConfig::default() };
    let config = PcConfig { vga_rom: Some(emu_roms::VGA_BIOS.to_vec()), ..config };
    let (pc, mem) = Pc::new(config).expect("there is such a PC");
    Machine::new(mem, Box::new(pc), engine, TimeSource::Virtual)
}

impl Board {
    /// A PC on the interpreter with our firmware, unless `config` has another.
    ///
    /// # Panics
    /// When there is no such PC.
    pub fn new(config: PcConfig) -> Self {
        Self::on(interpreter(), config)
    }

    /// The same on this engine.
    ///
    /// # Panics
    /// When there is no such PC.
    pub fn on(engine: Box<dyn Engine>, config: PcConfig) -> Self {
        let bios = if config.bios.is_empty() { emu_roms::BIOS.to_vec() } else { config.bios };
        let vga_rom = config.vga_rom.or_else(|| Some(emu_roms::VGA_BIOS.to_vec()));
        let config = PcConfig { bios, vga_rom, ..config };
        let (pc, mem) = Pc::new(config).expect("there is such a PC");
        Self(Machine::new(mem, Box::new(pc), engine, TimeSource::Virtual))
    }

    /// The rows of the text screen; none while graphics are shown.
    pub fn screen(&mut self) -> Vec<String> {
        self.0.with_bus(|pc: &mut Pc, at| {
            let screen = pc.text_screen(at.now);
            screen.map_or_else(Vec::new, |screen| (0..screen.rows).map(|row| screen.line(row)).collect())
        })
    }

    /// What a monitor shows.
    pub fn picture(&mut self) -> Image {
        self.0.with_bus(|pc: &mut Pc, at| pc.screen(at.now))
    }

    /// Runs until a row of the screen holds this text, for so many millions of instructions at most.
    ///
    /// # Panics
    /// When it does not come.
    pub fn wait_for(&mut self, text: &str, millions: u64) {
        self.wait_with_step(text, millions, STEP);
    }

    /// The same for a text that does not stay: an idle guest's time passes in few instructions.
    ///
    /// # Panics
    /// When it does not come.
    pub fn wait_closely_for(&mut self, text: &str, millions: u64) {
        self.wait_with_step(text, millions, CLOSE_STEP);
    }

    fn wait_with_step(&mut self, text: &str, millions: u64, step: u64) {
        let end = self.0.instructions() + millions * 1_000_000;
        while !self.screen().iter().any(|row| row.contains(text)) {
            assert!(self.0.instructions() < end, "{text:?} does not come:\n{}", self.screen().join("\n"));
            let until = (self.0.instructions() + step).min(end);
            match self.0.run(until) {
                Stop::Limit => {}
                stop => panic!("{text:?} does not come, {stop:?}:\n{}", self.screen().join("\n")),
            }
        }
    }

    /// Runs so many millions of instructions.
    pub fn run(&mut self, millions: u64) {
        let until = self.0.instructions() + millions * 1_000_000;
        while self.0.instructions() < until && matches!(self.0.run(until), Stop::Limit) {}
    }

    /// Runs until the guest ends by the debug-exit port, for so many millions of instructions at most; true if it did.
    pub fn run_to_exit(&mut self, millions: u64) -> bool {
        let until = self.0.instructions() + millions * 1_000_000;
        loop {
            match self.0.run(until) {
                Stop::Limit if self.0.instructions() < until => {}
                stop => return matches!(stop, Stop::DebugExit(_)),
            }
        }
    }

    /// Presses and releases a key.
    pub fn press(&mut self, key: Key) {
        self.press_together(&[key]);
    }

    /// Presses keys one after the other, and releases them again. The keyboard keeps up to 16 bytes of it.
    pub fn press_together(&mut self, keys: &[Key]) {
        let presses = keys.iter().map(|&key| (key, true));
        for (key, pressed) in presses.chain(keys.iter().rev().map(|&key| (key, false))) {
            self.0.with_bus(|pc: &mut Pc, at| pc.key_event(at, key, pressed));
        }
    }
}
