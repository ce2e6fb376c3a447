//! Instructions of the way into and out of a kernel, done where they stand instead of by their handlers.

use std::mem::offset_of;

use dynasmrt::{DynasmApi, DynasmLabelApi, dynasm};
use emu_core::cpu::control::CR4_TSD;
use emu_core::cpu::eflags::{Flags, IF};
use emu_core::cpu::msr::Msrs;
use emu_core::cpu::segment_register::Segment;
use emu_core::cpu::{Clock, Cpu, GS, System};
use iced_x86::Mnemonic as M;

use super::{Cold, Emitter};
use crate::analysis::Kind;
use crate::frame::{CPU, GS_BASE, SPILL};

const _: () = assert!(size_of::<Option<Box<System>>>() == size_of::<usize>());

const CPL: i32 = offset_of!(Cpu, cpl) as i32;
pub(super) const SYSTEM_FLAGS: i32 = (offset_of!(Cpu, flags) + Flags::SYSTEM) as i32;
const BASE_OF_GS: i32 = (offset_of!(Cpu, seg) + GS * size_of::<Segment>() + offset_of!(Segment, base)) as i32;
const PROCESSORS: i32 = offset_of!(Cpu, processors) as i32;
const CR4: i32 = offset_of!(Cpu, cr4) as i32;
const DEADLINE: i32 = offset_of!(Cpu, deadline) as i32;
const TSC_OFFSET: i32 = (offset_of!(Cpu, msrs) + offset_of!(Msrs, tsc_offset)) as i32;
const TSC_AUX: i32 = (offset_of!(Cpu, msrs) + offset_of!(Msrs, tsc_aux)) as i32;
const OUTSIDE: i32 = offset_of!(Cpu, outside) as i32;
const CLOCK_BASE: i32 = (offset_of!(System, clock) + offset_of!(Clock, base)) as i32;
const CLOCK_AT: i32 = (offset_of!(System, clock) + offset_of!(Clock, at)) as i32;
const KERNEL_GS_BASE: i32 = (offset_of!(Cpu, msrs) + offset_of!(Msrs, kernel_gs_base)) as i32;

impl Emitter<'_> {
    /// PAUSE of a lone processor; RDTSC and RDTSCP, unless they are reserved to CPL 0; SWAPGS and CLI at CPL 0, where
    /// they are always permitted. False for other instructions and modes. The flags have to be in the frame; the
    /// host's are changed.
    pub(super) fn system(&mut self, index: usize) -> bool {
        let guest = &self.block[index];
        let mnemonic = guest.insn.mnemonic();
        let known = match mnemonic {
            // The handler of one that the model lacks ends the block.
            _ if guest.kind != Kind::CallOut => false,
            M::Rdtsc | M::Rdtscp | M::Pause => true,
            M::Swapgs => !self.mode.user() && self.mode.size() == 64,
            M::Cli => !self.mode.user() && self.mode.size() != 16,
            _ => false,
        };
        if !known {
            return false;
        }
        let (from, back) = (self.asm.new_dynamic_label(), self.asm.new_dynamic_label());
        self.cold.push(Cold::CallOut { from, back, index, state: self.state, window: None });
        dynasm!(self.asm; .arch x64; mov r13, [BYTE rsp + CPU as i8]);
        if mnemonic == M::Pause {
            dynasm!(self.asm; .arch x64; cmp DWORD [r13 + PROCESSORS], 1; jne =>from);
        } else if matches!(mnemonic, M::Rdtsc | M::Rdtscp) {
            dynasm!(self.asm; .arch x64; test DWORD [r13 + CR4], CR4_TSD as i32; jnz =>from);
            self.read_time_stamp(index);
            if mnemonic == M::Rdtscp {
                dynasm!(self.asm; .arch x64; mov rcx, [r13 + TSC_AUX]);
            }
        } else {
            dynasm!(self.asm; .arch x64; cmp BYTE [r13 + CPL], 0; jne =>from);
            match mnemonic {
                M::Cli => {
                    let others = !(IF as i32);
                    dynasm!(self.asm; .arch x64; and QWORD [r13 + SYSTEM_FLAGS], others);
                }
                _ => self.swap_gs(),
            }
        }
        dynasm!(self.asm; .arch x64; =>back);
        true
    }

    /// The time stamp into EDX:EAX, from the processor in R13. All but what R15 counts has been counted as retired.
    fn read_time_stamp(&mut self, index: usize) {
        let ahead = (self.block.len() - index) as i32;
        dynasm!(self.asm
            ; .arch x64
            ; mov r14, [r13 + OUTSIDE]
            ; mov rax, [r14 + CLOCK_BASE]
            ; sub rax, [r14 + CLOCK_AT]
            ; add rax, [r13 + TSC_OFFSET]
            ; add rax, [r13 + DEADLINE]
            ; sub rax, r15
            ; sub rax, ahead
            ; mov rdx, rax
            ; shr rdx, 32
            ; mov eax, eax
        );
    }

    /// Exchanges the base of GS, which is in the frame too, with IA32_KERNEL_GS_BASE. The processor is in R13.
    fn swap_gs(&mut self) {
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
}
