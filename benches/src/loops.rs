//! Loops in 64-bit mode on a processor without a board: what each kind of guest code costs, on both engines.

use emu_core::engine::Engine;
use emu_core::interp::Interpreter;
use emu_core::machine::{Machine, Stop};
use emu_jit::Translator;
use iced_x86::IcedError;
use iced_x86::code_asm::*;

use crate::lab::{self, ABSENT, ALIASES, BOARD, CODE, FROM, TO, VECTOR};

/// A named loop that never ends.
#[derive(Clone, Copy, Debug)]
pub struct Loop {
    /// What it shows.
    pub name: &'static str,
    /// It runs in user mode.
    user: bool,
    assemble: fn(&mut CodeAssembler) -> Result<(), IcedError>,
}

const fn kernel(name: &'static str, assemble: fn(&mut CodeAssembler) -> Result<(), IcedError>) -> Loop {
    Loop { name, user: false, assemble }
}

const fn user(name: &'static str, assemble: fn(&mut CodeAssembler) -> Result<(), IcedError>) -> Loop {
    Loop { name, user: true, assemble }
}

/// All loops.
pub const LOOPS: [Loop; 19] = [
    user("arithmetic", arithmetic),
    user("copy", copy),
    user("read_modify_write", read_modify_write),
    user("branches", branches),
    user("calls", calls),
    user("indirect_jumps", indirect_jumps),
    user("strings", strings),
    user("x87", x87),
    user("sse", sse),
    user("avx", avx),
    user("system_calls", system_calls),
    kernel("interrupts", interrupts),
    kernel("page_faults", page_faults),
    kernel("cr3_loads", cr3_loads),
    kernel("page_walks", page_walks),
    kernel("tlb_fills", tlb_fills),
    kernel("self_modification", self_modification),
    kernel("ports", ports),
    kernel("mmio", mmio),
];

/// Registers only, with flags that somebody reads.
fn arithmetic(a: &mut CodeAssembler) -> Result<(), IcedError> {
    let mut again = a.create_label();
    a.mov(rax, 1u64)?;
    a.set_label(&mut again)?;
    a.add(rax, rcx)?;
    a.xor(rdx, rax)?;
    a.shl(rdx, 3)?;
    a.sub(rbx, rdx)?;
    a.adc(rsi, 5)?;
    a.and(rbx, 0x7fff_ffff)?;
    a.lea(rdi, qword_ptr(rax + rsi * 4 + 8))?;
    a.imul_2(rdi, rax)?;
    a.inc(rcx)?;
    a.jmp(again)
}

/// Eight bytes at a time, by loads and stores.
fn copy(a: &mut CodeAssembler) -> Result<(), IcedError> {
    let (mut outer, mut again) = (a.create_label(), a.create_label());
    a.set_label(&mut outer)?;
    a.mov(esi, FROM)?;
    a.mov(edi, TO)?;
    a.mov(ecx, 0x2000)?;
    a.set_label(&mut again)?;
    a.mov(rax, qword_ptr(rsi))?;
    a.mov(qword_ptr(rdi), rax)?;
    a.add(rsi, 8)?;
    a.add(rdi, 8)?;
    a.dec(ecx)?;
    a.jnz(again)?;
    a.jmp(outer)
}

/// Short blocks whose branches depend on a random sequence.
fn branches(a: &mut CodeAssembler) -> Result<(), IcedError> {
    let (mut again, mut even, mut next) = (a.create_label(), a.create_label(), a.create_label());
    a.mov(eax, 12345)?;
    a.set_label(&mut again)?;
    a.imul_3(eax, eax, 1_103_515_245)?;
    a.add(eax, 12345)?;
    a.test(eax, 0x1_0000)?;
    a.jz(even)?;
    a.inc(ebx)?;
    a.jmp(next)?;
    a.set_label(&mut even)?;
    a.dec(ecx)?;
    a.set_label(&mut next)?;
    a.cmp(ebx, ecx)?;
    a.jne(again)?;
    a.jmp(again)
}

