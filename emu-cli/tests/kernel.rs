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
    refused(&["--kernel", &missing], 1, &["--kernel", "missing", "bzImage"]);
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
