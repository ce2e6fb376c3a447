//! Keeps numbers of its own in all XMM registers, the x87 stack, MXCSR and the x87 control word, and looks
//! again and again whether they are still there. The argument is how many rounds in its upper 32 bits (0: for
//! ever) and a seed in the lower, which makes instances differ. Rounds are noted; a difference ends the program.
#![no_std]
#![no_main]

#[macro_use]
#[allow(dead_code)]
mod sys;
mod fpu_pattern;

#[unsafe(no_mangle)]
extern "C" fn main(argument: u64) -> u64 {
    let (rounds, seed) = (argument >> 32, argument & 0xFFFF_FFFF);
    let mut round = 0;
    while rounds == 0 || round < rounds {
        round += 1;
        if !fpu_pattern::survives(seed, 2000) {
            println!("fpu {seed}: the state changed in round {round}");
            return round;
        }
        sys::syscall(sys::NOTE, 0, round);
    }
    0
}
