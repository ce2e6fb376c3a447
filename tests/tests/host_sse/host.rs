//! One instruction on the host's processor, with all registers given and taken back.

use std::cell::Cell;
use std::mem::offset_of;
use std::sync::Once;

use iced_x86::{Code, Encoder, Instruction, MemoryOperand, Register};
use memmap2::{Mmap, MmapMut};

/// Bytes of memory that an instruction may use.
pub const MEMORY: usize = 1024;
/// Number of the register that points to that memory.
pub const BASE: usize = 14;

/// Registers and memory before and after. The generated code knows the offsets.
#[repr(C, align(64))]
#[derive(Clone)]
pub struct State {
    /// The FXSAVE64 image.
    pub fx: [u8; 512],
    host: [u8; 512],
    /// General registers in encoding order; RSP and R15 are the harness's own.
    pub regs: [u64; 16],
    /// RFLAGS.
    pub flags: u64,
    /// The FNSTENV image afterwards.
    pub env: [u8; 28],
    pad: [u8; 4],
    resume: u64,
    /// Vector of the exception that the instruction raised: #UD, #GP, #PF, #MF or #XM; 0 for none.
    pub faulted: u64,
    /// Address and error code of a page fault.
    pub page_fault: [u64; 2],
    more_pad: [u64; 7],
    /// What R14 points to.
    pub memory: [u8; MEMORY],
    /// Upper halves of the YMM registers, which only the test of VEX encodings uses.
    pub high: [[u8; 16]; 16],
}

const HOST: i32 = 512;
const REGS: i32 = 1024;
const FLAGS: i32 = REGS + 128;
const ENV: i32 = FLAGS + 8;
const _: () = assert!(offset_of!(State, env) == ENV as usize);

impl State {
    /// A byte of a YMM register.
    pub fn vector_byte(&self, register: usize, at: usize) -> u8 {
        if at < 16 { self.fx[160 + 16 * register + at] } else { self.high[register][at - 16] }
    }

    /// Sets it.
    pub fn set_vector_byte(&mut self, register: usize, at: usize, value: u8) {
        if at < 16 {
            self.fx[160 + 16 * register + at] = value;
        } else {
            self.high[register][at - 16] = value;
        }
    }
}

const SIGILL: i32 = 4;
const SIGFPE: i32 = 8;
const SIGSEGV: i32 = 11;
const SA_SIGINFO: i32 = 4;
/// Offsets in `ucontext_t` of the registers R15 and RIP, and of what the exception said.
const CONTEXT_R15: usize = 40 + 7 * 8;
const CONTEXT_RIP: usize = 40 + 16 * 8;
const CONTEXT_ERROR: usize = 40 + 19 * 8;
const CONTEXT_VECTOR: usize = 40 + 20 * 8;
const CONTEXT_CR2: usize = 40 + 22 * 8;

/// `struct sigaction` of glibc.
#[repr(C)]
struct Action {
    handler: usize,
    mask: [u64; 16],
    flags: i32,
    restorer: usize,
}

/// Addresses of an instruction, with a constant initializer so that the handler may look.
#[derive(Clone, Copy)]
struct Span(u64, u64);

impl Span {
    fn contains(self, address: &u64) -> bool {
        (self.0..self.1).contains(address)
    }
}

thread_local! {
    /// The instruction that this thread may run at the moment.
    static RUNNING: Cell<Span> = const { Cell::new(Span(0, 0)) };
}

unsafe extern "C" {
    fn sigaction(signal: i32, action: *const Action, old: *mut Action) -> i32;
}

/// Resumes behind the instruction of a [`Runner`].
extern "C" fn resume(signal: i32, _info: *mut u8, context: *mut u8) {
    let get = |at: usize| {
        // SAFETY: the kernel passes a `ucontext_t`, whose saved registers lie at these offsets.
        unsafe { context.add(at).cast::<u64>().read() }
    };
    let rip = get(CONTEXT_RIP);
    if !RUNNING.with(|range| range.get().contains(&rip)) {
        // Not ours: the signal kills as it should.
        let default = Action { handler: 0, mask: [0; 16], flags: 0, restorer: 0 };
        // SAFETY: as for `install_handler`; 0 is the default action.
        unsafe { sigaction(signal, &raw const default, std::ptr::null_mut()) };
        return;
    }
    // SAFETY: in the instruction of a runner's page R15 points to the state; RIP may be changed.
    unsafe {
        let state = context.add(CONTEXT_R15).cast::<*mut State>().read();
        (*state).faulted = get(CONTEXT_VECTOR);
        (*state).page_fault = [get(CONTEXT_CR2), get(CONTEXT_ERROR)];
        context.add(CONTEXT_RIP).cast::<u64>().write((*state).resume);
    }
}

fn install_handler() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        let handler = resume as *const () as usize;
        let action = Action { handler, mask: [0; 16], flags: SA_SIGINFO, restorer: 0 };
        for signal in [SIGILL, SIGFPE, SIGSEGV] {
            // SAFETY: the action has the layout of glibc's structure, and nothing else in this process uses the signals.
            let result = unsafe { sigaction(signal, &raw const action, std::ptr::null_mut()) };
            assert_eq!(result, 0, "installing a signal handler");
        }
    });
}

impl Default for State {
    fn default() -> Self {
        Self {
            fx: [0; 512],
            host: [0; 512],
            regs: [0; 16],
            flags: 2,
            env: [0; 28],
            pad: [0; 4],
            resume: 0,
            faulted: 0,
            page_fault: [0; 2],
            more_pad: [0; 7],
            memory: [0; MEMORY],
            high: [[0; 16]; 16],
        }
    }
}

