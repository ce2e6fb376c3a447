//! `emu diff` against QEMU: the beginning of the bundled kernel's boot and random instructions, among them system
//! instructions, without a difference that the list of known ones does not explain; and what can go wrong with QEMU.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

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
fn random_programs_do_as_on_the_host_on_both_engines() {
    let ended = diff(&["fuzz", "--against", "host", "--programs", "--cases", "600", "--jobs", "2"]);
    let text = said(&ended);
    if text.contains("this processor lacks") {
        return external::skip(&text);
    }
    assert!(text.contains("600 cases") && text.contains(" 0 kinds of differences"), "{text}");
    assert_eq!(ended.code(), Some(0), "{text}");
}

/// Programs that EMU_PROGRAMS asks for, or a few.
fn programs(few: &str) -> String {
    std::env::var("EMU_PROGRAMS").unwrap_or_else(|_| few.into())
}

#[test]
fn random_system_programs_do_as_on_qemu_or_the_difference_is_known() {
    if !external::qemu() {
        return;
    }
    let cases = programs("300");
    let ended = diff(&["fuzz", "--against", "qemu", "--programs", "--cases", &cases, "--seed", "1"]);
    let text = said(&ended);
    assert!(text.contains(" 0 kinds of differences"), "{text}");
    assert_eq!(ended.code(), Some(0), "{text}");
}

#[test]
fn both_engines_agree_on_random_system_programs() {
    let cases = programs("1000");
    let ended = diff(&["fuzz", "--against", "interp", "--programs", "--cases", &cases, "--seed", "1"]);
    let text = said(&ended);
    assert!(text.contains(&format!("{cases} cases")) && text.contains(" 0 kinds of differences"), "{text}");
    assert_eq!(ended.code(), Some(0), "{text}");
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
    pretender_of(scratch, "7.2.22", then)
}

/// The same of another version.
fn pretender_of(scratch: &Scratch, version: &str, then: &str) -> PathBuf {
    let script = format!(
        "#!/bin/sh\nif [ \"$1\" = --version ]; then echo 'QEMU emulator version {version}'; exit 0; fi\n\
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

/// The registers after a reset, as QEMU's log has them, and `steps` times the same: a jump to itself.
fn log_of_a_reset(steps: usize) -> String {
    let step = "Trace 0: 0x7f8d28000100 [00000000ffff0000/00000000fffffff0/00000040/ff020201]\n\
        EAX=00000000 EBX=00000000 ECX=00000000 EDX=00060fb1\n\
        ESI=00000000 EDI=00000000 EBP=00000000 ESP=00000000\n\
        EIP=0000fff0 EFL=00000002 [-------] CPL=0 II=0 A20=1 SMM=0 HLT=0\n\
        ES =0000 00000000 0000ffff 00009300\nCS =f000 ffff0000 0000ffff 00009b00\n\
        SS =0000 00000000 0000ffff 00009300\nDS =0000 00000000 0000ffff 00009300\n\
        FS =0000 00000000 0000ffff 00009300\nGS =0000 00000000 0000ffff 00009300\n\
        LDT=0000 00000000 0000ffff 00008200\nTR =0000 00000000 0000ffff 00008b00\n\
        GDT=     00000000 0000ffff\nIDT=     00000000 0000ffff\n\
        CR0=60000010 CR2=00000000 CR3=00000000 CR4=00000000\n\
        DR0=0000000000000000 DR1=0000000000000000 DR2=0000000000000000 DR3=0000000000000000\n\
        DR6=00000000ffff0ff0 DR7=0000000000000400\nCCS=00000000 CCD=00000000 CCO=EFLAGS\n\
        EFER=0000000000000000\n";
    step.repeat(steps)
}

#[test]
fn a_qemu_that_dies_in_the_middle_is_one_clear_line() {
    let scratch = Scratch::new("dying_qemu");
    let log = scratch.write("log", log_of_a_reset(50).as_bytes());
    // jmp $ at the reset vector
    let mut bios = vec![0x90; 0x1_0000];
    bios[0xfff0..0xfff2].copy_from_slice(&[0xeb, 0xfe]);
    let bios = scratch.write("bios", &bios);
    let dies = pretender(&scratch, &format!("cat {} > $2; kill -9 $$", log.display()));
    let ended = diff(&[
        "run",
        "--against",
        "qemu",
        "--qemu",
        dies.to_str().unwrap(),
        "--bios",
        bios.to_str().unwrap(),
    ]);
    let text = said(&ended);
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(text.contains("SIGKILL") && text.contains("after 49 instructions"), "{text}");
    assert_eq!(ended.code(), Some(1), "{text}");
}

#[test]
fn another_version_of_qemu_is_said_in_one_line() {
    let scratch = Scratch::new("another_qemu");
    let other = pretender_of(&scratch, "11.3.0", "echo 'qemu: no' >&2; exit 1");
    let ended = diff(&["run", "--against", "qemu", "--qemu", other.to_str().unwrap()]);
    let text = said(&ended);
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), 2, "{text}");
    assert!(lines[0].contains("QEMU 11.3") && lines[0].contains("7.2"), "{text}");
    assert!(lines[1].contains("qemu: no"), "{text}");
}

