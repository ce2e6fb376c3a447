//! Every form of the integer instructions in the instruction table, on the host's processor and on the interpreter:
//! general registers, RIP, flags, memory and exceptions must be equal, in 64-bit and in 32-bit code; flags that the
//! manual leaves undefined must be as a table says for each vendor. Encodings, registers and memory are random; the
//! generator is seeded, so a failure repeats. `EMU_ORACLE_CASES` sets the number of cases for each form.
//!
//! Where AMD and Intel differ, Intel's manual and silicon decide, and `emu_diff::host::exceptions` says so.

#![cfg(all(target_arch = "x86_64", target_os = "linux"))]

use emu_diff::fuzz::cases;
use emu_diff::fuzz::places::PAGE;
use emu_diff::fuzz::shrink::Case;
use emu_diff::host::{Oracle, host_lacks, is_implemented, subjects};
use emu_tests::external::skip;
use emu_tests::random::Random;
use iced_x86::{Code, Formatter, IntelFormatter};

/// Cases for each form.
const CASES: usize = 240;
/// Cases that share an encoding.
const PER_ENCODING: usize = 8;

struct Test {
    oracle: Oracle,
    random: Random,
    cases: usize,
    run: usize,
    failures: Vec<String>,
}

impl Test {
    fn compare(&mut self, code: Code, bits: u32) {
        let (mut done, mut attempts, mut reported) = (0, 0, 0);
        let mut data = [0; PAGE];
        cases::memory(&mut self.random, &mut data);
        while done < self.cases {
            attempts += 1;
            if attempts > 2000 + 64 * done {
                if done == 0 {
                    self.failures.push(format!("{bits} {code:?}: no encoding found"));
                }
                return;
            }
            let Some(e) = cases::encoding(code, bits, &mut self.random) else { continue };
            if !is_implemented(&e, bits) {
                self.failures.push(format!("{bits} {code:?}: not implemented"));
                return;
            }
            if let Err(gap) = self.oracle.load(&e, bits) {
                self.failures.push(format!("{bits} {code:?}: {gap}"));
                return;
            }
            for _ in 0..PER_ENCODING {
                done += 1;
                self.run += 1;
                let before = cases::registers(&e, bits, &mut self.random, &mut data);
                let (found, _) = self.oracle.compare(&e, &Case { before, data });
                if !found.is_empty() && reported < 2 {
                    reported += 1;
                    let mut text = String::new();
                    IntelFormatter::new().format(&e.insn, &mut text);
                    let found = found.join("; ");
                    self.failures.push(format!("{bits} {code:?} {text} ({:02x?}): {found}", e.bytes));
                }
            }
        }
    }
}

/// One test for both modes: signal handlers and low addresses exist once in a process.
#[test]
fn integer_instructions_do_as_the_host_does() {
    let missing = host_lacks();
    if !missing.is_empty() {
        skip(&format!("the host's processor lacks {}", missing.join(", ")));
        return;
    }
    let cases =
        std::env::var("EMU_ORACLE_CASES").map_or(CASES, |n| n.parse().expect("EMU_ORACLE_CASES is a number"));
    let random = Random::new(0x0a11_ce00);
    let oracle = Oracle::new().expect("signals and low addresses are free");
    let mut test = Test { oracle, random, cases, run: 0, failures: Vec::new() };
    let only = std::env::var("EMU_ORACLE_ONLY").ok();
    for bits in [64, 32] {
        let mut forms = 0;
        for code in subjects(bits) {
            if only.as_ref().is_none_or(|name| format!("{code:?}").starts_with(name.as_str())) {
                forms += 1;
                test.compare(code, bits);
            }
        }
        println!("{forms} forms in {bits}-bit code, {} cases so far", test.run);
    }
    let failures = &test.failures;
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
}
