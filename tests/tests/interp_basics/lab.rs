//! A bare processor with memory, tables and handlers, in which a test runs a few instructions.
//!
//! A run starts in real mode; guest code then goes to the mode that the test wants and jumps to the test's
//! instructions at [`CODE`]. Each of the 256 vectors leads to a HLT of its own, so that where the processor halts
//! says which exception was delivered, and the stack says with which frame. All memory is mapped one to one.

use std::any::Any;

use emu_core::bus::{Access, Bus, NEVER, Signals, Tick};
use emu_core::cpu::{CS, Cpu, RIP, RSP, SS, Segment};
use emu_core::machine::{Machine, Stop, TimeSource};
use emu_core::mem::Memory;
use emu_core::mem::page::PhysPage;
use iced_x86::IcedError;
use iced_x86::code_asm::*;

/// Bytes of RAM.
pub const RAM: u64 = 8 << 20;
pub const GDT: u64 = 0x800;
pub const IDT: u64 = 0x1000;
/// Handler of vector v: a HLT at `STUBS + 16 * v`.
pub const STUBS: u64 = 0x2000;
pub const TSS: u64 = 0x3000;
/// A second TSS, for task switches.
pub const TSS2: u64 = 0x3200;
/// RSP0 of the TSS.
pub const INNER_STACK: u64 = 0x5000;
pub const START: u64 = 0x7000;
/// Where the test's instructions lie.
pub const CODE: u64 = 0x8000;
pub const STACK: u64 = 0xc000;
pub const TABLES: u64 = 0x1_0000;
/// Free for the test, by whole pages.
pub const DATA: u64 = 0x2_0000;

pub const CODE32: u16 = 0x08;
pub const DATA32: u16 = 0x10;
pub const CODE16: u16 = 0x18;
pub const DATA16: u16 = 0x20;
pub const CODE64: u16 = 0x28;
pub const TSS_SELECTOR: u16 = 0x30; // 16 bytes in long mode
pub const USER_CODE32: u16 = 0x43;
pub const USER_DATA: u16 = 0x4b;
pub const USER_CODE64: u16 = 0x53;
/// First selector that is free for the test.
pub const FREE: u16 = 0x60;

pub const PE: u32 = 1;
pub const WP: u32 = 1 << 16;
pub const PG: u32 = 1 << 31;
pub const PSE: u32 = 1 << 4;
pub const PAE: u32 = 1 << 5;

/// Bits of a paging entry.
pub mod pte {
    pub const P: u64 = 1;
    pub const W: u64 = 2;
    pub const U: u64 = 4;
    pub const A: u64 = 0x20;
    pub const D: u64 = 0x40;
    pub const PS: u64 = 0x80;
    pub const NX: u64 = 1 << 63;
}

/// Vectors.
pub mod vector {
    pub const DE: u8 = 0;
    pub const DB: u8 = 1;
    pub const BP: u8 = 3;
    pub const OF: u8 = 4;
    pub const BR: u8 = 5;
    pub const UD: u8 = 6;
    pub const DF: u8 = 8;
    pub const TS: u8 = 10;
    pub const NP: u8 = 11;
    pub const SS: u8 = 12;
    pub const GP: u8 = 13;
    pub const PF: u8 = 14;
    pub const AC: u8 = 17;
    /// Where user code ends: INT 80h.
    pub const END: u8 = 0x80;
}

/// Makes a closure that assembles instructions: `code!(a: mov(eax, 1); hlt())`.
macro_rules! code {
    ($a:ident: $($($op:ident($($argument:expr),*)).+);* $(;)?) => {
        |$a: &mut iced_x86::code_asm::CodeAssembler| {
            $($a.$($op($($argument),*)).+?;)*
            Ok(())
        }
    };
}
pub(crate) use code;

