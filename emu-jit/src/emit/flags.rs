//! The guest's arithmetic flags while a block runs.
//!
//! They are in the host's flags as long as nothing of the translator's own disturbs them, and can always be worked
//! out from the operands of their last writer. Where these still stand in registers nothing is stored until
//! somebody looks.

use dynasmrt::{DynasmApi, DynasmLabelApi, dynasm};
use emu_core::cpu::eflags::{AF, CF, OF, OSZAPC, Writer};

use super::{Emitter, R14};
use crate::analysis::Kind;
use crate::effects::Effect;
use crate::frame::{FLAG_A, FLAG_B, FLAG_WRITER, SHIFTED};

/// Where an operand of the last writer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operand {
    /// In its slot of the frame.
    Slot,
    /// In a guest register.
    Reg(u8),
    /// A number.
    Imm(i64),
    /// A guest register plus a number.
    Plus(u8, i32),
    /// The sum of two guest registers.
    Sum(u8, u8),
    /// The first guest register minus the second.
    Difference(u8, u8),
}

/// Who wrote the flags last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The frame says: before the block's first writer, and after a call out.
    Frame,
    /// An instruction of the block.
    Operands { writer: Writer, shift: u8, a: Operand, b: Operand },
    /// A shift by a known count, whose operand stands in the frame as it was. A cold piece may store the flags, and the
    /// way it leads back to still finds it there.
    Shifted { shift: Shift, count: u8, wide: bool },
}

/// A shift.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shift {
    /// SHL.
    Left,
    /// SHR.
    Right,
    /// SAR.
    Arithmetic,
}

/// Flags that a shift by a known count leaves; AF is clear.
pub(super) const OF_SHIFTS: u64 = OSZAPC & !AF;

/// What is known about the flags.
#[derive(Clone, Copy, Debug)]
pub struct State {
    /// Where they can be worked out from.
    pub source: Source,
    /// Which of them are in the host's flags.
    pub host: u64,
    /// The last x87 instruction, where the frame does not know of it yet.
    pub x87: Option<super::x87::Note>,
}

impl Default for State {
    fn default() -> Self {
        Self { source: Source::Frame, host: 0, x87: None }
    }
}

impl Operand {
    fn uses(self, register: u8) -> bool {
        match self {
            Self::Slot | Self::Imm(_) => false,
            Self::Reg(n) | Self::Plus(n, _) => n == register,
            Self::Sum(a, b) | Self::Difference(a, b) => a == register || b == register,
        }
    }
}

/// The frame's `flag_writer`.
fn writer_word(writer: Writer, shift: u8) -> i16 {
    (u16::from(shift) << 8 | writer as u16) as i16
}

