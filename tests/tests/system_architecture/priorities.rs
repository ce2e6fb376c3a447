//! What comes first when several things are due at the same instruction boundary.
//! SDM 3A, "Priority Among Concurrent Events": 1 reset, 2 trap of a task switch, 3 SMI and INIT, 4 debug traps, 5 NMI,
//! 6 maskable interrupts, 7 instruction breakpoints, 8 faults of the fetch, 9 faults of the decoder, 10 others.

use emu_core::cpu::RBX;
use iced_x86::IcedError;
use iced_x86::code_asm::*;

use crate::lab::*;
use crate::smm::{NMI, raise, reset_vector, was_reset};

const ENTRY: u64 = 0x3_8000;
const SAVED_RIP: u64 = 0x3_ff78;
const BS: u64 = 1 << 14;
const TF_AND_IF: i32 = 0x300;
const IF: i32 = 0x200;

type Code = Result<(), IcedError>;

/// Error code of a page fault by a fetch, with NX.
const FETCH: u64 = 0x10;

/// Assembles: sets these flags by POPF.
fn set_flags(a: &mut CodeAssembler, flags: i32) -> Code {
    if a.bitness() == 64 {
        a.pushfq()?;
        a.or(qword_ptr(rsp), flags)?;
        a.popfq()
    } else {
        a.pushfd()?;
        a.or(dword_ptr(esp), flags)?;
        a.popfd()
    }
}

/// Assembles: DR0 and DR7.
fn arm(a: &mut CodeAssembler, address: u64, control: u32) -> Code {
    a.mov(ebx, address as u32)?;
    a.mov(ecx, control)?;
    if a.bitness() == 64 {
        a.mov(dr0, rbx)?;
        a.mov(dr7, rcx)
    } else {
        a.mov(dr0, ebx)?;
        a.mov(dr7, ecx)
    }
}

/// Breakpoint 0 on execution, and on port accesses.
const ON_EXECUTION: u32 = 1;
const ON_PORT: u32 = 1 | 2 << 16;

fn labs() -> [Lab; 2] {
    [Lab::protected(), Lab::long()].map(|mut lab| {
        lab.cr4 |= 8; // DE: port breakpoints
        lab.assemble(ENTRY, 16, code!(a: rsm()));
        lab
    })
}

/// Offset of the stub of a vector.
fn stub(vector: u8) -> u64 {
    STUBS + 16 * u64::from(vector)
}

fn smis(out: &Outcome<'_>) -> u32 {
    out.cpu().management.count
}

#[test]
fn smi_before_a_single_step_which_is_not_lost() {
    for mut lab in labs() {
        let out = lab.run(|a| {
            a.mov(al, u32::from(event::SMI))?;
            set_flags(a, TF_AND_IF)?;
            a.out(RAISE, al)?;
            a.nop()?;
            a.hlt()
        });
        let end = out.end;
        assert_eq!(out.fault(vector::DB, None).ip, end - 2, "{:?}", out.lab.mode);
        assert_eq!((smis(&out), out.cpu().dr[6]), (1, 0xffff_0ff0 | BS));
        assert_eq!(lab.read(SAVED_RIP, 4), end - 2, "the trap was still to come");
    }
}

#[test]
fn smi_before_a_breakpoint_on_a_port_which_is_not_lost() {
    for mut lab in labs() {
        let out = lab.run(|a| {
            arm(a, u64::from(RAISE), ON_PORT)?;
            raise(a, event::SMI)?;
            a.nop()?;
            a.hlt()
        });
        let end = out.end;
        assert_eq!(out.fault(vector::DB, None).ip, end - 2);
        assert_eq!((smis(&out), out.cpu().dr[6]), (1, 0xffff_0ff1));
        assert_eq!((lab.read(SAVED_RIP, 4), lab.read(0x3_ff68, 4)), (end - 2, 0xffff_0ff0));
    }
}