/// A function that calls a function.
fn calls(a: &mut CodeAssembler) -> Result<(), IcedError> {
    let (mut again, mut outer, mut inner) = (a.create_label(), a.create_label(), a.create_label());
    a.set_label(&mut again)?;
    a.call(outer)?;
    a.jmp(again)?;
    a.set_label(&mut outer)?;
    a.push(rbx)?;
    a.mov(rbx, rdi)?;
    a.call(inner)?;
    a.add(rax, rbx)?;
    a.pop(rbx)?;
    a.ret()?;
    a.set_label(&mut inner)?;
    a.lea(rax, qword_ptr(rdi + 1))?;
    a.ret()
}

/// Counters in memory, spread over sixteen pages.
fn read_modify_write(a: &mut CodeAssembler) -> Result<(), IcedError> {
    let mut again = a.create_label();
    a.mov(esi, FROM)?;
    a.set_label(&mut again)?;
    a.add(qword_ptr(rsi + rcx), 1)?;
    a.add(ecx, 0x1008)?;
    a.and(ecx, 0xffff)?;
    a.cmp(dword_ptr(rsi + rcx), 0)?;
    a.jne(again)?;
    a.jmp(again)
}

/// A jump through one of sixteen places and back, in an order that no predictor knows.
fn indirect_jumps(a: &mut CodeAssembler) -> Result<(), IcedError> {
    let (mut again, mut places) = (a.create_label(), a.create_label());
    a.mov(eax, 12345)?;
    a.lea(r8, ptr(places))?;
    a.lea(r12, ptr(again))?;
    a.set_label(&mut again)?;
    a.imul_3(eax, eax, 1_103_515_245)?;
    a.add(eax, 12345)?;
    a.mov(ecx, eax)?;
    a.shr(ecx, 12)?;
    a.and(ecx, 0xf0)?;
    a.add(rcx, r8)?;
    a.jmp(rcx)?;
    a.set_label(&mut places)?;
    for n in 0..16 {
        // ADD EBX, n; JMP R12; to sixteen bytes.
        a.db(&[0x81, 0xc3, n, 0, 0, 0, 0x41, 0xff, 0xe4, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90])?;
    }
    Ok(())
}

/// MOVS, STOS, SCAS and CMPS over 64 KiB, repeated.
fn strings(a: &mut CodeAssembler) -> Result<(), IcedError> {
    let mut again = a.create_label();
    a.set_label(&mut again)?;
    a.mov(esi, FROM)?;
    a.mov(edi, TO)?;
    a.mov(ecx, 0x2000)?;
    a.rep().movsq()?;
    a.mov(edi, TO)?;
    a.xor(eax, eax)?;
    a.mov(ecx, 0x1_0000)?;
    a.rep().stosb()?;
    a.mov(edi, TO)?;
    a.inc(eax)?;
    a.mov(ecx, 0x1_0000)?;
    a.repne().scasb()?;
    a.mov(esi, FROM)?;
    a.mov(edi, TO)?;
    a.mov(ecx, 0x1_0000)?;
    a.repe().cmpsb()?;
    a.jmp(again)
}

/// Loads, sums, a square root and stores on the x87 unit.
fn x87(a: &mut CodeAssembler) -> Result<(), IcedError> {
    let mut again = a.create_label();
    a.mov(esi, FROM)?;
    a.set_label(&mut again)?;
    // FLD [RSI]; FLD1; FADDP; FSQRT; FMUL ST0, ST0; FSTP [RSI]
    a.db(&[0xdd, 0x06, 0xd9, 0xe8, 0xde, 0xc1, 0xd9, 0xfa, 0xd8, 0xc8, 0xdd, 0x1e])?;
    a.jmp(again)
}

/// Single precision and integers in 128-bit registers.
fn sse(a: &mut CodeAssembler) -> Result<(), IcedError> {
    let mut again = a.create_label();
    a.mov(esi, FROM)?;
    a.mov(edi, TO)?;
    a.set_label(&mut again)?;
    a.movaps(xmm0, xmmword_ptr(rsi))?;
    a.addps(xmm0, xmm1)?;
    a.mulps(xmm0, xmm2)?;
    a.pshufd(xmm3, xmm0, 0x1b)?;
    a.paddd(xmm3, xmm4)?;
    a.movaps(xmmword_ptr(rdi), xmm3)?;
    a.jmp(again)
}

