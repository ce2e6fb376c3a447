//! Boot loaders and what else people boot, out of Debian's packages: from disks, discs and diskettes, with SeaBIOS and
//! with our BIOS. The packages are fetched by name and kept.

mod boot_sector;
mod faults;
mod grub;
mod isolinux;
mod linux;
mod memtest;
mod screens;
mod serial_screen;

use std::path::PathBuf;

use emu_tests::external::seabios;

/// The firmware to boot with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Firmware {
    /// The bundled one.
    Ours,
    /// Debian's.
    SeaBios,
}

impl Firmware {
    /// What `--bios` needs; `None` when the test was skipped.
    fn file(self) -> Option<Option<PathBuf>> {
        match self {
            Self::Ours => Some(None),
            Self::SeaBios => seabios().map(Some),
        }
    }

    /// The image, empty for ours; `None` when the test was skipped.
    fn image(self) -> Option<Vec<u8>> {
        self.file()
            .map(|file| file.map_or_else(Vec::new, |file| std::fs::read(file).expect("it can be read")))
    }
}
