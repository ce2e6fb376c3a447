//! Privilege: what CPL 3 must not do, call gates, SYSCALL and SYSENTER with their returns.

use emu_core::cpu::{CS, RAX, RBX, RCX, RDX, RIP, RSP, SS};
use iced_x86::code_asm::*;

use crate::lab::*;

fn labs() -> [Lab; 2] {
    [Lab::protected().at_cpl3(), Lab::long().at_cpl3()]
}

#[test]
fn privileged_instructions_fault_at_cpl_3() {
    let instructions: [&[u8]; 16] = [
        &[0xf4],             // HLT
        &[0xfa],             // CLI
        &[0xfb],             // STI
        &[0xe4, 0x60],       // IN AL, 60h
        &[0xe6, 0x60],       // OUT 60h, AL
        &[0xec],             // IN AL, DX
        &[0x0f, 0x20, 0xc0], // MOV EAX, CR0
        &[0x0f, 0x22, 0xc0], // MOV CR0, EAX
        &[0x0f, 0x23, 0xc0], // MOV DR0, EAX
        &[0x0f, 0x30],       // WRMSR
        &[0x0f, 0x32],       // RDMSR
        &[0x0f, 0x01, 0x10], // LGDT
        &[0x0f, 0x01, 0x18], // LIDT
        &[0x0f, 0x00, 0xd8], // LTR
        &[0x0f, 0x06],       // CLTS
        &[0x0f, 0x01, 0x38], // INVLPG
    ];
    for bytes in instructions {
        for mut lab in labs() {
            let out = lab.run(|a| a.db(bytes));
            let frame = out.fault_at(CODE, vector::GP, 0);
            assert_eq!(frame.cs & 3, 3, "{bytes:x?}");
        }
    }
}

#[test]
fn a_fault_at_cpl_3_switches_to_the_stack_of_the_tss() {
    for mut lab in labs() {
        let long = lab.mode == Mode::Long;
        let out = lab.run(code!(a: ud2()));
        let frame = out.fault_at(CODE, vector::UD, None);
        assert_eq!((frame.sp, frame.ss), (STACK, USER_DATA));
        assert_eq!(frame.cs, if long { USER_CODE64 } else { USER_CODE32 });
        assert_eq!(out.reg(RSP), INNER_STACK - if long { 40 } else { 20 });
        let selector = out.cpu().seg[SS].selector;
        assert_eq!(selector, if long { 0 } else { DATA32 }, "SS is null in 64-bit mode");
        assert_eq!(out.cpu().cpl, 0);
    }
}

#[test]
fn software_interrupts_need_the_gates_dpl() {
    for mut lab in labs() {
        let long = lab.mode == Mode::Long;
        lab.run(code!(a: int(0x21))).fault_at(CODE, vector::GP, 0x21 * 8 + 2);
        let mut lab = if long { Lab::long() } else { Lab::protected() }.at_cpl3();
        let frame = lab.run(code!(a: int(0x80))).fault(0x80, None);
        assert_eq!(frame.ip, CODE + 2, "INT n is a trap");
        // INT3 needs it as well.
        let mut lab = if long { Lab::long() } else { Lab::protected() }.at_cpl3();
        lab.run(code!(a: int3())).fault_at(CODE, vector::GP, 3 * 8 + 2);
    }
}

#[test]
fn iopl_and_the_io_permission_map_open_ports() {
    for mut lab in labs() {
        lab.user_flags |= 3 << 12;
        lab.run(code!(a: cli(); in_(al, 0x60); out(0x60, al); sti(); int(0x80))).fault(0x80, None);
    }
    for mut lab in labs() {
        lab.write(TSS + 0x68 + 0x60 / 8, 1, 0xfe); // port 60h only
        lab.run(code!(a: in_(al, 0x60); in_(al, 0x61); int(0x80))).fault_at(CODE + 2, vector::GP, 0);
        lab.run(code!(a: in_(ax, 0x60); int(0x80))).fault_at(CODE, vector::GP, 0);
    }
}

#[test]
fn popf_at_cpl_3_leaves_if_and_iopl_alone() {
    let mut lab = Lab::protected().at_cpl3();
    lab.user_flags |= 0x200;
    let out = lab.run(code!(a: push(0x3000); popfd(); pushfd(); pop(eax); int(0x80)));
    out.fault(0x80, None);
    assert_eq!(out.reg(RAX) & 0x3200, 0x200);
}

