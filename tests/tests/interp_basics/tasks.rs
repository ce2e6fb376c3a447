//! Hardware task switches and virtual-8086 mode. SDM 3A, "Task Management"; SDM 3B, "8086 Emulation".

use emu_core::cpu::{CS, DS, LDTR, RAX, RBX, RCX, RSP, TR};
use iced_x86::code_asm::*;

use crate::lab::*;

const TASK: u16 = FREE;
const TASK_GATE: u16 = FREE + 8;
const TASK_LDT: u16 = FREE + 16;
const TASK_CODE: u64 = 0x9000;
const TASK_STACK: u64 = 0xb000;

/// A machine with a second task that starts at [`TASK_CODE`].
fn two_tasks() -> Lab {
    let mut lab = Lab::protected();
    lab.gdt(TASK, descriptor(TSS2, 0x67, 0x89, 0));
    lab.gdt(TASK_GATE, gate(0x85, TASK, 0, 0));
    for (offset, value) in [
        (0x20, TASK_CODE),
        (0x24, 2), // EFLAGS
        (0x28, 0xaaaa_0001),
        (0x38, TASK_STACK),
        (0x48, u64::from(DATA32)),
        (0x4c, u64::from(CODE32)),
        (0x50, u64::from(DATA32)),
        (0x54, u64::from(DATA32)),
    ] {
        lab.write(TSS2 + offset, 4, value);
    }
    lab
}

fn kind(lab: &mut Lab, selector: u16) -> u64 {
    lab.gdt_entry(selector) >> 40 & 0xf
}

#[test]
fn a_jump_to_a_task_saves_one_and_loads_the_other() {
    let mut lab = two_tasks();
    lab.assemble(TASK_CODE, 32, code!(a: mov(ebx, esp); hlt()));
    let out = lab.run(|a| {
        a.mov(eax, 0x1111)?;
        a.db(&[0xea, 0, 0, 0, 0, TASK.to_le_bytes()[0], 0])
    });
    assert_eq!((out.reg(RAX), out.reg(RBX)), (0xaaaa_0001, TASK_STACK));
    assert_eq!(out.cpu().seg[TR].selector, TASK);
    assert_eq!(out.cpu().cr0 & 8, 8, "CR0.TS");
    assert_eq!(out.cpu().flags.get() & 0x4000, 0, "no NT");
    assert_eq!(lab.read(TSS + 0x20, 4), CODE + 12, "EIP of the old task");
    assert_eq!(lab.read(TSS + 0x28, 4), 0x1111);
    assert_eq!(lab.read(TSS + 0x4c, 2), u64::from(CODE32));
    assert_eq!((kind(&mut lab, TSS_SELECTOR), kind(&mut lab, TASK)), (9, 11), "available, busy");
}

#[test]
fn a_call_to_a_task_nests_and_iret_comes_back() {
    let mut lab = two_tasks();
    lab.assemble(TASK_CODE, 32, code!(a: pushfd(); pop(eax); mov(dword_ptr(DATA as i32), eax); iretd()));
    let out = lab.run(|a| {
        a.mov(ecx, 0x77)?;
        a.db(&[0x9a, 0, 0, 0, 0, TASK_GATE.to_le_bytes()[0], 0])?;
        a.hlt()
    });
    out.done();
    assert_eq!(out.reg(RCX), 0x77);
    assert_eq!(out.cpu().flags.get() & 0x4000, 0, "NT is clear again");
    assert_eq!(out.cpu().seg[TR].selector, TSS_SELECTOR);
    assert_eq!(lab.read(DATA, 4) & 0x4000, 0x4000, "NT inside");
    assert_eq!(lab.read(TSS2, 2), u64::from(TSS_SELECTOR), "the link");
    assert_eq!((kind(&mut lab, TSS_SELECTOR), kind(&mut lab, TASK)), (11, 9));
    assert_eq!(lab.read(TSS2 + 0x20, 4), TASK_CODE + 8, "the nested task goes on behind its IRET");
}

