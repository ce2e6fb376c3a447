//! The bundled firmware, real guest code: a PC BIOS, a VGA BIOS and a ROM that boots a kernel, assembled from the
//! sources in this crate when it is built.
//!
//! ```
//! let entry = &emu_roms::BIOS[emu_roms::BIOS.len() - 16..];
//! assert_eq!(entry[0], 0xEA); // the reset vector: a far jump
//! ```

/// The system BIOS, 128 KiB: its end belongs at 4 GiB, and all of it once more at E0000h to FFFFFh.
/// The first half holds the VGA BIOS, which POST copies to C0000h; the second is segment F000h.
pub static BIOS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/bios.bin"));

/// The VGA BIOS as an option ROM for PCI vendor 1234h, device 1111h: a multiple of 2 KiB.
pub static VGA_BIOS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/vgabios.bin"));

/// An option ROM that boots the Linux kernel which the board offers by fw_cfg: for the file `genroms/kernelboot.bin`.
pub static KERNEL_BOOT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/kernelboot.bin"));

#[cfg(test)]
mod tests {
    use super::*;

    fn word(rom: &[u8], offset: usize) -> u16 {
        u16::from_le_bytes([rom[offset], rom[offset + 1]])
    }

    #[test]
    fn bios_is_128_kib() {
        assert_eq!(BIOS.len(), 128 * 1024);
    }

    #[test]
    fn reset_vector_jumps_far_into_segment_f000() {
        let vector = &BIOS[0x1FFF0..];
        assert_eq!(vector[0], 0xEA);
        assert_eq!(word(vector, 3), 0xF000);
        let target = usize::from(word(vector, 1));
        assert_eq!(BIOS[0x10000 + target], 0xFA, "POST begins with CLI");
    }

    #[test]
    fn date_and_model_stand_where_the_at_has_them() {
        let date = &BIOS[0x1FFF5..0x1FFFD];
        assert!(
            date.iter()
                .enumerate()
                .all(|(i, &c)| { if i == 2 || i == 5 { c == b'/' } else { c.is_ascii_digit() } })
        );
        assert_eq!(BIOS[0x1FFFE], 0xFC);
    }

    #[test]
    fn vga_bios_is_a_pci_option_rom() {
        assert_eq!(word(VGA_BIOS, 0), 0xAA55);
        assert_eq!(VGA_BIOS.len() % 2048, 0);
        assert_eq!(usize::from(VGA_BIOS[2]) * 512, VGA_BIOS.len());
        assert!(matches!(VGA_BIOS[3], 0xE9 | 0xEB), "a jump to the initialisation");
        let pci = usize::from(word(VGA_BIOS, 0x18));
        assert_eq!(&VGA_BIOS[pci..pci + 4], b"PCIR");
        assert_eq!((word(VGA_BIOS, pci + 4), word(VGA_BIOS, pci + 6)), (0x1234, 0x1111));
        assert_eq!(&VGA_BIOS[pci + 0xD..pci + 0x10], &[0, 0, 3]);
        assert_eq!(usize::from(word(VGA_BIOS, pci + 0x10)) * 512, VGA_BIOS.len());
        assert_eq!(VGA_BIOS[pci + 0x15] & 0x80, 0x80, "the last image");
    }

    #[test]
    fn vga_bios_adds_up_to_zero() {
        assert_eq!(VGA_BIOS.iter().fold(0u8, |sum, &byte| sum.wrapping_add(byte)), 0);
    }

    #[test]
    fn kernel_boot_rom_is_a_bootable_plug_and_play_rom() {
        let sum = |bytes: &[u8]| bytes.iter().fold(0u8, |sum, &byte| sum.wrapping_add(byte));
        assert_eq!(word(KERNEL_BOOT, 0), 0xAA55);
        assert_eq!(usize::from(KERNEL_BOOT[2]) * 512, KERNEL_BOOT.len());
        let header = &KERNEL_BOOT[usize::from(word(KERNEL_BOOT, 0x1A))..][..0x20];
        assert_eq!(&header[..6], b"$PnP\x01\x02");
        assert_eq!((sum(header), sum(KERNEL_BOOT)), (0, 0));
        let bootstrap = usize::from(word(header, 0x1A));
        assert_eq!(&KERNEL_BOOT[bootstrap..bootstrap + 2], &[0x66, 0x60], "it begins with PUSHAD");
    }

    #[test]
    fn vga_bios_is_embedded_in_the_bios() {
        assert_eq!(&BIOS[..VGA_BIOS.len()], VGA_BIOS);
    }
}
