//! Boots the image on QEMU with SeaBIOS, as far as QEMU is installed.
//!
//! Without QEMU the tests say SKIPPED; with EMU_REQUIRE_EXTERNAL=1 that is a failure.

use emu_guest::{DISK_IMAGE, layout};
use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

const QEMU: &str = "qemu-system-x86_64";
const TIMEOUT: Duration = Duration::from_secs(120);

/// What a run left behind.
struct Run {
    output: String,
    status: i32,
    disk: Vec<u8>,
}

/// Kills QEMU on every way out.
struct Guard(Child);

impl Drop for Guard {
    fn drop(&mut self) {
        // Both fail only when the process has ended already, which is what we want.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn qemu_is_here() -> bool {
    if Command::new(QEMU).arg("--version").output().is_ok_and(|output| output.status.success()) {
        return true;
    }
    assert!(env::var("EMU_REQUIRE_EXTERNAL").as_deref() != Ok("1"), "{QEMU} is required and not installed");
    println!("SKIPPED: {QEMU} is not installed");
    false
}

/// Boots `image` with these options and feeds `input` to the serial line. `None`: no QEMU.
fn boot(name: &str, image: &[u8], options: &[&str], input: &str) -> Option<Run> {
    if !qemu_is_here() {
        return None;
    }
    let folder = env::temp_dir().join(format!("emu-guest-{}-{name}", std::process::id()));
    fs::create_dir_all(&folder).expect("a temporary folder");
    let disk = folder.join("disk.img");
    fs::write(&disk, image).expect("a copy of the image");
    let child = Command::new(QEMU)
        .args(["-display", "none", "-serial", "stdio", "-no-reboot", "-nic", "none"])
        .args(["-device", "isa-debug-exit,iobase=0xf4,iosize=4"])
        .arg("-drive")
        .arg(format!("file={},format=raw,if=ide", disk.display()))
        .args(options)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .expect("QEMU starts");
    let mut guard = Guard(child);
    let mut stdin = guard.0.stdin.take().expect("piped");
    stdin.write_all(input.as_bytes()).expect("QEMU takes the input");
    let mut stdout = guard.0.stdout.take().expect("piped");
    let reader = thread::spawn(move || {
        let mut bytes = Vec::new();
        stdout.read_to_end(&mut bytes).expect("QEMU's output");
        String::from_utf8_lossy(&bytes).replace('\r', "")
    });
    let end = Instant::now() + TIMEOUT;
    let status = loop {
        if let Some(status) = guard.0.try_wait().expect("QEMU is our child") {
            break status.code().unwrap_or(-1);
        }
        if Instant::now() > end {
            break -2; // `guard` kills it
        }
        thread::sleep(Duration::from_millis(20));
    };
    drop((stdin, guard));
    let output = reader.join().expect("the reader ends with QEMU");
    assert_ne!(status, -2, "QEMU did not end in {TIMEOUT:?}:\n{output}");
    let disk = fs::read(&disk).expect("the image is still there");
    // A folder that stays behind in the temporary place is no reason to fail.
    let _ = fs::remove_dir_all(&folder);
    Some(Run { output, status, disk })
}

fn assert_selftest_passes(run: &Run) {
    let failures: Vec<&str> = run.output.lines().filter(|line| line.starts_with("FAIL")).collect();
    assert!(failures.is_empty(), "{failures:#?}");
    let good = run.output.lines().filter(|line| line.starts_with("ok ")).count();
    assert!(good >= 100, "only {good} checks:\n{}", run.output);
    assert!(run.output.contains(&format!("selftest: {good} ok, 0 failed")), "{}", run.output);
    assert!(run.disk == DISK_IMAGE[..], "the self-test left something on the disk");
}

#[test]
fn selftest_passes_and_poweroff_ends_the_machine() {
    let Some(run) = boot("selftest", DISK_IMAGE, &["-m", "256"], "selftest; poweroff\n") else { return };
    assert!(run.output.contains("read by EDD"), "{}", run.output);
    assert_selftest_passes(&run);
    assert!(run.output.ends_with("Good night.\n"), "{}", run.output);
    assert_eq!(run.status, 0);
}

#[test]
fn selftest_passes_on_the_largest_processor_and_reports_to_debug_exit() {
    let Some(run) = boot("max", DISK_IMAGE, &["-m", "32", "-cpu", "max"], "selftest --exit\n") else {
        return;
    };
    assert_selftest_passes(&run);
    assert_eq!(run.status, 1, "0 written to port F4h");
}

/// Without an APIC the 8259 pair serves for good.
#[test]
fn selftest_passes_without_apic() {
    let options = ["-m", "3G", "-cpu", "qemu64,-apic"];
    let Some(run) = boot("pic", DISK_IMAGE, &options, "selftest; poweroff\n") else { return };
    assert!(run.output.contains("interrupts: 8259 pair\n"), "{}", run.output);
    assert_selftest_passes(&run);
    assert_eq!(run.status, 0);
}

#[test]
fn loader_reads_by_cylinder_head_and_sector_too() {
    let mut image = DISK_IMAGE.to_vec();
    image[layout::BOOT_OPTIONS] |= 1;
    let Some(run) = boot("chs", &image, &[], "echo by CHS; poweroff\n") else { return };
    assert!(run.output.contains("read by CHS") && run.output.contains("\nby CHS\n"), "{}", run.output);
    assert_eq!(run.status, 0);
}

/// Much input at once, all of it waiting before the kernel runs: nothing is lost.
#[test]
fn early_input_is_not_lost() {
    let mut input: String = (0..150).map(|i| format!("echo line {i} of many\n")).collect();
    input.push_str("poweroff\n");
    let Some(run) = boot("input", DISK_IMAGE, &[], &input) else { return };
    for i in 0..150 {
        assert!(
            run.output.contains(&format!("\nline {i} of many\n")),
            "line {i} is missing:\n{}",
            run.output
        );
    }
    assert_eq!(run.status, 0);
}

#[test]
fn shell_edits_lines_and_runs_programs() {
    let input = "nonsense\nuxname\x7F\x7F\x7F\x7F\x7Fname\nwrong\x15uptime; ps\nabandoned\x03\
                 run hello 7; run primes 100\nrun greet\nWorld\nrun nothing\nrun primes &\nkill 99\nreboot\n";
    let Some(run) = boot("shell", DISK_IMAGE, &[], input) else { return };
    for expected in [
        "\nnonsense: not found; try help\n",
        "\nemu-guest 0.1.0 x86_64\n",
        "\nup ",
        "idle (kernel)\n",
        "^C\n",
        "my argument is 7.\n",
        "\n25 primes below 100\n",
        "\nHello, World!\n",
        "\nrun: nothing: not found; try programs\n",
        "] primes\n",
        "\nkill: 99: no such program\n",
    ] {
        assert!(run.output.contains(expected), "{expected:?} is missing from:\n{}", run.output);
    }
    assert!(!run.output.contains("abandoned: not found"), "{}", run.output);
    assert_eq!(run.status, 0, "-no-reboot ends QEMU at the reset");
}