#[test]
fn a_call_gate_switches_stacks_and_copies_parameters() {
    let mut lab = Lab::protected().at_cpl3();
    let inner = 0x9000;
    lab.gdt(FREE, gate(0xec, CODE32, inner, 2));
    lab.assemble(
        inner,
        32,
        code!(a:
        mov(eax, dword_ptr(esp + 8)); mov(ebx, dword_ptr(esp + 12)); mov(edx, esp); mov(cx, cs); retf_1(8)),
    );
    let out = lab.run(|a| {
        a.push(0x1111)?;
        a.push(0x2222)?;
        a.db(&[0x9a, 0, 0, 0, 0, FREE.to_le_bytes()[0] | 3, 0])?;
        a.int(0x80)
    });
    let frame = out.fault(0x80, None);
    assert_eq!(frame.ip, CODE + 5 + 5 + 7 + 2);
    assert_eq!((out.reg(RAX), out.reg(RBX)), (0x2222, 0x1111));
    assert_eq!(out.reg(RDX), INNER_STACK - 24, "SS, ESP, two parameters, CS, EIP");
    assert_eq!(out.reg(RCX) & 0xffff, u64::from(CODE32));
    assert_eq!(frame.sp, STACK, "RET 8 drops the parameters from both stacks");
}

#[test]
fn call_gates_check_their_dpl_and_presence() {
    for (access, vector) in [(0x8cu64, vector::GP), (0x6c, vector::NP)] {
        let mut lab = Lab::protected().at_cpl3();
        lab.gdt(FREE, gate(access, CODE32, 0x9000, 0));
        let out = lab.run(code!(a: db(&[0x9a, 0, 0, 0, 0, FREE.to_le_bytes()[0], 0])));
        out.fault_at(CODE, vector, u64::from(FREE));
    }
}

#[test]
fn a_call_gate_in_64_bit_mode_pushes_eight_bytes_each() {
    let mut lab = Lab::long().at_cpl3();
    lab.gdt(FREE, gate(0xec, CODE64, 0x9000, 0));
    lab.gdt(FREE + 8, 0);
    lab.assemble(0x9000, 64, code!(a: mov(rdx, rsp); mov(bx, ss); db(&[0x48, 0xcb]))); // REX.W RETF
    lab.write(0x9800, 4, 0);
    lab.write(0x9804, 2, u64::from(FREE | 3));
    let out = lab.run(|a| {
        a.mov(eax, 0x9800)?;
        a.db(&[0xff, 0x18])?; // CALL far [rax]
        a.int(0x80)
    });
    let frame = out.fault(0x80, None);
    assert_eq!(out.reg(RDX), INNER_STACK - 32);
    assert_eq!(out.reg(RBX) & 0xffff, 0, "SS is null");
    assert_eq!((frame.sp, frame.ss), (STACK, USER_DATA));
}

#[test]
fn far_transfers_check_their_target() {
    for (selector, vector, error) in [
        (0u16, vector::GP, 0u64),
        (DATA32, vector::GP, u64::from(DATA32)),
        (CODE32 | 3, vector::GP, u64::from(CODE32)), // RPL 3 at CPL 0
        (USER_CODE32, vector::GP, u64::from(USER_CODE32 & !3)),
    ] {
        let mut lab = Lab::protected();
        let [low, high] = selector.to_le_bytes();
        lab.run(|a| a.db(&[0xea, 0, 0x90, 0, 0, low, high])).fault_at(CODE, vector, error);
    }
    // A return to a more privileged level.
    let mut lab = Lab::protected().at_cpl3();
    lab.run(code!(a: push(i32::from(CODE32)); push(0x9000); retf())).fault_at(
        CODE + 7,
        vector::GP,
        u64::from(CODE32),
    );
}

#[test]
fn conforming_code_keeps_the_callers_privilege() {
    let mut lab = Lab::protected().at_cpl3();
    lab.gdt(FREE, descriptor(0, 0xf_ffff, 0x9f, 0xc));
    lab.assemble(0x9000, 32, code!(a: mov(ax, cs); int(0x80)));
    let out = lab.run(|a| a.db(&[0xea, 0, 0x90, 0, 0, FREE.to_le_bytes()[0], 0]));
    out.fault(0x80, None);
    assert_eq!(out.reg(RAX) & 0xffff, u64::from(FREE | 3));
}

/// CALL FREE:9000h, where FREE is what `value` describes.
fn call_free(lab: &mut Lab, value: u64, stack: u32) -> Outcome<'_> {
    lab.gdt(FREE, value);
    lab.run(|a| {
        a.mov(eax, u32::from(FREE2))?;
        a.mov(ss, ax)?;
        a.mov(esp, stack)?;
        a.db(&[0x9a, 0, 0x90, 0, 0, FREE.to_le_bytes()[0] | 3, 0])?;
        a.int(0x80)
    })
}

