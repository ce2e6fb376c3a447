//! The fixed pieces of host code at the start of the buffer: entry, exit, calls out, and the vector registers' way in
//! and out.

use std::mem::offset_of;

use dynasmrt::x64::X64Relocation;
use dynasmrt::{DynamicLabel, DynasmApi, DynasmLabelApi, VecAssembler, dynasm};
use emu_core::cpu::eflags::{OSZAPC, Writer};
use emu_core::cpu::fpu::{Fpu, Vector};
use emu_core::cpu::{CS, Cpu, RIP, Segment};
use emu_core::mem::PAGE_SIZE;
use emu_core::softfloat::F80;

use crate::code_buffer::CodeBuffer;
use crate::emit::{NOTED, SLOT_MASK};
use crate::enter::{LEAVES, Place};
use crate::frame::{
    COPIED, CPU, EXCHANGE, FLAG_A, FLAG_B, FLAG_WRITER, HALVES, HIGH, JUMPS, JUMPS_MASK, PAGES, PINNED,
    REMAINING, RUN, SPILL, STACK, TLB_READ, TLB_WRITE, VECTORS_IN, WINDOW, X87_AREA, X87_DATA, X87_IN,
    X87_IP, X87_OPCODE, X87_SEGMENT, X87_USED,
};
use crate::pages::{CLEARED, UNKNOWN};
use crate::{functions, jumps};

const REGS: i32 = offset_of!(Cpu, regs) as i32;
const VECTORS: i32 = (offset_of!(Cpu, fpu) + offset_of!(Fpu, vectors)) as i32;
const MXCSR: i32 = (offset_of!(Cpu, fpu) + offset_of!(Fpu, mxcsr)) as i32;
const FPU: i32 = offset_of!(Cpu, fpu) as i32;
const X87_REGS: i32 = FPU + offset_of!(Fpu, regs) as i32;
const SIGNIFICAND: i32 = X87_REGS + offset_of!(F80, significand) as i32;
const SIGN_EXPONENT: i32 = X87_REGS + offset_of!(F80, sign_exponent) as i32;
const CONTROL: i32 = FPU + offset_of!(Fpu, control) as i32;
const STATUS: i32 = FPU + offset_of!(Fpu, status) as i32;
const TOP: i32 = FPU + offset_of!(Fpu, top) as i32;
const VALID: i32 = FPU + offset_of!(Fpu, valid) as i32;
const OPCODE: i32 = FPU + offset_of!(Fpu, opcode) as i32;
const INSTRUCTION: i32 = FPU + offset_of!(Fpu, instruction) as i32;
const DATA: i32 = FPU + offset_of!(Fpu, data) as i32;
/// Within an address: selector and offset.
const SELECTOR: i32 = offset_of!((u16, u64), 0) as i32;
const OFFSET: i32 = offset_of!((u16, u64), 1) as i32;
const SELECTORS: i32 = (offset_of!(Cpu, seg) + offset_of!(Segment, selector)) as i32;
/// In an FXSAVE area: MXCSR, ST(0) and XMM0.
const AREA_MXCSR: i32 = 24;
const AREA_REGS: i32 = 32;
const AREA_VECTORS: i32 = 160;
const _: () = assert!(
    size_of::<F80>() == 16 && offset_of!(F80, significand) == 0 && offset_of!(F80, sign_exponent) == 8
);
/// MXCSR as host code expects it.
const HOST_MXCSR: i32 = 0x1f80;

