//! The firmware around the cases: from reset to the mode in which cases are prepared, handlers for whatever a case
//! meets, and the way back.
//!
//! It lies in ROM, where no case can write. Whatever happens to a case, sooner or later it ends in a handler, which is
//! reached by way of a supervisor's stack and puts control registers and segments right before anything else.

use iced_x86::IcedError;
use iced_x86::code_asm::*;

use super::places::*;
use super::tables::Memory;

/// Bytes of the image: the most that firmware may have below 4 GiB without meeting chips.
pub const SIZE: usize = 1 << 20;
/// Offset of the last 64 KiB, which are also the segment F000h.
pub const TOP: usize = SIZE - 0x1_0000;
/// CR0 while cases are prepared: PE, MP, ET, NE, WP, PG.
pub const CR0: u32 = 0x8001_0033;
/// CR4: PAE, OSFXSR, OSXMMEXCPT, OSXSAVE.
pub const CR4: u32 = 0x4_0620;
/// Vectors that real mode has a handler for.
const REAL_VECTORS: usize = 48;

// Offsets in the last 64 KiB.
const TABLES_COPY: usize = 0;
const DATA_COPY: usize = 0x900;
const CODE_COPY: usize = 0xb00;
const WINDOW_COPY: usize = 0xb80;
const REAL_STUBS: usize = 0x1000;
const REAL_RECOVER: usize = 0x1400;
const TO_REAL: usize = 0x1500;
const GDT_POINTER: usize = 0x1600;
const IDT_POINTER: usize = 0x1610;
const REAL_IDT_POINTER: usize = 0x1620;
const STUBS: usize = 0x2000;
const DOUBLE_FAULT: usize = 0x2180;
const RECOVER: usize = 0x2200;
const RESTORE: usize = 0x2400;
const BOOT: usize = 0xe000;
const BOOT_32: usize = 0xe100;

/// Linear address of an offset in the image.
pub fn linear(offset: usize) -> u64 {
    (1 << 32) - SIZE as u64 + offset as u64
}

/// Linear address of an offset in the last 64 KiB.
fn top(offset: usize) -> u64 {
    linear(TOP + offset)
}

/// Where handlers lie.
pub fn handlers() -> super::tables::Handlers {
    super::tables::Handlers { stubs: top(STUBS) as u32, double_fault: top(DOUBLE_FAULT) as u32 }
}

/// Address of the routine that puts memory right; it leaves general registers changed.
pub fn restore() -> u64 {
    top(RESTORE)
}

/// Entries of the window's pages: user and writable, read-only, supervisor, not present, reserved bits, no-execute.
fn window() -> Vec<u8> {
    const XD: u64 = 1 << 63;
    let rights = [7, 5, 3, 1, 0, 7 | XD, 0x67, 7 | 1 << 51];
    let entries = (0..8).map(|n| rights[n] | (u64::from(WINDOW) + 0x1000 * n as u64));
    entries.flat_map(u64::to_le_bytes).collect()
}

/// The monitor in an image of [`SIZE`] bytes, with room for cases from its beginning to [`TOP`].
///
/// # Errors
/// When something cannot be assembled, which is a fault of ours.
pub fn image(bits: u32, tables: &Memory, data: &Memory) -> Result<Vec<u8>, IcedError> {
    let mut image = vec![0xcc; SIZE];
    let mut put = |at: usize, bytes: &[u8]| image[TOP + at..][..bytes.len()].copy_from_slice(bytes);
    put(TABLES_COPY, &tables.bytes);
    put(DATA_COPY, &data.bytes);
    put(WINDOW_COPY, &window());
    let pointer =
        |limit: u32, base: u32| [&(limit as u16).to_le_bytes()[..], &base.to_le_bytes(), &[0; 4]].concat();
    put(GDT_POINTER, &pointer(GDT_SIZE - 1, GDT));
    put(IDT_POINTER, &pointer(VECTORS * if bits == 64 { 16 } else { 8 } - 1, IDT));
    put(REAL_IDT_POINTER, &pointer(0x3ff, 0));
    for vector in 0..REAL_VECTORS {
        let at = REAL_STUBS + 4 * vector;
        let back = (REAL_RECOVER as i32 - at as i32 - 3) as i16;
        put(at, &[0xe9, back as u8, (back >> 8) as u8]);
    }
    put(REAL_RECOVER, &real_recover()?);
    put(TO_REAL, &to_real()?);
    for vector in 0..VECTORS as usize {
        let at = STUBS + 8 * vector;
        put(at, &jump(at, RECOVER));
    }
    put(DOUBLE_FAULT, &jump(DOUBLE_FAULT, RECOVER));
    put(RECOVER, &if bits == 64 { recover_64()? } else { recover_32()? });
    put(RESTORE, &restore_memory(bits)?);
    put(BOOT, &boot()?);
    put(BOOT_32, &boot_32(bits)?);
    let back = (BOOT as i32 - 0xfff3) as i16;
    put(0xfff0, &[0xe9, back as u8, (back >> 8) as u8]);
    Ok(image)
}

