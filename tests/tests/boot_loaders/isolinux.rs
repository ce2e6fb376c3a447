//! ISOLINUX from a disc.

use std::path::PathBuf;

use emu_tests::iso::{Boot, disc};
use emu_tests::scratch::Scratch;

use super::Firmware;
use super::linux::{kernel, packaged, session, session_on_qemu};

const CONFIGURATION: &str = "SERIAL 0 115200
DEFAULT linux
PROMPT 0
LABEL linux
  KERNEL /vmlinuz
  INITRD /initrd.img
  APPEND console=ttyS0
";

/// The disc; `None` when the test was skipped.
fn image(folder: &Scratch) -> Option<PathBuf> {
    let isolinux = packaged("isolinux", "usr/lib/ISOLINUX/isolinux.bin")?;
    let core = packaged("syslinux-common", "usr/lib/syslinux/modules/bios/ldlinux.c32")?;
    let (kernel, initrd) = kernel()?;
    let files: [(&str, &[u8]); 5] = [
        ("ISOLINUX.BIN", &isolinux),
        ("ISOLINUX.CFG", CONFIGURATION.as_bytes()),
        ("LDLINUX.C32", &core),
        ("VMLINUZ.", &kernel),
        ("INITRD.IMG", &initrd),
    ];
    let boot = Boot { file: "ISOLINUX.BIN", media: 0, sectors: 4, table: true };
    Some(folder.write("linux.iso", &disc(&files, Some(boot))))
}

fn boots(engine: &str, firmware: Firmware) {
    let folder = Scratch::new(&format!("isolinux-{engine}-{firmware:?}"));
    let Some(image) = image(&folder) else { return };
    let Some(text) = session(engine, firmware, "--cdrom", &image) else { return };
    assert!(text.contains("ISOLINUX 6.04"), "{text}");
}

#[test]
fn isolinux_boots_linux_with_our_bios() {
    boots("jit", Firmware::Ours);
}

#[test]
fn isolinux_boots_linux_with_seabios() {
    boots("jit", Firmware::SeaBios);
}

#[test]
#[ignore = "takes half a minute"]
fn isolinux_boots_linux_on_the_interpreter_with_both_firmwares() {
    boots("interp", Firmware::Ours);
    boots("interp", Firmware::SeaBios);
}

/// What the README's table has beside ours.
#[test]
#[ignore = "for comparison"]
fn isolinux_boots_linux_on_qemu() {
    let folder = Scratch::new("isolinux-qemu");
    let Some(image) = image(&folder) else { return };
    let Some(text) = session_on_qemu("-cdrom", &image) else { return };
    assert!(text.contains("ISOLINUX 6.04"), "{text}");
}
