//! One Linux kernel on one machine, one session in its shell, and what its log may say.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use emu_tests::cpio::Archive;
use emu_tests::debian::{self, Arch};
use emu_tests::emulator::emu;
use emu_tests::external::{QEMU, qemu, seabios, skip};
use emu_tests::process::{Ended, Running, processor_seconds_of_children};
use emu_tests::scratch::Scratch;

const LIMIT: Duration = Duration::from_secs(900);

/// Megabytes that the emulator may take of the host's memory, beside the guest's RAM and translated code (which are
/// shared mappings, and some 10 of the latter): it takes 31 to 33 with one processor, 44 to 48 with four.
const MOST_MEMORY: u64 = 48;
const MOST_MEMORY_OF_MANY: u64 = 64;
/// Processors of the largest machine that this holds for.
const MANY: u32 = 4;

const INIT: &str = "#!/busybox sh
/busybox mkdir /bin
/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
exec sh
";

/// What is typed. An answer is told from the terminal's echo by what the shell has worked out.
const SESSION: &str = "echo shell-$((6*7))
uname -m
grep -c ^processor /proc/cpuinfo
cat /proc/cpuinfo
free | grep Mem
cat /sys/devices/system/clocksource/clocksource0/current_clocksource
echo processors-$(nproc)-
echo log-$((6*7)); dmesg -r; echo end-$((6*7))
";

/// A kernel's package and what it runs on.
pub struct Guest {
    /// The package without a version.
    pub package: &'static str,
    /// Of the kernel, and of the programs.
    pub arch: Arch,
    /// What `uname -m` says.
    pub machine: &'static str,
}

/// The firmware to boot with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Firmware {
    /// The bundled one.
    Ours,
    /// Debian's SeaBIOS.
    SeaBios,
}

/// How the session ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Soft-off by ACPI.
    PowerOff,
    /// A reset, which ends the run.
    Restart,
}

/// The machine to boot on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setup {
    /// What `--accel` is given; the default engine when there is none.
    pub engine: Option<&'static str>,
    /// The firmware.
    pub firmware: Firmware,
    /// Processors.
    pub cpus: u32,
    /// How the session ends.
    pub end: End,
    /// What is added to the command line.
    pub append: &'static str,
}

impl Setup {
    /// One processor on the default engine, switched off in the end.
    pub const fn new(firmware: Firmware) -> Self {
        Self { engine: None, firmware, cpus: 1, end: End::PowerOff, append: "" }
    }

    /// On the interpreter.
    pub const fn interpreted(self) -> Self {
        Self { engine: Some("interp"), ..self }
    }

    /// With so many processors.
    pub const fn cpus(self, cpus: u32) -> Self {
        Self { cpus, ..self }
    }

    /// With this at the end of the command line.
    pub const fn append(self, append: &'static str) -> Self {
        Self { append, ..self }
    }

    fn command_line(&self) -> String {
        format!("console=ttyS0 {}", self.append)
    }

    /// Ends with a reset.
    pub const fn restarts(self) -> Self {
        Self { end: End::Restart, ..self }
    }
}

/// The files of a guest.
struct Files {
    kernel: PathBuf,
    initrd: PathBuf,
}

impl Guest {
    /// `None` when the test was skipped.
    fn files(&self, scratch: &Scratch) -> Option<Files> {
        let file = |package, path| debian::file(self.arch, package, path);
        let found = file(self.package, "boot/vmlinuz-")
            .and_then(|kernel| Ok((kernel, file("busybox-static", "bin/busybox")?)))
            .and_then(|(kernel, busybox)| Ok((kernel, std::fs::read(busybox).map_err(|e| e.to_string())?)));
        match found {
            Ok((kernel, busybox)) => {
                let mut archive = Archive::default();
                ["proc", "sys", "dev"].iter().for_each(|name| archive.directory(name));
                archive.program("busybox", &busybox);
                archive.program("init", INIT.as_bytes());
                Some(Files { kernel, initrd: scratch.write("initrd", &archive.finish()) })
            }
            Err(reason) => {
                skip(&format!(
                    "the packages {} and busybox-static for {}: {reason}",
                    self.package, self.arch
                ));
                None
            }
        }
    }
}

/// Boots a guest, has it answer the session and end, and checks all that.
pub fn check(guest: &Guest, setup: Setup) {
    check_for(guest, setup, &[]);
}

