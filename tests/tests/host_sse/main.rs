//! Every encoding of MMX, SSE to SSE4.2, AVX, AVX2, FMA, F16C and x87 that iced knows, on the host's processor and on
//! the interpreter: registers, flags, MXCSR, x87 state, memory and exceptions must be equal, in 64-bit and in 32-bit
//! code. Operands are random and land where floating point is difficult; the generator is seeded, so a failure
//! repeats. `EMU_ORACLE_CASES` sets the number of cases for each form.
//!
//! Where AMD and Intel differ, Intel's manual decides, and [`exceptions`] says so.

#![cfg(target_arch = "x86_64")]

mod boundaries;
mod cases;
mod encodings;
mod exceptions;
mod faults;
mod guest;
mod host;
#[path = "../softfloat_host/random.rs"]
#[allow(dead_code)]
mod random;
mod vex_faults;
mod xsave;

use emu_core::cpu::Fault;
use emu_core::interp::table::{self, Form};
use host::{MEMORY, Runner, State};
use iced_x86::{Code, CpuidFeature as C, EncodingKind, Instruction, OpKind};
use random::Random;

/// Instructions per encoding and form, and states for each unless `EMU_ORACLE_CASES` says how many cases a form has.
const INSTRUCTIONS: usize = 12;
const STATES: usize = 25;

/// FISTTP is of SSE3, FCMOV and FCOMI of CMOV.
const X87: [C; 5] = [C::FPU, C::FPU287, C::FPU387, C::SSE3, C::CMOV];

fn states() -> usize {
    let cases = std::env::var("EMU_ORACLE_CASES").map(|n| n.parse().expect("EMU_ORACLE_CASES is a number"));
    cases.map_or(STATES, |cases: usize| cases.div_ceil(INSTRUCTIONS))
}

fn vex_features() -> Vec<C> {
    let mut features = vec![C::AVX, C::AVX2, C::FMA, C::F16C, C::AES, C::PCLMULQDQ];
    if std::arch::is_x86_feature_detected!("vaes") && std::arch::is_x86_feature_detected!("gfni") {
        features.extend([C::VAES, C::VPCLMULQDQ, C::GFNI]);
    }
    features
}

fn is_subject(code: Code, encoding: EncodingKind, bits: u32, features: &[C]) -> bool {
    let info = code.op_code();
    info.is_instruction()
        && !exceptions::is_waiting(code)
        && (if bits == 64 { info.mode64() } else { info.mode32() })
        && info.encoding() == encoding
        && code.cpuid_features().iter().all(|f| features.contains(f))
        && !exceptions::is_not_for_this_test(code)
}

fn is_implemented(insn: &Instruction, bits: u32) -> bool {
    let form = Form { insn, code_size: bits };
    table::handler(&form).is_some()
}

