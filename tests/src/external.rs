//! Programs and files that some tests need and that do not come with the project.

use std::path::PathBuf;
use std::process::{Command, Stdio};

/// QEMU's system emulator for PCs.
pub const QEMU: &str = "qemu-system-x86_64";

/// Where distributions put SeaBIOS.
const SEABIOS: [&str; 3] = [
    "/usr/share/seabios/bios-256k.bin",
    "/usr/share/qemu/bios-256k.bin",
    "/usr/share/qemu-kvm/bios-256k.bin",
];

/// Says aloud that a test does not run, and why. With `EMU_REQUIRE_EXTERNAL=1` in the environment, as in continuous
/// integration, that is a failure.
///
/// # Panics
/// Then.
pub fn skip(reason: &str) {
    assert!(
        std::env::var("EMU_REQUIRE_EXTERNAL").as_deref() != Ok("1"),
        "EMU_REQUIRE_EXTERNAL is set, and this is missing: {reason}"
    );
    eprintln!("SKIPPED: {reason}");
}

/// True when QEMU starts; else the test was skipped.
pub fn qemu() -> bool {
    let version = Command::new(QEMU).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    let found = version.is_ok_and(|status| status.success());
    if !found {
        skip(&format!("{QEMU} does not start (Debian package qemu-system-x86)"));
    }
    found
}

/// True when Bochs starts; else the test was skipped.
pub fn bochs() -> bool {
    let help = Command::new("bochs").arg("--help").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if help.is_err() {
        skip("bochs does not start (Debian package bochs)");
    }
    help.is_ok()
}

/// The folder that a variable of the environment names, with a build of something that cannot be fetched as a package;
/// `None` when the test was skipped.
pub fn named_folder(variable: &str) -> Option<PathBuf> {
    let folder = std::env::var_os(variable).map(PathBuf::from).filter(|folder| folder.is_dir());
    if folder.is_none() {
        skip(&format!("{variable} names no folder with a build of this suite"));
    }
    folder
}

/// GNU's debugger.
pub const GDB: &str = "gdb";

/// True when gdb starts and has Python; else the test was skipped.
pub fn gdb() -> bool {
    let version = Command::new(GDB).args(["-nx", "-batch", "-ex", "python print(gdb.VERSION)"]).output();
    let found = version.is_ok_and(|output| output.status.success() && !output.stdout.is_empty());
    if !found {
        skip("gdb does not start, or has no Python (Debian package gdb)");
    }
    found
}

/// SeaBIOS; `None` when the test was skipped.
pub fn seabios() -> Option<PathBuf> {
    let found = SEABIOS.iter().map(PathBuf::from).find(|path| path.is_file());
    if found.is_none() {
        skip(&format!("no SeaBIOS at {} (Debian package seabios)", SEABIOS.join(" or ")));
    }
    found
}
