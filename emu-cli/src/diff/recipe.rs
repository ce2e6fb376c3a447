//! A machine that can be built as often as needed, and does the same each time: everything from outside is read once,
//! disks are never written, time is virtual.

use std::collections::VecDeque;
use std::io::Read;

use anyhow::{Context, Result};
use emu_core::engine::Engine;
use emu_core::interp::Interpreter;
use emu_core::machine::{Stop, TimeSource};
use emu_devices::direct_boot::BootKernel;
use emu_devices::pc::BootDevice;
use emu_devices::uart16550::{ByteSource, NextByte};

use crate::args::{Accel, Boot, Display, RunArgs, Time};
use crate::cdrom;
use crate::console::SerialSpec;
use crate::cpu_model::CpuSpec;
use crate::disk_file::{self, Access};
use crate::drive::{self, MAX_DRIVES};
use crate::kernel;
use crate::machine::{self, Guest, Parts};
use crate::outcome::usage;
use crate::terminal;

/// What all machines are built from.
#[derive(Clone)]
pub struct Recipe {
    /// The options.
    pub args: RunArgs,
    cpu: emu_core::cpu::model::Model,
    places: Vec<usize>,
    /// The firmware, if it is not the bundled one.
    pub bios: Option<Vec<u8>>,
    /// The VGA BIOS, if it is not the bundled one.
    pub vga_bios: Option<Vec<u8>>,
    kernel: Option<BootKernel>,
    /// What is typed at COM1.
    pub input: Vec<u8>,
    boot: BootDevice,
    /// Nothing is said about runs that are equal.
    pub quiet: bool,
}

/// Prepared input for a serial port.
#[derive(Debug)]
struct Script(VecDeque<u8>);

impl ByteSource for Script {
    fn next(&mut self, _: &mut Vec<u8>) -> NextByte {
        self.0.pop_front().map_or(NextByte::End, NextByte::Byte)
    }
}

/// Which engine, for a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EngineKind {
    /// As `--accel` has it.
    Whole(Accel),
    /// The translator with blocks of one instruction, translated at once.
    Single,
}

impl EngineKind {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Whole(Accel::Interp) => "interp",
            Self::Whole(Accel::Jit) => "jit",
            Self::Single => "jit-single",
        }
    }

    fn engine(self) -> Result<Box<dyn Engine>> {
        match self {
            Self::Whole(Accel::Interp) => Ok(Box::new(Interpreter::default())),
            #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
            Self::Whole(Accel::Jit) => Ok(Box::new(emu_jit::Translator::new()?)),
            #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
            Self::Single => Ok(Box::new(emu_jit::Translator::with_limits(1, 1)?)),
            #[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
            _ => usage!("--accel jit: expected an x86-64 Linux host"),
        }
    }
}

impl Recipe {
    /// Reads and checks everything that the options name.
    ///
    /// # Errors
    /// Wrong usage, or files that cannot be read.
    pub fn new(args: &RunArgs) -> Result<Self> {
        let mut recipe = Self::without_input(args)?;
        if !terminal::on_input() {
            std::io::stdin().read_to_end(&mut recipe.input).context("standard input")?;
        }
        Ok(recipe)
    }

    /// The same, and nothing is typed.
    ///
    /// # Errors
    /// Wrong usage, or files that cannot be read.
    pub fn without_input(args: &RunArgs) -> Result<Self> {
        let CpuSpec::Model(cpu) = &args.cpu else {
            usage!("--cpu help: expected a model, as `emu diff` runs one")
        };
        if args.time == Some(Time::Host) {
            usage!("--time host: expected virtual time, without which no run is comparable");
        }
        if !args.floppies.is_empty() {
            usage!("--floppy: expected --drive or --cdrom, `emu diff` has no diskettes");
        }
        if args.serial.iter().any(|spec| !matches!(spec, SerialSpec::Stdio | SerialSpec::None))
            || args.display != Display::None
        {
            usage!("--serial and --display: expected neither, `emu diff` shows nothing of the guest");
        }
        Ok(Self {
            args: args.clone(),
            cpu: cpu.model,
            places: drive::places(&args.drives, args.cdrom.is_some())?,
            bios: args.bios.as_deref().map(machine::read_bios).transpose()?,
            vga_bios: args.vga_bios.as_deref().map(machine::read_vga_bios).transpose()?,
            kernel: kernel::load(args)?.0,
            input: Vec::new(),
            boot: match args.boot {
                Some(Boot::Cdrom) => BootDevice::Cdrom,
                Some(Boot::Disk | Boot::Floppy) | None => BootDevice::Disk,
            },
            quiet: false,
        })
    }

