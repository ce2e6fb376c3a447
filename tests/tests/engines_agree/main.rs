//! Random programs run on the interpreter and on the translator, which must agree about everything after each stretch
//! of instructions. A program that parts them is cut down to the instructions that matter.
//!
//! `EMU_PROGRAMS` sets how many programs run (each in 64-bit and in 32-bit code), `EMU_SEED` where they start.

mod exceptions;
mod loops;
mod machine;
mod narrow;
mod places;

use emu_core::cpu::fpu::{Fpu, MXCSR_RESET};
use emu_core::decode::cache::CodeCache;
use emu_core::engine::Engine;
use emu_core::interp::Interpreter;
use emu_core::machine::Stop;
use emu_diff::fuzz::places as host;
use emu_diff::fuzz::{cases, program};
use emu_jit::Translator;
use emu_jit::analysis::MOST;
use emu_tests::random::Random;
use iced_x86::{Decoder, Formatter, IntelFormatter};

use machine::Start;
use program::{Program, SLOT};

/// Instructions that each program runs.
const INSTRUCTIONS: u64 = 3000;
/// Bytes of data around loops.
const WALK_DATA: usize = 8 * host::PAGE;

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text}: expected a number")))
}

/// What is different, if anything.
fn compare(program: &Program, seed: u64) -> Option<String> {
    compare_code(program.bits, program.code(), program::DATA_SIZE, false, seed)
}

fn compare_code(bits: u32, code: Vec<u8>, data_size: usize, restarts: bool, seed: u64) -> Option<String> {
    let mut random = Random::new(seed);
    let vectors = std::array::from_fn(|_| std::array::from_fn(|_| cases::number(&mut random)));
    // Some have exceptions unmasked, and other modes of rounding.
    let odd = random.below(3) == 0;
    let (mxcsr, control) = match random.word() {
        word if odd => ((word & 0xffff) as u32, 0x40 | (word >> 16 & 0x0f3f) as u16),
        _ => (MXCSR_RESET, 0x37f),
    };
    let start = Start {
        bits,
        code,
        data: program::data(data_size, &mut random),
        regs: registers(bits, &mut random),
        vectors,
        flags: 2 | random.word() & 0x8d5,
        mxcsr,
        control,
        restarts,
        user: random.below(2) == 0,
    };
    let most = if random.below(4) == 0 { 1 + random.below(8) as usize } else { MOST };
    // Some have so little room that code is forgotten all the time.
    let room = if random.below(4) == 0 { 0 } else { 64 << 20 };
    let hot = 1 + random.below(3) as u8;
    let translator = Translator::with_room(hot, most, room).expect("the host has memory");
    let decoded = CodeCache::with_room(0, if hot == 2 { 0 } else { 1 << 20 });
    let mut one = machine::machine(Box::new(Interpreter::with_cache(decoded)), &start);
    let mut other = machine::machine(Box::new(translator), &start);
    let mut until = 0;
    while until < INSTRUCTIONS {
        // Fast copies of loops start only where the slice has room for them.
        let longest = if random.below(4) == 0 { INSTRUCTIONS } else { 300 };
        until += 1 + random.below(longest);
        let (a, b) = (one.run(until), other.run(until));
        let (left, right) = (machine::registers(&one), machine::registers(&other));
        if a != b || left != right {
            return Some(format!(
                "at {until}: {a:?} {b:?}\n  interpreter {left:x?}\n  translator  {right:x?}"
            ));
        }
        let (a_data, b_data) = (machine::data(&one), machine::data(&other));
        if let Some(at) = (0..a_data.len()).find(|&at| a_data[at] != b_data[at]) {
            return Some(format!("at {until}: memory differs at {:x}", host::DATA + at as u64));
        }
        if one.state_hash() != other.state_hash() {
            let (f, g) = (&one.cpu().fpu, &other.cpu().fpu);
            let which: Vec<_> =
                f.vectors.iter().zip(&g.vectors).enumerate().filter(|(_, (a, b))| a != b).collect();
            let rest = |f: &Fpu| {
                let (status, regs) = (f.status_word(), &f.regs);
                let (fop, fip, fdp) = (f.opcode, f.instruction, f.data);
                format!(
                    "MXCSR {:x}, x87 {:x} {status:x} {:x} FOP {fop:x} FIP {fip:x?} FDP {fdp:x?} {regs:x?}",
                    f.mxcsr, f.control, f.valid
                )
            };
            return Some(format!(
                "at {until}: state differs, vectors {which:x?}\n  interpreter {}\n  translator  {}",
                rest(f),
                rest(g)
            ));
        }
        if a != Stop::Limit {
            break;
        }
    }
    None
}

