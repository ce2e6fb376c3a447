//! Exceptions in translated code: those of the vector and x87 units that are not masked, and of alignment.

use emu_core::cpu::fpu::MXCSR_RESET;
use emu_core::engine::Engine;
use emu_core::interp::Interpreter;
use emu_core::machine::{Machine, Stop};
use emu_diff::fuzz::places::DATA;
use emu_jit::Translator;
use emu_jit::analysis::MOST;

use super::machine::{self, Start};

/// Rounds of the loop: ECX goes from the first down to the second, by way of 0, which it divides by.
const ROUNDS: [i32; 2] = [300, -300];
/// MXCSR: division by zero, its mask, and the flag of an inexact result.
const ZE: u32 = 1 << 2;
const ZM: u32 = 1 << 9;
const PE: u32 = 1 << 5;

/// Runs slots of 16 bytes in a loop, which a fault has go on with the next one.
fn run(slots: &[&[u8]], units: (u32, u16), user: bool, engine: Box<dyn Engine>) -> Machine {
    let (mxcsr, control) = units;
    let mut code = Vec::new();
    for slot in slots {
        code.extend(*slot);
        code.resize(code.len().next_multiple_of(16), 0x90);
    }
    let mut regs = [0; 16];
    (regs[1], regs[3], regs[4]) = (ROUNDS[0] as u64, DATA, 0x60_0000);
    code.extend([0xff, 0xc9, 0x81, 0xf9]); // dec ecx; cmp ecx, imm32
    code.extend(ROUNDS[1].to_le_bytes());
    code.extend([0x0f, 0x85]); // jne to the start
    code.extend((-(code.len() as i32 + 4)).to_le_bytes());
    code.extend([0xeb, 0xfe]); // jmp $
    let vectors = [[0; 4]; 16];
    let data = vec![0; 4096];
    let start =
        Start { bits: 64, code, data, regs, vectors, flags: 2, mxcsr, control, restarts: false, user };
    let mut machine = machine::machine(engine, &start);
    assert_eq!(machine.run(100_000), Stop::Limit);
    machine
}

/// The same on both engines, which have to agree.
fn both(slots: &[&[u8]], mxcsr: u32, control: u16, user: bool) -> Machine {
    let mut one = run(slots, (mxcsr, control), user, Box::<Interpreter>::default());
    let translator = Translator::with_limits(1, MOST).expect("the host has memory");
    let mut other = run(slots, (mxcsr, control), user, Box::new(translator));
    assert_eq!(machine::registers(&other), machine::registers(&one));
    assert_eq!(other.state_hash(), one.state_hash());
    other
}

#[test]
fn an_unmasked_simd_exception_in_translated_code_is_met_at_its_instruction() {
    let slots: [&[u8]; 4] = [
        &[0xf2, 0x0f, 0x2a, 0xc1],             // cvtsi2sd xmm0, ecx
        &[0xf2, 0x0f, 0x10, 0x0b],             // movsd xmm1, [rbx]
        &[0xf2, 0x0f, 0x5e, 0xc8, 0xff, 0xc2], // divsd xmm1, xmm0; inc edx
        &[0xf2, 0x0f, 0x11, 0x0b],             // movsd [rbx], xmm1
    ];
    let rounds = (ROUNDS[0] - ROUNDS[1]) as u64;
    // 0 by 0 is invalid: a dividend makes it a division by zero.
    let mut divides = slots;
    divides[1] = &[0xf2, 0x48, 0x0f, 0x2a, 0xcc]; // cvtsi2sd xmm1, rsp
    for (mask, inc) in [(ZM, rounds), (0, rounds - 1)] {
        let machine = both(&divides, MXCSR_RESET & !ZM | mask, 0x37f, false);
        let cpu = machine.cpu();
        assert_eq!(cpu.fpu.mxcsr, MXCSR_RESET & !ZM | mask | ZE | PE);
        assert_eq!(cpu.regs[2], inc, "what is behind the exception in its slot");
    }
    // Invalid, and unmasked.
    let machine = both(&slots, MXCSR_RESET & !(1 << 7), 0x37f, false);
    assert_eq!((machine.cpu().fpu.mxcsr & 1, machine.cpu().regs[2]), (1, rounds - 1));
}

#[test]
fn an_unmasked_x87_exception_in_translated_code_waits_for_the_next_instruction() {
    let slots: [&[u8]; 5] = [
        &[0x89, 0x0b, 0xd9, 0xe8],             // mov [rbx], ecx; fld1
        &[0xda, 0x33, 0xff, 0xc2],             // fidiv dword [rbx]; inc edx
        &[0xdd, 0xd8, 0xff, 0xc6],             // fstp st0; inc esi
        &[0x9b, 0xff, 0xc7],                   // fwait; inc edi
        &[0xdb, 0xe2, 0x0f, 0x77, 0xd9, 0xd0], // fnclex; emms; fnop
    ];
    let rounds = (ROUNDS[0] - ROUNDS[1]) as u64;
    for (control, inc) in [(0x37f, rounds), (0x37b, rounds - 1)] {
        let machine = both(&slots, MXCSR_RESET, control, false);
        let cpu = machine.cpu();
        let counts = [cpu.regs[2], cpu.regs[6], cpu.regs[7]];
        assert_eq!(counts, [rounds, inc, inc], "both waiting instructions meet the pending error");
    }
}

/// POPF switches alignment checks on between two accesses that one check of their page would serve.
#[test]
fn an_access_behind_popf_is_checked_for_alignment() {
    let slots: [&[u8]; 2] = [
        // mov eax, [rbx]; push AC and IF; popfq; mov esi, [rbx + 1]; inc edx
        &[0x8b, 0x03, 0x68, 2, 2, 4, 0, 0x9d, 0x8b, 0x73, 1, 0xff, 0xc2],
        // push IF; popfq; inc edi
        &[0x68, 2, 2, 0, 0, 0x9d, 0xff, 0xc7],
    ];
    for (user, inc) in [(true, 0), (false, (ROUNDS[0] - ROUNDS[1]) as u32)] {
        let before = both(&[], MXCSR_RESET, 0x37f, user).cpu().regs;
        let machine = both(&slots, MXCSR_RESET, 0x37f, user);
        let counted = |register: usize| (machine.cpu().regs[register] - before[register]) as u32;
        assert_eq!((counted(2), counted(7)), (inc, (ROUNDS[0] - ROUNDS[1]) as u32), "user: {user}");
    }
}
