//! Faults explained: which check failed, in the manual's words, with the tables that the processor looked at.
//!
//! An explanation is made from the state that a fault left, which is that of before the instruction; nothing about the
//! machine changes. [`fault`] takes one exception, [`chain`] all that led to a shutdown, [`delivered`] one that was
//! delivered. SDM 3A, chapters "Interrupt and Exception Handling", "Protection", "Paging".

mod general;
mod pages;
mod tables;

use iced_x86::{Decoder, DecoderOptions, Formatter, Instruction, IntelFormatter};

use crate::cpu::interrupt::Delivered;
use crate::cpu::{CS, Cpu, Exception, RIP, fault::mnemonic};
use crate::decode::MAX_LENGTH;

/// An exception in words, for every vector that the manual names.
fn title(vector: u8) -> &'static str {
    match vector {
        0 => "divide error",
        1 => "debug exception",
        3 => "breakpoint",
        4 => "overflow",
        5 => "BOUND range exceeded",
        6 => "invalid opcode",
        7 => "device not available",
        8 => "double fault",
        10 => "invalid TSS",
        11 => "segment not present",
        12 => "stack-segment fault",
        13 => "general protection",
        14 => "page fault",
        16 => "x87 floating-point error",
        17 => "alignment check",
        18 => "machine check",
        19 => "SIMD floating-point exception",
        _ => "exception",
    }
}

/// The instruction at CS:RIP, if its bytes can be read.
fn instruction(cpu: &Cpu) -> Option<(Instruction, Vec<u8>)> {
    let mut bytes = vec![0; MAX_LENGTH];
    let have = cpu.peek_linear(cpu.linear_ip(), &mut bytes);
    bytes.truncate(have);
    if bytes.is_empty() {
        return None;
    }
    let insn = Decoder::with_ip(cpu.code_size(), &bytes, cpu.regs[RIP], DecoderOptions::NONE).decode();
    bytes.truncate(insn.len().max(1));
    Some((insn, bytes))
}

/// The instruction at CS:RIP as a line.
fn instruction_line(cpu: &Cpu) -> String {
    let place = format!("{:04x}:{:x} (CPL {})", cpu.seg[CS].selector, cpu.regs[RIP], cpu.cpl);
    let Some((insn, bytes)) = instruction(cpu) else { return format!("instruction: {place}, not in memory") };
    let mut text = String::new();
    IntelFormatter::new().format(&insn, &mut text);
    let bytes: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("instruction: {place}  {}  {text}", bytes.join(" "))
}

/// General, segment and control registers in lines.
pub fn registers(cpu: &Cpu) -> Vec<String> {
    const NAMES: [&str; 16] = [
        "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13",
        "r14", "r15",
    ];
    let pair = |n: usize| format!("{:>3}={:016x}", NAMES[n], cpu.regs[n]);
    let count = if cpu.long_mode() { 16 } else { 8 };
    let mut lines: Vec<String> = (0..count)
        .step_by(4)
        .map(|first| (first..first + 4).map(pair).collect::<Vec<_>>().join(" "))
        .collect();
    lines.push(format!(
        "rip={:x} rflags={:x} cr0={:x} cr2={:x} cr3={:x} cr4={:x} efer={:x}",
        cpu.regs[RIP],
        cpu.flags.get(),
        cpu.cr0,
        cpu.cr2,
        cpu.cr3,
        cpu.cr4,
        cpu.efer
    ));
    if cpu.vmx.on {
        let operation = if cpu.vmx.non_root { "non-root" } else { "root" };
        let wrong =
            cpu.vmx.wrong.map_or_else(String::new, |wrong| format!(", last failed VM entry: {wrong}"));
        lines.push(format!("VMX {operation} operation, vmcs={:x}{wrong}", cpu.vmx.current));
    }
    let names = ["es", "cs", "ss", "ds", "fs", "gs", "ldtr", "tr"];
    for half in [0..4, 4..8] {
        let shown = half.map(|n| {
            let s = &cpu.seg[n];
            format!("{}={:04x} base {:x} limit {:x}", names[n], s.selector, s.base, s.limit)
        });
        lines.push(shown.collect::<Vec<_>>().join("; "));
    }
    lines.push(format!(
        "gdtr base {:x} limit {:x}; idtr base {:x} limit {:x}",
        cpu.gdtr.base, cpu.gdtr.limit, cpu.idtr.base, cpu.idtr.limit
    ));
    lines
}

/// What an exception is about: its name, the check that failed, and what was looked at. `cpu` is at the instruction
/// that raised it; `address` is the linear address of a page fault.
pub fn fault(cpu: &Cpu, exception: Exception, address: u64) -> Vec<String> {
    let mut lines = vec![format!("{exception}: {}", title(exception.vector)), instruction_line(cpu)];
    lines.extend(reason(cpu, exception, address));
    lines
}

/// The check that failed, and the tables.
fn reason(cpu: &Cpu, exception: Exception, address: u64) -> Vec<String> {
    match exception.vector {
        14 => pages::explain(cpu, exception.error, address),
        10..=13 if exception.error & !1 != 0 => tables::explain(cpu, exception),
        12 | 13 => general::explain(cpu, exception.vector),
        6 => general::invalid_opcode(cpu),
        8 => vec!["check: an exception arose while another one was delivered (table \"Interrupt and Exception Classes\")".into()],
        _ => Vec::new(),
    }
}

/// What can be said of an exception whose handler runs already: the tables that it names, as they are now.
pub fn delivered(cpu: &Cpu, exception: Exception, address: u64) -> Vec<String> {
    let tables = exception.vector == 14 || matches!(exception.vector, 10..=13) && exception.error & !1 != 0;
    if tables { reason(cpu, exception, address) } else { Vec::new() }
}

/// A chain of exceptions, each the consequence of the one before, that ended in a shutdown.
pub fn chain(cpu: &Cpu) -> Vec<String> {
    let mut lines = Vec::new();
    let last = cpu.fault_chain.len().saturating_sub(1);
    for (n, delivered) in cpu.fault_chain.iter().enumerate() {
        let Delivered { exception, address, .. } = *delivered;
        let order = match n {
            0 => "first",
            _ if n == last => "last",
            _ => "then",
        };
        lines.push(format!("{order}: {delivered}: {}", title(exception.vector)));
        if n == 0 {
            lines.push(format!("  {}", instruction_line(cpu)));
        } else {
            let before = cpu.fault_chain[n - 1].exception.vector;
            lines.push(format!("  while {} was delivered", mnemonic(before)));
            if exception.vector == 8 {
                continue;
            }
        }
        let why =
            if n == 0 { reason(cpu, exception, address) } else { tables::delivery(cpu, exception, address) };
        lines.extend(why.into_iter().map(|line| format!("  {line}")));
    }
    if last > 0 && cpu.fault_chain.iter().any(|delivered| delivered.exception.vector == 8) {
        lines.push("an exception while #DF was delivered shuts the processor down: a triple fault".into());
    }
    lines
}
