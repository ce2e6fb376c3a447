//! Interrupts from devices: by the 8259 pair at first, by the APICs once they are found.

use crate::idt::vector;
use crate::irq_cell::IrqCell;
use crate::{apic, ide, keyboard, pic, rtc, serial, timer};
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

/// ISA interrupt lines.
pub mod line {
    #![allow(missing_docs)]
    pub const TIMER: u8 = 0;
    pub const KEYBOARD: u8 = 1;
    pub const SERIAL: u8 = 4;
    pub const RTC: u8 = 8;
    pub const IDE: u8 = 14;
}

static BY_APIC: AtomicBool = AtomicBool::new(false);
static WANTED: IrqCell<u16> = IrqCell::new(0);
static COUNTS: [AtomicU64; 16] = [const { AtomicU64::new(0) }; 16];
static BY_PIC: AtomicU64 = AtomicU64::new(0);
static APIC_TIMER: AtomicU64 = AtomicU64::new(0);
static FROM_SELF: AtomicU64 = AtomicU64::new(0);
static SPURIOUS: AtomicU64 = AtomicU64::new(0);

/// Lets a line through, on whichever controller is in use.
pub fn unmask(line: u8) {
    WANTED.with(|wanted| {
        *wanted |= 1 << line;
        if BY_APIC.load(Relaxed) { apic::unmask(line) } else { pic::unmask(line) }
    });
}

/// Masks a line on the I/O APIC.
pub fn mask(line: u8) {
    WANTED.with(|wanted| {
        *wanted &= !(1 << line);
        apic::mask(line);
    });
}

/// Moves all lines from the 8259 pair to the I/O APIC.
pub fn switch_to_apic() {
    WANTED.with(|wanted| {
        pic::mask_all();
        apic::init();
        BY_APIC.store(true, Relaxed);
        for line in (0..16).filter(|line| *wanted >> line & 1 != 0) {
            apic::unmask(line);
        }
    });
}

/// Is the APIC in use?
pub fn by_apic() -> bool {
    BY_APIC.load(Relaxed)
}

/// Interrupts seen on a line.
pub fn count(line: u8) -> u64 {
    COUNTS[usize::from(line)].load(Relaxed)
}

/// Interrupts that came by the 8259 pair, from the local APIC's timer, and without a cause.
pub fn totals() -> (u64, u64, u64) {
    (BY_PIC.load(Relaxed), APIC_TIMER.load(Relaxed), SPURIOUS.load(Relaxed))
}

/// Interrupts that the processor sent to itself.
pub fn from_self() -> u64 {
    FROM_SELF.load(Relaxed)
}

/// Handles one interrupt, with interrupts off.
pub fn dispatch(vector: u64) {
    match vector {
        vector::PIC..vector::IOAPIC => {
            let line = (vector - vector::PIC) as u8;
            BY_PIC.fetch_add(1, Relaxed);
            if pic::is_spurious(line) {
                SPURIOUS.fetch_add(1, Relaxed);
                return;
            }
            handle(line);
            pic::end_of_interrupt(line);
        }
        vector::IOAPIC..0x40 => {
            handle((vector - vector::IOAPIC) as u8);
            apic::end_of_interrupt();
        }
        vector::APIC_TIMER => {
            APIC_TIMER.fetch_add(1, Relaxed);
            timer::tick();
            apic::end_of_interrupt();
        }
        vector::SELF => {
            FROM_SELF.fetch_add(1, Relaxed);
            apic::end_of_interrupt();
        }
        // A spurious interrupt gets no EOI (SDM 3A, "Spurious Interrupt"); nothing else is ever programmed.
        _ => {
            SPURIOUS.fetch_add(1, Relaxed);
        }
    }
}

fn handle(line: u8) {
    COUNTS[usize::from(line)].fetch_add(1, Relaxed);
    match line {
        line::TIMER => timer::pit_interrupt(),
        line::KEYBOARD => keyboard::interrupt(),
        line::SERIAL => serial::interrupt(),
        line::RTC => rtc::interrupt(),
        line::IDE => ide::interrupt(),
        _ => {}
    }
}