/// Addresses of the thunks.
#[derive(Clone, Copy, Debug)]
pub struct Thunks {
    /// `extern "sysv64" fn(exchange, code, remaining) -> token`. Code is a block's entry by way of the jump cache.
    pub enter: usize,
    /// Leaves: R13 holds the next RIP, R14 the token.
    pub leave: usize,
    /// Calls an instruction's handler: R13D holds the packed [`Place`], R14 the `Op`. When the block
    /// ends with it the thunk goes to the next one or leaves. Returns when the block can go on, with general
    /// registers loaded and vector registers in the processor.
    pub call_out: usize,
    /// Loads the arithmetic flags into the host's. Changes R13 and R14. Vector registers stay where they are.
    pub load_flags: usize,
    /// Makes bit 0 of `flag_b` the carry. Changes R13, R14 and the host's flags.
    pub settle_carry: usize,
    /// Brings the guest's vector registers and MXCSR in. Changes R14 and the host's flags.
    pub vectors_in: usize,
    /// Brings the guest's x87 state into the host's unit. Changes R13, R14 and the host's flags.
    pub x87_in: usize,
    /// What an empty entry of the jump table points to: leaves with token 0.
    pub no_target: usize,
    /// Has the translation cache know the linear address in R14 as R13D ([`Stretch`](crate::enter::Stretch)) asks. The
    /// frame's `run` is zero when it does. Changes R13, R14 and the host's flags; vector registers are in the
    /// processor then.
    pub bring_in: usize,
    /// Goes on at the RIP in R13 by way of the jump cache, or leaves with token 0.
    pub by_cache: usize,
    /// For R14 bytes on either side of the end of the page that the linear address in R13 lies in: copies them into the
    /// frame's window. R13 is the address there and R14 the linear one then. Sets the host's carry when it cannot: the
    /// access does not cross that end, or the table for reads does not have both pages.
    pub window_read: usize,
    /// The same by the table for writes.
    pub window_write: usize,
    /// Computes the x87 function (see [`crate::functions`]) that R13D has the number of, while the x87 state stays in
    /// the host's unit. Sets the host's zero flag where that cannot be, and nothing has changed. Changes R13, R14 and
    /// the host's flags.
    pub function: usize,
    /// Copies the window back to where it came from. Changes R13, R14 and the host's flags.
    pub window_back: usize,
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
    /// Computes a function of the x87 unit.
    pub function: usize,
}

/// Token: R13 was the next RIP and nothing is to be linked.
pub const PLAIN: u64 = 0;
/// Token: the processor is up to date already, after a call out.
pub const AFTER_CALL: u64 = 1;
/// Tokens from here on name a link.
pub const FIRST_LINK: u64 = 2;

pub(crate) type Assembler = VecAssembler<X64Relocation>;

/// Emits the thunks.
pub fn emit(code: &mut CodeBuffer, callees: Callees, avx: bool) -> Thunks {
    let mut asm = Assembler::new(code.next());
    let base = code.next();
    let enter = base + asm.offset().0;
    emit_enter(&mut asm, avx);
    let vectors_in = base + asm.offset().0;
    emit_vectors_in(&mut asm, avx, 8);
    dynasm!(asm; .arch x64; ret);
    let vectors_out = asm.new_dynamic_label();
    dynasm!(asm; .arch x64; =>vectors_out);
    emit_vectors_out(&mut asm, avx);
    let x87_in = base + asm.offset().0;
    emit_x87_in(&mut asm);
    let x87_out = asm.new_dynamic_label();
    dynasm!(asm; .arch x64; =>x87_out);
    emit_x87_out(&mut asm);
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
        ; cmp BYTE [rsp + X87_IN], 0
        ; je >out
        ; mov rdi, rsp
        ; call =>x87_out
        ; out:
        // As functions expect it.
        ; cmp BYTE [rsp + X87_USED], 0
        ; je >clean
        ; fninit
        ; clean:
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
    emit_call(&mut asm, callees.call_out, vectors_out, Some(x87_out));
    let leaves = asm.new_dynamic_label();
    dynasm!(asm
        ; .arch x64
        ; cmp rax, LEAVES as i32
        ; je =>leaves
        ; mov r15, [rsp + 8 + SPILL + 8]
        ; ja >elsewhere
    );
    load_registers(&mut asm, 8);
    dynasm!(asm
        ; .arch x64
        ; ret
        ; elsewhere:
        ; add rsp, 8
        ; mov r14, rax
        ; mov rax, [rsp + CPU]
        ; mov r13, [rax + REGS + 8 * RIP as i32]
    );
    load_registers(&mut asm, 0);
    dynasm!(asm
        ; .arch x64
        ; jmp r14
        ; =>leaves
        ; mov r14d, AFTER_CALL as i32
        ; add rsp, 8
        ; jmp =>stored
    );
    let load_flags = base + asm.offset().0;
    emit_load_flags(&mut asm, callees.flags, vectors_out, avx);
    let settle_carry = base + asm.offset().0;
    emit_call(&mut asm, callees.settle_carry, vectors_out, None);
    load_registers(&mut asm, 8);
    dynasm!(asm; .arch x64; ret);
    let bring_in = base + asm.offset().0;
    emit_call(&mut asm, callees.bring_in, vectors_out, None);
    dynasm!(asm; .arch x64; mov [rsp + 8 + RUN], rax);
    load_registers(&mut asm, 8);
    dynasm!(asm; .arch x64; ret);
    let no_target = base + asm.offset().0;
    dynasm!(asm
        ; .arch x64
        ; xor r14d, r14d
        ; jmp extern leave
    );
    let by_cache = base + asm.offset().0;
    dynasm!(asm
        ; .arch x64
        ; imul r14d, r13d, jumps::FACTOR
        ; shr r14d, jumps::SHIFT
        ; and r14d, [rsp + JUMPS_MASK]
        ; add r14, [rsp + JUMPS]
        ; cmp r13, [r14]
        ; jne >miss
        ; jmp QWORD [r14 + 8]
        ; miss:
        ; xor r14d, r14d
        ; jmp extern leave
    );
    let window_read = base + asm.offset().0;
    emit_window(&mut asm, TLB_READ);
    let window_write = base + asm.offset().0;
    emit_window(&mut asm, TLB_WRITE);
    let window_back = base + asm.offset().0;
    emit_window_back(&mut asm);
    let function = base + asm.offset().0;
    functions::emit(&mut asm, callees.function);
    let bytes = asm.finalize().expect("thunks refer to labels that exist");
    code.push(&bytes);
    Thunks {
        enter,
        leave,
        call_out,
        load_flags,
        settle_carry,
        vectors_in,
        x87_in,
        no_target,
        bring_in,
        by_cache,
        window_read,
        window_write,
        window_back,
        function,
        bmi2: is_x86_feature_detected!("bmi2"),
    }
}

