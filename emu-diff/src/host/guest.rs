//! The same instruction on the interpreter: user code in long mode, with the same two pages mapped.

use emu_core::cpu::control::{
    CR0_AM, CR0_ET, CR0_MP, CR0_NE, CR0_PE, CR0_PG, CR0_WP, CR4_OSFXSR, CR4_OSXMMEXCPT, CR4_PAE, EFER_LMA,
    EFER_LME, EFER_NXE, EFER_SCE,
};
use emu_core::cpu::{CS, Cpu, DS, ES, FS, Fault, GS, RIP, RSP, Rights, SS, Segment, System, TR};
use emu_core::decode::{CodeMode, decode};
use emu_core::interp::op::{Op, WRITES_RIP};
use emu_core::mem::Memory;
use emu_core::mem::page::PhysPage;

use super::NoChips;
use super::silicon::{CODE32, CODE64, Outcome, USER_DATA};
use crate::fuzz::places::{CODE, DATA, PAGE, Registers, START};

const RAM: u64 = 32 << 20;
const TABLES: u64 = 0x1_0000;
/// Linear address of the page with the kernel's tables, and where it is in memory.
const SYSTEM: u64 = 0xffff_8000_0000_0000;
const SYSTEM_FRAME: u64 = 0x2_0000;
/// Offsets in that page: the IDT at 0, the GDT, the TSS, and the end of the kernel's stack.
const GDT: u64 = 0x400;
const TSS: u64 = 0x500;
const STACK: u64 = 0x1000;
const KERNEL_CODE: u16 = 0x10;
/// Linear address where the handler of exception 0 would be; nothing runs there. The others follow each 16 bytes.
const HANDLERS: u64 = SYSTEM + 0x10_0000;
const EXCEPTIONS: u64 = 32;

/// The interpreter's processor.
pub struct Guest {
    cpu: Cpu,
    op: Option<Op>,
}

impl Guest {
    /// A processor in user code.
    ///
    /// # Errors
    /// When the host has no memory for it.
    pub fn new() -> Result<Self, String> {
        let mut mem = Memory::new(RAM, 0).map_err(|error| error.to_string())?;
        mem.map(0, RAM, PhysPage::ram);
        mem.set_a20(true);
        let mut entry = |at: u64, value: u64| mem.write_bytes(TABLES + at, &value.to_le_bytes());
        // Present, writable, user, accessed, dirty.
        const ALL: u64 = 0x67;
        entry(0, (TABLES + 0x1000) | ALL);
        entry(0x1000, (TABLES + 0x2000) | ALL);
        entry(0x2000 + 8 * (CODE >> 21), (TABLES + 0x3000) | ALL);
        entry(0x3000 + 8 * (CODE >> 12 & 511), CODE | ALL & !2);
        entry(0x3000 + 8 * (DATA >> 12 & 511), DATA | ALL | 1 << 63);
        entry(8 * (SYSTEM >> 39 & 511), (TABLES + 0x4000) | ALL);
        entry(0x4000, (TABLES + 0x5000) | ALL);
        entry(0x5000, (TABLES + 0x6000) | ALL);
        entry(0x6000, SYSTEM_FRAME | ALL & !4);
        write_tables(&mut mem);
        let mut cpu = Cpu::new(0, mem.ram().clone());
        cpu.attach(Box::new(System::new(mem, Box::new(NoChips))));
        cpu.cr0 = CR0_PE | CR0_ET | CR0_NE | CR0_MP | CR0_AM | CR0_PG | CR0_WP;
        cpu.cr3 = TABLES;
        cpu.cr4 = CR4_PAE | CR4_OSFXSR | CR4_OSXMMEXCPT;
        cpu.efer = EFER_LME | EFER_LMA | EFER_SCE | EFER_NXE;
        cpu.cpl = 3;
        for register in [SS, DS, ES] {
            cpu.seg[register] = segment(USER_DATA, 0xc0f3);
        }
        cpu.seg[FS] = Cpu::null(0, 0);
        cpu.seg[GS] = Cpu::null(0, 0);
        // No room for an I/O permission bitmap.
        (cpu.seg[TR].base, cpu.seg[TR].limit) = (SYSTEM + TSS, 50);
        (cpu.gdtr.base, cpu.gdtr.limit) = (SYSTEM + GDT, 0x1f);
        (cpu.idtr.base, cpu.idtr.limit) = (SYSTEM, 16 * EXCEPTIONS as u16 - 1);
        cpu.deadline = u64::MAX;
        Ok(Self { cpu, op: None })
    }

