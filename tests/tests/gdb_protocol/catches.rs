//! What can be caught, in a loop that has run long enough to be translated.

use emu_tests::gdb_client::{Client, start};

use crate::LIMIT;

const RBX: usize = 1;
/// Rounds of the loop; the translator takes it over after some tens.
const ROUNDS: u32 = 400;

/// Real mode at 7C00h, protected mode, paging, and at `LOOP` a loop of everything that can be caught. EBX counts down.
fn program() -> Vec<u8> {
    let mut code = vec![
        0xfa, // cli
        0x0f, 0x01, 0x16, 0xd8, 0x7d, // lgdt [7DD8h]
        0x0f, 0x20, 0xc0, 0x0c, 0x01, 0x0f, 0x22, 0xc0, // cr0 |= PE
        0xea, 0x20, 0x7c, 0x08, 0x00, // jmp 8:7C20h
    ];
    code.resize(0x20, 0x90);
    code.extend([0x66, 0xb8, 0x10, 0, 0x8e, 0xd8, 0x8e, 0xc0, 0x8e, 0xd0]); // DS, ES, SS = 10h
    code.extend([0xbc, 0, 0x90, 0, 0]); // mov esp, 9000h
    code.extend([0x0f, 0x01, 0x1d, 0xe0, 0x7d, 0, 0]); // lidt [7DE0h]
    code.extend([0xb8, 0x10, 0, 0, 0, 0x0f, 0x22, 0xe0]); // mov eax, 10h; mov cr4, eax: PSE
    code.extend([0xb8, 0, 0x20, 0, 0, 0x0f, 0x22, 0xd8]); // mov eax, 2000h; mov cr3, eax
    code.extend([0x0f, 0x20, 0xc0, 0x0d, 0, 0, 0, 0x80, 0x0f, 0x22, 0xc0]); // cr0 |= PG
    code.push(0xbb); // mov ebx, ROUNDS
    code.extend(ROUNDS.to_le_bytes());
    code.resize(0x80, 0x90);
    for (_, bytes) in LOOP {
        code.extend(*bytes);
    }
    code.push(0x4b); // dec ebx
    let back = -(code.len() as i32 + 6 - 0x80);
    code.extend([0x0f, 0x85]); // jnz
    code.extend(back.to_le_bytes());
    code.extend([0xeb, 0xfe]);
    // Handlers: the divide error and the page fault go on behind their instruction, INT 30h returns.
    assert!(code.len() <= 0x140);
    code.resize(0x140, 0x90);
    code.extend([0x83, 0x04, 0x24, 0x02, 0xcf]); // add dword [esp], 2; iretd
    code.resize(0x150, 0x90);
    code.extend([0x83, 0xc4, 0x04, 0x83, 0x04, 0x24, 0x05, 0xcf]); // add esp, 4; add dword [esp], 5; iretd
    code.resize(0x160, 0x90);
    code.push(0xcf);
    code.resize(0x1c0, 0);
    for descriptor in [0, 0x00cf_9b00_0000_ffff_u64, 0x00cf_9300_0000_ffff] {
        code.extend(descriptor.to_le_bytes());
    }
    code.extend([0x17, 0, 0xc0, 0x7d, 0, 0, 0, 0]); // GDT: limit, 7DC0h
    code.extend([0xff, 0x07, 0, 0x30, 0, 0, 0, 0]); // IDT: limit, 3000h
    code
}

/// What the loop does, with the command that catches it; the stop is behind the last byte, or before it for exceptions.
const LOOP: &[(&str, &[u8])] = &[
    ("catch port 0x80", &[0xe6, 0x80]),
    ("", &[0x0f, 0x20, 0xd8]),
    ("catch cr3", &[0x0f, 0x22, 0xd8]),
    ("catch interrupt 0x30", &[0xcd, 0x30]),
    ("", &[0xb9, 0x74, 0x01, 0, 0, 0x31, 0xd2, 0x31, 0xc0]), // ecx = IA32_SYSENTER_CS; edx = eax = 0
    ("catch msr 0x174", &[0x0f, 0x30]),
    ("catch exception #DE", &[0xf7, 0xf2]),
    ("catch exception #PF", &[0xa1, 0, 0, 0x80, 0]),
];

fn write(client: &mut Client, address: u64, bytes: &[u8]) {
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(client.ask(&format!("M{address:x},{:x}:{hex}", bytes.len())), "OK");
}

#[test]
fn everything_is_caught_in_code_that_runs_often() {
    for engine in ["interp", "jit"] {
        let (_emulator, address) = start(&["--paused", "--accel", engine], LIMIT);
        let mut client = Client::connect(&address);
        assert_eq!(client.ask("Z1,7c00,1"), "OK");
        assert!(client.ask("vCont;c").contains("hwbreak"));
        assert_eq!(client.ask("z1,7c00,1"), "OK");
        write(&mut client, 0x7c00, &program());
        write(&mut client, 0x2000, &[0x83u64.to_le_bytes(), [0; 8]].concat());
        for (vector, handler) in [(0u64, 0x7d40u64), (14, 0x7d50), (0x30, 0x7d60)] {
            let gate = handler & 0xffff | 8 << 16 | 0x8e00 << 32;
            write(&mut client, 0x3000 + 8 * vector, &gate.to_le_bytes());
        }
        for (catch, _) in LOOP.iter().filter(|(catch, _)| !catch.is_empty()) {
            let reply = client.monitor(&format!("{catch} if ebx == 1"));
            assert!(reply.starts_with("point "), "{catch}: {reply}");
        }
        let mut at = 0x7c80;
        for (catch, bytes) in LOOP {
            let begin = at;
            at += bytes.len() as u64;
            if catch.is_empty() {
                continue;
            }
            let stop = client.ask("vCont;c");
            assert!(stop.starts_with("T05"), "{engine}, {catch}: {stop}");
            let place = match *catch {
                catch if catch.contains("exception") => begin,
                catch if catch.contains("interrupt") => 0x7d60,
                _ => at,
            };
            assert_eq!((client.pc(), client.register(RBX)), (place, 1), "{engine}, {catch}");
        }
        client.monitor("delete all");
        assert_eq!(client.ask(&format!("Z1,{:x},1", at + 7)), "OK");
        assert!(client.ask("vCont;c").contains("hwbreak"), "{engine}: the loop's end");
        assert_eq!(client.register(RBX), 0);
    }
}
