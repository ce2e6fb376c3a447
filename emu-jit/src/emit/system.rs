//! System instructions of the way into and out of a kernel, done where they stand instead of by their handlers.

use std::mem::offset_of;

use dynasmrt::{DynasmApi, DynasmLabelApi, dynasm};
use emu_core::cpu::eflags::{Flags, IF};
use emu_core::cpu::msr::Msrs;
use emu_core::cpu::segment_register::Segment;
use emu_core::cpu::{Cpu, GS};
use iced_x86::Mnemonic as M;

use super::{Cold, Emitter};
use crate::frame::{CPU, GS_BASE, SPILL};

const CPL: i32 = offset_of!(Cpu, cpl) as i32;
const SYSTEM_FLAGS: i32 = (offset_of!(Cpu, flags) + Flags::SYSTEM) as i32;
const BASE_OF_GS: i32 = (offset_of!(Cpu, seg) + GS * size_of::<Segment>() + offset_of!(Segment, base)) as i32;
const KERNEL_GS_BASE: i32 = (offset_of!(Cpu, msrs) + offset_of!(Msrs, kernel_gs_base)) as i32;

impl Emitter<'_> {
    /// SWAPGS and CLI at CPL 0, where they are always permitted. False for other instructions and modes. The flags have to be
    /// in the frame; the host's are changed.
    pub(super) fn system(&mut self, index: usize) -> bool {
        let mnemonic = self.block[index].insn.mnemonic();
        if self.mode.user() || self.mode.size() != 64 || !matches!(mnemonic, M::Swapgs | M::Cli) {
            return false;
        }
        let (from, back) = (self.asm.new_dynamic_label(), self.asm.new_dynamic_label());
        self.cold.push(Cold::CallOut { from, back, index, state: self.state, window: None });
        dynasm!(self.asm
            ; .arch x64
            ; mov r13, [BYTE rsp + CPU as i8]
            ; cmp BYTE [r13 + CPL], 0
            ; jne =>from
        );
        if mnemonic == M::Cli {
            let others = !(IF as i32);
            dynasm!(self.asm; .arch x64; and QWORD [r13 + SYSTEM_FLAGS], others);
        } else {
            dynasm!(self.asm
                ; .arch x64
                ; mov r14, [r13 + KERNEL_GS_BASE]
                ; mov [BYTE rsp + SPILL as i8], r14
                ; mov [r13 + BASE_OF_GS], r14
                ; mov r14, [BYTE rsp + GS_BASE as i8]
                ; mov [r13 + KERNEL_GS_BASE], r14
                ; mov r14, [BYTE rsp + SPILL as i8]
                ; mov [BYTE rsp + GS_BASE as i8], r14
            );
        }
        dynasm!(self.asm; .arch x64; =>back);
        true
    }
}
