//! The command line: one definition for each flag.
//!
//! Everything that can be told from the text alone is checked here, before any file is touched.

#![allow(rustdoc::broken_intra_doc_links, reason = "these comments are help texts: brackets mean optional")]

use std::num::NonZeroU64;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::bench::BenchArgs;
use crate::console::SerialSpec;
use crate::cpu_model::CpuSpec;
use crate::drive::DriveSpec;
use crate::gdb::link::Address;
use crate::lint::Lint;
use crate::size;
use crate::trace::args::{ReadArgs, TraceArgs};

/// A full-system x86 PC emulator.
#[derive(Debug, Parser)]
#[command(
    name = "emu",
    version,
    about = "A full-system x86 PC emulator.\n\nWithout options it boots the bundled kernel. Ctrl-A X leaves, Ctrl-A H helps.",
    args_conflicts_with_subcommands = true
)]
pub struct Cli {
    /// What to do; `run` when nothing is named.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// The options of `run`.
    #[command(flatten)]
    pub run: RunArgs,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a machine (the default)
    Run(Box<RunArgs>),
    /// Tell what is built in and what the host can do
    Info(InfoArgs),
    /// Compare two machines and find the first instruction after which they differ
    Diff(DiffArgs),
    /// Measure guest workloads on our engines, the host and other emulators
    Bench(BenchArgs),
    /// Read an instruction trace that `emu run --trace` wrote
    Trace(Box<ReadArgs>),
}

/// Options of `emu diff`.
#[derive(Clone, Debug, Args)]
#[command(arg_required_else_help = false)]
pub struct DiffArgs {
    /// What is compared.
    #[command(subcommand)]
    pub what: DiffCommand,
}

/// What `emu diff` compares.
#[derive(Clone, Debug, Subcommand)]
pub enum DiffCommand {
    /// Boot the same machine twice and compare the runs
    Run(Box<DiffRunArgs>),
    /// Run random instructions, among them system instructions, on two machines
    Fuzz(FuzzArgs),
}

/// Options of `emu diff fuzz`.
#[derive(Clone, Debug, Args)]
pub struct FuzzArgs {
    /// What to compare with
    #[arg(long, value_name = "REFERENCE")]
    pub against: Against,

    /// Where the sequence of random numbers starts: the same seed gives the same cases
    #[arg(long, value_name = "N", default_value = "1")]
    pub seed: u64,

    /// How many random instructions run at least
    #[arg(long, value_name = "N", default_value = "100000")]
    pub cases: u64,

    /// Code of 32 bits, of 64 bits, or both in turn
    #[arg(long, value_name = "BITS", default_value = "both")]
    pub bits: Bits,

    /// With host: processes that work side by side [default: one for each processor of the host]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=256))]
    pub jobs: Option<u64>,

    /// The part of the cases that this process does, as one of the `--jobs` of another
    #[arg(long, value_name = "K", hide = true, requires = "jobs")]
    pub part: Option<u64>,

    /// Programs instead of single instructions: of system instructions in every mode, or with host of user code with
    /// x87 and vector instructions, on both engines; --cases counts programs then
    #[arg(long)]
    pub programs: bool,

    /// Write a report as JSON
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,

    /// Append a test vector for each difference that registers and memory alone tell
    #[arg(long, value_name = "FILE")]
    pub vectors: Option<PathBuf>,

    /// With qemu or bochs: known differences instead of the built-in list
    #[arg(long, value_name = "FILE")]
    pub known: Option<PathBuf>,

    /// With qemu: the program [default: qemu-system-x86_64]
    #[arg(long, value_name = "PROGRAM")]
    pub qemu: Option<PathBuf>,

    /// With bochs: the program, which has the debugger built in [default: bochs]
    #[arg(long, value_name = "PROGRAM")]
    pub bochs: Option<PathBuf>,
}

/// `--bits`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Bits {
    /// 32-bit code in protected mode.
    #[value(name = "32")]
    Narrow,
    /// 64-bit code.
    #[value(name = "64")]
    Wide,
    /// Each in turn.
    Both,
}

/// Options of `emu diff run`.
#[derive(Clone, Debug, Args)]
pub struct DiffRunArgs {
    /// The machine. Disks are opened as with snapshot=on.
    #[command(flatten)]
    pub run: RunArgs,

    /// What to compare with
    #[arg(long, value_name = "REFERENCE")]
    pub against: Against,

    /// With qemu or bochs: go on after a difference with its state, and group differences by instruction
    #[arg(long)]
    pub r#continue: bool,

