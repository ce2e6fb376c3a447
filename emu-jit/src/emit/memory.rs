//! The one way from a guest address to a host address: into R13, or to a [`Spot`] relative to it.

use std::mem::offset_of;

use dynasmrt::{DynamicLabel, DynasmApi, DynasmLabelApi, dynasm};
use emu_core::cpu::{Cpu, Segment};
use emu_core::mem::PAGE_SIZE;
use emu_core::mmu::tlb::{ENTRIES, SECOND};
use iced_x86::{Code, Instruction, MemoryOperand, Register};

use super::{Cold, Emitter, Failed, Kept, R13, R14};
use crate::analysis::Want;
use crate::enter::Stretch;
use crate::frame::{CPU, DISTANCES, FS_BASE, GS_BASE, PAGE, RECENT, SPILL, TLB_READ, TLB_WRITE};
use crate::groups::Way;

/// Entries are 16 bytes: the page number times 16 is the address shifted by 8.
pub const SLOT_MASK: i32 = ((ENTRIES - 1) * 16) as i32;

/// What a guest address is computed from.
#[derive(Clone, Copy)]
pub(super) enum Address<'a> {
    /// The memory operand of an instruction.
    Operand(&'a Instruction),
    /// A general register plus a distance, in the stack segment.
    Stack(u8, i32),
}

/// Where a memory operand is on the host: at the address in R13 or R14 plus a host register and a number.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Spot {
    base: Register,
    index: Register,
    scale: u32,
    displacement: i64,
}

impl Spot {
    /// At R13 itself.
    pub(super) const R13: Self =
        Self { base: Register::R13, index: Register::None, scale: 1, displacement: 0 };

    /// At R13 plus a host register and a number.
    pub(super) fn based(index: Register, displacement: i64) -> Self {
        Self { index, displacement, ..Self::R13 }
    }

    /// So many bytes further.
    pub(super) fn beside(self, distance: i64) -> Self {
        Self { displacement: self.displacement + distance, ..self }
    }

    fn operand(self) -> MemoryOperand {
        MemoryOperand::new(
            self.base,
            self.index,
            self.scale,
            self.displacement,
            1, // as short as it fits
            false,
            Register::None,
        )
    }
}

