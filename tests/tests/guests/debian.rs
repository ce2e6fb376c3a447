//! A Debian system on an IDE disk: GRUB, the kernel with its initial RAM disk, systemd, a login, and a proper end.

use std::process::Command;
use std::time::{Duration, Instant};

use emu_tests::emulator::emu;
use emu_tests::external::{seabios, skip};
use emu_tests::process::Running;
use emu_tests::root_file_system::{check, debian_disk};
use emu_tests::scratch::Scratch;

use super::linux::Firmware;

const LIMIT: Duration = Duration::from_secs(3600);

/// What is typed, and how the answers are told from the echo. `bc`, `python3` and `file` were installed by apt.
const SESSION: [(&str, &str); 7] = [
    ("bc <<< 2^100", "1267650600228229401496703205376"),
    ("python3 -c 'print(sum(range(1000)))'", "499500"),
    ("file -b /bin/true | cut -c-10", "ELF 64-bit"),
    ("systemctl is-system-running --wait", "running\r\n"),
    ("findmnt -no SOURCE,FSTYPE /", "/dev/sda1 ext4"),
    (
        "dd if=/dev/urandom of=/root/noise bs=1M count=8; sync; md5sum < /root/noise > /root/sum",
        "8+0 records out",
    ),
    (
        "echo 3 > /proc/sys/vm/drop_caches; md5sum < /root/noise | cmp - /root/sum && echo same-$((6*7))",
        "same-42",
    ),
];

fn boots(engine: &str, firmware: Firmware) {
    let original = match debian_disk() {
        Ok(disk) => disk,
        Err(reason) => return skip(&format!("Debian's system cannot be made: {reason}")),
    };
    let scratch = Scratch::new(&format!("debian-{engine}-{firmware:?}"));
    let disk = scratch.path("disk.img");
    let copied = Command::new("cp").arg("--sparse=always").arg(original).arg(&disk).status();
    assert!(copied.is_ok_and(|status| status.success()));
    let mut command = emu(["--accel", engine, "--no-reboot", "-m", "512M", "--drive"]);
    command.arg(&disk);
    if firmware == Firmware::SeaBios {
        let Some(bios) = seabios() else { return };
        command.arg("--bios").arg(bios);
    }
    let started = Instant::now();
    let mut running = Running::start(command, LIMIT);
    if running.wait_for("emu-guest login: ") {
        eprintln!("{engine}, {firmware:?}: login prompt after {:.1} s", started.elapsed().as_secs_f64());
        running.send(b"root\n");
        running.wait_for("root@emu-guest:~# ");
        for (typed, answer) in SESSION {
            running.send(format!("{typed}\n").as_bytes());
            if !running.wait_for(answer) {
                break;
            }
        }
        running.send(b"poweroff\n");
    }
    let ended = running.finish();
    let text = ended.text();
    assert_eq!(ended.code(), Some(0), "{}", ended.story());
    for (_, answer) in SESSION {
        assert!(text.contains(answer), "{answer:?} is missing in:\n{text}");
    }
    for trouble in ["BUG:", "WARNING:", "Failed to start", "ata1: ", "I/O error"] {
        let lines: Vec<_> = text.lines().filter(|line| line.contains(trouble)).collect();
        let bad = lines
            .iter()
            .any(|line| trouble != "ata1: " || line.contains("error") || line.contains("exception"));
        assert!(!bad, "{lines:#?} in:\n{text}");
    }
    check(&disk).expect("the file system is clean");
}

#[test]
#[ignore = "takes minutes, and root's rights to make the disk"]
fn debian_on_a_disk() {
    boots("jit", Firmware::Ours);
}

#[test]
#[ignore = "takes minutes, and root's rights to make the disk"]
fn debian_on_a_disk_with_seabios() {
    boots("jit", Firmware::SeaBios);
}

#[test]
#[ignore = "takes many minutes, and root's rights to make the disk"]
fn debian_on_a_disk_on_the_interpreter() {
    boots("interp", Firmware::Ours);
}

#[test]
#[ignore = "takes many minutes, and root's rights to make the disk"]
fn debian_on_a_disk_with_seabios_on_the_interpreter() {
    boots("interp", Firmware::SeaBios);
}
