//! The 8259A pair, which every PC starts with (Intel 231468, "Programming the 8259A").
//! The second chip hangs on input 2 of the first.

use crate::idt::vector;
use crate::port::{in8, out8, settle};

const FIRST: u16 = 0x20;
const SECOND: u16 = 0xA0;
const OCW2_EOI: u8 = 0x20;
const OCW3_READ_ISR: u8 = 0x0B;

/// Moves the vectors from 08h and 70h, where they collide with exceptions, to 20h and 28h; all masked.
pub fn init() {
    let commands: [[u8; 2]; 4] = [
        [0x11, 0x11],                               // ICW1: edge triggered, cascade, ICW4 follows
        [vector::PIC as u8, vector::PIC as u8 + 8], // ICW2: vectors
        [1 << 2, 2],                                // ICW3: cascade on input 2
        [0x01, 0x01],                               // ICW4: 8086 mode, normal EOI
    ];
    for (step, [first, second]) in commands.into_iter().enumerate() {
        let register = u16::from(step > 0); // ICW1 goes to A0 = 0, the others to A0 = 1
        out8(FIRST + register, first);
        settle();
        out8(SECOND + register, second);
        settle();
    }
    mask_all();
}

/// Lets an input through.
pub fn unmask(irq: u8) {
    if irq < 8 {
        out8(FIRST + 1, in8(FIRST + 1) & !(1 << irq));
    } else {
        out8(SECOND + 1, in8(SECOND + 1) & !(1 << (irq - 8)));
        out8(FIRST + 1, in8(FIRST + 1) & !(1 << 2));
    }
}

/// Masks everything: the APIC takes over.
pub fn mask_all() {
    out8(FIRST + 1, 0xFF);
    out8(SECOND + 1, 0xFF);
}

/// The interrupt mask registers, second chip in the high byte.
pub fn masks() -> u16 {
    u16::from(in8(SECOND + 1)) << 8 | u16::from(in8(FIRST + 1))
}

/// Is this interrupt 7 or 15 without cause? The chip raises them when a request goes away too soon; then
/// the in-service bit is not set and no EOI is due to that chip.
pub fn is_spurious(irq: u8) -> bool {
    let chip = match irq {
        7 => FIRST,
        15 => SECOND,
        _ => return false,
    };
    out8(chip, OCW3_READ_ISR);
    let spurious = in8(chip) & 0x80 == 0;
    if spurious && irq == 15 {
        out8(FIRST, OCW2_EOI); // the first chip did see a true request, from the second
    }
    spurious
}

/// End of interrupt.
pub fn end_of_interrupt(irq: u8) {
    if irq >= 8 {
        out8(SECOND, OCW2_EOI);
    }
    out8(FIRST, OCW2_EOI);
}
