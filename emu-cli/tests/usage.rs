//! Wrong usage and files that cannot be used: one line, the right status, and nothing is touched.

mod common;

use common::{Scratch, emu, refused, stderr};

#[test]
fn wrong_options_are_status_2() {
    for (args, part) in [
        (&["--no-such-option"][..], "--no-such-option"),
        (&["disk.img"], "disk.img"),
        (&["run", "disk.img"], "disk.img"),
        (&["info", "--xml"], "--xml"),
        (&["-m", "5X"], "512M"),
        (&["-m", "-5"], "-5"),
        (&["-m", "0"], "1M"),
        (&["-m", "1T"], "64G"),
        (&["-m", "1500K"], "megabytes"),
        (&["-m", "99999999999999999999G"], "too large"),
        (&["--memory"], "--memory"),
        (&["--accel", "kvm"], "interp"),
        (&["--smp", "0"], "--smp"),
        (&["--initrd", "initrd.img"], "--kernel"),
        (&["--append", "quiet"], "--kernel"),
        (&["--boot", "network"], "cdrom"),
        (&["--gdb", "nowhere"], "HOST:PORT"),
        (&["--trace"], "--trace"),
        (&["--cpu", "8086"], "--cpu help"),
        (&["--cpu", "pentium,+avx2"], "avx"),
        (&["--cpu", "486", "--smp", "2"], "APIC"),
        (&["--display", "vnc=:0"], "VNC"),
        (&["--display", "text"], "terminal"),
        (&["--display", "gtk"], "text or serial"),
        (&["--vga-bios", "vga.bin"], "--bios"),
        (&["--serial", "pty"], "stdio"),
        (&["--serial", "tcp:localhost"], "HOST:PORT"),
        (&["--serial", "stdio", "--serial", "stdio"], "one port"),
        (&["--serial", "none", "--serial", "none", "--serial", "none"], "COM2"),
        (&["--debug-exit", "0x10000"], "0xffff"),
        (&["--debug-exit", "x"], "0x501"),
        (&["--max-insns", "many"], "--max-insns"),
        (&["--timeout", "0"], "seconds"),
        (&["--timeout", "soon"], "seconds"),
        (&["--hash-every", "1000"], "--hash-log"),
        (&["--hash-every", "0", "--hash-log", "log"], "--hash-every"),
        (&["--time", "guest"], "virtual"),
        (&["--drive", "a.qcow2,format=qcow2"], "qcow2"),
        (&["--drive", "a.img,if=virtio"], "virtio"),
        (&["--drive", "a.img,index=7"], "index=3"),
        (&["--drive", "a.img,index=1", "--drive", "b.img,index=1"], "b.img"),
        (&["--drive", ""], "disk image"),
        (&["diff"], "subcommand"),
        (&["diff", "run"], "--against"),
        (&["diff", "run", "--against", "vax"], "interp"),
        (&["diff", "run", "--against", "jit", "--time", "host"], "virtual"),
        (&["diff", "run", "--against", "jit", "--floppy", "a.img"], "--floppy"),
    ] {
        refused(args, 2, &[part]);
    }
}

#[test]
fn files_that_cannot_be_used_are_status_1() {
    let scratch = Scratch::new("unusable");
    let missing = scratch.name("missing.img");
    refused(&["--drive", &missing], 1, &["missing.img", "raw disk image"]);
    refused(&["--bios", &missing], 1, &["missing.img", "firmware"]);
    let folder = scratch.name(".");
    refused(&["--drive", &folder], 1, &["directory"]);
    refused(&["--bios", &folder], 1, &["directory"]);
    refused(&["--drive", "/dev/null"], 1, &["/dev/null", "device"]);
    let odd = scratch.write("odd.img", &[0; 513]);
    refused(&["--drive", &odd], 1, &["odd.img", "513", "multiple of 512"]);
    let empty = scratch.write("empty.img", &[]);
    refused(&["--drive", &empty], 1, &["empty.img", "not empty"]);
    refused(&["--bios", &empty], 1, &["empty.img", "firmware"]);
    let odd_bios = scratch.write("odd.bin", &[0; 1000]);
    refused(&["--bios", &odd_bios], 1, &["odd.bin", "1000"]);
    let bios = scratch.write("bios.bin", &[0; 0x10000]);
    refused(&["--bios", &bios, "--vga-bios", &missing], 1, &["missing.img", "firmware"]);
    refused(&["--bios", &bios, "--vga-bios", &odd_bios], 1, &["odd.bin", "1000", "128 KiB"]);
    let no_rom = scratch.write("no-rom.bin", &[0; 512]);
    refused(&["--bios", &bios, "--vga-bios", &no_rom], 1, &["no-rom.bin", "55 AA"]);
}

