//! What happens after the entry code of trap.s: exceptions, interrupts and system calls part ways here.

use crate::idt::vector;
use crate::irq_cell::IrqCell;
use crate::{cpu, irq, println, syscall, task};
use core::arch::global_asm;
use core::fmt;

global_asm!(include_str!("trap.s"));

/// All registers of whoever was interrupted, in the order in which trap.s pushes them.
#[repr(C)]
#[allow(missing_docs)]
pub struct Frame {
    pub r15: u64,
    pub r14: u64,
    pub r13: u64,
    pub r12: u64,
    pub r11: u64,
    pub r10: u64,
    pub r9: u64,
    pub r8: u64,
    pub rbp: u64,
    pub rdi: u64,
    pub rsi: u64,
    pub rdx: u64,
    pub rcx: u64,
    pub rbx: u64,
    pub rax: u64,
    pub vector: u64,
    pub error: u64,
    pub rip: u64,
    pub cs: u64,
    pub rflags: u64,
    pub rsp: u64,
    pub ss: u64,
}

/// An exception, as the self-test and the shell want to know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Vector.
    pub vector: u64,
    /// Error code, zero where there is none.
    pub error: u64,
    /// CR2 for page faults, else zero.
    pub address: u64,
    /// Where it happened.
    pub rip: u64,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const NAMES: [&str; 20] = [
            "#DE", "#DB", "NMI", "#BP", "#OF", "#BR", "#UD", "#NM", "#DF", "9", "#TS", "#NP", "#SS", "#GP",
            "#PF", "15", "#MF", "#AC", "#MC", "#XM",
        ];
        let name = NAMES.get(self.vector as usize).unwrap_or(&"exception");
        write!(f, "{name}({:#x}) at {:#x}", self.error, self.rip)?;
        if self.vector == vector::PF { write!(f, " for address {:#x}", self.address) } else { Ok(()) }
    }
}

unsafe extern "C" {
    static probe_stack: u64;
    static probe_fault: u8;
    fn probe(code: extern "C" fn()) -> u64;
}

static LAST_FAULT: IrqCell<Option<Fault>> = IrqCell::new(None);

/// Single steps seen by the debug exception, and where the last one was.
static STEPS: IrqCell<(u64, u64)> = IrqCell::new((0, 0));

/// Breakpoints (INT3) seen, and where execution goes on after the last one.
static BREAKPOINTS: IrqCell<(u64, u64)> = IrqCell::new((0, 0));

/// Runs `code` and returns the exception that ended it early, if one did.
pub fn catch(code: extern "C" fn()) -> Option<Fault> {
    LAST_FAULT.with(|fault| *fault = None);
    // SAFETY: `code` owns nothing that would be left half done: it is one of the self-test's probes.
    match unsafe { probe(code) } {
        0 => None,
        _ => LAST_FAULT.with(|fault| *fault),
    }
}

/// Single steps so far, and the address after the last.
pub fn steps() -> (u64, u64) {
    STEPS.with(|steps| *steps)
}

/// Breakpoints so far, and the address after the last.
pub fn breakpoints() -> (u64, u64) {
    BREAKPOINTS.with(|breakpoints| *breakpoints)
}

/// Called by trap.s with interrupts off.
#[unsafe(no_mangle)]
extern "C" fn trap_dispatch(frame: &mut Frame) {
    match frame.vector {
        vector::DB => {
            STEPS.with(|steps| *steps = (steps.0 + 1, frame.rip));
            if from_user(frame) {
                exception(frame);
            }
        }
        vector::BP => {
            BREAKPOINTS.with(|breakpoints| *breakpoints = (breakpoints.0 + 1, frame.rip));
            if from_user(frame) {
                exception(frame);
            }
        }
        0..32 => exception(frame),
        vector::SYSCALL | vector::SYSCALL_GATE => syscall::dispatch(frame),
        _ => {
            irq::dispatch(frame.vector);
            task::after_interrupt(frame.vector);
        }
    }
}

fn from_user(frame: &Frame) -> bool {
    frame.cs & 3 == 3
}

fn exception(frame: &mut Frame) {
    let address = if frame.vector == vector::PF { cpu::read_cr2() } else { 0 };
    let fault = Fault { vector: frame.vector, error: frame.error, address, rip: frame.rip };
    if from_user(frame) {
        cpu::enable_interrupts();
        task::exit(task::Exit::Fault(fault));
    }
    // SAFETY: only this processor writes it, and not now.
    let stack = unsafe { (&raw const probe_stack).read_volatile() };
    if stack == 0 {
        panic!("{fault}\nrsp {:#x} rflags {:#x} rax {:#x}", frame.rsp, frame.rflags, frame.rax);
    }
    LAST_FAULT.with(|last| *last = Some(fault));
    frame.rip = &raw const probe_fault as u64;
    frame.rsp = stack;
    frame.rflags &= !cpu::FLAG_TF;
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    cpu::disable_interrupts();
    println!("\nkernel panic: {info}");
    crate::serial::flush();
    crate::power::debug_exit(0x7F);
    cpu::halt_forever();
}
