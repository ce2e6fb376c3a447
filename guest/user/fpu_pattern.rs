// Numbers of one's own in all FPU and SSE registers. The user program fpu and the kernel's self-test share this:
// load the pattern, spend some time in which somebody else may run, look whether all is still there.

use core::arch::asm;

#[repr(C, align(16))]
struct Area([u8; 512]);

static DEFAULT_MXCSR: u32 = 0x1F80;

/// An FXSAVE image (SDM 1, "Operation of FXSAVE") with patterns in everything that a program may have its own.
fn image(seed: u64) -> Area {
    let mut image = Area([0; 512]);
    let control = [0x037Fu16, 0x027F, 0x0B7F, 0x0F7F][(seed & 3) as usize]; // precision and rounding
    image.0[..2].copy_from_slice(&control.to_le_bytes());
    image.0[4] = 0xFF; // abridged tag word: all eight x87 registers are in use
    let mxcsr = 0x1F80u32 | (seed as u32 & 3) << 13; // rounding
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
    image
}

/// One round: true when the state is as it was after `spin` turns of an integer loop.
pub fn survives(seed: u64, spin: u64) -> bool {
    let before = image(seed);
    let mut after = Area([0; 512]);
    // SAFETY: both areas are aligned, MXCSR has no reserved bit; all that changes is named or set back.
    unsafe {
        asm!(
            "fxrstor64 [{before}]", "2:", "dec {spin}", "jnz 2b", "fxsave64 [{after}]",
            "fninit", "ldmxcsr [{default}]",
            before = in(reg) &raw const before, after = in(reg) &raw mut after,
            spin = inout(reg) spin => _, default = in(reg) &raw const DEFAULT_MXCSR,
            out("xmm0") _, out("xmm1") _, out("xmm2") _, out("xmm3") _, out("xmm4") _, out("xmm5") _,
            out("xmm6") _, out("xmm7") _, out("xmm8") _, out("xmm9") _, out("xmm10") _, out("xmm11") _,
            out("xmm12") _, out("xmm13") _, out("xmm14") _, out("xmm15") _,
            out("st(0)") _, out("st(1)") _, out("st(2)") _, out("st(3)") _, out("st(4)") _,
            out("st(5)") _, out("st(6)") _, out("st(7)") _,
        );
    }
    after.0[..2] == before.0[..2]
        && after.0[4] == before.0[4]
        && after.0[24..28] == before.0[24..28]
        && (0..8).all(|i| after.0[32 + i * 16..][..10] == before.0[32 + i * 16..][..10])
        && after.0[160..416] == before.0[160..416]
}
