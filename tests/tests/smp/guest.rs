//! A PC with several processors and a few instructions for each: the bootstrap processor and the others run code of
//! the test in flat 32-bit mode, without firmware in between.
//!
//! Everybody finds EDI = the page of the local APIC, ECX = its own APIC ID, a stack of its own and interrupts off.
//! The run ends when somebody writes to port F4h.

use emu_core::cpu::{CS, RIP, Segment};
use emu_core::machine::{Machine, Stop, TimeSource};
use emu_devices::pc::{Pc, PcConfig};
use iced_x86::IcedError;
use iced_x86::code_asm::*;

pub type Code = Result<(), IcedError>;

/// Free for the test.
pub const DATA: u32 = 0x3_0000;
/// Two pages for code that tests write, and one for an interrupt handler.
pub const PATCHED: u32 = 0x4_0000;
pub const HANDLER: u32 = 0x4_8000;
/// What start-up messages name: the others begin in this page.
pub const START_PAGE: u32 = 0x8;

/// Registers of the local APIC.
pub mod apic {
    pub const EOI: u32 = 0xb0;
    pub const LDR: u32 = 0xd0;
    pub const ICR: u32 = 0x300;
    pub const ICR_HIGH: u32 = 0x310;
    pub const LVT_TIMER: u32 = 0x320;
    pub const INITIAL_COUNT: u32 = 0x380;
    pub const BASE: u32 = 0xfee0_0000;
    /// INIT, to everybody but the sender.
    pub const INIT_OTHERS: u32 = 0xc_4500;
    /// Start-up, to everybody but the sender.
    pub const START_OTHERS: u32 = 0xc_4600;
    /// A vector, to everybody but the sender.
    pub const VECTOR_OTHERS: u32 = 0xc_4000;
}

const POINTERS: u32 = 0x7e0;
const GDT: u32 = 0x800;
const IDT: u32 = 0x1000;
/// Where vectors without a handler of the test end.
const UNEXPECTED: u32 = 0x2000;
const FIRST_START: u32 = 0x7000;
const FIRST: u32 = 0x1_0000;
const OTHERS: u32 = 0x1_8000;
const STACKS: u32 = 0x6_0000;
const EXIT: u32 = 0xf4;
/// What the exit port shows for such a vector.
const STRAY: u32 = 0xee;

/// The machine.
pub struct Guest {
    pub machine: Machine,
}

impl Guest {
    /// So many processors; the code of the first and of the others.
    pub fn new(
        cpus: usize,
        first: impl FnOnce(&mut CodeAssembler) -> Code,
        others: impl FnOnce(&mut CodeAssembler) -> Code,
    ) -> Self {
        let (pc, mem) = Pc::new(PcConfig {
            ram_size: 4 << 20,
            cpus,
            bios: vec![0xf4; 0x1_0000],
            debug_exit_port: Some(EXIT as u16),
            ..PcConfig::default()
        })
        .unwrap();
        let engine = emu_tests::engine::engine();
        let machine = Machine::with_processors(cpus, mem, Box::new(pc), engine, TimeSource::Virtual);
        let mut guest = Self { machine };
        guest.write(POINTERS, 0x0000_0800_0017);
        guest.write(POINTERS + 8, 0x0000_1000_07ff);
        guest.write(GDT + 8, 0x00cf_9b00_0000_ffff);
        guest.write(GDT + 16, 0x00cf_9300_0000_ffff);
        for vector in 0..=255 {
            guest.set_gate(vector, UNEXPECTED);
        }
        guest.assemble(UNEXPECTED, |a| exit(a, STRAY));
        guest.start_code(FIRST_START, FIRST);
        guest.start_code(START_PAGE << 12, OTHERS);
        guest.assemble(FIRST, first);
        guest.assemble(OTHERS, others);
        let cpu = guest.machine.cpu_mut();
        cpu.seg[CS] = Segment::real(0);
        cpu.regs[RIP] = u64::from(FIRST_START);
        cpu.update_mode();
        guest
    }

    /// The same with an interrupt handler.
    pub fn with_handler(
        mut self,
        vector: u8,
        address: u32,
        code: impl FnOnce(&mut CodeAssembler) -> Code,
    ) -> Self {
        self.set_gate(vector, address);
        self.assemble(address, code);
        self
    }

    fn set_gate(&mut self, vector: u8, address: u32) {
        let gate = u64::from(address & 0xffff) | 0x08 << 16 | 0x8e << 40 | u64::from(address >> 16) << 48;
        self.write(IDT + 8 * u32::from(vector), gate);
    }

