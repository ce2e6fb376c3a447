//! A program on the host's processor.
//!
//! A trampoline loads all registers and jumps far to the program. Its exceptions arrive as signals: the handler notes
//! them and goes on in the next slot, or, at the INT3 that ends the program, keeps what the kernel reports and goes
//! back by the trampoline's end.

use std::cell::UnsafeCell;
use std::ffi::c_void;
use std::ptr;
use std::sync::atomic::{Ordering, compiler_fence};

use rustix::mm::MprotectFlags;

use super::fpu::{AREA, State};
use super::{CODE_PAGES, CONTROL, Case, DATA_PAGES, End, READ_ONLY, Raised, STACK, STACK_PAGES, parts};
use crate::fuzz::places::{CODE, DATA, PAGE};
use crate::fuzz::program::SLOT;
use crate::host::process::{self, IN_CONTEXT, map, protect};
use crate::host::silicon::{CODE32, CODE64, USER_DATA};

/// Addresses that no program comes by but by chance.
const TRAMPOLINE: u64 = 0x6b3d_5000;
const STATE: u64 = 0x6b3d_9000;
const FLAGS: u64 = STATE + 128;
const TARGET: u64 = STATE + 144;
const IMAGE: u64 = STATE + 256;
const BREAKPOINT: u8 = 3;

struct Shared(UnsafeCell<Caught>);

// SAFETY: only the one thread that holds a `Host` and the handler of signals that this thread raises touch it.
unsafe impl Sync for Shared {}

struct Caught {
    active: bool,
    /// Address of the code, and behind it.
    code: (u64, u64),
    /// Address behind the INT3 that ends the program.
    end: u64,
    leave: u64,
    stack: u64,
    outcome: End,
    /// It went where no program should go.
    lost: Option<Raised>,
}

static CAUGHT: Shared = Shared(UnsafeCell::new(Caught {
    active: false,
    code: (0, 0),
    end: 0,
    leave: 0,
    stack: 0,
    outcome: End {
        raised: Vec::new(),
        regs: [0; 16],
        rip: (0, 0),
        flags: 0,
        fpu: State { control: 0, status: 0, valid: 0, st: [[0; 10]; 8], mxcsr: 0, vectors: [[0; 4]; 16] },
        memory: Vec::new(),
    },
    lost: None,
}));

extern "C" fn handler(signal: i32, _: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel passes a valid context; `CAUGHT` belongs to the thread that raised the signal.
    let (context, caught) =
        unsafe { (&mut (*context.cast::<libc::ucontext_t>()).uc_mcontext, &mut *CAUGHT.0.get()) };
    if !caught.active {
        // Not ours: the signal kills as it should.
        // SAFETY: setting a default action has no conditions.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
        return;
    }
    let registers = &mut context.gregs;
    let get = |n: i32| registers[n as usize] as u64;
    let (vector, rip) = (get(libc::REG_TRAPNO) as u8, get(libc::REG_RIP));
    let cr2 = if vector == 14 { get(libc::REG_CR2) } else { 0 };
    let raised = Raised { vector, error: get(libc::REG_ERR), cr2, rip };
    let inside = (caught.code.0..caught.code.1).contains(&rip);
    let ends = vector == BREAKPOINT && rip == caught.end;
    if inside && !ends {
        caught.outcome.raised.push(raised);
        let slot = SLOT as u64;
        let next = caught.code.0 + ((rip - caught.code.0) / slot + 1) * slot;
        registers[libc::REG_RIP as usize] = next as i64;
        return;
    }
    caught.active = false;
    caught.lost = (!ends).then_some(raised);
    let outcome = &mut caught.outcome;
    outcome.regs = IN_CONTEXT.map(get);
    outcome.flags = get(libc::REG_EFL);
    outcome.rip = (get(libc::REG_CSGSFS) as u16, rip);
    // SAFETY: the kernel saves the state of x87, SSE and AVX there, in the standard format of XSAVE.
    outcome.fpu = State::of_area(unsafe { &*context.fpregs.cast::<[u8; AREA]>() });
    registers[libc::REG_RIP as usize] = caught.leave as i64;
    registers[libc::REG_RSP as usize] = caught.stack as i64;
    registers[libc::REG_EFL as usize] = 0x202;
    registers[libc::REG_CSGSFS as usize] = i64::from(CODE64) | i64::from(USER_DATA) << 48;
}

/// The host's processor, ready for programs. Only one may be made in a process.
pub struct Host {
    state: *mut u8,
}

impl Host {
    /// Takes some pages in the low 4 GiB, and the signals that exceptions cause. A translator that is made later passes
    /// on what is not its own; one that was made before no longer gets its signals.
    ///
    /// # Errors
    /// When those addresses are taken, or the process runs instructions already.
    pub fn new() -> Result<Self, String> {
        process::claim()?;
        for (from, pages) in [(CODE, CODE_PAGES), (DATA, DATA_PAGES), (STACK, STACK_PAGES), (CONTROL, 1)] {
            for n in 0..pages {
                map(from + (n * PAGE) as u64)?;
            }
        }
        let everything = MprotectFlags::READ | MprotectFlags::WRITE | MprotectFlags::EXEC;
        for n in 0..CODE_PAGES {
            // Programs change themselves.
            protect(at(CODE + (n * PAGE) as u64), everything);
        }
        let (trampoline, state) = (map(TRAMPOLINE)?, map(STATE)?);
        let (bytes, leave, stub) = trampoline_code();
        // SAFETY: the stub goes on in a handler with the signature that SA_SIGINFO asks for, and is there when the
        // first signal comes.
        unsafe { process::install(TRAMPOLINE as usize + stub) };
        // SAFETY: one page of our own, larger than the code; nothing runs yet.
        unsafe {
            ptr::copy_nonoverlapping(bytes.as_ptr(), trampoline, bytes.len());
            (*CAUGHT.0.get()).leave = TRAMPOLINE + leave as u64;
        }
        protect(trampoline, MprotectFlags::READ | MprotectFlags::EXEC);
        Ok(Self { state })
    }