/// The same in 256-bit registers.
fn avx(a: &mut CodeAssembler) -> Result<(), IcedError> {
    let mut again = a.create_label();
    a.mov(esi, FROM)?;
    a.mov(edi, TO)?;
    a.set_label(&mut again)?;
    a.vmovups(ymm0, ymmword_ptr(rsi))?;
    a.vaddps(ymm0, ymm0, ymm1)?;
    a.vmulps(ymm0, ymm0, ymm2)?;
    a.vpaddd(ymm3, ymm0, ymm4)?;
    a.vmovups(ymmword_ptr(rdi), ymm3)?;
    a.jmp(again)
}

/// SYSCALL to a kernel that returns at once.
fn system_calls(a: &mut CodeAssembler) -> Result<(), IcedError> {
    let mut again = a.create_label();
    a.set_label(&mut again)?;
    a.syscall()?;
    a.inc(rbx)?;
    a.jmp(again)
}

/// A software interrupt and IRET.
fn interrupts(a: &mut CodeAssembler) -> Result<(), IcedError> {
    let mut again = a.create_label();
    a.set_label(&mut again)?;
    a.int(i32::from(VECTOR))?;
    a.inc(rbx)?;
    a.jmp(again)
}

/// A read where no page is, and a handler that goes on behind it.
fn page_faults(a: &mut CodeAssembler) -> Result<(), IcedError> {
    let mut again = a.create_label();
    a.mov(edi, ABSENT)?;
    a.set_label(&mut again)?;
    // MOV EAX, [RDI]: the handler knows that it has two bytes.
    a.db(&[0x8b, 0x07])?;
    a.inc(rbx)?;
    a.jmp(again)
}

/// MOV to CR3, and four pages after it.
fn cr3_loads(a: &mut CodeAssembler) -> Result<(), IcedError> {
    let mut again = a.create_label();
    a.mov(esi, FROM)?;
    a.mov(rax, cr3)?;
    a.set_label(&mut again)?;
    a.mov(cr3, rax)?;
    for page in 0..4 {
        a.mov(edx, dword_ptr(rsi + 0x1000 * page))?;
    }
    a.inc(rbx)?;
    a.jmp(again)
}

/// MOV to CR3, and 512 pages after it: each is walked for.
fn page_walks(a: &mut CodeAssembler) -> Result<(), IcedError> {
    let (mut again, mut page) = (a.create_label(), a.create_label());
    a.mov(esi, FROM)?;
    a.mov(rax, cr3)?;
    a.set_label(&mut again)?;
    a.mov(cr3, rax)?;
    a.xor(ecx, ecx)?;
    a.set_label(&mut page)?;
    a.add(edx, dword_ptr(rsi + rcx))?;
    a.add(ecx, 0x1000)?;
    a.cmp(ecx, 0x20_0000)?;
    a.jne(page)?;
    a.jmp(again)
}

/// Three pages in turn whose translations share a slot for two, so that each read misses and fills the slot anew, with
/// the walk that this takes and nothing else.
fn tlb_fills(a: &mut CodeAssembler) -> Result<(), IcedError> {
    let (mut again, mut page) = (a.create_label(), a.create_label());
    a.mov(r8, ALIASES)?;
    a.set_label(&mut again)?;
    a.mov(esi, FROM)?;
    a.set_label(&mut page)?;
    a.lea(rdi, qword_ptr(rsi + r8))?;
    a.add(edx, dword_ptr(rsi))?;
    a.add(edx, dword_ptr(rdi))?;
    a.add(edx, dword_ptr(rdi + r8))?;
    a.add(rsi, 0x1000)?;
    a.cmp(rsi, FROM as i32 + 0x20_0000)?;
    a.jne(page)?;
    a.jmp(again)
}

/// A function whose immediate is written before each call.
fn self_modification(a: &mut CodeAssembler) -> Result<(), IcedError> {
    let (mut again, mut function) = (a.create_label(), a.create_label());
    a.lea(r8, ptr(function))?;
    a.set_label(&mut again)?;
    a.inc(eax)?;
    a.mov(dword_ptr(r8 + 1), eax)?;
    a.call(function)?;
    a.add(rcx, rbx)?;
    a.jmp(again)?;
    a.set_label(&mut function)?;
    // MOV EBX, imm32; RET
    a.db(&[0xbb, 0, 0, 0, 0, 0xc3])
}

