//! Faults explained, and lints, by the real command.

mod common;

use common::{Scratch, emu, refused, stderr};

/// Runs firmware and returns what the emulator said.
#[track_caller]
fn said(scratch: &Scratch, code: &[u8], status: i32, more: &[&str]) -> String {
    let bios = scratch.bios(code);
    let output = emu(&[&["--bios", &bios, "--no-reboot", "--max-insns", "10000"], more].concat());
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(status), "{text}");
    text
}

#[track_caller]
fn has(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is missing in:\n{text}");
    }
}

/// `lidt cs:[0F000h]` (zeros there); `int3`: a triple fault.
const TRIPLE_FAULT: [u8; 7] = [0x2e, 0x0f, 0x01, 0x1e, 0x00, 0xf0, 0xcc];

#[test]
fn a_triple_fault_prints_the_chain_with_the_checks_that_failed() {
    let scratch = Scratch::new("explain-triple");
    let text = said(&scratch, &TRIPLE_FAULT, 3, &[]);
    has(
        &text,
        &[
            "emu: triple fault: #GP(0x1a) at f000:e006",
            "instruction: f000:e006 (CPL 0)",
            "entry 0x3 of the IDT",
            "lies beyond the IDT's limit 0x0",
            "#DF",
            "rip=e006",
            "idtr base 0 limit 0",
            "--explain lists the last branches too",
        ],
    );
    let text = said(&scratch, &TRIPLE_FAULT, 3, &["--explain"]);
    has(&text, &["last 1 branches", "fffffff0 -> fe000"]);
}

/// Protected mode by a GDT at F000:E100, then `code` in 32-bit code; the IDT is empty.
fn protected(code: &[u8]) -> Vec<u8> {
    let mut image = vec![
        0x2e, 0x66, 0x0f, 0x01, 0x16, 0x80, 0xe0, // o32 lgdt cs:[E080h]
        0x0f, 0x20, 0xc0, // mov eax, cr0
        0x0c, 0x01, // or al, 1
        0x0f, 0x22, 0xc0, // mov cr0, eax
        0x66, 0xea, 0x20, 0xe0, 0x0f, 0x00, 0x08, 0x00, // jmp 8:000FE020h
    ];
    image.resize(0x20, 0x90);
    // mov ax, 10h; mov ds, ax; mov es, ax
    image.extend([0x66, 0xb8, 0x10, 0x00, 0x8e, 0xd8, 0x8e, 0xc0]);
    image.extend(code);
    assert!(image.len() <= 0x80);
    image.resize(0x80, 0);
    image.extend([0x2f, 0, 0x00, 0xe1, 0x0f, 0x00]); // limit, base 000FE100h
    image.resize(0x100, 0);
    for descriptor in [
        0,
        0x00cf_9b00_0000_ffff_u64, // 08h: code
        0x00cf_9300_0000_ffff,     // 10h: data
        0x0000_9300_0000_0fff,     // 18h: 4 KiB of data
        0x0000_1300_0000_ffff,     // 20h: data, not present
        0x0000_9100_0000_ffff,     // 28h: read-only data
    ] {
        image.extend(descriptor.to_le_bytes());
    }
    image
}

