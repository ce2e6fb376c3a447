//! `--cdrom FILE`: a disc image, read only, and what can be told of it before the guest looks.
//!
//! ISO 9660, "Primary Volume Descriptor"; El Torito 1.0, "Boot Record Volume Descriptor".

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::disk_file::{self, Access, DiskFile, DiskHandle};
use crate::say::report;

const BLOCK: u64 = 2048;
const SECTORS_A_BLOCK: u64 = 4;
/// The first volume descriptor, and where the boot record has to be.
const PRIMARY: u64 = 16;
const BOOT_RECORD: u64 = 17;
const STANDARD: &[u8] = b"CD001";
const EL_TORITO: &[u8] = b"EL TORITO SPECIFICATION";

/// Opens a disc image. Says when it is cut short, and, if the machine is to boot from it, when it cannot.
///
/// # Errors
/// When the file cannot be opened or is no disc image.
pub fn open(path: &Path, to_boot: bool) -> Result<(DiskFile, DiskHandle)> {
    let name = format!("--cdrom {}", path.display());
    let expected = "a CD or DVD image";
    let (file, size) = disk_file::open_image(path, Access::Read, expected).with_context(|| name.clone())?;
    let blocks = size / BLOCK;
    if blocks == 0 {
        bail!("{name}: expected {expected}, found a file of {size} bytes");
    }
    if let Some(trouble) = look(&file, blocks, to_boot) {
        report!("{name}: {trouble}");
    }
    disk_file::start(name, file, blocks * SECTORS_A_BLOCK, Access::Read)
}

/// What is wrong with the disc, if anything.
fn look(file: &File, blocks: u64, to_boot: bool) -> Option<String> {
    let descriptor = |block: u64| {
        let mut bytes = [0; BLOCK as usize];
        file.read_exact_at(&mut bytes, block * BLOCK).ok()?;
        (&bytes[1..6] == STANDARD).then_some(bytes)
    };
    let Some(primary) = descriptor(PRIMARY) else {
        return to_boot
            .then(|| "no boot record: this is no ISO 9660 image, and cannot be booted from".into());
    };
    let size = u64::from(u32::from_le_bytes(std::array::from_fn(|byte| primary[80 + byte])));
    if size > blocks {
        return Some(format!(
            "cut short: {blocks} of {size} blocks are there, reading others gives the guest an error"
        ));
    }
    let boots =
        descriptor(BOOT_RECORD).is_some_and(|bytes| bytes[0] == 0 && bytes[7..].starts_with(EL_TORITO));
    (to_boot && !boots).then(|| "no boot record (El Torito): the disc cannot be booted from".into())
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    /// An image of 20 blocks whose volume descriptor names `size`; gone when dropped.
    struct Disc(PathBuf, File);

    impl Disc {
        fn new(name: &str, size: u32, boots: bool) -> Self {
            let mut bytes = vec![0; 20 * BLOCK as usize];
            bytes[16 * 2048..][..6].copy_from_slice(b"\x01CD001");
            bytes[16 * 2048 + 80..][..4].copy_from_slice(&size.to_le_bytes());
            if boots {
                bytes[17 * 2048..][..30].copy_from_slice(b"\0CD001\x01EL TORITO SPECIFICATION");
            }
            let path = std::env::temp_dir().join(format!("emu-cdrom-{}-{name}", std::process::id()));
            std::fs::write(&path, bytes).unwrap();
            let file = File::open(&path).unwrap();
            Self(path, file)
        }
    }

    impl Drop for Disc {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.0);
        }
    }

    #[test]
    fn a_whole_disc_is_nothing_to_talk_about() {
        let disc = Disc::new("whole", 20, true);
        assert_eq!(look(&disc.1, 20, true), None);
        assert!(open(&disc.0, true).is_ok());
    }

    #[test]
    fn a_disc_cut_short_is_told_with_both_sizes() {
        let disc = Disc::new("short", 25, true);
        let trouble = look(&disc.1, 20, false).unwrap();
        assert!(trouble.contains("20 of 25 blocks"), "{trouble}");
    }

    #[test]
    fn a_disc_without_a_boot_record_matters_only_when_it_is_to_boot() {
        let disc = Disc::new("data", 20, false);
        assert_eq!(look(&disc.1, 20, false), None);
        assert!(look(&disc.1, 20, true).unwrap().contains("no boot record"));
    }

    #[test]
    fn what_is_no_image_is_refused() {
        let message = format!("{:#}", open(Path::new("/dev/null"), true).unwrap_err());
        assert!(message.contains("CD or DVD image"), "{message}");
    }
}