    /// The parts of a new machine.
    ///
    /// # Errors
    /// When an image cannot be opened.
    pub fn parts(&self) -> Result<Parts> {
        let mut disks: [_; MAX_DRIVES] = Default::default();
        for (spec, &place) in self.args.drives.iter().zip(&self.places) {
            disks[place] = Some(disk_file::open(&spec.file, Access::Snapshot)?.0);
        }
        let to_boot = self.boot == BootDevice::Cdrom || self.args.drives.is_empty() && self.kernel.is_none();
        let cdrom = self.args.cdrom.as_deref().map(|path| cdrom::open(path, to_boot)).transpose()?;
        Ok(Parts {
            accel: self.args.accel,
            perf_map: false,
            cpu: self.cpu,
            memory: self.args.memory,
            processors: self.args.smp,
            bios: self.bios.clone(),
            vga_bios: self.vga_bios.clone(),
            serial_screen: false,
            kernel: self.kernel.clone(),
            disks,
            floppies: [None, None],
            cdrom: cdrom.map(|(disc, _)| disc),
            boot: self.boot,
            time: TimeSource::Virtual,
            debug_exit: self.args.debug_exit,
            source: Some((0, Box::new(Script(self.input.iter().copied().collect())))),
        })
    }

    /// Name of the processor's model.
    pub fn cpu_name(&self) -> &'static str {
        self.cpu.name
    }

    /// Places of the drives among the IDE disks.
    pub fn places(&self) -> impl Iterator<Item = usize> {
        self.places.iter().copied()
    }

    /// Does it boot from the disc first?
    pub fn boots_disc(&self) -> bool {
        self.boot == BootDevice::Cdrom
    }

    /// Does it run the bundled disk, since nothing else was named?
    pub fn boots_bundled_disk(&self) -> bool {
        let args = &self.args;
        args.kernel.is_none() && args.cdrom.is_none() && args.drives.is_empty()
    }

    /// A new machine in its power-on state.
    ///
    /// # Errors
    /// When the host has no memory for it, or an image cannot be opened.
    pub fn guest(&self, kind: EngineKind) -> Result<Guest> {
        Guest::assemble_on(kind.engine()?, &mut self.parts()?)
    }
}

/// How a run ended, if it did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// It got to the count that was asked for.
    Reached,
    /// It stopped for good, for this reason.
    Stopped(String),
}

/// Runs until `until` instructions have retired, over resets.
pub fn advance(guest: &mut Guest, until: u64, no_reboot: bool) -> End {
    while guest.instructions() < until {
        let stop = guest.run(until);
        for port in 0..machine::PORTS {
            guest.take_serial(port);
        }
        guest.take_debugcon();
        match stop {
            Stop::Limit | Stop::Observed => {}
            Stop::Reset | Stop::TripleFault(_) if !no_reboot => guest.reset(),
            Stop::Reset => return End::Stopped("the guest reset itself".into()),
            Stop::TripleFault(chain) => return End::Stopped(chain.to_string()),
            Stop::PowerOff => return End::Stopped("the guest switched itself off".into()),
            Stop::DebugExit(value) => return End::Stopped(format!("debug exit with {value:#x}")),
            Stop::Halted { .. } => return End::Stopped("the guest is halted for good".into()),
            Stop::Unimplemented(what) => return End::Stopped(what.to_string()),
        }
    }
    End::Reached
}
