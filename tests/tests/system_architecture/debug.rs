//! Breakpoints, single step on branches, last-branch records. SDM 3B, "Debug Registers", "Debug Exceptions".

use emu_core::cpu::{RAX, RBX, RCX, RDI};
use iced_x86::code_asm::*;

use crate::lab::*;

const BS: u64 = 1 << 14;
const BD: u64 = 1 << 13;
const RF: u64 = 1 << 16;
const DE: u32 = 1 << 3;

/// Assembles: DR0 = address, DR7 = control, by way of EAX.
fn arm(a: &mut CodeAssembler, address: u64, control: u32) -> Result<(), iced_x86::IcedError> {
    a.mov(eax, address as u32)?;
    if a.bitness() == 64 {
        a.mov(dr0, rax)?;
        a.mov(eax, control)?;
        a.mov(dr7, rax)
    } else {
        a.mov(dr0, eax)?;
        a.mov(eax, control)?;
        a.mov(dr7, eax)
    }
}

/// DR7 for breakpoint 0: R/W and LEN fields, locally enabled.
fn control(kind: u32, length: u32) -> u32 {
    1 | kind << 16 | length << 18
}

const EXECUTE: u32 = 0;
const WRITE: u32 = 1;
const PORT: u32 = 2;
const ACCESS: u32 = 3;

fn hits(out: &Outcome<'_>) -> u64 {
    out.cpu().dr[6] & 0xe00f
}

#[test]
fn a_write_breakpoint_traps_behind_the_write_and_not_on_reads() {
    for mut lab in [Lab::real(), Lab::protected(), Lab::long()] {
        // Real mode reaches only its first 64 KiB.
        let target = 0x6000u64;
        let out = lab.run(|a| {
            arm(a, target + 2, control(WRITE, 1))?;
            a.mov(bx, word_ptr(target as i32 + 2))?;
            a.nop()?;
            a.mov(byte_ptr(target as i32 + 3), 1)?;
            a.nop()?;
            a.hlt()
        });
        let end = out.end;
        assert_eq!(out.fault(vector::DB, None).ip, end - 2, "{:?}", out.lab.mode);
        assert_eq!(hits(&out), 1);
    }
}

#[test]
fn lengths_and_alignment_choose_the_bytes_that_count() {
    // LEN field, address in DR0, first and last byte that count.
    for (length, address, first, last) in [
        (0, DATA + 5, DATA + 5, DATA + 5),
        (1, DATA + 5, DATA + 4, DATA + 5),
        (3, DATA + 6, DATA + 4, DATA + 7),
        (2, DATA + 13, DATA + 8, DATA + 15),
    ] {
        for at in DATA..DATA + 20 {
            let mut lab = Lab::long();
            let out = lab.run(|a| {
                arm(a, address, control(ACCESS, length))?;
                a.mov(bl, byte_ptr(at as i32))?;
                a.nop()?;
                a.hlt()
            });
            assert_eq!(out.vector() == Some(1), (first..=last).contains(&at), "{length} {at:x}");
        }
        // A wide access that only touches the last byte.
        let mut lab = Lab::long();
        let out = lab.run(|a| {
            arm(a, address, control(ACCESS, length))?;
            a.mov(rbx, qword_ptr(last as i32))?;
            a.nop()?;
            a.hlt()
        });
        out.fault(vector::DB, None);
    }
}

#[test]
fn an_access_across_pages_hits_on_the_second_page() {
    let mut lab = Lab::long();
    let out = lab.run(|a| {
        arm(a, DATA + 0x1001, control(WRITE, 0))?;
        a.mov(qword_ptr(DATA as i32 + 0xffc), rax)?;
        a.hlt()
    });
    let end = out.end;
    assert_eq!(out.fault(vector::DB, None).ip, end - 1);
}

#[test]
fn a_page_with_a_breakpoint_is_left_when_the_breakpoint_goes() {
    let mut lab = Lab::protected();
    let out = lab.run(|a| {
        a.mov(dword_ptr(DATA as i32), 1)?; // cached before
        arm(a, DATA + 0x100, control(WRITE, 3))?;
        a.mov(dword_ptr(DATA as i32), 2)?; // the same page, elsewhere
        a.xor(eax, eax)?;
        a.mov(dr7, eax)?;
        a.mov(dword_ptr(DATA as i32 + 0x100), 3)?;
        a.hlt()
    });
    out.done();
    assert_eq!(hits(&out), 0);
}

