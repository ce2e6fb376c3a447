//! The fast copies of loops, see [`crate::loops`].

use dynasmrt::{DynamicLabel, DynasmApi, DynasmLabelApi, dynasm};
use emu_core::mem::PAGE_SIZE;
use iced_x86::{Code, Instruction, MemoryOperand, Register};

use super::flags::State;
use super::{Cold, Emitter, Failed, R13, R14};
use crate::analysis::{Guest, Want};
use crate::frame::{DISTANCES, PAGE, REST, ROUNDS, RUN, SPILL};
use crate::loops::{FEW, LATER, MOST, Run, SOON};

impl<'a> Emitter<'a> {
    /// Is there a fast copy that needs to be prepared?
    pub(super) fn prepares(&self) -> bool {
        self.fast.is_some_and(|fast| !fast.runs.is_empty())
    }

    /// How often the block is run for so many rounds of its loop, of which it may hold several.
    pub(super) fn turns(&self, rounds: i32) -> i32 {
        let in_block = self.rounds_in_block();
        (rounds + in_block - 1) / in_block
    }

    fn rounds_in_block(&self) -> i32 {
        1 + self.block.iter().filter(|guest| guest.turns).count() as i32
    }

    /// The fast copy of the loop. False when it cannot begin with the flags as the first copy left them.
    pub(super) fn fast_copy(&mut self, block: &'a [Guest]) -> Result<bool, Failed> {
        self.in_fast = true;
        self.block = block;
        self.state = State { source: self.start, ..State::default() };
        if !self.stays_from(self.start, 0) {
            return Ok(false);
        }
        let count = block.len() as i8;
        let from = self.asm.new_dynamic_label();
        dynasm!(self.asm
            ; .arch x64
            ; =>self.labels.fast
            ; sub r15, BYTE count
            ; js =>from
        );
        self.cold.push(Cold::Spent { from, state: self.state });
        self.body()?;
        Ok(self.state.source == self.start)
    }

    /// Back to the start of the loop, with all effects in place.
    pub(super) fn back(&mut self) {
        self.note_to_frame();
        if self.stored {
            self.state_to_frame();
        }
        if self.in_fast {
            dynasm!(self.asm; .arch x64; jmp =>self.labels.fast);
            return;
        }
        self.start = self.state.source;
        if self.prepares() {
            self.cold.push(Cold::Prepare { from: self.labels.prepare, state: self.state });
            dynasm!(self.asm; .arch x64; dec DWORD [rsp + ROUNDS]; jz =>self.labels.prepare);
            self.state_to_frame();
            dynasm!(self.asm; .arch x64; jmp =>self.labels.again);
        } else {
            dynasm!(self.asm; .arch x64; jmp =>self.labels.fast);
        }
    }

    /// Gives back the part of the budget that the fast copy does not know of.
    pub(super) fn give_back(&mut self) {
        if self.in_fast && self.prepares() {
            dynasm!(self.asm; .arch x64; add r15, [rsp + REST]);
        }
    }

    /// The fast copy has used its budget up.
    pub(super) fn spent(&mut self, from: DynamicLabel, state: State) {
        dynasm!(self.asm; .arch x64; =>from);
        if self.prepares() {
            let count = self.block.len() as i8;
            dynasm!(self.asm; .arch x64; add r15, BYTE count);
            self.give_back();
            dynasm!(self.asm; .arch x64; jmp =>self.labels.prepare);
        } else {
            self.state = state;
            self.state_to_frame();
            dynasm!(self.asm; .arch x64; jmp =>self.labels.fail);
        }
    }

    /// Finds the pages of all runs and for how many rounds they stay there, and starts the fast copy with that budget.
    pub(super) fn prepare(&mut self, from: DynamicLabel, state: State) -> Result<(), Failed> {
        let Some(fast) = self.fast else { return Ok(()) };
        let (none, unknown) = (self.asm.new_dynamic_label(), self.asm.new_dynamic_label());
        dynasm!(self.asm
            ; .arch x64
            ; =>from
            ; mov QWORD [rsp + RUN], MOST
        );
        for (number, run) in fast.runs.iter().enumerate() {
            self.prepare_run(number, run, unknown)?;
        }
        let (count, few) = (self.block.len() as i8, self.turns(FEW));
        dynasm!(self.asm
            ; .arch x64
            ; mov r13, [rsp + RUN]
            ; cmp r13, few
            ; jb =>none
            ; imul r13, r13, BYTE count
            ; cmp r13, r15
            ; ja =>unknown
            ; mov r14, r15
            ; sub r14, r13
            ; mov [rsp + REST], r14
            ; mov r15, r13
        );
        for (run, register) in self.pins.registers() {
            let (to, slot) = (register.number() as u8, DISTANCES + 8 * i32::from(run));
            dynasm!(self.asm; .arch x64; mov Rq(to), [rsp + slot]);
        }
        dynasm!(self.asm; .arch x64; jmp =>self.labels.fast; =>none);
        let never = fast.runs.iter().any(|run| run.stride.unsigned_abs() * few as u64 > PAGE_SIZE);
        let soon = self.turns(SOON);
        let patience = if never { self.turns(LATER) } else { soon };
        let again = self.asm.new_dynamic_label();
        if self.rounds_in_block() > 1 && !never {
            // The end of a page is near, where the check for all rounds of the block would fail.
            self.state = state;
            self.state_to_frame();
            self.jump_to(i64::from(self.offset), true);
        } else {
            dynasm!(self.asm; .arch x64; mov DWORD [rsp + ROUNDS], patience; jmp =>again);
        }
        dynasm!(self.asm
            ; .arch x64
            ; =>unknown
            ; mov DWORD [rsp + ROUNDS], soon
            ; =>again
        );
        self.state = state;
        self.state_to_frame();
        dynasm!(self.asm; .arch x64; jmp =>self.labels.again);
        Ok(())
    }

