//! The kernel that the boot loaders start, its first root file system, and a session in its shell.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use emu_tests::cpio::Archive;
use emu_tests::debian::{self, Arch};
use emu_tests::emulator::emu;
use emu_tests::external::{QEMU, qemu, skip};
use emu_tests::process::{Running, processor_seconds_of_children};

use super::Firmware;

const LIMIT: Duration = Duration::from_secs(400);
const INIT: &str = "#!/busybox sh
echo ready-for-input
exec /busybox sh
";
const SESSION: &str = "echo shell-$((6*7))\n/busybox uname -r\n/busybox poweroff -f\n";

/// A file of a package; `None` when the test was skipped.
pub fn packaged(package: &str, path: &str) -> Option<Vec<u8>> {
    let file =
        debian::file(Arch::Amd64, package, path).and_then(|file| fs::read(file).map_err(|e| e.to_string()));
    file.map_err(|reason| skip(&format!("Debian's package {package} cannot be had: {reason}"))).ok()
}

/// Kernel and initial RAM disk; `None` when the test was skipped.
pub fn kernel() -> Option<(Vec<u8>, Vec<u8>)> {
    let kernel = packaged("linux-image-cloud-amd64", "boot/vmlinuz-")?;
    let mut archive = Archive::default();
    archive.program("busybox", &packaged("busybox-static", "bin/busybox")?);
    archive.program("init", INIT.as_bytes());
    Some((kernel, archive.finish()))
}

/// Boots from a medium on an engine, talks to the shell, and returns what came over the serial port.
pub fn session(engine: &str, firmware: Firmware, medium: &str, image: &Path) -> Option<String> {
    let mut command = emu(["--accel", engine, "--no-reboot", medium]);
    command.arg(image);
    if let Some(bios) = firmware.file()? {
        command.arg("--bios").arg(bios);
    }
    Some(talk(command, &format!("{medium} on {engine} with {firmware:?}")))
}

/// The same on QEMU with its SeaBIOS; the medium is `-cdrom` or `-hda`.
pub fn session_on_qemu(medium: &str, image: &Path) -> Option<String> {
    if !qemu() {
        return None;
    }
    let mut command = Command::new(QEMU);
    command.args([
        "-accel",
        "tcg",
        "-cpu",
        "max",
        "-m",
        "256",
        "-display",
        "none",
        "-serial",
        "stdio",
        "-no-reboot",
    ]);
    command.args(["-monitor", "none", "-snapshot", medium]).arg(image);
    Some(talk(command, &format!("{medium} on QEMU")))
}

/// Types the session, and prints the processor time that it took.
fn talk(command: Command, on: &str) -> String {
    let before = processor_seconds_of_children();
    let mut running = Running::start(command, LIMIT);
    running.wait_for("ready-for-input");
    running.send(SESSION.as_bytes());
    running.end_input();
    let ended = running.finish();
    assert_eq!(ended.code(), Some(0), "{}", ended.story());
    let text = ended.text();
    for line in ["shell-42", "-cloud-amd64", "Command line: BOOT_IMAGE="] {
        assert!(text.contains(line), "{line:?} is missing in:\n{text}");
    }
    assert!(!text.contains("Kernel panic"), "{text}");
    let taken = processor_seconds_of_children().zip(before).map_or(0.0, |(after, before)| after - before);
    eprintln!("{on}: {taken:.2} s of processor time in all");
    text
}
