//! Virtual-8086 mode with and without VME, and protected-mode virtual interrupts.
//! SDM 3B, "8086 Emulation"; SDM 2A/2B at CLI, STI, PUSHF, POPF, INT n, IRET.

use emu_core::cpu::{RAX, RBX, RCX};
use iced_x86::IcedError;
use iced_x86::code_asm::*;

use crate::lab::*;

const VME: u32 = 1;
const PVI: u32 = 2;
const TF: u64 = 1 << 8;
const IF: u64 = 1 << 9;
const IOPL: u64 = 3 << 12;
const VM: u64 = 1 << 17;
const VIF: u64 = 1 << 19;
const VIP: u64 = 1 << 20;

/// Where virtual-8086 code lies: segment and linear address.
const SEGMENT: u32 = 0x900;
const PROGRAM: u64 = 0x9000;

/// Runs 16-bit code in virtual-8086 mode with these flags. It ends with an exception: HLT is #GP(0).
pub fn v86(
    lab: &mut Lab,
    flags: u64,
    code: impl FnOnce(&mut CodeAssembler) -> Result<(), IcedError>,
) -> (Outcome<'_>, u64) {
    let mut a = CodeAssembler::new(16).unwrap();
    code(&mut a).unwrap();
    let bytes = a.assemble(0).unwrap();
    for (n, &byte) in (0u64..).zip(&bytes) {
        lab.write(PROGRAM + n, 1, u64::from(byte));
    }
    let out = lab.run(|a| {
        for value in [0, 0, 0, 0, 0, 0xb000, (flags | VM | 2) as i32, SEGMENT as i32, 0] {
            a.push(value)?;
        }
        a.iretd()
    });
    (out, bytes.len() as u64)
}

/// The IP at which #GP(0) came.
#[track_caller]
fn gp(out: &Outcome<'_>) -> u64 {
    out.fault(vector::GP, 0).ip
}

#[test]
fn without_vme_sensitive_instructions_fault_below_iopl_3() {
    let forms: [&[u8]; 7] = [&[0xfa], &[0xfb], &[0x9c], &[0x9d], &[0xcf], &[0xcd, 0x21], &[0x66, 0x9c]];
    for bytes in forms {
        let mut lab = Lab::protected();
        let (out, _) = v86(&mut lab, 0, |a| a.db(bytes));
        assert_eq!(gp(&out), 0, "{bytes:x?}");
    }
    // INT3 is not sensitive: it uses the IDT, whose gate has DPL 0 here.
    let mut lab = Lab::protected();
    let (out, _) = v86(&mut lab, 0, |a| a.int3());
    out.fault(vector::GP, 3 * 8 + 2);
}

#[test]
fn at_iopl_3_they_work_on_if_itself() {
    let mut lab = Lab::protected();
    let (out, length) = v86(&mut lab, IOPL, |a| {
        a.sti()?;
        a.pushf()?;
        a.pop(ax)?;
        a.cli()?;
        a.pushf()?;
        a.pop(bx)?;
        a.hlt()
    });
    assert_eq!(gp(&out), length - 1);
    assert_eq!((out.reg(RAX) & IF, out.reg(RBX) & IF), (IF, 0));
}

#[test]
fn vme_keeps_vif_for_cli_sti_pushf_and_popf() {
    let mut lab = Lab::protected();
    lab.cr4 |= VME;
    let (out, length) = v86(&mut lab, 0, |a| {
        a.sti()?;
        a.pushf()?;
        a.pop(ax)?;
        a.cli()?;
        a.pushf()?;
        a.pop(bx)?;
        a.push(ax)?;
        a.popf()?;
        a.pushf()?;
        a.pop(cx)?;
        a.hlt()
    });
    assert_eq!(gp(&out), length - 1);
    let seen = |value: u64| value & (IF | IOPL);
    assert_eq!(seen(out.reg(RAX)), IF | IOPL);
    assert_eq!(seen(out.reg(RBX)), IOPL);
    assert_eq!(seen(out.reg(RCX)), IF | IOPL);
    assert_eq!(out.frame().flags & (IF | VIF | IOPL), VIF, "the real IF and IOPL stay");
}

