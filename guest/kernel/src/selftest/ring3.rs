//! Ring 3: what it may not do, and the two ways to ask the kernel. Each check runs a few instructions as a
//! user program of its own and looks how it ends.

use super::{Check, Outcome, ensure};
use crate::idt::vector::{BP, DB, DE, GP, MF, PF, UD};
use crate::task::{self, Exit};
use crate::trap::Fault;
use crate::{cpu, program};
use core::arch::global_asm;

const CODE: u64 = 0x40_0000;
const KERNEL: u64 = 0xFFFF_FFFF_8010_0000;

macro_rules! snippets {
    ($($name:ident: $($line:literal),+;)*) => {
        $(
            global_asm!(
                concat!(".global snippet_", stringify!($name), ", snippet_end_", stringify!($name)),
                concat!("snippet_", stringify!($name), ":"),
                $($line,)+
                // What did not fault ends here, with code 99.
                "xor eax, eax", "mov edi, 99", "int 0x80",
                concat!("snippet_end_", stringify!($name), ":"),
            );
        )*
        mod code {
            $(
                pub fn $name() -> &'static [u8] {
                    unsafe extern "C" {
                        #[link_name = concat!("snippet_", stringify!($name))]
                        static START: u8;
                        #[link_name = concat!("snippet_end_", stringify!($name))]
                        static END: u8;
                    }
                    let (start, end) = (&raw const START, &raw const END);
                    // SAFETY: the two labels enclose the instructions.
                    unsafe { core::slice::from_raw_parts(start, end as usize - start as usize) }
                }
            )*
        }
    };
}

snippets! {
    cli: "cli";
    hlt: "hlt";
    out: "mov dx, 0x80", "out dx, al";
    input: "mov dx, 0x60", "in al, dx";
    read_cr: "mov rax, cr0";
    write_cr: "mov cr3, rax";
    lgdt: "lgdt [rsp - 16]";
    rdmsr: "mov ecx, 0xC0000080", "rdmsr";
    wrmsr: "mov ecx, 0xC0000080", "wrmsr";
    invlpg: "invlpg [rsp]";
    sysret: "xor ecx, ecx", "sysretq";
    irq_gate: "int 0x20";
    kernel_data: "mov eax, 0x10", "mov ds, eax";
    iret_ring0: "push 0x10", "push rsp", "pushfq", "push 8", "push 0x400000", "iretq";
    read_kernel: "mov rax, [0xFFFFFFFF80100000]";
    write_kernel: "mov byte ptr [0xFFFFFFFF80100000], 0";
    jump_kernel: "mov rax, 0xFFFFFFFF80100000", "jmp rax";
    read_nothing: "mov al, [0x1234]";
    write_nothing: "mov byte ptr [0x1234], 0";
    write_code: "mov byte ptr [0x400000], 0";
    run_stack: "mov byte ptr [rsp - 8], 0xC3", "lea rax, [rsp - 8]", "jmp rax";
    ud2: "ud2";
    divide: "xor eax, eax", "xor edx, edx", "div eax";
    overflow: "mov eax, 0x80000000", "cdq", "mov ecx, -1", "idiv ecx";
    non_canonical: "mov rax, 0x800000000000", "mov al, [rax]";
    stack: "mov rsp, 0x900000000000", "push rax";
    int3: "int3";
    trap_flag: "pushfq", "or qword ptr [rsp], 0x100", "popfq", "nop";
    x87: "push 0x37B", "fldcw [rsp]", "fld1", "fldz", "fdivp st(1), st", "fwait";
    popf: "pushfq", "pop rax", "mov rbx, rax", "and rax, ~0x200", "or rax, 0x3000", "push rax", "popfq",
        "pushfq", "pop rdi", "xor rdi, rbx", "and edi, 0x3200", "xor eax, eax", "int 0x80";
    exit_syscall: "xor eax, eax", "mov edi, 42", "syscall";
    exit_int80: "xor eax, eax", "mov edi, 43", "int 0x80";
}