/// What differs between two states after an instruction.
fn differences(code: Code, insn: &Instruction, before: &State, host: &State, guest: &State) -> Vec<String> {
    let mut found = Vec::new();
    let base = host.base;
    let pointer = |n: usize| n == 7 && exceptions::points_to_memory(code);
    for n in (0..15).filter(|&n| n != 4 && n != base && !pointer(n)) {
        if host.regs[n] != guest.regs[n] {
            found.push(format!("r{n}: {:x}, not {:x}", guest.regs[n], host.regs[n]));
        }
    }
    if (host.flags ^ guest.flags) & 0x8d5 & !exceptions::undefined_flags(code, before, guest) != 0 {
        found.push(format!("flags: {:x}, not {:x}", guest.flags, host.flags));
    }
    let word = |s: &State, at: usize| u16::from_le_bytes([s.fx[at], s.fx[at + 1]]);
    let skip_x87 = exceptions::leaves_x87_alone(code, insn) || exceptions::fault_enters_mmx(code, host);
    for (name, at) in [("FCW", 0), ("FSW", 2), ("abridged tags", 4), ("MXCSR", 24)] {
        let mask = if at == 2 { !exceptions::undefined_status(code, before, guest) } else { !0 };
        if (word(host, at) ^ word(guest, at)) & mask != 0 && !(skip_x87 && at < 24) {
            found.push(format!(
                "{name}: {:04x}, not {:04x}; before {:04x}",
                word(guest, at),
                word(host, at),
                word(before, at)
            ));
        }
    }
    for n in 0..24 {
        let (name, at, len) = if n < 8 { ("st", 32 + 16 * n, 10) } else { ("xmm", 32 + 16 * n, 16) };
        let (h, g) = (&host.fx[at..at + len], &guest.fx[at..at + len]);
        if h != g && !(skip_x87 && n < 8) && !exceptions::close_enough(code, insn, before, h, g) {
            let show = |b: &[u8]| b.iter().rev().map(|b| format!("{b:02x}")).collect::<String>();
            found.push(format!(
                "{name}{}: {}, not {}; before {}",
                n % 8 + n / 16 * 8,
                show(g),
                show(h),
                show(&before.fx[at..at + len])
            ));
        }
    }
    for (n, (h, g)) in host.high.iter().zip(&guest.high).enumerate() {
        if h != g && !exceptions::close_enough(code, insn, before, h, g) {
            let show = |b: &[u8]| b.iter().rev().map(|b| format!("{b:02x}")).collect::<String>();
            found.push(format!("upper ymm{n}: {}, not {}", show(g), show(h)));
        }
    }
    let field = |s: &State, at: usize| u32::from_le_bytes(s.env[at..at + 4].try_into().unwrap());
    // On AMD's processors a task switch by the host's kernel loses the pointers.
    if exceptions::notes_pointers(code) && host.faulted == 0 && field(host, 12) != 0 {
        let opcode = |s: &State| field(s, 16) >> 16 & 0x7ff;
        if (field(host, 12), opcode(host)) != (field(guest, 12), opcode(guest)) {
            found.push(format!(
                "FIP and FOP: {:x?}, not {:x?}",
                (field(guest, 12), opcode(guest)),
                (field(host, 12), opcode(host))
            ));
        }
        // Addresses of memory differ between host and guest, the offset in it does not.
        let offset = |s: &State| field(s, 20).wrapping_sub(s.regs[base] as u32);
        if insn.op0_kind() == OpKind::Memory && offset(host) != offset(guest) {
            found.push(format!("FDP: {:x}, not {:x}", offset(guest), offset(host)));
        }
    }
    if host.memory != guest.memory {
        let at = (0..host.memory.len()).find(|&i| host.memory[i] != guest.memory[i]).unwrap();
        let show = |b: &[u8]| b.iter().map(|b| format!("{b:02x}")).collect::<String>();
        let range = at & !15..(at & !15) + 32;
        found.push(format!(
            "memory at {at:x}: {}, not {}",
            show(&guest.memory[range.clone()]),
            show(&host.memory[range])
        ));
    }
    found
}

fn compare(name: &str, features: &[C]) {
    compare_encoding(name, EncodingKind::Legacy, 64, features);
}

