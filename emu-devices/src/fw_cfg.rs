//! The firmware configuration device: what the board tells its firmware, by numbered items and named files.
//!
//! Manual: QEMU's public interface description "QEMU Firmware Configuration (fw_cfg) Device".
//! Modelled: selector and data ports 510h and 511h, the file directory, and the DMA interface at 514h.
//! Left out: items that the guest may write (writes by DMA answer with the error bit).
//!
//! Items that were never set read as zeros, like the bytes behind the end of an item; so a kernel size that
//! nobody set is 0, which firmware takes for "no kernel to boot directly".

use std::collections::BTreeMap;

use emu_core::bus::OPEN_BUS;
use emu_core::mem::{Memory, PAGE_SIZE};

use crate::contents::Contents;

/// Selector register: 16 bits, write only.
pub const SELECTOR: u16 = 0x510;
/// Data register: 8 bits, the next byte of the selected item.
pub const DATA: u16 = 0x511;
/// DMA address register: 64 bits, big-endian; writing its lower half (at 518h) starts the transfer.
pub const DMA_ADDRESS: u16 = 0x514;
const DMA_ADDRESS_LOW: u16 = DMA_ADDRESS + 4;

/// Numbers of the items.
pub mod key {
    /// The letters "QEMU".
    pub const SIGNATURE: u16 = 0x00;
    /// Abilities: bit 0 ports, bit 1 DMA.
    pub const ID: u16 = 0x01;
    /// Bytes of RAM, 64 bits.
    pub const RAM_SIZE: u16 = 0x03;
    /// 16 bits: there is no display.
    pub const NO_GRAPHIC: u16 = 0x04;
    /// Processors at power-on, 16 bits.
    pub const CPU_COUNT: u16 = 0x05;
    /// Where the kernel to boot directly goes, 32 bits.
    pub const KERNEL_ADDRESS: u16 = 0x07;
    /// Bytes of the kernel to boot directly, 32 bits.
    pub const KERNEL_SIZE: u16 = 0x08;
    /// Where its initial RAM disk goes, 32 bits.
    pub const INITRD_ADDRESS: u16 = 0x0a;
    /// Bytes of the initial RAM disk, 32 bits.
    pub const INITRD_SIZE: u16 = 0x0b;
    /// 16 bits: show the boot menu.
    pub const BOOT_MENU: u16 = 0x0e;
    /// Processors that there could be (the highest APIC id plus one), 16 bits.
    pub const MAX_CPUS: u16 = 0x0f;
    /// Where the kernel is entered, 32 bits; nothing for one that is entered in real mode.
    pub const KERNEL_ENTRY: u16 = 0x10;
    /// The kernel's protected-mode part.
    pub const KERNEL_DATA: u16 = 0x11;
    /// The initial RAM disk.
    pub const INITRD_DATA: u16 = 0x12;
    /// Where the command line goes, 32 bits.
    pub const COMMAND_LINE_ADDRESS: u16 = 0x13;
    /// Bytes of the command line with its final zero, 32 bits.
    pub const COMMAND_LINE_SIZE: u16 = 0x14;
    /// The command line.
    pub const COMMAND_LINE_DATA: u16 = 0x15;
    /// Where the kernel's real-mode part goes, 32 bits.
    pub const SETUP_ADDRESS: u16 = 0x16;
    /// Bytes of the real-mode part, 32 bits.
    pub const SETUP_SIZE: u16 = 0x17;
    /// The kernel's real-mode part.
    pub const SETUP_DATA: u16 = 0x18;
    /// Directory of the named files.
    pub const FILE_DIRECTORY: u16 = 0x19;
    /// 32 bits: the 8254 is wired to pin 2 of the I/O APIC.
    pub const IRQ0_OVERRIDE: u16 = 0x8002;
    /// The first named file; the others follow.
    pub const FIRST_FILE: u16 = 0x20;
}

/// Key bits that choose an item; bit 14 asks for the old write mode, which does not exist any more.
const KEY_MASK: u16 = 0xbfff;
const LAST_FILE: u16 = 0x3fff;
const NAME_SIZE: usize = 56;

/// What the DMA address register reads as: "QEMU CFG".
const DMA_SIGNATURE: [u8; 8] = *b"QEMU CFG";
const DMA_ERROR: u32 = 1 << 0;
const DMA_READ: u32 = 1 << 1;
const DMA_SKIP: u32 = 1 << 2;
const DMA_SELECT: u32 = 1 << 3;
const DMA_WRITE: u32 = 1 << 4;

/// The device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FwCfg {
    items: BTreeMap<u16, Contents>,
    names: Vec<String>,
    /// Selected item.
    selected: u16,
    /// Next byte of the selected item.
    offset: u32,
    /// DMA address register.
    dma_address: u64,
}

impl Default for FwCfg {
    fn default() -> Self {
        Self::new()
    }
}

impl FwCfg {
    /// A device with its signature, its abilities and an empty file directory.
    pub fn new() -> Self {
        let mut device =
            Self { items: BTreeMap::new(), names: Vec::new(), selected: 0, offset: 0, dma_address: 0 };
        device.set_item(key::SIGNATURE, b"QEMU");
        device.set_item(key::ID, 0b11u32.to_le_bytes());
        device.write_directory();
        device
    }

