//! A Debian system on a disk, made by debootstrap and kept: systemd, a kernel, programs that apt has installed, and
//! GRUB.
//!
//! Making it takes minutes, root's rights, and Debian's packages debootstrap and e2fsprogs.

use std::fs::{self, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::debian;
use crate::grub::{PARTITION, boot_area};
use crate::scratch::Scratch;

/// Bytes on the disk, and where its file system begins.
const SIZE: u64 = 1500 << 20;
const START: u64 = PARTITION as u64 * 512;

/// What debootstrap adds to its smallest system, and what apt then adds to that.
const SYSTEM: &str = "systemd-sysv,udev,e2fsprogs";
const PROGRAMS: [&str; 4] = ["linux-image-amd64", "bc", "file", "python3-minimal"];

const GRUB: &str = "serial --unit=0 --speed=115200
terminal_output serial console
linux (hd0,msdos1)/vmlinuz root=/dev/sda1 console=ttyS0
initrd (hd0,msdos1)/initrd.img
boot
";
const MODULES: [&str; 7] = ["biosdisk", "part_msdos", "ext2", "linux", "serial", "terminal", "boot"];

/// The disk, made when it is not there yet. Who writes to it makes a copy first.
///
/// # Errors
/// When it cannot be made.
pub fn debian_disk() -> Result<PathBuf, String> {
    let folder = debian::cache().join("debian-root");
    let disk = folder.join("disk.img");
    if !disk.exists() {
        let work = folder.join(format!("work-{}", std::process::id()));
        let made = make(&work);
        let made = made.and_then(|made| fs::rename(made, &disk).map_err(|error| error.to_string()));
        let _ = fs::remove_dir_all(&work);
        made?;
    }
    Ok(disk)
}

fn make(work: &Path) -> Result<PathBuf, String> {
    fs::create_dir_all(work).map_err(|error| format!("{}: {error}", work.display()))?;
    let (root, disk) = (work.join("root"), work.join("disk.img"));
    let include = format!("--include={SYSTEM}");
    run(Command::new("debootstrap").args(["--variant=minbase", &include, "bookworm"]).arg(&root))?;
    let inside = || {
        let mut command = Command::new("chroot");
        command.arg(&root).env("DEBIAN_FRONTEND", "noninteractive");
        command
    };
    run(inside().args(["apt-get", "install", "-y", "--no-install-recommends"]).args(PROGRAMS))?;
    run(inside().args(["apt-get", "clean"]))?;
    run(inside().args(["passwd", "-d", "root"]))?;
    let write = |name: &str, text: &str| fs::write(root.join(name), text).map_err(|error| error.to_string());
    write("etc/hostname", "emu-guest\n")?;
    write("etc/fstab", "/dev/sda1 / ext4 errors=remount-ro 0 1\n")?;

    let scratch = Scratch::new("debian-root");
    let sectors = ((SIZE - START) / 512) as usize;
    let area = boot_area(&scratch, GRUB, &MODULES, sectors)?;
    let trouble = |error: std::io::Error| format!("{}: {error}", disk.display());
    let mut file = OpenOptions::new().write(true).create_new(true).open(&disk).map_err(trouble)?;
    file.set_len(SIZE).map_err(trouble)?;
    file.seek(SeekFrom::Start(0)).and_then(|_| file.write_all(&area)).map_err(trouble)?;
    // GRUB 2.06 does not know these two.
    let mut format = Command::new("mke2fs");
    format.args(["-q", "-t", "ext4", "-O", "^metadata_csum_seed,^orphan_file", "-E"]);
    format.arg(format!("offset={START}")).arg("-d").arg(&root).arg(&disk);
    run(format.arg(format!("{}k", (SIZE - START) / 1024)))?;
    Ok(disk)
}

/// What e2fsck finds wrong with the file system on such a disk.
///
/// # Errors
/// Its words, when it finds something or does not start.
pub fn check(disk: &Path) -> Result<(), String> {
    run(Command::new("e2fsck").arg("-fn").arg(format!("{}?offset={START}", disk.display())))
}

fn run(command: &mut Command) -> Result<(), String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output().map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    Err(format!("{program}: {}\n{}", said[0], said[1]))
}
