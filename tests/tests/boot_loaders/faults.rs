//! Media that are not as they should be: one clear line for the user, a proper error for the guest.

use std::fs;
use std::process::Command;
use std::time::Duration;

use emu_tests::emulator::{binary, emu};
use emu_tests::iso::{BLOCK, Boot, disc};
use emu_tests::process::{Ended, Running, run};
use emu_tests::scratch::Scratch;

use super::boot_sector::{Shape, boot, image};

const LIMIT: Duration = Duration::from_secs(60);

/// Runs for a moment.
fn glance(arguments: &[&str], file: &std::path::Path) -> Ended {
    let mut command = emu(["--max-insns", "20000000", "-m", "32M"]);
    command.args(&arguments[..arguments.len() - 1]).arg(arguments[arguments.len() - 1]).arg(file);
    run(command, b"", LIMIT)
}

/// The one line on standard error.
fn line(ended: &Ended) -> String {
    let errors = String::from_utf8_lossy(&ended.errors).into_owned();
    let about = |line: &&str| line.contains(".iso") || line.contains(".img");
    assert_eq!(errors.lines().filter(about).count(), 1, "{}", ended.story());
    errors.lines().find(about).unwrap_or_default().to_owned()
}

#[test]
fn a_disc_without_a_boot_record_is_named() {
    let folder = Scratch::new("no-record");
    let file = folder.write("data.iso", &disc(&[("README.TXT", b"nothing")], None));
    let ended = glance(&["--boot", "cdrom", "--cdrom"], &file);
    assert_eq!(ended.code(), Some(4), "{}", ended.story());
    assert!(line(&ended).contains("no boot record (El Torito)"), "{}", ended.story());
}

#[test]
fn a_disc_that_is_cut_short_is_named_and_runs() {
    let folder = Scratch::new("cut-short");
    let whole = disc(&[("README.TXT", &[1; 10 * BLOCK])], None);
    let file = folder.write("short.iso", &whole[..whole.len() - 4 * BLOCK]);
    let ended = glance(&["--cdrom"], &file);
    assert_eq!(ended.code(), Some(4), "{}", ended.story());
    assert!(line(&ended).contains("29 of 33 blocks"), "{}", ended.story());
}

#[test]
fn what_is_no_medium_is_refused_before_anything_runs() {
    let folder = Scratch::new("no-medium");
    for (option, name, size) in
        [("--cdrom", "a.iso", 100), ("--floppy", "b.img", 1000), ("--floppy", "c.img", 3_000_000)]
    {
        let file = folder.write(name, &vec![0; size]);
        let ended = glance(&[option], &file);
        assert_eq!(ended.code(), Some(1), "{}", ended.story());
        assert!(line(&ended).contains("expected"), "{}", ended.story());
    }
}

/// The image of a boot disc ends before the boot image does.
#[test]
fn reading_behind_the_end_of_a_disc_fails_in_the_guest() {
    let folder = Scratch::new("behind-the-end");
    let floppy = image(&folder, Shape(80, 2, 18), true);
    let boot_image = Boot { file: "BOOT.IMG", media: 2, sectors: 1, table: false };
    let whole = disc(&[("BOOT.IMG", &floppy)], Some(boot_image));
    let file = folder.write("short.iso", &whole[..whole.len() / 2]);
    let (ended, said) = boot(&folder, None, "--cdrom", &file);
    assert_eq!(said, b"R\x04", "sector not found: {}", ended.story());
    assert!(line(&ended).contains("cut short"), "{}", ended.story());
}

/// The host refuses to write beyond a limit on the size of files. It has to be more than the guest's memory has.
#[test]
fn a_write_that_the_host_refuses_fails_in_the_guest_and_changes_nothing() {
    let folder = Scratch::new("full");
    let mut before = image(&folder, Shape(160, 16, 63), false);
    // The guest reads two cylinders and writes to the last one.
    before[0x1e0] = 2;
    let (file, said) = (folder.write("full.img", &before), folder.path("said"));
    let mut command = Command::new("sh");
    // In units of 512 bytes; the signal that comes with the error is ignored.
    let limit = before.len() / 512 - 1;
    command.arg("-c").arg(format!("trap '' XFSZ; ulimit -f {limit}; exec \"$@\"")).arg("sh").arg(binary());
    command.args(["--debug-exit", "0xf4", "-m", "8M", "--debugcon"]).arg(&said).arg("--drive").arg(&file);
    let ended = run(command, b"", LIMIT);
    let said = fs::read(said).unwrap_or_default();
    assert_eq!(said, b"W\x01", "the drive aborts the command: {}", ended.story());
    assert!(line(&ended).contains("writing failed, the guest sees an error"), "{}", ended.story());
    assert!(fs::read(file).expect("it is still there") == before, "nothing else changes");
}

/// The image loses its second half while the guest runs: its programs lie there.
#[test]
fn a_disk_that_fails_reads_is_told_once_and_the_guest_sees_errors() {
    let folder = Scratch::new("fails-reads");
    let image = emu_guest::DISK_IMAGE;
    let file = folder.write("fails.img", image);
    for engine in ["interp", "jit"] {
        fs::write(&file, image).expect("the scratch folder has room");
        let mut command = emu(["--accel", engine, "--drive"]);
        command.arg(&file);
        let mut running = Running::start(command, LIMIT);
        running.wait_for("emu$ ");
        let kept = 64 << 10;
        fs::OpenOptions::new()
            .write(true)
            .open(&file)
            .and_then(|file| file.set_len(kept))
            .expect("it can be cut");
        running.send(b"run primes 10; run fpu; uname; poweroff\n");
        let ended = running.finish();
        assert_eq!(ended.code(), Some(0), "{}", ended.story());
        for line in ["run: primes: Disk", "run: fpu: Disk", "emu-guest", "Good night."] {
            assert!(ended.text().contains(line), "{line:?} is missing: {}", ended.story());
        }
        assert!(line(&ended).contains("reading failed, the guest sees an error"), "{}", ended.story());
        let after = fs::read(&file).expect("it is still there");
        assert!(after == image[..kept as usize], "nothing on the disk changes");
    }
}