fn registers(bits: u32, random: &mut Random) -> [u64; 16] {
    let mut regs = program::registers(bits.max(32), random);
    if bits == 16 {
        regs[4] = 0x8000;
    }
    regs
}

/// Loops that walk through memory.
fn walks_agree(bits: u32, count: u64) {
    let first = setting("EMU_SEED", 1);
    for n in 0..count {
        let seed = first.wrapping_add(n).wrapping_mul(0xd1b5_4a32_d192_ed03) ^ u64::from(bits);
        let mut walk = loops::Walk::draw(bits, &mut Random::new(seed));
        let differs = |walk: &loops::Walk| compare_code(bits, walk.code(), WALK_DATA, true, seed);
        let Some(mut why) = differs(&walk) else { continue };
        for index in (0..walk.body.len()).rev() {
            let less = walk.without(index);
            if let Some(still) = differs(&less) {
                (walk, why) = (less, still);
            }
        }
        let mut text = String::new();
        for insn in Decoder::with_ip(bits, &walk.code(), host::CODE, 0) {
            let mut line = String::new();
            IntelFormatter::new().format(&insn, &mut line);
            text += &format!("  {:x}: {line}\n", insn.ip());
        }
        panic!("loop {n} of {bits}-bit code, seed {seed:#x}:\n{text}{why}");
    }
}

#[test]
fn engines_agree_on_random_loops_of_64_bit_code() {
    walks_agree(64, setting("EMU_PROGRAMS", 400));
}

#[test]
fn engines_agree_on_random_loops_of_32_bit_code() {
    walks_agree(32, setting("EMU_PROGRAMS", 400));
}

/// The same of 16-bit code.
#[test]
fn engines_agree_on_random_programs_of_16_bit_code() {
    let (codes, first) = (program::codes(), setting("EMU_SEED", 1));
    for n in 0..setting("EMU_PROGRAMS", 400) {
        let seed = first.wrapping_add(n).wrapping_mul(0xd1b5_4a32_d192_ed03) ^ 16;
        let mut slots = narrow::draw(&codes, &mut Random::new(seed));
        let differs =
            |slots: &[Vec<u8>]| compare_code(16, narrow::code(slots), program::DATA_SIZE, false, seed);
        let Some(mut why) = differs(&slots) else { continue };
        for at in 0..slots.len() {
            let whole = std::mem::replace(&mut slots[at], vec![0x90]);
            match differs(&slots) {
                Some(still) => why = still,
                None => slots[at] = whole,
            }
        }
        let program = Program { bits: 16, origin: 0, slots };
        panic!("program {n} of 16-bit code, seed {seed:#x}:\n{}{why}", listing(&program));
    }
}

/// The program as text.
fn listing(program: &Program) -> String {
    let mut text = String::new();
    for (n, slot) in program.slots.iter().enumerate().filter(|(_, slot)| slot.as_slice() != [0x90]) {
        let at = host::CODE + ((n + 1) * SLOT) as u64;
        let insn = Decoder::with_ip(program.bits, slot, at, 0).decode();
        let mut line = String::new();
        IntelFormatter::new().format(&insn, &mut line);
        text += &format!("  {at:x}: {line}   {slot:02x?}\n");
    }
    text
}