fn compare_encoding(name: &str, encoding: EncodingKind, bits: u32, features: &[C]) {
    let wide = encoding == EncodingKind::VEX;
    let mut random = Random::new(name);
    let mut runner = Runner::new(wide, bits);
    let mut cpu = guest::processor(bits);
    if wide {
        guest::enable_avx(&mut cpu);
    }
    let states = states();
    let (mut codes, mut cases, mut failures) = (0, 0u64, Vec::new());
    for code in Code::values().filter(|&code| is_subject(code, encoding, bits, features)) {
        let mut reported = 0;
        let mut known = false;
        for round in 0..2 * INSTRUCTIONS {
            let Some(insn) = cases::instruction(code, round % 2 == 0, bits, &mut random) else { continue };
            let Some(bytes) = cases::encode(&insn, bits) else { continue };
            known = true;
            if !is_implemented(&insn, bits) {
                failures.push(format!("{code:?}: not implemented"));
                break;
            }
            runner.load(&bytes);
            for _ in 0..states {
                let mut before = cases::state(&mut random);
                if bits == 32 {
                    before.only_32_bits();
                }
                let half = MEMORY as i64 / 2;
                cases::fit_indices(&insn, &mut before, (-half, half), &mut random);
                cases += 1;
                if exceptions::is_undefined(code, &insn, &before) {
                    continue;
                }
                let (mut host, mut guest) = (before.clone(), before.clone());
                if exceptions::points_to_memory(code) {
                    host.regs[7] = runner.memory(&host);
                    guest.regs[7] = guest::ADDRESS;
                }
                guest.regs[guest.base] = guest::ADDRESS;
                runner.run(&mut host);
                let result = guest::run(&mut cpu, &bytes, runner.address, &mut guest);
                let mut found = differences(code, &insn, &before, &host, &guest);
                let vector = match result {
                    Ok(()) => 0,
                    Err(Fault::Exception(exception)) => u64::from(exception.vector),
                    Err(other) => panic!("{code:?}: {other:?}"),
                };
                if vector != host.faulted {
                    found.push(format!("exception {vector}, not {}; 0 is none", host.faulted));
                }
                if !found.is_empty() && reported < 3 {
                    found.push(exceptions::describe(&before));
                    reported += 1;
                    failures.push(format!("{code:?} {bytes:02x?}: {}", found.join("; ")));
                }
            }
        }
        codes += usize::from(known);
        if !known {
            failures.push(format!("{code:?}: no operands"));
        }
    }
    println!("{name}, {bits} bits: {codes} encodings, {cases} cases");
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn sse_and_sse2() {
    compare("SSE", &[C::SSE, C::SSE2]);
}

#[test]
fn sse3_to_sse4() {
    compare("SSE4", &[C::SSE3, C::SSSE3, C::SSE4_1, C::SSE4_2, C::PCLMULQDQ]);
}

#[test]
fn aes_and_sha() {
    compare("AES", &[C::AES, C::SHA]);
}

#[test]
fn gfni() {
    if !std::arch::is_x86_feature_detected!("gfni") {
        println!("SKIPPED: the host has no GFNI");
        return;
    }
    compare("GFNI", &[C::GFNI]);
}

#[test]
fn vex_encodings() {
    if !std::arch::is_x86_feature_detected!("avx2") {
        println!("SKIPPED: the host has no AVX2");
        return;
    }
    compare_encoding("AVX", EncodingKind::VEX, 64, &vex_features());
}

#[test]
fn vex_encodings_in_32_bit_code() {
    if !std::arch::is_x86_feature_detected!("avx2") {
        println!("SKIPPED: the host has no AVX2");
        return;
    }
    compare_encoding("AVX", EncodingKind::VEX, 32, &vex_features());
}

#[test]
fn legacy_encodings_in_32_bit_code() {
    let mut features = vec![C::SSE, C::SSE2, C::SSE3, C::SSSE3, C::SSE4_1, C::SSE4_2, C::PCLMULQDQ];
    features.extend([C::MMX, C::AES, C::SHA]);
    compare_encoding("MMX to SHA", EncodingKind::Legacy, 32, &features);
}

/// Also what the comparison leaves out, and in all code sizes.
#[test]
fn every_vex_encoding_of_the_reported_features_is_implemented() {
    let mut random = Random::new("forms");
    let (mut missing, mut forms) = (Vec::new(), 0);
    let of_features = |code: &Code| code.cpuid_features().iter().all(|f| vex_features().contains(f));
    let vex = Code::values().filter(|code| code.op_code().encoding() == EncodingKind::VEX);
    for code in vex.filter(of_features) {
        let found: Vec<_> =
            [false, true].iter().filter_map(|&m| cases::instruction(code, m, 64, &mut random)).collect();
        assert!(!found.is_empty() || code.op_code().op_count() == 0, "{code:?} has no form");
        for insn in found {
            for code_size in [16, 32, 64] {
                forms += 1;
                let form = Form { insn: &insn, code_size };
                if table::handler(&form).is_none() {
                    missing.push(format!("{code:?}"));
                }
            }
        }
    }
    assert!(missing.is_empty(), "not implemented: {}", missing.join(" "));
    assert!(forms > 3000, "{forms} forms");
}

#[test]
fn mmx() {
    compare("MMX", &[C::MMX]);
}

#[test]
fn x87() {
    compare("x87", &X87);
}

#[test]
fn x87_in_32_bit_code() {
    compare_encoding("x87", EncodingKind::Legacy, 32, &X87);
}
