//! Memory: the allocator, patterns over some MiB, odd sizes and places.

use super::{Check, Outcome, Why, ensure};
use crate::frames::{self, FRAME};
use crate::irq_cell::IrqCell;
use crate::paging::direct;

/// Frames under test: 4 MiB.
const COUNT: usize = 1024;
const WORDS: usize = FRAME as usize / 8;

static FRAMES: IrqCell<[u64; COUNT]> = IrqCell::new([0; COUNT]);

pub const CHECKS: &[Check] = &[
    ("memory.allocator", allocator),
    ("memory.address_pattern", || pattern(|address| address)),
    ("memory.inverse_pattern", || pattern(|address| !address)),
    ("memory.walking_bit", || pattern(|address| 1u64.rotate_left((address >> 3) as u32 & 63))),
    ("memory.unaligned", unaligned),
    ("memory.string_instructions", string_instructions),
];

/// Takes frames, lets the body work on them, gives them back.
fn with_frames(body: impl FnOnce(&[u64]) -> Outcome) -> Outcome {
    // A copy on nobody's stack: the cell is only locked while the numbers go in and out.
    let mut taken = 0;
    while taken < COUNT {
        let Some(frame) = frames::alloc() else { break };
        FRAMES.with(|frames| frames[taken] = frame);
        taken += 1;
    }
    let outcome = if taken == COUNT {
        let frames = FRAMES.with(|frames| frames.as_ptr());
        // SAFETY: nobody else uses the static, and it does not change while the body runs.
        body(unsafe { core::slice::from_raw_parts(frames, COUNT) })
    } else {
        Err(Why::new(format_args!("only {taken} frames")))
    };
    for i in (0..taken).rev() {
        frames::free(FRAMES.with(|frames| frames[i]));
    }
    outcome
}

/// The frame as an array.
fn words(frame: u64) -> &'static mut [u64; WORDS] {
    // SAFETY: callers own the frame, and use one such reference at a time.
    unsafe { &mut *(direct(frame) as *mut [u64; WORDS]) }
}

/// No frame twice, none outside of memory, all back at the end.
fn allocator() -> Outcome {
    let before = frames::counts().1;
    with_frames(|list| {
        for (i, &frame) in list.iter().enumerate() {
            ensure!(frame % FRAME == 0 && frame >= 0x10_0000, "frame {frame:#x}");
            words(frame)[0] = i as u64;
        }
        for (i, &frame) in list.iter().enumerate() {
            ensure!(words(frame)[0] == i as u64, "frame {frame:#x} was given out twice");
        }
        Ok(())
    })?;
    ensure!(frames::counts().1 == before, "{before} frames free before, {} after", frames::counts().1);
    Ok(())
}

fn pattern(value: impl Fn(u64) -> u64) -> Outcome {
    with_frames(|list| {
        for &frame in list {
            for (i, word) in words(frame).iter_mut().enumerate() {
                *word = value(frame + i as u64 * 8);
            }
        }
        for &frame in list {
            for (i, word) in words(frame).iter().enumerate() {
                let address = frame + i as u64 * 8;
                ensure!(*word == value(address), "{address:#x} holds {word:#x}");
            }
        }
        Ok(())
    })
}

/// All sizes at all offsets, also over the end of a page.
fn unaligned() -> Outcome {
    with_frames(|list| {
        // Two frames that lie side by side.
        let pair = list.windows(2).find(|pair| pair[0].abs_diff(pair[1]) == FRAME);
        let Some(pair) = pair else { return Ok(()) };
        let base = direct(pair[0].min(pair[1])) + FRAME - 16;
        for offset in 0..24 {
            let at = (base + offset) as *mut u8;
            // SAFETY: 16 bytes before the boundary to 16 behind it, all in the two frames.
            let (byte, word, long, quad) = unsafe {
                at.cast::<u64>().write_unaligned(0x1122_3344_5566_7788);
                at.add(2).cast::<u16>().write_unaligned(0xABCD);
                (
                    at.add(3).read_volatile(),
                    at.add(1).cast::<u16>().read_unaligned(),
                    at.add(3).cast::<u32>().read_unaligned(),
                    at.cast::<u64>().read_unaligned(),
                )
            };
            ensure!(
                (byte, word, long, quad) == (0xAB, 0xCD77, 0x2233_44AB, 0x1122_3344_ABCD_7788),
                "at {at:?}: {byte:#x} {word:#x} {long:#x} {quad:#x}"
            );
        }
        Ok(())
    })
}

/// REP MOVS, REP STOS, SCAS and CMPS over pages, up and down.
fn string_instructions() -> Outcome {
    with_frames(|list| {
        let (from, to) = (direct(list[0]), direct(list[1]));
        for (i, word) in words(list[0]).iter_mut().enumerate() {
            *word = i as u64 * 0x0101_0101_0101_0101;
        }
        let (rest, place, same): (u64, u64, u8);
        // SAFETY: all ranges are inside of the two frames.
        unsafe {
            core::arch::asm!(
                "mov rsi, {from}", "mov rdi, {to}", "mov ecx, 4096", "rep movsb",
                // All equal, so REPE CMPSQ runs to the end with ZF set.
                "mov rsi, {from}", "mov rdi, {to}", "mov ecx, 512", "repe cmpsq", "sete {same}",
                // Downwards over the upper half, one byte further up: overlapping moves.
                "std", "lea rsi, [{to} + 4094]", "lea rdi, [{to} + 4095]", "mov ecx, 2048", "rep movsb", "cld",
                "mov rdi, {to}", "mov eax, 0xEE", "mov ecx, 100", "rep stosb",
                // Look for the first byte that is not EE: 100 bytes on.
                "mov rdi, {to}", "mov eax, 0xEE", "mov ecx, 4096", "repe scasb",
                from = in(reg) from, to = in(reg) to, same = out(reg_byte) same,
                out("rcx") rest, out("rdi") place, out("rsi") _, out("rax") _,
            );
        }
        ensure!(same == 1, "REPE CMPSQ found a difference");
        ensure!((rest, place) == (4096 - 101, to + 101), "REPE SCASB: RCX {rest}, RDI {:+}", place - to);
        // SAFETY: both frames are ours.
        let (copied, original) = unsafe {
            (
                core::slice::from_raw_parts(to as *const u8, 4096),
                core::slice::from_raw_parts(from as *const u8, 4096),
            )
        };
        ensure!(copied[100..2048] == original[100..2048], "the lower half differs");
        ensure!(copied[2048..] == original[2047..4095], "the upper half did not move by one");
        Ok(())
    })
}
