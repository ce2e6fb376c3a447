//! #GP(0), #SS(0) and #UD: what the instruction asked for that it may not have.

use iced_x86::{Code, Instruction, Mnemonic as M, OpAccess, OpKind, Register};

use super::instruction;
use crate::cpu::{CS, Cpu, RCX, RIP, SS, Segment};

/// Explains a #GP(0) or #SS(0).
pub fn explain(cpu: &Cpu, vector: u8) -> Vec<String> {
    vec![format!("check: {}", check(cpu, vector))]
}

fn check(cpu: &Cpu, vector: u8) -> String {
    if cpu.regs[RIP] > cpu.fetch_limit {
        return format!("the instruction lies beyond the code segment's limit {:#x}", cpu.fetch_limit);
    }
    if cpu.linear_mask == u64::MAX && !cpu.canonical(cpu.linear_ip()) {
        return "RIP is not canonical".into();
    }
    let Some((insn, _)) = instruction(cpu) else { return "the instruction cannot be read".into() };
    if vector == 13 && cpu.protected() && insn.is_privileged() && cpu.cpl != 0 {
        let io = matches!(
            insn.mnemonic(),
            M::Cli | M::Sti | M::In | M::Out | M::Insb | M::Insw | M::Insd | M::Outsb | M::Outsw | M::Outsd
        );
        return if io {
            format!("CPL {} is above IOPL {}, and the TSS permits nothing else", cpu.cpl, cpu.iopl())
        } else {
            format!("the instruction is privileged: CPL is {} and must be 0", cpu.cpl)
        };
    }
    if cpu.v86()
        && cpu.iopl() < 3
        && matches!(insn.mnemonic(), M::Cli | M::Sti | M::Pushf | M::Popf | M::Int | M::Iret)
    {
        return format!("the instruction depends on IOPL, which is {} in virtual-8086 mode", cpu.iopl());
    }
    if let Some(found) = special(cpu, &insn) {
        return found;
    }
    operand(cpu, &insn)
        .or_else(|| stack(cpu, &insn))
        .unwrap_or_else(|| "one of those that the manual lists for this instruction with error code 0".into())
}

/// Instructions with checks of their own.
fn special(cpu: &Cpu, insn: &Instruction) -> Option<String> {
    let msr = cpu.regs[RCX] as u32;
    Some(match insn.mnemonic() {
        M::Rdmsr => format!("MSR {msr:#x} does not exist"),
        M::Wrmsr => format!("MSR {msr:#x} does not exist, cannot be written, or reserved bits were set: EDX:EAX = {:08x}:{:08x}", cpu.regs[2] as u32, cpu.regs[0] as u32),
        M::Xsetbv => format!("XCR {msr} does not exist, or the value is none that it can take"),
        M::Mov if insn.op0_register().is_cr() => {
            let from = cpu.register::<u64>(crate::decode::register_number(insn.op1_register()));
            format!("{:?} cannot take the value {from:#x}: a reserved bit, or a combination that is not allowed", insn.op0_register())
        }
        M::Iret | M::Iretd | M::Iretq | M::Retf => "the frame on the stack names a selector that is null or does not fit, or an offset outside its segment".into(),
        _ => return None,
    })
}

fn number(register: Register) -> usize {
    match register {
        Register::ES => 0,
        Register::CS => 1,
        Register::SS => 2,
        Register::FS => 4,
        Register::GS => 5,
        _ => 3,
    }
}

/// Offset and linear address of operand `n`.
fn place(cpu: &Cpu, insn: &Instruction, n: u32) -> Option<(u64, u64)> {
    let value = |base: bool, register: Register| {
        if register.is_segment_register() {
            let segment = number(register);
            let flat = cpu.code_size() == 64 && segment < 4;
            return Some(if base && !flat { cpu.seg[segment].base } else { 0 });
        }
        let full = register.full_register();
        full.is_gpr64().then(|| cpu.regs[full.number()] & (u64::MAX >> (64 - 8 * register.size() as u32)))
    };
    let offset = insn.virtual_address(n, 0, |register, _, _| value(false, register))?;
    let linear = insn.virtual_address(n, 0, |register, _, _| value(true, register))?;
    Some((offset, linear & cpu.linear_mask))
}

