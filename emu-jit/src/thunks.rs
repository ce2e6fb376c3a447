//! The fixed pieces of host code at the start of the buffer: entry, exit, calls out, and the vector registers' way in
//! and out.

use std::mem::offset_of;

use dynasmrt::x64::X64Relocation;
use dynasmrt::{DynasmApi, DynasmLabelApi, VecAssembler, dynasm};
use emu_core::cpu::fpu::{Fpu, Vector};
use emu_core::cpu::{Cpu, RIP};

use crate::code_buffer::CodeBuffer;
use crate::frame::{COPIED, CPU, EXCHANGE, PINNED, REMAINING, RUN, SPILL, STACK, VECTORS_IN};

const REGS: i32 = offset_of!(Cpu, regs) as i32;
const VECTORS: i32 = (offset_of!(Cpu, fpu) + offset_of!(Fpu, vectors)) as i32;
const MXCSR: i32 = (offset_of!(Cpu, fpu) + offset_of!(Fpu, mxcsr)) as i32;
/// MXCSR as host code expects it.
const HOST_MXCSR: i32 = 0x1f80;

/// Addresses of the thunks.
#[derive(Clone, Copy, Debug)]
pub struct Thunks {
    /// `extern "sysv64" fn(exchange, code, remaining) -> token`. Code is a block's entry by way of the jump cache.
    pub enter: usize,
    /// Leaves: R13 holds the next RIP, R14 the token.
    pub leave: usize,
    /// Calls an instruction's handler: R13D holds the packed [`Place`](crate::enter::Place), R14 the `Op`. Returns when
    /// the block can go on, with general registers loaded and vector registers in the processor.
    pub call_out: usize,
    /// Loads the arithmetic flags into the host's. Changes R13 and R14.
    pub load_flags: usize,
    /// Makes bit 0 of `flag_b` the carry. Changes R13, R14 and the host's flags.
    pub settle_carry: usize,
    /// Brings the guest's vector registers and MXCSR in. Changes R14.
    pub vectors_in: usize,
    /// What an empty entry of the jump table points to: leaves with token 0.
    pub no_target: usize,
    /// Has the translation cache know the linear address in R14 as R13D ([`Stretch`](crate::enter::Stretch)) asks. The
    /// frame's `run` is zero when it does. Changes R13, R14 and the host's flags; vector registers are in the
    /// processor then.
    pub bring_in: usize,
    /// Prepares the fast copy of a loop: R14 points to its [`Runs`](crate::loops::Runs). R15 holds the instructions that
    /// it may retire, zero for none, and the rest stands in the frame. Otherwise as `bring_in`.
    pub prepare: usize,
    /// The host has BMI2.
    pub bmi2: bool,
}

/// The functions that thunks call, as addresses.
#[derive(Clone, Copy, Debug)]
pub struct Callees {
    /// Runs the handler of an instruction.
    pub call_out: usize,
    /// Works the flags out.
    pub flags: usize,
    /// Works the carry out.
    pub settle_carry: usize,
    /// Fills the translation cache.
    pub bring_in: usize,
    /// Prepares the fast copy of a loop.
    pub prepare: usize,
}

/// Token: R13 was the next RIP and nothing is to be linked.
pub const PLAIN: u64 = 0;
/// Token: the processor is up to date already, after a call out.
pub const AFTER_CALL: u64 = 1;
/// Tokens from here on name a link.
pub const FIRST_LINK: u64 = 2;

type Assembler = VecAssembler<X64Relocation>;

