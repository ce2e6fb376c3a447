//! A run in virtual time is the same each time: its log of state hashes is equal byte for byte.

use std::fs;
use std::time::Duration;

use emu_tests::emulator::emu;
use emu_tests::process::{Ended, run};
use emu_tests::scratch::Scratch;

const LIMIT: Duration = Duration::from_secs(120);

/// Runs the bundled kernel with this input; returns how it ended and its log.
fn logged(scratch: &Scratch, every: &str, arguments: &[&str], input: &[u8]) -> (Ended, String) {
    let log = scratch.path("hashes.log");
    let _ = fs::remove_file(&log);
    let mut command = emu(["--hash-every", every, "--hash-log"]);
    command.arg(&log).args(arguments);
    let ended = run(command, input, LIMIT);
    let text = fs::read_to_string(&log).unwrap_or_else(|error| panic!("{error}: {}", ended.story()));
    (ended, text)
}

/// Checks that the log has a line for every `every` instructions, and that state changes from line to line.
fn sound(log: &str, every: u64) {
    let hashes: Vec<&str> = log
        .lines()
        .enumerate()
        .map(|(n, line)| {
            let mut fields = line.split(' ');
            let count = u64::from_str_radix(fields.next().unwrap(), 16).unwrap();
            assert_eq!(count, every * (n as u64 + 1), "{line}");
            fields.nth(1).unwrap()
        })
        .collect();
    assert!(!hashes.is_empty());
    assert!(hashes.windows(2).all(|pair| pair[0] != pair[1]), "{log}");
}

#[test]
fn a_session_by_standard_input_repeats() {
    let scratch = Scratch::new("repeatable_session");
    let input = b"selftest; poweroff\n";
    let (first, log) = logged(&scratch, "1000000", &[], input);
    assert_eq!(first.code(), Some(0), "{}", first.story());
    sound(&log, 1_000_000);
    let (second, again) = logged(&scratch, "1000000", &[], input);
    assert_eq!(second.code(), Some(0), "{}", second.story());
    assert_eq!(first.text(), second.text(), "the guest's output");
    assert!(log == again, "the logs differ:\n{log}\n{again}");
}

#[test]
fn a_run_without_input_repeats() {
    let scratch = Scratch::new("repeatable_idle");
    let limit = ["--max-insns", "6000000"];
    let (first, log) = logged(&scratch, "50000", &limit, b"");
    assert_eq!(first.code(), Some(4), "{}", first.story());
    sound(&log, 50_000);
    let (second, again) = logged(&scratch, "50000", &limit, b"");
    assert_eq!((second.code(), first.text()), (Some(4), second.text()));
    assert!(log == again, "the logs differ");
}

#[test]
fn other_input_gives_another_log() {
    let scratch = Scratch::new("repeatable_other");
    let (_, one) = logged(&scratch, "10000", &[], b"uname; poweroff\n");
    let (_, two) = logged(&scratch, "10000", &[], b"uptime; poweroff\n");
    let same = one.lines().zip(two.lines()).take_while(|(a, b)| a == b).count();
    assert!(same > 0, "both boot alike");
    assert!(one != two);
}

#[test]
fn both_engines_write_the_same_log() {
    let scratch = Scratch::new("repeatable_engines");
    let input = b"selftest; ps; run primes 2000; poweroff\n";
    let (first, log) = logged(&scratch, "100000", &["--accel", "interp"], input);
    assert_eq!(first.code(), Some(0), "{}", first.story());
    sound(&log, 100_000);
    let (second, translated) = logged(&scratch, "100000", &["--accel", "jit"], input);
    assert_eq!((second.code(), first.text()), (Some(0), second.text()));
    let parted = log.lines().zip(translated.lines()).find(|(one, other)| one != other);
    assert!(log == translated, "the engines part at {parted:?}");
}
