//! Accesses that lie in two pages: the bytes around the seam are copied into a window on the stack, where they are in
//! one piece, and for a store back again.
//!
//! Both pages must be known to the translation cache. Otherwise, and for everything but loads and plain stores of
//! 64-bit code, the instruction's handler makes the access.

use dynasmrt::{DynamicLabel, DynasmApi, DynasmLabelApi, dynasm};
use iced_x86::{Instruction, Mnemonic as M};

use super::memory::Spot;
use super::{Emitter, Failed};
use crate::analysis::{Guest, Want, needs_alignment};
use crate::groups::Way;

/// Most bytes of an access by a window.
pub const WIDEST: u32 = 32;

/// How an instruction whose access was missed goes on with a window.
#[derive(Clone, Copy)]
pub(super) struct Window {
    /// Bytes of either page that are in it, a multiple of 8.
    half: i32,
    /// A load goes on here.
    load: Option<DynamicLabel>,
    /// With the distance of the address in R13, not the address.
    distance: bool,
}

impl Emitter<'_> {
    /// The window for the memory operand of an instruction whose place was just worked out, if it may have one.
    pub(super) fn window_for(&self, guest: &Guest, insn: &Instruction) -> Option<Window> {
        let (want, size) = guest.access?;
        let whole = matches!(size, 2 | 4 | 8 | 16 | WIDEST) && !guest.x87;
        let aligns = needs_alignment(insn) && !guest.aligned;
        if !whole || aligns || guest.operand != Way::Checked || self.mode.size() != 64 {
            return None;
        }
        let load = match want {
            Want::Read => Some(self.back),
            Want::Write if stores(insn) => None,
            Want::Write => return None,
        };
        Some(Window { half: size.max(8) as i32, load, distance: self.place != Spot::R13 })
    }

    /// The access in R13 (from the start of its page's entry in R14) by the window, unless it is none for it.
    pub(super) fn by_window(
        &mut self,
        window: Window,
        index: usize,
        back: DynamicLabel,
    ) -> Result<(), Failed> {
        let handler = self.asm.new_dynamic_label();
        dynasm!(self.asm; .arch x64; add r13, [r14]; mov r14d, window.half);
        match window.load {
            Some(load) => {
                dynasm!(self.asm; .arch x64; call extern self.thunks.window_read; jc =>handler);
                if window.distance {
                    dynasm!(self.asm; .arch x64; sub r13, r14);
                }
                dynasm!(self.asm; .arch x64; jmp =>load);
            }
            None => {
                dynasm!(self.asm; .arch x64; call extern self.thunks.window_write; jc =>handler);
                self.place = Spot::R13;
                let guest = &self.block[index];
                let insn = super::native::for_64_bits(&guest.insn);
                self.replaced(guest, &insn)?;
                dynasm!(self.asm; .arch x64; call extern self.thunks.window_back; jmp =>back);
            }
        }
        dynasm!(self.asm; .arch x64; =>handler);
        Ok(())
    }
}

/// Does an instruction that writes memory nothing else?
fn stores(insn: &Instruction) -> bool {
    matches!(
        insn.mnemonic(),
        M::Mov
            | M::Movups
            | M::Movupd
            | M::Movdqu
            | M::Movss
            | M::Movsd
            | M::Movd
            | M::Movq
            | M::Vmovups
            | M::Vmovupd
            | M::Vmovdqu
            | M::Vmovss
            | M::Vmovsd
            | M::Vmovd
            | M::Vmovq
    )
}
