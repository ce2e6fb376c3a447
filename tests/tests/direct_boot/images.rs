//! Small kernels, made here: each tells by port E9h in what state it was entered and what it was told.

use iced_x86::IcedError;
use iced_x86::code_asm::*;

/// Where the kernels lie.
pub const LOAD: u32 = 0x0012_0000;
/// What their debug-exit port is, and the exit status that they end with.
pub const EXIT_PORT: u16 = 0xf4;
pub const EXIT_STATUS: i32 = 0x2b;
/// Bytes that stand behind the code in the file, to be found in memory, and zeros that stand behind them there.
pub const DATA: &[u8; 16] = b"data of a kernel";
pub const ZEROS: u32 = 0x3000;

/// What a kernel is told, and by which register.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    Multiboot,
    Pvh,
    Linux32,
    Linux64,
}

/// Addresses of the data and of a stack.
struct Places {
    data: u32,
    stack: u32,
}

/// Sends the length in ECX and as many bytes from ESI. Changes EAX, EDX and both.
fn dump(a: &mut CodeAssembler) -> Result<CodeLabel, IcedError> {
    let mut skip = a.create_label();
    let mut routine = a.create_label();
    let mut next = a.create_label();
    let mut done = a.create_label();
    a.jmp(skip)?;
    a.set_label(&mut routine)?;
    a.mov(edx, 0xe9)?;
    a.mov(eax, ecx)?;
    for _ in 0..4 {
        a.out(dx, al)?;
        a.ror(eax, 8)?;
    }
    a.set_label(&mut next)?;
    a.test(ecx, ecx)?;
    a.jz(done)?;
    a.lodsb()?;
    a.out(dx, al)?;
    a.sub(ecx, 1)?;
    a.jmp(next)?;
    a.set_label(&mut done)?;
    a.ret()?;
    a.set_label(&mut skip)?;
    Ok(routine)
}

/// Sends one dword.
fn word(a: &mut CodeAssembler, routine: CodeLabel, slot: u32) -> Result<(), IcedError> {
    a.mov(dword_ptr(slot), eax)?;
    a.mov(esi, slot)?;
    a.mov(ecx, 4)?;
    a.call(routine)
}

fn kernel_code(protocol: Protocol, at: &Places) -> Result<CodeAssembler, IcedError> {
    let mut assembler = CodeAssembler::new(if protocol == Protocol::Linux64 { 64 } else { 32 })?;
    let a = &mut assembler;
    let slot = at.stack;
    if protocol == Protocol::Linux64 {
        // Only the information, by its address in RSI, and that this is 64-bit mode.
        a.mov(rsp, u64::from(at.stack))?;
        a.mov(rdi, rsi)?;
        let routine = dump(a)?;
        a.mov(eax, cs)?;
        a.lsl(eax, eax)?;
        a.mov(rbx, 0x1234_5678_9abc_def0u64)?;
        a.shr(rbx, 32)?;
        a.mov(dword_ptr(slot), ebx)?;
        a.mov(esi, slot)?;
        a.mov(ecx, 4)?;
        a.call(routine)?;
        a.mov(rsi, rdi)?;
        a.mov(ecx, 4096)?;
        a.call(routine)?;
        a.mov(esi, dword_ptr(rdi + 0x228))?;
        a.mov(ecx, 64)?;
        a.call(routine)?;
    } else {
        a.mov(esp, at.stack)?;
        a.mov(ebp, eax)?;
        a.mov(edi, if protocol == Protocol::Linux32 { esi } else { ebx })?;
        let routine = dump(a)?;
        a.mov(eax, ebp)?;
        word(a, routine, slot)?; // EAX at the entry
        a.mov(eax, cr0)?;
        word(a, routine, slot)?;
        a.pushfd()?;
        a.pop(eax)?;
        word(a, routine, slot)?;
        a.mov(ebx, cs)?;
        a.lsl(eax, ebx)?;
        word(a, routine, slot)?;
        a.mov(ebx, ds)?;
        a.lsl(eax, ebx)?;
        word(a, routine, slot)?;
        a.in_(al, 0x92)?;
        word(a, routine, slot)?;
        a.mov(esi, at.data)?;
        a.mov(ecx, 16 + ZEROS)?;
        a.call(routine)?; // what the loader made of the segments
        match protocol {
            Protocol::Multiboot => multiboot(a, routine)?,
            Protocol::Pvh => pvh(a, routine)?,
            _ => {
                a.mov(esi, edi)?;
                a.mov(ecx, 4096)?;
                a.call(routine)?;
                send(a, routine, dword_ptr(edi + 0x228), 64)?;
                send(a, routine, dword_ptr(edi + 0x218), 64)?;
            }
        }
    }
    a.mov(edx, u32::from(EXIT_PORT))?;
    a.mov(eax, (EXIT_STATUS as u32) >> 1)?;
    a.out(dx, eax)?;
    let mut end = a.create_label();
    a.set_label(&mut end)?;
    a.hlt()?;
    a.jmp(end)?;
    Ok(assembler)
}