/// Children of a process.
fn children(pid: u32) -> Vec<u32> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    text.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

#[test]
fn qemu_ends_with_the_comparison_however_that_ends_and_leaves_no_file() {
    if !external::qemu() {
        return;
    }
    for signal in ["INT", "TERM", "KILL"] {
        let scratch = Scratch::new(&format!("diff_ended_by_{signal}"));
        let disk = scratch.write("disk", &[0; 1 << 20]);
        let temporary = scratch.path("temporary");
        fs::create_dir(&temporary).unwrap();
        let mut command = emu(["diff", "run", "--against", "qemu", "--drive", disk.to_str().unwrap()]);
        let told = scratch.path("told");
        let file = fs::File::create(&told).unwrap();
        command.env("TMPDIR", &temporary).stderr(file).stdin(Stdio::null());
        let mut emulator = command.spawn().unwrap();
        let begun = Instant::now();
        let mut found = Vec::new();
        while found.is_empty() {
            found = children(emulator.id());
            found.retain(|pid| {
                let name = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
                String::from_utf8_lossy(&name).contains("-singlestep")
            });
            assert!(begun.elapsed() < LIMIT, "QEMU starts");
            std::thread::sleep(Duration::from_millis(20));
        }
        std::thread::sleep(Duration::from_millis(300));
        assert_eq!(fs::read_dir(&temporary).unwrap().count(), 0, "QEMU has made a temporary file");
        let sent = Command::new("kill").arg(format!("-{signal}")).arg(emulator.id().to_string()).status();
        assert!(sent.unwrap().success());
        emulator.wait().unwrap();
        let summary = fs::read_to_string(&told).unwrap().contains("; stopped by signal");
        assert_eq!(summary, signal != "KILL", "{signal}");
        let gone = |pid: &u32| {
            // Nobody may have reaped it yet.
            let state = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            state.is_empty()
                || state.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('Z'))
        };
        let begun = Instant::now();
        while !found.iter().all(gone) {
            assert!(begun.elapsed() < Duration::from_secs(20), "QEMU ends with us: {found:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
        assert_eq!(fs::read_dir(&temporary).unwrap().count(), 0, "QEMU leaves a temporary file");
        assert!(fs::read(&disk).unwrap().iter().all(|&byte| byte == 0), "the disk is as it was");
    }
}

#[test]
fn the_bundled_kernel_boots_as_on_qemu_block_by_block() {
    if !external::qemu() {
        return;
    }
    // Long mode with its exceptions, interrupts and reads of the disk; blocks that other things than branches end.
    let ended = run(
        emu(["diff", "run", "--against", "qemu", "--blocks", "--max-insns", "3000000"]),
        b"selftest\n",
        LIMIT,
    );
    let text = said(&ended);
    assert!(text.contains("blocks (") && text.contains(" 0 kinds of differences"), "{text}");
    assert_eq!(ended.code(), Some(0), "{text}");
}

/// A boot sector in which an exception pushes flags that the instruction before it left undefined.
fn sector_with_undefined_flags() -> Vec<u8> {
    const UD2: [u8; 2] = [0x0f, 0x0b];
    // mov bp,sp; add word [bp+0],2; iret
    const HANDLER: [u8; 7] = [0x89, 0xe5, 0x83, 0x46, 0x00, 0x02, 0xcf];
    let mut code = vec![
        0x31, 0xc0, 0x8e, 0xd8, 0x8e, 0xd0, 0xbc, 0x00,
        0x7c, // xor ax,ax; mov ds,ax; mov ss,ax; mov sp,7c00h
        0xc7, 0x06, 0x18, 0x00, 0xe0, 0x7d, // mov word [18h],7de0h
        0xc7, 0x06, 0x1a, 0x00, 0x00, 0x00, // mov word [1ah],0
        0xb9, 0x34, 0x12, 0xba, 0x05, 0x00, // mov cx,1234h; mov dx,5
    ];
    // imul cx,dx; bsf cx,dx; shl dl,3; rol dx,5; aam
    for undefined in
        [&[0x0f, 0xaf, 0xca][..], &[0x0f, 0xbc, 0xca], &[0xc0, 0xe2, 3], &[0xc1, 0xc2, 5], &[0xd4, 10]]
    {
        code.extend([undefined, &UD2].concat());
    }
    // mov al,'K'; mov dx,3f8h; out dx,al; jmp $
    code.extend([0xb0, b'K', 0xba, 0xf8, 0x03, 0xee, 0xeb, 0xfe]);
    let mut sector = vec![0; 1 << 20];
    sector[..code.len()].copy_from_slice(&code);
    sector[0x1e0..0x1e0 + HANDLER.len()].copy_from_slice(&HANDLER);
    sector[510..512].copy_from_slice(&[0x55, 0xaa]);
    sector
}

#[test]
fn undefined_flags_that_an_exception_pushed_within_a_block_are_taken_over() {
    if !external::qemu() {
        return;
    }
    let scratch = Scratch::new("diff_pushed_flags");
    let disk = scratch.write("disk", &sector_with_undefined_flags());
    let drive = disk.to_str().unwrap();
    let ended = diff(&["run", "--against", "qemu", "--blocks", "--max-insns", "300000", "--drive", drive]);
    let text = said(&ended);
    assert!(text.contains("\n  K\n") && text.contains(" 0 kinds of differences"), "{text}");
}

/// A boot sector that writes to its disk, reads back, and leaves by the debug-exit port with what it found.
fn sector_that_writes() -> Vec<u8> {
    let code = [
        0xb8, 0xcd, 0xab, 0xbb, 0x00, 0x06, 0x89, 0x07, // mov ax,0abcdh; mov bx,600h; mov [bx],ax
        0xb8, 0x01, 0x03, 0xb9, 0x02, 0x00, 0xb6, 0x00, // mov ax,0301h; mov cx,2; mov dh,0
        0xcd, 0x13, // int 13h: write
        0xc7, 0x07, 0x00, 0x00, // mov word [bx],0
        0xb8, 0x01, 0x02, 0xcd, 0x13, // mov ax,0201h; int 13h: read
        0x8b, 0x07, 0xba, 0xf4, 0x00, 0xef, 0xeb, 0xfe, // mov ax,[bx]; mov dx,0f4h; out dx,ax; jmp $
    ];
    disk_that_boots(&code)
}

/// A disk with a boot sector.
fn disk_that_boots(code: &[u8]) -> Vec<u8> {
    let mut disk = vec![0; 1 << 20];
    disk[..code.len()].copy_from_slice(code);
    disk[510..512].copy_from_slice(&[0x55, 0xaa]);
    disk
}

/// Within a block QEMU 7.2 makes the flags that CMPXCHG8B leaves alone of an older comparison, and the OR between them.
#[test]
fn flags_that_qemu_gets_wrong_within_a_block_are_known() {
    if !external::qemu() {
        return;
    }
    let code = [
        0xbb, 0x00, 0x06, 0xb8, 0x00, 0x90, // mov bx,600h; mov ax,9000h
        0x3d, 0x00, 0xf0, 0xeb, 0x00, // cmp ax,0f000h; jmp to the next
        0x81, 0xc9, 0x00, 0x90, 0x0f, 0xc7, 0x0f, 0xeb,
        0x00, // or cx,9000h; cmpxchg8b [bx]; jmp to the next
        0xba, 0xf4, 0x00, 0xef, 0xeb, 0xfe, // mov dx,0f4h; out dx,ax; jmp $
    ];
    let scratch = Scratch::new("diff_stale_flags");
    let disk = scratch.write("disk", &disk_that_boots(&code));
    let drive = disk.to_str().unwrap();
    let ended = diff(&["run", "--against", "qemu", "--blocks", "--debug-exit", "0xf4", "--drive", drive]);
    let text = said(&ended);
    assert!(text.contains(" 0 kinds of differences") && text.contains("known, 1 times: CMPXCHG8B"), "{text}");
}

#[test]
fn what_qemu_writes_to_a_disk_stays_in_memory() {
    if !external::qemu() {
        return;
    }
    let scratch = Scratch::new("diff_writes");
    let disk = scratch.write("disk", &sector_that_writes());
    let drive = disk.to_str().unwrap();
    let ended = diff(&["run", "--against", "qemu", "--debug-exit", "0xf4", "--drive", drive]);
    let text = said(&ended);
    assert!(text.contains("debug exit with 0xabcd") && text.contains(" 0 kinds of differences"), "{text}");
    assert_eq!(fs::read(&disk).unwrap(), sector_that_writes(), "the file is as it was");
}
