//! Segment limits, types and null selectors. SDM 3A, "Limit Checking", "Type Checking", "Null Segment Selector
//! Checking".

use emu_core::cpu::{RAX, RBX, RCX, RDX, RIP};
use iced_x86::code_asm::*;

use crate::lab::*;

/// A segment over [`DATA`] with this limit in bytes, access byte and flags.
fn small(lab: &mut Lab, limit: u64, access: u64, flags: u64) {
    lab.gdt(FREE, descriptor(DATA, limit, access, flags));
}

#[test]
fn last_byte_within_the_limit_can_be_reached_and_the_next_not() {
    let mut lab = Lab::protected();
    small(&mut lab, 0xfff, 0x93, 0x4);
    lab.write(DATA + 0xffc, 4, 0x1234_5678);
    let out = lab.run(code!(a: mov(eax, u32::from(FREE)); mov(ds, eax); mov(eax, dword_ptr(0xffc)); hlt()));
    out.done();
    assert_eq!(out.reg(RAX), 0x1234_5678);
    for (offset, size) in [(0x1000u32, 1), (0xffd, 4), (0xfff, 2), (0xffff_ffff, 4)] {
        let mut lab = Lab::protected();
        small(&mut lab, 0xfff, 0x93, 0x4);
        let out = lab.run(|a| {
            a.mov(eax, u32::from(FREE))?;
            a.mov(ds, eax)?;
            a.mov(ebx, offset)?;
            match size {
                1 => a.mov(al, byte_ptr(ebx))?,
                2 => a.mov(ax, word_ptr(ebx))?,
                _ => a.mov(eax, dword_ptr(ebx))?,
            }
            a.hlt()
        });
        let frame = out.fault(vector::GP, 0);
        assert_eq!(frame.ip, CODE + 12, "the fault is at the access");
        assert_eq!(frame.cs, CODE32);
        assert_ne!(frame.flags & 1 << 16, 0, "a fault shows RF set");
    }
}

#[test]
fn limit_violations_through_ss_are_stack_faults() {
    let mut lab = Lab::protected();
    small(&mut lab, 0xfff, 0x93, 0x4);
    let out = lab.run(code!(a:
        mov(eax, u32::from(FREE)); mov(ss, eax); mov(esp, 0x800);
        mov(ebp, 0x1000); mov(al, byte_ptr(ebp)); hlt()));
    out.fault(vector::SS, 0);
}

#[test]
fn expand_down_segments_reach_from_behind_the_limit_to_the_top() {
    for (offset, faults) in
        [(0xfffu32, true), (0x1000, false), (0xfffc, false), (0xfffd, true), (0x1_0000, true)]
    {
        let mut lab = Lab::protected();
        small(&mut lab, 0xfff, 0x97, 0); // 16-bit: up to FFFFh
        let out = lab.run(code!(a:
            mov(eax, u32::from(FREE)); mov(ds, eax); mov(ebx, offset); mov(eax, dword_ptr(ebx)); hlt()));
        if faults {
            out.fault(vector::GP, 0);
        } else {
            out.done();
        }
    }
    // With B the top is FFFF_FFFFh.
    let mut lab = Lab::protected();
    small(&mut lab, 0xfff, 0x97, 0x4);
    lab.run(code!(a: mov(eax, u32::from(FREE)); mov(ds, eax); mov(eax, dword_ptr(0x1_0000)); hlt())).done();
}

#[test]
fn types_are_checked_at_each_access() {
    // Writing to read-only data and to code, reading execute-only code.
    for (access, write, faults) in
        [(0x91, true, true), (0x91, false, false), (0x9b, true, true), (0x9b, false, false)]
    {
        let mut lab = Lab::protected();
        small(&mut lab, 0xfff, access, 0x4);
        let out = lab.run(|a| {
            a.mov(eax, u32::from(FREE))?;
            a.mov(ds, eax)?;
            if write {
                a.mov(byte_ptr(0), al)?
            } else {
                a.mov(al, byte_ptr(0))?
            }
            a.hlt()
        });
        if faults {
            out.fault_at(CODE + 7, vector::GP, 0);
        } else {
            out.done();
        }
    }
}

