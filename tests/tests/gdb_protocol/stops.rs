//! Break-points, watch-points and steps, on both engines, and that the run does not notice.

use std::fs;
use std::path::Path;

use emu_tests::emulator::emu;
use emu_tests::gdb_client::{Client, start, start_unix};
use emu_tests::process::{Running, run};
use emu_tests::scratch::Scratch;

use crate::LIMIT;

const SESSION: &[u8] = b"uname; ps; run primes 100; poweroff\n";
/// One that is not over before an interrupt comes.
const LONGER: &[u8] = b"uname; ps; run primes 100; selftest; selftest; poweroff\n";
const ENGINES: [&str; 2] = ["interp", "jit"];

/// The log of state hashes that a run without a debugger writes.
fn undisturbed(scratch: &Scratch, engine: &str, session: &[u8]) -> String {
    let log = scratch.path("plain.log");
    let mut command = emu(["--accel", engine, "--hash-every", "10000", "--hash-log"]);
    command.arg(&log);
    let ended = run(command, session, LIMIT);
    assert_eq!(ended.code(), Some(0), "{}", ended.story());
    fs::read_to_string(&log).unwrap()
}

/// The session on an engine, paused before its first instruction, with a client that debugs it.
fn debugged(engine: &str, log: &Path, session: &[u8]) -> (Running, Client) {
    let log = log.to_str().expect("the name is text");
    let arguments = ["--paused", "--accel", engine, "--hash-every", "10000", "--hash-log", log];
    let (mut emulator, address) = start(&arguments, LIMIT);
    emulator.send(session);
    emulator.end_input();
    (emulator, Client::connect(&address))
}

/// The longer session, stopped by a user who has seen its prompt.
fn interrupted(engine: &str, log: &Path) -> (Running, Client, String) {
    let (mut emulator, mut client) = debugged(engine, log, LONGER);
    for _ in 0..20_000 {
        assert!(client.step().starts_with("T05"), "a step");
    }
    // The boot sector, the BIOS's time of day, and code of the kernel that runs often.
    assert_eq!(client.ask("Z1,7c00,1"), "OK");
    assert!(client.ask("vCont;c").contains("hwbreak"));
    assert_eq!(client.pc(), 0x7c00);
    assert_eq!(client.ask("z1,7c00,1"), "OK");
    assert_eq!(client.ask("Z2,46c,4"), "OK");
    client.send("vCont;c");
    assert!(emulator.wait_for("emu$ "));
    client.interrupt();
    let stop = client.packet();
    (emulator, client, stop)
}

#[test]
fn stopping_stepping_and_going_on_does_not_change_the_run() {
    for engine in ENGINES {
        let scratch = Scratch::new(&format!("gdb_unchanged_{engine}"));
        let log = scratch.path("debugged.log");
        // A host that is busy may let the run end before the interrupt comes: then once more.
        let interrupted = (0..5).find_map(|_| {
            let (emulator, client, stop) = interrupted(engine, &log);
            (!stop.starts_with('W')).then_some((emulator, client, stop))
        });
        let (emulator, mut client, mut stop) = interrupted.expect("an interrupt comes in time");
        let mut places = Vec::new();
        for _ in 0..300 {
            assert!(stop.starts_with('T'), "{stop}");
            let pc = client.pc();
            places.push(pc);
            assert_eq!(client.ask(&format!("Z0,{pc:x},1")), "OK");
            for _ in 0..7 {
                client.step();
            }
            stop = client.ask("vCont;c");
            if stop.starts_with('W') {
                break;
            }
        }
        if stop.starts_with('T') {
            for pc in places {
                client.ask(&format!("z0,{pc:x},1"));
            }
            stop = client.ask("vCont;c");
        }
        assert_eq!(stop, "W00", "{engine}");
        assert_eq!(emulator.finish().code(), Some(0));
        let plain = undisturbed(&scratch, engine, LONGER);
        let debugged = fs::read_to_string(&log).unwrap();
        let parted = plain.lines().zip(debugged.lines()).find(|(one, other)| one != other);
        assert!(plain == debugged, "{engine}: the runs part at {parted:?}");
    }
}

