//! Assembles a PC from what the command line asked for, and gives the main loop a grip on it.

use std::fs::File;
use std::io::{LineWriter, Read};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use emu_core::bus::{Access, TICKS_PER_SECOND, Tick};
use emu_core::cpu::RIP;
use emu_core::cpu::model::Model;
use emu_core::engine::{Engine, Translation};
use emu_core::interp::Interpreter;
use emu_core::machine::{Machine, Stats, Stop, TimeSource};
use emu_core::mem::Memory;
use emu_devices::block::{BlockBackend, MemoryDisk};
use emu_devices::direct_boot::BootKernel;
use emu_devices::keys::Key;
use emu_devices::pc::{BootDevice, Pc, PcConfig};
use emu_devices::uart16550::ByteSource;
use emu_devices::vga::{Image, TextScreen};

use crate::args::Accel;
use crate::debug::{Debug, Halt};
use crate::disk_file::DiskFile;
use crate::drive::MAX_DRIVES;
use crate::timed::{Devices, Timed};

/// Serial ports of the board.
pub const PORTS: usize = 2;

/// A kind of firmware image: the option that names it, and the sizes that it may have.
struct Firmware {
    option: &'static str,
    sizes: std::ops::RangeInclusive<u64>,
    step: u64,
    /// The sizes in words.
    expected: &'static str,
}

const BIOS: Firmware = Firmware {
    option: "--bios",
    sizes: 64 << 10..=16 << 20,
    step: 4 << 10,
    expected: "a firmware image: 64 KiB to 16 MiB in steps of 4 KiB",
};
const VGA_BIOS: Firmware = Firmware {
    option: "--vga-bios",
    sizes: 512..=128 << 10,
    step: 512,
    expected: "an expansion ROM image: up to 128 KiB in steps of 512 bytes",
};

/// The real-time clock's time at the start of a run in virtual time: 1 January 2026, so that runs repeat.
const VIRTUAL_START: u64 = 1_767_225_600;

/// Reads a firmware image.
///
/// # Errors
/// When it cannot be read or has no size that a firmware image can have.
pub fn read_bios(path: &Path) -> Result<Vec<u8>> {
    BIOS.read(path)
}

/// Reads a VGA BIOS image.
///
/// # Errors
/// When it cannot be read or is no expansion ROM.
pub fn read_vga_bios(path: &Path) -> Result<Vec<u8>> {
    let image = VGA_BIOS.read(path)?;
    if image[..2] != [0x55, 0xaa] {
        bail!("--vga-bios {}: expected an expansion ROM, which begins with 55 AA", path.display());
    }
    Ok(image)
}

impl Firmware {
    fn read(&self, path: &Path) -> Result<Vec<u8>> {
        let context = || format!("{} {}", self.option, path.display());
        let meta = path.metadata().context("expected a firmware image").with_context(context)?;
        let check = |size: u64| -> Result<()> {
            if !self.sizes.contains(&size) || !size.is_multiple_of(self.step) {
                bail!("its size is {size} bytes; expected {}", self.expected);
            }
            Ok(())
        };
        if !meta.is_file() {
            let found = if meta.is_dir() { "a directory" } else { "no plain file" };
            return Err(anyhow::anyhow!("expected a firmware image, found {found}")).with_context(context);
        }
        check(meta.len()).with_context(context)?;
        let mut image = Vec::new();
        let file =
            File::open(path).context("expected a firmware image that can be read").with_context(context)?;
        let most = self.sizes.end() + 1;
        file.take(most).read_to_end(&mut image).context("it cannot be read").with_context(context)?;
        check(image.len() as u64).with_context(context)?;
        Ok(image)
    }
}

/// What a machine is made of.
pub struct Parts {
    /// The engine.
    pub accel: Accel,
    /// Translated code is told of in `/tmp/perf-PID.map`.
    pub perf_map: bool,
    /// The processor.
    pub cpu: Model,
    /// Bytes of RAM.
    pub memory: u64,
    /// Processors.
    pub processors: usize,
    /// Firmware instead of the bundled one.
    pub bios: Option<Vec<u8>>,
    /// The VGA BIOS instead of the bundled one.
    pub vga_bios: Option<Vec<u8>>,
    /// The firmware shows its text on COM1 as well.
    pub serial_screen: bool,
    /// A kernel to boot instead of a disk.
    pub kernel: Option<BootKernel>,
    /// The IDE disks. Without any, and without a kernel, there is the bundled one, in memory.
    pub disks: [Option<DiskFile>; MAX_DRIVES],
    /// The diskettes. With one, or with a disc, there is no bundled disk.
    pub floppies: [Option<DiskFile>; 2],
    /// The disc in the CD-ROM drive, if there is one.
    pub cdrom: Option<DiskFile>,
    /// What to boot from first.
    pub boot: BootDevice,
    /// Where guest time comes from.
    pub time: TimeSource,
    /// Port of the debug-exit device.
    pub debug_exit: Option<u16>,
    /// What is typed, for this serial port.
    pub source: Option<(usize, Box<dyn ByteSource>)>,
}

