//! Debian's cloud kernel, booted directly with busybox as its user space, to `/proc/cpuinfo` and `poweroff`.
//!
//! The packages are fetched by name with `apt-get download` and kept in cargo's target folder.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use emu_tests::emulator::emu;
use emu_tests::external::{seabios, skip};
use emu_tests::process::Running;

const KERNEL_PACKAGE: &str = "linux-image-cloud-amd64";
const LIMIT: Duration = Duration::from_secs(240);

const INIT: &str = "#!/busybox sh
/busybox mkdir /proc /sys
/busybox mount -t proc proc /proc
/busybox mount -t sysfs sys /sys
/busybox uname -m
/busybox cat /proc/cpuinfo
echo 'init has done its work'
/busybox poweroff -f
";

struct Guest {
    kernel: PathBuf,
    initrd: PathBuf,
}

/// The kernel and an initial RAM disk; `None` when the test was skipped.
fn guest() -> Option<&'static Guest> {
    static GUEST: OnceLock<Result<Guest, String>> = OnceLock::new();
    match GUEST.get_or_init(prepare) {
        Ok(guest) => Some(guest),
        Err(reason) => {
            skip(&format!("Debian's packages {KERNEL_PACKAGE} and busybox-static cannot be had: {reason}"));
            None
        }
    }
}

fn prepare() -> Result<Guest, String> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("linux_boot");
    let guest = Guest { kernel: folder.join("vmlinuz"), initrd: folder.join("initrd.img") };
    let busybox = folder.join("busybox");
    let trouble = |error: std::io::Error| format!("{}: {error}", folder.display());
    // Renamed when complete, the kernel last, so that what lies there can be used.
    if !guest.kernel.is_file() || !busybox.is_file() {
        let work = folder.with_extension(std::process::id().to_string());
        fs::create_dir_all(&work).map_err(trouble)?;
        let fetched = fetch(&work).and_then(|found| {
            fs::create_dir_all(&folder).map_err(trouble)?;
            fs::rename(work.join("root/bin/busybox"), &busybox).map_err(trouble)?;
            fs::rename(found, &guest.kernel).map_err(trouble)
        });
        let _ = fs::remove_dir_all(&work);
        fetched?;
    }
    let archive = cpio(&[("busybox", &fs::read(&busybox).map_err(trouble)?), ("init", INIT.as_bytes())]);
    fs::write(&guest.initrd, archive).map_err(trouble)?;
    Ok(guest)
}

/// Fetches and unpacks the packages into the folder `root`; returns the kernel's path.
fn fetch(work: &Path) -> Result<PathBuf, String> {
    // The named package is empty and depends on the one of the current version.
    let depends = output(work, "apt-cache", &["depends", KERNEL_PACKAGE])?;
    let package = depends
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Depends: "))
        .find(|name| name.starts_with("linux-image-"))
        .ok_or("apt does not know the kernel package")?;
    output(work, "apt-get", &["-o", "Acquire::Retries=3", "download", package, "busybox-static"])?;
    let files = |folder: &Path| -> Result<Vec<PathBuf>, String> {
        let entries = fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        Ok(entries.filter_map(|entry| entry.ok().map(|entry| entry.path())).collect())
    };
    for file in files(work)?.iter().filter(|path| path.extension().is_some_and(|end| end == "deb")) {
        output(work, "dpkg-deb", &["-x", &file.to_string_lossy(), "root"])?;
    }
    files(&work.join("root/boot"))?
        .into_iter()
        .find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("vmlinuz-")))
        .ok_or_else(|| "the package holds no kernel".into())
}

fn output(folder: &Path, program: &str, arguments: &[&str]) -> Result<String, String> {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(format!("{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr).trim()))
}

/// An archive of executable files in the format that the kernel unpacks ("newc").
fn cpio(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = Vec::new();
    let mut add = |number: usize, mode: u32, name: &str, bytes: &[u8]| {
        // Number, mode, owner, group, links, time, size, device, its device, length of the name, check.
        let fields = [number, mode as usize, 0, 0, 1, 0, bytes.len(), 0, 0, 0, 0, name.len() + 1, 0];
        archive.extend_from_slice(b"070701");
        fields.iter().for_each(|field| archive.extend_from_slice(format!("{field:08x}").as_bytes()));
        archive.extend_from_slice(name.as_bytes());
        archive.push(0);
        archive.resize(archive.len().next_multiple_of(4), 0);
        archive.extend_from_slice(bytes);
        archive.resize(archive.len().next_multiple_of(4), 0);
    };
    for (number, (name, bytes)) in files.iter().enumerate() {
        add(number + 1, 0o100_755, name, bytes);
    }
    add(0, 0, "TRAILER!!!", &[]);
    archive
}

fn boot(guest: &Guest, bios: Option<&Path>) -> Running {
    let mut command = emu(["--append", "console=ttyS0", "--no-reboot", "--kernel"]);
    command.arg(&guest.kernel).arg("--initrd").arg(&guest.initrd);
    bios.into_iter().for_each(|bios| {
        command.arg("--bios").arg(bios);
    });
    Running::start(command, LIMIT)
}

fn check(text: &str) {
    for line in ["Command line: console=ttyS0", "\nx86_64", "emu x86-64 processor", "init has done its work"]
    {
        assert!(text.contains(line), "{line:?} is missing in:\n{text}");
    }
    assert!(!text.contains("Kernel panic") && !text.contains("WARNING:"), "{text}");
}

/// Our BIOS has no ACPI tables, without which the kernel cannot switch the machine off.
#[test]
fn linux_runs_a_program_when_our_bios_boots_it() {
    let Some(guest) = guest() else { return };
    let mut running = boot(guest, None);
    running.wait_for("System halted");
    check(&running.kill().text());
}

#[test]
fn linux_runs_a_program_and_powers_off_when_seabios_boots_it() {
    let Some(guest) = guest() else { return };
    let Some(bios) = seabios() else { return };
    let mut running = boot(guest, Some(&bios));
    running.end_input();
    let ended = running.finish();
    assert_eq!(ended.code(), Some(0), "{}", ended.story());
    check(&ended.text());
}
