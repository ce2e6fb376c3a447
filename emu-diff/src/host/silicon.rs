//! One instruction on the host's processor, in 64-bit or 32-bit code.
//!
//! A trampoline loads all registers and jumps far to the instruction. Behind an instruction that cannot branch lies a
//! far jump to the trampoline's exit, which stores the registers. Whatever else comes ends in a signal: the INT3
//! around the instruction, a fault, or a page fault where a branch leads to. The handler keeps what the kernel
//! reports and goes back by the exit's end. The kernel leaves AC as it was, so a stub clears it before the handler.

use std::cell::UnsafeCell;
use std::ffi::c_void;
use std::ptr;

use iced_x86::FlowControl;
use rustix::mm::MprotectFlags;

use super::process::{self, IN_CONTEXT, map, protect};
use crate::fuzz::cases::{Encoding, is_breakpoint};
use crate::fuzz::places::{CODE, DATA, PAGE, Registers, START, TRAMPOLINE};

const STATE: u64 = 0x7001_0000;
const FLAGS: u64 = STATE + 128;
const HOST_RSP: u64 = STATE + 136;
const TARGET: u64 = STATE + 144;
/// What the trampoline's exit stores: 16 general registers and RFLAGS.
const AFTER: u64 = STATE + 256;
/// Where the trampoline keeps the far pointer to its exit.
const EXIT: u64 = TRAMPOLINE + 0xff0;
const BREAKPOINT: u8 = 3;
const INT3: u8 = 0xcc;

/// The selector that Linux gives to 32-bit user code.
pub const CODE32: u16 = 0x23;
/// The one of 64-bit user code.
pub const CODE64: u16 = 0x33;
/// The data segment selector.
pub const USER_DATA: u16 = 0x2b;

/// How it ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Registers after.
    pub after: Registers,
    /// Offset of the next instruction, or of the one that faulted.
    pub rip: u64,
    /// The exception with its error code.
    pub fault: Option<(u8, u64)>,
    /// CR2 of a page fault.
    pub cr2: u64,
}

struct Shared(UnsafeCell<Caught>);

// SAFETY: only the one thread that holds a `Host` and the handler of signals that this thread raises touch it.
unsafe impl Sync for Shared {}

struct Caught {
    active: bool,
    /// The instruction is INT3 itself.
    breakpoint: bool,
    leave: u64,
    stack: u64,
    outcome: Outcome,
}

static CAUGHT: Shared = Shared(UnsafeCell::new(Caught {
    active: false,
    breakpoint: false,
    leave: 0,
    stack: 0,
    outcome: Outcome { after: Registers { regs: [0; 16], flags: 0 }, rip: 0, fault: None, cr2: 0 },
}));