/// SDM 3A, "16-Bit Task-State Segment (TSS)": the layout of the 286, and the lower halves of registers only.
#[test]
fn a_16_bit_tss_keeps_the_lower_halves() {
    let mut lab = two_tasks();
    lab.gdt(TASK, descriptor(TSS2, 0x2b, 0x81, 0));
    lab.gdt(TASK_LDT, descriptor(DATA, 7, 0x82, 0));
    for (offset, value) in [
        (0x0e, TASK_CODE),
        (0x10, 2),      // FLAGS
        (0x12, 0x1111), // AX
        (0x1a, TASK_STACK),
        (0x22, u64::from(DATA32)),
        (0x24, u64::from(CODE32)),
        (0x26, u64::from(DATA32)),
        (0x28, u64::from(DATA32)),
        (0x2a, u64::from(TASK_LDT)),
    ] {
        lab.write(TSS2 + offset, 2, value);
    }
    lab.assemble(TASK_CODE, 32, code!(a: mov(cx, 0x3333); inc(ax); sldt(ebx); iretd()));
    let out = lab.run(|a| {
        a.mov(ecx, 0x4444_4444)?;
        a.db(&[0x9a, 0, 0, 0, 0, TASK.to_le_bytes()[0], 0])?;
        a.hlt()
    });
    out.done();
    assert_eq!(out.reg(RCX), 0x4444_4444, "the caller has its own again, all of it");
    assert_eq!(lab.read(TSS2, 2), u64::from(TSS_SELECTOR), "link");
    assert_eq!(lab.read(TSS2 + 0x0e, 2), TASK_CODE + 10, "IP behind IRETD");
    assert_eq!((lab.read(TSS2 + 0x12, 2), lab.read(TSS2 + 0x14, 2)), (0x1112, 0x3333), "AX, CX");
    assert_eq!(lab.read(TSS2 + 0x18, 2), u64::from(TASK_LDT), "BX: the LDT was loaded");
    assert_eq!((kind(&mut lab, TSS_SELECTOR), kind(&mut lab, TASK)), (11, 1), "busy, available");
}

#[test]
fn an_exception_by_a_task_gate_brings_its_error_code_along() {
    let mut lab = two_tasks();
    lab.idt(vector::GP, gate(0x85, TASK, 0, 0));
    lab.assemble(TASK_CODE, 32, code!(a: pop(ebx); hlt()));
    let out = lab.run(code!(a: mov(eax, 0x800); mov(ds, eax); hlt()));
    assert_eq!((out.reg(RBX), out.reg(RSP)), (0x800, TASK_STACK));
    assert_eq!(lab.read(TSS + 0x20, 4), CODE + 5, "EIP is that of the fault");
}

#[test]
fn the_ldt_of_a_new_task_has_no_accessed_bit() {
    let mut lab = two_tasks();
    lab.gdt(TASK_LDT, descriptor(DATA, 0xff, 0x82, 0));
    let data = lab.gdt_entry(DATA32) & !(1 << 40);
    lab.gdt(DATA32, data);
    lab.write(TSS2 + 0x60, 4, u64::from(TASK_LDT));
    lab.assemble(TASK_CODE, 32, code!(a: hlt()));
    let out = lab.run(|a| a.db(&[0xea, 0, 0, 0, 0, TASK.to_le_bytes()[0], 0]));
    assert_eq!((out.cpu().seg[LDTR].selector, out.cpu().seg[LDTR].rights.kind()), (TASK_LDT, 2), "an LDT");
    assert_eq!(out.cpu().seg[DS].rights.kind(), 3, "data, writable, accessed");
}

