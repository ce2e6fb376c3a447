//! MOV to and from segment, control and debug registers; LDS and its like; LAR, LSL, VERR, VERW, ARPL; the
//! FS and GS base instructions.

use iced_x86::{Mnemonic as M, OpKind};

use super::control::far_pointer;
use crate::cpu::control::{CR4_DE, CR4_FSGSBASE};
use crate::cpu::model::Vendor;
use crate::cpu::segment::{is_null, kind};
use crate::cpu::{CS, Cpu, DS, ES, FS, Fallible, Fault, GS, SS, Width, attention, eflags};
use crate::interp::op::{Handler, Mem, Op, Reg, Source, Target};
use crate::interp::table::{Form, Kind, Row, row, widths_wide};
use crate::vmx::capability::primary;
use crate::vmx::exit::reason;

/// The rows of this family (MOV itself stands in `data.rs`).
pub const ROWS: &[Row] = &[
    row(M::Lds, |f| widths_wide!(f.size(0), |W| load_pointer::<W, DS>)),
    row(M::Les, |f| widths_wide!(f.size(0), |W| load_pointer::<W, ES>)),
    row(M::Lss, |f| widths_wide!(f.size(0), |W| load_pointer::<W, SS>)),
    row(M::Lfs, |f| widths_wide!(f.size(0), |W| load_pointer::<W, FS>)),
    row(M::Lgs, |f| widths_wide!(f.size(0), |W| load_pointer::<W, GS>)),
    row(M::Lar, |f| {
        describe(
            f,
            [lar::<u16, Reg<1>>, lar::<u32, Reg<1>>, lar::<u64, Reg<1>>],
            [lar::<u16, Mem>, lar::<u32, Mem>, lar::<u64, Mem>],
        )
    }),
    row(M::Lsl, |f| {
        describe(
            f,
            [lsl::<u16, Reg<1>>, lsl::<u32, Reg<1>>, lsl::<u64, Reg<1>>],
            [lsl::<u16, Mem>, lsl::<u32, Mem>, lsl::<u64, Mem>],
        )
    }),
    row(M::Verr, |f| {
        Some(if f.kind(0) == Kind::Reg { verify::<Reg<0>, false> } else { verify::<Mem, false> })
    }),
    row(M::Verw, |f| Some(if f.kind(0) == Kind::Reg { verify::<Reg<0>, true> } else { verify::<Mem, true> })),
    row(M::Arpl, |f| Some(if f.kind(0) == Kind::Reg { arpl::<Reg<0>> } else { arpl::<Mem> })),
    row(M::Rdfsbase, |f| read_base::<FS>(f)),
    row(M::Rdgsbase, |f| read_base::<GS>(f)),
    row(M::Wrfsbase, |f| write_base::<FS>(f)),
    row(M::Wrgsbase, |f| write_base::<GS>(f)),
];

/// After a load of SS by MOV or POP neither interrupts nor debug traps come before the next instruction.
pub fn shadow_after_ss(cpu: &mut Cpu) {
    let next = cpu.instructions() + 1;
    cpu.inhibit_at = next;
    cpu.inhibit_traps_at = next;
    cpu.attention |= attention::INTERRUPTS;
    cpu.stop = true;
}

/// The handler of a MOV that names a segment, control or debug register.
pub fn mov_special(f: &Form<'_>) -> Option<Handler> {
    let register = |n: u32| (f.insn.op_kind(n) == OpKind::Register).then(|| f.insn.op_register(n));
    let (to, from) = (register(0), register(1));
    if to.is_some_and(|r| r.is_segment_register()) {
        return Some(if from.is_some() { mov_to_segment::<Reg<1>> } else { mov_to_segment::<Mem> });
    }
    if from.is_some_and(|r| r.is_segment_register()) {
        return match f.shape() {
            (Kind::Reg, _, n) => widths_wide!(n, |W| mov_from_segment::<W>),
            _ => Some(mov_segment_to_memory),
        };
    }
    let long = f.code_size == 64;
    if to.is_some_and(|r| r.is_cr()) {
        return Some(if long { mov_to_control::<u64> } else { mov_to_control::<u32> });
    }
    if from.is_some_and(|r| r.is_cr()) {
        return Some(mov_from_control);
    }
    if to.is_some_and(|r| r.is_dr()) {
        return Some(if long { mov_to_debug::<u64> } else { mov_to_debug::<u32> });
    }
    if from.is_some_and(|r| r.is_dr()) {
        return Some(mov_from_debug);
    }
    None
}

