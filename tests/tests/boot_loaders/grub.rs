//! GRUB on a disk: its boot sector, its core image behind it, and a partition whose file system is a cpio archive.

use std::path::PathBuf;

use emu_tests::cpio::Archive;
use emu_tests::external::skip;
use emu_tests::grub::boot_area;
use emu_tests::scratch::Scratch;

use super::Firmware;
use super::linux::{kernel, session, session_on_qemu};

const CONFIGURATION: &str = "serial --unit=0 --speed=115200
terminal_input serial
terminal_output serial console
echo grub has started
linux (hd0,msdos1)/vmlinuz console=ttyS0
initrd (hd0,msdos1)/initrd.img
boot
";
const MODULES: [&str; 8] = ["biosdisk", "part_msdos", "newc", "linux", "serial", "terminal", "echo", "boot"];

/// The disk; `None` when the test was skipped.
fn image(folder: &Scratch) -> Option<PathBuf> {
    let (kernel, initrd) = kernel()?;
    let mut archive = Archive::default();
    archive.program("vmlinuz", &kernel);
    archive.program("initrd.img", &initrd);
    let mut files = archive.finish();
    files.resize(files.len().next_multiple_of(512), 0);
    match boot_area(folder, CONFIGURATION, &MODULES, files.len() / 512) {
        Ok(mut disk) => {
            disk.extend(files);
            Some(folder.write("disk.img", &disk))
        }
        Err(reason) => {
            skip(&format!("GRUB's image cannot be made: {reason}"));
            None
        }
    }
}

fn boots(engine: &str, firmware: Firmware) {
    let folder = Scratch::new(&format!("grub-{engine}-{firmware:?}"));
    let Some(image) = image(&folder) else { return };
    let Some(text) = session(engine, firmware, "--drive", &image) else { return };
    assert!(text.contains("grub has started"), "{text}");
}

#[test]
fn grub_boots_linux_from_a_disk_with_our_bios() {
    boots("jit", Firmware::Ours);
}

#[test]
#[ignore = "takes a quarter of a minute"]
fn grub_boots_linux_from_a_disk_with_seabios() {
    boots("jit", Firmware::SeaBios);
}

#[test]
#[ignore = "takes half a minute"]
fn grub_boots_linux_from_a_disk_on_the_interpreter_with_both_firmwares() {
    boots("interp", Firmware::Ours);
    boots("interp", Firmware::SeaBios);
}

/// What the README's table has beside ours.
#[test]
#[ignore = "for comparison"]
fn grub_boots_linux_from_a_disk_on_qemu() {
    let folder = Scratch::new("grub-qemu");
    let Some(image) = image(&folder) else { return };
    let Some(text) = session_on_qemu("-hda", &image) else { return };
    assert!(text.contains("grub has started"), "{text}");
}