/// Sends `length` bytes from the address in that field.
fn send(
    a: &mut CodeAssembler,
    routine: CodeLabel,
    field: AsmMemoryOperand,
    length: u32,
) -> Result<(), IcedError> {
    a.mov(esi, field)?;
    a.mov(ecx, length)?;
    a.call(routine)
}

/// Information, memory map, command line, loader's name, table of modules, string and bytes of each.
fn multiboot(a: &mut CodeAssembler, routine: CodeLabel) -> Result<(), IcedError> {
    a.mov(esi, edi)?;
    a.mov(ecx, 116)?;
    a.call(routine)?;
    a.mov(esi, dword_ptr(edi + 48))?;
    a.mov(ecx, dword_ptr(edi + 44))?;
    a.call(routine)?;
    send(a, routine, dword_ptr(edi + 16), 256)?;
    send(a, routine, dword_ptr(edi + 64), 4)?;
    a.mov(ecx, dword_ptr(edi + 20))?;
    a.shl(ecx, 4)?;
    a.mov(esi, dword_ptr(edi + 24))?;
    a.call(routine)?;
    a.mov(ebp, dword_ptr(edi + 20))?;
    a.mov(ebx, dword_ptr(edi + 24))?;
    let (mut next, mut done) = (a.create_label(), a.create_label());
    a.set_label(&mut next)?;
    a.test(ebp, ebp)?;
    a.jz(done)?;
    a.mov(esi, dword_ptr(ebx + 8))?;
    a.mov(ecx, 256)?;
    a.call(routine)?;
    a.mov(esi, dword_ptr(ebx))?;
    a.mov(ecx, dword_ptr(ebx + 4))?;
    a.sub(ecx, esi)?;
    a.call(routine)?;
    a.add(ebx, 16)?;
    a.sub(ebp, 1)?;
    a.jmp(next)?;
    a.set_label(&mut done)?;
    a.nop()
}

/// Start information, memory map, command line, the module's row, its first bytes; the segment limit of TR.
fn pvh(a: &mut CodeAssembler, routine: CodeLabel) -> Result<(), IcedError> {
    a.mov(esi, edi)?;
    a.mov(ecx, 56)?;
    a.call(routine)?;
    a.mov(esi, dword_ptr(edi + 40))?;
    a.mov(eax, dword_ptr(edi + 48))?;
    a.imul_3(ecx, eax, 24)?;
    a.call(routine)?;
    send(a, routine, dword_ptr(edi + 24), 64)?;
    a.mov(ebx, dword_ptr(edi + 16))?;
    a.mov(esi, ebx)?;
    a.mov(ecx, 32)?;
    a.call(routine)?;
    a.mov(esi, dword_ptr(ebx))?;
    a.mov(ecx, dword_ptr(ebx + 8))?;
    a.call(routine)
}

/// The code, for this address, and behind it the data; returns its length without them too.
fn code(protocol: Protocol, address: u32) -> (Vec<u8>, usize) {
    let assemble = |at: Places| {
        let mut assembler = kernel_code(protocol, &at).expect("the operands fit");
        assembler.assemble(address.into()).expect("the labels are near")
    };
    // Addresses are 32-bit operands, except that small ones get shorter forms: these are large.
    let length = assemble(Places { data: LOAD, stack: LOAD }).len().next_multiple_of(16);
    let data = address + length as u32;
    let mut bytes = assemble(Places { data, stack: data + 16 + ZEROS + 0x1000 });
    bytes.resize(length, 0x90);
    bytes.extend_from_slice(DATA);
    (bytes, length)
}

fn multiboot_header(flags: u32) -> Vec<u8> {
    let magic = 0x1bad_b002u32;
    let check = 0u32.wrapping_sub(magic).wrapping_sub(flags);
    [magic, flags, check].iter().flat_map(|field| field.to_le_bytes()).collect()
}

/// A flat Multiboot image that says itself where it goes.
pub fn flat_multiboot() -> Vec<u8> {
    const BEFORE: u32 = 64; // of the file, not loaded
    let (code, _) = code(Protocol::Multiboot, LOAD + 32);
    let end = LOAD + 32 + code.len() as u32;
    let mut image = vec![0xee; BEFORE as usize];
    image.extend(multiboot_header(0x1_0003));
    for field in [LOAD, LOAD, end, end + ZEROS, LOAD + 32] {
        image.extend_from_slice(&field.to_le_bytes());
    }
    image.extend(code);
    image.extend_from_slice(&[0xee; 100]); // behind load_end_addr
    image
}