    /// Sets a numbered item (in little-endian order where it is a number).
    pub fn set_item(&mut self, key: u16, bytes: impl Into<Vec<u8>>) {
        self.set_contents(key, bytes.into().into());
    }

    /// The same for an item that may be large.
    pub fn set_contents(&mut self, key: u16, contents: Contents) {
        self.items.insert(key & KEY_MASK, contents);
    }

    /// Adds a named file, or replaces the one of that name. Names have at most 55 bytes; what is longer is cut.
    pub fn add_file(&mut self, name: &str, bytes: &[u8]) {
        let place = self.names.iter().position(|known| known == name).unwrap_or_else(|| {
            self.names.push(name.to_owned());
            self.names.len() - 1
        });
        let key = usize::from(key::FIRST_FILE) + place;
        assert!(key <= usize::from(LAST_FILE), "the board has more files than the device has numbers");
        self.items.insert(key as u16, bytes.to_vec().into());
        self.write_directory();
    }

    /// Directory: count, then size, key, two bytes of nothing and name of each file, in big-endian order.
    fn write_directory(&mut self) {
        let mut bytes = (self.names.len() as u32).to_be_bytes().to_vec();
        for (name, key) in self.names.iter().zip(key::FIRST_FILE..) {
            let size = self.items.get(&key).map_or(0, Contents::len) as u32;
            bytes.extend_from_slice(&size.to_be_bytes());
            bytes.extend_from_slice(&key.to_be_bytes());
            bytes.extend_from_slice(&[0; 2]);
            let mut field = [0; NAME_SIZE];
            let used = name.len().min(NAME_SIZE - 1);
            field[..used].copy_from_slice(&name.as_bytes()[..used]);
            bytes.extend_from_slice(&field);
        }
        self.items.insert(key::FILE_DIRECTORY, bytes.into());
    }

    /// Power-on state of the registers. Items stay.
    pub fn reset(&mut self) {
        self.selected = 0;
        self.offset = 0;
        self.dma_address = 0;
    }

    /// IN from ports 510h to 51Bh.
    pub fn port_read(&mut self, port: u16, size: u8) -> u32 {
        let mut bytes = [0; 4];
        for (port, byte) in (port..).zip(&mut bytes[..usize::from(size.min(4))]) {
            *byte = match port {
                // A wide read of the data port takes no further bytes: the register is 8 bits wide.
                DATA => self.next_byte(),
                DMA_ADDRESS..=0x51b => DMA_SIGNATURE[usize::from(port - DMA_ADDRESS)],
                _ => OPEN_BUS,
            };
        }
        u32::from_le_bytes(bytes)
    }

    /// OUT to ports 510h to 51Bh.
    pub fn port_write(&mut self, mem: &mut Memory, port: u16, size: u8, value: u32) {
        match (port, size) {
            (SELECTOR, 2) => self.select(value as u16),
            (DMA_ADDRESS, 4) => {
                self.dma_address = u64::from(value.swap_bytes()) << 32 | self.dma_address & 0xffff_ffff;
            }
            (DMA_ADDRESS_LOW, 4) => {
                let address = self.dma_address & !0xffff_ffff | u64::from(value.swap_bytes());
                self.dma_address = 0;
                self.transfer(mem, address);
            }
            _ => {}
        }
    }

    fn select(&mut self, key: u16) {
        self.selected = key & KEY_MASK;
        self.offset = 0;
    }

    fn next_byte(&mut self) -> u8 {
        let mut byte = [0];
        self.next_bytes(&mut byte);
        byte[0]
    }

    /// The next bytes of the item, zeros behind its end.
    fn next_bytes(&mut self, out: &mut [u8]) {
        match self.items.get(&self.selected) {
            Some(item) => item.read(self.offset.into(), out),
            None => out.fill(0),
        }
        self.offset = self.offset.saturating_add(out.len() as u32);
    }

    /// One DMA command: control, length and address, big-endian, lie at `at`; control is written back as 0,
    /// or with its error bit alone.
    fn transfer(&mut self, mem: &mut Memory, at: u64) {
        let mut command = [0; 16];
        mem.read_bytes(at, &mut command);
        let field = |from: usize| u32::from_be_bytes(std::array::from_fn(|byte| command[from + byte]));
        let (control, length) = (field(0), field(4));
        let address = u64::from(field(8)) << 32 | u64::from(field(12));
        if control & DMA_SELECT != 0 {
            self.select((control >> 16) as u16);
        }
        let mut answer: u32 = 0;
        if control & DMA_READ != 0 {
            self.read_by_dma(mem, address, length);
        } else if control & DMA_WRITE != 0 {
            answer = DMA_ERROR;
        } else if control & DMA_SKIP != 0 {
            self.offset = self.offset.saturating_add(length);
        }
        mem.write_bytes(at, &answer.to_be_bytes());
    }