#[test]
fn the_check_that_failed_is_named() {
    let scratch = Scratch::new("explain-checks");
    // mov ax, selector; mov ds, ax, then an access.
    let load =
        |selector: u8, then: &[u8]| protected(&[&[0x66, 0xb8, selector, 0, 0x8e, 0xd8], then].concat());
    // mov [2000h], al
    let store = [0xa2, 0x00, 0x20, 0x00, 0x00];
    let far = said(&scratch, &load(0x18, &store), 3, &[]);
    has(&far, &["#GP(0x0)", "outside the limit of DS: 0x0 to 0xfff", "mov [2000h],al"]);
    let absent = said(&scratch, &load(0x20, &[]), 3, &[]);
    has(&absent, &["#NP(0x20)", "entry 0x4 of the GDT", "not present (P = 0)", "writable data"]);
    let read_only = said(&scratch, &load(0x28, &store), 3, &[]);
    has(&read_only, &["#GP(0x0)", "DS may not be written"]);
    let outside = said(&scratch, &load(0x70, &[]), 3, &[]);
    has(&outside, &["#GP(0x70)", "beyond the GDT's limit 0x2f"]);
    let null = said(&scratch, &load(0x00, &store), 3, &[]);
    has(&null, &["#GP(0x0)", "DS holds a null selector"]);
    // mov ecx, 12345678h; rdmsr
    let msr = said(&scratch, &protected(&[0xb9, 0x78, 0x56, 0x34, 0x12, 0x0f, 0x32]), 3, &[]);
    has(&msr, &["MSR 0x12345678 does not exist"]);
    // mov dword [1000h], 2003h (PDE 0 -> table at 2000h); mov dword [23f8h], 0FE003h; mov eax, 1000h; mov cr3, eax;
    // mov dword [2000h + 4*254], FE003h; cr0 |= PG; mov al, [5000h]
    let paging = said(
        &scratch,
        &protected(&[
            0xc7, 0x05, 0x00, 0x10, 0x00, 0x00, 0x03, 0x20, 0x00, 0x00, // mov dword [1000h], 2003h
            0xc7, 0x05, 0xf8, 0x23, 0x00, 0x00, 0x03, 0xe0, 0x0f, 0x00, // mov dword [23F8h], FE003h
            0xb8, 0x00, 0x10, 0x00, 0x00, 0x0f, 0x22, 0xd8, // mov eax, 1000h; mov cr3, eax
            0x0f, 0x20, 0xc0, 0x0d, 0x00, 0x00, 0x00, 0x80, 0x0f, 0x22, 0xc0, // or cr0, PG
            0xa0, 0x00, 0x50, 0x00, 0x00, // mov al, [5000h]
        ]),
        3,
        &["--explain"],
    );
    has(
        &paging,
        &[
            "#PF(0x0)",
            "supervisor-mode read at linear address 0x5000",
            "check: the P flag is 0 in the PTE",
            "page walk from CR3 = 0x1000",
            "PDE at 0x1000 = 0000000000002023: P R/W",
            "PTE at 0x2014 = 0000000000000000: not present",
            "last 2 branches",
        ],
    );
}

#[test]
fn lints_find_what_has_no_meaning() {
    let scratch = Scratch::new("lint");
    let lint = |code: &[u8], lints: &str| {
        let bios = scratch.bios(&[code, &[0xeb, 0xfe]].concat());
        let output = emu(&["--bios", &bios, "--max-insns", "1000", "--lint", lints]);
        assert_eq!(output.status.code(), Some(4), "{}", stderr(&output));
        stderr(&output)
    };
    // mov al, 3; mul al; jz +0: MUL leaves ZF undefined
    let flags = [0xb0, 0x03, 0xf6, 0xe0, 0x74, 0x00];
    has(&lint(&flags, "flags"), &["at fe004", "uses ZF", "fe002 left undefined"]);
    assert_eq!(lint(&[0xb0, 0x03, 0x3c, 0x01, 0x74, 0x00], "flags"), "", "CMP defines it");
    // xor ax, ax; mov ds, ax; mov al, [6000h]
    let read = [0x31, 0xc0, 0x8e, 0xd8, 0xa0, 0x00, 0x60];
    has(&lint(&read, "unwritten"), &["at fe004", "reads 6000", "never written"]);
    // mov [6000h], al first
    let written = [0x31, 0xc0, 0x8e, 0xd8, 0xa2, 0x00, 0x60, 0xa0, 0x00, 0x60];
    assert_eq!(lint(&written, "all"), "");
    // mov dx, 2F0h; in al, dx
    has(&lint(&[0xba, 0xf0, 0x02, 0xec], "ports"), &["at fe003", "reads port 0x02f0"]);
    // mov ax, cs; mov ds, ax; mov [0], al: F0000h is ROM
    has(&lint(&[0x8c, 0xc8, 0x8e, 0xd8, 0xa2, 0x00, 0x00], "rom"), &["at fe004", "writes f0000", "ROM"]);
    refused(&["--lint", "everything"], 2, &["--lint"]);
}