    /// From real mode to the code at `then`.
    fn start_code(&mut self, address: u32, then: u32) {
        let mut a = CodeAssembler::new(16).unwrap();
        let assembled = (|| {
            a.cli()?;
            a.mov(bx, POINTERS as i32)?;
            a.db(&[0x66, 0x0f, 0x01, 0x17])?; // LGDT [BX], 32-bit
            a.add(bx, 8)?;
            a.db(&[0x66, 0x0f, 0x01, 0x1f])?; // LIDT [BX]
            a.mov(eax, 0x11)?;
            a.mov(cr0, eax)?;
            a.assemble(u64::from(address))
        })();
        let mut bytes = assembled.unwrap();
        let next = address + bytes.len() as u32 + 8;
        bytes.extend([0x66, 0xea]); // JMP 8:next, 32-bit
        bytes.extend(next.to_le_bytes());
        bytes.extend([8, 0]);
        self.write_bytes(address, &bytes);
        self.assemble(next, |a| {
            a.mov(eax, 0x10)?;
            a.mov(ds, eax)?;
            a.mov(es, eax)?;
            a.mov(ss, eax)?;
            a.mov(edi, apic::BASE)?;
            a.mov(ecx, dword_ptr(edi + 0x20))?;
            a.shr(ecx, 24)?;
            a.mov(dword_ptr(edi + 0xf0), 0x1ff)?; // spurious vector FFh, enabled
            a.mov(esp, ecx)?;
            a.shl(esp, 12)?;
            a.add(esp, (STACKS + 0x1000) as i32)?;
            a.jmp(u64::from(then))
        });
    }

    pub fn assemble(&mut self, address: u32, code: impl FnOnce(&mut CodeAssembler) -> Code) {
        let mut a = CodeAssembler::new(32).unwrap();
        code(&mut a).unwrap();
        let bytes = a.assemble(u64::from(address)).unwrap();
        self.write_bytes(address, &bytes);
    }

    fn write_bytes(&mut self, address: u32, bytes: &[u8]) {
        self.machine.cpu_mut().system_mut().mem.write_bytes(u64::from(address), bytes);
    }

    pub fn write(&mut self, address: u32, value: u64) {
        self.write_bytes(address, &value.to_le_bytes());
    }

    pub fn dword(&self, address: u32) -> u32 {
        let mut bytes = [0; 4];
        self.machine.cpu().system().mem.read_bytes(u64::from(address), &mut bytes);
        u32::from_le_bytes(bytes)
    }

    /// Runs until the exit port is written; returns what was written.
    pub fn run(&mut self) -> u32 {
        self.run_in_slices(50_000_000)
    }

    /// The same, so many instructions at a time.
    pub fn run_in_slices(&mut self, slice: u64) -> u32 {
        let limit = self.machine.instructions() + 50_000_000;
        loop {
            let until = (self.machine.instructions() + slice).min(limit);
            match self.machine.run(until) {
                Stop::DebugExit(value) => return value,
                Stop::Limit if self.machine.instructions() < limit => {}
                stop => panic!("{stop:?} after {} instructions", self.machine.instructions()),
            }
        }
    }
}

/// Ends the run with this value.
pub fn exit(a: &mut CodeAssembler, value: u32) -> Code {
    a.mov(eax, value)?;
    a.out(EXIT as i32, eax)
}

/// Writes a register of the local APIC.
pub fn apic_write(a: &mut CodeAssembler, register: u32, value: u32) -> Code {
    a.mov(dword_ptr(edi + register as i32), value as i32)
}

/// Starts all the other processors as the manual says, but for its delays.
pub fn start_others(a: &mut CodeAssembler) -> Code {
    apic_write(a, apic::ICR, apic::INIT_OTHERS)?;
    apic_write(a, apic::ICR, apic::START_OTHERS | START_PAGE)?;
    apic_write(a, apic::ICR, apic::START_OTHERS | START_PAGE)
}

/// Waits until the number at `address` is `value`.
pub fn wait_for(a: &mut CodeAssembler, address: u32, value: u32) -> Code {
    let mut again = a.create_label();
    a.set_label(&mut again)?;
    a.pause()?;
    a.cmp(dword_ptr(address), value as i32)?;
    a.jne(again)
}

/// HLT for good, with interrupts on.
pub fn sleep(a: &mut CodeAssembler) -> Code {
    let mut again = a.create_label();
    a.sti()?;
    a.set_label(&mut again)?;
    a.hlt()?;
    a.jmp(again)
}
