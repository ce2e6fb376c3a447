//! What workloads run on: the host itself, our engines, and other emulators where they are installed.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::guest::{APPEND, Files};

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
    /// QEMU's translator.
    Qemu,
}

/// How the serial line of a process is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire {
    /// Standard input and output.
    Pipes,
    /// A Unix socket that the process listens on, whose path is its last argument.
    Socket,
}

impl Engine {
    /// The names of all, in the order in which they are shown.
    pub const NAMES: [&'static str; 5] = ["native", "interp", "jit", "other", "qemu"];

    /// The name on the command line and in reports.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Interp => "interp",
            Self::Jit => "jit",
            Self::Other(_) => "other",
            Self::Qemu => "qemu",
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
            Self::Other(path) if !path.is_file() => Some(format!("{} is no file", path.display())),
            Self::Interp | Self::Jit | Self::Other(_) => None,
        }
    }

    /// The command that starts a guest, or the workloads' program itself; `emu` is our own binary.
    pub(crate) fn command(&self, emu: &Path, files: &Files, megabytes: u64) -> (Command, Wire) {
        let ours = |binary: &Path, accel: Option<&str>| {
            let mut command = Command::new(binary);
            command.args(["run", "--time", "host", "-m", &format!("{megabytes}M"), "--append", APPEND]);
            accel.into_iter().for_each(|accel| {
                command.args(["--accel", accel]);
            });
            command.arg("--kernel").arg(&files.kernel).arg("--initrd").arg(&files.initrd).arg("--serial");
            (command, Wire::Socket)
        };
        match self {
            Self::Native => {
                let mut command = Command::new(&files.program);
                command.arg("serve").env("WORK_SHELL", &files.busybox);
                (command, Wire::Pipes)
            }
            Self::Interp => ours(emu, Some("interp")),
            Self::Jit => ours(emu, Some("jit")),
            Self::Other(binary) => ours(binary, None),
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
                command.args(["-nodefaults", "-serial", "stdio", "-append", APPEND, "-kernel"]);
                command.arg(&files.kernel).arg("-initrd").arg(&files.initrd);
                (command, Wire::Pipes)
            }
        }
    }

    /// The argument that follows the command on a [`Wire::Socket`].
    pub(crate) fn socket_argument(path: &Path) -> OsString {
        let mut argument = OsString::from("unix:");
        argument.push(path);
        argument
    }
}