    /// With qemu: compare after each block that QEMU translates, instead of after each instruction
    #[arg(long)]
    pub blocks: bool,

    /// With bochs: compare segment, control and debug registers every N instructions; the others always are
    #[arg(long, value_name = "N", default_value = "1000", value_parser = clap::value_parser!(u64).range(1..))]
    pub every: u64,

    /// With qemu: compare x87 and vector registers as well (slower)
    #[arg(long)]
    pub vectors: bool,

    /// With qemu or bochs: known differences instead of the built-in list
    #[arg(long, value_name = "FILE")]
    pub known: Option<PathBuf>,

    /// With qemu: the program [default: qemu-system-x86_64]
    #[arg(long, value_name = "PROGRAM")]
    pub qemu: Option<PathBuf>,

    /// With bochs: the program, which has the debugger built in [default: bochs]
    #[arg(long, value_name = "PROGRAM")]
    pub bochs: Option<PathBuf>,
}

/// `--against`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Against {
    /// The interpreter.
    Interp,
    /// The binary translator.
    Jit,
    /// QEMU's translator, instruction by instruction.
    Qemu,
    /// The host's processor; `emu diff fuzz` only.
    Host,
    /// Bochs, by its debugger, instruction by instruction.
    Bochs,
}

/// Options of `emu info`.
#[derive(Clone, Debug, Args)]
pub struct InfoArgs {
    /// Print JSON
    #[arg(long)]
    pub json: bool,

    /// List the encodings of all instruction sets that a processor model has, and whether each is implemented
    #[arg(long)]
    pub instructions: bool,
}

/// Options of `emu run`.
#[derive(Clone, Debug, Args)]
pub struct RunArgs {
    /// Engine that runs the guest's instructions; the translator is the default where the host is x86-64 Linux
    #[arg(long, value_name = "ENGINE", default_value = DEFAULT_ACCEL)]
    pub accel: Accel,

    /// Write /tmp/perf-PID.map, by which Linux perf names translated code after its guest addresses
    #[arg(long)]
    pub perf_map: bool,

    /// RAM, for example 512M or 2G
    #[arg(short, long, value_name = "SIZE", default_value = "256M", value_parser = memory)]
    pub memory: u64,

    /// Processors, 1 to 8; they take turns
    #[arg(long, value_name = "N", default_value = "1", value_parser = processors)]
    pub smp: usize,

    /// Processor: MODEL[,+feature,-feature]; `help` lists models and features
    #[arg(long, value_name = "MODEL[,...]", default_value = "max", value_parser = CpuSpec::parse)]
    pub cpu: CpuSpec,

    /// Firmware image instead of the bundled BIOS
    #[arg(long, value_name = "FILE")]
    pub bios: Option<PathBuf>,

    /// VGA BIOS image for --bios, SeaBIOS's vgabios-stdvga.bin for example; the bundled BIOS has its own
    #[arg(long, value_name = "FILE", requires = "bios")]
    pub vga_bios: Option<PathBuf>,

    /// A Linux bzImage, a Multiboot kernel or an ELF kernel with a PVH entry, to boot instead of a disk
    #[arg(long, value_name = "FILE")]
    pub kernel: Option<PathBuf>,

    /// How a bzImage is entered: by its real-mode code, or by its 32-bit or 64-bit entry
    #[arg(long, value_name = "BITS", default_value = "16", requires = "kernel")]
    pub kernel_entry: KernelEntry,

    /// Initial RAM disk for --kernel, or Multiboot modules: "FILE WORDS,FILE WORDS"
    #[arg(long, value_name = "FILE", requires = "kernel")]
    pub initrd: Option<PathBuf>,

    /// Command line for --kernel
    #[arg(long, value_name = "TEXT", requires = "kernel", allow_hyphen_values = true)]
    pub append: Option<String>,

    /// A disk: FILE[,format=raw][,if=ide][,index=N][,snapshot=on]; a comma in FILE is written twice
    #[arg(long = "drive", value_name = "FILE[,...]", value_parser = DriveSpec::parse)]
    pub drives: Vec<DriveSpec>,

    /// A CD-ROM with this image in it, on the second channel as in QEMU (index=2)
    #[arg(long, value_name = "FILE")]
    pub cdrom: Option<PathBuf>,

    /// A diskette image, 160K to 2.88M, write-protected if the file is; again for drive B
    #[arg(long = "floppy", value_name = "FILE")]
    pub floppies: Vec<PathBuf>,

