//! Intel 82093AA I/O APIC: 24 pins, each with a redirection entry.
//!
//! Manual: Intel 290566, "I/O APIC Registers", "Redirection Table"; the EOI register is that of version 20h,
//! as later chipsets (and the QEMU `pc`) have it.
//! Modelled: the index, data and EOI registers, edge and level pins, remote IRR, masks, delivery modes.
//! Left out: pin polarity (the board hands over "asserted", whatever the wire does); ExtINT delivery (the
//! 8259A of this board is wired to LINT0); delivery status, which reads as idle.

use crate::apic_message::{ApicMessage, DeliveryMode, Destination};

/// Where the registers lie.
pub const BASE: u64 = 0xfec0_0000;
/// Number of pins.
pub const PINS: usize = 24;

const IOREGSEL: u64 = 0x00;
const IOWIN: u64 = 0x10;
const EOI: u64 = 0x40;
const IOAPICID: u8 = 0x00;
const IOAPICVER: u8 = 0x01;
const IOAPICARB: u8 = 0x02;
/// First redirection register.
const IOREDTBL: u8 = 0x10;
const VERSION: u32 = 0x20 | (PINS as u32 - 1) << 16;

const LOGICAL: u64 = 1 << 11;
const REMOTE_IRR: u64 = 1 << 14;
const LEVEL: u64 = 1 << 15;
const MASKED: u64 = 1 << 16;
/// Delivery status and remote IRR.
const READ_ONLY: u64 = 1 << 12 | REMOTE_IRR;
const WRITABLE: u64 = 0xff00_0000_0001_ffff & !READ_ONLY;

/// The chip.
#[derive(Clone, Debug, PartialEq)]
pub struct IoApic {
    /// IOREGSEL.
    select: u8,
    /// IOAPICID, bits 27:24.
    id: u8,
    /// IOREDTBL.
    entries: [u64; PINS],
    /// Levels of the pins.
    lines: u32,
    /// Edges that wait to be sent.
    edges: u32,
}

impl Default for IoApic {
    fn default() -> Self {
        Self::new()
    }
}

impl IoApic {
    /// The chip after reset: all pins masked.
    pub fn new() -> Self {
        Self { select: 0, id: 0, entries: [MASKED; PINS], lines: 0, edges: 0 }
    }

    /// Reset; the pins stay as they are.
    pub fn reset(&mut self) {
        *self = Self { lines: self.lines, ..Self::new() };
    }

    /// Sets the level of a pin.
    pub fn set_pin(&mut self, pin: usize, high: bool) {
        let Some(entry) = self.entries.get(pin) else { return };
        let bit = 1 << pin;
        let rising = high && self.lines & bit == 0;
        self.lines = if high { self.lines | bit } else { self.lines & !bit };
        // "Interrupt Mask": an edge on a masked pin is ignored.
        if rising && entry & (MASKED | LEVEL) == 0 {
            self.edges |= bit;
        }
    }

    /// Takes the next message that is to be sent.
    pub fn take_message(&mut self) -> Option<ApicMessage> {
        let active = self.edges | self.lines;
        let pin = (0..PINS).find(|&pin| {
            active >> pin & 1 != 0
                && match self.entries[pin] & LEVEL {
                    0 => self.edges >> pin & 1 != 0,
                    _ => self.lines >> pin & 1 != 0 && self.entries[pin] & (MASKED | REMOTE_IRR) == 0,
                }
        })?;
        let entry = &mut self.entries[pin];
        let level_triggered = *entry & LEVEL != 0;
        self.edges &= !(1 << pin);
        if level_triggered {
            *entry |= REMOTE_IRR;
        }
        let entry = *entry;
        Some(ApicMessage {
            destination: Destination::short((entry >> 56) as u8, entry & LOGICAL != 0),
            // A reserved mode sends nothing that anybody takes.
            mode: DeliveryMode::from_bits(entry as u32).unwrap_or(DeliveryMode::ExtInt),
            vector: entry as u8,
            level_triggered,
            assert: true,
        })
    }

    /// The EOI of a level-triggered vector, broadcast by a local APIC.
    pub fn end_of_interrupt(&mut self, vector: u8) {
        for entry in &mut self.entries {
            if *entry & LEVEL != 0 && *entry as u8 == vector {
                *entry &= !REMOTE_IRR;
            }
        }
    }

    fn read_register(&self) -> u32 {
        match self.select {
            IOAPICID | IOAPICARB => u32::from(self.id) << 24,
            IOAPICVER => VERSION,
            IOREDTBL.. => {
                let index = usize::from(self.select - IOREDTBL);
                let entry = self.entries.get(index / 2).copied().unwrap_or(0);
                (entry >> (32 * (index % 2))) as u32
            }
            _ => 0,
        }
    }