fn shrink(program: Program, seed: u64) -> (Program, String) {
    let mut best = (program.clone(), compare(&program, seed).unwrap_or_default());
    for slot in 0..program.slots.len() {
        let less = best.0.without(slot);
        if let Some(why) = compare(&less, seed) {
            best = (less, why);
        }
    }
    best
}

fn agree(bits: u32, count: u64, draw: impl Fn(usize, &mut Random) -> Program) {
    let first = setting("EMU_SEED", 1);
    let mut failures = Vec::new();
    for n in 0..count {
        // Not a multiple of the generator's own step: the programs would be one sequence from different places.
        let seed = Random::new(first.wrapping_add(n)).word() ^ u64::from(bits);
        let mut random = Random::new(seed);
        let length = 4 + random.below(40) as usize;
        let program = draw(length, &mut random);
        if compare(&program, seed).is_some() {
            let (program, why) = shrink(program, seed);
            failures.push(format!("program {n} of {bits}-bit code:\n{}{why}", listing(&program)));
            if failures.len() == 5 {
                break;
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn engines_agree_on_random_programs_of_64_bit_code() {
    let codes = program::codes();
    agree(64, setting("EMU_PROGRAMS", 400), |length, random| Program::draw(64, length, &codes, random));
}

#[test]
fn engines_agree_on_random_programs_of_32_bit_code() {
    let codes = program::codes();
    agree(32, setting("EMU_PROGRAMS", 400), |length, random| Program::draw(32, length, &codes, random));
}

/// Programs that look at their flags, switch interrupts off and on, wait a moment, and count.
fn looks(bits: u32) {
    const LOOKS: [&[u8]; 8] = [
        &[0x9c, 0x5a],
        &[0x9c, 0x5e],
        &[0x9c, 0x9c, 0x5f, 0x5a],
        &[0xfa],
        &[0xfb],
        &[0xf3, 0x90],
        // LOOP over the next slot; push 3; pop RCX; sub eax, ecx; LOOP to the subtraction.
        &[0xe2, 0x1e],
        &[0x6a, 3, 0x59, 0x29, 0xc8, 0xe2, 0xfc],
    ];
    let codes = program::codes();
    agree(bits, setting("EMU_PROGRAMS", 400), |length, random| {
        let mut program = Program::draw(bits, length, &codes, random);
        for slot in &mut program.slots {
            if random.below(3) == 0 {
                *slot = LOOKS[random.below(LOOKS.len() as u64) as usize].to_vec();
            }
        }
        program
    });
}

#[test]
fn engines_agree_on_random_programs_of_64_bit_code_that_push_their_flags() {
    looks(64);
}

#[test]
fn engines_agree_on_random_programs_of_32_bit_code_that_push_their_flags() {
    looks(32);
}

#[test]
fn engines_agree_on_x87_programs_of_64_bit_code() {
    let codes = program::x87_codes();
    agree(64, setting("EMU_PROGRAMS", 400), |length, random| Program::x87(64, length, &codes, random));
}

#[test]
fn engines_agree_on_x87_programs_of_32_bit_code() {
    let codes = program::x87_codes();
    agree(32, setting("EMU_PROGRAMS", 400), |length, random| Program::x87(32, length, &codes, random));
}

/// Iterations that are done at once leave what they leave one by one.
#[test]
fn repeated_strings_do_not_depend_on_where_slices_end() {
    for n in 0..setting("EMU_PROGRAMS", 400) / 4 {
        let bits = if n % 2 == 0 { 64 } else { 32 };
        let mut random = Random::new(setting("EMU_SEED", 1).wrapping_add(n));
        let program = Program::strings(bits, 12, &mut random);
        let start = Start {
            bits,
            code: program.code(),
            data: program::data(program::DATA_SIZE, &mut random),
            regs: program::registers(bits, &mut random),
            vectors: [[0; 4]; 16],
            flags: 2,
            mxcsr: MXCSR_RESET,
            control: 0x37f,
            restarts: false,
            user: n % 4 < 2,
        };
        let run = |slice: u64, engine: Box<dyn Engine>| {
            let mut machine = machine::machine(engine, &start);
            for until in (slice..=INSTRUCTIONS).step_by(slice as usize) {
                assert_eq!(machine.run(until), Stop::Limit);
            }
            (machine::registers(&machine), machine::data(&machine), machine.state_hash())
        };
        let one_by_one = run(1, Box::<Interpreter>::default());
        for slice in [INSTRUCTIONS, 100] {
            let translator = Translator::with_limits(1, MOST).expect("the host has memory");
            for engine in [Box::<Interpreter>::default() as Box<dyn Engine>, Box::new(translator)] {
                let name = engine.name();
                let at_once = run(slice, engine);
                assert!(one_by_one == at_once, "{name}, slices of {slice}\n{}", listing(&program));
            }
        }
    }
}

/// MOV EAX, imm32 over the end of a page, in a loop that changes the part of it in the next page.
#[test]
fn an_instruction_across_pages_is_translated_and_follows_its_bytes() {
    let mut code = vec![0x90; 0x1040];
    code[..5].copy_from_slice(&[0xe9, 0xeb, 0x0f, 0, 0]); // jmp to 0ff0h
    code[0xffd..0x1002].copy_from_slice(&[0xb8, 1, 2, 3, 4]); // mov eax, 4030201h
    // add [rbx], rax; inc byte [rip - 9]; dec rcx; jnz to 0ff0h; jmp $
    code[0x1002..0x1005].copy_from_slice(&[0x48, 0x01, 0x03]);
    code[0x1005..0x100b].copy_from_slice(&[0xfe, 0x05, 0xf5, 0xff, 0xff, 0xff]); // of 1000h
    code[0x100b..0x100e].copy_from_slice(&[0x48, 0xff, 0xc9]);
    code[0x100e..0x1010].copy_from_slice(&[0x75, 0xe0]);
    code[0x1010..0x1012].copy_from_slice(&[0xeb, 0xfe]);
    let mut regs = [0; 16];
    (regs[1], regs[3], regs[4]) = (200, host::DATA, 0x60_0000);
    let start = Start {
        bits: 64,
        code,
        data: vec![0; 4096],
        regs,
        vectors: [[0; 4]; 16],
        flags: 2,
        mxcsr: MXCSR_RESET,
        control: 0x37f,
        restarts: false,
        user: false,
    };
    let run = |engine: Box<dyn Engine>| {
        let mut machine = machine::machine(engine, &start);
        assert_eq!(machine.run(10_000), Stop::Limit);
        (machine::registers(&machine), machine::data(&machine), machine.state_hash())
    };
    let by_interpreter = run(Box::<Interpreter>::default());
    let sum = u64::from_le_bytes(by_interpreter.1[..8].try_into().unwrap());
    assert_eq!(sum, (0..200u64).map(|n| 0x0400_0201 | ((3 + n) & 0xff) << 16).sum::<u64>());
    for hot in [1, 30] {
        assert_eq!(run(Box::new(Translator::with_limits(hot, MOST).unwrap())), by_interpreter, "hot {hot}");
    }
}

/// In 32-bit code JMP m16:16 is as wide as a near jump by memory. Here lies known code where that would lead.
#[test]
fn a_far_jump_with_an_operand_size_prefix_is_no_near_jump() {
    const NEAR: u64 = 0x10_8000;
    const FAR: u64 = 0x8000;
    let mut code = vec![0xc7, 0x03]; // mov [ebx], selector 10h and offset 8000h
    code.extend(((0x10 << 16 | FAR) as u32).to_le_bytes());
    code.push(0xb8); // mov eax, 108000h; jmp eax
    code.extend((NEAR as u32).to_le_bytes());
    code.extend([0xff, 0xe0]);
    let behind = host::CODE + code.len() as u64;
    code.extend([0x66, 0xff, 0x2b]); // jmp far [ebx]
    let mut regs = [0; 16];
    (regs[3], regs[4]) = (host::DATA, 0x60_0000);
    let (mxcsr, control) = (MXCSR_RESET, 0x37f);
    let (data, vectors) = (vec![0; 4096], [[0; 4]; 16]);
    let start =
        Start { bits: 32, code, data, regs, vectors, flags: 2, mxcsr, control, restarts: false, user: false };
    let run = |engine: Box<dyn Engine>| {
        let mut machine = machine::machine(engine, &start);
        let mem = &mut machine.cpu_mut().system_mut().mem;
        let mut there = vec![0x46, 0xe9]; // inc esi; jmp behind
        there.extend((behind.wrapping_sub(NEAR + 6) as u32).to_le_bytes());
        mem.write_bytes(NEAR, &there);
        let mut there = vec![0x42, 0xea]; // inc edx; jmp far 10h:the start
        there.extend((host::CODE as u32).to_le_bytes());
        there.extend([0x10, 0]);
        mem.write_bytes(FAR, &there);
        assert_eq!(machine.run(7_000), Stop::Limit);
        machine::registers(&machine)
    };
    let by_interpreter = run(Box::<Interpreter>::default());
    assert_eq!((by_interpreter[2], by_interpreter[6]), (875, 875), "rounds of eight instructions");
    assert_eq!(run(Box::new(Translator::with_limits(1, MOST).unwrap())), by_interpreter);
}

/// The interpreter runs an INC of memory that misses the translation cache and leaves the flags in another place than
/// the translated one would. Nobody looks at them but for the carry, which the next round's ADC takes up.
#[test]
fn the_carry_survives_an_inc_that_the_interpreter_ran() {
    let mut code = Vec::new();
    code.extend([0xbb, 0x10, 0x3d, 0x50, 0]); // mov ebx, 503d10h
    code.extend([0xb9, 0x8c, 0, 0, 0]); // mov ecx, 8ch
    code.extend([0xba, 0x11, 0, 0, 0]); // mov edx, 11h
    code.extend([0x13, 0x43, 0x30]); // adc eax, [ebx + 30h]
    code.extend([0xff, 0x84, 0xcb, 0xf0, 3, 0, 0]); // inc dword [ebx + ecx * 8 + 3f0h]
    code.extend([0x4a, 0x75, 0xf3]); // dec edx; jnz to the adc
    code.extend([0xeb, 0xe2]); // jmp to the start
    for seed in 0..50 {
        assert_eq!(compare_code(32, code.clone(), WALK_DATA, true, seed), None, "seed {seed}");
    }
}

/// Result and source of an ANDN with memory both live in the frame, and share a scratch register.
#[test]
fn an_andn_with_memory_writes_its_result_where_both_registers_are_high() {
    let mut code = Vec::new();
    code.extend([0xba, 0x11, 0, 0, 0]); // mov edx, 11h
    code.extend([0xc4, 0x62, 0x90, 0xf2, 0x33]); // andn r14, r13, [rbx]
    code.extend([0x0f, 0x94, 0xc0, 0x4d, 0x01, 0xf5]); // setz al; add r13, r14
    code.extend([0x49, 0x01, 0xc5, 0xff, 0xca, 0x75, 0xee]); // add r13, rax; dec edx; jnz to the andn
    code.extend([0xeb, 0xe7]); // jmp to the start
    for seed in 0..20 {
        assert_eq!(compare_code(64, code.clone(), WALK_DATA, true, seed), None, "seed {seed}");
    }
}

/// Two runs in a loop, whose distances its fast copy keeps in registers, beside flags that a call brings back.
#[test]
fn a_loop_whose_flags_are_brought_back_keeps_its_distances() {
    let mut code = Vec::new();
    code.extend([0xbd, 0x10, 0, 0x50, 0, 0xbb, 0x10, 0x08, 0x50, 0]); // mov ebp, 500010h; mov ebx, 500810h
    code.extend([0x4c, 0x8d, 0xbd, 0, 0x07, 0, 0, 0xeb, 0x17]); // lea r15, [rbp + 700h]; jmp to the load
    code.extend([0xb8, 0, 0, 0, 0, 0x74, 0xe6]); // mov eax, 0; je to the start
    code.extend([0x48, 0x83, 0xc5, 8, 0x48, 0x89, 0x03]); // add rbp, 8; mov [rbx], rax
    code.extend([0x48, 0x83, 0xc3, 8, 0x4c, 0x39, 0xfd, 0x74, 0xd6]); // add rbx, 8; cmp rbp, r15; je to the start
    code.extend([0x48, 0x8b, 0x4d, 0, 0x48, 0x83, 0xf9, 0xff]); // mov rcx, [rbp]; cmp rcx, -1
    code.extend([0x76, 0xdf, 0xeb, 0xca]); // jbe to the mov; jmp to the start
    for seed in 0..50 {
        assert_eq!(compare_code(64, code.clone(), WALK_DATA, true, seed), None, "seed {seed}");
    }
}

/// A group on the stack has its distance where its page is noted, and more accesses to other pages than there are
/// such places come between its first and its last.
#[test]
fn a_group_finds_its_distance_behind_many_other_pages() {
    let mut code = vec![0xbb, 0x10, 0x28, 0x02, 0x01]; // mov ebx, 1022810h
    for zeroed in [0xc0, 0xc9, 0xd2, 0xf6, 0xff, 0xed] {
        code.extend([0x31, zeroed]); // xor of a register with itself
    }
    code.extend([0x48, 0x89, 0x5c, 0x24, 32, 0xeb, 0]); // mov [rsp + 32], rbx; jmp to the next
    code.extend([0x4c, 0x8b, 0x44, 0x24, 8]); // mov r8, [rsp + 8]
    for scale in 0..3 {
        for index in [0, 1, 2, 6, 7, 5] {
            code.extend([0x0f, 0x10, 0x04, scale << 6 | index << 3 | 3]); // movups xmm0, [rbx + index * scale]
        }
    }
    code.extend([0x4c, 0x8b, 0x4c, 0x24, 32, 0xe9]); // mov r9, [rsp + 32]; jmp to the start
    code.extend((-(code.len() as i32) - 4).to_le_bytes());
    for seed in 0..50 {
        assert_eq!(compare_code(64, code.clone(), WALK_DATA, true, seed), None, "seed {seed}");
    }
}

/// Writes to pages that are written for the first time: their check fails, and the block that takes over begins in
/// the last bytes of a page, where jumps go by the jump cache, which knows the block that failed.
#[test]
fn a_check_that_fails_at_the_end_of_a_page_does_not_fail_for_ever() {
    let mut code = vec![0x90; 0x1020];
    code[..5].copy_from_slice(&[0xe9, 0xf1, 0x0f, 0, 0]); // jmp to 0ff6h
    code[0xff6..0xffb].copy_from_slice(&[0x88, 0x03, 0x88, 0x4b, 0x01]); // mov [rbx], al; mov [rbx + 1], cl
    code[0x1000..0x1007].copy_from_slice(&[0x48, 0x81, 0xc3, 0, 0x10, 0, 0]); // add rbx, 1000h
    code[0x1007..0x100c].copy_from_slice(&[0xe9, 0xea, 0xff, 0xff, 0xff]); // jmp to 0ff6h
    for seed in 0..20 {
        assert_eq!(compare_code(64, code.clone(), WALK_DATA, true, seed), None, "seed {seed}");
    }
}

/// SHL, a load that the interpreter makes since its page is new, and jumps on the flags of the shift, which the way
/// out stored where the operand of the shift must not stand.
#[test]
fn the_flags_of_a_shift_outlast_a_load_that_the_interpreter_makes() {
    let mut code = vec![0x48, 0xd1, 0xe0]; // shl rax, 1
    code.extend([0x0f, 0x10, 0x03]); // movups xmm0, [rbx]
    code.extend([0x48, 0x8d, 0x9b, 0, 0x10, 0, 0]); // lea rbx, [rbx + 1000h]
    code.extend([0x77, 0x04, 0x48, 0x8d, 0x52, 0x01]); // ja over lea rdx, [rdx + 1]
    code.extend([0x48, 0x05, 0x67, 0x45, 0x23, 0x01]); // add rax, 1234567h
    code.extend([0xe9]); // jmp to the start
    code.extend((-(code.len() as i32) - 4).to_le_bytes());
    for seed in 0..20 {
        assert_eq!(compare_code(64, code.clone(), WALK_DATA, true, seed), None, "seed {seed}");
    }
}

/// PUSH of memory in a page that is new, so that the interpreter makes the whole of it: what follows may not take for
/// known where the stack is, which the PUSH would have found out. Another block has the place for that hold another
/// page.
#[test]
fn a_push_of_memory_that_the_interpreter_makes_leaves_the_stack_to_the_next() {
    let mut code = Vec::new();
    code.extend([0xbb, 0x10, 0, 0x50, 0]); // mov ebx, 500010h
    code.extend([0xbf, 0x10, 0x08, 0x50, 0]); // mov edi, 500810h
    code.extend([0x8b, 0x07, 0x8b, 0x77, 0x04]); // mov eax, [edi]; mov esi, [edi + 4]
    code.extend([0xeb, 0x01, 0x90]); // jmp to the push
    code.extend([0xff, 0x33, 0x50, 0x59, 0x5a]); // push dword [ebx]; push eax; pop ecx; pop edx
    code.extend([0x81, 0xc3, 0, 0x10, 0, 0]); // add ebx, 1000h
    code.extend([0xeb, 0xeb]); // jmp to the first load
    for seed in 0..50 {
        assert_eq!(compare_code(32, code.clone(), WALK_DATA, true, seed), None, "seed {seed}");
    }
}

/// Flags across them are still there, and RDTSCP says the same time and processor.
#[test]
fn rdtscp_and_pause_where_they_stand_agree_with_their_handlers() {
    let mut code = vec![0x48, 0x83, 0xc3, 0x07]; // add rbx, 7
    code.extend([0xf3, 0x90]); // pause
    code.extend([0x73, 0x03, 0x48, 0xff, 0xc6]); // jnc over inc rsi
    code.extend([0x48, 0x29, 0xde]); // sub rsi, rbx
    code.extend([0x0f, 0x01, 0xf9]); // rdtscp
    code.extend([0x7f, 0x03, 0x48, 0x01, 0xc7]); // jg over add rdi, rax
    code.extend([0x48, 0x01, 0xcf]); // add rdi, rcx
    code.extend([0x48, 0x01, 0xd7, 0xeb, 0xe3]); // add rdi, rdx; jmp to the start
    for seed in 0..20 {
        assert_eq!(compare_code(64, code.clone(), WALK_DATA, true, seed), None, "seed {seed}");
    }
}

/// A loop that reads and writes its own page, and with it the number in an instruction that is called after each walk.
#[test]
fn a_loop_that_reads_and_then_writes_its_own_page_is_seen_to_change_code() {
    // The less room there is to the end of the page, the sooner its fast copy starts.
    let mut page = vec![0x90; 0xe80];
    page[..5].copy_from_slice(&[0xe9, 0x7b, 0x0e, 0, 0]); // jmp to e80h
    let mut code = vec![0; 0x180];
    code[..7].copy_from_slice(&[0x48, 0x8d, 0x1d, 0x39, 0, 0, 0]); // lea rbx, [rip to 40h]
    code[7..12].copy_from_slice(&[0xb9, 0x40, 0, 0, 0]); // mov ecx, 64
    code[12..20].copy_from_slice(&[0x8a, 0x03, 0x02, 0x83, 0, 1, 0, 0]); // mov al, [rbx]; add al, [rbx + 100h]
    code[20..26].copy_from_slice(&[0x88, 0x03, 0x48, 0x83, 0xc3, 0x01]); // mov [rbx], al; add rbx, 1
    code[26..30].copy_from_slice(&[0xff, 0xc9, 0x75, 0xee]); // dec ecx; jnz to the first load
    code[30..40].copy_from_slice(&[0xe8, 0x3d, 0, 0, 0, 0x48, 0x01, 0xc2, 0xeb, 0xd8]); // call 60h; add rdx, rax; again
    code[0x60..0x66].copy_from_slice(&[0xb8, 0, 0, 0, 0, 0xc3]); // mov eax, 0; ret
    code[0x161..0x165].copy_from_slice(&[1, 2, 3, 4]);
    page.extend(code);
    for seed in 0..20 {
        assert_eq!(compare_code(64, page.clone(), WALK_DATA, true, seed), None, "seed {seed}");
    }
}

/// The functions of the x87 unit, one after the other with what they make of their flags and registers: full and
/// empty stacks, results that are exact, out of range or not numbers, and other control words come by on the way.
#[test]
fn x87_functions_leave_what_their_handlers_leave() {
    let functions: [&[u8]; 8] = [
        &[0xd9, 0xfe], // fsin
        &[0xd9, 0xff], // fcos
        &[0xd9, 0xf0], // f2xm1
        &[0xd9, 0xfb], // fsincos
        &[0xd9, 0xf2], // fptan
        &[0xd9, 0xf3], // fpatan
        &[0xd9, 0xf1], // fyl2x
        &[0xd9, 0xf9], // fyl2xp1
    ];
    let between: [&[u8]; 13] = [
        &[0xdf, 0xe0, 0x48, 0x01, 0xc6], // fnstsw ax; add rsi, rax
        &[0xdd, 0x1b],                   // fstp qword [rbx]
        &[0xdb, 0x3b],                   // fstp tbyte [rbx]
        &[0xdd, 0x03],                   // fld qword [rbx]
        &[0xdb, 0x2b],                   // fld tbyte [rbx]
        &[0xd9, 0xe8, 0xd8, 0xf9],       // fld1; fdivr st0, st1
        &[0xd9, 0xee],                   // fldz
        &[0xd9, 0xeb],                   // fldpi
        &[0xdb, 0xe3],                   // fninit
        &[0xd8, 0xd1],                   // fcom st1
        &[0xd9, 0xe5],                   // fxam
        &[0xd9, 0xf7],                   // fincstp
        &[0xdd, 0xc1],                   // ffree st1
    ];
    let mut random = Random::new(17);
    for seed in 0..setting("EMU_PROGRAMS", 300) {
        let mut code = vec![0xdb, 0xe3, 0xd9, 0xeb, 0xd9, 0xe8]; // fninit; fldpi; fld1
        for _ in 0..24 {
            let part = if random.below(3) == 0 { &between[..] } else { &functions[..] };
            code.extend(part[random.below(part.len() as u64) as usize]);
            if random.below(12) == 0 {
                // fnstcw [rbx]; xor word [rbx], a rounding or a precision; fldcw [rbx]
                let bit = 1u16 << (8 + random.below(4));
                code.extend([0xd9, 0x3b, 0x66, 0x81, 0x33]);
                code.extend(bit.to_le_bytes());
                code.extend([0xd9, 0x2b]);
            }
        }
        let back = -(code.len() as i32 + 5 - 6);
        code.push(0xe9); // jmp behind the start
        code.extend(back.to_le_bytes());
        assert_eq!(compare_code(64, code, WALK_DATA, true, seed), None, "seed {seed}");
    }
}
