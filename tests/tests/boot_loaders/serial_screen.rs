//! `--display serial`: what the firmware shows, on the serial line, and keys from there, as QEMU's `-nographic` has
//! them.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use emu_tests::debian::{self, Arch};
use emu_tests::emulator::emu;
use emu_tests::external::skip;
use emu_tests::process::Running;

use super::Firmware;

const LIMIT: Duration = Duration::from_secs(300);

fn disc(package: &str, path: &str) -> Option<PathBuf> {
    let file = debian::file(Arch::Amd64, package, path);
    file.map_err(|reason| skip(&format!("Debian's package {package} cannot be had: {reason}"))).ok()
}

/// The machine in host time, as on a terminal: a prompt that waits for two seconds does.
fn on_serial(engine: &str, firmware: Firmware) -> Option<Command> {
    let mut command = emu(["--accel", engine, "--display", "serial", "--time", "host", "-m", "64M"]);
    if let Some(bios) = firmware.file()? {
        command.arg("--bios").arg(bios);
    }
    Some(command)
}

/// What a terminal shows in the end, without cursors and colours: SeaBIOS says in the middle of a word, at its tick,
/// where the cursor is.
fn words(output: &[u8]) -> String {
    let text = String::from_utf8_lossy(output);
    let mut pieces = text.split("\x1b[");
    let first = pieces.next().unwrap_or_default().to_owned();
    pieces.fold(first, |words, piece| {
        let end = piece.find(|c: char| c.is_ascii_alphabetic());
        words + end.map_or("", |end| &piece[end + 1..])
    })
}

#[test]
fn sequences_in_the_middle_of_a_word_are_no_part_of_it() {
    assert_eq!(words(b"\x1b[2Jgru\x1b[09;03H\x1b[09;04Hb> \x1b[?7"), "grub> ");
}

/// Each wait must end with the text that it waits for; what has sequences of its own is waited for as it is.
fn talk(command: Command, dialogue: &[(&str, &[u8])]) {
    let mut running = Running::start(command, LIMIT);
    let all = dialogue.iter().all(|(wait, answer)| {
        let raw = wait.contains('\x1b');
        let came = running.wait_until(|output| match raw {
            true => String::from_utf8_lossy(output).contains(wait),
            false => words(output).contains(wait),
        });
        running.send(answer);
        came
    });
    let ended = running.kill();
    assert!(all, "{}", ended.story());
}

fn ipxe(firmware: Firmware) {
    let Some(disc) = disc("ipxe", "usr/lib/ipxe/ipxe.iso") else { return };
    for engine in ["interp", "jit"] {
        let Some(mut command) = on_serial(engine, firmware) else { return };
        command.arg("--cdrom").arg(&disc);
        talk(
            command,
            &[
                ("Press Ctrl-B for the iPXE command line", b"\x02"),
                ("iPXE> ", b"echo built-for-${buildarch}-\r"),
                ("built-for-i386-", b""),
            ],
        );
    }
}

#[test]
#[ignore = "takes a minute"]
fn ipxe_talks_on_the_serial_line_with_our_bios() {
    ipxe(Firmware::Ours);
}

#[test]
#[ignore = "takes a minute"]
fn ipxe_talks_on_the_serial_line_with_seabios() {
    ipxe(Firmware::SeaBios);
}

fn grub_rescue(firmware: Firmware) {
    let Some(disc) = disc("grub-rescue-pc", "usr/lib/grub-rescue/grub-rescue-cdrom.iso") else { return };
    for engine in ["interp", "jit"] {
        let Some(mut command) = on_serial(engine, firmware) else { return };
        command.arg("--cdrom").arg(&disc);
        // Beside the firmware's way there is GRUB's own, which needs no help and begins with a clear screen.
        talk(
            command,
            &[
                ("Change the colors", b"c"),
                ("grub>", b"echo on-$grub_cpu-by-firmware\r"),
                ("on-i386-by-firmware", b"serial --unit=0; terminal_input serial; terminal_output serial\r"),
                ("\x1b[1;1Hgrub> ", b"echo on-$grub_cpu-by-itself\r"),
                ("on-i386-by-itself", b""),
            ],
        );
    }
}

#[test]
#[ignore = "takes a minute"]
fn grub_rescue_talks_on_the_serial_line_with_our_bios() {
    grub_rescue(Firmware::Ours);
}

#[test]
#[ignore = "takes a minute"]
fn grub_rescue_talks_on_the_serial_line_with_seabios() {
    grub_rescue(Firmware::SeaBios);
}