/// OUT and IN on a port where nothing is.
fn ports(a: &mut CodeAssembler) -> Result<(), IcedError> {
    let mut again = a.create_label();
    a.set_label(&mut again)?;
    // OUT 80h, AL; IN AL, 80h
    a.db(&[0xe6, 0x80, 0xe4, 0x80])?;
    a.inc(rbx)?;
    a.jmp(again)
}

/// A write and a read at an address of the board.
fn mmio(a: &mut CodeAssembler) -> Result<(), IcedError> {
    let mut again = a.create_label();
    a.mov(edi, BOARD)?;
    a.set_label(&mut again)?;
    a.mov(dword_ptr(rdi), eax)?;
    a.mov(ecx, dword_ptr(rdi))?;
    a.inc(rbx)?;
    a.jmp(again)
}

/// Makes an engine.
pub type Make = fn() -> Box<dyn Engine>;

/// The engines, by name.
pub const ENGINES: [(&str, Make); 2] = [
    ("interp", || Box::new(Interpreter::default())),
    ("jit", || Box::new(Translator::new().expect("the host lets code be executed"))),
];

impl Loop {
    /// A machine that is about to run this loop.
    ///
    /// # Panics
    /// When the loop does not assemble or the host has no memory.
    pub fn start(&self, engine: Box<dyn Engine>) -> Machine {
        let mut a = CodeAssembler::new(64).expect("64 is a number of bits");
        (self.assemble)(&mut a).expect("the operands fit");
        let bytes = a.assemble(CODE).expect("the jumps reach");
        lab::machine(engine, &bytes, self.user)
    }

    /// Runs it on both engines.
    ///
    /// # Panics
    /// When they differ in any register or byte of memory.
    pub fn check(&self, instructions: u64) {
        let states = ENGINES.map(|(_, engine)| {
            let mut machine = self.start(engine());
            run(&mut machine, instructions);
            (machine.rip(), machine.state_hash())
        });
        assert_eq!(states[0], states[1], "{} on both engines", self.name);
    }
}

/// Runs so many instructions more.
///
/// # Panics
/// When something stops the machine: no loop should.
pub fn run(machine: &mut Machine, instructions: u64) {
    let stop = machine.run(machine.instructions() + instructions);
    assert_eq!(stop, Stop::Limit);
}

#[cfg(test)]
mod tests {
    use emu_core::cpu::{RAX, RBX, RCX};

    use super::*;

    #[test]
    fn every_loop_does_the_same_on_both_engines() {
        LOOPS.iter().for_each(|each| each.check(200_000));
    }

    /// The machine after so many instructions of a loop.
    fn after(name: &str, instructions: u64) -> Machine {
        let each = LOOPS.iter().find(|each| each.name == name).expect("it is one of them");
        let mut machine = each.start(ENGINES[0].1());
        run(&mut machine, instructions);
        machine
    }

    #[test]
    fn loops_do_what_they_are_named_for() {
        // SYSCALL, SYSRET, INC, JMP; interrupts and faults count one more for their delivery.
        assert_eq!(after("system_calls", 4000).cpu().regs[RBX], 1000);
        assert_eq!(after("interrupts", 4000).cpu().regs[RBX], 1000);
        assert_eq!(after("page_faults", 1 + 6 * 1000).cpu().regs[RBX], 1000);
        let machine = after("self_modification", 1 + 7 * 1000);
        assert_eq!(machine.cpu().regs[RAX], 1000);
        assert_eq!(machine.cpu().regs[RCX], 1000 * 1001 / 2);
        let machine = after("tlb_fills", 7 * 512 * 20);
        assert!(machine.stats().tlb_fills > 3 * 512 * 19, "{:?}", machine.stats());
        let mut root = [0; 8];
        after("x87", 1 + 7 * 1000).peek(0, FROM.into(), &mut root);
        assert!((f64::from_le_bytes(root) - 1000.0).abs() < 1e-6, "each round adds one, but for rounding");
    }
}
