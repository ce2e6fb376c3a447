//! Text made from a trace against QEMU's log of the same firmware, which reads no chip: every instruction's address,
//! general registers and flags, in real mode, in protected mode and in long mode.

use std::fmt::Write as _;
use std::fs;
use std::process::Command;
use std::time::Duration;

use emu_diff::fuzz::image::{self, EXIT_PORT};
use emu_diff::lockstep::step::Steps as _;
use emu_diff::qemu::log::Log;
use emu_diff::random::Random;
use emu_diff::state::REGISTERS;
use emu_tests::emulator::emu;
use emu_tests::external;
use emu_tests::process::run;
use emu_tests::scratch::Scratch;
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(120);
/// EFLAGS that are compared; RF is not kept as hardware does by QEMU.
const FLAGS: u64 = 0xffff & !(1 << 1);

const RDX: usize = 2;

/// One line for each instruction. EDX tells the processor's model after a reset: `model`.
fn line(text: &mut String, linear: u64, regs: &[u64; 16], flags: u64, narrow: bool, model: u64) {
    let mut regs = *regs;
    if regs[RDX] == model {
        regs[RDX] = 0;
    }
    write!(text, "{linear:x}").unwrap();
    for (name, value) in REGISTERS.iter().zip(&regs).take(if narrow { 8 } else { 16 }) {
        write!(text, " {name}={:x}", if narrow { value & 0xffff_ffff } else { *value }).unwrap();
    }
    writeln!(text, " rflags={:x}", flags & FLAGS).unwrap();
}

fn number(value: &Value) -> u64 {
    match value.as_str() {
        Some(hex) => u64::from_str_radix(hex.trim_start_matches("0x"), 16).expect("a hexadecimal number"),
        None => value.as_u64().expect("a number"),
    }
}

/// The lines of a trace that was exported as JSON: registers before each instruction.
fn of_trace(json: &str, narrow: &[bool]) -> String {
    let (mut text, mut regs, mut flags, mut at) = (String::new(), [0; 16], 0, 0);
    let mut model = None;
    for item in json.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON")) {
        if item["event"].is_string() {
            if item["kind"] == 0 {
                // Registers that were not seen to change: a mask, then their values.
                let data: Vec<u64> = item["data"].as_array().unwrap().iter().map(number).collect();
                let numbers = (0..=16).filter(|n| data[0] >> n & 1 != 0);
                numbers
                    .zip(&data[1..])
                    .for_each(|(n, value)| *regs.get_mut(n).unwrap_or(&mut flags) = *value);
            }
            continue;
        }
        if item["delivery"].is_null() {
            let narrow = narrow.get(at).copied().unwrap_or(false);
            let model = *model.get_or_insert(regs[RDX]);
            line(&mut text, number(&item["address"]), &regs, flags, narrow, model);
            at += 1;
        }
        for (name, value) in item["registers"].as_object().expect("registers") {
            match REGISTERS.iter().position(|register| register == name) {
                Some(n) => regs[n] = number(value),
                None => flags = number(value),
            }
        }
    }
    text
}

#[test]
fn text_of_a_trace_equals_the_log_of_qemu() {
    if !external::qemu() {
        return;
    }
    let scratch = Scratch::new("trace_against_qemu");
    // The way from the reset vector to 64-bit code: tables are copied and made in loops.
    let image = image::build(64, false, 0, &mut Random::new(1));
    let bios = scratch.write("bios", &image.bytes);
    let (bios, log) = (bios.to_str().unwrap(), scratch.path("log"));
    let exit = format!("isa-debug-exit,iobase={EXIT_PORT:#x},iosize=4");
    let mut qemu = Command::new(external::QEMU);
    qemu.args([
        "-accel",
        "tcg",
        "-singlestep",
        "-display",
        "none",
        "-nic",
        "none",
        "-m",
        "64M",
        "-bios",
        bios,
    ]);
    qemu.args(["-d", "exec,cpu,nochain", "-device", &exit, "-D"]).arg(&log);
    let ended = run(qemu, b"", LIMIT);
    assert!(ended.code().is_some_and(|code| code & 1 == 1), "{}", ended.story());
    let mut steps = Log::new(std::io::BufReader::new(fs::File::open(&log).unwrap()));
    let (mut theirs, mut narrow, mut last, mut model) = (String::new(), Vec::new(), 0, None);
    while let Some(step) = steps.take().unwrap() {
        let state = &step.state;
        let linear = (state.seg[1].base + state.rip) & if step.narrow { 0xffff_ffff } else { u64::MAX };
        // An iteration of a repeated instruction, which the trace has as one.
        if std::mem::replace(&mut last, linear) == linear {
            continue;
        }
        let model = *model.get_or_insert(state.regs[RDX]);
        line(&mut theirs, linear, &state.regs, state.flags, step.narrow, model);
        narrow.push(step.narrow);
    }
    let exit = format!("{EXIT_PORT:#x}");
    for engine in ["interp", "jit"] {
        let trace = scratch.path(engine);
        let trace = trace.to_str().unwrap();
        let arguments =
            ["--accel", engine, "-m", "64M", "--bios", bios, "--debug-exit", &exit, "--trace", trace];
        run(emu(arguments), b"", LIMIT);
        let json = run(emu(["trace", "export", "--format", "json", trace]), b"", LIMIT);
        let ours = of_trace(&json.text(), &narrow);
        assert!(ours.lines().count() > 1000, "{} instructions", ours.lines().count());
        let (ours, theirs): (Vec<_>, Vec<_>) = (ours.lines().collect(), theirs.lines().collect());
        let parted = ours.iter().zip(&theirs).position(|(a, b)| a != b);
        assert!(
            parted.is_none() && ours.len() == theirs.len(),
            "{engine}: instruction {parted:?} of {} and {}\n{:?}\n{:?}",
            ours.len(),
            theirs.len(),
            parted.map(|n| ours[n]),
            parted.map(|n| theirs[n])
        );
    }
}