#[test]
fn an_instruction_breakpoint_is_a_fault_that_rf_lets_pass() {
    for mut lab in [Lab::protected(), Lab::long()] {
        let long = lab.mode == Mode::Long;
        // The handler counts, sets RF in its frame and returns.
        lab.assemble(0x9000, if long { 64 } else { 32 }, |a| {
            a.inc(edi)?;
            if long {
                a.or(dword_ptr(rsp + 16), RF as i32)?;
                a.iretq()
            } else {
                a.or(dword_ptr(esp + 8), RF as i32)?;
                a.iretd()
            }
        });
        lab.handler(vector::DB, 0x9000);
        lab.assemble(0x8800, if long { 64 } else { 32 }, |a| {
            let mut top = a.create_label();
            a.set_label(&mut top)?;
            a.inc(ebx)?;
            a.dec(ecx)?;
            a.jnz(top)?;
            a.hlt()
        });
        let out = lab.run(|a| {
            a.xor(edi, edi)?;
            a.xor(ebx, ebx)?;
            a.mov(ecx, 3)?;
            arm(a, 0x8800, control(EXECUTE, 0))?;
            a.jmp(0x8800)
        });
        out.done();
        assert_eq!((out.reg(RDI), out.reg(RBX)), (3, 3), "once in each round");
        assert_eq!(hits(&out), 1);
    }
}

#[test]
fn an_instruction_breakpoint_shows_rf_clear_and_comes_before_the_instruction() {
    let mut lab = Lab::protected();
    lab.assemble(0x8800, 32, code!(a: ud2()));
    let out = lab.run(|a| {
        arm(a, 0x8800, control(EXECUTE, 0))?;
        a.jmp(0x8800)
    });
    let frame = out.fault(vector::DB, None);
    assert_eq!((frame.ip, frame.flags & RF), (0x8800, 0));
}

#[test]
fn a_repeated_instruction_meets_its_breakpoint_once() {
    let mut lab = Lab::protected();
    lab.assemble(0x8800, 32, code!(a: rep().stosb(); hlt()));
    lab.assemble(0x9000, 32, code!(a: inc(ebx); or(dword_ptr(esp + 8), RF as i32); iretd()));
    lab.handler(vector::DB, 0x9000);
    let out = lab.run(|a| {
        a.xor(ebx, ebx)?;
        a.mov(edi, DATA as u32)?;
        a.mov(ecx, 100)?;
        arm(a, 0x8800, control(EXECUTE, 0))?;
        a.jmp(0x8800)
    });
    out.done();
    assert_eq!((out.reg(RBX), out.reg(RCX)), (1, 0));
}

#[test]
fn data_breakpoints_stop_a_repeated_instruction_between_iterations() {
    let mut lab = Lab::protected();
    let out = lab.run(|a| {
        a.mov(edi, DATA as u32)?;
        a.mov(ecx, 100)?;
        arm(a, DATA + 10, control(WRITE, 0))?;
        a.rep().stosb()?;
        a.hlt()
    });
    let end = out.end;
    let frame = out.fault(vector::DB, None);
    assert_eq!((frame.ip, out.reg(RDI), out.reg(RCX)), (end - 3, DATA + 11, 89));
    assert_eq!(frame.flags & RF, RF, "so that the rest goes on");
}

#[test]
fn port_breakpoints_need_cr4_de() {
    for de in [true, false] {
        let mut lab = Lab::protected();
        lab.cr4 |= if de { DE } else { 0 };
        let out = lab.run(|a| {
            arm(a, 0x80, control(PORT, 0))?;
            a.out(0x81, al)?;
            a.out(0x80, al)?;
            a.nop()?;
            a.hlt()
        });
        let end = out.end;
        if de {
            assert_eq!(out.fault(vector::DB, None).ip, end - 2);
            assert_eq!(hits(&out), 1);
        } else {
            out.done();
        }
    }
}

#[test]
fn debug_extensions_make_dr4_and_dr5_undefined() {
    let mut lab = Lab::protected();
    lab.run(code!(a: mov(eax, 0x401); mov(dr5, eax); mov(ebx, dr7); hlt())).done();
    assert_eq!(lab.machine.cpu().regs[RBX], 0x401);
    lab.cr4 |= DE;
    lab.run(code!(a: mov(eax, dr4))).fault_at(CODE, vector::UD, None);
}

#[test]
fn general_detect_faults_before_the_access_and_clears_itself() {
    let mut lab = Lab::protected();
    let out = lab.run(code!(a: mov(eax, 0x2400); mov(dr7, eax); mov(ebx, dr0); hlt()));
    let end = out.end;
    assert_eq!(out.fault(vector::DB, None).ip, end - 4);
    assert_eq!(hits(&out), BD);
    assert_eq!(out.cpu().dr[7], 0x400);
}

