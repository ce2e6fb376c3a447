//! `--kernel` with small kernels of each kind: they are entered in the state that their protocol names, and told the
//! same as by QEMU, with our BIOS and with SeaBIOS.

mod images;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use emu_tests::emulator::emu;
use emu_tests::external::{self, QEMU};
use emu_tests::process::run;
use emu_tests::scratch::Scratch;
use images::{DATA, EXIT_PORT, EXIT_STATUS, ZEROS};

const LIMIT: Duration = Duration::from_secs(60);

/// The pieces that a kernel sent, each behind its length.
fn pieces(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut rest = bytes;
    let mut pieces = Vec::new();
    while let Some((length, behind)) = rest.split_first_chunk::<4>() {
        let (piece, behind) = behind.split_at(u32::from_le_bytes(*length) as usize);
        pieces.push(piece.to_vec());
        rest = behind;
    }
    pieces
}

fn dword(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|&byte| byte == 0).expect("a final zero");
    String::from_utf8(bytes[..end].to_vec()).expect("letters")
}

/// Runs `emu` and returns what the kernel sent.
fn ours(scratch: &Scratch, bios: Option<&Path>, arguments: &[&str]) -> Vec<Vec<u8>> {
    let log = scratch.path("ours");
    let mut command = emu(arguments);
    command.current_dir(scratch).args([
        "--debug-exit",
        &EXIT_PORT.to_string(),
        "--time",
        "virtual",
        "--debugcon",
    ]);
    command.arg(&log);
    if let Some(bios) = bios {
        command.arg("--bios").arg(bios);
    }
    let ended = run(command, b"", LIMIT);
    assert_eq!(ended.code(), Some(EXIT_STATUS), "{}", ended.story());
    pieces(&fs::read(&log).expect("the kernel has written"))
}

fn qemus(scratch: &Scratch, arguments: &[&str]) -> Vec<Vec<u8>> {
    let log = scratch.path("qemus");
    let mut command = Command::new(QEMU);
    command
        .current_dir(scratch)
        .args(["-accel", "tcg", "-m", "256", "-display", "none", "-nic", "none", "-monitor", "none"])
        .args(["-serial", "none", "-device", &format!("isa-debug-exit,iobase={EXIT_PORT}"), "-debugcon"])
        .arg(format!("file:{}", log.display()))
        .args(arguments);
    let ended = run(command, b"", LIMIT);
    assert_eq!(ended.code(), Some(EXIT_STATUS), "{}", ended.story());
    pieces(&fs::read(&log).expect("the kernel has written"))
}

/// Runs the same on every side that there is; the name says which.
fn everywhere(
    scratch: &Scratch,
    arguments: &[&str],
    on_qemu: Option<&[&str]>,
    check: impl Fn(&str, &[Vec<u8>]),
) {
    check("our BIOS", &ours(scratch, None, arguments));
    if let Some(bios) = external::seabios() {
        check("SeaBIOS", &ours(scratch, Some(&bios), arguments));
    }
    if let Some(arguments) = on_qemu
        && external::qemu()
    {
        check("QEMU", &qemus(scratch, arguments));
    }
}

/// Protected mode without paging, interrupts off, flat segments; the segments of the file with zeros behind them.
fn check_entry(side: &str, pieces: &[Vec<u8>], at_eax: Option<u32>) {
    let values: Vec<u32> = pieces[..6].iter().map(|piece| dword(piece, 0)).collect();
    if let Some(eax) = at_eax {
        assert_eq!(values[0], eax, "{side}: EAX");
    }
    assert_eq!(values[1] & 0x8000_0001, 1, "{side}: CR0");
    assert_eq!(values[2] & 0x2_0300, 0, "{side}: EFLAGS, VM, IF and TF");
    assert_eq!(values[3..5], [u32::MAX; 2], "{side}: limits of CS and DS");
    assert_eq!(values[5] & 2, 2, "{side}: A20");
    let (data, zeros) = pieces[6].split_at(16);
    assert_eq!(data, DATA, "{side}");
    assert!(zeros.len() == ZEROS as usize && zeros.iter().all(|&byte| byte == 0), "{side}: zeros");
}

