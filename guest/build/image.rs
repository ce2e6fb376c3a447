//! Puts the pieces onto the disk, at the places that layout.rs names.

use crate::layout::{
    BOOT_PARAMETERS, BOOT_SECTORS, CATALOGUE_ENTRY, CATALOGUE_LBA, CATALOGUE_NAME, IMAGE_SECTORS, KERNEL_LBA,
    KERNEL_MAX_SECTORS, SCRATCH_LBA, SECTOR,
};

/// The whole image, or what does not fit.
pub fn build(boot: &[u8], kernel: &[u8], programs: &[(&str, Vec<u8>)]) -> Result<Vec<u8>, String> {
    let mut image = vec![0; IMAGE_SECTORS * SECTOR];
    if boot.len() > BOOT_SECTORS * SECTOR || boot.len() < SECTOR {
        return Err(format!("boot sector and loader have {} bytes", boot.len()));
    }
    image[..boot.len()].copy_from_slice(boot);
    let sectors = kernel.len().div_ceil(SECTOR);
    if sectors > KERNEL_MAX_SECTORS {
        return Err(format!(
            "the kernel has {sectors} sectors, the loader has room for {KERNEL_MAX_SECTORS}"
        ));
    }
    let lba = u32::try_from(KERNEL_LBA).expect("a small number");
    let count = u16::try_from(sectors).expect("checked above");
    image[BOOT_PARAMETERS..][..4].copy_from_slice(&lba.to_le_bytes());
    image[BOOT_PARAMETERS + 4..][..2].copy_from_slice(&count.to_le_bytes());
    image[KERNEL_LBA * SECTOR..][..kernel.len()].copy_from_slice(kernel);

    if programs.len() > SECTOR / CATALOGUE_ENTRY {
        return Err("too many user programs for one sector of catalogue".into());
    }
    let mut next = KERNEL_LBA + sectors;
    for (i, (name, file)) in programs.iter().enumerate() {
        let sectors = file.len().div_ceil(SECTOR);
        if name.len() > CATALOGUE_NAME || next + sectors > SCRATCH_LBA {
            return Err(format!("user program {name} does not fit"));
        }
        let entry = &mut image[CATALOGUE_LBA * SECTOR + i * CATALOGUE_ENTRY..][..CATALOGUE_ENTRY];
        let lba = u32::try_from(next).expect("inside of the image");
        let bytes = u32::try_from(file.len()).expect("inside of the image");
        entry[..name.len()].copy_from_slice(name.as_bytes());
        entry[CATALOGUE_NAME..][..4].copy_from_slice(&lba.to_le_bytes());
        entry[CATALOGUE_NAME + 4..][..4].copy_from_slice(&bytes.to_le_bytes());
        image[next * SECTOR..][..file.len()].copy_from_slice(file);
        next += sectors;
    }
    Ok(image)
}