/// A page with code around one instruction.
pub struct Runner {
    page: Option<Mmap>,
    /// Address of the instruction.
    pub address: u64,
    length: usize,
    wide: bool,
}

/// Code that loads or stores the upper halves of all YMM registers.
fn upper_halves(load: bool) -> Vec<u8> {
    let mut encoder = Encoder::new(64);
    for n in 0..16 {
        let offset = (offset_of!(State, high) + 16 * n as usize) as i64;
        let memory = MemoryOperand::with_base_displ(Register::R15, offset);
        let ymm = Register::YMM0 + n;
        let insn = if load {
            Instruction::with4(Code::VEX_Vinsertf128_ymm_ymm_xmmm128_imm8, ymm, ymm, memory, 1)
        } else {
            Instruction::with3(Code::VEX_Vextractf128_xmmm128_ymm_imm8, memory, ymm, 1)
        };
        encoder.encode(&insn.unwrap(), 0).unwrap();
    }
    encoder.take_buffer()
}

impl Runner {
    /// A page without an instruction. `wide`: with the YMM registers.
    pub fn new(wide: bool) -> Self {
        install_handler();
        let page = MmapMut::map_anon(4096).unwrap().make_exec().unwrap();
        Self { page: Some(page), address: 0, length: 0, wide }
    }

    /// Puts an instruction in.
    pub fn load(&mut self, instruction: &[u8]) {
        let mut code = Vec::new();
        let around = |modrm: u8, offset: i32| [&[modrm], &offset.to_le_bytes()[..]].concat();
        // push rbx, rbp, r12 to r15; mov r15, rdi
        code.extend([0x53, 0x55, 0x41, 0x54, 0x41, 0x55, 0x41, 0x56, 0x41, 0x57, 0x49, 0x89, 0xff]);
        // fxsave64 [r15+HOST]; fxrstor64 [r15]
        code.extend([0x49, 0x0f, 0xae]);
        code.extend(around(0x87, HOST));
        code.extend([0x49, 0x0f, 0xae]);
        code.extend(around(0x8f, 0));
        if self.wide {
            code.extend(upper_halves(true));
        }
        // push [r15+FLAGS]; popfq
        code.extend([0x41, 0xff]);
        code.extend(around(0xb7, FLAGS));
        code.push(0x9d);
        let registers = || (0..15i32).filter(|&r| r != 4);
        for r in registers() {
            code.extend([0x49 | (r as u8 >> 3) << 2, 0x8b]);
            code.extend(around(0x87 | (r as u8 & 7) << 3, REGS + 8 * r));
        }
        let at = code.len();
        code.extend(instruction);
        for r in registers() {
            code.extend([0x49 | (r as u8 >> 3) << 2, 0x89]);
            code.extend(around(0x87 | (r as u8 & 7) << 3, REGS + 8 * r));
        }
        // pushfq; pop [r15+FLAGS]; cld
        code.extend([0x9c, 0x41, 0x8f]);
        code.extend(around(0x87, FLAGS));
        code.push(0xfc);
        if self.wide {
            code.extend(upper_halves(false));
            code.extend([0xc5, 0xf8, 0x77]); // vzeroupper
        }
        // fxsave64 [r15]; fnstenv [r15+ENV]; fxrstor64 [r15+HOST]
        code.extend([0x49, 0x0f, 0xae]);
        code.extend(around(0x87, 0));
        code.extend([0x41, 0xd9]);
        code.extend(around(0xb7, ENV));
        code.extend([0x49, 0x0f, 0xae]);
        code.extend(around(0x8f, HOST));
        // pop r15 to r12, rbp, rbx; ret
        code.extend([0x41, 0x5f, 0x41, 0x5e, 0x41, 0x5d, 0x41, 0x5c, 0x5d, 0x5b, 0xc3]);
        let mut page = self.page.take().unwrap().make_mut().unwrap();
        page[..code.len()].copy_from_slice(&code);
        self.address = page.as_ptr() as u64 + at as u64;
        self.length = instruction.len();
        self.page = Some(page.make_exec().unwrap());
    }

    /// Runs it with the memory in `state`.
    pub fn run(&self, state: &mut State) {
        state.regs[BASE] = state.memory.as_ptr() as u64;
        // SAFETY: the instructions of this test stay within the memory that R14 points to.
        unsafe { self.run_here(state) };
    }

    /// Runs it with R14 as it is.
    ///
    /// # Safety
    /// The instruction may write where it likes: the caller knows that it writes to memory of its own only, or nowhere.
    pub unsafe fn run_here(&self, state: &mut State) {
        state.resume = self.address + self.length as u64;
        (state.faulted, state.page_fault) = (0, [0; 2]);
        RUNNING.set(Span(self.address, state.resume));
        let entry = self.page.as_ref().unwrap().as_ptr();
        // SAFETY: `load` put a function of this signature at the start of the page, which keeps all registers that
        // the calling convention wants kept, x87 and MXCSR included, also when a fault resumes it
        // behind the one foreign instruction. That instruction changes registers
        // and, by way of R14 and RDI, the memory in `state` only.
        unsafe {
            let function: extern "sysv64" fn(*mut State) = std::mem::transmute(entry);
            function(state);
        }
        RUNNING.set(Span(0, 0));
    }
}