#[test]
fn loading_a_data_register_checks_the_descriptor() {
    let free = u64::from(FREE);
    for (value, selector, vector, error) in [
        (descriptor(DATA, 0xfff, 0x99, 4), FREE, vector::GP, free), // execute-only code
        (descriptor(DATA, 0xfff, 0x13, 4), FREE, vector::NP, free), // not present
        (descriptor(DATA, 0xfff, 0x82, 4), FREE, vector::GP, free), // a system descriptor
        (descriptor(DATA, 0xfff, 0x93, 4), FREE | 3, vector::GP, free), // RPL above DPL
        (descriptor(DATA, 0xfff, 0x93, 4), 0x800, vector::GP, 0x800), // beyond the GDT's limit
        (descriptor(DATA, 0xfff, 0x93, 4), FREE | 4, vector::GP, free | 4), // no LDT
    ] {
        let mut lab = Lab::protected();
        lab.gdt(FREE, value);
        let out = lab.run(code!(a: mov(eax, u32::from(selector)); mov(ds, eax); hlt()));
        out.fault_at(CODE + 5, vector, error);
    }
}

/// A selector with TI set names a descriptor of the LDT, and that of the GDT with its index counts for nothing.
#[test]
fn selectors_with_ti_are_looked_up_in_the_ldt() {
    let ldt = FREE;
    let selector = 0x0cu32; // index 1 of the LDT
    for (bytes, vector) in [(16u64, None), (15, Some(vector::GP))] {
        let mut lab = Lab::protected();
        lab.gdt(ldt, descriptor(DATA, bytes - 1, 0x82, 0));
        lab.write(DATA + 8, 8, descriptor(DATA + 0x100, 0xfff, 0x93, 4));
        lab.write(DATA + 0x104, 4, 0x1234_5678);
        let out = lab.run(code!(a:
            mov(eax, u32::from(ldt)); lldt(ax); mov(eax, selector); mov(ds, eax); mov(ebx, dword_ptr(4)); hlt()));
        match vector {
            None => {
                out.done();
                assert_eq!(out.reg(RBX), 0x1234_5678);
            }
            Some(vector) => drop(out.fault(vector, u64::from(selector))),
        }
    }
}

#[test]
fn loading_ss_checks_more() {
    let free = u64::from(FREE);
    for (access, selector, vector, error) in [
        (0x93, 0, vector::GP, 0),
        (0x91, FREE, vector::GP, free),     // read-only
        (0x9b, FREE, vector::GP, free),     // code
        (0xf3, FREE, vector::GP, free),     // DPL 3 at CPL 0
        (0x93, FREE | 3, vector::GP, free), // RPL 3 at CPL 0
        (0x13, FREE, vector::SS, free),     // not present: #SS, not #NP
    ] {
        let mut lab = Lab::protected();
        small(&mut lab, 0xffff, access, 0x4);
        let out = lab.run(code!(a: mov(eax, u32::from(selector)); mov(ss, eax); hlt()));
        out.fault_at(CODE + 5, vector, error);
    }
}

#[test]
fn a_null_selector_can_be_loaded_but_not_used() {
    for selector in 0..4u32 {
        let mut lab = Lab::protected();
        let out = lab.run(code!(a: mov(eax, selector); mov(ds, eax); mov(al, byte_ptr(0)); hlt()));
        out.fault_at(CODE + 7, vector::GP, 0);
    }
    // 64-bit mode pays no attention to it.
    Lab::long()
        .run(code!(a: xor(eax, eax); mov(ds, eax); mov(al, byte_ptr(rax + DATA as i32)); hlt()))
        .done();
}

#[test]
fn loading_a_segment_sets_its_accessed_bit() {
    let mut lab = Lab::protected();
    small(&mut lab, 0xfff, 0x92, 0x4);
    lab.run(code!(a: mov(eax, u32::from(FREE)); mov(ds, eax); hlt())).done();
    assert_eq!(lab.gdt_entry(FREE) >> 40 & 0xff, 0x93);
}

#[test]
fn instruction_fetch_obeys_the_code_limit() {
    let mut lab = Lab::protected();
    lab.gdt(FREE, descriptor(0, 0x8fff, 0x9b, 0x4));
    // A two-byte instruction whose second byte lies beyond the limit.
    lab.write(0x8fff, 2, 0xc0fe);
    let out = lab.run(code!(a: db(&[0xea, 0xff, 0x8f, 0, 0, 0x60, 0])));
    out.fault_at(0x8fff, vector::GP, 0);
    // A jump beyond the limit faults at the jump.
    let mut lab = Lab::protected();
    lab.gdt(FREE, descriptor(0, 0x8fff, 0x9b, 0x4));
    lab.assemble(0x8800, 32, code!(a: jmp(0x9000u64)));
    let out = lab.run(code!(a: db(&[0xea, 0x00, 0x88, 0, 0, 0x60, 0])));
    out.fault_at(0x8800, vector::GP, 0);
}