#[test]
fn vme_faults_when_a_virtual_interrupt_waits_or_tf_is_loaded() {
    for (flags, bytes, faults) in [
        (VIP, &[0xfb][..], true),                               // STI
        (VIP, &[0xfa], false),                                  // CLI
        (VIP, &[0x68, 0x00, 0x02, 0x9d], true),                 // PUSH 200h; POPF
        (VIP, &[0x6a, 0x00, 0x9d], false),                      // PUSH 0; POPF
        (0, &[0x68, 0x00, 0x01, 0x9d], true),                   // PUSH 100h; POPF
        (0, &[0x66, 0x9c], true),                               // PUSHFD
        (0, &[0x66, 0x9d], true),                               // POPFD
        (0, &[0x66, 0xcf], true),                               // IRETD
        (0, &[0x68, 0x00, 0x01, 0x6a, 0, 0x6a, 0, 0xcf], true), // IRET with TF
    ] {
        let mut lab = Lab::protected();
        lab.cr4 |= VME;
        let (out, length) = v86(&mut lab, flags, |a| {
            a.db(bytes)?;
            a.hlt()
        });
        assert_eq!(gp(&out) != length - 1, faults, "{bytes:x?}");
    }
}

#[test]
fn vme_redirects_int_n_by_the_bitmap() {
    for (iopl, pushed) in [(0, IF | IOPL), (IOPL, IF | IOPL)] {
        let mut lab = Lab::protected();
        lab.cr4 |= VME;
        // The bitmap before the I/O map: vector 21h redirected, the others not.
        lab.write(TSS + 0x66, 2, 0x88);
        for n in 0..32 {
            lab.write(TSS + 0x68 + n, 1, if n == 4 { 0xfd } else { 0xff });
        }
        lab.write(0x21 * 4, 4, u64::from(SEGMENT) << 16 | 0x100);
        // The handler: POP three words, HLT.
        lab.write(PROGRAM + 0x100, 4, 0xf459_5b58);
        let start = iopl | if iopl == 0 { VIF } else { IF };
        let (out, _) = v86(&mut lab, start, code!(a: int(0x21)));
        assert_eq!(gp(&out), 0x103);
        assert_eq!((out.reg(RAX) & 0xffff, out.reg(RBX) & 0xffff), (2, u64::from(SEGMENT)));
        assert_eq!(out.reg(RCX) & (IF | IOPL | TF), pushed);
        assert_eq!(out.frame().flags & (IF | VIF), 0, "masked in the handler");
        // Not redirected: by the IDT at IOPL 3, #GP below.
        let (out, _) = v86(&mut lab, iopl, code!(a: int(0x80)));
        if iopl == 0 { assert_eq!(gp(&out), 0) } else { assert_eq!(out.fault(0x80, None).ip, 2) }
    }
}

#[test]
fn vme_iret_loads_vif() {
    let mut lab = Lab::protected();
    lab.cr4 |= VME;
    lab.write(PROGRAM + 0x40, 1, 0xf4);
    let (out, _) = v86(&mut lab, 0, |a| {
        a.push(0x203)?;
        a.push(SEGMENT as i32)?;
        a.push(0x40)?;
        a.iret()
    });
    assert_eq!(gp(&out), 0x40);
    assert_eq!(out.frame().flags & (VIF | IF | 1), VIF | 1);
}

#[test]
fn pvi_gives_cli_and_sti_vif_at_cpl_3_only() {
    for pvi in [true, false] {
        let mut lab = Lab::protected().at_cpl3();
        lab.cr4 |= if pvi { PVI } else { 0 };
        let out = lab.run(code!(a: sti(); int(0x80)));
        if pvi {
            assert_eq!(out.fault(0x80, None).flags & (VIF | IF), VIF);
        } else {
            out.fault_at(CODE, vector::GP, 0);
        }
    }
    let mut lab = Lab::protected().at_cpl3();
    lab.cr4 |= PVI;
    lab.user_flags |= VIP as u32;
    lab.run(code!(a: sti())).fault_at(CODE, vector::GP, 0);
    lab.user_flags |= VIF as u32;
    let frame = lab.run(code!(a: cli(); int(0x80))).fault(0x80, None);
    assert_eq!(frame.flags & VIF, 0);
}
