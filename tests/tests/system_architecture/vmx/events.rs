//! Exceptions, interrupts and what exits between instructions; injection.

use emu_core::cpu::RBX;
use emu_core::machine::Stop;
use emu_core::vmx::exit::reason;
use emu_core::vmx::fields as f;
use iced_x86::IcedError;
use iced_x86::code_asm::*;

use super::monitor::*;
use crate::lab::*;

type Code = Result<(), IcedError>;

const IF: u64 = 1 << 9;
const TF: u64 = 1 << 8;
/// Interruption information: valid; types.
const VALID: u64 = 1 << 31;
const WITH_ERROR: u64 = 1 << 11;
const NMI: u64 = 2 << 8;
const EXCEPTION: u64 = 3 << 8;
const SOFTWARE: u64 = 4 << 8;
const SOFTWARE_EXCEPTION: u64 = 6 << 8;

/// Assembles: raises these events.
fn raise(a: &mut CodeAssembler, events: u8) -> Code {
    a.mov(al, u32::from(events))?;
    a.out(RAISE, al)
}

#[test]
fn the_exception_bitmap_chooses_exceptions() {
    let mut monitor = Monitor::new(2);
    monitor.set(f::EXCEPTION_BITMAP, 1 << 6 | 1 << 3);
    let seen = monitor.run(code!(a: int3(); ud2()));
    assert_eq!(seen[0].interruption, VALID | SOFTWARE_EXCEPTION | 3);
    assert_eq!((seen[0].length, seen[0].rip), (1, GUEST));
    assert_eq!((seen[1].interruption, seen[1].rip), (VALID | EXCEPTION | 6, GUEST + 1));
    // Without its bit the guest's own handler runs.
    let mut monitor = Monitor::new(1);
    assert!(monitor.run(code!(a: ud2())).is_empty());
    let stub = STUBS + 16 * 6;
    assert_eq!(monitor.lab.machine.rip(), stub + 1);
}

#[test]
fn page_faults_exit_by_mask_and_match_and_leave_cr2_alone() {
    // Mask: writes. Match: writes exit when the bit is set, reads when it is clear.
    for (bitmap, write, exits) in [(1, true, true), (1, false, false), (0, true, false), (0, false, true)] {
        let mut monitor = Monitor::new(1);
        monitor.set(f::EXCEPTION_BITMAP, bitmap << 14);
        monitor.set(f::PAGE_FAULT_MASK, 2);
        monitor.set(f::PAGE_FAULT_MATCH, 2);
        monitor.lab.forbid(0x4_5000, pte::P);
        let seen = monitor
            .run(|a| if write { a.mov(dword_ptr(0x4_5678), eax) } else { a.mov(eax, dword_ptr(0x4_5678)) });
        assert_eq!(!seen.is_empty(), exits, "{bitmap} {write}");
        if exits {
            let error = if write { 2 } else { 0 };
            assert_eq!((seen[0].qualification, seen[0].error), (0x4_5678, error));
            assert_eq!(monitor.lab.machine.cpu().cr2, 0);
        }
    }
}

#[test]
fn an_exit_tells_which_event_was_being_delivered() {
    // INT 50h leads beyond the IDT's limit: #GP in the course of a software interrupt.
    let mut monitor = Monitor::new(1);
    monitor.set(f::EXCEPTION_BITMAP, 1 << 13);
    monitor.set(f::GUEST_IDTR_LIMIT, 0x1ff);
    let seen = monitor.run(code!(a: int(0x50)));
    assert_eq!(seen[0].interruption, VALID | WITH_ERROR | EXCEPTION | 13);
    assert_eq!((seen[0].vectoring, seen[0].length), (VALID | SOFTWARE | 0x50, 2));
    // A double fault and a triple fault do not count as that.
    let mut monitor = Monitor::new(1);
    monitor.set(f::EXCEPTION_BITMAP, 1 << 8);
    monitor.set(f::GUEST_IDTR_LIMIT, 0);
    let seen = monitor.run(code!(a: ud2()));
    assert_eq!((seen[0].interruption, seen[0].vectoring), (VALID | WITH_ERROR | EXCEPTION | 8, 0));
    let mut monitor = Monitor::new(1);
    monitor.set(f::GUEST_IDTR_LIMIT, 0);
    let seen = monitor.run(code!(a: ud2()));
    assert_eq!((seen[0].reason, seen[0].vectoring), (reason::TRIPLE_FAULT.into(), 0));
}