/// MOV to a segment register. SDM 2B, "MOV".
fn mov_to_segment<S: Source>(cpu: &mut Cpu, op: &Op) -> Fallible {
    let register = usize::from(op.reg[0]);
    if register == CS || register > GS {
        return Err(Fault::UD);
    }
    let selector = S::get::<u16>(cpu, op)?;
    cpu.load_segment(register, selector)?;
    if register == SS {
        shadow_after_ss(cpu);
    }
    Ok(())
}

fn mov_from_segment<W: Width>(cpu: &mut Cpu, op: &Op) -> Fallible {
    let selector = cpu.seg[usize::from(op.reg[1])].selector;
    cpu.set_register(op.reg[0], W::from_u64(u64::from(selector)));
    Ok(())
}

fn mov_segment_to_memory(cpu: &mut Cpu, op: &Op) -> Fallible {
    let selector = cpu.seg[usize::from(op.reg[1])].selector;
    Mem::set(cpu, op, selector)
}

/// MOV to CR0, CR2, CR3, CR4, CR8. SDM 2B, "MOV—Move to/from Control Registers".
fn mov_to_control<W: Width>(cpu: &mut Cpu, op: &Op) -> Fallible {
    let number = op.reg[0];
    if !matches!(number, 0 | 2 | 3 | 4 | 8) || number == 4 && cpu.model.cr4() == 0 {
        return Err(Fault::UD);
    }
    if cpu.protected() && cpu.cpl != 0 {
        return Err(Fault::GP0);
    }
    let value = cpu.register::<W>(op.reg[1]).u64();
    match number {
        0 | 4 if cpu.vmx.non_root => {
            let value = cpu.guest_control_write(number, op.reg[1], value)?;
            if number == 0 { cpu.write_cr0(value) } else { cpu.write_cr4(value) }
        }
        0 => cpu.write_cr0(value),
        2 => {
            cpu.cr2 = value;
            Ok(())
        }
        3 => {
            cpu.exits_on_cr3_write(op.reg[1], value)?;
            cpu.write_cr3(value)
        }
        4 => cpu.write_cr4(value),
        _ => {
            let qualification = 8 | u64::from(op.reg[1]) << 8;
            cpu.exits_qualified(primary::CR8_LOAD, reason::CR_ACCESS, qualification)?;
            if value > 15 {
                return Err(Fault::GP0);
            }
            if cpu.has_tpr_shadow() {
                cpu.set_virtual_tpr(value);
                return Ok(());
            }
            let cpu_number = cpu.number;
            cpu.with_bus(|bus, _| bus.set_task_priority(cpu_number, value as u8));
            Ok(())
        }
    }
}

fn mov_from_control(cpu: &mut Cpu, op: &Op) -> Fallible {
    let number = op.reg[1];
    if !matches!(number, 0 | 2 | 3 | 4 | 8) || number == 4 && cpu.model.cr4() == 0 {
        return Err(Fault::UD);
    }
    if cpu.protected() && cpu.cpl != 0 {
        return Err(Fault::GP0);
    }
    cpu.exits_on_control_read(number, op.reg[0])?;
    let value = match number {
        0 => cpu.guest_control_read(0, cpu.cr0),
        2 => cpu.cr2,
        3 => cpu.cr3,
        4 => cpu.guest_control_read(4, cpu.cr4),
        _ if cpu.has_tpr_shadow() => u64::from(cpu.virtual_tpr() >> 4),
        _ => u64::from(cpu.system().bus.task_priority(cpu.number)),
    };
    cpu.regs[usize::from(op.reg[0])] = value;
    Ok(())
}

/// DR4 and DR5 are DR6 and DR7 unless CR4.DE is set.
fn debug_number(cpu: &Cpu, number: u8) -> Fallible<usize> {
    match number {
        4 | 5 if cpu.cr4 & CR4_DE != 0 => Err(Fault::UD),
        4 | 5 => Ok(usize::from(number) + 2),
        0..=7 => Ok(usize::from(number)),
        _ => Err(Fault::UD),
    }
}

