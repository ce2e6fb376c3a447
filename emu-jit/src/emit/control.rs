//! Jumps, calls, returns, and the stack.

use dynasmrt::{DynamicLabel, DynasmApi, DynasmLabelApi, dynasm};
use emu_core::cpu::eflags::{OF, OSZAPC, RF, VM};
use emu_core::cpu::{RBP, RSP};
use emu_core::decode::MAX_LENGTH;
use emu_core::mem::PAGE_SIZE;
use iced_x86::{ConditionCode, OpKind};

use super::memory::Address;
use super::system::SYSTEM_FLAGS;
use super::{Cold, Emitter, Failed, LinkSite, R13, R14};
use crate::analysis::{Guest, Kind, Want};
use crate::frame::{CPU, JUMPS, JUMPS_MASK, PAGE, SPILL};
use crate::groups::Way;
use crate::jumps;

impl Emitter<'_> {
    /// Size of a stack slot.
    fn slot(&self) -> i32 {
        self.mode.size() as i32 / 8
    }

    fn move_stack(&mut self, distance: i32) {
        let size = self.mode.size();
        self.keeping(|emitter| match (size, distance) {
            (64, -128..128) => dynasm!(emitter.asm; .arch x64; lea r12, [BYTE r12 + distance as i8]),
            (64, _) => dynasm!(emitter.asm; .arch x64; lea r12, [r12 + distance]),
            (32, _) => dynasm!(emitter.asm; .arch x64; lea r12d, [r12 + distance]),
            _ => dynasm!(emitter.asm; .arch x64; lea r12w, [r12 + distance]),
        });
    }

    /// Finds the place of the stack slot of an instruction, `distance` from a register.
    fn stack_slot(
        &mut self,
        guest: &Guest,
        base: usize,
        distance: i32,
        want: Want,
        miss: DynamicLabel,
    ) -> Result<(), Failed> {
        self.reach(Address::Stack(base as u8, distance), guest.stack, self.slot() as u32, want, miss)
    }

    pub(super) fn push(&mut self, guest: &Guest) -> Result<(), Failed> {
        let (miss, back) = self.way_out_of(guest.stack);
        let slot = self.slot();
        self.stack_slot(guest, RSP, -slot, Want::Write, miss)?;
        self.store_operand(guest)?;
        self.move_stack(-slot);
        dynasm!(self.asm; .arch x64; =>back);
        Ok(())
    }

    fn store_operand(&mut self, guest: &Guest) -> Result<(), Failed> {
        let insn = &guest.insn;
        if insn.op0_kind() == OpKind::Register {
            let register = self.in_register(Self::number(insn.op0_register()), R14);
            self.store_slot(register)
        } else {
            self.store_number(insn.immediate(0) as i32)
        }
    }

    /// How many PUSH, or how many POP, from here on find their slots by one check, so that RSP may move at last.
    pub(super) fn stack_run(&self, index: usize) -> usize {
        let first = &self.block[index];
        let group = match first.stack {
            Way::First { group, .. } | Way::Member { group, .. } => group,
            _ => return 1,
        };
        let fits = |guest: &Guest| {
            let plain = guest.kind == Kind::Push
                || guest.kind == Kind::Pop && usize::from(Self::number(guest.insn.op0_register())) != RSP;
            plain && guest.kind == first.kind
        };
        if self.in_fast || self.mode.size() != 64 || !fits(first) {
            return 1;
        }
        let others = self.block[index + 1..].iter();
        1 + others
            .take_while(|guest| fits(guest) && guest.stack == Way::Member { group, folds: false })
            .count()
    }

    /// Emits those.
    pub(super) fn several_on_stack(&mut self, index: usize, count: usize) -> Result<(), Failed> {
        let first = &self.block[index];
        let (miss, back) = self.way_out_of(first.stack);
        let pushes = first.kind == Kind::Push;
        let (slot, want) = if pushes { (-self.slot(), Want::Write) } else { (self.slot(), Want::Read) };
        self.stack_slot(first, RSP, slot.min(0), want, miss)?;
        let place = self.place;
        for nth in 0..count {
            self.index = index + nth;
            self.place = place.beside(i64::from(slot) * nth as i64);
            let guest = &self.block[index + nth];
            if pushes { self.store_operand(guest)? } else { self.load_operand(guest)? }
        }
        self.move_stack(slot * count as i32);
        dynasm!(self.asm; .arch x64; =>back);
        Ok(())
    }

    pub(super) fn push_memory(&mut self, guest: &Guest) -> Result<(), Failed> {
        let (miss, back) = self.way_out();
        let slot = self.slot();
        self.reach(Address::Operand(&guest.insn), guest.operand, slot as u32, Want::Read, miss)?;
        self.load(R13, slot as u32)?;
        dynasm!(self.asm; .arch x64; mov [rsp + SPILL], r13);
        self.stack_slot(guest, RSP, -slot, Want::Write, miss)?;
        dynasm!(self.asm; .arch x64; mov r14, [rsp + SPILL]);
        self.store_slot(R14)?;
        self.move_stack(-slot);
        dynasm!(self.asm; .arch x64; =>back);
        Ok(())
    }

    pub(super) fn push_flags(&mut self, guest: &Guest) -> Result<(), Failed> {
        let (miss, back) = self.way_out_of(guest.stack);
        let slot = self.slot();
        let others = !(OSZAPC | RF | VM) as i32;
        self.need_flags(OSZAPC, true);
        dynasm!(self.asm
            ; .arch x64
            ; mov r14, rax
            ; lahf
            ; seto al
            ; movzx r13d, al
            ; shl r13d, OF.trailing_zeros() as i8
            ; movzx eax, ah
            ; and eax, (OSZAPC & 0xff) as i32
            ; or r13d, eax
            ; mov rax, [BYTE rsp + CPU as i8]
            ; mov eax, [rax + SYSTEM_FLAGS]
            ; and eax, others
            ; or r13d, eax
            ; mov rax, r14
            ; mov [rsp + SPILL], r13
        );
        self.flags_lost();
        self.stack_slot(guest, RSP, -slot, Want::Write, miss)?;
        dynasm!(self.asm; .arch x64; mov r14, [rsp + SPILL]);
        self.store_slot(R14)?;
        self.move_stack(-slot);
        dynasm!(self.asm; .arch x64; =>back);
        Ok(())
    }

    pub(super) fn pop(&mut self, guest: &Guest) -> Result<(), Failed> {
        let (miss, back) = self.way_out_of(guest.stack);
        let slot = self.slot();
        self.stack_slot(guest, RSP, 0, Want::Read, miss)?;
        self.load_operand(guest)?;
        if usize::from(Self::number(guest.insn.op0_register())) != RSP {
            self.move_stack(slot);
        }
        dynasm!(self.asm; .arch x64; =>back);
        Ok(())
    }

    fn load_operand(&mut self, guest: &Guest) -> Result<(), Failed> {
        let number = Self::number(guest.insn.op0_register());
        let register = Self::pinned(number).unwrap_or(R14);
        if self.mode.size() == 16 {
            self.load(R14, 2)?;
            dynasm!(self.asm; .arch x64; mov Rw(register), r14w);
            return Ok(());
        }
        self.load(register, self.slot() as u32)?;
        if register == R14 {
            dynasm!(self.asm; .arch x64; mov [BYTE rsp + Self::high(number) as i8], r14);
        }
        Ok(())
    }

    pub(super) fn leave_frame(&mut self, guest: &Guest) -> Result<(), Failed> {
        let (miss, back) = self.way_out_of(guest.stack);
        let slot = self.slot();
        self.stack_slot(guest, RBP, 0, Want::Read, miss)?;
        match self.mode.size() {
            64 => dynasm!(self.asm; .arch x64; lea r12, [rbp + slot]),
            32 => dynasm!(self.asm; .arch x64; lea r12d, [rbp + slot]),
            _ => {
                dynasm!(self.asm; .arch x64; lea r12w, [rbp + slot]);
                self.load(R14, 2)?;
                dynasm!(self.asm; .arch x64; mov bp, r14w);
            }
        }
        if self.mode.size() != 16 {
            self.load(RBP as u8, slot as u32)?;
        }
        dynasm!(self.asm; .arch x64; =>back);
        Ok(())
    }

    /// Offset in the page that a near branch goes to.
    fn target(&self, guest: &Guest) -> i64 {
        let target = guest.insn.near_branch_target();
        if self.mode.size() == 64 { target as i64 } else { i64::from(target as i32) }
    }

    pub(super) fn branch(&mut self, guest: &Guest) {
        self.need_flags(guest.reads, true);
        let from = self.asm.new_dynamic_label();
        let target = if guest.turns {
            self.jump_unless(guest, from)
        } else {
            self.keeping(|emitter| emitter.jump_if(guest.insn.condition_code(), from));
            self.target(guest)
        };
        let left = (self.block.len() - self.index - 1) as i8;
        self.cold.push(Cold::Side { from, target, left, index: self.index, state: self.state });
    }

    /// LOOP. It writes the counter, so no flags are worked out from that behind it.
    pub(super) fn branch_by_count(&mut self, guest: &Guest) {
        self.count(-1);
        match self.mode.size() {
            64 => dynasm!(self.asm; .arch x64; test rcx, rcx),
            32 => dynasm!(self.asm; .arch x64; test ecx, ecx),
            _ => dynasm!(self.asm; .arch x64; test cx, cx),
        }
        self.flags_lost();
        let from = self.asm.new_dynamic_label();
        dynasm!(self.asm; .arch x64; jnz =>from);
        let (target, left) = (self.target(guest), (self.block.len() - self.index - 1) as i8);
        self.cold.push(Cold::Side { from, target, left, index: self.index, state: self.state });
    }

    /// Adds to the counter. Keeps the host's flags.
    fn count(&mut self, by: i8) {
        match self.mode.size() {
            64 => dynasm!(self.asm; .arch x64; lea rcx, [BYTE rcx + by]),
            32 => dynasm!(self.asm; .arch x64; lea ecx, [BYTE rcx + by]),
            _ => dynasm!(self.asm; .arch x64; lea cx, [BYTE rcx + by]),
        }
    }

    /// The conditional jump that leads back to the start of a loop: the way out is the one that is not taken.
    pub(super) fn branch_back(&mut self, guest: &Guest) {
        self.need_flags(guest.reads, true);
        let from = self.asm.new_dynamic_label();
        let target = self.jump_unless(guest, from);
        self.cold.push(Cold::Side { from, target, left: 0, index: self.index, state: self.state });
    }

    /// Jumps where a conditional jump is not taken, and says to which offset in the page that leads.
    fn jump_unless(&mut self, guest: &Guest, to: DynamicLabel) -> i64 {
        let mut other = guest.insn;
        other.negate_condition_code();
        self.keeping(|emitter| emitter.jump_if(other.condition_code(), to));
        i64::from(self.offset) + i64::from(guest.op.end)
    }

    fn jump_if(&mut self, condition: ConditionCode, to: DynamicLabel) {
        match condition {
            ConditionCode::o => dynasm!(self.asm; .arch x64; jo =>to),
            ConditionCode::no => dynasm!(self.asm; .arch x64; jno =>to),
            ConditionCode::b => dynasm!(self.asm; .arch x64; jb =>to),
            ConditionCode::ae => dynasm!(self.asm; .arch x64; jae =>to),
            ConditionCode::e => dynasm!(self.asm; .arch x64; je =>to),
            ConditionCode::ne => dynasm!(self.asm; .arch x64; jne =>to),
            ConditionCode::be => dynasm!(self.asm; .arch x64; jbe =>to),
            ConditionCode::a => dynasm!(self.asm; .arch x64; ja =>to),
            ConditionCode::s => dynasm!(self.asm; .arch x64; js =>to),
            ConditionCode::ns => dynasm!(self.asm; .arch x64; jns =>to),
            ConditionCode::p => dynasm!(self.asm; .arch x64; jp =>to),
            ConditionCode::np => dynasm!(self.asm; .arch x64; jnp =>to),
            ConditionCode::l => dynasm!(self.asm; .arch x64; jl =>to),
            ConditionCode::ge => dynasm!(self.asm; .arch x64; jge =>to),
            ConditionCode::le => dynasm!(self.asm; .arch x64; jle =>to),
            _ => dynasm!(self.asm; .arch x64; jg =>to),
        }
    }

    /// The instruction that ends the block.
    pub(super) fn last(&mut self, guest: &Guest) -> Result<(), Failed> {
        self.state_to_frame();
        match guest.kind {
            Kind::Jump => self.jump(self.target(guest)),
            Kind::Call => self.call(guest)?,
            Kind::Return => self.ret(guest)?,
            Kind::JumpIndirect | Kind::CallIndirect => self.indirect(guest)?,
            _ => self.call_out(self.index),
        }
        if guest.kind == Kind::Last {
            // Behind its handler it went on elsewhere. What was changed here is for the engine to look at.
            let next = i32::from(self.offset) + i32::from(guest.op.end);
            dynasm!(self.asm; .arch x64; mov r13, [BYTE rsp + PAGE as i8]; lea r13, [r13 + next]);
            self.cut_rip();
            dynasm!(self.asm; .arch x64; xor r14d, r14d; jmp extern self.thunks.leave);
        }
        Ok(())
    }

    /// The jump that ends the block. All state is in place, R13 and R14 are free.
    fn jump(&mut self, target: i64) {
        if self.mode.is_linked() {
            self.jump_to(target, false)
        } else {
            self.jump_checked(target, self.index)
        }
    }

    /// Goes on at an offset of the page where the code segment's limit may not reach, or RIP wraps: the jump cache
    /// leads to places within it alone, and the handler of instruction `index` sees to all others.
    pub(super) fn jump_checked(&mut self, target: i64, index: usize) {
        let miss = self.asm.new_dynamic_label();
        self.target_to_r13(target);
        self.look_up(miss);
        let left = (self.block.len() - index - 1) as i8;
        if left != 0 {
            dynasm!(self.asm; .arch x64; add r15, BYTE left);
        }
        dynasm!(self.asm; .arch x64; jmp QWORD [r14 + 8]; =>miss);
        if self.block[index].kind == Kind::Loop {
            // The handler counts itself.
            self.count(1);
        }
        self.call_handler(index);
        // It has set RIP, so it does not come back.
        dynasm!(self.asm; .arch x64; ud2);
    }

    /// RIP at an offset of the page that a jump leads to.
    fn target_to_r13(&mut self, target: i64) {
        let distance = target as i32;
        dynasm!(self.asm; .arch x64; mov r13, [BYTE rsp + PAGE as i8]; lea r13, [r13 + distance]);
        self.cut_target();
    }

    /// Goes on at an offset of the page, which may lie outside it (not for a careful block). All state is in place, R13
    /// and R14 are free.
    pub(super) fn jump_to(&mut self, target: i64, careful: bool) {
        // An instruction that may go on in the next page is not linked. Those of a careful block do not.
        let last = if careful { PAGE_SIZE as usize - 1 } else { PAGE_SIZE as usize - MAX_LENGTH };
        if self.mode.is_linked() && (0..=last as i64).contains(&target) {
            let token = (self.first_link + self.links.len() as u64) as i32;
            let stub = self.asm.new_dynamic_label();
            dynasm!(self.asm; .arch x64; jmp =>stub);
            let at = self.asm.offset().0 - 4;
            dynasm!(self.asm
                ; .arch x64
                ; =>stub
                ; mov r13, [BYTE rsp + PAGE as i8]
                ; lea r13, [r13 + target as i32]
            );
            self.cut_rip();
            dynasm!(self.asm
                ; .arch x64
                ; mov r14d, token
                ; jmp extern self.thunks.leave
            );
            let leave = self.asm.offset().0 - 4;
            self.links.push(LinkSite { at, leave, target: target as u16, careful });
            return;
        }
        self.jump_by_cache(target);
    }

    /// The same, by way of the jump cache: to other pages, and to an instruction that goes on in the next page.
    pub(super) fn jump_by_cache(&mut self, target: i64) {
        dynasm!(self.asm; .arch x64; mov r13, [BYTE rsp + PAGE as i8]);
        match i32::try_from(target) {
            Ok(distance) => dynasm!(self.asm; .arch x64; lea r13, [r13 + distance]),
            Err(_) => dynasm!(self.asm; .arch x64; mov r14, QWORD target; add r13, r14),
        }
        self.cut_rip();
        let miss = self.asm.new_dynamic_label();
        self.cold.push(Cold::Miss { from: miss });
        self.look_up(miss);
        dynasm!(self.asm; .arch x64; jmp QWORD [r14 + 8]);
    }

    /// Finds the entry of the jump cache for the RIP in R13: R14 points to it. Keeps R13.
    fn look_up(&mut self, miss: DynamicLabel) {
        dynasm!(self.asm
            ; .arch x64
            ; imul r14d, r13d, jumps::FACTOR
            ; shr r14d, jumps::SHIFT
            ; and r14d, [BYTE rsp + JUMPS_MASK as i8]
            ; add r14, [BYTE rsp + JUMPS as i8]
            ; cmp r13, [r14]
            ; jne =>miss
        );
    }

    /// RIP of the next instruction into R14.
    fn return_address(&mut self, guest: &Guest) {
        let next = i32::from(self.offset) + i32::from(guest.op.end);
        dynasm!(self.asm
            ; .arch x64
            ; mov r14, [BYTE rsp + PAGE as i8]
            ; lea r14, [r14 + next]
        );
    }

    fn call(&mut self, guest: &Guest) -> Result<(), Failed> {
        if !self.mode.is_linked() {
            let (miss, back) = self.way_out();
            self.target_to_r13(self.target(guest));
            return self.call_r13(guest, miss, back);
        }
        let (miss, back) = self.way_out_of(guest.stack);
        let slot = self.slot();
        self.stack_slot(guest, RSP, -slot, Want::Write, miss)?;
        self.return_address(guest);
        self.store_slot(R14)?;
        self.move_stack(-slot);
        self.jump_to(self.target(guest), false);
        // A call out that did not leave has set RIP, so it does leave.
        dynasm!(self.asm; .arch x64; =>back; ud2);
        Ok(())
    }

    fn ret(&mut self, guest: &Guest) -> Result<(), Failed> {
        let (miss, back) = self.way_out();
        let slot = self.slot();
        self.stack_slot(guest, RSP, 0, Want::Read, miss)?;
        self.load(R13, slot as u32)?;
        self.look_up(miss);
        let more = if guest.insn.op_count() == 1 { i32::from(guest.insn.immediate16()) } else { 0 };
        self.move_stack(slot + more);
        dynasm!(self.asm; .arch x64; jmp QWORD [r14 + 8]; =>back; ud2);
        Ok(())
    }

    fn indirect(&mut self, guest: &Guest) -> Result<(), Failed> {
        let (miss, back) = self.way_out();
        let slot = self.slot();
        let insn = &guest.insn;
        if insn.op0_kind() == OpKind::Memory {
            self.reach(Address::Operand(insn), guest.operand, slot as u32, Want::Read, miss)?;
            self.load(R13, slot as u32)?;
        } else {
            let register = self.in_register(Self::number(insn.op0_register()), R13);
            match self.mode.size() {
                64 => dynasm!(self.asm; .arch x64; mov r13, Rq(register)),
                32 => dynasm!(self.asm; .arch x64; mov r13d, Rd(register)),
                _ => dynasm!(self.asm; .arch x64; movzx r13d, Rw(register)),
            }
        }
        if guest.kind == Kind::CallIndirect {
            return self.call_r13(guest, miss, back);
        }
        self.look_up(miss);
        dynasm!(self.asm; .arch x64; jmp QWORD [r14 + 8]; =>back; ud2);
        Ok(())
    }

    /// Calls the RIP in R13, if the jump cache knows it.
    fn call_r13(&mut self, guest: &Guest, miss: DynamicLabel, back: DynamicLabel) -> Result<(), Failed> {
        let slot = self.slot();
        self.look_up(miss);
        dynasm!(self.asm
            ; .arch x64
            ; mov r14, [r14 + 8]
            ; mov [rsp + SPILL], r13
            ; mov [rsp + SPILL + 8], r14
        );
        self.stack_slot(guest, RSP, -slot, Want::Write, miss)?;
        self.return_address(guest);
        self.store_slot(R14)?;
        self.move_stack(-slot);
        dynasm!(self.asm
            ; .arch x64
            ; mov r13, [rsp + SPILL]
            ; jmp QWORD [rsp + SPILL + 8]
            ; =>back
            ; ud2
        );
        Ok(())
    }
}

const _: () = assert!(RSP == 4);