pub const CHECKS: &[Check] = &[
    ("privilege.cli", || gp(code::cli())),
    ("privilege.hlt", || gp(code::hlt())),
    ("privilege.out", || gp(code::out())),
    ("privilege.in", || gp(code::input())),
    ("privilege.mov_from_cr", || gp(code::read_cr())),
    ("privilege.mov_to_cr", || gp(code::write_cr())),
    ("privilege.lgdt", || gp(code::lgdt())),
    ("privilege.rdmsr", || gp(code::rdmsr())),
    ("privilege.wrmsr", || gp(code::wrmsr())),
    ("privilege.invlpg", || gp(code::invlpg())),
    ("privilege.sysret", || gp(code::sysret())),
    ("privilege.irq_gate", irq_gate),
    ("privilege.kernel_data_segment", || faults(code::kernel_data(), GP, 0x10, 0)),
    ("privilege.iret_to_ring0", || faults(code::iret_ring0(), GP, 0x08, 0)),
    ("privilege.popf_keeps_if_and_iopl", || ends(code::popf(), Exit::Code(0))),
    ("user_page.read_kernel", || faults(code::read_kernel(), PF, 5, KERNEL)),
    ("user_page.write_kernel", || faults(code::write_kernel(), PF, 7, KERNEL)),
    ("user_page.jump_kernel", || faults(code::jump_kernel(), PF, fetch(5), KERNEL)),
    ("user_page.read_not_present", || faults(code::read_nothing(), PF, 4, 0x1234)),
    ("user_page.write_not_present", || faults(code::write_nothing(), PF, 6, 0x1234)),
    ("user_page.write_code", || faults(code::write_code(), PF, 7, CODE)),
    ("user_page.run_stack", run_stack),
    ("user_exception.ud", || faults(code::ud2(), UD, 0, 0)),
    ("user_exception.de", || faults(code::divide(), DE, 0, 0)),
    ("user_exception.de_overflow", || faults(code::overflow(), DE, 0, 0)),
    ("user_exception.gp_non_canonical", || faults(code::non_canonical(), GP, 0, 0)),
    ("user_exception.ss_non_canonical", || faults(code::stack(), cpu::non_canonical_stack_vector(), 0, 0)),
    ("user_exception.bp", || faults(code::int3(), BP, 0, 0)),
    ("user_exception.db", || faults(code::trap_flag(), DB, 0, 0)),
    ("user_exception.mf", || faults(code::x87(), MF, 0, 0)),
    ("syscall.by_syscall", || ends(code::exit_syscall(), Exit::Code(42))),
    ("syscall.by_int80", || ends(code::exit_int80(), Exit::Code(43))),
    ("syscall.contract", contract),
];

/// The instruction-fetch bit of the error code exists only with NX.
fn fetch(error: u64) -> u64 {
    error | if cpu::has_nx() { 0x10 } else { 0 }
}

fn run(code: &[u8]) -> Result<Exit, super::Why> {
    let why = |text| super::Why::new(format_args!("{text}"));
    let program = program::from_code(code, 0).map_err(|_| why("cannot load"))?;
    let id = task::spawn_program("snippet", program, true).ok_or_else(|| why("cannot start"))?;
    let (exit, _) = task::wait(id).ok_or_else(|| why("lost"))?;
    Ok(exit)
}

fn ends(code: &[u8], expected: Exit) -> Outcome {
    let exit = run(code)?;
    ensure!(exit == expected, "expected {expected:?}, got {exit:?}");
    Ok(())
}

fn gp(code: &[u8]) -> Outcome {
    faults(code, GP, 0, 0)
}

fn faults(code: &[u8], vector: u64, error: u64, address: u64) -> Outcome {
    match run(code)? {
        Exit::Fault(fault) => judge(fault, vector, error, address),
        exit => {
            ensure!(false, "no exception, {exit:?}");
            Ok(())
        }
    }
}

fn judge(fault: Fault, vector: u64, error: u64, address: u64) -> Outcome {
    ensure!(
        (fault.vector, fault.error, fault.address) == (vector, error, address),
        "expected vector {vector} error {error:#x} address {address:#x}, got {fault}"
    );
    Ok(())
}

/// INT to a gate with DPL 0. The error code names the gate; for its form see `exceptions::gate_error`.
fn irq_gate() -> Outcome {
    match run(code::irq_gate())? {
        Exit::Fault(fault) if fault.vector == GP && [0x102, 0x202].contains(&fault.error) => Ok(()),
        exit => {
            ensure!(false, "{exit:?}");
            Ok(())
        }
    }
}

fn run_stack() -> Outcome {
    if !cpu::has_nx() {
        return Ok(());
    }
    faults(code::run_stack(), PF, 0x15, program::STACK_TOP - 8)
}

/// The program `calls` checks results, errors and registers by both ways.
fn contract() -> Outcome {
    let why = |text| super::Why::new(format_args!("{text}"));
    let program = program::load("calls", 0).map_err(|_| why("cannot load"))?;
    let id = task::spawn_program("calls", program, true).ok_or_else(|| why("cannot start"))?;
    let (exit, _) = task::wait(id).ok_or_else(|| why("lost"))?;
    ensure!(exit == Exit::Code(0), "the program's check failed: {exit:?}");
    Ok(())
}