fn emit_enter(asm: &mut Assembler, avx: bool) {
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
    dynasm!(asm; .arch x64; mov BYTE [rsp + X87_USED], 0);
    dynasm!(asm; .arch x64; mov QWORD [rsp + PAGES + UNKNOWN as i32], -1);
    if avx {
        dynasm!(asm; .arch x64; vxorps xmm0, xmm0, xmm0);
        for at in CLEARED.step_by(32) {
            dynasm!(asm; .arch x64; vmovups [rsp + PAGES + at as i32], ymm0);
        }
        dynasm!(asm; .arch x64; vzeroupper);
    } else {
        dynasm!(asm; .arch x64; xorps xmm0, xmm0);
        for at in CLEARED.step_by(16) {
            dynasm!(asm; .arch x64; movups [rsp + PAGES + at as i32], xmm0);
        }
    }
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

/// Loads the registers, pinned and others; the frame lies `above` bytes above RSP. RAX comes last.
fn load_registers(asm: &mut Assembler, above: i32) {
    dynasm!(asm; .arch x64; mov rax, [rsp + above + CPU]);
    // One by one: they may just have been stored so.
    for n in 0..4 {
        let guest = REGS + 8 * (PINNED.len() as i32 + n);
        dynasm!(asm; .arch x64; mov rcx, [rax + guest]; mov [rsp + above + HIGH + 8 * n], rcx);
    }
    for (guest, &host) in PINNED.iter().enumerate().skip(1) {
        dynasm!(asm; .arch x64; mov Rq(host), [rax + REGS + 8 * guest as i32]);
    }
    dynasm!(asm; .arch x64; mov rax, [rax + REGS]);
}

/// Stores the registers, pinned and others: RAX points to the processor, the guest's is spilled. Changes RCX.
fn store_registers(asm: &mut Assembler, above: i32) {
    for (guest, &host) in PINNED.iter().enumerate().skip(1) {
        dynasm!(asm; .arch x64; mov [rax + REGS + 8 * guest as i32], Rq(host));
    }
    for n in 0..4 {
        let guest = REGS + 8 * (PINNED.len() as i32 + n);
        dynasm!(asm; .arch x64; mov rcx, [rsp + above + HIGH + 8 * n]; mov [rax + guest], rcx);
    }
    dynasm!(asm
        ; .arch x64
        ; mov rcx, [rsp + above + SPILL]
        ; mov [rax + REGS], rcx
    );
}

/// Calls `extern "sysv64" fn(&mut StackFrame, op (R14), place (R13D), remaining (R15))` with everything stored.
/// RSP is that of a called function, 8 below the frame. The x87 state is stored where the place asks for it and the
/// callee may need it; otherwise it stays in the host's unit, which no Rust code uses.
fn emit_call(asm: &mut Assembler, callee: usize, vectors_out: DynamicLabel, x87_out: Option<DynamicLabel>) {
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
    );
    if let Some(x87_out) = x87_out {
        dynasm!(asm
            ; .arch x64
            ; test r13d, Place::X87 as i32
            ; jz >kept
            ; cmp BYTE [rsp + 8 + X87_IN], 0
            ; je >kept
            ; lea rdi, [rsp + 8]
            ; call =>x87_out
            ; kept:
        );
    }
    dynasm!(asm
        ; .arch x64
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

/// The frame lies `above` bytes above RSP. Changes R14 and the host's flags.
fn emit_vectors_in(asm: &mut Assembler, avx: bool, above: i32) {
    dynasm!(asm
        ; .arch x64
        ; mov BYTE [rsp + above + VECTORS_IN], 1
        ; mov r14, [rsp + above + CPU]
        ; ldmxcsr [r14 + MXCSR]
    );
    let at = |n: u8| VECTORS + i32::from(n) * size_of::<Vector>() as i32;
    if avx {
        // High halves that are clear are made so by VZEROUPPER: beside halves that were loaded, each SSE instruction
        // would have to merge its result with what its destination held, and wait for that.
        dynasm!(asm; .arch x64; vmovups xmm0, [r14 + at(0) + 16]);
        for n in 1..16 {
            dynasm!(asm; .arch x64; vorps xmm0, xmm0, [r14 + at(n) + 16]);
        }
        let (wide, done) = (asm.new_dynamic_label(), asm.new_dynamic_label());
        dynasm!(asm; .arch x64; vptest xmm0, xmm0; jnz =>wide; vzeroupper);
        for n in 0..16u8 {
            dynasm!(asm; .arch x64; vmovups Rx(n), [r14 + at(n)]);
        }
        dynasm!(asm; .arch x64; jmp =>done; =>wide);
        for n in 0..16u8 {
            dynasm!(asm; .arch x64; vmovups Ry(n), [r14 + at(n)]);
        }
        dynasm!(asm; .arch x64; =>done);
    } else {
        for n in 0..16u8 {
            dynasm!(asm; .arch x64; movups Rx(n), [r14 + at(n)]);
        }
    }
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

/// SDM vol. 1, "FXSAVE and FXRSTOR Instructions".
fn emit_x87_in(asm: &mut Assembler) {
    const ABOVE: i32 = 8 + 3 * 8;
    dynasm!(asm
        ; .arch x64
        ; push rax
        ; push rcx
        ; push rdx
        ; mov BYTE [rsp + ABOVE + X87_IN], 1
        ; mov BYTE [rsp + ABOVE + X87_USED], 1
        ; mov r14, [rsp + ABOVE + CPU]
        ; mov r13, [rsp + ABOVE + EXCHANGE]
        ; add r13, X87_AREA
        // One store for control, status and tag words: FXRSTOR reads them at once.
        ; movzx eax, BYTE [r14 + VALID]
        ; shl rax, 32
        ; movzx ecx, BYTE [r14 + TOP]
        ; mov edx, ecx
        ; shl edx, 11
        ; or dx, [r14 + STATUS]
        ; shl edx, 16
        ; or rax, rdx
        ; movzx edx, WORD [r14 + CONTROL]
        ; or rax, rdx
        ; mov [r13], rax
        ; shl ecx, 4
        ; sub rsp, 16
        ; movups [rsp], xmm0
    );
    // The same for registers.
    for i in 0..8 {
        dynasm!(asm
            ; .arch x64
            ; movups xmm0, [r14 + rcx + X87_REGS]
            ; movaps [r13 + AREA_REGS + 16 * i], xmm0
            ; add ecx, 16
            ; and ecx, 0x70
        );
    }
    dynasm!(asm; .arch x64; movups xmm0, [rsp]; add rsp, 16);
    // FXRSTOR loads MXCSR and XMM0 to XMM15, too: what they are already, while they are the guest's.
    dynasm!(asm
        ; .arch x64
        ; stmxcsr [r13 + AREA_MXCSR]
        ; cmp BYTE [rsp + ABOVE + VECTORS_IN], 0
        ; je >vectors_elsewhere
    );
    for n in 0..16 {
        dynasm!(asm; .arch x64; movaps [r13 + AREA_VECTORS + 16 * i32::from(n)], Rx(n));
    }
    dynasm!(asm
        ; .arch x64
        ; vectors_elsewhere:
        ; fxrstor64 [r13]
        ; pop rdx
        ; pop rcx
        ; pop rax
        ; ret
    );
}

/// RDI points to the frame. Changes RAX, RCX, RDX, RSI, RDI and the host's flags. The host's unit is left
/// as it is, which no Rust code minds.
fn emit_x87_out(asm: &mut Assembler) {
    dynasm!(asm
        ; .arch x64
        ; mov BYTE [rdi + X87_IN], 0
        ; mov rsi, [rdi + CPU]
        ; movzx eax, WORD [rdi + X87_OPCODE]
        ; test eax, eax
        ; jz >no_instruction
        ; and eax, i32::from(!NOTED)
        ; mov [rsi + OPCODE], ax
        ; mov rax, [rdi + X87_IP]
        ; mov [rsi + INSTRUCTION + OFFSET], rax
        ; movzx eax, WORD [rsi + SELECTORS + (CS * size_of::<Segment>()) as i32]
        ; mov [rsi + INSTRUCTION + SELECTOR], ax
        ; mov WORD [rdi + X87_OPCODE], 0
        ; no_instruction:
        ; movzx eax, WORD [rdi + X87_SEGMENT]
        ; test eax, eax
        ; jz >no_data
        ; and eax, i32::from(!NOTED)
        ; imul eax, eax, size_of::<Segment>() as i32
        ; movzx eax, WORD [rsi + rax + SELECTORS]
        ; mov [rsi + DATA + SELECTOR], ax
        ; mov rax, [rdi + X87_DATA]
        ; mov [rsi + DATA + OFFSET], rax
        ; mov WORD [rdi + X87_SEGMENT], 0
        ; no_data:
        ; mov rdi, [rdi + EXCHANGE]
        ; add rdi, X87_AREA
        ; fxsave64 [rdi]
        ; movzx eax, WORD [rdi]
        ; mov [rsi + CONTROL], ax
        ; movzx ecx, WORD [rdi + 2]
        ; mov eax, ecx
        ; and eax, !0x3800
        ; mov [rsi + STATUS], ax
        ; shr ecx, 11
        ; and ecx, 7
        ; mov [rsi + TOP], cl
        ; mov al, [rdi + 4]
        ; mov [rsi + VALID], al
        ; shl ecx, 4
    );
    for i in 0..8 {
        dynasm!(asm
            ; .arch x64
            ; mov rax, [rdi + AREA_REGS + 16 * i]
            ; mov [rsi + rcx + SIGNIFICAND], rax
            ; movzx eax, WORD [rdi + AREA_REGS + 16 * i + 8]
            ; mov [rsi + rcx + SIGN_EXPONENT], ax
            ; add ecx, 16
            ; and ecx, 0x70
        );
    }
    dynasm!(asm; .arch x64; ret);
}

/// Changes R13, R14 and the host's flags.
fn emit_window(asm: &mut Assembler, table: i32) {
    const ABOVE: i32 = 8 + 5 * 8;
    const PAGE: i32 = PAGE_SIZE as i32;
    dynasm!(asm
        ; .arch x64
        ; push rax
        ; push rcx
        ; push rdx
        ; push rsi
        ; push rdi
        ; mov [rsp + ABOVE + HALVES + 16], r14
        // Offset in the window.
        ; mov eax, r13d
        ; and eax, PAGE - 1
        ; lea eax, [rax + r14 - PAGE]
        ; test eax, eax
        ; jle >none
        // The end of this page.
        ; mov rdx, r13
        ; shr rdx, 8
        ; and edx, SLOT_MASK
        ; add rdx, [rsp + ABOVE + table]
        ; mov rcx, r13
        ; sub rcx, [rdx]
        ; cmp rcx, PAGE - 1
        ; ja >none
        ; mov rsi, [rdx + 8]
        ; add rsi, PAGE
        ; sub rsi, r14
        ; mov [rsp + ABOVE + HALVES], rsi
        // The start of the next one.
        ; lea rdx, [r13 + PAGE - 1]
        ; and rdx, -PAGE
        ; mov rcx, rdx
        ; shr rcx, 8
        ; and ecx, SLOT_MASK
        ; add rcx, [rsp + ABOVE + table]
        ; cmp rdx, [rcx]
        ; jne >none
        ; mov rdx, [rcx + 8]
        ; mov [rsp + ABOVE + HALVES + 8], rdx
        ; lea rdi, [rsp + ABOVE + WINDOW]
    );
    copy_half(asm, 6, 7);
    dynasm!(asm
        ; .arch x64
        ; add rdi, r14
    );
    copy_half(asm, 2, 7);
    dynasm!(asm
        ; .arch x64
        ; mov eax, r13d
        ; and eax, PAGE - 1
        ; lea rdi, [rdi + rax - PAGE]
        ; mov r14, r13
        ; mov r13, rdi
        ; clc
        ; jmp >done
        ; none:
        ; stc
        ; done:
        ; pop rdi
        ; pop rsi
        ; pop rdx
        ; pop rcx
        ; pop rax
        ; ret
    );
}

/// Copies R14 bytes between the addresses in two host registers. Changes RAX, RCX and the host's flags.
fn copy_half(asm: &mut Assembler, from: u8, to: u8) {
    dynasm!(asm
        ; .arch x64
        ; mov ecx, r14d
        ; next:
        ; mov rax, [Rq(from) + rcx - 8]
        ; mov [Rq(to) + rcx - 8], rax
        ; sub ecx, 8
        ; jnz <next
    );
}

fn emit_window_back(asm: &mut Assembler) {
    const ABOVE: i32 = 8 + 3 * 8;
    dynasm!(asm
        ; .arch x64
        ; push rax
        ; push rcx
        ; push rdi
        ; mov r14, [rsp + ABOVE + HALVES + 16]
        ; lea r13, [rsp + ABOVE + WINDOW]
        ; mov rdi, [rsp + ABOVE + HALVES]
    );
    copy_half(asm, 13, 7);
    dynasm!(asm
        ; .arch x64
        ; add r13, r14
        ; mov rdi, [rsp + ABOVE + HALVES + 8]
    );
    copy_half(asm, 13, 7);
    dynasm!(asm
        ; .arch x64
        ; pop rdi
        ; pop rcx
        ; pop rax
        ; ret
    );
}

/// Flags that the most common writers left are made anew by the same operation; the others are worked out.
fn emit_load_flags(asm: &mut Assembler, callee: usize, vectors_out: dynasmrt::DynamicLabel, avx: bool) {
    let word = |writer: Writer, shift: i32| shift << 8 | writer as i32;
    dynasm!(asm
        ; .arch x64
        ; movzx r14d, WORD [rsp + 8 + FLAG_WRITER]
        ; mov r13, [rsp + 8 + FLAG_A]
    );
    for (writer, shift) in [Writer::Sub, Writer::Logic, Writer::Add]
        .iter()
        .flat_map(|&writer| [(writer, 32), (writer, 0), (writer, 56)])
    {
        let other = asm.new_dynamic_label();
        dynasm!(asm; .arch x64; cmp r14d, word(writer, shift); jne =>other);
        match (writer, shift) {
            (Writer::Sub, 32) => dynasm!(asm; .arch x64; cmp r13d, [rsp + 8 + FLAG_B]),
            (Writer::Sub, 0) => dynasm!(asm; .arch x64; cmp r13, [rsp + 8 + FLAG_B]),
            (Writer::Sub, _) => dynasm!(asm; .arch x64; cmp r13b, [rsp + 8 + FLAG_B]),
            (Writer::Add, 32) => dynasm!(asm; .arch x64; add r13d, [rsp + 8 + FLAG_B]),
            (Writer::Add, 0) => dynasm!(asm; .arch x64; add r13, [rsp + 8 + FLAG_B]),
            (Writer::Add, _) => dynasm!(asm; .arch x64; add r13b, [rsp + 8 + FLAG_B]),
            (_, 32) => dynasm!(asm; .arch x64; test r13d, r13d),
            (_, 0) => dynasm!(asm; .arch x64; test r13, r13),
            _ => dynasm!(asm; .arch x64; test r13b, r13b),
        }
        dynasm!(asm; .arch x64; ret; =>other);
    }
    let (vectors, load) = (asm.new_dynamic_label(), asm.new_dynamic_label());
    // What LAHF and SETO left, of which all count.
    dynasm!(asm
        ; .arch x64
        ; cmp r14d, word(Writer::Split, 0)
        ; jne >call
        ; cmp DWORD [rsp + 8 + FLAG_B], OSZAPC as i32
        ; je =>load
        ; call:
        ; movzx r14d, BYTE [rsp + 8 + VECTORS_IN]
        ; mov [rsp + 8 + RUN], r14
    );
    emit_call(asm, callee, vectors_out, None);
    dynasm!(asm; .arch x64; mov r13, rax);
    load_registers(asm, 8);
    dynasm!(asm; .arch x64; cmp QWORD [rsp + 8 + RUN], 0; jne =>vectors);
    dynasm!(asm
        ; .arch x64
        ; =>load
        ; mov r14, rax
        ; mov rax, r13
        ; add al, 127
        ; sahf
        ; mov rax, r14
        ; ret
        ; =>vectors
    );
    emit_vectors_in(asm, avx, 8);
    dynasm!(asm; .arch x64; jmp =>load);
}
