//! Memtest86+ through a whole pass: booted directly, and from its disc.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use emu_core::engine::Engine;
use emu_devices::keys::Key;
use emu_devices::pc::PcConfig;
use emu_tests::board::{Board, memory_disk};
use emu_tests::debian::{self, Arch};
use emu_tests::emulator::emu;
use emu_tests::engine::translator;
use emu_tests::external::skip;
use emu_tests::process::Running;

use super::Firmware;
use super::linux::packaged;

/// Its last test waits for more than two minutes of guest time, which is host time here.
const LIMIT: Duration = Duration::from_secs(3000);
const PASSED: &str = "Pass:  1        Errors: 0";

fn file(path: &str) -> Option<PathBuf> {
    let file = debian::file(Arch::Amd64, "memtest86+", path);
    file.map_err(|reason| skip(&format!("Debian's package memtest86+ cannot be had: {reason}"))).ok()
}

/// Where the screen is kept to be looked at: beside the build, since scratch folders go.
fn picture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.png"))
}

/// It does not move itself in less than 6 MB. Its own screen goes over the serial line as well.
fn machine(engine: &str) -> Command {
    emu(["--accel", engine, "--time", "host", "-m", "6M", "--no-reboot"])
}

/// Waits for the end of the first pass, and has the screen drawn. What is found is written in green on black.
fn passes(name: &str, mut command: Command) {
    let screen = picture(name);
    command.arg("--screenshot").arg(&screen);
    let mut running = Running::start(command, LIMIT);
    let passed = running.wait_for(PASSED);
    let ended = running.terminate();
    assert!(passed, "{}", ended.story());
    assert!(!ended.text().contains("Errors: 1"), "{}", ended.story());
    assert!(fs::metadata(&screen).is_ok_and(|screen| screen.len() > 1000), "{}", screen.display());
    eprintln!("the screen: {}", screen.display());
}

fn passes_booted_directly(engine: &str, path: &str) {
    let Some(kernel) = file(path) else { return };
    let mut command = machine(engine);
    command.args(["--append", "console=ttyS0,115200", "--kernel"]).arg(kernel);
    let form = path.trim_start_matches("boot/memtest86+").trim_end_matches(".bin");
    passes(&format!("memtest-{engine}-{form}"), command);
}

#[test]
#[ignore = "takes four minutes"]
fn memtest_of_64_bits_passes_all_its_tests() {
    passes_booted_directly("jit", "boot/memtest86+x64.bin");
}

#[test]
#[ignore = "takes four minutes"]
fn memtest_of_32_bits_passes_all_its_tests() {
    passes_booted_directly("jit", "boot/memtest86+ia32.bin");
}

#[test]
#[ignore = "takes five minutes"]
fn memtest_of_64_bits_passes_all_its_tests_on_the_interpreter() {
    passes_booted_directly("interp", "boot/memtest86+x64.bin");
}

#[test]
#[ignore = "takes five minutes"]
fn memtest_of_32_bits_passes_all_its_tests_on_the_interpreter() {
    passes_booted_directly("interp", "boot/memtest86+ia32.bin");
}

/// Within this process, since the disc's has no serial line. In virtual time the last test is many instructions.
fn disc_passes(engine: Box<dyn Engine>, firmware: Firmware, path: &str) {
    let Some(bios) = firmware.image() else { return };
    let Some(image) = packaged("memtest86+", path) else { return };
    let config = PcConfig { bios, ram_size: 8 << 20, cdrom: memory_disk(image), ..PcConfig::default() };
    let mut board = Board::on(engine, config);
    board.wait_for("to start testing", 6000);
    board.press(Key::ENTER);
    board.wait_for(PASSED, 1_000_000);
    assert!(board.screen().iter().any(|row| row.contains("######")), "PASS in large letters");
}

#[test]
#[ignore = "takes many minutes"]
fn memtest_discs_pass_all_their_tests() {
    disc_passes(translator(), Firmware::Ours, "usr/lib/memtest86+/memtest86+x64.iso");
    disc_passes(translator(), Firmware::SeaBios, "usr/lib/memtest86+/memtest86+ia32.iso");
}