/// Descriptor of a segment: base, limit as the descriptor holds it, access byte, flags (G, D/B, L, AVL).
pub fn descriptor(base: u64, limit: u64, access: u64, flags: u64) -> u64 {
    limit & 0xffff
        | (base & 0xff_ffff) << 16
        | access << 40
        | (limit >> 16 & 15) << 48
        | flags << 52
        | (base >> 24 & 0xff) << 56
}

/// A gate of 8 bytes: kind with P and DPL, selector, offset, parameter count.
pub fn gate(access: u64, selector: u16, offset: u64, parameters: u64) -> u64 {
    offset & 0xffff
        | u64::from(selector) << 16
        | parameters << 32
        | access << 40
        | (offset >> 16 & 0xffff) << 48
}

/// What port [`RAISE`] raises, as bits: NMI, SMI, INIT, and an interrupt request with vector 41h.
pub mod event {
    pub const NMI: u8 = 1;
    pub const SMI: u8 = 2;
    pub const INIT: u8 = 4;
    pub const INTR: u8 = 8;
}

/// Raises events.
pub const RAISE: u32 = 0x11;
/// From now on RAISE acts so many instructions later: 1 is behind the OUT itself, 2 behind the next one.
pub const DELAY: u32 = 0x12;
/// Reads as 50h, 51h and so on; the first read raises an SMI.
pub const COUNTED: u32 = 0x13;

/// Written once: FERR# raises an interrupt with vector 75h, and IGNNE# is not asserted until port F0h is written, as
/// on a PC. Before, IGNNE# is always asserted.
pub const LIKE_A_PC: u32 = 0x14;

/// A board with nothing on it, except A20 at port 92h and events that guest code raises: by port 10h one interrupt
/// request with the vector written, and those of [`event`].
#[derive(Default)]
struct Board {
    raised: Option<u8>,
    signals: Signals,
    delay: Tick,
    later: Option<(Tick, u8)>,
    reads: u32,
    like_a_pc: bool,
    ferr: bool,
    ignne: bool,
}

impl Board {
    fn raise(&mut self, events: u8) {
        self.signals.nmi |= events & event::NMI != 0;
        self.signals.smi |= events & event::SMI != 0;
        self.signals.init |= events & event::INIT != 0;
        if events & event::INTR != 0 {
            self.raised = Some(0x41);
        }
    }
}

impl Bus for Board {
    fn port_read(&mut self, _: &mut Access<'_>, port: u16, _: u8) -> u32 {
        if u32::from(port) != COUNTED {
            return u32::MAX;
        }
        self.signals.smi |= self.reads == 0;
        self.reads += 1;
        0x4f + self.reads
    }
    fn port_write(&mut self, at: &mut Access<'_>, port: u16, _: u8, value: u32) {
        match u32::from(port) {
            0x10 => self.raised = Some(value as u8),
            RAISE if self.delay != 0 => self.later = Some((at.now + self.delay, value as u8)),
            RAISE => self.raise(value as u8),
            DELAY => self.delay = value.into(),
            LIKE_A_PC => self.like_a_pc = true,
            0xf0 => self.ignne = self.ferr,
            0x92 => at.mem.set_a20(value & 2 != 0),
            _ => {}
        }
    }
    fn next_event(&self) -> Tick {
        self.later.map_or(NEVER, |(when, _)| when)
    }
    fn advance(&mut self, _: &mut Access<'_>) {
        if let Some((_, events)) = self.later.take() {
            self.raise(events);
        }
    }
    fn intr(&self, _: usize) -> bool {
        self.raised.is_some()
    }
    fn acknowledge(&mut self, _: &mut Access<'_>) -> u8 {
        self.raised.take().unwrap_or(0xff)
    }
    fn take_signals(&mut self, _: usize) -> Signals {
        std::mem::take(&mut self.signals)
    }
    fn set_ferr(&mut self, _: usize, level: bool) {
        (self.ferr, self.ignne) = (level, false);
        if level && self.like_a_pc {
            self.raised = Some(0x75);
        }
    }
    fn ignne(&self, _: usize) -> bool {
        !self.like_a_pc || self.ignne
    }
}