#[test]
fn busy_tasks_and_short_tss_are_refused() {
    let jump = |a: &mut CodeAssembler| a.db(&[0xea, 0, 0, 0, 0, TASK.to_le_bytes()[0], 0]);
    let mut lab = two_tasks();
    lab.gdt(TASK, descriptor(TSS2, 0x67, 0x8b, 0));
    lab.run(jump).fault_at(CODE, vector::GP, u64::from(TASK));
    let mut lab = two_tasks();
    lab.gdt(TASK, descriptor(TSS2, 0x66, 0x89, 0));
    lab.run(jump).fault_at(CODE, vector::TS, u64::from(TASK));
    let mut lab = two_tasks();
    lab.gdt(TASK, descriptor(TSS2, 0x67, 0x09, 0));
    lab.run(jump).fault_at(CODE, vector::NP, u64::from(TASK));
}

#[test]
fn a_bad_selector_in_the_new_task_faults_there() {
    let selector = TASK.to_le_bytes()[0];
    for bytes in [&[0xea, 0, 0, 0, 0, selector, 0][..], &[0x9a, 0, 0, 0, 0, selector, 0], &[0xcd, 0x21]] {
        let mut lab = two_tasks();
        lab.idt(0x21, gate(0x85, TASK, 0, 0));
        lab.write(TSS2 + 0x54, 4, u64::from(TSS_SELECTOR));
        let out = lab.run(|a| a.db(bytes));
        out.fault_at(TASK_CODE, vector::TS, u64::from(TSS_SELECTOR));
        assert_eq!(out.cpu().seg[TR].selector, TASK);
    }
}

#[test]
fn the_trap_bit_of_a_tss_traps_before_the_first_instruction() {
    let mut lab = two_tasks();
    lab.write(TSS2 + 0x64, 2, 1);
    let out = lab.run(|a| a.db(&[0xea, 0, 0, 0, 0, TASK.to_le_bytes()[0], 0]));
    out.fault_at(TASK_CODE, vector::DB, None);
    assert_eq!(out.cpu().dr[6] & 1 << 15, 1 << 15, "DR6.BT");
}

/// Starts virtual-8086 code at 0:9000h with this IOPL. Handlers run at CPL 0 in the lab's stubs.
fn virtual_8086(iopl: u32, code: impl FnOnce(&mut CodeAssembler) -> Result<(), iced_x86::IcedError>) -> Lab {
    let mut lab = Lab::protected();
    lab.assemble(0x9000, 16, code);
    lab.run(code!(a:
        push(0x55); push(0x44); push(0x33); push(0x22); // GS FS DS ES
        push(0x11); push(0x2000);                       // SS ESP
        push((0x2_0002 | iopl << 12) as i32); push(0); push(0x9000); iretd()));
    lab
}

#[test]
fn iret_enters_virtual_8086_mode_and_interrupts_leave_it() {
    let mut lab = virtual_8086(3, code!(a: mov(ax, ds); mov(bx, cs); mov(byte_ptr(0x10), al); int(0x80)));
    assert_eq!(lab.read(0x340, 1), 0x33, "DS was a paragraph");
    let out = lab.go(0);
    let frame = out.fault(0x80, None);
    assert_eq!((frame.ip, frame.cs, frame.ss, frame.sp), (0x9009, 0, 0x11, 0x2000));
    assert_ne!(frame.flags & 0x2_0000, 0);
    let at = out.reg(RSP);
    assert_eq!(at, INNER_STACK - 36);
    assert_eq!(out.cpu().seg[CS].selector, CODE32);
    assert!(out.cpu().seg[3].rights.unusable() && out.cpu().seg[5].rights.unusable());
    let segments = [20, 24, 28, 32].map(|offset| lab.read(at + offset, 2));
    assert_eq!(segments, [0x22, 0x33, 0x44, 0x55]);
}

#[test]
fn virtual_8086_code_needs_iopl_3_for_sensitive_instructions() {
    for bytes in [&[0xfa][..], &[0xfb], &[0x9c], &[0x9d], &[0xcd, 0x21], &[0xcf]] {
        let mut lab = virtual_8086(0, |a| a.db(bytes));
        lab.go(0).fault_at(0x9000, vector::GP, 0);
    }
    let mut lab = virtual_8086(3, code!(a: hlt()));
    lab.go(0).fault_at(0x9000, vector::GP, 0);
}
