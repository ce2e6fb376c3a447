//! Exceptions and interrupts: delivery in each mode, double and triple faults, single step, interrupt shadows.
//! SDM 3A, "Interrupt and Exception Handling".

use emu_core::cpu::{RAX, RBX, RCX, RDX, RSP};
use emu_core::machine::Stop;
use iced_x86::code_asm::*;

use crate::lab::*;

fn labs() -> [Lab; 3] {
    [Lab::real(), Lab::protected(), Lab::long()]
}

#[test]
fn divide_errors_are_faults() {
    for mut lab in labs() {
        let frame = lab.run(code!(a: xor(ecx, ecx); div(ecx); hlt())).fault(vector::DE, None);
        assert_eq!(frame.ip, CODE + if lab.mode == Mode::Real { 3 } else { 2 });
        // The quotient does not fit; the most negative number by -1.
        lab.run(code!(a: mov(ax, 0x100); mov(cl, 1); div(cl); hlt())).fault(vector::DE, None);
        lab.run(code!(a: mov(eax, 0x8000_0000u32); cdq(); mov(ecx, -1); idiv(ecx); hlt()))
            .fault(vector::DE, None);
    }
}

#[test]
fn int3_and_into_are_traps() {
    for mut lab in labs() {
        let frame = lab.run(code!(a: nop(); int3())).fault(vector::BP, None);
        assert_eq!(frame.ip, CODE + 2);
        assert_eq!(frame.flags & 1 << 16, 0, "traps do not show RF");
    }
    let mut lab = Lab::protected();
    let frame = lab.run(code!(a: mov(al, 0x7f); add(al, 1); into())).fault(vector::OF, None);
    assert_eq!(frame.ip, CODE + 5);
    lab.run(code!(a: xor(eax, eax); into(); hlt())).done();
}

#[test]
fn bound_faults_outside_its_range() {
    let mut lab = Lab::protected();
    lab.write(DATA, 8, 20 << 32 | 10);
    lab.run(code!(a: mov(eax, 20); bound(eax, qword_ptr(DATA as i32)); hlt())).done();
    let frame =
        lab.run(code!(a: mov(eax, 21); bound(eax, qword_ptr(DATA as i32)); hlt())).fault(vector::BR, None);
    assert_eq!(frame.ip, CODE + 5);
}

#[test]
fn undefined_opcodes_and_misused_lock_prefixes() {
    for mut lab in labs() {
        for bytes in [
            &[0x0f, 0x0b][..],         // UD2
            &[0x0f, 0xff, 0xc0],       // UD0
            &[0xf0, 0x90],             // LOCK NOP
            &[0xf0, 0x01, 0xc0],       // LOCK ADD to a register
            &[0xf0, 0x8b, 0x00],       // LOCK MOV
            &[0xf0, 0x39, 0x00],       // LOCK CMP
            &[0x8d, 0xc0],             // LEA of a register
            &[0x8e, 0xc8],             // MOV CS
            &[0x0f, 0x22, 0xc8],       // MOV CR1
            &[0xff, 0xf8],             // FF /7
            &[0xc7, 0xc8, 0, 0, 0, 0], // C7 /1
        ] {
            lab.run(|a| a.db(bytes)).fault_at(CODE, vector::UD, None);
        }
    }
    for bytes in [&[0x06][..], &[0x27], &[0x60], &[0xce], &[0xd5, 0x0a], &[0x9a, 0, 0, 0, 0, 8, 0]] {
        Lab::long().run(|a| a.db(bytes)).fault_at(CODE, vector::UD, None);
    }
    // Instructions that real mode lacks.
    for bytes in [&[0x0f, 0x00, 0xd8][..], &[0x0f, 0x02, 0xc1], &[0x63, 0xc8], &[0x0f, 0x00, 0xe0]] {
        Lab::real().run(|a| a.db(bytes)).fault_at(CODE, vector::UD, None);
    }
}

#[test]
fn fifteen_bytes_are_the_longest_instruction() {
    let prefixed = |count: usize| {
        let mut bytes = vec![0x66; count];
        bytes.push(0x90);
        bytes.push(0xf4);
        bytes
    };
    for mut lab in labs() {
        lab.run(|a| a.db(&prefixed(14))).done();
        let error = if lab.mode == Mode::Real { None } else { Some(0) };
        lab.run(|a| a.db(&prefixed(15))).fault_at(CODE, vector::GP, error);
    }
}