/// MOV to a debug register. SDM 2B, "MOV—Move to/from Debug Registers".
fn mov_to_debug<W: Width>(cpu: &mut Cpu, op: &Op) -> Fallible {
    let number = debug_number(cpu, op.reg[0])?;
    if cpu.protected() && cpu.cpl != 0 {
        return Err(Fault::GP0);
    }
    let qualification = number as u64 | u64::from(op.reg[1]) << 8;
    cpu.exits_qualified(primary::MOV_DR, reason::MOV_DR, qualification)?;
    let value = cpu.register::<W>(op.reg[1]).u64();
    if number >= 6 && value >> 32 != 0 {
        return Err(Fault::GP0);
    }
    cpu.general_detect()?;
    cpu.write_debug(number, value);
    Ok(())
}

fn mov_from_debug(cpu: &mut Cpu, op: &Op) -> Fallible {
    let number = debug_number(cpu, op.reg[1])?;
    if cpu.protected() && cpu.cpl != 0 {
        return Err(Fault::GP0);
    }
    let qualification = number as u64 | 1 << 4 | u64::from(op.reg[0]) << 8;
    cpu.exits_qualified(primary::MOV_DR, reason::MOV_DR, qualification)?;
    cpu.general_detect()?;
    cpu.regs[usize::from(op.reg[0])] = cpu.dr[number];
    Ok(())
}

/// LDS, LES, LSS, LFS, LGS. SDM 2A, "LDS/LES/LFS/LGS/LSS".
fn load_pointer<W: Width, const SEGMENT: usize>(cpu: &mut Cpu, op: &Op) -> Fallible {
    let (offset, selector) = far_pointer(cpu, op, W::BYTES)?;
    cpu.load_segment(SEGMENT, selector)?;
    cpu.set_register(op.reg[0], W::from_u64(offset));
    Ok(())
}

fn describe(f: &Form<'_>, register: [Handler; 3], memory: [Handler; 3]) -> Option<Handler> {
    let from = if f.kind(1) == Kind::Mem { memory } else { register };
    match f.size(0) {
        2 => Some(from[0]),
        4 => Some(from[1]),
        8 => Some(from[2]),
        _ => None,
    }
}

/// What LAR, LSL, VERR and VERW see of a selector: its descriptor, when it is visible at this privilege level.
fn visible(cpu: &mut Cpu, selector: u16, system: fn(u16) -> bool) -> Fallible<Option<u64>> {
    if is_null(selector) {
        return Ok(None);
    }
    let descriptor = match cpu.descriptor(selector, Fault::UD) {
        Ok(descriptor) => descriptor,
        Err(Fault::UD) => return Ok(None),
        Err(other) => return Err(other),
    };
    let rights = descriptor.rights();
    if !rights.code_or_data() && !system(rights.kind()) {
        return Ok(None);
    }
    let outside = rights.dpl() < cpu.cpl || rights.dpl() < (selector & 3) as u8;
    Ok((rights.conforming() || !outside).then_some(descriptor.raw))
}

fn outside_protected_mode(cpu: &Cpu) -> Fallible {
    if cpu.paragraphs() { Err(Fault::UD) } else { Ok(()) }
}

fn zero_flag(cpu: &mut Cpu, on: bool) {
    cpu.flags.set_some(eflags::ZF, if on { eflags::ZF } else { 0 });
}

/// LAR. SDM 2A, "LAR".
fn lar<W: Width, S: Source>(cpu: &mut Cpu, op: &Op) -> Fallible {
    outside_protected_mode(cpu)?;
    let selector = S::get::<u16>(cpu, op)?;
    // Of an LDT in IA-32e mode: not on Intel's processors (table "Segment and Gate Types"), but on AMD's (APM vol. 3,
    // "LAR").
    let system: fn(u16) -> bool = match (cpu.long_mode(), cpu.model.vendor) {
        (true, Vendor::Intel) => |k| matches!(k, 9 | 11 | 12),
        (true, Vendor::Amd) => |k| matches!(k, 2 | 9 | 11 | 12),
        _ => |k| !matches!(k, 0 | 6 | 7 | 8 | 10 | 13..=15),
    };
    let seen = visible(cpu, selector, system)?;
    if let Some(raw) = seen {
        cpu.set_register(op.reg[0], W::from_u64(raw >> 32 & 0x00ff_ff00));
    }
    zero_flag(cpu, seen.is_some());
    Ok(())
}

