//! What the public suites found wrong, each in a few instructions.

use emu_core::bus::{Access, Bus};
use emu_core::cpu::model::parse;
use emu_core::cpu::{RAX, RBX, RDX};
use emu_core::interp::Interpreter;
use emu_core::machine::{Machine, Stop, TimeSource};
use emu_core::mem::Memory;
use emu_core::mem::page::PhysPage;
use iced_x86::code_asm::*;

use crate::lab::*;

const B1: u64 = 1 << 1;
const B2: u64 = 1 << 2;
const BS: u64 = 1 << 14;

/// By KVM's `debug`: B3 to B0 tell of this exception only, BS stays until software clears it.
#[test]
fn a_breakpoint_clears_the_hits_of_those_before() {
    let mut lab = Lab::protected();
    let out = lab.run(code!(a:
        mov(eax, (BS | B1) as u32); mov(dr6, eax);
        mov(eax, DATA as u32); mov(dr2, eax);
        mov(eax, 1 << 4 | 1 << 24); mov(dr7, eax); // DR2, on writes
        mov(byte_ptr(DATA as i32), 1); nop(); hlt()));
    out.fault(vector::DB, None);
    assert_eq!(out.cpu().dr[6] & 0xe00f, BS | B2);
}

/// By KVM's `debug`: a debug exception behind HLT ends the halt.
#[test]
fn a_single_step_trap_ends_hlt() {
    const HANDLER: u64 = 0x9000;
    let mut lab = Lab::protected();
    lab.handler(vector::DB, HANDLER);
    // INC dword [DATA]; the third time HLT, else IRETD.
    for (at, byte) in
        [0xff, 0x05, 0, 0, 2, 0, 0x83, 0x3d, 0, 0, 2, 0, 3, 0x74, 1, 0xcf, 0xf4].into_iter().enumerate()
    {
        lab.write(HANDLER + at as u64, 1, byte);
    }
    lab.run(code!(a: pushfd(); or(dword_ptr(esp), 0x100); popfd(); nop(); hlt(); nop(); nop(); hlt()));
    assert_eq!(lab.read(DATA, 4), 3, "behind NOP, HLT and NOP");
}

/// By KVM's `debug`: ICEBP behind a load of SS that met a data breakpoint is one debug exception for both.
#[test]
fn icebp_takes_along_what_a_load_of_ss_held_back() {
    const HANDLER: u64 = 0x9000;
    let mut lab = Lab::protected();
    lab.handler(vector::DB, HANDLER);
    // INC dword [DATA]; IRETD.
    for (at, byte) in [0xff, 0x05, 0, 0, 2, 0, 0xcf].into_iter().enumerate() {
        lab.write(HANDLER + at as u64, 1, byte);
    }
    lab.write(DATA + 0x100, 4, u64::from(DATA32));
    let (watched, control) = (DATA as i32 + 0x100, 1 | 3 << 16);
    let out = lab.run(code!(a:
        mov(eax, watched); mov(dr0, eax); mov(eax, control); mov(dr7, eax);
        mov(ss, word_ptr(watched)); db(&[0xf1]); nop(); hlt()));
    out.done();
    assert_eq!(out.cpu().dr[6] & 0xe00f, 1);
    assert_eq!(lab.read(DATA, 4), 1);
}

/// By KVM's `la57`: LLDT and LTR refuse a base that is not canonical.
#[test]
fn system_segments_need_a_canonical_base() {
    for (access, base_high, faults) in [
        (0x82, 0x0000_7fffu64, false),
        (0x82, 0xaaaa_aaaa, true),
        (0x89, 0xffff_8000, false),
        (0x89, 0xaaaa_aaaa, true),
    ] {
        let mut lab = Lab::long();
        lab.gdt(FREE, descriptor(0, 0x67, access, 0));
        lab.gdt(FREE + 8, base_high);
        let out = lab.run(|a| {
            a.mov(eax, u32::from(FREE))?;
            if access == 0x82 {
                a.lldt(ax)?
            } else {
                a.ltr(ax)?
            }
            a.hlt()
        });
        if faults {
            out.fault(vector::GP, u64::from(FREE));
        } else {
            out.done();
        }
    }
}

