//! The interrupt descriptor table: 256 gates (SDM 3A, "64-Bit Mode IDT").

use crate::gdt;
use crate::irq_cell::IrqCell;
use core::arch::asm;

/// Vectors of the exceptions that the kernel names.
pub mod vector {
    #![allow(missing_docs)]
    pub const DE: u64 = 0;
    pub const DB: u64 = 1;
    pub const NMI: u64 = 2;
    pub const BP: u64 = 3;
    pub const UD: u64 = 6;
    pub const NM: u64 = 7;
    pub const DF: u64 = 8;
    pub const NP: u64 = 11;
    pub const SS: u64 = 12;
    pub const GP: u64 = 13;
    pub const PF: u64 = 14;
    pub const MF: u64 = 16;
    pub const MC: u64 = 18;
    /// ISA interrupts 0 to 15 by way of the 8259 pair.
    pub const PIC: u64 = 0x20;
    /// ISA interrupts by way of the I/O APIC.
    pub const IOAPIC: u64 = 0x30;
    /// The local APIC's timer.
    pub const APIC_TIMER: u64 = 0x50;
    /// An interrupt that the processor sends to itself, for the self-test.
    pub const SELF: u64 = 0x60;
    /// The gate for INT 0x80, open to ring 3.
    pub const SYSCALL_GATE: u64 = 0x80;
    /// Not a real vector: marks frames that SYSCALL made.
    pub const SYSCALL: u64 = 0x100;
    /// The local APIC's spurious interrupt.
    pub const SPURIOUS: u64 = 0xFF;
    /// A gate that stays empty, for the self-test.
    pub const EMPTY: u64 = 0x70;
    /// A gate that the self-test marks as not present.
    pub const SPARE: u64 = 0x71;
}

#[derive(Clone, Copy)]
#[repr(C)]
struct Gate {
    low: u64,
    high: u64,
}

static IDT: IrqCell<[Gate; 256]> = IrqCell::new([Gate { low: 0, high: 0 }; 256]);

unsafe extern "C" {
    /// 256 entry points, 16 bytes each (trap.s).
    static trap_stubs: u8;
}

/// Fills the table and loads it.
pub fn init() {
    let table = IDT.with(|idt| {
        for vector in (0..256).filter(|&v| v != vector::EMPTY) {
            let (ist, dpl) = match vector {
                vector::DF => (gdt::IST_DOUBLE_FAULT, 0),
                vector::NMI => (gdt::IST_NMI, 0),
                vector::SS | vector::MC => (gdt::IST_STACK_FAULT, 0),
                vector::BP | vector::SYSCALL_GATE => (gdt::IST_COMMON, 3), // INT3 and INT 0x80 from ring 3
                _ => (gdt::IST_COMMON, 0),
            };
            idt[vector as usize] = gate(&raw const trap_stubs as u64 + vector * 16, ist, dpl);
        }
        idt.as_ptr() as u64
    });
    let mut pointer = [0u8; 10];
    pointer[..2].copy_from_slice(&(size_of::<[Gate; 256]>() as u16 - 1).to_le_bytes());
    pointer[2..].copy_from_slice(&table.to_le_bytes());
    // SAFETY: the table is complete, and a static.
    unsafe { asm!("lidt [{}]", in(reg) pointer.as_ptr(), options(nostack, preserves_flags)) };
}

/// An interrupt gate: type 14, which turns interrupts off on entry.
fn gate(handler: u64, ist: u8, dpl: u64) -> Gate {
    let attributes = 0x8E00 | dpl << 13 | u64::from(ist);
    Gate {
        low: handler & 0xFFFF
            | u64::from(gdt::KERNEL_CODE) << 16
            | attributes << 32
            | (handler >> 16 & 0xFFFF) << 48,
        high: handler >> 32,
    }
}

/// Marks a gate present or not. For the self-test.
pub fn set_present(vector: u64, present: bool) {
    IDT.with(|idt| {
        let gate = &mut idt[vector as usize].low;
        *gate = *gate & !(1 << 47) | u64::from(present) << 47;
    });
}

/// Chooses a gate's stack; 0 is the stack in use. For the self-test.
pub fn set_ist(vector: u64, ist: u8) {
    IDT.with(|idt| {
        let gate = &mut idt[vector as usize].low;
        *gate = *gate & !(7 << 32) | u64::from(ist) << 32;
    });
}
