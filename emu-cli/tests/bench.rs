//! `emu bench` as a process.

use std::fs;
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