    /// What to boot first [default: disk]
    #[arg(long, value_name = "DEVICE")]
    pub boot: Option<Boot>,

    /// COM1, and when given again COM2: stdio, file:PATH, unix:PATH, tcp:HOST:PORT or none
    #[arg(long = "serial", value_name = "BACKEND", value_parser = SerialSpec::parse)]
    pub serial: Vec<SerialSpec>,

    /// The screen: none, text to draw the VGA text screen in this terminal, or serial to have the
    /// firmware show its text on COM1 and take keys from there
    #[arg(long, value_name = "SCREEN", default_value = "none", value_parser = display)]
    pub display: Display,

    /// Write the screen to a PNG file when the machine stops
    #[arg(long, value_name = "FILE.png")]
    pub screenshot: Option<PathBuf>,

    /// Write the bytes that the guest sends to port 0xE9 to FILE
    #[arg(long, value_name = "FILE")]
    pub debugcon: Option<PathBuf>,

    /// Port that ends the run: writing V there gives exit status (V << 1) | 1
    #[arg(long, value_name = "PORT", value_parser = port)]
    pub debug_exit: Option<u16>,

    /// Serve gdb's remote protocol there; a debugger that connects stops the machine
    #[arg(long, value_name = "HOST:PORT|unix:PATH", value_parser = Address::parse)]
    pub gdb: Option<Address>,

    /// Let the machine stand still until a debugger lets it go
    #[arg(long, requires = "gdb")]
    pub paused: bool,

    /// Guest time from retired instructions (repeatable) or from the host's clock
    /// [default: host on a terminal, virtual otherwise]
    #[arg(long, value_name = "SOURCE")]
    pub time: Option<Time>,

    /// Stop after N retired instructions, of all processors together (exit status 4)
    #[arg(long, value_name = "N")]
    pub max_insns: Option<u64>,

    /// Stop after so much host time (exit status 124)
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub timeout: Option<Duration>,

    /// Log count, RIP and a hash of the state every N retired instructions
    #[arg(long, value_name = "N", requires = "hash_log")]
    pub hash_every: Option<NonZeroU64>,

    /// File for --hash-every
    #[arg(long, value_name = "FILE", requires = "hash_every")]
    pub hash_log: Option<PathBuf>,

    /// Write counts and speed to FILE as JSON at exit
    #[arg(long, value_name = "FILE")]
    pub stats: Option<PathBuf>,

    /// A reset (also by triple fault) ends the run (exit status 3)
    #[arg(long)]
    pub no_reboot: bool,

    /// Explain #GP, #PF, #TS, #NP, #SS and #DF as they happen, with the last 32 branches (slow)
    #[arg(long)]
    pub explain: bool,

    /// Tell what the guest does that has no meaning, or that nobody hears (slow)
    #[arg(long, value_name = "LINT,...", value_delimiter = ',')]
    pub lint: Vec<Lint>,

    /// Names of addresses for --explain and --lint, from an ELF file or a System.map; FILE@OFFSET moves them
    #[arg(long = "symbols", value_name = "FILE[@OFFSET]")]
    pub symbols: Vec<String>,

    /// What is recorded
    #[command(flatten)]
    pub tracing: TraceArgs,
}

/// The engine without `--accel`.
const DEFAULT_ACCEL: &str =
    if cfg!(all(target_arch = "x86_64", target_os = "linux")) { "jit" } else { "interp" };

/// `--accel`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Accel {
    /// The interpreter.
    Interp,
    /// The binary translator.
    Jit,
}

/// `--boot`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Boot {
    /// The first hard disk.
    Disk,
    /// The CD-ROM.
    Cdrom,
    /// The first floppy drive.
    Floppy,
}

/// `--kernel-entry`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum KernelEntry {
    /// Its setup code, in real mode.
    #[value(name = "16")]
    Real,
    /// Its 32-bit entry.
    #[value(name = "32")]
    Protected,
    /// Its 64-bit entry.
    #[value(name = "64")]
    Long,
}

/// `--display`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Display {
    /// No screen is shown.
    None,
    /// The VGA text screen, drawn in the terminal.
    Text,
    /// No screen, but the firmware sends its text to COM1.
    Serial,
}

/// `--time`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Time {
    /// One nanosecond for each retired instruction; repeatable bit for bit.
    Virtual,
    /// The host's clock.
    Host,
}

/// Least and most RAM that a machine may have.
const MEMORY: std::ops::RangeInclusive<u64> = 1 << 20..=64 << 30;