#[test]
fn vm_entry_injects_events_with_their_error_codes() {
    let mut monitor = Monitor::new(1);
    monitor.set(f::ENTRY_INTERRUPTION, VALID | WITH_ERROR | EXCEPTION | 13);
    monitor.set(f::ENTRY_ERROR_CODE, 0x28);
    assert!(monitor.run(code!(a: cpuid())).is_empty());
    assert_eq!(monitor.lab.machine.rip(), STUBS + 16 * 13 + 1);
    let stack = monitor.reg(emu_core::cpu::RSP);
    assert_eq!((monitor.lab.read(stack, 8), monitor.lab.read(stack + 8, 8)), (0x28, GUEST));
    // A software interrupt returns behind its instruction.
    let mut monitor = Monitor::new(1);
    monitor.set(f::ENTRY_INTERRUPTION, VALID | SOFTWARE | 0x41);
    monitor.set(f::ENTRY_LENGTH, 2);
    assert!(monitor.run(code!(a: cpuid())).is_empty());
    let stack = monitor.reg(emu_core::cpu::RSP);
    assert_eq!(monitor.lab.read(stack, 8), GUEST + 2);
}

#[test]
fn a_fault_during_injection_exits_with_the_injected_event() {
    let mut monitor = Monitor::new(1);
    monitor.set(f::ENTRY_INTERRUPTION, VALID | SOFTWARE | 0x50);
    monitor.set(f::ENTRY_LENGTH, 2);
    monitor.set(f::GUEST_IDTR_LIMIT, 0x1ff);
    monitor.set(f::EXCEPTION_BITMAP, 1 << 13);
    let seen = monitor.run(code!(a: cpuid()));
    assert_eq!((seen[0].vectoring, seen[0].length, seen[0].rip), (VALID | SOFTWARE | 0x50, 2, GUEST));
    assert_eq!(monitor.field(f::ENTRY_INTERRUPTION) >> 31, 0, "no longer valid");
}

#[test]
fn external_interrupts_exit_whatever_the_guests_if_is() {
    for (acknowledge, interruption) in [(0, 0), (1 << 15, VALID | 0x41)] {
        let mut monitor = Monitor::new(1);
        monitor.add(f::PIN_CONTROLS, 1);
        monitor.add(f::EXIT_CONTROLS, acknowledge);
        let seen = monitor.run(|a| {
            raise(a, event::INTR)?;
            a.cpuid()
        });
        assert_eq!(seen[0].reason, u64::from(reason::EXTERNAL_INTERRUPT));
        assert_eq!((seen[0].interruption, seen[0].rip), (interruption, GUEST + 4));
    }
    // Without the control the guest takes it by its own IDT.
    let mut monitor = Monitor::new(1);
    monitor.set(f::GUEST_RFLAGS, 2 | IF);
    assert!(monitor.run(|a| raise(a, event::INTR)).is_empty());
    assert_eq!(monitor.lab.machine.rip(), STUBS + 16 * 0x41 + 1);
}

#[test]
fn an_nmi_that_exits_blocks_further_ones_in_the_host() {
    let mut monitor = Monitor::new(1);
    monitor.add(f::PIN_CONTROLS, 1 << 3);
    let seen = monitor.run(|a| raise(a, event::NMI));
    assert_eq!((seen[0].reason, seen[0].interruption), (0, VALID | NMI | 2));
    assert!(monitor.lab.machine.cpu().nmi_blocked);
}

#[test]
fn windows_open_when_nothing_blocks() {
    // The interrupt window waits for IF and for the end of the shadow of STI.
    let mut monitor = Monitor::new(1);
    monitor.add(f::PRIMARY_CONTROLS, 1 << 2);
    let seen = monitor.run(code!(a: nop(); sti(); nop(); cpuid()));
    assert_eq!((seen[0].reason, seen[0].rip), (reason::INTERRUPT_WINDOW.into(), GUEST + 3));
    // The NMI window waits for the IRET that ends blocking.
    let mut monitor = Monitor::new(1);
    monitor.add(f::PIN_CONTROLS, 1 << 3 | 1 << 5);
    monitor.add(f::PRIMARY_CONTROLS, 1 << 22);
    monitor.set(f::INTERRUPTIBILITY, 8);
    let seen = monitor.run(|a| {
        a.push(i32::from(DATA32))?;
        a.push(GUEST_STACK as i32)?;
        a.push(2)?;
        a.push(i32::from(CODE64))?;
        a.push(GUEST as i32 + 0x40)?;
        a.iretq()
    });
    assert_eq!((seen[0].reason, seen[0].rip), (reason::NMI_WINDOW.into(), GUEST + 0x40));
    assert_eq!(seen[0].interruptibility, 0);
}