fn jump(from: usize, to: usize) -> Vec<u8> {
    [&[0xe9][..], &(to as i32 - from as i32 - 5).to_le_bytes()].concat()
}

/// Far jump with an offset of 32 bits, in code of 16 bits (with the prefix) or 32 bits.
fn far_jump(bits: u32, segment: u16, offset: u64) -> Vec<u8> {
    let prefix: &[u8] = if bits == 16 { &[0x66] } else { &[] };
    [prefix, &[0xea], &(offset as u32).to_le_bytes(), &segment.to_le_bytes()].concat()
}

/// Reset: real mode, CS.base FFFF0000h.
fn boot() -> Result<Vec<u8>, IcedError> {
    let mut a = CodeAssembler::new(16)?;
    a.cli()?;
    let copy = [0x2e, 0x66, 0x0f, 0x01, 0x16, 0x30, 0x16];
    // The tables are still in ROM only: LGDT CS:[1630h].
    a.db(&copy)?;
    a.mov(eax, cr0)?;
    a.or(al, 1)?;
    a.mov(cr0, eax)?;
    a.db(&far_jump(16, selector::CODE_32, top(BOOT_32)))?;
    a.assemble(BOOT as u64)
}

/// The first descriptors of the GDT in ROM, for `boot`.
pub fn boot_pointer(image: &mut [u8]) {
    let base = top(TABLES_COPY) as u32;
    image[TOP + 0x1630..][..2].copy_from_slice(&0x1fu16.to_le_bytes());
    image[TOP + 0x1632..][..4].copy_from_slice(&base.to_le_bytes());
}

/// Fills memory with INT3 where code may be led to, makes paging structures, and goes on to the first case.
fn boot_32(bits: u32) -> Result<Vec<u8>, IcedError> {
    let mut a = CodeAssembler::new(32)?;
    let flat = u32::from(selector::DATA);
    a.mov(eax, flat)?;
    for segment in [ds, es, ss, fs, gs] {
        a.mov(segment, ax)?;
    }
    a.mov(esp, MONITOR_STACK)?;
    // No interrupts from outside.
    a.mov(al, 0xff)?;
    a.out(0x21, al)?;
    a.out(0xa1, al)?;
    // SSE, for each step costs the comparison time.
    a.mov(eax, 0x600)?;
    a.mov(cr4, eax)?;
    a.mov(eax, 0xcccc_ccccu32)?;
    a.movd(xmm0, eax)?;
    a.pshufd(xmm0, xmm0, 0)?;
    a.mov(edi, 0x400)?;
    let mut round = a.create_label();
    a.set_label(&mut round)?;
    for n in 0..32 {
        a.movups(xmmword_ptr(edi + 16 * n), xmm0)?;
    }
    a.add(edi, 512)?;
    a.cmp(edi, TABLES as i32)?;
    a.jb(round)?;
    let fill = |a: &mut CodeAssembler, to: u32, first: u32, step: u32, count: u32| {
        let mut round = a.create_label();
        a.mov(edi, to)?;
        a.mov(eax, first)?;
        a.mov(ecx, count)?;
        a.set_label(&mut round)?;
        a.mov(dword_ptr(edi), eax)?;
        a.mov(dword_ptr(edi + 4), 0)?;
        a.add(edi, 8)?;
        a.add(eax, step)?;
        a.dec(ecx)?;
        a.jne(round)
    };
    // Supervisor's pages in the first MB, where some are the user's, and the last 2 MB.
    fill(&mut a, DIRECTORIES + 8 * 2047, 0xffe0_0083, 0, 1)?;
    fill(&mut a, TABLE, 3, 0x1000, 256)?;
    fill(&mut a, TABLE, 7, 0x1000, 16)?;
    fill(&mut a, TABLE + 8 * (DATA >> 12), DATA | 7, 0x1000, 1)?;
    fill(&mut a, TABLE + 8 * (WINDOW_ALIAS >> 12), WINDOW | 3, 0x1000, 8)?;
    fill(&mut a, TABLE + 8 * 0xf0, 0xf_0007, 0x1000, 16)?;
    fill(&mut a, DIRECTORIES, TABLE | 7, 0, 1)?;
    fill(&mut a, PDPT_PAE, DIRECTORIES | 1, 0x1000, 4)?;
    fill(&mut a, PDPT, DIRECTORIES | 7, 0x1000, 4)?;
    fill(&mut a, PML4, PDPT | 7, 0, 1)?;
    a.mov(eax, CR4)?;
    a.mov(cr4, eax)?;
    a.mov(eax, if bits == 64 { PML4 } else { PDPT_PAE })?;
    a.mov(cr3, eax)?;
    a.mov(ecx, 0xc000_0080u32)?;
    a.xor(edx, edx)?;
    a.mov(eax, if bits == 64 { 0x901 } else { 0x800 })?;
    a.wrmsr()?;
    a.xor(ecx, ecx)?;
    a.mov(eax, 7)?;
    a.xsetbv()?;
    a.mov(eax, CR0)?;
    a.mov(cr0, eax)?;
    if bits == 64 {
        a.db(&far_jump(32, selector::CODE_64, linear(0)))?;
    } else {
        a.mov(eax, linear(0) as u32)?;
        a.jmp(eax)?;
    }
    a.assemble(top(BOOT_32))
}