/// An ELF Multiboot kernel; its segments are linked for 3 GiB above where they go.
pub fn elf_multiboot(wide: bool) -> Vec<u8> {
    let (code, _) = code(Protocol::Multiboot, LOAD);
    elf(wide, &code, &multiboot_header(0x3))
}

/// An ELF kernel with the note of a PVH entry.
pub fn elf_pvh(wide: bool) -> Vec<u8> {
    let (code, _) = code(Protocol::Pvh, LOAD);
    let word = if wide { 8u32 } else { 4 };
    let mut note = Vec::new();
    for field in [4, word, 18] {
        note.extend_from_slice(&field.to_le_bytes());
    }
    note.extend_from_slice(b"Xen\0");
    note.extend_from_slice(&u64::from(LOAD).to_le_bytes()[..word as usize]);
    elf(wide, &code, &note)
}

/// An executable: a note segment, and one for the code with zeros behind it.
fn elf(wide: bool, code: &[u8], note: &[u8]) -> Vec<u8> {
    const VIRTUAL: u64 = 0xc000_0000;
    const NOTE: u64 = 0x200;
    const CODE: u64 = 0x400;
    let mut image = Vec::new();
    let number = |image: &mut Vec<u8>, value: u64, size: usize| {
        image.extend_from_slice(&value.to_le_bytes()[..size]);
    };
    let word = if wide { 8 } else { 4 };
    let entry = u64::from(LOAD) + VIRTUAL;
    image.extend_from_slice(&[
        0x7f,
        b'E',
        b'L',
        b'F',
        if wide { 2 } else { 1 },
        1,
        1,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
    ]);
    let header_size = if wide { 64 } else { 52 };
    for (value, size) in [
        (2, 2),
        (if wide { 62 } else { 3 }, 2),
        (1, 4),
        (entry, word),
        (header_size, word),
        (0, word),
        (0, 4),
        (header_size, 2),
        (if wide { 56 } else { 32 }, 2),
        (2, 2),
        (0, 2),
        (0, 2),
        (0, 2),
    ] {
        number(&mut image, value, size);
    }
    let rows = [
        (4u64, NOTE, 0u64, note.len() as u64, note.len() as u64),
        (1, CODE, LOAD.into(), code.len() as u64, code.len() as u64 + u64::from(ZEROS)),
    ];
    for (kind, offset, address, in_file, in_memory) in rows {
        number(&mut image, kind, 4);
        if wide {
            number(&mut image, 7, 4);
        }
        for value in [offset, address + VIRTUAL, address, in_file, in_memory] {
            number(&mut image, value, word);
        }
        if !wide {
            number(&mut image, 7, 4);
        }
        number(&mut image, 4, word);
    }
    assert!(image.len() <= NOTE as usize && note.len() <= (CODE - NOTE) as usize, "the parts fit");
    image.resize(NOTE as usize, 0);
    image.extend_from_slice(note);
    image.resize(CODE as usize, 0);
    image.extend_from_slice(code);
    image
}

/// A bzImage of protocol 2.15 with a 32-bit entry and, 200h behind it, a 64-bit one.
pub fn bzimage() -> Vec<u8> {
    let mut image = vec![0; 1024];
    let kernel = 0x10_0000;
    let (entry, _) = code(Protocol::Linux32, kernel);
    assert!(entry.len() <= 0x200, "the 32-bit entry takes {} bytes", entry.len());
    let mut both = entry;
    both.resize(0x200, 0);
    both.extend(code(Protocol::Linux64, kernel + 0x200).0);
    both.resize(both.len().next_multiple_of(16), 0);
    let mut put = |at: usize, bytes: &[u8]| image[at..at + bytes.len()].copy_from_slice(bytes);
    put(0x1f1, &[1]);
    put(0x1f4, &(both.len() as u32 / 16).to_le_bytes());
    put(0x1fe, &[0x55, 0xaa]);
    put(0x200, &[0xeb, 0x6a]); // the header ends at 26Ch
    put(0x202, b"HdrS\x0f\x02");
    put(0x211, &[0x01]);
    put(0x22c, &0x7fff_ffffu32.to_le_bytes());
    put(0x236, &[0x01]);
    put(0x238, &255u32.to_le_bytes());
    put(0x258, &0x10_0000u64.to_le_bytes());
    put(0x260, &0x10_0000u32.to_le_bytes());
    image.extend(both);
    image
}