#[test]
fn verr_verw_lar_and_lsl_tell_without_faulting() {
    let mut lab = Lab::protected();
    small(&mut lab, 0xf_ffff, 0x91, 0xc);
    let out = lab.run(code!(a:
        mov(ecx, u32::from(FREE));
        verr(cx); setz(al);
        verw(cx); setz(ah);
        lar(ebx, ecx); lsl(edx, ecx);
        mov(ecx, 0x800); lsl(esi, ecx); setz(ch);
        hlt()));
    out.done();
    assert_eq!(out.reg(0) & 0xffff, 0x0001);
    assert_eq!(out.reg(3) & !0xf_0000, 0x00c0_9100, "bits 19:16 are undefined");
    assert_eq!(out.reg(2), 0xffff_ffff);
    assert_eq!(out.reg(1), 0x800 & !0xff00);
}

/// SDM 2A, "LAR", table "Segment and Gate Types"; AMD APM vol. 3, "LAR".
#[test]
fn system_descriptors_that_lar_and_lsl_know_go_by_mode_and_vendor() {
    for (kind, legacy, intel, amd) in [
        (1, "LL", "--", "--"), // 16-bit TSS
        (2, "LL", "-L", "LL"), // LDT
        (3, "LL", "--", "--"),
        (4, "L-", "--", "--"), // 16-bit call gate
        (5, "L-", "--", "--"), // task gate
        (6, "--", "--", "--"),
        (9, "LL", "LL", "LL"), // TSS
        (11, "LL", "LL", "LL"),
        (12, "L-", "L-", "L-"), // call gate
        (14, "--", "--", "--"),
    ] {
        for (mut lab, model, expected) in
            [(Lab::protected(), "max", legacy), (Lab::long(), "max", intel), (Lab::long(), "qemu64", amd)]
        {
            lab.machine.set_model(emu_core::cpu::model::parse(model).unwrap().0);
            lab.gdt(FREE, descriptor(DATA, 0xfff, 0x80 | kind, 0));
            let out = lab.run(code!(a:
                mov(ecx, u32::from(FREE)); lar(ebx, ecx); setz(al); lsl(edx, ecx); setz(ah); hlt()));
            out.done();
            let known = |n: usize| u64::from(&expected[n..=n] == "L") << (8 * n);
            assert_eq!(out.reg(RAX) & 0xffff, known(0) | known(1), "type {kind} on {model}");
        }
    }
}

#[test]
fn a_real_mode_access_across_offset_ffff_faults() {
    for (offset, faults) in [(0xfffe, false), (0xffff, true)] {
        let mut lab = Lab::real();
        let out = lab.run(code!(a: mov(bx, offset); mov(ax, word_ptr(bx)); hlt()));
        if faults {
            out.fault_at(CODE + 3, vector::GP, None);
        } else {
            out.done();
        }
    }
    // An offset above FFFFh by a 32-bit address as well.
    let mut lab = Lab::real();
    lab.run(code!(a: mov(ebx, 0x1_0000); mov(al, byte_ptr(ebx)); hlt())).fault(vector::GP, None);
    // Through BP it is #SS.
    let mut lab = Lab::real();
    lab.run(code!(a: mov(bp, 0xffffu32); mov(ax, word_ptr(bp)); hlt())).fault(vector::SS, None);
}

#[test]
fn sixteen_bit_addresses_wrap_within_64_kib() {
    let mut lab = Lab::real();
    lab.write(0x0500, 1, 0x77);
    let out = lab.run(code!(a: mov(bx, 0xf500u32); mov(si, 0x1000); mov(al, byte_ptr(bx + si)); hlt()));
    out.done();
    assert_eq!(out.reg(RAX) & 0xff, 0x77);
}

#[test]
fn unreal_mode_keeps_the_limit_of_protected_mode() {
    let mut lab = Lab::real();
    lab.gdt(DATA32, descriptor(0, 0xf_ffff, 0x93, 0xc));
    lab.write(0x7f0, 2, 0xff);
    lab.write(0x7f2, 4, GDT);
    lab.write(0x30_0000, 4, 0xcafe_f00d);
    let out = lab.run(code!(a:
        db(&[0x66, 0x0f, 0x01, 0x16, 0xf0, 0x07]); // LGDT [7F0h]
        mov(eax, cr0); or(al, 1); mov(cr0, eax);
        mov(bx, u32::from(DATA32)); mov(ds, bx);
        and(al, 0xfe); mov(cr0, eax);
        xor(ax, ax); mov(ds, ax); // the base changes, the limit stays
        mov(ebx, 0x30_0000); mov(eax, dword_ptr(ebx)); hlt()));
    out.done();
    assert_eq!(out.reg(RAX), 0xcafe_f00d);
}