    /// Puts an instruction for code of so many bits in, as [`super::silicon::Host::load`] does.
    ///
    /// # Errors
    /// When it is not implemented.
    pub fn load(&mut self, instruction: &[u8], bits: u32) -> Result<(), String> {
        let cpu = &mut self.cpu;
        let (selector, rights) = if bits == 64 { (CODE64, 0xa0fb) } else { (CODE32, 0xc0fb) };
        if cpu.seg[CS].selector != selector {
            cpu.seg[CS] = segment(selector, rights);
            cpu.update_mode();
            assert_eq!(cpu.code_size(), bits);
        }
        let mut page = [0xcc; PAGE];
        page[(START - CODE) as usize..][..instruction.len()].copy_from_slice(instruction);
        cpu.system_mut().mem.write_bytes(CODE, &page);
        self.op = None;
        self.op = Some(decode(instruction, CodeMode::of(cpu), 0).map_err(|e| format!("{e:?}"))?);
        Ok(())
    }

    /// Fills the page that instructions may use.
    pub fn set_data(&mut self, data: &[u8; PAGE]) {
        self.cpu.system_mut().mem.write_bytes(DATA, data);
    }

    /// What it holds.
    pub fn data(&self) -> [u8; PAGE] {
        let mut data = [0; PAGE];
        self.cpu.system().mem.read_bytes(DATA, &mut data);
        data
    }

    /// Runs the instruction that was loaded.
    ///
    /// # Errors
    /// When it is not implemented.
    pub fn run(&mut self, before: &Registers) -> Result<Outcome, String> {
        let Self { cpu, op: Some(op) } = self else { return Err("no instruction is loaded".into()) };
        cpu.regs[..16].copy_from_slice(&before.regs);
        cpu.regs[RIP] = START;
        cpu.set_flags(before.flags);
        cpu.update_context();
        let mut outcome = Outcome::default();
        loop {
            match (op.run)(cpu, op) {
                Ok(()) if op.flags & WRITES_RIP == 0 => {
                    cpu.regs[RIP] = op.next(cpu);
                    break;
                }
                // Between iterations.
                Ok(()) if op.repeated() && cpu.regs[RIP] == START => {}
                // Or a conditional jump was taken, which the handler tells so.
                Ok(()) | Err(Fault::Jumped) => break,
                Err(Fault::Exception(e)) => {
                    outcome.fault = Some((e.vector, e.error.into()));
                    cpu.regs[RIP] = START;
                    break;
                }
                Err(other) => return Err(format!("{other:?}")),
            }
        }
        if cpu.cpl == 0 {
            outcome.fault = Some((self.leave_handler(), 0));
        }
        let cpu = &mut self.cpu;
        outcome.cr2 = cpu.fault_address;
        outcome.rip = cpu.regs[RIP];
        outcome.after.regs.copy_from_slice(&cpu.regs[..16]);
        outcome.after.flags = cpu.flags.get();
        Ok(outcome)
    }

    /// Takes back user code's registers from the frame that a trap has left on the kernel's stack. Returns its vector.
    fn leave_handler(&mut self) -> u8 {
        let cpu = &mut self.cpu;
        let vector = ((cpu.regs[RIP] - HANDLERS) / 16) as u8;
        let mut frame = [0; 40];
        cpu.system().mem.read_bytes(SYSTEM_FRAME + STACK - 40, &mut frame);
        assert_eq!(cpu.regs[RSP], SYSTEM + STACK - 40, "no exception with an error code is delivered here");
        let slot = |n: usize| u64::from_le_bytes(frame[8 * n..][..8].try_into().unwrap());
        (cpu.regs[RIP], cpu.regs[RSP]) = (slot(0), slot(3));
        cpu.cpl = 3;
        cpu.seg[SS] = segment(USER_DATA, 0xc0f3);
        cpu.set_flags(slot(2));
        vector
    }
}

/// The kernel's IDT, GDT and TSS: as Linux has them, user code may raise #BP and #OF by INT n and no other.
fn write_tables(mem: &mut Memory) {
    let mut write = |at: u64, value: u64| mem.write_bytes(SYSTEM_FRAME + at, &value.to_le_bytes());
    for vector in 0..EXCEPTIONS {
        let handler = HANDLERS + 16 * vector;
        let access = if matches!(vector, 3 | 4) { 0xee } else { 0x8e };
        let low =
            handler & 0xffff | u64::from(KERNEL_CODE) << 16 | access << 40 | (handler >> 16 & 0xffff) << 48;
        write(16 * vector, low);
        write(16 * vector + 8, handler >> 32);
    }
    write(GDT + u64::from(KERNEL_CODE), 0x00af_9b00_0000_ffff);
    write(TSS + 4, SYSTEM + STACK);
}

/// A flat segment.
pub(super) fn segment(selector: u16, rights: u16) -> Segment {
    let mut segment =
        Segment { base: 0, limit: 0xffff_ffff, rights: Rights(rights), ..Segment::real(selector) };
    segment.base = 0;
    segment.update(true);
    segment
}