extern "C" fn handler(signal: i32, _: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel passes a valid context; `CAUGHT` belongs to the thread that raised the signal.
    let (registers, caught) =
        unsafe { (&mut (*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs, &mut *CAUGHT.0.get()) };
    if !caught.active {
        // Not ours: the signal kills as it should.
        // SAFETY: setting a default action has no conditions.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
        return;
    }
    caught.active = false;
    let get = |n: i32| registers[n as usize] as u64;
    let outcome = &mut caught.outcome;
    outcome.after.regs = IN_CONTEXT.map(get);
    outcome.after.flags = get(libc::REG_EFL);
    outcome.cr2 = get(libc::REG_CR2);
    let (vector, error, rip) = (get(libc::REG_TRAPNO) as u8, get(libc::REG_ERR), get(libc::REG_RIP));
    (outcome.rip, outcome.fault) = match vector {
        BREAKPOINT if !caught.breakpoint => (rip - 1, None),
        // The fetch after a branch: the branch itself is done.
        14 if error & 0x10 != 0 => (rip, None),
        _ => (rip, Some((vector, error))),
    };
    registers[libc::REG_RIP as usize] = caught.leave as i64;
    registers[libc::REG_RSP as usize] = caught.stack as i64;
    registers[libc::REG_EFL as usize] = 0x202;
    registers[libc::REG_CSGSFS as usize] = i64::from(CODE64) | i64::from(USER_DATA) << 48;
}

/// The host's processor, ready for instructions. Only one may be made in a process.
pub struct Host {
    code: *mut u8,
    data: *mut u8,
    state: *mut u8,
    /// Offset of the instruction after the one that is loaded.
    next: u64,
}

impl Host {
    /// Takes some pages in the low 4 GiB, and the signals that exceptions cause.
    ///
    /// # Errors
    /// When those addresses are taken, or the process has such a host already.
    pub fn new() -> Result<Self, String> {
        process::claim()?;
        let (code, data, trampoline, state) = (map(CODE)?, map(DATA)?, map(TRAMPOLINE)?, map(STATE)?);
        let (bytes, leave, stub) = trampoline_code();
        // SAFETY: the stub goes on in a handler with the signature that SA_SIGINFO asks for.
        unsafe { process::install(TRAMPOLINE as usize + stub) };
        // SAFETY: one page of our own, larger than the code.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), trampoline, bytes.len()) };
        protect(trampoline, MprotectFlags::READ | MprotectFlags::EXEC);
        // SAFETY: nothing runs yet.
        unsafe { (*CAUGHT.0.get()).leave = TRAMPOLINE + leave as u64 };
        Ok(Self { code, data, state, next: 0 })
    }

    /// Puts an instruction for code of so many bits in, with INT3 around it.
    pub fn load(&mut self, e: &Encoding, bits: u32) {
        let mut bytes = e.bytes.clone();
        self.next = START + bytes.len() as u64;
        if e.insn.flow_control() == FlowControl::Next {
            // jmp far [EXIT]
            bytes.extend(if bits == 64 { &[0xff, 0x2c, 0x25][..] } else { &[0xff, 0x2d] });
            bytes.extend((EXIT as u32).to_le_bytes());
        }
        protect(self.code, MprotectFlags::READ | MprotectFlags::WRITE);
        // SAFETY: within our own page.
        unsafe {
            ptr::write_bytes(self.code, INT3, PAGE);
            ptr::copy_nonoverlapping(bytes.as_ptr(), self.code.add((START - CODE) as usize), bytes.len());
            // Nothing runs at the moment.
            (*CAUGHT.0.get()).breakpoint = is_breakpoint(&e.insn);
        }
        protect(self.code, MprotectFlags::READ | MprotectFlags::EXEC);
    }

    /// The page that instructions may use.
    pub fn data(&mut self) -> &mut [u8; PAGE] {
        // SAFETY: our own page, and foreign code touches it within `run` only.
        unsafe { &mut *self.data.cast() }
    }

    /// Runs the instruction that was loaded, in code of so many bits.
    pub fn run(&mut self, bits: u32, before: &Registers) -> Outcome {
        let selector = if bits == 64 { CODE64 } else { CODE32 };
        // SAFETY: the trampoline keeps what the calling convention wants kept. The one foreign instruction ends in a
        // signal, and writes nowhere but to the page at `DATA`: any other address of its own is random, and this
        // process has next to nothing in the first 4 GiB.
        unsafe {
            let state = self.state.cast::<u64>();
            for (n, value) in before.regs.iter().enumerate() {
                state.add(n).write(*value);
            }
            state.add(16).write(before.flags);
            state.add(18).write(START | u64::from(selector) << 32);
            let function: extern "sysv64" fn() =
                std::mem::transmute(ptr::without_provenance::<u8>(TRAMPOLINE as usize));
            // The trampoline pushes six registers below its return address.
            (*CAUGHT.0.get()).active = true;
            std::sync::atomic::compiler_fence(std::sync::atomic::Ordering::SeqCst);
            function();
            std::sync::atomic::compiler_fence(std::sync::atomic::Ordering::SeqCst);
            let caught = &mut *CAUGHT.0.get();
            if !std::mem::take(&mut caught.active) {
                return caught.outcome.clone();
            }
            // No signal came: the exit has stored the registers.
            let after = self.state.add((AFTER - STATE) as usize).cast::<u64>();
            let regs = std::array::from_fn(|n| after.add(n).read());
            let after = Registers { regs, flags: after.add(16).read() };
            Outcome { after, rip: self.next, fault: None, cr2: 0 }
        }
    }
}

/// The trampoline, where its exit starts, and where signals arrive.
fn trampoline_code() -> (Vec<u8>, usize, usize) {
    let mut code = Vec::new();
    let low = |address: u64| (address as u32).to_le_bytes();
    // push rbx, rbp, r12 to r15
    code.extend([0x53, 0x55, 0x41, 0x54, 0x41, 0x55, 0x41, 0x56, 0x41, 0x57]);
    // mov eax, 2Bh; mov ds, eax; mov es, eax; mov [HOST_RSP], rsp
    code.extend([0xb8, 0x2b, 0, 0, 0, 0x8e, 0xd8, 0x8e, 0xc0, 0x48, 0x89, 0x24, 0x25]);
    code.extend(low(HOST_RSP));
    // The handler learns the stack from memory of its own: mov rax, &CAUGHT.stack; mov [rax], rsp
    code.extend([0x48, 0xb8]);
    // SAFETY: only the address is taken.
    let place = unsafe { &raw mut (*CAUGHT.0.get()).stack } as u64;
    code.extend(place.to_le_bytes());
    code.extend([0x48, 0x89, 0x20]);
    // push [FLAGS]; popfq
    code.extend([0xff, 0x34, 0x25]);
    code.extend(low(FLAGS));
    code.push(0x9d);
    for r in 0..16u8 {
        code.extend([0x48 | r >> 3 << 2, 0x8b, 0x04 | (r & 7) << 3, 0x25]);
        code.extend(low(STATE + 8 * u64::from(r)));
    }
    // jmp far [TARGET]
    code.extend([0xff, 0x2c, 0x25]);
    code.extend(low(TARGET));
    let exit = code.len();
    // mov [AFTER + ...], each general register; mov rax, &CAUGHT.stack; mov rsp, [rax]
    for r in 0..16u8 {
        code.extend([0x48 | r >> 3 << 2, 0x89, 0x04 | (r & 7) << 3, 0x25]);
        code.extend(low(AFTER + 8 * u64::from(r)));
    }
    code.extend([0x48, 0xb8]);
    code.extend(place.to_le_bytes());
    code.extend([0x48, 0x8b, 0x20]);
    // pushfq; pop [AFTER + 128]; push 202h; popfq
    code.extend([0x9c, 0x8f, 0x04, 0x25]);
    code.extend(low(AFTER + 128));
    code.extend([0x68, 2, 2, 0, 0, 0x9d]);
    let leave = code.len();
    // pop r15 to r12, rbp, rbx; ret
    code.extend([0x41, 0x5f, 0x41, 0x5e, 0x41, 0x5d, 0x41, 0x5c, 0x5d, 0x5b, 0xc3]);
    let stub = code.len();
    code.extend(process::stub(handler));
    code.resize((EXIT - TRAMPOLINE) as usize, INT3);
    code.extend(low(TRAMPOLINE + exit as u64));
    code.extend(u32::from(CODE64).to_le_bytes());
    (code, leave, stub)
}
