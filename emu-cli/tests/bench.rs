//! `emu bench` as a process.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

/// Ctrl-C ends a measurement early, and what was measured until then is kept.
#[test]
fn what_was_measured_is_kept_when_the_user_stops_it() {
    let json = std::env::temp_dir().join(format!("emu-bench-{}.json", std::process::id()));
    // How long a sample takes depends on what else the host does.
    let kept = [2, 8, 30, 120].into_iter().any(|seconds| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_emu"));
        command.args([
            "bench",
            "--guests",
            "kernel",
            "--engines",
            "jit",
            "--only",
            "selftest",
            "--rounds",
            "100000",
        ]);
        command.arg("--json").arg(&json).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn().expect("emu can be started");
        sleep(Duration::from_secs(seconds));
        kill_process(Pid::from_child(&child), Signal::INT).expect("it runs");
        let ended = child.wait_with_output().expect("it ends");
        let errors = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert!(errors.contains("stopped: this is what was measured"), "{errors}");
        assert_eq!(ended.status.signal(), Some(Signal::INT.as_raw()), "{errors}");
        let text = fs::read_to_string(&json).expect("the file is there");
        let report: serde_json::Value = serde_json::from_str(&text).expect("it is whole");
        let samples = &report["results"][0]["engines"][0]["seconds"];
        samples.as_array().is_some_and(|samples| !samples.is_empty())
    });
    let _ = fs::remove_file(&json);
    assert!(kept, "samples were kept");
}

/// The build that a report was made with is kept and runs in turn with the one that is held against it.
#[test]
fn a_comparison_runs_in_turn_with_the_build_of_the_report() {
    let cache = std::env::temp_dir().join(format!("emu-bench-cache-{}", std::process::id()));
    fs::create_dir_all(&cache).expect("a folder");
    let json = cache.join("old.json");
    let bench = |option: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_emu"));
        command.env("EMU_CACHE", &cache);
        command.args(["bench", "--guests", "kernel", "--engines", "jit", "--only", "boot", "--rounds", "2"]);
        let output = command.arg(option).arg(&json).output().expect("emu can be started");
        let [text, errors] =
            [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text).into_owned());
        assert!(output.status.success(), "{text}{errors}");
        text + &errors
    };
    bench("--json");
    let builds: Vec<_> = fs::read_dir(cache.join("builds")).expect("builds").flatten().collect();
    let [kept] = &builds[..] else { panic!("one build is kept, not {}", builds.len()) };
    let report: serde_json::Value =
        serde_json::from_slice(&fs::read(&json).expect("a report")).expect("JSON");
    assert_eq!(report["build"].as_str(), kept.file_name().to_str());
    // It is that file that runs: a script in its place leaves a trace.
    let trace = cache.join("trace");
    let script =
        format!("#!/bin/sh\ntouch '{}'\nexec '{}' \"$@\"\n", trace.display(), env!("CARGO_BIN_EXE_emu"));
    fs::write(kept.path(), script).expect("it can be replaced");
    fs::set_permissions(kept.path(), fs::Permissions::from_mode(0o755)).expect("it is ours");
    let text = bench("--compare");
    assert!(text.contains("in turn with the same build:"), "{text}");
    assert!(text.contains("of 1 changed beyond noise") && trace.exists(), "{text}");
    // Without it, the bundled kernel has nothing that seconds of another day could be held against.
    fs::remove_file(kept.path()).expect("it is there");
    let text = bench("--compare");
    assert!(text.contains("is not kept here") && text.contains("1 without native samples"), "{text}");
    let _ = fs::remove_dir_all(&cache);
}

/// A document's sections are filled, and the rest of it stays; one without sections is left alone.
#[test]
fn a_document_is_filled_with_what_was_measured() {
    let folder = std::env::temp_dir().join(format!("emu-bench-document-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a folder");
    let file = folder.join("speed.md");
    let words = |body: &str| format!("before\n<!-- emu bench: kernel -->\n{body}<!-- end -->\nbehind\n");
    let bench = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_emu"));
        command.env("EMU_CACHE", &folder).args(["bench", "--engines", "jit", "--rounds", "1", "--document"]);
        command.arg(&file).output().expect("emu can be started")
    };
    fs::write(&file, words("old\n")).expect("it can be written");
    let output = bench();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = fs::read_to_string(&file).expect("it is there");
    let (before, rest) = text.split_once("-->\n").expect("a section");
    let (body, behind) = rest.split_once("<!--").expect("its end");
    assert_eq!(format!("{before}-->\nold\n<!--{behind}"), words("old\n"));
    assert!(body.contains("| selftest") && body.contains(" ms |") && !body.contains("old"), "{body}");
    fs::write(&file, "no sections").expect("it can be written");
    let output = bench();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(2) && errors.contains("expected sections"), "{errors}");
    assert_eq!(fs::read_to_string(&file).expect("it is there"), "no sections");
    // A new document needs a folder.
    let output = Command::new(env!("CARGO_BIN_EXE_emu"))
        .args(["bench", "--engines", "jit", "--document"])
        .arg(folder.join("none/speed.md"))
        .output()
        .expect("emu can be started");
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(1) && errors.lines().count() == 1, "{errors}");
    assert!(!folder.join("none").exists());
    let _ = fs::remove_dir_all(&folder);
}

/// What is wrong with a file is said once, in one line.
#[test]
fn a_report_that_is_missing_is_told_in_one_line() {
    let output = Command::new(env!("CARGO_BIN_EXE_emu"))
        .args(["bench", "--compare", "/no/such.json"])
        .output()
        .expect("emu can be started");
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(1) && errors.lines().count() == 1, "{errors}");
    assert_eq!(errors.matches("No such file").count(), 1, "{errors}");
}