#[test]
fn real_mode_pushes_three_words_and_clears_if_and_tf() {
    let mut lab = Lab::real();
    let out = lab.run(code!(a: sti(); nop(); int(0x21)));
    let frame = out.fault(0x21, None);
    assert_eq!((frame.ip, frame.cs, frame.flags & 0x200), (CODE + 4, 0, 0x200));
    assert_eq!(out.reg(RSP), STACK - 6);
    assert_eq!(out.cpu().flags.get() & 0x300, 0);
}

#[test]
fn real_mode_iret_takes_flags_back() {
    let mut lab = Lab::real();
    lab.assemble(0x9000, 16, code!(a: mov(bx, 0x55); iret()));
    lab.handler(0x21, 0x9000);
    let out = lab.run(code!(a: stc(); sti(); int(0x21); pushf(); pop(ax); hlt()));
    out.done();
    assert_eq!((out.reg(RAX) & 0x201, out.reg(RBX) & 0xffff), (0x201, 0x55));
}

#[test]
fn real_mode_vectors_beyond_the_idt_limit_double_fault_and_then_shut_down() {
    let mut lab = Lab::real();
    lab.write(0x7f0, 2, 0x3f);
    lab.write(0x7f2, 4, 0);
    // INT 20h lies beyond the limit of 3Fh (16 vectors): #GP, vector 13, which is there.
    lab.run(code!(a: db(&[0x66, 0x0f, 0x01, 0x1e, 0xf0, 0x07]); int(0x20); hlt())).fault_at(
        CODE + 6,
        vector::GP,
        None,
    );
    let mut lab = Lab::real();
    lab.write(0x7f0, 2, 0);
    let out = lab.run(code!(a: db(&[0x66, 0x0f, 0x01, 0x1e, 0xf0, 0x07]); int(0x20); hlt()));
    assert!(matches!(out.stop, Stop::TripleFault(_)), "{:?}", out.stop);
}

#[test]
fn trap_gates_leave_if_on_and_interrupt_gates_clear_it() {
    for (access, want) in [(0x8eu64, 0), (0x8f, 0x200)] {
        for mut lab in [Lab::protected(), Lab::long()] {
            let code = if lab.mode == Mode::Long { CODE64 } else { CODE32 };
            lab.idt(0x21, gate(access, code, STUBS + 0x210, 0));
            let out = lab.run(code!(a: sti(); nop(); int(0x21)));
            assert_eq!(out.fault(0x21, None).flags & 0x200, 0x200);
            assert_eq!(out.cpu().flags.get() & 0x200, want);
        }
    }
}

#[test]
fn sixteen_bit_gates_push_words() {
    let mut lab = Lab::protected();
    lab.idt(0x21, gate(0x86, CODE32, STUBS + 0x210, 0));
    let out = lab.run(code!(a: int(0x21)));
    assert_eq!(out.vector(), Some(0x21));
    assert_eq!(out.reg(RSP), STACK - 6);
}

#[test]
fn gates_are_checked() {
    let code = u64::from(FREE);
    for (access, selector, vector, error) in [
        (0x0e, CODE32, vector::NP, 0x21 * 8 + 2), // not present
        (0x82, CODE32, vector::GP, 0x21 * 8 + 2), // no gate
        (0x8e, 0, vector::GP, 0),                 // null selector
        (0x8e, DATA32, vector::GP, u64::from(DATA32)),
        (0x8e, 0x800, vector::GP, 0x800),
        (0x8e, USER_CODE32 & !3, vector::GP, u64::from(USER_CODE32 & !3)), // less privileged
        (0x8e, FREE, vector::NP, code),
    ] {
        let mut lab = Lab::protected();
        lab.gdt(FREE, descriptor(0, 0xf_ffff, 0x1b, 0xc));
        lab.idt(0x21, gate(access, selector, STUBS, 0));
        lab.run(code!(a: int(0x21))).fault_at(CODE, vector, error);
        // The same from a fault instead of INT n: now EXT is set.
        let mut lab = Lab::protected();
        lab.gdt(FREE, descriptor(0, 0xf_ffff, 0x1b, 0xc));
        lab.idt(vector::UD, gate(access, selector, STUBS, 0));
        let error = if error == 0x21 * 8 + 2 { 6 * 8 + 2 } else { error } | 1;
        lab.run(code!(a: ud2())).fault_at(CODE, vector, error);
    }
}

