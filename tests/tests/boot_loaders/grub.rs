//! GRUB on a disk: its boot sector, its core image behind it, and a partition whose file system is a cpio archive.

use std::fs;
use std::process::Command;

use emu_tests::cpio::Archive;
use emu_tests::debian::{self, Arch};
use emu_tests::external::skip;
use emu_tests::scratch::Scratch;

use super::Firmware;
use super::linux::{kernel, packaged, session};

const CONFIGURATION: &str = "serial --unit=0 --speed=115200
terminal_input serial
terminal_output serial console
echo grub has started
linux (hd0,msdos1)/vmlinuz console=ttyS0
initrd (hd0,msdos1)/initrd.img
boot
";
const MODULES: [&str; 8] = ["biosdisk", "part_msdos", "newc", "linux", "serial", "terminal", "echo", "boot"];
/// First sector of the partition.
const PARTITION: usize = 2048;

/// GRUB's core image with the configuration in it.
fn core_image(folder: &Scratch) -> Result<Vec<u8>, String> {
    let program = debian::file(Arch::Amd64, "grub-common", "usr/bin/grub-mkimage")?;
    let modules = debian::file(Arch::Amd64, "grub-pc-bin", "usr/lib/grub/i386-pc")?;
    let libraries = debian::file(Arch::Amd64, "libdevmapper1.02.1", "lib/x86_64-linux-gnu")?;
    let (configuration, core) =
        (folder.write("early.cfg", CONFIGURATION.as_bytes()), folder.path("core.img"));
    let output = Command::new(program)
        .env("LD_LIBRARY_PATH", libraries)
        .args(["-O", "i386-pc", "-p", "(hd0,msdos1)", "-d"])
        .arg(modules)
        .arg("-c")
        .arg(configuration)
        .arg("-o")
        .arg(&core)
        .args(MODULES)
        .output()
        .map_err(|error| format!("grub-mkimage: {error}"))?;
    if !output.status.success() {
        return Err(format!("grub-mkimage: {}", String::from_utf8_lossy(&output.stderr)));
    }
    fs::read(core).map_err(|error| error.to_string())
}

fn boots(firmware: Firmware) {
    let folder = Scratch::new(&format!("grub-{firmware:?}"));
    let Some((kernel, initrd)) = kernel() else { return };
    let core = match core_image(&folder) {
        Ok(core) => core,
        Err(reason) => return skip(&format!("GRUB's image cannot be made: {reason}")),
    };
    let Some(boot) = packaged("grub-pc-bin", "usr/lib/grub/i386-pc/boot.img") else { return };
    let mut archive = Archive::default();
    archive.program("vmlinuz", &kernel);
    archive.program("initrd.img", &initrd);
    let mut files = archive.finish();
    files.resize(files.len().next_multiple_of(512), 0);

    let mut disk = boot;
    disk.extend(core);
    assert!(disk.len() <= PARTITION * 512);
    disk.resize(PARTITION * 512, 0);
    // One partition; its addresses by cylinder, head and sector are the largest that there are.
    disk[446..510].fill(0);
    disk[446..454].copy_from_slice(&[0x80, 0xfe, 0xff, 0xff, 0x83, 0xfe, 0xff, 0xff]);
    disk[454..458].copy_from_slice(&(PARTITION as u32).to_le_bytes());
    disk[458..462].copy_from_slice(&((files.len() / 512) as u32).to_le_bytes());
    disk[510..512].copy_from_slice(&[0x55, 0xaa]);
    disk.extend(files);
    let image = folder.write("disk.img", &disk);
    let Some(text) = session(firmware, "--drive", &image) else { return };
    assert!(text.contains("grub has started"), "{text}");
}

#[test]
fn grub_boots_linux_from_a_disk_with_our_bios() {
    boots(Firmware::Ours);
}

#[test]
#[ignore = "takes a quarter of a minute"]
fn grub_boots_linux_from_a_disk_with_seabios() {
    boots(Firmware::SeaBios);
}
