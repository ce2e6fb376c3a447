//! The four corners: the bundled disk image boots with our BIOS and with SeaBIOS, on our machine and on QEMU, and its
//! self-test passes in all four.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use emu_tests::emulator::emu;
use emu_tests::external::{self, QEMU};
use emu_tests::process::{Ended, Running, run};
use emu_tests::scratch::Scratch;

/// A self-test takes a few seconds on a busy host.
const LIMIT: Duration = Duration::from_secs(120);
const PROMPT: &str = "emu$ ";
const COMMANDS: &[u8] = b"selftest; poweroff\n";

/// Checks that every check of the self-test passed and that the guest switched the machine off.
#[track_caller]
fn passed(ended: &Ended) {
    let text = ended.text();
    let result = text.lines().find_map(|line| line.trim().strip_prefix("selftest: ")?.split_once(" ok, "));
    let Some((ok, failed)) = result else { panic!("the self-test has no result: {}", ended.story()) };
    assert_eq!(failed.trim(), "0 failed", "{}", ended.story());
    let count: usize = ok.trim().parse().expect("a number of checks");
    let lines = text.lines().filter(|line| line.starts_with("ok ")).count();
    assert!(count >= 40 && lines == count, "{count} checks passed, {lines} of them told: {}", ended.story());
    assert_eq!(ended.code(), Some(0), "the guest switches off: {}", ended.story());
}

fn on_our_machine(bios: Option<&Path>) {
    let mut command = emu(["run", "--time", "virtual"]);
    if let Some(bios) = bios {
        command.arg("--bios").arg(bios);
    }
    passed(&run(command, COMMANDS, LIMIT));
}

fn on_qemu(test: &str, bios: impl FnOnce(&Scratch) -> Option<std::path::PathBuf>) {
    if !external::qemu() {
        return;
    }
    let scratch = Scratch::new(test);
    let Some(bios) = bios(&scratch) else { return };
    let disk = scratch.write("disk.img", emu_guest::DISK_IMAGE);
    let mut command = Command::new(QEMU);
    command
        .args(["-machine", "pc", "-accel", "tcg", "-m", "256", "-display", "none", "-nic", "none"])
        .args(["-no-reboot", "-monitor", "none", "-serial", "stdio", "-bios"])
        .arg(bios)
        .arg("-drive")
        .arg(format!("file={},format=raw,if=ide", disk.display()));
    let mut running = Running::start(command, LIMIT);
    // QEMU's UART has no patience with characters that nobody fetches yet.
    if !running.wait_for(PROMPT) {
        panic!("no prompt: {}", running.finish().story());
    }
    running.send(COMMANDS);
    passed(&running.finish());
}

#[test]
fn our_bios_on_our_machine() {
    on_our_machine(None);
}

#[test]
fn seabios_on_our_machine() {
    if let Some(bios) = external::seabios() {
        on_our_machine(Some(&bios));
    }
}

#[test]
fn our_bios_on_qemu() {
    on_qemu("our_bios_on_qemu", |scratch| Some(scratch.write("bios.bin", emu_roms::BIOS)));
}

#[test]
fn seabios_on_qemu() {
    on_qemu("seabios_on_qemu", |_| external::seabios());
}

#[test]
fn the_image_on_disk_is_the_bundled_one() {
    // With the image named as a drive the machine must behave as without.
    let scratch = Scratch::new("named_drive");
    let disk = scratch.write("disk.img", emu_guest::DISK_IMAGE);
    let mut command = emu(["run", "--time", "virtual", "--drive"]);
    command.arg(&disk);
    passed(&run(command, COMMANDS, LIMIT));
    assert_eq!(fs::read(&disk).unwrap().len(), emu_guest::DISK_IMAGE.len(), "its size stays");
}
