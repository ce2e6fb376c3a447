//! Public suites that are built elsewhere: test386 and KVM's unit tests.
//!
//! `EMU_TEST386` names a folder with test386.bin (OUT_PORT E9h, POST_PORT 80h) and its test386-EE-reference.txt;
//! `EMU_KVM_UNIT_TESTS` one with a build of KVM's unit tests for x86-64 (its x86/*.flat), `EMU_KVM_UNIT_TESTS_32` one
//! for i386. `docs/conformance.md` says which versions were run, how, and with what result.

use std::fs;
use std::path::Path;
use std::time::Duration;

use emu_tests::emulator::emu;
use emu_tests::external::named_folder;
use emu_tests::process::run;
use emu_tests::scratch::Scratch;

/// Exit status of a program of KVM's that reports success, and of one that had nothing to test.
const PASSED: i32 = 1;
const SKIPPED: i32 = 77;

#[test]
#[ignore = "needs a build of test386, named by EMU_TEST386"]
fn test386_writes_all_lines_of_its_reference() {
    let Some(folder) = named_folder("EMU_TEST386") else { return };
    let scratch = Scratch::new("test386");
    let log = scratch.path("log");
    let mut command =
        emu(["run", "--time", "virtual", "--timeout", "120", "--max-insns", "100000000", "--bios"]);
    command.arg(folder.join("test386.bin")).arg("--debugcon").arg(&log);
    let ended = run(command, b"", Duration::from_secs(150));
    let reference =
        fs::read_to_string(folder.join("test386-EE-reference.txt")).expect("the reference is there");
    let written = fs::read_to_string(&log).unwrap_or_default();
    assert_eq!(reference.lines().count(), 44_926, "the reference that this test knows");
    let wrong = written.lines().zip(reference.lines()).position(|(ours, theirs)| ours != theirs);
    assert_eq!((written.lines().count(), wrong), (44_926, None), "{}", ended.story());
}

/// Program, words for it, processors.
const PROGRAMS: [(&str, &str, u32); 33] = [
    ("access_test", "", 1),
    ("apic", "", 2),
    ("debug", "", 1),
    ("emulator", "", 1),
    ("eventinj", "", 1),
    ("hpet_read_test", "", 1),
    ("idt_test", "", 1),
    ("ioapic", "", 4),
    ("la57", "", 1),
    ("lam", "", 1),
    ("memory", "", 1),
    ("msr", "", 1),
    ("pcid", "", 1),
    ("pku", "", 1),
    ("rdpru", "", 1),
    ("realmode", "", 1),
    ("rmap_chain", "", 1),
    ("setjmp", "", 1),
    ("sieve", "", 1),
    ("smap", "", 1),
    ("smptest", "", 3),
    ("syscall", "", 1),
    ("tsc", "", 1),
    ("tsc_adjust", "", 1),
    ("tscdeadline_latency", "", 1),
    ("umip", "", 1),
    ("vmexit", "cpuid", 1),
    ("vmexit", "mov_from_cr8", 1),
    ("vmexit", "inl_from_pmtimer", 1),
    ("vmexit", "ipi", 2),
    ("vmexit", "tscdeadline", 1),
    ("vmexit", "toggle_cr4_pge", 2),
    ("xsave", "", 1),
];
const PROGRAMS_32: [(&str, &str, u32); 10] = [
    ("cmpxchg8b", "", 1),
    ("emulator", "", 1),
    ("eventinj", "", 1),
    ("msr", "", 1),
    ("realmode", "", 1),
    ("setjmp", "", 1),
    ("smap", "", 1),
    ("taskswitch", "", 1),
    ("taskswitch2", "", 1),
    ("umip", "", 1),
];

/// Programs that find all of their tests on another model than ours by default: with an instruction that Intel
/// withdrew, and, as the suite's own list wants it, on an AMD processor.
const MODELS: [(&str, &str); 2] = [("memory", "max,+pcommit"), ("syscall", "qemu64")];

/// Runs each program; a pass is the exit status and no line that begins with FAIL.
fn run_programs(folder: &Path, programs: &[(&str, &str, u32)]) {
    let scratch = Scratch::new("kvm-unit-tests");
    // Programs read their environment there. Without a hypervisor there are no hypercalls, which are the one thing that
    // this variable turns off.
    let environment = scratch.write("environment", b"TEST_DEVICE=0\n");
    let mut failures = Vec::new();
    for (program, words, processors) in programs {
        let image = folder.join("x86").join(format!("{program}.flat"));
        let mut command = emu(["run", "--debug-exit", "0xf4", "--serial", "stdio", "--timeout", "1800"]);
        command.arg("--kernel").arg(image).arg("--initrd").arg(&environment);
        if *processors > 1 {
            command.args(["--smp", &processors.to_string()]);
        }
        if !words.is_empty() {
            command.args(["--append", words]);
        }
        if let Some((_, model)) = MODELS.iter().find(|(name, _)| name == program) {
            command.args(["--cpu", model]);
        }
        let ended = run(command, b"", Duration::from_secs(1900));
        let text = ended.text();
        let failed = text.lines().any(|line| line.starts_with("FAIL"));
        println!("{program} {words}: status {:?}", ended.code());
        if failed || !matches!(ended.code(), Some(PASSED | SKIPPED)) {
            failures.push(format!("{program} {words}: {}", ended.story()));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
#[ignore = "takes an hour and needs a build of KVM's unit tests, named by EMU_KVM_UNIT_TESTS"]
fn kvm_unit_tests_pass() {
    if let Some(folder) = named_folder("EMU_KVM_UNIT_TESTS") {
        run_programs(&folder, &PROGRAMS);
    }
}

#[test]
#[ignore = "needs a build of KVM's unit tests for i386, named by EMU_KVM_UNIT_TESTS_32"]
fn kvm_unit_tests_of_32_bits_pass() {
    if let Some(folder) = named_folder("EMU_KVM_UNIT_TESTS_32") {
        run_programs(&folder, &PROGRAMS_32);
    }
}
