//! `emu run`: checks everything, opens everything, runs the machine, and sees to what is left at the end.
//!
//! Order matters: wrong usage is found before any file is opened, inputs are opened before outputs, and no output is
//! created or emptied before all of them could be opened.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use crossbeam_channel::{Sender, bounded, unbounded};
use emu_core::cpu::model::Feature;
use emu_core::machine::TimeSource;
use emu_devices::pc::BootDevice;

use crate::args::{Boot, Display, RunArgs, Time};
use crate::cdrom;
use crate::console::{self, Listening, SerialOut, SerialSpec};
use crate::cpu_model::{self, CpuSpec};
use crate::debug::Motion;
use crate::disk_file::{self, Access, DiskFile, DiskHandle};
use crate::display::TextDisplay;
use crate::drive::{self, MAX_DRIVES};
use crate::events::{self, Event};
use crate::explain::Explainer;
use crate::gdb;
use crate::hash_log::HashLog;
use crate::kernel;
use crate::lint::Linter;
use crate::machine::{self, Guest, PORTS, Parts};
use crate::outcome::{Outcome, usage};
use crate::outputs::Outputs;
use crate::piped::PipedInput;
use crate::say::report;
use crate::screenshot;
use crate::session::{Keyboard, Limits, Line, Session};
use crate::stats::{self, Report};
use crate::terminal::{self, RawMode, Screen};
use crate::trace::symbols::Symbols;
use crate::tracing::Tracing;

/// Floppy drives of the machine.
const FLOPPIES: usize = 2;
/// Bytes that a socket's client may send ahead of the guest.
const READ_AHEAD: usize = 4096;

/// What follows from the arguments alone, and from which of our standard streams are terminals.
#[derive(Debug, PartialEq, Eq)]
struct Plan {
    serial: [SerialSpec; PORTS],
    /// Who gets what is typed at the terminal, if we take the terminal.
    keyboard: Option<Keyboard>,
    /// The port that standard input feeds when it is no terminal.
    piped: Option<usize>,
    time: TimeSource,
    places: Vec<usize>,
    boot: BootDevice,
}