const _: fn(&Board) -> &dyn Any = |board| board;

/// The mode in which the test's instructions run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Real,
    Protected32,
    Long,
}

/// What an exception handler found on its stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    pub error: Option<u64>,
    pub ip: u64,
    pub cs: u16,
    pub flags: u64,
    /// Stack pointer and SS behind it: of the interrupted program in 64-bit mode and after a change of privilege.
    pub sp: u64,
    pub ss: u16,
}

/// The processor with everything around it.
pub struct Lab {
    pub machine: Machine,
    pub mode: Mode,
    pub cr0: u32,
    pub cr4: u32,
    pub efer: u32,
    /// Run the test's instructions at CPL 3.
    pub user: bool,
    /// Flags of user code.
    pub user_flags: u32,
}

impl Lab {
    pub fn new(mode: Mode) -> Self {
        let mut mem = Memory::new(RAM, 0).unwrap();
        mem.map(0, RAM, PhysPage::ram);
        let machine =
            Machine::new(mem, Box::new(Board::default()), emu_tests::engine::engine(), TimeSource::Virtual);
        let mut lab = Self { machine, mode, cr0: 0x10, cr4: 0, efer: 0, user: false, user_flags: 0x2 };
        if mode != Mode::Real {
            lab.cr0 |= PE;
        }
        if mode == Mode::Long {
            lab.cr0 |= PG | WP;
            lab.cr4 = PAE;
            lab.efer = 0xd01 & !0x400; // SCE, LME, NXE
        }
        lab.fill_tables();
        lab
    }

    pub fn real() -> Self {
        Self::new(Mode::Real)
    }
    pub fn protected() -> Self {
        Self::new(Mode::Protected32)
    }
    pub fn long() -> Self {
        Self::new(Mode::Long)
    }
    /// 32-bit protected mode with 32-bit paging.
    pub fn paged() -> Self {
        let mut lab = Self::protected();
        lab.cr0 |= PG | WP;
        lab.fill_tables();
        lab
    }
    /// 32-bit protected mode with PAE paging and NX.
    pub fn pae() -> Self {
        let mut lab = Self::protected();
        lab.cr0 |= PG | WP;
        lab.cr4 |= PAE;
        lab.efer = 0x800;
        lab.fill_tables();
        lab
    }
    /// The same at CPL 3.
    pub fn at_cpl3(mut self) -> Self {
        self.user = true;
        self
    }

    fn fill_tables(&mut self) {
        let long = self.mode == Mode::Long;
        for n in 0..256 {
            let stub = STUBS + 16 * n;
            self.write(stub, 4, 0x00fd_ebf4); // HLT; JMP to it
            let access = if n == u64::from(vector::END) { 0xee } else { 0x8e };
            match self.mode {
                Mode::Real => self.write(4 * n, 4, stub),
                Mode::Long => {
                    self.write(IDT + 16 * n, 8, gate(access, CODE64, stub, 0));
                    self.write(IDT + 16 * n + 8, 8, 0);
                }
                _ => self.write(IDT + 8 * n, 8, gate(access, CODE32, stub, 0)),
            }
        }
        for (selector, value) in [
            (CODE32, descriptor(0, 0xf_ffff, 0x9b, 0xc)),
            (DATA32, descriptor(0, 0xf_ffff, 0x93, 0xc)),
            (CODE16, descriptor(0, 0xffff, 0x9b, 0)),
            (DATA16, descriptor(0, 0xffff, 0x93, 0)),
            (CODE64, descriptor(0, 0, 0x9b, 0x2)),
            (TSS_SELECTOR, descriptor(TSS, 0x1ff, 0x89, 0)),
            (USER_CODE32, descriptor(0, 0xf_ffff, 0xfb, 0xc)),
            (USER_DATA, descriptor(0, 0xf_ffff, 0xf3, 0xc)),
            (USER_CODE64, descriptor(0, 0, 0xfb, 0x2)),
        ] {
            self.gdt(selector, value);
        }
        self.write(TSS + 4, if long { 8 } else { 4 }, INNER_STACK); // RSP0 or ESP0
        if !long {
            self.write(TSS + 8, 4, u64::from(DATA32));
        }
        self.write(TSS + 0x66, 2, 0x68); // I/O map base
        for n in 0x68..0x1ff {
            self.write(TSS + n, 1, 0xff);
        }
        self.fill_page_tables();
    }

