//! Runs of the real command with tiny firmware: exit statuses, outputs, and that a run repeats exactly.

mod common;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use common::{Scratch, command, emu, emu_with_input, refused, stderr};

/// `mov al, value; mov dx, 501h; out dx, al`
fn exit_with(value: u8) -> Vec<u8> {
    vec![0xb0, value, 0xba, 0x01, 0x05, 0xee]
}

/// `mov dx, port; mov al, value; out dx, al`
fn out(port: u16, value: u8) -> Vec<u8> {
    let [low, high] = port.to_le_bytes();
    vec![0xba, low, high, 0xb0, value, 0xee]
}

/// `jmp $`
const FOREVER: [u8; 2] = [0xeb, 0xfe];

/// `lidt cs:[0F000h]` (zeros there); `int3`: a triple fault.
const TRIPLE_FAULT: [u8; 7] = [0x2e, 0x0f, 0x01, 0x1e, 0x00, 0xf0, 0xcc];

/// Sends back what comes in on COM1 at 115200 baud, up to and with a `q`; then writes 10h to the debug-exit port.
fn echo() -> Vec<u8> {
    let set_up = [out(0x3fb, 0x83), out(0x3f8, 1), out(0x3f9, 0), out(0x3fb, 0x03)].concat();
    let wait = [0xba, 0xfd, 0x03, 0xec, 0xa8, 0x01, 0x74, 0xfb]; // mov dx, 3fdh; in al, dx; test al, 1; jz in
    let send_back = [0xba, 0xf8, 0x03, 0xec, 0xee]; // mov dx, 3f8h; in al, dx; out dx, al
    let until_q = [0x3c, b'q', 0x75, 0xef]; // cmp al, 'q'; jne wait
    [&set_up[..], &wait, &send_back, &until_q, &exit_with(0x10)].concat()
}

#[test]
fn the_debug_exit_port_gives_the_status() {
    let scratch = Scratch::new("debug-exit");
    let bios = scratch.bios(&[exit_with(0x10), FOREVER.to_vec()].concat());
    let output = emu(&["--bios", &bios, "--debug-exit", "0x501", "--timeout", "60"]);
    assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(33), ""));
    let output = emu(&["--bios", &bios, "--max-insns", "1000"]);
    assert_eq!(output.status.code(), Some(4), "without the option the port is not there");
}

#[test]
fn limits_have_their_statuses() {
    let scratch = Scratch::new("limits");
    let bios = scratch.bios(&FOREVER);
    let output = emu(&["--bios", &bios, "--max-insns", "100000"]);
    assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(4), ""));
    let output = emu(&["--bios", &bios, "--timeout", "0.2"]);
    assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(124), ""));
    let halted = scratch.bios(&[0xfa, 0xf4]); // cli; hlt
    let output = emu(&["--bios", &halted, "--timeout", "0.2"]);
    assert_eq!(output.status.code(), Some(124));
    assert!(stderr(&output).contains("halted with interrupts disabled"), "{}", stderr(&output));
}

/// Each event of a timer that nobody hears of would take the host a fraction of a microsecond, for ever.
#[test]
fn a_guest_that_halts_with_interrupts_disabled_leaves_the_host_alone() {
    let scratch = Scratch::new("halted");
    let stats = scratch.name("stats.json");
    // The 8254's counter 0 in mode 2, a millisecond a round; cli; hlt.
    let timer = [out(0x43, 0x34), out(0x40, 0xa9), out(0x40, 0x04)].concat();
    let bios = scratch.bios(&[&timer[..], &[0xfa, 0xf4]].concat());
    let output = emu(&["--bios", &bios, "--timeout", "1", "--time", "virtual", "--stats", &stats]);
    assert_eq!(output.status.code(), Some(124));
    assert_eq!(stderr(&output).matches("halted with interrupts disabled").count(), 1, "{}", stderr(&output));
    let stats: serde_json::Value = serde_json::from_slice(&fs::read(stats).unwrap()).unwrap();
    // 4.1 seconds of guest time between two rests of 50 milliseconds.
    let seconds = stats["guest_seconds"].as_f64().unwrap();
    assert!(seconds < 150.0, "{stats}");
}