#[test]
fn the_preemption_timer_ends_a_loop_and_a_halt() {
    for halts in [false, true] {
        let mut monitor = Monitor::new(1);
        monitor.add(f::PIN_CONTROLS, 1 << 6);
        monitor.add(f::EXIT_CONTROLS, 1 << 22);
        monitor.set(f::PREEMPTION_TIMER, 500);
        let seen = monitor.run(|a| {
            if halts {
                a.hlt()?;
            }
            a.db(&[0xeb, 0xfe])
        });
        assert_eq!(seen[0].reason, u64::from(reason::PREEMPTION_TIMER), "halted: {halts}");
        assert_eq!(seen[0].activity, u64::from(halts));
        assert_eq!(monitor.field(f::PREEMPTION_TIMER), 0);
    }
    let mut monitor = Monitor::new(1);
    monitor.add(f::PIN_CONTROLS, 1 << 6);
    let seen = monitor.run(code!(a: nop()));
    assert_eq!((seen[0].reason, seen[0].rip), (reason::PREEMPTION_TIMER.into(), GUEST), "zero at entry");
}

#[test]
fn the_monitor_trap_flag_stops_behind_each_instruction() {
    let mut monitor = Monitor::new(3);
    monitor.add(f::PRIMARY_CONTROLS, 1 << 27);
    monitor.stay = true;
    let seen = monitor.run(code!(a: nop(); mov(eax, 5); ud2()));
    let places: Vec<_> = seen.iter().map(|exit| (exit.reason, exit.rip)).collect();
    let trap = u64::from(reason::MONITOR_TRAP_FLAG);
    assert_eq!(places, [(trap, GUEST + 1), (trap, GUEST + 6), (trap, STUBS + 16 * 6)]);
    // An injected event comes first.
    let mut monitor = Monitor::new(1);
    monitor.add(f::PRIMARY_CONTROLS, 1 << 27);
    monitor.set(f::ENTRY_INTERRUPTION, VALID | EXCEPTION | 6);
    assert_eq!(monitor.run(code!(a: nop()))[0].rip, STUBS + 16 * 6);
}

#[test]
fn a_debug_exception_that_exits_leaves_dr6_alone() {
    let mut monitor = Monitor::new(1);
    monitor.set(f::EXCEPTION_BITMAP, 1 << 1);
    monitor.set(f::GUEST_RFLAGS, 2 | TF);
    let seen = monitor.run(code!(a: nop(); nop()));
    assert_eq!((seen[0].interruption, seen[0].rip), (VALID | EXCEPTION | 1, GUEST + 1));
    assert_eq!((seen[0].qualification, monitor.lab.machine.cpu().dr[6]), (1 << 14, 0xffff_0ff0));
}

#[test]
fn init_waits_in_root_operation_and_exits_from_the_guest() {
    let mut monitor = Monitor::new(1);
    let seen = monitor.run(|a| {
        raise(a, event::INIT)?;
        a.cpuid()
    });
    assert_eq!((seen[0].reason, seen[0].rip), (reason::INIT.into(), GUEST + 4));
    let mut lab = Monitor::new(0).lab;
    let out = lab.run(|a| {
        enter_vmx_operation(a)?;
        raise(a, event::INIT)?;
        a.mov(ebx, 7)?;
        a.hlt()
    });
    assert_eq!((out.reg(RBX), out.cpu().management.init_pending), (7, true));
}

#[test]
fn an_smi_comes_back_to_the_guest() {
    let mut monitor = Monitor::new(1);
    monitor.lab.assemble(0x3_8000, 16, code!(a: rsm()));
    let seen = monitor.run(|a| {
        raise(a, event::SMI)?;
        a.mov(ebx, 7)?;
        a.cpuid()
    });
    assert_eq!((seen[0].reason, monitor.reg(RBX)), (reason::CPUID.into(), 7));
    assert_eq!(monitor.lab.machine.cpu().management.count, 1);
}

#[test]
fn a_guest_halts_by_itself_unless_hlt_exits() {
    let mut monitor = Monitor::new(1);
    assert!(monitor.run(code!(a: hlt())).is_empty());
    assert!(monitor.lab.machine.cpu().vmx.non_root && monitor.lab.machine.cpu().halted);
    let until = monitor.lab.machine.instructions() + 1000;
    assert_eq!(monitor.lab.machine.run(until), Stop::Halted { next_event: u64::MAX });
}