/// From wherever handlers are reached, to the next case.
fn recover_32() -> Result<Vec<u8>, IcedError> {
    let mut a = CodeAssembler::new(32)?;
    table_registers(&mut a, 32)?;
    control(&mut a, PDPT_PAE)?;
    a.mov(esp, MONITOR_STACK)?;
    a.push(2)?;
    a.popfd()?;
    a.xor(eax, eax)?;
    a.lldt(ax)?;
    a.mov(dr7, eax)?;
    a.mov(eax, 0xffff_0ff0u32)?;
    a.mov(dr6, eax)?;
    a.jmp(dword_ptr(NEXT))?;
    a.assemble(top(RECOVER))
}

/// GDTR and IDTR. DS may hold anything.
fn table_registers(a: &mut CodeAssembler, bits: u32) -> Result<(), IcedError> {
    let (gdt, idt) = (top(GDT_POINTER) as u32, top(IDT_POINTER) as u32);
    if bits == 64 {
        a.mov(esi, gdt)?;
        a.lgdt(tbyte_ptr(rsi))?;
        a.mov(esi, idt)?;
        a.lidt(tbyte_ptr(rsi))
    } else {
        a.lgdt(fword_ptr(gdt as i32).cs())?;
        a.lidt(fword_ptr(idt as i32).cs())
    }
}

fn control(a: &mut CodeAssembler, directory: u32) -> Result<(), IcedError> {
    a.mov(eax, u32::from(selector::DATA))?;
    for segment in [ds, es, ss, fs, gs] {
        a.mov(segment, ax)?;
    }
    let long = directory == PML4;
    for (n, value) in [(4, CR4), (3, directory), (0, CR0)] {
        a.mov(eax, value)?;
        match (n, long) {
            (4, true) => a.mov(cr4, rax)?,
            (3, true) => a.mov(cr3, rax)?,
            (_, true) => a.mov(cr0, rax)?,
            (4, false) => a.mov(cr4, eax)?,
            (3, false) => a.mov(cr3, eax)?,
            (_, false) => a.mov(cr0, eax)?,
        }
    }
    Ok(())
}

fn recover_64() -> Result<Vec<u8>, IcedError> {
    let mut a = CodeAssembler::new(64)?;
    table_registers(&mut a, 64)?;
    control(&mut a, PML4)?;
    a.mov(esp, MONITOR_STACK)?;
    a.push(2)?;
    a.popfq()?;
    a.xor(eax, eax)?;
    a.lldt(ax)?;
    a.mov(dr7, rax)?;
    a.mov(eax, 0xffff_0ff0u32)?;
    a.mov(dr6, rax)?;
    a.jmp(qword_ptr(u64::from(NEXT)))?;
    a.assemble(top(RECOVER))
}