#[test]
fn a_second_fault_while_delivering_makes_a_double_fault() {
    for mut lab in [Lab::protected(), Lab::long()] {
        lab.idt(vector::GP, 0);
        // #GP has no gate: that is another #GP, and the two make #DF.
        let frame = lab.run(code!(a: db(&[0xcd, 0x21]))).fault(0x21, None);
        assert_eq!(frame.ip, CODE + 2);
        let mut fresh = if lab.mode == Mode::Long { Lab::long() } else { Lab::protected() };
        fresh.idt(vector::GP, 0);
        fresh.run(code!(a: mov(eax, u32::from(CODE32)); mov(ss, eax))).fault_at(CODE + 5, vector::DF, 0);
    }
}

#[test]
fn benign_exceptions_do_not_make_a_double_fault() {
    // #UD without a gate gives #NP (or #GP), not #DF.
    let mut lab = Lab::protected();
    lab.idt(vector::UD, gate(0x0e, CODE32, STUBS, 0));
    lab.run(code!(a: ud2())).fault_at(CODE, vector::NP, 6 * 8 + 3);
}

#[test]
fn a_page_fault_on_the_way_to_a_page_fault_is_a_double_fault() {
    let mut lab = Lab::long();
    lab.map(DATA, 0);
    lab.map(DATA + 0x1000, 0);
    // RSP points to an absent page: #PF cannot be pushed. #DF has a stack of its own.
    lab.write(TSS + 0x24, 8, INNER_STACK);
    let gate_address = IDT + 16 * 8;
    let low = lab.read(gate_address, 8);
    lab.write(gate_address, 8, low | 1 << 32);
    let out = lab.run(code!(a: mov(rsp, DATA + 0x1000); mov(al, byte_ptr(DATA as i32)); hlt()));
    let frame = out.fault(vector::DF, 0);
    assert_eq!(frame.sp, DATA + 0x1000);
    assert_eq!(out.reg(RSP), INNER_STACK - 48);
}

#[test]
fn three_faults_shut_the_processor_down_and_are_told() {
    for mut lab in [Lab::protected(), Lab::long()] {
        lab.idt(vector::GP, 0);
        lab.idt(vector::DF, 0);
        let out = lab.run(code!(a: mov(eax, u32::from(CODE32)); mov(ss, eax)));
        let Stop::TripleFault(chain) = &out.stop else { panic!("{:?}", out.stop) };
        assert!(chain.0.contains("#GP(0x8)") && chain.0.contains("#DF"), "{chain}");
    }
}

#[test]
fn sixty_four_bit_delivery_aligns_the_stack_and_always_pushes_ss() {
    let mut lab = Lab::long();
    let out = lab.run(code!(a: mov(rsp, STACK - 5); int(0x21)));
    let frame = out.fault(0x21, None);
    assert_eq!((frame.sp, frame.ss), (STACK - 5, DATA32));
    assert_eq!(out.reg(RSP), STACK - 16 - 40);
}

#[test]
fn interrupt_stack_table_gives_a_gate_its_own_stack() {
    let mut lab = Lab::long();
    lab.write(TSS + 0x24 + 8 * 6, 8, INNER_STACK - 0x200); // IST7
    let low = lab.read(IDT + 16 * 0x21, 8);
    lab.write(IDT + 16 * 0x21, 8, low | 7 << 32);
    let out = lab.run(code!(a: int(0x21)));
    assert_eq!(out.fault(0x21, None).sp, STACK);
    assert_eq!(out.reg(RSP), INNER_STACK - 0x200 - 40);
}

#[test]
fn iretq_restores_everything() {
    let mut lab = Lab::long();
    lab.assemble(0x9000, 64, code!(a: mov(qword_ptr(rsp + 24), 0xb000); iretq()));
    lab.handler(0x21, 0x9000);
    let out = lab.run(code!(a: stc(); int(0x21); mov(rax, rsp); setc(bl); mov(cx, ss); hlt()));
    out.done();
    assert_eq!((out.reg(RAX), out.reg(RBX) & 0xff, out.reg(RCX) & 0xffff), (0xb000, 1, u64::from(DATA32)));
}

