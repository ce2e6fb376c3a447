//! The image's layout: what a BIOS, the loader and the kernel will look for.

use emu_guest::layout::*;
use emu_guest::{DISK_IMAGE, KERNEL_ELF};

fn read32(at: usize) -> usize {
    u32::from_le_bytes(DISK_IMAGE[at..at + 4].try_into().expect("four bytes")) as usize
}

#[test]
fn image_is_whole_sectors_and_bootable() {
    assert_eq!(DISK_IMAGE.len(), IMAGE_SECTORS * SECTOR);
    assert_eq!(DISK_IMAGE[510..512], [0x55, 0xAA]);
}

/// The boot sector's parameters name an ELF-64 file, and the loader's buffer holds it.
#[test]
fn boot_parameters_name_the_kernel() {
    assert_eq!(read32(BOOT_PARAMETERS), KERNEL_LBA);
    let sectors =
        usize::from(u16::from_le_bytes([DISK_IMAGE[BOOT_PARAMETERS + 4], DISK_IMAGE[BOOT_PARAMETERS + 5]]));
    assert!((1..=KERNEL_MAX_SECTORS).contains(&sectors), "{sectors} sectors");
    assert_eq!(DISK_IMAGE[BOOT_OPTIONS], 0);
    let kernel = &DISK_IMAGE[KERNEL_LBA * SECTOR..];
    assert_eq!(kernel[..6], *b"\x7FELF\x02\x01");
    // The same entry point as the file with symbols, in the top two GiB.
    assert_eq!(kernel[24..32], KERNEL_ELF[24..32]);
    let entry = u64::from_le_bytes(kernel[24..32].try_into().expect("eight bytes"));
    assert!(entry > 0xFFFF_FFFF_8000_0000, "{entry:#x}");
}

/// The assembly repeats numbers of layout.rs.
#[test]
fn assembly_agrees_with_layout() {
    let definitions = include_str!("../boot/defs.inc");
    let value = |name: &str| {
        let line = definitions.lines().find(|line| line.contains(&format!(".set {name},"))).expect(name);
        let text = line.split(',').nth(1).expect(name).split('#').next().expect(name).trim();
        match text.strip_prefix("0x") {
            Some(hex) => usize::from_str_radix(hex, 16).expect(name),
            None => text.parse().expect(name),
        }
    };
    assert_eq!(value("BOOT_SECTORS"), BOOT_SECTORS);
    assert_eq!((0x9_0000 - value("KERNEL_BUFFER")) / SECTOR, KERNEL_MAX_SECTORS);
    let sector = include_str!("../boot/bootsector.s");
    assert!(sector.contains(&format!(".org {BOOT_PARAMETERS:#05X}").replace("0X", "0x")), "parameters moved");
}

#[test]
fn catalogue_names_elf_files_that_do_not_overlap() {
    let mut last_end = KERNEL_LBA + 1;
    let mut names = Vec::new();
    for i in 0..SECTOR / CATALOGUE_ENTRY {
        let at = CATALOGUE_LBA * SECTOR + i * CATALOGUE_ENTRY;
        let name: Vec<u8> =
            DISK_IMAGE[at..at + CATALOGUE_NAME].iter().copied().take_while(|&b| b != 0).collect();
        if name.is_empty() {
            continue;
        }
        let (lba, bytes) = (read32(at + CATALOGUE_NAME), read32(at + CATALOGUE_NAME + 4));
        assert!(lba >= last_end && lba * SECTOR + bytes <= SCRATCH_LBA * SECTOR);
        assert_eq!(DISK_IMAGE[lba * SECTOR..][..4], *b"\x7FELF");
        last_end = lba + bytes.div_ceil(SECTOR);
        names.push(String::from_utf8(name).expect("names are ASCII"));
    }
    for name in ["hello", "primes", "fpu", "calls", "greet", "spin"] {
        assert!(names.iter().any(|n| n == name), "{name} is missing from {names:?}");
    }
}

#[test]
fn scratch_area_is_empty_and_at_the_end() {
    assert_eq!(SCRATCH_LBA + SCRATCH_SECTORS, IMAGE_SECTORS);
    assert!(DISK_IMAGE[SCRATCH_LBA * SECTOR..].iter().all(|&byte| byte == 0));
}

/// No path of the machine that built the image, which would make builds differ.
#[test]
fn image_holds_no_path_of_the_builder() {
    let folder = env!("CARGO_MANIFEST_DIR").as_bytes();
    assert!(!DISK_IMAGE.windows(folder.len()).any(|window| window == folder));
}
