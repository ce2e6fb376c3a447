//! Registers that gdb changes. Each takes what an instruction could have put there, with the checks that such an
//! instruction makes: a selector brings its descriptor with it, and what no instruction can make is refused.
//!
//! Bases and limits of segments are the exception: they are changed as they lie in the processor, beside their
//! descriptor, which SMM and VM entries can do as well.

use emu_core::cpu::{CS, Cpu, FS, Fallible, Fault, GS, LDTR, RIP, eflags, fpu};
use emu_core::interp::sem::sse::state::update_summary;
use emu_core::interp::sem::system::{load_ldtr, load_tr};
use emu_core::interp::sem::x87::control::load_control;
use emu_core::interp::sem::x87::environment::{load_status, load_tags};
use emu_core::machine::Machine;
use emu_core::softfloat::F80;

use super::registers::{self, Kind, REGISTERS};

/// Writes a register; `None` when it cannot take the value or cannot be written from outside.
pub fn write(machine: &mut Machine, processor: usize, number: usize, bytes: &[u8]) -> Option<()> {
    let register = REGISTERS.get(number)?;
    let bytes = bytes.get(..register.size)?;
    let before = registers::read(machine, processor, number);
    if before[..register.size] == *bytes {
        return Some(());
    }
    let mut wide = [0; 16];
    wide[..bytes.len()].copy_from_slice(bytes);
    machine.change_processor(processor, |cpu| put(cpu, register.kind, u128::from_le_bytes(wide)))
}

fn put(cpu: &mut Cpu, kind: Kind, wide: u128) -> Option<()> {
    let value = wide as u64;
    match kind {
        Kind::General(n) => cpu.regs[n] = value,
        Kind::LinearIp => jump(cpu, value.wrapping_sub(cpu.seg[CS].base) & cpu.linear_mask),
        Kind::Offset => jump(cpu, value),
        Kind::Flags => {
            let value = value & eflags::ALL | eflags::FIXED;
            // Virtual-8086 mode is more than its flag: IRET and task switches enter and leave it.
            let same = (cpu.flags.get() ^ value) & eflags::VM == 0;
            same.then(|| cpu.set_flags(value))?;
        }
        Kind::Selector(n) => selector(cpu, n, value as u16).ok()?,
        Kind::Base(n) => base(cpu, n, value)?,
        Kind::SegmentLimit(n) => limit(cpu, n, value as u32)?,
        Kind::TableBase(idt) => {
            cpu.canonical_register(value).then(|| table(cpu, idt).base = value)?;
        }
        Kind::TableLimit(idt) => table(cpu, idt).limit = u16::try_from(value).ok()?,
        Kind::St(n) => {
            let top = usize::from(cpu.fpu.top.wrapping_add(n) & 7);
            cpu.fpu.regs[top] = F80::from_bytes(wide.to_le_bytes()[..10].try_into().ok()?);
        }
        Kind::FpuControl(n) => x87(cpu, n, value),
        Kind::Xmm(n) => set_vector(cpu, n, 0, wide),
        Kind::YmmHigh(n) => set_vector(cpu, n, 2, wide),
        Kind::Mxcsr => cpu.fpu.mxcsr = value as u32 & fpu::MXCSR_MASK,
        Kind::KernelGsBase => cpu.msrs.kernel_gs_base = value,
        Kind::Cr(0) => cpu.write_cr0(value).ok()?,
        Kind::Cr(2) => cpu.cr2 = value,
        Kind::Cr(3) => cpu.write_cr3(value).ok()?,
        Kind::Cr(4) => cpu.write_cr4(value).ok()?,
        Kind::Cr(_) => {
            let class = u8::try_from(value).ok().filter(|class| *class < 16)?;
            let number = cpu.number;
            cpu.with_bus(|bus, _| bus.set_task_priority(number, class));
        }
        Kind::Efer => cpu.write_efer(value).ok()?,
        Kind::Dr(n) => cpu.write_debug(n, value),
        Kind::Cpl | Kind::CodeSize => return None,
    }
    Some(())
}

/// Loads a segment register as MOV, a jump within the same privilege level, LLDT or LTR would.
fn selector(cpu: &mut Cpu, register: usize, selector: u16) -> Fallible {
    if cpu.paragraphs() {
        if register >= LDTR {
            return Err(Fault::UD);
        }
        cpu.load_paragraph(register, selector);
        cpu.update_mode();
        return Ok(());
    }
    match register {
        CS => {
            let descriptor = cpu.descriptor(selector, Fault::gp(selector))?;
            cpu.check_code(selector, &descriptor, cpu.cpl, (selector & 3) as u8)?;
            cpu.enter_code(selector, &descriptor, cpu.cpl)
        }
        LDTR => load_ldtr(cpu, selector),
        register if register > LDTR => load_tr(cpu, selector),
        register => cpu.load_segment(register, selector),
    }
}

/// 64-bit code has no bases but those of FS and GS.
fn base(cpu: &mut Cpu, register: usize, value: u64) -> Option<()> {
    let fits = match register {
        FS | GS | LDTR.. => cpu.canonical_register(value),
        _ => cpu.code_size() != 64 && u32::try_from(value).is_ok(),
    };
    fits.then(|| cpu.seg[register].base = value)?;
    cpu.update_mode();
    Some(())
}

/// A limit in pages has its low twelve bits set, one in bytes has twenty bits.
fn limit(cpu: &mut Cpu, register: usize, value: u32) -> Option<()> {
    let segment = &mut cpu.seg[register];
    let fits = if segment.rights.granular() { value & 0xfff == 0xfff } else { value >> 20 == 0 };
    fits.then(|| segment.limit = value)?;
    cpu.update_mode();
    Some(())
}

fn table(cpu: &mut Cpu, idt: bool) -> &mut emu_core::cpu::TableRegister {
    if idt { &mut cpu.idtr } else { &mut cpu.gdtr }
}

/// Control, status, tag, CS, IP, DS, DP, opcode.
fn x87(cpu: &mut Cpu, number: u8, value: u64) {
    match number {
        0 => {
            load_control(cpu, value as u16);
            update_summary(cpu);
        }
        1 => load_status(cpu, value as u16),
        2 => load_tags(cpu, value as u16),
        3 => cpu.fpu.instruction.0 = value as u16,
        4 => cpu.fpu.instruction.1 = value,
        5 => cpu.fpu.data.0 = value as u16,
        6 => cpu.fpu.data.1 = value,
        _ => cpu.fpu.opcode = value as u16 & 0x7ff,
    }
}

fn set_vector(cpu: &mut Cpu, number: usize, first: usize, value: u128) {
    cpu.fpu.vectors[number][first] = value as u64;
    cpu.fpu.vectors[number][first + 1] = (value >> 64) as u64;
}

/// The processor is sent elsewhere: what was about to happen where it stands does not.
fn jump(cpu: &mut Cpu, offset: u64) {
    cpu.regs[RIP] = offset;
    cpu.debugger.drop_held();
    cpu.forget_passed();
}