#[test]
fn single_step_traps_after_each_instruction() {
    for mut lab in labs() {
        let bits = lab.bits();
        // The handler counts and notes where it came from; it ends by clearing TF in the frame at the third.
        let out = lab.run(|a| {
            match bits {
                64 => {
                    a.pushfq()?;
                    a.or(dword_ptr(rsp), 0x100)?;
                    a.popfq()?;
                }
                32 => {
                    a.pushfd()?;
                    a.or(dword_ptr(esp), 0x100)?;
                    a.popfd()?;
                }
                _ => {
                    a.pushf()?;
                    a.pop(ax)?;
                    a.or(ax, 0x100)?;
                    a.push(ax)?;
                    a.popf()?;
                }
            }
            a.nop()?;
            a.hlt()
        });
        let end = out.end;
        let frame = out.fault(vector::DB, None);
        assert_eq!(frame.ip, end - 1, "not after POPF, but after the instruction behind it");
        assert_eq!(frame.flags & 0x100, 0x100);
        assert_eq!(out.cpu().dr[6] & 1 << 14, 1 << 14, "DR6.BS");
        assert_eq!(out.cpu().flags.get() & 0x100, 0);
    }
}

#[test]
fn loading_ss_holds_a_single_step_trap_off() {
    let mut lab = Lab::protected();
    let out = lab.run(code!(a:
        mov(ecx, u32::from(DATA32)); pushfd(); or(dword_ptr(esp), 0x100); popfd();
        mov(ss, ecx); nop(); nop(); hlt()));
    let end = out.end;
    assert_eq!(out.fault(vector::DB, None).ip, end - 2, "behind the first NOP");
}

#[test]
fn single_step_counts_each_repetition() {
    let mut lab = Lab::protected();
    let out = lab.run(code!(a:
        mov(edi, DATA as u32); mov(ecx, 5); pushfd(); or(dword_ptr(esp), 0x100); popfd();
        rep().stosb(); hlt()));
    let end = out.end;
    let frame = out.fault(vector::DB, None);
    assert_eq!(
        (frame.ip, out.reg(RCX)),
        (end - 3, 4),
        "it returns to the instruction with one repetition done"
    );
}

#[test]
fn interrupts_wait_for_if_and_for_the_shadow_of_sti() {
    for mut lab in labs() {
        let out = lab.run(code!(a:
            xor(ecx, ecx); xor(edx, edx); mov(al, 0x41); out(0x10, al); nop(); sti(); inc(ecx); inc(edx); hlt()));
        out.fault(0x41, None);
        assert_eq!((out.reg(RCX), out.reg(RDX)), (1, 0), "behind the instruction after STI");
    }
}

#[test]
fn interrupts_wait_for_the_shadow_of_a_load_of_ss() {
    let mut lab = Lab::protected();
    let out = lab.run(code!(a:
        mov(ebx, u32::from(DATA32)); mov(al, 0x41); sti(); nop(); xor(ecx, ecx);
        cli(); out(0x10, al); sti(); mov(ss, ebx); inc(ecx); hlt()));
    // STI's shadow covers MOV SS. MOV SS's own may or may not add another (SDM 2B, "STI"): we stop at either.
    let frame = out.fault(0x41, None);
    assert!(out.reg(RCX) <= 1);
    assert!(frame.ip >= out.end - 1 - 2);
    let mut lab = Lab::protected();
    let out = lab.run(code!(a:
        mov(ebx, u32::from(DATA32)); xor(ecx, ecx); mov(al, 0x41); sti(); nop();
        mov(ss, ebx); out(0x10, al); inc(ecx); hlt()));
    out.fault(0x41, None);
    assert_eq!(out.reg(RCX), 0, "the interrupt comes right behind OUT");
}

#[test]
fn an_interrupt_ends_hlt_and_returns_behind_it() {
    for mut lab in labs() {
        let frame = lab.run(code!(a: mov(al, 0x41); out(0x10, al); sti(); hlt(); hlt())).fault(0x41, None);
        assert_eq!(frame.ip, CODE + 6);
    }
}

#[test]
fn alignment_check_only_at_cpl_3_with_am_and_ac() {
    let unaligned = |a: &mut CodeAssembler| {
        a.mov(ebx, DATA as u32 + 1)?;
        if a.bitness() == 64 {
            a.mov(eax, dword_ptr(rbx))?
        } else {
            a.mov(eax, dword_ptr(ebx))?
        }
        a.int(0x80)
    };
    for lab in [Lab::protected(), Lab::long()] {
        let mut lab = lab.at_cpl3();
        lab.cr0 |= 1 << 18;
        lab.user_flags |= 1 << 18;
        lab.run(unaligned).fault_at(CODE + 5, vector::AC, 0);
        lab.user_flags &= !(1 << 18);
        lab.run(unaligned).fault(0x80, None);
    }
}