/// Runs a machine to its end.
///
/// # Errors
/// Wrong usage, or what the host could not do.
pub fn run(args: &RunArgs) -> Result<Outcome> {
    let CpuSpec::Model(cpu) = &args.cpu else { return cpu_model::list() };
    let plan = plan(args, terminal::on_input(), terminal::on_output())?;
    let mut outputs = Outputs::default();
    let symbols = Symbols::load(&args.symbols)?;
    let bios = args.bios.as_deref().map(machine::read_bios).transpose()?;
    let vga_bios = args.vga_bios.as_deref().map(machine::read_vga_bios).transpose()?;
    args.bios.iter().chain(&args.vga_bios).for_each(|path| outputs.reads(path));
    let (kernel, read) = kernel::load(args)?;
    read.iter().for_each(|path| outputs.reads(path));
    let (disks, mut handles) = open_disks(args, &plan, &mut outputs)?;
    let cdrom = open_cdrom(args, &plan, &mut outputs, &mut handles)?;
    let floppies = open_floppies(args, &mut outputs, &mut handles)?;
    let mut files = Files::open(args, &plan, &mut outputs)?;
    let (events_in, events) = unbounded();
    let (lines, listening) = open_lines(&plan, &mut files.serial, &events_in)?;
    let gdb = args.gdb.as_ref().map(gdb::Server::listen).transpose()?;
    outputs.keep()?;

    let input = plan.piped.map(|port| PipedInput::start().map(|input| (port, input))).transpose()?;
    let waited = input.as_ref().map(|(_, input)| input.waited()).unwrap_or_default();
    let source = input.map(|(port, input)| (port, Box::new(input) as _));
    if let Some(note) = cpu.note() {
        report!("{note}");
    }
    let guest = Guest::assemble(Parts {
        accel: args.accel,
        perf_map: args.perf_map,
        cpu: cpu.model,
        memory: args.memory,
        processors: args.smp,
        bios,
        vga_bios,
        serial_screen: args.display == Display::Serial,
        kernel,
        disks,
        floppies,
        cdrom,
        boot: plan.boot,
        time: plan.time,
        debug_exit: args.debug_exit,
        source,
    })?;

    events::watch_signals(events_in.clone())?;
    let raw = plan.keyboard.map(|keyboard| take_terminal(keyboard, events_in)).transpose()?;
    let started = Instant::now();
    let mut session = Session::new(guest, plan.time, events, lines);
    session.keyboard = plan.keyboard;
    session.display = (args.display == Display::Text).then(TextDisplay::default);
    session.debugcon = files.debugcon.take();
    session.gdb = gdb;
    if args.paused {
        session.guest.debug.motion = Motion::Stand;
    }
    session.hash_log = files.hash_log.take();
    if files.stats.is_some() {
        session.guest.time_devices();
    }
    if args.explain {
        session.guest.machine().add_observer(Box::new(Explainer::new(symbols.clone())));
    }
    if !args.lint.is_empty() {
        session.guest.machine().add_observer(Box::new(Linter::new(args.lint.clone(), symbols)));
    }
    if let Some((path, file)) = files.trace.take() {
        session.tracing = Some(Tracing::start(&mut session.guest, path, file, args.tracing.filter())?);
    }
    session.limits = Limits {
        instructions: args.max_insns,
        deadline: args.timeout.map(|timeout| started + timeout),
        no_reboot: args.no_reboot,
    };
    let start = stats::processor_seconds();
    let outcome = session.run();
    let traced = session.tracing.take().map_or(Ok(()), |mut tracing| tracing.finish(&mut session.guest));
    drop(raw);
    drop(listening);

    // Whatever happened, what the guest wrote is brought to safety; the first trouble is the one that is told.
    let flushed = handles.iter().map(DiskHandle::finish).fold(Ok(()), Result::and);
    let reported = files.report(&mut session, start, started, waited.time());
    let outcome = outcome?;
    flushed.and(reported).and(traced).map(|()| outcome)
}

/// Finds wrong usage and settles what the arguments leave open.
fn plan(args: &RunArgs, terminal_in: bool, terminal_out: bool) -> Result<Plan> {
    if let CpuSpec::Model(cpu) = &args.cpu
        && args.smp > 1
        && !cpu.model.has(Feature::Apic)
    {
        usage!("--smp {}: expected a --cpu with an APIC, which {} lacks", args.smp, cpu.model.name);
    }
    let places = drive::places(&args.drives, args.cdrom.is_some())?;
    if args.boot == Some(Boot::Cdrom) && args.cdrom.is_none() {
        usage!("--boot cdrom: expected --cdrom FILE as well");
    }
    if args.boot == Some(Boot::Floppy) && args.floppies.is_empty() {
        usage!("--boot floppy: expected --floppy FILE as well");
    }
    if args.floppies.len() > FLOPPIES {
        usage!("--floppy: expected at most {FLOPPIES}, the machine has drives A and B");
    }
    let boot = match args.boot {
        Some(Boot::Disk) => BootDevice::Disk,
        Some(Boot::Cdrom) => BootDevice::Cdrom,
        Some(Boot::Floppy) => BootDevice::Floppy,
        None => BootDevice::Disk,
    };
    let text = args.display == Display::Text;
    if text && !(terminal_in && terminal_out) {
        usage!("--display text: expected a terminal on standard input and output");
    }
    if args.serial.len() > PORTS {
        usage!("--serial: expected at most {PORTS}, the machine has COM1 and COM2");
    }
    let first = if text { SerialSpec::None } else { SerialSpec::Stdio };
    let mut given = args.serial.iter().cloned();
    let serial = [given.next().unwrap_or(first), given.next().unwrap_or(SerialSpec::None)];
    let stdio = serial.iter().position(|spec| *spec == SerialSpec::Stdio);
    if serial.iter().filter(|spec| **spec == SerialSpec::Stdio).count() > 1 {
        usage!("--serial stdio: expected for one port only");
    }
    if text && stdio.is_some() {
        usage!(
            "--serial stdio: the terminal is taken by --display text; expected file:, unix:, tcp: or none"
        );
    }
    let keyboard = match stdio {
        _ if text => Some(Keyboard::Ps2),
        Some(port) if terminal_in => Some(Keyboard::Serial(port)),
        _ => None,
    };
    let time = match args.time {
        Some(Time::Virtual) => TimeSource::Virtual,
        Some(Time::Host) => TimeSource::Host,
        None if keyboard.is_some() => TimeSource::Host,
        None => TimeSource::Virtual,
    };
    Ok(Plan { serial, keyboard, piped: stdio.filter(|_| !terminal_in), time, places, boot })
}