#[test]
fn a20_closed_wraps_at_one_megabyte() {
    let mut lab = Lab::real();
    lab.write(0x0500, 1, 0x11);
    lab.write(0x10_0500, 1, 0x22);
    let out = lab.run(code!(a:
        mov(ax, 0xffffu32); mov(ds, ax);
        mov(al, 0); out(0x92, al); mov(bl, byte_ptr(0x510));
        mov(al, 2); out(0x92, al); mov(bh, byte_ptr(0x510)); hlt()));
    out.done();
    assert_eq!(out.reg(3) & 0xffff, 0x2211);
}

#[test]
fn fs_and_gs_bases_count_in_64_bit_mode() {
    let mut lab = Lab::long();
    lab.write(DATA + 0x18, 8, 0x0123_4567_89ab_cdef);
    let out = lab.run(code!(a:
        mov(ecx, 0xc000_0101u32); mov(eax, DATA as u32); xor(edx, edx); wrmsr(); // IA32_GS_BASE
        mov(eax, 0x10); mov(rbx, qword_ptr(rax + 8).gs()); hlt()));
    out.done();
    assert_eq!(out.reg(3), 0x0123_4567_89ab_cdef);
}

#[test]
fn the_other_bases_do_not_count_in_64_bit_mode() {
    let mut lab = Lab::long();
    small(&mut lab, 0xfff, 0x93, 0x4);
    lab.gdt(FREE + 8, descriptor(DATA, 0xfff, 0x9b, 0x2)); // 64-bit code with a base
    lab.write(DATA + 8, 8, 0x1234);
    lab.write(DATA + 0x100, 8, DATA);
    lab.write(DATA + 0x108, 2, u64::from(FREE + 8));
    let out = lab.run(code!(a:
        mov(eax, u32::from(FREE)); mov(ds, eax); mov(es, eax); mov(ss, eax);
        mov(ebx, DATA as u32); mov(eax, 0x12); mov(word_ptr(rbx + 0x20), 0xff);
        lidt(tbyte_ptr(rbx + 0x20)); sidt(tbyte_ptr(rbx + 0x30)); // a handler that asks the segment itself
        push(rbx); pop(rcx); mov(rdx, qword_ptr(rbx + 8)); movzx(esi, word_ptr(rbx + 0x30)); hlt()));
    out.done();
    assert_eq!((out.reg(RCX), out.reg(RDX), out.reg(6) & 0xffff), (DATA, 0x1234, 0xff));
    // JMP to the code segment: its base is none.
    lab.write(DATA, 1, 0xf4);
    let out = lab.run(code!(a: mov(eax, u32::from(FREE)); mov(ds, eax); mov(ebx, DATA as u32);
        db(&[0x48, 0xff, 0xab, 0x00, 0x01, 0x00, 0x00]))); // JMP FAR [rbx + 100h]
    out.done();
    assert_eq!(out.reg(RIP), DATA + 1);
}

#[test]
fn addresses_that_are_not_canonical_fault() {
    let mut lab = Lab::long();
    lab.run(code!(a: mov(rbx, 0x8000_0000_0000u64); mov(al, byte_ptr(rbx)); hlt())).fault(vector::GP, 0);
    let mut lab = Lab::long();
    lab.run(code!(a: mov(rbp, 0x8000_0000_0000u64); mov(al, byte_ptr(rbp)); hlt())).fault(vector::SS, 0);
    // An access that begins below the hole and ends in it.
    let mut lab = Lab::long();
    lab.run(code!(a: mov(rbx, 0x7fff_ffff_fffcu64); mov(rax, qword_ptr(rbx)); hlt())).fault(vector::GP, 0);
    let mut lab = Lab::long();
    lab.run(code!(a: mov(rbx, 0x8000_0000_0000u64); jmp(rbx); hlt())).fault(vector::GP, 0);
}

#[test]
fn arpl_writes_only_what_changes() {
    for (selector, faults) in [(0xfff2u64, false), (0xfff3, false), (0xfff1, true)] {
        let mut lab = Lab::protected();
        small(&mut lab, 0xfff, 0x91, 0x4); // read-only
        lab.write(DATA, 2, selector);
        let out = lab.run(code!(a:
            mov(eax, u32::from(FREE)); mov(ds, eax); mov(ebx, 2); arpl(word_ptr(0), bx); hlt()));
        if faults {
            out.fault(vector::GP, 0);
        } else {
            out.done();
        }
    }
}