const FREE2: u16 = (FREE + 16) | 3;

/// SDM 2A, "CALL": first room on the stack, then the target's limit, and only then anything is written.
#[test]
fn a_far_call_beyond_the_limit_leaves_the_stack_alone() {
    // Conforming code, code of the same level, and a gate to code of the same level.
    for value in
        [descriptor(0, 0x8fff, 0x9f, 4), descriptor(0, 0x8fff, 0xfb, 4), gate(0xec, FREE + 8, 0x9000, 0)]
    {
        for (stack, vector) in [(0x100, vector::GP), (4, vector::SS)] {
            let mut lab = Lab::protected().at_cpl3();
            lab.gdt(FREE + 8, descriptor(0, 0x8fff, 0xfb, 4));
            lab.gdt(FREE2, descriptor(DATA, 0xfff, 0xf3, 4));
            lab.write(DATA + 0xf8, 8, 0x1122_3344_5566_7788);
            let frame = call_free(&mut lab, value, stack).fault(vector, 0);
            assert_eq!(frame.sp, u64::from(stack));
            assert_eq!(lab.read(DATA + 0xf8, 8), 0x1122_3344_5566_7788);
        }
    }
}

/// The same for a gate to an inner level, whose stack is that of the fault as well, but for the last of its parameters.
#[test]
fn a_call_gate_beyond_the_limit_leaves_the_inner_stack_alone() {
    let mut lab = Lab::protected().at_cpl3();
    lab.gdt(FREE + 8, descriptor(0, 0x8fff, 0x9b, 4));
    lab.gdt(FREE2, descriptor(DATA, 0xfff, 0xf3, 4));
    lab.write(INNER_STACK - 32, 8, 0x1122_3344_5566_7788);
    call_free(&mut lab, gate(0xec, FREE + 8, 0x9000, 4), 0x100).fault(vector::GP, 0);
    assert_eq!(lab.read(INNER_STACK - 32, 8), 0x1122_3344_5566_7788);
    // At level 1: a stack without room comes before the target.
    let small = (FREE + 24) | 1;
    for (pointer, vector, error) in [(0x1f, vector::SS, u64::from(small & !1)), (0x20, vector::GP, 0)] {
        let mut lab = Lab::protected().at_cpl3();
        lab.gdt(FREE + 8, descriptor(0, 0x8fff, 0xbb, 4));
        lab.gdt(FREE2, descriptor(DATA, 0xfff, 0xf3, 4));
        lab.gdt(small, descriptor(DATA + 0x1000, 0xff, 0xb3, 4));
        lab.write(TSS + 0xc, 4, pointer);
        lab.write(TSS + 0x10, 4, u64::from(small));
        call_free(&mut lab, gate(0xec, FREE + 8, 0x9000, 4), 0x100).fault(vector, error);
        assert_eq!(lab.read(DATA + 0x1018, 8), 0);
    }
}

/// A gate that is not present says nothing else: what lies behind it is no upper half.
#[test]
fn a_64_bit_call_gate_that_is_not_present_is_np_whatever_follows_it() {
    for opcode in [0x18, 0x28] {
        let mut lab = Lab::long();
        lab.gdt(FREE, gate(0x6c, CODE64, 0x9000, 0));
        lab.gdt(FREE + 8, descriptor(0, 0xf_ffff, 0x93, 0xc));
        lab.write(0x9804, 2, u64::from(FREE));
        let out = lab.run(|a| {
            a.mov(eax, 0x9800)?;
            a.db(&[0xff, opcode]) // CALL or JMP far [rax]
        });
        out.fault_at(CODE + 5, vector::NP, u64::from(FREE));
    }
}

/// SDM 2A, "INT n": room on the stack comes before the limit of the handler's segment.
#[test]
fn an_interrupt_checks_its_stack_before_its_target() {
    for (stack, vector) in [(0x100, vector::GP), (8, vector::SS)] {
        let mut lab = Lab::protected().at_cpl3();
        lab.gdt(FREE, descriptor(0, 0x8fff, 0x9f, 4));
        lab.gdt(FREE2, descriptor(DATA, 0xfff, 0xf3, 4));
        lab.idt(0x30, gate(0xee, FREE, 0x9000, 0));
        lab.write(DATA + 0xf4, 8, 0x1122_3344_5566_7788);
        let out = lab.run(code!(a:
            mov(eax, u32::from(FREE2)); mov(ss, eax); mov(esp, stack); int(0x30)));
        out.fault(vector, 0);
        assert_eq!(lab.read(DATA + 0xf4, 8), 0x1122_3344_5566_7788);
    }
}

