//! Exceptions in ring 0: vectors, error codes, return addresses (SDM 3A, "Exception and Interrupt Reference").

use super::{Check, Outcome, ensure};
use crate::idt::{self, vector};
use crate::trap::{self, Fault};
use crate::{cpu, gdt, paging};
use core::arch::{asm, global_asm};

pub const CHECKS: &[Check] = &[
    ("exception.de", || expect(divide, vector::DE, 0)),
    ("exception.ud", || expect(undefined, vector::UD, 0)),
    ("exception.nm", device_not_available),
    ("exception.mf", || expect(x87_error, vector::MF, 0)),
    ("exception.bp", breakpoint),
    ("exception.db_single_step", single_step),
    ("exception.gp_non_canonical", || expect(non_canonical, vector::GP, 0)),
    ("exception.gp_selector", || expect(bad_selector, vector::GP, 0x7F8)),
    ("exception.gp_control_register", bad_control_register),
    ("exception.ud_control_register", || expect(no_control_register, vector::UD, 0)),
    ("exception.gp_empty_gate", || gate_error(empty_gate, vector::GP, vector::EMPTY)),
    ("exception.np_segment", || expect(absent_segment, vector::NP, u64::from(gdt::NOT_PRESENT))),
    ("exception.np_gate", absent_gate),
    ("exception.ss_segment", || expect(absent_stack, vector::SS, u64::from(gdt::NOT_PRESENT))),
    ("exception.ss_non_canonical", || expect(non_canonical_stack, cpu::non_canonical_stack_vector(), 0)),
    ("exception.df_contributory", double_fault_contributory),
    ("exception.df_page_fault", double_fault_page),
    ("exception.red_zone", red_zone),
];

global_asm!(
    ".global step_begin, step_end, step_run, break_run, break_end, red_zone_run",
    "step_run:",
    "pushfq",
    "or qword ptr [rsp], 0x100",
    "popfq", // TF counts from the next instruction on
    "step_begin:",
    "nop",
    "nop",
    "nop",
    "pushfq",
    "and qword ptr [rsp], ~0x100",
    "popfq", // still traced
    "step_end:",
    "ret",
    "break_run:",
    "int3",
    "break_end:",
    "ret",
    // Keeps its data below RSP, as the ABI allows, while exceptions come and go.
    "red_zone_run:",
    "mov rax, 0x5AA5C33C0FF01234",
    "mov rcx, -128",
    "2:",
    "mov [rsp + rcx], rax",
    "add rcx, 8",
    "jnz 2b",
    "int3",
    "sti",
    "mov edx, 20000",
    "3:",
    "dec edx",
    "jnz 3b",
    "int3",
    "mov rcx, -128",
    "4:",
    "cmp [rsp + rcx], rax",
    "jne 5f",
    "add rcx, 8",
    "jnz 4b",
    "5:",
    "mov rax, rcx", // zero when all words were as before
    "ret",
);

unsafe extern "C" {
    fn step_run();
    static step_end: u8;
    fn break_run();
    static break_end: u8;
    fn red_zone_run() -> u64;
}

extern "C" fn divide() {
    // SAFETY: this and all the following fault, and `trap::catch` goes on.
    unsafe {
        asm!("xor edx, edx", "mov eax, 1", "xor ecx, ecx", "div ecx", out("rax") _, out("rcx") _, out("rdx") _)
    };
}

extern "C" fn undefined() {
    // SAFETY: see `divide`.
    unsafe { asm!("ud2") };
}

/// 1/0 with the x87 zero-divide exception unmasked; the next waiting instruction reports it (CR0.NE = 1).
extern "C" fn x87_error() {
    let control = 0x037Bu16;
    // SAFETY: see `divide`. The exception handler starts with a fresh FPU, and FNCLEX follows in `expect`.
    unsafe {
        asm!("fninit", "fldcw [{}]", "fld1", "fldz", "fdivp st(1), st", "fwait", in(reg) &raw const control)
    };
}

extern "C" fn non_canonical() {
    // SAFETY: see `divide`.
    unsafe { asm!("mov rax, [{}]", in(reg) 0x8000_0000_0000u64, out("rax") _) };
}

extern "C" fn bad_selector() {
    // SAFETY: see `divide`; DS keeps its old value.
    unsafe { asm!("mov ds, {:e}", in(reg) 0x7F8) };
}

/// Paging without protection does not exist.
extern "C" fn bad_cr0() {
    // SAFETY: see `divide`; CR0 keeps its old value.
    unsafe { asm!("mov cr0, {}", in(reg) cpu::read_cr0() & !1) };
}

/// CR1 does not exist.
extern "C" fn no_control_register() {
    // SAFETY: see `divide`.
    unsafe { asm!(".byte 0x0F, 0x20, 0xC8", out("rax") _) }; // MOV RAX, CR1
}

extern "C" fn empty_gate() {
    // SAFETY: see `divide`.
    unsafe { asm!("int 0x70") };
}

extern "C" fn spare_gate() {
    // SAFETY: see `divide`.
    unsafe { asm!("int 0x71") };
}

extern "C" fn absent_segment() {
    // SAFETY: see `divide`.
    unsafe { asm!("mov ds, {:e}", in(reg) u32::from(gdt::NOT_PRESENT)) };
}

