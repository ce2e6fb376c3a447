//! A program on an engine: user code in long mode, with the same pages mapped and a kernel that notes what is raised.

use emu_core::cpu::control::{
    CR0_AM, CR0_ET, CR0_MP, CR0_NE, CR0_PE, CR0_PG, CR0_WP, CR4_OSFXSR, CR4_OSXMMEXCPT, CR4_OSXSAVE, CR4_PAE,
    EFER_LMA, EFER_LME, EFER_NXE,
};
use emu_core::cpu::fpu::{XCR0_AVX, XCR0_SSE, XCR0_X87};
use emu_core::cpu::{CS, Cpu, DS, ES, FS, GS, RIP, Rights, SS, Segment, TR};
use emu_core::engine::Engine;
use emu_core::machine::{Machine, Stop, TimeSource};
use emu_core::mem::Memory;
use emu_core::mem::page::PhysPage;

use super::fpu::State;
use super::{CODE_PAGES, CONTROL, Case, DATA_PAGES, End, READ_ONLY, Raised, STACK, STACK_PAGES, parts};
use crate::fuzz::places::{CODE, DATA, PAGE};
use crate::fuzz::program::SLOT;
use crate::host::NoChips;
use crate::host::guest::segment;
use crate::host::silicon::{CODE32, CODE64, USER_DATA};

const RAM: u64 = 2 << 20;
const TABLES: u64 = 0x1_0000;
/// The kernel's pages: where they are seen and where they are in memory. In the first are the IDT at 0, the GDT, the
/// TSS, variables, and the end of its stack; in the second its code; then what it notes.
const SYSTEM: u64 = 0xffff_8000_0000_0000;
const SYSTEM_FRAME: u64 = 0x2_0000;
const SYSTEM_PAGES: u64 = 32;
const GDT: u64 = 0x400;
const TSS: u64 = 0x500;
/// Where the next exception is noted, and the lowest bits of the program's slots.
const VARIABLES: u64 = 0x600;
const KERNEL_STACK: u64 = 0x1000;
const HANDLERS: u64 = 0x1000;
const COMMON: u64 = HANDLERS + 0x400;
const NOTES: u64 = 0x2000;
const NOTE: u64 = 32;
const KERNEL_CODE: u16 = 0x10;
const VECTORS: u64 = 32;
const BREAKPOINT: u64 = 3;
/// Instructions that no program needs, the kernel's included.
const TOO_MANY: u64 = 200_000;

/// Does the vector push an error code?
fn has_error(vector: u64) -> bool {
    matches!(vector, 8 | 10..=14 | 17 | 21)
}

/// Where a page of the program lies in memory: pages that follow each other do not do so there.
fn frame(linear: u64) -> u64 {
    0x8_0000 + (linear >> 12 & 0x7f ^ 3) * PAGE as u64
}

/// A machine for one program after the other.
pub struct Guest {
    machine: Machine,
}

impl Guest {
    /// One with this engine.
    ///
    /// # Errors
    /// When the host has no memory for it.
    pub fn new(engine: Box<dyn Engine>) -> Result<Self, String> {
        let mut mem = Memory::new(RAM, 0).map_err(|error| error.to_string())?;
        mem.map(0, RAM, PhysPage::ram);
        mem.set_a20(true);
        write_tables(&mut mem);
        write_kernel(&mut mem);
        let mut machine = Machine::new(mem, Box::new(NoChips), engine, TimeSource::Virtual);
        let cpu = machine.cpu_mut();
        cpu.cr0 = CR0_PE | CR0_ET | CR0_NE | CR0_MP | CR0_AM | CR0_PG | CR0_WP;
        cpu.cr3 = TABLES;
        cpu.cr4 = CR4_PAE | CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_OSXSAVE;
        cpu.efer = EFER_LME | EFER_LMA | EFER_NXE;
        cpu.fpu.xcr0 = XCR0_X87 | XCR0_SSE | XCR0_AVX;
        cpu.seg[FS] = Cpu::null(0, 0);
        cpu.seg[GS] = Cpu::null(0, 0);
        // No room for an I/O permission bitmap.
        cpu.seg[TR] = Segment { base: SYSTEM + TSS, limit: 50, rights: Rights(0x8b), ..Segment::real(0x40) };
        (cpu.gdtr.base, cpu.gdtr.limit) = (SYSTEM + GDT, 0x3f);
        (cpu.idtr.base, cpu.idtr.limit) = (SYSTEM, 16 * VECTORS as u16 - 1);
        Ok(Self { machine })
    }

    /// Instructions that have run in all, the kernel's included.
    pub fn instructions(&self) -> u64 {
        self.machine.instructions()
    }

