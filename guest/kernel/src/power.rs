//! Switching off and starting over.

use crate::port::{in8, in16, out8, out16};
use crate::{cpu, ide, keyboard, pci, println, serial, task, timer};
use core::arch::asm;

const PIIX4_PM: (u16, u16) = (0x8086, 0x7113);
const PMBASE: u8 = 0x40;
const PMREGMISC: u8 = 0x80;
const PM1A_CNT: u16 = 4;
const SLP_EN: u16 = 1 << 13; // SLP_TYP 0 in bits 12:10 is S5 on this chip

/// Base of the power management ports, switched on if the BIOS did not (82371AB sheet, "PMBASE").
fn power_management() -> Option<u16> {
    let chip = pci::find(PIIX4_PM.0, PIIX4_PM.1)?;
    if chip.read(PMBASE) & 0xFFC0 == 0 {
        chip.write(PMBASE, 0x600);
    }
    if chip.read(PMREGMISC) & 1 == 0 {
        chip.write(PMREGMISC, chip.read(PMREGMISC) | 1);
    }
    Some((chip.read(PMBASE) & 0xFFC0) as u16)
}

/// Writes everything out and switches the machine off: ACPI's S5, by the PIIX4.
pub fn off() -> ! {
    if !ide::flush() {
        println!("poweroff: the disk did not flush");
    }
    println!("Good night.");
    serial::flush();
    if let Some(base) = power_management() {
        out16(base + PM1A_CNT, in16(base + PM1A_CNT) & 3 | SLP_EN);
        task::wait_until(timer::now_ns() + 500_000_000, || false);
    }
    println!("poweroff: no power management found; it is safe to switch off");
    serial::flush();
    cpu::halt_forever()
}

/// Resets the machine: by the keyboard controller, by the reset control register, by a triple fault.
pub fn reboot() -> ! {
    ide::flush();
    serial::flush();
    keyboard::pulse_reset();
    task::wait_until(timer::now_ns() + 50_000_000, || false);
    out8(0xCF9, 0x02);
    out8(0xCF9, 0x06);
    out8(0x92, in8(0x92) | 1);
    task::wait_until(timer::now_ns() + 50_000_000, || false);
    cpu::disable_interrupts();
    let empty_table = [0u8; 10];
    // SAFETY: with no IDT the next exception is a triple fault, which is the purpose.
    unsafe { asm!("lidt [{}]", "ud2", in(reg) empty_table.as_ptr(), options(noreturn)) }
}

/// Writes to the debug-exit port of an emulator. Without one nothing happens.
pub fn debug_exit(value: u8) {
    out8(0xF4, value);
}
