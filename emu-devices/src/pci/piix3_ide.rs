//! Intel 82371SB (PIIX3) IDE function, 00:01.1, with a bus master for each of its two channels.
//!
//! Manuals: Intel 290550, "PCI IDE Register Description"; "Programming Interface for Bus Master IDE Controller"
//! (SFF 8038i), "Physical Region Descriptor Table".
//! Modelled: the bus-master registers, descriptor tables, the interrupt latch.
//! Left out: timing (a transfer takes no time of its own); IDETIM holds what is written, and the channels
//! answer at their legacy ports whatever it and the command register say, as with QEMU.
//! A device that transfers the other way than the command register says is left waiting.

use emu_core::bus::{OPEN_BUS, Tick};
use emu_core::mem::Memory;

use super::config::{COMMAND_IO, COMMAND_MASTER, ConfigSpace, Identity, STATUS_FAST_MEDIUM, header};
use super::{Changed, PciFunction};
use crate::dma::{DmaDevice, DmaDirection};

const BMIBA: u8 = 0x20;
const IDETIM: u8 = 0x40;
const PORTS: u16 = 16;

/// BMIC: start; direction is into memory.
const SSBM: u8 = 1 << 0;
const RWCON: u8 = 1 << 3;
/// BMIS: active; interrupt; and what the guest may note (drive 0 and 1 can do DMA).
const BMIDEA: u8 = 1 << 0;
const IDEINTS: u8 = 1 << 2;
const ERROR: u8 = 1 << 1;
const CAPABLE: u8 = 0b11 << 5;

/// Second word of a descriptor: this is the last one.
const END_OF_TABLE: u32 = 1 << 31;

/// One bus master.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BusMaster {
    /// BMIC, command.
    command: u8,
    /// BMIS, status.
    status: u8,
    /// BMIDTP, descriptor-table pointer.
    table: u32,
    /// Address of the next descriptor.
    next: u32,
    /// Address and bytes left of the region under way.
    region: u32,
    left: u32,
    /// The region under way is the last one.
    last: bool,
    /// INTRQ as last seen.
    interrupt: bool,
}

impl BusMaster {
    fn read(&self, register: u16) -> u8 {
        match register {
            0 => self.command,
            2 => self.status,
            4..=7 => self.table.to_le_bytes()[usize::from(register - 4)],
            _ => 0,
        }
    }

    fn write(&mut self, register: u16, value: u8) {
        match register {
            0 => {
                let started = value & SSBM != 0 && self.command & SSBM == 0;
                self.command = value & (SSBM | RWCON);
                if started {
                    *self = Self { next: self.table, left: 0, last: false, ..*self };
                    self.status |= BMIDEA;
                } else if value & SSBM == 0 {
                    self.status &= !BMIDEA;
                }
            }
            2 => {
                let cleared = value & (IDEINTS | ERROR);
                self.status = self.status & !(CAPABLE | cleared) | value & CAPABLE;
            }
            4..=7 => {
                let mut bytes = self.table.to_le_bytes();
                bytes[usize::from(register - 4)] = value;
                self.table = u32::from_le_bytes(bytes) & !0b11;
            }
            _ => {}
        }
    }

    /// Moves data while there are data, regions and a guest that wants it.
    fn transfer(&mut self, device: &mut dyn DmaDevice, mem: &mut Memory, now: Tick) {
        let direction =
            if self.command & RWCON != 0 { DmaDirection::ToMemory } else { DmaDirection::FromMemory };
        let mut buffer = [0; 4096];
        while self.status & BMIDEA != 0 && device.dma_request() == Some(direction) {
            if self.left == 0 {
                self.fetch_descriptor(mem);
            }
            let part = self.left.min(buffer.len() as u32) as usize;
            let buffer = &mut buffer[..part];
            let moved = match direction {
                DmaDirection::ToMemory => {
                    let moved = device.dma_take(buffer, now).min(part);
                    mem.write_bytes(self.region.into(), &buffer[..moved]);
                    moved
                }
                DmaDirection::FromMemory => {
                    mem.read_bytes(self.region.into(), buffer);
                    device.dma_give(buffer, now).min(part)
                }
            };
            if moved == 0 {
                return;
            }
            self.region = self.region.wrapping_add(moved as u32);
            self.left -= moved as u32;
            if self.left == 0 && self.last {
                self.status &= !BMIDEA;
            }
        }
    }

