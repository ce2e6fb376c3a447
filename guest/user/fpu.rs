//! Keeps numbers of its own in all XMM registers, the x87 stack, MXCSR and the x87 control word, and looks
//! again and again whether they are still there. The argument makes them different in each instance.
//! Rounds are noted; a difference ends the program with the round's number. Argument bit 32 set: 1000 rounds.
#![no_std]
#![no_main]
#[macro_use]
#[allow(dead_code)]
mod sys;

use core::arch::asm;

#[repr(C, align(16))]
struct Area([u8; 512]);

#[unsafe(no_mangle)]
extern "C" fn main(argument: u64) -> u64 {
    let seed = argument as u32 as u64;
    let rounds = if argument >> 32 != 0 { 1000 } else { u64::MAX };
    // An FXSAVE image (SDM 1, "FXSAVE Area") with patterns everywhere that a program may have its own.
    let mut image = Area([0; 512]);
    let control = [0x037Fu16, 0x027F, 0x0B7F, 0x0F7F][(seed & 3) as usize]; // precision and rounding differ
    image.0[..2].copy_from_slice(&control.to_le_bytes());
    image.0[4] = 0xFF; // abridged tag: all eight x87 registers are in use
    let mxcsr = 0x1F80u32 | (seed as u32 & 3) << 13; // rounding control
    image.0[24..28].copy_from_slice(&mxcsr.to_le_bytes());
    for i in 0..8u64 {
        let at = 32 + i as usize * 16;
        image.0[at..at + 8].copy_from_slice(&(1 << 63 | seed << 8 | i).to_le_bytes());
        image.0[at + 8..at + 10].copy_from_slice(&(0x3FFF + i as u16).to_le_bytes());
    }
    for i in 0..16u64 {
        let at = 160 + i as usize * 16;
        image.0[at..at + 8].copy_from_slice(&(seed * 0x0101_0101_0101 + i).to_le_bytes());
        image.0[at + 8..at + 16].copy_from_slice(&(!seed ^ i << 32).to_le_bytes());
    }
    for round in 1..=rounds {
        let mut after = Area([0; 512]);
        // SAFETY: the image is aligned, its MXCSR has no reserved bit; the loop uses integer registers only.
        unsafe {
            asm!("fxrstor64 [{image}]", "2:", "dec {spin}", "jnz 2b", "fxsave64 [{after}]",
                "fninit", "ldmxcsr [{default}]",
                image = in(reg) &raw const image, after = in(reg) &raw mut after, spin = inout(reg) 2000u64 => _,
                default = in(reg) &raw const DEFAULT_MXCSR,
                out("xmm0") _, out("xmm1") _, out("xmm2") _, out("xmm3") _, out("xmm4") _, out("xmm5") _,
                out("xmm6") _, out("xmm7") _, out("xmm8") _, out("xmm9") _, out("xmm10") _, out("xmm11") _,
                out("xmm12") _, out("xmm13") _, out("xmm14") _, out("xmm15") _);
        }
        let same = after.0[..2] == image.0[..2]
            && after.0[4] == image.0[4]
            && after.0[24..28] == image.0[24..28]
            && (0..8).all(|i| after.0[32 + i * 16..][..10] == image.0[32 + i * 16..][..10])
            && after.0[160..416] == image.0[160..416];
        if !same {
            println!("fpu {seed}: the state changed in round {round}");
            return round;
        }
        sys::syscall(sys::NOTE, 0, round);
    }
    0
}

static DEFAULT_MXCSR: u32 = 0x1F80;