#[test]
fn outputs_that_cannot_be_opened_are_status_1() {
    let scratch = Scratch::new("outputs");
    let nowhere = scratch.name("no/such/folder/file");
    for option in ["--stats", "--debugcon", "--screenshot"] {
        refused(&[option, &nowhere], 1, &[option, "no/such/folder"]);
    }
    refused(&["--hash-every", "1000", "--hash-log", &nowhere], 1, &["--hash-log"]);
    refused(&["--serial", &format!("file:{nowhere}")], 1, &["--serial"]);
    refused(&["--serial", &format!("unix:{nowhere}")], 1, &["--serial"]);
    refused(&["--serial", "tcp:192.0.2.1:1"], 1, &["--serial", "192.0.2.1"]);
    assert!(scratch.list().is_empty());
}

#[test]
fn nothing_is_created_or_emptied_when_something_is_wrong() {
    let scratch = Scratch::new("untouched");
    let old = scratch.write("old.json", b"old");
    let new = scratch.name("new.log");
    let missing = scratch.name("missing.img");
    refused(&["--stats", &old, "--debugcon", &new, "-m", "5X"], 2, &[]);
    refused(&["--stats", &old, "--debugcon", &new, "--drive", &missing], 1, &[]);
    refused(&["--stats", &old, "--debugcon", &new, "--screenshot", &scratch.name("no/such.png")], 1, &[]);
    refused(&["--debugcon", &new, "--stats", &old, "--serial", "unix:/no/such/folder/s"], 1, &[]);
    assert_eq!(scratch.list(), ["old.json"]);
    assert_eq!(std::fs::read(&old).unwrap(), b"old");
}

#[test]
fn an_image_is_never_an_output() {
    let scratch = Scratch::new("image");
    let image = scratch.write("disk.img", &[7; 1024]);
    refused(&["--drive", &image, "--stats", &image], 1, &["disk.img", "nothing else"]);
    refused(&["--drive", &image, "--serial", &format!("file:{image}")], 1, &["disk.img"]);
    assert_eq!(std::fs::read(&image).unwrap(), [7; 1024]);
}

#[test]
fn a_drive_is_used_once() {
    let scratch = Scratch::new("twice");
    let image = scratch.write("disk.img", &[0; 512]);
    refused(&["--drive", &image, "--drive", &image], 1, &["disk.img", "in use"]);
}

#[test]
fn a_read_only_image_needs_a_snapshot() {
    let scratch = Scratch::new("readonly");
    let image = scratch.write("disk.img", &[0; 512]);
    let path = scratch.path("disk.img");
    let mut permissions = path.metadata().unwrap().permissions();
    permissions.set_readonly(true);
    std::fs::set_permissions(&path, permissions).unwrap();
    if common::permissions_do_not_count(&path) {
        println!("SKIPPED: file permissions do not bind this user");
        return;
    }
    refused(&["--drive", &image], 1, &["disk.img", "read-only", "snapshot=on"]);
    let output = emu(&["--drive", &format!("{image},snapshot=on"), "--max-insns", "1"]);
    assert_eq!(output.status.code(), Some(4), "{}", stderr(&output));
}

#[test]
fn help_and_version_go_to_standard_output() {
    for args in [&["--help"][..], &["run", "--help"], &["--version"], &["--cpu", "help"]] {
        let output = emu(args);
        assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(0), ""), "{args:?}");
        assert!(!output.stdout.is_empty(), "{args:?}");
    }
}

#[test]
fn info_lists_the_instructions() {
    let output = emu(&["info", "--instructions"]);
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<_> = text.lines().collect();
    let add = lines.iter().find(|line| line.starts_with("Add_rm8_r8 ")).expect("ADD is there");
    assert!(add.contains("ADD r/m8, r8") && add.ends_with("implemented"), "{add}");
    let number = lines.len() - 1;
    assert_eq!(lines[number], format!("{number} encodings, {number} implemented, 0 missing"));
    let output = emu(&["info", "--instructions", "--json"]);
    let list: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(list.len(), number);
    assert!(
        list.iter().any(|line| line["code"] == "VEX_Vpgatherqq_ymm_vm64y_ymm" && line["sets"][0] == "AVX2")
    );
}

#[test]
fn info_tells_what_is_built_in() {
    let output = emu(&["info"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(text.contains("interp") && text.contains(env!("CARGO_PKG_VERSION")), "{text}");

    let output = emu(&["info", "--json"]);
    let info: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(info["engines"][0], "interp");
    assert!(info["bundled"]["bios_bytes"].as_u64().unwrap() > 0);
    assert!(info["host"]["memfd"].is_boolean());
}
