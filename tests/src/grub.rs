//! Disks that GRUB boots: its boot sector, its core image behind it, and one partition.

use std::fs;
use std::process::Command;

use crate::debian::{self, Arch};
use crate::scratch::Scratch;

/// First sector of the partition.
pub const PARTITION: usize = 2048;

/// What lies before the partition: the boot sector with a table of this one partition, and the core image with a
/// configuration and modules in it.
///
/// # Errors
/// When GRUB's packages cannot be had, or its image cannot be made.
pub fn boot_area(
    folder: &Scratch,
    configuration: &str,
    modules: &[&str],
    sectors: usize,
) -> Result<Vec<u8>, String> {
    let boot = debian::file(Arch::Amd64, "grub-pc-bin", "usr/lib/grub/i386-pc/boot.img")?;
    let mut area = fs::read(boot).map_err(|error| error.to_string())?;
    area.extend(core_image(folder, configuration, modules)?);
    if area.len() > PARTITION * 512 {
        return Err("the core image is larger than the room before the partition".into());
    }
    area.resize(PARTITION * 512, 0);
    // One partition; its addresses by cylinder, head and sector are the largest that there are.
    area[446..510].fill(0);
    area[446..454].copy_from_slice(&[0x80, 0xfe, 0xff, 0xff, 0x83, 0xfe, 0xff, 0xff]);
    area[454..458].copy_from_slice(&(PARTITION as u32).to_le_bytes());
    area[458..462].copy_from_slice(&(sectors as u32).to_le_bytes());
    area[510..512].copy_from_slice(&[0x55, 0xaa]);
    Ok(area)
}

fn core_image(folder: &Scratch, configuration: &str, modules: &[&str]) -> Result<Vec<u8>, String> {
    let program = debian::file(Arch::Amd64, "grub-common", "usr/bin/grub-mkimage")?;
    let library = debian::file(Arch::Amd64, "grub-pc-bin", "usr/lib/grub/i386-pc")?;
    let libraries = debian::file(Arch::Amd64, "libdevmapper1.02.1", "lib/x86_64-linux-gnu")?;
    let (configuration, core) =
        (folder.write("early.cfg", configuration.as_bytes()), folder.path("core.img"));
    let output = Command::new(program)
        .env("LD_LIBRARY_PATH", libraries)
        .args(["-O", "i386-pc", "-p", "(hd0,msdos1)", "-d"])
        .arg(library)
        .arg("-c")
        .arg(configuration)
        .arg("-o")
        .arg(&core)
        .args(modules)
        .output()
        .map_err(|error| format!("grub-mkimage: {error}"))?;
    if !output.status.success() {
        return Err(format!("grub-mkimage: {}", String::from_utf8_lossy(&output.stderr)));
    }
    fs::read(core).map_err(|error| error.to_string())
}