/// Emits the thunks.
pub fn emit(code: &mut CodeBuffer, callees: Callees, avx: bool) -> Thunks {
    let mut asm = Assembler::new(code.next());
    let base = code.next();
    let enter = base + asm.offset().0;
    emit_enter(&mut asm);
    let vectors_in = base + asm.offset().0;
    emit_vectors_in(&mut asm, avx);
    let vectors_out = asm.new_dynamic_label();
    dynasm!(asm; .arch x64; =>vectors_out);
    emit_vectors_out(&mut asm, avx);
    let leave = base + asm.offset().0;
    let stored = asm.new_dynamic_label();
    dynasm!(asm
        ; .arch x64
        ; mov [rsp + SPILL], rax
        ; mov rax, [rsp + CPU]
    );
    store_registers(&mut asm, 0);
    dynasm!(asm
        ; .arch x64
        ; mov [rax + REGS + 8 * RIP as i32], r13
        ; cmp BYTE [rsp + VECTORS_IN], 0
        ; je =>stored
        ; call =>vectors_out
        ; =>stored
        ; mov rdi, [rsp + EXCHANGE]
    );
    copy(&mut asm, false);
    dynasm!(asm
        ; .arch x64
        ; mov [rdi + REMAINING], r15
        ; mov rax, r14
        ; add rsp, STACK
        ; pop r15
        ; pop r14
        ; pop r13
        ; pop r12
        ; pop rbx
        ; pop rbp
        ; ret
    );
    let call_out = base + asm.offset().0;
    emit_call(&mut asm, callees.call_out, vectors_out);
    dynasm!(asm
        ; .arch x64
        ; test rax, rax
        ; js >out
        ; mov r15, rax
    );
    load_registers(&mut asm, 8);
    dynasm!(asm
        ; .arch x64
        ; ret
        ; out:
        ; mov r14d, AFTER_CALL as i32
        ; add rsp, 8
        ; jmp =>stored
    );
    let load_flags = base + asm.offset().0;
    emit_call(&mut asm, callees.flags, vectors_out);
    // AX: the flags as LAHF and SETO leave them.
    dynasm!(asm
        ; .arch x64
        ; mov r14, rax
    );
    load_registers(&mut asm, 8);
    dynasm!(asm
        ; .arch x64
        ; mov r13, rax
        ; mov rax, r14
        ; add al, 127
        ; sahf
        ; mov rax, r13
        ; ret
    );
    let settle_carry = base + asm.offset().0;
    emit_call(&mut asm, callees.settle_carry, vectors_out);
    load_registers(&mut asm, 8);
    dynasm!(asm; .arch x64; ret);
    let bring_in = base + asm.offset().0;
    emit_call(&mut asm, callees.bring_in, vectors_out);
    dynasm!(asm; .arch x64; mov [rsp + 8 + RUN], rax);
    load_registers(&mut asm, 8);
    dynasm!(asm; .arch x64; ret);
    let prepare = base + asm.offset().0;
    emit_call(&mut asm, callees.prepare, vectors_out);
    load_registers(&mut asm, 8);
    dynasm!(asm; .arch x64; mov r15, [rsp + 8 + RUN]; ret);
    let no_target = base + asm.offset().0;
    dynasm!(asm
        ; .arch x64
        ; xor r14d, r14d
        ; jmp extern leave
    );
    let bytes = asm.finalize().expect("thunks refer to labels that exist");
    code.push(&bytes);
    Thunks {
        enter,
        leave,
        call_out,
        load_flags,
        settle_carry,
        vectors_in,
        no_target,
        bring_in,
        prepare,
        bmi2: is_x86_feature_detected!("bmi2"),
    }
}

fn emit_enter(asm: &mut Assembler) {
    dynasm!(asm
        ; .arch x64
        ; push rbp
        ; push rbx
        ; push r12
        ; push r13
        ; push r14
        ; push r15
        ; sub rsp, STACK
    );
    copy(asm, true);
    dynasm!(asm
        ; .arch x64
        ; mov [rsp + EXCHANGE], rdi
        ; mov r15, rdx
        ; mov r14, rsi
        ; mov rax, [rsp + CPU]
        ; mov r13, [rax + REGS + 8 * RIP as i32]
    );
    load_registers(asm, 0);
    dynasm!(asm; .arch x64; jmp r14);
}