#[test]
fn points_whose_conditions_never_hold_do_not_change_the_run() {
    for engine in ENGINES {
        let scratch = Scratch::new(&format!("gdb_conditions_{engine}"));
        let log = scratch.path("debugged.log");
        let (emulator, mut client) = debugged(engine, &log, SESSION);
        for what in [
            "catch exception all",
            "catch interrupt 0x20",
            "catch interrupt 0x80",
            "catch port 0-0xffff",
            "catch msr 0-0xffffffff",
            "catch cr3",
            "catch mode",
            "break 0xffffffff80100000",
            "break p:0x7c00",
            "break 0:7c00",
            "watch p:0x7000 0x1000",
            "awatch 0x400000 0x100",
            "rwatch 0x46c 4",
        ] {
            let reply = client.monitor(&format!("{what} if 0"));
            assert!(reply.starts_with("point "), "{what}: {reply}");
        }
        assert_eq!(client.ask("vCont;c"), "W00", "{engine}");
        assert_eq!(emulator.finish().code(), Some(0));
        let (plain, debugged) = (undisturbed(&scratch, engine, SESSION), fs::read_to_string(&log).unwrap());
        let parted = plain.lines().zip(debugged.lines()).find(|(one, other)| one != other);
        assert!(plain == debugged, "{engine}: the runs part at {parted:?}");
    }
}

/// A machine at its boot sector.
fn at_boot_sector(engine: &str) -> (emu_tests::process::Running, Client) {
    let (emulator, address) = start(&["--paused", "--accel", engine], LIMIT);
    let mut client = Client::connect(&address);
    assert_eq!(client.ask("Z1,7c00,1"), "OK");
    assert!(client.ask("vCont;c").contains("hwbreak"));
    assert_eq!(client.ask("z1,7c00,1"), "OK");
    (emulator, client)
}

/// Writes code to the boot sector.
fn patch(client: &mut Client, code: &str) {
    assert_eq!(client.ask(&format!("M7c00,{:x}:{code}", code.len() / 2)), "OK");
}

const PC: usize = 16;
const RCX: usize = 2;
const CS: usize = 18;

#[test]
fn each_iteration_of_a_repeated_instruction_is_a_step() {
    for engine in ENGINES {
        let (_emulator, mut client) = at_boot_sector(engine);
        // mov cx, 5; mov di, 9000h; rep stosb; nop
        patch(&mut client, "b90500bf0090f3aa90");
        client.step();
        client.step();
        for left in (0..5).rev() {
            assert_eq!(client.register(PC), 0x7c06);
            client.step();
            assert_eq!(client.register(RCX) & 0xffff, left, "{engine}");
        }
        assert_eq!(client.register(PC), 0x7c08);
    }
}

#[test]
fn a_step_through_a_range_ends_where_it_is_left_at_a_point_or_at_ctrl_c() {
    for engine in ENGINES {
        let (_emulator, mut client) = at_boot_sector(engine);
        // mov cx, 0; 1: loop 1b; nop; 2: jmp 2b
        patch(&mut client, "b90000e2fe90ebfe");
        let stop = client.ask("vCont;r7c00,7c05:p1.1;c");
        assert!(stop.starts_with("T05"), "{stop}");
        assert_eq!((client.register(PC), client.register(RCX) & 0xffff), (0x7c05, 0), "{engine}");
        // Nothing but Ctrl-C ends this one.
        client.send("vCont;r7c05,7c08:p1.1;c");
        std::thread::sleep(std::time::Duration::from_millis(50));
        client.interrupt();
        assert!(client.packet().starts_with("T02"), "{engine}");
        assert_eq!(client.ask("Z1,7c06,1"), "OK");
        assert!(client.ask("vCont;r7c05,7c08:p1.1;c").contains("hwbreak"), "{engine}");
        assert_eq!(client.register(PC), 0x7c06);
    }
}