impl Emitter<'_> {
    /// Finds the host's place of a guest address, for [`load`](Self::load), [`at_place`](Self::at_place) and their
    /// like. Jumps to `miss` when the access needs a closer look. Changes R13, R14 and, unless the way is sure, the
    /// host's flags.
    pub(super) fn reach(
        &mut self,
        address: Address<'_>,
        way: Way,
        size: u32,
        want: Want,
        miss: DynamicLabel,
    ) -> Result<(), Failed> {
        match way {
            Way::Checked => {
                if let Some(slot) = self.slot_for(address, size, want) {
                    return self.reach_by_slot(address, slot, size, want, miss);
                }
                self.offset_of(address, 0)?;
                self.host_address(address.segment(), size, want, miss);
                self.place = Spot::R13;
                self.back = self.asm.new_dynamic_label();
                self.slot_back();
                Ok(())
            }
            Way::First { group, want, below, span, folds } => {
                let stretch = Stretch::new(below as u32, span as u32, size, want == Want::Write);
                let careful = self.careful_exit(stretch);
                let slot = self.slot_for(address, span as u32, want);
                if let Some(slot) = slot {
                    self.distance_by_slot(address, below, slot, span as u32, want, careful)?;
                } else {
                    self.offset_of(address, -below)?;
                    self.segment(address.segment(), 1, want, careful);
                    self.find_entry(span as u32, want, careful);
                    dynasm!(self.asm; .arch x64; mov r13, [r14 + 8]; sub r13, [r14]);
                }
                let mut as_in_slot = true;
                if let Address::Operand(insn) = address {
                    let loaded = self.asm.offset();
                    if insn.is_ip_rel_memory_operand() {
                        dynasm!(self.asm; .arch x64; add r13, [BYTE rsp + PAGE as i8]);
                    } else if self.mode.size() == 64 {
                        self.add_segment_base(insn.memory_segment());
                    }
                    if folds {
                        self.add_register(Self::number(insn.memory_base()));
                    }
                    as_in_slot = self.asm.offset() == loaded;
                }
                let number = usize::from(group);
                self.distances[number] = slot.filter(|_| as_in_slot);
                if self.distances[number].is_none() {
                    let slot = DISTANCES + 8 * i32::from(group);
                    dynasm!(self.asm; .arch x64; mov [rsp + slot], r13);
                }
                self.member(address, group, folds, self.mode.size() == 64)
            }
            Way::Member { group, folds } => self.member(address, group, folds, false),
            Way::Recent { page } => {
                let (from, back) = (self.asm.new_dynamic_label(), self.asm.new_dynamic_label());
                self.offset_of(address, 0)?;
                let slot = RECENT + 16 * i32::from(page);
                dynasm!(self.asm
                    ; .arch x64
                    ; sub r13, [rsp + slot]
                    ; cmp r13, PAGE_SIZE as i32 - size as i32
                    ; ja =>from
                    ; add r13, [rsp + slot + 8]
                    ; =>back
                );
                self.flags_lost();
                self.cold.push(Cold::Recent { from, back, page, size, want, miss });
                self.place = Spot::R13;
                Ok(())
            }
        }
    }

    /// The place of an access whose group knows the page. R13 may hold the distance already. Keeps the host's flags.
    fn member(&mut self, address: Address<'_>, group: u8, folds: bool, loaded: bool) -> Result<(), Failed> {
        let slot = match self.distances[usize::from(group)] {
            Some(slot) => slot.distance(),
            None => DISTANCES + 8 * i32::from(group),
        };
        if self.mode.size() != 64 {
            // Addresses wrap at 32 bits.
            self.offset_of(address, 0)?;
            dynasm!(self.asm; .arch x64; mov r14, [rsp + slot]; lea r13, [r13 + r14]);
            self.place = Spot::R13;
            return Ok(());
        }
        let pinned = if self.in_fast { self.pins.register(group) } else { None };
        if pinned.is_none() && !loaded && !self.keeps(group) {
            dynasm!(self.asm; .arch x64; mov r13, [rsp + slot]);
        }
        let distance_at = self.asm.offset();
        let (mut base, mut index, scale, displacement) = match address {
            Address::Stack(base, distance) => (Some(base), None, 1, i64::from(distance)),
            Address::Operand(insn) => {
                let part = |register: Register| register.is_gpr().then(|| Self::number(register));
                let scale = insn.memory_index_scale();
                let displacement = insn.memory_displacement64() as i64;
                (part(insn.memory_base()), part(insn.memory_index()), scale, displacement)
            }
        };
        if self.in_fast
            && let Some(run) = self.fast.and_then(|fast| fast.runs.get(usize::from(group)))
        {
            // What stays the same is part of the distance.
            base = base.filter(|_| !run.folds_base);
            index = index.filter(|_| !run.folds_index);
        } else {
            base = base.filter(|_| !folds);
        }
        let start = pinned.unwrap_or(Register::R13);
        let mut place = Spot { base: start, index: Register::None, scale: 1, displacement };
        for (number, scale) in [(base, 1), (index, scale)] {
            let Some(number) = number else { continue };
            match Self::pinned(number) {
                Some(host) if place.index == Register::None => {
                    (place.index, place.scale) = (Register::RAX + u32::from(host), scale);
                }
                Some(host) => {
                    // Two registers: the first one goes into R13.
                    let (from, first) = (place.base.number() as u8, place.index.number() as u8);
                    dynasm!(self.asm; .arch x64; lea r13, [Rq(from) + Rq(first)]);
                    place.base = Register::R13;
                    (place.index, place.scale) = (Register::RAX + u32::from(host), scale);
                }
                None => {
                    let from = place.base.number() as u8;
                    dynasm!(self.asm; .arch x64; mov r14, [BYTE rsp + Self::high(number) as i8]);
                    match scale {
                        1 => dynasm!(self.asm; .arch x64; lea r13, [Rq(from) + r14]),
                        2 => dynasm!(self.asm; .arch x64; lea r13, [Rq(from) + r14 * 2]),
                        4 => dynasm!(self.asm; .arch x64; lea r13, [Rq(from) + r14 * 4]),
                        _ => dynasm!(self.asm; .arch x64; lea r13, [Rq(from) + r14 * 8]),
                    }
                    place.base = Register::R13;
                }
            }
        }
        self.place = place;
        let kept = pinned.is_none() && self.asm.offset() == distance_at;
        self.kept = kept.then(|| Kept { group, end: distance_at.0, outs: self.outs[1] });
        Ok(())
    }

    /// Adds a guest register to R13.
    fn add_register(&mut self, number: u8) {
        match Self::pinned(number) {
            Some(host) => dynasm!(self.asm; .arch x64; add r13, Rq(host)),
            None => dynasm!(self.asm; .arch x64; add r13, [BYTE rsp + Self::high(number) as i8]),
        }
    }

    /// An access that did not meet its last page again: finds the page and remembers it.
    pub(super) fn other_page(&mut self, page: u8, size: u32, want: Want, miss: DynamicLabel) {
        let slot = RECENT + 16 * i32::from(page);
        dynasm!(self.asm; .arch x64; add r13, [rsp + slot]);
        self.find_entry(size, want, miss);
        dynasm!(self.asm; .arch x64; mov [rsp + SPILL], r13);
        self.remember(page);
        dynasm!(self.asm; .arch x64; add r13, [rsp + SPILL]);
    }

    /// Remembers the page of the entry in R14. Its host address is in R13 then.
    pub(super) fn remember(&mut self, page: u8) {
        let slot = RECENT + 16 * i32::from(page);
        dynasm!(self.asm
            ; .arch x64
            ; mov r13, [r14]
            ; mov [rsp + slot], r13
            ; mov r13, [r14 + 8]
            ; mov [rsp + slot + 8], r13
        );
    }

    /// Makes the place the memory operand of an instruction.
    pub(super) fn at_place(&self, insn: &mut Instruction) {
        insn.set_memory_base(self.place.base);
        insn.set_memory_index(self.place.index);
        insn.set_memory_index_scale(self.place.scale);
        insn.set_memory_displacement64(self.place.displacement as u64);
        insn.set_memory_displ_size(1);
        insn.set_segment_prefix(Register::None);
    }

    /// Brings the address of the place into R13 itself.
    pub(super) fn place_to_r13(&mut self) -> Result<(), Failed> {
        if self.place != Spot::R13 {
            let place = self.place.operand();
            self.with_place(Instruction::with2(Code::Lea_r64_m, Register::R13, place))?;
            self.place = Spot::R13;
        }
        Ok(())
    }

    /// Loads the value at the place into a register, zero-extended, without touching the host's flags.
    pub(super) fn load(&mut self, to: u8, size: u32) -> Result<(), Failed> {
        let (wide, narrow) = (Register::RAX + u32::from(to), Register::EAX + u32::from(to));
        let place = self.place.operand();
        self.with_place(match size {
            8 => Instruction::with2(Code::Mov_r64_rm64, wide, place),
            4 => Instruction::with2(Code::Mov_r32_rm32, narrow, place),
            2 => Instruction::with2(Code::Movzx_r32_rm16, narrow, place),
            _ => Instruction::with2(Code::Movzx_r32_rm8, narrow, place),
        })
    }

    /// Stores a register at the place, as wide as a stack slot.
    pub(super) fn store_slot(&mut self, from: u8) -> Result<(), Failed> {
        let place = self.place.operand();
        let from = u32::from(from);
        self.with_place(match self.mode.size() {
            64 => Instruction::with2(Code::Mov_rm64_r64, place, Register::RAX + from),
            32 => Instruction::with2(Code::Mov_rm32_r32, place, Register::EAX + from),
            _ => Instruction::with2(Code::Mov_rm16_r16, place, Register::AX + from),
        })
    }

    /// The same for a number.
    pub(super) fn store_number(&mut self, value: i32) -> Result<(), Failed> {
        let place = self.place.operand();
        let (code, value) = match self.mode.size() {
            64 => (Code::Mov_rm64_imm32, value),
            32 => (Code::Mov_rm32_imm32, value),
            _ => (Code::Mov_rm16_imm16, i32::from(value as i16)),
        };
        self.with_place(Instruction::with2(code, place, value))
    }

    fn with_place(&mut self, insn: Result<Instruction, iced_x86::IcedError>) -> Result<(), Failed> {
        let insn = insn.map_err(|_| Failed { index: self.index })?;
        self.encode(&insn)
    }

    /// A guest address plus `distance` into R13, as an offset in its segment. Keeps the host's flags. Changes R14.
    pub(super) fn offset_of(&mut self, address: Address<'_>, distance: i32) -> Result<(), Failed> {
        match address {
            Address::Operand(insn) if distance == 0 => self.effective_address(insn),
            Address::Operand(insn) => self.effective_address(&moved(insn, distance)),
            Address::Stack(number, more) => {
                let register = self.in_register(number, R13);
                let distance = more + distance;
                if self.mode.size() == 64 {
                    dynasm!(self.asm; .arch x64; lea r13, [Rq(register) + distance]);
                } else {
                    dynasm!(self.asm; .arch x64; lea r13d, [Rq(register) + distance]);
                    if self.mode.size() == 16 {
                        dynasm!(self.asm; .arch x64; movzx r13d, r13w);
                    }
                }
                Ok(())
            }
        }
    }

    /// The effective address of the instruction's memory operand into R13. Keeps the host's flags. Changes R14.
    pub(super) fn effective_address(&mut self, insn: &Instruction) -> Result<(), Failed> {
        self.effective_address_to(insn, Register::R13)
    }

    /// The same into `target` (a 64-bit register), as LEA leaves it.
    pub(super) fn effective_address_to(
        &mut self,
        insn: &Instruction,
        target: Register,
    ) -> Result<(), Failed> {
        let failed = Failed { index: self.index };
        let displacement = insn.memory_displacement64() as i64;
        if insn.is_ip_rel_memory_operand() {
            // Decoded with the offset in the page for RIP, the displacement counts from the page.
            let distance = i32::try_from(displacement).map_err(|_| failed)?;
            dynasm!(self.asm; .arch x64; mov r13, [BYTE rsp + PAGE as i8]);
            let number = target.number() as u8;
            dynasm!(self.asm; .arch x64; lea Rq(number), [r13 + distance]);
            return Ok(());
        }
        let width = address_width(insn);
        let part = |emitter: &mut Self, register: Register, scratch: u8| match register {
            Register::None => Register::None,
            other => {
                let number = emitter.in_register(Self::number(other), scratch);
                Register::RAX + u32::from(number)
            }
        };
        let base = part(self, insn.memory_base(), R13);
        let index = part(self, insn.memory_index(), R14);
        if base == Register::None && index == Register::None {
            let value = match width {
                64 => displacement,
                32 => displacement & 0xffff_ffff,
                _ => displacement & 0xffff,
            };
            let number = target.number() as u8;
            if i64::from(value as i32) == value {
                dynasm!(self.asm; .arch x64; mov Rq(number), value as i32);
            } else {
                dynasm!(self.asm; .arch x64; mov Rq(number), QWORD value);
            }
            return Ok(());
        }
        if index == Register::None && base == target && displacement == 0 && width == 64 {
            return Ok(());
        }
        let displacement = match width {
            64 => displacement,
            32 => i64::from(displacement as i32),
            _ => i64::from(displacement as i16),
        };
        let displacement_size = u32::from(displacement != 0); // as short as it fits
        let operand = MemoryOperand::new(
            base,
            index,
            insn.memory_index_scale(),
            displacement,
            displacement_size,
            false,
            Register::None,
        );
        let (code, to) = if width == 64 {
            (Code::Lea_r64_m, target)
        } else {
            (Code::Lea_r32_m, Register::EAX + target.number() as u32)
        };
        let lea = Instruction::with2(code, to, operand).map_err(|_| failed)?;
        self.encode(&lea)?;
        if width == 16 {
            let number = target.number() as u8;
            dynasm!(self.asm; .arch x64; movzx Rd(number), Rw(number));
        }
        Ok(())
    }

    /// From the offset in R13 to the host address in R13, through segment and translation cache. Jumps to `miss` when
    /// the access needs a closer look. Changes R14 and the host's flags.
    fn host_address(&mut self, segment: Register, size: u32, want: Want, miss: DynamicLabel) {
        self.segment(segment, size, want, miss);
        self.find_entry(size, want, miss);
        dynasm!(self.asm; .arch x64; add r13, [r14 + 8]);
    }

    /// Adds the base of FS or GS to R13, in 64-bit code.
    pub(super) fn add_segment_base(&mut self, segment: Register) {
        match segment {
            Register::FS => dynasm!(self.asm; .arch x64; add r13, [BYTE rsp + FS_BASE as i8]),
            Register::GS => dynasm!(self.asm; .arch x64; add r13, [BYTE rsp + GS_BASE as i8]),
            _ => {}
        }
    }

    pub(super) fn segment(&mut self, segment: Register, size: u32, want: Want, miss: DynamicLabel) {
        let number = segment.number();
        if self.mode.size() == 64 {
            self.add_segment_base(segment);
            return;
        }
        if self.mode.flat() && matches!(segment, Register::DS | Register::ES | Register::SS) {
            return;
        }
        let at = (offset_of!(Cpu, seg) + number * size_of::<Segment>()) as i32;
        let range = at
            + match want {
                Want::Read => offset_of!(Segment, read) as i32,
                Want::Write => offset_of!(Segment, write) as i32,
            };
        let base = at + offset_of!(Segment, base) as i32;
        let beyond = size as i32 - 1;
        dynasm!(self.asm
            ; .arch x64
            ; mov r14, [BYTE rsp + CPU as i8]
            ; cmp r13, [r14 + range]
            ; jb =>miss
            ; lea r13, [r13 + beyond]
            ; cmp r13, [r14 + range + 8]
            ; ja =>miss
            ; add r13, [r14 + base]
            ; lea r13, [r13 - beyond]
            ; mov r13d, r13d
        );
    }

    /// An access that the first entry of its slot is not for: the same with the second one.
    pub(super) fn second_entry(&mut self, size: u32, miss: DynamicLabel) {
        dynasm!(self.asm
            ; .arch x64
            ; add r13, [r14]
            ; lea r14, [r14 + SECOND as i32]
            ; sub r13, [r14]
            ; cmp r13, PAGE_SIZE as i32 - size as i32
            ; ja =>miss
        );
    }

    /// From a linear address in R13 to the entry of the translation cache in R14, with the offset in the page in R13,
    /// from where `size` bytes lie in the page.
    pub(super) fn find_entry(&mut self, size: u32, want: Want, miss: DynamicLabel) {
        let table = match want {
            Want::Read => TLB_READ,
            Want::Write => TLB_WRITE,
        };
        if self.thunks.bmi2 {
            dynasm!(self.asm; .arch x64; rorx r14, r13, 8);
        } else {
            dynasm!(self.asm; .arch x64; mov r14, r13; shr r14, 8);
        }
        let (from, back) = (self.asm.new_dynamic_label(), self.asm.new_dynamic_label());
        dynasm!(self.asm
            ; .arch x64
            ; and r14d, SLOT_MASK
            ; add r14, [BYTE rsp + table as i8]
            ; sub r13, [r14]
            ; cmp r13, PAGE_SIZE as i32 - size as i32
            ; ja =>from
            ; =>back
        );
        self.cold.push(Cold::Second { from, back, size, miss });
        self.flags_lost();
    }
}

impl Address<'_> {
    pub(super) fn segment(self) -> Register {
        match self {
            Self::Operand(insn) => insn.memory_segment(),
            Self::Stack(..) => Register::SS,
        }
    }
}

/// Width in bits of the address computation.
fn address_width(insn: &Instruction) -> u32 {
    for register in [insn.memory_base(), insn.memory_index()] {
        if register != Register::None {
            return register.size() as u32 * 8;
        }
    }
    insn.memory_displ_size() * 8
}

const _: () = assert!(offset_of!(emu_core::mmu::tlb::Entry, tag) == 0);
const _: () = assert!(offset_of!(emu_core::mmu::tlb::Entry, host) == 8);

/// The instruction with another displacement.
pub(super) fn moved(insn: &Instruction, distance: i32) -> Instruction {
    let mut insn = *insn;
    let moved = (insn.memory_displacement64() as i64).wrapping_add(distance.into());
    insn.set_memory_displacement64(moved as u64);
    insn
}
