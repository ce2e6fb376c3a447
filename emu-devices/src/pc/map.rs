//! The physical memory map: RAM below and above the hole for devices, the firmware below 4 GiB and below
//! 1 MiB, what the host bridge's PAM and SMRAM registers make of the first megabyte, and the PCI windows.
//!
//! A PCI window only takes addresses where nothing else lies: the host bridge claims RAM before PCI does.

use std::collections::BTreeSet;

use emu_core::mem::page::{FrameNumber, PhysPage};
use emu_core::mem::{Memory, PAGE_SIZE, Smram};

use super::PcError;
use crate::pci::Pci;
use crate::test_device::{MEMORY, MEMORY_SIZE};
use crate::{hpet, io_apic};

/// Start and end of the VGA's legacy window.
pub const VGA_WINDOW: std::ops::Range<u64> = 0xa_0000..0xc_0000;
/// Bytes of the frame buffer behind BAR 0.
pub const FRAME_BUFFER_SIZE: u64 = 16 << 20;

const MIB: u64 = 1 << 20;
const GIB4: u64 = 1 << 32;
/// RAM that ends above this address leaves a larger hole: below it only up to [`LOW_RAM_LIMIT`].
const LOW_RAM_FULL: u64 = 0xe000_0000;
const LOW_RAM_LIMIT: u64 = 0xc000_0000;
/// The part of the firmware that also ends at 1 MiB.
const BIOS_ALIAS: u64 = 128 << 10;
const OPTION_ROMS: u64 = 0xc_0000;
/// Pages of the chips that stay where they are.
const CHIPS: [u64; 2] = [io_apic::BASE, hpet::BASE];

/// Bytes of RAM below 4 GiB and above.
pub fn split_ram(ram_size: u64) -> (u64, u64) {
    let low = if ram_size > LOW_RAM_FULL { LOW_RAM_LIMIT } else { ram_size };
    (low, ram_size - low)
}

/// Where everything lies. RAM takes the first frames, in the order of its addresses.
#[derive(Debug)]
pub struct MemoryMap {
    low_ram: u64,
    high_ram: u64,
    bios: FrameNumber,
    bios_size: u64,
    vga_rom: FrameNumber,
    /// Bytes of the VGA ROM image, rounded up to pages.
    vga_rom_size: u64,
    /// Bytes that the VGA ROM takes behind its PCI address.
    vga_rom_window: u64,
    /// Register pages of the local APICs as mapped now.
    local_apics: BTreeSet<u64>,
    /// PCI windows as mapped now: start and length.
    windows: [Option<(u64, u64)>; 3],
}

impl MemoryMap {
    /// Sets up memory and loads the ROM images.
    pub fn new(
        ram_size: u64,
        bios: &[u8],
        vga_rom: &[u8],
        vga_rom_window: u32,
    ) -> Result<(Self, Memory), PcError> {
        if ram_size < MIB || !ram_size.is_multiple_of(PAGE_SIZE) {
            return Err(PcError::RamSize(ram_size));
        }
        let bios_size = bios.len() as u64;
        if !(64 << 10..=16 * MIB).contains(&bios_size) || !bios_size.is_multiple_of(PAGE_SIZE) {
            return Err(PcError::BiosSize(bios.len()));
        }
        if vga_rom.len() as u64 > BIOS_ALIAS {
            return Err(PcError::VgaRomSize(vga_rom.len()));
        }
        let vga_rom_window = u64::from(vga_rom_window);
        let mut mem = Memory::new(ram_size, bios_size + vga_rom_window).map_err(PcError::Memory)?;
        let (low_ram, high_ram) = split_ram(ram_size);
        let map = Self {
            low_ram,
            high_ram,
            bios: mem.allocate(bios_size),
            bios_size,
            vga_rom: mem.allocate(vga_rom_window),
            vga_rom_size: (vga_rom.len() as u64).next_multiple_of(PAGE_SIZE),
            vga_rom_window,
            local_apics: BTreeSet::new(),
            windows: [None; 3],
        };
        mem.fill(map.bios, bios);
        if !vga_rom.is_empty() {
            mem.fill(map.vga_rom, vga_rom);
        }
        mem.lay_ram(0, low_ram, 0);
        mem.lay_ram(GIB4, high_ram, (low_ram / PAGE_SIZE) as FrameNumber);
        mem.map(GIB4 - bios_size, bios_size, |page| PhysPage::rom(map.bios + page));
        for chip in CHIPS {
            mem.map(chip, PAGE_SIZE, |_| PhysPage::MMIO);
        }
        Ok((map, mem))
    }