    /// Next region: word-aligned address; word-aligned length, 0 for 64 KiB, and the end mark.
    fn fetch_descriptor(&mut self, mem: &Memory) {
        let mut bytes = [0; 8];
        mem.read_bytes(self.next.into(), &mut bytes);
        let [address, length] =
            [0, 4].map(|from| u32::from_le_bytes(std::array::from_fn(|byte| bytes[from + byte])));
        self.region = address & !1;
        self.left = match length & 0xfffe {
            0 => 0x1_0000,
            bytes => bytes,
        };
        self.last = length & END_OF_TABLE != 0;
        self.next = self.next.wrapping_add(8);
    }
}

/// The function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piix3Ide {
    config: ConfigSpace,
    masters: [BusMaster; 2],
}

impl Piix3Ide {
    pub(super) fn new() -> Self {
        let identity = Identity { vendor: 0x8086, device: 0x7010, revision: 0, class: 0x01_0180 };
        let mut config = ConfigSpace::new(identity);
        config.allow(header::COMMAND, &(COMMAND_IO | COMMAND_MASTER).to_le_bytes());
        config.set16(header::STATUS, STATUS_FAST_MEDIUM);
        config.allow(header::LATENCY_TIMER, &[0xf0]);
        config.set32(BMIBA, 0x0000_0001);
        // The sheet wires bits 31:16 to 0, but SeaBIOS sizes a base address by 32 bits, so all can be written.
        config.allow(BMIBA, &[0xf0, 0xff, 0xff, 0xff]);
        config.allow(IDETIM, &[0xff, 0xf3, 0xff, 0xf3, 0xff]);
        Self { config, masters: [BusMaster::default(); 2] }
    }

    /// Where the bus-master registers answer now.
    pub fn bus_master_base(&self) -> Option<u16> {
        let base = u16::try_from(self.config.get32(BMIBA)).ok()? & !(PORTS - 1);
        (self.config.command() & COMMAND_IO != 0 && base != 0).then_some(base)
    }

    fn offset_of(&self, port: u16) -> Option<u16> {
        let offset = port.checked_sub(self.bus_master_base()?)?;
        (offset < PORTS).then_some(offset)
    }

    /// IN from the bus-master registers; `None` when the port is not (now) theirs.
    pub fn port_read(&mut self, port: u16, size: u8) -> Option<u32> {
        let offset = self.offset_of(port)?;
        let mut bytes = [0; 4];
        for (register, byte) in (offset..).zip(&mut bytes[..usize::from(size.min(4))]) {
            let master = self.masters.get(usize::from(register / 8));
            *byte = master.map_or(OPEN_BUS, |master| master.read(register % 8));
        }
        Some(u32::from_le_bytes(bytes))
    }

    /// OUT to the bus-master registers; false when the port is not (now) theirs.
    /// The board calls [`service`](Self::service) afterwards.
    pub fn port_write(&mut self, port: u16, size: u8, value: u32) -> bool {
        let Some(offset) = self.offset_of(port) else { return false };
        for (register, byte) in (offset..PORTS).zip(&value.to_le_bytes()[..usize::from(size.min(4))]) {
            self.masters[usize::from(register / 8)].write(register % 8, *byte);
        }
        true
    }

    /// Moves data between memory and the device on channel 0 or 1 if it asks and the guest allows, and notes
    /// its interrupt. To be called after every access to the device or to this function and every advance.
    pub fn service(&mut self, channel: usize, device: &mut dyn DmaDevice, mem: &mut Memory, now: Tick) {
        let master = &mut self.masters[channel & 1];
        if self.config.command() & COMMAND_MASTER != 0 {
            master.transfer(device, mem, now);
        }
        let level = device.interrupt();
        if level && !master.interrupt {
            master.status |= IDEINTS;
        }
        master.interrupt = level;
    }
}

impl PciFunction for Piix3Ide {
    fn config(&self) -> &ConfigSpace {
        &self.config
    }

    fn config_write(&mut self, register: u8, value: u8) -> Changed {
        let before = self.bus_master_base();
        self.config.write(register, value);
        Changed { ports: before != self.bus_master_base(), ..Changed::default() }
    }

    fn reset(&mut self) {
        *self = Self::new();
    }
}
