//! The real gdb against `--gdb`: Python scripts that it runs, in `scripts/`.
//!
//! Without gdb, or with one that has no Python, these tests are skipped aloud.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use emu_tests::gdb_client::start;
use emu_tests::process::run;
use emu_tests::scratch::Scratch;
use emu_tests::{emulator, external};

const LIMIT: Duration = Duration::from_secs(300);

/// Has gdb run a script against an emulator that was started with these arguments and this input.
fn script(name: &str, arguments: &[&str], input: &[u8]) {
    if !external::gdb() {
        return;
    }
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let scripts = here.join("tests/gdb_scripts/scripts");
    let scratch = Scratch::new(&format!("gdb_{name}"));
    let kernel = scratch.write("kernel.elf", emu_guest::KERNEL_ELF);
    let trace = scratch.path("trace");
    let mut all = [&["--paused"], arguments].concat();
    if name == "who_wrote" {
        all.extend(["--trace", trace.to_str().expect("a name in UTF-8")]);
    }
    let (mut emulator, address) = start(&all, LIMIT);
    emulator.send(input);
    emulator.end_input();
    let mut gdb = Command::new(external::GDB);
    gdb.args(["-nx", "-batch", "-x"]).arg(scripts.join(format!("{name}.py")));
    gdb.env("PYTHONPATH", &scripts).env("PYTHONDONTWRITEBYTECODE", "1");
    gdb.env("EMU_GDB", &address).env("EMU_KERNEL_ELF", &kernel);
    gdb.env("EMU_GDB_HELP", here.join("../docs/emu-gdb.py"));
    gdb.env("EMU_BINARY", emulator::binary()).env("EMU_TRACE_FILE", &trace);
    let ended = run(gdb, b"", LIMIT);
    let emulator = emulator.kill();
    assert!(ended.text().contains("PASSED"), "gdb: {}\nemu: {}", ended.story(), emulator.story());
}

#[test]
fn the_bios_in_real_mode() {
    script("real_mode", &[], b"");
}

#[test]
fn the_switch_to_protected_and_long_mode() {
    for engine in ["interp", "jit"] {
        script("mode_switch", &["--accel", engine], b"");
    }
}

#[test]
fn steps_over_repeated_instructions_and_mode_switches() {
    for engine in ["interp", "jit"] {
        script("steps", &["--accel", engine], b"");
    }
}

#[test]
fn registers_and_memory_are_changed() {
    script("registers", &["--smp", "2"], b"");
}

#[test]
fn a_watch_point_in_a_user_process() {
    for engine in ["interp", "jit"] {
        script("watch_user", &["--accel", engine], b"run primes 100\npoweroff\n");
    }
}

#[test]
fn a_triple_fault_is_explained() {
    script("triple_fault", &["--no-reboot"], b"run primes 100\npoweroff\n");
}

#[test]
fn who_wrote_over_the_kernels_memory() {
    for engine in ["interp", "jit"] {
        script("who_wrote", &["--accel", engine], b"oops\n");
    }
}