    /// Runs a program.
    ///
    /// # Errors
    /// When it leaves its own code.
    pub fn run(&mut self, case: &Case) -> Result<End, String> {
        let code = case.code();
        let last = at(DATA + (READ_ONLY * PAGE) as u64);
        protect(last, MprotectFlags::READ | MprotectFlags::WRITE);
        let selector = if case.bits == 64 { CODE64 } else { CODE32 };
        // SAFETY: all are pages of our own, which foreign code touches within this function only. The trampoline keeps
        // what the calling convention wants kept. The program has pointers to those pages only; any other address of
        // its own is random, and this process has next to nothing in the first 4 GiB. It ends after its rounds.
        unsafe {
            let put = |to: u64, bytes: &[u8]| ptr::copy_nonoverlapping(bytes.as_ptr(), at(to), bytes.len());
            put(case.origin, &code);
            put(DATA, &case.data);
            put(STACK, &[0; STACK_PAGES * PAGE]);
            put(CONTROL, &case.control());
            put(IMAGE, &case.fpu.area());
            let state = self.state.cast::<u64>();
            for (n, value) in case.regs.iter().enumerate() {
                state.add(n).write(*value);
            }
            state.add(16).write(case.flags);
            state.add(18).write(case.origin | u64::from(selector) << 32);
            protect(last, MprotectFlags::READ);
            let caught = &mut *CAUGHT.0.get();
            caught.code = (case.origin, case.origin + code.len() as u64);
            caught.end = case.end() + 1;
            caught.outcome = End::default();
            let function: extern "sysv64" fn() =
                std::mem::transmute(ptr::without_provenance::<u8>(TRAMPOLINE as usize));
            caught.active = true;
            compiler_fence(Ordering::SeqCst);
            function();
            compiler_fence(Ordering::SeqCst);
            let caught = &mut *CAUGHT.0.get();
            if let Some(raised) = caught.lost.take() {
                return Err(format!("the program left its code: {raised:x?}"));
            }
            let mut outcome = std::mem::take(&mut caught.outcome);
            for (from, len) in parts(case) {
                outcome.memory.push((from, std::slice::from_raw_parts(at(from), len).to_vec()));
            }
            Ok(outcome)
        }
    }
}

/// A page of ours.
fn at(address: u64) -> *mut u8 {
    ptr::with_exposed_provenance_mut(address as usize)
}

/// The trampoline, where its end starts, and where signals arrive.
fn trampoline_code() -> (Vec<u8>, usize, usize) {
    let mut code = Vec::new();
    let low = |address: u64| (address as u32).to_le_bytes();
    // push rbx, rbp, r12 to r15; sub rsp, 8; stmxcsr [rsp]; fnstcw [rsp + 4]
    code.extend([0x53, 0x55, 0x41, 0x54, 0x41, 0x55, 0x41, 0x56, 0x41, 0x57]);
    code.extend([0x48, 0x83, 0xec, 8, 0x0f, 0xae, 0x1c, 0x24, 0xd9, 0x7c, 0x24, 4]);
    // mov eax, 2Bh; mov ds, eax; mov es, eax
    code.extend([0xb8, 0x2b, 0, 0, 0, 0x8e, 0xd8, 0x8e, 0xc0]);
    // The handler learns the stack from memory of its own: mov rax, &CAUGHT.stack; mov [rax], rsp
    code.extend([0x48, 0xb8]);
    // SAFETY: only the address is taken.
    let place = unsafe { &raw mut (*CAUGHT.0.get()).stack } as u64;
    code.extend(place.to_le_bytes());
    code.extend([0x48, 0x89, 0x20]);
    // mov eax, 7; xor edx, edx; xrstor64 [IMAGE]; push [FLAGS]; popfq
    code.extend([0xb8, 7, 0, 0, 0, 0x31, 0xd2, 0x48, 0x0f, 0xae, 0x2c, 0x25]);
    code.extend(low(IMAGE));
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
    let leave = code.len();
    // fninit; fldcw [rsp + 4]; ldmxcsr [rsp]; vzeroupper; add rsp, 8
    code.extend([0xdb, 0xe3, 0xd9, 0x6c, 0x24, 4, 0x0f, 0xae, 0x14, 0x24, 0xc5, 0xf8, 0x77]);
    code.extend([0x48, 0x83, 0xc4, 8]);
    // pop r15 to r12, rbp, rbx; ret
    code.extend([0x41, 0x5f, 0x41, 0x5e, 0x41, 0x5d, 0x41, 0x5c, 0x5d, 0x5b, 0xc3]);
    let stub = code.len();
    code.extend(process::stub(handler));
    (code, leave, stub)
}