/// By KVM's `rdpru` and `apic`: what belongs to an extension that CPUID does not report is an invalid opcode, not the
/// end of the run.
#[test]
fn instructions_of_absent_extensions_are_undefined() {
    for bytes in [
        &[0x0f, 0x01, 0xfd][..],               // RDPRU
        &[0x0f, 0x01, 0xd9],                   // VMMCALL
        &[0x0f, 0x01, 0xfc],                   // CLZERO
        &[0x0f, 0x37],                         // GETSEC
        &[0xc7, 0xf8, 0, 0, 0, 0],             // XBEGIN
        &[0x0f, 0x0f, 0xc1, 0x9e],             // PFADD
        &[0x8f, 0xe9, 0x78, 0x81, 0xc1],       // VFRCZPD (XOP)
        &[0xc4, 0xe3, 0xf9, 0x69, 0xc2, 0x10], // VFMADDPD (FMA4)
    ] {
        let mut lab = Lab::protected();
        let out = lab.run(|a| a.db(bytes));
        out.fault_at(CODE, vector::UD, None);
    }
}

/// By test386: ARPL that changes nothing does not write, so its destination may be read-only.
#[test]
fn arpl_that_changes_nothing_does_not_write() {
    let mut lab = Lab::protected();
    lab.gdt(FREE, descriptor(DATA, 0xfff, 0x91, 0x4));
    lab.write(DATA, 2, 0xfff2);
    let out = lab.run(code!(a:
        mov(eax, u32::from(FREE)); mov(ds, eax); mov(ebx, 2); arpl(word_ptr(0), bx); hlt()));
    out.done();
    assert_eq!((out.reg(RAX), out.reg(RBX)), (FREE.into(), 2));
}

/// A board whose local APIC has only its base register.
struct ApicBase(u64);

impl Bus for ApicBase {
    fn msr_read(&mut self, _: &mut Access<'_>, number: u32) -> Option<u64> {
        (number == 0x1b).then_some(self.0)
    }

    fn msr_write(&mut self, _: &mut Access<'_>, number: u32, value: u64) -> Option<()> {
        (number == 0x1b).then(|| self.0 = value)
    }
}

/// By KVM's `apic`: CPUID does not report a local APIC that IA32_APIC_BASE has switched off.
#[test]
fn cpuid_leaves_out_a_local_apic_that_is_off() {
    for (base, reported) in [(0xfee0_0900u64, true), (0xfee0_0100, false)] {
        let mut mem = Memory::new(0x1000, 0).unwrap();
        mem.map(0xffff_f000, 0x1000, PhysPage::ram);
        // MOV EAX, 1; CPUID; HLT at the reset vector.
        mem.write_bytes(0xffff_fff0, &[0x66, 0xb8, 1, 0, 0, 0, 0x0f, 0xa2, 0xf4]);
        let engine = Box::new(Interpreter::default());
        let mut machine = Machine::new(mem, Box::new(ApicBase(base)), engine, TimeSource::Virtual);
        machine.run(3);
        assert_eq!(machine.cpu().regs[RDX] & 1 << 9 != 0, reported);
    }
}

/// By KVM's `apic`: without x2APIC its bit in IA32_APIC_BASE is reserved.
#[test]
fn x2apic_mode_cannot_be_entered_without_the_feature() {
    for (model, accepted) in [("max", true), ("max,-x2apic", false)] {
        let mut mem = Memory::new(0x1000, 0).unwrap();
        mem.map(0xffff_f000, 0x1000, PhysPage::ram);
        // JMP to MOV ECX, 1Bh; MOV EAX, FEE00D00h; XOR EDX, EDX; WRMSR; HLT.
        mem.write_bytes(0xffff_fff0, &[0xeb, 0x8e]);
        mem.write_bytes(0xffff_ff80, &[0x66, 0xb9, 0x1b, 0, 0, 0, 0x66, 0xb8, 0, 0x0d, 0xe0, 0xfe]);
        mem.write_bytes(0xffff_ff8c, &[0x66, 0x31, 0xd2, 0x0f, 0x30, 0xf4]);
        let engine = Box::new(Interpreter::default());
        let mut machine = Machine::new(mem, Box::new(ApicBase(0xfee0_0900)), engine, TimeSource::Virtual);
        machine.set_model(parse(model).unwrap().0);
        let stop = machine.run(20);
        assert_eq!(matches!(stop, Stop::Halted { .. }), accepted, "{model}: {stop:?}");
    }
}