extern "C" fn absent_stack() {
    // SAFETY: see `divide`.
    unsafe { asm!("mov ss, {:e}", in(reg) u32::from(gdt::NOT_PRESENT)) };
}

extern "C" fn non_canonical_stack() {
    // SAFETY: see `divide`; #SS has a stack of its own.
    unsafe { asm!("mov rsp, {}", "push rax", in(reg) 0x9000_0000_0000u64, options(noreturn)) };
}

/// A page fault that finds no stack to be reported on.
extern "C" fn no_stack() {
    // SAFETY: see `divide`; the double fault has a stack of its own.
    unsafe { asm!("mov rsp, {}", "push rax", in(reg) paging::boot_stack_guard() + 4096, options(noreturn)) };
}

extern "C" fn floating() {
    // SAFETY: see `divide`.
    unsafe { asm!("xorps xmm0, xmm0", out("xmm0") _) };
}

fn expect(code: extern "C" fn(), vector: u64, error: u64) -> Outcome {
    judge(trap::catch(code), vector, error)
}

fn judge(fault: Option<Fault>, vector: u64, error: u64) -> Outcome {
    // SAFETY: leaves the x87 as all Rust code expects it.
    unsafe { asm!("fninit") };
    match fault {
        None => ensure!(false, "no exception"),
        Some(fault) => ensure!(
            (fault.vector, fault.error) == (vector, error),
            "expected vector {vector} with error code {error:#x}, got {fault}"
        ),
    }
    Ok(())
}

/// QEMU's translator would take the value and fall over.
fn bad_control_register() -> Outcome {
    if cpu::is_qemu_tcg() {
        return Ok(());
    }
    expect(bad_cr0, vector::GP, 0)
}

/// An error code that names a gate has bit 1 set (IDT). The manual says vector * 8; QEMU up to 7 says vector * 16
/// in 64-bit mode, and is forgiven.
fn gate_error(code: extern "C" fn(), expected: u64, gate: u64) -> Outcome {
    match trap::catch(code) {
        None => ensure!(false, "no exception"),
        Some(fault) => ensure!(
            fault.vector == expected && [gate * 8 + 2, gate * 16 + 2].contains(&fault.error),
            "expected vector {expected} for gate {gate:#x}, got {fault}"
        ),
    }
    Ok(())
}

fn device_not_available() -> Outcome {
    let fault = cpu::without_interrupts(|| {
        // SAFETY: the first use of the FPU faults, and the way into the handler clears TS again.
        unsafe { cpu::write_cr0(cpu::read_cr0() | 8) };
        let fault = trap::catch(floating);
        // SAFETY: CLTS for the case that nothing faulted.
        unsafe { asm!("clts") };
        fault
    });
    judge(fault, vector::NM, 0)
}

/// A trap: the saved RIP is behind the instruction.
fn breakpoint() -> Outcome {
    let before = trap::breakpoints().0;
    // SAFETY: the handler counts and returns.
    unsafe { break_run() };
    let (count, rip) = trap::breakpoints();
    ensure!(count == before + 1, "{} breakpoints", count - before);
    ensure!(rip == &raw const break_end as u64, "RIP {rip:#x}");
    Ok(())
}

/// Six instructions are traced: three NOPs and the three that clear TF again.
fn single_step() -> Outcome {
    let before = trap::steps().0;
    // SAFETY: the handler counts and returns.
    unsafe { step_run() };
    let (count, rip) = trap::steps();
    ensure!(count == before + 6, "{} steps instead of 6", count - before);
    ensure!(rip == &raw const step_end as u64, "RIP {rip:#x}");
    Ok(())
}

fn absent_gate() -> Outcome {
    idt::set_present(vector::SPARE, false);
    let outcome = gate_error(spare_gate, vector::NP, vector::SPARE);
    idt::set_present(vector::SPARE, true);
    outcome
}

/// #GP whose gate is not present: #NP while delivering #GP, both contributory, make a double fault.
fn double_fault_contributory() -> Outcome {
    let fault = cpu::without_interrupts(|| {
        idt::set_present(vector::GP, false);
        let fault = trap::catch(non_canonical);
        idt::set_present(vector::GP, true);
        fault
    });
    judge(fault, vector::DF, 0)
}

/// A page fault while delivering a page fault.
fn double_fault_page() -> Outcome {
    let fault = cpu::without_interrupts(|| {
        idt::set_ist(vector::PF, 0);
        let fault = trap::catch(no_stack);
        idt::set_ist(vector::PF, gdt::IST_COMMON);
        fault
    });
    judge(fault, vector::DF, 0)?;
    ensure!(cpu::read_cr2() >> 12 == paging::boot_stack_guard() >> 12, "CR2 is {:#x}", cpu::read_cr2());
    Ok(())
}

/// Exceptions and interrupts leave the 128 bytes below RSP alone.
fn red_zone() -> Outcome {
    // SAFETY: uses only its own red zone and registers that a call may change.
    let first_bad = unsafe { red_zone_run() };
    ensure!(first_bad == 0, "the word at RSP{} changed", first_bad as i64);
    Ok(())
}