/// Copies the frame from the exchange at RDI, or to it.
fn copy(asm: &mut Assembler, inward: bool) {
    for at in (0..COPIED).step_by(16) {
        if inward {
            dynasm!(asm; .arch x64; movups xmm0, [rdi + at]; movups [rsp + at], xmm0);
        } else {
            dynasm!(asm; .arch x64; movups xmm0, [rsp + at]; movups [rdi + at], xmm0);
        }
    }
}

/// Loads the pinned registers; the frame lies `above` bytes above RSP. RAX comes last.
fn load_registers(asm: &mut Assembler, above: i32) {
    dynasm!(asm; .arch x64; mov rax, [rsp + above + CPU]);
    for (guest, &host) in PINNED.iter().enumerate().skip(1) {
        dynasm!(asm; .arch x64; mov Rq(host), [rax + REGS + 8 * guest as i32]);
    }
    dynasm!(asm; .arch x64; mov rax, [rax + REGS]);
}

/// Stores the pinned registers: RAX points to the processor, the guest's is spilled. Changes RCX.
fn store_registers(asm: &mut Assembler, above: i32) {
    for (guest, &host) in PINNED.iter().enumerate().skip(1) {
        dynasm!(asm; .arch x64; mov [rax + REGS + 8 * guest as i32], Rq(host));
    }
    dynasm!(asm
        ; .arch x64
        ; mov rcx, [rsp + above + SPILL]
        ; mov [rax + REGS], rcx
    );
}

/// Calls `extern "sysv64" fn(&mut StackFrame, op (R14), place (R13D), remaining (R15))` with everything stored.
/// RSP is that of a called function, 8 below the frame.
fn emit_call(asm: &mut Assembler, callee: usize, vectors_out: dynasmrt::DynamicLabel) {
    dynasm!(asm
        ; .arch x64
        ; mov [rsp + 8 + SPILL], rax
        ; mov rax, [rsp + 8 + CPU]
    );
    store_registers(asm, 8);
    dynasm!(asm
        ; .arch x64
        ; cmp BYTE [rsp + 8 + VECTORS_IN], 0
        ; je >call
        ; mov BYTE [rsp + 8 + VECTORS_IN], 0
        ; call =>vectors_out
        ; call:
        ; lea rdi, [rsp + 8]
        ; mov rsi, r14
        ; mov edx, r13d
        ; mov rcx, r15
        ; mov rax, QWORD callee as i64
        ; sub rsp, 8
        ; call rax
        ; add rsp, 8
    );
}

fn emit_vectors_in(asm: &mut Assembler, avx: bool) {
    dynasm!(asm
        ; .arch x64
        ; mov BYTE [rsp + 8 + VECTORS_IN], 1
        ; mov r14, [rsp + 8 + CPU]
        ; ldmxcsr [r14 + MXCSR]
    );
    for n in 0..16u8 {
        let at = VECTORS + i32::from(n) * size_of::<Vector>() as i32;
        if avx {
            dynasm!(asm; .arch x64; vmovups Ry(n), [r14 + at]);
        } else {
            dynasm!(asm; .arch x64; movups Rx(n), [r14 + at]);
        }
    }
    dynasm!(asm; .arch x64; ret);
}

/// RAX points to the processor. Changes RCX.
fn emit_vectors_out(asm: &mut Assembler, avx: bool) {
    for n in 0..16u8 {
        let at = VECTORS + i32::from(n) * size_of::<Vector>() as i32;
        if avx {
            dynasm!(asm; .arch x64; vmovups [rax + at], Ry(n));
        } else {
            dynasm!(asm; .arch x64; movups [rax + at], Rx(n));
        }
    }
    dynasm!(asm
        ; .arch x64
        ; stmxcsr [rax + MXCSR]
        ; push HOST_MXCSR
        ; ldmxcsr [rsp]
        ; pop rcx
    );
    if avx {
        dynasm!(asm; .arch x64; vzeroupper);
    }
    dynasm!(asm; .arch x64; ret);
}