fn engine(accel: Accel, perf_map: bool) -> Result<Box<dyn Engine>> {
    match accel {
        Accel::Interp if perf_map => bail!("--perf-map is for --accel jit, which translates code"),
        Accel::Interp => Ok(Box::new(Interpreter::default())),
        #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
        Accel::Jit => {
            let mut translator = emu_jit::Translator::new()
                .context("the host gave no memory for translated code; --accel interp needs none")?;
            if perf_map {
                let path = format!("/tmp/perf-{}.map", std::process::id());
                let map = File::create(&path).with_context(|| path.clone())?;
                translator.write_map(Box::new(LineWriter::new(map))).context(path)?;
            }
            Ok(Box::new(translator))
        }
        #[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
        Accel::Jit => bail!("--accel jit needs an x86-64 Linux host; --accel interp runs anywhere"),
    }
}

/// The board and its memory, out of what `parts` has for it.
///
/// # Errors
/// When the host has no memory for it.
pub fn board(parts: &mut Parts) -> Result<(Pc, Memory)> {
    let mut disks =
        std::mem::take(&mut parts.disks).map(|disk| disk.map(|disk| Box::new(disk) as Box<dyn BlockBackend>));
    let nothing =
        parts.kernel.is_none() && parts.cdrom.is_none() && parts.floppies.iter().all(Option::is_none);
    if nothing && disks.iter().all(Option::is_none) {
        disks[0] = Some(Box::new(MemoryDisk::from(emu_guest::DISK_IMAGE)));
    }
    let config = PcConfig {
        ram_size: parts.memory,
        cpus: parts.processors,
        bios: parts.bios.take().unwrap_or_else(|| emu_roms::BIOS.to_vec()),
        vga_rom: Some(parts.vga_bios.take().unwrap_or_else(|| emu_roms::VGA_BIOS.to_vec())),
        serial_screen: parts.serial_screen,
        debug_exit_port: parts.debug_exit,
        disks,
        floppies: std::mem::take(&mut parts.floppies)
            .map(|disk| disk.map(|disk| Box::new(disk) as Box<dyn BlockBackend>)),
        cdrom: parts.cdrom.take().map(|disc| Box::new(disc) as Box<dyn BlockBackend>),
        boot_order: parts.boot.first(),
        kernel: parts.kernel.take().map(|kernel| (kernel, emu_roms::KERNEL_BOOT.to_vec())),
        start_time: start_time(parts.time),
    };
    let (mut pc, mem) = Pc::new(config).context("the machine cannot be set up")?;
    pc.set_disks_wait_for_host(parts.time == TimeSource::Virtual);
    Ok((pc, mem))
}

/// A PC with what the main loop needs to know of it.
pub struct Guest {
    /// The machine itself.
    pub machine: Machine,
    /// What debuggers want of it.
    pub debug: Debug,
}

impl std::fmt::Debug for Guest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Guest").field("instructions", &self.instructions()).finish_non_exhaustive()
    }
}

impl Guest {
    /// Puts the machine together, ready for its first instruction.
    ///
    /// # Errors
    /// When the host has no memory for it.
    pub fn assemble(mut parts: Parts) -> Result<Self> {
        let engine = engine(parts.accel, parts.perf_map)?;
        Self::assemble_on(engine, &mut parts)
    }

    /// The same with this engine.
    ///
    /// # Errors
    /// When the host has no memory for it.
    pub fn assemble_on(engine: Box<dyn Engine>, parts: &mut Parts) -> Result<Self> {
        let (pc, mem) = board(parts)?;
        let board = Box::new(Timed { pc, devices: None });
        let mut machine = Machine::with_processors(parts.processors, mem, board, engine, parts.time);
        machine.set_model(parts.cpu);
        if let Some((port, source)) = parts.source.take() {
            machine.with_bus(|board: &mut Timed, at| board.pc.set_console_source(at, port, source));
        }
        Ok(Self { machine, debug: Debug::default() })
    }

    /// The machine behind it.
    pub fn machine(&mut self) -> &mut Machine {
        &mut self.machine
    }

