//! `emu diff` against QEMU: the beginning of the bundled kernel's boot and random instructions, among them system
//! instructions, without a difference that the list of known ones does not explain; and what can go wrong with QEMU.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use emu_tests::emulator::emu;
use emu_tests::external;
use emu_tests::process::{Ended, run};
use emu_tests::scratch::Scratch;

const LIMIT: Duration = Duration::from_secs(280);

fn diff(args: &[&str]) -> Ended {
    run(emu([&["diff"], args].concat()), b"", LIMIT)
}

/// Standard error; the comparison says nothing on standard output.
fn said(ended: &Ended) -> String {
    assert!(ended.output.is_empty());
    String::from_utf8_lossy(&ended.errors).into_owned()
}

#[test]
fn the_bundled_kernel_boots_as_on_qemu_instruction_by_instruction() {
    if !external::qemu() {
        return;
    }
    // Both firmware's POST, the boot sector, protected mode and long mode lie in these.
    let ended = diff(&["run", "--against", "qemu", "--max-insns", "500000"]);
    let text = said(&ended);
    assert!(
        text.contains("500000 instructions compared") && text.contains(" 0 kinds of differences"),
        "{text}"
    );
    assert_eq!(ended.code(), Some(0), "{text}");
}

#[test]
fn random_instructions_do_as_on_qemu_or_the_difference_is_known() {
    if !external::qemu() {
        return;
    }
    let ended = diff(&["fuzz", "--against", "qemu", "--cases", "500", "--bits", "64", "--seed", "1"]);
    let text = said(&ended);
    assert!(text.contains(" 0 kinds of differences"), "{text}");
    assert_eq!(ended.code(), Some(0), "{text}");
}

#[test]
fn random_instructions_do_as_on_the_host() {
    let scratch = Scratch::new("against_host");
    let report = scratch.path("report.json");
    let ended =
        diff(&["fuzz", "--against", "host", "--cases", "200000", "--report", report.to_str().unwrap()]);
    let text = said(&ended);
    if text.contains("this processor lacks") {
        return external::skip(&text);
    }
    assert!(text.contains(" 0 kinds of differences"), "{text}");
    assert_eq!(ended.code(), Some(0), "{text}");
    let report: serde_json::Value = serde_json::from_slice(&fs::read(report).unwrap()).unwrap();
    assert!(report["cases"].as_u64().unwrap() >= 200_000, "{report}");
}

#[test]
fn a_wrong_register_is_found_where_it_becomes_wrong() {
    if !external::qemu() {
        return;
    }
    // Without the list of known differences the first one is told: CR0 is set, and CS has other rights there.
    let scratch = Scratch::new("no_known");
    let none = scratch.write("known", b"# nothing\n");
    let ended =
        diff(&["run", "--against", "qemu", "--max-insns", "500000", "--known", none.to_str().unwrap()]);
    let text = said(&ended);
    assert!(text.contains("mov cr0,eax") && text.contains("cs.rights"), "{text}");
    assert_eq!(ended.code(), Some(5), "{text}");
}

/// A program that says it is QEMU and then does this with the file for its log.
fn pretender(scratch: &Scratch, then: &str) -> PathBuf {
    let script = format!(
        "#!/bin/sh\nif [ \"$1\" = --version ]; then echo 'QEMU emulator version 7.2.22'; exit 0; fi\n\
         while [ \"$1\" != -D ]; do shift; done\n{then}\n"
    );
    let path = scratch.write("qemu", script.as_bytes());
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

#[track_caller]
fn one_line(program: &str, parts: &[&str]) {
    let ended = diff(&["run", "--against", "qemu", "--qemu", program]);
    let text = said(&ended);
    assert_eq!(text.lines().count(), 1, "{text}");
    for part in parts {
        assert!(text.contains(part), "{part:?} is missing in {text}");
    }
    assert_eq!(ended.code(), Some(1), "{text}");
}

#[test]
fn trouble_with_qemu_is_one_clear_line() {
    let scratch = Scratch::new("pretenders");
    one_line("/no/such/qemu", &["/no/such/qemu", "qemu-system-x86"]);
    one_line("/bin/true", &["/bin/true", "version"]);
    let dies = pretender(&scratch, "echo 'qemu: out of luck' >&2; exit 3");
    one_line(dies.to_str().unwrap(), &["out of luck", "after 0 instructions"]);
    let cut = pretender(&scratch, "printf 'Trace 0: 0x0 [0/0/0/0] \\nEAX=00000000 EBX=0' > $2");
    one_line(cut.to_str().unwrap(), &["ends in the middle of a step"]);
}
