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

/// What is typed, and the answers. `bc` and `python3` were installed by apt.
const SESSION: &str = "bc <<< 2^100; python3 -c 'print(sum(range(1000)))'; file -b /bin/true | cut -c-10
systemctl is-system-running --wait; findmnt -no SOURCE,FSTYPE /
dd if=/dev/urandom of=/root/noise bs=1M count=8 status=none; sync; md5sum < /root/noise > /root/sum
echo 3 > /proc/sys/vm/drop_caches; md5sum < /root/noise | cmp - /root/sum && echo read-back-$((6*7))
dmesg -l emerg,alert,crit,err; echo the-end-$((6*7))
";
const ANSWERS: [&str; 6] = [
    "\n1267650600228229401496703205376\r",
    "\n499500\r",
    "\nELF 64-bit\r",
    "\nrunning\r",
    "\n/dev/sda1 ext4\r",
    "\nread-back-42\r",
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
        running.send(SESSION.as_bytes());
        running.wait_for("\nthe-end-42");
        running.send(b"poweroff\n");
    }
    let ended = running.finish();
    let text = ended.text();
    assert_eq!(ended.code(), Some(0), "{}", ended.story());
    for answer in ANSWERS {
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
