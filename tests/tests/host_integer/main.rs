//! Every form of the integer instructions in the instruction table, on the host's processor and on the interpreter:
//! general registers, RIP, flags, memory and exceptions must be equal, in 64-bit and in 32-bit code; flags that the manual
//! leaves undefined must be as a table says for each vendor. Encodings, registers and memory are random; the generator is seeded, so a failure repeats. `EMU_ORACLE_CASES` sets the
//! number of cases for each form.
//!
//! Where AMD and Intel differ, Intel's manual and silicon decide, and [`exceptions`] says so.

#![cfg(all(target_arch = "x86_64", target_os = "linux"))]

mod exceptions;
mod guest;
mod host;
mod undefined;

use std::collections::HashSet;

use emu_core::cpu::eflags;
use emu_core::interp::table::{self, Form};
use emu_diff::fuzz::cases::{self, Encoding};
use emu_tests::external::skip;
use emu_tests::random::Random;
use guest::Guest;
use host::{Host, Outcome, PAGE, Registers};
use iced_x86::{Code, Formatter, IntelFormatter};

/// Cases for each form.
const CASES: usize = 240;
/// Cases that share an encoding.
const PER_ENCODING: usize = 8;

/// Flags that are compared.
const FLAGS: u64 = eflags::OSZAPC | eflags::DF | eflags::NT | eflags::ID | eflags::AC | eflags::IF;

fn differences(
    e: &Encoding,
    before: &Registers,
    host: &Outcome,
    guest: &Outcome,
    column: Option<undefined::Column>,
) -> Vec<String> {
    let mut found = Vec::new();
    for n in 0..16 {
        let (h, g, b) = (host.after.regs[n], guest.after.regs[n], before.regs[n]);
        if h != g {
            found.push(format!("r{n}: {g:x}, not {h:x}; before {b:x}"));
        }
    }
    if host.rip != guest.rip {
        found.push(format!("rip: {:x}, not {:x}", guest.rip, host.rip));
    }
    if host.fault.map(|f| f.0) != guest.fault.map(|f| f.0) {
        found.push(format!("fault: {:?}, not {:?}", guest.fault, host.fault));
    } else if let (Some((vector, h)), Some((_, g))) = (host.fault, guest.fault) {
        // Linux hides the details of page faults at kernel addresses.
        let hidden = vector == 14 && host.cr2 >= 0x7fff_ffff_f000;
        if !hidden && (h != g || vector == 14 && host.cr2 != guest.cr2) {
            found.push(format!("error {g:x} at {:x}, not {h:x} at {:x}", guest.cr2, host.cr2));
        }
    }
    let undefined = if host.fault.is_some() { 0 } else { undefined::mask(e, before) };
    if (host.after.flags ^ guest.after.flags) & FLAGS & !undefined != 0 {
        let (h, g, b) = (host.after.flags & FLAGS, guest.after.flags & FLAGS, before.flags & FLAGS);
        found.push(format!("flags: {g:x}, not {h:x}; before {b:x}"));
    }
    let columns =
        [("the interpreter", &guest.after, Some(undefined::OURS)), ("the host", &host.after, column)];
    for (name, after, column) in columns {
        let Some(column) = column else { continue };
        let (left, table) = (after.flags & undefined, undefined::flags(e, column, before, after) & undefined);
        if left != table {
            let (rax, flags) = (before.regs[0], before.flags);
            found.push(format!("undefined flags: {name} leaves {left:x}, the table has {table:x}; before RAX {rax:x}, flags {flags:x}"));
        }
    }
    found
}

struct Oracle {
    host: Host,
    guest: Guest,
    /// What the host leaves in undefined flags.
    column: Option<undefined::Column>,
    random: Random,
    cases: usize,
    run: usize,
    failures: Vec<String>,
}

impl Oracle {
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
            let form = Form { insn: &e.insn, code_size: bits };
            if table::handler(&form).is_none() {
                self.failures.push(format!("{bits} {code:?}: not implemented"));
                return;
            }
            self.host.load(&e.bytes, cases::is_breakpoint(&e.insn));
            self.guest.load(&e.bytes);
            for _ in 0..PER_ENCODING {
                done += 1;
                self.run += 1;
                let before = cases::registers(&e, bits, &mut self.random, &mut data);
                *self.host.data() = data;
                self.guest.set_data(&data);
                let host = self.host.run(bits, &before);
                let mut found = match self.guest.run(bits, &e.bytes, &before) {
                    Ok(guest) if exceptions::differs_on_amd(&e, &before, &host, &guest) => continue,
                    Ok(guest) => differences(&e, &before, &host, &guest, self.column),
                    Err(gap) => vec![gap],
                };
                let (h, g) = (*self.host.data(), self.guest.data());
                if h != g {
                    let at = (0..PAGE).find(|&n| h[n] != g[n]).unwrap_or(0);
                    let end = PAGE.min(at + 8);
                    found.push(format!("memory at {at:x}: {:x?}, not {:x?}", &g[at..end], &h[at..end]));
                }
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

/// What an old host may lack.
fn host_has_all() -> bool {
    let lacks = [
        ("bmi1", is_x86_feature_detected!("bmi1")),
        ("bmi2", is_x86_feature_detected!("bmi2")),
        ("adx", is_x86_feature_detected!("adx")),
        ("movbe", is_x86_feature_detected!("movbe")),
        ("lzcnt", is_x86_feature_detected!("lzcnt")),
        ("cmpxchg16b", is_x86_feature_detected!("cmpxchg16b")),
    ];
    let missing: Vec<_> = lacks.iter().filter(|(_, has)| !has).map(|(name, _)| *name).collect();
    if !missing.is_empty() {
        skip(&format!("the host's processor lacks {}", missing.join(", ")));
    }
    missing.is_empty()
}

/// One test for both modes: signal handlers and low addresses exist once in a process.
#[test]
fn integer_instructions_do_as_the_host_does() {
    if !host_has_all() {
        return;
    }
    let cases =
        std::env::var("EMU_ORACLE_CASES").map_or(CASES, |n| n.parse().expect("EMU_ORACLE_CASES is a number"));
    let implemented: HashSet<_> = table::rows().map(|row| row.mnemonic).collect();
    let random = Random::new(0x0a11_ce00);
    let (host, guest, column) = (Host::new(), Guest::new(), undefined::of_host());
    let mut oracle = Oracle { host, guest, column, random, cases, run: 0, failures: Vec::new() };
    let only = std::env::var("EMU_ORACLE_ONLY").ok();
    for bits in [64, 32] {
        let mut forms = 0;
        for code in Code::values() {
            let wanted = only.as_ref().is_none_or(|name| format!("{code:?}").starts_with(name.as_str()));
            if wanted && implemented.contains(&code.mnemonic()) && exceptions::is_subject(code, bits) {
                forms += 1;
                oracle.compare(code, bits);
            }
        }
        println!("{forms} forms in {bits}-bit code, {} cases so far", oracle.run);
    }
    let failures = &oracle.failures;
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
}