#[test]
fn smi_before_init_nmi_and_interrupt() {
    for mut lab in labs() {
        let out = lab.run(|a| {
            a.sti()?;
            a.nop()?;
            raise(a, event::SMI | event::NMI | event::INTR)?;
            a.hlt()
        });
        let end = out.end;
        assert_eq!(out.fault(NMI, None).ip, end - 1);
        assert_eq!((smis(&out), lab.read(SAVED_RIP, 4)), (1, end - 1));
    }
    let mut lab = Lab::long();
    reset_vector(&mut lab);
    lab.assemble(ENTRY, 16, code!(a: rsm()));
    let out = lab.run(|a| raise(a, event::SMI | event::INIT));
    assert!(was_reset(out.cpu()));
    assert_eq!(smis(&out), 1);
}

#[test]
fn init_before_debug_traps_and_nmi() {
    for mut lab in labs() {
        reset_vector(&mut lab);
        let out = lab.run(|a| {
            a.mov(al, u32::from(event::INIT))?;
            set_flags(a, TF_AND_IF)?;
            a.out(RAISE, al)
        });
        assert!(was_reset(out.cpu()));
        assert_eq!(out.cpu().dr[6], 0xffff_0ff0);
    }
}

#[test]
fn a_debug_trap_before_nmi_and_interrupt() {
    for events in [event::NMI, event::INTR, event::NMI | event::INTR] {
        for mut lab in labs() {
            // A trap gate leaves interrupts on, so they come at the first instruction of the #DB handler.
            let code = if lab.mode == Mode::Long { CODE64 } else { CODE32 };
            lab.idt(vector::DB, gate(0x8f, code, stub(vector::DB), 0));
            let out = lab.run(|a| {
                a.mov(al, u32::from(events))?;
                set_flags(a, TF_AND_IF)?;
                a.out(RAISE, al)?;
                a.hlt()
            });
            let expected = if events & event::NMI != 0 { NMI } else { 0x41 };
            assert_eq!(out.fault(expected, None).ip, stub(vector::DB));
            assert_eq!(out.cpu().dr[6], 0xffff_0ff0 | BS);
        }
    }
}

#[test]
fn nmi_before_an_interrupt() {
    for mut lab in labs() {
        let out = lab.run(|a| {
            a.sti()?;
            a.nop()?;
            raise(a, event::NMI | event::INTR)?;
            a.hlt()
        });
        let end = out.end;
        assert_eq!(out.fault(NMI, None).ip, end - 1);
    }
}

#[test]
fn nmi_and_smi_before_an_instruction_breakpoint() {
    for mut lab in labs() {
        lab.assemble(0x8800, lab.bits(), |a| {
            raise(a, event::NMI)?;
            a.nop()?;
            a.hlt()
        });
        let out = lab.run(|a| {
            arm(a, 0x8804, ON_EXECUTION)?;
            a.jmp(0x8800)
        });
        assert_eq!(out.fault(NMI, None).ip, 0x8804);
        assert_eq!(out.cpu().dr[6], 0xffff_0ff0);
        lab.assemble(0x8800, lab.bits(), |a| {
            raise(a, event::SMI)?;
            a.nop()?;
            a.hlt()
        });
        let out = lab.run(|a| {
            arm(a, 0x8804, ON_EXECUTION)?;
            a.jmp(0x8800)
        });
        assert_eq!(out.fault(vector::DB, None).ip, 0x8804);
        assert_eq!((smis(&out), lab.read(SAVED_RIP, 4)), (1, 0x8804));
    }
}

#[test]
fn an_instruction_breakpoint_before_the_fault_of_its_fetch() {
    let mut lab = Lab::long();
    lab.map(DATA, 0);
    let out = lab.run(|a| {
        arm(a, DATA, ON_EXECUTION)?;
        a.jmp(DATA)
    });
    assert_eq!(out.fault(vector::DB, None).ip, DATA);
    let mut lab = Lab::long();
    lab.map(DATA, 0);
    lab.run(|a| a.jmp(DATA)).page_fault(FETCH, DATA);
}

