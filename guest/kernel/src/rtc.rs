//! The clock that runs on a battery: MC146818, by index and data ports.

use crate::cpu;
use crate::port::{in8, out8};
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

const INDEX: u16 = 0x70;
const DATA: u16 = 0x71;
const REGISTER_A: u8 = 0x0A; // bit 7 UIP: an update is in progress
const REGISTER_B: u8 = 0x0B; // bit 4 UIE, bit 2 DM: binary, bit 1: 24 hours
const REGISTER_C: u8 = 0x0C; // which interrupt; reading clears
const REGISTER_D: u8 = 0x0D; // bit 7 VRT: the battery is good
const UPDATE_ENDED: u8 = 1 << 4;

static UPDATES: AtomicU64 = AtomicU64::new(0);
static UPDATE_TSC: AtomicU64 = AtomicU64::new(0);

fn read(register: u8) -> u8 {
    cpu::without_interrupts(|| {
        out8(INDEX, register);
        in8(DATA)
    })
}

fn write(register: u8, value: u8) {
    cpu::without_interrupts(|| {
        out8(INDEX, register);
        out8(DATA, value);
    });
}

/// Date and time: year, month, day, hour, minute, second.
pub fn now() -> [u16; 6] {
    // Two equal readings outside of an update are one consistent time.
    let mut last = fields();
    for _ in 0..1000 {
        let again = fields();
        if again == last && read(REGISTER_A) & 0x80 == 0 {
            break;
        }
        last = again;
    }
    let binary = read(REGISTER_B) & 4 != 0;
    let number = |raw: u8| u16::from(if binary { raw } else { (raw >> 4) * 10 + (raw & 15) });
    let [second, minute, hour, day, month, year] = last;
    // In 12-hour mode bit 7 of the hour says "after noon".
    let hour = match read(REGISTER_B) & 2 {
        0 => number(hour & 0x7F) % 12 + if hour & 0x80 != 0 { 12 } else { 0 },
        _ => number(hour),
    };
    [2000 + number(year), number(month), number(day), hour, number(minute), number(second)]
}

fn fields() -> [u8; 6] {
    [0x00, 0x02, 0x04, 0x07, 0x08, 0x09].map(read)
}

/// Does the chip say that its memory and time are valid?
pub fn battery_good() -> bool {
    read(REGISTER_D) & 0x80 != 0
}

/// A byte of the memory behind the clock's registers.
pub fn memory(index: u8) -> u8 {
    read(index)
}

/// Switches the interrupt at the end of each second's update on or off.
pub fn set_update_interrupt(on: bool) {
    let b = read(REGISTER_B);
    write(REGISTER_B, if on { b | UPDATE_ENDED } else { b & !UPDATE_ENDED });
    read(REGISTER_C);
}

/// Interrupt 8.
pub fn interrupt() {
    if read(REGISTER_C) & UPDATE_ENDED != 0 {
        UPDATE_TSC.store(cpu::rdtsc(), Relaxed);
        UPDATES.fetch_add(1, Relaxed);
    }
}

/// Update interrupts so far, and the time-stamp counter at the last.
pub fn updates() -> (u64, u64) {
    cpu::without_interrupts(|| (UPDATES.load(Relaxed), UPDATE_TSC.load(Relaxed)))
}
