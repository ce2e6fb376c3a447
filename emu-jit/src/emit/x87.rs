//! What x87 instructions leave behind beside their result: FIP, FOP and FDP. They are noted while a block is emitted,
//! and stored where somebody may look, together with the flags.

use dynasmrt::{DynamicLabel, DynasmApi, DynasmLabelApi, dynasm};

use iced_x86::Instruction;

use super::{Cold, Emitter, Failed, R14};
use crate::analysis::{Guest, Kind};
use crate::frame::{X87_DATA, X87_IP, X87_OPCODE, X87_SEGMENT, X87_SLOTS};
use crate::{functions, x87};

/// In the frame's words for opcode and segment: there is one.
pub const NOTED: u16 = 1 << 15;

/// The last instruction of the block that set FIP.
#[derive(Clone, Copy, Debug)]
pub struct Note {
    /// FOP.
    opcode: u16,
    /// Offset from the start of the page.
    start: i32,
    /// The last memory operand: segment register, and which slot has its effective address.
    data: Option<(u8, u8)>,
}

impl Emitter<'_> {
    /// Keeps the effective address of an instruction that may yet fault. Returns its slot.
    pub(super) fn keep_data_address(&mut self, insn: &Instruction) -> Result<u8, Failed> {
        self.effective_address(insn)?;
        let slot = match self.state.x87 {
            Some(Note { data: Some((_, 0)), .. }) => 1,
            _ => 0,
        };
        dynasm!(self.asm; .arch x64; mov [rsp + X87_SLOTS + 8 * i32::from(slot)], r13);
        Ok(slot)
    }

    /// Jumps to `miss` unless the control word at [R13] masks all exceptions and has no reserved bit set. Changes R14.
    pub(super) fn only_masked(&mut self, miss: DynamicLabel) {
        dynasm!(self.asm
            ; .arch x64
            ; movzx r14d, WORD [r13]
            ; and r14d, 0xe0bf
            ; cmp r14d, 0x3f
            ; jne =>miss
        );
    }

    /// A transcendental function of the unit, without its handler where that can be. False for other instructions and
    /// modes. All state has to be in the frame.
    pub(super) fn x87_function(&mut self, index: usize) -> bool {
        let guest = &self.block[index];
        let Some(function) = functions::number(guest.insn.mnemonic()) else { return false };
        if guest.kind != Kind::CallOut || !self.mode.x87() {
            return false;
        }
        let (from, back) = (self.asm.new_dynamic_label(), self.asm.new_dynamic_label());
        dynasm!(self.asm
            ; .arch x64
            ; mov r13d, function as i32
            ; call extern self.thunks.function
            ; jz =>from
        );
        self.note(guest, None);
        self.note_to_frame();
        self.cold.push(Cold::CallOut { from, back, index, state: self.state, window: None });
        dynasm!(self.asm; .arch x64; =>back);
        true
    }

    /// Notes an instruction; `slot` has the address of its memory operand.
    pub(super) fn note(&mut self, guest: &Guest, slot: Option<u8>) {
        if !x87::notes(&guest.insn) {
            return;
        }
        let before = self.state.x87.and_then(|note| note.data);
        let segment = guest.op.segment() as u8;
        self.state.x87 = Some(Note {
            opcode: guest.op.imm as u16,
            start: i32::from(self.offset) + i32::from(guest.op.start()),
            data: slot.map(|slot| (segment, slot)).or(before),
        });
    }

    /// Stores what is noted. Changes R14, keeps the host's flags.
    pub(super) fn note_to_frame(&mut self) {
        let Some(note) = self.state.x87.take() else { return };
        dynasm!(self.asm
            ; .arch x64
            ; mov r14, [rsp + crate::frame::PAGE]
            ; lea r14, [r14 + note.start]
        );
        if self.mode.size() != 64 {
            dynasm!(self.asm; .arch x64; mov Rd(R14), Rd(R14));
        }
        dynasm!(self.asm
            ; .arch x64
            ; mov [rsp + X87_IP], r14
            ; mov WORD [rsp + X87_OPCODE], (note.opcode | NOTED) as i16
        );
        if let Some((segment, slot)) = note.data {
            dynasm!(self.asm
                ; .arch x64
                ; mov r14, [rsp + X87_SLOTS + 8 * i32::from(slot)]
                ; mov [rsp + X87_DATA], r14
                ; mov WORD [rsp + X87_SEGMENT], (u16::from(segment) | NOTED) as i16
            );
        }
    }
}
