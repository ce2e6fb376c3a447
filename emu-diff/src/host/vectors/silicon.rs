//! One instruction on the host's processor, with all registers given and taken back: general registers, x87, MMX, YMM.

use std::cell::Cell;
use std::mem::offset_of;
use std::sync::Once;

use iced_x86::{Code, Encoder, Instruction, MemoryOperand, Register};

/// Bytes of memory that an instruction may use.
pub const MEMORY: usize = 1024;
/// Number of the register that points to that memory in 64-bit code.
pub const BASE: usize = 14;
/// The same in 32-bit code.
const BASE32: usize = 6;
/// Segment selectors that Linux gives to user programs.
const CODE32: u64 = 0x23;
const CODE64: u16 = 0x33;
const USER_DATA: u8 = 0x2b;

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
    /// Number of the register that points to the memory.
    pub base: usize,
    /// Where the instruction lies for a far jump: offset and selector.
    target: u64,
    /// RSP while 32-bit code runs.
    stack: u64,
    more_pad: [u64; 4],
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
const TARGET: i32 = offset_of!(State, target) as i32;
const STACK: i32 = offset_of!(State, stack) as i32;
const PAGE: usize = 4096;

impl State {
    /// Makes a state for 32-bit code: upper halves of general registers are zero, and ESI points to the memory.
    pub fn only_32_bits(&mut self) {
        self.base = BASE32;
        self.regs.iter_mut().for_each(|register| *register &= 0xffff_ffff);
    }

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
const SA_ONSTACK: i32 = 0x0800_0000;
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
        let action = Action { handler, mask: [0; 16], flags: SA_SIGINFO | SA_ONSTACK, restorer: 0 };
        for signal in [SIGILL, SIGFPE, SIGSEGV] {
            // SAFETY: the action has the layout of glibc's structure, and nothing else in this process uses the
            // signals.
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
            base: BASE,
            target: 0,
            stack: 0,
            more_pad: [0; 4],
            memory: [0; MEMORY],
            high: [[0; 16]; 16],
        }
    }
}

/// A page with code around one instruction. What it takes of the first 2 GiB it gives back.
pub struct Runner {
    page: *mut u8,
    /// Address of the instruction.
    pub address: u64,
    length: usize,
    wide: bool,
    bits: u32,
    /// A state that 32-bit code reaches.
    low: *mut State,
}

/// Memory in the first 2 GiB.
fn low_memory(size: usize) -> *mut u8 {
    let (rights, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: a new anonymous mapping has no conditions.
    let page = unsafe { libc::mmap(std::ptr::null_mut(), size, rights, flags | libc::MAP_32BIT, -1, 0) };
    assert_ne!(page, libc::MAP_FAILED);
    page.cast()
}

/// Signals of this thread arrive on a stack of their own, whatever RSP holds in 32-bit code.
fn install_stack() {
    thread_local! {
        static INSTALLED: Cell<bool> = const { Cell::new(false) };
    }
    if INSTALLED.replace(true) {
        return;
    }
    let stack = Box::leak(vec![0u8; 1 << 16].into_boxed_slice());
    let stack = libc::stack_t { ss_sp: stack.as_mut_ptr().cast(), ss_flags: 0, ss_size: 1 << 16 };
    // SAFETY: the memory stays for the rest of the process.
    let result = unsafe { libc::sigaltstack(&raw const stack, std::ptr::null_mut()) };
    assert_eq!(result, 0, "a stack for signals");
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

impl Drop for Runner {
    fn drop(&mut self) {
        // SAFETY: both are mappings of our own of these sizes, and nobody refers to them any more.
        unsafe {
            libc::munmap(self.page.cast(), PAGE);
            libc::munmap(self.low.cast(), size_of::<State>());
        }
    }
}

impl Runner {
    /// A page without an instruction, which will be code of 64 or 32 bits. `wide`: with the YMM registers.
    pub fn new(wide: bool, bits: u32) -> Self {
        install_handler();
        install_stack();
        let low = low_memory(size_of::<State>()).cast();
        Self { page: low_memory(PAGE), address: 0, length: 0, wide, bits, low }
    }

    /// Address of the memory that an instruction sees while it runs on this state.
    pub fn memory(&self, state: &State) -> u64 {
        let state = if self.bits == 64 { std::ptr::from_ref(state) } else { self.low };
        state.addr() as u64 + offset_of!(State, memory) as u64
    }

    fn protect(&self, rights: i32) {
        // SAFETY: the page is ours, and no reference to it exists.
        let result = unsafe { libc::mprotect(self.page.cast(), PAGE, rights) };
        assert_eq!(result, 0, "rights of our own page");
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
        if self.bits == 32 {
            // mov eax, USER_DATA; mov ds, eax; mov es, eax; mov [r15+STACK], rsp
            code.extend([0xb8, USER_DATA, 0, 0, 0, 0x8e, 0xd8, 0x8e, 0xc0, 0x49, 0x89]);
            code.extend(around(0xa7, STACK));
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
        if self.bits == 32 {
            // jmp far [r15+TARGET]
            code.extend([0x41, 0xff]);
            code.extend(around(0xaf, TARGET));
        }
        let at = code.len();
        code.extend(instruction);
        if self.bits == 32 {
            // jmp far CODE64:next; mov rsp, [r15+STACK]
            let next = self.page.addr() + code.len() + 7;
            code.push(0xea);
            code.extend((next as u32).to_le_bytes());
            code.extend(CODE64.to_le_bytes());
            code.extend([0x49, 0x8b]);
            code.extend(around(0xa7, STACK));
        }
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
        self.address = self.page.addr() as u64 + at as u64;
        self.length = instruction.len();
        assert!(code.len() <= PAGE);
        self.protect(libc::PROT_READ | libc::PROT_WRITE);
        // SAFETY: the page is ours and large enough.
        unsafe { std::ptr::copy_nonoverlapping(code.as_ptr(), self.page, code.len()) };
        self.protect(libc::PROT_READ | libc::PROT_EXEC);
    }

    /// Runs it with the memory in `state`.
    pub fn run(&self, state: &mut State) {
        state.regs[state.base] = self.memory(state);
        // SAFETY: the instructions of this test stay within the memory that R14 or ESI points to. The low state is ours
        // and nobody else refers to it.
        unsafe {
            if self.bits == 64 {
                return self.run_here(state);
            }
            self.low.write(state.clone());
            self.run_here(&mut *self.low);
            state.clone_from(&*self.low);
        }
    }

    /// Runs it with R14 as it is.
    ///
    /// # Safety
    /// The instruction may write where it likes: the caller knows that it writes to memory of its own only, or nowhere.
    pub unsafe fn run_here(&self, state: &mut State) {
        state.resume = self.address + self.length as u64;
        (state.faulted, state.page_fault) = (0, [0; 2]);
        state.target = self.address | CODE32 << 32;
        RUNNING.set(Span(self.address, state.resume));
        let entry = self.page;
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Random addresses of other instructions must not meet it.
    #[test]
    fn what_a_runner_takes_of_the_first_4_gib_it_gives_back() {
        let runner = Runner::new(false, 32);
        let places = [runner.page.addr(), runner.low.addr()];
        let mapped = |place: usize| {
            let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
            maps.lines().any(|line| {
                let (from, to) = line.split(' ').next().unwrap().split_once('-').unwrap();
                let address = |text: &str| usize::from_str_radix(text, 16).unwrap();
                (address(from)..address(to)).contains(&place)
            })
        };
        assert!(places.iter().all(|&place| place >> 32 == 0 && mapped(place)));
        drop(runner);
        assert!(places.iter().all(|&place| !mapped(place)));
    }
}
