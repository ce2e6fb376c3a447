//! QEMU as a child process whose log comes through a pipe. Nothing is written to disk, and nothing is left behind:
//! files that it needs are memory of ours, which it opens by way of `/proc`, and it dies when we do.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use anyhow::{Context, Result, bail};
use rustix::fs::MemfdFlags;
use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};
use rustix::process::{Pid, Signal, kill_process};

use super::overlay;
use super::recipe::Recipe;
use crate::outcome::usage;
use crate::say::report;

/// The program without `--qemu`.
const PROGRAM: &str = "qemu-system-x86_64";
/// The version whose log format and faults we know.
const KNOWN_VERSION: (u32, u32) = (7, 2);
/// From here on the option for one instruction a block has another name.
const RENAMED: (u32, u32) = (8, 1);
/// Bytes that QEMU may write ahead.
const PIPE_SIZE: usize = 1 << 20;
/// What QEMU's `max` has and we lack.
const LACKING: &str = "-mpx,-svm,-3dnow,-3dnowext,-sse4a,-clzero,-xsaveerptr,-wbnoinvd";

/// How much its log says.
#[derive(Clone, Copy, Debug, Default)]
pub struct Depth {
    /// Registers before each block instead of before each instruction.
    pub blocks: bool,
    /// x87 and vector registers.
    pub vectors: bool,
}

/// A running QEMU.
pub struct Qemu {
    /// Its version, as it says it.
    pub version: String,
    input: Option<std::process::ChildStdin>,
    pid: Pid,
    exited: Arc<AtomicBool>,
    waiter: Option<JoinHandle<Option<ExitStatus>>>,
    errors: Option<JoinHandle<String>>,
    _files: Vec<OwnedFd>,
}

impl Qemu {
    /// Starts it on the same machine as `recipe`, and returns the end of the pipe that its log comes out of.
    ///
    /// # Errors
    /// When it is missing, or does not start.
    pub fn start(recipe: &Recipe, program: Option<&Path>, depth: Depth) -> Result<(Self, File)> {
        let program = program.map_or_else(|| PathBuf::from(PROGRAM), Path::to_owned);
        let version = version(&program)?;
        let (read, write) = pipe_with(PipeFlags::CLOEXEC).context("a pipe for the log of QEMU")?;
        let _ = fcntl_setpipe_size(&read, PIPE_SIZE);
        let mut files = Vec::new();
        let mut command = die_with_us(&program);
        options(&mut command, recipe, version.0, depth.blocks, &mut files)?;
        let mut log = "exec,cpu,nochain,int,trace:memory_region_ops_read".to_owned();
        if depth.vectors {
            log += ",fpu";
        }
        command.arg("-d").arg(log).arg("-D").arg(name_of(&write));
        let has_input = !recipe.input.is_empty();
        command.stdin(if has_input { Stdio::piped() } else { Stdio::null() });
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("{} does not start", program.display()))?;
        let (input, stderr) = (child.stdin.take(), child.stderr.take());
        let pid = Pid::from_child(&child);
        let exited = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&exited);
        // Our end of the pipe is open as long as QEMU is, so that the log does not end before it has begun.
        let waiter = thread::spawn(move || wait(child, write, &ended));
        let errors = thread::spawn(move || {
            let mut text = String::new();
            if let Some(stderr) = stderr {
                let _ = stderr.take(1 << 16).read_to_string(&mut text);
            }
            text
        });
        let qemu = Self {
            version: version.1,
            input,
            pid,
            exited,
            waiter: Some(waiter),
            errors: Some(errors),
            _files: files,
        };
        Ok((qemu, File::from(read)))
    }

    /// Types at its COM1, and closes it.
    pub fn send(&mut self, text: &[u8]) {
        if let Some(mut input) = self.input.take() {
            let text = text.to_owned();
            // QEMU takes it as its UART has room; that may last.
            thread::spawn(move || input.write_all(&text));
        }
    }

    /// Waits for its end; what it said, when it failed.
    pub fn finish(&mut self) -> Option<String> {
        let status = self.waiter.take()?.join().ok().flatten();
        let errors = self.errors.take().and_then(|thread| thread.join().ok()).unwrap_or_default();
        match status {
            Some(status) if status.success() => None,
            Some(status) => {
                let said = errors.lines().next().unwrap_or("").trim().to_owned();
                Some(if said.is_empty() { format!("QEMU ended: {status}") } else { said })
            }
            None => Some("QEMU's end was not seen".into()),
        }
    }
}

impl Drop for Qemu {
    fn drop(&mut self) {
        if !self.exited.load(Ordering::Acquire) {
            let _ = kill_process(self.pid, Signal::KILL);
        }
        self.finish();
    }
}

fn wait(mut child: Child, log: OwnedFd, ended: &AtomicBool) -> Option<ExitStatus> {
    let status = child.wait().ok();
    ended.store(true, Ordering::Release);
    drop(log);
    status
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

/// A command that is killed when this process dies, where setpriv (util-linux) is there to arrange it.
fn die_with_us(program: &Path) -> Command {
    let found = std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join("setpriv").is_file()));
    if !found {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(program);
    command
}

/// A name by which another process can open what we have open.
fn name_of(file: &OwnedFd) -> String {
    format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd())
}

fn in_memory(bytes: &[u8], files: &mut Vec<OwnedFd>) -> Result<String> {
    let file = rustix::fs::memfd_create("emu-diff", MemfdFlags::CLOEXEC).context("memory for a file")?;
    let mut file = File::from(file);
    file.write_all(bytes).context("memory for a file")?;
    let file = OwnedFd::from(file);
    let name = name_of(&file);
    files.push(file);
    Ok(name)
}

fn options(
    command: &mut Command,
    recipe: &Recipe,
    version: (u32, u32),
    blocks: bool,
    files: &mut Vec<OwnedFd>,
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
    command.arg("-bios").arg(in_memory(bios, files)?);
    let rom = in_memory(recipe.vga_bios.as_deref().unwrap_or(emu_roms::VGA_BIOS), files)?;
    // An option of the card by itself would take the card away.
    command.args(["-vga", "std"]).arg("-global").arg(format!("VGA.romfile={rom}"));
    let nothing = args.kernel.is_none() && args.cdrom.is_none() && args.drives.is_empty();
    if nothing {
        let disk = in_memory(emu_guest::DISK_IMAGE, files)?;
        command.arg("-drive").arg(format!("file={disk},format=raw,if=ide,index=0"));
    }
    for (spec, place) in args.drives.iter().zip(recipe.places()) {
        let overlay = in_memory(&over(&spec.file)?, files)?;
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