#[test]
fn an_exception_is_caught_before_its_delivery_and_a_step_leads_to_its_handler() {
    for engine in ENGINES {
        let (_emulator, mut client) = at_boot_sector(engine);
        // xor dx, dx; div dx
        patch(&mut client, "31d2f7f2");
        assert!(client.monitor("catch exception #DE").starts_with("point "));
        client.console.clear();
        assert!(client.ask("vCont;c").starts_with("T05"));
        assert!(client.console.contains("exception #DE"), "{}", client.console);
        assert_eq!(client.register(PC), 0x7c02, "{engine}: at the instruction");
        assert!(client.monitor("why").contains("is delivered when it goes on"));
        let vector = client.memory(0, 4);
        let handler = u64::from(vector[2]) << 4 | u64::from(vector[3]) << 12;
        let handler = handler + (u64::from(vector[0]) | u64::from(vector[1]) << 8);
        assert!(client.step().starts_with("T05"));
        assert_eq!(client.register(PC), handler, "{engine}: the handler's first instruction");
    }
}

#[test]
fn ports_are_caught_and_watched_cells_also_by_physical_address() {
    for engine in ENGINES {
        let (_emulator, mut client) = at_boot_sector(engine);
        // mov al, 5Ah; out 80h, al; mov [9000h], al; push ax; nop
        patch(&mut client, "b05ae680a200905090");
        client.monitor("catch port 0x80 if al == 0x5a");
        client.monitor("watch p:0x9000");
        assert!(client.ask("vCont;c").starts_with("T05"));
        assert!(client.console.contains("write of 0x5a (1 bytes) to port 0x80"), "{}", client.console);
        assert_eq!(client.register(PC), 0x7c04);
        assert!(client.ask("vCont;c").starts_with("T05"));
        assert_eq!(client.register(PC), 0x7c07);
        assert_eq!(client.memory(0x9000, 1), [0x5a]);
        let sp = client.register(7) & 0xffff;
        assert_eq!(client.ask(&format!("Z4,{:x},2", sp - 2)), "OK");
        let stop = client.ask("vCont;c");
        assert!(stop.contains(&format!("awatch:{:x};", sp - 2)), "{stop}");
        assert_eq!(client.register(PC), 0x7c08);
    }
}

#[test]
fn a_break_point_by_segment_and_offset_is_met_in_that_segment_alone() {
    for engine in ENGINES {
        let (_emulator, mut client) = at_boot_sector(engine);
        // 7C00h: jmp 7C0h:0Fh; 7C0Fh: nop; jmp 0:7C0Fh, which goes on for ever with CS 0.
        patch(&mut client, "ea0f00c0079090909090909090909090ea0f7c0000");
        let reply = client.monitor("break 7c0:f");
        assert!(reply.contains("instruction at 0x7c0f with CS 07c0"), "{reply}");
        let reply = client.monitor("break 0:7c0f");
        assert!(reply.contains("instruction at 0x7c0f with CS 0000"), "{reply}");
        for selector in [0x7c0, 0, 0] {
            assert!(client.ask("vCont;c").starts_with("T05"));
            assert_eq!((client.register(PC), client.register(CS)), (0x7c0f, selector), "{engine}");
        }
        let points = client.monitor("points");
        assert!(
            points.contains("CS 07c0; met 1 times") && points.contains("CS 0000; met 2 times"),
            "{points}"
        );
    }
}

