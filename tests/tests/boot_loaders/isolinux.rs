//! ISOLINUX from a disc.

use emu_tests::iso::{Boot, disc};
use emu_tests::scratch::Scratch;

use super::Firmware;
use super::linux::{kernel, packaged, session};

const CONFIGURATION: &str = "SERIAL 0 115200
DEFAULT linux
PROMPT 0
LABEL linux
  KERNEL /vmlinuz
  INITRD /initrd.img
  APPEND console=ttyS0
";

fn boots(engine: &str, firmware: Firmware) {
    let Some(isolinux) = packaged("isolinux", "usr/lib/ISOLINUX/isolinux.bin") else { return };
    let Some(core) = packaged("syslinux-common", "usr/lib/syslinux/modules/bios/ldlinux.c32") else { return };
    let Some((kernel, initrd)) = kernel() else { return };
    let files: [(&str, &[u8]); 5] = [
        ("ISOLINUX.BIN", &isolinux),
        ("ISOLINUX.CFG", CONFIGURATION.as_bytes()),
        ("LDLINUX.C32", &core),
        ("VMLINUZ.", &kernel),
        ("INITRD.IMG", &initrd),
    ];
    let boot = Boot { file: "ISOLINUX.BIN", media: 0, sectors: 4, table: true };
    let folder = Scratch::new(&format!("isolinux-{engine}-{firmware:?}"));
    let image = folder.write("linux.iso", &disc(&files, Some(boot)));
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