    /// Maps the first 2 MiB by small pages, one to one, everything permitted.
    fn fill_page_tables(&mut self) {
        let all = pte::P | pte::W | pte::U;
        let wide = self.mode == Mode::Long || self.cr4 & PAE != 0;
        if wide {
            let first_rights = if self.mode == Mode::Long { all } else { pte::P };
            self.write(TABLES, 8, (TABLES + 0x1000) | all);
            self.write(TABLES + 0x1000, 8, (TABLES + 0x2000) | first_rights);
            self.write(TABLES + 0x2000, 8, (TABLES + 0x3000) | all);
            for n in 0..512 {
                self.write(TABLES + 0x3000 + 8 * n, 8, n << 12 | all);
            }
        } else {
            self.write(TABLES, 4, (TABLES + 0x3000) | all);
            for n in 0..1024 {
                self.write(TABLES + 0x3000 + 4 * n, 4, n << 12 | all);
            }
        }
    }

    fn cr3(&self) -> u64 {
        if self.mode != Mode::Long && self.cr4 & PAE != 0 { TABLES + 0x1000 } else { TABLES }
    }

    fn entry_size(&self) -> u64 {
        if self.mode == Mode::Long || self.cr4 & PAE != 0 { 8 } else { 4 }
    }

    /// Address of the entry that maps a small page.
    pub fn pte_address(&self, linear: u64) -> u64 {
        TABLES + 0x3000 + self.entry_size() * (linear >> 12)
    }
    /// The entry that maps a small page.
    pub fn pte(&mut self, linear: u64) -> u64 {
        self.read(self.pte_address(linear), self.entry_size())
    }
    /// Maps a small page one to one with these bits.
    pub fn map(&mut self, linear: u64, bits: u64) {
        self.write(self.pte_address(linear), self.entry_size(), linear & !0xfff | bits);
    }
    /// Takes a bit from the entry of a small page.
    pub fn forbid(&mut self, linear: u64, bit: u64) {
        let entry = self.pte(linear) & !bit;
        self.write(self.pte_address(linear), self.entry_size(), entry);
    }

    /// Physical memory.
    pub fn read(&mut self, address: u64, size: u64) -> u64 {
        let mut bytes = [0; 8];
        self.machine.cpu().system().mem.read_bytes(address, &mut bytes[..size as usize]);
        u64::from_le_bytes(bytes)
    }
    pub fn write(&mut self, address: u64, size: u64, value: u64) {
        let bytes = value.to_le_bytes();
        self.machine.cpu_mut().system_mut().mem.write_bytes(address, &bytes[..size as usize]);
    }
    /// Sets a descriptor.
    pub fn gdt(&mut self, selector: u16, value: u64) {
        self.write(GDT + u64::from(selector & !7), 8, value);
    }
    pub fn gdt_entry(&mut self, selector: u16) -> u64 {
        self.read(GDT + u64::from(selector & !7), 8)
    }
    /// Sets an 8-byte gate of the IDT (or the low half of a 16-byte one).
    pub fn idt(&mut self, vector: u8, value: u64) {
        let size = if self.mode == Mode::Long { 16 } else { 8 };
        self.write(IDT + size * u64::from(vector), 8, value);
    }
    /// Makes a gate of DPL 0 lead to this address.
    pub fn handler(&mut self, vector: u8, address: u64) {
        match self.mode {
            Mode::Real => self.write(4 * u64::from(vector), 4, address),
            Mode::Long => self.idt(vector, gate(0x8e, CODE64, address, 0)),
            _ => self.idt(vector, gate(0x8e, CODE32, address, 0)),
        }
    }

