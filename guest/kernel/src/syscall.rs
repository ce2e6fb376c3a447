//! System calls, by SYSCALL or by INT 0x80: number in RAX, arguments in RDI, RSI and RDX, result in RAX.
//! A negative result is an error. SYSCALL also changes RCX and R11; nothing else is touched.

use crate::trap::Frame;
use crate::{console, cpu, gdt, paging, task, timer};

/// Numbers; guest/user/sys.rs has the same.
mod number {
    pub const EXIT: u64 = 0;
    pub const WRITE: u64 = 1;
    pub const READ: u64 = 2;
    pub const GETPID: u64 = 3;
    pub const YIELD: u64 = 4;
    pub const SLEEP_MS: u64 = 5;
    pub const TIME_NS: u64 = 6;
    pub const NOTE: u64 = 7;
}

/// No such call.
const ENOSYS: i64 = -38;
/// A pointer that the program may not use.
const EFAULT: i64 = -14;

unsafe extern "C" {
    fn syscall_entry();
}

/// Sets the registers that SYSCALL uses.
pub fn init() {
    if !cpu::has_syscall() {
        return;
    }
    let star = u64::from(gdt::SYSRET_BASE) << 48 | u64::from(gdt::KERNEL_CODE) << 32;
    // Cleared on entry: TF, IF, DF, NT, AC.
    let mask = cpu::FLAG_TF | cpu::FLAG_IF | 1 << 10 | 1 << 14 | 1 << 18;
    // SAFETY: CPUID reports SYSCALL, and the entry point is made for it.
    unsafe {
        cpu::write_msr(cpu::MSR_STAR, star);
        cpu::write_msr(cpu::MSR_LSTAR, syscall_entry as *const () as u64);
        cpu::write_msr(cpu::MSR_SFMASK, mask);
        cpu::write_msr(cpu::MSR_EFER, cpu::read_msr(cpu::MSR_EFER) | cpu::EFER_SCE);
    }
}

/// Does what the frame's registers ask for. Interrupts are off on the way in and out, on in between.
pub fn dispatch(frame: &mut Frame) {
    cpu::enable_interrupts();
    let result = match frame.rax {
        number::EXIT => task::exit(task::Exit::Code(frame.rdi)),
        number::WRITE => write(frame.rdi, frame.rsi),
        number::READ => read(frame.rdi, frame.rsi),
        number::GETPID => task::current().id as i64,
        number::YIELD => {
            task::yield_now();
            0
        }
        number::SLEEP_MS => {
            let deadline = timer::now_ns().saturating_add(frame.rdi.saturating_mul(1_000_000));
            task::wait_until(deadline, || false);
            0
        }
        number::TIME_NS => timer::now_ns() as i64,
        number::NOTE => {
            task::note(frame.rdi as usize, frame.rsi);
            0
        }
        _ => ENOSYS,
    };
    cpu::disable_interrupts();
    frame.rax = result as u64;
}

/// A range of the program's memory, if it may use all of it.
fn user_range(address: u64, length: u64, write: bool) -> Option<*mut u8> {
    let end = address.checked_add(length)?;
    let root = cpu::read_cr3();
    let allowed = end <= paging::USER_END
        && (address & !0xFFF..end).step_by(4096).all(|page| paging::user_may(root, page, write));
    allowed.then_some(address as *mut u8)
}

fn write(address: u64, length: u64) -> i64 {
    let Some(bytes) = user_range(address, length, false) else { return EFAULT };
    if !task::current().quiet {
        // SAFETY: all pages are mapped for the program, which is the only one to change them, and waits.
        console::write(unsafe { core::slice::from_raw_parts(bytes, length as usize) });
    }
    length as i64
}

/// Reads one line, with a line feed at its end.
fn read(address: u64, length: u64) -> i64 {
    let Some(bytes) = user_range(address, length, true) else { return EFAULT };
    if length == 0 {
        return 0;
    }
    // SAFETY: as in `write`; the pages are writable.
    let buffer = unsafe { core::slice::from_raw_parts_mut(bytes, length as usize) };
    let last = buffer.len() - 1;
    let count = console::read_line(&mut buffer[..last]);
    buffer[count] = b'\n';
    count as i64 + 1
}
