//! A machine without chips that runs a program in a loop, in code of 64, 32 or 16 bits, and goes on with the next
//! slot of 16 bytes after a fault.

use emu_core::cpu::control::{
    CR0_AM, CR0_ET, CR0_MP, CR0_NE, CR0_PE, CR0_PG, CR0_WP, CR4_OSFXSR, CR4_OSXMMEXCPT, CR4_OSXSAVE, CR4_PAE,
    EFER_LMA, EFER_LME, EFER_NXE,
};
use emu_core::cpu::fpu::{XCR0_AVX, XCR0_SSE, XCR0_X87};
use emu_core::cpu::{CS, DS, ES, RIP, Rights, SS, Segment, TR};
use emu_core::engine::Engine;
use emu_core::machine::{Machine, TimeSource};
use emu_core::mem::Memory;
use emu_core::mem::page::PhysPage;
use emu_diff::fuzz::places::{CODE, DATA, PAGE};
use emu_tests::bare::NoChips;

const RAM: u64 = 32 << 20;
const TABLES: u64 = 0x1_0000;
const GDT: u64 = 0x2_0000;
const IDT: u64 = 0x3_0000;
const HANDLERS: u64 = 0x4_0000;
const CODE64: u16 = 8;
const CODE32: u16 = 16;
const FLAT_DATA: u16 = 24;
/// The same of user mode.
const USER_CODE64: u16 = 32 | 3;
const USER_CODE32: u16 = 40 | 3;
const USER_DATA: u16 = 48 | 3;
/// Of 16-bit code, data and stack, with their bases, and the same of user mode three further.
const NARROW: [(u16, u64, u16); 3] = [(56, CODE, 0x9b), (64, DATA, 0x93), (72, NARROW_STACK, 0x93)];
const NARROW_USER: u16 = 24 | 3;
const NARROW_STACK: u64 = 0x60_0000;
/// The task state segment, with the stack for faults in user mode.
const TSS: u64 = 0x5_0000;
const FAULT_STACK: u64 = 0x5_8000;

/// Vectors that push an error code.
fn has_error(vector: u64) -> bool {
    matches!(vector, 8 | 10..=14 | 17 | 21)
}

/// Everything before the first instruction.
pub struct Start {
    pub bits: u32,
    pub code: Vec<u8>,
    pub data: Vec<u8>,
    pub regs: [u64; 16],
    pub vectors: [[u64; 4]; 16],
    pub flags: u64,
    /// MXCSR.
    pub mxcsr: u32,
    /// Control word of the x87 unit.
    pub control: u16,
    /// After a fault the program begins again; otherwise it goes on with the next slot.
    pub restarts: bool,
    /// In user mode.
    pub user: bool,
}

/// Handlers: drop the error code, round RIP up to the next slot or set it to the start, return.
fn handler(bits: u32, error: bool, restarts: bool) -> Vec<u8> {
    let start = if bits == 16 { 0 } else { CODE as u32 };
    let mut code = Vec::new();
    if bits == 64 {
        if error {
            code.extend([0x48, 0x83, 0xc4, 8]); // add rsp, 8
        }
        if restarts {
            code.extend([0x48, 0xc7, 0x04, 0x24]); // mov qword [rsp], the start
            code.extend(start.to_le_bytes());
        } else {
            code.extend([0x48, 0x83, 0x24, 0x24, 0xf0]); // and qword [rsp], -16
            code.extend([0x48, 0x83, 0x04, 0x24, 16]); // add qword [rsp], 16
        }
        code.extend([0x48, 0xcf]); // iretq
    } else {
        if error {
            code.extend([0x83, 0xc4, 4]);
        }
        if restarts {
            code.extend([0xc7, 0x04, 0x24]);
            code.extend(start.to_le_bytes());
        } else {
            code.extend([0x83, 0x24, 0x24, 0xf0, 0x83, 0x04, 0x24, 16]);
        }
        code.push(0xcf);
    }
    code
}

fn flat(selector: u16, rights: u16) -> Segment {
    let mut segment = Segment { limit: u32::MAX, rights: Rights(rights), ..Segment::real(selector) };
    segment.base = 0;
    segment.update(true);
    segment
}

/// 64 KiB from a base.
fn narrow(selector: u16, base: u64, rights: u16) -> Segment {
    let mut segment = Segment { base, limit: 0xffff, rights: Rights(rights), ..Segment::real(selector) };
    segment.update(true);
    segment
}

/// Where a page lies in memory. Pages of data that follow each other do not do so there: what crosses them must be
/// seen to.
fn frame(page: u64) -> u64 {
    if (DATA..DATA + 16 * PAGE as u64).contains(&page) { page ^ 0x3000 } else { page }
}