/// Timer interrupts by the 8259A and the 8254 at vector 8, whose handler is `handler`.
fn timer(handler: &[u8]) -> Vec<u8> {
    let mut code = vec![
        0x31, 0xc0, 0x8e, 0xd8, // xor ax, ax; mov ds, ax
        0xc7, 0x06, 0x20, 0x00, 0x80, 0xe0, // mov word [20h], E080h
        0x8c, 0x0e, 0x22, 0x00, // mov [22h], cs
    ];
    // ICW1 to ICW4, all masked but IRQ 0; counter 0 in mode 2, 100 clocks
    for (port, value) in [
        (0x20, 0x11),
        (0x21, 0x08),
        (0x21, 0x04),
        (0x21, 0x01),
        (0x21, 0xfe),
        (0x43, 0x34),
        (0x40, 100),
        (0x40, 0),
    ] {
        code.extend([0xb0, value, 0xe6, port]);
    }
    code.extend([0xfb, 0xeb, 0xfe]); // sti; jmp $
    assert!(code.len() <= 0x80);
    code.resize(0x80, 0x90);
    code.extend(handler);
    code
}

#[test]
fn a_handler_without_eoi_is_found() {
    let scratch = Scratch::new("lint-eoi");
    let lint = |handler: &[u8]| {
        let bios = scratch.bios(&timer(handler));
        let output = emu(&["--bios", &bios, "--max-insns", "300000", "--lint", "eoi"]);
        assert_eq!(output.status.code(), Some(4), "{}", stderr(&output));
        stderr(&output)
    };
    // iret
    let text = lint(&[0xcf]);
    has(&text, &["at fe080", "the handler of interrupt 0x08 returns, and there was no EOI"]);
    assert_eq!(text.lines().count(), 1, "once for each instruction: {text}");
    // mov al, 20h; out 20h, al; iret
    assert_eq!(lint(&[0xb0, 0x20, 0xe6, 0x20, 0xcf]), "");
    // mov al, 0Bh; out 20h, al is OCW3, which reads the ISR.
    has(&lint(&[0xb0, 0x0b, 0xe6, 0x20, 0xcf]), &["at fe084", "no EOI"]);
}

#[test]
fn symbols_name_where_lints_and_explained_faults_are() {
    let scratch = Scratch::new("lint-symbols");
    let map = scratch.write(
        "System.map",
        b"00000000000fe000 T multiply\n00000000000fe004 T judge\n00000000fffffff0 T reset_vector\n",
    );
    // mov al, 3; mul al; jz +0; jmp $: MUL leaves ZF undefined
    let bios = scratch.bios(&[0xb0, 0x03, 0xf6, 0xe0, 0x74, 0x00, 0xeb, 0xfe]);
    let lint = |symbols: &[&str]| {
        let output = emu(&[&["--bios", &bios, "--max-insns", "100", "--lint", "flags"], symbols].concat());
        assert_eq!(output.status.code(), Some(4), "{}", stderr(&output));
        stderr(&output)
    };
    has(&lint(&["--symbols", &map]), &["at fe004 <judge>", "uses ZF", "fe002 <multiply+0x2> left undefined"]);
    assert!(!lint(&[]).contains('<'), "no names without symbols");
    let text = said(&scratch, &TRIPLE_FAULT, 3, &["--explain", "--symbols", &map]);
    has(&text, &["in judge+0x2", "fffffff0 <reset_vector> -> fe000 <multiply>"]);
}