impl Emitter<'_> {
    /// The host's flags are lost.
    pub(super) fn flags_lost(&mut self) {
        self.state.host = 0;
    }

    /// Brings the flags into the frame, so that whoever looks next finds them there. Keeps registers but the
    /// scratch ones; may change the host's flags.
    pub(super) fn state_to_frame(&mut self) {
        self.note_to_frame();
        let (writer, shift, a, b) = match self.state.source {
            Source::Frame => return,
            Source::Operands { writer, shift, a, b } => (writer, shift, a, b),
            Source::Shifted { shift, count, wide } => {
                dynasm!(self.asm; .arch x64; mov r14, rax; mov rax, [rsp + SHIFTED]);
                self.shift_again(0, shift, count, wide);
                dynasm!(self.asm
                    ; .arch x64
                    ; lahf
                    ; seto al
                    ; mov [BYTE rsp + FLAG_A as i8], rax
                    ; mov rax, r14
                );
                (Writer::Split, 0, Operand::Slot, Operand::Imm(OF_SHIFTS as i64))
            }
        };
        self.operand_to_slot(a, FLAG_A);
        if writer != Writer::Logic {
            // Theirs do not depend on it.
            self.operand_to_slot(b, FLAG_B);
        }
        let word = writer_word(writer, shift);
        dynasm!(self.asm; .arch x64; mov WORD [BYTE rsp + FLAG_WRITER as i8], word);
        self.state.source = Source::Frame;
    }

    fn operand_to_slot(&mut self, operand: Operand, slot: i32) {
        match operand {
            Operand::Slot => {}
            Operand::Imm(value) if i64::from(value as i32) == value => {
                dynasm!(self.asm; .arch x64; mov QWORD [BYTE rsp + slot as i8], value as i32);
            }
            Operand::Reg(number) => {
                let register = self.in_register(number, R14);
                dynasm!(self.asm; .arch x64; mov [BYTE rsp + slot as i8], Rq(register));
            }
            other => {
                self.operand_to_scratch(other);
                dynasm!(self.asm; .arch x64; mov [BYTE rsp + slot as i8], r14);
            }
        }
    }

    /// Works an operand out into R14. A slot must be that of operand a. May change the host's flags.
    fn operand_to_scratch(&mut self, operand: Operand) {
        match operand {
            Operand::Slot => dynasm!(self.asm; .arch x64; mov r14, [BYTE rsp + FLAG_A as i8]),
            Operand::Imm(value) => dynasm!(self.asm; .arch x64; mov r14, QWORD value),
            Operand::Reg(number) => {
                let register = self.in_register(number, R14);
                if register != R14 {
                    dynasm!(self.asm; .arch x64; mov r14, Rq(register));
                }
            }
            Operand::Plus(number, value) => {
                let register = self.in_register(number, R14);
                dynasm!(self.asm; .arch x64; lea r14, [Rq(register) + value]);
            }
            Operand::Sum(a, b) => {
                let register = self.in_register(a, R14);
                if register != R14 {
                    dynasm!(self.asm; .arch x64; mov r14, Rq(register));
                }
                match Self::pinned(b) {
                    Some(b) => dynasm!(self.asm; .arch x64; add r14, Rq(b)),
                    None => dynasm!(self.asm; .arch x64; add r14, [BYTE rsp + Self::high(b) as i8]),
                }
            }
            Operand::Difference(a, b) => {
                let register = self.in_register(a, R14);
                if register != R14 {
                    dynasm!(self.asm; .arch x64; mov r14, Rq(register));
                }
                match Self::pinned(b) {
                    Some(b) => dynasm!(self.asm; .arch x64; sub r14, Rq(b)),
                    None => dynasm!(self.asm; .arch x64; sub r14, [BYTE rsp + Self::high(b) as i8]),
                }
            }
        }
    }

    /// Shifts what is in a host register, for the flags.
    fn shift_again(&mut self, register: u8, shift: Shift, count: u8, wide: bool) {
        let count = count as i8;
        match (shift, wide) {
            (Shift::Left, true) => dynasm!(self.asm; .arch x64; shl Rq(register), count),
            (Shift::Left, false) => dynasm!(self.asm; .arch x64; shl Rd(register), count),
            (Shift::Right, true) => dynasm!(self.asm; .arch x64; shr Rq(register), count),
            (Shift::Right, false) => dynasm!(self.asm; .arch x64; shr Rd(register), count),
            (Shift::Arithmetic, true) => dynasm!(self.asm; .arch x64; sar Rq(register), count),
            (Shift::Arithmetic, false) => dynasm!(self.asm; .arch x64; sar Rd(register), count),
        }
    }

    /// Makes the host's flags in `mask` the guest's. Changes R14; R13 only where `free` says that nothing is in it.
    pub(super) fn need_flags(&mut self, mask: u64, free: bool) {
        if self.host_has(mask) {
            return;
        }
        if let Source::Operands { writer, shift, a, b } = self.state.source
            && let Some(valid) = self.work_out(mask, writer, shift, a, b)
        {
            self.state.host = valid;
            return;
        }
        if let Source::Shifted { shift, count, wide } = self.state.source
            && mask & AF == 0
        {
            dynasm!(self.asm; .arch x64; mov r14, [rsp + SHIFTED]);
            self.shift_again(R14, shift, count, wide);
            self.state.host = OF_SHIFTS;
            return;
        }
        self.state_to_frame();
        if free {
            self.load_flags();
        } else {
            dynasm!(self.asm; .arch x64; mov [rsp + crate::frame::SPILL + 8], r13);
            self.load_flags();
            dynasm!(self.asm; .arch x64; mov r13, [rsp + crate::frame::SPILL + 8]);
        }
        self.state.host = OSZAPC;
    }

    /// Emits an instruction that leaves the wanted flags, if there is a short one. Says which are right then.
    fn work_out(&mut self, mask: u64, writer: Writer, shift: u8, a: Operand, b: Operand) -> Option<u64> {
        match writer {
            Writer::Sub | Writer::Add => {
                let subtract = writer == Writer::Sub;
                self.operand_to_scratch(a);
                match b {
                    Operand::Imm(value) if i64::from(value as i32) == value => {
                        let value = value as i32;
                        match (shift, subtract) {
                            (0, true) => dynasm!(self.asm; .arch x64; cmp r14, value),
                            (32, true) => dynasm!(self.asm; .arch x64; cmp r14d, value),
                            (48, true) => dynasm!(self.asm; .arch x64; cmp r14w, value as i16),
                            (_, true) => dynasm!(self.asm; .arch x64; cmp r14b, value as i8),
                            (0, false) => dynasm!(self.asm; .arch x64; add r14, value),
                            (32, false) => dynasm!(self.asm; .arch x64; add r14d, value),
                            (48, false) => dynasm!(self.asm; .arch x64; add r14w, value as i16),
                            (_, false) => dynasm!(self.asm; .arch x64; add r14b, value as i8),
                        }
                    }
                    Operand::Slot => self.combine_slot(shift, subtract, FLAG_B),
                    Operand::Reg(number) => match Self::pinned(number) {
                        Some(b) => match (shift, subtract) {
                            (0, true) => dynasm!(self.asm; .arch x64; cmp r14, Rq(b)),
                            (32, true) => dynasm!(self.asm; .arch x64; cmp r14d, Rd(b)),
                            (48, true) => dynasm!(self.asm; .arch x64; cmp r14w, Rw(b)),
                            (_, true) => dynasm!(self.asm; .arch x64; cmp r14b, Rb(b)),
                            (0, false) => dynasm!(self.asm; .arch x64; add r14, Rq(b)),
                            (32, false) => dynasm!(self.asm; .arch x64; add r14d, Rd(b)),
                            (48, false) => dynasm!(self.asm; .arch x64; add r14w, Rw(b)),
                            (_, false) => dynasm!(self.asm; .arch x64; add r14b, Rb(b)),
                        },
                        None => self.combine_slot(shift, subtract, Self::high(number)),
                    },
                    _ => return None,
                }
                Some(OSZAPC)
            }
            Writer::Logic => {
                self.test(a, shift);
                Some(OSZAPC)
            }
            Writer::Inc | Writer::Dec if mask & (CF | OF | AF) == 0 => {
                self.test(a, shift);
                Some(OSZAPC & !(CF | OF | AF))
            }
            Writer::Inc | Writer::Dec | Writer::Product if mask == CF && b == Operand::Slot => {
                dynasm!(self.asm; .arch x64; bt DWORD [BYTE rsp + FLAG_B as i8], 0);
                Some(CF)
            }
            Writer::Split if mask == CF => {
                dynasm!(self.asm; .arch x64; bt DWORD [BYTE rsp + FLAG_A as i8], 8);
                Some(CF)
            }
            _ => None,
        }
    }

    fn combine_slot(&mut self, shift: u8, subtract: bool, slot: i32) {
        match (shift, subtract) {
            (0, true) => dynasm!(self.asm; .arch x64; cmp r14, [BYTE rsp + slot as i8]),
            (32, true) => dynasm!(self.asm; .arch x64; cmp r14d, [BYTE rsp + slot as i8]),
            (48, true) => dynasm!(self.asm; .arch x64; cmp r14w, [BYTE rsp + slot as i8]),
            (_, true) => dynasm!(self.asm; .arch x64; cmp r14b, [BYTE rsp + slot as i8]),
            (0, false) => dynasm!(self.asm; .arch x64; add r14, [BYTE rsp + slot as i8]),
            (32, false) => dynasm!(self.asm; .arch x64; add r14d, [BYTE rsp + slot as i8]),
            (48, false) => dynasm!(self.asm; .arch x64; add r14w, [BYTE rsp + slot as i8]),
            (_, false) => dynasm!(self.asm; .arch x64; add r14b, [BYTE rsp + slot as i8]),
        }
    }

    fn test(&mut self, a: Operand, shift: u8) {
        self.operand_to_scratch(a);
        match shift {
            0 => dynasm!(self.asm; .arch x64; test r14, r14),
            32 => dynasm!(self.asm; .arch x64; test r14d, r14d),
            48 => dynasm!(self.asm; .arch x64; test r14w, r14w),
            _ => dynasm!(self.asm; .arch x64; test r14b, r14b),
        }
    }

    /// Is `operand`, as it is right after the instruction at hand, still good wherever somebody looks at the flags?
    pub(super) fn stays(&self, operand: Operand) -> bool {
        self.stays_after(operand, self.index + 1)
    }

    /// The same for both operands of what is known before instruction `index`.
    pub(super) fn stays_from(&self, source: Source, index: usize) -> bool {
        match source {
            Source::Frame | Source::Shifted { .. } => true,
            Source::Operands { a, b, .. } => self.stays_after(a, index) && self.stays_after(b, index),
        }
    }

    fn stays_after(&self, operand: Operand, index: usize) -> bool {
        let mut changed = false;
        for guest in &self.block[index..] {
            if changed && (guest.observes() || guest.reads != 0 || guest.effect.changes()) {
                return false;
            }
            if guest.effect.writes() == OSZAPC || guest.kind == Kind::CallOut {
                return true;
            }
            changed |= (0..16).any(|n| guest.written >> n & 1 != 0 && operand.uses(n));
        }
        !changed
    }

    /// Notes who wrote the flags, with the host's flags still as that instruction left them.
    pub(super) fn wrote(&mut self, writer: Writer, shift: u8, a: Operand, b: Operand, host: u64) {
        self.state = State { source: Source::Operands { writer, shift, a, b }, host, ..self.state };
    }

    /// Stores the host's flags, of which `mask` count and the others are clear. Keeps the host's flags and R13.
    pub(super) fn save_split(&mut self, mask: u64) {
        dynasm!(self.asm
            ; .arch x64
            ; mov r14, rax
            ; lahf
            ; seto al
            ; mov [BYTE rsp + FLAG_A as i8], rax
            ; mov rax, r14
        );
        self.wrote(Writer::Split, 0, Operand::Slot, Operand::Imm(mask as i64), mask);
    }

    /// The carry as the guest has it now, into operand slot b. Keeps R13 only when the host has it already.
    pub(super) fn carry_to_slot(&mut self) {
        if !self.host_has(CF) {
            let cheap = match self.state.source {
                Source::Frame => false,
                Source::Shifted { .. } => true,
                Source::Operands { writer, b, .. } => match writer {
                    Writer::Inc | Writer::Dec | Writer::Product => {
                        if b == Operand::Slot {
                            // It is there.
                            return;
                        }
                        false
                    }
                    Writer::Add | Writer::Sub | Writer::Logic | Writer::Split => true,
                    _ => false,
                },
            };
            if !cheap {
                self.state_to_frame();
                self.settle_carry();
                return;
            }
            self.need_flags(CF, false);
        }
        dynasm!(self.asm; .arch x64; setc [BYTE rsp + FLAG_B as i8]);
    }

    /// With the flags in the frame: has the carry put into slot b, unless it is there.
    fn settle_carry(&mut self) {
        let there = self.asm.new_dynamic_label();
        dynasm!(self.asm
            ; .arch x64
            ; mov r14b, [BYTE rsp + FLAG_WRITER as i8]
            ; sub r14b, Writer::Inc as i8
            ; cmp r14b, (Writer::Product as i8) - (Writer::Inc as i8)
            ; jbe =>there
            ; mov [rsp + crate::frame::SPILL + 8], r13
            ; call extern self.thunks.settle_carry
        );
        self.vectors_back();
        dynasm!(self.asm
            ; .arch x64
            ; mov r13, [rsp + crate::frame::SPILL + 8]
            ; =>there
        );
        self.state.host = 0;
    }

    /// Notes the effect of an instruction that ran on the host's silicon and whose flags nobody looks at.
    pub(super) fn unseen(&mut self, effect: Effect) {
        match effect {
            Effect::None => {}
            _ => self.flags_lost(),
        }
    }
}
