//! Every encoding of MMX, SSE to SSE4.2, AVX, AVX2, FMA, F16C and x87 that iced knows, on the host's processor and on
//! the interpreter: registers, flags, MXCSR, x87 state, memory and exceptions must be equal, in 64-bit and in 32-bit
//! code. Operands are random and land where floating point is difficult; the generator is seeded, so a failure
//! repeats. `EMU_ORACLE_CASES` sets the number of cases for each form.
//!
//! Where AMD and Intel differ, Intel's manual decides, and `emu_diff::host::vectors::exceptions` says so.

#![cfg(target_arch = "x86_64")]

mod boundaries;
mod encodings;
mod faults;
mod vex_faults;
mod xsave;

use emu_core::interp::table::{self, Form};
use emu_diff::float_random as random;
use emu_diff::host::vectors::{
    Pair, X87, cases, differences, exceptions, guest, is_implemented, is_subject, silicon as host,
    vex_features,
};
use iced_x86::{Code, CpuidFeature as C, EncodingKind};
use random::Random;

/// Instructions per encoding and form, and states for each unless `EMU_ORACLE_CASES` says how many cases a form has.
const INSTRUCTIONS: usize = 12;
const STATES: usize = 25;

fn states() -> usize {
    let cases = std::env::var("EMU_ORACLE_CASES").map(|n| n.parse().expect("EMU_ORACLE_CASES is a number"));
    cases.map_or(STATES, |cases: usize| cases.div_ceil(INSTRUCTIONS))
}

fn compare(name: &str, features: &[C]) {
    compare_encoding(name, EncodingKind::Legacy, 64, features);
}

fn compare_encoding(name: &str, encoding: EncodingKind, bits: u32, features: &[C]) {
    let wide = encoding == EncodingKind::VEX;
    let mut random = Random::new(name);
    let mut pair = Pair::new(wide, bits);
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
            pair.load(&insn, &bytes);
            for _ in 0..states {
                let before = pair.state(&mut random);
                cases += 1;
                let mut found = pair.compare(&before);
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
