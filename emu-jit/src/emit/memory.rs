//! The one way from a guest address to a host address.

use std::mem::offset_of;

use dynasmrt::{DynamicLabel, DynasmApi, DynasmLabelApi, dynasm};
use emu_core::cpu::{Cpu, Segment};
use emu_core::mem::PAGE_SIZE;
use emu_core::mmu::tlb::ENTRIES;
use iced_x86::{Code, Instruction, MemoryOperand, Register};

use super::{Emitter, Failed, R13, R14};
use crate::analysis::Want;
use crate::frame::{CPU, FS_BASE, GS_BASE, PAGE, TLB_READ, TLB_WRITE};

/// Entries are 16 bytes: the page number times 16 is the address shifted by 8.
const SLOT_MASK: i32 = ((ENTRIES - 1) * 16) as i32;

impl Emitter<'_> {
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
            dynasm!(self.asm; .arch x64; mov r13, [rsp + PAGE]);
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
        let displacement = match width {
            64 => displacement,
            32 => i64::from(displacement as i32),
            _ => i64::from(displacement as i16),
        };
        let displacement_size = if displacement == 0 { 0 } else { 8 };
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
    pub(super) fn host_address(&mut self, segment: Register, size: u32, want: Want, miss: DynamicLabel) {
        self.segment(segment, size, want, miss);
        self.translate(size, want, miss);
    }

    fn segment(&mut self, segment: Register, size: u32, want: Want, miss: DynamicLabel) {
        let number = segment.number();
        if self.mode.size() == 64 {
            match segment {
                Register::FS => dynasm!(self.asm; .arch x64; add r13, [rsp + FS_BASE]),
                Register::GS => dynasm!(self.asm; .arch x64; add r13, [rsp + GS_BASE]),
                _ => {}
            }
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
            ; mov r14, [rsp + CPU]
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

    fn translate(&mut self, size: u32, want: Want, miss: DynamicLabel) {
        let table = match want {
            Want::Read => TLB_READ,
            Want::Write => TLB_WRITE,
        };
        dynasm!(self.asm
            ; .arch x64
            ; mov r14, r13
            ; shr r14, 8
            ; and r14d, SLOT_MASK
            ; add r14, [rsp + table]
            ; sub r13, [r14]
            ; cmp r13, PAGE_SIZE as i32 - size as i32
            ; ja =>miss
            ; add r13, [r14 + 8]
        );
        self.flags_lost();
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