#[test]
fn a_triple_fault_with_no_reboot_tells_the_chain() {
    let scratch = Scratch::new("triple");
    let bios = scratch.bios(&TRIPLE_FAULT);
    let output = emu(&["--bios", &bios, "--no-reboot", "--timeout", "60"]);
    assert_eq!(output.status.code(), Some(3));
    assert!(stderr(&output).starts_with("emu: triple fault: "), "{}", stderr(&output));
    let output = emu(&["--bios", &bios, "--max-insns", "10000"]);
    assert_eq!(output.status.code(), Some(4), "it is reset and goes on");
    let told = stderr(&output).matches("emu: triple fault: ").count();
    assert!((1..=8).contains(&told), "a guest that resets itself for ever does not flood the log: {told}");
}

#[test]
fn a_reset_starts_the_machine_again_or_ends_the_run() {
    let scratch = Scratch::new("reset");
    let bios = scratch.bios(&[out(0xe9, b'r'), out(0xcf9, 2), out(0xcf9, 6), FOREVER.to_vec()].concat());
    let log = scratch.name("log");
    let output = emu(&["--bios", &bios, "--no-reboot", "--debugcon", &log, "--timeout", "60"]);
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
    assert_eq!(fs::read(&log).unwrap(), b"r");
    let output = emu(&["--bios", &bios, "--max-insns", "1000", "--debugcon", &log]);
    assert_eq!(output.status.code(), Some(4), "{}", stderr(&output));
    assert!(fs::read(&log).unwrap().starts_with(b"rrr"));
}

