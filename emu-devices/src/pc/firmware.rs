//! What the board tells its firmware about itself: CMOS bytes and fw_cfg items, where QEMU's `pc` has them.

use super::BootDevice;
use super::map::split_ram;
use crate::acpi;
use crate::direct_boot::BootKernel;
use crate::fw_cfg::{FwCfg, key};
use crate::linux_kernel::{Large, LinuxKernel, Part};
use crate::mc146818::Mc146818;
use crate::ports::SERIAL;
use crate::smbios;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
/// Kinds of memory of the e820 list.
const E820_RAM: u32 = 1;
/// Coprocessor and PS/2 mouse present, 80-column display by the VGA BIOS.
const EQUIPMENT: u8 = 0x06;
/// The expansion ROM that boots a kernel from fw_cfg, and SeaBIOS's name for it in its boot order.
const KERNEL_ROM_FILE: &str = "genroms/kernelboot.bin";
const KERNEL_ROM_BOOT_ORDER: &[u8] = b"/rom@genroms/kernelboot.bin\0";

/// Port of the serial line that firmware shows its text on.
const SERIAL_SCREEN_FILE: &str = "etc/sercon-port";

/// Fills the CMOS memory.
pub fn fill_cmos(rtc: &mut Mc146818, ram_size: u64, cpus: usize, boot_order: [BootDevice; 3], floppies: u8) {
    let (low, high) = split_ram(ram_size);
    let mut word = |index: u8, value: u64| {
        rtc.set_memory(index, value as u8);
        rtc.set_memory(index + 1, (value >> 8) as u8);
    };
    let extended = (low.saturating_sub(MIB) / KIB).min(0xffff);
    word(0x15, 640);
    word(0x17, extended);
    word(0x30, extended);
    word(0x34, (low.saturating_sub(16 * MIB) / (64 * KIB)).min(0xffff));
    let above = high / (64 * KIB);
    word(0x5b, above & 0xffff);
    rtc.set_memory(0x5d, (above >> 16) as u8);
    rtc.set_memory(0x10, floppies);
    rtc.set_memory(
        0x14,
        match (floppies >> 4, floppies & 0xf) {
            (0, 0) => EQUIPMENT,
            (0, _) | (_, 0) => EQUIPMENT | 0x01,
            _ => EQUIPMENT | 0x41,
        },
    );
    // The order to boot in, by nibbles, the lowest of 3Dh first; the third is in the upper one of 38h.
    let [first, second, third] = boot_order.map(|device| device as u8);
    rtc.set_memory(0x38, third << 4);
    rtc.set_memory(0x3d, second << 4 | first);
    rtc.set_memory(0x5f, (cpus - 1) as u8);
    // The AT's checksum over its configuration bytes, high byte first.
    let sum: u16 = (0x10..=0x2d).map(|index| u16::from(rtc.memory(index))).sum();
    rtc.set_memory(0x2e, (sum >> 8) as u8);
    rtc.set_memory(0x2f, sum as u8);
}

/// The firmware configuration device with what every PC has.
pub fn fw_cfg(ram_size: u64, cpus: usize) -> FwCfg {
    let (low, high) = split_ram(ram_size);
    let mut device = FwCfg::new();
    device.set_item(key::RAM_SIZE, ram_size.to_le_bytes());
    device.set_item(key::NO_GRAPHIC, 0u16.to_le_bytes());
    device.set_item(key::CPU_COUNT, (cpus as u16).to_le_bytes());
    device.set_item(key::MAX_CPUS, (cpus as u16).to_le_bytes());
    device.set_item(key::BOOT_MENU, 0u16.to_le_bytes());
    // For firmware that writes its own tables: Linux finds its timer by them.
    device.set_item(key::IRQ0_OVERRIDE, 1u32.to_le_bytes());
    let mut e820 = Vec::new();
    for (start, len) in [(0, low), (1u64 << 32, high)] {
        if len != 0 {
            e820.extend(start.to_le_bytes());
            e820.extend(len.to_le_bytes());
            e820.extend(E820_RAM.to_le_bytes());
        }
    }
    device.add_file("etc/e820", &e820);
    let acpi = acpi::files(low, cpus);
    device.add_file(acpi::TABLES_FILE, &acpi.tables);
    device.add_file(acpi::RSDP_FILE, &acpi.rsdp);
    device.add_file(acpi::LOADER_FILE, &acpi.loader);
    let (tables, anchor) = smbios::files(ram_size, low, cpus);
    device.add_file(smbios::TABLES_FILE, &tables);
    device.add_file(smbios::ANCHOR_FILE, &anchor);
    device
}

/// Tells the firmware which port its text goes to as well (a word), as QEMU's `-nographic` does.
pub fn offer_serial_screen(device: &mut FwCfg) {
    device.add_file(SERIAL_SCREEN_FILE, &SERIAL[0].to_le_bytes());
}

/// Offers a kernel, and the expansion ROM that boots it, to the firmware.
pub fn offer_kernel(device: &mut FwCfg, kernel: BootKernel, boot_rom: &[u8]) {
    let large = |part: Part| Large { address: part.address, bytes: part.bytes.into() };
    let (setup, image, initrd, command_line) = match kernel {
        BootKernel::Real(LinuxKernel { setup, kernel, initrd, command_line }) => {
            (large(setup), kernel, initrd, large(command_line))
        }
        // The ROM takes an entry as the sign that the real-mode part is a block with all that there is to know.
        BootKernel::Protected(handoff) => {
            device.set_item(key::KERNEL_ENTRY, handoff.entry.to_le_bytes());
            let at_0 = |bytes: Vec<u8>| Large { address: 0, bytes: bytes.into() };
            (large(handoff.block), at_0(handoff.image), at_0(handoff.modules), at_0(Vec::new()))
        }
    };
    for (address, size, data, part) in [
        (key::KERNEL_ADDRESS, key::KERNEL_SIZE, key::KERNEL_DATA, image),
        (key::INITRD_ADDRESS, key::INITRD_SIZE, key::INITRD_DATA, initrd),
        (key::COMMAND_LINE_ADDRESS, key::COMMAND_LINE_SIZE, key::COMMAND_LINE_DATA, command_line),
        (key::SETUP_ADDRESS, key::SETUP_SIZE, key::SETUP_DATA, setup),
    ] {
        device.set_item(address, part.address.to_le_bytes());
        device.set_item(size, (part.bytes.len() as u32).to_le_bytes());
        device.set_contents(data, part.bytes);
    }
    device.add_file(KERNEL_ROM_FILE, boot_rom);
    device.add_file("bootorder", KERNEL_ROM_BOOT_ORDER);
}