/// Sets an MSR.
fn set_msr(a: &mut CodeAssembler, msr: u32, value: u64) -> Result<(), iced_x86::IcedError> {
    a.mov(ecx, msr)?;
    a.mov(eax, value as u32)?;
    a.mov(edx, (value >> 32) as u32)?;
    a.wrmsr()
}

const STAR: u32 = 0xc000_0081;
const LSTAR: u32 = 0xc000_0082;
const FMASK: u32 = 0xc000_0084;

#[test]
fn syscall_and_sysret_go_in_and_out() {
    let mut lab = Lab::long();
    let user = 0x9000;
    // The GDT as SYSRET wants it: 32-bit code, stack, 64-bit code, from the selector in STAR[63:48] on.
    lab.gdt(0x68, descriptor(0, 0xf_ffff, 0xf3, 0xc));
    lab.gdt(0x70, descriptor(0, 0, 0xfb, 0x2));
    lab.assemble(user, 64, code!(a: mov(rsi, rsp); syscall(); mov(bx, cs); mov(dx, ss); int(0x80)));
    // The kernel: notes CS and SS, and what SYSCALL left; returns.
    lab.assemble(
        0x9100,
        64,
        code!(a:
        mov(r8, rcx); mov(r9, r11); mov(r10w, cs); mov(r12w, ss); pushfq(); pop(r13); sysretq()),
    );
    let out = lab.run(|a| {
        set_msr(a, STAR, 0x60 << 48 | u64::from(CODE32) << 32)?;
        set_msr(a, LSTAR, 0x9100)?;
        set_msr(a, FMASK, 0x301)?;
        a.mov(ecx, user as u32)?;
        a.mov(r11d, 0x303)?; // TF would be seen: FMASK has it; CF and IF as well
        a.and(r11d, !0x100)?;
        a.sysretq()
    });
    let frame = out.fault(0x80, None);
    assert_eq!(out.reg(8), user + 5, "RCX is the next instruction");
    assert_eq!(out.reg(9) & 0x301, 0x201, "R11 holds the flags");
    assert_eq!(out.reg(10) & 0xffff, u64::from(CODE32), "CS from STAR[47:32]");
    assert_eq!(out.reg(12) & 0xffff, u64::from(CODE32) + 8, "SS eight above");
    assert_eq!(out.reg(13) & 0x301, 0, "flags in FMASK are cleared");
    assert_eq!(out.reg(RBX) & 0xffff, 0x73, "CS is STAR[63:48] + 16 with RPL 3");
    assert_eq!(out.reg(RDX) & 0xffff, 0x6b);
    assert_eq!((frame.cs, frame.ss), (0x73, 0x6b));
}

/// By KVM's `syscall`: the TF that SYSCALL and SYSRET leave counts, not the one before them.
#[test]
fn syscall_and_sysret_single_step_by_the_flags_that_they_leave() {
    for (mask, steps) in [(0x100u64, false), (0, true)] {
        let mut lab = Lab::long();
        lab.gdt(0x68, descriptor(0, 0xf_ffff, 0xf3, 0xc));
        lab.gdt(0x70, descriptor(0, 0, 0xfb, 0x2));
        lab.assemble(0x9000, 64, code!(a: nop(); nop()));
        lab.assemble(0x9100, 64, code!(a: nop(); hlt()));
        let set = |a: &mut CodeAssembler| {
            set_msr(a, STAR, 0x60 << 48 | u64::from(CODE32) << 32)?;
            set_msr(a, LSTAR, 0x9100)?;
            set_msr(a, FMASK, mask)
        };
        let out = lab.run(|a| {
            set(a)?;
            a.push(0x102)?;
            a.popfq()?;
            a.syscall()
        });
        if steps {
            assert_eq!(out.fault(vector::DB, None).ip, 0x9100);
        } else {
            out.done();
        }
        let out = lab.run(|a| {
            set(a)?;
            a.mov(ecx, 0x9000)?;
            a.mov(r11d, 0x102)?;
            a.sysretq()
        });
        let frame = out.fault(vector::DB, None);
        assert_eq!((frame.ip, frame.cs), (0x9000, 0x73), "before the first instruction");
    }
}