/// Looks for a memory operand that its segment or its address does not permit.
fn operand(cpu: &Cpu, insn: &Instruction) -> Option<String> {
    let mut factory = iced_x86::InstructionInfoFactory::new();
    let info = factory.info(insn).clone();
    for n in 0..insn.op_count() {
        if !matches!(
            insn.op_kind(n),
            OpKind::Memory
                | OpKind::MemorySegSI
                | OpKind::MemorySegESI
                | OpKind::MemorySegRSI
                | OpKind::MemoryESDI
                | OpKind::MemoryESEDI
                | OpKind::MemoryESRDI
        ) {
            continue;
        }
        let Some((offset, linear)) = place(cpu, insn, n) else { continue };
        let string =
            matches!(insn.op_kind(n), OpKind::MemoryESDI | OpKind::MemoryESEDI | OpKind::MemoryESRDI);
        let register = if string { Register::ES } else { insn.memory_segment() };
        let size = insn.memory_size().size().max(1) as u64;
        if cpu.code_size() == 64 {
            if !cpu.canonical(linear) || !cpu.canonical(linear.wrapping_add(size - 1)) {
                return Some(format!("the address {linear:#x} of the memory operand is not canonical"));
            }
        } else {
            let writes = matches!(
                info.op_access(n),
                OpAccess::Write | OpAccess::ReadWrite | OpAccess::CondWrite | OpAccess::ReadCondWrite
            );
            if let Some(found) = segment(&cpu.seg[number(register)], register, offset, size, writes) {
                return Some(found);
            }
        }
        if insn.memory_size().size() == 16 && linear & 15 != 0 {
            return Some(format!("the address {linear:#x} of the memory operand is no multiple of 16"));
        }
    }
    None
}

fn segment(s: &Segment, register: Register, offset: u64, size: u64, writes: bool) -> Option<String> {
    let (first, last) = if writes { s.write } else { s.read };
    let end = offset.wrapping_add(size - 1);
    if offset >= first && end <= last && end >= offset {
        return None;
    }
    let name = format!("{register:?}");
    Some(if s.selector & 0xfffc == 0 && !s.rights.present() {
        format!("{name} holds a null selector")
    } else if first > last {
        let why = if writes { "may not be written (its type)" } else { "may not be read (its type)" };
        format!("the segment in {name} {why}")
    } else {
        format!("offset {offset:#x} to {end:#x} is outside the limit of {name}: {first:#x} to {last:#x}")
    })
}

/// Looks at an implicit access to the stack.
fn stack(cpu: &Cpu, insn: &Instruction) -> Option<String> {
    let moved = insn.stack_pointer_increment();
    if moved == 0 {
        return None;
    }
    let size = u64::from(moved.unsigned_abs());
    let pointer = cpu.stack_pointer();
    let at = if moved < 0 { pointer.wrapping_sub(size) & cpu.stack_mask } else { pointer };
    if cpu.code_size() == 64 {
        let canonical = cpu.canonical(at) && cpu.canonical(at.wrapping_add(size - 1));
        return (!canonical).then(|| format!("the stack address {at:#x} is not canonical"));
    }
    segment(&cpu.seg[SS], Register::SS, at, size, moved < 0)
}

/// Explains #UD.
pub fn invalid_opcode(cpu: &Cpu) -> Vec<String> {
    let Some((insn, _)) = instruction(cpu) else { return Vec::new() };
    let why = if insn.is_invalid() {
        "the bytes are no instruction".into()
    } else if matches!(insn.code(), Code::Ud2 | Code::Ud1_r32_rm32 | Code::Ud1_r64_rm64 | Code::Ud1_r16_rm16)
    {
        "the instruction is there to raise #UD".into()
    } else if insn.has_lock_prefix() {
        "the LOCK prefix is not allowed with it".to_owned()
    } else {
        let features: Vec<String> =
            insn.cpuid_features().iter().map(|feature| format!("{feature:?}")).collect();
        format!(
            "the instruction needs {}, or a mode in which the processor is not (CS {:04x})",
            features.join(" and "),
            cpu.seg[CS].selector
        )
    };
    vec![format!("check: {why}")]
}