fn memory(text: &str) -> Result<u64, String> {
    let bytes = size::parse(text)?;
    if !MEMORY.contains(&bytes) {
        return Err(format!(
            "expected between {} and {}",
            size::show(*MEMORY.start()),
            size::show(*MEMORY.end())
        ));
    }
    if bytes % (1 << 20) != 0 {
        return Err("expected a whole number of megabytes".into());
    }
    Ok(bytes)
}

/// Most processors that a machine may have.
const PROCESSORS: usize = 8;

fn processors(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(count @ 1..=PROCESSORS) => Ok(count),
        _ => Err(format!("expected a number of processors from 1 to {PROCESSORS}")),
    }
}

fn display(text: &str) -> Result<Display, String> {
    match text {
        "none" => Ok(Display::None),
        "text" => Ok(Display::Text),
        "serial" => Ok(Display::Serial),
        _ if text.starts_with("vnc") => {
            Err("this version has no VNC server; expected none, text or serial".into())
        }
        _ => Err("expected none, text or serial".into()),
    }
}

fn port(text: &str) -> Result<u16, String> {
    let parsed = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(hex) => u16::from_str_radix(hex, 16),
        None => text.parse(),
    };
    parsed.map_err(|_| "expected a port from 0 to 0xffff, such as 0x501".into())
}

fn seconds(text: &str) -> Result<Duration, String> {
    let expected = "expected a number of seconds, such as 10 or 0.5";
    let value: f64 = text.parse().map_err(|_| expected.to_owned())?;
    match Duration::try_from_secs_f64(value) {
        Ok(time) if !time.is_zero() && time < Duration::from_secs(1 << 32) => Ok(time),
        _ => Err(expected.into()),
    }
}

/// The message of a command-line error in one line, without hints and usage.
pub fn one_line(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let first: Vec<&str> = text.lines().map(str::trim).take_while(|line| !line.is_empty()).collect();
    first.join(" ").trim_start_matches("error: ").to_owned()
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn run(args: &[&str]) -> Result<RunArgs, String> {
        let cli = Cli::try_parse_from([&["emu"], args].concat()).map_err(|error| one_line(&error))?;
        match cli.command {
            Some(Command::Run(run)) => Ok(*run),
            Some(Command::Info(_) | Command::Diff(_) | Command::Bench(_) | Command::Trace(_)) => {
                Err("another command".into())
            }
            None => Ok(cli.run),
        }
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn run_is_the_default() {
        assert_eq!(run(&["-m", "64M"]).unwrap().memory, 64 << 20);
        assert_eq!(run(&["run", "-m", "64M"]).unwrap().memory, 64 << 20);
        assert_eq!(run(&[]).unwrap().memory, 256 << 20);
    }

    #[test]
    fn errors_are_one_line_that_names_the_option() {
        for (args, part) in [
            (&["-m", "5X"][..], "--memory"),
            (&["-m", "0"], "between 1M and 64G"),
            (&["-m", "1025K"], "whole number of megabytes"),
            (&["--accel", "kvm"], "--accel"),
            (&["--display", "vnc=:1"], "VNC"),
            (&["--smp", "0"], "from 1 to 8"),
            (&["--smp", "9"], "from 1 to 8"),
            (&["--smp", "two"], "from 1 to 8"),
            (&["--smp=-1"], "from 1 to 8"),
            (&["--cpu", "pentiun"], "pentium"),
            (&["--cpu", "max,+mmy"], "mmx"),
            (&["--debug-exit", "65536"], "--debug-exit"),
            (&["--timeout=-1"], "seconds"),
            (&["--timeout", "nan"], "seconds"),
            (&["--hash-every", "5"], "--hash-log"),
            (&["--hash-every", "0", "--hash-log", "x"], "--hash-every"),
            (&["--gdb", "1234"], "HOST:PORT"),
            (&["--gdb", ":99999"], "65535"),
            (&["--gdb", "unix:"], "unix:PATH"),
            (&["--paused"], "--gdb"),
            (&["--initrd", "initrd.img"], "--kernel"),
            (&["--append", "quiet"], "--kernel"),
            (&["disk.img"], "disk.img"),
        ] {
            let message = run(args).unwrap_err();
            assert!(message.contains(part) && !message.contains('\n'), "{args:?}: {message}");
        }
    }

    #[test]
    fn ports_are_decimal_or_hexadecimal() {
        assert_eq!(port("0x501"), Ok(0x501));
        assert_eq!(port("1281"), Ok(0x501));
        assert!(port("-1").is_err());
    }
}
