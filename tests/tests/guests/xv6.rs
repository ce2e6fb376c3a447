//! xv6 for x86: its user tests, on one and two processors.
//!
//! `EMU_XV6` names a folder with `xv6.img` and `fs.img`, made by `make xv6.img fs.img` in a copy of
//! mit-pdos/xv6-public.

use std::fs;
use std::time::Duration;

use emu_tests::emulator::emu;
use emu_tests::external::named_folder;
use emu_tests::process::Running;
use emu_tests::scratch::Scratch;

const LIMIT: Duration = Duration::from_secs(3600);

fn user_tests_pass(engine: &str, cpus: u32) {
    let Some(folder) = named_folder("EMU_XV6") else { return };
    let scratch = Scratch::new(&format!("xv6-{engine}-{cpus}"));
    let copy = |name: &str| scratch.write(name, &fs::read(folder.join(name)).expect("EMU_XV6 has the image"));
    let mut command = emu(["--accel", engine, "--smp", &cpus.to_string(), "-m", "512M", "--drive"]);
    command.arg(copy("xv6.img")).arg("--drive").arg(copy("fs.img"));
    let mut running = Running::start(command, LIMIT);
    if running.wait_for("init: starting sh\n$ ") {
        // The shell comes to the second line when the tests have ended, however they did.
        running.send(b"usertests\necho the-end\n");
        running.wait_for("$ the-end");
    }
    let ended = running.kill();
    let text = ended.text();
    // The other processors tell that they have started, too.
    for number in 0..cpus {
        assert!(text.contains(&format!("cpu{number}: starting")), "{}", ended.story());
    }
    assert!(text.contains("ALL TESTS PASSED\n") && !text.contains("panic"), "{}", ended.story());
}

#[test]
#[ignore = "takes minutes and needs a build of xv6, named by EMU_XV6"]
fn xv6_passes_its_user_tests() {
    user_tests_pass("jit", 1);
}

#[test]
#[ignore = "takes minutes and needs a build of xv6, named by EMU_XV6"]
fn xv6_passes_its_user_tests_on_two_processors() {
    user_tests_pass("jit", 2);
}

#[test]
#[ignore = "takes minutes and needs a build of xv6, named by EMU_XV6"]
fn xv6_passes_its_user_tests_on_the_interpreter() {
    user_tests_pass("interp", 1);
}

#[test]
#[ignore = "takes minutes and needs a build of xv6, named by EMU_XV6"]
fn xv6_passes_its_user_tests_on_two_processors_on_the_interpreter() {
    user_tests_pass("interp", 2);
}