#[test]
fn a_fault_of_the_fetch_before_those_of_the_decoder() {
    let mut lab = Lab::long();
    lab.map(DATA + 0x1000, 0);
    // 0F would begin UD2; LOCK would make #UD of what follows; fourteen prefixes leave room for an opcode.
    for bytes in [&[0x0f][..], &[0xf0], &[0x66u8; 14]] {
        let start = DATA + 0x1000 - bytes.len() as u64;
        for (byte, at) in bytes.iter().zip(start..) {
            lab.write(at, 1, u64::from(*byte));
        }
        let out = lab.run(|a| a.jmp(start));
        assert_eq!(out.page_fault(FETCH, DATA + 0x1000).ip, start);
    }
    // The fifteenth prefix ends it before the next page is needed.
    for at in DATA + 0x1000 - 15..DATA + 0x1000 {
        lab.write(at, 1, 0x66);
    }
    lab.run(|a| a.jmp(DATA + 0x1000 - 15)).fault(vector::GP, 0);
}

#[test]
fn faults_of_the_decoder_before_those_of_execution() {
    let absent = |mut lab: Lab, bytes: &[u8], expected: u8| {
        lab.map(DATA, 0);
        lab.run(|a| a.db(bytes)).fault_at(CODE, expected, None);
    };
    // LOCK MOV [DATA], eax; FLD [DATA] with TS set; MOV CR1 and LOCK MOV CR0 at CPL 3.
    absent(Lab::long(), &[0xf0, 0x89, 0x04, 0x25, 0, 0, 2, 0], vector::UD);
    let mut lab = Lab::long();
    lab.cr0 |= 8;
    absent(lab, &[0xdd, 0x04, 0x25, 0, 0, 2, 0], 7);
    absent(Lab::long().at_cpl3(), &[0x0f, 0x22, 0xc8], vector::UD);
    absent(Lab::long().at_cpl3(), &[0xf0, 0x0f, 0x30], vector::UD);
}

#[test]
fn the_trap_of_a_task_switch_before_everything_else() {
    for (events, expected) in [(event::NMI, NMI), (event::INTR, 0x41), (event::SMI, vector::DB)] {
        let mut lab = Lab::protected();
        lab.assemble(ENTRY, 16, code!(a: rsm()));
        lab.idt(vector::DB, gate(0x8f, CODE32, stub(vector::DB), 0));
        lab.gdt(FREE, descriptor(TSS2, 0x67, 0x89, 0));
        for (offset, value) in [
            (0x1c, 0),
            (0x20, 0x9000),
            (0x24, 0x202),
            (0x38, STACK),
            (0x48, u64::from(DATA32)),
            (0x4c, u64::from(CODE32)),
            (0x50, u64::from(DATA32)),
            (0x54, u64::from(DATA32)),
            (0x64, 1), // T
        ] {
            lab.write(TSS2 + offset, 4, value);
        }
        lab.assemble(0x9000, 32, code!(a: hlt()));
        let out = lab.run(|a| {
            a.mov(al, 2)?;
            a.out(DELAY, al)?;
            raise(a, events)?;
            a.db(&[0xea, 0, 0, 0, 0, FREE as u8, 0])
        });
        let frame = out.fault(expected, None);
        assert_eq!(out.cpu().dr[6] & 0x8000, 0x8000);
        match expected {
            vector::DB => {
                assert_eq!(frame.ip, 0x9000);
                assert_eq!((smis(&out), lab.read(SAVED_RIP, 4)), (1, stub(vector::DB)));
            }
            _ => assert_eq!(frame.ip, stub(vector::DB)),
        }
    }
}

#[test]
fn the_shadow_of_sti_and_of_a_load_of_ss_holds_off_nmi_smi_and_interrupts() {
    for events in [event::NMI, event::SMI, event::INTR] {
        for load_ss in [false, true] {
            let mut lab = Lab::protected();
            lab.assemble(ENTRY, 16, code!(a: hlt()));
            let out = lab.run(|a| {
                a.mov(ecx, u32::from(DATA32))?;
                a.mov(al, 2)?;
                a.out(DELAY, al)?;
                a.mov(al, u32::from(events))?;
                if load_ss {
                    set_flags(a, IF)?;
                    a.out(RAISE, al)?;
                    a.mov(ss, ecx)?;
                } else {
                    a.out(RAISE, al)?;
                    a.sti()?;
                }
                a.nop()?;
                a.nop()?;
                a.hlt()
            });
            let end = out.end;
            if events == event::SMI {
                assert!(out.cpu().smm);
                assert_eq!(lab.read(SAVED_RIP, 4), end - 2);
            } else {
                let expected = if events == event::NMI { NMI } else { 0x41 };
                assert_eq!(out.fault(expected, None).ip, end - 2, "{load_ss}");
            }
        }
    }
}