#[test]
fn dr6_keeps_other_causes_and_dr7_forces_its_fixed_bits() {
    let mut lab = Lab::protected();
    let out = lab.run(|a| {
        a.mov(eax, 0x2008)?; // BD stays, B3 does not
        a.mov(dr6, eax)?;
        arm(a, DATA, control(WRITE, 0))?;
        a.mov(byte_ptr(DATA as i32), 1)?;
        a.hlt()
    });
    out.fault(vector::DB, None);
    assert_eq!(out.cpu().dr[6], 0xffff_2ff1);
    let out = lab.run(code!(a: xor(eax, eax); mov(dr6, eax); mov(ebx, dr6); dec(eax); mov(dr6, eax);
        mov(ecx, dr6); mov(eax, 0xffff_d000u32); mov(dr7, eax); mov(eax, dr7); hlt()));
    out.done();
    assert_eq!((out.reg(RBX), out.reg(RCX), out.reg(RAX)), (0xffff_0ff0, 0xffff_efff, 0xffff_0400));
}

#[test]
fn upper_halves_of_dr6_and_dr7_must_be_zero() {
    for n in [6, 7] {
        let mut lab = Lab::long();
        let frame = lab
            .run(|a| {
                a.mov(rax, 1u64 << 32)?;
                if n == 6 { a.mov(dr6, rax) } else { a.mov(dr7, rax) }
            })
            .fault(vector::GP, 0);
        assert_eq!(frame.ip, CODE + 10);
    }
}

#[test]
fn behind_a_load_of_ss_a_data_breakpoint_waits_one_instruction() {
    let mut lab = Lab::protected();
    lab.write(DATA, 4, u64::from(DATA32));
    let out = lab.run(|a| {
        arm(a, DATA, control(ACCESS, 0))?;
        a.mov(ss, word_ptr(DATA as i32))?;
        a.nop()?;
        a.nop()?;
        a.hlt()
    });
    let end = out.end;
    assert_eq!(out.fault(vector::DB, None).ip, end - 2);
    assert_eq!(hits(&out), 1);
}

#[test]
fn behind_a_load_of_ss_a_data_breakpoint_arrives_in_the_handler_of_int() {
    let mut lab = Lab::protected();
    lab.write(DATA, 4, u64::from(DATA32));
    let out = lab.run(|a| {
        arm(a, DATA, control(ACCESS, 0))?;
        a.mov(ss, word_ptr(DATA as i32))?;
        a.int(0x40)
    });
    assert_eq!(out.fault(vector::DB, None).ip, STUBS + 16 * 0x40);
}

#[test]
fn behind_a_load_of_ss_an_instruction_breakpoint_is_lost() {
    let mut lab = Lab::protected();
    lab.assemble(0x8800, 32, code!(a: mov(ss, ecx); nop(); hlt()));
    let out = lab.run(|a| {
        a.mov(ecx, u32::from(DATA32))?;
        arm(a, 0x8802, control(EXECUTE, 0))?;
        a.jmp(0x8800)
    });
    out.done();
}

#[test]
fn a_fault_drops_the_breakpoints_its_instruction_hit() {
    let mut lab = Lab::protected();
    let out = lab.run(|a| {
        a.xor(ebx, ebx)?;
        a.mov(dword_ptr(DATA as i32), 0)?;
        arm(a, DATA, control(ACCESS, 0))?;
        a.div(dword_ptr(DATA as i32))
    });
    out.fault(vector::DE, None);
    assert_eq!(hits(&out), 0);
}

#[test]
fn a_single_step_and_a_breakpoint_come_together() {
    let mut lab = Lab::protected();
    let out = lab.run(|a| {
        arm(a, DATA, control(WRITE, 0))?;
        a.pushfd()?;
        a.or(dword_ptr(esp), 0x100)?;
        a.popfd()?;
        a.mov(byte_ptr(DATA as i32), 1)?;
        a.hlt()
    });
    out.fault(vector::DB, None);
    assert_eq!(hits(&out), BS | 1);
}

#[test]
fn icebp_ignores_the_gate_level_and_sets_nothing_in_dr6() {
    let mut lab = Lab::protected().at_cpl3();
    let out = lab.run(code!(a: int1()));
    assert_eq!(out.fault(vector::DB, None).ip, CODE + 1);
    assert_eq!(hits(&out), 0);
}

const DEBUGCTL: u32 = 0x1d9;

#[test]
fn branch_trap_flag_steps_from_branch_to_branch() {
    let mut lab = Lab::protected();
    let out = lab.run(|a| {
        let (mut target, mut over) = (a.create_label(), a.create_label());
        a.mov(ecx, DEBUGCTL)?;
        a.xor(edx, edx)?;
        a.mov(eax, 2)?;
        a.wrmsr()?;
        a.pushfd()?;
        a.or(dword_ptr(esp), 0x100)?;
        a.popfd()?;
        a.xor(ebx, ebx)?;
        a.jnz(over)?; // not taken
        a.inc(ebx)?;
        a.set_label(&mut over)?;
        a.inc(ebx)?;
        a.jmp(target)?;
        a.inc(ebx)?;
        a.set_label(&mut target)?;
        a.nop()?;
        a.hlt()
    });
    let end = out.end;
    assert_eq!(out.fault(vector::DB, None).ip, end - 2);
    assert_eq!((out.reg(RBX), hits(&out)), (2, BS));
    assert_eq!(out.cpu().debug.control, 0, "the handler runs without BTF");
}