    fn read_by_dma(&mut self, mem: &mut Memory, address: u64, length: u32) {
        let mut buffer = [0; PAGE_SIZE as usize];
        let (mut address, mut left) = (address, length as usize);
        while left > 0 {
            let part = left.min((PAGE_SIZE - address % PAGE_SIZE) as usize);
            // Up to 4 GiB may be asked for: what would vanish anyway is not copied.
            if mem.bus_page(address).write_frame().is_some() {
                self.next_bytes(&mut buffer[..part]);
                mem.write_bytes(address, &buffer[..part]);
            } else {
                self.offset = self.offset.saturating_add(part as u32);
            }
            address = address.wrapping_add(part as u64);
            left -= part;
        }
    }
}

#[cfg(test)]
mod tests {
    use emu_core::mem::page::PhysPage;

    use super::*;
    use crate::random::{Random, seeds};

    fn memory() -> Memory {
        let mut mem = Memory::new(0x10000, 0).unwrap();
        mem.map(0, 0x10000, PhysPage::ram);
        mem
    }

    fn read(device: &mut FwCfg, mem: &mut Memory, key: u16, count: usize) -> Vec<u8> {
        device.port_write(mem, 0x510, 2, u32::from(key));
        (0..count).map(|_| device.port_read(0x511, 1) as u8).collect()
    }

    #[test]
    fn signature_and_abilities_answer_and_zeros_follow() {
        let (mut device, mut mem) = (FwCfg::new(), memory());
        assert_eq!(read(&mut device, &mut mem, 0, 6), b"QEMU\0\0");
        assert_eq!(read(&mut device, &mut mem, 1, 4), [3, 0, 0, 0]);
        assert_eq!(read(&mut device, &mut mem, 8, 4), [0; 4]);
    }

    #[test]
    fn selecting_again_starts_over() {
        let (mut device, mut mem) = (FwCfg::new(), memory());
        assert_eq!(read(&mut device, &mut mem, 0, 2), b"QE");
        assert_eq!(read(&mut device, &mut mem, 0, 2), b"QE");
    }

    #[test]
    fn the_directory_is_big_endian_and_names_its_files() {
        let (mut device, mut mem) = (FwCfg::new(), memory());
        device.add_file("etc/e820", &[1; 20]);
        device.add_file("bootorder", &[2; 300]);
        let bytes = read(&mut device, &mut mem, 0x19, 4 + 2 * 64);
        assert_eq!(bytes[..12], [0, 0, 0, 2, 0, 0, 0, 20, 0, 0x20, 0, 0]);
        assert_eq!(&bytes[12..21], b"etc/e820\0");
        assert_eq!(bytes[68..76], [0, 0, 1, 0x2c, 0, 0x21, 0, 0]);
        assert_eq!(&bytes[76..86], b"bootorder\0");
        assert_eq!(read(&mut device, &mut mem, 0x21, 1), [2]);
    }

    #[test]
    fn dma_reads_into_memory_and_clears_its_control_word() {
        let (mut device, mut mem) = (FwCfg::new(), memory());
        assert_eq!(device.port_read(0x514, 4).to_le_bytes(), *b"QEMU");
        // Control: select item 0, read; 6 bytes to 2000h.
        let command = [0, 0, 0, 0x0a, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0x20, 0];
        mem.write_bytes(0x1000, &command);
        mem.write_bytes(0x2000, &[0xee; 8]);
        device.port_write(&mut mem, 0x518, 4, 0x1000u32.swap_bytes());
        let (mut control, mut data) = ([9; 4], [0; 8]);
        mem.read_bytes(0x1000, &mut control);
        mem.read_bytes(0x2000, &mut data);
        assert_eq!(control, [0; 4]);
        assert_eq!(data, [b'Q', b'E', b'M', b'U', 0, 0, 0xee, 0xee]);
    }

    #[test]
    fn dma_writes_are_refused() {
        let (mut device, mut mem) = (FwCfg::new(), memory());
        mem.write_bytes(0x1000, &[0, 0, 0, 0x18, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0x20, 0]);
        device.port_write(&mut mem, 0x518, 4, 0x1000u32.swap_bytes());
        let mut control = [0; 4];
        mem.read_bytes(0x1000, &mut control);
        assert_eq!(control, [0, 0, 0, 1]);
    }

    #[test]
    fn random_accesses_do_no_harm_and_repeat() {
        let run = |seed| {
            let (mut device, mut mem) = (FwCfg::new(), memory());
            device.add_file("etc/e820", &[1; 20]);
            let (mut random, mut sum) = (Random::new(seed), 0u32);
            for _ in 0..10_000 {
                let (port, size) = (0x510 + random.below(12) as u16, random.size());
                if random.below(2) == 0 {
                    sum = sum.rotate_left(1) ^ device.port_read(port, size);
                } else {
                    // Addresses stay small, so that commands are found in memory now and then.
                    device.port_write(&mut mem, port, size, random.below(0x1_0000).swap_bytes());
                }
            }
            (device, sum)
        };
        for seed in seeds(1..3) {
            assert_eq!(run(seed), run(seed));
        }
    }
}