#[test]
fn sti_with_interrupts_on_already_has_no_shadow() {
    let mut lab = Lab::protected();
    let out = lab.run(|a| {
        a.mov(al, 2)?;
        a.out(DELAY, al)?;
        a.mov(al, u32::from(event::NMI))?;
        set_flags(a, IF)?;
        a.out(RAISE, al)?;
        a.sti()?;
        a.nop()?;
        a.hlt()
    });
    let end = out.end;
    assert_eq!(out.fault(NMI, None).ip, end - 2);
}

#[test]
fn nmis_are_blocked_until_iret_even_if_that_faults() {
    let mut lab = Lab::protected();
    lab.assemble(0x9000, 32, |a| {
        a.inc(ebx)?;
        a.cmp(ebx, 1)?;
        let mut again = a.create_label();
        a.jne(again)?;
        raise(a, event::NMI)?; // waits
        a.nop()?;
        a.mov(edx, ebx)?;
        a.mov(dword_ptr(esp + 4), u32::from(FREE))?; // the frame's CS: no code segment
        a.iretd()?;
        a.set_label(&mut again)?;
        a.hlt()
    });
    lab.handler(NMI, 0x9000);
    let out = lab.run(|a| {
        a.xor(ebx, ebx)?;
        raise(a, event::NMI)?;
        a.hlt()
    });
    out.done();
    // #GP came first; its handler was interrupted before its first instruction.
    assert_eq!((out.reg(RBX), out.reg(emu_core::cpu::RDX)), (2, 1));
    let stack = out.reg(emu_core::cpu::RSP);
    assert_eq!(lab.read(stack, 4), stub(vector::GP));
}

/// A task that #GP leads to, with these selectors for DS; T is set when asked.
fn task_for_general_protection(ds_selector: u16, t_bit: bool) -> Lab {
    let mut lab = Lab::protected();
    lab.gdt(FREE, descriptor(TSS2, 0x67, 0x89, 0));
    lab.idt(vector::GP, gate(0x85, FREE, 0, 0));
    for (offset, value) in [
        (0x1c, 0),
        (0x20, 0x9000),
        (0x24, 2),
        (0x38, 0xb000),
        (0x48, u64::from(DATA32)),
        (0x4c, u64::from(CODE32)),
        (0x50, u64::from(DATA32)),
        (0x54, u64::from(ds_selector)),
        (0x64, u64::from(t_bit)),
    ] {
        lab.write(TSS2 + offset, 4, value);
    }
    lab.assemble(0x9000, 32, code!(a: hlt()));
    lab
}

#[test]
fn a_fault_of_the_task_for_an_exception_counts_toward_a_double_fault() {
    let mut lab = task_for_general_protection(0x7f8, false);
    let out = lab.run(code!(a: mov(eax, u32::from(CODE32)); mov(ss, eax)));
    let frame = out.fault(vector::DF, 0);
    assert_eq!(frame.ip, 0x9000, "in the new task");
    // The same task entered by an instruction: no delivery was under way.
    let mut lab = task_for_general_protection(0x7f8, false);
    let out = lab.run(|a| a.db(&[0xea, 0, 0, 0, 0, FREE as u8, 0]));
    assert_eq!(out.fault(vector::TS, 0x7f8).ip, 0x9000);
}

#[test]
fn the_trap_of_a_task_for_an_exception_comes_behind_the_error_code() {
    let mut lab = task_for_general_protection(DATA32, true);
    let out = lab.run(code!(a: mov(eax, u32::from(CODE32)); mov(ss, eax)));
    assert_eq!(out.fault(vector::DB, None).ip, 0x9000);
    assert_eq!(out.cpu().dr[6] & 0x8000, 0x8000);
    assert_eq!(lab.read(0xb000 - 4, 4), u64::from(CODE32));
}