#[test]
fn outputs_get_what_the_guest_writes() {
    let scratch = Scratch::new("outputs");
    let say = [out(0x3f8, b'1'), out(0x2f8, b'2'), out(0xe9, b'3'), exit_with(0)].concat();
    let bios = scratch.bios(&say);
    let (second, debugcon) = (scratch.write("second", b"older text"), scratch.name("debugcon"));
    let second_port = format!("file:{second}");
    let output = emu(&[
        "--bios",
        &bios,
        "--debug-exit",
        "0x501",
        "--debugcon",
        &debugcon,
        "--serial",
        "stdio",
        "--serial",
        &second_port,
        "--timeout",
        "60",
    ]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(output.stdout, b"1");
    assert_eq!(fs::read(&second).unwrap(), b"2");
    assert_eq!(fs::read(&debugcon).unwrap(), b"3");
}

#[test]
fn standard_input_reaches_the_guest_and_the_run_repeats_exactly() {
    let scratch = Scratch::new("repeat");
    let bios = scratch.bios(&echo());
    let logs = [scratch.name("first"), scratch.name("second")];
    let args = |log| {
        [
            "--bios",
            &bios,
            "--debug-exit",
            "0x501",
            "--timeout",
            "60",
            "--hash-every",
            "5000",
            "--hash-log",
            log,
        ]
        .map(str::to_owned)
    };
    let first = args(&logs[0]);
    let output = emu_with_input(&first.each_ref().map(String::as_str), b"hello q and more");
    assert_eq!(output.status.code(), Some(33), "{}", stderr(&output));
    assert_eq!(output.stdout, b"hello q");

    // The same bytes from a slow writer, who waits for each to be sent back.
    let second = args(&logs[1]);
    let mut child = command(&second.each_ref().map(String::as_str))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut input, mut output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    for byte in b"hello q" {
        thread::sleep(Duration::from_millis(20));
        input.write_all(&[*byte]).unwrap();
        let mut echo = [0];
        output.read_exact(&mut echo).unwrap();
        assert_eq!(echo[0], *byte);
    }
    assert_eq!(child.wait().unwrap().code(), Some(33));

    let logs = logs.map(|log| fs::read_to_string(log).unwrap());
    assert_eq!(logs[0], logs[1]);
    let lines: Vec<&str> = logs[0].lines().collect();
    assert!(lines.len() > 2 && lines.iter().all(|line| line.len() == 16 * 3 + 2), "{}", logs[0]);
    assert!(lines[0].starts_with("0000000000001388 "));
}

#[test]
fn statistics_are_json() {
    let scratch = Scratch::new("stats");
    let bios = scratch.bios(&FOREVER);
    let stats = scratch.name("stats.json");
    let output = emu(&["--bios", &bios, "--max-insns", "100000", "--stats", &stats]);
    assert_eq!(output.status.code(), Some(4));
    let stats: serde_json::Value = serde_json::from_slice(&fs::read(stats).unwrap()).unwrap();
    assert_eq!(stats["instructions"], 100_000);
    assert_eq!(stats["engine"], if cfg!(target_arch = "x86_64") { "jit" } else { "interp" });
    for key in ["seconds", "processor_seconds", "mips", "exceptions", "interrupts"] {
        assert!(stats[key].is_number(), "{key}: {stats}");
    }
    // Usually 5 ms, in an ordinary build.
    let start = stats["start_seconds"].as_f64().unwrap();
    assert!(start > 0.0 && start < 2.0, "{start}");
}

/// Where the time goes: chips, and sleep.
#[test]
fn statistics_say_what_chips_did_and_how_long_it_slept() {
    let scratch = Scratch::new("devices");
    let stats = |code: &[u8], name: &str, limit: &[&str]| -> serde_json::Value {
        let (bios, path) = (scratch.bios(code), scratch.name(name));
        emu(&[&["--bios", &bios, "--time", "host", "--stats", &path], limit].concat());
        serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
    };
    // in al, 61h; out 80h, al; jmp
    let busy = stats(&[0xe4, 0x61, 0xe6, 0x80, 0xeb, 0xfa], "busy", &["--max-insns", "30000"]);
    let devices = &busy["devices"];
    assert_eq!((&devices["port_reads"], &devices["port_writes"]), (&10_000.into(), &10_000.into()), "{busy}");
    assert!(devices["seconds"].as_f64().unwrap() > 0.0 && busy["idle_seconds"] == 0.0, "{busy}");
    // sti; hlt; jmp
    let idle = stats(&[0xfb, 0xf4, 0xeb, 0xfc], "idle", &["--timeout", "1"]);
    assert!(idle["idle_seconds"].as_f64().unwrap() > 0.5, "{idle}");
    assert_eq!(idle["devices"]["port_reads"], 0);
}

#[test]
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
fn statistics_say_what_the_translator_did() {
    let scratch = Scratch::new("translator-stats");
    let bios = scratch.bios(&FOREVER);
    let stats = |engine: &str| -> serde_json::Value {
        let path = scratch.name(engine);
        let arguments = ["--bios", &bios, "--max-insns", "1000000", "--accel", engine, "--stats", &path];
        assert_eq!(emu(&arguments).status.code(), Some(4));
        serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
    };
    assert_eq!(stats("interp").get("translator"), None);
    let done = &stats("jit")["translator"];
    let number = |value: &serde_json::Value| value.as_u64().unwrap_or_else(|| panic!("{value} in {done}"));
    assert!(number(&done["blocks"]) > 0 && number(&done["code_bytes"]) > 1000, "{done}");
    let exits: u64 =
        ["unknown", "unlinked", "no_room", "handler"].map(|why| number(&done["exits"][why])).iter().sum();
    assert_eq!(number(&done["entries"]), exits, "{done}");
    // All but what it takes to become warm.
    assert!((900_000..1_000_000).contains(&number(&done["instructions"])), "{done}");
    assert!(done["seconds"].is_number() && exits > 0, "{done}");
    assert!(["same_block", "next_block", "left"].iter().all(|how| done["calls"][how].is_u64()), "{done}");
}

#[test]
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
fn perf_learns_where_translated_code_lies() {
    let scratch = Scratch::new("perf-map");
    let bios = scratch.bios(&FOREVER);
    let arguments = ["--bios", &bios, "--max-insns", "100000", "--perf-map"];
    let mut child = command(&arguments).stdin(Stdio::null()).spawn().unwrap();
    let path = format!("/tmp/perf-{}.map", child.id());
    assert_eq!(child.wait().unwrap().code(), Some(4));
    let map = fs::read_to_string(&path).unwrap();
    fs::remove_file(path).unwrap();
    let mut lines = map.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let thunks = lines.next().unwrap();
    assert_eq!(thunks[2], "emu_thunks", "{map}");
    let number = |text: &str| u64::from_str_radix(text, 16).unwrap();
    let mut end = number(thunks[0]) + number(thunks[1]);
    for line in lines {
        assert!(line.len() == 3 && line[2].starts_with("guest_") && number(line[0]) >= end, "{map}");
        end = number(line[0]) + number(line[1]);
    }
    assert!(map.lines().count() > 1, "{map}");
    refused(&["--accel", "interp", "--perf-map"], 1, &["--perf-map", "--accel jit"]);
}

#[test]
fn the_firmware_shows_its_text_on_the_serial_line_when_asked_to() {
    let scratch = Scratch::new("serial-screen");
    let disk = scratch.write("empty.img", &[0; 512]);
    let said = |display: &str| {
        let output = emu(&["--drive", &disk, "--display", display, "--max-insns", "3000000"]);
        assert_eq!(output.status.code(), Some(4));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    assert!(
        said("serial").contains("emu BIOS 0.1  256 MB memory, disk 80h 0 MB\r\nNo bootable disk found:\r\n"),
        "{:?}",
        said("serial")
    );
    assert_eq!(said("none"), "");
}

#[test]
fn a_screenshot_is_a_png() {
    let scratch = Scratch::new("screenshot");
    let bios = scratch.bios(&FOREVER);
    let file = scratch.name("screen.png");
    let output = emu(&["--bios", &bios, "--max-insns", "1000", "--screenshot", &file]);
    assert_eq!(output.status.code(), Some(4), "{}", stderr(&output));
    assert!(fs::read(file).unwrap().starts_with(b"\x89PNG\r\n\x1a\n"));
}

#[test]
fn a_reader_that_leaves_ends_the_run_quietly() {
    let scratch = Scratch::new("epipe");
    let bios = scratch.bios(&[out(0x3f8, b'y'), vec![0xeb, 0xf8]].concat()); // jmp back to the start
    let mut child = command(&["--bios", &bios, "--timeout", "60"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut some = [0; 10];
    child.stdout.take().unwrap().read_exact(&mut some).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(1), ""));
}

/// Writes A5h 5Ah all over sector 1 of the first disk, flushes it, and ends by the debug-exit port.
fn write_sector_1() -> Vec<u8> {
    let select = [out(0x1f6, 0xe0), out(0x1f2, 1), out(0x1f3, 1), out(0x1f4, 0), out(0x1f5, 0)].concat();
    let wait_for_drq = [0xec, 0xa8, 0x08, 0x74, 0xfb]; // in al, dx; test al, 8; jz in
    let wait_while_busy = [0xec, 0xa8, 0x80, 0x75, 0xfb]; // in al, dx; test al, 80h; jnz in
    // mov dx, 1f0h; mov cx, 256; mov ax, 5aa5h; out dx, ax; loop out; mov dx, 1f7h
    let data = [0xba, 0xf0, 0x01, 0xb9, 0x00, 0x01, 0xb8, 0xa5, 0x5a, 0xef, 0xe2, 0xfd, 0xba, 0xf7, 0x01];
    // The drive ignores its registers until it has tested itself after power-on.
    let ready = [&[0xba, 0xf7, 0x01][..], &wait_while_busy].concat();
    let write = [&ready[..], &select, &out(0x1f7, 0x30), &wait_for_drq, &data, &wait_while_busy].concat();
    [&write[..], &out(0x1f7, 0xe7), &wait_while_busy, &exit_with(0x10)].concat()
}

#[test]
fn writes_land_in_their_sector_of_the_image_and_nowhere_else() {
    let scratch = Scratch::new("write");
    let bios = scratch.bios(&write_sector_1());
    let before: Vec<u8> = (0..8).flat_map(|number| [number; 512]).collect();
    let image = scratch.write("disk.img", &before);
    let run = |drive: &str, time| {
        let output = emu(&[
            "--bios",
            &bios,
            "--drive",
            drive,
            "--time",
            time,
            "--debug-exit",
            "0x501",
            "--timeout",
            "60",
        ]);
        assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(33), ""));
    };
    run(&format!("{image},snapshot=on"), "virtual");
    assert_eq!(fs::read(&image).unwrap(), before);
    for time in ["virtual", "host"] {
        fs::write(&image, &before).unwrap();
        run(&image, time);
        let mut after = before.clone();
        after[512..1024].copy_from_slice(&[0xa5, 0x5a].repeat(256));
        assert_eq!(fs::read(&image).unwrap(), after, "--time {time}");
    }
}