#[test]
fn syscall_needs_efer_sce_and_sysret_cpl_0() {
    let mut lab = Lab::long().at_cpl3();
    lab.efer &= !1;
    lab.run(code!(a: syscall())).fault_at(CODE, vector::UD, None);
    let mut lab = Lab::long().at_cpl3();
    lab.run(code!(a: sysretq())).fault_at(CODE, vector::GP, 0);
}

#[test]
fn sysret_to_an_address_that_is_not_canonical_faults_at_cpl_0() {
    let mut lab = Lab::long();
    let out = lab.run(code!(a: mov(rcx, 0x8000_0000_0000u64); sysretq()));
    let frame = out.fault_at(CODE + 10, vector::GP, 0);
    assert_eq!(frame.cs & 3, 0);
}

#[test]
fn sysenter_and_sysexit_go_in_and_out() {
    for mut lab in [Lab::protected(), Lab::long()] {
        let long = lab.mode == Mode::Long;
        let bits = lab.bits();
        // CS, SS (CS + 8), then the user's 32-bit CS (CS + 16), SS (CS + 24), 64-bit CS (CS + 32), SS (CS + 40).
        let base = 0x80;
        lab.gdt(base, descriptor(0, 0xf_ffff, 0x9b, if long { 0xa } else { 0xc }));
        lab.gdt(base + 8, descriptor(0, 0xf_ffff, 0x93, 0xc));
        lab.gdt(base + 16, descriptor(0, 0xf_ffff, 0xfb, 0xc));
        lab.gdt(base + 24, descriptor(0, 0xf_ffff, 0xf3, 0xc));
        lab.gdt(base + 32, descriptor(0, 0xf_ffff, 0xfb, 0xa));
        lab.gdt(base + 40, descriptor(0, 0xf_ffff, 0xf3, 0xc));
        lab.assemble(0x9000, bits, code!(a: sysenter()));
        // Inside: the processor halts, and we look.
        lab.assemble(0x9100, bits, code!(a: hlt()));
        let out = lab.run(|a| {
            set_msr(a, 0x174, u64::from(base))?;
            set_msr(a, 0x175, 0x4f00)?;
            set_msr(a, 0x176, 0x9100)?;
            a.mov(ecx, 0xbf00)?;
            a.mov(edx, 0x9000)?;
            if long { a.db(&[0x48, 0x0f, 0x35]) } else { a.sysexit() }
        });
        out.done();
        assert_eq!((out.reg(RIP), out.reg(RSP)), (0x9101, 0x4f00));
        assert_eq!((out.cpu().seg[CS].selector, out.cpu().seg[SS].selector), (base, base + 8));
        // And what SYSEXIT leaves.
        lab.assemble(0x9000, bits, code!(a: mov(ax, cs); mov(bx, ss); int(0x80)));
        let out = lab.run(|a| {
            set_msr(a, 0x174, u64::from(base))?;
            a.mov(ecx, 0xbf00)?;
            a.mov(edx, 0x9000)?;
            if long { a.db(&[0x48, 0x0f, 0x35]) } else { a.sysexit() }
        });
        let frame = out.fault(0x80, None);
        let user = base + if long { 32 } else { 16 };
        assert_eq!((frame.cs, frame.ss, frame.sp), (user | 3, (user + 8) | 3, 0xbf00));
        assert_eq!(
            (out.reg(RAX) & 0xffff, out.reg(RBX) & 0xffff),
            (u64::from(user | 3), u64::from(user + 8) | 3)
        );
    }
}

#[test]
fn sysenter_with_a_null_selector_faults() {
    for mut lab in labs() {
        lab.run(code!(a: sysenter())).fault_at(CODE, vector::GP, 0);
    }
}

/// By the tests against the host: a 64-bit kernel's stack is out of reach of the 32-bit addresses of the code that it
/// interrupts.
#[test]
fn an_interrupt_from_compatibility_code_reaches_a_stack_above_4_gib() {
    const HIGH: u64 = 0xffff_8000_0000_0000;
    let mut lab = Lab::long().at_cpl3();
    let lowest = lab.read(TABLES, 8);
    lab.write(TABLES + 8 * 256, 8, lowest);
    lab.write(TSS + 4, 8, HIGH + INNER_STACK);
    lab.assemble(DATA, 32, code!(a: int(i32::from(vector::END))));
    let out = lab.run(code!(a: push(i32::from(USER_CODE32)); push(DATA as i32); db(&[0x48, 0xcb]))); // RETFQ
    assert_eq!(out.vector(), Some(vector::END));
    assert_eq!(out.reg(RSP), HIGH + INNER_STACK - 40);
    assert_eq!(lab.read(INNER_STACK - 40, 8), DATA + 2);
}
