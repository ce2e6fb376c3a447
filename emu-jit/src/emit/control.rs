//! Jumps, calls, returns, and the stack.

use dynasmrt::{DynamicLabel, DynasmApi, DynasmLabelApi, dynasm};
use emu_core::cpu::RSP;
use iced_x86::{ConditionCode, OpKind, Register};

use super::native::load;
use super::{Cold, Emitter, Failed, LinkSite, R13, R14};
use crate::analysis::{Guest, Kind, Want};
use crate::frame::{JUMPS, PAGE, SPILL};
use crate::jumps;

impl Emitter<'_> {
    /// Size of a stack slot.
    fn slot(&self) -> i32 {
        self.mode.size() as i32 / 8
    }

    /// The guest's RSP plus `distance` into R13, cut to the width of the stack.
    fn stack_address(&mut self, distance: i32) {
        if self.mode.size() == 64 {
            dynasm!(self.asm; .arch x64; lea r13, [r12 + distance]);
        } else {
            dynasm!(self.asm; .arch x64; lea r13d, [r12 + distance]);
        }
    }

    fn move_stack(&mut self, distance: i32) {
        if self.mode.size() == 64 {
            dynasm!(self.asm; .arch x64; lea r12, [r12 + distance]);
        } else {
            dynasm!(self.asm; .arch x64; lea r12d, [r12 + distance]);
        }
    }

    /// Stores R14 at [R13], as wide as a stack slot.
    fn store_slot(&mut self) {
        if self.mode.size() == 64 {
            dynasm!(self.asm; .arch x64; mov [r13], r14);
        } else {
            dynasm!(self.asm; .arch x64; mov [r13], r14d);
        }
    }

    pub(super) fn push(&mut self, guest: &Guest) -> Result<(), Failed> {
        let (miss, back) = self.way_out();
        let slot = self.slot();
        self.stack_address(-slot);
        self.host_address(Register::SS, slot as u32, Want::Write, miss);
        let insn = &guest.insn;
        if insn.op0_kind() == OpKind::Register {
            let register = self.in_register(Self::number(insn.op0_register()), R14);
            if self.mode.size() == 64 {
                dynasm!(self.asm; .arch x64; mov [r13], Rq(register));
            } else {
                dynasm!(self.asm; .arch x64; mov [r13], Rd(register));
            }
        } else {
            let value = insn.immediate(0) as i32;
            if self.mode.size() == 64 {
                dynasm!(self.asm; .arch x64; mov QWORD [r13], value);
            } else {
                dynasm!(self.asm; .arch x64; mov DWORD [r13], value);
            }
        }
        self.move_stack(-slot);
        dynasm!(self.asm; .arch x64; =>back);
        Ok(())
    }

    pub(super) fn pop(&mut self, guest: &Guest) {
        let (miss, back) = self.way_out();
        let slot = self.slot();
        self.stack_address(0);
        self.host_address(Register::SS, slot as u32, Want::Read, miss);
        let number = Self::number(guest.insn.op0_register());
        let register = Self::pinned(number).unwrap_or(R14);
        load(self, register, slot as u32);
        if register == R14 {
            dynasm!(self.asm; .arch x64; mov [rsp + Self::high(number)], r14);
        }
        self.move_stack(slot);
        dynasm!(self.asm; .arch x64; =>back);
    }

    pub(super) fn leave_frame(&mut self) {
        let (miss, back) = self.way_out();
        let slot = self.slot();
        if self.mode.size() == 64 {
            dynasm!(self.asm; .arch x64; mov r13, rbp);
        } else {
            dynasm!(self.asm; .arch x64; mov r13d, ebp);
        }
        self.host_address(Register::SS, slot as u32, Want::Read, miss);
        if self.mode.size() == 64 {
            dynasm!(self.asm; .arch x64; lea r12, [rbp + slot]; mov rbp, [r13]);
        } else {
            dynasm!(self.asm; .arch x64; lea r12d, [rbp + slot]; mov ebp, [r13]);
        }
        dynasm!(self.asm; .arch x64; =>back);
    }

    /// Offset in the page that a near branch goes to.
    fn target(&self, guest: &Guest) -> i64 {
        let target = guest.insn.near_branch_target();
        if self.mode.size() == 64 { target as i64 } else { i64::from(target as i32) }
    }

    pub(super) fn branch(&mut self, guest: &Guest) {
        self.need_flags(guest.reads, true);
        let from = self.asm.new_dynamic_label();
        let target = self.target(guest);
        let left = (self.block.len() - self.index - 1) as i32;
        match guest.insn.condition_code() {
            ConditionCode::o => dynasm!(self.asm; .arch x64; jo =>from),
            ConditionCode::no => dynasm!(self.asm; .arch x64; jno =>from),
            ConditionCode::b => dynasm!(self.asm; .arch x64; jb =>from),
            ConditionCode::ae => dynasm!(self.asm; .arch x64; jae =>from),
            ConditionCode::e => dynasm!(self.asm; .arch x64; je =>from),
            ConditionCode::ne => dynasm!(self.asm; .arch x64; jne =>from),
            ConditionCode::be => dynasm!(self.asm; .arch x64; jbe =>from),
            ConditionCode::a => dynasm!(self.asm; .arch x64; ja =>from),
            ConditionCode::s => dynasm!(self.asm; .arch x64; js =>from),
            ConditionCode::ns => dynasm!(self.asm; .arch x64; jns =>from),
            ConditionCode::p => dynasm!(self.asm; .arch x64; jp =>from),
            ConditionCode::np => dynasm!(self.asm; .arch x64; jnp =>from),
            ConditionCode::l => dynasm!(self.asm; .arch x64; jl =>from),
            ConditionCode::ge => dynasm!(self.asm; .arch x64; jge =>from),
            ConditionCode::le => dynasm!(self.asm; .arch x64; jle =>from),
            _ => dynasm!(self.asm; .arch x64; jg =>from),
        }
        self.cold.push(Cold::Side { from, target, left, state: self.state });
    }

    /// The instruction that ends the block.
    pub(super) fn last(&mut self, guest: &Guest) -> Result<(), Failed> {
        self.state_to_frame();
        match guest.kind {
            Kind::Jump => self.jump_to(self.target(guest)),
            Kind::Call => self.call(guest),
            Kind::Return => self.ret(guest),
            Kind::JumpIndirect | Kind::CallIndirect => self.indirect(guest)?,
            _ => self.call_out(self.index),
        }
        if guest.kind == Kind::Last {
            // What it changed is for the engine to look at, even when the handler saw no reason to stop.
            let next = i32::from(self.offset) + i32::from(guest.op.end);
            dynasm!(self.asm; .arch x64; mov r13, [rsp + PAGE]; lea r13, [r13 + next]);
            self.cut_rip();
            dynasm!(self.asm; .arch x64; xor r14d, r14d; jmp extern self.thunks.leave);
        }
        Ok(())
    }

    /// Goes on at an offset of the page, which may lie outside it. All state is in place, R13 and R14 are free.
    pub(super) fn jump_to(&mut self, target: i64) {
        if self.mode.flat_code() && (0..4096).contains(&target) {
            let token = (self.first_link + self.links.len() as u64) as i32;
            let stub = self.asm.new_dynamic_label();
            dynasm!(self.asm; .arch x64; jmp =>stub);
            let at = self.asm.offset().0 - 4;
            self.links.push(LinkSite { at, target: target as u16 });
            dynasm!(self.asm
                ; .arch x64
                ; =>stub
                ; mov r13, [rsp + PAGE]
                ; lea r13, [r13 + target as i32]
            );
            self.cut_rip();
            dynasm!(self.asm
                ; .arch x64
                ; mov r14d, token
                ; jmp extern self.thunks.leave
            );
            return;
        }
        self.jump_by_cache(target);
    }

    /// The same, by way of the jump cache: to other pages, and to an instruction that goes on in the next page.
    pub(super) fn jump_by_cache(&mut self, target: i64) {
        dynasm!(self.asm; .arch x64; mov r13, [rsp + PAGE]);
        match i32::try_from(target) {
            Ok(distance) => dynasm!(self.asm; .arch x64; lea r13, [r13 + distance]),
            Err(_) => dynasm!(self.asm; .arch x64; mov r14, QWORD target; add r13, r14),
        }
        self.cut_rip();
        if !self.mode.flat_code() {
            dynasm!(self.asm; .arch x64; xor r14d, r14d; jmp extern self.thunks.leave);
            return;
        }
        let miss = self.asm.new_dynamic_label();
        self.cold.push(Cold::Miss { from: miss });
        self.look_up(miss);
        dynasm!(self.asm; .arch x64; jmp QWORD [r14 + 8]);
    }

    /// Finds the entry of the jump cache for the RIP in R13: R14 points to it. Keeps R13.
    fn look_up(&mut self, miss: DynamicLabel) {
        dynasm!(self.asm
            ; .arch x64
            ; mov r14d, r13d
            ; shr r14d, jumps::FOLD as i8
            ; xor r14d, r13d
            ; and r14d, jumps::ENTRIES as i32 - 1
            ; shl r14d, 4
            ; add r14, [rsp + JUMPS]
            ; cmp r13, [r14]
            ; jne =>miss
        );
    }

    /// RIP of the next instruction into R14.
    fn return_address(&mut self, guest: &Guest) {
        let next = i32::from(self.offset) + i32::from(guest.op.end);
        dynasm!(self.asm
            ; .arch x64
            ; mov r14, [rsp + PAGE]
            ; lea r14, [r14 + next]
        );
    }

    fn call(&mut self, guest: &Guest) {
        let (miss, back) = self.way_out();
        let slot = self.slot();
        self.stack_address(-slot);
        self.host_address(Register::SS, slot as u32, Want::Write, miss);
        self.return_address(guest);
        self.store_slot();
        self.move_stack(-slot);
        self.jump_to(self.target(guest));
        // A call out that did not leave has set RIP, so it does leave.
        dynasm!(self.asm; .arch x64; =>back; ud2);
    }

    fn ret(&mut self, guest: &Guest) {
        let (miss, back) = self.way_out();
        let slot = self.slot();
        self.stack_address(0);
        self.host_address(Register::SS, slot as u32, Want::Read, miss);
        load(self, R13, slot as u32);
        self.look_up(miss);
        let more = if guest.insn.op_count() == 1 { i32::from(guest.insn.immediate16()) } else { 0 };
        self.move_stack(slot + more);
        dynasm!(self.asm; .arch x64; jmp QWORD [r14 + 8]; =>back; ud2);
    }

    fn indirect(&mut self, guest: &Guest) -> Result<(), Failed> {
        let (miss, back) = self.way_out();
        let slot = self.slot();
        let insn = &guest.insn;
        if insn.op0_kind() == OpKind::Memory {
            self.effective_address(insn)?;
            self.host_address(insn.memory_segment(), slot as u32, Want::Read, miss);
            load(self, R13, slot as u32);
        } else {
            let register = self.in_register(Self::number(insn.op0_register()), R13);
            if self.mode.size() == 64 {
                dynasm!(self.asm; .arch x64; mov r13, Rq(register));
            } else {
                dynasm!(self.asm; .arch x64; mov r13d, Rd(register));
            }
        }
        self.look_up(miss);
        if guest.kind == Kind::CallIndirect {
            dynasm!(self.asm
                ; .arch x64
                ; mov r14, [r14 + 8]
                ; mov [rsp + SPILL], r13
                ; mov [rsp + SPILL + 8], r14
            );
            self.stack_address(-slot);
            self.host_address(Register::SS, slot as u32, Want::Write, miss);
            self.return_address(guest);
            self.store_slot();
            self.move_stack(-slot);
            dynasm!(self.asm
                ; .arch x64
                ; mov r13, [rsp + SPILL]
                ; jmp QWORD [rsp + SPILL + 8]
            );
        } else {
            dynasm!(self.asm; .arch x64; jmp QWORD [r14 + 8]);
        }
        dynasm!(self.asm; .arch x64; =>back; ud2);
        Ok(())
    }
}

const _: () = assert!(RSP == 4);