/// The drive has no whole cylinder then, so the BIOS must not believe that it has no sectors.
#[test]
fn a_disk_of_one_sector_boots() {
    let scratch = Scratch::new("one-sector");
    let mut sector = exit_with(3);
    sector.resize(510, 0);
    sector.extend([0x55, 0xaa]);
    let image = scratch.write("one.img", &sector);
    let output = emu(&["--drive", &image, "--debug-exit", "0x501", "--max-insns", "50000000"]);
    assert_eq!(output.status.code(), Some(7), "{}", stderr(&output));
}

#[test]
fn a_tcp_client_is_the_other_end_of_the_line() {
    let scratch = Scratch::new("tcp");
    let bios = scratch.bios(&echo());
    let mut child = command(&["--bios", &bios, "--serial", "tcp:127.0.0.1:0", "--debug-exit", "0x501"])
        .args(["--timeout", "60"])
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stderr.take().unwrap()).read_line(&mut line).unwrap();
    let address = line.trim_end().rsplit("tcp:").next().unwrap();
    let mut client = TcpStream::connect(address).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    for byte in b"hello q" {
        client.write_all(&[*byte]).unwrap();
        let mut echo = [0];
        client.read_exact(&mut echo).unwrap();
        assert_eq!(echo[0], *byte);
    }
    assert_eq!(child.wait().unwrap().code(), Some(33));
}

