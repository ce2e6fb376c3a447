//! A processor without a board, in 64-bit mode, with handlers for system calls, software interrupts and page faults.

use emu_core::bus::Bus;
use emu_core::cpu::control::{
    CR0_ET, CR0_MP, CR0_NE, CR0_PE, CR0_PG, CR0_WP, CR4_OSFXSR, CR4_OSXMMEXCPT, CR4_OSXSAVE, CR4_PAE,
    EFER_LMA, EFER_LME, EFER_SCE,
};
use emu_core::cpu::fpu::{XCR0_AVX, XCR0_SSE, XCR0_X87};
use emu_core::cpu::{CS, DS, ES, RIP, RSP, Rights, SS, Segment, TR};
use emu_core::engine::Engine;
use emu_core::machine::{Machine, TimeSource};
use emu_core::mem::Memory;
use emu_core::mem::page::PhysPage;

const RAM: u64 = 4 << 20;
const PAGE: u64 = 4096;
const TABLES: u64 = 0x1_0000;
const GDT: u64 = 0x2_0000;
const IDT: u64 = 0x2_1000;
const TSS: u64 = 0x2_2000;
const HANDLERS: u64 = 0x2_3000;
const STACK: u64 = 0x2_f000;
/// Where programs begin.
pub const CODE: u64 = 0x3_0000;
/// Two buffers of 64 KiB, of zeros.
pub const FROM: u32 = 0x10_0000;
/// The other one.
pub const TO: u32 = 0x18_0000;
/// A linear address where nothing is mapped.
pub const ABSENT: u32 = 0x30_0000;
/// A page of physical addresses at which the board answers.
pub const BOARD: u32 = 0x31_0000;
/// The same RAM again at one and two times this linear address, in the same slots of a translation cache.
pub const ALIASES: u64 = 1 << 30;
/// The vector that software interrupts use.
pub const VECTOR: u8 = 0x80;

const KERNEL_CODE: u16 = 8;
const KERNEL_DATA: u16 = 16;
const USER_DATA: u16 = 32 | 3;
const USER_CODE: u16 = 40 | 3;
/// Present, writable, user, accessed, dirty.
const RIGHTS: u64 = 0x67;

/// A board with nothing on it.
struct Nothing;

impl Bus for Nothing {}

fn flat(selector: u16, rights: u16) -> Segment {
    let mut segment = Segment { limit: u32::MAX, rights: Rights(rights), ..Segment::real(selector) };
    segment.base = 0;
    segment.update(true);
    segment
}

/// A machine that is about to run a program, in user mode or as the kernel.
///
/// # Panics
/// When the host has no memory.
pub fn machine(engine: Box<dyn Engine>, program: &[u8], user: bool) -> Machine {
    let mut mem = Memory::new(RAM, 0).expect("the host has 4 MiB");
    mem.map(0, RAM, PhysPage::ram);
    mem.map(BOARD.into(), PAGE, |_| PhysPage::MMIO);
    mem.set_a20(true);
    let mut put = |at: u64, value: u64| mem.write_bytes(at, &value.to_le_bytes());
    put(TABLES, (TABLES + 0x1000) | RIGHTS);
    for alias in 0..3 {
        put(TABLES + 0x1000 + 8 * alias, (TABLES + 0x2000) | RIGHTS);
    }
    for n in 0..2 {
        put(TABLES + 0x2000 + 8 * n, (TABLES + 0x3000 + n * PAGE) | RIGHTS);
    }
    for page in (0..RAM / PAGE).filter(|page| page * PAGE != u64::from(ABSENT)) {
        put(TABLES + 0x3000 + 8 * page, (page * PAGE) | RIGHTS);
    }
    let descriptors: [u64; 6] =
        [0, 0x00af_9b00_0000_ffff, 0x00cf_9300_0000_ffff, 0, 0x00cf_f300_0000_ffff, 0x00af_fb00_0000_ffff];
    for (descriptor, n) in descriptors.into_iter().zip(0..) {
        put(GDT + 8 * n, descriptor);
    }
    put(TSS + 4, STACK);
    // SYSRETQ; IRETQ; and a return behind the two bytes of the instruction that met no page.
    let handlers: [(u64, &[u8]); 3] = [
        (0, &[0x48, 0x0f, 0x07]),
        (0x40, &[0x48, 0xcf]),
        (0x80, &[0x48, 0x83, 0xc4, 8, 0x48, 0x83, 0x04, 0x24, 2, 0x48, 0xcf]),
    ];
    for (vector, handler) in [(u64::from(VECTOR), 0x40), (14, 0x80)] {
        let to = HANDLERS + handler;
        put(IDT + 16 * vector, to & 0xffff | u64::from(KERNEL_CODE) << 16 | 0xee00 << 32 | (to >> 16) << 48);
    }
    handlers.iter().for_each(|(at, code)| mem.write_bytes(HANDLERS + at, code));
    mem.write_bytes(CODE, program);
    let mut machine = Machine::new(mem, Box::new(Nothing), engine, TimeSource::Virtual);
    let cpu = machine.cpu_mut();
    cpu.cr0 = CR0_PE | CR0_ET | CR0_NE | CR0_MP | CR0_WP | CR0_PG;
    cpu.cr4 = CR4_PAE | CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_OSXSAVE;
    cpu.cr3 = TABLES;
    cpu.efer = EFER_SCE | EFER_LME | EFER_LMA;
    cpu.msrs.star = u64::from(KERNEL_CODE) << 32 | (u64::from(USER_DATA) - 8) << 48;
    cpu.msrs.lstar = HANDLERS;
    cpu.fpu.xcr0 = XCR0_X87 | XCR0_SSE | XCR0_AVX;
    cpu.fpu.init();
    (cpu.gdtr.base, cpu.gdtr.limit) = (GDT, 47);
    (cpu.idtr.base, cpu.idtr.limit) = (IDT, 0xfff);
    let (code, data, level) = if user { (USER_CODE, USER_DATA, 0x60) } else { (KERNEL_CODE, KERNEL_DATA, 0) };
    cpu.seg[CS] = flat(code, 0xa09b | level);
    for register in [SS, DS, ES] {
        cpu.seg[register] = flat(data, 0xc093 | level);
    }
    cpu.seg[TR] = Segment { base: TSS, limit: 0x67, rights: Rights(0x8b), ..Segment::real(0) };
    cpu.cpl = if user { 3 } else { 0 };
    cpu.regs[RSP] = STACK - PAGE;
    cpu.regs[RIP] = CODE;
    cpu.update_mode();
    cpu.set_flags(2);
    machine
}