type Disks = [Option<DiskFile>; MAX_DRIVES];

fn open_disks(args: &RunArgs, plan: &Plan, outputs: &mut Outputs) -> Result<(Disks, Vec<DiskHandle>)> {
    let mut disks = Disks::default();
    let mut handles = Vec::new();
    for (spec, &place) in args.drives.iter().zip(&plan.places) {
        let (disk, handle) =
            disk_file::open(&spec.file, if spec.snapshot { Access::Snapshot } else { Access::Write })?;
        outputs.reads(&spec.file);
        disks[place] = Some(disk);
        handles.push(handle);
    }
    Ok((disks, handles))
}

fn open_floppies(
    args: &RunArgs,
    outputs: &mut Outputs,
    handles: &mut Vec<DiskHandle>,
) -> Result<[Option<DiskFile>; FLOPPIES]> {
    let mut floppies = [None, None];
    for (slot, path) in floppies.iter_mut().zip(&args.floppies) {
        let (disk, handle) = disk_file::open_floppy(path)?;
        outputs.reads(path);
        handles.push(handle);
        *slot = Some(disk);
    }
    Ok(floppies)
}

fn open_cdrom(
    args: &RunArgs,
    plan: &Plan,
    outputs: &mut Outputs,
    handles: &mut Vec<DiskHandle>,
) -> Result<Option<DiskFile>> {
    let Some(path) = &args.cdrom else { return Ok(None) };
    let others = args.drives.len() + args.floppies.len();
    let to_boot = plan.boot == BootDevice::Cdrom || others == 0 && args.kernel.is_none();
    let (disc, handle) = cdrom::open(path, to_boot)?;
    outputs.reads(path);
    handles.push(handle);
    Ok(Some(disc))
}

/// The files that the run writes.
struct Files {
    serial: [Option<File>; PORTS],
    debugcon: Option<File>,
    hash_log: Option<HashLog>,
    stats: Option<(PathBuf, File)>,
    screenshot: Option<(PathBuf, File)>,
    trace: Option<(PathBuf, File)>,
}

impl Files {
    fn open(args: &RunArgs, plan: &Plan, outputs: &mut Outputs) -> Result<Self> {
        let mut open = |option: &str, path: &Option<PathBuf>| {
            path.as_ref().map(|path| outputs.open(option, path).map(|file| (path.clone(), file))).transpose()
        };
        let mut serial = [None, None];
        for (slot, spec) in serial.iter_mut().zip(&plan.serial) {
            if let SerialSpec::File(path) = spec {
                *slot = open("--serial", &Some(path.clone()))?.map(|(_, file)| file);
            }
        }
        let debugcon = open("--debugcon", &args.debugcon)?.map(|(_, file)| file);
        let hash_log = open("--hash-log", &args.hash_log)?.map(|(_, file)| file);
        Ok(Self {
            serial,
            debugcon,
            hash_log: hash_log.zip(args.hash_every).map(|(file, every)| HashLog::new(every.get(), file)),
            stats: open("--stats", &args.stats)?,
            screenshot: open("--screenshot", &args.screenshot)?,
            trace: open("--trace", &args.tracing.trace)?,
        })
    }