    pub fn bits(&self) -> u32 {
        match self.mode {
            Mode::Real => 16,
            Mode::Protected32 => 32,
            Mode::Long => 64,
        }
    }

    /// Assembles at an address; returns the address behind.
    pub fn assemble(
        &mut self,
        address: u64,
        bits: u32,
        code: impl FnOnce(&mut CodeAssembler) -> Result<(), IcedError>,
    ) -> u64 {
        let mut a = CodeAssembler::new(bits).unwrap();
        code(&mut a).unwrap();
        let bytes = a.assemble(address).unwrap();
        self.machine.cpu_mut().system_mut().mem.write_bytes(address, &bytes);
        address + bytes.len() as u64
    }

    /// Assembles the test's instructions, goes to the mode and runs them until the processor halts.
    pub fn run(&mut self, code: impl FnOnce(&mut CodeAssembler) -> Result<(), IcedError>) -> Outcome<'_> {
        let end = self.assemble(CODE, self.bits(), code);
        self.assemble_start();
        let busy = self.gdt_entry(TSS_SELECTOR);
        self.gdt(TSS_SELECTOR, busy & !(2 << 40));
        let cpu = self.machine.cpu_mut();
        cpu.reset();
        cpu.seg[CS] = Segment::real(0);
        cpu.regs[RIP] = START;
        cpu.regs[RSP] = STACK;
        cpu.update_mode();
        self.go(end)
    }

    /// Goes on from where the processor halted.
    pub fn go(&mut self, end: u64) -> Outcome<'_> {
        let limit = self.machine.instructions() + 200_000;
        let stop = self.machine.run(limit);
        Outcome { lab: self, stop, end }
    }

    fn assemble_start(&mut self) {
        if self.mode == Mode::Real {
            self.assemble(START, 16, code!(a: jmp(CODE)));
            return;
        }
        let tables = START - 0x20;
        self.write(tables, 2, 0x7ff);
        self.write(tables + 2, 4, GDT);
        self.write(tables + 8, 2, 0xfff);
        self.write(tables + 10, 4, IDT);
        let (control0, control3, control4, efer) = (self.cr0, self.cr3() as u32, self.cr4, self.efer);
        let entry = START + 0x100;
        let (selector, bits) = match self.mode {
            Mode::Long => (CODE64, 64),
            _ => (CODE32, 32),
        };
        let near = self.assemble(START, 16, |a| {
            a.mov(bx, tables as i32)?;
            a.db(&[0x66, 0x0f, 0x01, 0x17])?; // LGDT [bx], 32-bit
            a.add(bx, 8)?;
            a.db(&[0x66, 0x0f, 0x01, 0x1f])?; // LIDT [bx]
            // Old models lack the one or the other.
            if control4 != 0 {
                a.mov(eax, control4)?;
                a.mov(cr4, eax)?;
            }
            a.mov(eax, control3)?;
            a.mov(cr3, eax)?;
            if efer != 0 {
                a.mov(ecx, 0xc000_0080u32)?;
                a.xor(edx, edx)?;
                a.mov(eax, efer)?;
                a.wrmsr()?;
            }
            a.mov(eax, control0)?;
            a.mov(cr0, eax)
        });
        self.write(near, 2, 0xea66); // JMP selector:entry, 32-bit
        self.write(near + 2, 4, entry);
        self.write(near + 6, 2, u64::from(selector));
        let (user, flags, mode) = (self.user, self.user_flags, self.mode);
        self.assemble(entry, bits, |a| {
            a.mov(eax, u32::from(DATA32))?;
            for segment in [ds, es, fs, gs, ss] {
                a.mov(segment, eax)?;
            }
            a.mov(esp, STACK as u32)?;
            a.mov(eax, u32::from(TSS_SELECTOR))?;
            a.ltr(ax)?;
            if user {
                a.mov(eax, u32::from(USER_DATA))?;
                for segment in [ds, es, fs, gs] {
                    a.mov(segment, eax)?;
                }
            }
            let user_code = if mode == Mode::Long { USER_CODE64 } else { USER_CODE32 };
            match user {
                true => {
                    a.push(i32::from(USER_DATA))?;
                    a.push(STACK as i32)?;
                    a.push(flags as i32)?;
                    a.push(i32::from(user_code))?;
                    a.push(CODE as i32)?;
                    if mode == Mode::Long { a.iretq() } else { a.iretd() }
                }
                false => a.jmp(CODE),
            }
        });
    }
}

