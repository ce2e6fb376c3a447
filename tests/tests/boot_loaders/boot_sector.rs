//! Our own boot sector (`boot_sector.S`) on diskettes, on boot images of discs, and on a disk: it reads all of its
//! drive.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use emu_tests::assembler::boot_sector;
use emu_tests::emulator::emu;
use emu_tests::iso::{Boot, disc};
use emu_tests::process::{Ended, run};
use emu_tests::scratch::Scratch;

use super::Firmware;

const LIMIT: Duration = Duration::from_secs(120);
/// Exit status for the value that the boot sector writes when all is well.
const PASSED: i32 = 0x10 << 1 | 1;

/// Cylinders, heads and sectors of a drive.
#[derive(Clone, Copy, Debug)]
pub struct Shape(pub u16, pub u8, pub u8);

impl Shape {
    fn sectors(self) -> u32 {
        u32::from(self.0) * u32::from(self.1) * u32::from(self.2)
    }
}

/// An image whose sectors begin with their numbers, but for the first, which boots.
pub fn image(folder: &Scratch, shape: Shape, protected: bool) -> Vec<u8> {
    let mut image = vec![0; shape.sectors() as usize * 512];
    for (sector, number) in image.chunks_mut(512).zip(0u32..) {
        sector[..4].copy_from_slice(&number.to_le_bytes());
    }
    image[..512].copy_from_slice(&boot_sector(folder, "tests/boot_loaders/boot_sector.S"));
    image[0x1e0..0x1e2].copy_from_slice(&shape.0.to_le_bytes());
    image[0x1e2..0x1e5].copy_from_slice(&[shape.1, shape.2, u8::from(protected)]);
    image[0x1ec..0x1ee].copy_from_slice(&(shape.0 - 1).to_le_bytes());
    image
}

/// Boots from a medium; also returns what the boot sector said.
pub fn boot(folder: &Scratch, bios: Option<&PathBuf>, medium: &str, file: &Path) -> (Ended, Vec<u8>) {
    let said = folder.path("said");
    let mut command = emu(["--no-reboot", "--debug-exit", "0xf4", "-m", "32M", "--debugcon"]);
    command.arg(&said).arg(medium).arg(file);
    bios.into_iter().for_each(|bios| {
        command.arg("--bios").arg(bios);
    });
    let ended = run(command, b"", LIMIT);
    (ended, fs::read(said).unwrap_or_default())
}

fn passes(folder: &Scratch, firmware: Firmware, medium: &str, file: &Path) {
    let Some(bios) = firmware.file() else { return };
    let (ended, said) = boot(folder, bios.as_ref(), medium, file);
    // SeaBIOS has its own words on this port before.
    assert!(said.ends_with(b"ok"), "{}\nsaid: {}", ended.story(), String::from_utf8_lossy(&said));
    assert_eq!(ended.code(), Some(PASSED), "{}", ended.story());
}

fn diskette(firmware: Firmware, shape: Shape) {
    let folder = Scratch::new(&format!("diskette-{firmware:?}-{}", shape.sectors()));
    let before = image(&folder, shape, false);
    let file = folder.write("a.img", &before);
    passes(&folder, firmware, "--floppy", &file);
    let after = fs::read(file).expect("it is still there");
    let (kept, last) = after.split_at(after.len() - 512);
    assert!(kept == &before[..kept.len()], "only the last sector was to be written");
    assert_eq!(last[..4], 0x5aa5_5aa5u32.to_le_bytes());
}

#[test]
fn diskettes_of_every_size_boot_with_our_bios() {
    for shape in [Shape(40, 2, 9), Shape(80, 2, 9), Shape(80, 2, 15), Shape(80, 2, 18), Shape(80, 2, 36)] {
        diskette(Firmware::Ours, shape);
    }
}

#[test]
fn diskettes_boot_with_seabios() {
    for shape in [Shape(40, 2, 9), Shape(80, 2, 15), Shape(80, 2, 18), Shape(80, 2, 36)] {
        diskette(Firmware::SeaBios, shape);
    }
}

#[test]
fn a_diskette_whose_file_cannot_be_written_is_write_protected() {
    let folder = Scratch::new("protected");
    // A file of an odd size is write-protected, whoever runs the test.
    let mut image = image(&folder, Shape(80, 2, 18), true);
    image.extend([0; 512]);
    image[0x1e4] = 1;
    let number = 2880u32.to_le_bytes();
    let start = image.len() - 512;
    image[start..start + 4].copy_from_slice(&number);
    // 2881 sectors are more than 1.44 MB, so this is the beginning of a diskette of 2.88 MB.
    image[0x1e0..0x1e4].copy_from_slice(&[1, 0, 2, 36]);
    image[0x1ec..0x1ee].fill(0);
    let file = folder.write("a.img", &image);
    passes(&folder, Firmware::Ours, "--floppy", &file);
    assert!(fs::read(file).expect("it is still there") == image);
}

fn emulated(firmware: Firmware, media: u8, shape: Shape) {
    let folder = Scratch::new(&format!("emulated-{firmware:?}-{media}"));
    let image = image(&folder, shape, true);
    let boot = Boot { file: "BOOT.IMG", media, sectors: 1, table: false };
    let file = folder.write("a.iso", &disc(&[("BOOT.IMG", &image), ("README.TXT", b"nothing")], Some(boot)));
    passes(&folder, firmware, "--cdrom", &file);
}

#[test]
fn boot_images_of_discs_stand_for_diskettes_with_our_bios() {
    emulated(Firmware::Ours, 1, Shape(80, 2, 15));
    emulated(Firmware::Ours, 2, Shape(80, 2, 18));
    emulated(Firmware::Ours, 3, Shape(80, 2, 36));
}

#[test]
fn boot_images_of_discs_stand_for_diskettes_with_seabios() {
    emulated(Firmware::SeaBios, 1, Shape(80, 2, 15));
    emulated(Firmware::SeaBios, 2, Shape(80, 2, 18));
    emulated(Firmware::SeaBios, 3, Shape(80, 2, 36));
}

#[test]
fn a_disk_boots_by_cylinders_heads_and_sectors() {
    let folder = Scratch::new("disk");
    let file = folder.write("a.img", &image(&folder, Shape(4, 16, 63), false));
    passes(&folder, Firmware::Ours, "--drive", &file);
}