/// A row of a memory map, without what stands before the base.
fn has_ram(rows: impl Iterator<Item = [u64; 3]>) -> bool {
    let rows: Vec<_> = rows.collect();
    let covers = |at: u64, size: u64| {
        rows.iter().any(|&[base, length, kind]| kind == 1 && base <= at && base + length >= at + size)
    };
    covers(0, 0x9_f000) && covers(0x10_0000, 254 << 20) && !covers(0xf_0000, 1)
}

fn row(bytes: &[u8], at: usize) -> [u64; 3] {
    let qword = |at: usize| u64::from(dword(bytes, at)) | u64::from(dword(bytes, at + 4)) << 32;
    [qword(at), qword(at + 8), dword(bytes, at + 16).into()]
}

fn check_multiboot(side: &str, pieces: &[Vec<u8>], command_line: &str, modules: &[(&str, &[u8])]) {
    check_entry(side, pieces, Some(0x2bad_b002));
    let [info, map, line, loader, table, strings @ ..] = &pieces[7..] else {
        panic!("{side}: too few pieces")
    };
    assert_eq!(dword(info, 0) & 0x24f, 0x24f, "{side}: flags");
    assert!((630..=640).contains(&dword(info, 4)), "{side}: lower memory {}", dword(info, 4));
    assert!((254 << 10..=255 << 10).contains(&dword(info, 8)), "{side}: upper memory {}", dword(info, 8));
    assert_eq!(dword(info, 12) >> 24, 0x80, "{side}: boot device");
    assert!(map.len() >= 48 && map.len().is_multiple_of(24), "{side}: {} bytes of memory map", map.len());
    assert!(map.chunks(24).all(|row| dword(row, 0) == 20), "{side}: sizes of rows");
    assert!(has_ram(map.chunks(24).map(|bytes| row(bytes, 4))), "{side}: {map:x?}");
    assert_eq!(text(line), command_line, "{side}");
    assert_eq!(&loader[..3], if side == "QEMU" { b"qem" } else { b"emu" }, "{side}");
    assert_eq!((table.len(), strings.len()), (16 * modules.len(), 2 * modules.len()), "{side}: modules");
    for (number, (string, bytes)) in modules.iter().enumerate() {
        assert_eq!(dword(table, 16 * number) & 0xfff, 0, "{side}: modules are aligned to pages");
        assert_eq!(text(&strings[2 * number]), *string, "{side}");
        assert_eq!(strings[2 * number + 1], *bytes, "{side}");
    }
}

fn multiboot_with_modules(name: &str, image: Vec<u8>, qemu_takes_it: bool) {
    let scratch = Scratch::new(name);
    scratch.write("kernel", &image);
    let large: Vec<u8> = (0..10_000u32).map(|number| number as u8).collect();
    scratch.write("first", b"the first module");
    scratch.write("second", &large);
    let append = "a=1 -b";
    let modules = "first with words,second";
    let on_qemu: &[&str] = &["-kernel", "kernel", "-append", append, "-initrd", modules];
    everywhere(
        &scratch,
        &["--kernel", "kernel", "--append", append, "--initrd", modules],
        qemu_takes_it.then_some(on_qemu),
        |side, pieces| {
            let modules: [(&str, &[u8]); 2] = [("first with words", b"the first module"), ("second", &large)];
            check_multiboot(side, pieces, "kernel a=1 -b", &modules);
        },
    );
}

#[test]
fn a_flat_multiboot_image_and_its_modules() {
    multiboot_with_modules("flat_multiboot", images::flat_multiboot(), true);
}

#[test]
fn a_multiboot_elf_of_32_bits_and_its_modules() {
    multiboot_with_modules("elf_multiboot", images::elf_multiboot(false), true);
}

/// QEMU asks for a 32-bit one; GRUB takes it.
#[test]
fn a_multiboot_elf_of_64_bits_and_its_modules() {
    multiboot_with_modules("elf64_multiboot", images::elf_multiboot(true), false);
}

