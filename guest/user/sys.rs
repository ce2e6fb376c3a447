// What every user program shares: the system calls (kernel/src/syscall.rs has their other side), printing,
// and the memory functions that the compiler calls by name. Each program includes this file.

use core::arch::{asm, global_asm};
use core::fmt;

// The stack is 16-byte aligned when ring 3 starts; CALL makes it what the ABI expects. RDI is the argument.
global_asm!(".global _start", "_start:", "call main", "mov rdi, rax", "xor eax, eax", "syscall", "ud2");

pub const EXIT: u64 = 0;
pub const WRITE: u64 = 1;
pub const READ: u64 = 2;
pub const GETPID: u64 = 3;
pub const YIELD: u64 = 4;
pub const SLEEP_MS: u64 = 5;
pub const TIME_NS: u64 = 6;
pub const NOTE: u64 = 7;

/// A system call by SYSCALL, which changes RCX and R11.
pub fn syscall(number: u64, a: u64, b: u64) -> i64 {
    let result;
    // SAFETY: the kernel keeps all other registers, and checks pointers itself.
    unsafe {
        asm!("syscall", inout("rax") number => result, in("rdi") a, in("rsi") b,
            out("rcx") _, out("r11") _, options(nostack));
    }
    result
}

/// The same by INT 0x80.
pub fn int80(number: u64, a: u64, b: u64) -> i64 {
    let result;
    // SAFETY: as above.
    unsafe { asm!("int 0x80", inout("rax") number => result, in("rdi") a, in("rsi") b) };
    result
}

pub fn exit(code: u64) -> ! {
    syscall(EXIT, code, 0);
    unreachable!()
}

pub struct Console;

impl fmt::Write for Console {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        syscall(WRITE, text.as_ptr() as u64, text.len() as u64);
        Ok(())
    }
}

#[allow(unused_macros)]
macro_rules! println {
    ($($part:tt)*) => {{
        use core::fmt::Write;
        let _ = writeln!(sys::Console, $($part)*);
    }};
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    exit(101)
}

#[allow(dead_code)]
#[path = "../kernel/src/memory_functions.rs"]
mod memory_functions;