#[test]
fn a_screenshot_shows_the_screen_and_overwrites_nothing() {
    let scratch = Scratch::new("gdb_screenshot");
    let (_emulator, mut client) = at_boot_sector("jit");
    let file = scratch.path("screen.png");
    let name = file.to_str().expect("the name is text");
    assert_eq!(client.monitor(&format!("screenshot {name}")), "720 by 400 pixels\n");
    let picture = fs::read(&file).unwrap();
    assert_eq!(picture[..8], *b"\x89PNG\r\n\x1a\n");
    assert_eq!(picture[16..24], [0, 0, 720u16.to_be_bytes()[0], 720u16.to_be_bytes()[1], 0, 0, 1, 144]);
    let again = client.monitor(&format!("screenshot {name}"));
    assert!(again.contains("exists") && again.contains("expected a new file"), "{again}");
    assert_eq!(fs::read(&file).unwrap(), picture);
    assert!(client.monitor("screenshot").contains("expected a file"));
    assert!(client.monitor("screenshot /nowhere/screen.png").contains("No such file"));
}

#[test]
fn conditions_of_gdb_are_decided_by_its_byte_code() {
    for engine in ENGINES {
        let (_emulator, mut client) = at_boot_sector(engine);
        // mov cx, 100; 1: loop 1b; nop
        patch(&mut client, "b96400e2fe90");
        // reg 2 (rcx); ext 16; const8 42; equal; end
        assert_eq!(client.ask("Z0,7c03,1;X9,2600022a10222a1327"), "OK");
        assert!(client.monitor("points").contains("with a condition of gdb's"));
        assert!(client.ask("vCont;c").contains("swbreak"));
        assert_eq!(client.register(RCX), 42, "{engine}");
        assert_eq!(client.ask("z0,7c03,1"), "OK");
        assert_eq!(client.ask("Z0,7c05,1"), "OK");
        client.ask("vCont;c");
        assert_eq!((client.register(PC), client.register(RCX) & 0xffff), (0x7c05, 0));
    }
}

#[test]
fn processors_are_threads() {
    let (_emulator, address) = start(&["--paused", "--smp", "2"], LIMIT);
    let mut client = Client::connect(&address);
    assert_eq!(client.ask("qfThreadInfo"), "mp01.01,p01.02");
    assert_eq!(client.ask("Hgp1.2"), "OK");
    let state = client.monitor("info");
    assert!(state.contains("cpu 1"), "{state}");
    assert!(client.ask("vCont;s:p1.1;c").contains("thread:p01.01;"), "the first one steps");
    // The second one waits for its start, so its step ends with that, if the firmware is quick, or with Ctrl-C.
    client.send("vCont;s:p1.2;c");
    std::thread::sleep(std::time::Duration::from_millis(50));
    client.interrupt();
    let stop = client.packet();
    assert!(stop.starts_with("T02") || stop.starts_with("T05") && stop.contains("thread:p01.02;"), "{stop}");
}

/// Steps through the protocol in a second, at least.
const RATE: f64 = 50_000.0;

#[test]
#[ignore = "measures, on a quiet machine"]
fn steps_go_fast() {
    for engine in ENGINES {
        let scratch = Scratch::new("steps-go-fast");
        let socket = scratch.path("gdb");
        let _emulator = start_unix(&socket, &["--paused", "--accel", engine], LIMIT);
        let mut local = Client::connect_unix(&socket);
        let (_emulator, mut remote) = at_boot_sector(engine);
        for (name, client) in [("Unix socket", &mut local), ("TCP", &mut remote)] {
            let asleep = steps_a_second(client);
            client.stay_awake();
            let awake = steps_a_second(client);
            eprintln!(
                "{engine}, {name}: {awake:.0} steps a second, {asleep:.0} by a client that sleeps meanwhile"
            );
            assert!(awake >= RATE, "{engine}, {name}: {awake:.0} steps a second");
        }
    }
}

fn steps_a_second(client: &mut Client) -> f64 {
    let count = 50_000;
    let begun = std::time::Instant::now();
    for _ in 0..count {
        client.send("vCont;s:p1.1;c");
        assert!(client.any_packet().is_some_and(|stop| stop.starts_with("T05")));
    }
    f64::from(count) / begun.elapsed().as_secs_f64()
}