    /// Runs a program in stretches of `slice` instructions.
    ///
    /// # Errors
    /// When it does not end.
    pub fn run(&mut self, case: &Case, slice: u64) -> Result<End, String> {
        let variables = [SYSTEM + NOTES, case.origin % SLOT as u64];
        let put = |machine: &mut Machine, at: u64, bytes: &[u8]| {
            assert_eq!(machine.poke_physical(at, bytes), bytes.len());
        };
        for (n, value) in variables.iter().enumerate() {
            put(&mut self.machine, SYSTEM_FRAME + VARIABLES + 8 * n as u64, &value.to_le_bytes());
        }
        let contents = [case.code(), case.data.clone(), vec![0; STACK_PAGES * PAGE], case.control().to_vec()];
        for ((linear, len), bytes) in parts(case).into_iter().zip(&contents) {
            for (at, range) in pieces(linear, len) {
                put(&mut self.machine, at, &bytes[range]);
            }
        }
        self.enter(case);
        let limit = self.machine.instructions() + TOO_MANY;
        loop {
            let until = self.machine.instructions() + slice;
            match self.machine.run(until.min(limit)) {
                Stop::Limit if self.machine.instructions() < limit => {}
                Stop::Halted { .. } => break,
                other => return Err(format!("{} stopped: {other:?}", self.machine.engine_name())),
            }
        }
        Ok(self.end(case))
    }

    fn enter(&mut self, case: &Case) {
        let cpu = self.machine.cpu_mut();
        let (selector, rights) = if case.bits == 64 { (CODE64, 0xa0fb) } else { (CODE32, 0xc0fb) };
        cpu.halted = false;
        cpu.cpl = 3;
        cpu.seg[CS] = segment(selector, rights);
        for register in [SS, DS, ES] {
            cpu.seg[register] = segment(USER_DATA, 0xc0f3);
        }
        cpu.regs[..16].copy_from_slice(&case.regs);
        cpu.regs[RIP] = case.origin;
        case.fpu.load(&mut cpu.fpu);
        cpu.update_mode();
        cpu.set_flags(case.flags);
        cpu.update_context();
    }

    fn end(&self, case: &Case) -> End {
        let cpu = self.machine.cpu();
        let mem = self.machine.memory();
        let read = |at: u64| {
            let mut bytes = [0; 8];
            mem.read_bytes(SYSTEM_FRAME + at, &mut bytes);
            u64::from_le_bytes(bytes)
        };
        let notes = (read(VARIABLES) - SYSTEM - NOTES) / NOTE;
        let raised = (0..notes).map(|n| {
            let field = |m: u64| read(NOTES + NOTE * n + 8 * m);
            let vector = field(0) as u8;
            let cr2 = if vector == 14 { field(3) } else { 0 };
            Raised { vector, error: field(1), cr2, rip: field(2) }
        });
        // RIP, CS, RFLAGS, RSP, SS
        let popped = |n: u64| read(KERNEL_STACK - 40 + 8 * n);
        let mut regs: [u64; 16] = cpu.regs[..16].try_into().expect("sixteen");
        regs[4] = popped(3);
        let memory = parts(case).map(|(linear, len)| {
            let mut bytes = vec![0; len];
            for (at, range) in pieces(linear, len) {
                mem.read_bytes(at, &mut bytes[range]);
            }
            (linear, bytes)
        });
        End {
            raised: raised.collect(),
            regs,
            rip: (popped(1) as u16, popped(0)),
            flags: popped(2),
            fpu: State::of(&cpu.fpu),
            memory: memory.into(),
        }
    }
}

/// A range of linear addresses by pages: where each part lies in memory, and which bytes it is.
fn pieces(linear: u64, len: usize) -> Vec<(u64, std::ops::Range<usize>)> {
    let (mut all, mut done) = (Vec::new(), 0);
    while done < len {
        let at = linear + done as u64;
        let offset = (at % PAGE as u64) as usize;
        let part = (PAGE - offset).min(len - done);
        all.push((frame(at) + offset as u64, done..done + part));
        done += part;
    }
    all
}