#[test]
fn last_branch_records_name_jumps_and_exceptions() {
    let mut lab = Lab::long();
    lab.assemble(0x8800, 64, code!(a: nop(); ud2()));
    let out = lab.run(|a| {
        a.mov(ecx, DEBUGCTL)?;
        a.xor(edx, edx)?;
        a.mov(eax, 1)?;
        a.wrmsr()?;
        a.jmp(0x8800)
    });
    let end = out.end;
    out.fault(vector::UD, None);
    let debug = &out.cpu().debug;
    let jump = end - 5;
    assert_eq!((debug.from[1], debug.to[1]), (jump, 0x8800));
    assert_eq!((debug.from[2], debug.to[2]), (0x8801, STUBS + 16 * u64::from(vector::UD)));
    assert_eq!((debug.top, debug.last_exception), (2, (jump, 0x8800)));
    // Reserved bits, and numbers without a register.
    for (msr, value) in [(DEBUGCTL, 4u32), (0x690, 0), (0x1de, 0)] {
        let out = Lab::long().run(code!(a: mov(ecx, msr); mov(eax, value); xor(edx, edx); wrmsr())).vector();
        assert_eq!(out, Some(vector::GP), "{msr:x}");
    }
}

#[test]
fn a_single_step_comes_before_an_interrupt() {
    let mut lab = Lab::protected();
    let out = lab.run(|a| {
        a.mov(al, 0x41)?;
        a.pushfd()?;
        a.or(dword_ptr(esp), 0x300)?;
        a.popfd()?;
        a.out(0x10, al)?;
        a.hlt()
    });
    let end = out.end;
    assert_eq!(out.fault(vector::DB, None).ip, end - 1);
}

#[test]
fn an_interrupt_comes_before_an_instruction_breakpoint() {
    let mut lab = Lab::protected();
    lab.assemble(0x8800, 32, code!(a: sti(); nop(); nop(); hlt()));
    let out = lab.run(|a| {
        arm(a, 0x8802, control(EXECUTE, 0))?;
        a.mov(al, 0x41)?;
        a.out(0x10, al)?;
        a.jmp(0x8800)
    });
    assert_eq!(out.fault(0x41, None).ip, 0x8802);
    assert_eq!(hits(&out), 0);
}

#[test]
fn data_breakpoints_see_the_processors_own_accesses_to_its_tables() {
    // A descriptor that is read, one whose accessed bit is set, a gate, a stack pointer in the TSS.
    let mut lab = Lab::protected();
    let out = lab.run(|a| {
        arm(a, GDT + u64::from(DATA32), control(ACCESS, 3))?;
        a.mov(ebx, u32::from(DATA32))?;
        a.mov(es, ebx)?;
        a.nop()?;
        a.hlt()
    });
    let end = out.end;
    assert_eq!(out.fault(vector::DB, None).ip, end - 2);
    for (accessed, expected) in [(0x93, None), (0x92, Some(vector::DB))] {
        let mut lab = Lab::protected();
        lab.gdt(FREE, descriptor(0, 0xf_ffff, accessed, 0xc));
        let out = lab.run(|a| {
            arm(a, GDT + u64::from(FREE) + 4, control(WRITE, 3))?;
            a.mov(ebx, u32::from(FREE))?;
            a.mov(es, ebx)?;
            a.nop()?;
            a.hlt()
        });
        assert_eq!(out.vector(), expected);
    }
    let mut lab = Lab::protected();
    let out = lab.run(|a| {
        arm(a, IDT + 8 * 0x40, control(ACCESS, 3))?;
        a.int(0x40)
    });
    assert_eq!(out.fault(vector::DB, None).ip, STUBS + 16 * 0x40);
    let mut lab = Lab::protected().at_cpl3();
    lab.assemble(0x9000, 32, |a| {
        arm(a, TSS + 4, control(ACCESS, 3))?;
        a.iretd()
    });
    lab.handler(vector::UD, 0x9000);
    let out = lab.run(code!(a: ud2()));
    // Armed inside; the second #UD reads ESP0.
    assert_eq!(out.fault(vector::DB, None).ip, 0x9000);
}

#[test]
fn page_walks_are_no_data_accesses() {
    let mut lab = Lab::long();
    let entry = lab.pte_address(DATA);
    let out = lab.run(|a| {
        arm(a, entry, control(ACCESS, 2))?;
        a.mov(dword_ptr(DATA as i32), 1)?;
        a.nop()?;
        a.hlt()
    });
    out.done();
}