/// Real mode's handlers lead here: back to protected mode. Also virtual-8086 mode's, where this is #GP.
fn real_recover() -> Result<Vec<u8>, IcedError> {
    let mut a = CodeAssembler::new(16)?;
    let pointer = GDT_POINTER as u16;
    a.db(&[0x2e, 0x66, 0x0f, 0x01, 0x16, pointer as u8, (pointer >> 8) as u8])?;
    a.mov(eax, 0x11)?;
    a.mov(cr0, eax)?;
    a.db(&far_jump(16, selector::CODE_32, top(RECOVER)))?;
    a.assemble(REAL_RECOVER as u64)
}

/// In the segment [`selector::FIRMWARE`], paging off: to real mode, and to what [`REAL`] names.
fn to_real() -> Result<Vec<u8>, IcedError> {
    let mut a = CodeAssembler::new(16)?;
    a.mov(ax, u32::from(selector::REAL_DATA))?;
    for segment in [ds, es, ss, fs, gs] {
        a.mov(segment, ax)?;
    }
    a.mov(eax, 0x10)?;
    a.mov(cr0, eax)?;
    let here = TO_REAL + a.assemble(TO_REAL as u64)?.len() + 5;
    // jmp f000:here
    a.db(&[0xea, here as u8, (here >> 8) as u8, 0x00, 0xf0])?;
    let pointer = REAL_IDT_POINTER as u16;
    a.db(&[0x2e, 0x66, 0x0f, 0x01, 0x1e, pointer as u8, (pointer >> 8) as u8])?;
    a.mov(ax, REAL >> 4 & 0xf000)?;
    a.mov(ds, ax)?;
    let at = i32::from(REAL as u16);
    a.lss(sp, dword_ptr(at))?;
    a.mov(ax, word_ptr(at + 4))?;
    a.push(ax)?;
    a.mov(ax, BASE >> 4)?;
    a.push(ax)?;
    a.mov(ax, CODE - BASE)?;
    a.push(ax)?;
    a.mov(es, word_ptr(at + 8))?;
    a.mov(fs, word_ptr(at + 10))?;
    a.mov(gs, word_ptr(at + 12))?;
    a.mov(eax, dword_ptr(at + 16))?;
    a.mov(ds, word_ptr(at + 6))?;
    a.iret()?;
    a.assemble(TO_REAL as u64)
}

/// Linear address of the way to real mode, within its segment.
pub fn to_real_offset() -> u32 {
    TO_REAL as u32
}

/// Puts tables, stacks, data and code as they were, and TR and LDTR.
fn restore_memory(bits: u32) -> Result<Vec<u8>, IcedError> {
    let mut a = CodeAssembler::new(bits)?;
    let mut copy = |from: usize, to: u32, size: u32| -> Result<(), IcedError> {
        for n in (0..size as i32).step_by(32) {
            if bits == 64 {
                a.mov(esi, top(from) as u32)?;
                a.vmovups(ymm0, ymmword_ptr(rsi + n))?;
                a.vmovups(ymmword_ptr(u64::from(to) + n as u64), ymm0)?;
            } else {
                a.vmovups(ymm0, ymmword_ptr(top(from) as u32 as i32 + n))?;
                a.vmovups(ymmword_ptr(to as i32 + n), ymm0)?;
            }
        }
        Ok(())
    };
    copy(TABLES_COPY, TABLES, TABLES_END - TABLES)?;
    copy(DATA_COPY, DATA, DATA_END - DATA)?;
    copy(CODE_COPY, CODE, CODE_SIZE as u32)?;
    // Where accesses at the edges of segments may have written over INT3.
    for edge in [BASE + 0xfe0, CODE + 0xfe0, TABLES - 0x20] {
        copy(CODE_COPY, edge, if edge < CODE + 0x1000 { 0x40 } else { 0x20 })?;
    }
    for page in 0..8 {
        copy(DATA_COPY, WINDOW_ALIAS + 0x1000 * page, 0x40)?;
    }
    copy(WINDOW_COPY, TABLE + 8 * (WINDOW >> 12), 64)?;
    // Real mode's vectors.
    for vector in 0..REAL_VECTORS {
        let to = 0xf000_0000 | (REAL_STUBS + 4 * vector) as u32;
        if bits == 32 && !(20..32).contains(&vector) {
            a.mov(dword_ptr(4 * vector as i32), to)?;
        }
    }
    table_registers(&mut a, bits)?;
    for (n, load) in [(selector::TSS, true), (selector::LDT, false)] {
        a.mov(eax, u32::from(n))?;
        if load { a.ltr(ax)? } else { a.lldt(ax)? }
    }
    a.ret()?;
    a.assemble(restore())
}