/// The same, and these lines are to be there, too.
pub fn check_for(guest: &Guest, setup: Setup, lines: &[&str]) {
    let scratch = Scratch::new(&format!("{}-{setup:?}", guest.package));
    let Some(files) = guest.files(&scratch) else { return };
    let bios = match setup.firmware {
        Firmware::Ours => None,
        Firmware::SeaBios => match seabios() {
            Some(path) => Some(path),
            None => return,
        },
    };
    if !qemu() {
        return;
    }
    let expected = complaints_on_qemu(guest, &files, setup);
    let (ended, seconds, memory) = session(on_emu(&files, setup, bios.as_deref()), setup.end);
    let text = ended.text();
    let wanted = match setup.end {
        End::PowerOff => 0,
        End::Restart => 3,
    };
    assert_eq!(ended.code(), Some(wanted), "{}", ended.story());
    let (machine, processors) = (format!("\n{}\r", guest.machine), format!("\nprocessors-{}-\r", setup.cpus));
    let always: [&str; 5] = [&machine, &processors, "model name\t: emu", "\nMem:", "end-42"];
    for line in always.iter().chain(lines) {
        assert!(text.contains(line), "{line:?} is missing in:\n{text}");
    }
    let mut new: Vec<_> = complaints(&text).difference(&expected).cloned().collect();
    if !new.is_empty() {
        // What the kernel's console prints just then falls into the log, so a line of QEMU's may be lost: once more.
        let again = complaints(&on_qemu(&files, setup));
        new.retain(|line| !again.contains(line));
    }
    assert!(new.is_empty(), "not on QEMU:\n{}\nin:\n{text}", new.join("\n"));
    eprintln!("{} on {setup:?}: {seconds}, {memory} KB beside the guest's RAM", guest.package);
    if setup.cpus <= MANY && cfg!(not(debug_assertions)) {
        let most = if setup.cpus == 1 { MOST_MEMORY } else { MOST_MEMORY_OF_MANY };
        assert!(
            memory < most << 10,
            "{memory} KB of the host's memory beside the guest's RAM and translated code"
        );
    }
}

fn on_emu(files: &Files, setup: Setup, bios: Option<&Path>) -> Command {
    let mut command = emu(["--no-reboot", "--smp", &setup.cpus.to_string()]);
    command.arg("--append").arg(setup.command_line());
    command.arg("--kernel").arg(&files.kernel).arg("--initrd").arg(&files.initrd);
    bios.into_iter().for_each(|bios| {
        command.arg("--bios").arg(bios);
    });
    setup.engine.into_iter().for_each(|engine| {
        command.args(["--accel", engine]);
    });
    command
}

/// What the same kernel complains of on QEMU, which is asked once.
fn complaints_on_qemu(guest: &Guest, files: &Files, setup: Setup) -> BTreeSet<String> {
    type Key = (&'static str, u32, &'static str);
    static KNOWN: Mutex<BTreeMap<Key, BTreeSet<String>>> = Mutex::new(BTreeMap::new());
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let key = (guest.package, setup.cpus, setup.append);
    known.entry(key).or_insert_with(|| complaints(&on_qemu(files, setup))).clone()
}

/// What the same kernel prints on QEMU.
fn on_qemu(files: &Files, setup: Setup) -> String {
    let mut command = Command::new(QEMU);
    command.args(["-accel", "tcg", "-cpu", "max", "-m", "256", "-nographic", "-no-reboot"]);
    command
        .args(["-smp", &setup.cpus.to_string(), "-append", &setup.command_line(), "-kernel"])
        .arg(&files.kernel)
        .arg("-initrd")
        .arg(&files.initrd);
    let (ended, seconds, _) = session(command, setup.end);
    assert_eq!(ended.code(), Some(0), "on QEMU: {}", ended.story());
    eprintln!("on QEMU with {} processors: {seconds}", setup.cpus);
    ended.text()
}

/// Types the session; returns how it ended, how long it took, and kilobytes of memory, but those that are shared, before
/// the end.
fn session(command: Command, end: End) -> (Ended, String, u64) {
    let started = Instant::now();
    let before = processor_seconds_of_children();
    let mut running = Running::start(command, LIMIT);
    // A shell that starts throws away what was typed before.
    let there = running.wait_for("\n/ # ");
    let mut memory = 0;
    let seconds = started.elapsed().as_secs_f64();
    if there {
        // Line by line: the terminal's echo of what is typed ahead would mix with what commands print.
        for (done, line) in SESSION.lines().enumerate() {
            running.send(format!("{line}\n").as_bytes());
            running.wait_for_times("\n/ # ", done + 2);
        }
        memory = running.memory().unwrap_or_default();
        running.send(match end {
            End::PowerOff => b"poweroff -f\n",
            End::Restart => b"reboot -f\n",
        });
    }
    let ended = running.finish();
    let taken = processor_seconds_of_children().zip(before).map_or(0.0, |(after, before)| after - before);
    (ended, format!("shell after {seconds:.1} s, {taken:.2} s of processor time in all"), memory)
}

/// The warnings and worse in the kernel's log, and its remarks about the firmware, without times and numbers.
fn complaints(text: &str) -> BTreeSet<String> {
    let log =
        text.split("\nlog-42").nth(1).and_then(|rest| rest.split("\nend-42").next()).unwrap_or_default();
    assert!(!log.is_empty(), "the log is missing in:\n{text}");
    log.lines()
        .filter_map(|line| line.strip_prefix('<')?.split_once('>'))
        .filter(|(level, line)| {
            let level: u32 = level.parse().unwrap_or(0);
            level & 7 <= 4 || ["Firmware Bug", "WARNING", "BUG:"].iter().any(|word| line.contains(word))
        })
        .map(|(_, line)| line.split_once("] ").map_or(line, |(_, words)| words).trim_end())
        // The ports of VBE's protected-mode interface, which the driver prints one by one without a level.
        .filter(|words| !words.chars().all(|c| c.is_ascii_hexdigit()))
        .map(|words| words.chars().map(|c| if c.is_ascii_digit() { '#' } else { c }).collect())
        .collect()
}