#[test]
fn a_disk_in_use_is_refused() {
    let scratch = Scratch::new("lock");
    let bios = scratch.bios(&[out(0x3f8, b'y'), FOREVER.to_vec()].concat());
    let image = scratch.write("disk.img", &[0; 512 * 8]);
    let mut child = command(&["--bios", &bios, "--drive", &image, "--timeout", "60"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut started = [0];
    child.stdout.take().unwrap().read_exact(&mut started).unwrap();
    refused(&["--drive", &image], 1, &["disk.img", "in use"]);
    child.kill().unwrap();
    child.wait().unwrap();
    let output = emu(&["--bios", &bios, "--drive", &image, "--max-insns", "100"]);
    assert_eq!(output.status.code(), Some(4), "{}", stderr(&output));
}

/// Tables by frames are as long as RAM; most of their pages are never touched.
#[test]
fn much_ram_costs_little_memory() {
    let scratch = Scratch::new("much-ram");
    // mov al, 'x'; out 0E9h, al; jmp $
    let bios = scratch.bios(&[0xb0, b'x', 0xe6, 0xe9, 0xeb, 0xfe]);
    for accel in ["interp", "jit"] {
        let args = [
            "--accel",
            accel,
            "-m",
            "8G",
            "--smp",
            "8",
            "--bios",
            &bios,
            "--debugcon",
            "/dev/stdout",
            "--timeout",
            "60",
        ];
        let mut child =
            command(&args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        child.stdout.as_mut().unwrap().read_exact(&mut [0]).expect("it runs");
        let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
        child.kill().unwrap();
        child.wait().unwrap();
        for (name, most) in [("VmHWM:", 60_000), ("RssAnon:", 8_000)] {
            let size = status.lines().find_map(|line| line.strip_prefix(name));
            let Some(size) = size else { continue };
            let kilobytes: u64 = size.trim().trim_end_matches(" kB").parse().unwrap();
            assert!(kilobytes < most, "{accel}: {name} {kilobytes} KB");
        }
    }
}