    /// Writes what is written at the end.
    fn report(self, session: &mut Session, start: f64, started: Instant, waited: Duration) -> Result<()> {
        if let Some(log) = &mut session.hash_log {
            log.finish().context("--hash-log")?;
        }
        if let Some((path, file)) = self.screenshot {
            let picture = session.guest.picture();
            screenshot::write(&picture, file).with_context(|| format!("--screenshot {}", path.display()))?;
        }
        if let Some((path, mut file)) = self.stats {
            let report = Report::new(&mut session.guest, start, started.elapsed(), [session.slept, waited]);
            let text = serde_json::to_string_pretty(&report)? + "\n";
            file.write_all(text.as_bytes()).with_context(|| format!("--stats {}", path.display()))?;
        }
        Ok(())
    }
}

fn open_lines(
    plan: &Plan,
    files: &mut [Option<File>; PORTS],
    events: &Sender<Event>,
) -> Result<([Line; PORTS], Vec<Listening>)> {
    let mut lines = [Line::default(), Line::default()];
    let mut listening = Vec::new();
    for ((line, spec), file) in lines.iter_mut().zip(&plan.serial).zip(files) {
        let (input, typed) = bounded(READ_AHEAD);
        let (out, socket) = match spec {
            SerialSpec::None => continue,
            SerialSpec::Stdio => (SerialOut::Stdout, None),
            SerialSpec::File(_) => (file.take().map_or(SerialOut::None, SerialOut::File), None),
            SerialSpec::Unix(path) => {
                let (out, socket) = console::listen_unix(path, input, events.clone())?;
                (out, Some(socket))
            }
            SerialSpec::Tcp(address) => {
                let (out, socket) = console::listen_tcp(address, input, events.clone())?;
                (out, Some(socket))
            }
        };
        *line = Line { out, input: socket.is_some().then_some(typed), ..Line::default() };
        listening.extend(socket);
    }
    Ok((lines, listening))
}

fn take_terminal(keyboard: Keyboard, events: Sender<Event>) -> Result<RawMode> {
    let screen = match keyboard {
        Keyboard::Ps2 => Screen::Full,
        Keyboard::Serial(_) => Screen::Scrolling,
    };
    let raw = RawMode::enter(screen)?;
    events::watch_keyboard(events)?;
    Ok(raw)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::Cli;

    fn planned(args: &[&str], terminal: bool) -> Result<Plan> {
        plan(&Cli::parse_from([&["emu"], args].concat()).run, terminal, terminal)
    }

    #[test]
    fn a_terminal_is_the_guests_console_in_host_time() {
        let plan = planned(&[], true).unwrap();
        assert_eq!(plan.serial, [SerialSpec::Stdio, SerialSpec::None]);
        assert_eq!((plan.keyboard, plan.piped), (Some(Keyboard::Serial(0)), None));
        assert_eq!(plan.time, TimeSource::Host);
    }

    #[test]
    fn a_pipe_feeds_the_console_in_virtual_time() {
        let plan = planned(&["--serial", "none", "--serial", "stdio"], false).unwrap();
        assert_eq!((plan.keyboard, plan.piped), (None, Some(1)));
        assert_eq!(plan.time, TimeSource::Virtual);
        assert_eq!(planned(&["--time", "host"], false).unwrap().time, TimeSource::Host);
    }

    #[test]
    fn the_text_screen_takes_the_terminal() {
        let plan = planned(&["--display", "text"], true).unwrap();
        assert_eq!(plan.serial, [SerialSpec::None, SerialSpec::None]);
        assert_eq!(plan.keyboard, Some(Keyboard::Ps2));
        assert!(planned(&["--display", "text"], false).is_err());
        assert!(planned(&["--display", "text", "--serial", "stdio"], true).is_err());
    }

    #[test]
    fn ports_have_one_use() {
        assert!(planned(&["--serial", "stdio", "--serial", "stdio"], true).is_err());
        assert!(planned(&["--serial", "none", "--serial", "none", "--serial", "none"], true).is_err());
    }
}
