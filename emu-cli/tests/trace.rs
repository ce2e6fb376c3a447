//! `emu run --trace` and `emu trace` by the real command.

mod common;

use std::fs;
use std::process::{Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use common::{Scratch, command, emu, emu_with_input, refused, stderr};

/// What a run printed, when it went well.
#[track_caller]
fn text(args: &[&str]) -> String {
    let output = emu(args);
    assert_eq!(output.status.code(), Some(0), "emu {args:?}: {}", stderr(&output));
    String::from_utf8(output.stdout).unwrap()
}

/// Runs firmware for so many instructions with a trace, which it returns the name of.
fn traced(scratch: &Scratch, code: &[u8], count: u64, more: &[&str]) -> String {
    let (bios, trace) = (scratch.bios(code), scratch.name("trace"));
    let count = count.to_string();
    let mut args = vec!["--bios", &bios, "--max-insns", &count, "--timeout", "100", "--trace", &trace];
    args.extend(more);
    let output = emu(&args);
    assert_eq!(output.status.code(), Some(4), "{}", stderr(&output));
    trace
}

/// Writes 1111h, then (in the third round) 2222h to 0:5000h; counts rounds in CX.
const CORRUPTS: [u8; 29] = [
    0x31, 0xc0, // xor ax, ax
    0x8e, 0xd8, // mov ds, ax
    0x31, 0xc9, // xor cx, cx
    0xc7, 0x06, 0x00, 0x50, 0x11, 0x11, // mov word [5000h], 1111h
    0x41, // inc cx
    0x83, 0xf9, 0x03, // cmp cx, 3
    0x75, 0x06, // jne +6
    0xc7, 0x06, 0x00, 0x50, 0x22, 0x22, // mov word [5000h], 2222h
    0xa1, 0x00, 0x50, // mov ax, [5000h]
    0xeb, 0xef, // jmp -17: inc cx
];

#[test]
fn a_trace_shows_instructions_with_what_they_changed() {
    let scratch = Scratch::new("trace-show");
    let trace = traced(&scratch, &CORRUPTS, 40, &[]);
    let shown = text(&["trace", "show", &trace]);
    let lines: Vec<&str> = shown.lines().collect();
    let find = |part: &str| {
        lines.iter().find(|line| line.contains(part)).unwrap_or_else(|| panic!("{part}: {shown}"))
    };
    assert!(find("jmp").contains("f000:fff0"), "{shown}");
    assert!(find("0x1111").contains("[5000]<-1111"), "{shown}");
    assert!(find("0x2222").contains("[5000]<-2222"), "{shown}");
    assert!(shown.contains("[5000]->1111 rax=1111") && shown.contains("[5000]->2222 rax=2222"), "{shown}");
    assert_eq!(lines.iter().filter(|line| !line.contains('*')).count(), 40, "{shown}");
    let att = text(&["trace", "show", &trace, "--syntax", "att", "--brief", "-n", "7"]);
    assert!(att.contains("movw") && !att.contains("<-"), "{att}");
    let part = text(&["trace", "show", &trace, "--from", "10", "--to", "12", "--brief"]);
    assert_eq!(part.lines().count(), 3, "{part}");
    assert!(part.trim_start().starts_with("10 "), "{part}");
}

#[test]
fn queries_find_a_planted_corruption() {
    let scratch = Scratch::new("trace-who-wrote");
    let trace = traced(&scratch, &CORRUPTS, 60, &[]);
    let wrote = text(&["trace", "who-wrote", &trace, "0x5000"]);
    assert!(wrote.contains("0x2222") && wrote.lines().count() == 1, "{wrote}");
    let count: u64 = wrote.split_whitespace().next().unwrap().parse().unwrap();
    let earlier = text(&["trace", "who-wrote", &trace, "0x5001", "--before", &count.to_string()]);
    assert!(earlier.contains("0x1111"), "{earlier}");
    let physical = text(&["trace", "who-wrote", &trace, "0x5000", "--physical", "--all"]);
    assert_eq!(physical.lines().count(), 2, "{physical}");
    let output = emu(&["trace", "who-wrote", &trace, "0x6000"]);
    assert!(stderr(&output).contains("no write"), "{}", stderr(&output));
    let value = text(&["trace", "last-value", &trace, "rax", "--before", &count.to_string()]);
    assert!(value.starts_with("rax = 0x1111\n"), "{value}");
    let found = text(&["trace", "grep", &trace, "--text", "mov ax", "--value", "0x2222"]);
    assert!(found.lines().all(|line| line.contains("rax=2222")) || found.contains("->2222"), "{found}");
    refused(&["trace", "last-value", &trace, "rzx"], 2, &["rzx", "rax"]);
    refused(&["trace", "grep", &trace], 2, &["grep"]);
    let stats = text(&["trace", "stats", &trace]);
    assert!(stats.contains("60 instructions") && stats.contains("inc"), "{stats}");
}

#[test]
fn filters_leave_out_what_is_not_asked_for() {
    let scratch = Scratch::new("trace-filters");
    let counts = |more: &[&str]| -> Vec<u64> {
        let trace = traced(&scratch, &CORRUPTS, 60, more);
        let shown = text(&["trace", "show", &trace, "--brief"]);
        shown.lines().map(|line| line.split_whitespace().next().unwrap().parse().unwrap()).collect()
    };
    assert_eq!(counts(&["--trace-start", "count:20", "--trace-stop", "count:25"]), [20, 21, 22, 23, 24]);
    assert_eq!(counts(&["--trace-sample", "2/20"]), [0, 1, 20, 21, 40, 41]);
    // The linear address of INC CX.
    let inc = counts(&["--trace-range", "0xfe00c+1"]);
    assert!(inc.len() > 5 && inc.windows(2).all(|pair| pair[1] > pair[0] + 3), "{inc:?}");
    assert_eq!(counts(&["--trace-physical", "0xfe00c-0xfe00c"]), inc);
    assert!(counts(&["--trace-cpl", "3"]).is_empty());
    assert_eq!(counts(&["--trace-start", "at:0xfe00c"])[0], inc[0]);
    refused(&["--trace-start", "count:1"], 2, &["--trace"]);
    refused(&["--trace", "t", "--trace-range", "5-1"], 2, &["--trace-range"]);
}

#[test]
fn vector_and_x87_registers_are_recorded() {
    let scratch = Scratch::new("trace-vectors");
    let code = [
        0x0f, 0x20, 0xe0, 0x66, 0x0d, 0x00, 0x06, 0x00, 0x00, 0x0f, 0x22,
        0xe0, // cr4 |= OSFXSR, OSXMMEXCPT
        0x66, 0xb8, 0x44, 0x33, 0x22, 0x11, // mov eax, 11223344h
        0x66, 0x0f, 0x6e, 0xc8, // movd xmm1, eax
        0x66, 0x0f, 0x70, 0xd1, 0x00, // pshufd xmm2, xmm1, 0
        0x0f, 0x2e, 0xd1, // ucomiss xmm2, xmm1
        0xdb, 0xe3, // fninit
        0xd9, 0xe8, // fld1
        0xd8, 0xc0, // fadd st, st(0)
        0x66, 0x0f, 0xef, 0xd2, // pxor xmm2, xmm2
        0xeb, 0xfe, // jmp $
    ];
    let trace = traced(&scratch, &code, 30, &[]);
    let shown = text(&["trace", "show", &trace]);
    let behind = |part: &str| {
        let at =
            shown.lines().position(|line| line.contains(part)).unwrap_or_else(|| panic!("{part}: {shown}"));
        shown.lines().nth(at + 1).unwrap().trim_start().to_owned()
    };
    assert_eq!(behind("movd xmm1"), "* xmm1=00000000000000000000000011223344");
    assert_eq!(behind("pshufd xmm2"), "* xmm2=11223344112233441122334411223344");
    assert!(!behind("ucomiss").starts_with('*'), "nothing changed: {shown}");
    assert_eq!(behind("fld1"), "* st0=3fff8000000000000000 fctrl=037f fstat=3800 fvalid=80");
    assert!(behind("fadd").starts_with("* st0=40008000000000000000 "), "{shown}");
    assert_eq!(behind("pxor"), "* xmm2=00000000000000000000000000000000");
    let value = text(&["trace", "last-value", &trace, "xmm2"]);
    assert!(value.starts_with("xmm2 = 0x0\n") && value.contains("pxor"), "{value}");
    let count = value.lines().nth(1).unwrap().split_whitespace().next().unwrap().to_owned();
    let value = text(&["trace", "last-value", &trace, "xmm2", "--before", &count]);
    assert!(value.starts_with("xmm2 = 0x11223344112233441122334411223344\n"), "{value}");
    assert!(text(&["trace", "last-value", &trace, "st0"]).contains("fadd"));
    let found = text(&["trace", "grep", &trace, "--value", "0x1122334411223344"]);
    assert!(found.contains("pshufd") && found.lines().count() == 2, "{found}");
    let json = text(&["trace", "export", "--format", "json", &trace]);
    assert!(json.contains("st0=3fff8000000000000000"), "{json}");
    let whole = scratch.name("whole");
    fs::rename(&trace, &whole).unwrap();
    let without = traced(&scratch, &code, 30, &["--trace-no-vectors"]);
    assert!(!text(&["trace", "show", &without]).contains("* xmm"), "left out");
    let output = emu(&["trace", "diff", &whole, &without]);
    assert_eq!(output.status.code(), Some(5), "{}", stderr(&output));
}

#[test]
fn a_port_that_is_written_starts_and_stops_recording() {
    let scratch = Scratch::new("trace-ports");
    // nop; out 80h, al; nop; nop; in al, 81h; out 81h, al; jmp to the first nop
    let code = [0x90, 0xe6, 0x80, 0x90, 0x90, 0xe4, 0x81, 0xe6, 0x81, 0xeb, 0xf5];
    let recorded = |more: &[&str]| -> Vec<u64> {
        let trace = traced(&scratch, &code, 60, more);
        let shown = text(&["trace", "show", &trace, "--brief"]);
        let recorded = shown.lines().filter(|line| !line.contains('*'));
        recorded.map(|line| line.split_whitespace().next().unwrap().parse().unwrap()).collect()
    };
    // Instruction 0 is the jump at the reset vector; each round has seven. Reading port 81h ends nothing.
    let both = recorded(&["--trace-start", "port:0x80", "--trace-stop", "port:0x81"]);
    assert_eq!(both, [3, 4, 5, 6], "behind the write to 80h, up to the write to 81h");
    assert_eq!(recorded(&["--trace-stop", "port:0x80"]), [0, 1, 2]);
    assert_eq!(recorded(&["--trace-start", "port:0x81"])[0], 7);
    assert!(recorded(&["--trace-start", "port:0x82"]).is_empty());
    refused(&["--trace", "t", "--trace-start", "port:0x10000"], 2, &["--trace-start", "port:PORT"]);
}

#[test]
fn a_trace_of_one_cr3_has_one_address_space() {
    let scratch = Scratch::new("trace-cr3");
    let record = |name: &str, more: &[&str]| {
        let trace = scratch.name(name);
        let output = emu_with_input(&[&["--trace", &trace], more].concat(), b"run primes 10; poweroff\n");
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        trace
    };
    let whole = record("whole", &[]);
    let user_mode = |trace: &str| text(&["trace", "grep", trace, "--cpl", "3"]);
    let user = user_mode(&whole);
    let count = user.lines().last().expect("the program ran").split_whitespace().next().unwrap().to_owned();
    let value = text(&["trace", "last-value", &whole, "cr3", "--before", &count]);
    let cr3 = value.split_whitespace().nth(2).expect("cr3 = VALUE").to_owned();
    let part = record("part", &["--trace-cr3", &cr3]);
    let steps = |trace: &str| {
        let lines = text(&["trace", "show", trace, "--brief"]);
        lines.lines().filter(|line| !line.contains('*')).map(str::to_owned).collect::<Vec<_>>()
    };
    let (all, some) = (steps(&whole), steps(&part));
    assert!(some.len() > 1000 && some.len() < all.len() / 2, "{} of {}", some.len(), all.len());
    let instructions = |lines: &str| lines.lines().filter(|line| !line.contains('*')).count();
    assert_eq!(instructions(&user_mode(&part)), instructions(&user), "the program is in it as a whole");
    let shown = text(&["trace", "show", &part]);
    let others = shown.lines().filter(|line| line.contains(" cr3=") && !line.contains(&cr3[2..])).count();
    assert_eq!(others, 0, "{cr3} alone");
    assert!(text(&["trace", "show", &record("none", &["--trace-cr3", "0x1234"])]).is_empty());
}

/// Boots the bundled kernel with some input; returns the run and its hash log.
fn session(scratch: &Scratch, accel: &str, trace: Option<&str>) -> (Output, String) {
    let log = scratch.name("hashes");
    let mut args = vec!["--accel", accel, "--hash-every", "100000", "--hash-log", &log];
    if let Some(trace) = trace {
        args.extend(["--trace", trace]);
    }
    let output = emu_with_input(&args, b"uname; poweroff\n");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    (output, fs::read_to_string(&log).unwrap())
}

#[test]
fn tracing_changes_nothing_and_both_engines_leave_the_same_trace() {
    let scratch = Scratch::new("trace-engines");
    let (plain, hashes) = session(&scratch, "jit", None);
    let traces = ["interp", "jit"].map(|accel| {
        let trace = scratch.name(accel);
        let (output, log) = session(&scratch, accel, Some(&trace));
        assert_eq!(output.stdout, plain.stdout, "{accel}");
        assert!(log == hashes, "{accel}: the hash logs differ");
        trace
    });
    let equal = text(&["trace", "diff", &traces[0], &traces[1], "--to", "300000"]);
    assert!(equal.contains("the traces are equal"), "{equal}");
    let elsewhere = traced(&scratch, &CORRUPTS, 40, &[]);
    let output = emu(&["trace", "diff", &traces[0], &elsewhere]);
    assert_eq!(output.status.code(), Some(5), "{}", stderr(&output));
    assert!(String::from_utf8_lossy(&output.stdout).contains("the traces part"), "{output:?}");
    kernel_queries(&scratch, &traces[0]);
}

/// With the kernel's symbols: calls, flame graphs, coverage, exports.
fn kernel_queries(scratch: &Scratch, trace: &str) {
    let stats = text(&["trace", "stats", trace]);
    let bytes: f64 = stats.lines().next().unwrap().rsplit(' ').nth(2).unwrap().parse().unwrap();
    assert!(bytes < 3.0, "{stats}");
    let elf = scratch.write("kernel.elf", emu_guest::KERNEL_ELF);
    let part = ["--symbols", &elf, "--to", "1500000"];
    let query = |what: &[&str]| text(&[&["trace"], what, &[trace], &part[..]].concat());
    assert!(query(&["calls", "--depth", "5"]).lines().count() > 50);
    let folded = query(&["flame"]);
    assert!(folded.lines().all(|line| line.rsplit_once(' ').is_some_and(|(_, n)| n.parse::<u64>().is_ok())));
    assert!(folded.contains(';'), "{folded}");
    let svg = query(&["flame", "--svg"]);
    assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"));
    let perfetto: serde_json::Value =
        serde_json::from_str(&query(&["export", "--format", "perfetto"])).unwrap();
    assert!(perfetto.as_array().is_some_and(|spans| spans.len() > 100));
    let lines = text(&["trace", "export", "--format", "json", trace, "--to", "1000"]);
    for line in lines.lines() {
        serde_json::from_str::<serde_json::Value>(line).unwrap();
    }
    let drcov = scratch.name("cov");
    query(&["coverage", "--output", &drcov]);
    let file = fs::read(&drcov).unwrap();
    let at = file.windows(9).position(|bytes| bytes == b"BB Table:").unwrap();
    let line = String::from_utf8_lossy(&file[at..]).lines().next().unwrap().to_owned();
    let count: usize = line.split(' ').nth(2).unwrap().parse().unwrap();
    assert_eq!(file.len() - at - line.len() - 1, 8 * count, "{line}");
}

#[test]
fn each_processor_has_its_own_calls() {
    let scratch = Scratch::new("trace-calls-smp");
    let trace = scratch.name("trace");
    let output = emu_with_input(&["--smp", "2", "--trace", &trace], b"poweroff\n");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let spans: serde_json::Value =
        serde_json::from_str(&text(&["trace", "export", "--format", "perfetto", &trace])).unwrap();
    // Open spans and the time of the last change, of each thread.
    let mut threads = [(0i64, 0f64); 2];
    for span in spans.as_array().unwrap() {
        let (depth, time) = &mut threads[span["tid"].as_u64().unwrap() as usize - 1];
        match span["ph"].as_str().unwrap() {
            "M" => continue,
            "B" => *depth += 1,
            _ => *depth -= 1,
        }
        let ts = span["ts"].as_f64().unwrap();
        assert!(*depth >= 0 && ts >= *time, "{span}");
        *time = ts;
    }
    assert!(threads.iter().all(|&(depth, time)| depth == 0 && time > 0.0), "{threads:?}");
    let calls = text(&["trace", "calls", &trace]);
    assert!(calls.lines().any(|line| line.contains(" cpu1 ")), "{calls}");
}

#[test]
fn what_cannot_be_written_or_read_is_one_line() {
    let scratch = Scratch::new("trace-trouble");
    refused(&["--trace", "/dev/full", "--max-insns", "1000"], 1, &["--trace", "/dev/full", "No space left"]);
    refused(&["--trace", "/nowhere/trace", "--max-insns", "1000"], 1, &["--trace", "/nowhere/trace"]);
    let foreign = scratch.write("foreign", b"#!/bin/sh\necho this is no trace\n");
    refused(&["trace", "stats", &foreign], 1, &["foreign", "expected a trace"]);
    let empty = scratch.write("empty", b"");
    refused(&["trace", "stats", &empty], 1, &["empty", "expected a trace"]);
    let mut newer = b"EMUTRACE".to_vec();
    newer.extend([9, 0, 0, 0, 0, 0, 0, 0]);
    let newer = scratch.write("newer", &newer);
    refused(&["trace", "stats", &newer], 1, &["version 9", "version 1"]);
    refused(&["trace", "stats", "/nowhere"], 1, &["/nowhere"]);
}

#[test]
fn a_torn_end_loses_only_the_last_chunk() {
    let scratch = Scratch::new("trace-torn");
    let trace = traced(&scratch, &[0x40, 0xeb, 0xfd], 2_500_000, &[]); // inc ax; jmp $-1
    let whole = text(&["trace", "stats", &trace]);
    assert!(whole.contains("2500000 instructions") && !whole.contains("in 1 chunks"), "{whole}");
    let bytes = fs::read(&trace).unwrap();
    let torn = scratch.write("torn", &bytes[..bytes.len() - 10]);
    let output = emu(&["trace", "stats", &torn]);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(stderr(&output).lines().count(), 1, "{}", stderr(&output));
    assert!(stderr(&output).contains("torn"), "{}", stderr(&output));
    let rest = String::from_utf8_lossy(&output.stdout).into_owned();
    let shown: u64 = rest.lines().nth(1).unwrap().split(' ').nth(4).unwrap().parse().unwrap();
    assert!((1_000_000..2_500_000).contains(&shown), "{rest}");
    // A byte of the second chunk is wrong: what lies before it is read.
    let mut damaged = bytes.clone();
    let middle = bytes.len() / 2;
    damaged[middle] ^= 0x55;
    let damaged = scratch.write("damaged", &damaged);
    let output = emu(&["trace", "stats", &damaged]);
    assert!(stderr(&output).contains("damaged") || stderr(&output).contains("torn"), "{}", stderr(&output));
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
}

#[test]
fn a_killed_run_leaves_what_it_wrote_and_a_running_one_can_be_read() {
    let scratch = Scratch::new("trace-killed");
    let (bios, trace) = (scratch.bios(&[0x40, 0xeb, 0xfd]), scratch.name("trace"));
    let mut child = command(&["--bios", &bios, "--trace", &trace, "--timeout", "120"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let since = Instant::now();
    while fs::metadata(&trace).map_or(0, |meta| meta.len()) < 5000 {
        assert!(since.elapsed() < Duration::from_secs(100), "nothing is written");
        thread::sleep(Duration::from_millis(20));
    }
    let running = text(&["trace", "show", &trace, "--brief", "-n", "3"]);
    assert_eq!(running.lines().count(), 3);
    child.kill().unwrap();
    child.wait().unwrap();
    let output = emu(&["trace", "stats", &trace]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(String::from_utf8_lossy(&output.stdout).contains("instructions"));
}
