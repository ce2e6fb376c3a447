//! Memory accesses by way of the page that they met last, see [`crate::pages`].

use dynasmrt::{DynamicLabel, DynasmApi, DynasmLabelApi, dynasm};
use iced_x86::{Instruction, Register};

use super::memory::{Address, Spot, moved};
use super::{Cold, Emitter, Failed};
use crate::analysis::Want;
use crate::frame::{GROUPS, WITHIN};
use crate::pages::Slot;

impl Emitter<'_> {
    /// The slot for an access of user code.
    pub(super) fn slot_for(&mut self, address: Address<'_>, size: u32, want: Want) -> Option<Slot> {
        if !self.mode.user() {
            return None;
        }
        let stack = match address {
            Address::Stack(..) => true,
            Address::Operand(insn) => {
                insn.memory_index() == Register::None && insn.memory_base().full_register() == Register::RSP
            }
        };
        // Not one where a group has its distance.
        let free = |slot: &Slot| !self.distances.contains(&Some(*slot));
        if stack && let Some(slot) = Slot::new(None, size, want).filter(free) {
            return Some(slot);
        }
        let next = (1..=2 * GROUPS).map(|more| self.places + more);
        let (places, slot) = next
            .map(|place| (place, Slot::new(Some(place), size, want)))
            .find(|(_, slot)| slot.as_ref().is_none_or(free))?;
        self.places = places;
        slot
    }

    /// Finds the host's place of an access. Changes R13, R14 and the host's flags.
    pub(super) fn reach_by_slot(
        &mut self,
        address: Address<'_>,
        slot: Slot,
        size: u32,
        want: Want,
        miss: DynamicLabel,
    ) -> Result<(), Failed> {
        if let Some((base, displacement)) = self.plain(address, 0) {
            self.sum_to_r14(base, displacement);
            self.check_slot(slot, size, want, miss, false);
            dynasm!(self.asm; .arch x64; mov r13, [rsp + slot.distance()]);
            self.slot_back();
            self.place = Spot::based(Register::RAX + u32::from(base), displacement.into());
            return Ok(());
        }
        self.offset_of(address, 0)?;
        self.segment(address.segment(), size, want, miss);
        dynasm!(self.asm; .arch x64; mov r14, r13);
        self.check_slot(slot, size, want, miss, true);
        dynasm!(self.asm; .arch x64; add r13, [rsp + slot.distance()]);
        self.slot_back();
        self.place = Spot::R13;
        Ok(())
    }

    /// Brings the distance of the page of an address, `below` bytes lower, into R13.
    pub(super) fn distance_by_slot(
        &mut self,
        address: Address<'_>,
        below: i32,
        slot: Slot,
        size: u32,
        want: Want,
        miss: DynamicLabel,
    ) -> Result<(), Failed> {
        match self.plain(address, -below) {
            Some((base, displacement)) => self.sum_to_r14(base, displacement),
            None => match address {
                Address::Operand(insn) if self.mode.size() == 64 && !has_base(insn) => {
                    self.effective_address_to(&moved(insn, -below), Register::R14)?;
                }
                _ => {
                    self.offset_of(address, -below)?;
                    self.segment(address.segment(), 1, want, miss);
                    dynasm!(self.asm; .arch x64; mov r14, r13);
                }
            },
        }
        self.check_slot(slot, size, want, miss, false);
        dynasm!(self.asm; .arch x64; mov r13, [rsp + slot.distance()]);
        self.slot_back();
        Ok(())
    }

    fn sum_to_r14(&mut self, base: u8, number: i32) {
        match number {
            0 => dynasm!(self.asm; .arch x64; mov r14, Rq(base)),
            -128..128 => dynasm!(self.asm; .arch x64; lea r14, [BYTE Rq(base) + number as i8]),
            _ => dynasm!(self.asm; .arch x64; lea r14, [Rq(base) + number]),
        }
    }

    /// The host register and the number that an address is the sum of with `more`, where it is.
    fn plain(&self, address: Address<'_>, more: i32) -> Option<(u8, i32)> {
        if self.mode.size() != 64 {
            return None;
        }
        match address {
            Address::Stack(base, distance) => Some((Self::pinned(base)?, distance + more)),
            Address::Operand(insn) => {
                let plain =
                    insn.memory_base().is_gpr64() && insn.memory_index() == Register::None && !has_base(insn);
                let base = plain.then(|| Self::pinned(Self::number(insn.memory_base())))??;
                let number = i32::try_from(insn.memory_displacement64() as i64).ok()?;
                Some((base, number.checked_add(more)?))
            }
        }
    }

    /// Compares the linear address in R14 with the slot's page. What is emitted next loads the slot's distance.
    fn check_slot(&mut self, slot: Slot, size: u32, want: Want, miss: DynamicLabel, adds: bool) {
        let (from, back) = (self.asm.new_dynamic_label(), self.asm.new_dynamic_label());
        dynasm!(self.asm
            ; .arch x64
            ; sub r14, [rsp + slot.tag()]
            ; cmp r14, [rsp + slot.limit()]
            ; jae =>from
        );
        self.flags_lost();
        self.back = back;
        self.cold.push(Cold::Slot { from, back, slot, size, want, miss, adds });
    }

    /// Where an access comes back to that did not meet the slot's page.
    pub(super) fn slot_back(&mut self) {
        dynasm!(self.asm; .arch x64; =>self.back);
    }

    /// An access that did not meet its slot's page: asks the translation cache and fills the slot. R13 is the distance
    /// then, or (with `adds`) the host's address.
    pub(super) fn fill_slot(&mut self, slot: Slot, size: u32, want: Want, miss: DynamicLabel, adds: bool) {
        dynasm!(self.asm; .arch x64; add r14, [rsp + slot.tag()]; mov r13, r14);
        self.find_entry(size, want, miss);
        dynasm!(self.asm
            ; .arch x64
            ; mov [rsp + WITHIN], r13
            ; mov r13, [r14]
            ; mov [rsp + slot.tag()], r13
            ; mov r14, [r14 + 8]
        );
        if adds {
            dynasm!(self.asm; .arch x64; sub r14, r13; mov [rsp + slot.distance()], r14);
            dynasm!(self.asm; .arch x64; add r13, [rsp + WITHIN]; add r13, r14);
        } else {
            dynasm!(self.asm; .arch x64; sub r14, r13; mov [rsp + slot.distance()], r14; mov r13, r14);
        }
        dynasm!(self.asm; .arch x64; mov QWORD [rsp + slot.limit()], slot.full());
    }
}

/// Is the base of FS or GS added to its address?
fn has_base(insn: &Instruction) -> bool {
    matches!(insn.memory_segment(), Register::FS | Register::GS)
}
