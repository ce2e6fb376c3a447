//! The guests that check INT 10h on QEMU (`roms/tests/guests`) do so on our machine as well: on both engines, with
//! our VGA BIOS behind our BIOS and behind SeaBIOS.

use std::time::Duration;

use emu_tests::assembler::service_guest;
use emu_tests::emulator::emu;
use emu_tests::external::seabios;
use emu_tests::process::run;
use emu_tests::scratch::Scratch;

/// Exit status of a guest that writes 10h, which is how these say that all checks held.
const PASSED: i32 = 0x10 << 1 | 1;
const SECTORS: usize = 16 << 11;

fn check(name: &str, bios: Option<&std::path::Path>) {
    let folder = Scratch::new(&format!("services-{name}-{}", bios.is_some()));
    let mut image = service_guest(&folder, name);
    image.resize(SECTORS * 512, 0);
    let disk = folder.write("disk.img", &image);
    for engine in ["interp", "jit"] {
        let log = folder.path(engine);
        let mut command = emu(["--accel", engine, "--debug-exit", "0xf4", "--no-reboot", "--debugcon"]);
        command.arg(&log).arg("--drive").arg(&disk);
        bios.into_iter().for_each(|bios| {
            command.arg("--bios").arg(bios);
        });
        let ended = run(command, b"", Duration::from_secs(60));
        let log = std::fs::read_to_string(&log).unwrap_or_default();
        assert_eq!(ended.code(), Some(PASSED), "{engine}: {}\n{log}", ended.story());
    }
}

#[test]
fn text_and_graphics_read_back_what_was_written() {
    check("video", None);
}

#[test]
fn display_states_come_back_and_the_monitor_answers() {
    check("state", None);
    if let Some(bios) = seabios() {
        check("state", Some(&bios));
    }
}