/// Page tables, IDT, GDT and TSS, with the selectors that Linux gives to user code.
fn write_tables(mem: &mut Memory) {
    let mut put = |at: u64, value: u64| mem.write_bytes(at, &value.to_le_bytes());
    // Present, writable, user, accessed, dirty; no execution.
    const ALL: u64 = 0x67;
    const DATA_ONLY: u64 = ALL | 1 << 63;
    put(TABLES, (TABLES + 0x1000) | ALL);
    put(TABLES + 0x1000, (TABLES + 0x2000) | ALL);
    put(TABLES + 0x2000 + 8 * (CODE >> 21), (TABLES + 0x3000) | ALL);
    let mut page = |linear: u64, rights: u64| {
        put(TABLES + 0x3000 + 8 * (linear >> 12 & 511), frame(linear) | rights);
    };
    for n in 0..CODE_PAGES {
        page(CODE + (n * PAGE) as u64, ALL);
    }
    for n in 0..DATA_PAGES {
        page(DATA + (n * PAGE) as u64, if n == READ_ONLY { DATA_ONLY & !0x42 } else { DATA_ONLY });
    }
    for n in 0..STACK_PAGES {
        page(STACK + (n * PAGE) as u64, DATA_ONLY);
    }
    page(CONTROL, DATA_ONLY);
    put(TABLES + 8 * (SYSTEM >> 39 & 511), (TABLES + 0x4000) | ALL);
    put(TABLES + 0x4000, (TABLES + 0x5000) | ALL);
    put(TABLES + 0x5000, (TABLES + 0x6000) | ALL);
    for n in 0..SYSTEM_PAGES {
        put(TABLES + 0x6000 + 8 * n, (SYSTEM_FRAME + n * PAGE as u64) | ALL & !4);
    }
    let mut put = |at: u64, value: u64| mem.write_bytes(SYSTEM_FRAME + at, &value.to_le_bytes());
    for vector in 0..VECTORS {
        let handler = SYSTEM + HANDLERS + 16 * vector;
        let access = if matches!(vector, 3 | 4) { 0xee } else { 0x8e };
        let low =
            handler & 0xffff | u64::from(KERNEL_CODE) << 16 | access << 40 | (handler >> 16 & 0xffff) << 48;
        put(16 * vector, low);
        put(16 * vector + 8, handler >> 32);
    }
    put(GDT + u64::from(KERNEL_CODE), 0x00af_9b00_0000_ffff);
    put(GDT + u64::from(CODE32 & !7), 0x00cf_fb00_0000_ffff);
    put(GDT + u64::from(USER_DATA & !7), 0x00cf_f300_0000_ffff);
    put(GDT + u64::from(CODE64 & !7), 0x00af_fb00_0000_ffff);
    put(TSS + 4, SYSTEM + KERNEL_STACK);
}

/// Handlers: HLT for the INT3 at the end. The others note vector, error code, RIP and CR2, and go on in the next slot.
fn write_kernel(mem: &mut Memory) {
    for vector in 0..VECTORS {
        let mut code = Vec::new();
        if vector == BREAKPOINT {
            code.push(0xf4); // hlt
        }
        if !has_error(vector) {
            code.extend([0x6a, 0]); // push 0
        }
        code.extend([0x6a, vector as u8, 0xe9]); // push vector; jmp to the common part
        let next = HANDLERS + 16 * vector + code.len() as u64 + 4;
        code.extend((COMMON.wrapping_sub(next) as u32).to_le_bytes());
        mem.write_bytes(SYSTEM_FRAME + HANDLERS + 16 * vector, &code);
    }
    let mut code = vec![0x50, 0x51, 0x52, 0x48, 0xba]; // push rax; push rcx; push rdx; mov rdx, the variables
    code.extend((SYSTEM + VARIABLES).to_le_bytes());
    code.extend([0x48, 0x8b, 0x0a]); // mov rcx, [rdx]
    for field in 0..3 {
        code.extend([0x48, 0x8b, 0x44, 0x24, 24 + 8 * field]); // mov rax, [rsp + ...]: vector, error code, RIP
        code.extend([0x48, 0x89, 0x41, 8 * field]); // mov [rcx + ...], rax
    }
    // sub rax, [rdx + 8]; and rax, -16; lea rax, [rax + 16]; add rax, [rdx + 8]; mov [rsp + 40], rax
    code.extend([0x48, 0x2b, 0x42, 8, 0x48, 0x83, 0xe0, 0xf0, 0x48, 0x8d, 0x40, 16]);
    code.extend([0x48, 0x03, 0x42, 8, 0x48, 0x89, 0x44, 0x24, 40]);
    // mov rax, cr2; mov [rcx + 24], rax; add rcx, 32; mov [rdx], rcx
    code.extend([0x0f, 0x20, 0xd0, 0x48, 0x89, 0x41, 24, 0x48, 0x83, 0xc1, 32, 0x48, 0x89, 0x0a]);
    // pop rdx; pop rcx; pop rax; add rsp, 16; iretq
    code.extend([0x5a, 0x59, 0x58, 0x48, 0x83, 0xc4, 16, 0x48, 0xcf]);
    mem.write_bytes(SYSTEM_FRAME + COMMON, &code);
}
