//! `emu diff --against bochs`: our machine and Bochs, which its own debugger drives.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use emu_tests::emulator::emu;
use emu_tests::external;
use emu_tests::process::{Ended, run};
use emu_tests::scratch::Scratch;

const LIMIT: Duration = Duration::from_secs(240);

fn diff(args: &[&str]) -> Ended {
    run(emu([&["diff"], args].concat()), b"", LIMIT)
}

fn said(ended: &Ended) -> String {
    String::from_utf8_lossy(&[&ended.output[..], &ended.errors].concat()).into_owned()
}

#[test]
fn the_bundled_bios_and_kernel_do_as_on_bochs() {
    if !external::bochs() {
        return;
    }
    // The BIOS tests its chips and finds its disk; all registers 600 times.
    let ended = diff(&["run", "--against", "bochs", "--max-insns", "60000", "--every", "100"]);
    let text = said(&ended);
    assert!(text.contains("60000 instructions compared with Bochs"), "{text}");
    assert!(text.contains(" 0 kinds of differences"), "{text}");
    assert_eq!(ended.code(), Some(0), "{text}");
}

#[test]
fn random_instructions_do_as_on_bochs_or_the_difference_is_known() {
    if !external::bochs() {
        return;
    }
    for (bits, seed) in [("64", "408"), ("32", "303")] {
        let ended = diff(&["fuzz", "--against", "bochs", "--cases", "500", "--bits", bits, "--seed", seed]);
        let text = said(&ended);
        assert!(text.contains(" 0 kinds of differences"), "{text}");
        assert_eq!(ended.code(), Some(0), "{text}");
    }
}

/// A program that says it is Bochs with its debugger, and then does this.
fn pretender(scratch: &Scratch, name: &str, help: &str, then: &str) -> PathBuf {
    let script = format!("#!/bin/sh\nif [ \"$1\" = --help ]; then echo '{help}' >&2; exit 0; fi\n{then}\n");
    let path = scratch.write(name, script.as_bytes());
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

#[test]
fn trouble_with_bochs_is_one_clear_line() {
    let scratch = Scratch::new("bochs_pretenders");
    let one_line = |program: &str, parts: &[&str]| {
        let ended = diff(&["run", "--against", "bochs", "--bochs", program]);
        let text = said(&ended);
        assert_eq!(text.lines().count(), 1, "{text}");
        for part in parts {
            assert!(text.contains(part), "{part:?} is missing in {text}");
        }
        assert_eq!(ended.code(), Some(1), "{text}");
    };
    const HELP: &str = "Bochs x86 Emulator 2.7 -rc filename";
    one_line("/no/such/bochs", &["/no/such/bochs", "Debian package bochs"]);
    one_line("/bin/true", &["/bin/true", "no debugger"]);
    let gives_up = "echo 'Bochs is exiting with the following message:' >&2; echo '[ROM] no' >&2; exit 1";
    let gives_up = pretender(&scratch, "gives_up", HELP, gives_up);
    one_line(gives_up.to_str().unwrap(), &["[ROM] no", "after 0 instructions"]);
    let killed = pretender(&scratch, "killed", HELP, "kill -KILL $$");
    one_line(killed.to_str().unwrap(), &["Bochs ended", "SIGKILL", "after 0 instructions"]);
    let strange =
        pretender(&scratch, "strange", HELP, "echo '(0).[0] [0x0000fffffff0] f000:fff0 what'; sleep 1");
    one_line(strange.to_str().unwrap(), &["Bochs's log has a line", "what"]);
    // What it cannot be is said before it starts.
    for (args, part) in
        [(&["--smp", "2"][..], "--smp 2"), (&["--blocks"], "--blocks"), (&["--kernel", "/bin/true"], "")]
    {
        let ended =
            diff(&[&["run", "--against", "bochs", "--bochs", killed.to_str().unwrap()], args].concat());
        let text = said(&ended);
        assert!(text.lines().count() == 1 && text.contains(part) && ended.code() != Some(0), "{text}");
    }
}