/// Puts the machine together.
pub fn machine(engine: Box<dyn Engine>, start: &Start) -> Machine {
    let mut mem = Memory::new(RAM, 0).expect("the host has memory");
    mem.map(0, RAM, PhysPage::ram);
    mem.set_a20(true);
    let mut put = |at: u64, value: u64| mem.write_bytes(at, &value.to_le_bytes());
    // The first gigabyte as it is, in pages of 2 MiB: present, writable, user, accessed, dirty, large.
    put(TABLES, (TABLES + 0x1000) | 0x67);
    put(TABLES + 0x1000, (TABLES + 0x2000) | 0x67);
    for n in 0..RAM >> 21 {
        put(TABLES + 0x2000 + 8 * n, n << 21 | 0xe7);
    }
    // Around the data in small ones.
    let region = DATA >> 21;
    put(TABLES + 0x2000 + 8 * region, (TABLES + 0x5000) | 0x67);
    for n in 0..512 {
        let page = region << 21 | n << 12;
        put(TABLES + 0x5000 + 8 * n, frame(page) | 0x67);
    }
    put(GDT + 8, 0x00af_9b00_0000_ffff);
    put(GDT + 16, 0x00cf_9b00_0000_ffff);
    put(GDT + 24, 0x00cf_9300_0000_ffff);
    put(GDT + 32, 0x00af_fb00_0000_ffff);
    put(GDT + 40, 0x00cf_fb00_0000_ffff);
    put(GDT + 48, 0x00cf_f300_0000_ffff);
    for (selector, base, rights) in NARROW {
        let base = (base & 0xff_ffff) << 16 | (base >> 24) << 56;
        for (more, dpl) in [(0, 0), (NARROW_USER & !3, 0x60)] {
            put(GDT + u64::from(selector + more), base | u64::from(rights | dpl) << 40 | 0xffff);
        }
    }
    // RSP0, or ESP0 and SS0.
    put(TSS + 4, FAULT_STACK);
    let long = start.bits == 64;
    if !long {
        put(TSS + 8, FLAT_DATA.into());
    }
    for vector in 0..32 {
        let to = HANDLERS + 0x40 * u64::from(has_error(vector));
        let selector = u64::from(if long { CODE64 } else { CODE32 });
        let gate = to & 0xffff | selector << 16 | 0x8e00 << 32 | (to >> 16 & 0xffff) << 48;
        put(IDT + vector * if long { 16 } else { 8 }, gate);
    }
    mem.write_bytes(HANDLERS, &handler(start.bits, false, start.restarts));
    mem.write_bytes(HANDLERS + 0x40, &handler(start.bits, true, start.restarts));
    mem.write_bytes(CODE, &start.code);
    for (bytes, n) in start.data.chunks(PAGE).zip(0u64..) {
        mem.write_bytes(frame(DATA + n * PAGE as u64), bytes);
    }
    let mut machine = Machine::new(mem, Box::new(NoChips), engine, TimeSource::Virtual);
    let cpu = machine.cpu_mut();
    cpu.cr0 = CR0_AM | CR0_PE | CR0_ET | CR0_NE | CR0_MP | CR0_WP;
    cpu.cr4 = CR4_PAE | CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_OSXSAVE;
    cpu.cr0 |= CR0_PG;
    cpu.cr3 = TABLES;
    // Those of 32-bit code, with PAE.
    cpu.pdptes[0] = (TABLES + 0x2000) | 1;
    if long {
        cpu.efer = EFER_LME | EFER_LMA | EFER_NXE;
    }
    cpu.fpu.xcr0 = XCR0_X87 | XCR0_SSE | XCR0_AVX;
    cpu.fpu.init();
    (cpu.fpu.mxcsr, cpu.fpu.control) = (start.mxcsr, start.control);
    cpu.gdtr.base = GDT;
    cpu.gdtr.limit = 103;
    cpu.idtr.base = IDT;
    cpu.idtr.limit = 511;
    let (code, data, dpl) = match (start.user, long) {
        (false, true) => (CODE64, FLAT_DATA, 0),
        (false, false) => (CODE32, FLAT_DATA, 0),
        (true, true) => (USER_CODE64, USER_DATA, 0x60),
        (true, false) => (USER_CODE32, USER_DATA, 0x60),
    };
    cpu.seg[CS] = flat(code, if long { 0xa09b } else { 0xc09b } | dpl);
    for register in [SS, DS, ES] {
        cpu.seg[register] = flat(data, 0xc093 | dpl);
    }
    if start.bits == 16 {
        let more = if start.user { NARROW_USER } else { 0 };
        for (registers, (selector, base, rights)) in [&[CS][..], &[DS, ES], &[SS]].into_iter().zip(NARROW) {
            for &register in registers {
                cpu.seg[register] = narrow(selector + more, base, rights | dpl);
            }
        }
    }
    cpu.seg[TR] = Segment { base: TSS, limit: 0x67, rights: Rights(0x8b), ..Segment::real(0) };
    cpu.cpl = if start.user { 3 } else { 0 };
    cpu.regs[..16].copy_from_slice(&start.regs);
    cpu.regs[RIP] = if start.bits == 16 { 0 } else { CODE };
    for (to, from) in cpu.fpu.vectors.iter_mut().zip(&start.vectors) {
        to[..4].copy_from_slice(from);
    }
    cpu.update_mode();
    cpu.set_flags(start.flags);
    machine
}

/// The general registers, RIP and EFLAGS.
pub fn registers(machine: &Machine) -> Vec<u64> {
    let cpu = machine.cpu();
    let mut all = cpu.regs[..17].to_vec();
    all.push(cpu.flags.get());
    all
}

/// The data pages.
pub fn data(machine: &Machine) -> Vec<u8> {
    let mut data = vec![0; 8 * PAGE];
    for (bytes, n) in data.chunks_mut(PAGE).zip(0u64..) {
        machine.cpu().system().mem.read_bytes(frame(DATA + n * PAGE as u64), bytes);
    }
    data
}
