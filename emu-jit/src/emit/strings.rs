//! REP MOVS and REP STOS of 64-bit code and of flat 32-bit code where they stand, on the host's own string units: from
//! page end to page end.

use std::mem::offset_of;

use dynasmrt::{DynasmApi, DynasmLabelApi, dynasm};
use emu_core::cpu::eflags::DF;
use emu_core::cpu::{Counters, Cpu};
use emu_core::mem::PAGE_SIZE;
use iced_x86::{Mnemonic as M, OpKind, Register};

use super::system::SYSTEM_FLAGS;
use super::{Cold, Emitter, R13, R14};
use crate::analysis::{Want, repeats};
use crate::frame::{CPU, SPILL, WITHIN};

const ITERATIONS: i32 = (offset_of!(Cpu, counters) + offset_of!(Counters, rep_iterations)) as i32;

const RCX: u8 = 1;
const RSI: u8 = 6;
const RDI: u8 = 7;

impl Emitter<'_> {
    /// A repeated string instruction that moves or stores, upward. False for other instructions and modes. The flags
    /// have to be in the frame; the host's are changed. Its handler does what it does not: no repetitions, DF set,
    /// pages that the translation cache does not have, elements across their ends, and what goes beyond the deadline.
    pub(super) fn repeated(&mut self, index: usize) -> bool {
        let insn = &self.block[index].insn;
        let (bytes, moves) = match insn.mnemonic() {
            M::Movsb => (1, true),
            M::Movsw => (2, true),
            M::Movsd => (4, true),
            M::Movsq => (8, true),
            M::Stosb => (1, false),
            M::Stosw => (2, false),
            M::Stosd => (4, false),
            M::Stosq => (8, false),
            _ => return false,
        };
        let long = self.mode.size() == 64;
        let (to, source) = match self.mode.size() {
            64 => (OpKind::MemoryESRDI, OpKind::MemorySegRSI),
            32 if self.mode.flat() => (OpKind::MemoryESEDI, OpKind::MemorySegESI),
            _ => return false,
        };
        let flat = match insn.memory_segment() {
            Register::FS | Register::GS => false,
            Register::CS => long,
            _ => true,
        };
        let wide = insn.op0_kind() == to && (!moves || insn.op1_kind() == source && flat);
        if !repeats(insn) || !wide {
            return false;
        }
        let (from, back) = (self.asm.new_dynamic_label(), self.asm.new_dynamic_label());
        self.cold.push(Cold::CallOut { from, back, index, state: self.state, window: None });
        let again = self.asm.new_dynamic_label();
        dynasm!(self.asm
            ; .arch x64
            ; mov r13, [BYTE rsp + CPU as i8]
            ; test DWORD [r13 + SYSTEM_FLAGS], DF as i32
            ; jnz =>from
            ; =>again
        );
        // The high halves of registers are none of 32-bit code's, until it writes them.
        self.copy(R14, RCX, long);
        dynasm!(self.asm; .arch x64; test r14, r14; jz =>from; mov [rsp + WITHIN], r14);
        // In `WITHIN`: repetitions for which there is room.
        let pages = [(RSI, Want::Read, SPILL), (RDI, Want::Write, SPILL + 8)];
        for (register, want, host) in pages.into_iter().skip(usize::from(!moves)) {
            let enough = self.asm.new_dynamic_label();
            self.copy(R13, register, long);
            self.find_entry(bytes, want, from);
            dynasm!(self.asm
                ; .arch x64
                ; mov r14, [r14 + 8]
                ; add r14, r13
                ; mov [rsp + host], r14
                ; mov r14d, PAGE_SIZE as i32
                ; sub r14, r13
                ; shr r14, bytes.trailing_zeros() as i8
                ; cmp r14, [rsp + WITHIN]
                ; jae =>enough
                ; mov [rsp + WITHIN], r14
                ; =>enough
            );
        }
        dynasm!(self.asm
            ; .arch x64
            ; mov r14, [rsp + WITHIN]
            ; cmp r14, r15
            ; ja =>from
            ; sub r15, r14
            ; mov r13, [BYTE rsp + CPU as i8]
            ; add [r13 + ITERATIONS], r14
        );
        match long {
            true => dynasm!(self.asm; .arch x64; sub rcx, r14),
            false => dynasm!(self.asm; .arch x64; sub ecx, r14d),
        }
        dynasm!(self.asm
            ; .arch x64
            ; mov [rsp + WITHIN], rcx
            ; mov rcx, r14
            ; mov r14, rdi
            ; mov rdi, [rsp + SPILL + 8]
        );
        if moves {
            dynasm!(self.asm; .arch x64; mov r13, rsi; mov rsi, [rsp + SPILL]);
        }
        match (moves, bytes) {
            (true, 1) => dynasm!(self.asm; .arch x64; rep movsb),
            (true, 2) => dynasm!(self.asm; .arch x64; rep movsw),
            (true, 4) => dynasm!(self.asm; .arch x64; rep movsd),
            (true, _) => dynasm!(self.asm; .arch x64; rep movsq),
            (_, 1) => dynasm!(self.asm; .arch x64; rep stosb),
            (_, 2) => dynasm!(self.asm; .arch x64; rep stosw),
            (_, 4) => dynasm!(self.asm; .arch x64; rep stosd),
            _ => dynasm!(self.asm; .arch x64; rep stosq),
        }
        if moves {
            dynasm!(self.asm; .arch x64; sub rsi, [rsp + SPILL]);
            match long {
                true => dynasm!(self.asm; .arch x64; add rsi, r13),
                false => dynasm!(self.asm; .arch x64; add esi, r13d),
            }
        }
        dynasm!(self.asm; .arch x64; sub rdi, [rsp + SPILL + 8]);
        match long {
            true => dynasm!(self.asm; .arch x64; add rdi, r14),
            false => dynasm!(self.asm; .arch x64; add edi, r14d),
        }
        dynasm!(self.asm
            ; .arch x64
            ; mov rcx, [rsp + WITHIN]
            ; test rcx, rcx
            ; jnz =>again
            // The instruction itself counts as one of its repetitions.
            ; add r15, 1
            ; mov r13, [BYTE rsp + CPU as i8]
            ; dec QWORD [r13 + ITERATIONS]
            ; =>back
        );
        true
    }

    /// A register as code of this width sees it.
    fn copy(&mut self, to: u8, from: u8, long: bool) {
        match long {
            true => dynasm!(self.asm; .arch x64; mov Rq(to), Rq(from)),
            false => dynasm!(self.asm; .arch x64; mov Rd(to), Rd(from)),
        }
    }
}
