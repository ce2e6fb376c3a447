//! QEMU as a child process: its options, and its version.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::child::{self, Means, Reference};
use super::overlay;
use super::recipe::Recipe;
use crate::outcome::usage;
use crate::say::report;

/// What it is called.
const NAME: &str = "QEMU";
/// The program without `--qemu`.
const PROGRAM: &str = "qemu-system-x86_64";
/// The version whose log format and faults we know.
const KNOWN_VERSION: (u32, u32) = (7, 2);
/// From here on the option for one instruction a block has another name.
const RENAMED: (u32, u32) = (8, 1);
/// What QEMU's `max` has and we lack. Without SVM its extended leaves of CPUID would end at 8000_0001H, and glibc, which
/// asks later leaves of AMD's processors for their caches, would copy wrongly by what it gets.
const LACKING: &str = "-mpx,-svm,-3dnow,-3dnowext,-sse4a,-clzero,-xsaveerptr,-wbnoinvd,xlevel=0x80000008";

/// How much its log says.
#[derive(Clone, Copy, Debug, Default)]
pub struct Depth {
    /// Registers before each block instead of before each instruction.
    pub blocks: bool,
    /// x87 and vector registers.
    pub vectors: bool,
}

/// Starts it on the same machine as `recipe`, and returns the end of the pipe that its log comes out of.
///
/// # Errors
/// When it is missing, or does not start.
pub fn start(recipe: &Recipe, program: Option<&Path>, depth: Depth) -> Result<(Reference, File)> {
    let program = program.map_or_else(|| PathBuf::from(PROGRAM), Path::to_owned);
    let version = version(&program)?;
    let mut means = Means::new()?;
    let mut command = child::die_with_us(&program);
    options(&mut command, recipe, version.0, depth.blocks, &mut means)?;
    let mut log = "exec,cpu,nochain,int,trace:memory_region_ops_read".to_owned();
    if depth.vectors {
        log += ",fpu";
    }
    command.arg("-d").arg(log).arg("-D").arg(child::name_of(&means.log));
    let has_input = !recipe.input.is_empty();
    command.stdin(if has_input { Stdio::piped() } else { Stdio::null() });
    command.stdout(Stdio::null());
    Reference::start((NAME, version.1), command, means, |errors| errors.lines().next())
}

/// Major and minor number, and the whole text.
fn version(program: &Path) -> Result<((u32, u32), String)> {
    let missing = || {
        format!(
            "--against qemu: {} does not start; expected QEMU (Debian package qemu-system-x86)",
            program.display()
        )
    };
    let output =
        Command::new(program).arg("--version").stdin(Stdio::null()).output().with_context(missing)?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let number = text.strip_prefix("QEMU emulator version ").and_then(|rest| {
        let mut parts = rest.split(|c: char| !c.is_ascii_digit());
        Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
    });
    let Some(number) = number else {
        bail!("--against qemu: {} does not tell its version; expected QEMU", program.display());
    };
    if number != KNOWN_VERSION {
        let (major, minor) = KNOWN_VERSION;
        report!("QEMU {}.{}: the known differences were taken with {major}.{minor}", number.0, number.1);
    }
    Ok((number, format!("{}.{}", number.0, number.1)))
}

fn options(
    command: &mut Command,
    recipe: &Recipe,
    version: (u32, u32),
    blocks: bool,
    means: &mut Means,
) -> Result<()> {
    let args = &recipe.args;
    if args.smp > 1 {
        usage!("--smp {}: expected one processor with --against qemu", args.smp);
    }
    command.args([
        "-M",
        "pc,smm=off",
        "-display",
        "none",
        "-monitor",
        "none",
        "-nic",
        "none",
        "-no-user-config",
    ]);
    let accel = "tcg,thread=single";
    match (blocks, version >= RENAMED) {
        (true, _) => command.args(["-accel", accel]),
        (false, true) => command.arg("-accel").arg(format!("{accel},one-insn-per-tb=on")),
        (false, false) => command.args(["-accel", accel, "-singlestep"]),
    };
    command.args(["-icount", "shift=0,sleep=off", "-rtc", "base=2026-01-01,clock=vm", "-serial", "stdio"]);
    // Firmware that reads fw_cfg by DMA would put into memory what the log does not show.
    command.args(["-global", "fw_cfg_io.dma_enabled=off", "-global", "apic-common.vapic=off"]);
    command.arg("-m").arg(format!("{}M", args.memory >> 20));
    let name = recipe.cpu_name();
    match name {
        "max" => command.arg("-cpu").arg(format!("max,{LACKING}")),
        name => command.arg("-cpu").arg(name),
    };
    let bios = recipe.bios.as_deref().unwrap_or(emu_roms::BIOS);
    command.arg("-bios").arg(means.in_memory(bios)?);
    let rom = means.in_memory(recipe.vga_bios.as_deref().unwrap_or(emu_roms::VGA_BIOS))?;
    // An option of the card by itself would take the card away.
    command.args(["-vga", "std"]).arg("-global").arg(format!("VGA.romfile={rom}"));
    if recipe.boots_bundled_disk() {
        let disk = means.in_memory(emu_guest::DISK_IMAGE)?;
        command.arg("-drive").arg(format!("file={disk},format=raw,if=ide,index=0"));
    }
    for (spec, place) in args.drives.iter().zip(recipe.places()) {
        let overlay = means.in_memory(&over(&spec.file)?)?;
        command.arg("-drive").arg(format!("file={overlay},format=qcow2,if=ide,index={place}"));
    }
    if let Some(disc) = &args.cdrom {
        command.arg("-cdrom").arg(disc);
        command.args(["-boot", if recipe.boots_disc() { "d" } else { "c" }]);
    }
    if let Some(kernel) = &args.kernel {
        command.arg("-kernel").arg(kernel);
    }
    if let Some(initrd) = &args.initrd {
        command.arg("-initrd").arg(initrd);
    }
    if let Some(text) = &args.append {
        command.arg("-append").arg(text);
    }
    if args.no_reboot {
        command.arg("-no-reboot");
    }
    if let Some(port) = args.debug_exit {
        command.arg("-device").arg(format!("isa-debug-exit,iobase={port:#x},iosize=4"));
    }
    Ok(())
}

/// An overlay over a disk image of the user, which is never written.
fn over(path: &Path) -> Result<Vec<u8>> {
    let name = || format!("--drive {}", path.display());
    let path = path.canonicalize().with_context(name)?;
    let size = path.metadata().with_context(name)?.len();
    overlay::over(&path, size).with_context(|| format!("{}: expected a shorter path", name()))
}