    fn write_register(&mut self, value: u32) {
        match self.select {
            IOAPICID => self.id = (value >> 24 & 0xf) as u8,
            IOREDTBL.. => {
                let index = usize::from(self.select - IOREDTBL);
                let Some(entry) = self.entries.get_mut(index / 2) else { return };
                let shift = 32 * (index % 2);
                let mask = 0xffff_ffff << shift & WRITABLE;
                *entry = *entry & !mask | u64::from(value) << shift & mask;
                if *entry & LEVEL == 0 {
                    *entry &= !REMOTE_IRR; // an edge-triggered pin has none
                }
                if *entry & (LEVEL | MASKED) != 0 {
                    self.edges &= !(1 << (index / 2));
                }
            }
            _ => {}
        }
    }

    /// Reads from the register page.
    pub fn read(&mut self, offset: u64, size: u8) -> u64 {
        let value = match offset & !3 {
            IOREGSEL => u32::from(self.select),
            IOWIN => self.read_register(),
            _ => 0,
        };
        let bits = 8 * u32::from(size.clamp(1, 8));
        u64::from(value) >> (8 * (offset & 3)) & u64::MAX >> (64 - bits)
    }

    /// Writes to the register page. The data register only takes 32 bits.
    pub fn write(&mut self, offset: u64, size: u8, value: u64) {
        match offset {
            IOREGSEL => self.select = value as u8,
            IOWIN if size >= 4 => self.write_register(value as u32),
            EOI => self.end_of_interrupt(value as u8),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_entry(pin: u8, low: u32, high: u32) -> IoApic {
        let mut chip = IoApic::new();
        write(&mut chip, 0x11 + 2 * pin, high);
        write(&mut chip, 0x10 + 2 * pin, low);
        chip
    }

    fn write(chip: &mut IoApic, register: u8, value: u32) {
        chip.write(0x00, 4, u64::from(register));
        chip.write(0x10, 4, u64::from(value));
    }

    fn read(chip: &mut IoApic, register: u8) -> u32 {
        chip.write(0x00, 4, u64::from(register));
        chip.read(0x10, 4) as u32
    }

    #[test]
    fn registers_after_reset() {
        let mut chip = IoApic::new();
        assert_eq!(read(&mut chip, 1), 0x0017_0020);
        assert_eq!((read(&mut chip, 0x10), read(&mut chip, 0x3f)), (0x0001_0000, 0));
    }

    #[test]
    fn an_edge_sends_one_message() {
        let mut chip = with_entry(4, 0x0000_0031, 0x0100_0000);
        chip.set_pin(4, true);
        let message = chip.take_message().unwrap();
        assert_eq!((message.destination, message.vector), (Destination::Physical(1), 0x31));
        assert!(!message.level_triggered);
        chip.set_pin(4, true);
        assert_eq!(chip.take_message(), None);
        chip.set_pin(4, false);
        chip.set_pin(4, true);
        assert!(chip.take_message().is_some());
    }

    #[test]
    fn an_edge_on_a_masked_pin_is_lost() {
        let mut chip = with_entry(4, 0x0001_0031, 0);
        chip.set_pin(4, true);
        write(&mut chip, 0x18, 0x31);
        assert_eq!(chip.take_message(), None);
    }

    #[test]
    fn a_level_is_sent_again_after_eoi_while_it_stands() {
        let mut chip = with_entry(11, 0x0000_a042, 0xff00_0000);
        chip.set_pin(11, true);
        let message = chip.take_message().unwrap();
        assert!(message.level_triggered);
        assert_eq!(message.destination, Destination::Physical(u32::MAX));
        assert_eq!(read(&mut chip, 0x10 + 22), 0x0000_e042, "remote IRR");
        assert_eq!(chip.take_message(), None);
        chip.end_of_interrupt(0x41);
        assert_eq!(chip.take_message(), None);
        chip.end_of_interrupt(0x42);
        assert!(chip.take_message().is_some());
        chip.set_pin(11, false);
        chip.write(0x40, 4, 0x42);
        assert_eq!(chip.take_message(), None);
    }

    #[test]
    fn a_level_waits_behind_the_mask() {
        let mut chip = with_entry(9, 0x0001_8930, 0x0300_0000);
        chip.set_pin(9, true);
        assert_eq!(chip.take_message(), None);
        write(&mut chip, 0x10 + 18, 0x8930);
        let message = chip.take_message().unwrap();
        assert_eq!(message.destination, Destination::Logical(3));
        assert_eq!(message.mode, DeliveryMode::LowestPriority);
    }
}