#[test]
fn a_multiboot_kernel_without_modules_and_words() {
    let scratch = Scratch::new("plain_multiboot");
    scratch.write("kernel", &images::elf_multiboot(false));
    everywhere(&scratch, &["--kernel", "kernel"], Some(&["-kernel", "kernel"]), |side, pieces| {
        // QEMU leaves a space behind the name.
        let mut pieces = pieces.to_vec();
        if side == "QEMU" {
            let end = pieces[9].iter().position(|&byte| byte == 0).expect("a final zero");
            assert_eq!(pieces[9][end - 1], b' ');
            pieces[9][end - 1] = 0;
        }
        check_multiboot(side, &pieces, "kernel", &[]);
    });
}

fn pvh(name: &str, wide: bool) {
    let scratch = Scratch::new(name);
    scratch.write("kernel", &images::elf_pvh(wide));
    scratch.write("initrd", b"an initial RAM disk");
    let ours = ["--kernel", "kernel", "--append", "a=1 -b", "--initrd", "initrd"];
    let qemus = ["-kernel", "kernel", "-append", "a=1 -b", "-initrd", "initrd"];
    everywhere(&scratch, &ours, Some(&qemus), |side, pieces| {
        check_entry(side, pieces, None);
        let [info, map, line, module, bytes] = &pieces[7..] else {
            panic!("{side}: {} pieces", pieces.len())
        };
        assert_eq!(dword(info, 0), 0x336e_c578, "{side}: magic");
        assert!(dword(info, 4) >= 1, "{side}: version");
        assert_eq!(dword(info, 12), 1, "{side}: modules");
        assert!(has_ram(map.chunks(24).map(|bytes| row(bytes, 0))), "{side}: {map:x?}");
        assert_eq!(text(line), "a=1 -b", "{side}");
        assert_eq!(dword(module, 8), 19, "{side}: size of the module");
        assert_eq!(bytes, b"an initial RAM disk", "{side}");
        if side != "our BIOS" {
            // SeaBIOS has ACPI tables.
            assert!((0xe_0000..0x10_0000).contains(&dword(info, 32)), "{side}: RSDP {:#x}", dword(info, 32));
        }
    });
}

#[test]
fn a_pvh_elf_of_32_bits() {
    pvh("pvh32", false);
}

#[test]
fn a_pvh_elf_of_64_bits() {
    pvh("pvh64", true);
}

fn check_zero_page(side: &str, page: &[u8], line: &[u8]) {
    assert_eq!(&page[0x202..0x206], b"HdrS", "{side}");
    assert_eq!((page[6], page[7], page[0xe], page[0xf]), (3, 80, 25, 1), "{side}: the screen");
    let rows = usize::from(page[0x1e8]);
    assert!(rows >= 4, "{side}: {rows} rows");
    assert!(has_ram((0..rows).map(|number| row(page, 0x2d0 + 20 * number))), "{side}");
    assert_eq!(text(line), "quiet a=1", "{side}");
}

#[test]
fn a_bzimage_by_its_32_bit_entry() {
    let scratch = Scratch::new("bzimage32");
    scratch.write("kernel", &images::bzimage());
    scratch.write("initrd", &[b'x'; 64]);
    let arguments =
        ["--kernel", "kernel", "--append", "quiet a=1", "--kernel-entry", "32", "--initrd", "initrd"];
    everywhere(&scratch, &arguments, None, |side, pieces| {
        let values: Vec<u32> = pieces[..5].iter().map(|piece| dword(piece, 0)).collect();
        assert_eq!((values[1] & 0x8000_0001, values[2] & 0x200), (1, 0), "{side}");
        assert_eq!(values[3..5], [u32::MAX; 2], "{side}");
        check_zero_page(side, &pieces[7], &pieces[8]);
        assert_eq!(pieces[9], [b'x'; 64], "{side}");
    });
}

#[test]
fn a_bzimage_by_its_64_bit_entry() {
    let scratch = Scratch::new("bzimage64");
    scratch.write("kernel", &images::bzimage());
    let arguments = ["--kernel", "kernel", "--append", "quiet a=1", "--kernel-entry", "64"];
    everywhere(&scratch, &arguments, None, |side, pieces| {
        assert_eq!(dword(&pieces[0], 0), 0x1234_5678, "{side}: 64-bit mode");
        check_zero_page(side, &pieces[1], &pieces[2]);
    });
}