    /// Maps the memory of the test device, unless a large firmware image lies there.
    pub fn add_test_device(&self, mem: &mut Memory) {
        if GIB4 - self.bios_size >= MEMORY + MEMORY_SIZE {
            mem.map(MEMORY, MEMORY_SIZE, |_| PhysPage::MMIO);
        }
    }

    /// Makes the map what the configuration registers say.
    pub fn update(&mut self, pci: &Pci, mem: &mut Memory) {
        let window = VGA_WINDOW.end - VGA_WINDOW.start;
        let first = (VGA_WINDOW.start / PAGE_SIZE) as FrameNumber;
        let smram = pci.host.smram_open();
        let data = !pci.host.smram_closed_to_data();
        let hidden = Smram { start: VGA_WINDOW.start, len: window, frame: first, data };
        mem.set_smram(pci.host.smram_enabled().then_some(hidden));
        mem.map(
            VGA_WINDOW.start,
            window,
            |page| if smram { PhysPage::ram(first + page) } else { PhysPage::MMIO },
        );
        for region in pci.host.pam() {
            let start = u64::from(region.start);
            mem.map(start, u64::from(region.len), |page| {
                let address = start + u64::from(page) * PAGE_SIZE;
                let ram = (address / PAGE_SIZE) as FrameNumber;
                let read = if region.read { Some(ram) } else { self.rom_below_1m(address) };
                PhysPage::split(read, region.write.then_some(ram))
            });
        }
        self.update_windows(pci, mem);
    }

    /// Maps the register pages of the local APICs, except over RAM and ROM.
    pub fn place_local_apics(&mut self, pages: BTreeSet<u64>, pci: &Pci, mem: &mut Memory) {
        if pages == self.local_apics {
            return;
        }
        for page in std::mem::replace(&mut self.local_apics, pages) {
            self.for_free_pages(page, PAGE_SIZE, |address, _| {
                mem.map(address, PAGE_SIZE, |_| PhysPage::NONE)
            });
        }
        // What the pages hid comes to light, and what they hide now goes.
        self.windows = [None; 3];
        self.update_windows(pci, mem);
        for &page in &self.local_apics {
            if self.is_free(page) {
                mem.map(page, PAGE_SIZE, |_| PhysPage::MMIO);
            }
        }
    }

    /// The ROM frame behind an address from C0000h to FFFFFh, if there is one.
    fn rom_below_1m(&self, address: u64) -> Option<FrameNumber> {
        let alias = BIOS_ALIAS.min(self.bios_size);
        if address >= MIB - alias {
            let from_end = (MIB - address) / PAGE_SIZE;
            return Some(self.bios + (self.bios_size / PAGE_SIZE - from_end) as FrameNumber);
        }
        let offset = address - OPTION_ROMS;
        (offset < self.vga_rom_size).then(|| self.vga_rom + (offset / PAGE_SIZE) as FrameNumber)
    }

    fn update_windows(&mut self, pci: &Pci, mem: &mut Memory) {
        let wanted = [
            pci.vga.frame_buffer().map(|start| (start, FRAME_BUFFER_SIZE)),
            pci.vga.registers().map(|start| (start, PAGE_SIZE)),
            pci.vga.rom().map(|start| (start, self.vga_rom_window)),
        ];
        if wanted == self.windows {
            return;
        }
        for (start, len) in self.windows.into_iter().flatten() {
            self.for_free_pages(start, len, |address, _| mem.map(address, PAGE_SIZE, |_| PhysPage::NONE));
        }
        self.windows = wanted;
        // Where windows overlap, the lower BAR wins, as it is looked at first when it is accessed.
        for (number, window) in wanted.into_iter().enumerate().rev() {
            let Some((start, len)) = window else { continue };
            self.for_free_pages(start, len, |address, page| {
                let page = if number == 2 { PhysPage::rom(self.vga_rom + page) } else { PhysPage::MMIO };
                mem.map(address, PAGE_SIZE, |_| page);
            });
        }
    }

    /// Calls with the address and number of each page of a range where neither RAM nor a device lies.
    fn for_free_pages(&self, start: u64, len: u64, mut each: impl FnMut(u64, FrameNumber)) {
        for number in 0..len / PAGE_SIZE {
            let address = start + number * PAGE_SIZE;
            if self.is_free(address) && !self.local_apics.contains(&address) {
                each(address, number as FrameNumber);
            }
        }
    }

    /// Neither RAM nor ROM nor a chip that cannot be moved lies there.
    fn is_free(&self, address: u64) -> bool {
        let ram = address < self.low_ram.max(MIB) || (GIB4..GIB4 + self.high_ram).contains(&address);
        let bios = (GIB4 - self.bios_size..GIB4).contains(&address);
        !ram && !bios && !CHIPS.contains(&address)
    }
}