    fn with_pc<R>(&mut self, f: impl FnOnce(&mut Pc, &mut Access<'_>) -> R) -> R {
        self.machine.with_bus(|board: &mut Timed, at| f(&mut board.pc, at))
    }

    /// Measures from now on what chips cost the host.
    pub fn time_devices(&mut self) {
        self.machine.with_bus(|board: &mut Timed, _| board.devices = Some(Devices::default()));
    }

    /// What they cost since then.
    pub fn devices(&mut self) -> Devices {
        self.machine.with_bus(|board: &mut Timed, _| board.devices.unwrap_or_default())
    }

    /// Runs until `until` instructions have retired in all, or something comes up; a step of a debugger is shorter.
    pub fn run(&mut self, until: u64) -> Stop {
        loop {
            let count = self.instructions();
            let stop = self.machine.run(self.debug.limit(&self.machine, until));
            // A step through a range, or of a processor that waits for its turn, takes many instructions.
            let goes_on = stop == Stop::Limit && (count + 1..until).contains(&self.instructions());
            if !goes_on || !self.debug.steps_on(&self.machine) {
                return stop;
            }
        }
    }

    /// Looks, after a run, whether a debugger wants the machine to stand.
    pub fn check_debug(&mut self) -> Option<Halt> {
        self.debug.check(&mut self.machine)
    }

    /// The state of a chip, as the emulator's own structs show it; `None` when there is none of that name.
    pub fn chip_state(&mut self, name: &str) -> Option<String> {
        self.with_pc(|pc, _| pc.chip_state(name))
    }

    /// Presses the reset button.
    pub fn reset(&mut self) {
        self.machine.reset();
    }

    /// Instructions retired so far.
    pub fn instructions(&self) -> u64 {
        self.machine.instructions()
    }

    /// RIP of the processor whose turn it is.
    pub fn rip(&self) -> u64 {
        self.machine.rip()
    }

    /// Guest time.
    pub fn now(&self) -> Tick {
        self.machine.now()
    }

    /// Tells the guest's clock in host time.
    pub fn set_host_time(&mut self, now: Tick) {
        self.machine.set_host_time(now);
    }

    /// Hash of all architectural state, and of the RAM touched since the last call.
    pub fn state_hash(&mut self) -> u64 {
        self.machine.state_hash()
    }

    /// Counts of what happened.
    pub fn stats(&self) -> Stats {
        self.machine.stats()
    }

    /// What the translator did, if the engine is one.
    pub fn translation(&self) -> Option<Translation> {
        self.machine.translation()
    }

    /// Name of the engine.
    pub fn engine(&self) -> &'static str {
        self.machine.engine_name()
    }

    /// Takes what the guest sent on a serial port.
    pub fn take_serial(&mut self, port: usize) -> Vec<u8> {
        self.with_pc(|pc, _| pc.serial_output(port))
    }

    /// Sends bytes to a serial port; returns how many there was room for.
    pub fn serial_send(&mut self, port: usize, bytes: &[u8]) -> usize {
        self.with_pc(|pc, at| pc.serial_input(at, port, bytes))
    }

    /// Takes what the guest wrote to port E9h.
    pub fn take_debugcon(&mut self) -> Vec<u8> {
        self.with_pc(|pc, _| pc.debugcon_output())
    }

    /// Presses or releases a key; false, and nothing happens, while the keyboard is busy with earlier ones.
    pub fn key(&mut self, key: Key, pressed: bool) -> bool {
        self.with_pc(|pc, at| {
            let ready = !pc.keyboard_busy();
            if ready {
                pc.key_event(at, key, pressed);
            }
            ready
        })
    }

    /// The text screen, `None` while graphics are shown.
    pub fn text_screen(&mut self) -> Option<TextScreen> {
        self.with_pc(|pc, at| pc.text_screen(at.now))
    }

    /// What a monitor would show.
    pub fn picture(&mut self) -> Image {
        self.with_pc(|pc, at| pc.screen(at.now))
    }

    /// A few lines on where the machine is, for the user.
    pub fn describe(&self, standing: bool) -> String {
        let seconds = self.now() as f64 / TICKS_PER_SECOND as f64;
        let time = match self.machine.time_source() {
            TimeSource::Virtual => "virtual",
            TimeSource::Host => "host",
        };
        let mut text = format!(
            "{}, engine {}\n{} instructions, {seconds:.3} s of guest time ({time})\n",
            if standing { "stopped" } else { "running" },
            self.engine(),
            self.instructions(),
        );
        for cpu in self.machine.cpus() {
            let state = match cpu {
                _ if cpu.wait_for_sipi => ", waits to be started",
                _ if cpu.halted => ", halted",
                _ => "",
            };
            let number =
                if self.machine.cpus().len() > 1 { format!("cpu {}: ", cpu.number) } else { String::new() };
            text += &format!("{number}rip {:016x}{state}\n", cpu.regs[RIP]);
        }
        text
    }
}

/// Seconds since 1970 that the real-time clock starts with.
pub fn start_time(time: TimeSource) -> u64 {
    match time {
        TimeSource::Virtual => VIRTUAL_START,
        TimeSource::Host => {
            SystemTime::now().duration_since(UNIX_EPOCH).map_or(VIRTUAL_START, |time| time.as_secs())
        }
    }
}