    /// One run: its distance into its slot, and its rounds into the frame if they are the fewest.
    fn prepare_run(&mut self, number: usize, run: &Run, unknown: DynamicLabel) -> Result<(), Failed> {
        let part = |emitter: &mut Self, register: Option<u8>, scratch: u8| {
            register.map_or(Register::None, |number| {
                Register::RAX + u32::from(emitter.in_register(number, scratch))
            })
        };
        let base = part(self, run.base, R13);
        let index = part(self, run.index.map(|(number, _)| number), R14);
        let scale = run.index.map_or(1, |(_, scale)| scale);
        if base == Register::None && index == Register::None {
            dynasm!(self.asm; .arch x64; mov r13, run.low as i32);
        } else {
            let operand = MemoryOperand::new(
                base,
                index,
                scale,
                run.low,
                u32::from(run.low != 0), // as short as it fits
                false,
                Register::None,
            );
            let (code, to) = match self.mode.size() {
                64 => (Code::Lea_r64_m, Register::R13),
                _ => (Code::Lea_r32_m, Register::R13D),
            };
            let lea = Instruction::with2(code, to, operand).map_err(|_| Failed { index: self.index })?;
            self.encode(&lea)?;
        }
        if self.mode.size() != 64 {
            dynasm!(self.asm; .arch x64; mov r13d, r13d);
        }
        if run.page {
            dynasm!(self.asm; .arch x64; add r13, [BYTE rsp + PAGE as i8]);
        }
        self.add_segment_base(run.segment);
        let span = (run.high - run.low) as i32;
        self.find_entry(span as u32, if run.write { Want::Write } else { Want::Read }, unknown);
        if let Some((at, size)) = run.aligned {
            let more = (at - run.low) as i32;
            dynasm!(self.asm
                ; .arch x64
                ; add r13, more
                ; test r13, size as i32 - 1
                ; jnz =>unknown
                ; sub r13, more
            );
        }
        dynasm!(self.asm; .arch x64; mov [rsp + SPILL], r13);
        let recent = self.fast.map_or(&[][..], |fast| &fast.recent);
        for page in (0..recent.len()).filter(|&page| recent[page] == number) {
            self.remember(page as u8);
        }
        dynasm!(self.asm; .arch x64; mov r13, [r14 + 8]; sub r13, [r14]);
        if run.page {
            dynasm!(self.asm; .arch x64; add r13, [BYTE rsp + PAGE as i8]);
        }
        self.add_segment_base(run.segment);
        if let Some(base) = run.base.filter(|_| run.folds_base) {
            let base = self.in_register(base, R14);
            dynasm!(self.asm; .arch x64; add r13, Rq(base));
        }
        if let Some((index, scale)) = run.index.filter(|_| run.folds_index) {
            let index = self.in_register(index, R14);
            match scale {
                1 => dynasm!(self.asm; .arch x64; add r13, Rq(index)),
                2 => dynasm!(self.asm; .arch x64; lea r13, [r13 + Rq(index) * 2]),
                4 => dynasm!(self.asm; .arch x64; lea r13, [r13 + Rq(index) * 4]),
                _ => dynasm!(self.asm; .arch x64; lea r13, [r13 + Rq(index) * 8]),
            }
        }
        let slot = DISTANCES + 8 * number as i32;
        dynasm!(self.asm; .arch x64; mov [rsp + slot], r13);
        if run.stride != 0 {
            dynasm!(self.asm; .arch x64; mov r13, [rsp + SPILL]);
            if run.stride > 0 {
                dynasm!(self.asm; .arch x64; neg r13; add r13, PAGE_SIZE as i32 - span);
            }
            let (factor, shift) = run.division();
            let fewer = self.asm.new_dynamic_label();
            dynasm!(self.asm
                ; .arch x64
                ; imul r13, r13, factor
                ; shr r13, shift
                ; add r13, 1
                ; cmp r13, [rsp + RUN]
                ; jae =>fewer
                ; mov [rsp + RUN], r13
                ; =>fewer
            );
        }
        Ok(())
    }
}
