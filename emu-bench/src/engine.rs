//! What workloads run on: the host itself, our engines, and other emulators where they are installed.

use std::ffi::OsString;
use std::io;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::bochs;
use crate::error::Error;
use crate::guest::{APPEND, Files, Medium};

/// What the names of an earlier build's engines begin with; that of ours follows.
pub(crate) const EARLIER: &str = "earlier-";
/// QEMU's system emulator for PCs.
const QEMU: &str = "qemu-system-x86_64";

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Engine {
    /// The host's processor and kernel, without any emulator.
    Native,
    /// Our interpreter.
    Interp,
    /// Our translator.
    Jit,
    /// Another build of emu, with its default engine.
    Other(PathBuf),
    /// The interpreter of the build that an earlier report was made with.
    EarlierInterp(PathBuf),
    /// Its translator.
    EarlierJit(PathBuf),
    /// QEMU's translator.
    Qemu,
    /// Bochs.
    Bochs,
}

/// How the serial line of a process is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wire {
    /// Standard input and output.
    Pipes,
    /// A Unix socket that the process listens on.
    Unix(PathBuf),
    /// A port of this host that the process listens on.
    Tcp(u16),
}

/// How a process is started.
#[derive(Debug)]
pub(crate) struct Start {
    /// The command.
    pub command: Command,
    /// Its serial line.
    pub wire: Wire,
    /// A folder to be removed when it has ended.
    pub folder: Option<PathBuf>,
}

/// What a machine has.
#[derive(Clone, Debug)]
pub struct Hardware {
    /// RAM in megabytes.
    pub megabytes: u64,
    /// Processors.
    pub processors: u32,
    /// Images of IDE disks beside what it boots from; they are not written.
    pub disks: Vec<PathBuf>,
}

impl Default for Hardware {
    fn default() -> Self {
        Self { megabytes: 256, processors: 1, disks: Vec::new() }
    }
}

impl Engine {
    /// The names of all, in the order in which they are shown.
    pub const NAMES: [&'static str; 8] =
        ["native", "interp", "earlier-interp", "jit", "earlier-jit", "other", "qemu", "bochs"];

    /// The name on the command line and in reports.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Interp => "interp",
            Self::Jit => "jit",
            Self::Other(_) => "other",
            Self::EarlierInterp(_) => "earlier-interp",
            Self::EarlierJit(_) => "earlier-jit",
            Self::Qemu => "qemu",
            Self::Bochs => "bochs",
        }
    }

    /// `None` when it can be run here, else why not.
    pub fn missing(&self) -> Option<String> {
        match self {
            Self::Native if cfg!(all(target_arch = "x86_64", target_os = "linux")) => None,
            Self::Native => Some("the host is no x86-64 Linux".into()),
            Self::Qemu => {
                let version =
                    Command::new(QEMU).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
                let found = version.is_ok_and(|status| status.success());
                (!found).then(|| format!("{QEMU} does not start (Debian package qemu-system-x86)"))
            }
            Self::Bochs => bochs::missing(),
            Self::Other(path) if !path.is_file() => Some(format!("{} is no file", path.display())),
            _ => None,
        }
    }

    /// The engine of an earlier build that is held against this one of ours.
    pub fn earlier(&self, binary: &Path) -> Option<Self> {
        match self {
            Self::Interp => Some(Self::EarlierInterp(binary.into())),
            Self::Jit => Some(Self::EarlierJit(binary.into())),
            _ => None,
        }
    }

    /// True of engines of an earlier build.
    pub fn is_earlier(&self) -> bool {
        matches!(self, Self::EarlierInterp(_) | Self::EarlierJit(_))
    }

    /// How to start a guest, or the workloads' program itself; `emu` is our own binary.
    pub(crate) fn start(&self, emu: &Path, files: &Files, hardware: &Hardware) -> Result<Start, Error> {
        let (megabytes, processors) = (hardware.megabytes, hardware.processors.to_string());
        let start = |command, wire| Ok(Start { command, wire, folder: None });
        match self {
            Self::Native => {
                let Some(programs) = &files.programs else {
                    return Err(Error::Missing("this guest's programs do not run on the host".into()));
                };
                let mut command = Command::new(&programs.work);
                command.arg("serve").env("WORK_SHELL", &programs.busybox);
                start(command, Wire::Pipes)
            }
            Self::Interp => self.start_build(emu, Some("interp"), files, hardware),
            Self::Jit => self.start_build(emu, Some("jit"), files, hardware),
            Self::Other(binary) => self.start_build(binary, None, files, hardware),
            Self::EarlierInterp(binary) => self.start_build(binary, Some("interp"), files, hardware),
            Self::EarlierJit(binary) => self.start_build(binary, Some("jit"), files, hardware),
            Self::Qemu => {
                let mut command = Command::new(QEMU);
                let memory = megabytes.to_string();
                command.args([
                    "-accel",
                    "tcg",
                    "-cpu",
                    "max",
                    "-m",
                    &memory,
                    "-display",
                    "none",
                    "-no-reboot",
                ]);
                command.args(["-nic", "none", "-monitor", "none", "-serial", "stdio", "-smp", &processors]);
                for disk in &hardware.disks {
                    let name = drive_name(disk);
                    command.args(["-drive", &format!("file={name},format=raw,if=ide,snapshot=on")]);
                }
                match &files.medium {
                    Medium::Linux { kernel, initrd } => {
                        command.args(["-append", APPEND, "-kernel"]).arg(kernel).arg("-initrd").arg(initrd);
                    }
                    Medium::Disk(path) => {
                        let drive = format!("file={},format=raw,if=ide,snapshot=on", drive_name(path));
                        command.args(["-drive", &drive]);
                    }
                }
                start(command, Wire::Pipes)
            }
            Self::Bochs => {
                let port = free_port().map_err(Error::host("a port for Bochs"))?;
                let (command, folder) = bochs::command(files, megabytes, port)?;
                Ok(Start { command, wire: Wire::Tcp(port), folder: Some(folder) })
            }
        }
    }

    /// The same for a build of emu, with one of its engines, or its default.
    fn start_build(
        &self,
        binary: &Path,
        accel: Option<&str>,
        files: &Files,
        hardware: &Hardware,
    ) -> Result<Start, Error> {
        let socket = std::env::temp_dir().join(format!("emu-bench-{}-{}", std::process::id(), self.name()));
        let mut serial = OsString::from("unix:");
        serial.push(&socket);
        let mut command = Command::new(binary);
        command.args(["run", "--time", "host", "-m", &format!("{}M", hardware.megabytes)]);
        command.arg("--serial").arg(serial);
        if let Some(accel) = accel {
            command.args(["--accel", accel]);
        }
        command.args(["--smp", &hardware.processors.to_string()]);
        for disk in &hardware.disks {
            command.arg("--drive").arg(format!("{},snapshot=on", drive_name(disk)));
        }
        if let Medium::Linux { kernel, initrd } = &files.medium {
            command.args(["--append", APPEND, "--kernel"]).arg(kernel).arg("--initrd").arg(initrd);
        }
        Ok(Start { command, wire: Wire::Unix(socket), folder: None })
    }
}

/// A path as both we and QEMU take it within a list: a comma is written twice.
fn drive_name(path: &Path) -> String {
    path.display().to_string().replace(',', ",,")
}

/// A port that is free now.
fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind("localhost:0")?.local_addr()?.port())
}