/// Where a run ended.
pub struct Outcome<'a> {
    pub lab: &'a mut Lab,
    pub stop: Stop,
    /// Address behind the test's instructions.
    pub end: u64,
}

impl Outcome<'_> {
    pub fn cpu(&self) -> &Cpu {
        self.lab.machine.cpu()
    }
    pub fn reg(&self, number: usize) -> u64 {
        self.cpu().regs[number]
    }
    fn pc(&self) -> u64 {
        self.cpu().seg[CS].base + self.reg(RIP)
    }

    /// The vector whose handler the processor halted in.
    pub fn vector(&self) -> Option<u8> {
        let halted = matches!(self.stop, Stop::Halted { .. });
        let in_stubs = (STUBS..STUBS + 0x1000).contains(&self.pc());
        (halted && in_stubs).then(|| ((self.pc() - STUBS) / 16) as u8)
    }

    /// Checks that the test's instructions ended with their own HLT.
    #[track_caller]
    pub fn done(&self) {
        let here = self.describe();
        assert!(matches!(self.stop, Stop::Halted { .. }) && self.vector().is_none(), "{here}");
    }

    fn describe(&self) -> String {
        let vector = self.vector().map(|v| format!("in the handler of vector {v}, {:x?}", self.frame()));
        format!("{:x?} at {:x}, {}", self.stop, self.pc(), vector.unwrap_or_else(|| "in no handler".into()))
    }

    /// Checks that this vector was delivered, with this error code if it has one. Returns its frame.
    #[track_caller]
    pub fn fault(&self, vector: u8, error: impl Into<Option<u64>>) -> Frame {
        assert_eq!(self.vector(), Some(vector), "{}", self.describe());
        let frame = self.frame();
        assert_eq!(frame.error, error.into(), "{}", self.describe());
        frame
    }

    /// Checks a fault at the first of the test's instructions.
    #[track_caller]
    pub fn fault_at(&self, at: u64, vector: u8, error: impl Into<Option<u64>>) -> Frame {
        let frame = self.fault(vector, error);
        assert_eq!(frame.ip, at, "{frame:x?}");
        frame
    }

    /// Checks a page fault with this error code and address.
    #[track_caller]
    pub fn page_fault(&self, error: u64, address: u64) -> Frame {
        let frame = self.fault(vector::PF, error);
        assert_eq!(self.cpu().cr2, address, "CR2, {frame:x?}");
        frame
    }

    /// The frame on the handler's stack.
    pub fn frame(&self) -> Frame {
        let (has_error, size) = (
            self.lab.mode != Mode::Real && matches!(self.vector(), Some(8 | 10..=14 | 17)),
            match self.lab.mode {
                Mode::Real => 2,
                Mode::Long => 8,
                _ => 4,
            },
        );
        let bottom = self.cpu().seg[SS].base + self.reg(RSP);
        let field = |n: u64| {
            let mut bytes = [0; 8];
            let address = bottom + size * (n + u64::from(has_error));
            self.cpu().system().mem.read_bytes(address, &mut bytes[..size as usize]);
            u64::from_le_bytes(bytes)
        };
        let error = has_error.then(|| {
            let mut bytes = [0; 8];
            self.cpu().system().mem.read_bytes(bottom, &mut bytes[..size as usize]);
            u64::from_le_bytes(bytes)
        });
        Frame { error, ip: field(0), cs: field(1) as u16, flags: field(2), sp: field(3), ss: field(4) as u16 }
    }
}
