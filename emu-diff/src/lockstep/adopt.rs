//! The reference's state beside ours, and in place of ours.

use emu_core::cpu::{CS, Cpu, FS, GS, LDTR, RAX, RDX, RIP, Rights, TR, eflags};

use super::conditions::mode;
use super::step::Step;
use crate::state::{State, Vectors};

/// QEMU and Bochs do not keep RF as hardware does.
const NOT_COMPARED: u64 = eflags::RF;

/// The reference's state with our values where it is not known or means nothing.
pub(crate) fn comparable(ours: &State, next: &Step) -> State {
    let mut theirs = if next.partial {
        let State { regs, rip, flags, .. } = next.state;
        let mut theirs = State { regs, rip, flags, ..ours.clone() };
        theirs.seg[CS].selector = next.state.seg[CS].selector;
        theirs
    } else {
        next.state.clone()
    };
    if next.short_bases {
        for (segment, our) in theirs.seg.iter_mut().zip(&ours.seg).skip(LDTR) {
            segment.base = segment.base & 0xffff_ffff | our.base & !0xffff_ffff;
        }
    }
    if next.narrow {
        for (n, value) in theirs.regs.iter_mut().enumerate() {
            let known = if n < 8 { 0xffff_ffff } else { 0 };
            *value = *value & known | ours.regs[n] & !known;
        }
    }
    theirs.flags = theirs.flags & !NOT_COMPARED | ours.flags & NOT_COMPARED;
    let paragraphs = matches!(mode(ours), "real" | "v86");
    let long_code = mode(ours) == "long" && ours.seg[CS].rights & 0x2000 != 0;
    for (n, (segment, our)) in theirs.seg.iter_mut().zip(&ours.seg).enumerate() {
        let has_base = matches!(n, FS | GS | TR) || !long_code;
        if paragraphs || n == LDTR && segment.selector & !3 == 0 {
            segment.rights = our.rights;
            if n >= LDTR {
                (segment.limit, segment.base) = (our.limit, our.base);
            }
        } else if segment.selector & !3 == 0 && n != CS || our.rights & Rights::UNUSABLE != 0 {
            (segment.rights, segment.limit) = (our.rights, our.limit);
            if !matches!(n, FS | GS) || !long_code {
                segment.base = our.base;
            }
        }
        if !has_base {
            segment.base = our.base;
        }
        // No instruction shows whether the hidden part has the accessed bit, or TR's the busy bit.
        let hidden = if n == TR { 2 } else { u16::from(our.rights & 0x10 != 0) };
        segment.rights = segment.rights & !hidden | our.rights & hidden;
    }
    theirs.dr[4] = ours.dr[4];
    theirs.dr[5] = ours.dr[5];
    theirs
}

pub(crate) fn comparable_vectors(ours: &Vectors, theirs: &Vectors, next: &Step) -> Vectors {
    let mut theirs = theirs.clone();
    for (n, (register, our)) in theirs.ymm.iter_mut().zip(&ours.ymm).enumerate() {
        if next.narrow && n >= 8 {
            *register = *our;
        } else if next.narrow_vectors {
            register[2..].copy_from_slice(&our[2..]);
        }
    }
    theirs
}

/// After a reset: the registers that tell the model.
pub(crate) fn adopt_reset(cpu: &mut Cpu, next: &Step) {
    cpu.regs[RDX] = next.state.regs[RDX];
    cpu.regs[RAX] = next.state.regs[RAX];
}

/// Makes the reference's state ours.
pub(crate) fn adopt(cpu: &mut Cpu, next: &Step) {
    let ours = State::of(cpu);
    let theirs = comparable(&ours, next);
    cpu.regs[..16].copy_from_slice(&theirs.regs);
    cpu.regs[RIP] = theirs.rip;
    if (cpu.cr0, cpu.cr3, cpu.cr4, cpu.efer) != (theirs.cr0, theirs.cr3, theirs.cr4, theirs.efer) {
        (cpu.cr0, cpu.cr3, cpu.cr4, cpu.efer) = (theirs.cr0, theirs.cr3, theirs.cr4, theirs.efer);
        cpu.flush_tlb();
    }
    cpu.cr2 = theirs.cr2;
    cpu.cpl = theirs.cpl;
    cpu.set_flags(theirs.flags);
    (cpu.gdtr.base, cpu.gdtr.limit) = theirs.gdtr;
    (cpu.idtr.base, cpu.idtr.limit) = theirs.idtr;
    if cpu.dr != theirs.dr {
        cpu.dr = theirs.dr;
        cpu.update_debug();
    }
    for (n, (segment, our)) in theirs.seg.iter().zip(&ours.seg).enumerate() {
        if segment != our {
            let mut new = cpu.seg[n];
            (new.selector, new.limit, new.base) = (segment.selector, segment.limit, segment.base);
            new.rights = Rights(segment.rights);
            cpu.put_segment(n, new);
        }
    }
    cpu.update_mode();
    if let Some(v) = &next.vectors {
        let v = comparable_vectors(&Vectors::of(cpu), v, next);
        let f = &mut cpu.fpu;
        (f.control, f.status, f.valid, f.mxcsr) = (v.control, v.status & !0x3800, v.valid, v.mxcsr);
        f.top = (v.status >> 11 & 7) as u8;
        for (to, from) in f.regs.iter_mut().zip(v.x87) {
            (to.significand, to.sign_exponent) = from;
        }
        for (to, from) in f.vectors.iter_mut().zip(v.ymm) {
            to[..4].copy_from_slice(&from);
        }
    }
}
