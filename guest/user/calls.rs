//! Tries the system calls by both ways in, and checks what a program relies on: results, errors, registers.
//! Ends with 0, or with the number of the first check that failed.
#![no_std]
#![no_main]
#[macro_use]
#[allow(dead_code)]
mod sys;

use core::arch::asm;
use sys::{int80, syscall};

const ENOSYS: i64 = -38;
const EFAULT: i64 = -14;

#[unsafe(no_mangle)]
extern "C" fn main(_: u64) -> u64 {
    let text = "calls: both ways in\n";
    let (address, length) = (text.as_ptr() as u64, text.len() as u64);
    let checks = [
        syscall(sys::GETPID, 0, 0) == int80(sys::GETPID, 0, 0),
        syscall(sys::WRITE, address, length) == length as i64,
        int80(sys::WRITE, address, length) == length as i64,
        syscall(999, 0, 0) == ENOSYS,
        int80(999, 0, 0) == ENOSYS,
        // The kernel's memory, no memory at all, a range that wraps around: refused, not followed.
        syscall(sys::WRITE, 0xFFFF_FFFF_8010_0000, 16) == EFAULT,
        int80(sys::WRITE, 0x10, 16) == EFAULT,
        syscall(sys::WRITE, u64::MAX - 3, 16) == EFAULT,
        // Reading into constants is refused too.
        syscall(sys::READ, address, 4) == EFAULT,
        time_moves(),
        registers_survive_syscall(),
        registers_survive_int80(),
        flags_survive(),
        syscall(sys::YIELD, 0, 0) == 0,
    ];
    checks.iter().position(|good| !good).map_or(0, |i| i as u64 + 1)
}

fn time_moves() -> bool {
    let before = syscall(sys::TIME_NS, 0, 0);
    syscall(sys::SLEEP_MS, 10, 0);
    let slept = int80(sys::TIME_NS, 0, 0) - before;
    slept >= 10_000_000
}

/// Puts a number into every register that must survive, calls, and adds up what differs.
macro_rules! survive {
    ($instruction:literal, $($clobber:tt)*) => {{
        let different: u64;
        // SAFETY: GETPID touches no memory; all registers used are named, RBX and RBP are put back.
        unsafe {
            asm!(
                "push rbx", "push rbp",
                "mov rbx, 11", "mov rbp, 12", "mov rdi, 13", "mov rsi, 14", "mov rdx, 15", "mov r8, 16",
                "mov r9, 17", "mov r10, 18", "mov r12, 19", "mov r13, 20", "mov r14, 21", "mov r15, 22",
                "mov rax, 0x123456789", "movq xmm5, rax", "mov r8, rsp",
                "mov eax, 3", $instruction,
                "movq rax, xmm5", "mov rcx, 0x123456789", "xor rax, rcx",
                "mov rcx, rsp", "xor rcx, r8", "or rax, rcx",
                "xor rbx, 11", "or rax, rbx", "xor rbp, 12", "or rax, rbp", "xor rdi, 13", "or rax, rdi",
                "xor rsi, 14", "or rax, rsi", "xor rdx, 15", "or rax, rdx",
                "xor r9, 17", "or rax, r9", "xor r10, 18", "or rax, r10", "xor r12, 19", "or rax, r12",
                "xor r13, 20", "or rax, r13", "xor r14, 21", "or rax, r14", "xor r15, 22", "or rax, r15",
                "pop rbp", "pop rbx",
                out("rax") different, out("rcx") _, out("rdx") _, out("rsi") _, out("rdi") _, out("r8") _,
                out("r9") _, out("r10") _, out("r12") _, out("r13") _, out("r14") _, out("r15") _,
                out("xmm5") _, $($clobber)*
            );
        }
        different == 0
    }};
}

fn registers_survive_syscall() -> bool {
    survive!("syscall", out("r11") _)
}

fn registers_survive_int80() -> bool {
    survive!("int 0x80", out("r11") _)
}

/// RFLAGS come back as they were: set CF and DF, call both ways.
fn flags_survive() -> bool {
    let (first, second): (u64, u64);
    // SAFETY: DF is cleared before anything else runs.
    unsafe {
        asm!("stc", "std", "mov eax, 3", "syscall", "pushfq", "pop {first}", "stc", "mov eax, 3", "int 0x80",
            "pushfq", "pop {second}", "cld", first = out(reg) first, second = out(reg) second,
            out("rax") _, out("rcx") _, out("r11") _);
    }
    [first, second].into_iter().all(|flags| flags & 0x401 == 0x401 && flags & 0x200 != 0)
}
