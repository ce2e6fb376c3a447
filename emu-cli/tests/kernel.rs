//! `--kernel`: what cannot be booted is refused in one line, before anything is started or created.

mod common;

use common::{Scratch, refused};

/// A bzImage of protocol 2.15 with one sector of setup code and 64 KiB of kernel, which wants 1 MiB at 16 MiB.
fn bzimage() -> Vec<u8> {
    let mut image = vec![0; 1024 + 0x1_0000];
    let mut put = |at: usize, bytes: &[u8]| image[at..at + bytes.len()].copy_from_slice(bytes);
    put(0x1f1, &[1]);
    put(0x1f4, &0x1000u32.to_le_bytes());
    put(0x1fe, &[0x55, 0xaa]);
    put(0x202, b"HdrS\x0f\x02");
    put(0x211, &[0x01]);
    put(0x22c, &0x7fff_ffffu32.to_le_bytes());
    put(0x238, &255u32.to_le_bytes());
    put(0x258, &(16u64 << 20).to_le_bytes());
    put(0x260, &(1u32 << 20).to_le_bytes());
    image
}

#[test]
fn kernels_that_cannot_be_booted_are_status_1() {
    let scratch = Scratch::new("kernel");
    let image = bzimage();
    let missing = scratch.name("missing");
    refused(&["--kernel", &missing], 1, &["--kernel", "missing", "kernel"]);
    refused(&["--kernel", &scratch.name(".")], 1, &["--kernel", "directory"]);
    let text = scratch.write("text", b"no kernel at all");
    refused(&["--kernel", &text], 1, &["--kernel", "text", "expected a Linux bzImage"]);
    let mut wrong = image.clone();
    wrong[0x203] = b'x';
    let wrong = scratch.write("wrong", &wrong);
    refused(&["--kernel", &wrong], 1, &["--kernel", "wrong", "expected a Linux bzImage"]);
    let short = scratch.write("short", &image[..image.len() - 100]);
    refused(&["--kernel", &short], 1, &["--kernel", "short", "truncated", "66460", "66560"]);
    let mut old = image.clone();
    old[0x206] = 0x01;
    let old = scratch.write("old", &old);
    refused(&["--kernel", &old], 1, &["--kernel", "old", "2.01", "2.02"]);
    let good = scratch.write("good", &image);
    refused(&["--kernel", &good, "-m", "16M"], 1, &["--kernel", "17 MiB"]);
    refused(&["--kernel", &good, "--append", &"x".repeat(256)], 1, &["256 bytes", "255"]);
    refused(&["--kernel", &good, "--kernel-entry", "64"], 1, &["--kernel", "good", "64-bit entry"]);
    refused(&["--kernel", &good, "--kernel-entry", "48"], 2, &["--kernel-entry", "48"]);
}

/// Header of a Multiboot image of 48 bytes that goes to 1 MiB.
fn multiboot() -> Vec<u8> {
    let fields =
        [0x1bad_b002u32, 0x1_0003, 0xe451_4ffb, 0x10_0000, 0x10_0000, 0x10_0030, 0x10_1000, 0x10_0020];
    let mut image: Vec<u8> = fields.iter().flat_map(|field| field.to_le_bytes()).collect();
    image.extend_from_slice(&[0x90; 16]);
    image
}

#[test]
fn multiboot_and_elf_kernels_that_cannot_be_booted_are_status_1() {
    let scratch = Scratch::new("multiboot");
    let image = multiboot();
    let short = scratch.write("short", &image[..40]);
    refused(&["--kernel", &short], 1, &["--kernel", "short", "truncated", "40", "48"]);
    let good = scratch.write("good", &image);
    refused(
        &["--kernel", &good, "--kernel-entry", "32"],
        1,
        &["--kernel", "good", "expected a Linux bzImage"],
    );
    let missing = scratch.name("missing");
    refused(&["--kernel", &good, "--initrd", &format!("{good} a,{missing}")], 1, &["--initrd", "missing"]);
    let mut asks = image.clone();
    asks[4..12].copy_from_slice(&[0x13, 0, 1, 0, 0xeb, 0x4f, 0x51, 0xe4]);
    let asks = scratch.write("asks", &asks);
    refused(&["--kernel", &asks], 1, &["--kernel", "asks", "requires", "0x10"]);
    let program = std::env::current_exe().expect("the test has a file").to_string_lossy().into_owned();
    refused(&["--kernel", &program], 1, &["--kernel", "neither a Multiboot header nor a PVH entry"]);
    let cut = scratch.write("cut", &std::fs::read(&program).expect("it can be read")[..0x90]);
    refused(&["--kernel", &cut], 1, &["--kernel", "cut", "truncated"]);
}

#[test]
fn initial_ram_disks_that_cannot_be_used_are_status_1_and_nothing_is_created() {
    let scratch = Scratch::new("initrd");
    let kernel = scratch.write("kernel", &bzimage());
    let large = scratch.write("large", &vec![1; 2 << 20]);
    let empty = scratch.write("empty", b"");
    let log = scratch.name("log");
    let with = |initrd: &str, parts: &[&str]| {
        refused(&["--kernel", &kernel, "--initrd", initrd, "-m", "18M", "--debugcon", &log], 1, parts);
    };
    with(&scratch.name("missing"), &["--initrd", "missing", "initial RAM disk"]);
    with(&scratch.name("."), &["--initrd", "directory"]);
    with(&empty, &["--initrd", "empty"]);
    with(&large, &["--kernel", "2097152", "room"]);
    assert_eq!(scratch.list(), ["empty", "kernel", "large"]);
}

#[test]
fn the_files_are_never_outputs() {
    let scratch = Scratch::new("kernel-output");
    let kernel = scratch.write("kernel", &bzimage());
    refused(&["--kernel", &kernel, "--stats", &kernel], 1, &["kernel", "nothing else"]);
    assert_eq!(std::fs::read(&kernel).unwrap(), bzimage());
}
