//! Where the translator goes on: programs of many places, each of which jumps to another page, and instructions behind
//! which other code may be needed than before.

use emu_core::cpu::RSP;
use emu_core::cpu::fpu::MXCSR_RESET;
use emu_core::interp::Interpreter;
use emu_core::machine::Machine;
use emu_jit::Translator;
use emu_jit::analysis::MOST;

use crate::machine::{self, Start};

/// Bytes from one place to the next.
const PIECE: usize = 64;
/// Bytes before the first place: data lie there.
const BEFORE: usize = 1 << 20;

/// So many places: each adds to EAX and jumps to the one `stride` further on.
fn code(count: usize, stride: usize) -> Vec<u8> {
    let mut code = vec![0xe9]; // jmp to the first
    code.extend((BEFORE as i32 - 5).to_le_bytes());
    code.resize(BEFORE, 0x90);
    for at in 0..count {
        code.push(0x05); // add eax, number
        code.extend((at as u32).to_le_bytes());
        code.push(0xe9); // jmp
        let next = BEFORE + (at + stride) % count * PIECE;
        code.extend((next as i32 - code.len() as i32 - 4).to_le_bytes());
        code.resize(BEFORE + (at + 1) * PIECE, 0x90);
    }
    code
}

/// A program with a stack and nothing else.
fn start(bits: u32, user: bool, code: Vec<u8>) -> Start {
    let mut regs = [0; 16];
    regs[RSP] = 0x8000;
    let (data, vectors) = (Vec::new(), [[0; 4]; 16]);
    Start {
        bits,
        code,
        data,
        regs,
        vectors,
        flags: 2,
        mxcsr: MXCSR_RESET,
        control: 0x37f,
        restarts: false,
        user,
    }
}

/// The program on the interpreter, and on a translator that translates at once.
fn both(start: &Start) -> (Machine, Machine) {
    let translator = Translator::with_limits(1, MOST).expect("the host has memory");
    let interpreter = Box::<Interpreter>::default();
    (machine::machine(interpreter, start), machine::machine(Box::new(translator), start))
}

/// The engines agree on it, and the translator stays in translated code once it has met all places.
#[test]
fn many_places_find_each_other() {
    const COUNT: u64 = 6000;
    const ROUND: u64 = 2 * COUNT;
    let (mut one, mut other) = both(&start(64, true, code(COUNT as usize, 2101)));
    let mut unknown = Vec::new();
    for round in 1..=20 {
        let until = round * ROUND + round % 3;
        assert_eq!(one.run(until), other.run(until));
        assert_eq!(machine::registers(&one), machine::registers(&other), "round {round}");
        unknown.push(other.translation().expect("it translates").exits.unknown);
    }
    let last = unknown[19] - unknown[9];
    assert!(last < 10 * COUNT / 5, "{last} of {} jumps leave translated code, {unknown:?}", 10 * COUNT);
}

/// Each left translated code although nothing had changed: seven times in a system call of a 32-bit Linux.
#[test]
fn segment_loads_go_on_in_translated_code() {
    const ROUNDS: u64 = 10_000;
    // push ds; pop ds; push es; pop es; inc eax; jmp
    let (mut one, mut other) = both(&start(32, false, vec![0x1e, 0x1f, 0x06, 0x07, 0x40, 0xeb, 0xf9]));
    assert_eq!(one.run(6 * ROUNDS), other.run(6 * ROUNDS));
    assert_eq!(machine::registers(&one), machine::registers(&other));
    let done = other.translation().expect("it translates");
    assert!(done.instructions > 5 * ROUNDS, "{done:?}");
    assert!(done.entries < ROUNDS / 10 && done.calls.next_block > ROUNDS, "{done:?}");
}

/// Such a loop was taken for one that spoils registers which nothing was in, and its DEC left to the interpreter's handler.
#[test]
fn a_loop_that_only_counts_needs_no_handler() {
    // dec rax; jne to it
    let mut start = start(64, true, vec![0x48, 0xff, 0xc8, 0x75, 0xfb]);
    start.regs[0] = u64::MAX;
    let (mut one, mut other) = both(&start);
    assert_eq!(one.run(50_001), other.run(50_001));
    assert_eq!(machine::registers(&one), machine::registers(&other));
    let done = other.translation().expect("it translates");
    assert!(done.instructions > 49_000 && done.calls.same_block == 0, "{done:?}");
}