/// LSL. SDM 2A, "LSL".
fn lsl<W: Width, S: Source>(cpu: &mut Cpu, op: &Op) -> Fallible {
    outside_protected_mode(cpu)?;
    let selector = S::get::<u16>(cpu, op)?;
    let long = cpu.long_mode();
    let wide = |k: u16| matches!(k, kind::LDT | kind::TSS_AVAILABLE | kind::TSS_BUSY);
    let all = |k: u16| {
        matches!(
            k,
            kind::TSS16_AVAILABLE | kind::LDT | kind::TSS16_BUSY | kind::TSS_AVAILABLE | kind::TSS_BUSY
        )
    };
    let seen = visible(cpu, selector, if long { wide } else { all })?;
    if let Some(raw) = seen {
        let limit = crate::cpu::segment::Descriptor { raw, address: 0 }.limit();
        cpu.set_register(op.reg[0], W::from_u64(u64::from(limit)));
    }
    zero_flag(cpu, seen.is_some());
    Ok(())
}

/// VERR and VERW. SDM 2B, "VERR/VERW".
fn verify<S: Source, const WRITE: bool>(cpu: &mut Cpu, op: &Op) -> Fallible {
    outside_protected_mode(cpu)?;
    let selector = S::get::<u16>(cpu, op)?;
    let seen = visible(cpu, selector, |_| false)?;
    let good = seen.is_some_and(|raw| {
        let rights = crate::cpu::Rights::of_descriptor((raw >> 32) as u32);
        if WRITE { rights.writable() } else { rights.readable() }
    });
    zero_flag(cpu, good);
    Ok(())
}

/// ARPL. SDM 2A, "ARPL". A destination that stays as it is may be read-only, as silicon has it.
fn arpl<D: Target>(cpu: &mut Cpu, op: &Op) -> Fallible {
    outside_protected_mode(cpu)?;
    let rpl = cpu.register::<u16>(op.reg[1]) & 3;
    let raise = D::get::<u16>(cpu, op)? & 3 < rpl;
    if raise {
        let (selector, place) = D::locate::<u16>(cpu, op)?;
        D::put(cpu, op, place, selector & !3 | rpl)?;
    }
    zero_flag(cpu, raise);
    Ok(())
}

fn fsgsbase(cpu: &Cpu) -> Fallible {
    if cpu.cr4 & CR4_FSGSBASE == 0 { Err(Fault::UD) } else { Ok(()) }
}

fn read_base<const SEGMENT: usize>(f: &Form<'_>) -> Option<Handler> {
    Some(if f.size(0) == 8 { rdbase::<u64, SEGMENT> } else { rdbase::<u32, SEGMENT> })
}

/// RDFSBASE, RDGSBASE. SDM 2B at each.
fn rdbase<W: Width, const SEGMENT: usize>(cpu: &mut Cpu, op: &Op) -> Fallible {
    fsgsbase(cpu)?;
    let base = cpu.seg[SEGMENT].base;
    cpu.set_register(op.reg[0], W::from_u64(base));
    Ok(())
}

fn write_base<const SEGMENT: usize>(f: &Form<'_>) -> Option<Handler> {
    Some(if f.size(0) == 8 { wrbase::<u64, SEGMENT> } else { wrbase::<u32, SEGMENT> })
}

/// WRFSBASE, WRGSBASE. SDM 2B at each.
fn wrbase<W: Width, const SEGMENT: usize>(cpu: &mut Cpu, op: &Op) -> Fallible {
    fsgsbase(cpu)?;
    let base = cpu.register::<W>(op.reg[0]).u64();
    if !cpu.canonical_register(base) {
        return Err(Fault::GP0);
    }
    cpu.seg[SEGMENT].base = base;
    Ok(())
}
